//! The anti-replay window (RFC 4303 §3.4.3), as a ring of bits that is never shifted (RFC 6479),
//! and the high half of extended sequence numbers (RFC 4303 Appendix A).

use crate::limits::{MAX_REPLAY_WINDOW, MIN_REPLAY_WINDOW};

const WORD: u64 = u64::BITS as u64;

/// Which sequence numbers have been accepted.
#[derive(Debug)]
pub struct ReplayWindow {
    /// Width in packets; 0 is off.
    size: u64,
    /// The highest sequence number accepted.
    top: u64,
    /// Bit n of the ring stands for sequence number n; a power of two words, one more than the
    /// window covers, so that words left of the window can be reused.
    ring: Box<[u64]>,
}

impl ReplayWindow {
    /// A window of `size` packets: 0 (off), else brought into 32 to 4096.
    pub fn new(size: u32) -> Self {
        let size = if size == 0 { 0 } else { size.clamp(MIN_REPLAY_WINDOW, MAX_REPLAY_WINDOW) };
        let words = if size == 0 { 0 } else { (size as usize).div_ceil(64) + 1 };
        let ring = vec![0; if words == 0 { 0 } else { words.next_power_of_two() }];
        Self { size: size.into(), top: 0, ring: ring.into() }
    }

    /// The whole sequence number of a packet that carries `low`, on an SA with extended sequence
    /// numbers; `None` when it would lie before the first.
    //= rfc4303 §A2.1
    pub fn extend(&self, low: u32) -> Option<u64> {
        // Without a window the nearest number is the best guess.
        let width = if self.size == 0 { 1 << 31 } else { self.size };
        let (high, top_low) = (self.top >> 32, self.top & u64::from(u32::MAX));
        let low = u64::from(low);
        let high = if top_low >= width - 1 {
            if low + width > top_low { high } else { high + 1 }
        } else if low + width > top_low + (1 << 32) {
            high.checked_sub(1)?
        } else {
            high
        };
        (high <= u64::from(u32::MAX)).then_some(high << 32 | low)
    }

    /// Whether `sequence` is new: right of the window, or inside and not yet seen. Sequence number 0 is never sent.
    //= rfc4303 §3.4.3
    #[inline]
    pub fn is_new(&self, sequence: u64) -> bool {
        if self.size == 0 {
            return true;
        }
        if sequence > self.top {
            return true;
        }
        if sequence == 0 || self.top - sequence >= self.size {
            return false;
        }
        let (word, bit) = self.place(sequence);
        self.ring.get(word).is_some_and(|word| word >> bit & 1 == 0)
    }

    /// Marks `sequence` as seen; only after its packet was authenticated. True when it is the highest so far.
    #[inline]
    pub fn accept(&mut self, sequence: u64) -> bool {
        let newest = sequence > self.top;
        if self.size == 0 {
            self.top = self.top.max(sequence);
            return newest;
        }
        if newest {
            let (from, to) = (self.top / WORD, sequence / WORD);
            let words = self.ring.len() as u64;
            for word in (from + 1)..=to.min(from + words) {
                let at = (word & (words - 1)) as usize;
                if let Some(word) = self.ring.get_mut(at) {
                    *word = 0;
                }
            }
            self.top = sequence;
        }
        let (word, bit) = self.place(sequence);
        if let Some(word) = self.ring.get_mut(word) {
            *word |= 1 << bit;
        }
        newest
    }

    fn place(&self, sequence: u64) -> (usize, u64) {
        let mask = self.ring.len() as u64 - 1;
        (((sequence / WORD) & mask) as usize, sequence % WORD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// All that was ever accepted: the definition without the ring.
    struct Naive {
        size: u64,
        seen: BTreeSet<u64>,
    }

    impl Naive {
        fn is_new(&self, sequence: u64) -> bool {
            let top = self.seen.last().copied().unwrap_or(0);
            sequence != 0 && sequence + self.size > top && !self.seen.contains(&sequence)
        }
    }

    /// A small generator (xorshift64*), so that a seed repeats a run.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    //= rfc4303 §3.4.3
    #[test]
    fn s166_the_ring_agrees_with_a_set_of_all_seen_numbers() {
        for (seed, size) in [(1, 32), (2, 33), (3, 64), (4, 100), (5, 128), (6, 1024), (7, 4096)] {
            let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed;
            let (mut ring, mut naive) =
                (ReplayWindow::new(size), Naive { size: size.into(), seen: BTreeSet::new() });
            let mut near = 1u64;
            for _ in 0..20_000 {
                let step = random(&mut state);
                near = match step % 100 {
                    0 => near + step / 100 % (u64::from(size) * 4),
                    _ => near + step / 100 % 3,
                };
                let back = random(&mut state) % (u64::from(size) + 40);
                let sequence = near.saturating_sub(if step.is_multiple_of(2) { back } else { 0 });
                assert_eq!(ring.is_new(sequence), naive.is_new(sequence), "seed {seed}, sequence {sequence}");
                if ring.is_new(sequence) {
                    ring.accept(sequence);
                    naive.seen.insert(sequence);
                }
            }
        }
    }

    #[test]
    fn sizes_outside_the_limits_are_brought_inside() {
        assert_eq!(ReplayWindow::new(1).size, u64::from(MIN_REPLAY_WINDOW));
        assert_eq!(ReplayWindow::new(1 << 20).size, u64::from(MAX_REPLAY_WINDOW));
        let mut off = ReplayWindow::new(0);
        off.accept(7);
        assert!(off.is_new(7));
    }

    fn with_top(size: u32, top: u64) -> ReplayWindow {
        let mut window = ReplayWindow::new(size);
        window.accept(top);
        window
    }

    //= rfc4303 §A2.1, §A2.2
    #[test]
    fn s166_the_high_half_follows_the_window() {
        // Case A: the window lies within one subspace.
        let window = with_top(64, 5 << 32 | 1000);
        assert_eq!(window.extend(1000 - 63), Some(5 << 32 | (1000 - 63)));
        assert_eq!(window.extend(1001), Some(5 << 32 | 1001));
        assert_eq!(window.extend(u32::MAX), Some(5 << 32 | 0xffff_ffff));
        // Left of the window means the next subspace.
        assert_eq!(window.extend(1000 - 64), Some(6 << 32 | (1000 - 64)));
        assert_eq!(window.extend(0), Some(6 << 32));
        // Case B: the window spans two subspaces.
        let window = with_top(64, 5 << 32 | 10);
        assert_eq!(window.extend(10), Some(5 << 32 | 10));
        assert_eq!(window.extend(0), Some(5 << 32));
        assert_eq!(window.extend(u32::MAX - 52), Some(4 << 32 | u64::from(u32::MAX - 52)));
        assert_eq!(window.extend(u32::MAX - 53), Some(5 << 32 | u64::from(u32::MAX - 53)));
        // The boundary between the cases.
        assert_eq!(with_top(64, 5 << 32 | 63).extend(0), Some(5 << 32));
        assert_eq!(with_top(64, 5 << 32 | 62).extend(u32::MAX), Some(4 << 32 | 0xffff_ffff));
        // Nothing lies before the first subspace or after the last.
        assert_eq!(with_top(64, 10).extend(u32::MAX), None);
        assert_eq!(with_top(64, u64::from(u32::MAX) << 32 | 1000).extend(5), None);
        assert_eq!(with_top(64, 0).extend(1), Some(1));
    }

    #[test]
    fn the_window_crosses_the_end_of_a_subspace() {
        let mut window = with_top(64, (1 << 32) - 3);
        for low in [u32::MAX - 1, u32::MAX, 0, 1, u32::MAX - 20] {
            let sequence = window.extend(low).unwrap();
            assert!(window.is_new(sequence), "{low}");
            window.accept(sequence);
            assert!(!window.is_new(sequence), "{low}");
        }
        assert_eq!(window.extend(2), Some(1 << 32 | 2));
    }
}
