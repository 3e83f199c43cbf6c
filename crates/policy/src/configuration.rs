//! What a connection asks for, and gives, by configuration payloads (RFC 7296 §2.19, §3.15).

use crate::Identity;
use dataplane::{AddressRange, Selector};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// What a connection asks for, and gives, by configuration payloads. The default asks for nothing and gives nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Configuration {
    /// `vips`: the addresses that we ask the peer for; an unspecified one (`0.0.0.0`, `::`) is any of its family.
    pub vips: Vec<IpAddr>,
    /// `ipv6_link`: whether we ask the peer for an IPv6 link with prefixes of its own (RFC 5739).
    pub link: bool,
    /// `pools`: where the peer's addresses come from. With one, a peer that asks for none gets no child SA.
    pub pools: Vec<Arc<Pool>>,
    /// `split_dns`: the domains that the peer's name servers may answer for (RFC 8598 §5).
    pub split_dns: SplitDns,
    /// `dnssec_anchors`: the domains below which the peer may set trust anchors (RFC 8598 §6); none: it may not at all.
    pub dnssec_anchors: Vec<DnsName>,
}

impl Configuration {
    /// Whether we ask the peer for addresses.
    pub fn asks(&self) -> bool {
        self.link || !self.vips.is_empty()
    }

    /// Whether we ask for addresses such as this one.
    pub fn asks_for(&self, any: IpAddr) -> bool {
        self.link && any.is_ipv6() || self.vips.iter().any(|vip| vip.is_ipv4() == any.is_ipv4())
    }
}

/// Which INTERNAL_DNS_DOMAIN attributes a client takes.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum SplitDns {
    /// All that the peer names.
    #[default]
    Any,
    /// None: it is not asked for.
    None,
    /// These, and what is below them.
    Below(Vec<DnsName>),
}

impl SplitDns {
    /// Whether the peer may name `domain`.
    pub fn allows(&self, domain: &DnsName) -> bool {
        match self {
            SplitDns::Any => true,
            SplitDns::None => false,
            SplitDns::Below(domains) => domains.iter().any(|above| domain.is_within(above)),
        }
    }
}

/// `[pools.NAME]`: addresses for peers, and what they are told with them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// `addrs`: the addresses, of either family.
    pub addrs: Vec<AddressRange>,
    /// `prefixes`: IPv6 networks from which a peer that asks for a link (RFC 5739) gets a prefix of its own.
    pub prefixes: Vec<AddressRange>,
    /// `prefix_len`: the length of such a prefix.
    pub prefix_len: u8,
    /// `[pools.NAME.hosts.HOST]`: addresses that are one peer's alone.
    pub hosts: Vec<Reservation>,
    /// `dns`: name servers.
    pub dns: Vec<IpAddr>,
    /// `nbns`: NetBIOS name servers.
    pub nbns: Vec<IpAddr>,
    /// `dhcp`: DHCP servers.
    pub dhcp: Vec<IpAddr>,
    /// `subnet`, `split_include`: networks to be reached through us.
    pub subnets: Vec<AddressRange>,
    /// `dns_domains`: what `dns` answers for (RFC 8598).
    pub domains: Vec<Domain>,
}

impl Pool {
    /// Whether it has addresses of that family.
    pub fn has_family(&self, v4: bool) -> bool {
        let of = |address: IpAddr| address.is_ipv4() == v4;
        let hosts = self.hosts.iter().flat_map(|host| &host.addrs).any(|address| of(*address));
        hosts || self.addrs.iter().any(|range| of(range.start())) || (!v4 && !self.prefixes.is_empty())
    }
}

/// Addresses for one identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// Whose.
    pub id: Identity,
    /// At most one of a family is given to an IKE SA that asks for one.
    pub addrs: Vec<IpAddr>,
}

/// A DNS domain that internal name servers answer for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain {
    /// Its name.
    pub name: DnsName,
    /// Its trust anchors.
    pub anchors: Vec<TrustAnchor>,
}

/// A domain name: ASCII (A-labels), in lower case, without a dot at its end; never the root.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DnsName(Box<str>);

impl DnsName {
    /// Reads the presentation format (RFC 8598 §4.1). What no host's name may hold is refused: escapes, blanks,
    /// control characters and letters outside ASCII, which would end up in files and environments.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let ok = text.len() <= 253 && text.split('.').all(label);
        ok.then(|| Self(text.to_ascii_lowercase().into_boxed_str()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `above` or a name below it.
    pub fn is_within(&self, above: &DnsName) -> bool {
        match self.0.strip_suffix(&*above.0) {
            Some("") => true,
            Some(rest) => rest.ends_with('.'),
            None => false,
        }
    }

    /// Whether it has one label only: a top-level domain.
    pub fn is_top_level(&self) -> bool {
        !self.0.contains('.')
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A DS record: a DNSSEC trust anchor (RFC 8598 §4.2, RFC 4034 §5.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustAnchor {
    /// Of the key that it is for.
    pub key_tag: u16,
    /// DNS Security Algorithm Number.
    pub algorithm: u8,
    /// Digest type of the DS record.
    pub digest_type: u8,
    /// The digest.
    pub digest: Vec<u8>,
}

impl TrustAnchor {
    /// Whether the digest is as long as its type wants (RFC 4034, RFC 4509, RFC 6605).
    pub fn is_whole(&self) -> bool {
        match self.digest_type {
            1 => self.digest.len() == 20,
            2 => self.digest.len() == 32,
            4 => self.digest.len() == 48,
            _ => (1..=64).contains(&self.digest.len()),
        }
    }
}

impl fmt::Display for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.key_tag, self.algorithm, self.digest_type)?;
        self.digest.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

/// An address of a pool, or a prefix of addresses, for one peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leased {
    /// Its (first) address.
    pub address: IpAddr,
    /// How much of it the peer has: 32 or 128 is the address alone.
    pub prefix_len: u8,
    /// Where it comes from.
    pub pool: Arc<Pool>,
}

impl Leased {
    /// All its traffic.
    pub fn selector(&self) -> Option<Selector> {
        AddressRange::from_prefix(self.address, self.prefix_len).map(Selector::addresses)
    }
}

/// The address with this interface identifier in an IPv6 network (RFC 5739 §4.1).
pub fn address_in(network: &AddressRange, interface: [u8; 8]) -> Option<IpAddr> {
    let (IpAddr::V6(start), IpAddr::V6(end)) = (network.start(), network.end()) else { return None };
    let (start, end) = (u128::from(start), u128::from(end));
    let identifier = u128::from(u64::from_be_bytes(interface));
    Some(Ipv6Addr::from(start | identifier & (start ^ end)).into())
}

/// The link-local address of an interface identifier (RFC 5739 §4.1, RFC 4291 §2.5.6).
pub fn link_local(interface: [u8; 8]) -> IpAddr {
    let octets = (0xfe80_u128 << 112) | u128::from(u64::from_be_bytes(interface));
    Ipv6Addr::from(octets).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_presentation_format() {
        let name = |text: &str| DnsName::new(text).map(|name| name.to_string());
        assert_eq!(name("Corp.Example.ORG.").as_deref(), Some("corp.example.org"));
        assert_eq!(name("xn--bcher-kva.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(name("_tcp.example").as_deref(), Some("_tcp.example"));
        let long = [&*"a".repeat(63); 4].join(".");
        for bad in
            ["", ".", "a..b", ".a", "a b", "a\0", "bücher.example", "a\\046b", "-a.b", "a-.b", "*.a", &long]
        {
            assert_eq!(name(bad), None, "{bad:?}");
        }
        assert_eq!(name(&"a".repeat(64)), None);
    }

    //= rfc8598 §5
    //# "otherexample.test" and "ple.test" MUST NOT be resolved using the internal resolver
    #[test]
    fn a_name_is_within_another_by_whole_labels() {
        let name = |text: &str| DnsName::new(text).unwrap();
        let above = name("example.test");
        for within in ["example.test", "www.example.test", "mail.eng.example.test"] {
            assert!(name(within).is_within(&above), "{within}");
        }
        for other in ["otherexample.test", "ple.test", "test", "example.test.org"] {
            assert!(!name(other).is_within(&above), "{other}");
        }
    }
}
