//! Post-quantum pre-shared keys (RFC 8784, RFC 9867): the negotiation, and the notifications. `establish` mixes them in, and
//! `fresh_ppk` where the IKE SA stands.

use super::{Agreed, Extension, Facts, Moment, names_intermediate};
use crate::contents::Contents;
use crate::fault::Fault;
use crate::limits;
use sa::{MixedPpk, PPK_CONFIRMATION, PPK_PRINT};
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
    /// Those that are in the keys, the last one that was mixed in first.
    pub(crate) used: Vec<UsedPpk>,
}

/// A PPK that is in the keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UsedPpk {
    pub(crate) id: Arc<str>,
    /// See [`MixedPpk::print`].
    pub(crate) print: [u8; PPK_PRINT],
}

impl From<&MixedPpk> for UsedPpk {
    fn from(ppk: &MixedPpk) -> Self {
        Self { id: ppk.id.clone(), print: ppk.print }
    }
}

impl Ppk {
    /// The identity of the one that was mixed in last.
    pub(crate) fn id(&self) -> Option<&str> {
        self.used.first().map(|used| &*used.id)
    }

    /// Whether that one is in the keys already.
    pub(crate) fn holds(&self, ppk: &MixedPpk) -> bool {
        self.used.iter().any(|used| used.print == ppk.print)
    }

    /// It is mixed into keys that hold these already.
    pub(crate) fn add(&mut self, ppk: UsedPpk) {
        self.used.retain(|used| used.print != ppk.print);
        self.used.insert(0, ppk);
        self.used.truncate(limits::MAX_PPKS);
    }
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
        let (way, used) = (facts.agreed.ppk.way, facts.agreed.ppk.id());
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

/// PPK_IDENTITY_KEY: proposes a PPK.
pub(crate) fn proposal(ppk: &MixedPpk) -> Payload<'static> {
    let data = [identity(&ppk.id).as_slice(), &ppk.confirmation].concat();
    Payload::Notify(Notify::new(NotifyType::PPK_IDENTITY_KEY, data))
}

/// PPK_IDENTITY: a PPK is chosen.
//= rfc9867 §3.1
//# the responder selects this PPK and returns its identity in the PPK_IDENTITY notification.
//= rfc9867 §3.2
//# it sends back the PPK_IDENTITY notification containing the ID of the selected PPK
pub(crate) fn chosen(id: &str) -> Payload<'static> {
    Payload::Notify(Notify::new(NotifyType::PPK_IDENTITY, identity(id)))
}

/// The PPK_ID of that identity.
//= rfc8784 §5.1
//# the PPK_ID the initiator sends will have its first octet be the PPK_ID type value.
fn identity(id: &str) -> Vec<u8> {
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

/// Why none of the PPKs that the peer proposes is taken; `mismatched` are here as other keys.
pub(crate) fn none_in_common(proposed: &[Proposed], mismatched: &[Arc<str>]) -> String {
    match mismatched.first() {
        //= rfc9867 §3.1
        //# if the responder has some of the proposed PPKs but their values are mismatched from the initiator's PPKs
        Some(id) => format!(
            "The PPK `{id}` is another key at the peer: its identity is the same, its confirmation is not (RFC 9867). Compare its \
             secret on both sides."
        ),
        None => {
            let ids: Vec<_> = proposed.iter().map(|(id, _)| format!("`{id}`")).collect();
            let which = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
            format!(
                "The peer proposes no PPK{which} that is here and that `ppk_id` of a connection names: give it in [secrets.ppk]."
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Secret;

    fn mixed(id: &str, print: u8) -> MixedPpk {
        let keys = vec![Secret::zeroed(32)];
        MixedPpk { id: id.into(), confirmation: [0; PPK_CONFIRMATION], print: [print; PPK_PRINT], keys }
    }

    //= rfc9867 §3.2.1
    //# if the PPK that was used for the IKE SA establishment is not changed, then there is no point to use it
    #[test]
    fn keys_hold_a_ppk_by_what_it_is_and_not_by_its_name() {
        let mut ppk = Ppk::default();
        assert!(ppk.id().is_none() && !ppk.holds(&mixed("blue", 1)));
        ppk.add(UsedPpk::from(&mixed("blue", 1)));
        assert!(ppk.holds(&mixed("blue", 1)) && ppk.holds(&mixed("another name", 1)));
        assert!(!ppk.holds(&mixed("blue", 2)), "another key under the same name is fresh");
        ppk.add(UsedPpk::from(&mixed("green", 3)));
        assert!(ppk.id() == Some("green") && ppk.holds(&mixed("blue", 1)), "that before stays in the keys");
    }

    /// Limit: MAX_PPKS.
    #[test]
    fn so_many_are_remembered() {
        let mut ppk = Ppk::default();
        for print in 0..=limits::MAX_PPKS as u8 {
            ppk.add(UsedPpk::from(&mixed("blue", print)));
        }
        assert_eq!(ppk.used.len(), limits::MAX_PPKS);
        assert!(!ppk.holds(&mixed("blue", 0)) && ppk.holds(&mixed("blue", 1)));
        ppk.add(UsedPpk::from(&mixed("blue", 1)));
        assert_eq!((ppk.used.len(), ppk.used[0].print), (limits::MAX_PPKS, [1; PPK_PRINT]), "each once");
    }
}
