//! New keys for the IKE SA (RFC 7296 §1.3.2, §2.18). A peer that asks is refused in a way that leaves
//! the IKE SA as it is.

use crate::child::NoChild;
use crate::established::Established;
use sa::RefusalKind;
use wire::num::NotifyType;

/// The answer to a request whose proposals are for an IKE SA.
pub(crate) fn refuse(of: &Established) -> NoChild {
    let reason =
        "The peer wants new keys for the IKE SA, which this version does not give: it keeps the ones it has.";
    NoChild::new(RefusalKind::NoAdditionalSas, NotifyType::NO_ADDITIONAL_SAS, &of.chosen.connection, reason)
}
