//! Quick crash detection (RFC 6290): each side gives the other a token that only it can make, and can make again after it
//! has lost its memory. Who shows it has forgotten the IKE SA.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use crate::limits;
use base::Secret;
use crypto::{Spis, Suite};
use sa::Settings;
use wire::num::{NotifyType, ProtocolId};
use wire::{Message, Notify, Payload};

pub(crate) struct QuickCrashDetection;

impl Extension for QuickCrashDetection {
    //= rfc6290 §4.2
    //# The QCD_TOKEN notification is related to the IKE SA and should follow the AUTH payload
    //= rfc6290 §4.3
    //# After rekeying an IKE SA, the IKE SPIs are replaced, so the new SA also needs to have a token. […] it SHOULD initiate an
    //# INFORMATIONAL exchange immediately after the CREATE_CHILD_SA exchange
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if matches!(moment, Moment::AuthRequest | Moment::AuthResponse | Moment::Renewed) {
            out.extend(token(facts.suite, facts.settings, facts.spis).map(Payload::Notify));
        }
    }

    //= rfc6290 §4.4
    //# A token taker MUST accept such gratuitous QCD_TOKEN notifications as long as they are carried in protected exchanges.
    fn inspect(&self, moment: Moment, _: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        let told = contents.notify(NotifyType::QUICK_CRASH_DETECTION);
        //= rfc6290 §5
        //# Tokens MUST be at least 16 octets long, and no more than 128 octets long
        let fits = |notify: &&Notify<'_>| limits::TOKEN_RANGE.contains(&notify.data.len());
        let Some(told) = told.filter(fits).map(|notify| Secret::new(notify.data.to_vec())) else { return };
        match moment {
            Moment::AuthRequest | Moment::AuthResponse | Moment::Told => agreed.token = Some(told),
            Moment::Renewed => agreed.next_token = Some(told),
            Moment::InitRequest
            | Moment::InitResponse
            | Moment::Intermediate
            | Moment::FirstAuthResponse
            | Moment::Heard => {}
        }
    }

    //= rfc6290 §5.3
    //# The token is associated with a single IKE SA […]. More formally, the token is associated with the pair (SPI-I, SPI-R).
    fn renew(&self, agreed: &mut Agreed) {
        agreed.token = agreed.next_token.take();
    }
}

/// Our token for the IKE SA with these SPIs, where we have a secret that outlives us.
pub(crate) fn token(suite: &dyn Suite, settings: &Settings, spis: Spis) -> Option<Notify<'static>> {
    let secret = settings.crash_secret.as_ref()?;
    let token = sa::crash_token(suite, secret, spis.initiator, spis.responder)?;
    let notify = Notify::new(NotifyType::QUICK_CRASH_DETECTION, token);
    //= rfc6290 §4.1
    //# Protocol ID (1 octet) MUST be 1, as this message is related to an IKE SA.
    Some(Notify { protocol: ProtocolId::IKE, ..notify })
}

/// Whether an unprotected message shows the token that the peer has given us.
//= rfc6290 §4.5
//# the token taker MUST support at least four QCD_TOKEN notifications in a single packet. The token is considered verified
//# if any of the QCD_TOKEN notifications matches.
pub(crate) fn shows(bytes: &[u8], token: &Secret) -> bool {
    let Ok(message) = Message::parse(bytes) else { return false };
    let tokens = message.payloads.iter().filter_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::QUICK_CRASH_DETECTION => Some(&notify.data),
        _ => None,
    });
    // Secrets are compared in constant time.
    tokens.take(limits::MAX_TOKENS).any(|shown| Secret::new(shown.to_vec()) == *token)
}
