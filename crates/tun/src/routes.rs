//! Routes that lead a child's traffic into the device, in a table of our own, and the rules that lead to it.
//!
//! A rule applies to packets whose source lies in a child's local selectors, and to those that have no
//! source yet; packets that carry our own mark pass it by, so that ESP itself (and IKE) takes the ordinary
//! routes even where the tunnel takes everything.

use crate::limits::MAX_PREFIXES;
use crate::netlink::Netlink;
use dataplane::{AddressRange, ChildId, Selector, TrapId};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `FIB_RULE_FIND_SADDR`: an IPv6 lookup without a source has one chosen, which must then match the rule.
const FIND_SOURCE: u32 = 0x0001_0000;

/// The least MTU that the kernel takes for a route, by family.
const MIN_MTU_V4: u32 = 552;
const MIN_MTU_V6: u32 = 1280;

/// An address and a prefix length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Prefix {
    pub(crate) address: IpAddr,
    pub(crate) len: u8,
}

/// Where the routes stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) device: u32,
    pub(crate) table: u32,
    pub(crate) priority: u32,
    pub(crate) mark: u32,
}

/// Who needs routes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Owner {
    Child(ChildId),
    Trap(TrapId),
    Drop(TrapId),
}

/// All routes and rules of one engine.
pub(crate) struct Routes {
    netlink: Netlink,
    place: Place,
    routes: BTreeMap<Prefix, u32>,
    rules: BTreeMap<Prefix, u32>,
    by_owner: BTreeMap<Owner, Wanted>,
    /// Addresses of this host in its peers' networks, and how often each was assigned.
    addresses: BTreeMap<IpAddr, u32>,
}

/// What a child, a trap or a shunt that drops needs: routes to the peer's side, rules for ours.
#[derive(Clone, Default)]
struct Wanted {
    mtu: u32,
    routes: Vec<Prefix>,
    rules: Vec<Prefix>,
    source: Vec<AddressRange>,
    /// Whether a route that is there already stays as it is: its MTU and its source are those of a child.
    yields: bool,
}

impl Wanted {
    /// The source address for what this machine itself sends to `to`: one of its own inside our selectors.
    fn hint(&self, to: Prefix, local: &[IpAddr]) -> Option<IpAddr> {
        let same = |ip: &&IpAddr| ip.is_ipv4() == to.address.is_ipv4();
        let inside = |ip: &&IpAddr| self.source.iter().any(|range| range.contains(**ip));
        local.iter().filter(same).find(inside).copied()
    }
}

impl Routes {
    /// Routes and rules at `place`; rules that a process left there which could not clean up are removed.
    pub(crate) fn new(netlink: Netlink, place: Place) -> Self {
        let (routes, rules, by_owner, addresses) = Default::default();
        let mut all = Self { netlink, place, routes, rules, by_owner, addresses };
        all.remove_leftovers();
        all
    }

    fn remove_leftovers(&mut self) {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut all = RuleMessage::default();
            all.header.family = family;
            for answer in self.netlink.dump(RouteNetlinkMessage::GetRule(all)).unwrap_or_default() {
                let RouteNetlinkMessage::NewRule(rule) = answer else { continue };
                let has = |attribute| rule.attributes.contains(&attribute);
                let ours = has(RuleAttribute::Priority(self.place.priority))
                    && has(RuleAttribute::Table(self.place.table));
                if ours {
                    // What cannot be removed leads to an empty table.
                    let _ = self.netlink.change(RouteNetlinkMessage::DelRule(rule));
                }
            }
        }
    }

    /// Adds what a child, a trap or a shunt that drops with these selectors needs; packets longer than `mtu` the kernel answers (or cuts)
    /// by itself. On an error nothing of it stays.
    pub(crate) fn add(
        &mut self,
        owner: Owner,
        (ours, theirs): (&[Selector], &[Selector]),
        mtu: u32,
    ) -> io::Result<()> {
        let local = self.local_addresses().unwrap_or_default();
        let source = ours.iter().map(|ts| ts.addresses).collect();
        let yields = matches!(owner, Owner::Drop(_));
        let mut wanted = Wanted { mtu, routes: prefixes(theirs)?, rules: prefixes(ours)?, source, yields };
        if wanted.routes.iter().any(|to| to.address.is_ipv4() && wanted.hint(*to, &local).is_some()) {
            wanted.rules = with_unbound(wanted.rules);
        }
        let mut done = Wanted { mtu, source: wanted.source.clone(), yields, ..Wanted::default() };
        let result = self.add_all(&wanted, &local, &mut done);
        if result.is_err() {
            self.drop_all(&done);
        } else {
            self.by_owner.insert(owner, done);
        }
        result
    }

    /// The path of a child got another MTU.
    pub(crate) fn set_mtu(&mut self, owner: Owner, mtu: u32) -> io::Result<()> {
        let Some(wanted) = self.by_owner.get_mut(&owner) else { return Ok(()) };
        if wanted.mtu == mtu {
            return Ok(());
        }
        wanted.mtu = mtu;
        let wanted = wanted.clone();
        let local = self.local_addresses().unwrap_or_default();
        for &prefix in &wanted.routes {
            let route = self.route(prefix, Some(mtu), wanted.hint(prefix, &local));
            self.netlink.replace(RouteNetlinkMessage::NewRoute(route))?;
        }
        Ok(())
    }

    /// Removes what only this one needed.
    pub(crate) fn remove(&mut self, owner: Owner) {
        if let Some(wanted) = self.by_owner.remove(&owner) {
            self.drop_all(&wanted);
        }
    }

    fn add_all(&mut self, wanted: &Wanted, local: &[IpAddr], done: &mut Wanted) -> io::Result<()> {
        for &prefix in &wanted.routes {
            let hint = wanted.hint(prefix, local);
            // A child that replaces another may have another MTU: the newest counts.
            if !wanted.yields || !self.routes.contains_key(&prefix) {
                let route = self.route(prefix, Some(wanted.mtu), hint);
                self.netlink.replace(RouteNetlinkMessage::NewRoute(route))?;
            }
            *self.routes.entry(prefix).or_default() += 1;
            done.routes.push(prefix);
        }
        for &prefix in &wanted.rules {
            let users = self.rules.get(&prefix).copied().unwrap_or(0);
            if users == 0 {
                // One that is there already serves as well.
                match self.netlink.add(RouteNetlinkMessage::NewRule(self.rule(prefix))) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            self.rules.insert(prefix, users + 1);
            done.rules.push(prefix);
        }
        Ok(())
    }

    /// Removal cannot be refused in a way that we could mend; what is gone already is gone.
    fn drop_all(&mut self, wanted: &Wanted) {
        for prefix in &wanted.rules {
            if release(&mut self.rules, prefix) {
                let _ = self.netlink.change(RouteNetlinkMessage::DelRule(self.rule(*prefix)));
            }
        }
        for prefix in &wanted.routes {
            if release(&mut self.routes, prefix) {
                let _ = self.netlink.change(RouteNetlinkMessage::DelRoute(self.route(*prefix, None, None)));
            }
        }
    }

    fn route(&self, to: Prefix, mtu: Option<u32>, hint: Option<IpAddr>) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.address_family = family(to.address);
        route.header.destination_prefix_length = to.len;
        route.header.protocol = RouteProtocol::Static;
        route.header.kind = RouteType::Unicast;
        route.header.scope = if to.address.is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
        route.attributes.push(RouteAttribute::Table(self.place.table));
        route.attributes.push(RouteAttribute::Oif(self.place.device));
        if to.len > 0 {
            route.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.address)));
        }
        if let Some(hint) = hint {
            route.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(hint)));
        }
        if let Some(mtu) = mtu {
            let least = if to.address.is_ipv4() { MIN_MTU_V4 } else { MIN_MTU_V6 };
            route.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.max(least))]));
        }
        route
    }

    fn rule(&self, from: Prefix) -> RuleMessage {
        let mut rule = RuleMessage::default();
        rule.header.family = family(from.address);
        rule.header.action = RuleAction::ToTable;
        if from.address.is_ipv6() {
            rule.header.flags = RuleFlags::from_bits_retain(FIND_SOURCE);
        }
        if self.place.mark != 0 {
            // Only packets without our mark.
            rule.attributes.push(RuleAttribute::FwMark(0));
            rule.attributes.push(RuleAttribute::FwMask(self.place.mark));
        }
        rule.attributes.push(RuleAttribute::Priority(self.place.priority));
        rule.attributes.push(RuleAttribute::Table(self.place.table));
        if from.len > 0 {
            rule.header.src_len = from.len;
            rule.attributes.push(RuleAttribute::Source(from.address));
        }
        rule
    }

    /// Sets an address on the device.
    pub(crate) fn assign(&mut self, address: IpAddr) -> io::Result<()> {
        let users = self.addresses.get(&address).copied().unwrap_or(0);
        if users == 0 {
            match self.netlink.add(RouteNetlinkMessage::NewAddress(address_on(self.place.device, address))) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.addresses.insert(address, users + 1);
        Ok(())
    }

    /// Takes it away again, when nobody else has assigned it. What is gone already is gone.
    pub(crate) fn unassign(&mut self, address: IpAddr) {
        let Some(users) = self.addresses.get_mut(&address) else { return };
        *users -= 1;
        if *users == 0 {
            self.addresses.remove(&address);
            let _ =
                self.netlink.change(RouteNetlinkMessage::DelAddress(address_on(self.place.device, address)));
        }
    }

    /// The machine's own addresses.
    fn local_addresses(&mut self) -> io::Result<Vec<IpAddr>> {
        let answers = self.netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let addresses = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => {
                message.attributes.into_iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(ip) => Some(ip),
                    AddressAttribute::Address(ip) if ip.is_ipv6() => Some(ip),
                    _ => None,
                })
            }
            _ => None,
        });
        Ok(addresses.filter(|ip| !ip.is_loopback()).collect())
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        let owners: Vec<Owner> = self.by_owner.keys().copied().collect();
        for owner in owners {
            self.remove(owner);
        }
    }
}

/// An address of our own on the device of that index.
pub(crate) fn address_on(index: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = if address.is_ipv4() { 32 } else { 128 };
    message.header.index = index;
    // Nobody else is on the device who could have it.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// One user less; true when it was the last.
fn release(users: &mut BTreeMap<Prefix, u32>, prefix: &Prefix) -> bool {
    let Some(count) = users.get_mut(prefix) else { return false };
    *count -= 1;
    let last = *count == 0;
    if last {
        users.remove(prefix);
    }
    last
}

/// The prefixes that just cover the selectors' addresses, each once.
fn prefixes(selectors: &[Selector]) -> io::Result<Vec<Prefix>> {
    let mut all: Vec<Prefix> = selectors.iter().flat_map(|ts| cover(&ts.addresses)).collect();
    all.sort();
    all.dedup();
    if all.len() > MAX_PREFIXES {
        let text = format!("its selectors take {} prefixes, and at most {MAX_PREFIXES} are taken", all.len());
        return Err(io::Error::other(text));
    }
    Ok(all)
}

/// Adds the source that an IPv4 packet has before one is chosen for it. (For IPv6 the rule's flag does it.) Only where
/// this machine has an address inside the selectors that can be chosen.
fn with_unbound(mut rules: Vec<Prefix>) -> Vec<Prefix> {
    let unbound = Prefix { address: Ipv4Addr::UNSPECIFIED.into(), len: 32 };
    let v4 = rules.iter().any(|prefix| prefix.address.is_ipv4() && prefix.len > 0);
    if v4 && !rules.contains(&unbound) {
        rules.push(unbound);
    }
    rules
}

/// A range as the fewest prefixes.
fn cover(range: &AddressRange) -> Vec<Prefix> {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let v4 = range.start().is_ipv4();
    let bits: u32 = if v4 { 32 } else { 128 };
    let (mut at, end) = (number(range.start()), number(range.end()));
    let mut prefixes = Vec::new();
    loop {
        // The largest block that begins at `at` and does not reach beyond `end`.
        let aligned = at.trailing_zeros().min(bits);
        let room = (end - at).checked_add(1).map_or(128, u128::ilog2);
        let host_bits = aligned.min(room);
        let address = match v4 {
            true => IpAddr::V4(Ipv4Addr::from(at as u32)),
            false => IpAddr::V6(Ipv6Addr::from(at)),
        };
        prefixes.push(Prefix { address, len: (bits - host_bits) as u8 });
        let next = 1u128.checked_shl(host_bits).and_then(|block| at.checked_add(block));
        match next {
            Some(next) if next <= end => at = next,
            _ => return prefixes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(start: &str, end: &str) -> Vec<String> {
        let range = AddressRange::new(start.parse().unwrap(), end.parse().unwrap()).unwrap();
        cover(&range).iter().map(|prefix| format!("{}/{}", prefix.address, prefix.len)).collect()
    }

    #[test]
    fn ranges_become_the_fewest_prefixes() {
        assert_eq!(covered("0.0.0.0", "255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(covered("10.0.0.0", "10.0.0.255"), ["10.0.0.0/24"]);
        assert_eq!(
            covered("10.0.0.1", "10.0.0.6"),
            ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]
        );
        assert_eq!(covered("255.255.255.254", "255.255.255.255"), ["255.255.255.254/31"]);
        assert_eq!(covered("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert_eq!(covered("2001:db8::", "2001:db8::1:ffff"), ["2001:db8::/111"]);
    }

    #[test]
    fn odd_ranges_cannot_fill_the_tables_of_the_kernel() {
        // From ::1 to the last but one: 254 prefixes each, in other halves of the address space.
        let odd = |n: u16| {
            let start = Ipv6Addr::from(u128::from(n) << 112 | 1);
            let end = Ipv6Addr::from(u128::from(n) << 112 | u128::MAX >> 16 ^ 1);
            Selector::addresses(AddressRange::new(start.into(), end.into()).unwrap())
        };
        let selectors: Vec<Selector> = (0x2000..0x2004).map(odd).collect();
        assert_eq!(prefixes(&selectors).unwrap().len(), 4 * 222);
        let selectors: Vec<Selector> = (0x2000..0x2005).map(odd).collect();
        assert!(prefixes(&selectors).unwrap_err().to_string().contains("1024"));
    }

    #[test]
    fn a_source_that_is_not_chosen_yet_has_its_rule() {
        let rules = with_unbound(vec![Prefix { address: "10.1.0.0".parse().unwrap(), len: 16 }]);
        assert_eq!(rules.len(), 2);
        let all = vec![Prefix { address: "0.0.0.0".parse().unwrap(), len: 0 }];
        assert_eq!(with_unbound(all.clone()), all);
    }
}
