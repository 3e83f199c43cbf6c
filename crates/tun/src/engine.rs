//! The engine: owns the device and the threads; operations come in, inputs go out.

use crate::control::{Control, State, Stats};
use crate::device::Device;
use crate::error::{Error, refused};
use crate::inward::Inward;
use crate::lane::Lane;
use crate::limits::{DEVICE_MTU, PATH_MTU_INTERVAL_MS};
use crate::mailbox::{self, Mailbox, Tasks};
use crate::netlink::Netlink;
use crate::outward::Outward;
use crate::routes::{Place, Routes};
use crate::sys::{self, Poller};
use crate::watch::OwnDevices;
use base::Rng;
use crypto::Suite;
use dataplane::{DataplaneEvent, Interface, Op, Outcome};
use net::{Sockets, UdpDatagram};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How the engine is set up.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The device's name; `%d` becomes a free number.
    pub device: String,
    /// What an inner packet of a tunnel may have at most, in octets, 1280 to 9000. Paths that carry less
    /// lower it child by child.
    pub mtu: u32,
    /// Whether the kernel may hand over and take trains of segments (an order of magnitude faster).
    pub offload: bool,
    /// What becomes of packets that a route led into the device but no child's selectors mean, such as other
    /// protocols towards a peer where only one is protected: they go on by the ordinary routes, as if there were no
    /// tunnel, or are dropped.
    pub pass_unprotected: bool,
    /// The routing table that the engine's routes stand in; nobody else should use it.
    pub table: u32,
    /// The priority of the rules that lead to that table; below 32766 (the main table's).
    pub rule_priority: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            device: "hf%d".to_string(),
            mtu: 1400,
            offload: true,
            pass_unprotected: true,
            table: 4500,
            rule_priority: 4500,
        }
    }
}

/// What the engine tells by itself. It is told from the engine's own threads: take it and return at once.
#[derive(Debug)]
pub enum Input<'a> {
    /// An IKE message arrived.
    Ike(UdpDatagram<'a>),
    /// The data plane has something to say.
    Event(DataplaneEvent),
    /// Something that people should know; all goes on.
    Note(String),
    /// The engine has ended by itself and carries nothing any more; the reason for people.
    Fault(String),
}

/// Takes what the engine tells.
pub type Sink = Arc<dyn Fn(Input<'_>) + Send + Sync>;

/// A running data plane. Dropping it stops the threads and removes the device, the routes and the rules.
pub struct Engine {
    control: Arc<Control>,
    stop: Arc<AtomicBool>,
    /// Dropped to end the thread that looks path MTUs up.
    watch: Option<SyncSender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Makes the device and starts the threads, in the network namespace of the calling thread. `rng` gives the
    /// IVs that must not be predictable, one source for each device; `suite` gives the ciphers. The sockets are shared:
    /// [`Sockets::send_ike`] can be used by anyone, but from now on only the engine receives.
    pub fn start(
        config: EngineConfig,
        sockets: Arc<Sockets>,
        suite: Arc<dyn Suite>,
        rng: fn() -> Box<dyn Rng>,
        sink: Sink,
    ) -> Result<Self, Error> {
        check(&config, &sockets)?;
        let device = Arc::new(Device::create(&config.device, DEVICE_MTU, config.offload)?);
        let place = Place {
            device: device.index(),
            table: config.table,
            priority: config.rule_priority,
            mark: sockets.mark(),
        };
        let netlink = Netlink::open().map_err(refused("open a netlink socket"))?;
        let routes = Routes::new(netlink, place);
        let ((outward, out_tasks), (inward, in_tasks)) = (mailbox()?, mailbox()?);
        let main = Lane::main(device.clone(), rng(), config.pass_unprotected);
        let poller = Poller::new().map_err(refused("make an epoll descriptor"))?;
        let out = Outward::new(poller, main, sockets.clone(), sink.clone());
        let into = Inward::new(device.clone(), sockets.clone(), sink.clone(), config.offload);
        let control = Arc::new(Control {
            own: OwnDevices::of(&device),
            device,
            sockets,
            suite,
            outward,
            inward,
            sink: sink.clone(),
            rng,
            mtu: config.mtu,
            offload: config.offload,
            state: Mutex::new(State::new(routes)),
        });
        let (watch, ended) = mpsc::sync_channel(0);
        let mut engine = Self { control, stop: Arc::default(), watch: Some(watch), threads: Vec::new() };
        // Where one of them cannot be started, dropping the engine ends the others.
        engine.spawn("esp-out", &sink, move |stop| out.run(&out_tasks, stop))?;
        engine.spawn("esp-in", &sink, move |stop| into.run(&in_tasks, stop))?;
        let control = engine.control.clone();
        engine.spawn("esp-mtu", &sink, move |_| look_after(&control, &ended))?;
        Ok(engine)
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        self.control.device()
    }

    /// These interfaces are to be there from now on, whether children use them or not; others only as long as one does. What
    /// cannot be made is told ([`Input::Note`]) and tried again.
    pub fn set_interfaces(&self, wanted: &BTreeSet<Interface>) {
        self.control.set_interfaces(wanted);
    }

    /// All devices of this engine, for [`crate::Watch`].
    pub fn own_devices(&self) -> OwnDevices {
        self.control.own.clone()
    }

    /// Does one operation, whole or not at all. Answers when the threads have taken it over. Keys are zeroed before
    /// it returns.
    pub fn submit(&self, op: Op) -> Outcome {
        self.control.submit(op)
    }

    /// What was counted that belongs to no child SA.
    pub fn stats(&self) -> Stats {
        self.control.stats()
    }

    /// Sends an IKE message; see [`Sockets::send_ike`].
    pub fn send_ike(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        marked: bool,
        bytes: &[u8],
    ) -> Result<(), net::Error> {
        self.control.sockets().send_ike(local, remote, marked, bytes)
    }

    fn spawn(
        &mut self,
        name: &'static str,
        sink: &Sink,
        work: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> Result<(), Error> {
        let (stop, sink) = (self.stop.clone(), sink.clone());
        let thread = thread::Builder::new()
            .name(name.to_string())
            .spawn(move || tell_panic(name, &sink, || work(&stop)));
        self.threads.push(thread.map_err(refused(format!("start the thread {name}")))?);
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.control.wake();
        self.watch = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has told so already.
            let _ = thread.join();
        }
    }
}

/// A thread that panics must not leave a data plane behind that only looks alive.
fn tell_panic(name: &str, sink: &Sink, work: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
        sink(Input::Fault(format!("The thread {name} broke off by a bug; the log says where.")));
    }
}

fn check(config: &EngineConfig, sockets: &Sockets) -> Result<(), Error> {
    if !(1280..=9000).contains(&config.mtu) {
        return Err(Error::Setting(format!("An MTU of {} is not in 1280 to 9000.", config.mtu)));
    }
    if sockets.mark().count_ones() > 1 {
        return Err(Error::Setting(format!(
            "The mark of our own packets must be one bit, not {:#x}: routing rules tell them from tunnelled ones by it.",
            sockets.mark()
        )));
    }
    Ok(())
}

fn mailbox<T>() -> Result<(Mailbox<T>, Tasks<T>), Error> {
    Ok(mailbox::pair(sys::event_fd().map_err(refused("make an eventfd"))?))
}

/// Looks path MTUs up, and mends interfaces, until the engine drops its end of `ended`.
fn look_after(control: &Control, ended: &Receiver<()>) {
    let interval = Duration::from_millis(PATH_MTU_INTERVAL_MS);
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
        control.refresh_path_mtu();
        control.mend_interfaces();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_thread_that_panics_is_a_fault_of_the_engine() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let told_to = told.clone();
        let sink: Sink = Arc::new(move |input: Input<'_>| told_to.lock().unwrap().push(format!("{input:?}")));
        tell_panic("esp-in", &sink, || {});
        assert_eq!(*told.lock().unwrap(), [""; 0]);
        tell_panic("esp-in", &sink, || panic!("on purpose, to be told"));
        let told = told.lock().unwrap();
        assert!(
            matches!(told.as_slice(), [one] if one.contains("Fault") && one.contains("esp-in")),
            "{told:?}"
        );
    }
}
