//! Triple DES in CBC mode, without padding.

use aws_lc_sys as sys;

/// A 3DES key of three parts (EDE).
pub(crate) struct TripleDes([sys::DES_key_schedule; 3]);

impl TripleDes {
    /// From a key of 24 octets; parity bits are ignored (RFC 2451 §2.3).
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let key: &[u8; 24] = key.try_into().ok()?;
        let mut keys = Self([sys::DES_key_schedule::default(); 3]);
        for (part, schedule) in key.chunks_exact(8).zip(&mut keys.0) {
            let mut block = sys::DES_cblock { bytes: [0; 8] };
            block.bytes.copy_from_slice(part);
            // SAFETY: reads one block, fills one schedule.
            unsafe {
                sys::DES_set_key_unchecked(&block, schedule);
                sys::OPENSSL_cleanse((&raw mut block).cast(), size_of_val(&block));
            }
        }
        Some(keys)
    }

    /// CBC encryption in place; false when `data` is not whole blocks.
    pub(crate) fn encrypt(&self, iv: [u8; 8], data: &mut [u8]) -> bool {
        self.cbc(iv, data, sys::DES_ENCRYPT)
    }

    /// CBC decryption in place; false when `data` is not whole blocks.
    pub(crate) fn decrypt(&self, iv: [u8; 8], data: &mut [u8]) -> bool {
        self.cbc(iv, data, sys::DES_DECRYPT)
    }

    fn cbc(&self, iv: [u8; 8], data: &mut [u8], direction: i32) -> bool {
        if !data.len().is_multiple_of(8) {
            return false;
        }
        let mut iv = sys::DES_cblock { bytes: iv };
        let [one, two, three] = &self.0;
        // SAFETY: whole blocks of one buffer, in place.
        unsafe {
            let (input, output) = (data.as_ptr(), data.as_mut_ptr());
            sys::DES_ede3_cbc_encrypt(input, output, data.len(), one, two, three, &mut iv, direction);
        }
        true
    }
}

impl Drop for TripleDes {
    fn drop(&mut self) {
        // SAFETY: zeroes the array in its own length; all zeros is valid (plain integers).
        unsafe { sys::OPENSSL_cleanse(self.0.as_mut_ptr().cast(), size_of_val(&self.0)) };
    }
}
