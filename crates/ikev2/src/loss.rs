//! What is to come of children that are gone against our will: `dpd_action` and `close_action`.

use crate::child::ChildSa;
use crate::{Common, Cx, Lost};
use policy::EndAction;
use sa::{Fate, Path};

/// The peer has deleted a child SA.
pub(crate) fn deleted(cx: &mut Cx<'_>, connection: &str, child: &ChildSa) {
    tell(cx, connection, child, child.config.close_action, None);
}

/// An IKE SA ends with its children. Those that another IKE SA has taken over are not lost: whoever brings children up sees
/// that.
//= rfc6290 §4
//# If it succeeds, it MUST silently delete the IKE SA associated with the IKE_SPI fields and all dependent child SAs.
//# […] A supporting token taker MAY immediately create new SAs using an Initial exchange
pub(crate) fn ended(sa: &Common, cx: &mut Cx<'_>, connection: &str, children: &[ChildSa], fate: &Fate) {
    for child in children {
        let action = match fate {
            // Somebody wanted it so, or what comes of the children is decided already.
            Fate::Ordered | Fate::Expired => continue,
            Fate::DeletedByPeer => child.config.close_action,
            // The peer is dead, has begun anew, or both sides are out of step.
            _ => child.config.dpd_action,
        };
        tell(cx, connection, child, action, (*fate == Fate::Crashed).then_some(sa.path));
    }
}

fn tell(cx: &mut Cx<'_>, connection: &str, child: &ChildSa, action: EndAction, at: Option<Path>) {
    if action != EndAction::Clear {
        let (connection, child) = (connection.to_string(), child.name.clone());
        cx.lost.push(Lost { connection, child, action, at });
    }
}
