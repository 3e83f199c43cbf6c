//! Certificates for tests and benches: authorities, intermediates and end entities with every kind of key, in memory or
//! as PEM files; CRLs and OCSP responses, and a server for them. Only ever for tests and measurements; the keys are worth nothing.
//!
//! ```
//! use testcerts::{Authority, Key};
//! let root = Authority::root(Key::Rsa2048, "Test Root");
//! let gateway = root.issue(Key::EcdsaP256, "gw", &["gw.example.org", "192.0.2.1", "admin@example.org"]);
//! assert!(gateway.chain_pem().starts_with("-----BEGIN CERTIFICATE-----"));
//! ```
#![forbid(unsafe_code)]

mod revocation;
mod web;

pub use rcgen;
pub use revocation::{List, Response, Status, cert_id, crl_pem, ocsp_refusal, serial};
pub use web::{Web, ok};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SignatureAlgorithm, SigningKey, date_time_ymd,
};
use rustls_pki_types::PrivateKeyDer;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

/// Kinds of keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Key {
    Rsa2048,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Ed25519,
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl Key {
    /// All of them.
    pub const ALL: [Key; 8] = [
        Key::Rsa2048,
        Key::EcdsaP256,
        Key::EcdsaP384,
        Key::EcdsaP521,
        Key::Ed25519,
        Key::MlDsa44,
        Key::MlDsa65,
        Key::MlDsa87,
    ];

    /// Those that resist a quantum computer, of FIPS 204.
    pub const POST_QUANTUM: [Key; 3] = [Key::MlDsa44, Key::MlDsa65, Key::MlDsa87];

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Key::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
            Key::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Key::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Key::EcdsaP521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Key::Ed25519 => &rcgen::PKCS_ED25519,
            Key::MlDsa44 => &rcgen::PKCS_ML_DSA_44,
            Key::MlDsa65 => &rcgen::PKCS_ML_DSA_65,
            Key::MlDsa87 => &rcgen::PKCS_ML_DSA_87,
        }
    }

    /// The key of this kind that belongs to `owner`: made once in a process, since RSA keys take long.
    fn of(self, owner: &str) -> Pair {
        let mut made = MADE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        made.entry((self, owner.to_owned())).or_insert_with(|| Pair(Arc::new(self.made()))).clone()
    }

    fn made(self) -> KeyPair {
        let made = KeyPair::generate_for(self.algorithm()).expect("a key of a known kind");
        if self != Key::Ed25519 {
            return made;
        }
        let der = version_1(&made.serialize_der());
        let der = PrivateKeyDer::try_from(der.as_slice()).expect("the DER of a key");
        KeyPair::from_der_and_sign_algo(&der, self.algorithm()).expect("a key that was made here")
    }
}

/// A key that several certificates share.
#[derive(Clone)]
struct Pair(Arc<KeyPair>);

impl PublicKeyData for Pair {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for Pair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// An Ed25519 key as RFC 8410 §7 shows it first, without the public key that the library writes with it:
/// OpenSSL 3.0, and strongSwan with it, reads no other.
fn version_1(made: &[u8]) -> Vec<u8> {
    const PREFIX: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
    let seed = made.get(PREFIX.len()..PREFIX.len() + 32).expect("the seed behind the same fields");
    [PREFIX, seed].concat()
}

/// Keys by kind and owner.
type Keys = HashMap<(Key, String), Pair>;

/// The keys made in this process.
static MADE: LazyLock<Mutex<Keys>> = LazyLock::new(Mutex::default);

/// An authority: a root, or an intermediate below one.
pub struct Authority {
    issuer: Issuer<'static, Pair>,
    /// Its certificate, then those above it, the root last.
    chain: Vec<Certificate>,
}

impl Authority {
    /// A root with the subject `C=CH, O=Handfast Test, CN=name`.
    pub fn root(key: Key, name: &str) -> Self {
        Self::root_with(key, name, |_| ())
    }

    /// As [`Authority::root`]; `tune` changes the certificate before it is signed.
    pub fn root_with(key: Key, name: &str, tune: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority(name);
        tune(&mut params);
        let pair = key.of(name);
        let certificate = params.self_signed(&pair).expect("a root certificate");
        Self { chain: vec![certificate], issuer: Issuer::new(params, pair) }
    }

    /// An authority below this one.
    pub fn intermediate(&self, key: Key, name: &str) -> Self {
        self.intermediate_with(key, name, |_| ())
    }

    /// As [`Authority::intermediate`]; `tune` changes the certificate before it is signed.
    pub fn intermediate_with(&self, key: Key, name: &str, tune: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = authority(name);
        tune(&mut params);
        let pair = key.of(name);
        let certificate = params.signed_by(&pair, &self.issuer).expect("an intermediate certificate");
        let chain = std::iter::once(certificate).chain(self.chain.iter().cloned()).collect();
        Self { chain, issuer: Issuer::new(params, pair) }
    }

    /// An end entity with the subject `C=CH, O=Handfast Test, CN=name` and the subject alternative names
    /// `names`: addresses, e-mail addresses (with `@`), else DNS names.
    pub fn issue(&self, key: Key, name: &str, names: &[&str]) -> EndEntity {
        self.issue_with(key, name, names, |_| ())
    }

    /// As [`Authority::issue`]; `tune` changes the certificate before it is signed.
    pub fn issue_with(
        &self,
        key: Key,
        name: &str,
        names: &[&str],
        tune: impl FnOnce(&mut CertificateParams),
    ) -> EndEntity {
        let mut params = end_entity(name, names);
        tune(&mut params);
        let pair = key.of(name);
        let certificate = params.signed_by(&pair, &self.issuer).expect("an end entity's certificate");
        let above = self.chain.iter().take(self.chain.len() - 1).cloned();
        EndEntity::new(std::iter::once(certificate).chain(above), &pair)
    }

    /// The certificate, in DER, of an RSA key of which only the public half is known, such as one that cannot be: modulus
    /// and exponent as unsigned numbers.
    pub fn issue_rsa(&self, modulus: &[u8], exponent: &[u8], name: &str, names: &[&str]) -> Vec<u8> {
        let unsigned = |octets: &[u8]| der(0x02, &[&[0], octets].concat());
        let public = RsaPublicKey(der(0x30, &[unsigned(modulus), unsigned(exponent)].concat()));
        let signed = end_entity(name, names).signed_by(&public, &self.issuer);
        signed.expect("a certificate of a key that is not looked at").der().to_vec()
    }

    /// Its certificate in DER.
    pub fn der(&self) -> &[u8] {
        self.chain[0].der()
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.chain[0].pem()
    }

    /// Writes its certificate to `directory/name.pem`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, directory: &Path, name: &str) -> io::Result<PathBuf> {
        let path = directory.join(format!("{name}.pem"));
        fs::write(&path, self.pem())?;
        Ok(path)
    }
}

/// An end entity: a gateway, a host, a person.
#[derive(Clone)]
pub struct EndEntity {
    /// Its certificate in DER, then the intermediates up to but without the root.
    pub chain: Vec<Vec<u8>>,
    /// Its private key, PKCS#8 in DER.
    pub key: Vec<u8>,
    chain_pem: Vec<String>,
    key_pem: String,
    public_key_pem: String,
}

impl EndEntity {
    /// A certificate that its own key signed.
    pub fn self_signed(
        key: Key,
        name: &str,
        names: &[&str],
        tune: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let mut params = end_entity(name, names);
        tune(&mut params);
        let pair = key.of(name);
        let certificate = params.self_signed(&pair).expect("a self-signed certificate");
        Self::new([certificate].into_iter(), &pair)
    }

    fn new(certificates: impl Iterator<Item = Certificate>, Pair(pair): &Pair) -> Self {
        let (chain, chain_pem) = certificates.map(|one| (one.der().to_vec(), one.pem())).unzip();
        Self {
            chain,
            chain_pem,
            key: pair.serialize_der(),
            key_pem: pair.serialize_pem(),
            public_key_pem: pair.public_key_pem(),
        }
    }

    /// Its certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.chain[0]
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.chain_pem[0].clone()
    }

    /// Its certificate and the intermediates, in one PEM text.
    pub fn chain_pem(&self) -> String {
        self.chain_pem.concat()
    }

    /// Its private key, PKCS#8 in PEM.
    pub fn key_pem(&self) -> String {
        self.key_pem.clone()
    }

    /// Its public key, SubjectPublicKeyInfo in PEM.
    pub fn public_key_pem(&self) -> String {
        self.public_key_pem.clone()
    }

    /// Writes `directory/name.pem` (the chain) and `directory/name.key`; returns both paths.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, directory: &Path, name: &str) -> io::Result<(PathBuf, PathBuf)> {
        let (chain, key) = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        fs::write(&chain, self.chain_pem())?;
        fs::write(&key, self.key_pem())?;
        Ok((chain, key))
    }
}

/// The DER of one value.
pub fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|octet| *octet == 0).collect();
    let mut out = vec![tag];
    match content.len() {
        0..=0x7f => out.push(content.len() as u8),
        _ => {
            out.push(0x80 | significant.len() as u8);
            out.extend(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

/// An `RSAPublicKey` in DER.
struct RsaPublicKey(Vec<u8>);

impl PublicKeyData for RsaPublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn end_entity(name: &str, names: &[&str]) -> CertificateParams {
    let mut params = named(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = names
        .iter()
        .map(|name| match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains('@') => SanType::Rfc822Name((*name).try_into().expect("ASCII")),
            Err(_) => SanType::DnsName((*name).try_into().expect("ASCII")),
        })
        .collect();
    params
}

/// The subject, and a validity that no test outlives and that UTCTime can write.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, DnValue::PrintableString("CH".try_into().expect("printable")));
    subject.push(DnType::OrganizationName, "Handfast Test");
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_makes_a_chain() {
        let root = Authority::root(Key::EcdsaP256, "Root");
        for key in Key::ALL {
            let middle = root.intermediate(key, "Middle");
            let leaf = middle.issue(key, "leaf", &["leaf.example.org", "2001:db8::1", "leaf@example.org"]);
            assert_eq!(leaf.chain.len(), 2, "without the root");
            assert_eq!(leaf.chain[1], middle.der());
            assert_eq!(leaf.chain_pem().matches("BEGIN CERTIFICATE").count(), 2);
            assert!(leaf.key_pem().starts_with("-----BEGIN PRIVATE KEY-----"));
            assert_eq!(leaf.chain[0].len() > 3_000, Key::POST_QUANTUM.contains(&key), "{key:?}");
        }
    }

    /// A second reader: what strongSwan's OpenSSL and its users' tools will see. OpenSSL knows ML-DSA from 3.5 on.
    #[test]
    fn openssl_agrees() {
        let directory = std::env::temp_dir().join(format!("handfast-testcerts-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a scratch directory");
        let outcome = std::panic::catch_unwind(|| {
            let root = Authority::root(Key::Rsa2048, "Root");
            let anchor = root.write(&directory, "root").expect("a file");
            for key in Key::ALL.into_iter().filter(|key| !Key::POST_QUANTUM.contains(key)) {
                let middle = root.intermediate(key, "Middle");
                let above = middle.write(&directory, "middle").expect("a file");
                let (leaf, key_file) = middle
                    .issue(key, "leaf", &["leaf.example.org"])
                    .write(&directory, "leaf")
                    .expect("files");
                let run = |arguments: &[&std::ffi::OsStr]| {
                    std::process::Command::new("openssl")
                        .args(arguments)
                        .output()
                        .expect("openssl is installed")
                };
                let verified = run(&[
                    "verify".as_ref(),
                    "-x509_strict".as_ref(),
                    "-CAfile".as_ref(),
                    anchor.as_ref(),
                    "-untrusted".as_ref(),
                    above.as_ref(),
                    leaf.as_ref(),
                ]);
                assert!(verified.status.success(), "{key:?}: {}", String::from_utf8_lossy(&verified.stderr));
                let read = run(&["pkey".as_ref(), "-noout".as_ref(), "-in".as_ref(), key_file.as_ref()]);
                assert!(read.status.success(), "{key:?}: {}", String::from_utf8_lossy(&read.stderr));
            }
        });
        fs::remove_dir_all(&directory).expect("the scratch directory goes away");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    }

    #[test]
    fn a_key_is_made_once() {
        let root = Authority::root(Key::Rsa2048, "Root");
        let (one, again) = (root.issue(Key::Ed25519, "a", &[]), root.issue(Key::Ed25519, "a", &["b"]));
        assert_eq!(one.key, again.key);
        assert_ne!(one.key, root.issue(Key::Ed25519, "b", &[]).key);
    }
}
