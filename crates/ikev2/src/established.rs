//! An IKE SA that stands: its children, the exchanges that we have under way, the requests of the peer
//! that we are working on, and what waits for its turn.
//!
//! ```text
//!   order, lifetime, wish ──► todo ──► asking ──► installing ──► children ──► retired ──► gone
//!   the peer's request ─────────────► answering ────────────────►┘
//! ```

mod begin;
mod ending;
mod granting;
mod heed;
mod hints;
mod installing;
pub(crate) mod lifetimes;
mod responses;
mod tasks;
mod wishes;

pub(crate) use begin::{AuthAnswer, Authenticated, Core, FirstChild, Identities, Waiting, pair_key};
pub(crate) use granting::{Granting, on_create as grant_on_create};
pub(crate) use lifetimes::ChildDues;
pub(crate) use tasks::Task;

use crate::channel::{Authentic, Channel, Incoming, Message, Request};
use crate::child::ChildSa;
use crate::closing::{Closing, Standing};
use crate::contents::Contents;
use crate::ext::configuration::Leases;
use crate::ext::{Agreed, Nat};
use crate::fault::Fault;
use crate::followup::Series;
use crate::fresh_ppk::{self, Consulting, Offering};
use crate::ike_sa::{Chosen, Datagram, End, Known, Next, Stage};
use crate::move_path::Mobility;
use crate::rekey_child::{Rekey, Replaces, Retired};
use crate::resume::Resumption;
use crate::sent::Sent;
use crate::{
    Common, Cx, clone_ike, create_child, delete, establish, followup, idle, limits, move_path, probe,
    rekey_ike,
};
use base::{IkeSpi, Instant, Secret};
use dataplane::Outcome;
use policy::IkeSuite;
use sa::{Answer, Branch, Event, Fate, JobId, OrderId, Path, Reason, Refusal, RefusalKind, Reply, Side};
use std::collections::VecDeque;
use wire::Payload;
use wire::num::{ExchangeType, NotifyType};

/// An IKE SA that stands.
pub(crate) struct Established {
    pub(crate) channel: Channel,
    pub(crate) chosen: Chosen,
    pub(crate) identities: Identities,
    pub(crate) suite: IkeSuite,
    pub(crate) sk_d: Secret,
    pub(crate) nat: Nat,
    /// Our role when both sides proved who they are; new keys do not change it.
    pub(crate) proved_as: Side,
    /// What the peer's extensions have told.
    pub(crate) peer: Agreed,
    /// Addresses that the peer has of us, or we of the peer.
    pub(crate) leases: Leases,
    /// What is known of addresses beside the path.
    pub(crate) mobility: Mobility,
    pub(crate) children: Vec<ChildSa>,
    /// Our requests that wait for their responses, in the order of their ids.
    pub(crate) asking: Vec<Asking>,
    /// How many of them the peer takes at once (RFC 7296 §2.3).
    pub(crate) peer_window: u32,
    /// Requests of the peer that wait for the data plane.
    pub(crate) answering: Vec<Answering>,
    /// Requests of the peer that wait for an address.
    pub(crate) granting: Vec<Granting>,
    /// What our next request for an SA proposes of PPKs (RFC 9867).
    pub(crate) offering: Offering,
    /// Requests of the peer that wait for what its PPKs are.
    pub(crate) consulting: Vec<Consulting>,
    /// Children that we asked for and that the data plane is installing.
    pub(crate) installing: Vec<Installing>,
    /// Series of exchanges in which the peer makes SAs.
    pub(crate) series: Vec<Series>,
    /// How many series of ours in a row the peer has forgotten before they were over.
    pub(crate) states_lost: u32,
    /// Children that have a successor: what is still under way to them comes in.
    pub(crate) retired: Vec<Retired>,
    /// Children that are being replaced, by our request, by the peer's, or by both at once.
    pub(crate) rekeys: Vec<Rekey>,
    /// The IKE SA that the peer makes of this one while we make another (RFC 7296 §2.8.2).
    pub(crate) rival: Option<Box<rekey_ike::Rival>>,
    /// What waits for its turn.
    todo: VecDeque<Task>,
    /// What waits for a moment.
    later: Vec<(Instant, Task)>,
    /// When this IKE SA needs a successor, and when it ends for want of one.
    pub(crate) dues: lifetimes::IkeDues,
    /// Since when the peer answers TEMPORARY_FAILURE to everything.
    busy_since: Option<Instant>,
    /// The data plane is asked whether the peer lives.
    pub(crate) look: Option<probe::Look>,
    /// When something from outside last made us probe.
    provoked: Option<Instant>,
    /// When the peer was told last of ESP that no child takes.
    complained: Option<Instant>,
    /// Tickets of it (RFC 5723).
    pub(crate) resumption: Resumption,
}

/// An exchange of ours.
pub(crate) struct Asking {
    pub(crate) request: Sent,
    pub(crate) what: Asked,
}

/// What an exchange of ours is about.
pub(crate) enum Asked {
    /// A child SA, a new one or one in another's place.
    Child(Box<create_child::Asked>),
    /// An IKE SA in this one's place.
    RekeyIke(Box<rekey_ike::Asked>),
    /// An IKE SA beside this one.
    CloneIke(Box<clone_ike::Asked>),
    /// Children, which are gone here already.
    Delete(Vec<delete::Named>),
    /// Something told, whose answer says only that it came.
    Told,
    /// Orders that want to know whether the peer lives.
    Probe(Option<OrderId>),
    /// The path in use (RFC 4555).
    Update(Box<move_path::Update>),
    /// A proof of where the peer is (RFC 4555).
    Verify(move_path::Verify),
}

impl Asked {
    fn exchange(&self) -> ExchangeType {
        match self {
            Self::Child(asked) if asked.further.is_some() => ExchangeType::IKE_FOLLOWUP_KE,
            Self::RekeyIke(asked) if asked.further.is_some() => ExchangeType::IKE_FOLLOWUP_KE,
            Self::Child(_) | Self::RekeyIke(_) | Self::CloneIke(_) => ExchangeType::CREATE_CHILD_SA,
            Self::Delete(_) | Self::Told | Self::Probe(_) | Self::Update(_) | Self::Verify(_) => {
                ExchangeType::INFORMATIONAL
            }
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
    /// The child that it replaces, and the lower of the exchange's nonces.
    pub(crate) replaces: Option<Replaces>,
    pub(crate) job: JobId,
    pub(crate) until: Instant,
}

/// A child of ours that is being installed.
pub(crate) struct Installing {
    pub(crate) child: ChildSa,
    /// The child that it replaces, and the lower of the exchange's nonces.
    pub(crate) replaces: Option<Replaces>,
    pub(crate) job: JobId,
    pub(crate) until: Instant,
}

/// Whether the IKE SA goes on after a step.
pub(crate) enum After {
    Stay,
    /// It ends, and the peer knows.
    End(Fate),
    /// It ends, and the peer is told.
    Close(Fate),
    /// Another IKE SA has taken its place.
    Handed(rekey_ike::Handover),
}

impl Stage for Established {
    fn name(&self) -> &'static str {
        "established"
    }

    fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&self.chosen.connection),
            identities: Some(&self.identities),
            suite: Some(self.suite),
            ppk: self.peer.ppk.id(),
            before: self.peer.post_quantum,
            full_transcript: self.peer.full_transcript,
            nat_local: self.nat.local,
            nat_remote: self.nat.remote,
            fragmentation: self.channel.fragments(),
            resumed: self.resumption.resumed,
            ticket: self.resumption.has_ticket(),
            children: &self.children,
            leases: Some(&self.leases),
            ..Known::default()
        }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        if self.rival.as_ref().is_some_and(|rival| rival.local_spi() == datagram.header.receiver_spi()) {
            rekey_ike::on_rival_datagram(&mut self, sa, cx, datagram);
            return self;
        }
        let path = datagram.path;
        let asking = &self.asking;
        let awaits = |id| asking.iter().any(|asking| asking.request.id == id);
        let after = match self.channel.take(sa, cx, awaits, datagram) {
            None => return self,
            Some(Incoming::Part(id)) => {
                let asking = self.asking.iter_mut().find(|asking| asking.request.id == id);
                asking.into_iter().for_each(|asking| asking.request.heard_in_part(cx.now.mono));
                return self;
            }
            Some(Incoming::Request(message)) => {
                move_path::on_message(&mut self, sa, cx, path, (false, message.id()));
                self.on_request(sa, cx, path, &message)
            }
            Some(Incoming::Response(message)) => {
                move_path::on_message(&mut self, sa, cx, path, (true, message.id()));
                self.on_response(sa, cx, &message)
            }
        };
        self.after(sa, cx, after)
    }

    fn answer(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        let outcome = match answer {
            Answer::Dataplane(outcome) => outcome,
            Answer::Routes(routes) => {
                move_path::on_routes(&mut self, sa, cx, job, &routes);
                self.go_on(sa, cx);
                return self;
            }
            Answer::Leased(leased) => {
                granting::on_leased(&mut self, sa, cx, job, &leased);
                self.go_on(sa, cx);
                return self;
            }
            Answer::Ppk(answer) => {
                let after = fresh_ppk::on_answer(&mut self, sa, cx, job, Ok(answer));
                return self.after(sa, cx, after);
            }
            Answer::Refused(why) => {
                let after = fresh_ppk::on_answer(&mut self, sa, cx, job, Err(why.reason));
                return self.after(sa, cx, after);
            }
            _ => return self,
        };
        if probe::on_counters(&mut self, sa, cx, job, &outcome)
            || idle::on_counters(&mut self, sa, cx, job, &outcome)
        {
            self.go_on(sa, cx);
            return self;
        }
        let failure = match outcome {
            Outcome::Failed(why) => Some(why),
            Outcome::Done | Outcome::Counters(_) => None,
        };
        if !self.leases.assigned(sa, cx, job, failure.as_deref()) {
            self.installed(sa, cx, job, failure);
        }
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
        let silent = self.resend_requests(sa, cx);
        let silent_already = silent.is_some();
        if let Some(fate) = silent.or_else(|| probe::timed_out(&self, sa, now)) {
            cx.reach(if silent_already { Branch::ProbeSilent } else { Branch::ProbeTimeout });
            return self.on_silence(sa, cx, fate);
        }
        self.give_up_on_dataplane(sa, cx);
        self.give_up_on_leases(sa, cx);
        self.give_up_on_series(sa, cx);
        match self.give_up_on_ppks(sa, cx) {
            After::Stay => {}
            after => return self.after(sa, cx, after),
        }
        self.release_retired(sa, cx);
        if let Some(end) = self.on_lifetimes(sa, cx) {
            return self.close(sa, cx, end);
        }
        if self.probe_at(sa).is_some_and(|at| now >= at) {
            probe::look(&mut self, sa, cx);
        } else if self.look.as_ref().is_some_and(|look| now >= look.until) {
            probe::decide(&mut self, sa, cx);
        }
        if self.keepalive_at(sa, cx.settings.keepalive).is_some_and(|at| now >= at) {
            cx.out.keepalive(sa.path);
            sa.spoke = now;
        }
        self.go_on(sa, cx);
        self
    }

    fn wake(&self, sa: &Common) -> Option<(Instant, Reason)> {
        let asking = self.asking.iter().map(|asking| (asking.request.due(), Reason::Retransmit));
        let tidy = self.channel.tidy_at().map(|at| (at, Reason::Expire));
        let answering = self.answering.iter().map(|answering| (answering.until, Reason::Expire));
        let installing = self.installing.iter().map(|installing| (installing.until, Reason::Expire));
        let granting = self.granting.iter().map(|granting| (granting.until, Reason::Expire));
        let series = self.series.iter().map(|series| (series.until(), Reason::Expire));
        let probe = self.probe_at(sa).map(|at| (at, Reason::Liveness));
        let look = self.look.as_ref().map(|look| (look.until, Reason::Liveness));
        let dead = probe::dead_at(self, sa).map(|at| (at, Reason::Expire));
        let keepalive = self.keepalive_at(sa, sa.keepalive).map(|at| (at, Reason::Keepalive));
        let spent = self.channel.is_spent(sa.last_message_id).then_some((sa.heard, Reason::Expire));
        let retired = self.retired.iter().filter_map(|retired| Some((retired.until?, Reason::Expire)));
        let later = self.later.iter().map(|(at, _)| (*at, Reason::Rekey));
        let dues = self.next_due().map(|at| (at, Reason::Rekey));
        let ppks = self.ppks_until().map(|at| (at, Reason::Expire));
        let one = [tidy, probe, look, dead, keepalive, spent, dues, ppks].into_iter().flatten();
        let many = asking.chain(answering).chain(granting).chain(installing).chain(retired).chain(later);
        let many = many.chain(series);
        one.chain(many).min_by_key(|(at, _)| *at)
    }

    fn close(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        if !end.tell_peer {
            return self.end(sa, cx, end.fate);
        }
        let facts = sa.facts(&self.known(), cx.now.mono);
        let asking = self.clear(sa, cx, &end.fate);
        cx.out.disown(sa.id);
        let Self { chosen, channel, suite, sk_d, rival, .. } = *self;
        rekey_ike::close_rival(&chosen, sa, cx, rival);
        let standing = Standing { chosen, channel, suite, sk_d, asking };
        Closing::begin(sa, cx, standing, (facts, end.fate))
    }

    fn rival_spi(&self) -> Option<IkeSpi> {
        self.rival.as_ref().map(|rival| rival.local_spi())
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
            ExchangeType::IKE_FOLLOWUP_KE => followup::on_request(self, sa, cx, to, &contents),
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
            let refusal =
                establish::not_accepted(&self.chosen.connection, self.identities.last(), self.peer.ppk.id());
            cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: refusal.clone() });
            return After::End(Fate::Refused(refusal));
        }
        if delete::names_ike_sa(contents) {
            cx.reach(if self.rival.is_some() { Branch::RekeyIkeOldGone } else { Branch::DeleteIkeByPeer });
            self.channel.respond(sa, cx, to, &[]);
            return match rekey_ike::hand_to_rival(self) {
                Some(handover) => After::Handed(handover),
                None => After::End(Fate::DeletedByPeer),
            };
        }
        self.heed_window(contents);
        self.hear(sa, cx, &to, contents);
        let mut payloads = delete::on_request(self, sa, cx, contents);
        self.hear_lost_children(sa, cx, contents);
        payloads.extend(move_path::on_request(self, sa, cx, to, contents));
        payloads.extend(self.answer_ticket_request(sa, cx, false));
        granting::on_informational(self, sa, cx, (to, contents), payloads);
        After::Stay
    }

    /// What the peer says of its window.
    //= rfc7296 §2.3
    //# The SET_WINDOW_SIZE notification asserts that the sending endpoint is capable of keeping state for multiple
    //# outstanding exchanges, permitting the recipient to send multiple requests before getting a response to the first.
    fn heed_window(&mut self, contents: &Contents<'_>) {
        if let Some(size) = contents.notify(NotifyType::SET_WINDOW_SIZE).and_then(crate::ext::window_size) {
            self.peer_window = self.peer_window.max(size);
        }
    }

    /// A request had its last chance: where the peer has gone over to another IKE SA, so do we.
    fn on_silence(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        match rekey_ike::hand_to_rival(&mut self) {
            Some(handover) => self.after(sa, cx, After::Handed(handover)),
            None => self.end(sa, cx, fate),
        }
    }

    /// Answers requests that came before it stood.
    pub(crate) fn on_held(
        mut self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        held: Vec<(Path, Authentic<Message>)>,
    ) -> Next {
        for (path, message) in held {
            match self.on_request(sa, cx, path, &message) {
                After::Stay => {}
                after => return self.after(sa, cx, after),
            }
        }
        self.after(sa, cx, After::Stay)
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
            After::Close(fate) => self.close(sa, cx, End { tell_peer: true, fate }),
            After::Handed(handover) => rekey_ike::hand_over(self, sa, cx, handover),
        }
    }

    /// Sends again what is due; the fate of the IKE SA when a request had its last chance.
    fn resend_requests(&mut self, sa: &mut Common, cx: &mut Cx<'_>) -> Option<Fate> {
        let mut most = 0;
        for asking in &mut self.asking {
            let before = asking.request.transmissions();
            if let Err(fate) = asking.request.on_time(sa, cx) {
                return Some(fate);
            }
            let now = asking.request.transmissions();
            most = if now > before { most.max(now) } else { most };
        }
        move_path::on_resent(self, sa, cx, most);
        None
    }

    /// Asks for a sign of life when the exchange under way is over.
    pub(crate) fn probe(&mut self, _: &mut Common, cx: &mut Cx<'_>, order: Option<OrderId>) {
        if !self.queue(Task::Probe(order))
            && let Some(order) = order
        {
            self.refuse_full(cx, order);
        }
    }

    /// Too much waits already for what an order wants.
    pub(crate) fn refuse_full(&self, cx: &mut Cx<'_>, order: OrderId) {
        let reason = format!("{} exchanges wait already, which is the limit.", limits::MAX_TODO);
        cx.out.reply(order, Reply::Refused(self.refusal(RefusalKind::Busy, reason)));
    }

    pub(crate) fn refusal(&self, kind: RefusalKind, reason: String) -> Refusal {
        Refusal { kind, by_peer: false, connection: Some(self.chosen.connection.name.clone()), reason }
    }

    /// Deletes the children of that name; how many there are.
    pub(crate) fn close_child(&mut self, sa: &mut Common, cx: &mut Cx<'_>, name: &str) -> usize {
        delete::order(self, sa, cx, name)
    }

    fn probe_at(&self, sa: &Common) -> Option<Instant> {
        let delay = self.chosen.connection.dpd_delay;
        let idle = self.asking.is_empty() && self.todo.is_empty() && self.look.is_none();
        (idle && !delay.is_zero()).then(|| sa.heard + delay)
    }

    //= rfc3948 §4
    //# a NAT-keepalive packet is sent when no other packet has been sent to the peer for M seconds; the
    //# sender is the one behind the NAT
    fn keepalive_at(&self, sa: &Common, every: std::time::Duration) -> Option<Instant> {
        (self.nat.local && sa.path.marked && !every.is_zero()).then(|| sa.spoke + every)
    }
}
