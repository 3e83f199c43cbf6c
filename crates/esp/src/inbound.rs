//! The way in: children found by SPI, inner packets checked and made ready for delivery.

use crate::checksum::adjust_address;
use crate::ecn;
use crate::ip::{IPV4_LEN, IPV6_LEN, NewHeader, Packet, protocol, set_tos};
use crate::sa::{InboundSa, OpenError, Opened};
use crate::tcp::clamp_mss;
use crate::volume::Volume;
use base::{EspSpi, Instant};
use dataplane::{ChildId, Counters, Mode, Selector};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// The receiving half of a child SA.
#[derive(Debug)]
pub struct InboundChild {
    /// Its name.
    pub id: ChildId,
    /// Tunnel or transport.
    pub mode: Mode,
    /// What it receives with.
    pub sa: InboundSa,
    /// Our outer address.
    pub local: SocketAddr,
    /// The peer's known outer address; its port counts in UDP.
    pub remote: SocketAddr,
    /// Whether packets travel in UDP.
    pub udp_encap: bool,
    /// Our side's selectors: destinations of what comes in.
    pub local_ts: Vec<Selector>,
    /// The peer's.
    pub remote_ts: Vec<Selector>,
    /// The addresses that the peers' checksums were made for, ours first, where NAT changed them.
    pub original_addresses: Option<(IpAddr, IpAddr)>,
    /// The largest MSS that TCP connections through the tunnel may use, less the IP and TCP headers: octets
    /// of the largest inner packet.
    pub max_inner: usize,
    /// What it carried and refused.
    pub counters: Counters,
    /// What it may carry.
    pub volume: Volume,
    /// Where its packets come out: a number of the caller's.
    pub exit: usize,
    /// Whether the first packet is still to be told of.
    pub tell_first: bool,
    /// When the last packet was accepted.
    pub last_in: Option<Instant>,
    /// The foreign address that was told of already.
    mapping_told: Option<SocketAddr>,
}

/// An ESP packet and what its outer headers said.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Where it came from; the port counts in UDP.
    pub remote: SocketAddr,
    /// Where to.
    pub local: IpAddr,
    /// Whether it came in UDP.
    pub udp: bool,
    /// The outer header's DSCP and ECN octet.
    pub tos: u8,
    /// From the SPI to the integrity check value.
    pub bytes: &'a mut [u8],
}

/// Why a packet was dropped. All but the first three are counted at the child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Too short for an SPI and a sequence number.
    Runt,
    /// No child has this SPI.
    UnknownSpi,
    /// The child has carried all that it may.
    Spent,
    /// Seen before, or left of the window.
    Replayed,
    /// The integrity check failed.
    BadIcv,
    /// Malformed inside, or ECN says that it must not be delivered (RFC 6040 §4.2).
    Malformed,
    /// Outside the SA's selectors.
    OutsideSelectors,
}

/// An inner packet ready for delivery: the fixed IP header apart, since in transport mode it is made anew.
#[derive(Clone, Debug)]
pub struct Delivered {
    header: [u8; IPV6_LEN],
    header_len: usize,
    /// Where the rest of the packet stands in the arrival's bytes.
    pub body: Range<usize>,
    /// What its headers say.
    pub packet: Packet,
}

impl Delivered {
    /// An IP packet in one piece, as if it had come out of a tunnel; `None` when it is malformed.
    pub fn whole(octets: &[u8]) -> Option<Self> {
        let packet = Packet::parse(octets).ok()?;
        let header_len = packet.fixed_header_len();
        let mut header = [0; IPV6_LEN];
        header.get_mut(..header_len)?.copy_from_slice(octets.get(..header_len)?);
        Some(Self { header, header_len, body: header_len..packet.total_len, packet })
    }

    /// The fixed IP header (20 or 40 octets).
    pub fn header(&self) -> &[u8] {
        self.header.get(..self.header_len).unwrap_or(&[])
    }
}

/// What became of an accepted arrival.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The child that it belongs to.
    pub id: ChildId,
    /// Its [`InboundChild::exit`].
    pub exit: usize,
    /// The inner packet; `None` for a dummy packet (RFC 4303 §2.6).
    pub delivered: Option<Delivered>,
    /// Set when the packet came from another address than the peer's known one, once for each new address.
    pub mapping: Option<SocketAddr>,
    /// Whether it is the first one of a child that waited for it.
    pub first: bool,
    /// A limit of volume that was reached with it, told once: whether it is the hard one.
    pub expired: Option<bool>,
}

const TTL: u8 = 64;

impl InboundChild {
    /// A child that has received nothing; its `max_inner` limits nothing yet.
    pub fn new(
        id: ChildId,
        mode: Mode,
        sa: InboundSa,
        route: (SocketAddr, SocketAddr),
        udp_encap: bool,
    ) -> Self {
        let (local, remote) = route;
        Self {
            id,
            mode,
            sa,
            local,
            remote,
            udp_encap,
            local_ts: Vec::new(),
            remote_ts: Vec::new(),
            original_addresses: None,
            max_inner: usize::MAX,
            counters: Counters::default(),
            volume: Volume::default(),
            exit: 0,
            tell_first: false,
            last_in: None,
            mapping_told: None,
        }
    }

    /// The peer's or our outer address changed.
    pub fn move_to(&mut self, local: SocketAddr, remote: SocketAddr, udp_encap: bool) {
        (self.local, self.remote, self.udp_encap) = (local, remote, udp_encap);
        self.mapping_told = None;
    }

    fn accept(&mut self, arrival: &mut Arrival<'_>, now: Instant) -> Result<Accepted, Refused> {
        if self.volume.is_spent(self.counters.packets_in, self.counters.bytes_in) {
            return Err(Refused::Spent);
        }
        let opened = self.open(arrival.bytes)?;
        self.last_in = Some(now);
        let mapping = self.mapping(arrival, &opened);
        //= rfc4303 §2.6
        if opened.next_header == protocol::NO_NEXT {
            let first = std::mem::take(&mut self.tell_first);
            let (id, exit) = (self.id, self.exit);
            return Ok(Accepted { id, exit, delivered: None, mapping, first, expired: None });
        }
        let delivered = match self.mode {
            Mode::Tunnel => self.unwrap_tunnel(arrival, opened),
            Mode::Transport => self.unwrap_transport(arrival, opened),
        };
        let mut delivered =
            delivered.ok_or(Refused::Malformed).inspect_err(|_| self.counters.malformed += 1)?;
        //= rfc4301 §5.2
        if !self.selects(&delivered.packet) {
            self.counters.outside_selectors += 1;
            return Err(Refused::OutsideSelectors);
        }
        self.clamp(&mut delivered, arrival.bytes);
        self.counters.packets_in += 1;
        self.counters.bytes_in += delivered.packet.total_len as u64;
        let first = std::mem::take(&mut self.tell_first);
        let expired = self.volume.take_expired(self.counters.packets_in, self.counters.bytes_in);
        Ok(Accepted { id: self.id, exit: self.exit, delivered: Some(delivered), mapping, first, expired })
    }

    fn open(&mut self, bytes: &mut [u8]) -> Result<Opened, Refused> {
        let counters = &mut self.counters;
        self.sa.open(bytes).map_err(|error| {
            let (count, refused) = match error {
                OpenError::Replayed => (&mut counters.replayed, Refused::Replayed),
                OpenError::BadIcv => (&mut counters.bad_icv, Refused::BadIcv),
                OpenError::Malformed | OpenError::BadPadding => (&mut counters.malformed, Refused::Malformed),
            };
            *count += 1;
            refused
        })
    }

    /// Only the newest authentic packet tells where the peer is now: an old one may have been held back.
    //= rfc7296 §2.23
    fn mapping(&mut self, arrival: &Arrival<'_>, opened: &Opened) -> Option<SocketAddr> {
        let moved = arrival.udp && self.udp_encap && arrival.remote != self.remote && opened.newest;
        if !moved || self.mapping_told == Some(arrival.remote) {
            return None;
        }
        self.mapping_told = Some(arrival.remote);
        self.mapping_told
    }

    /// The inner packet is whole; what follows it is traffic flow padding (RFC 4303 §2.7).
    fn unwrap_tunnel(&self, arrival: &Arrival<'_>, opened: Opened) -> Option<Delivered> {
        let start = opened.payload.start;
        let mut delivered = Delivered::whole(arrival.bytes.get(opened.payload)?)?;
        let packet = &mut delivered.packet;
        let version = if packet.source.is_ipv4() { protocol::IPV4 } else { protocol::IPV6 };
        if opened.next_header != version {
            return None;
        }
        //= rfc6040 §4.2
        let tos = ecn::decapsulated(packet.tos, arrival.tos)?;
        if tos != packet.tos {
            packet.tos = tos;
            set_tos(&mut delivered.header, tos);
        }
        delivered.body = delivered.body.start + start..delivered.body.end + start;
        Some(delivered)
    }

    /// The IP header is made anew from the outer one.
    fn unwrap_transport(&self, arrival: &mut Arrival<'_>, opened: Opened) -> Option<Delivered> {
        let payload_len = opened.payload.len();
        let new = NewHeader {
            source: arrival.remote.ip(),
            destination: arrival.local,
            next_header: opened.next_header,
            tos: arrival.tos,
            ttl: TTL,
            payload_len,
        };
        let payload = arrival.bytes.get_mut(opened.payload.clone())?;
        if let Some((original_local, original_remote)) = self.original_addresses {
            let was = (original_remote, original_local);
            fix_checksum(payload, opened.next_header, was, (new.source, new.destination));
        }
        let mut header = [0; IPV6_LEN];
        let header_len = new.write(&mut header)?;
        let packet = parse_split(header.get(..header_len)?, payload)?;
        Some(Delivered { header, header_len, body: opened.payload, packet })
    }

    fn selects(&self, packet: &Packet) -> bool {
        let (source, destination) = (packet.ports.map(|p| p.0), packet.ports.map(|p| p.1));
        let ours = self.local_ts.iter();
        let theirs = self.remote_ts.iter();
        theirs.into_iter().any(|ts| ts.contains(packet.source, packet.protocol, source))
            && ours
                .into_iter()
                .any(|ts| ts.contains_destination(packet.destination, packet.protocol, destination))
    }

    /// Lowers the MSS in a SYN, so that what answers it fits the tunnel.
    fn clamp(&self, delivered: &mut Delivered, bytes: &mut [u8]) {
        let packet = &delivered.packet;
        if packet.protocol != protocol::TCP || packet.ports.is_none() {
            return;
        }
        let at = delivered.body.start + (packet.header_len - packet.fixed_header_len());
        let headers = packet.fixed_header_len() + crate::tcp::TCP_LEN;
        let mss = u16::try_from(self.max_inner.saturating_sub(headers)).unwrap_or(u16::MAX);
        if let Some(segment) = bytes.get_mut(at..delivered.body.end) {
            clamp_mss(segment, mss);
        }
    }
}

/// Reads a packet whose fixed header stands apart: the headers are brought together for as far as ports can be.
fn parse_split(header: &[u8], payload: &[u8]) -> Option<Packet> {
    if header.len() == IPV4_LEN {
        // Ports stand right behind the header; the total length is checked against a stand-in.
        let mut start = [0; IPV4_LEN + 8];
        let seen = payload.len().min(8);
        start.get_mut(..IPV4_LEN)?.copy_from_slice(header);
        start.get_mut(IPV4_LEN..IPV4_LEN + seen)?.copy_from_slice(payload.get(..seen)?);
        let short = (IPV4_LEN + seen) as u16;
        start.get_mut(2..4)?.copy_from_slice(&short.to_be_bytes());
        let mut packet = Packet::parse(start.get(..IPV4_LEN + seen)?).ok()?;
        packet.total_len = IPV4_LEN + payload.len();
        return Some(packet);
    }
    // Extension headers may follow; they are walked in a copy of the packet's beginning.
    let mut start = [0; IPV6_LEN + 512];
    let seen = payload.len().min(512);
    start.get_mut(..IPV6_LEN)?.copy_from_slice(header);
    start.get_mut(IPV6_LEN..IPV6_LEN + seen)?.copy_from_slice(payload.get(..seen)?);
    start.get_mut(4..6)?.copy_from_slice(&(seen as u16).to_be_bytes());
    let mut packet = Packet::parse(start.get(..IPV6_LEN + seen)?).ok()?;
    packet.total_len = IPV6_LEN + payload.len();
    Some(packet)
}

/// Corrects a TCP or UDP checksum that was made for other addresses (RFC 3948 §3.1.2).
//= rfc3948 §3.1.2
fn fix_checksum(payload: &mut [u8], next_header: u8, was: (IpAddr, IpAddr), is: (IpAddr, IpAddr)) {
    let at = match next_header {
        protocol::TCP => 16,
        protocol::UDP | protocol::UDP_LITE => 6,
        protocol::ICMPV6 => 2,
        _ => return,
    };
    let Some(slot) = payload.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else { return };
    let old = u16::from_be_bytes(*slot);
    if old == 0 && next_header == protocol::UDP {
        return;
    }
    let new = adjust_address(adjust_address(old, was.0, is.0), was.1, is.1);
    // In UDP an all-zero checksum means that there is none.
    let new = if new == 0 && next_header == protocol::UDP { 0xffff } else { new };
    *slot = new.to_be_bytes();
}

/// All receiving halves.
#[derive(Default, Debug)]
pub struct Inbound {
    by_spi: BTreeMap<EspSpi, InboundChild>,
    by_id: BTreeMap<ChildId, EspSpi>,
    /// Dropped: no child has the packet's SPI, or it is too short to carry one.
    pub unknown: u64,
}

impl Inbound {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a child; one of the same name is replaced. `false` when another child has its SPI: nothing is done then.
    pub fn install(&mut self, child: InboundChild) -> bool {
        let spi = child.sa.spi();
        if self.by_spi.get(&spi).is_some_and(|other| other.id != child.id) {
            return false;
        }
        self.remove(child.id);
        self.by_id.insert(child.id, spi);
        self.by_spi.insert(spi, child);
        true
    }

    /// Removes a child and answers it.
    pub fn remove(&mut self, id: ChildId) -> Option<InboundChild> {
        let spi = self.by_id.remove(&id)?;
        self.by_spi.remove(&spi)
    }

    /// The child of this name.
    pub fn get_mut(&mut self, id: ChildId) -> Option<&mut InboundChild> {
        self.by_spi.get_mut(self.by_id.get(&id)?)
    }

    /// Checks, decrypts and unwraps an ESP packet in place.
    #[inline]
    pub fn receive(&mut self, arrival: &mut Arrival<'_>, now: Instant) -> Result<Accepted, Refused> {
        let Some(spi) = arrival.bytes.first_chunk::<4>() else {
            self.unknown += 1;
            return Err(Refused::Runt);
        };
        let Some(child) = self.by_spi.get_mut(&EspSpi(u32::from_be_bytes(*spi))) else {
            self.unknown += 1;
            return Err(Refused::UnknownSpi);
        };
        child.accept(arrival, now)
    }
}
