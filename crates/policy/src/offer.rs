//! The initiator's side: what it sends, and whether the answer keeps to it.

use crate::choose::{Parts, Protocol, has_type, is_additional, is_aead};
use crate::explain::{spell_transform, type_name};
use crate::proposal::additional_type;
use crate::{Additional, ChildSuite, IkeSuite, Offer, Proposal, Transform};
use std::fmt;
use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf, TransformType};

/// The proposals of an IKE SA's SA payload, numbered from 1. A configured proposal that has both
/// combined modes and other ciphers becomes two (RFC 7296 §2.7).
pub fn ike_offers(ours: &[Proposal]) -> Vec<Offer> {
    to_offers(Protocol::Ike, ours)
}

/// The proposals of a child SA's SA payload, numbered from 1. `with_ke` is false in IKE_AUTH, which
/// has no KE payload. Otherwise the KE payload goes with the first method of the first proposal,
/// [`first_ke`]; a configured proposal whose first method is NONE is offered without any.
pub fn child_offers(ours: &[Proposal], with_ke: bool) -> Vec<Offer> {
    to_offers(if with_ke { Protocol::Esp } else { Protocol::EspWithoutKe }, ours)
}

/// The method that the KE payload goes with; `None`: there is no KE payload.
pub fn first_ke(offers: &[Offer]) -> Option<KeMethod> {
    let first = offers.first()?.transforms.iter().find(|t| t.kind == TransformType::KE)?;
    (first.id != KeMethod::NONE.0).then_some(KeMethod(first.id))
}

fn to_offers(protocol: Protocol, ours: &[Proposal]) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for our in ours {
        let (aead, classic): (Vec<_>, Vec<_>) =
            our.encr.iter().copied().partition(|(encr, _)| is_aead(*encr));
        let aead_first = our.encr.first().is_some_and(|(encr, _)| is_aead(*encr));
        for kind in [aead_first, !aead_first] {
            let encr = if kind { &aead } else { &classic };
            // Proposal numbers are one octet (RFC 7296 §3.3.1).
            let Ok(number) = u8::try_from(offers.len() + 1) else { return offers };
            let offer =
                Offer { number, transforms: transforms(protocol, our, encr, !kind), has_unknown: false };
            if !encr.is_empty() && !offers.iter().any(|other| other.transforms == offer.transforms) {
                offers.push(offer);
            }
        }
    }
    offers
}

fn transforms(protocol: Protocol, our: &Proposal, encr: &[(Encr, u16)], with_integ: bool) -> Vec<Transform> {
    let mut list: Vec<Transform> = encr.iter().map(|(encr, bits)| Transform::encr(*encr, *bits)).collect();
    let mut add =
        |kind, ids: &mut dyn Iterator<Item = u16>| list.extend(ids.map(|id| Transform::new(kind, id)));
    if protocol.is_ike() {
        add(TransformType::PRF, &mut our.prf.iter().map(|prf| prf.0));
    }
    if with_integ {
        let real = our.integ.iter().filter(|integ| **integ != Integ::NONE);
        add(TransformType::INTEG, &mut real.map(|integ| integ.0));
    }
    // RFC 7296 §1.2: better no transform of type 4 at all than NONE as the only one.
    let without_ke = our.ke.first() == Some(&KeMethod::NONE);
    if protocol != Protocol::EspWithoutKe && !without_ke {
        add(TransformType::KE, &mut our.ke.iter().map(|ke| ke.0));
        for (place, methods) in our.additional.iter().enumerate() {
            add(additional_type(place), &mut methods.iter().map(|ke| ke.0));
        }
    }
    if !protocol.is_ike() {
        add(TransformType::ESN, &mut our.esn.iter().map(|esn| esn.0));
    }
    list
}

/// The transforms of a proposal's additional key exchanges.
pub(crate) fn additional(our: &Proposal) -> impl Iterator<Item = Transform> {
    let places = our.additional.iter().enumerate();
    places.flat_map(|(place, methods)| {
        methods.iter().map(move |ke| Transform::new(additional_type(place), ke.0))
    })
}

/// The responder's answer is not a subset of what was offered: the exchange ends (RFC 7296 §3.3.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadAnswer(pub String);

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadAnswer {}

/// Reads the answer to what [`ike_offers`] gave. The caller has checked that there is one proposal.
pub fn accept_ike(sent: &[Offer], answer: &Offer) -> Result<IkeSuite, BadAnswer> {
    accept(sent, answer).map(|parts| parts.ike())
}

/// Reads the answer to what [`child_offers`] gave. The caller has checked that there is one
/// proposal, and that its SPI has four octets.
pub fn accept_child(sent: &[Offer], answer: &Offer) -> Result<ChildSuite, BadAnswer> {
    accept(sent, answer).map(|parts| parts.child())
}

//= rfc7296 §3.3.6
// The initiator checks that the accepted offer is consistent with one of its proposals.
fn accept(sent: &[Offer], answer: &Offer) -> Result<Parts, BadAnswer> {
    let Some(offer) = sent.iter().find(|offer| offer.number == answer.number) else {
        let numbers: Vec<String> = sent.iter().map(|offer| offer.number.to_string()).collect();
        return Err(BadAnswer(format!(
            "The answer chooses proposal {}, but those offered are {}.",
            answer.number,
            numbers.join(", ")
        )));
    };
    let foreign = |t: &&Transform| !offer.transforms.contains(t) && !says_nothing(t, offer);
    if let Some(t) = answer.transforms.iter().find(foreign) {
        let (kind, t) = (type_name(t.kind), spell_transform(t));
        return Err(BadAnswer(format!("The answer chooses {t} for {kind}, which was not offered.")));
    }
    if answer.has_unknown {
        return Err(BadAnswer("The answer's proposal holds something that was not offered.".to_string()));
    }
    let one = |kind| one_of(offer, answer, kind);
    let encr = one(TransformType::ENCR)?;
    let (prf, integ) = (one(TransformType::PRF)?, one(TransformType::INTEG)?);
    let (ke, esn) = (one(TransformType::KE)?, one(TransformType::ESN)?);
    let id = |t: Option<Transform>| t.map_or(0, |t| t.id);
    let mut additional = Additional::default();
    for (place, method) in additional.0.iter_mut().enumerate() {
        *method = KeMethod(id(one(additional_type(place))?));
    }
    check_additional(additional)?;
    Ok(Parts {
        number: answer.number,
        encr: Encr(id(encr)),
        key_bits: encr.and_then(|t| t.key_bits).unwrap_or(0),
        integ: Integ(id(integ)),
        prf: Prf(id(prf)),
        ke: KeMethod(id(ke)),
        additional,
        esn: EsnMode(id(esn)),
        answer: answer.transforms.clone(),
    })
}

//= rfc9370 §2.2.1
//# If the responder's message contains one or more duplicated choices, the initiator should log the error and MUST treat
//# the exchange as failed.
fn check_additional(chosen: Additional) -> Result<(), BadAnswer> {
    let mut seen = Vec::new();
    for method in chosen.methods() {
        if seen.contains(&method) {
            let method = crate::keyword::spell(crate::keyword::Word::Ke(method));
            return Err(BadAnswer(format!("The answer chooses {method} for two additional key exchanges.")));
        }
        seen.push(method);
    }
    Ok(())
}

/// NONE of a type that was not offered at all: some peers complete their answer with it.
fn says_nothing(t: &Transform, offer: &Offer) -> bool {
    let optional = matches!(t.kind, TransformType::INTEG | TransformType::KE) || is_additional(t.kind);
    optional && *t == Transform::new(t.kind, 0) && !has_type(offer, t.kind)
}

/// The answer's one transform of a type that was offered; `None` if that type was not, or if it
/// was left out and NONE was among the offered.
fn one_of(offer: &Offer, answer: &Offer, kind: TransformType) -> Result<Option<Transform>, BadAnswer> {
    let mut chosen = answer.transforms.iter().filter(|t| t.kind == kind);
    match (chosen.next(), chosen.next()) {
        (Some(t), None) => Ok(Some(*t)),
        (Some(_), Some(_)) => {
            Err(BadAnswer(format!("The answer chooses more than one transform for {}.", type_name(kind))))
        }
        (None, _) if !has_type(offer, kind) => Ok(None),
        (None, _) if kind != TransformType::ESN && offer.transforms.contains(&Transform::new(kind, 0)) => {
            Ok(None)
        }
        (None, _) => Err(BadAnswer(format!("The answer chooses nothing for {}.", type_name(kind)))),
    }
}
