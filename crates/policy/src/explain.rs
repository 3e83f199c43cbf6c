//! Why no proposal was chosen: the pair of an offer and a proposal of ours that came closest.

use crate::choose::{Protocol, encr_transform, has_type, is_aead, understood};
use crate::keyword::{Word, spell};
use crate::{Offer, Proposal, Transform};
use std::fmt;
use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf, TransformType};

/// None of the offers satisfies any of our proposals (NO_PROPOSAL_CHOSEN).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoProposal {
    /// How many proposals were offered.
    pub offered: usize,
    /// The pair that came closest; `None` when there was nothing to compare.
    pub nearest: Option<NearestProposal>,
}

/// The pair of an offer and a proposal of ours that came closest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NearestProposal {
    /// The number of the peer's proposal.
    pub number: u8,
    /// Our proposal, as it is configured.
    pub ours: String,
    /// What fails, by type; never empty.
    pub mismatches: Vec<Mismatch>,
}

/// A transform type on which both sides have nothing in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The type.
    pub kind: TransformType,
    /// What the peer offered.
    pub offered: String,
    /// What we want.
    pub wanted: String,
}

impl fmt::Display for NoProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(nearest) = &self.nearest else {
            return f.write_str("No proposal was offered at all.");
        };
        match self.offered {
            1 => f.write_str("The one proposal offered is not acceptable. It")?,
            n => write!(
                f,
                "None of the {n} proposals offered is acceptable. The nearest, number {},",
                nearest.number
            )?,
        }
        write!(f, " differs from ours ({}) in", nearest.ours)?;
        for (index, mismatch) in nearest.mismatches.iter().enumerate() {
            let comma = if index == 0 { "" } else { ";" };
            let Mismatch { kind, offered, wanted } = mismatch;
            write!(f, "{comma} {}: offered {offered}, wanted {wanted}", type_name(*kind))?;
        }
        f.write_str(".")
    }
}

impl std::error::Error for NoProposal {}

/// What people call a transform type.
pub(crate) fn type_name(kind: TransformType) -> String {
    match kind {
        TransformType::ENCR => "encryption".to_string(),
        TransformType::PRF => "pseudorandom function".to_string(),
        TransformType::INTEG => "integrity".to_string(),
        TransformType::KE => "key exchange".to_string(),
        TransformType::ESN => "sequence numbers".to_string(),
        other => other.to_string(),
    }
}

pub(crate) fn nearest(protocol: Protocol, ours: &[Proposal], offers: &[Offer]) -> NoProposal {
    let mut best: Option<NearestProposal> = None;
    for our in ours {
        for offer in offers {
            let mismatches = compare(protocol, our, offer);
            let closer = best.as_ref().is_none_or(|best| mismatches.len() < best.mismatches.len());
            if closer && !mismatches.is_empty() {
                best = Some(NearestProposal { number: offer.number, ours: our.to_string(), mismatches });
            }
        }
    }
    NoProposal { offered: offers.len(), nearest: best }
}

/// All types in which `offer` fails `our`.
fn compare(protocol: Protocol, our: &Proposal, offer: &Offer) -> Vec<Mismatch> {
    let mut found = Vec::new();
    for t in &offer.transforms {
        if !protocol.types().contains(&t.kind) && !found.iter().any(|m: &Mismatch| m.kind == t.kind) {
            found.push(mismatch(t.kind, offer, "nothing of this type".to_string()));
        }
    }
    if offer.has_unknown && understood(protocol, &Offer { has_unknown: false, ..offer.clone() }) {
        let offered = "something unknown".to_string();
        found.push(Mismatch {
            kind: TransformType(0),
            offered,
            wanted: "only what RFC 7296 defines".to_string(),
        });
    }
    let possible: Vec<(Encr, u16)> = our
        .encr
        .iter()
        .copied()
        .filter(|(encr, bits)| encr_transform(offer, *encr, *bits).is_some())
        .collect();
    if possible.is_empty() {
        found.push(mismatch(
            TransformType::ENCR,
            offer,
            list(our.encr.iter().map(|(e, b)| Word::Encr(*e, *b))),
        ));
    }
    if protocol == Protocol::Ike && !any(offer, TransformType::PRF, our.prf.iter().map(|prf| prf.0)) {
        found.push(mismatch(TransformType::PRF, offer, list(our.prf.iter().map(|prf| Word::Prf(*prf)))));
    }
    let encrs = if possible.is_empty() { &our.encr } else { &possible };
    found.extend(compare_integ(our, encrs, offer));
    found.extend(compare_ke(protocol, our, offer));
    if protocol != Protocol::Ike && !any(offer, TransformType::ESN, our.esn.iter().map(|esn| esn.0)) {
        found.push(mismatch(TransformType::ESN, offer, list(our.esn.iter().map(|esn| Word::Esn(*esn)))));
    }
    found
}

fn compare_integ(our: &Proposal, encrs: &[(Encr, u16)], offer: &Offer) -> Option<Mismatch> {
    let real = || our.integ.iter().filter(|integ| **integ != Integ::NONE);
    let fits = |aead: bool| match aead {
        true => !has_type(offer, TransformType::INTEG) || any(offer, TransformType::INTEG, [Integ::NONE.0]),
        false => any(offer, TransformType::INTEG, real().map(|integ| integ.0)),
    };
    if encrs.iter().any(|(encr, _)| fits(is_aead(*encr))) {
        return None;
    }
    let wanted = match encrs.iter().all(|(encr, _)| is_aead(*encr)) {
        true => "none beside a combined mode (RFC 5282 §8)".to_string(),
        false => list(real().map(|integ| Word::Integ(*integ))),
    };
    Some(mismatch(TransformType::INTEG, offer, wanted))
}

fn compare_ke(protocol: Protocol, our: &Proposal, offer: &Offer) -> Option<Mismatch> {
    let none_is_fine = our.ke.is_empty() || our.ke.contains(&KeMethod::NONE);
    let fits = match protocol {
        Protocol::EspWithoutKe => true,
        Protocol::Esp if !has_type(offer, TransformType::KE) => none_is_fine,
        Protocol::Esp if our.ke.is_empty() => any(offer, TransformType::KE, [KeMethod::NONE.0]),
        _ => any(offer, TransformType::KE, our.ke.iter().map(|ke| ke.0)),
    };
    let wanted = || match our.ke.is_empty() {
        true => "none".to_string(),
        false => list(our.ke.iter().map(|ke| Word::Ke(*ke))),
    };
    (!fits).then(|| mismatch(TransformType::KE, offer, wanted()))
}

fn any(offer: &Offer, kind: TransformType, wanted: impl IntoIterator<Item = u16>) -> bool {
    wanted.into_iter().any(|id| offer.transforms.contains(&Transform::new(kind, id)))
}

fn mismatch(kind: TransformType, offer: &Offer, wanted: String) -> Mismatch {
    let of_type: Vec<&Transform> = offer.transforms.iter().filter(|t| t.kind == kind).collect();
    let offered = match of_type.is_empty() {
        true => "none".to_string(),
        false => or_list(of_type.into_iter().map(spell_transform)),
    };
    Mismatch { kind, offered, wanted }
}

/// What people call a transform of an offer.
pub(crate) fn spell_transform(t: &Transform) -> String {
    let word = match t.kind {
        TransformType::ENCR => Word::Encr(Encr(t.id), t.key_bits.unwrap_or(0)),
        TransformType::PRF => Word::Prf(Prf(t.id)),
        TransformType::INTEG => Word::Integ(Integ(t.id)),
        TransformType::KE => Word::Ke(KeMethod(t.id)),
        TransformType::ESN => Word::Esn(EsnMode(t.id)),
        other => return format!("{other} {}", t.id),
    };
    match (t.has_unknown, t.kind, t.key_bits) {
        (true, ..) => format!("{} with an unknown attribute", spell(word)),
        (false, kind, Some(bits)) if kind != TransformType::ENCR => {
            format!("{} with a key length of {bits} bits, which it cannot have", spell(word))
        }
        _ => spell(word),
    }
}

fn list(words: impl Iterator<Item = Word>) -> String {
    or_list(words.map(spell))
}

/// `a`, `a or b`, `a, b or c`; a long list is cut, since a peer decides its length.
fn or_list(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.collect();
    words.dedup();
    let more = words.len().saturating_sub(crate::limits::LISTED_ALGORITHMS);
    if more > 0 {
        words.truncate(crate::limits::LISTED_ALGORITHMS);
        words.push(format!("{more} more"));
    }
    match words.split_last() {
        None => "none".to_string(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
