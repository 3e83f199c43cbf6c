//! Known answers of the key schedules.

mod common;
use common::{json, octets, text};
use crypto::{CipherSpec, IvKind, Nonces, Spis, Suite};
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

        for (name, g_ir) in
            [("DKM(Child SA)", None), ("DKM(Child SA D-H)", Some(octets(vector, "g^ir (new)")))]
        {
            let dkm = octets(vector, name);
            let shape = shape(dkm.len().div_ceil(2));
            let child = crypto::child_keys(prf, &keys.d, g_ir.as_deref(), nonces, shape).unwrap();
            let row = [&child.initiator.encr, &child.responder.encr].map(|key| key.expose().clone()).concat();
            assert_eq!(row[..dkm.len()], dkm, "{name}");
        }
        let rekeyed = crypto::skeyseed_rekeyed(prf, &keys.d, nonces, &octets(vector, "g^ir (new)"));
        assert_eq!(*rekeyed.expose(), octets(vector, "SKEYSEED(Rekey)"));
        compared += 1;
    }
    assert_eq!((compared, without_prf), (110, 30));
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
