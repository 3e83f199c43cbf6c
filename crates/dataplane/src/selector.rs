//! Traffic selectors (RFC 7296 §3.13.1, RFC 4301 §4.4.1.1).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An inclusive range of addresses of one family, `start <= end`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddressRange {
    start: IpAddr,
    end: IpAddr,
}

impl AddressRange {
    /// `None` when the families differ or the range runs backwards.
    pub fn new(start: IpAddr, end: IpAddr) -> Option<Self> {
        (start.is_ipv4() == end.is_ipv4() && start <= end).then_some(Self { start, end })
    }

    /// The range of a prefix; `None` when `len` exceeds the family's bits. Host bits are cleared.
    pub fn from_prefix(address: IpAddr, len: u8) -> Option<Self> {
        match address {
            IpAddr::V4(a) if len <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                let start = u32::from(a) & mask;
                Some(Self { start: Ipv4Addr::from(start).into(), end: Ipv4Addr::from(start | !mask).into() })
            }
            IpAddr::V6(a) if len <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                let start = u128::from(a) & mask;
                Some(Self { start: Ipv6Addr::from(start).into(), end: Ipv6Addr::from(start | !mask).into() })
            }
            _ => None,
        }
    }

    /// One address.
    pub fn host(address: IpAddr) -> Self {
        Self { start: address, end: address }
    }

    /// The first address.
    pub fn start(&self) -> IpAddr {
        self.start
    }

    /// The last address.
    pub fn end(&self) -> IpAddr {
        self.end
    }

    /// Whether `address` lies inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.start.is_ipv4() && self.start <= address && address <= self.end
    }

    /// What both ranges have.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.start.is_ipv4() != other.start.is_ipv4() {
            return None;
        }
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The prefix length, when the range is just one prefix.
    pub fn prefix_len(&self) -> Option<u8> {
        let (bits, start, end) = match (self.start, self.end) {
            (IpAddr::V4(s), IpAddr::V4(e)) => (32, u128::from(u32::from(s)), u128::from(u32::from(e))),
            (IpAddr::V6(s), IpAddr::V6(e)) => (128, u128::from(s), u128::from(e)),
            _ => return None,
        };
        let host_bits = 128 - (start ^ end).leading_zeros();
        let mask = 1u128.checked_shl(host_bits).map_or(u128::MAX, |one| one - 1);
        (start & mask == 0 && end & mask == mask).then(|| bits - host_bits as u8)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_len() {
            Some(len) => write!(f, "{}/{len}", self.start),
            None => write!(f, "{}-{}", self.start, self.end),
        }
    }
}

/// One traffic selector: addresses, an IP protocol (0 = any) and an inclusive range of ports.
/// All ports is `0..=65535`; OPAQUE is `start_port` 65535 with `end_port` 0 (RFC 7296 §3.13.1). For
/// ICMP, ICMPv6 and Mobile IPv6 a "port" is type × 256 + code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Selector {
    /// The addresses.
    pub addresses: AddressRange,
    /// The IP protocol number; 0 is any.
    pub protocol: u8,
    /// The first port.
    pub start_port: u16,
    /// The last port.
    pub end_port: u16,
}

impl Selector {
    /// All traffic of `addresses`.
    pub fn addresses(addresses: AddressRange) -> Self {
        Self { addresses, protocol: 0, start_port: 0, end_port: u16::MAX }
    }

    /// Whether the ports are OPAQUE: only packets whose ports cannot be seen.
    pub fn is_opaque(&self) -> bool {
        self.start_port == u16::MAX && self.end_port == 0
    }

    /// Whether every port is meant.
    pub fn any_port(&self) -> bool {
        self.start_port == 0 && self.end_port == u16::MAX
    }

    /// Whether a packet with this address, protocol and port (`None`: not visible) is meant.
    pub fn contains(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        self.addresses.contains(address)
            && (self.protocol == 0 || self.protocol == protocol)
            && match port {
                _ if self.any_port() => true,
                Some(port) => !self.is_opaque() && (self.start_port..=self.end_port).contains(&port),
                None => self.is_opaque(),
            }
    }

    /// The same for the destination of a packet. What ICMP, ICMPv6 and the Mobility Header have instead of ports belongs to
    /// the sender's side, and `port` is that here too: on the receiver's side the same value means that both directions
    /// are wanted, OPAQUE that only the sender's is (RFC 4301 §4.4.1.3, RFC 7296 §3.13.1).
    //= rfc4301 §4.4.1.3
    pub fn contains_destination(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        let seen = if self.is_opaque() && has_one_field(protocol) { None } else { port };
        self.contains(address, protocol, seen)
    }

    /// What both selectors have in common (RFC 7296 §2.9).
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let addresses = self.addresses.intersect(&other.addresses)?;
        let protocol = match (self.protocol, other.protocol) {
            (0, p) | (p, 0) => p,
            (a, b) if a == b => a,
            _ => return None,
        };
        let (start_port, end_port) = match (self.is_opaque(), other.is_opaque()) {
            (true, true) => (u16::MAX, 0),
            (true, false) if other.any_port() => (u16::MAX, 0),
            (false, true) if self.any_port() => (u16::MAX, 0),
            (false, false) => (self.start_port.max(other.start_port), self.end_port.min(other.end_port)),
            _ => return None,
        };
        let opaque = start_port == u16::MAX && end_port == 0;
        (start_port <= end_port || opaque).then_some(Self { addresses, protocol, start_port, end_port })
    }

    /// Whether all of `other` is inside.
    pub fn covers(&self, other: &Self) -> bool {
        self.intersect(other).as_ref() == Some(other)
    }
}

/// Whether a protocol has one field of its own in the place of two ports.
fn has_one_field(protocol: u8) -> bool {
    matches!(protocol, 1 | 58 | 135)
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addresses)?;
        if self.protocol == 0 && self.any_port() {
            return Ok(());
        }
        let protocol = match self.protocol {
            0 => "any".to_string(),
            1 => "icmp".to_string(),
            6 => "tcp".to_string(),
            17 => "udp".to_string(),
            58 => "ipv6-icmp".to_string(),
            other => other.to_string(),
        };
        match (self.any_port(), self.is_opaque()) {
            (true, _) => write!(f, "[{protocol}]"),
            (_, true) => write!(f, "[{protocol}/opaque]"),
            _ if self.start_port == self.end_port => write!(f, "[{protocol}/{}]", self.start_port),
            _ => write!(f, "[{protocol}/{}-{}]", self.start_port, self.end_port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> AddressRange {
        let (address, len) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    #[test]
    fn prefixes_print_as_they_were_written() {
        for text in ["0.0.0.0/0", "10.1.0.0/16", "10.0.0.1/32", "::/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        let odd = AddressRange::new("10.0.0.1".parse().unwrap(), "10.0.0.4".parse().unwrap()).unwrap();
        assert_eq!(odd.to_string(), "10.0.0.1-10.0.0.4");
    }

    #[test]
    fn intersections_keep_only_what_both_have() {
        let all = Selector::addresses(prefix("0.0.0.0/0"));
        let web = Selector {
            protocol: 6,
            start_port: 80,
            end_port: 443,
            ..Selector::addresses(prefix("10.0.0.0/8"))
        };
        let dns = Selector {
            protocol: 17,
            start_port: 53,
            end_port: 53,
            ..Selector::addresses(prefix("10.0.0.0/8"))
        };
        assert_eq!(all.intersect(&web), Some(web));
        assert_eq!(web.intersect(&dns), None);
        assert!(all.covers(&web) && !web.covers(&all));
        let opaque = Selector { start_port: u16::MAX, end_port: 0, ..all };
        assert_eq!(opaque.intersect(&web), None);
        assert_eq!(opaque.intersect(&all), Some(opaque));
    }

    #[test]
    fn a_port_that_cannot_be_seen_matches_any_or_opaque_only() {
        let any = Selector::addresses(prefix("::/0"));
        let one = Selector { protocol: 6, start_port: 22, end_port: 22, ..any };
        assert!(any.contains("::1".parse().unwrap(), 6, None));
        assert!(!one.contains("::1".parse().unwrap(), 6, None));
        assert!(one.contains("::1".parse().unwrap(), 6, Some(22)));
    }

    //= rfc4301 §4.4.1.3
    #[test]
    fn what_icmp_says_belongs_to_the_sender() {
        let echo = Selector {
            protocol: 1,
            start_port: 0x0800,
            end_port: 0x0800,
            ..Selector::addresses(prefix("0.0.0.0/0"))
        };
        let opaque = Selector { start_port: u16::MAX, end_port: 0, ..echo };
        let ip = "10.0.0.1".parse().unwrap();
        let sends = |ours: &Selector, theirs: &Selector, value| {
            ours.contains(ip, 1, value) && theirs.contains_destination(ip, 1, value)
        };
        // Both ways, only out, only in.
        assert!(sends(&echo, &echo, Some(0x0800)));
        assert!(sends(&echo, &opaque, Some(0x0800)) && !sends(&opaque, &echo, Some(0x0800)));
        assert!(!sends(&echo, &echo, Some(0)) && !sends(&echo, &opaque, Some(0)));
        // A fragment hides it.
        assert!(!sends(&echo, &opaque, None) && sends(&opaque, &opaque, None));
        // TCP has two ports: OPAQUE does not mean one that can be seen.
        let hidden = Selector { protocol: 6, ..opaque };
        assert!(!hidden.contains_destination(ip, 6, Some(80)) && hidden.contains_destination(ip, 6, None));
    }
}
