//! Any octets as an ESP packet, as what an authentic ESP packet carries, and as a packet on its way out: opened,
//! delivered, refused, never a panic.
#![no_main]

use base::{EspSpi, Instant, Rng};
use crypto::{Cipher, CipherSpec, CryptoError, IvKind};
use dataplane::{AddressRange, ChildId, Mode, Selector};
use esp::ip::Packet;
use esp::{Arrival, Inbound, InboundChild, InboundSa, Outbound, OutboundChild, OutboundSa};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

/// Accepts everything, so that the fuzzer reaches what lies behind the integrity check.
struct Open;

impl Cipher for Open {
    fn spec(&self) -> CipherSpec {
        CipherSpec {
            encr_key_len: 0,
            integ_key_len: 0,
            iv_len: 8,
            icv_len: 0,
            block: 4,
            iv_kind: IvKind::Counter,
        }
    }
    fn seal(&self, _: &[u8], _: &[u8], _: &mut [u8], _: &[u8], _: &mut [u8]) {}
    fn open(&self, _: &[u8], _: &[u8], _: &mut [u8], _: &[u8], _: &[u8]) -> Result<(), CryptoError> {
        Ok(())
    }
}

const SPI: EspSpi = EspSpi(0x1000);

fn everything() -> Vec<Selector> {
    let all = |text: &str| AddressRange::from_prefix(text.parse().expect("an address"), 0).expect("a prefix");
    vec![Selector::addresses(all("0.0.0.0")), Selector::addresses(all("::"))]
}

fuzz_target!(|octets: &[u8]| {
    let Some((choice, octets)) = octets.split_first() else { return };
    let mode = if choice & 1 == 0 { Mode::Tunnel } else { Mode::Transport };
    let route =
        ("192.0.2.1:4500".parse().expect("an address"), "192.0.2.2:4500".parse().expect("an address"));
    let sa = InboundSa::new(SPI, Box::new(Open), choice & 2 != 0, 64);
    let mut child = InboundChild::new(ChildId(1), mode, sa, route, true);
    (child.local_ts, child.remote_ts) = (everything(), everything());
    child.max_inner = 1400;
    if choice & 4 != 0 {
        child.original_addresses = Some((IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])));
    }
    let mut table = Inbound::new();
    assert!(table.install(child));
    let mut bytes = SPI.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(octets);
    let mut arrival =
        Arrival { remote: route.1, local: route.0.ip(), udp: true, tos: choice >> 4, bytes: &mut bytes };
    if let Ok(accepted) = table.receive(&mut arrival, Instant::default()) {
        if let Some(delivered) = accepted.delivered {
            let mut whole = delivered.header().to_vec();
            whole.extend_from_slice(&bytes[delivered.body]);
            let packet = Packet::parse(&whole).expect("what is delivered is well-formed");
            assert_eq!(packet.total_len, whole.len());
            leave(mode, route, &whole);
        }
    }
    leave(mode, route, octets);
});

/// The way out.
fn leave(mode: Mode, route: (std::net::SocketAddr, std::net::SocketAddr), octets: &[u8]) {
    let Ok(packet) = Packet::parse(octets) else { return };
    let mut table = Outbound::new(Box::new(Zeros));
    let sa = OutboundSa::new(SPI, Box::new(Open), true);
    table.install(OutboundChild::new(ChildId(1), mode, sa, route, true), &everything(), &everything());
    esp::icmp::too_big(&packet, octets, 1400, &mut [0; 1280]);
    let Some((child, ivs)) = table.find(&packet) else { return };
    if child.admits(&packet, packet.total_len).is_ok() {
        let (head, body) = octets[..packet.total_len].split_at(packet.fixed_header_len());
        let mut frame = vec![0; octets.len() + esp::limits::MAX_OVERHEAD];
        let len = child.encapsulate(&packet, esp::Parts { head, body }, &mut frame, ivs).expect("room");
        assert_eq!(len, child.frame_len(&packet, packet.total_len));
    }
}

struct Zeros;

impl Rng for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}
