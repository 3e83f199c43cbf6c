//! New keys for an IKE SA (RFC 7296 §1.3.2, §2.8, §2.18).

use policy::IkeLifetime;
use sa::{Event, Order, Reply, Target};
use sim::site::ike;
use sim::{Site, established};
use std::time::Duration;
use suite::{World, alice, bob, world};
use wire::num::{Encr, Integ, KeMethod};

const MINUTE: Duration = Duration::from_secs(60);

fn order(world: &mut World, name: &str) {
    let order = world.order(name, Order::Rekey(Target::Connection("net".to_string())));
    assert!(matches!(world.reply(order), Some(Reply::Rekeying { ike: 1, .. })), "{:?}", world.reply(order));
}

fn rekeyed(world: &World, name: &str) -> usize {
    world.host(name).count(|event| matches!(event, Event::IkeRekeyed { .. }))
}

/// One IKE SA with the one child on each side, the same.
#[track_caller]
fn assert_one(world: &mut World) {
    let (a, b) = (world.status("alice"), world.status("bob"));
    for (name, list) in [("alice", &a), ("bob", &b)] {
        let shape: Vec<_> = list.iter().map(|sa| (sa.state, sa.children.len())).collect();
        assert_eq!(shape, [("established", 1)], "{name}");
        assert_eq!(world.host(name).dataplane.sad().count(), 1, "{name}");
    }
    assert_eq!((a[0].spi_i, a[0].spi_r), (b[0].spi_i, b[0].spi_r));
    assert!(world.is_mirrored());
}

//= rfc7296 §2.8
//= rfc7296 §2.18
#[test]
fn s072_the_ike_sa_gets_new_keys_from_either_side_and_children_are_inherited() {
    for (seed, name) in [(1, "alice"), (2, "bob")] {
        let mut world = world(seed).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        let before = world.status("alice")[0].clone();
        order(&mut world, name);
        world.run(Duration::from_secs(20));
        assert_one(&mut world);
        let after = world.status("alice")[0].clone();
        assert_ne!(after.spi_i, before.spi_i);
        assert_eq!(after.children[0].spi_in, before.children[0].spi_in, "the child stays as it is");
        assert_eq!(after.children[0].id, before.children[0].id);
        assert_eq!((rekeyed(&world, "alice"), rekeyed(&world, "bob")), (1, 1));
        let ups = |name: &str| world.host(name).count(|event| matches!(event, Event::IkeDown(..)));
        assert_eq!((ups("alice"), ups("bob")), (0, 0), "nothing went down");
        // The new one works: its child gets new keys, and in the end all is deleted.
        world.order("bob", Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
        world.run(Duration::from_secs(20));
        assert_one(&mut world);
        world.down("alice");
        world.run(Duration::from_secs(60));
        assert!(suite::is_clean(&mut world));
    }
}

/// Over and over, from either side, with another key exchange method than the first time.
#[test]
fn s074_another_group_is_asked_for_and_given() {
    let site = |site: Site, groups: &'static [KeMethod]| {
        site.with(|connection| connection.proposals = vec![ike(Encr::AES_GCM_16, 256, Integ::NONE, groups)])
    };
    let mut world = world(10).peers(
        site(alice(), &[KeMethod::ECP_256, KeMethod::CURVE25519]),
        site(bob(), &[KeMethod::CURVE25519]),
    );
    world.up("alice");
    world.until(established);
    for name in ["alice", "bob", "alice"] {
        order(&mut world, name);
        world.run(Duration::from_secs(20));
        assert_one(&mut world);
    }
    assert_eq!(world.status("bob")[0].suite.map(|suite| suite.ke), Some(KeMethod::CURVE25519));
}

#[test]
fn lifetimes_bring_new_keys_before_the_old_ones_end() {
    let lifetime =
        IkeLifetime { rekey: 60 * MINUTE, reauth: Duration::ZERO, over: 6 * MINUTE, rand: 6 * MINUTE };
    let site = |site: Site| site.with(|connection| connection.lifetime = lifetime);
    let mut world = world(20).peers(site(alice()), site(bob()));
    world.up("alice");
    world.until(established);
    world.run(24 * 60 * MINUTE);
    assert_one(&mut world);
    let count = rekeyed(&world, "alice");
    assert!((24..=28).contains(&count), "{count} times in a day");
}

//= rfc7296 §2.8
#[test]
fn an_ike_sa_that_gets_no_new_keys_ends() {
    let lifetime = IkeLifetime { rekey: 10 * MINUTE, reauth: Duration::ZERO, over: 2 * MINUTE, rand: MINUTE };
    // Bob's proposals fit the first IKE SA only.
    let mut world = world(30).peers(alice().with(|connection| connection.lifetime = lifetime), bob());
    world.up("alice");
    world.until(established);
    world.attack(|scene| {
        // The answers to CREATE_CHILD_SA never come through.
        if scene
            .datagram
            .peek()
            .is_some_and(|peek| peek.exchange == sim::peek::CREATE_CHILD_SA && peek.response)
        {
            scene.take();
        }
    });
    world.run(20 * MINUTE);
    assert!(world.status("alice").is_empty());
    assert_eq!(world.host("alice").dataplane.sad().count(), 0);
}

/// The order to close comes at any moment of the exchange: nothing is left of either IKE SA.
//= rfc7296 §2.25.2
#[test]
fn closing_while_new_keys_are_made_leaves_nothing() {
    for (who, millis) in
        [("alice", 0..60u64), ("bob", 0..60)].into_iter().flat_map(|(who, all)| all.map(move |m| (who, m)))
    {
        let mut world = world(1000 + millis).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        order(&mut world, "alice");
        world.run(Duration::from_millis(millis));
        world.down(who);
        world.run(10 * MINUTE);
        for name in ["alice", "bob"] {
            assert!(world.status(name).is_empty(), "{name} after {who} closed at {millis} ms");
            assert_eq!(
                world.host(name).dataplane.sad().count(),
                0,
                "{name} after {who} closed at {millis} ms"
            );
        }
    }
}
