//! The responder's IKE_AUTH: from a half-open IKE SA to an established one.

use super::{Deadline, Secrets, Transcript, responder_intermediate, responder_ppk, responder_resume};
use crate::channel::{Authentic, Incoming, Message, Request};
use crate::closing::Lingering;
use crate::contents::{self, Contents};
use crate::ext;
use crate::fault::Fault;
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage};
use crate::trace::{Trace, Way};
use crate::{Common, Cx};
use base::{Instant, MessageId};
use policy::{AuthMethod, Childless, Claims, Connection, ConnectionId, Policy};
use sa::{Answer, Drop, Event, Fate, JobId, Reason, Refusal, RefusalKind};
use std::sync::Arc;
use std::time::Duration;
use wire::num::{self, ExchangeType, NotifyType};
use wire::{Authentication, Notify, Payload};

/// IKE_SA_INIT is answered; who the peer is, nobody knows.
pub(crate) struct HalfOpen {
    open: Open,
    secrets: Secrets,
}

/// What is true of a half-open IKE SA whether its keys are computed or not.
pub(super) struct Open {
    /// The connections that may be meant, and the configuration that they are of.
    among: Vec<ConnectionId>,
    policy: Arc<Policy>,
    trace: Trace,
    answered: u32,
    /// Until when the first protected message must come.
    pub(super) until: Deadline,
    /// How long that was from the beginning: under load less than usual.
    patience: Duration,
}

impl Open {
    pub(super) fn new(cx: &Cx<'_>, among: Vec<ConnectionId>, trace: Trace, patience: Duration) -> Self {
        let until = Deadline(cx.now.mono + patience);
        Self { among, policy: cx.policy.clone(), trace, answered: 0, until, patience }
    }

    /// The next message is waited for as long as the first one was; there are few rounds, and all together have the usual time.
    pub(super) fn wait_on(&mut self, sa: &Common, cx: &Cx<'_>) {
        let all = sa.born + cx.settings.half_open_timeout;
        self.until = Deadline(all.min(cx.now.mono + self.patience));
    }

    pub(super) fn answer_init(&mut self, sa: &mut Common, cx: &mut Cx<'_>, response: &[u8]) {
        let response = response.to_vec();
        let trace = self.trace.message(sa, Way::out(std::slice::from_ref(&response), self.answered));
        self.answered += 1;
        cx.out.tell(Event::Message(trace));
        cx.out.transmit(sa.path, response);
    }

    /// The connections that may be meant.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Connection> {
        self.among.iter().filter_map(|id| self.policy.connection(*id)).map(|connection| &**connection)
    }

    /// An IKE_SA_INIT request came again.
    pub(super) fn repeat_init(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        datagram: &Datagram<'_>,
        (request, response): (&[u8], &[u8]),
    ) {
        //= rfc7296 §2.1
        //# a retransmitted IKE_SA_INIT request is recognized by its being the same, octet for octet
        if *datagram.bytes == *request {
            self.answer_init(sa, cx, response);
        } else {
            cx.out.tell(Event::Dropped { path: datagram.path, why: Drop::Replay });
        }
    }
}

impl HalfOpen {
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, mut open: Open, secrets: Secrets) -> Next {
        open.answer_init(sa, cx, &secrets.transcript.response);
        Box::new(Self::new(open, secrets))
    }

    /// One whose IKE_SA_INIT response has gone out.
    pub(super) fn new(open: Open, secrets: Secrets) -> Self {
        Self { open, secrets }
    }

    /// The first protected message: whoever did the key exchange with us says who it is.
    fn on_request(
        self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        to: Request,
        message: Authentic<Message>,
    ) -> Next {
        // RFC 7296 §2.23: the peer may have gone over to port 4500 with this message.
        sa.path = to.path;
        // Under load the first message had to come soon; what follows has the usual time.
        let until = Deadline(sa.born + cx.settings.half_open_timeout);
        if to.exchange == ExchangeType::IKE_INTERMEDIATE {
            return self.on_intermediate(sa, cx, (to, &message));
        }
        let Self { open: Open { among, policy, .. }, secrets } = *self;
        if let Some(method) = secrets.next_round() {
            let what = format!("{} came where key exchange {method} has its turn", to.exchange);
            return refuse_fault(sa, cx, secrets, to, &Fault::syntax("RFC 9370 §2.2.2", what));
        }
        //= rfc9867 §3.1
        //# If the negotiation was successful, the initiator includes one or more PPK_IDENTITY_KEY notifications in the
        //# IKE_INTERMEDIATE request
        if secrets.is_ppk_due() {
            let what = format!("{} came where PPKs were to be proposed", to.exchange);
            return refuse_fault(sa, cx, secrets, to, &Fault::syntax("RFC 9867 §3.1", what));
        }
        let claim = match read(to, &message, until) {
            Ok(claim) => claim,
            Err(fault) => return refuse_fault(sa, cx, secrets, to, &fault),
        };
        let chosen = match &secrets.former {
            Some(former) => responder_resume::welcome(cx, (&policy, &among), former, &claim),
            None => choose(&policy, &among, &claim, &secrets),
        };
        match chosen {
            Ok(chosen) if claim.contents.sa.is_none() && is_never(&chosen) => {
                let what = "it asks for no child, and `childless = \"never\"`".to_string();
                refuse_fault(sa, cx, secrets, to, &Fault::syntax("RFC 6023 §3", what))
            }
            Ok(chosen) => {
                drop(claim);
                responder_ppk::welcome(sa, cx, (chosen, secrets), (to, message), until)
            }
            Err(refusal) => refuse(sa, cx, secrets, to, refusal),
        }
    }
}

impl HalfOpen {
    fn on_intermediate(
        self: Box<Self>,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        (to, message): (Request, &Authentic<Message>),
    ) -> Next {
        let Self { open, secrets } = *self;
        match responder_intermediate::read(cx, &secrets, to, message) {
            Ok(round) => responder_ppk::take_round(sa, cx, (open, secrets), round),
            Err(fault) => refuse_fault(sa, cx, secrets, to, &fault),
        }
    }
}

/// Whether the peer may not do without a child.
fn is_never(chosen: &Chosen) -> bool {
    chosen.connection.extensions.childless == Childless::Never
}

/// What an IKE_AUTH request says.
pub(super) struct Claim<'a> {
    pub(super) to: Request,
    pub(super) contents: Contents<'a>,
    pub(super) id_i: wire::Identification<'a>,
    pub(super) auth: Authentication<'a>,
    /// Until when all must be decided.
    pub(super) until: Deadline,
}

pub(super) fn read<'a>(
    to: Request,
    message: &'a Authentic<Message>,
    until: Deadline,
) -> Result<Claim<'a>, Fault> {
    let contents = message.contents()?;
    if message.exchange() != ExchangeType::IKE_AUTH {
        return Err(Fault::syntax(
            "RFC 7296 §1.2",
            format!("{} came in place of IKE_AUTH", message.exchange()),
        ));
    }
    let id_i = contents.id_i.clone().ok_or_else(|| Fault::missing("IDi"))?;
    //= rfc4739 §3.2
    //# The ANOTHER_AUTH_FOLLOWS notification payload is included in an IKE_AUTH message containing an AUTH payload
    if ext::another_auth_follows(&contents)
        && (contents.auth.is_none() || !contents.has(NotifyType::MULTIPLE_AUTH_SUPPORTED))
    {
        let what = "ANOTHER_AUTH_FOLLOWS came without AUTH or without MULTIPLE_AUTH_SUPPORTED";
        return Err(Fault::syntax("RFC 4739 §2.1", what));
    }
    let auth = match &contents.auth {
        Some(auth) => auth.clone(),
        // RFC 7296 §2.16: the wish to authenticate by EAP. No connection of ours does; a method that
        // fits none says so to the choice of the connection.
        None => Authentication { method: num::AuthMethod(0), data: Vec::new().into() },
    };
    Ok(Claim { to, contents, id_i, auth, until })
}

fn choose(
    policy: &Policy,
    among: &[ConnectionId],
    claim: &Claim<'_>,
    secrets: &Secrets,
) -> Result<Chosen, Refusal> {
    let peer = contents::identity(&claim.id_i);
    let us = claim.contents.id_r.as_ref().map(contents::identity);
    let method = match claim.auth.method {
        num::AuthMethod(0) => {
            let reason =
                format!("The peer `{peer}` wants to authenticate by EAP, which no connection here does.");
            return Err(Refusal {
                kind: RefusalKind::AuthenticationFailed,
                by_peer: false,
                connection: None,
                reason,
            });
        }
        num::AuthMethod::SHARED_KEY => AuthMethod::Psk,
        _ => AuthMethod::Pubkey,
    };
    let rounds = Some(ext::announced_rounds(&claim.contents, &secrets.agreed));
    let suite = Some(&secrets.suite);
    let claims = Claims { peer: &peer, us: us.as_ref(), method: Some(method), suite, rounds };
    let fitting = policy::by_claims(policy, among, claims).map_err(|none| {
        let connection = none.nearest.and_then(|id| policy.connection(id)).map(|c| c.name.clone());
        Refusal { kind: RefusalKind::AuthenticationFailed, by_peer: false, connection, reason: none.reason }
    })?;
    // Of those that fit alike, the one that the PPK in the keys is for.
    let ppk = secrets.agreed.ppk.id();
    let has = |id: &&ConnectionId| {
        policy.connection(**id).is_some_and(|c| ppk.is_none_or(|ppk| c.extensions.ppk.allows(ppk)))
    };
    let first = fitting
        .iter()
        .find(has)
        .or(fitting.first())
        .and_then(|id| Some((*id, policy.connection(*id)?.clone())));
    let (id, connection) = first.ok_or_else(|| Refusal {
        kind: RefusalKind::NoConnection,
        by_peer: false,
        connection: None,
        reason: "The connections of this peer are gone from the configuration.".to_string(),
    })?;
    Ok(Chosen { id, connection })
}

/// Ends a negotiation with AUTHENTICATION_FAILED; the reason stays here.
//= rfc7296 §2.21.2
//# All errors that occur in an IKE_AUTH exchange, causing the authentication to fail for whatever reason
//# SHOULD result in an AUTHENTICATION_FAILED notification.
pub(super) fn refuse(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    secrets: Secrets,
    to: Request,
    refusal: Refusal,
) -> Next {
    refuse_with(sa, cx, secrets, to, (NotifyType::AUTHENTICATION_FAILED, refusal))
}

/// Ends a negotiation with that notification.
pub(super) fn refuse_with(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    mut secrets: Secrets,
    to: Request,
    (notify, refusal): (NotifyType, Refusal),
) -> Next {
    let notify = Notify::new(notify, Vec::new());
    secrets.channel.respond(sa, cx, to, &[Payload::Notify(notify)]);
    sa.give_up(cx, &Known::default(), Fate::Refused(refusal));
    Lingering::after_failed_authentication(cx, secrets.channel)
}

/// Ends a negotiation with the notification that a fault asks for.
//= rfc7296 §2.21.2
//# request messages that contain an unsupported critical payload, or where the whole message is
//# malformed, MUST be rejected in their entirety, and MUST only lead to an UNSUPPORTED_CRITICAL_PAYLOAD or
//# INVALID_SYNTAX Notification sent as a response.
pub(super) fn refuse_fault(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    mut secrets: Secrets,
    to: Request,
    fault: &Fault,
) -> Next {
    let (notify, _) = fault.verdict();
    secrets.channel.respond(sa, cx, to, &[Payload::Notify(notify)]);
    sa.give_up(cx, &Known::default(), Fate::Fault(fault.to_string()));
    Lingering::after_failed_authentication(cx, secrets.channel)
}

impl Stage for HalfOpen {
    fn known(&self) -> Known<'_> {
        Known { suite: Some(self.secrets.suite), ..Known::default() }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let (path, header) = (datagram.path, datagram.header);
        let is_first =
            matches!(header.exchange, ExchangeType::IKE_SA_INIT | ExchangeType::IKE_SESSION_RESUME);
        if is_first && header.message_id == MessageId(0) {
            let Transcript { request, response, .. } = &self.secrets.transcript;
            self.open.repeat_init(sa, cx, &datagram, (request, response));
            return self;
        }
        let clean = self.secrets.channel.forged() == 0;
        let taken = self.secrets.channel.take(sa, cx, |_| false, datagram);
        //= rfc8019 §4.6
        //# the Responder SHOULD still keep the computed SK_* keys, so that if it happened to be an attack, then an
        //# attacker cannot get an advantage of repeating the attack multiple times on a single IKE SA.
        if clean && self.secrets.channel.forged() > 0 {
            *cx.spoiled += 1;
        }
        match taken {
            Some(Incoming::Request(message)) => {
                let to = Request { path, exchange: message.exchange(), id: message.id() };
                self.on_request(sa, cx, to, message)
            }
            Some(Incoming::Response(_) | Incoming::Part(_)) | None => self,
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        self.secrets.channel.tidy(cx.now.mono);
        if !self.open.until.is_over(cx) {
            return self;
        }
        sa.give_up(cx, &self.known(), Fate::HalfOpenTimeout);
        Box::new(Gone)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.open.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        sa.give_up(cx, &self.known(), end.fate);
        Box::new(Gone)
    }

    fn is_half_open(&self) -> bool {
        true
    }
}
