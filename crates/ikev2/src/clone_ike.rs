//! Another IKE SA beside this one, without another proof of who both are (RFC 7791). The children stay with the old one.
//! There are no additional key exchanges: what they gave to the keys of this one goes into those of the other.
//!
//! ```text
//!   initiator                                       responder
//!   CREATE_CHILD_SA  SK{N(CLONE_IKE_SA) SA Ni KEi} -->
//!                              <--  SK{N(INVALID_KE_PAYLOAD)}: once more with the method that is wanted
//!                              <--  SK{SA Nr KEr}      (both IKE SAs stand)
//!   (both IKE SAs stand)
//! ```

use crate::child::NoChild;
use crate::contents::Contents;
use crate::established::{Asked as AskedFor, Asking, Established, Task};
use crate::ext::Moment;
use crate::fresh_ppk::{self, Wanted};
use crate::ike_sa::{IkeSa, Stage, Wish};
use crate::rekey_ike::{self, Fresh, Parent};
use crate::{Common, Cx, Origin, create_child, limits};
use sa::{Event, RefusalKind, Reply};
use wire::num::{ExchangeType, KeMethod, NotifyType};
use wire::{Notify, Payload};

/// What we have asked for.
pub(crate) struct Asked {
    pub(crate) ike: rekey_ike::Asked,
    /// Who wants it, and for which children.
    pub(crate) wish: Wish,
}

/// Asks for it; `wished` is the key exchange method that the peer has asked for.
//= rfc7791 §5.2
//# The initiator of the rekey exchange includes the CLONE_IKE_SA notification in a CREATE_CHILD_SA request for rekeying the
//# IKE SA.
pub(crate) fn begin(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    wish: Wish,
    wished: Option<KeMethod>,
) -> Option<Asking> {
    let offers = policy::ike_offers(&policy::without_additional(&of.chosen.connection.proposals));
    let Some((ike, proposal)) = rekey_ike::propose(of, cx, offers, wished) else {
        let reason = "This build lacks the key exchange method of the IKE SA.".to_string();
        cx.out.reply(wish.order, Reply::Refused(of.refusal(RefusalKind::InvalidKe, reason)));
        return None;
    };
    let mut payloads = vec![Payload::Notify(Notify::new(NotifyType::CLONE_IKE_SA, Vec::new()))];
    payloads.extend(proposal);
    let Some(request) = of.channel.ask(sa, cx, ExchangeType::CREATE_CHILD_SA, &payloads) else {
        let reason = "The message ids of the IKE SA are used up (RFC 7296 §2.2).".to_string();
        cx.out.reply(wish.order, Reply::Refused(of.refusal(RefusalKind::Busy, reason)));
        return None;
    };
    Some(Asking { request, what: AskedFor::CloneIke(Box::new(Asked { ike, wish })) })
}

/// The peer has answered.
pub(crate) fn on_response(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    asked: Asked,
    contents: &Contents<'_>,
) {
    let Asked { ike, wish } = asked;
    if let Some(notify) = contents.error() {
        return on_error(of, sa, cx, (&ike, wish), notify);
    }
    let parent = Parent { suite: &of.suite, sk_d: &of.sk_d, fragment_size: of.channel.cut() };
    match rekey_ike::accept_at_once(cx, &ike, &parent, contents) {
        Ok(fresh) => match fresh_ppk::settle(of, sa, cx, (&ike.ppks, fresh.ppk.as_ref())) {
            Ok(()) => stand(of, sa, cx, fresh, Some((wish, contents))),
            Err(refusal) => {
                rekey_ike::close(of.chosen.clone(), sa, cx, fresh);
                cx.out.reply(wish.order, Reply::Refused(refusal));
            }
        },
        // What the peer has made of it goes when it hears nothing there.
        Err(what) => {
            let reason = format!("The peer's answer for another IKE SA is wrong: {what}.");
            cx.out.reply(wish.order, Reply::Refused(of.refusal(RefusalKind::Protocol, reason)));
        }
    }
}

/// The peer has refused.
//= rfc7791 §5.3
//# After receiving this notification [TEMPORARY_FAILURE], the initiator MAY retry its request after waiting some period of
//# time.
//= rfc7791 §5.3
//# This condition [NO_ADDITIONAL_SAS] is considered permanent and the initiator SHOULD NOT retry cloning an IKE SA until some
//# of the existing SAs with the responder are deleted.
fn on_error(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    (ike, wish): (&rekey_ike::Asked, Wish),
    notify: &Notify<'_>,
) {
    if let Some(method) = rekey_ike::corrected(ike, notify) {
        return of.queue_first(Task::CloneIke(Box::new(wish), Some(method)));
    }
    let (kind, hint) = match notify.kind {
        NotifyType::TEMPORARY_FAILURE => {
            cx.note(sa.id, "The peer is busy: the IKE SA beside this one is asked for later.");
            let order = wish.order;
            if !of.queue_later(cx, Task::CloneIke(Box::new(wish), None)) {
                of.refuse_full(cx, order);
            }
            return;
        }
        NotifyType::NO_ADDITIONAL_SAS => {
            (RefusalKind::NoAdditionalSas, "It takes no further IKE SA with us: take one down first.")
        }
        _ => (RefusalKind::PeerError, "Its log knows more."),
    };
    let reason = format!("The peer refused another IKE SA beside this one with {}. {hint}", notify.kind);
    let mut refusal = of.refusal(kind, reason);
    refusal.by_peer = true;
    cx.out.reply(wish.order, Reply::Refused(refusal));
}

/// The peer asks for it.
pub(crate) fn on_request(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, wanted: &Wanted<'_>) {
    let to = wanted.to;
    let connection = of.chosen.connection.clone();
    let ours = policy::without_additional(&connection.proposals);
    let decided = may(of, cx).and_then(|()| rekey_ike::decide_at_once(of, &ours, cx, wanted));
    match decided {
        Ok((fresh, payloads)) => {
            of.channel.respond(sa, cx, to, &payloads);
            stand(of, sa, cx, fresh, None);
        }
        Err(no) => create_child::refuse(of, sa, cx, to, no),
    }
}

//= rfc7791 §5.3
//# Temporary inability occurs when the responder doesn't have enough resources at the moment to clone an IKE SA or when the
//# IKE SA is being deleted by the responder. In this case, the responder SHOULD reject the request to clone the IKE SA with
//# the TEMPORARY_FAILURE notification.
//= rfc7791 §5.3
//# If the initiator wants to clone more IKE SAs than the responder is able or is configured to handle, the responder SHOULD
//# reject the request with the NO_ADDITIONAL_SAS notification.
fn may(of: &Established, cx: &Cx<'_>) -> Result<(), NoChild> {
    let no = |kind, notify, reason: String| Err(NoChild::new(kind, notify, &of.chosen.connection, reason));
    if of.is_rekeying_ike() {
        let reason =
            "The peer wants another IKE SA beside this one, which is getting new keys; it may ask again.";
        return no(RefusalKind::Busy, NotifyType::TEMPORARY_FAILURE, reason.to_string());
    }
    if !of.peer.cloning {
        let reason = "The peer wants another IKE SA beside this one, which both sides have not agreed on: set `clone_ike_sa` on both.";
        return no(RefusalKind::NoAdditionalSas, NotifyType::NO_ADDITIONAL_SAS, reason.to_string());
    }
    if cx.directory.between(&of.identities.pair).len() >= limits::MAX_CLONES {
        let reason = format!(
            "The peer wants another IKE SA beside this one: {} with it is the limit.",
            limits::MAX_CLONES
        );
        return no(RefusalKind::NoAdditionalSas, NotifyType::NO_ADDITIONAL_SAS, reason);
    }
    Ok(())
}

/// The new one stands.
//= rfc7791 §5.2
//# When the IKE SA is cloned, peers MUST NOT transfer existing Child SAs that were created by the old IKE SA to the newly
//# created IKE SA.
fn stand(of: &Established, sa: &Common, cx: &mut Cx<'_>, fresh: Fresh, ours: Option<(Wish, &Contents<'_>)>) {
    let mut common = fresh.common(cx, sa);
    common.origin = Origin::default();
    let ppk = fresh.ppk.clone();
    let mut stage = Box::new(of.beside(fresh));
    stage.leases = of.leases.beside();
    cx.out.tell(Event::IkeUp(common.facts(&stage.known(), cx.now.mono)));
    cx.note(common.id, format!("It stands beside IKE SA {}, by the same proof (RFC 7791).", sa.id.0));
    if let Some(ppk) = ppk {
        fresh_ppk::tell(&common, cx, &ppk);
    }
    if let Some((wish, contents)) = ours {
        stage.inspect(&common, cx, (Moment::Renewed, common.path), contents);
        common.wishes.push(wish);
    }
    stage.settle_in(&common, cx);
    stage.go_on(&mut common, cx);
    cx.born.push(IkeSa::new(common, stage));
}

impl Established {
    /// Makes another IKE SA beside this one, where the peer may be asked for it.
    pub(crate) fn order_clone(&mut self, cx: &mut Cx<'_>, wish: Wish) {
        if !self.peer.cloning {
            let reason = "The peer and we have not agreed that the IKE SA may be cloned: set `clone_ike_sa` on both sides and bring it up anew.";
            let refusal = self.refusal(RefusalKind::NotFound, reason.to_string());
            return cx.out.reply(wish.order, Reply::Refused(refusal));
        }
        let order = wish.order;
        if !self.queue(Task::CloneIke(Box::new(wish), None)) {
            self.refuse_full(cx, order);
        }
    }
}
