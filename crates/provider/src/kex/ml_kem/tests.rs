//! Known answers of ML-KEM, and the values that must be refused.

use super::*;
use serde_json::Value;
use testkit::hex;

/// Gives out prepared octets, then fails the test.
struct Script(Vec<u8>);

impl Rng for Script {
    fn fill(&mut self, out: &mut [u8]) {
        assert!(self.0.len() >= out.len(), "more octets were drawn than prepared");
        out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<u8>>());
    }
}

const SETS: [(&str, KeMethod); 3] =
    [("512", KeMethod::ML_KEM_512), ("768", KeMethod::ML_KEM_768), ("1024", KeMethod::ML_KEM_1024)];

/// The cases of a file of the excerpt of Wycheproof.
fn cases(set: &str, kind: &str) -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/wycheproof");
    let path = format!("{folder}/mlkem_{set}_{kind}test.json");
    let mut file: Value = serde_json::from_slice(&std::fs::read(&path).expect(&path)).expect(&path);
    let groups = file["testGroups"].as_array_mut().expect("groups");
    groups
        .iter_mut()
        .flat_map(|group| std::mem::take(group["tests"].as_array_mut().expect("tests")))
        .collect()
}

fn field(case: &Value, name: &str) -> Vec<u8> {
    hex(case[name].as_str().unwrap_or_else(|| panic!("{name} of {case}")))
}

/// NIST ACVP, ML-KEM-keyGen-FIPS203 (usnistgov/ACVP-Server), test cases 1, 26 and 51: `d`, `z`, and SHA-256 of the
/// encapsulation key.
#[test]
fn nist_acvp_key_generation() {
    let cases = [
        (
            KeMethod::ML_KEM_512,
            "2CB843A02EF02EE109305F39119FABF49AB90A57FFECB3A0E75E179450F52761",
            "84CC9121AE56FBF39E67ADBD83AD2D3E3BB80843645206BDD9F2F629E3CC49B7",
            "f96920dc6766df52dca2428e7e751c0c27d537424c0a3f5c89153c2d5d28f898",
        ),
        (
            KeMethod::ML_KEM_768,
            "E34A701C4C87582F42264EE422D3C684D97611F2523EFE0C998AF05056D693DC",
            "A85768F3486BD32A01BF9A8F21EA938E648EAE4E5448C34C3EB88820B159EEDD",
            "7799c9d8eef172aa78c073514f2f039c240de8c5cb61bca82ba0bc46041ce279",
        ),
        (
            KeMethod::ML_KEM_1024,
            "49AC8B99BB1E6A8EA818261F8BE68BDEAA52897E7EC6C40B530BC760AB77DCE3",
            "99E3246884181F8E1DD44E0C7629093330221FD67D9B7D6E1510B2DBAD8762F7",
            "62fccf5fdf805b110670b39cd5e25b1811172961ea4047bfbd589e323ce7cfbc",
        ),
    ];
    for (id, d, z, hash) in cases {
        let (_, public) = find(id).unwrap().generate(&mut Script(hex(&[d, z].concat()))).unwrap();
        let found = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &public);
        assert_eq!(found.as_ref(), hex(hash), "{id}");
    }
}

#[test]
fn wycheproof_key_generation() {
    for (set, id) in SETS {
        let cases = cases(set, "keygen_seed_");
        assert!(cases.len() >= 2);
        for case in &cases {
            let (_, public) = find(id).unwrap().generate(&mut Script(field(case, "seed"))).unwrap();
            assert_eq!(public, field(case, "ek"), "{case}");
        }
    }
}

/// Seeds with ciphertexts, good and malformed: what the initiator makes of a responder's value.
//= fips203 §7.3
#[test]
fn wycheproof_decapsulation() {
    for (set, id) in SETS {
        let (mut good, mut bad) = (0, 0);
        for case in cases(set, "") {
            let (seed, ciphertext) = (field(&case, "seed"), field(&case, "c"));
            if seed.len() != MlKem::SEED {
                continue; // our seeds have one length
            }
            let (private, public) = find(id).unwrap().generate(&mut Script(seed)).unwrap();
            assert_eq!(public, field(&case, "ek"), "{case}");
            let shared = private.finish(&ciphertext);
            if case["result"] == "valid" {
                assert_eq!(*shared.unwrap().expose(), field(&case, "K"), "{case}");
                good += 1;
            } else {
                assert_eq!(shared, Err(CryptoError::CiphertextLength), "{case}");
                bad += 1;
            }
        }
        assert!(good >= 7 && bad >= 2, "{set}: {good} good, {bad} bad");
    }
}

/// Encapsulation keys, good and malformed, each of them against the answer that its random octets give.
//= fips203 §7.2
#[test]
fn wycheproof_encapsulation() {
    for (set, id) in SETS {
        let (mut good, mut length, mut modulus) = (0, 0, 0);
        for case in cases(set, "encaps_") {
            let key = field(&case, "ek");
            // A refused key costs no random octets: it is looked at before any work.
            let valid = case["result"] == "valid";
            let drawn = if valid { field(&case, "m") } else { Vec::new() };
            match find(id).unwrap().respond(&mut Script(drawn), &key) {
                Ok((ciphertext, shared)) => {
                    assert!(valid, "{case}");
                    assert_eq!(ciphertext, field(&case, "c"), "{case}");
                    assert_eq!(*shared.expose(), field(&case, "K"), "{case}");
                    good += 1;
                }
                Err(error) if key.len() == find(id).unwrap().public_len() => {
                    assert_eq!((error, valid), (CryptoError::EncapsulationKeyModulus, false), "{case}");
                    modulus += 1;
                }
                Err(error) => {
                    assert_eq!((error, valid), (CryptoError::EncapsulationKeyLength, false), "{case}");
                    length += 1;
                }
            }
        }
        assert!(good >= 8 && length >= 2 && modulus >= 4, "{set}: {good}, {length}, {modulus}");
    }
}

/// Every place of a coefficient is checked, with the largest value that is allowed and the smallest that is not.
//= fips203 §7.2
#[test]
fn each_coefficient_must_be_below_q() {
    for (_, id) in SETS {
        let method = find(id).unwrap();
        let (_, public) = method.generate(&mut Script(vec![7; MlKem::SEED])).unwrap();
        assert!(is_reduced(&public));
        let places = (public.len() - 32) / 3 * 2;
        for place in 0..places {
            for (value, allowed) in [(3328_u16, true), (3329, false), (4095, false)] {
                let mut key = public.clone();
                let at = place / 2 * 3;
                if place % 2 == 0 {
                    key[at] = value as u8;
                    key[at + 1] = key[at + 1] & 0xf0 | (value >> 8) as u8;
                } else {
                    key[at + 1] = key[at + 1] & 0x0f | (value << 4) as u8;
                    key[at + 2] = (value >> 4) as u8;
                }
                assert_eq!(is_reduced(&key), allowed, "{id}: {value} at {place}");
            }
        }
    }
}

#[test]
fn the_roles_values_have_their_own_lengths_and_no_other() {
    for (_, id) in SETS {
        let method = find(id).unwrap();
        let (private, public) = method.generate(&mut Script(vec![7; MlKem::SEED])).unwrap();
        let (answer, shared) = method.respond(&mut Script(vec![9; MlKem::MESSAGE]), &public).unwrap();
        assert_eq!(private.finish(&answer).unwrap(), shared);
        for wrong in [&public[1..], &[&public[..], &[0]].concat(), &[]] {
            let refused = method.respond(&mut Script(Vec::new()), wrong).map(|_| ());
            assert_eq!(refused, Err(CryptoError::EncapsulationKeyLength), "{id}");
            assert!(method.respond_later(&mut Script(Vec::new()), wrong).is_err(), "{id}");
        }
        for wrong in [&answer[1..], &[&answer[..], &[0]].concat(), &[]] {
            assert_eq!(private.finish(wrong), Err(CryptoError::CiphertextLength), "{id}");
        }
        // A changed ciphertext gives another secret and no error (FIPS 203 §6.3, implicit rejection): AUTH finds it.
        let mut changed = answer.clone();
        changed[17] ^= 1;
        assert_ne!(private.finish(&changed).unwrap(), shared);
        assert_eq!(private.finish(&changed), private.finish(&changed));
        assert_eq!(private.finish(&answer).unwrap(), shared, "the good answer after the forged one");
    }
}
