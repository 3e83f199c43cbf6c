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

mod asked;
mod leases;
mod reply;

pub(crate) use asked::Asked;
pub(crate) use leases::Leases;

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use dataplane::{AddressRange, Mode, Selector};
use policy::{Configuration, Connection, Identity, SplitDns};
use reply::read_reply;
use sa::{Memory, Received, Refusal, RefusalKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use wire::num::{CfgAttributeType, CfgType, NotifyType};
use wire::{CfgAttribute, CfgValue, Payload};

pub(crate) struct ConfigurationPayload;

/// The attributes that we understand (SUPPORTED_ATTRIBUTES).
const SUPPORTED: &[CfgAttributeType] = &[
    CfgAttributeType::INTERNAL_IP4_ADDRESS,
    CfgAttributeType::INTERNAL_IP4_DNS,
    CfgAttributeType::INTERNAL_IP4_NBNS,
    CfgAttributeType::INTERNAL_IP4_DHCP,
    CfgAttributeType::APPLICATION_VERSION,
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
            out.extend(request(&facts.connection.configuration, &facts.agreed.memory));
        }
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        match moment {
            Moment::AuthRequest => agreed.asked = Asked::read(contents).map(Arc::new),
            Moment::AuthResponse => {
                agreed.received =
                    read_reply(&facts.connection.configuration, &facts.agreed.memory, contents).map(Box::new);
                let says = (contents.has(NotifyType::IP4_ALLOWED), contents.has(NotifyType::IP6_ALLOWED));
                agreed.families = Some(says).filter(|(v4, v6)| *v4 || *v6);
            }
            Moment::InitRequest
            | Moment::InitResponse
            | Moment::Intermediate
            | Moment::FirstAuthResponse
            | Moment::Told
            | Moment::Heard
            | Moment::Renewed => {}
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
pub(crate) fn request(wanted: &Configuration, memory: &Memory) -> Option<Payload<'static>> {
    if !wanted.asks() {
        return None;
    }
    let vips = wishes(wanted, memory);
    let mut attributes: Vec<CfgAttribute<'static>> = vips.iter().map(|vip| address(*vip, 64)).collect();
    let mut ask = |kind| attributes.push(CfgAttribute::new(kind, &CfgValue::Empty));
    if vips.iter().any(IpAddr::is_ipv4) {
        ask(CfgAttributeType::INTERNAL_IP4_DNS);
    }
    if vips.iter().any(IpAddr::is_ipv6) || wanted.link {
        ask(CfgAttributeType::INTERNAL_IP6_DNS);
    }
    if wanted.split_dns != SplitDns::None {
        ask(CfgAttributeType::INTERNAL_DNS_DOMAIN);
        if !wanted.dnssec_anchors.is_empty() {
            ask(CfgAttributeType::INTERNAL_DNSSEC_TA);
        }
    }
    //= rfc5739 §4.1
    //# During IKE_AUTH, the client sends a new configuration attribute, INTERNAL_IP6_LINK, which requests a virtual link to
    //# be configured. The attribute contains the client's interface ID for the link-local address
    //= rfc5739 §4.2
    //# When the client performs reauthentication […], it includes the IKEv2 Link ID given by the gateway
    //= rfc5739 §4.5
    //# For compatibility with gateways implementing only INTERNAL_IP6_ADDRESS, the VPN client MAY include attributes for both
    //# mechanisms in CFG_REQUEST.
    if let Some((interface, id)) = memory.link.as_ref().filter(|_| wanted.link) {
        ask(CfgAttributeType::INTERNAL_IP6_DHCP);
        let value = CfgValue::Link(*interface, id.clone());
        attributes.push(CfgAttribute::new(CfgAttributeType::INTERNAL_IP6_LINK, &value));
    }
    Some(payload(CfgType::REQUEST, attributes))
}

/// The addresses to ask for: where any will do, the one that we had; none of a family that the peer does not have, unless
/// nothing would be left. Then somebody has ordered it: by itself it is not tried again ([`without_families`]).
//= rfc8983 §5
//# If the initiator is dual stack […], it MUST include configuration attributes for both address families in its
//# configuration request (absent explicit policy/configuration otherwise).
//= rfc8983 §5
//# If the initiator only receives one single IP4_ALLOWED or IP6_ALLOWED notification from the responder, the initiator
//# MUST NOT send a subsequent request for an alternate address family not supported by the responder.
//= rfc7296 §3.15.1
//# If a specific address is requested, it likely indicates that a previous connection existed with this address and the
//# requestor would like to reuse that address.
fn wishes(wanted: &Configuration, memory: &Memory) -> Vec<IpAddr> {
    let allowed = |vip: &&IpAddr| memory.families.is_none_or(|families| has(families, **vip));
    let mut vips: Vec<IpAddr> = wanted.vips.iter().filter(allowed).copied().collect();
    if vips.is_empty() {
        vips.clone_from(&wanted.vips);
    }
    let mut had = memory.addresses.clone();
    had.retain(|address| !vips.contains(address));
    for vip in vips.iter_mut().filter(|vip| vip.is_unspecified()) {
        if let Some(index) = had.iter().position(|address| address.is_ipv4() == vip.is_ipv4()) {
            *vip = had.remove(index);
        }
    }
    vips
}

/// Whether a peer with these families has addresses such as `address`.
fn has((v4, v6): (bool, bool), address: IpAddr) -> bool {
    if address.is_ipv4() { v4 } else { v6 }
}

/// A peer that has no address for us has none of the families that we ask for: what to change. Asking for others than
/// `vips` says is not ours to decide.
//= rfc8983 §5
//# If a dual-stack initiator requests only an IPv6 prefix (or an IPv4 address) but only receives an IP4_ALLOWED (or
//# IP6_ALLOWED) notification status type from the responder, the initiator MUST send a request for IPv4 address(es) (or
//# IPv6 prefix(es)).
pub(crate) fn without_families(wanted: &Configuration, agreed: &Agreed, refusal: &mut Refusal) {
    let Some(families) = agreed.families.filter(|_| refusal.kind == RefusalKind::NoAddress) else { return };
    if !wanted.asks() || wanted.link && families.1 || wanted.vips.iter().any(|vip| has(families, *vip)) {
        return;
    }
    let (family, vip) = if families.0 { ("IPv4", "0.0.0.0") } else { ("IPv6", "::") };
    refusal.kind = RefusalKind::NoAddressFamily;
    refusal.reason.push_str(&format!(" It has {family} addresses only (RFC 8983): set `vips = \"{vip}\"`."));
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
    let asked = |any: IpAddr| connection.configuration.asks_for(any);
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
        if !connection.configuration.asks() {
            return None;
        }
        let received = self.received.as_deref().filter(|received| !received.addresses.is_empty());
        let Some(received) = received else {
            self.received = None;
            let reason = "The peer did not give us the address that `vips` asks for: give it `pools`, or remove `vips`.";
            return Some(Err(reason.to_string()));
        };
        Some(Ok(filled_in(connection, &own_selectors(received), &[])))
    }

    /// Whose word on names counts, and for what.
    //= rfc8598 §2
    //# If the negotiated IPsec connection is not a split-tunnel configuration, the INTERNAL_DNS_DOMAIN and
    //# INTERNAL_DNSSEC_TA Configuration Payloads MUST be ignored.
    //= rfc8598 §8
    //# if IKEv2 is being negotiated with an anonymous or unknown endpoint […], the initiator MUST ignore Split DNS
    //# configurations assigned by the responder.
    pub(crate) fn restrict_names(&mut self, peer: &Identity, traffic: &[Selector]) {
        let everything = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let mut everything = everything.into_iter().filter_map(|any| AddressRange::from_prefix(any, 0));
        let whole = everything.any(|all| policy::within(&Selector::addresses(all), traffic));
        if let Some(received) = self.received.as_deref_mut()
            && (whole || *peer == Identity::Null)
        {
            received.domains.clear();
        }
    }
}

/// The traffic of what the peer gave us: of a link all its prefixes and its link-local address, else single addresses.
fn own_selectors(received: &Received) -> Vec<Selector> {
    let prefixes =
        received.link.iter().flat_map(|link| link.prefixes.iter().copied().map(Selector::addresses));
    let hosts = received.addresses.iter().map(|ip| Selector::addresses(AddressRange::host(*ip)));
    let mut all: Vec<Selector> = prefixes.collect();
    for host in hosts {
        if !all.iter().any(|selector| selector.covers(&host)) {
            all.push(host);
        }
    }
    all
}

/// The part of our own traffic that is of our addresses in the peer's network, for a child whose own side is
/// `dynamic`: what else the answer allows, other hosts may have.
pub(crate) fn clip(local: &[Selector], addresses: &[Selector]) -> Vec<Selector> {
    addresses.iter().flat_map(|own| local.iter().filter_map(|selector| selector.intersect(own))).collect()
}
