//! A data plane: `esp` over a TUN device.
//!
//! [`Engine::start`] makes the device and the threads that carry packets: what the kernel routes into the
//! device leaves as ESP, what arrives as ESP comes out of the device. IKE messages that arrive on the
//! shared sockets are handed on. Linux only.

mod control;
mod device;
mod engine;
mod error;
mod inward;
pub mod limits;
mod mailbox;
mod merge;
mod netlink;
mod outward;
mod routes;
mod segment;
mod sys;
mod train;
mod virtio;

pub use engine::{Engine, EngineConfig, Input, Sink};
pub use error::Error;
