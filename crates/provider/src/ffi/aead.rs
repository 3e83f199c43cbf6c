//! AES-GCM with any tag length, and ChaCha20-Poly1305.

use aws_lc_sys as sys;
use std::ptr::{self, NonNull};

/// A keyed AEAD with a 12-octet nonce. Sealing and opening do not change it.
pub(crate) struct Aead {
    ctx: NonNull<sys::EVP_AEAD_CTX>,
    tag_len: usize,
}

// SAFETY: the context is written when it is made and freed when it is dropped; `seal` and `open` take it
// as const, and AWS-LC documents both as safe to call at the same time on one context (openssl/aead.h).
unsafe impl Send for Aead {}
// SAFETY: as above.
unsafe impl Sync for Aead {}

impl Aead {
    /// AES-GCM with a key of 16, 24 or 32 octets and a tag of `tag_len`.
    pub(crate) fn aes_gcm(key: &[u8], tag_len: usize) -> Option<Self> {
        // SAFETY: these return pointers to static tables.
        let aead = unsafe {
            match key.len() {
                16 => sys::EVP_aead_aes_128_gcm(),
                24 => sys::EVP_aead_aes_192_gcm(),
                32 => sys::EVP_aead_aes_256_gcm(),
                _ => return None,
            }
        };
        Self::new(aead, key, tag_len)
    }

    /// ChaCha20-Poly1305 with a key of 32 octets.
    pub(crate) fn chacha20_poly1305(key: &[u8]) -> Option<Self> {
        if key.len() != 32 {
            return None;
        }
        // SAFETY: returns a pointer to a static table.
        Self::new(unsafe { sys::EVP_aead_chacha20_poly1305() }, key, 16)
    }

    fn new(aead: *const sys::EVP_AEAD, key: &[u8], tag_len: usize) -> Option<Self> {
        // SAFETY: `aead` is a static table, key and length are of one slice; the result is owned here.
        let ctx = unsafe { sys::EVP_AEAD_CTX_new(aead, key.as_ptr(), key.len(), tag_len) };
        NonNull::new(ctx).map(|ctx| Self { ctx, tag_len })
    }

    /// Encrypts `data` in place and writes `tag`; false when a length does not fit.
    pub(crate) fn seal(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &mut [u8]) -> bool {
        if tag.len() != self.tag_len {
            return false;
        }
        let mut written = 0;
        // SAFETY: the context is keyed; input and output are the same buffer, which AWS-LC allows when they
        // are equal; every pointer comes with its slice's length.
        let ok = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                self.ctx.as_ptr(),
                data.as_mut_ptr(),
                tag.as_mut_ptr(),
                &mut written,
                tag.len(),
                nonce.as_ptr(),
                nonce.len(),
                data.as_ptr(),
                data.len(),
                ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        ok == 1 && written == self.tag_len
    }

    /// Checks `tag` and decrypts `data` in place; false when it is wrong, and `data` is zeroed then.
    pub(crate) fn open(&self, nonce: &[u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool {
        if tag.len() != self.tag_len {
            return false;
        }
        // SAFETY: as in `seal`.
        let ok = unsafe {
            sys::EVP_AEAD_CTX_open_gather(
                self.ctx.as_ptr(),
                data.as_mut_ptr(),
                nonce.as_ptr(),
                nonce.len(),
                data.as_ptr(),
                data.len(),
                tag.as_ptr(),
                tag.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        if ok != 1 {
            super::clear_errors();
        }
        ok == 1
    }
}

impl Drop for Aead {
    fn drop(&mut self) {
        // SAFETY: made by EVP_AEAD_CTX_new, freed once; freeing zeroes the key.
        unsafe { sys::EVP_AEAD_CTX_free(self.ctx.as_ptr()) };
    }
}
