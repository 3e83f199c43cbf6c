//! Examples of the RFCs, which hold also where there is no corpus of test data.

use crypto::{Cipher, CryptoError, Suite};
use provider::Provider;
use testkit::hex;
use wire::num::{Encr, Integ, KeMethod, Prf};

/// One example: key as the key schedule gives it, IV, AAD, plaintext, ciphertext, integrity check value.
struct Example {
    encr: Encr,
    bits: u16,
    integ: Integ,
    fields: [&'static str; 6],
}

#[test]
fn examples_of_the_rfcs() {
    let hmac = Integ::HMAC_SHA1_96;
    let examples = [
        // RFC 3602 §4, case 1.
        Example {
            encr: Encr::AES_CBC,
            bits: 128,
            integ: hmac,
            fields: [
                "06a9214036b8a15b512e03d534120006",
                "3dafba429d9eb430b422da802c9fac41",
                "",
                "53696e676c6520626c6f636b206d7367",
                "e353779c1079aeb82708942dbe77181a",
                "",
            ],
        },
        // RFC 3686 §6, test vector 1.
        Example {
            encr: Encr::AES_CTR,
            bits: 128,
            integ: hmac,
            fields: [
                "ae6852f8121067cc4bf7a5765577f39e 00000030",
                "0000000000000000",
                "",
                "53696e676c6520626c6f636b206d7367",
                "e4095d4fb7a7b3792d6175a3261311b8",
                "",
            ],
        },
        // RFC 7634 Appendix B: an IKEv2 message.
        Example {
            encr: Encr::CHACHA20_POLY1305,
            bits: 0,
            integ: Integ::NONE,
            fields: [
                "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f a0a1a2a3",
                "1011121314151617",
                "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029",
                "0000000c000040010000000a00",
                "610394701f8d017f7c12924889",
                "6b71bfe25236efd7cdc67066906315b2",
            ],
        },
    ];
    for example in examples {
        let [key, iv, aad, plain, sealed, icv] = example.fields.map(hex);
        let spec = Provider::new().cipher_spec(example.encr, example.bits, example.integ).unwrap();
        let integ_key = vec![7; spec.integ_key_len];
        let cipher =
            Provider::new().cipher(example.encr, example.bits, example.integ, &key, &integ_key).unwrap();
        let (mut data, mut ours) = (plain.clone(), vec![0; spec.icv_len]);
        cipher.seal(&iv, &aad, &mut data, &[], &mut ours);
        assert_eq!(data, sealed, "{}", example.encr);
        assert!(icv.is_empty() || ours == icv, "{}", example.encr);
        opens(&*cipher, (&iv, &aad), &mut data, &mut ours);
        assert_eq!(data, plain, "{}", example.encr);
    }
}

/// A wrong integrity check value is refused; the right one opens.
fn opens(cipher: &dyn Cipher, (iv, aad): (&[u8], &[u8]), data: &mut [u8], icv: &mut [u8]) {
    icv[0] ^= 0x80;
    assert_eq!(cipher.open(iv, aad, &mut data.to_vec(), &[], icv), Err(CryptoError::BadIcv));
    icv[0] ^= 0x80;
    assert_eq!(cipher.open(iv, aad, data, &[], icv), Ok(()));
}

/// RFC 2202 §2 and §3 case 2, RFC 4231 §4.3.
#[test]
fn hmac() {
    let cases = [
        (Prf::HMAC_MD5, "750c783e6ab0b503eaa86e310a5db738"),
        (Prf::HMAC_SHA1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (Prf::HMAC_SHA2_256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            Prf::HMAC_SHA2_384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            Prf::HMAC_SHA2_512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ];
    for (id, expected) in cases {
        let provider = Provider::new();
        let mac = provider.prf(id).unwrap().compute(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(*mac.expose(), hex(expected), "{id}");
    }
}

/// Gives out a prepared private value.
struct Prepared(Vec<u8>);

impl base::Rng for Prepared {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0);
    }
}

/// RFC 7748 §6.1 (Curve25519) and RFC 5903 §8.1 (ECP-256): a private value that the random source gives is used as
/// it is, so that a run can be repeated.
#[test]
fn key_exchanges_use_the_random_source_and_nothing_else() {
    let cases = [
        (
            KeMethod::CURVE25519,
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ),
        (
            KeMethod::ECP_256,
            "C88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433",
            "DAD0B65394221CF9B051E1FECA5787D098DFE637FC90B9EF945D0C3772581180
             5271A0461CDB8252D61F1C456FA3E59AB1F45B33ACCF5F58389E0577B8990BB3",
            "D12DFB5289C8D4F81208B70270398C342296970A0BCCB74C736FC7554494BF63
             56FBF3CA366CC23E8157854C13C58D6AAC23F046ADA30F8353E74F33039872AB",
            "D6840F6B42F6EDAFD13116E0E12565202FEF8E9ECE7DCE03812464D04B9442DE",
        ),
    ];
    for (id, private, public, peer, shared) in cases {
        let provider = Provider::new();
        let method = provider.key_exchange(id).unwrap();
        let (half, value) = method.generate(&mut Prepared(hex(private))).unwrap();
        assert_eq!(value, hex(public), "{id}");
        assert_eq!(*half.finish(&hex(peer)).unwrap().expose(), hex(shared), "{id}");
        let (value, answer) = method.respond(&mut Prepared(hex(private)), &hex(peer)).unwrap();
        assert_eq!((value, answer.expose()), (hex(public), &hex(shared)), "{id}");
    }
}
