//! The responder's choice among a peer's proposals (RFC 7296 §2.7, §3.3).
//!
//! Our own order decides: our first proposal that any offer satisfies wins, within it our first
//! encryption, then our first integrity algorithm and so on. Only the key exchange methods of one
//! configured proposal count as equally good: the one that the peer's KE payload is made for is
//! taken if it is among them, since another would cost a round trip. Who prefers a method at that
//! price writes it into a proposal of its own.

use crate::explain::{self, NoProposal};
use crate::proposal::additional_type;
use crate::{Additional, ChildSuite, IkeSuite, Offer, Proposal, Transform};
use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf, TransformType};

/// A proposal was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice<S> {
    /// The number of the peer's proposal.
    pub number: u8,
    /// What comes out.
    pub suite: S,
    /// What the answer's single proposal holds: one transform of each type that the peer's had,
    /// attributes unchanged (RFC 7296 §2.7, §3.3.6).
    pub answer: Vec<Transform>,
}

/// Whether a key exchange can be part of a child SA's negotiation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildKe {
    /// IKE_AUTH: there is none, and what is configured or offered for it does not count
    /// (RFC 7296 §1.2).
    Without,
    /// CREATE_CHILD_SA, with the method of the KE payload in the request; `None`: without one.
    Payload(Option<KeMethod>),
}

/// What the choice for an IKE SA depends on beside the proposals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IkeKe {
    /// The method of the peer's KE payload; when the suite's `ke` differs from it, the answer is INVALID_KE_PAYLOAD.
    pub sent: Option<KeMethod>,
    /// Whether additional key exchanges can follow: in IKE_SA_INIT where both have named IKE_INTERMEDIATE.
    pub additional: bool,
}

/// Chooses the algorithms of an IKE SA.
pub fn choose_ike(ours: &[Proposal], offers: &[Offer], ke: IkeKe) -> Result<Choice<IkeSuite>, NoProposal> {
    let protocol = if ke.additional { Protocol::Ike } else { Protocol::IkeWithoutAdditional };
    let rules = Rules { protocol, ke_sent: ke.sent };
    let parts = rules.choose(ours, offers)?;
    Ok(Choice { number: parts.number, suite: parts.ike(), answer: parts.answer })
}

/// Chooses the algorithms of a child SA with ESP. When the suite's `ke` is neither `NONE` nor the
/// method of the peer's KE payload, the answer is INVALID_KE_PAYLOAD.
pub fn choose_child(
    ours: &[Proposal],
    offers: &[Offer],
    ke: ChildKe,
) -> Result<Choice<ChildSuite>, NoProposal> {
    let rules = match ke {
        ChildKe::Without => Rules { protocol: Protocol::EspWithoutKe, ke_sent: None },
        // Without a payload, NONE is the method that needs no further round trip.
        ChildKe::Payload(sent) => {
            Rules { protocol: Protocol::Esp, ke_sent: Some(sent.unwrap_or(KeMethod::NONE)) }
        }
    };
    let parts = rules.choose(ours, offers)?;
    Ok(Choice { number: parts.number, suite: parts.child(), answer: parts.answer })
}

/// What is negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Ike,
    /// For want of IKE_INTERMEDIATE.
    IkeWithoutAdditional,
    Esp,
    EspWithoutKe,
}

impl Protocol {
    /// The transform types that may stand in a proposal (RFC 7296 §3.3.3).
    pub(crate) fn has(self, kind: TransformType) -> bool {
        match kind {
            TransformType::ENCR | TransformType::INTEG | TransformType::KE => true,
            TransformType::PRF => self.is_ike(),
            TransformType::ESN => !self.is_ike(),
            //= rfc9370 §2.2.1
            //# If the IKE_INTERMEDIATE exchange is not negotiated, then the peers MUST treat any ADDKE Transform Types in the
            //# IKE_SA_INIT exchange messages as unknown transform types and skip the proposals they appear in.
            kind => self != Protocol::IkeWithoutAdditional && is_additional(kind),
        }
    }

    /// Whether it is an IKE SA that is negotiated.
    pub(crate) fn is_ike(self) -> bool {
        matches!(self, Protocol::Ike | Protocol::IkeWithoutAdditional)
    }
}

/// One choice of each type, with the peer's transforms that it consists of.
pub(crate) struct Parts {
    pub(crate) number: u8,
    pub(crate) encr: Encr,
    pub(crate) key_bits: u16,
    pub(crate) integ: Integ,
    pub(crate) prf: Prf,
    pub(crate) ke: KeMethod,
    pub(crate) additional: Additional,
    pub(crate) esn: EsnMode,
    pub(crate) answer: Vec<Transform>,
}

impl Parts {
    pub(crate) fn ike(&self) -> IkeSuite {
        IkeSuite {
            encr: self.encr,
            key_bits: self.key_bits,
            integ: self.integ,
            prf: self.prf,
            ke: self.ke,
            additional: self.additional,
        }
    }

    pub(crate) fn child(&self) -> ChildSuite {
        ChildSuite {
            encr: self.encr,
            key_bits: self.key_bits,
            integ: self.integ,
            ke: self.ke,
            additional: self.additional,
            esn: self.esn == EsnMode::ESN,
        }
    }
}

/// What a choice depends on besides the proposals.
#[derive(Clone, Copy)]
struct Rules {
    protocol: Protocol,
    ke_sent: Option<KeMethod>,
}

impl Rules {
    fn choose(self, ours: &[Proposal], offers: &[Offer]) -> Result<Parts, NoProposal> {
        for our in ours {
            for &encr in &our.encr {
                for offer in offers.iter().filter(|offer| understood(self.protocol, offer)) {
                    if let Some(parts) = self.complete(our, encr, offer) {
                        return Ok(parts);
                    }
                }
            }
        }
        Err(explain::nearest(self.protocol, ours, offers))
    }

    /// Our `encr` with the rest of `our` out of `offer`, if all fits.
    fn complete(self, our: &Proposal, (encr, key_bits): (Encr, u16), offer: &Offer) -> Option<Parts> {
        let mut answer = vec![encr_transform(offer, encr, key_bits)?];
        let prf = match self.protocol.is_ike() {
            true => Prf(pick(offer, TransformType::PRF, our.prf.iter().map(|prf| prf.0), &mut answer)?),
            false => Prf(0),
        };
        let integ = choose_integ(our, encr, offer, &mut answer)?;
        let (ke, additional) = self.choose_key_exchanges(our, offer, &mut answer)?;
        let esn = match self.protocol.is_ike() {
            true => EsnMode::NONE,
            false => EsnMode(pick(offer, TransformType::ESN, our.esn.iter().map(|esn| esn.0), &mut answer)?),
        };
        Some(Parts { number: offer.number, encr, key_bits, integ, prf, ke, additional, esn, answer })
    }

    /// The first of our methods for the first key exchange that leaves something for all additional ones.
    fn choose_key_exchanges(
        self,
        our: &Proposal,
        offer: &Offer,
        answer: &mut Vec<Transform>,
    ) -> Option<(KeMethod, Additional)> {
        if self.protocol == Protocol::EspWithoutKe {
            return Some((KeMethod::NONE, Additional::default()));
        }
        let offered = |ke: KeMethod| match has_type(offer, TransformType::KE) {
            true => offer.transforms.contains(&Transform::new(TransformType::KE, ke.0)),
            //= rfc7296 §3.3.3
            // An optional type may be left out when NONE is all that is wanted.
            false => self.protocol == Protocol::Esp && ke == KeMethod::NONE,
        };
        let sent_first = self.ke_sent.filter(|sent| our.ke.contains(sent));
        let none = our.ke.is_empty().then_some(KeMethod::NONE);
        let mut ours =
            sent_first.into_iter().chain(our.ke.iter().copied()).chain(none).filter(|ke| offered(*ke));
        let (ke, additional) = ours.find_map(|ke| Some((ke, choose_additional(our, ke, offer)?)))?;
        let additional_ones =
            additional.0.iter().enumerate().map(|(place, ke)| (additional_type(place), *ke));
        for (kind, method) in [(TransformType::KE, ke)].into_iter().chain(additional_ones) {
            if has_type(offer, kind) {
                answer.push(Transform::new(kind, method.0));
            }
        }
        Some((ke, additional))
    }
}

/// Whether all types of the offer are of this protocol, and nothing in it is beyond us.
pub(crate) fn understood(protocol: Protocol, offer: &Offer) -> bool {
    //= rfc7296 §3.3.6
    // A type that we do not understand makes the proposal unacceptable, the others stand.
    !offer.has_unknown && offer.transforms.iter().all(|t| protocol.has(t.kind))
}

/// Whether a transform type is one of ADDKE1 to ADDKE7.
pub(crate) fn is_additional(kind: TransformType) -> bool {
    (TransformType::ADDKE1.0..=TransformType::ADDKE7.0).contains(&kind.0)
}

/// For each place the first of our methods that the offer has and that no other place has taken, nor the first key exchange, which
/// is our own rule; `None` when one place cannot be filled.
//= rfc9370 §2.2.1
//# for the ADDKE Transform Types, the responder's choice MUST NOT contain duplicated algorithms […], except for the
//# Transform ID of NONE. […] If the responder is unable to select algorithms that are not duplicated for each proposed key
//# exchange […], then the responder MUST reject the message with an error notification of type NO_PROPOSAL_CHOSEN.
pub(crate) fn choose_additional(our: &Proposal, ke: KeMethod, offer: &Offer) -> Option<Additional> {
    let mut search =
        Search { our, offer, chosen: Additional::default(), left: crate::limits::KE_COMBINATIONS };
    search.fill(0, ke).then_some(search.chosen)
}

/// A search for additional key exchanges, place by place.
struct Search<'a> {
    our: &'a Proposal,
    offer: &'a Offer,
    chosen: Additional,
    /// So many methods are tried still.
    left: u32,
}

impl Search<'_> {
    fn fill(&mut self, place: usize, ke: KeMethod) -> bool {
        let Some(ours) = self.our.additional.get(place) else { return true };
        let kind = additional_type(place);
        let none = [KeMethod::NONE];
        //= rfc9370 §2.2.1
        //# The responder MUST treat all of the omitted ADDKE transforms as if they were proposed with Transform ID NONE.
        let offered = |method: KeMethod| match has_type(self.offer, kind) {
            true => self.offer.transforms.contains(&Transform::new(kind, method.0)),
            false => method == KeMethod::NONE,
        };
        let ours = if ours.is_empty() { &none } else { ours.as_slice() };
        let fitting: Vec<KeMethod> = ours.iter().copied().filter(|method| offered(*method)).collect();
        for method in fitting {
            let taken = self.chosen.0.iter().take(place).chain([&ke]).any(|other| *other == method);
            // Without a first key exchange there are no additional ones.
            if method != KeMethod::NONE && (taken || ke == KeMethod::NONE) {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else { return false };
            self.left = left;
            if let Some(slot) = self.chosen.0.get_mut(place) {
                *slot = method;
            }
            if self.fill(place + 1, ke) {
                return true;
            }
        }
        if let Some(slot) = self.chosen.0.get_mut(place) {
            *slot = KeMethod::NONE;
        }
        false
    }
}

/// The offer's transform for `encr`, its Key Length attribute being as it must be.
pub(crate) fn encr_transform(offer: &Offer, encr: Encr, key_bits: u16) -> Option<Transform> {
    //= rfc7296 §3.3.5
    // The Key Length attribute must be there where the length varies, and must not where it does not.
    //
    // Exception to the section's SHOULD: a key longer than those configured is not taken. What a file names is
    // what its reader expects to find in use; who wants "at least" lists the longer ones too.
    let wanted = Transform::encr(encr, key_bits);
    offer.transforms.iter().copied().find(|offered| *offered == wanted)
}

fn choose_integ(our: &Proposal, encr: Encr, offer: &Offer, answer: &mut Vec<Transform>) -> Option<Integ> {
    if !is_aead(encr) {
        let real = our.integ.iter().filter(|integ| **integ != Integ::NONE);
        return pick(offer, TransformType::INTEG, real.map(|integ| integ.0), answer).map(Integ);
    }
    //= rfc5282 §8
    // No integrity algorithm may be selected along with a combined mode.
    match has_type(offer, TransformType::INTEG) {
        true => pick(offer, TransformType::INTEG, [Integ::NONE.0], answer).map(Integ),
        false => Some(Integ::NONE),
    }
}

/// The first of `wanted` that the offer has, which goes into the answer too.
fn pick(
    offer: &Offer,
    kind: TransformType,
    wanted: impl IntoIterator<Item = u16>,
    answer: &mut Vec<Transform>,
) -> Option<u16> {
    // Only encryption has key lengths: a transform of another type with one equals none of ours.
    let found =
        wanted.into_iter().map(|id| Transform::new(kind, id)).find(|t| offer.transforms.contains(t))?;
    answer.push(found);
    Some(found.id)
}

pub(crate) fn has_type(offer: &Offer, kind: TransformType) -> bool {
    offer.transforms.iter().any(|t| t.kind == kind)
}

/// Whether `encr` is a combined mode, which brings its own integrity.
pub fn is_aead(encr: Encr) -> bool {
    matches!(
        encr,
        Encr::AES_CCM_8
            | Encr::AES_CCM_12
            | Encr::AES_CCM_16
            | Encr::AES_GCM_8
            | Encr::AES_GCM_12
            | Encr::AES_GCM_16
            | Encr::NULL_AUTH_AES_GMAC
            | Encr::CAMELLIA_CCM_8
            | Encr::CAMELLIA_CCM_12
            | Encr::CAMELLIA_CCM_16
            | Encr::CHACHA20_POLY1305
            | Encr::AES_CCM_8_IIV
            | Encr::AES_GCM_16_IIV
            | Encr::CHACHA20_POLY1305_IIV
    )
}
