//! The chain of payloads: generic payload headers (RFC 7296 §3.2).

use crate::limits::{MAX_PAYLOADS, PAYLOAD_HEADER_LEN};
use crate::num::PayloadType;
use crate::reader::Reader;
use crate::{ParseError, Problem};
use std::ops::Range;

const SECTION: &str = "RFC 7296 §3.2";

/// One payload of a chain, its inside not yet looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawPayload<'a> {
    /// What it is.
    pub kind: PayloadType,
    /// The critical bit: who does not understand the payload must refuse the message (RFC 7296 §2.5).
    pub critical: bool,
    /// The "next payload" field: what follows, or what is first inside SK and SKF.
    pub next: PayloadType,
    /// What stands after the generic header.
    pub body: &'a [u8],
    /// The offset of the body in the datagram.
    pub at: usize,
}

impl RawPayload<'_> {
    /// Where the body stands in the datagram.
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.body.len()
    }
}

/// Walks a chain of payloads. Ends after the first error, after SK or SKF (what their next-payload field names is
/// inside them), and where the chain says so; octets left over are an error.
#[derive(Clone)]
pub struct Payloads<'a> {
    reader: Reader<'a>,
    next: PayloadType,
    seen: usize,
    ended: bool,
}

impl<'a> Payloads<'a> {
    /// The chain in `bytes` that starts with a payload of type `first`; `at` is the offset of `bytes` in the
    /// datagram (0 for a decrypted chain) and serves error messages only.
    pub const fn new(first: PayloadType, bytes: &'a [u8], at: usize) -> Self {
        Self { reader: Reader::new(bytes, at, SECTION), next: first, seen: 0, ended: false }
    }

    fn step(&mut self) -> Result<Option<RawPayload<'a>>, ParseError> {
        let kind = self.next;
        if kind == PayloadType::NONE {
            self.reader.end("the last payload")?;
            return Ok(None);
        }
        if self.seen == MAX_PAYLOADS {
            return Err(self.reader.error(Problem::TooMany { what: "payloads", limit: MAX_PAYLOADS }));
        }
        self.seen += 1;
        let next = PayloadType(self.reader.u8("a payload header")?);
        let critical = self.reader.u8("a payload header")? & 0x80 != 0;
        let length = usize::from(self.reader.u16("a payload header")?);
        let Some(length) = length.checked_sub(PAYLOAD_HEADER_LEN) else {
            return Err(self
                .reader
                .error_before(2, Problem::Value { what: "a payload's length", value: length }));
        };
        let at = self.reader.at();
        let body = self.reader.take(length, "a payload's body")?;
        self.next = next;
        if matches!(kind, PayloadType::SK | PayloadType::SKF) {
            //= rfc7296 §3.14
            self.reader.end("the encrypted payload, which must be the last one")?;
            self.ended = true;
        }
        Ok(Some(RawPayload { kind, critical, next, body, at }))
    }
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<RawPayload<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended |= !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
