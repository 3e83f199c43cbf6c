//! Further child SAs (RFC 7296 §1.3.1), and what a child in another's place has in common with them (`rekey_child`).
//!
//! ```text
//!   initiator                                     responder
//!   CREATE_CHILD_SA  SK{SA Ni [KEi] TSi TSr} -->
//!                              <--  SK{N(INVALID_KE_PAYLOAD)}: once more with the method that is wanted
//!                              <--  SK{SA Nr [KEr] TSi TSr}     (the child is installed before, unless more exchanges
//!                                                                follow: see followup)
//!   (the child is installed)
//! ```

use crate::channel::Request;
use crate::child::{self, ChildRequest, ChildSa, Decided, Keying, NoChild, Place, Proposed, Traffic};
use crate::contents::{self, Contents};
use crate::delete::Named;
use crate::established::{After, Asking, Established, Task, Waiting};
use crate::ext::{self, Nat};
use crate::fault::Fault;
use crate::followup::{self, Further, Making, Series, Setback, Step};
use crate::fresh_ppk::{self, Primed, Wanted};
use crate::rekey_child::Replaces;
use crate::{Common, Cx, clone_ike, established, limits, rekey_child, rekey_ike};
use base::EspSpi;
use crypto::{KePrivate, Nonces, SharedSecrets};
use dataplane::{ChildId, Selector};
use policy::{Child, ChildKe};
use sa::{Branch, Event, MixedPpk, Refusal, RefusalKind, Side};
use std::collections::VecDeque;
use std::sync::Arc;
use wire::num::{ExchangeType, KeMethod, NotifyType, ProtocolId};
use wire::{KeyExchange, Notify, Payload};

/// What we have asked for.
pub(crate) struct Asked {
    pub(crate) proposed: Proposed,
    /// The child in whose place it comes.
    pub(crate) replaces: Option<ChildId>,
    nonce: Vec<u8>,
    ke: Option<(KeMethod, Box<dyn KePrivate>)>,
    /// The networks that it is for, where those are not the configured ones.
    to: Option<Vec<Selector>>,
    /// The method that the peer has asked for instead of our first.
    corrected: bool,
    /// The PPKs that we have proposed.
    ppks: Vec<MixedPpk>,
    /// CREATE_CHILD_SA is answered, and additional key exchanges follow.
    pub(crate) further: Option<Box<Further<Draft>>>,
    /// SPIs that the peer has deleted since, which we do not know: the answer may be about one of them.
    deleted: Vec<EspSpi>,
}

/// A child SA on which both are agreed, before its keys are made.
pub(crate) struct Draft {
    agreed: child::Agreement,
    /// Nr.
    nonce: Vec<u8>,
    /// The PPK that both have for them.
    ppk: Option<Primed>,
}

/// What we are going to ask for.
pub(crate) struct Plan {
    pub(crate) child: Arc<Child>,
    /// What it is about.
    pub(crate) traffic: Traffic,
    /// The key exchange method that the peer has asked for.
    pub(crate) wished: Option<KeMethod>,
    /// The child in whose place it comes, and the SPI that we receive with.
    pub(crate) replaces: Option<(ChildId, EspSpi)>,
}

impl Plan {
    /// A further child.
    pub(crate) fn new(child: Arc<Child>, traffic: Traffic) -> Self {
        Self { child, traffic, wished: None, replaces: None }
    }
}

impl Asked {
    /// The peer deletes what we do not have; perhaps its answer was lost and is still to come.
    //= rfc7296 §2.25.1
    pub(crate) fn note_deleted(&mut self, spi: EspSpi) {
        if self.deleted.len() < limits::MAX_CHILDREN {
            self.deleted.push(spi);
        }
    }

    /// Ni and Nr, lower first.
    pub(crate) fn lowest(&self, nonce: &[u8]) -> Vec<u8> {
        rekey_child::lowest((&self.nonce, nonce))
    }

    /// That nothing comes in the place of the child that it would have replaced.
    fn nothing(&self) -> Option<Replaces> {
        self.replaces.map(|old| Replaces { old, lowest: Vec::new() })
    }
}

/// Asks for a child, in another's place or not.
pub(crate) fn ask(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, plan: Plan) -> Option<Asking> {
    let Plan { child, traffic, wished, replaces } = plan;
    let to = match &traffic {
        Traffic::To(there) => Some(there.clone()),
        _ => None,
    };
    let proposed = Proposed::new(sa, cx, child, true).about(sa, traffic);
    let mut offer = of.take_offer();
    let nonce = offer.nonce(cx);
    let mut payloads: Vec<Payload<'static>> = Vec::new();
    payloads.extend(of.leases.link_notify(proposed.traffic(of.leases.received().is_some())));
    payloads.extend(replaces.map(|(_, spi)| Payload::Notify(rekey_child::notify(spi))));
    payloads.extend([proposed.sa_payload(), Payload::Nonce(nonce.clone().into())]);
    let mut ke = None;
    if let Some(method) = wished.or(child::wished_ke(&proposed.offers)) {
        let generated = cx.suite.key_exchange(method).and_then(|ke| ke.generate(cx.rng).ok());
        let Some((private, public)) = generated else {
            cx.directory.release_spi(proposed.spi);
            let refusal =
                of.refusal(RefusalKind::InvalidKe, format!("This build has no key exchange {method}."));
            of.child_refused(sa, cx, &proposed.child.name, refusal);
            return None;
        };
        payloads.push(Payload::Ke(KeyExchange { method, data: public.into() }));
        ke = Some((method, private));
    }
    payloads.extend(proposed.ts_payloads());
    payloads.extend(offer.payloads());
    let Some(request) = of.channel.ask(sa, cx, ExchangeType::CREATE_CHILD_SA, &payloads) else {
        cx.directory.release_spi(proposed.spi);
        return None;
    };
    let replaces = replaces.map(|(id, _)| id);
    cx.reach(if replaces.is_some() { Branch::RekeyChildAsked } else { Branch::CreateAsked });
    let (corrected, ppks, deleted) = (wished.is_some(), offer.ppks, Vec::new());
    let asked = Asked { proposed, replaces, nonce, ke, to, corrected, ppks, further: None, deleted };
    Some(Asking { request, what: established::Asked::Child(Box::new(asked)) })
}

/// The peer has answered, CREATE_CHILD_SA or IKE_FOLLOWUP_KE.
pub(crate) fn on_response(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    mut asked: Asked,
    contents: &Contents<'_>,
) {
    if let Some(further) = asked.further.take() {
        let step = further.on_response(of, cx, contents);
        return on_step(of, sa, cx, asked, step);
    }
    if let Some(notify) = contents.error() {
        cx.directory.release_spi(asked.proposed.spi);
        return on_error(of, sa, cx, asked, notify);
    }
    match accept(&asked, sa, of.nat, contents) {
        Ok((draft, shared)) => {
            let methods: VecDeque<KeMethod> = draft.agreed.suite.additional.methods().collect();
            if let Err(refusal) =
                fresh_ppk::settle(of, sa, cx, (&asked.ppks, draft.ppk.as_ref().map(|primed| &primed.ppk)))
            {
                return on_wrong(of, sa, cx, &asked, (refusal, methods.is_empty()));
            }
            if !methods.is_empty() && rekey_child::is_redundant(of, sa, cx, &asked, &draft.nonce) {
                cx.directory.release_spi(asked.proposed.spi);
                return;
            }
            match shared {
                Some(shared) => {
                    let step = followup::go_on(cx, (draft, shared, methods), contents);
                    on_step(of, sa, cx, asked, step);
                }
                None => install(of, sa, cx, asked, (draft, None)),
            }
        }
        Err((kind, reason)) => {
            let refusal = of.refusal(kind, reason);
            on_wrong(of, sa, cx, &asked, (refusal, true));
        }
    }
}

/// The additional key exchanges go on, or are over.
fn on_step(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    mut asked: Asked,
    step: Result<Step<Draft>, Setback>,
) {
    match step {
        // There may be no place in the window just now.
        Ok(Step::Ask(further, payloads)) => {
            asked.further = Some(further);
            of.queue_first(Task::FollowUp(Box::new(asked), payloads));
        }
        Ok(Step::Done(draft, shared)) => install(of, sa, cx, asked, (draft, Some(&shared))),
        // Nothing stands at the peer's.
        Err(Setback::Refused(kind)) => {
            cx.directory.release_spi(asked.proposed.spi);
            on_error(of, sa, cx, asked, &Notify::new(kind, Vec::new()));
        }
        Err(Setback::Wrong(what, stands)) => {
            let reason = format!("The peer's answer to an additional key exchange is wrong: {what}.");
            let refusal = of.refusal(RefusalKind::Protocol, reason);
            on_wrong(of, sa, cx, &asked, (refusal, stands));
        }
    }
}

/// What the peer says cannot be used: where the child stands at its end, it must not keep it.
fn on_wrong(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    asked: &Asked,
    (refusal, stands): (Refusal, bool),
) {
    cx.directory.release_spi(asked.proposed.spi);
    if stands {
        of.queue_delete(vec![Named::unheard(asked.proposed.spi)]);
    }
    of.child_refused(sa, cx, &asked.proposed.child.name, refusal);
    rekey_child::ours_done(of, sa, cx, asked.nothing(), None);
}

/// The next request of a series cannot be sent any more.
pub(crate) fn give_up(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, asked: &Asked) {
    let reason = "The message ids of the IKE SA are used up (RFC 7296 §2.2).".to_string();
    let refusal = of.refusal(RefusalKind::Busy, reason);
    on_wrong(of, sa, cx, asked, (refusal, false));
}

/// All is exchanged: the child is installed.
fn install(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    asked: Asked,
    (draft, shared): (Draft, Option<&SharedSecrets>),
) {
    let Draft { agreed, nonce, ppk } = draft;
    if asked.deleted.contains(&agreed.spi_out) {
        cx.directory.release_spi(asked.proposed.spi);
        cx.reach(Branch::CreateDeleted);
        let name = &asked.proposed.child.name;
        let reason = format!("The peer deleted child `{name}` before its answer came.");
        of.child_refused(sa, cx, name, of.refusal(RefusalKind::PeerError, reason));
        return rekey_child::ours_done(of, sa, cx, asked.nothing(), None);
    }
    let nonces = Nonces { initiator: &asked.nonce, responder: &nonce };
    let (side, nat) = (Side::Initiator, of.nat);
    let place = asked.replaces.map_or(Place::Own, |old| of.place_of(old));
    let ppk = ppk.as_ref();
    let keying = Keying { ike: &of.suite, sk_d: &of.sk_d, ppk, nonces, shared, side, nat, place };
    let installed = child::install(sa, cx, &asked.proposed.child, agreed, keying);
    let replaces = asked.replaces.map(|old| Replaces::new(old, (&asked.nonce, &nonce)));
    of.await_install(sa, cx, (&asked.proposed, replaces), installed);
}

/// The peer has refused.
fn on_error(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, asked: Asked, notify: &Notify<'_>) {
    let child = &asked.proposed.child;
    //= rfc7296 §1.3
    //# the initiator MUST retry with the corrected group, if that was in its proposal
    if let Some(wished) = corrected(&asked, notify) {
        cx.note(
            sa.id,
            format!("The peer wants key exchange {wished} for child `{}`: asking again.", child.name),
        );
        match asked.replaces {
            Some(old) => rekey_child::again(of, sa, cx, old, wished),
            None => {
                cx.reach(Branch::CreateOtherGroup);
                let traffic = asked.to.map_or(Traffic::Configured, Traffic::To);
                of.queue_first(Task::CreateWith(asked.proposed.child, traffic, wished));
            }
        }
        return;
    }
    if let Some(old) = asked.replaces {
        return rekey_child::refused(of, sa, cx, old, notify);
    }
    if let Some(pair) = asked.proposed.pair().filter(|_| notify.kind == NotifyType::SINGLE_PAIR_REQUIRED) {
        return again_for_pair(of, sa, cx, child.clone(), pair);
    }
    if matches!(notify.kind, NotifyType::TEMPORARY_FAILURE | NotifyType::STATE_NOT_FOUND) {
        cx.note(sa.id, format!("The peer is busy: child `{}` is asked for again later.", child.name));
        cx.reach(Branch::CreateLater);
        let child = asked.proposed.child;
        let task = match asked.to {
            Some(to) => Task::CreateFor(child, Traffic::To(to)),
            None => Task::Create(child),
        };
        // Where it has no place, an order that still waits asks for it again.
        of.queue_later(cx, task);
        return;
    }
    cx.reach(Branch::CreateRefused);
    let refusal = child::refused_in_create(notify, &of.chosen.connection, child);
    of.child_refused(sa, cx, &child.name, refusal);
}

/// The peer makes child SAs for single pairs of addresses only: one is asked for, for the packet that wants it.
//= rfc7296 §2.9
//# The requestor is expected to respond by requesting an SA for only the specific traffic it is trying to forward.
pub(crate) fn again_for_pair(
    of: &mut Established,
    sa: &Common,
    cx: &mut Cx<'_>,
    child: Arc<Child>,
    pair: Traffic,
) {
    let text = format!(
        "The peer makes child `{}` for single pairs of addresses: asking for the packet's.",
        child.name
    );
    cx.note(sa.id, text);
    of.queue_first(Task::CreateFor(child, pair));
}

/// The method that INVALID_KE_PAYLOAD names, if we have offered it and not tried it.
fn corrected(asked: &Asked, notify: &Notify<'_>) -> Option<KeMethod> {
    let wished = contents::wished_ke(notify).filter(|_| !asked.corrected)?;
    let offered = asked.proposed.child.esp_proposals.iter().any(|ours| ours.ke.contains(&wished));
    let tried = asked.ke.as_ref().is_some_and(|(method, _)| *method == wished);
    (offered && !tried && wished != KeMethod::NONE).then_some(wished)
}

type Accepted = (Draft, Option<SharedSecrets>);

fn accept(
    asked: &Asked,
    sa: &Common,
    nat: Nat,
    contents: &Contents<'_>,
) -> Result<Accepted, (RefusalKind, String)> {
    let agreed = asked.proposed.accept(sa, nat, contents)?;
    let bad =
        |what: &str| (RefusalKind::Protocol, format!("The peer's answer for a child SA is wrong: {what}."));
    let nonce = contents.nonce.as_ref().ok_or_else(|| bad("it has no nonce"))?.to_vec();
    let shared = match (agreed.suite.ke, &asked.ke, &contents.ke) {
        (KeMethod::NONE, _, _) if agreed.suite.additional.is_empty() => None,
        (chosen, Some((method, private)), Some(ke)) if chosen == *method && ke.method == *method => {
            Some(private.finish(&ke.data).map_err(|error| bad(&error.to_string()))?.into())
        }
        (chosen, ..) => {
            return Err(bad(&format!("it chose key exchange {chosen}, but has no KE payload for it")));
        }
    };
    let ppk = fresh_ppk::taken(&asked.ppks, contents).map_err(|what| bad(&what))?;
    Ok((Draft { agreed, nonce, ppk }, shared))
}

/// The peer asks for a child SA, or for new keys.
pub(crate) fn on_request(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    to: Request,
    contents: &Contents<'_>,
) -> After {
    if contents.sa.is_none() || contents.nonce.is_none() {
        return of.fault(sa, cx, to, &Fault::missing("SA or Nonce"));
    }
    match fresh_ppk::consult(of, sa, cx, (to, contents)) {
        Ok(true) => After::Stay,
        Ok(false) => decide(of, sa, cx, Wanted { to, contents, ppk: None }),
        Err(fault) => of.fault(sa, cx, to, &fault),
    }
}

/// Decides on what the peer asks for, now that it is known which of its PPKs is taken.
pub(crate) fn decide(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, wanted: Wanted<'_>) -> After {
    let Wanted { to, contents, ppk } = &wanted;
    let to = *to;
    if let Some(no_child) = fresh_ppk::refusal(of, cx, ppk.as_ref()) {
        refuse(of, sa, cx, to, no_child);
        return After::Stay;
    }
    let for_ike = contents.sa.iter().flatten().any(|proposal| proposal.protocol == ProtocolId::IKE);
    let rekeyed = contents.notify(NotifyType::REKEY_SA);
    if rekeyed.is_none() && for_ike && contents.has(NotifyType::CLONE_IKE_SA) {
        clone_ike::on_request(of, sa, cx, &wanted);
        return After::Stay;
    }
    if rekeyed.is_none() && for_ike {
        return rekey_ike::on_request(of, sa, cx, &wanted);
    }
    let done = match rekeyed {
        _ if of.is_rekeying_ike() || of.series.iter().any(Series::is_ike) => {
            cx.reach(Branch::CreateWhileRekeying);
            Err(busy(of))
        }
        Some(notify) => rekey_child::on_request(of, sa, cx, &wanted, notify),
        None => match established::grant_on_create(of, sa, cx, &wanted) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let waiting = answer(of, sa, cx, &wanted, None);
                waiting.map(|waiting| go_on(of, sa, cx, waiting))
            }
            Err(no_child) => Err(no_child),
        },
    };
    if let Err(no_child) = done {
        refuse(of, sa, cx, to, no_child);
    }
    After::Stay
}

/// All is decided on a child that the peer asks for: it is installed, or additional key exchanges come before.
pub(crate) fn go_on(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, mut waiting: Waiting) {
    let methods: VecDeque<KeMethod> = waiting.decided.agreed.suite.additional.methods().collect();
    let shared = match waiting.shared.take() {
        Some(shared) if !methods.is_empty() => shared,
        shared => {
            waiting.shared = shared;
            return of.install_then_answer(sa, cx, waiting);
        }
    };
    let (to, mut payloads) = (waiting.to, std::mem::take(&mut waiting.head));
    payloads.append(&mut waiting.body);
    payloads.push(followup::expect(of, cx, Making::Child(Box::new(waiting)), (shared, methods)));
    of.channel.respond(sa, cx, to, &payloads);
}

//= rfc7296 §2.25.2
//# If a peer receives a request to create or rekey a Child SA when it is currently rekeying the IKE SA, it SHOULD reply
//# with TEMPORARY_FAILURE.
fn busy(of: &Established) -> NoChild {
    let reason = "The peer wants a child SA while the IKE SA gets new keys; it may ask again.";
    NoChild::new(RefusalKind::Busy, NotifyType::TEMPORARY_FAILURE, &of.chosen.connection, reason)
}

pub(crate) fn refuse(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, to: Request, no_child: NoChild) {
    of.channel.respond(sa, cx, to, &[Payload::Notify(no_child.notify)]);
    cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: no_child.refusal });
}

/// Decides on a child that the peer asks for, in the place of `old` or not.
pub(crate) fn answer(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    wanted: &Wanted<'_>,
    old: Option<&ChildSa>,
) -> Result<Waiting, NoChild> {
    let Wanted { to, contents, ppk } = wanted;
    let (to, ppk) = (*to, ppk.clone());
    let connection = of.chosen.connection.clone();
    if of.series.len() >= limits::MAX_SERIES {
        let reason = format!(
            "{} series of exchanges of the peer's are under way, which is the limit.",
            limits::MAX_SERIES
        );
        return Err(NoChild::new(RefusalKind::Busy, NotifyType::TEMPORARY_FAILURE, &connection, reason));
    }
    if !of.has_place(old.is_some()) {
        let reason = format!("The IKE SA has {} child SAs, which is the limit.", limits::MAX_CHILDREN);
        return Err(NoChild::new(
            RefusalKind::NoAdditionalSas,
            NotifyType::NO_ADDITIONAL_SAS,
            &connection,
            reason,
        ));
    }
    let sent = contents.ke.as_ref().map(|ke| ke.method);
    let request = ChildRequest { contents, ke: ChildKe::Payload(sent), nat: of.nat };
    let decided = match old {
        None => {
            let meant = of.leases.means(contents).unwrap_or_else(|| connection.clone());
            Decided::new(sa, cx, &meant, &request)?
        }
        Some(old) => Decided::again(sa, cx, &connection, &request, old)?,
    };
    // Nor may series of the peer's without end hold our own wish for new keys back.
    if !decided.agreed.suite.additional.is_empty() && of.is_queued(|task| matches!(task, Task::RekeyIke(_))) {
        cx.directory.release_spi(decided.agreed.spi_in);
        return Err(busy(of));
    }
    let method = decided.agreed.suite.ke;
    let mut body = vec![decided.sa_payload()];
    let nonce = cx.random(limits::NONCE_LEN);
    body.push(Payload::Nonce(nonce.clone().into()));
    let mut shared = None;
    if method != KeMethod::NONE {
        let answered = match &contents.ke {
            Some(ke) if ke.method == method => {
                cx.suite.key_exchange(method).and_then(|exchange| exchange.respond(cx.rng, &ke.data).ok())
            }
            _ => None,
        };
        let Some((public, secret)) = answered else {
            cx.directory.release_spi(decided.agreed.spi_in);
            return Err(wrong_ke(&connection.name, &decided, sent, method));
        };
        body.push(Payload::Ke(KeyExchange { method, data: public.into() }));
        shared = Some(secret.into());
    }
    body.extend(decided.ts_payloads());
    body.extend(ppk.iter().map(|primed| ext::ppk_chosen(&primed.ppk.id)));
    cx.reach(if old.is_some() { Branch::RekeyChildAnswered } else { Branch::CreateAnswered });
    let peer_nonce = contents.nonce.as_ref().map_or(Vec::new(), |nonce| nonce.to_vec());
    let replaces = old.map(|old| Replaces::new(old.id, (&peer_nonce, &nonce)));
    Ok(Waiting { to, head: Vec::new(), body, decided, nonces: (peer_nonce, nonce), shared, ppk, replaces })
}

fn wrong_ke(connection: &str, decided: &Decided, sent: Option<KeMethod>, wanted: KeMethod) -> NoChild {
    let sent = sent.map_or("none".to_string(), |sent| sent.to_string());
    let reason = format!(
        "Child `{}` wants key exchange {wanted}, but the peer's value is for {sent} or is not valid; it is told to try again.",
        decided.child.name
    );
    let connection = Some(connection.to_string());
    NoChild {
        notify: Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted.0.to_be_bytes().to_vec()),
        refusal: Refusal { kind: RefusalKind::InvalidKe, by_peer: false, connection, reason },
    }
}
