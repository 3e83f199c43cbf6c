//! New keys for a child SA: a new one in its place (RFC 7296 §1.3.3, §2.8).
//!
//! ```text
//!   initiator                                       responder
//!   CREATE_CHILD_SA  SK{N(REKEY_SA) SA Ni [KEi] TSi TSr} -->
//!                              (the new child is installed; traffic stays with the old one)
//!                              <--  SK{SA Nr [KEr] TSi TSr}
//!   (the new child is installed, and used)
//!                              (its first packet comes: the new child is used)
//!   INFORMATIONAL  SK{D(ESP, the old child)} -->
//!                              <--  SK{D(ESP, the old child)}
//!   (both keep the old child a little longer, for packets that are still under way)
//! ```
//!
//! Both may ask at once (§2.8.1): each answers the other's request as usual. Of the two new children the one whose
//! exchange has the lowest of all four nonces is redundant: who asked for it deletes it, and the other one deletes the old
//! child. Until both exchanges are decided a [`Rekey`] remembers them.

use crate::child::{ChildSa, NoChild, Place, Traffic};
use crate::create_child::{self, Plan};
use crate::delete::{self, Named};
use crate::established::{Asking, Established, Task};
use crate::fresh_ppk::Wanted;
use crate::{Common, Cx};
use base::{EspSpi, Instant};
use dataplane::{ChildId, Op};
use sa::{Branch, Event, Fate, RefusalKind};
use wire::Notify;
use wire::num::{KeMethod, NotifyType, ProtocolId};

/// A child SA that is being replaced.
#[derive(Clone, Debug)]
pub(crate) struct Rekey {
    pub(crate) old: ChildId,
    /// By a request of ours.
    pub(crate) ours: Half,
    /// By a request of the peer's.
    pub(crate) theirs: Half,
}

/// How far one of both exchanges has come.
#[derive(Clone, Debug)]
pub(crate) enum Half {
    /// There is none, or nothing came of it.
    None,
    UnderWay,
    Done(Successor),
}

/// The child SA that an exchange has made.
#[derive(Clone, Debug)]
pub(crate) struct Successor {
    id: ChildId,
    /// The lower of the exchange's nonces.
    lowest: Vec<u8>,
}

/// What a child SA is made for: to replace another one.
#[derive(Clone, Debug)]
pub(crate) struct Replaces {
    pub(crate) old: ChildId,
    /// The lower of the exchange's nonces.
    pub(crate) lowest: Vec<u8>,
}

/// A child SA that has a successor, and still takes in what is under way to it.
pub(crate) struct Retired {
    pub(crate) child: ChildSa,
    /// Until when; `None` until the peer knows that it is deleted.
    pub(crate) until: Option<Instant>,
}

impl Half {
    fn is_done(&self, id: ChildId) -> bool {
        matches!(self, Self::Done(successor) if successor.id == id)
    }

    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    fn is_under_way(&self) -> bool {
        matches!(self, Self::UnderWay)
    }
}

impl Replaces {
    pub(crate) fn new(old: ChildId, nonces: (&[u8], &[u8])) -> Self {
        Self { old, lowest: lowest(nonces) }
    }
}

/// The lower of two nonces.
//= rfc7296 §2.8.1
//# The comparison is done octet by octet (instead of, for instance, comparing the nonces as large integers) […]: if
//# you reach the end of one nonce, that nonce is the lower one.
pub(crate) fn lowest((one, other): (&[u8], &[u8])) -> Vec<u8> {
    one.min(other).to_vec()
}

/// Asks for a successor of a child; `wished` is the key exchange method that the peer has asked for.
pub(crate) fn begin(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    id: ChildId,
    wished: Option<KeMethod>,
) -> Option<Asking> {
    let child = of.children.iter().find(|child| child.id == id)?;
    if of.rekeys.iter().any(|rekey| rekey.old == id) {
        return None;
    }
    // A successor that is not settled may be unknown to the peer still.
    if of.rekeys.iter().any(|rekey| rekey.ours.is_done(id) || rekey.theirs.is_done(id)) {
        of.rekey_child_later(cx, id);
        return None;
    }
    let traffic = Traffic::Of(child.agreed.clone());
    let plan =
        Plan { child: child.config.clone(), traffic, wished, replaces: Some((id, child.agreed.spi_in)) };
    of.rekeys.push(Rekey { old: id, ours: Half::UnderWay, theirs: Half::None });
    let asking = create_child::ask(of, sa, cx, plan);
    if asking.is_none() {
        of.rekeys.retain(|rekey| rekey.old != id);
    }
    asking
}

/// N(REKEY_SA) for a child that we receive with `spi`.
//= rfc7296 §1.3.3
//# The SA being rekeyed is identified by the SPI field in the [REKEY_SA] Notify payload; this is the SPI the exchange
//# initiator would expect in inbound ESP or AH packets.
pub(crate) fn notify(spi: EspSpi) -> Notify<'static> {
    let mut notify = Notify::new(NotifyType::REKEY_SA, Vec::new());
    notify.protocol = ProtocolId::ESP;
    notify.spi = spi.0.to_be_bytes().to_vec().into();
    notify
}

/// The peer wants another key exchange method: once more, unless it has made a successor itself.
pub(crate) fn again(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, old: ChildId, wished: KeMethod) {
    let theirs = of.rekeys.iter().any(|rekey| rekey.old == old && !rekey.theirs.is_none());
    if theirs {
        return conclude(of, sa, cx, old, Half::None);
    }
    of.rekeys.retain(|rekey| rekey.old != old);
    cx.reach(Branch::RekeyChildOtherGroup);
    of.queue_first(Task::RekeyChildWith(old, wished));
}

/// The peer refuses to make a successor.
pub(crate) fn refused(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    old: ChildId,
    notify: &Notify<'_>,
) {
    let theirs = of.rekeys.iter().any(|rekey| rekey.old == old && !rekey.theirs.is_none());
    let child = of.children.iter().find(|child| child.id == old);
    match (child, notify.kind) {
        // The peer has replaced or deleted it by now: its own exchanges tell.
        _ if theirs => {}
        (None, _) => {}
        //= rfc7296 §2.25
        //# A peer that receives a CHILD_SA_NOT_FOUND notification SHOULD silently delete the Child SA and send a request
        //# to create a new Child SA from scratch.
        (Some(child), NotifyType::CHILD_SA_NOT_FOUND) => {
            let child = child.clone();
            cx.note(
                sa.id,
                format!("The peer has no child `{}` to give new keys to: asking for a new one.", child.name),
            );
            of.children.retain(|any| any.id != old);
            of.forget_rekeys_of(old);
            of.queue(Task::Create(child.config.clone()));
            delete::remove(sa, cx, &child, Fate::DeletedByPeer);
        }
        (Some(child), NotifyType::TEMPORARY_FAILURE | NotifyType::STATE_NOT_FOUND) => {
            cx.reach(Branch::RekeyChildLater);
            cx.note(
                sa.id,
                format!("The peer is busy: new keys for child `{}` are asked for later.", child.name),
            );
            of.rekey_child_later(cx, old);
        }
        (Some(child), NotifyType::NO_ADDITIONAL_SAS) => {
            let what = format!("child `{}`", child.name);
            of.begin_from_scratch(sa, cx, &what);
        }
        (Some(child), _) => {
            let mut refusal = crate::child::refused_in_create(notify, &of.chosen.connection, &child.config);
            let wait = of.rekey_child_refused(cx, old).as_secs();
            refusal.reason.push_str(&format!(" New keys for it are asked for again in {wait} s."));
            cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal });
        }
    }
    conclude(of, sa, cx, old, Half::None);
}

/// CREATE_CHILD_SA is answered, and additional key exchanges would follow: whether the peer has asked for the same at once,
/// and ours is the one that is given up.
//= rfc9370 §2.2.4
//# if additional key exchanges are negotiated in the CREATE_CHILD_SA exchange in which the smallest nonce is used, then, because
//# there is nothing to delete yet, the initiator of this exchange just stops the rekeying process, and it MUST NOT initiate
//# the IKE_FOLLOWUP_KE exchange.
pub(crate) fn is_redundant(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    asked: &create_child::Asked,
    nonce: &[u8],
) -> bool {
    let Some(old) = asked.replaces else { return false };
    let Some(theirs) = of.lowest_of_peer(old) else { return false };
    if asked.lowest(nonce) > theirs {
        of.end_redundant_series(cx, old);
        return false;
    }
    cx.reach(Branch::RekeyChildStopped);
    cx.note(sa.id, "Both sides give a child new keys at once: the peer's stay.");
    conclude(of, sa, cx, old, Half::None);
    true
}

/// What came of our request: the successor, or nothing.
pub(crate) fn ours_done(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    replaces: Option<Replaces>,
    new: Option<ChildId>,
) {
    let Some(Replaces { old, lowest }) = replaces else { return };
    if let Some(id) = new
        && !of.rekeys.iter().any(|rekey| rekey.old == old)
    {
        // It was ordered down while the exchange was under way.
        cx.reach(Branch::RekeyChildOrderedDown);
        return of.retire(sa, cx, id, Fate::Ordered);
    }
    if new.is_none() {
        of.rekey_child_refused(cx, old);
    } else if of.series_for_child(old).is_some_and(|theirs| *theirs < *lowest) {
        of.end_redundant_series(cx, old);
    }
    conclude(of, sa, cx, old, new.map_or(Half::None, |id| Half::Done(Successor { id, lowest })));
}

fn conclude(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, old: ChildId, ours: Half) {
    if let Some(rekey) = of.rekeys.iter_mut().find(|rekey| rekey.old == old) {
        rekey.ours = ours;
    }
    settle(of, sa, cx, old);
}

/// What came of the peer's request: the successor, or nothing.
pub(crate) fn theirs_done(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    replaces: Option<Replaces>,
    new: Option<ChildId>,
) {
    let Some(Replaces { old, lowest }) = replaces else { return };
    if let Some(rekey) = of.rekeys.iter_mut().find(|rekey| rekey.old == old) {
        rekey.theirs = new.map_or(Half::None, |id| Half::Done(Successor { id, lowest }));
    }
    settle(of, sa, cx, old);
}

/// What is to be done with a child and its successors.
enum Verdict {
    /// Not decided yet, or the peer's turn.
    Wait,
    Forget,
    /// It has a successor that we made: it goes.
    RetireOld,
    /// Both made one, and ours is redundant.
    RetireOurs {
        ours: ChildId,
        theirs: ChildId,
    },
}

/// Decides, when both exchanges have come to their ends.
//= rfc7296 §2.8.1
//# If redundant SAs are created though such a collision, the SA created with the lowest of the four nonces used in the two
//# exchanges SHOULD be closed by the endpoint that created it.
//= rfc7296 §2.8
//# The node that initiated the surviving rekeyed SA SHOULD delete the replaced SA after the new one is established.
fn settle(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, old: ChildId) {
    let is_here = of.children.iter().any(|child| child.id == old);
    let Some(rekey) = of.rekeys.iter_mut().find(|rekey| rekey.old == old) else { return };
    let both = matches!((&rekey.ours, &rekey.theirs), (Half::Done(_), Half::Done(_)));
    let verdict = match (&rekey.ours, &rekey.theirs) {
        (Half::UnderWay, _) | (_, Half::UnderWay) => Verdict::Wait,
        (Half::None, Half::Done(_)) if is_here => Verdict::Wait,
        (Half::None, _) => Verdict::Forget,
        (Half::Done(ours), Half::Done(theirs)) if ours.lowest < theirs.lowest => {
            Verdict::RetireOurs { ours: ours.id, theirs: theirs.id }
        }
        (Half::Done(_), _) => Verdict::RetireOld,
    };
    match verdict {
        Verdict::Wait => {}
        Verdict::Forget => of.rekeys.retain(|rekey| rekey.old != old),
        Verdict::RetireOurs { ours, theirs } => {
            rekey.ours = Half::None;
            // The peer removes ours as soon as it hears; whether it has its own already is not known while it has the old.
            cx.out.dataplane(sa.id, Op::Use(if is_here { old } else { theirs }));
            cx.reach(Branch::RekeyChildTheirsStays);
            cx.note(sa.id, "Both sides gave a child new keys at once: the peer's stay.");
            if !is_here {
                of.rekeys.retain(|rekey| rekey.old != old);
            }
            of.retire(sa, cx, ours, Fate::Replaced);
        }
        Verdict::RetireOld => {
            if both && let Half::Done(ours) = &rekey.ours {
                cx.out.dataplane(sa.id, Op::Use(ours.id));
                cx.reach(Branch::RekeyChildOursStays);
                cx.note(sa.id, "Both sides gave a child new keys at once: ours stay.");
            }
            of.rekeys.retain(|rekey| rekey.old != old);
            of.retire(sa, cx, old, Fate::Replaced);
        }
    }
}

/// The peer asks for a successor of a child.
pub(crate) fn on_request(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    wanted: &Wanted<'_>,
    notify: &Notify<'_>,
) -> Result<(), NoChild> {
    let old = find(of, cx, notify)?;
    //= rfc9370 §2.2.4
    //# the CREATE_CHILD_SA exchange initiated by this peer has already been completed, and the series of IKE_FOLLOWUP_KE
    //# exchanges is in progress […]. In this case, a TEMPORARY_FAILURE notification MUST be sent in response to such a request.
    if of.is_following_up(old.id) {
        cx.reach(Branch::RekeyChildInSeries);
        let reason = "The peer wants new keys for a child SA that is getting them; it may ask again.";
        let connection = &of.chosen.connection;
        return Err(NoChild::new(RefusalKind::Busy, NotifyType::TEMPORARY_FAILURE, connection, reason));
    }
    of.end_redundant_series(cx, old.id);
    let waiting = create_child::answer(of, sa, cx, wanted, Some(&old))?;
    match of.rekeys.iter_mut().find(|rekey| rekey.old == old.id) {
        Some(rekey) => rekey.theirs = Half::UnderWay,
        None => of.rekeys.push(Rekey { old: old.id, ours: Half::None, theirs: Half::UnderWay }),
    }
    create_child::go_on(of, sa, cx, waiting);
    Ok(())
}

/// The child that the peer means.
//= rfc7296 §2.25.1
//# If a peer receives a request to rekey a Child SA that it is currently trying to close, it SHOULD reply with
//# TEMPORARY_FAILURE.
//= rfc7296 §2.25.1
//# If a peer receives a request to rekey a Child SA that does not exist, it SHOULD reply with CHILD_SA_NOT_FOUND.
fn find(of: &Established, cx: &mut Cx<'_>, notify: &Notify<'_>) -> Result<ChildSa, NoChild> {
    let connection = &of.chosen.connection;
    let spi = notify.esp_spi();
    let known = spi.and_then(|spi| of.children.iter().find(|child| child.agreed.spi_out == spi));
    let theirs = |id| of.rekeys.iter().any(|rekey| rekey.old == id && !rekey.theirs.is_none());
    match known {
        // Whoever asks again has given its series up.
        Some(child) if !theirs(child.id) || of.series_for_child(child.id).is_some() => Ok(child.clone()),
        Some(_) => {
            let reason = "The peer wants new keys for a child SA that has new ones already.";
            Err(NoChild::new(RefusalKind::Busy, NotifyType::TEMPORARY_FAILURE, connection, reason))
        }
        None if spi.is_some_and(|spi| of.is_closing(spi)) => {
            cx.reach(Branch::RekeyChildClosing);
            let reason = "The peer wants new keys for a child SA that is being deleted.";
            Err(NoChild::new(RefusalKind::Busy, NotifyType::TEMPORARY_FAILURE, connection, reason))
        }
        // It may be the one that the answer to our own request tells of.
        None if of.is_making_child() => {
            cx.reach(Branch::RekeyChildMaking);
            let reason = "The peer wants new keys for a child SA while one is being made; it may ask again.";
            Err(NoChild::new(RefusalKind::Busy, NotifyType::TEMPORARY_FAILURE, connection, reason))
        }
        None => {
            cx.reach(Branch::RekeyChildUnknownHere);
            let reason = "The peer wants new keys for a child SA that does not exist.";
            let mut refused =
                NoChild::new(RefusalKind::NotFound, NotifyType::CHILD_SA_NOT_FOUND, connection, reason);
            refused.notify.protocol = notify.protocol;
            refused.notify.spi = notify.spi.to_vec().into();
            Err(refused)
        }
    }
}

impl Established {
    /// A child that has a successor, or is redundant, goes: the peer is told, and what is under way to it still comes in.
    pub(crate) fn retire(&mut self, sa: &mut Common, cx: &mut Cx<'_>, id: ChildId, fate: Fate) {
        let Some(index) = self.children.iter().position(|child| child.id == id) else { return };
        let child = self.children.remove(index);
        self.queue_delete(vec![Named::of(&child)]);
        cx.out.tell(Event::ChildDown(sa.id, child.facts(), fate));
        self.retired.push(Retired { child, until: None });
    }

    /// The peer has deleted a child that has a successor.
    pub(crate) fn retired_by_peer(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        child: ChildSa,
        successor: ChildId,
    ) {
        cx.out.dataplane(sa.id, Op::Use(successor));
        cx.out.tell(Event::ChildDown(sa.id, child.facts(), Fate::Replaced));
        let until = Some(cx.now.mono + crate::limits::RETIREMENT);
        self.retired.push(Retired { child, until });
    }

    /// The peer knows that these are deleted.
    pub(crate) fn on_deleted(&mut self, cx: &mut Cx<'_>, named: &[Named]) {
        let until = Some(cx.now.mono + crate::limits::RETIREMENT);
        let is_named = |child: &ChildSa| named.iter().any(|named| named.spi_in == child.agreed.spi_in);
        for retired in self.retired.iter_mut().filter(|retired| is_named(&retired.child)) {
            retired.until = until;
        }
    }

    /// Lets those go that have waited long enough.
    pub(crate) fn release_retired(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        self.retired.retain(|retired| {
            let over = retired.until.is_some_and(|until| now >= until);
            if over {
                cx.out.dataplane(sa.id, Op::Remove(retired.child.id));
                cx.directory.release_spi(retired.child.agreed.spi_in);
            }
            !over
        });
    }

    /// Where the successor that we asked for stands.
    pub(crate) fn place_of(&self, old: ChildId) -> Place {
        let theirs = self.rekeys.iter().any(|rekey| rekey.old == old && !rekey.theirs.is_none());
        match self.children.iter().any(|child| child.id == old) {
            true if theirs => Place::Held(old),
            true => Place::After(old),
            false => Place::Own,
        }
    }

    /// Whether additional key exchanges of ours for a successor of that child are under way.
    fn is_following_up(&self, old: ChildId) -> bool {
        self.asked_children().any(|asked| asked.replaces == Some(old) && asked.further.is_some())
    }

    /// The lower nonce of the exchange in which the peer gives that child new keys.
    fn lowest_of_peer(&self, old: ChildId) -> Option<Vec<u8>> {
        let replaces = self.answering.iter().filter_map(|answering| answering.replaces.as_ref());
        let answering =
            replaces.filter(|replaces| replaces.old == old).map(|replaces| &replaces.lowest).next();
        let done = self.rekeys.iter().find(|rekey| rekey.old == old).and_then(|rekey| match &rekey.theirs {
            Half::Done(successor) => Some(&successor.lowest),
            _ => None,
        });
        let series = self.series_for_child(old).map(<[u8]>::to_vec);
        series.or_else(|| answering.or(done).cloned())
    }

    /// The peer does not go on with its series for a successor of that child.
    fn end_redundant_series(&mut self, cx: &mut Cx<'_>, old: ChildId) {
        if self.series_for_child(old).is_none() {
            return;
        }
        self.drop_series_for_child(cx, old);
        if let Some(rekey) = self.rekeys.iter_mut().find(|rekey| rekey.old == old) {
            rekey.theirs = Half::None;
        }
    }

    /// The successor that the peer has made of a child.
    pub(crate) fn successor_by_peer(&self, old: ChildId) -> Option<ChildId> {
        self.rekeys.iter().find(|rekey| rekey.old == old).and_then(|rekey| match &rekey.theirs {
            Half::Done(successor) => Some(successor.id),
            _ => None,
        })
    }

    /// A child is gone. Its rekeying is forgotten, except for an exchange that is still under way; tells whether it has a
    /// successor, or may still get one.
    pub(crate) fn forget_rekeys_of(&mut self, id: ChildId) -> bool {
        let mut successor = false;
        for rekey in &mut self.rekeys {
            for half in [&mut rekey.ours, &mut rekey.theirs] {
                if half.is_done(id) {
                    *half = Half::None;
                }
            }
            successor |= rekey.old == id && !(rekey.ours.is_none() && rekey.theirs.is_none());
        }
        self.rekeys.retain(|rekey| {
            let under_way = rekey.ours.is_under_way() || rekey.theirs.is_under_way();
            under_way || !(rekey.old == id || rekey.ours.is_none() && rekey.theirs.is_none())
        });
        successor
    }

    /// A child was ordered down, and with it whatever would have taken its place.
    pub(crate) fn abandon_rekeys_of(&mut self, id: ChildId) {
        self.forget_rekeys_of(id);
        self.rekeys.retain(|rekey| rekey.old != id);
    }
}
