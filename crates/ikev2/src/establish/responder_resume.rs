//! The responder's IKE_SESSION_RESUME (RFC 5723 §4.3): from a ticket that somebody shows to a half-open IKE SA.
//!
//! ```text
//!   initiator                                              responder
//!   IKE_SESSION_RESUME  Ni N(TICKET_OPAQUE) N… -->
//!                            <--  N(COOKIE)                (under load; nothing is kept)
//!                            <--  N(TICKET_NACK)           (nothing is kept)
//!                            <--  Nr N…                    HalfOpen
//!   IKE_AUTH  SK{IDi AUTH …} -->                           (as ever, but for AUTH)
//! ```
//! Whoever has stolen a ticket has no keys with it: IKE_AUTH tells.

use super::responder_auth::{Claim, HalfOpen, Open};
use super::responder_init::{Turned, begin, unreadable};
use super::secrets::{Ingredients, Source};
use super::{Secrets, Transcript, init};
use crate::contents::{self, Contents};
use crate::door::{Arrival, Door};
use crate::ext::{self, Agreed, Facts, Guest, Moment};
use crate::ike_sa::{Chosen, IkeSa};
use crate::ticket::{self, Former, Ticket};
use crate::trace::Trace;
use crate::{Cx, limits};
use base::{IkeSpi, MessageId};
use crypto::Spis;
use policy::{Claims, ConnectionId, Identity, Policy};
use sa::{Admission, CookieOwner, Drop, IkeSaId, Path, Place, Refusal, RefusalKind, Side};
use std::time::Duration;
use wire::num::{AuthMethod, ExchangeType, NotifyType};
use wire::{Identification, Notify, Payload};

/// A first message with a ticket, read.
struct Shown<'a> {
    arrival: Arrival<'a>,
    contents: &'a Contents<'a>,
    nonce: &'a [u8],
    ticket: &'a [u8],
}

/// Somebody shows a ticket. It gets an IKE SA, or a notification, or silence.
//= rfc5723 §4.3.2
//# When the IKEv2 responder receives a ticket using the N(TICKET_OPAQUE) payload, it MUST perform one of the following steps if
//# it supports the extension defined in this document: If it is willing to accept the ticket, it responds as shown in Figure 5.
//# It responds with an unprotected N(TICKET_NACK) notification, if it rejects the ticket for any reason.
pub(super) fn answer(
    cx: &mut Cx<'_>,
    door: &mut Door,
    id: IkeSaId,
    arrival: Arrival<'_>,
) -> Result<(IkeSa, Place), Turned> {
    let contents = init::contents(arrival.bytes).map_err(|why| unreadable(cx, door, arrival, why))?;
    let shown = read(arrival, &contents).ok_or(Turned::Away(Drop::Malformed))?;
    let proven = admit(cx, door, &shown)?;
    let (chosen, former) = match examine(cx, &shown) {
        Ok(welcome) => welcome,
        Err(refusal) => {
            if !proven {
                // It counts; when none is left, the next ones have to show a cookie.
                door.refusals.allows(cx.now.mono);
            }
            return Err(Turned::Back(Notify::new(NotifyType::TICKET_NACK, Vec::new()), refusal));
        }
    };
    let patience = door.half_open.patience(cx.settings);
    let sa = open(cx, (id, patience), &shown, (chosen, former)).ok_or(Turned::Away(Drop::Malformed))?;
    Ok((sa, Place { source: arrival.path.remote.ip(), unsolved: false }))
}

fn read<'a>(arrival: Arrival<'a>, contents: &'a Contents<'a>) -> Option<Shown<'a>> {
    let nonce: &[u8] = contents.nonce.as_ref()?;
    let ticket = &contents.notify(NotifyType::TICKET_OPAQUE)?.data;
    Some(Shown { arrival, contents, nonce, ticket })
}

/// Whether there is room; then, whether the sender has shown where it is. A ticket stands for a puzzle: it was worked for.
//= rfc8019 §4.5
//# When the Responder is under attack, it SHOULD prefer previously authenticated peers who present a Session Resumption ticket
//# […]. When under attack, the Responder SHOULD require Initiators presenting Session Resumption tickets to pass a return
//# routability check by including the COOKIE notification in the IKE_SESSION_RESUME response message
fn admit(cx: &mut Cx<'_>, door: &mut Door, shown: &Shown<'_>) -> Result<bool, Turned> {
    let Arrival { path, header, .. } = shown.arrival;
    let (source, now) = (path.remote.ip(), cx.now.mono);
    let owner = CookieOwner { nonce: shown.nonce, source, spi: header.spi_i };
    door.cookies.rotate(now, cx.rng);
    match door.half_open.admission(cx.settings, source, now) {
        Admission::Full => return Err(Turned::Away(Drop::HalfOpenLimit)),
        Admission::Open if !door.refusals.is_spent(now) => return Ok(false),
        Admission::Open | Admission::CookieWanted | Admission::PuzzleWanted(_) => {}
    }
    let cookie = shown.contents.notify(NotifyType::COOKIE);
    match cookie.and_then(|cookie| door.cookies.accepts(cx.suite, owner, &cookie.data, now)) {
        Some(_) => Ok(true),
        None => {
            let cookie = door.cookies.bake(cx.suite, owner);
            Err(Turned::With(vec![Notify::new(NotifyType::COOKIE, cookie)]))
        }
    }
}

/// Which IKE SA of which connection the ticket resumes; or why none, where there is more to say than that we want the full
/// exchange.
fn examine(cx: &Cx<'_>, shown: &Shown<'_>) -> Result<(Chosen, Former), Option<Refusal>> {
    let path = shown.arrival.path;
    let refuse = |connection: Option<&str>, why: &str| {
        let reason =
            format!("The peer {} wants to resume an IKE SA, but its ticket {why}.", path.remote.ip());
        let (kind, connection) = (RefusalKind::AuthenticationFailed, connection.map(str::to_string));
        Some(Refusal { kind, by_peer: false, connection, reason })
    };
    let none = "is of no use: there is no secret for tickets here";
    let secret = cx.settings.ticket_secret.as_ref().ok_or_else(|| refuse(None, none))?;
    let Ticket { connection: name, mark, former } =
        ticket::open(cx, secret, shown.ticket).map_err(|why| refuse(None, why))?;
    let refuse = |why: &str| refuse(Some(&name), why);
    if cx.tickets.is_spent(former.spis) {
        return Err(refuse("is of an IKE SA that was resumed, rekeyed or deleted since"));
    }
    let chosen = host(cx, path, &name, &former)
        .ok_or_else(|| refuse("is for a connection that is gone, changed, or not for this peer any more"))?;
    if !chosen.connection.extensions.resumption {
        return Err(refuse("is for a connection without `resumption`"));
    }
    if ticket::mark(cx, secret, &chosen.connection).as_ref() != Some(&mark) {
        return Err(refuse("is for a connection that authenticates otherwise since"));
    }
    match is_sent_on(cx, &chosen, shown) {
        true => Err(None),
        false => Ok((chosen, former)),
    }
}

/// The connection of that name, if it would take this peer in.
fn host(cx: &Cx<'_>, path: Path, name: &str, former: &Former) -> Option<Chosen> {
    let among = policy::candidates(cx.policy, path.local.ip(), path.remote.ip()).ok()?;
    let Former { local, remote, method, suite, .. } = former;
    let claims =
        Claims { peer: remote, us: Some(local), method: Some(*method), suite: Some(suite), rounds: None };
    let fitting = policy::by_claims(cx.policy, &among, claims).ok()?;
    let mut all = fitting.into_iter().filter_map(|id| Some((id, cx.policy.connection(id)?)));
    let (id, connection) = all.find(|(_, connection)| connection.name == name)?;
    Some(Chosen { id, connection: connection.clone() })
}

/// Whether the client is to go elsewhere: the full exchange tells it so.
fn is_sent_on(cx: &Cx<'_>, chosen: &Chosen, shown: &Shown<'_>) -> bool {
    let (client, load) = (shown.arrival.path.remote.ip(), cx.directory.ike_sas());
    let (connection, first, agreed) = (&chosen.connection, Some(shown.contents), &Agreed::default());
    ext::turn(&Guest { connection, client, identity: None, first, agreed, load }).is_some()
}

/// Answers: from here on the IKE SA is half open.
//= rfc5723 §4.3.2
//# The responder copies the SPIi value from the request, and the SPIr value is set to a new, unique value.
fn open(
    cx: &mut Cx<'_>,
    (id, patience): (IkeSaId, Duration),
    shown: &Shown<'_>,
    (chosen, former): (Chosen, Former),
) -> Option<IkeSa> {
    let Arrival { path, header, bytes } = shown.arrival;
    let exchange = ExchangeType::IKE_SESSION_RESUME;
    let spis = Spis { initiator: header.spi_i, responder: cx.settings.shard.draw(cx.rng) };
    let mut common = begin(cx, id, path, spis);
    let nonce = cx.random(limits::NONCE_LEN);
    let (nothing, mut agreed) = (Agreed::default(), Agreed::default());
    let mut facts = Facts {
        suite: cx.suite,
        settings: cx.settings,
        rng: cx.rng,
        spis: Spis { initiator: header.spi_i, responder: IkeSpi::ZERO },
        path,
        connection: &chosen.connection,
        agreed: &nothing,
        addresses: cx.addresses,
        first_contact: false,
        resumes: true,
    };
    //= rfc5723 §4.3.2
    //# The client's NAT traversal status SHOULD be determined anew in IKE_SESSION_RESUME. […] NAT status is explicitly not part
    //# of the session resumption state.
    ext::inspect(Moment::InitRequest, &facts, shown.contents, &mut agreed);
    agreed.proven_for = former.age;
    let mut payloads = vec![Payload::Nonce(nonce.clone().into())];
    facts.spis = spis;
    facts.agreed = &agreed;
    ext::offer(Moment::InitResponse, &mut facts, &mut payloads);
    let trace = Trace::new(exchange, MessageId(0), true, &payloads);
    let response = init::emit(exchange, spis, Side::Responder, payloads);
    let transcript =
        Transcript { request: bytes.to_vec(), response, nonce_i: shown.nonce.to_vec(), nonce_r: nonce };
    let source = Source::Former(Box::new(former));
    let from = Ingredients { side: Side::Responder, spis, source, connection: &chosen.connection };
    let secrets = Secrets::derive(cx, from, transcript, agreed).ok()?;
    let open = Open::new(cx, vec![chosen.id], trace, patience);
    init::accepted(&common, cx, path, bytes);
    let stage = HalfOpen::begin(&mut common, cx, open, secrets);
    Some(IkeSa::new(common, stage))
}

/// Whether the IKE_AUTH request is one that resumes that IKE SA, but for AUTH.
//= rfc5723 §4.3.3
//# The IDi value sent in the IKE_AUTH exchange MUST be identical to the value included in the ticket. A CERT payload MUST NOT be
//# included in this exchange […]. As a result, the IDr value sent (by the gateway, and optionally by the client) in this
//# exchange MUST also be identical to the value included in the ticket.
pub(super) fn welcome(
    cx: &Cx<'_>,
    (policy, among): (&Policy, &[ConnectionId]),
    former: &Former,
    claim: &Claim<'_>,
) -> Result<Chosen, Refusal> {
    let id = among.first().copied();
    let chosen = id.and_then(|id| Some(Chosen { id, connection: policy.connection(id)?.clone() }));
    let name = chosen.as_ref().map(|chosen| chosen.connection.name.clone());
    let refuse = |why: &str| Refusal {
        kind: RefusalKind::AuthenticationFailed,
        by_peer: false,
        connection: name.clone(),
        reason: format!("The peer resumes an IKE SA of `{}`, but {why}.", former.remote),
    };
    let contents = &claim.contents;
    let is = |id: &Identification<'_>, identity: &Identity| contents::identity(id) == *identity;
    match () {
        () if !is(&claim.id_i, &former.remote) => Err(refuse("says that it is somebody else")),
        () if contents.id_r.as_ref().is_some_and(|id| !is(id, &former.local)) => {
            Err(refuse("wants to talk to somebody else than us"))
        }
        () if !contents.certs.is_empty() => Err(refuse("sends a certificate")),
        () if ext::another_auth_follows(contents) => Err(refuse("announces a second authentication")),
        () if claim.auth.method != AuthMethod::SHARED_KEY => {
            Err(refuse("does not prove by its keys that it had it"))
        }
        () if cx.tickets.is_spent(former.spis) => Err(refuse("that was resumed, rekeyed or deleted since")),
        () => chosen.ok_or_else(|| refuse("its connection is gone from the configuration")),
    }
}
