//! Post-quantum pre-shared keys (RFC 8784, RFC 9867): the negotiation. `establish` mixes them in.

use super::{Agreed, Extension, Facts, Moment, names_intermediate};
use crate::contents::Contents;
use crate::fault::Fault;
use crate::limits;
use sa::PPK_CONFIRMATION;
use std::sync::Arc;
use wire::num::{NotifyType, PpkIdType};
use wire::{Notify, Payload};

pub(crate) struct PostQuantumPresharedKeys;

/// What both sides have agreed on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ppk {
    /// As responder: a connection that may be meant has PPKs.
    pub(crate) welcome: bool,
    /// How one gets into the keys, as long as that is not over.
    pub(crate) way: PpkWay,
    /// The identity of the one that is in the keys.
    pub(crate) used: Option<Arc<str>>,
}

/// How a PPK gets into the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum PpkWay {
    /// It does not.
    #[default]
    None,
    /// With IKE_AUTH: into what comes of the IKE SA's keys (RFC 8784).
    Auth,
    /// With the last IKE_INTERMEDIATE exchange: into all keys (RFC 9867).
    Intermediate,
}

impl Extension for PostQuantumPresharedKeys {
    //= rfc8784 §3
    //# If the initiator is configured to use a PPK with the responder (whether or not the use of the PPK is mandatory), then it
    //# MUST include a notification USE_PPK in the IKE_SA_INIT request message
    //= rfc9867 §3.1
    //# An initiator that supports both […] MAY include both the USE_PPK_INT and USE_PPK notifications if configured to do so.
    //# […] it MUST return either a USE_PPK_INT or a USE_PPK notification in the response but not both.
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        let Ppk { way, used, .. } = &facts.agreed.ppk;
        let mut say = |kind, data| out.push(Payload::Notify(Notify::new(kind, data)));
        match (moment, way, used) {
            (Moment::InitRequest, ..) if facts.connection.extensions.ppk.offered().next().is_some() => {
                say(NotifyType::USE_PPK_INT, Vec::new());
                say(NotifyType::USE_PPK, Vec::new());
            }
            (Moment::InitResponse, PpkWay::Intermediate, _) => say(NotifyType::USE_PPK_INT, Vec::new()),
            (Moment::InitResponse, PpkWay::Auth, _) => say(NotifyType::USE_PPK, Vec::new()),
            (Moment::AuthRequest, PpkWay::Auth, Some(id)) => say(NotifyType::PPK_IDENTITY, identity(id)),
            //= rfc8784 §3
            //# sends back a response, which includes the PPK_IDENTITY notification with no data to indicate that the PPK is used
            (Moment::AuthResponse | Moment::FirstAuthResponse, PpkWay::Auth, Some(_)) => {
                say(NotifyType::PPK_IDENTITY, Vec::new());
            }
            _ => {}
        }
    }

    //= rfc9867 §3.1
    //# Implementations MUST ignore any data in the notification that they do not understand.
    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        let welcome = match moment {
            Moment::InitRequest => facts.agreed.ppk.welcome,
            Moment::InitResponse => facts.connection.extensions.ppk.offered().next().is_some(),
            _ => return,
        };
        agreed.ppk.way = if welcome { announced(contents) } else { PpkWay::None };
    }
}

/// The better way of those that a first message announces.
fn announced(contents: &Contents<'_>) -> PpkWay {
    match () {
        () if contents.has(NotifyType::USE_PPK_INT) && names_intermediate(contents) => PpkWay::Intermediate,
        () if contents.has(NotifyType::USE_PPK) => PpkWay::Auth,
        () => PpkWay::None,
    }
}

/// Whether a first message announces one.
pub(crate) fn announces(contents: &Contents<'_>) -> bool {
    announced(contents) != PpkWay::None
}

/// The PPK_ID of that identity.
//= rfc8784 §5.1
//# the PPK_ID the initiator sends will have its first octet be the PPK_ID type value.
pub(crate) fn identity(id: &str) -> Vec<u8> {
    [&[PpkIdType::FIXED.0], id.as_bytes()].concat()
}

/// The identity in a PPK_ID; `None` where it is none that can be configured here.
fn read(ppk_id: &[u8]) -> Option<Arc<str>> {
    let (kind, id) = ppk_id.split_first()?;
    let id =
        std::str::from_utf8(id).ok().filter(|id| !id.is_empty() && id.len() <= policy::limits::PPK_ID)?;
    (*kind == PpkIdType::FIXED.0).then(|| id.into())
}

/// The identity that the PPK_IDENTITY notification names. `Some(None)`: one that nobody here knows.
pub(crate) fn named(contents: &Contents<'_>) -> Option<Option<Arc<str>>> {
    contents.notify(NotifyType::PPK_IDENTITY).map(|notify| read(&notify.data))
}

/// A PPK that the peer proposes: its identity, and its confirmation where it comes with one.
pub(crate) type Proposed = (Arc<str>, Option<[u8; PPK_CONFIRMATION]>);

/// The PPKs that PPK_IDENTITY_KEY notifications propose, without those of a kind that nobody here has; `None` where there is
/// no such notification.
//= rfc9867 §3.1
//# The receiver can determine the length of PPK_ID by subtracting 8 (the length of PPK Confirmation) from the Notification
//# Data length.
pub(crate) fn claims(contents: &Contents<'_>) -> Result<Option<Vec<Proposed>>, Fault> {
    let all = contents.notifies.iter().filter(|notify| notify.kind == NotifyType::PPK_IDENTITY_KEY);
    let mut proposed = None;
    for notify in all.take(limits::MAX_PPKS) {
        let list = proposed.get_or_insert_with(Vec::new);
        let Some((ppk_id, confirmation)) = notify.data.split_last_chunk().filter(|(id, _)| !id.is_empty())
        else {
            let what = format!(
                "PPK_IDENTITY_KEY has {} octets, which is no PPK_ID with its confirmation",
                notify.data.len()
            );
            return Err(Fault::syntax("RFC 9867 §3.1", what));
        };
        list.extend(read(ppk_id).map(|id| (id, Some(*confirmation))));
    }
    Ok(proposed)
}
