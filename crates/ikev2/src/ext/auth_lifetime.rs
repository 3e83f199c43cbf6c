//! AUTH_LIFETIME (RFC 4478): a responder tells for how long it takes the initiator to be who it has proved to be.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use std::time::Duration;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct AuthLifetime;

impl Extension for AuthLifetime {
    //= rfc4478 §3
    //# Lifetime is the amount of time (in seconds) left before the peer should repeat the Initial exchange.
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        let time = facts.connection.lifetime.reauth;
        if moment == Moment::AuthResponse && !time.is_zero() {
            // Who is resumed has proved it before.
            let time = time.saturating_sub(facts.agreed.proven_for);
            let seconds = u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX);
            let data = seconds.to_be_bytes().to_vec();
            out.push(Payload::Notify(Notify::new(NotifyType::AUTH_LIFETIME, data)));
        }
    }

    fn inspect(&self, moment: Moment, _: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        //= rfc4478 §2
        //# The AUTH_LIFETIME notification MUST be protected and MAY be sent by the original Responder at any time.
        if matches!(moment, Moment::AuthResponse | Moment::Told) {
            let told = contents.notify(NotifyType::AUTH_LIFETIME);
            let seconds = told.and_then(|notify| <[u8; 4]>::try_from(&notify.data[..]).ok());
            agreed.auth_lifetime = seconds.map(|four| Duration::from_secs(u32::from_be_bytes(four).into()));
        }
    }
}
