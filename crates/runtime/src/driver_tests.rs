//! The driver with a fake core, a fake network and a fake clock.

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
type Told = BTreeMap<JobId, (String, Arc<sa::Received>)>;

#[derive(Clone, Default)]
struct FakeWorld {
    sent: Arc<Mutex<Sent>>,
    names: Arc<Mutex<Told>>,
}

impl Postman for FakeWorld {
    fn send(&mut self, path: Path, message: &[u8]) -> std::io::Result<()> {
        self.sent.lock().unwrap().push((path, message.to_vec()));
        Ok(())
    }
    fn keepalive(&mut self, _path: Path) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NetworkUnreachable.into())
    }
    fn source(&mut self, remote: std::net::IpAddr) -> Option<std::net::IpAddr> {
        remote.is_ipv4().then(|| [192, 0, 2, 7].into())
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

impl Names for FakeWorld {
    fn enter(&mut self, id: JobId, connection: String, received: Arc<sa::Received>) {
        self.names.lock().unwrap().insert(id, (connection, received));
    }
    fn leave(&mut self, id: JobId) {
        self.names.lock().unwrap().remove(&id);
    }
}

struct NoKeys;

impl Authority for NoKeys {
    fn is_quick(&self, _job: &Job) -> bool {
        false
    }
    fn answer(&self, _job: &Job) -> Answer {
        Answer::Verified(sa::Verified::default())
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
    let core = FakeCore { acts: VecDeque::new(), heard: Arc::clone(&heard), script, wake: Some(at(50).mono) };
    let reached = World {
        postman: Box::new(world.clone()),
        plane: Box::new(world.clone()),
        authority: Arc::new(NoKeys),
        hire: Box::new(|_, _, _| false),
        resolver: Arc::new(NoKeys),
        hire_resolver: Box::new(|_, _, _| false),
        names: Box::new(world.clone()),
    };
    let about = About { version: "1.2.3".into(), listen: vec!["UDP 500".into()], connections: Vec::new() };
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
        name: "net".to_string(),
        round: policy::Round::First,
        local: Identity::Null,
        remote: None,
        prf: Prf::HMAC_SHA2_256,
        octets: sa::SignedOctets(Arc::from([].as_slice())),
        peer_hashes: vec![],
        peer_methods: vec![],
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
    assert!(event.text.starts_with("Cannot send from 192.0.2.1:500 to 198.51.100.2:500"), "{}", event.text);
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
    rig.driver.input(at(1), Input::Down { connection: "offcie".into(), child: None, voice: voice.clone() });
    rig.driver.input(at(1), Input::Up { connection: "offcie".into(), child: None, path: path(), voice });
    for _ in 0..2 {
        let Ok((_, Say::Refused(refusal))) = from.try_recv() else { panic!("not refused") };
        assert_eq!(refusal.kind, "not_found");
    }
}

fn received() -> sa::Received {
    let domain = policy::DnsName::new("corp.example").unwrap();
    sa::Received {
        addresses: vec!["10.3.0.1".parse().unwrap()],
        dns: vec!["10.2.0.53".parse().unwrap()],
        subnets: dataplane::AddressRange::from_prefix("10.2.0.0".parse().unwrap(), 16).into_iter().collect(),
        domains: vec![policy::Domain { name: domain, anchors: Vec::new() }],
        ..sa::Received::default()
    }
}

/// Leases and names are no work for the pool of threads.
#[test]
fn leases_are_kept_and_names_are_told() {
    let road = policy::Pool {
        name: "road".into(),
        addrs: vec![dataplane::AddressRange::host("10.3.0.7".parse().unwrap())],
        ..policy::Pool::default()
    };
    let road = Arc::new(road);
    let request = sa::LeaseRequest {
        identity: Identity::Fqdn("fred.example".into()),
        pools: vec![road],
        addresses: vec!["0.0.0.0".parse().unwrap()],
        prefix: None,
        alone: false,
    };
    let mut step = 0;
    let mut rig = rig(move |cause| {
        step += u32::from(matches!(cause, Cause::Time | Cause::Datagram { .. }));
        match (cause, step) {
            (Cause::Time, _) => vec![
                Act::Job(JobId(1), Job::Lease(Box::new(request.clone()))),
                Act::Job(JobId(2), Job::Lease(Box::new(request.clone()))),
                Act::Job(JobId(3), Job::Release(JobId(1))),
                Act::Job(
                    JobId(4),
                    Job::UseResolver { connection: "home".into(), received: Arc::new(received()) },
                ),
            ],
            (Cause::Datagram { .. }, _) => vec![Act::Job(JobId(5), Job::DropResolver(JobId(4)))],
            _ => vec![],
        }
    });
    rig.driver.time(at(50));
    let heard = rig.heard.lock().unwrap().clone();
    let leased: Vec<&String> = heard.iter().filter(|cause| cause.contains("Leased(")).collect();
    assert_eq!(leased.len(), 2, "{heard:?}");
    assert!(leased[0].contains("10.3.0.7") && leased[1].contains("Leased([])"), "{leased:?}");
    assert_eq!(rig.world.names.lock().unwrap().len(), 1);
    rig.driver.datagram(at(51), path(), &mut []);
    assert!(rig.world.names.lock().unwrap().is_empty());
}

fn proven(id: &str, by: &str) -> sa::Proven {
    sa::Proven { id: Identity::Fqdn(id.into()), by: by.into() }
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
        local_auth: vec![proven("a.example", "pre-shared key")],
        remote_auth: vec![proven("b.example", "ECDSA P-256"), proven("user@b.example", "ML-DSA-65")],
        suite: Some(IkeSuite {
            encr: Encr::AES_GCM_16,
            key_bits: 256,
            integ: Integ::NONE,
            prf: Prf::HMAC_SHA2_384,
            ke: KeMethod::MODP_1024,
            additional: policy::Additional::default(),
        }),
        post_quantum: Some(policy::PostQuantum { safe: false, why: "MODP_1024 is not post-quantum".into() }),
        full_transcript: false,
        nat_local: false,
        nat_remote: true,
        fragmentation: true,
        resumed: true,
        ticket: false,
        age: Duration::from_millis(61_234),
        idle: Duration::from_millis(5),
        received: Some(Arc::new(received())),
        leased: vec![policy::Leased {
            address: "2001:db8:100::".parse().unwrap(),
            prefix_len: 64,
            pool: Arc::default(),
        }],
        children: vec![ChildStatus {
            id: ChildId(7),
            name: "lan".into(),
            mode: Mode::Tunnel,
            suite: ChildSuite {
                encr: Encr::TRIPLE_DES,
                key_bits: 0,
                integ: Integ::HMAC_SHA1_96,
                ke: KeMethod::NONE,
                additional: policy::Additional::default(),
                esn: false,
            },
            spi_in: EspSpi(0xc0ff_ee00),
            spi_out: EspSpi(0x1000),
            udp_encap: true,
            local_ts: vec![],
            remote_ts: vec![],
            interface: dataplane::Interface::new("hf-site1"),
            ppk: Some("green".into()),
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
