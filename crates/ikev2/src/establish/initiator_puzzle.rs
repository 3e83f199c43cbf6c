//! Puzzles as initiator (RFC 8019): the work that a responder under load asks for, done as a job.
//!
//! ```text
//!   AwaitInit   <--  N(COOKIE) N(PUZZLE)
//!   Solving     (a job)
//!   AwaitInit   N(COOKIE) PS SAi1 KEi Ni N… -->
//!               <--  SAr1 KEr Nr N(PUZZLE) N…
//!   SolvingAuth (a job)
//!   Mixing, Proving …   PS SK{…} -->  (of the first protected request)
//! ```
//! What asks for it is unprotected. So the work has a limit, it is given up as soon as a real answer comes, and a
//! puzzle that is too hard ends nothing by itself.

use super::Deadline;
use super::init;
use super::initiator_init::{Again, Agreement, AwaitInit};
use super::initiator_intermediate::Mixing;
use super::responder_puzzle::string;
use super::rivals::Rivals;
use crate::ike_sa::{Datagram, End, Known, Next, Stage};
use crate::{Common, Cx, limits};
use base::Instant;
use crypto::Spis;
use policy::Connection;
use sa::{Answer, Branch, Drop, Event, Fate, Job, JobId, Puzzle, Reason, Refusal, RefusalKind};
use wire::num::ExchangeType;

/// What we do about a puzzle.
pub(super) enum Plan {
    /// Work for so many zero bits.
    Solve(Puzzle),
    /// Not that much, or not with that PRF: why, for people.
    Decline(String),
}

/// Whether we solve a puzzle.
//= rfc8019 §9
//# Initiators SHOULD set a maximum difficulty level beyond which they won't try to solve the puzzle and log or display a
//# failure message to the administrator or user.
pub(super) fn plan(cx: &Cx<'_>, connection: &Connection, puzzle: Puzzle) -> Plan {
    let Puzzle { prf, difficulty } = puzzle;
    let most = cx.settings.puzzle_limit.min(sa::limits::MAX_PUZZLE_BITS);
    let proposed = connection.proposals.iter().any(|proposal| proposal.prf.contains(&prf));
    match difficulty {
        _ if !proposed || cx.suite.prf(prf).is_none() => {
            Plan::Decline(format!("with {prf}, which we have not proposed"))
        }
        //= rfc8019 §7.1.1.1
        //# The Responder may set the difficulty level to 0, meaning that the Initiator is requested to spend as much
        //# power to solve a puzzle as it can afford.
        0 if most == 0 => Plan::Decline("of our own choice, and `puzzle_limit` is 0".to_string()),
        0 => Plan::Solve(Puzzle { prf, difficulty: limits::FREE_PUZZLE_BITS.min(most) }),
        bits if bits > most => Plan::Decline(format!("of {bits} zero bits, and `puzzle_limit` is {most}")),
        _ => Plan::Solve(puzzle),
    }
}

/// Why nothing came of it.
pub(super) fn refusal(connection: &Connection, why: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::Busy,
        by_peer: true,
        connection: Some(connection.name.clone()),
        reason: format!(
            "The peer is under load and wants the solution of a puzzle {why}: raise `puzzle_limit` in `[daemon]` if the \
             peer can be trusted with so much of our time, or try again later."
        ),
    }
}

/// The puzzle of IKE_SA_INIT is being solved.
pub(super) struct Solving {
    init: Box<AwaitInit>,
    cookie: Vec<u8>,
    job: JobId,
    until: Deadline,
}

impl Solving {
    pub(super) fn begin(
        sa: &Common,
        cx: &mut Cx<'_>,
        init: Box<AwaitInit>,
        cookie: Vec<u8>,
        puzzle: Puzzle,
    ) -> Next {
        cx.note(
            sa.id,
            format!(
                "The responder is under load: solving a puzzle of {} zero bits before it answers.",
                puzzle.difficulty
            ),
        );
        //= rfc8019 §7.1.3
        //# In the IKE_SA_INIT exchange, it is the cookie that plays the role of unpredictable string S.
        let job = cx.out.job(sa.id, Job::Puzzle { puzzle, string: cookie.clone() });
        let until = Deadline(cx.now.mono + limits::PUZZLE_PATIENCE);
        Box::new(Self { init, cookie, job, until })
    }

    /// Asks again with the cookie and what there is beside it.
    fn on(self, sa: &mut Common, cx: &mut Cx<'_>, solution: Option<Vec<u8>>) -> Next {
        let path = sa.path;
        if solution.is_some() {
            cx.reach(Branch::PuzzleSolved);
        }
        match self.init.once_more(sa, cx, Again::Cookie(self.cookie, solution)) {
            Ok(next) => next,
            Err((init, why)) => {
                cx.out.tell(Event::Dropped { path, why });
                init
            }
        }
    }
}

impl Stage for Solving {
    fn known(&self) -> Known<'_> {
        self.init.known()
    }

    fn datagram(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        let path = datagram.path;
        let is_answer = init::is_response(&datagram, ExchangeType::IKE_SA_INIT)
            && init::contents(datagram.bytes).is_ok_and(|contents| contents.sa.is_some());
        if !is_answer {
            // Another puzzle, or an error that anybody could have sent.
            cx.out.tell(Event::Dropped { path, why: Drop::Unprotected });
            return self;
        }
        match self.init.on_answer(sa, cx, &datagram) {
            Ok(next) => next,
            Err((init, why)) => {
                cx.out.tell(Event::Dropped { path, why });
                self.init = init;
                self
            }
        }
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Puzzle(solution) => self.on(sa, cx, Some(solution)),
            Answer::Refused(why) => {
                cx.note(sa.id, format!("The puzzle is not solved: {}", why.reason));
                self.on(sa, cx, None)
            }
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.until.is_over(cx) {
            return self;
        }
        cx.note(sa.id, "The puzzle was not solved in time: asking again without its solution.");
        self.on(sa, cx, None)
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        self.init.close(sa, cx, end)
    }
}

/// The puzzle of IKE_AUTH is being solved.
pub(super) struct SolvingAuth {
    rivals: Rivals,
    agreement: Agreement,
    job: JobId,
    until: Deadline,
}

impl SolvingAuth {
    /// Goes on with an answer to IKE_SA_INIT: by way of its puzzle, if it has one.
    //= rfc8019 §7.2.2
    //# If the IKE_SA_INIT regular response message […] contains the PUZZLE notification and the Initiator supports puzzles,
    //# it MUST solve the puzzle.
    pub(super) fn first(sa: &mut Common, cx: &mut Cx<'_>, rivals: Rivals, mut agreement: Agreement) -> Next {
        let Some(puzzle) = agreement.puzzle.take() else { return Mixing::begin(sa, cx, rivals, agreement) };
        match plan(cx, &rivals.chosen().connection, puzzle) {
            Plan::Solve(puzzle) => {
                cx.note(
                    sa.id,
                    format!(
                        "The responder wants a puzzle of {} zero bits solved before IKE_AUTH.",
                        puzzle.difficulty
                    ),
                );
                let spis = Spis { initiator: sa.spi_i, responder: agreement.spi_r };
                let string = string(&agreement.secrets.transcript.nonce_r, &spis);
                let job = cx.out.job(sa.id, Job::Puzzle { puzzle, string });
                let until = Deadline(cx.now.mono + limits::PUZZLE_PATIENCE);
                Box::new(Self { rivals, agreement, job, until })
            }
            // The answer may be forged: its IKE_AUTH request leads nowhere, and that is told if no other one does.
            Plan::Decline(why) => {
                agreement.obstacle = Some(refusal(&rivals.chosen().connection, &why));
                Mixing::begin(sa, cx, rivals, agreement)
            }
        }
    }

    fn on(mut self, sa: &mut Common, cx: &mut Cx<'_>, solution: Result<Vec<u8>, &str>) -> Next {
        match solution {
            Ok(keys) => self.agreement.solution = Some(keys),
            Err(why) => {
                self.agreement.obstacle = Some(refusal(&self.rivals.chosen().connection, why));
            }
        }
        Mixing::begin(sa, cx, self.rivals, self.agreement)
    }
}

impl Stage for SolvingAuth {
    fn known(&self) -> Known<'_> {
        let connection = Some(&*self.rivals.chosen().connection);
        Known { connection, suite: Some(self.agreement.secrets.suite), ..Known::default() }
    }

    fn datagram(mut self: Box<Self>, _: &mut Common, cx: &mut Cx<'_>, datagram: Datagram<'_>) -> Next {
        self.rivals.hear_only(cx, &datagram, &self.agreement.secrets.transcript.response);
        self
    }

    fn answer(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, job: JobId, answer: Answer) -> Next {
        match answer {
            _ if job != self.job => self,
            Answer::Puzzle(solution) => self.on(sa, cx, Ok(solution)),
            Answer::Refused(_) => self.on(sa, cx, Err("that we could not solve")),
            _ => self,
        }
    }

    fn time(self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>) -> Next {
        if !self.until.is_over(cx) {
            return self;
        }
        self.on(sa, cx, Err("that we could not solve in time"))
    }

    fn wake(&self, _: &Common) -> Option<(Instant, Reason)> {
        self.until.wake()
    }

    fn close(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, end: End) -> Next {
        sa.give_up(cx, &self.known(), end.fate);
        self.rivals.forget(cx);
        Box::new(crate::ike_sa::Gone)
    }
}

/// A silent peer that wanted a puzzle solved which we have not solved.
pub(super) fn explain(fate: Fate, obstacle: Option<Refusal>) -> Fate {
    match (fate, obstacle) {
        (Fate::Silent { .. }, Some(refusal)) => Fate::Refused(refusal),
        (fate, _) => fate,
    }
}
