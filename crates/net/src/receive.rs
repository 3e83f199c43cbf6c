//! Receiving: each datagram is sorted into IKE, ESP or noise before anything is parsed.

use crate::limits::MAX_RECEIVE_BATCH;
use crate::open::{Channel, Family, Kind, Sockets};
use crate::sys::{Meta, Receiver};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

/// An IKE message as it arrived, the non-ESP marker taken off.
#[derive(Debug, PartialEq, Eq)]
pub struct UdpDatagram<'a> {
    /// The address and port that it was sent to.
    pub local: SocketAddr,
    /// Where it came from.
    pub remote: SocketAddr,
    /// Whether it stood behind the non-ESP marker (port 4500): answers must as well.
    pub marked: bool,
    /// The IKE message.
    pub bytes: &'a mut [u8],
}

/// An ESP packet as it arrived, from the SPI to the integrity check value.
#[derive(Debug, PartialEq, Eq)]
pub struct EspPacket<'a> {
    /// The address that it was sent to, and our port when it came in UDP (else 0).
    pub local: SocketAddr,
    /// Where it came from; port 0 without UDP.
    pub remote: SocketAddr,
    /// Whether it came in UDP.
    pub udp: bool,
    /// The outer header's DSCP and ECN octet.
    pub tos: u8,
    /// The ESP packet; it may be decrypted in place.
    pub bytes: &'a mut [u8],
}

/// What is dropped without a look inside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Noise {
    /// A NAT keepalive: one octet 0xFF (RFC 3948 §2.3).
    Keepalive,
    /// Too short to be anything.
    Runt,
}

/// One thing that arrived.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// An IKE message.
    Ike(UdpDatagram<'a>),
    /// An ESP packet.
    Esp(EspPacket<'a>),
    /// Nothing of use; worth a counter at most.
    Noise(Noise),
}

/// Buffers for one call of [`Sockets::receive`]: made once, used for every call.
pub struct Batch(Receiver);

impl Batch {
    /// Buffers for the largest batch; the memory is only touched as packets need it.
    pub fn new() -> Self {
        Self(Receiver::new())
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Sockets {
    /// Takes what has arrived at descriptor `index` without waiting and hands each packet to `take`.
    /// Answers how many datagrams were taken; 0 when there was nothing. `max` bounds the batch.
    /// The packets live in `batch` until it is used again.
    pub fn receive<'b>(
        &self,
        index: usize,
        max: usize,
        batch: &'b mut Batch,
        mut take: impl FnMut(Packet<'b>),
    ) -> io::Result<usize> {
        let Some(channel) = self.channels.get(index) else { return Ok(0) };
        let max = max.clamp(1, MAX_RECEIVE_BATCH);
        let count = match batch.0.receive(channel.socket.as_fd(), max) {
            Ok(count) => count,
            Err(error) if is_passing(&error) => return Ok(0),
            Err(error) => return Err(error),
        };
        for (meta, octets) in batch.0.datagrams() {
            sort(channel, &meta, octets, &mut take);
        }
        Ok(count)
    }
}

/// Whether an error means "nothing now": reading it clears it, and it says nothing about the next packet (an ICMP error
/// for an earlier one, a moment without memory). The others say that this is no socket any more.
fn is_passing(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EFAULT))
}

fn sort<'b>(channel: &Channel, meta: &Meta, octets: &'b mut [u8], take: &mut impl FnMut(Packet<'b>)) {
    let local = local_address(channel, meta);
    let remote = meta.remote;
    match channel.kind {
        Kind::Ike => take(Packet::Ike(UdpDatagram { local, remote, marked: false, bytes: octets })),
        Kind::Nat => {
            let size = meta.segment.unwrap_or(octets.len()).max(1);
            if octets.is_empty() {
                return take(Packet::Noise(Noise::Runt));
            }
            for bytes in octets.chunks_mut(size) {
                take(sort_marked(local, remote, meta.tos, bytes));
            }
        }
        Kind::RawEsp => {
            let remote = without_port(remote);
            let (tos, skip) = match channel.family {
                Family::V4 => ipv4_heading(octets),
                Family::V6 => (meta.tos, 0),
            };
            match octets.get_mut(skip..) {
                Some(bytes) if !bytes.is_empty() => {
                    take(Packet::Esp(EspPacket { local, remote, udp: false, tos, bytes }));
                }
                _ => take(Packet::Noise(Noise::Runt)),
            }
        }
    }
}

/// Splits port 4500: four zero octets stand where an SPI would, since SPI 0 is never used.
//= rfc3948 §2.2, §2.3
fn sort_marked(local: SocketAddr, remote: SocketAddr, tos: u8, bytes: &mut [u8]) -> Packet<'_> {
    match bytes {
        [0xff] => Packet::Noise(Noise::Keepalive),
        [0, 0, 0, 0, message @ ..] => {
            Packet::Ike(UdpDatagram { local, remote, marked: true, bytes: message })
        }
        [_, _, _, _, ..] => Packet::Esp(EspPacket { local, remote, udp: true, tos, bytes }),
        _ => Packet::Noise(Noise::Runt),
    }
}

/// DSCP and ECN, and the header's length, of the IPv4 header that a raw socket delivers.
fn ipv4_heading(octets: &[u8]) -> (u8, usize) {
    match octets {
        [first, tos, ..] => (*tos, usize::from(first & 0x0f) * 4),
        _ => (0, octets.len()),
    }
}

fn local_address(channel: &Channel, meta: &Meta) -> SocketAddr {
    match meta.local {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, channel.port, 0, meta.interface).into()
        }
        ip => SocketAddr::new(ip, channel.port),
    }
}

fn without_port(mut address: SocketAddr) -> SocketAddr {
    address.set_port(0);
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(bytes: &mut [u8]) -> Packet<'_> {
        let local = "192.0.2.1:4500".parse().unwrap();
        let remote = "198.51.100.1:4500".parse().unwrap();
        sort_marked(local, remote, 0, bytes)
    }

    //= rfc3948 §2.2, §2.3
    #[test]
    fn s127_the_marker_splits_ike_from_esp() {
        assert!(matches!(sorted(&mut [0, 0, 0, 0, 1, 2]), Packet::Ike(d) if d.marked && d.bytes == [1, 2]));
        assert!(matches!(sorted(&mut [0, 0, 0, 0]), Packet::Ike(d) if d.bytes.is_empty()));
        assert!(matches!(sorted(&mut [0, 0, 1, 0, 1]), Packet::Esp(p) if p.udp && p.bytes.len() == 5));
        assert_eq!(sorted(&mut [0xff]), Packet::Noise(Noise::Keepalive));
        assert_eq!(sorted(&mut [0xfe]), Packet::Noise(Noise::Runt));
        assert_eq!(sorted(&mut [0, 0, 0]), Packet::Noise(Noise::Runt));
    }

    #[test]
    fn a_raw_ipv4_header_is_skipped_with_its_options() {
        assert_eq!(ipv4_heading(&[0x46, 0x03, 0, 0]), (3, 24));
        assert_eq!(ipv4_heading(&[0x45]), (0, 1));
    }
}
