//! Certificates and keys that OpenSSL made (`data/make.sh`): kinds that testcerts does not make.

mod common;

use base::Secret;
use common::*;
use policy::Identity;
use provider::Provider;
use std::path::Path;
use trust::{KeyFormat, PrivateKey, certificates, private_key};

fn file(name: &str) -> Vec<u8> {
    testkit::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name))
}

fn der(name: &str) -> Vec<u8> {
    certificates(&Provider::new(), &file(name)).unwrap()[0].der.to_vec()
}

fn key(name: &str) -> PrivateKey {
    private_key(&file(name), None).unwrap()
}

/// A claim by the owner of `certificate`, signed with `key_file`.
fn claim(certificate: &str, key_file: &str, remote: Identity) -> Claim {
    let mut secrets = trust::Secrets::new();
    secrets.add_key(load(key(key_file).der.expose()));
    let certs = vec![cert(&der(certificate))];
    let local = policy::LocalAuth { method: policy::AuthMethod::Pubkey, id: None, certs, pubkey: None };
    let proof = proof(&trust_with(local, psk_remote(), secrets), HASHES).unwrap();
    Claim {
        remote,
        wanted: policy::IdPattern::Any,
        proof,
        certs: vec![der(certificate)],
        ocsp: vec![],
        wall: WALL,
    }
}

/// The day after `make.sh` was run.
const WALL: base::WallClock = base::WallClock(1_795_300_000);

fn with_key(certificate: &str, key_file: &str, ca: &str) -> Result<(), String> {
    let claim = claim(certificate, key_file, fqdn("peer.example.org"));
    claim.check(&checker(trusting(&[&der(ca)]))).map(|_| ()).map_err(|why| why.reason)
}

#[test]
fn signatures_of_many_kinds_lead_to_the_anchor() {
    with_key("plain.pem", "peer.key", "ca-rsa.pem").unwrap();
    with_key("pss-signed.pem", "peer.key", "ca-rsa.pem").unwrap();
    with_key("ed448.pem", "ed448.key", "ca-ed448.pem").unwrap();
}

/// A key that is for PSS only, and a salt that is longer than the hash.
//= rfc8247 §3.2
#[test]
fn a_signature_of_a_pss_key_is_accepted() {
    let identifier = testkit::hex(
        "3041 0609 2a86 4886 f70d 0101 0a30 34a0 0f30 0d06 0960 8648 0165 0304 0201 0500 a11c 301a 0609 2a86 4886 f70d 0101 0830 \
         0d06 0960 8648 0165 0304 0201 0500 a203 0201 28",
    );
    let data = [&[identifier.len() as u8], &identifier[..], &file("pss-key.signature")].concat();
    let mut claim = claim("plain.pem", "peer.key", fqdn("peer.example.org"));
    claim.certs = vec![der("pss-key.pem")];
    claim.proof = sa::AuthProof { method: 14, data };
    claim.check(&checker(trusting(&[&der("ca-rsa.pem")]))).unwrap();
    claim.proof.method = 1;
    let why = claim.refused(&checker(trusting(&[&der("ca-rsa.pem")])));
    assert!(why.contains("RSASSA-PSS 2048"), "{why}");
}

#[test]
fn unknown_curves_are_refused_by_name() {
    let mut claim = claim("plain.pem", "peer.key", fqdn("peer.example.org"));
    claim.certs = vec![der("brainpool.pem")];
    let why = claim.refused(&checker(trusting(&[&der("ca-brainpool.pem")])));
    assert!(why.contains("1.3.36.3.3.2.8.1.1.7 is none of P-256, P-384 and P-521"), "{why}");
    claim.certs = vec![der("below-brainpool.pem")];
    let why = claim.refused(&checker(trusting(&[&der("ca-brainpool.pem")])));
    assert!(why.contains("that key is of a kind that is not known"), "{why}");
}

#[test]
fn sha1_in_a_path_is_refused() {
    for (certificate, ca) in [("sha1-rsa.pem", "ca-rsa.pem"), ("sha1-ecdsa.pem", "ca-ecdsa.pem")] {
        let why = with_key(certificate, "peer.key", ca).unwrap_err();
        assert!(why.contains("SHA-1, which is refused") && why.contains("SHA2-256"), "{why}");
    }
}

/// Limit: MIN_RSA_BITS.
#[test]
fn short_rsa_keys_are_refused() {
    let mut claim = claim("plain.pem", "peer.key", fqdn("peer.example.org"));
    claim.certs = vec![der("rsa1024.pem")];
    let why = claim.refused(&checker(trusting(&[&der("ca-rsa.pem")])));
    assert!(why.contains("CN=rsa1024") && why.contains("RSA key has 1024 bits, and at least 2048"), "{why}");
    let why = claim.refused(&checker(pinning(&[&der("rsa1024.pem")])));
    assert!(why.contains("1024 bits"), "{why}");
    claim.certs = vec![der("weak-ca.pem")];
    let why = claim.refused(&checker(trusting(&[&der("ca-rsa1024.pem")])));
    assert!(
        why.contains("CN=rsa1024") && (why.contains("1024 bits") || why.contains("did not make")),
        "{why}"
    );
}

/// Version 1 knows no alternative names; such a certificate is good for its subject, once it is pinned.
#[test]
fn a_version_1_certificate_must_be_pinned() {
    let claim = claim("version1.pem", "peer.key", dn("C=CH, CN=old"));
    claim.check(&checker(pinning(&[&der("version1.pem")]))).unwrap();
    let why = claim.refused(&checker(trusting(&[&der("ca-rsa.pem")])));
    assert!(why.contains("not of version 3") && why.contains("pin it"), "{why}");
}

#[test]
fn keys_in_every_format() {
    let formats = [
        ("peer.key", KeyFormat::Pkcs8),
        ("ed448.key", KeyFormat::Pkcs8),
        ("sec1.key", KeyFormat::Sec1),
        ("pkcs1.key", KeyFormat::Pkcs1),
    ];
    for (name, format) in formats {
        let from_pem = key(name);
        assert_eq!(from_pem.format, format, "{name}");
        let from_der = private_key(from_pem.der.expose(), None).unwrap();
        assert_eq!((from_der.format, &from_der.der), (format, &from_pem.der), "{name}");
        load(from_pem.der.expose());
    }
    assert_eq!(
        load(key("sec1.key").der.expose()).public_key(),
        load(key("peer.key").der.expose()).public_key()
    );
}

#[test]
fn encrypted_keys_open_with_their_passphrase() {
    let (right, wrong) = (Secret::from(&b"open sesame"[..]), Secret::from(&b"open barley"[..]));
    for name in ["pbes2.key", "pbes2-3des.key", "scrypt.key"] {
        let opened = private_key(&file(name), Some(&right)).unwrap();
        assert_eq!(opened.der, key("peer.key").der, "{name}");
        let why = private_key(&file(name), Some(&wrong)).unwrap_err().to_string();
        assert!(why.contains("passphrase is wrong"), "{name}: {why}");
        let why = private_key(&file(name), None).unwrap_err().to_string();
        assert!(why.contains("encrypted and there is no passphrase"), "{name}: {why}");
    }
    for name in ["pbes1.key", "pbes1-des.key", "traditional.key"] {
        let why = private_key(&file(name), Some(&right)).unwrap_err().to_string();
        assert!(why.contains("openssl pkcs8 -topk8"), "{name}: {why}");
    }
}

#[test]
fn what_holds_no_key_or_certificate_says_so() {
    let no_key = |bytes: &[u8]| private_key(bytes, None).unwrap_err().to_string();
    assert!(no_key(&file("plain.pem")).contains("no private key, but \"CERTIFICATE\""));
    assert!(no_key(b"").contains("neither PEM nor the DER"));
    assert!(no_key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n").contains("no end line"));
    assert!(
        no_key(b"-----BEGIN PRIVATE KEY-----\n*\n-----END PRIVATE KEY-----\n").contains("cannot be decoded")
    );
    let no_certificate = |bytes: &[u8]| certificates(&Provider::new(), bytes).unwrap_err().to_string();
    assert!(no_certificate(&file("peer.key")).contains("no certificate"));
    assert!(no_certificate(b"\x30\x00").contains("not the DER"));
    let broken =
        [&file("plain.pem")[..], b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"].concat();
    assert!(no_certificate(&broken).contains("certificate 2 of the file"));
    let secret = private_key(&file("peer.key")[..200], None).unwrap_err().to_string();
    assert!(secret.len() < 300, "{secret}");
}

#[test]
fn a_chain_is_read_in_order_whatever_stands_between() {
    let text = [
        &b"Subject: gateway\r\n"[..],
        &file("plain.pem"),
        &file("peer.key"),
        b"\n\nissuer\n",
        &file("ca-rsa.pem"),
    ]
    .concat();
    let crlf = String::from_utf8(text.clone()).unwrap().replace('\n', "\r\n");
    for text in [text, crlf.into_bytes()] {
        let chain = certificates(&Provider::new(), &text).unwrap();
        let subjects: Vec<_> = chain.iter().map(|one| &*one.subject).collect();
        assert_eq!(subjects, ["C=CH, CN=plain", "C=CH, CN=rsa"]);
        assert_eq!(private_key(&text, None).unwrap().der, key("peer.key").der, "a key in the same file");
    }
}

/// Limit: MAX_PEM_CERTIFICATES.
#[test]
fn a_bundle_is_bounded() {
    let many = file("plain.pem").repeat(trust::limits::MAX_PEM_CERTIFICATES);
    assert_eq!(certificates(&Provider::new(), &many).unwrap().len(), trust::limits::MAX_PEM_CERTIFICATES);
    let more = [many, file("plain.pem")].concat();
    assert!(certificates(&Provider::new(), &more).unwrap_err().to_string().contains("more than 1024"));
}

/// `openssl x509 -pubkey | openssl pkey -pubin -outform DER | sha1sum`: what a CERTREQ names.
//= rfc7296 §3.7
#[test]
fn the_hash_of_an_authority_is_sha1_of_its_key() {
    let authority = cert(&der("ca-ecdsa.pem"));
    assert_eq!(testkit::to_hex(&authority.spki_sha1), include_str!("data/ca-ecdsa.spki-sha1").trim());
}
