//! What all IKE SAs of an endpoint must know of each other: who is established with whom, and which
//! ESP SPIs are taken.

use crate::{IkeSaId, Side};
use base::{EspSpi, IkeSpi, Instant, Rng};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Both identities of an IKE SA as one key: ours, then the peer's, each as its ID payload has it; and how often the peer has to
/// prove its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PairKey(Box<[u8]>);

/// More proofs of one peer there are not (RFC 4739: two rounds).
const MOST_PROOFS: u8 = 2;

impl PairKey {
    /// From the bodies of both ID payloads, for a peer with one or two proofs.
    pub fn new(local: &[u8], remote: &[u8], proofs: u8) -> Self {
        let mut key = Vec::with_capacity(local.len() + remote.len() + 5);
        key.push(proofs.clamp(1, MOST_PROOFS));
        key.extend((local.len() as u32).to_be_bytes());
        key.extend(local);
        key.extend(remote);
        Self(key.into_boxed_slice())
    }

    /// The same two with as many proofs, or fewer.
    pub fn no_stronger(&self) -> impl Iterator<Item = PairKey> + use<> {
        self.of(1..=self.proofs())
    }

    /// The same two with more proofs.
    pub fn stronger(&self) -> impl Iterator<Item = PairKey> + use<> {
        self.of(self.proofs() + 1..=MOST_PROOFS)
    }

    fn proofs(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    fn of(&self, proofs: std::ops::RangeInclusive<u8>) -> impl Iterator<Item = PairKey> + use<> {
        let key = self.clone();
        proofs.map(move |proofs| {
            let mut key = key.clone();
            key.0.iter_mut().take(1).for_each(|count| *count = proofs);
            key
        })
    }
}

/// How an established IKE SA came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Our side of its IKE_AUTH.
    pub side: Side,
    /// The initiator's SPI and the responder's.
    pub spis: (IkeSpi, IkeSpi),
    /// When it was established.
    pub since: Instant,
}

/// The initiator's SPI and the responder's.
type Spis = (IkeSpi, IkeSpi);

/// Where the peer of an established IKE SA is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Whereabouts {
    /// Our role when both sides proved who they are; new keys do not change it.
    pub proved_as: Side,
    /// The peer's address and port.
    pub remote: SocketAddr,
}

/// What a peer has told of addresses, for the next IKE SA with it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Memory {
    /// Those that it gave us last.
    pub addresses: Vec<IpAddr>,
    /// Whether it has IPv4 and IPv6 addresses, where it says so (RFC 8983).
    pub families: Option<(bool, bool)>,
    /// Our interface identifier on the IPv6 link with it, and the Link ID, empty before it has told one.
    pub link: Option<([u8; 8], Vec<u8>)>,
}

/// Established IKE SAs by the identities of their ends, and the ESP SPIs that are in use.
#[derive(Debug, Default)]
pub struct Directory {
    pairs: BTreeMap<PairKey, Vec<(IkeSaId, Option<Origin>)>>,
    spis: BTreeSet<EspSpi>,
    /// The IKE SAs in `pairs`.
    places: BTreeMap<IkeSaId, (Whereabouts, Spis)>,
    /// By the names of connections: as many as the configuration has.
    memories: BTreeMap<String, Memory>,
    /// How many half-open IKE SAs somebody has begun from an address: as many as may be half open.
    knocking: BTreeMap<IpAddr, u32>,
}

impl Directory {
    /// The established IKE SAs between these two, oldest first.
    pub fn between(&self, pair: &PairKey) -> Vec<IkeSaId> {
        self.origins(pair).iter().map(|(ike, _)| *ike).collect()
    }

    /// The same, with how each came to be; `None`: in another's place.
    pub fn origins(&self, pair: &PairKey) -> &[(IkeSaId, Option<Origin>)] {
        self.pairs.get(pair).map_or(&[], Vec::as_slice)
    }

    /// This one has taken another's place.
    pub fn enter(&mut self, pair: PairKey, ike: IkeSaId, spis: (IkeSpi, IkeSpi), place: Whereabouts) {
        self.pairs.entry(pair).or_default().push((ike, None));
        self.places.insert(ike, (place, spis));
    }

    /// This one is established now.
    pub fn enter_new(&mut self, pair: PairKey, ike: IkeSaId, origin: Origin, remote: SocketAddr) {
        self.pairs.entry(pair).or_default().push((ike, Some(origin)));
        self.places.insert(ike, (Whereabouts { proved_as: origin.side, remote }, origin.spis));
    }

    /// The peer of this one is there now.
    pub fn locate(&mut self, ike: IkeSaId, remote: SocketAddr) {
        if let Some((place, _)) = self.places.get_mut(&ike) {
            place.remote = remote;
        }
    }

    /// Where the peer of an established IKE SA is.
    pub fn place(&self, ike: IkeSaId) -> Option<Whereabouts> {
        self.places.get(&ike).map(|(place, _)| *place)
    }

    /// The established IKE SA between these two with those SPIs: the initiator's and the responder's.
    pub fn with_spis(&self, pair: &PairKey, spis: (IkeSpi, IkeSpi)) -> Option<IkeSaId> {
        let has = |ike: &IkeSaId| self.places.get(ike).is_some_and(|(_, own)| *own == spis);
        self.origins(pair).iter().map(|(ike, _)| *ike).find(has)
    }

    /// This one is no longer.
    pub fn leave(&mut self, pair: &PairKey, ike: IkeSaId) {
        self.places.remove(&ike);
        if let Some(all) = self.pairs.get_mut(pair) {
            all.retain(|(any, _)| *any != ike);
            if all.is_empty() {
                self.pairs.remove(pair);
            }
        }
    }

    /// What the peer of that connection has told.
    pub fn memory(&self, connection: &str) -> Memory {
        self.memories.get(connection).cloned().unwrap_or_default()
    }

    /// What the peer of that connection tells.
    pub fn memory_mut(&mut self, connection: &str) -> &mut Memory {
        self.memories.entry(connection.to_string()).or_default()
    }

    /// The configuration is another one: what is not in it is forgotten, and which addresses peers have is to be seen anew.
    pub fn forget_memories(&mut self, exists: impl Fn(&str) -> bool) {
        self.memories.retain(|name, _| exists(name));
        self.memories.values_mut().for_each(|memory| memory.families = None);
    }

    /// Somebody at that address has begun an IKE SA.
    pub fn knock(&mut self, from: IpAddr) {
        *self.knocking.entry(from).or_default() += 1;
    }

    /// It has come to something, or to nothing.
    pub fn decide(&mut self, from: IpAddr) {
        if let Some(count) = self.knocking.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.knocking.remove(&from);
            }
        }
    }

    /// Whether somebody at that address has begun an IKE SA that is half open.
    pub fn is_knocking(&self, from: IpAddr) -> bool {
        self.knocking.contains_key(&from)
    }

    /// How many IKE SAs are established.
    pub fn ike_sas(&self) -> usize {
        self.places.len()
    }

    /// A random SPI for a child SA to receive with, which no other child has.
    pub fn draw_spi(&mut self, rng: &mut dyn Rng) -> EspSpi {
        loop {
            let spi = EspSpi(rng.next_u64() as u32);
            // RFC 4303 §2.1: 0 is local, 1 to 255 are reserved.
            if spi.0 > 255 && self.spis.insert(spi) {
                return spi;
            }
        }
    }

    /// Whether a child SA receives with that SPI.
    pub fn has_spi(&self, spi: EspSpi) -> bool {
        self.spis.contains(&spi)
    }

    /// That SPI is free again.
    pub fn release_spi(&mut self, spi: EspSpi) {
        self.spis.remove(&spi);
    }

    /// Whether nothing is registered: no pair, no SPI and nobody who has begun something.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.places.is_empty() && self.spis.is_empty() && self.knocking.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_between_both_identities_counts() {
        let mut directory = Directory::default();
        let place = Whereabouts { proved_as: Side::Responder, remote: ([192, 0, 2, 1], 500).into() };
        let spis = |n| (IkeSpi(n), IkeSpi(9));
        directory.enter(PairKey::new(b"ab", b"c", 1), IkeSaId(1), spis(1), place);
        directory.enter(PairKey::new(b"ab", b"c", 1), IkeSaId(2), spis(2), place);
        assert_eq!(directory.with_spis(&PairKey::new(b"ab", b"c", 1), spis(2)), Some(IkeSaId(2)));
        assert_eq!(directory.with_spis(&PairKey::new(b"a", b"bc", 1), spis(2)), None);
        assert_eq!(directory.between(&PairKey::new(b"a", b"bc", 1)), []);
        assert_eq!(directory.between(&PairKey::new(b"ab", b"c", 1)), [IkeSaId(1), IkeSaId(2)]);
        directory.leave(&PairKey::new(b"ab", b"c", 1), IkeSaId(1));
        directory.leave(&PairKey::new(b"ab", b"c", 1), IkeSaId(2));
        assert!(directory.is_empty());
    }

    #[test]
    fn proofs_are_counted_beside_the_identities() {
        let [one, two] = [1, 2].map(|proofs| PairKey::new(b"ab", b"c", proofs));
        assert_ne!(one, two);
        assert!(one.no_stronger().eq([one.clone()]));
        assert!(one.stronger().eq([two.clone()]));
        assert_eq!(two.no_stronger().collect::<Vec<_>>(), [one, two.clone()]);
        assert_eq!(two.stronger().count(), 0);
    }

    #[test]
    fn reserved_and_taken_spis_are_not_drawn() {
        struct Script(Vec<u64>);
        impl Rng for Script {
            fn fill(&mut self, out: &mut [u8]) {
                out.copy_from_slice(&self.0.remove(0).to_be_bytes()[..out.len()]);
            }
        }
        let mut rng = Script(vec![0, 255, 256, 256, 300]);
        let mut directory = Directory::default();
        assert_eq!(directory.draw_spi(&mut rng), EspSpi(256));
        assert_eq!(directory.draw_spi(&mut rng), EspSpi(300));
    }
}
