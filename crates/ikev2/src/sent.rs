//! A request of ours that waits for its response (RFC 7296 §2.1, §2.4).

use crate::trace::{Trace, Way};
use crate::{Common, Cx, limits};
use base::{Instant, MessageId};
use sa::{Event, Fate, MessageTrace, Path};

/// The datagrams of a request, and when they go out again.
pub(crate) struct Sent {
    pub(crate) id: MessageId,
    pub(crate) datagrams: Vec<Vec<u8>>,
    trace: Trace,
    sent: u32,
    /// Transmissions before the waits began anew.
    before: u32,
    /// Transmissions in all.
    limit: u32,
    /// Transmissions beyond that to a peer of which something has come since the one before.
    grace: u32,
    first: Instant,
    last: Instant,
    next: Instant,
}

impl Sent {
    /// Sends a request for the first time.
    pub(crate) fn new(
        sa: &mut Common,
        cx: &mut Cx<'_>,
        id: MessageId,
        datagrams: Vec<Vec<u8>>,
        trace: Trace,
    ) -> Self {
        let now = cx.now.mono;
        let mut sent = Self {
            id,
            datagrams,
            trace,
            sent: 0,
            before: 0,
            limit: cx.settings.backoff.transmissions,
            grace: limits::LAST_CHANCES,
            first: now,
            last: now,
            next: now,
        };
        sent.transmit(sa, cx);
        sent
    }

    /// With at most so many transmissions.
    pub(crate) fn at_most(mut self, limit: u32) -> Self {
        (self.limit, self.grace) = (self.limit.min(limit), 0);
        self
    }

    /// Sends it again now, and then with waits that begin anew, so many times at most: something that must not
    /// wait for minutes comes after it.
    pub(crate) fn hurry(mut self, sa: &mut Common, cx: &mut Cx<'_>, more: u32) -> Self {
        (self.before, self.limit, self.grace) = (self.sent, self.sent + more, 0);
        self.transmit(sa, cx);
        self
    }

    /// Sends it again now, with as many transmissions as a new request has: the path has changed.
    pub(crate) fn resend(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        (self.before, self.limit) = (self.sent, self.sent + cx.settings.backoff.transmissions);
        self.transmit(sa, cx);
    }

    /// Sends it by another path too, which changes nothing.
    pub(crate) fn send_also(&self, sa: &mut Common, cx: &mut Cx<'_>, path: Path) {
        let trace = self.trace.message(sa, Way::out(&self.datagrams, self.sent));
        cx.out.tell(Event::Message(MessageTrace { path, ..trace }));
        for datagram in &self.datagrams {
            cx.out.transmit(path, datagram.clone());
        }
    }

    /// Transmissions since the waits began anew.
    pub(crate) fn transmissions(&self) -> u32 {
        self.sent - self.before
    }

    /// Whether it has been sent as often as it may.
    pub(crate) fn is_spent(&self) -> bool {
        self.sent >= self.limit
    }

    /// When the next transmission, or the end, is due.
    pub(crate) fn due(&self) -> Instant {
        self.next
    }

    /// Sends it again if that is due; the fate of the IKE SA when the peer had its last chance.
    //= rfc7296 §2.1
    //# The initiator MUST remember each request until it receives the corresponding response.
    //= rfc7296 §2.1
    //# A retransmission from the initiator MUST be bitwise identical to the original request.
    //= rfc7296 §2.4
    //# An endpoint MUST NOT conclude that the other endpoint has failed based on any routing information (e.g., ICMP
    //# messages) or IKE messages that arrive without cryptographic protection […]. An endpoint MUST conclude that the other
    //# endpoint has failed only when repeated attempts to contact it have gone unanswered for a timeout period
    pub(crate) fn on_time(&mut self, sa: &mut Common, cx: &mut Cx<'_>) -> Result<(), Fate> {
        if cx.now.mono < self.next {
            return Ok(());
        }
        if self.sent >= self.limit {
            let lives = sa.heard > self.last;
            self.grace = match self.grace.checked_sub(1) {
                Some(grace) if lives => grace,
                _ => return Err(self.silence(cx.now.mono)),
            };
        }
        self.transmit(sa, cx);
        Ok(())
    }

    /// When it went out first.
    pub(crate) fn first(&self) -> Instant {
        self.first
    }

    /// The fate of an IKE SA whose peer does not answer it.
    pub(crate) fn silence(&self, now: Instant) -> Fate {
        Fate::Silent { sent: self.sent, after: now.since(self.first) }
    }

    /// How long the peer took, when its response comes now.
    pub(crate) fn round_trip(&self, now: Instant) -> std::time::Duration {
        now.since(self.first)
    }

    fn transmit(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        self.sent += 1;
        self.last = cx.now.mono;
        self.next = cx.now.mono + cx.settings.backoff.wait(self.sent - self.before);
        let trace = self.trace.message(sa, Way::out(&self.datagrams, self.sent - 1));
        cx.out.tell(Event::Message(trace));
        for datagram in &self.datagrams {
            cx.out.transmit(sa.path, datagram.clone());
        }
        sa.spoke = cx.now.mono;
    }
}
