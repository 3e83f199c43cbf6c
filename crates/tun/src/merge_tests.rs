//! Cutting and merging against each other: what the kernel gave as one train, cut as it is on the way
//! out, comes back as one packet on the way in.

use super::*;
use crate::segment::{Segments, finish_checksum};
use crate::virtio::{Train, Unfinished};
use esp::ip::NewHeader;
use std::cell::RefCell;
use testkit::Chance;

/// Keeps what was written, each packet in one piece.
#[derive(Default)]
struct Kept(RefCell<Vec<Vec<u8>>>);

impl PacketSink for Kept {
    fn write(&self, parts: &[IoSlice<'_>]) -> std::io::Result<()> {
        self.0.borrow_mut().push(parts.iter().flat_map(|part| part.to_vec()).collect());
        Ok(())
    }
}

const ADDRESSES: [(&str, &str); 2] = [("10.1.0.9", "10.2.0.9"), ("fd01::9", "fd02::9")];

/// An unfinished TCP train as the kernel hands it over: the checksum's place holds the pseudo-header's sum.
fn tcp_train((source, destination): (&str, &str), ports: u16, payload: &[u8]) -> Vec<u8> {
    let mut tcp = vec![0; 32];
    tcp[..2].copy_from_slice(&ports.to_be_bytes());
    tcp[3] = 80;
    tcp[4..8].copy_from_slice(&0xffff_f000u32.to_be_bytes());
    tcp[12] = 0x80;
    tcp[13] = PSH | ACK;
    tcp[14..16].copy_from_slice(&500u16.to_be_bytes());
    tcp[20..32].copy_from_slice(&[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 7]);
    whole((source, destination), protocol::TCP, tcp, 16, payload)
}

fn whole(
    (source, destination): (&str, &str),
    next: u8,
    mut upper: Vec<u8>,
    at: usize,
    payload: &[u8],
) -> Vec<u8> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let len = upper.len() + payload.len();
    let sum = pseudo_header(source, destination, next, len).fold();
    upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    let header = NewHeader { source, destination, next_header: next, tos: 2, ttl: 64, payload_len: len };
    let mut octets = vec![0; 40];
    let header_len = header.write(&mut octets).unwrap();
    octets.truncate(header_len);
    octets.extend_from_slice(&upper);
    octets.extend_from_slice(payload);
    octets
}

fn cut(octets: &[u8], train: Train, size: usize) -> Vec<Vec<u8>> {
    let packet = Packet::parse(octets).unwrap();
    let unfinished = Unfinished { checksum: None, train: Some((train, size)) };
    let mut segments = Segments::new(octets, &packet, &unfinished).unwrap();
    let mut all = Vec::new();
    while let Some((head, body)) = segments.next() {
        all.push([head, body].concat());
    }
    all
}

/// The packet as it comes out of a tunnel.
fn delivered(octets: &[u8]) -> Delivered {
    Delivered::whole(octets).expect("a packet")
}

fn merge(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let kept = Kept::default();
    let mut merger = Merger::new(true);
    for octets in packets {
        let delivered = delivered(octets);
        merger.push(&kept, &delivered, &octets[delivered.body.clone()]);
    }
    merger.flush();
    assert_eq!(merger.lost, 0);
    kept.0.into_inner()
}

fn holds(octets: &[u8]) -> bool {
    let packet = Packet::parse(octets).unwrap();
    let upper = &octets[packet.header_len..packet.total_len];
    pseudo_header(packet.source, packet.destination, packet.protocol, upper.len()).octets(upper).fold()
        == 0xffff
}

#[test]
fn a_train_is_cut_into_right_segments_and_merged_again() {
    let mut chance = Chance::new(11);
    for addresses in ADDRESSES {
        for _ in 0..200 {
            let size = 1 + chance.below(1400);
            let count = 1 + chance.below(MAX_MERGED);
            let payload: Vec<u8> =
                (0..size * count - chance.below(size)).map(|_| chance.next() as u8).collect();
            if payload.len() > MAX_PACKET - 100 {
                continue;
            }
            let octets = tcp_train(addresses, 4000, &payload);
            let segments = cut(&octets, Train::Tcp, size);
            assert_eq!(segments.len(), payload.len().div_ceil(size));
            assert!(segments.iter().all(|segment| holds(segment)));
            let merged = merge(&segments);
            assert_eq!(merged.len(), 1);
            let (header, packet) = merged[0].split_at(VIRTIO_LEN);
            let unfinished = virtio::read(header.try_into().unwrap()).unwrap();
            if segments.len() == 1 {
                assert_eq!(packet, segments[0]);
                continue;
            }
            // The very packet that the kernel had given, to the last checksum.
            assert_eq!(packet, octets);
            assert_eq!(unfinished.train, Some((Train::Tcp, size)));
        }
    }
}

#[test]
fn segments_carry_the_flags_of_their_place() {
    let mut octets = tcp_train(ADDRESSES[0], 4000, &[7; 3000]);
    octets[20 + 13] = CWR_ACK_PSH_FIN;
    let flags: Vec<u8> = cut(&octets, Train::Tcp, 1000).iter().map(|segment| segment[20 + 13]).collect();
    assert_eq!(flags, [0x90, 0x10, 0x19], "CWR on the first, PSH and FIN on the last");
    let ids: Vec<u8> = cut(&octets, Train::Tcp, 1000).iter().map(|segment| segment[5]).collect();
    assert_eq!(ids, [0, 1, 2]);
}

const CWR_ACK_PSH_FIN: u8 = 0x99;

#[test]
fn a_udp_train_is_cut_into_datagrams() {
    for addresses in ADDRESSES {
        let udp = vec![0x10, 0, 0x20, 0, 0, 0, 0, 0];
        let octets = whole(addresses, protocol::UDP, udp, 6, &[5; 2500]);
        let datagrams = cut(&octets, Train::Udp, 1000);
        let lens: Vec<usize> =
            datagrams.iter().map(|d| d.len() - Packet::parse(d).unwrap().header_len).collect();
        assert_eq!(lens, [1008, 1008, 508]);
        assert!(datagrams.iter().all(|datagram| holds(datagram)));
    }
}

#[test]
fn an_unfinished_checksum_is_computed() {
    for addresses in ADDRESSES {
        let mut octets = tcp_train(addresses, 4000, b"short");
        let header_len = Packet::parse(&octets).unwrap().header_len;
        finish_checksum(&mut octets, (header_len, 16)).unwrap();
        assert!(holds(&octets));
        assert_eq!(finish_checksum(&mut octets, (60_000, 16)), None);
        assert_eq!(finish_checksum(&mut octets, (header_len, 60_000)), None);
    }
}

/// Segments of 1000 octets and how a test spoils the second.
fn spoiled(spoil: impl Fn(&mut Vec<u8>)) -> usize {
    let mut segments = cut(&tcp_train(ADDRESSES[0], 4000, &[7; 4000]), Train::Tcp, 1000);
    spoil(&mut segments[1]);
    let merged = merge(&segments);
    let all: usize = merged.iter().map(|packet| packet.len() - VIRTIO_LEN - 52).sum();
    assert_eq!(all, 4000, "nothing is lost");
    merged.len()
}

#[test]
fn what_differs_is_not_merged() {
    assert_eq!(spoiled(|_| {}), 1);
    // A wrong checksum must be seen by the receiver; what follows begins a new packet.
    assert_eq!(spoiled(|segment| segment[60] ^= 1), 3);
    let fixed = |change: fn(&mut Vec<u8>)| {
        spoiled(move |segment| {
            change(segment);
            segment[36..38].fill(0);
            let packet = Packet::parse(segment).unwrap();
            let pseudo = pseudo_header(packet.source, packet.destination, protocol::TCP, segment.len() - 20);
            let checksum = pseudo.octets(&segment[20..]).checksum();
            segment[36..38].copy_from_slice(&checksum.to_be_bytes());
        })
    };
    assert_eq!(fixed(|_| {}), 1);
    assert_eq!(fixed(|segment| segment[24] ^= 1), 3, "a gap in the sequence");
    assert_eq!(fixed(|segment| segment[28] ^= 1), 3, "another acknowledgement");
    assert_eq!(fixed(|segment| segment[33] |= 0x20), 3, "urgent data");
    assert_eq!(fixed(|segment| segment[45] ^= 1), 3, "another timestamp");
    assert_eq!(fixed(|segment| segment[1] = 3), 3, "congestion experienced");
    assert_eq!(fixed(|segment| segment[8] = 9), 3, "another TTL");
    assert_eq!(fixed(|segment| segment[33] |= PSH), 2, "pushed: delivered at once");
}

#[test]
fn flows_are_merged_side_by_side() {
    let flows: Vec<Vec<Vec<u8>>> = (0..MAX_RUNS as u16 + 2)
        .map(|port| cut(&tcp_train(ADDRESSES[0], 4000 + port, &[7; 3000]), Train::Tcp, 1000))
        .collect();
    let interleaved = |count: usize| -> Vec<Vec<u8>> {
        (0..3).flat_map(|at| flows[..count].iter().map(move |flow| flow[at].clone())).collect()
    };
    assert_eq!(merge(&interleaved(MAX_RUNS)).len(), MAX_RUNS);
    // With more flows than runs nothing is lost and the order within each stays.
    let merged = merge(&interleaved(MAX_RUNS + 2));
    for port in 0..MAX_RUNS as u16 + 2 {
        let of_flow =
            merged.iter().filter(|packet| packet[VIRTIO_LEN + 20..][..2] == (4000 + port).to_be_bytes());
        let sequences: Vec<u32> = of_flow
            .map(|packet| u32::from_be_bytes(packet[VIRTIO_LEN + 24..][..4].try_into().unwrap()))
            .collect();
        assert!(sequences.is_sorted_by_key(|sequence| sequence.wrapping_sub(0xffff_f000)), "{sequences:?}");
    }
}

#[test]
fn at_most_so_many_segments_are_merged() {
    let segments = cut(&tcp_train(ADDRESSES[0], 4000, &[7; MAX_MERGED * 100 + 100]), Train::Tcp, 100);
    assert_eq!(merge(&segments).len(), 2);
}

#[test]
fn headers_that_do_not_add_up_are_not_cut() {
    let octets = tcp_train(ADDRESSES[0], 4000, &[7; 100]);
    let packet = Packet::parse(&octets).unwrap();
    let cut = |octets: &[u8]| {
        let unfinished = Unfinished { checksum: None, train: Some((Train::Tcp, 10)) };
        Segments::new(octets, &packet, &unfinished).is_some()
    };
    assert!(cut(&octets));
    let mut short = octets.clone();
    short[32] = 0x40;
    assert!(!cut(&short), "a TCP header of 16 octets");
    assert!(!cut(&octets[..30]));
}

/// Two tunnels may carry the same addresses and ports.
#[test]
fn segments_of_two_devices_are_not_mixed() {
    let segments = cut(&tcp_train(ADDRESSES[0], 4000, &[7; 3000]), Train::Tcp, 1000);
    let (one, other) = (Kept::default(), Kept::default());
    let mut merger = Merger::new(true);
    let all: Vec<Delivered> = segments.iter().map(|octets| delivered(octets)).collect();
    for (delivered, octets) in all.iter().zip(&segments) {
        merger.push(&one, delivered, &octets[delivered.body.clone()]);
        merger.push(&other, delivered, &octets[delivered.body.clone()]);
    }
    merger.flush();
    let (one, other) = (one.0.into_inner(), other.0.into_inner());
    assert_eq!(one, merge(&segments));
    assert_eq!(one, other);
}
