//! SET_WINDOW_SIZE (RFC 7296 §2.3, §3.10.1): how many requests may be under way at once.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use crate::limits;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct WindowSize;

impl Extension for WindowSize {
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if matches!(moment, Moment::AuthRequest | Moment::AuthResponse) {
            out.extend(announcement(facts.connection.window));
        }
    }

    fn inspect(&self, moment: Moment, _: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if matches!(moment, Moment::AuthRequest | Moment::AuthResponse) {
            let told = contents.notify(NotifyType::SET_WINDOW_SIZE).and_then(size);
            agreed.window = told.unwrap_or(1);
        }
    }
}

/// Tells the peer our window, where it is larger than everybody's.
pub(crate) fn announcement(window: u8) -> Option<Payload<'static>> {
    let data = u32::from(window).min(limits::MAX_WINDOW).to_be_bytes().to_vec();
    (window > 1).then(|| Payload::Notify(Notify::new(NotifyType::SET_WINDOW_SIZE, data)))
}

/// What the peer tells; no larger than what we make use of.
//= rfc7296 §3.10.1
//# SET_WINDOW_SIZE […] The data associated with a SET_WINDOW_SIZE notification MUST be 4 octets long and contain the
//# big endian representation of the number of messages the sender promises to keep.
pub(crate) fn size(notify: &Notify<'_>) -> Option<u32> {
    let octets = <[u8; 4]>::try_from(&notify.data[..]).ok()?;
    Some(u32::from_be_bytes(octets).clamp(1, limits::MAX_WINDOW))
}
