//! Orders that want children up: what each waits for, and what it is told.

use super::{Established, Task};
use crate::child::{ChildSa, Traffic};
use crate::{Common, Cx};
use dataplane::{Mode, Selector};
use policy::Child;
use sa::{Event, Refusal, RefusalKind, Reply};
use std::sync::Arc;

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

    /// Networks that the peer says it protects and that no child carries are asked for, as far as the configuration allows:
    /// once, when all else stands.
    //= rfc7296 §3.15.2
    //# traffic to the addresses listed in the INTERNAL_IP4/6_SUBNET attributes should be sent through the gateway that
    //# announces the attributes. If there are no existing Child SAs whose Traffic Selectors cover the address in question,
    //# new SAs need to be created.
    pub(super) fn reach(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        if !sa.wishes.is_empty() || self.is_making_child() || self.children.is_empty() {
            return;
        }
        for subnet in self.leases.take_unreached() {
            let carried: Vec<Selector> =
                self.children.iter().flat_map(|child| child.agreed.remote.iter().copied()).collect();
            let subnet = Selector::addresses(subnet);
            if policy::within(&subnet, &carried) {
                continue;
            }
            let part = |child: &Child| -> Vec<Selector> {
                let allowed = child.remote_ts.iter().filter_map(|allowed| allowed.intersect(&subnet));
                allowed.filter(|part| !policy::within(part, &carried)).collect()
            };
            let usable = |child: &&Arc<Child>| child.mode == Mode::Tunnel && !child.single_pair;
            let children = self.chosen.connection.children.iter().filter(usable);
            let found = children.map(|child| (child.clone(), part(child))).find(|(_, part)| !part.is_empty());
            let addresses = subnet.addresses;
            let text = match &found {
                Some((child, _)) => {
                    format!(
                        "The peer protects {addresses} too: asking for it by a further child `{}`.",
                        child.name
                    )
                }
                None => format!("The peer protects {addresses} too, which no child's `remote_ts` allows."),
            };
            cx.note(sa.id, text);
            if let Some((child, part)) = found {
                self.queue(Task::CreateFor(child, Traffic::To(part)));
            }
        }
    }

    fn is_begun(&self, name: &str) -> bool {
        self.asked_children().any(|asked| asked.proposed.child.name == name)
            || self.series.iter().any(|series| series.child_name() == Some(name))
            || self.installing.iter().any(|installing| installing.child.name == name)
            || self.answering.iter().any(|answering| answering.child.name == name)
            || self.is_queued(|task| task.creates(name))
    }
}
