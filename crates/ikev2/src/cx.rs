//! What a step may use: the time, chance, the policy, and where its acts go.

use crate::ike_sa::IkeSa;
use base::{Now, Rng};
use crypto::Suite;
use policy::{EndAction, Policy};
use sa::{Directory, Drop, Event, IkeSaId, Outbox, Path, Settings};
use std::sync::Arc;

/// The world as one step sees it.
pub struct Cx<'a> {
    /// Both clocks.
    pub now: Now,
    /// The configuration in force.
    pub policy: &'a Arc<Policy>,
    /// The algorithms.
    pub suite: &'a dyn Suite,
    /// The only source of chance.
    pub rng: &'a mut dyn Rng,
    /// What the endpoint was told once.
    pub settings: &'a Settings,
    /// Where acts go.
    pub out: &'a mut Outbox,
    /// Who is established with whom.
    pub directory: &'a mut Directory,
    /// IKE SAs that this step makes obsolete; whoever owns them ends them after it.
    pub superseded: &'a mut Vec<Superseded>,
    /// IKE SAs that this step has made; whoever owns the others owns them after it.
    pub born: &'a mut Vec<IkeSa>,
    /// Children that are gone against our will, for whoever brings them up again.
    pub lost: &'a mut Vec<Lost>,
    /// Half-open IKE SAs whose first protected message was not made with their keys: the door counts them
    /// (RFC 8019 §7.2).
    pub spoiled: &'a mut u32,
}

/// A child SA that is gone against our will.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The connection's name.
    pub connection: String,
    /// The child's name.
    pub child: String,
    /// What its configuration wants then: `dpd_action` or `close_action`.
    pub action: EndAction,
    /// Where the peer was last.
    pub path: Path,
}

/// An older IKE SA that must go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superseded {
    /// Which.
    pub ike: IkeSaId,
    /// Whether the peer still has it and must be told. After INITIAL_CONTACT it has not.
    pub tell_peer: bool,
}

impl Cx<'_> {
    /// `len` random octets.
    pub(crate) fn random(&mut self, len: usize) -> Vec<u8> {
        let mut octets = vec![0; len];
        self.rng.fill(&mut octets);
        octets
    }

    /// A datagram that nobody waits for.
    pub(crate) fn unexpected(&mut self, path: Path) {
        self.out.tell(Event::Dropped { path, why: Drop::Unexpected });
    }

    /// A line for people.
    pub(crate) fn note(&mut self, ike: IkeSaId, text: impl Into<String>) {
        self.out.tell(Event::Note { ike: Some(ike), text: text.into() });
    }
}
