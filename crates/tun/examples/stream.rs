//! One TCP stream, for tests and measurements.
//!
//! `stream sink ADDRESS` takes one connection, checks what comes and prints `received OCTETS SECONDS`;
//! `stream source ADDRESS OCTETS [SECONDS]` sends that many octets (or for that long, whichever ends first).

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What the stream is made of, again and again; a capture of the wire must not show it.
const LINE: &[u8] = b"This line must not be seen on the wire. 0123456789 abcdefghijk\n";
const CHUNK: usize = LINE.len() * 2048;

fn chunk() -> Vec<u8> {
    LINE.iter().copied().cycle().take(CHUNK).collect()
}

fn sink(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    let (mut stream, _) = listener.accept()?;
    let (want, mut buffer) = (chunk(), vec![0; CHUNK]);
    let (mut octets, begin) = (0usize, Instant::now());
    loop {
        // Never across the end of the repeated lines.
        let at = octets % CHUNK;
        let got = stream.read(&mut buffer[at..])?;
        if got == 0 {
            break;
        }
        if buffer[at..at + got] != want[at..at + got] {
            return Err(format!("what came at octet {octets} is not what was sent").into());
        }
        octets += got;
    }
    println!("received {octets} {:.6}", begin.elapsed().as_secs_f64());
    Ok(())
}

fn source(address: SocketAddr, octets: usize, limit: Duration) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    let (chunk, begin, mut sent) = (chunk(), Instant::now(), 0);
    while sent < octets && begin.elapsed() < limit {
        let part = &chunk[..CHUNK.min(octets - sent)];
        stream.write_all(part)?;
        sent += part.len();
    }
    println!("sent {sent}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "sink", address] => sink(address.parse()?),
        [_, "source", address, octets] => source(address.parse()?, octets.parse()?, Duration::MAX),
        [_, "source", address, octets, seconds] => {
            source(address.parse()?, octets.parse()?, Duration::from_secs_f64(seconds.parse()?))
        }
        _ => Err("stream sink ADDRESS | stream source ADDRESS OCTETS [SECONDS]".into()),
    }
}
