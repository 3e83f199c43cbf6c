//! HMAC and AES-CMAC.

use super::Hash;
use aws_lc_sys as sys;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroize;

/// Octets of the longest MAC, that of HMAC-SHA-512.
pub(crate) const MAC_MAX: usize = 64;

/// Octets of the longest prepared key: two chaining values of SHA-512.
const PREPARED_MAX: usize = 128;

/// An HMAC key after the hash function has taken in both its paddings: what is left to do for a
/// message is the message. Kept in this form it is 64 octets for SHA-256, where a whole context has 1,200.
pub(crate) struct HmacKey {
    hash: Hash,
    prepared: [u8; PREPARED_MAX],
    prepared_len: usize,
}

impl HmacKey {
    /// From a key of any length (RFC 2104 §2).
    pub(crate) fn new(hash: Hash, key: &[u8]) -> Self {
        let mut this = Self { hash, prepared: [0; PREPARED_MAX], prepared_len: PREPARED_MAX };
        with_hmac(|ctx| {
            // SAFETY: the context is initialised; the key comes with its length (never a null pointer), and the
            // output with its own.
            unsafe {
                sys::HMAC_Init_ex(ctx, key.as_ptr().cast(), key.len(), hash.md(), ptr::null_mut()) == 1
                    && sys::HMAC_set_precomputed_key_export(ctx) == 1
                    && sys::HMAC_get_precomputed_key(ctx, this.prepared.as_mut_ptr(), &mut this.prepared_len)
                        == 1
            }
        });
        this
    }

    /// Writes the MAC of `parts[0] | parts[1] | …` to the first octets of `out` and returns how many they are.
    pub(crate) fn mac(&self, parts: &[&[u8]], out: &mut [u8; MAC_MAX]) -> usize {
        with_hmac(|ctx| {
            // SAFETY: the context is initialised; every pointer comes with its slice's length; the MAC of the
            // longest hash fits `out`.
            unsafe {
                sys::HMAC_Init_from_precomputed_key(
                    ctx,
                    self.prepared.as_ptr(),
                    self.prepared_len,
                    self.hash.md(),
                ) == 1
                    && parts.iter().all(|part| sys::HMAC_Update(ctx, part.as_ptr(), part.len()) == 1)
                    && sys::HMAC_Final(ctx, out.as_mut_ptr(), ptr::null_mut()) == 1
            }
        });
        self.hash.len()
    }

    /// The MAC of `parts` under a key that is used once: preparing it would be a detour.
    pub(crate) fn once(hash: Hash, key: &[u8], parts: &[&[u8]], out: &mut [u8; MAC_MAX]) -> usize {
        with_hmac(|ctx| {
            // SAFETY: as in `new` and `mac`.
            unsafe {
                sys::HMAC_Init_ex(ctx, key.as_ptr().cast(), key.len(), hash.md(), ptr::null_mut()) == 1
                    && parts.iter().all(|part| sys::HMAC_Update(ctx, part.as_ptr(), part.len()) == 1)
                    && sys::HMAC_Final(ctx, out.as_mut_ptr(), ptr::null_mut()) == 1
            }
        });
        hash.len()
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        self.prepared.zeroize();
    }
}

/// Runs `work` on a fresh context on the stack and zeroes it.
///
/// AWS-LC's HMAC allocates nothing and fails only for a hash function that it does not know or for
/// calls out of order, both of which are this module's own doing: a failure is a bug, not an input.
fn with_hmac(work: impl FnOnce(*mut sys::HMAC_CTX) -> bool) {
    let mut ctx = MaybeUninit::<sys::HMAC_CTX>::uninit();
    // SAFETY: HMAC_CTX_init makes the whole context valid; HMAC_CTX_cleanup zeroes it.
    let done = unsafe {
        sys::HMAC_CTX_init(ctx.as_mut_ptr());
        let done = work(ctx.as_mut_ptr());
        sys::HMAC_CTX_cleanup(ctx.as_mut_ptr());
        done
    };
    assert!(done, "HMAC with a hash function that the library knows cannot fail");
}

/// A keyed AES-CMAC. The library's context is opaque and on its heap, so one is kept for the key's
/// life behind a lock, which is free of contention where one thread owns a direction of an SA.
pub(crate) struct Cmac(Mutex<CmacContext>);

struct CmacContext(NonNull<sys::CMAC_CTX>);

// SAFETY: the context belongs to no thread; the lock keeps its users apart.
unsafe impl Send for CmacContext {}

impl Cmac {
    /// AES-128-CMAC.
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        // SAFETY: allocates; only an exhausted memory gives null, where Rust aborts as well.
        let ctx = unsafe { NonNull::new(sys::CMAC_CTX_new()) }.expect("memory for a CMAC context");
        let owned = CmacContext(ctx);
        // SAFETY: the context is fresh, the key comes with its length, the cipher is a static table.
        let ok = unsafe {
            let cipher = sys::EVP_aes_128_cbc();
            sys::CMAC_Init(ctx.as_ptr(), key.as_ptr().cast(), key.len(), cipher, ptr::null_mut())
        };
        assert_eq!(ok, 1, "AES-CMAC takes every key of 16 octets");
        Self(Mutex::new(owned))
    }

    /// The MAC of `parts[0] | parts[1] | …`.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> [u8; 16] {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ctx = guard.0.as_ptr();
        let (mut out, mut len) = ([0; 16], 0);
        // SAFETY: the context is keyed and this thread's alone; every pointer comes with its length; the MAC
        // has one block.
        let done = unsafe {
            sys::CMAC_Reset(ctx) == 1
                && parts.iter().all(|part| sys::CMAC_Update(ctx, part.as_ptr(), part.len()) == 1)
                && sys::CMAC_Final(ctx, out.as_mut_ptr(), &mut len) == 1
        };
        assert!(done && len == 16, "AES-CMAC with a keyed context cannot fail");
        out
    }
}

impl Drop for CmacContext {
    fn drop(&mut self) {
        // SAFETY: made by CMAC_CTX_new, freed once; freeing zeroes the key.
        unsafe { sys::CMAC_CTX_free(self.0.as_ptr()) };
    }
}
