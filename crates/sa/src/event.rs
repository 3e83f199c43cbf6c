//! What the core tells: each event carries all that its line in the log needs.

use crate::{IkeSaId, Path, Proven, Side};
use base::{EspSpi, IkeSpi, MessageId};
use dataplane::{ChildId, Interface, Mode, Selector};
use policy::{ChildSuite, Identity, IkeSuite, PostQuantum};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Something that happened to an SA or at the door.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message was sent or accepted: the ladder of `handfast demo` and `watch` is made of these.
    Message(MessageTrace),
    /// An IKE SA is established.
    IkeUp(IkeFacts),
    /// An IKE SA is gone.
    IkeDown(IkeFacts, Fate),
    /// An IKE SA has taken the place of another, with all its children (RFC 7296 §2.8).
    IkeRekeyed {
        /// The one that it replaces.
        before: IkeSaId,
        /// The new one.
        facts: IkeFacts,
    },
    /// A child SA is installed.
    ChildUp(IkeSaId, ChildFacts),
    /// A child SA is gone.
    ChildDown(IkeSaId, ChildFacts, Fate),
    /// Something was refused, by us or by the peer.
    Refused {
        /// The IKE SA, when there is one already.
        ike: Option<IkeSaId>,
        /// With whom.
        path: Path,
        /// What and why.
        refusal: Refusal,
    },
    /// What should stand was tried and did not come up.
    NotStarted {
        /// The connection.
        connection: String,
        /// Its children that were asked for; empty: all that it has.
        children: Vec<String>,
        /// Why.
        refusal: Refusal,
        /// When it is tried again; `None`: it has been tried as often as `keyingtries` says.
        again: Option<Duration>,
    },
    /// A datagram was dropped without touching an SA.
    Dropped {
        /// Where it came from.
        path: Path,
        /// Why.
        why: Drop,
    },
    /// Anything else worth a line: a retry with another group, a cookie demanded, a NAT found.
    Note {
        /// The IKE SA.
        ike: Option<IkeSaId>,
        /// One sentence in plain words.
        text: String,
    },
}

/// One message as the ladder shows it.
#[derive(Clone, Debug)]
pub struct MessageTrace {
    /// The IKE SA.
    pub ike: IkeSaId,
    /// Whether we sent it (else it came in and was accepted).
    pub sent: bool,
    /// How often it had been sent before.
    pub resent: u32,
    /// The path it took.
    pub path: Path,
    /// The exchange type's name, e.g. `IKE_SA_INIT`.
    pub exchange: String,
    /// Request or response.
    pub response: bool,
    /// Its message id.
    pub message_id: MessageId,
    /// UDP payload octets (marker not counted), all fragments together.
    pub octets: usize,
    /// In how many datagrams.
    pub datagrams: usize,
    /// Payload names in order, e.g. `SA KE No N(NAT_DETECTION_SOURCE_IP)`; of an encrypted message those inside.
    pub payloads: String,
}

/// An IKE SA in the log.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct IkeFacts {
    pub ike: IkeSaId,
    pub connection: String,
    pub side: Side,
    pub spi_i: IkeSpi,
    pub spi_r: IkeSpi,
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
    /// How long it stood (zero when it just came up).
    pub age: Duration,
}

/// A child SA in the log.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ChildFacts {
    pub id: ChildId,
    pub name: String,
    pub mode: Mode,
    pub suite: ChildSuite,
    pub spi_in: EspSpi,
    pub spi_out: EspSpi,
    pub local_ts: Vec<Selector>,
    pub remote_ts: Vec<Selector>,
    pub udp_encap: bool,
    pub interface: Option<Interface>,
    /// The fresh PPK that has come with its own keys (RFC 9867 §3.2).
    pub ppk: Option<Arc<str>>,
}

/// Why an SA ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// An order of ours.
    Ordered,
    /// The peer deleted it.
    DeletedByPeer,
    /// The peer did not answer: how often the request was sent, and for how long.
    Silent {
        /// Transmissions.
        sent: u32,
        /// Since the first.
        after: Duration,
    },
    /// It was never finished.
    HalfOpenTimeout,
    /// Refused by us or by the peer while it was being made; the reason.
    Refused(Refusal),
    /// Replaced by a newer one.
    Replaced,
    /// The peer has lost its memory, and has shown it by its token (RFC 6290).
    Crashed,
    /// Its lifetime is over, and it got no new keys.
    Expired,
    /// Nobody has used it for as long as its `inactivity`.
    Unused,
    /// The peer broke the protocol in an authenticated message; the section and what it was.
    Fault(String),
    /// The data plane could not do it.
    Dataplane(String),
}

/// A refusal: what was offered, what was wanted, the nearest match, and what to change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Of what kind.
    pub kind: RefusalKind,
    /// Whether the peer refused us (then `reason` tells what we had asked for).
    pub by_peer: bool,
    /// The nearest connection, when one was considered.
    pub connection: Option<String>,
    /// One sentence or two, for the person at the keyboard.
    pub reason: String,
}

/// The kinds of refusal, stable names for `--json` and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum RefusalKind {
    NoConnection,
    NoProposalChosen,
    InvalidKe,
    AuthenticationFailed,
    TsUnacceptable,
    NoAdditionalSas,
    Dataplane,
    Busy,
    Silent,
    PeerError,
    NotFound,
    NoAddress,
    NoAddressFamily,
    Protocol,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Why a datagram was dropped. Noise: counted, and no SA knows of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Drop {
    /// Not an IKE message, truncated, or its lengths do not add up.
    Malformed,
    /// A major version that we do not speak.
    Version,
    /// No IKE SA has these SPIs.
    UnknownSpi,
    /// A response that nobody waits for.
    Unexpected,
    /// A request with a message id outside the window, or the response of which is no longer kept.
    OutOfWindow,
    /// A request that was answered; the kept response was sent again (or is already on its way).
    Replay,
    /// The integrity check failed.
    BadIcv,
    /// A cookie that we did not give.
    BadCookie,
    /// Too many half-open IKE SAs, in all or from this source.
    HalfOpenLimit,
    /// A fragment that does not fit to the others.
    BadFragment,
    /// A payload that may not stand in this message before its sender is authenticated.
    NotAllowed,
    /// An unprotected error notify; a hint at most.
    Unprotected,
    /// Larger than what an IKE message may have here.
    TooLarge,
}
