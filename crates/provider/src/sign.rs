//! Signatures: verifying with a peer's public key, signing with our own private one.

use crate::ffi::{Hash, KeyKind, Padding, PrivateKey, PublicKey};
use crate::limits::{RSA_MAX_BITS, RSA_MIN_BITS};
use crypto::{CryptoError, SignatureScheme as Scheme, SigningKey, VerifyError};
use ed448_goldilocks as ed448;
use std::fmt;
use zeroize::Zeroize;

/// SubjectPublicKeyInfo of Ed448 up to the key's 57 octets (RFC 8410 §4).
const ED448_SPKI: [u8; 12] = [0x30, 0x43, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71, 0x03, 0x3a, 0x00];

/// PKCS#8 version 1 of Ed448 up to the seed's 57 octets (RFC 8410 §7).
const ED448_PKCS8: [u8; 16] =
    [0x30, 0x47, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x71, 0x04, 0x3b, 0x04, 0x39];

/// Why a private key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadKeyError {
    /// Neither PKCS#8 nor SEC 1 nor PKCS#1 in DER, or not a kind of key that signs here (a key with the
    /// identifier id-RSASSA-PSS does not; one with rsaEncryption makes PSS signatures as well), or an ML-DSA key whose
    /// seed and expanded key disagree (RFC 9881 §8.2).
    Unreadable,
    /// An RSA modulus of this many bits, outside of [`crate::limits`].
    RsaSize(u32),
}

impl fmt::Display for LoadKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadKeyError::Unreadable => f.write_str(
                "this is not an unencrypted RSA, ECDSA (P-256, P-384, P-521), Ed25519, Ed448 or ML-DSA private key \
                 in PKCS#8, SEC 1 or PKCS#1 DER, or its parts disagree; convert it with: openssl pkey -in OLD -outform DER -out NEW",
            ),
            LoadKeyError::RsaSize(bits) => write!(
                f,
                "the RSA key has {bits} bits, from {RSA_MIN_BITS} to {RSA_MAX_BITS} are usable; make a new key"
            ),
        }
    }
}

impl std::error::Error for LoadKeyError {}

/// Reads a private key: PKCS#8 (RFC 5958; of ML-DSA as seed, expanded key or both, RFC 9881 §6), SEC 1 (RFC 5915) or PKCS#1
/// (RFC 8017 §A.1.2), in DER.
///
/// # Errors
/// See [`LoadKeyError`].
pub fn load_private_key(der: &[u8]) -> Result<Box<dyn SigningKey>, LoadKeyError> {
    if let Some(seed) = ed448_seed(der) {
        return Ok(Box::new(Ed448Key::new(seed)));
    }
    let key = PrivateKey::from_der(der).ok_or(LoadKeyError::Unreadable)?;
    let bits = key.bits();
    if is_rsa(key.kind) && !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&bits) {
        return Err(LoadKeyError::RsaSize(bits));
    }
    let spki = key.spki().ok_or(LoadKeyError::Unreadable)?;
    Ok(Box::new(LibraryKey { schemes: schemes(key.kind, bits), key, spki }))
}

/// Checks `signature` over `message` with the key in `spki`.
pub(crate) fn verify(
    spki: &[u8],
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    if let Some(key) = spki.strip_prefix(&ED448_SPKI) {
        return verify_ed448(key, scheme, message, signature);
    }
    let key = PublicKey::from_spki(spki).ok_or(VerifyError::WrongKey)?;
    let (hash, padding) = parts(scheme).ok_or(VerifyError::WrongKey)?;
    let too_long_or_short = is_rsa(key.kind) && !(RSA_MIN_BITS..=RSA_MAX_BITS).contains(&key.bits());
    if too_long_or_short || !fits(key.kind, scheme) {
        return Err(VerifyError::WrongKey);
    }
    match key.verify(hash, padding, message, signature) {
        true => Ok(()),
        false => Err(VerifyError::BadSignature),
    }
}

fn verify_ed448(key: &[u8], scheme: Scheme, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let key = <[u8; 57]>::try_from(key).map_err(|_| VerifyError::WrongKey)?;
    let key = ed448::VerifyingKey::from_bytes(&key).map_err(|_| VerifyError::WrongKey)?;
    if scheme != Scheme::Ed448 {
        return Err(VerifyError::WrongKey);
    }
    let signature = ed448::Signature::try_from(signature).map_err(|_| VerifyError::BadSignature)?;
    key.verify_raw(&signature, message).map_err(|_| VerifyError::BadSignature)
}

fn is_rsa(kind: KeyKind) -> bool {
    matches!(kind, KeyKind::Rsa | KeyKind::RsaPss)
}

/// Hash and padding of a scheme; `None` for Ed448, which the library does not have.
fn parts(scheme: Scheme) -> Option<(Option<Hash>, Padding)> {
    Some(match scheme {
        Scheme::RsaPkcs1Sha1 => (Some(Hash::Sha1), Padding::Pkcs1),
        Scheme::RsaPkcs1Sha256 => (Some(Hash::Sha256), Padding::Pkcs1),
        Scheme::RsaPkcs1Sha384 => (Some(Hash::Sha384), Padding::Pkcs1),
        Scheme::RsaPkcs1Sha512 => (Some(Hash::Sha512), Padding::Pkcs1),
        Scheme::RsaPssSha256 => (Some(Hash::Sha256), Padding::Pss),
        Scheme::RsaPssSha384 => (Some(Hash::Sha384), Padding::Pss),
        Scheme::RsaPssSha512 => (Some(Hash::Sha512), Padding::Pss),
        Scheme::EcdsaSha1 => (Some(Hash::Sha1), Padding::None),
        Scheme::EcdsaSha256 => (Some(Hash::Sha256), Padding::None),
        Scheme::EcdsaSha384 => (Some(Hash::Sha384), Padding::None),
        Scheme::EcdsaSha512 => (Some(Hash::Sha512), Padding::None),
        Scheme::Ed25519 | Scheme::MlDsa44 | Scheme::MlDsa65 | Scheme::MlDsa87 => (None, Padding::None),
        Scheme::Ed448 => return None,
    })
}

/// Whether a key of this kind can make signatures of this scheme.
fn fits(kind: KeyKind, scheme: Scheme) -> bool {
    schemes(kind, 0).contains(&scheme)
}

/// What a key can do, best first: a hash as strong as the key, PSS before PKCS#1 v1.5, SHA-1 last.
fn schemes(kind: KeyKind, bits: u32) -> Vec<Scheme> {
    use Scheme::*;
    let pss = [RsaPssSha256, RsaPssSha384, RsaPssSha512];
    match (kind, bits) {
        (KeyKind::Rsa, _) => {
            [&pss[..], &[RsaPkcs1Sha256, RsaPkcs1Sha384, RsaPkcs1Sha512, RsaPkcs1Sha1]].concat()
        }
        (KeyKind::RsaPss, _) => pss.to_vec(),
        (KeyKind::Ec, 0..=256) => vec![EcdsaSha256, EcdsaSha384, EcdsaSha512, EcdsaSha1],
        (KeyKind::Ec, 257..=384) => vec![EcdsaSha384, EcdsaSha512, EcdsaSha256, EcdsaSha1],
        (KeyKind::Ec, _) => vec![EcdsaSha512, EcdsaSha384, EcdsaSha256, EcdsaSha1],
        (KeyKind::Ed25519, _) => vec![Ed25519],
        (KeyKind::MlDsa44, _) => vec![MlDsa44],
        (KeyKind::MlDsa65, _) => vec![MlDsa65],
        (KeyKind::MlDsa87, _) => vec![MlDsa87],
    }
}

/// An RSA, ECDSA, Ed25519 or ML-DSA key.
struct LibraryKey {
    key: PrivateKey,
    schemes: Vec<Scheme>,
    spki: Vec<u8>,
}

impl SigningKey for LibraryKey {
    fn schemes(&self) -> Vec<Scheme> {
        self.schemes.clone()
    }

    fn public_key(&self) -> &[u8] {
        &self.spki
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if !self.schemes.contains(&scheme) {
            return Err(CryptoError::Unsupported);
        }
        let (hash, padding) = parts(scheme).ok_or(CryptoError::Unsupported)?;
        self.key.sign(hash, padding, message).ok_or(CryptoError::Library)
    }
}

/// An Ed448 key; `ed448_goldilocks` zeroes it when it is dropped.
struct Ed448Key {
    key: ed448::SigningKey,
    spki: Vec<u8>,
}

impl Ed448Key {
    fn new(seed: &[u8; 57]) -> Self {
        let mut seed = ed448::SecretKey::from(*seed);
        let key = ed448::SigningKey::from(&seed);
        seed.zeroize();
        let spki = [&ED448_SPKI[..], key.verifying_key().as_bytes()].concat();
        Self { key, spki }
    }
}

impl SigningKey for Ed448Key {
    fn schemes(&self) -> Vec<Scheme> {
        vec![Scheme::Ed448]
    }

    fn public_key(&self) -> &[u8] {
        &self.spki
    }

    fn sign(&self, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match scheme {
            Scheme::Ed448 => Ok(self.key.sign_raw(message).to_bytes().to_vec()),
            _ => Err(CryptoError::Unsupported),
        }
    }
}

/// The seed in PKCS#8 of Ed448.
fn ed448_seed(der: &[u8]) -> Option<&[u8; 57]> {
    der.strip_prefix(&ED448_PKCS8)?.try_into().ok()
}
