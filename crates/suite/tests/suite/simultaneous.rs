//! Both sides do the same at once.

use sa::{Order, Reply, Target};
use sim::established;
use std::time::Duration;
use suite::{alice, answered, bob, is_clean, world};

#[test]
fn both_sides_begin_at_once() {
    let mut world = world(1).peers(alice(), bob());
    let (one, other) = (world.up("alice"), world.up("bob"));
    world.until(answered);
    assert!(matches!(world.reply(one), Some(Reply::Up { .. })), "{:?}", world.reply(one));
    assert!(matches!(world.reply(other), Some(Reply::Up { .. })), "{:?}", world.reply(other));
    world.run(Duration::from_secs(5));
    assert!(world.is_mirrored());
    assert!(established(&world));
}

/// Both delete the IKE SA while the other's request is under way.
//= rfc7296 §1.4.1
//= rfc7296 §2.25.2
#[test]
fn both_sides_delete_the_ike_sa_at_once() {
    let mut world = world(2).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let (one, other) = (world.down("alice"), world.down("bob"));
    world.until(answered);
    assert!(matches!(world.reply(one), Some(Reply::Down { ike: 1, .. })), "{:?}", world.reply(one));
    assert!(matches!(world.reply(other), Some(Reply::Down { ike: 1, .. })), "{:?}", world.reply(other));
    world.run(Duration::from_secs(60));
    assert!(is_clean(&mut world));
}

/// Both delete the same child: each answers without a Delete payload for what it had deleted already.
//= rfc7296 §1.4.1
//= rfc7296 §2.25.1
#[test]
fn both_sides_delete_the_child_at_once() {
    let mut world = world(3).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let child = || Order::Down(Target::Child("net".to_string(), "lan".to_string()));
    world.order("alice", child());
    world.order("bob", child());
    world.until(answered);
    world.run(Duration::from_secs(5));
    for name in ["alice", "bob"] {
        let list = world.status(name);
        assert_eq!((list.len(), list[0].children.len()), (1, 0), "{name}");
        assert_eq!(world.host(name).dataplane.sad().count(), 0, "{name}");
    }
}

/// One deletes the IKE SA while the other asks for a child of it.
//= rfc7296 §2.25.2
#[test]
fn a_child_is_asked_for_while_the_ike_sa_is_deleted() {
    for seed in 0..20 {
        let both = |site: sim::Site, turn: bool| {
            let (a, b) = if turn { ("10.9.2.0/24", "10.9.1.0/24") } else { ("10.9.1.0/24", "10.9.2.0/24") };
            site.also("dmz", a, b)
        };
        let mut world = world(10 + seed).peers(both(alice(), false), both(bob(), true));
        world.up_child("alice", 0, Some("lan"));
        world.until(answered);
        world.up_child("alice", 0, Some("dmz"));
        world.run(Duration::from_millis(seed));
        world.down("bob");
        world.until(answered);
        world.run(Duration::from_secs(400));
        let (ours, theirs) = (world.status("alice"), world.status("bob"));
        assert_eq!(ours.len(), theirs.len(), "{seed}");
        assert!(world.is_mirrored(), "{seed}");
    }
}
