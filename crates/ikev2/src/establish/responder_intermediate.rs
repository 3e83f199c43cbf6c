//! IKE_INTERMEDIATE as responder (RFC 9242), for the additional key exchanges that were agreed on (RFC 9370 §2.2.2). The
//! initiator's side draws the exchange.

use super::Secrets;
use crate::channel::{Authentic, Message, Request};
use crate::fault::Fault;
use crate::followup::peer_value;
use crate::{Common, Cx};
use sa::Branch;
use wire::{KeyExchange, Payload};

/// Answers the next additional key exchange, and goes over to the keys that come of it.
//= rfc9242 §5
//# Specifications utilizing the Intermediate Exchange MUST NOT allow an unlimited number of these exchanges to take place at
//# the initiator's discretion.
pub(super) fn answer(
    sa: &mut Common,
    cx: &mut Cx<'_>,
    secrets: &mut Secrets,
    to: Request,
    message: &Authentic<Message>,
) -> Result<(), Fault> {
    let contents = message.contents()?;
    let wrong = |section, what: String| Fault::syntax(section, what);
    let method = secrets.next_round().ok_or_else(|| {
        wrong("RFC 9242 §3.2", "nobody has agreed on this IKE_INTERMEDIATE exchange".to_string())
    })?;
    let peer = peer_value(&contents, method).map_err(|what| wrong("RFC 9370 §2.2.2", what))?;
    let exchange = cx.suite.key_exchange(method);
    let exchange = exchange
        .ok_or_else(|| wrong("RFC 9370 §2.2.2", format!("this build has no key exchange {method}")))?;
    let (public, shared) = exchange.respond(cx.rng, peer).map_err(|error| {
        wrong("RFC 9370 §2.2.2", format!("the value for key exchange {method} is not valid: {error}"))
    })?;
    let payloads = [Payload::Ke(KeyExchange { method, data: public.into() })];
    let ours = secrets.channel.intermediate_octets(to.id, None, &payloads);
    secrets.channel.respond(sa, cx, to, &payloads);
    secrets.cover(cx, &message.intermediate_octets(), &ours);
    cx.reach(Branch::IntermediateAnswered);
    secrets.mix(cx, &shared).map_err(|error| wrong("RFC 9370 §2.2.2", error.to_string()))
}
