//! Which child SA a packet belongs to: the most specific selectors win, then the newest child.

use crate::ip::{Packet, is_extension};
use dataplane::{AddressRange, Selector};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The child in the table of the caller.
pub(crate) type Slot = usize;

/// Whether a packet from our side lies within a child's selectors (RFC 4301 §5.1).
pub(crate) fn matches(packet: &Packet, ours: &[Selector], theirs: &[Selector]) -> bool {
    let (source, destination) = (packet.ports.map(|p| p.0), packet.ports.map(|p| p.1));
    ours.iter().any(|ts| ts.contains(packet.source, packet.protocol, source))
        && theirs.iter().any(|ts| ts.contains_destination(packet.destination, packet.protocol, destination))
}

/// How narrow a pair of selectors is: remote addresses, local addresses, protocol, ports; then the turn.
type Rank = (u8, u8, bool, bool, u64);

#[derive(Clone, Copy, Debug)]
struct Entry {
    slot: Slot,
    ours: Selector,
    theirs: Selector,
    rank: Rank,
}

impl Entry {
    fn matches(&self, packet: &Packet) -> bool {
        matches(packet, std::slice::from_ref(&self.ours), std::slice::from_ref(&self.theirs))
    }
}

/// The outbound policies, found by the remote prefix. Few lengths are in use at a time, so a lookup
/// costs a handful of searches however many children there are.
#[derive(Default, Debug)]
pub(crate) struct PolicyIndex {
    /// By prefix length (longest first), then by the prefix itself.
    prefixes: BTreeMap<(Reverse<u8>, bool), BTreeMap<IpAddr, Vec<Entry>>>,
    /// Ranges that are no prefixes.
    ranges: Vec<Entry>,
}

impl PolicyIndex {
    /// Adds all pairs of a child's selectors. Of equally narrow ones the higher `turn` wins, then what was added last.
    pub(crate) fn insert(&mut self, slot: Slot, turn: u64, ours: &[Selector], theirs: &[Selector]) {
        for (ours, theirs) in pairs(ours, theirs) {
            let entry = Entry { slot, ours, theirs, rank: rank(&ours, &theirs, turn) };
            match theirs.addresses.prefix_len() {
                Some(len) => {
                    let start = theirs.addresses.start();
                    let by_prefix = self.prefixes.entry((Reverse(len), start.is_ipv4())).or_default();
                    by_prefix.entry(start).or_default().push(entry);
                }
                None => self.ranges.push(entry),
            }
        }
    }

    /// Removes all of a child's.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.ranges.retain(|entry| entry.slot != slot);
        self.prefixes.retain(|_, by_prefix| {
            by_prefix.retain(|_, entries| {
                entries.retain(|entry| entry.slot != slot);
                !entries.is_empty()
            });
            !by_prefix.is_empty()
        });
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.ranges.is_empty()
    }

    /// Whether a fragment that hides its ports may belong to a child.
    pub(crate) fn may_match(&self, packet: &Packet) -> bool {
        let prefixes = self.prefixes.values().flat_map(BTreeMap::values).flatten();
        prefixes.chain(&self.ranges).any(|entry| may_match(packet, &entry.ours, &entry.theirs))
    }

    /// The child that `packet` belongs to.
    pub(crate) fn find(&self, packet: &Packet) -> Option<Slot> {
        let v4 = packet.destination.is_ipv4();
        let best = |entries: &[Entry]| {
            entries.iter().filter(|entry| entry.matches(packet)).max_by_key(|entry| entry.rank).copied()
        };
        let lengths = self.prefixes.iter().filter(|((_, family), _)| *family == v4);
        let prefix = lengths.filter_map(|((Reverse(len), _), by_prefix)| {
            let start = AddressRange::from_prefix(packet.destination, *len)?.start();
            best(by_prefix.get(&start)?)
        });
        // The lengths come longest first, so the first match has the narrowest prefix.
        let prefix = prefix.take(1).next();
        let range = best(&self.ranges);
        prefix.into_iter().chain(range).max_by_key(|entry| entry.rank).map(|entry| entry.slot)
    }
}

/// Whether a packet may be part of what these selectors mean, if what it hides is left out of account: its ports, and its
/// protocol where extension headers go on in another fragment.
fn may_match(packet: &Packet, ours: &Selector, theirs: &Selector) -> bool {
    let hidden = is_extension(packet.protocol);
    let protocol = |ts: &Selector| if hidden { 0 } else { ts.protocol };
    let open = |ts: &Selector| Selector {
        start_port: 0,
        end_port: u16::MAX,
        protocol: protocol(ts),
        addresses: ts.addresses,
    };
    open(ours).contains(packet.source, packet.protocol, None)
        && open(theirs).contains(packet.destination, packet.protocol, None)
}

fn pairs<'a>(
    ours: &'a [Selector],
    theirs: &'a [Selector],
) -> impl Iterator<Item = (Selector, Selector)> + 'a {
    let family = |ts: &Selector| ts.addresses.start().is_ipv4();
    let both = ours.iter().flat_map(move |l| theirs.iter().map(move |r| (*l, *r)));
    both.filter(move |(l, r)| family(l) == family(r))
}

fn rank(ours: &Selector, theirs: &Selector, turn: u64) -> Rank {
    let protocol = ours.protocol != 0 || theirs.protocol != 0;
    let ports = !ours.any_port() || !theirs.any_port();
    (common_bits(&theirs.addresses), common_bits(&ours.addresses), protocol, ports, turn)
}

/// Leading bits that all addresses of a range share: the prefix length, if it is a prefix.
fn common_bits(range: &AddressRange) -> u8 {
    let bits = match (range.start(), range.end()) {
        (IpAddr::V4(start), IpAddr::V4(end)) => (u32::from(start) ^ u32::from(end)).leading_zeros(),
        (IpAddr::V6(start), IpAddr::V6(end)) => (u128::from(start) ^ u128::from(end)).leading_zeros(),
        _ => 0,
    };
    bits as u8
}
