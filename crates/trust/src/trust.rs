//! The answering machine.

use crate::check::{Check, Ends};
use crate::limits::MAX_REFUSAL;
use crate::revocation::{Answered, Evidence, Step};
use crate::secrets::Secrets;
use crate::text::clip;
use crate::{ppk, prove};
use base::Secret;
use crypto::Suite;
use policy::{Connection, ConnectionId, Policy};
use sa::{Answer, Job, TICKET_SECRET, TrustRefusal};
use std::fmt;
use std::sync::Arc;
use wire::num::{AuthMethod, Prf};

/// Auth Method: RSA Digital Signature (RFC 7296 §3.8).
pub(crate) const RSA_SIGNATURE: u8 = AuthMethod::RSA.0;
/// Auth Method: Shared Key Message Integrity Code (RFC 7296 §3.8).
pub(crate) const SHARED_KEY_MIC: u8 = AuthMethod::SHARED_KEY.0;
/// Auth Method: Digital Signature (RFC 7427 §3).
pub(crate) const DIGITAL_SIGNATURE: u8 = AuthMethod::DIGITAL_SIGNATURE.0;

/// Holds the secrets, and answers every [`Job`].
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

    /// Does the job; takes as long as a private-key operation and a few verifications. Whether a certificate is revoked is judged
    /// by what is at hand.
    pub fn answer(&self, job: &Job) -> Answer {
        match self.step(job, &Evidence::none("nothing is fetched here")) {
            Step::Answered(answered) => answered.answer,
            Step::Needs(_) => refused(ours("the check does not end".to_owned())),
        }
    }

    /// Does the job as far as it goes with what was fetched for it.
    pub fn step(&self, job: &Job, evidence: &Evidence) -> Step {
        let outcome = match job {
            Job::Prove { connection, name, round, local, remote, prf, octets, peer_hashes, peer_methods } => {
                let prover =
                    prove::Prove { suite: &*self.suite, secrets: &self.secrets, local, octets, prf: *prf };
                let taken = prove::Taken { hashes: peer_hashes, methods: peer_methods };
                self.connection(*connection, name)
                    .and_then(|connection| connection.local_auth(*round).ok_or_else(|| once_only("we do")))
                    .and_then(|auth| prover.prove(auth, remote.as_ref(), taken))
                    .map(|(proof, by)| Answer::Proved(proof, by))
                    .map_err(ours)
            }
            Job::Resolve { name, .. } => Err(TrustRefusal {
                ours: true,
                reason: format!("The path of connection `{name}` is not looked up where keys are kept."),
            }),
            Job::Route { .. } => Err(ours("routes are no matter of trust".to_string())),
            Job::Check { connection, name, round, local, remote, wanted, prf, octets, proof, wall } => {
                let connection = self.connection(*connection, name).map_err(ours);
                let (suite, secrets, prf, wall) = (&*self.suite, &self.secrets, *prf, *wall);
                let outcome = connection.and_then(|connection| {
                    let auth =
                        connection.remote_auth(*round).ok_or_else(|| ours(once_only("the peer does")))?;
                    let ends = Ends { local, remote, wanted };
                    let check = Check { connection, auth, suite, secrets, ends, prf, octets, proof, wall };
                    let shown = check.run()?;
                    Ok((shown, check))
                });
                return match outcome {
                    Ok((shown, check)) => check.revocation(shown, evidence),
                    Err(refusal) => Step::Answered(Answered::plain(refused(refusal))),
                };
            }
            Job::Ppk(request) => {
                ppk::answer(&*self.suite, &self.secrets, request).map(Answer::Ppk).map_err(ours)
            }
            Job::Puzzle { puzzle, string } => Ok(sa::puzzle::answer(&*self.suite, *puzzle, string)),
            Job::Lease(_) | Job::Release(_) | Job::UseResolver { .. } | Job::DropResolver(_) => {
                Err(ours(format!("{} is no work of keys and certificates", job.name())))
            }
        };
        Step::Answered(Answered::plain(outcome.unwrap_or_else(refused)))
    }

    /// The secret behind tickets of session resumption (RFC 5723), made from one of the daemon's own: another one as soon as
    /// any key or password is.
    pub fn ticket_secret(&self, own: &Secret<[u8; TICKET_SECRET]>) -> Option<Secret<[u8; TICKET_SECRET]>> {
        let prf = self.suite.prf(Prf::HMAC_SHA2_256)?;
        let print = self.secrets.print(prf, own.expose());
        let made = prf.compute(own.expose(), &[b"tickets", print.expose()]);
        <[u8; TICKET_SECRET]>::try_from(made.expose().as_slice()).ok().map(Secret::new)
    }

    /// The secrets, for a check of the configuration.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    fn connection(&self, id: ConnectionId, name: &str) -> Result<&Connection, String> {
        let found = self.policy.resolve(id, name);
        found
            .map(|connection| &**connection)
            .ok_or_else(|| "the connection is no longer configured".to_owned())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({:?})", self.secrets)
    }
}

/// The configuration has changed since the first round.
fn once_only(who: &str) -> String {
    format!(
        "the connection has no second authentication any more that {who}: the configuration was changed meanwhile"
    )
}

/// The answer that says no.
pub(crate) fn refused(TrustRefusal { ours, reason }: TrustRefusal) -> Answer {
    Answer::Refused(TrustRefusal { ours, reason: clip(&reason, MAX_REFUSAL) })
}

/// Something is missing or wrong at our end.
pub(crate) fn ours(reason: String) -> TrustRefusal {
    TrustRefusal { ours: true, reason }
}

/// The peer's proof fails.
pub(crate) fn theirs(reason: String) -> TrustRefusal {
    TrustRefusal { ours: false, reason }
}
