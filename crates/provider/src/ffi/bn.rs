//! Big numbers, and exponentiation modulo the primes of RFC 2409 and RFC 3526.

use aws_lc_sys as sys;
use base::Secret;
use std::ptr::{self, NonNull};

/// A big number, zeroed when it is freed.
pub(super) struct Bn(NonNull<sys::BIGNUM>);

impl Bn {
    /// From big-endian octets.
    pub(super) fn from_octets(octets: &[u8]) -> Option<Self> {
        // SAFETY: octets come with their length; a null result is a fresh allocation.
        NonNull::new(unsafe { sys::BN_bin2bn(octets.as_ptr(), octets.len(), ptr::null_mut()) }).map(Self)
    }

    /// Zero.
    pub(super) fn new() -> Option<Self> {
        // SAFETY: allocates; null is handled.
        NonNull::new(unsafe { sys::BN_new() }).map(Self)
    }

    /// Big-endian octets, padded to fill `out`; false when it does not fit.
    pub(super) fn write(&self, out: &mut [u8]) -> bool {
        // SAFETY: writes just `out`'s length.
        unsafe { sys::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), self.as_ptr()) == 1 }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::BIGNUM {
        self.0.as_ptr()
    }
}

impl Drop for Bn {
    fn drop(&mut self) {
        // SAFETY: owned here, freed once.
        unsafe { sys::BN_clear_free(self.as_ptr()) };
    }
}

/// Scratch space of big number functions.
pub(super) struct Scratch(NonNull<sys::BN_CTX>);

impl Scratch {
    pub(super) fn new() -> Option<Self> {
        // SAFETY: allocates; null is handled.
        NonNull::new(unsafe { sys::BN_CTX_new() }).map(Self)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::BN_CTX {
        self.0.as_ptr()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: owned here, freed once; freeing zeroes what was used.
        unsafe { sys::BN_CTX_free(self.as_ptr()) };
    }
}

/// A prime of a MODP group; each is safe ((p-1)/2 is prime as well), and 2 generates the subgroup of that order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ModpPrime {
    /// RFC 2409 §6.2, "Second Oakley Group".
    P1024,
    /// RFC 3526 §2 to §7.
    P1536,
    P2048,
    P3072,
    P4096,
    P6144,
    P8192,
}

/// 2^1024 - 2^960 - 1 + 2^64 * { [2^894 pi] + 129093 }
const OAKLEY_2: [u8; 128] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x0f, 0xda, 0xa2, 0x21, 0x68, 0xc2, 0x34, 0xc4,
    0xc6, 0x62, 0x8b, 0x80, 0xdc, 0x1c, 0xd1, 0x29, 0x02, 0x4e, 0x08, 0x8a, 0x67, 0xcc, 0x74, 0x02, 0x0b,
    0xbe, 0xa6, 0x3b, 0x13, 0x9b, 0x22, 0x51, 0x4a, 0x08, 0x79, 0x8e, 0x34, 0x04, 0xdd, 0xef, 0x95, 0x19,
    0xb3, 0xcd, 0x3a, 0x43, 0x1b, 0x30, 0x2b, 0x0a, 0x6d, 0xf2, 0x5f, 0x14, 0x37, 0x4f, 0xe1, 0x35, 0x6d,
    0x6d, 0x51, 0xc2, 0x45, 0xe4, 0x85, 0xb5, 0x76, 0x62, 0x5e, 0x7e, 0xc6, 0xf4, 0x4c, 0x42, 0xe9, 0xa6,
    0x37, 0xed, 0x6b, 0x0b, 0xff, 0x5c, 0xb6, 0xf4, 0x06, 0xb7, 0xed, 0xee, 0x38, 0x6b, 0xfb, 0x5a, 0x89,
    0x9f, 0xa5, 0xae, 0x9f, 0x24, 0x11, 0x7c, 0x4b, 0x1f, 0xe6, 0x49, 0x28, 0x66, 0x51, 0xec, 0xe6, 0x53,
    0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
];

impl ModpPrime {
    /// Octets of the prime, which are also those of a public value (RFC 7296 §3.4).
    pub(crate) const fn len(self) -> usize {
        match self {
            ModpPrime::P1024 => 128,
            ModpPrime::P1536 => 192,
            ModpPrime::P2048 => 256,
            ModpPrime::P3072 => 384,
            ModpPrime::P4096 => 512,
            ModpPrime::P6144 => 768,
            ModpPrime::P8192 => 1024,
        }
    }

    fn number(self) -> Option<Bn> {
        type Prime = unsafe extern "C" fn(*mut sys::BIGNUM) -> *mut sys::BIGNUM;
        let prime: Prime = match self {
            ModpPrime::P1024 => return Bn::from_octets(&OAKLEY_2),
            ModpPrime::P1536 => sys::BN_get_rfc3526_prime_1536,
            ModpPrime::P2048 => sys::BN_get_rfc3526_prime_2048,
            ModpPrime::P3072 => sys::BN_get_rfc3526_prime_3072,
            ModpPrime::P4096 => sys::BN_get_rfc3526_prime_4096,
            ModpPrime::P6144 => sys::BN_get_rfc3526_prime_6144,
            ModpPrime::P8192 => sys::BN_get_rfc3526_prime_8192,
        };
        // SAFETY: null asks for a fresh number, which is owned here.
        NonNull::new(unsafe { prime(ptr::null_mut()) }).map(Bn)
    }
}

/// A prime, prepared for exponentiation.
pub(crate) struct ModpGroup {
    prime: ModpPrime,
    p: Bn,
    p_minus_1: Bn,
    montgomery: NonNull<sys::BN_MONT_CTX>,
}

// SAFETY: nothing in it changes after `new`; AWS-LC takes all of it as const.
unsafe impl Send for ModpGroup {}
// SAFETY: as above.
unsafe impl Sync for ModpGroup {}

impl ModpGroup {
    /// `None` only when there is no memory.
    pub(crate) fn new(prime: ModpPrime) -> Option<Self> {
        let (p, p_minus_1, scratch) = (prime.number()?, prime.number()?, Scratch::new()?);
        // SAFETY: `p_minus_1` is this function's own number.
        if unsafe { sys::BN_sub_word(p_minus_1.as_ptr(), 1) } != 1 {
            return None;
        }
        // SAFETY: an odd modulus; the result is owned here.
        let montgomery = unsafe { sys::BN_MONT_CTX_new_for_modulus(p.as_ptr(), scratch.as_ptr()) };
        Some(Self { prime, p, p_minus_1, montgomery: NonNull::new(montgomery)? })
    }

    /// 2^exponent mod p: the public value.
    pub(crate) fn public(&self, exponent: &Secret) -> Option<Vec<u8>> {
        let mut public = Secret::zeroed(self.prime.len());
        self.power(&Bn::from_octets(&[2])?, exponent, public.expose_mut())?;
        Some(public.expose().clone())
    }

    /// Whether `1 < value < p - 1`, all that RFC 6989 §2.1 asks for where the prime is safe.
    pub(crate) fn is_valid_public(&self, value: &[u8]) -> bool {
        if value.len() != self.prime.len() {
            return false;
        }
        let Some(value) = Bn::from_octets(value) else { return false };
        // SAFETY: compares numbers that are owned here.
        unsafe {
            sys::BN_cmp_word(value.as_ptr(), 1) > 0
                && sys::BN_cmp(value.as_ptr(), self.p_minus_1.as_ptr()) < 0
        }
    }

    /// peer^exponent mod p, padded to the prime's length (RFC 7296 §2.14). `peer` has been found valid.
    pub(crate) fn shared(&self, exponent: &Secret, peer: &[u8]) -> Option<Secret> {
        let mut shared = Secret::zeroed(self.prime.len());
        self.power(&Bn::from_octets(peer)?, exponent, shared.expose_mut())?;
        Some(shared)
    }

    fn power(&self, of: &Bn, exponent: &Secret, out: &mut [u8]) -> Option<()> {
        let (result, scratch) = (Bn::new()?, Scratch::new()?);
        let exponent = Bn::from_octets(exponent.expose())?;
        // SAFETY: all numbers are valid; `of` is below the modulus; `montgomery` is for this modulus.
        let ok = unsafe {
            sys::BN_mod_exp_mont_consttime(
                result.as_ptr(),
                of.as_ptr(),
                exponent.as_ptr(),
                self.p.as_ptr(),
                scratch.as_ptr(),
                self.montgomery.as_ptr(),
            )
        };
        (ok == 1 && result.write(out)).then_some(())
    }
}

impl Drop for ModpGroup {
    fn drop(&mut self) {
        // SAFETY: made by BN_MONT_CTX_new_for_modulus, freed once.
        unsafe { sys::BN_MONT_CTX_free(self.montgomery.as_ptr()) };
    }
}
