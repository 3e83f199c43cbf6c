//! The protected conversation with one peer: what goes into it comes out authentic at the other end.
//!
//! A datagram is noise until [`Channel::receive`] has checked its integrity; what comes out is an
//! [`Authentic<Message>`], which can be made nowhere else, and which alone can change an IKE SA.

use crate::Cx;
use crate::fragment::{Assembly, Fragment};
use crate::limits;
use base::{Instant, MessageId};
use crypto::{Cipher, IvKind, Spis};
use sa::{Drop, Side};
use std::net::IpAddr;
use wire::num::{ExchangeType, PayloadType};
use wire::{Flags, Header, Payloads};

/// Something whose origin and integrity the IKE SA's keys vouch for. Only [`Channel::receive`] makes it.
#[derive(Debug)]
pub(crate) struct Authentic<T>(T);

impl<T> Authentic<T> {
    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}

/// A decrypted message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) exchange: ExchangeType,
    pub(crate) id: MessageId,
    /// The type of the first payload inside.
    pub(crate) first: PayloadType,
    /// The chain of payloads.
    pub(crate) plain: Vec<u8>,
    /// Octets on the wire, all fragments together.
    pub(crate) octets: usize,
    /// In how many datagrams it came.
    pub(crate) datagrams: usize,
}

/// What came of a datagram.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A new request: it is to be answered.
    Request(Authentic<Message>),
    /// The response that is waited for.
    Response(Authentic<Message>),
    /// A request that has its answer already: that is to be sent again.
    Repeated(Vec<Vec<u8>>),
    /// A fragment of a message of which others are missing.
    Piece,
}

/// Keys, message ids, the last response, and the fragments of what is not complete.
pub(crate) struct Channel {
    side: Side,
    spis: Spis,
    sealer: Box<dyn Cipher>,
    opener: Box<dyn Cipher>,
    /// Number of the last IV of a counter mode.
    last_iv: u64,
    /// The id of our next request.
    next_request: MessageId,
    /// The id of the peer's next request.
    expected: MessageId,
    kept: Option<Kept>,
    /// The largest datagram that a message may take without being cut; `None`: it is never cut.
    fragment_size: Option<u16>,
    assembly: Option<Box<Assembly>>,
}

/// The response to the peer's last request.
struct Kept {
    datagrams: Vec<Vec<u8>>,
    since: Instant,
}

/// The ciphers of both directions.
pub(crate) struct Ciphers {
    pub(crate) sealer: Box<dyn Cipher>,
    pub(crate) opener: Box<dyn Cipher>,
}

/// What stands outside of the encryption.
#[derive(Clone, Copy)]
pub(crate) struct Envelope {
    pub(crate) exchange: ExchangeType,
    pub(crate) id: MessageId,
    pub(crate) response: bool,
}

/// A chain of payloads as it is encrypted.
pub(crate) struct Chain<'a> {
    pub(crate) first: PayloadType,
    pub(crate) octets: &'a [u8],
}

impl Channel {
    /// The conversation after IKE_SA_INIT: the initiator's next request is number 1.
    pub(crate) fn new(side: Side, spis: Spis, ciphers: Ciphers, fragment_size: Option<u16>) -> Self {
        let (next_request, expected) = match side {
            Side::Initiator => (MessageId(1), MessageId(0)),
            Side::Responder => (MessageId(0), MessageId(1)),
        };
        let Ciphers { sealer, opener } = ciphers;
        Self {
            side,
            spis,
            sealer,
            opener,
            last_iv: 0,
            next_request,
            expected,
            kept: None,
            fragment_size,
            assembly: None,
        }
    }

    /// Whether both sides support fragmentation.
    pub(crate) fn fragments(&self) -> bool {
        self.fragment_size.is_some()
    }

    /// From now on larger messages are cut so that each datagram has at most this many octets.
    pub(crate) fn cut_at(&mut self, size: Option<u16>) {
        self.fragment_size = size;
    }

    /// The id of a new request of ours; `None` at the end of the number space.
    //= rfc7296 §2.2
    //# the IKE SA […] MUST be closed [or rekeyed] when either sequence number reaches 2^32
    pub(crate) fn take_request_id(&mut self) -> Option<MessageId> {
        let id = self.next_request;
        self.next_request = id.next()?;
        Some(id)
    }

    /// Keeps the response to the peer's last request, so that a repeated request gets the same octets.
    //= rfc7296 §2.1
    //# The responder MUST remember each response until it receives a request whose sequence number is
    //# larger than or equal to the sequence number in the response plus its window size
    pub(crate) fn keep(&mut self, datagrams: &[Vec<u8>], now: Instant) {
        self.kept = Some(Kept { datagrams: datagrams.to_vec(), since: now });
    }

    /// Forgets what is too old to be asked for again, and fragments that stay alone.
    pub(crate) fn tidy(&mut self, now: Instant) {
        if self.kept.as_ref().is_some_and(|kept| now.since(kept.since) >= limits::RESPONSE_LIFE) {
            self.kept = None;
        }
        if self.assembly.as_ref().is_some_and(|assembly| assembly.is_stale(now)) {
            self.assembly = None;
        }
    }

    /// When [`Channel::tidy`] has something to do.
    pub(crate) fn tidy_at(&self) -> Option<Instant> {
        let kept = self.kept.as_ref().map(|kept| kept.since + limits::RESPONSE_LIFE);
        let assembly = self.assembly.as_ref().map(|assembly| assembly.stale_at());
        [kept, assembly].into_iter().flatten().min()
    }

    /// Encrypts a message: one datagram, or several fragments where it is too large for one.
    pub(crate) fn seal(&mut self, cx: &mut Cx<'_>, peer: IpAddr, envelope: Envelope, chain: &Chain<'_>) -> Vec<Vec<u8>> {
        let whole = self.seal_one(cx, envelope, chain.first, None, chain.octets);
        let overhead = if peer.is_ipv4() { limits::IPV4_OVERHEAD } else { limits::IPV6_OVERHEAD };
        let room = match self.fragment_size {
            Some(size) => usize::from(size).max(limits::MIN_FRAGMENT_DATAGRAM) - overhead,
            None => return vec![whole],
        };
        if whole.len() <= room {
            return vec![whole];
        }
        let spec = self.sealer.spec();
        let fixed = wire::limits::HEADER_LEN + wire::limits::PAYLOAD_HEADER_LEN + wire::limits::FRAGMENT_HEADER_LEN;
        let data_room = (room - fixed - spec.iv_len - spec.icv_len) / spec.block * spec.block - 1;
        let pieces: Vec<&[u8]> = chain.octets.chunks(data_room).collect();
        let total = pieces.len() as u16;
        let mut datagrams = Vec::with_capacity(pieces.len());
        for (number, piece) in (1u16..).zip(pieces) {
            //= rfc7383 §2.5
            //# Next Payload […] in the very first fragment MUST be set to Payload Type of the first inner
            //# payload; in all other fragments it MUST be set to zero
            let first = if number == 1 { chain.first } else { PayloadType::NONE };
            datagrams.push(self.seal_one(cx, envelope, first, Some((number, total)), piece));
        }
        datagrams
    }

    fn seal_one(
        &mut self,
        cx: &mut Cx<'_>,
        envelope: Envelope,
        first: PayloadType,
        fragment: Option<(u16, u16)>,
        plain: &[u8],
    ) -> Vec<u8> {
        let spec = self.sealer.spec();
        let pad = (spec.block - (plain.len() + 1) % spec.block) % spec.block;
        let head = wire::limits::PAYLOAD_HEADER_LEN + if fragment.is_some() { wire::limits::FRAGMENT_HEADER_LEN } else { 0 };
        let payload = head + spec.iv_len + plain.len() + pad + 1 + spec.icv_len;
        let flags = Flags { initiator: self.side == Side::Initiator, version: false, response: envelope.response };
        let mut header =
            Header::new(self.spis.initiator, self.spis.responder, envelope.exchange, flags, envelope.id);
        header.next_payload = if fragment.is_some() { PayloadType::SKF } else { PayloadType::SK };
        header.length = (wire::limits::HEADER_LEN + payload) as u32;
        let mut out = Vec::with_capacity(header.length as usize);
        out.extend(header.emit());
        out.extend([first.0, 0]);
        out.extend((payload as u16).to_be_bytes());
        if let Some((number, total)) = fragment {
            out.extend(number.to_be_bytes());
            out.extend(total.to_be_bytes());
        }
        let iv_at = out.len();
        out.extend(self.next_iv(cx));
        out.extend(plain);
        out.resize(out.len() + pad, 0);
        out.push(pad as u8);
        out.resize(out.len() + spec.icv_len, 0);
        let (aad, rest) = out.split_at_mut(iv_at);
        let (iv, rest) = rest.split_at_mut(spec.iv_len);
        let (data, icv) = rest.split_at_mut(rest.len() - spec.icv_len);
        self.sealer.seal(iv, aad, data, &[], icv);
        out
    }

    fn next_iv(&mut self, cx: &mut Cx<'_>) -> Vec<u8> {
        let spec = self.sealer.spec();
        match spec.iv_kind {
            IvKind::None => vec![0; spec.iv_len],
            IvKind::Random => cx.random(spec.iv_len),
            IvKind::Counter => {
                self.last_iv += 1;
                let mut iv = vec![0; spec.iv_len];
                let counter = self.last_iv.to_be_bytes();
                let len = iv.len().min(counter.len());
                let at = iv.len() - len;
                iv[at..].copy_from_slice(&counter[counter.len() - len..]);
                iv
            }
        }
    }

    /// Takes a datagram in. `awaited` is the id of our request that has no response yet.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        awaited: Option<MessageId>,
        header: &Header,
        bytes: &mut [u8],
    ) -> Result<Incoming, Drop> {
        if header.spi_i != self.spis.initiator || header.spi_r != self.spis.responder {
            return Err(Drop::UnknownSpi);
        }
        if header.flags.initiator == (self.side == Side::Initiator) {
            return Err(Drop::Malformed);
        }
        let repeated = self.place(header, awaited)?;
        let octets = bytes.len();
        let Some(piece) = self.open(header, bytes)? else { return Err(Drop::Malformed) };
        if repeated {
            return self.repeat(&piece);
        }
        let message = if piece.total == 0 {
            Message {
                exchange: header.exchange,
                id: header.message_id,
                first: piece.first,
                plain: piece.plain,
                octets,
                datagrams: 1,
            }
        } else {
            match self.assemble(now, header, piece, octets)? {
                Some(message) => message,
                None => return Ok(Incoming::Piece),
            }
        };
        self.assembly = None;
        if header.flags.response {
            return Ok(Incoming::Response(Authentic(message)));
        }
        // `place` has let only the expected id through, and there is one after it.
        self.expected = self.expected.next().unwrap_or(self.expected);
        self.kept = None;
        Ok(Incoming::Request(Authentic(message)))
    }

    /// Whether the message id stands in the window; `true` for a request that was answered before.
    fn place(&self, header: &Header, awaited: Option<MessageId>) -> Result<bool, Drop> {
        let id = header.message_id;
        if header.flags.response {
            return if awaited == Some(id) { Ok(false) } else { Err(Drop::Unexpected) };
        }
        //= rfc7296 §2.2
        //# each endpoint […] MUST NOT process a request with a message ID outside of its window
        match () {
            () if id == self.expected && id.next().is_some() => Ok(false),
            () if id.next() == Some(self.expected) => Ok(true),
            () => Err(Drop::OutOfWindow),
        }
    }

    //= rfc7383 §2.6.1
    //# the responder MUST only retransmit the response when it receives a fragment with Fragment Number 1
    fn repeat(&self, piece: &Fragment) -> Result<Incoming, Drop> {
        match &self.kept {
            Some(kept) if piece.number <= 1 => Ok(Incoming::Repeated(kept.datagrams.clone())),
            _ => Err(Drop::Replay),
        }
    }

    /// Finds the SK or SKF payload, checks it and decrypts it in place; `None` when there is none.
    fn open(&self, header: &Header, bytes: &mut [u8]) -> Result<Option<Fragment>, Drop> {
        let Some(found) = find_encrypted(header, bytes)? else { return Ok(None) };
        let spec = self.opener.spec();
        let Encrypted { first, number, total, data_at } = found;
        let (aad, rest) = bytes.split_at_mut(data_at);
        let minimum = spec.iv_len + 1 + spec.icv_len;
        if rest.len() < minimum {
            return Err(Drop::Malformed);
        }
        let (iv, rest) = rest.split_at_mut(spec.iv_len);
        let (data, icv) = rest.split_at_mut(rest.len() - spec.icv_len);
        if data.len() % spec.block != 0 {
            return Err(Drop::Malformed);
        }
        self.opener.open(iv, aad, data, &[], icv).map_err(|_| Drop::BadIcv)?;
        let pad = data.last().map_or(0, |pad| usize::from(*pad));
        let Some(len) = data.len().checked_sub(pad + 1) else { return Err(Drop::Malformed) };
        Ok(Some(Fragment { first, number, total, plain: data[..len].to_vec() }))
    }

    fn assemble(
        &mut self,
        now: Instant,
        header: &Header,
        piece: Fragment,
        octets: usize,
    ) -> Result<Option<Message>, Drop> {
        let key = (header.message_id, header.flags.response, header.exchange);
        let assembly = match &mut self.assembly {
            Some(assembly) if assembly.key() == key => assembly,
            slot => slot.insert(Box::new(Assembly::new(key, piece.total, now))),
        };
        assembly.add(piece, octets)?;
        Ok(assembly.complete().map(|whole| Message {
            exchange: header.exchange,
            id: header.message_id,
            first: whole.first,
            plain: whole.plain,
            octets: whole.octets,
            datagrams: whole.datagrams,
        }))
    }
}

/// Where the encrypted payload of a datagram is.
struct Encrypted {
    first: PayloadType,
    /// 0 outside fragments.
    number: u16,
    total: u16,
    /// Where the IV begins.
    data_at: usize,
}

fn find_encrypted(header: &Header, bytes: &[u8]) -> Result<Option<Encrypted>, Drop> {
    let Some(body) = bytes.get(wire::limits::HEADER_LEN..) else { return Err(Drop::Malformed) };
    for payload in Payloads::new(header.next_payload, body, wire::limits::HEADER_LEN) {
        let payload = payload.map_err(|_| Drop::Malformed)?;
        match payload.kind {
            PayloadType::SK => {
                return Ok(Some(Encrypted { first: payload.next, number: 0, total: 0, data_at: payload.at }));
            }
            PayloadType::SKF => {
                let [n0, n1, t0, t1, ..] = *payload.body else { return Err(Drop::Malformed) };
                let (number, total) = (u16::from_be_bytes([n0, n1]), u16::from_be_bytes([t0, t1]));
                //= rfc7383 §2.5
                //# Fragment Number […] MUST be less than or equal to Total Fragments and MUST NOT be zero
                if number == 0 || number > total {
                    return Err(Drop::BadFragment);
                }
                let data_at = payload.at + wire::limits::FRAGMENT_HEADER_LEN;
                return Ok(Some(Encrypted { first: payload.next, number, total, data_at }));
            }
            _ => {}
        }
    }
    Ok(None)
}
