//! Carries out what the keeper wants: looks paths up, begins negotiations, installs traps, and hears what came of them.

use crate::Endpoint;
use crate::keeper::{Attempt, Name, Next, TrapState, child_of};
use crate::limits::{LONGEST_RETRY, RESOLVE_PATIENCE};
use base::{Instant, Now};
use dataplane::{Mode, Op, Outcome, TrapSpec, Without};
use ikev2::{Again, IkeSa, Origin, Wish};
use policy::{AddressPattern, Child, Connection, ConnectionId, EndAction, Ends};
use sa::{Answer, Branch, Event, IkeSaId, Job, JobId, OrderId, Path, Refusal, RefusalKind, Reply, Target};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

impl Endpoint {
    /// Does all that is due, after whatever has happened.
    pub(crate) fn tend(&mut self, now: Now) {
        self.lay_shunts(now.mono);
        loop {
            self.take_in();
            self.supersede(now);
            for lost in std::mem::take(&mut self.world.lost) {
                self.lose(now, &lost);
            }
            self.stop_seeking(now.mono);
            if let Some((order, reply)) = self.world.out.own_reply() {
                self.heed(now.mono, order, reply);
            } else if let Some(order) = self.keeper.overdue(now.mono) {
                self.fail_all(now.mono, order, "Its addresses were not looked up in time.".to_string());
            } else if let Some((connection, children)) = self.keeper.due(now.mono) {
                self.begin(now, connection, children);
            } else if let Some(name) = self.keeper.due_trap(now.mono) {
                self.lay_trap(now.mono, &name);
            } else {
                return;
            }
        }
    }

    /// A child is gone against our will, unless another IKE SA has it.
    fn lose(&mut self, now: Now, lost: &ikev2::Lost) {
        let policy = self.world.policy.clone();
        let name = Name::new(&lost.connection, &lost.child);
        let Some((_, connection)) = policy.by_name(&lost.connection) else { return };
        if child_of(&policy, &name).is_none() || self.stands(&name) {
            return;
        }
        let company = self.usable(&lost.connection);
        match (lost.action, lost.at) {
            (EndAction::Clear, _) => {}
            (EndAction::Trap, _) => self.keeper.trap(now.mono, name),
            (EndAction::Restart, _) if is_callable(connection) => {
                self.keeper.lose(now.mono, connection, &lost.child, company.is_some());
            }
            // Who has no address can only come back by itself, or be met where it has just been.
            (EndAction::Restart, None) => {}
            (EndAction::Restart, Some(path)) => {
                let wish = Wish::new(OrderId::NOBODY, vec![lost.child.clone()]);
                match company {
                    Some(ike) => self.step(now, ike, |sa, cx| sa.wish(cx, wish)),
                    None => {
                        let (connection, origin) = (lost.connection.clone(), Origin::default());
                        let (gateway, wishes) = (None, vec![wish]);
                        self.begin_one(now, Again { connection, path, gateway, wishes, origin });
                    }
                }
            }
        }
    }

    /// An IKE SA of that connection that can carry further children, now or soon.
    pub(crate) fn usable(&self, connection: &str) -> Option<IkeSaId> {
        let fits = |sa: &IkeSa| sa.is_usable() && !self.is_in_vain(sa);
        self.table.of_connection(connection).find(|(_, sa)| fits(sa)).map(|(id, _)| id)
    }

    /// Whether an IKE SA stands without the address that it needs: another one asks anew.
    fn is_in_vain(&self, sa: &IkeSa) -> bool {
        let of = sa.connection().and_then(|name| self.world.policy.by_name(name));
        of.is_some_and(|(_, of)| sa.lacks_address(&of.configuration))
    }

    fn stands(&self, name: &Name) -> bool {
        let packet = self.keeper.packet(name);
        let mut all = self.table.of_connection(&name.connection);
        all.any(|(_, sa)| sa.carries(&name.child, packet.as_ref()))
    }

    /// Asks for children: of the IKE SA that stands, or else for the path to a new one.
    fn begin(&mut self, now: Now, connection: String, children: Vec<String>) {
        let policy = self.world.policy.clone();
        let Some((_, of)) = policy.by_name(&connection) else {
            return self.keeper.forget(|name| name.connection == connection);
        };
        let mut missing = Vec::new();
        for child in children {
            let name = Name::new(&connection, &child);
            if child_of(&policy, &name).is_none() {
                self.keeper.forget(|any| *any == name);
            } else if self.stands(&name) {
                self.keeper.stands(now.mono, &name);
            } else {
                missing.push(child);
            }
        }
        if missing.is_empty() {
            return;
        }
        self.world.out.reach(Branch::TrapTried);
        let order = self.world.out.own_order();
        let mut attempt = Attempt { connection, children: missing, lookup: None };
        match self.usable(&attempt.connection) {
            Some(ike) => {
                let wish = self.wish(order, &attempt.connection, attempt.children.clone());
                self.keeper.try_now(order, attempt);
                self.step(now, ike, |sa, cx| sa.wish(cx, wish));
            }
            None => {
                let job = self.world.out.own_job(lookup(of));
                attempt.lookup = Some((job, now.mono + RESOLVE_PATIENCE));
                self.keeper.try_now(order, attempt);
            }
        }
    }

    fn wish(&self, order: OrderId, connection: &str, children: Vec<String>) -> Wish {
        let packet =
            |child: &String| Some((child.clone(), self.keeper.packet(&Name::new(connection, child))?));
        let packets = children.iter().filter_map(packet).collect();
        Wish { packets, ..Wish::new(order, children) }
    }

    /// The answer to a job that no IKE SA waits for.
    pub(crate) fn own_answer(&mut self, now: Now, job: JobId, answer: Answer) {
        if let Answer::Dataplane(outcome) = &answer
            && self.shunt_answer(now.mono, job, outcome)
        {
            return;
        }
        if let Some(again) = self.found(job) {
            self.on_gateway(now, again, answer);
        } else if let Some((order, connection)) = self.keeper.looked_up(job) {
            let answer = match answer {
                Answer::Resolved(answer) => answer,
                _ => Err("Its addresses were not looked up.".to_string()),
            };
            match answer {
                Ok(path) => self.on_path(now, order, &connection, path),
                Err(why) => self.fail_all(now.mono, order, why),
            }
        } else if let Some(name) = self.keeper.trap_waiting(job) {
            match answer {
                Answer::Resolved(Ok(path)) => self.install_trap(now.mono, &name, Some(ends(path))),
                Answer::Resolved(Err(why)) => self.no_trap(now.mono, &name, &why),
                Answer::Dataplane(Outcome::Failed(why)) => self.no_trap(now.mono, &name, &why),
                Answer::Dataplane(_) => self.trapped(&name),
                _ => {}
            }
        }
    }

    /// The path to the peer is known: the IKE SA that has come meanwhile, or a new one.
    fn on_path(&mut self, now: Now, order: OrderId, connection: &str, path: Path) {
        let children = self.keeper.asked_by(order);
        let policy = self.world.policy.clone();
        let (Some((id, of)), false) = (policy.by_name(connection), children.is_empty()) else {
            self.keeper.finish(order);
            return;
        };
        for name in self.keeper.astray(connection, ends(path)) {
            self.lay_trap_at(now.mono, &name, ends(path));
        }
        let wish = self.wish(order, connection, children);
        if let Some(ike) = self.usable(connection) {
            self.step(now, ike, |sa, cx| sa.wish(cx, wish));
        } else if let Err(refusal) = self.initiate(now, (id, of.clone()), path, wish) {
            self.world.out.reply(order, Reply::Refused(refusal));
        }
    }

    /// Begins an IKE SA.
    pub(crate) fn initiate(
        &mut self,
        now: Now,
        connection: (ConnectionId, Arc<Connection>),
        path: Path,
        wish: Wish,
    ) -> Result<(), Refusal> {
        let name = connection.1.name.clone();
        let in_vain = self.table.of_connection(&name).filter(|(_, sa)| self.is_in_vain(sa));
        for ike in in_vain.map(|(ike, _)| ike).collect::<Vec<_>>() {
            self.step(now, ike, |sa, cx| sa.make_room(cx));
        }
        let id = self.world.out.next_ike();
        let sa = ikev2::initiate(&mut self.world.cx(now), id, connection, path, wish)?;
        self.world.out.new_ike();
        self.table.insert(id, sa, None);
        Ok(())
    }

    /// What came of an attempt.
    fn heed(&mut self, now: Instant, order: OrderId, reply: Reply) {
        let asked = self.keeper.asked_by(order);
        let Some(Attempt { connection, .. }) = self.keeper.finish(order) else { return };
        let mut failures: Vec<(String, Refusal)> = Vec::new();
        match reply {
            Reply::Up { children, refused, .. } => {
                for child in children.iter().filter(|child| asked.contains(child)) {
                    self.has_come(now, &connection, child);
                }
                failures.extend(refused.into_iter().filter(|(child, _)| asked.contains(child)));
            }
            Reply::Refused(refusal) => {
                failures.extend(asked.into_iter().map(|child| (child, refusal.clone())));
            }
            _ => {}
        }
        self.fail(now, &connection, failures);
    }

    fn has_come(&mut self, now: Instant, connection: &str, child: &str) {
        let name = Name::new(connection, child);
        let policy = self.world.policy.clone();
        match policy.by_name(connection) {
            Some((_, of)) if !self.stands(&name) => self.keeper.missed(now, of, child),
            _ => self.keeper.stands(now, &name),
        }
    }

    fn fail_all(&mut self, now: Instant, order: OrderId, why: String) {
        let asked = self.keeper.asked_by(order);
        let Some(Attempt { connection, .. }) = self.keeper.finish(order) else { return };
        let kind = RefusalKind::NoConnection;
        let refusal = Refusal { kind, by_peer: false, connection: Some(connection.clone()), reason: why };
        let failures = asked.into_iter().map(|child| (child, refusal.clone())).collect();
        self.fail(now, &connection, failures);
    }

    /// Children did not come up: they are tried again later, and the log hears of those that fail for the same reason
    /// together.
    fn fail(&mut self, now: Instant, connection: &str, failures: Vec<(String, Refusal)>) {
        let policy = self.world.policy.clone();
        let Some((_, of)) = policy.by_name(connection) else { return };
        let mut told: BTreeMap<(Next, String), (Vec<String>, Refusal)> = BTreeMap::new();
        for (child, refusal) in failures {
            let name = Name::new(connection, &child);
            if self.stands(&name) {
                // The peer has brought it up meanwhile.
                self.keeper.stands(now, &name);
            } else if let Some(next) = self.keeper.failed(now, of, &child, refusal.kind) {
                let key = (next, refusal.reason.clone());
                told.entry(key).or_insert_with(|| (Vec::new(), refusal)).0.push(child);
            }
        }
        for ((next, _), (children, refusal)) in told {
            let again = match next {
                Next::Again(wait) => {
                    self.world.out.reach(Branch::TrapAgain);
                    Some(wait)
                }
                Next::GiveUp => None,
            };
            let all = children.len() == of.children.len();
            let children = if all { Vec::new() } else { children };
            let connection = connection.to_string();
            self.world.out.tell(Event::NotStarted { connection, children, refusal, again });
        }
    }

    /// Somebody orders things down: they are not begun again by themselves. Traps stay, as they do in swanctl, unless all
    /// goes.
    pub(crate) fn let_go(&mut self, target: &Target) {
        self.seek_no_more(target);
        match target {
            Target::All => {
                self.world.tickets.forget(|_| true);
                self.keeper.forget(|_| true);
                let gone = self.keeper.untrap(|_| true);
                self.remove_traps(gone);
            }
            Target::Connection(name) => {
                self.world.tickets.forget(|connection| connection == name);
                self.keeper.forget(|any| any.connection == *name);
            }
            Target::Child(name, child) => {
                self.keeper.forget(|any| any.connection == *name && any.child == *child);
            }
            Target::Ike(id) => {
                let of = self.table.iter().find(|(any, _)| any == id);
                let Some(name) = of.and_then(|(_, sa)| sa.connection()).map(str::to_string) else { return };
                self.keeper.forget(|any| any.connection == name);
            }
        }
    }

    /// Another policy is in force.
    pub(crate) fn renew(&mut self, now: Instant, before: &policy::Policy) {
        let after = self.world.policy.clone();
        self.world.directory.forget_memories(|name| after.by_name(name).is_some());
        let gone = self.keeper.reload(now, before, &after);
        self.remove_traps(gone);
        self.renew_shunts(now);
        let print = |policy: &policy::Policy, name: &str| policy.by_name(name).map(|(_, c)| format!("{c:?}"));
        self.world.tickets.forget(|name| print(before, name) != print(&after, name));
    }

    fn remove_traps(&mut self, gone: Vec<dataplane::TrapId>) {
        for id in gone {
            self.world.out.own_op(Op::Untrap(id));
        }
    }

    /// A trap is due. Selectors that stand for the ends' own addresses need those first.
    fn lay_trap(&mut self, now: Instant, name: &Name) {
        let policy = self.world.policy.clone();
        let (Some((_, connection)), Some(child)) =
            (policy.by_name(&name.connection), child_of(&policy, name))
        else {
            self.keeper.untrap(|any| any == name);
            return;
        };
        if let Some(trap) = self.keeper.trap_mut(name)
            && matches!(trap.state, TrapState::Lookup(..))
        {
            return self.no_trap(now, name, "Its addresses were not looked up in time.");
        }
        if needs_ends(child) {
            let job = self.world.out.own_job(lookup(connection));
            if let Some(trap) = self.keeper.trap_mut(name) {
                trap.state = TrapState::Lookup(job, now + RESOLVE_PATIENCE);
            }
        } else {
            self.install_trap(now, name, None);
        }
    }

    /// A trap stands for addresses that are no longer the ends'.
    fn lay_trap_at(&mut self, now: Instant, name: &Name, ends: Ends) {
        let before = self.keeper.trap_mut(name).and_then(|trap| trap.state.id());
        self.remove_traps(before.into_iter().collect());
        self.install_trap(now, name, Some(ends));
    }

    fn install_trap(&mut self, now: Instant, name: &Name, at: Option<Ends>) {
        let policy = self.world.policy.clone();
        let Some(child) = child_of(&policy, name) else { return };
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let ends = at.unwrap_or(Ends { local: nowhere, remote: nowhere });
        let (local_ts, remote_ts) = policy::propose(child, ends, None);
        if local_ts.is_empty() || remote_ts.is_empty() {
            return self.no_trap(now, name, "Its selectors do not have the addresses of the two ends.");
        }
        let id = self.world.out.new_trap();
        let spec = TrapSpec {
            id,
            name: format!("{}/{}", name.connection, name.child),
            then: Without::Acquire,
            mode: child.mode,
            local_ts,
            remote_ts,
            interface: child.interface.clone(),
        };
        let job = self.world.out.own_op(Op::Trap(spec));
        if let Some(trap) = self.keeper.trap_mut(name) {
            (trap.ends, trap.state) = (at, TrapState::Asked(id, job));
        }
    }

    fn trapped(&mut self, name: &Name) {
        if let Some(trap) = self.keeper.trap_mut(name)
            && let TrapState::Asked(id, _) = trap.state
        {
            self.world.out.reach(Branch::TrapLaid);
            trap.state = TrapState::Stands(id);
            let text = format!(
                "Packets start child \"{}\" of connection \"{}\" from now on.",
                name.child, name.connection
            );
            self.world.out.tell(Event::Note { ike: None, text });
        }
    }

    /// A trap cannot be laid now.
    fn no_trap(&mut self, now: Instant, name: &Name, why: &str) {
        let Some(trap) = self.keeper.trap_mut(name) else { return };
        (trap.ends, trap.state) = (None, TrapState::Due(now + LONGEST_RETRY));
        let text = format!(
            "Packets cannot start child \"{}\" of connection \"{}\": {why} Trying again in {} s.",
            name.child,
            name.connection,
            LONGEST_RETRY.as_secs()
        );
        self.world.out.tell(Event::Note { ike: None, text });
    }
}

/// Whether a connection names somebody to call.
fn is_callable(connection: &Connection) -> bool {
    connection.remote_addrs.iter().any(|pattern| match pattern {
        AddressPattern::Any => false,
        AddressPattern::Range(range) => range.start() == range.end(),
        AddressPattern::Name(_) => true,
    })
}

fn lookup(connection: &Connection) -> Job {
    Job::Resolve {
        name: connection.name.clone(),
        local: connection.local_addrs.clone(),
        remote: connection.remote_addrs.clone(),
    }
}

fn ends(path: Path) -> Ends {
    Ends { local: path.local.ip(), remote: path.remote.ip() }
}

/// Whether a child's selectors depend on the addresses of the two ends.
fn needs_ends(child: &Child) -> bool {
    child.local_ts.is_empty() || child.remote_ts.is_empty() || child.mode == Mode::Transport
}
