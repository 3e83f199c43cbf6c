//! What went wrong in other implementations of IKEv2, each under its name. What concerns one procedure stands in the
//! file of that: `cargo xtask vulns` tells where.

use provider::Provider;
use sim::Site;
use std::sync::Arc;
use suite::puppet::ike_proposal;
use suite::{Puppet, alice, answered, bob, is_clean, notifies, world};
use testcerts::{Authority, Key};
use wire::num::{AuthMethod, Encr, ExchangeType, NotifyType, PayloadType};
use wire::{Authentication, CertRequest, Certificate, Message, Payload};

/// CVE-2009-1957, CVE-2009-1958, CVE-2013-6466, CVE-2013-6467, CVE-2014-2037: each mandatory payload of
/// IKE_SA_INIT left out, and each doubled.
#[test]
fn cve_2009_1957_ike_sa_init_without_a_payload() {
    for kind in [PayloadType::SA, PayloadType::KE, PayloadType::NONCE] {
        for double in [false, true] {
            let mut world = world(1).site(bob());
            let mut alice = Puppet::alice();
            let mut payloads = alice.init_payloads();
            if double {
                let again = payloads.iter().find(|payload| payload.kind() == kind).cloned();
                payloads.extend(again);
            } else {
                payloads.retain(|payload| payload.kind() != kind);
            }
            let request = alice.init_request(payloads);
            alice.send(&mut world, &request);
            if let Some(answer) = alice.hear(&mut world) {
                let message = Message::parse(&answer).unwrap();
                assert_eq!(notifies(&message.payloads), [NotifyType::INVALID_SYNTAX], "{kind}");
            }
            assert!(is_clean(&mut world), "{kind} {double}");
        }
    }
}

/// The same in IKE_AUTH, under the right keys.
#[test]
fn cve_2009_1958_ike_auth_without_a_payload() {
    for kind in [PayloadType::IDI, PayloadType::AUTH, PayloadType::SA, PayloadType::TSI, PayloadType::TSR] {
        for double in [false, true] {
            let mut world = world(2).site(bob());
            let mut alice = Puppet::alice();
            alice.init(&mut world);
            let mut payloads = alice.auth_payloads();
            if double {
                let again = payloads.iter().find(|payload| payload.kind() == kind).cloned();
                payloads.extend(again);
            } else {
                payloads.retain(|payload| payload.kind() != kind);
            }
            let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads);
            let said = notifies(&answer.unwrap_or_default());
            assert_eq!(world.host("bob").dataplane.sad().count(), 0, "{kind} {double}: {said:?}");
            if [PayloadType::IDI, PayloadType::AUTH].contains(&kind) {
                assert_eq!(
                    world.host("bob").count(|e| matches!(e, sa::Event::IkeUp(_))),
                    0,
                    "{kind} {double}"
                );
            }
        }
    }
}

/// A response that lacks a payload, at an initiator.
#[test]
fn cve_2013_6466_responses_without_a_payload() {
    for kind in [PayloadType::IDR, PayloadType::AUTH, PayloadType::SA, PayloadType::TSI, PayloadType::TSR] {
        let mut world = world(3).site(alice());
        let order = world.up("alice");
        let mut bob = Puppet::bob();
        bob.answer_init(&mut world);
        let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
        let mut payloads = bob.auth_payloads();
        payloads.retain(|payload| payload.kind() != kind);
        bob.reply(&mut world, &header, &payloads);
        while let Some((header, _)) = bob.asked(&mut world) {
            bob.reply(&mut world, &header, &[]);
        }
        world.until(answered);
        assert_eq!(world.host("alice").dataplane.sad().count(), 0, "{kind}");
        match world.reply(order) {
            Some(sa::Reply::Refused(refusal)) => assert!(!refusal.reason.is_empty()),
            Some(sa::Reply::Up { children, refused, .. }) => {
                assert!(children.is_empty() && refused.len() == 1, "{kind}");
                assert!(![PayloadType::IDR, PayloadType::AUTH].contains(&kind), "{kind}");
            }
            other => panic!("{kind}: {other:?}"),
        }
    }
}

/// CVE-2024-2357: the responder has no PSK for the peer; its request comes again and again.
#[test]
fn cve_2024_2357_no_psk_and_retransmissions() {
    let mut site = bob();
    site.make_keeper =
        Box::new(|suite, policy| Box::new(trust::Trust::new(policy, suite, trust::Secrets::new())));
    let mut world = world(4).site(site);
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let payloads = alice.auth_payloads();
    let request = alice.request(ExchangeType::IKE_AUTH, &payloads);
    alice.send(&mut world, &request);
    let answer = alice.hear(&mut world).expect("an answer");
    assert_eq!(notifies(&alice.open(&answer).1), [NotifyType::AUTHENTICATION_FAILED]);
    for _ in 0..5 {
        alice.send(&mut world, &request);
        let again = alice.hear(&mut world);
        let is_hint = |octets: &Vec<u8>| Message::parse(octets).is_ok_and(|m| m.payloads.len() == 1);
        assert!(again.as_ref().is_none_or(|again| *again == answer || is_hint(again)));
    }
    let told = world.host("bob").refusals();
    assert!(told[0].reason.contains("alice.example"), "{}", told[0].reason);
    assert!(is_clean(&mut world));
}

fn certified(seed: u64) -> (suite::World, Puppet, Vec<u8>) {
    let root = Authority::root(Key::Rsa2048, "Root");
    let (ours, theirs) = (
        root.issue(Key::Rsa2048, "alice", &["alice.example"]),
        root.issue(Key::Rsa2048, "bob", &["bob.example"]),
    );
    let credentials = sim::site::Credentials {
        chain: theirs.chain.clone(),
        key: Arc::from(provider::load_private_key(&theirs.key).unwrap()),
        authority: root.der().to_vec(),
    };
    let site: Site = bob().certified(&Provider::new(), &credentials);
    let mut world = world(seed).site(site);
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    (world, alice, ours.der().to_vec())
}

/// CVE-2013-2944 and others: signatures and AlgorithmIdentifiers that are none, with a right certificate, by way of a
/// whole handshake.
#[test]
fn cve_2013_2944_signatures_that_are_none() {
    const PKCS1_SHA256: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00";
    const ECDSA_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
    const PSS_NO_PARAMETERS: &[u8] = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";
    const PSS_HUGE_SALT: &[u8] = b"\x30\x18\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x0b\xa2\x09\x02\x07\x00\xff\xff\xff\xff\xff\xff";
    const PSS_CUT: &[u8] = b"\x30\x0f\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x40";
    let method14 = |algorithm: &[u8], signature: &[u8]| {
        let mut data = vec![algorithm.len() as u8];
        data.extend_from_slice(algorithm);
        data.extend_from_slice(signature);
        (AuthMethod::DIGITAL_SIGNATURE, data)
    };
    let mut tries = Vec::new();
    for algorithm in
        [PKCS1_SHA256, ECDSA_SHA256, PSS_NO_PARAMETERS, PSS_HUGE_SALT, PSS_CUT, &[], &[0x30], &[0xff; 255]]
    {
        for signature in [&[][..], &[0; 256], &[0xff; 256], &[1; 257], &[0x30, 6, 2, 1, 0, 2, 1, 0]] {
            tries.push(method14(algorithm, signature));
        }
    }
    tries.push((AuthMethod::DIGITAL_SIGNATURE, vec![]));
    tries.push((AuthMethod::DIGITAL_SIGNATURE, vec![255]));
    for method in [1, 9, 10, 11] {
        for signature in [&[][..], &[0; 64], &[0; 96], &[0; 132], &[0; 256], &[0xff; 256]] {
            tries.push((AuthMethod(method), signature.to_vec()));
        }
    }
    for (n, (method, data)) in tries.into_iter().enumerate() {
        let (mut world, mut alice, cert) = certified(100 + n as u64);
        let mut payloads = alice.auth_payloads();
        payloads[1] = Payload::Auth(Authentication { method, data: data.into() });
        payloads.insert(
            1,
            Payload::Cert(Certificate { encoding: wire::num::CertEncoding(4), data: cert.into() }),
        );
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED], "try {n}");
        assert!(is_clean(&mut world), "try {n}");
    }
}

/// CVE-2017-9023, CVE-2009-2185 and others: certificates and certificate requests that are none.
#[test]
fn cve_2009_2185_certificates_that_are_none() {
    let (_, _, right) = certified(5);
    let mut bad = vec![
        vec![],
        vec![0x30],
        vec![0x30, 0x80],
        vec![0xff; 5000],
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
    ];
    bad.extend((0..right.len()).step_by(37).map(|len| right[..len].to_vec()));
    bad.extend((0..right.len()).step_by(29).map(|at| {
        let mut changed = right.clone();
        changed[at] ^= 0x41;
        changed
    }));
    for (n, cert) in bad.into_iter().enumerate() {
        let (mut world, mut alice, _) = certified(300 + n as u64);
        let mut payloads = alice.auth_payloads();
        payloads[1] = Payload::Auth(Authentication { method: AuthMethod(1), data: vec![1; 256].into() });
        let encoding = wire::num::CertEncoding(4);
        payloads.insert(1, Payload::Cert(Certificate { encoding, data: cert.clone().into() }));
        payloads.insert(2, Payload::CertReq(CertRequest { encoding, authorities: cert.into() }));
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        let said = notifies(&answer);
        let right = [NotifyType::AUTHENTICATION_FAILED, NotifyType::INVALID_SYNTAX];
        assert!(said.len() == 1 && right.contains(&said[0]), "{n}: {said:?}");
        assert!(is_clean(&mut world), "{n}");
    }
}

/// CVE-2016-6415 (BENIGNCERTAIN): a reply has nothing in it that was not said to be in it. Two runs with
/// the same seed, one of which has handled secrets of others before, answer the same octets.
#[test]
fn cve_2016_6415_replies_come_from_the_request_alone() {
    let run = |others: u64| {
        let mut world = world(6).site(bob().with(|c| c.remote_addrs = vec![policy::AddressPattern::Any]));
        let mut alice = Puppet::alice();
        for n in 0..others {
            let mut stranger = Puppet::new("alice", &format!("192.0.2.{}", 100 + n), "bob", "198.51.100.2");
            stranger.spis.initiator = base::IkeSpi(n + 1);
            let payloads = vec![Payload::Sa(vec![ike_proposal()]), Payload::VendorId(vec![0xee; 500].into())];
            let request = stranger.init_request(payloads);
            stranger.send(&mut world, &request);
            stranger.hear(&mut world);
        }
        let mut payloads = alice.init_payloads();
        let mut proposal = ike_proposal();
        proposal.transforms[0].id = Encr::AES_CBC.0;
        payloads[0] = Payload::Sa(vec![proposal]);
        let request = alice.init_request(payloads);
        alice.deaf(&world);
        alice.send(&mut world, &request);
        alice.hear(&mut world)
    };
    let quiet = run(0);
    assert!(quiet.is_some());
    assert_eq!(quiet, run(20));
}

/// Amplification (Leverett; CVE-2016-5361 for IKEv2): what an unproven source gets back is bounded by what
/// it sent, for every kind of first message.
#[test]
fn attack_ikev1_amplification_is_bounded() {
    let mut site = bob();
    site.settings.cookie_threshold = 0;
    let mut world = world(7).site(site);
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let whole = alice.init_request(payloads);
    let mut received = 0;
    for n in 0..200usize {
        let mut first = whole.clone();
        first[0] = n as u8;
        match n % 4 {
            0 => {}
            1 => first[17] = 0x30,
            2 => first[18] = 37,
            _ => first[19] = 0,
        }
        received += first.len();
        alice.send(&mut world, &first);
    }
    world.run(std::time::Duration::from_secs(60));
    let sent: usize = world.wire.iter().map(|(_, datagram)| datagram.payload.len()).sum();
    assert!(sent < received, "{sent} octets for {received}");
}

/// CVE-2013-2052, CVE-2013-2053, CVE-2013-2054: names of ten thousand octets, as they are and as the one name of a
/// distinguished name that is in order.
#[test]
fn cve_2013_2052_long_identities() {
    use wire::num::IdType;
    let long = vec![b'a'; 10_000];
    let common_name = [testcerts::der(0x06, &[0x55, 4, 3]), testcerts::der(0x0c, &long)].concat();
    let distinguished = testcerts::der(0x30, &testcerts::der(0x31, &testcerts::der(0x30, &common_name)));
    for (kind, data) in [
        (IdType::FQDN, &long),
        (IdType::RFC822_ADDR, &long),
        (IdType::KEY_ID, &long),
        (IdType::DER_ASN1_DN, &long),
        (IdType::DER_ASN1_DN, &distinguished),
    ] {
        let mut world = world(8).site(bob());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut payloads = alice.auth_payloads();
        payloads[0] = Payload::IdI(wire::Identification::new(kind, data.clone()));
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        assert_eq!(notifies(&answer).len(), 1);
        let told: usize = world.host("bob").refusals().iter().map(|refusal| refusal.reason.len()).sum();
        assert!(told < 2000, "the log does not repeat what an attacker sends: {told} octets");
        assert!(is_clean(&mut world));
    }
}

/// CVE-2022-21843 and the other entries without a published cause: whole conversations under right keys with
/// random payloads in random order. Nothing falls over, nothing is installed.
#[test]
fn cve_2022_21843_random_payloads_under_right_keys() {
    use base::Rng;
    let mut rng = sim::SimRng::new(9, "random payloads");
    for n in 0..300 {
        let mut world = world(9).site(bob());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut inner = Vec::new();
        let kinds: Vec<u8> = (0..1 + rng.below(6))
            .map(|_| rng.pick(&[33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 47, 48, 60]))
            .collect();
        for (index, _) in kinds.iter().enumerate() {
            let mut body = vec![0; rng.below(60) as usize];
            rng.fill(&mut body);
            let next = kinds.get(index + 1).copied().unwrap_or(0);
            inner.extend([next, 0]);
            inner.extend((body.len() as u16 + 4).to_be_bytes());
            inner.extend(body);
        }
        let exchange =
            rng.pick(&[ExchangeType::IKE_AUTH, ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL]);
        let header = alice.header(exchange, false, 1);
        let message =
            alice.channel.as_mut().unwrap().seal_octets(&header, None, PayloadType(kinds[0]), &inner);
        alice.send(&mut world, &message);
        world.run(std::time::Duration::from_secs(40));
        assert_eq!(world.host("bob").dataplane.sad().count(), 0, "{n}");
        assert_eq!(world.host("bob").count(|e| matches!(e, sa::Event::IkeUp(_))), 0, "{n}");
        assert!(is_clean(&mut world), "{n}");
    }
}

/// CVE-2015-4000 (Logjam), CVE-2015-7575 (SLOTH): what is offered when nobody says anything has no weak group,
/// hash or cipher.
#[test]
fn cve_2015_4000_nothing_weak_is_offered_by_default() {
    use wire::num::{KeMethod, TransformType};
    let mut world = world(10).site(suite::alice().with(|c| c.proposals = policy::default_ike()));
    world.up("alice");
    let first = world.wire[0].1.clone();
    let message = Message::parse(first.message()).unwrap();
    let Some(Payload::Sa(proposals)) = message.payloads.iter().find(|p| p.kind() == PayloadType::SA) else {
        panic!()
    };
    for transform in proposals.iter().flat_map(|proposal| &proposal.transforms) {
        let weak: &[u16] = match transform.kind {
            TransformType::KE => &[1, 2, 5, 22, 25, 26, 27],
            TransformType::ENCR => &[1, 2, 3, 4, 5, 6, 7, 8, 9, 11],
            TransformType::INTEG => &[0, 1, 2, 3, 4, 6, 7],
            TransformType::PRF => &[1, 2, 3],
            _ => &[],
        };
        assert!(!weak.contains(&transform.id), "{} {}", transform.kind, transform.id);
    }
    assert!(proposals.iter().all(|p| p.of(TransformType::KE).all(|t| t.id != KeMethod::NONE.0)));
    let hashes = message.payloads.iter().find_map(|payload| match payload {
        Payload::Notify(n) if n.kind == NotifyType::SIGNATURE_HASH_ALGORITHMS => Some(n.data.to_vec()),
        _ => None,
    });
    let hashes = hashes.expect("SIGNATURE_HASH_ALGORITHMS");
    assert!(!hashes.as_chunks::<2>().0.contains(&[0, 1]), "SHA-1 is not among the hashes that we accept");
}

/// Logjam (Adrian et al. 2015): groups of 1024 bits and less are not taken either, unless a connection names them.
#[test]
fn attack_logjam_weak_groups_are_not_taken_by_default() {
    use wire::num::KeMethod;
    for group in [KeMethod::MODP_768, KeMethod::MODP_1024, KeMethod::MODP_1536, KeMethod(22)] {
        let mut world = world(13).site(bob().with(|c| c.proposals = policy::default_ike()));
        let mut alice = Puppet::alice();
        let mut payloads = alice.init_payloads();
        let mut proposal = ike_proposal();
        proposal.transforms[2].id = group.0;
        payloads[0] = Payload::Sa(vec![proposal]);
        payloads[1] = Payload::Ke(wire::KeyExchange { method: group, data: vec![9; 128].into() });
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        let answer = alice.hear(&mut world).expect("an answer");
        let message = Message::parse(&answer).unwrap();
        assert_eq!(notifies(&message.payloads), [NotifyType::NO_PROPOSAL_CHOSEN], "{group}");
        assert!(is_clean(&mut world), "{group}");
    }
}

/// Kaufman, Perlman, Sommerfeld 2003: what is sent before there are keys needs no IP fragments, which somebody else could
/// spoil; what is longer goes in fragments of IKE's own.
#[test]
fn attack_fragmentation_nothing_needs_fragments_of_ip() {
    let root = Authority::root(Key::Rsa2048, "Root");
    let credentials = |name: &str| {
        let entity = root.issue(Key::Rsa2048, name, &[&format!("{name}.example")]);
        sim::site::Credentials {
            chain: entity.chain.clone(),
            key: Arc::from(provider::load_private_key(&entity.key).unwrap()),
            authority: root.der().to_vec(),
        }
    };
    let site = |site: Site, name: &str| {
        site.certified(&Provider::new(), &credentials(name)).with(|c| c.proposals = policy::default_ike())
    };
    let mut world = world(14).peers(site(alice(), "alice"), site(bob(), "bob"));
    world.up("alice");
    world.until(suite::established);
    assert!(world.stats.get("fragments sent") > 0, "certificates are longer than one datagram");
    for (_, datagram) in &world.wire {
        assert!(datagram.payload.len() + 28 <= 1280, "{} octets", datagram.payload.len());
    }
}

/// racoon2 #27: attributes of a transform in the long form with lengths that reach past the transform, the proposal, the
/// payload or the message, and short forms where a long one should be.
#[test]
fn racoon2_27_attribute_lengths_past_the_end() {
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    let at = request.windows(4).position(|four| four == [0x80, 14, 1, 0]).expect("a key length of 256");
    for length in [0u16, 1, 4, 5, 8, 36, 200, 0x7fff, 0xffff] {
        for kind in [14u16, 1, 0x7fff] {
            let mut world = world(15).site(bob());
            let mut forged = request.clone();
            forged[at..at + 2].copy_from_slice(&kind.to_be_bytes());
            forged[at + 2..at + 4].copy_from_slice(&length.to_be_bytes());
            alice.deaf(&world);
            alice.send(&mut world, &forged);
            if let Some(answer) = alice.hear(&mut world) {
                let message = Message::parse(&answer).unwrap();
                let said = notifies(&message.payloads);
                let right = [NotifyType::INVALID_SYNTAX, NotifyType::NO_PROPOSAL_CHOSEN];
                assert!(said.len() == 1 && right.contains(&said[0]), "{kind} {length}: {said:?}");
            }
            assert!(is_clean(&mut world), "{kind} {length}");
        }
    }
}

/// CVE-2014-9221: a KE payload for every group that could be, with a proposal that is right.
#[test]
fn cve_2014_9221_key_exchange_payloads_of_any_group() {
    use wire::num::KeMethod;
    for group in (0..=40).chain([255, 1024, 1025, 1030, 0x7fff, 0x8000, 0xffff]) {
        if group == KeMethod::CURVE25519.0 {
            continue;
        }
        let mut world = world(11).site(bob());
        let mut alice = Puppet::alice();
        let mut payloads = alice.init_payloads();
        payloads[1] = Payload::Ke(wire::KeyExchange { method: KeMethod(group), data: vec![9; 64].into() });
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        let answer = alice.hear(&mut world).expect("an answer");
        let message = Message::parse(&answer).unwrap();
        match &message.payloads[..] {
            [Payload::Notify(notify)] if notify.kind == NotifyType::INVALID_KE_PAYLOAD => {
                assert_eq!(notify.data[..], KeMethod::CURVE25519.0.to_be_bytes(), "{group}");
            }
            other => panic!("{group}: {}", wire::summary(other)),
        }
        assert!(is_clean(&mut world), "{group}");
    }
}

/// A corrupted message, then the right one with the same id (Libreswan's ikev2-impair-04).
#[test]
fn s120_a_corrupted_message_does_not_spoil_the_right_one() {
    let mut world = world(12).peers(suite::alice(), bob()).attacked(|scene| {
        if scene.datagram.peek().is_some_and(|peek| peek.is_protected()) {
            for at in [28, 32, 40, 60] {
                let mut message = scene.datagram.message().to_vec();
                message[at] ^= 0x10;
                let forged = scene.datagram.with(&message);
                scene.send(std::time::Duration::from_millis(1), forged);
            }
        }
    });
    world.up("alice");
    world.until(suite::established);
    assert_eq!(world.stats.get("request retransmitted"), 0);
}
