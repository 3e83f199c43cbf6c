//! IKE fragmentation (RFC 7383): the negotiation. `channel` cuts, `fragment` puts together.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct Fragmentation;

impl Extension for Fragmentation {
    //= rfc7383 §2.3
    //# The Responder […] MUST NOT include this notification in the response unless the initiator sent it
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        let says = match moment {
            Moment::InitRequest => facts.connection.fragmentation,
            Moment::InitResponse => facts.connection.fragmentation && facts.agreed.fragmentation,
            _ => false,
        };
        if says {
            out.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())));
        }
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if matches!(moment, Moment::InitRequest | Moment::InitResponse) {
            let both =
                facts.connection.fragmentation && contents.has(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED);
            agreed.fragmentation = both;
        }
    }
}
