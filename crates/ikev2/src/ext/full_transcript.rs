//! Downgrade prevention (draft-ietf-ipsecme-ikev2-downgrade-prevention): each side proves both messages of IKE_SA_INIT, not only
//! the one that it sent. This is the negotiation; `Secrets::signed_octets` is what it changes.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use policy::Connection;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct FullTranscript;

impl Extension for FullTranscript {
    /// A responder says so unasked: were its word an answer, who strips the question would strip the answer with it.
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if is_spoken(moment, facts.connection) && !facts.resumes {
            out.push(Payload::Notify(Notify::new(NotifyType::IKE_SA_INIT_FULL_TRANSCRIPT_AUTH, Vec::new())));
        }
    }

    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if is_spoken(moment, facts.connection) && !facts.resumes {
            agreed.full_transcript = contents.has(NotifyType::IKE_SA_INIT_FULL_TRANSCRIPT_AUTH);
        }
    }
}

/// Whether we speak it in that message, which is as well whether we heed the peer's.
fn is_spoken(moment: Moment, connection: &Connection) -> bool {
    matches!(moment, Moment::InitRequest | Moment::InitResponse) && connection.extensions.full_transcript
}
