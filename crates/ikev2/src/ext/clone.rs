//! CLONE_IKE_SA_SUPPORTED (RFC 7791 §5.1): whether there may be another IKE SA beside this one without another proof.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct Cloning;

impl Extension for Cloning {
    //= rfc7791 §5.1
    //# This notification MUST be sent in the IKE_AUTH exchange (in case of multiple IKE_AUTH exchanges -- in the first
    //# IKE_AUTH message from initiator and in the last IKE_AUTH message from responder).
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        let speaks = match moment {
            Moment::AuthRequest => true,
            Moment::AuthResponse => facts.agreed.cloning,
            _ => false,
        };
        if speaks && facts.connection.extensions.cloning {
            out.push(Payload::Notify(Notify::new(NotifyType::CLONE_IKE_SA_SUPPORTED, Vec::new())));
        }
    }

    //= rfc7791 §5.1
    //# If both initiator and responder send this notification during the IKE_AUTH exchange, peers may clone this IKE SA. In
    //# the other case, the IKE SA MUST NOT be cloned.
    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if matches!(moment, Moment::AuthRequest | Moment::AuthResponse) {
            agreed.cloning =
                facts.connection.extensions.cloning && contents.has(NotifyType::CLONE_IKE_SA_SUPPORTED);
        }
    }
}
