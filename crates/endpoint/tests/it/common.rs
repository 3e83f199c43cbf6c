//! Two endpoints in one process: a network without delay, a trust store that knows one PSK, a data plane that
//! keeps what it is told. The simulation of whole worlds is in `sim`; this is for one step at a time.

use base::{Instant, Now, Rng, WallClock};
use crypto::Suite;
use dataplane::{AddressRange, ChildId, ChildSpec, Mode, Op, Outcome, Selector};
use endpoint::Endpoint;
use policy::{
    AddressPattern, AuthMethod, Child, ChildLifetime, Configuration, Connection, ConnectionId, EncapChoice,
    EndAction, Extensions, IdPattern, Identity, IkeLifetime, LocalAuth, Policy, Proposal, RemoteAuth,
    SendCert, StartAction, Unique,
};
use provider::Provider;
use sa::{
    Act, Answer, AuthProof, Cause, Event, Job, JobId, Order, OrderId, Path, Reason, Reply, Settings,
    TrustRefusal,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use trust::Trust;
use wire::num::{Encr, EsnMode, KeMethod, Prf};

/// A repeatable source of chance (splitmix64).
pub struct Seeded(pub u64);

impl Rng for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_be_bytes()[..chunk.len()]);
        }
    }
}

/// One end.
pub struct End {
    pub endpoint: Endpoint,
    pub psk: Vec<u8>,
    /// Answers jobs in place of the store with the one PSK.
    pub keeper: Option<Trust>,
    pub events: Vec<Event>,
    pub replies: Vec<(OrderId, Reply)>,
    pub sad: BTreeMap<ChildId, ChildSpec>,
    /// What the data plane says to the next installations.
    pub refuse_install: Option<String>,
    /// Jobs are not answered while this is set; they wait in `held`.
    pub hold_jobs: bool,
    pub held: Vec<(JobId, Job)>,
    pub keepalives: usize,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub marked: bool,
    pub bytes: Vec<u8>,
}

/// Both ends and what is between them.
pub struct Pair {
    pub a: End,
    pub b: End,
    pub now: Now,
    pub flights: VecDeque<Flight>,
    /// Everything that was ever sent.
    pub seen: Vec<Flight>,
    /// Datagrams for which this is true are lost.
    pub lose: fn(&Flight) -> bool,
    /// What a NAT does to the source of A's datagrams; what comes back is undone.
    pub nat: Option<SocketAddr>,
    last_order: u64,
}

pub const A: &str = "192.0.2.1";
pub const B: &str = "192.0.2.2";

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn net(prefix: &str) -> Selector {
    let (address, len) = prefix.split_once('/').unwrap();
    Selector::addresses(AddressRange::from_prefix(ip(address), len.parse().unwrap()).unwrap())
}

pub fn ike_proposal(ke: &[KeMethod]) -> Proposal {
    Proposal {
        encr: vec![(Encr::AES_GCM_16, 256)],
        prf: vec![Prf::HMAC_SHA2_256],
        ke: ke.to_vec(),
        ..Proposal::default()
    }
}

pub fn esp_proposal(ke: &[KeMethod]) -> Proposal {
    Proposal {
        encr: vec![(Encr::AES_GCM_16, 256)],
        ke: ke.to_vec(),
        esn: vec![EsnMode::NONE],
        ..Proposal::default()
    }
}

pub fn child(name: &str, local: &str, remote: &str) -> Arc<Child> {
    Arc::new(Child {
        name: name.to_string(),
        mode: Mode::Tunnel,
        single_pair: false,
        local_ts: vec![net(local)],
        remote_ts: vec![net(remote)],
        esp_proposals: vec![esp_proposal(&[])],
        start_action: StartAction::None,
        dpd_action: EndAction::Clear,
        close_action: EndAction::Clear,
        inactivity: Duration::ZERO,
        lifetime: ChildLifetime::UNLIMITED,
        replay_window: 64,
        interface: None,
    })
}

/// A connection of `me` with `peer`, whose last address octets name their networks.
pub fn connection(me: &str, peer: &str) -> Connection {
    let fqdn = |address: &str| Identity::Fqdn(format!("host{}.example", address.rsplit('.').next().unwrap()));
    let lan = |address: &str| format!("10.{}.0.0/16", address.rsplit('.').next().unwrap());
    Connection {
        name: "net".to_string(),
        local_addrs: vec![AddressPattern::Any],
        remote_addrs: vec![AddressPattern::Any],
        proposals: vec![ike_proposal(&[KeMethod::CURVE25519])],
        local: LocalAuth { method: AuthMethod::Psk, id: Some(fqdn(me)), certs: Vec::new(), pubkey: None },
        remote: RemoteAuth {
            method: AuthMethod::Psk,
            id: IdPattern::Is(fqdn(peer)),
            certs: Vec::new(),
            authorities: Vec::new(),
            pubkeys: Vec::new(),
            revocation: policy::Revocation::default(),
        },
        local2: None,
        remote2: None,
        children: vec![child("lan", &lan(me), &lan(peer))],
        encap: EncapChoice::Auto,
        fragmentation: true,
        fragment_size: 1280,
        send_cert: SendCert::Always,
        send_certreq: true,
        dpd_delay: Duration::ZERO,
        dpd_timeout: Duration::ZERO,
        lifetime: IkeLifetime::UNLIMITED,
        keyingtries: 0,
        retry_interval: Duration::from_secs(10),
        mobike: false,
        window: 1,
        configuration: Configuration::default(),
        extensions: Extensions::default(),
        unique: Unique::No,
        weak: Vec::new(),
    }
}

impl End {
    pub fn new(connections: Vec<Connection>, settings: Settings, seed: u64) -> Self {
        let policy = Policy::of(connections);
        let suite: Arc<dyn Suite> = Arc::new(Provider::new());
        let endpoint = Endpoint::new(Arc::new(policy), suite, Box::new(Seeded(seed)), settings);
        Self {
            endpoint,
            psk: b"the secret of both".to_vec(),
            keeper: None,
            events: Vec::new(),
            replies: Vec::new(),
            sad: BTreeMap::new(),
            refuse_install: None,
            hold_jobs: false,
            held: Vec::new(),
            keepalives: 0,
        }
    }

    pub fn handle(&mut self, now: Now, cause: Cause<'_>, flights: &mut Vec<Flight>) {
        self.endpoint.handle(now, cause);
        while let Some(act) = self.endpoint.poll() {
            let answer = match act {
                Act::Transmit { path, bytes } => {
                    flights.push(Flight { from: path.local, to: path.remote, marked: path.marked, bytes });
                    continue;
                }
                Act::Keepalive { .. } => {
                    self.keepalives += 1;
                    continue;
                }
                Act::Event(event) => {
                    self.events.push(*event);
                    continue;
                }
                Act::Reply(order, reply) => {
                    self.replies.push((order, *reply));
                    continue;
                }
                Act::Job(id, job) if self.hold_jobs => {
                    self.held.push((id, job));
                    continue;
                }
                Act::Job(id, job) => (id, self.trust(&job)),
                Act::Dataplane(id, op) => (id, Answer::Dataplane(self.dataplane(op))),
            };
            self.endpoint.handle(now, Cause::Done(answer.0, answer.1));
        }
    }

    /// Answers what [`Self::hold_jobs`] held back, as it would have been answered.
    pub fn held_answers(&mut self) -> Vec<(JobId, Answer)> {
        let held = std::mem::take(&mut self.held);
        held.into_iter().map(|(id, job)| (id, self.trust(&job))).collect()
    }

    pub fn trust(&self, job: &Job) -> Answer {
        if let Some(keeper) = &self.keeper {
            return keeper.answer(job);
        }
        let auth = |prf: &Prf, octets: &sa::SignedOctets| {
            let suite = Provider::new();
            crypto::psk_auth(suite.prf(*prf).unwrap(), &self.psk, &[&octets.0]).expose().clone()
        };
        match job {
            Job::Resolve { .. } => Answer::Resolved(Err("These tests have no names.".to_string())),
            Job::Prove { prf, octets, .. } => {
                Answer::Proved(AuthProof { method: 2, data: auth(prf, octets) }, "pre-shared key".into())
            }
            // No connection of these tests has PPKs.
            Job::Ppk(_) => Answer::Ppk(sa::PpkAnswer::default()),
            Job::Puzzle { puzzle, string } => sa::puzzle::answer(&Provider::new(), *puzzle, string),
            Job::Route { remotes } => Answer::Routes(remotes.iter().map(|remote| (*remote, None)).collect()),
            Job::Check { prf, octets, proof, remote, wanted, .. } => {
                let known = policy::match_identity(wanted, remote).is_ok();
                if known && proof.method == 2 && proof.data == auth(prf, octets) {
                    Answer::Verified(sa::Verified::default())
                } else {
                    let reason = format!("The PSK of `{remote}` does not fit.");
                    Answer::Refused(TrustRefusal { ours: false, reason })
                }
            }
            Job::Lease(_) => Answer::Leased(Vec::new()),
            Job::Release(_) | Job::UseResolver { .. } | Job::DropResolver(_) => Answer::Done,
        }
    }

    fn dataplane(&mut self, op: Op) -> Outcome {
        match op {
            Op::Install(spec) => {
                if let Some(why) = &self.refuse_install {
                    return Outcome::Failed(why.clone());
                }
                self.sad.insert(spec.id, *spec);
                Outcome::Done
            }
            Op::Remove(id) => {
                assert!(self.sad.remove(&id).is_some(), "removed what is not there");
                Outcome::Counters(Default::default())
            }
            Op::Query(_) => Outcome::Counters(Default::default()),
            Op::Use(_) | Op::Trap(_) | Op::Untrap(_) | Op::Assign(_) | Op::Unassign(_) => Outcome::Done,
            Op::Move { id, local, remote, udp_encap } => {
                let spec = self.sad.get_mut(&id).unwrap();
                (spec.local, spec.remote, spec.udp_encap) = (local, remote, udp_encap);
                Outcome::Done
            }
        }
    }

    /// The refusals that the log has, in words.
    pub fn refusals(&self) -> Vec<String> {
        let reasons = self.events.iter().filter_map(|event| match event {
            Event::Refused { refusal, .. } => Some(refusal.reason.clone()),
            _ => None,
        });
        reasons.collect()
    }

    pub fn drops(&self) -> Vec<sa::Drop> {
        let drops = self.events.iter().filter_map(|event| match event {
            Event::Dropped { why, .. } => Some(*why),
            _ => None,
        });
        drops.collect()
    }

    pub fn count(&self, fits: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| fits(event)).count()
    }

    pub fn established(&self) -> usize {
        self.count(|event| matches!(event, Event::IkeUp(_)))
    }
}

impl Pair {
    pub fn new(a: Connection, b: Connection) -> Self {
        Self::with(a, b, Settings::default())
    }

    pub fn with(a: Connection, b: Connection, settings: Settings) -> Self {
        Self {
            a: End::new(vec![a], settings.clone(), 1),
            b: End::new(vec![b], settings, 2),
            now: Now { mono: Instant::from_nanos(1_000_000_000), wall: WallClock(1_790_000_000) },
            flights: VecDeque::new(),
            seen: Vec::new(),
            lose: |_| false,
            nat: None,
            last_order: 0,
        }
    }

    /// Both with the ordinary connection, established with its child.
    pub fn established() -> Self {
        let mut pair = Self::new(connection(A, B), connection(B, A));
        pair.up();
        pair.settle();
        assert_eq!(
            (pair.a.sad.len(), pair.b.sad.len()),
            (1, 1),
            "{:?} {:?}",
            pair.a.refusals(),
            pair.b.refusals()
        );
        pair
    }

    pub fn path() -> Path {
        Path { local: SocketAddr::new(ip(A), 500), remote: SocketAddr::new(ip(B), 500), marked: false }
    }

    /// A brings its first connection up.
    pub fn up(&mut self) -> OrderId {
        self.order_a(Order::Up { connection: ConnectionId(0), child: None, path: Self::path() })
    }

    pub fn order_a(&mut self, order: Order) -> OrderId {
        self.last_order += 1;
        let id = OrderId(self.last_order);
        let mut flights = Vec::new();
        self.a.handle(self.now, Cause::Order(id, order), &mut flights);
        self.fly(flights);
        id
    }

    pub fn order_b(&mut self, order: Order) -> OrderId {
        self.last_order += 1;
        let id = OrderId(self.last_order);
        let mut flights = Vec::new();
        self.b.handle(self.now, Cause::Order(id, order), &mut flights);
        self.fly(flights);
        id
    }

    pub fn answer_a(&mut self, id: JobId, answer: Answer) {
        let mut flights = Vec::new();
        self.a.handle(self.now, Cause::Done(id, answer), &mut flights);
        self.fly(flights);
    }

    pub fn answer_b(&mut self, id: JobId, answer: Answer) {
        let mut flights = Vec::new();
        self.b.handle(self.now, Cause::Done(id, answer), &mut flights);
        self.fly(flights);
    }

    fn fly(&mut self, flights: Vec<Flight>) {
        for mut flight in flights {
            if let Some(nat) = self.nat
                && flight.from.ip() == ip(A)
            {
                flight.from = SocketAddr::new(nat.ip(), nat.port() + u16::from(flight.marked));
            }
            self.seen.push(flight.clone());
            if !(self.lose)(&flight) {
                self.flights.push_back(flight);
            }
        }
    }

    /// Puts a datagram into the network, whoever sent it.
    pub fn inject(&mut self, flight: Flight) {
        self.flights.push_back(flight);
    }

    /// Delivers a datagram before all that is on its way.
    pub fn deliver(&mut self, flight: Flight) {
        self.flights.push_front(flight);
        self.step();
    }

    /// Delivers one datagram.
    pub fn step(&mut self) -> bool {
        let Some(mut flight) = self.flights.pop_front() else { return false };
        if self.nat.is_some_and(|nat| nat.ip() == flight.to.ip()) {
            flight.to = SocketAddr::new(ip(A), if flight.marked { 4500 } else { 500 });
        }
        let path = Path { local: flight.to, remote: flight.from, marked: flight.marked };
        let mut flights = Vec::new();
        let end = if flight.to.ip() == ip(A) { &mut self.a } else { &mut self.b };
        end.handle(self.now, Cause::Datagram { path, bytes: &mut flight.bytes }, &mut flights);
        self.fly(flights);
        true
    }

    /// Delivers all that is on its way, and what comes of it.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    /// Lets time pass, with everything that falls due in it.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now.mono + time;
        loop {
            self.settle();
            let next = [self.a.endpoint.wake(), self.b.endpoint.wake()]
                .into_iter()
                .flatten()
                .map(|(at, _)| at)
                .min();
            match next.filter(|at| *at <= until) {
                Some(at) => {
                    self.now.mono = self.now.mono.max(at);
                    self.tick();
                }
                None => break,
            }
        }
        self.now.mono = until;
    }

    /// Lets an initiator wait that has been asked for a cookie: the next request has it.
    pub fn heed_cookie(&mut self) {
        self.now.mono = self.now.mono + ikev2::limits::COOKIE_PATIENCE;
        self.tick();
    }

    pub fn tick(&mut self) {
        let mut flights = Vec::new();
        for end in [&mut self.a, &mut self.b] {
            if end.endpoint.wake().is_some_and(|(at, _): (Instant, Reason)| at <= self.now.mono) {
                end.handle(self.now, Cause::Time, &mut flights);
            }
        }
        self.fly(flights);
    }

    /// That both data planes have the same children with the same keys.
    pub fn assert_mirrored(&self) {
        assert_eq!(self.a.sad.len(), self.b.sad.len(), "as many children here as there");
        for one in self.a.sad.values() {
            let other = self
                .b
                .sad
                .values()
                .find(|other| other.inbound.spi == one.outbound.spi)
                .expect("the other half");
            assert_eq!(one.inbound.spi, other.outbound.spi);
            assert_eq!(one.inbound.encr_key, other.outbound.encr_key);
            assert_eq!(one.outbound.encr_key, other.inbound.encr_key);
            assert_ne!(one.inbound.encr_key, one.outbound.encr_key);
            assert_eq!((&one.local_ts, &one.remote_ts), (&other.remote_ts, &other.local_ts));
            assert_eq!((one.mode, one.esn, one.udp_encap), (other.mode, other.esn, other.udp_encap));
        }
    }
}
