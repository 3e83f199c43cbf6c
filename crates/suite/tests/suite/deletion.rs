//! The end of an IKE SA and of a child.

use base::EspSpi;
use sa::{Event, Fate, Order, Reply, Target};
use sim::established;
use std::time::Duration;
use suite::{Puppet, alice, answered, bob, holdings, is_clean, world};
use wire::num::{ExchangeType, ProtocolId};
use wire::{Delete, Payload};

//= rfc7296 §1.4.1
#[test]
fn s106_either_side_closes_the_ike_sa_and_all_goes() {
    for name in ["alice", "bob"] {
        let mut world = world(1).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        let order = world.down(name);
        world.until(answered);
        assert!(
            matches!(world.reply(order), Some(Reply::Down { ike: 1, children: 1 })),
            "{:?}",
            world.reply(order)
        );
        assert!(is_clean(&mut world));
        let other = if name == "alice" { "bob" } else { "alice" };
        assert_eq!(world.host(name).count(|e| matches!(e, Event::IkeDown(_, Fate::Ordered))), 1);
        assert_eq!(world.host(other).count(|e| matches!(e, Event::IkeDown(_, Fate::DeletedByPeer))), 1);
        assert_eq!(world.wire.len(), 6);
    }
}

//= rfc7296 §1.4.1
#[test]
fn s106_either_side_closes_the_child_and_the_ike_sa_stays() {
    for name in ["alice", "bob"] {
        let mut world = world(2).peers(alice(), bob());
        world.up("alice");
        world.until(established);
        let target = Target::Child("net".to_string(), "lan".to_string());
        let order = world.order(name, Order::Down(target));
        world.until(answered);
        assert!(
            matches!(world.reply(order), Some(Reply::Down { ike: 0, children: 1 })),
            "{:?}",
            world.reply(order)
        );
        for name in ["alice", "bob"] {
            assert_eq!((world.status(name).len(), world.status(name)[0].children.len()), (1, 0));
            assert_eq!(world.host(name).dataplane.sad().count(), 0);
        }
    }
}

/// The answer to a Delete names the other half of the pair.
//= rfc7296 §1.4.1
#[test]
fn s106_the_answer_names_the_other_direction() {
    let mut world = world(3).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let inbound = world.host("bob").dataplane.sad().next().expect("a child").inbound.spi;
    let ours = Delete::children(ProtocolId::ESP, &[alice.esp_spi]);
    let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[Payload::Delete(ours)]);
    assert_eq!(answer, Some(vec![Payload::Delete(Delete::children(ProtocolId::ESP, &[inbound]))]));
    assert_eq!(world.host("bob").dataplane.sad().count(), 0);
    assert_eq!(world.status("bob").len(), 1);
}

/// SPIs that are nobody's, AH's, too many, and IKE with SPIs in it.
#[test]
fn deletes_of_what_is_not_there_are_harmless() {
    let mut world = world(4).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let before = holdings(&mut world, "bob");
    let many: Vec<EspSpi> = (0..200).map(EspSpi).collect();
    for delete in [
        Delete::children(ProtocolId::ESP, &[EspSpi(1)]),
        Delete::children(ProtocolId::ESP, &[]),
        Delete::children(ProtocolId::AH, &[alice.esp_spi]),
        Delete::children(ProtocolId::ESP, &many),
        Delete { protocol: ProtocolId(9), spi_size: 4, spis: vec![0; 4].into() },
    ] {
        let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[Payload::Delete(delete.clone())]);
        assert!(answer.is_some(), "{delete:?}");
        assert_eq!(holdings(&mut world, "bob"), before, "{delete:?}");
    }
}

/// CVE-2023-38712: the IKE SA's Delete, another one, and more behind it in one message.
#[test]
fn cve_2023_38712_a_message_with_several_deletes_and_more_behind_them_ends_the_sa_once() {
    let mut world = world(5).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let notify = wire::Notify::new(wire::num::NotifyType::INITIAL_CONTACT, Vec::new());
    let payloads = [
        Payload::Delete(Delete::ike_sa()),
        Payload::Delete(Delete::children(ProtocolId::ESP, &[alice.esp_spi, alice.esp_spi])),
        Payload::Delete(Delete::ike_sa()),
        Payload::Notify(notify),
    ];
    alice.ask(&mut world, ExchangeType::INFORMATIONAL, &payloads);
    world.run(Duration::from_secs(1));
    assert!(is_clean(&mut world));
    assert_eq!(world.host("bob").count(|e| matches!(e, Event::IkeDown(..))), 1);
}

/// The peer does not hear of it: the SA goes all the same, after the usual attempts.
#[test]
fn a_deletion_that_nobody_answers_ends_too() {
    let mut world = world(6).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    world.attack(|scene| scene.take());
    let order = world.down("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Down { ike: 1, .. })), "{:?}", world.reply(order));
    assert!(world.status("alice").is_empty());
    assert_eq!(world.host("alice").dataplane.sad().count(), 0);
    // Bob finds out by his own probes.
    world.run(Duration::from_secs(400));
    assert!(is_clean(&mut world));
}

/// Requests on an SA that has been deleted find nobody (CVE-2009-0790).
#[test]
fn cve_2009_0790_a_deleted_sa_does_not_answer() {
    let mut world = world(7).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let delete = [Payload::Delete(Delete::ike_sa())];
    assert!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &delete).is_some());
    world.run(Duration::from_secs(120));
    let request = alice.request(ExchangeType::INFORMATIONAL, &[]);
    alice.deaf(&world);
    alice.send(&mut world, &request);
    // It may say in the clear that it does not know the SA (RFC 7296 §2.21.4).
    if let Some(answer) = alice.hear(&mut world) {
        let message = wire::Message::parse(&answer).expect("an unprotected message");
        assert_eq!(suite::notifies(&message.payloads), [wire::num::NotifyType::INVALID_IKE_SPI]);
    }
    assert!(is_clean(&mut world));
}

/// A deletion whose answer was lost is repeated, and answered again although the SA is gone.
#[test]
fn a_lost_answer_to_a_deletion_is_given_again() {
    let mut world = world(8).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let request = alice.request(ExchangeType::INFORMATIONAL, &[Payload::Delete(Delete::ike_sa())]);
    alice.send(&mut world, &request);
    let first = alice.hear(&mut world);
    assert!(first.is_some());
    world.run(Duration::from_secs(2));
    alice.send(&mut world, &request);
    let second = alice.hear(&mut world);
    assert!(second.is_none() || second == first, "the same octets or none");
}
