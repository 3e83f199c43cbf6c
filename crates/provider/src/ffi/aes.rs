//! The AES block cipher, CBC without padding, and CTR.

use aws_lc_sys as sys;
use std::mem::MaybeUninit;

/// An AES key schedule for encryption (and for CTR, which only encrypts).
pub(crate) struct AesEncrypt(sys::AES_KEY);

/// An AES key schedule for decryption.
pub(crate) struct AesDecrypt(sys::AES_KEY);

impl AesEncrypt {
    /// From a key of 16, 24 or 32 octets.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        schedule(key, sys::AES_set_encrypt_key).map(Self)
    }

    /// Encrypts one block in place.
    pub(crate) fn block(&self, block: &mut [u8; 16]) {
        // SAFETY: reads and writes just one block; input and output may be the same.
        unsafe { sys::AES_encrypt(block.as_ptr(), block.as_mut_ptr(), &self.0) };
    }

    /// CBC encryption in place; false when `data` is not whole blocks.
    pub(crate) fn cbc(&self, mut iv: [u8; 16], data: &mut [u8]) -> bool {
        if !data.len().is_multiple_of(16) {
            return false;
        }
        // SAFETY: whole blocks of one buffer, in place; the IV has the 16 octets that are read and written.
        unsafe {
            sys::AES_cbc_encrypt(
                data.as_ptr(),
                data.as_mut_ptr(),
                data.len(),
                &self.0,
                iv.as_mut_ptr(),
                sys::AES_ENCRYPT,
            );
        }
        true
    }

    /// CTR en- or decryption in place, from the counter block `counter` on.
    pub(crate) fn ctr(&self, mut counter: [u8; 16], data: &mut [u8]) {
        let (mut key_stream, mut used) = ([0u8; 16], 0);
        // SAFETY: in place over one buffer; counter and key stream have the 16 octets that are used.
        unsafe {
            sys::AES_ctr128_encrypt(
                data.as_ptr(),
                data.as_mut_ptr(),
                data.len(),
                &self.0,
                counter.as_mut_ptr(),
                key_stream.as_mut_ptr(),
                &mut used,
            );
        }
    }
}

impl AesDecrypt {
    /// From a key of 16, 24 or 32 octets.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        schedule(key, sys::AES_set_decrypt_key).map(Self)
    }

    /// CBC decryption in place; false when `data` is not whole blocks.
    pub(crate) fn cbc(&self, mut iv: [u8; 16], data: &mut [u8]) -> bool {
        if !data.len().is_multiple_of(16) {
            return false;
        }
        // SAFETY: as in `AesEncrypt::cbc`.
        unsafe {
            sys::AES_cbc_encrypt(
                data.as_ptr(),
                data.as_mut_ptr(),
                data.len(),
                &self.0,
                iv.as_mut_ptr(),
                sys::AES_DECRYPT,
            );
        }
        true
    }
}

type SetKey = unsafe extern "C" fn(*const u8, u32, *mut sys::AES_KEY) -> i32;

fn schedule(key: &[u8], set_key: SetKey) -> Option<sys::AES_KEY> {
    if !matches!(key.len(), 16 | 24 | 32) {
        return None;
    }
    let mut schedule = MaybeUninit::<sys::AES_KEY>::zeroed();
    // SAFETY: reads the key's bits, fills the schedule; all zeros is a valid AES_KEY (plain integers).
    unsafe {
        let bits = key.len() as u32 * 8;
        (set_key(key.as_ptr(), bits, schedule.as_mut_ptr()) == 0).then(|| schedule.assume_init())
    }
}

fn cleanse(key: &mut sys::AES_KEY) {
    // SAFETY: zeroes the object in its own length; all zeros is a valid AES_KEY.
    unsafe { sys::OPENSSL_cleanse((&raw mut *key).cast(), size_of::<sys::AES_KEY>()) };
}

impl Drop for AesEncrypt {
    fn drop(&mut self) {
        cleanse(&mut self.0);
    }
}

impl Drop for AesDecrypt {
    fn drop(&mut self) {
        cleanse(&mut self.0);
    }
}
