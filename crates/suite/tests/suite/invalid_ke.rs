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

/// Groups with the octets of their public values.
const GROUPS: [(KeMethod, usize); 7] = [
    (KeMethod::CURVE25519, 32),
    (KeMethod::CURVE448, 56),
    (KeMethod::ECP_256, 64),
    (KeMethod::ECP_384, 96),
    (KeMethod::ECP_521, 132),
    (KeMethod::BRAINPOOL_256, 64),
    (KeMethod::MODP_2048, 256),
];

/// CVE-2023-41913: values that are longer or shorter than the group's.
//= rfc6989 §2.1
#[test]
fn cve_2023_41913_public_values_of_a_wrong_length() {
    for (group, len) in GROUPS {
        for wrong in [0, 1, len - 1, len + 1, 2 * len, 4096] {
            refused_by_both(group, &vec![9; wrong]);
        }
    }
}

/// CVE-2008-4551: zero, one, all ones; of a finite field the prime and the one below it as well.
//= rfc6989 §2.1
#[test]
fn cve_2008_4551_public_values_that_are_no_elements() {
    let prime = testkit::hex(MODP_2048_PRIME);
    let below = [&prime[..255], &[prime[255] - 1]].concat();
    for (group, len) in GROUPS {
        let is_montgomery = [KeMethod::CURVE25519, KeMethod::CURVE448].contains(&group);
        let one = [vec![0; len - 1], vec![1]].concat();
        // Every octet string but those of small order is a fine value of x25519 and x448.
        let little_one = [vec![1], vec![0; len - 1]].concat();
        for value in if is_montgomery { vec![little_one] } else { vec![one, vec![0xff; len]] } {
            refused_by_both(group, &value);
        }
    }
    for value in [prime, below] {
        refused_by_both(KeMethod::MODP_2048, &value);
    }
}

/// The prime of group 14 (RFC 3526 §3).
const MODP_2048_PRIME: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd\
        ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7edee386bfb5a899fa5\
        ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb\
        9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9\
        de2bcbf6955817183995497cea956ae515d2261898fa051015728e5a8aacaa68ffffffffffffffff";

/// CVE-2015-3240: zero.
//= rfc6989 §2.1
#[test]
fn cve_2015_3240_public_values_of_zero() {
    for (group, len) in GROUPS {
        refused_by_both(group, &vec![0; len]);
    }
}

/// Zero, nothing, and no KE payload at all, to a responder and to an initiator.
#[test]
fn s014_a_public_value_of_zero_or_nothing_or_none() {
    for (group, len) in GROUPS {
        refused_by_both(group, &vec![0; len]);
        refused_by_both(group, &[]);
    }
    let mut world = world(4).site(bob());
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    payloads.retain(|payload| payload.kind() != PayloadType::KE);
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    alice.hear(&mut world);
    assert!(is_clean(&mut world));
    refused_by_an_initiator(KeMethod::CURVE25519, None);
}

fn refused_by_both(group: KeMethod, value: &[u8]) {
    refused_by_a_responder(group, value);
    refused_by_an_initiator(group, Some(value));
}

/// A responder refuses, makes no SA and lives on.
fn refused_by_a_responder(group: KeMethod, value: &[u8]) {
    let what = format!("{group} {:02x?}", &value[..value.len().min(4)]);
    let site = bob().with(|c| c.proposals = groups(&[group]));
    let mut world = world(4).site(site);
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    let Payload::Sa(proposals) = &mut payloads[0] else { panic!() };
    proposals[0].transforms[2].id = group.0;
    payloads[1] = Payload::Ke(KeyExchange { method: group, data: value.to_vec().into() });
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    if let Some(response) = alice.hear(&mut world) {
        let message = Message::parse(&response).unwrap();
        let said = notifies(&message.payloads);
        assert!(!said.is_empty() && said[0].0 < 16_384, "{what}: {said:?}");
    }
    assert!(is_clean(&mut world), "{what}");
}

/// An initiator keeps waiting for the true answer, has no keys of that value, and gives up in the end.
fn refused_by_an_initiator(group: KeMethod, value: Option<&[u8]>) {
    let mut world = world(5).site(alice().with(|c| c.proposals = groups(&[group])));
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    let request = bob.hear(&mut world).expect("IKE_SA_INIT");
    let header = Header::parse(&request).unwrap();
    let flags = Flags { initiator: false, version: false, response: true };
    let mut proposal = suite::puppet::ike_proposal();
    proposal.transforms[2].id = group.0;
    let mut payloads = vec![Payload::Sa(vec![proposal]), Payload::Nonce(vec![7; 32].into())];
    if let Some(value) = value {
        payloads.insert(1, Payload::Ke(KeyExchange { method: group, data: value.to_vec().into() }));
    }
    let header =
        Header::new(header.spi_i, base::IkeSpi(77), ExchangeType::IKE_SA_INIT, flags, header.message_id);
    let answer = Message { header, payloads }.emit();
    bob.send(&mut world, &answer);
    world.run(Duration::from_secs(1));
    let is_auth = |(_, datagram): &(_, Datagram)| datagram.peek().is_some_and(|peek| peek.is_protected());
    assert!(!world.wire.iter().any(is_auth), "{group}: it went on to IKE_AUTH");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{group}: {:?}", world.reply(order));
    assert!(is_clean(&mut world), "{group}");
}

/// Groups of private use, and numbers that are no groups, as the only one and before one that we have.
#[test]
fn s180_groups_of_private_use_are_not_chosen() {
    for group in [0, 3, 4, 13, 1023, 1024, 1025, 1040, 32_768, 65_535] {
        for also in [false, true] {
            let mut world = world(6).site(bob());
            let mut alice = Puppet::alice();
            let mut payloads = alice.init_payloads();
            let Payload::Sa(proposals) = &mut payloads[0] else { panic!() };
            let strange = wire::Transform::new(wire::num::TransformType::KE, group, None);
            match also {
                true => proposals[0].transforms.insert(2, strange),
                false => proposals[0].transforms[2] = strange,
            }
            payloads[1] = Payload::Ke(KeyExchange { method: KeMethod(group), data: vec![9; 64].into() });
            let request = alice.init_request(payloads);
            alice.send(&mut world, &request);
            let response = alice.hear(&mut world).expect("an answer");
            let message = Message::parse(&response).unwrap();
            let wanted = if also { NotifyType::INVALID_KE_PAYLOAD } else { NotifyType::NO_PROPOSAL_CHOSEN };
            assert_eq!(notifies(&message.payloads), [wanted], "{group}");
            assert!(is_clean(&mut world), "{group}");
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
