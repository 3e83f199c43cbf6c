//! What two sides offer and want.

use sa::{RefusalKind, Reply};
use sim::established;
use sim::site::{esp, ike};
use suite::puppet::ike_proposal;
use suite::{Puppet, alice, answered, bob, is_clean, notifies, world};
use wire::num::{Encr, ExchangeType, Integ, KeMethod, NotifyType, Prf, TransformType};
use wire::{Message, Payload, Transform};

#[test]
fn s008_no_common_proposal_is_told_at_both_ends() {
    let other = vec![ike(Encr::AES_CBC, 128, Integ::HMAC_SHA1_96, &[KeMethod::CURVE25519])];
    let mut world = world(1).peers(alice(), bob().with(|c| c.proposals = other));
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => {
            assert_eq!((refusal.kind, refusal.by_peer), (RefusalKind::NoProposalChosen, true));
            assert!(refusal.reason.to_lowercase().contains("aes256gcm16"), "{}", refusal.reason);
        }
        other => panic!("{other:?}"),
    }
    let refusals = world.host("bob").refusals();
    let reason = refusals[0].reason.to_lowercase();
    assert_eq!(refusals[0].kind, RefusalKind::NoProposalChosen);
    assert!(reason.contains("aes256gcm16") && reason.contains("aes128"), "{reason}");
    assert_eq!(refusals[0].connection.as_deref(), Some("net"));
    assert!(is_clean(&mut world));
}

//= rfc7296 §3.3.6
#[test]
fn s009_the_first_acceptable_of_several_proposals_is_taken() {
    let many = vec![
        ike(Encr::AES_CCM_16, 256, Integ::NONE, &[KeMethod::CURVE25519]),
        ike(Encr::AES_CBC, 256, Integ::HMAC_SHA2_256_128, &[KeMethod::CURVE25519]),
        ike(Encr::AES_GCM_16, 256, Integ::NONE, &[KeMethod::CURVE25519]),
    ];
    let mut world = world(2).peers(alice().with(|c| c.proposals = many), bob());
    world.up("alice");
    world.until(established);
    let suite = world.status("alice")[0].suite.expect("a suite");
    assert_eq!((suite.encr, suite.key_bits), (Encr::AES_GCM_16, 256));
}

/// Every algorithm that this project has, through a whole handshake (CVE-2016-3071: an AES-XCBC that
/// was offered and not there).
#[test]
fn cve_2016_3071_every_encryption_and_every_prf_carries_a_handshake() {
    let encryptions = [
        (Encr::AES_GCM_16, 128, Integ::NONE),
        (Encr::AES_GCM_12, 192, Integ::NONE),
        (Encr::AES_GCM_8, 256, Integ::NONE),
        (Encr::AES_CCM_16, 128, Integ::NONE),
        (Encr::AES_CCM_12, 256, Integ::NONE),
        (Encr::AES_CCM_8, 192, Integ::NONE),
        (Encr::CHACHA20_POLY1305, 0, Integ::NONE),
        (Encr::AES_CBC, 128, Integ::HMAC_SHA1_96),
        (Encr::AES_CBC, 192, Integ::HMAC_SHA2_384_192),
        (Encr::AES_CBC, 256, Integ::HMAC_SHA2_512_256),
        (Encr::AES_CTR, 256, Integ::HMAC_SHA2_256_128),
        (Encr::AES_CBC, 128, Integ::AES_XCBC_96),
        (Encr::AES_CBC, 128, Integ::AES_CMAC_96),
        (Encr::TRIPLE_DES, 0, Integ::HMAC_MD5_96),
    ];
    let prfs = [
        Prf::HMAC_SHA1,
        Prf::HMAC_SHA2_256,
        Prf::HMAC_SHA2_384,
        Prf::HMAC_SHA2_512,
        Prf::AES128_XCBC,
        Prf::AES128_CMAC,
        Prf::HMAC_MD5,
    ];
    for (index, (encr, bits, integ)) in encryptions.into_iter().enumerate() {
        let prf = prfs[index % prfs.len()];
        let mut proposal = ike(encr, bits, integ, &[KeMethod::CURVE25519]);
        proposal.prf = vec![prf];
        let site = |site: sim::Site| {
            site.with(|c| c.proposals = vec![proposal.clone()])
                .child(|child| child.esp_proposals = vec![esp(encr, bits, integ, &[])])
        };
        let mut world = world(10 + index as u64).peers(site(alice()), site(bob()));
        let order = world.up("alice");
        world.until(answered);
        assert!(
            matches!(world.reply(order), Some(Reply::Up { .. })),
            "{encr} {prf}: {:?}",
            world.reply(order)
        );
        assert!(established(&world), "{encr} {bits} {integ} {prf}");
    }
}

#[test]
fn every_group_carries_a_handshake() {
    let groups = [
        KeMethod::CURVE25519,
        KeMethod::CURVE448,
        KeMethod::ECP_256,
        KeMethod::ECP_384,
        KeMethod::ECP_521,
        KeMethod::BRAINPOOL_256,
        KeMethod::BRAINPOOL_384,
        KeMethod::BRAINPOOL_512,
        KeMethod::ML_KEM_512,
        KeMethod::ML_KEM_768,
        KeMethod::ML_KEM_1024,
        KeMethod::MODP_1024,
        KeMethod::MODP_1536,
        KeMethod::MODP_2048,
        KeMethod::MODP_3072,
        KeMethod::MODP_4096,
    ];
    for (index, group) in groups.into_iter().enumerate() {
        let site = |site: sim::Site| {
            site.with(|c| c.proposals = vec![ike(Encr::AES_GCM_16, 256, Integ::NONE, &[group])])
        };
        let mut world = world(40 + index as u64).peers(site(alice()), site(bob()));
        world.up("alice");
        world.until(established);
        assert_eq!(world.status("bob")[0].suite.map(|suite| suite.ke), Some(group));
    }
}

/// CVE-2016-5391 and others: a proposal that lacks a kind of transform is no match, whatever else it has.
//= rfc7296 §3.3.3
#[test]
fn cve_2016_5391_a_proposal_without_a_mandatory_transform_is_not_chosen() {
    for missing in [TransformType::ENCR, TransformType::PRF, TransformType::KE] {
        let mut world = world(60).site(bob());
        let mut alice = Puppet::alice();
        let mut payloads = alice.init_payloads();
        let mut proposal = ike_proposal();
        proposal.transforms.retain(|transform| transform.kind != missing);
        payloads[0] = Payload::Sa(vec![proposal]);
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        let response = alice.hear(&mut world).expect("an answer");
        let message = Message::parse(&response).expect("a message");
        assert_eq!(notifies(&message.payloads), [NotifyType::NO_PROPOSAL_CHOSEN], "{missing}");
        assert!(is_clean(&mut world));
    }
}

/// CVE-2011-3380: key lengths that no cipher has.
#[test]
fn cve_2011_3380_a_key_length_that_does_not_exist_is_not_chosen() {
    for bits in [None, Some(0), Some(1), Some(64), Some(257), Some(512), Some(65_535)] {
        let mut world = world(61).site(bob());
        let mut alice = Puppet::alice();
        let mut payloads = alice.init_payloads();
        let mut proposal = ike_proposal();
        proposal.transforms[0] = Transform::new(TransformType::ENCR, Encr::AES_GCM_16.0, bits);
        payloads[0] = Payload::Sa(vec![proposal]);
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        let response = alice.hear(&mut world).expect("an answer");
        let message = Message::parse(&response).expect("a message");
        assert_eq!(notifies(&message.payloads), [NotifyType::NO_PROPOSAL_CHOSEN], "{bits:?}");
        assert!(is_clean(&mut world));
    }
}

/// A transform of an unknown type makes its proposal unacceptable, and the next one is looked at.
//= rfc7296 §3.3.6
#[test]
fn an_unknown_transform_type_spoils_its_proposal_only() {
    let mut world = world(62).site(bob());
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    let mut strange = ike_proposal();
    strange.transforms.push(Transform::new(TransformType(200), 1, None));
    let mut right = ike_proposal();
    right.number = 2;
    payloads[0] = Payload::Sa(vec![strange, right]);
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    let response = alice.hear(&mut world).expect("an answer");
    let message = Message::parse(&response).expect("a message");
    assert_eq!(suite::reader::proposal(&message.payloads).number, 2);
}

/// A responder that answers with what was not offered is not followed.
//= rfc7296 §2.7
#[test]
fn an_answer_that_was_not_offered_is_refused() {
    let mut world = world(63).site(alice());
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    bob.answer_init(&mut world);
    let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
    let mut payloads = bob.auth_payloads();
    let mut child = bob.esp_proposal();
    child.transforms[0] = Transform::new(TransformType::ENCR, Encr::AES_GCM_16.0, Some(128));
    payloads[2] = Payload::Sa(vec![child]);
    bob.reply(&mut world, &header, &payloads);
    while let Some((header, _)) = bob.asked(&mut world) {
        bob.reply(&mut world, &header, &[]);
    }
    world.until(answered);
    assert_eq!(world.host("alice").dataplane.sad().count(), 0);
    match world.reply(order) {
        Some(Reply::Refused(_)) => {}
        Some(Reply::Up { children, refused, .. }) => assert!(children.is_empty() && !refused.is_empty()),
        other => panic!("{other:?}"),
    }
    assert_eq!(header.exchange, ExchangeType::IKE_AUTH);
}
