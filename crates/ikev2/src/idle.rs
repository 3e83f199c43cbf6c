//! A child that nobody uses for `inactivity` is deleted.
//!
//! ```text
//!   made ── inactivity ──► the data plane: when did a packet come last, and has one gone out since the last look?
//!                            │ lately                            │ long ago, or never
//!                            ▼                                   ▼
//!                          a look again, soon enough           INFORMATIONAL  SK{D(ESP)} -->
//! ```

use crate::child::ChildSa;
use crate::established::Established;
use crate::rekey_child::Replaces;
use crate::{Common, Cx, limits};
use base::Instant;
use dataplane::{ChildId, Counters, Op, Outcome};
use sa::{Fate, JobId};
use std::time::Duration;

/// What is known of a child's use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// Since when it is not known to have carried anything.
    since: Instant,
    /// How many packets it had sent at the last look.
    packets_out: u64,
    /// When to look; `None`: never.
    pub(crate) look: Option<Instant>,
    /// The data plane is asked about that child: this one, or the one before it.
    asked: Option<(JobId, ChildId)>,
}

impl Used {
    /// Of a child that is made now.
    pub(crate) fn new(now: Instant, inactivity: Duration) -> Self {
        let look = (!inactivity.is_zero()).then(|| now + inactivity);
        Self { since: now, packets_out: 0, look, asked: None }
    }

    /// What the data plane says of the child that it was asked about, which is the child itself or not.
    fn learn(&mut self, now: Instant, counters: &Counters, is_itself: bool) {
        // It tells when a packet came, but not when one went.
        if counters.packets_out != self.packets_out {
            self.since = now;
        } else if let Some(idle) = counters.idle_in {
            let nanos = u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX);
            self.since = self.since.max(Instant::from_nanos(now.as_nanos().saturating_sub(nanos)));
        }
        self.packets_out = if is_itself { counters.packets_out } else { 0 };
    }
}

/// A child that comes in another's place has been idle as long as that one.
pub(crate) fn inherit(
    of: &Established,
    sa: &Common,
    cx: &mut Cx<'_>,
    child: &mut ChildSa,
    replaces: Option<&Replaces>,
) {
    let old = replaces.and_then(|replaces| of.children.iter().find(|child| child.id == replaces.old));
    if let (Some(old), Some(_)) = (old, child.used.look) {
        let asked = Some((cx.out.dataplane(sa.id, Op::Query(old.id)), old.id));
        child.used = Used { asked, look: Some(cx.now.mono + interval(child)), ..old.used };
    }
}

/// Asks the data plane about the children whose time has come.
pub(crate) fn look(of: &mut Established, sa: &Common, cx: &mut Cx<'_>) {
    let now = cx.now.mono;
    for child in of.children.iter_mut().filter(|child| child.used.look.is_some_and(|at| now >= at)) {
        child.used.asked = Some((cx.out.dataplane(sa.id, Op::Query(child.id)), child.id));
        child.used.look = Some(now + interval(child));
    }
}

/// The data plane has answered; `false` when it was asked something else.
pub(crate) fn on_counters(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    job: JobId,
    outcome: &Outcome,
) -> bool {
    let now = cx.now.mono;
    let mut children = of.children.iter_mut();
    let found =
        children.find_map(|child| Some((child.used.asked.filter(|(asked, _)| *asked == job)?.1, child)));
    let Some((about, child)) = found else { return false };
    let id = child.id;
    child.used.asked = None;
    // Without an answer there is the next look.
    let Outcome::Counters(counters) = outcome else { return true };
    child.used.learn(now, counters, about == id);
    let over = child.used.since + child.config.inactivity;
    child.used.look = Some(over.max(now + limits::LEAST_LOOK).min(now + interval(child)));
    if now >= over && about == id && !of.is_child_rekey_begun(id) {
        of.end_child(sa, cx, id, Fate::Unused);
    }
    true
}

/// So often it is looked at: what goes out is noticed at the next look only.
fn interval(child: &ChildSa) -> Duration {
    (child.config.inactivity / 4).max(limits::LEAST_LOOK)
}
