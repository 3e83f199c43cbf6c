//! Signatures: RSA, ECDSA, Ed25519 and ML-DSA keys in their standard encodings.

use super::Hash;
use aws_lc_sys as sys;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

/// What kind of key it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyKind {
    /// rsaEncryption.
    Rsa,
    /// id-RSASSA-PSS: such a key makes PSS signatures only (RFC 4055 §1.2).
    RsaPss,
    /// On P-256, P-384 or P-521.
    Ec,
    Ed25519,
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

/// How the hash is made into a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Padding {
    /// The key's kind has one way only.
    None,
    Pkcs1,
    Pss,
}

/// A key of the library's; public or private.
pub(super) struct Key(pub(super) NonNull<sys::EVP_PKEY>);

// SAFETY: nothing changes the key after it was read; AWS-LC documents its use from several threads as safe
// as long as nobody changes it (openssl/evp.h), and locks what it caches inside.
unsafe impl Send for Key {}
// SAFETY: as above.
unsafe impl Sync for Key {}

impl Key {
    /// Owns `key` if it is not null and of a known kind.
    fn own(key: *mut sys::EVP_PKEY) -> Option<(Self, KeyKind)> {
        let Some(key) = NonNull::new(key).map(Key) else {
            super::clear_errors();
            return None;
        };
        // SAFETY: reads the kind of a valid key.
        let kind = match unsafe { sys::EVP_PKEY_id(key.0.as_ptr()) } {
            sys::EVP_PKEY_RSA => KeyKind::Rsa,
            sys::EVP_PKEY_RSA_PSS => KeyKind::RsaPss,
            sys::EVP_PKEY_EC if key.is_on_nist_curve() => KeyKind::Ec,
            sys::EVP_PKEY_ED25519 => KeyKind::Ed25519,
            sys::EVP_PKEY_PQDSA => key.parameter_set()?,
            _ => return None,
        };
        Some((key, kind))
    }

    /// The parameter set of an ML-DSA key (FIPS 204 §4).
    fn parameter_set(&self) -> Option<KeyKind> {
        // SAFETY: reads the kind of a valid key.
        match unsafe { sys::EVP_PKEY_pqdsa_get_type(self.0.as_ptr()) } {
            sys::NID_MLDSA44 => Some(KeyKind::MlDsa44),
            sys::NID_MLDSA65 => Some(KeyKind::MlDsa65),
            sys::NID_MLDSA87 => Some(KeyKind::MlDsa87),
            _ => None,
        }
    }

    /// Whether an EC key's curve is one that IKEv2 signs with (RFC 4754 §5, RFC 8247 §3.2); the library knows more.
    fn is_on_nist_curve(&self) -> bool {
        // SAFETY: borrows the EC half of a valid EC key, and its group, for this call.
        let curve = unsafe {
            let key = sys::EVP_PKEY_get0_EC_KEY(self.0.as_ptr());
            if key.is_null() {
                return false;
            }
            sys::EC_GROUP_get_curve_name(sys::EC_KEY_get0_group(key))
        };
        matches!(curve, sys::NID_X9_62_prime256v1 | sys::NID_secp384r1 | sys::NID_secp521r1)
    }

    fn bits(&self) -> u32 {
        // SAFETY: reads the size of a valid key.
        unsafe { sys::EVP_PKEY_bits(self.0.as_ptr()) }.unsigned_abs()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: owned here, freed once; freeing zeroes private parts.
        unsafe { sys::EVP_PKEY_free(self.0.as_ptr()) };
    }
}

/// A key that verifies.
pub(crate) struct PublicKey {
    key: Key,
    pub(crate) kind: KeyKind,
}

impl PublicKey {
    /// From SubjectPublicKeyInfo in DER, all of it.
    pub(crate) fn from_spki(spki: &[u8]) -> Option<Self> {
        let mut input = MaybeUninit::<sys::CBS>::uninit();
        // SAFETY: CBS_init makes the reader valid; it reads within the slice's length.
        let (key, rest) = unsafe {
            sys::CBS_init(input.as_mut_ptr(), spki.as_ptr(), spki.len());
            let key = sys::EVP_parse_public_key(input.as_mut_ptr());
            (key, sys::CBS_len(input.as_ptr()))
        };
        let (key, kind) = Key::own(key)?;
        (rest == 0).then_some(Self { key, kind })
    }

    /// Bits of the modulus or of the curve's order.
    pub(crate) fn bits(&self) -> u32 {
        self.key.bits()
    }

    /// Whether `signature` is this key's over `message`. PSS signatures may have any salt length; an ML-DSA context is
    /// empty, as it is where nobody sets one.
    pub(crate) fn verify(
        &self,
        hash: Option<Hash>,
        padding: Padding,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let context = Context::new();
        let mut inner = ptr::null_mut();
        // SAFETY: the context is initialised, the key valid; slices come with their lengths; `inner` belongs
        // to the context.
        let ok = unsafe {
            let (ctx, md) = (context.0, hash.map_or(ptr::null(), Hash::md));
            sys::EVP_DigestVerifyInit(ctx, &mut inner, md, ptr::null_mut(), self.key.0.as_ptr()) == 1
                && set_padding(inner, padding, sys::RSA_PSS_SALTLEN_AUTO)
                && sys::EVP_DigestVerify(
                    ctx,
                    signature.as_ptr(),
                    signature.len(),
                    message.as_ptr(),
                    message.len(),
                ) == 1
        };
        if !ok {
            super::clear_errors();
        }
        ok
    }
}

/// A key that signs.
pub(crate) struct PrivateKey {
    key: Key,
    pub(crate) kind: KeyKind,
}

impl PrivateKey {
    /// From DER, all of it: PKCS#8 (RFC 5958), SEC 1 (RFC 5915) or PKCS#1 (RFC 8017 §A.1.2).
    pub(crate) fn from_der(der: &[u8]) -> Option<Self> {
        let mut at = der.as_ptr();
        // SAFETY: `at` moves within the slice's length.
        let key = unsafe {
            sys::d2i_AutoPrivateKey(ptr::null_mut(), &mut at, std::ffi::c_long::try_from(der.len()).ok()?)
        };
        let (key, kind) = Key::own(key)?;
        (at == der.as_ptr_range().end).then_some(Self { key, kind })
    }

    /// Bits of the modulus or of the curve's order.
    pub(crate) fn bits(&self) -> u32 {
        self.key.bits()
    }

    /// The public half as SubjectPublicKeyInfo in DER.
    pub(crate) fn spki(&self) -> Option<Vec<u8>> {
        let mut out = ptr::null_mut();
        // SAFETY: null asks for a fresh buffer of the returned length, copied and freed here.
        unsafe {
            let len = usize::try_from(sys::i2d_PUBKEY(self.key.0.as_ptr(), &mut out)).ok()?;
            if out.is_null() {
                return None;
            }
            let spki = std::slice::from_raw_parts(out, len).to_vec();
            sys::OPENSSL_free(out.cast());
            Some(spki)
        }
    }

    /// Signs `message`; a PSS salt is as long as the hash, an ML-DSA signature is hedged, its context empty.
    pub(crate) fn sign(&self, hash: Option<Hash>, padding: Padding, message: &[u8]) -> Option<Vec<u8>> {
        let context = Context::new();
        let mut inner = ptr::null_mut();
        let mut signature = Vec::new();
        // SAFETY: as in `verify`; a null output asks for the length, which the second call is given.
        let ok = unsafe {
            let (ctx, md) = (context.0, hash.map_or(ptr::null(), Hash::md));
            let (at, len) = (message.as_ptr(), message.len());
            let mut room = 0;
            let ok = sys::EVP_DigestSignInit(ctx, &mut inner, md, ptr::null_mut(), self.key.0.as_ptr()) == 1
                && set_padding(inner, padding, sys::RSA_PSS_SALTLEN_DIGEST)
                && sys::EVP_DigestSign(ctx, ptr::null_mut(), &mut room, at, len) == 1;
            signature.resize(room, 0);
            let ok = ok && sys::EVP_DigestSign(ctx, signature.as_mut_ptr(), &mut room, at, len) == 1;
            signature.truncate(room);
            ok
        };
        if !ok {
            super::clear_errors();
        }
        ok.then_some(signature)
    }
}

/// Sets an RSA padding.
///
/// # Safety
/// `inner` belongs to a context that was initialised for signing or verifying.
unsafe fn set_padding(inner: *mut sys::EVP_PKEY_CTX, padding: Padding, salt_len: i32) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        match padding {
            Padding::None => true,
            Padding::Pkcs1 => sys::EVP_PKEY_CTX_set_rsa_padding(inner, sys::RSA_PKCS1_PADDING) == 1,
            Padding::Pss => {
                sys::EVP_PKEY_CTX_set_rsa_padding(inner, sys::RSA_PKCS1_PSS_PADDING) == 1
                    && sys::EVP_PKEY_CTX_set_rsa_pss_saltlen(inner, salt_len) == 1
            }
        }
    }
}

/// A digest context on the library's heap.
struct Context(*mut sys::EVP_MD_CTX);

impl Context {
    fn new() -> Self {
        // SAFETY: allocates; only an exhausted memory gives null, where Rust aborts as well.
        let context = unsafe { sys::EVP_MD_CTX_new() };
        assert!(!context.is_null(), "memory for a digest context");
        Self(context)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by EVP_MD_CTX_new, freed once.
        unsafe { sys::EVP_MD_CTX_free(self.0) };
    }
}
