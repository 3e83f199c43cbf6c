//! The way out: policies, and the children that packets leave by.

use crate::ecn;
use crate::ip::{Packet, protocol};
use crate::limits::{FLOW_CACHE, MIN_INNER_MTU};
use crate::policy::{PolicyIndex, Slot};
use crate::sa::{IvPool, OutboundSa, SealError, max_payload};
use crate::volume::Volume;
use base::Rng;
use crypto::CipherSpec;
use dataplane::{ChildId, Counters, Mode, Selector, TrapId, Without};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The sending half of a child SA.
#[derive(Debug)]
pub struct OutboundChild {
    /// Its name.
    pub id: ChildId,
    /// Tunnel or transport.
    pub mode: Mode,
    /// What it sends with.
    pub sa: OutboundSa,
    /// Our outer address.
    pub local: SocketAddr,
    /// The peer's outer address; its port counts in UDP.
    pub remote: SocketAddr,
    /// Whether packets travel in UDP.
    pub udp_encap: bool,
    /// Octets of the largest inner packet that fits the path.
    pub max_inner: usize,
    /// What it carried and refused.
    pub counters: Counters,
    /// What it may carry.
    pub volume: Volume,
    /// The child that it replaces.
    pub replaces: Option<ChildId>,
    /// Whether it waits for [`Outbound::use_child`], or for the end of the child that it replaces.
    pub hold: bool,
    near_end_told: bool,
}

/// Why a packet did not leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotSent {
    /// It is longer than the child's `max_inner`: the sender should hear of it.
    TooBig,
    /// Transport mode carries whole packets without IPv4 options, hop-by-hop or routing headers, and between
    /// the outer addresses only (RFC 4303 §3.1.1, §3.3.4).
    NotTransportable,
    /// The SA's sequence numbers are used up, or it has carried all that it may.
    Exhausted,
    /// The caller's buffer is too small.
    NoRoom,
}

/// The parts of one inner packet: what a train of segments differs in, and what it shares.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// IP header and as much as the caller likes.
    pub head: &'a [u8],
    /// What follows it.
    pub body: &'a [u8],
}

impl OutboundChild {
    /// A child that has carried nothing; its `max_inner` is for a path of 1500 octets.
    pub fn new(
        id: ChildId,
        mode: Mode,
        sa: OutboundSa,
        route: (SocketAddr, SocketAddr),
        udp_encap: bool,
    ) -> Self {
        let (local, remote) = route;
        let mut child = Self {
            id,
            mode,
            sa,
            local,
            remote,
            udp_encap,
            max_inner: 0,
            counters: Counters::default(),
            volume: Volume::default(),
            replaces: None,
            hold: false,
            near_end_told: false,
        };
        child.set_path_mtu(1500);
        child
    }

    /// Fits `max_inner` to a path MTU.
    pub fn set_path_mtu(&mut self, path_mtu: usize) {
        self.max_inner = max_inner(&self.sa.spec(), self.mode, self.remote.ip(), self.udp_encap, path_mtu);
    }

    /// Whether this child can carry `packet`, whose segments have at most `segment_len` octets.
    pub fn admits(&self, packet: &Packet, segment_len: usize) -> Result<(), NotSent> {
        match self.mode {
            // A packet that may be fragmented leaves whole; its ESP packet is fragmented (RFC 4301 §8.1).
            Mode::Tunnel if segment_len > self.max_inner && packet.dont_fragment => Err(NotSent::TooBig),
            Mode::Tunnel => Ok(()),
            Mode::Transport if self.is_transportable(packet) => Ok(()),
            Mode::Transport => Err(NotSent::NotTransportable),
        }
    }

    //= rfc4303 §3.1.1, §3.3.4
    fn is_transportable(&self, packet: &Packet) -> bool {
        let options = packet.source.is_ipv4() && packet.header_len != packet.fixed_header_len();
        let hops = packet.source.is_ipv6()
            && matches!(packet.next_header, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT);
        !packet.is_fragment && !options && !hops && packet.destination == self.remote.ip()
    }

    /// DSCP and ECN of the outer header for `packet`.
    pub fn outer_tos(&self, packet: &Packet) -> u8 {
        ecn::outer(packet.tos)
    }

    /// Octets that the ESP packet around an inner packet of `inner_len` octets has.
    pub fn frame_len(&self, packet: &Packet, inner_len: usize) -> usize {
        self.sa.sealed_len(inner_len - self.skip(packet).min(inner_len))
    }

    /// Octets at the start of the inner packet that are not part of the payload.
    fn skip(&self, packet: &Packet) -> usize {
        match self.mode {
            Mode::Tunnel => 0,
            Mode::Transport => packet.fixed_header_len(),
        }
    }

    /// Makes the ESP packet for one inner packet at the start of `frame`; answers its length. `packet` is the
    /// parsed form of it or of the train that it is a segment of.
    #[inline]
    pub fn encapsulate(
        &mut self,
        packet: &Packet,
        parts: Parts<'_>,
        frame: &mut [u8],
        ivs: &mut IvPool,
    ) -> Result<usize, NotSent> {
        if self.volume.is_spent(self.counters.packets_out, self.counters.bytes_out) {
            return Err(NotSent::Exhausted);
        }
        let head = parts.head.get(self.skip(packet)..).ok_or(NotSent::NoRoom)?;
        let next_header = match (self.mode, packet.source) {
            (Mode::Transport, _) => packet.next_header,
            (Mode::Tunnel, IpAddr::V4(_)) => protocol::IPV4,
            (Mode::Tunnel, IpAddr::V6(_)) => protocol::IPV6,
        };
        let payload_len = head.len() + parts.body.len();
        let payload = frame.get_mut(self.sa.head_len()..).and_then(|rest| rest.get_mut(..payload_len));
        let (first, second) = payload.ok_or(NotSent::NoRoom)?.split_at_mut(head.len());
        first.copy_from_slice(head);
        second.copy_from_slice(parts.body);
        let len = self.sa.seal(frame, payload_len, next_header, ivs).map_err(|error| match error {
            SealError::Exhausted => NotSent::Exhausted,
            SealError::NoRoom => NotSent::NoRoom,
        })?;
        self.counters.packets_out += 1;
        self.counters.bytes_out += (parts.head.len() + parts.body.len()) as u64;
        Ok(len)
    }

    /// A limit of volume that was reached, told once: whether it is the hard one.
    #[inline]
    pub fn take_expired(&mut self) -> Option<bool> {
        self.volume.take_expired(self.counters.packets_out, self.counters.bytes_out)
    }

    /// True once, when the sequence numbers come to their end.
    pub fn take_near_end(&mut self) -> bool {
        let near = self.sa.is_near_end() && !self.near_end_told;
        self.near_end_told |= near;
        near
    }
}

/// Octets of the largest inner packet whose ESP packet fits a path of `path_mtu` octets (RFC 4301 §8.2).
pub fn max_inner(spec: &CipherSpec, mode: Mode, remote: IpAddr, udp_encap: bool, path_mtu: usize) -> usize {
    let ip = if remote.is_ipv4() { 20 } else { 40 };
    let udp = if udp_encap { 8 } else { 0 };
    let payload = max_payload(spec, path_mtu.saturating_sub(ip + udp));
    let inner = match mode {
        Mode::Tunnel => payload,
        Mode::Transport => payload + ip,
    };
    inner.max(MIN_INNER_MTU)
}

/// All sending halves, and the policies that choose among them.
#[derive(Debug)]
pub struct Outbound {
    slots: Vec<Option<Place>>,
    by_id: BTreeMap<ChildId, Slot>,
    /// How often a child was chosen.
    turns: u64,
    policies: PolicyIndex,
    /// Those of children that are held or replaced: for what no child in use means.
    second: PolicyIndex,
    /// Traps and shunts; their places in the three tables below.
    traps: BTreeMap<TrapId, Slot>,
    trap_policies: PolicyIndex,
    bypasses: PolicyIndex,
    discards: PolicyIndex,
    cache: Vec<Option<(Flow, Slot)>>,
    ivs: IvPool,
}

/// A child and its policies.
#[derive(Debug)]
struct Place {
    child: OutboundChild,
    ours: Vec<Selector>,
    theirs: Vec<Selector>,
    second: bool,
    /// When it, or the one whose turn it took, was chosen last, in the table's count of choices.
    turn: u64,
}

/// What tells flows apart.
type Flow = (IpAddr, IpAddr, u8, Option<(u16, u16)>);

impl Outbound {
    /// An empty table; `rng` gives the IVs that must not be predictable.
    pub fn new(rng: Box<dyn Rng>) -> Self {
        Self {
            slots: Vec::new(),
            by_id: BTreeMap::new(),
            turns: 0,
            policies: PolicyIndex::default(),
            second: PolicyIndex::default(),
            traps: BTreeMap::new(),
            trap_policies: PolicyIndex::default(),
            bypasses: PolicyIndex::default(),
            discards: PolicyIndex::default(),
            cache: vec![None; FLOW_CACHE],
            ivs: IvPool::new(rng),
        }
    }

    /// Adds a child with its policies; one of the same name is replaced. What the child replaces carries only what no child
    /// in use means, from now on or, where it is held, later.
    pub fn install(&mut self, child: OutboundChild, local_ts: &[Selector], remote_ts: &[Selector]) {
        self.remove(child.id);
        let id = child.id;
        let second = child.hold && child.replaces.is_some_and(|old| self.by_id.contains_key(&old));
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let place = Place { child, ours: local_ts.to_vec(), theirs: remote_ts.to_vec(), second, turn: 0 };
        self.by_id.insert(id, slot);
        match self.slots.get_mut(slot) {
            Some(free) => *free = Some(place),
            None => self.slots.push(Some(place)),
        }
        if second {
            self.second.insert(slot, 0, local_ts, remote_ts);
            self.cache.fill(None);
        } else {
            self.use_child(id);
        }
    }

    /// What we send leaves by this child from now on, not by what it replaces, what else replaces that, or what replaces
    /// it. `false` when there is none of this name.
    pub fn use_child(&mut self, id: ChildId) -> bool {
        let Some(&slot) = self.by_id.get(&id) else { return false };
        let old = self.slots.get(slot).and_then(|place| place.as_ref()?.child.replaces);
        let others = |child: &OutboundChild| {
            Some(child.id) == old || child.replaces == Some(id) || old.is_some() && child.replaces == old
        };
        for other in self.slots_of(others) {
            self.rank(other, None);
        }
        self.turns += 1;
        self.rank(slot, Some(self.turns));
        self.cache.fill(None);
        true
    }

    /// Removes a child and answers it. If it was in use, those that waited for its end take its turn, or else what it had
    /// replaced: what has come into use since carries on.
    pub fn remove(&mut self, id: ChildId) -> Option<OutboundChild> {
        let slot = self.by_id.remove(&id)?;
        self.policies.remove(slot);
        self.second.remove(slot);
        self.cache.fill(None);
        let Place { child: gone, second, turn, .. } = self.slots.get_mut(slot)?.take()?;
        // One that is held or replaced already leaves the choice as it is.
        if second {
            return Some(gone);
        }
        let mut next = self.slots_of(|child| child.replaces == Some(id));
        if next.is_empty() {
            next = self.slots_of(|child| Some(child.id) == gone.replaces);
        }
        next.sort_by_key(|slot| self.slots.get(*slot).and_then(|place| Some(place.as_ref()?.turn)));
        for other in next {
            self.rank(other, Some(turn));
        }
        Some(gone)
    }

    fn slots_of(&self, fits: impl Fn(&OutboundChild) -> bool) -> Vec<Slot> {
        let places = self.slots.iter().enumerate();
        let fitting = places.filter(|(_, place)| place.as_ref().is_some_and(|place| fits(&place.child)));
        fitting.map(|(slot, _)| slot).collect()
    }

    /// Puts a child's policies among those in use, where the highest turn wins of equal ones, or among the second ones.
    fn rank(&mut self, slot: Slot, turn: Option<u64>) {
        let Some(Some(place)) = self.slots.get_mut(slot) else { return };
        place.second = turn.is_none();
        place.turn = turn.unwrap_or(place.turn);
        self.policies.remove(slot);
        self.second.remove(slot);
        let index = if place.second { &mut self.second } else { &mut self.policies };
        index.insert(slot, place.turn, &place.ours, &place.theirs);
    }

    /// Adds a trap policy or a shunt; one of the same name is replaced.
    pub fn trap(&mut self, id: TrapId, then: Without, local_ts: &[Selector], remote_ts: &[Selector]) {
        self.untrap(id);
        let mut taken: Vec<Slot> = self.traps.values().copied().collect();
        taken.sort_unstable();
        let slot =
            taken.iter().enumerate().find(|(free, slot)| free != *slot).map_or(taken.len(), |(free, _)| free);
        self.traps.insert(id, slot);
        let policies = match then {
            Without::Acquire => &mut self.trap_policies,
            Without::Bypass => &mut self.bypasses,
            Without::Discard => &mut self.discards,
        };
        self.turns += 1;
        policies.insert(slot, self.turns, local_ts, remote_ts);
    }

    /// Removes a trap policy or a shunt; `false` when there is none of this name.
    pub fn untrap(&mut self, id: TrapId) -> bool {
        let Some(slot) = self.traps.remove(&id) else { return false };
        for policies in [&mut self.trap_policies, &mut self.bypasses, &mut self.discards] {
            policies.remove(slot);
        }
        true
    }

    /// Whether a packet leaves outside of all tunnels, whatever child means it: to be asked before [`Outbound::find`]. A
    /// fragment that hides its ports is not what a policy with ports means.
    //= rfc4301 §4.4.1, §7.3
    #[inline]
    pub fn bypasses(&self, packet: &Packet) -> bool {
        !self.bypasses.is_empty() && self.bypasses.find(packet).is_some()
    }

    /// The trap that means a packet which no child was found for.
    pub fn find_trap(&self, packet: &Packet) -> Option<TrapId> {
        let slot = self.trap_policies.find(packet)?;
        self.traps.iter().find(|(_, of)| **of == slot).map(|(id, _)| *id)
    }

    /// The child of this name.
    pub fn get_mut(&mut self, id: ChildId) -> Option<&mut OutboundChild> {
        let slot = *self.by_id.get(&id)?;
        Some(&mut self.slots.get_mut(slot)?.as_mut()?.child)
    }

    /// All children.
    pub fn children_mut(&mut self) -> impl Iterator<Item = &mut OutboundChild> {
        self.slots.iter_mut().flatten().map(|place| &mut place.child)
    }

    /// Whether a packet that no child and no trap was found for may pass outside the tunnels: none that is to be discarded,
    /// none that could be part of what a child protects or what is to be discarded (a fragment without its ports), and
    /// nothing that has a meaning on one link only.
    //= rfc4301 §4.4.1, §7.3
    pub fn may_pass(&self, packet: &Packet) -> bool {
        let hidden = packet.is_fragment && packet.ports.is_none();
        let routable = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => {
                !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && !ip.is_link_local()
            }
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
        };
        routable(packet.source)
            && routable(packet.destination)
            && self.discards.find(packet).is_none()
            && !(hidden
                && [&self.policies, &self.second, &self.trap_policies, &self.discards]
                    .iter()
                    .any(|policies| policies.may_match(packet)))
    }

    /// The child that `packet` leaves by, and the IVs to seal it with.
    #[inline]
    pub fn find(&mut self, packet: &Packet) -> Option<(&mut OutboundChild, &mut IvPool)> {
        let flow = (packet.source, packet.destination, packet.protocol, packet.ports);
        let place = hash(&flow) % FLOW_CACHE;
        let known = self.cache.get(place).copied().flatten().filter(|(cached, _)| *cached == flow);
        let slot = match known {
            Some((_, slot)) => slot,
            None => {
                let slot = self.policies.find(packet).or_else(|| self.second.find(packet))?;
                if let Some(line) = self.cache.get_mut(place) {
                    *line = Some((flow, slot));
                }
                slot
            }
        };
        let place = self.slots.get_mut(slot)?.as_mut()?;
        Some((&mut place.child, &mut self.ivs))
    }
}

/// Spreads flows over the cache. A collision costs one lookup, so a keyed hash is not needed.
fn hash(flow: &Flow) -> usize {
    let fold = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64 ^ u128::from(ip) as u64,
    };
    let (a, b) = flow.3.unwrap_or_default();
    let low = u64::from(a) << 24 | u64::from(b) << 8 | u64::from(flow.2);
    let mixed = (fold(flow.0) ^ fold(flow.1).rotate_left(32) ^ low.rotate_left(17))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as usize
}
