//! What an exchange may carry beside its own business, and where it may come from.

use std::net::SocketAddr;
use std::time::Duration;
use suite::reader::nonce;
use suite::{Puppet, World, alice, bob, notifies, world};
use wire::num::{CfgAttributeType, CfgType, ExchangeType, NotifyType, PayloadType};
use wire::{Configuration, Notify, Payload};

/// The response goes to the port that the request came from, out of the port that it came to.
//= rfc7296 §2.11
#[test]
fn answers_go_to_where_the_request_came_from() {
    let mut world = world(1).site(bob());
    let mut alice = Puppet::alice();
    alice.address = SocketAddr::new(alice.address.ip(), 20_011);
    alice.establish(&mut world);
    for port in [20_011, 20_012, 500] {
        alice.address = SocketAddr::new(alice.address.ip(), port);
        assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()), "{port}");
        assert_eq!(world.wire.last().map(|(_, datagram)| datagram.from), Some(alice.peer));
    }
}

/// Both nonces are long enough for every PRF, and none comes twice.
//= rfc7296 §2.10
#[test]
fn nonces_are_long_and_fresh() {
    let mut seen = std::collections::BTreeSet::new();
    let mut world = world(2).peers(alice(), bob());
    for _ in 0..10 {
        world.up("alice");
        world.until(suite::established);
        world.down("alice");
        world.run(Duration::from_secs(30));
    }
    for (_, datagram) in &world.wire {
        let Ok(message) = wire::Message::parse(datagram.message()) else { continue };
        if message.header.exchange == ExchangeType::IKE_SA_INIT {
            let nonce = nonce(&message.payloads);
            assert!(nonce.len() >= 32);
            assert!(seen.insert(nonce), "a nonce came twice");
        }
    }
    assert_eq!(seen.len(), 20);
}

/// We compress nothing: the offer is passed over, and the child stands without it.
//= rfc7296 §2.22
#[test]
fn an_offer_to_compress_is_passed_over() {
    let mut world = world(3).site(bob());
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let mut payloads = alice.auth_payloads();
    let offer = Notify::new(NotifyType::IPCOMP_SUPPORTED, vec![0, 7, 2]);
    payloads.insert(2, Payload::Notify(offer));
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert!(!notifies(&answer).contains(&NotifyType::IPCOMP_SUPPORTED));
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
}

/// Certificates by address are not fetched: the word that a peer could do so changes nothing.
//= rfc7296 §3.6
#[test]
fn the_offer_to_look_certificates_up_is_passed_over() {
    let offer = || Payload::Notify(Notify::new(NotifyType::HTTP_CERT_LOOKUP_SUPPORTED, Vec::new()));
    let mut world = world(7).site(bob());
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    payloads.push(offer());
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    let response = alice.hear(&mut world).expect("an answer");
    let said = alice.accept_init(&response);
    assert!(!notifies(&said).contains(&NotifyType::HTTP_CERT_LOOKUP_SUPPORTED), "we do not claim it");
    let mut payloads = alice.auth_payloads();
    payloads.insert(1, offer());
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert!(answer.iter().any(|payload| payload.kind() == PayloadType::SA), "{}", wire::summary(&answer));
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
}

/// A request for an address gets none here, and no reply that nobody could use.
//= rfc7296 §2.19
#[test]
fn a_request_for_configuration_is_passed_over() {
    let mut world = world(4).site(bob());
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let mut payloads = alice.auth_payloads();
    let attribute =
        wire::CfgAttribute { kind: CfgAttributeType::INTERNAL_IP4_ADDRESS, value: Vec::new().into() };
    let ask = Configuration { kind: CfgType::REQUEST, attributes: vec![attribute] };
    payloads.insert(2, Payload::Cp(ask));
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert!(!answer.iter().any(|payload| payload.kind() == PayloadType::CP));
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
}

/// A peer behind a NAT that stays on port 500 gets no ESP in UDP there.
//= rfc7296 §2.23
#[test]
fn esp_is_never_encapsulated_on_port_500() {
    let mut world = world(5).site(bob());
    let mut alice = behind_a_nat(&mut world);
    let payloads = alice.auth_payloads();
    alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    let specs: Vec<_> = world.host("bob").dataplane.sad().collect();
    assert_eq!(specs.len(), 1);
    assert!(!specs[0].udp_encap);
}

/// Nor does ESP leave port 4500 when a message of IKE comes by port 500.
#[test]
fn esp_stays_on_port_4500() {
    let mut world = world(6).site(bob());
    let mut alice = behind_a_nat(&mut world);
    let at = |address: SocketAddr, port| SocketAddr::new(address.ip(), port);
    (alice.address, alice.peer) = (at(alice.address, sim::NAT_T), at(alice.peer, sim::NAT_T));
    let payloads = alice.auth_payloads();
    alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    let place = |world: &World| world.host("bob").dataplane.sad().map(|s| (s.udp_encap, s.remote)).last();
    assert_eq!(place(&world), Some((true, alice.address)));
    let before = alice.address;
    (alice.address, alice.peer) = (at(alice.address, sim::IKE), at(alice.peer, sim::IKE));
    assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()));
    assert_eq!(place(&world), Some((true, before)));
}

/// After IKE_SA_INIT, by which both seem to be behind a NAT.
fn behind_a_nat(world: &mut World) -> Puppet {
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    for kind in [NotifyType::NAT_DETECTION_SOURCE_IP, NotifyType::NAT_DETECTION_DESTINATION_IP] {
        payloads.push(Payload::Notify(Notify::new(kind, vec![9; 20])));
    }
    let request = alice.init_request(payloads);
    alice.send(world, &request);
    let response = alice.hear(world).expect("an answer");
    alice.accept_init(&response);
    alice
}
