//! IPv4 and IPv6 headers, as far as selectors and encapsulation need them.

use crate::checksum::{Sum, adjust};
use crate::limits::MAX_EXTENSION_HEADERS;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers that matter here.
#[allow(missing_docs)]
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT: u8 = 59;
    pub const DESTINATION: u8 = 60;
    pub const SCTP: u8 = 132;
    pub const MOBILITY: u8 = 135;
    pub const UDP_LITE: u8 = 136;
}
use protocol::*;

/// Octets of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Octets of an IPv6 header without extension headers.
pub const IPV6_LEN: usize = 40;

/// The packet is not well-formed IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// What a packet's headers say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// The source.
    pub source: IpAddr,
    /// The destination.
    pub destination: IpAddr,
    /// The upper protocol: what stands after the extension headers.
    pub protocol: u8,
    /// Source and destination port, or ICMP type × 256 + code twice (RFC 4301 §4.4.1.1); `None` where
    /// the protocol has none, or a fragment hides them.
    pub ports: Option<(u16, u16)>,
    /// Octets from the start to the upper protocol.
    pub header_len: usize,
    /// Octets of the whole packet by its own length field; never more than there are.
    pub total_len: usize,
    /// DSCP and ECN.
    pub tos: u8,
    /// The value of IPv4's protocol or IPv6's next header field.
    pub next_header: u8,
    /// Whether it is a fragment, the first included.
    pub is_fragment: bool,
    /// Whether routers may not fragment it: always so in IPv6.
    pub dont_fragment: bool,
}

impl Packet {
    /// Reads the headers at the start of `octets`; what lies behind the packet's own length is ignored.
    #[inline]
    pub fn parse(octets: &[u8]) -> Result<Self, Malformed> {
        match octets.first().map(|first| first >> 4) {
            Some(4) => parse_ipv4(octets),
            Some(6) => parse_ipv6(octets),
            _ => Err(Malformed),
        }
    }

    /// Octets of the IP header itself, without options and extension headers.
    pub fn fixed_header_len(&self) -> usize {
        if self.source.is_ipv4() { IPV4_LEN } else { IPV6_LEN }
    }
}

fn parse_ipv4(octets: &[u8]) -> Result<Packet, Malformed> {
    let (header, _) = octets.split_first_chunk::<IPV4_LEN>().ok_or(Malformed)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_len < IPV4_LEN || total_len < header_len || total_len > octets.len() {
        return Err(Malformed);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let (offset, more) = (fragment & 0x1fff, fragment & 0x2000 != 0);
    let protocol = header[9];
    let upper = if offset == 0 { octets.get(header_len..total_len).unwrap_or(&[]) } else { &[] };
    Ok(Packet {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        protocol,
        ports: ports(protocol, upper),
        header_len,
        total_len,
        tos: header[1],
        next_header: protocol,
        is_fragment: offset != 0 || more,
        dont_fragment: fragment & 0x4000 != 0,
    })
}

fn parse_ipv6(octets: &[u8]) -> Result<Packet, Malformed> {
    let (header, _) = octets.split_first_chunk::<IPV6_LEN>().ok_or(Malformed)?;
    let total_len = IPV6_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let whole = octets.get(..total_len).ok_or(Malformed)?;
    let address = |at: usize| -> Result<IpAddr, Malformed> {
        let octets = header.get(at..).and_then(|rest| rest.first_chunk::<16>()).ok_or(Malformed)?;
        Ok(Ipv6Addr::from(*octets).into())
    };
    let mut packet = Packet {
        source: address(8)?,
        destination: address(24)?,
        protocol: header[6],
        ports: None,
        header_len: IPV6_LEN,
        total_len,
        tos: header[0] << 4 | header[1] >> 4,
        next_header: header[6],
        is_fragment: false,
        dont_fragment: true,
    };
    let first = walk_extensions(&mut packet, whole)?;
    if first {
        packet.ports = ports(packet.protocol, whole.get(packet.header_len..).unwrap_or(&[]));
    }
    Ok(packet)
}

/// Whether a next header is an extension header that is walked over, not an upper protocol.
pub(crate) fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT)
}

/// Steps over extension headers (RFC 8200 §4); false when it is a fragment that does not begin with the
/// upper protocol.
fn walk_extensions(packet: &mut Packet, whole: &[u8]) -> Result<bool, Malformed> {
    for _ in 0..MAX_EXTENSION_HEADERS {
        let rest = whole.get(packet.header_len..).unwrap_or(&[]);
        let len = match (packet.protocol, rest) {
            (HOP_BY_HOP | ROUTING | DESTINATION, [_, len, ..]) => usize::from(*len) * 8 + 8,
            (FRAGMENT, [next, _, high, low, _, _, _, _, ..]) => {
                let offset = u16::from_be_bytes([*high, *low]);
                packet.is_fragment = true;
                if offset & !7 != 0 {
                    packet.protocol = *next;
                    packet.header_len += 8;
                    return Ok(false);
                }
                8
            }
            (HOP_BY_HOP | ROUTING | DESTINATION | FRAGMENT, _) => return Err(Malformed),
            _ => return Ok(true),
        };
        if len > rest.len() {
            // A first fragment may end within its headers; a whole packet may not.
            return if packet.is_fragment { Ok(false) } else { Err(Malformed) };
        }
        packet.protocol = rest.first().copied().ok_or(Malformed)?;
        packet.header_len += len;
    }
    if is_extension(packet.protocol) { Err(Malformed) } else { Ok(true) }
}

/// The ports at the start of the upper protocol.
//= rfc4301 §4.4.1.1
fn ports(protocol: u8, upper: &[u8]) -> Option<(u16, u16)> {
    match (protocol, upper) {
        (TCP | UDP | DCCP | SCTP | UDP_LITE, [a, b, c, d, ..]) => {
            Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
        }
        (ICMP | ICMPV6, [kind, code, ..]) => {
            let both = u16::from_be_bytes([*kind, *code]);
            Some((both, both))
        }
        (MOBILITY, [_, _, kind, ..]) => {
            let both = u16::from_be_bytes([*kind, 0]);
            Some((both, both))
        }
        _ => None,
    }
}

/// Sets DSCP and ECN in the header at the start of `octets`, and the header checksum with it.
pub fn set_tos(octets: &mut [u8], tos: u8) {
    match octets {
        [first, old, rest @ ..] if *first >> 4 == 4 => {
            if let Some([high, low]) = rest.get_mut(8..10) {
                let was = u16::from_be_bytes([*first, *old]);
                let is = u16::from_be_bytes([*first, tos]);
                let checksum = adjust(u16::from_be_bytes([*high, *low]), was, is);
                [*high, *low] = checksum.to_be_bytes();
            }
            *old = tos;
        }
        [first, second, ..] if *first >> 4 == 6 => {
            *first = 0x60 | tos >> 4;
            *second = tos << 4 | *second & 0x0f;
        }
        _ => {}
    }
}

/// Writes the header checksum of the IPv4 header (options included) in `header`.
pub fn set_ipv4_checksum(header: &mut [u8]) {
    if let Some(slot) = header.get_mut(10..12) {
        slot.fill(0);
    }
    let checksum = Sum::default().octets(header).checksum();
    if let Some(slot) = header.get_mut(10..12) {
        slot.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// What a new header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewHeader {
    /// The source.
    pub source: IpAddr,
    /// The destination, of the same family.
    pub destination: IpAddr,
    /// IPv4's protocol or IPv6's next header.
    pub next_header: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Octets behind the header.
    pub payload_len: usize,
}

impl NewHeader {
    /// Writes the header to the start of `octets`; answers its length, or `None` when the addresses' families
    /// differ, the packet is too long, or there is no room. IPv4 gets the don't-fragment bit, with which an
    /// identification of 0 is allowed (RFC 6864 §4.1).
    pub fn write(&self, octets: &mut [u8]) -> Option<usize> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total = u16::try_from(IPV4_LEN + self.payload_len).ok()?;
                let header = octets.first_chunk_mut::<IPV4_LEN>()?;
                *header = [0; IPV4_LEN];
                header[0] = 0x45;
                header[1] = self.tos;
                header[2..4].copy_from_slice(&total.to_be_bytes());
                header[6] = 0x40;
                header[8] = self.ttl;
                header[9] = self.next_header;
                header[12..16].copy_from_slice(&source.octets());
                header[16..20].copy_from_slice(&destination.octets());
                set_ipv4_checksum(header);
                Some(IPV4_LEN)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let len = u16::try_from(self.payload_len).ok()?;
                let header = octets.first_chunk_mut::<IPV6_LEN>()?;
                *header = [0; IPV6_LEN];
                header[0] = 0x60 | self.tos >> 4;
                header[1] = self.tos << 4;
                header[4..6].copy_from_slice(&len.to_be_bytes());
                header[6] = self.next_header;
                header[7] = self.ttl;
                header[8..24].copy_from_slice(&source.octets());
                header[24..40].copy_from_slice(&destination.octets());
                Some(IPV6_LEN)
            }
            _ => None,
        }
    }
}
