//! Anything at all: parsed or refused, never a panic.

mod common;

use base::Instant;
use common::{arrival, build, packet, seal, spec, udp};
use dataplane::{ChildId, Mode};
use esp::Inbound;
use esp::ip::{Packet, protocol};
use testkit::Chance;

/// IPv6 with hop-by-hop, routing, destination options and a fragment header.
fn extended() -> Vec<u8> {
    let mut payload = vec![protocol::ROUTING, 0, 1, 4, 0, 0, 0, 0];
    payload.extend_from_slice(&[protocol::DESTINATION, 0, 0, 0, 0, 0, 0, 0]);
    payload.extend_from_slice(&[protocol::FRAGMENT, 0, 1, 4, 0, 0, 0, 0]);
    payload.extend_from_slice(&[protocol::UDP, 0, 0, 1, 0, 0, 0, 7]);
    payload.extend_from_slice(&udp(b"payload"));
    packet("fd01::9", "fd02::9", protocol::HOP_BY_HOP, &payload)
}

#[test]
fn extension_headers_are_walked_to_the_ports() {
    let octets = extended();
    let parsed = Packet::parse(&octets).unwrap();
    assert_eq!(
        (parsed.protocol, parsed.ports, parsed.is_fragment),
        (protocol::UDP, Some((1000, 2000)), true)
    );
    assert_eq!(parsed.header_len, 40 + 32);
    // A later fragment hides the ports.
    let mut later = octets;
    later[40 + 24 + 3] = 9;
    assert_eq!(Packet::parse(&later).unwrap().ports, None);
}

#[test]
fn too_many_extension_headers_are_malformed() {
    let with = |count: usize| {
        let mut payload: Vec<u8> = Vec::new();
        for at in 0..count {
            let next = if at + 1 == count { protocol::UDP } else { protocol::DESTINATION };
            payload.extend_from_slice(&[next, 0, 1, 4, 0, 0, 0, 0]);
        }
        payload.extend_from_slice(&udp(b"x"));
        Packet::parse(&packet("fd01::9", "fd02::9", protocol::DESTINATION, &payload)).map(|p| p.ports)
    };
    assert_eq!(with(esp::limits::MAX_EXTENSION_HEADERS), Ok(Some((1000, 2000))));
    assert!(with(esp::limits::MAX_EXTENSION_HEADERS + 1).is_err());
}

#[test]
fn mutated_inner_packets_never_panic() {
    let seeds = [
        packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"some payload")),
        packet("10.1.0.9", "10.2.0.9", protocol::TCP, &[2; 60]),
        packet("fd01::9", "fd02::9", protocol::ICMPV6, &[128, 0, 0, 0]),
        extended(),
    ];
    let mut chance = Chance::new(20_260);
    let mut table = Inbound::new();
    assert!(table.install(build(&spec(false)).0));
    let mut from = build(&spec(true)).1;
    let whole = Packet::parse(&seeds[0]).unwrap();
    let (mut parsed, mut delivered) = (0, 0);
    for round in 0..20_000 {
        let mut inner = seeds[round % seeds.len()].clone();
        chance.mutate(&mut inner);
        if let Ok(packet) = Packet::parse(&inner) {
            parsed += 1;
            assert!(packet.header_len <= packet.total_len && packet.total_len <= inner.len());
            esp::icmp::too_big(&packet, &inner, 1400, &mut [0; 1280]);
        }
        if inner.len() < 20 {
            continue;
        }
        // Authentic all the same: the peer may send anything.
        let (head, body) = inner.split_at(20);
        let mut frame = vec![0; inner.len() + 100];
        let len =
            from.encapsulate(&whole, esp::Parts { head, body }, &mut frame, &mut common::pool()).unwrap();
        let result = table.receive(&mut arrival(&spec(false), &mut frame[..len]), Instant::default());
        delivered += usize::from(result.is_ok());
    }
    assert!(parsed > 1000 && delivered > 1000, "the seeds were hardly reached: {parsed}, {delivered}");
}

#[test]
fn mutated_esp_packets_never_pass() {
    let mut chance = Chance::new(7);
    let mut table = Inbound::new();
    assert!(table.install(build(&spec(false)).0));
    let mut from = build(&spec(true)).1;
    let inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"payload"));
    for _ in 0..20_000 {
        let frame = seal(&mut from, &inner);
        let mut mutated = frame.clone();
        chance.mutate(&mut mutated);
        if mutated != frame {
            let result = table.receive(&mut arrival(&spec(false), &mut mutated), Instant::default());
            assert!(result.is_err());
        }
    }
    assert_eq!(table.get_mut(ChildId(1)).unwrap().counters.packets_in, 0);
}

#[test]
fn mutated_transport_payloads_never_panic() {
    let mut receiving = spec(false);
    receiving.mode = Mode::Transport;
    receiving.local_ts = vec![common::selector("192.0.2.2/32")];
    receiving.remote_ts = vec![common::selector("192.0.2.1/32")];
    receiving.original_addresses = Some(("192.0.2.2".parse().unwrap(), "10.0.0.5".parse().unwrap()));
    let mut table = Inbound::new();
    assert!(table.install(build(&receiving).0));
    let mut from = build(&spec(true)).1.sa;
    let mut chance = Chance::new(99);
    for round in 0..20_000usize {
        let mut payload = udp(&vec![0; round % 64]);
        chance.mutate(&mut payload);
        let mut frame = vec![0; payload.len() + 100];
        frame[from.head_len()..][..payload.len()].copy_from_slice(&payload);
        let next_header = [6, 17, 58, 1, 0, 43, 44, 135][round % 8];
        let len = from.seal(&mut frame, payload.len(), next_header, &mut common::pool()).unwrap();
        // The octets decide; that nothing panics is the point.
        let _ = table.receive(&mut arrival(&receiving, &mut frame[..len]), Instant::default());
    }
    let counters = table.get_mut(ChildId(1)).unwrap().counters;
    assert_eq!((counters.bad_icv, counters.replayed), (0, 0));
    assert!(counters.packets_in > 10_000);
}
