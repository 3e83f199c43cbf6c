//! What a client asks for by CFG_REQUEST, and what a gateway answers.

use super::{SUPPORTED, address, payload};
use crate::contents::Contents;
use dataplane::{AddressRange, Selector};
use policy::{Domain, Identity, Leased, Pool};
use sa::LeaseRequest;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use wire::num::{CfgAttributeType, CfgType, NotifyType};
use wire::{CfgAttribute, CfgValue, Notify, Payload};

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

    /// What fulfils it of what the peer has, and what is left to be fulfilled.
    fn split(&self, held: &[Leased]) -> (Vec<Leased>, Self) {
        let mut free: Vec<&Leased> = held.iter().filter(|leased| !is_prefix(leased)).collect();
        let (mut found, mut left) = (Vec::new(), Self { addresses: Vec::new(), ..self.clone() });
        for wish in &self.addresses {
            let fits = |leased: &&Leased| match wish.is_unspecified() {
                true => leased.address.is_ipv4() == wish.is_ipv4(),
                false => leased.address == *wish,
            };
            match free.iter().position(fits) {
                Some(index) => found.push(free.remove(index).clone()),
                None => left.addresses.push(*wish),
            }
        }
        if let (Some(_), Some(prefix)) = (&self.link, held.iter().find(|leased| is_prefix(leased))) {
            found.push(prefix.clone());
            left.link = None;
        }
        (found, left)
    }

    /// What fulfils it of what the peer has.
    pub(crate) fn of(&self, held: &[Leased]) -> Vec<Leased> {
        self.split(held).0
    }

    /// What of it the peer does not have.
    pub(crate) fn without(&self, held: &[Leased]) -> Self {
        self.split(held).1
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
        //= rfc7296 §2.20
        //# An IKE implementation MAY decline to give out version information […]. In that case, it MUST either return an
        //# empty string or no CP payload if CP is not supported.
        if has(CfgAttributeType::APPLICATION_VERSION) {
            out.push(CfgAttribute::new(CfgAttributeType::APPLICATION_VERSION, &CfgValue::Empty));
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

pub(super) fn is_prefix(leased: &Leased) -> bool {
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
