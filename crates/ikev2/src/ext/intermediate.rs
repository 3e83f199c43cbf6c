//! IKE_INTERMEDIATE (RFC 9242): the negotiation. `establish` does the exchanges.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use policy::{Connection, Proposal};
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct IntermediateExchange;

impl Extension for IntermediateExchange {
    //= rfc9242 §3.1
    //# The initiator indicates its support for Intermediate Exchange by including a notification of type
    //# INTERMEDIATE_EXCHANGE_SUPPORTED in the IKE_SA_INIT request message. If the responder also supports this exchange, it
    //# includes this notification in the response message.
    //= rfc9370 §2.2.1
    //# If the initiator includes any ADDKE Transform Types into the SA payload in the IKE_SA_INIT exchange request message,
    //# then it MUST also negotiate the use of the IKE_INTERMEDIATE exchange
    //= rfc9867 §3.1
    //# The IKE initiator, which supports the IKE_INTERMEDIATE exchange and wants to use a PPK to protect the initial IKE SA,
    //# includes the INTERMEDIATE_EXCHANGE_SUPPORTED notification and a notification of type USE_PPK_INT
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        let says = match moment {
            Moment::InitRequest => {
                let Connection { proposals, extensions, .. } = facts.connection;
                proposals.iter().any(Proposal::has_additional) || extensions.ppk.offered().next().is_some()
            }
            Moment::InitResponse => facts.agreed.intermediate,
            _ => false,
        };
        if says {
            out.push(Payload::Notify(Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, Vec::new())));
        }
    }

    //= rfc9242 §3.1
    //# Implementations MUST ignore non-empty Notification Data if they don't understand its purpose.
    fn inspect(&self, moment: Moment, _: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if matches!(moment, Moment::InitRequest | Moment::InitResponse) {
            agreed.intermediate = is_named(contents);
        }
    }
}

/// Whether a first message names it.
pub(crate) fn is_named(contents: &Contents<'_>) -> bool {
    contents.has(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED)
}
