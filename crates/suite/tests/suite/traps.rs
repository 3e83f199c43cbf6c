//! Traps: a packet asks for its child SA.

use dataplane::{AddressRange, DataplaneEvent, Mode, Selector, TrapId};
use policy::{Policy, StartAction};
use sa::{Event, Order, Target};
use sim::{Site, established};
use std::sync::Arc;
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, world};
use wire::Payload;

fn trapping(site: Site) -> Site {
    site.starting(StartAction::Trap)
}

/// The selectors of a packet from one host to another, both with a port.
fn packet(from: &str, to: &str) -> (Selector, Selector) {
    let side = |address: &str, port| Selector {
        addresses: AddressRange::host(sim::site::ip(address)),
        protocol: 17,
        start_port: port,
        end_port: port,
    };
    (side(from, 4000), side(to, 53))
}

fn traps(world: &World, name: &str) -> Vec<(TrapId, String)> {
    world.host(name).dataplane.traps().map(|trap| (trap.id, trap.name.clone())).collect()
}

/// A packet comes to the first trap of a site.
fn acquire(world: &mut World, name: &str) {
    let id = traps(world, name)[0].0;
    let packet = packet("10.1.0.7", "10.2.0.9");
    world.dataplane_event(name, DataplaneEvent::Acquire { id, packet });
}

fn requests(world: &World) -> usize {
    let peeks = world.wire.iter().filter_map(|(_, datagram)| sim::Peek::of(datagram.message()));
    let mut spis: Vec<u64> =
        peeks.filter(|peek| peek.exchange == sim::peek::IKE_SA_INIT).map(|p| p.spi_i).collect();
    spis.sort_unstable();
    spis.dedup();
    spis.len()
}

/// S164: a trap stands and nothing is negotiated; then many packets ask, before, during and after the negotiation: one
/// IKE SA and one child SA come of it.
#[test]
fn s164_many_packets_start_one_negotiation() {
    let mut world = world(1).peers(trapping(alice()), bob());
    world.run(Duration::from_secs(60));
    assert_eq!(traps(&world, "alice").len(), 1);
    assert_eq!((traps(&world, "alice")[0].1.as_str(), world.wire.len()), ("net/lan", 0));
    for _ in 0..50 {
        acquire(&mut world, "alice");
        world.run(Duration::from_millis(3));
    }
    world.until(established);
    acquire(&mut world, "alice");
    world.run(Duration::from_secs(30));
    for name in ["alice", "bob"] {
        let list = world.status(name);
        assert_eq!((list.len(), list[0].children.len()), (1, 1), "{name}");
    }
    assert_eq!((requests(&world), world.host("alice").lookups.len()), (1, 1));
    assert_eq!(traps(&world, "alice").len(), 1, "it stays behind the child");
}

/// The selectors of the packet come first in TSi and TSr.
//= rfc7296 §2.9
#[test]
fn s164_the_packet_is_proposed_first() {
    let mut world = world(2).site(trapping(alice()));
    world.run(Duration::from_secs(1));
    let mut bob = Puppet::bob();
    acquire(&mut world, "alice");
    bob.answer_init(&mut world);
    let (_, request) = bob.asked(&mut world).expect("IKE_AUTH");
    let first = |payload: &Payload<'static>| match payload {
        Payload::TsI(ts) | Payload::TsR(ts) => Some((ts[0].clone(), ts.len())),
        _ => None,
    };
    let selectors: Vec<_> = request.iter().filter_map(first).collect();
    assert_eq!(selectors.len(), 2);
    for ((selector, count), port) in selectors.iter().zip([4000, 53]) {
        let wire::TrafficSelector::Ip(selector) = selector else { panic!("{selector:?}") };
        assert_eq!((selector.protocol, selector.start_port, *count), (17, port, 2));
    }
}

/// The IKE SA stands: a packet for another child makes that child and no other IKE SA.
#[test]
fn s164_a_packet_finds_the_ike_sa_that_stands() {
    let more = |site: Site, own: &str, other: &str| site.also("dmz", own, other);
    let mut one = more(alice(), "10.9.1.0/24", "10.9.2.0/24");
    Arc::make_mut(&mut one.connections[0].children[1]).start_action = StartAction::Trap;
    let mut world = world(3).peers(one, more(bob(), "10.9.2.0/24", "10.9.1.0/24"));
    world.up_child("alice", 0, Some("lan"));
    world.until(established).until(answered);
    let id = traps(&world, "alice")[0].0;
    let packet = packet("10.9.1.1", "10.9.2.1");
    world.dataplane_event("alice", DataplaneEvent::Acquire { id, packet });
    world.run(Duration::from_secs(5));
    let list = world.status("alice");
    assert_eq!((list.len(), list[0].children.len(), requests(&world)), (1, 2, 1));
    assert_eq!(world.host("alice").lookups.len(), 0, "the path is that of the IKE SA");
}

/// The peer is silent: one attempt after the other, whatever comes to the trap.
#[test]
fn s164_packets_do_not_hurry_the_attempts() {
    let mut world = world(4).peers(trapping(alice()), bob());
    world.attack(|scene| scene.take());
    world.run(Duration::from_secs(1));
    for _ in 0..600 {
        acquire(&mut world, "alice");
        world.run(Duration::from_secs(1));
    }
    let failed = world.host("alice").count(|event| matches!(event, Event::NotStarted { .. }));
    assert!((3..=4).contains(&failed), "{failed}");
    assert!(requests(&world) <= failed + 1);
    world.calm();
    world.run(Duration::from_secs(200));
    assert!(established(&world));
}

/// After `keyingtries` attempts nothing more is done until a packet asks, and that not at once.
#[test]
fn a_packet_after_the_last_attempt_has_to_wait() {
    let one = trapping(alice()).with(|c| c.keyingtries = 1);
    let mut world = world(5).peers(one, bob().with_psk(b"not the same as hers"));
    world.run(Duration::from_secs(1));
    for _ in 0..9 {
        acquire(&mut world, "alice");
        world.run(Duration::from_secs(1));
    }
    assert_eq!(requests(&world), 1);
    world.run(Duration::from_secs(3600));
    assert_eq!(requests(&world), 1, "no packet, no attempt");
    acquire(&mut world, "alice");
    world.run(Duration::from_secs(3));
    assert_eq!(requests(&world), 2);
}

/// `trap|start`: it is up at once, and comes back by a packet after somebody took it down.
#[test]
fn a_trap_stays_when_a_person_takes_its_child_down() {
    let mut world = world(6).peers(alice().starting(StartAction::TrapStart), bob());
    world.run(Duration::from_secs(2));
    assert!(established(&world));
    assert_eq!(traps(&world, "alice").len(), 1);
    world.order("alice", Order::Down(Target::Connection("net".to_string())));
    world.run(Duration::from_secs(600));
    assert_eq!((world.status("alice").len(), traps(&world, "alice").len()), (0, 1));
    acquire(&mut world, "alice");
    world.run(Duration::from_secs(2));
    assert_eq!(world.status("alice").len(), 1);
}

#[test]
fn a_reload_lays_new_traps_and_takes_up_those_that_are_gone() {
    let mut world = world(7).peers(alice(), bob());
    world.run(Duration::from_secs(1));
    assert_eq!(traps(&world, "alice").len(), 0);
    world.reload("alice", trapping(alice()));
    world.run(Duration::from_secs(1));
    let first = traps(&world, "alice");
    assert_eq!(first.len(), 1);
    // Other traffic: another trap in its place.
    let wider = trapping(alice()).child(|child| child.local_ts = vec![sim::site::net("10.0.0.0/8")]);
    world.reload("alice", wider);
    world.run(Duration::from_secs(1));
    let second = traps(&world, "alice");
    assert!(second.len() == 1 && second != first, "{second:?}");
    world.reload("alice", alice());
    world.run(Duration::from_secs(1));
    assert_eq!(traps(&world, "alice").len(), 0);
    world.reload("alice", trapping(alice()));
    world.run(Duration::from_secs(1));
    world.order("alice", Order::Reload(Arc::new(Policy::default())));
    world.run(Duration::from_secs(1));
    assert_eq!(traps(&world, "alice").len(), 0);
}

/// All goes: the traps too, so that nothing begins while the daemon stops.
#[test]
fn traps_go_when_all_goes() {
    let mut world = world(8).peers(trapping(alice()), bob());
    world.run(Duration::from_secs(1));
    acquire(&mut world, "alice");
    world.until(established);
    world.down("alice");
    world.until(answered);
    assert_eq!(traps(&world, "alice").len(), 0);
    world.run(Duration::from_secs(600));
    assert_eq!(world.status("alice").len(), 0);
}

/// Selectors that stand for the ends' addresses: the trap waits for the name, and follows it.
#[test]
fn a_trap_for_the_two_ends_follows_their_addresses() {
    let hosts = |site: Site| {
        site.child(|child| {
            child.mode = Mode::Transport;
            child.local_ts.clear();
            child.remote_ts.clear();
        })
    };
    let mut world = world(9).peers(trapping(hosts(alice()).by_name("gw.example")), hosts(bob()));
    world.run(Duration::from_secs(1));
    assert_eq!(traps(&world, "alice").len(), 0, "nobody knows for whom");
    let says_so = |event: &Event| matches!(event, Event::Note { text, .. } if text.contains("cannot start"));
    assert_eq!(world.host("alice").count(says_so), 1);
    let to = |world: &World| world.host("alice").dataplane.traps().map(|t| t.remote_ts[0]).next();
    let host = |address: &str| Selector::addresses(AddressRange::host(sim::site::ip(address)));
    world.host_mut("alice").names.insert("gw.example".into(), sim::site::ip("203.0.113.5"));
    world.run(Duration::from_secs(301));
    assert_eq!(to(&world), Some(host("203.0.113.5")));
    // The peer has moved: the attempt finds that out, and so does the trap.
    world.host_mut("alice").names.insert("gw.example".into(), sim::site::ip("198.51.100.2"));
    let id = traps(&world, "alice")[0].0;
    let packet = (host("192.0.2.1"), host("203.0.113.5"));
    world.dataplane_event("alice", DataplaneEvent::Acquire { id, packet });
    world.run(Duration::from_secs(5));
    assert_eq!((to(&world), traps(&world, "alice").len()), (Some(host("198.51.100.2")), 1));
}

/// The peer narrows the child to less than the trap: a packet outside of it asks for another child, but not for ever.
#[test]
fn a_packet_outside_of_a_narrowed_child_asks_for_another_a_few_times() {
    let other = bob().child(|child| child.local_ts = vec![sim::site::net("10.2.64.0/18")]);
    let mut world = world(10).peers(trapping(alice()), other);
    world.run(Duration::from_secs(1));
    let id = traps(&world, "alice")[0].0;
    let inside = packet("10.1.0.1", "10.2.64.1");
    world.dataplane_event("alice", DataplaneEvent::Acquire { id, packet: inside });
    world.until(established);
    world.dataplane_event("alice", DataplaneEvent::Acquire { id, packet: inside });
    world.run(Duration::from_secs(5));
    assert_eq!(world.status("alice")[0].children.len(), 1);
    for _ in 0..3600 {
        let outside = packet("10.1.0.1", "10.2.0.1");
        world.dataplane_event("alice", DataplaneEvent::Acquire { id, packet: outside });
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.status("alice")[0].children.len(), 4);
}

/// A late event of a trap that is gone finds nobody.
#[test]
fn a_trap_that_is_gone_starts_nothing() {
    let mut world = world(11).peers(trapping(alice()), bob());
    world.run(Duration::from_secs(1));
    let id = traps(&world, "alice")[0].0;
    world.reload("alice", alice());
    let packet = packet("10.1.0.1", "10.2.0.1");
    world.dataplane_event("alice", DataplaneEvent::Acquire { id, packet });
    world.run(Duration::from_secs(60));
    assert_eq!(world.wire.len(), 0);
}
