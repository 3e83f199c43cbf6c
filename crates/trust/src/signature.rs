//! Signatures on certificates, CRLs and OCSP responses, each checked by the [`Suite`].

use crate::algorithm::KeyKind;
use crate::der::{Fields, sequence};
use crypto::{SignatureScheme as Scheme, Suite};
use pkcs8::der::asn1::BitStringRef;
use pkcs8::der::{Encode, Tag};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use std::fmt;

/// What every signed structure of X.509 is (RFC 5280 §4.1.1): what is signed, by which algorithm, and the signature.
pub(crate) struct Signed<'a> {
    /// The DER that the signature covers.
    pub(crate) message: &'a [u8],
    /// The content of the AlgorithmIdentifier.
    pub(crate) algorithm: &'a [u8],
    /// The octets of the BIT STRING.
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Reads the next three fields.
    pub(crate) fn read(fields: &mut Fields<'a>) -> Option<Self> {
        let message = fields.next(Tag::Sequence)?.whole;
        let algorithm = fields.next(Tag::Sequence)?.content;
        Some(Self { message, algorithm, signature: fields.bits()? })
    }

    /// Whether the key `spki` (SubjectPublicKeyInfo) made it; else what is wrong, to follow `its signature`.
    pub(crate) fn check(&self, suite: &dyn Suite, spki: &[u8]) -> Result<(), String> {
        KeyKind::of(spki).and_then(KeyKind::check_size)?;
        if is_sha1(self.algorithm) {
            return Err("is made with SHA-1, which is refused".into());
        }
        let key = Fields::of(spki).and_then(|mut fields| Some(fields.next(Tag::Sequence)?.content));
        let key = key.ok_or("is of a key that cannot be read")?;
        let mut fitting = ALGORITHMS.iter().filter(|row| row.signature.as_ref() == self.algorithm).peekable();
        if fitting.peek().is_none() {
            return Err("is of an algorithm that is not known here".into());
        }
        let row = fitting.find(|row| row.key.as_ref() == key).ok_or("does not go with the key")?;
        suite
            .verify(spki, row.scheme, self.message, self.signature)
            .map_err(|_| "was made with another key".to_owned())
    }
}

/// Whether an AlgorithmIdentifier, by its content, is of a signature with SHA-1.
pub(crate) fn is_sha1(algorithm: &[u8]) -> bool {
    SHA1_SIGNATURES.iter().any(|known| algorithm.starts_with(known))
}

/// All that webpki may use.
pub(crate) fn algorithms(suite: &dyn Suite) -> Vec<Algorithm<'_>> {
    ALGORITHMS.iter().map(|row| Algorithm { suite, row }).collect()
}

/// Content octets of AlgorithmIdentifiers whose signatures use SHA-1: RSA PKCS#1 v1.5, ECDSA.
const SHA1_SIGNATURES: &[&[u8]] =
    &[b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01"];

/// A signature algorithm of certificates with a kind of key that can make it.
struct Row {
    signature: AlgorithmIdentifier,
    key: AlgorithmIdentifier,
    scheme: Scheme,
}

const fn row(signature: AlgorithmIdentifier, key: AlgorithmIdentifier, scheme: Scheme) -> Row {
    Row { signature, key, scheme }
}

const fn bare(octets: &'static [u8]) -> AlgorithmIdentifier {
    AlgorithmIdentifier::from_slice(octets)
}

/// RSA with parameters left out, which some authorities write (RFC 4055 §5 tells to take it).
const RSA_SHA256_BARE: AlgorithmIdentifier = bare(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b");
const RSA_SHA384_BARE: AlgorithmIdentifier = bare(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c");
const RSA_SHA512_BARE: AlgorithmIdentifier = bare(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d");
/// id-RSASSA-PSS as a key's type, not bound to parameters.
const PSS_KEY: AlgorithmIdentifier = bare(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a");

const ALGORITHMS: &[Row] = &[
    row(alg_id::RSA_PKCS1_SHA256, alg_id::RSA_ENCRYPTION, Scheme::RsaPkcs1Sha256),
    row(alg_id::RSA_PKCS1_SHA384, alg_id::RSA_ENCRYPTION, Scheme::RsaPkcs1Sha384),
    row(alg_id::RSA_PKCS1_SHA512, alg_id::RSA_ENCRYPTION, Scheme::RsaPkcs1Sha512),
    row(RSA_SHA256_BARE, alg_id::RSA_ENCRYPTION, Scheme::RsaPkcs1Sha256),
    row(RSA_SHA384_BARE, alg_id::RSA_ENCRYPTION, Scheme::RsaPkcs1Sha384),
    row(RSA_SHA512_BARE, alg_id::RSA_ENCRYPTION, Scheme::RsaPkcs1Sha512),
    row(alg_id::RSA_PSS_SHA256, alg_id::RSA_ENCRYPTION, Scheme::RsaPssSha256),
    row(alg_id::RSA_PSS_SHA384, alg_id::RSA_ENCRYPTION, Scheme::RsaPssSha384),
    row(alg_id::RSA_PSS_SHA512, alg_id::RSA_ENCRYPTION, Scheme::RsaPssSha512),
    row(alg_id::RSA_PSS_SHA256, PSS_KEY, Scheme::RsaPssSha256),
    row(alg_id::RSA_PSS_SHA384, PSS_KEY, Scheme::RsaPssSha384),
    row(alg_id::RSA_PSS_SHA512, PSS_KEY, Scheme::RsaPssSha512),
    row(alg_id::ECDSA_SHA256, alg_id::ECDSA_P256, Scheme::EcdsaSha256),
    row(alg_id::ECDSA_SHA384, alg_id::ECDSA_P256, Scheme::EcdsaSha384),
    row(alg_id::ECDSA_SHA512, alg_id::ECDSA_P256, Scheme::EcdsaSha512),
    row(alg_id::ECDSA_SHA256, alg_id::ECDSA_P384, Scheme::EcdsaSha256),
    row(alg_id::ECDSA_SHA384, alg_id::ECDSA_P384, Scheme::EcdsaSha384),
    row(alg_id::ECDSA_SHA512, alg_id::ECDSA_P384, Scheme::EcdsaSha512),
    row(alg_id::ECDSA_SHA256, alg_id::ECDSA_P521, Scheme::EcdsaSha256),
    row(alg_id::ECDSA_SHA384, alg_id::ECDSA_P521, Scheme::EcdsaSha384),
    row(alg_id::ECDSA_SHA512, alg_id::ECDSA_P521, Scheme::EcdsaSha512),
    row(alg_id::ED25519, alg_id::ED25519, Scheme::Ed25519),
    row(alg_id::ED448, alg_id::ED448, Scheme::Ed448),
    row(alg_id::ML_DSA_44, alg_id::ML_DSA_44, Scheme::MlDsa44),
    row(alg_id::ML_DSA_65, alg_id::ML_DSA_65, Scheme::MlDsa65),
    row(alg_id::ML_DSA_87, alg_id::ML_DSA_87, Scheme::MlDsa87),
];

/// A row, checked by the suite.
pub(crate) struct Algorithm<'a> {
    suite: &'a dyn Suite,
    row: &'static Row,
}

impl fmt::Debug for Algorithm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.row.scheme.fmt(f)
    }
}

impl SignatureVerificationAlgorithm for Algorithm<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let spki = subject_public_key_info(&self.row.key, public_key).ok_or(InvalidSignature)?;
        self.suite.verify(&spki, self.row.scheme, message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.row.key
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.row.signature
    }
}

fn subject_public_key_info(algorithm: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let key = BitStringRef::from_bytes(key).and_then(|key| key.to_der()).ok()?;
    sequence(&[sequence(algorithm)?, key].concat())
}
