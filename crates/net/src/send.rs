//! Sending IKE messages and trains of ESP packets.

use crate::error::{Error, refused};
use crate::limits::{MAX_IKE_MESSAGE, MAX_SEGMENTED, MAX_SEGMENTS};
use crate::open::{Family, Kind, Sockets, set_dont_fragment};
use crate::sys::{self, Heading};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::PoisonError;

/// The outer addresses of a train of ESP packets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EspRoute {
    /// Our address; its port is not used (UDP leaves from the port for NAT).
    pub local: SocketAddr,
    /// The peer's address, and its port when in UDP.
    pub remote: SocketAddr,
    /// Whether the packets travel in UDP (RFC 3948).
    pub udp: bool,
}

impl Sockets {
    /// Sends one IKE message from `local` to `remote`: from the port for NAT when `local` has that
    /// port or the message is `marked`, else from the IKE port. `marked` puts the non-ESP marker in
    /// front; a NAT keepalive is `[0xff]` unmarked from the port for NAT. Never waits: a full
    /// socket buffer is an error, as if the network had lost the message.
    pub fn send_ike(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        marked: bool,
        bytes: &[u8],
    ) -> Result<(), Error> {
        if bytes.len() > MAX_IKE_MESSAGE {
            return Err(Error::TooLong { octets: bytes.len() });
        }
        let family = Family::of(remote.ip());
        let shared = marked || self.port(Kind::Nat) == Some(local.port());
        let kind = if shared { Kind::Nat } else { Kind::Ike };
        let channel = self
            .find(kind, family)
            .ok_or_else(|| Error::NoSocket { what: format!("an IKE message from {local} to {remote}") })?;
        let marker: &[u8] = if marked { &[0; 4] } else { &[] };
        let heading = Heading { remote, local: local.ip(), tos: 0 };
        let send = || {
            let socket = channel.socket.as_fd();
            sys::send(socket, &heading, (marker, bytes), None, libc::MSG_DONTWAIT)
        };
        let sent = if kind == Kind::Nat && family == Family::V4 {
            // ESP on the same socket wants the don't-fragment bit. Packets that another thread sends
            // in between lack it, which costs them nothing.
            let _guard = self.fragmenting.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = set_dont_fragment(&channel.socket, family, false).and_then(|()| send());
            set_dont_fragment(&channel.socket, family, true).and(sent)
        } else {
            send()
        };
        sent.map_err(refused(&format!("send an IKE message from {local} to {remote}"), "CAP_NET_RAW"))
    }

    /// Sends an IP packet with its own header by the ordinary routes: what a tunnel's route caught although no tunnel
    /// is meant for it. Needs a mark and CAP_NET_RAW.
    pub fn send_whole(&self, destination: IpAddr, packet: &[u8]) -> io::Result<()> {
        let slot = match Family::of(destination) {
            Family::V4 => &self.whole[0],
            Family::V6 => &self.whole[1],
        };
        let socket = slot.as_ref().ok_or(io::ErrorKind::AddrNotAvailable)?;
        socket
            .send_to_with_flags(packet, &SocketAddr::new(destination, 0).into(), libc::MSG_DONTWAIT)
            .map(drop)
    }

    /// Sends the ESP packets that lie back to back in `octets`, each `size` octets long (the last may be
    /// shorter), all to one peer with one DSCP and ECN octet. Waits while the socket's buffer is
    /// full. Answers how many packets left, and the error that kept the others back.
    pub fn send_esp(&self, route: &EspRoute, tos: u8, octets: &[u8], size: usize) -> (usize, io::Result<()>) {
        let kind = if route.udp { Kind::Nat } else { Kind::RawEsp };
        let Some(channel) = self.find(kind, Family::of(route.remote.ip())) else {
            return (0, Err(io::ErrorKind::AddrNotAvailable.into()));
        };
        let socket = channel.socket.as_fd();
        let mut remote = route.remote;
        if !route.udp {
            remote.set_port(0);
        }
        let heading = Heading { remote, local: route.local.ip(), tos };
        let size = size.max(1);
        let train = (MAX_SEGMENTED / size).clamp(1, MAX_SEGMENTS) * size;
        let mut sent = 0;
        for pieces in octets.chunks(train) {
            let count = pieces.len().div_ceil(size);
            let segment = u16::try_from(size).ok().filter(|_| route.udp && count > 1);
            if segment.is_some() && sys::send(socket, &heading, (pieces, &[]), segment, 0).is_ok() {
                sent += count;
                continue;
            }
            // Segmentation is refused where a device cannot do it, or where the pieces exceed the
            // path MTU; one by one they still go, as fragments if need be.
            let (some, result) = sys::send_each(socket, &heading, pieces, size);
            sent += some;
            if result.is_err() {
                return (sent, result);
            }
        }
        (sent, Ok(()))
    }
}
