//! Exchanges that nobody knows, or that come too early or too late.

use sim::established;
use suite::{Puppet, alice, bob, holdings, notifies, world};
use wire::num::{ExchangeType, NotifyType, PayloadType};
use wire::{Delete, Payload};

/// An exchange that we do not know, under protection: INVALID_SYNTAX or an answer without effect; the
/// IKE SA lives as far as RFC 7296 §2.21.3 lets it.
#[test]
fn an_unknown_exchange_is_answered_and_carries_nothing_out() {
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
fn requests_before_ike_auth_are_not_carried_out() {
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
