//! A daemon under a flood of forged first messages, in network namespaces: who is honest gets in, and memory stays flat.

mod common;

use base::{IkeSpi, MessageId};
use common::{End, lab};
use interop::{Handfast, in_namespace};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};
use wire::num::{Encr, ExchangeType, KeMethod, Prf, ProtocolId, TransformType};
use wire::{Flags, Header, KeyExchange, Message, Payload, Proposal, Transform};

/// First messages a second.
const RATE: u32 = 50_000;
const SECONDS: u32 = 3;
/// `cookie_threshold`, which holds here by default.
const COOKIE_THRESHOLD: usize = 100;
/// The pause between two bursts.
const PAUSE: Duration = Duration::from_millis(5);

fn first_message(spi: u64) -> Vec<u8> {
    let flags = Flags { initiator: true, version: false, response: false };
    let header = Header::new(IkeSpi(spi), IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, MessageId(0));
    let transforms = vec![
        Transform::new(TransformType::ENCR, Encr::AES_GCM_16.0, Some(256)),
        Transform::new(TransformType::PRF, Prf::HMAC_SHA2_384.0, None),
        Transform::new(TransformType::KE, KeMethod::CURVE25519.0, None),
    ];
    let proposal = Proposal { number: 1, protocol: ProtocolId::IKE, spi: Vec::new().into(), transforms };
    let ke = KeyExchange { method: KeMethod::CURVE25519, data: vec![9; 32].into() };
    let payloads = vec![Payload::Sa(vec![proposal]), Payload::Ke(ke), Payload::Nonce(vec![7; 32].into())];
    Message { header, payloads }.emit()
}

/// An IPv4 packet with a UDP datagram from port 500 to port 500; the kernel fills in its checksum, UDP has none.
fn packet(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let udp = 8 + message.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend([500u16.to_be_bytes(), 500u16.to_be_bytes(), udp.to_be_bytes(), [0, 0]].concat());
    packet.extend(message);
    packet
}

/// Sends the flood, evenly; how many messages went out, and in what time.
fn flood(to: Ipv4Addr) -> std::io::Result<(u32, Duration)> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    let target = SocketAddr::V4(SocketAddrV4::new(to, 0)).into();
    let mut message = first_message(0);
    let (begin, mut sent) = (Instant::now(), 0u32);
    let time = Duration::from_secs(u64::from(SECONDS));
    while begin.elapsed() < time {
        let due = (begin.elapsed().as_secs_f64() * f64::from(RATE)) as u32;
        while sent < due {
            sent += 1;
            message[..8].copy_from_slice(&(u64::from(sent) << 16 | 1).to_be_bytes());
            // 10.128.0.0/9, all over.
            let from = 0x0a80_0000 | (sent.wrapping_mul(2_654_435_761) >> 9);
            // A full queue of the device is a lost packet, as it would be anywhere.
            let _ = socket.send_to(&packet(from.into(), to, &message), &target);
        }
        std::thread::sleep(PAUSE);
    }
    Ok((sent, begin.elapsed()))
}

/// KiB of memory that a daemon has.
fn resident(daemon: &Handfast) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", daemon.process.pid())).expect("its status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_client_gets_in_under_a_flood_of_forged_first_messages() {
    let Some(lab) = lab("a_client_gets_in_under_a_flood_of_forged_first_messages") else { return };
    let patient = "retransmit_timeout = \"0.5\"\nretransmit_base = 1.0\nretransmit_tries = 60\n";
    let own = format!("remote_addrs = \"{}\"", lab.outer("left"));
    let toml = End { daemon: "", ..End::new("right") }.toml(&lab).replace(&own, "remote_addrs = \"%any\"");
    let right =
        Handfast::start(&lab, "right", common::binary(), &toml).unwrap_or_else(|error| panic!("{error}"));
    let left = End { daemon: patient, ..End::new("left") }.start(&lab);
    let before = resident(&right);
    let std::net::IpAddr::V4(to) = lab.outer("right") else { panic!("IPv4") };
    let middle = lab.ns("middle");
    let flooding = std::thread::spawn(move || in_namespace(&middle, move || flood(to)));
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    let up = left.command(&["up", "net"]);
    let took = begin.elapsed();
    let (sent, time) = flooding.join().expect("the flood").unwrap_or_else(|error| panic!("{error}"));
    let after = resident(&right);
    let status: serde_json::Value =
        serde_json::from_str(&right.command(&["status", "--json"]).expect("it answers"))
            .expect("status --json is JSON");
    let log = right.log();
    println!(
        "{sent} forged first messages in {:.2} s ({:.0}/s); up after {:.3} s; RSS {before} -> {after} KiB; {} lines \
         logged; half open {}; dropped {}",
        time.as_secs_f64(),
        f64::from(sent) / time.as_secs_f64(),
        took.as_secs_f64(),
        log.lines().count(),
        status["half_open"],
        status["dropped"],
    );
    up.unwrap_or_else(|error| panic!("{error}\nright:\n{log}"));
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(sent > RATE, "{sent}: the machine is too slow for a flood");
    assert!(after < before + 32 * 1024, "RSS {before} -> {after} KiB");
    assert!(log.lines().count() < 200, "{} lines logged", log.lines().count());
    let half_open = status["half_open"].as_u64().expect("a number") as usize;
    assert!(half_open <= COOKIE_THRESHOLD + 1, "{half_open}");
}
