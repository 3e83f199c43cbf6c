//! Further children of a standing IKE SA (RFC 7296 §1.3.1).

use sa::{RefusalKind, Reply};
use sim::site::esp;
use sim::{Site, established};
use std::sync::Arc;
use suite::reader::{ke, nonce};
use suite::{Puppet, World, alice, answered, bob, holdings, notifies, world};
use wire::num::{Encr, ExchangeType, Integ, KeMethod, NotifyType, PayloadType, ProtocolId, TransformType};
use wire::{KeyExchange, Payload, Transform};

fn two(seed: u64) -> World {
    let site = |site: Site, turn: bool| {
        let (a, b) = if turn { ("10.9.2.0/24", "10.9.1.0/24") } else { ("10.9.1.0/24", "10.9.2.0/24") };
        site.also("dmz", a, b)
    };
    world(seed).peers(site(alice(), false), site(bob(), true))
}

/// The ESP proposals of a site's second child.
fn second(site: Site, groups: &'static [KeMethod]) -> Site {
    site.with(|connection| {
        let child = Arc::make_mut(&mut connection.children[1]);
        child.esp_proposals = vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, groups)];
    })
}

//= rfc7296 §1.3.1
#[test]
fn an_order_for_all_children_brings_up_each() {
    let mut world = two(1);
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Up { children, refused, .. }) => {
            let mut children = children.clone();
            children.sort();
            assert_eq!((children, refused.len()), (vec!["dmz".to_string(), "lan".to_string()], 0));
        }
        other => panic!("{other:?}"),
    }
    assert!(established(&world));
    assert_eq!(world.host("bob").dataplane.sad().count(), 2);
    assert_eq!(world.wire.len(), 6);
}

#[test]
fn a_child_can_be_brought_up_later_and_from_the_other_side() {
    let mut world = two(2);
    world.up_child("alice", 0, Some("lan"));
    world.until(established);
    let order = world.up_child("bob", 0, Some("dmz"));
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Up { .. })));
    assert_eq!((world.status("alice").len(), world.host("alice").dataplane.sad().count()), (1, 2));
}

#[test]
fn a_child_that_is_not_configured_is_refused_with_the_names_that_are() {
    let mut world = two(3);
    let order = world.up_child("alice", 0, Some("dzm"));
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, RefusalKind::NotFound);
            assert!(refusal.reason.contains("lan") && refusal.reason.contains("dmz"), "{}", refusal.reason);
        }
        other => panic!("{other:?}"),
    }
}

//= rfc7296 §2.17
#[test]
fn a_child_with_its_own_key_exchange_has_keys_of_its_own() {
    let site = |site: Site, turn: bool| {
        let (a, b) = if turn { ("10.9.2.0/24", "10.9.1.0/24") } else { ("10.9.1.0/24", "10.9.2.0/24") };
        second(site.also("dmz", a, b), &[KeMethod::ECP_256])
    };
    let mut world = world(4).peers(site(alice(), false), site(bob(), true));
    world.up("alice");
    world.until(answered);
    let children = &world.status("alice")[0].children;
    let ke = |name: &str| children.iter().find(|child| child.name == name).map(|child| child.suite.ke);
    assert_eq!((ke("lan"), ke("dmz")), (Some(KeMethod::NONE), Some(KeMethod::ECP_256)));
    assert!(established(&world));
}

//= rfc7296 §1.3
#[test]
fn another_group_for_a_child_is_asked_for_and_given() {
    let mut world = world(5).peers(
        second(alice().also("dmz", "10.9.1.0/24", "10.9.2.0/24"), &[KeMethod::ECP_256, KeMethod::CURVE25519]),
        second(bob().also("dmz", "10.9.2.0/24", "10.9.1.0/24"), &[KeMethod::CURVE25519]),
    );
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Up { refused, .. }) if refused.is_empty()));
    let children = &world.status("bob")[0].children;
    assert!(children.iter().any(|child| child.suite.ke == KeMethod::CURVE25519));
}

#[test]
fn a_refused_child_leaves_the_others_alone() {
    let strange = alice().also("dmz", "10.9.1.0/24", "172.31.0.0/16");
    let mut world = world(6).peers(strange, bob());
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Up { children, refused, .. }) => {
            assert_eq!(children, &["lan".to_string()]);
            assert_eq!((refused[0].0.as_str(), refused[0].1.kind), ("dmz", RefusalKind::TsUnacceptable));
        }
        other => panic!("{other:?}"),
    }
    assert!(world.is_mirrored());
}

/// What a right CREATE_CHILD_SA request of the puppet holds.
fn request(alice: &Puppet, selectors: bool) -> Vec<Payload<'static>> {
    let mut payloads = vec![Payload::Sa(vec![alice.esp_proposal()]), Payload::Nonce(vec![5; 32].into())];
    if selectors {
        payloads.extend(alice.selectors());
    }
    payloads
}

fn standing(seed: u64) -> (World, Puppet) {
    let mut world = world(seed).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    alice.esp_spi = base::EspSpi(0xdddd_0000);
    (world, alice)
}

#[test]
fn a_second_child_with_the_same_selectors_is_made_or_refused_by_notification() {
    let (mut world, mut alice) = standing(7);
    let payloads = request(&alice, true);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    let made = answer.iter().any(|payload| payload.kind() == PayloadType::SA);
    assert_eq!(world.host("bob").dataplane.sad().count(), if made { 2 } else { 1 });
    assert!(made || notifies(&answer).iter().any(|kind| kind.0 < 16_384));
    assert!(!made || nonce(&answer).len() >= 16 && ke(&answer).is_none());
}

/// Every payload left out in turn; nothing is installed, the IKE SA stands as far as the answer lets it.
#[test]
fn cve_2014_2037_a_request_that_lacks_a_payload_installs_nothing() {
    for missing in [PayloadType::SA, PayloadType::NONCE, PayloadType::TSI, PayloadType::TSR] {
        let (mut world, mut alice) = standing(8);
        let mut payloads = request(&alice, true);
        payloads.retain(|payload| payload.kind() != missing);
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        assert!(
            notifies(&answer).iter().any(|kind| kind.0 < 16_384),
            "{missing}: {}",
            wire::summary(&answer)
        );
        assert!(world.host("bob").dataplane.sad().count() <= 1, "{missing}");
    }
}

/// A KE payload for a group that was not proposed, or with a value that is none.
#[test]
fn a_wrong_public_value_makes_no_child() {
    for (method, data) in [(KeMethod::ECP_256, vec![1; 64]), (KeMethod::CURVE25519, vec![0; 32])] {
        let mut world = world(9).site(bob().child(|child| {
            child.esp_proposals = vec![esp(Encr::AES_GCM_16, 256, Integ::NONE, &[KeMethod::CURVE25519])];
        }));
        let mut alice = Puppet::alice();
        alice.establish(&mut world);
        let mut proposal = alice.esp_proposal();
        proposal.spi = vec![1, 2, 3, 4].into();
        proposal.transforms.push(Transform::new(TransformType::KE, KeMethod::CURVE25519.0, None));
        let mut payloads = request(&alice, true);
        payloads[0] = Payload::Sa(vec![proposal]);
        payloads.insert(2, Payload::Ke(KeyExchange { method, data: data.into() }));
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        let said = notifies(&answer);
        let right =
            [NotifyType::INVALID_KE_PAYLOAD, NotifyType::INVALID_SYNTAX, NotifyType::NO_PROPOSAL_CHOSEN];
        assert!(said.iter().any(|kind| right.contains(kind)), "{said:?}");
        assert_eq!(world.host("bob").dataplane.sad().count(), 1);
    }
}

/// SPIs that ESP does not have (RFC 4303 §2.1), and SPIs of a wrong size.
#[test]
fn spis_that_cannot_be_are_refused() {
    for spi in [vec![0, 0, 0, 0], vec![0, 0, 0, 255], vec![], vec![1; 3], vec![1; 8]] {
        let (mut world, mut alice) = standing(10);
        let mut proposal = alice.esp_proposal();
        proposal.spi = spi.clone().into();
        let mut payloads = request(&alice, true);
        payloads[0] = Payload::Sa(vec![proposal]);
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        assert!(notifies(&answer).iter().any(|kind| kind.0 < 16_384), "{spi:?}: {}", wire::summary(&answer));
        assert!(world.host("bob").dataplane.sad().count() <= 1, "{spi:?}");
    }
}

/// AH, and protocols that nobody has.
#[test]
fn other_protocols_are_refused() {
    for protocol in [ProtocolId::AH, ProtocolId(0), ProtocolId(77)] {
        let (mut world, mut alice) = standing(11);
        let before = holdings(&mut world, "bob");
        let mut proposal = alice.esp_proposal();
        proposal.protocol = protocol;
        let mut payloads = request(&alice, true);
        payloads[0] = Payload::Sa(vec![proposal]);
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        assert!(
            notifies(&answer).contains(&NotifyType::NO_PROPOSAL_CHOSEN),
            "{protocol}: {}",
            wire::summary(&answer)
        );
        assert_eq!(holdings(&mut world, "bob"), before);
    }
}

/// AH beside ESP, and several of each: all are read, and the first of ESP that suits is taken with its number.
//= rfc7296 §3.3
#[test]
fn proposals_of_ah_and_esp_stand_side_by_side() {
    let (mut world, mut alice) = standing(16);
    let esp = alice.esp_proposal();
    let of = |number: u8, protocol: ProtocolId, transforms: Vec<Transform<'static>>| wire::Proposal {
        number,
        protocol,
        spi: vec![0xee, 0, 0, number].into(),
        transforms,
    };
    let hmac = Transform::new(TransformType::INTEG, Integ::HMAC_SHA2_256_128.0, None);
    let old = Transform::new(TransformType::ENCR, Encr::AES_CBC.0, Some(128));
    let numbers = esp.transforms[1].clone();
    let ah = vec![hmac.clone(), numbers.clone()];
    let proposals = vec![
        of(1, ProtocolId::AH, ah.clone()),
        of(2, ProtocolId::ESP, vec![old, hmac, numbers]),
        of(3, ProtocolId::AH, ah),
        of(4, ProtocolId::ESP, esp.transforms.clone()),
    ];
    let mut payloads = request(&alice, true);
    payloads[0] = Payload::Sa(proposals);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    let chosen = suite::reader::proposal(&answer);
    assert_eq!((chosen.number, chosen.protocol), (4, ProtocolId::ESP));
    let spi = base::EspSpi(0xee00_0004);
    assert!(world.host("bob").dataplane.sad().any(|spec| spec.outbound.spi == spi));
}

/// Sequence numbers of other kinds than the two that ESP has between two peers are not chosen (RFC 9827 §3).
//= rfc9827 §3
#[test]
fn other_kinds_of_sequence_numbers_are_not_chosen() {
    for (ids, chosen) in
        [(&[2u16][..], None), (&[1024, 65_535], None), (&[2, 0], Some(0)), (&[1024, 1], Some(1))]
    {
        let (mut world, mut alice) = standing(17);
        let mut proposal = alice.esp_proposal();
        proposal.transforms.truncate(1);
        proposal.transforms.extend(ids.iter().map(|id| Transform::new(TransformType::ESN, *id, None)));
        let mut payloads = request(&alice, true);
        payloads[0] = Payload::Sa(vec![proposal]);
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        match chosen {
            None => assert_eq!(notifies(&answer), [NotifyType::NO_PROPOSAL_CHOSEN], "{ids:?}"),
            Some(id) => {
                let proposal = suite::reader::proposal(&answer);
                let found: Vec<u16> = proposal.of(TransformType::ESN).map(|one| one.id).collect();
                assert_eq!(found, [id], "{ids:?}");
            }
        }
    }
}

/// As many children as a peer likes, up to the limit; then NO_ADDITIONAL_SAS.
//= rfc7296 §1.3
#[test]
fn children_are_bounded() {
    let (mut world, mut alice) = standing(12);
    let mut refused = false;
    for n in 1..600 {
        alice.esp_spi = base::EspSpi(0x1000_0000 + n);
        let payloads = request(&alice, true);
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        if notifies(&answer).contains(&NotifyType::NO_ADDITIONAL_SAS) {
            refused = true;
            break;
        }
    }
    assert!(refused, "{} children", world.host("bob").dataplane.sad().count());
    assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()));
}

/// Transport mode is asked for and agreed on, or the child is not made (RFC 7296 §1.3.1).
#[test]
fn s003_modes_have_to_agree() {
    let hosts = |site: Site, mode| {
        site.child(|child| {
            child.mode = mode;
            child.local_ts.clear();
            child.remote_ts.clear();
        })
    };
    let (tunnel, transport) = (dataplane::Mode::Tunnel, dataplane::Mode::Transport);
    let both = world(13).peers(hosts(alice(), transport), hosts(bob(), transport));
    let one = world(14).peers(hosts(alice(), transport), hosts(bob(), tunnel));
    let other = world(15).peers(hosts(alice(), tunnel), hosts(bob(), transport));
    for (mut world, agrees) in [(both, true), (one, false), (other, false)] {
        world.up("alice");
        world.until(answered);
        world.run(std::time::Duration::from_secs(5));
        assert_eq!(world.host("alice").dataplane.sad().count(), usize::from(agrees));
        assert_eq!(world.host("bob").dataplane.sad().count(), usize::from(agrees));
        assert!(!agrees || world.status("bob")[0].children[0].mode == dataplane::Mode::Transport);
    }
}
