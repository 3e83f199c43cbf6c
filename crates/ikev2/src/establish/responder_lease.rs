//! Addresses for an initiator that is authenticated, before its child SA is decided on (RFC 7296 §2.19).

use super::Deadline;
use super::responder_check::{Claimed, ended};
use super::responder_prove::Proving;
use crate::child::{ChildRequest, Decided, NoChild};
use crate::ext::configuration::{Asked, filled_in};
use crate::ike_sa::{Datagram, End, Known, Next, Stage};
use crate::{Common, Cx, limits};
use base::Instant;
use policy::{ChildKe, Leased};
use sa::{Answer, Branch, Job, JobId, Reason, RefusalKind};
use std::sync::Arc;
use wire::num::NotifyType;

/// The keeper of addresses is asked.
pub(crate) struct Leasing {
    checked: Claimed,
    asked: Arc<Asked>,
    job: JobId,
    until: Deadline,
}

impl Leasing {
    /// Goes on with a peer that is welcome. `alone`: its older IKE SAs go.
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, mut checked: Claimed, alone: bool) -> Next {
        let pools = &checked.chosen.connection.configuration.pools;
        if pools.is_empty() {
            checked.decide_child(sa, cx);
            return Proving::begin(sa, cx, checked);
        }
        let asked = checked.secrets.agreed.asked.clone();
        let request = asked.as_ref().and_then(|a| a.lease(pools, &checked.identities.remote, alone));
        let (Some(asked), Some(request)) = (asked, request) else {
            //= rfc7296 §2.19
            //# In the case where the IRAS's configuration requires that CP be used for a given identity IDi, but IRAC
            //# has failed to send a CP(CFG_REQUEST), IRAS MUST fail the request, and terminate the Child SA creation
            //# with a FAILED_CP_REQUIRED error. The FAILED_CP_REQUIRED is not fatal to the IKE SA
            let why = "The peer asks for no address, and `pools` makes that a condition: let it ask (`vips`), or remove `pools`.";
            if checked.wants.undecided.is_some() {
                checked.refuse_child(NotifyType::FAILED_CP_REQUIRED, why);
            }
            return Proving::begin(sa, cx, checked);
        };
        let job = cx.out.job(sa.id, Job::Lease(Box::new(request)));
        checked.wants.leases.asked(job);
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { checked, asked, job, until })
    }

    fn on_leased(self, sa: &mut Common, cx: &mut Cx<'_>, leased: &[Leased]) -> Next {
        let Self { mut checked, asked, .. } = self;
        let connection = checked.chosen.connection.clone();
        let pools = &connection.configuration.pools;
        checked.wants.notifies.extend(Asked::allowed(pools));
        if leased.is_empty() {
            //= rfc7296 §3.15.4
            //# If the responder encounters an error while attempting to assign an IP address to the initiator […] it
            //# responds with an INTERNAL_ADDRESS_FAILURE notification. The IKE SA is still created even if the initial
            //# Child SA cannot be created because of this failure.
            cx.reach(Branch::LeaseExhausted);
            checked.wants.leases.release(sa, cx);
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            let why = format!(
                "No address of the kind that the peer asks for is left in its pools ({}): `handfast status` shows who has them.",
                names.join(", ")
            );
            checked.refuse_child(NotifyType::INTERNAL_ADDRESS_FAILURE, &why);
            return Proving::begin(sa, cx, checked);
        }
        cx.reach(Branch::LeaseGiven);
        let selectors = asked.selectors(leased);
        checked.wants.leases.gave(leased, &selectors, &connection);
        checked.wants.reply = Some(asked.reply(pools, leased));
        checked.chosen.connection = filled_in(&connection, &[], &selectors);
        checked.decide_child(sa, cx);
        Proving::begin(sa, cx, checked)
    }
}

impl Claimed {
    /// The peer is known, and what addresses it has.
    fn decide_child(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        if let Some(contents) = self.wants.undecided.take() {
            let nat = self.secrets.agreed.nat;
            let request = ChildRequest { contents: &contents, ke: ChildKe::Without, nat };
            self.wants.child = Some(Decided::new(sa, cx, &self.chosen.connection, &request));
        }
    }

    /// The child does not come; the IKE SA does.
    fn refuse_child(&mut self, notify: NotifyType, why: &str) {
        let connection = &self.chosen.connection;
        let no_child = NoChild::new(RefusalKind::NoAddress, notify, connection, why);
        self.wants.undecided = None;
        self.wants.child = Some(Err(no_child));
    }
}

impl Stage for Leasing {
    fn known(&self) -> Known<'_> {
        self.checked.known()
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        // Only the same request again can come, and its response is on its way.
        self.checked.secrets.channel.take_repeated(sa, cx, datagram);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Leased(leased) => self.on_leased(sa, cx, &leased),
            _ => self.on_leased(sa, cx, &[]),
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        // Should it be leased later, that is undone: the job's name is released.
        if self.until.is_over(cx) { self.on_leased(sa, cx, &[]) } else { self }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, _: End) -> Next {
        let refusal = ended(Some(&self.checked.chosen));
        self.checked.refuse(sa, cx, refusal)
    }

    fn is_half_open(&self) -> bool {
        true
    }
}
