//! INITIAL_CONTACT (RFC 7296 §2.4): the sender has no other IKE SA with the receiver.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use policy::Unique;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct InitialContact;

impl Extension for InitialContact {
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        //= rfc7296 §2.4
        //# The INITIAL_CONTACT notification, if sent, MUST be in the first IKE_AUTH request or response
        if moment == Moment::AuthRequest && facts.first_contact && facts.connection.unique != Unique::Never {
            out.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, Vec::new())));
        }
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if matches!(moment, Moment::AuthRequest | Moment::AuthResponse)
            && facts.connection.unique != Unique::Never
        {
            agreed.initial_contact = contents.has(NotifyType::INITIAL_CONTACT);
        }
    }
}
