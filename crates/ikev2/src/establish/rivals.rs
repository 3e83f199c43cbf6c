//! Several answers to one first request (IKE_SA_INIT, IKE_SESSION_RESUME), of which all but one must be forged (RFC 7296 §2.4).
//!
//! Nothing tells them apart before the first protected request: the keys of a forged answer fit nobody. So the initiator goes on
//! with the first one, keeps the others, and changes to the next whenever that request has had no response for one wait. What somebody slips in before the real answer costs seconds, not the IKE SA.

use super::initiator_init::{Agreement, wanting};
use super::initiator_puzzle::SolvingAuth;
use super::{Secrets, init};
use crate::contents::Contents;
use crate::ike_sa::{Chosen, Datagram, Next};
use crate::{Common, Cx, limits};
use base::{IkeSpi, Secret};
use sa::{Drop, Event, Path};
use std::collections::VecDeque;
use wire::num::ExchangeType;

/// A first request that was answered.
pub(super) trait First: Send {
    /// Whose it is.
    fn chosen(&self) -> &Chosen;
    /// Its exchange.
    fn exchange(&self) -> ExchangeType;
    /// Whether a response is neither a refusal nor a demand.
    fn is_answer(&self, contents: &Contents<'_>) -> bool;
    /// The keys that we have with whoever sent this response, if it answers what we asked.
    fn agree(&self, sa: &Common, cx: &mut Cx<'_>, path: Path, bytes: &[u8]) -> Option<Agreement>;
}

/// An answer that is followed: its first protected request is on its way.
pub(super) trait Followed: Send {
    /// The answer.
    fn response(&self) -> &[u8];
    /// Whether the request has been sent as often as it may.
    fn is_spent(&self) -> bool;
    /// It came to nothing.
    fn release(&self, cx: &mut Cx<'_>);
    /// Goes on with it: its request goes out again.
    fn resume(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, rivals: Rivals) -> Next;
}

/// The request that was answered, and its answers but the one that is being followed.
pub(super) struct Rivals {
    first: Box<dyn First>,
    /// Where the request went.
    origin: Path,
    others: VecDeque<Rival>,
    /// SK_d of every answer that was followed.
    tried: Vec<Secret>,
    /// Whoever sent the one that is followed did the key exchange with us: the others are given up (RFC 7296 §2.4).
    settled: bool,
}

enum Rival {
    /// It came while another one was followed.
    Heard { path: Path, bytes: Vec<u8> },
    /// It was followed, and has not responded yet. Its request is kept as it is: no IV may serve twice.
    Followed { spi_r: IkeSpi, path: Path, attempt: Box<dyn Followed> },
}

/// The answer that is followed next.
pub(super) enum Turn {
    New(Box<Agreement>),
    Again { spi_r: IkeSpi, path: Path, attempt: Box<dyn Followed> },
}

impl Rival {
    /// The answer to the first request.
    fn response(&self) -> &[u8] {
        match self {
            Rival::Heard { bytes, .. } => bytes,
            Rival::Followed { attempt, .. } => attempt.response(),
        }
    }
}

impl Rivals {
    pub(super) fn new(first: Box<dyn First>, origin: Path, secrets: &Secrets) -> Self {
        Self { first, origin, others: VecDeque::new(), tried: vec![secrets.sk_d.clone()], settled: false }
    }

    pub(super) fn chosen(&self) -> &Chosen {
        self.first.chosen()
    }

    /// Takes what comes while nothing has been asked yet under the new keys: only other answers to the request are of use.
    pub(super) fn hear_only(&mut self, cx: &mut Cx<'_>, datagram: &Datagram<'_>, followed: &[u8]) {
        if !self.hear(cx, datagram, followed) {
            cx.unexpected(datagram.path);
        }
    }

    /// Takes a datagram that is another response to the request, by its header; `false` when it is not. `followed` is the
    /// answer that is being followed.
    //= rfc7296 §2.4
    //# the initiator MAY be willing to accept multiple responses to its first message, treat each response as
    //# potentially legitimate, respond to each one, and then discard all the invalid half-open connections when it
    //# receives a valid cryptographically protected response to any one of its requests
    pub(super) fn hear(&mut self, cx: &mut Cx<'_>, datagram: &Datagram<'_>, followed: &[u8]) -> bool {
        if !init::is_response(datagram, self.first.exchange()) {
            return false;
        }
        let path = datagram.path;
        let known =
            self.others.iter().map(Rival::response).chain([followed]).any(|other| *other == *datagram.bytes);
        let why = match init::contents(datagram.bytes).map(|contents| self.first.is_answer(&contents)) {
            Err(why) => why,
            Ok(false) => Drop::Unprotected,
            Ok(true) if known => Drop::Replay,
            Ok(true) if self.settled => Drop::Unexpected,
            Ok(true) if self.others.len() + 1 >= limits::MAX_INIT_ANSWERS => Drop::Unexpected,
            Ok(true) => {
                self.others.push_back(Rival::Heard { path, bytes: datagram.bytes.to_vec() });
                return true;
            }
        };
        cx.out.tell(Event::Dropped { path, why });
        true
    }

    /// The next answer that is worth following: one wait has gone by without a response to the request of the present one.
    pub(super) fn turn(&mut self, sa: &Common, cx: &mut Cx<'_>) -> Option<Turn> {
        while let Some(next) = self.others.pop_front() {
            match next {
                Rival::Heard { path, bytes } => {
                    let agreement = self.first.agree(sa, cx, path, &bytes);
                    let connection = self.chosen().connection.clone();
                    let agreement = agreement.filter(|new| wanting(&connection, &new.secrets).is_none());
                    if let Some(agreement) = agreement.filter(|new| self.are_new_keys(&new.secrets)) {
                        return Some(Turn::New(Box::new(agreement)));
                    }
                }
                Rival::Followed { spi_r, path, attempt } => {
                    return Some(Turn::Again { spi_r, path, attempt });
                }
            }
        }
        None
    }

    /// Follows it; `attempt`, which has had no response, waits at the end of the row unless it has had all its chances.
    pub(super) fn follow(
        mut self,
        sa: &mut Common,
        cx: &mut Cx<'_>,
        turn: Turn,
        attempt: Box<dyn Followed>,
    ) -> Next {
        self.park(sa, cx, attempt);
        match turn {
            Turn::New(agreement) => {
                cx.note(
                    sa.id,
                    "The first request had another answer, and the one before leads nowhere: following it.",
                );
                sa.path = self.origin;
                SolvingAuth::first(sa, cx, self, *agreement)
            }
            Turn::Again { spi_r, path, attempt } => {
                (sa.spi_r, sa.path) = (spi_r, path);
                attempt.resume(sa, cx, self)
            }
        }
    }

    /// Notes whose keys are used, and says whether they had not been before.
    ///
    /// Who changes what AUTH covers, but nothing that goes into the keys, spoils AUTH for whichever answer is
    /// followed. A second message with the same id under the same keys would not mend that.
    fn are_new_keys(&mut self, secrets: &Secrets) -> bool {
        let new = !self.tried.contains(&secrets.sk_d);
        if new {
            self.tried.push(secrets.sk_d.clone());
        }
        new
    }

    fn park(&mut self, sa: &Common, cx: &mut Cx<'_>, attempt: Box<dyn Followed>) {
        match attempt.is_spent() {
            true => attempt.release(cx),
            false => self.others.push_back(Rival::Followed { spi_r: sa.spi_r, path: sa.path, attempt }),
        }
    }

    /// Gives up all other answers: one is real, or all are in vain.
    pub(super) fn forget(&mut self, cx: &mut Cx<'_>) {
        self.settled = true;
        for rival in self.others.drain(..) {
            if let Rival::Followed { attempt, .. } = rival {
                attempt.release(cx);
            }
        }
    }
}
