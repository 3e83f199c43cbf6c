//! Known answers of the key exchange methods, and the values that must be refused.

use super::*;
#[path = "../../tests/common/mod.rs"]
mod common;
use common::{archive, json, octets, records, text};
use testkit::hex;

/// Gives out prepared octets, then fails the test.
struct Script(Vec<u8>);

impl Rng for Script {
    fn fill(&mut self, out: &mut [u8]) {
        assert!(self.0.len() >= out.len(), "more octets were drawn than prepared");
        out.copy_from_slice(&self.0.drain(..out.len()).collect::<Vec<u8>>());
    }
}

/// The same octet for ever.
struct Stuck(u8);

impl Rng for Stuck {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(self.0);
    }
}

fn every_method() -> impl Iterator<Item = &'static dyn KeyExchange> {
    KeMethod::ALL.iter().filter_map(|id| find(*id))
}

#[test]
fn every_method_agrees_with_itself_and_replays_from_its_seed() {
    assert_eq!(every_method().count(), 18);
    for method in every_method() {
        // An octet that every group takes: below the order of each curve, and P-521 masks it.
        let seed = Stuck(0x5a).0;
        let (private, public) = method.generate(&mut Stuck(seed)).unwrap();
        let (answer, shared) = method.respond(&mut Stuck(0x17), &public).unwrap();
        assert_eq!(private.finish(&answer).unwrap(), shared, "{}", method.id());
        assert_eq!(private.finish(&answer).unwrap(), shared, "{}: the second time", method.id());
        assert_eq!((public.len(), answer.len()), (method.public_len(), method.answer_len()));
        assert_eq!(method.generate(&mut Stuck(seed)).unwrap().1, public, "{}", method.id());
    }
}

#[test]
fn a_value_of_the_wrong_length_is_refused() {
    for method in every_method().filter(|method| method.id() < KeMethod::ML_KEM_512) {
        let (private, public) = method.generate(&mut Stuck(0x5a)).unwrap();
        for peer in [&public[1..], &[&public[..], &[0]].concat(), &[]] {
            assert_eq!(private.finish(peer), Err(CryptoError::BadPublicValue), "{}", method.id());
            let answer = method.respond(&mut Stuck(0x17), peer);
            assert_eq!(answer, Err(CryptoError::BadPublicValue), "{}", method.id());
        }
    }
}

//= rfc6989 §2.1
#[test]
fn modp_refuses_0_1_and_p_minus_1_and_beyond() {
    for prime in [ModpPrime::P1024, ModpPrime::P2048, ModpPrime::P8192] {
        let group = Group::Modp(prime);
        let len = prime.len();
        let exponent = Secret::new(vec![0x81; exponent_len(prime)]);
        let mut small = vec![0; len];
        for value in [0, 1] {
            small[len - 1] = value;
            assert_eq!(group.shared(&exponent, &small), Err(CryptoError::BadPublicValue));
        }
        small[len - 1] = 2;
        assert!(group.shared(&exponent, &small).is_ok());
        // All these primes end in 64 one bits; p - 1 differs from p in the last one, and 2^n - 1 is above p.
        assert_eq!(group.shared(&exponent, &vec![0xff; len]), Err(CryptoError::BadPublicValue));
        if prime == ModpPrime::P1024 {
            let p = hex(OAKLEY_2);
            assert_eq!(group.shared(&exponent, &p), Err(CryptoError::BadPublicValue));
            let minus = |less: u8| [&p[..127], &[p[127] - less]].concat();
            assert_eq!(group.shared(&exponent, &minus(1)), Err(CryptoError::BadPublicValue));
            assert!(group.shared(&exponent, &minus(2)).is_ok());
        }
    }
}

/// RFC 2409 §6.2.
const OAKLEY_2: &str = "
    FFFFFFFF FFFFFFFF C90FDAA2 2168C234 C4C6628B 80DC1CD1 29024E08 8A67CC74 020BBEA6 3B139B22 514A0879 8E3404DD
    EF9519B3 CD3A431B 302B0A6D F25F1437 4FE1356D 6D51C245 E485B576 625E7EC6 F44C42E9 A637ED6B 0BFF5CB6 F406B7ED
    EE386BFB 5A899FA5 AE9F2411 7C4B1FE6 49286651 ECE65381 FFFFFFFF FFFFFFFF";

#[test]
fn a_stuck_random_source_is_an_error_and_not_a_loop() {
    // All ones are above the order of every curve, all zeros below its smallest private value.
    for octet in [0x00, 0xff] {
        for id in [KeMethod::ECP_256, KeMethod::ECP_384, KeMethod::ECP_521, KeMethod::BRAINPOOL_512] {
            let drawn = find(id).unwrap().generate(&mut Stuck(octet)).map(|_| ());
            assert_eq!(drawn, Err(CryptoError::Library), "{id}");
        }
    }
    // One good draw after all refused ones but the last is enough.
    let refused = vec![0xff; 32 * (SCALAR_DRAWS - 1)];
    let mut script = Script([refused, vec![1; 32]].concat());
    assert!(draw_scalar(Curve::P256, &mut script).is_ok());
}

#[test]
fn strongswan_key_exchanges() {
    let mut compared = 0;
    for name in ["modp", "ecp", "curve25519", "curve448"] {
        let Some(file) = json("strongswan_key_exchanges", &format!("vectors/strongswan/{name}.json")) else {
            return;
        };
        for vector in file["vectors"].as_array().unwrap() {
            let group = match text(vector, "method") {
                "MODP_1024_BIT" => Group::Modp(ModpPrime::P1024),
                "MODP_1536_BIT" => Group::Modp(ModpPrime::P1536),
                "MODP_2048_BIT" => Group::Modp(ModpPrime::P2048),
                "MODP_3072_BIT" => Group::Modp(ModpPrime::P3072),
                "MODP_4096_BIT" => Group::Modp(ModpPrime::P4096),
                "MODP_6144_BIT" => Group::Modp(ModpPrime::P6144),
                "MODP_8192_BIT" => Group::Modp(ModpPrime::P8192),
                "ECP_256_BIT" => Group::Ec(Curve::P256),
                "ECP_384_BIT" => Group::Ec(Curve::P384),
                "ECP_521_BIT" => Group::Ec(Curve::P521),
                "CURVE_25519" => Group::X25519,
                "CURVE_448" => Group::X448,
                _ => continue,
            };
            // The seed is both private values, one after the other.
            let seed = octets(vector, "seed");
            let (i, r) = seed.split_at(seed.len() / 2);
            let (i, r) = (Secret::from(i), Secret::from(r));
            let (pub_i, pub_r) = (octets(vector, "pub_i"), octets(vector, "pub_r"));
            let (note, shared) = (text(vector, "name"), octets(vector, "shared"));
            assert_eq!(group.public(&i).unwrap(), pub_i, "{note}");
            assert_eq!(group.public(&r).unwrap(), pub_r, "{note}");
            assert_eq!(*group.shared(&i, &pub_r).unwrap().expose(), shared, "{note}");
            assert_eq!(*group.shared(&r, &pub_i).unwrap().expose(), shared, "{note}");
            compared += 1;
        }
    }
    assert_eq!(compared, 13);
}

/// RFC 7027 §A, as kept by pyca/cryptography.
#[test]
fn brainpool_curves() {
    let name = "vectors/pyca/cryptography_vectors/asymmetric/ECDH/brainpool.txt";
    let Some(path) = testkit::corpus("brainpool_curves", name) else { return };
    let mut compared = 0;
    for record in records(&String::from_utf8(testkit::read(&path)).unwrap()) {
        let curve = match record.text("curve") {
            "brainpoolP256r1" => Curve::Brainpool256,
            "brainpoolP384r1" => Curve::Brainpool384,
            "brainpoolP512r1" => Curve::Brainpool512,
            other => panic!("unknown curve {other}"),
        };
        let (group, z) = (Group::Ec(curve), record.octets("x_Z"));
        let point = |x, y| [record.octets(x), record.octets(y)].concat();
        let (a, b) = (Secret::new(record.octets("dA")), Secret::new(record.octets("dB")));
        let (qa, qb) = (point("x_qA", "y_qA"), point("x_qB", "y_qB"));
        assert_eq!(group.public(&a).unwrap(), qa);
        assert_eq!(group.public(&b).unwrap(), qb);
        assert_eq!(*group.shared(&a, &qb).unwrap().expose(), z);
        assert_eq!(*group.shared(&b, &qa).unwrap().expose(), z);
        // The same x with another y is on no curve.
        let mut off = qa.clone();
        *off.last_mut().unwrap() ^= 1;
        assert_eq!(group.shared(&b, &off), Err(CryptoError::BadPublicValue));
        compared += 1;
    }
    assert_eq!(compared, 3);
}

/// NIST CAVP, SP 800-56A §5.7.1.2.
#[test]
fn nist_ecc_cdh() {
    let name = "vectors/nist-cavp/ecccdhtestvectors.zip";
    let Some(file) = archive("nist_ecc_cdh", name, "KAS_ECC_CDH_PrimitiveTest.txt") else { return };
    let mut compared = 0;
    for record in records(&file) {
        let curve = match record.section.as_str() {
            "[P-256]" => Curve::P256,
            "[P-384]" => Curve::P384,
            "[P-521]" => Curve::P521,
            _ => continue,
        };
        let group = Group::Ec(curve);
        let field = |name| padded(&record.octets(name), curve.len());
        let private = Secret::new(field("dIUT"));
        let peer = [field("QCAVSx"), field("QCAVSy")].concat();
        assert_eq!(group.public(&private).unwrap(), [field("QIUTx"), field("QIUTy")].concat());
        assert_eq!(*group.shared(&private, &peer).unwrap().expose(), field("ZIUT"));
        compared += 1;
    }
    assert_eq!(compared, 75);
}

/// `octets` with leading zeros taken off or put before them.
fn padded(octets: &[u8], len: usize) -> Vec<u8> {
    let first = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len());
    let digits = &octets[first..];
    [vec![0; len - digits.len()], digits.to_vec()].concat()
}

#[test]
fn wycheproof_x25519() {
    let Some(file) = json("wycheproof_x25519", "vectors/wycheproof/x25519_test.json") else { return };
    let (mut compared, mut refused) = (0, 0);
    for vector in file["testGroups"].as_array().unwrap().iter().flat_map(|g| g["tests"].as_array().unwrap()) {
        let private = Secret::new(octets(vector, "private"));
        let result = Group::X25519.shared(&private, &octets(vector, "public"));
        // Values of small order give zero, which RFC 8031 §2 refuses; all others must come out right.
        let shared = octets(vector, "shared");
        if shared.iter().all(|octet| *octet == 0) {
            assert_eq!(result, Err(CryptoError::BadPublicValue), "{vector}");
            refused += 1;
        } else {
            assert_eq!(*result.unwrap().expose(), shared, "{vector}");
            compared += 1;
        }
    }
    assert_eq!((compared, refused), (487, 31));
}

#[test]
fn wycheproof_ecdh() {
    let mut compared = [0; 2];
    for (curve, name) in [(Curve::P256, "256"), (Curve::P384, "384"), (Curve::P521, "521")] {
        let name = format!("vectors/wycheproof/ecdh_secp{name}r1_test.json");
        let Some(file) = json("wycheproof_ecdh", &name) else { return };
        for vector in file["testGroups"][0]["tests"].as_array().unwrap() {
            // The point stands at the end of a SubjectPublicKeyInfo; what is wrong with the rest of it IKE never sees.
            let spki = octets(vector, "public");
            let Some(start) = spki.len().checked_sub(2 * curve.len() + 1) else { continue };
            let (private, xy) = (octets(vector, "private"), &spki[start + 1..]);
            let valid = vector["result"] == "valid";
            if spki[start] != 4 || (!valid && text(vector, "comment") != "point is not on curve") {
                continue;
            }
            let result = Group::Ec(curve).shared(&Secret::new(padded(&private, curve.len())), xy);
            if valid {
                assert_eq!(*result.unwrap().expose(), octets(vector, "shared"), "{vector}");
            } else {
                assert_eq!(result, Err(CryptoError::BadPublicValue), "{vector}");
            }
            compared[usize::from(valid)] += 1;
        }
    }
    assert_eq!(compared, [48, 1733], "invalid, valid");
}

//= rfc8031 §2
#[test]
fn x448_refuses_values_of_small_order() {
    let private = Secret::new(vec![0x42; 56]);
    let number = |low: u8, rest: u8| [&[low][..], &[rest; 55]].concat();
    let p = [vec![0xff; 28], vec![0xfe], vec![0xff; 27]].concat();
    let mut p_minus_1 = p.clone();
    p_minus_1[0] = 0xfe;
    for peer in [number(0, 0), number(1, 0), p, p_minus_1] {
        assert_eq!(Group::X448.shared(&private, &peer), Err(CryptoError::BadPublicValue), "{peer:02x?}");
    }
}

/// RFC 7748 §5.2, both vectors of X448 and one iteration.
#[test]
fn x448_scalar_multiplication() {
    let vectors = [
        (
            "3d262fddf9ec8e88495266fea19a34d28882acef045104d0d1aae121700a779c984c24f8cdd78fbff44943eba368f54b29259a4f1c600ad3",
            "06fce640fa3487bfda5f6cf2d5263f8aad88334cbd07437f020f08f9814dc031ddbdc38c19c6da2583fa5429db94ada18aa7a7fb4ef8a086",
            "ce3e4ff95a60dc6697da1db1d85e6afbdf79b50a2412d7546d5f239fe14fbaadeb445fc66a01b0779d98223961111e21766282f73dd96b6f",
        ),
        (
            "203d494428b8399352665ddca42f9de8fef600908e0d461cb021f8c538345dd77c3e4806e25f46d3315c44e0a5b4371282dd2c8d5be3095f",
            "0fbcc2f993cd56d3305b0b7d9e55d4c1a8fb5dbb52f8e9a1e9b6201b165d015894e56c4d3570bee52fe205e28a78b91cdfbde71ce8d157db",
            "884a02576239ff7a2f2f63b2db6a9ff37047ac13568e1e30fe63c4a7ad1b3ee3a5700df34321d62077e63633c575c1c954514e99da7c179d",
        ),
    ];
    for (scalar, u, out) in vectors {
        let shared = Group::X448.shared(&Secret::new(hex(scalar)), &hex(u)).unwrap();
        assert_eq!(*shared.expose(), hex(out));
    }
}

/// A handshake of RUB-NDS' state machine extractor with a foreign responder, from the initiator's private value: the
/// responder's answer decrypts, and its AUTH is that of the shared secret.
#[test]
fn rub_nds_handshake() {
    let Some(file) = json("rub_nds_handshake", "handshakes/rub_nds.json") else { return };
    let handshake = &file["handshakes"]["ikev2_psk"];
    let message = |exchange: usize, side: &str| octets(&handshake["messages"][exchange], side);
    let [request, response] = ["request", "response"].map(|side| message(0, side));
    // Behind a header of 28 octets and an SA payload of 48 come KE (8 octets before the value) and Nonce (4).
    let (g_r, [ni, nr]) = (&response[84..212], [&request[216..], &response[216..248]]);
    // The private value is the INTEGER of 129 octets at the end of the PKCS#8, with a zero before it.
    let pkcs8 = octets(handshake, "dh_private_pkcs8_initiator");
    let private = Secret::from(&pkcs8[pkcs8.len() - 128..]);
    let group = Group::Modp(ModpPrime::P1024);
    assert_eq!(group.public(&private).unwrap(), request[84..212]);
    let g_ir = group.shared(&private, g_r).unwrap();

    // The handshake's note: AES-128-CBC, HMAC-SHA1-96, PRF-HMAC-SHA1.
    let (provider, sha1) = (crate::Provider::new(), wire::num::Integ::HMAC_SHA1_96);
    let prf = crypto::Suite::prf(&provider, wire::num::Prf::HMAC_SHA1).unwrap();
    let spec = crate::cipher::spec(wire::num::Encr::AES_CBC, 128, sha1).unwrap();
    let nonces = crypto::Nonces { initiator: ni, responder: nr };
    let spi = |at: usize| base::IkeSpi(u64::from_be_bytes(response[at..at + 8].try_into().unwrap()));
    let spis = crypto::Spis { initiator: spi(0), responder: spi(8) };
    let skeyseed = crypto::skeyseed(prf, nonces, g_ir.expose());
    let keys = crypto::ike_keys(prf, &skeyseed, nonces, spis, spec).unwrap();

    let sides = [
        ("request", &keys.ei, &keys.ai, &keys.pi, &request, nr, 35),
        ("response", &keys.er, &keys.ar, &keys.pr, &response, ni, 36),
    ];
    for (side, e, a, p, first, nonce, id_type) in sides {
        let auth = message(1, side);
        // Header and generic payload header, IV, then as much as leaves the integrity check value.
        let (aad, rest) = auth.split_at(32);
        let (iv, rest) = rest.split_at(16);
        let (data, icv) = rest.split_at(rest.len() - 12);
        let cipher =
            crate::cipher::keyed(wire::num::Encr::AES_CBC, sha1, spec, e.expose(), a.expose()).unwrap();
        let mut data = data.to_vec();
        assert_eq!(cipher.open(iv, aad, &mut data, &[], icv), Ok(()), "{side}");
        let payloads = chain(auth[28], &data);
        let body = |wanted| payloads.iter().find(|(kind, _)| *kind == wanted).unwrap().1;
        let maced_id = prf.compute(p.expose(), &[body(id_type)]);
        let expected = crypto::psk_auth(
            prf,
            text(handshake, "psk_ascii").as_bytes(),
            &[first, nonce, maced_id.expose()],
        );
        assert_eq!(*expected.expose(), body(39)[4..], "{side}");
    }
}

/// The payloads of a chain that begins with type `next`: their types and bodies.
fn chain(mut next: u8, mut rest: &[u8]) -> Vec<(u8, &[u8])> {
    let mut payloads = Vec::new();
    while next != 0 {
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        payloads.push((next, &rest[4..len]));
        (next, rest) = (rest[0], &rest[len..]);
    }
    payloads
}
