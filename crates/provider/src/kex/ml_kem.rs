//! ML-KEM as a key exchange method (draft-ietf-ipsecme-ikev2-mlkem): the initiator sends an encapsulation key, the
//! responder the ciphertext. What FIPS 203 §7 wants checked is checked here before any work.

use crate::ffi::{DecapsulationKey, MlKem};
use base::{Rng, Secret};
use crypto::{CryptoError, KePrivate, KeyExchange};
use wire::num::KeMethod;
use zeroize::Zeroizing;

/// The method with this transform id.
pub(super) fn find(id: KeMethod) -> Option<&'static dyn KeyExchange> {
    static METHODS: [Kem; 3] = [
        Kem(KeMethod::ML_KEM_512, MlKem::K512),
        Kem(KeMethod::ML_KEM_768, MlKem::K768),
        Kem(KeMethod::ML_KEM_1024, MlKem::K1024),
    ];
    let method = METHODS.iter().find(|method| method.0 == id)?;
    Some(method)
}

/// A parameter set under its transform id.
struct Kem(KeMethod, MlKem);

impl KeyExchange for Kem {
    fn id(&self) -> KeMethod {
        self.0
    }

    fn generate(&self, rng: &mut dyn Rng) -> Result<(Box<dyn KePrivate>, Vec<u8>), CryptoError> {
        let mut seed = Secret::zeroed(MlKem::SEED);
        rng.fill(seed.expose_mut());
        let key = DecapsulationKey::from_seed(self.1, &seed).ok_or(CryptoError::Library)?;
        let public = key.encapsulation_key().ok_or(CryptoError::Library)?;
        Ok((Box::new(Private { set: self.1, key }), public))
    }

    fn respond(&self, rng: &mut dyn Rng, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        if peer.len() != self.1.encapsulation_key_len() {
            return Err(CryptoError::EncapsulationKeyLength);
        }
        if !is_reduced(peer) {
            return Err(CryptoError::EncapsulationKeyModulus);
        }
        let mut message = Zeroizing::new([0; MlKem::MESSAGE]);
        rng.fill(&mut *message);
        self.1.encapsulate(peer, &message).ok_or(CryptoError::Library)
    }

    fn public_len(&self) -> usize {
        self.1.encapsulation_key_len()
    }

    fn answer_len(&self) -> usize {
        self.1.ciphertext_len()
    }
}

/// An initiator's key pair.
struct Private {
    set: MlKem,
    key: DecapsulationKey,
}

impl KePrivate for Private {
    fn finish(&self, peer: &[u8]) -> Result<Secret, CryptoError> {
        if peer.len() != self.set.ciphertext_len() {
            return Err(CryptoError::CiphertextLength);
        }
        self.key.decapsulate(peer).ok_or(CryptoError::Library)
    }
}

/// The modulus check of FIPS 203 §7.2: every coefficient, of 12 bits each before the seed ρ, is below q.
fn is_reduced(key: &[u8]) -> bool {
    const Q: u16 = 3329;
    const RHO: usize = 32;
    let Some((coefficients, _)) = key.split_last_chunk::<RHO>() else { return false };
    let (triples, rest) = coefficients.as_chunks::<3>();
    rest.is_empty()
        && triples.iter().all(|[a, b, c]| {
            let low = u16::from(*a) | u16::from(*b & 0x0f) << 8;
            let high = u16::from(*b >> 4) | u16::from(*c) << 4;
            low < Q && high < Q
        })
}

#[cfg(test)]
mod tests;
