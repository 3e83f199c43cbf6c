//! The end of the responder's IKE_AUTH: our own AUTH value is made, and the response with it.

use super::responder_auth::refuse;
use super::responder_check::{Claimed, Wants, ended, late};
use super::responder_second::Halfway;
use super::{Deadline, Rounds, Secrets, cert_payloads, identity_in};
use crate::channel::Request;
use crate::contents;
use crate::established::{AuthAnswer, Authenticated, Established, Identities};
use crate::ext::{self, Facts, Guest, Moment};
use crate::ike_sa::{Chosen, Datagram, End, Known, Next, Stage};
use crate::{Common, Cx, limits};
use base::Instant;
use crypto::Spis;
use policy::Identity;
use sa::{Answer, Job, JobId, Proven, Reason, Refusal, RefusalKind, Side};
use wire::num;
use wire::{Authentication, Payload};

/// Our AUTH value is being made.
pub(crate) struct Proving {
    ready: Ready,
    job: JobId,
    until: Deadline,
}

/// All that the response is made of, but AUTH.
pub(super) struct Ready {
    pub(super) chosen: Chosen,
    pub(super) secrets: Secrets,
    pub(super) identities: Identities,
    pub(super) rounds: Rounds,
    to: Request,
    pub(super) wants: Wants,
}

impl Proving {
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: Claimed) -> Next {
        let Claimed { chosen, secrets, identities, rounds, to, wants, .. } = from;
        let ready = Ready { chosen, secrets, identities, rounds, to, wants };
        if !ready.rounds.is_ours() {
            return ready.on_proved(sa, cx, None);
        }
        let Ready { chosen, secrets, identities, rounds, .. } = &ready;
        let local = ready.local();
        let id = contents::identification(&local).octets_to_sign();
        if secrets.former.is_some() {
            let data = secrets.resumption_auth(cx, Side::Responder, &id).expose().clone().into();
            let auth = Authentication { method: num::AuthMethod::SHARED_KEY, data };
            return ready.on_proved(sa, cx, Some(auth));
        }
        let remote = identities.theirs.last().map_or(&identities.remote, |proven| &proven.id);
        let job = Job::Prove {
            connection: chosen.id,
            name: chosen.connection.name.clone(),
            round: rounds.now,
            local,
            remote: Some(remote.clone()),
            prf: secrets.suite.prf,
            octets: secrets.signed_octets(cx, Side::Responder, &id),
            peer_hashes: secrets.agreed.hashes.clone(),
            peer_methods: ext::methods_in(rounds.now, &chosen.connection, &secrets.agreed),
        };
        let job = cx.out.job(sa.id, job);
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { ready, job, until })
    }
}

impl Ready {
    fn refuse(mut self, sa: &mut Common, cx: &mut Cx<'_>, refusal: Refusal) -> Next {
        self.wants.release(sa, cx);
        refuse(sa, cx, self.secrets, self.to, refusal)
    }

    /// Who we are in this round.
    fn local(&self) -> Identity {
        identity_in(&self.chosen.connection, self.rounds.now, &self.identities.local)
    }

    /// IDr, CERT and AUTH, where we authenticate in this round.
    fn proof(&self, auth: Option<Authentication<'static>>) -> Vec<Payload<'static>> {
        let Some(auth) = auth else { return Vec::new() };
        let mut payloads = vec![Payload::IdR(contents::identification(&self.local()))];
        //= rfc5723 §4.3.3
        //# A CERT payload MUST NOT be included in this exchange
        if self.secrets.former.is_none() {
            payloads.extend(cert_payloads(&self.chosen.connection, self.rounds.now, self.wants.cert_asked));
        }
        payloads.push(Payload::Auth(auth));
        payloads
    }

    /// Answers the first of two rounds.
    fn on_first(mut self, sa: &mut Common, cx: &mut Cx<'_>, auth: Authentication<'static>) -> Next {
        let mut payloads = self.proof(Some(auth));
        let mut facts = facts(sa, cx, (&self.chosen, &self.secrets));
        ext::offer(Moment::FirstAuthResponse, &mut facts, &mut payloads);
        self.secrets.channel.respond(sa, cx, self.to, &payloads);
        Halfway::begin(sa, cx, self)
    }

    /// Answers the last round.
    fn on_proved(self, sa: &mut Common, cx: &mut Cx<'_>, auth: Option<Authentication<'static>>) -> Next {
        let mut payloads = self.proof(auth);
        let Self { chosen, mut secrets, identities, to, mut wants, .. } = self;
        // They are of no more use.
        secrets.agreed.auth_methods = Vec::new();
        let guest = Guest {
            connection: &chosen.connection,
            client: sa.path.remote.ip(),
            identity: Some(&identities.remote),
            first: None,
            agreed: &secrets.agreed,
            load: cx.directory.ike_sas(),
        };
        //= rfc5685 §6
        //# it prevents the creation of a CHILD SA and sends the REDIRECT payload in the IKE_AUTH response. The gateway MUST
        //# verify the client's AUTH payload before sending the REDIRECT payload
        if let Some(notify) = ext::turn(&guest) {
            payloads.push(Payload::Notify(notify));
            if let Some(Ok(decided)) = wants.child.take() {
                cx.directory.release_spi(decided.agreed.spi_in);
            }
            let answer =
                AuthAnswer { to, payloads, reply: None, leases: wants.leases, child: None, leaves: true };
            return Established::as_responder(sa, cx, Authenticated { chosen, secrets, identities }, answer);
        }
        ext::offer(Moment::AuthResponse, &mut facts(sa, cx, (&chosen, &secrets)), &mut payloads);
        let Wants { child, notifies, reply, leases, .. } = wants;
        payloads.extend(notifies);
        let answer = AuthAnswer { to, payloads, reply, leases, child, leaves: false };
        Established::as_responder(sa, cx, Authenticated { chosen, secrets, identities }, answer)
    }
}

fn facts<'a>(sa: &Common, cx: &'a mut Cx<'_>, (chosen, secrets): (&'a Chosen, &'a Secrets)) -> Facts<'a> {
    Facts {
        suite: cx.suite,
        settings: cx.settings,
        rng: cx.rng,
        spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
        path: sa.path,
        connection: &chosen.connection,
        agreed: &secrets.agreed,
        addresses: cx.addresses,
        first_contact: false,
        resumes: false,
    }
}

impl Stage for Proving {
    fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&*self.ready.chosen.connection),
            identities: Some(&self.ready.identities),
            suite: Some(self.ready.secrets.suite),
            ..Known::default()
        }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        self.ready.secrets.channel.take_repeated(sa, cx, datagram);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Proved(proof, by) => {
                let Self { mut ready, .. } = *self;
                let auth = Authentication { method: num::AuthMethod(proof.method), data: proof.data.into() };
                let id = ready.local();
                ready.identities.ours.push(Proven { id, by });
                match ready.rounds.follows() {
                    true => ready.on_first(sa, cx, auth),
                    false => ready.on_proved(sa, cx, Some(auth)),
                }
            }
            Answer::Refused(why) => {
                let refusal = Refusal {
                    kind: RefusalKind::AuthenticationFailed,
                    by_peer: false,
                    connection: Some(self.ready.chosen.connection.name.clone()),
                    reason: why.reason,
                };
                self.ready.refuse(sa, cx, refusal)
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.until.is_over(cx) {
            return self;
        }
        let refusal = late(Some(&self.ready.chosen));
        self.ready.refuse(sa, cx, refusal)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, _: End) -> Next {
        let refusal = ended(Some(&self.ready.chosen));
        self.ready.refuse(sa, cx, refusal)
    }

    fn is_half_open(&self) -> bool {
        self.ready.rounds.follows()
    }
}
