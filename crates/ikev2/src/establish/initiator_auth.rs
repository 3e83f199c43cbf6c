//! The initiator's IKE_AUTH: from keys to an established IKE SA.

use super::initiator_init::{Agreement, float};
use super::rivals::Rivals;
use super::{
    Deadline, Secrets, begin_after_nat, cert_payloads, cert_request, init, initiator_puzzle, is_fatal,
    local_identity,
};
use crate::channel::{Authentic, Incoming, Message};
use crate::child::{self, Proposed};
use crate::closing::Closing;
use crate::contents::{self, Contents};
use crate::established::{Authenticated, Established, FirstChild, Identities};
use crate::ext::configuration::{before_reply, clip};
use crate::ext::{self, Agreed, Facts, Moment, Nat};
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage};
use crate::sent::Sent;
use crate::{Common, Cx, limits, redirect};
use base::Instant;
use crypto::Spis;
use policy::{Child, Childless, Connection, IdPattern, Identity};
use sa::{Answer, Fate, Job, JobId, PairKey, PeerProof, Reason, Refusal, RefusalKind, Side};
use std::sync::Arc;
use wire::num::{AuthMethod, ExchangeType, NotifyType};
use wire::{Authentication, Identification, Payload};

/// Our AUTH value is being made.
pub(crate) struct Proving {
    rivals: Rivals,
    chosen: Chosen,
    secrets: Secrets,
    local: Identity,
    /// The peer sent a CERTREQ.
    cert_asked: bool,
    puzzle: Puzzled,
    job: JobId,
    until: Deadline,
}

/// What has come of the puzzle that was to be solved before IKE_AUTH.
struct Puzzled {
    solution: Option<Vec<u8>>,
    /// Why there is no solution.
    obstacle: Option<Refusal>,
}

impl Proving {
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, rivals: Rivals, agreement: Agreement) -> Next {
        let Agreement { spi_r, secrets, cert_asked, solution, obstacle, .. } = agreement;
        let puzzle = Puzzled { solution, obstacle };
        let chosen = rivals.chosen().clone();
        sa.spi_r = spi_r;
        float(sa, cx, &secrets, chosen.connection.mobike);
        let local = local_identity(&chosen.connection, sa);
        let id = contents::identification(&local).octets_to_sign();
        let job = cx.out.job(
            sa.id,
            Job::Prove {
                connection: chosen.id,
                name: chosen.connection.name.clone(),
                local: local.clone(),
                remote: expected(&chosen),
                prf: secrets.suite.prf,
                octets: secrets.signed_octets(cx, Side::Initiator, &id),
                peer_hashes: secrets.agreed.hashes.clone(),
            },
        );
        let until = Deadline(cx.now.mono + limits::JOB_PATIENCE);
        Box::new(Self { rivals, chosen, secrets, local, cert_asked, puzzle, job, until })
    }
}

impl Proving {
    fn end(self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        sa.give_up(cx, &self.known(), fate);
        self.rivals.forget(cx);
        Box::new(Gone)
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

    fn datagram(mut self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        match init::is_response(&datagram) {
            true => self.rivals.hear(cx, &datagram, &self.secrets.transcript.response),
            false => cx.unexpected(datagram.path),
        }
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
                self.end(sa, cx, Fate::Refused(refusal))
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.until.is_over(cx) {
            return self;
        }
        self.end(sa, cx, Fate::HalfOpenTimeout)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.end(sa, cx, end.fate)
    }
}

/// Our IKE_AUTH request is on its way.
pub(crate) struct AwaitAuth {
    attempt: Attempt,
    rivals: Rivals,
}

/// An IKE_AUTH request to whoever sent one of the answers to IKE_SA_INIT.
pub(super) struct Attempt {
    chosen: Chosen,
    pub(super) secrets: Secrets,
    local: Identity,
    /// The child SA that it proposes.
    proposed: Option<Proposed>,
    /// Why the request lacks the solution of a puzzle.
    obstacle: Option<Refusal>,
    request: Sent,
}

impl Attempt {
    /// Whether it has been sent as often as it may.
    pub(super) fn is_spent(&self) -> bool {
        self.request.is_spent()
    }

    /// It came to nothing.
    pub(super) fn release(&self, cx: &mut Cx<'_>) {
        if let Some(proposed) = &self.proposed {
            cx.directory.release_spi(proposed.spi);
        }
    }
}

impl AwaitAuth {
    fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: Proving, auth: Authentication<'static>) -> Next {
        let connection = &from.chosen.connection;
        let can = from.secrets.agreed.childless;
        let wanted = first_child(sa, &before_reply(&from.chosen.connection));
        let first = match connection.extensions.childless {
            Childless::Never | Childless::Allow => wanted,
            Childless::Prefer => wanted.filter(|_| !can),
            Childless::Force => None,
        };
        let never = connection.extensions.childless == Childless::Never;
        //= rfc6023 §4
        //# the initiator may leave SA, TSi and TSr out only when the responder has sent CHILDLESS_IKEV2_SUPPORTED
        if first.is_none() && (!can || never) {
            let reason = match (never, connection.children.is_empty()) {
                (true, _) => "The connection has no children, and `childless = \"never\"`: add a child.",
                (false, true) => {
                    "The connection has no children, and the peer does not support an IKE SA without one \
                         (RFC 6023): add a child."
                }
                (false, false) => {
                    "`childless = \"force\"`, and the peer does not support an IKE SA without a child (RFC 6023)."
                }
            };
            let refusal = Refusal {
                kind: RefusalKind::NoConnection,
                by_peer: !never,
                connection: Some(connection.name.clone()),
                reason: reason.to_string(),
            };
            return from.end(sa, cx, Fate::Refused(refusal));
        }
        let proposed = first.map(|child| Proposed::new(sa, cx, child, false));
        let Proving { rivals, chosen, mut secrets, local, cert_asked, puzzle, .. } = from;
        let connection = &chosen.connection;
        let mut payloads = vec![Payload::IdI(contents::identification(&local))];
        payloads.extend(cert_payloads(connection, cert_asked));
        let first_contact = is_first_contact(cx, &chosen, &local);
        let mut facts = Facts {
            suite: cx.suite,
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection,
            agreed: &secrets.agreed,
            addresses: cx.addresses,
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
        let request = match puzzle.solution {
            Some(keys) => secrets.channel.ask_after(sa, cx, &Payload::PuzzleSolution(keys.into()), &payloads),
            None => secrets.channel.ask(sa, cx, ExchangeType::IKE_AUTH, &payloads),
        };
        match request {
            Some(request) => {
                let obstacle = puzzle.obstacle;
                let attempt = Attempt { chosen, secrets, local, proposed, obstacle, request };
                Box::new(Self { attempt, rivals })
            }
            // A new channel has all its message ids.
            None => Box::new(Gone),
        }
    }

    /// Goes on with an answer that was followed before: its request goes out again.
    pub(super) fn resume(sa: &mut Common, cx: &mut Cx<'_>, attempt: Attempt, rivals: Rivals) -> Next {
        let mut stage = Self { attempt, rivals };
        match stage.attempt.request.on_time(sa, cx) {
            Ok(()) => Box::new(stage),
            Err(fate) => stage.end(sa, cx, fate),
        }
    }

    /// One wait has gone by without a response: the turn of another answer, or of the same request again.
    fn on_silence(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.rivals.is_empty() {
            return match self.attempt.request.on_time(sa, cx) {
                Ok(()) => self,
                Err(fate) => self.end(sa, cx, fate),
            };
        }
        let Self { attempt, rivals } = *self;
        match rivals.change(sa, cx, Box::new(attempt)) {
            Ok(next) => next,
            Err(back) => {
                let (rivals, attempt) = *back;
                Box::new(Self { attempt: *attempt, rivals }).on_silence(sa, cx)
            }
        }
    }

    fn end(self, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        self.attempt.release(cx);
        let fate = initiator_puzzle::explain(fate, self.attempt.obstacle.clone());
        sa.give_up(cx, &self.known(), fate);
        self.rivals.forget(cx);
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
            let nat = notify.kind == NotifyType::UNEXPECTED_NAT_DETECTED;
            let again = nat && begin_after_nat(sa, cx, &self.attempt.chosen.connection.name);
            return self.end(sa, cx, if again { Fate::Replaced } else { Fate::Refused(refusal) });
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
        let Self { attempt, rivals } = *self;
        rivals.forget(cx);
        Checking::begin(sa, cx, attempt, Claim { contents, id_r, auth })
    }

    fn refused_by_peer(&self, kind: NotifyType) -> Refusal {
        let connection = &self.attempt.chosen.connection;
        let reason = match kind {
            NotifyType::AUTHENTICATION_FAILED => {
                return super::not_accepted(connection, &self.attempt.local);
            }
            NotifyType::UNEXPECTED_NAT_DETECTED => {
                "The peer sees a NAT on the path, where MOBIKE without NAT traversal allows none (RFC 4555 §3.9): set \
                 `mobike = false`, or have the peer speak NAT traversal."
                    .to_string()
            }
            _ => format!("The peer refused IKE_AUTH with {kind}. Its log knows more."),
        };
        Refusal {
            kind: RefusalKind::PeerError,
            by_peer: true,
            connection: Some(connection.name.clone()),
            reason,
        }
    }
}

/// The child that goes with IKE_AUTH: the first that is wished for.
fn first_child(sa: &Common, connection: &Connection) -> Option<Arc<Child>> {
    let children = &connection.children;
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
        let connection = Some(&*self.attempt.chosen.connection);
        Known {
            connection,
            local_id: Some(&self.attempt.local),
            suite: Some(self.attempt.secrets.suite),
            ..Known::default()
        }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        if init::is_response(&datagram) {
            self.rivals.hear(cx, &datagram, &self.attempt.secrets.transcript.response);
            return self;
        }
        if !datagram.header.flags.response {
            // A responder that is ready before us may ask already. It asks again; by then we can answer.
            cx.unexpected(datagram.path);
            return self;
        }
        let id = self.attempt.request.id;
        match self.attempt.secrets.channel.take(sa, cx, |awaited| awaited == id, datagram) {
            Some(Incoming::Response(message)) => self.on_response(sa, cx, &message),
            Some(Incoming::Request(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        self.attempt.secrets.channel.tidy(cx.now.mono);
        if cx.now.mono >= self.attempt.request.due() { self.on_silence(sa, cx) } else { self }
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        Some((self.attempt.request.due(), Reason::Retransmit))
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
    fn begin(sa: &mut Common, cx: &mut Cx<'_>, from: Attempt, claim: Claim<'_>) -> Next {
        let Claim { contents, id_r, auth } = claim;
        let Attempt { mut chosen, mut secrets, local, proposed, .. } = from;
        let remote = contents::identity(&id_r);
        let job = Job::Check {
            connection: chosen.id,
            name: chosen.connection.name.clone(),
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
            settings: cx.settings,
            rng: cx.rng,
            spis: Spis { initiator: sa.spi_i, responder: sa.spi_r },
            path: sa.path,
            connection: &chosen.connection,
            agreed: &secrets.agreed,
            addresses: cx.addresses,
            first_contact: false,
        };
        ext::inspect(Moment::AuthResponse, &facts, &contents, &mut agreed);
        secrets.agreed = agreed;
        let first =
            proposed.map(|proposed| first_child_of(&chosen, (sa, secrets.agreed.nat), proposed, &contents));
        let first = with_addresses(&mut chosen, &mut secrets.agreed, &remote, first);
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

fn first_child_of(
    chosen: &Chosen,
    (sa, nat): (&Common, Nat),
    proposed: Proposed,
    contents: &Contents<'_>,
) -> FirstChild {
    let connection = &chosen.connection;
    if let Some(notify) = contents.error() {
        let pair = proposed.pair().filter(|_| notify.kind == NotifyType::SINGLE_PAIR_REQUIRED);
        if let Some(pair) = pair {
            return FirstChild::ForPair(proposed, pair);
        }
        let refusal = child::refused_by_peer(notify, connection, &proposed.child);
        return FirstChild::Refused(proposed, refusal);
    }
    match proposed.accept(sa, nat, contents) {
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

/// What the peer gave us by a configuration payload comes in: the connection has our addresses from now on.
fn with_addresses(
    chosen: &mut Chosen,
    agreed: &mut Agreed,
    peer: &Identity,
    first: Option<FirstChild>,
) -> Option<FirstChild> {
    let asked = chosen.connection.clone();
    let filled = match agreed.with_addresses(&asked) {
        None => return first,
        Some(Err(why)) => return first.map(|first| without(&asked, first, why)),
        Some(Ok(filled)) => filled,
    };
    chosen.connection = filled;
    let Some(FirstChild::Agreed(proposed, mut agreement)) = first else { return first };
    agreed.restrict_names(peer, &agreement.remote);
    let find = |connection: &Connection| {
        connection.children.iter().find(|child| child.name == proposed.child.name).cloned()
    };
    if let (Some(before), Some(own)) = (find(&asked), find(&chosen.connection))
        && before.local_ts != own.local_ts
    {
        agreement.local = clip(&agreement.local, &own.local_ts);
    }
    let first = FirstChild::Agreed(proposed, agreement);
    let FirstChild::Agreed(_, agreement) = &first else { return Some(first) };
    match agreement.local.is_empty() {
        true => {
            let why = "The traffic that the peer allows us is not that of the address that it gave us.";
            Some(without(&asked, first, why.to_string()))
        }
        false => Some(first),
    }
}

/// A child that the peer agreed to is of no use without an address.
fn without(connection: &Connection, first: FirstChild, reason: String) -> FirstChild {
    match first {
        FirstChild::Agreed(proposed, _) => {
            let (kind, connection) = (RefusalKind::NoAddress, Some(connection.name.clone()));
            FirstChild::Unacceptable(proposed, Refusal { kind, by_peer: true, connection, reason })
        }
        other => other,
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
                let Self { chosen, mut secrets, identities, first, .. } = *self;
                //= rfc5685 §6
                //# the client MUST verify the gateway's AUTH payload before acting on the REDIRECT payload
                if let Some(redirect) = secrets.agreed.redirect.take() {
                    if let Some(first) = &first {
                        cx.directory.release_spi(first.spi());
                    }
                    let channel = Some(secrets.channel);
                    return redirect::before_it_stands(sa, cx, &chosen.connection, &redirect, channel);
                }
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
