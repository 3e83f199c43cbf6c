//! Is the peer still there (RFC 7296 §2.4)? It is asked only when nothing has come for `dpd_delay`, neither IKE nor ESP.
//!
//! ```text
//!   nothing by IKE for dpd_delay ──► the data plane: when did ESP come last? ──► not long ago: it lives
//!                                                  │ long ago, or never
//!                                                  ▼
//!   initiator                     responder
//!   INFORMATIONAL  SK{} -->
//!                     <--  SK{}     it lives; without an answer it is gone: after all transmissions, or `dpd_timeout`
//! ```

use crate::established::{Asked, Asking, Established, Task};
use crate::sent::Sent;
use crate::{Common, Cx, limits, move_path};
use base::Instant;
use dataplane::{Op, Outcome};
use sa::{Branch, Fate, JobId, OrderId, Reply};
use wire::num::ExchangeType;

/// Asks.
pub(crate) fn begin(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    order: Option<OrderId>,
) -> Option<Asking> {
    let payloads = move_path::probe_payloads(of, sa, cx);
    let request = of.channel.ask(sa, cx, ExchangeType::INFORMATIONAL, &payloads)?;
    cx.reach(Branch::ProbeAsked);
    Some(Asking { request, what: Asked::Probe(order) })
}

/// The peer lives.
pub(crate) fn on_response(cx: &mut Cx<'_>, order: Option<OrderId>, request: &Sent) {
    cx.reach(Branch::ProbeAnswered);
    if let Some(order) = order {
        cx.out.reply(order, Reply::Alive { round_trip: request.round_trip(cx.now.mono) });
    }
}

/// The data plane is asked when ESP came last.
pub(crate) struct Look {
    jobs: Vec<JobId>,
    pub(crate) until: Instant,
}

/// Nothing has come by IKE for long.
//= rfc7296 §2.4
//# If no cryptographically protected messages have been received on an IKE SA or any of its Child SAs recently, the
//# system needs to perform a liveness check
pub(crate) fn look(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>) {
    if of.children.is_empty() {
        of.queue(Task::Probe(None));
        return;
    }
    cx.reach(Branch::ProbeLook);
    let jobs = of.children.iter().map(|child| cx.out.dataplane(sa.id, Op::Query(child.id))).collect();
    of.look = Some(Look { jobs, until: cx.now.mono + limits::JOB_PATIENCE });
}

/// The data plane has answered; `false` when it was asked something else.
pub(crate) fn on_counters(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    job: JobId,
    outcome: &Outcome,
) -> bool {
    let Some(look) = &mut of.look else { return false };
    let Some(index) = look.jobs.iter().position(|any| *any == job) else { return false };
    look.jobs.swap_remove(index);
    if let Outcome::Counters(counters) = outcome
        && let Some(idle) = counters.idle_in
    {
        let came = cx.now.mono.as_nanos().saturating_sub(u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX));
        sa.heard = sa.heard.max(Instant::from_nanos(came));
    }
    if look.jobs.is_empty() {
        decide(of, sa, cx);
    }
    true
}

/// All is known, or the data plane does not answer.
pub(crate) fn decide(of: &mut Established, sa: &Common, cx: &mut Cx<'_>) {
    of.look = None;
    if cx.now.mono >= sa.heard + of.chosen.connection.dpd_delay {
        of.queue(Task::Probe(None));
    } else {
        cx.reach(Branch::ProbeNotNeeded);
    }
}

/// When a peer that does not answer counts as gone, whatever transmissions are left.
pub(crate) fn dead_at(of: &Established, sa: &Common) -> Option<Instant> {
    let timeout = of.chosen.connection.dpd_timeout;
    let asked = of.asking.iter().map(|asking| asking.request.first()).min()?;
    (!timeout.is_zero()).then(|| asked.max(sa.heard) + timeout)
}

/// The fate of an IKE SA whose peer has not answered for `dpd_timeout`.
pub(crate) fn timed_out(of: &Established, sa: &Common, now: Instant) -> Option<Fate> {
    let dead = dead_at(of, sa).is_some_and(|at| now >= at);
    of.asking.first().filter(|_| dead).map(|asking| asking.request.silence(now))
}
