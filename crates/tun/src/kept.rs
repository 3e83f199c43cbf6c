//! Packets that wait for the child SA that their trap policy asks for.

use crate::limits::{ACQUIRE_INTERVAL_MS, KEPT_FOR_MS, MAX_KEPT_OCTETS, MAX_KEPT_PACKETS};
use dataplane::{AddressRange, Selector, TrapId};
use esp::ip::Packet;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// All traps' packets.
#[derive(Default)]
pub(crate) struct Kept {
    traps: BTreeMap<TrapId, Queue>,
}

#[derive(Default)]
struct Queue {
    packets: VecDeque<Waiting>,
    octets: usize,
    told: Option<Instant>,
}

/// A packet (or train) with its virtio header.
pub(crate) struct Waiting {
    since: Instant,
    pub(crate) octets: Vec<u8>,
}

impl Kept {
    /// A trap is there from now on, or goes with what it keeps.
    pub(crate) fn set(&mut self, id: TrapId, is_there: bool) {
        self.traps.remove(&id);
        if is_there {
            self.traps.insert(id, Queue::default());
        }
    }

    /// Keeps a packet, given in parts, if there is room; true when its trap is to ask for a child now.
    pub(crate) fn keep(&mut self, now: Instant, id: TrapId, parts: [&[u8]; 2]) -> bool {
        let Some(queue) = self.traps.get_mut(&id) else { return false };
        queue.drop_old(now);
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        if queue.packets.len() < MAX_KEPT_PACKETS && queue.octets + len <= MAX_KEPT_OCTETS {
            queue.octets += len;
            queue.packets.push_back(Waiting { since: now, octets: parts.concat() });
        }
        let interval = Duration::from_millis(ACQUIRE_INTERVAL_MS);
        let due = queue.told.is_none_or(|told| now.saturating_duration_since(told) >= interval);
        if due {
            queue.told = Some(now);
        }
        due
    }

    /// Takes all packets out that are not too old, first in, first out. Those that no child is there for come back by
    /// [`Kept::put_back`].
    pub(crate) fn take(&mut self, now: Instant) -> Vec<(TrapId, Waiting)> {
        let mut all = Vec::new();
        for (&id, queue) in &mut self.traps {
            queue.drop_old(now);
            queue.octets = 0;
            all.extend(queue.packets.drain(..).map(|waiting| (id, waiting)));
        }
        all
    }

    /// A packet goes on waiting.
    pub(crate) fn put_back(&mut self, id: TrapId, waiting: Waiting) {
        if let Some(queue) = self.traps.get_mut(&id) {
            queue.octets += waiting.octets.len();
            queue.packets.push_back(waiting);
        }
    }
}

impl Queue {
    fn drop_old(&mut self, now: Instant) {
        let most = Duration::from_millis(KEPT_FOR_MS);
        while let Some(first) = self.packets.front()
            && now.saturating_duration_since(first.since) > most
        {
            self.octets -= first.octets.len();
            self.packets.pop_front();
        }
    }
}

/// A packet's own selectors, ours and the peer's: one address each, its protocol, and its ports where it shows them. ICMP's type
/// and code stand on both sides (RFC 7296 §2.9, §3.13.1).
//= rfc7296 §3.13.1
pub(crate) fn selectors(packet: &Packet) -> (Selector, Selector) {
    let of = |address: IpAddr, port: Option<u16>| {
        let (start_port, end_port) = port.map_or((0, u16::MAX), |port| (port, port));
        Selector { addresses: AddressRange::host(address), protocol: packet.protocol, start_port, end_port }
    };
    (of(packet.source, packet.ports.map(|p| p.0)), of(packet.destination, packet.ports.map(|p| p.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TrapId = TrapId(1);

    #[test]
    fn only_the_first_packets_are_kept_and_not_for_long() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        assert!(!kept.keep(start, ID, [&[1], &[2]]), "there is no trap");
        kept.set(ID, true);
        let asked = (0..100u8).filter(|&n| kept.keep(start, ID, [&[n], &[n]])).count();
        assert_eq!(asked, 1);
        let all = kept.take(start);
        assert_eq!((all.len(), all[0].1.octets.as_slice()), (MAX_KEPT_PACKETS, &[0, 0][..]));
        for (id, waiting) in all {
            kept.put_back(id, waiting);
        }
        let later = start + Duration::from_millis(KEPT_FOR_MS + 1);
        assert!(kept.keep(later, ID, [&[9], &[9]]), "it asks again");
        assert_eq!(kept.take(later).len(), 1);
        assert!(kept.take(later).is_empty());
    }

    #[test]
    fn the_octets_that_are_kept_are_bounded() {
        let (mut kept, now) = (Kept::default(), Instant::now());
        kept.set(ID, true);
        let large = vec![0; MAX_KEPT_OCTETS / 2];
        for _ in 0..3 {
            kept.keep(now, ID, [&large, &[]]);
        }
        assert_eq!(kept.take(now).len(), 2);
        kept.keep(now, ID, [&large, &[]]);
        kept.set(ID, false);
        assert!(kept.take(now).is_empty());
    }

    //= rfc7296 §3.13.1
    #[test]
    fn a_pings_own_selectors_have_its_type_and_code() {
        let mut octets = [0; 28];
        octets[0] = 0x45;
        octets[3] = 28;
        octets[9] = 1;
        octets[12..16].copy_from_slice(&[10, 1, 0, 1]);
        octets[16..20].copy_from_slice(&[10, 2, 0, 1]);
        octets[20] = 8;
        let (ours, theirs) = selectors(&Packet::parse(&octets).unwrap());
        assert_eq!(ours.to_string(), "10.1.0.1/32[icmp/2048]");
        assert_eq!(theirs.to_string(), "10.2.0.1/32[icmp/2048]");
    }
}
