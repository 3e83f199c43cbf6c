//! First messages, of IKE_SA_INIT and IKE_SESSION_RESUME, which nothing protects: what is read here is noise until IKE_AUTH vouches for it.

use crate::channel;
use crate::contents::Contents;
use crate::trace::{Trace, Way};
use crate::{Common, Cx, Datagram, limits};
use base::MessageId;
use crypto::Spis;
use sa::{Drop, Event, Path, Side};
use wire::num::{ExchangeType, PayloadType};
use wire::{Flags, Header, Message, Payload};

/// The datagram of a first message.
pub(crate) fn emit(exchange: ExchangeType, spis: Spis, sender: Side, payloads: Vec<Payload<'_>>) -> Vec<u8> {
    let initiator = sender == Side::Initiator;
    let flags = Flags { initiator, version: false, response: !initiator };
    let header = Header::new(spis.initiator, spis.responder, exchange, flags, MessageId(0));
    Message { header, payloads }.emit()
}

/// The payloads of an unprotected message; an error is noise, whatever it is.
pub(crate) fn contents(bytes: &[u8]) -> Result<Contents<'_>, Drop> {
    if bytes.len() > limits::MAX_INIT {
        return Err(Drop::TooLarge);
    }
    let message = Message::parse(bytes).map_err(|_| Drop::Malformed)?;
    let (exchange, direction) = (message.header.exchange, channel::direction(&message.header));
    Contents::sort(message.payloads, exchange, direction).map_err(|_| Drop::Malformed)
}

/// The unknown critical payload of a well-formed message, for which its sender wants a notification.
pub(crate) fn unknown_critical(bytes: &[u8]) -> Option<PayloadType> {
    let message = Message::parse(bytes).ok()?;
    message.payloads.iter().find(|payload| payload.is_unsupported_critical()).map(Payload::kind)
}

/// Tells the ladder of a first message that was accepted.
pub(crate) fn accepted(sa: &Common, cx: &mut Cx<'_>, path: Path, bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    let trace =
        Trace::new(message.header.exchange, MessageId(0), message.header.flags.response, &message.payloads);
    let trace = trace.message(sa, Way::inward(bytes.len(), 1));
    cx.out.tell(Event::Message(sa::MessageTrace { path, ..trace }));
}

/// Whether a datagram is the response to our first request by its header.
pub(crate) fn is_response(datagram: &Datagram<'_>, exchange: ExchangeType) -> bool {
    let header = &datagram.header;
    header.exchange == exchange
        && header.message_id == MessageId(0)
        && header.flags.response
        && !header.flags.initiator
}
