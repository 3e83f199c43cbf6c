//! IKE fragmentation (RFC 7383).

use base::Rng;
use sa::Drop;
use sim::{SimRng, Weather, established};
use std::time::Duration;
use suite::{Puppet, alice, answered, bob, dropped, holdings, world};
use wire::num::{ExchangeType, NotifyType, PayloadType};
use wire::{Fragment, Notify, Payload};

/// A site with so many selectors that its IKE_AUTH needs fragments of 576 octets.
fn small(site: sim::Site) -> sim::Site {
    let (own, other) = if site.name == "alice" { (1, 2) } else { (2, 1) };
    let networks = |side: u8| (0..50u8).map(move |n| sim::site::net(&format!("10.20{side}.{n}.0/24")));
    site.with(|connection| connection.fragment_size = 576).child(|child| {
        child.local_ts.extend(networks(own));
        child.remote_ts.extend(networks(other));
    })
}

//= rfc7383 §2.5
#[test]
fn s122_large_messages_go_in_fragments_and_small_ones_whole() {
    let mut world = world(1).peers(small(alice()), small(bob()));
    world.up("alice");
    world.until(established);
    let kinds: Vec<Option<(u16, u16)>> =
        world.wire.iter().filter_map(|(_, d)| d.peek()).map(|peek| peek.fragment).collect();
    assert!(kinds.iter().flatten().count() >= 4, "{kinds:?}");
    assert_eq!(kinds[0], None, "IKE_SA_INIT is never fragmented");
    for (_, datagram) in &world.wire {
        if datagram.peek().is_some_and(|peek| peek.fragment.is_some()) {
            // IPv4 and UDP headers count into the fragment size.
            assert!(datagram.payload.len() + 28 <= 576, "{}", datagram.payload.len());
        }
    }
    assert!(world.status("alice")[0].fragmentation);
}

#[test]
fn s124_without_the_peers_support_nothing_is_fragmented() {
    let mut world = world(2).peers(small(alice()), small(bob()).with(|c| c.fragmentation = false));
    world.up("alice");
    world.until(established);
    assert_eq!(world.stats.get("fragments sent"), 0);
}

/// A path that loses what is large: fragments pass it.
#[test]
fn s122_fragments_pass_where_whole_messages_do_not() {
    let narrow = Weather { mtu: Some(600), ..Weather::fair() };
    let mut world = world(3).peers(small(alice()), small(bob())).under(narrow);
    world.up("alice");
    world.until(established);
}

#[test]
fn lost_doubled_and_reordered_fragments_come_together() {
    for seed in 10..30 {
        let foul = Weather { loss: 200, duplicate: 300, ..Weather::foul() };
        let mut world = world(seed).peers(small(alice()), small(bob())).under(foul);
        let order = world.up("alice");
        world.until(answered);
        assert!(world.reply(order).is_some());
    }
}

/// An established puppet whose IKE_AUTH offered fragmentation.
fn puppet(world: &mut suite::World) -> Puppet {
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())));
    let request = alice.init_request(payloads);
    alice.send(world, &request);
    let response = alice.hear(world).expect("a response");
    alice.accept_init(&response);
    let payloads = alice.auth_payloads();
    alice.ask(world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    alice
}

fn long() -> [Payload<'static>; 1] {
    [Payload::VendorId(vec![7; 900].into())]
}

//= rfc7383 §2.6
#[test]
fn fragments_in_any_order_and_twice_make_one_message() {
    let mut world = world(40).site(bob());
    let mut alice = puppet(&mut world);
    let mut rng = SimRng::new(40, "order");
    for _ in 0..10 {
        let header = alice.header(ExchangeType::INFORMATIONAL, false, alice.next_id);
        alice.next_id += 1;
        let mut pieces = alice.channel.as_mut().unwrap().fragments(&header, &long(), 7);
        for n in (1..pieces.len()).rev() {
            pieces.swap(n, rng.below(n as u64 + 1) as usize);
        }
        alice.deaf(&world);
        for piece in pieces.iter().chain(&pieces.clone()) {
            alice.send(&mut world, piece);
        }
        let answer = alice.hear(&mut world).expect("an answer");
        assert_eq!(alice.open(&answer).1, []);
    }
}

/// The answer goes out when the message is whole, not before.
#[test]
fn an_incomplete_message_is_not_answered() {
    let mut world = world(41).site(bob());
    let mut alice = puppet(&mut world);
    let header = alice.header(ExchangeType::INFORMATIONAL, false, 2);
    let pieces = alice.channel.as_mut().unwrap().fragments(&header, &long(), 4);
    alice.deaf(&world);
    for piece in &pieces[1..] {
        alice.send(&mut world, piece);
    }
    assert_eq!(alice.hear(&mut world), None);
    alice.send(&mut world, &pieces[0]);
    assert!(alice.hear(&mut world).is_some());
}

/// A larger total begins anew, a smaller one is dropped (RFC 7383 §2.6).
//= rfc7383 §2.6
#[test]
fn totals_that_change_follow_the_larger_one() {
    let mut world = world(42).site(bob());
    let mut alice = puppet(&mut world);
    let header = alice.header(ExchangeType::INFORMATIONAL, false, 2);
    let channel = alice.channel.as_mut().unwrap();
    let (three, six) = (channel.fragments(&header, &long(), 3), channel.fragments(&header, &long(), 6));
    alice.deaf(&world);
    for piece in [&three[0], &three[1], &six[0], &three[2], &six[1], &six[2], &six[3], &six[4]] {
        alice.send(&mut world, piece);
    }
    assert_eq!(alice.hear(&mut world), None, "no set is complete");
    alice.send(&mut world, &six[5]);
    assert!(alice.hear(&mut world).is_some());
}

/// Numbers that cannot be, under right keys.
#[test]
fn cve_2013_6076_impossible_fragments_are_dropped() {
    let mut world = world(43).site(bob());
    let mut alice = puppet(&mut world);
    let before = holdings(&mut world, "bob");
    let header = alice.header(ExchangeType::INFORMATIONAL, false, 2);
    for (number, total) in
        [(0, 1), (0, 0), (1, 0), (2, 1), (9, 8), (u16::MAX, 2), (1, u16::MAX), (u16::MAX, u16::MAX)]
    {
        let fragment = Some(Fragment { number, total });
        let channel = alice.channel.as_mut().unwrap();
        let message = channel.seal_octets(&header, fragment, PayloadType::NONE, &[1; 10]);
        alice.send(&mut world, &message);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(holdings(&mut world, "bob"), before);
    assert!(dropped(&world, "bob", Drop::BadFragment) + dropped(&world, "bob", Drop::Malformed) >= 6);
    assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()));
}

/// CVE-2009-1574: fragments without anything inside, alone and among others.
#[test]
fn cve_2009_1574_fragments_without_content() {
    for total in [1, 2, 3] {
        let mut world = world(47).site(bob());
        let mut alice = puppet(&mut world);
        let before = holdings(&mut world, "bob");
        let header = alice.header(ExchangeType::INFORMATIONAL, false, alice.next_id);
        alice.deaf(&world);
        for number in 1..=total {
            let fragment = Some(Fragment { number, total });
            let channel = alice.channel.as_mut().unwrap();
            let message = channel.seal_octets(&header, fragment, PayloadType::NONE, &[]);
            alice.send(&mut world, &message);
        }
        // Nothing and nothing is an empty request, which is answered as one; it may be dropped as well.
        let answer = alice.hear(&mut world);
        assert!(answer.is_none_or(|answer| alice.open(&answer).1.is_empty()));
        alice.next_id = u32::from(world.stats.get("dropped: BadFragment") == 0) + header.message_id.0;
        assert_eq!(holdings(&mut world, "bob"), before);
        assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()), "{total}");
    }
}

/// What a peer can make us keep is bounded: as many fragments as there may be, each as large as it may be.
#[test]
fn a_message_of_too_many_fragments_is_not_kept() {
    let mut world = world(44).site(bob());
    let mut alice = puppet(&mut world);
    let header = alice.header(ExchangeType::INFORMATIONAL, false, 2);
    for number in 1..=2000 {
        let fragment = Some(Fragment { number, total: 2000 });
        let channel = alice.channel.as_mut().unwrap();
        let message = channel.seal_octets(&header, fragment, PayloadType::NONE, &[1; 1000]);
        alice.send(&mut world, &message);
    }
    alice.deaf(&world);
    assert_eq!(alice.hear(&mut world), None);
    assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()));
}

/// SKF although it was not negotiated.
//= rfc7383 §2.3
#[test]
fn s124_fragments_that_were_not_agreed_on_are_dropped() {
    let mut world = world(45).site(bob().with(|c| c.fragmentation = false));
    let mut alice = puppet(&mut world);
    let header = alice.header(ExchangeType::INFORMATIONAL, false, 2);
    let pieces = alice.channel.as_mut().unwrap().fragments(&header, &long(), 3);
    alice.deaf(&world);
    for piece in &pieces {
        alice.send(&mut world, piece);
    }
    assert_eq!(alice.hear(&mut world), None);
}

/// A repeated first fragment of an answered request brings the answer again; the others do not (RFC 7383 §2.6.1).
//= rfc7383 §2.6.1
#[test]
fn s116_only_the_first_fragment_repeats_the_answer() {
    let mut world = world(46).site(bob());
    let mut alice = puppet(&mut world);
    let header = alice.header(ExchangeType::INFORMATIONAL, false, 2);
    let pieces = alice.channel.as_mut().unwrap().fragments(&header, &long(), 3);
    alice.deaf(&world);
    for piece in &pieces {
        alice.send(&mut world, piece);
    }
    let answer = alice.hear(&mut world);
    assert!(answer.is_some());
    alice.send(&mut world, &pieces[1]);
    alice.send(&mut world, &pieces[2]);
    assert_eq!(alice.hear(&mut world), None);
    alice.send(&mut world, &pieces[0]);
    assert_eq!(alice.hear(&mut world), answer);
}

/// What does not come whole is forgotten when nothing has come of it for a while: a late fragment finds nothing to join, and
/// the request that is sent anew is answered.
#[test]
fn fragments_are_not_kept_for_ever() {
    for (late, heard) in [(false, true), (true, false)] {
        let mut world = world(61).site(bob().with(|c| c.dpd_delay = Duration::ZERO));
        let mut alice = puppet(&mut world);
        let header = alice.header(ExchangeType::INFORMATIONAL, false, alice.next_id);
        let notify = Notify::new(NotifyType(40_000), vec![0; 100]);
        let pieces = alice.channel.as_mut().unwrap().fragments(&header, &[Payload::Notify(notify)], 3);
        alice.deaf(&world);
        alice.send(&mut world, &pieces[0]);
        // `FRAGMENT_PATIENCE` is 60 s, and begins anew with each piece.
        world.run(Duration::from_secs(59));
        alice.send(&mut world, &pieces[1]);
        world.run(Duration::from_secs(if late { 61 } else { 59 }));
        alice.send(&mut world, &pieces[2]);
        assert_eq!(alice.hear(&mut world).is_some(), heard, "late: {late}");
        if late {
            alice.send(&mut world, &pieces[0]);
            alice.send(&mut world, &pieces[1]);
            assert!(alice.hear(&mut world).is_some(), "the last piece has begun a new message");
        }
    }
}

/// How many fragments of IKE_AUTH were sent, of requests and of responses.
fn fragments_of_ike_auth(world: &suite::World) -> (usize, usize) {
    let all = world.wire.iter().filter_map(|(_, datagram)| datagram.peek());
    let auth: Vec<_> = all.filter(|peek| peek.exchange == 35 && peek.fragment.is_some()).collect();
    let responses = auth.iter().filter(|peek| peek.response).count();
    (auth.len() - responses, responses)
}

/// A fragment of the response is lost: the first fragment of the request alone brings it, and long before the request would have
/// gone out again.
//= rfc7383 §2.6.1
//# that event MUST only trigger a retransmission of the response message (fragmented or not) if the Fragment Number field in
//# the received fragment is set to 1
#[test]
fn what_is_missing_of_a_response_is_asked_for_soon() {
    let mut whole = world(50).peers(small(alice()), small(bob()));
    whole.up("alice");
    whole.until(established);
    let (requests, responses) = fragments_of_ike_auth(&whole);
    assert!(requests > 2 && responses > 2);
    for lost in 1..=responses as u16 {
        let mut world = world(50).peers(small(alice()), small(bob()));
        let mut left = 1;
        world.attack(move |scene| {
            let peek = scene.datagram.peek();
            let number =
                peek.filter(|peek| peek.exchange == 35 && peek.response).and_then(|peek| peek.fragment);
            if left > 0 && number.is_some_and(|(number, _)| number == lost) {
                left = 0;
                scene.take();
            }
        });
        let begun = world.now();
        world.up("alice");
        world.until(established);
        assert!(world.now().since(begun) < Duration::from_secs(1), "fragment {lost}");
        let (asked, answered) = fragments_of_ike_auth(&world);
        assert_eq!((asked, answered), (requests + 1, 2 * responses), "fragment {lost}");
    }
}

/// A fragment that never comes: the rest is asked for a few times, then with every transmission of the request and no more.
/// Limits: REST_REQUESTS, REST_WAIT.
//= rfc7296 §2.4
#[test]
fn what_does_not_come_is_not_asked_for_without_end() {
    let mut world = world(51).peers(small(alice()), small(bob()));
    world.attack(|scene| {
        let peek = scene.datagram.peek().filter(|peek| peek.exchange == 35 && peek.response);
        if peek.and_then(|peek| peek.fragment).is_some_and(|(number, _)| number == 2) {
            scene.take();
        }
    });
    world.up("alice");
    world.until(answered);
    let mut times: Vec<_> = world
        .wire
        .iter()
        .filter(|(_, datagram)| {
            let peek = datagram.peek().filter(|peek| peek.exchange == 35 && !peek.response);
            peek.and_then(|peek| peek.fragment).is_some_and(|(number, _)| number == 1)
        })
        .map(|(at, _)| *at)
        .collect();
    let transmissions = sa::Settings::default().backoff.transmissions + ikev2::limits::LAST_CHANCES;
    let count = times.len() as u32;
    assert!(count <= transmissions + ikev2::limits::REST_REQUESTS && count > transmissions, "{count}");
    times.dedup();
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    // As long as no transmission comes between them.
    let grow = |n: usize| waits[n] >= ikev2::limits::REST_WAIT * (1 << n);
    assert!(grow(0) && grow(1) && grow(2), "{waits:?}");
}
