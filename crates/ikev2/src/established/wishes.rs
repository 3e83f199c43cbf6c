//! Orders that want children up: what each waits for, and what it is told.

use super::{Asked, Established};
use crate::child::ChildSa;
use crate::{Again, Common, Cx};
use sa::{Branch, Event, Refusal, RefusalKind, Reply, Side};

impl Established {
    /// A child stands.
    pub(super) fn child_up(&mut self, sa: &mut Common, cx: &mut Cx<'_>, child: ChildSa) {
        cx.out.tell(Event::ChildUp(sa.id, child.facts()));
        // Most have one child for life: no room for further ones beforehand.
        self.children.reserve_exact(1);
        // Whatever the peer has narrowed it to, it is what this order gets.
        for wish in &mut sa.wishes {
            if let Some(index) = wish.open.iter().position(|open| *open == child.name) {
                let name = wish.open.remove(index);
                wish.up.push(name);
            }
        }
        self.children.push(child);
        self.settle_wishes(sa, cx);
    }

    /// A child that we wanted does not come; the log and whoever wished for it hear why.
    pub(crate) fn child_refused(&mut self, sa: &mut Common, cx: &mut Cx<'_>, name: &str, refusal: Refusal) {
        cx.out.tell(Event::Refused { ike: Some(sa.id), path: sa.path, refusal: refusal.clone() });
        for wish in &mut sa.wishes {
            if let Some(index) = wish.open.iter().position(|open| open == name) {
                wish.open.remove(index);
                wish.refused.push((name.to_string(), refusal.clone()));
            }
        }
    }

    /// Children are wished for that need an address of the peer's network, and the peer had none: another IKE SA asks for
    /// it again, since nothing but IKE_AUTH does.
    pub(crate) fn seek_address(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        let asks = self.proved_as == Side::Initiator && !self.chosen.connection.configuration.vips.is_empty();
        if asks && self.leases.received().is_none() && self.children.is_empty() && !sa.wishes.is_empty() {
            cx.reach(Branch::LeaseSought);
            let wishes = std::mem::take(&mut sa.wishes);
            cx.again.push(Again { wishes, ..self.successor(sa, sa.path) });
        }
    }

    /// Begins what is wished for and not begun; answers the orders on which all is decided.
    pub(super) fn settle_wishes(&mut self, sa: &mut Common, cx: &mut Cx<'_>) {
        let mut wishes = std::mem::take(&mut sa.wishes);
        for wish in &mut wishes {
            for name in std::mem::take(&mut wish.open) {
                let packet = wish.packet(&name);
                let carries = |child: &ChildSa| packet.as_ref().is_none_or(|packet| child.carries(packet));
                if self.children.iter().any(|child| child.name == name && carries(child)) {
                    wish.up.push(name);
                    continue;
                }
                if !self.is_begun(&name) {
                    match self.chosen.connection.children.iter().find(|child| child.name == name).cloned() {
                        Some(child) => self.queue_create(child),
                        None => {
                            let reason = format!("The IKE SA's connection has no child `{name}`.");
                            wish.refused.push((name, self.refusal(RefusalKind::NotFound, reason)));
                            continue;
                        }
                    }
                }
                wish.open.push(name);
            }
        }
        for wish in wishes {
            if wish.open.is_empty() {
                let reply = Reply::Up { ike: sa.id, children: wish.up, refused: wish.refused };
                cx.out.reply(wish.order, reply);
            } else {
                sa.wishes.push(wish);
            }
        }
    }

    fn is_begun(&self, name: &str) -> bool {
        let asking = self.asking.iter().any(|asking| match &asking.what {
            Asked::Child(asked) => asked.proposed.child.name == name,
            _ => false,
        });
        asking
            || self.installing.iter().any(|installing| installing.child.name == name)
            || self.answering.iter().any(|answering| answering.child.name == name)
            || self.is_queued(|task| task.creates(name))
    }
}
