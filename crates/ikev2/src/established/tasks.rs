//! What waits for its turn, and when it begins: as many exchanges as the peer's window takes (RFC 7296 §2.3).

use super::{Asked, Asking, Established};
use crate::child::Traffic;
use crate::create_child::Plan;
use crate::delete::Named;
use crate::followup::Series;
use crate::fresh_ppk::Offering;
use crate::ike_sa::Wish;
use crate::{
    Common, Cx, clone_ike, create_child, delete, followup, limits, move_path, probe, rekey_child, rekey_ike,
};
use base::Instant;
use dataplane::ChildId;
use policy::Child;
use sa::{Event, OrderId, Refusal, Reply};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::Payload;
use wire::num::{ExchangeType, KeMethod};

/// Something to do when there is a place for its exchange.
pub(crate) enum Task {
    Create(Arc<Child>),
    /// With the key exchange method that the peer wants.
    CreateWith(Arc<Child>, Traffic, KeMethod),
    /// For the traffic of one packet, or for other networks of the peer.
    CreateFor(Arc<Child>, Traffic),
    /// The next additional key exchange for a child (RFC 9370 §2.2.4).
    FollowUp(Box<create_child::Asked>, Vec<Payload<'static>>),
    RekeyChild(ChildId),
    /// With the key exchange method that the peer wants.
    RekeyChildWith(ChildId, KeMethod),
    /// With the key exchange method that the peer has asked for, if it has.
    RekeyIke(Option<KeMethod>),
    /// With the key exchange method that the peer has asked for, if it has.
    CloneIke(Box<Wish>, Option<KeMethod>),
    Delete(Vec<Named>),
    /// An INFORMATIONAL request with these payloads.
    Tell(Vec<Payload<'static>>),
    Probe(Option<OrderId>),
    /// Tells the responder the path in use (RFC 4555).
    Update,
    /// Asks the peer to prove where it is (RFC 4555).
    Verify,
}

impl Task {
    /// Whether it makes a child of that name.
    pub(crate) fn creates(&self, name: &str) -> bool {
        match self {
            Self::Create(child) | Self::CreateWith(child, ..) | Self::CreateFor(child, _) => {
                child.name == name
            }
            Self::FollowUp(asked, _) => asked.proposed.child.name == name,
            _ => false,
        }
    }

    /// Whether it asks for an SA by CREATE_CHILD_SA.
    fn makes_sa(&self) -> bool {
        match self {
            Self::Create(_)
            | Self::CreateWith(..)
            | Self::CreateFor(..)
            | Self::RekeyChild(_)
            | Self::RekeyChildWith(..)
            | Self::RekeyIke(_)
            | Self::CloneIke(..) => true,
            Self::FollowUp(..)
            | Self::Delete(_)
            | Self::Tell(_)
            | Self::Probe(_)
            | Self::Update
            | Self::Verify => false,
        }
    }

    /// Whether it gives that child new keys.
    pub(crate) fn rekeys(&self, child: ChildId) -> bool {
        matches!(self, Self::RekeyChild(id) | Self::RekeyChildWith(id, _) if *id == child)
    }
}

impl Established {
    /// Begins what waits, as far as the window allows.
    pub(crate) fn go_on(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        self.settle_wishes(sa, cx);
        self.reach(sa, cx);
        self.succeed(sa, cx);
        self.begin_tasks(sa, cx);
        self.slim();
    }

    /// Gives back the room of lists that are empty, as all of these nearly always are: it is more than what else an IKE SA
    /// takes.
    fn slim(&mut self) {
        fn free<T>(list: &mut Vec<T>) {
            if list.is_empty() {
                *list = Vec::new();
            }
        }
        free(&mut self.asking);
        free(&mut self.answering);
        free(&mut self.consulting);
        free(&mut self.installing);
        free(&mut self.series);
        free(&mut self.retired);
        free(&mut self.rekeys);
        free(&mut self.later);
        if self.todo.is_empty() {
            self.todo = VecDeque::new();
        }
    }

    fn begin_tasks(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        if !self.todo.iter().any(Task::makes_sa) {
            self.offering = Offering::None;
        }
        while self.may_ask() {
            // After it comes the deletion of this IKE SA, which must not exceed the window either.
            let waits = !self.is_at_rest() || !self.asking.is_empty();
            if matches!(self.todo.front(), Some(Task::RekeyIke(_))) && waits {
                return;
            }
            // The peer gives the IKE SA new keys in several exchanges: what it would cut off waits.
            let quiet =
                |task: &Task| matches!(task, Task::Probe(_) | Task::Tell(_) | Task::Verify | Task::Update);
            let is_quiet = self.todo.front().is_some_and(quiet);
            if !is_quiet && self.series.iter().any(Series::is_ike) {
                return;
            }
            if self.todo.front().is_some_and(Task::makes_sa) && !self.may_offer(sa, cx) {
                return;
            }
            let Some(task) = self.todo.pop_front() else { return };
            let makes_sa = task.makes_sa();
            let why_not = if makes_sa { self.why_not_ask(cx) } else { None };
            match why_not {
                Some(refusal) => self.leave_undone(sa, cx, task, refusal),
                None => {
                    let asking = self.begin_task(sa, cx, task);
                    self.asking.extend(asking);
                }
            }
            if makes_sa {
                self.offering = Offering::None;
            }
        }
    }

    /// An SA is not asked for now.
    fn leave_undone(&mut self, sa: &mut Common, cx: &mut Cx<'_>, task: Task, refusal: Refusal) {
        match task {
            Task::Create(child) | Task::CreateWith(child, ..) | Task::CreateFor(child, _) => {
                self.child_refused(sa, cx, &child.name, refusal);
                self.settle_wishes(sa, cx);
            }
            Task::RekeyChild(id) | Task::RekeyChildWith(id, _) => {
                cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
                self.rekey_child_refused(cx, id);
            }
            Task::CloneIke(wish, _) => cx.out.reply(wish.order, Reply::Refused(refusal)),
            // Only these make an SA.
            _ => {
                cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
                self.rekey_ike_later(cx);
            }
        }
    }

    fn begin_task(&mut self, sa: &mut Common, cx: &mut Cx<'_>, task: Task) -> Option<Asking> {
        match task {
            Task::Create(child) => create_child::ask(self, sa, cx, Plan::new(child, Traffic::Configured)),
            Task::CreateWith(child, traffic, wished) => {
                let plan = Plan { wished: Some(wished), ..Plan::new(child, traffic) };
                create_child::ask(self, sa, cx, plan)
            }
            Task::CreateFor(child, traffic) => create_child::ask(self, sa, cx, Plan::new(child, traffic)),
            Task::FollowUp(asked, payloads) => match followup::ask(self, sa, cx, &payloads) {
                Some(request) => Some(Asking { request, what: Asked::Child(asked) }),
                None => {
                    create_child::give_up(self, sa, cx, &asked);
                    None
                }
            },
            Task::RekeyChild(id) => rekey_child::begin(self, sa, cx, id, None),
            Task::RekeyChildWith(id, wished) => rekey_child::begin(self, sa, cx, id, Some(wished)),
            Task::RekeyIke(wished) => rekey_ike::begin(self, sa, cx, wished),
            Task::CloneIke(wish, wished) => clone_ike::begin(self, sa, cx, *wish, wished),
            Task::Delete(named) => delete::begin(self, sa, cx, named),
            Task::Probe(order) => probe::begin(self, sa, cx, order),
            Task::Update => move_path::begin_update(self, sa, cx),
            Task::Verify => move_path::begin_verify(self, sa, cx),
            Task::Tell(payloads) => {
                let request = self.channel.ask(sa, cx, ExchangeType::INFORMATIONAL, &payloads);
                request.map(|request| Asking { request, what: Asked::Told })
            }
        }
    }

    /// Whether one more request may go out.
    //= rfc7296 §2.3
    //# if the responder stated its window size is N, then when the initiator needs to make a request X, it MUST wait
    //# until it has received responses to all requests up through request X-N
    fn may_ask(&self) -> bool {
        let lowest = self.asking.iter().map(|asking| asking.request.id.0).min();
        let next = self.channel.next_request().0;
        let fits = lowest.is_none_or(|lowest| next.saturating_sub(lowest) < self.peer_window);
        fits && !self.is_rekeying_ike()
    }

    /// Whether nothing is under way that a rekeying of the IKE SA would cut off.
    //= rfc7296 §2.25.2
    //# If a peer receives a request to rekey an IKE SA, and it is currently creating, rekeying, or closing a Child SA of
    //# that IKE SA, it SHOULD reply with TEMPORARY_FAILURE.
    pub(crate) fn is_at_rest(&self) -> bool {
        let busy = self
            .asking
            .iter()
            .any(|asking| !matches!(asking.what, Asked::Probe(_) | Asked::Told | Asked::Verify(_)));
        let following = self.todo.iter().any(|task| matches!(task, Task::FollowUp(..)));
        !busy
            && !following
            && self.series.is_empty()
            && self.answering.is_empty()
            && self.granting.is_empty()
            && self.consulting.is_empty()
            && self.installing.is_empty()
    }

    /// Whether a child SA that we have asked for may stand at the peer's already.
    pub(crate) fn is_making_child(&self) -> bool {
        self.asked_children().next().is_some() || !self.installing.is_empty()
    }

    /// The children that we have asked for.
    pub(crate) fn asked_children(&self) -> impl Iterator<Item = &create_child::Asked> {
        let asking = self.asking.iter().filter_map(|asking| match &asking.what {
            Asked::Child(asked) => Some(&**asked),
            _ => None,
        });
        let waiting = self.todo.iter().filter_map(|task| match task {
            Task::FollowUp(asked, _) => Some(&**asked),
            _ => None,
        });
        asking.chain(waiting)
    }

    /// The peer deletes a child that we do not have: perhaps it is one that we have asked for.
    pub(crate) fn note_deleted(&mut self, spi: base::EspSpi) {
        let asking = self.asking.iter_mut().filter_map(|asking| match &mut asking.what {
            Asked::Child(asked) => Some(asked),
            _ => None,
        });
        let waiting = self.todo.iter_mut().filter_map(|task| match task {
            Task::FollowUp(asked, _) => Some(asked),
            _ => None,
        });
        asking.chain(waiting).for_each(|asked| asked.note_deleted(spi));
    }

    /// Whether our request for another IKE SA in this one's place is under way.
    pub(crate) fn is_rekeying_ike(&self) -> bool {
        self.asking.iter().any(|asking| matches!(asking.what, Asked::RekeyIke(_)))
    }

    /// Does something when its turn comes; `false` when too much waits already.
    pub(crate) fn queue(&mut self, task: Task) -> bool {
        let fits = self.todo.len() < limits::MAX_TODO;
        if fits {
            self.todo.push_back(task);
        }
        fits
    }

    /// Tells the peer something before all else that waits.
    pub(crate) fn tell_first(&mut self, payloads: Vec<Payload<'static>>) {
        self.todo.push_front(Task::Tell(payloads));
    }

    /// Tells the peer something when its turn comes.
    pub(crate) fn tell(&mut self, payloads: Vec<Payload<'static>>) {
        self.queue(Task::Tell(payloads));
    }

    /// Does something before all else that waits.
    pub(crate) fn queue_first(&mut self, task: Task) {
        self.todo.push_front(task);
    }

    /// Gives all children of that name new keys; how many there are.
    pub(crate) fn order_child_rekey(&mut self, name: &str) -> usize {
        let ids: Vec<ChildId> = self.children.iter().filter(|c| c.name == name).map(|c| c.id).collect();
        ids.iter().filter(|id| self.queue(Task::RekeyChild(**id))).count()
    }

    /// Gives the IKE SA new keys when nothing else is under way.
    pub(crate) fn order_rekey(&mut self) {
        if !self.is_rekeying_ike() && !self.is_queued(|task| matches!(task, Task::RekeyIke(_))) {
            self.todo.push_back(Task::RekeyIke(None));
        }
    }

    /// The IKE SA has new keys: those that were wished for before are these.
    pub(crate) fn forget_rekey(&mut self) {
        self.todo.retain(|task| !matches!(task, Task::RekeyIke(_)));
        self.later.retain(|(_, task)| !matches!(task, Task::RekeyIke(_)));
    }

    /// Whether a request of the peer's has no response yet.
    pub(crate) fn owes_answers(&self) -> bool {
        !(self.answering.is_empty() && self.granting.is_empty() && self.consulting.is_empty())
    }

    /// Does something again after the peer was busy, at a moment that the peer does not choose as well; `false` when too much
    /// waits already.
    //= rfc7296 §2.25
    //# a peer that receives a TEMPORARY_FAILURE notification MUST NOT immediately retry the operation; it MUST wait
    //# so that the sender may complete whatever operation caused the temporary condition
    pub(crate) fn queue_later(&mut self, cx: &mut Cx<'_>, task: Task) -> bool {
        let fits = self.later.len() < limits::MAX_TODO;
        if fits {
            let at = cx.now.mono + cx.jitter(limits::RETRY_WAIT, limits::RETRY_SPREAD);
            self.later.push((at, task));
        }
        fits
    }

    /// The moment of some has come.
    pub(super) fn wake_later(&mut self, now: Instant) {
        let (due, stay): (Vec<_>, Vec<_>) = self.later.drain(..).partition(|(at, _)| now >= *at);
        self.later = stay;
        self.todo.extend(due.into_iter().map(|(_, task)| task));
    }

    /// A child that is not asked for now is asked for when there is a place again: its order still waits.
    pub(crate) fn queue_create(&mut self, child: Arc<Child>) {
        self.queue(Task::Create(child));
    }

    /// Tells the peer, when its turn comes, that these children are gone. This always has a place, because the peer would
    /// keep a child that it does not hear of: one deletion at most waits, and takes up the later ones. The children that
    /// it names count against `MAX_CHILDREN`.
    pub(crate) fn queue_delete(&mut self, named: Vec<Named>) {
        let waiting = self.todo.iter_mut().find_map(|task| match task {
            Task::Delete(waiting) => Some(waiting),
            _ => None,
        });
        match waiting {
            Some(waiting) => waiting.extend(named),
            None => self.todo.push_back(Task::Delete(named)),
        }
    }

    /// Whether the peer may have another child: those that it does not know to be gone count.
    pub(crate) fn has_place(&self, replaces: bool) -> bool {
        let untold = self.todo.iter().map(|task| match task {
            Task::Delete(named) => named.len(),
            _ => 0,
        });
        let making = self.series.iter().filter(|series| !series.is_ike()).count();
        let under_way = self.installing.len() + self.answering.len() + self.retired.len() + making;
        // A child in another's place counts twice for a while.
        let most = if replaces { 2 * limits::MAX_CHILDREN } else { limits::MAX_CHILDREN };
        self.children.len() + under_way + untold.sum::<usize>() < most
    }

    /// Whether a deletion of children is not answered yet.
    pub(crate) fn is_deleting(&self) -> bool {
        let asking = self.asking.iter().any(|asking| matches!(asking.what, Asked::Delete(_)));
        asking || self.todo.iter().any(|task| matches!(task, Task::Delete(_)))
    }

    /// Whether we are telling the peer, or are about to, that the child with its SPI `spi_out` is gone.
    pub(crate) fn is_closing(&self, spi_out: base::EspSpi) -> bool {
        let asked = self.asking.iter().filter_map(|asking| match &asking.what {
            Asked::Delete(named) => Some(named),
            _ => None,
        });
        let waiting = self.todo.iter().filter_map(|task| match task {
            Task::Delete(named) => Some(named),
            _ => None,
        });
        asked.chain(waiting).flatten().any(|named| named.spi_out == Some(spi_out))
    }

    /// Whether something that would do `what` waits or is under way.
    pub(crate) fn is_queued(&self, what: impl Fn(&Task) -> bool) -> bool {
        self.todo.iter().chain(self.later.iter().map(|(_, task)| task)).any(what)
    }

    /// What was asked on an IKE SA that goes, and matters to its successor, is asked again there: orders that wait for a
    /// sign of life, and what concerns the path.
    pub(crate) fn requeue_asked(&mut self) {
        for asking in std::mem::take(&mut self.asking) {
            match asking.what {
                Asked::Probe(Some(order)) => self.todo.push_front(Task::Probe(Some(order))),
                Asked::CloneIke(asked) => self.todo.push_front(Task::CloneIke(Box::new(asked.wish), None)),
                Asked::Update(_) => self.todo.push_front(Task::Update),
                Asked::Verify(_) => self.todo.push_front(Task::Verify),
                Asked::Probe(None)
                | Asked::Told
                | Asked::Child(_)
                | Asked::RekeyIke(_)
                | Asked::Delete(_) => {}
            }
        }
    }
}
