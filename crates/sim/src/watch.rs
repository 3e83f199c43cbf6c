//! A `Suite` that does what another one does and tells the ledger of every key.

use crate::ledger::Ledger;
use base::{Rng, Secret};
use crypto::{
    Cipher, CipherSpec, CryptoError, KePrivate, KeyExchange, PrfFunction, SignatureScheme, Suite, VerifyError,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wire::num::{Encr, Integ, KeMethod, Prf};

/// The ledger as all parts of a world hold it.
pub(crate) type Shared = Arc<Mutex<Ledger>>;

/// The ledger itself. A panic elsewhere does not matter: the world has failed then anyway.
pub(crate) fn open(ledger: &Shared) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The algorithms of one site, watched.
pub(crate) struct Watched {
    inner: Arc<dyn Suite>,
    ledger: Shared,
    host: usize,
    ke: BTreeMap<KeMethod, WatchedKe>,
    prf: BTreeMap<Prf, WatchedPrf>,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn Suite>, ledger: Shared, host: usize) -> Self {
        let ke = |&id: &KeMethod| {
            inner.key_exchange(id)?;
            Some((id, WatchedKe { id, inner: inner.clone(), ledger: ledger.clone() }))
        };
        let prf = |&id: &Prf| {
            inner.prf(id)?;
            Some((id, WatchedPrf { id, inner: inner.clone(), ledger: ledger.clone() }))
        };
        Self {
            ke: KeMethod::ALL.iter().filter_map(ke).collect(),
            prf: Prf::ALL.iter().filter_map(prf).collect(),
            ledger: ledger.clone(),
            inner: inner.clone(),
            host,
        }
    }
}

impl Suite for Watched {
    fn key_exchange(&self, id: KeMethod) -> Option<&dyn KeyExchange> {
        self.ke.get(&id).map(|ke| ke as &dyn KeyExchange)
    }

    fn prf(&self, id: Prf) -> Option<&dyn PrfFunction> {
        self.prf.get(&id).map(|prf| prf as &dyn PrfFunction)
    }

    fn cipher_spec(&self, encr: Encr, key_bits: u16, integ: Integ) -> Option<CipherSpec> {
        self.inner.cipher_spec(encr, key_bits, integ)
    }

    fn cipher(
        &self,
        encr: Encr,
        key_bits: u16,
        integ: Integ,
        encr_key: &[u8],
        integ_key: &[u8],
    ) -> Result<Box<dyn Cipher>, CryptoError> {
        let inner = self.inner.cipher(encr, key_bits, integ, encr_key, integ_key)?;
        let mut ledger = open(&self.ledger);
        ledger.secret(encr_key);
        ledger.secret(integ_key);
        let key = [encr_key, integ_key].concat();
        Ok(Box::new(WatchedCipher { inner, key, ledger: self.ledger.clone(), host: self.host }))
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        self.inner.sha1(parts)
    }

    fn verifies(&self, scheme: SignatureScheme) -> bool {
        self.inner.verifies(scheme)
    }

    fn verify(
        &self,
        spki: &[u8],
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        self.inner.verify(spki, scheme, message, signature)
    }
}

struct WatchedKe {
    id: KeMethod,
    inner: Arc<dyn Suite>,
    ledger: Shared,
}

impl WatchedKe {
    fn inner(&self) -> Result<&dyn KeyExchange, CryptoError> {
        self.inner.key_exchange(self.id).ok_or(CryptoError::Library)
    }
}

impl KeyExchange for WatchedKe {
    fn id(&self) -> KeMethod {
        self.id
    }

    fn generate(&self, rng: &mut dyn Rng) -> Result<(Box<dyn KePrivate>, Vec<u8>), CryptoError> {
        let (inner, public) = self.inner()?.generate(rng)?;
        Ok((Box::new(WatchedPrivate { inner, ledger: self.ledger.clone() }), public))
    }

    fn respond(&self, rng: &mut dyn Rng, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        let (public, shared) = self.inner()?.respond(rng, peer)?;
        open(&self.ledger).secret(shared.expose());
        Ok((public, shared))
    }

    fn public_len(&self) -> usize {
        self.inner().map_or(0, KeyExchange::public_len)
    }

    fn answer_len(&self) -> usize {
        self.inner().map_or(0, KeyExchange::answer_len)
    }
}

struct WatchedPrivate {
    inner: Box<dyn KePrivate>,
    ledger: Shared,
}

impl KePrivate for WatchedPrivate {
    fn finish(&self, peer: &[u8]) -> Result<Secret, CryptoError> {
        let shared = self.inner.finish(peer)?;
        open(&self.ledger).secret(shared.expose());
        Ok(shared)
    }
}

struct WatchedPrf {
    id: Prf,
    inner: Arc<dyn Suite>,
    ledger: Shared,
}

impl PrfFunction for WatchedPrf {
    fn id(&self) -> Prf {
        self.id
    }

    fn len(&self) -> usize {
        self.inner.prf(self.id).map_or(0, PrfFunction::len)
    }

    fn fixed_key_len(&self) -> Option<usize> {
        self.inner.prf(self.id).and_then(PrfFunction::fixed_key_len)
    }

    /// Every key is a secret, the two nonces of SKEYSEED included: they are never sent side by side.
    fn compute(&self, key: &[u8], parts: &[&[u8]]) -> Secret {
        open(&self.ledger).secret(key);
        match self.inner.prf(self.id) {
            Some(prf) => prf.compute(key, parts),
            None => Secret::new(Vec::new()),
        }
    }
}

struct WatchedCipher {
    inner: Box<dyn Cipher>,
    key: Vec<u8>,
    ledger: Shared,
    host: usize,
}

impl Cipher for WatchedCipher {
    fn spec(&self) -> CipherSpec {
        self.inner.spec()
    }

    fn seal(&self, iv: &[u8], aad: &[u8], data: &mut [u8], tail: &[u8], icv: &mut [u8]) {
        open(&self.ledger).sealed(self.host, &self.key, iv, aad, data);
        self.inner.seal(iv, aad, data, tail, icv);
    }

    fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        data: &mut [u8],
        tail: &[u8],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        self.inner.open(iv, aad, data, tail, icv)
    }
}
