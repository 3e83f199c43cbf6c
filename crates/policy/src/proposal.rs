//! Proposals: what we would accept, what a peer offers, what comes out.

use wire::num::{Encr, EsnMode, Integ, KeMethod, Prf, TransformType};

/// One transform of an offer as it stands on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Transform {
    /// Its type.
    pub kind: TransformType,
    /// Its id within the type's registry.
    pub id: u16,
    /// The Key Length attribute in bits, where it was given.
    pub key_bits: Option<u16>,
    /// Whether it carries an attribute that we do not understand: it stands in the list, since its
    /// type was offered, but cannot be chosen (RFC 7296 §3.3.6).
    pub has_unknown: bool,
}

impl Transform {
    /// A transform without attributes.
    pub fn new(kind: TransformType, id: u16) -> Self {
        Self { kind, id, key_bits: None, has_unknown: false }
    }

    /// An encryption transform; `key_bits` 0 where the algorithm has one key length only.
    pub fn encr(encr: Encr, key_bits: u16) -> Self {
        Self { key_bits: (key_bits != 0).then_some(key_bits), ..Self::new(TransformType::ENCR, encr.0) }
    }
}

/// One proposal of a peer's SA payload, protocol already checked; order and numbers as sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The proposal number (1, 2, …).
    pub number: u8,
    /// All its transforms in the order sent.
    pub transforms: Vec<Transform>,
    /// Whether it holds something else that we do not understand, which makes the proposal
    /// unacceptable but not the message malformed (RFC 7296 §3.3.6). Transforms of unknown types
    /// can as well stand in `transforms`: the deciders refuse them.
    pub has_unknown: bool,
}

/// A configured proposal: for each type the acceptable transforms, best first. `prf` is empty in a
/// proposal for a child SA, `esn` in one for an IKE SA; `ke` may be empty in the former (no PFS).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Proposal {
    /// Encryption with its key length in bits (0 where there is one length only).
    pub encr: Vec<(Encr, u16)>,
    /// Integrity; empty when every `encr` is a combined mode.
    pub integ: Vec<Integ>,
    /// Pseudorandom functions.
    pub prf: Vec<Prf>,
    /// Key exchange methods.
    pub ke: Vec<KeMethod>,
    /// Methods of the additional key exchanges ADDKE1 to ADDKE7 (RFC 9370 §2.2.1); a place that is empty, or where NONE is
    /// chosen, has none.
    pub additional: [Vec<KeMethod>; ADDITIONAL],
    /// Sequence number modes.
    pub esn: Vec<EsnMode>,
}

impl Proposal {
    /// Whether `suite` could come of this proposal.
    pub fn allows_ike(&self, suite: &IkeSuite) -> bool {
        let integ = suite.integ == Integ::NONE || self.integ.contains(&suite.integ);
        self.encr.contains(&(suite.encr, suite.key_bits))
            && integ
            && self.prf.contains(&suite.prf)
            && self.ke.contains(&suite.ke)
            && suite.additional.0.iter().zip(&self.additional).all(|(chosen, ours)| match ours.is_empty() {
                true => *chosen == KeMethod::NONE,
                false => ours.contains(chosen),
            })
    }

    /// Whether it wants, or would take, key exchanges beside the first.
    pub fn has_additional(&self) -> bool {
        self.additional.iter().flatten().any(|method| *method != KeMethod::NONE)
    }
}

/// Additional key exchanges that a proposal has places for (RFC 9370 §2.2.1).
pub const ADDITIONAL: usize = 7;

/// The transform type of an additional key exchange; `place` counts from 0 for ADDKE1.
pub(crate) fn additional_type(place: usize) -> TransformType {
    TransformType(TransformType::ADDKE1.0.saturating_add(place as u8))
}

/// The methods of the additional key exchanges that are chosen, by their places from ADDKE1 on; NONE where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Additional(pub [KeMethod; ADDITIONAL]);

impl Default for Additional {
    fn default() -> Self {
        Self([KeMethod::NONE; ADDITIONAL])
    }
}

impl Additional {
    /// The exchanges that take place, in their order (RFC 9370 §2.2.2).
    pub fn methods(self) -> impl Iterator<Item = KeMethod> + Clone {
        self.0.into_iter().filter(|method| *method != KeMethod::NONE)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.methods().next().is_none()
    }
}

/// The same proposals without additional key exchanges, for where none can follow.
pub fn without_additional(proposals: &[Proposal]) -> Vec<Proposal> {
    let one = |ours: &Proposal| Proposal { additional: Default::default(), ..ours.clone() };
    proposals.iter().map(one).collect()
}

/// The algorithms of an IKE SA, chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct IkeSuite {
    pub encr: Encr,
    /// 0 where the algorithm has one key length only.
    pub key_bits: u16,
    /// `Integ::NONE` with a combined mode.
    pub integ: Integ,
    pub prf: Prf,
    pub ke: KeMethod,
    /// After `ke`, in IKE_INTERMEDIATE or IKE_FOLLOWUP_KE (RFC 9370).
    pub additional: Additional,
}

impl IkeSuite {
    /// All key exchange methods, in their order.
    pub fn key_exchanges(&self) -> impl Iterator<Item = KeMethod> + Clone {
        std::iter::once(self.ke).chain(self.additional.methods())
    }
}

/// The algorithms of a child SA, chosen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub struct ChildSuite {
    pub encr: Encr,
    /// 0 where the algorithm has one key length only.
    pub key_bits: u16,
    /// `Integ::NONE` with a combined mode.
    pub integ: Integ,
    /// `KeMethod::NONE` without PFS.
    pub ke: KeMethod,
    /// After `ke`, in IKE_FOLLOWUP_KE (RFC 9370 §2.2.4).
    pub additional: Additional,
    pub esn: bool,
}

impl ChildSuite {
    /// All key exchange methods of its own, in their order; none without PFS.
    pub fn key_exchanges(&self) -> impl Iterator<Item = KeMethod> + Clone {
        std::iter::once(self.ke).filter(|ke| *ke != KeMethod::NONE).chain(self.additional.methods())
    }
}
