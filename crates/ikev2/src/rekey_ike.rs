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

mod draft;

pub(crate) use draft::{
    Draft, Fresh, Parent, accept, accept_at_once, corrected, decide, decide_at_once, propose,
};

use crate::channel::{Authentic, Channel, Incoming, Message, Request};
use crate::child::NoChild;
use crate::closing::{Closing, Lingering, Replaced};
use crate::contents::Contents;
use crate::create_child;
use crate::delete;
use crate::established::{After, Asked as AskedFor, Asking, Core, Established, Task};
use crate::followup::{self, Further, Making, Setback, Step};
use crate::fresh_ppk::{self, Wanted};
use crate::ike_sa::{Chosen, Common, Datagram, IkeSa, Next, Stage};
use crate::{Cx, ext, limits};
use base::IkeSpi;
use crypto::{KePrivate, SharedSecrets, Spis};
use policy::Offer;
use sa::{Branch, Event, Fate, MixedPpk, Path, Refusal, RefusalKind, Whereabouts};
use wire::num::{ExchangeType, KeMethod, NotifyType};
use wire::{Notify, Payload};

/// What we have asked for.
pub(crate) struct Asked {
    offers: Vec<Offer>,
    spi: IkeSpi,
    nonce: Vec<u8>,
    ke: (KeMethod, Box<dyn KePrivate>),
    /// The method that the peer has asked for instead of our first.
    corrected: bool,
    /// The PPKs that we have proposed.
    pub(crate) ppks: Vec<MixedPpk>,
    /// CREATE_CHILD_SA is answered, and additional key exchanges follow.
    pub(crate) further: Option<Box<Further<Draft>>>,
}

/// The IKE SA that the peer makes while our own request for one is under way.
pub(crate) struct Rival {
    fresh: Fresh,
    /// The lower of the exchange's nonces.
    lowest: Vec<u8>,
    /// Requests to it that came before it is decided what it inherits.
    held: Vec<(Path, Authentic<Message>)>,
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
            if let Err(refusal) =
                fresh_ppk::settle(of, sa, cx, (&asked.ppks, draft.ppk.as_ref().map(|primed| &primed.ppk)))
            {
                return forgo(of, sa, cx, (&draft, &shared), refusal);
            }
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
            match followup::ask(of, sa, cx, &payloads) {
                Some(request) => {
                    of.asking.push(Asking { request, what: AskedFor::RekeyIke(Box::new(asked)) });
                }
                None => return on_wrong("the message ids of the IKE SA are used up"),
            }
            After::Stay
        }
        Ok(Step::Done(draft, shared)) => finish(of, sa, cx, &draft, &shared),
        Err(Setback::Refused(kind)) => on_error(of, sa, cx, &asked, &Notify::new(kind, Vec::new())),
        Err(Setback::Wrong(what, true)) => on_wrong(&what),
        // Nothing stands at the peer's end either.
        Err(Setback::Wrong(what, false)) => {
            of.rekey_ike_later(cx);
            let reason =
                format!("The peer's answer to an additional key exchange for the IKE SA is wrong: {what}.");
            let refusal = of.refusal(RefusalKind::Protocol, reason);
            cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
            After::Stay
        }
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

/// The new IKE SA would lack the PPK that is required: it goes at once, and with it this one, whose place it has taken at the
/// peer's; unless the peer's own one stays there (RFC 7296 §2.8.2).
fn forgo(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (draft, shared): (&Draft, &SharedSecrets),
    refusal: Refusal,
) -> After {
    cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: refusal.clone() });
    if !draft.methods().is_empty() {
        // Nothing stands before the last exchange.
        of.rekey_ike_later(cx);
        return After::Stay;
    }
    let parent = Parent { suite: &of.suite, sk_d: &of.sk_d, fragment_size: of.channel.cut() };
    if let Ok(fresh) = Fresh::derive(cx, &parent, draft, shared) {
        close(of.chosen.clone(), sa, cx, fresh);
    }
    match of.rival.take_if(|rival| draft.lowest() < rival.lowest) {
        Some(rival) => After::Handed(rival.take_over(Remains::PeerDeletes)),
        None => After::Close(Fate::Refused(refusal)),
    }
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
        of.queue_first(Task::RekeyIke(Some(wished)));
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

/// The peer asks for a new IKE SA.
pub(crate) fn on_request(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    wanted: &Wanted<'_>,
) -> After {
    let (to, contents) = (wanted.to, wanted.contents);
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
        false => decide(&of.chosen.connection, &of.chosen.connection.proposals, cx, wanted),
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
    (made, shared): (&Draft, &SharedSecrets),
) -> After {
    let parent = Parent { suite: &of.suite, sk_d: &of.sk_d, fragment_size: of.channel.cut() };
    let fresh = match Fresh::derive(cx, &parent, made, shared) {
        Ok(fresh) => fresh,
        Err(error) => {
            let no_child = draft::unusable(&of.chosen.connection, &error.to_string());
            create_child::refuse(of, sa, cx, to, no_child);
            return After::Stay;
        }
    };
    of.channel.respond(sa, cx, to, payloads);
    let rival = Rival { fresh, lowest: made.lowest(), held: Vec::new() };
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
    of.turn_away_consulting(sa, cx);
    of.turn_away_granting(sa, cx);
    of.requeue_asked();
    cx.directory.leave(&of.identities.pair, sa.id);
    let connection = of.chosen.connection.clone();
    let mut common = fresh.common(cx, sa);
    common.wishes = std::mem::take(&mut sa.wishes);
    let ppk = fresh.ppk.clone();
    let channel = of.renew(&common, cx, *fresh);
    of.renew_tickets(cx, Spis { initiator: sa.spi_i, responder: sa.spi_r });
    cx.out.reassign(sa.id, common.id);
    cx.out.tell(Event::IkeRekeyed { before: sa.id, facts: common.facts(&of.known(), cx.now.mono) });
    if let Some(ppk) = ppk {
        fresh_ppk::tell(&common, cx, &ppk);
    }
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
        let Fresh { suite, sk_d, channel, ppk, .. } = fresh;
        self.peer.post_quantum = self.suite.post_quantum().or(self.peer.post_quantum);
        (self.suite, self.sk_d) = (suite, sk_d);
        ppk.into_iter().for_each(|ppk| self.peer.ppk.add(ppk));
        self.rival = None;
        self.forget_rekey();
        self.mobility.renew();
        let old = std::mem::replace(&mut self.channel, channel);
        self.settle_in(sa, cx);
        old
    }

    /// One with the keys of a new IKE SA beside this one: with the same ends, and no children.
    pub(crate) fn beside(&self, fresh: Fresh) -> Self {
        let Fresh { suite, sk_d, channel, ppk, .. } = fresh;
        let mut peer = self.peer.clone();
        peer.post_quantum = self.suite.post_quantum().or(peer.post_quantum);
        ppk.into_iter().for_each(|ppk| peer.ppk.add(ppk));
        let mut stage = Self::bare(Core {
            channel,
            chosen: self.chosen.clone(),
            identities: self.identities.clone(),
            suite,
            sk_d,
            proved_as: self.proved_as,
            peer,
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
pub(crate) fn close(chosen: Chosen, sa: &Common, cx: &mut Cx<'_>, fresh: Fresh) {
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
