//! What the data plane says of children: those that we asked for, and those that the peer's requests wait for.

use super::{Answering, Established, Installing};
use crate::child::ChildSa;
use crate::{Common, Cx, delete, idle, rekey_child};
use base::Instant;
use dataplane::{ChildId, Op};
use sa::{Branch, Event, JobId, RefusalKind};
use wire::num::{ExchangeType, NotifyType};
use wire::{Notify, Payload};

impl Established {
    /// Whether that child stands, and none is being installed in its place.
    pub(crate) fn is_latest(&self, child: ChildId) -> bool {
        let replaced =
            |installing: &Installing| installing.replaces.as_ref().is_some_and(|it| it.old == child);
        self.children.iter().any(|standing| standing.id == child) && !self.installing.iter().any(replaced)
    }

    /// The data plane has installed a child, or has not.
    pub(super) fn installed(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        job: JobId,
        failure: Option<String>,
    ) {
        if let Some(index) = self.answering.iter().position(|answering| answering.job == job) {
            let answering = self.answering.remove(index);
            return self.answer_child(sa, cx, answering, failure);
        }
        let Some(index) = self.installing.iter().position(|installing| installing.job == job) else { return };
        let Installing { mut child, replaces, .. } = self.installing.remove(index);
        match failure {
            None => {
                let id = child.id;
                idle::inherit(self, sa, cx, &mut child, replaces.as_ref());
                self.child_up(sa, cx, child);
                rekey_child::ours_done(self, sa, cx, replaces, Some(id));
            }
            Some(why) => {
                cx.reach(Branch::CreateNotInstalled);
                cx.directory.release_spi(child.agreed.spi_in);
                self.queue_delete(vec![delete::Named::of(&child)]);
                let reason = format!("The data plane could not install child `{}`: {why}", child.name);
                self.child_refused(sa, cx, &child.name, self.refusal(RefusalKind::Dataplane, reason));
                rekey_child::ours_done(self, sa, cx, replaces, None);
            }
        }
    }

    /// The response to a peer's request for a child SA.
    //= rfc7296 §1.2
    //# Failure of an attempt to create a Child SA SHOULD NOT tear down the IKE SA.
    fn answer_child(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        answering: Answering,
        failure: Option<String>,
    ) {
        let Answering { to, mut head, body, mut child, replaces, .. } = answering;
        match failure {
            None => {
                head.extend(body);
                self.channel.respond(sa, cx, to, &head);
                let id = child.id;
                idle::inherit(self, sa, cx, &mut child, replaces.as_ref());
                self.child_up(sa, cx, child);
                rekey_child::theirs_done(self, sa, cx, replaces, Some(id));
            }
            Some(why) => {
                cx.reach(Branch::CreateNotInstalled);
                let notify = match to.exchange {
                    ExchangeType::IKE_AUTH => NotifyType::NO_PROPOSAL_CHOSEN,
                    _ => NotifyType::NO_ADDITIONAL_SAS,
                };
                head.push(Payload::Notify(Notify::new(notify, Vec::new())));
                self.channel.respond(sa, cx, to, &head);
                cx.directory.release_spi(child.agreed.spi_in);
                let reason = format!("The data plane could not install child `{}`: {why}", child.name);
                let refusal = self.refusal(RefusalKind::Dataplane, reason);
                cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
                rekey_child::theirs_done(self, sa, cx, replaces, None);
            }
        }
    }

    /// A child on which the data plane says nothing is as good as refused.
    pub(super) fn give_up_on_dataplane(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let late = |job: JobId, until: Instant, child: &ChildSa| (now >= until).then_some((job, child.id));
        let mut all: Vec<_> = self.installing.iter().filter_map(|i| late(i.job, i.until, &i.child)).collect();
        all.extend(self.answering.iter().filter_map(|a| late(a.job, a.until, &a.child)));
        for (job, child) in all {
            // Should it be done later, it is undone at once.
            cx.out.dataplane(sa.id, Op::Remove(child));
            self.installed(sa, cx, job, Some("it does not answer".to_string()));
        }
    }
}
