//! Messages as the ladder shows them.

use crate::Common;
use base::MessageId;
use sa::MessageTrace;
use std::fmt::Write;
use wire::Payload;
use wire::num::ExchangeType;

/// A message's exchange, direction, id and payloads, for people.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) exchange: ExchangeType,
    pub(crate) id: MessageId,
    pub(crate) response: bool,
    pub(crate) payloads: String,
}

/// How a message travelled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) sent: bool,
    /// How often it had been sent before.
    pub(crate) resent: u32,
    pub(crate) octets: usize,
    pub(crate) datagrams: usize,
}

impl Way {
    pub(crate) fn out(datagrams: &[Vec<u8>], resent: u32) -> Self {
        let octets = datagrams.iter().map(Vec::len).sum();
        Self { sent: true, resent, octets, datagrams: datagrams.len() }
    }

    pub(crate) fn inward(octets: usize, datagrams: usize) -> Self {
        Self { sent: false, resent: 0, octets, datagrams }
    }
}

impl Trace {
    pub(crate) fn new(
        exchange: ExchangeType,
        id: MessageId,
        response: bool,
        payloads: &[Payload<'_>],
    ) -> Self {
        Self { exchange, id, response, payloads: names(payloads) }
    }

    pub(crate) fn message(&self, sa: &Common, way: Way) -> MessageTrace {
        let Way { sent, resent, octets, datagrams } = way;
        MessageTrace {
            ike: sa.id,
            sent,
            resent,
            path: sa.path,
            exchange: self.exchange.to_string(),
            response: self.response,
            message_id: self.id,
            octets,
            datagrams,
            payloads: self.payloads.clone(),
        }
    }
}

/// `SA KE No N(COOKIE)`
fn names(payloads: &[Payload<'_>]) -> String {
    let mut out = String::with_capacity(payloads.len() * 8);
    for payload in payloads {
        if !out.is_empty() {
            out.push(' ');
        }
        // Writing into a string cannot fail.
        let _ = match payload {
            Payload::Notify(notify) => write!(out, "N({})", notify.kind),
            other => write!(out, "{}", other.kind()),
        };
    }
    out
}
