//! A flood of UDP datagrams, each from an address of its own, by one system call for many.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Datagrams that one system call sends at most.
const BATCH: usize = 64;
/// The pause between two bursts.
const PAUSE: Duration = Duration::from_millis(2);
/// The nice value of who floods.
const PRIORITY: libc::c_int = -15;
/// IPv4 and UDP headers.
const HEADERS: usize = 28;

/// What a flood came to.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// In what time.
    pub time: Duration,
}

impl Flooded {
    /// Datagrams a second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.time.as_secs_f64()
    }
}

/// On a thread of its own: sends `rate` datagrams a second to `to`, evenly, until `stop` is set: copies of `message` that `vary` makes different by
/// their number, from addresses all over 10.128.0.0/9 and from the port of `to`.
pub fn flood(
    to: SocketAddrV4,
    rate: u32,
    message: &[u8],
    vary: impl Fn(u64, &mut [u8]),
    stop: &AtomicBool,
) -> io::Result<Flooded> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    let target = socket2::SockAddr::from(SocketAddrV4::new(*to.ip(), 0));
    // SAFETY: setpriority takes numbers only; on Linux the number 0 is the calling thread. What else the machine does must not
    // thin the flood; where it may not go first, it does not.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, PRIORITY) };
    let mut packets = vec![packet(to, message); BATCH];
    let (begin, mut sent, mut taken) = (Instant::now(), 0u64, 0u64);
    while !stop.load(Ordering::Acquire) {
        let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while sent < due {
            let count = BATCH.min((due - sent) as usize);
            for packet in &mut packets[..count] {
                sent += 1;
                // The numbers scattered, so that neighbours come from far apart.
                let from = 0x0a80_0000 | ((sent as u32).wrapping_mul(2_654_435_761) >> 9);
                packet[12..16].copy_from_slice(&from.to_be_bytes());
                vary(sent, &mut packet[HEADERS..]);
            }
            taken += send(&socket, &target, &packets[..count]);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Flooded { sent: taken, time: begin.elapsed() })
}

/// An IPv4 packet with a UDP datagram; the kernel fills in its checksum and its sender is still to be set, UDP has no checksum.
fn packet(to: SocketAddrV4, message: &[u8]) -> Vec<u8> {
    let udp = 8 + message.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(Ipv4Addr::UNSPECIFIED.octets());
    packet.extend(to.ip().octets());
    packet.extend([to.port().to_be_bytes(), to.port().to_be_bytes(), udp.to_be_bytes(), [0, 0]].concat());
    packet.extend(message);
    packet
}

/// Sends packets; how many the kernel took. A full queue of the device is a lost packet, as it would be anywhere.
fn send(socket: &Socket, target: &socket2::SockAddr, packets: &[Vec<u8>]) -> u64 {
    let mut parts: Vec<libc::iovec> = packets
        .iter()
        .map(|packet| libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() })
        .collect();
    let mut headers: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: the structure is numbers and pointers, all of which may be zero.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = target.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = target.len();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header
        })
        .collect();
    // SAFETY: all that the headers point to outlives the call, which reads it only.
    let taken =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as libc::c_uint, 0) };
    u64::try_from(taken).unwrap_or_default()
}
