//! A daemon under a flood of forged first messages, in network namespaces: who is honest gets in, and memory stays flat.

mod common;

use base::{IkeSpi, MessageId};
use common::{End, lab};
use interop::{Handfast, flood, in_namespace};
use std::net::{IpAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wire::num::{Encr, ExchangeType, KeMethod, Prf, ProtocolId, TransformType};
use wire::{Flags, Header, KeyExchange, Message, Payload, Proposal, Transform};

/// First messages a second that are to reach the daemon's socket.
const RATE: u32 = 50_000;
/// How long the flood lasts at least; it does not end before the client is in, or is given up.
const AT_LEAST: Duration = Duration::from_secs(3);
/// `cookie_threshold`, which holds here by default.
const COOKIE_THRESHOLD: usize = 100;
/// KiB by which the daemon's memory may grow at most.
const GROWTH: u64 = 8 * 1024;

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

/// KiB of memory that a daemon has, by the name of the line in its status.
fn memory(daemon: &Handfast, name: &str) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", daemon.process.pid())).expect("its status");
    let line = status.lines().find(|line| line.starts_with(name)).expect("its memory");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// UDP datagrams that the namespace's sockets have given to programs, and those for which they had no room.
fn udp(namespace: &str) -> (u64, u64) {
    let counters = in_namespace(namespace, || std::fs::read_to_string("/proc/thread-self/net/snmp"));
    let counters = counters.expect("its counters");
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("Udp: ")).map(str::split_whitespace);
    let (names, numbers) = (lines.next().expect("names"), lines.next().expect("numbers"));
    let count = |name: &str| {
        let mut both = names.clone().zip(numbers.clone());
        both.find(|(of, _)| *of == name).and_then(|(_, number)| number.parse().ok()).expect("a number")
    };
    (count("InDatagrams"), count("RcvbufErrors"))
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
    let IpAddr::V4(to) = lab.outer("right") else { panic!("IPv4") };
    let (before, udp_before) = (memory(&right, "VmRSS:"), udp(&lab.ns("right")));
    let stop = Arc::new(AtomicBool::new(false));
    let (middle, stopped) = (lab.ns("middle"), stop.clone());
    let flooding = std::thread::spawn(move || {
        in_namespace(&middle, move || {
            let vary = |number: u64, message: &mut [u8]| {
                message[..8].copy_from_slice(&(number << 16 | 1).to_be_bytes());
            };
            // A fifth more, for what the way to the socket loses where the machine is busy.
            flood(SocketAddrV4::new(to, 500), RATE + RATE / 5, &first_message(0), vary, &stopped)
        })
    });
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    let up = left.command(&["up", "net"]);
    let took = begin.elapsed();
    std::thread::sleep(AT_LEAST.saturating_sub(took));
    stop.store(true, Ordering::Release);
    let flooded = flooding.join().expect("the flood").unwrap_or_else(|error| panic!("{error}"));
    let (after, peak, udp_after) =
        (memory(&right, "VmRSS:"), memory(&right, "VmHWM:"), udp(&lab.ns("right")));
    let (read, refused) = (udp_after.0 - udp_before.0, udp_after.1 - udp_before.1);
    let status: serde_json::Value =
        serde_json::from_str(&right.command(&["status", "--json"]).expect("it answers"))
            .expect("status --json is JSON");
    let log = right.log();
    let seconds = flooded.time.as_secs_f64();
    let rate = (read + refused) as f64 / seconds;
    println!(
        "SUMMARY: {} forged first messages in {seconds:.2} s ({:.0} a second), of which {rate:.0} a second came to the daemon's \
         socket, and it read {:.0} a second; a client was in after {:.3} s; memory {before} -> {after} KiB, {peak} KiB at most; \
         {} lines logged; half open {}; dropped {}",
        flooded.sent,
        flooded.rate(),
        read as f64 / seconds,
        took.as_secs_f64(),
        log.lines().count(),
        status["half_open"],
        status["dropped"],
    );
    up.unwrap_or_else(|error| panic!("{error}\nright:\n{log}"));
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(rate >= f64::from(RATE), "{rate:.0} a second: the machine is too slow for a flood");
    assert!(peak < before + GROWTH, "memory {before} -> {peak} KiB");
    assert!(log.lines().count() < 200, "{} lines logged", log.lines().count());
    let half_open = status["half_open"].as_u64().expect("a number") as usize;
    assert!(half_open <= COOKIE_THRESHOLD + 1, "{half_open}");
}
