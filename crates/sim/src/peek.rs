//! The little that a bystander reads of an IKE message without keys. Written apart from `wire` on
//! purpose: who checks a codec does not use it.

/// What stands in the clear in an IKEv2 message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peek {
    /// The initiator's SPI.
    pub spi_i: u64,
    /// The responder's SPI.
    pub spi_r: u64,
    /// The exchange type.
    pub exchange: u8,
    /// The R flag.
    pub response: bool,
    /// The I flag.
    pub initiator: bool,
    /// The message id.
    pub message_id: u32,
    /// Payload types in order; what is encrypted ends with SK (46) or SKF (53).
    pub payloads: Vec<u8>,
    /// Notify message types in the clear.
    pub notifies: Vec<u16>,
    /// Fragment number and total of an SKF payload.
    pub fragment: Option<(u16, u16)>,
}

/// IKE_SA_INIT
pub const IKE_SA_INIT: u8 = 34;
/// IKE_AUTH
pub const IKE_AUTH: u8 = 35;
/// CREATE_CHILD_SA
pub const CREATE_CHILD_SA: u8 = 36;
/// INFORMATIONAL
pub const INFORMATIONAL: u8 = 37;
/// IKE_SESSION_RESUME
pub const IKE_SESSION_RESUME: u8 = 38;
/// Encrypted and Authenticated.
pub const SK: u8 = 46;
/// Encrypted and Authenticated Fragment.
pub const SKF: u8 = 53;
/// N(INVALID_KE_PAYLOAD)
pub const INVALID_KE_PAYLOAD: u16 = 17;
/// N(COOKIE)
pub const COOKIE: u16 = 16390;
/// N(TICKET_NACK)
pub const TICKET_NACK: u16 = 16412;
/// Nonce
pub const NONCE: u8 = 40;

impl Peek {
    /// `None` when the header or the chain of payloads does not add up.
    pub fn of(bytes: &[u8]) -> Option<Peek> {
        let word = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes.len() < 28 || long(24)? as usize != bytes.len() || bytes[17] >> 4 != 2 {
            return None;
        }
        let mut peek = Peek {
            spi_i: word(0)?,
            spi_r: word(8)?,
            exchange: bytes[18],
            response: bytes[19] & 0x20 != 0,
            initiator: bytes[19] & 0x08 != 0,
            message_id: long(20)?,
            payloads: Vec::new(),
            notifies: Vec::new(),
            fragment: None,
        };
        let (mut kind, mut at) = (bytes[16], 28);
        while kind != 0 {
            let len = usize::from(short(at + 2)?);
            if len < 4 || at + len > bytes.len() {
                return None;
            }
            peek.payloads.push(kind);
            match kind {
                41 => peek.notifies.push(short(at + 6)?),
                SKF => peek.fragment = Some((short(at + 4)?, short(at + 6)?)),
                _ => {}
            }
            if kind == SK || kind == SKF {
                return (at + len == bytes.len()).then_some(peek);
            }
            (kind, at) = (bytes[at], at + len);
        }
        (at == bytes.len()).then_some(peek)
    }

    /// Whether it ends with an SK or SKF payload.
    pub fn is_protected(&self) -> bool {
        matches!(self.payloads.last(), Some(&SK | &SKF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header and one notify of type 16390 with two octets.
    fn cookie() -> Vec<u8> {
        let mut bytes = vec![1; 8];
        bytes.extend([0; 8]);
        bytes.extend([41, 0x20, IKE_SA_INIT, 0x20, 0, 0, 0, 0, 0, 0, 0, 38]);
        bytes.extend([0, 0, 0, 10, 0, 0, 0x40, 0x06, 7, 7]);
        bytes
    }

    #[test]
    fn notifies_in_the_clear_are_seen() {
        let peek = Peek::of(&cookie()).unwrap();
        assert_eq!((peek.exchange, peek.response, peek.message_id), (IKE_SA_INIT, true, 0));
        assert_eq!((peek.payloads.as_slice(), peek.notifies.as_slice()), (&[41][..], &[COOKIE][..]));
        assert!(!peek.is_protected());
    }

    #[test]
    fn what_does_not_add_up_is_nothing() {
        for len in 0..38 {
            assert_eq!(Peek::of(&cookie()[..len]), None, "{len}");
        }
        let mut longer = cookie();
        longer[31] = 11;
        assert_eq!(Peek::of(&longer), None);
    }
}
