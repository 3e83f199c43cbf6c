//! ML-DSA as a proof (draft-ietf-ipsecme-ikev2-pqc-auth): certificates by RFC 9881, and everything that is refused.

mod common;

use common::*;
use crypto::SignatureScheme;
use policy::IdPattern;
use sa::AuthProof;
use std::path::Path;
use testcerts::{Authority, EndEntity, Key, rcgen};

const SETS: [(Key, SignatureScheme, usize); 3] = [
    (Key::MlDsa44, SignatureScheme::MlDsa44, 2420),
    (Key::MlDsa65, SignatureScheme::MlDsa65, 3309),
    (Key::MlDsa87, SignatureScheme::MlDsa87, 4627),
];

/// Octets of the length and the AlgorithmIdentifier before a signature.
const BEFORE: usize = 14;

fn peer(root: &Authority, key: Key) -> EndEntity {
    root.issue(key, "peer", &["peer.example.org"])
}

fn claim(entity: &EndEntity) -> Claim {
    Claim::by(entity, fqdn("peer.example.org"))
}

/// Every link of a path may be of another set, and of another family.
//= rfc9881 §3
#[test]
fn chains_of_ml_dsa_lead_to_the_anchor() {
    for (key, _, signature) in SETS {
        for above in [Key::MlDsa87, Key::MlDsa65, Key::EcdsaP384, Key::Rsa2048] {
            let root = Authority::root(above, "Root");
            let middle = root.intermediate(Key::MlDsa65, "Middle");
            let claim = claim(&peer(&middle, key));
            assert_eq!(claim.proof.data.len(), BEFORE + signature);
            let found = claim.check(&checker(trusting(&[root.der()])));
            let found = found.unwrap_or_else(|why| panic!("{key:?} below {above:?}: {}", why.reason));
            assert_eq!(&*found.unwrap().subject, "C=CH, O=Handfast Test, CN=peer");
            let stranger = Authority::root(above, "Stranger");
            assert!(claim.refused(&checker(trusting(&[stranger.der()]))).contains("CN=Root"));
        }
    }
}

/// An authority of the same name with another key made none of the signatures.
#[test]
fn a_signature_of_another_authority_is_refused() {
    for (key, ..) in SETS {
        let (root, namesake) = (Authority::root(key, "Root"), Authority::root(Key::EcdsaP256, "Root"));
        let claim = claim(&peer(&root, Key::MlDsa44));
        claim.check(&checker(trusting(&[root.der()]))).unwrap();
        claim.refused(&checker(trusting(&[namesake.der()])));
        // One bit of the authority's signature, which stands at the end of the certificate.
        let mut changed = claim.clone();
        *changed.certs[0].last_mut().unwrap() ^= 1;
        assert!(changed.refused(&checker(trusting(&[root.der()]))).contains("CN=peer"));
    }
}

#[test]
fn what_is_not_the_signature_is_refused() {
    for (key, scheme, len) in SETS {
        let root = Authority::root(Key::MlDsa65, "Root");
        let verifier = checker(trusting(&[root.der()]));
        let good = claim(&peer(&root, key));
        let with = |data: Vec<u8>| Claim { proof: AuthProof { method: 14, data }, ..good.clone() };
        good.check(&verifier).unwrap();

        let data = &good.proof.data;
        for cut in [BEFORE + 1, BEFORE + len / 2, BEFORE + len - 1] {
            assert!(
                with(data[..cut].to_vec()).refused(&verifier).contains("does not verify"),
                "{key:?} {cut}"
            );
        }
        assert!(with(data[..BEFORE].to_vec()).refused(&verifier).contains("ends before the signature"));
        assert!(with([&data[..], &[0]].concat()).refused(&verifier).contains("does not verify"));
        for at in [BEFORE, BEFORE + len / 2, BEFORE + len - 1] {
            let mut changed = data.clone();
            changed[at] ^= 0x40;
            assert!(with(changed).refused(&verifier).contains("does not verify"), "{key:?} {at}");
        }

        // RFC 9881 §2: no parameters, not even NULL.
        let identifier = [&[0x30, 0x0d][..], &data[3..BEFORE], &[5, 0]].concat();
        let with_null = [&[15][..], &identifier, &data[BEFORE..]].concat();
        assert!(with(with_null).refused(&verifier).contains("has parameters, and may have none"));
        // Another set's name, and HashML-DSA's (2.16.840.1.101.3.4.3.32).
        let mut renamed = data.clone();
        renamed[BEFORE - 1] = if renamed[BEFORE - 1] == 0x11 { 0x12 } else { 0x11 };
        assert!(with(renamed.clone()).refused(&verifier).contains("does not go with"));
        renamed[BEFORE - 1] = 0x20;
        assert!(with(renamed).refused(&verifier).contains("2.16.840.1.101.3.4.3.32"));
        // Another key's signature over the same octets.
        let other = load(&root.issue(key, "other", &[]).key).sign(scheme, &octets().0).unwrap();
        assert!(with([&data[..BEFORE], &other].concat()).refused(&verifier).contains("does not verify"));
        // No older method carries it.
        for method in [1, 9, 10, 11] {
            let proof = AuthProof { method, data: data[BEFORE..].to_vec() };
            let why = Claim { proof, ..good.clone() }.refused(&verifier);
            assert!(why.contains("ML-DSA"), "{method}: {why}");
        }
    }
}

/// The signature hashes by itself, so the peer must have announced the hash Identity (draft-ietf-ipsecme-ikev2-pqc-auth
/// §3.2.1, RFC 8420 §2).
#[test]
fn a_peer_without_the_identity_hash_is_not_signed_for() {
    let root = Authority::root(Key::MlDsa65, "Root");
    for (key, ..) in SETS {
        let why = proof(&prover(&peer(&root, key)), &[2, 3, 4]).unwrap_err();
        assert!(
            why.ours && why.reason.contains("ML-DSA-") && why.reason.contains("Identity"),
            "{}",
            why.reason
        );
        let why = proof(&prover(&peer(&root, key)), &[]).unwrap_err();
        assert!(why.ours && why.reason.contains("RFC 7427"), "{}", why.reason);
        assert_eq!(proof(&prover(&peer(&root, key)), &[5]).unwrap().method, 14);
    }
}

/// The bits that establish keys have no place beside a key that signs.
//= rfc9881 §5
#[test]
fn a_key_usage_that_ml_dsa_cannot_serve_is_refused() {
    use rcgen::KeyUsagePurpose as Usage;
    let root = Authority::root(Key::MlDsa65, "Root");
    let verifier = checker(trusting(&[root.der()]));
    for (usages, taken) in [
        (vec![Usage::DigitalSignature], true),
        (vec![Usage::ContentCommitment], true),
        (vec![], true),
        (vec![Usage::DigitalSignature, Usage::KeyEncipherment], false),
        (vec![Usage::DigitalSignature, Usage::DataEncipherment], false),
        (vec![Usage::DigitalSignature, Usage::KeyAgreement], false),
        (vec![Usage::KeyEncipherment], false),
    ] {
        let entity = root.issue_with(Key::MlDsa44, "peer", &["peer.example.org"], |params| {
            params.key_usages = usages.clone();
        });
        match taken {
            true => drop(claim(&entity).check(&verifier).unwrap()),
            false => assert!(claim(&entity).refused(&verifier).contains("key usage"), "{usages:?}"),
        }
    }
}

/// RFC 9881 Appendix C.3: self-signed, and of authorities, so they are pinned here; their keys are those of C.1.
#[test]
fn the_certificates_of_rfc_9881_are_read_and_their_signatures_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    for (set, (_, scheme, len)) in [44, 65, 87].into_iter().zip(SETS) {
        let pem = testkit::read(&folder.join(format!("rfc9881-{set}.pem")));
        let certificate = trust::certificates(&provider::Provider::new(), &pem).unwrap().remove(0);
        let spki = trust::facts(&certificate).unwrap().spki;
        // Certificate ::= SEQUENCE { tbsCertificate, AlgorithmIdentifier, BIT STRING } (RFC 5280 §4.1).
        let (tbs, signature) = (&certificate.der[4..], &certificate.der[certificate.der.len() - len..]);
        let tbs = &tbs[..4 + usize::from(u16::from_be_bytes([tbs[2], tbs[3]]))];
        let verify = |signature: &[u8]| {
            crypto::Suite::verify(&provider::Provider::new(), &spki, scheme, tbs, signature)
        };
        assert_eq!(verify(signature), Ok(()), "{set}");
        assert!(verify(&signature[1..]).is_err());

        // Seed 00 01 … 1f, in the seed format.
        let (tag, seed): (u8, Vec<u8>) =
            ([0x11, 0x12, 0x13][usize::from(set > 44) + usize::from(set > 65)], (0..32).collect());
        let pkcs8 = testkit::hex(&format!("3034020100300b06096086480165030403{tag:02x}042280 20"));
        let key = load(&[pkcs8, seed].concat());
        assert_eq!(key.public_key(), spki);
        let data = [
            &[13, 0x30, 0x0b, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, tag][..],
            &key.sign(scheme, &octets().0).unwrap(),
        ]
        .concat();
        let subject = policy::Identity::Dn(x509_subject(&certificate.subject));
        let claim = Claim {
            remote: subject,
            wanted: IdPattern::Any,
            proof: AuthProof { method: 14, data },
            ocsp: vec![],
            certs: vec![certificate.der.to_vec()],
            wall: NOW,
        };
        claim.check(&checker(pinning(&[&certificate.der]))).unwrap_or_else(|why| panic!("{}", why.reason));
        let why = claim.refused(&checker(trusting(&[&certificate.der])));
        assert!(why.contains("authority"), "{why}");
    }
}

fn x509_subject(text: &str) -> Vec<u8> {
    trust::dn_from_text(text).expect("a name")
}
