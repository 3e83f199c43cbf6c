//! Packets in simulation: inner packets go from one site's network to another's through the simulated data planes, as
//! ESP packets over the world's network with its weather, NAT boxes and attacker. Each is numbered, so that a test can
//! count what was sent, what arrived, and why the rest did not ([`Traffic`]).
//!
//! ```text
//! world.traffic("alice", "bob", Duration::from_millis(20));   // and the other direction as well
//! world.run(Duration::from_secs(3600));
//! world.traffic_stops();
//! world.traffic_lands();
//! assert_eq!(world.traffic.lost_by_us(), 0);
//! ```

use crate::ledger::{FNV, fnv};
use crate::net::{Datagram, NAT_T};
use crate::plane::Outgoing;
use crate::{Host, World, limits};
use base::{EspSpi, Instant};
use dataplane::{AddressRange, DataplaneEvent, Selector};
use sa::Cause;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// What an inner packet says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Its IP protocol.
    pub protocol: u8,
    /// Its ports, or ICMP type × 256 + code twice; `None` where it shows none.
    pub ports: Option<(u16, u16)>,
}

impl Flow {
    /// UDP from port 7 to port 7.
    pub fn udp(source: IpAddr, destination: IpAddr) -> Self {
        Self { source, destination, protocol: 17, ports: Some((7, 7)) }
    }

    /// The other direction.
    pub fn reversed(&self) -> Self {
        let ports = self.ports.map(|(source, destination)| (destination, source));
        Self { source: self.destination, destination: self.source, ports, ..*self }
    }

    /// The packet's own selectors, ours and the peer's (RFC 7296 §2.9).
    pub fn selectors(&self) -> (Selector, Selector) {
        let of = |address, port: Option<u16>| {
            let (start_port, end_port) = port.map_or((0, u16::MAX), |port| (port, port));
            Selector { addresses: AddressRange::host(address), protocol: self.protocol, start_port, end_port }
        };
        (of(self.source, self.ports.map(|p| p.0)), of(self.destination, self.ports.map(|p| p.1)))
    }

    /// Whether a site with these selectors means it on the way out.
    pub(crate) fn is_within(&self, ours: &[Selector], theirs: &[Selector]) -> bool {
        let (source, destination) = (self.ports.map(|p| p.0), self.ports.map(|p| p.1));
        ours.iter().any(|ts| ts.contains(self.source, self.protocol, source))
            && theirs.iter().any(|ts| ts.contains_destination(self.destination, self.protocol, destination))
    }

    /// Whether a site with these selectors means it on the way in.
    pub(crate) fn is_received_within(&self, ours: &[Selector], theirs: &[Selector]) -> bool {
        self.is_within(theirs, ours)
    }
}

/// An ESP packet of the simulation: it proves who made it, and is not encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EspPacket {
    pub(crate) spi: EspSpi,
    pub(crate) sequence: u64,
    pub(crate) number: u64,
}

impl EspPacket {
    /// The packet as it travels: SPI, sequence number, number, and a check value under `key`.
    pub(crate) fn sealed(&self, key: &[u8]) -> Vec<u8> {
        let mut octets = self.spi.0.to_be_bytes().to_vec();
        octets.extend(self.sequence.to_be_bytes());
        octets.extend(self.number.to_be_bytes());
        let check = fnv(fnv(FNV, key), &octets);
        octets.extend(check.to_be_bytes());
        octets
    }

    /// What stands in a datagram, if it can be one.
    pub(crate) fn of(datagram: &Datagram) -> Option<Self> {
        let word = |at: usize| Some(u64::from_be_bytes(datagram.payload.get(at..at + 8)?.try_into().ok()?));
        let spi = u32::from_be_bytes(datagram.payload.get(..4)?.try_into().ok()?);
        let raw = datagram.to.port() == 0 && datagram.from.port() == 0;
        let udp = datagram.to.port() == NAT_T || datagram.from.port() == NAT_T;
        let len = datagram.payload.len() == 28 && spi != 0;
        (len && (raw || udp)).then_some(())?;
        Some(Self { spi: EspSpi(spi), sequence: word(4)?, number: word(12)? })
    }
}

/// Why an ESP packet was not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    NoSa,
    Forged,
    Replayed,
    Spent,
    OutsideSelectors,
}

/// What became of the inner packets of a world, each counted once: `sent` is the sum of all the others.
#[derive(Clone, Default, Debug)]
pub struct Traffic {
    /// Given to a data plane.
    pub sent: u64,
    /// Came out at the other end.
    pub arrived: u64,
    /// Lost by the weather, a NAT box or the attacker.
    pub lost_by_weather: u64,
    /// Reached a site that had no SA with their SPI.
    pub no_sa: u64,
    /// Reached an SA whose selectors do not mean them, or that took them for replayed or forged, or that carries nothing
    /// any more.
    pub refused: u64,
    /// Let pass by a shunt: they left in the clear, as they may.
    pub passed: u64,
    /// Meant by no child, no trap and no shunt: they would have left in the clear.
    pub unprotected: u64,
    /// Of these the ones that a trap has meant once.
    pub leaked: u64,
    /// Not sent: beyond what the child may carry, or what the trap keeps, or what a shunt drops.
    pub dropped: u64,
    /// Of those that reached nobody the numbers, the SPIs and when: the first ones, for a test's message.
    pub losses: Vec<(Instant, u64, EspSpi)>,
    /// Those that are not decided yet.
    under_way: BTreeMap<u64, UnderWay>,
    pingers: Vec<Pinger>,
    queue: BTreeMap<(Instant, u64), Datagram>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    flow: Flow,
    /// What left the site: a copy that says something else was made by the attacker, and is nobody's loss.
    payload: Vec<u8>,
    /// How many copies are in the network.
    copies: u32,
    arrived: bool,
    reached: Option<(Refused, Instant, EspSpi)>,
}

/// Sends a packet again and again.
#[derive(Clone, Debug)]
struct Pinger {
    host: usize,
    flow: Flow,
    every: Duration,
    next: Instant,
}

impl Traffic {
    /// Packets that a site sent by a child and that reached a site which would not take them in.
    pub fn lost_by_us(&self) -> u64 {
        self.no_sa + self.refused
    }

    /// All that did not arrive, whatever the reason.
    pub fn losses_in_all(&self) -> u64 {
        self.lost_by_us() + self.lost_by_weather + self.passed + self.unprotected + self.dropped
    }

    /// How many are kept by traps or in the network.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// When something happens next to traffic.
    pub(crate) fn next(&self) -> Option<Instant> {
        let queued = self.queue.first_key_value().map(|(&(at, _), _)| at);
        self.pingers.iter().map(|pinger| pinger.next).chain(queued).min()
    }

    /// A copy of a packet is in the network from now on.
    pub(crate) fn travels(&mut self, key: (Instant, u64), datagram: Datagram, packet: &EspPacket) {
        if let Some(under_way) = self.copied(packet.number, &datagram) {
            under_way.copies += 1;
        }
        self.queue.insert(key, datagram);
    }

    /// The packet with this number, if the datagram is a true copy of it.
    fn copied(&mut self, number: u64, datagram: &Datagram) -> Option<&mut UnderWay> {
        self.under_way.get_mut(&number).filter(|packet| packet.payload == datagram.payload)
    }

    /// A copy has come to its end.
    fn ends(
        &mut self,
        number: u64,
        datagram: &Datagram,
        how: Result<(), (Option<Refused>, Instant, EspSpi)>,
    ) {
        let Some(packet) = self.copied(number, datagram) else { return };
        packet.copies = packet.copies.saturating_sub(1);
        match how {
            Ok(()) => packet.arrived = true,
            Err((Some(why), at, spi)) => packet.reached = Some((why, at, spi)),
            Err((None, ..)) => {}
        }
        self.decide(number);
    }

    /// Counts a packet of which nothing is in the network any more.
    fn decide(&mut self, number: u64) {
        let Some(packet) = self.under_way.get(&number).filter(|packet| packet.copies == 0) else { return };
        let count = match (packet.arrived, packet.reached) {
            (true, _) => &mut self.arrived,
            (false, Some((why, at, spi))) => {
                if self.losses.len() < limits::LOSSES_KEPT {
                    self.losses.push((at, number, spi));
                }
                if why == Refused::NoSa { &mut self.no_sa } else { &mut self.refused }
            }
            (false, None) => &mut self.lost_by_weather,
        };
        *count += 1;
        self.under_way.remove(&number);
    }
}

impl World {
    /// From now on one packet each `every` goes from one site's network to the other's and one back, both in UDP: between
    /// the first addresses behind the networks of the first child that `one` is configured with.
    pub fn traffic(&mut self, one: &str, other: &str, every: Duration) {
        let flow = first_flow(self.host(one), self.host(other));
        self.ping(one, flow, every);
        self.ping(other, flow.reversed(), every);
    }

    /// From now on one packet of `flow` leaves a site each `every`.
    pub fn ping(&mut self, from: &str, flow: Flow, every: Duration) {
        let (host, next) = (self.index(from), self.now());
        self.traffic.pingers.push(Pinger { host, flow, every, next });
    }

    /// No more packets are sent.
    pub fn traffic_stops(&mut self) {
        self.traffic.pingers.clear();
    }

    /// Runs until what was sent has come to its end.
    pub fn traffic_lands(&mut self) -> &mut Self {
        self.until(|world| world.traffic.queue.is_empty())
    }

    /// One packet leaves a site now; answers its number.
    pub fn packet(&mut self, from: &str, flow: Flow) -> u64 {
        self.packet_of(self.index(from), flow)
    }

    fn packet_of(&mut self, host: usize, flow: Flow) -> u64 {
        let number = self.traffic.sent;
        self.traffic.sent += 1;
        let under_way = UnderWay { flow, payload: Vec::new(), copies: 0, arrived: false, reached: None };
        self.traffic.under_way.insert(number, under_way);
        self.send_packet(host, number, flow);
        number
    }

    fn send_packet(&mut self, index: usize, number: u64, flow: Flow) {
        let now = self.now();
        let (outgoing, event) = self.hosts[index].dataplane.send(now, number, &flow);
        let dropped = match outgoing {
            Outgoing::Leaves(datagram) => {
                if let Some(packet) = self.traffic.under_way.get_mut(&number) {
                    packet.payload.clone_from(&datagram.payload);
                }
                self.send(index, datagram);
                self.traffic.decide(number);
                None
            }
            Outgoing::Kept => None,
            Outgoing::Dropped => Some(&mut self.traffic.dropped),
            Outgoing::Passed => Some(&mut self.traffic.passed),
            Outgoing::Unprotected => {
                let plain = self.hosts[index].dataplane.may_be_plain(&flow);
                self.traffic.leaked += u64::from(!plain);
                Some(&mut self.traffic.unprotected)
            }
        };
        if let Some(count) = dropped {
            *count += 1;
            self.traffic.under_way.remove(&number);
        }
        self.dataplane_tells(index, event);
    }

    /// A child has come or gone: kept packets may leave.
    pub(crate) fn release_packets(&mut self, index: usize) {
        let now = self.now();
        let (ready, old) = self.hosts[index].dataplane.release(now);
        self.drop_kept(old);
        for (number, flow) in ready {
            self.send_packet(index, number, flow);
        }
    }

    /// Kept packets are dropped.
    pub(crate) fn drop_kept(&mut self, numbers: Vec<u64>) {
        for number in numbers {
            self.traffic.under_way.remove(&number);
            self.traffic.dropped += 1;
        }
    }

    /// What is next of traffic happens.
    pub(crate) fn move_traffic(&mut self, at: Instant) {
        let key = self.traffic.queue.first_key_value().map(|(&key, _)| key).filter(|key| key.0 <= at);
        if let Some(datagram) = key.and_then(|key| self.traffic.queue.remove(&key)) {
            return self.arrive_packet(datagram);
        }
        if let Some(pinger) = self.traffic.pingers.iter_mut().find(|pinger| pinger.next <= at) {
            pinger.next = pinger.next + pinger.every.max(Duration::from_nanos(1));
            let (host, flow) = (pinger.host, pinger.flow);
            if !self.hosts[host].is_asleep(at) {
                self.packet_of(host, flow);
            }
        }
    }

    /// An ESP packet comes to the site that has its destination.
    fn arrive_packet(&mut self, mut datagram: Datagram) {
        let now = self.now();
        let Some(packet) = EspPacket::of(&datagram) else { return };
        let nobody = Err((None, now, packet.spi));
        let Some(index) = self.destination(&mut datagram) else {
            return self.traffic.ends(packet.number, &datagram, nobody);
        };
        let flow = self.traffic.under_way.get(&packet.number).map(|packet| packet.flow);
        let host = &mut self.hosts[index];
        let (result, events) = host.dataplane.receive(now, &datagram, &packet, flow.as_ref());
        self.traffic.ends(packet.number, &datagram, result.map_err(|why| (Some(why), now, packet.spi)));
        self.dataplane_tells(index, events);
    }

    fn dataplane_tells(&mut self, index: usize, events: impl IntoIterator<Item = DataplaneEvent>) {
        for event in events {
            self.handle(index, Cause::Dataplane(event));
        }
    }
}

/// From the first address behind `one`'s network to the first behind `other`'s, by the first child of `one`'s first
/// connection.
fn first_flow(one: &Host, other: &Host) -> Flow {
    let child = one.policy.connections.first().and_then(|connection| connection.children.first());
    let first = |ts: Option<&Vec<Selector>>, host: &Host| match ts.and_then(|ts| ts.first()) {
        Some(ts) => second_address(&ts.addresses),
        None => host.public_address(),
    };
    let (ours, theirs) = (child.map(|child| &child.local_ts), child.map(|child| &child.remote_ts));
    Flow::udp(first(ours, one), first(theirs, other))
}

/// The first address of a range that is no network's own; that of a single address itself.
fn second_address(range: &AddressRange) -> IpAddr {
    let next = match range.start() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from(u32::from(ip).saturating_add(1))),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip).saturating_add(1))),
    };
    if range.contains(next) { next } else { range.start() }
}
