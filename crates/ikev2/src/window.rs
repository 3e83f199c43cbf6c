//! Which requests of the peer have come, and the responses that are kept for those that come again (RFC 7296 §2.2, §2.3).

use crate::limits;
use crate::trace::Trace;
use base::{Instant, MessageId};

/// The requests of one peer.
pub(crate) struct Window {
    /// How many of them may be under way at once, as we have told the peer.
    size: u32,
    /// The lowest id that has not come.
    base: MessageId,
    /// Ids above `base` that have come: bit n is `base + n`, so the lowest one is never set.
    ahead: u64,
    /// Those that have come and wait for our response.
    owed: Vec<MessageId>,
    /// Responses to the last ones, by id.
    kept: Vec<Kept>,
}

/// A response of ours.
pub(crate) struct Kept {
    id: MessageId,
    pub(crate) datagrams: Vec<Vec<u8>>,
    pub(crate) trace: Trace,
    /// How often it was sent.
    pub(crate) sent: u32,
    since: Instant,
}

/// How a request stands to the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It has not come before, and may come now.
    New,
    /// It has come before.
    Repeated,
    /// It may not come, or came so long ago that nothing is kept.
    Outside,
}

impl Window {
    /// A window of `size` requests, the first of which is `base`.
    pub(crate) fn new(size: u8, base: MessageId) -> Self {
        let size = u32::from(size).clamp(1, limits::MAX_WINDOW);
        Self { size, base, ahead: 0, owed: Vec::new(), kept: Vec::new() }
    }

    /// How many requests may be under way.
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    /// Lets so many requests come at once from now on; the window never shrinks.
    //= rfc7296 §2.3
    //# The window size is normally a (possibly configurable) property of a particular implementation […] the window
    //# size may only be increased.
    pub(crate) fn widen(&mut self, size: u8) {
        self.size = self.size.max(u32::from(size).min(limits::MAX_WINDOW));
    }

    /// The lowest id that has not come.
    pub(crate) fn base(&self) -> MessageId {
        self.base
    }

    /// Where a request of that id stands.
    //= rfc7296 §2.3
    //# An IKE endpoint MUST NOT exceed the peer's stated window size for transmitted IKE requests. In other words, if
    //# the responder stated its window size is N, then when the initiator needs to make a request X, it MUST wait until
    //# it has received responses to all requests up through request X-N.
    pub(crate) fn place(&self, id: MessageId) -> Place {
        if id < self.base || self.is_ahead(id) {
            let near = self.highest().0.saturating_sub(id.0) < self.size;
            return if near { Place::Repeated } else { Place::Outside };
        }
        let lowest = self.owed.iter().copied().min().unwrap_or(self.base).min(self.base);
        match id.0 - lowest.0 < self.size && id.next().is_some() {
            true => Place::New,
            false => Place::Outside,
        }
    }

    /// A new request is in.
    //= rfc7296 §2.1
    //# The responder MUST remember each response until it receives a request whose sequence number is
    //# larger than or equal to the sequence number in the response plus its window size
    pub(crate) fn enter(&mut self, id: MessageId) {
        self.owed.push(id);
        self.ahead |= 1u64.checked_shl(id.0.saturating_sub(self.base.0)).unwrap_or(0);
        while self.ahead & 1 == 1 {
            self.ahead >>= 1;
            self.base = self.base.next().unwrap_or(self.base);
        }
        let highest = self.highest();
        self.kept.retain(|kept| highest.0 - kept.id.0.min(highest.0) < self.size);
    }

    /// It has its response.
    pub(crate) fn answer(&mut self, id: MessageId, datagrams: Vec<Vec<u8>>, trace: Trace, now: Instant) {
        self.owed.retain(|owed| *owed != id);
        self.kept.reserve_exact(1);
        self.kept.push(Kept { id, datagrams, trace, sent: 0, since: now });
    }

    /// The response to a request, if it is kept.
    pub(crate) fn kept(&mut self, id: MessageId) -> Option<&mut Kept> {
        self.kept.iter_mut().find(|kept| kept.id == id)
    }

    /// Whether any response is kept.
    pub(crate) fn has_response(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Forgets responses that nobody asks for again.
    pub(crate) fn tidy(&mut self, now: Instant) {
        self.kept.retain(|kept| now.since(kept.since) < limits::RESPONSE_LIFE);
    }

    /// When [`Window::tidy`] has something to do.
    pub(crate) fn tidy_at(&self) -> Option<Instant> {
        self.kept.iter().map(|kept| kept.since + limits::RESPONSE_LIFE).min()
    }

    fn is_ahead(&self, id: MessageId) -> bool {
        id.0.checked_sub(self.base.0)
            .and_then(|n| self.ahead.checked_shr(n))
            .is_some_and(|bits| bits & 1 == 1)
    }

    /// The highest id that has come, or the one before the first.
    fn highest(&self) -> MessageId {
        let ahead = 64 - self.ahead.leading_zeros();
        MessageId((self.base.0 + ahead).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::num::ExchangeType;

    fn answer(window: &mut Window, id: u32) {
        let trace = Trace::new(ExchangeType::INFORMATIONAL, MessageId(id), true, &[]);
        window.answer(MessageId(id), vec![vec![id as u8]], trace, Instant::default());
    }

    fn places(window: &Window, ids: impl IntoIterator<Item = u32>) -> Vec<Place> {
        ids.into_iter().map(|id| window.place(MessageId(id))).collect()
    }

    //= rfc7296 §2.3
    #[test]
    fn one_at_a_time_unless_told_otherwise() {
        use Place::{New, Outside, Repeated};
        let mut window = Window::new(1, MessageId(5));
        assert_eq!(places(&window, [4, 5, 6]), [Repeated, New, Outside]);
        window.enter(MessageId(5));
        assert_eq!(places(&window, [4, 5, 6]), [Outside, Repeated, Outside], "5 waits for its response");
        answer(&mut window, 5);
        assert_eq!(places(&window, [4, 5, 6, 7]), [Outside, Repeated, New, Outside]);
        assert!(window.kept(MessageId(5)).is_some());
        window.enter(MessageId(6));
        assert!(window.kept(MessageId(5)).is_none(), "the next request says that the response has come");
    }

    //= rfc7296 §2.3
    //= rfc7296 §2.1
    #[test]
    fn requests_come_in_any_order_within_the_window() {
        use Place::{New, Outside, Repeated};
        let mut window = Window::new(4, MessageId(0));
        for id in [2, 1, 3] {
            assert_eq!(window.place(MessageId(id)), New);
            window.enter(MessageId(id));
            answer(&mut window, id);
        }
        assert_eq!(places(&window, 0..6), [New, Repeated, Repeated, Repeated, Outside, Outside]);
        window.enter(MessageId(0));
        assert_eq!(
            places(&window, 0..8),
            [Repeated, Repeated, Repeated, Repeated, Outside, Outside, Outside, Outside]
        );
        answer(&mut window, 0);
        assert_eq!(places(&window, [4, 7, 8]), [New, New, Outside]);
        assert_eq!((0..4).filter(|id| window.kept(MessageId(*id)).is_some()).count(), 4);
        window.enter(MessageId(6));
        assert_eq!(
            (0..4).filter(|id| window.kept(MessageId(*id)).is_some()).count(),
            1,
            "3 alone is near enough to 6"
        );
        assert_eq!(places(&window, [2, 3]), [Outside, Repeated]);
    }

    #[test]
    fn the_last_message_id_is_never_taken() {
        let window = Window::new(8, MessageId(u32::MAX - 1));
        assert_eq!(places(&window, [u32::MAX - 1, u32::MAX]), [Place::New, Place::Outside]);
    }

    #[test]
    fn the_window_has_a_limit_and_never_shrinks() {
        let mut window = Window::new(0, MessageId(0));
        assert_eq!(window.size(), 1);
        window.widen(255);
        assert_eq!(window.size(), limits::MAX_WINDOW as usize);
        window.widen(2);
        assert_eq!(window.size(), limits::MAX_WINDOW as usize);
    }
}
