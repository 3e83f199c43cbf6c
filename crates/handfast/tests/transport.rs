//! Transport mode between two daemons: what the hosts themselves exchange, in raw ESP, in UDP, and through a NAT.

mod common;

use interop::{Capture, Family, Handfast, HandfastConfig, Lab, Net, in_namespace, run, wait_until};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Pinged as payload, and looked for on the wire.
const PATTERN: &str = "48616e6466617374";
const STREAM: usize = 300_000;

fn config<'a>(side: &'a str, connection: &'a str) -> HandfastConfig<'a> {
    HandfastConfig {
        side,
        proposals: "aes256gcm16-prfsha384-x25519",
        esp_proposals: "aes128-sha256",
        credentials: Ok("correct horse battery staple"),
        connection,
        child: "mode = \"transport\"",
        selectors: Some(("\"dynamic\"", "\"dynamic\"")),
    }
}

fn status(daemon: &Handfast) -> Value {
    let text = daemon.command(&["status", "--json"]).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&text).expect("status --json is JSON")
}

fn child(daemon: &Handfast) -> Value {
    status(daemon)["ike_sas"][0]["child_sas"][0].clone()
}

fn stands(daemon: &Handfast) -> bool {
    !child(daemon).is_null()
}

/// Sends a stream from the left host to the right one and the same octets back: both must arrive unchanged.
/// Answers who the right host saw.
fn tcp_there_and_back(lab: &Lab) -> IpAddr {
    let data: Vec<u8> = (0..STREAM).map(|at| (at * 31 % 251) as u8).collect();
    let to = lab.outer("right");
    let listener = in_namespace(&lab.ns("right"), move || TcpListener::bind((to, 0))).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let patience = Some(Duration::from_secs(20));
    let echo = std::thread::spawn(move || -> std::io::Result<IpAddr> {
        let (mut stream, peer) = listener.accept()?;
        stream.set_read_timeout(patience)?;
        let mut seen = Vec::new();
        stream.read_to_end(&mut seen)?;
        stream.write_all(&seen)?;
        Ok(peer.ip())
    });
    let connect = move || TcpStream::connect_timeout(&address, Duration::from_secs(5));
    let mut stream = in_namespace(&lab.ns("left"), connect).unwrap_or_else(|error| panic!("{error}"));
    stream.set_read_timeout(patience).expect("a timeout");
    stream.set_write_timeout(patience).expect("a timeout");
    stream.write_all(&data).expect("it is sent");
    stream.shutdown(std::net::Shutdown::Write).expect("it ends");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("it comes back");
    assert!(back == data, "{} of {STREAM} octets came back as they were", back.len());
    echo.join().expect("no panic").expect("the stream arrives")
}

struct Case<'a> {
    test: &'a str,
    family: Family,
    net: Net,
    /// More lines for both connections.
    connection: &'a str,
    udp_encap: bool,
}

/// Up, pings and a stream, down from either side; the wire shows ESP alone.
fn works(case: &Case<'_>) {
    let needed = ["ip", "sysctl", "ping", "tcpdump", "tshark", "nft"];
    if let Some(why) = interop::missing(&needed) {
        testkit::not_run(case.test, &why);
        return;
    }
    let lab = Lab::new(case.family, case.net).unwrap_or_else(|error| panic!("{error}"));
    let start = |side| {
        let toml = config(side, case.connection).toml(&lab);
        Handfast::start(&lab, side, common::binary(), &toml).unwrap_or_else(|error| panic!("{error}"))
    };
    let (left, right) = (start("left"), start("right"));
    let capture = Capture::start(&lab, "right").unwrap_or_else(|error| panic!("{error}"));
    for (closing, other) in [(&left, &right), (&right, &left)] {
        left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}\n{}", right.log()));
        for daemon in [&left, &right] {
            let child = child(daemon);
            assert_eq!((&child["mode"], &child["udp_encap"]), (&"transport".into(), &case.udp_encap.into()));
        }
        let to = lab.outer("right").to_string();
        let ns = lab.ns("left");
        let ping = ["netns", "exec", &ns, "ping", "-c", "3", "-i", "0.1", "-W", "3", "-p", PATTERN, &to];
        run("ip", &ping).unwrap_or_else(|error| panic!("{error}\n{}{}", left.log(), right.log()));
        let seen = tcp_there_and_back(&lab);
        let outside = if case.net == Net::Routed { lab.outer("left") } else { masquerade(&lab) };
        assert_eq!(seen, outside);
        let counters = &child(&right)["counters"];
        let carried = counters["bytes_in"].as_u64().min(counters["bytes_out"].as_u64());
        assert!(carried >= Some(STREAM as u64), "{counters}");
        assert_eq!((&counters["malformed"], &counters["outside_selectors"]), (&0.into(), &0.into()));
        closing.command(&["down", "net"]).unwrap_or_else(|error| panic!("{error}"));
        assert!(wait_until(Duration::from_secs(3), || !stands(other)), "{}", other.log());
    }
    let pattern = b"HandfastHandfast";
    let wire =
        capture.finish(&masquerade(&lab).to_string(), pattern).unwrap_or_else(|error| panic!("{error}"));
    assert!(wire.esp > 6 && !wire.plaintext, "{wire:?}");
    assert!(wire.complaints.is_empty(), "{wire:?}");
    assert_eq!(wire.in_clear, Vec::<String>::new());
}

/// The middle's own address towards the right, which a masquerade puts in the left's place.
fn masquerade(lab: &Lab) -> IpAddr {
    match lab.outer("right") {
        IpAddr::V4(_) => IpAddr::from([10, 0, 2, 1]),
        IpAddr::V6(_) => "fd00:2::1".parse().expect("an address"),
    }
}

#[test]
fn s003_transport_mode_in_raw_esp() {
    works(&Case {
        test: "s003_transport_mode_in_raw_esp",
        family: Family::V4,
        net: Net::Routed,
        connection: "encap = false",
        udp_encap: false,
    });
}

#[test]
fn transport_mode_in_raw_esp_over_ipv6() {
    works(&Case {
        test: "transport_mode_in_raw_esp_over_ipv6",
        family: Family::V6,
        net: Net::Routed,
        connection: "encap = false",
        udp_encap: false,
    });
}

#[test]
fn transport_mode_in_udp() {
    works(&Case {
        test: "transport_mode_in_udp",
        family: Family::V4,
        net: Net::Routed,
        connection: "encap = true",
        udp_encap: true,
    });
}

//= rfc7296 §2.23.1, rfc3948 §3.1.2
#[test]
fn transport_mode_through_a_masquerade() {
    works(&Case {
        test: "transport_mode_through_a_masquerade",
        family: Family::V4,
        net: Net::LeftBehindNat,
        connection: "encap = false",
        udp_encap: true,
    });
}
