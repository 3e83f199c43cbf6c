//! The children that should stand: what starts them, and what happens when they do not come, or go.
//!
//! ```text
//!   the policy, at start and after a reload ─┐
//!   a packet at a trap ──────────────────────┼──► due ──► tried: path looked up, negotiated ──► stands
//!   a child lost against our will ───────────┘     ▲                     │
//!                                                  └──── back-off ◄──────┴──► resting (keyingtries)
//! ```
//!
//! Of each child there is one negotiation at most, however many causes ask for it.

use crate::limits::{ADDRESS_WAIT, GRACE, LONGEST_RETRY, MISSED_REST, MISSES, STEADY};
use base::Instant;
use dataplane::TrapId;
use ikev2::Packet;
use policy::{Child, Connection, Ends, Policy};
use sa::{JobId, OrderId, RefusalKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// A child of a connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Name {
    pub(crate) connection: String,
    pub(crate) child: String,
}

impl Name {
    pub(crate) fn new(connection: &str, child: &str) -> Self {
        Self { connection: connection.to_string(), child: child.to_string() }
    }
}

/// A child that is wanted, or was.
struct Want {
    /// Attempts that failed in a row.
    tries: u32,
    /// Children that came and did not carry the packet that had asked for them.
    misses: u32,
    /// The packet that wants it.
    packet: Option<Packet>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// To be asked for then.
    Due(Instant),
    /// Being asked for.
    Tried(OrderId),
    /// Stands since then.
    Stands(Instant),
    /// Given up; packets do not start it before then.
    Resting(Instant),
}

/// A negotiation that we have begun by ourselves.
pub(crate) struct Attempt {
    pub(crate) connection: String,
    pub(crate) children: Vec<String>,
    /// The look-up of the path, until it is answered, and how long that is waited for.
    pub(crate) lookup: Option<(JobId, Instant)>,
}

/// A trap policy that should stand.
pub(crate) struct Trap {
    /// The addresses that it was made for.
    pub(crate) ends: Option<Ends>,
    pub(crate) state: TrapState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TrapState {
    /// To be installed then.
    Due(Instant),
    /// Our own and the peer's address are looked up.
    Lookup(JobId, Instant),
    /// The data plane is installing it.
    Asked(TrapId, JobId),
    Stands(TrapId),
}

impl TrapState {
    /// Its name in the data plane.
    pub(crate) fn id(self) -> Option<TrapId> {
        match self {
            Self::Asked(id, _) | Self::Stands(id) => Some(id),
            Self::Due(_) | Self::Lookup(..) => None,
        }
    }
}

/// What a failure leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Next {
    /// Another attempt after this long.
    Again(Duration),
    /// None: `keyingtries` is reached.
    GiveUp,
}

/// All that should stand.
#[derive(Default)]
pub(crate) struct Keeper {
    wants: BTreeMap<Name, Want>,
    attempts: BTreeMap<OrderId, Attempt>,
    traps: BTreeMap<Name, Trap>,
}

impl Keeper {
    /// What `policy` starts by itself is due at once.
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut keeper = Self::default();
        let start = Instant::default();
        for connection in &policy.connections {
            for child in &connection.children {
                keeper.start(start, connection, child);
            }
        }
        keeper
    }

    /// Does what the `start_action` of a new child says.
    fn start(&mut self, now: Instant, connection: &Connection, child: &Child) {
        let name = Name::new(&connection.name, &child.name);
        if child.start_action.traps() {
            self.trap(now, name.clone());
        }
        if child.start_action.starts() {
            self.want(now, name, None);
        }
    }

    /// When something is due next.
    pub(crate) fn wake(&self) -> Option<Instant> {
        let wants = self.wants.values().filter_map(|want| match want.state {
            State::Due(at) => Some(at),
            _ => None,
        });
        let attempts = self.attempts.values().filter_map(|attempt| Some(attempt.lookup?.1));
        let traps = self.traps.values().filter_map(|trap| match trap.state {
            TrapState::Due(at) | TrapState::Lookup(_, at) => Some(at),
            _ => None,
        });
        wants.chain(attempts).chain(traps).min()
    }

    /// A child is wanted from `at` on; what is under way for it already goes on.
    fn want(&mut self, at: Instant, name: Name, packet: Option<Packet>) {
        let fresh = Want { tries: 0, misses: 0, packet, state: State::Due(at) };
        let want = self.wants.entry(name).or_insert(fresh);
        match want.state {
            State::Due(_) | State::Tried(_) => {
                want.packet = want.packet.or(packet);
            }
            State::Stands(_) | State::Resting(_) => {
                *want = Want { tries: 0, packet, state: State::Due(at), ..*want };
            }
        }
    }

    /// A packet has come to a trap. One that comes soon after an attempt finds it under way, or has to wait.
    /// Whether its child is asked for now.
    pub(crate) fn acquire(&mut self, now: Instant, id: TrapId, packet: Packet) -> bool {
        let Some(name) = self.traps.iter().find(|(_, trap)| trap.state.id() == Some(id)) else {
            return false;
        };
        let name = name.0.clone();
        let rests = self.wants.get(&name).is_some_and(|want| match want.state {
            State::Due(_) | State::Tried(_) => false,
            State::Stands(since) => now.since(since) < GRACE,
            State::Resting(until) => now < until,
        });
        if !rests {
            self.want(now, name, Some(packet));
        }
        !rests
    }

    /// A child is gone against our will, and is wanted again. `company`: an IKE SA of its connection stands.
    pub(crate) fn lose(&mut self, now: Instant, connection: &Connection, child: &str, company: bool) {
        let name = Name::new(&connection.name, child);
        let soon = if company { now + GRACE } else { now };
        let unknown = Want { tries: 0, misses: 0, packet: None, state: State::Resting(now) };
        let want = self.wants.entry(name).or_insert(unknown);
        want.misses = 0;
        match want.state {
            State::Due(_) | State::Tried(_) => return,
            State::Stands(since) if now.since(since) < STEADY => {
                want.tries = want.tries.saturating_add(1);
                want.state = State::Due(now + back_off(connection, want.tries));
            }
            State::Stands(_) | State::Resting(_) => {
                want.tries = 0;
                want.state = State::Due(soon);
            }
        }
        want.packet = None;
    }

    /// What is due, one connection's children together.
    pub(crate) fn due(&self, now: Instant) -> Option<(String, Vec<String>)> {
        let due = |want: &Want| matches!(want.state, State::Due(at) if at <= now);
        let first = self.wants.iter().find(|(_, want)| due(want))?.0.connection.clone();
        let all = self.wants.iter().filter(|(name, want)| name.connection == first && due(want));
        let children = all.map(|(name, _)| name.child.clone()).collect();
        Some((first, children))
    }

    /// The packet that wants a child.
    pub(crate) fn packet(&self, name: &Name) -> Option<Packet> {
        self.wants.get(name)?.packet
    }

    /// An attempt begins.
    pub(crate) fn try_now(&mut self, order: OrderId, attempt: Attempt) {
        for child in &attempt.children {
            let name = Name::new(&attempt.connection, child);
            if let Some(want) = self.wants.get_mut(&name) {
                want.state = State::Tried(order);
            }
        }
        self.attempts.insert(order, attempt);
    }

    /// The attempt of that order, which is over.
    pub(crate) fn finish(&mut self, order: OrderId) -> Option<Attempt> {
        self.attempts.remove(&order)
    }

    /// The attempt that waits for that look-up; it does so no longer.
    pub(crate) fn looked_up(&mut self, job: JobId) -> Option<(OrderId, String)> {
        let waits = |attempt: &Attempt| attempt.lookup.is_some_and(|(id, _)| id == job);
        let (order, attempt) = self.attempts.iter_mut().find(|(_, attempt)| waits(attempt))?;
        attempt.lookup = None;
        Some((*order, attempt.connection.clone()))
    }

    /// An attempt whose look-up has taken too long.
    pub(crate) fn overdue(&self, now: Instant) -> Option<OrderId> {
        let late = |attempt: &Attempt| attempt.lookup.is_some_and(|(_, until)| until <= now);
        self.attempts.iter().find(|(_, attempt)| late(attempt)).map(|(order, _)| *order)
    }

    /// The children that an attempt is about and that are wanted still.
    pub(crate) fn asked_by(&self, order: OrderId) -> Vec<String> {
        let mine = self.wants.iter().filter(|(_, want)| want.state == State::Tried(order));
        mine.map(|(name, _)| name.child.clone()).collect()
    }

    /// A child stands.
    pub(crate) fn stands(&mut self, now: Instant, name: &Name) {
        if let Some(want) = self.wants.get_mut(name) {
            want.packet = None;
            want.state = State::Stands(now);
        }
    }

    /// A child stands, but the peer has narrowed it to less than the packet that wants it. Another one may be asked for
    /// a few times; then the peer has made clear what it wants.
    pub(crate) fn missed(&mut self, now: Instant, connection: &Connection, child: &str) {
        let Some(want) = self.wants.get_mut(&Name::new(&connection.name, child)) else { return };
        want.misses = want.misses.saturating_add(1);
        let wait = if want.misses < MISSES { back_off(connection, want.misses) } else { MISSED_REST };
        (want.tries, want.packet, want.state) = (0, None, State::Resting(now + wait));
    }

    /// A child did not come up.
    //= rfc7296 §3.15.4
    //# Such a timeout should not be too short […] because these error situations may not be able to be fixed quickly; the
    //# timeout should likely be several minutes.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        connection: &Connection,
        child: &str,
        why: RefusalKind,
    ) -> Option<Next> {
        let want = self.wants.get_mut(&Name::new(&connection.name, child))?;
        want.tries = want.tries.saturating_add(1);
        let wait = back_off(connection, want.tries);
        let (wait, in_vain) = match why {
            RefusalKind::NoAddress => (wait.max(ADDRESS_WAIT), false),
            RefusalKind::NoAddressFamily => (MISSED_REST, true),
            _ => (wait, false),
        };
        if in_vain || connection.keyingtries != 0 && want.tries >= connection.keyingtries {
            *want = Want { tries: 0, packet: None, state: State::Resting(now + wait), ..*want };
            return Some(Next::GiveUp);
        }
        want.state = State::Due(now + wait);
        Some(Next::Again(wait))
    }

    /// Nobody wants these any more: ordered down, or gone from the configuration.
    pub(crate) fn forget(&mut self, which: impl Fn(&Name) -> bool) {
        self.wants.retain(|name, _| !which(name));
    }

    /// A trap should stand.
    pub(crate) fn trap(&mut self, now: Instant, name: Name) {
        self.traps.entry(name).or_insert(Trap { ends: None, state: TrapState::Due(now) });
    }

    /// Traps that should not stand any more; those that may be installed.
    pub(crate) fn untrap(&mut self, which: impl Fn(&Name) -> bool) -> Vec<TrapId> {
        let mut gone = Vec::new();
        self.traps.retain(|name, trap| {
            let stays = !which(name);
            if !stays {
                gone.extend(trap.state.id());
            }
            stays
        });
        gone
    }

    /// A trap that is to be installed now.
    pub(crate) fn due_trap(&self, now: Instant) -> Option<Name> {
        let due =
            |trap: &Trap| matches!(trap.state, TrapState::Due(at) | TrapState::Lookup(_, at) if at <= now);
        self.traps.iter().find(|(_, trap)| due(trap)).map(|(name, _)| name.clone())
    }

    pub(crate) fn trap_mut(&mut self, name: &Name) -> Option<&mut Trap> {
        self.traps.get_mut(name)
    }

    /// The trap that waits for that answer.
    pub(crate) fn trap_waiting(&self, job: JobId) -> Option<Name> {
        let waits = |trap: &Trap| match trap.state {
            TrapState::Lookup(id, _) | TrapState::Asked(_, id) => id == job,
            TrapState::Due(_) | TrapState::Stands(_) => false,
        };
        self.traps.iter().find(|(_, trap)| waits(trap)).map(|(name, _)| name.clone())
    }

    /// The traps of a connection that stand for other addresses than these.
    pub(crate) fn astray(&self, connection: &str, ends: Ends) -> Vec<Name> {
        let astray = self.traps.iter().filter(|(name, trap)| {
            name.connection == connection && trap.ends.is_some_and(|made_for| made_for != ends)
        });
        astray.map(|(name, _)| name.clone()).collect()
    }

    /// Goes over from one policy to another: what is new starts, what is gone is forgotten, and what waits of a changed
    /// connection is tried at once. Gives back the traps to be removed.
    pub(crate) fn reload(&mut self, now: Instant, before: &Policy, after: &Policy) -> Vec<TrapId> {
        let exists = |name: &Name| child_of(after, name).is_some();
        self.forget(|name| !exists(name));
        let mut gone = self.untrap(|name| !exists(name));
        for connection in &after.connections {
            let old = before.by_name(&connection.name).map(|(_, old)| old);
            if old.is_some_and(|old| format!("{old:?}") == format!("{connection:?}")) {
                continue;
            }
            for child in &connection.children {
                let name = Name::new(&connection.name, &child.name);
                let of_old = old.and_then(|old| old.children.iter().find(|of_old| of_old.name == child.name));
                gone.extend(self.renew(now, &name, of_old.map(|child| &**child), child));
                if of_old.is_none_or(|of_old| !of_old.start_action.starts()) && child.start_action.starts() {
                    self.want(now, name, None);
                } else if let Some(want) = self.wants.get_mut(&name)
                    && matches!(want.state, State::Due(_))
                {
                    (want.tries, want.state) = (0, State::Due(now));
                }
            }
        }
        gone
    }

    /// The trap of a child that may have changed is made anew.
    fn renew(&mut self, now: Instant, name: &Name, old: Option<&Child>, child: &Child) -> Vec<TrapId> {
        let by_start = |child: &Child| child.start_action.traps();
        let stood = self.traps.contains_key(name);
        let gone = self.untrap(|any| any == name);
        // One that came after a loss stays; one that `start_action` put there goes with it.
        let stays = stood && old.is_none_or(|old| !by_start(old));
        if by_start(child) || stays {
            self.trap(now, name.clone());
        }
        gone
    }
}

/// The child of that name.
pub(crate) fn child_of<'a>(policy: &'a Policy, name: &Name) -> Option<&'a std::sync::Arc<Child>> {
    let (_, connection) = policy.by_name(&name.connection)?;
    connection.children.iter().find(|child| child.name == name.child)
}

/// The wait after so many attempts that failed: it doubles.
fn back_off(connection: &Connection, tries: u32) -> Duration {
    let first = connection.retry_interval.max(Duration::from_secs(1));
    let doublings = tries.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(LONGEST_RETRY.max(first))
}
