//! One direction of a child SA: ESP packets made and opened in place (RFC 4303 §2, §3.3, §3.4).

use crate::limits::{IV_POOL, SEQUENCE_RESERVE};
use crate::replay::ReplayWindow;
use base::{EspSpi, Rng};
use crypto::{Cipher, CipherSpec, CryptoError, IvKind};
use std::fmt;
use std::ops::Range;

/// Octets of SPI and sequence number.
pub const ESP_HEADER_LEN: usize = 8;

/// Random octets for the IVs that must not be predictable, drawn in advance.
pub struct IvPool {
    rng: Box<dyn Rng>,
    octets: [u8; IV_POOL],
    used: usize,
}

impl IvPool {
    /// A pool over `rng`.
    pub fn new(rng: Box<dyn Rng>) -> Self {
        Self { rng, octets: [0; IV_POOL], used: IV_POOL }
    }

    /// Fills `iv` with octets that were never given out before.
    fn take(&mut self, iv: &mut [u8]) {
        if self.used + iv.len() > IV_POOL {
            self.rng.fill(&mut self.octets);
            self.used = 0;
        }
        let end = self.used + iv.len();
        if let Some(fresh) = self.octets.get_mut(self.used..end) {
            iv.copy_from_slice(fresh);
            fresh.fill(0);
        }
        self.used = end;
    }
}

impl fmt::Debug for IvPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IvPool")
    }
}

/// Why a packet was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealError {
    /// No sequence number is left: the SA must be replaced.
    Exhausted,
    /// The buffer has no room for header, padding and integrity check value.
    NoRoom,
}

/// What we send with.
pub struct OutboundSa {
    cipher: Box<dyn Cipher>,
    spec: CipherSpec,
    spi: EspSpi,
    esn: bool,
    /// The sequence number of the last packet sent.
    sent: u64,
}

impl OutboundSa {
    /// An SA that has sent nothing yet.
    pub fn new(spi: EspSpi, cipher: Box<dyn Cipher>, esn: bool) -> Self {
        Self { spec: cipher.spec(), cipher, spi, esn, sent: 0 }
    }

    /// The same, after `sent` packets.
    pub fn resume(spi: EspSpi, cipher: Box<dyn Cipher>, esn: bool, sent: u64) -> Self {
        Self { sent, ..Self::new(spi, cipher, esn) }
    }

    /// Octets of ESP header and IV before the payload.
    pub fn head_len(&self) -> usize {
        ESP_HEADER_LEN + self.spec.iv_len
    }

    /// Octets of the ESP packet around a payload of `payload_len` octets.
    pub fn sealed_len(&self, payload_len: usize) -> usize {
        sealed_len(&self.spec, payload_len)
    }

    /// The shape of its cipher.
    pub fn spec(&self) -> CipherSpec {
        self.spec
    }

    /// The SPI in its packets.
    pub fn spi(&self) -> EspSpi {
        self.spi
    }

    /// Whether the sequence numbers come to their end.
    pub fn is_near_end(&self) -> bool {
        self.sent >= self.last() - SEQUENCE_RESERVE
    }

    fn last(&self) -> u64 {
        if self.esn { u64::MAX } else { u32::MAX.into() }
    }

    /// Makes an ESP packet at the start of `frame`: the payload of `payload_len` octets stands at
    /// [`Self::head_len`] already, `next_header` says what it is. Answers the packet's length.
    //= rfc4303 §3.3
    #[inline]
    pub fn seal(
        &mut self,
        frame: &mut [u8],
        payload_len: usize,
        next_header: u8,
        ivs: &mut IvPool,
    ) -> Result<usize, SealError> {
        let len = self.sealed_len(payload_len);
        let frame = frame.get_mut(..len).ok_or(SealError::NoRoom)?;
        //= rfc4303 §3.3.3
        if self.sent >= self.last() {
            return Err(SealError::Exhausted);
        }
        self.sent += 1;
        let sequence = self.sent;
        let (header, rest) = frame.split_at_mut_checked(ESP_HEADER_LEN).ok_or(SealError::NoRoom)?;
        let (iv, rest) = rest.split_at_mut_checked(self.spec.iv_len).ok_or(SealError::NoRoom)?;
        let at = rest.len().checked_sub(self.spec.icv_len).ok_or(SealError::NoRoom)?;
        let (data, icv) = rest.split_at_mut(at);
        header[..4].copy_from_slice(&self.spi.0.to_be_bytes());
        header[4..].copy_from_slice(&(sequence as u32).to_be_bytes());
        match self.spec.iv_kind {
            IvKind::None => {}
            // The sequence number never repeats under a key (RFC 4106 §3.1).
            IvKind::Counter => write_counter(iv, sequence),
            IvKind::Random => ivs.take(iv),
        }
        write_trailer(data, payload_len, next_header);
        let bound = Bound::new(self.spi, sequence, self.esn, self.cipher.is_aead());
        self.cipher.seal(iv, bound.aad(), data, bound.tail(), icv);
        Ok(len)
    }
}

impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutboundSa({}, {} sent)", self.spi, self.sent)
    }
}

fn write_counter(iv: &mut [u8], sequence: u64) {
    let counter = sequence.to_be_bytes();
    let start = iv.len().saturating_sub(counter.len());
    for (slot, octet) in iv.iter_mut().skip(start).zip(counter) {
        *slot = octet;
    }
}

/// Octets of the ESP packet around a payload: header, IV, payload, padding, trailer, ICV.
pub fn sealed_len(spec: &CipherSpec, payload_len: usize) -> usize {
    let data = (payload_len + 2).next_multiple_of(alignment(spec));
    ESP_HEADER_LEN + spec.iv_len + data + spec.icv_len
}

/// The longest payload whose ESP packet has at most `room` octets.
pub fn max_payload(spec: &CipherSpec, room: usize) -> usize {
    let data = room.saturating_sub(ESP_HEADER_LEN + spec.iv_len + spec.icv_len);
    (data - data % alignment(spec)).saturating_sub(2)
}

/// The cipher's block, and at least four octets (RFC 4303 §2.4).
fn alignment(spec: &CipherSpec) -> usize {
    spec.block.max(4)
}

/// Padding 1, 2, 3, …, its length, and the next header (RFC 4303 §2.4).
fn write_trailer(data: &mut [u8], payload_len: usize, next_header: u8) {
    let padding = data.get_mut(payload_len..).unwrap_or(&mut []);
    let count = padding.len().saturating_sub(2);
    for (slot, value) in padding.iter_mut().take(count).zip(1u8..) {
        *slot = value;
    }
    if let [.., len, next] = padding {
        *len = count as u8;
        *next = next_header;
    }
}

/// What the integrity check covers besides the packet's own octets from the IV on.
struct Bound {
    octets: [u8; 12],
    aad_len: usize,
    tail_len: usize,
}

impl Bound {
    /// With extended sequence numbers a combined mode covers SPI, high half, low half (RFC 4106 §5); encrypt-then-MAC
    /// covers the high half after everything else (RFC 4303 §2.2.1).
    fn new(spi: EspSpi, sequence: u64, esn: bool, aead: bool) -> Self {
        let mut octets = [0; 12];
        let (spi, high, low) = (spi.0.to_be_bytes(), (sequence >> 32) as u32, sequence as u32);
        octets[..4].copy_from_slice(&spi);
        let (middle, last) = if esn && aead { (high, low) } else { (low, high) };
        octets[4..8].copy_from_slice(&middle.to_be_bytes());
        octets[8..].copy_from_slice(&last.to_be_bytes());
        match (esn, aead) {
            (true, true) => Self { octets, aad_len: 12, tail_len: 0 },
            (true, false) => Self { octets, aad_len: 8, tail_len: 4 },
            (false, _) => Self { octets, aad_len: 8, tail_len: 0 },
        }
    }

    fn aad(&self) -> &[u8] {
        &self.octets[..self.aad_len]
    }

    fn tail(&self) -> &[u8] {
        &self.octets[12 - self.tail_len..]
    }
}

/// Why a packet was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// Too short, or its lengths do not add up.
    Malformed,
    /// Seen before, or left of the window.
    Replayed,
    /// The integrity check failed.
    BadIcv,
    /// Authentic, but its padding is not 1, 2, 3, …
    BadPadding,
}

/// An opened packet: where its payload stands, and what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The payload within the frame.
    pub payload: Range<usize>,
    /// The next header field.
    pub next_header: u8,
    /// The whole sequence number.
    pub sequence: u64,
    /// Whether it is the highest so far.
    pub newest: bool,
}

/// What we receive with.
pub struct InboundSa {
    cipher: Box<dyn Cipher>,
    spec: CipherSpec,
    spi: EspSpi,
    esn: bool,
    window: ReplayWindow,
}

impl InboundSa {
    /// An SA that has received nothing yet; `replay_window` is 0 (off) or 32 to 4096 packets.
    pub fn new(spi: EspSpi, cipher: Box<dyn Cipher>, esn: bool, replay_window: u32) -> Self {
        Self { spec: cipher.spec(), cipher, spi, esn, window: ReplayWindow::new(replay_window) }
    }

    /// The shape of its cipher.
    pub fn spec(&self) -> CipherSpec {
        self.spec
    }

    /// The SPI in its packets.
    pub fn spi(&self) -> EspSpi {
        self.spi
    }

    /// Checks and decrypts the ESP packet `frame` in place. On an error it holds nothing to be used,
    /// and the SA is as before.
    //= rfc4303 §3.4
    #[inline]
    pub fn open(&mut self, frame: &mut [u8]) -> Result<Opened, OpenError> {
        let malformed = OpenError::Malformed;
        let (header, rest) = frame.split_at_mut_checked(ESP_HEADER_LEN).ok_or(malformed)?;
        let (iv, rest) = rest.split_at_mut_checked(self.spec.iv_len).ok_or(malformed)?;
        let at = rest.len().checked_sub(self.spec.icv_len).ok_or(malformed)?;
        let (data, icv) = rest.split_at_mut(at);
        if data.len() < 2 || data.len() % self.spec.block.max(1) != 0 {
            return Err(malformed);
        }
        let low = header.last_chunk::<4>().map(|low| u32::from_be_bytes(*low)).ok_or(malformed)?;
        let sequence = if self.esn { self.window.extend(low) } else { Some(low.into()) };
        //= rfc4303 §3.4.3
        let sequence =
            sequence.filter(|&sequence| self.window.is_new(sequence)).ok_or(OpenError::Replayed)?;
        let bound = Bound::new(self.spi, sequence, self.esn, self.cipher.is_aead());
        self.cipher.open(iv, bound.aad(), data, bound.tail(), icv).map_err(|error| match error {
            CryptoError::BadIcv => OpenError::BadIcv,
            _ => malformed,
        })?;
        let newest = self.window.accept(sequence);
        let (len, next_header) = read_trailer(data)?;
        let start = ESP_HEADER_LEN + self.spec.iv_len;
        Ok(Opened { payload: start..start + len, next_header, sequence, newest })
    }
}

impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InboundSa({})", self.spi)
    }
}

/// The payload's length and the next header; the padding is checked (RFC 4303 §2.4).
fn read_trailer(data: &[u8]) -> Result<(usize, u8), OpenError> {
    let [rest @ .., len, next_header] = data else { return Err(OpenError::Malformed) };
    let payload_len = rest.len().checked_sub(usize::from(*len)).ok_or(OpenError::BadPadding)?;
    let padding = rest.get(payload_len..).unwrap_or(&[]);
    if padding.iter().zip(1u8..).any(|(octet, want)| *octet != want) {
        return Err(OpenError::BadPadding);
    }
    Ok((payload_len, *next_header))
}
