//! Exchanges that nobody knows, or that come too early or too late.

use sim::established;
use suite::{Puppet, alice, bob, holdings, notifies, world};
use wire::num::{AuthMethod, ExchangeType, NotifyType, PayloadType};
use wire::{Authentication, Delete, Payload};

/// An exchange that we do not know, under protection: INVALID_SYNTAX or an answer without effect; the
/// IKE SA lives as far as RFC 7296 §2.21.3 lets it.
#[test]
fn s109_an_unknown_exchange_is_answered_and_carries_nothing_out() {
    for exchange in [38u8, 39, 43, 44, 99, 240, 255] {
        let mut world = world(1).site(bob());
        let mut alice = Puppet::alice();
        alice.establish(&mut world);
        let delete = [Payload::Delete(Delete::ike_sa())];
        if let Some(answer) = alice.ask(&mut world, ExchangeType(exchange), &delete) {
            let said = notifies(&answer);
            assert!(said.iter().all(|kind| *kind == NotifyType::INVALID_SYNTAX), "{exchange}: {said:?}");
        }
        assert!(
            world.host("bob").count(|e| matches!(e, sa::Event::IkeDown(_, sa::Fate::DeletedByPeer))) == 0
        );
    }
}

/// An exchange that we do not know, unprotected: nothing at all.
#[test]
fn an_unknown_exchange_without_protection_is_dropped() {
    let mut world = world(2).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let before = holdings(&mut world, "bob");
    let header = wire::Header::parse(world.wire[2].1.message()).unwrap();
    let puppet = Puppet::alice();
    for exchange in (0..=255u8).filter(|exchange| *exchange != 34) {
        let header =
            wire::Header { exchange: ExchangeType(exchange), message_id: base::MessageId(2), ..header };
        let message = wire::Message { header, payloads: vec![Payload::Delete(Delete::ike_sa())] }.emit();
        puppet.send(&mut world, &message);
    }
    let sent = world.wire.len();
    world.run(std::time::Duration::from_secs(2));
    assert_eq!(holdings(&mut world, "bob"), before);
    assert_eq!(world.wire.len(), sent, "nothing is answered");
}

/// CVE-2019-12312: INFORMATIONAL and CREATE_CHILD_SA under keys that are not authenticated yet.
//= rfc7296 §1.2
#[test]
fn cve_2019_12312_requests_before_ike_auth_are_not_carried_out() {
    for exchange in [ExchangeType::INFORMATIONAL, ExchangeType::CREATE_CHILD_SA] {
        for id in [0u32, 1, 2] {
            let mut world = world(3).site(bob());
            let mut alice = Puppet::alice();
            alice.init(&mut world);
            let payloads = match exchange {
                ExchangeType::INFORMATIONAL => vec![Payload::Delete(Delete::ike_sa())],
                _ => {
                    let mut payloads = alice.auth_payloads();
                    payloads.drain(..2);
                    payloads.push(Payload::Nonce(vec![7; 32].into()));
                    payloads
                }
            };
            let header = alice.header(exchange, false, id);
            let message = alice.seal(&header, &payloads);
            alice.deaf(&world);
            alice.send(&mut world, &message);
            if let Some(answer) = alice.hear(&mut world) {
                let (_, payloads) = alice.open(&answer);
                assert!(
                    !payloads.iter().any(|p| p.kind() == PayloadType::SA),
                    "{}",
                    wire::summary(&payloads)
                );
            }
            assert_eq!(world.host("bob").dataplane.sad().count(), 0);
            assert_eq!(world.host("bob").count(|e| matches!(e, sa::Event::IkeUp(_))), 0);
        }
    }
}

/// A second IKE_AUTH, or another IKE_SA_INIT inside the SA.
#[test]
fn the_first_exchanges_do_not_come_again_inside_an_sa() {
    let mut world = world(4).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let payloads = alice.auth_payloads();
    if let Some(answer) = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads) {
        assert!(!answer.iter().any(|p| p.kind() == PayloadType::AUTH), "{}", wire::summary(&answer));
    }
    assert!(world.host("bob").dataplane.sad().count() <= 1);
    assert_eq!(world.host("bob").count(|e| matches!(e, sa::Event::IkeUp(_))), 1);
}

type Make = fn(&Puppet) -> Payload<'static>;

/// Known payloads where they have no place, or once too often: the message is rejected as a whole, and of an SA
/// that stands nothing is left (RFC 7296 §2.21.3).
//= rfc7296 §2.21.3
#[test]
fn payloads_out_of_place_are_invalid_syntax() {
    let auth = |_: &Puppet| Payload::Auth(Authentication { method: AuthMethod(2), data: vec![1].into() });
    let id = |alice: &Puppet| Payload::IdI(alice.identification());
    let sa = |alice: &Puppet| Payload::Sa(vec![alice.esp_proposal()]);
    let odd: [(ExchangeType, &[Make]); 6] = [
        (ExchangeType::INFORMATIONAL, &[sa]),
        (ExchangeType::INFORMATIONAL, &[auth]),
        (ExchangeType::INFORMATIONAL, &[|_| Payload::Delete(Delete::ike_sa()), id]),
        (ExchangeType::CREATE_CHILD_SA, &[auth]),
        (ExchangeType::CREATE_CHILD_SA, &[sa, sa]),
        (ExchangeType::CREATE_CHILD_SA, &[sa, |_| Payload::Delete(Delete::ike_sa())]),
    ];
    for (exchange, payloads) in odd {
        let mut world = world(5).site(bob());
        let mut alice = Puppet::alice();
        alice.establish(&mut world);
        let mut payloads: Vec<Payload<'static>> = payloads.iter().map(|make| make(&alice)).collect();
        if exchange == ExchangeType::CREATE_CHILD_SA {
            payloads.push(Payload::Nonce(vec![7; 32].into()));
            payloads.extend(alice.selectors());
        }
        let text = wire::summary(&payloads);
        let answer = alice.ask(&mut world, exchange, &payloads).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX], "{text}");
        assert_eq!(answer.len(), 1, "{text}");
        let faults = world.host("bob").count(|e| matches!(e, sa::Event::IkeDown(_, sa::Fate::Fault(_))));
        assert_eq!((faults, world.host("bob").dataplane.sad().count()), (1, 0), "{text}");
    }
}

/// The same in IKE_AUTH: what comes besides is not passed over, and nothing is installed.
//= rfc7296 §2.21.2
#[test]
fn payloads_out_of_place_in_ike_auth_are_invalid_syntax() {
    for odd in 0..4 {
        let mut world = world(6).site(bob());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut payloads = alice.auth_payloads();
        match odd {
            0 => payloads.push(Payload::Nonce(vec![7; 32].into())),
            1 => payloads.push(Payload::Delete(Delete::ike_sa())),
            2 => payloads.push(Payload::IdI(alice.identification())),
            _ => payloads.retain(|payload| payload.kind() != PayloadType::TSR),
        }
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX], "{odd}");
        assert_eq!((answer.len(), world.host("bob").dataplane.sad().count()), (1, 0), "{odd}");
    }
}

/// Unprotected, such a message is noise: no state and no answer.
#[test]
fn payloads_out_of_place_in_a_first_message_are_noise() {
    for odd in 0..3 {
        let mut world = world(7).site(bob());
        let mut alice = Puppet::alice();
        let mut payloads = alice.init_payloads();
        payloads.push(match odd {
            0 => Payload::IdI(alice.identification()),
            1 => Payload::Delete(Delete::ike_sa()),
            _ => Payload::Nonce(vec![7; 32].into()),
        });
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        assert_eq!(alice.hear(&mut world), None, "{odd}");
        assert!(world.status("bob").is_empty(), "{odd}");
    }
}

/// A response under the right id but of another exchange answers nothing: whoever sends it and we do not mean the
/// same.
#[test]
fn s109_a_response_of_another_exchange_is_no_response() {
    let mut world = world(8).site(alice());
    let mut bob = Puppet::bob();
    world.up("alice");
    bob.establish(&mut world);
    let probe = sa::Order::Probe(world.status("alice")[0].id);
    let order = world.order("alice", probe);
    let (header, _) = bob.asked(&mut world).expect("a probe");
    bob.reply(&mut world, &wire::Header { exchange: ExchangeType::CREATE_CHILD_SA, ..header }, &[]);
    world.run(std::time::Duration::from_millis(100));
    assert!(matches!(world.reply(order), Some(sa::Reply::Refused(_))), "{:?}", world.reply(order));
    assert_eq!(world.host("alice").dataplane.sad().count(), 0);
}

/// A response that cannot be used leaves nothing here, and the peer hears of it by a Delete; no error goes out.
//= rfc7296 §2.21
#[test]
fn a_response_that_cannot_be_used_ends_in_a_delete() {
    let odd: [fn(&Puppet) -> Payload<'static>; 2] =
        [|bob| Payload::Sa(vec![bob.esp_proposal()]), |bob| Payload::IdR(bob.identification())];
    for make in odd {
        let mut world = world(7).site(alice());
        let mut bob = Puppet::bob();
        world.up("alice");
        bob.establish(&mut world);
        let id = world.status("alice")[0].id;
        world.order("alice", sa::Order::Probe(id));
        let (header, _) = bob.asked(&mut world).expect("a probe");
        bob.reply(&mut world, &header, &[make(&bob)]);
        let (header, payloads) = bob.asked(&mut world).expect("a Delete");
        assert_eq!(payloads, [Payload::Delete(Delete::ike_sa())]);
        bob.reply(&mut world, &header, &[]);
        world.run(std::time::Duration::from_secs(1));
        assert_eq!((world.status("alice").len(), world.host("alice").dataplane.sad().count()), (0, 0));
    }
}

/// ESP that no child takes is told to whoever is established there, once a minute, and nothing else comes of it.
//= rfc7296 §2.21.4
#[test]
fn esp_with_an_unknown_spi_is_told_to_the_peer() {
    let mut world = world(8).site(alice());
    let mut bob = Puppet::bob();
    world.up("alice");
    bob.establish(&mut world);
    let own = world.host("alice").dataplane.sad().next().expect("a child").inbound.spi;
    let (spi, remote) = (base::EspSpi(0x1234_5678), bob.address);
    let arrives = |world: &mut sim::World, spi, remote| {
        world.dataplane_event("alice", dataplane::DataplaneEvent::UnknownSpi { spi, remote });
    };
    // A child that stands is not unknown any more, and nobody is established at that other place.
    arrives(&mut world, own, remote);
    arrives(&mut world, spi, "203.0.113.9:4500".parse().expect("an address"));
    assert!(bob.asked(&mut world).is_none());
    arrives(&mut world, spi, remote);
    let (header, payloads) = bob.asked(&mut world).expect("a word");
    let [Payload::Notify(notify)] = &payloads[..] else { panic!("{}", wire::summary(&payloads)) };
    assert_eq!((notify.kind, &notify.data[..]), (NotifyType::INVALID_SPI, &spi.0.to_be_bytes()[..]));
    bob.reply(&mut world, &header, &[]);
    for _ in 0..100 {
        arrives(&mut world, spi, remote);
    }
    assert!(bob.asked(&mut world).is_none(), "not again so soon");
    world.run(std::time::Duration::from_secs(20));
    assert_eq!(world.status("alice").len(), 1);
}
