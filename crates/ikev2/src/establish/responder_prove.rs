//! The end of the responder's IKE_AUTH: our own AUTH value is made, and the response with it.

use super::responder_auth::refuse;
use super::responder_check::{Claimed, Wants, ended, late};
use super::{Deadline, Secrets, cert_payloads};
use crate::channel::Request;
use crate::contents;
use crate::established::{AuthAnswer, Authenticated, Established, Identities};
use crate::ext::{self, Facts, Guest, Moment};
use crate::ike_sa::{Chosen, Datagram, End, Known, Next, Stage};
use crate::{Common, Cx, limits};
use base::Instant;
use crypto::Spis;
use sa::{Answer, Job, JobId, Reason, Refusal, RefusalKind, Side};
use wire::num;
use wire::{Authentication, Payload};

/// Our AUTH value is being made.
pub(crate) struct Proving {
    ready: Ready,
    job: JobId,
    until: Deadline,
}

/// All that the response is made of, but AUTH.
struct Ready {
    chosen: Chosen,
    secrets: Secrets,
    identities: Identities,
    to: Request,
    wants: Wants,
}

impl Proving {
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: Claimed) -> Next {
        let Claimed { chosen, secrets, identities, to, wants, .. } = from;
        let id = contents::identification(&identities.local).octets_to_sign();
        let mut ready = Ready { chosen, secrets, identities, to, wants };
        if ready.secrets.former.is_some() {
            let data = ready.secrets.resumption_auth(cx, Side::Responder, &id).expose().clone().into();
            return ready.on_proved(sa, cx, Authentication { method: num::AuthMethod::SHARED_KEY, data });
        }
        let Ready { chosen, secrets, identities, .. } = &mut ready;
        let job = Job::Prove {
            connection: chosen.id,
            name: chosen.connection.name.clone(),
            local: identities.local.clone(),
            remote: Some(identities.remote.clone()),
            prf: secrets.suite.prf,
            octets: secrets.signed_octets(cx, Side::Responder, &id),
            peer_hashes: secrets.agreed.hashes.clone(),
            peer_methods: std::mem::take(&mut secrets.agreed.auth_methods),
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

    fn on_proved(self, sa: &mut Common, cx: &mut Cx<'_>, auth: Authentication<'static>) -> Next {
        let Self { chosen, secrets, identities, to, mut wants } = self;
        let mut payloads = vec![Payload::IdR(contents::identification(&identities.local))];
        //= rfc5723 §4.3.3
        //# A CERT payload MUST NOT be included in this exchange
        if secrets.former.is_none() {
            payloads.extend(cert_payloads(&chosen.connection, wants.cert_asked));
        }
        payloads.push(Payload::Auth(auth));
        let mut facts = Facts {
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
        };
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
        ext::offer(Moment::AuthResponse, &mut facts, &mut payloads);
        let Wants { child, notifies, reply, leases, .. } = wants;
        payloads.extend(notifies);
        let answer = AuthAnswer { to, payloads, reply, leases, child, leaves: false };
        Established::as_responder(sa, cx, Authenticated { chosen, secrets, identities }, answer)
    }
}

impl Stage for Proving {
    fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&*self.ready.chosen.connection),
            local_id: Some(&self.ready.identities.local),
            remote_id: Some(&self.ready.identities.remote),
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
            Answer::Proved(proof) => {
                let method = num::AuthMethod(proof.method);
                self.ready.on_proved(sa, cx, Authentication { method, data: proof.data.into() })
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
}
