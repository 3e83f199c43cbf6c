//! The words that every other crate stands on: time and chance as arguments, secrets that never
//! print, and the identifiers of IKE and ESP.
#![forbid(unsafe_code)]

mod id;
mod secret;
mod time;

pub use id::{EspSpi, IkeSpi, MessageId};
pub use secret::Secret;
pub use time::{Instant, Now, WallClock};

/// A source of random octets. The protocol core never reaches for the machine's own: a seed
/// handed in here replays a whole run.
pub trait Rng: Send {
    /// Fills `out` with random octets.
    fn fill(&mut self, out: &mut [u8]);

    /// A uniformly random 64-bit number.
    fn next_u64(&mut self) -> u64 {
        let mut octets = [0; 8];
        self.fill(&mut octets);
        u64::from_be_bytes(octets)
    }

    /// A number in `0..bound` (0 when `bound` is 0); its bias is below 2^-32 for 32-bit bounds.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}
