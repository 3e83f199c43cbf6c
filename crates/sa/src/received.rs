//! What a peer gave us by a configuration payload.

use dataplane::AddressRange;
use policy::Domain;
use std::net::IpAddr;

/// What a peer gave us by a configuration payload (RFC 7296 §3.15.1, RFC 8598), as far as our policy takes it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Received {
    /// Our addresses in the peer's network.
    pub addresses: Vec<IpAddr>,
    /// The IPv6 link that we have there.
    pub link: Option<Link>,
    /// Name servers there.
    pub dns: Vec<IpAddr>,
    /// NetBIOS name servers.
    pub nbns: Vec<IpAddr>,
    /// DHCP servers.
    pub dhcp: Vec<IpAddr>,
    /// Networks that are to be reached through the peer.
    pub subnets: Vec<AddressRange>,
    /// What the name servers answer for; none: for everything.
    pub domains: Vec<Domain>,
}

/// An IPv6 link with the peer (RFC 5739).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Link {
    /// Our interface identifier.
    pub interface: [u8; 8],
    /// The IKEv2 Link ID, by which the peer knows it again.
    pub id: Vec<u8>,
    /// The prefixes that are ours.
    pub prefixes: Vec<AddressRange>,
}

impl Received {
    /// Whether a resolver has something to do with it.
    pub fn concerns_resolver(&self) -> bool {
        !self.dns.is_empty()
    }
}
