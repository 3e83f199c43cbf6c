//! How much a child SA may carry in each direction.

use dataplane::VolumeLimits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One direction's limits. Both halves of a child know what either has told, so that each limit is told once.
#[derive(Clone, Default, Debug)]
pub struct Volume {
    limits: VolumeLimits,
    told: Arc<Told>,
}

#[derive(Default, Debug)]
struct Told {
    soft: AtomicBool,
    hard: AtomicBool,
}

impl Volume {
    /// Limits of which nothing was told yet.
    pub fn new(limits: VolumeLimits) -> Self {
        Self { limits, told: Arc::default() }
    }

    /// Whether a direction that has carried so much may carry nothing more.
    #[inline]
    pub fn is_spent(&self, packets: u64, bytes: u64) -> bool {
        reached(self.limits.hard_packets, packets) || reached(self.limits.hard_bytes, bytes)
    }

    /// The limit that is to be told now: `Some(true)` for the hard one. A soft limit is not told after the hard one.
    #[inline]
    pub fn take_expired(&self, packets: u64, bytes: u64) -> Option<bool> {
        if self.is_spent(packets, bytes) {
            self.told.soft.store(true, Ordering::Relaxed);
            return (!self.told.hard.swap(true, Ordering::Relaxed)).then_some(true);
        }
        let soft = reached(self.limits.soft_packets, packets) || reached(self.limits.soft_bytes, bytes);
        (soft && !self.told.soft.swap(true, Ordering::Relaxed)).then_some(false)
    }
}

fn reached(limit: Option<u64>, count: u64) -> bool {
    limit.is_some_and(|limit| count >= limit)
}
