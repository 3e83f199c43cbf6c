//! New keys for a child SA (RFC 7296 §1.3.3, §2.8). A peer that asks is refused in a way that leaves
//! its SA as it is.

use crate::child::NoChild;
use crate::established::Established;
use sa::RefusalKind;
use wire::Notify;
use wire::num::NotifyType;

/// The answer to a request with N(REKEY_SA).
//= rfc7296 §2.25.1
//# If a peer receives a request to rekey a Child SA that does not exist, it SHOULD reply with CHILD_SA_NOT_FOUND.
pub(crate) fn refuse(of: &Established, notify: &Notify<'_>) -> NoChild {
    let connection = &of.chosen.connection;
    let known = notify.esp_spi().and_then(|spi| of.children.iter().find(|child| child.agreed.spi_out == spi));
    match known {
        Some(child) => {
            let reason = format!(
                "The peer wants new keys for child `{}`, which this version does not give: it keeps the ones it has.",
                child.name
            );
            NoChild::new(RefusalKind::NoAdditionalSas, NotifyType::NO_ADDITIONAL_SAS, connection, reason)
        }
        None => {
            let reason = "The peer wants new keys for a child SA that does not exist.";
            let mut refused =
                NoChild::new(RefusalKind::NotFound, NotifyType::CHILD_SA_NOT_FOUND, connection, reason);
            refused.notify.protocol = notify.protocol;
            refused.notify.spi = notify.spi.to_vec().into();
            refused
        }
    }
}
