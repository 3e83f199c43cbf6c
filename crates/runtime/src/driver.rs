//! What the IKE thread does with each input: tells the core, and carries out its acts.
//!
//! The world is behind four traits, so that tests drive this with a fake network and a fake clock.

use crate::desk::Loaded;
use crate::desk::unknown_connection;
use crate::journal::Journal;
use crate::limits;
use crate::protocol::{
    self, Answer as Say, ChildRefusal, ConnectionStatus, EventReport, IkeSaStatus, RefusalReport, UpReport,
};
use crate::resolver::Names;
use crate::sentence::{Line, sentence};
use crate::status;
use base::{Instant, Now};
use dataplane::{DataplaneEvent, Interface, Op, Outcome};
use policy::{Gateway, Policy};
use sa::{
    Act, Answer, Cause, Event, IkeSaId, Job, JobId, LeaseKeeper, Order, OrderId, Path, Reason, RefusalKind,
    Reply, Target, TrustRefusal,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use trust::{Answered, Evidence, Step};

/// The sans-IO core, as the driver sees it.
pub(crate) trait Core: Send {
    /// Takes in one thing that happened.
    fn handle(&mut self, now: Now, cause: Cause<'_>);
    /// The next thing to be done.
    fn poll(&mut self) -> Option<Act>;
    /// When it wants to be told the time.
    fn wake(&self) -> Option<(Instant, Reason)>;
}

impl Core for endpoint::Endpoint {
    fn handle(&mut self, now: Now, cause: Cause<'_>) {
        endpoint::Endpoint::handle(self, now, cause);
    }
    fn poll(&mut self) -> Option<Act> {
        endpoint::Endpoint::poll(self)
    }
    fn wake(&self) -> Option<(Instant, Reason)> {
        endpoint::Endpoint::wake(self)
    }
}

/// Sends datagrams.
pub(crate) trait Postman {
    /// Sends an IKE message, with the non-ESP marker where the path wants it.
    fn send(&mut self, path: Path, message: &[u8]) -> std::io::Result<()>;
    /// Sends a NAT keepalive.
    fn keepalive(&mut self, path: Path) -> std::io::Result<()>;
    /// Our address that leads to `remote`, past our own tunnels.
    fn source(&mut self, remote: IpAddr) -> Option<IpAddr>;
}

/// Carries out operations on ESP.
pub(crate) trait Plane: Send {
    /// Its name in `status`.
    fn name(&self) -> &'static str;
    /// Does an operation, whole or not at all.
    fn submit(&mut self, op: Op) -> Outcome;
    /// These interfaces are to be there, whether child SAs use them or not; others as long as one does.
    fn set_interfaces(&mut self, _wanted: &BTreeSet<Interface>) {}
}

/// Answers jobs: private keys, PSKs, trust anchors.
pub trait Authority: Send + Sync {
    /// Whether the job is so short that another thread would cost more than it.
    fn is_quick(&self, job: &Job) -> bool;
    /// Does the job.
    fn answer(&self, job: &Job) -> Answer;
    /// Does the job as far as it goes with what was fetched for it.
    fn step(&self, job: &Job, _: &Evidence) -> Step {
        Step::Answered(Answered::plain(self.answer(job)))
    }
}

/// Gives a job to the pool, and who is to answer it: connections are numbered anew with each policy, so an authority
/// must never see a job of another policy. False when the pool is full.
pub(crate) type Hire = Box<dyn FnMut(JobId, Job, Arc<dyn Authority>) -> bool + Send>;

/// What reaches the IKE thread beside datagrams and the time.
pub(crate) enum Input {
    /// A job is done.
    Job(JobId, Answer),
    /// The data plane tells something.
    PlaneEvent(DataplaneEvent),
    /// The host has these addresses; or its links or routes are others now.
    Addresses(Vec<IpAddr>),
    /// Somebody wants a connection up.
    Up { connection: String, child: Option<String>, path: Path, voice: Voice },
    /// Somebody wants a connection down.
    Down { connection: String, child: Option<String>, voice: Voice },
    /// Somebody wants new keys for a connection's IKE SAs, or for one child of it.
    Rekey { connection: String, child: Option<String>, voice: Voice },
    /// Somebody wants another IKE SA beside a connection's.
    Clone { connection: String, child: Option<String>, voice: Voice },
    /// Somebody wants a connection's clients sent on to another gateway.
    Redirect { connection: String, to: Gateway, voice: Voice },
    /// Somebody wants to see everything.
    Status(Voice),
    /// Somebody wants to hear everything.
    Watch(Voice),
    /// A new configuration was read.
    Reload(Loaded),
}

/// Where answers go: a client's queue, and a tag of the client's own.
#[derive(Clone)]
pub(crate) struct Voice {
    pub(crate) to: SyncSender<(u64, Say)>,
    pub(crate) tag: u64,
    /// Whether progress is wanted.
    pub(crate) progress: bool,
}

impl Voice {
    /// Gives `say` to the client; false when it is gone or does not read.
    pub(crate) fn say(&self, say: Say) -> bool {
        self.to.try_send((self.tag, say)).is_ok()
    }
}

struct Pending {
    voice: Option<Voice>,
    since: Instant,
    ike: Option<IkeSaId>,
    /// The connection that is to go down.
    closes: Option<String>,
}

struct Watcher {
    voice: Voice,
    lost: u64,
}

/// What the driver reaches the world through.
pub(crate) struct World {
    pub(crate) postman: Box<dyn Postman>,
    pub(crate) plane: Box<dyn Plane>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) hire: Hire,
    /// Who looks paths up, and its own pool.
    pub(crate) resolver: Arc<dyn Authority>,
    pub(crate) hire_resolver: Hire,
    pub(crate) names: Box<dyn Names>,
}

/// What `status` tells beside the SAs.
pub(crate) struct About {
    pub(crate) version: String,
    pub(crate) listen: Vec<String>,
    pub(crate) connections: Vec<ConnectionStatus>,
}

/// The core with everything around it that needs no operating system.
pub(crate) struct Driver {
    core: Box<dyn Core>,
    world: World,
    policy: Arc<Policy>,
    about: About,
    journal: Journal,
    /// Who has which address of our pools.
    leases: LeaseKeeper,
    started: Instant,
    next_order: u64,
    pending: BTreeMap<OrderId, Pending>,
    current: Option<OrderId>,
    watchers: Vec<Watcher>,
}

impl Driver {
    pub(crate) fn new(
        core: Box<dyn Core>,
        world: World,
        policy: Arc<Policy>,
        about: About,
        started: Instant,
    ) -> Self {
        Self {
            core,
            world,
            policy,
            about,
            journal: Journal::default(),
            leases: LeaseKeeper::default(),
            started,
            next_order: 0,
            pending: BTreeMap::new(),
            current: None,
            watchers: Vec::new(),
        }
    }

    /// An IKE message came in.
    pub(crate) fn datagram(&mut self, now: Now, path: Path, bytes: &mut [u8]) {
        self.tell(now, Cause::Datagram { path, bytes });
    }

    /// Time has passed; to be called when [`Driver::wake`] has come.
    pub(crate) fn time(&mut self, now: Now) {
        if self.core.wake().is_some_and(|(at, _)| at <= now.mono) {
            self.tell(now, Cause::Time);
        }
    }

    /// When [`Driver::time`] is wanted next.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.core.wake().map(|(at, _)| at)
    }

    /// Anything else came in.
    pub(crate) fn input(&mut self, now: Now, input: Input) {
        match input {
            Input::Job(id, answer) => self.tell(now, Cause::Done(id, answer)),
            Input::PlaneEvent(event) => self.tell(now, Cause::Dataplane(event)),
            Input::Addresses(addresses) => self.tell(now, Cause::Addresses(addresses)),
            Input::Up { connection, child, path, voice } => self.up(now, &connection, child, path, voice),
            Input::Down { connection, child, voice } => {
                self.order(now, Order::Down(target(connection, child)), Some(voice));
            }
            Input::Rekey { connection, child, voice } => {
                self.order(now, Order::Rekey(target(connection, child)), Some(voice));
            }
            Input::Clone { connection, child, voice } => {
                self.order(now, Order::Clone { connection, child }, Some(voice));
            }
            Input::Redirect { connection, to, voice } => {
                self.order(now, Order::Redirect(target(connection, None), to), Some(voice));
            }
            Input::Status(voice) => {
                self.order(now, Order::Status, Some(voice));
            }
            Input::Watch(voice) => {
                // Tells the client that whatever it asks for next will be seen.
                voice.say(Say::Progress { milliseconds: 0.0, text: "Watching.".to_string() });
                self.watchers.push(Watcher { voice, lost: 0 });
            }
            Input::Reload(Loaded { policy, authority, ticket_secret }) => {
                self.about.connections = policy.connections.iter().map(|c| status::connection(c)).collect();
                self.world.authority = authority;
                self.policy = policy.clone();
                self.world.plane.set_interfaces(&policy.interfaces());
                self.order(now, Order::Reload(policy), None);
                if let Some(secret) = ticket_secret {
                    self.order(now, Order::TicketSecret(secret), None);
                }
            }
        }
    }

    fn up(&mut self, now: Now, connection: &str, child: Option<String>, path: Path, voice: Voice) {
        // Looked up here, where the core's own policy is known: ids are positions in it.
        match self.policy.by_name(connection) {
            Some((id, _)) => {
                self.order(now, Order::Up { connection: id, child, path }, Some(voice));
            }
            None => {
                let reason = unknown_connection(&self.policy, connection);
                voice.say(Say::Refused(own_refusal(RefusalKind::NotFound, connection, reason)));
            }
        }
    }

    /// Gives an order to the core and returns its id.
    pub(crate) fn order(&mut self, now: Now, order: Order, voice: Option<Voice>) -> OrderId {
        let id = OrderId(self.next_order);
        self.next_order += 1;
        let closes = match &order {
            Order::Down(Target::Connection(name) | Target::Child(name, _)) => Some(name.clone()),
            _ => None,
        };
        self.pending.insert(id, Pending { voice, since: now.mono, ike: None, closes });
        self.current = Some(id);
        self.tell(now, Cause::Order(id, order));
        self.current = None;
        id
    }

    /// IKE messages were lost because this thread did not keep up.
    pub(crate) fn overflowed(&mut self, now: Instant, lost: u64) {
        self.journal.overflowed(now, lost);
    }

    /// Whether an order still has no reply.
    pub(crate) fn is_pending(&self, id: OrderId) -> bool {
        self.pending.contains_key(&id)
    }

    fn tell(&mut self, now: Now, cause: Cause<'_>) {
        self.core.handle(now, cause);
        while let Some(act) = self.core.poll() {
            self.act(now, act);
        }
    }

    fn act(&mut self, now: Now, act: Act) {
        match act {
            Act::Transmit { path, bytes } => {
                if let Err(error) = self.world.postman.send(path, &bytes) {
                    self.cannot_send(now.mono, path, &error);
                }
            }
            Act::Keepalive { path } => {
                if let Err(error) = self.world.postman.keepalive(path) {
                    self.cannot_send(now.mono, path, &error);
                }
            }
            Act::Job(id, job) => self.job(now, id, job),
            Act::Dataplane(id, op) => {
                let outcome = self.world.plane.submit(op);
                self.core.handle(now, Cause::Done(id, Answer::Dataplane(outcome)));
            }
            Act::Event(event) => self.event(now.mono, &event),
            Act::Reply(id, reply) => self.reply(now, id, *reply),
        }
    }

    fn job(&mut self, now: Now, id: JobId, job: Job) {
        let job = match job {
            Job::Lease(request) => {
                let leased = self.leases.lease(id, &request);
                return self.core.handle(now, Cause::Done(id, Answer::Leased(leased)));
            }
            Job::Release(holder) => return self.leases.release(holder),
            Job::UseResolver { connection, received } => {
                return self.world.names.enter(id, connection, received);
            }
            Job::DropResolver(user) => return self.world.names.leave(user),
            Job::Route { remotes } => {
                let source = |remote| (remote, self.world.postman.source(remote));
                let routes = remotes.into_iter().map(source).collect();
                return self.core.handle(now, Cause::Done(id, Answer::Routes(routes)));
            }
            Job::Prove { .. }
            | Job::Check { .. }
            | Job::Ppk(_)
            | Job::Puzzle { .. }
            | Job::Resolve { .. } => job,
        };
        let is_puzzle = matches!(job, Job::Puzzle { .. });
        if matches!(job, Job::Resolve { .. }) {
            if !(self.world.hire_resolver)(id, job, self.world.resolver.clone()) {
                let why = format!("{} other names wait to be looked up already.", limits::JOB_QUEUE);
                self.core.handle(now, Cause::Done(id, Answer::Resolved(Err(why))));
            }
            return;
        }
        let answer = if self.world.authority.is_quick(&job) {
            self.world.authority.answer(&job)
        } else if (self.world.hire)(id, job, self.world.authority.clone()) {
            return;
        } else {
            let (most, what) = match is_puzzle {
                true => (limits::PUZZLE_QUEUE, "puzzles"),
                false => (limits::JOB_QUEUE, "private-key operations"),
            };
            let reason = format!("{most} {what} wait already; this one was not begun.");
            Answer::Refused(TrustRefusal { ours: true, reason })
        };
        self.core.handle(now, Cause::Done(id, answer));
    }

    fn cannot_send(&mut self, now: Instant, path: Path, error: &std::io::Error) {
        let text = format!("Cannot send from {} to {}: {error}", path.local, path.remote);
        self.heard(now, &Event::Note { ike: None, text }, Journal::unsent);
    }

    fn event(&mut self, now: Instant, event: &Event) {
        let heard =
            tracing::enabled!(tracing::Level::DEBUG) || !self.watchers.is_empty() || !self.pending.is_empty();
        if !heard && matches!(event, Event::Message(_)) {
            return;
        }
        if self.watchers.is_empty() && self.journal.passes_over(now, event) {
            return;
        }
        self.heard(now, event, |journal, now, line| journal.log(now, event, line));
    }

    fn heard(&mut self, now: Instant, event: &Event, log: impl FnOnce(&mut Journal, Instant, &Line)) {
        let line = sentence(event);
        log(&mut self.journal, now, &line);
        self.progress(now, &line);
        if !self.watchers.is_empty() {
            self.watched(now, event, &line);
        }
    }

    /// Tells those whose order this event belongs to.
    fn progress(&mut self, now: Instant, line: &Line) {
        let Some(ike) = line.ike_sa else { return };
        // What is refused stands in the answer to the order.
        let told = line.event != "refused";
        if let Some(pending) = self.current.and_then(|id| self.pending.get_mut(&id)) {
            pending.ike.get_or_insert(ike);
        }
        for pending in self.pending.values().filter(|pending| pending.ike == Some(ike)) {
            if let Some(voice) = pending.voice.as_ref().filter(|voice| voice.progress && told) {
                let milliseconds = status::milliseconds(now.since(pending.since));
                voice.say(Say::Progress { milliseconds, text: line.text.clone() });
            }
        }
    }

    fn watched(&mut self, now: Instant, event: &Event, line: &Line) {
        let report = EventReport {
            milliseconds: status::milliseconds(now.since(self.started)),
            event: line.event.to_string(),
            text: line.text.clone(),
            ike_sa: line.ike_sa.map(|id| id.0),
            message: match event {
                Event::Message(trace) => Some(status::message(trace)),
                _ => None,
            },
            lost_before: 0,
        };
        self.watchers.retain_mut(|watcher| {
            let report = EventReport { lost_before: watcher.lost, ..report.clone() };
            match watcher.voice.to.try_send((watcher.voice.tag, Say::Event(Box::new(report)))) {
                Ok(()) => watcher.lost = 0,
                Err(TrySendError::Full(_)) => watcher.lost += 1,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            true
        });
    }

    fn reply(&mut self, now: Now, id: OrderId, reply: Reply) {
        let Some(pending) = self.pending.remove(&id) else { return };
        let Some(voice) = pending.voice else { return };
        let milliseconds = status::milliseconds(now.mono.since(pending.since));
        let say = match reply {
            Reply::Up { ike, children, refused } => {
                let refused = refused
                    .iter()
                    .map(|(child, why)| ChildRefusal { child: child.clone(), refusal: status::refusal(why) })
                    .collect();
                Say::Up(UpReport { ike_sa: ike.0, children, refused, milliseconds })
            }
            Reply::Down { ike, children } => self.closed(pending.closes, ike, children),
            Reply::Status(all) => Say::Status(Box::new(self.status(now.mono, &all))),
            Reply::Refused(refusal) => Say::Refused(status::refusal(&refusal)),
            Reply::Rekeying { ike, children } => Say::Rekeying { ike_sas: ike, child_sas: children },
            Reply::Redirecting { ike } => Say::Redirecting { ike_sas: ike },
            Reply::Alive { round_trip } => {
                let text = format!("The peer answered after {} ms.", status::milliseconds(round_trip));
                Say::Progress { milliseconds, text }
            }
            Reply::Done => Say::Progress { milliseconds, text: "Done.".to_string() },
        };
        voice.say(say);
    }

    /// Nothing went down: a name that nobody knows is more likely than an SA that is gone.
    fn closed(&self, name: Option<String>, ike_sas: usize, child_sas: usize) -> Say {
        match name.filter(|name| ike_sas + child_sas == 0 && self.policy.by_name(name).is_none()) {
            Some(name) => {
                let reason = unknown_connection(&self.policy, &name);
                Say::Refused(own_refusal(RefusalKind::NotFound, &name, reason))
            }
            None => Say::Down { ike_sas, child_sas },
        }
    }

    fn status(&mut self, now: Instant, all: &[sa::IkeStatus]) -> protocol::Status {
        let ike_sas: Vec<IkeSaStatus> = all.iter().map(|ike| self.ike_sa(ike)).collect();
        let named = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(name, count)| ((*name).to_string(), *count)).collect()
        };
        protocol::Status {
            schema: protocol::STATUS_SCHEMA.to_string(),
            version: self.about.version.clone(),
            pid: std::process::id(),
            uptime_seconds: status::seconds(now.since(self.started)),
            dataplane: self.world.plane.name().to_string(),
            listen: self.about.listen.clone(),
            half_open: ike_sas.iter().filter(|ike| ike.state == "connecting").count(),
            connections: self.about.connections.clone(),
            pools: status::pools(&self.policy, &self.leases),
            ike_sas,
            dropped: named(self.journal.dropped()),
            refused: named(self.journal.refused()),
        }
    }

    /// One IKE SA, with what the data plane counted for its children.
    fn ike_sa(&mut self, ike: &sa::IkeStatus) -> IkeSaStatus {
        let mut shape = status::ike_sa(ike);
        for (child, entry) in ike.children.iter().zip(&mut shape.child_sas) {
            if let Outcome::Counters(counters) = self.world.plane.submit(Op::Query(child.id)) {
                entry.counters = Some(status::counters(&counters));
            }
        }
        shape
    }
}

/// All IKE SAs of a connection, or one child of it.
fn target(connection: String, child: Option<String>) -> Target {
    match child {
        None => Target::Connection(connection),
        Some(child) => Target::Child(connection, child),
    }
}

/// A refusal of the daemon itself, in the shape of the core's.
pub(crate) fn own_refusal(kind: sa::RefusalKind, connection: &str, reason: String) -> RefusalReport {
    status::refusal(&sa::Refusal { kind, by_peer: false, connection: Some(connection.to_string()), reason })
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
