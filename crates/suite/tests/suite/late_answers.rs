//! Jobs and operations that are answered late, in another order, or never.

use sa::{Order, Reply, Target};
use sim::{DataplaneNature, KeeperNature, established};
use std::time::Duration;
use suite::{alice, answered, bob, is_clean, world};

fn slow(from: u64, to: u64) -> KeeperNature {
    KeeperNature { delay: Duration::from_millis(from)..=Duration::from_millis(to), forget: 0 }
}

/// The peer's retransmissions, while the keys are still being asked for, change nothing.
#[test]
fn a_slow_keeper_is_waited_for() {
    let (mut one, mut other) = (alice(), bob());
    (one.keeper, other.keeper) = (slow(3000, 9000), slow(3000, 9000));
    let mut world = world(1).peers(one, other);
    let order = world.up("alice");
    world.until(established).until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Up { .. })));
    assert!(world.stats.get("request retransmitted") > 0);
}

/// An answer that comes when nobody waits any more finds nobody.
#[test]
fn an_answer_after_the_end_finds_nobody() {
    let (one, mut other) = (alice(), bob());
    other.keeper = slow(600_000, 700_000);
    let mut world = world(2).peers(one, other);
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{:?}", world.reply(order));
    world.run(Duration::from_secs(1000));
    assert!(is_clean(&mut world));
}

/// Nobody ever answers: both sides give up in the end and say why.
#[test]
fn a_keeper_that_never_answers_is_given_up() {
    for which in ["alice", "bob"] {
        let (mut one, mut other) = (alice(), bob());
        let site = if which == "alice" { &mut one } else { &mut other };
        site.keeper = KeeperNature { forget: 1000, ..KeeperNature::default() };
        let mut world = world(3).peers(one, other);
        let order = world.up("alice");
        world.run(Duration::from_secs(600));
        match world.reply(order) {
            Some(Reply::Refused(refusal)) => assert!(!refusal.reason.is_empty()),
            other => panic!("{which}: {other:?}"),
        }
        assert!(is_clean(&mut world), "{which}");
    }
}

#[test]
fn a_slow_data_plane_is_waited_for() {
    let (mut one, mut other) = (alice(), bob());
    let delay = Duration::from_millis(5000)..=Duration::from_millis(6000);
    one.dataplane = DataplaneNature { delay: delay.clone(), refuse: 0 };
    other.dataplane = DataplaneNature { delay, refuse: 0 };
    let mut world = world(4).peers(one, other);
    world.up("alice");
    world.until(established);
    let down = world.down("alice");
    world.until(answered);
    assert!(matches!(world.reply(down), Some(Reply::Down { .. })));
    world.run(Duration::from_secs(60));
    assert!(is_clean(&mut world));
}

/// The order to go down comes at every moment of a handshake whose answers are slow.
#[test]
fn an_order_to_go_down_is_obeyed_at_any_moment() {
    for moment in 0..60 {
        let (mut one, mut other) = (alice(), bob());
        (one.keeper, other.keeper) = (slow(0, 400), slow(0, 400));
        for site in [&mut one, &mut other] {
            let delay = Duration::ZERO..=Duration::from_millis(200);
            site.dataplane = DataplaneNature { delay, refuse: 0 };
        }
        let mut world = world(100 + moment).peers(one, other);
        let up = world.up("alice");
        world.run(Duration::from_millis(moment * 20));
        world.order("alice", Order::Down(Target::All));
        world.until(answered);
        assert!(world.reply(up).is_some(), "{moment}");
        world.run(Duration::from_secs(400));
        assert!(is_clean(&mut world), "{moment}");
    }
}
