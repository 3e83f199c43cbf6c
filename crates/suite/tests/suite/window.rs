//! More than one request at once (RFC 7296 §2.3).

use sa::{Event, Order, Reply, Target};
use sim::site::esp;
use sim::{Site, established, peek};
use std::sync::Arc;
use std::time::Duration;
use suite::{World, alice, answered, bob, world};
use wire::num::{Encr, Integ, KeMethod};

const CHILDREN: u8 = 12;

/// Twelve children beside the first, and a window of that many requests.
fn many(site: Site, turn: bool, window: u8) -> Site {
    let site = site.with(|connection| connection.window = window);
    (0..CHILDREN).fold(site, |site, n| {
        let (a, b) = (format!("10.9.{n}.0/25"), format!("10.9.{n}.128/25"));
        let (ours, theirs) = if turn { (b, a) } else { (a, b) };
        site.also(&format!("c{n}"), &ours, &theirs)
    })
}

fn satellite(window: u8) -> World {
    let mut world = world(1).peers(many(alice(), false, window), many(bob(), true, window));
    let delay = Duration::from_millis(300);
    world.weather.delay = delay..=delay;
    world
}

/// How many round trips it takes over a satellite until all children stand, with both windows of that size.
fn round_trips(window: u8) -> u32 {
    let mut world = satellite(window);
    let before = world.now();
    world.up("alice");
    world.until(answered);
    assert_eq!(world.status("alice")[0].children.len(), usize::from(CHILDREN) + 1);
    assert!(world.is_mirrored());
    (world.now().since(before).as_millis() / 600) as u32
}

//= rfc7296 §2.3
#[test]
fn children_are_made_side_by_side_within_the_peers_window() {
    // Two for the IKE SA with its first child.
    assert_eq!(round_trips(1), 2 + u32::from(CHILDREN));
    assert_eq!(round_trips(4), 2 + 3);
    assert_eq!(round_trips(CHILDREN), 2 + 1);
}

/// Whoever has not told a window gets one request at a time.
//= rfc7296 §2.3
#[test]
fn a_peer_without_a_window_is_asked_one_by_one() {
    let mut world = world(2).peers(many(alice(), false, 8), many(bob(), true, 1));
    world.up("alice");
    world.until(established);
    let first = world.wire.len();
    world.until(answered);
    let kinds: Vec<bool> =
        world.wire[first..].iter().filter_map(|(_, datagram)| datagram.peek()).map(|p| p.response).collect();
    assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]), "requests and responses take turns: {kinds:?}");
}

/// Requests that overtake each other, are lost and come twice.
//= rfc7296 §2.3
#[test]
fn requests_in_any_order_are_answered_once_each() {
    for seed in 0..40 {
        let mut world = world(100 + seed).peers(many(alice(), false, 5), many(bob(), true, 5));
        world.up("alice");
        world.until(established);
        world.weather.delay = Duration::from_millis(1)..=Duration::from_millis(1500);
        (world.weather.loss, world.weather.duplicate) = (150, 150);
        world.until(answered);
        world.weather = sim::Weather::fair();
        world.run(Duration::from_secs(60));
        for name in ["alice", "bob"] {
            let list = world.status(name);
            let mut names: Vec<&str> = list[0].children.iter().map(|child| child.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!((list.len(), list[0].children.len(), names.len()), (1, 13, 13), "{name}, seed {seed}");
        }
        assert!(world.is_mirrored());
    }
}

/// New keys for all children at once, and for the IKE SA, whose window begins at one again.
//= rfc7296 §2.3
#[test]
fn a_new_ike_sa_begins_with_a_window_of_one_and_widens_it() {
    let mut world = satellite(8);
    world.up("alice");
    world.until(answered);
    let order = world.order("alice", Order::Rekey(Target::Connection("net".to_string())));
    assert!(matches!(world.reply(order), Some(Reply::Rekeying { ike: 1, .. })));
    world.run(Duration::from_secs(20));
    let rekeyed = world.host("bob").count(|event| matches!(event, Event::IkeRekeyed { .. }));
    assert_eq!(rekeyed, 1);
    let told = |name: &str| {
        world.host(name).count(|event| match event {
            Event::Message(trace) => !trace.sent && !trace.response && trace.payloads == "N(SET_WINDOW_SIZE)",
            _ => false,
        })
    };
    assert_eq!((told("alice"), told("bob")), (1, 1), "each tells its window anew");
    let (before, first) = (world.now(), world.wire.len());
    for n in 0..CHILDREN {
        world.order("bob", Order::Rekey(Target::Child("net".to_string(), format!("c{n}"))));
    }
    let requests = world.wire[first..].iter().filter_map(|(_, datagram)| datagram.peek());
    let requests = requests.filter(|peek| peek.exchange == peek::CREATE_CHILD_SA && !peek.response).count();
    assert_eq!(requests, 8, "as many as the window takes");
    world.run(Duration::from_secs(30));
    assert!(world.is_mirrored());
    assert_eq!(world.host("alice").dataplane.sad().count(), usize::from(CHILDREN) + 1);
    assert!(world.now().since(before) < Duration::from_secs(60));
}

/// What is asked once more with another key exchange method waits for its place, like everything else.
//= rfc7296 §2.3
#[test]
fn what_is_asked_again_keeps_to_the_window() {
    let with = |site: Site, groups: &[KeMethod]| {
        site.with(|connection| {
            for child in &mut connection.children {
                Arc::make_mut(child).esp_proposals = vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, groups)];
            }
        })
    };
    for seed in 0..20 {
        let guesses = with(many(alice(), false, 3), &[KeMethod::ECP_256, KeMethod::CURVE25519]);
        let wants = with(many(bob(), true, 3), &[KeMethod::CURVE25519]);
        let mut world = world(200 + seed).peers(guesses, wants);
        world.up("alice");
        world.until(established);
        // Answers overtake each other.
        world.weather.delay = Duration::from_millis(1)..=Duration::from_millis(1500);
        world.until(answered);
        let children = &world.status("alice")[0].children;
        assert_eq!(children.len(), usize::from(CHILDREN) + 1, "seed {seed}");
        world.order("alice", Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
        world.run(Duration::from_secs(30));
        assert!(world.is_mirrored(), "seed {seed}");
    }
}

/// Nothing passed for as long as a request was sent; then the peer is heard by another exchange, and gets it once more.
//= rfc7296 §2.4
#[test]
fn a_peer_that_is_heard_again_is_not_given_up() {
    let wide = |site: Site| {
        site.with(|connection| (connection.window, connection.dpd_delay) = (2, Duration::from_secs(600)))
    };
    let mut world = world(300).peers(wide(alice()), wide(bob()));
    world.up("alice");
    world.until(established);
    world.run(Duration::from_secs(5));
    let before = world.status("alice")[0].spi_i;
    world.attack(|scene| scene.take());
    world.order("alice", Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
    world.run(Duration::from_secs(100));
    world.calm();
    let ike = world.status("bob")[0].id;
    world.order("bob", Order::Probe(ike));
    world.run(Duration::from_secs(60));
    for name in ["alice", "bob"] {
        let list = world.status(name);
        assert_eq!((list.len(), list[0].spi_i, list[0].children.len()), (1, before, 1), "{name}");
    }
    assert_eq!(world.stats.get("child down: Replaced"), 2);
}

/// A peer that lives and never answers is given up in the end.
#[test]
fn a_peer_that_never_answers_is_given_up_although_it_is_heard() {
    let wide = |site: Site| site.with(|connection| connection.window = 2);
    let mut world = world(301).peers(wide(alice()), wide(bob()));
    world.up("alice");
    world.until(established);
    world.run(Duration::from_secs(5));
    let from = world.host("alice").address;
    world.attack(move |scene| {
        let peek = scene.datagram.peek();
        if scene.datagram.from.ip() == from && peek.is_some_and(|p| p.exchange == peek::CREATE_CHILD_SA) {
            scene.take();
        }
    });
    world.order("alice", Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
    let begun = world.now();
    while !world.status("alice").is_empty() {
        assert!(world.now().since(begun) < Duration::from_secs(400), "{:?}", world.status("alice"));
        let ike = world.status("bob")[0].id;
        world.order("bob", Order::Probe(ike));
        world.run(Duration::from_secs(20));
    }
    assert!(world.now().since(begun) > Duration::from_secs(124 + 2 * 42));
}
