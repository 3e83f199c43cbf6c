//! Puzzles as responder (RFC 8019): what a stranger under load has done to deserve an answer, and a half-open IKE SA
//! whose peer has to solve another one before its keys are computed.
//!
//! ```text
//!   initiator                                              responder
//!
//!   IKE_SA_INIT  SAi1 KEi Ni N… -->
//!                            <--  N(COOKIE) N(PUZZLE)      (nothing is kept)
//!   IKE_SA_INIT  N(COOKIE) PS SAi1 KEi Ni N… -->
//!                            <--  SAr1 KEr Nr N(PUZZLE) N… Puzzled    (only while junk comes in place of IKE_AUTH)
//!   IKE_AUTH  PS SK{IDi AUTH SAi2 TSi TSr N…} -->
//!                                                          HalfOpen   (the keys are computed)
//! ```

use super::responder_auth::{HalfOpen, Open};
use super::responder_init::{Knock, Turned};
use super::secrets::{Ingredients, Source};
use super::{Secrets, Transcript};
use crate::contents;
use crate::door::Door;
use crate::ext::Agreed;
use crate::ike_sa::{Datagram, End, Gone, Known, Next, Stage};
use crate::{Common, Cx};
use base::{Instant, MessageId};
use crypto::{KePrivate, Spis, Suite};
use policy::{Connection, IkeSuite};
use sa::{
    Admission, Answer, Branch, CookieOwner, Demand, Drop, Event, Fate, Given, JobId, Pressure, Puzzle,
    Reason, Refusal, RefusalKind, Shown, Side,
};
use std::sync::Arc;
use wire::num::{ExchangeType, NotifyType, Prf, ProtocolId, TransformType};
use wire::{Message, Notify, Payload};

/// What somebody has shown who is let in.
#[derive(Clone, Copy, Default)]
pub(super) struct Passed {
    /// It is where its messages seem to come from.
    pub(super) proven: bool,
    /// The puzzle that it has solved.
    pub(super) solved: Option<Given>,
    /// It was given one and has not solved it.
    pub(super) unsolved: bool,
}

/// Whether there is room, and whether the sender has done for it what the load asks.
//= rfc7296 §2.6
//# When a responder detects a large number of half-open IKE SAs, it SHOULD reply to IKE_SA_INIT requests
//# with a response containing the COOKIE notification.
pub(super) fn admit(cx: &mut Cx<'_>, door: &mut Door, knock: &Knock<'_>) -> Result<Passed, Turned> {
    let (source, now) = (knock.path.remote.ip(), cx.now.mono);
    let owner = CookieOwner { nonce: knock.nonce, source, spi: knock.spi_i };
    door.cookies.rotate(now, cx.rng);
    let mut admission = door.half_open.admission(cx.settings, source, now);
    if admission == Admission::Open && door.refusals.is_spent(now) {
        admission = Admission::CookieWanted;
    }
    let cookie = knock.contents.notify(NotifyType::COOKIE).map(|cookie| &cookie.data[..]);
    let shown = match admission {
        Admission::Open => return Ok(Passed::default()),
        Admission::Full => return Err(Turned::Away(Drop::HalfOpenLimit)),
        _ => cookie.and_then(|cookie| door.cookies.accepts(cx.suite, owner, cookie, now)),
    };
    match (admission, shown) {
        (Admission::PuzzleWanted(demand), shown) => {
            let prf = puzzle_prf(cx.suite, knock).ok_or_else(|| no_prf(cx, door))?;
            let trial = Trial { owner, demand, prf, cookie: cookie.unwrap_or_default() };
            trial.judge(cx, door, knock, shown)
        }
        (_, Some(_)) => Ok(Passed { proven: true, ..Passed::default() }),
        //= rfc7296 §2.6
        //# If [the cookies] do not match, the responder MUST treat it as if there was no cookie
        (_, None) => {
            let cookie = door.cookies.bake(cx.suite, owner);
            cx.reach(Branch::PuzzleCookie);
            Err(Turned::With(vec![Notify::new(NotifyType::COOKIE, cookie)]))
        }
    }
}

/// The judgement of a first message where puzzles are wanted.
struct Trial<'a> {
    owner: CookieOwner<'a>,
    demand: Demand,
    prf: Prf,
    /// As the message has it.
    cookie: &'a [u8],
}

impl Trial<'_> {
    fn judge(
        &self,
        cx: &mut Cx<'_>,
        door: &mut Door,
        knock: &Knock<'_>,
        shown: Option<Shown>,
    ) -> Result<Passed, Turned> {
        let now = cx.now.mono;
        //= rfc8019 §7.1
        //# The requests that don't contain the COOKIE notification MUST NOT participate in this lottery.
        let Some(shown) = shown else { return Err(self.give(cx, door, 0)) };
        //= rfc8019 §7.1.4
        //# If no puzzle was given […] this payload MUST be ignored if the message contains a PS payload for any reason.
        let given = match shown {
            Shown::Puzzle(given) => Some(given),
            Shown::Cookie => None,
        };
        let worked = given.filter(|given| door.cookies.is_unspent(given, now)).and_then(|given| {
            let prf = cx.suite.prf(given.puzzle.prf)?;
            let bits = sa::puzzle::zero_bits(prf, self.cookie, knock.contents.solution.as_deref()?)?;
            Some((given, bits))
        });
        match worked {
            Some((given, bits)) if self.is_enough(&given, bits) => {
                cx.reach(Branch::PuzzleTaken);
                Ok(Passed { proven: true, solved: Some(given), unsolved: false })
            }
            //= rfc8019 §7.1.5
            //# If the Initiator solved the puzzle, but didn't spend much resources for it […], then the Responder
            //# SHOULD give it another puzzle. The more puzzles the Initiator solves the higher its chances are
            Some((given, bits)) if given.puzzle.difficulty == 0 && bits >= LEAST_FREE_BITS => {
                Err(self.give(cx, door, given.before.saturating_add(1)))
            }
            _ if self.is_lucky() && door.half_open.has_room_unsolved(cx.settings) => {
                Ok(Passed { proven: true, solved: None, unsolved: true })
            }
            _ => Err(self.give(cx, door, 0)),
        }
    }

    /// Whether so many zero bits let the sender in: as many as were asked for, or where it was left to the initiator as
    /// many as the load wants, the puzzles before counted in.
    fn is_enough(&self, given: &Given, bits: u32) -> bool {
        match given.puzzle.difficulty {
            0 => bits.saturating_add(u32::from(given.before)) >= u32::from(self.demand.wanted),
            asked => bits >= u32::from(asked),
        }
    }

    /// Each cookie is one ticket: the same message again does not win what it has lost.
    //= rfc8019 §7.1
    //# The Responder MAY choose to process some fraction of IKE_SA_INIT requests without presenting a puzzle while being
    //# under attack to allow legacy clients, that don't support puzzles, to have a chance to be served. The decision
    //# whether to process any particular request must be probabilistic
    fn is_lucky(&self) -> bool {
        self.cookie.last().is_some_and(|ticket| u16::from(*ticket) < self.demand.chance)
    }

    //= rfc8019 §7.1.1
    //# Note that the PUZZLE notification MUST always be accompanied with the COOKIE notification
    fn give(&self, cx: &mut Cx<'_>, door: &mut Door, before: u8) -> Turned {
        cx.reach(Branch::PuzzleGiven);
        let puzzle = Puzzle { prf: self.prf, difficulty: self.demand.asked };
        let cookie = door.cookies.bake_puzzle(cx.suite, self.owner, (puzzle, before), cx.now.mono);
        Turned::With(vec![
            Notify::new(NotifyType::COOKIE, cookie),
            Notify::new(NotifyType::PUZZLE, puzzle.emit()),
        ])
    }
}

/// A solution for fewer bits is as good as none.
//= rfc8019 §4.4
//# The values 1-8 are explicitly excluded, because they create a puzzle that is too easy to solve.
const LEAST_FREE_BITS: u32 = 9;

/// PRFs for puzzles, best first: what many can compute in hardware does not say who has spent time.
const PRFS: [Prf; 6] = [
    Prf::HMAC_SHA2_256,
    Prf::HMAC_SHA2_384,
    Prf::HMAC_SHA2_512,
    Prf::HMAC_SHA1,
    Prf::AES128_CMAC,
    Prf::AES128_XCBC,
];

/// The best PRF that the initiator has proposed.
//= rfc8019 §7.1.1.2
//# The Responder parses the received SA payload and finds mutually supported transforms of type PRF. The Responder
//# selects the preferred PRF from the list of mutually supported ones and includes it into the PUZZLE notification.
fn puzzle_prf(suite: &dyn Suite, knock: &Knock<'_>) -> Option<Prf> {
    let offers = contents::offers(knock.contents.sa.as_deref().unwrap_or_default(), ProtocolId::IKE, 0);
    let offered = |prf: &Prf| {
        let mut transforms = offers.iter().flat_map(|(offer, _)| &offer.transforms);
        transforms.any(|transform| transform.kind == TransformType::PRF && transform.id == prf.0)
    };
    PRFS.into_iter().find(|prf| suite.prf(*prf).is_some() && offered(prf))
}

//= rfc8019 §7.1.1.2
//# If there are no mutually supported PRFs, then IKE SA negotiation will fail anyway and there is no reason to return a
//# puzzle. In this case, the Responder returns a NO_PROPOSAL_CHOSEN notification.
fn no_prf(cx: &Cx<'_>, door: &mut Door) -> Turned {
    if !door.refusals.allows(cx.now.mono) {
        return Turned::Away(Drop::HalfOpenLimit);
    }
    let refusal = Refusal {
        kind: RefusalKind::NoProposalChosen,
        by_peer: false,
        connection: None,
        reason: "The peer has to solve a puzzle, and has proposed no PRF that is known here.".to_string(),
    };
    Turned::Back(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()), Some(refusal))
}

/// Whether somebody who has solved a puzzle is given another one for IKE_AUTH.
//= rfc8019 §7.2.1
//# The Responder MUST NOT use puzzles in the IKE_AUTH exchange unless a puzzle has been previously presented and solved
//# in the preceding IKE_SA_INIT exchange.
//= rfc8019 §7.2.1.1
//# Unlike puzzles in the IKE_SA_INIT, the requested difficulty level for IKE_AUTH puzzles MUST NOT be 0.
pub(super) fn for_auth(cx: &Cx<'_>, door: &mut Door, passed: &Passed, prf: Prf) -> Option<Puzzle> {
    let wanted = passed.solved.is_some()
        && door.half_open.is_spoiled(cx.now.mono)
        && door.half_open.pressure(cx.settings, cx.now.mono) >= Pressure::Puzzles;
    wanted.then_some(Puzzle { prf, difficulty: sa::limits::AUTH_PUZZLE_DIFFICULTY })
}

/// IKE_SA_INIT is answered with a puzzle; the keys wait for its solution.
pub(super) struct Puzzled {
    open: Open,
    waiting: Waiting,
}

/// What the keys will be made of.
pub(super) struct Waiting {
    pub(super) puzzle: Puzzle,
    pub(super) spis: Spis,
    pub(super) suite: IkeSuite,
    pub(super) connection: Arc<Connection>,
    pub(super) transcript: Transcript,
    pub(super) agreed: Agreed,
    pub(super) private: Box<dyn KePrivate>,
    /// The peer's public value.
    pub(super) public: Vec<u8>,
}

impl Puzzled {
    pub(super) fn begin(sa: &mut Common, cx: &mut Cx<'_>, mut open: Open, waiting: Waiting) -> Next {
        open.answer_init(sa, cx, &waiting.transcript.response);
        Box::new(Self { open, waiting })
    }

    /// Whether a message brings the solution.
    //= rfc8019 §7.2.4
    //# it MUST silently discard all the IKE_AUTH request messages without the PS payload. […] The Responder MUST verify all
    //# four of the returned keys.
    fn is_solved_by(&self, cx: &Cx<'_>, bytes: &[u8]) -> bool {
        let Ok(message) = Message::parse(bytes) else { return false };
        let solution = message.payloads.iter().find_map(|payload| match payload {
            Payload::PuzzleSolution(keys) => Some(keys),
            _ => None,
        });
        let Waiting { puzzle, spis, transcript, .. } = &self.waiting;
        let bits = solution.and_then(|keys| {
            let string = string(&transcript.nonce_r, spis);
            sa::puzzle::zero_bits(cx.suite.prf(puzzle.prf)?, &string, keys)
        });
        bits.is_some_and(|bits| bits >= u32::from(puzzle.difficulty))
    }

    /// The keys, and the stage that has them.
    fn unlock(self, cx: &Cx<'_>) -> Option<HalfOpen> {
        let Waiting { spis, suite, connection, transcript, agreed, private, public, .. } = self.waiting;
        let g_ir = private.finish(&public).ok()?;
        let source = Source::Exchange(suite, &g_ir);
        let from = Ingredients { side: Side::Responder, spis, source, connection: &connection };
        let secrets = Secrets::derive(cx, from, transcript, agreed).ok()?;
        Some(HalfOpen::new(self.open, secrets))
    }
}

/// What the puzzle of IKE_AUTH is about.
//= rfc8019 §7.2.3
//# in the IKE_AUTH exchange, S is a concatenation of Nr and SPIr
pub(super) fn string(nonce_r: &[u8], spis: &Spis) -> Vec<u8> {
    [nonce_r, &spis.responder.0.to_be_bytes()].concat()
}

impl Stage for Puzzled {
    fn known(&self) -> Known<'_> {
        Known { suite: Some(self.waiting.suite), ..Known::default() }
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let (path, header) = (datagram.path, datagram.header);
        if header.exchange == ExchangeType::IKE_SA_INIT && header.message_id == MessageId(0) {
            let Transcript { request, response, .. } = &self.waiting.transcript;
            self.open.repeat_init(sa, cx, &datagram, (request, response));
            return self;
        }
        let protected = [ExchangeType::IKE_INTERMEDIATE, ExchangeType::IKE_AUTH];
        let is_request = protected.contains(&header.exchange) && !header.flags.response;
        if !is_request || !self.is_solved_by(cx, datagram.bytes) {
            cx.out.tell(Event::Dropped { path, why: Drop::Unexpected });
            return self;
        }
        match self.unlock(cx) {
            Some(stage) => Box::new(stage).datagram(sa, cx, datagram),
            None => {
                let what = "the peer's public value is not one of its group".to_string();
                sa.give_up(cx, &Known::default(), Fate::Fault(what));
                Box::new(Gone)
            }
        }
    }

    fn answer(self: Box<Self>, _: &mut Common, _: &mut Cx<'_>, _: JobId, _: Answer) -> Next {
        self
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.open.until.is_over(cx) {
            return self;
        }
        sa.give_up(cx, &self.known(), Fate::HalfOpenTimeout);
        Box::new(Gone)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.open.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        sa.give_up(cx, &self.known(), end.fate);
        Box::new(Gone)
    }

    fn is_half_open(&self) -> bool {
        true
    }
}
