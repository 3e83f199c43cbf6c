//! SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4).

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use wire::num::{HashAlgorithm, NotifyType};
use wire::{Notify, Payload};

pub(crate) struct SignatureHashes;

/// What we take. SHA-1 is left out (RFC 8247 §3.2: MUST NOT).
const OURS: [HashAlgorithm; 4] =
    [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512, HashAlgorithm::IDENTITY];

impl Extension for SignatureHashes {
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        let says = match moment {
            Moment::InitRequest => true,
            //= rfc7427 §4
            //# The responder […] sends it only when the initiator has
            Moment::InitResponse => !facts.agreed.hashes.is_empty(),
            _ => false,
        };
        if says {
            let data: Vec<u8> = OURS.iter().flat_map(|hash| hash.0.to_be_bytes()).collect();
            out.push(Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, data)));
        }
    }

    fn inspect(&self, moment: Moment, _: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        if !matches!(moment, Moment::InitRequest | Moment::InitResponse) {
            return;
        }
        if let Some(notify) = contents.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS) {
            let pairs = notify.data.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
            agreed.hashes = pairs.filter(|hash| HashAlgorithm(*hash).name().is_some()).collect();
        }
    }
}
