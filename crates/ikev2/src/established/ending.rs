//! How an established IKE SA ends: what hangs on it goes, and whoever waits for something hears why.

use super::{Asked, Asking, Established, Task};
use crate::closing::Lingering;
use crate::fate::refusal_of;
use crate::fresh_ppk::Offering;
use crate::ike_sa::{Gone, Next, Stage};
use crate::{Common, Cx, delete, loss, rekey_ike};
use dataplane::Op;
use sa::{Event, Fate, Refusal, Reply};

impl Established {
    /// The end, of which the peer knows or cannot be told.
    pub(super) fn end(mut self: Box<Self>, sa: &mut Common, cx: &mut Cx<'_>, fate: Fate) -> Next {
        let facts = sa.facts(&self.known(), cx.now.mono);
        self.clear(sa, cx, &fate);
        cx.out.disown(sa.id);
        rekey_ike::close_rival(&self.chosen, sa, cx, self.rival.take());
        cx.out.tell(Event::IkeDown(facts, fate));
        if self.channel.has_response() { Lingering::begin(cx, self.channel) } else { Box::new(Gone) }
    }

    /// Takes down all that hangs on this IKE SA; gives back the requests that have no response.
    pub(super) fn clear(&mut self, sa: &mut Common, cx: &mut Cx<'_>, fate: &Fate) -> Vec<Asking> {
        loss::ended(sa, cx, &self.chosen.connection.name, &self.children, fate);
        for child in std::mem::take(&mut self.children) {
            delete::remove(sa, cx, &child, fate.clone());
        }
        let unfinished = self.installing.drain(..).map(|installing| installing.child);
        let unfinished = unfinished.chain(self.answering.drain(..).map(|answering| answering.child));
        for child in unfinished.chain(self.retired.drain(..).map(|retired| retired.child)) {
            cx.out.dataplane(sa.id, Op::Remove(child.id));
            cx.directory.release_spi(child.agreed.spi_in);
        }
        self.clear_series(cx);
        let refusal = refusal_of(fate, sa.path, Some(&self.chosen.connection.name));
        self.asking.iter().for_each(|asking| abandon(cx, &asking.what, &refusal));
        for task in self.todo.drain(..).chain(self.later.drain(..).map(|(_, task)| task)) {
            if let Task::FollowUp(asked, _) = &task {
                cx.directory.release_spi(asked.proposed.spi);
            }
            let order = match task {
                Task::Probe(order) => order,
                Task::CloneIke(wish, _) => Some(wish.order),
                _ => None,
            };
            if let Some(order) = order {
                cx.out.reply(order, Reply::Refused(refusal.clone()));
            }
        }
        for wish in std::mem::take(&mut sa.wishes) {
            cx.out.reply(wish.order, Reply::Refused(refusal.clone()));
        }
        self.granting.clear();
        self.consulting.clear();
        self.offering = Offering::None;
        self.leases.release(sa, cx);
        self.end_tickets(sa, cx, fate);
        cx.directory.leave(&self.identities.pair, sa.id);
        std::mem::take(&mut self.asking)
    }
}

/// A request of ours comes to nothing, because the IKE SA ends.
pub(super) fn abandon(cx: &mut Cx<'_>, what: &Asked, refusal: &Refusal) {
    match what {
        Asked::Child(asked) => cx.directory.release_spi(asked.proposed.spi),
        Asked::Probe(Some(order)) => cx.out.reply(*order, Reply::Refused(refusal.clone())),
        Asked::CloneIke(asked) => cx.out.reply(asked.wish.order, Reply::Refused(refusal.clone())),
        Asked::Probe(None)
        | Asked::Delete(_)
        | Asked::Told
        | Asked::RekeyIke(_)
        | Asked::Update(_)
        | Asked::Verify(_) => {}
    }
}
