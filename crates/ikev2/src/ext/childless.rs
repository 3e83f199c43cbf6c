//! An IKE SA without a first child SA (RFC 6023).

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct Childless;

impl Extension for Childless {
    //= rfc6023 §3
    //# a supporting responder includes CHILDLESS_IKEV2_SUPPORTED in its IKE_SA_INIT response
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if moment == Moment::InitResponse && facts.connection.extensions.childless != policy::Childless::Never
        {
            out.push(Payload::Notify(Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED, Vec::new())));
        }
    }

    fn inspect(&self, moment: Moment, _: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if moment == Moment::InitResponse {
            agreed.childless = contents.has(NotifyType::CHILDLESS_IKEV2_SUPPORTED);
        }
    }
}
