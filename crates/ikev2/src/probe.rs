//! A sign of life (RFC 7296 §2.4).
//!
//! ```text
//!   initiator                     responder
//!   INFORMATIONAL  SK{} -->
//!                     <--  SK{}
//! ```

use crate::established::{Asked, Asking, Established};
use crate::sent::Sent;
use crate::{Common, Cx};
use sa::{OrderId, Reply};
use wire::num::ExchangeType;

/// Asks.
pub(crate) fn begin(
    of: &mut Established,
    sa: &mut Common,
    cx: &mut Cx<'_>,
    order: Option<OrderId>,
) -> Option<Asking> {
    let request = of.channel.ask(sa, cx, ExchangeType::INFORMATIONAL, &[])?;
    Some(Asking { request, what: Asked::Probe(order) })
}

/// The peer lives.
pub(crate) fn on_response(cx: &mut Cx<'_>, order: Option<OrderId>, request: &Sent) {
    if let Some(order) = order {
        cx.out.reply(order, Reply::Alive { round_trip: request.round_trip(cx.now.mono) });
    }
}
