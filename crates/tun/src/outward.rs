//! The thread from the device to the network.

use crate::device::{Device, PacketSink, VIRTIO_LEN};
use crate::engine::{Input, Sink};
use crate::kept::{self, Kept};
use crate::limits::{MAX_ICMP_ERRORS, MAX_PASSED, MAX_READ, MAX_READS, MAX_TRAIN};
use crate::mailbox::Tasks;
use crate::segment::{Segments, finish_checksum};
use crate::train::{Heading, Lost, Train};
use crate::virtio::{self, Unfinished};
use dataplane::DataplaneEvent;
use esp::ip::{Packet, protocol};
use esp::tcp::{TCP_LEN, clamp_mss};
use esp::{IvPool, NotSent, Outbound, OutboundChild, Parts};
use net::{EspRoute, Sockets, wait_readable};
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What the thread owns.
pub(crate) struct Outward {
    pub(crate) table: Outbound,
    /// Packets that neither a child's nor a trap's nor a passing shunt's selectors meant, or that are no IP.
    pub(crate) unmatched: u64,
    /// Whether packets that no child is meant for go on by the ordinary routes.
    pass: bool,
    device: Arc<Device>,
    sockets: Arc<Sockets>,
    sink: Sink,
    train: Train,
    /// What could not be sent since the last count.
    lost: Vec<Lost>,
    icmp: Allowance,
    /// What traps keep.
    pub(crate) kept: Kept,
}

impl Outward {
    pub(crate) fn new(
        (table, pass): (Outbound, bool),
        device: Arc<Device>,
        sockets: Arc<Sockets>,
        sink: Sink,
    ) -> Self {
        let (train, lost, icmp) = (Train::new(), Vec::new(), Allowance::new(Instant::now()));
        let kept = Kept::default();
        Self { table, unmatched: 0, pass, device, sockets, sink, train, lost, icmp, kept }
    }

    /// Carries packets until `stop` is set.
    pub(crate) fn run(mut self, tasks: &Tasks<Self>, stop: &AtomicBool) {
        let mut buffer = vec![0; MAX_READ];
        let device = self.device.clone();
        while !stop.load(Ordering::Acquire) {
            let ready = match wait_readable(&[device.as_fd(), tasks.descriptor()], None) {
                Ok(ready) => ready,
                Err(error) => {
                    return (self.sink)(Input::Fault(format!("Waiting for packets failed: {error}.")));
                }
            };
            if ready & 2 != 0 {
                tasks.run(&mut self);
            }
            if ready & 1 == 0 {
                continue;
            }
            for _ in 0..MAX_READS {
                match device.read(&mut buffer) {
                    Ok(Some(len)) => {
                        if let Some((header, packet)) = buffer.get_mut(..len).and_then(split_virtio) {
                            self.carry(header, packet);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.flush();
                        return (self.sink)(Input::Fault(format!(
                            "Reading from the device {} failed: {error}.",
                            device.name()
                        )));
                    }
                }
            }
            self.flush();
        }
    }

    /// Carries one packet (or train of segments) from the device.
    fn carry(&mut self, header: &[u8; VIRTIO_LEN], octets: &mut [u8]) {
        let (Some(unfinished), Ok(packet)) = (virtio::read(header), Packet::parse(octets)) else {
            self.unmatched += 1;
            return;
        };
        if self.table.bypasses(&packet) {
            // What the network refuses is lost, as it would be without us.
            let _ = pass(&self.sockets, &packet, octets, &unfinished);
            return;
        }
        let Some((child, ivs)) = self.table.find(&packet) else {
            if let Some(id) = self.table.find_trap(&packet) {
                if self.kept.keep(Instant::now(), id, [header, octets]) {
                    let packet = kept::selectors(&packet);
                    (self.sink)(Input::Event(DataplaneEvent::Acquire { id, packet }));
                }
                return;
            }
            self.unmatched += 1;
            if self.pass && self.table.may_pass(&packet) {
                // What the network refuses is lost, as it would be without us.
                let _ = pass(&self.sockets, &packet, octets, &unfinished);
            }
            return;
        };
        let way = Way { train: &mut self.train, sockets: &self.sockets, lost: &mut self.lost };
        let result = way.carry(child, ivs, &packet, octets, &unfinished);
        if let Err(not_sent) = result {
            child.counters.not_sent += 1;
            if not_sent == NotSent::TooBig && self.icmp.take(Instant::now()) {
                report_too_big(&self.device, &packet, octets, child.max_inner);
            }
        }
        if let Some(hard) = child.take_expired() {
            (self.sink)(Input::Event(DataplaneEvent::Expired { id: child.id, hard }));
        }
        if child.take_near_end() {
            (self.sink)(Input::Event(DataplaneEvent::SequenceNearEnd(child.id)));
        }
    }

    /// Sends what traps kept and a child carries now.
    pub(crate) fn release(&mut self) {
        for (id, mut waiting) in self.kept.take(Instant::now()) {
            let parts = split_virtio(&mut waiting.octets);
            let ready = parts.as_ref().and_then(|(_, octets)| Packet::parse(octets).ok());
            match (parts, ready.filter(|packet| self.table.find(packet).is_some())) {
                (Some((header, octets)), Some(_)) => self.carry(header, octets),
                _ => self.kept.put_back(id, waiting),
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.lost.extend(self.train.flush(&self.sockets).err());
        for lost in self.lost.drain(..) {
            if let Some(child) = self.table.get_mut(lost.child) {
                child.counters.not_sent += lost.packets;
            }
        }
    }
}

fn split_virtio(octets: &mut [u8]) -> Option<(&[u8; VIRTIO_LEN], &mut [u8])> {
    let (header, packet) = octets.split_first_chunk_mut::<VIRTIO_LEN>()?;
    Some((header, packet))
}

/// How many ICMP errors may be sent now.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { left: MAX_ICMP_ERRORS.into(), at: now }
    }

    /// Whether one more may be sent.
    //= rfc4443 §2.4
    fn take(&mut self, now: Instant) -> bool {
        let most = f64::from(MAX_ICMP_ERRORS);
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * most;
        self.left = (self.left + grown).min(most);
        self.at = now;
        let some = self.left >= 1.0;
        if some {
            self.left -= 1.0;
        }
        some
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    //= rfc4443 §2.4
    #[test]
    fn errors_are_sent_at_a_bounded_rate() {
        let start = Instant::now();
        let mut icmp = Allowance::new(start);
        let sent = |icmp: &mut Allowance, now| (0..10_000).filter(|_| icmp.take(now)).count();
        assert_eq!(sent(&mut icmp, start), MAX_ICMP_ERRORS as usize);
        assert_eq!(sent(&mut icmp, start + Duration::from_millis(105)), MAX_ICMP_ERRORS as usize / 10);
        assert_eq!(sent(&mut icmp, start), 0, "a clock that stands still gives nothing");
        assert_eq!(sent(&mut icmp, start + Duration::from_secs(3600)), MAX_ICMP_ERRORS as usize);
    }
}
