//! What a step may use: the time, chance, the policy, and where its acts go.

use crate::Tickets;
use crate::ike_sa::{IkeSa, Wish};
use base::{Instant, Now, Rng};
use crypto::Suite;
use policy::{EndAction, Policy};
use sa::{Branch, Directory, Drop, Event, IkeSaId, Outbox, Path, Settings};
use std::net::IpAddr;
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
    /// The host's own addresses.
    pub addresses: &'a [IpAddr],
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
    /// What this step wants established anew, in another's place or elsewhere; whoever makes IKE SAs begins it.
    pub again: &'a mut Vec<Again>,
    /// What is kept for session resumption.
    pub tickets: &'a mut Tickets,
}

/// An IKE SA that is wanted because of another one: in its place, or with another gateway.
#[derive(Clone, Debug)]
pub struct Again {
    /// The connection's name.
    pub connection: String,
    /// Where to.
    pub path: Path,
    /// The name of the gateway, where its address has to be looked up first.
    pub gateway: Option<String>,
    /// Who waits for it, and for which children.
    pub wishes: Vec<Wish>,
    /// Where it comes from.
    pub origin: Origin,
}

/// What an IKE SA owes to the one before.
#[derive(Clone, Default, Debug)]
pub struct Origin {
    /// The IKE SA that is deleted as soon as this one has all that it is wanted for (make before break).
    pub succeeds: Option<IkeSaId>,
    /// The children of that one which have been asked for here.
    pub carried: Vec<String>,
    /// The gateway that has sent us here (RFC 5685).
    pub redirected_from: Option<IpAddr>,
    /// When gateways have sent us on, as far as that counts yet.
    pub redirects: Vec<Instant>,
    /// How often in a row the peer has seen a NAT where we allow none (RFC 4555 §3.9).
    pub nat_setbacks: u32,
    /// A ticket has led nowhere: it begins with a full exchange (RFC 5723).
    pub in_full: bool,
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
    /// Where the peer can be met at once: it has begun anew, and has shown that there.
    pub at: Option<Path>,
}

/// An older IKE SA that must go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Superseded {
    /// Which.
    pub ike: IkeSaId,
    /// Whether the peer still has it and must be told. After INITIAL_CONTACT it has not.
    pub tell_peer: bool,
    /// Where the peer of the one that replaces it is.
    pub by: IpAddr,
    /// The one that has been made to take over its children.
    pub heir: Option<IkeSaId>,
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

    /// A named branch of a procedure is taken.
    pub(crate) fn reach(&mut self, branch: Branch) {
        self.out.reach(branch);
    }

    /// A line for people.
    pub(crate) fn note(&mut self, ike: IkeSaId, text: impl Into<String>) {
        self.out.tell(Event::Note { ike: Some(ike), text: text.into() });
    }
}
