//! What one seed tells of two to four sites: clients of a gateway, or of two that stand in for each other, or networks
//! that all have tunnels with each other; everything that may befall them; and that in the end each pair has the one
//! IKE SA and the children that it wants, while packets flow, and that nothing is left when all is closed.

mod calm;
mod life;
mod plan;

use crate::story::{Ending, Kit};
use crate::{Flow, SimRng, World};
use base::{Instant, Rng};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a realm lives, and at which pace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// Some minutes, in which keys serve for less than two.
    Minutes,
    /// Thirty days, in which keys serve for hours.
    Month,
}

/// A caller and whom it calls.
#[derive(Clone, Debug)]
struct Link {
    /// Who begins.
    caller: &'static str,
    /// The caller's connection, by its number and its name.
    connection: u32,
    name: String,
    /// Who answers: one site, or one of two that stand in for each other.
    peers: Vec<&'static str>,
    /// The connection of whoever answers; its number, where it can call as well.
    back: (Option<u32>, String),
    children: Vec<&'static str>,
    /// What goes from the caller's network to the other's; `None` where the caller's address is leased.
    flows: Vec<Flow>,
}

/// A world and what is known of it.
struct Realm {
    world: World,
    dice: SimRng,
    links: Vec<Link>,
    names: Vec<&'static str>,
    span: Span,
    /// Nothing is lost on the way, and nobody loses anything: then no packet may be lost.
    is_gentle: bool,
    /// Uniqueness is asked for, so that there is one IKE SA in the end, whoever began.
    is_unique: bool,
    /// Children are laid as traps.
    traps: bool,
    /// How many addresses the gateway has to lease.
    pool: Option<usize>,
    /// Whether each site speaks MOBIKE.
    mobile: Vec<bool>,
    /// Whose traps have been ordered down.
    released: BTreeSet<&'static str>,
    /// Numbers the addresses that sites move to.
    moves: u8,
    began: Instant,
}

/// Tells the story of `seed`.
///
/// # Panics
/// When an invariant breaks, an order stays without an answer, the ends do not come to agree, a packet is lost that nothing
/// on the way has taken, or something is left at the end.
pub fn tell(seed: u64, span: Span, kit: &Kit, speak: bool) -> Ending {
    let mut realm = plan::lay_out(seed, span, kit, speak);
    realm.begin();
    realm.live();
    realm.heal();
    realm.carry();
    realm.end();
    let shape = format!("{} sites, {} tunnels", realm.names.len(), realm.links.len());
    Ending { result: shape, hash: realm.world.trace().hash(), stats: realm.world.figures() }
}

impl Span {
    /// The unit of all that is rolled: lifetimes, pauses, delays of probes.
    fn unit(self) -> Duration {
        match self {
            Self::Minutes => Duration::from_secs(1),
            Self::Month => Duration::from_secs(400),
        }
    }
}

impl Realm {
    fn seconds(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.dice.below(most * 1000))
    }

    /// Names the branch of the story in the figures of the run.
    fn mark(&mut self, what: &str) {
        self.world.stats.count(&format!("realm: {what}"));
    }

    /// Whether a site has the traps that it should have.
    fn is_trapped(&self, name: &str) -> bool {
        let host = self.world.host(name);
        let children = host.policy.connections.iter().flat_map(|connection| &connection.children);
        let wanted = children.filter(|child| child.start_action.traps()).count();
        self.released.contains(name) || host.dataplane.traps().count() >= wanted
    }

    fn is_awake(&self, name: &str) -> bool {
        !self.world.host(name).is_asleep(self.world.now())
    }
}
