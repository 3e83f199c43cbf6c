//! NAT between the sites (RFC 7296 §2.23, RFC 3948).

use policy::{AddressPattern, EncapChoice, IdPattern, Pool, Unique};
use sim::site::ip;
use sim::{Flow, Site, established};
use std::time::Duration;
use suite::{World, alice, answered, bob, is_clean, world};

/// Alice behind a box that forgets after `expiry`.
fn behind(seed: u64, expiry: u64) -> World {
    let site = bob().with(|c| c.remote_addrs = vec![AddressPattern::Any]);
    world(seed).peers(alice().behind("203.0.113.9", Duration::from_secs(expiry)), site)
}

//= rfc7296 §2.23
#[test]
fn s125_behind_a_nat_everything_floats_to_port_4500() {
    let mut world = behind(1, 120);
    world.up("alice");
    world.until(established);
    let ports: Vec<u16> = world
        .wire
        .iter()
        .map(|(_, d)| if d.from.ip().is_loopback() { 0 } else { d.to.port().min(d.from.port()) })
        .collect();
    assert_eq!(ports, [500, 500, 4500, 4500]);
    let (ours, theirs) = (world.status("alice"), world.status("bob"));
    assert_eq!((ours[0].nat_local, ours[0].nat_remote), (true, false));
    assert_eq!((theirs[0].nat_local, theirs[0].nat_remote), (false, true));
    for name in ["alice", "bob"] {
        let host = world.host(name);
        let spec = host.dataplane.sad().next().expect("a child");
        assert!(spec.udp_encap && spec.local.port() == 4500, "{name}");
    }
    let outside = world.host("bob").dataplane.sad().next().unwrap().remote;
    assert_eq!(outside.ip().to_string(), "203.0.113.9");
    assert_ne!(outside.port(), 4500);
}

#[test]
fn without_a_nat_nothing_floats() {
    let mut world = world(2).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    assert_eq!(world.stats.get("datagrams on port 4500"), 0);
    assert!(!world.host("bob").dataplane.sad().next().unwrap().udp_encap);
}

//= rfc7296 §2.23
#[test]
fn encapsulation_can_be_forced_from_either_side() {
    for which in ["alice", "bob"] {
        let force = |site: sim::Site| {
            let forced = site.name == which;
            site.with(|c| c.encap = if forced { EncapChoice::Force } else { EncapChoice::Auto })
        };
        let mut world = world(3).peers(force(alice()), force(bob()));
        world.up("alice");
        world.until(established);
        for name in ["alice", "bob"] {
            assert!(world.host(name).dataplane.sad().next().unwrap().udp_encap, "{which}: {name}");
        }
        assert_eq!(world.wire[2].1.to.port(), 4500, "{which}");
    }
}

/// Only who is behind the NAT keeps the mapping alive.
//= rfc3948 §4
#[test]
fn keepalives_keep_the_mapping() {
    let quiet = |site: sim::Site| site.with(|c| c.dpd_delay = Duration::ZERO);
    let site = quiet(bob()).with(|c| c.remote_addrs = vec![AddressPattern::Any]);
    let mut world = world(4).peers(quiet(alice()).behind("203.0.113.9", Duration::from_secs(30)), site);
    world.up("alice");
    world.until(established);
    let outside = world.wire[2].1.from;
    world.run(Duration::from_secs(3600));
    let keepalives = world.wire.iter().filter(|(_, d)| d.payload == [0xff]).count();
    assert!((150..=190).contains(&keepalives), "every 20 s for an hour: {keepalives}");
    assert!(world.wire.iter().filter(|(_, d)| d.payload == [0xff]).all(|(_, d)| d.from == outside));
    let ike = world.status("bob")[0].id;
    let probe = world.order("bob", sa::Order::Probe(ike));
    world.until(answered);
    assert!(matches!(world.reply(probe), Some(sa::Reply::Alive { .. })));
}

/// The NAT box starts anew and gives another port: the side outside follows the next authentic message.
//= rfc7296 §2.23
#[test]
fn a_new_mapping_is_followed() {
    let mut world = behind(5, 600);
    world.up("alice");
    world.until(established);
    let before = world.host("bob").dataplane.sad().next().unwrap().remote;
    world.restart_nat("alice");
    let ike = world.status("alice")[0].id;
    let probe = world.order("alice", sa::Order::Probe(ike));
    world.until(answered);
    assert!(matches!(world.reply(probe), Some(sa::Reply::Alive { .. })));
    let after = world.host("bob").dataplane.sad().next().unwrap().remote;
    assert_ne!(before, after);
    assert_eq!(world.status("bob")[0].path.remote, after);
    let down = world.down("bob");
    world.until(answered);
    assert!(matches!(world.reply(down), Some(sa::Reply::Down { ike: 1, .. })));
    assert!(is_clean(&mut world));
}

/// Somebody who sends an old message from elsewhere does not draw the traffic to himself.
#[test]
fn a_replay_from_elsewhere_is_not_followed() {
    let mut world = behind(6, 600);
    world.up("alice");
    world.until(established);
    let ike = world.status("alice")[0].id;
    world.order("alice", sa::Order::Probe(ike));
    world.until(answered);
    let before = world.host("bob").dataplane.sad().next().unwrap().remote;
    let old: Vec<_> = world.wire.iter().map(|(_, d)| d.clone()).filter(|d| d.to.port() == 4500).collect();
    for mut datagram in old {
        datagram.from = "192.0.2.66:4500".parse().unwrap();
        world.inject(Duration::from_millis(1), datagram);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.host("bob").dataplane.sad().next().unwrap().remote, before);
    assert_eq!(world.status("bob")[0].path.remote, before);
}

/// Without a NAT nobody follows anybody: the address is part of what was agreed on.
//= rfc7296 §2.23
#[test]
fn an_address_that_changes_without_a_nat_is_not_followed() {
    let mut world = world(7).site(bob());
    let mut alice = suite::Puppet::alice();
    alice.establish(&mut world);
    let before = world.status("bob")[0].path.remote;
    alice.address = "192.0.2.66:500".parse().unwrap();
    alice.ask(&mut world, wire::num::ExchangeType::INFORMATIONAL, &[]);
    assert_eq!(world.status("bob")[0].path.remote, before);
}

/// Both behind boxes of their own, the responder's with a fixed way in.
#[test]
fn two_sites_behind_one_box_are_told_apart() {
    let site = |name: &str, address: &str| {
        let mut site = sim::Site::psk(name, address, "hub", "198.51.100.2");
        site.connections[0].remote.id = policy::IdPattern::Any;
        site
    };
    let mut hub = bob();
    hub.name = "hub".to_string();
    hub.connections[0].local.id = Some(policy::Identity::Fqdn("hub.example".to_string()));
    hub.connections[0].remote_addrs = vec![AddressPattern::Any];
    hub.connections[0].remote.id = policy::IdPattern::Any;
    let hub = hub.child(|child| child.remote_ts = vec![sim::site::net("10.0.0.0/8")]);
    let mut world = world(8)
        .site(hub)
        .site(site("one", "192.0.2.11").behind("203.0.113.9", Duration::from_secs(600)))
        .site(site("two", "192.0.2.12").behind("203.0.113.10", Duration::from_secs(600)));
    world.up("one");
    world.up("two");
    world.until(|world| world.host("hub").dataplane.sad().count() == 2 && world.is_quiet());
    assert!(world.is_mirrored());
    assert_eq!(world.status("hub").len(), 2);
}

/// Two clients of one network behind one box, with the same kind of identity: each has an address of its own, and what is
/// for it reaches it.
#[test]
fn two_clients_behind_one_nat_have_addresses_of_their_own() {
    for (by_address, unique) in
        [(false, Unique::No), (true, Unique::No), (false, Unique::Replace), (true, Unique::Keep)]
    {
        let client = |name: &str, address: &str| {
            let site = Site::psk(name, address, "bob", "198.51.100.2").child(|child| child.local_ts.clear());
            site.behind("203.0.113.9", Duration::from_secs(120)).with(|c| {
                c.configuration.vips = vec![ip("0.0.0.0")];
                if by_address {
                    c.local.id = None;
                }
            })
        };
        let road = Pool {
            name: "road".into(),
            addrs: vec![sim::site::net("10.3.0.0/24").addresses],
            ..Pool::default()
        };
        let gateway = bob().child(|child| child.remote_ts.clear()).with(|c| {
            (c.unique, c.remote_addrs) = (unique, vec![AddressPattern::Any]);
            c.remote.id = IdPattern::Any;
            c.configuration.pools = vec![std::sync::Arc::new(road)];
        });
        let mut world = world(40).site(client("alice", "192.168.7.10")).site(client("carol", "192.168.7.11"));
        world = world.site(gateway);
        for name in ["alice", "carol"] {
            world.up(name);
            world.until(answered);
        }
        let mut given = Vec::new();
        for name in ["alice", "carol"] {
            let received = world.status(name)[0].received.clone().expect("an address");
            let there = Flow::udp(received.addresses[0], ip("10.2.0.9"));
            world.ping(name, there, Duration::from_millis(50));
            world.ping("bob", there.reversed(), Duration::from_millis(50));
            given.push(received.addresses[0]);
        }
        assert_eq!(given, [ip("10.3.0.1"), ip("10.3.0.2")], "{by_address} {unique:?}");
        world.run(Duration::from_secs(60));
        world.traffic_stops();
        world.traffic_lands();
        let traffic = &world.traffic;
        assert!(traffic.sent > 4_000, "{traffic:?}");
        assert_eq!((traffic.arrived, traffic.unprotected), (traffic.sent, 0), "{traffic:?}");
        assert_eq!(world.status("bob").len(), 2);
    }
}
