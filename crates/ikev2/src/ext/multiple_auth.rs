//! Several authentications in a row (RFC 4739): who supports them, and who goes through another one. What follows of it is in
//! `establish`.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use policy::Announced;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct MultipleAuthentication;

impl Extension for MultipleAuthentication {
    //= rfc4739 §2.1
    //# The peers announce support for this IKEv2 extension by including a MULTIPLE_AUTH_SUPPORTED notification in the
    //# IKE_SA_INIT response (responder) and the first IKE_AUTH request (initiator).
    //= rfc4739 §2.1
    //# If both peers support this extension, either of them can announce that it wishes to have a second authentication by
    //# including an ANOTHER_AUTH_FOLLOWS notification in any IKE_AUTH message that contains an AUTH payload.
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        let connection = facts.connection;
        let agreed = facts.agreed.multiple_auth;
        let (supported, follows) = match moment {
            Moment::InitResponse => (agreed, false),
            Moment::AuthRequest if agreed => (connection.has_second_round(), connection.local2.is_some()),
            Moment::FirstAuthResponse => (false, connection.local2.is_some()),
            _ => (false, false),
        };
        out.extend(supported.then(|| say(NotifyType::MULTIPLE_AUTH_SUPPORTED)));
        out.extend(follows.then(|| say(NotifyType::ANOTHER_AUTH_FOLLOWS)));
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        agreed.multiple_auth = match moment {
            // It is the responder that announces first, where a connection that may be meant has two rounds.
            Moment::InitRequest => facts.agreed.multiple_auth,
            // An IKE SA that is resumed rests on all rounds of the one before.
            Moment::InitResponse => !facts.resumes && contents.has(NotifyType::MULTIPLE_AUTH_SUPPORTED),
            Moment::AuthRequest => announced(contents, facts.agreed).supported,
            _ => return,
        };
    }
}

//= rfc4739 §3.1
//# The Protocol ID and SPI Size fields MUST be set to zero, and there is no data associated with this Notify type.
//= rfc4739 §3.2
//# The Protocol ID and SPI Size fields MUST be set to zero, and there is no data associated with this Notify type.
fn say(kind: NotifyType) -> Payload<'static> {
    Payload::Notify(Notify::new(kind, Vec::new()))
}

/// What the first IKE_AUTH request says of a second round.
pub(crate) fn announced(contents: &Contents<'_>, agreed: &Agreed) -> Announced {
    let supported = agreed.multiple_auth && contents.has(NotifyType::MULTIPLE_AUTH_SUPPORTED);
    Announced { supported, follows: follows(contents) }
}

/// Whether the sender of a message goes through another authentication.
pub(crate) fn follows(contents: &Contents<'_>) -> bool {
    contents.has(NotifyType::ANOTHER_AUTH_FOLLOWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    //= rfc4739 §3.1
    //= rfc4739 §3.2
    #[test]
    fn the_notifications_have_nothing_but_their_type() {
        for (kind, number) in
            [(NotifyType::MULTIPLE_AUTH_SUPPORTED, 16404), (NotifyType::ANOTHER_AUTH_FOLLOWS, 16405)]
        {
            let Payload::Notify(notify) = say(kind) else { panic!("no notification") };
            assert_eq!((notify.kind.0, notify.protocol.0), (number, 0));
            assert_eq!((notify.spi.len(), notify.data.len()), (0, 0));
        }
    }

    /// Only where both have said so does a request announce a second proof.
    #[test]
    fn both_must_have_said_so() {
        let told = |kinds: &[NotifyType]| Contents {
            notifies: kinds.iter().map(|kind| Notify::new(*kind, Vec::new())).collect(),
            ..Contents::default()
        };
        let both = [NotifyType::MULTIPLE_AUTH_SUPPORTED, NotifyType::ANOTHER_AUTH_FOLLOWS];
        for (ours, kinds, supported, follows) in [
            (true, &both[..], true, true),
            (true, &both[..1], true, false),
            (true, &both[1..], false, true),
            (false, &both[..], false, true),
        ] {
            let agreed = Agreed { multiple_auth: ours, ..Agreed::default() };
            assert_eq!(announced(&told(kinds), &agreed), Announced { supported, follows });
        }
    }
}
