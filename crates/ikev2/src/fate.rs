//! What the end of an IKE SA is to somebody who waits for something of it.

use sa::{Fate, Path, Refusal, RefusalKind};
use std::time::Duration;

/// A fate as the answer to an order.
pub(crate) fn refusal_of(fate: &Fate, path: Path, connection: Option<&str>) -> Refusal {
    let (kind, by_peer, reason) = match fate {
        Fate::Refused(refusal) => return refusal.clone(),
        Fate::Silent { sent, after } => (
            RefusalKind::Silent,
            false,
            format!(
                "The peer {} did not answer: the request was sent {sent} times in {}. Check its address, that an \
                 IKE daemon runs there, and that no firewall drops UDP ports 500 and 4500.",
                path.remote,
                seconds(*after)
            ),
        ),
        Fate::Ordered => (RefusalKind::NotFound, false, "It was ordered down before it was up.".to_string()),
        Fate::DeletedByPeer => (RefusalKind::PeerError, true, "The peer deleted the IKE SA.".to_string()),
        Fate::HalfOpenTimeout => {
            (RefusalKind::Silent, false, "The negotiation was not finished in time.".to_string())
        }
        Fate::Expired => {
            (RefusalKind::Busy, false, "Its lifetime was over, and it got no new keys.".to_string())
        }
        Fate::Unused => (RefusalKind::NotFound, false, "Nothing used it for its `inactivity`.".to_string()),
        Fate::Crashed => {
            (RefusalKind::Silent, true, "The peer has begun anew and forgotten the IKE SA.".to_string())
        }
        Fate::Replaced => {
            (RefusalKind::Busy, false, "A newer IKE SA with the same peer replaced it.".to_string())
        }
        Fate::Fault(what) => (RefusalKind::Protocol, true, format!("The peer broke the protocol: {what}")),
        Fate::Dataplane(why) => {
            (RefusalKind::Dataplane, false, format!("The data plane could not do it: {why}"))
        }
    };
    Refusal { kind, by_peer, connection: connection.map(str::to_string), reason }
}

fn seconds(duration: Duration) -> String {
    format!("{}.{} s", duration.as_secs(), duration.subsec_millis() / 100)
}
