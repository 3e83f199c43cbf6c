//! What went wrong with keys, certificates and signatures in other implementations, each under its name: a peer sends it,
//! the answer is a refusal.

mod common;

use common::*;
use provider::Provider;
use testcerts::{Authority, EndEntity, Key, der, rcgen};
use trust::certificate;

const NAME: &str = "peer.example.org";
const PKCS1_SHA256: &str = "300d 0609 2a86 4886 f70d 0101 0b05 00";

/// AlgorithmIdentifiers of RSASSA-PSS with parameters that are none: the salt's length huge, negative, absurdly encoded;
/// the parameters cut off, of another type, without the hash of the mask generation function.
const PSS_SALTS: [&str; 5] = [
    "3018 0609 2a86 4886 f70d 0101 0a30 0ba2 0902 0700 ffff ffff ffff",
    "3012 0609 2a86 4886 f70d 0101 0a30 05a2 0302 01ff",
    "3015 0609 2a86 4886 f70d 0101 0a30 08a2 0602 047f ffff ff",
    "301b 0609 2a86 4886 f70d 0101 0a30 0ea2 0c02 0aff ffff ffff ffff ffff ff",
    "3011 0609 2a86 4886 f70d 0101 0a30 04a2 0202 00",
];
const PSS_PARAMETERS: [&str; 6] = [
    "300b 0609 2a86 4886 f70d 0101 0a",
    "300f 0609 2a86 4886 f70d 0101 0a30 40a0 00",
    "300d 0609 2a86 4886 f70d 0101 0a05 00",
    "301c 0609 2a86 4886 f70d 0101 0a30 0fa1 0d30 0b06 092a 8648 86f7 0d01 0108",
    "301e 0609 2a86 4886 f70d 0101 0a30 11a1 0f30 0d06 092a 8648 86f7 0d01 0108 0500",
    "300f 0609 2a86 4886 f70d 0101 0a30 02a1 00",
];

struct Scene {
    root: Authority,
    peer: EndEntity,
    claim: Claim,
}

impl Scene {
    fn new(key: Key) -> Self {
        let root = Authority::root(Key::EcdsaP256, "Root");
        let peer = root.issue(key, "peer", &[NAME]);
        let claim = Claim::by(&peer, fqdn(NAME));
        Scene { root, peer, claim }
    }

    /// The right certificate with AUTH data of method 14: the identifier, then the value.
    fn digital(&self, identifier: &[u8], value: &[u8]) -> Claim {
        let data = [&[identifier.len() as u8], identifier, value].concat();
        Claim { proof: sa::AuthProof { method: 14, data }, ..self.claim.clone() }
    }

    /// The right certificate with an RSA signature's value, by all ways in which it can be sent.
    fn rsa(&self, value: &[u8]) -> Vec<Claim> {
        let pss = testkit::hex(
            "3041 0609 2a86 4886 f70d 0101 0a30 34a0 0f30 0d06 0960 8648 0165 0304 0201 0500 a11c 301a 0609 2a86 4886 f70d \
             0101 0830 0d06 0960 8648 0165 0304 0201 0500 a203 0201 20",
        );
        let old = Claim { proof: sa::AuthProof { method: 1, data: value.to_vec() }, ..self.claim.clone() };
        vec![old, self.digital(&testkit::hex(PKCS1_SHA256), value), self.digital(&pss, value)]
    }

    /// All of them are refused.
    fn refuses(&self, claims: &[Claim]) {
        let verifier = checker(trusting(&[self.root.der()]));
        self.claim.check(&verifier).expect("the right one passes");
        for claim in claims {
            assert!(!claim.refused(&verifier).is_empty());
        }
    }

    /// The modulus of its RSA key: the first 2048-bit number of the SubjectPublicKeyInfo.
    fn modulus(&self) -> Vec<u8> {
        let spki = load(&self.peer.key).public_key().to_vec();
        let at = spki.windows(5).position(|w| w == [0x02, 0x82, 0x01, 0x01, 0x00]).expect("a modulus");
        spki[at + 5..at + 5 + 256].to_vec()
    }
}

/// The values of a SEQUENCE in DER.
fn values(sequence: &[u8]) -> Vec<Vec<u8>> {
    let whole = |octets: &[u8]| {
        let (head, long) = (octets[1], usize::from(octets[1] & 0x7f));
        match head {
            0..=0x7f => (2, usize::from(head)),
            _ => (2 + long, octets[2..2 + long].iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet))),
        }
    };
    let (start, length) = whole(sequence);
    let mut rest = &sequence[start..start + length];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (start, length) = whole(rest);
        found.push(rest[..start + length].to_vec());
        rest = &rest[start + length..];
    }
    found
}

/// The certificate with another AlgorithmIdentifier for its signature, at both places.
fn signed_as(certificate: &[u8], identifier: &[u8]) -> Vec<u8> {
    let mut outer = values(certificate);
    let mut inner = values(&outer[0]);
    inner[2] = identifier.to_vec();
    outer[0] = der(0x30, &inner.concat());
    outer[1] = identifier.to_vec();
    der(0x30, &outer.concat())
}

#[test]
fn cve_2026_35334_rsa_values_of_another_length_than_the_modulus() {
    let scene = Scene::new(Key::Rsa2048);
    for length in (0..=300).chain([511, 512, 513, 1024, 4096, 16_384]).filter(|length| *length != 256) {
        scene.refuses(&scene.rsa(&vec![1; length]));
    }
}

#[test]
fn cve_2017_11185_rsa_values_at_and_above_the_modulus() {
    let scene = Scene::new(Key::Rsa2048);
    let modulus = scene.modulus();
    let add = |mut number: Vec<u8>, what: i32| {
        let last = number.last_mut().unwrap();
        *last = (i32::from(*last) + what) as u8;
        number
    };
    // The modulus is odd, so its last octet may be taken down by one; up by one it may not overflow here.
    assert!(modulus[255] & 1 == 1);
    let above = if modulus[255] == 0xff { vec![0xff; 256] } else { add(modulus.clone(), 1) };
    for value in [modulus.clone(), above, add(modulus, -1), vec![0xff; 256]] {
        scene.refuses(&scene.rsa(&value));
    }
}

#[test]
fn cve_2012_2388_rsa_values_of_zero_and_nothing() {
    let scene = Scene::new(Key::Rsa2048);
    for value in [vec![], vec![0], vec![0; 128], vec![0; 255], vec![0; 256], vec![0; 257]] {
        scene.refuses(&scene.rsa(&value));
    }
    let one = [vec![0; 255], vec![1]].concat();
    scene.refuses(&scene.rsa(&one));
}

/// In AUTH, and as the algorithm of a certificate's own signature.
#[test]
fn cve_2021_41990_salt_lengths_of_rsassa_pss() {
    identifiers(&PSS_SALTS);
}

/// In AUTH, and as the algorithm of a certificate's own signature.
#[test]
fn cve_2018_6459_parameters_of_rsassa_pss_that_are_cut_off() {
    identifiers(&PSS_PARAMETERS);
}

fn identifiers(list: &[&str]) {
    let scene = Scene::new(Key::Rsa2048);
    let right = scene.claim.certs[0].clone();
    for identifier in list.iter().map(|text| testkit::hex(text)) {
        let value = &scene.claim.proof.data[scene.claim.proof.data.len() - 256..];
        let mut claims = vec![scene.digital(&identifier, value)];
        for cut in 1..identifier.len() {
            claims.push(scene.digital(&identifier[..cut], value));
        }
        let certs = vec![signed_as(&right, &identifier)];
        claims.push(Claim { certs: certs.clone(), ..scene.claim.clone() });
        scene.refuses(&claims);
        // As an authority above it, which the path does not need.
        let above = Claim { certs: vec![right.clone(), certs[0].clone()], ..scene.claim.clone() };
        above.check(&checker(trusting(&[scene.root.der()]))).expect("the path goes without it");
    }
}

/// Keys of a few octets, below the eleven of PKCS #1's padding with a hash, in a certificate that is in order.
#[test]
fn cve_2018_17540_a_modulus_smaller_than_a_padded_hash() {
    let scene = Scene::new(Key::Rsa2048);
    for octets in [0, 1, 2, 8, 11, 16, 32, 42, 43, 64, 127] {
        let modulus = vec![0xff; octets];
        keys(&scene, &modulus, &[1, 0, 1]);
    }
}

/// Exponents of zero, of one, even ones; an even modulus, and none.
#[test]
fn cve_2017_9022_rsa_keys_that_are_none() {
    let scene = Scene::new(Key::Rsa2048);
    let modulus = scene.modulus();
    let even = [&modulus[..255], &[modulus[255] & 0xfe]].concat();
    for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[0; 16], &[0xff; 257]] {
        keys(&scene, &modulus, exponent);
    }
    for modulus in [even, vec![0; 256], vec![], [vec![0x80], vec![0; 255]].concat()] {
        keys(&scene, &modulus, &[1, 0, 1]);
    }
}

/// The key under a good certificate, chained and pinned, with signatures of its own length and others: no such proof is
/// accepted.
fn keys(scene: &Scene, modulus: &[u8], exponent: &[u8]) {
    let certificate_of = scene.root.issue_rsa(modulus, exponent, "peer", &[NAME]);
    let ours = Provider::new();
    for length in [0, modulus.len(), 256] {
        for mut claim in scene.rsa(&vec![1; length]) {
            claim.certs = vec![certificate_of.clone()];
            claim.refused(&checker(trusting(&[scene.root.der()])));
            if certificate(&ours, &certificate_of).is_ok() {
                claim.refused(&checker(pinning(&[&certificate_of])));
                claim.refused(&checker(trusting(&[&certificate_of])));
            }
        }
    }
}

/// Alternative names, constraints, distribution points and policies in which the tags of a CHOICE are none, lengths lie,
/// and nothing ends; each in a certificate that the authority signed.
#[test]
fn cve_2017_9023_extensions_with_choices_that_do_not_exist() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let verifier = checker(trusting(&[root.der()]));
    const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
    const EXTENSIONS: [&[u64]; 7] = [
        SUBJECT_ALT_NAME,
        &[2, 5, 29, 18],
        &[2, 5, 29, 30],
        &[2, 5, 29, 31],
        &[2, 5, 29, 32],
        &[2, 5, 29, 35],
        &[1, 3, 6, 1, 5, 5, 7, 1, 1],
    ];
    const CONTENTS: [&str; 9] = [
        "",
        "30",
        "3080",
        "3084 ffff ffff",
        "3002 9f81",
        "3004 bf00 0000",
        "3003 8fff 00",
        "3006 3004 a002 a080",
        "3008 a006 a004 a002 a000",
    ];
    for oid in EXTENSIONS {
        for content in CONTENTS {
            let names: &[&str] = if oid == SUBJECT_ALT_NAME { &[] } else { &[NAME] };
            let peer = root.issue_with(Key::EcdsaP256, "peer", names, |params| {
                let content = testkit::hex(content);
                params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(oid, content));
            });
            let claim = Claim::by(&peer, fqdn(NAME));
            let outcome = claim.check(&verifier);
            // Without a name that is the peer's it is nobody's certificate; what else is not understood may be passed over.
            assert!(oid != SUBJECT_ALT_NAME || outcome.is_err(), "{oid:?} {content}");
            let again = Claim { certs: vec![peer.chain[0].clone(), peer.chain[0].clone()], ..claim };
            assert_eq!(again.check(&verifier).is_ok(), outcome.is_ok(), "{oid:?} {content}");
        }
    }
}
