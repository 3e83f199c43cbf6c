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
    }
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
    pub esn: bool,
}
