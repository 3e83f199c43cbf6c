//! SK and SKF as they stand on the wire, still sealed (RFC 7296 §3.14, RFC 7383 §2.5).

use super::{Octets, owned};
use crate::num::PayloadType;
use crate::reader::Reader;
use crate::sealed::Fragment;
use crate::{ParseError, Payload, RawPayload};
use crate::{Problem, limits::FRAGMENT_HEADER_LEN};

/// SK: the payloads of a message, encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encrypted<'a> {
    /// The type of the first payload inside.
    pub first: PayloadType,
    /// Initialization vector, ciphertext with padding and pad length, integrity checksum.
    pub body: Octets<'a>,
}

/// SKF: one fragment of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncryptedFragment<'a> {
    /// In fragment 1 the type of the first payload inside, else [`PayloadType::NONE`].
    pub first: PayloadType,
    /// Which fragment, from 1.
    pub number: u16,
    /// How many fragments there are, from 1.
    pub total: u16,
    /// Initialization vector, ciphertext with padding and pad length, integrity checksum.
    pub body: Octets<'a>,
}

impl<'a> Encrypted<'a> {
    pub(super) fn parse(first: PayloadType, reader: &mut Reader<'a>) -> Self {
        Self { first, body: reader.rest().into() }
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Encrypted<'static> {
        Encrypted { first: self.first, body: owned(self.body) }
    }
}

impl<'a> EncryptedFragment<'a> {
    pub(super) fn parse(first: PayloadType, reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let number = reader.u16("the fragment number")?;
        let total = reader.u16("the total of fragments")?;
        //= rfc7383 §2.6
        if number == 0 || number > total {
            let problem = Problem::Value { what: "the fragment number", value: usize::from(number) };
            return Err(reader.error_before(FRAGMENT_HEADER_LEN, problem));
        }
        Ok(Self { first, number, total, body: reader.rest().into() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.total.to_be_bytes());
        out.extend_from_slice(&self.body);
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> EncryptedFragment<'static> {
        let Self { first, number, total, body } = self;
        EncryptedFragment { first, number, total, body: owned(body) }
    }
}

impl Payload<'_> {
    /// For SK `Some(None)`, for SKF `Some` of its place, for others `None`.
    pub(crate) fn parse_sealed(raw: RawPayload<'_>) -> Result<Option<Option<Fragment>>, ParseError> {
        match raw.kind {
            PayloadType::SK => Ok(Some(None)),
            PayloadType::SKF => match Payload::parse(raw)? {
                Payload::EncryptedFragment(EncryptedFragment { number, total, .. }) => {
                    Ok(Some(Some(Fragment { number, total })))
                }
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }
}
