//! NAT traversal (RFC 7296 §2.23, RFC 3948).

use crate::common::{A, B, Pair, connection, ip, net};
use dataplane::Mode;
use policy::{Child, Connection, EncapChoice};
use sa::{Event, Order, Target};
use std::net::SocketAddr;
use std::sync::Arc;
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

fn host_to_host(mut of: Connection, mode: Mode) -> Connection {
    of.children = of.children.iter().map(|child| transport_of(child, "host", mode)).collect();
    of
}

fn transport_of(child: &Child, name: &str, mode: Mode) -> Arc<Child> {
    let dynamic = (Vec::new(), Vec::new());
    Arc::new(Child {
        name: name.to_string(),
        mode,
        local_ts: dynamic.0,
        remote_ts: dynamic.1,
        ..child.clone()
    })
}

const OUTSIDE: &str = "198.51.100.7";

fn host(address: &str) -> Vec<dataplane::Selector> {
    vec![net(&format!("{address}/32"))]
}

//= rfc7296 §2.23.1
//# Store the original Traffic Selector IP addresses as received source and destination address
#[test]
fn transport_mode_through_a_nat_names_the_addresses_of_the_path() {
    let transport = |of| host_to_host(of, Mode::Transport);
    let (mut a, mut b) = (transport(connection(A, B)), transport(connection(B, A)));
    // A second child, whose request is a CREATE_CHILD_SA.
    for of in [&mut a, &mut b] {
        let second = transport_of(&of.children[0], "second", Mode::Transport);
        of.children.push(second);
    }
    let mut pair = Pair::new(a, b);
    pair.nat = Some(SocketAddr::new(ip(OUTSIDE), 61_000));
    pair.up();
    pair.settle();
    let second = Some("second".to_string());
    pair.order_a(Order::Up { connection: policy::ConnectionId(0), child: second, path: Pair::path() });
    pair.settle();
    assert_eq!(
        (pair.a.sad.len(), pair.b.sad.len()),
        (2, 2),
        "{:?} {:?}",
        pair.a.refusals(),
        pair.b.refusals()
    );
    for spec in pair.a.sad.values() {
        assert_eq!((spec.mode, &spec.local_ts, &spec.remote_ts), (Mode::Transport, &host(A), &host(B)));
        assert_eq!(spec.original_addresses, Some((ip(OUTSIDE), ip(B))), "B's checksums are for these");
    }
    for spec in pair.b.sad.values() {
        assert_eq!((spec.mode, &spec.local_ts, &spec.remote_ts), (Mode::Transport, &host(B), &host(OUTSIDE)));
        assert_eq!(spec.original_addresses, Some((ip(B), ip(A))), "A's checksums are for these");
    }
}

#[test]
fn transport_mode_without_a_nat_has_nothing_to_restore() {
    for encap in [EncapChoice::Auto, EncapChoice::Force] {
        let transport = |of| Connection { encap, ..host_to_host(of, Mode::Transport) };
        let mut pair = Pair::new(transport(connection(A, B)), transport(connection(B, A)));
        pair.up();
        pair.settle();
        pair.assert_mirrored();
        assert_eq!(pair.a.sad.len(), 1);
        for spec in pair.a.sad.values().chain(pair.b.sad.values()) {
            assert_eq!((spec.original_addresses, spec.udp_encap), (None, encap == EncapChoice::Force));
        }
    }
}

/// Whoever does not take transport mode looks for a tunnel with the selectors as they were sent, and in tunnel mode
/// nothing is put in another's place.
//= rfc7296 §2.23.1
#[test]
fn a_responder_without_transport_mode_answers_for_the_real_selectors() {
    let mut b = connection(B, A);
    Arc::make_mut(&mut b.children[0]).local_ts = host(B);
    Arc::make_mut(&mut b.children[0]).remote_ts = host(A);
    let mut pair = Pair::new(host_to_host(connection(A, B), Mode::Transport), b);
    pair.nat = Some(SocketAddr::new(ip(OUTSIDE), 61_000));
    pair.up();
    while pair.b.sad.is_empty() {
        assert!(pair.step(), "B finds no tunnel: {:?}", pair.b.refusals());
    }
    let spec = pair.b.sad.values().next().unwrap();
    assert_eq!((spec.mode, &spec.remote_ts, spec.original_addresses), (Mode::Tunnel, &host(A), None));
    pair.settle();
    assert!(pair.a.sad.is_empty() && pair.b.sad.is_empty(), "A wants transport mode, and deletes");
    assert!(pair.a.refusals()[0].contains("answered with tunnel mode"), "{:?}", pair.a.refusals());
}
