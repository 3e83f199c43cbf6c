//! What both versions of IKE stand on: the causes and acts of the sans-IO core, jobs, paths.
#![forbid(unsafe_code)]

mod act;
mod event;
mod job;
pub mod limits;
mod order;
mod path;
mod settings;
mod shard;

pub use act::{Act, Cause, Reason};
pub use event::{ChildFacts, Drop, Event, Fate, IkeFacts, MessageTrace, Refusal, RefusalKind};
pub use job::{Answer, AuthProof, Job, JobId, PeerProof, SignedOctets, TrustRefusal};
pub use order::{ChildStatus, IkeStatus, Order, OrderId, Reply, Side, Target};
pub use path::Path;
pub use settings::{Backoff, Settings};
pub use shard::Shard;

/// Names an IKE SA of one endpoint for as long as the endpoint lives; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct IkeSaId(pub u64);
