//! Checking a peer's AUTH value.

use crate::algorithm::{self, KeyKind, ecdsa_to_der};
use crate::certificate::{identities, identity_in_certificate};
use crate::limits::MAX_PEER_CERTIFICATES;
use crate::path::{self, Path};
use crate::prove::{BY_SHARED_KEY, Prove};
use crate::revocation::{Answered, Evidence, Judge, Judgement, Step};
use crate::secrets::Secrets;
use crate::text::quote;
use crate::trust::{DIGITAL_SIGNATURE, RSA_SIGNATURE, SHARED_KEY_MIC, ours, refused, theirs};
use base::{Secret, WallClock};
use crypto::{SignatureScheme, Suite, VerifyError};
use policy::{AuthMethod, Certificate, Connection, IdPattern, Identity, RemoteAuth, match_identity};
use sa::{Answer, PeerProof, SignedOctets, TrustRefusal, Verified};
use wire::num::Prf;

/// A [`sa::Job::Check`] with what answers it.
pub(crate) struct Check<'a> {
    pub(crate) connection: &'a Connection,
    /// What the connection wants of the peer in this round.
    pub(crate) auth: &'a RemoteAuth,
    pub(crate) suite: &'a dyn Suite,
    pub(crate) secrets: &'a Secrets,
    pub(crate) ends: Ends<'a>,
    pub(crate) prf: Prf,
    pub(crate) octets: &'a SignedOctets,
    pub(crate) proof: &'a PeerProof,
    pub(crate) wall: WallClock,
}

/// Who both are in this round.
#[derive(Clone, Copy)]
pub(crate) struct Ends<'a> {
    pub(crate) local: &'a Identity,
    pub(crate) remote: &'a Identity,
    /// Who the peer must be.
    pub(crate) wanted: &'a IdPattern,
}

/// What speaks for the peer, but for revocation.
pub(crate) struct Shown {
    verified: Verified,
    /// Its certificate and those above it, up to the authority; empty where nothing of that can be revoked.
    path: Vec<Vec<u8>>,
}

/// A certificate that the peer may use.
struct Trusted {
    certificate: Certificate,
    /// It and those above it, up to the authority; empty where it is trusted as it is.
    path: Vec<Vec<u8>>,
}

impl Check<'_> {
    /// The peer's certificate, if it used one, with its path. Everything must hold: the method is the one that the
    /// connection demands, the identity is one that it accepts, the certificate is trusted and carries
    /// that identity, and its key made the signature. Whether it is revoked is left to [`Check::revocation`], so that only
    /// whoever has the key can make us ask for it.
    pub(crate) fn run(&self) -> Result<Shown, TrustRefusal> {
        match (self.auth.method, self.proof.method) {
            (AuthMethod::Psk, SHARED_KEY_MIC) => {
                self.identity_is_wanted()?;
                self.shared_key()?;
                let verified = Verified { by: BY_SHARED_KEY.into(), ..Verified::default() };
                Ok(Shown { verified, path: Vec::new() })
            }
            (AuthMethod::Pubkey, RSA_SIGNATURE | 9..=11 | DIGITAL_SIGNATURE) => {
                self.identity_is_wanted()?;
                self.signature()
            }
            (demanded, offered) => Err(theirs(self.wrong_method(demanded, offered))),
        }
    }

    /// The end of a check that went well so far.
    pub(crate) fn revocation(&self, shown: Shown, evidence: &Evidence) -> Step {
        let Shown { verified, path } = shown;
        if verified.certificate.is_none() {
            return Step::Answered(Answered::plain(Answer::Verified(verified)));
        }
        let judge = Judge {
            suite: self.suite,
            revocation: &self.auth.revocation,
            stapled: &self.proof.ocsp,
            evidence,
            wall: self.wall,
        };
        match judge.judge(&path) {
            Judgement::Needs(requests) => Step::Needs(requests),
            Judgement::Refused { why, keep } => {
                Step::Answered(Answered { answer: refused(theirs(why)), warnings: Vec::new(), keep })
            }
            Judgement::Accepted { warnings, keep } => {
                Step::Answered(Answered { answer: Answer::Verified(verified), warnings, keep })
            }
        }
    }

    fn identity_is_wanted(&self) -> Result<(), TrustRefusal> {
        match_identity(self.ends.wanted, self.ends.remote).map(|_| ()).map_err(|why| {
            theirs(format!(
                "the peer is not who connection {} is for: {why}; make the remote identity here and the peer's own the same",
                quote(&self.connection.name),
            ))
        })
    }

    //= rfc7296 §2.15
    fn shared_key(&self) -> Result<(), TrustRefusal> {
        let Check { suite, secrets, ends: Ends { local, remote, .. }, octets, prf, .. } = *self;
        let expected =
            Prove { suite, secrets, local, octets, prf }.shared_key_mic(Some(remote)).map_err(ours)?;
        // `Secret` compares in constant time.
        if expected == Secret::from(&self.proof.data[..]) {
            return Ok(());
        }
        Err(theirs(format!(
            "the peer's pre-shared key is not the one that is configured here for {} with {}: compare the secrets of both ends",
            quote(&local.to_string()),
            quote(&remote.to_string())
        )))
    }

    fn signature(&self) -> Result<Shown, TrustRefusal> {
        let knows_certificates = !self.auth.certs.is_empty() || !self.auth.authorities.is_empty();
        if !self.auth.pubkeys.is_empty() && (self.proof.certs.is_empty() || !knows_certificates) {
            return self.known_key().map(|verified| Shown { verified, path: Vec::new() });
        }
        let Trusted { certificate, path } = self.trusted_certificate()?;
        let spki = crate::certificate::public_key(&certificate.der)
            .ok_or_else(|| theirs("the peer's certificate cannot be read".into()))?;
        let verified = self.signed_by(spki, &certificate.subject)?;
        Ok(Shown { verified: Verified { certificate: Some(certificate), ..verified }, path })
    }

    fn signed_by(&self, spki: &[u8], name: &str) -> Result<Verified, TrustRefusal> {
        let refused = |why: String| theirs(format!("the signature of {} is refused: {why}", quote(name)));
        let kind = KeyKind::of(spki).map_err(refused)?;
        match self.proof.method {
            RSA_SIGNATURE => self.rsa(spki, kind),
            DIGITAL_SIGNATURE => self.digital(spki, kind),
            method => self.ecdsa(spki, kind, method),
        }
        .map_err(refused)?;
        Ok(Verified { certificate: None, by: kind.name().into(), key: Some(self.suite.sha1(&[spki])) })
    }

    /// The signature was made with one of the public keys that are accepted as they are. Which one, the peer says by a CERT
    /// payload, of this kind or with a certificate; else all are tried.
    //= rfc7670 §4
    //# An IKEv2 deployment using raw public keys needs to utilize an out-of-band public-key validation procedure […]. One way
    //# […] is to use a configuration mechanism for provisioning raw public keys into the IKEv2 software.
    fn known_key(&self) -> Result<Verified, TrustRefusal> {
        let sent = match (&self.proof.raw_key, self.proof.certs.first()) {
            (Some(raw), _) => Some(&raw[..]),
            (None, Some(der)) => crate::certificate::public_key(der),
            (None, None) => None,
        };
        let keys = &self.auth.pubkeys;
        let mut outcome = Err(theirs(self.unknown_key(sent)));
        for key in keys.iter().filter(|key| sent.is_none_or(|sent| *key.spki == *sent)) {
            outcome = self.signed_by(&key.spki, &key.name);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn unknown_key(&self, sent: Option<&[u8]>) -> String {
        let known = self.auth.pubkeys.iter().take(4).map(|key| key.name.to_string());
        let sent = sent.and_then(|spki| crate::raw::public_key(self.suite, spki).ok());
        format!(
            "the peer's public key{} is not among those that connection {} accepts: {}; name its file under the remote's `pubkeys`",
            sent.map_or(String::new(), |key| format!(" {}", quote(&key.name))),
            quote(&self.connection.name),
            known.collect::<Vec<_>>().join(", ")
        )
    }

    /// The certificate that the peer used: one of the pinned ones, or one that leads to an authority; in
    /// either case it carries the peer's identity.
    fn trusted_certificate(&self) -> Result<Trusted, TrustRefusal> {
        let remote = self.auth;
        let sent = self.proof.certs.first();
        if !remote.certs.is_empty() {
            let pinned = match sent {
                Some(der) => remote.certs.iter().find(|pinned| *pinned.der == der[..]),
                None => remote
                    .certs
                    .iter()
                    .find(|pinned| identity_in_certificate(self.ends.remote, pinned).is_ok()),
            };
            let pinned = pinned.ok_or_else(|| theirs(self.not_pinned()))?;
            identity_in_certificate(self.ends.remote, pinned).map_err(theirs)?;
            path::check_pinned(pinned, self.wall).map_err(theirs)?;
            return Ok(Trusted { certificate: pinned.clone(), path: Vec::new() });
        }
        let Some(der) = sent else {
            return Err(theirs(format!(
                "the peer sent no certificate, and connection {} has none for it: make the peer send it, or give it \
                 under the remote's `certs`",
                quote(&self.connection.name)
            )));
        };
        let certificate = crate::certificate::certificate(self.suite, der)
            .map_err(|why| theirs(format!("the peer's certificate cannot be used: {why}")))?;
        if remote.authorities.is_empty() {
            return Err(ours(format!(
                "connection {} trusts no authority and no certificate, so {} cannot be checked: give the remote's `cacerts` or `certs`",
                quote(&self.connection.name),
                quote(&certificate.subject)
            )));
        }
        identity_in_certificate(self.ends.remote, &certificate).map_err(theirs)?;
        let sent = self.proof.certs.iter().skip(1).take(MAX_PEER_CERTIFICATES).map(|der| &der[..]);
        let chains = self.connection.locals().flat_map(|local| local.certs.iter().skip(1));
        let configured = chains.map(|certificate| &*certificate.der);
        let path = Path {
            suite: self.suite,
            end_entity: der,
            intermediates: sent.chain(configured).collect(),
            authorities: &remote.authorities,
            wall: self.wall,
        };
        let path = path.validate().map_err(theirs)?;
        Ok(Trusted { certificate, path })
    }

    /// Method 14: the AlgorithmIdentifier, led by its length, then the signature.
    //= rfc7427 §3
    fn digital(&self, spki: &[u8], kind: KeyKind) -> Result<(), String> {
        let split = self.proof.data.split_first();
        let parts = split.and_then(|(len, rest)| rest.split_at_checked(usize::from(*len)));
        let Some((identifier, signature)) = parts.filter(|(_, signature)| !signature.is_empty()) else {
            return Err("its Authentication Data ends before the signature".into());
        };
        self.verify(spki, kind, algorithm::read(identifier)?, signature)
    }

    /// Method 1. The hash stands inside the signature (PKCS#1 v1.5), so it shows by trying; SHA-1 is what RFC 7296 §3.8
    /// makes the default of this method.
    //= rfc7296 §3.8
    fn rsa(&self, spki: &[u8], kind: KeyKind) -> Result<(), String> {
        if !matches!(kind, KeyKind::Rsa(_)) {
            return Err(format!("method 1 needs an RSA key, and the certificate has an {} key", kind.name()));
        }
        let hashes = [
            SignatureScheme::RsaPkcs1Sha1,
            SignatureScheme::RsaPkcs1Sha256,
            SignatureScheme::RsaPkcs1Sha384,
            SignatureScheme::RsaPkcs1Sha512,
        ];
        let mut outcome = Err(String::new());
        for scheme in hashes {
            outcome = self.verify(spki, kind, scheme, &self.proof.data);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// Methods 9 to 11: r and s side by side, for the one curve and the one hash that the method names.
    //= rfc4754 §3
    fn ecdsa(&self, spki: &[u8], kind: KeyKind, method: u8) -> Result<(), String> {
        let KeyKind::Ec(curve) = kind else {
            return Err(format!(
                "method {method} needs an ECDSA key, and the certificate has an {} key",
                kind.name()
            ));
        };
        if curve.method != method {
            return Err(format!("method {method} is not for the curve {} of the certificate", curve.name));
        }
        let raw = &self.proof.data;
        match ecdsa_to_der(raw) {
            Some(der) if raw.len() == 2 * curve.octets => self.verify(spki, kind, curve.scheme, &der),
            _ => Err(format!("it has {} octets where {} has {}", raw.len(), curve.name, 2 * curve.octets)),
        }
    }

    fn verify(
        &self,
        spki: &[u8],
        kind: KeyKind,
        scheme: SignatureScheme,
        signature: &[u8],
    ) -> Result<(), String> {
        self.suite.verify(spki, scheme, &self.octets.0, signature).map_err(|error| match error {
            VerifyError::BadSignature => {
                "it does not verify: the peer's private key does not belong to its certificate, or the two ends do not see the \
                 same messages"
                    .to_owned()
            }
            VerifyError::WrongKey => format!("{scheme:?} does not go with the {} key of the certificate", kind.name()),
            VerifyError::Unsupported => format!("{scheme:?} is not available here"),
        })
    }

    fn not_pinned(&self) -> String {
        let remote = self.auth;
        let pinned: Vec<_> = remote.certs.iter().take(4).map(|pinned| quote(&pinned.subject)).collect();
        let offered = match self.proof.certs.first() {
            Some(der) => match crate::certificate::certificate(self.suite, der) {
                Ok(offered) => format!("the peer's certificate {} is", quote(&offered.subject)),
                Err(_) => "the peer's certificate is unreadable, and".into(),
            },
            None => {
                let names: Vec<_> = remote.certs.iter().flat_map(identities).take(4).collect();
                let names: Vec<_> = names.iter().map(|id| quote(&id.to_string())).collect();
                return format!(
                    "the peer sent no certificate, and none of those configured for connection {} is for {}; they are for {}",
                    quote(&self.connection.name),
                    quote(&self.ends.remote.to_string()),
                    names.join(", ")
                );
            }
        };
        format!(
            "{offered} not among those that connection {} accepts, octet by octet: {}; replace it there if the peer has a new one",
            quote(&self.connection.name),
            pinned.join(", ")
        )
    }

    fn wrong_method(&self, demanded: AuthMethod, offered: u8) -> String {
        let demanded = match demanded {
            AuthMethod::Psk => "a pre-shared key",
            AuthMethod::Pubkey => "a certificate",
        };
        let offered = match offered {
            RSA_SIGNATURE => "an RSA signature (method 1)".into(),
            SHARED_KEY_MIC => "a pre-shared key (method 2)".into(),
            9..=11 => format!("an ECDSA signature (method {offered})"),
            13 => "no authentication at all (method 13)".into(),
            DIGITAL_SIGNATURE => "a digital signature (method 14)".into(),
            other => format!("method {other}"),
        };
        format!(
            "the peer authenticates by {offered} but connection {} wants {demanded} of it; make both ends the same",
            quote(&self.connection.name)
        )
    }
}
