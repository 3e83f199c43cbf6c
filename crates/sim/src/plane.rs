//! A data plane that only keeps books: what is installed, under which keys, for which traffic.

use crate::SimRng;
use base::Instant;
use dataplane::{ChildId, ChildSpec, Counters, Op, Outcome};
use sa::JobId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How a simulated data plane behaves.
#[derive(Clone, Debug)]
pub struct DataplaneNature {
    /// How long an operation takes; they are done in the order they came.
    pub delay: RangeInclusive<Duration>,
    /// How many installations of a thousand are refused.
    pub refuse: u32,
}

impl Default for DataplaneNature {
    fn default() -> Self {
        Self { delay: Duration::ZERO..=Duration::ZERO, refuse: 0 }
    }
}

/// The data plane of one site.
pub struct SimDataplane {
    nature: DataplaneNature,
    sad: BTreeMap<ChildId, ChildSpec>,
    busy_until: Instant,
    /// Operations that were asked for and are not done.
    pub(crate) under_way: BTreeMap<JobId, Op>,
    /// Installations refused. Their removal may be on its way before that is heard.
    pub refused: BTreeSet<ChildId>,
}

impl SimDataplane {
    pub(crate) fn new(nature: DataplaneNature) -> Self {
        let sad = BTreeMap::new();
        Self {
            nature,
            sad,
            busy_until: Instant::default(),
            under_way: BTreeMap::new(),
            refused: BTreeSet::new(),
        }
    }

    /// All is gone, and what was under way too.
    pub(crate) fn clear(&mut self) {
        self.sad.clear();
        self.under_way.clear();
        self.refused.clear();
    }

    /// What is installed.
    pub fn sad(&self) -> impl Iterator<Item = &ChildSpec> {
        self.sad.values()
    }

    /// Takes an operation in; says when it will be done.
    pub(crate) fn begin(&mut self, now: Instant, job: JobId, op: Op, rng: &mut SimRng) -> Instant {
        self.under_way.insert(job, op);
        self.busy_until = self.busy_until.max(now) + rng.duration(&self.nature.delay);
        self.busy_until
    }

    /// Does the operation now. The error is a violation: an operation on what is not there.
    pub(crate) fn finish(&mut self, job: JobId, rng: &mut SimRng) -> Result<Outcome, String> {
        match self.under_way.remove(&job) {
            Some(Op::Install(spec)) => self.install(*spec, rng),
            Some(Op::Remove(id)) => match self.sad.remove(&id) {
                Some(_) => Ok(Outcome::Counters(Counters::default())),
                None if self.refused.remove(&id) => Ok(Outcome::Failed("It is not installed.".to_string())),
                None => Err(format!("{id:?} is removed and is not installed")),
            },
            Some(Op::Query(id)) if self.sad.contains_key(&id) => Ok(Outcome::Counters(Counters::default())),
            Some(Op::Query(id)) => Err(format!("{id:?} is queried and is not installed")),
            Some(Op::Use(id)) if self.sad.contains_key(&id) => Ok(Outcome::Done),
            Some(Op::Use(id)) => Err(format!("{id:?} is used and is not installed")),
            Some(Op::Trap(_) | Op::Untrap(_)) => Ok(Outcome::Done),
            Some(Op::Move { id, local, remote, udp_encap }) => match self.sad.get_mut(&id) {
                Some(spec) => {
                    (spec.local, spec.remote, spec.udp_encap) = (local, remote, udp_encap);
                    Ok(Outcome::Done)
                }
                None => Err(format!("{id:?} is moved and is not installed")),
            },
            None => Err(format!("{job:?} is done twice")),
        }
    }

    fn install(&mut self, spec: ChildSpec, rng: &mut SimRng) -> Result<Outcome, String> {
        if rng.chance(self.nature.refuse) {
            self.refused.insert(spec.id);
            return Ok(Outcome::Failed(
                "The simulated data plane has no room for this child SA.".to_string(),
            ));
        }
        if spec.inbound.spi.0 < 256 || spec.outbound.spi.0 < 256 {
            return Err(format!("child {} has a reserved SPI (RFC 4303 §2.1)", spec.name));
        }
        if self.sad.values().any(|other| other.inbound.spi == spec.inbound.spi) {
            return Err(format!("inbound SPI {} is installed twice", spec.inbound.spi));
        }
        match self.sad.insert(spec.id, spec) {
            None => Ok(Outcome::Done),
            Some(before) => Err(format!("{:?} is installed twice", before.id)),
        }
    }
}
