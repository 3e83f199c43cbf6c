//! AES-CCM with an 11-octet nonce and any tag length.

use aws_lc_sys as sys;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

/// A keyed AES-CCM. The library's context holds the nonce of the message at hand, so it stands
/// behind a lock, which is free of contention where one thread owns a direction of an SA.
pub(crate) struct Ccm {
    ctx: Mutex<Context>,
    tag_len: usize,
}

struct Context(NonNull<sys::EVP_CIPHER_CTX>);

// SAFETY: the context belongs to no thread; the lock keeps its users apart.
unsafe impl Send for Context {}

impl Ccm {
    /// From a key of 16, 24 or 32 octets and a tag of `tag_len`.
    pub(crate) fn new(key: &[u8], tag_len: usize) -> Option<Self> {
        // SAFETY: these return pointers to static tables.
        let cipher = unsafe {
            match key.len() {
                16 => sys::EVP_aes_128_ccm(),
                24 => sys::EVP_aes_192_ccm(),
                32 => sys::EVP_aes_256_ccm(),
                _ => return None,
            }
        };
        // SAFETY: allocates; null is handled.
        let owned = Context(NonNull::new(unsafe { sys::EVP_CIPHER_CTX_new() })?);
        let (ctx, none) = (owned.0.as_ptr(), ptr::null_mut());
        // SAFETY: the context is fresh; null stands for "not now"; the key has the cipher's length.
        let done = unsafe {
            sys::EVP_CipherInit_ex(ctx, cipher, none, ptr::null(), ptr::null(), 1) == 1
                && sys::EVP_CIPHER_CTX_ctrl(ctx, sys::EVP_CTRL_AEAD_SET_IVLEN, 11, ptr::null_mut()) == 1
                && sys::EVP_CIPHER_CTX_ctrl(ctx, sys::EVP_CTRL_AEAD_SET_TAG, tag_len as i32, ptr::null_mut())
                    == 1
                && sys::EVP_CipherInit_ex(ctx, ptr::null(), none, key.as_ptr(), ptr::null(), 1) == 1
        };
        done.then(|| Self { ctx: Mutex::new(owned), tag_len })
    }

    /// Encrypts `data` in place and writes `tag`; false when a length does not fit.
    pub(crate) fn seal(&self, nonce: &[u8; 11], aad: &[u8], data: &mut [u8], tag: &mut [u8]) -> bool {
        if tag.len() != self.tag_len {
            return false;
        }
        let guard = self.ctx.lock().unwrap_or_else(PoisonError::into_inner);
        let ctx = guard.0.as_ptr();
        // SAFETY: the context is keyed and this thread's alone; the tag has the length that was set.
        unsafe {
            start(ctx, nonce, 1)
                && run(ctx, aad, data)
                && sys::EVP_CIPHER_CTX_ctrl(
                    ctx,
                    sys::EVP_CTRL_AEAD_GET_TAG,
                    tag.len() as i32,
                    tag.as_mut_ptr().cast(),
                ) == 1
        }
    }

    /// Checks `tag` and decrypts `data` in place; false when it is wrong, and `data` is zeroed then.
    pub(crate) fn open(&self, nonce: &[u8; 11], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool {
        if tag.len() != self.tag_len {
            return false;
        }
        let guard = self.ctx.lock().unwrap_or_else(PoisonError::into_inner);
        let ctx = guard.0.as_ptr();
        // SAFETY: the context is keyed and this thread's alone; the tag is read in its length.
        unsafe {
            start(ctx, nonce, 0)
                && sys::EVP_CIPHER_CTX_ctrl(
                    ctx,
                    sys::EVP_CTRL_AEAD_SET_TAG,
                    tag.len() as i32,
                    tag.as_ptr().cast_mut().cast(),
                ) == 1
                && run(ctx, aad, data)
        }
    }
}

/// Sets the nonce and the direction (1 seals, 0 opens).
///
/// # Safety
/// `ctx` is keyed and used by no other thread.
unsafe fn start(ctx: *mut sys::EVP_CIPHER_CTX, nonce: &[u8; 11], direction: i32) -> bool {
    // SAFETY: null keeps cipher and key; the nonce has the 11 octets that were set.
    unsafe {
        sys::EVP_CipherInit_ex(ctx, ptr::null(), ptr::null_mut(), ptr::null(), nonce.as_ptr(), direction) == 1
    }
}

/// Takes in the length of `data`, then `aad`, then `data` in place: the order that CCM needs.
///
/// # Safety
/// `ctx` is started and used by no other thread.
unsafe fn run(ctx: *mut sys::EVP_CIPHER_CTX, aad: &[u8], data: &mut [u8]) -> bool {
    // SAFETY: a null output stands for the length (null input) and for the aad; in place is allowed.
    unsafe {
        let len = data.len();
        sys::EVP_Cipher(ctx, ptr::null_mut(), ptr::null(), len) >= 0
            && sys::EVP_Cipher(ctx, ptr::null_mut(), aad.as_ptr(), aad.len()) >= 0
            && sys::EVP_Cipher(ctx, data.as_mut_ptr(), data.as_ptr(), len) >= 0
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by EVP_CIPHER_CTX_new, freed once; freeing zeroes the key.
        unsafe { sys::EVP_CIPHER_CTX_free(self.0.as_ptr()) };
    }
}
