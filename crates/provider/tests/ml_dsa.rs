//! Known answers of ML-DSA, and what must be refused.

mod common;
use common::{Record, octets, records};
use crypto::{CryptoError, SignatureScheme as Scheme, SigningKey, Suite, VerifyError};
use provider::{LoadKeyError, Provider, load_private_key};
use serde_json::Value;
use testkit::hex;

const MESSAGE: &[u8] = b"handfast signs this";
const SETS: [(u8, Scheme, usize); 3] =
    [(44, Scheme::MlDsa44, 2420), (65, Scheme::MlDsa65, 3309), (87, Scheme::MlDsa87, 4627)];

/// The examples of RFC 9881 Appendix C.
fn example(set: u8) -> Record {
    let name = format!("ML-DSA-{set}");
    records(include_str!("vectors/rfc9881.txt"))
        .into_iter()
        .find(|record| record.has("NAME") && record.text("NAME") == name)
        .expect("an example")
}

fn verify(spki: &[u8], scheme: Scheme, signature: &[u8]) -> Result<(), VerifyError> {
    Provider::new().verify(spki, scheme, MESSAGE, signature)
}

//= rfc9881 §6
#[test]
fn the_three_formats_of_a_private_key_are_one_key() {
    for (set, scheme, len) in SETS {
        let example = example(set);
        let spki = example.octets("SPKI");
        for format in ["SEED", "EXPANDED", "BOTH"] {
            let key = load_private_key(&example.octets(format)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(key.public_key(), spki, "{set} {format}");
            assert_eq!(key.schemes(), [scheme]);
            let signature = key.sign(scheme, MESSAGE).unwrap();
            assert_eq!(signature.len(), len);
            assert_eq!(verify(&spki, scheme, &signature), Ok(()), "{set} {format}");
            assert_ne!(key.sign(scheme, MESSAGE).unwrap(), signature, "hedged (FIPS 204 §3.4)");
            assert_eq!(key.sign(Scheme::Ed25519, MESSAGE), Err(CryptoError::Unsupported));
        }
    }
}

//= rfc9881 §8.2
//# If the check is done and the seed and the expandedKey are not consistent, the recipient MUST reject the private key as
//# malformed.
#[test]
fn a_private_key_whose_parts_disagree_is_refused() {
    let example = example(44);
    for bad in ["INCONSISTENT1", "INCONSISTENT2", "INCONSISTENT3"] {
        let loaded = load_private_key(&example.octets(bad)).map(|key| key.public_key().to_vec());
        assert_eq!(loaded.err(), Some(LoadKeyError::Unreadable), "{bad}");
    }
    for format in ["SEED", "EXPANDED", "BOTH"] {
        let whole = example.octets(format);
        for cut in [1, 2, whole.len() / 2, whole.len() - 1] {
            assert!(load_private_key(&whole[..cut]).is_err(), "{format} cut to {cut}");
        }
        assert!(load_private_key(&[&whole[..], &[0]].concat()).is_err(), "{format} with an octet more");
    }
}

/// NIST ACVP, ML-DSA-keyGen-FIPS204 (usnistgov/ACVP-Server), test cases 1, 26 and 51: seed, and SHA-256 of the public key.
#[test]
fn nist_acvp_key_generation() {
    let cases = [
        (
            44,
            "93EF2E6EF1FB08999D142ABE0295482370D3F43BDB254A78E2B0D5168ECA065F",
            "6995b20ecd5cde41719035028a712ccf35b1adf53b913030423d9d6fa188d673",
        ),
        (
            65,
            "70CEFB9AED5B68E018B079DA8284B9D5CAD5499ED9C265FF73588005D85C225C",
            "646b26b8d09dbc9e865b6a006c693a3127b065e62fab5fbe8b159c416462feb6",
        ),
        (
            87,
            "38359FBCD79582CFFE609E137EE2EFE8A8DBCBAD18BA92BB433AB4F09B49299D",
            "ea374a09356e5f89be784f28f4ef938e8976cb5c4db00fbacb257663491748d4",
        ),
    ];
    for (set, seed, hash) in cases {
        // The example's PKCS#8 ends with its seed, and its SubjectPublicKeyInfo begins with 22 octets that are not the key.
        let mut pkcs8 = example(set).octets("SEED");
        let at = pkcs8.len() - 32;
        pkcs8[at..].copy_from_slice(&hex(seed));
        let key = load_private_key(&pkcs8).unwrap();
        let found = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &key.public_key()[22..]);
        assert_eq!(found.as_ref(), hex(hash), "ML-DSA-{set}");
    }
}

/// Public keys and signatures, good and malformed. A signature with a context that is not empty is none of IKEv2's.
#[test]
fn wycheproof_verification() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/wycheproof");
    for (set, scheme, _) in SETS {
        let path = format!("{folder}/mldsa_{set}_verify_test.json");
        let file: Value = serde_json::from_slice(&std::fs::read(&path).expect(&path)).expect(&path);
        let (mut good, mut bad, mut keys) = (0, 0, 0);
        for group in file["testGroups"].as_array().expect("groups") {
            let spki = octets(group, "publicKeyDer");
            for case in group["tests"].as_array().expect("tests") {
                let (message, signature) = (octets(case, "msg"), octets(case, "sig"));
                let verified = Provider::new().verify(&spki, scheme, &message, &signature);
                if case["result"] == "valid" && octets(case, "ctx").is_empty() {
                    assert_eq!(verified, Ok(()), "{case}");
                    good += 1;
                } else if case["flags"][0] == "IncorrectPublicKeyLength" {
                    assert_eq!(verified, Err(VerifyError::WrongKey), "{case}");
                    keys += 1;
                } else {
                    assert_eq!(verified, Err(VerifyError::BadSignature), "{case}");
                    bad += 1;
                }
            }
        }
        assert!(good >= 5 && bad >= 9 && keys >= 2, "{set}: {good}, {bad}, {keys}");
    }
}

#[test]
fn keys_signatures_and_schemes_of_other_sets_do_not_mix() {
    let key = |set: u8| -> Box<dyn SigningKey> { load_private_key(&example(set).octets("SEED")).unwrap() };
    for (set, scheme, len) in SETS {
        let (spki, signature) = (example(set).octets("SPKI"), key(set).sign(scheme, MESSAGE).unwrap());
        for (other, its_scheme, _) in SETS.into_iter().filter(|(other, ..)| *other != set) {
            assert_eq!(verify(&spki, its_scheme, &signature), Err(VerifyError::WrongKey));
            let its_spki = example(other).octets("SPKI");
            assert_eq!(verify(&its_spki, its_scheme, &signature), Err(VerifyError::BadSignature));
        }
        for wrong in [&signature[..len - 1], &signature[1..], &[&signature[..], &[0]].concat(), &[]] {
            assert_eq!(verify(&spki, scheme, wrong), Err(VerifyError::BadSignature), "{set}");
        }
        for at in [0, len / 2, len - 1] {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert_eq!(verify(&spki, scheme, &changed), Err(VerifyError::BadSignature), "{set} at {at}");
        }
        // RFC 9881 §2: parameters MUST be absent; here they are NULL.
        let mut with_null = spki.clone();
        with_null.splice(17..17, [5, 0]);
        with_null[5] += 2;
        with_null[3] += 2;
        assert_eq!(verify(&with_null, scheme, &signature), Err(VerifyError::WrongKey), "{set}");
    }
}
