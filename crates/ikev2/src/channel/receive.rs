//! What comes in: its place in the window, its integrity, and the fragments until they are whole.

use super::{Authentic, Channel, Incoming, Message, Received, direction};
use crate::fragment::{Assembly, Fragment};
use crate::limits;
use crate::window::Place;
use base::{Instant, MessageId};
use sa::{Drop, Side};
use wire::num::ExchangeType;
use wire::{Header, ParseError, Sealed};

impl Channel {
    pub(super) fn receive(
        &mut self,
        now: Instant,
        awaits: &dyn Fn(MessageId) -> bool,
        header: &Header,
        bytes: &mut [u8],
    ) -> Result<Received, Drop> {
        if header.spi_i != self.spis.initiator || header.spi_r != self.spis.responder {
            return Err(Drop::UnknownSpi);
        }
        if header.flags.initiator == (self.side == Side::Initiator) {
            return Err(Drop::Malformed);
        }
        let repeated = self.place(header, awaits)?;
        let octets = bytes.len();
        let (piece, flaw) = self.open(header, bytes)?;
        //= rfc7383 §2.3
        //# fragmentation is used only when both peers support it
        if piece.total != 0 && !self.fragments() {
            return Err(Drop::BadFragment);
        }
        if repeated {
            return self.repeat(header.message_id, &piece);
        }
        let message = if piece.total == 0 {
            Message {
                exchange: header.exchange,
                direction: direction(header),
                id: header.message_id,
                first: piece.first,
                plain: piece.plain,
                envelope: piece.envelope,
                flaw,
                octets,
                datagrams: 1,
            }
        } else {
            match self.assemble(now, header, piece, octets)? {
                Some(message) => message,
                None => return Ok(Received::Piece),
            }
        };
        let key = assembly_key(header);
        self.assemblies.retain(|assembly| (assembly.key().0, assembly.key().1) != (key.0, key.1));
        if header.flags.response {
            return Ok(Received::Whole(Incoming::Response(Authentic(message))));
        }
        self.window.enter(header.message_id);
        self.former = None;
        Ok(Received::Whole(Incoming::Request(Authentic(message))))
    }

    /// Whether the message id stands in the window; `true` for a request that was answered before.
    fn place(&self, header: &Header, awaits: &dyn Fn(MessageId) -> bool) -> Result<bool, Drop> {
        let id = header.message_id;
        if header.flags.response {
            return if awaits(id) { Ok(false) } else { Err(Drop::Unexpected) };
        }
        //= rfc7296 §2.2
        //# each endpoint […] MUST NOT process a request with a message ID outside of its window
        match self.window.place(id) {
            Place::New => Ok(false),
            Place::Repeated => Ok(true),
            Place::Outside => Err(Drop::OutOfWindow),
        }
    }

    //= rfc7383 §2.6.1
    //# the responder MUST only retransmit the response when it receives a fragment with Fragment Number 1
    fn repeat(&mut self, id: MessageId, piece: &Fragment) -> Result<Received, Drop> {
        match self.window.kept(id) {
            Some(_) if piece.number <= 1 => Ok(Received::Repeated(id)),
            _ => Err(Drop::Replay),
        }
    }

    /// Finds the SK or SKF payload, checks it and decrypts it in place.
    fn open(&self, header: &Header, bytes: &mut [u8]) -> Result<(Fragment, Option<ParseError>), Drop> {
        let sealed = Sealed::locate(bytes).map_err(|_| Drop::Malformed)?.ok_or(Drop::NotAllowed)?;
        let opener = match &self.former {
            Some((id, former)) if *id == header.message_id && !header.flags.response => former,
            _ => &self.opener,
        };
        let spec = opener.spec();
        let (aad, rest) = bytes.split_at_mut(sealed.body.start);
        if rest.len() < spec.iv_len + 1 + spec.icv_len {
            return Err(Drop::Malformed);
        }
        let (iv, rest) = rest.split_at_mut(spec.iv_len);
        let (data, icv) = rest.split_at_mut(rest.len() - spec.icv_len);
        if data.len() % spec.block.max(1) != 0 {
            return Err(Drop::Malformed);
        }
        opener.open(iv, aad, data, &[], icv).map_err(|_| Drop::BadIcv)?;
        //= rfc7296 §2.21.3
        //# the message was cryptographically protected: what is wrong inside is the peer's fault, and it is told
        let (plain, flaw) = match wire::strip_padding(data) {
            Ok(plain) => (plain.to_vec(), None),
            Err(_) if sealed.fragment.is_some() => return Err(Drop::Malformed),
            Err(flaw) => (Vec::new(), Some(flaw)),
        };
        let (first, plain) = match sealed.critical {
            // It is authenticated as what stands inside is, and is judged with it.
            Some(kind) if sealed.fragment.is_none_or(|fragment| fragment.number == 1) => {
                (kind, [&[sealed.first.0, 0x80, 0, 4], &plain[..]].concat())
            }
            _ => (sealed.first, plain),
        };
        let (number, total) = sealed.fragment.map_or((0, 0), |fragment| (fragment.number, fragment.total));
        let envelope = match header.exchange {
            ExchangeType::IKE_INTERMEDIATE if number <= 1 => sealed.envelope(bytes).to_vec(),
            _ => Vec::new(),
        };
        Ok((Fragment { first, number, total, plain, envelope }, flaw))
    }

    /// No more messages are put together at once than may be under way in their direction; an earlier one of the same
    /// id goes too.
    fn make_room_for_assembly(&mut self, header: &Header) {
        let (id, response, _) = assembly_key(header);
        self.assemblies.retain(|assembly| (assembly.key().0, assembly.key().1) != (id, response));
        let most = if response { limits::MAX_WINDOW as usize } else { self.window.size() };
        let alike = |assembly: &Assembly| assembly.key().1 == response;
        if self.assemblies.iter().filter(|assembly| alike(assembly)).count() >= most
            && let Some(oldest) = self.assemblies.iter().position(alike)
        {
            self.assemblies.remove(oldest);
        }
    }

    fn assemble(
        &mut self,
        now: Instant,
        header: &Header,
        piece: Fragment,
        octets: usize,
    ) -> Result<Option<Message>, Drop> {
        let key = assembly_key(header);
        let index = match self.assemblies.iter().position(|assembly| assembly.key() == key) {
            Some(index) => index,
            None => {
                self.make_room_for_assembly(header);
                self.assemblies.push(Assembly::new(key, piece.total, now));
                self.assemblies.len() - 1
            }
        };
        let Some(assembly) = self.assemblies.get_mut(index) else { return Ok(None) };
        assembly.add(piece, octets)?;
        assembly.touch(now);
        Ok(assembly.complete().map(|whole| Message {
            exchange: header.exchange,
            direction: direction(header),
            id: header.message_id,
            first: whole.first,
            plain: whole.plain,
            envelope: whole.envelope,
            flaw: None,
            octets: whole.octets,
            datagrams: whole.datagrams,
        }))
    }
}

/// Names a message that comes in fragments.
fn assembly_key(header: &Header) -> (MessageId, bool, ExchangeType) {
    (header.message_id, header.flags.response, header.exchange)
}
