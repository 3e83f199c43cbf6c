//! Who holds the keys of a site: answers the core's jobs, at once or much later.

use sa::{Answer, Job};
use std::ops::RangeInclusive;
use std::time::Duration;
use trust::Trust;

/// What answers jobs. [`Trust`] is the real one.
pub trait Keeper: Send {
    /// The answer, whenever it is given.
    fn answer(&mut self, job: &Job) -> Answer;
}

impl Keeper for Trust {
    fn answer(&mut self, job: &Job) -> Answer {
        Trust::answer(self, job)
    }
}

/// How a keeper behaves.
#[derive(Clone, Debug)]
pub struct KeeperNature {
    /// How long an answer takes; a wide range changes their order.
    pub delay: RangeInclusive<Duration>,
    /// How many answers of a thousand never come.
    pub forget: u32,
}

impl Default for KeeperNature {
    fn default() -> Self {
        Self { delay: Duration::ZERO..=Duration::ZERO, forget: 0 }
    }
}
