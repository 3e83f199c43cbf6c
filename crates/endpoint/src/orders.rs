//! What a person or the daemon wants: up, down, probe, status, reload.

use crate::Endpoint;
use base::{Now, Secret};
use ikev2::{End, Wish};
use policy::{ConnectionId, Gateway};
use sa::{Fate, IkeSaId, Order, OrderId, Path, Refusal, RefusalKind, Reply, TICKET_SECRET, Target};
use std::collections::BTreeSet;

/// An order to delete that is not answered yet.
pub(crate) struct Tally {
    waiting: BTreeSet<IkeSaId>,
    ike: usize,
    children: usize,
}

impl Endpoint {
    pub(crate) fn order(&mut self, now: Now, order: OrderId, what: Order) {
        match what {
            Order::Up { connection, child, path } => {
                if let Err(refusal) = self.up(now, order, (connection, path), child) {
                    self.world.out.reply(order, Reply::Refused(refusal));
                }
            }
            Order::Down(target) => self.down(now, order, &target),
            Order::Probe(id) => self.probe(now, order, id),
            Order::Rekey(target) => self.rekey(now, order, &target),
            Order::Clone { connection, child } => self.clone_ike(now, order, &connection, child),
            Order::Redirect(target, to) => self.redirect(now, order, (&target, &to)),
            Order::Status => {
                let all = self.table.iter().filter_map(|(_, sa)| sa.status(now.mono)).collect();
                self.world.out.reply(order, Reply::Status(all));
            }
            Order::Reload(policy) => {
                let before = std::mem::replace(&mut self.world.policy, policy);
                self.renew(now.mono, &before);
                self.world.out.reply(order, Reply::Done);
            }
            Order::TicketSecret(secret) => {
                self.renew_ticket_secret(now, secret);
                self.world.out.reply(order, Reply::Done);
            }
        }
    }

    /// Keys or passwords have changed: nobody comes back by a ticket that rests on those before.
    fn renew_ticket_secret(&mut self, now: Now, secret: Secret<[u8; TICKET_SECRET]>) {
        if self.world.settings.ticket_secret.as_ref() == Some(&secret) {
            return;
        }
        self.world.settings.ticket_secret = Some(secret);
        self.world.tickets.forget(|_| true);
        let all: Vec<IkeSaId> = self.table.iter().map(|(id, _)| id).collect();
        for id in all {
            self.step(now, id, |sa, cx| sa.bar_tickets(cx));
        }
    }

    fn up(
        &mut self,
        now: Now,
        order: OrderId,
        to: (ConnectionId, Path),
        child: Option<String>,
    ) -> Result<(), Refusal> {
        let (connection, path) = to;
        let found = self.world.policy.connection(connection).cloned();
        let connection = found
            .map(|found| (connection, found))
            .ok_or_else(|| not_found("There is no such connection."))?;
        let names: Vec<String> = connection.1.children.iter().map(|child| child.name.clone()).collect();
        let open = match child {
            None => names,
            Some(name) if names.contains(&name) => vec![name],
            Some(name) => {
                let all = if names.is_empty() { "none".to_string() } else { names.join(", ") };
                let connection = &connection.1.name;
                return Err(not_found(&format!(
                    "Connection `{connection}` has no child `{name}`; its children are: {all}."
                )));
            }
        };
        let wish = Wish::new(order, open);
        if let Some(id) = self.usable(&connection.1.name) {
            self.step(now, id, |sa, cx| sa.wish(cx, wish));
            return Ok(());
        }
        self.initiate(now, connection, path, wish)
    }

    fn down(&mut self, now: Now, order: OrderId, target: &Target) {
        self.let_go(target);
        let mut tally = Tally { waiting: BTreeSet::new(), ike: 0, children: 0 };
        for id in self.matching(target) {
            tally.waiting.insert(id);
            let end = End { tell_peer: true, fate: Fate::Ordered };
            let (mut ike, mut children) = (0, 0);
            self.step(now, id, |sa, cx| match target {
                Target::Child(_, name) => children = sa.close_child(cx, name),
                _ => {
                    (ike, children) = (1, sa.children().len());
                    sa.close(cx, end);
                }
            });
            tally.ike += ike;
            tally.children += children;
        }
        let waiting: Vec<IkeSaId> = tally.waiting.iter().copied().collect();
        self.tallies.insert(order, tally);
        match waiting.as_slice() {
            [] => self.answer_tallies(),
            all => all.iter().for_each(|id| self.settle_tallies(*id)),
        }
    }

    fn matching(&self, target: &Target) -> Vec<IkeSaId> {
        let usable = self.table.iter().filter(|(_, sa)| sa.is_usable());
        let matching = usable.filter(|(id, sa)| match target {
            Target::All => true,
            Target::Ike(wanted) => id == wanted,
            Target::Connection(name) => sa.connection() == Some(name),
            Target::Child(name, child) => sa.connection() == Some(name) && sa.children().contains(child),
        });
        matching.map(|(id, _)| id).collect()
    }

    /// An IKE SA has moved: orders that wait for its end, or for that of its children, may be done.
    pub(crate) fn settle_tallies(&mut self, id: IkeSaId) {
        if self.tallies.is_empty() {
            return;
        }
        let busy = self.table.get_mut(id).is_some_and(|slot| {
            let closing = !slot.sa.is_usable() && !slot.sa.is_over();
            closing || slot.sa.is_deleting_children()
        });
        if busy {
            return;
        }
        for tally in self.tallies.values_mut() {
            tally.waiting.remove(&id);
        }
        self.answer_tallies();
    }

    fn answer_tallies(&mut self) {
        let out = &mut self.world.out;
        self.tallies.retain(|order, tally| {
            let open = !tally.waiting.is_empty();
            if !open {
                out.reply(*order, Reply::Down { ike: tally.ike, children: tally.children });
            }
            open
        });
    }

    fn rekey(&mut self, now: Now, order: OrderId, target: &Target) {
        let (mut ike, mut children) = (0, 0);
        for id in self.matching(target) {
            self.step(now, id, |sa, cx| match target {
                Target::Child(_, name) => children += sa.rekey_child(cx, name),
                _ => ike += usize::from(sa.rekey(cx)),
            });
        }
        let reply = match ike + children {
            0 => Reply::Refused(not_found("There is no established SA of that name to give new keys to.")),
            _ => Reply::Rekeying { ike, children },
        };
        self.world.out.reply(order, reply);
    }

    fn clone_ike(&mut self, now: Now, order: OrderId, connection: &str, child: Option<String>) {
        let usable = self
            .usable(connection)
            .filter(|id| self.table.get_mut(*id).is_some_and(|slot| slot.sa.is_established()));
        match usable {
            Some(id) => {
                self.step(now, id, |sa, cx| sa.clone_ike(cx, Wish::new(order, child.into_iter().collect())))
            }
            None => {
                let refusal =
                    not_found("There is no established IKE SA of that name to put another one beside.");
                self.world.out.reply(order, Reply::Refused(refusal));
            }
        }
    }

    fn redirect(&mut self, now: Now, order: OrderId, (target, to): (&Target, &Gateway)) {
        let mut ike = 0;
        for id in self.matching(target) {
            self.step(now, id, |sa, cx| ike += usize::from(sa.redirect(cx, to)));
        }
        let reply = match ike {
            0 => Reply::Refused(not_found(
                "There is no established IKE SA of that name whose client follows a redirect.",
            )),
            _ => Reply::Redirecting { ike },
        };
        self.world.out.reply(order, reply);
    }

    fn probe(&mut self, now: Now, order: OrderId, id: IkeSaId) {
        let mut asked = false;
        self.step(now, id, |sa, cx| asked = sa.probe(cx, Some(order)));
        if !asked {
            let refusal = not_found("There is no established IKE SA of that number.");
            self.world.out.reply(order, Reply::Refused(refusal));
        }
    }
}

fn not_found(reason: &str) -> Refusal {
    Refusal { kind: RefusalKind::NotFound, by_peer: false, connection: None, reason: reason.to_string() }
}
