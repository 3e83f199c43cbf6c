//! Known answers of the encryptions, and what must be refused.

mod common;
use common::{archive, json, octets, records, text};
use crypto::{Cipher, CryptoError, IvKind, Suite};
use provider::Provider;
use wire::num::{Encr, Integ};

/// Seals `plain`, compares, opens again, and refuses each kind of change.
fn check(cipher: &dyn Cipher, iv: &[u8], aad: &[u8], plain: &[u8], sealed: (&[u8], Option<&[u8]>)) {
    let (mut data, mut icv) = (plain.to_vec(), vec![0; cipher.spec().icv_len]);
    cipher.seal(iv, aad, &mut data, &[], &mut icv);
    assert_eq!(data, sealed.0);
    if let Some(expected) = sealed.1 {
        assert_eq!(icv, expected);
    }
    assert_eq!(cipher.open(iv, aad, &mut data, &[], &icv), Ok(()));
    assert_eq!(data, plain);
    let changed =
        |octets: &[u8]| octets.iter().enumerate().map(|(i, o)| o ^ u8::from(i == 0)).collect::<Vec<_>>();
    let refused = |iv: &[u8], aad: &[u8], data: &[u8], icv: &[u8]| {
        assert_eq!(cipher.open(iv, aad, &mut data.to_vec(), &[], icv), Err(CryptoError::BadIcv));
    };
    refused(iv, &[aad, &[0]].concat(), sealed.0, &icv);
    refused(iv, aad, sealed.0, &changed(&icv));
    refused(iv, aad, sealed.0, &icv[1..]);
    if !iv.is_empty() {
        refused(&changed(iv), aad, sealed.0, &icv);
        refused(&iv[1..], aad, sealed.0, &icv);
    }
    if !plain.is_empty() {
        refused(iv, aad, &changed(sealed.0), &icv);
        refused(iv, aad, &sealed.0[1..], &icv);
    }
}

/// An encryption under test, with HMAC-SHA-256 beside it: only the ciphertext is compared.
fn with_hmac(encr: Encr, bits: u16, key: &[u8]) -> Box<dyn Cipher> {
    Provider::new().cipher(encr, bits, Integ::HMAC_SHA2_256_128, key, &[9; 32]).unwrap()
}

#[test]
fn strongswan_ciphers() {
    let mut compared = 0;
    for (name, encr) in [
        ("aes_cbc", Encr::AES_CBC),
        ("aes_ctr", Encr::AES_CTR),
        ("3des_cbc", Encr::TRIPLE_DES),
        ("null", Encr::NULL),
    ] {
        let Some(file) = json("strongswan_ciphers", &format!("vectors/strongswan/{name}.json")) else {
            return;
        };
        for vector in file["vectors"].as_array().unwrap() {
            let key = octets(vector, "key");
            let bits = match encr {
                Encr::AES_CBC => key.len() as u16 * 8,
                Encr::AES_CTR => (key.len() as u16 - 4) * 8,
                _ => 0,
            };
            let cipher = with_hmac(encr, bits, &key);
            let sealed = octets(vector, "cipher");
            check(&*cipher, &octets(vector, "iv"), b"aad", &octets(vector, "plain"), (&sealed, None));
            compared += 1;
        }
    }
    assert_eq!(compared, 18);
}

#[test]
fn strongswan_combined_modes() {
    let mut compared = 0;
    for name in ["aes_gcm", "aes_ccm", "chacha20poly1305"] {
        let Some(file) = json("strongswan_combined_modes", &format!("vectors/strongswan/{name}.json")) else {
            return;
        };
        for vector in file["vectors"].as_array().unwrap() {
            let encr = match text(vector, "alg") {
                "ENCR_AES_GCM_ICV8" => Encr::AES_GCM_8,
                "ENCR_AES_GCM_ICV12" => Encr::AES_GCM_12,
                "ENCR_AES_GCM_ICV16" => Encr::AES_GCM_16,
                "ENCR_AES_CCM_ICV8" => Encr::AES_CCM_8,
                "ENCR_AES_CCM_ICV12" => Encr::AES_CCM_12,
                "ENCR_AES_CCM_ICV16" => Encr::AES_CCM_16,
                "ENCR_CHACHA20_POLY1305" => Encr::CHACHA20_POLY1305,
                other => panic!("unknown algorithm {other}"),
            };
            let key_len: usize = text(vector, "key_size").parse().unwrap();
            let bits = if encr == Encr::CHACHA20_POLY1305 { 0 } else { key_len as u16 * 8 };
            let spec = Provider::new().cipher_spec(encr, bits, Integ::NONE).unwrap();
            // One vector of AES-CCM carries more key than its own key size says.
            let key = octets(vector, "key")[..spec.encr_key_len].to_vec();
            let cipher = Provider::new().cipher(encr, bits, Integ::NONE, &key, &[]).unwrap();
            let sealed = octets(vector, "cipher");
            let (data, icv) = sealed.split_at(sealed.len() - spec.icv_len);
            let (iv, aad) = (octets(vector, "iv"), octets(vector, "adata"));
            check(&*cipher, &iv, &aad, &octets(vector, "plain"), (data, Some(icv)));
            compared += 1;
        }
    }
    assert_eq!(compared, 41);
}

#[test]
fn wycheproof_combined_modes() {
    let mut compared = [0; 2];
    for (name, salt_len) in [("aes_gcm", 4), ("aes_ccm", 3), ("chacha20_poly1305", 4)] {
        let Some(file) = json("wycheproof_combined_modes", &format!("vectors/wycheproof/{name}_test.json"))
        else {
            return;
        };
        for group in file["testGroups"].as_array().unwrap() {
            let number = |key: &str| group[key].as_u64().unwrap() as usize;
            // Salt and explicit IV of eight octets are the nonce; other nonces IKE and ESP do not have.
            if number("ivSize") != (salt_len + 8) * 8 || number("tagSize") != 128 {
                continue;
            }
            let (encr, bits) = match name {
                "aes_gcm" => (Encr::AES_GCM_16, number("keySize") as u16),
                "aes_ccm" => (Encr::AES_CCM_16, number("keySize") as u16),
                _ => (Encr::CHACHA20_POLY1305, 0),
            };
            for vector in group["tests"].as_array().unwrap() {
                let (nonce, aad) = (octets(vector, "iv"), octets(vector, "aad"));
                let (salt, iv) = nonce.split_at(salt_len);
                let key = [&octets(vector, "key")[..], salt].concat();
                let cipher = Provider::new().cipher(encr, bits, Integ::NONE, &key, &[]).unwrap();
                let (data, tag) = (octets(vector, "ct"), octets(vector, "tag"));
                let valid = vector["result"] == "valid";
                if valid {
                    check(&*cipher, iv, &aad, &octets(vector, "msg"), (&data, Some(&tag)));
                } else {
                    let opened = cipher.open(iv, &aad, &mut data.clone(), &[], &tag);
                    assert_eq!(opened, Err(CryptoError::BadIcv), "{vector}");
                }
                compared[usize::from(valid)] += 1;
            }
        }
    }
    assert_eq!(compared, [141, 390], "invalid, valid");
}

#[test]
fn nist_cbc_multi_block() {
    let mut compared = 0;
    for bits in [128, 192, 256] {
        let member = format!("CBCMMT{bits}.rsp");
        let Some(file) = archive("nist_cbc_multi_block", "vectors/nist-cavp/aesmmt.zip", &member) else {
            return;
        };
        for record in records(&file) {
            let cipher = with_hmac(Encr::AES_CBC, bits, &record.octets("KEY"));
            let (plain, sealed) = (record.octets("PLAINTEXT"), record.octets("CIPHERTEXT"));
            check(&*cipher, &record.octets("IV"), &[], &plain, (&sealed, None));
            compared += 1;
        }
    }
    for member in ["TCBCMMT1.rsp", "TCBCMMT2.rsp", "TCBCMMT3.rsp"] {
        let Some(file) = archive("nist_cbc_multi_block", "vectors/nist-cavp/tdesmmt.zip", member) else {
            return;
        };
        for record in records(&file) {
            let key = ["KEY1", "KEY2", "KEY3"].map(|part| record.octets(part)).concat();
            let cipher = with_hmac(Encr::TRIPLE_DES, 0, &key);
            let (plain, sealed) = (record.octets("PLAINTEXT"), record.octets("CIPHERTEXT"));
            check(&*cipher, &record.octets("IV"), &[], &plain, (&sealed, None));
            compared += 1;
        }
    }
    assert_eq!(compared, 120);
}

#[test]
fn every_shape_works_and_has_the_lengths_of_its_rfc() {
    let provider = Provider::new();
    let mut shapes = 0;
    for (encr, integ) in Encr::ALL.iter().flat_map(|encr| Integ::ALL.iter().map(move |integ| (*encr, *integ)))
    {
        for bits in [0, 128, 192, 256] {
            let Some(spec) = provider.cipher_spec(encr, bits, integ) else { continue };
            let (encr_key, integ_key) = (vec![1; spec.encr_key_len], vec![2; spec.integ_key_len]);
            let cipher = provider.cipher(encr, bits, integ, &encr_key, &integ_key).unwrap();
            assert_eq!((cipher.spec(), cipher.is_aead()), (spec, integ == Integ::NONE), "{encr} {integ}");
            let (iv, plain) = (vec![3; spec.iv_len], vec![4; 7 * spec.block]);
            let (mut sealed, mut icv) = (plain.clone(), vec![0; spec.icv_len]);
            cipher.seal(&iv, b"aad", &mut sealed, &[], &mut icv);
            assert_eq!(sealed == plain, encr == Encr::NULL, "{encr}");
            check(&*cipher, &iv, b"aad", &plain, (&sealed, Some(&icv)));
            for (encr_key, integ_key) in [
                (&encr_key[..], &[&integ_key[..], &[0]].concat()),
                (&[&encr_key[..], &[0]].concat(), &integ_key),
            ] {
                let wrong = provider.cipher(encr, bits, integ, encr_key, integ_key);
                assert_eq!(wrong.err(), Some(CryptoError::BadKeyLength), "{encr} {integ}");
            }
            shapes += 1;
        }
    }
    // AES-CBC, AES-CTR (three lengths each), 3DES and NULL with seven MACs; six AES modes and ChaCha20-Poly1305.
    assert_eq!(shapes, 8 * 7 + 6 * 3 + 1);
}

#[test]
fn what_has_no_integrity_or_no_such_length_is_refused() {
    let provider = Provider::new();
    for (encr, bits, integ) in [
        (Encr::NULL, 0, Integ::NONE),
        (Encr::AES_CBC, 128, Integ::NONE),
        (Encr::AES_CTR, 256, Integ::NONE),
        (Encr::AES_GCM_16, 128, Integ::HMAC_SHA2_256_128),
        (Encr::CHACHA20_POLY1305, 0, Integ::HMAC_SHA2_256_128),
        (Encr::CHACHA20_POLY1305, 256, Integ::NONE),
        (Encr::AES_GCM_16, 0, Integ::NONE),
        (Encr::AES_CBC, 64, Integ::HMAC_SHA1_96),
        (Encr::DES, 0, Integ::HMAC_SHA1_96),
        (Encr::AES_CBC, 128, Integ::DES_MAC),
    ] {
        assert_eq!(provider.cipher_spec(encr, bits, integ), None, "{encr} {bits} {integ}");
        let refused = provider.cipher(encr, bits, integ, &[], &[]).err();
        assert_eq!(refused, Some(CryptoError::Unsupported), "{encr} {bits} {integ}");
    }
}

/// The high half of an extended sequence number is authenticated without being sent (RFC 4303 §2.2.1).
#[test]
fn the_tail_is_under_the_mac() {
    let cipher = with_hmac(Encr::AES_CBC, 128, &[1; 16]);
    let (mut data, mut icv) = ([0; 32], [0; 16]);
    cipher.seal(&[2; 16], b"spi+seq", &mut data, &[0, 0, 0, 1], &mut icv);
    assert_eq!(cipher.open(&[2; 16], b"spi+seq", &mut data.clone(), &[0, 0, 0, 1], &icv), Ok(()));
    assert_eq!(
        cipher.open(&[2; 16], b"spi+seq", &mut data.clone(), &[0, 0, 0, 2], &icv),
        Err(CryptoError::BadIcv)
    );
}

#[test]
fn an_iv_comes_from_where_its_mode_needs_it() {
    let kind = |encr, bits, integ| Provider::new().cipher_spec(encr, bits, integ).unwrap().iv_kind;
    assert_eq!(kind(Encr::AES_CBC, 128, Integ::HMAC_SHA1_96), IvKind::Random);
    assert_eq!(kind(Encr::TRIPLE_DES, 0, Integ::HMAC_SHA1_96), IvKind::Random);
    assert_eq!(kind(Encr::AES_CTR, 128, Integ::HMAC_SHA1_96), IvKind::Counter);
    assert_eq!(kind(Encr::AES_GCM_16, 128, Integ::NONE), IvKind::Counter);
    assert_eq!(kind(Encr::NULL, 0, Integ::HMAC_SHA1_96), IvKind::None);
}

#[test]
fn a_provider_without_an_algorithm_does_not_have_it() {
    let less = Provider::new().without(Encr::AES_GCM_16).without(Integ::HMAC_SHA1_96);
    assert_eq!(less.cipher_spec(Encr::AES_GCM_16, 128, Integ::NONE), None);
    assert_eq!(less.cipher_spec(Encr::AES_CBC, 128, Integ::HMAC_SHA1_96), None);
    assert!(less.cipher_spec(Encr::AES_GCM_12, 128, Integ::NONE).is_some());
    let less = less.without(wire::num::KeMethod::CURVE25519).without(wire::num::Prf::HMAC_MD5);
    assert!(less.key_exchange(wire::num::KeMethod::CURVE25519).is_none());
    assert!(less.prf(wire::num::Prf::HMAC_MD5).is_none());
}
