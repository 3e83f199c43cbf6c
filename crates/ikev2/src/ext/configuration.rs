//! Configuration payloads (RFC 7296 §2.19, §3.15; IPv6 links: RFC 5739; split DNS: RFC 8598; IP4_ALLOWED and
//! IP6_ALLOWED: RFC 8983).
//!
//! ```text
//!   client                                                 gateway
//!   IKE_AUTH  SK{… CP(CFG_REQUEST) SAi2 TSi TSr} -->
//!                                                          (authenticated, then: an address is leased)
//!                 <--  SK{… CP(CFG_REPLY) SAr2 TSi TSr}    TSi is the address
//!                 <--  SK{… N(FAILED_CP_REQUIRED)}         no request came, and addresses are to be had here only
//!                 <--  SK{… N(INTERNAL_ADDRESS_FAILURE)}   nothing is left; the IKE SA stands
//!   (the address is set, the resolver told)
//! ```
//!
//! What an IKE SA holds is one value, [`Leases`], which its successor takes over. `dynamic` selectors stand for the
//! addresses: the connection that an IKE SA was made for is replaced by one in which they are filled in, so that
//! every later exchange finds them there.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use crate::{Common, Cx, limits};
use dataplane::{AddressRange, Mode, Op, Selector};
use policy::{Configuration, Connection, DnsName, Domain, Identity, Leased, Pool, SplitDns, TrustAnchor};
use sa::{Branch, Job, JobId, LeaseRequest, Received};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use wire::num::{CfgAttributeType, CfgType, NotifyType};
use wire::{CfgAttribute, CfgValue, Notify, Payload};

pub(crate) struct ConfigurationPayload;

/// The attributes that we understand (SUPPORTED_ATTRIBUTES).
const SUPPORTED: &[CfgAttributeType] = &[
    CfgAttributeType::INTERNAL_IP4_ADDRESS,
    CfgAttributeType::INTERNAL_IP4_DNS,
    CfgAttributeType::INTERNAL_IP4_NBNS,
    CfgAttributeType::INTERNAL_IP4_DHCP,
    CfgAttributeType::INTERNAL_IP6_ADDRESS,
    CfgAttributeType::INTERNAL_IP6_DNS,
    CfgAttributeType::INTERNAL_IP6_NBNS,
    CfgAttributeType::INTERNAL_IP6_DHCP,
    CfgAttributeType::INTERNAL_IP4_SUBNET,
    CfgAttributeType::SUPPORTED_ATTRIBUTES,
    CfgAttributeType::INTERNAL_IP6_SUBNET,
    CfgAttributeType::INTERNAL_IP6_LINK,
    CfgAttributeType::INTERNAL_IP6_PREFIX,
    CfgAttributeType::INTERNAL_DNS_DOMAIN,
    CfgAttributeType::INTERNAL_DNSSEC_TA,
];

impl Extension for ConfigurationPayload {
    //= rfc7296 §2.19
    //# In all cases, the CP payload MUST be inserted before the SA payload.
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if moment == Moment::AuthRequest {
            out.extend(request(&facts.connection.configuration));
        }
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        match moment {
            Moment::AuthRequest => agreed.asked = Asked::read(contents).map(Arc::new),
            Moment::AuthResponse => {
                agreed.received = read_reply(&facts.connection.configuration, contents).map(Box::new);
            }
            Moment::InitRequest | Moment::InitResponse | Moment::Told | Moment::Heard | Moment::Renewed => {}
        }
    }
}

/// Our CFG_REQUEST; none where the connection asks for nothing.
//= rfc7296 §2.19
//# CP(CFG_REQUEST) MUST contain at least an INTERNAL_ADDRESS attribute (either IPv4 or IPv6)
//= rfc8598 §3.1
//# If an INTERNAL_DNS_DOMAIN attribute is included in the CFG_REQUEST, the initiator MUST also include one or more
//# INTERNAL_IP4_DNS or INTERNAL_IP6_DNS attributes […]. If an INTERNAL_DNSSEC_TA attribute is included in the
//# CFG_REQUEST, the initiator MUST also include one or more INTERNAL_DNS_DOMAIN attributes
pub(crate) fn request(wanted: &Configuration) -> Option<Payload<'static>> {
    if wanted.vips.is_empty() {
        return None;
    }
    let mut attributes: Vec<CfgAttribute<'static>> =
        wanted.vips.iter().map(|vip| address(*vip, 64)).collect();
    let mut ask = |kind| attributes.push(CfgAttribute::new(kind, &CfgValue::Empty));
    if wanted.vips.iter().any(IpAddr::is_ipv4) {
        ask(CfgAttributeType::INTERNAL_IP4_DNS);
    }
    if wanted.vips.iter().any(IpAddr::is_ipv6) {
        ask(CfgAttributeType::INTERNAL_IP6_DNS);
    }
    if wanted.split_dns != SplitDns::None {
        ask(CfgAttributeType::INTERNAL_DNS_DOMAIN);
        if !wanted.dnssec_anchors.is_empty() {
            ask(CfgAttributeType::INTERNAL_DNSSEC_TA);
        }
    }
    Some(payload(CfgType::REQUEST, attributes))
}

fn payload(kind: CfgType, attributes: Vec<CfgAttribute<'static>>) -> Payload<'static> {
    Payload::Cp(wire::Configuration { kind, attributes })
}

/// An address attribute; empty for any.
fn address(address: IpAddr, len: u8) -> CfgAttribute<'static> {
    let (kind, value) = match address {
        IpAddr::V4(address) => (CfgAttributeType::INTERNAL_IP4_ADDRESS, CfgValue::Ip4(address)),
        IpAddr::V6(address) => (CfgAttributeType::INTERNAL_IP6_ADDRESS, CfgValue::Net6(address, len)),
    };
    let value = if address.is_unspecified() { CfgValue::Empty } else { value };
    CfgAttribute::new(kind, &value)
}

/// What our own side of a child with `dynamic` selectors may become: an address that is not known yet.
pub(crate) fn before_reply(connection: &Connection) -> Arc<Connection> {
    let all = |any: IpAddr| AddressRange::from_prefix(any, 0).map(Selector::addresses);
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let asked = |any: IpAddr| connection.configuration.vips.iter().any(|vip| vip.is_ipv4() == any.is_ipv4());
    let local: Vec<Selector> = [v4, v6].into_iter().filter(|any| asked(*any)).filter_map(all).collect();
    filled_in(connection, &local, &[])
}

/// The connection with `dynamic` selectors filled in. Transport mode is about the outer addresses, whatever others
/// there are.
pub(crate) fn filled_in(connection: &Connection, local: &[Selector], remote: &[Selector]) -> Arc<Connection> {
    let mut connection = connection.clone();
    for child in connection.children.iter_mut().filter(|child| child.mode == Mode::Tunnel) {
        let child = Arc::make_mut(child);
        for (side, own) in [(&mut child.local_ts, local), (&mut child.remote_ts, remote)] {
            if side.is_empty() {
                *side = own.to_vec();
            }
        }
    }
    Arc::new(connection)
}

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// One for each address; an unspecified one is any.
    addresses: Vec<IpAddr>,
    /// A link: interface identifier, and the Link ID that it had before.
    link: Option<([u8; 8], Vec<u8>)>,
    kinds: BTreeSet<CfgAttributeType>,
}

impl Asked {
    /// Reads the CFG_REQUEST of a message.
    pub(crate) fn read(contents: &Contents<'_>) -> Option<Self> {
        let request = contents.cp.iter().find(|cp| cp.kind == CfgType::REQUEST)?;
        let mut asked = Self::default();
        for attribute in &request.attributes {
            let Some(value) = attribute.decode() else { continue };
            asked.kinds.insert(attribute.kind);
            let wish = match (attribute.kind, value) {
                (CfgAttributeType::INTERNAL_IP4_ADDRESS, CfgValue::Ip4(address)) => address.into(),
                (CfgAttributeType::INTERNAL_IP4_ADDRESS, _) => Ipv4Addr::UNSPECIFIED.into(),
                (CfgAttributeType::INTERNAL_IP6_ADDRESS, CfgValue::Net6(address, _)) => address.into(),
                (CfgAttributeType::INTERNAL_IP6_ADDRESS, _) => Ipv6Addr::UNSPECIFIED.into(),
                (CfgAttributeType::INTERNAL_IP6_LINK, CfgValue::Link(interface, id)) => {
                    asked.link = Some((interface, id));
                    continue;
                }
                _ => continue,
            };
            if asked.addresses.len() < sa::limits::MAX_LEASED_ADDRESSES {
                asked.addresses.push(wish);
            }
        }
        Some(asked)
    }

    /// What is to be leased; `None`: no address is asked for.
    //= rfc5739 §4.1
    //# If the client has sent the INTERNAL_IP6_LINK configuration attribute, the VPN gateway SHOULD ignore any
    //# INTERNAL_IP6_ADDRESS configuration attribute present in the request.
    pub(crate) fn lease(
        &self,
        pools: &[Arc<Pool>],
        identity: &Identity,
        alone: bool,
    ) -> Option<LeaseRequest> {
        let link = self.usable_link(pools);
        let mut addresses = self.addresses.clone();
        if link.is_some() {
            addresses.retain(IpAddr::is_ipv4);
        }
        if addresses.is_empty() && self.link.is_none() {
            return None;
        }
        //= rfc5739 §4.2
        //# the gateway would use the Link ID to look up relevant local state
        let prefix = link.map(|(_, id)| match <[u8; 16]>::try_from(id.as_slice()) {
            Ok(octets) => IpAddr::from(octets),
            Err(_) => Ipv6Addr::UNSPECIFIED.into(),
        });
        Some(LeaseRequest { identity: identity.clone(), pools: pools.to_vec(), addresses, prefix, alone })
    }

    /// The link, where we have prefixes for it and its identifier can be one.
    //= rfc5739 §4.1
    //# In case the VPN gateway cannot accept the link-local interface identifier the client proposed, the VPN gateway
    //# MUST fail the IPv6 address assignment by including a NOTIFY payload with the INTERNAL_ADDRESS_FAILURE message.
    fn usable_link(&self, pools: &[Arc<Pool>]) -> Option<&([u8; 8], Vec<u8>)> {
        let has_prefixes = pools.iter().any(|pool| !pool.prefixes.is_empty());
        self.link.as_ref().filter(|(interface, _)| has_prefixes && *interface != [0; 8])
    }

    /// The traffic of whoever holds `leased`.
    pub(crate) fn selectors(&self, leased: &[Leased]) -> Vec<Selector> {
        let mut all: Vec<Selector> = leased.iter().filter_map(Leased::selector).collect();
        if let Some((interface, _)) = &self.link
            && leased.iter().any(is_prefix)
        {
            all.push(Selector::addresses(AddressRange::host(policy::link_local(*interface))));
        }
        all
    }

    /// IP4_ALLOWED and IP6_ALLOWED: what could be had here.
    //= rfc8983 §5
    //# The responder MUST include the IP6_ALLOWED and/or IP4_ALLOWED notification status type in a response to an
    //# address assignment request as indicated in Table 1.
    pub(crate) fn allowed(pools: &[Arc<Pool>]) -> impl Iterator<Item = Payload<'static>> + '_ {
        let families = [(true, NotifyType::IP4_ALLOWED), (false, NotifyType::IP6_ALLOWED)];
        let has = |v4: bool| pools.iter().any(|pool| pool.has_family(v4));
        let notifies = families.into_iter().filter(move |(v4, _)| has(*v4));
        notifies.map(|(_, kind)| Payload::Notify(Notify::new(kind, Vec::new())))
    }

    /// Our CFG_REPLY.
    //= rfc7296 §2.19
    //# The responder MUST NOT send a CFG_REPLY without having first received a CP(CFG_REQUEST) from the initiator
    pub(crate) fn reply(&self, pools: &[Arc<Pool>], leased: &[Leased]) -> Payload<'static> {
        let mut out: Vec<CfgAttribute<'static>> = self.reply_addresses(leased);
        // What goes with the addresses is said by the pools that they come from.
        let used = |pool: &&Arc<Pool>| leased.is_empty() || leased.iter().any(|l| Arc::ptr_eq(&l.pool, pool));
        let pools: Vec<&Arc<Pool>> = pools.iter().filter(used).collect();
        let has = |kind| self.kinds.contains(&kind);
        let split = has(CfgAttributeType::INTERNAL_DNS_DOMAIN) || has(CfgAttributeType::INTERNAL_DNSSEC_TA);
        let domains: Vec<&Domain> = match split && pools.iter().any(|pool| !pool.dns.is_empty()) {
            true => pools.iter().flat_map(|pool| &pool.domains).collect(),
            false => Vec::new(),
        };
        // Domains without a server that was asked for: those that there are.
        let asked = |server: &IpAddr| match server {
            IpAddr::V4(_) => has(CfgAttributeType::INTERNAL_IP4_DNS),
            IpAddr::V6(_) => has(CfgAttributeType::INTERNAL_IP6_DNS),
        };
        let force = !domains.is_empty() && !pools.iter().flat_map(|pool| &pool.dns).any(asked);
        for pool in &pools {
            for (servers, v4, v6) in [
                (&pool.dns, CfgAttributeType::INTERNAL_IP4_DNS, CfgAttributeType::INTERNAL_IP6_DNS),
                (&pool.nbns, CfgAttributeType::INTERNAL_IP4_NBNS, CfgAttributeType::INTERNAL_IP6_NBNS),
                (&pool.dhcp, CfgAttributeType::INTERNAL_IP4_DHCP, CfgAttributeType::INTERNAL_IP6_DHCP),
            ] {
                //= rfc8598 §3.2
                //# If an INTERNAL_DNS_DOMAIN attribute is included in the CFG_REPLY, the responder MUST also include
                //# one or both of the INTERNAL_IP4_DNS and INTERNAL_IP6_DNS attributes in the CFG_REPLY.
                let wanted = |kind| has(kind) || (force && v4 == CfgAttributeType::INTERNAL_IP4_DNS);
                let servers = servers.iter().map(|server| match server {
                    IpAddr::V4(server) => (v4, CfgValue::Ip4(*server)),
                    IpAddr::V6(server) => (v6, CfgValue::Ip6(*server)),
                });
                let servers = servers.filter(|(kind, _)| wanted(*kind));
                out.extend(servers.map(|(kind, value)| CfgAttribute::new(kind, &value)));
            }
            out.extend(pool.subnets.iter().filter_map(subnet));
        }
        for domain in domains {
            let name = CfgValue::Text(domain.name.to_string());
            out.push(CfgAttribute::new(CfgAttributeType::INTERNAL_DNS_DOMAIN, &name));
            //= rfc8598 §4.2
            //# Each INTERNAL_DNSSEC_TA attribute in the CFG_REPLY payload MUST immediately follow a corresponding
            //# INTERNAL_DNS_DOMAIN attribute.
            let anchors = domain.anchors.iter().filter(|_| has(CfgAttributeType::INTERNAL_DNSSEC_TA));
            out.extend(anchors.map(|a| {
                let value = CfgValue::Anchor(a.key_tag, a.algorithm, a.digest_type, a.digest.clone());
                CfgAttribute::new(CfgAttributeType::INTERNAL_DNSSEC_TA, &value)
            }));
        }
        if has(CfgAttributeType::SUPPORTED_ATTRIBUTES) {
            let value = CfgValue::Types(SUPPORTED.to_vec());
            out.push(CfgAttribute::new(CfgAttributeType::SUPPORTED_ATTRIBUTES, &value));
        }
        out.truncate(wire::limits::MAX_CFG_ATTRIBUTES);
        payload(CfgType::REPLY, out)
    }

    fn reply_addresses(&self, leased: &[Leased]) -> Vec<CfgAttribute<'static>> {
        let mut out = Vec::new();
        let prefix = leased.iter().find(|leased| is_prefix(leased));
        if let (Some((theirs, _)), Some(Leased { address: IpAddr::V6(id), .. })) = (&self.link, prefix) {
            //= rfc5739 §4.1
            //# The VPN gateway MUST choose for itself a link-local interface identifier different than the client's
            let one = |last| [0, 0, 0, 0, 0, 0, 0, last];
            let ours = if *theirs == one(1) { one(2) } else { one(1) };
            let value = CfgValue::Link(ours, id.octets().to_vec());
            out.push(CfgAttribute::new(CfgAttributeType::INTERNAL_IP6_LINK, &value));
        }
        out.extend(leased.iter().map(|leased| match leased.address {
            IpAddr::V6(prefix) if is_prefix(leased) => {
                let value = CfgValue::Net6(prefix, leased.prefix_len);
                CfgAttribute::new(CfgAttributeType::INTERNAL_IP6_PREFIX, &value)
            }
            host => address(host, 128),
        }));
        out
    }
}

fn is_prefix(leased: &Leased) -> bool {
    leased.address.is_ipv6() && leased.prefix_len < 128
}

fn subnet(range: &AddressRange) -> Option<CfgAttribute<'static>> {
    let len = range.prefix_len()?;
    Some(match range.start() {
        IpAddr::V4(start) => {
            CfgAttribute::new(CfgAttributeType::INTERNAL_IP4_SUBNET, &CfgValue::Net4(start, len))
        }
        IpAddr::V6(start) => {
            CfgAttribute::new(CfgAttributeType::INTERNAL_IP6_SUBNET, &CfgValue::Net6(start, len))
        }
    })
}

/// Reads a CFG_REPLY; what our policy does not take is passed over.
pub(crate) fn read_reply(wanted: &Configuration, contents: &Contents<'_>) -> Option<Received> {
    let reply = contents.cp.iter().find(|cp| cp.kind == CfgType::REPLY)?;
    if wanted.vips.is_empty() {
        return None;
    }
    let mut received = Received::default();
    // The domain that a trust anchor here belongs to.
    let mut domain: Option<usize> = None;
    for attribute in &reply.attributes {
        let before = domain.take();
        let Some(value) = attribute.decode() else { continue };
        match (attribute.kind, value) {
            (CfgAttributeType::INTERNAL_IP4_ADDRESS, CfgValue::Ip4(ip)) => {
                take_address(&mut received, wanted, ip.into());
            }
            (CfgAttributeType::INTERNAL_IP6_ADDRESS, CfgValue::Net6(ip, _)) => {
                take_address(&mut received, wanted, ip.into());
            }
            (CfgAttributeType::INTERNAL_IP4_DNS, CfgValue::Ip4(ip)) => put(&mut received.dns, ip.into()),
            (CfgAttributeType::INTERNAL_IP6_DNS, CfgValue::Ip6(ip)) => put(&mut received.dns, ip.into()),
            (CfgAttributeType::INTERNAL_IP4_NBNS, CfgValue::Ip4(ip)) => put(&mut received.nbns, ip.into()),
            (CfgAttributeType::INTERNAL_IP6_NBNS, CfgValue::Ip6(ip)) => put(&mut received.nbns, ip.into()),
            (CfgAttributeType::INTERNAL_IP4_DHCP, CfgValue::Ip4(ip)) => put(&mut received.dhcp, ip.into()),
            (CfgAttributeType::INTERNAL_IP6_DHCP, CfgValue::Ip6(ip)) => put(&mut received.dhcp, ip.into()),
            (CfgAttributeType::INTERNAL_IP4_SUBNET, CfgValue::Net4(ip, len)) => {
                AddressRange::from_prefix(ip.into(), len)
                    .into_iter()
                    .for_each(|net| put(&mut received.subnets, net));
            }
            (CfgAttributeType::INTERNAL_IP6_SUBNET, CfgValue::Net6(ip, len)) => {
                AddressRange::from_prefix(ip.into(), len)
                    .into_iter()
                    .for_each(|net| put(&mut received.subnets, net));
            }
            (CfgAttributeType::INTERNAL_DNS_DOMAIN, CfgValue::Text(name)) => {
                domain = take_domain(&mut received, wanted, &name);
            }
            (
                CfgAttributeType::INTERNAL_DNSSEC_TA,
                CfgValue::Anchor(key_tag, algorithm, digest_type, digest),
            ) => {
                domain = before;
                let anchor = TrustAnchor { key_tag, algorithm, digest_type, digest };
                take_anchor(&mut received, wanted, before, anchor);
            }
            _ => {}
        }
    }
    //= rfc8598 §2
    //# These attributes MUST be accompanied by one or more INTERNAL_IP4_DNS or INTERNAL_IP6_DNS configuration
    //# attributes.
    if received.dns.is_empty() {
        received.domains.clear();
    }
    Some(received)
}

fn put<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if list.len() < limits::MAX_RECEIVED && !list.contains(&value) {
        list.push(value);
    }
}

//= rfc7296 §3.15.1
//# The responder MAY only send up to the number of addresses requested.
fn take_address(received: &mut Received, wanted: &Configuration, address: IpAddr) {
    let of_family = |list: &[IpAddr]| list.iter().filter(|a| a.is_ipv4() == address.is_ipv4()).count();
    let usable = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
    if usable && of_family(&received.addresses) < of_family(&wanted.vips) {
        put(&mut received.addresses, address);
    }
}

//= rfc8598 §5
//# If a client is configured by local policy to only accept a limited set of INTERNAL_DNS_DOMAIN values, the client
//# MUST ignore any other INTERNAL_DNS_DOMAIN values.
fn take_domain(received: &mut Received, wanted: &Configuration, name: &str) -> Option<usize> {
    let name = DnsName::new(name).filter(|name| wanted.split_dns.allows(name))?;
    if let Some(index) = received.domains.iter().position(|domain| domain.name == name) {
        return Some(index);
    }
    if received.domains.len() >= limits::MAX_RECEIVED {
        return None;
    }
    received.domains.push(Domain { name, anchors: Vec::new() });
    Some(received.domains.len() - 1)
}

//= rfc8598 §6
//# IKE clients willing to accept INTERNAL_DNSSEC_TA attributes MUST use a whitelist of one or more domains that can be
//# updated out of band. IKE clients with an empty whitelist MUST NOT use any INTERNAL_DNSSEC_TA attributes received
//# over IKE. […] IKE clients MUST ignore any received INTERNAL_DNSSEC_TA attributes for a Fully Qualified Domain Name
//# (FQDN) for which it did not receive and accept an INTERNAL_DNS_DOMAIN Configuration Payload.
//= rfc8598 §4.2
//# Any INTERNAL_DNSSEC_TA attribute that is not immediately preceded by an INTERNAL_DNS_DOMAIN or another
//# INTERNAL_DNSSEC_TA attribute applying to the same domain name MUST be ignored.
fn take_anchor(received: &mut Received, wanted: &Configuration, of: Option<usize>, anchor: TrustAnchor) {
    let Some(domain) = of.and_then(|index| received.domains.get_mut(index)) else { return };
    let allowed = wanted.dnssec_anchors.iter().any(|above| domain.name.is_within(above));
    if allowed && anchor.is_whole() {
        put(&mut domain.anchors, anchor);
    }
}

impl Agreed {
    /// As client, once the response to IKE_AUTH is read: the connection with our addresses in it, or why we have
    /// none. `None`: none were asked for.
    //= rfc7296 §3.15.4
    //# If the initiator requires the assignment of an IP address, it will treat a response without CFG_REPLY as an
    //# error.
    pub(crate) fn with_addresses(
        &mut self,
        connection: &Connection,
    ) -> Option<Result<Arc<Connection>, String>> {
        if connection.configuration.vips.is_empty() {
            return None;
        }
        let received = self.received.as_deref().filter(|received| !received.addresses.is_empty());
        let Some(received) = received else {
            self.received = None;
            let reason = "The peer did not give us the address that `vips` asks for: give it `pools`, or remove `vips`.";
            return Some(Err(reason.to_string()));
        };
        let own = received.addresses.iter().map(|ip| Selector::addresses(AddressRange::host(*ip)));
        Some(Ok(filled_in(connection, &own.collect::<Vec<_>>(), &[])))
    }

    /// Whose word on names counts, and for what.
    //= rfc8598 §2
    //# If the negotiated IPsec connection is not a split-tunnel configuration, the INTERNAL_DNS_DOMAIN and
    //# INTERNAL_DNSSEC_TA Configuration Payloads MUST be ignored.
    //= rfc8598 §8
    //# if IKEv2 is being negotiated with an anonymous or unknown endpoint […], the initiator MUST ignore Split DNS
    //# configurations assigned by the responder.
    pub(crate) fn restrict_names(&mut self, peer: &Identity, traffic: &[Selector]) {
        let whole = traffic.iter().any(|selector| selector.addresses.prefix_len() == Some(0));
        if let Some(received) = self.received.as_deref_mut()
            && (whole || *peer == Identity::Null)
        {
            received.domains.clear();
        }
    }
}

/// The part of our own traffic that is of our addresses in the peer's network, for a child whose own side is
/// `dynamic`: what else the answer allows, other hosts may have.
pub(crate) fn clip(local: &[Selector], addresses: &[Selector]) -> Vec<Selector> {
    addresses.iter().flat_map(|own| local.iter().filter_map(|selector| selector.intersect(own))).collect()
}

/// What an IKE SA holds for its peer, and from it. Its successor takes it over as a whole.
#[derive(Debug, Default)]
pub(crate) struct Leases(Option<Box<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// In whose names the keeper has what we gave.
    jobs: Vec<JobId>,
    leased: Vec<Leased>,
    received: Option<Arc<Received>>,
    resolver: Option<JobId>,
    /// Addresses that are being set on this host.
    assigning: Vec<(JobId, IpAddr)>,
}

impl Leases {
    fn held(&mut self) -> &mut Held {
        self.0.get_or_insert_default()
    }

    /// That job holds something, or will.
    pub(crate) fn asked(&mut self, job: JobId) {
        self.held().jobs.push(job);
    }

    /// The peer has these.
    pub(crate) fn gave(&mut self, leased: &[Leased]) {
        self.held().leased.extend_from_slice(leased);
    }

    /// What the peer has.
    pub(crate) fn leased(&self) -> &[Leased] {
        self.0.as_ref().map_or(&[], |held| &held.leased)
    }

    /// What we have.
    pub(crate) fn received(&self) -> Option<&Arc<Received>> {
        self.0.as_ref()?.received.as_ref()
    }

    /// The peer gave us this: it is set on this host.
    pub(crate) fn apply(&mut self, sa: &Common, cx: &mut Cx<'_>, connection: &str, received: Received) {
        let received = Arc::new(received);
        let held = self.held();
        for address in &received.addresses {
            held.assigning.push((cx.out.dataplane(sa.id, Op::Assign(*address)), *address));
        }
        if received.concerns_resolver() {
            let (connection, received) = (connection.to_string(), received.clone());
            held.resolver = Some(cx.out.job(sa.id, Job::UseResolver { connection, received }));
        }
        let list: Vec<String> = received.addresses.iter().map(IpAddr::to_string).collect();
        cx.reach(Branch::LeaseApplied);
        cx.note(sa.id, format!("Our address in the peer's network is {}.", list.join(", ")));
        held.received = Some(received);
    }

    /// An operation of the data plane is done; true when it was about an address.
    pub(crate) fn assigned(
        &mut self,
        sa: &Common,
        cx: &mut Cx<'_>,
        job: JobId,
        failure: Option<&str>,
    ) -> bool {
        let Some(held) = &mut self.0 else { return false };
        let Some(index) = held.assigning.iter().position(|(assigning, _)| *assigning == job) else {
            return false;
        };
        let (_, address) = held.assigning.swap_remove(index);
        if let Some(why) = failure {
            cx.note(sa.id, format!("The address {address} could not be set on this host: {why}"));
        }
        true
    }

    /// The IKE SA ends: all goes back.
    //= rfc7296 §3.15.1
    //# The requested address is valid as long as this IKE SA (or its rekeyed successors) requesting the address is
    //# valid.
    //= rfc8598 §5
    //# When an IKE Security Association (SA) is terminated, the DNS forwarding MUST be unconfigured.
    pub(crate) fn release(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        let Some(held) = self.0.take() else { return };
        for job in held.jobs {
            cx.reach(Branch::LeaseReturned);
            cx.out.job(sa.id, Job::Release(job));
        }
        if let Some(job) = held.resolver {
            cx.out.job(sa.id, Job::DropResolver(job));
        }
        for address in held.received.iter().flat_map(|received| &received.addresses) {
            cx.out.dataplane(sa.id, Op::Unassign(*address));
        }
    }
}
