//! What the IKE thread does with each input: tells the core, and carries out its acts.
//!
//! The world is behind four traits, so that tests drive this with a fake network and a fake clock.

use crate::desk::unknown_connection;
use crate::journal::Journal;
use crate::limits;
use crate::protocol::{
    self, Answer as Say, ChildRefusal, ConnectionStatus, EventReport, IkeSaStatus, RefusalReport, UpReport,
};
use crate::sentence::{Line, sentence};
use crate::status;
use base::{Instant, Now};
use dataplane::{DataplaneEvent, Op, Outcome};
use policy::Policy;
use sa::{
    Act, Answer, Cause, Event, IkeSaId, Job, JobId, Order, OrderId, Path, Reason, RefusalKind, Reply, Target,
    TrustRefusal,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

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
}

/// Carries out operations on ESP.
pub(crate) trait Plane: Send {
    /// Its name in `status`.
    fn name(&self) -> &'static str;
    /// Does an operation, whole or not at all.
    fn submit(&mut self, op: Op) -> Outcome;
}

/// Answers jobs: private keys, PSKs, trust anchors.
pub trait Authority: Send + Sync {
    /// Whether the job is so short that another thread would cost more than it.
    fn is_quick(&self, job: &Job) -> bool;
    /// Does the job.
    fn answer(&self, job: &Job) -> Answer;
}

/// Gives a job to the pool; false when the pool is full.
pub(crate) type Hire = Box<dyn FnMut(JobId, Job) -> bool + Send>;

/// What reaches the IKE thread beside datagrams and the time.
pub(crate) enum Input {
    /// A job is done.
    Job(JobId, Answer),
    /// The data plane tells something.
    PlaneEvent(DataplaneEvent),
    /// Somebody wants a connection up.
    Up { connection: String, child: Option<String>, path: Path, voice: Voice },
    /// Somebody wants a connection down.
    Down { connection: String, child: Option<String>, voice: Voice },
    /// Somebody wants to see everything.
    Status(Voice),
    /// Somebody wants to hear everything.
    Watch(Voice),
    /// A new configuration was read.
    Reload(Arc<Policy>, Arc<dyn Authority>),
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
            Input::Up { connection, child, path, voice } => self.up(now, &connection, child, path, voice),
            Input::Down { connection, child, voice } => {
                let target = match child {
                    None => Target::Connection(connection),
                    Some(child) => Target::Child(connection, child),
                };
                self.order(now, Order::Down(target), Some(voice));
            }
            Input::Status(voice) => {
                self.order(now, Order::Status, Some(voice));
            }
            Input::Watch(voice) => {
                // Tells the client that whatever it asks for next will be seen.
                voice.say(Say::Progress { milliseconds: 0.0, text: "Watching.".to_string() });
                self.watchers.push(Watcher { voice, lost: 0 });
            }
            Input::Reload(policy, authority) => {
                self.about.connections = policy.connections.iter().map(|c| status::connection(c)).collect();
                self.world.authority = authority;
                self.policy = policy.clone();
                self.order(now, Order::Reload(policy), None);
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
        let answer = if self.world.authority.is_quick(&job) {
            self.world.authority.answer(&job)
        } else if (self.world.hire)(id, job) {
            return;
        } else {
            let reason =
                format!("{} private-key operations wait already; this one was not begun.", limits::JOB_QUEUE);
            Answer::Refused(TrustRefusal { ours: true, reason })
        };
        self.core.handle(now, Cause::Done(id, answer));
    }

    fn cannot_send(&mut self, now: Instant, path: Path, error: &std::io::Error) {
        let text = format!("Cannot send from {} to {}: {error}", path.local, path.remote);
        self.event(now, &Event::Note { ike: None, text });
    }

    fn event(&mut self, now: Instant, event: &Event) {
        let heard =
            tracing::enabled!(tracing::Level::DEBUG) || !self.watchers.is_empty() || !self.pending.is_empty();
        if !heard && matches!(event, Event::Message(_)) {
            return;
        }
        let line = sentence(event);
        self.journal.log(now, event, &line);
        self.progress(now, &line);
        if !self.watchers.is_empty() {
            self.watched(now, event, &line);
        }
    }

    /// Tells those whose order this event belongs to.
    fn progress(&mut self, now: Instant, line: &Line) {
        let Some(ike) = line.ike_sa else { return };
        if let Some(pending) = self.current.and_then(|id| self.pending.get_mut(&id)) {
            pending.ike.get_or_insert(ike);
        }
        for pending in self.pending.values().filter(|pending| pending.ike == Some(ike)) {
            if let Some(voice) = pending.voice.as_ref().filter(|voice| voice.progress) {
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

/// A refusal of the daemon itself, in the shape of the core's.
pub(crate) fn own_refusal(kind: sa::RefusalKind, connection: &str, reason: String) -> RefusalReport {
    status::refusal(&sa::Refusal { kind, by_peer: false, connection: Some(connection.to_string()), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{EspSpi, IkeSpi, MessageId};
    use dataplane::{ChildId, Counters, Mode};
    use policy::{ChildSuite, Identity, IkeSuite};
    use sa::{ChildStatus, IkeStatus, MessageTrace, Refusal, Side};
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Duration;
    use wire::num::{Encr, Integ, KeMethod, Prf};

    /// Does with each cause what the test says, and remembers it.
    struct FakeCore<F> {
        acts: VecDeque<Act>,
        heard: Arc<Mutex<Vec<String>>>,
        script: F,
        wake: Option<Instant>,
    }

    impl<F: FnMut(&Cause<'_>) -> Vec<Act> + Send> Core for FakeCore<F> {
        fn handle(&mut self, _now: Now, cause: Cause<'_>) {
            self.heard.lock().unwrap().push(format!("{cause:?}"));
            if matches!(cause, Cause::Time) {
                self.wake = None;
            }
            self.acts.extend((self.script)(&cause));
        }
        fn poll(&mut self) -> Option<Act> {
            self.acts.pop_front()
        }
        fn wake(&self) -> Option<(Instant, Reason)> {
            self.wake.map(|at| (at, Reason::Retransmit))
        }
    }

    type Sent = Vec<(Path, Vec<u8>)>;

    #[derive(Clone, Default)]
    struct FakeWorld {
        sent: Arc<Mutex<Sent>>,
    }

    impl Postman for FakeWorld {
        fn send(&mut self, path: Path, message: &[u8]) -> std::io::Result<()> {
            self.sent.lock().unwrap().push((path, message.to_vec()));
            Ok(())
        }
        fn keepalive(&mut self, _path: Path) -> std::io::Result<()> {
            Err(std::io::ErrorKind::NetworkUnreachable.into())
        }
    }

    impl Plane for FakeWorld {
        fn name(&self) -> &'static str {
            "fake"
        }
        fn submit(&mut self, op: Op) -> Outcome {
            match op {
                Op::Query(ChildId(7)) => {
                    Outcome::Counters(Counters { packets_in: 3, bytes_in: 300, ..Counters::default() })
                }
                _ => Outcome::Failed("There is no such child SA.".into()),
            }
        }
    }

    struct NoKeys;

    impl Authority for NoKeys {
        fn is_quick(&self, _job: &Job) -> bool {
            false
        }
        fn answer(&self, _job: &Job) -> Answer {
            Answer::Verified(None)
        }
    }

    fn path() -> Path {
        let [local, remote] = ["192.0.2.1:500", "198.51.100.2:500"].map(|text| text.parse().unwrap());
        Path { local, remote, marked: false }
    }

    fn at(millis: u64) -> Now {
        Now { mono: Instant::from_nanos(millis * 1_000_000), ..Now::default() }
    }

    struct Rig {
        driver: Driver,
        world: FakeWorld,
        heard: Arc<Mutex<Vec<String>>>,
    }

    fn rig(script: impl FnMut(&Cause<'_>) -> Vec<Act> + Send + 'static) -> Rig {
        let world = FakeWorld::default();
        let heard = Arc::default();
        let core =
            FakeCore { acts: VecDeque::new(), heard: Arc::clone(&heard), script, wake: Some(at(50).mono) };
        let reached = World {
            postman: Box::new(world.clone()),
            plane: Box::new(world.clone()),
            authority: Arc::new(NoKeys),
            hire: Box::new(|_, _| false),
        };
        let about =
            About { version: "1.2.3".into(), listen: vec!["UDP 500".into()], connections: Vec::new() };
        let driver = Driver::new(Box::new(core), reached, Arc::default(), about, at(0).mono);
        Rig { driver, world, heard }
    }

    fn voice() -> (Voice, Receiver<(u64, Say)>) {
        let (to, from) = sync_channel(16);
        (Voice { to, tag: 9, progress: true }, from)
    }

    fn trace(ike: u64, sent: bool) -> Act {
        Act::Event(Box::new(Event::Message(MessageTrace {
            ike: IkeSaId(ike),
            sent,
            resent: 0,
            path: path(),
            exchange: "IKE_SA_INIT".into(),
            response: !sent,
            message_id: MessageId(0),
            octets: 100,
            datagrams: 1,
            payloads: "SA KE No".into(),
        })))
    }

    #[test]
    fn an_order_hears_of_its_own_ike_sa_and_of_no_other() {
        let mut rig = rig(|cause| match cause {
            Cause::Order(..) => vec![trace(1, true), Act::Transmit { path: path(), bytes: vec![1] }],
            Cause::Datagram { .. } => vec![
                trace(2, false),
                trace(1, false),
                Act::Reply(
                    OrderId(0),
                    Box::new(Reply::Up { ike: IkeSaId(1), children: vec!["lan".into()], refused: vec![] }),
                ),
            ],
            _ => vec![],
        });
        let (voice, from) = voice();
        rig.driver.order(at(10), Order::Down(Target::All), Some(voice));
        assert_eq!(*rig.world.sent.lock().unwrap(), [(path(), vec![1])]);
        rig.driver.datagram(at(15), path(), &mut [0; 28]);
        let said: Vec<Say> = from.try_iter().map(|(tag, say)| (tag == 9).then_some(say).unwrap()).collect();
        let [Say::Progress { .. }, Say::Progress { milliseconds, text }, Say::Up(report)] = said.as_slice()
        else {
            panic!("{said:?}")
        };
        assert_eq!(*milliseconds, 5.0);
        assert!(text.starts_with("Received IKE_SA_INIT response 0 from 198.51.100.2:500"), "{text}");
        assert_eq!((report.ike_sa, report.milliseconds), (1, 5.0));
        assert!(!rig.driver.is_pending(OrderId(0)));
    }

    #[test]
    fn the_core_is_told_the_time_when_it_asked_and_not_before() {
        let mut rig = rig(|_| vec![]);
        assert_eq!(rig.driver.wake(), Some(at(50).mono));
        rig.driver.time(at(49));
        assert!(rig.heard.lock().unwrap().is_empty());
        rig.driver.time(at(50));
        assert_eq!(*rig.heard.lock().unwrap(), ["Time"]);
    }

    #[test]
    fn a_full_job_pool_refuses_the_job_rather_than_waiting() {
        let job = Job::Prove {
            connection: policy::ConnectionId(0),
            local: Identity::Null,
            remote: None,
            prf: Prf::HMAC_SHA2_256,
            octets: sa::SignedOctets(Arc::from([].as_slice())),
            peer_hashes: vec![],
        };
        let mut rig = rig(move |cause| match cause {
            Cause::Time => vec![Act::Job(JobId(4), job.clone())],
            _ => vec![],
        });
        rig.driver.time(at(60));
        let heard = rig.heard.lock().unwrap();
        assert!(heard[1].contains("Done(JobId(4), Refused(TrustRefusal { ours: true"), "{heard:?}");
    }

    #[test]
    fn a_datagram_that_cannot_be_sent_is_told_and_ends_nothing() {
        let mut rig = rig(|cause| match cause {
            Cause::Time => vec![Act::Keepalive { path: path() }],
            _ => vec![],
        });
        let (voice, from) = voice();
        rig.driver.input(at(1), Input::Watch(voice));
        assert!(matches!(from.try_recv(), Ok((9, Say::Progress { .. }))));
        rig.driver.time(at(60));
        let Ok((_, Say::Event(event))) = from.try_recv() else { panic!("no event") };
        assert!(
            event.text.starts_with("Cannot send from 192.0.2.1:500 to 198.51.100.2:500"),
            "{}",
            event.text
        );
    }

    #[test]
    fn a_watcher_that_does_not_read_is_told_what_it_lost() {
        let mut rig = rig(|cause| match cause {
            Cause::Datagram { .. } => vec![trace(1, false)],
            _ => vec![],
        });
        let (voice, from) = voice();
        rig.driver.input(at(1), Input::Watch(voice));
        assert!(matches!(from.try_recv(), Ok((9, Say::Progress { .. }))));
        for n in 0..20 {
            rig.driver.datagram(at(n), path(), &mut []);
        }
        assert_eq!(from.try_iter().count(), 16);
        rig.driver.datagram(at(30), path(), &mut []);
        let Ok((_, Say::Event(event))) = from.try_recv() else { panic!("no event") };
        assert_eq!((event.lost_before, event.milliseconds), (4, 30.0));
        drop(from);
        rig.driver.datagram(at(31), path(), &mut []);
        assert!(rig.driver.watchers.is_empty(), "a watcher that went away is forgotten");
    }

    #[test]
    fn a_name_that_nobody_knows_is_refused() {
        let mut rig = rig(|cause| match cause {
            Cause::Order(id, Order::Down(_)) => {
                vec![Act::Reply(*id, Box::new(Reply::Down { ike: 0, children: 0 }))]
            }
            _ => vec![],
        });
        let (voice, from) = voice();
        rig.driver
            .input(at(1), Input::Down { connection: "offcie".into(), child: None, voice: voice.clone() });
        rig.driver.input(at(1), Input::Up { connection: "offcie".into(), child: None, path: path(), voice });
        for _ in 0..2 {
            let Ok((_, Say::Refused(refusal))) = from.try_recv() else { panic!("not refused") };
            assert_eq!(refusal.kind, "not_found");
        }
    }

    fn standing() -> IkeStatus {
        IkeStatus {
            id: IkeSaId(3),
            connection: "office".into(),
            side: Side::Initiator,
            spi_i: IkeSpi(1),
            spi_r: IkeSpi(0xabc),
            state: "established",
            path: path(),
            local_id: Some(Identity::Fqdn("a.example".into())),
            remote_id: Some(Identity::Fqdn("b.example".into())),
            suite: Some(IkeSuite {
                encr: Encr::AES_GCM_16,
                key_bits: 256,
                integ: Integ::NONE,
                prf: Prf::HMAC_SHA2_384,
                ke: KeMethod::MODP_1024,
            }),
            nat_local: false,
            nat_remote: true,
            fragmentation: true,
            age: Duration::from_millis(61_234),
            idle: Duration::from_millis(5),
            children: vec![ChildStatus {
                id: ChildId(7),
                name: "lan".into(),
                mode: Mode::Tunnel,
                suite: ChildSuite {
                    encr: Encr::TRIPLE_DES,
                    key_bits: 0,
                    integ: Integ::HMAC_SHA1_96,
                    ke: KeMethod::NONE,
                    esn: false,
                },
                spi_in: EspSpi(0xc0ff_ee00),
                spi_out: EspSpi(0x1000),
                udp_encap: true,
                local_ts: vec![],
                remote_ts: vec![],
                age: Duration::from_secs(60),
            }],
        }
    }

    /// The shape that docs/status-json.md promises; a change here is a change for everybody's scripts.
    #[test]
    fn status_has_its_promised_shape() {
        let mut rig = rig(|cause| match cause {
            Cause::Order(id, Order::Status) => {
                vec![Act::Reply(*id, Box::new(Reply::Status(vec![standing()])))]
            }
            Cause::Datagram { .. } => {
                vec![Act::Event(Box::new(Event::Dropped { path: path(), why: sa::Drop::BadIcv }))]
            }
            _ => vec![],
        });
        rig.driver.datagram(at(1), path(), &mut []);
        let (voice, from) = voice();
        rig.driver.input(at(2500), Input::Status(voice));
        let Ok((_, Say::Status(mut status))) = from.try_recv() else { panic!("no status") };
        status.pid = 42;
        let golden = include_str!("../tests/golden/status.json");
        let expected: serde_json::Value = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
        assert_eq!(serde_json::from_str::<protocol::Status>(golden).unwrap(), *status);
    }

    #[test]
    fn a_refusal_reaches_who_asked() {
        let refusal = Refusal {
            kind: RefusalKind::NoProposalChosen,
            by_peer: true,
            connection: Some("office".into()),
            reason: "No proposal in common.".into(),
        };
        let mut rig = rig(move |cause| match cause {
            Cause::Order(id, _) => vec![Act::Reply(*id, Box::new(Reply::Refused(refusal.clone())))],
            _ => vec![],
        });
        let (voice, from) = voice();
        rig.driver.order(at(0), Order::Status, Some(voice));
        let Ok((_, Say::Refused(report))) = from.try_recv() else { panic!("not refused") };
        assert_eq!(report.reason, "No proposal in common.");
    }
}
