//! Messages outside any IKE SA: strangers that knock, and what is said to messages that nobody waits for.

use crate::ike_sa::IkeSa;
use crate::{Cx, establish, ext, limits};
use base::Instant;
use crypto::Spis;
use sa::{CookieJar, Drop, Event, HalfOpen, IkeSaId, Path, Place, Pressure, RateLimit, SourceRates};
use wire::num::{ExchangeType, NotifyType, PayloadType};
use wire::{Flags, Header, Message, Notify, Payload};

/// What an endpoint keeps of strangers: counts and secrets, nothing of theirs.
pub struct Door {
    /// How many IKE SAs are half open.
    pub half_open: HalfOpen,
    pub(crate) cookies: CookieJar,
    answers: SourceRates,
    /// Refusals to senders who may be anybody.
    pub(crate) refusals: RateLimit,
    /// What people were told of last, and when.
    told: (Pressure, Instant),
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
        use sa::limits::{
            UNPROTECTED_ANSWERS_PER_SECOND, UNPROTECTED_ANSWERS_PER_SOURCE, UNPROVEN_REFUSALS_PER_SECOND,
        };
        Self {
            half_open: HalfOpen::default(),
            cookies: CookieJar::default(),
            answers: SourceRates::new(UNPROTECTED_ANSWERS_PER_SECOND, UNPROTECTED_ANSWERS_PER_SOURCE),
            refusals: RateLimit::new(UNPROVEN_REFUSALS_PER_SECOND),
            told: (Pressure::Calm, Instant::default()),
        }
    }
}

impl Door {
    /// A message whose SPIs name no IKE SA. A first request may become one, called `id`, which takes up
    /// that place.
    pub fn knock(&mut self, cx: &mut Cx<'_>, id: IkeSaId, arrival: Arrival<'_>) -> Option<(IkeSa, Place)> {
        let Arrival { path, header, bytes } = arrival;
        //= rfc7296 §3.1
        //# The initiator's SPI MUST NOT be zero.
        if header.spi_i.0 == 0 {
            cx.out.tell(Event::Dropped { path, why: Drop::Malformed });
            return None;
        }
        //= rfc5723 §4.3.2
        //# Where not specified otherwise, the IKE_SESSION_RESUME exchange behaves exactly like the IKE_SA_INIT exchange.
        let begins = matches!(header.exchange, ExchangeType::IKE_SA_INIT | ExchangeType::IKE_SESSION_RESUME);
        let first = begins
            && !header.flags.response
            && header.flags.initiator
            && header.spi_r.0 == 0
            && header.message_id.0 == 0;
        if first {
            let opened = establish::knock(cx, self, id, arrival);
            if let Some((_, place)) = &opened {
                self.half_open.enter(*place);
                cx.directory.knock(place.source);
            }
            self.tell_pressure(cx);
            return opened;
        }
        cx.out.tell(Event::Dropped { path, why: Drop::UnknownSpi });
        //= rfc7296 §2.21.4
        //# If the message is marked as a response, the node can audit the suspicious event but MUST NOT
        //# respond. If the message is marked as a request, the node MAY send a response. The response MUST be
        //# sent to the IP address and port from where it came with the same IKE SPIs and the Message ID copied.
        //# The response MUST NOT be cryptographically protected and MUST contain an INVALID_IKE_SPI Notify payload.
        if !header.flags.response && header.spi_r.0 != 0 {
            let asked = (&header, bytes.len());
            let forgotten = Notify::new(NotifyType::INVALID_IKE_SPI, Vec::new());
            let notifies = [forgotten].into_iter().chain(forgotten_token(cx, &header)).collect();
            self.answer(cx, path, asked, notifies);
        }
        None
    }

    /// A message of a higher major version. The header of the answer tells ours (RFC 7296 §3.10.1).
    //= rfc7296 §2.5
    //# If an endpoint receives a message with a higher major version number, it MUST drop the message and
    //# SHOULD send an unauthenticated Notify message of type INVALID_MAJOR_VERSION containing the highest
    //# version number it supports.
    pub fn wrong_version(&mut self, cx: &mut Cx<'_>, arrival: Arrival<'_>) {
        let Arrival { path, header, bytes } = arrival;
        cx.out.tell(Event::Dropped { path, why: Drop::Version });
        if header.major > 2 && !header.flags.response {
            let asked = (&header, bytes.len());
            self.answer(cx, path, asked, vec![Notify::new(NotifyType::INVALID_MAJOR_VERSION, Vec::new())]);
        }
    }

    /// Whether one more unprotected message of that sender may be answered, which no cookie and no place at the door
    /// limits.
    pub(crate) fn may_answer(&mut self, cx: &mut Cx<'_>, path: Path) -> bool {
        self.answers.allows(path.remote.ip(), cx.now.mono, cx.rng)
    }

    /// Tells people what strangers meet, when that has changed.
    fn tell_pressure(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let pressure = self.half_open.pressure(cx.settings, now);
        let (told, when) = self.told;
        let due = now.since(when) >= limits::PRESSURE_INTERVAL;
        if pressure == told || (pressure < told && !due) {
            return;
        }
        self.told = (pressure, now);
        let text = match pressure {
            Pressure::Calm => "The flood of first messages is over: new peers are answered at once again",
            Pressure::Cookies => "Many first messages: new peers are answered when they return a cookie",
            Pressure::Puzzles => {
                "Very many first messages, or a flood of junk in place of IKE_AUTH: new peers are answered when they \
                 solve a puzzle, and some of those that cannot"
            }
            Pressure::Full => "No room for new peers: their first messages are dropped until others are done",
        };
        let text = format!("{text} ({} half-open IKE SAs).", self.half_open.len());
        cx.out.tell(Event::Note { ike: None, text });
    }

    /// Answers what nothing protects, never by more octets than were asked with.
    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        path: Path,
        (to, asked): (&Header, usize),
        notifies: Vec<Notify<'_>>,
    ) {
        let flags = Flags { initiator: !to.flags.initiator, version: false, response: true };
        let header = Header::new(to.spi_i, to.spi_r, to.exchange, flags, to.message_id);
        // RFC 6290 §4.5 wants the token beside the error, which is three octets more than the smallest request has.
        let has_token = notifies.len() > 1;
        let payloads = notifies.into_iter().map(Payload::Notify).collect();
        let message = Message { header, payloads }.emit();
        if (message.len() <= asked || has_token) && self.may_answer(cx, path) {
            cx.out.transmit(path, message);
        }
    }
}

/// Our token for the IKE SA that a protected request is for. Neither of its SPIs is one of ours that is in use.
//= rfc6290 §4
//# When a token maker receives a protected IKE request message with unknown IKE SPIs, it SHOULD generate a new token that is
//# identical to the previous token, and send it to the requesting peer in an unprotected IKE message
fn forgotten_token(cx: &Cx<'_>, header: &Header) -> Option<Notify<'static>> {
    let protected = matches!(header.next_payload, PayloadType::SK | PayloadType::SKF);
    let spis = Spis { initiator: header.spi_i, responder: header.spi_r };
    protected.then(|| ext::crash_token(cx.suite, cx.settings, spis)).flatten()
}
