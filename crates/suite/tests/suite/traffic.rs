//! Packets through the tunnel while its keys change: none is lost but by the network itself (RFC 7296 §2.8).

use policy::{ChildLifetime, Volume};
use sa::{Order, Target};
use sim::{Flow, Weather, established};
use std::time::Duration;
use suite::{World, alice, bob, world};

const MINUTE: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(7);

fn rekey(world: &mut World, name: &str) {
    world.order(name, Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
}

/// Ends the traffic; everything that was sent arrived, or the weather took it.
#[track_caller]
fn assert_nothing_lost(world: &mut World) {
    world.traffic_stops();
    world.traffic_lands();
    let traffic = &world.traffic;
    assert!(traffic.sent > 1_000, "{traffic:?}");
    assert_eq!((traffic.lost_by_us(), traffic.unprotected, traffic.dropped), (0, 0, 0), "{traffic:?}");
    assert_eq!((traffic.arrived + traffic.lost_by_weather, traffic.under_way()), (traffic.sent, 0));
}

#[test]
fn packets_go_both_ways() {
    let mut world = world(1).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    world.traffic("alice", "bob", OFTEN);
    world.run(MINUTE);
    assert_nothing_lost(&mut world);
    assert_eq!(world.traffic.lost_by_weather, 0);
}

#[test]
fn without_a_tunnel_packets_are_counted_as_unprotected() {
    let mut world = world(1).peers(alice(), bob());
    world.traffic("alice", "bob", Duration::from_secs(1));
    world.run(MINUTE);
    assert_eq!((world.traffic.sent, world.traffic.unprotected), (122, 122));
}

//= rfc7296 §2.8
#[test]
fn new_keys_cost_no_packet_whoever_asks() {
    for (seed, names) in [(1, &["alice"][..]), (2, &["bob"]), (3, &["alice", "bob"])] {
        let mut world = world(seed).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        world.traffic("alice", "bob", OFTEN);
        for _ in 0..20 {
            names.iter().for_each(|name| rekey(&mut world, name));
            world.run(Duration::from_secs(20));
        }
        assert_nothing_lost(&mut world);
        assert_eq!(world.traffic.lost_by_weather, 0, "{names:?}");
        assert!(world.stats.get("child up") >= 42, "{:?}", world.stats);
    }
}

/// The next keys come while what the last ones have replaced still takes in what is under way.
//= rfc7296 §2.8
#[test]
fn new_keys_cost_no_packet_however_soon_they_come() {
    for seed in 1..=10 {
        let mut world = world(seed).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        world.traffic("alice", "bob", OFTEN);
        for turn in 0..60 {
            if turn % 4 != 1 {
                rekey(&mut world, "alice");
            }
            if turn % 4 != 2 {
                rekey(&mut world, "bob");
            }
            world.run(Duration::from_secs(2));
        }
        assert_nothing_lost(&mut world);
        assert_eq!(world.traffic.lost_by_weather, 0, "seed {seed}");
        assert!(world.stats.get("child up") > 120, "{:?}", world.stats);
    }
}

/// Requests, responses and packets are lost, overtake each other and come twice.
//= rfc7296 §2.8
#[test]
fn new_keys_cost_no_packet_in_foul_weather() {
    for seed in 1..=40 {
        let mut world = world(seed).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        // Foul, but not so foul that a request is given up.
        world.weather = Weather { loss: 150, ..Weather::foul() };
        world.traffic("alice", "bob", Duration::from_millis(50));
        for turn in 0..10 {
            if turn % 3 != 1 {
                rekey(&mut world, "alice");
            }
            if turn % 3 != 0 {
                rekey(&mut world, "bob");
            }
            world.run(Duration::from_secs(40));
        }
        assert_eq!(world.status("alice").len(), 1, "seed {seed}: {:?}", world.stats);
        assert_nothing_lost(&mut world);
        assert!(world.traffic.lost_by_weather > 1_000);
    }
}

#[test]
fn a_child_that_has_carried_enough_gets_new_keys() {
    let packets = Volume { rekey: 1_000, life: 1_500, rand: 100 };
    let worn = |site: sim::Site| {
        site.child(|child| child.lifetime = ChildLifetime { packets, ..ChildLifetime::UNLIMITED })
    };
    let mut world = world(1).peers(worn(alice()), bob());
    world.up("alice");
    world.until(established);
    world.traffic("alice", "bob", OFTEN);
    world.run(2 * MINUTE);
    assert_nothing_lost(&mut world);
    let times = world.traffic.sent / 2 / 1_000;
    assert!(world.stats.get("child up") >= 2 * times, "{times}: {:?}", world.stats);
}

#[test]
fn a_packet_outside_the_selectors_is_not_taken_in() {
    let wide = alice().child(|child| child.local_ts = vec![sim::site::net("10.0.0.0/8")]);
    let mut world = world(1).peers(wide, bob());
    world.up("alice");
    world.until(established);
    let flow = Flow::udp("10.9.0.1".parse().unwrap(), "10.2.0.1".parse().unwrap());
    world.packet("alice", flow);
    world.traffic_lands();
    // Bob narrowed alice's network: her data plane knows.
    assert_eq!((world.traffic.unprotected, world.traffic.refused), (1, 0));
}
