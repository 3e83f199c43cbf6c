//! What both versions of IKE stand on: the causes and acts of the sans-IO core, jobs, paths.
#![forbid(unsafe_code)]

mod act;
mod branch;
mod cookie;
mod crash;
mod directory;
mod event;
mod half_open;
mod job;
mod lease;
pub mod limits;
mod order;
mod outbox;
mod path;
pub mod puzzle;
mod rate;
mod received;
mod settings;
mod shard;

pub use act::{Act, Cause, Reason};
pub use branch::{Branch, Branches};
pub use cookie::{CookieJar, CookieOwner, Given, Shown};
pub use crash::{CRASH_SECRET, crash_token};
pub use directory::{Directory, Memory, Origin, PairKey, Whereabouts};
pub use event::{ChildFacts, Drop, Event, Fate, IkeFacts, MessageTrace, Refusal, RefusalKind};
pub use half_open::{Admission, Demand, HalfOpen, Place, Pressure};
pub use job::{
    AnnouncedAuth, Answer, AuthProof, Job, JobId, Means, MixedPpk, PPK_CONFIRMATION, PPK_PRINT, PeerProof,
    PpkAnswer, PpkRequest, Proven, SignedOctets, TrustRefusal, Verified,
};
pub use lease::{LeaseKeeper, LeaseRequest, PoolUsage};
pub use order::{ChildStatus, IkeStatus, Order, OrderId, Reply, Side, Target};
pub use outbox::Outbox;
pub use path::Path;
pub use puzzle::Puzzle;
pub use rate::{RateLimit, SourceRates};
pub use received::{Link, Received};
pub use settings::{Backoff, Settings};
pub use shard::Shard;

/// Octets of the secret behind tickets of session resumption (RFC 5723).
pub const TICKET_SECRET: usize = 32;

/// Names an IKE SA of one endpoint for as long as the endpoint lives; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct IkeSaId(pub u64);
