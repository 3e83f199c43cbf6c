//! A random source that repeats: the same seed, the same numbers, on every machine.

/// SplitMix64: not for secrets, only for tests.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The source of that seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub const fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// Mutates `octets` as a sloppy or hostile sender might: flips bits, sets interesting values, cuts, inserts,
    /// repeats.
    pub fn mutate(&mut self, octets: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(octets.len());
            match self.below(6) {
                0 if !octets.is_empty() => octets[at] ^= 1 << self.below(8),
                1 if !octets.is_empty() => octets[at] = [0, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff][self.below(8)],
                2 => octets.truncate(at),
                3 => octets.insert(at, self.next() as u8),
                4 if !octets.is_empty() => {
                    let from = self.below(octets.len());
                    octets[at] = octets[from];
                }
                _ => {
                    let end = (at + self.below(32)).min(octets.len());
                    let piece = octets[at.min(end)..end].to_vec();
                    octets.splice(at..at, piece);
                }
            }
        }
    }
}
