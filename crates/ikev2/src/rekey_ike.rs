//! New keys for an IKE SA: a new one in its place, which inherits its children (RFC 7296 §1.3.2, §2.8, §2.18).
//!
//! ```text
//!   initiator                                       responder
//!   CREATE_CHILD_SA  SK{SA Ni KEi} -->
//!                              <--  SK{N(INVALID_KE_PAYLOAD)}: once more with the method that is wanted
//!                              <--  SK{SA Nr KEr}      (the new IKE SA stands, and has all that the old one had,
//!                                                       unless more exchanges come first: see followup)
//!   (the same here)
//!   INFORMATIONAL  SK{D(IKE)} -->                      (of the old IKE SA)
//!                              <--  SK{}
//! ```
//!
//! Both may ask at once (§2.8.2): who has a request under way answers the other's with an IKE SA that inherits nothing yet
//! (a [`Rival`] of the one that it is making itself). When its own exchange is decided the lowest of all four nonces tells
//! which of both is redundant; who asked for that one deletes it, and the other one deletes the old IKE SA. Who sees one
//! exchange only deletes the old one at once: then the children follow to the IKE SA that is left.

use crate::channel::{Authentic, Channel, Incoming, Message, Request};
use crate::child::NoChild;
use crate::closing::{Closing, Lingering, Replaced};
use crate::contents::{self, Contents};
use crate::create_child;
use crate::delete;
use crate::establish::ciphers;
use crate::established::{After, Asked as AskedFor, Asking, Core, Established};
use crate::followup::{self, Further, Making, Setback, Step};
use crate::ike_sa::{Chosen, Common, Datagram, IkeSa, Next, Stage};
use crate::rekey_child::lowest;
use crate::{Cx, ext, limits};
use base::{IkeSpi, Secret};
use crypto::{CryptoError, KePrivate, Nonces, SharedSecrets, Spis};
use policy::{Connection, IkeKe, IkeSuite, Offer, Proposal};
use sa::{Branch, Event, Fate, Path, RefusalKind, Side, Whereabouts};
use std::collections::VecDeque;
use wire::num::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use wire::{KeyExchange, Notify, Payload};

/// What we have asked for.
pub(crate) struct Asked {
    offers: Vec<Offer>,
    spi: IkeSpi,
    nonce: Vec<u8>,
    ke: (KeMethod, Box<dyn KePrivate>),
    /// The method that the peer has asked for instead of our first.
    corrected: bool,
    /// CREATE_CHILD_SA is answered, and additional key exchanges follow.
    pub(crate) further: Option<Box<Further<Draft>>>,
}

/// A new IKE SA on which both are agreed, before its keys are made.
pub(crate) struct Draft {
    side: Side,
    spis: Spis,
    suite: IkeSuite,
    ni: Vec<u8>,
    nr: Vec<u8>,
}

/// The IKE SA that the peer makes while our own request for one is under way.
pub(crate) struct Rival {
    fresh: Fresh,
    /// The lower of the exchange's nonces.
    lowest: Vec<u8>,
    /// Requests to it that came before it is decided what it inherits.
    held: Vec<(Path, Authentic<Message>)>,
}

/// A new IKE SA's keys.
pub(crate) struct Fresh {
    side: Side,
    spis: Spis,
    suite: IkeSuite,
    sk_d: Secret,
    channel: Channel,
}

/// How an IKE SA passes over to its successor.
pub(crate) struct Handover {
    fresh: Box<Fresh>,
    old: Remains,
    /// Requests to the new one that came before.
    held: Vec<(Path, Authentic<Message>)>,
}

/// What becomes of the old IKE SA.
enum Remains {
    WeDelete,
    PeerDeletes,
    Gone,
}

/// The keys that the new ones are made from.
pub(crate) struct Parent<'a> {
    pub(crate) suite: &'a IkeSuite,
    pub(crate) sk_d: &'a Secret,
    pub(crate) fragment_size: Option<u16>,
}

impl Draft {
    /// The lower of the exchange's nonces.
    pub(crate) fn lowest(&self) -> Vec<u8> {
        lowest((&self.ni, &self.nr))
    }

    /// The methods of its additional key exchanges.
    fn methods(&self) -> VecDeque<KeMethod> {
        self.suite.additional.methods().collect()
    }
}

impl Fresh {
    //= rfc7296 §2.18
    //# SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)
    //# The old and new IKE SA may have selected a different PRF. Because the rekeying exchange belongs to the old IKE SA, it
    //# is the old IKE SA's PRF that is used to generate SKEYSEED.
    fn derive(
        cx: &Cx<'_>,
        parent: &Parent<'_>,
        draft: &Draft,
        shared: &SharedSecrets,
    ) -> Result<Self, CryptoError> {
        let Draft { side, spis, suite, ni, nr } = draft;
        let (side, spis, suite) = (*side, *spis, *suite);
        let nonces = Nonces { initiator: ni, responder: nr };
        let old_prf = cx.suite.prf(parent.suite.prf).ok_or(CryptoError::Unsupported)?;
        let seed = crypto::skeyseed_rekeyed(old_prf, parent.sk_d, nonces, shared);
        let prf = cx.suite.prf(suite.prf).ok_or(CryptoError::Unsupported)?;
        let shape =
            cx.suite.cipher_spec(suite.encr, suite.key_bits, suite.integ).ok_or(CryptoError::Unsupported)?;
        let keys = crypto::ike_keys(prf, &seed, nonces, spis, shape)?;
        let ciphers = ciphers(cx, &suite, &keys, side)?;
        let channel = Channel::rekeyed(side, spis, ciphers, parent.fragment_size);
        Ok(Self { side, spis, suite, sk_d: keys.d, channel })
    }

    /// What is always true of the new IKE SA.
    pub(crate) fn common(&self, cx: &mut Cx<'_>, sa: &Common) -> Common {
        let now = cx.now.mono;
        Common {
            id: cx.out.new_ike(),
            side: self.side,
            spi_i: self.spis.initiator,
            spi_r: self.spis.responder,
            path: sa.path,
            born: now,
            heard: now,
            spoke: now,
            keepalive: sa.keepalive,
            last_message_id: sa.last_message_id,
            wishes: Vec::new(),
            origin: sa.origin.clone(),
        }
    }
}

/// Asks for a new IKE SA; `wished` is the key exchange method that the peer has asked for.
//= rfc7296 §2.18
//# The initiator's KE payload […] proposals with a new initiator SPI in the SPI field
pub(crate) fn begin(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    wished: Option<KeMethod>,
) -> Option<Asking> {
    let offers = policy::ike_offers(&of.chosen.connection.proposals);
    let Some((asked, payloads)) = propose(of, cx, offers, wished) else {
        cx.note(sa.id, "The IKE SA gets no new keys: this build lacks its key exchange method.");
        of.rekey_ike_later(cx);
        return None;
    };
    let request = of.channel.ask(sa, cx, ExchangeType::CREATE_CHILD_SA, &payloads)?;
    cx.reach(Branch::RekeyIkeAsked);
    Some(Asking { request, what: AskedFor::RekeyIke(Box::new(asked)) })
}

/// What a request for an IKE SA without another proof proposes: SA, Ni, KEi.
pub(crate) fn propose(
    of: &Established,
    cx: &mut Cx<'_>,
    offers: Vec<Offer>,
    wished: Option<KeMethod>,
) -> Option<(Asked, Vec<Payload<'static>>)> {
    // The method in use comes first: some peers cannot answer INVALID_KE_PAYLOAD here.
    let method = wished.unwrap_or(of.suite.ke);
    let (private, public) = cx.suite.key_exchange(method).and_then(|ke| ke.generate(cx.rng).ok())?;
    let spi = cx.settings.shard.draw(cx.rng);
    let nonce = cx.random(limits::NONCE_LEN);
    let payloads = vec![
        Payload::Sa(contents::proposals(&offers, ProtocolId::IKE, &spi.0.to_be_bytes())),
        Payload::Nonce(nonce.clone().into()),
        Payload::Ke(KeyExchange { method, data: public.into() }),
    ];
    let (ke, corrected) = ((method, private), wished.is_some());
    Some((Asked { offers, spi, nonce, ke, corrected, further: None }, payloads))
}

/// The peer has answered, CREATE_CHILD_SA or IKE_FOLLOWUP_KE.
pub(crate) fn on_response(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    mut asked: Asked,
    contents: &Contents<'_>,
) -> After {
    let step = match asked.further.take() {
        Some(further) => further.on_response(of, cx, contents),
        None => {
            if let Some(notify) = contents.error() {
                return on_error(of, sa, cx, &asked, notify);
            }
            let (draft, shared) = match accept(&asked, contents) {
                Ok(accepted) => accepted,
                Err(what) => return on_wrong(&what),
            };
            let methods = draft.methods();
            if !methods.is_empty()
                && let Some(after) = stop_if_redundant(of, sa, cx, &draft)
            {
                return after;
            }
            followup::go_on(cx, (draft, shared, methods), contents)
        }
    };
    match step {
        // Nothing else is asked meanwhile: the window has a place.
        Ok(Step::Ask(further, payloads)) => {
            asked.further = Some(further);
            match followup::ask(of, sa, cx, (AskedFor::RekeyIke(Box::new(asked)), &payloads)) {
                Some(asking) => of.asking.push(asking),
                None => return on_wrong("the message ids of the IKE SA are used up"),
            }
            After::Stay
        }
        Ok(Step::Done(draft, shared)) => finish(of, sa, cx, &draft, &shared),
        Err(Setback::Refused(kind)) => on_error(of, sa, cx, &asked, &Notify::new(kind, Vec::new())),
        Err(Setback::Wrong(what)) => on_wrong(&what),
    }
}

/// The peer may have an IKE SA that we have not: nothing but a new beginning brings both together.
fn on_wrong(what: &str) -> After {
    After::Close(Fate::Fault(format!("its answer for a new IKE SA is wrong: {what}")))
}

/// CREATE_CHILD_SA is answered, and additional key exchanges would follow: what happens where the peer has asked for the same
/// at once, and ours is the one that is given up.
//= rfc9370 §2.2.4
//# because there is nothing to delete yet, the initiator of this exchange just stops the rekeying process, and it MUST NOT
//# initiate the IKE_FOLLOWUP_KE exchange.
fn stop_if_redundant(of: &mut Established, sa: &Common, cx: &mut Cx<'_>, draft: &Draft) -> Option<After> {
    let rival = of.rival.as_ref().map(|rival| rival.lowest.clone());
    let theirs = rival.or_else(|| of.series_for_ike())?;
    if draft.lowest() > theirs {
        of.drop_series_for_ike();
        return None;
    }
    cx.reach(Branch::RekeyIkeStopped);
    cx.note(sa.id, "Both sides give the IKE SA new keys at once: the peer's stay.");
    Some(match of.rival.take() {
        Some(rival) => After::Handed(rival.take_over(Remains::PeerDeletes)),
        None => After::Stay,
    })
}

/// All is exchanged: the new IKE SA stands at both ends.
fn finish(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    draft: &Draft,
    shared: &SharedSecrets,
) -> After {
    let parent = Parent { suite: &of.suite, sk_d: &of.sk_d, fragment_size: of.channel.cut() };
    let fresh = match Fresh::derive(cx, &parent, draft, shared) {
        Ok(fresh) => fresh,
        Err(error) => return on_wrong(&error.to_string()),
    };
    let ours = draft.lowest();
    match (of.rival.take(), of.series_for_ike()) {
        //= rfc7296 §2.8.2
        //# the new IKE SA […] with the lowest of the four nonces […] is redundant, and the node that created it SHOULD
        //# delete it; the other one inherits the Child SAs
        (Some(rival), _) if ours < rival.lowest => {
            cx.reach(Branch::RekeyIkeTheirsStays);
            cx.note(sa.id, "Both sides gave the IKE SA new keys at once: the peer's stay.");
            close(of.chosen.clone(), sa, cx, fresh);
            After::Handed(rival.take_over(Remains::PeerDeletes))
        }
        // The peer's comes, with its last additional key exchange.
        (None, Some(theirs)) if ours < theirs => {
            cx.note(sa.id, "Both sides give the IKE SA new keys at once: the peer's stay.");
            close(of.chosen.clone(), sa, cx, fresh);
            After::Stay
        }
        (rival, _) => {
            if let Some(rival) = rival {
                cx.reach(Branch::RekeyIkeOursStays);
                cx.note(sa.id, "Both sides gave the IKE SA new keys at once: ours stay.");
                // The peer deletes its own.
                let common = rival.fresh.common(cx, sa);
                let stage = Replaced::begin(cx, of.chosen.connection.clone(), rival.fresh.channel, false);
                cx.born.push(IkeSa::new(common, stage));
            }
            After::Handed(Handover { fresh: Box::new(fresh), old: Remains::WeDelete, held: Vec::new() })
        }
    }
}

fn on_error(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    asked: &Asked,
    notify: &Notify<'_>,
) -> After {
    if let Some(rival) = of.rival.take() {
        return After::Handed(rival.take_over(Remains::PeerDeletes));
    }
    if let Some(wished) = corrected(asked, notify) {
        cx.note(sa.id, format!("The peer wants key exchange {wished} for the new IKE SA: asking again."));
        let asking = begin(of, sa, cx, Some(wished));
        of.asking.extend(asking);
        return After::Stay;
    }
    if notify.kind == NotifyType::NO_ADDITIONAL_SAS {
        of.begin_from_scratch(sa, cx, "the IKE SA");
        return After::Stay;
    }
    of.rekey_ike_later(cx);
    if matches!(notify.kind, NotifyType::TEMPORARY_FAILURE | NotifyType::STATE_NOT_FOUND) {
        cx.reach(Branch::RekeyIkeLater);
        cx.note(sa.id, "The peer is busy: new keys for the IKE SA are asked for later.");
    } else {
        let reason =
            format!("The peer refused new keys for the IKE SA with {}. Its log knows more.", notify.kind);
        let mut refusal = of.refusal(RefusalKind::PeerError, reason);
        refusal.by_peer = true;
        cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
    }
    After::Stay
}

/// The method that INVALID_KE_PAYLOAD names, if we have offered it and not tried it.
pub(crate) fn corrected(asked: &Asked, notify: &Notify<'_>) -> Option<KeMethod> {
    let wished = contents::wished_ke(notify).filter(|_| !asked.corrected)?;
    let transforms = || asked.offers.iter().flat_map(|offer| &offer.transforms);
    let offered = transforms().any(|t| t.kind == wire::num::TransformType::KE && t.id == wished.0);
    (offered && wished != asked.ke.0).then_some(wished)
}

/// Reads the answer to CREATE_CHILD_SA.
pub(crate) fn accept(asked: &Asked, contents: &Contents<'_>) -> Result<(Draft, SharedSecrets), String> {
    let proposals = contents.sa.as_deref().ok_or("it has no SA payload")?;
    let (answer, spi) = contents::ike_rekey_answer(proposals)?;
    let suite = policy::accept_ike(&asked.offers, &answer).map_err(|error| error.to_string())?;
    let nonce: &[u8] = contents.nonce.as_ref().ok_or("it has no nonce")?;
    let ke = contents.ke.as_ref().ok_or("it has no KE payload")?;
    if suite.ke != asked.ke.0 || ke.method != asked.ke.0 {
        return Err(format!("it chose key exchange {}, but {} was begun", suite.ke, asked.ke.0));
    }
    let g_ir = asked.ke.1.finish(&ke.data).map_err(|error| error.to_string())?;
    let spis = Spis { initiator: asked.spi, responder: spi };
    let (ni, nr) = (asked.nonce.clone(), nonce.to_vec());
    Ok((Draft { side: Side::Initiator, spis, suite, ni, nr }, g_ir.into()))
}

/// Reads the answer, which no additional key exchanges follow: the new keys.
pub(crate) fn accept_at_once(
    cx: &Cx<'_>,
    asked: &Asked,
    parent: &Parent<'_>,
    contents: &Contents<'_>,
) -> Result<Fresh, String> {
    let (draft, shared) = accept(asked, contents)?;
    if !draft.suite.additional.is_empty() {
        return Err("it chose additional key exchanges, which were not offered".to_string());
    }
    Fresh::derive(cx, parent, &draft, &shared).map_err(|error| error.to_string())
}

/// The peer asks for a new IKE SA.
pub(crate) fn on_request(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    to: Request,
    contents: &Contents<'_>,
) -> After {
    // Whoever asks again has given its series up.
    of.drop_series_for_ike();
    let rekeying = of.is_rekeying_ike();
    //= rfc9370 §2.2.4
    //# the series of IKE_FOLLOWUP_KE exchanges is in progress […]. In this case, a TEMPORARY_FAILURE notification MUST be sent
    let is_busy = !of.is_at_rest() && !rekeying || of.rival.is_some() || of.is_following_up_ike();
    let decided = match is_busy {
        true => {
            cx.reach(Branch::RekeyIkeBusy);
            Err(busy(of))
        }
        false => decide(&of.chosen.connection, &of.chosen.connection.proposals, cx, contents),
    };
    let (draft, shared, mut payloads) = match decided {
        Ok(decided) => decided,
        Err(no_child) => {
            create_child::refuse(of, sa, cx, to, no_child);
            return After::Stay;
        }
    };
    //= rfc5723 §4.1
    //# In a CREATE_CHILD_SA exchange, when an IKE SA is rekeyed (and only when this exchange is initiated by the client). […] it
    //# returns an N(TICKET_ACK), if it cannot grant a ticket immediately
    if ext::asks_for_ticket(contents) {
        payloads.push(ext::TicketAnswer::Later.emit());
    }
    cx.reach(Branch::RekeyIkeAnswered);
    let methods = draft.methods();
    if !methods.is_empty() {
        payloads.push(followup::expect(of, cx, Making::Ike(Box::new(draft)), (shared, methods)));
        of.channel.respond(sa, cx, to, &payloads);
        return After::Stay;
    }
    answer_with(of, sa, cx, (to, &payloads), (&draft, &shared))
}

/// Answers with what makes the peer's new IKE SA stand: CREATE_CHILD_SA, or the last of its additional key exchanges.
pub(crate) fn answer_with(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (to, payloads): (Request, &[Payload<'_>]),
    (draft, shared): (&Draft, &SharedSecrets),
) -> After {
    let parent = Parent { suite: &of.suite, sk_d: &of.sk_d, fragment_size: of.channel.cut() };
    let fresh = match Fresh::derive(cx, &parent, draft, shared) {
        Ok(fresh) => fresh,
        Err(error) => {
            let no_child = unusable(&of.chosen.connection, &error.to_string());
            create_child::refuse(of, sa, cx, to, no_child);
            return After::Stay;
        }
    };
    of.channel.respond(sa, cx, to, payloads);
    let rival = Rival { fresh, lowest: draft.lowest(), held: Vec::new() };
    if of.is_rekeying_ike() {
        of.rival = Some(Box::new(rival));
        return After::Stay;
    }
    After::Handed(rival.take_over(Remains::PeerDeletes))
}

fn busy(of: &Established) -> NoChild {
    let reason =
        "The peer wants new keys for the IKE SA while child SAs are being made or deleted; it may ask again.";
    NoChild::new(RefusalKind::Busy, NotifyType::TEMPORARY_FAILURE, &of.chosen.connection, reason)
}

/// A new IKE SA, its first shared secret, and the answer that makes it.
type Decided = (Draft, SharedSecrets, Vec<Payload<'static>>);

fn unusable(connection: &Connection, what: &str) -> NoChild {
    let reason = format!("The peer's request for a new IKE SA cannot be used: {what}.");
    NoChild::new(RefusalKind::Protocol, NotifyType::NO_PROPOSAL_CHOSEN, connection, reason)
}

/// Decides on what the peer proposes for a new IKE SA.
pub(crate) fn decide(
    connection: &Connection,
    ours: &[Proposal],
    cx: &mut Cx<'_>,
    contents: &Contents<'_>,
) -> Result<Decided, NoChild> {
    let no = |kind, notify, reason: String| NoChild::new(kind, notify, connection, reason);
    let bad = |what: &str| unusable(connection, what);
    let ke = contents.ke.as_ref().ok_or_else(|| bad("it has no KE payload"))?;
    let ni: &[u8] = contents.nonce.as_ref().ok_or_else(|| bad("it has no nonce"))?;
    let offers = contents::offers(contents.sa.as_deref().unwrap_or_default(), ProtocolId::IKE, 8);
    let plain: Vec<Offer> = offers.iter().map(|(offer, _)| offer.clone()).collect();
    let wanted = IkeKe { sent: Some(ke.method), additional: true };
    let choice = policy::choose_ike(ours, &plain, wanted).map_err(|why| {
        no(
            RefusalKind::NoProposalChosen,
            NotifyType::NO_PROPOSAL_CHOSEN,
            format!("New keys for the IKE SA: {why}"),
        )
    })?;
    let wanted = choice.suite.ke;
    let answered = match ke.method == wanted {
        true => cx.suite.key_exchange(wanted).and_then(|exchange| exchange.respond(cx.rng, &ke.data).ok()),
        false => None,
    };
    let Some((public, g_ir)) = answered else {
        let reason = format!(
            "The new IKE SA wants key exchange {wanted}, but the peer's value is for {} or is not valid; it is told to try again.",
            ke.method
        );
        let mut refused = no(RefusalKind::InvalidKe, NotifyType::INVALID_KE_PAYLOAD, reason);
        refused.notify.data = wanted.0.to_be_bytes().to_vec().into();
        return Err(refused);
    };
    let spi = offers.iter().find(|(offer, _)| offer.number == choice.number).map(|(_, spi)| spi.as_slice());
    let spi_i = spi.and_then(|spi| <[u8; 8]>::try_from(spi).ok()).map_or(0, u64::from_be_bytes);
    if spi_i == 0 {
        return Err(bad("its SPI is zero"));
    }
    let spis = Spis { initiator: IkeSpi(spi_i), responder: cx.settings.shard.draw(cx.rng) };
    let nr = cx.random(limits::NONCE_LEN);
    let draft = Draft { side: Side::Responder, spis, suite: choice.suite, ni: ni.to_vec(), nr: nr.clone() };
    let answer = Offer { number: choice.number, transforms: choice.answer, has_unknown: false };
    let payloads = vec![
        Payload::Sa(contents::proposals(&[answer], ProtocolId::IKE, &spis.responder.0.to_be_bytes())),
        Payload::Nonce(nr.into()),
        Payload::Ke(KeyExchange { method: wanted, data: public.into() }),
    ];
    Ok((draft, g_ir.into(), payloads))
}

/// The same, where no additional key exchanges can follow: the new keys, and the answer.
pub(crate) fn decide_at_once(
    of: &Established,
    ours: &[Proposal],
    cx: &mut Cx<'_>,
    contents: &Contents<'_>,
) -> Result<(Fresh, Vec<Payload<'static>>), NoChild> {
    let connection = &of.chosen.connection;
    let (draft, shared, payloads) = decide(connection, ours, cx, contents)?;
    let parent = Parent { suite: &of.suite, sk_d: &of.sk_d, fragment_size: of.channel.cut() };
    let fresh = Fresh::derive(cx, &parent, &draft, &shared);
    Ok((fresh.map_err(|error| unusable(connection, &error.to_string()))?, payloads))
}

impl Rival {
    /// The SPI that we drew for it.
    pub(crate) fn local_spi(&self) -> IkeSpi {
        self.fresh.spis.responder
    }

    fn take_over(self, old: Remains) -> Handover {
        Handover { fresh: Box::new(self.fresh), old, held: self.held }
    }
}

/// The old IKE SA is gone at the peer's: the one that it has made takes over, if there is one, and our own request does not
/// matter any more.
//= rfc7296 §2.25.2
//# If a peer receives a request to close an IKE SA that it is currently rekeying, it SHOULD reply as usual, and forget about
//# its own rekeying request.
pub(crate) fn hand_to_rival(of: &mut Established) -> Option<Handover> {
    of.rival.take().map(|rival| rival.take_over(Remains::Gone))
}

/// A message for the IKE SA that the peer has made. The peer deletes it, or takes it for the one that is left: then its
/// requests wait for what it inherits.
pub(crate) fn on_rival_datagram(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    datagram: Datagram<'_>,
) {
    let Some(mut rival) = of.rival.take() else { return };
    let path = datagram.path;
    if let Some(Incoming::Request(message)) = rival.fresh.channel.take(sa, cx, |_| false, datagram) {
        if message.contents().is_ok_and(|contents| delete::names_ike_sa(&contents)) {
            let to = Request { path, exchange: message.exchange(), id: message.id() };
            cx.reach(Branch::RekeyIkeRivalDeleted);
            rival.fresh.channel.respond(sa, cx, to, &[]);
            let common = rival.fresh.common(cx, sa);
            let stage = Lingering::begin(cx, rival.fresh.channel);
            return cx.born.push(IkeSa::new(common, stage));
        }
        if rival.held.len() < limits::MAX_WINDOW as usize {
            cx.reach(Branch::RekeyIkeRivalHeld);
            rival.held.push((path, message));
        }
    }
    of.rival = Some(rival);
}

/// The old IKE SA ends before it is decided who inherits: nothing is left to inherit.
pub(crate) fn close_rival(chosen: &Chosen, sa: &mut Common, cx: &mut Cx<'_>, rival: Option<Box<Rival>>) {
    if let Some(rival) = rival {
        close(chosen.clone(), sa, cx, rival.fresh);
    }
}

/// Passes all that the old IKE SA has to its successor, and goes on to the old one's end.
//= rfc7296 §2.8
//# the Child SAs of the old IKE SA are inherited by the new one
pub(crate) fn hand_over(
    mut of: Box<Established>,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    handover: Handover,
) -> Next {
    let Handover { fresh, old, held } = handover;
    let is_asking = !of.asking.is_empty();
    of.clear_series(cx);
    of.requeue_asked();
    cx.directory.leave(&of.identities.pair, sa.id);
    let connection = of.chosen.connection.clone();
    let mut common = fresh.common(cx, sa);
    common.wishes = std::mem::take(&mut sa.wishes);
    let channel = of.renew(&common, cx, *fresh);
    of.renew_tickets(cx, Spis { initiator: sa.spi_i, responder: sa.spi_r });
    cx.out.reassign(sa.id, common.id);
    cx.out.tell(Event::IkeRekeyed { before: sa.id, facts: common.facts(&of.known(), cx.now.mono) });
    let stage = of.on_held(&mut common, cx, held);
    cx.born.push(IkeSa::new(common, stage));
    match old {
        Remains::WeDelete => Closing::after_rekey(sa, cx, connection, channel),
        Remains::PeerDeletes => Replaced::begin(cx, connection, channel, is_asking),
        Remains::Gone => Lingering::begin(cx, channel),
    }
}

impl Established {
    /// Whether additional key exchanges of ours for an IKE SA in this one's place are under way.
    fn is_following_up_ike(&self) -> bool {
        self.asking.iter().any(|asking| match &asking.what {
            AskedFor::RekeyIke(asked) => asked.further.is_some(),
            _ => false,
        })
    }

    /// Goes on with the keys of a new IKE SA; gives back the old channel.
    fn renew(&mut self, sa: &Common, cx: &mut Cx<'_>, fresh: Fresh) -> Channel {
        let Fresh { suite, sk_d, channel, .. } = fresh;
        (self.suite, self.sk_d) = (suite, sk_d);
        self.rival = None;
        self.mobility.renew();
        let old = std::mem::replace(&mut self.channel, channel);
        self.settle_in(sa, cx);
        old
    }

    /// One with the keys of a new IKE SA beside this one: with the same ends, and no children.
    pub(crate) fn beside(&self, fresh: Fresh) -> Self {
        let Fresh { suite, sk_d, channel, .. } = fresh;
        let mut stage = Self::bare(Core {
            channel,
            chosen: self.chosen.clone(),
            identities: self.identities.clone(),
            suite,
            sk_d,
            proved_as: self.proved_as,
            peer: self.peer.clone(),
            mobility: self.mobility.beside(),
            dues: self.dues,
            resumption: self.resumption.beside(),
        });
        stage.nat = self.nat;
        stage
    }

    /// What is new with each IKE SA that was made by CREATE_CHILD_SA.
    pub(crate) fn settle_in(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        //= rfc7296 §2.3
        //# the window size starts at 1 for each direction of a rekeyed IKE SA until it is increased by SET_WINDOW_SIZE
        self.peer_window = 1;
        let window = self.chosen.connection.window;
        if let Some(payload) = ext::window_announcement(window) {
            self.tell_first(vec![payload]);
        }
        self.tell_renewed(sa, cx);
        self.renew_dues(cx);
        let place = Whereabouts { proved_as: self.proved_as, remote: sa.path.remote };
        cx.directory.enter(self.identities.pair.clone(), sa.id, (sa.spi_i, sa.spi_r), place);
        self.channel.widen(window);
    }
}

/// An IKE SA that nothing hangs on: the peer is told.
fn close(chosen: Chosen, sa: &Common, cx: &mut Cx<'_>, fresh: Fresh) {
    let mut common = fresh.common(cx, sa);
    let stage = Closing::after_rekey(&mut common, cx, chosen.connection, fresh.channel);
    cx.born.push(IkeSa::new(common, stage));
}

/// An answer that comes when the old IKE SA is being closed: the peer has a new one, which must go too.
pub(crate) fn bury(
    chosen: &Chosen,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (asked, parent): (Asked, &Parent<'_>),
    message: &Authentic<Message>,
) {
    let Ok(contents) = message.contents() else { return };
    if contents.error().is_some() {
        return;
    }
    let made = match asked.further {
        // Nothing stands at the peer's before the last exchange.
        Some(further) => further.take(&contents).ok().filter(|(_, _, rest)| rest.is_empty()),
        None => accept(&asked, &contents).ok().map(|(draft, shared)| {
            let methods = draft.methods();
            (draft, shared, methods)
        }),
    };
    let Some((draft, shared, rest)) = made else { return };
    if let (Ok(fresh), true) = (Fresh::derive(cx, parent, &draft, &shared), rest.is_empty()) {
        cx.reach(Branch::RekeyIkeBuried);
        close(chosen.clone(), sa, cx, fresh);
    }
}
