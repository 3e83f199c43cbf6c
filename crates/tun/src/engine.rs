//! The engine: owns the device and the threads; operations come in, inputs go out.

use crate::device::Device;
use crate::error::{Error, refused};
use crate::sys;
use base::Rng;
use crypto::Suite;
use dataplane::{DataplaneEvent, Op, Outcome};
use net::{Batch, Packet, Sockets, UdpDatagram, wait_readable};
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    stop: Arc<AtomicBool>,
    wakers: Vec<Arc<File>>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Makes the device and starts the threads. `rng` gives the IVs that must not be predictable;
    /// `suite` gives the ciphers. The sockets are shared: [`Sockets::send_ike`] can be used by anyone, but from now
    /// on only the engine receives.
    pub fn start(
        config: EngineConfig,
        sockets: Arc<Sockets>,
        suite: Arc<dyn Suite>,
        rng: Box<dyn Rng>,
        sink: Sink,
    ) -> Result<Self, Error> {
        let _ = (suite, rng);
        if !(1280..=9000).contains(&config.mtu) {
            return Err(Error::Setting(format!("An MTU of {} is not in 1280 to 9000.", config.mtu)));
        }
        let device = Arc::new(Device::create(&config.device, config.mtu, config.offload)?);
        let stop = Arc::new(AtomicBool::new(false));
        let waker = Arc::new(sys::event_fd().map_err(refused("make an eventfd"))?);
        let inbound = {
            let (sockets, stop, waker) = (sockets.clone(), stop.clone(), waker.clone());
            thread::Builder::new()
                .name("esp-in".to_string())
                .spawn(move || receive(&sockets, &stop, &waker, &sink))
                .map_err(refused("start a thread"))?
        };
        Ok(Self { device, sockets, stop, wakers: vec![waker], threads: vec![inbound] })
    }

    /// The device's name.
    pub fn device(&self) -> &str {
        self.device.name()
    }

    /// Does one operation, whole or not at all. Answers when the threads have taken it over.
    pub fn submit(&self, op: Op) -> Outcome {
        match op {
            Op::Install(spec) => Outcome::Failed(format!("{}: this engine carries no packets.", spec.name)),
            Op::Remove(_) | Op::Query(_) | Op::Move { .. } => {
                Outcome::Failed("There is no such child SA.".to_string())
            }
        }
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

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for waker in &self.wakers {
            let _ = (&**waker).write(&1u64.to_ne_bytes());
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The thread from the network: IKE messages go to the sink.
fn receive(sockets: &Sockets, stop: &AtomicBool, waker: &File, sink: &Sink) {
    let mut batch = Batch::new();
    let mut descriptors: Vec<BorrowedFd<'_>> = sockets.descriptors().collect();
    let count = descriptors.len();
    descriptors.push(waker.as_fd());
    while !stop.load(Ordering::Acquire) {
        let ready = match wait_readable(&descriptors, None) {
            Ok(ready) => ready,
            Err(error) => return sink(Input::Fault(format!("Waiting for packets failed: {error}."))),
        };
        if ready >> count & 1 == 1 {
            let mut woken = waker;
            let _ = woken.read(&mut [0; 8]);
        }
        for index in (0..count).filter(|index| ready >> index & 1 == 1) {
            let received = sockets.receive(index, 64, &mut batch, |packet| {
                if let Packet::Ike(datagram) = packet {
                    sink(Input::Ike(datagram));
                }
            });
            if let Err(error) = received {
                return sink(Input::Fault(format!("Receiving failed: {error}.")));
            }
        }
    }
}
