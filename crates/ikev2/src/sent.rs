//! A request of ours that waits for its response (RFC 7296 §2.1, §2.4).

use crate::trace::{Trace, Way};
use crate::{Common, Cx, limits};
use base::{Instant, MessageId};
use sa::{Branch, Event, Fate, MessageTrace, Path};

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
    /// When what is missing of its response is asked for, of which a part has come.
    rest: Option<Instant>,
    /// How often that was done.
    rest_asked: u32,
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
            rest: None,
            rest_asked: 0,
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
        self.rest.map_or(self.next, |rest| rest.min(self.next))
    }

    /// A fragment of its response has come, and others are missing. The peer has the request, and need not be waited for.
    pub(crate) fn heard_in_part(&mut self, now: Instant) {
        self.rest = self.next_rest(now);
    }

    /// The waits grow as those between transmissions do.
    fn next_rest(&self, now: Instant) -> Option<Instant> {
        (self.rest_asked < limits::REST_REQUESTS)
            .then(|| now + limits::REST_WAIT * 2_u32.pow(self.rest_asked))
    }

    /// Asks for what is missing of a response of which a part has come, if that is due and a transmission is not.
    //= rfc7383 §2.6.1
    //# that event MUST only trigger a retransmission of the response message (fragmented or not) if the Fragment Number field in
    //# the received fragment is set to 1
    pub(crate) fn ask_for_rest(&mut self, sa: &mut Common, cx: &mut Cx<'_>) -> bool {
        let now = cx.now.mono;
        if now >= self.next || self.rest.is_none_or(|due| now < due) {
            return false;
        }
        cx.reach(Branch::RestAsked);
        self.rest_asked += 1;
        self.rest = self.next_rest(now);
        self.put_out(sa, cx, 1);
        true
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
        if self.ask_for_rest(sa, cx) || cx.now.mono < self.next {
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
        self.rest = None;
        self.next = cx.now.mono + cx.settings.backoff.wait(self.sent - self.before);
        self.put_out(sa, cx, self.datagrams.len());
    }

    /// Sends the first `count` of its datagrams.
    fn put_out(&self, sa: &mut Common, cx: &mut Cx<'_>, count: usize) {
        let datagrams = self.datagrams.get(..count).unwrap_or(&self.datagrams);
        let trace = self.trace.message(sa, Way::out(datagrams, self.sent + self.rest_asked - 1));
        cx.out.tell(Event::Message(trace));
        for datagram in datagrams {
            cx.out.transmit(sa.path, datagram.clone());
        }
        sa.spoke = cx.now.mono;
    }
}
