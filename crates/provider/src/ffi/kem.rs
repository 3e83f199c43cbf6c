//! ML-KEM (FIPS 203) from randomness that the caller gives.

use super::pkey::Key;
use aws_lc_sys as sys;
use base::Secret;
use std::ptr::{self, NonNull};

/// A parameter set of FIPS 203 §8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MlKem {
    K512,
    K768,
    K1024,
}

impl MlKem {
    /// Octets of the seed `d | z` from which a key pair is made (FIPS 203 §7.1).
    pub(crate) const SEED: usize = 64;
    /// Octets of the message `m` from which an encapsulation is made (FIPS 203 §7.2).
    pub(crate) const MESSAGE: usize = 32;
    /// Octets of the shared secret.
    const SHARED: usize = 32;

    /// Octets of an encapsulation key (FIPS 203 table 3).
    pub(crate) const fn encapsulation_key_len(self) -> usize {
        match self {
            MlKem::K512 => 800,
            MlKem::K768 => 1184,
            MlKem::K1024 => 1568,
        }
    }

    /// Octets of a ciphertext (FIPS 203 table 3).
    pub(crate) const fn ciphertext_len(self) -> usize {
        match self {
            MlKem::K512 => 768,
            MlKem::K768 => 1088,
            MlKem::K1024 => 1568,
        }
    }

    const fn nid(self) -> i32 {
        match self {
            MlKem::K512 => sys::NID_MLKEM512,
            MlKem::K768 => sys::NID_MLKEM768,
            MlKem::K1024 => sys::NID_MLKEM1024,
        }
    }

    /// ML-KEM.Encaps_internal (FIPS 203 §6.2) to an encapsulation key that passed the checks of §7.2: ciphertext and
    /// shared secret.
    pub(crate) fn encapsulate(self, key: &[u8], message: &[u8; Self::MESSAGE]) -> Option<(Vec<u8>, Secret)> {
        // SAFETY: the key comes with its length; null is handled.
        let key = unsafe { sys::EVP_PKEY_kem_new_raw_public_key(self.nid(), key.as_ptr(), key.len()) };
        let key = NonNull::new(key).map(Key);
        let done = key.and_then(|key| {
            let context = Context::with(&key)?;
            let (mut ciphertext, mut shared) = (vec![0; self.ciphertext_len()], Secret::zeroed(Self::SHARED));
            let (mut cipher_len, mut shared_len) = (ciphertext.len(), Self::SHARED);
            // SAFETY: each buffer comes with its length, which the library compares with its own; the seed's length
            // lies in a variable of its own and is only read.
            let ok = unsafe {
                sys::EVP_PKEY_encapsulate_deterministic(
                    context.0.as_ptr(),
                    ciphertext.as_mut_ptr(),
                    &mut cipher_len,
                    shared.expose_mut().as_mut_ptr(),
                    &mut shared_len,
                    message.as_ptr(),
                    &mut { Self::MESSAGE },
                )
            };
            let whole = (ok, cipher_len, shared_len) == (1, self.ciphertext_len(), Self::SHARED);
            whole.then_some((ciphertext, shared))
        });
        if done.is_none() {
            super::clear_errors();
        }
        done
    }
}

/// A key pair.
pub(crate) struct DecapsulationKey {
    set: MlKem,
    key: Key,
}

impl DecapsulationKey {
    /// ML-KEM.KeyGen_internal (FIPS 203 §6.1) from `d | z`.
    pub(crate) fn from_seed(set: MlKem, seed: &Secret) -> Option<Self> {
        let context = Context::for_set(set)?;
        let (mut key, mut len) = (ptr::null_mut(), seed.expose().len());
        // SAFETY: the seed comes with its length, which the library compares with its own; `key` becomes ours.
        let ok = unsafe {
            sys::EVP_PKEY_keygen_init(context.0.as_ptr()) == 1
                && sys::EVP_PKEY_keygen_deterministic(
                    context.0.as_ptr(),
                    &mut key,
                    seed.expose().as_ptr(),
                    &mut len,
                ) == 1
        };
        let key = NonNull::new(key).map(Key);
        if !ok {
            super::clear_errors();
            return None;
        }
        Some(Self { set, key: key? })
    }

    /// Its encapsulation key.
    pub(crate) fn encapsulation_key(&self) -> Option<Vec<u8>> {
        let mut octets = vec![0; self.set.encapsulation_key_len()];
        let mut len = octets.len();
        // SAFETY: the buffer comes with its length.
        let ok =
            unsafe { sys::EVP_PKEY_get_raw_public_key(self.key.0.as_ptr(), octets.as_mut_ptr(), &mut len) };
        (ok == 1 && len == octets.len()).then_some(octets)
    }

    /// ML-KEM.Decaps (FIPS 203 §7.3). A ciphertext of the right length always gives a secret; of one that was not made
    /// for this key it is a pseudorandom one.
    pub(crate) fn decapsulate(&self, ciphertext: &[u8]) -> Option<Secret> {
        let context = Context::with(&self.key)?;
        let (mut shared, mut len) = (Secret::zeroed(MlKem::SHARED), MlKem::SHARED);
        // SAFETY: both buffers come with their lengths, which the library compares with its own.
        let ok = unsafe {
            sys::EVP_PKEY_decapsulate(
                context.0.as_ptr(),
                shared.expose_mut().as_mut_ptr(),
                &mut len,
                ciphertext.as_ptr(),
                ciphertext.len(),
            )
        };
        if ok != 1 {
            super::clear_errors();
        }
        (ok == 1 && len == MlKem::SHARED).then_some(shared)
    }
}

/// An operation's context on the library's heap.
struct Context(NonNull<sys::EVP_PKEY_CTX>);

impl Context {
    fn with(key: &Key) -> Option<Self> {
        // SAFETY: the key is valid, and the context holds a reference of its own to it.
        NonNull::new(unsafe { sys::EVP_PKEY_CTX_new(key.0.as_ptr(), ptr::null_mut()) }).map(Self)
    }

    /// To make keys of a parameter set.
    fn for_set(set: MlKem) -> Option<Self> {
        // SAFETY: allocates; null is handled.
        let context = unsafe { sys::EVP_PKEY_CTX_new_id(sys::EVP_PKEY_KEM, ptr::null_mut()) };
        let context = NonNull::new(context).map(Self)?;
        // SAFETY: the context is valid.
        (unsafe { sys::EVP_PKEY_CTX_kem_set_params(context.0.as_ptr(), set.nid()) } == 1).then_some(context)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: owned here, freed once.
        unsafe { sys::EVP_PKEY_CTX_free(self.0.as_ptr()) };
    }
}
