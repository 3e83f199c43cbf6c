//! Both sides begin something at once (RFC 7296 §2.8, §2.25): every order in which the messages can arrive, with one of them
//! lost and without.

use sa::{Order, Target};
use sim::site::{esp, ike};
use sim::{Site, established};
use std::time::Duration;
use suite::schedule::{Exploration, Give};
use suite::{World, alice, bob, world};
use wire::num::{Encr, Integ, KeMethod};

fn child() -> Target {
    Target::Child("net".to_string(), "lan".to_string())
}

fn connection() -> Target {
    Target::Connection("net".to_string())
}

fn rekey_child(_: &mut World) -> Option<Order> {
    Some(Order::Rekey(child()))
}

fn rekey_ike(_: &mut World) -> Option<Order> {
    Some(Order::Rekey(connection()))
}

fn delete_child(_: &mut World) -> Option<Order> {
    Some(Order::Down(child()))
}

fn delete_ike(_: &mut World) -> Option<Order> {
    Some(Order::Down(connection()))
}

/// Another child, from whichever side.
fn create(name: &'static str) -> impl Fn(&mut World) -> Option<Order> {
    move |world| {
        world.up_child(name, 0, Some("dmz"));
        None
    }
}

fn standing() -> World {
    standing_with(&|site| site)
}

fn standing_with(change: &dyn Fn(Site) -> Site) -> World {
    let both = |site: Site, turn: bool| {
        let (a, b) = if turn { ("10.9.2.0/24", "10.9.1.0/24") } else { ("10.9.1.0/24", "10.9.2.0/24") };
        change(site.also("dmz", a, b)).with(|connection| connection.dpd_delay = Duration::ZERO)
    };
    let mut world = world(7).peers(both(alice(), false), both(bob(), true));
    world.up_child("alice", 0, Some("lan"));
    world.until(established);
    world.run(Duration::from_secs(5));
    world
}

/// How many established IKE SAs and child SAs both sides have, if they agree.
#[track_caller]
fn agreed(world: &mut World, story: &str) -> (usize, Vec<String>) {
    let of = |world: &mut World, name: &str| {
        let list = world.status(name);
        assert!(list.iter().all(|sa| sa.state == "established"), "{name} {list:?} after{story}");
        let mut spis: Vec<_> = list.iter().map(|sa| (sa.spi_i, sa.spi_r)).collect();
        spis.sort();
        let mut children: Vec<String> =
            list.iter().flat_map(|sa| sa.children.iter().map(|child| child.name.clone())).collect();
        children.sort();
        assert_eq!(world.host(name).dataplane.sad().count(), children.len(), "{name} after{story}");
        (spis, children)
    };
    let (a, b) = (of(world, "alice"), of(world, "bob"));
    assert_eq!(a, b, "after{story}");
    assert!(world.is_mirrored(), "after{story}");
    (a.0.len(), a.1)
}

/// All schedules of two orders; in the end both sides agree, and `fits` says whether on what they may.
#[track_caller]
fn explore(orders: [(&str, Give<'_>); 2], losses: usize, fits: &dyn Fn(usize, &[&str]) -> bool) {
    explore_in(&standing, orders, losses, fits);
}

#[track_caller]
fn explore_in(
    make: &dyn Fn() -> World,
    orders: [(&str, Give<'_>); 2],
    losses: usize,
    fits: &dyn Fn(usize, &[&str]) -> bool,
) {
    let end = |world: &mut World, story: &str| {
        let (ike, children) = agreed(world, story);
        let children: Vec<&str> = children.iter().map(String::as_str).collect();
        assert!(fits(ike, &children), "{ike} IKE SAs with {children:?} after{story}");
    };
    let each = |_: &mut World| {};
    let exploration = Exploration { world: make, orders: &orders, losses, each: &each, end: &end };
    let count = exploration.run();
    assert!(count > 10, "{count} schedules are no exploration");
    println!("SUMMARY: collisions: {count} schedules");
}

fn one_of_each(ike: usize, children: &[&str]) -> bool {
    ike == 1 && children == ["lan"]
}

fn nothing(ike: usize, children: &[&str]) -> bool {
    ike == 0 && children.is_empty()
}

fn no_child(ike: usize, children: &[&str]) -> bool {
    ike == 1 && children.is_empty()
}

//= rfc7296 §2.8.1
#[test]
fn s084_both_give_the_child_new_keys() {
    explore([("alice", &rekey_child), ("bob", &rekey_child)], 0, &one_of_each);
}

//= rfc7296 §2.8.1
#[test]
fn s084_both_give_the_child_new_keys_and_a_message_is_lost() {
    explore([("alice", &rekey_child), ("bob", &rekey_child)], 1, &one_of_each);
}

//= rfc7296 §2.8.2
#[test]
fn s094_both_give_the_ike_sa_new_keys() {
    explore([("alice", &rekey_ike), ("bob", &rekey_ike)], 0, &one_of_each);
}

//= rfc7296 §2.8.2
#[test]
fn s094_both_give_the_ike_sa_new_keys_and_a_message_is_lost() {
    explore([("alice", &rekey_ike), ("bob", &rekey_ike)], 1, &one_of_each);
}

//= rfc7296 §2.25.1
#[test]
fn one_gives_the_child_new_keys_and_the_other_deletes_it() {
    // Who deletes first deletes the only one; who deletes after that deletes the new one.
    explore([("alice", &rekey_child), ("bob", &delete_child)], 1, &|ike, children| {
        ike == 1 && (children.is_empty() || children == ["lan"])
    });
}

//= rfc7296 §2.25.2
#[test]
fn s090_one_gives_the_child_new_keys_and_the_other_deletes_the_ike_sa() {
    explore([("alice", &rekey_child), ("bob", &delete_ike)], 1, &nothing);
}

//= rfc7296 §2.25.2
#[test]
fn one_gives_the_ike_sa_new_keys_and_the_other_deletes_it() {
    explore([("alice", &rekey_ike), ("bob", &delete_ike)], 1, &nothing);
}

//= rfc7296 §2.25.2
#[test]
fn one_gives_the_child_new_keys_and_the_other_the_ike_sa() {
    explore([("alice", &rekey_child), ("bob", &rekey_ike)], 1, &one_of_each);
}

//= rfc7296 §2.25.2
#[test]
fn s097_a_child_is_made_while_the_ike_sa_gets_new_keys() {
    let make = create("alice");
    explore([("alice", &make), ("bob", &rekey_ike)], 1, &|ike, children| {
        ike == 1 && children == ["dmz", "lan"]
    });
}

//= rfc7296 §2.25.2
#[test]
fn a_child_is_deleted_while_the_ike_sa_gets_new_keys() {
    explore([("alice", &delete_child), ("bob", &rekey_ike)], 1, &no_child);
}

//= rfc7296 §1.4.1
#[test]
fn s091_both_delete_the_child() {
    explore([("alice", &delete_child), ("bob", &delete_child)], 1, &no_child);
}

//= rfc7296 §2.25.2
#[test]
fn s092_both_delete_the_ike_sa() {
    explore([("alice", &delete_ike), ("bob", &delete_ike)], 1, &nothing);
}

#[test]
fn the_same_side_gives_child_and_ike_sa_new_keys() {
    explore([("alice", &rekey_child), ("alice", &rekey_ike)], 1, &one_of_each);
}

/// Each side begins with another group than the other one wants.
//= rfc7296 §2.8.1
#[test]
fn both_give_the_child_new_keys_with_the_wrong_group() {
    const A: &[KeMethod] = &[KeMethod::ECP_256, KeMethod::CURVE25519];
    let make = || {
        standing_with(&|site| {
            let groups = if site.name == "alice" { A } else { &[KeMethod::CURVE25519] };
            site.child(|child| child.esp_proposals = vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, groups)])
        })
    };
    explore_in(&make, [("alice", &rekey_child), ("bob", &rekey_child)], 0, &one_of_each);
}

//= rfc7296 §2.8.2
#[test]
fn both_give_the_ike_sa_new_keys_with_the_wrong_group() {
    // Each begins with the method in use, which the other does not take any more.
    let make = || {
        standing_with(&|site| {
            let all: &[KeMethod] = match site.name.as_str() {
                "alice" => &[KeMethod::ECP_256, KeMethod::CURVE25519],
                _ => &[KeMethod::CURVE25519, KeMethod::ECP_256],
            };
            site.with(|connection| connection.proposals = vec![ike(Encr::AES_GCM_16, 256, Integ::NONE, all)])
        })
    };
    explore_in(&make, [("alice", &rekey_ike), ("bob", &rekey_ike)], 0, &one_of_each);
}

/// Both sides want two additional key exchanges whenever keys are made (RFC 9370 §2.2.4), the first of them with ML-KEM.
fn in_series() -> World {
    standing_with(&|site| {
        let ike = policy::parse_ike("aes256gcm16-prfsha256-x25519-ke1_mlkem512-ke2_ecp256").unwrap();
        let esp = policy::parse_esp("aes256gcm16-x25519-ke1_mlkem512").unwrap();
        let site = site.with(|connection| connection.proposals = ike);
        site.child(|child| child.esp_proposals = esp)
    })
}

//= rfc9370 §2.2.4
#[test]
fn s084_both_give_the_child_new_keys_in_several_exchanges() {
    explore_in(&in_series, [("alice", &rekey_child), ("bob", &rekey_child)], 1, &one_of_each);
}

//= rfc9370 §2.2.4
#[test]
fn s094_both_give_the_ike_sa_new_keys_in_several_exchanges() {
    explore_in(&in_series, [("alice", &rekey_ike), ("bob", &rekey_ike)], 1, &one_of_each);
}

//= rfc9370 §2.2.4
#[test]
fn one_gives_the_child_new_keys_in_several_exchanges_and_the_other_deletes_it() {
    explore_in(&in_series, [("alice", &rekey_child), ("bob", &delete_child)], 1, &|ike, children| {
        ike == 1 && (children.is_empty() || children == ["lan"])
    });
}

//= rfc9370 §2.2.4
#[test]
fn new_keys_in_several_exchanges_while_the_ike_sa_is_deleted_leave_nothing() {
    explore_in(&in_series, [("alice", &rekey_child), ("bob", &delete_ike)], 1, &nothing);
    explore_in(&in_series, [("alice", &rekey_ike), ("bob", &delete_ike)], 1, &nothing);
}

//= rfc9370 §2.2.4
#[test]
fn child_and_ike_sa_get_new_keys_at_once_in_several_exchanges() {
    explore_in(&in_series, [("alice", &rekey_child), ("bob", &rekey_ike)], 1, &one_of_each);
    explore_in(&in_series, [("alice", &rekey_child), ("alice", &rekey_ike)], 1, &one_of_each);
}

//= rfc9370 §2.2.4
#[test]
fn a_child_is_made_in_several_exchanges_while_the_ike_sa_gets_new_keys() {
    let make = create("alice");
    explore_in(&in_series, [("alice", &make), ("bob", &rekey_ike)], 1, &|ike, children| {
        ike == 1 && children == ["dmz", "lan"]
    });
}

/// One side's exchange is a series, the other's is not.
#[test]
fn both_give_new_keys_one_of_them_in_several_exchanges() {
    let make = || {
        standing_with(&|site| {
            let (single, series) =
                ("aes256gcm16-prfsha256-x25519", "aes256gcm16-prfsha256-x25519-ke1_mlkem512");
            let (single_esp, series_esp) = ("aes256gcm16-x25519", "aes256gcm16-x25519-ke1_mlkem512");
            let both = |parse: &dyn Fn(&str) -> Vec<policy::Proposal>, one: &str, other: &str| {
                [parse(one), parse(other)].concat()
            };
            let ike = |text: &str| policy::parse_ike(text).unwrap();
            let esp = |text: &str| policy::parse_esp(text).unwrap();
            // Who answers decides by its own order.
            let (ike, esp) = match site.name.as_str() {
                "alice" => (both(&ike, single, series), both(&esp, single_esp, series_esp)),
                _ => (both(&ike, series, single), both(&esp, series_esp, single_esp)),
            };
            site.with(|connection| connection.proposals = ike).child(|child| child.esp_proposals = esp)
        })
    };
    explore_in(&make, [("alice", &rekey_child), ("bob", &rekey_child)], 1, &one_of_each);
    explore_in(&make, [("alice", &rekey_ike), ("bob", &rekey_ike)], 1, &one_of_each);
}

/// PPKs have been replaced (RFC 9867 §3.2), on both sides or on one; the answers about them take so many milliseconds, in which
/// messages come.
fn with_fresh_ppks(sides: &[&str], [a, b]: [u64; 2]) -> World {
    const OLD: sim::site::PpkList = &[("old", b"the key that both sites have had so far")];
    const NEW: sim::site::PpkList = &[("new", b"the key that comes in its place, and late")];
    let mut world = standing_with(&|mut site| {
        let delay = Duration::from_millis(if site.name == "alice" { a } else { b });
        site.keeper.delay = delay..=delay;
        site.with_ppks(OLD, true)
    });
    for name in sides {
        world.replace_ppks(name, NEW, true);
    }
    world
}

/// Whether PPKs are fresh on both sides or on one, and how late each side hears of them.
const FRESH: [(&[&str], [u64; 2]); 5] = [
    (&["alice", "bob"], [0, 0]),
    (&["alice", "bob"], [2, 0]),
    (&["alice", "bob"], [0, 2]),
    (&["alice", "bob"], [3, 2]),
    (&["alice"], [0, 1]),
];

//= rfc9867 §3.2
#[test]
fn s139_both_give_new_keys_with_fresh_ppks() {
    for (sides, delays) in FRESH {
        let make = || with_fresh_ppks(sides, delays);
        explore_in(&make, [("alice", &rekey_child), ("bob", &rekey_child)], 1, &one_of_each);
        explore_in(&make, [("alice", &rekey_ike), ("bob", &rekey_ike)], 1, &one_of_each);
        explore_in(&make, [("alice", &rekey_child), ("bob", &rekey_ike)], 1, &one_of_each);
    }
}

//= rfc9867 §3.2
#[test]
fn new_keys_with_fresh_ppks_while_something_is_made_or_deleted() {
    for (sides, delays) in FRESH {
        let make = || with_fresh_ppks(sides, delays);
        let create = create("alice");
        explore_in(&make, [("alice", &create), ("bob", &rekey_ike)], 1, &|ike, children| {
            ike == 1 && children == ["dmz", "lan"]
        });
        explore_in(&make, [("alice", &rekey_child), ("bob", &delete_child)], 1, &|ike, children| {
            ike == 1 && (children.is_empty() || children == ["lan"])
        });
        explore_in(&make, [("alice", &rekey_child), ("bob", &delete_ike)], 1, &nothing);
        explore_in(&make, [("alice", &rekey_ike), ("bob", &delete_ike)], 1, &nothing);
        explore_in(&make, [("alice", &rekey_child), ("alice", &rekey_ike)], 1, &one_of_each);
    }
}
