//! The one public sans-IO type: hands each datagram, answer, order and moment to its IKE SA.
//!
//! ```text
//!   loop { endpoint.handle(now, cause); while let Some(act) = endpoint.poll() { do(act) } }
//! ```
#![forbid(unsafe_code)]

use base::{Instant, Now, Rng};
use crypto::Suite;
use policy::Policy;
use sa::{Act, Cause, Drop, Event, Order, Reason, Refusal, RefusalKind, Reply, Settings};
use std::collections::VecDeque;
use std::sync::Arc;

/// All IKE SAs of one shard. It never waits, never reads a clock and never touches a socket.
pub struct Endpoint {
    policy: Arc<Policy>,
    #[allow(dead_code)]
    suite: Arc<dyn Suite>,
    #[allow(dead_code)]
    rng: Box<dyn Rng>,
    #[allow(dead_code)]
    settings: Settings,
    acts: VecDeque<Act>,
}

impl Endpoint {
    /// An endpoint without IKE SAs. `rng` is its only source of chance: with the same one and the
    /// same causes it does the same again, octet for octet.
    pub fn new(policy: Arc<Policy>, suite: Arc<dyn Suite>, rng: Box<dyn Rng>, settings: Settings) -> Self {
        Self { policy, suite, rng, settings, acts: VecDeque::new() }
    }

    /// Takes in one thing that happened. What has to be done about it comes out of [`Endpoint::poll`].
    pub fn handle(&mut self, _now: Now, cause: Cause<'_>) {
        match cause {
            Cause::Datagram { path, .. } => {
                let event = Event::Dropped { path, why: Drop::UnknownSpi };
                self.acts.push_back(Act::Event(Box::new(event)));
            }
            Cause::Time | Cause::Done(..) | Cause::Dataplane(_) => {}
            Cause::Order(id, order) => {
                let reply = self.order(order);
                self.acts.push_back(Act::Reply(id, Box::new(reply)));
            }
        }
    }

    /// The next thing to be done; to be drained after each [`Endpoint::handle`].
    pub fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When [`Cause::Time`] is wanted next, and why.
    pub fn wake(&self) -> Option<(Instant, Reason)> {
        None
    }

    fn order(&mut self, order: Order) -> Reply {
        match order {
            Order::Status => Reply::Status(Vec::new()),
            Order::Down(_) => Reply::Down { ike: 0, children: 0 },
            Order::Reload(policy) => {
                self.policy = policy;
                Reply::Done
            }
            Order::Up { .. } | Order::Probe(_) => Reply::Refused(Refusal {
                kind: RefusalKind::NotFound,
                by_peer: false,
                connection: None,
                reason: "This endpoint cannot open IKE SAs yet.".to_string(),
            }),
        }
    }
}
