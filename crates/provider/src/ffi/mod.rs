//! All calls into AWS-LC that `aws-lc-rs` does not offer, and the only unsafe code of this crate.
//!
//! Each type owns one C object and gives it back when dropped; each function takes slices and hands
//! pointer and length of the same slice on. AWS-LC reads and writes no more than those lengths.
#![allow(unsafe_code)]

mod aead;
mod aes;
mod bn;
mod ccm;
mod des;
mod ec;
mod kem;
mod mac;
mod pkey;

pub(crate) use aead::Aead;
pub(crate) use aes::{AesDecrypt, AesEncrypt};
pub(crate) use bn::{ModpGroup, ModpPrime};
pub(crate) use ccm::Ccm;
pub(crate) use des::TripleDes;
pub(crate) use ec::Curve;
pub(crate) use kem::{DecapsulationKey, MlKem};
pub(crate) use mac::{Cmac, HmacKey, MAC_MAX};
pub(crate) use pkey::{KeyKind, Padding, PrivateKey, PublicKey};

use aws_lc_sys as sys;
use base::Secret;

/// A hash function of HMAC or of a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// Octets of output.
    pub(crate) const fn len(self) -> usize {
        match self {
            Hash::Md5 => 16,
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    fn md(self) -> *const sys::EVP_MD {
        // SAFETY: these return pointers to static tables.
        unsafe {
            match self {
                Hash::Md5 => sys::EVP_md5(),
                Hash::Sha1 => sys::EVP_sha1(),
                Hash::Sha256 => sys::EVP_sha256(),
                Hash::Sha384 => sys::EVP_sha384(),
                Hash::Sha512 => sys::EVP_sha512(),
            }
        }
    }
}

/// The public value of an X25519 private value (RFC 7748 §6.1).
pub(crate) fn x25519_public(private: &[u8; 32]) -> [u8; 32] {
    let mut public = [0; 32];
    // SAFETY: both arrays have the 32 octets that the function reads and writes.
    unsafe { sys::X25519_public_from_private(public.as_mut_ptr(), private.as_ptr()) };
    public
}

/// The shared secret; `None` when it is all zero, that is, the peer's value is of small order.
pub(crate) fn x25519_shared(private: &[u8; 32], peer: &[u8; 32]) -> Option<Secret> {
    let mut shared = Secret::zeroed(32);
    // SAFETY: all three have the 32 octets that the function reads and writes.
    let ok = unsafe { sys::X25519(shared.expose_mut().as_mut_ptr(), private.as_ptr(), peer.as_ptr()) };
    (ok == 1).then_some(shared)
}

/// Forgets the errors that a refused input left in this thread's queue, so that nobody else trips over them.
fn clear_errors() {
    // SAFETY: touches only this thread's own queue.
    unsafe { sys::ERR_clear_error() };
}
