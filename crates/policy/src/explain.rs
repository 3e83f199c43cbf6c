//! Why no proposal was chosen: the pair of an offer and a proposal of ours that came closest.

use crate::choose::{Protocol, choose_additional, encr_transform, has_type, is_additional, is_aead};
use crate::keyword::{Word, spell};
use crate::proposal::additional_type;
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
        kind if is_additional(kind) => {
            format!("additional key exchange {}", kind.0 - TransformType::ADDKE1.0 + 1)
        }
        other => other.to_string(),
    }
}

pub(crate) fn nearest(protocol: Protocol, ours: &[Proposal], offers: &[Offer]) -> NoProposal {
    let pairs = ours.iter().flat_map(|our| offers.iter().map(move |offer| (our, offer)));
    let judged = pairs.map(|(our, offer)| (lacks(protocol, our, offer), our, offer));
    // The first of the best: our order, then the peer's.
    let best = judged.filter(|(lacks, ..)| !lacks.is_empty()).min_by_key(|(lacks, ..)| lacks.len());
    let nearest = best.map(|(lacks, our, offer)| NearestProposal {
        number: offer.number,
        ours: our.to_string(),
        mismatches: lacks.iter().map(|lack| lack.tell(our, offer)).collect(),
    });
    NoProposal { offered: offers.len(), nearest }
}

/// In what an offer fails a proposal of ours. Words come only for the nearest pair: the pairs are many, and
/// whoever sends the offers has not authenticated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// A type that has no place in the protocol.
    Foreign(TransformType),
    /// Something beyond the transforms.
    Unknown,
    Encr,
    Prf,
    /// Whether integrity must be absent.
    Integ(bool),
    Ke,
    /// The additional key exchange of that place, counted from 0.
    Additional(usize),
    /// Each place has something in common, but not all at once.
    Duplicates,
    Esn,
}

/// All in which `offer` fails `our`.
fn lacks(protocol: Protocol, our: &Proposal, offer: &Offer) -> Vec<Lack> {
    let mut found = Vec::new();
    for t in &offer.transforms {
        let lack = Lack::Foreign(t.kind);
        if !protocol.has(t.kind) && !found.contains(&lack) {
            found.push(lack);
        }
    }
    if offer.has_unknown && found.is_empty() {
        found.push(Lack::Unknown);
    }
    let possible: Vec<(Encr, u16)> = our
        .encr
        .iter()
        .copied()
        .filter(|(encr, bits)| encr_transform(offer, *encr, *bits).is_some())
        .collect();
    let encr = !possible.is_empty();
    let prf = !protocol.is_ike() || any(offer, TransformType::PRF, our.prf.iter().map(|prf| prf.0));
    let integ = integ_lack(our, if encr { &possible } else { &our.encr }, offer);
    let ke = ke_fits(protocol, our, offer);
    let esn = protocol.is_ike() || any(offer, TransformType::ESN, our.esn.iter().map(|esn| esn.0));
    found.extend((!encr).then_some(Lack::Encr));
    found.extend((!prf).then_some(Lack::Prf));
    found.extend(integ);
    found.extend((!ke).then_some(Lack::Ke));
    found.extend(additional_lack(protocol, our, offer));
    found.extend((!esn).then_some(Lack::Esn));
    found
}

fn integ_lack(our: &Proposal, encrs: &[(Encr, u16)], offer: &Offer) -> Option<Lack> {
    let fits = |aead: bool| match aead {
        true => !has_type(offer, TransformType::INTEG) || any(offer, TransformType::INTEG, [Integ::NONE.0]),
        false => any(offer, TransformType::INTEG, real(our).map(|integ| integ.0)),
    };
    let some = encrs.iter().any(|(encr, _)| fits(is_aead(*encr)));
    (!some).then(|| Lack::Integ(encrs.iter().all(|(encr, _)| is_aead(*encr))))
}

fn ke_fits(protocol: Protocol, our: &Proposal, offer: &Offer) -> bool {
    match protocol {
        Protocol::EspWithoutKe => true,
        Protocol::Esp if !has_type(offer, TransformType::KE) => {
            our.ke.is_empty() || our.ke.contains(&KeMethod::NONE)
        }
        Protocol::Esp if our.ke.is_empty() => any(offer, TransformType::KE, [KeMethod::NONE.0]),
        _ => any(offer, TransformType::KE, our.ke.iter().map(|ke| ke.0)),
    }
}

fn additional_lack(protocol: Protocol, our: &Proposal, offer: &Offer) -> Option<Lack> {
    if protocol == Protocol::EspWithoutKe || choose_additional(our, KeMethod(u16::MAX), offer).is_some() {
        return None;
    }
    let lacking = |(place, ours): (usize, &Vec<KeMethod>)| {
        let kind = additional_type(place);
        let optional = ours.is_empty() || ours.contains(&KeMethod::NONE);
        let fits = match has_type(offer, kind) {
            true => any(offer, kind, ours.iter().map(|ke| ke.0)) || optional && any(offer, kind, [0]),
            false => optional,
        };
        (!fits).then_some(Lack::Additional(place))
    };
    our.additional.iter().enumerate().find_map(lacking).or(Some(Lack::Duplicates))
}

/// Our integrity algorithms that are ones.
fn real(our: &Proposal) -> impl Iterator<Item = &Integ> {
    our.integ.iter().filter(|integ| **integ != Integ::NONE)
}

impl Lack {
    fn tell(self, our: &Proposal, offer: &Offer) -> Mismatch {
        match self {
            Lack::Foreign(kind) if is_additional(kind) => mismatch(
                kind,
                offer,
                "nothing of this type, because the peer does not announce IKE_INTERMEDIATE (RFC 9370 §2.2.1)"
                    .to_string(),
            ),
            Lack::Foreign(kind) => mismatch(kind, offer, "nothing of this type".to_string()),
            Lack::Unknown => Mismatch {
                kind: TransformType(0),
                offered: "something unknown".to_string(),
                wanted: "only what RFC 7296 defines".to_string(),
            },
            Lack::Encr => {
                mismatch(TransformType::ENCR, offer, list(our.encr.iter().map(|(e, b)| Word::Encr(*e, *b))))
            }
            Lack::Prf => mismatch(TransformType::PRF, offer, list(our.prf.iter().map(|prf| Word::Prf(*prf)))),
            Lack::Integ(true) => {
                mismatch(TransformType::INTEG, offer, "none beside a combined mode (RFC 5282 §8)".to_string())
            }
            Lack::Integ(false) => {
                mismatch(TransformType::INTEG, offer, list(real(our).map(|integ| Word::Integ(*integ))))
            }
            Lack::Ke => mismatch(TransformType::KE, offer, list(our.ke.iter().map(|ke| Word::Ke(*ke)))),
            Lack::Additional(place) => {
                let ours = our.additional.get(place).into_iter().flatten();
                mismatch(additional_type(place), offer, list(ours.map(|ke| Word::Ke(*ke))))
            }
            Lack::Duplicates => Mismatch {
                kind: TransformType::ADDKE1,
                offered: "the same methods for several of them".to_string(),
                wanted: "another method for each (RFC 9370 §2.2.1)".to_string(),
            },
            Lack::Esn => mismatch(TransformType::ESN, offer, list(our.esn.iter().map(|esn| Word::Esn(*esn)))),
        }
    }
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
        kind if is_additional(kind) => Word::Ke(KeMethod(t.id)),
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
