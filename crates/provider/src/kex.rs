//! Key exchange methods, transform type 4. Every private value comes from the caller's random source.

mod ml_kem;

use crate::ffi::{self, Curve, ModpGroup, ModpPrime};
use crate::limits::SCALAR_DRAWS;
use base::{Rng, Secret};
use crypto::{CryptoError, KePrivate, KeyExchange};
use std::sync::OnceLock;
use wire::num::KeMethod;
use zeroize::Zeroize;

/// The key exchange method with this transform id.
pub(crate) fn find(id: KeMethod) -> Option<&'static dyn KeyExchange> {
    static METHODS: [Diffie; 15] = [
        Diffie(KeMethod::CURVE25519, Group::X25519),
        Diffie(KeMethod::CURVE448, Group::X448),
        Diffie(KeMethod::ECP_256, Group::Ec(Curve::P256)),
        Diffie(KeMethod::ECP_384, Group::Ec(Curve::P384)),
        Diffie(KeMethod::ECP_521, Group::Ec(Curve::P521)),
        Diffie(KeMethod::BRAINPOOL_256, Group::Ec(Curve::Brainpool256)),
        Diffie(KeMethod::BRAINPOOL_384, Group::Ec(Curve::Brainpool384)),
        Diffie(KeMethod::BRAINPOOL_512, Group::Ec(Curve::Brainpool512)),
        Diffie(KeMethod::MODP_1024, Group::Modp(ModpPrime::P1024)),
        Diffie(KeMethod::MODP_1536, Group::Modp(ModpPrime::P1536)),
        Diffie(KeMethod::MODP_2048, Group::Modp(ModpPrime::P2048)),
        Diffie(KeMethod::MODP_3072, Group::Modp(ModpPrime::P3072)),
        Diffie(KeMethod::MODP_4096, Group::Modp(ModpPrime::P4096)),
        Diffie(KeMethod::MODP_6144, Group::Modp(ModpPrime::P6144)),
        Diffie(KeMethod::MODP_8192, Group::Modp(ModpPrime::P8192)),
    ];
    match METHODS.iter().find(|method| method.0 == id) {
        Some(method) => Some(method),
        None => ml_kem::find(id),
    }
}

/// A Diffie-Hellman group under its transform id.
struct Diffie(KeMethod, Group);

impl KeyExchange for Diffie {
    fn id(&self) -> KeMethod {
        self.0
    }

    fn generate(&self, rng: &mut dyn Rng) -> Result<(Box<dyn KePrivate>, Vec<u8>), CryptoError> {
        let private = self.1.draw(rng)?;
        let public = self.1.public(&private)?;
        Ok((Box::new(Private { group: self.1, private }), public))
    }

    fn respond(&self, rng: &mut dyn Rng, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        if peer.len() != self.1.public_len() {
            return Err(CryptoError::BadPublicValue);
        }
        let private = self.1.draw(rng)?;
        // First the shared secret, which finds a bad value before the other half of the work is done.
        let shared = self.1.shared(&private, peer)?;
        Ok((self.1.public(&private)?, shared))
    }

    fn respond_later(
        &self,
        rng: &mut dyn Rng,
        peer: &[u8],
    ) -> Result<(Vec<u8>, Box<dyn KePrivate>), CryptoError> {
        if peer.len() != self.1.public_len() {
            return Err(CryptoError::BadPublicValue);
        }
        let (private, public) = self.generate(rng)?;
        Ok((public, private))
    }

    fn public_len(&self) -> usize {
        self.1.public_len()
    }
}

/// An initiator's private value.
struct Private {
    group: Group,
    private: Secret,
}

impl KePrivate for Private {
    fn finish(&self, peer: &[u8]) -> Result<Secret, CryptoError> {
        self.group.shared(&self.private, peer)
    }
}

/// The groups, which differ in how a private value is drawn and how a public one is checked.
#[derive(Clone, Copy)]
enum Group {
    /// RFC 2409, RFC 3526.
    Modp(ModpPrime),
    /// RFC 5903, RFC 6954.
    Ec(Curve),
    /// RFC 8031.
    X25519,
    /// RFC 8031.
    X448,
}

impl Group {
    fn public_len(self) -> usize {
        match self {
            Group::Modp(prime) => prime.len(),
            Group::Ec(curve) => 2 * curve.len(),
            Group::X25519 => 32,
            Group::X448 => 56,
        }
    }

    fn draw(self, rng: &mut dyn Rng) -> Result<Secret, CryptoError> {
        let octets = match self {
            Group::Modp(prime) => exponent_len(prime),
            Group::Ec(curve) => return draw_scalar(curve, rng),
            Group::X25519 => 32,
            Group::X448 => 56,
        };
        let mut private = Secret::zeroed(octets);
        rng.fill(private.expose_mut());
        if let (Group::Modp(_), Some(first)) = (self, private.expose_mut().first_mut()) {
            // The exponent has all its bits: neither zero nor guessably short.
            *first |= 0x80;
        }
        Ok(private)
    }

    fn public(self, private: &Secret) -> Result<Vec<u8>, CryptoError> {
        let public = match self {
            Group::Modp(prime) => modp(prime).and_then(|group| group.public(private)),
            Group::Ec(curve) => curve.public(private),
            Group::X25519 => {
                private.expose().as_slice().try_into().ok().map(|key| ffi::x25519_public(key).to_vec())
            }
            Group::X448 => x448(private, &x448::X448_BASEPOINT_BYTES).map(|public| public.expose().clone()),
        };
        public.ok_or(CryptoError::Library)
    }

    /// The shared secret, after the checks of RFC 6989 §2 and RFC 8031 §2 on the peer's value.
    fn shared(self, private: &Secret, peer: &[u8]) -> Result<Secret, CryptoError> {
        match self {
            //= rfc6989 §2.1
            Group::Modp(prime) => {
                let group = modp(prime).ok_or(CryptoError::Library)?;
                if !group.is_valid_public(peer) {
                    return Err(CryptoError::BadPublicValue);
                }
                group.shared(private, peer).ok_or(CryptoError::Library)
            }
            Group::Ec(curve) => curve.shared(private, peer).ok_or(CryptoError::BadPublicValue),
            //= rfc8031 §2
            // An all-zero result means a value of small order and ends the exchange.
            Group::X25519 => match (private.expose().as_slice().try_into(), peer.try_into()) {
                (Ok(private), Ok(peer)) => ffi::x25519_shared(private, peer),
                _ => None,
            }
            .ok_or(CryptoError::BadPublicValue),
            Group::X448 => {
                let peer = peer.try_into().map_err(|_| CryptoError::BadPublicValue)?;
                x448(private, peer).ok_or(CryptoError::BadPublicValue)
            }
        }
    }
}

/// Octets of a private exponent: twice the group's strength by the larger estimate of RFC 3526 §8,
/// in whole octets. Longer ones are no stronger and cost six to twelve times as much. The table
/// begins at 1536 bits, whose length serves for 1024 as well.
const fn exponent_len(prime: ModpPrime) -> usize {
    match prime {
        ModpPrime::P1024 | ModpPrime::P1536 => 30,
        ModpPrime::P2048 => 40,
        ModpPrime::P3072 => 53,
        ModpPrime::P4096 => 60,
        ModpPrime::P6144 => 68,
        ModpPrime::P8192 => 78,
    }
}

/// The prepared prime, made at its first use and then shared: it never changes.
fn modp(prime: ModpPrime) -> Option<&'static ModpGroup> {
    static GROUPS: [OnceLock<Option<ModpGroup>>; 7] = [const { OnceLock::new() }; 7];
    GROUPS.get(prime as usize)?.get_or_init(|| ModpGroup::new(prime)).as_ref()
}

/// A uniformly random number from 1 to the order minus 1, by rejection (FIPS 186-5 §A.2.2).
fn draw_scalar(curve: Curve, rng: &mut dyn Rng) -> Result<Secret, CryptoError> {
    let mut private = Secret::zeroed(curve.len());
    for _ in 0..SCALAR_DRAWS {
        rng.fill(private.expose_mut());
        if let Some(first) = private.expose_mut().first_mut() {
            *first &= curve.first_octet_mask();
        }
        if curve.is_valid_private(&private) {
            return Ok(private);
        }
    }
    Err(CryptoError::Library)
}

/// X448 (RFC 7748 §5); `None` for a value of small order.
fn x448(private: &Secret, peer: &[u8; 56]) -> Option<Secret> {
    let mut scalar = <[u8; 56]>::try_from(private.expose().as_slice()).ok()?;
    let mut shared = x448::x448(scalar, *peer).unwrap_or([0; 56]);
    let out = Secret::from(&shared[..]);
    scalar.zeroize();
    shared.zeroize();
    (out != Secret::zeroed(56)).then_some(out)
}

#[cfg(test)]
mod tests;
