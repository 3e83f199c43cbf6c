//! What the tests of this crate share: keyed children, packets, chance that repeats.
#![allow(dead_code)]

use base::{EspSpi, Rng, Secret};
use dataplane::{AddressRange, ChildId, ChildSpec, DirectionSpec, Mode, Selector};
use esp::ip::{NewHeader, Packet};
use esp::{Arrival, InboundChild, IvPool, OutboundChild, Parts};
use provider::Provider;
use testkit::Chance;
use wire::num::{Encr, Integ};

/// Repeatable chance as a random source.
pub(crate) struct TestRng(pub(crate) Chance);

impl Rng for TestRng {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) fn rng(seed: u64) -> Box<dyn Rng> {
    Box::new(TestRng(Chance::new(seed)))
}

pub(crate) fn pool() -> IvPool {
    IvPool::new(rng(1))
}

/// Every encryption with an integrity that goes with it.
pub(crate) fn algorithms() -> Vec<(Encr, u16, Integ)> {
    let mut all = vec![
        (Encr::CHACHA20_POLY1305, 0, Integ::NONE),
        (Encr::NULL, 0, Integ::HMAC_SHA2_256_128),
        (Encr::TRIPLE_DES, 0, Integ::HMAC_SHA1_96),
    ];
    for bits in [128, 192, 256] {
        let combined = [
            Encr::AES_GCM_8,
            Encr::AES_GCM_12,
            Encr::AES_GCM_16,
            Encr::AES_CCM_8,
            Encr::AES_CCM_12,
            Encr::AES_CCM_16,
        ];
        all.extend(combined.map(|encr| (encr, bits, Integ::NONE)));
        let integs = [
            Integ::HMAC_SHA1_96,
            Integ::HMAC_SHA2_256_128,
            Integ::HMAC_SHA2_384_192,
            Integ::HMAC_SHA2_512_256,
            Integ::AES_XCBC_96,
            Integ::AES_CMAC_96,
            Integ::HMAC_MD5_96,
        ];
        all.extend(integs.map(|integ| (Encr::AES_CBC, bits, integ)));
        all.extend(integs.map(|integ| (Encr::AES_CTR, bits, integ)));
    }
    all
}

pub(crate) fn selector(text: &str) -> Selector {
    let (address, len) = text.split_once('/').expect("a prefix");
    let range =
        AddressRange::from_prefix(address.parse().expect("an address"), len.parse().expect("a length"));
    Selector::addresses(range.expect("a prefix of this family"))
}

/// A child between 192.0.2.1 and 192.0.2.2 with 10.1.0.0/16 and 10.2.0.0/16 (and IPv6) behind them, in UDP.
pub(crate) fn spec(a: bool) -> ChildSpec {
    let keys = |a_to_b: bool| DirectionSpec {
        spi: EspSpi(if a_to_b { 0x1001 } else { 0x1002 }),
        encr_key: Secret::new(vec![if a_to_b { 1 } else { 2 }; 20]),
        integ_key: Secret::new(Vec::new()),
    };
    let (ours, theirs) = if a { ("1", "2") } else { ("2", "1") };
    let ts = |side: &str| vec![selector(&format!("10.{side}.0.0/16")), selector(&format!("fd0{side}::/64"))];
    ChildSpec {
        id: ChildId(1),
        name: "test".to_string(),
        mode: Mode::Tunnel,
        local: format!("192.0.2.{ours}:4500").parse().expect("an address"),
        remote: format!("192.0.2.{theirs}:4500").parse().expect("an address"),
        udp_encap: true,
        encr: Encr::AES_GCM_16,
        key_bits: 128,
        integ: Integ::NONE,
        esn: true,
        replay_window: 64,
        inbound: keys(!a),
        outbound: keys(a),
        local_ts: ts(ours),
        remote_ts: ts(theirs),
        original_addresses: None,
        replaces: None,
        hold_outbound: false,
        volume: dataplane::VolumeLimits::default(),
        interface: None,
    }
}

pub(crate) fn build(spec: &ChildSpec) -> (InboundChild, OutboundChild) {
    esp::build(spec, &Provider::new()).expect("a child")
}

/// An IP packet.
pub(crate) fn packet(source: &str, destination: &str, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = NewHeader {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        next_header,
        tos: 0,
        ttl: 64,
        payload_len: payload.len(),
    };
    let mut octets = vec![0; 40];
    let len = header.write(&mut octets).expect("a header");
    octets.truncate(len);
    octets.extend_from_slice(payload);
    octets
}

/// UDP from port 1000 to port 2000 without a checksum.
pub(crate) fn udp(payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x03, 0xe8, 0x07, 0xd0];
    octets.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    octets.extend_from_slice(&[0, 0]);
    octets.extend_from_slice(payload);
    octets
}

/// The ESP packet that `child` makes of an inner packet.
pub(crate) fn seal(child: &mut OutboundChild, inner: &[u8]) -> Vec<u8> {
    let parsed = Packet::parse(inner).expect("a packet");
    let (head, body) = inner.split_at(parsed.fixed_header_len());
    let mut frame = vec![0; inner.len() + esp::limits::MAX_OVERHEAD];
    let len = child.encapsulate(&parsed, Parts { head, body }, &mut frame, &mut pool()).expect("sealed");
    frame.truncate(len);
    frame
}

/// An arrival at the far end of `spec(true)` or `spec(false)` over UDP.
pub(crate) fn arrival<'a>(spec: &ChildSpec, bytes: &'a mut [u8]) -> Arrival<'a> {
    Arrival { remote: spec.remote, local: spec.local.ip(), udp: true, tos: 0, bytes }
}
