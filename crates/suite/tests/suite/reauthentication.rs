//! Repeated authentication (RFC 4478): a new IKE SA with all children comes first, then the old one goes.

use policy::{EndAction, IkeLifetime, Unique};
use sa::{Event, Order, Target};
use sim::{Site, established};
use std::time::Duration;
use suite::{Puppet, World, alice, bob, world};
use wire::num::{ExchangeType, NotifyType, PayloadType};
use wire::{Notify, Payload};

const SECOND: Duration = Duration::from_secs(1);

fn every(seconds: u64) -> IkeLifetime {
    let reauth = Duration::from_secs(seconds);
    IkeLifetime { reauth, over: reauth / 10, ..IkeLifetime::UNLIMITED }
}

fn spi(world: &mut World, name: &str) -> base::IkeSpi {
    let all = world.status(name);
    assert_eq!(all.len(), 1, "{name}: {all:?}");
    all[0].spi_i
}

/// Runs for that long; at every moment each side has a child SA.
fn run_without_gap(world: &mut World, time: Duration) {
    let end = world.now() + time;
    while world.now() < end {
        world.run(Duration::from_millis(100));
        for name in ["alice", "bob"] {
            assert!(
                world.host(name).dataplane.sad().count() >= 1,
                "{name} has no child at {:?}",
                world.now()
            );
        }
    }
}

fn lifetime(seconds: u32) -> Payload<'static> {
    Payload::Notify(Notify::new(NotifyType::AUTH_LIFETIME, seconds.to_be_bytes().to_vec()))
}

//= rfc4478 §2
#[test]
fn s081_the_initiator_makes_before_it_breaks() {
    for unique in [Unique::No, Unique::Replace, Unique::Never] {
        let also = |site: Site| site.with(|c| c.unique = unique);
        let one = also(alice().with(|c| c.lifetime = every(600)).also("dmz", "10.11.0.0/16", "10.12.0.0/16"));
        let other = also(bob().also("dmz", "10.12.0.0/16", "10.11.0.0/16"));
        let mut world = world(1).peers(one, other);
        world.up("alice");
        world.until(established);
        world.run(SECOND);
        let first = spi(&mut world, "alice");
        run_without_gap(&mut world, Duration::from_secs(700));
        let second = spi(&mut world, "alice");
        assert_ne!(first, second, "{unique:?}");
        assert_eq!(spi(&mut world, "bob"), second);
        assert_eq!(world.status("alice")[0].children.len(), 2, "{unique:?}");
        assert_eq!(world.host("bob").dataplane.sad().count(), 2);
    }
}

/// Who is the client is decided by who began, not by who has last given the IKE SA new keys.
//= rfc4478 §2
#[test]
fn s081_the_gateway_keeps_what_it_has_rekeyed_until_the_client_has_changed_over() {
    let also = |site: Site| site.with(|c| c.unique = Unique::Replace);
    let mut world = world(4).peers(also(alice().with(|c| c.lifetime = every(600))), also(bob()));
    world.up("alice");
    world.until(established);
    world.run(SECOND);
    world.order("bob", sa::Order::Rekey(sa::Target::Connection("net".to_string())));
    world.run(SECOND);
    let first = spi(&mut world, "alice");
    run_without_gap(&mut world, Duration::from_secs(700));
    assert_ne!(spi(&mut world, "alice"), first);
    assert_eq!(world.status("bob").len(), 1);
}

/// The responder tells for how long, and the initiator follows without a word in its own file.
#[test]
fn s081_the_responder_s_auth_lifetime_is_kept() {
    let mut world = world(2).peers(alice(), bob().with(|c| c.lifetime = every(1000)));
    world.up("alice");
    world.until(established);
    world.run(SECOND);
    let mut seen = vec![spi(&mut world, "alice")];
    for _ in 0..5 {
        run_without_gap(&mut world, Duration::from_secs(1000));
        let now = spi(&mut world, "alice");
        assert!(!seen.contains(&now));
        seen.push(now);
    }
    let expired = |event: &Event| matches!(event, Event::IkeDown(_, sa::Fate::Expired));
    assert_eq!(world.host("bob").count(expired), 0, "nobody came too late");
}

/// A responder closes what is not proved anew, also after new keys.
//= rfc4478 §2
#[test]
fn s081_an_initiator_that_does_not_come_is_out() {
    let keys = IkeLifetime { rekey: Duration::from_secs(100), ..every(600) };
    let mut world = world(3).site(bob().with(|c| c.lifetime = IkeLifetime { rekey: Duration::ZERO, ..keys }));
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let payloads = alice.auth_payloads();
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    let told = answer.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::AUTH_LIFETIME => Some(notify.data.to_vec()),
        _ => None,
    });
    assert_eq!(told, Some(600_u32.to_be_bytes().to_vec()));
    world.run(SECOND);
    for _ in 0..65 {
        alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]).expect("bob lives");
        world.run(10 * SECOND);
    }
    alice.deaf(&world);
    let asked = alice.asked(&mut world);
    world.run(30 * SECOND);
    assert!(asked.is_none_or(|(_, payloads)| payloads.iter().any(|p| p.kind() == PayloadType::DELETE)));
    assert_eq!(world.status("bob").len(), 0, "closed when the time and the grace were over");
}

/// What the peer tells in IKE_AUTH or later counts; nonsense does not, and no time is so short that we do nothing else.
#[test]
fn s081_odd_lifetimes_do_no_harm() {
    for data in [vec![], vec![1], vec![0, 0, 0, 1, 0]] {
        let mut world = world(4).site(alice());
        let mut bob = Puppet::bob();
        world.up("alice");
        bob.establish(&mut world);
        let notify = Payload::Notify(Notify::new(NotifyType::AUTH_LIFETIME, data));
        bob.next_id = 0;
        let answer = bob.ask(&mut world, ExchangeType::INFORMATIONAL, &[notify]).expect("an answer");
        assert!(answer.is_empty(), "{}", wire::summary(&answer));
        world.run(20 * SECOND);
        assert_eq!(world.status("alice").len(), 1);
    }
    let mut world = world(5).site(alice());
    let mut bob = Puppet::bob();
    world.up("alice");
    bob.establish(&mut world);
    bob.next_id = 0;
    bob.ask(&mut world, ExchangeType::INFORMATIONAL, &[lifetime(0)]).expect("an answer");
    world.run(SECOND);
    assert_eq!(world.status("alice").len(), 1, "not before its least time");
    let wire = world.wire.len();
    world.run(10 * SECOND);
    let begun = world.wire[wire..].iter().filter(|(_, datagram)| datagram.message()[18] == 34).count();
    assert!(begun >= 1, "it begins anew");
    assert_eq!(
        world.status("alice").iter().filter(|sa| sa.state == "established").count(),
        1,
        "the old one stays"
    );
}

/// The new IKE SA does not come about: the old one serves on, and it is tried again.
#[test]
fn s081_a_failed_attempt_leaves_the_old_one() {
    let mut world = world(6).peers(alice().with(|c| c.lifetime = every(600)), bob());
    world.up("alice");
    world.until(established);
    world.run(500 * SECOND);
    let first = spi(&mut world, "alice");
    // Every IKE_SA_INIT is lost.
    world.attack(|scene| {
        if scene.datagram.message().get(18) == Some(&34) {
            scene.take();
        }
    });
    world.run(120 * SECOND);
    let standing: Vec<_> = world.status("alice").into_iter().filter(|sa| sa.state == "established").collect();
    assert_eq!((standing.len(), standing[0].spi_i), (1, first));
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
    world.calm();
    world.run(30 * SECOND);
    assert_ne!(spi(&mut world, "alice"), first);
}

/// `unique = "keep"` keeps strangers out, not the peer itself: it proves itself anew from where it is, also behind a NAT and
/// after new keys.
//= rfc4478 §2
#[test]
fn s081_keep_lets_the_peer_prove_itself_anew() {
    for (nat, announced, keys) in
        [(false, false, 0), (true, false, 0), (false, true, 0), (true, true, 0), (false, false, 400)]
    {
        let site = alice().with(|c| {
            c.lifetime = if announced { IkeLifetime::UNLIMITED } else { every(600) };
            c.lifetime.rekey = Duration::from_secs(keys);
        });
        let site = if nat { site.behind("203.0.113.1", Duration::from_secs(600)) } else { site };
        let keeps = bob().with(|c| {
            (c.unique, c.remote_addrs) = (Unique::Keep, vec![policy::AddressPattern::Any]);
            c.lifetime = if announced { every(600) } else { IkeLifetime::UNLIMITED };
        });
        let mut world = world(7).peers(site, keeps);
        world.up("alice");
        world.until(established);
        world.run(SECOND);
        let first = spi(&mut world, "alice");
        run_without_gap(&mut world, Duration::from_secs(700));
        let case = (nat, announced, keys);
        assert_ne!(spi(&mut world, "alice"), first, "{case:?}");
        assert_eq!(spi(&mut world, "bob"), spi(&mut world, "alice"), "{case:?}");
        let refusals: Vec<_> = world.host("bob").refusals();
        assert!(refusals.is_empty(), "{case:?}: {refusals:?}");
    }
}

/// A child that is ordered up while the new IKE SA is being made, at whatever moment, stands in that one.
#[test]
fn s081_a_child_that_comes_up_meanwhile_is_carried_over() {
    for offset in 0..40 {
        let one = alice().with(|c| c.lifetime = every(600)).also("dmz", "10.11.0.0/16", "10.12.0.0/16");
        let mut world = world(8).peers(one, bob().also("dmz", "10.12.0.0/16", "10.11.0.0/16"));
        world.up_child("alice", 0, Some("lan"));
        world.until(established);
        world.run(590 * SECOND);
        let before = world.status("alice")[0].spi_i;
        world.until(|world| world.wire.last().is_some_and(|(_, d)| d.message()[18] == 34));
        world.run(Duration::from_millis(5 * offset));
        let order = world.up_child("alice", 0, Some("dmz"));
        world.until(suite::answered);
        let reply = world.reply(order);
        assert!(
            matches!(reply, Some(sa::Reply::Up { children, .. }) if children == &["dmz"]),
            "{offset}: {reply:?}"
        );
        world.run(30 * SECOND);
        assert_ne!(spi(&mut world, "alice"), before, "{offset}");
        for name in ["alice", "bob"] {
            let mut children: Vec<_> =
                world.status(name)[0].children.iter().map(|child| child.name.clone()).collect();
            children.sort();
            assert_eq!(children, ["dmz", "lan"], "{offset} {name}");
        }
    }
}

/// A child that the new IKE SA does not get does not keep the old one: it is asked for there once.
#[test]
fn s081_a_child_that_is_refused_does_not_hold_the_old_one() {
    let one = alice().with(|c| c.lifetime = every(600)).also("dmz", "10.11.0.0/16", "10.12.0.0/16");
    let mut world = world(9).peers(one, bob().also("dmz", "10.12.0.0/16", "10.11.0.0/16"));
    world.up("alice");
    world.until(established);
    world.run(SECOND);
    world.reload("bob", bob());
    world.run(700 * SECOND);
    assert_eq!(spi(&mut world, "alice"), spi(&mut world, "bob"));
    assert_eq!(world.status("alice")[0].children.len(), 1);
    assert_eq!(world.host("bob").refusals().len(), 1, "{:?}", world.host("bob").refusals());
}

/// What has been taken over is not lost: no trap and no attempt comes of it.
#[test]
fn s081_what_is_taken_over_is_not_lost() {
    for action in [EndAction::Trap, EndAction::Restart] {
        let mut world = world(10).peers(alice().with(|c| c.lifetime = every(600)).ending(action), bob());
        world.up("alice");
        world.until(established);
        world.run(700 * SECOND);
        assert_eq!(world.status("alice")[0].children.len(), 1);
        assert_eq!(world.host("alice").dataplane.traps().count(), 0, "{action:?}");
        assert!(world.host("alice").lookups.is_empty(), "{action:?}");
    }
}

/// A peer that gives nothing new keys: another IKE SA takes the old one's place, before that goes.
//= rfc7296 §4
#[test]
fn where_nothing_gets_new_keys_another_ike_sa_takes_the_place() {
    let child = || Target::Child("net".to_string(), "lan".to_string());
    for target in [child(), Target::Connection("net".to_string())] {
        let mut world = world(6).site(alice());
        let mut bob = Puppet::bob();
        world.up("alice");
        bob.establish(&mut world);
        world.order("alice", Order::Rekey(target));
        let (header, _) = bob.asked(&mut world).expect("alice wants new keys");
        assert_eq!(header.exchange, ExchangeType::CREATE_CHILD_SA);
        let mut next = Puppet::bob();
        next.esp_spi.0 += 1;
        next.deaf(&world);
        let notify = Notify::new(NotifyType::NO_ADDITIONAL_SAS, Vec::new());
        bob.reply(&mut world, &header, &[Payload::Notify(notify)]);
        next.establish(&mut world);
        let (header, payloads) = bob.asked(&mut world).expect("the old one is deleted");
        assert!(payloads.iter().any(|payload| payload.kind() == PayloadType::DELETE));
        bob.reply(&mut world, &header, &[]);
        world.run(10 * SECOND);
        assert_eq!(world.host("alice").dataplane.sad().count(), 1);
        let down = |event: &Event| matches!(event, Event::IkeDown(..));
        assert_eq!(world.host("alice").count(down), 1);
        assert_eq!(world.status("alice").len(), 1);
    }
}
