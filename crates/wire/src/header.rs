//! The IKE header (RFC 7296 §3.1).

use crate::limits::HEADER_LEN;
use crate::num::{ExchangeType, PayloadType};
use crate::reader::Reader;
use crate::{ParseError, Problem};
use base::{IkeSpi, MessageId};

const SECTION: &str = "RFC 7296 §3.1";
const RESPONSE: u8 = 0x20;
const VERSION: u8 = 0x10;
const INITIATOR: u8 = 0x08;

/// The 28 octets that every IKEv2 message starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The SPI that the original initiator chose.
    pub spi_i: IkeSpi,
    /// The SPI that the original responder chose; zero in a first IKE_SA_INIT request.
    pub spi_r: IkeSpi,
    /// The type of the first payload; [`Message::emit`](crate::Message::emit) sets it.
    pub next_payload: PayloadType,
    /// The major version: 2.
    pub major: u8,
    /// The minor version: 0; a higher one is accepted (RFC 7296 §2.5).
    pub minor: u8,
    /// Which exchange the message belongs to.
    pub exchange: ExchangeType,
    /// Direction and role.
    pub flags: Flags,
    /// Which exchange of the IKE SA it is (RFC 7296 §2.2).
    pub message_id: MessageId,
    /// Octets of the whole message; [`Message::emit`](crate::Message::emit) sets it.
    pub length: u32,
}

/// The flags of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags {
    /// Sent by the original initiator of the IKE SA.
    pub initiator: bool,
    /// The sender could speak a higher major version.
    pub version: bool,
    /// A response.
    pub response: bool,
}

impl Header {
    /// The header of a message of version 2.0; emission fills in the first payload's type and the length.
    pub const fn new(
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        exchange: ExchangeType,
        flags: Flags,
        message_id: MessageId,
    ) -> Self {
        let next_payload = PayloadType::NONE;
        Self { spi_i, spi_r, next_payload, major: 2, minor: 0, exchange, flags, message_id, length: 0 }
    }

    /// Reads the header of a whole datagram and checks what every IKEv2 message has to fulfil: major version 2, and
    /// a length that is the datagram's.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let header = Self::peek(datagram)?;
        //= rfc7296 §2.5
        // Reserved flag bits and the minor version are not looked at; only the major version is.
        if header.major != 2 {
            return Err(ParseError::new(Problem::MajorVersion(header.major), 17, "RFC 7296 §2.5"));
        }
        //= rfc7296 §3.1
        let said = header.length as usize;
        if said != datagram.len() {
            let problem = Problem::Mismatch { what: "the header's length", said, real: datagram.len() };
            return Err(ParseError::new(problem, 24, SECTION));
        }
        Ok(header)
    }

    /// Reads the fields without judging them: for telling versions apart, and for answering a message of a version
    /// that we do not speak.
    pub fn peek(datagram: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(datagram, 0, SECTION);
        let mut fields = reader.part(HEADER_LEN, "the IKE header")?;
        let spi_i = IkeSpi(fields.u64("the initiator's SPI")?);
        let spi_r = IkeSpi(fields.u64("the responder's SPI")?);
        let next_payload = PayloadType(fields.u8("the next payload")?);
        let version = fields.u8("the version")?;
        let exchange = ExchangeType(fields.u8("the exchange type")?);
        let flags = Flags::from_octet(fields.u8("the flags")?);
        let message_id = MessageId(fields.u32("the message id")?);
        let length = fields.u32("the length")?;
        let (major, minor) = (version >> 4, version & 0x0f);
        Ok(Self { spi_i, spi_r, next_payload, major, minor, exchange, flags, message_id, length })
    }

    /// Writes the 28 octets as they stand in the fields; reserved bits are zero (RFC 7296 §2.5).
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[..8].copy_from_slice(&self.spi_i.0.to_be_bytes());
        out[8..16].copy_from_slice(&self.spi_r.0.to_be_bytes());
        out[16] = self.next_payload.0;
        out[17] = self.major << 4 | self.minor & 0x0f;
        out[18] = self.exchange.0;
        out[19] = self.flags.octet();
        out[20..24].copy_from_slice(&self.message_id.0.to_be_bytes());
        out[24..].copy_from_slice(&self.length.to_be_bytes());
        out
    }

    /// The SPI of the side that sent the message.
    pub const fn sender_spi(&self) -> IkeSpi {
        if self.flags.initiator { self.spi_i } else { self.spi_r }
    }

    /// The SPI of the side that the message is for.
    pub const fn receiver_spi(&self) -> IkeSpi {
        if self.flags.initiator { self.spi_r } else { self.spi_i }
    }
}

impl Flags {
    /// The flags of an octet; reserved bits are ignored.
    pub const fn from_octet(octet: u8) -> Self {
        Self {
            initiator: octet & INITIATOR != 0,
            version: octet & VERSION != 0,
            response: octet & RESPONSE != 0,
        }
    }

    /// The octet on the wire.
    pub const fn octet(self) -> u8 {
        (if self.initiator { INITIATOR } else { 0 })
            | (if self.version { VERSION } else { 0 })
            | (if self.response { RESPONSE } else { 0 })
    }
}
