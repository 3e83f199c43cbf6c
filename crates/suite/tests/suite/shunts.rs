//! Shunts: what passes by the tunnels, and what is dropped (RFC 4301 §4.4.1).

use policy::{Policy, ShuntAction, StartAction};
use sa::{Event, Order};
use sim::{Flow, established};
use std::sync::Arc;
use std::time::Duration;
use suite::{World, alice, answered, bob, world};

const SECOND: Duration = Duration::from_secs(1);

fn flow(from: &str, to: &str) -> Flow {
    Flow::udp(sim::site::ip(from), sim::site::ip(to))
}

/// The names of the policies without a child in a site's data plane.
fn laid(world: &World, name: &str) -> Vec<String> {
    world.host(name).dataplane.traps().map(|trap| trap.name.clone()).collect()
}

/// A packet of that flow leaves alice: how many passed in the clear as they may, arrived, were dropped and were not
/// protected since the last one.
fn sent(world: &mut World, flow: Flow) -> [u64; 4] {
    let count = |world: &World| {
        let traffic = &world.traffic;
        [traffic.passed, traffic.arrived, traffic.dropped, traffic.unprotected]
    };
    let before = count(world);
    world.packet("alice", flow);
    world.run(SECOND);
    let after = count(world);
    std::array::from_fn(|i| after[i] - before[i])
}

/// The tunnel stands and means it; it leaves outside of the tunnel nevertheless. What the shunt does not mean, even of the
/// same networks, leaves by the tunnel.
//= rfc4301 §4.4.1
#[test]
fn s165_what_passes_goes_before_children() {
    let one = alice().shunt("printer", ShuntAction::Pass, "10.1.0.0/16", "10.2.0.9/32");
    let mut world = world(1).peers(one, bob());
    world.run(SECOND);
    assert_eq!(laid(&world, "alice"), ["printer"]);
    assert_eq!(sent(&mut world, flow("10.1.0.7", "10.2.0.9")), [1, 0, 0, 0], "without a tunnel");
    world.up("alice");
    world.until(established).until(answered);
    assert_eq!(sent(&mut world, flow("10.1.0.7", "10.2.0.9")), [1, 0, 0, 0]);
    assert_eq!(sent(&mut world, flow("10.1.0.7", "10.2.0.8")), [0, 1, 0, 0]);
    assert_eq!(world.traffic.leaked, 0);
}

/// Whatever stands or does not, it never leaves in the clear; a tunnel carries what it means of it.
//= rfc4301 §4.4.1
#[test]
fn s165_what_is_dropped_never_leaves() {
    let one = alice().shunt("wall", ShuntAction::Drop, "10.0.0.0/8", "10.0.0.0/8");
    let mut world = world(2).peers(one, bob());
    world.run(SECOND);
    let (inside, outside) = (flow("10.1.0.7", "10.2.0.9"), flow("10.1.0.7", "10.3.0.9"));
    assert_eq!(sent(&mut world, inside), [0, 0, 1, 0]);
    world.up("alice");
    world.until(established).until(answered);
    assert_eq!(sent(&mut world, inside), [0, 1, 0, 0], "a child goes first");
    assert_eq!(sent(&mut world, outside), [0, 0, 1, 0]);
    assert_eq!(sent(&mut world, flow("10.1.0.7", "192.0.2.77")), [0, 0, 0, 1], "nobody means it");
    // All goes, but not what the policy drops.
    world.down("alice");
    world.until(answered);
    assert_eq!(laid(&world, "alice"), ["wall"]);
    assert_eq!(sent(&mut world, inside), [0, 0, 1, 0]);
    assert_eq!(world.traffic.leaked, 0);
}

/// The trap is the only policy: while the peer is silent, while it refuses and after the last attempt no packet leaves in
/// the clear, and with a shunt below nothing does even where the trap is gone.
#[test]
fn s165_nothing_leaks_while_a_trap_negotiates_or_fails() {
    for (seed, silent) in [(3, true), (4, false)] {
        let one = alice().starting(StartAction::Trap).with(|c| c.keyingtries = 2);
        let mut world = world(seed).peers(one, bob().with_psk(b"not the same as hers"));
        if silent {
            world.attack(|scene| scene.take());
        }
        world.run(SECOND);
        world.ping("alice", flow("10.1.0.7", "10.2.0.9"), Duration::from_millis(100));
        world.run(Duration::from_secs(1200));
        let failed = world.host("alice").count(|event| matches!(event, Event::NotStarted { .. }));
        assert!(failed >= 2, "{failed}");
        let traffic = &world.traffic;
        assert!(traffic.sent > 10_000 && traffic.dropped > 10_000, "{traffic:?}");
        assert_eq!((traffic.passed, traffic.unprotected, traffic.leaked, traffic.arrived), (0, 0, 0, 0));
    }
}

/// A trap that goes with all the rest leaves a gap; a shunt below closes it.
#[test]
fn s165_a_shunt_drops_what_a_trap_that_is_gone_has_meant() {
    let one =
        alice().starting(StartAction::Trap).shunt("wall", ShuntAction::Drop, "10.1.0.0/16", "10.2.0.0/16");
    let mut world = world(5).peers(one, bob());
    world.run(SECOND);
    assert_eq!(sent(&mut world, flow("10.1.0.7", "10.2.0.9"))[1], 1, "the trap goes first");
    world.down("alice");
    world.until(answered);
    world.run(SECOND);
    assert_eq!(laid(&world, "alice"), ["wall"]);
    assert_eq!(sent(&mut world, flow("10.1.0.7", "10.2.0.9")), [0, 0, 1, 0]);
}

/// A reload takes up what is gone or has changed, lays what is new, and leaves alone what has stayed.
#[test]
fn s165_a_reload_adds_and_removes_shunts() {
    use ShuntAction::{Drop, Pass};
    let wall = |action| alice().shunt("wall", action, "10.1.0.0/16", "10.2.0.0/16");
    let packet = flow("10.1.0.7", "10.2.0.9");
    let mut world = world(6).peers(alice(), bob());
    world.run(SECOND);
    assert_eq!(sent(&mut world, packet), [0, 0, 0, 1]);
    world.reload("alice", wall(Drop));
    world.run(SECOND);
    assert_eq!(sent(&mut world, packet), [0, 0, 1, 0]);
    let id = |world: &World| world.host("alice").dataplane.traps().map(|trap| trap.id).min();
    let first = id(&world);
    world.reload("alice", wall(Drop).shunt("more", Pass, "10.1.0.0/16", "10.9.0.0/16"));
    world.run(SECOND);
    assert_eq!((id(&world), laid(&world, "alice").len()), (first, 2), "the first one has stayed");
    assert_eq!(sent(&mut world, flow("10.1.0.7", "10.9.0.9")), [1, 0, 0, 0]);
    world.reload("alice", wall(Pass));
    world.run(SECOND);
    assert_eq!(laid(&world, "alice"), ["wall"]);
    assert_eq!(sent(&mut world, packet), [1, 0, 0, 0]);
    world.order("alice", Order::Reload(Arc::new(Policy::default())));
    world.run(SECOND);
    assert_eq!(laid(&world, "alice").len(), 0);
    assert_eq!((sent(&mut world, packet), world.traffic.leaked), ([0, 0, 0, 1], 0));
}
