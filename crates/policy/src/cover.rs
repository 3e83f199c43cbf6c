//! Whether selectors together allow what another selector means.

use crate::limits::COVER_BLOCKS;
use dataplane::Selector;
use std::net::IpAddr;

/// Whether `allowed` together allow all of `selector`: one of them, or several that join up.
pub fn within(selector: &Selector, allowed: &[Selector]) -> bool {
    let mut left = vec![Block::of(selector)];
    for block in allowed.iter().map(Block::of) {
        left = left.iter().flat_map(|piece| piece.without(&block)).collect();
        if left.is_empty() {
            return true;
        }
        if left.len() > COVER_BLOCKS {
            return false;
        }
    }
    false
}

/// Whether `allowed` allow all of `selectors`.
pub(crate) fn all_within(selectors: &[Selector], allowed: &[Selector]) -> bool {
    selectors.iter().all(|selector| within(selector, allowed))
}

/// A selector as what it is: a block of addresses, protocols and ports.
#[derive(Clone, Copy)]
struct Block {
    is_ipv4: bool,
    /// First and last address, protocol and port. A port that cannot be seen is number 65,536: ANY means it as well,
    /// and OPAQUE nothing else (RFC 4301 §4.4.1.1).
    spans: [(u128, u128); 3],
}

const OPAQUE: u128 = 1 << 16;

impl Block {
    fn of(selector: &Selector) -> Self {
        let number = |address: IpAddr| match address {
            IpAddr::V4(a) => u128::from(u32::from(a)),
            IpAddr::V6(a) => u128::from(a),
        };
        let (start, end) = (selector.addresses.start(), selector.addresses.end());
        let protocols = match selector.protocol {
            0 => (0, u128::from(u8::MAX)),
            one => (u128::from(one), u128::from(one)),
        };
        let ports = match (selector.any_port(), selector.is_opaque()) {
            (true, _) => (0, OPAQUE),
            (_, true) => (OPAQUE, OPAQUE),
            _ => (u128::from(selector.start_port), u128::from(selector.end_port)),
        };
        Self { is_ipv4: start.is_ipv4(), spans: [(number(start), number(end)), protocols, ports] }
    }

    /// What is left of it: at most two pieces for each of the three spans.
    fn without(&self, other: &Self) -> Vec<Self> {
        let apart = |((from, to), (low, high)): (&(u128, u128), &(u128, u128))| to < low || high < from;
        if self.is_ipv4 != other.is_ipv4 || self.spans.iter().zip(&other.spans).any(apart) {
            return vec![*self];
        }
        let mut pieces = Vec::new();
        let mut rest = *self;
        for (which, &(low, high)) in other.spans.iter().enumerate() {
            let piece = |from, to| {
                let mut piece = rest;
                piece.spans.iter_mut().skip(which).take(1).for_each(|span| *span = (from, to));
                piece
            };
            let Some(&(from, to)) = rest.spans.get(which) else { break };
            if from < low {
                pieces.push(piece(from, low - 1));
            }
            if to > high {
                pieces.push(piece(high + 1, to));
            }
            rest = piece(from.max(low), to.min(high));
        }
        pieces
    }
}
