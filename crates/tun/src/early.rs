//! ESP packets that come before the child SA that takes them: a peer may send as soon as it has answered, and its answer may
//! still be being worked through (RFC 7296 §2.8).

use crate::limits::{EARLY_FOR, MAX_EARLY_OCTETS, MAX_EARLY_PACKETS};
use base::{EspSpi, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The last packets whose SPI nobody had.
#[derive(Default)]
pub(crate) struct Early {
    packets: VecDeque<Waiting>,
    octets: usize,
}

/// A packet as it came.
pub(crate) struct Waiting {
    spi: EspSpi,
    since: Instant,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) udp: bool,
    pub(crate) tos: u8,
    pub(crate) bytes: Vec<u8>,
}

impl Waiting {
    pub(crate) fn new(
        (spi, since): (EspSpi, Instant),
        (local, remote): (SocketAddr, SocketAddr),
        (udp, tos): (bool, u8),
        bytes: &[u8],
    ) -> Self {
        Self { spi, since, local, remote, udp, tos, bytes: bytes.to_vec() }
    }
}

impl Early {
    /// Keeps a packet for a moment. The oldest ones make room: forged packets cost no more than what they push out.
    pub(crate) fn keep(&mut self, packet: Waiting) {
        self.octets += packet.bytes.len();
        self.packets.push_back(packet);
        while self.packets.len() > MAX_EARLY_PACKETS || self.octets > MAX_EARLY_OCTETS {
            let Some(oldest) = self.packets.pop_front() else { return };
            self.octets -= oldest.bytes.len();
        }
    }

    /// Takes those out that are for this SPI and not too old, first in, first out.
    pub(crate) fn take(&mut self, spi: EspSpi, now: Instant) -> Vec<Waiting> {
        let fresh = |packet: &Waiting| now.since(packet.since) < EARLY_FOR;
        let (taken, stay): (Vec<_>, Vec<_>) =
            self.packets.drain(..).filter(fresh).partition(|packet| packet.spi == spi);
        self.octets = stay.iter().map(|packet| packet.bytes.len()).sum();
        self.packets = stay.into();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn packet(spi: u32, at: Instant, len: usize) -> Waiting {
        let address = "192.0.2.1:4500".parse().unwrap();
        Waiting::new((EspSpi(spi), at), (address, address), (true, 0), &vec![spi as u8; len])
    }

    #[test]
    fn what_is_not_too_old_is_given_to_its_own_spi_in_order() {
        let (mut early, start) = (Early::default(), Instant::default());
        for (spi, len) in [(1, 10), (2, 20), (1, 30)] {
            early.keep(packet(spi, start, len));
        }
        let lens = |taken: Vec<Waiting>| taken.iter().map(|packet| packet.bytes.len()).collect::<Vec<_>>();
        assert_eq!(lens(early.take(EspSpi(1), start)), [10, 30]);
        assert_eq!(lens(early.take(EspSpi(1), start)), [0; 0]);
        assert_eq!(early.octets, 20);
        let late = start + EARLY_FOR + Duration::from_millis(1);
        assert_eq!(lens(early.take(EspSpi(2), late)), [0; 0]);
        assert_eq!(early.octets, 0);
    }

    #[test]
    fn no_more_is_kept_than_the_limits_say() {
        let (mut early, start) = (Early::default(), Instant::default());
        for n in 0..2 * MAX_EARLY_PACKETS {
            early.keep(packet(n as u32, start, 100));
        }
        assert_eq!(early.packets.len(), MAX_EARLY_PACKETS);
        assert!(early.take(EspSpi(0), start).is_empty(), "the oldest ones went");
        for _ in 0..10 {
            early.keep(packet(7, start, MAX_EARLY_OCTETS / 3));
        }
        assert!(early.octets <= MAX_EARLY_OCTETS);
        assert_eq!(early.take(EspSpi(7), start).len(), 3);
    }
}
