//! The additional key exchanges of a CREATE_CHILD_SA exchange (RFC 9370 §2.2.4).
//!
//! ```text
//!   initiator                                       responder
//!   CREATE_CHILD_SA  SK{SA Ni KEi …} -->
//!                              <--  SK{SA Nr KEr … N(ADDITIONAL_KEY_EXCHANGE)(link 1)}
//!   IKE_FOLLOWUP_KE  SK{KEi(1) N(ADDITIONAL_KEY_EXCHANGE)(link 1)} -->
//!                              <--  SK{KEr(1) N(ADDITIONAL_KEY_EXCHANGE)(link 2)}
//!   IKE_FOLLOWUP_KE  SK{KEi(2) N(ADDITIONAL_KEY_EXCHANGE)(link 2)} -->
//!                                                   (the new SA stands)
//!                              <--  SK{KEr(2)}
//!   (the new SA stands)
//! ```
//! Nothing stands before the last exchange is over. So where both give an SA new keys at once, whoever has asked for the
//! redundant one stops when CREATE_CHILD_SA shows it.

use crate::channel::Request;
use crate::contents::Contents;
use crate::established::{After, Established, Waiting};
use crate::fault::Fault;
use crate::rekey_child;
use crate::rekey_ike::{self, Draft};
use crate::sent::Sent;
use crate::{Common, Cx, limits};
use base::{Instant, Secret};
use crypto::{KePrivate, SharedSecrets};
use dataplane::ChildId;
use sa::{Branch, Event, RefusalKind};
use std::collections::VecDeque;
use wire::num::{ExchangeType, KeMethod, NotifyType};
use wire::{KeyExchange, Notify, Payload};

/// A series of ours: CREATE_CHILD_SA is answered, and an IKE_FOLLOWUP_KE request is on its way, or has its turn.
pub(crate) struct Further<T> {
    /// What CREATE_CHILD_SA has led to.
    draft: T,
    shared: SharedSecrets,
    method: KeMethod,
    private: Box<dyn KePrivate>,
    /// The methods that come after this one.
    rest: VecDeque<KeMethod>,
}

/// How a series of ours goes on.
pub(crate) enum Step<T> {
    /// By an IKE_FOLLOWUP_KE request with these payloads.
    Ask(Box<Further<T>>, Vec<Payload<'static>>),
    Done(T, SharedSecrets),
}

/// Why it comes to nothing.
pub(crate) enum Setback {
    /// The peer has refused.
    Refused(NotifyType),
    /// What it says cannot be used; whether it was its last word, by which the SA stands at its end.
    Wrong(String, bool),
}

/// Goes on after a response: with the next of `methods`, or to the end.
pub(crate) fn go_on<T>(
    cx: &mut Cx<'_>,
    (draft, shared, mut methods): (T, SharedSecrets, VecDeque<KeMethod>),
    contents: &Contents<'_>,
) -> Result<Step<T>, Setback> {
    let Some(method) = methods.pop_front() else { return Ok(Step::Done(draft, shared)) };
    let wrong = |what: &str| Setback::Wrong(what.to_string(), false);
    let link = contents.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE);
    let link = link.ok_or_else(|| wrong("it lacks ADDITIONAL_KEY_EXCHANGE (RFC 9370 §2.2.4)"))?;
    let generated = cx.suite.key_exchange(method).and_then(|ke| ke.generate(cx.rng).ok());
    let (private, public) = generated.ok_or_else(|| wrong("this build lacks its key exchange method"))?;
    //= rfc9370 §2.2.4
    //# The initiator MUST send back this notification intact in the request message of the next IKE_FOLLOWUP_KE exchange.
    let payloads = vec![
        Payload::Ke(KeyExchange { method, data: public.into() }),
        Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link.data.to_vec())),
    ];
    Ok(Step::Ask(Box::new(Further { draft, shared, method, private, rest: methods }), payloads))
}

/// Sends the next request of a series; `None` when no message id is left.
pub(crate) fn ask(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    payloads: &[Payload<'_>],
) -> Option<Sent> {
    let request = of.channel.ask(sa, cx, ExchangeType::IKE_FOLLOWUP_KE, payloads)?;
    cx.reach(Branch::FollowupAsked);
    Some(request)
}

impl<T> Further<T> {
    /// The peer has answered.
    //= rfc9370 §2.2.4
    //# If the initiator receives this notification [STATE_NOT_FOUND] in response to an IKE_FOLLOWUP_KE exchange performing an
    //# additional key exchange, it MUST cancel this exchange and MUST treat the whole series of exchanges started from the
    //# CREATE_CHILD_SA exchange as having failed.
    pub(crate) fn on_response(
        self,
        of: &mut Established,
        cx: &mut Cx<'_>,
        contents: &Contents<'_>,
    ) -> Result<Step<T>, Setback> {
        if let Some(notify) = contents.error() {
            if notify.kind == NotifyType::STATE_NOT_FOUND {
                cx.reach(Branch::FollowupForgotten);
                of.states_lost = of.states_lost.saturating_add(1);
            }
            return Err(Setback::Refused(notify.kind));
        }
        let (draft, shared, rest) = self.take(contents)?;
        if rest.is_empty() {
            of.states_lost = 0;
        }
        go_on(cx, (draft, shared, rest), contents)
    }

    /// The draft and all shared secrets so far, with what this response brings.
    pub(crate) fn take(
        self,
        contents: &Contents<'_>,
    ) -> Result<(T, SharedSecrets, VecDeque<KeMethod>), Setback> {
        let Self { draft, mut shared, method, private, rest } = self;
        let wrong = |what: String| Setback::Wrong(what, rest.is_empty());
        let peer = peer_value(contents, method).map_err(wrong)?;
        let next = private.finish(peer).map_err(|error| wrong(error.to_string()))?;
        shared.push(&next);
        Ok((draft, shared, rest))
    }
}

/// The public value of a KE payload that must be for that method.
//= rfc9370 §2.2.4
//# The former "Diffie-Hellman Group Num" (now called "Key Exchange Method") field in the KEi(n) and KEr(n) payloads MUST match
//# the n-th negotiated additional key exchange.
pub(crate) fn peer_value<'a>(contents: &'a Contents<'_>, method: KeMethod) -> Result<&'a [u8], String> {
    match &contents.ke {
        Some(ke) if ke.method == method => Ok(&ke.data),
        Some(ke) => Err(format!("key exchange {} came where {method} has its turn", ke.method)),
        None => Err(format!("the KE payload for {method} is missing")),
    }
}

/// A series of the peer's: what its next IKE_FOLLOWUP_KE request goes on with.
pub(crate) struct Series {
    /// What that request must show.
    link: Vec<u8>,
    /// Until when it must come.
    until: Instant,
    what: Making,
    shared: SharedSecrets,
    rest: VecDeque<KeMethod>,
}

/// What a series of the peer's makes.
pub(crate) enum Making {
    /// A child SA, for which all is decided.
    Child(Box<Waiting>),
    /// An IKE SA in this one's place.
    Ike(Box<Draft>),
}

impl Series {
    /// Whether it makes an IKE SA.
    pub(crate) fn is_ike(&self) -> bool {
        matches!(self.what, Making::Ike(_))
    }

    /// The child that it makes.
    pub(crate) fn child_name(&self) -> Option<&str> {
        match &self.what {
            Making::Child(waiting) => Some(&waiting.decided.child.name),
            Making::Ike(_) => None,
        }
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    /// The child that it replaces, and the lower of its nonces.
    fn replaces(&self) -> Option<&rekey_child::Replaces> {
        match &self.what {
            Making::Child(waiting) => waiting.replaces.as_ref(),
            Making::Ike(_) => None,
        }
    }
}

/// A series of the peer's begins: what the response to CREATE_CHILD_SA says of it.
//= rfc9370 §2.2.4
//# The responder MUST include this notification in a CREATE_CHILD_SA or IKE_FOLLOWUP_KE response message in case the next
//# IKE_FOLLOWUP_KE exchange is expected
pub(crate) fn expect(
    of: &mut Established,
    cx: &mut Cx<'_>,
    what: Making,
    (shared, rest): (SharedSecrets, VecDeque<KeMethod>),
) -> Payload<'static> {
    let link = cx.random(limits::LINK_LEN);
    let until = cx.now.mono + limits::FOLLOWUP_PATIENCE;
    of.series.push(Series { link: link.clone(), until, what, shared, rest });
    Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link))
}

/// The peer goes on with a series.
//= rfc9370 §2.2.4
//# If the responder receives an IKE_FOLLOWUP_KE message for which it does not have a key exchange state, it MUST send back a
//# new error type notification called "STATE_NOT_FOUND".
pub(crate) fn on_request(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    to: Request,
    contents: &Contents<'_>,
) -> After {
    let link = contents.notify(NotifyType::ADDITIONAL_KEY_EXCHANGE).map(|notify| notify.data.to_vec());
    let known = of.series.iter().position(|series| Some(&series.link) == link.as_ref());
    let Some(index) = known else {
        cx.reach(Branch::FollowupUnknown);
        of.channel.respond(
            sa,
            cx,
            to,
            &[Payload::Notify(Notify::new(NotifyType::STATE_NOT_FOUND, Vec::new()))],
        );
        let reason = "The peer goes on with additional key exchanges (IKE_FOLLOWUP_KE) of which nothing is known here, or nothing any more; it may begin anew.";
        let refusal = of.refusal(RefusalKind::NotFound, reason.to_string());
        cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
        return After::Stay;
    };
    let Series { what, mut shared, mut rest, .. } = of.series.remove(index);
    let method = rest.pop_front().unwrap_or(KeMethod::NONE);
    let (public, next) = match respond(cx, method, contents) {
        Ok(answered) => answered,
        Err(what_is_wrong) => {
            of.drop_made(sa, cx, what);
            return of.fault(sa, cx, to, &Fault::syntax("RFC 9370 §2.2.4", what_is_wrong));
        }
    };
    shared.push(&next);
    cx.reach(Branch::FollowupAnswered);
    let ours = Payload::Ke(KeyExchange { method, data: public.into() });
    if !rest.is_empty() {
        let link = expect(of, cx, what, (shared, rest));
        of.channel.respond(sa, cx, to, &[ours, link]);
        return After::Stay;
    }
    match what {
        // A request that waits for an address or for the data plane would be answered under the new keys.
        Making::Ike(_) if of.owes_answers() => {
            refuse(
                of,
                sa,
                cx,
                to,
                "The peer's new IKE SA would come while a request of its has no response yet; it may begin anew.",
            );
            After::Stay
        }
        Making::Ike(draft) => rekey_ike::answer_with(of, sa, cx, (to, &[ours]), (&draft, &shared)),
        Making::Child(waiting) => {
            let is_gone = |old: ChildId| !of.children.iter().any(|child| child.id == old);
            if let Some(old) =
                waiting.replaces.as_ref().map(|replaces| replaces.old).filter(|old| is_gone(*old))
            {
                of.drop_made(sa, cx, Making::Child(waiting));
                of.forget_rekeys_of(old);
                refuse(
                    of,
                    sa,
                    cx,
                    to,
                    "The child SA that gets new keys is gone here; the peer may ask again for what it still has.",
                );
                return After::Stay;
            }
            let waiting =
                Waiting { to, head: Vec::new(), body: vec![ours], shared: Some(shared), ..*waiting };
            of.install_then_answer(sa, cx, waiting);
            After::Stay
        }
    }
}

/// The series comes to nothing at its end, for a reason that does not last.
fn refuse(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, to: Request, reason: &str) {
    let notify = Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new());
    of.channel.respond(sa, cx, to, &[Payload::Notify(notify)]);
    let refusal = of.refusal(RefusalKind::Busy, reason.to_string());
    cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
}

fn respond(cx: &mut Cx<'_>, method: KeMethod, contents: &Contents<'_>) -> Result<(Vec<u8>, Secret), String> {
    let peer = peer_value(contents, method)?;
    let exchange =
        cx.suite.key_exchange(method).ok_or_else(|| format!("this build has no key exchange {method}"))?;
    exchange
        .respond(cx.rng, peer)
        .map_err(|error| format!("the value for key exchange {method} is not valid: {error}"))
}

impl Established {
    /// Series of the peer's that it does not go on with come to nothing.
    //= rfc9370 §2.2.4
    //# The responder MUST handle this situation gracefully and delete the associated state if it does not receive the next
    //# expected IKE_FOLLOWUP_KE request after some reasonable period of time.
    pub(crate) fn give_up_on_series(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        while let Some(index) = self.series.iter().position(|series| now >= series.until) {
            let series = self.series.remove(index);
            cx.reach(Branch::FollowupTimeout);
            cx.note(
                sa.id,
                "The peer has begun new keys with additional key exchanges, and does not go on with them.",
            );
            self.drop_made(sa, cx, series.what);
        }
    }

    /// What a series would have made is not made.
    fn drop_made(&mut self, sa: &mut Common, cx: &mut Cx<'_>, what: Making) {
        if let Making::Child(waiting) = what {
            cx.directory.release_spi(waiting.decided.agreed.spi_in);
            rekey_child::theirs_done(self, sa, cx, waiting.replaces, None);
        }
    }

    /// The IKE SA ends, or has a successor: all series end with it.
    pub(crate) fn clear_series(&mut self, cx: &mut Cx<'_>) {
        for series in std::mem::take(&mut self.series) {
            if let Making::Child(waiting) = series.what {
                cx.directory.release_spi(waiting.decided.agreed.spi_in);
            }
        }
    }

    /// The lower nonce of the peer's series for a successor of that child.
    pub(crate) fn series_for_child(&self, old: ChildId) -> Option<&[u8]> {
        let replaces = self.series.iter().filter_map(Series::replaces);
        replaces.filter(|replaces| replaces.old == old).map(|replaces| replaces.lowest.as_slice()).next()
    }

    /// The peer's series for a successor of that child is the redundant one: the peer stops it too.
    pub(crate) fn drop_series_for_child(&mut self, cx: &mut Cx<'_>, old: ChildId) {
        let (dropped, stay) = std::mem::take(&mut self.series)
            .into_iter()
            .partition(|series| series.replaces().is_some_and(|replaces| replaces.old == old));
        self.series = stay;
        let dropped: Vec<Series> = dropped;
        for series in dropped {
            if let Making::Child(waiting) = series.what {
                cx.directory.release_spi(waiting.decided.agreed.spi_in);
            }
        }
    }

    /// The lower nonce of the peer's series for an IKE SA in this one's place.
    pub(crate) fn series_for_ike(&self) -> Option<Vec<u8>> {
        self.series.iter().find_map(|series| match &series.what {
            Making::Ike(draft) => Some(draft.lowest()),
            Making::Child(_) => None,
        })
    }

    /// The peer's series for an IKE SA in this one's place is the redundant one: the peer stops it too.
    pub(crate) fn drop_series_for_ike(&mut self) {
        self.series.retain(|series| !series.is_ike());
    }
}
