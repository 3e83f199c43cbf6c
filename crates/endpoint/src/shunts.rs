//! The shunts of the policy: laid at the start, and kept to the policy that is in force.

use crate::Endpoint;
use crate::limits::LONGEST_RETRY;
use base::Instant;
use dataplane::{Mode, Op, Outcome, TrapId, TrapSpec, Without};
use policy::{Policy, Shunt, ShuntAction};
use sa::{Event, JobId};

/// A shunt that should stand.
struct Laid {
    shunt: Shunt,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be installed then.
    Due(Instant),
    /// The data plane is installing it.
    Asked(TrapId, JobId),
    Stands(TrapId),
}

impl State {
    fn id(self) -> Option<TrapId> {
        match self {
            Self::Asked(id, _) | Self::Stands(id) => Some(id),
            Self::Due(_) => None,
        }
    }
}

/// All shunts.
#[derive(Default)]
pub(crate) struct Shunts(Vec<Laid>);

impl Shunts {
    /// Those of `policy` are due at once.
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut shunts = Self::default();
        shunts.follow(Instant::default(), policy);
        shunts
    }

    /// When one is due next.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let due = self.0.iter().filter_map(|laid| match laid.state {
            State::Due(at) => Some(at),
            State::Asked(..) | State::Stands(_) => None,
        });
        due.min()
    }

    /// What `policy` does not have any more, or has otherwise, goes: its names in the data plane. What is new is due now.
    /// What passes comes first, so that nobody is cut off while the rest follows.
    fn follow(&mut self, now: Instant, policy: &Policy) -> Vec<TrapId> {
        let has = |shunt: &Shunt| policy.shunts.contains(shunt);
        let gone =
            self.0.iter().filter(|laid| !has(&laid.shunt)).filter_map(|laid| laid.state.id()).collect();
        self.0.retain(|laid| has(&laid.shunt));
        for shunt in &policy.shunts {
            if !self.0.iter().any(|laid| laid.shunt == *shunt) {
                self.0.push(Laid { shunt: shunt.clone(), state: State::Due(now) });
            }
        }
        self.0.sort_by_key(|laid| laid.shunt.action);
        gone
    }
}

impl Endpoint {
    /// Lays the shunts that are due.
    pub(crate) fn lay_shunts(&mut self, now: Instant) {
        for Laid { shunt, state } in &mut self.shunts.0 {
            if !matches!(*state, State::Due(at) if at <= now) {
                continue;
            }
            let id = self.world.out.new_trap();
            let spec = TrapSpec {
                id,
                name: shunt.name.clone(),
                then: match shunt.action {
                    ShuntAction::Pass => Without::Bypass,
                    ShuntAction::Drop => Without::Discard,
                },
                mode: Mode::Tunnel,
                local_ts: shunt.local_ts.clone(),
                remote_ts: shunt.remote_ts.clone(),
                interface: None,
            };
            *state = State::Asked(id, self.world.out.own_op(Op::Trap(spec)));
        }
    }

    /// Another policy is in force. Its shunts come before those of the old one go: what both drop is dropped all the time.
    pub(crate) fn renew_shunts(&mut self, now: Instant) {
        let policy = self.world.policy.clone();
        let gone = self.shunts.follow(now, &policy);
        self.lay_shunts(now);
        for id in gone {
            self.world.out.own_op(Op::Untrap(id));
        }
    }

    /// The data plane's answer about a shunt; `false` when it is about none.
    pub(crate) fn shunt_answer(&mut self, now: Instant, job: JobId, outcome: &Outcome) -> bool {
        let waits = |laid: &&mut Laid| matches!(laid.state, State::Asked(_, id) if id == job);
        let Some(laid) = self.shunts.0.iter_mut().find(waits) else { return false };
        let name = &laid.shunt.name;
        let text = match (outcome, laid.state) {
            (Outcome::Failed(why), _) => {
                laid.state = State::Due(now + LONGEST_RETRY);
                let wait = LONGEST_RETRY.as_secs();
                format!("Shunt \"{name}\" is not in force: {why} Trying again in {wait} s.")
            }
            (_, State::Asked(id, _)) => {
                laid.state = State::Stands(id);
                match laid.shunt.action {
                    ShuntAction::Pass => {
                        format!("What shunt \"{name}\" means passes by the tunnels from now on.")
                    }
                    ShuntAction::Drop => format!("What shunt \"{name}\" means is dropped from now on."),
                }
            }
            _ => return true,
        };
        self.world.out.tell(Event::Note { ike: None, text });
        true
    }
}
