//! The traits, and `Suite`: the table of the algorithms that one endpoint may use.

use base::{Rng, Secret};
use wire::num::{Encr, Integ, KeMethod, Prf};

/// Why a cryptographic operation could not be done. It carries no detail that an attacker could use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CryptoError {
    /// The integrity check value is wrong: not from the peer, or changed on the way.
    BadIcv,
    /// A peer's public value fails the checks of RFC 6989 or has the wrong length.
    BadPublicValue,
    /// An initiator's value of ML-KEM has not the length of an encapsulation key (FIPS 203 §7.2, type check).
    EncapsulationKeyLength,
    /// An initiator's value of ML-KEM holds a coefficient that is not below q (FIPS 203 §7.2, modulus check).
    EncapsulationKeyModulus,
    /// A responder's value of ML-KEM has not the length of a ciphertext (FIPS 203 §7.3, ciphertext type check).
    CiphertextLength,
    /// A key has a length that the algorithm does not take.
    BadKeyLength,
    /// A key schedule was asked for more than 255 blocks of its PRF (RFC 7296 §2.13).
    TooMuchKeyMaterial,
    /// The provider does not have this algorithm, or this combination (NULL encryption without integrity).
    Unsupported,
    /// The library refused, which none of the above explains.
    Library,
}

impl std::fmt::Display for CryptoError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CryptoError::BadIcv => "the integrity check value is wrong",
            CryptoError::BadPublicValue => "the peer's public key exchange value is not valid",
            CryptoError::EncapsulationKeyLength => {
                "the peer's ML-KEM encapsulation key has the wrong length (FIPS 203 §7.2)"
            }
            CryptoError::EncapsulationKeyModulus => {
                "the peer's ML-KEM encapsulation key has a coefficient that is not below 3329 (FIPS 203 §7.2)"
            }
            CryptoError::CiphertextLength => {
                "the peer's ML-KEM ciphertext has the wrong length (FIPS 203 §7.3)"
            }
            CryptoError::BadKeyLength => "the key has a length that the algorithm does not take",
            CryptoError::TooMuchKeyMaterial => "more key material is asked for than the PRF can give",
            CryptoError::Unsupported => "the algorithm or the combination is not available",
            CryptoError::Library => "the cryptographic library refused the operation",
        })
    }
}

impl std::error::Error for CryptoError {}

/// A key exchange method, transform type 4 (RFC 7296 §3.4): Diffie-Hellman or a KEM. The responder needs the
/// initiator's value before it makes its own. Of a KEM, the initiator's value is an encapsulation key, the responder's is
/// the ciphertext, and the initiator decapsulates it (draft-ietf-ipsecme-ikev2-mlkem §2).
pub trait KeyExchange: Send + Sync {
    /// Its transform id.
    fn id(&self) -> KeMethod;
    /// Initiator: draws a private value; returns it with the public value for the KE payload.
    fn generate(&self, rng: &mut dyn Rng) -> Result<(Box<dyn KePrivate>, Vec<u8>), CryptoError>;
    /// Responder: checks the peer's public value; returns our public value and the shared secret.
    fn respond(&self, rng: &mut dyn Rng, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError>;
    /// Responder: makes our public value and leaves the work of the shared secret for later, where the method can; the
    /// peer's value is then checked later too. For a peer that has not yet earned the whole of the work.
    fn respond_later(
        &self,
        rng: &mut dyn Rng,
        peer: &[u8],
    ) -> Result<(Vec<u8>, Box<dyn KePrivate>), CryptoError> {
        let (public, shared) = self.respond(rng, peer)?;
        Ok((public, Box::new(Shared(shared))))
    }
    /// Octets of the initiator's public value; other lengths are refused before any work.
    fn public_len(&self) -> usize;
    /// Octets of the responder's public value; other lengths are refused before any work.
    fn answer_len(&self) -> usize {
        self.public_len()
    }
}

/// The initiator's private half of a key exchange in progress.
pub trait KePrivate: Send + Sync {
    /// The shared secret g^ir, of a KEM the decapsulated one. Can be called again: a forged first answer must not use
    /// the key up.
    fn finish(&self, peer: &[u8]) -> Result<Secret, CryptoError>;
}

/// A shared secret that there is already.
struct Shared(Secret);

impl KePrivate for Shared {
    fn finish(&self, _: &[u8]) -> Result<Secret, CryptoError> {
        Ok(self.0.clone())
    }
}

/// A pseudorandom function, transform type 2 (RFC 7296 §2.13).
#[allow(clippy::len_without_is_empty)] // a length of output, not of a container
pub trait PrfFunction: Send + Sync {
    /// Its transform id.
    fn id(&self) -> Prf;
    /// Octets of output, which are also the key's preferred length.
    fn len(&self) -> usize;
    /// `Some(n)` when the key must have just `n` octets, as for AES-XCBC and AES-CMAC (RFC 7296 §2.14
    /// splits the nonces then); `compute` still takes any key as RFC 4434 and RFC 4615 say.
    fn fixed_key_len(&self) -> Option<usize>;
    /// `prf(key, parts[0] | parts[1] | …)`.
    fn compute(&self, key: &[u8], parts: &[&[u8]]) -> Secret;
}

/// Where a cipher's explicit IV must come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IvKind {
    /// No IV on the wire (NULL).
    None,
    /// Must never repeat under a key: a counter does.
    Counter,
    /// Must not be predictable: random octets (CBC).
    Random,
}

/// The shape of an encryption with its integrity, before there is a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CipherSpec {
    /// Octets of the encryption key as the key schedule gives it, salt included (RFC 5282 §7.1).
    pub encr_key_len: usize,
    /// Octets of the integrity key; 0 for a combined mode.
    pub integ_key_len: usize,
    /// Octets of the explicit IV.
    pub iv_len: usize,
    /// Octets of the integrity check value.
    pub icv_len: usize,
    /// The plaintext, pad length included, must be a multiple of this many octets.
    pub block: usize,
    /// Where the IV must come from.
    pub iv_kind: IvKind,
}

/// A keyed encryption with its integrity (a combined mode, or encrypt-then-MAC): one direction of
/// an IKE SA or of a child SA. The same trait protects SK payloads and ESP packets.
pub trait Cipher: Send + Sync {
    /// Its shape.
    fn spec(&self) -> CipherSpec;

    /// Encrypts `data` in place and writes the integrity check value to `icv`.
    ///
    /// `aad` is all that stands before the IV: the message from the IKE header to the end of the SK
    /// payload's fixed header, or ESP's SPI and sequence number. `tail` is what an encrypt-then-MAC
    /// transform appends to the authenticated octets without sending it: the high half of an ESP
    /// extended sequence number (RFC 4303 §2.2.1); a combined mode ignores it, since its caller puts the high half
    /// into `aad` (RFC 4106 §5). `iv` has `iv_len` octets, `icv` has `icv_len`.
    #[allow(clippy::too_many_arguments)] // the parts of one packet, each in its own place
    fn seal(&self, iv: &[u8], aad: &[u8], data: &mut [u8], tail: &[u8], icv: &mut [u8]);

    /// Checks `icv` and decrypts `data` in place; on an error `data` holds nothing to be used.
    #[allow(clippy::too_many_arguments)] // as `seal`
    fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        data: &mut [u8],
        tail: &[u8],
        icv: &[u8],
    ) -> Result<(), CryptoError>;

    /// Whether this is a combined mode (decides where ESP puts the high half of the sequence number).
    fn is_aead(&self) -> bool {
        self.spec().integ_key_len == 0
    }
}

/// How a signature is made or checked: the key's algorithm, the hash, the padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum SignatureScheme {
    RsaPkcs1Sha1,
    RsaPkcs1Sha256,
    RsaPkcs1Sha384,
    RsaPkcs1Sha512,
    /// The salt is as long as the hash, as RFC 7427 §A.4 and RFC 8247 §3.2 recommend; any salt length is accepted.
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
    EcdsaSha1,
    EcdsaSha256,
    EcdsaSha384,
    EcdsaSha512,
    Ed25519,
    Ed448,
    /// Pure ML-DSA with an empty context (FIPS 204 §5.2; draft-ietf-ipsecme-ikev2-pqc-auth §3.2, RFC 9881 §3).
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

/// Why a signature was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerifyError {
    /// The key's algorithm and the scheme do not go together, or the key cannot be read.
    WrongKey,
    /// The provider does not have this scheme.
    Unsupported,
    /// The signature does not verify.
    BadSignature,
}

/// A private key that signs.
pub trait SigningKey: Send + Sync {
    /// What it can do, best first.
    fn schemes(&self) -> Vec<SignatureScheme>;
    /// Its SubjectPublicKeyInfo in DER, to be compared with a certificate's.
    fn public_key(&self) -> &[u8];
    /// Signs `message`. ECDSA signatures come as DER `Ecdsa-Sig-Value` (RFC 7427 §A.3).
    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, CryptoError>;
}

/// The algorithms that one endpoint may use: a value, never process-wide, so that two endpoints in
/// one process can differ.
pub trait Suite: Send + Sync {
    /// The key exchange method, if present.
    fn key_exchange(&self, id: KeMethod) -> Option<&dyn KeyExchange>;
    /// The PRF, if present.
    fn prf(&self, id: Prf) -> Option<&dyn PrfFunction>;
    /// The shape of `encr` with `key_bits` (0 where the algorithm has one length only) and `integ`
    /// (`Integ::NONE` for a combined mode), if present.
    fn cipher_spec(&self, encr: Encr, key_bits: u16, integ: Integ) -> Option<CipherSpec>;
    /// A keyed cipher. The keys' lengths are those of [`Suite::cipher_spec`].
    #[allow(clippy::too_many_arguments)] // two transforms, each with its key
    fn cipher(
        &self,
        encr: Encr,
        key_bits: u16,
        integ: Integ,
        encr_key: &[u8],
        integ_key: &[u8],
    ) -> Result<Box<dyn Cipher>, CryptoError>;
    /// SHA-1, for NAT detection and certificate request hashes (RFC 7296 §2.23, §3.7).
    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20];
    /// Whether signatures of this scheme can be checked.
    fn verifies(&self, scheme: SignatureScheme) -> bool;
    /// Checks a signature with the public key `spki` (SubjectPublicKeyInfo in DER).
    fn verify(
        &self,
        spki: &[u8],
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError>;
}
