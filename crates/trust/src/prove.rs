//! Making our AUTH value.

use crate::algorithm::{self, KeyKind, ecdsa_to_raw};
use crate::secrets::Secrets;
use crate::text::quote;
use crate::trust::{DIGITAL_SIGNATURE, RSA_SIGNATURE, SHARED_KEY_MIC};
use base::Secret;
use crypto::{SignatureScheme, SigningKey, Suite, signature_identifier};
use policy::{AuthMethod, Identity, LocalAuth};
use sa::{AnnouncedAuth, AuthProof, Means, SignedOctets};
use wire::num::{AuthMethod as AuthMethodNumber, HashAlgorithm, Prf};

/// What a proof is made from.
pub(crate) struct Prove<'a> {
    pub(crate) suite: &'a dyn Suite,
    pub(crate) secrets: &'a Secrets,
    pub(crate) local: &'a Identity,
    pub(crate) octets: &'a SignedOctets,
    pub(crate) prf: Prf,
}

/// How people call a proof by a pre-shared key.
pub(crate) const BY_SHARED_KEY: &str = "pre-shared key";

/// What the peer says of the proofs that it takes.
#[derive(Clone, Copy)]
pub(crate) struct Taken<'a> {
    /// SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4); empty: it takes no digital signatures.
    pub(crate) hashes: &'a [u16],
    /// SUPPORTED_AUTH_METHODS (RFC 9593), less what is not understood; empty: it does not say.
    pub(crate) methods: &'a [AnnouncedAuth],
}

impl Taken<'_> {
    /// Whether it takes `method`, or does not say.
    //= rfc9593 §3
    //# The receiving party may take this information into consideration when selecting an algorithm for its authentication
    fn takes(&self, method: u8) -> Result<(), String> {
        match self.methods.is_empty() || self.methods.iter().any(|announced| announced.method == method) {
            true => Ok(()),
            false => Err(self.in_words()),
        }
    }

    fn takes_signature(&self, scheme: SignatureScheme) -> bool {
        let mut digital = self.methods.iter().filter(|announced| announced.method == DIGITAL_SIGNATURE);
        self.methods.is_empty()
            || digital.any(|announced| algorithm::read(&announced.algorithm) == Ok(scheme))
    }

    /// `RsaPssSha256, a pre-shared key`
    fn in_words(&self) -> String {
        let word = |announced: &AnnouncedAuth| match announced.method {
            DIGITAL_SIGNATURE => algorithm::read(&announced.algorithm)
                .map_or_else(|_| "a signature that is not known here".into(), |scheme| format!("{scheme:?}")),
            method => AuthMethodNumber(method).to_string(),
        };
        self.methods.iter().take(SHOWN).map(word).collect::<Vec<_>>().join(", ")
    }
}

/// Announcements that a refusal lists; a peer may send many.
const SHOWN: usize = 16;

impl Prove<'_> {
    /// Makes the AUTH value that `auth` asks for, and says by what.
    pub(crate) fn prove(
        &self,
        auth: &LocalAuth,
        remote: Option<&Identity>,
        taken: Taken<'_>,
    ) -> Result<(AuthProof, Means), String> {
        if auth.method == AuthMethod::Psk {
            taken.takes(SHARED_KEY_MIC).map_err(|announced| {
                format!(
                    "the peer does not let us prove ourselves by a pre-shared key: it announces to take {announced} \
                     (RFC 9593); make both ends the same"
                )
            })?;
            let mic = self.shared_key_mic(remote)?;
            let proof = AuthProof { method: SHARED_KEY_MIC, data: mic.expose().clone() };
            return Ok((proof, BY_SHARED_KEY.into()));
        }
        let (key, ours) = match (auth.certs.first(), &auth.pubkey) {
            (Some(certificate), _) => {
                (self.secrets.key(certificate), format!("certificate {}", quote(&certificate.subject)))
            }
            (None, Some(pubkey)) => {
                (self.secrets.key_of(&pubkey.spki), format!("public key {}", pubkey.name))
            }
            (None, None) => {
                return Err(
                    "the connection authenticates by certificate but has none: give its `certs` or `pubkeys`"
                        .into(),
                );
            }
        };
        let Some(key) = key else {
            return Err(format!("there is no private key for our {ours}: add the key that belongs to it"));
        };
        let kind =
            KeyKind::of(key.public_key()).map_err(|why| format!("our {ours} cannot be used: {why}"))?;
        let proof = match taken.hashes {
            [] => self.sign_the_old_way(key.as_ref(), kind, taken),
            _ => self.sign(key.as_ref(), kind, taken),
        };
        Ok((proof?, kind.name().into()))
    }

    /// `prf(prf(Shared Secret, "Key Pad for IKEv2"), <SignedOctets>)`
    //= rfc7296 §2.15
    pub(crate) fn shared_key_mic(&self, remote: Option<&Identity>) -> Result<Secret, String> {
        let secret = self.secrets.psk(self.local, remote)?;
        let Some(function) = self.suite.prf(self.prf) else {
            return Err(format!(
                "{} is not available, so no proof with a pre-shared key can be made",
                self.prf
            ));
        };
        let padded = function.compute(secret.expose(), &[b"Key Pad for IKEv2"]);
        Ok(function.compute(padded.expose(), &[&self.octets.0]))
    }

    /// Method 14: the peer has told the hashes that it knows, and MUST be answered in kind.
    //= rfc7427 §3
    fn sign(&self, key: &dyn SigningKey, kind: KeyKind, taken: Taken<'_>) -> Result<AuthProof, String> {
        let able = key.schemes();
        let mut fitting = kind.preferences().into_iter().filter_map(|scheme| {
            let (hash, identifier) = signature_identifier(scheme)?;
            (able.contains(&scheme) && taken.hashes.contains(&hash.0)).then_some((scheme, identifier))
        });
        let Some(first) = fitting.next() else { return Err(no_common_hash(kind, taken.hashes)) };
        let mut fitting = std::iter::once(first).chain(fitting);
        let Some((scheme, identifier)) = fitting.find(|(scheme, _)| taken.takes_signature(*scheme)) else {
            return Err(not_announced(kind, &taken.in_words()));
        };
        let signature = self.with(key, scheme, kind)?;
        let len =
            u8::try_from(identifier.len()).map_err(|_| "the AlgorithmIdentifier is too long".to_owned())?;
        Ok(AuthProof { method: DIGITAL_SIGNATURE, data: [&[len], identifier, &signature].concat() })
    }

    /// Methods 1 and 9 to 11, for a peer that does not know RFC 7427. RSA signs with SHA-1 then: it is the
    /// one hash that RFC 7296 §3.8 lets us expect of such a peer.
    //= rfc7296 §3.8
    //= rfc4754 §3
    fn sign_the_old_way(
        &self,
        key: &dyn SigningKey,
        kind: KeyKind,
        taken: Taken<'_>,
    ) -> Result<AuthProof, String> {
        let takes = |method| taken.takes(method).map_err(|announced| not_announced(kind, &announced));
        match kind {
            KeyKind::Rsa(_) => {
                takes(RSA_SIGNATURE)?;
                let data = self.with(key, SignatureScheme::RsaPkcs1Sha1, kind)?;
                Ok(AuthProof { method: RSA_SIGNATURE, data })
            }
            KeyKind::Ec(curve) => {
                takes(curve.method)?;
                let der = self.with(key, curve.scheme, kind)?;
                let data = ecdsa_to_raw(&der, curve.octets)
                    .ok_or_else(|| "our ECDSA signature is malformed".to_owned())?;
                Ok(AuthProof { method: curve.method, data })
            }
            _ => Err(format!(
                "our {} key needs digital signatures (RFC 7427), which the peer does not know: \
                 use an RSA or ECDSA certificate, or a pre-shared key, with it",
                kind.name()
            )),
        }
    }

    fn with(&self, key: &dyn SigningKey, scheme: SignatureScheme, kind: KeyKind) -> Result<Vec<u8>, String> {
        key.sign(scheme, &self.octets.0)
            .map_err(|error| format!("our {} key could not sign with {scheme:?}: {error:?}", kind.name()))
    }
}

/// Why a key of this kind cannot prove anything to a peer that announces other signatures.
fn not_announced(kind: KeyKind, announced: &str) -> String {
    format!(
        "our {} key has no signature that the peer takes: it announces to take {announced} (RFC 9593); use a key of \
         such a kind with this peer",
        kind.name()
    )
}

/// Why no signature of a key of this kind is one that a peer with these hashes checks. EdDSA and ML-DSA hash by themselves,
/// which the peer must have announced as the hash Identity (RFC 8420 §2, draft-ietf-ipsecme-ikev2-pqc-auth §3.2.1).
fn no_common_hash(kind: KeyKind, hashes: &[u16]) -> String {
    let hashes_needed = kind.preferences().into_iter().filter_map(signature_identifier);
    let needed = hashes_needed.into_iter().any(|(hash, _)| hash == HashAlgorithm::IDENTITY);
    let advice = match needed {
        true => "; it needs the hash Identity: use an RSA or ECDSA key with this peer, or a newer peer",
        false => "",
    };
    format!(
        "our {} key has no signature that the peer accepts: it announces the hashes {}{advice}",
        kind.name(),
        hash_names(hashes)
    )
}

fn hash_names(hashes: &[u16]) -> String {
    hashes.iter().take(8).map(|&number| HashAlgorithm(number).to_string()).collect::<Vec<_>>().join(", ")
}
