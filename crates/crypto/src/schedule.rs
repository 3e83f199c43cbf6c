//! The key schedules of IKEv2 as pure functions (RFC 7296 §2.13 to §2.18).

use crate::limits::{FIXED_KEY_NONCE_PART, PRF_PLUS_ITERATIONS};
use crate::{CipherSpec, CryptoError, PrfFunction, Suite};
use base::{IkeSpi, Secret};
use std::net::IpAddr;

/// Both nonces' data, in the order of the exchange that the keys come from: for a rekeying that is
/// the one who asked for it, not the first initiator of the IKE SA.
#[derive(Clone, Copy, Debug)]
pub struct Nonces<'a> {
    /// Ni.
    pub initiator: &'a [u8],
    /// Nr.
    pub responder: &'a [u8],
}

/// Both SPIs of the IKE SA that the keys are for.
#[derive(Clone, Copy, Debug)]
pub struct Spis {
    /// SPIi.
    pub initiator: IkeSpi,
    /// SPIr.
    pub responder: IkeSpi,
}

/// The shared secrets of the key exchanges that one SA is made of: of the first, and of the additional ones in their order
/// (RFC 9370 §2.2.4).
#[derive(Clone, Debug)]
pub struct SharedSecrets {
    /// SK(0), which RFC 7296 calls g^ir.
    pub first: Secret,
    /// SK(1) | … | SK(n); empty without additional key exchanges.
    pub additional: Secret,
}

impl SharedSecrets {
    /// Adds that of the next key exchange.
    pub fn push(&mut self, next: &Secret) {
        self.additional = Secret::new([self.additional.expose().as_slice(), next.expose()].concat());
    }
}

impl From<Secret> for SharedSecrets {
    fn from(first: Secret) -> Self {
        Self { first, additional: Secret::zeroed(0) }
    }
}

/// The keys of an IKE SA, with the names of RFC 7296 §2.14.
#[derive(Clone, Debug)]
pub struct IkeKeys {
    /// SK_d: from it come the keys of children and of the next IKE SA.
    pub d: Secret,
    /// SK_ai: integrity, initiator to responder; empty for a combined mode.
    pub ai: Secret,
    /// SK_ar: integrity, responder to initiator; empty for a combined mode.
    pub ar: Secret,
    /// SK_ei: encryption, initiator to responder, salt included.
    pub ei: Secret,
    /// SK_er: encryption, responder to initiator, salt included.
    pub er: Secret,
    /// SK_pi: goes into the initiator's AUTH payload.
    pub pi: Secret,
    /// SK_pr: goes into the responder's AUTH payload.
    pub pr: Secret,
}

/// The keys of one direction of a child SA.
#[derive(Clone, Debug)]
pub struct DirectionKeys {
    /// Encryption, salt included.
    pub encr: Secret,
    /// Integrity; empty for a combined mode.
    pub integ: Secret,
}

/// The keys of a child SA; "initiator" is who initiated the exchange that made it.
#[derive(Clone, Debug)]
pub struct ChildKeys {
    /// Protects what the initiator sends.
    pub initiator: DirectionKeys,
    /// Protects what the responder sends.
    pub responder: DirectionKeys,
}

/// `prf+(key, seed[0] | seed[1] | …)`, the first `len` octets.
///
/// # Errors
/// [`CryptoError::TooMuchKeyMaterial`] when `len` takes more than 255 iterations.
pub fn prf_plus(
    prf: &dyn PrfFunction,
    key: &[u8],
    seed: &[&[u8]],
    len: usize,
) -> Result<Secret, CryptoError> {
    //= rfc7296 §2.13
    // "prf+ function is not defined beyond 255 times the size of the prf function output."
    if len > prf.len() * PRF_PLUS_ITERATIONS {
        return Err(CryptoError::TooMuchKeyMaterial);
    }
    let mut out = Secret::zeroed(len);
    let mut last = Secret::zeroed(0);
    for (chunk, counter) in out.expose_mut().chunks_mut(prf.len()).zip(1..=u8::MAX) {
        let counter = [counter];
        let mut parts: Vec<&[u8]> = Vec::with_capacity(seed.len() + 2);
        parts.push(last.expose());
        parts.extend_from_slice(seed);
        parts.push(&counter);
        let block = prf.compute(key, &parts);
        chunk.copy_from_slice(&block.expose()[..chunk.len()]);
        last = block;
    }
    Ok(out)
}

/// SKEYSEED of a first IKE SA: `prf(Ni | Nr, g^ir)` (RFC 7296 §2.14).
pub fn skeyseed(prf: &dyn PrfFunction, nonces: Nonces<'_>, g_ir: &[u8]) -> Secret {
    //= rfc7296 §2.14
    // "only the first 64 bits of Ni and the first 64 bits of Nr are used in calculating SKEYSEED"
    let part = match prf.fixed_key_len() {
        Some(_) => FIXED_KEY_NONCE_PART,
        None => usize::MAX,
    };
    let first = |nonce: &'_ [u8]| nonce[..nonce.len().min(part)].to_vec();
    let key = Secret::new([first(nonces.initiator), first(nonces.responder)].concat());
    prf.compute(key.expose(), &[g_ir])
}

/// SKEYSEED of an IKE SA that replaces another: `prf(SK_d (old), g^ir (new) | Ni | Nr)`
/// (RFC 7296 §2.18), with `| SK(1) | … | SK(n)` where there are additional key exchanges (RFC 9370 §2.2.4). `old_prf` is the
/// PRF of the old IKE SA.
pub fn skeyseed_rekeyed(
    old_prf: &dyn PrfFunction,
    old_sk_d: &Secret,
    nonces: Nonces<'_>,
    shared: &SharedSecrets,
) -> Secret {
    //= rfc7296 §2.18
    //= rfc9370 §2.2.4
    //# SKEYSEED = prf(SK_d, SK(0) | Ni | Nr | SK(1) | ... SK(n))
    let SharedSecrets { first, additional } = shared;
    let parts: [&[u8]; 4] = [first.expose(), nonces.initiator, nonces.responder, additional.expose()];
    old_prf.compute(old_sk_d.expose(), &parts)
}

/// SKEYSEED after an additional key exchange in IKE_INTERMEDIATE: `prf(SK_d(n-1), SK(n) | Ni | Nr)` (RFC 9370 §2.2.2), with
/// the nonces of IKE_SA_INIT.
pub fn skeyseed_mixed(prf: &dyn PrfFunction, sk_d: &Secret, nonces: Nonces<'_>, shared: &Secret) -> Secret {
    //= rfc9370 §2.2.2
    //# SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr)
    prf.compute(sk_d.expose(), &[shared.expose(), nonces.initiator, nonces.responder])
}

/// SKEYSEED of an IKE SA that resumes another: `prf(SK_d (old), "Resumption" | Ni | Nr)` (RFC 5723 §5.1).
/// `prf` is that of the old IKE SA.
pub fn skeyseed_resumed(prf: &dyn PrfFunction, old_sk_d: &Secret, nonces: Nonces<'_>) -> Secret {
    //= rfc5723 §5.1
    //# SKEYSEED = prf(SK_d_old, "Resumption" | Ni | Nr) […]. The literal string is encoded as 10 ASCII characters, with no
    //# NULL terminator.
    prf.compute(old_sk_d.expose(), &[b"Resumption", nonces.initiator, nonces.responder])
}

/// The seven keys of an IKE SA from its SKEYSEED (RFC 7296 §2.14). `prf` and `shape` are the new
/// IKE SA's own, also when it replaces another one.
///
/// # Errors
/// [`CryptoError::TooMuchKeyMaterial`] when `shape` asks for more than prf+ can give.
pub fn ike_keys(
    prf: &dyn PrfFunction,
    skeyseed: &Secret,
    nonces: Nonces<'_>,
    spis: Spis,
    shape: CipherSpec,
) -> Result<IkeKeys, CryptoError> {
    //= rfc7296 §2.14
    let (spi_i, spi_r) = (spis.initiator.0.to_be_bytes(), spis.responder.0.to_be_bytes());
    let seed: [&[u8]; 4] = [nonces.initiator, nonces.responder, &spi_i, &spi_r];
    let p = prf.len();
    let (a, e) = (shape.integ_key_len, shape.encr_key_len);
    let material = prf_plus(prf, skeyseed.expose(), &seed, 3 * p + 2 * (a + e))?;
    let [d, ai, ar, ei, er, pi, pr] = split(&material, [p, a, a, e, e, p, p]);
    Ok(IkeKeys { d, ai, ar, ei, er, pi, pr })
}

/// The keys of a child SA from SK_d (RFC 7296 §2.17, RFC 9370 §2.2.4). `shared` are the shared secrets of the child's
/// own key exchanges, if it had any.
///
/// # Errors
/// [`CryptoError::TooMuchKeyMaterial`] when `shape` asks for more than prf+ can give.
pub fn child_keys(
    prf: &dyn PrfFunction,
    sk_d: &Secret,
    shared: Option<&SharedSecrets>,
    nonces: Nonces<'_>,
    shape: CipherSpec,
) -> Result<ChildKeys, CryptoError> {
    //= rfc7296 §2.17
    //= rfc9370 §2.2.4
    //# KEYMAT = prf+ (SK_d, SK(0) | Ni | Nr | SK(1) |  ... SK(n))
    let (first, additional): (&[u8], &[u8]) =
        shared.map_or((&[], &[]), |shared| (shared.first.expose(), shared.additional.expose()));
    let seed = [first, nonces.initiator, nonces.responder, additional];
    let (a, e) = (shape.integ_key_len, shape.encr_key_len);
    let material = prf_plus(prf, sk_d.expose(), &seed, 2 * (a + e))?;
    //= rfc7296 §2.17
    // "All keys for SAs carrying data from the initiator to the responder are taken before SAs going
    // from the responder to the initiator"; "the encryption key MUST be taken from the first bits"
    let [ei, ai, er, ar] = split(&material, [e, a, e, a]);
    Ok(ChildKeys {
        initiator: DirectionKeys { encr: ei, integ: ai },
        responder: DirectionKeys { encr: er, integ: ar },
    })
}

/// The AUTH value of a shared secret: `prf(prf(secret, "Key Pad for IKEv2"), octets)`
/// (RFC 7296 §2.15); `octets` are the `<InitiatorSignedOctets>` or `<ResponderSignedOctets>` in parts.
pub fn psk_auth(prf: &dyn PrfFunction, secret: &[u8], octets: &[&[u8]]) -> Secret {
    //= rfc7296 §2.15
    prf.compute(psk_pad(prf, secret).expose(), octets)
}

/// `prf(secret, "Key Pad for IKEv2")`: what a store may keep in place of the shared secret itself
/// when it serves one PRF only (RFC 7296 §2.15).
pub fn psk_pad(prf: &dyn PrfFunction, secret: &[u8]) -> Secret {
    prf.compute(secret, &[b"Key Pad for IKEv2"])
}

/// The data of NAT_DETECTION_SOURCE_IP or NAT_DETECTION_DESTINATION_IP:
/// `SHA-1(SPIi | SPIr | address | port)` (RFC 7296 §2.23).
pub fn nat_detection(suite: &dyn Suite, spis: Spis, address: IpAddr, port: u16) -> [u8; 20] {
    //= rfc7296 §2.23
    let (spi_i, spi_r) = (spis.initiator.0.to_be_bytes(), spis.responder.0.to_be_bytes());
    let port = port.to_be_bytes();
    match address {
        IpAddr::V4(v4) => suite.sha1(&[&spi_i, &spi_r, &v4.octets(), &port]),
        IpAddr::V6(v6) => suite.sha1(&[&spi_i, &spi_r, &v6.octets(), &port]),
    }
}

/// Cuts `material` into consecutive secrets of these lengths, which must sum to its own.
fn split<const N: usize>(material: &Secret, lens: [usize; N]) -> [Secret; N] {
    let mut rest = material.expose().as_slice();
    lens.map(|len| {
        let (part, tail) = rest.split_at(len);
        rest = tail;
        Secret::from(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IvKind;
    use wire::num::Prf;

    /// A transparent PRF of two octets: the sum of key and data, and the data's length.
    struct Toy;

    impl PrfFunction for Toy {
        fn id(&self) -> Prf {
            Prf(0)
        }
        fn len(&self) -> usize {
            2
        }
        fn fixed_key_len(&self) -> Option<usize> {
            None
        }
        fn compute(&self, key: &[u8], parts: &[&[u8]]) -> Secret {
            let data = parts.concat();
            let sum = key.iter().chain(&data).fold(0u8, |sum, octet| sum.wrapping_add(*octet));
            Secret::new(vec![sum, data.len() as u8])
        }
    }

    //= rfc7296 §2.13
    #[test]
    fn prf_plus_chains_its_blocks_and_counts_from_one() {
        // T1 = prf(K, S | 1), T2 = prf(K, T1 | S | 2), T3 = prf(K, T2 | S | 3)
        let out = prf_plus(&Toy, &[10], &[&[5], &[7]], 5).unwrap();
        assert_eq!(out.expose(), &[23, 3, 50, 5, 80]);
    }

    //= rfc7296 §2.13
    #[test]
    fn prf_plus_ends_after_255_iterations() {
        let all = 2 * PRF_PLUS_ITERATIONS;
        assert_eq!(prf_plus(&Toy, &[1], &[&[1]], all).unwrap().expose().len(), all);
        assert_eq!(prf_plus(&Toy, &[1], &[&[1]], all + 1), Err(CryptoError::TooMuchKeyMaterial));
    }

    //= rfc7296 §2.17
    #[test]
    fn a_child_takes_encryption_before_integrity_and_the_initiator_first() {
        let shape = CipherSpec {
            encr_key_len: 3,
            integ_key_len: 2,
            iv_len: 0,
            icv_len: 0,
            block: 1,
            iv_kind: IvKind::None,
        };
        let nonces = Nonces { initiator: &[1], responder: &[2] };
        let sk_d = Secret::from(&[9][..]);
        let keys = child_keys(&Toy, &sk_d, None, nonces, shape).unwrap();
        let all = prf_plus(&Toy, &[9], &[&[1], &[2]], 10).unwrap();
        let got = [keys.initiator.encr, keys.initiator.integ, keys.responder.encr, keys.responder.integ];
        assert_eq!(got.each_ref().map(|key| key.expose().len()), [3, 2, 3, 2]);
        assert_eq!(got.map(|key| key.expose().clone()).concat(), *all.expose());
    }
}
