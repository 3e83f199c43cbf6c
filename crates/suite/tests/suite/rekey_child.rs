//! New keys for a child SA (RFC 7296 §1.3.3, §2.8).

use dataplane::{ChildSpec, DataplaneEvent};
use policy::{ChildLifetime, IkeLifetime, Volume};
use sa::{Event, Fate, Order, Reply, Target};
use sim::site::esp;
use sim::{Site, established};
use std::time::Duration;
use suite::{World, alice, answered, bob, world};
use wire::num::{Encr, Integ, KeMethod};

const MINUTE: Duration = Duration::from_secs(60);

/// New keys after ten minutes, less up to one.
fn ten_minutes() -> ChildLifetime {
    ChildLifetime { rekey: 10 * MINUTE, life: 12 * MINUTE, rand: MINUTE, ..ChildLifetime::UNLIMITED }
}

fn rekeying(site: Site) -> Site {
    site.child(|child| child.lifetime = ten_minutes())
}

/// What a site's data plane has, by the SPI that it receives with.
fn spis(world: &World, name: &str) -> Vec<u32> {
    world.host(name).dataplane.sad().map(|spec: &ChildSpec| spec.inbound.spi.0).collect()
}

fn order(world: &mut World, name: &str) {
    let order = world.order(name, Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
    assert!(
        matches!(world.reply(order), Some(Reply::Rekeying { ike: 0, children: 1 })),
        "{:?}",
        world.reply(order)
    );
}

fn went(world: &World, name: &str, fate: &Fate) -> usize {
    world.host(name).count(|event| matches!(event, Event::ChildDown(_, _, why) if why == fate))
}

/// One child on each side, in the data plane and in the books, and nothing left of the one before.
#[track_caller]
fn assert_one_child(world: &mut World) {
    for name in ["alice", "bob"] {
        let list = world.status(name);
        let children: Vec<usize> = list.iter().map(|sa| sa.children.len()).collect();
        assert_eq!(children, [1], "{name}");
        assert_eq!(world.host(name).dataplane.sad().count(), 1, "{name}");
    }
    assert!(world.is_mirrored());
}

//= rfc7296 §2.8
#[test]
fn s071_a_child_gets_new_keys_from_either_side() {
    for (seed, name) in [(1, "alice"), (2, "bob")] {
        let mut world = world(seed).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        let before = spis(&world, "alice");
        order(&mut world, name);
        world.run(Duration::from_secs(20));
        assert_one_child(&mut world);
        assert_ne!(spis(&world, "alice"), before, "{name}");
        assert_eq!(
            (went(&world, "alice", &Fate::Replaced), went(&world, "bob", &Fate::Replaced)),
            (1, 1),
            "{name}"
        );
        assert!(world.host("alice").refusals().is_empty() && world.host("bob").refusals().is_empty());
    }
}

/// Both halves that receive stand until the old child's deletion is answered, and some seconds more.
//= rfc7296 §2.8
//# the initiator of the rekeying […] the old SA is deleted after the new one is established
#[test]
fn s071_the_old_child_receives_a_while_longer() {
    let mut world = world(3).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    order(&mut world, "alice");
    world.run(Duration::from_secs(2));
    for name in ["alice", "bob"] {
        assert_eq!(world.host(name).dataplane.sad().count(), 2, "{name}");
        assert_eq!(world.status(name)[0].children.len(), 1, "{name}");
    }
    world.run(Duration::from_secs(10));
    assert_one_child(&mut world);
}

/// With and without a key exchange of its own.
//= rfc7296 §2.17
#[test]
fn s071_with_perfect_forward_secrecy_and_without() {
    let groups: [&[KeMethod]; 2] = [&[], &[KeMethod::ECP_256]];
    for (seed, groups) in groups.into_iter().enumerate() {
        let site = |site: Site| {
            site.child(|child| child.esp_proposals = vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, groups)])
        };
        let mut world = world(10 + seed as u64).peers(site(alice()), site(bob()));
        world.up("alice");
        world.until(established);
        order(&mut world, "alice");
        world.run(Duration::from_secs(20));
        assert_one_child(&mut world);
        let ke = world.status("bob")[0].children[0].suite.ke;
        assert_eq!(ke, groups.first().copied().unwrap_or(KeMethod::NONE));
    }
}

//= rfc7296 §1.3
#[test]
fn s074_another_group_is_asked_for_and_given() {
    let site = |site: Site, groups: &'static [KeMethod]| {
        site.child(|child| child.esp_proposals = vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, groups)])
    };
    let mut world = world(20).peers(
        site(alice(), &[KeMethod::ECP_256, KeMethod::CURVE25519]),
        site(bob(), &[KeMethod::CURVE25519]),
    );
    world.up("alice");
    world.until(established);
    order(&mut world, "alice");
    world.run(Duration::from_secs(20));
    assert_one_child(&mut world);
    assert_eq!(world.status("bob")[0].children[0].suite.ke, KeMethod::CURVE25519);
}

//= rfc7296 §2.8
#[test]
fn lifetimes_bring_new_keys_before_the_old_ones_end() {
    for seed in 0..8 {
        let mut world = world(30 + seed).peers(rekeying(alice()), rekeying(bob()));
        world.up("alice");
        world.until(established);
        world.run(61 * MINUTE);
        assert_one_child(&mut world);
        let rekeyed = went(&world, "alice", &Fate::Replaced);
        assert!((6..=8).contains(&rekeyed), "seed {seed}: {rekeyed} in an hour");
        assert_eq!(went(&world, "alice", &Fate::Expired), 0);
    }
}

/// All of several children, each for itself.
#[test]
fn s079_several_children_get_new_keys_each_for_itself() {
    let both = |site: Site, turn: bool| {
        let (a, b) = if turn { ("10.9.2.0/24", "10.9.1.0/24") } else { ("10.9.1.0/24", "10.9.2.0/24") };
        site.also("dmz", a, b)
    };
    let mut world = world(40).peers(both(alice(), false), both(bob(), true));
    world.up("alice");
    world.until(answered);
    let before = spis(&world, "alice");
    order(&mut world, "bob");
    world.run(Duration::from_secs(20));
    let after = spis(&world, "alice");
    assert_eq!(after.len(), 2);
    assert_eq!(after.iter().filter(|spi| before.contains(spi)).count(), 1, "the other child keeps its keys");
    assert!(world.is_mirrored());
}

/// The peer has lost the child: it is made anew from scratch.
//= rfc7296 §2.25
#[test]
fn s075_a_child_that_the_peer_has_not_is_made_anew() {
    let mut world = world(50).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    // Bob's deletion is lost on its way, and alice asks before it comes again.
    world.weather.loss = 1000;
    world.order("bob", Order::Down(Target::Child("net".to_string(), "lan".to_string())));
    world.run(Duration::from_millis(100));
    world.weather.loss = 0;
    order(&mut world, "alice");
    world.run(Duration::from_secs(60));
    let notes = |name: &str| {
        world.host(name).count(|event| matches!(event, Event::Note { text, .. } if text.contains("busy")))
    };
    assert!(notes("alice") <= 1);
    assert!(world.is_mirrored());
}

//= rfc7296 §2.8
#[test]
fn s080_volume_brings_new_keys_and_the_end() {
    let limited = |site: Site| {
        site.child(|child| {
            child.lifetime.packets = Volume { rekey: 1000, life: 2000, rand: 0 };
        })
    };
    let mut world = world(60).peers(limited(alice()), limited(bob()));
    world.up("alice");
    world.until(established);
    let child = world.status("alice")[0].children[0].id;
    let volume = world.host("bob").dataplane.sad().next().map(|spec| spec.volume);
    assert_eq!(volume.and_then(|volume| volume.soft_packets), Some(1000));
    world.dataplane_event("alice", DataplaneEvent::Expired { id: child, hard: false });
    world.run(Duration::from_secs(20));
    assert_one_child(&mut world);
    assert_eq!(went(&world, "alice", &Fate::Replaced), 1);
    let child = world.status("alice")[0].children[0].id;
    world.dataplane_event("alice", DataplaneEvent::Expired { id: child, hard: true });
    world.run(Duration::from_secs(20));
    assert_eq!(went(&world, "alice", &Fate::Expired), 1);
    assert_eq!(world.host("alice").dataplane.sad().count(), 0);
    assert_eq!(world.host("bob").dataplane.sad().count(), 0);
}

/// What was ordered down does not come back by an exchange that was under way.
#[test]
fn a_child_that_is_ordered_down_while_it_gets_new_keys_stays_down() {
    for millis in 0..60 {
        let mut world = world(100 + millis).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        order(&mut world, "alice");
        world.run(Duration::from_millis(millis));
        world.order("alice", Order::Down(Target::Child("net".to_string(), "lan".to_string())));
        world.run(Duration::from_secs(60));
        for name in ["alice", "bob"] {
            assert_eq!(world.status(name)[0].children.len(), 0, "{name} after {millis} ms");
            assert_eq!(world.host(name).dataplane.sad().count(), 0, "{name} after {millis} ms");
        }
    }
}

/// More waits than has a place: new keys are asked for later, and nobody asks again and again for the same moment.
#[test]
fn where_too_much_waits_new_keys_wait_too() {
    let minute = ChildLifetime { rekey: MINUTE, ..ChildLifetime::UNLIMITED };
    let ike = IkeLifetime { rekey: MINUTE, over: 60 * MINUTE, ..IkeLifetime::UNLIMITED };
    let site = alice().child(|child| child.lifetime = minute).with(|connection| connection.lifetime = ike);
    let mut world = world(70).peers(site, bob());
    world.up("alice");
    world.until(established);
    world.weather.loss = 1000;
    let ike = world.status("alice")[0].id;
    for _ in 0..600 {
        world.order("alice", Order::Probe(ike));
    }
    world.run(MINUTE + MINUTE / 4);
    assert_eq!(went(&world, "alice", &Fate::Replaced), 0, "nothing comes through yet");
    world.weather.loss = 0;
    world.until(|world| went(world, "alice", &Fate::Replaced) >= 2);
    let list = world.status("alice");
    assert_eq!((list.len(), list[0].children.len()), (1, 1));
}

/// A peer that makes no child without a key exchange (Libreswan) is asked less and less often, and a sentence says what to
/// change.
#[test]
fn new_keys_that_are_refused_are_asked_for_less_and_less_often() {
    let hour = Duration::from_secs(3600);
    let one = alice().child(|child| {
        child.lifetime = ChildLifetime { rekey: hour, life: 10 * hour, ..ChildLifetime::UNLIMITED };
    });
    let strict = esp(Encr::AES_GCM_16, 256, Integ::NONE, &[KeMethod::CURVE25519]);
    let mut world = world(77).peers(one, bob().child(|child| child.esp_proposals = vec![strict]));
    world.up("alice");
    world.until(established);
    world.run(3 * hour);
    let refused: Vec<_> = world
        .host("alice")
        .events
        .iter()
        .filter(|(_, event)| matches!(event, Event::Refused { .. }))
        .map(|(at, _)| *at)
        .collect();
    let waits: Vec<u64> = refused.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
    assert!((5..=16).contains(&waits[0]) && waits[1] < waits[3], "{waits:?}");
    assert!(waits[6..].iter().all(|wait| (300..=311).contains(wait)), "{waits:?}");
    let refusal = world.host("alice").refusals()[0];
    assert!(refusal.reason.contains("add a method that it takes to `esp_proposals`"), "{}", refusal.reason);
    assert_eq!(world.status("alice")[0].children.len(), 1, "it serves on");
}
