//! Finishing what the kernel left undone: checksums, and trains cut into segments (the software twin of
//! TCP and UDP segmentation offload).

use crate::limits::MAX_HEADERS;
use crate::virtio::{Train, Unfinished};
use esp::checksum::{Sum, pseudo_header};
use esp::ip::{Packet, set_ipv4_checksum};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Computes the checksum that the kernel left at `start` + `offset`; its place holds the pseudo-header's
/// sum. `None` when that lies outside the packet.
pub(crate) fn finish_checksum(octets: &mut [u8], (start, offset): (usize, usize)) -> Option<()> {
    let covered = octets.get_mut(start..)?;
    let checksum = Sum::default().octets(covered).checksum();
    let slot = covered.get_mut(offset..)?.first_chunk_mut::<2>()?;
    // All ones is the same number, and in UDP all zeros means that there is no checksum.
    *slot = if checksum == 0 { [0xff, 0xff] } else { checksum.to_be_bytes() };
    Some(())
}

/// A train of segments: shared headers and the payload to be cut.
pub(crate) struct Segments<'a> {
    headers: [u8; MAX_HEADERS],
    headers_len: usize,
    packet: &'a Packet,
    train: Train,
    size: usize,
    payload: &'a [u8],
    /// TCP's flags of the whole train.
    flags: u8,
    at: usize,
}

impl<'a> Segments<'a> {
    /// Prepares to cut `octets`, which `packet` describes. `None` when its headers do not add up.
    pub(crate) fn new(octets: &'a [u8], packet: &'a Packet, unfinished: &Unfinished) -> Option<Self> {
        let (train, size) = unfinished.train?;
        let upper = packet.header_len;
        let upper_len = match train {
            Train::Tcp => usize::from(octets.get(upper + 12)? >> 4) * 4,
            Train::Udp => 8,
        };
        let headers_len = upper + upper_len;
        if upper_len < 8 || (train == Train::Tcp && upper_len < 20) || packet.is_fragment {
            return None;
        }
        let mut headers = [0; MAX_HEADERS];
        headers.get_mut(..headers_len)?.copy_from_slice(octets.get(..headers_len)?);
        let payload = octets.get(headers_len..packet.total_len)?;
        let flags = if train == Train::Tcp { *octets.get(upper + 13)? } else { 0 };
        Some(Self { headers, headers_len, packet, train, size, payload, flags, at: 0 })
    }

    /// Octets of the longest segment, headers included.
    pub(crate) fn longest(&self) -> usize {
        self.headers_len + self.size.min(self.payload.len())
    }

    /// The next segment: its headers and its payload.
    pub(crate) fn next(&mut self) -> Option<(&[u8], &'a [u8])> {
        if self.at >= self.payload.len() {
            return None;
        }
        let first = self.at == 0;
        let end = (self.at + self.size).min(self.payload.len());
        let body = self.payload.get(self.at..end)?;
        let last = end == self.payload.len();
        self.write_ip(body.len(), first)?;
        match self.train {
            Train::Tcp => self.write_tcp(body, first, last)?,
            Train::Udp => self.write_udp(body)?,
        }
        self.at = end;
        Some((self.headers.get(..self.headers_len)?, body))
    }

    fn write_ip(&mut self, body_len: usize, first: bool) -> Option<()> {
        let total = self.headers_len + body_len;
        if self.packet.source.is_ipv4() {
            let header = self.headers.get_mut(..self.packet.header_len)?;
            header.get_mut(2..4)?.copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
            if !first {
                let id = header.get_mut(4..6)?.first_chunk_mut::<2>()?;
                *id = u16::from_be_bytes(*id).wrapping_add(1).to_be_bytes();
            }
            set_ipv4_checksum(header);
        } else {
            let len = u16::try_from(total - 40).ok()?;
            self.headers.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
        }
        Some(())
    }

    fn write_tcp(&mut self, body: &[u8], first: bool, last: bool) -> Option<()> {
        let len = self.headers_len - self.packet.header_len + body.len();
        let pseudo = pseudo_header(self.packet.source, self.packet.destination, self.packet.protocol, len);
        let size = self.size as u32;
        let tcp = self.headers.get_mut(self.packet.header_len..self.headers_len)?;
        if !first {
            let sequence = tcp.get_mut(4..8)?.first_chunk_mut::<4>()?;
            *sequence = u32::from_be_bytes(*sequence).wrapping_add(size).to_be_bytes();
        }
        let mut flags = self.flags;
        if !last {
            flags &= !(FIN | PSH);
        }
        if !first {
            flags &= !CWR;
        }
        *tcp.get_mut(13)? = flags;
        tcp.get_mut(16..18)?.fill(0);
        let checksum = pseudo.octets(tcp).octets(body).checksum();
        tcp.get_mut(16..18)?.copy_from_slice(&checksum.to_be_bytes());
        Some(())
    }

    fn write_udp(&mut self, body: &[u8]) -> Option<()> {
        let len = 8 + body.len();
        let pseudo = pseudo_header(self.packet.source, self.packet.destination, self.packet.protocol, len);
        let udp = self.headers.get_mut(self.packet.header_len..self.headers_len)?;
        udp.get_mut(4..6)?.copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
        udp.get_mut(6..8)?.fill(0);
        let checksum = pseudo.octets(udp).octets(body).checksum();
        let checksum = if checksum == 0 { 0xffff } else { checksum };
        udp.get_mut(6..8)?.copy_from_slice(&checksum.to_be_bytes());
        Some(())
    }
}
