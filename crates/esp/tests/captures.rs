//! Captured ESP packets, opened with their keys.

use base::EspSpi;
use crypto::Suite;
use esp::InboundSa;
use esp::ip::Packet;
use provider::Provider;
use std::collections::BTreeMap;
use testkit::{corpus, hex, read};
use wire::num::{Encr, Integ};

/// The SAs of a Wireshark `esp_sa` file, by SPI.
fn associations(text: &str) -> BTreeMap<u32, InboundSa> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(|field| field.trim_matches('"')).collect();
        let [.., spi, "AES-CBC [RFC3602]", encr_key, "HMAC-SHA-1-96 [RFC2404]", integ_key] = fields[..]
        else {
            panic!("not an SA of the kind this test knows: {line}")
        };
        let octets = |text: &str| hex(text.trim_start_matches("0x"));
        let spi = u32::from_str_radix(spi.trim_start_matches("0x"), 16).expect("an SPI");
        let (encr_key, integ_key) = (octets(encr_key), octets(integ_key));
        let bits = encr_key.len() as u16 * 8;
        let cipher = Provider::new().cipher(Encr::AES_CBC, bits, Integ::HMAC_SHA1_96, &encr_key, &integ_key);
        (spi, InboundSa::new(EspSpi(spi), cipher.expect("keys that fit"), false, 64))
    };
    text.lines().filter(|text| !text.is_empty()).map(line).collect()
}

#[test]
fn wiresharks_capture_opens_with_its_keys() {
    let name = "wiresharks_capture_opens_with_its_keys";
    let (Some(keys), Some(capture)) = (
        corpus(name, "captures/wireshark/esp_sa"),
        corpus(name, "captures/wireshark/esp-bug-12671.pcapng.gz"),
    ) else {
        return;
    };
    let mut associations = associations(&String::from_utf8(read(&keys)).expect("text"));
    let frames = testkit::pcap::frames(&read(&capture)).expect("a capture");
    let (mut opened, mut foreign) = (0, 0);
    for frame in frames {
        // Ethernet, then IPv4 with protocol 50.
        let ip = frame.bytes.get(14..).expect("an Ethernet frame");
        let outer = Packet::parse(ip).expect("an IP packet");
        if outer.protocol != esp::ip::protocol::ESP {
            continue;
        }
        let mut packet = ip[outer.header_len..outer.total_len].to_vec();
        let spi = u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]);
        let Some(sa) = associations.get_mut(&spi) else {
            foreign += 1;
            continue;
        };
        let inside = sa.open(&mut packet).unwrap_or_else(|error| panic!("{spi:08x}: {error:?}"));
        // Pings through a tunnel: an ICMP echo with a right checksum.
        assert_eq!(inside.next_header, esp::ip::protocol::IPV4);
        let inner = &packet[inside.payload];
        let parsed = Packet::parse(inner).expect("an IP packet");
        let message = &inner[parsed.header_len..parsed.total_len];
        assert!(parsed.protocol == esp::ip::protocol::ICMP && matches!(message[0], 0 | 8));
        assert_eq!(esp::checksum::Sum::default().octets(message).fold(), 0xffff);
        assert!(matches!(
            sa.open(&mut ip[outer.header_len..outer.total_len].to_vec()),
            Err(esp::OpenError::Replayed)
        ));
        opened += 1;
    }
    assert!(opened >= 4 && foreign == 0, "{opened} opened, {foreign} of other SAs");
}
