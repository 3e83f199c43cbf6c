//! The protected conversation with one peer: what goes into it comes out authentic at the other end.
//!
//! A datagram is noise until [`Channel::receive`] has checked its integrity; what comes out is an
//! [`Authentic<Message>`], which can be made nowhere else, and which alone can change an IKE SA.

mod receive;

use crate::contents::Contents;
use crate::fragment::Assembly;
use crate::limits;
use crate::sent::Sent;
use crate::trace::{Trace, Way};
use crate::window::{Place, Window};
use crate::{Common, Cx, Datagram, Fault};
use base::{Instant, MessageId};
use crypto::{Cipher, IvKind, Spis};
use sa::{Drop, Event, Path, Side};
use std::net::IpAddr;
use wire::allowed::Direction;
use wire::num::{ExchangeType, PayloadType};
use wire::{Flags, Frame, Header, ParseError, Payload, Room};

/// Something whose origin and integrity the IKE SA's keys vouch for. Only [`Channel::receive`] makes it.
#[derive(Debug)]
pub(crate) struct Authentic<T>(T);

impl Authentic<Message> {
    pub(crate) fn exchange(&self) -> ExchangeType {
        self.0.exchange
    }

    pub(crate) fn id(&self) -> MessageId {
        self.0.id
    }

    /// Its payloads. What is wrong with them is the peer's fault, since the message is the peer's.
    pub(crate) fn contents(&self) -> Result<Contents<'_>, Fault> {
        if let Some(flaw) = &self.0.flaw {
            return Err((*flaw).into());
        }
        let chain = wire::parse_chain(self.0.first, &self.0.plain, 0)?;
        Contents::sort(chain, self.0.exchange, self.0.direction)
    }

    /// What AUTH covers of an IKE_INTERMEDIATE message (RFC 9242 §3.3.2).
    pub(crate) fn intermediate_octets(&self) -> Vec<u8> {
        wire::intermediate_octets(&self.0.envelope, &self.0.plain)
    }
}

/// A decrypted message.
#[derive(Debug)]
pub(crate) struct Message {
    exchange: ExchangeType,
    direction: Direction,
    id: MessageId,
    /// The type of the first payload inside.
    first: PayloadType,
    /// The chain of payloads.
    plain: Vec<u8>,
    /// Of an IKE_INTERMEDIATE message: what stands before, up to the generic header of the encrypted payload.
    envelope: Vec<u8>,
    /// What is wrong with the padding; there are no payloads then.
    flaw: Option<ParseError>,
    /// Octets on the wire, all fragments together.
    octets: usize,
    /// In how many datagrams it came.
    datagrams: usize,
}

/// A message that came in whole.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A new request: it is to be answered.
    Request(Authentic<Message>),
    /// The response that is waited for.
    Response(Authentic<Message>),
    /// A fragment of the response to that request of ours, of which others are missing.
    Part(MessageId),
}

/// Keys, message ids, the last response, and the fragments of what is not complete.
pub(crate) struct Channel {
    side: Side,
    spis: Spis,
    sealer: Box<dyn Cipher>,
    opener: Box<dyn Cipher>,
    /// What opened the last request before the keys changed, for when it comes again; its id.
    former: Option<(MessageId, Box<dyn Cipher>)>,
    /// Number of the last IV of a counter mode.
    last_iv: u64,
    /// The id of our next request.
    next_request: MessageId,
    /// The peer's requests, and our responses to them.
    window: Window,
    /// The largest datagram that a message may take without being cut; `None`: it is never cut.
    fragment_size: Option<u16>,
    /// Messages whose integrity check failed.
    forged: u32,
    /// Messages that are not complete yet.
    assemblies: Vec<Assembly>,
}

/// What came of a datagram.
enum Received {
    /// A whole message.
    Whole(Incoming),
    /// A request that has its answer already: that is to be sent again.
    Repeated(MessageId),
    /// A fragment of a message of which others are missing.
    Piece,
}

/// The ciphers of both directions.
pub(crate) struct Ciphers {
    pub(crate) sealer: Box<dyn Cipher>,
    pub(crate) opener: Box<dyn Cipher>,
}

/// What stands outside of the encryption.
#[derive(Clone, Copy)]
struct Envelope<'a> {
    exchange: ExchangeType,
    id: MessageId,
    response: bool,
    /// A payload between the header and the encrypted one.
    before: Option<&'a Payload<'a>>,
}

/// A chain of payloads, or a piece of it, before it is encrypted.
#[derive(Clone, Copy)]
struct Plain<'a> {
    first: PayloadType,
    fragment: Option<wire::Fragment>,
    octets: &'a [u8],
}

/// A request of the peer that waits for its response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Where it came from: its response goes back there.
    pub(crate) path: Path,
    pub(crate) exchange: ExchangeType,
    pub(crate) id: MessageId,
}

impl Channel {
    /// The conversation after IKE_SA_INIT: the initiator's next request is number 1.
    pub(crate) fn new(side: Side, spis: Spis, ciphers: Ciphers, fragment_size: Option<u16>) -> Self {
        let first = match side {
            Side::Initiator => (MessageId(1), MessageId(0)),
            Side::Responder => (MessageId(0), MessageId(1)),
        };
        Self::with_ids(side, spis, ciphers, fragment_size, first)
    }

    /// The conversation of an IKE SA that takes the place of another.
    //= rfc7296 §2.2
    //# rekeying an IKE SA resets the sequence numbers
    pub(crate) fn rekeyed(side: Side, spis: Spis, ciphers: Ciphers, fragment_size: Option<u16>) -> Self {
        Self::with_ids(side, spis, ciphers, fragment_size, (MessageId(0), MessageId(0)))
    }

    /// `first`: the ids of our first request and of the peer's.
    fn with_ids(
        side: Side,
        spis: Spis,
        ciphers: Ciphers,
        fragment_size: Option<u16>,
        first: (MessageId, MessageId),
    ) -> Self {
        let Ciphers { sealer, opener } = ciphers;
        Self {
            side,
            spis,
            sealer,
            opener,
            former: None,
            last_iv: 0,
            next_request: first.0,
            window: Window::new(1, first.1),
            fragment_size,
            forged: 0,
            assemblies: Vec::new(),
        }
    }

    /// Goes on with other keys (RFC 9370 §2.2.2). The last request may still come again under the ones before.
    pub(crate) fn renew(&mut self, ciphers: Ciphers) {
        self.sealer = ciphers.sealer;
        let former = std::mem::replace(&mut self.opener, ciphers.opener);
        self.former = self.window.base().0.checked_sub(1).map(|last| (MessageId(last), former));
        self.last_iv = 0;
    }

    /// Whether both sides support fragmentation.
    pub(crate) fn fragments(&self) -> bool {
        self.fragment_size.is_some()
    }

    /// The largest datagram that a message may take without being cut; `None`: it is never cut.
    pub(crate) fn cut(&self) -> Option<u16> {
        self.fragment_size
    }

    /// From now on larger messages are cut so that each datagram has at most this many octets.
    pub(crate) fn cut_at(&mut self, size: Option<u16>) {
        self.fragment_size = size;
    }

    /// Whether the message ids of either direction have come to their end.
    pub(crate) fn is_spent(&self, last: MessageId) -> bool {
        self.next_request.max(self.window.base()) >= last
    }

    /// The id that our next request will have.
    pub(crate) fn next_request(&self) -> MessageId {
        self.next_request
    }

    /// So many requests of the peer may be under way at once from now on.
    pub(crate) fn widen(&mut self, size: u8) {
        self.window.widen(size);
    }

    /// The id of a new request of ours; `None` at the end of the number space.
    fn take_request_id(&mut self) -> Option<MessageId> {
        let id = self.next_request;
        self.next_request = id.next()?;
        Some(id)
    }

    /// How many messages came whose integrity check failed.
    pub(crate) fn forged(&self) -> u32 {
        self.forged
    }

    /// Sends a request; `None` when no message id is left.
    pub(crate) fn ask(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        payloads: &[Payload<'_>],
    ) -> Option<Sent> {
        let id = self.take_request_id()?;
        let envelope = Envelope { exchange, id, response: false, before: None };
        let datagrams = self.seal(cx, sa.path.remote.ip(), envelope, payloads);
        let trace = Trace::new(exchange, id, false, payloads);
        Some(Sent::new(sa, cx, id, datagrams, trace))
    }

    /// What AUTH covers of the IKE_INTERMEDIATE message of ours with that id (RFC 9242 §3.3.2).
    pub(crate) fn intermediate_octets(
        &self,
        id: MessageId,
        before: Option<&Payload<'_>>,
        payloads: &[Payload<'_>],
    ) -> Vec<u8> {
        let mut plain = Vec::new();
        let first = wire::emit_chain(payloads, &mut plain);
        let response = self.side == Side::Responder;
        let header = self.header(Envelope { exchange: ExchangeType::IKE_INTERMEDIATE, id, response, before });
        let mut frame = Frame::new(&header, None, first, &[], Room::NONE);
        if let Some(payload) = before {
            frame = frame.preceded_by(payload);
        }
        wire::intermediate_octets(frame.bytes.get(frame.aad).unwrap_or_default(), &plain)
    }

    fn header(&self, envelope: Envelope<'_>) -> Header {
        let Envelope { exchange, id, response, .. } = envelope;
        let flags = Flags { initiator: self.side == Side::Initiator, version: false, response };
        Header::new(self.spis.initiator, self.spis.responder, exchange, flags, id)
    }

    /// Sends the first protected request with a payload before the encrypted one.
    //= rfc8019 §7.2.2
    //# The PS payload MUST be placed outside the Encrypted payload […] If IKE fragmentation [RFC7383] is used in the
    //# IKE_AUTH exchange, then the PS payload MUST be present only in the first IKE Fragment message
    pub(crate) fn ask_after(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        (before, payloads): (&Payload<'_>, &[Payload<'_>]),
    ) -> Option<Sent> {
        let id = self.take_request_id()?;
        let envelope = Envelope { exchange, id, response: false, before: Some(before) };
        let datagrams = self.seal(cx, sa.path.remote.ip(), envelope, payloads);
        let shown: Vec<_> = std::iter::once(before).chain(payloads).cloned().collect();
        let trace = Trace::new(exchange, id, false, &shown);
        Some(Sent::new(sa, cx, id, datagrams, trace))
    }

    /// Sends the response to a request that came by `path`, and keeps it: a repeated request gets the same octets.
    //= rfc7296 §2.11
    //# an implementation MUST respond from the address and port at which the request was received, to the
    //# address and port from which it came
    pub(crate) fn respond(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        to: Request,
        payloads: &[Payload<'_>],
    ) {
        let Request { path, exchange, id } = to;
        let envelope = Envelope { exchange, id, response: true, before: None };
        let datagrams = self.seal(cx, path.remote.ip(), envelope, payloads);
        let trace = Trace::new(exchange, id, true, payloads);
        self.window.answer(id, datagrams, trace, cx.now.mono);
        self.transmit_kept(sa, cx, path, id);
    }

    fn transmit_kept(&mut self, sa: &mut Common, cx: &mut Cx<'_>, path: Path, id: MessageId) {
        let Some(kept) = self.window.kept(id) else { return };
        let trace = kept.trace.message(sa, Way::out(&kept.datagrams, kept.sent));
        kept.sent += 1;
        cx.out.tell(Event::Message(sa::MessageTrace { path, ..trace }));
        for datagram in &kept.datagrams {
            cx.out.transmit(path, datagram.clone());
        }
        sa.spoke = cx.now.mono;
    }

    /// Whether a response is kept.
    pub(crate) fn has_response(&self) -> bool {
        self.window.has_response()
    }

    /// After the end: only a request that was answered is answered once more.
    pub(crate) fn take_repeated(&mut self, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) {
        let Datagram { path, header, bytes } = datagram;
        let before = !header.flags.response && self.window.place(header.message_id) == Place::Repeated;
        let received = if before {
            self.receive(cx.now.mono, &|_| false, &header, bytes)
        } else {
            Err(Drop::Unexpected)
        };
        match received {
            Ok(Received::Repeated(id)) => self.transmit_kept(sa, cx, path, id),
            Ok(_) => {}
            Err(why) => cx.out.tell(Event::Dropped { path, why }),
        }
    }

    /// Takes a datagram in: `None` when it is noise, a fragment of a request, or a request that has its answer.
    /// `awaits` tells whether a request of ours has no response yet.
    pub(crate) fn take(
        &mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        awaits: impl Fn(MessageId) -> bool,
        datagram: Datagram<'_>,
    ) -> Option<Incoming> {
        let Datagram { path, header, bytes } = datagram;
        match self.receive(cx.now.mono, &awaits, &header, bytes) {
            Err(why) => {
                self.forged = self.forged.saturating_add(u32::from(why == Drop::BadIcv));
                cx.out.tell(Event::Dropped { path, why });
                None
            }
            Ok(Received::Piece) => {
                sa.heard = cx.now.mono;
                header.flags.response.then_some(Incoming::Part(header.message_id))
            }
            Ok(Received::Repeated(id)) => {
                self.transmit_kept(sa, cx, path, id);
                None
            }
            Ok(Received::Whole(incoming)) => {
                let (Incoming::Request(Authentic(message)) | Incoming::Response(Authentic(message))) =
                    &incoming
                else {
                    return None;
                };
                let chain = wire::parse_chain(message.first, &message.plain, 0).unwrap_or_default();
                let trace = Trace::new(message.exchange, message.id, header.flags.response, &chain);
                let trace = trace.message(sa, Way::inward(message.octets, message.datagrams));
                cx.out.tell(Event::Message(sa::MessageTrace { path, ..trace }));
                sa.heard = cx.now.mono;
                Some(incoming)
            }
        }
    }

    /// Forgets what is too old to be asked for again, and fragments that stay alone.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.window.tidy(now);
        self.assemblies.retain(|assembly| !assembly.is_stale(now));
    }

    /// When [`Channel::tidy`] has something to do.
    pub(crate) fn tidy_at(&self) -> Option<Instant> {
        let assemblies = self.assemblies.iter().map(Assembly::stale_at);
        self.window.tidy_at().into_iter().chain(assemblies).min()
    }

    /// Encrypts a message: one datagram, or several fragments where it is too large for one.
    fn seal(
        &mut self,
        cx: &mut Cx<'_>,
        peer: IpAddr,
        envelope: Envelope<'_>,
        payloads: &[Payload<'_>],
    ) -> Vec<Vec<u8>> {
        let mut plain = Vec::new();
        let first_inside = wire::emit_chain(payloads, &mut plain);
        let whole =
            self.seal_one(cx, envelope, Plain { first: first_inside, fragment: None, octets: &plain });
        let overhead = if peer.is_ipv4() { limits::IPV4_OVERHEAD } else { limits::IPV6_OVERHEAD };
        let room = match self.fragment_size {
            Some(size) => usize::from(size).max(limits::MIN_FRAGMENT_DATAGRAM) - overhead,
            None => return vec![whole],
        };
        if whole.len() <= room {
            return vec![whole];
        }
        let mut clear = Vec::new();
        wire::emit_chain(envelope.before.map_or(&[], std::slice::from_ref), &mut clear);
        let data_room = self.room().capacity(room.saturating_sub(clear.len()), true).max(1);
        let pieces: Vec<&[u8]> = plain.chunks(data_room).collect();
        let total = pieces.len() as u16;
        let mut datagrams = Vec::with_capacity(pieces.len());
        for (number, piece) in (1u16..).zip(pieces) {
            //= rfc7383 §2.5
            //# Next Payload […] in the very first fragment MUST be set to Payload Type of the first inner
            //# payload; in all other fragments it MUST be set to zero
            let first = if number == 1 { first_inside } else { PayloadType::NONE };
            let fragment = Some(wire::Fragment { number, total });
            datagrams.push(self.seal_one(cx, envelope, Plain { first, fragment, octets: piece }));
        }
        datagrams
    }

    fn seal_one(&mut self, cx: &mut Cx<'_>, envelope: Envelope<'_>, piece: Plain<'_>) -> Vec<u8> {
        let Plain { first, fragment, octets } = piece;
        let header = self.header(envelope);
        let mut frame = Frame::new(&header, fragment, first, octets, self.room());
        if let Some(payload) =
            envelope.before.filter(|_| fragment.is_none_or(|fragment| fragment.number == 1))
        {
            frame = frame.preceded_by(payload);
        }
        let iv = self.next_iv(cx);
        let (aad, rest) = frame.bytes.split_at_mut(frame.iv.start);
        let (iv_place, rest) = rest.split_at_mut(frame.iv.len());
        let (data, icv) = rest.split_at_mut(frame.plaintext.len());
        iv_place.copy_from_slice(&iv);
        self.sealer.seal(&iv, aad, data, &[], icv);
        frame.bytes
    }

    fn room(&self) -> Room {
        let spec = self.sealer.spec();
        Room { iv: spec.iv_len, block: spec.block, icv: spec.icv_len }
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
}

/// Whether a message is a request or a response.
pub(crate) fn direction(header: &Header) -> Direction {
    if header.flags.response { Direction::Response } else { Direction::Request }
}
