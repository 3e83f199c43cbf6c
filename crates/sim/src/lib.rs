//! Deterministic worlds: sites with real endpoints, a virtual clock, a network with weather, NAT boxes
//! and an attacker, simulated data planes, and the invariants of the design checked after every step.
//!
//! The same seed gives the same world, octet for octet.
#![forbid(unsafe_code)]

mod checks;
mod host;
mod keeper;
mod ledger;
pub mod limits;
mod net;
pub mod peek;
mod plane;
pub mod realm;
mod rng;
pub mod site;
mod stats;
pub mod story;
#[cfg(test)]
mod tests;
mod trace;
mod traffic;
mod watch;
mod world;

pub(crate) use checks::Checks;
pub use host::{Core, Host};
pub use keeper::{Keeper, KeeperNature};
pub use ledger::Ledger;
pub use net::{Attacker, Datagram, IKE, NAT_T, NatBox, Scene, Weather};
pub use peek::Peek;
pub use plane::{DataplaneNature, SimDataplane};
pub use rng::SimRng;
pub use site::Site;
pub use stats::Stats;
pub use trace::Trace;
pub use traffic::{Flow, Traffic};
pub use world::{World, answered, established};
