//! Traffic through a tunnel: pings, and a stream of TCP whose content is checked.

use crate::{Lab, Process, run, wait_until};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Pings `to` from `from` in the namespace of `side`: three echoes with `pattern` as payload, all of which must come back.
pub fn ping(lab: &Lab, side: &str, from: IpAddr, to: IpAddr, pattern: &str) -> Result<(), String> {
    let (from, to) = (from.to_string(), to.to_string());
    let said = run(
        "ip",
        &[
            "netns",
            "exec",
            &lab.ns(side),
            "ping",
            "-c",
            "3",
            "-i",
            "0.1",
            "-W",
            "3",
            "-s",
            "120",
            "-p",
            pattern,
            "-I",
            &from,
            &to,
        ],
    )?;
    if said.contains("3 received") { Ok(()) } else { Err(said) }
}

/// A ping that goes on, and counts.
pub struct Pinging {
    process: Process,
    seen: usize,
}

impl Pinging {
    /// Pings from the inner address of `side` to the other's, every `interval` seconds.
    pub fn start(lab: &Lab, side: &str, interval: &str) -> Result<Pinging, String> {
        let other = if side == "left" { "right" } else { "left" };
        let (from, to) = (lab.inner(side).to_string(), lab.inner(other).to_string());
        let mut command = ["stdbuf", "-oL", "ping", "-n", "-D", "-O", "-i", interval, "-I", &from, &to];
        let process = lab.spawn(side, &mut command, &[])?;
        // Before its first words a signal would end it.
        wait_until(Duration::from_secs(5), || process.output().contains("icmp_seq"));
        Ok(Pinging { process, seen: 0 })
    }

    /// So far: sent and answered.
    pub fn so_far(&mut self) -> Result<(u64, u64), String> {
        self.process.signal(libc::SIGQUIT);
        // It prints `answered/sent packets, …`.
        let mut line = None;
        let seen = self.seen;
        let said = wait_until(Duration::from_secs(10), || {
            let output = self.process.output();
            line = output.lines().filter(|line| line.contains(" packets, ")).nth(seen).map(str::to_string);
            line.is_some() || !self.process.is_running()
        });
        self.seen += usize::from(said);
        let counts = line.as_deref().and_then(|line| line.trim().split(' ').next()?.split_once('/'));
        let number = |text: &str| text.parse::<u64>().ok();
        let counts = counts.and_then(|(answered, sent)| Some((number(sent)?, number(answered)?)));
        counts.ok_or_else(|| format!("ping: {}", self.process.output()))
    }

    /// Whether it still goes on.
    pub fn goes_on(&mut self) -> bool {
        self.process.is_running()
    }

    /// How many answers were overtaken by a later one.
    pub fn overtaken(&self) -> usize {
        let output = self.process.output();
        let numbers = output
            .lines()
            .filter(|line| line.contains(" bytes from "))
            .filter_map(|line| line.split_once(" icmp_seq=")?.1.split(' ').next()?.parse::<u64>().ok());
        let (mut highest, mut count) = (0, 0);
        for number in numbers {
            count += usize::from(number < highest);
            highest = highest.max(number);
        }
        count
    }

    /// Which of those before the last answer had none, each with the time of the answer after it.
    pub fn unanswered(&self) -> String {
        let output = self.process.output();
        let (mut expected, mut missing) = (1u64, BTreeMap::new());
        for line in output.lines().filter(|line| line.contains(" bytes from ")) {
            let Some((time, rest)) =
                line.split_once(" icmp_seq=").map(|(before, rest)| (before.split(' ').next(), rest))
            else {
                continue;
            };
            let number = rest.split(' ').next().and_then(|number| number.parse::<u64>().ok());
            // The number has 16 bits; what is far behind is of the next round.
            let Some(number) = number
                .map(|number| number + (expected.saturating_sub(number) + 0x8000) / 0x1_0000 * 0x1_0000)
            else {
                continue;
            };
            // It may be late only.
            missing.remove(&number);
            missing.extend((expected..number).map(|gone| (gone, time.unwrap_or_default())));
            expected = expected.max(number + 1);
        }
        missing.iter().map(|(gone, time)| format!("{gone} before {time}\n")).collect()
    }

    /// How many of those before the last answer had none.
    pub fn lost(&self) -> u64 {
        self.unanswered().lines().count() as u64
    }

    /// Ends it: sent and answered.
    pub fn finish(&mut self) -> Result<(u64, u64), String> {
        self.process.signal(libc::SIGINT);
        let mut summary = None;
        wait_until(Duration::from_secs(10), || {
            let output = self.process.output();
            let line = output.lines().find(|line| line.contains(" packets transmitted, "));
            let numbers: Vec<u64> =
                line.unwrap_or_default().split(' ').filter_map(|word| word.parse().ok()).collect();
            summary = numbers.first().copied().zip(numbers.get(1).copied());
            summary.is_some()
        });
        summary.ok_or_else(|| format!("ping: {}", self.process.output()))
    }
}

/// Sends `octets` octets by TCP from an address behind `side` to one behind the other side; the content must arrive
/// unchanged, within 30 seconds.
pub fn tcp_stream(lab: &Lab, side: &str, octets: usize) -> Result<(), String> {
    let other = if side == "left" { "right" } else { "left" };
    let (from, to) = (lab.inner(side), lab.inner(other));
    let listener = in_namespace(&lab.ns(other), move || TcpListener::bind((to, 0)))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let receiver = std::thread::spawn(move || -> Result<usize, String> {
        let (mut stream, peer) = listener.accept().map_err(|error| error.to_string())?;
        if peer.ip() != from {
            return Err(format!("the stream came from {peer}, not from {from}"));
        }
        stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|error| error.to_string())?;
        let (mut total, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            match stream.read(&mut buffer).map_err(|error| format!("after {total} octets: {error}"))? {
                0 => return Ok(total),
                n => {
                    if let Some(at) = (0..n).find(|at| buffer[*at] != octet(total + at)) {
                        return Err(format!("octet {} arrived changed", total + at));
                    }
                    total += n;
                }
            }
        }
    });
    let sender = in_namespace(&lab.ns(side), move || connect_from(from, address));
    let sent = sender.and_then(|mut stream| {
        stream.set_write_timeout(Some(Duration::from_secs(30))).map_err(|error| error.to_string())?;
        let data: Vec<u8> = (0..octets).map(octet).collect();
        stream.write_all(&data).map_err(|error| error.to_string())
    });
    if let Err(error) = sent {
        // The receiver still waits in accept: a connection of our own releases it.
        let _ = in_namespace(&lab.ns(other), move || TcpStream::connect(address));
        return Err(error);
    }
    match receiver.join().map_err(|_| "the receiver panicked".to_string())?? {
        total if total == octets => Ok(()),
        total => Err(format!("{total} of {octets} octets arrived")),
    }
}

/// Sends as much as goes through in `duration` by TCP between two addresses, from the namespace of `side` to the other;
/// the octets that arrived.
pub fn tcp_flood(
    lab: &Lab,
    side: &str,
    addresses: (IpAddr, IpAddr),
    duration: Duration,
) -> Result<u64, String> {
    let other = if side == "left" { "right" } else { "left" };
    let (from, to) = addresses;
    let listener = in_namespace(&lab.ns(other), move || TcpListener::bind((to, 0)))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut sender = in_namespace(&lab.ns(side), move || connect_from(from, address))?;
    let (mut receiver, _) = listener.accept().map_err(|error| error.to_string())?;
    receiver.set_read_timeout(Some(duration + Duration::from_secs(10))).map_err(|error| error.to_string())?;
    sender.set_write_timeout(Some(Duration::from_secs(10))).map_err(|error| error.to_string())?;
    let counting = std::thread::spawn(move || {
        let (mut total, mut buffer) = (0u64, vec![0; 256 * 1024]);
        while let Ok(n @ 1..) = receiver.read(&mut buffer) {
            total += n as u64;
        }
        total
    });
    let (data, end) = (vec![0x55; 256 * 1024], Instant::now() + duration);
    let mut sent = Ok(());
    while sent.is_ok() && Instant::now() < end {
        sent = sender.write_all(&data);
    }
    drop(sender);
    let total = counting.join().map_err(|_| "the receiver panicked".to_string())?;
    sent.map(|()| total).map_err(|error| format!("after {total} octets: {error}"))
}

fn octet(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn connect_from(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
    Ok(socket.into())
}

/// Runs `work` on a thread that has entered a namespace; sockets made there stay there.
pub fn in_namespace<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let path = format!("/run/netns/{name}");
    let file = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
    std::thread::spawn(move || {
        // SAFETY: the descriptor is open; setns changes this thread only, and the thread ends below.
        if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(format!("setns: {}", std::io::Error::last_os_error()));
        }
        work().map_err(|error| error.to_string())
    })
    .join()
    .map_err(|_| "the thread in the namespace panicked".to_string())?
}
