//! The configuration payload (RFC 7296 §3.15).

use super::{Octets, owned};
use crate::limits::MAX_CFG_ATTRIBUTES;
use crate::num::{CfgAttributeType, CfgType};
use crate::reader::Reader;
use crate::{ParseError, Problem, writer};

/// CP: configuration asked for or given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configuration<'a> {
    /// Whether it asks, gives, sets or acknowledges.
    pub kind: CfgType,
    /// What it is about.
    pub attributes: Vec<CfgAttribute<'a>>,
}

/// One configuration attribute (RFC 7296 §3.15.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CfgAttribute<'a> {
    /// What it is; 15 bits.
    pub kind: CfgAttributeType,
    /// Its value; empty where it asks.
    pub value: Octets<'a>,
}

impl<'a> Configuration<'a> {
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let kind = CfgType(reader.u8("the configuration type")?);
        reader.array::<3>("the reserved octets")?;
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            if attributes.len() == MAX_CFG_ATTRIBUTES {
                let what = "configuration attributes";
                return Err(reader.error(Problem::TooMany { what, limit: MAX_CFG_ATTRIBUTES }));
            }
            let kind = CfgAttributeType(reader.u16("an attribute's type")? & 0x7fff);
            let length = usize::from(reader.u16("an attribute's length")?);
            let value = reader.take(length, "an attribute's value")?.into();
            attributes.push(CfgAttribute { kind, value });
        }
        Ok(Self { kind, attributes })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind.0, 0, 0, 0]);
        for attribute in &self.attributes {
            out.extend_from_slice(&(attribute.kind.0 & 0x7fff).to_be_bytes());
            out.extend_from_slice(&writer::count16(attribute.value.len()).to_be_bytes());
            out.extend_from_slice(&attribute.value);
        }
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Configuration<'static> {
        let attributes = self.attributes.into_iter();
        let attributes = attributes.map(|a| CfgAttribute { kind: a.kind, value: owned(a.value) }).collect();
        Configuration { kind: self.kind, attributes }
    }
}
