//! Client puzzles (RFC 8019): what a puzzle asks for, how it is solved, and how a solution is checked.
//!
//! A puzzle is a string S, a PRF and a number of bits; its solution are four different keys under each of which
//! the PRF of S ends with so many zero bits at least. In IKE_SA_INIT S is the cookie, in IKE_AUTH `Nr | SPIr`.

use crate::{Answer, TrustRefusal, limits};
use crypto::{PrfFunction, Suite};
use wire::num::Prf;

/// Keys of a solution.
//= rfc8019 §7.1.3
//# This specification requires that the puzzle solution contains 4 different keys (i.e., N=4).
pub const KEYS: usize = 4;

/// What the PUZZLE notification says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Puzzle {
    /// The PRF.
    pub prf: Prf,
    /// The least number of trailing zero bits; 0 leaves it to the initiator (RFC 8019 §7.1.1.1).
    pub difficulty: u8,
}

impl Puzzle {
    /// The data of the notification (RFC 8019 §8.1).
    pub fn emit(self) -> Vec<u8> {
        let [high, low] = self.prf.0.to_be_bytes();
        vec![high, low, self.difficulty]
    }

    /// Reads the data of the notification.
    pub fn parse(data: &[u8]) -> Option<Self> {
        match *data {
            [high, low, difficulty] => Some(Self { prf: Prf(u16::from_be_bytes([high, low])), difficulty }),
            _ => None,
        }
    }
}

/// The zero bits at the end of a value.
pub fn trailing_zero_bits(value: &[u8]) -> u32 {
    let zeroes = value.iter().rev().take_while(|octet| **octet == 0).count();
    let last = value.iter().rev().nth(zeroes).map_or(0, |octet| octet.trailing_zeros());
    zeroes as u32 * u8::BITS + last
}

/// For how many zero bits a solution was worked; `None` when it is not one: not four different keys, or not of a
/// size that the PRF's keys have.
//= rfc8019 §7.1.4
//# The Responder MUST check all of the four returned keys. […] The Responder MUST take the smallest number of trailing
//# zero bits among the checked results and count it as the number of zero bits the Initiator solved for.
pub fn zero_bits(prf: &dyn PrfFunction, string: &[u8], solution: &[u8]) -> Option<u32> {
    let size = solution.len() / KEYS;
    //= rfc8019 §8.2
    //# If the selected PRF accepts only fixed-size keys, then the size of each key MUST be of that fixed size. If the
    //# agreed upon PRF accepts keys of any size, then the size of each key MUST be between 1 octet and the preferred
    //# key length of the PRF (inclusive).
    let fits = match prf.fixed_key_len() {
        Some(fixed) => size == fixed,
        None => (1..=prf.len()).contains(&size),
    };
    if !fits || solution.len() != size * KEYS {
        return None;
    }
    let keys: Vec<&[u8]> = solution.chunks_exact(size).collect();
    let twice = keys.iter().enumerate().any(|(n, key)| keys.iter().skip(n + 1).any(|other| other == key));
    if twice {
        return None;
    }
    keys.iter().map(|key| trailing_zero_bits(prf.compute(key, &[string]).expose())).min()
}

/// Four keys for `bits` zero bits; `None` when there is no luck within a bounded number of trials.
pub fn solve(prf: &dyn PrfFunction, string: &[u8], bits: u8) -> Option<Vec<u8>> {
    let bits = u32::from(bits.min(limits::MAX_PUZZLE_BITS));
    let trials = (KEYS as u64) << bits << limits::PUZZLE_LUCK;
    let mut key = vec![0; prf.fixed_key_len().unwrap_or(size_of::<u32>())];
    let mut found = Vec::new();
    for trial in 0..u32::try_from(trials).unwrap_or(u32::MAX) {
        let at = key.len().saturating_sub(size_of::<u32>());
        if let Some(end) = key.get_mut(at..) {
            end.copy_from_slice(&trial.to_be_bytes());
        }
        if trailing_zero_bits(prf.compute(&key, &[string]).expose()) >= bits {
            found.extend_from_slice(&key);
            if found.len() == KEYS * key.len() {
                return Some(found);
            }
        }
    }
    None
}

/// Does [`crate::Job::Puzzle`]: takes the processor for seconds.
pub fn answer(suite: &dyn Suite, puzzle: Puzzle, string: &[u8]) -> Answer {
    let solution = suite.prf(puzzle.prf).and_then(|prf| solve(prf, string, puzzle.difficulty));
    solution.map_or_else(
        || {
            let reason =
                format!("There is no solution for {} zero bits of {}.", puzzle.difficulty, puzzle.prf);
            Answer::Refused(TrustRefusal { ours: true, reason })
        },
        Answer::Puzzle,
    )
}
