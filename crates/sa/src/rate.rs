//! How often the unprotected may be answered.

use crate::half_open::prefix;
use crate::limits;
use base::{Instant, Rng};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

/// At most `per_second` answers a second, as many at once after a quiet second.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    per_second: u32,
    left: u32,
    since: Instant,
}

impl RateLimit {
    /// A limit that is not used up.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, left: per_second, since: Instant::default() }
    }

    /// Whether none is left for now.
    pub fn is_spent(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == 0
    }

    fn refill(&mut self, now: Instant) {
        if now.since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = self.per_second;
        }
    }

    /// Whether one more is allowed now; if so, it counts.
    //= rfc7296 §2.21.4
    //# A node needs to limit the rate at which it will send messages in response to unprotected messages.
    pub fn allows(&mut self, now: Instant) -> bool {
        self.refill(now);
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }
}

/// A limit for each source and one for all of them, in memory of one size however many sources there are: sources
/// share their limit with those that a keyed hash puts beside them.
#[derive(Debug)]
pub struct SourceRates {
    all: RateLimit,
    by_source: Box<[RateLimit]>,
    key: Option<u64>,
}

impl SourceRates {
    /// At most `all` a second, and `each` of one source.
    pub fn new(all: u32, each: u32) -> Self {
        let by_source = vec![RateLimit::new(each); limits::SOURCE_RATES].into();
        Self { all: RateLimit::new(all), by_source, key: None }
    }

    /// Whether one more answer to `source` is allowed now; if so, it counts.
    pub fn allows(&mut self, source: IpAddr, now: Instant, rng: &mut dyn Rng) -> bool {
        let key = *self.key.get_or_insert_with(|| {
            let mut octets = [0; 8];
            rng.fill(&mut octets);
            u64::from_be_bytes(octets)
        });
        let mut hasher = DefaultHasher::new();
        (key, prefix(source)).hash(&mut hasher);
        let at = hasher.finish() as usize % self.by_source.len().max(1);
        let Some(own) = self.by_source.get_mut(at) else { return false };
        // The source's own limit first: what one source is refused must not use up what all have.
        own.allows(now) && self.all.allows(now)
    }
}

/// How many there were lately: in the present window and the one before it.
#[derive(Debug)]
pub(crate) struct Recent {
    window: Duration,
    since: Instant,
    present: u32,
    before: u32,
}

impl Recent {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, since: Instant::default(), present: 0, before: 0 }
    }

    fn turn(&mut self, now: Instant) {
        let age = now.since(self.since);
        if age >= self.window {
            self.before = if age >= self.window * 2 { 0 } else { self.present };
            (self.present, self.since) = (0, now);
        }
    }

    /// One more.
    pub(crate) fn add(&mut self, now: Instant) {
        self.turn(now);
        self.present = self.present.saturating_add(1);
    }

    /// How many.
    pub(crate) fn count(&mut self, now: Instant) -> u32 {
        self.turn(now);
        self.present.saturating_add(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zero;

    impl Rng for Zero {
        fn fill(&mut self, octets: &mut [u8]) {
            octets.fill(0);
        }
    }

    #[test]
    fn one_source_cannot_use_up_what_the_others_have() {
        let mut rates = SourceRates::new(10, 3);
        let now = Instant::from_nanos(5_000_000_000);
        let mut answered = |source: &str| {
            let source = source.parse().unwrap();
            (0..1000).filter(|_| rates.allows(source, now, &mut Zero)).count()
        };
        assert_eq!(answered("192.0.2.1"), 3);
        assert_eq!(answered("2001:db8::1"), 3);
        assert_eq!(answered("2001:db8::2"), 0, "the same /64");
        let all: usize = (0..=255).map(|n| answered(&format!("203.0.113.{n}"))).sum();
        assert_eq!(all, 4, "and all have a limit together");
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let mut recent = Recent::new(Duration::from_secs(10));
        let at = |secs: u64| Instant::from_nanos(secs * 1_000_000_000);
        recent.add(at(100));
        recent.add(at(105));
        assert_eq!(recent.count(at(109)), 2);
        assert_eq!(recent.count(at(112)), 2);
        recent.add(at(113));
        assert_eq!(recent.count(at(123)), 1);
        assert_eq!(recent.count(at(200)), 0);
    }

    //= rfc7296 §2.21.4
    #[test]
    fn after_the_last_one_only_time_helps() {
        let mut limit = RateLimit::new(2);
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let allowed: Vec<bool> = [5000, 5000, 5900, 6000, 6001, 6002].map(|t| limit.allows(at(t))).to_vec();
        assert_eq!(allowed, [true, true, false, true, true, false]);
    }
}
