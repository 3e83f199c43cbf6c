//! How long keys serve: when new ones are asked for, and when an SA ends for want of them (RFC 7296 §2.8).
//!
//! ```text
//!   born ───────────── rekey_time − random part ── rekey_time ───── life_time
//!                       │ new keys are asked for                     │ the SA ends
//! ```

use super::{Established, Task};
use crate::followup::Series;
use crate::ike_sa::{End, Wish};
use crate::{Again, Common, Cx, Lost, Origin, delete, idle, limits};
use base::Instant;
use dataplane::{ChildId, VolumeLimits};
use policy::{Child, ChildLifetime, EndAction, IkeLifetime, Volume};
use sa::{Fate, OrderId, Path, Side};
use std::time::Duration;

/// When an IKE SA needs a successor, and when it ends. `None`: never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IkeDues {
    rekey: Option<Instant>,
    end: Option<Instant>,
    /// When we are to prove anew who we are, by another IKE SA in this one's place.
    reauth: Option<Instant>,
    /// When the peer should have done so, or we. New keys do not put it off.
    proven_until: Option<Instant>,
    /// When it ends because the peer has gone over to another one.
    leave: Option<Instant>,
}

/// When a child SA needs a successor, and when it ends. `None`: never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChildDues {
    pub(crate) rekey: Option<Instant>,
    pub(crate) end: Option<Instant>,
}

impl IkeDues {
    /// For an IKE SA that comes to stand now. `age`: how long ago both have proved who they are.
    //= rfc7296 §2.8
    //# If the two ends have the same lifetime policies, it is possible that both will initiate a rekeying at the same
    //# time […]. To reduce the probability of this happening, the timing of rekeying requests SHOULD be jittered
    pub(crate) fn new(cx: &mut Cx<'_>, lifetime: &IkeLifetime, side: Side, age: Duration) -> Self {
        let IkeLifetime { rekey, reauth, over, rand } = *lifetime;
        let now = cx.now.mono;
        let last = rekey.max(reauth);
        let begins = side == Side::Initiator && !reauth.is_zero();
        Self {
            rekey: (!rekey.is_zero()).then(|| now + cx.soft(rekey, rand)),
            end: (!last.is_zero()).then(|| now + last + over),
            reauth: begins.then(|| now + cx.soft(reauth, rand).saturating_sub(age)),
            proven_until: (!reauth.is_zero()).then(|| now + (reauth + over).saturating_sub(age)),
            leave: None,
        }
    }

    /// For an IKE SA that takes this one's place by new keys.
    //= rfc4478 §2
    //# If the IKE SA is rekeyed, then the time limit applies to the new SA.
    fn renewed(self, cx: &mut Cx<'_>, lifetime: &IkeLifetime) -> Self {
        let Self { rekey, end, .. } = Self::new(cx, lifetime, Side::Responder, Duration::ZERO);
        Self { rekey, end, ..self }
    }
}

impl ChildDues {
    /// For a child SA that is made now.
    pub(crate) fn new(cx: &mut Cx<'_>, lifetime: &ChildLifetime) -> Self {
        let ChildLifetime { rekey, life, rand, .. } = *lifetime;
        let now = cx.now.mono;
        Self {
            rekey: (!rekey.is_zero()).then(|| now + cx.soft(rekey, rand)),
            end: (!life.is_zero()).then(|| now + life),
        }
    }
}

/// What the data plane is to watch of a child's lifetime.
pub(crate) fn volume(cx: &mut Cx<'_>, lifetime: &ChildLifetime) -> VolumeLimits {
    let mut soft = |volume: &Volume| {
        let less = if volume.rand == 0 { 0 } else { cx.rng.next_u64() % (volume.rand + 1) };
        (volume.rekey > 0).then(|| volume.rekey.saturating_sub(less).max(1))
    };
    let hard = |volume: &Volume| (volume.life > 0).then_some(volume.life);
    VolumeLimits {
        soft_bytes: soft(&lifetime.bytes),
        hard_bytes: hard(&lifetime.bytes),
        soft_packets: soft(&lifetime.packets),
        hard_packets: hard(&lifetime.packets),
    }
}

impl Cx<'_> {
    /// A time less a random part of `rand`; never nothing.
    fn soft(&mut self, time: Duration, rand: Duration) -> Duration {
        let less = self.jitter(Duration::ZERO, rand);
        time.saturating_sub(less).max(Duration::from_secs(1).min(time))
    }

    /// `least`, and a random part of `spread` more, in milliseconds.
    pub(crate) fn jitter(&mut self, least: Duration, spread: Duration) -> Duration {
        let millis = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return least;
        }
        least + Duration::from_millis(self.rng.next_u64() % (millis + 1))
    }
}

impl Established {
    /// The next moment at which a lifetime asks for something.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let children = self
            .children
            .iter()
            .flat_map(|child| [self.rekey_due(child.id, child.dues), child.dues.end, child.used.look]);
        let IkeDues { rekey, end, reauth, proven_until, leave } = self.dues;
        let ticket = self.resumption.due();
        let ike = [rekey.filter(|_| !self.is_rekey_begun()), end, reauth, proven_until, leave, ticket];
        children.chain(ike).flatten().min()
    }

    /// When it ends at the latest, new keys or not.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        let IkeDues { end, proven_until, leave, .. } = self.dues;
        [end, proven_until, leave].into_iter().flatten().min()
    }

    /// Until when what both have proved serves.
    pub(crate) fn proven_until(&self) -> Option<Instant> {
        [self.dues.reauth, self.dues.proven_until].into_iter().flatten().min()
    }

    /// A child that has or gets a successor already needs no other.
    fn rekey_due(&self, id: ChildId, dues: ChildDues) -> Option<Instant> {
        dues.rekey.filter(|_| !self.is_child_rekey_begun(id))
    }

    pub(crate) fn is_child_rekey_begun(&self, id: ChildId) -> bool {
        self.rekeys.iter().any(|rekey| rekey.old == id) || self.is_queued(|task| task.rekeys(id))
    }

    fn is_rekey_begun(&self) -> bool {
        let theirs = self.series.iter().any(Series::is_ike);
        theirs || self.is_rekeying_ike() || self.is_queued(|task| matches!(task, Task::RekeyIke(_)))
    }

    /// Asks for new keys where they are due, and lets go what is too old; the end of the IKE SA, if it is that.
    pub(super) fn on_lifetimes(&mut self, sa: &mut Common, cx: &mut Cx<'_>) -> Option<End> {
        let now = cx.now.mono;
        self.wake_later(now);
        let ends = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if ends(self.dues.leave) {
            return Some(End { tell_peer: true, fate: Fate::Replaced });
        }
        //= rfc4478 §2
        //# The original Responder that sends the AUTH_LIFETIME notification SHOULD send a DELETE notification soon after the
        //# end of the lifetime period, unless the IKE SA is deleted before the lifetime period elapses.
        if ends(self.dues.end) || ends(self.dues.proven_until) {
            for child in &self.children {
                cx.lost.extend(lost(&self.chosen.connection.name, &child.config));
            }
            return Some(End { tell_peer: true, fate: Fate::Expired });
        }
        let over: Vec<ChildId> = self.children.iter().filter(|c| ends(c.dues.end)).map(|c| c.id).collect();
        for id in over {
            self.end_child(sa, cx, id, Fate::Expired);
        }
        idle::look(self, sa, cx);
        let due = |child: &&crate::child::ChildSa| ends(self.rekey_due(child.id, child.dues));
        let due: Vec<ChildId> = self.children.iter().filter(due).map(|child| child.id).collect();
        // Where too much waits already, it is asked for later.
        for id in due {
            if !self.queue(Task::RekeyChild(id)) {
                self.rekey_child_later(cx, id);
            }
        }
        if ends(self.dues.reauth) {
            self.reauthenticate(sa, cx);
        }
        if ends(self.resumption.due()) {
            self.ask_for_ticket();
        }
        if ends(self.dues.rekey) && !self.is_rekey_begun() && !self.queue(Task::RekeyIke(None)) {
            self.rekey_ike_later(cx);
        }
        None
    }

    /// The next attempt to replace the IKE SA comes after a while.
    pub(crate) fn rekey_ike_later(&mut self, cx: &mut Cx<'_>) {
        self.dues.rekey = Some(cx.now.mono + cx.jitter(limits::RETRY_WAIT, limits::RETRY_SPREAD));
    }

    /// The next attempt to replace a child comes after a while.
    pub(crate) fn rekey_child_later(&mut self, cx: &mut Cx<'_>, id: ChildId) {
        let at = cx.now.mono + cx.jitter(limits::RETRY_WAIT, limits::RETRY_SPREAD);
        if let Some(child) = self.children.iter_mut().find(|child| child.id == id) {
            child.dues.rekey = Some(at);
        }
    }

    /// A child was refused new keys: the next attempt comes after a wait that doubles each time, but before the child's end,
    /// as far as that allows; how long it is.
    pub(crate) fn rekey_child_refused(&mut self, cx: &mut Cx<'_>, id: ChildId) -> Duration {
        let jitter = cx.jitter(Duration::ZERO, limits::RETRY_SPREAD);
        let Some(child) = self.children.iter_mut().find(|child| child.id == id) else { return jitter };
        let doublings = child.setbacks.min(16);
        child.setbacks = child.setbacks.saturating_add(1);
        let left = child.dues.end.map_or(limits::LONGEST_REFUSAL, |end| end.since(cx.now.mono) / 2);
        let most = limits::LONGEST_REFUSAL.min(left).max(limits::RETRY_WAIT);
        let wait = limits::RETRY_WAIT.saturating_mul(1 << doublings).min(most) + jitter;
        child.dues.rekey = Some(cx.now.mono + wait);
        wait
    }

    /// New lifetimes, for a new IKE SA.
    pub(crate) fn renew_dues(&mut self, cx: &mut Cx<'_>) {
        self.dues = self.dues.renewed(cx, &self.chosen.connection.lifetime);
    }

    /// Asks for another IKE SA with the same children in this one's place, and looks again after a while whether it has come.
    fn reauthenticate(&mut self, sa: &Common, cx: &mut Cx<'_>) {
        self.dues.reauth = Some(cx.now.mono + cx.jitter(limits::RETRY_WAIT, limits::RETRY_SPREAD));
        cx.again.push(self.successor(sa, sa.path));
    }

    /// The peer gives nothing in this IKE SA new keys, now or later: another one with the same children takes its place.
    //= rfc7296 §4
    //# If the responder rejects the CREATE_CHILD_SA request with a NO_ADDITIONAL_SAS notification, the implementation
    //# MUST be capable of instead deleting the old SA and creating a new one.
    pub(crate) fn begin_from_scratch(&mut self, sa: &Common, cx: &mut Cx<'_>, what: &str) {
        let connection = &self.chosen.connection;
        // Who lives at an address of ours has to come by itself to get it again.
        let may = self.proved_as == Side::Initiator || connection.configuration.pools.is_empty();
        let then = match may {
            true => "another IKE SA takes this one's place.",
            false => "it ends with its lifetime, unless the peer begins anew.",
        };
        cx.note(sa.id, format!("The peer gives {what} no new keys (NO_ADDITIONAL_SAS): {then}"));
        self.dues.rekey = None;
        self.children.iter_mut().for_each(|child| child.dues.rekey = None);
        if may {
            self.reauthenticate(sa, cx);
        }
    }

    /// An IKE SA on `path` with all that this one has.
    pub(crate) fn successor(&self, sa: &Common, path: Path) -> Again {
        let mut names: Vec<String> = Vec::new();
        for child in &self.children {
            if !names.contains(&child.name) {
                names.push(child.name.clone());
            }
        }
        let redirects = sa.origin.redirects.clone();
        let origin = Origin { succeeds: Some(sa.id), carried: names.clone(), redirects, ..Origin::default() };
        let wishes = vec![Wish::new(OrderId::NOBODY, names)];
        Again { connection: self.chosen.connection.name.clone(), path, gateway: None, wishes, origin }
    }

    /// The peer wants us to prove anew who we are, within that time.
    //= rfc4478 §2
    //# An Initiator that received an AUTH_LIFETIME notification SHOULD repeat the Initial exchange within the time indicated
    //# in the notification. The time is measured from the time that the original Initiator receives the notification.
    //= rfc4478 §5
    //# An Initiator MAY set reasonable limits on the amount of time in the AUTH_LIFETIME notification.
    pub(super) fn prove_within(&mut self, sa: &Common, cx: &mut Cx<'_>, time: Duration) {
        if self.proved_as != Side::Initiator {
            return;
        }
        let margin = time / 10;
        let at = cx.now.mono + (time - margin).saturating_sub(cx.jitter(Duration::ZERO, margin));
        let at = at.max(sa.born + limits::LEAST_AUTHENTICATION);
        let own = self.dues.reauth.filter(|_| !self.chosen.connection.lifetime.reauth.is_zero());
        self.dues.reauth = Some(own.map_or(at, |own| own.min(at)));
    }

    /// It ends after a while, whoever has taken its place.
    pub(crate) fn leave_after(&mut self, cx: &Cx<'_>, time: Duration) {
        self.dues.leave.get_or_insert(cx.now.mono + time);
    }

    /// A child has carried, or lived, as much as it may without new keys.
    pub(crate) fn wear_out(&mut self, sa: &mut Common, cx: &mut Cx<'_>, id: ChildId, hard: bool) {
        if hard {
            self.end_child(sa, cx, id, Fate::Expired);
        } else if self.children.iter().any(|child| child.id == id)
            && !self.is_child_rekey_begun(id)
            && !self.queue(Task::RekeyChild(id))
        {
            self.rekey_child_later(cx, id);
        }
    }

    /// A child has come to its end by age, or because nobody uses it; perhaps its successor stands.
    pub(crate) fn end_child(&mut self, sa: &mut Common, cx: &mut Cx<'_>, id: ChildId, fate: Fate) {
        let Some(index) = self.children.iter().position(|child| child.id == id) else { return };
        let child = self.children.remove(index);
        self.queue_delete(vec![delete::Named::of(&child)]);
        let successor = self.forget_rekeys_of(id);
        if !successor && fate == Fate::Expired {
            cx.lost.extend(lost(&self.chosen.connection.name, &child.config));
        }
        delete::remove(sa, cx, &child, fate);
    }
}

/// What is to come of a child whose time is over: one that was started by itself starts anew.
fn lost(connection: &str, child: &Child) -> Option<Lost> {
    let action = if child.start_action.starts() { EndAction::Restart } else { EndAction::Clear };
    (action != EndAction::Clear).then(|| Lost {
        connection: connection.to_string(),
        child: child.name.clone(),
        action,
        at: None,
    })
}
