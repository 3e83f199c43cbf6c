//! Listens to a cable and looks for the marker in everything that crosses it.

use crate::demo::space::Space;
use crate::demo::sys;
use memchr::memmem::Finder;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What crossed a cable.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Tally {
    /// Frames with IKE messages.
    pub(crate) ike: u64,
    /// Frames with ESP, raw or in UDP. A frame of an offloaded interface may hold many packets.
    pub(crate) esp: u64,
    /// All other frames (ARP, and on the inside the hosts' own traffic).
    pub(crate) other: u64,
    /// Octets of all of them.
    pub(crate) octets: u64,
    /// Frames in which the marker stood in the clear.
    pub(crate) with_plaintext: u64,
    /// Frames that the capture lost because it was too slow; they were not searched.
    pub(crate) lost: u64,
}

/// A capture that runs until it is stopped.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally, String>>,
}

/// The largest frame: a segmentation offload's 64 KiB with its headers.
const LARGEST: usize = 70_000;

/// After this long without a frame a stopped capture has seen everything.
const QUIET: Duration = Duration::from_millis(20);

impl Capture {
    /// Listens on `interface` of `space` from now on.
    pub(crate) fn start(space: &Space, interface: &'static str, marker: &[u8]) -> Result<Self, String> {
        let socket = space.run(|| sys::packet_socket(sys::interface_index(interface)?))?;
        let finder = Finder::new(marker).into_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name(format!("capture-{interface}"))
            .spawn(move || listen(File::from(socket), &finder, &stopped))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self { stop, thread })
    }

    /// Takes what is still on its way, and ends.
    pub(crate) fn stop(self) -> Result<Tally, String> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|_| Err("the capture broke off".to_string()))
    }
}

fn listen(mut socket: File, finder: &Finder<'_>, stop: &AtomicBool) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let mut frame = vec![0; LARGEST];
    loop {
        if !sys::is_readable(socket.as_fd(), QUIET) {
            if stop.load(Ordering::Acquire) {
                break;
            }
            continue;
        }
        let len = socket.read(&mut frame).map_err(|error| format!("the capture failed: {error}"))?;
        tally.count(&frame[..len], finder);
    }
    let lost = sys::packets_lost(socket.as_fd()).map_err(|error| format!("the capture failed: {error}"))?;
    tally.lost = u64::from(lost);
    Ok(tally)
}

impl Tally {
    fn count(&mut self, frame: &[u8], finder: &Finder<'_>) {
        self.octets += frame.len() as u64;
        match sort(frame) {
            Kind::Ike => self.ike += 1,
            Kind::Esp => self.esp += 1,
            Kind::Other => self.other += 1,
        }
        if finder.find(frame).is_some() {
            self.with_plaintext += 1;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Ike,
    Esp,
    Other,
}

/// What an Ethernet frame with an IPv4 packet holds.
fn sort(frame: &[u8]) -> Kind {
    let Some([0x08, 0x00, packet @ ..]) = frame.get(12..) else { return Kind::Other };
    let Some((header, _)) = packet.split_first_chunk::<20>() else { return Kind::Other };
    let payload = packet.get(usize::from(header[0] & 0x0f) * 4..).unwrap_or(&[]);
    match (header[9], payload) {
        (50, _) => Kind::Esp,
        (17, [s0, s1, d0, d1, _, _, _, _, body @ ..]) => {
            let ports = [u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1])];
            match body {
                _ if ports.contains(&500) => Kind::Ike,
                [0, 0, 0, 0, ..] if ports.contains(&4500) => Kind::Ike,
                [_, _, ..] if ports.contains(&4500) => Kind::Esp,
                _ => Kind::Other,
            }
        }
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20];
        frame[12] = 0x08;
        frame[14] = 0x45;
        frame[14 + 9] = protocol;
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_are_sorted_and_searched() {
        let finder = Finder::new(b"marker");
        let mut tally = Tally::default();
        tally.count(&frame(50, b"....marker"), &finder);
        tally.count(&frame(17, &[0x01, 0xf4, 0x01, 0xf4, 0, 9, 0, 0, 1]), &finder);
        tally.count(&frame(17, &[0x11, 0x94, 0x11, 0x94, 0, 13, 0, 0, 0, 0, 0, 0, 1]), &finder);
        tally.count(&frame(17, &[0x11, 0x94, 0x11, 0x94, 0, 13, 0, 0, 0, 0, 1, 0, 1]), &finder);
        tally.count(&frame(6, b"marke"), &finder);
        tally.count(&[0; 14], &finder);
        assert_eq!((tally.ike, tally.esp, tally.other, tally.with_plaintext), (2, 2, 2, 1));
    }
}
