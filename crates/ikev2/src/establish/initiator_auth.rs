//! The initiator's IKE_AUTH: from keys to an established IKE SA.

use super::{Deadline, Secrets, cert_payloads, cert_request, is_fatal, local_identity};
use crate::channel::{Authentic, Incoming, Message};
use crate::child::{self, Proposed};
use crate::closing::Closing;
use crate::contents::{self, Contents};
use crate::established::{Authenticated, Established, FirstChild, Identities};
use crate::ext::{self, Facts, Moment};
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage};
use crate::sent::Sent;
use crate::{Common, Cx, limits};
use base::Instant;
use crypto::Spis;
use policy::{Child, IdPattern, Identity};
use sa::{Answer, Fate, Job, JobId, PairKey, PeerProof, Reason, Refusal, RefusalKind, Side};
use std::sync::Arc;
use wire::num::{AuthMethod, ExchangeType, NotifyType};
use wire::{Authentication, Identification, Payload};

/// Our AUTH value is being made.
pub(crate) struct Proving {
    chosen: Chosen,
    secrets: Secrets,
    local: Identity,
    /// The peer sent a CERTREQ.
    cert_asked: bool,
    job: JobId,
    until: Deadline,
}

impl Proving {
    pub(super) fn begin(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        chosen: Chosen,
        secrets: Secrets,
        cert_asked: bool,
    ) -> Next {
        let local = local_identity(&chosen.connection, sa);
        let id = contents::identification(&local).octets_to_sign();
        let job = cx.out.job(
            sa.id,
            Job::Prove {
                connection: chosen.id,
                local: local.clone(),
                remote: expected(&chosen),
                prf: secrets.suite.prf,
                octets: secrets.signed_octets(cx, Side::Initiator, &id),
                peer_hashes: secrets.agreed.hashes.clone(),
            },
        );
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { chosen, secrets, local, cert_asked, job, until })
    }
}

/// Who the peer has to be, where that is one identity.
fn expected(chosen: &Chosen) -> Option<Identity> {
    match &chosen.connection.remote.id {
        IdPattern::Is(identity) => Some(identity.clone()),
        _ => None,
    }
}

impl Stage for Proving {
    fn known(&self) -> Known<'_> {
        let connection = Some(&*self.chosen.connection);
        Known { connection, local_id: Some(&self.local), suite: Some(self.secrets.suite), ..Known::default() }
    }

    fn datagram(self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        cx.unexpected(datagram.path);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Proved(proof) => {
                let data = proof.data.into();
                AwaitAuth::begin(sa, cx, *self, Authentication { method: AuthMethod(proof.method), data })
            }
            Answer::Refused(why) => {
                let refusal = Refusal {
                    kind: RefusalKind::AuthenticationFailed,
                    by_peer: false,
                    connection: Some(self.chosen.connection.name.clone()),
                    reason: why.reason,
                };
                sa.give_up(cx, &self.known(), Fate::Refused(refusal));
                Box::new(Gone)
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.until.is_over(cx) {
            return self;
        }
        sa.give_up(cx, &self.known(), Fate::HalfOpenTimeout);
        Box::new(Gone)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        sa.give_up(cx, &self.known(), end.fate);
        Box::new(Gone)
    }
}

/// Our IKE_AUTH request is on its way.
pub(crate) struct AwaitAuth {
    chosen: Chosen,
    secrets: Secrets,
    local: Identity,
    /// The child SA that it proposes.
    proposed: Option<Proposed>,
    request: Sent,
}

impl AwaitAuth {
    fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: Proving, auth: Authentication<'static>) -> Next {
        let first = first_child(sa, &from.chosen);
        //= rfc6023 §4
        //# the initiator may leave SA, TSi and TSr out only when the responder has sent CHILDLESS_IKEV2_SUPPORTED
        if first.is_none() && !from.secrets.agreed.childless {
            let refusal = Refusal {
                kind: RefusalKind::NoConnection,
                by_peer: true,
                connection: Some(from.chosen.connection.name.clone()),
                reason:
                    "The connection has no children, and the peer does not support an IKE SA without one \
                         (RFC 6023): add a child."
                        .to_string(),
            };
            sa.give_up(cx, &from.known(), Fate::Refused(refusal));
            return Box::new(Gone);
        }
        let proposed = first.map(|child| Proposed::new(sa, cx, child, false));
        let Proving { chosen, mut secrets, local, cert_asked, .. } = from;
        let connection = &chosen.connection;
        let mut payloads = vec![Payload::IdI(contents::identification(&local))];
        payloads.extend(cert_payloads(connection, cert_asked));
        let first_contact = is_first_contact(cx, &chosen, &local);
        let mut facts = Facts {
            suite: cx.suite,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection,
            agreed: &secrets.agreed,
            first_contact,
        };
        ext::offer(Moment::AuthRequest, &mut facts, &mut payloads);
        payloads.extend(cert_request(std::iter::once(&**connection)));
        payloads.extend(expected(&chosen).map(|id| Payload::IdR(contents::identification(&id))));
        payloads.push(Payload::Auth(auth));
        if let Some(proposed) = &proposed {
            payloads.push(proposed.sa_payload());
            payloads.extend(proposed.ts_payloads());
        }
        match secrets.channel.ask(sa, cx, ExchangeType::IKE_AUTH, &payloads) {
            Some(request) => Box::new(Self { chosen, secrets, local, proposed, request }),
            // A new channel has all its message ids.
            None => Box::new(Gone),
        }
    }

    fn end(self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        if let Some(proposed) = &self.proposed {
            cx.directory.release_spi(proposed.spi);
        }
        sa.give_up(cx, &self.known(), fate);
        Box::new(Gone)
    }

    /// The response: everything in it is the work of whoever did the key exchange with us.
    fn on_response(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, message: &Authentic<Message>) -> Next {
        let contents = match message.contents() {
            Ok(contents) if message.exchange() == ExchangeType::IKE_AUTH => contents,
            Ok(_) => {
                return self.end(sa, cx, Fate::Fault("the response is of another exchange type".to_string()));
            }
            Err(fault) => return self.end(sa, cx, Fate::Fault(fault.to_string())),
        };
        if let Some(notify) =
            contents.error().filter(|notify| is_fatal(notify.kind) || contents.auth.is_none())
        {
            let refusal = self.refused_by_peer(notify.kind);
            return self.end(sa, cx, Fate::Refused(refusal));
        }
        let (Some(id_r), Some(auth)) = (&contents.id_r, &contents.auth) else {
            let what = if contents.has_eap {
                "the peer wants to authenticate us by EAP, which this connection does not do"
            } else {
                "the response to IKE_AUTH lacks IDr or AUTH"
            };
            return self.end(sa, cx, Fate::Fault(what.to_string()));
        };
        let (id_r, auth) = (id_r.clone(), auth.clone());
        Checking::begin(sa, cx, *self, Claim { contents, id_r, auth })
    }

    fn refused_by_peer(&self, kind: NotifyType) -> Refusal {
        let connection = &self.chosen.connection;
        let (refusal, reason) = match kind {
            NotifyType::AUTHENTICATION_FAILED => (
                RefusalKind::AuthenticationFailed,
                format!(
                    "The peer did not accept that we are `{}`, or has no connection for us: compare the secret or \
                     the certificate, and the identities, on both sides. Its log knows more.",
                    self.local
                ),
            ),
            other => (
                RefusalKind::PeerError,
                format!("The peer refused IKE_AUTH with {other}. Its log knows more."),
            ),
        };
        Refusal { kind: refusal, by_peer: true, connection: Some(connection.name.clone()), reason }
    }
}

/// The child that goes with IKE_AUTH: the first that is wished for.
fn first_child(sa: &Common, chosen: &Chosen) -> Option<Arc<Child>> {
    let children = &chosen.connection.children;
    let wished = sa
        .wishes
        .iter()
        .flat_map(|wish| &wish.open)
        .find_map(|name| children.iter().find(|c| c.name == *name));
    wished.or(children.first()).cloned()
}

/// Whether we have no other IKE SA with that peer.
fn is_first_contact(cx: &Cx<'_>, chosen: &Chosen, local: &Identity) -> bool {
    let Some(remote) = expected(chosen) else { return false };
    let body = |identity: &Identity| contents::identification(identity).octets_to_sign();
    cx.directory.between(&PairKey::new(&body(local), &body(&remote))).is_empty()
}

impl Stage for AwaitAuth {
    fn known(&self) -> Known<'_> {
        let connection = Some(&*self.chosen.connection);
        Known { connection, local_id: Some(&self.local), suite: Some(self.secrets.suite), ..Known::default() }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        if !datagram.header.flags.response {
            // A responder that is ready before us may ask already. It asks again; by then we can answer.
            cx.unexpected(datagram.path);
            return self;
        }
        match self.secrets.channel.take(sa, cx, Some(self.request.id), datagram) {
            Some(Incoming::Response(message)) => self.on_response(sa, cx, &message),
            Some(Incoming::Request(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        self.secrets.channel.tidy(cx.now.mono);
        match self.request.on_time(sa, cx) {
            Ok(()) => self,
            Err(fate) => self.end(sa, cx, fate),
        }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        Some((self.request.due(), Reason::Retransmit))
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.end(sa, cx, end.fate)
    }
}

/// What the response says.
struct Claim<'a> {
    contents: Contents<'a>,
    id_r: Identification<'a>,
    auth: Authentication<'a>,
}

/// The peer's AUTH value is being checked.
pub(crate) struct Checking {
    chosen: Chosen,
    secrets: Secrets,
    identities: Identities,
    first: Option<FirstChild>,
    job: JobId,
    until: Deadline,
}

impl Checking {
    fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: AwaitAuth, claim: Claim<'_>) -> Next {
        let Claim { contents, id_r, auth } = claim;
        let AwaitAuth { chosen, mut secrets, local, proposed, .. } = from;
        let remote = contents::identity(&id_r);
        let job = Job::Check {
            connection: chosen.id,
            local: local.clone(),
            remote: remote.clone(),
            wanted: chosen.connection.remote.id.clone(),
            prf: secrets.suite.prf,
            octets: secrets.signed_octets(cx, Side::Responder, &id_r.octets_to_sign()),
            proof: PeerProof { method: auth.method.0, data: auth.data.to_vec(), certs: contents.x509() },
            wall: cx.now.wall,
        };
        let job = cx.out.job(sa.id, job);
        let mut agreed = secrets.agreed.clone();
        let facts = Facts {
            suite: cx.suite,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection: &chosen.connection,
            agreed: &secrets.agreed,
            first_contact: false,
        };
        ext::inspect(Moment::AuthResponse, &facts, &contents, &mut agreed);
        secrets.agreed = agreed;
        let first = proposed.map(|proposed| first_child_of(&chosen, proposed, &contents));
        let identities = Identities::new(local, remote);
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { chosen, secrets, identities, first, job, until })
    }

    /// The peer is not who it should be: it is told, since it takes the IKE SA to be established.
    //= rfc7296 §2.21.2
    //# If the error occurs on the initiator, the notification MAY be returned in a separate INFORMATIONAL
    //# exchange, usually with no other payloads.
    fn refuse(self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        if let Some(first) = &self.first {
            cx.directory.release_spi(first.spi());
        }
        sa.give_up(cx, &self.known(), fate);
        Closing::after_failed_authentication(sa, cx, self.chosen.connection, self.secrets.channel)
    }
}

fn first_child_of(chosen: &Chosen, proposed: Proposed, contents: &Contents<'_>) -> FirstChild {
    let connection = &chosen.connection;
    if let Some(notify) = contents.error() {
        let refusal = child::refused_by_peer(notify, connection, &proposed.child);
        return FirstChild::Refused(proposed, refusal);
    }
    match proposed.accept(contents) {
        Ok(agreed) => FirstChild::Agreed(proposed, agreed),
        Err((kind, reason)) => {
            let refusal = Refusal { kind, by_peer: false, connection: Some(connection.name.clone()), reason };
            let spi_out =
                contents.sa.as_deref().and_then(|sa| contents::esp_answer(sa).ok()).map(|(_, spi)| spi);
            match spi_out {
                Some(_) => FirstChild::Unacceptable(proposed, refusal),
                None => FirstChild::Refused(proposed, refusal),
            }
        }
    }
}

impl Stage for Checking {
    fn known(&self) -> Known<'_> {
        Known {
            connection: Some(&*self.chosen.connection),
            local_id: Some(&self.identities.local),
            remote_id: Some(&self.identities.remote),
            suite: Some(self.secrets.suite),
            ..Known::default()
        }
    }

    fn datagram(self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        // A request of the responder comes again; by then we are ready for it.
        cx.unexpected(datagram.path);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Verified(_) => {
                let Self { chosen, secrets, identities, first, .. } = *self;
                Established::as_initiator(sa, cx, Authenticated { chosen, secrets, identities }, first)
            }
            Answer::Refused(why) => {
                let refusal = Refusal {
                    kind: RefusalKind::AuthenticationFailed,
                    by_peer: false,
                    connection: Some(self.chosen.connection.name.clone()),
                    reason: why.reason,
                };
                self.refuse(sa, cx, Fate::Refused(refusal))
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.until.is_over(cx) { self.refuse(sa, cx, Fate::HalfOpenTimeout) } else { self }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.refuse(sa, cx, end.fate)
    }
}
