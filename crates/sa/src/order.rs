//! What a person or the daemon may ask of the core.

use crate::{IkeSaId, Path, Proven, Received, Refusal, TICKET_SECRET};
use base::{EspSpi, IkeSpi, Secret};
use dataplane::{ChildId, Interface, Mode, Selector};
use policy::{ChildSuite, ConnectionId, Gateway, Identity, IkeSuite, Leased, Policy, PostQuantum};
use std::sync::Arc;
use std::time::Duration;

/// Names an order; chosen by the caller, who counts from zero, and returned with the reply.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct OrderId(pub u64);

impl OrderId {
    /// Whoever does not want to hear what comes of it.
    pub const NOBODY: Self = Self(u64::MAX);

    /// The endpoint's own orders have this bit.
    const OWN: u64 = 1 << 63;

    /// The name of the endpoint's own order number `number`.
    pub(crate) fn own(number: u64) -> Self {
        Self(number | Self::OWN)
    }

    /// Whether the endpoint gave this order itself: nobody outside waits for its reply.
    pub fn is_own(self) -> bool {
        self.0 & Self::OWN != 0
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Order {
    /// Initiate: an IKE SA of `connection` with its first child, or, where the IKE SA stands already,
    /// the child named (or each that is missing). Answered by `Up` or `Refused` when that is decided.
    Up {
        /// Which connection.
        connection: ConnectionId,
        /// Which child of it; `None`: all.
        child: Option<String>,
        /// The path, resolved by the caller: source address by route, destination by DNS.
        path: Path,
    },
    /// Delete what matches, telling the peer. Answered by `Down` when the peer has answered or was given up.
    Down(Target),
    /// Send a liveness probe now. Answered by `Alive` or `Refused`.
    Probe(IkeSaId),
    /// Give what matches new keys: a child by its name, else IKE SAs. Answered at once by `Rekeying` or `Refused`; what comes
    /// of it is told by events.
    Rekey(Target),
    /// Make another IKE SA beside the one of a connection, with that child or none (RFC 7791). Answered by `Up` or `Refused`.
    Clone {
        /// The connection's name.
        connection: String,
        /// A child that the new one gets.
        child: Option<String>,
    },
    /// Send the clients of what matches on to another gateway (RFC 5685). Answered at once by `Redirecting` or `Refused`.
    Redirect(Target, Gateway),
    /// Tell all IKE SAs. Answered at once.
    Status,
    /// Use this policy from now on; SAs that stand keep what they were made with. Answered by `Done`.
    Reload(Arc<Policy>),
    /// Make tickets with this secret from now on (RFC 5723), because keys or passwords have changed: tickets from before are
    /// worth nothing, neither those that we gave nor those that we hold. Answered by `Done`.
    TicketSecret(Secret<[u8; TICKET_SECRET]>),
}

/// What an order to delete means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// Every IKE SA of a connection.
    Connection(String),
    /// Every child SA of that name in that connection.
    Child(String, String),
    /// One IKE SA.
    Ike(IkeSaId),
    /// All.
    All,
}

/// What comes of an order.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It is up: the IKE SA and the child SAs that were made, by name.
    Up {
        /// The IKE SA.
        ike: IkeSaId,
        /// Children that now stand.
        children: Vec<String>,
        /// Children that were refused while the IKE SA stands.
        refused: Vec<(String, Refusal)>,
    },
    /// It is down: how many IKE SAs and child SAs went.
    Down {
        /// IKE SAs closed.
        ike: usize,
        /// Child SAs closed.
        children: usize,
    },
    /// So many clients are sent on to another gateway.
    Redirecting {
        /// IKE SAs.
        ike: usize,
    },
    /// New keys are being asked for: for how many IKE SAs and child SAs.
    Rekeying {
        /// IKE SAs.
        ike: usize,
        /// Child SAs.
        children: usize,
    },
    /// The peer answered.
    Alive {
        /// After this long.
        round_trip: Duration,
    },
    /// All IKE SAs, by age.
    Status(Vec<IkeStatus>),
    /// Done.
    Done,
    /// Not done, and why.
    Refused(Refusal),
}

/// Who began.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// The initiator of an IKE SA.
    Initiator,
    /// Its responder.
    Responder,
}

/// One IKE SA for `status`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct IkeStatus {
    pub id: IkeSaId,
    pub connection: String,
    pub side: Side,
    pub spi_i: IkeSpi,
    pub spi_r: IkeSpi,
    /// `connecting`, `established`, `deleting`.
    pub state: &'static str,
    pub path: Path,
    pub local_id: Option<Identity>,
    pub remote_id: Option<Identity>,
    /// What we have proved, round by round.
    pub local_auth: Vec<Proven>,
    /// What the peer has.
    pub remote_auth: Vec<Proven>,
    pub suite: Option<IkeSuite>,
    /// Whether it withstands a quantum computer, once the suite is known.
    pub post_quantum: Option<PostQuantum>,
    /// Both ends have proved the whole of IKE_SA_INIT.
    pub full_transcript: bool,
    pub nat_local: bool,
    pub nat_remote: bool,
    pub fragmentation: bool,
    /// It was taken up again by a ticket (RFC 5723).
    pub resumed: bool,
    /// We hold a ticket to take it up again.
    pub ticket: bool,
    pub age: Duration,
    pub idle: Duration,
    /// What the peer gave us by a configuration payload.
    pub received: Option<Arc<Received>>,
    /// What we gave the peer.
    pub leased: Vec<Leased>,
    pub children: Vec<ChildStatus>,
}

/// One child SA for `status`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ChildStatus {
    pub id: ChildId,
    pub name: String,
    pub mode: Mode,
    pub suite: ChildSuite,
    pub spi_in: EspSpi,
    pub spi_out: EspSpi,
    pub udp_encap: bool,
    pub local_ts: Vec<Selector>,
    pub remote_ts: Vec<Selector>,
    pub interface: Option<Interface>,
    /// The fresh PPK that has come with its own keys (RFC 9867 §3.2).
    pub ppk: Option<Arc<str>>,
    pub age: Duration,
}
