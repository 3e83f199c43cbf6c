//! The responder wants another group than the initiator guessed.

use policy::Proposal;
use sa::{RefusalKind, Reply};
use sim::site::ike;
use sim::{Datagram, established};
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, is_clean, notifies, world};
use wire::num::{Encr, ExchangeType, Integ, KeMethod, NotifyType, PayloadType};
use wire::{Flags, Header, KeyExchange, Message, Notify, Payload};

fn groups(list: &[KeMethod]) -> Vec<Proposal> {
    vec![ike(Encr::AES_GCM_16, 256, Integ::NONE, list)]
}

fn two_groups() -> World {
    let both = groups(&[KeMethod::ECP_256, KeMethod::CURVE25519]);
    world(1).peers(alice().with(|c| c.proposals = both), bob())
}

//= rfc7296 §1.2
#[test]
fn s005_the_initiator_tries_again_with_the_group_that_is_wanted() {
    let mut world = two_groups();
    world.up("alice");
    world.until(established);
    assert_eq!(world.wire.len(), 6);
    assert_eq!(world.stats.get("another group demanded"), 1);
    assert_eq!(world.status("alice")[0].suite.map(|suite| suite.ke), Some(KeMethod::CURVE25519));
    // The whole offer stands in the second request too, so that nobody can talk the two down.
    let offers: Vec<_> = [0, 2]
        .map(|n| {
            let message = Message::parse(world.wire[n].1.message()).unwrap().into_owned();
            message.payloads.into_iter().find(|payload| payload.kind() == PayloadType::SA)
        })
        .into();
    assert_eq!(offers[0], offers[1]);
}

fn wish(request: &Header, group: u16) -> Vec<u8> {
    let flags = Flags { initiator: false, version: false, response: true };
    let header =
        Header::new(request.spi_i, base::IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, request.message_id);
    let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, group.to_be_bytes().to_vec());
    Message { header, payloads: vec![Payload::Notify(notify)] }.emit()
}

/// CVE-2014-9221: every group that somebody could ask for. What was not offered is not used, and an
/// attacker's wish does not end the handshake with the real peer.
//= rfc7296 §2.21.1
#[test]
fn a_wish_for_a_group_that_was_not_offered_is_ignored() {
    for group in (0..=40).chain([255, 1023, 1024, 1025, 32_767, 65_535]) {
        if group == KeMethod::CURVE25519.0 {
            continue;
        }
        let mut world = world(2).peers(alice(), bob()).attacked(move |scene| {
            let Some(peek) = scene.datagram.peek() else { return };
            if peek.exchange == sim::peek::IKE_SA_INIT && !peek.response {
                let request = Header::parse(scene.datagram.message()).unwrap();
                let forged = Datagram::ike(scene.datagram.to, scene.datagram.from, &wish(&request, group));
                scene.send(Duration::from_millis(1), forged);
            }
        });
        world.up("alice");
        world.until(established);
    }
}

/// A peer that sends the initiator from group to group for ever is left.
#[test]
fn wishes_do_not_go_on_for_ever() {
    let both = groups(&[KeMethod::ECP_256, KeMethod::CURVE25519]);
    let mut world = world(3).site(alice().with(|c| c.proposals = both));
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    let mut requests = 0;
    while let Some(request) = bob.hear(&mut world) {
        requests += 1;
        let message = Message::parse(&request).unwrap();
        let now = suite::reader::ke(&message.payloads).unwrap().method;
        let other = if now == KeMethod::ECP_256 { KeMethod::CURVE25519 } else { KeMethod::ECP_256 };
        let answer = wish(&message.header, other.0);
        bob.send(&mut world, &answer);
        assert!(requests < 20, "{requests} requests");
    }
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{:?}", world.reply(order));
    assert!(is_clean(&mut world));
}

/// CVE-2023-41913, CVE-2008-4551, CVE-2015-3240: public values that are none. The responder refuses,
/// makes no SA and lives on.
//= rfc6989 §2.1
#[test]
fn public_values_of_a_wrong_length_or_value_are_refused() {
    for (group, len) in [
        (KeMethod::CURVE25519, 32),
        (KeMethod::CURVE448, 56),
        (KeMethod::ECP_256, 64),
        (KeMethod::ECP_521, 132),
        (KeMethod::MODP_2048, 256),
    ] {
        for (what, value) in [
            ("nothing", vec![]),
            ("one octet too few", vec![9; len - 1]),
            ("one octet too many", vec![9; len + 1]),
            ("zero", vec![0; len]),
            ("one", [vec![0; len - 1], vec![1]].concat()),
            ("all ones", vec![0xff; len]),
            ("far too much", vec![9; 4096]),
        ] {
            // One at the front is a small x25519 and x448 coordinate: little-endian 2^248 is a fine point.
            let is_fine = what == "one" && [KeMethod::CURVE25519, KeMethod::CURVE448].contains(&group);
            let is_random = what == "all ones" && [KeMethod::CURVE25519, KeMethod::CURVE448].contains(&group);
            if is_fine || is_random {
                continue;
            }
            let site = bob().with(|c| c.proposals = groups(&[group]));
            let mut world = world(4).site(site);
            let mut alice = Puppet::alice();
            let mut payloads = alice.init_payloads();
            let Payload::Sa(proposals) = &mut payloads[0] else { panic!() };
            proposals[0].transforms[2].id = group.0;
            payloads[1] = Payload::Ke(KeyExchange { method: group, data: value.into() });
            let request = alice.init_request(payloads);
            alice.send(&mut world, &request);
            if let Some(response) = alice.hear(&mut world) {
                let message = Message::parse(&response).unwrap();
                let said = notifies(&message.payloads);
                assert!(!said.is_empty() && said[0].0 < 16_384, "{group} {what}: {said:?}");
            }
            assert!(is_clean(&mut world), "{group} {what}");
        }
    }
}

#[test]
fn the_person_hears_which_group_was_wanted() {
    let only = groups(&[KeMethod::ECP_256]);
    let mut world = world(5).peers(alice().with(|c| c.proposals = only), bob());
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => {
            assert!(
                [RefusalKind::NoProposalChosen, RefusalKind::InvalidKe].contains(&refusal.kind),
                "{refusal:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}
