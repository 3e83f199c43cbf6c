//! SUPPORTED_AUTH_METHODS (RFC 9593): what each side announces, and what it makes of the other's.

use crate::certificates::{certified, proven};
use sa::RefusalKind;
use sim::Site;
use std::time::Duration;
use suite::puppet::Puppet;
use suite::reader::errors;
use suite::{World, alice, bob, is_clean, world};
use testcerts::{Authority, Key};
use wire::num::{ExchangeType, HashAlgorithm, NotifyType, PayloadType};
use wire::{Notify, Payload};

fn hashes() -> Payload<'static> {
    let hashes = [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::IDENTITY];
    let data: Vec<u8> = hashes.iter().flat_map(|hash| hash.0.to_be_bytes()).collect();
    Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, data))
}

fn methods(data: &[u8]) -> Payload<'static> {
    Payload::Notify(Notify::new(NotifyType::SUPPORTED_AUTH_METHODS, data.to_vec()))
}

/// The announcements in a message: method and AlgorithmIdentifier.
fn announced(payloads: &[Payload<'_>]) -> Vec<(u8, Vec<u8>)> {
    let data = payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::SUPPORTED_AUTH_METHODS => {
            Some(&notify.data[..])
        }
        _ => None,
    });
    let (mut rest, mut all) = (data.unwrap_or_default(), Vec::new());
    while let Some(len) = rest.first() {
        let (blob, after) = rest.split_at(usize::from(*len));
        assert!(blob.len() == 2 || blob[2] == 0, "the link to an authority: {blob:?}");
        all.push((blob[1], blob.get(3..).unwrap_or_default().to_vec()));
        rest = after;
    }
    all
}

/// A puppet that has got an answer to its IKE_SA_INIT, which it made with `further` payloads.
fn begun(world: &mut World, further: Vec<Payload<'static>>) -> (Puppet, Vec<Payload<'static>>) {
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    payloads.extend(further);
    let request = alice.init_request(payloads);
    alice.send(world, &request);
    let response = alice.hear(world).expect("an answer to IKE_SA_INIT");
    let payloads = alice.accept_init(&response);
    (alice, payloads)
}

fn root() -> Authority {
    Authority::root(Key::EcdsaP256, "Root")
}

/// A gateway that wants certificates of its peers.
fn wanting() -> Site {
    certified(bob(), &root().issue(Key::EcdsaP256, "bob", &["bob.example"]), &root())
}

//= rfc9593 §3.1
//# If the responder is willing to use this extension, it includes a new notification SUPPORTED_AUTH_METHODS in the
//# IKE_SA_INIT response message.
#[test]
fn a_responder_announces_what_its_connections_take() {
    let (_, answer) = begun(&mut world(1).site(wanting()), vec![hashes()]);
    assert!(answer.iter().any(|payload| payload.kind() == PayloadType::CERTREQ), "co-located");
    let all = announced(&answer);
    assert_eq!(all.len(), 14);
    assert!(all.iter().all(|(method, identifier)| *method == 14 && identifier[0] == 0x30));
    assert!(all[0].1.ends_with(&[3, 0x12]), "ML-DSA-65 is what it likes best: {:?}", all[0]);

    // Whoever does not speak RFC 7427 has the older methods.
    let (_, answer) = begun(&mut world(2).site(wanting()), Vec::new());
    let numbers: Vec<u8> = announced(&answer).iter().map(|(method, _)| *method).collect();
    assert_eq!(numbers, [9, 10, 11, 1]);

    let (_, answer) = begun(&mut world(3).site(bob()), vec![hashes()]);
    assert_eq!(announced(&answer), [(2, Vec::new())], "a pre-shared key");

    // Two connections may be meant: one of each kind.
    let mut both = wanting();
    both.connections.push(policy::Connection { name: "psk".into(), ..bob().connections[0].clone() });
    let (_, answer) = begun(&mut world(4).site(both), vec![hashes()]);
    let all = announced(&answer);
    assert_eq!((all.len(), all.last()), (15, Some(&(2, Vec::new()))));
}

//= rfc9593 §3.1
//# if the initiator supports and is willing to use this extension, it includes the SUPPORTED_AUTH_METHODS notification in the
//# IKE_AUTH request message
#[test]
fn an_initiator_announces_what_its_connection_takes() {
    let entity = root().issue(Key::EcdsaP256, "alice", &["alice.example"]);
    for (n, (site, expected)) in
        [(alice(), vec![2]), (certified(alice(), &entity, &root()), vec![9, 10, 11, 1])]
            .into_iter()
            .enumerate()
    {
        let mut world = world(10 + n as u64).site(site);
        world.up("alice");
        let mut bob = Puppet::bob();
        bob.answer_init(&mut world);
        let (_, payloads) = bob.asked(&mut world).expect("IKE_AUTH");
        let numbers: Vec<u8> = announced(&payloads).iter().map(|(method, _)| *method).collect();
        assert_eq!(numbers, expected);
    }
}

/// The AUTH payload with which bob, whose key is `key`, answers an initiator that announces `data`; or why it does not.
fn proof(seed: u64, key: Key, data: &[u8]) -> Result<(u8, Vec<u8>), String> {
    let root = root();
    let entity = root.issue(key, "bob", &["bob.example"]);
    let mut world = world(seed).site(proven(bob, &entity, &root));
    let (mut alice, _) = begun(&mut world, vec![hashes()]);
    let mut payloads = alice.auth_payloads();
    payloads.insert(1, methods(data));
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer to IKE_AUTH");
    let auth = answer.iter().find_map(|payload| match payload {
        Payload::Auth(auth) => Some((auth.method.0, auth.data.to_vec())),
        _ => None,
    });
    auth.ok_or_else(|| {
        assert_eq!(errors(&answer), [NotifyType::AUTHENTICATION_FAILED]);
        let refusals = world.host("bob").refusals();
        let refusal = refusals.last().expect("a refusal");
        assert_eq!(refusal.kind, RefusalKind::AuthenticationFailed);
        let reason = refusal.reason.clone();
        world.run(Duration::from_secs(60));
        assert!(is_clean(&mut world));
        reason
    })
}

/// `[length, 14, 0, AlgorithmIdentifier]`
fn digital(scheme: crypto::SignatureScheme) -> Vec<u8> {
    let (_, identifier) = crypto::signature_identifier(scheme).expect("a scheme with a name");
    [&[3 + identifier.len() as u8, 14, 0], identifier].concat()
}

/// Of the signatures that a key can make, one that the peer announces is made.
//= rfc9593 §3
#[test]
fn the_signature_is_one_that_the_peer_takes() {
    use crypto::SignatureScheme as Scheme;
    let first = |data: Vec<u8>| (data[0], data[2]);
    // Left to ourselves, RSA signs by PKCS#1 v1.5: its identifier has 15 octets, that of PSS 67.
    let (method, data) = proof(20, Key::Rsa2048, &[]).unwrap();
    assert_eq!((method, first(data)), (14, (15, 13)));
    let (_, data) = proof(21, Key::Rsa2048, &digital(Scheme::RsaPssSha256)).unwrap();
    assert_eq!(first(data), (67, 65));
    let (_, data) =
        proof(22, Key::Rsa2048, &[digital(Scheme::RsaPssSha384), digital(Scheme::Ed25519)].concat()).unwrap();
    assert!(data[..68].windows(9).any(|oid| oid == [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2]), "SHA2-384");
    for key in Key::POST_QUANTUM {
        let all =
            [Scheme::MlDsa44, Scheme::EcdsaSha256, Scheme::MlDsa87, Scheme::MlDsa65].map(digital).concat();
        proof(23, key, &all).unwrap_or_else(|why| panic!("{key:?}: {why}"));
    }
}

/// What is not announced is not tried: the refusal says what is.
#[test]
fn a_key_that_the_peer_does_not_take_is_told_at_once() {
    use crypto::SignatureScheme as Scheme;
    let why = proof(30, Key::MlDsa65, &[digital(Scheme::EcdsaSha256), vec![2, 2]].concat()).unwrap_err();
    assert!(why.contains("ML-DSA-65") && why.contains("EcdsaSha256, ") && why.contains("RFC 9593"), "{why}");
    let why = proof(31, Key::MlDsa44, &digital(Scheme::MlDsa65)).unwrap_err();
    assert!(why.contains("ML-DSA-44") && why.contains("MlDsa65"), "{why}");
    let why = proof(32, Key::EcdsaP256, &[3, 1, 0]).unwrap_err();
    assert!(why.contains("ECDSA P-256"), "{why}");
}

/// A list of which nothing is understood says nothing, and so does an empty one.
//= rfc9593 §3.2
//# Implementations MUST ignore announcements whose semantics they don't understand.
#[test]
fn what_is_not_understood_changes_nothing() {
    for (n, data) in
        [&[][..], &[2, 12], &[5, 99, 1, 2, 3], &[0], &[255, 14, 0], &[3, 14, 0]].into_iter().enumerate()
    {
        proof(40 + n as u64, Key::EcdsaP256, data).unwrap_or_else(|why| panic!("{data:?}: {why}"));
    }
}

/// The responder announces signatures only; the initiator has a pre-shared key.
#[test]
fn a_pre_shared_key_that_the_peer_does_not_take_is_not_shown() {
    use suite::answered;
    let mut world = world(50).peers(alice(), wanting());
    let order = world.up("alice");
    world.until(answered);
    let Some(sa::Reply::Refused(refusal)) = world.reply(order) else { panic!("{:?}", world.reply(order)) };
    assert_eq!(refusal.kind, RefusalKind::AuthenticationFailed);
    let words = ["pre-shared key", "announces to take MlDsa65", "make both ends the same"];
    assert!(words.iter().all(|word| refusal.reason.contains(word)), "{}", refusal.reason);
    world.run(Duration::from_secs(60));
    assert!(is_clean(&mut world));
}

/// `site` with an additional key exchange, and with so many authorities for its peers that its first response would be long.
fn hybrid(site: Site, authorities: usize) -> Site {
    let further: Vec<_> = (0..authorities)
        .map(|n| Authority::root(Key::EcdsaP256, &format!("Further {n}")))
        .map(|root| certified(bob(), &root.issue(Key::EcdsaP256, "bob", &["bob.example"]), &root))
        .flat_map(|site| site.connections[0].remote.authorities.clone())
        .collect();
    site.with(|connection| {
        connection.proposals = policy::parse_ike("aes256gcm16-prfsha384-modp3072-ke1_mlkem768").unwrap();
        connection.remote.authorities.extend(further);
    })
}

/// A list that would make the first response long goes with IKE_INTERMEDIATE, where that takes place anyway, and is heeded there.
/// Limits: INIT_ROOM.
//= rfc9593 §3.1
//# the responder includes a SUPPORTED_AUTH_METHODS notification containing no data in the IKE_SA_INIT response.
#[test]
fn a_long_list_goes_with_ike_intermediate() {
    use suite::answered;
    for (n, (authorities, is_long)) in [(0, false), (19, true)].into_iter().enumerate() {
        let psk = hybrid(alice(), 0);
        let mut world = world(60 + n as u64).peers(psk, hybrid(wanting(), authorities));
        let order = world.up("alice");
        world.until(answered);
        let response = world.wire.iter().map(|(_, datagram)| datagram.message()).find(|message| {
            wire::Header::parse(message)
                .is_ok_and(|h| h.exchange == ExchangeType::IKE_SA_INIT && h.flags.response)
        });
        let response = response.expect("a response");
        assert!(response.len() <= ikev2::limits::INIT_ROOM, "{} octets", response.len());
        let payloads = wire::Message::parse(response).unwrap().payloads;
        assert_eq!(announced(&payloads).is_empty(), is_long);
        assert!(suite::notifies(&payloads).contains(&NotifyType::SUPPORTED_AUTH_METHODS), "empty or not");
        // Only who has heard the list knows that a pre-shared key is not taken.
        let Some(sa::Reply::Refused(refusal)) = world.reply(order) else {
            panic!("{:?}", world.reply(order))
        };
        assert!(refusal.reason.contains("announces to take MlDsa65"), "{}", refusal.reason);
        world.run(Duration::from_secs(60));
        assert!(is_clean(&mut world));
    }
}

/// Whoever has it in IKE_INTERMEDIATE authenticates by it.
#[test]
fn a_list_in_ike_intermediate_does_not_hinder_a_handshake() {
    let ours = certified(alice(), &root().issue(Key::MlDsa65, "alice", &["alice.example"]), &root());
    let mut world = world(63).peers(hybrid(ours, 0), hybrid(wanting(), 19));
    world.up("alice");
    world.until(suite::established);
    assert!(world.is_mirrored());
}
