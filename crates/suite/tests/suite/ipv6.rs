//! IKE over IPv6.

use dataplane::AddressRange;
use policy::AddressPattern;
use sim::site::ip;
use sim::{Site, Weather, established};
use std::time::Duration;
use suite::{answered, is_clean, world};

fn site(name: &str, address: &str, peer: &str, peer_address: &str) -> Site {
    Site::psk(name, address, peer, peer_address)
}

fn pair() -> (Site, Site) {
    (
        site("alice", "2001:db8:1::1", "bob", "2001:db8:2::2"),
        site("bob", "2001:db8:2::2", "alice", "2001:db8:1::1"),
    )
}

#[test]
fn s132_a_tunnel_over_ipv6_comes_up_and_goes_down() {
    let (one, other) = pair();
    let mut world = world(1).peers(one, other);
    world.up("alice");
    world.until(established);
    assert!(!world.status("alice")[0].nat_local && !world.status("alice")[0].nat_remote);
    assert!(world.wire.iter().all(|(_, datagram)| datagram.to.is_ipv6()));
    world.down("bob");
    world.until(answered);
    assert!(is_clean(&mut world));
}

/// The IPv6 header counts into the fragment size.
//= rfc7383 §2.5.1
#[test]
fn s122_fragments_over_ipv6_leave_room_for_its_header() {
    let networks = |side: u8| (0..80u8).map(move |n| sim::site::net(&format!("10.20{side}.{n}.0/24")));
    let large = |site: Site, (own, other): (u8, u8)| {
        site.with(|connection| connection.fragment_size = 1280).child(|child| {
            child.local_ts.extend(networks(own));
            child.remote_ts.extend(networks(other));
        })
    };
    let (one, other) = pair();
    let mut world = world(2).peers(large(one, (1, 2)), large(other, (2, 1))).under(Weather::fair());
    world.up("alice");
    world.until(established);
    assert!(world.stats.get("fragments sent") >= 4);
    assert!(world.wire.iter().all(|(_, datagram)| datagram.payload.len() + 40 + 8 <= 1280));
}

/// A responder for any address answers over both families.
#[test]
fn one_responder_has_both_families() {
    let (six, mut hub) = pair();
    hub.connections[0].remote_addrs =
        vec![AddressPattern::Any, AddressPattern::Range(AddressRange::host(ip("192.0.2.1")))];
    hub.connections[0].local_addrs = vec![AddressPattern::Any];
    let mut world = world(3).peers(six, hub);
    world.up("alice");
    world.until(established);
    world.run(Duration::from_secs(1));
    assert_eq!(world.status("bob").len(), 1);
}
