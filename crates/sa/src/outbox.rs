//! Where the acts of one step collect, and who waits for which job.

use crate::{Act, Branch, Branches, Event, IkeSaId, Job, JobId, OrderId, Path, Reply};
use dataplane::{ChildId, Op, TrapId};
use std::collections::{BTreeMap, VecDeque};

/// Acts in the order in which they are to be done, and the ledgers of jobs and child names.
#[derive(Debug)]
pub struct Outbox {
    acts: VecDeque<Act>,
    last_job: u64,
    last_child: u64,
    last_ike: u64,
    last_trap: u64,
    last_order: u64,
    owners: BTreeMap<JobId, IkeSaId>,
    /// Replies to the endpoint's own orders.
    own: VecDeque<(OrderId, Reply)>,
    branches: Branches,
}

impl Outbox {
    /// An empty one. `shard` keeps the child names of several endpoints over one data plane apart.
    pub fn new(shard: u32) -> Self {
        let first = u64::from(shard) << 40;
        Self {
            acts: VecDeque::new(),
            last_job: 0,
            last_child: first,
            last_ike: 0,
            last_trap: first,
            last_order: 0,
            owners: BTreeMap::new(),
            own: VecDeque::new(),
            branches: Branches::default(),
        }
    }

    /// The next act to be done.
    pub fn pop(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// A named branch of a procedure is taken.
    pub fn reach(&mut self, branch: Branch) {
        self.branches.take(branch);
    }

    /// Which branches were taken, and how often.
    pub fn branches(&self) -> &Branches {
        &self.branches
    }

    /// Sends a datagram.
    pub fn transmit(&mut self, path: Path, bytes: Vec<u8>) {
        self.acts.push_back(Act::Transmit { path, bytes });
    }

    /// Sends a NAT keepalive.
    pub fn keepalive(&mut self, path: Path) {
        self.acts.push_back(Act::Keepalive { path });
    }

    /// Tells something.
    pub fn tell(&mut self, event: Event) {
        self.acts.push_back(Act::Event(Box::new(event)));
    }

    /// Answers an order.
    pub fn reply(&mut self, order: OrderId, reply: Reply) {
        if order == OrderId::NOBODY {
            return;
        }
        if order.is_own() {
            self.own.push_back((order, reply));
        } else {
            self.acts.push_back(Act::Reply(order, Box::new(reply)));
        }
    }

    /// The next reply to one of the endpoint's own orders.
    pub fn own_reply(&mut self) -> Option<(OrderId, Reply)> {
        self.own.pop_front()
    }

    /// A name for an order that the endpoint gives itself.
    pub fn own_order(&mut self) -> OrderId {
        self.last_order += 1;
        OrderId::own(self.last_order)
    }

    /// Asks for slow work that concerns no IKE SA; its answer has no owner.
    pub fn own_job(&mut self, job: Job) -> JobId {
        let id = self.name_job();
        self.acts.push_back(Act::Job(id, job));
        id
    }

    /// Asks the data plane for what concerns no IKE SA; its answer has no owner.
    pub fn own_op(&mut self, op: Op) -> JobId {
        let id = self.name_job();
        self.acts.push_back(Act::Dataplane(id, op));
        id
    }

    /// Asks for slow work; its answer goes to `owner`.
    pub fn job(&mut self, owner: IkeSaId, job: Job) -> JobId {
        let id = self.next_job(owner);
        self.acts.push_back(Act::Job(id, job));
        id
    }

    /// Asks the data plane; its answer goes to `owner`.
    pub fn dataplane(&mut self, owner: IkeSaId, op: Op) -> JobId {
        let id = self.next_job(owner);
        self.acts.push_back(Act::Dataplane(id, op));
        id
    }

    /// Who waits for this answer; nobody does a second time.
    pub fn owner(&mut self, job: JobId) -> Option<IkeSaId> {
        self.owners.remove(&job)
    }

    /// Forgets the jobs of an IKE SA that is gone: late answers find nobody.
    pub fn disown(&mut self, owner: IkeSaId) {
        self.owners.retain(|_, of| *of != owner);
    }

    /// The answers that one IKE SA waits for go to another.
    pub fn reassign(&mut self, from: IkeSaId, to: IkeSaId) {
        self.owners.values_mut().filter(|owner| **owner == from).for_each(|owner| *owner = to);
    }

    /// A name for a new IKE SA, never used twice.
    pub fn new_ike(&mut self) -> IkeSaId {
        self.last_ike += 1;
        IkeSaId(self.last_ike)
    }

    /// The name that the next IKE SA will get.
    pub fn next_ike(&self) -> IkeSaId {
        IkeSaId(self.last_ike + 1)
    }

    /// A name for a new child SA, never used twice.
    pub fn new_child(&mut self) -> ChildId {
        self.last_child += 1;
        ChildId(self.last_child)
    }

    /// A name for a new trap, never used twice.
    pub fn new_trap(&mut self) -> TrapId {
        self.last_trap += 1;
        TrapId(self.last_trap)
    }

    fn next_job(&mut self, owner: IkeSaId) -> JobId {
        let id = self.name_job();
        self.owners.insert(id, owner);
        id
    }

    fn name_job(&mut self) -> JobId {
        self.last_job += 1;
        JobId(self.last_job)
    }
}
