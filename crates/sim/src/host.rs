//! A site in a running world: its endpoint and what the endpoint needs around it.

use crate::net::IKE;
use crate::{Keeper, KeeperNature, SimDataplane, SimRng};
use base::{Instant, Now};
use dataplane::{ChildSpec, Selector};
use endpoint::Endpoint;
use policy::{AddressPattern, Policy};
use sa::{
    Act, Answer, Branches, Cause, Event, Job, JobId, LeaseKeeper, OrderId, Path, Reason, Received, Reply,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a world drives. [`Endpoint`] is the real one; tests of the world itself put others here.
pub trait Core: Send {
    /// See [`Endpoint::handle`].
    fn handle(&mut self, now: Now, cause: Cause<'_>);
    /// See [`Endpoint::poll`].
    fn poll(&mut self) -> Option<Act>;
    /// See [`Endpoint::wake`].
    fn wake(&self) -> Option<(Instant, Reason)>;
    /// See [`Endpoint::half_open`].
    fn half_open(&self) -> usize;
    /// See [`Endpoint::is_empty`].
    fn is_empty(&self) -> bool;
    /// See [`Endpoint::branches`].
    fn branches(&self) -> Branches {
        Branches::default()
    }
}

impl Core for Endpoint {
    fn handle(&mut self, now: Now, cause: Cause<'_>) {
        Endpoint::handle(self, now, cause);
    }

    fn poll(&mut self) -> Option<Act> {
        Endpoint::poll(self)
    }

    fn wake(&self) -> Option<(Instant, Reason)> {
        Endpoint::wake(self)
    }

    fn half_open(&self) -> usize {
        Endpoint::half_open(self)
    }

    fn is_empty(&self) -> bool {
        Endpoint::is_empty(self)
    }

    fn branches(&self) -> Branches {
        Endpoint::branches(self).clone()
    }
}

/// Makes a site's core without memory, for the n-th time, with the configuration in force.
pub(crate) type MakeCore = Box<dyn Fn(u64, Arc<Policy>) -> Box<dyn Core> + Send>;

/// One site of a world.
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its address (inside, when it stands behind a NAT box); while it has none, its last one.
    pub address: IpAddr,
    /// All its addresses; the first of each family is the one that it sends from.
    pub addresses: Vec<IpAddr>,
    /// All that it ever had.
    pub(crate) had: BTreeSet<IpAddr>,
    /// What it is configured to do.
    pub policy: Arc<Policy>,
    /// Everything that its endpoint told, and when.
    pub events: Vec<(Instant, Event)>,
    /// The answers to its orders, and when they came.
    pub replies: BTreeMap<OrderId, (Instant, Reply)>,
    /// Orders without an answer.
    pub open_orders: BTreeSet<OrderId>,
    /// What DNS says to it; a name that is not here cannot be resolved. To be changed as the story goes.
    pub names: BTreeMap<String, IpAddr>,
    /// Paths that it has looked up, and when.
    pub lookups: Vec<Instant>,
    /// Its data plane.
    pub dataplane: SimDataplane,
    /// The most half-open IKE SAs that it may have.
    pub max_half_open: usize,
    /// Who has which of its addresses.
    pub leases: LeaseKeeper,
    /// What its resolver was told, by the jobs that told it.
    pub resolver: BTreeMap<JobId, Arc<Received>>,
    /// Answers that are decided and not given yet.
    pub(crate) decided: BTreeMap<JobId, Answer>,
    pub(crate) core: Box<dyn Core>,
    /// Makes a core without memory, for the n-th time.
    pub(crate) make_core: Option<MakeCore>,
    /// How often it has lost its memory.
    pub crashes: u64,
    pub(crate) keeper: Box<dyn Keeper>,
    /// How the keeper answers from now on.
    pub keeper_nature: KeeperNature,
    /// The NAT box before it, by its number in the world, and the box's address.
    pub(crate) nat: Option<(usize, IpAddr)>,
    pub(crate) rng: SimRng,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) job_names: BTreeSet<JobId>,
    /// It does nothing before then, and remembers everything.
    pub(crate) asleep_until: Instant,
    pub(crate) handled: (Instant, u32),
    pub(crate) woken: (Instant, u32),
}

impl Host {
    /// The path to initiate a connection on, as DNS and the routing table have it now.
    pub(crate) fn resolve(
        &mut self,
        now: Instant,
        name: &str,
        remote: &[AddressPattern],
    ) -> Result<Path, String> {
        self.lookups.push(now);
        let known = remote.iter().find_map(|pattern| match pattern {
            AddressPattern::Range(range) => Some(range.start()),
            AddressPattern::Name(name) => self.names.get(name).copied(),
            AddressPattern::Any => None,
        });
        let remote = known.ok_or_else(|| format!("The peer of connection \"{name}\" is not known."))?;
        let at = |address| SocketAddr::new(address, IKE);
        Ok(Path { local: at(self.address), remote: at(remote), marked: false })
    }

    /// When its core wants to be woken; while it sleeps that has to wait.
    pub(crate) fn wake(&self) -> Option<Instant> {
        Some(self.core.wake()?.0.max(self.asleep_until))
    }

    /// Whether it sleeps: nothing is sent, and what comes is lost.
    pub fn is_asleep(&self, now: Instant) -> bool {
        now < self.asleep_until
    }

    /// Its address as others see it.
    pub fn public_address(&self) -> IpAddr {
        self.nat.map_or(self.address, |(_, outside)| outside)
    }

    /// Whether others reach it at that address.
    pub(crate) fn is_at(&self, address: IpAddr) -> bool {
        match self.nat {
            Some((_, outside)) => address == outside,
            None => self.addresses.contains(&address),
        }
    }

    /// From now on no job of it is ever answered.
    pub fn forget_jobs(&mut self) {
        self.keeper_nature.forget = 1000;
    }

    /// Which of its addresses leads to each of these.
    pub(crate) fn routes(&self, remotes: &[IpAddr]) -> Vec<(IpAddr, Option<IpAddr>)> {
        let source =
            |remote: &IpAddr| self.addresses.iter().find(|own| own.is_ipv4() == remote.is_ipv4()).copied();
        remotes.iter().map(|remote| (*remote, source(remote))).collect()
    }

    /// Whether a child is configured with more traffic than `spec` carries.
    pub(crate) fn asks_for_more(&self, spec: &ChildSpec) -> bool {
        let children = self.policy.connections.iter().flat_map(|connection| &connection.children);
        let narrower = |wanted: &[Selector], have: &[Selector]| !wanted.is_empty() && wanted != have;
        children.filter(|child| child.name == spec.name).any(|child| {
            narrower(&child.local_ts, &spec.local_ts) || narrower(&child.remote_ts, &spec.remote_ts)
        })
    }

    /// Does what is no work of keys: leases and names. It is done at once, and in order, however late its answer is.
    pub(crate) fn configure(&mut self, id: JobId, job: &Job) {
        let answer = match job {
            Job::Lease(request) => Answer::Leased(self.leases.lease(id, request)),
            Job::Release(holder) => {
                self.leases.release(*holder);
                Answer::Done
            }
            Job::UseResolver { received, .. } => {
                self.resolver.insert(id, received.clone());
                Answer::Done
            }
            Job::DropResolver(user) => {
                self.resolver.remove(user);
                Answer::Done
            }
            Job::Prove { .. }
            | Job::Check { .. }
            | Job::Ppk(_)
            | Job::Puzzle { .. }
            | Job::Resolve { .. }
            | Job::Route { .. } => return,
        };
        self.decided.insert(id, answer);
    }

    /// How many IKE SAs are half open there.
    pub fn half_open(&self) -> usize {
        self.core.half_open()
    }

    /// How many of its events fit.
    pub fn count(&self, fits: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| fits(event)).count()
    }

    /// The sentences of all refusals that it told.
    pub fn refusals(&self) -> Vec<&sa::Refusal> {
        self.events
            .iter()
            .filter_map(|(_, event)| match event {
                Event::Refused { refusal, .. } => Some(refusal),
                _ => None,
            })
            .collect()
    }
}
