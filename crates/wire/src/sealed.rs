//! Where the encrypted part of a message lies, for whoever has the keys: ranges to open in place, and frames to seal
//! in place. This module does no cryptography (RFC 7296 §3.14, RFC 5282 §5, RFC 7383 §2.5).

use crate::limits::{FRAGMENT_HEADER_LEN, HEADER_LEN, PAYLOAD_HEADER_LEN};
use crate::num::PayloadType;
use crate::{Header, ParseError, Payload, Payloads, Problem};
use std::ops::Range;

/// Where the header says what payload is the first, and how long the message is (RFC 7296 §3.1).
const NEXT_PAYLOAD: usize = 16;
const LENGTH: Range<usize> = 24..28;

/// Which fragment of a message (RFC 7383 §2.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// From 1 to `total`.
    pub number: u16,
    /// How many there are.
    pub total: u16,
}

/// Where the encrypted payload of a received datagram lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The type of the first payload inside; in fragments after the first it is [`PayloadType::NONE`].
    pub first: PayloadType,
    /// Which fragment, if it is SKF.
    pub fragment: Option<Fragment>,
    /// The additional authenticated data of an AEAD: from the first octet of the IKE header to the end of the
    /// SK or SKF header (RFC 5282 §5.1, RFC 7383 §2.5).
    pub aad: Range<usize>,
    /// Initialization vector, ciphertext, integrity checksum: up to the end of the datagram. A MAC of its own covers
    /// everything before the checksum.
    pub body: Range<usize>,
    /// The first payload before it that nobody knows and that is marked critical: its receiver must not pass it over
    /// (RFC 7296 §2.5).
    pub critical: Option<PayloadType>,
}

impl Sealed {
    /// Finds the encrypted payload of a datagram; `None` when the chain ends without one.
    /// Payloads that stand before it are not read, but for what is critical among them.
    pub fn locate(datagram: &[u8]) -> Result<Option<Self>, ParseError> {
        let header = Header::parse(datagram)?;
        let mut critical = None;
        let chain = datagram.get(HEADER_LEN..).unwrap_or_default();
        for raw in Payloads::new(header.next_payload, chain, HEADER_LEN) {
            let raw = raw?;
            let mut body = raw.range();
            let fragment = match Payload::parse_sealed(raw)? {
                None => {
                    let unknown = Payload::parse(raw).is_ok_and(|payload| payload.is_unsupported_critical());
                    critical = critical.or(unknown.then_some(raw.kind));
                    continue;
                }
                Some(fragment) => fragment,
            };
            if fragment.is_some() {
                body.start += FRAGMENT_HEADER_LEN;
            }
            return Ok(Some(Self { first: raw.next, fragment, aad: 0..body.start, body, critical }));
        }
        Ok(None)
    }

    /// The part of the datagram up to the last octet of the generic header of the SK or SKF payload.
    pub fn envelope<'d>(&self, datagram: &'d [u8]) -> &'d [u8] {
        let fragment = self.fragment.map_or(0, |_| FRAGMENT_HEADER_LEN);
        datagram.get(..self.body.start.saturating_sub(fragment)).unwrap_or_default()
    }
}

/// The room that a cipher needs around the plaintext.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Octets of the explicit initialization vector.
    pub iv: usize,
    /// The plaintext with padding and pad length becomes a multiple of this many octets: the cipher's block size,
    /// 1 for ciphers that need none.
    pub block: usize,
    /// Octets of the integrity checksum.
    pub icv: usize,
}

/// A message that is ready to be sealed in place: everything but initialization vector and checksum is written, and
/// every length is final.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The datagram.
    pub bytes: Vec<u8>,
    /// Where the additional authenticated data lies.
    pub aad: Range<usize>,
    /// Where the initialization vector goes.
    pub iv: Range<usize>,
    /// Where the plaintext lies: the inner payloads, padding of zeroes, and the pad length.
    pub plaintext: Range<usize>,
    /// Where the integrity checksum goes: at the end.
    pub icv: Range<usize>,
}

impl Frame {
    /// A message of `header` with an SK payload, or an SKF payload where `fragment` says which. `inner` is the chain
    /// of inner payloads or a piece of it, and `first` what its first payload is (see
    /// [`emit_chain`](crate::emit_chain); [`PayloadType::NONE`] in fragments after the first).
    pub fn new(
        header: &Header,
        fragment: Option<Fragment>,
        first: PayloadType,
        inner: &[u8],
        room: Room,
    ) -> Self {
        let kind = if fragment.is_some() { PayloadType::SKF } else { PayloadType::SK };
        let fixed = PAYLOAD_HEADER_LEN + fragment.map_or(0, |_| FRAGMENT_HEADER_LEN);
        let padding = room.padding(inner.len());
        let aad = 0..HEADER_LEN + fixed;
        let iv = aad.end..aad.end + room.iv;
        let plaintext = iv.end..iv.end + inner.len() + padding + 1;
        let icv = plaintext.end..plaintext.end + room.icv;
        let header =
            Header { next_payload: kind, length: u32::try_from(icv.end).unwrap_or(u32::MAX), ..*header };
        let mut bytes = Vec::with_capacity(icv.end);
        bytes.extend_from_slice(&header.emit());
        bytes.extend_from_slice(&[first.0, 0]);
        bytes.extend_from_slice(&crate::writer::count16(icv.end - HEADER_LEN).to_be_bytes());
        if let Some(Fragment { number, total }) = fragment {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&total.to_be_bytes());
        }
        bytes.resize(plaintext.start, 0);
        bytes.extend_from_slice(inner);
        bytes.resize(plaintext.end - 1, 0);
        bytes.push(padding as u8);
        bytes.resize(icv.end, 0);
        Self { bytes, aad, iv, plaintext, icv }
    }

    /// The same message with a payload between the header and the encrypted one: it is authenticated, and in the
    /// clear (RFC 5282 §5.1). RFC 8019 §7.2.2 puts PS there.
    pub fn preceded_by(self, payload: &Payload<'_>) -> Self {
        let mut before = Vec::new();
        let first = crate::emit_chain(std::slice::from_ref(payload), &mut before);
        if let (Some(next), Some(kind)) = (before.first_mut(), self.bytes.get(NEXT_PAYLOAD)) {
            *next = *kind;
        }
        let shift = |range: Range<usize>| range.start + before.len()..range.end + before.len();
        let mut bytes = self.bytes;
        bytes.splice(HEADER_LEN..HEADER_LEN, before.iter().copied());
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if let Some(next) = bytes.get_mut(NEXT_PAYLOAD) {
            *next = first.0;
        }
        if let Some(place) = bytes.get_mut(LENGTH) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        let aad = 0..self.aad.end + before.len();
        Self { bytes, aad, iv: shift(self.iv), plaintext: shift(self.plaintext), icv: shift(self.icv) }
    }
}

/// What AUTH covers of an IKE_INTERMEDIATE message: `IntAuth_A | IntAuth_P` (RFC 9242 §3.3.2). `envelope` is the message
/// from its first octet to the last one of the generic header of its SK payload, or of the first fragment's SKF payload;
/// `inner` is the chain of payloads inside, all fragments together.
//= rfc9242 §3.3.2
//# the Length field in the IKE Header and the Payload Length field in the Encrypted payload header are adjusted so that they
//# don't count the lengths of Initialization Vector, Integrity Checksum Data, Padding, and Pad Length fields. […] If the
//# message was received in fragmented form, it MUST be reconstructed before calculating the prf as if it were received
//# unfragmented. While reconstructing, the RESERVED field in the reconstructed Encrypted payload header MUST be set to the
//# value of the RESERVED field in the Encrypted Fragment payload header from the first fragment
pub fn intermediate_octets(envelope: &[u8], inner: &[u8]) -> Vec<u8> {
    let mut octets = envelope.to_vec();
    // Where it is said that the encrypted payload comes next: in the header, or in the last payload before it.
    let (mut said, mut next) = (NEXT_PAYLOAD, HEADER_LEN);
    while let Some([_, _, high, low]) = octets.get(next..next + PAYLOAD_HEADER_LEN)
        && next + PAYLOAD_HEADER_LEN < octets.len()
    {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        (said, next) = (next, next + len.max(PAYLOAD_HEADER_LEN));
    }
    let whole = u32::try_from(octets.len() + inner.len()).unwrap_or(u32::MAX);
    let payload = crate::writer::count16(PAYLOAD_HEADER_LEN + inner.len());
    let last = octets.len().saturating_sub(2);
    for (at, value) in [
        (said, &[PayloadType::SK.0][..]),
        (LENGTH.start, &whole.to_be_bytes()),
        (last, &payload.to_be_bytes()),
    ] {
        if let Some(place) = octets.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }
    octets.extend_from_slice(inner);
    octets
}

impl Room {
    /// No cipher at all: the chain with one octet of pad length.
    pub const NONE: Self = Self { iv: 0, block: 1, icv: 0 };

    /// Octets of padding for `inner` octets of payloads, the pad length octet not counted. At most 255, for block
    /// sizes up to 256.
    const fn padding(self, inner: usize) -> usize {
        let block = if self.block == 0 { 1 } else { self.block };
        (block - (inner + 1) % block) % block
    }

    /// The most octets of inner payloads that fit when the IKE message may have `message` octets; 0 when not even
    /// an empty message fits. `fragmented` tells whether SKF carries them.
    pub const fn capacity(self, message: usize, fragmented: bool) -> usize {
        let fixed = HEADER_LEN + PAYLOAD_HEADER_LEN + if fragmented { FRAGMENT_HEADER_LEN } else { 0 };
        let block = if self.block == 0 { 1 } else { self.block };
        let whole = message.saturating_sub(fixed + self.iv + self.icv) / block * block;
        whole.saturating_sub(1)
    }
}

/// Takes padding and pad length off a decrypted body. What the padding consists of is not looked at
/// (RFC 7296 §3.14).
pub fn strip_padding(plaintext: &[u8]) -> Result<&[u8], ParseError> {
    let error = |need| {
        let problem = Problem::Truncated { what: "the padding", need, have: plaintext.len() };
        ParseError::new(problem, plaintext.len().saturating_sub(1), "RFC 7296 §3.14")
    };
    //= rfc7296 §3.14
    let (pad_length, rest) = plaintext.split_last().ok_or(error(1))?;
    let pad_length = usize::from(*pad_length);
    let inner = rest.len().checked_sub(pad_length).ok_or(error(pad_length + 1))?;
    Ok(&plaintext[..inner])
}
