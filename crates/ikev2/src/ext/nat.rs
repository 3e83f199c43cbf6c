//! NAT detection (RFC 7296 §2.23).

use super::{Agreed, Extension, Facts, Moment, Nat};
use crate::contents::Contents;
use crypto::nat_detection;
use policy::EncapChoice;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct NatTraversal;

impl Extension for NatTraversal {
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if !matches!(moment, Moment::InitRequest | Moment::InitResponse) {
            return;
        }
        let mut source =
            nat_detection(facts.suite, facts.spis, facts.path.local.ip(), facts.path.local.port());
        if facts.connection.encap == EncapChoice::Force {
            // A hash that fits no address: the peer takes us to be behind a NAT.
            facts.rng.fill(&mut source);
        }
        let remote = facts.path.remote;
        let destination = nat_detection(facts.suite, facts.spis, remote.ip(), remote.port());
        out.push(Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, source.to_vec())));
        out.push(Payload::Notify(Notify::new(
            NotifyType::NAT_DETECTION_DESTINATION_IP,
            destination.to_vec(),
        )));
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if !matches!(moment, Moment::InitRequest | Moment::InitResponse) {
            return;
        }
        let of =
            |kind: NotifyType| contents.notifies.iter().filter(move |notify| notify.kind == kind).peekable();
        let mut sources = of(NotifyType::NAT_DETECTION_SOURCE_IP);
        let mut destinations = of(NotifyType::NAT_DETECTION_DESTINATION_IP);
        if sources.peek().is_none() || destinations.peek().is_none() {
            agreed.nat = Nat::default();
            return;
        }
        //= rfc7296 §2.23
        //# There MAY be multiple NAT_DETECTION_SOURCE_IP payloads […] if none of them matches the source
        //# address and port of the packet, the sender is behind a NAT
        let seen = facts.path.remote;
        let seen = nat_detection(facts.suite, facts.spis, seen.ip(), seen.port());
        let own = facts.path.local;
        let own = nat_detection(facts.suite, facts.spis, own.ip(), own.port());
        agreed.nat = Nat {
            supported: true,
            remote: !sources.any(|notify| notify.data[..] == seen),
            local: !destinations.any(|notify| notify.data[..] == own),
            forced: facts.connection.encap == EncapChoice::Force,
        };
    }
}
