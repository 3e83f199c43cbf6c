//! Every authentication method, made at one end and checked at the other.

mod common;

use common::*;
use crypto::SignatureScheme;
use policy::IdPattern;
use sa::AuthProof;
use testcerts::{Authority, EndEntity, Key};

fn root() -> Authority {
    Authority::root(Key::EcdsaP256, "Root")
}

fn peer(key: Key) -> EndEntity {
    root().issue(key, "peer", &["peer.example.org"])
}

fn claim(key: Key, hashes: &[u16]) -> Claim {
    let entity = peer(key);
    let proof = proof(&prover(&entity), hashes).unwrap();
    Claim { proof, ..Claim::by(&entity, fqdn("peer.example.org")) }
}

fn verifier() -> trust::Trust {
    checker(trusting(&[root().der()]))
}

//= rfc7296 §2.15
#[test]
fn a_pre_shared_key_proves_who_shares_it() {
    let (ours, theirs) = (sharing(&["us", "peer"], "secret"), sharing(&["peer", "us"], "secret"));
    let proof = proof(&theirs, &[]).unwrap();
    assert_eq!((proof.method, proof.data.len()), (2, 32));
    let claim =
        Claim { remote: fqdn("peer"), wanted: IdPattern::Any, proof, certs: vec![], ocsp: vec![], wall: NOW };
    assert_eq!(claim.check(&ours), Ok(None));

    let why = claim.refused(&sharing(&["us", "peer"], "Secret"));
    assert!(why.contains("pre-shared key is not the one") && why.contains("\"peer\""), "{why}");
    assert!(!why.contains("ecret\""), "no secret in a log: {why}");
    let cut = AuthProof { method: 2, data: claim.proof.data[..31].to_vec() };
    Claim { proof: cut, ..claim.clone() }.refused(&ours);
    let none = claim.check(&sharing(&["us", "somebody"], "secret")).unwrap_err();
    assert!(
        none.ours && none.reason.contains("no pre-shared key for \"us\" with \"peer\""),
        "{}",
        none.reason
    );
}

//= rfc7427 §3
#[test]
fn every_key_signs_by_method_14() {
    let first_octets = [
        (Key::Rsa2048, [15, 0x30, 0x0d]),
        (Key::EcdsaP256, [12, 0x30, 0x0a]),
        (Key::EcdsaP384, [12, 0x30, 0x0a]),
        (Key::EcdsaP521, [12, 0x30, 0x0a]),
        (Key::Ed25519, [7, 0x30, 0x05]),
        (Key::MlDsa44, [13, 0x30, 0x0b]),
        (Key::MlDsa65, [13, 0x30, 0x0b]),
        (Key::MlDsa87, [13, 0x30, 0x0b]),
    ];
    for (key, first) in first_octets {
        let claim = claim(key, HASHES);
        assert_eq!(claim.proof.method, 14);
        assert_eq!(claim.proof.data[..3], first, "{key:?}");
        let found = claim.check(&verifier()).unwrap_or_else(|why| panic!("{key:?}: {}", why.reason));
        assert_eq!(&*found.unwrap().subject, "C=CH, O=Handfast Test, CN=peer");

        let mut changed = claim.clone();
        *changed.proof.data.last_mut().unwrap() ^= 1;
        assert!(changed.refused(&verifier()).contains("does not verify"), "{key:?}");
    }
}

/// The hash is one that the peer announced; where several are, the one that fits the key.
#[test]
fn s032_the_hash_is_one_that_the_peer_knows() {
    let sha512_with_p256 = claim(Key::EcdsaP256, &[4]);
    assert_eq!(sha512_with_p256.proof.data[12], 4, "ecdsa-with-SHA512");
    sha512_with_p256.check(&verifier()).unwrap();
    assert_eq!(claim(Key::EcdsaP384, HASHES).proof.data[12], 3, "ecdsa-with-SHA384");
    assert_eq!(claim(Key::EcdsaP521, HASHES).proof.data[12], 4, "ecdsa-with-SHA512");
    assert_eq!(claim(Key::Rsa2048, &[3]).proof.data[13], 0x0c, "sha384WithRSAEncryption");
    let only_sha1 = proof(&prover(&peer(Key::Rsa2048)), &[1]).unwrap_err();
    assert!(only_sha1.ours && only_sha1.reason.contains("announces the hashes SHA1"), "{}", only_sha1.reason);
    let no_identity = proof(&prover(&peer(Key::Ed25519)), &[2, 3, 4]).unwrap_err();
    assert!(
        no_identity.reason.contains("Ed25519") && no_identity.reason.contains("SHA2-512"),
        "{}",
        no_identity.reason
    );
}

//= rfc7296 §3.8
//= rfc4754 §3
#[test]
fn s034_old_peers_get_the_old_methods() {
    for (key, method, len) in
        [(Key::Rsa2048, 1, 256), (Key::EcdsaP256, 9, 64), (Key::EcdsaP384, 10, 96), (Key::EcdsaP521, 11, 132)]
    {
        let claim = claim(key, &[]);
        assert_eq!((claim.proof.method, claim.proof.data.len()), (method, len), "{key:?}");
        claim.check(&verifier()).unwrap_or_else(|why| panic!("{key:?}: {}", why.reason));
        let mut changed = claim.clone();
        changed.proof.data[40] ^= 1;
        assert!(changed.refused(&verifier()).contains("does not verify"), "{key:?}");
    }
    let why = proof(&prover(&peer(Key::Ed25519)), &[]).unwrap_err();
    assert!(why.ours && why.reason.contains("RFC 7427"), "{}", why.reason);
}

#[test]
fn method_1_takes_any_hash_of_pkcs1() {
    let entity = peer(Key::Rsa2048);
    for scheme in [SignatureScheme::RsaPkcs1Sha256, SignatureScheme::RsaPkcs1Sha512] {
        let data = load(&entity.key).sign(scheme, &octets().0).unwrap();
        let claim =
            Claim { proof: AuthProof { method: 1, data }, ..Claim::by(&entity, fqdn("peer.example.org")) };
        claim.check(&verifier()).unwrap();
    }
    let data = load(&entity.key).sign(SignatureScheme::RsaPssSha256, &octets().0).unwrap();
    let pss = Claim { proof: AuthProof { method: 1, data }, ..Claim::by(&entity, fqdn("peer.example.org")) };
    assert!(pss.refused(&verifier()).contains("does not verify"));
}

/// RFC 7427 §A.4.3, trailer field and all.
const PSS_SHA256: &str = "3046 0609 2a86 4886 f70d 0101 0a30 39a0 0f30 0d06 0960 8648 0165 0304 0201 0500 a11c 301a 0609 2a86 \
                          4886 f70d 0101 0830 0d06 0960 8648 0165 0304 0201 0500 a203 0201 20a3 0302 0101";

//= rfc8247 §3.2
#[test]
fn s032_rsassa_pss_is_accepted() {
    let entity = peer(Key::Rsa2048);
    let signature = load(&entity.key).sign(SignatureScheme::RsaPssSha256, &octets().0).unwrap();
    let identifier = testkit::hex(PSS_SHA256);
    let data = [&[identifier.len() as u8], &identifier[..], &signature].concat();
    let claim =
        Claim { proof: AuthProof { method: 14, data }, ..Claim::by(&entity, fqdn("peer.example.org")) };
    claim.check(&verifier()).unwrap();
}

//= rfc8247 §3.2
#[test]
fn cve_2015_7575_sha1_signatures_of_method_14_are_refused() {
    let entity = peer(Key::Rsa2048);
    let signature = load(&entity.key).sign(SignatureScheme::RsaPkcs1Sha1, &octets().0).unwrap();
    let identifier = testkit::hex("300d 0609 2a86 4886 f70d 0101 0505 00");
    let data = [&[15], &identifier[..], &signature].concat();
    let claim =
        Claim { proof: AuthProof { method: 14, data }, ..Claim::by(&entity, fqdn("peer.example.org")) };
    assert!(claim.refused(&verifier()).contains("SHA-1, which is refused"));
}

#[test]
fn a_method_must_go_with_the_key_and_with_the_connection() {
    let claim = claim(Key::EcdsaP256, &[]);
    let with = |method: u8| {
        let proof = AuthProof { method, ..claim.proof.clone() };
        Claim { proof, ..claim.clone() }.refused(&verifier())
    };
    assert!(with(10).contains("not for the curve P-256"));
    assert!(with(1).contains("needs an RSA key"));
    assert!(with(14).contains("Authentication Data ends") || with(14).contains("AlgorithmIdentifier"));
    assert!(with(2).contains("by a pre-shared key (method 2) but connection \"site\" wants a certificate"));
    assert!(with(13).contains("no authentication at all"));
    assert!(with(77).contains("method 77"));
    let why = claim.refused(&sharing(&["us"], "x"));
    assert!(why.contains("an ECDSA signature (method 9)") && why.contains("wants a pre-shared key"), "{why}");
}

#[test]
fn a_signature_of_another_key_is_refused() {
    let mallory = root().issue(Key::EcdsaP256, "mallory", &["mallory.example.org"]);
    let stolen = Claim { certs: peer(Key::EcdsaP256).chain, ..Claim::by(&mallory, fqdn("peer.example.org")) };
    assert!(stolen.refused(&verifier()).contains("does not verify"));
    let wrong_kind = Claim { certs: peer(Key::Rsa2048).chain, ..stolen };
    assert!(wrong_kind.refused(&verifier()).contains("does not go with the RSA 2048 key"));
}

#[test]
fn malformed_authentication_data_is_refused() {
    let good = claim(Key::EcdsaP256, HASHES);
    for cut in 0..good.proof.data.len() {
        let mut claim = good.clone();
        claim.proof.data.truncate(cut);
        claim.refused(&verifier());
    }
    let mut long = good.clone();
    long.proof.data[0] = 255;
    assert!(long.refused(&verifier()).contains("ends before the signature"));
    let mut trailing = good;
    trailing.proof.data.push(0);
    trailing.refused(&verifier());
}

#[test]
fn our_own_side_lacks_something() {
    let entity = peer(Key::EcdsaP256);
    let certs = vec![cert(entity.der())];
    let local = policy::LocalAuth { method: policy::AuthMethod::Pubkey, id: None, certs, pubkey: None };
    let why = proof(&trust_with(local.clone(), psk_remote(), trust::Secrets::new()), HASHES).unwrap_err();
    assert!(why.ours && why.reason.contains("no private key for our certificate"), "{}", why.reason);
    let local = policy::LocalAuth { certs: vec![], ..local };
    let why = proof(&trust_with(local, psk_remote(), trust::Secrets::new()), HASHES).unwrap_err();
    assert!(why.ours && why.reason.contains("has none"), "{}", why.reason);
}

/// What is computed of a PPK: prints are alike as long as the key is, and no confirmations; the key itself does not show.
//= rfc9867 §3.2
//= rfc9867 §3.2.1
#[test]
fn s139_what_is_computed_of_ppks() {
    let holder = |ppks: &[(&str, &str)]| {
        let mut secrets = trust::Secrets::new();
        for (id, ppk) in ppks {
            secrets.add_ppk(vec![(*id).into()], base::Secret::from(ppk.as_bytes()));
        }
        let suite = std::sync::Arc::new(provider::Provider::new());
        trust::Trust::new(std::sync::Arc::default(), suite, secrets)
    };
    let ask = |of: &trust::Trust, id: &str, shown: Option<[u8; 8]>, confirmed: &[u8]| {
        let request = sa::PpkRequest {
            prf: wire::num::Prf::HMAC_SHA2_256,
            wanted: vec![(id.into(), shown)],
            confirmed: confirmed.to_vec(),
            keys: vec![base::Secret::new(vec![3; 32])],
        };
        match of.answer(&sa::Job::Ppk(request)) {
            sa::Answer::Ppk(answer) => answer,
            other => panic!("{other:?}"),
        }
    };
    let (blue, other) =
        (holder(&[("blue", "one key"), ("azure", "one key")]), holder(&[("blue", "another")]));
    let one = ask(&blue, "blue", None, b"first").found.remove(0);
    let again = ask(&blue, "azure", None, b"second").found.remove(0);
    assert_eq!((one.print, &one.keys), (again.print, &again.keys), "whatever it is called");
    assert!(one.confirmation != again.confirmation && one.confirmation != one.print);
    assert_eq!(one.keys[0].expose().len(), 32);
    let replaced = ask(&other, "blue", None, b"first").found.remove(0);
    assert!(replaced.print != one.print && replaced.keys != one.keys);
    let checked = ask(&other, "blue", Some(one.confirmation), b"first");
    assert_eq!((checked.found.len(), checked.mismatched.len()), (0, 1));
    assert_eq!(ask(&blue, "blue", Some(one.confirmation), b"first").found.len(), 1);
    let unknown = ask(&blue, "red", None, b"first");
    assert_eq!((unknown.found.len(), unknown.mismatched.len()), (0, 0));
}
