//! The engine: owns the device and the threads; operations come in, inputs go out.

use crate::device::Device;
use crate::error::{Error, refused};
use crate::inward::Inward;
use crate::mailbox::{self, Mailbox, Tasks};
use crate::netlink::Netlink;
use crate::outward::Outward;
use crate::routes::{Place, Routes};
use crate::sys;
use base::Rng;
use crypto::Suite;
use dataplane::{ChildId, ChildSpec, Counters, DataplaneEvent, Op, Outcome};
use esp::Outbound;
use net::{Sockets, UdpDatagram};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// How the engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The device's name; `%d` becomes a free number.
    pub device: String,
    /// The device's MTU in octets, 1280 to 9000: what an inner packet may have at most. Paths that carry less
    /// lower it child by child.
    pub mtu: u32,
    /// Whether the kernel may hand over and take trains of segments (an order of magnitude faster).
    pub offload: bool,
    /// The routing table that the engine's routes stand in; nobody else should use it.
    pub table: u32,
    /// The priority of the rules that lead to that table; below 32766 (the main table's).
    pub rule_priority: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { device: "hf%d".to_string(), mtu: 1400, offload: true, table: 4500, rule_priority: 4500 }
    }
}

/// What the engine tells by itself. It is told from the engine's own threads: take it and return at once.
#[derive(Debug)]
pub enum Input<'a> {
    /// An IKE message arrived.
    Ike(UdpDatagram<'a>),
    /// The data plane has something to say.
    Event(DataplaneEvent),
    /// Packets can no longer be carried; the reason for people.
    Fault(String),
}

/// Takes what the engine tells.
pub type Sink = Arc<dyn Fn(Input<'_>) + Send + Sync>;

/// A running data plane. Dropping it stops the threads and removes the device, the routes and the rules.
pub struct Engine {
    device: Arc<Device>,
    sockets: Arc<Sockets>,
    suite: Arc<dyn Suite>,
    stop: Arc<AtomicBool>,
    outward: Mailbox<Outward>,
    inward: Mailbox<Inward>,
    threads: Vec<JoinHandle<()>>,
    /// Taken for the whole of an operation, so that operations do not mix.
    control: Mutex<Control>,
}

struct Control {
    routes: Routes,
}

impl Engine {
    /// Makes the device and starts the threads, in the network namespace of the calling thread. `rng` gives the
    /// IVs that must not be predictable; `suite` gives the ciphers. The sockets are shared:
    /// [`Sockets::send_ike`] can be used by anyone, but from now on only the engine receives.
    pub fn start(
        config: EngineConfig,
        sockets: Arc<Sockets>,
        suite: Arc<dyn Suite>,
        rng: Box<dyn Rng>,
        sink: Sink,
    ) -> Result<Self, Error> {
        if !(1280..=9000).contains(&config.mtu) {
            return Err(Error::Setting(format!("An MTU of {} is not in 1280 to 9000.", config.mtu)));
        }
        let device = Arc::new(Device::create(&config.device, config.mtu, config.offload)?);
        let place = Place {
            device: device.index(),
            table: config.table,
            priority: config.rule_priority,
            mark: sockets.mark(),
        };
        let netlink = Netlink::open().map_err(refused("open a netlink socket"))?;
        let control = Mutex::new(Control { routes: Routes::new(netlink, place) });
        let stop = Arc::new(AtomicBool::new(false));
        let (outward, tasks) = mailbox()?;
        let worker = Outward::new(Outbound::new(rng), device.clone(), sockets.clone(), sink.clone());
        let out = spawn("esp-out", &stop, move |stop| worker.run(&tasks, stop))?;
        let (inward, tasks) = mailbox()?;
        let worker = Inward::new(device.clone(), sockets.clone(), sink, config.offload);
        let threads = match spawn("esp-in", &stop, move |stop| worker.run(&tasks, stop)) {
            Ok(thread) => vec![out, thread],
            Err(error) => {
                stop.store(true, Ordering::Release);
                outward.wake();
                let _ = out.join();
                return Err(error);
            }
        };
        Ok(Self { device, sockets, suite, stop, outward, inward, threads, control })
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        self.device.name()
    }

    /// Does one operation, whole or not at all. Answers when the threads have taken it over. Keys are zeroed before
    /// it returns.
    pub fn submit(&self, op: Op) -> Outcome {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match op {
            Op::Install(spec) => self.install(&mut control, *spec),
            Op::Remove(id) => self.remove(&mut control, id),
            Op::Query(id) => self.query(id),
            Op::Move { id, local, remote, udp_encap } => self.move_to(id, local, remote, udp_encap),
        };
        result.unwrap_or_else(Outcome::Failed)
    }

    fn install(&self, control: &mut Control, spec: ChildSpec) -> Result<Outcome, String> {
        let (mut inbound, mut outbound) = esp::build(&spec, &*self.suite)?;
        let id = spec.id;
        if !spec.udp_encap && !self.sockets.has_raw_esp(spec.remote.ip()) {
            return Err(format!(
                "{} cannot be installed: ESP without UDP needs a raw socket, which is not open. Set encap = true, or \
                 give the program CAP_NET_RAW.",
                spec.name
            ));
        }
        if let Ok(mtu) = self.sockets.path_mtu(spec.remote.ip()) {
            outbound.set_path_mtu(mtu as usize);
            inbound.max_inner = outbound.max_inner;
        }
        let (spi, name) = (inbound.sa.spi(), &spec.name);
        match self.inward.call(move |inward| inward.table.install(inbound)) {
            Some(true) => {}
            Some(false) => {
                return Err(format!("{name} cannot be installed: another child receives with SPI {spi}."));
            }
            None => return Err(STOPPED.to_string()),
        }
        let (ours, theirs) = (spec.local_ts.clone(), spec.remote_ts.clone());
        let installed = self.outward.call(move |outward| outward.table.install(outbound, &ours, &theirs));
        let routed = match installed {
            Some(()) => control.routes.add(id, &spec.local_ts, &spec.remote_ts).map_err(|error| {
                format!(
                    "{name} cannot be installed: its routes through {} failed: {error}.",
                    self.device.name()
                )
            }),
            None => Err(STOPPED.to_string()),
        };
        if let Err(why) = routed {
            self.outward.call(move |outward| outward.table.remove(id));
            self.inward.call(move |inward| inward.table.remove(id));
            return Err(why);
        }
        Ok(Outcome::Done)
    }

    fn remove(&self, control: &mut Control, id: ChildId) -> Result<Outcome, String> {
        let counters = self.query(id)?;
        control.routes.remove(id);
        self.outward.call(move |outward| outward.table.remove(id).is_some());
        self.inward.call(move |inward| inward.table.remove(id).is_some());
        Ok(counters)
    }

    fn query(&self, id: ChildId) -> Result<Outcome, String> {
        let sent = self.outward.call(move |outward| outward.table.get_mut(id).map(|child| child.counters));
        let received = self.inward.call(move |inward| {
            let now = inward.now();
            let child = inward.table.get_mut(id)?;
            Some(Counters { idle_in: child.last_in.map(|then| now.since(then)), ..child.counters })
        });
        let (sent, received) = sent.zip(received).ok_or(STOPPED)?;
        let (sent, received) = sent.zip(received).ok_or_else(|| format!("There is no child SA {}.", id.0))?;
        let counters = Counters {
            packets_out: sent.packets_out,
            bytes_out: sent.bytes_out,
            not_sent: sent.not_sent,
            ..received
        };
        Ok(Outcome::Counters(counters))
    }

    fn move_to(
        &self,
        id: ChildId,
        local: SocketAddr,
        remote: SocketAddr,
        udp_encap: bool,
    ) -> Result<Outcome, String> {
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(format!(
                "The outer addresses {} and {} are of two families.",
                local.ip(),
                remote.ip()
            ));
        }
        if !udp_encap && !self.sockets.has_raw_esp(remote.ip()) {
            return Err("ESP without UDP needs a raw socket, which is not open.".to_string());
        }
        let mtu = self.sockets.path_mtu(remote.ip()).unwrap_or(1500) as usize;
        let max_inner = self.outward.call(move |outward| {
            let child = outward.table.get_mut(id)?;
            (child.local, child.remote, child.udp_encap) = (local, remote, udp_encap);
            child.set_path_mtu(mtu);
            Some(child.max_inner)
        });
        let max_inner = max_inner.ok_or(STOPPED)?.ok_or_else(|| format!("There is no child SA {}.", id.0))?;
        self.inward.call(move |inward| {
            if let Some(child) = inward.table.get_mut(id) {
                child.move_to(local, remote, udp_encap);
                child.max_inner = max_inner;
            }
        });
        Ok(Outcome::Done)
    }

    /// Sends an IKE message; see [`Sockets::send_ike`].
    pub fn send_ike(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        marked: bool,
        bytes: &[u8],
    ) -> Result<(), net::Error> {
        self.sockets.send_ike(local, remote, marked, bytes)
    }
}

const STOPPED: &str = "The data plane has stopped.";

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.outward.wake();
        self.inward.wake();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn mailbox<T>() -> Result<(Mailbox<T>, Tasks<T>), Error> {
    Ok(mailbox::pair(sys::event_fd().map_err(refused("make an eventfd"))?))
}

fn spawn(
    name: &str,
    stop: &Arc<AtomicBool>,
    work: impl FnOnce(&AtomicBool) + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let stop = stop.clone();
    let thread = thread::Builder::new().name(name.to_string()).spawn(move || work(&stop));
    thread.map_err(refused(format!("start the thread {name}")))
}
