//! Known answers of the pseudorandom functions and integrity algorithms.

mod common;
use common::{archive, json, octets, records, text};
use crypto::{Cipher, CryptoError, Suite};
use provider::Provider;
use testkit::hex;
use wire::num::{Encr, Integ, Prf};

/// The integrity algorithm alone: the MAC of `message` by way of NULL encryption.
fn mac(integ: Integ, key: &[u8], message: &[u8]) -> Vec<u8> {
    let cipher = keyed(integ, key);
    let mut icv = vec![0; cipher.spec().icv_len];
    cipher.seal(&[], &[], &mut message.to_vec(), &[], &mut icv);
    // However the octets are cut, the MAC is the same.
    let (aad, rest) = message.split_at(message.len() / 3);
    let (data, tail) = rest.split_at(rest.len() / 2);
    assert_eq!(cipher.open(&[], aad, &mut data.to_vec(), tail, &icv), Ok(()));
    icv[0] ^= 1;
    assert_eq!(cipher.open(&[], aad, &mut data.to_vec(), tail, &icv), Err(CryptoError::BadIcv));
    icv[0] ^= 1;
    icv
}

fn keyed(integ: Integ, key: &[u8]) -> Box<dyn Cipher> {
    Provider::new().cipher(Encr::NULL, 0, integ, &[], key).unwrap()
}

fn prf(id: Prf, key: &[u8], message: &[u8]) -> Vec<u8> {
    let provider = Provider::new();
    let prf = provider.prf(id).unwrap();
    let whole = prf.compute(key, &[message]);
    let (first, second) = message.split_at(message.len() / 3);
    assert_eq!(prf.compute(key, &[first, &[], second]), whole);
    assert_eq!(whole.expose().len(), prf.len());
    whole.expose().clone()
}

#[test]
fn strongswan_macs_and_prfs() {
    let mut compared = 0;
    for name in ["md5_hmac", "sha1_hmac", "sha2_hmac", "aes_cmac"] {
        let Some(file) = json("strongswan_macs_and_prfs", &format!("vectors/strongswan/{name}.json")) else {
            return;
        };
        for vector in file["vectors"].as_array().unwrap() {
            let (alg, key) = (text(vector, "alg"), octets(vector, "key"));
            if let Some(id) = Prf::ALL.iter().find(|id| id.name() == Some(alg)) {
                assert_eq!(prf(*id, &key, &octets(vector, "seed")), octets(vector, "out"), "{vector}");
                compared += 1;
            }
            let integ = Integ::ALL.iter().find(|id| id.name() == alg.strip_prefix("AUTH_"));
            // The variants of 128 and 160 bits are registered, but for Fibre Channel.
            let ours = integ.filter(|id| Provider::new().cipher_spec(Encr::NULL, 0, **id).is_some());
            if let Some(id) = ours {
                // A MAC key has the length of RFC 7296 §3.3.2; some of these are shorter.
                let spec = Provider::new().cipher_spec(Encr::NULL, 0, *id).unwrap();
                if spec.integ_key_len == key.len() {
                    // One of them is given longer than it is sent.
                    let (ours, theirs) = (mac(*id, &key, &octets(vector, "data")), octets(vector, "mac"));
                    assert_eq!(ours, theirs[..ours.len()], "{vector}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 51);
}

#[test]
fn wycheproof_macs() {
    let algorithms = [
        ("hmac_sha1", Prf::HMAC_SHA1),
        ("hmac_sha256", Prf::HMAC_SHA2_256),
        ("hmac_sha384", Prf::HMAC_SHA2_384),
        ("hmac_sha512", Prf::HMAC_SHA2_512),
        ("aes_cmac", Prf::AES128_CMAC),
    ];
    let mut compared = [0; 2];
    for (name, id) in algorithms {
        let Some(file) = json("wycheproof_macs", &format!("vectors/wycheproof/{name}_test.json")) else {
            return;
        };
        for group in file["testGroups"].as_array().unwrap() {
            let tag_len = group["tagSize"].as_u64().unwrap() as usize / 8;
            for vector in group["tests"].as_array().unwrap() {
                let key = octets(vector, "key");
                // As a PRF, AES-CMAC takes any key, but 16 octets mean AES-CMAC itself.
                if id == Prf::AES128_CMAC && key.len() != 16 {
                    continue;
                }
                let out = prf(id, &key, &octets(vector, "msg"));
                let valid = vector["result"] == "valid";
                assert_eq!(out[..tag_len] == octets(vector, "tag"), valid, "{name} {vector}");
                compared[usize::from(valid)] += 1;
            }
        }
    }
    assert_eq!(compared, [509, 285], "invalid, valid");
}

#[test]
fn nist_hmac() {
    let Some(file) = archive("nist_hmac", "vectors/nist-cavp/hmactestvectors.zip", "HMAC.rsp") else {
        return;
    };
    let mut compared = 0;
    for record in records(&file) {
        let id = match record.section.as_str() {
            "[L=20]" => Prf::HMAC_SHA1,
            "[L=32]" => Prf::HMAC_SHA2_256,
            "[L=48]" => Prf::HMAC_SHA2_384,
            "[L=64]" => Prf::HMAC_SHA2_512,
            _ => continue,
        };
        let expected = record.octets("Mac");
        assert_eq!(prf(id, &record.octets("Key"), &record.octets("Msg"))[..expected.len()], expected);
        compared += 1;
    }
    assert_eq!(compared, 1200);
}

/// RFC 3566 §4.6.
#[test]
fn aes_xcbc_mac() {
    let key = hex("000102030405060708090a0b0c0d0e0f");
    let counting: Vec<u8> = (0..34).collect();
    let cases = [
        (&counting[..0], "75f0251d528ac01c4573dfd584d79f29"),
        (&counting[..3], "5b376580ae2f19afe7219ceef172756f"),
        (&counting[..16], "d2a246fa349b68a79998a4394ff7a263"),
        (&counting[..20], "47f51b4564966215b8985c63055ed308"),
        (&counting[..32], "f54f0ec8d2b9f3d36807734bd5283fd4"),
        (&counting[..34], "becbb3bccdb518a30677d5481fb6b4d8"),
        (&[0; 1000], "f0dafee895db30253761103b5d84528f"),
    ];
    for (message, expected) in cases {
        assert_eq!(prf(Prf::AES128_XCBC, &key, message), hex(expected), "{} octets", message.len());
        assert_eq!(mac(Integ::AES_XCBC_96, &key, message), hex(expected)[..12], "{} octets", message.len());
    }
}

/// RFC 4434 §2 and RFC 4615 §4: keys of 16, 10 and 18 octets.
#[test]
fn prfs_of_fixed_key_length_take_any_key() {
    let key = hex("000102030405060708090a0b0c0d0e0fedcb");
    let message: Vec<u8> = (0..20).collect();
    let cases = [
        (Prf::AES128_XCBC, 16, "47f51b4564966215b8985c63055ed308"),
        (Prf::AES128_XCBC, 10, "0fa087af7d866e7653434e602fdde835"),
        (Prf::AES128_XCBC, 18, "8cd3c93ae598a9803006ffb67c40e9e4"),
        (Prf::AES128_CMAC, 18, "84a348a4a45d235babfffc0d2b4da09a"),
        (Prf::AES128_CMAC, 16, "980ae87b5f4c9c5214f5b6a8455e4c2d"),
        (Prf::AES128_CMAC, 10, "290d9e112edb09ee141fcf64c0b72f3d"),
    ];
    for (id, len, expected) in cases {
        assert_eq!(prf(id, &key[..len], &message), hex(expected), "{id} with a key of {len}");
    }
}

/// FIPS 180-2 §A.1 and §A.2.
#[test]
fn sha1() {
    let provider = Provider::new();
    assert_eq!(provider.sha1(&[b"a", b"", b"bc"])[..], hex("a9993e364706816aba3e25717850c26c9cd0d89d"));
    let long = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    assert_eq!(provider.sha1(&[long])[..], hex("84983e441c3bd26ebaae4aa1f95129e5e54670f1"));
}

#[test]
fn one_keyed_mac_serves_several_threads() {
    for integ in [Integ::HMAC_SHA2_256_128, Integ::AES_XCBC_96, Integ::AES_CMAC_96] {
        let spec = Provider::new().cipher_spec(Encr::NULL, 0, integ).unwrap();
        let cipher = keyed(integ, &vec![7; spec.integ_key_len]);
        let expected = mac(integ, &vec![7; spec.integ_key_len], &[1; 100]);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let mut icv = vec![0; expected.len()];
                        cipher.seal(&[], &[], &mut [1; 100], &[], &mut icv);
                        assert_eq!(icv, expected, "{integ}");
                    }
                });
            }
        });
    }
}
