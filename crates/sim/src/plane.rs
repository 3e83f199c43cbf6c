//! A data plane that keeps books (what is installed, under which keys, for which traffic) and carries numbered packets:
//! which child SA an inner packet leaves by, whether an ESP packet is taken in, and what a data plane tells by itself.

use crate::traffic::{EspPacket, Flow, Refused};
use crate::{Datagram, SimRng, limits};
use base::Instant;
use dataplane::{
    Assigned, ChildId, ChildSpec, Counters, DataplaneEvent, Op, Outcome, TrapId, TrapSpec, Without,
};
use sa::JobId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How a simulated data plane behaves.
#[derive(Clone, Debug)]
pub struct DataplaneNature {
    /// How long an operation takes; they are done in the order they came.
    pub delay: RangeInclusive<Duration>,
    /// How many installations of a thousand are refused.
    pub refuse: u32,
}

impl Default for DataplaneNature {
    fn default() -> Self {
        Self { delay: Duration::ZERO..=Duration::ZERO, refuse: 0 }
    }
}

/// The data plane of one site.
pub struct SimDataplane {
    nature: DataplaneNature,
    sad: BTreeMap<ChildId, Installed>,
    traps: BTreeMap<TrapId, Trap>,
    /// What a trap has ever meant, and what a shunt drops: none of that leaves in the clear, whatever happens to children.
    meant: Vec<TrapSpec>,
    /// Numbers the moments at which a child became the one to leave by.
    turns: u64,
    busy_until: Instant,
    /// Addresses of this host in its peers' networks, and how often each was assigned.
    addresses: BTreeMap<Assigned, u32>,
    /// Operations that were asked for and are not done.
    pub(crate) under_way: BTreeMap<JobId, Op>,
    /// Child SAs that were removed while their installation was under way.
    given_up: BTreeSet<ChildId>,
    /// Installations refused. Their removal may be on its way before that is heard.
    pub refused: BTreeSet<ChildId>,
}

/// A child SA and what it has carried.
struct Installed {
    spec: ChildSpec,
    /// Whether it carries only what no child in use means: it is held, or replaced.
    second: bool,
    /// Of two children over the same traffic the one with the later turn carries it: when it, or the one whose turn it
    /// took, was chosen last; then when it was itself.
    turn: (u64, u64),
    sent: u64,
    counters: Counters,
    seen: Seen,
    last_in: Option<Instant>,
    first_told: bool,
    mapping_told: Option<SocketAddr>,
    soft_told: bool,
    hard_told: bool,
}

/// The sequence numbers that came in: the highest, and which of the 128 up to it.
#[derive(Default)]
struct Seen {
    highest: u64,
    bits: u128,
}

impl Seen {
    /// Whether `sequence` is new; it is not from now on.
    fn take(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            let step = (sequence - self.highest).min(128) as u32;
            self.bits = self.bits.checked_shl(step).unwrap_or(0) | 1;
            self.highest = sequence;
            return true;
        }
        let bit = 1u128.checked_shl((self.highest - sequence).min(128) as u32).unwrap_or(0);
        let new = bit != 0 && self.bits & bit == 0;
        self.bits |= bit;
        new
    }
}

/// A trap policy and the packets that wait for its child.
struct Trap {
    spec: TrapSpec,
    kept: VecDeque<(Instant, u64, Flow)>,
    told: Option<Instant>,
}

/// What a data plane does with an inner packet.
pub(crate) enum Outgoing {
    /// It leaves as this datagram.
    Leaves(Datagram),
    /// A trap keeps it.
    Kept,
    /// The child has carried all that it may, the trap keeps as many as it can, or a shunt drops it.
    Dropped,
    /// A shunt lets it pass, whatever child means it.
    Passed,
    /// Neither a child nor a trap nor a shunt means it.
    Unprotected,
}

impl SimDataplane {
    pub(crate) fn new(nature: DataplaneNature) -> Self {
        Self {
            nature,
            sad: BTreeMap::new(),
            traps: BTreeMap::new(),
            meant: Vec::new(),
            turns: 0,
            addresses: BTreeMap::new(),
            busy_until: Instant::default(),
            under_way: BTreeMap::new(),
            given_up: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// All traps are ordered down.
    pub(crate) fn release_traps(&mut self) {
        self.meant.clear();
    }

    /// Whether a packet may leave in the clear, as far as traps go.
    pub(crate) fn may_be_plain(&self, flow: &Flow) -> bool {
        !self.meant.iter().any(|trap| flow.is_within(&trap.local_ts, &trap.remote_ts))
    }

    /// From now on it behaves like that.
    pub fn becomes(&mut self, nature: DataplaneNature) {
        self.nature = nature;
    }

    /// All is gone, and what was under way too; answers which packets it has kept.
    pub(crate) fn clear(&mut self) -> Vec<u64> {
        self.sad.clear();
        self.meant.clear();
        let traps = std::mem::take(&mut self.traps);
        self.addresses.clear();
        self.under_way.clear();
        self.given_up.clear();
        self.refused.clear();
        traps.values().flat_map(|trap| &trap.kept).map(|(_, number, _)| *number).collect()
    }

    /// Addresses that this host has in its peers' networks.
    pub fn address_count(&self) -> usize {
        self.addresses.len()
    }

    /// Whether this host has an address in a peer's network, on whatever interface.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.keys().any(|assigned| assigned.address == address)
    }

    /// What is installed.
    pub fn sad(&self) -> impl Iterator<Item = &ChildSpec> {
        self.sad.values().map(|child| &child.spec)
    }

    /// The trap policies that are installed.
    pub fn traps(&self) -> impl Iterator<Item = &TrapSpec> {
        self.traps.values().map(|trap| &trap.spec)
    }

    /// The child that a packet would leave by now.
    pub fn way_out(&self, flow: &Flow) -> Option<&ChildSpec> {
        Some(&self.sad.get(&self.choose(flow)?)?.spec)
    }

    /// How many packets wait for a child.
    pub fn kept(&self) -> usize {
        self.traps.values().map(|trap| trap.kept.len()).sum()
    }

    /// Takes an operation in; says when it will be done.
    pub(crate) fn begin(&mut self, now: Instant, job: JobId, op: Op, rng: &mut SimRng) -> Instant {
        self.under_way.insert(job, op);
        self.busy_until = self.busy_until.max(now) + rng.duration(&self.nature.delay);
        self.busy_until
    }

    /// Does the operation now; answers also which kept packets it drops. The error is a violation: an operation on
    /// what is not there.
    pub(crate) fn finish(
        &mut self,
        now: Instant,
        job: JobId,
        rng: &mut SimRng,
    ) -> Result<(Outcome, Vec<u64>), String> {
        let outcome = match self.under_way.remove(&job) {
            Some(Op::Install(spec)) if self.given_up.remove(&spec.id) => {
                Ok(Outcome::Failed("It was removed before it was installed.".to_string()))
            }
            Some(Op::Install(spec)) => self.install(*spec, rng),
            Some(Op::Remove(id)) => match self.sad.remove(&id) {
                Some(child) => {
                    self.is_gone(&child);
                    Ok(Outcome::Counters(child.counters(now)))
                }
                None if self.refused.remove(&id) => Ok(Outcome::Failed("It is not installed.".to_string())),
                None if self.give_up(id) => Ok(Outcome::Failed("It was not installed yet.".to_string())),
                None => Err(format!("{id:?} is removed and is not installed")),
            },
            Some(Op::Query(id)) => {
                let child = self.sad.get(&id).ok_or(format!("{id:?} is queried and is not installed"))?;
                Ok(Outcome::Counters(child.counters(now)))
            }
            Some(Op::Use(id)) => {
                if !self.sad.contains_key(&id) {
                    return Err(format!("{id:?} is used and is not installed"));
                }
                self.put_first(id);
                Ok(Outcome::Done)
            }
            Some(Op::Trap(spec)) => {
                if spec.then != Without::Bypass {
                    self.meant.push(spec.clone());
                }
                let trap = Trap { spec, kept: VecDeque::new(), told: None };
                match self.traps.insert(trap.spec.id, trap) {
                    None => Ok(Outcome::Done),
                    Some(before) => Err(format!("{:?} is installed twice", before.spec.id)),
                }
            }
            Some(Op::Untrap(id)) => return Ok((Outcome::Done, self.untrap(id)?)),
            Some(Op::Assign(address)) => {
                *self.addresses.entry(address).or_default() += 1;
                Ok(Outcome::Done)
            }
            Some(Op::Unassign(address)) => match self.addresses.get_mut(&address) {
                Some(1) => {
                    self.addresses.remove(&address);
                    Ok(Outcome::Done)
                }
                Some(count) => {
                    *count -= 1;
                    Ok(Outcome::Done)
                }
                None => Err(format!("{address:?} is unassigned and is not assigned")),
            },
            Some(Op::Move { id, local, remote, udp_encap }) => match self.sad.get_mut(&id) {
                Some(child) => {
                    let spec = &mut child.spec;
                    (spec.local, spec.remote, spec.udp_encap) = (local, remote, udp_encap);
                    child.mapping_told = None;
                    Ok(Outcome::Done)
                }
                None if self.refused.contains(&id) => Ok(Outcome::Failed("It is not installed.".to_string())),
                None => Err(format!("{id:?} is moved and is not installed")),
            },
            None => Err(format!("{job:?} is done twice")),
        };
        Ok((outcome?, Vec::new()))
    }

    /// Gives up an installation that is under way, for whoever has waited too long for it; `false` when there is none.
    fn give_up(&mut self, id: ChildId) -> bool {
        let begun = self.under_way.values().any(|op| matches!(op, Op::Install(spec) if spec.id == id));
        begun && self.given_up.insert(id)
    }

    /// Removes a trap or a shunt; answers which kept packets go with it.
    fn untrap(&mut self, id: TrapId) -> Result<Vec<u64>, String> {
        let trap = self.traps.remove(&id).ok_or(format!("{id:?} is removed and is not installed"))?;
        if trap.spec.then == Without::Discard {
            self.meant.retain(|spec| spec.id != id);
        }
        Ok(trap.kept.iter().map(|(_, number, _)| *number).collect())
    }

    fn install(&mut self, spec: ChildSpec, rng: &mut SimRng) -> Result<Outcome, String> {
        if rng.chance(self.nature.refuse) {
            self.refused.insert(spec.id);
            return Ok(Outcome::Failed(
                "The simulated data plane has no room for this child SA.".to_string(),
            ));
        }
        if spec.inbound.spi.0 < 256 || spec.outbound.spi.0 < 256 {
            return Err(format!("child {} has a reserved SPI (RFC 4303 §2.1)", spec.name));
        }
        if self.sad().any(|other| other.inbound.spi == spec.inbound.spi) {
            return Err(format!("inbound SPI {} is installed twice", spec.inbound.spi));
        }
        let id = spec.id;
        let is_held = spec.hold_outbound && spec.replaces.is_some_and(|old| self.sad.contains_key(&old));
        let child = Installed {
            second: is_held,
            turn: (self.turns, self.turns),
            sent: 0,
            counters: Counters::default(),
            seen: Seen::default(),
            last_in: None,
            first_told: !spec.hold_outbound,
            mapping_told: None,
            soft_told: false,
            hard_told: false,
            spec,
        };
        if let Some(before) = self.sad.insert(id, child) {
            return Err(format!("{:?} is installed twice", before.spec.id));
        }
        if !is_held {
            self.put_first(id);
        }
        Ok(Outcome::Done)
    }

    /// What we send leaves by this child from now on, not by what it replaces, what else replaces that, or what replaces
    /// it.
    fn put_first(&mut self, id: ChildId) {
        self.turns += 1;
        let old = self.sad.get(&id).and_then(|child| child.spec.replaces);
        for child in self.sad.values_mut() {
            let replaces = child.spec.replaces;
            if child.spec.id == id {
                (child.second, child.turn) = (false, (self.turns, self.turns));
            } else if Some(child.spec.id) == old || replaces == Some(id) || old.is_some() && replaces == old {
                child.second = true;
            }
        }
    }

    /// A child was removed. If it was in use, those that waited for its end take its turn, or else what it had replaced:
    /// what has come into use since carries on.
    fn is_gone(&mut self, gone: &Installed) {
        if gone.second {
            return;
        }
        let (id, old) = (gone.spec.id, gone.spec.replaces);
        let is_held = self.sad.values().any(|child| child.spec.replaces == Some(id));
        for child in self.sad.values_mut() {
            let next = if is_held { child.spec.replaces == Some(id) } else { Some(child.spec.id) == old };
            if next {
                (child.second, child.turn.0) = (false, gone.turn.0);
            }
        }
    }

    /// The child that a packet leaves by: one in use before one that is held or replaced, then the latest.
    fn choose(&self, flow: &Flow) -> Option<ChildId> {
        let means = |child: &&Installed| flow.is_within(&child.spec.local_ts, &child.spec.remote_ts);
        let rank = |child: &&Installed| (!child.second, child.turn);
        Some(self.sad.values().filter(means).max_by_key(rank)?.spec.id)
    }

    /// An inner packet is to leave.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        number: u64,
        flow: &Flow,
    ) -> (Outgoing, Option<DataplaneEvent>) {
        if self.shunts(flow, Without::Bypass) {
            return (Outgoing::Passed, None);
        }
        if let Some(child) = self.choose(flow).and_then(|id| self.sad.get_mut(&id)) {
            return child.send(number);
        }
        let means = |trap: &&mut Trap| trap.spec.then == Without::Acquire && trap.means(flow);
        let dropped = self.shunts(flow, Without::Discard);
        match self.traps.values_mut().find(means) {
            Some(trap) => trap.keep(now, number, flow),
            None if dropped => (Outgoing::Dropped, None),
            None => (Outgoing::Unprotected, None),
        }
    }

    /// Whether a policy of that kind means a packet.
    fn shunts(&self, flow: &Flow, then: Without) -> bool {
        self.traps.values().any(|trap| trap.spec.then == then && trap.means(flow))
    }

    /// Takes out the kept packets that a child would carry now, and those that are too old.
    pub(crate) fn release(&mut self, now: Instant) -> (Vec<(u64, Flow)>, Vec<u64>) {
        let (mut ready, mut old) = (Vec::new(), Vec::new());
        let ids: Vec<TrapId> = self.traps.keys().copied().collect();
        for id in ids {
            let kept = self.traps.get_mut(&id).map(|trap| std::mem::take(&mut trap.kept));
            let mut stay = VecDeque::new();
            for (since, number, flow) in kept.unwrap_or_default() {
                if now.since(since) > limits::KEPT_FOR {
                    old.push(number);
                } else if self.choose(&flow).is_some() {
                    ready.push((number, flow));
                } else {
                    stay.push_back((since, number, flow));
                }
            }
            if let Some(trap) = self.traps.get_mut(&id) {
                trap.kept = stay;
            }
        }
        (ready, old)
    }

    /// An ESP packet has come.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &EspPacket,
        flow: Option<&Flow>,
    ) -> (Result<(), Refused>, Vec<DataplaneEvent>) {
        match self.sad.values_mut().find(|child| child.spec.inbound.spi == packet.spi) {
            Some(child) => child.receive(now, datagram, packet, flow),
            None => (Err(Refused::NoSa), Vec::new()),
        }
    }
}

impl Trap {
    fn means(&self, flow: &Flow) -> bool {
        flow.is_within(&self.spec.local_ts, &self.spec.remote_ts)
    }

    fn keep(&mut self, now: Instant, number: u64, flow: &Flow) -> (Outgoing, Option<DataplaneEvent>) {
        let due = self.told.is_none_or(|told| now.since(told) >= limits::ACQUIRE_INTERVAL);
        let event = due.then(|| DataplaneEvent::Acquire { id: self.spec.id, packet: flow.selectors() });
        if due {
            self.told = Some(now);
        }
        if self.kept.len() >= limits::KEPT_PACKETS {
            return (Outgoing::Dropped, event);
        }
        self.kept.push_back((now, number, *flow));
        (Outgoing::Kept, event)
    }
}

impl Installed {
    fn counters(&self, now: Instant) -> Counters {
        Counters { idle_in: self.last_in.map(|then| now.since(then)), ..self.counters }
    }

    fn send(&mut self, number: u64) -> (Outgoing, Option<DataplaneEvent>) {
        if self.is_spent(self.counters.packets_out, self.counters.bytes_out) {
            self.counters.not_sent += 1;
            return (Outgoing::Dropped, None);
        }
        self.sent += 1;
        self.counters.packets_out += 1;
        self.counters.bytes_out += limits::PACKET_OCTETS;
        let spec = &self.spec;
        let packet = EspPacket { spi: spec.outbound.spi, sequence: self.sent, number };
        let payload = packet.sealed(spec.outbound.encr_key.expose());
        let datagram = Datagram { from: spec.local, to: spec.remote, payload };
        (Outgoing::Leaves(datagram), self.expired())
    }

    fn receive(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        packet: &EspPacket,
        flow: Option<&Flow>,
    ) -> (Result<(), Refused>, Vec<DataplaneEvent>) {
        let key = self.spec.inbound.encr_key.expose();
        if datagram.payload != packet.sealed(key) {
            self.counters.bad_icv += 1;
            return (Err(Refused::Forged), Vec::new());
        }
        if !self.seen.take(packet.sequence) {
            self.counters.replayed += 1;
            return (Err(Refused::Replayed), Vec::new());
        }
        let id = self.spec.id;
        let mut events = Vec::new();
        self.last_in = Some(now);
        let newest = self.seen.highest == packet.sequence;
        let moved = self.spec.udp_encap && datagram.from != self.spec.remote && newest;
        if moved && self.mapping_told != Some(datagram.from) {
            self.mapping_told = Some(datagram.from);
            events.push(DataplaneEvent::Mapping { id, remote: datagram.from });
        }
        if !std::mem::replace(&mut self.first_told, true) {
            events.push(DataplaneEvent::FirstPacket(id));
        }
        if self.is_spent(self.counters.packets_in, self.counters.bytes_in) {
            return (Err(Refused::Spent), events);
        }
        if !flow.is_some_and(|flow| flow.is_received_within(&self.spec.local_ts, &self.spec.remote_ts)) {
            self.counters.outside_selectors += 1;
            return (Err(Refused::OutsideSelectors), events);
        }
        self.counters.packets_in += 1;
        self.counters.bytes_in += limits::PACKET_OCTETS;
        events.extend(self.expired());
        (Ok(()), events)
    }

    /// Whether a direction that carried so much may carry nothing more.
    fn is_spent(&self, packets: u64, bytes: u64) -> bool {
        let volume = &self.spec.volume;
        volume.hard_packets.is_some_and(|most| packets >= most)
            || volume.hard_bytes.is_some_and(|most| bytes >= most)
    }

    /// Tells once of each limit that either direction has reached.
    fn expired(&mut self) -> Option<DataplaneEvent> {
        let (volume, counters) = (&self.spec.volume, &self.counters);
        let packets = counters.packets_in.max(counters.packets_out);
        let bytes = counters.bytes_in.max(counters.bytes_out);
        let soft = volume.soft_packets.is_some_and(|most| packets >= most)
            || volume.soft_bytes.is_some_and(|most| bytes >= most);
        let hard = self.is_spent(packets, bytes);
        if hard && !self.hard_told {
            (self.soft_told, self.hard_told) = (true, true);
            return Some(DataplaneEvent::Expired { id: self.spec.id, hard: true });
        }
        let tell = soft && !self.soft_told;
        self.soft_told |= soft;
        tell.then_some(DataplaneEvent::Expired { id: self.spec.id, hard: false })
    }
}

#[cfg(test)]
mod tests;
