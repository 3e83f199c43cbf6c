//! NAT detection (RFC 7296 §2.23).

use super::{Agreed, Extension, Facts, Moment, Nat};
use crate::contents::Contents;
use base::Rng;
use crypto::{Spis, Suite, nat_detection};
use policy::EncapChoice;
use sa::Path;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct NatTraversal;

impl Extension for NatTraversal {
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if matches!(moment, Moment::InitRequest | Moment::InitResponse) {
            let encap = facts.connection.encap;
            out.extend(payloads(facts.suite, facts.rng, facts.spis, facts.path, encap));
        }
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if matches!(moment, Moment::InitRequest | Moment::InitResponse) {
            let seen = read(facts.suite, facts.spis, facts.path, contents);
            let forced = facts.connection.encap == EncapChoice::Force;
            agreed.nat = seen.map_or(Nat::default(), |nat| Nat { forced, ..nat });
        }
    }
}

/// NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP for a message that takes this path.
pub(crate) fn payloads(
    suite: &dyn Suite,
    rng: &mut dyn Rng,
    spis: Spis,
    path: Path,
    encap: EncapChoice,
) -> [Payload<'static>; 2] {
    let mut source = nat_detection(suite, spis, path.local.ip(), path.local.port());
    if encap == EncapChoice::Force {
        // A hash that fits no address: the peer takes us to be behind a NAT.
        rng.fill(&mut source);
    }
    let destination = nat_detection(suite, spis, path.remote.ip(), path.remote.port());
    [
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source.to_vec())),
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, destination.to_vec())),
    ]
}

/// Who is behind a NAT, by a message that came on this path; `None` when it does not say.
pub(crate) fn read(suite: &dyn Suite, spis: Spis, path: Path, contents: &Contents<'_>) -> Option<Nat> {
    let of = |kind: NotifyType| contents.notifies.iter().filter(move |notify| notify.kind == kind).peekable();
    let mut sources = of(NotifyType::NAT_DETECTION_SOURCE_IP);
    let mut destinations = of(NotifyType::NAT_DETECTION_DESTINATION_IP);
    if sources.peek().is_none() || destinations.peek().is_none() {
        return None;
    }
    //= rfc7296 §2.23
    //# There MAY be multiple NAT_DETECTION_SOURCE_IP payloads […] if none of them matches the source
    //# address and port of the packet, the sender is behind a NAT
    let seen = nat_detection(suite, spis, path.remote.ip(), path.remote.port());
    let own = nat_detection(suite, spis, path.local.ip(), path.local.port());
    Some(Nat {
        supported: true,
        remote: !sources.any(|notify| notify.data[..] == seen),
        local: !destinations.any(|notify| notify.data[..] == own),
        forced: false,
    })
}

/// How the peer sees us: the content of its NAT_DETECTION_DESTINATION_IP.
pub(crate) fn destination(contents: &Contents<'_>) -> Option<Vec<u8>> {
    contents.notify(NotifyType::NAT_DETECTION_DESTINATION_IP).map(|notify| notify.data.to_vec())
}
