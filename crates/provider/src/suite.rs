//! `Provider`: the table of all algorithms, less those that were taken out.

use crate::{cipher, kex, prf, sign};
use aws_lc_rs::digest;
use crypto::{
    Cipher, CipherSpec, CryptoError, KeyExchange, PrfFunction, SignatureScheme, Suite, VerifyError,
};
use wire::num::{Encr, Integ, KeMethod, Prf};

/// One algorithm, to be taken out of a [`Provider`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// A key exchange method.
    KeyExchange(KeMethod),
    /// An encryption, with all its key lengths.
    Encryption(Encr),
    /// An integrity algorithm.
    Integrity(Integ),
    /// A pseudorandom function.
    Prf(Prf),
    /// A way to sign, for verifying; what a private key may do is its holder's matter.
    Signature(SignatureScheme),
}

macro_rules! algorithm_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Algorithm {
            fn from(value: $type) -> Self {
                Algorithm::$variant(value)
            }
        }
    )*};
}
algorithm_from!(KeMethod => KeyExchange, Encr => Encryption, Integ => Integrity, Prf => Prf, SignatureScheme => Signature);

/// The algorithms that one endpoint may use. Which of them it does use is its policy's choice: the
/// legacy ones (MODP 1024 and 1536, 3DES, MD5) are here as well.
#[derive(Clone, Default, Debug)]
pub struct Provider {
    without: Vec<Algorithm>,
}

impl Provider {
    /// Everything there is.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same without `algorithm`, for an endpoint that must not have it.
    #[must_use]
    pub fn without(mut self, algorithm: impl Into<Algorithm>) -> Self {
        self.without.push(algorithm.into());
        self
    }

    fn has(&self, algorithm: impl Into<Algorithm>) -> bool {
        !self.without.contains(&algorithm.into())
    }
}

impl Suite for Provider {
    fn key_exchange(&self, id: KeMethod) -> Option<&dyn KeyExchange> {
        kex::find(id).filter(|_| self.has(id))
    }

    fn prf(&self, id: Prf) -> Option<&dyn PrfFunction> {
        prf::find(id).filter(|_| self.has(id))
    }

    fn cipher_spec(&self, encr: Encr, key_bits: u16, integ: Integ) -> Option<CipherSpec> {
        cipher::spec(encr, key_bits, integ).filter(|_| self.has(encr) && self.has(integ))
    }

    fn cipher(
        &self,
        encr: Encr,
        key_bits: u16,
        integ: Integ,
        encr_key: &[u8],
        integ_key: &[u8],
    ) -> Result<Box<dyn Cipher>, CryptoError> {
        let spec = self.cipher_spec(encr, key_bits, integ).ok_or(CryptoError::Unsupported)?;
        if encr_key.len() != spec.encr_key_len || integ_key.len() != spec.integ_key_len {
            return Err(CryptoError::BadKeyLength);
        }
        cipher::keyed(encr, integ, spec, encr_key, integ_key).ok_or(CryptoError::Library)
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        parts.iter().for_each(|part| context.update(part));
        let mut hash = [0; 20];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    fn verifies(&self, scheme: SignatureScheme) -> bool {
        self.has(scheme)
    }

    fn verify(
        &self,
        spki: &[u8],
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        if !self.has(scheme) {
            return Err(VerifyError::Unsupported);
        }
        sign::verify(spki, scheme, message, signature)
    }
}
