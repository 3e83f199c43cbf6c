//! What strangers and peers try to use up: room at the door, memory, bandwidth of others.

use policy::{AuthMethod, Certificate};
use sa::Drop;
use sim::{Datagram, established};
use std::net::SocketAddr;
use std::time::Duration;
use suite::{Puppet, alice, bob, dropped, world};
use wire::num::{ExchangeType, PayloadType};
use wire::{Message, Payload};

/// Forged first messages with a client's own address as their source: without cookies they would fill
/// that client's places.
//= rfc7296 §2.6
#[test]
fn a_flood_in_the_name_of_a_client_does_not_keep_it_out() {
    let mut world = world(1).peers(alice(), bob());
    let mut flooder = Puppet::alice();
    let payloads = flooder.init_payloads();
    let request = flooder.init_request(payloads);
    let from = SocketAddr::new(flooder.address.ip(), 7);
    for n in 1..=400u64 {
        let mut first = request.clone();
        first[..8].copy_from_slice(&n.to_be_bytes());
        world.inject(Duration::from_micros(n * 100), Datagram::ike(from, flooder.peer, &first));
    }
    world.run(Duration::from_millis(500));
    assert_eq!(world.status("bob").len(), sa::limits::COOKIE_THRESHOLD_IP);
    world.up("alice");
    world.run(Duration::from_secs(5));
    assert_eq!(world.host("alice").dataplane.sad().count(), 1);
}

/// Whoever fails to authenticate keeps its place at the door as long as its answer is kept.
#[test]
fn failed_authentications_count_as_half_open() {
    let mut site = bob();
    site.settings.block_threshold = 5;
    let mut world = world(2).site(site);
    let mut served = 0;
    for n in 0..20 {
        let mut alice = Puppet::new("alice", "192.0.2.1", "bob", "198.51.100.2");
        alice.spis.initiator = base::IkeSpi(n + 1);
        alice.psk = b"a guess".to_vec();
        alice.deaf(&world);
        let payloads = alice.init_payloads();
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        let Some(response) = alice.hear(&mut world) else { break };
        alice.accept_init(&response);
        let payloads = alice.auth_payloads();
        assert!(alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).is_some());
        served += 1;
    }
    assert_eq!(served, 5);
    world.run(Duration::from_secs(60));
    let mut alice = Puppet::alice();
    alice.deaf(&world);
    alice.establish(&mut world);
}

/// A first message is kept until its sender is authenticated; a large one is not even read.
#[test]
fn a_first_message_of_many_kilobytes_is_dropped() {
    for (octets, opens) in [(7_000, 1), (8_192, 0)] {
        let mut world = world(3).site(bob());
        let mut alice = Puppet::alice();
        let mut payloads = alice.init_payloads();
        payloads.push(Payload::VendorId(vec![1; octets].into()));
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        world.run(Duration::from_millis(100));
        assert_eq!(world.status("bob").len(), opens, "{octets}");
        assert_eq!(dropped(&world, "bob", Drop::TooLarge), 1 - opens);
    }
}

/// A forged source gets little more than its forger has sent, however many authorities we trust.
#[test]
fn the_answer_to_a_first_message_stays_small() {
    let authorities =
        (0..200u8).map(|n| Certificate { der: [n].into(), subject: "CN=CA".into(), spki_sha1: [n; 20] });
    let mut world = world(4).site(bob().with(|connection| {
        connection.remote.method = AuthMethod::Pubkey;
        connection.remote.authorities = authorities.collect();
    }));
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    let response = alice.hear(&mut world).expect("an answer");
    let message = Message::parse(&response).unwrap();
    assert!(message.payloads.iter().any(|payload| payload.kind() == PayloadType::CERTREQ));
    assert!(response.len() <= 1024, "{} octets", response.len());
}

/// A refusal that no cookie limits is not given without bound.
#[test]
fn refusals_of_critical_payloads_are_limited() {
    let mut world = world(5).site(bob());
    let alice = Puppet::alice();
    let header = alice.header(ExchangeType::IKE_SA_INIT, false, 0);
    let kind = PayloadType(77);
    let unknown = Payload::Unknown { kind, critical: true, body: vec![0; 5].into() };
    let first = Message { header, payloads: vec![unknown] }.emit();
    for n in 1..=100u64 {
        let mut first = first.clone();
        first[..8].copy_from_slice(&n.to_be_bytes());
        alice.send(&mut world, &first);
    }
    world.run(Duration::from_millis(500));
    let answers = world.wire.iter().filter(|(_, datagram)| datagram.to == alice.address).count();
    assert_eq!(answers, sa::limits::UNPROTECTED_ANSWERS_PER_SOURCE as usize);
}

/// A peer that does not wait for our responses gets no more than the window allows, and leaves no child behind
/// that nobody knows.
//= rfc7296 §2.3
#[test]
fn requests_beyond_the_window_are_dropped() {
    let mut site = bob();
    let delay = Duration::from_millis(300)..=Duration::from_millis(300);
    site.dataplane = sim::DataplaneNature { delay, refuse: 0 };
    let mut world = world(6).site(site);
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    for n in 1..=5 {
        alice.esp_spi = base::EspSpi(0x1000_0000 + n);
        let mut payloads = vec![Payload::Sa(vec![alice.esp_proposal()]), Payload::Nonce(vec![5; 32].into())];
        payloads.extend(alice.selectors());
        let request = alice.request(ExchangeType::CREATE_CHILD_SA, &payloads);
        alice.send(&mut world, &request);
    }
    world.run(Duration::from_secs(10));
    assert!(established(&world) || !world.status("bob").is_empty());
    let known = world.status("bob")[0].children.len();
    assert_eq!(world.host("bob").dataplane.sad().count(), known);
    assert_eq!(known, 2);
    assert_eq!(dropped(&world, "bob", Drop::OutOfWindow), 4);
}
