//! The thread from the network to the devices.

use crate::device::Device;
use crate::early::{Early, Waiting};
use crate::engine::{Input, Sink};
use crate::limits::{MAX_RECEIVES, UNKNOWN_SPI_INTERVAL};
use crate::mailbox::Tasks;
use crate::merge::Merger;
use base::{EspSpi, Instant};
use dataplane::DataplaneEvent;
use esp::{Arrival, Inbound, Refused};
use net::{Batch, EspPacket, Packet, Sockets, wait_readable};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the thread owns.
pub(crate) struct Inward {
    pub(crate) table: Inbound,
    /// Packets that the device did not take.
    pub(crate) lost: u64,
    /// When the engine's clock began.
    pub(crate) origin: std::time::Instant,
    /// By their lanes; `None` for one that is gone.
    devices: Arc<Vec<Option<Arc<Device>>>>,
    sockets: Arc<Sockets>,
    sink: Sink,
    merge: bool,
    /// When a packet with an unknown SPI was told last.
    told_unknown: Option<Instant>,
    early: Early,
}

impl Inward {
    pub(crate) fn new(device: Arc<Device>, sockets: Arc<Sockets>, sink: Sink, merge: bool) -> Self {
        let origin = std::time::Instant::now();
        let devices = Arc::new(vec![Some(device)]);
        let (told_unknown, early) = (None, Early::default());
        Self { table: Inbound::new(), lost: 0, origin, devices, sockets, sink, merge, told_unknown, early }
    }

    /// What leaves a tunnel by this lane comes out of this device from now on, or of none.
    pub(crate) fn set_device(&mut self, at: usize, device: Option<Arc<Device>>) {
        let mut devices = (*self.devices).clone();
        if devices.len() <= at {
            devices.resize(at + 1, None);
        }
        if let Some(slot) = devices.get_mut(at) {
            *slot = device;
        }
        self.devices = Arc::new(devices);
    }

    /// The time on the engine's clock.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Carries packets until `stop` is set.
    pub(crate) fn run(mut self, tasks: &Tasks<Self>, stop: &AtomicBool) {
        let mut batch = Batch::new();
        let sockets = self.sockets.clone();
        let mut descriptors: Vec<BorrowedFd<'_>> = sockets.descriptors().collect();
        let count = descriptors.len();
        descriptors.push(tasks.descriptor());
        while !stop.load(Ordering::Acquire) {
            let ready = match wait_readable(&descriptors, None) {
                Ok(ready) => ready,
                Err(error) => {
                    return (self.sink)(Input::Fault(format!("Waiting for packets failed: {error}.")));
                }
            };
            if ready >> count & 1 == 1 {
                tasks.run(&mut self);
            }
            for index in (0..count).filter(|index| ready >> index & 1 == 1) {
                if let Err(error) = self.receive(index, &mut batch) {
                    return (self.sink)(Input::Fault(format!("Receiving packets failed: {error}.")));
                }
            }
        }
    }

    fn receive(&mut self, index: usize, batch: &mut Batch) -> std::io::Result<()> {
        let now = self.now();
        let devices = self.devices.clone();
        let sockets = self.sockets.clone();
        let mut merger = Merger::new(self.merge);
        sockets.receive(index, MAX_RECEIVES, batch, |packet| match packet {
            Packet::Ike(datagram) => (self.sink)(Input::Ike(datagram)),
            Packet::Esp(packet) => self.take(packet, now, &devices, &mut merger),
            Packet::Noise(_) => {}
        })?;
        merger.flush();
        self.lost += merger.lost;
        Ok(())
    }

    /// A packet whose SPI nobody has: perhaps its child is about to stand.
    fn on_unknown(&mut self, now: Instant, local: SocketAddr, arrival: &Arrival<'_>) {
        let Some(spi) = arrival.bytes.first_chunk::<4>() else { return };
        let spi = EspSpi(u32::from_be_bytes(*spi));
        let Arrival { remote, udp, tos, .. } = *arrival;
        self.early.keep(Waiting::new((spi, now), (local, remote), (udp, tos), arrival.bytes));
        if self.told_unknown.is_none_or(|at| now.since(at) >= UNKNOWN_SPI_INTERVAL) {
            self.told_unknown = Some(now);
            (self.sink)(Input::Event(DataplaneEvent::UnknownSpi { spi, remote }));
        }
    }

    /// A child stands that receives with this SPI: what came for it before is for it.
    //= rfc7296 §2.8
    //# the responder MAY begin sending on an SA as soon as it sends its response to the CREATE_CHILD_SA request. In some
    //# situations, however, this could result in packets unnecessarily being dropped
    pub(crate) fn take_early(&mut self, spi: EspSpi) {
        let now = self.now();
        let mut early = self.early.take(spi, now);
        let devices = self.devices.clone();
        let mut merger = Merger::new(self.merge);
        for Waiting { local, remote, udp, tos, bytes, .. } in &mut early {
            let packet = EspPacket { local: *local, remote: *remote, udp: *udp, tos: *tos, bytes };
            self.take(packet, now, &devices, &mut merger);
        }
        merger.flush();
        self.lost += merger.lost;
    }

    fn take<'d, 'b>(
        &mut self,
        packet: EspPacket<'b>,
        now: Instant,
        devices: &'d [Option<Arc<Device>>],
        merger: &mut Merger<'d, 'b, Device>,
    ) {
        let EspPacket { local, remote, udp, tos, bytes } = packet;
        let mut arrival = Arrival { remote, local: local.ip(), udp, tos, bytes };
        // What was refused is counted by the table.
        let accepted = match self.table.receive(&mut arrival, now) {
            Ok(accepted) => accepted,
            Err(Refused::UnknownSpi) => return self.on_unknown(now, local, &arrival),
            Err(_) => return,
        };
        if let Some(remote) = accepted.mapping {
            (self.sink)(Input::Event(DataplaneEvent::Mapping { id: accepted.id, remote }));
        }
        if accepted.first {
            (self.sink)(Input::Event(DataplaneEvent::FirstPacket(accepted.id)));
        }
        if let Some(hard) = accepted.expired {
            (self.sink)(Input::Event(DataplaneEvent::Expired { id: accepted.id, hard }));
        }
        let Some(delivered) = accepted.delivered else { return };
        let Some(Some(device)) = devices.get(accepted.exit) else {
            self.lost += 1;
            return;
        };
        let bytes: &'b [u8] = arrival.bytes;
        if let Some(body) = bytes.get(delivered.body.clone()) {
            merger.push(device, &delivered, body);
        }
    }
}
