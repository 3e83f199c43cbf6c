//! Children: selectors, ECN, transport mode, the tables, and what the limits say.

mod common;

use base::{EspSpi, Instant};
use common::{arrival, build, packet, rng, seal, selector, spec, udp};
use crypto::Suite;
use dataplane::{ChildId, Mode, Selector, Without};
use esp::checksum::pseudo_header;
use esp::ip::{Packet, protocol, set_tos};
use esp::{Inbound, NotSent, Outbound, OutboundSa, Refused};
use provider::Provider;
use wire::num::{Encr, Integ};

const NOW: Instant = Instant::from_nanos(5);

/// What comes out at b when a sends `inner`.
fn through(inner: &[u8]) -> Result<Vec<u8>, Refused> {
    let (mut from, to) = (build(&spec(true)).1, build(&spec(false)).0);
    let mut frame = seal(&mut from, inner);
    let mut table = Inbound::new();
    assert!(table.install(to));
    let mut arrival = arrival(&spec(false), &mut frame);
    let delivered = table.receive(&mut arrival, NOW)?.delivered.expect("no dummy packet");
    let mut whole = delivered.header().to_vec();
    whole.extend_from_slice(&arrival.bytes[delivered.body]);
    Ok(whole)
}

#[test]
fn what_goes_in_comes_out() {
    for inner in [
        packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"four")),
        packet("fd01::9", "fd02::9", protocol::UDP, &udp(b"six")),
        packet("10.1.0.9", "10.2.0.9", 99, b""),
    ] {
        assert_eq!(through(&inner).unwrap(), inner);
    }
}

//= rfc4303 §2.7
#[test]
fn traffic_flow_padding_is_cut_off() {
    let inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"data"));
    let mut padded = inner.clone();
    padded.extend_from_slice(&[0; 300]);
    assert_eq!(through(&padded).unwrap(), inner);
}

//= rfc4301 §5.2
#[test]
fn an_inner_packet_outside_the_selectors_is_dropped() {
    for (source, destination) in
        [("10.3.0.1", "10.2.0.9"), ("10.1.0.9", "10.3.0.1"), ("10.2.0.9", "10.1.0.9")]
    {
        let inner = packet(source, destination, protocol::UDP, &udp(b"x"));
        assert_eq!(through(&inner), Err(Refused::OutsideSelectors), "{source} to {destination}");
    }
}

#[test]
fn malformed_inner_packets_are_dropped_and_counted() {
    let good = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"data"));
    let parsed = Packet::parse(&good).unwrap();
    for (what, at, octet) in [("version", 0, 0x55), ("header length", 0, 0x4f), ("total length", 3, 0xff)] {
        let (mut from, mut to) = (build(&spec(true)).1, Inbound::new());
        assert!(to.install(build(&spec(false)).0));
        let mut bad = good.clone();
        bad[at] = octet;
        let mut frame = vec![0; 300];
        let (head, body) = bad.split_at(20);
        let parts = esp::Parts { head, body };
        let len = from.encapsulate(&parsed, parts, &mut frame, &mut common::pool()).unwrap();
        let result = to.receive(&mut arrival(&spec(false), &mut frame[..len]), NOW);
        assert!(matches!(result, Err(Refused::Malformed)), "{what}");
        assert_eq!(to.get_mut(ChildId(1)).unwrap().counters.malformed, 1, "{what}");
    }
}

//= rfc6040 §4.2
#[test]
fn congestion_reaches_the_inner_header_or_drops_the_packet() {
    for (source, destination) in [("10.1.0.9", "10.2.0.9"), ("fd01::9", "fd02::9")] {
        for (ecn, want) in [(0b10, Some(0b11)), (0b00, None)] {
            let mut inner = packet(source, destination, protocol::UDP, &udp(b"x"));
            set_tos(&mut inner, 0xb8 | ecn);
            let (mut from, mut to) = (build(&spec(true)).1, Inbound::new());
            assert_eq!(from.outer_tos(&Packet::parse(&inner).unwrap()), 0xb8 | ecn);
            assert!(to.install(build(&spec(false)).0));
            let mut frame = seal(&mut from, &inner);
            let mut arrival = arrival(&spec(false), &mut frame);
            arrival.tos = 0b11;
            let got = to.receive(&mut arrival, NOW).ok().and_then(|accepted| accepted.delivered);
            let Some(got) = got else {
                assert_eq!(want, None);
                continue;
            };
            assert_eq!(Some(got.packet.tos), want.map(|ecn| 0xb8 | ecn));
            let mut changed = inner.clone();
            set_tos(&mut changed, 0xb8 | 0b11);
            assert_eq!(got.header(), &changed[..got.header().len()], "header checksum included");
        }
    }
}

//= rfc4303 §2.6
#[test]
fn dummy_packets_are_dropped_in_silence() {
    let (mut from, mut to) = (build(&spec(true)).1, Inbound::new());
    assert!(to.install(build(&spec(false)).0));
    let mut frame = vec![0xaa; 100];
    let len = from.sa.seal(&mut frame, 50, protocol::NO_NEXT, &mut common::pool()).unwrap();
    let accepted = to.receive(&mut arrival(&spec(false), &mut frame[..len]), NOW).unwrap();
    assert!(accepted.delivered.is_none());
    let counters = to.get_mut(ChildId(1)).unwrap().counters;
    assert_eq!((counters.malformed, counters.outside_selectors, counters.packets_in), (0, 0, 0));
}

/// Both ends of transport mode between the outer addresses, the peer behind NAT if `nat`.
fn transport(a: bool) -> dataplane::ChildSpec {
    let mut spec = spec(a);
    spec.mode = Mode::Transport;
    let host = |ip: std::net::IpAddr| vec![selector(&format!("{ip}/32"))];
    (spec.local_ts, spec.remote_ts) = (host(spec.local.ip()), host(spec.remote.ip()));
    spec
}

/// A TCP segment with a right checksum.
fn tcp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];
    segment.extend_from_slice(payload);
    let sum =
        pseudo_header(source.parse().unwrap(), destination.parse().unwrap(), protocol::TCP, segment.len());
    let checksum = sum.octets(&segment).checksum();
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

fn holds(packet: &[u8]) -> bool {
    let parsed = Packet::parse(packet).unwrap();
    let upper = &packet[parsed.header_len..];
    pseudo_header(parsed.source, parsed.destination, parsed.protocol, upper.len()).octets(upper).fold()
        == 0xffff
}

#[test]
fn transport_mode_makes_the_header_anew() {
    let mut from = build(&transport(true)).1;
    let mut to = Inbound::new();
    assert!(to.install(build(&transport(false)).0));
    let inner = packet("192.0.2.1", "192.0.2.2", protocol::TCP, &tcp("192.0.2.1", "192.0.2.2", b"hello"));
    let mut frame = seal(&mut from, &inner);
    let mut arrival = arrival(&transport(false), &mut frame);
    let delivered = to.receive(&mut arrival, NOW).unwrap().delivered.unwrap();
    let mut whole = delivered.header().to_vec();
    whole.extend_from_slice(&arrival.bytes[delivered.body]);
    assert_eq!(whole, inner);
}

//= rfc3948 §3.1.2
#[test]
fn transport_mode_behind_nat_corrects_the_checksum() {
    // The peer calls itself 10.0.0.5; we see it as 192.0.2.1, port 61000.
    let mut receiving = transport(false);
    receiving.remote = "192.0.2.1:61000".parse().unwrap();
    receiving.original_addresses = Some(("192.0.2.2".parse().unwrap(), "10.0.0.5".parse().unwrap()));
    let mut to = Inbound::new();
    assert!(to.install(build(&receiving).0));
    let inner = packet("10.0.0.5", "192.0.2.2", protocol::TCP, &tcp("10.0.0.5", "192.0.2.2", b"hello"));
    let mut frame = seal(&mut build(&transport(true)).1, &inner);
    let mut arrival = arrival(&receiving, &mut frame);
    let delivered = to.receive(&mut arrival, NOW).unwrap().delivered.unwrap();
    let mut whole = delivered.header().to_vec();
    whole.extend_from_slice(&arrival.bytes[delivered.body]);
    assert_eq!(delivered.packet.source.to_string(), "192.0.2.1");
    assert!(holds(&whole));
}

//= rfc4303 §3.1.1, §3.3.4
#[test]
fn transport_mode_carries_whole_packets_to_the_peer_only() {
    let child = build(&transport(true)).1;
    let admits = |octets: &[u8]| {
        let parsed = Packet::parse(octets).unwrap();
        child.admits(&parsed, parsed.total_len)
    };
    let good = packet("192.0.2.1", "192.0.2.2", protocol::UDP, &udp(&[0; 3000]));
    assert_eq!(admits(&good), Ok(()), "longer than the path: ESP is fragmented");
    let mut fragment = good.clone();
    fragment[6] = 0x20;
    assert_eq!(admits(&fragment), Err(NotSent::NotTransportable));
    let elsewhere = packet("192.0.2.1", "192.0.2.3", protocol::UDP, &udp(b"x"));
    assert_eq!(admits(&elsewhere), Err(NotSent::NotTransportable));
}

#[test]
fn a_packet_longer_than_the_path_is_told_to_its_sender() {
    let mut child = build(&spec(true)).1;
    child.set_path_mtu(1400);
    // IPv4 20, UDP 8, ESP 8, IV 8, trailer 2, ICV 16, all in fours.
    assert_eq!(child.max_inner, 1400 - 20 - 8 - 8 - 8 - 2 - 16);
    let mut inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(&vec![0; child.max_inner - 28]));
    let check = |octets: &[u8]| child.admits(&Packet::parse(octets).unwrap(), octets.len());
    assert_eq!(check(&inner), Ok(()));
    let frame_len = child.frame_len(&Packet::parse(&inner).unwrap(), inner.len());
    assert!(frame_len + 28 <= 1400 && frame_len + 28 > 1396, "{frame_len}");
    inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(&vec![0; child.max_inner - 27]));
    assert_eq!(check(&inner), Err(NotSent::TooBig));
    inner[6] = 0;
    assert_eq!(check(&inner), Ok(()), "it may be fragmented");
}

fn find(table: &mut Outbound, inner: &[u8]) -> Option<u64> {
    table.find(&Packet::parse(inner).unwrap()).map(|(child, _)| child.id.0)
}

#[test]
fn the_narrowest_selectors_win_then_the_newest_child() {
    let mut table = Outbound::new(rng(3));
    let all = [selector("0.0.0.0/0")];
    let ours = [selector("10.1.0.0/16")];
    let odd = dataplane::AddressRange::new("10.2.7.1".parse().unwrap(), "10.2.7.9".parse().unwrap()).unwrap();
    let web =
        Selector { protocol: protocol::UDP, start_port: 2000, end_port: 2000, ..selector("10.2.0.0/16") };
    let policies: [(u64, &[Selector]); 5] = [
        (1, &all),
        (2, &[selector("10.2.0.0/16")]),
        (3, &[selector("10.2.5.0/24")]),
        (4, &[web]),
        (5, &[Selector::addresses(odd)]),
    ];
    for (id, theirs) in policies {
        let mut child = build(&spec(true)).1;
        child.id = ChildId(id);
        table.install(child, &ours, theirs);
    }
    let to = |address: &str, next_header| packet("10.1.0.9", address, next_header, &udp(b"x"));
    for _ in 0..2 {
        // The second time from the cache.
        assert_eq!(find(&mut table, &to("8.8.8.8", 17)), Some(1));
        assert_eq!(find(&mut table, &to("10.2.0.1", 6)), Some(2));
        assert_eq!(find(&mut table, &to("10.2.5.1", 17)), Some(3));
        assert_eq!(find(&mut table, &to("10.2.0.1", 17)), Some(4));
        assert_eq!(find(&mut table, &to("10.2.7.3", 6)), Some(5));
        assert_eq!(find(&mut table, &packet("10.9.0.9", "10.2.0.1", 17, &udp(b"x"))), None);
    }
    // A child that replaces another has the same selectors.
    let mut newer = build(&spec(true)).1;
    newer.id = ChildId(6);
    table.install(newer, &ours, &[selector("10.2.5.0/24")]);
    assert_eq!(find(&mut table, &to("10.2.5.1", 17)), Some(6));
    assert!(table.remove(ChildId(6)).is_some());
    assert_eq!(find(&mut table, &to("10.2.5.1", 17)), Some(3));
    assert!(table.remove(ChildId(3)).is_some() && table.remove(ChildId(2)).is_some());
    assert_eq!(find(&mut table, &to("10.2.5.1", 6)), Some(1));
    assert!(table.remove(ChildId(3)).is_none());
}

#[test]
fn later_fragments_match_only_where_all_ports_do() {
    let mut inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(&[0; 64]));
    inner[7] = 100;
    let any = selector("10.2.0.0/16");
    for (theirs, want) in [
        (any, Some(1)),
        (Selector { protocol: 17, start_port: 2000, end_port: 2000, ..any }, None),
        (Selector { protocol: 17, start_port: u16::MAX, end_port: 0, ..any }, Some(1)),
    ] {
        let mut table = Outbound::new(rng(3));
        table.install(build(&spec(true)).1, &[selector("10.1.0.0/16")], &[theirs]);
        assert_eq!(find(&mut table, &inner), want, "{theirs}");
    }
}

#[test]
fn s064_icmp_selectors_hold_type_and_code() {
    let echo = Selector {
        protocol: protocol::ICMP,
        start_port: 0x0800,
        end_port: 0x08ff,
        ..selector("10.2.0.0/16")
    };
    let mut table = Outbound::new(rng(3));
    table.install(build(&spec(true)).1, &[selector("10.1.0.0/16")], &[echo]);
    assert_eq!(find(&mut table, &packet("10.1.0.9", "10.2.0.9", protocol::ICMP, &[8, 0, 0, 0])), Some(1));
    assert_eq!(find(&mut table, &packet("10.1.0.9", "10.2.0.9", protocol::ICMP, &[3, 1, 0, 0])), None);
}

//= rfc7296 §2.23
#[test]
fn a_new_address_of_the_peer_is_told_once_and_only_by_the_newest_authentic_packet() {
    let (mut from, mut to) = (build(&spec(true)).1, Inbound::new());
    assert!(to.install(build(&spec(false)).0));
    let inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"x"));
    let mut frames: Vec<Vec<u8>> = (0..4).map(|_| seal(&mut from, &inner)).collect();
    let elsewhere = "198.51.100.7:7777".parse().unwrap();
    let mut receive = |at: usize, remote, tamper: bool| {
        let mut frame = frames[at].clone();
        if tamper {
            frame[20] ^= 1;
        } else {
            frames[at].clear();
        }
        let mut arrival = arrival(&spec(false), &mut frame);
        arrival.remote = remote;
        to.receive(&mut arrival, NOW).map(|accepted| accepted.mapping)
    };
    assert_eq!(receive(1, spec(false).remote, false).unwrap(), None);
    assert_eq!(receive(2, elsewhere, true).unwrap_err(), Refused::BadIcv);
    assert_eq!(receive(0, elsewhere, false).unwrap(), None, "an old packet, held back by someone");
    assert_eq!(receive(2, elsewhere, false).unwrap(), Some(elsewhere));
    assert_eq!(receive(3, elsewhere, false).unwrap(), None, "told already");
}

#[test]
fn unknown_spis_and_runts_are_counted_apart() {
    let mut table = Inbound::new();
    assert!(table.install(build(&spec(false)).0));
    let result = table.receive(&mut arrival(&spec(false), &mut [0, 0, 9, 9, 0, 0, 0, 1, 2, 3]), NOW);
    assert_eq!(result.unwrap_err(), Refused::UnknownSpi);
    assert_eq!(table.receive(&mut arrival(&spec(false), &mut [0, 0]), NOW).unwrap_err(), Refused::Runt);
    assert_eq!(table.unknown, 2);
}

#[test]
fn one_spi_serves_one_child() {
    let mut table = Inbound::new();
    assert!(table.install(build(&spec(false)).0));
    let mut second = build(&spec(false)).0;
    second.id = ChildId(2);
    assert!(!table.install(second));
    assert!(table.install(build(&spec(false)).0), "the same child again");
    assert_eq!(table.remove(ChildId(1)).unwrap().sa.spi(), EspSpi(0x1001));
    assert!(table.get_mut(ChildId(1)).is_none());
}

#[test]
fn what_cannot_be_installed_says_why() {
    type Change = fn(&mut dataplane::ChildSpec);
    let cases: [(Change, &str); 6] = [
        (|s| s.replay_window = 31, "a replay window of 31 packets is neither 0 nor 32 to 4096."),
        (|s| s.replay_window = 4097, "a replay window of 4097 packets is neither 0 nor 32 to 4096."),
        (
            |s| s.remote = "[2001:db8::1]:4500".parse().unwrap(),
            "192.0.2.1 and 2001:db8::1 are of two families.",
        ),
        (|s| s.remote_ts.clear(), "it has no traffic selectors."),
        (|s| s.outbound.spi = EspSpi(255), "are not both above 000000ff."),
        (|s| s.mode = Mode::Transport, "transport mode needs selectors with the peer's address 192.0.2.2."),
    ];
    for (change, want) in cases {
        let mut spec = spec(true);
        change(&mut spec);
        let why = esp::build(&spec, &Provider::new()).unwrap_err();
        assert!(why.starts_with("test cannot be installed: ") && why.ends_with(want), "{why}");
    }
    let mut short = spec(true);
    short.inbound.encr_key = base::Secret::new(vec![0; 16]);
    let why = esp::build(&short, &Provider::new()).unwrap_err();
    assert_eq!(
        why,
        "test cannot be installed: inbound: AES_GCM_16 with 128 bits takes keys of (20, 0) octets, not (16, 0)."
    );
    let mut unknown = spec(true);
    unknown.encr = wire::num::Encr::BLOWFISH;
    let why = esp::build(&unknown, &Provider::new()).unwrap_err();
    assert_eq!(why, "test cannot be installed: inbound: there is no BLOWFISH with 128 bits.");
}

#[test]
fn the_end_of_the_sequence_numbers_is_told_once_and_then_nothing_leaves() {
    let mut child = build(&spec(true)).1;
    assert!(!child.take_near_end());
    let cipher = Provider::new().cipher(Encr::AES_GCM_16, 128, Integ::NONE, &[1; 20], &[]).unwrap();
    child.sa = OutboundSa::resume(EspSpi(0x1001), cipher, false, u64::from(u32::MAX) - 1);
    let inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"x"));
    seal(&mut child, &inner);
    assert!(child.take_near_end());
    assert!(!child.take_near_end());
    let parsed = Packet::parse(&inner).unwrap();
    let (head, body) = inner.split_at(20);
    let parts = esp::Parts { head, body };
    let result = child.encapsulate(&parsed, parts, &mut [0; 200], &mut common::pool());
    assert_eq!(result, Err(NotSent::Exhausted));
    assert_eq!(child.counters.packets_out, 1);
}

/// A child for TCP only: the fragments that follow hide their ports, and behind extension headers their protocol too.
//= rfc4301 §7.3
#[test]
fn fragments_that_may_belong_to_a_child_do_not_pass_in_the_clear() {
    let mut of = spec(true);
    for ts in of.local_ts.iter_mut().chain(&mut of.remote_ts) {
        (ts.protocol, ts.start_port, ts.end_port) = (protocol::TCP, 443, 443);
    }
    let mut table = Outbound::new(rng(3));
    table.install(build(&of).1, &of.local_ts, &of.remote_ts);
    // The first: extension headers up to its end. The second: the upper protocol begins in a third.
    let first = [protocol::DESTINATION, 0, 0, 1, 0, 0, 0, 7, protocol::TCP, 3, 1, 4, 0, 0, 0, 0];
    let second = [protocol::DESTINATION, 0, 0, 17, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    let plain = [protocol::TCP, 0, 0, 17, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    let other = [protocol::UDP, 0, 0, 17, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0];
    for (payload, may_pass) in [(&first, false), (&second, false), (&plain, false), (&other, true)] {
        let octets = packet("fd01::9", "fd02::9", protocol::FRAGMENT, payload);
        let parsed = Packet::parse(&octets).unwrap();
        assert!(table.find(&parsed).is_none(), "{parsed:?}");
        assert_eq!(table.may_pass(&parsed), may_pass, "{parsed:?}");
    }
}

/// Child `n` in the place of `old`.
fn successor(n: u64, old: u64, hold: bool) -> esp::OutboundChild {
    let mut child = build(&spec(true)).1;
    (child.id, child.replaces, child.hold) = (ChildId(n), Some(ChildId(old)), hold);
    child
}

//= rfc7296 §2.8
#[test]
fn of_a_child_and_its_successors_one_carries() {
    let mut table = Outbound::new(rng(3));
    let (ours, theirs) = ([selector("10.1.0.0/16")], [selector("10.2.0.0/16")]);
    let inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"x"));
    table.install(successor(1, 99, true), &ours, &theirs);
    assert_eq!(find(&mut table, &inner), Some(1), "what it is held by is not there");
    table.install(successor(2, 1, true), &ours, &theirs);
    assert_eq!(find(&mut table, &inner), Some(1));
    assert!(table.use_child(ChildId(2)) && !table.use_child(ChildId(7)));
    assert_eq!(find(&mut table, &inner), Some(2));
    table.install(successor(3, 2, false), &ours, &theirs);
    table.remove(ChildId(1));
    assert_eq!(find(&mut table, &inner), Some(3), "a replaced child does not come back");
    table.install(successor(4, 3, true), &ours, &theirs);
    table.install(successor(5, 3, true), &ours, &theirs);
    assert_eq!(find(&mut table, &inner), Some(3));
    table.use_child(ChildId(4));
    table.use_child(ChildId(5));
    assert_eq!(find(&mut table, &inner), Some(5));
    table.use_child(ChildId(3));
    assert_eq!(find(&mut table, &inner), Some(3), "the one before, again");
    table.remove(ChildId(3));
    assert_eq!(find(&mut table, &inner), Some(5));
}

/// Both ends have made a successor of 1 at once, of which 3 is used; 4 is a further one.
//= rfc7296 §2.8
#[test]
fn what_goes_unused_leaves_the_one_in_use_alone() {
    let (ours, theirs) = ([selector("10.1.0.0/16")], [selector("10.2.0.0/16")]);
    let inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"x"));
    let orders =
        [&[1, 2][..], &[2, 1], &[1, 2, 3], &[1, 3, 2], &[2, 1, 3], &[2, 3, 1], &[3, 1, 2], &[3, 2, 1]];
    for (order, made) in orders.iter().flat_map(|order| [(order, [2, 3]), (order, [3, 2])]) {
        let mut table = Outbound::new(rng(3));
        table.install(successor(1, 99, false), &ours, &theirs);
        for id in made {
            table.install(successor(id, 1, true), &ours, &theirs);
        }
        table.use_child(ChildId(3));
        let used = if order.contains(&3) { 4 } else { 3 };
        if used == 4 {
            table.install(successor(4, 3, false), &ours, &theirs);
        }
        for gone in *order {
            table.remove(ChildId(*gone));
            assert_eq!(find(&mut table, &inner), Some(used), "made {made:?}, gone {order:?}, up to {gone}");
        }
        table.remove(ChildId(used));
        assert_eq!(find(&mut table, &inner), None);
    }
}

/// 3 stands beside 1 and 2, as after a redirect, and came into use last.
//= rfc7296 §2.8
#[test]
fn what_is_removed_in_any_order_leaves_the_latest_alone() {
    let (ours, theirs) = ([selector("10.1.0.0/16")], [selector("10.2.0.0/16")]);
    let inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"x"));
    for (hold, order) in [(false, [1, 2]), (false, [2, 1]), (true, [1, 2]), (true, [2, 1])] {
        let mut table = Outbound::new(rng(3));
        table.install(successor(1, 99, false), &ours, &theirs);
        table.install(successor(2, 1, hold), &ours, &theirs);
        table.install(successor(3, 98, false), &ours, &theirs);
        for gone in order {
            table.remove(ChildId(gone));
            assert_eq!(find(&mut table, &inner), Some(3), "{order:?}, held: {hold}");
        }
    }
}

#[test]
fn of_two_successors_in_use_in_turn_the_other_waits() {
    let mut table = Outbound::new(rng(3));
    let (ours, theirs) = ([selector("10.1.0.0/16")], [selector("10.2.0.0/16")]);
    let narrow = [selector("10.2.0.0/24")];
    let inner = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"x"));
    table.install(successor(1, 99, false), &ours, &theirs);
    table.install(successor(2, 1, false), &ours, &narrow);
    table.install(successor(3, 1, true), &ours, &theirs);
    assert_eq!(find(&mut table, &inner), Some(2));
    table.use_child(ChildId(3));
    assert_eq!(find(&mut table, &inner), Some(3), "though the other one has narrower selectors");
}

#[test]
fn a_trap_means_what_no_child_means() {
    let mut table = Outbound::new(rng(3));
    let (ours, theirs) = ([selector("10.1.0.0/16")], [selector("10.2.0.0/16")]);
    let parsed = Packet::parse(&packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"x"))).unwrap();
    let mut fragment = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(&[0; 64]));
    fragment[7] = 100;
    let fragment = Packet::parse(&fragment).unwrap();
    let web = Selector { protocol: 17, start_port: 80, end_port: 80, ..theirs[0] };
    table.trap(dataplane::TrapId(1), Without::Acquire, &ours, &[web]);
    assert_eq!(table.find_trap(&parsed), None);
    assert!(!table.may_pass(&fragment), "it may be part of what the trap means");
    table.trap(dataplane::TrapId(2), Without::Acquire, &ours, &theirs);
    assert_eq!(table.find_trap(&parsed), Some(dataplane::TrapId(2)));
    assert!(table.untrap(dataplane::TrapId(1)) && !table.untrap(dataplane::TrapId(1)));
    table.trap(dataplane::TrapId(3), Without::Acquire, &ours, &[selector("10.2.0.9/32")]);
    assert_eq!(table.find_trap(&parsed), Some(dataplane::TrapId(3)), "the narrowest");
}

//= rfc4301 §4.4.1
#[test]
fn what_passes_goes_before_children_and_what_is_dropped_after_traps() {
    let mut table = Outbound::new(rng(3));
    let (ours, theirs) = ([selector("10.1.0.0/16")], [selector("10.2.0.0/16")]);
    let parse = |octets: &[u8]| Packet::parse(octets).unwrap();
    let parsed = parse(&packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(b"x")));
    let other = parse(&packet("10.1.0.9", "10.3.0.9", protocol::UDP, &udp(b"x")));
    let mut fragment = packet("10.1.0.9", "10.2.0.9", protocol::UDP, &udp(&[0; 64]));
    fragment[7] = 100;
    let fragment = parse(&fragment);
    let [pass, trap, drop] = [1, 2, 3].map(dataplane::TrapId);
    assert!(!table.bypasses(&parsed) && table.may_pass(&parsed));
    table.trap(drop, Without::Discard, &ours, &[selector("10.2.0.9/32")]);
    assert!(!table.may_pass(&parsed) && table.may_pass(&other));
    assert_eq!((table.bypasses(&parsed), table.find_trap(&parsed)), (false, None));
    // A trap that is wider than what is dropped goes first all the same.
    table.trap(trap, Without::Acquire, &ours, &theirs);
    assert_eq!(table.find_trap(&parsed), Some(trap));
    table.trap(pass, Without::Bypass, &ours, &theirs);
    assert!(table.bypasses(&parsed) && table.bypasses(&fragment) && !table.bypasses(&other));
    assert_eq!(table.find_trap(&parsed), Some(trap), "the tables are apart");
    // One of the same name is replaced, whatever it was.
    let web = Selector { protocol: 17, start_port: 80, end_port: 80, ..theirs[0] };
    table.trap(pass, Without::Discard, &ours, &[web]);
    assert!(!table.bypasses(&parsed));
    assert!(table.untrap(drop) && table.untrap(trap) && !table.untrap(drop));
    assert!(table.may_pass(&parsed) && !table.may_pass(&fragment), "it may be part of what is dropped");
    table.trap(pass, Without::Bypass, &ours, &[web]);
    assert!(!table.bypasses(&fragment), "nobody knows its ports");
    assert!(table.untrap(pass) && table.may_pass(&fragment));
}
