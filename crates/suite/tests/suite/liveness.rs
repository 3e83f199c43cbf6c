//! Is the peer still there? (RFC 7296 §2.4)

use sa::{Event, Fate, Order, RefusalKind, Reply};
use sim::{Flow, established};
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, is_clean, world};

/// `dpd_delay` of the sites.
const DELAY: Duration = Duration::from_secs(30);

/// How many requests a site has sent since the first `before` datagrams.
fn asked(world: &World, name: &str, before: usize) -> usize {
    let address = world.host(name).public_address();
    let sent = world.wire[before..].iter().filter(|(_, datagram)| datagram.from.ip() == address);
    sent.filter(|(_, datagram)| datagram.peek().is_some_and(|peek| !peek.response)).count()
}

//= rfc7296 §2.4
#[test]
fn s108_a_probe_is_an_empty_informational_exchange() {
    let mut world = world(1).site(alice());
    world.up("alice");
    let mut bob = Puppet::bob();
    bob.establish(&mut world);
    let ike = world.status("alice")[0].id;
    let order = world.order("alice", Order::Probe(ike));
    let (header, payloads) = bob.asked(&mut world).expect("a probe");
    assert_eq!((header.exchange, payloads.len()), (wire::num::ExchangeType::INFORMATIONAL, 0));
    bob.reply(&mut world, &header, &[]);
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Alive { round_trip }) => assert!(*round_trip > Duration::ZERO),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_peer_that_is_gone_is_found_out_and_given_up() {
    let mut world = world(2).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    world.attack(|scene| scene.take());
    world.run(Duration::from_secs(400));
    assert!(is_clean(&mut world));
    for name in ["alice", "bob"] {
        assert_eq!(
            world.host(name).count(|e| matches!(e, Event::IkeDown(_, Fate::Silent { .. }))),
            1,
            "{name}"
        );
        assert_eq!(
            world.host(name).count(|e| matches!(e, Event::ChildDown(_, _, Fate::Silent { .. }))),
            1,
            "{name}"
        );
    }
}

#[test]
fn whoever_answers_is_kept() {
    let mut world = world(3).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    world.run(Duration::from_secs(3600));
    assert!(established(&world) && world.status("alice").len() == 1);
    assert!(world.wire.len() > 100, "probes every thirty seconds: {}", world.wire.len());
}

#[test]
fn without_a_delay_nobody_probes() {
    let quiet = |site: sim::Site| site.with(|c| c.dpd_delay = Duration::ZERO);
    let mut world = world(4).peers(quiet(alice()), quiet(bob()));
    world.up("alice");
    world.until(established);
    world.run(Duration::from_secs(3600));
    assert_eq!(world.wire.len(), 4);
}

#[test]
fn an_order_to_probe_what_is_not_there_is_refused() {
    let mut world = world(5).peers(alice(), bob());
    let order = world.order("alice", Order::Probe(sa::IkeSaId(4711)));
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.kind, RefusalKind::NotFound),
        other => panic!("{other:?}"),
    }
}

/// ESP that comes in shows that the peer lives: nobody asks as long as it does.
//= rfc7296 §2.4
//# If no cryptographically protected messages have been received on an IKE SA or any of its Child SAs recently, the system
//# needs to perform a liveness check
#[test]
fn s108_traffic_spares_the_probe() {
    let mut world = world(6).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let before = world.wire.len();
    world.traffic("alice", "bob", DELAY / 3);
    world.run(Duration::from_secs(3600));
    assert!(world.traffic.arrived > 700, "{:?}", world.traffic);
    assert_eq!(world.wire.len(), before, "somebody has asked");
    world.traffic_stops();
    world.traffic_lands();
    world.run(DELAY - DELAY / 3 - Duration::from_secs(1));
    assert_eq!(world.wire.len(), before, "the last packet came less than `dpd_delay` ago");
    world.run(DELAY);
    assert!(asked(&world, "alice", before) + asked(&world, "bob", before) > 0, "silence is asked about");
}

/// What we send shows nothing of the peer: whoever only sends asks, whoever hears does not.
//= rfc7296 §2.4
#[test]
fn s108_traffic_the_other_way_does_not() {
    let mut world = world(7).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let before = world.wire.len();
    let flow = Flow::udp(sim::site::ip("10.1.0.1"), sim::site::ip("10.2.0.1"));
    world.ping("alice", flow, DELAY / 3);
    world.run(Duration::from_secs(3600));
    let probes = (asked(&world, "alice", before), asked(&world, "bob", before));
    assert!((115..=120).contains(&probes.0) && probes.1 == 0, "{probes:?}");
}
