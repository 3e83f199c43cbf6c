//! What a peer's refusal of a child SA means, for the person at the keyboard.

use dataplane::Selector;
use policy::{Child, Connection};
use sa::{Refusal, RefusalKind};
use wire::Notify;
use wire::num::{KeMethod, NotifyType};

/// A peer's error notification in place of a child SA.
pub(crate) fn refused_by_peer(notify: &Notify<'_>, connection: &Connection, child: &Child) -> Refusal {
    refused(notify, connection, child, false)
}

/// The same in CREATE_CHILD_SA, where a child may have a key exchange of its own.
pub(crate) fn refused_in_create(notify: &Notify<'_>, connection: &Connection, child: &Child) -> Refusal {
    refused(notify, connection, child, true)
}

fn refused(notify: &Notify<'_>, connection: &Connection, child: &Child, in_create: bool) -> Refusal {
    let name = &child.name;
    let has_ke = child.esp_proposals.iter().any(|ours| ours.ke.iter().any(|ke| *ke != KeMethod::NONE));
    let (kind, hint) = match notify.kind {
        // Its child of IKE_AUTH, which never has one, does not show this.
        NotifyType::NO_PROPOSAL_CHOSEN if in_create && !has_ke => (
            RefusalKind::NoProposalChosen,
            format!(
                "None of our ESP proposals ({}) suits it. They have no key exchange, without which some peers (Libreswan \
                 with `pfs=yes`, its default) make no child SA here: add a method that it takes to `esp_proposals`, as in \
                 `aes256gcm16-x25519`.",
                spell(&child.esp_proposals)
            ),
        ),
        NotifyType::NO_PROPOSAL_CHOSEN => (
            RefusalKind::NoProposalChosen,
            format!(
                "None of our ESP proposals ({}) suits it: compare `esp_proposals` on both sides.",
                spell(&child.esp_proposals)
            ),
        ),
        NotifyType::TS_UNACCEPTABLE => (
            RefusalKind::TsUnacceptable,
            format!(
                "Our traffic selectors ({} to {}) suit none of its children: compare `local_ts` and `remote_ts` on both sides.",
                list(&child.local_ts),
                list(&child.remote_ts)
            ),
        ),
        NotifyType::NO_ADDITIONAL_SAS => {
            (RefusalKind::NoAdditionalSas, "It takes no further child SAs in this IKE SA.".to_string())
        }
        NotifyType::INVALID_KE_PAYLOAD => (
            RefusalKind::InvalidKe,
            "It wants a key exchange method that we did not offer: compare the methods in `esp_proposals`."
                .to_string(),
        ),
        NotifyType::SINGLE_PAIR_REQUIRED => (
            RefusalKind::TsUnacceptable,
            "It wants a child SA for each pair of addresses: set `single_pair = true` with `start_action = \"trap\"`, so that each pair's first packet asks for its own, or name one address in `local_ts` and in `remote_ts`."
                .to_string(),
        ),
        NotifyType::TEMPORARY_FAILURE => {
            (RefusalKind::Busy, "It is busy with these SAs just now: try again.".to_string())
        }
        NotifyType::INTERNAL_ADDRESS_FAILURE => (
            RefusalKind::NoAddress,
            "It has no address for us: its pool may be empty, or have none of the family that `vips` asks for.".to_string(),
        ),
        NotifyType::FAILED_CP_REQUIRED => (
            RefusalKind::NoAddress,
            "It gives out addresses and wants to be asked for one: add `vips = \"0.0.0.0\"` (or `\"::\"`).".to_string(),
        ),
        _ => (RefusalKind::PeerError, "Its log knows more.".to_string()),
    };
    let reason = format!("The peer refused child `{name}` with {}. {hint}", notify.kind);
    Refusal { kind, by_peer: true, connection: Some(connection.name.clone()), reason }
}

/// Proposals as they are written in the file.
pub(crate) fn spell(proposals: &[policy::Proposal]) -> String {
    proposals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(super) fn list(selectors: &[Selector]) -> String {
    match selectors {
        [] => "dynamic".to_string(),
        _ => selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
