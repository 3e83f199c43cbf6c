//! The sockets against each other over loopback.

use net::{Batch, EspRoute, Kind, Packet, SocketConfig, Sockets, wait_readable};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

const ANY_PORT: SocketConfig = SocketConfig { ike_port: 0, nat_port: 0, mark: 0, raw_esp: false };

/// What arrived, as owned values.
#[derive(Debug, PartialEq)]
enum Got {
    Ike { remote: SocketAddr, marked: bool, bytes: Vec<u8> },
    Esp { remote: SocketAddr, tos: u8, bytes: Vec<u8> },
    Noise,
}

/// Receives until `count` packets are there; fails when nothing comes any more.
fn collect(sockets: &Sockets, count: usize) -> Vec<Got> {
    let mut batch = Batch::new();
    let mut got = Vec::new();
    while got.len() < count {
        let descriptors: Vec<BorrowedFd<'_>> = sockets.descriptors().collect();
        let ready = wait_readable(&descriptors, Some(Duration::from_secs(10))).unwrap();
        assert_ne!(ready, 0, "only {got:?} of {count} packets came");
        for index in (0..descriptors.len()).filter(|index| ready >> index & 1 == 1) {
            sockets
                .receive(index, 64, &mut batch, |packet| {
                    got.push(match packet {
                        Packet::Ike(d) => {
                            Got::Ike { remote: d.remote, marked: d.marked, bytes: d.bytes.to_vec() }
                        }
                        Packet::Esp(p) => Got::Esp { remote: p.remote, tos: p.tos, bytes: p.bytes.to_vec() },
                        Packet::Noise(_) => Got::Noise,
                    });
                })
                .unwrap();
        }
    }
    got
}

/// `NOT RUN` where the machine has no IPv6 loopback.
fn has(ip: IpAddr) -> bool {
    let there = std::net::UdpSocket::bind((ip, 0)).is_ok();
    if !there {
        println!("NOT RUN: the part of this test over {ip}: the machine has no such address");
    }
    there
}

fn loopbacks() -> impl Iterator<Item = IpAddr> {
    ["127.0.0.1", "::1"].into_iter().map(|ip| ip.parse().unwrap()).filter(|&ip| has(ip))
}

#[test]
fn ike_messages_keep_their_path_and_their_marker() {
    for ip in loopbacks() {
        let (a, b) = (Sockets::open(ANY_PORT).unwrap(), Sockets::open(ANY_PORT).unwrap());
        let port = |sockets: &Sockets, kind| SocketAddr::new(ip, sockets.find_port(ip, kind));
        for (kind, marked) in [(Kind::Ike, false), (Kind::Nat, true)] {
            let (from, to) = (port(&a, kind), port(&b, kind));
            a.send_ike(from, to, marked, b"an IKE message").unwrap();
            let want = Got::Ike { remote: from, marked, bytes: b"an IKE message".to_vec() };
            assert_eq!(collect(&b, 1), [want]);
        }
        a.send_ike(port(&a, Kind::Nat), port(&b, Kind::Nat), false, &[0xff]).unwrap();
        assert_eq!(collect(&b, 1), [Got::Noise]);
    }
}

#[test]
fn a_large_ike_message_passes() {
    let (a, b) = (Sockets::open(ANY_PORT).unwrap(), Sockets::open(ANY_PORT).unwrap());
    let ip: IpAddr = "127.0.0.1".parse().unwrap();
    let (from, to) =
        (SocketAddr::new(ip, a.port(Kind::Nat).unwrap()), SocketAddr::new(ip, b.port(Kind::Nat).unwrap()));
    let message = vec![7; net::limits::MAX_IKE_MESSAGE];
    a.send_ike(from, to, true, &message).unwrap();
    assert_eq!(collect(&b, 1), [Got::Ike { remote: from, marked: true, bytes: message }]);
    let error = a.send_ike(from, to, true, &vec![7; net::limits::MAX_IKE_MESSAGE + 1]).unwrap_err();
    assert_eq!(error.to_string(), "A message of 65504 octets is longer than a datagram can be.");
}

#[test]
fn a_train_of_esp_packets_arrives_packet_by_packet() {
    for ip in loopbacks() {
        let (a, b) = (Sockets::open(ANY_PORT).unwrap(), Sockets::open(ANY_PORT).unwrap());
        let from = SocketAddr::new(ip, a.find_port(ip, Kind::Nat));
        let to = SocketAddr::new(ip, b.find_port(ip, Kind::Nat));
        // More than one segmented send carries, and a shorter last packet.
        let octets: Vec<u8> = (0..100u32 * 1000 + 10).map(|i| (1 + i / 1000) as u8).collect();
        let (sent, result) =
            a.send_esp(&EspRoute { local: from, remote: to, udp: true }, 0xb8 | 1, &octets, 1000);
        result.unwrap();
        assert_eq!(sent, 101);
        let want: Vec<Got> = octets
            .chunks(1000)
            .map(|bytes| Got::Esp { remote: from, tos: 0xb8 | 1, bytes: bytes.to_vec() })
            .collect();
        assert_eq!(collect(&b, 101), want);
    }
}

#[test]
fn a_busy_port_is_named_with_the_way_to_its_holder() {
    let holder = Sockets::open(ANY_PORT).unwrap();
    let port = holder.port(Kind::Ike).unwrap();
    let error = Sockets::open(SocketConfig { ike_port: port, ..ANY_PORT }).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("UDP port {port} (IPv4) is in use")), "{text}");
    assert!(text.contains(&format!("sport = :{port}")), "{text}");
}

#[test]
fn the_path_mtu_of_loopback_is_its_device_mtu() {
    let sockets = Sockets::open(ANY_PORT).unwrap();
    let mtu = sockets.path_mtu("127.0.0.1".parse().unwrap()).unwrap();
    assert!((1280..=65536).contains(&mtu), "{mtu}");
}
