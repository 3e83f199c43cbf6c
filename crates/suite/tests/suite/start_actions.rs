//! `start_action`: what stands from the start, what is tried again, and how often.

use policy::{Policy, StartAction};
use sa::{Event, Order, RefusalKind, Reply, Target};
use sim::{Site, established};
use std::time::Duration;
use suite::{World, alice, answered, bob, world};

fn starting(site: Site) -> Site {
    site.starting(StartAction::Start)
}

/// When and how the attempts of a site have failed: after how many seconds the next one comes.
fn waits(world: &World, name: &str) -> Vec<Option<u64>> {
    let wait = |(_, event): &(_, Event)| match event {
        Event::NotStarted { again, .. } => Some(again.map(|wait| wait.as_secs())),
        _ => None,
    };
    world.host(name).events.iter().filter_map(wait).collect()
}

/// How many negotiations a site has begun: IKE_SA_INIT requests with an SPI of their own.
fn begun(world: &World, name: &str) -> usize {
    let address = world.host(name).public_address();
    let mut spis: Vec<u64> = world
        .wire
        .iter()
        .filter(|(_, datagram)| datagram.from.ip() == address)
        .filter_map(|(_, datagram)| sim::Peek::of(datagram.message()))
        .filter(|peek| peek.exchange == sim::peek::IKE_SA_INIT && !peek.response)
        .map(|peek| peek.spi_i)
        .collect();
    spis.sort_unstable();
    spis.dedup();
    spis.len()
}

#[test]
fn what_starts_by_itself_stands_with_all_its_children_after_one_negotiation() {
    let more = |site: Site, own: &str, other: &str| site.also("dmz", own, other);
    let one = starting(more(alice(), "10.9.1.0/24", "10.9.2.0/24"));
    let mut world = world(1).peers(one, more(bob(), "10.9.2.0/24", "10.9.1.0/24"));
    world.run(Duration::from_secs(2));
    for name in ["alice", "bob"] {
        let list = world.status(name);
        assert_eq!((list.len(), list[0].children.len()), (1, 2), "{name}");
    }
    assert_eq!((begun(&world, "alice"), begun(&world, "bob")), (1, 0));
    assert_eq!(world.host("alice").lookups.len(), 1);
    assert_eq!(waits(&world, "alice"), []);
}

#[test]
fn nothing_starts_by_itself_that_is_not_told_to() {
    let mut world = world(2).peers(alice(), bob());
    world.run(Duration::from_secs(60));
    assert_eq!((world.wire.len(), world.host("alice").lookups.len()), (0, 0));
}

/// A child that does not start by itself stays down beside one that does.
#[test]
fn only_the_children_that_say_so_start() {
    let more = |site: Site, own: &str, other: &str| site.also("dmz", own, other);
    let one = more(alice(), "10.9.1.0/24", "10.9.2.0/24").child(|c| c.start_action = StartAction::Start);
    let mut one = one;
    std::sync::Arc::make_mut(&mut one.connections[0].children[1]).start_action = StartAction::None;
    let mut world = world(3).peers(one, more(bob(), "10.9.2.0/24", "10.9.1.0/24"));
    world.run(Duration::from_secs(5));
    let list = world.status("alice");
    let names: Vec<&str> = list[0].children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["lan"]);
}

/// The peer is not there for half an hour: one attempt at a time, with waits that double up to five minutes, for ever.
#[test]
fn a_silent_peer_is_tried_for_ever_with_growing_waits() {
    let mut world = world(4).peers(starting(alice()), bob());
    world.attack(|scene| scene.take());
    world.run(Duration::from_secs(3600));
    let all = waits(&world, "alice");
    assert!(all.len() >= 7, "{all:?}");
    let expected = [10, 20, 40, 80, 160, 300, 300].map(Some);
    assert_eq!(all[..7], expected);
    assert_eq!(world.host("alice").lookups.len(), begun(&world, "alice"), "looked up for each attempt");
    world.calm();
    world.run(Duration::from_secs(310));
    assert!(established(&world));
    assert_eq!(world.status("alice").len(), 1);
}

#[test]
fn keyingtries_and_the_first_wait_are_heeded() {
    let one = starting(alice()).with(|c| {
        c.keyingtries = 3;
        c.retry_interval = Duration::from_secs(2);
    });
    let mut world = world(5).peers(one, bob());
    world.attack(|scene| scene.take());
    world.run(Duration::from_secs(7200));
    assert_eq!(waits(&world, "alice"), [Some(2), Some(4), None]);
    assert_eq!(begun(&world, "alice"), 3);
}

/// The name cannot be resolved at first, then leads elsewhere, then to the peer.
#[test]
fn a_name_is_resolved_anew_for_each_attempt() {
    let mut world = world(6).peers(starting(alice()).by_name("gw.example"), bob());
    world.run(Duration::from_secs(5));
    assert_eq!((begun(&world, "alice"), waits(&world, "alice")), (0, vec![Some(10)]));
    let why = world.host("alice").events.iter().find_map(|(_, event)| match event {
        Event::NotStarted { refusal, connection, .. } => Some((refusal.clone(), connection.clone())),
        _ => None,
    });
    let (refusal, connection) = why.expect("a line for the log");
    assert_eq!((refusal.kind, connection.as_str()), (RefusalKind::NoConnection, "net"));
    world.host_mut("alice").names.insert("gw.example".into(), "203.0.113.77".parse().unwrap());
    world.run(Duration::from_secs(10));
    assert_eq!(begun(&world, "alice"), 1);
    world.host_mut("alice").names.insert("gw.example".into(), "198.51.100.2".parse().unwrap());
    world.run(Duration::from_secs(300));
    assert!(established(&world));
    assert_eq!(world.status("alice")[0].path.remote.ip(), sim::site::ip("198.51.100.2"));
}

/// The resolver never answers: the attempt ends, and another one is made.
#[test]
fn a_look_up_without_an_answer_is_given_up() {
    let mut one = starting(alice());
    one.keeper.forget = 1000;
    let mut world = world(7).peers(one, bob());
    world.run(Duration::from_secs(100));
    assert_eq!(waits(&world, "alice"), [Some(10)]);
    assert_eq!(world.host("alice").lookups.len(), 0);
}

/// A peer that refuses is tried again too: somebody may repair its configuration.
#[test]
fn a_peer_that_refuses_is_tried_again() {
    let other = bob().with_psk(b"another secret than hers");
    let mut world = world(8).peers(starting(alice()), other);
    world.run(Duration::from_secs(65));
    assert_eq!(waits(&world, "alice"), [Some(10), Some(20), Some(40)]);
    assert_eq!(world.status("alice").len(), 0);
}

/// One child of two is refused: the other stands, and only the refused one is asked for again.
#[test]
fn a_child_that_is_refused_is_asked_for_again_within_the_same_ike_sa() {
    let one = starting(alice().also("dmz", "10.9.1.0/24", "10.9.2.0/24"));
    let mut world = world(9).peers(one, bob());
    world.run(Duration::from_secs(35));
    assert_eq!(waits(&world, "alice"), [Some(10), Some(20), Some(40)]);
    let list = world.status("alice");
    assert_eq!((list.len(), list[0].children.len()), (1, 1));
    assert_eq!((begun(&world, "alice"), world.host("alice").lookups.len()), (1, 1));
}

/// What a person takes down stays down; what a person takes up is not begun a second time.
#[test]
fn an_order_to_go_down_ends_the_attempts() {
    let mut world = world(10).peers(starting(alice()), bob());
    world.attack(|scene| scene.take());
    world.run(Duration::from_secs(30));
    let down = world.order("alice", Order::Down(Target::Connection("net".to_string())));
    world.run(Duration::from_secs(10));
    assert!(matches!(world.reply(down), Some(Reply::Down { .. })), "{:?}", world.reply(down));
    world.calm();
    world.run(Duration::from_secs(3600));
    assert_eq!((begun(&world, "alice"), world.status("alice").len()), (1, 0));
    let up = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(up), Some(Reply::Up { .. })), "{:?}", world.reply(up));
}

#[test]
fn an_order_during_an_attempt_joins_it() {
    let mut world = world(11).peers(starting(alice()), bob());
    world.run(Duration::from_millis(1));
    let up = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(up), Some(Reply::Up { .. })), "{:?}", world.reply(up));
    world.run(Duration::from_secs(60));
    assert_eq!((begun(&world, "alice"), world.status("alice").len()), (1, 1));
    assert_eq!(world.status("alice")[0].children.len(), 1);
}

/// What the peer has brought up meanwhile is not begun again.
#[test]
fn a_peer_that_comes_first_ends_the_waiting() {
    let mut world = world(12).peers(starting(alice()).by_name("gw.example"), bob());
    world.run(Duration::from_secs(1));
    world.up("bob");
    world.until(answered);
    world.host_mut("alice").names.insert("gw.example".into(), "198.51.100.2".parse().unwrap());
    world.run(Duration::from_secs(600));
    assert_eq!((begun(&world, "alice"), world.status("alice").len()), (0, 1));
}

/// A reload starts what is new and what starts now, leaves alone what stands, and forgets what is gone.
#[test]
fn a_reload_starts_what_is_new_and_forgets_what_is_gone() {
    let mut world = world(13).peers(alice(), bob());
    world.run(Duration::from_secs(5));
    assert_eq!(begun(&world, "alice"), 0);
    world.reload("alice", starting(alice()));
    world.run(Duration::from_secs(5));
    assert_eq!((begun(&world, "alice"), world.status("alice").len()), (1, 1));
    world.reload("alice", starting(alice()).with(|c| c.fragment_size = 1000));
    world.run(Duration::from_secs(60));
    assert_eq!((begun(&world, "alice"), world.status("alice").len()), (1, 1), "it stands already");

    let mut world = suite::world(14).peers(starting(alice()).by_name("gw.example"), bob());
    world.run(Duration::from_secs(60));
    let order = world.order("alice", Order::Reload(std::sync::Arc::new(Policy::default())));
    assert!(matches!(world.reply(order), Some(Reply::Done)));
    let before = world.host("alice").lookups.len();
    world.run(Duration::from_secs(3600));
    assert_eq!(world.host("alice").lookups.len(), before);
}

/// A person who repairs the configuration does not wait for the back-off.
#[test]
fn a_changed_connection_is_tried_at_once() {
    let mut world = world(15).peers(starting(alice()).by_name("gw.example"), bob());
    world.run(Duration::from_secs(200));
    world.reload("alice", starting(alice()));
    world.run(Duration::from_secs(1));
    assert!(established(&world));
}
