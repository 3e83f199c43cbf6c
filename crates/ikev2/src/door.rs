//! Messages outside any IKE SA: strangers that knock, and what is said to messages that nobody waits for.

use crate::ike_sa::IkeSa;
use crate::{Cx, establish};
use sa::{CookieJar, Drop, Event, HalfOpen, IkeSaId, Path, RateLimit};
use wire::num::{ExchangeType, NotifyType};
use wire::{Flags, Header, Message, Notify, Payload};

/// What an endpoint keeps of strangers: counts and secrets, nothing of theirs.
pub struct Door {
    /// How many IKE SAs are half open.
    pub half_open: HalfOpen,
    pub(crate) cookies: CookieJar,
    answers: RateLimit,
}

/// A message that belongs to no IKE SA, its header parsed.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Where it came from and where to.
    pub path: Path,
    /// Its header.
    pub header: Header,
    /// All of it.
    pub bytes: &'a [u8],
}

impl Default for Door {
    fn default() -> Self {
        let answers = RateLimit::new(sa::limits::UNPROTECTED_ANSWERS_PER_SECOND);
        Self { half_open: HalfOpen::default(), cookies: CookieJar::default(), answers }
    }
}

impl Door {
    /// A message whose SPIs name no IKE SA. A first IKE_SA_INIT request may become one, called `id`.
    pub fn knock(&mut self, cx: &mut Cx<'_>, id: IkeSaId, arrival: Arrival<'_>) -> Option<IkeSa> {
        let Arrival { path, header, .. } = arrival;
        //= rfc7296 §3.1
        //# The initiator's SPI MUST NOT be zero.
        if header.spi_i.0 == 0 {
            cx.out.tell(Event::Dropped { path, why: Drop::Malformed });
            return None;
        }
        let first = header.exchange == ExchangeType::IKE_SA_INIT
            && !header.flags.response
            && header.flags.initiator
            && header.spi_r.0 == 0
            && header.message_id.0 == 0;
        if first {
            return establish::knock(cx, self, id, arrival);
        }
        cx.out.tell(Event::Dropped { path, why: Drop::UnknownSpi });
        //= rfc7296 §2.21.4
        //# If the message is marked as a response, the node can audit the suspicious event but MUST NOT
        //# respond. If the message is marked as a request, the node MAY send a response. The response MUST be
        //# sent to the IP address and port from where it came with the same IKE SPIs and the Message ID copied.
        //# The response MUST NOT be cryptographically protected and MUST contain an INVALID_IKE_SPI Notify payload.
        if !header.flags.response && header.spi_r.0 != 0 {
            self.answer(cx, path, &header, Notify::new(NotifyType::INVALID_IKE_SPI, Vec::new()));
        }
        None
    }

    /// A message of a higher major version. The header of the answer tells ours (RFC 7296 §3.10.1).
    //= rfc7296 §2.5
    //# If an endpoint receives a message with a higher major version number, it MUST drop the message and
    //# SHOULD send an unauthenticated Notify message of type INVALID_MAJOR_VERSION containing the highest
    //# version number it supports.
    pub fn wrong_version(&mut self, cx: &mut Cx<'_>, path: Path, header: &Header) {
        cx.out.tell(Event::Dropped { path, why: Drop::Version });
        if header.major > 2 && !header.flags.response {
            self.answer(cx, path, header, Notify::new(NotifyType::INVALID_MAJOR_VERSION, Vec::new()));
        }
    }

    /// Whether one more unprotected message may be answered that no cookie and no place at the door limits.
    pub(crate) fn may_answer(&mut self, cx: &Cx<'_>) -> bool {
        self.answers.allows(cx.now.mono)
    }

    fn answer(&mut self, cx: &mut Cx<'_>, path: Path, to: &Header, notify: Notify<'_>) {
        if !self.may_answer(cx) {
            return;
        }
        let flags = Flags { initiator: !to.flags.initiator, version: false, response: true };
        let header = Header::new(to.spi_i, to.spi_r, to.exchange, flags, to.message_id);
        let payloads = vec![Payload::Notify(notify)];
        cx.out.transmit(path, Message { header, payloads }.emit());
    }
}
