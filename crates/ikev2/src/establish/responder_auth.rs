//! The responder's IKE_AUTH: from a half-open IKE SA to an established one.

use super::responder_lease::Leasing;
use super::{Deadline, Secrets, Transcript, local_identity};
use crate::channel::{Authentic, Incoming, Message, Request};
use crate::child::{ChildRequest, Decided, NoChild};
use crate::closing::Lingering;
use crate::contents::{self, Contents};
use crate::established::Identities;
use crate::ext::configuration::Leases;
use crate::ext::{self, Facts, Moment};
use crate::fault::Fault;
use crate::ike_sa::{Chosen, Datagram, End, Gone, Known, Next, Stage};
use crate::trace::{Trace, Way};
use crate::{Common, Cx, Superseded, unique};
use base::{Instant, MessageId};
use crypto::Spis;
use policy::{AuthMethod, ChildKe, Childless, Claims, ConnectionId, Policy, Unique};
use sa::{Answer, Drop, Event, Fate, Job, JobId, PeerProof, Reason, Refusal, RefusalKind, Side};
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
}

impl Open {
    pub(super) fn new(cx: &Cx<'_>, among: Vec<ConnectionId>, trace: Trace, patience: Duration) -> Self {
        let until = Deadline(cx.now.mono + patience);
        Self { among, policy: cx.policy.clone(), trace, answered: 0, until }
    }

    pub(super) fn answer_init(&mut self, sa: &mut Common, cx: &mut Cx<'_>, response: &[u8]) {
        let response = response.to_vec();
        let trace = self.trace.message(sa, Way::out(std::slice::from_ref(&response), self.answered));
        self.answered += 1;
        cx.out.tell(Event::Message(trace));
        cx.out.transmit(sa.path, response);
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
        message: &Authentic<Message>,
    ) -> Next {
        // RFC 7296 §2.23: the peer may have gone over to port 4500 with this message.
        sa.path = to.path;
        let Self { open: Open { among, policy, .. }, secrets } = *self;
        // Under load the first message had to come soon; what follows has the usual time.
        let until = Deadline(sa.born + cx.settings.half_open_timeout);
        let claim = match read(to, message, until) {
            Ok(claim) => claim,
            Err(fault) => return refuse_fault(sa, cx, secrets, to, &fault),
        };
        match choose(&policy, &among, &claim, &secrets) {
            Ok(chosen) if claim.contents.sa.is_none() && is_never(&chosen) => {
                let what = "it asks for no child, and `childless = \"never\"`".to_string();
                refuse_fault(sa, cx, secrets, to, &Fault::syntax("RFC 6023 §3", what))
            }
            Ok(chosen) => Checking::begin(sa, cx, chosen, secrets, claim),
            Err(refusal) => refuse(sa, cx, secrets, to, refusal),
        }
    }
}

/// Whether the peer may not do without a child.
fn is_never(chosen: &Chosen) -> bool {
    chosen.connection.extensions.childless == Childless::Never
}

/// What an IKE_AUTH request says.
struct Claim<'a> {
    to: Request,
    contents: Contents<'a>,
    id_i: wire::Identification<'a>,
    auth: Authentication<'a>,
    /// Until when all must be decided.
    until: Deadline,
}

fn read<'a>(to: Request, message: &'a Authentic<Message>, until: Deadline) -> Result<Claim<'a>, Fault> {
    let contents = message.contents()?;
    if message.exchange() != ExchangeType::IKE_AUTH {
        return Err(Fault::syntax(
            "RFC 7296 §1.2",
            format!("{} came in place of IKE_AUTH", message.exchange()),
        ));
    }
    let id_i = contents.id_i.clone().ok_or_else(|| Fault::missing("IDi"))?;
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
    let claims = Claims { peer: &peer, us: us.as_ref(), method: Some(method), suite: Some(&secrets.suite) };
    let fitting = policy::by_claims(policy, among, claims).map_err(|none| {
        let connection = none.nearest.and_then(|id| policy.connection(id)).map(|c| c.name.clone());
        Refusal { kind: RefusalKind::AuthenticationFailed, by_peer: false, connection, reason: none.reason }
    })?;
    let first = fitting.first().and_then(|id| Some((*id, policy.connection(*id)?.clone())));
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
fn refuse_with(
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
fn refuse_fault(sa: &mut Common, cx: &mut Cx<'_>, mut secrets: Secrets, to: Request, fault: &Fault) -> Next {
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
        if header.exchange == ExchangeType::IKE_SA_INIT && header.message_id == MessageId(0) {
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
                self.on_request(sa, cx, to, &message)
            }
            Some(Incoming::Response(_)) | None => self,
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

/// The peer's AUTH value is being checked.
pub(crate) struct Checking {
    pub(super) chosen: Chosen,
    pub(super) secrets: Secrets,
    pub(super) identities: Identities,
    pub(super) to: Request,
    /// The peer's message, for what is decided once the peer is known.
    pub(super) wants: Wants,
    job: JobId,
    until: Deadline,
}

/// What an authenticated peer wants besides the IKE SA.
pub(super) struct Wants {
    pub(super) child: Option<Result<Decided, NoChild>>,
    /// What a child is decided on when its addresses are known.
    pub(super) undecided: Option<Box<Contents<'static>>>,
    pub(super) cert_asked: bool,
    /// Notifications for the response, whatever becomes of the child.
    pub(super) notifies: Vec<Payload<'static>>,
    /// CFG_REPLY.
    pub(super) reply: Option<Payload<'static>>,
    pub(super) leases: Leases,
}

impl Wants {
    /// There will be no IKE SA.
    pub(super) fn release(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        if let Some(Ok(decided)) = &self.child {
            cx.directory.release_spi(decided.agreed.spi_in);
        }
        self.leases.release(sa, cx);
    }
}

impl Checking {
    fn begin(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        chosen: Chosen,
        mut secrets: Secrets,
        claim: Claim<'_>,
    ) -> Next {
        let connection = &chosen.connection;
        let local = match &claim.contents.id_r {
            // The peer asked for one of our names; `choose` has seen to it that it is ours.
            Some(id) if connection.local.id.is_none() => contents::identity(id),
            _ => local_identity(connection, sa),
        };
        let remote = contents::identity(&claim.id_i);
        let job = Job::Check {
            connection: chosen.id,
            name: chosen.connection.name.clone(),
            local: local.clone(),
            remote: remote.clone(),
            wanted: connection.remote.id.clone(),
            prf: secrets.suite.prf,
            octets: secrets.signed_octets(cx, Side::Initiator, &claim.id_i.octets_to_sign()),
            proof: PeerProof {
                method: claim.auth.method.0,
                data: claim.auth.data.to_vec(),
                certs: claim.contents.x509(),
            },
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
            connection,
            agreed: &secrets.agreed,
            addresses: cx.addresses,
            first_contact: false,
        };
        ext::inspect(Moment::AuthRequest, &facts, &claim.contents, &mut agreed);
        secrets.agreed = agreed;
        secrets.channel.cut_at(secrets.agreed.fragmentation.then_some(connection.fragment_size));
        //= rfc6023 §3
        //# a request without SA, TSi and TSr asks for an IKE SA without a child SA
        let request =
            ChildRequest { contents: &claim.contents, ke: ChildKe::Without, nat: secrets.agreed.nat };
        let decide = |sa: &Common, cx: &mut Cx<'_>| match connection.extensions.childless {
            Childless::Force => {
                let reason = "`childless = \"force\"`: the child is to be asked for by CREATE_CHILD_SA.";
                Err(NoChild::new(RefusalKind::Busy, NotifyType::NO_ADDITIONAL_SAS, connection, reason))
            }
            _ => Decided::new(sa, cx, connection, &request),
        };
        let waits =
            !connection.configuration.pools.is_empty() && connection.extensions.childless != Childless::Force;
        let wanted = claim.contents.sa.is_some();
        let child = (wanted && !waits).then(|| decide(sa, cx));
        let cert_asked = !claim.contents.cert_requests.is_empty();
        let undecided = (wanted && waits).then(|| Box::new(claim.contents.child_owned()));
        let wants = Wants {
            child,
            undecided,
            cert_asked,
            notifies: Vec::new(),
            reply: None,
            leases: Leases::default(),
        };
        let identities = Identities::new(local, remote);
        Box::new(Self { chosen, secrets, identities, to: claim.to, wants, job, until: claim.until })
    }

    fn refuse(self, sa: &mut Common, cx: &mut Cx<'_>, refusal: Refusal) -> Next {
        self.refuse_with(sa, cx, NotifyType::AUTHENTICATION_FAILED, refusal)
    }

    fn refuse_with(mut self, sa: &mut Common, cx: &mut Cx<'_>, notify: NotifyType, refusal: Refusal) -> Next {
        self.wants.release(sa, cx);
        refuse_with(sa, cx, self.secrets, self.to, (notify, refusal))
    }

    /// The peer forbids NATs, and its message has passed one.
    //= rfc4555 §3.9
    //# If they do not match, a response containing an UNEXPECTED_NAT_DETECTED notification is sent. The response message is
    //# sent to the address and port that the corresponding request came from
    fn refuse_nat(self, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        let reason = format!(
            "The peer allows no NAT between us, but its message came by {}, which is not the path that it names.",
            self.to.path
        );
        let connection = Some(self.chosen.connection.name.clone());
        let refusal = Refusal { kind: RefusalKind::PeerError, by_peer: false, connection, reason };
        self.refuse_with(sa, cx, NotifyType::UNEXPECTED_NAT_DETECTED, refusal)
    }

    /// The peer is who it says. Is it welcome a second time?
    fn on_verified(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if self.secrets.agreed.unexpected_nat {
            return self.refuse_nat(sa, cx);
        }
        let connection = &self.chosen.connection;
        let others = unique::older(sa, cx, &self.identities.pair);
        let welcome = self.secrets.agreed.initial_contact || unique::is_succession(sa, cx, &others);
        match connection.unique {
            Unique::Keep if !welcome => {
                let reason = format!(
                    "`{}` has an IKE SA with us already, from another address or port, and `unique = \"keep\"` keeps the older one.",
                    self.identities.remote
                );
                let kind = RefusalKind::AuthenticationFailed;
                let connection = Some(connection.name.clone());
                self.refuse(sa, cx, Refusal { kind, by_peer: false, connection, reason })
            }
            Unique::Never => Leasing::begin(sa, cx, *self, false),
            _ if self.secrets.agreed.initial_contact => {
                unique::first_contact(sa, cx, &self.identities.pair);
                Leasing::begin(sa, cx, *self, true)
            }
            Unique::Replace | Unique::Keep => {
                let by = sa.path.remote.ip();
                let gone = |ike| Superseded { ike, tell_peer: true, by, heir: None };
                cx.superseded.extend(others.into_iter().map(gone));
                Leasing::begin(sa, cx, *self, true)
            }
            Unique::No => Leasing::begin(sa, cx, *self, false),
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

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        // Only the same request again can come, and its response is on its way.
        self.secrets.channel.take_repeated(sa, cx, datagram);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Verified(_) => self.on_verified(sa, cx),
            Answer::Refused(why) => {
                let refusal = Refusal {
                    kind: RefusalKind::AuthenticationFailed,
                    by_peer: false,
                    connection: Some(self.chosen.connection.name.clone()),
                    reason: why.reason,
                };
                self.refuse(sa, cx, refusal)
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.until.is_over(cx) {
            return self;
        }
        let refusal = late(&self.chosen);
        self.refuse(sa, cx, refusal)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, _: End) -> Next {
        let refusal = ended(&self.chosen);
        self.refuse(sa, cx, refusal)
    }

    fn is_half_open(&self) -> bool {
        true
    }
}

pub(super) fn late(chosen: &Chosen) -> Refusal {
    Refusal {
        kind: RefusalKind::Busy,
        by_peer: false,
        connection: Some(chosen.connection.name.clone()),
        reason: "Keys and certificates were not checked in time: the key store does not answer.".to_string(),
    }
}

pub(super) fn ended(chosen: &Chosen) -> Refusal {
    Refusal {
        kind: RefusalKind::Busy,
        by_peer: false,
        connection: Some(chosen.connection.name.clone()),
        reason: "The IKE SA was ordered down before it was up.".to_string(),
    }
}
