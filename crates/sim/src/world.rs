//! A whole world: sites, the network between them, one clock, one seed.

use crate::host::{Core, Host};
use crate::ledger::Ledger;
use crate::net::IKE;
use crate::site::{MakeKeeper, PSK, PpkList, keeper, ppks_named};
use crate::watch::{Shared, Watched, open};
use crate::{
    Attacker, Checks, Datagram, NatBox, Scene, SimDataplane, SimRng, Site, Stats, Trace, Traffic, Weather,
    limits,
};
use base::{Instant, Now, WallClock};
use crypto::Suite;
use dataplane::DataplaneEvent;
use endpoint::Endpoint;
use policy::{AddressPattern, ConnectionId, Policy};
use sa::{
    Act, Answer, Cause, Event, IkeStatus, Job, JobId, LeaseKeeper, Order, OrderId, Path, Reply, Target,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod mishaps;
mod network;

/// What is going to happen.
enum Happening {
    Arrival(Datagram),
    JobDone(usize, JobId),
    OpDone(usize, JobId),
}

/// Sites, a network and a clock, all from one seed.
///
/// # Panics
/// Every step checks the invariants of the design; a world in which one breaks panics with the
/// seed, the time and the invariant.
pub struct World {
    seed: u64,
    now: Now,
    /// What the network does.
    pub weather: Weather,
    /// The sites, in the order they were added.
    pub hosts: Vec<Host>,
    /// What was seen so far.
    pub stats: Stats,
    /// What became of inner packets.
    pub traffic: Traffic,
    /// Every datagram that a site sent, as it left its NAT box; of ESP packets only what [`World::traffic`] counts stays.
    pub wire: Vec<(Instant, Datagram)>,
    pub(crate) boxes: Vec<NatBox>,
    /// Between which two addresses nothing passes; one alone is cut off from all.
    cuts: BTreeSet<(IpAddr, Option<IpAddr>)>,
    attacker: Option<Attacker>,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    rng: SimRng,
    attacker_rng: SimRng,
    ledger: Shared,
    checks: Checks,
    trace: Trace,
    orders: u64,
    suite: Arc<dyn Suite>,
}

impl World {
    /// An empty world with fair weather, the sites of which use the algorithms of `suite`.
    pub fn new(seed: u64, suite: Arc<dyn Suite>) -> Self {
        let mono = Instant::from_nanos(1_000_000_000_000 + (seed % 1_000_000) * 1_000);
        Self {
            seed,
            now: Now { mono, wall: WallClock(1_800_000_000) },
            weather: Weather::fair(),
            hosts: Vec::new(),
            stats: Stats::default(),
            traffic: Traffic::default(),
            wire: Vec::new(),
            boxes: Vec::new(),
            cuts: BTreeSet::new(),
            attacker: None,
            queue: BTreeMap::new(),
            sequence: 0,
            rng: SimRng::new(seed, "network"),
            attacker_rng: SimRng::new(seed, "attacker"),
            ledger: Arc::new(Mutex::new(Ledger::default())),
            checks: Checks::default(),
            trace: Trace::new(),
            orders: 0,
            suite,
        }
    }

    /// Prints each line of the trace.
    pub fn speaking(mut self) -> Self {
        self.trace.speak();
        self
    }

    /// Sets the weather.
    pub fn under(mut self, weather: Weather) -> Self {
        self.weather = weather;
        self
    }

    /// Puts somebody on the path, who sees every datagram that a site sends.
    pub fn attacked(mut self, attacker: impl FnMut(&mut Scene<'_>) + Send + 'static) -> Self {
        self.attack(attacker);
        self
    }

    /// Puts somebody on the path.
    pub fn attack(&mut self, attacker: impl FnMut(&mut Scene<'_>) + Send + 'static) {
        self.attacker = Some(Box::new(attacker));
    }

    /// The attacker goes away.
    pub fn calm(&mut self) {
        self.attacker = None;
    }

    /// Adds two sites.
    pub fn peers(self, one: Site, other: Site) -> Self {
        self.site(one).site(other)
    }

    /// Adds a site.
    pub fn site(self, site: Site) -> Self {
        let index = self.hosts.len();
        let suite = Arc::new(Watched::new(self.suite.clone(), self.ledger.clone(), index));
        let policy = Arc::new(site.policy());
        let (seed, name, settings) = (self.seed, site.name.clone(), site.settings.clone());
        let make = move |time: u64, of: Arc<Policy>| -> Box<dyn Core> {
            let rng = Box::new(SimRng::new(seed.wrapping_add(time << 40), &name));
            Box::new(Endpoint::new(of, suite.clone(), rng, settings.clone()))
        };
        let core = make(0, policy.clone());
        let mut world = self.site_with(site, policy, core);
        if let Some(host) = world.hosts.last_mut() {
            host.make_core = Some(Box::new(make));
        }
        world
    }

    /// Adds a site with a core of its own.
    pub(crate) fn site_with(mut self, site: Site, policy: Arc<Policy>, core: Box<dyn Core>) -> Self {
        {
            let mut ledger = open(&self.ledger);
            site.secrets.iter().for_each(|secret| ledger.secret(secret));
            ledger.private(format!("{}.example", site.name).as_bytes());
        }
        let windows = site.connections.iter().map(|connection| u32::from(connection.window));
        self.checks.widest = windows.chain([self.checks.widest]).max().unwrap_or(1);
        let addresses: Vec<IpAddr> = [site.address].into_iter().chain(site.further).collect();
        let nat = site.nat.map(|(outside, expiry)| self.nat_box(&addresses, outside, expiry));
        self.hosts.push(Host {
            rng: SimRng::new(self.seed ^ 0x5151, &site.name),
            keeper: (site.make_keeper)(self.suite.clone(), policy.clone()),
            name: site.name,
            address: site.address,
            had: addresses.iter().copied().collect(),
            addresses,
            policy,
            names: BTreeMap::new(),
            lookups: Vec::new(),
            events: Vec::new(),
            replies: BTreeMap::new(),
            open_orders: BTreeSet::new(),
            dataplane: SimDataplane::new(site.dataplane),
            leases: LeaseKeeper::default(),
            resolver: BTreeMap::new(),
            decided: BTreeMap::new(),
            core,
            make_core: None,
            crashes: 0,
            max_half_open: site.settings.max_half_open,
            keeper_nature: site.keeper,
            nat,
            jobs: BTreeMap::new(),
            job_names: BTreeSet::new(),
            asleep_until: Instant::default(),
            handled: (Instant::default(), 0),
            woken: (Instant::default(), 0),
        });
        self.tell_addresses(self.hosts.len() - 1);
        self
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now.mono
    }

    /// What was seen, with the branches of the procedures that the sites have taken.
    pub fn figures(&self) -> Stats {
        let mut stats = self.stats.clone();
        self.hosts.iter().for_each(|host| stats.taken(&host.core.branches()));
        stats
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// How many keys the endpoints have used.
    pub fn keys(&self) -> usize {
        open(&self.ledger).keys()
    }

    /// The site of that name.
    pub fn host(&self, name: &str) -> &Host {
        &self.hosts[self.index(name)]
    }

    /// The site of that name.
    pub fn host_mut(&mut self, name: &str) -> &mut Host {
        let index = self.index(name);
        &mut self.hosts[index]
    }

    pub(crate) fn index(&self, name: &str) -> usize {
        let found = self.hosts.iter().position(|host| host.name == name);
        found.unwrap_or_else(|| self.fail(&format!("there is no site “{name}”")))
    }

    /// Gives a site an order now.
    pub fn order(&mut self, name: &str, order: Order) -> OrderId {
        let index = self.index(name);
        self.orders += 1;
        let id = OrderId(self.orders);
        self.hosts[index].open_orders.insert(id);
        if matches!(order, Order::Down(Target::All)) {
            self.hosts[index].dataplane.release_traps();
        }
        self.handle(index, Cause::Order(id, order));
        id
    }

    /// Orders a site to bring up its first connection.
    pub fn up(&mut self, name: &str) -> OrderId {
        self.up_child(name, 0, None)
    }

    /// Orders a site to bring up a connection, or one child of it.
    pub fn up_child(&mut self, name: &str, connection: u32, child: Option<&str>) -> OrderId {
        let host = self.host(name);
        let id = ConnectionId(connection);
        let remote = host.policy.connection(id).and_then(|c| c.remote_addrs.iter().find_map(first_address));
        let remote = remote.unwrap_or_else(|| self.fail("the connection has no address to initiate to"));
        let path = Path {
            local: SocketAddr::new(host.address, IKE),
            remote: SocketAddr::new(remote, IKE),
            marked: false,
        };
        self.order(name, Order::Up { connection: id, child: child.map(str::to_string), path })
    }

    /// Gives a site another configuration, with its secrets.
    pub fn reload(&mut self, name: &str, site: Site) -> OrderId {
        let policy = Arc::new(site.policy());
        self.reload_with(name, policy, site.make_keeper, &site.secrets)
    }

    /// Replaces the post-quantum pre-shared keys of a site with a PSK, by a reload.
    ///
    /// # Panics
    /// When an identity is none: it stands in a test's text.
    pub fn replace_ppks(&mut self, name: &str, ppks: PpkList, required: bool) -> OrderId {
        let mut policy = (*self.host(name).policy).clone();
        for connection in &mut policy.connections {
            Arc::make_mut(connection).extensions.ppk = ppks_named(ppks, required);
        }
        let secrets: Vec<Vec<u8>> = ppks.iter().map(|(_, secret)| secret.to_vec()).collect();
        self.reload_with(name, Arc::new(policy), keeper(PSK, ppks), &secrets)
    }

    fn reload_with(
        &mut self,
        name: &str,
        policy: Arc<Policy>,
        make_keeper: MakeKeeper,
        secrets: &[Vec<u8>],
    ) -> OrderId {
        secrets.iter().for_each(|secret| open(&self.ledger).secret(secret));
        let keeper = make_keeper(self.suite.clone(), policy.clone());
        let host = self.host_mut(name);
        (host.policy, host.keeper) = (policy.clone(), keeper);
        self.order(name, Order::Reload(policy))
    }

    /// Orders a site to close everything.
    pub fn down(&mut self, name: &str) -> OrderId {
        self.order(name, Order::Down(Target::All))
    }

    /// The answer to an order, if it has come.
    pub fn reply(&self, order: OrderId) -> Option<&Reply> {
        self.hosts.iter().find_map(|host| host.replies.get(&order)).map(|(_, reply)| reply)
    }

    /// A site's IKE SAs.
    pub fn status(&mut self, name: &str) -> Vec<IkeStatus> {
        let order = self.order(name, Order::Status);
        match self.reply(order) {
            Some(Reply::Status(list)) => list.clone(),
            other => self.fail(&format!("Order::Status is answered at once, and is: {other:?}")),
        }
    }

    /// The data plane of a site tells something by itself.
    pub fn dataplane_event(&mut self, name: &str, event: DataplaneEvent) {
        let index = self.index(name);
        self.handle(index, Cause::Dataplane(event));
    }

    /// Somebody sends a datagram, which arrives after `delay` whatever the weather.
    pub fn inject(&mut self, delay: Duration, datagram: Datagram) {
        self.travel(self.now.mono + delay, datagram);
    }

    /// The next thing happens; `false` when nothing is going to.
    pub fn step(&mut self) -> bool {
        let wakes = self.hosts.iter().enumerate().filter_map(|(i, host)| Some((host.wake()?, i)));
        let wake = wakes.min();
        let next = self.queue.first_key_value().map(|(&key, _)| key);
        if let Some(at) = self.traffic.next()
            && next.is_none_or(|(next, _)| at < next)
            && wake.is_none_or(|(wake, _)| at <= wake.max(self.now.mono))
        {
            self.now.mono = self.now.mono.max(at);
            self.move_traffic(at);
            return true;
        }
        match (next, wake) {
            (Some((at, sequence)), wake) if wake.is_none_or(|(wake, _)| at <= wake.max(self.now.mono)) => {
                self.now.mono = self.now.mono.max(at);
                if let Some(happening) = self.queue.remove(&(at, sequence)) {
                    self.happen(happening);
                }
                true
            }
            (_, Some((at, index))) => {
                self.now.mono = self.now.mono.max(at);
                self.handle(index, Cause::Time);
                true
            }
            (_, None) => false,
        }
    }

    /// Runs until `fits`.
    ///
    /// # Panics
    /// When that takes more than an hour of virtual time, or nothing more happens.
    pub fn until(&mut self, fits: impl Fn(&World) -> bool) -> &mut Self {
        let deadline = self.now.mono + limits::PATIENCE;
        for _ in 0..limits::STEPS {
            if fits(self) {
                return self;
            }
            if self.now.mono > deadline || !self.step() {
                break;
            }
        }
        self.fail("the moment that was waited for never came")
    }

    /// Runs for that long.
    pub fn run(&mut self, time: Duration) -> &mut Self {
        let end = self.now.mono + time;
        while self.next_moment().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now.mono = self.now.mono.max(end);
        self
    }

    /// When the next thing happens.
    fn next_moment(&self) -> Option<Instant> {
        let queued = self.queue.first_key_value().map(|(&(at, _), _)| at);
        let wakes = self.hosts.iter().filter_map(Host::wake);
        wakes.chain(queued).chain(self.traffic.next()).min()
    }

    /// Whether no datagram of IKE, no job and no operation is under way.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_empty()
    }

    fn happen(&mut self, happening: Happening) {
        if let Happening::JobDone(index, _) | Happening::OpDone(index, _) = happening
            && self.hosts[index].is_asleep(self.now.mono)
        {
            return self.push(self.hosts[index].asleep_until, happening);
        }
        match happening {
            Happening::Arrival(datagram) => self.arrive(datagram),
            Happening::JobDone(index, id) => {
                let host = &mut self.hosts[index];
                if let Some(job) = host.jobs.remove(&id) {
                    let decided = host.decided.remove(&id);
                    let answer = match (&job, decided) {
                        (_, Some(decided)) => decided,
                        (Job::Resolve { name, remote, .. }, None) => {
                            Answer::Resolved(host.resolve(self.now.mono, name, remote))
                        }
                        (Job::Route { remotes }, None) => Answer::Routes(host.routes(remotes)),
                        (job, None) => host.keeper.answer(job),
                    };
                    self.handle(index, Cause::Done(id, answer));
                }
            }
            Happening::OpDone(index, id) => {
                let host = &mut self.hosts[index];
                let outcome = host.dataplane.finish(self.now.mono, id, &mut host.rng);
                self.checks.sads_changed = true;
                match outcome {
                    Ok((outcome, dropped)) => {
                        self.drop_kept(dropped);
                        self.release_packets(index);
                        self.handle(index, Cause::Done(id, Answer::Dataplane(outcome)));
                    }
                    Err(why) => self.fail(&why),
                }
            }
        }
    }

    /// One cause goes into one endpoint, and its acts are done.
    pub(crate) fn handle(&mut self, index: usize, cause: Cause<'_>) {
        let host = &mut self.hosts[index];
        let is_time = matches!(cause, Cause::Time);
        self.trace.add(format_args!("{:?} {} ← {}", self.now.mono, host.name, brief(&cause)));
        if let Err(why) = Checks::pace(host, self.now.mono, is_time) {
            self.fail(&why);
        }
        let host = &mut self.hosts[index];
        host.core.handle(self.now, cause);
        let mut acts = Vec::new();
        while let Some(act) = host.core.poll() {
            acts.push(act);
            if acts.len() > limits::ACTS_PER_CAUSE {
                self.fail("one cause makes more acts than there can be");
            }
        }
        let (half_open, most) = (host.core.half_open(), host.max_half_open);
        if half_open > most {
            self.fail(&format!("{half_open} half-open IKE SAs, and {most} are allowed"));
        }
        for act in acts {
            self.act(index, act, is_time);
        }
        self.check();
    }

    fn act(&mut self, index: usize, act: Act, is_time: bool) {
        let host = &mut self.hosts[index];
        match act {
            Act::Transmit { path, bytes } => self.transmit(index, path, bytes, is_time),
            Act::Keepalive { path } => {
                self.stats.count("NAT keepalive");
                self.trace.add(format_args!("  {} → {path} keepalive", host.name));
                self.send(index, Datagram { from: path.local, to: path.remote, payload: vec![0xff] });
            }
            Act::Job(id, job) => {
                self.trace.add(format_args!("  {} job {id:?} {}", host.name, job.name()));
                let delay = host.rng.duration(&host.keeper_nature.delay);
                let forgotten = host.rng.chance(host.keeper_nature.forget);
                if !host.job_names.insert(id) {
                    self.fail(&format!("{id:?} is used twice"));
                }
                host.configure(id, &job);
                host.jobs.insert(id, job);
                if !forgotten {
                    self.push(self.now.mono + delay, Happening::JobDone(index, id));
                }
            }
            Act::Dataplane(id, op) => {
                let line = self.trace.add(format_args!("  {} {id:?} {op:?}", host.name));
                open(&self.ledger).check_text(&host.name, line);
                if !host.job_names.insert(id) {
                    self.fail(&format!("{id:?} is used twice"));
                }
                if let dataplane::Op::Install(spec) = &op {
                    open(&self.ledger).installed(index, spec);
                    if let Err(why) = Checks::allowed(host, spec) {
                        self.fail(&why);
                    }
                    if host.asks_for_more(spec) {
                        self.stats.count("child narrowed");
                    }
                }
                let host = &mut self.hosts[index];
                let done = host.dataplane.begin(self.now.mono, id, op, &mut host.rng);
                self.push(done, Happening::OpDone(index, id));
            }
            Act::Event(event) => {
                let line = self.trace.add(format_args!("  {} {event:?}", host.name));
                open(&self.ledger).check_text(&host.name, line);
                self.stats.event(&event);
                host.events.push((self.now.mono, *event));
            }
            Act::Reply(id, reply) => {
                if !matches!(*reply, Reply::Status(_)) {
                    let line = self.trace.add(format_args!("  {} {id:?} {reply:?}", host.name));
                    open(&self.ledger).check_text(&host.name, line);
                }
                if !host.open_orders.remove(&id) {
                    self.fail(&format!("{id:?} is answered twice, or was never given"));
                }
                host.replies.insert(id, (self.now.mono, *reply));
            }
        }
    }

    fn push(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    /// The invariants that concern the whole world.
    fn check(&mut self) {
        let violations = open(&self.ledger).violations();
        if let Some(first) = violations.first() {
            self.fail(first);
        }
        if self.checks.sads_changed || self.checks.mirror_broken {
            let pending = !self.queue.is_empty() || self.hosts.iter().any(Checks::may_act);
            if let Err(why) = self.checks.mirrors(&self.hosts, pending) {
                self.fail(&why);
            }
        }
    }

    /// Whether what both ends have installed mirrors each other, with nothing missing at either end.
    pub fn is_mirrored(&self) -> bool {
        Checks::default().mirrors(&self.hosts, false).is_ok()
    }

    /// Ends the world: something is wrong.
    ///
    /// # Panics
    /// Always.
    pub fn fail(&self, why: &str) -> ! {
        panic!("seed {} at {:?}: {why}", self.seed, self.now.mono)
    }
}

fn first_address(pattern: &AddressPattern) -> Option<std::net::IpAddr> {
    match pattern {
        AddressPattern::Range(range) => Some(range.start()),
        AddressPattern::Any | AddressPattern::Name(_) => None,
    }
}

fn brief(cause: &Cause<'_>) -> String {
    match cause {
        Cause::Datagram { path, bytes } => {
            format!("{path} {} octets {:016x}", bytes.len(), crate::ledger::fnv(0, bytes))
        }
        Cause::Time => "time".to_string(),
        Cause::Done(id, answer) => format!("{id:?} {answer:?}"),
        Cause::Addresses(addresses) => format!("{addresses:?}"),
        Cause::Dataplane(event) => format!("{event:?}"),
        Cause::Order(id, order) => match order {
            Order::Reload(_) => format!("{id:?} Reload"),
            order => format!("{id:?} {order:?}"),
        },
    }
}

/// Whether every site has an established IKE SA, and the same children as its peer (at least one).
pub fn established(world: &World) -> bool {
    world.hosts.iter().all(|host| host.events.iter().any(|(_, e)| matches!(e, Event::IkeUp(_))))
        && world.hosts.iter().all(|host| host.dataplane.sad().next().is_some())
        && world.is_quiet()
        && world.is_mirrored()
}

/// Whether every order has been answered and nothing is under way.
pub fn answered(world: &World) -> bool {
    world.hosts.iter().all(|host| host.open_orders.is_empty()) && world.is_quiet()
}
