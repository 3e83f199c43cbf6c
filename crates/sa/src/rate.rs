//! How often the unprotected may be answered.

use base::Instant;
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

    /// Whether one more is allowed now; if so, it counts.
    //= rfc7296 §2.21.4
    //# A node needs to limit the rate at which it will send messages in response to unprotected messages.
    pub fn allows(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = self.per_second;
        }
        let allowed = self.left > 0;
        self.left -= u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    //= rfc7296 §2.21.4
    #[test]
    fn after_the_last_one_only_time_helps() {
        let mut limit = RateLimit::new(2);
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let allowed: Vec<bool> = [5000, 5000, 5900, 6000, 6001, 6002].map(|t| limit.allows(at(t))).to_vec();
        assert_eq!(allowed, [true, true, false, true, true, false]);
    }
}
