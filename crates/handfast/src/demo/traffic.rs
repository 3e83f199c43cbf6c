//! What the two hosts say to each other: pings and a stream of TCP, all carrying the marker.

use crate::demo::space::Space;
use memchr::memmem;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Octets of the marker: no chance that random octets look like it.
pub(crate) const MARKER: usize = 16;

/// The marker stands this often in the stream, so that every full segment has it whole.
const SPACING: usize = 128;

/// What one write of the stream gives to the kernel.
const BLOCK: usize = 256 * 1024;

/// The stream ends after this long, or after this many octets.
const STREAM_TIME: Duration = Duration::from_millis(1500);
const STREAM_OCTETS: u64 = 2 << 30;

/// How long a ping may take.
const PING_TIME: Duration = Duration::from_millis(1000);

const STREAM_PORT: u16 = 7000;

/// What came of the pings.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Pings {
    pub(crate) sent: u32,
    pub(crate) answered: u32,
    /// Of those that were answered.
    pub(crate) milliseconds: Vec<f64>,
}

/// What came of the stream.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Stream {
    /// As the receiver counted them.
    pub(crate) octets: u64,
    pub(crate) seconds: f64,
    pub(crate) gbit_per_second: f64,
    /// Whether the receiver found the marker in what it received.
    pub(crate) arrived_whole: bool,
}

/// Pings `to` from `space`.
pub(crate) fn ping(space: &Space, to: Ipv4Addr, count: u32, marker: &[u8]) -> Result<Pings, String> {
    space.run(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        let mut pings = Pings::default();
        for sequence in 0..count {
            pings.sent += 1;
            if let Some(took) = ping_once(&socket, to, sequence as u16, marker)? {
                pings.answered += 1;
                pings.milliseconds.push(took.as_micros() as f64 / 1000.0);
            }
        }
        Ok(pings)
    })
}

fn ping_once(
    mut socket: &Socket,
    to: Ipv4Addr,
    sequence: u16,
    marker: &[u8],
) -> io::Result<Option<Duration>> {
    let request = echo_request(sequence, marker);
    let begun = Instant::now();
    socket.send_to(&request, &SocketAddr::from((to, 0)).into())?;
    let mut buffer = [0; 2048];
    loop {
        let Some(left) = PING_TIME.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else {
            return Ok(None);
        };
        socket.set_read_timeout(Some(left))?;
        let len = match socket.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        // An IPv4 header without options, then type 0 (echo reply) with what we sent.
        let reply = buffer.get(20..len).unwrap_or(&[]);
        if reply.first() == Some(&0) && reply.get(4..) == request.get(4..) {
            return Ok(Some(begun.elapsed()));
        }
    }
}

/// An ICMP echo request with the marker as its data (RFC 792).
fn echo_request(sequence: u16, marker: &[u8]) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x48, 0x46];
    message.extend(sequence.to_be_bytes());
    for _ in 0..4 {
        message.extend(marker);
    }
    let sum: u32 =
        message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Pushes a stream of TCP from a host to `to` in another.
pub(crate) fn stream(from: &Space, to: (&Space, Ipv4Addr), marker: &[u8]) -> Result<Stream, String> {
    let address = SocketAddr::from((to.1, STREAM_PORT));
    let listener = to.0.run(|| TcpListener::bind(address))?;
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&listener, marker));
        let sent = from.run(|| send(address, marker));
        // A sender that failed never connects: a connection of our own lets the receiver go.
        if sent.is_err() {
            let _ = to.0.run(|| TcpStream::connect(address));
        }
        let received = receiver.join().map_err(|_| "the receiver broke off".to_string())?;
        sent?;
        received.map_err(|error| format!("the receiver of the TCP stream failed: {error}"))
    })
}

fn send(to: SocketAddr, marker: &[u8]) -> io::Result<()> {
    let mut socket = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    socket.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut block = vec![0x55; BLOCK];
    for place in block.chunks_mut(SPACING) {
        place[..marker.len()].copy_from_slice(marker);
    }
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < STREAM_TIME && sent < STREAM_OCTETS {
        socket.write_all(&block)?;
        sent += block.len() as u64;
    }
    Ok(())
}

fn receive(listener: &TcpListener, marker: &[u8]) -> io::Result<Stream> {
    let (mut socket, _) = listener.accept()?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut buffer = vec![0; BLOCK];
    let mut stream = Stream::default();
    let begun = Instant::now();
    loop {
        let len = socket.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        if stream.octets == 0 {
            stream.arrived_whole = memmem::find(&buffer[..len], marker).is_some();
        }
        stream.octets += len as u64;
    }
    stream.seconds = begun.elapsed().as_secs_f64();
    stream.gbit_per_second = stream.octets as f64 * 8.0 / 1e9 / stream.seconds.max(1e-9);
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_has_a_checksum_that_sums_to_all_ones() {
        let message = echo_request(7, &[0xab; MARKER]);
        let sum: u32 = message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
