//! Merging TCP segments that arrived together into one packet for the kernel (the software twin of
//! generic receive offload): one pass through the stack instead of one for each.

use crate::device::{PacketSink, VIRTIO_LEN};
use crate::limits::{MAX_MERGED, MAX_PACKET, MAX_RUNS};
use crate::virtio;
use esp::Delivered;
use esp::checksum::pseudo_header;
use esp::ip::{Packet, protocol, set_ipv4_checksum};
use esp::tcp::TCP_LEN;
use std::io::IoSlice;
use std::net::IpAddr;

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// IP header without options, and TCP with all options.
const HEADERS: usize = 40 + 60;

/// Takes the packets of one batch of arrivals and writes them to their devices, merged where possible.
pub(crate) struct Merger<'d, 'b, S> {
    merge: bool,
    runs: [Option<Run<'d, 'b, S>>; MAX_RUNS],
    /// The run to be written when another is needed.
    oldest: usize,
    /// Packets that a device did not take.
    pub(crate) lost: u64,
}

/// Segments of one flow, each following the one before without a gap.
struct Run<'d, 'b, S> {
    device: &'d S,
    headers: [u8; HEADERS],
    ip_len: usize,
    headers_len: usize,
    packet: Packet,
    next_sequence: u32,
    /// Octets of payload in every segment but the last.
    size: usize,
    payload_len: usize,
    bodies: [&'b [u8]; MAX_MERGED],
    count: usize,
    /// Nothing may follow: the last segment was shorter or wants to be delivered at once.
    closed: bool,
}

/// A segment that could be merged, its checksum checked.
struct Segment<'a, 'b> {
    ip: &'a [u8],
    tcp: &'b [u8],
    body: &'b [u8],
    packet: &'a Packet,
    sequence: u32,
}

impl<'d, 'b, S: PacketSink> Merger<'d, 'b, S> {
    pub(crate) fn new(merge: bool) -> Self {
        Self { merge, runs: [const { None }; MAX_RUNS], oldest: 0, lost: 0 }
    }

    /// Takes one packet for `device`: its fixed IP header is in `delivered`, the rest in `body`.
    pub(crate) fn push(&mut self, device: &'d S, delivered: &Delivered, body: &'b [u8]) {
        let packet = &delivered.packet;
        if packet.protocol == protocol::TCP && self.merge {
            let is_own = |run: &Run<'d, 'b, S>| std::ptr::eq(run.device, device) && run.is_of(packet);
            let own = self.runs.iter().position(|run| run.as_ref().is_some_and(is_own));
            let segment = Segment::read(delivered, body);
            match (own, segment) {
                (Some(at), Some(segment)) => return self.append(at, &segment),
                (None, Some(segment)) => return self.begin(device, &segment),
                // Anything else of a flow must not overtake its segments.
                (Some(at), None) => self.write_run(at),
                (None, None) => {}
            }
        }
        let header = virtio::finished(false);
        let parts = [IoSlice::new(&header), IoSlice::new(delivered.header()), IoSlice::new(body)];
        self.write(device, &parts, 1);
    }

    /// Writes all that was kept back.
    pub(crate) fn flush(&mut self) {
        for at in 0..MAX_RUNS {
            self.write_run(at);
        }
    }

    fn append(&mut self, at: usize, segment: &Segment<'_, 'b>) {
        let Some(Some(run)) = self.runs.get_mut(at) else { return };
        if run.append(segment) {
            return;
        }
        let device = run.device;
        self.write_run(at);
        if let Some(slot) = self.runs.get_mut(at) {
            *slot = Run::begin(device, segment);
        }
    }

    fn begin(&mut self, device: &'d S, segment: &Segment<'_, 'b>) {
        let at = self.runs.iter().position(Option::is_none).unwrap_or(self.oldest);
        self.write_run(at);
        self.oldest = (at + 1) % MAX_RUNS;
        if let Some(slot) = self.runs.get_mut(at) {
            *slot = Run::begin(device, segment);
        }
    }

    fn write_run(&mut self, at: usize) {
        let Some(mut run) = self.runs.get_mut(at).and_then(Option::take) else { return };
        let header = run.finish();
        let mut parts = [IoSlice::new(&[]); MAX_MERGED + 2];
        parts[0] = IoSlice::new(&header);
        parts[1] = IoSlice::new(run.headers.get(..run.headers_len).unwrap_or(&[]));
        for (part, body) in parts.iter_mut().skip(2).zip(&run.bodies) {
            *part = IoSlice::new(body);
        }
        let parts = parts.get(..run.count + 2).unwrap_or(&parts);
        self.write(run.device, parts, run.count as u64);
    }

    fn write(&mut self, device: &S, parts: &[IoSlice<'_>], packets: u64) {
        if device.write(parts).is_err() {
            self.lost += packets;
        }
    }
}

impl<'a, 'b> Segment<'a, 'b> {
    /// `None` unless it is a plain data segment: no IP options or fragments, only ACK and PSH set,
    /// some payload, a right checksum.
    fn read(delivered: &'a Delivered, rest: &'b [u8]) -> Option<Self> {
        let (packet, ip) = (&delivered.packet, delivered.header());
        if packet.is_fragment || packet.header_len != ip.len() {
            return None;
        }
        let fixed = rest.first_chunk::<TCP_LEN>()?;
        let (len, flags) = (usize::from(fixed[12] >> 4) * 4, fixed[13]);
        if len < TCP_LEN || flags & !PSH != ACK {
            return None;
        }
        let (tcp, body) = rest.split_at_checked(len)?;
        let pseudo = pseudo_header(packet.source, packet.destination, protocol::TCP, rest.len());
        if body.is_empty() || pseudo.octets(rest).fold() != 0xffff {
            return None;
        }
        let sequence = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        Some(Self { ip, tcp, body, packet, sequence })
    }

    fn pushes(&self) -> bool {
        self.tcp.get(13).is_some_and(|flags| flags & PSH != 0)
    }
}

impl<'d, 'b, S> Run<'d, 'b, S> {
    fn begin(device: &'d S, segment: &Segment<'_, 'b>) -> Option<Self> {
        let (ip_len, headers_len) = (segment.ip.len(), segment.ip.len() + segment.tcp.len());
        let mut headers = [0; HEADERS];
        headers.get_mut(..ip_len)?.copy_from_slice(segment.ip);
        headers.get_mut(ip_len..headers_len)?.copy_from_slice(segment.tcp);
        let mut bodies: [&[u8]; MAX_MERGED] = [&[]; MAX_MERGED];
        bodies[0] = segment.body;
        Some(Self {
            device,
            headers,
            ip_len,
            headers_len,
            packet: *segment.packet,
            next_sequence: segment.sequence.wrapping_add(segment.body.len() as u32),
            size: segment.body.len(),
            payload_len: segment.body.len(),
            bodies,
            count: 1,
            closed: segment.pushes(),
        })
    }

    fn is_of(&self, packet: &Packet) -> bool {
        let flow = |p: &Packet| (p.ports, p.source, p.destination);
        flow(&self.packet) == flow(packet)
    }

    /// Takes the segment if it just continues this run.
    fn append(&mut self, segment: &Segment<'_, 'b>) -> bool {
        let len = segment.body.len();
        let fits = !self.closed
            && self.count < MAX_MERGED
            && len <= self.size
            && self.headers_len + self.payload_len + len <= MAX_PACKET
            && segment.sequence == self.next_sequence
            && self.has_same_headers(segment);
        if !fits {
            return false;
        }
        let Some(slot) = self.bodies.get_mut(self.count) else { return false };
        *slot = segment.body;
        self.count += 1;
        self.payload_len += len;
        self.next_sequence = self.next_sequence.wrapping_add(len as u32);
        if segment.pushes()
            && let Some(flags) = self.headers.get_mut(self.ip_len + 13)
        {
            *flags |= PSH;
        }
        self.closed = segment.pushes() || len < self.size;
        true
    }

    /// Whether everything but lengths, checksums, sequence number and PSH is equal, so that cutting the merged
    /// packet again would give the same segments.
    fn has_same_headers(&self, segment: &Segment<'_, '_>) -> bool {
        let Some((ip, tcp)) =
            self.headers.get(..self.headers_len).and_then(|h| h.split_at_checked(self.ip_len))
        else {
            return false;
        };
        let same_ip = match (ip, segment.ip) {
            // Version, DSCP and ECN; flags; TTL and protocol. Identifications count up, unless unfragmentable.
            ([v, t, _, _, i, j, f, g, l, p, ..], [v2, t2, _, _, i2, j2, f2, g2, l2, p2, ..])
                if ip.len() == 20 =>
            {
                let (first, own) = (u16::from_be_bytes([*i, *j]), u16::from_be_bytes([*i2, *j2]));
                let counts = own == first.wrapping_add(self.count as u16);
                let unfragmentable = f & 0x40 != 0 && own == first;
                (v, t, f, g, l, p) == (v2, t2, f2, g2, l2, p2) && (counts || unfragmentable)
            }
            _ => ip.get(..4) == segment.ip.get(..4) && ip.get(6..8) == segment.ip.get(6..8),
        };
        same_ip
            && tcp.len() == segment.tcp.len()
            && tcp.get(8..13) == segment.tcp.get(8..13)
            && tcp.get(14..16) == segment.tcp.get(14..16)
            && tcp.get(18..) == segment.tcp.get(18..)
    }

    /// Writes lengths and checksums of the merged packet; answers its virtio header.
    fn finish(&mut self) -> [u8; VIRTIO_LEN] {
        if self.count == 1 {
            return virtio::finished(true);
        }
        let total = self.headers_len + self.payload_len;
        let v4 = matches!(self.packet.source, IpAddr::V4(_));
        let pseudo =
            pseudo_header(self.packet.source, self.packet.destination, protocol::TCP, total - self.ip_len);
        let (ip, tcp) = self.headers.split_at_mut(self.ip_len);
        let (at, len) = if v4 { (2, total) } else { (4, total - self.ip_len) };
        if let Some(slot) = ip.get_mut(at..at + 2) {
            slot.copy_from_slice(&(len as u16).to_be_bytes());
        }
        if v4 {
            set_ipv4_checksum(ip);
        }
        if let Some(slot) = tcp.get_mut(16..18) {
            slot.copy_from_slice(&pseudo.fold().to_be_bytes());
        }
        virtio::merged(v4, self.ip_len, self.headers_len, self.size)
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
