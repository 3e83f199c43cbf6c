//! An IKE SA that stands: its children, the exchange that we have under way, the request of the peer
//! that we are working on, and what waits for its turn (window size 1, RFC 7296 §2.3).

mod begin;
mod wishes;

pub(crate) use begin::{AuthAnswer, Authenticated, FirstChild, Identities, Waiting};

use crate::channel::{Authentic, Channel, Incoming, Message, Request};
use crate::child::ChildSa;
use crate::closing::{Closing, Lingering, Standing};
use crate::contents::Contents;
use crate::ext::Nat;
use crate::fault::Fault;
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage, refusal_of};
use crate::sent::Sent;
use crate::{Common, Cx, create_child, delete, establish, limits, probe};
use base::{EspSpi, Instant, Secret};
use dataplane::{Op, Outcome};
use policy::{Child, IkeSuite};
use sa::{Answer, Event, Fate, JobId, OrderId, Path, Reason, Refusal, RefusalKind, Reply};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::num::{ExchangeType, NotifyType};
use wire::{Notify, Payload};

/// An IKE SA that stands.
pub(crate) struct Established {
    pub(crate) channel: Channel,
    pub(crate) chosen: Chosen,
    pub(crate) identities: Identities,
    pub(crate) suite: IkeSuite,
    pub(crate) sk_d: Secret,
    pub(crate) nat: Nat,
    pub(crate) children: Vec<ChildSa>,
    /// Our request that waits for its response.
    pub(crate) asking: Option<Box<Asking>>,
    /// The peer's request that waits for the data plane.
    pub(crate) answering: Option<Box<Answering>>,
    /// Children that we asked for and that the data plane is installing.
    pub(crate) installing: Vec<Installing>,
    todo: VecDeque<Task>,
    /// When something from outside last made us probe.
    provoked: Option<Instant>,
}

/// An exchange of ours.
pub(crate) struct Asking {
    pub(crate) request: Sent,
    pub(crate) what: Asked,
}

/// What an exchange of ours is about.
pub(crate) enum Asked {
    Child(create_child::Asked),
    /// Children, which are gone here already.
    Delete,
    /// Orders that want to know whether the peer lives.
    Probe(Option<OrderId>),
}

impl Asked {
    fn exchange(&self) -> ExchangeType {
        match self {
            Self::Child(_) => ExchangeType::CREATE_CHILD_SA,
            Self::Delete | Self::Probe(_) => ExchangeType::INFORMATIONAL,
        }
    }
}

/// A request of the peer whose child SA is being installed; then it is answered.
pub(crate) struct Answering {
    pub(crate) to: Request,
    /// What stands before the child's payloads.
    pub(crate) head: Vec<Payload<'static>>,
    /// SA, then what CREATE_CHILD_SA has besides, then the selectors.
    pub(crate) body: Vec<Payload<'static>>,
    pub(crate) child: ChildSa,
    pub(crate) job: JobId,
    pub(crate) until: Instant,
}

/// A child of ours that is being installed.
pub(crate) struct Installing {
    pub(crate) child: ChildSa,
    pub(crate) job: JobId,
    pub(crate) until: Instant,
}

/// Something to do when the exchange under way is over.
pub(crate) enum Task {
    Create(Arc<Child>),
    Delete(Vec<EspSpi>),
    Probe(Option<OrderId>),
}

/// Whether the IKE SA goes on after a step.
pub(crate) enum After {
    Stay,
    /// It ends, and the peer knows.
    End(Fate),
}

impl Stage for Established {
    fn name(&self) -> &'static str {
        "established"
    }

    fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&self.chosen.connection),
            local_id: Some(&self.identities.local),
            remote_id: Some(&self.identities.remote),
            suite: Some(self.suite),
            nat_local: self.nat.local,
            nat_remote: self.nat.remote,
            fragmentation: self.channel.fragments(),
            children: &self.children,
        }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let path = datagram.path;
        let awaited = self.asking.as_ref().map(|asking| asking.request.id);
        let after = match self.channel.take(sa, cx, awaited, datagram) {
            None => return self,
            Some(Incoming::Request(message)) => {
                self.follow(sa, cx, path);
                self.on_request(sa, cx, path, &message)
            }
            Some(Incoming::Response(message)) => {
                self.follow(sa, cx, path);
                self.on_response(sa, cx, &message)
            }
        };
        self.after(sa, cx, after)
    }

    fn answer(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        let Answer::Dataplane(outcome) = answer else { return self };
        let failure = match outcome {
            Outcome::Failed(why) => Some(why),
            Outcome::Done | Outcome::Counters(_) => None,
        };
        self.installed(sa, cx, job, failure);
        self.go_on(sa, cx);
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        let now = cx.now.mono;
        self.channel.tidy(now);
        //= rfc7296 §2.2
        //# the IKE SA MUST be closed or rekeyed before the message id wraps
        if self.channel.is_spent(sa.last_message_id) {
            let fate = Fate::Fault("its message ids are used up (RFC 7296 §2.2)".to_string());
            return self.close(sa, cx, End { tell_peer: true, fate });
        }
        if let Some(mut asking) = self.asking.take() {
            if let Err(fate) = asking.request.on_time(sa, cx) {
                self.asking = Some(asking);
                return self.end(sa, cx, fate);
            }
            self.asking = Some(asking);
        }
        self.give_up_on_dataplane(sa, cx);
        if self.probe_at(sa).is_some_and(|at| now >= at) {
            self.todo.push_back(Task::Probe(None));
        }
        if self.keepalive_at(sa, cx.settings.keepalive).is_some_and(|at| now >= at) {
            cx.out.keepalive(sa.path);
            sa.spoke = now;
        }
        self.go_on(sa, cx);
        self
    }

    fn wake(&self, sa: &Common) -> Option<(Instant, Reason)> {
        let asking = self.asking.as_ref().map(|asking| (asking.request.due(), Reason::Retransmit));
        let tidy = self.channel.tidy_at().map(|at| (at, Reason::Expire));
        let answering = self.answering.as_ref().map(|answering| (answering.until, Reason::Expire));
        let installing = self.installing.iter().map(|installing| (installing.until, Reason::Expire));
        let probe = self.probe_at(sa).map(|at| (at, Reason::Liveness));
        let keepalive = self.keepalive_at(sa, sa.keepalive).map(|at| (at, Reason::Keepalive));
        let spent = self.channel.is_spent(sa.last_message_id).then_some((sa.heard, Reason::Expire));
        let one = [asking, tidy, answering, probe, keepalive, spent].into_iter().flatten();
        one.chain(installing).min_by_key(|(at, _)| *at)
    }

    fn close(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        if !end.tell_peer {
            return self.end(sa, cx, end.fate);
        }
        let facts = sa.facts(&self.known(), cx.now.mono);
        let asking = self.clear(sa, cx, &end.fate);
        cx.out.disown(sa.id);
        let Self { chosen, channel, .. } = *self;
        let standing = Standing { connection: chosen.connection, channel, asking };
        Closing::begin(sa, cx, standing, (facts, end.fate))
    }

    fn established(&mut self) -> Option<&mut Established> {
        Some(self)
    }
}

impl Established {
    fn on_request(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        path: Path,
        message: &Authentic<Message>,
    ) -> After {
        let to = Request { path, exchange: message.exchange(), id: message.id() };
        let contents = match message.contents() {
            Ok(contents) => contents,
            Err(fault) => return self.fault(sa, cx, to, &fault),
        };
        match to.exchange {
            ExchangeType::CREATE_CHILD_SA => create_child::on_request(self, sa, cx, to, &contents),
            ExchangeType::INFORMATIONAL => self.on_informational(sa, cx, to, &contents),
            other => {
                let what = format!("a request of exchange type {other} cannot come here");
                self.fault(sa, cx, to, &Fault::syntax("RFC 7296 §1.1", what))
            }
        }
    }

    /// Delete, a sign of life, or something told.
    //= rfc7296 §1.4
    //# INFORMATIONAL requests […] MUST be answered, also when they are empty or when nothing in them is understood.
    fn on_informational(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        to: Request,
        contents: &Contents<'_>,
    ) -> After {
        //= rfc7296 §2.21.2
        //# In the INFORMATIONAL exchange immediately following IKE_AUTH, AUTHENTICATION_FAILED [is one of] the
        //# only ones to cause the IKE SA to be deleted without a Delete payload.
        if contents.has(NotifyType::AUTHENTICATION_FAILED) {
            self.channel.respond(sa, cx, to, &[]);
            let refusal = establish::not_accepted(&self.chosen.connection, &self.identities.local);
            cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: refusal.clone() });
            return After::End(Fate::Refused(refusal));
        }
        if delete::names_ike_sa(contents) {
            self.channel.respond(sa, cx, to, &[]);
            return After::End(Fate::DeletedByPeer);
        }
        let payloads = delete::on_request(self, sa, cx, contents);
        self.channel.respond(sa, cx, to, &payloads);
        After::Stay
    }

    fn on_response(&mut self, sa: &mut Common, cx: &mut Cx<'_>, message: &Authentic<Message>) -> After {
        let Some(asking) = self.asking.take() else { return After::Stay };
        let Asking { request, what } = *asking;
        let contents = message.contents().and_then(|contents| match message.exchange() {
            exchange if exchange == what.exchange() => Ok(contents),
            other => Err(Fault::syntax("RFC 7296 §2.2", format!("a response of exchange type {other} came"))),
        });
        let contents = match contents {
            Ok(contents) => contents,
            Err(fault) => {
                // A response that cannot be read leaves both sides with different views: RFC 7296 §2.21.
                self.asking = Some(Box::new(Asking { request, what }));
                return After::End(Fate::Fault(fault.to_string()));
            }
        };
        if contents.has(NotifyType::INVALID_SYNTAX) {
            self.asking = Some(Box::new(Asking { request, what }));
            return After::End(Fate::Fault("the peer answered INVALID_SYNTAX to our request".to_string()));
        }
        match what {
            Asked::Child(asked) => create_child::on_response(self, sa, cx, asked, &contents),
            Asked::Delete => {}
            Asked::Probe(order) => probe::on_response(cx, order, &request),
        }
        After::Stay
    }

    /// Answers a message that breaks the protocol.
    pub(crate) fn fault(&mut self, sa: &mut Common, cx: &mut Cx<'_>, to: Request, fault: &Fault) -> After {
        let (notify, fatal) = fault.verdict();
        self.channel.respond(sa, cx, to, &[Payload::Notify(notify)]);
        if fatal {
            return After::End(Fate::Fault(fault.to_string()));
        }
        cx.note(sa.id, format!("A request of the peer was rejected: {fault}"));
        After::Stay
    }

    fn after(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, after: After) -> Next {
        match after {
            After::Stay => {
                self.go_on(sa, cx);
                self
            }
            After::End(fate) => self.end(sa, cx, fate),
        }
    }

    /// The end, of which the peer knows or cannot be told.
    fn end(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        let facts = sa.facts(&self.known(), cx.now.mono);
        self.clear(sa, cx, &fate);
        cx.out.disown(sa.id);
        cx.out.tell(Event::IkeDown(facts, fate));
        if self.channel.has_response() { Lingering::begin(cx, self.channel) } else { Box::new(Gone) }
    }

    /// Takes down all that hangs on this IKE SA; gives back the request that has no response.
    fn clear(&mut self, sa: &mut Common, cx: &mut Cx<'_>, fate: &Fate) -> Option<Sent> {
        for child in std::mem::take(&mut self.children) {
            delete::remove(sa, cx, &child, fate.clone());
        }
        let unfinished = self.installing.drain(..).map(|installing| installing.child);
        for child in unfinished.chain(self.answering.take().map(|answering| answering.child)) {
            cx.out.dataplane(sa.id, Op::Remove(child.id));
            cx.directory.release_spi(child.agreed.spi_in);
        }
        let refusal = refusal_of(fate, sa.path, Some(&self.chosen.connection.name));
        let asking = self.asking.take().map(|asking| {
            match asking.what {
                Asked::Child(asked) => cx.directory.release_spi(asked.proposed.spi),
                Asked::Probe(Some(order)) => cx.out.reply(order, Reply::Refused(refusal.clone())),
                Asked::Probe(None) | Asked::Delete => {}
            }
            asking.request
        });
        for task in self.todo.drain(..) {
            if let Task::Probe(Some(order)) = task {
                cx.out.reply(order, Reply::Refused(refusal.clone()));
            }
        }
        for wish in std::mem::take(&mut sa.wishes) {
            cx.out.reply(wish.order, Reply::Refused(refusal.clone()));
        }
        cx.directory.leave(&self.identities.pair, sa.id);
        asking
    }

    /// The data plane has installed a child, or has not.
    fn installed(&mut self, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, failure: Option<String>) {
        if let Some(answering) = self.answering.take_if(|answering| answering.job == job) {
            return self.answer_child(sa, cx, *answering, failure);
        }
        let Some(index) = self.installing.iter().position(|installing| installing.job == job) else { return };
        let child = self.installing.remove(index).child;
        match failure {
            None => self.child_up(sa, cx, child),
            Some(why) => {
                cx.directory.release_spi(child.agreed.spi_in);
                self.queue_delete(vec![child.agreed.spi_in]);
                let reason = format!("The data plane could not install child `{}`: {why}", child.name);
                self.child_refused(sa, cx, &child.name, self.refusal(RefusalKind::Dataplane, reason));
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
        let Answering { to, mut head, body, child, .. } = answering;
        match failure {
            None => {
                head.extend(body);
                self.channel.respond(sa, cx, to, &head);
                self.child_up(sa, cx, child);
            }
            Some(why) => {
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
            }
        }
    }

    fn give_up_on_dataplane(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
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

    /// The peer's address has changed on its way through a NAT.
    //= rfc7296 §2.23
    //# a host that is not behind a NAT SHOULD send all packets (including retransmissions) to the IP address and
    //# port from the last valid authenticated packet from the other end
    pub(crate) fn follow(&mut self, sa: &mut Common, cx: &mut Cx<'_>, path: Path) {
        if path == sa.path || !self.nat.remote || path.local.ip() != sa.path.local.ip() {
            return;
        }
        // ESP in UDP stays on port 4500, wherever a message of IKE comes from.
        if sa.path.marked && !path.marked {
            return;
        }
        cx.note(sa.id, format!("The peer is now at {} instead of {}.", path.remote, sa.path.remote));
        sa.path = path;
        for child in self.children.iter().filter(|child| child.udp_encap) {
            let (local, remote) = (path.local, path.remote);
            cx.out.dataplane(sa.id, Op::Move { id: child.id, local, remote, udp_encap: true });
        }
    }

    /// Asks for a sign of life when the exchange under way is over.
    pub(crate) fn probe(&mut self, _: &mut Common, cx: &mut Cx<'_>, order: Option<OrderId>) {
        if self.todo.len() < limits::MAX_TODO {
            self.todo.push_back(Task::Probe(order));
        } else if let Some(order) = order {
            let reason = format!("{} exchanges wait already, which is the limit.", limits::MAX_TODO);
            cx.out.reply(order, Reply::Refused(self.refusal(RefusalKind::Busy, reason)));
        }
    }

    /// Something unprotected says that the peer has forgotten us: a hint, and a reason to ask.
    //= rfc7296 §2.21.4
    //# A node should treat such a message as a hint that there might be problems with SAs to that IP address and
    //# should initiate a liveness check for any such IKE SA. An implementation SHOULD limit the frequency.
    pub(crate) fn provoke(&mut self, now: Instant) {
        let soon = self.provoked.is_some_and(|at| now.since(at) < limits::PROVOKED_PROBE_INTERVAL);
        if !soon && self.asking.is_none() {
            self.provoked = Some(now);
            self.todo.push_back(Task::Probe(None));
        }
    }

    /// Begins what waits, as far as the window allows.
    pub(crate) fn go_on(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        self.settle_wishes(sa, cx);
        while self.asking.is_none() {
            let Some(task) = self.todo.pop_front() else { return };
            let asking = match task {
                Task::Create(child) => create_child::begin(self, sa, cx, child, None),
                Task::Delete(spis) => delete::begin(self, sa, cx, spis),
                Task::Probe(order) => probe::begin(self, sa, cx, order),
            };
            self.asking = asking.map(Box::new);
        }
    }

    /// A child that is not asked for now is asked for when there is a place again: its order still waits.
    pub(crate) fn queue_create(&mut self, child: Arc<Child>) {
        if self.todo.len() < limits::MAX_TODO {
            self.todo.push_back(Task::Create(child));
        }
    }

    /// Tells the peer, when its turn comes, that the children with these SPIs of ours are gone. This always has a
    /// place, because the peer would keep a child that it does not hear of: one deletion at most waits, and takes up
    /// the later ones. The children that it names count against `MAX_CHILDREN`.
    pub(crate) fn queue_delete(&mut self, spis: Vec<EspSpi>) {
        let waiting = self.todo.iter_mut().find_map(|task| match task {
            Task::Delete(waiting) => Some(waiting),
            Task::Create(_) | Task::Probe(_) => None,
        });
        match waiting {
            Some(waiting) => waiting.extend(spis),
            None => self.todo.push_back(Task::Delete(spis)),
        }
    }

    /// Whether the peer may have another child: those that it does not know to be gone count.
    pub(crate) fn has_place(&self) -> bool {
        let untold = self.todo.iter().map(|task| match task {
            Task::Delete(spis) => spis.len(),
            Task::Create(_) | Task::Probe(_) => 0,
        });
        self.children.len() + self.installing.len() + untold.sum::<usize>() < limits::MAX_CHILDREN
    }

    pub(crate) fn refusal(&self, kind: RefusalKind, reason: String) -> Refusal {
        Refusal { kind, by_peer: false, connection: Some(self.chosen.connection.name.clone()), reason }
    }

    /// Deletes the children of that name; how many there are.
    pub(crate) fn close_child(&mut self, sa: &mut Common, cx: &mut Cx<'_>, name: &str) -> usize {
        delete::order(self, sa, cx, name)
    }

    /// Whether a deletion of children is not answered yet.
    pub(crate) fn is_deleting(&self) -> bool {
        let asking = self.asking.as_ref().is_some_and(|asking| matches!(asking.what, Asked::Delete));
        asking || self.todo.iter().any(|task| matches!(task, Task::Delete(_)))
    }

    fn probe_at(&self, sa: &Common) -> Option<Instant> {
        let delay = self.chosen.connection.dpd_delay;
        let idle = self.asking.is_none() && self.todo.is_empty();
        (idle && !delay.is_zero()).then(|| sa.heard + delay)
    }

    //= rfc3948 §4
    //# a NAT-keepalive packet is sent when no other packet has been sent to the peer for M seconds; the
    //# sender is the one behind the NAT
    fn keepalive_at(&self, sa: &Common, every: std::time::Duration) -> Option<Instant> {
        (self.nat.local && sa.path.marked && !every.is_zero()).then(|| sa.spoke + every)
    }
}
