//! The responder's IKE_SA_INIT: from a datagram of a stranger to a half-open IKE SA.

use super::responder_auth::{HalfOpen, Open};
use super::responder_puzzle::{self, Passed, Puzzled, Waiting};
use super::secrets::{Ingredients, Source};
use super::{Secrets, Transcript, cert_requests, init, responder_resume};
use crate::contents::{self, Contents};
use crate::door::{Arrival, Door};
use crate::ext::{self, Agreed, Facts, Guest, Moment, Ppk};
use crate::ike_sa::IkeSa;
use crate::trace::Trace;
use crate::{Common, Cx, Origin, limits};
use base::{IkeSpi, MessageId, Secret};
use crypto::{KePrivate, Spis};
use policy::{Choice, Connection, ConnectionId, IkeKe, IkeSuite, Offer};
use sa::{Drop, Event, IkeSaId, Path, Place, Puzzle, Refusal, RefusalKind, Side};
use std::sync::Arc;
use std::time::Duration;
use wire::num::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use wire::{KeyExchange, Notify, Payload};

/// A first message, read.
pub(super) struct Knock<'a> {
    pub(super) path: Path,
    pub(super) spi_i: IkeSpi,
    bytes: &'a [u8],
    pub(super) contents: Contents<'a>,
    pub(super) nonce: &'a [u8],
    ke: (KeMethod, &'a [u8]),
}

/// What a first message is answered with when no IKE SA comes of it.
pub(super) enum Turned {
    /// Nothing: it is noise.
    Away(Drop),
    /// A notification, and why, for people.
    Back(Notify<'static>, Option<Refusal>),
    /// What it has to show.
    With(Vec<Notify<'static>>),
}

/// Somebody wants an IKE SA. It gets one, or a notification, or silence.
pub(crate) fn knock(
    cx: &mut Cx<'_>,
    door: &mut Door,
    id: IkeSaId,
    arrival: Arrival<'_>,
) -> Option<(IkeSa, Place)> {
    let Arrival { path, header, bytes } = arrival;
    let opened = match header.exchange {
        ExchangeType::IKE_SESSION_RESUME => responder_resume::answer(cx, door, id, arrival),
        _ => answer(cx, door, id, arrival),
    };
    let (notifies, refusal) = match opened {
        Ok(opened) => return Some(opened),
        Err(Turned::Away(why)) => {
            cx.out.tell(Event::Dropped { path, why });
            return None;
        }
        Err(Turned::Back(notify, refusal)) => (vec![notify], refusal),
        Err(Turned::With(notifies)) => (notifies, None),
    };
    let spis = Spis { initiator: header.spi_i, responder: IkeSpi::ZERO };
    let payloads = notifies.into_iter().map(Payload::Notify).collect();
    let message = init::emit(header.exchange, spis, Side::Responder, payloads);
    // Whoever asks with less than an honest peer does gets nothing that could be turned against somebody else.
    if message.len() > bytes.len() {
        cx.out.tell(Event::Dropped { path, why: Drop::Malformed });
        return None;
    }
    cx.out.transmit(path, message);
    if let Some(refusal) = refusal {
        cx.out.tell(Event::Refused { ike: None, path, refusal });
    }
    None
}

fn answer(
    cx: &mut Cx<'_>,
    door: &mut Door,
    id: IkeSaId,
    arrival: Arrival<'_>,
) -> Result<(IkeSa, Place), Turned> {
    let contents = init::contents(arrival.bytes).map_err(|why| unreadable(cx, door, arrival, why))?;
    let knock = read(arrival, &contents).ok_or(Turned::Away(Drop::Malformed))?;
    let passed = responder_puzzle::admit(cx, door, &knock)?;
    let opened = serve(cx, door, id, &knock, &passed);
    if !passed.proven && matches!(opened, Err(Turned::Back(..))) {
        // It counts; when none is left, the next ones have to show a cookie.
        door.refusals.allows(cx.now.mono);
    }
    let place = Place { source: knock.path.remote.ip(), unsolved: passed.unsolved };
    opened.map(|sa| (sa, place))
}

/// Chooses a connection and a suite, and does what the sender has deserved.
fn serve(
    cx: &mut Cx<'_>,
    door: &mut Door,
    id: IkeSaId,
    knock: &Knock<'_>,
    passed: &Passed,
) -> Result<IkeSa, Turned> {
    let path = knock.path;
    let among = policy::candidates(cx.policy, path.local.ip(), path.remote.ip()).map_err(|none| {
        let connection = none.nearest.and_then(|id| cx.policy.connection(id)).map(|c| c.name.clone());
        let refusal =
            Refusal { kind: RefusalKind::NoConnection, by_peer: false, connection, reason: none.reason };
        Turned::Back(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()), Some(refusal))
    })?;
    if let Some(notify) = turn(cx, &among, knock) {
        let back = Turned::Back(notify, None);
        return Err(if door.may_answer(cx, path) { back } else { Turned::Away(Drop::Unprotected) });
    }
    let (connection, choice) = choose(cx, &among, knock)?;
    //= rfc7296 §1.2
    //# the responder […] rejects the message with INVALID_KE_PAYLOAD […] and indicates the correct group
    if choice.suite.ke != knock.ke.0 {
        let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, choice.suite.ke.0.to_be_bytes().to_vec());
        return Err(Turned::Back(notify, None));
    }
    let puzzle = responder_puzzle::for_auth(cx, door, passed, choice.suite.prf);
    let patience = match puzzle {
        // The peer needs the time to solve it.
        Some(_) => cx.settings.half_open_timeout,
        None => door.half_open.patience(cx.settings),
    };
    let sa = open(cx, (id, patience), knock, Hosts { among, connection, puzzle }, choice)?;
    if let Some(given) = &passed.solved {
        door.cookies.spend(given, cx.now.mono);
    }
    Ok(sa)
}

/// What the first connection that may be meant says to whoever it does not take in.
fn turn(cx: &Cx<'_>, among: &[ConnectionId], knock: &Knock<'_>) -> Option<Notify<'static>> {
    let connection = among.first().and_then(|id| cx.policy.connection(*id))?;
    let (client, load) = (knock.path.remote.ip(), cx.directory.ike_sas());
    let (identity, first, agreed) = (None, Some(&knock.contents), &Agreed::default());
    ext::turn(&Guest { connection, client, identity, first, agreed, load })
}

/// A first message that cannot be read is noise, but one with a critical payload that we do not know is told so.
//= rfc7296 §2.5
//# the response to the IKE request containing that payload MUST include a Notify payload
//# UNSUPPORTED_CRITICAL_PAYLOAD
///
/// No cookie limits this answer, so there are only so many a second.
pub(super) fn unreadable(cx: &mut Cx<'_>, door: &mut Door, arrival: Arrival<'_>, why: Drop) -> Turned {
    let Arrival { path, bytes, .. } = arrival;
    let unknown = if why == Drop::TooLarge { None } else { init::unknown_critical(bytes) };
    match unknown.filter(|_| door.may_answer(cx, path)) {
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

/// The connections that may be meant, the one whose proposals decided, and the puzzle for IKE_AUTH if there is one.
struct Hosts {
    among: Vec<ConnectionId>,
    connection: Arc<Connection>,
    puzzle: Option<Puzzle>,
}

fn hosts_of<'a>(cx: &'a Cx<'_>, among: &'a [ConnectionId]) -> impl Iterator<Item = &'a Connection> + Clone {
    among.iter().filter_map(|id| cx.policy.connection(*id)).map(|connection| &**connection)
}

/// The first connection whose proposals fit, and what comes out of them.
fn choose(
    cx: &Cx<'_>,
    among: &[ConnectionId],
    knock: &Knock<'_>,
) -> Result<(Arc<Connection>, Choice<IkeSuite>), Turned> {
    let offers = contents::offers(knock.contents.sa.as_deref().unwrap_or_default(), ProtocolId::IKE, 0);
    let offers: Vec<Offer> = offers.into_iter().map(|(offer, _)| offer).collect();
    let ke = IkeKe { sent: Some(knock.ke.0), additional: ext::names_intermediate(&knock.contents) };
    let (mut nearest, mut lacking) = (None, None);
    let has_ppk = ext::announces_ppk(&knock.contents);
    for connection in among.iter().filter_map(|id| cx.policy.connection(*id)) {
        //= rfc9867 §3.1
        //# If the initiator did not propose using this extension in the IKE_SA_INIT request and the responder's policy mandates
        //# protecting initial IKE SA with a PPK, then the responder MUST return the NO_PROPOSAL_CHOSEN notification.
        if connection.extensions.ppk.required && !has_ppk {
            lacking = lacking.or(Some(connection));
            continue;
        }
        match policy::choose_ike(&connection.proposals, &offers, ke) {
            Ok(choice) => return Ok((connection.clone(), choice)),
            Err(why) => nearest = nearest.or(Some((connection, why))),
        }
    }
    let (connection, reason) = match (nearest, lacking) {
        (None, Some(connection)) => (
            Some(connection.name.clone()),
            format!(
                "The peer offers no PPK, and `ppk_required = true` for connection `{}`: have the peer use one (RFC 8784, RFC 9867).",
                connection.name
            ),
        ),
        (Some((connection, why)), _) => {
            (Some(connection.name.clone()), format!("Connection `{}`: {why}", connection.name))
        }
        (None, None) => (None, "There is no connection to choose from.".to_string()),
    };
    let refusal = Refusal { kind: RefusalKind::NoProposalChosen, by_peer: false, connection, reason };
    Err(Turned::Back(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()), Some(refusal)))
}

/// Does the key exchange and answers: from here on the IKE SA is half open.
fn open(
    cx: &mut Cx<'_>,
    (id, patience): (IkeSaId, Duration),
    knock: &Knock<'_>,
    hosts: Hosts,
    choice: Choice<IkeSuite>,
) -> Result<IkeSa, Turned> {
    let Hosts { among, connection, puzzle } = hosts;
    let method = cx.suite.key_exchange(knock.ke.0).ok_or(Turned::Away(Drop::Malformed))?;
    //= rfc6989 §2
    //# a public value that fails the checks ends the exchange; before authentication it is noise
    let noise = |_| Turned::Away(Drop::Malformed);
    let (public, shared) = match puzzle {
        None => method.respond(cx.rng, knock.ke.1).map(|(public, g_ir)| (public, Shared::Now(g_ir))),
        Some(puzzle) => method
            .respond_later(cx.rng, knock.ke.1)
            .map(|(public, private)| (public, Shared::Later(puzzle, private))),
    }
    .map_err(noise)?;
    let spis = Spis { initiator: knock.spi_i, responder: cx.settings.shard.draw(cx.rng) };
    let mut common = begin(cx, id, knock.path, spis);
    let nonce = cx.random(limits::NONCE_LEN);
    let mut agreed = Agreed::default();
    let asked = Spis { initiator: knock.spi_i, responder: IkeSpi::ZERO };
    let welcome = hosts_of(cx, &among).any(|connection| connection.extensions.ppk.any());
    let multiple_auth = hosts_of(cx, &among).any(Connection::has_second_round);
    let before = Agreed { ppk: Ppk { welcome, ..Ppk::default() }, multiple_auth, ..Agreed::default() };
    let mut facts = Facts {
        suite: cx.suite,
        settings: cx.settings,
        rng: cx.rng,
        spis: asked,
        path: knock.path,
        connection: &connection,
        agreed: &before,
        addresses: cx.addresses,
        first_contact: false,
        resumes: false,
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
    payloads.extend(puzzle.map(|puzzle| Payload::Notify(Notify::new(NotifyType::PUZZLE, puzzle.emit()))));
    payloads.extend(ext::auth_announcements(cx.suite, hosts_of(cx, &among), &agreed));
    payloads.extend(cert_requests(hosts_of(cx, &among)));
    if choice.suite.additional.methods().next().is_some() {
        agreed.announcement = ext::put_off_announcements(&mut payloads);
    }
    let trace = Trace::new(ExchangeType::IKE_SA_INIT, MessageId(0), true, &payloads);
    let response = init::emit(ExchangeType::IKE_SA_INIT, spis, Side::Responder, payloads);
    let transcript = Transcript {
        request: knock.bytes.to_vec(),
        response: response.clone(),
        nonce_i: knock.nonce.to_vec(),
        nonce_r: nonce,
    };
    let (suite, open) = (choice.suite, Open::new(cx, among, trace, patience));
    let stage = match shared {
        Shared::Now(g_ir) => {
            let source = Source::Exchange(suite, &g_ir);
            let from = Ingredients { side: Side::Responder, spis, source, connection: &connection };
            let secrets = Secrets::derive(cx, from, transcript, agreed).map_err(noise)?;
            init::accepted(&common, cx, knock.path, knock.bytes);
            HalfOpen::begin(&mut common, cx, open, secrets)
        }
        Shared::Later(puzzle, private) => {
            let public = knock.ke.1.to_vec();
            init::accepted(&common, cx, knock.path, knock.bytes);
            let waiting = Waiting { puzzle, spis, suite, connection, transcript, agreed, private, public };
            Puzzled::begin(&mut common, cx, open, waiting)
        }
    };
    Ok(IkeSa::new(common, stage))
}

/// An IKE SA whose peer has sent its first message.
pub(super) fn begin(cx: &Cx<'_>, id: IkeSaId, path: Path, spis: Spis) -> Common {
    let now = cx.now.mono;
    Common {
        id,
        side: Side::Responder,
        spi_i: spis.initiator,
        spi_r: spis.responder,
        path,
        born: now,
        heard: now,
        spoke: now,
        keepalive: cx.settings.keepalive,
        last_message_id: cx.settings.last_message_id,
        wishes: Vec::new(),
        origin: Origin::default(),
    }
}

/// The shared secret of the key exchange.
enum Shared {
    Now(Secret),
    /// When the peer has solved the puzzle.
    Later(Puzzle, Box<dyn KePrivate>),
}
