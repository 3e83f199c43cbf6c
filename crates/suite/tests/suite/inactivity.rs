//! Children that nobody uses (`inactivity`).

use policy::{Child, ChildLifetime, StartAction};
use sa::{Event, Fate};
use sim::{Flow, Site, established};
use std::time::Duration;
use suite::{World, alice, bob, world};

const SECOND: Duration = Duration::from_secs(1);

fn idle(seconds: u64) -> impl Fn(&mut Child) {
    move |child| child.inactivity = Duration::from_secs(seconds)
}

fn up(seed: u64, one: Site, other: Site) -> World {
    let mut world = world(seed).peers(one, other);
    world.up("alice");
    world.until(established);
    world
}

fn children(world: &mut World) -> (usize, usize) {
    (world.host("alice").dataplane.sad().count(), world.host("bob").dataplane.sad().count())
}

fn unused(world: &World) -> usize {
    world.host("alice").count(|event| matches!(event, Event::ChildDown(_, _, Fate::Unused)))
}

#[test]
fn s114_a_child_that_nobody_uses_is_deleted_and_the_ike_sa_stays() {
    let mut world = up(1, alice().child(idle(60)), bob());
    world.run(59 * SECOND);
    assert_eq!((children(&mut world), unused(&world)), ((1, 1), 0));
    world.run(2 * SECOND);
    assert_eq!((children(&mut world), unused(&world)), ((0, 0), 1));
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (1, 1));
    // The next order makes another one, in the same IKE SA.
    world.up("alice");
    world.run(SECOND);
    assert_eq!(children(&mut world), (1, 1));
}

/// A packet in either direction puts it off, and it goes when that was long enough ago: the data plane does not tell when
/// a packet went out, so that may be a quarter later.
#[test]
fn s114_traffic_in_either_direction_keeps_it() {
    for (seed, from, late) in [(2, "alice", 16), (3, "bob", 2)] {
        let mut world = up(seed, alice().child(idle(60)), bob());
        let ip = |text: &str| text.parse().expect("an address");
        let flow = Flow::udp(ip("10.1.0.1"), ip("10.2.0.1"));
        for _ in 0..20 {
            world.packet(from, if from == "alice" { flow } else { flow.reversed() });
            world.run(50 * SECOND);
        }
        assert_eq!((children(&mut world), unused(&world)), ((1, 1), 0), "{from}");
        world.run(9 * SECOND);
        assert_eq!(unused(&world), 0, "{from}");
        world.run(late * SECOND);
        assert_eq!((children(&mut world), unused(&world)), ((0, 0), 1), "{from}");
    }
}

/// New keys are no use: a child goes though it got some in the meantime, from either side.
#[test]
fn s114_new_keys_do_not_keep_it() {
    let rekey = |child: &mut Child| {
        let lifetime = ChildLifetime { rekey: 25 * SECOND, life: 40 * SECOND, ..ChildLifetime::UNLIMITED };
        child.lifetime = lifetime;
    };
    for (seed, ours) in [(4, true), (5, false)] {
        let (one, other) = (alice().child(idle(60)), bob());
        let (one, other) = if ours { (one.child(rekey), other) } else { (one, other.child(rekey)) };
        let mut world = up(seed, one, other);
        let ip = |text: &str| text.parse().expect("an address");
        world.run(20 * SECOND);
        world.packet("alice", Flow::udp(ip("10.1.0.1"), ip("10.2.0.1")));
        world.run(58 * SECOND);
        let renewed = |event: &Event| matches!(event, Event::ChildUp(..));
        assert!(world.host("alice").count(renewed) >= 3, "two rekeys and the first");
        assert_eq!(unused(&world), 0, "ours: {ours}");
        world.run(20 * SECOND);
        assert_eq!((children(&mut world), unused(&world)), ((0, 0), 1), "ours: {ours}");
    }
}

/// With a trap the next packet brings it back, and is not lost.
#[test]
fn s114_a_trap_brings_it_back() {
    let one = alice().child(idle(60)).starting(StartAction::TrapStart);
    let mut world = up(6, one, bob());
    world.run(70 * SECOND);
    assert_eq!(children(&mut world), (0, 0));
    let ip = |text: &str| text.parse().expect("an address");
    world.packet("alice", Flow::udp(ip("10.1.0.1"), ip("10.2.0.1")));
    world.run(SECOND);
    assert_eq!(children(&mut world), (1, 1));
    world.traffic_lands();
    assert_eq!(world.traffic.lost_by_us(), 0);
}
