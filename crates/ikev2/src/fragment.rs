//! Putting fragments together (RFC 7383 §2.6). Each was authenticated before it comes here.

use crate::limits;
use base::{Instant, MessageId};
use sa::Drop;
use std::collections::BTreeMap;
use wire::num::{ExchangeType, PayloadType};

/// One decrypted fragment, or a whole message (`total` 0).
#[derive(Debug)]
pub(crate) struct Fragment {
    pub(crate) first: PayloadType,
    pub(crate) number: u16,
    pub(crate) total: u16,
    pub(crate) plain: Vec<u8>,
    /// What stands before, up to the generic header of the encrypted payload, where AUTH covers it.
    pub(crate) envelope: Vec<u8>,
}

/// The fragments of one message that have come.
#[derive(Debug)]
pub(crate) struct Assembly {
    key: Key,
    total: u16,
    /// When its latest fragment came.
    latest: Instant,
    pieces: BTreeMap<u16, Fragment>,
    plain_octets: usize,
    wire_octets: usize,
}

/// Message id, response flag, exchange.
pub(crate) type Key = (MessageId, bool, ExchangeType);

/// A message whose fragments have all come.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) first: PayloadType,
    pub(crate) plain: Vec<u8>,
    /// Of the first fragment.
    pub(crate) envelope: Vec<u8>,
    pub(crate) octets: usize,
    pub(crate) datagrams: usize,
}

impl Assembly {
    pub(crate) fn new(key: Key, total: u16, now: Instant) -> Self {
        Self { key, total, latest: now, pieces: BTreeMap::new(), plain_octets: 0, wire_octets: 0 }
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    pub(crate) fn stale_at(&self) -> Instant {
        self.latest + limits::FRAGMENT_PATIENCE
    }

    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now >= self.stale_at()
    }

    /// One more has come in.
    pub(crate) fn touch(&mut self, now: Instant) {
        self.latest = now;
    }

    /// Takes one more in; refuses what does not fit to the others.
    //= rfc7383 §2.6
    //# If the Total Fragments field in the received fragment is greater than in those already received,
    //# discard all of those and start anew; if it is less, discard the fragment
    pub(crate) fn add(&mut self, piece: Fragment, octets: usize) -> Result<(), Drop> {
        if piece.total > limits::MAX_FRAGMENTS || piece.total < self.total {
            return Err(Drop::BadFragment);
        }
        if piece.total > self.total {
            *self = Self::new(self.key, piece.total, self.latest);
        }
        if self.pieces.contains_key(&piece.number) {
            return Err(Drop::Replay);
        }
        if self.plain_octets + piece.plain.len() > limits::MAX_MESSAGE {
            return Err(Drop::TooLarge);
        }
        self.plain_octets += piece.plain.len();
        self.wire_octets += octets;
        self.pieces.insert(piece.number, piece);
        Ok(())
    }

    /// The message, when nothing is missing.
    pub(crate) fn complete(&mut self) -> Option<Whole> {
        if self.pieces.len() < usize::from(self.total) {
            return None;
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        let one = pieces.get_mut(&1)?;
        let (first, envelope) = (one.first, std::mem::take(&mut one.envelope));
        let mut plain = Vec::with_capacity(self.plain_octets);
        for piece in pieces.values() {
            plain.extend(&piece.plain);
        }
        let (octets, datagrams) = (self.wire_octets, usize::from(self.total));
        Some(Whole { first, plain, envelope, octets, datagrams })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembly(total: u16) -> Assembly {
        Assembly::new((MessageId(1), false, ExchangeType::IKE_AUTH), total, Instant::default())
    }

    fn piece(number: u16, total: u16) -> Fragment {
        let first = if number == 1 { PayloadType::IDI } else { PayloadType::NONE };
        Fragment { first, number, total, plain: vec![number as u8; 3], envelope: Vec::new() }
    }

    #[test]
    fn any_order_gives_the_same_message() {
        let mut assembly = assembly(3);
        for number in [3, 1] {
            assembly.add(piece(number, 3), 50).unwrap();
            assert!(assembly.complete().is_none());
        }
        assembly.add(piece(2, 3), 50).unwrap();
        let whole = assembly.complete().unwrap();
        assert_eq!(
            (whole.first, whole.plain.as_slice()),
            (PayloadType::IDI, &[1, 1, 1, 2, 2, 2, 3, 3, 3][..])
        );
        assert_eq!((whole.octets, whole.datagrams), (150, 3));
    }

    //= rfc7383 §2.6
    #[test]
    fn a_larger_total_starts_anew_and_a_smaller_one_is_dropped() {
        let mut assembly = assembly(2);
        assembly.add(piece(1, 2), 50).unwrap();
        assert_eq!(assembly.add(piece(1, 2), 50), Err(Drop::Replay));
        assembly.add(piece(1, 3), 50).unwrap();
        assert_eq!(assembly.add(piece(2, 2), 50), Err(Drop::BadFragment));
        assembly.add(piece(2, 3), 50).unwrap();
        assert!(assembly.complete().is_none());
        assembly.add(piece(3, 3), 50).unwrap();
        assert_eq!(assembly.complete().unwrap().plain.len(), 9);
    }

    #[test]
    fn neither_many_fragments_nor_large_ones_fill_the_memory() {
        let over = limits::MAX_FRAGMENTS + 1;
        assert_eq!(assembly(over).add(piece(1, over), 50), Err(Drop::BadFragment));
        let mut assembly = assembly(2);
        let half = |number| Fragment { plain: vec![0; limits::MAX_MESSAGE / 2 + 1], ..piece(number, 2) };
        assembly.add(half(1), 50).unwrap();
        assert_eq!(assembly.add(half(2), 50), Err(Drop::TooLarge));
    }
}
