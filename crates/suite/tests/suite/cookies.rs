//! A flood of first messages, and the cookies against it.

use sa::Drop;
use sim::{Datagram, established};
use std::time::Duration;
use suite::{Puppet, alice, bob, dropped, notifies, world};
use wire::num::{NotifyType, PayloadType};
use wire::{Message, Notify, Payload};

/// Asks, gets a cookie, asks again with it (RFC 7296 §2.6).
fn with_cookie(alice: &mut Puppet, world: &mut suite::World) -> Vec<u8> {
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads.clone());
    alice.send(world, &request);
    let response = alice.hear(world).expect("a demand for a cookie");
    let message = Message::parse(&response).unwrap();
    let cookie = match &message.payloads[..] {
        [Payload::Notify(notify)] if notify.kind == NotifyType::COOKIE => notify.data.to_vec(),
        other => panic!("{}", wire::summary(other)),
    };
    assert!((1..=64).contains(&cookie.len()));
    assert_eq!(message.header.spi_r, base::IkeSpi::ZERO);
    let mut again = vec![Payload::Notify(Notify::new(NotifyType::COOKIE, cookie))];
    again.extend(payloads);
    alice.init_request(again)
}

//= rfc7296 §2.6
#[test]
fn s023_a_cookie_that_is_demanded_is_returned() {
    let mut site = bob();
    site.settings.cookie_threshold = 0;
    let mut world = world(1).peers(alice(), site);
    world.up("alice");
    world.until(established);
    assert_eq!(world.wire.len(), 6);
    assert_eq!((world.stats.get("cookie demanded"), world.stats.get("cookie returned")), (1, 1));
}

#[test]
fn s023_a_demand_for_a_cookie_keeps_no_state() {
    let mut site = bob();
    site.settings.cookie_threshold = 0;
    let mut world = world(2).site(site);
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    assert!(alice.hear(&mut world).is_some());
    assert!(world.status("bob").is_empty());
}

/// A cookie serves its own sender, SPI and nonce only.
//= rfc7296 §2.6
#[test]
fn a_cookie_of_somebody_else_is_worth_nothing() {
    for change in 0..3 {
        let mut site = bob();
        site.settings.cookie_threshold = 0;
        let mut world = world(3).site(site);
        let mut alice = Puppet::alice();
        let mut request = with_cookie(&mut alice, &mut world);
        match change {
            0 => alice.address = "192.0.2.77:500".parse().unwrap(),
            1 => request[0] ^= 1,
            _ => {
                let at = request.len() - 1;
                request[at] ^= 1;
            }
        }
        alice.deaf(&world);
        alice.send(&mut world, &request);
        let answer = alice.hear(&mut world);
        if let Some(answer) = answer {
            assert_eq!(
                notifies(&Message::parse(&answer).unwrap().payloads),
                [NotifyType::COOKIE],
                "{change}"
            );
        }
        assert!(world.status("bob").is_empty(), "{change}");
    }
}

/// Cookies go out of date with their secret.
#[test]
fn an_old_cookie_is_worth_nothing() {
    let mut site = bob();
    site.settings.cookie_threshold = 0;
    let mut world = world(4).site(site);
    let mut alice = Puppet::alice();
    let request = with_cookie(&mut alice, &mut world);
    world.run(Duration::from_secs(3600));
    alice.deaf(&world);
    alice.send(&mut world, &request);
    if let Some(answer) = alice.hear(&mut world) {
        assert_eq!(notifies(&Message::parse(&answer).unwrap().payloads), [NotifyType::COOKIE]);
    }
    assert!(world.status("bob").is_empty());
}

/// Thousands of first messages from everywhere: the SAs that they open are bounded, and who is honest gets in.
#[test]
fn a_flood_does_not_keep_an_honest_client_out() {
    let mut world =
        world(5).peers(alice(), bob().with(|c| c.remote_addrs = vec![policy::AddressPattern::Any]));
    let mut flooder = Puppet::alice();
    let payloads = flooder.init_payloads();
    let request = flooder.init_request(payloads);
    let to = flooder.peer;
    for n in 0..4000u32 {
        let mut first = request.clone();
        first[..8].copy_from_slice(&(u64::from(n) + 1).to_be_bytes());
        let from = std::net::SocketAddr::new([203, 0, (n >> 8) as u8, n as u8].into(), 500);
        world.inject(Duration::from_micros(u64::from(n) * 250), Datagram::ike(from, to, &first));
    }
    world.run(Duration::from_millis(900));
    let open = world.status("bob").len();
    let bound = sa::Settings::default().cookie_threshold;
    assert!((1..=bound).contains(&open), "{open} half-open IKE SAs");
    world.up("alice");
    world.until(|world| world.host("alice").dataplane.sad().count() == 1 && world.is_quiet());
    assert!(world.stats.get("cookie returned") >= 1);
    // After a while nothing of the flood is left.
    world.run(Duration::from_secs(120));
    assert_eq!(world.status("bob").len(), 1);
    assert!(world.stats.get("cookie demanded") > 3000);
}

/// One source cannot open many either, even with a threshold that is never reached.
#[test]
fn one_source_opens_only_so_many() {
    let mut site = bob();
    site.settings.cookie_threshold = usize::MAX;
    site.settings.block_threshold = 5;
    let mut world = world(6).site(site);
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    for n in 1..=50u64 {
        let mut first = request.clone();
        first[..8].copy_from_slice(&n.to_be_bytes());
        alice.send(&mut world, &first);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.status("bob").len(), 5);
    assert_eq!(dropped(&world, "bob", Drop::HalfOpenLimit), 45);
}

/// The total bound holds with cookies too.
#[test]
fn all_sources_open_only_so_many() {
    let mut site = bob();
    site.settings.cookie_threshold = usize::MAX;
    site.settings.max_half_open = 20;
    let mut world = world(7).site(site.with(|c| c.remote_addrs = vec![policy::AddressPattern::Any]));
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    for n in 1..=100u8 {
        let mut first = request.clone();
        first[0] = n;
        alice.address.set_ip([203, 0, 113, n].into());
        alice.send(&mut world, &first);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.status("bob").len(), 20);
    assert_eq!(dropped(&world, "bob", Drop::HalfOpenLimit), 80);
}

/// An initiator whom somebody sends from cookie to cookie gives up in the end.
#[test]
fn demands_for_cookies_do_not_go_on_for_ever() {
    let mut world = world(8).site(alice());
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    let mut requests = 0u32;
    while let Some(request) = bob.hear(&mut world) {
        requests += 1;
        let header = Message::parse(&request).unwrap().header;
        let flags = wire::Flags { initiator: false, version: false, response: true };
        let header = wire::Header { flags, ..header };
        let notify = Notify::new(NotifyType::COOKIE, requests.to_be_bytes().to_vec());
        let answer = Message { header, payloads: vec![Payload::Notify(notify)] }.emit();
        bob.send(&mut world, &answer);
        assert!(requests < 30, "{requests} requests");
    }
    world.until(suite::answered);
    assert!(matches!(world.reply(order), Some(sa::Reply::Refused(_))), "{:?}", world.reply(order));
}

/// The request with the cookie is the first one again, and nothing else.
//= rfc7296 §2.6
#[test]
fn the_cookie_stands_first_and_the_rest_is_as_before() {
    let mut site = bob();
    site.settings.cookie_threshold = 0;
    let mut world = world(9).peers(alice(), site);
    world.up("alice");
    world.until(established);
    let read = |n: usize| Message::parse(world.wire[n].1.message()).unwrap().into_owned();
    let (first, second) = (read(0), read(2));
    assert_eq!(first.header.spi_i, second.header.spi_i);
    assert_eq!(second.payloads[0].kind(), PayloadType::NOTIFY);
    assert_eq!(first.payloads[..], second.payloads[1..]);
}
