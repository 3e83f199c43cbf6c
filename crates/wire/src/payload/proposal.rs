//! The SA payload: proposals, transforms, attributes (RFC 7296 §3.3).

use super::{Octets, owned};
use crate::limits::{MAX_ATTRIBUTES, MAX_PROPOSALS, MAX_TRANSFORMS_PER_SA};
use crate::num::{ProtocolId, TransformAttributeType, TransformType};
use crate::reader::Reader;
use crate::{ParseError, Problem, writer};

const PROPOSAL_HEADER: usize = 8;
const TRANSFORM_HEADER: usize = 8;
const LAST: u8 = 0;
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
const SHORT_FORM: u16 = 0x8000;

/// One proposal: for one protocol, alternatives for each kind of transform (RFC 7296 §3.3.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal<'a> {
    /// Its number: 1 for the first offered; an answer repeats the chosen one's.
    pub number: u8,
    /// What kind of SA it is for.
    pub protocol: ProtocolId,
    /// The sender's SPI: empty for the first IKE SA, 8 octets for a rekeyed one, 4 for ESP and AH.
    pub spi: Octets<'a>,
    /// The algorithms; those of one type are alternatives.
    pub transforms: Vec<Transform<'a>>,
}

/// One algorithm (RFC 7296 §3.3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transform<'a> {
    /// What it is for.
    pub kind: TransformType,
    /// Which one, in the registry of `kind`.
    pub id: u16,
    /// What the id leaves open, such as the key length.
    pub attributes: Vec<Attribute<'a>>,
}

/// An attribute of a transform (RFC 7296 §3.3.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute<'a> {
    /// Which one; 15 bits.
    pub kind: TransformAttributeType,
    /// Its value.
    pub value: AttributeValue<'a>,
}

/// The two forms of an attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttributeValue<'a> {
    /// Type and value: two octets.
    Short(u16),
    /// Type, length, value.
    Long(Octets<'a>),
}

impl<'a> Transform<'a> {
    /// A transform with a key length in bits, or without one.
    pub fn new(kind: TransformType, id: u16, key_bits: Option<u16>) -> Self {
        let attributes = key_bits.into_iter().map(Attribute::key_length).collect();
        Self { kind, id, attributes }
    }

    /// The key length in bits, if it is given.
    pub fn key_bits(&self) -> Option<u16> {
        self.attributes.iter().find_map(|attribute| match attribute {
            Attribute { kind: TransformAttributeType::KEY_LENGTH, value: AttributeValue::Short(bits) } => {
                Some(*bits)
            }
            _ => None,
        })
    }

    /// Whether it has an attribute that we do not understand: such a transform must not be chosen
    /// (RFC 7296 §3.3.6).
    pub fn has_unknown_attribute(&self) -> bool {
        //= rfc7296 §3.3.6
        self.attributes.iter().any(|attribute| {
            !matches!(
                attribute,
                Attribute { kind: TransformAttributeType::KEY_LENGTH, value: AttributeValue::Short(_) }
            )
        })
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Transform<'static> {
        let attributes = self.attributes.into_iter().map(Attribute::into_owned).collect();
        Transform { kind: self.kind, id: self.id, attributes }
    }

    fn parse(reader: &mut Reader<'a>, last: bool) -> Result<Self, ParseError> {
        check_last(reader, last, MORE_TRANSFORMS, "a transform's \"last substruc\"")?;
        let mut inside = substructure(reader, TRANSFORM_HEADER, "a transform")?;
        let kind = TransformType(inside.u8("a transform's type")?);
        inside.u8("a transform's reserved octet")?;
        let id = inside.u16("a transform's id")?;
        let mut attributes = Vec::new();
        while !inside.is_empty() {
            if attributes.len() == MAX_ATTRIBUTES {
                let what = "attributes in one transform";
                return Err(inside.error(Problem::TooMany { what, limit: MAX_ATTRIBUTES }));
            }
            attributes.push(Attribute::parse(&mut inside)?);
        }
        Ok(Self { kind, id, attributes })
    }

    fn emit(&self, last: bool, out: &mut Vec<u8>) {
        let hole = writer::open(out, &[if last { LAST } else { MORE_TRANSFORMS }, 0]);
        out.extend_from_slice(&[self.kind.0, 0]);
        out.extend_from_slice(&self.id.to_be_bytes());
        for attribute in &self.attributes {
            attribute.emit(out);
        }
        writer::close(out, &hole);
    }
}

impl<'a> Attribute<'a> {
    /// The key length in bits.
    pub const fn key_length(bits: u16) -> Self {
        Self { kind: TransformAttributeType::KEY_LENGTH, value: AttributeValue::Short(bits) }
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Attribute<'static> {
        let value = match self.value {
            AttributeValue::Short(value) => AttributeValue::Short(value),
            AttributeValue::Long(value) => AttributeValue::Long(owned(value)),
        };
        Attribute { kind: self.kind, value }
    }

    fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let kind = reader.u16("an attribute's type")?;
        let second = reader.u16("an attribute's length or value")?;
        let value = if kind & SHORT_FORM != 0 {
            AttributeValue::Short(second)
        } else {
            AttributeValue::Long(reader.take(usize::from(second), "an attribute's value")?.into())
        };
        Ok(Self { kind: TransformAttributeType(kind & !SHORT_FORM), value })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let kind = self.kind.0 & !SHORT_FORM;
        match &self.value {
            AttributeValue::Short(value) => {
                out.extend_from_slice(&(kind | SHORT_FORM).to_be_bytes());
                out.extend_from_slice(&value.to_be_bytes());
            }
            AttributeValue::Long(value) => {
                out.extend_from_slice(&kind.to_be_bytes());
                out.extend_from_slice(&writer::count16(value.len()).to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}

impl<'a> Proposal<'a> {
    /// The same with everything owned.
    pub fn into_owned(self) -> Proposal<'static> {
        let transforms = self.transforms.into_iter().map(Transform::into_owned).collect();
        Proposal { number: self.number, protocol: self.protocol, spi: owned(self.spi), transforms }
    }

    /// The transforms of one type, in their order.
    pub fn of(&self, kind: TransformType) -> impl Iterator<Item = &Transform<'a>> {
        self.transforms.iter().filter(move |transform| transform.kind == kind)
    }

    /// Reads one proposal that may have `room` transforms.
    fn parse(reader: &mut Reader<'a>, last: bool, room: usize) -> Result<Self, ParseError> {
        check_last(reader, last, MORE_PROPOSALS, "a proposal's \"last substruc\"")?;
        let mut inside = substructure(reader, PROPOSAL_HEADER, "a proposal")?;
        let number = inside.u8("a proposal's number")?;
        let protocol = ProtocolId(inside.u8("a proposal's protocol")?);
        let spi_size = usize::from(inside.u8("a proposal's SPI size")?);
        let said = usize::from(inside.u8("a proposal's number of transforms")?);
        let spi = inside.take(spi_size, "a proposal's SPI")?;
        if said > room {
            let what = "transforms in one SA payload";
            return Err(inside.error(Problem::TooMany { what, limit: MAX_TRANSFORMS_PER_SA }));
        }
        let mut transforms = Vec::with_capacity(said.min(inside.len() / TRANSFORM_HEADER));
        for left in (0..said).rev() {
            transforms.push(Transform::parse(&mut inside, left == 0)?);
        }
        //= rfc7296 §3.3
        inside.end("a proposal's transforms")?;
        Ok(Self { number, protocol, spi: spi.into(), transforms })
    }

    fn emit(&self, last: bool, out: &mut Vec<u8>) {
        let hole = writer::open(out, &[if last { LAST } else { MORE_PROPOSALS }, 0]);
        let (spi_size, transforms) = (writer::count(self.spi.len()), writer::count(self.transforms.len()));
        out.extend_from_slice(&[self.number, self.protocol.0, spi_size, transforms]);
        out.extend_from_slice(&self.spi);
        for (index, transform) in self.transforms.iter().enumerate() {
            transform.emit(index + 1 == self.transforms.len(), out);
        }
        writer::close(out, &hole);
    }
}

/// Reads the proposals that fill an SA payload.
pub(super) fn parse<'a>(reader: &mut Reader<'a>) -> Result<Vec<Proposal<'a>>, ParseError> {
    let mut proposals = Vec::new();
    let mut room = MAX_TRANSFORMS_PER_SA;
    while !reader.is_empty() {
        if proposals.len() == MAX_PROPOSALS {
            return Err(reader.error(Problem::TooMany { what: "proposals", limit: MAX_PROPOSALS }));
        }
        let last = is_alone(reader)?;
        let proposal = Proposal::parse(reader, last, room)?;
        room -= proposal.transforms.len();
        proposals.push(proposal);
    }
    Ok(proposals)
}

/// Appends an SA payload's body.
pub(super) fn emit(proposals: &[Proposal<'_>], out: &mut Vec<u8>) {
    for (index, proposal) in proposals.iter().enumerate() {
        proposal.emit(index + 1 == proposals.len(), out);
    }
}

/// Whether the substructure at the cursor fills the rest.
fn is_alone(reader: &Reader<'_>) -> Result<bool, ParseError> {
    let mut ahead = reader.clone();
    ahead.u16("a proposal")?;
    Ok(usize::from(ahead.u16("a proposal's length")?) >= reader.len())
}

/// Checks the octet that tells whether another substructure of the kind follows.
fn check_last(reader: &mut Reader<'_>, last: bool, more: u8, what: &'static str) -> Result<(), ParseError> {
    let real = if last { LAST } else { more };
    let said = reader.u8(what)?;
    if said == real {
        return Ok(());
    }
    let problem = Problem::Mismatch { what, said: usize::from(said), real: usize::from(real) };
    Err(reader.error_before(1, problem))
}

/// The inside of a substructure behind its reserved octet and its length, which counts `header` octets at least.
fn substructure<'a>(
    reader: &mut Reader<'a>,
    header: usize,
    what: &'static str,
) -> Result<Reader<'a>, ParseError> {
    reader.u8(what)?;
    let length = usize::from(reader.u16(what)?);
    if length < header {
        return Err(reader.error_before(2, Problem::Truncated { what, need: header, have: length }));
    }
    reader.part(length - 4, what)
}
