//! The daemon: opens what it needs, then turns the one loop of the IKE thread.

use crate::control::Listener;
use crate::desk::{Desk, Loader};
use crate::driver::{About, Authority, Driver, Input, Postman, World};
use crate::jobs;
use crate::limits;
use crate::log_writer::Rounds;
use crate::mailbox::Mailbox;
use crate::os::{self, Clock, Signal, Signals};
use crate::plane;
use crate::resolve::Resolver;
use crate::resolver::{Resolver as NameServers, ResolverConfig};
use crate::status;
use crate::watch;
use base::{Instant, Rng};
use crypto::Suite;
use net::{Kind, Packet, SocketConfig, Sockets};
use policy::Policy;
use sa::{Order, OrderId, Path, Target};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What carries ESP.
#[derive(Clone, Debug)]
pub enum Dataplane {
    /// The userspace engine over a TUN device.
    Tun(tun::EngineConfig),
    /// Nothing: child SAs are negotiated, and no traffic is carried.
    None,
}

/// All that a daemon is made of.
pub struct Setup {
    /// What it does.
    pub policy: Arc<Policy>,
    /// Who answers jobs.
    pub authority: Arc<dyn Authority>,
    /// Its algorithms.
    pub suite: Arc<dyn Suite>,
    /// Makes sources of chance: one for the endpoint, one for the data plane.
    pub rng: fn() -> Box<dyn Rng>,
    /// How the endpoint behaves.
    pub settings: sa::Settings,
    /// Its ports.
    pub sockets: SocketConfig,
    /// What carries ESP.
    pub dataplane: Dataplane,
    /// Who is told of name servers that peers give us.
    pub resolver: ResolverConfig,
    /// The control socket's path.
    pub control: PathBuf,
    /// Reads the configuration again.
    pub loader: Loader,
    /// Its version, for `status`.
    pub version: String,
    /// When the process began, configuration and all.
    pub started: std::time::Instant,
}

/// Why a daemon cannot start, as one or two sentences.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A daemon that is ready to run.
pub struct Daemon {
    clock: Clock,
    driver: Driver,
    mailbox: Mailbox,
    signals: Signals,
    sockets: Arc<Sockets>,
    /// Which of the sockets the IKE thread reads; the data plane reads the others.
    mine: Vec<usize>,
    desk: Arc<Desk>,
    /// Removes the socket's file in the end.
    _listener: Listener,
}

/// Takes the next datagram of one of the mailbox's queues.
type NextDatagram = fn(&Mailbox) -> Option<(Path, Vec<u8>)>;

impl Daemon {
    /// Opens sockets, data plane and control socket. To be called before the process has threads.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        let clock = Clock::since(setup.started);
        let os = |what: &str| {
            let what = what.to_string();
            move |error: io::Error| StartError(format!("Cannot {what}: {error}."))
        };
        let signals = Signals::new().map_err(os("receive signals"))?;
        let (inbox, mailbox) = Mailbox::new().map_err(os("make the queue of the IKE thread"))?;
        let listener = Listener::bind(&setup.control).map_err(StartError)?;
        let sockets = Sockets::open(setup.sockets).map_err(|error| StartError(error.to_string()))?;
        let sockets = Arc::new(sockets);
        let (mut plane, mine, devices) =
            plane::open(&setup.dataplane, &sockets, &setup.suite, setup.rng, &inbox)?;
        plane.set_interfaces(&setup.policy.interfaces());
        let names =
            NameServers::start(setup.resolver.clone()).map_err(os("take care of the name servers"))?;
        let threads = "start the threads for jobs";
        let hire = jobs::start(&inbox).map_err(os(threads))?;
        let hire_resolver = jobs::start_resolver(&inbox).map_err(os(threads))?;
        let about = About {
            version: setup.version.clone(),
            listen: listen(&sockets),
            connections: setup.policy.connections.iter().map(|c| status::connection(c)).collect(),
        };
        say_ready(&setup, &about, plane.name(), clock.mono());
        let endpoint =
            endpoint::Endpoint::new(setup.policy.clone(), setup.suite, (setup.rng)(), setup.settings);
        let world = World {
            postman: Box::new(Post { sockets: sockets.clone() }),
            plane,
            authority: setup.authority,
            hire,
            resolver: Arc::new(Resolver { sockets: sockets.clone() }),
            hire_resolver,
            names: Box::new(names),
        };
        let driver = Driver::new(Box::new(endpoint), world, setup.policy.clone(), about, clock.mono());
        let desk = Arc::new(Desk::new(setup.version, inbox, setup.policy, setup.loader, sockets.clone()));
        listener.serve(&desk).map_err(os("serve the control socket"))?;
        watch::start(desk.inbox(), devices);
        Ok(Self { clock, driver, mailbox, signals, sockets, mine, desk, _listener: listener })
    }

    /// Runs until SIGTERM or SIGINT, then says good-bye to all peers.
    pub fn run(mut self) -> io::Result<()> {
        let sockets = self.sockets.clone();
        let descriptors: Vec<_> = sockets.descriptors().collect();
        let mut fds = vec![os::readable(self.mailbox.waker().as_fd()), os::readable(self.signals.as_fd())];
        fds.extend(self.mine.iter().filter_map(|index| descriptors.get(*index)).map(|fd| os::readable(*fd)));
        let mut batch = net::Batch::new();
        let mut farewell: Option<Farewell> = None;
        let rounds = Rounds::begin();
        loop {
            rounds.over();
            let deadline = farewell.as_ref().map(|farewell| farewell.until);
            let wake = self.driver.wake().into_iter().chain(deadline).min();
            os::wait(&mut fds, wake.map(|at| at.since(self.clock.mono())))?;
            if fds[1].revents != 0 && self.heed_signals(&mut farewell) {
                break;
            }
            if fds[0].revents != 0 {
                self.take_mail();
            }
            if let Some(reason) = self.mailbox.plane_fault() {
                return Err(self.give_up(&reason));
            }
            let mine = self.mine.iter().zip(&fds[2..]);
            for (index, _) in mine.filter(|(_, fd)| fd.revents != 0) {
                receive(&self.sockets, *index, &mut batch, &self.clock, &mut self.driver);
            }
            self.driver.time(self.clock.now());
            if farewell.as_ref().is_some_and(|farewell| self.is_over(farewell)) {
                break;
            }
        }
        tracing::info!("Handfast has stopped");
        Ok(())
    }

    /// Without its data plane a daemon is deaf and carries nothing: better to end, so that whoever watches over it
    /// starts another. The peers are told, without waiting for their answers.
    fn give_up(&mut self, reason: &str) -> io::Error {
        self.driver.order(self.clock.now(), Order::Down(Target::All), None);
        io::Error::other(format!("the data plane can no longer carry packets: {reason}"))
    }

    fn take_mail(&mut self) {
        self.mailbox.waker().clear();
        for event in self.mailbox.plane_events() {
            self.driver.input(self.clock.now(), Input::PlaneEvent(event));
        }
        while let Some(input) = self.mailbox.input() {
            self.driver.input(self.clock.now(), input);
        }
        let lost = self.mailbox.overflowed();
        if lost > 0 {
            self.driver.overflowed(self.clock.mono(), lost);
        }
        // Both have their turn: neither a flood of first messages nor one of anything else starves the other.
        let known = self.take_datagrams(Mailbox::known, limits::DATAGRAMS_A_ROUND);
        let strangers = self.take_datagrams(Mailbox::stranger, limits::STRANGERS_A_ROUND);
        if known || strangers {
            self.mailbox.ring();
        }
    }

    /// Takes so many messages of a queue at most; whether there may be more.
    fn take_datagrams(&mut self, next: NextDatagram, most: usize) -> bool {
        for _ in 0..most {
            let Some((path, mut bytes)) = next(&self.mailbox) else { return false };
            self.driver.datagram(self.clock.now(), path, &mut bytes);
        }
        true
    }

    /// Whether the daemon must stop at once.
    fn heed_signals(&mut self, farewell: &mut Option<Farewell>) -> bool {
        while let Some(signal) = self.signals.next() {
            match (signal, &farewell) {
                (Signal::Reload, _) => self.desk.reload_in_background(),
                (Signal::Stop, Some(_)) => {
                    tracing::warn!("Told to stop twice: leaving without the peers' answers");
                    return true;
                }
                (Signal::Stop, None) => {
                    tracing::info!("Told to stop: deleting all SAs with their peers");
                    let now = self.clock.now();
                    let order = self.driver.order(now, Order::Down(Target::All), None);
                    *farewell = Some(Farewell { order, until: now.mono + limits::FAREWELL });
                }
            }
        }
        false
    }

    fn is_over(&self, farewell: &Farewell) -> bool {
        if !self.driver.is_pending(farewell.order) {
            return true;
        }
        let late = self.clock.mono() >= farewell.until;
        if late {
            tracing::warn!("Some peers did not answer our Deletes within {:?}: leaving", limits::FAREWELL);
        }
        late
    }
}

/// The Deletes are on their way.
struct Farewell {
    order: OrderId,
    until: Instant,
}

fn receive(sockets: &Sockets, index: usize, batch: &mut net::Batch, clock: &Clock, driver: &mut Driver) {
    let taken = sockets.receive(index, limits::DATAGRAMS_A_ROUND, batch, |packet| {
        if let Packet::Ike(datagram) = packet {
            let path = Path { local: datagram.local, remote: datagram.remote, marked: datagram.marked };
            driver.datagram(clock.now(), path, datagram.bytes);
        }
    });
    if let Err(error) = taken {
        tracing::warn!("Cannot read from a socket: {error}");
        // An error that stays must not turn the loop into a busy one.
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn listen(sockets: &Sockets) -> Vec<String> {
    [Kind::Ike, Kind::Nat]
        .iter()
        .filter_map(|kind| sockets.port(*kind))
        .map(|port| format!("UDP {port}"))
        .collect()
}

fn say_ready(setup: &Setup, about: &About, dataplane: &str, took: Instant) {
    let count = about.connections.len();
    tracing::info!(
        connections = count,
        dataplane,
        control = %setup.control.display(),
        "Handfast {} is ready after {:.1} ms: {count} connection{}, listening on {}, data plane {dataplane}, control \
         socket {}",
        setup.version,
        took.as_nanos() as f64 / 1e6,
        if count == 1 { "" } else { "s" },
        about.listen.join(" and "),
        setup.control.display(),
    );
    if matches!(setup.dataplane, Dataplane::None) {
        tracing::warn!("The data plane is \"none\": child SAs are negotiated, and carry no traffic");
    }
    for connection in about.connections.iter().filter(|connection| !connection.weak.is_empty()) {
        tracing::warn!(
            "Connection \"{}\" allows weak algorithms: {}",
            connection.name,
            connection.weak.join(", ")
        );
    }
}

struct Post {
    sockets: Arc<Sockets>,
}

impl Postman for Post {
    fn send(&mut self, path: Path, message: &[u8]) -> io::Result<()> {
        self.sockets.send_ike(path.local, path.remote, path.marked, message).map_err(io::Error::other)
    }

    fn keepalive(&mut self, path: Path) -> io::Result<()> {
        self.sockets.send_ike(path.local, path.remote, false, &[0xff]).map_err(io::Error::other)
    }

    fn source(&mut self, remote: IpAddr) -> Option<IpAddr> {
        self.sockets.source(remote).ok()
    }
}
