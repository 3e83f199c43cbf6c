//! What an endpoint is told once, beside its policy.

use crate::{CRASH_SECRET, Shard, TICKET_SECRET, limits};
use base::{MessageId, Secret};
use std::time::Duration;

/// How one endpoint behaves; the defaults suit a gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which endpoint of its process this is.
    pub shard: Shard,
    /// When a request is sent again, and when its peer counts as gone.
    pub backoff: Backoff,
    /// Half-open IKE SAs from which on a responder demands cookies (RFC 7296 §2.6).
    pub cookie_threshold: usize,
    /// Half-open IKE SAs of one source from which on that source has to show a cookie.
    pub cookie_threshold_ip: usize,
    /// Half-open IKE SAs from which on a responder demands the solution of a puzzle (RFC 8019 §4.4).
    pub puzzle_threshold: usize,
    /// Half-open IKE SAs of one source from which on that source has to solve a puzzle.
    pub puzzle_threshold_ip: usize,
    /// Zero bits that a puzzle of ours asks for where its threshold is reached; more under more load. 0 leaves the
    /// number to the initiator (RFC 8019 §7.1.1.1).
    pub puzzle_difficulty: u8,
    /// Zero bits up to which we solve a peer's puzzle (RFC 8019 §9).
    pub puzzle_limit: u8,
    /// Half-open IKE SAs in all.
    pub max_half_open: usize,
    /// Half-open IKE SAs of one source address.
    pub block_threshold: usize,
    /// A responder's IKE SA that is not authenticated after this long is given up.
    pub half_open_timeout: Duration,
    /// A NAT keepalive is sent after this long without anything else sent (RFC 3948 §4).
    pub keepalive: Duration,
    /// An IKE SA one of whose message ids has come here is closed: they must not wrap (RFC 7296 §2.2).
    pub last_message_id: MessageId,
    /// The secret behind the tokens by which a peer learns that we have lost our memory (RFC 6290), the same after each
    /// restart; `None`: we give no tokens.
    pub crash_secret: Option<Secret<[u8; CRASH_SECRET]>>,
    /// The secret behind the keys of the tickets that we give (RFC 5723); `None`: we give none.
    pub ticket_secret: Option<Secret<[u8; TICKET_SECRET]>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shard: Shard::only(),
            backoff: Backoff::default(),
            cookie_threshold: limits::COOKIE_THRESHOLD,
            cookie_threshold_ip: limits::COOKIE_THRESHOLD_IP,
            puzzle_threshold: limits::PUZZLE_THRESHOLD,
            puzzle_threshold_ip: limits::PUZZLE_THRESHOLD_IP,
            puzzle_difficulty: limits::PUZZLE_DIFFICULTY,
            puzzle_limit: limits::PUZZLE_LIMIT,
            max_half_open: limits::MAX_HALF_OPEN,
            block_threshold: limits::BLOCK_THRESHOLD,
            half_open_timeout: limits::HALF_OPEN_TIMEOUT,
            keepalive: limits::KEEPALIVE,
            last_message_id: limits::LAST_MESSAGE_ID,
            crash_secret: None,
            ticket_secret: None,
        }
    }
}

/// Exponential back-off of retransmissions (RFC 7296 §2.4): the n-th wait lasts `first * growth^n / 100^n`,
/// at most `longest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    /// The wait after the first transmission.
    pub first: Duration,
    /// By how many percent of the one before each wait lasts: 180 means 1.8 times.
    pub growth: u32,
    /// No wait is longer.
    pub longest: Duration,
    /// Transmissions in all; after the last one's wait the peer counts as gone.
    pub transmissions: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: limits::FIRST_WAIT,
            growth: 180,
            longest: limits::LONGEST_WAIT,
            transmissions: limits::TRANSMISSIONS,
        }
    }
}

impl Backoff {
    /// How long to wait after transmission number `sent` (1 is the first).
    pub fn wait(&self, sent: u32) -> Duration {
        let mut wait = self.first;
        for _ in 1..sent {
            wait = wait * self.growth / 100;
            if wait >= self.longest {
                return self.longest;
            }
        }
        wait.min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let backoff = Backoff {
            first: Duration::from_millis(1000),
            growth: 200,
            longest: Duration::from_millis(5000),
            transmissions: 5,
        };
        let waits: Vec<u128> = (1..=5).map(|sent| backoff.wait(sent).as_millis()).collect();
        assert_eq!(waits, [1000, 2000, 4000, 5000, 5000]);
    }

    #[test]
    fn a_peer_is_given_several_minutes_in_all() {
        let backoff = Backoff::default();
        let all: Duration = (1..=backoff.transmissions).map(|sent| backoff.wait(sent)).sum();
        assert!((Duration::from_secs(60)..Duration::from_secs(300)).contains(&all), "{all:?}");
    }
}
