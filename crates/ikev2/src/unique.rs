//! How many IKE SAs there may be with one peer: `unique`, INITIAL_CONTACT, and both sides beginning at once.
//!
//! ```text
//!   we                                   peer
//!   IKE_SA_INIT (A) -->      <-- IKE_SA_INIT (B)
//!   IKE_AUTH (A)    -->      <-- IKE_AUTH (B)        each side sees both come up
//!   the one with the lower SPIs is redundant: whoever began it deletes it
//! ```
//!
//! Both sides judge alike: an answer to B's IKE_AUTH leaves only after its IKE_SA_INIT was heard, and whoever has not been
//! answered at all when the other's IKE SA stands gives its own up.

use crate::{Common, Cx, Superseded};
use policy::Unique;
use sa::{Branch, IkeSaId, Origin, PairKey, Side, Whereabouts};

/// Whether another IKE SA came up while this one was being made from the other side.
fn is_rival(sa: &Common, origin: Option<Origin>) -> bool {
    origin.is_some_and(|origin| origin.side != sa.side && origin.since >= sa.born)
}

/// The older IKE SAs with the same peer, without those that came up while this one was being made from the other side, and those
/// for which it has proved more: whoever has broken one of two proofs must not end what rests on both.
pub(crate) fn older<'a>(sa: &'a Common, cx: &'a Cx<'_>, pair: &PairKey) -> impl Iterator<Item = IkeSaId> {
    let origins = pair.no_stronger().flat_map(|pair| cx.directory.origins(&pair));
    origins.filter(|(_, origin)| !is_rival(sa, *origin)).map(|(ike, _)| *ike)
}

/// Whether an IKE SA with the same peer stands for which it has proved more.
pub(crate) fn is_outdone(cx: &Cx<'_>, pair: &PairKey) -> bool {
    pair.stronger().any(|pair| !cx.directory.origins(&pair).is_empty())
}

/// Whether the peer makes a new IKE SA in the place of the older ones, to prove anew who it is: it has begun them all, and
/// they are where the new one comes from, by address and port. Whoever else has its identity and its key is elsewhere, also
/// behind the same NAT.
//= rfc4478 §2
//# An Initiator that received an AUTH_LIFETIME notification SHOULD repeat the Initial exchange within the time indicated
//# in the notification.
pub(crate) fn is_succession(sa: &Common, cx: &Cx<'_>, mut older: impl Iterator<Item = IkeSaId>) -> bool {
    let here = Whereabouts { proved_as: Side::Responder, remote: sa.path.remote };
    older.all(|ike| cx.directory.place(ike) == Some(here))
}

/// The peer says that it has no other IKE SA with us. It said so before it knew of one that came up meanwhile.
//= rfc7296 §2.4
//# If the other end asserts by INITIAL_CONTACT that this is the only IKE SA, the recipient MAY use this information to
//# delete any other IKE SAs it has to the same authenticated identity without waiting for a timeout.
pub(crate) fn first_contact(sa: &Common, cx: &mut Cx<'_>, pair: &PairKey) {
    let by = sa.path.remote.ip();
    for ike in older(sa, cx, pair).collect::<Vec<_>>() {
        cx.reach(Branch::CrashFirstContact);
        cx.superseded.push(Superseded { ike, tell_peer: false, by, heir: None });
    }
}

/// An IKE SA stands now: of two that both sides have begun at once, one is to stay.
pub(crate) fn enter(sa: &Common, cx: &mut Cx<'_>, pair: &PairKey, unique: Unique) {
    let spis = (sa.spi_i, sa.spi_r);
    if matches!(unique, Unique::Replace | Unique::Keep) {
        for (ike, origin) in cx.directory.origins(pair) {
            let Some(origin) = origin.filter(|origin| is_rival(sa, Some(*origin))) else { continue };
            let other_goes = origin.spis < spis;
            let (ike, side) = if other_goes { (*ike, origin.side) } else { (sa.id, sa.side) };
            if side == Side::Initiator {
                // Both are of this moment: none of them is the make of a break.
                let by = std::net::Ipv4Addr::UNSPECIFIED.into();
                cx.superseded.push(Superseded { ike, tell_peer: true, by, heir: None });
            }
        }
    }
    let origin = Origin { side: sa.side, spis, since: cx.now.mono };
    cx.directory.enter_new(pair.clone(), sa.id, origin, sa.path.remote);
}
