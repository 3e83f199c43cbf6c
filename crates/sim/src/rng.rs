//! The one source of chance of a world: xoshiro256**, seeded by splitmix64. Not for real keys.

use base::Rng;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A deterministic generator. Each part of a world has its own, so that one part's use of chance
/// does not move another's.
#[derive(Clone, Debug)]
pub struct SimRng {
    state: [u64; 4],
}

impl SimRng {
    /// The generator of `seed` for the part called `part`.
    pub fn new(seed: u64, part: &str) -> Self {
        let mut mix = part.bytes().fold(seed ^ 0x9e37_79b9_7f4a_7c15, |hash, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut next = || {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = mix;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        let s = &mut self.state;
        let out = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// A duration of that range.
    pub fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let span = range.end().saturating_sub(*range.start());
        *range.start() + Duration::from_nanos(self.below(span.as_nanos() as u64 + 1))
    }

    /// One of `choices`; they are not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

impl Rng for SimRng {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_be_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_part_name_one_sequence() {
        let draw = |seed, part| {
            (0..4)
                .map({
                    let mut rng = SimRng::new(seed, part);
                    move |_| rng.draw()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn chances_come_about_as_often_as_they_say() {
        let mut rng = SimRng::new(3, "chance");
        let hits = (0..10_000).filter(|_| rng.chance(300)).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
    }
}
