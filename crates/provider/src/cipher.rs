//! Encryption with integrity: combined modes, and encrypt-then-MAC.
//!
//! A keyed cipher seals and opens without allocating and may be used by several threads at once.

use crate::ffi::{Aead, AesDecrypt, AesEncrypt, Ccm, Cmac, Hash, HmacKey, MAC_MAX, TripleDes};
use crate::xcbc::Xcbc;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use crypto::{Cipher, CipherSpec, CryptoError, IvKind};
use wire::num::{Encr, Integ};
use zeroize::Zeroize;

/// The shape of `encr` with `integ`; `None` where one is unknown or both do not go together.
pub(crate) fn spec(encr: Encr, key_bits: u16, integ: Integ) -> Option<CipherSpec> {
    let aes = match key_bits {
        128 | 192 | 256 => Some(usize::from(key_bits / 8)),
        _ => None,
    };
    let fixed = |len: usize| (key_bits == 0).then_some(len);
    if let Some((icv_len, salt_len)) = combined_lens(encr) {
        let key_len = if encr == Encr::CHACHA20_POLY1305 { fixed(32)? } else { aes? };
        return (integ == Integ::NONE).then_some(CipherSpec {
            encr_key_len: key_len + salt_len,
            integ_key_len: 0,
            iv_len: 8,
            icv_len,
            block: 1,
            iv_kind: IvKind::Counter,
        });
    }
    let (encr_key_len, iv_len, block, iv_kind) = match encr {
        Encr::AES_CBC => (aes?, 16, 16, IvKind::Random),
        Encr::AES_CTR => (aes? + 4, 8, 1, IvKind::Counter),
        Encr::TRIPLE_DES => (fixed(24)?, 8, 8, IvKind::Random),
        Encr::NULL => (fixed(0)?, 0, 1, IvKind::None),
        _ => return None,
    };
    // Without integrity there is neither SK payload nor ESP: `Integ::NONE` is not in this table.
    let (integ_key_len, icv_len) = match integ {
        Integ::HMAC_MD5_96 => (16, 12),
        Integ::HMAC_SHA1_96 => (20, 12),
        Integ::AES_XCBC_96 | Integ::AES_CMAC_96 => (16, 12),
        Integ::HMAC_SHA2_256_128 => (32, 16),
        Integ::HMAC_SHA2_384_192 => (48, 24),
        Integ::HMAC_SHA2_512_256 => (64, 32),
        _ => return None,
    };
    Some(CipherSpec { encr_key_len, integ_key_len, iv_len, icv_len, block, iv_kind })
}

/// Octets of integrity check value and of salt (RFC 4106 §4, RFC 4309 §4, RFC 5282 §7.1, RFC 7634 §2).
fn combined_lens(encr: Encr) -> Option<(usize, usize)> {
    Some(match encr {
        Encr::AES_GCM_8 => (8, 4),
        Encr::AES_GCM_12 => (12, 4),
        Encr::AES_GCM_16 | Encr::CHACHA20_POLY1305 => (16, 4),
        Encr::AES_CCM_8 => (8, 3),
        Encr::AES_CCM_12 => (12, 3),
        Encr::AES_CCM_16 => (16, 3),
        _ => return None,
    })
}

/// The keyed cipher of this shape; `None` when a key does not fit.
pub(crate) fn keyed(
    encr: Encr,
    integ: Integ,
    spec: CipherSpec,
    encr_key: &[u8],
    integ_key: &[u8],
) -> Option<Box<dyn Cipher>> {
    if let Some((_, salt_len)) = combined_lens(encr) {
        let (key, salt) = encr_key.split_at_checked(encr_key.len().checked_sub(salt_len)?)?;
        return Some(match encr {
            Encr::AES_CCM_8 | Encr::AES_CCM_12 | Encr::AES_CCM_16 => {
                Box::new(CcmCipher { ccm: Ccm::new(key, spec.icv_len)?, salt: salt.try_into().ok()?, spec })
            }
            Encr::CHACHA20_POLY1305 => Box::new(AeadCipher {
                aead: Aead::chacha20_poly1305(key)?,
                salt: salt.try_into().ok()?,
                spec,
            }),
            _ => Box::new(AeadCipher {
                aead: Aead::aes_gcm(key, spec.icv_len)?,
                salt: salt.try_into().ok()?,
                spec,
            }),
        });
    }
    let crypt = Crypt::new(encr, encr_key)?;
    let mac = Mac::new(integ, integ_key)?;
    Some(Box::new(EncryptThenMac { crypt, mac, spec }))
}

/// AES-GCM or ChaCha20-Poly1305.
struct AeadCipher {
    aead: Aead,
    salt: [u8; 4],
    spec: CipherSpec,
}

impl Cipher for AeadCipher {
    fn spec(&self) -> CipherSpec {
        self.spec
    }

    fn seal(&self, iv: &[u8], aad: &[u8], data: &mut [u8], _tail: &[u8], icv: &mut [u8]) {
        let sealed = nonce(&self.salt, iv).is_some_and(|nonce| self.aead.seal(&nonce, aad, data, icv));
        conceal_unless(sealed, data, icv);
    }

    fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        data: &mut [u8],
        _tail: &[u8],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        let nonce = nonce(&self.salt, iv).ok_or(CryptoError::BadIcv)?;
        if self.aead.open(&nonce, aad, data, icv) { Ok(()) } else { Err(CryptoError::BadIcv) }
    }
}

/// AES-CCM.
struct CcmCipher {
    ccm: Ccm,
    salt: [u8; 3],
    spec: CipherSpec,
}

impl Cipher for CcmCipher {
    fn spec(&self) -> CipherSpec {
        self.spec
    }

    fn seal(&self, iv: &[u8], aad: &[u8], data: &mut [u8], _tail: &[u8], icv: &mut [u8]) {
        let sealed = nonce(&self.salt, iv).is_some_and(|nonce| self.ccm.seal(&nonce, aad, data, icv));
        conceal_unless(sealed, data, icv);
    }

    fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        data: &mut [u8],
        _tail: &[u8],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        let nonce = nonce(&self.salt, iv).ok_or(CryptoError::BadIcv)?;
        if self.ccm.open(&nonce, aad, data, icv) { Ok(()) } else { Err(CryptoError::BadIcv) }
    }
}

/// Salt and explicit IV, if the lengths are right.
fn nonce<const N: usize>(salt: &[u8], iv: &[u8]) -> Option<[u8; N]> {
    let mut nonce = [0; N];
    let (start, end) = nonce.split_at_mut_checked(salt.len())?;
    start.copy_from_slice(salt);
    if iv.len() != end.len() {
        return None;
    }
    end.copy_from_slice(iv);
    Some(nonce)
}

/// After a seal that did not happen, which takes slices of wrong lengths: rather a packet that no peer accepts
/// than one in the clear.
fn conceal_unless(sealed: bool, data: &mut [u8], icv: &mut [u8]) {
    debug_assert!(sealed, "seal was called with lengths that are not those of its spec");
    if !sealed {
        data.fill(0);
        icv.fill(0);
    }
}

/// An encryption and, over its result, a MAC.
struct EncryptThenMac {
    crypt: Crypt,
    mac: Mac,
    spec: CipherSpec,
}

impl Cipher for EncryptThenMac {
    fn spec(&self) -> CipherSpec {
        self.spec
    }

    fn seal(&self, iv: &[u8], aad: &[u8], data: &mut [u8], tail: &[u8], icv: &mut [u8]) {
        let sealed = icv.len() == self.spec.icv_len && self.crypt.encrypt(iv, data);
        if sealed {
            let mut mac = [0; MAC_MAX];
            self.mac.compute(&[aad, iv, data, tail], &mut mac);
            icv.copy_from_slice(&mac[..icv.len()]);
        }
        conceal_unless(sealed, data, icv);
    }

    fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        data: &mut [u8],
        tail: &[u8],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        if icv.len() != self.spec.icv_len {
            return Err(CryptoError::BadIcv);
        }
        let mut mac = [0; MAC_MAX];
        self.mac.compute(&[aad, iv, data, tail], &mut mac);
        let right = verify_slices_are_equal(&mac[..icv.len()], icv).is_ok();
        // The right value for a forged message must not stay where a later bug could read it.
        mac.zeroize();
        if right && self.crypt.decrypt(iv, data) { Ok(()) } else { Err(CryptoError::BadIcv) }
    }
}

enum Crypt {
    Null,
    AesCbc(AesEncrypt, AesDecrypt),
    /// With the nonce that stands before the IV in the counter block (RFC 3686 §4).
    AesCtr(AesEncrypt, [u8; 4]),
    TripleDes(TripleDes),
}

impl Crypt {
    fn new(encr: Encr, key: &[u8]) -> Option<Self> {
        Some(match encr {
            Encr::NULL => Crypt::Null,
            Encr::AES_CBC => Crypt::AesCbc(AesEncrypt::new(key)?, AesDecrypt::new(key)?),
            Encr::AES_CTR => {
                let (key, nonce) = key.split_last_chunk::<4>()?;
                Crypt::AesCtr(AesEncrypt::new(key)?, *nonce)
            }
            Encr::TRIPLE_DES => Crypt::TripleDes(TripleDes::new(key)?),
            _ => return None,
        })
    }

    /// Encrypts in place; false when a length does not fit.
    fn encrypt(&self, iv: &[u8], data: &mut [u8]) -> bool {
        match self {
            Crypt::Null => iv.is_empty(),
            Crypt::AesCbc(encrypt, _) => iv.try_into().is_ok_and(|iv| encrypt.cbc(iv, data)),
            Crypt::AesCtr(key, nonce) => ctr(key, nonce, iv, data),
            Crypt::TripleDes(key) => iv.try_into().is_ok_and(|iv| key.encrypt(iv, data)),
        }
    }

    /// Decrypts in place; false when a length does not fit.
    fn decrypt(&self, iv: &[u8], data: &mut [u8]) -> bool {
        match self {
            Crypt::Null => iv.is_empty(),
            Crypt::AesCbc(_, decrypt) => iv.try_into().is_ok_and(|iv| decrypt.cbc(iv, data)),
            Crypt::AesCtr(key, nonce) => ctr(key, nonce, iv, data),
            Crypt::TripleDes(key) => iv.try_into().is_ok_and(|iv| key.decrypt(iv, data)),
        }
    }
}

//= rfc3686 §4
// The counter block is nonce, IV, and a block counter that starts at one.
fn ctr(key: &AesEncrypt, nonce: &[u8; 4], iv: &[u8], data: &mut [u8]) -> bool {
    let Ok(iv) = <[u8; 8]>::try_from(iv) else { return false };
    let mut counter = [0; 16];
    counter[..4].copy_from_slice(nonce);
    counter[4..12].copy_from_slice(&iv);
    counter[15] = 1;
    key.ctr(counter, data);
    true
}

enum Mac {
    Hmac(HmacKey),
    Xcbc(Xcbc),
    Cmac(Cmac),
}

impl Mac {
    fn new(integ: Integ, key: &[u8]) -> Option<Self> {
        Some(match integ {
            Integ::HMAC_MD5_96 => Mac::Hmac(HmacKey::new(Hash::Md5, key)),
            Integ::HMAC_SHA1_96 => Mac::Hmac(HmacKey::new(Hash::Sha1, key)),
            Integ::HMAC_SHA2_256_128 => Mac::Hmac(HmacKey::new(Hash::Sha256, key)),
            Integ::HMAC_SHA2_384_192 => Mac::Hmac(HmacKey::new(Hash::Sha384, key)),
            Integ::HMAC_SHA2_512_256 => Mac::Hmac(HmacKey::new(Hash::Sha512, key)),
            Integ::AES_XCBC_96 => Mac::Xcbc(Xcbc::new(key.try_into().ok()?)),
            Integ::AES_CMAC_96 => Mac::Cmac(Cmac::new(key.try_into().ok()?)),
            _ => return None,
        })
    }

    /// Writes the whole MAC of `parts` to the first octets of `out`.
    fn compute(&self, parts: &[&[u8]], out: &mut [u8; MAC_MAX]) {
        match self {
            Mac::Hmac(key) => _ = key.mac(parts, out),
            Mac::Xcbc(key) => out[..16].copy_from_slice(&key.mac(parts)),
            Mac::Cmac(key) => out[..16].copy_from_slice(&key.mac(parts)),
        }
    }
}
