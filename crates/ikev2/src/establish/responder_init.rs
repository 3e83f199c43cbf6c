//! The responder's IKE_SA_INIT: from a datagram of a stranger to a half-open IKE SA.

use super::responder_auth::HalfOpen;
use super::secrets::Ingredients;
use super::{Secrets, Transcript, cert_request, init};
use crate::contents::{self, Contents};
use crate::door::{Arrival, Door};
use crate::ext::{self, Agreed, Facts, Moment};
use crate::ike_sa::IkeSa;
use crate::trace::Trace;
use crate::{Common, Cx, limits};
use base::{IkeSpi, MessageId};
use crypto::Spis;
use policy::{Choice, Connection, ConnectionId, IkeSuite, Offer};
use sa::{Admission, CookieOwner, Drop, Event, IkeSaId, Path, Refusal, RefusalKind, Side};
use std::sync::Arc;
use wire::num::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use wire::{KeyExchange, Notify, Payload};

/// A first message, read.
struct Knock<'a> {
    path: Path,
    spi_i: IkeSpi,
    bytes: &'a [u8],
    contents: Contents<'a>,
    nonce: &'a [u8],
    ke: (KeMethod, &'a [u8]),
}

/// What a first message is answered with when no IKE SA comes of it.
enum Turned {
    /// Nothing: it is noise.
    Away(Drop),
    /// A notification, and why, for people.
    Back(Notify<'static>, Option<Refusal>),
}

/// Somebody wants an IKE SA. It gets one, or a notification, or silence.
pub(crate) fn knock(cx: &mut Cx<'_>, door: &mut Door, id: IkeSaId, arrival: Arrival<'_>) -> Option<IkeSa> {
    let Arrival { path, header, .. } = arrival;
    match answer(cx, door, id, arrival) {
        Ok(sa) => Some(sa),
        Err(Turned::Away(why)) => {
            cx.out.tell(Event::Dropped { path, why });
            None
        }
        Err(Turned::Back(notify, refusal)) => {
            let spis = Spis { initiator: header.spi_i, responder: IkeSpi::ZERO };
            cx.out.transmit(path, init::emit(spis, Side::Responder, vec![Payload::Notify(notify)]));
            if let Some(refusal) = refusal {
                cx.out.tell(Event::Refused { ike: None, path, refusal });
            }
            None
        }
    }
}

fn answer(cx: &mut Cx<'_>, door: &mut Door, id: IkeSaId, arrival: Arrival<'_>) -> Result<IkeSa, Turned> {
    let path = arrival.path;
    let contents = init::contents(arrival.bytes).map_err(|why| unreadable(cx, door, arrival.bytes, why))?;
    let knock = read(arrival, &contents).ok_or(Turned::Away(Drop::Malformed))?;
    admit(cx, door, &knock)?;
    let among = policy::candidates(cx.policy, path.local.ip(), path.remote.ip()).map_err(|none| {
        let connection = none.nearest.and_then(|id| cx.policy.connection(id)).map(|c| c.name.clone());
        let refusal =
            Refusal { kind: RefusalKind::NoConnection, by_peer: false, connection, reason: none.reason };
        Turned::Back(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()), Some(refusal))
    })?;
    let (connection, choice) = choose(cx, &among, &knock)?;
    //= rfc7296 §1.2
    //# the responder […] rejects the message with INVALID_KE_PAYLOAD […] and indicates the correct group
    if choice.suite.ke != knock.ke.0 {
        let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, choice.suite.ke.0.to_be_bytes().to_vec());
        return Err(Turned::Back(notify, None));
    }
    open(cx, id, &knock, Hosts { among, connection }, choice)
}

/// A first message that cannot be read is noise, but one with a critical payload that we do not know is told so.
//= rfc7296 §2.5
//# the response to the IKE request containing that payload MUST include a Notify payload
//# UNSUPPORTED_CRITICAL_PAYLOAD
///
/// The notification is larger than the smallest message that draws it, so there are only so many a second.
fn unreadable(cx: &Cx<'_>, door: &mut Door, bytes: &[u8], why: Drop) -> Turned {
    let unknown = if why == Drop::TooLarge { None } else { init::unknown_critical(bytes) };
    match unknown.filter(|_| door.may_answer(cx)) {
        Some(kind) => Turned::Back(Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]), None),
        None => Turned::Away(why),
    }
}

fn read<'a>(arrival: Arrival<'a>, contents: &'a Contents<'a>) -> Option<Knock<'a>> {
    let Arrival { path, header, bytes } = arrival;
    contents.sa.as_ref()?;
    let ke = contents.ke.as_ref()?;
    let nonce: &[u8] = contents.nonce.as_ref()?;
    let copy = init::contents(bytes).ok()?;
    Some(Knock { path, spi_i: header.spi_i, bytes, contents: copy, nonce, ke: (ke.method, &ke.data) })
}

/// Whether there is room, and whether the sender really is where it seems to be.
//= rfc7296 §2.6
//# When a responder detects a large number of half-open IKE SAs, it SHOULD reply to IKE_SA_INIT requests
//# with a response containing the COOKIE notification.
fn admit(cx: &mut Cx<'_>, door: &mut Door, knock: &Knock<'_>) -> Result<(), Turned> {
    let source = knock.path.remote.ip();
    let owner = CookieOwner { nonce: knock.nonce, source, spi: knock.spi_i };
    door.cookies.rotate(cx.now.mono, cx.rng);
    match door.half_open.admission(cx.settings, source) {
        Admission::Open => Ok(()),
        Admission::Full => Err(Turned::Away(Drop::HalfOpenLimit)),
        Admission::CookieWanted => match knock.contents.notify(NotifyType::COOKIE) {
            Some(cookie) if door.cookies.accepts(cx.suite, owner, &cookie.data) => Ok(()),
            //= rfc7296 §2.6
            //# If [the cookies] do not match, the responder MUST treat it as if there was no cookie
            _ => {
                let cookie = door.cookies.bake(cx.suite, owner);
                Err(Turned::Back(Notify::new(NotifyType::COOKIE, cookie), None))
            }
        },
    }
}

/// The connections that may be meant, and the one whose proposals decided.
struct Hosts {
    among: Vec<ConnectionId>,
    connection: Arc<Connection>,
}

/// The first connection whose proposals fit, and what comes out of them.
fn choose(
    cx: &Cx<'_>,
    among: &[ConnectionId],
    knock: &Knock<'_>,
) -> Result<(Arc<Connection>, Choice<IkeSuite>), Turned> {
    let offers = contents::offers(knock.contents.sa.as_deref().unwrap_or_default(), ProtocolId::IKE, 0);
    let offers: Vec<Offer> = offers.into_iter().map(|(offer, _)| offer).collect();
    let mut nearest = None;
    for connection in among.iter().filter_map(|id| cx.policy.connection(*id)) {
        match policy::choose_ike(&connection.proposals, &offers, Some(knock.ke.0)) {
            Ok(choice) => return Ok((connection.clone(), choice)),
            Err(why) => nearest = nearest.or(Some((connection, why))),
        }
    }
    let (connection, reason) = match nearest {
        Some((connection, why)) => {
            (Some(connection.name.clone()), format!("Connection `{}`: {why}", connection.name))
        }
        None => (None, "There is no connection to choose from.".to_string()),
    };
    let refusal = Refusal { kind: RefusalKind::NoProposalChosen, by_peer: false, connection, reason };
    Err(Turned::Back(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()), Some(refusal)))
}

/// Does the key exchange and answers: from here on the IKE SA is half open.
fn open(
    cx: &mut Cx<'_>,
    id: IkeSaId,
    knock: &Knock<'_>,
    hosts: Hosts,
    choice: Choice<IkeSuite>,
) -> Result<IkeSa, Turned> {
    let Hosts { among, connection } = hosts;
    let method = cx.suite.key_exchange(knock.ke.0).ok_or(Turned::Away(Drop::Malformed))?;
    //= rfc6989 §2
    //# a public value that fails the checks ends the exchange; before authentication it is noise
    let (public, g_ir) = method.respond(cx.rng, knock.ke.1).map_err(|_| Turned::Away(Drop::Malformed))?;
    let spis = Spis { initiator: knock.spi_i, responder: cx.settings.shard.draw(cx.rng) };
    let now = cx.now.mono;
    let mut common = Common {
        id,
        side: Side::Responder,
        spi_i: spis.initiator,
        spi_r: spis.responder,
        path: knock.path,
        born: now,
        heard: now,
        spoke: now,
        keepalive: cx.settings.keepalive,
        last_message_id: cx.settings.last_message_id,
        wishes: Vec::new(),
    };
    let nonce = cx.random(limits::NONCE_LEN);
    let mut agreed = Agreed::default();
    let asked = Spis { initiator: knock.spi_i, responder: IkeSpi::ZERO };
    let mut facts = Facts {
        suite: cx.suite,
        rng: cx.rng,
        spis: asked,
        path: knock.path,
        connection: &connection,
        agreed: &Agreed::default(),
        first_contact: false,
    };
    ext::inspect(Moment::InitRequest, &facts, &knock.contents, &mut agreed);
    let answer = Offer { number: choice.number, transforms: choice.answer, has_unknown: false };
    let mut payloads = vec![
        Payload::Sa(contents::proposals(&[answer], ProtocolId::IKE, &[])),
        Payload::Ke(KeyExchange { method: knock.ke.0, data: public.into() }),
        Payload::Nonce(nonce.clone().into()),
    ];
    facts.spis = spis;
    facts.agreed = &agreed;
    ext::offer(Moment::InitResponse, &mut facts, &mut payloads);
    payloads.extend(cert_request(among.iter().filter_map(|id| cx.policy.connection(*id)).map(|c| &**c)));
    let trace = Trace::new(ExchangeType::IKE_SA_INIT, MessageId(0), true, &payloads);
    let response = init::emit(spis, Side::Responder, payloads);
    let transcript = Transcript {
        request: knock.bytes.to_vec(),
        response: response.clone(),
        nonce_i: knock.nonce.to_vec(),
        nonce_r: nonce,
    };
    let from = Ingredients {
        side: Side::Responder,
        spis,
        suite: choice.suite,
        g_ir: &g_ir,
        connection: &connection,
    };
    let secrets = Secrets::derive(cx, from, transcript, agreed).map_err(|_| Turned::Away(Drop::Malformed))?;
    init::accepted(&common, cx, knock.path, knock.bytes);
    let stage = HalfOpen::begin(&mut common, cx, among, secrets, trace);
    Ok(IkeSa::new(common, Box::new(stage)))
}
