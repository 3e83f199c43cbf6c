//! What is to come of children that are gone against our will: `dpd_action` and `close_action`.

use crate::child::ChildSa;
use crate::{Common, Cx, Lost};
use policy::EndAction;
use sa::Fate;

/// The peer has deleted a child SA.
pub(crate) fn deleted(sa: &Common, cx: &mut Cx<'_>, connection: &str, child: &ChildSa) {
    tell(sa, cx, connection, child, child.config.close_action);
}

/// An IKE SA ends with its children.
pub(crate) fn ended(sa: &Common, cx: &mut Cx<'_>, connection: &str, children: &[ChildSa], fate: &Fate) {
    for child in children {
        let action = match fate {
            // Somebody wanted it so, or what comes of the children is decided already.
            Fate::Ordered | Fate::Expired => continue,
            Fate::DeletedByPeer => child.config.close_action,
            // The peer is dead, has begun anew, or both sides are out of step.
            _ => child.config.dpd_action,
        };
        tell(sa, cx, connection, child, action);
    }
}

fn tell(sa: &Common, cx: &mut Cx<'_>, connection: &str, child: &ChildSa, action: EndAction) {
    if action != EndAction::Clear {
        let (connection, child) = (connection.to_string(), child.name.clone());
        cx.lost.push(Lost { connection, child, action, path: sa.path });
    }
}
