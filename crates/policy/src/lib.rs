//! Validated configuration, and the pure deciders over it. After `config` no string that means
//! something else, no default and no `Option` that means "default" is left.
#![forbid(unsafe_code)]

mod connection;
mod identity;
mod proposal;

pub use connection::{
    AddressPattern, AuthMethod, Certificate, Child, Connection, ConnectionId, EncapChoice, LocalAuth, Policy,
    RemoteAuth, SendCert, StartAction, Unique,
};
pub use identity::{IdPattern, Identity};
pub use proposal::{ChildSuite, IkeSuite, Offer, Proposal, Transform};
