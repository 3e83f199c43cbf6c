//! What a daemon must not lose: pre-shared keys and private keys.

use crate::ppk::Ppk;
use crate::psk::{self, Psk};
use base::Secret;
use crypto::{PrfFunction, SigningKey};
use policy::{Certificate, IdPattern, Identity};
use std::fmt;
use std::sync::Arc;

/// Pre-shared keys and private keys, to be handed to [`crate::Trust`].
#[derive(Default)]
pub struct Secrets {
    psks: Vec<Psk>,
    ppks: Vec<Ppk>,
    keys: Vec<Arc<dyn SigningKey>>,
}

impl Secrets {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pre-shared key for the identities `ids`; without any it is for everybody. Where
    /// several fit, one that names both ends wins over one that names the peer, that over one that names only us,
    /// that over one for everybody; among equals the first wins. A key that names somebody else than us serves only
    /// peers that it names.
    pub fn add_psk(&mut self, ids: Vec<IdPattern>, secret: Secret) {
        self.psks.push(Psk { ids, secret });
    }

    /// Adds a post-quantum pre-shared key under its identities (RFC 8784 §5.1). Where one has several keys, the first is taken.
    pub fn add_ppk(&mut self, ids: Vec<Arc<str>>, secret: Secret) {
        self.ppks.push(Ppk { ids, secret });
    }

    /// The post-quantum pre-shared key of that identity.
    pub fn ppk(&self, id: &str) -> Option<&Secret> {
        let named = self.ppks.iter().find(|ppk| ppk.ids.iter().any(|own| **own == *id));
        named.map(|ppk| &ppk.secret)
    }

    /// Adds a private key; it serves every certificate that has its public key.
    pub fn add_key(&mut self, key: Arc<dyn SigningKey>) {
        self.keys.push(key);
    }

    /// The pre-shared key between `local` and `remote`.
    ///
    /// # Errors
    /// A sentence that says for whom there are keys and what to add.
    pub fn psk(&self, local: &Identity, remote: Option<&Identity>) -> Result<&Secret, String> {
        match psk::select(&self.psks, local, remote) {
            Some(psk) => Ok(&psk.secret),
            None => Err(psk::none_fits(&self.psks, local, remote)),
        }
    }

    /// A fingerprint of all of them under `key`, which shows nothing of them.
    pub(crate) fn print(&self, prf: &dyn PrfFunction, key: &[u8]) -> Secret {
        let mut all = Secret::zeroed(0);
        let mut add = |part: &[u8]| {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes();
            *all.expose_mut() = prf.compute(key, &[all.expose(), &length, part]).expose().clone();
        };
        for Psk { ids, secret } in &self.psks {
            add(format!("{ids:?}").as_bytes());
            add(secret.expose());
        }
        for Ppk { ids, secret } in &self.ppks {
            add(format!("PPK {ids:?}").as_bytes());
            add(secret.expose());
        }
        self.keys.iter().for_each(|key| add(key.public_key()));
        all
    }

    /// The private key of `certificate`.
    pub fn key(&self, certificate: &Certificate) -> Option<&Arc<dyn SigningKey>> {
        self.key_of(crate::certificate::public_key(&certificate.der)?)
    }

    /// The private key of a public key, which is given as SubjectPublicKeyInfo.
    pub fn key_of(&self, spki: &[u8]) -> Option<&Arc<dyn SigningKey>> {
        self.keys.iter().find(|key| key.public_key() == spki)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { psks, ppks, keys } = self;
        write!(f, "Secrets({} PSKs, {} PPKs, {} private keys)", psks.len(), ppks.len(), keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let mut secrets = Secrets::new();
        secrets.add_psk(vec![], Secret::from(&b"hunter2"[..]));
        assert_eq!(format!("{secrets:?}"), "Secrets(1 PSKs, 0 PPKs, 0 private keys)");
    }

    /// The key and all parts, one after the other.
    struct Row;

    impl PrfFunction for Row {
        fn id(&self) -> wire::num::Prf {
            wire::num::Prf(0)
        }
        fn len(&self) -> usize {
            0
        }
        fn fixed_key_len(&self) -> Option<usize> {
            None
        }
        fn compute(&self, key: &[u8], parts: &[&[u8]]) -> Secret {
            Secret::new([key, &parts.concat()].concat())
        }
    }

    #[test]
    fn every_change_of_a_secret_changes_the_fingerprint() {
        let of = |psks: &[(&str, &str)]| {
            let mut secrets = Secrets::new();
            for (id, psk) in psks {
                let id = IdPattern::Is(Identity::Fqdn((*id).to_string()));
                secrets.add_psk(vec![id], Secret::from(psk.as_bytes()));
            }
            secrets.print(&Row, b"key").expose().clone()
        };
        let one = of(&[("a", "secret")]);
        assert_eq!(one, of(&[("a", "secret")]));
        for other in
            [of(&[]), of(&[("a", "secre")]), of(&[("b", "secret")]), of(&[("a", "secret"), ("b", "secret")])]
        {
            assert_ne!(one, other);
        }
        let with_ppk = |id: &str, ppk: &str| {
            let mut secrets = Secrets::new();
            secrets.add_ppk(vec![id.into()], Secret::from(ppk.as_bytes()));
            secrets.print(&Row, b"key").expose().clone()
        };
        assert_ne!(with_ppk("a", "secret"), one);
        assert_ne!(with_ppk("a", "secret"), with_ppk("a", "other"));
        assert_ne!(with_ppk("a", "secret"), with_ppk("b", "secret"));
    }
}
