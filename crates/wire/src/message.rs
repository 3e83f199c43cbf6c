//! A whole message: header and payloads.

use crate::limits::HEADER_LEN;
use crate::payload::{emit_chain, parse_chain};
use crate::{Header, ParseError, Payload};

/// A header and its payloads, in their order. An encrypted message's payloads end with SK or SKF.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    /// The payloads outside of SK, and SK itself.
    pub payloads: Vec<Payload<'a>>,
}

impl<'a> Message<'a> {
    /// Reads a whole datagram (without the non-ESP marker).
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let header = Header::parse(datagram)?;
        let chain = datagram.get(HEADER_LEN..).unwrap_or_default();
        let payloads = parse_chain(header.next_payload, chain, HEADER_LEN)?;
        Ok(Self { header, payloads })
    }

    /// Writes the datagram. The header's first payload type and length are set to what is written.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_LEN];
        let next_payload = emit_chain(&self.payloads, &mut out);
        let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
        let header = Header { next_payload, length, ..self.header };
        out[..HEADER_LEN].copy_from_slice(&header.emit());
        out
    }

    /// The same message with everything owned.
    pub fn into_owned(self) -> Message<'static> {
        let payloads = self.payloads.into_iter().map(Payload::into_owned).collect();
        Message { header: self.header, payloads }
    }
}
