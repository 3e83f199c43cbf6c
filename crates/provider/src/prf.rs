//! Pseudorandom functions, transform type 2.

use crate::ffi::{Cmac, Hash, HmacKey, MAC_MAX};
use crate::xcbc::Xcbc;
use base::Secret;
use crypto::PrfFunction;
use wire::num::Prf;
use zeroize::Zeroize;

/// The PRF with this transform id.
pub(crate) fn find(id: Prf) -> Option<&'static dyn PrfFunction> {
    Some(match id {
        Prf::HMAC_MD5 => &HmacPrf(Prf::HMAC_MD5, Hash::Md5),
        Prf::HMAC_SHA1 => &HmacPrf(Prf::HMAC_SHA1, Hash::Sha1),
        Prf::HMAC_SHA2_256 => &HmacPrf(Prf::HMAC_SHA2_256, Hash::Sha256),
        Prf::HMAC_SHA2_384 => &HmacPrf(Prf::HMAC_SHA2_384, Hash::Sha384),
        Prf::HMAC_SHA2_512 => &HmacPrf(Prf::HMAC_SHA2_512, Hash::Sha512),
        Prf::AES128_XCBC => &XcbcPrf,
        Prf::AES128_CMAC => &CmacPrf,
        _ => return None,
    })
}

/// HMAC with the whole output (RFC 2104, RFC 4868 §2.4).
struct HmacPrf(Prf, Hash);

impl PrfFunction for HmacPrf {
    fn id(&self) -> Prf {
        self.0
    }

    fn len(&self) -> usize {
        self.1.len()
    }

    fn fixed_key_len(&self) -> Option<usize> {
        None
    }

    fn compute(&self, key: &[u8], parts: &[&[u8]]) -> Secret {
        let mut mac = [0; MAC_MAX];
        let len = HmacKey::once(self.1, key, parts, &mut mac);
        let out = Secret::from(&mac[..len]);
        mac.zeroize();
        out
    }
}

/// AES-XCBC-PRF-128 (RFC 4434).
struct XcbcPrf;

impl PrfFunction for XcbcPrf {
    fn id(&self) -> Prf {
        Prf::AES128_XCBC
    }

    fn len(&self) -> usize {
        16
    }

    fn fixed_key_len(&self) -> Option<usize> {
        Some(16)
    }

    fn compute(&self, key: &[u8], parts: &[&[u8]]) -> Secret {
        //= rfc4434 §2
        // A shorter key is padded with zeros, a longer one becomes its own AES-XCBC under a key of zeros.
        let mut key_16 = [0; 16];
        match key_16.get_mut(..key.len()) {
            Some(start) => start.copy_from_slice(key),
            None => key_16 = Xcbc::new(&[0; 16]).mac(&[key]),
        }
        wiped(key_16, |key| Xcbc::new(key).mac(parts))
    }
}

/// AES-CMAC-PRF-128 (RFC 4615).
struct CmacPrf;

impl PrfFunction for CmacPrf {
    fn id(&self) -> Prf {
        Prf::AES128_CMAC
    }

    fn len(&self) -> usize {
        16
    }

    fn fixed_key_len(&self) -> Option<usize> {
        Some(16)
    }

    fn compute(&self, key: &[u8], parts: &[&[u8]]) -> Secret {
        //= rfc4615 §3
        // A key of any other length becomes its own AES-CMAC under a key of zeros.
        let key_16 = <[u8; 16]>::try_from(key).unwrap_or_else(|_| Cmac::new(&[0; 16]).mac(&[key]));
        wiped(key_16, |key| Cmac::new(key).mac(parts))
    }
}

/// `mac` under `key`, with the copies of both wiped.
fn wiped(mut key: [u8; 16], mac: impl FnOnce(&[u8; 16]) -> [u8; 16]) -> Secret {
    let mut value = mac(&key);
    let out = Secret::from(&value[..]);
    key.zeroize();
    value.zeroize();
    out
}
