//! Known answers of the signatures, in both directions, and what must be refused.

mod common;
use common::{Record, json, octets, records, text};
use crypto::{CryptoError, SignatureScheme as Scheme, Suite, VerifyError};
use provider::{LoadKeyError, Provider, limits, load_private_key};
use testkit::hex;

const MESSAGE: &[u8] = b"handfast signs this";

const SCHEMES: [Scheme; 16] = [
    Scheme::RsaPkcs1Sha1,
    Scheme::RsaPkcs1Sha256,
    Scheme::RsaPkcs1Sha384,
    Scheme::RsaPkcs1Sha512,
    Scheme::RsaPssSha256,
    Scheme::RsaPssSha384,
    Scheme::RsaPssSha512,
    Scheme::EcdsaSha1,
    Scheme::EcdsaSha256,
    Scheme::EcdsaSha384,
    Scheme::EcdsaSha512,
    Scheme::Ed25519,
    Scheme::Ed448,
    Scheme::MlDsa44,
    Scheme::MlDsa65,
    Scheme::MlDsa87,
];

/// Keys and signatures that OpenSSL made.
fn key(name: &str) -> Record {
    let all = records(include_str!("keys/openssl.txt"));
    all.into_iter().find(|record| record.has("NAME") && record.text("NAME") == name).unwrap()
}

fn verify(spki: &[u8], scheme: Scheme, signature: &[u8]) -> Result<(), VerifyError> {
    Provider::new().verify(spki, scheme, MESSAGE, signature)
}

#[test]
fn signatures_of_openssl_verify_and_ours_are_as_theirs() {
    for name in ["rsa", "ecdsa-P-256", "ecdsa-P-384", "ecdsa-P-521", "ed25519", "ed448"] {
        let key = key(name);
        let spki = key.octets("SPKI");
        let private =
            load_private_key(&key.octets("PKCS8")).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(private.public_key(), spki, "{name}");
        if key.has("OTHER") {
            assert_eq!(load_private_key(&key.octets("OTHER")).unwrap().public_key(), spki, "{name}");
        }
        for scheme in SCHEMES {
            let field = format!("{scheme:?}");
            assert_eq!(private.schemes().contains(&scheme), key.has(&field), "{name} {scheme:?}");
            if !key.has(&field) {
                assert_eq!(private.sign(scheme, MESSAGE), Err(CryptoError::Unsupported), "{name} {scheme:?}");
                assert_eq!(verify(&spki, scheme, &[0; 256]), Err(VerifyError::WrongKey), "{name} {scheme:?}");
                continue;
            }
            let theirs = key.octets(&field);
            assert_eq!(verify(&spki, scheme, &theirs), Ok(()), "{name} {scheme:?}");
            let ours = private.sign(scheme, MESSAGE).unwrap();
            assert_eq!(verify(&spki, scheme, &ours), Ok(()), "{name} {scheme:?}");
            let repeats = field.starts_with("RsaPkcs1") || field.starts_with("Ed");
            assert_eq!(ours == theirs, repeats, "{name} {scheme:?}");
            let mut changed = theirs.clone();
            *changed.last_mut().unwrap() ^= 1;
            assert_eq!(verify(&spki, scheme, &changed), Err(VerifyError::BadSignature), "{name} {scheme:?}");
            assert_eq!(verify(&spki, scheme, &theirs[1..]), Err(VerifyError::BadSignature));
            let other = Provider::new().verify(&spki, scheme, b"another message", &theirs);
            assert_eq!(other, Err(VerifyError::BadSignature), "{name} {scheme:?}");
        }
    }
}

#[test]
fn the_best_scheme_has_a_hash_as_strong_as_the_key() {
    let best = |name: &str| load_private_key(&key(name).octets("PKCS8")).unwrap().schemes()[0];
    assert_eq!(best("rsa"), Scheme::RsaPssSha256);
    assert_eq!(best("ecdsa-P-256"), Scheme::EcdsaSha256);
    assert_eq!(best("ecdsa-P-384"), Scheme::EcdsaSha384);
    assert_eq!(best("ecdsa-P-521"), Scheme::EcdsaSha512);
}

#[test]
fn a_pss_salt_of_another_length_verifies() {
    let key = key("rsa");
    let signature = key.octets("ShortSaltPssSha256");
    assert_eq!(verify(&key.octets("SPKI"), Scheme::RsaPssSha256, &signature), Ok(()));
}

/// A peer's key may be bound to PSS (RFC 4055 §1.2); our own may not, for the library does not write such public keys.
#[test]
fn a_key_for_pss_alone_verifies_pss_alone() {
    let key = key("rsapss");
    let spki = key.octets("SPKI");
    for scheme in [Scheme::RsaPssSha256, Scheme::RsaPssSha384, Scheme::RsaPssSha512] {
        assert_eq!(verify(&spki, scheme, &key.octets(&format!("{scheme:?}"))), Ok(()));
    }
    assert_eq!(verify(&spki, Scheme::RsaPkcs1Sha256, &[0; 256]), Err(VerifyError::WrongKey));
    assert_eq!(load_private_key(&key.octets("PKCS8")).err(), Some(LoadKeyError::Unreadable));
}

#[test]
fn a_curve_that_ikev2_does_not_sign_with_is_refused() {
    let key = key("secp256k1");
    let result = verify(&key.octets("SPKI"), Scheme::EcdsaSha256, &key.octets("EcdsaSha256"));
    assert_eq!(result, Err(VerifyError::WrongKey));
    assert_eq!(load_private_key(&key.octets("PKCS8")).err(), Some(LoadKeyError::Unreadable));
}

#[test]
fn an_rsa_key_outside_of_the_limits_is_refused() {
    let short = key("rsa1016");
    let loaded = load_private_key(&short.octets("PKCS8")).err();
    assert_eq!(loaded, Some(LoadKeyError::RsaSize(1016)));
    assert!(loaded.unwrap().to_string().contains("1016 bits"));
    let verified = verify(&short.octets("SPKI"), Scheme::RsaPkcs1Sha256, &short.octets("RsaPkcs1Sha256"));
    assert_eq!(verified, Err(VerifyError::WrongKey));
    // A modulus of one octet more than the limit: SEQUENCE { rsaEncryption, BIT STRING { n, 65537 } }.
    let modulus =
        [&[0x02, 0x82, 0x04, 0x02, 0x00][..], &[0xff; limits::RSA_MAX_BITS as usize / 8 + 1]].concat();
    let numbers = sequence(&[&modulus[..], &hex("0203010001")].concat());
    let bits = [&[0x03, 0x82][..], &(numbers.len() as u16 + 1).to_be_bytes(), &[0], &numbers].concat();
    let long = sequence(&[&hex("300d06092a864886f70d0101010500")[..], &bits].concat());
    assert_eq!(verify(&long, Scheme::RsaPkcs1Sha256, &[0; 1025]), Err(VerifyError::WrongKey));
}

fn sequence(content: &[u8]) -> Vec<u8> {
    [&[0x30, 0x82][..], &(content.len() as u16).to_be_bytes(), content].concat()
}

#[test]
fn what_is_no_key_is_refused() {
    let rsa = key("rsa");
    let der = rsa.octets("PKCS8");
    let ed448 = key("ed448").octets("PKCS8");
    let with_tail = [&der[..], &[0]].concat();
    let tail_448 = [&ed448[..], &[0]].concat();
    for bad in [&[][..], b"-----BEGIN PRIVATE KEY-----", &der[..600], &with_tail, &ed448[..72], &tail_448] {
        assert_eq!(load_private_key(bad).err(), Some(LoadKeyError::Unreadable));
    }
    let spki = rsa.octets("SPKI");
    let with_tail = [&spki[..], &[0]].concat();
    let signature = rsa.octets("RsaPkcs1Sha256");
    for bad in [&[][..], &spki[..100], &with_tail] {
        assert_eq!(verify(bad, Scheme::RsaPkcs1Sha256, &signature), Err(VerifyError::WrongKey));
    }
}

#[test]
fn a_provider_without_a_scheme_does_not_verify_it() {
    let key = key("rsa");
    let less = Provider::new().without(Scheme::RsaPkcs1Sha1);
    let verify = |scheme, field| less.verify(&key.octets("SPKI"), scheme, MESSAGE, &key.octets(field));
    assert_eq!(verify(Scheme::RsaPkcs1Sha1, "RsaPkcs1Sha1"), Err(VerifyError::Unsupported));
    assert_eq!(verify(Scheme::RsaPkcs1Sha256, "RsaPkcs1Sha256"), Ok(()));
}

#[test]
fn wycheproof_signatures() {
    let files = [
        ("ecdsa_secp256r1_sha256", Scheme::EcdsaSha256),
        ("ecdsa_secp256r1_sha512", Scheme::EcdsaSha512),
        ("ecdsa_secp384r1_sha384", Scheme::EcdsaSha384),
        ("ecdsa_secp384r1_sha512", Scheme::EcdsaSha512),
        ("ecdsa_secp521r1_sha512", Scheme::EcdsaSha512),
        ("ed25519", Scheme::Ed25519),
    ];
    let mut compared = [0; 2];
    for (name, scheme) in files {
        let Some(file) = json("wycheproof_signatures", &format!("vectors/wycheproof/{name}_test.json"))
        else {
            return;
        };
        for group in file["testGroups"].as_array().unwrap() {
            let spki = octets(group, "publicKeyDer");
            for vector in group["tests"].as_array().unwrap() {
                let (message, signature) = (octets(vector, "msg"), octets(vector, "sig"));
                let valid = text(vector, "result") == "valid";
                let result = Provider::new().verify(&spki, scheme, &message, &signature);
                assert_eq!(result.is_ok(), valid, "{name} {vector}: {result:?}");
                compared[usize::from(valid)] += 1;
            }
        }
    }
    assert_eq!(compared, [1615, 1162], "invalid, valid");
}

/// RFC 8032 §7.4, "Blank" and "1 octet".
#[test]
fn ed448() {
    let cases = [
        (
            "6c82a562cb808d10d632be89c8513ebf6c929f34ddfa8c9f63c9960ef6e348a3
             528c8a3fcc2f044e39a3fc5b94492f8f032e7549a20098f95b",
            "5fd7449b59b461fd2ce787ec616ad46a1da1342485a70e1f8a0ea75d80e96778
             edf124769b46c7061bd6783df1e50f6cd1fa1abeafe8256180",
            "",
            "533a37f6bbe457251f023c0d88f976ae2dfb504a843e34d2074fd823d41a591f
             2b233f034f628281f2fd7a22ddd47d7828c59bd0a21bfd3980ff0d2028d4b18a
             9df63e006c5d1c2d345b925d8dc00b4104852db99ac5c7cdda8530a113a0f4db
             b61149f05a7363268c71d95808ff2e652600",
        ),
        (
            "c4eab05d357007c632f3dbb48489924d552b08fe0c353a0d4a1f00acda2c463a
             fbea67c5e8d2877c5e3bc397a659949ef8021e954e0a12274e",
            "43ba28f430cdff456ae531545f7ecd0ac834a55d9358c0372bfa0c6c6798c086
             6aea01eb00742802b8438ea4cb82169c235160627b4c3a9480",
            "03",
            "26b8f91727bd62897af15e41eb43c377efb9c610d48f2335cb0bd0087810f435
             2541b143c4b981b7e18f62de8ccdf633fc1bf037ab7cd779805e0dbcc0aae1cb
             cee1afb2e027df36bc04dcecbf154336c19f0af7e0a6472905e799f1953d2a0f
             f3348ab21aa4adafd1d234441cf807c03a00",
        ),
    ];
    for (seed, public, message, signature) in cases {
        let key = load_private_key(&[hex("3047020100300506032b6571043b0439"), hex(seed)].concat()).unwrap();
        assert_eq!(key.public_key(), [hex("3043300506032b6571033a00"), hex(public)].concat());
        assert_eq!(key.sign(Scheme::Ed448, &hex(message)).unwrap(), hex(signature));
        let verified =
            Provider::new().verify(key.public_key(), Scheme::Ed448, &hex(message), &hex(signature));
        assert_eq!(verified, Ok(()));
    }
}
