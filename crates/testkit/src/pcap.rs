//! Reads captures: pcap and pcapng; Ethernet with VLAN tags, BSD loopback, raw IP, Linux "cooked"; IPv4, IPv6, UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One captured frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The link type (`LINKTYPE_…`).
    pub link: u32,
    /// The octets that were kept.
    pub bytes: Vec<u8>,
}

/// One UDP datagram of a capture.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Its frame, counted from 1 as capture programs do.
    pub frame: usize,
    /// From where.
    pub source: SocketAddr,
    /// To where.
    pub destination: SocketAddr,
    /// What it carries, as far as it was kept.
    pub payload: Vec<u8>,
}

const NULL: u32 = 0;
const ETHERNET: u32 = 1;
const RAW: u32 = 101;
const LOOP: u32 = 108;
const COOKED: u32 = 113;
const IPV4: u32 = 228;
const IPV6: u32 = 229;
const COOKED_2: u32 = 276;

/// The frames of a capture file; reading ends silently where the file is cut off.
///
/// # Errors
/// When the file is neither pcap nor pcapng.
pub fn frames(file: &[u8]) -> Result<Vec<Frame>, String> {
    match file.get(..4) {
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => Ok(pcap(file, u32::from_le_bytes)),
        Some([0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d]) => Ok(pcap(file, u32::from_be_bytes)),
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => Ok(pcapng(file)),
        other => Err(format!("not a capture: starts with {other:02x?}")),
    }
}

/// The UDP datagrams of a capture that are whole: no IP fragments.
///
/// # Errors
/// When the file is neither pcap nor pcapng.
pub fn udp(file: &[u8]) -> Result<Vec<Datagram>, String> {
    let frames = frames(file)?;
    Ok(frames.iter().enumerate().filter_map(|(index, frame)| datagram(index + 1, frame)).collect())
}

/// The IKE messages of a capture: UDP with port 500, and with port 4500 behind the non-ESP marker, which is taken off.
///
/// # Errors
/// When the file is neither pcap nor pcapng.
pub fn ike(file: &[u8]) -> Result<Vec<Datagram>, String> {
    let has =
        |datagram: &Datagram, port| datagram.source.port() == port || datagram.destination.port() == port;
    let message = |mut datagram: Datagram| {
        if has(&datagram, 4500) {
            datagram.payload = datagram.payload.strip_prefix(&[0; 4])?.to_vec();
            Some(datagram)
        } else {
            has(&datagram, 500).then_some(datagram)
        }
    };
    Ok(udp(file)?.into_iter().filter_map(message).collect())
}

fn word(bytes: &[u8], at: usize, order: fn([u8; 4]) -> u32) -> Option<u32> {
    Some(order(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn pcap(file: &[u8], order: fn([u8; 4]) -> u32) -> Vec<Frame> {
    let link = word(file, 20, order).unwrap_or(0) & 0x0fff_ffff;
    let mut found = Vec::new();
    let mut at = 24;
    while let Some(bytes) =
        word(file, at + 8, order).and_then(|len| file.get(at + 16..at + 16 + len as usize))
    {
        found.push(Frame { link, bytes: bytes.to_vec() });
        at += 16 + bytes.len();
    }
    found
}

fn pcapng(file: &[u8]) -> Vec<Frame> {
    let mut order: fn([u8; 4]) -> u32 = u32::from_le_bytes;
    let (mut links, mut found, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(kind) = word(file, at, order) {
        if kind == 0x0a0d_0d0a {
            let big = file.get(at + 8..at + 12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d]);
            order = if big { u32::from_be_bytes } else { u32::from_le_bytes };
            links.clear();
        }
        let length = word(file, at + 4, order).unwrap_or(0) as usize;
        let Some(block) = file.get(at..at + length).filter(|_| length >= 12) else { break };
        match kind {
            // Interface description: the link type is the first half of its first word.
            1 => links.push(word(block, 8, order).map_or(0, |word| link_of(word, order))),
            // Simple packet.
            3 => {
                let kept = word(block, 8, order).unwrap_or(0) as usize;
                let bytes = block.get(12..(12 + kept).min(length - 4)).unwrap_or_default().to_vec();
                found.push(Frame { link: links.first().copied().unwrap_or(0), bytes });
            }
            // Enhanced packet.
            6 => {
                let interface = word(block, 8, order).unwrap_or(0) as usize;
                let kept = word(block, 20, order).unwrap_or(0) as usize;
                let bytes = block.get(28..28 + kept).unwrap_or_default().to_vec();
                found.push(Frame { link: links.get(interface).copied().unwrap_or(0), bytes });
            }
            _ => {}
        }
        at += length;
    }
    found
}

fn link_of(word: u32, order: fn([u8; 4]) -> u32) -> u32 {
    if order([1, 0, 0, 0]) == 1 { word & 0xffff } else { word >> 16 }
}

fn datagram(number: usize, frame: &Frame) -> Option<Datagram> {
    let packet = ip_packet(frame)?;
    let (source, destination, udp) = match packet.first()? >> 4 {
        4 => ipv4(packet)?,
        6 => ipv6(packet)?,
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(udp.get(at..at + 2)?.try_into().ok()?));
    let source = SocketAddr::new(source, port(0)?);
    let destination = SocketAddr::new(destination, port(2)?);
    let length = usize::from(port(4)?).min(udp.len());
    Some(Datagram { frame: number, source, destination, payload: udp.get(8..length)?.to_vec() })
}

fn ip_packet(frame: &Frame) -> Option<&[u8]> {
    let bytes = &frame.bytes[..];
    match frame.link {
        NULL | LOOP => bytes.get(4..),
        ETHERNET => {
            let mut at = 12;
            while matches!(bytes.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
                at += 4;
            }
            matches!(bytes.get(at..at + 2)?, [0x08, 0x00] | [0x86, 0xdd]).then(|| bytes.get(at + 2..))?
        }
        // 12 and 14 are DLT_RAW of systems that wrote it without translation.
        12 | 14 | RAW | IPV4 | IPV6 => Some(bytes),
        COOKED => bytes.get(16..),
        COOKED_2 => bytes.get(20..),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
    if packet.get(9)? != &17 || fragment != 0 {
        return None;
    }
    let address =
        |at: usize| packet.get(at..at + 4)?.try_into().ok().map(|a: [u8; 4]| Ipv4Addr::from(a).into());
    Some((address(12)?, address(16)?, packet.get(header..)?))
}

fn ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    if packet.get(6)? != &17 {
        return None;
    }
    let address =
        |at: usize| packet.get(at..at + 16)?.try_into().ok().map(|a: [u8; 16]| Ipv6Addr::from(a).into());
    Some((address(8)?, address(24)?, packet.get(40..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    /// Port 4500 behind a non-ESP marker over IPv4 over Ethernet, written by hand.
    #[test]
    fn a_message_behind_the_marker_is_found() {
        let frame = hex("000000000000 000000000000 0800
            4500 0022 0000 0000 40 11 0000 0a000001 0a000002
            1194 1194 000e 0000 00000000 abcd");
        let mut file = hex("d4c3b2a1 0200 0400 00000000 00000000 ffff0000 01000000 00000000 00000000");
        for _ in 0..2 {
            file.extend((frame.len() as u32).to_le_bytes());
        }
        file.extend(&frame);
        let found = ike(&file).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].payload, [0xab, 0xcd]);
        assert_eq!(found[0].source, "10.0.0.1:4500".parse().unwrap());
        assert_eq!(found[0].frame, 1);
    }
}
