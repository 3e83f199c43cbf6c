//! Deleting child SAs and the IKE SA (RFC 7296 §1.4.1).
//!
//! ```text
//!   initiator                                       responder
//!   INFORMATIONAL  SK{D(ESP, our SPIs)} -->         removes the pairs
//!                              <--  SK{D(ESP, its SPIs of the same pairs)}
//!
//!   INFORMATIONAL  SK{D(IKE)} -->                   removes all
//!                              <--  SK{}
//! ```

use crate::child::ChildSa;
use crate::contents::Contents;
use crate::established::{Asked, Asking, Established, Installing};
use crate::{Common, Cx, loss, rekey_child};
use base::EspSpi;
use dataplane::Op;
use sa::{Branch, Event, Fate};
use wire::num::{ExchangeType, ProtocolId};
use wire::{Delete, Payload};

/// A child SA that is deleted, as both sides know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) spi_in: EspSpi,
    /// `None`: the peer's answer named none that we could use.
    pub(crate) spi_out: Option<EspSpi>,
}

impl Named {
    pub(crate) fn of(child: &ChildSa) -> Self {
        Self { spi_in: child.agreed.spi_in, spi_out: Some(child.agreed.spi_out) }
    }

    /// One that the peer has made and that we never had.
    pub(crate) fn unheard(spi_in: EspSpi) -> Self {
        Self { spi_in, spi_out: None }
    }
}

/// Takes down one child SA here.
pub(crate) fn remove(sa: &Common, cx: &mut Cx<'_>, child: &ChildSa, fate: Fate) {
    cx.out.dataplane(sa.id, Op::Remove(child.id));
    cx.directory.release_spi(child.agreed.spi_in);
    cx.out.tell(Event::ChildDown(sa.id, child.facts(), fate));
}

/// Takes down the children of that name and tells the peer; how many there are.
pub(crate) fn order(of: &mut Established, sa: &mut Common, cx: &mut Cx<'_>, name: &str) -> usize {
    let (gone, stay): (Vec<_>, Vec<_>) = of.children.drain(..).partition(|child| child.name == name);
    of.children = stay;
    for child in &gone {
        cx.reach(Branch::DeleteChildOrdered);
        of.abandon_rekeys_of(child.id);
        remove(sa, cx, child, Fate::Ordered);
    }
    if !gone.is_empty() {
        of.queue_delete(gone.iter().map(Named::of).collect());
    }
    gone.len()
}

/// Tells the peer that the children with these SPIs of ours are gone.
pub(crate) fn begin(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    named: Vec<Named>,
) -> Option<Asking> {
    let spis: Vec<EspSpi> = named.iter().map(|named| named.spi_in).collect();
    let payloads = [Payload::Delete(Delete::children(ProtocolId::ESP, &spis))];
    let request = of.channel.ask(sa, cx, ExchangeType::INFORMATIONAL, &payloads)?;
    Some(Asking { request, what: Asked::Delete(named) })
}

/// Whether a request deletes the IKE SA.
pub(crate) fn names_ike_sa(contents: &Contents<'_>) -> bool {
    contents.deletes.iter().any(|delete| delete.protocol == ProtocolId::IKE)
}

/// The peer deletes children: the other halves go too, and are named in the response.
//= rfc7296 §1.4.1
//# The recipient MUST close the designated SAs. […] the reply contains Delete payloads for the paired SAs
//# going in the other direction. If by chance both ends of a set of SAs independently decide to close them
//# […] and the two requests cross, […] the response MUST NOT include a Delete payload for SAs that have already been deleted.
pub(crate) fn on_request(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    contents: &Contents<'_>,
) -> Vec<Payload<'static>> {
    let mut ours = Vec::new();
    let named = contents.deletes.iter().filter(|delete| delete.protocol == ProtocolId::ESP);
    for spi in named.flat_map(Delete::esp_spis) {
        if let Some(index) = of.children.iter().position(|child| child.agreed.spi_out == spi) {
            let child = of.children.remove(index);
            ours.push(child.agreed.spi_in);
            let successor = of.successor_by_peer(child.id);
            of.forget_rekeys_of(child.id);
            match successor {
                Some(successor) => {
                    cx.reach(Branch::DeleteReplaced);
                    of.retired_by_peer(sa, cx, child, successor);
                }
                None => {
                    cx.reach(Branch::DeleteChildByPeer);
                    loss::deleted(cx, &of.chosen.connection.name, &child);
                    remove(sa, cx, &child, Fate::DeletedByPeer);
                }
            }
        } else if let Some(index) = of.installing.iter().position(|i| i.child.agreed.spi_out == spi) {
            cx.reach(Branch::DeleteInstalling);
            let Installing { child, replaces, .. } = of.installing.remove(index);
            cx.out.dataplane(sa.id, Op::Remove(child.id));
            cx.directory.release_spi(child.agreed.spi_in);
            ours.push(child.agreed.spi_in);
            let reason = format!("The peer deleted child `{}` while it was being installed.", child.name);
            let refusal = of.refusal(sa::RefusalKind::PeerError, reason);
            of.child_refused(sa, cx, &child.name, refusal);
            rekey_child::ours_done(of, sa, cx, replaces, None);
        } else {
            cx.reach(Branch::DeleteUnknown);
            of.note_deleted(spi);
        }
    }
    match ours.is_empty() {
        true => Vec::new(),
        false => vec![Payload::Delete(Delete::children(ProtocolId::ESP, &ours))],
    }
}
