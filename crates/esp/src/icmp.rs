//! ICMP errors towards the sender of a packet that does not fit the tunnel.

use crate::checksum::{Sum, pseudo_header};
use crate::ip::{IPV4_LEN, IPV6_LEN, NewHeader, Packet, protocol};
use crate::limits::{MAX_ICMP_ERROR_V4, MAX_ICMP_ERROR_V6};
use std::net::IpAddr;

const HEADER_LEN: usize = 8;
const TTL: u8 = 64;

/// Writes to `out` the error that says that `offending` exceeds `mtu`: "fragmentation needed" (RFC 1191 §4) or
/// "packet too big" (RFC 4443 §3.2). It seems to come from the packet's destination, since a gateway
/// need not have an address that the sender can reach. Answers its length; `None` where no error may be
/// sent (RFC 1812 §4.3.2.7, RFC 4443 §2.4) or `out` is too small.
pub fn too_big(packet: &Packet, offending: &[u8], mtu: usize, out: &mut [u8]) -> Option<usize> {
    if is_error(packet) || !is_answerable(packet.source) || is_multicast(packet.destination) {
        return None;
    }
    let v4 = packet.source.is_ipv4();
    let (ip_len, max) = if v4 { (IPV4_LEN, MAX_ICMP_ERROR_V4) } else { (IPV6_LEN, MAX_ICMP_ERROR_V6) };
    let whole = offending.get(..packet.total_len).unwrap_or(offending);
    let quoted = whole.get(..max - ip_len - HEADER_LEN).unwrap_or(whole);
    let header = NewHeader {
        source: packet.destination,
        destination: packet.source,
        next_header: if v4 { protocol::ICMP } else { protocol::ICMPV6 },
        tos: 0,
        ttl: TTL,
        payload_len: HEADER_LEN + quoted.len(),
    };
    let len = ip_len + header.payload_len;
    let out = out.get_mut(..len)?;
    header.write(out)?;
    let (kind, code) = if v4 { (3, 4) } else { (2, 0) };
    let message = out.get_mut(ip_len..)?;
    let (head, body) = message.split_first_chunk_mut::<HEADER_LEN>()?;
    *head = [kind, code, 0, 0, 0, 0, 0, 0];
    head[4..].copy_from_slice(&u32::try_from(mtu).ok()?.to_be_bytes());
    body.copy_from_slice(quoted);
    let sum = if v4 {
        Sum::default()
    } else {
        pseudo_header(header.source, header.destination, protocol::ICMPV6, header.payload_len)
    };
    let checksum = sum.octets(head).octets(body).checksum();
    head[2..4].copy_from_slice(&checksum.to_be_bytes());
    Some(len)
}

/// Whether a packet is an ICMP error itself, or a fragment that may be of one.
fn is_error(packet: &Packet) -> bool {
    let kind = packet.ports.map(|(both, _)| both >> 8);
    match (packet.protocol, kind) {
        (protocol::ICMP, Some(kind)) => !matches!(kind, 0 | 8 | 13..=18),
        (protocol::ICMPV6, Some(kind)) => kind < 128,
        (protocol::ICMP | protocol::ICMPV6, None) => true,
        _ => packet.is_fragment && packet.ports.is_none(),
    }
}

fn is_answerable(source: IpAddr) -> bool {
    let broadcast = matches!(source, IpAddr::V4(ip) if ip.is_broadcast());
    !source.is_unspecified() && !source.is_multicast() && !broadcast
}

fn is_multicast(destination: IpAddr) -> bool {
    matches!(destination, IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: &str, destination: &str, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let header = NewHeader {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            next_header,
            tos: 0,
            ttl: 9,
            payload_len: payload.len(),
        };
        let mut octets = vec![0; 40];
        let len = header.write(&mut octets).unwrap();
        octets.truncate(len);
        octets.extend_from_slice(payload);
        octets
    }

    fn error_for(octets: &[u8], mtu: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; 1500];
        let len = too_big(&Packet::parse(octets).unwrap(), octets, mtu, &mut out)?;
        out.truncate(len);
        Some(out)
    }

    #[test]
    fn a_large_ipv4_packet_is_answered_with_fragmentation_needed() {
        let octets = packet("10.1.0.2", "10.2.0.2", protocol::UDP, &[1; 1400]);
        let error = error_for(&octets, 1358).unwrap();
        let parsed = Packet::parse(&error).unwrap();
        assert_eq!(
            (parsed.source, parsed.destination),
            ("10.2.0.2".parse().unwrap(), "10.1.0.2".parse().unwrap())
        );
        assert_eq!(parsed.ports, Some((0x0304, 0x0304)));
        assert_eq!(&error[24..28], [0, 0, 0x05, 0x4e]);
        assert_eq!(error.len(), 576);
        assert_eq!(&error[28..48], &octets[..20]);
        assert_eq!(Sum::default().octets(&error[20..]).fold(), 0xffff);
        assert_eq!(Sum::default().octets(&error[..20]).fold(), 0xffff);
    }

    #[test]
    fn a_large_ipv6_packet_is_answered_with_packet_too_big() {
        let octets = packet("2001:db8::1", "2001:db8:1::1", protocol::TCP, &[1; 1400]);
        let error = error_for(&octets, 1338).unwrap();
        assert_eq!(error.len(), 1280);
        assert_eq!(&error[40..42], [2, 0]);
        assert_eq!(&error[44..48], 1338u32.to_be_bytes());
        let sum = pseudo_header("2001:db8:1::1".parse().unwrap(), "2001:db8::1".parse().unwrap(), 58, 1240);
        assert_eq!(sum.octets(&error[40..]).fold(), 0xffff);
    }

    #[test]
    fn errors_and_multicast_are_not_answered() {
        assert_eq!(error_for(&packet("10.1.0.2", "10.2.0.2", protocol::ICMP, &[3, 1, 0, 0]), 1000), None);
        assert!(error_for(&packet("10.1.0.2", "10.2.0.2", protocol::ICMP, &[8, 0, 0, 0]), 1000).is_some());
        assert_eq!(error_for(&packet("::1", "::2", protocol::ICMPV6, &[1, 0, 0, 0]), 1000), None);
        assert_eq!(error_for(&packet("0.0.0.0", "10.2.0.2", protocol::UDP, &[0; 8]), 1000), None);
        assert_eq!(error_for(&packet("10.1.0.2", "224.0.0.5", protocol::UDP, &[0; 8]), 1000), None);
    }
}
