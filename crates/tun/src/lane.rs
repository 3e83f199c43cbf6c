//! What one device has of the way out: its children, its traps, and the packets that come from it.

use crate::device::{Device, PacketSink, VIRTIO_LEN};
use crate::engine::{Input, Sink};
use crate::kept::{self, Kept};
use crate::limits::{MAX_PASSED, MAX_TRAIN};
use crate::outward::Allowance;
use crate::segment::{Segments, finish_checksum};
use crate::train::{Heading, Lost, Train};
use crate::virtio::{self, Unfinished};
use base::Rng;
use dataplane::{DataplaneEvent, Mode};
use esp::ip::{Packet, protocol};
use esp::tcp::{TCP_LEN, clamp_mss};
use esp::{IvPool, NotSent, Outbound, OutboundChild, Parts};
use net::{EspRoute, Sockets};
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

/// One device and all that its packets may leave by.
pub(crate) struct Lane {
    pub(crate) table: Outbound,
    /// What its traps keep.
    pub(crate) kept: Kept,
    /// Packets that neither a child's nor a trap's nor a passing shunt's selectors meant, or that are no IP.
    pub(crate) unmatched: u64,
    /// `None` while it is gone.
    pub(crate) device: Option<Arc<Device>>,
    /// Whether it is an interface, whose packets others have routed to it: none of them leaves in the clear.
    is_interface: bool,
    /// Whether packets that no child is meant for go on by the ordinary routes.
    pass: bool,
    told_loop: bool,
}

/// What all lanes send with.
pub(crate) struct Shared {
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) sink: Sink,
    train: Train,
    /// What could not be sent since the last count.
    lost: Vec<Lost>,
    icmp: Allowance,
}

impl Shared {
    pub(crate) fn new(sockets: Arc<Sockets>, sink: Sink) -> Self {
        Self { sockets, sink, train: Train::new(), lost: Vec::new(), icmp: Allowance::new(Instant::now()) }
    }
}

impl Lane {
    /// The engine's own device; `pass`: what no child means goes on by the ordinary routes.
    pub(crate) fn main(device: Arc<Device>, rng: Box<dyn Rng>, pass: bool) -> Self {
        Self { device: Some(device), is_interface: false, pass, ..Self::interface(rng) }
    }

    /// An interface, its device to come.
    pub(crate) fn interface(rng: Box<dyn Rng>) -> Self {
        Self {
            table: Outbound::new(rng),
            kept: Kept::default(),
            unmatched: 0,
            device: None,
            is_interface: true,
            pass: false,
            told_loop: false,
        }
    }

    /// Carries one packet (or train of segments) from the device.
    pub(crate) fn carry(&mut self, shared: &mut Shared, header: &[u8; VIRTIO_LEN], octets: &mut [u8]) {
        let (Some(unfinished), Ok(packet)) = (virtio::read(header), Packet::parse(octets)) else {
            self.unmatched += 1;
            return;
        };
        if self.table.bypasses(&packet) {
            // What the network refuses is lost, as it would be without us.
            let _ = pass(&shared.sockets, &packet, octets, &unfinished);
            return;
        }
        let Some((child, ivs)) = self.table.find(&packet) else {
            return self.without_child(shared, &packet, (header, octets), &unfinished);
        };
        if self.is_interface && is_own_packet(child, &packet) {
            child.counters.not_sent += 1;
            return self.tell_loop(shared, &packet);
        }
        let way = Way { train: &mut shared.train, sockets: &shared.sockets, lost: &mut shared.lost };
        let result = way.carry(child, ivs, &packet, octets, &unfinished);
        if let Err(not_sent) = result {
            child.counters.not_sent += 1;
            if not_sent == NotSent::TooBig
                && let Some(device) = &self.device
                && shared.icmp.take(Instant::now())
            {
                report_too_big(device, &packet, octets, child.max_inner);
            }
        }
        if let Some(hard) = child.take_expired() {
            (shared.sink)(Input::Event(DataplaneEvent::Expired { id: child.id, hard }));
        }
        if child.take_near_end() {
            (shared.sink)(Input::Event(DataplaneEvent::SequenceNearEnd(child.id)));
        }
    }

    fn without_child(
        &mut self,
        shared: &Shared,
        packet: &Packet,
        (header, octets): (&[u8], &mut [u8]),
        unfinished: &Unfinished,
    ) {
        if let Some(id) = self.table.find_trap(packet) {
            if self.kept.keep(Instant::now(), id, [header, octets]) {
                let packet = kept::selectors(packet);
                (shared.sink)(Input::Event(DataplaneEvent::Acquire { id, packet }));
            }
            return;
        }
        self.unmatched += 1;
        if self.pass && self.table.may_pass(packet) {
            // What the network refuses is lost, as it would be without us.
            let _ = pass(&shared.sockets, packet, octets, unfinished);
        }
    }

    fn tell_loop(&mut self, shared: &Shared, packet: &Packet) {
        if self.told_loop {
            return;
        }
        self.told_loop = true;
        let name = self.device.as_ref().map_or("an interface", |device| device.name());
        let (peer, mark) = (packet.destination, shared.sockets.mark());
        (shared.sink)(Input::Note(format!(
            "Our own packets to the peer at {peer} are routed into {name}, whose tunnel they carry, and are dropped. Let \
             packets with our mark take another route: `ip rule add not fwmark {mark:#x}/{mark:#x} lookup TABLE`, with the \
             routes through {name} in that table."
        )));
    }

    /// Sends what traps kept and a child carries now.
    pub(crate) fn release(&mut self, shared: &mut Shared) {
        for (id, mut waiting) in self.kept.take(Instant::now()) {
            let parts = split_virtio(&mut waiting.octets);
            let ready = parts.as_ref().and_then(|(_, octets)| Packet::parse(octets).ok());
            match (parts, ready.filter(|packet| self.table.find(packet).is_some())) {
                (Some((header, octets)), Some(_)) => self.carry(shared, header, octets),
                _ => self.kept.put_back(id, waiting),
            }
        }
        self.flush(shared);
    }

    /// Sends what is queued; all of it is of this lane.
    pub(crate) fn flush(&mut self, shared: &mut Shared) {
        shared.lost.extend(shared.train.flush(&shared.sockets).err());
        for lost in shared.lost.drain(..) {
            if let Some(child) = self.table.get_mut(lost.child) {
                child.counters.not_sent += lost.packets;
            }
        }
    }
}

/// Whether it is ESP (or IKE beside it) between a child's own outer addresses: in its tunnel it would only come here again.
fn is_own_packet(child: &OutboundChild, packet: &Packet) -> bool {
    child.mode == Mode::Tunnel
        && packet.destination == child.remote.ip()
        && packet.source == child.local.ip()
        && match packet.protocol {
            protocol::ESP => !child.udp_encap,
            protocol::UDP => packet.ports == Some((child.local.port(), child.remote.port())),
            _ => false,
        }
}

pub(crate) fn split_virtio(octets: &mut [u8]) -> Option<(&[u8; VIRTIO_LEN], &mut [u8])> {
    let (header, packet) = octets.split_first_chunk_mut::<VIRTIO_LEN>()?;
    Some((header, packet))
}
/// Where sealed packets go.
struct Way<'a> {
    train: &'a mut Train,
    sockets: &'a Sockets,
    lost: &'a mut Vec<Lost>,
}

impl Way<'_> {
    fn carry(
        mut self,
        child: &mut OutboundChild,
        ivs: &mut IvPool,
        packet: &Packet,
        octets: &mut [u8],
        unfinished: &Unfinished,
    ) -> Result<(), NotSent> {
        if unfinished.train.is_some() {
            let mut segments = Segments::new(octets, packet, unfinished).ok_or(NotSent::NotTransportable)?;
            child.admits(packet, segments.longest())?;
            while let Some((head, body)) = segments.next() {
                self.seal(child, ivs, packet, Parts { head, body })?;
            }
            return Ok(());
        }
        child.admits(packet, packet.total_len)?;
        let octets = octets.get_mut(..packet.total_len).ok_or(NotSent::NoRoom)?;
        if let Some(place) = unfinished.checksum {
            finish_checksum(octets, place).ok_or(NotSent::NotTransportable)?;
        }
        if packet.protocol == protocol::TCP && packet.ports.is_some() {
            let mss = child.max_inner.saturating_sub(packet.fixed_header_len() + TCP_LEN);
            let segment = octets.get_mut(packet.header_len..).unwrap_or(&mut []);
            clamp_mss(segment, u16::try_from(mss).unwrap_or(u16::MAX));
        }
        let (head, body) = octets.split_at(packet.fixed_header_len());
        self.seal(child, ivs, packet, Parts { head, body })
    }

    fn seal(
        &mut self,
        child: &mut OutboundChild,
        ivs: &mut IvPool,
        packet: &Packet,
        parts: Parts<'_>,
    ) -> Result<(), NotSent> {
        let route = EspRoute { local: child.local, remote: child.remote, udp: child.udp_encap };
        let heading = Heading { child: child.id, route, tos: child.outer_tos(packet) };
        let len = child.frame_len(packet, parts.head.len() + parts.body.len());
        if len > MAX_TRAIN {
            return Err(NotSent::NoRoom);
        }
        if !self.train.takes(&heading, len) {
            self.lost.extend(self.train.flush(self.sockets).err());
        }
        let len = child.encapsulate(packet, parts, self.train.room(), ivs)?;
        self.train.push(heading, len);
        Ok(())
    }
}

/// Sends a packet (or train) that is to leave outside of all tunnels by the ordinary routes.
fn pass(sockets: &Sockets, packet: &Packet, octets: &mut [u8], unfinished: &Unfinished) -> Option<()> {
    if unfinished.train.is_some() {
        let mut segments = Segments::new(octets, packet, unfinished)?;
        let mut whole = [0; MAX_PASSED];
        while let Some((head, body)) = segments.next() {
            let (first, rest) = whole.get_mut(..head.len() + body.len())?.split_at_mut(head.len());
            first.copy_from_slice(head);
            rest.copy_from_slice(body);
            sockets.send_whole(packet.destination, whole.get(..head.len() + body.len())?).ok()?;
        }
        return Some(());
    }
    if let Some(place) = unfinished.checksum {
        finish_checksum(octets, place)?;
    }
    sockets.send_whole(packet.destination, octets.get(..packet.total_len)?).ok()
}

/// Tells the sender of a packet that does not fit.
//= rfc4301 §8.2.1
fn report_too_big(device: &Device, packet: &Packet, octets: &[u8], mtu: usize) {
    let mut error = [0; esp::limits::MAX_ICMP_ERROR_V6];
    if let Some(len) = esp::icmp::too_big(packet, octets, mtu, &mut error) {
        let header = virtio::finished(false);
        let error = error.get(..len).unwrap_or(&[]);
        // Lost, it will be made again for the sender's next attempt.
        let _ = device.write(&[IoSlice::new(&header), IoSlice::new(error)]);
    }
}
