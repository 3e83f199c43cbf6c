//! Session resumption (RFC 5723): tickets are asked for and given. What becomes of them is in `crate::resume`.

use super::{Agreed, Extension, Facts, Moment};
use crate::contents::Contents;
use crate::limits;
use std::time::Duration;
use wire::num::NotifyType;
use wire::{Notify, Payload};

pub(crate) struct SessionResumption;

/// What a gateway says to whoever asks for a ticket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TicketAnswer {
    /// A ticket, and how long it serves.
    Granted { ticket: Vec<u8>, lifetime: Duration },
    /// Not now.
    Later,
    /// None.
    Refused,
}

impl Extension for SessionResumption {
    //= rfc5723 §4.2
    //# When a multi-round-trip IKE_AUTH exchange is used, the N(TICKET_REQUEST) payload MUST be included in the first IKE_AUTH
    //# request
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
        if moment == Moment::AuthRequest && facts.connection.extensions.resumption {
            out.push(request());
        }
    }

    fn inspect(&self, moment: Moment, _: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
        match moment {
            Moment::AuthRequest | Moment::Told => {
                agreed.ticket_wanted = contents.has(NotifyType::TICKET_REQUEST);
            }
            Moment::AuthResponse | Moment::Heard => agreed.ticket = answer(contents),
            Moment::InitRequest
            | Moment::InitResponse
            | Moment::Intermediate
            | Moment::FirstAuthResponse
            | Moment::Renewed => {}
        }
    }

    //= rfc5723 §6.2
    //# When the IKE SA is rekeyed, the ticket is invalidated
    fn renew(&self, agreed: &mut Agreed) {
        (agreed.ticket_wanted, agreed.ticket) = (false, None);
    }
}

/// TICKET_REQUEST
//= rfc5723 §7
//# For all these notifications, the Protocol ID and the SPI Size fields MUST both be sent as 0.
pub(crate) fn request() -> Payload<'static> {
    Payload::Notify(Notify::new(NotifyType::TICKET_REQUEST, Vec::new()))
}

/// Whether a message asks for a ticket.
pub(crate) fn asks(contents: &Contents<'_>) -> bool {
    contents.has(NotifyType::TICKET_REQUEST)
}

impl TicketAnswer {
    /// As a notification.
    //= rfc5723 §7.1
    //# The four octet Lifetime field contains a relative time value, the number of seconds until the ticket expires (encoded as
    //# an unsigned integer, in network byte order).
    pub(crate) fn emit(&self) -> Payload<'static> {
        let (kind, data) = match self {
            Self::Granted { ticket, lifetime } => {
                let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
                (NotifyType::TICKET_LT_OPAQUE, [&seconds.to_be_bytes(), &ticket[..]].concat())
            }
            Self::Later => (NotifyType::TICKET_ACK, Vec::new()),
            Self::Refused => (NotifyType::TICKET_NACK, Vec::new()),
        };
        Payload::Notify(Notify::new(kind, data))
    }
}

/// What a message says to our request for a ticket. One that is worth nothing is as good as none.
fn answer(contents: &Contents<'_>) -> Option<TicketAnswer> {
    if let Some(notify) = contents.notify(NotifyType::TICKET_LT_OPAQUE) {
        let (seconds, ticket) = notify.data.split_first_chunk::<4>()?;
        let lifetime = Duration::from_secs(u32::from_be_bytes(*seconds).into());
        let fits = limits::FOREIGN_TICKET.contains(&ticket.len()) && !lifetime.is_zero();
        return fits.then(|| TicketAnswer::Granted { ticket: ticket.to_vec(), lifetime });
    }
    let later = contents.has(NotifyType::TICKET_ACK).then_some(TicketAnswer::Later);
    later.or_else(|| contents.has(NotifyType::TICKET_NACK).then_some(TicketAnswer::Refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(notify: Notify<'static>) -> Option<TicketAnswer> {
        answer(&Contents { notifies: vec![notify], ..Contents::default() })
    }

    //= rfc5723 §7
    //= rfc5723 §7.1
    #[test]
    fn what_is_said_is_understood() {
        let granted =
            TicketAnswer::Granted { ticket: vec![1, 2, 3], lifetime: Duration::from_secs(0x01020304) };
        for said in [granted.clone(), TicketAnswer::Later, TicketAnswer::Refused] {
            let Payload::Notify(notify) = said.emit() else { panic!("no notification") };
            assert_eq!((notify.protocol.0, notify.spi.len()), (0, 0));
            assert_eq!(told(notify), Some(said));
        }
        let Payload::Notify(notify) = granted.emit() else { panic!("no notification") };
        assert_eq!((notify.kind.0, &notify.data[..]), (16409, &[1, 2, 3, 4, 1, 2, 3][..]));
        let Payload::Notify(notify) = request() else { panic!("no notification") };
        assert_eq!((notify.kind.0, notify.protocol.0, notify.spi.len(), notify.data.len()), (16410, 0, 0, 0));
    }

    #[test]
    fn a_ticket_that_is_too_large_or_serves_for_no_time_is_none() {
        let notify = |seconds: u32, len: usize| {
            Notify::new(NotifyType::TICKET_LT_OPAQUE, [&seconds.to_be_bytes()[..], &vec![7; len]].concat())
        };
        let most = *limits::FOREIGN_TICKET.end();
        assert!(told(notify(1, most)).is_some());
        for odd in [notify(1, most + 1), notify(0, 10), notify(1, 0)] {
            assert_eq!(told(odd), None);
        }
        assert_eq!(told(Notify::new(NotifyType::TICKET_LT_OPAQUE, vec![0, 0, 1])), None);
    }
}
