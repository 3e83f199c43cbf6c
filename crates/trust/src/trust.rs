//! The answering machine.

use crate::limits::MAX_REFUSAL;
use crate::psk;
use crate::secrets::Secrets;
use crate::text::{clip, quote};
use base::{Secret, WallClock};
use crypto::Suite;
use policy::{AuthMethod, Certificate, Connection, ConnectionId, IdPattern, Identity, Policy};
use sa::{Answer, AuthProof, Job, PeerProof, SignedOctets, TrustRefusal};
use std::sync::Arc;
use wire::num::Prf;

/// The Auth Method of a pre-shared key (RFC 7296 §3.8).
pub(crate) const SHARED_KEY_MIC: u8 = 2;

/// Holds the secrets, and answers [`Job::Prove`] and [`Job::Check`].
pub struct Trust {
    policy: Arc<Policy>,
    suite: Arc<dyn Suite>,
    secrets: Secrets,
}

impl Trust {
    /// Answers for the connections of `policy` with the keys of `secrets`.
    pub fn new(policy: Arc<Policy>, suite: Arc<dyn Suite>, secrets: Secrets) -> Self {
        Self { policy, suite, secrets }
    }

    /// Does the job; takes as long as a private-key operation and a few verifications.
    pub fn answer(&self, job: &Job) -> Answer {
        let outcome = match job {
            Job::Prove { connection, local, remote, prf, octets, peer_hashes: _ } => self
                .connection(*connection)
                .and_then(|connection| self.prove(connection, local, remote.as_ref(), *prf, octets))
                .map(Answer::Proved)
                .map_err(|reason| TrustRefusal { ours: true, reason }),
            Job::Check { connection, local, remote, wanted, prf, octets, proof, wall } => self
                .check(&CheckRequest {
                    connection: *connection,
                    local,
                    remote,
                    wanted,
                    prf: *prf,
                    octets,
                    proof,
                    wall: *wall,
                })
                .map(Answer::Verified),
        };
        outcome.unwrap_or_else(|refusal| {
            Answer::Refused(TrustRefusal { reason: clip(&refusal.reason, MAX_REFUSAL), ..refusal })
        })
    }

    /// The secrets, for a configuration check.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    fn prove(
        &self,
        connection: &Connection,
        local: &Identity,
        remote: Option<&Identity>,
        prf: Prf,
        octets: &SignedOctets,
    ) -> Result<AuthProof, String> {
        match connection.local.method {
            AuthMethod::Psk => {
                let data = self.shared_key_mic(local, remote, prf, octets)?;
                Ok(AuthProof { method: SHARED_KEY_MIC, data: data.expose().clone() })
            }
            AuthMethod::Pubkey => {
                Err("authentication with a private key is not available in this build".into())
            }
        }
    }

    fn check(&self, request: &CheckRequest<'_>) -> Result<Option<Certificate>, TrustRefusal> {
        let ours = |reason| TrustRefusal { ours: true, reason };
        let theirs = |reason| TrustRefusal { ours: false, reason };
        let connection = self.connection(request.connection).map_err(ours)?;
        let proof = request.proof;
        match (connection.remote.method, proof.method) {
            (AuthMethod::Psk, SHARED_KEY_MIC) => {
                let expected = self
                    .shared_key_mic(request.local, Some(request.remote), request.prf, request.octets)
                    .map_err(ours)?;
                if expected != Secret::from(&proof.data[..]) {
                    return Err(theirs(wrong_psk(request.local, request.remote)));
                }
                self.check_identity(request).map_err(theirs)?;
                Ok(None)
            }
            (wanted, offered) => Err(theirs(wrong_method(wanted, offered, &connection.name))),
        }
    }

    /// prf(prf(Shared Secret, "Key Pad for IKEv2"), <SignedOctets>)
    //= rfc7296 §2.15
    fn shared_key_mic(
        &self,
        local: &Identity,
        remote: Option<&Identity>,
        prf: Prf,
        octets: &SignedOctets,
    ) -> Result<Secret, String> {
        let secret = self.secrets.psk(local, remote)?;
        let Some(function) = self.suite.prf(prf) else {
            return Err(format!("{prf} is not available, so no proof with a pre-shared key can be made"));
        };
        let padded = function.compute(secret.expose(), &[b"Key Pad for IKEv2"]);
        Ok(function.compute(padded.expose(), &[&octets.0]))
    }

    fn check_identity(&self, request: &CheckRequest<'_>) -> Result<(), String> {
        if psk::pattern_matches(request.wanted, request.remote) {
            return Ok(());
        }
        Err(format!(
            "the peer is {} but the connection is for {}; correct the remote identity if that is right",
            quote(&request.remote.to_string()),
            quote(&psk::pattern(request.wanted))
        ))
    }

    fn connection(&self, id: ConnectionId) -> Result<&Connection, String> {
        let found = self.policy.connection(id);
        found
            .map(|connection| &**connection)
            .ok_or_else(|| "the connection is no longer configured".to_owned())
    }
}

/// A [`Job::Check`], taken apart.
struct CheckRequest<'a> {
    connection: ConnectionId,
    local: &'a Identity,
    remote: &'a Identity,
    wanted: &'a IdPattern,
    prf: Prf,
    octets: &'a SignedOctets,
    proof: &'a PeerProof,
    wall: WallClock,
}

fn wrong_psk(local: &Identity, remote: &Identity) -> String {
    format!(
        "the pre-shared key for {} with {} is not the one that the peer has: compare the secrets of both ends",
        quote(&local.to_string()),
        quote(&remote.to_string())
    )
}

fn wrong_method(wanted: AuthMethod, offered: u8, connection: &str) -> String {
    let wanted = match wanted {
        AuthMethod::Psk => "a pre-shared key",
        AuthMethod::Pubkey => "a certificate",
    };
    let offered = match offered {
        1 => "an RSA signature (method 1)".into(),
        SHARED_KEY_MIC => "a pre-shared key (method 2)".into(),
        9..=11 => format!("an ECDSA signature (method {offered})"),
        13 => "no authentication at all (method 13)".into(),
        14 => "a digital signature (method 14)".into(),
        other => format!("method {other}"),
    };
    format!(
        "the peer authenticates by {offered} but connection {} wants {wanted}; make both ends the same",
        quote(connection)
    )
}
