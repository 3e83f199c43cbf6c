//! The thread from the devices to the network.

use crate::device::Device;
use crate::engine::{Input, Sink};
use crate::lane::{Lane, Shared, split_virtio};
use crate::limits::{MAX_ICMP_ERRORS, MAX_READ, MAX_READS};
use crate::mailbox::Tasks;
use crate::sys::Poller;
use base::Rng;
use net::Sockets;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The engine's own device among the lanes.
pub(crate) const MAIN: usize = 0;

/// The number of the thread's tasks among what is waited for; a lane's is its own.
const TASKS: u64 = u64::MAX;

/// What the thread owns.
pub(crate) struct Outward {
    lanes: Vec<Option<Lane>>,
    /// What lanes that are closed did not match.
    unmatched: u64,
    poller: Poller,
    shared: Shared,
}

impl Outward {
    pub(crate) fn new(poller: Poller, main: Lane, sockets: Arc<Sockets>, sink: Sink) -> Self {
        Self { lanes: vec![Some(main)], unmatched: 0, poller, shared: Shared::new(sockets, sink) }
    }

    /// Does something with a lane, if it is there.
    pub(crate) fn with<R>(&mut self, at: usize, work: impl FnOnce(&mut Lane, &mut Shared) -> R) -> Option<R> {
        let lane = self.lanes.get_mut(at)?.as_mut()?;
        Some(work(lane, &mut self.shared))
    }

    /// Makes room for an interface, without children.
    pub(crate) fn open(&mut self, at: usize, rng: Box<dyn Rng>) {
        if self.lanes.len() <= at {
            self.lanes.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.lanes.get_mut(at) {
            *slot = Some(Lane::interface(rng));
        }
    }

    /// An interface has this device from now on.
    pub(crate) fn set_device(&mut self, at: usize, device: Arc<Device>) -> io::Result<()> {
        let Some(Some(lane)) = self.lanes.get_mut(at) else { return Ok(()) };
        self.poller.add(&*device, at as u64)?;
        lane.device = Some(device);
        Ok(())
    }

    /// An interface has no device until it is given another one.
    pub(crate) fn drop_device(&mut self, at: usize) {
        let Some(Some(lane)) = self.lanes.get_mut(at) else { return };
        if let Some(device) = lane.device.take() {
            // It is closed with its last user in any case.
            let _ = self.poller.remove(&*device);
        }
    }

    /// Closes an interface; it has no children.
    pub(crate) fn close(&mut self, at: usize) {
        self.drop_device(at);
        let gone = self.lanes.get_mut(at).and_then(Option::take);
        self.unmatched += gone.map_or(0, |lane| lane.unmatched);
    }

    /// Packets that nothing was meant for, of all devices.
    pub(crate) fn unmatched(&self) -> u64 {
        self.unmatched + self.lanes.iter().flatten().map(|lane| lane.unmatched).sum::<u64>()
    }

    /// Carries packets until `stop` is set.
    pub(crate) fn run(mut self, tasks: &Tasks<Self>, stop: &AtomicBool) {
        let main = self.lanes.iter().flatten().find_map(|lane| lane.device.clone());
        let begun = self.poller.add(tasks.descriptor(), TASKS);
        let begun = begun.and_then(|()| main.map_or(Ok(()), |device| self.poller.add(&*device, MAIN as u64)));
        let mut buffer = vec![0; MAX_READ];
        let mut result = begun.map_err(|error| format!("Packets cannot be waited for: {error}."));
        while result.is_ok() && !stop.load(Ordering::Acquire) {
            result = self.turn(tasks, &mut buffer);
        }
        if let Err(reason) = result {
            (self.shared.sink)(Input::Fault(reason));
        }
    }

    /// Waits, and does what there is to do.
    fn turn(&mut self, tasks: &Tasks<Self>, buffer: &mut [u8]) -> Result<(), String> {
        let ready = self.poller.wait().map_err(|error| format!("Waiting for packets failed: {error}."))?;
        for number in ready {
            match number {
                TASKS => tasks.run(self),
                at => self.serve(at as usize, buffer)?,
            }
        }
        Ok(())
    }

    /// Takes packets from a device. An interface that somebody has removed is left to be made anew; without its own device the
    /// engine is none.
    fn serve(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), String> {
        let Some(Some(lane)) = self.lanes.get_mut(at) else { return Ok(()) };
        let Some(device) = lane.device.clone() else { return Ok(()) };
        let mut failure = None;
        for _ in 0..MAX_READS {
            match device.read(buffer) {
                Ok(Some(len)) => {
                    if let Some((header, packet)) = buffer.get_mut(..len).and_then(split_virtio) {
                        lane.carry(&mut self.shared, header, packet);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        lane.flush(&mut self.shared);
        match failure {
            Some(error) if at == MAIN => {
                Err(format!("Reading from the device {} failed: {error}.", device.name()))
            }
            Some(_) => {
                lane.device = None;
                device.set_gone();
                let _ = self.poller.remove(&*device);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// How many ICMP errors may be sent now.
pub(crate) struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Self { left: MAX_ICMP_ERRORS.into(), at: now }
    }

    /// Whether one more may be sent.
    //= rfc4443 §2.4
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let most = f64::from(MAX_ICMP_ERRORS);
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * most;
        self.left = (self.left + grown).min(most);
        self.at = now;
        let some = self.left >= 1.0;
        if some {
            self.left -= 1.0;
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    //= rfc4443 §2.4
    #[test]
    fn errors_are_sent_at_a_bounded_rate() {
        let start = Instant::now();
        let mut icmp = Allowance::new(start);
        let sent = |icmp: &mut Allowance, now| (0..10_000).filter(|_| icmp.take(now)).count();
        assert_eq!(sent(&mut icmp, start), MAX_ICMP_ERRORS as usize);
        assert_eq!(sent(&mut icmp, start + Duration::from_millis(105)), MAX_ICMP_ERRORS as usize / 10);
        assert_eq!(sent(&mut icmp, start), 0, "a clock that stands still gives nothing");
        assert_eq!(sent(&mut icmp, start + Duration::from_secs(3600)), MAX_ICMP_ERRORS as usize);
    }
}
