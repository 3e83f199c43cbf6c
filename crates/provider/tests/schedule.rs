//! Known answers of the key schedules.

mod common;
use base::Secret;
use common::{json, octets, text};
use crypto::{CipherSpec, IvKind, Nonces, SharedSecrets, Spis, Suite};
use provider::Provider;
use testkit::hex;
use wire::num::Prf;

/// NIST CAVP, "IKEv2" of SP 800-135 §4.1.2: SKEYSEED, its DKM (all SK_* in a row), DKM of children without
/// and with a key exchange of their own, and SKEYSEED after a rekeying.
#[test]
fn nist_ikev2() {
    let Some(file) = json("nist_ikev2", "vectors/nist-cavp/split/ikev2.dev.json") else { return };
    let provider = Provider::new();
    let (mut compared, mut without_prf) = (0, 0);
    for vector in file["vectors"].as_array().unwrap() {
        let id = match text(&vector["section"], "hash") {
            "SHA-1" => Prf::HMAC_SHA1,
            "SHA-256" => Prf::HMAC_SHA2_256,
            "SHA-384" => Prf::HMAC_SHA2_384,
            "SHA-512" => Prf::HMAC_SHA2_512,
            // IKEv2 has no PRF over SHA-224.
            "SHA-224" => {
                without_prf += 1;
                continue;
            }
            other => panic!("unknown hash {other}"),
        };
        let prf = provider.prf(id).unwrap();
        let (ni, nr) = (octets(vector, "Ni"), octets(vector, "Nr"));
        let nonces = Nonces { initiator: &ni, responder: &nr };
        let spi = |key| base::IkeSpi(u64::from_be_bytes(octets(vector, key).try_into().unwrap()));
        let spis = Spis { initiator: spi("SPIi"), responder: spi("SPIr") };
        let skeyseed = crypto::skeyseed(prf, nonces, &octets(vector, "g^ir"));
        assert_eq!(*skeyseed.expose(), octets(vector, "SKEYSEED"));

        // DKM is any number of octets of the row of keys: encryption keys make the row as long.
        let dkm = octets(vector, "DKM");
        let encr_key_len = dkm.len().saturating_sub(3 * prf.len()).div_ceil(2);
        let keys = crypto::ike_keys(prf, &skeyseed, nonces, spis, shape(encr_key_len)).unwrap();
        let row = [&keys.d, &keys.ei, &keys.er, &keys.pi, &keys.pr].map(|key| key.expose().clone()).concat();
        assert_eq!(row[..dkm.len()], dkm);

        for (name, g_ir) in [("DKM(Child SA)", None), ("DKM(Child SA D-H)", Some(secrets(vector)))] {
            let dkm = octets(vector, name);
            let shape = shape(dkm.len().div_ceil(2));
            let child = crypto::child_keys(prf, &keys.d, g_ir.as_ref(), nonces, shape).unwrap();
            let row = [&child.initiator.encr, &child.responder.encr].map(|key| key.expose().clone()).concat();
            assert_eq!(row[..dkm.len()], dkm, "{name}");
        }
        let rekeyed = crypto::skeyseed_rekeyed(prf, &keys.d, nonces, &secrets(vector));
        assert_eq!(*rekeyed.expose(), octets(vector, "SKEYSEED(Rekey)"));
        compared += 1;
    }
    assert_eq!((compared, without_prf), (110, 30));
}

fn secrets(vector: &serde_json::Value) -> SharedSecrets {
    Secret::new(octets(vector, "g^ir (new)")).into()
}

/// SKEYSEED and the row of keys of an IKE SA that is resumed, as Python's hmac and hashlib compute RFC 5723 §5.1.
//= rfc5723 §5.1
#[test]
fn keys_of_a_resumed_ike_sa() {
    let provider = Provider::new();
    let spis = Spis {
        initiator: base::IkeSpi(0x0102_0304_0506_0708),
        responder: base::IkeSpi(0x1112_1314_1516_1718),
    };
    let nonces = Nonces { initiator: &[0x11; 16], responder: &[0x22; 32] };
    let known = [
        (
            Prf::HMAC_SHA2_256,
            36,
            "e28d1b17519e1c51bc66156d05f2ba0268a0d601d74d9b6ad83a34291678f956",
            "abe690c8ad8554952e14c6770dd4d72c9d19cf75c2297ad4d7a963bf391ac5698aaeb1ecefdde7e3 \
             e911eeb379449c2d6aee4bff1fcafde334a81ea71c4c8e24a70c9e496038144147a95712275cf58f \
             d60ee3d3df573c7dab18efe2c968da4c67d207ead38dd9e32e3cb678f5c377f5f5065a2b62f35f64 \
             b19431146d05a4a54771d536d024d11482307710362df3bfd37b41be0398a0d6fa8ae3fa561779f4 \
             014ae93d91a11720",
        ),
        (
            Prf::HMAC_SHA2_512,
            64,
            "b6a9a5c3c027df54bafcac725c24b47f7e321cb801aebeb59ed7366be274dc18 \
             22f7ed6b7a7e102e80bb52ce557294af98b052e43dfa9ecd319f617336dc3508",
            "8bcae4aaba1fc88db384d0eb4771dc9b780824533cebff223dadfdb6fb5d69521e0d8d76a4d2e955 \
             ee80ba19ba2d4824bfae7af28547192d25f12b84ffa0642313c098f6d0ccc8b250a6feca75053594 \
             054370a2e5d72ab521f7f85c0db4ebc03456ac1b7637bcc2790a67606fe7d55a247eba7e685215a2 \
             89970cb1e75ce10cb8431d178f8df38efa985a581bf3d27161d278676fe191f5fd74e199acd2adce \
             e6dd81a57558ebb955703c119ec6d8996cbddffb623ab6c70f858b175560392b9886885828c36135 \
             654ce9079725f35aa71ed6213955f0f6be2e6c2de68c10d019007024f85f09d9465b109d737aabcd \
             08b4e962a589272dd8b616cd21876154394c15bda3a88f8563e25fb5aec8927af4043a8df0739350 \
             4a8a12d5a6121f8d0aaf331152e04d219062a4c21a76edac7db5fa863d87f344c8b524ceeaa2d7c3",
        ),
    ];
    for (id, encr_key_len, seed, row) in known {
        let prf = provider.prf(id).unwrap();
        let old = base::Secret::new((0..prf.len() as u8).collect::<Vec<u8>>());
        let skeyseed = crypto::skeyseed_resumed(prf, &old, nonces);
        assert_eq!(*skeyseed.expose(), hex(seed), "{id}");
        let keys = crypto::ike_keys(prf, &skeyseed, nonces, spis, shape(encr_key_len)).unwrap();
        let all = [&keys.d, &keys.ei, &keys.er, &keys.pi, &keys.pr].map(|key| key.expose().clone()).concat();
        assert_eq!(all, hex(row), "{id}");
    }
}

/// A cipher that takes all its octets as encryption key.
fn shape(encr_key_len: usize) -> CipherSpec {
    CipherSpec { encr_key_len, integ_key_len: 0, iv_len: 0, icv_len: 0, block: 1, iv_kind: IvKind::None }
}

/// The nonce rule of fixed-length PRF keys against its wording: the first eight octets of each nonce make the key.
//= rfc7296 §2.14
#[test]
fn a_prf_of_fixed_key_length_takes_64_bits_of_each_nonce() {
    let provider = Provider::new();
    let nonces = Nonces { initiator: &[1; 32], responder: &[2; 20] };
    let key = [[1; 8], [2; 8]].concat();
    for id in [Prf::AES128_XCBC, Prf::AES128_CMAC] {
        let prf = provider.prf(id).unwrap();
        assert_eq!(crypto::skeyseed(prf, nonces, b"secret"), prf.compute(&key, &[b"secret"]), "{id}");
    }
    let hmac = provider.prf(Prf::HMAC_SHA2_256).unwrap();
    let whole = [&[1; 32][..], &[2; 20]].concat();
    assert_eq!(crypto::skeyseed(hmac, nonces, b"secret"), hmac.compute(&whole, &[b"secret"]));
}

/// The hash of `natd_chunk` of the golden run v2-psk-ppk, from its parts, and an IPv6 address.
//= rfc7296 §2.23
#[test]
fn nat_detection_hashes_spis_address_and_port() {
    let provider = Provider::new();
    let spis = Spis {
        initiator: base::IkeSpi(0x96a0_d17a_fb51_28c0),
        responder: base::IkeSpi(0xdd81_6845_673f_0d32),
    };
    let hash = crypto::nat_detection(&provider, spis, "10.99.0.1".parse().unwrap(), 500);
    assert_eq!(hash[..], hex("32e673aa4a75b5ff35a6790bf72c01a7988567a4"));
    let v6 = crypto::nat_detection(&provider, spis, "2001:db8::1".parse().unwrap(), 4500);
    let parts = hex("96a0d17afb5128c0 dd816845673f0d32 20010db8000000000000000000000001 1194");
    assert_eq!(v6, provider.sha1(&[&parts]));
}
