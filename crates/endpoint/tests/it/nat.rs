//! NAT traversal (RFC 7296 §2.23, RFC 3948).

use crate::common::{A, B, Pair, connection, ip};
use policy::EncapChoice;
use sa::{Event, Order, Target};
use std::net::SocketAddr;
use std::time::Duration;

fn behind_nat() -> Pair {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.nat = Some(SocketAddr::new(ip("198.51.100.7"), 61_000));
    pair.up();
    pair.settle();
    pair.assert_mirrored();
    assert_eq!(pair.a.sad.len(), 1, "{:?} {:?}", pair.a.refusals(), pair.b.refusals());
    pair
}

//= rfc7296 §2.23
#[test]
fn behind_a_nat_both_go_over_to_port_4500_and_encapsulate() {
    let pair = behind_nat();
    let (a, b) = (pair.a.sad.values().next().unwrap(), pair.b.sad.values().next().unwrap());
    assert!(a.udp_encap && b.udp_encap);
    assert_eq!((a.local.port(), a.remote.port()), (4500, 4500));
    assert_eq!(b.remote, SocketAddr::new(ip("198.51.100.7"), 61_001));
    assert!(pair.seen[2..].iter().all(|flight| flight.marked), "IKE_AUTH carries the marker");
}

#[test]
fn without_a_nat_esp_stays_bare() {
    let pair = Pair::established();
    assert!(pair.a.sad.values().all(|spec| !spec.udp_encap && spec.local.port() == 0));
    assert!(pair.seen.iter().all(|flight| !flight.marked));
}

#[test]
fn forced_encapsulation_makes_both_sides_believe_in_a_nat() {
    for forcing in 0..2 {
        let (mut a, mut b) = (connection(A, B), connection(B, A));
        [&mut a, &mut b][forcing].encap = EncapChoice::Force;
        let mut pair = Pair::new(a, b);
        pair.up();
        pair.settle();
        pair.assert_mirrored();
        assert!(pair.a.sad.values().all(|spec| spec.udp_encap), "{forcing}");
    }
}

//= rfc3948 §4
#[test]
fn who_is_behind_the_nat_keeps_it_open() {
    let mut pair = behind_nat();
    pair.pass(Duration::from_secs(65));
    assert_eq!((pair.a.keepalives, pair.b.keepalives), (3, 0));
}

//= rfc7296 §2.23
#[test]
fn a_new_mapping_is_followed_when_an_authentic_message_comes_from_it() {
    let mut pair = behind_nat();
    let old = pair.seen.last().unwrap().to;
    pair.nat = Some(SocketAddr::new(ip("198.51.100.7"), 62_000));
    // Noise from the new address moves nothing.
    let mut noise = pair.seen.iter().rfind(|f| f.to.ip() == ip(B)).unwrap().clone();
    noise.from.set_port(62_001);
    let last = noise.bytes.len() - 1;
    noise.bytes[last] ^= 1;
    pair.inject(noise);
    pair.settle();
    assert_eq!(pair.b.sad.values().next().unwrap().remote, old);
    let id = pair.a.replies.iter().find_map(|(_, reply)| match reply {
        sa::Reply::Up { ike, .. } => Some(*ike),
        _ => None,
    });
    pair.order_a(Order::Probe(id.unwrap()));
    pair.settle();
    assert_eq!(pair.b.sad.values().next().unwrap().remote.port(), 62_001);
    pair.order_b(Order::Down(Target::All));
    pair.settle();
    assert_eq!(pair.a.count(|e| matches!(e, Event::IkeDown(..))), 1, "our own requests follow too");
}
