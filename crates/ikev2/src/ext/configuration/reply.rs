//! What a gateway answers by CFG_REPLY, as its client takes it.

use crate::contents::Contents;
use crate::limits;
use dataplane::AddressRange;
use policy::{Configuration, DnsName, Domain, TrustAnchor};
use sa::{Link, Memory, Received};
use std::net::IpAddr;
use wire::CfgValue;
use wire::num::{CfgAttributeType, CfgType};

/// Reads a CFG_REPLY; what our policy does not take is passed over.
pub(super) fn read_reply(
    wanted: &Configuration,
    memory: &Memory,
    contents: &Contents<'_>,
) -> Option<Received> {
    let reply = contents.cp.iter().find(|cp| cp.kind == CfgType::REPLY)?;
    if !wanted.asks() {
        return None;
    }
    let mut received = Received::default();
    let mut prefixes = Vec::new();
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
            (CfgAttributeType::INTERNAL_IP6_LINK, CfgValue::Link(theirs, id)) => {
                received.link = take_link(wanted, memory, theirs, id);
            }
            (CfgAttributeType::INTERNAL_IP6_PREFIX, CfgValue::Net6(ip, len)) => {
                //= rfc5739 §5.2
                //# The low-order bits of the prefix field that are not part of the prefix MUST be set to zero by the
                //# sender and MUST be ignored by the receiver.
                AddressRange::from_prefix(ip.into(), len).into_iter().for_each(|net| put(&mut prefixes, net));
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
    settle_link(&mut received, prefixes);
    Some(received)
}

/// The link that the peer grants. An interface identifier that is ours, or none, is no link.
fn take_link(wanted: &Configuration, memory: &Memory, theirs: [u8; 8], id: Vec<u8>) -> Option<Link> {
    let (interface, _) = memory.link.as_ref().filter(|_| wanted.link)?;
    let usable = theirs != *interface && theirs != [0; 8] && id.len() <= limits::MAX_LINK_ID;
    usable.then(|| Link { interface: *interface, id, prefixes: Vec::new() })
}

/// With a link our IPv6 addresses are those of its prefixes, and the link-local one.
//= rfc5739 §4.1
//# At this point, the client can configure its link-local address (FE80::<Client's Interface ID>) and other non-link-local
//# unicast addresses from the assigned prefixes
//= rfc5739 §4.5
//# The mechanism described in this document is not intended to be used at the same time as the existing INTERNAL_IP6_ADDRESS
//# attribute.
fn settle_link(received: &mut Received, prefixes: Vec<AddressRange>) {
    let Some(link) = &mut received.link else { return };
    received.addresses.retain(IpAddr::is_ipv4);
    received.addresses.extend(prefixes.iter().filter_map(|net| policy::address_in(net, link.interface)));
    received.addresses.push(policy::link_local(link.interface));
    link.prefixes = prefixes;
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
