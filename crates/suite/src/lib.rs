//! Scenarios: what IKE peers may do to each other, one file per procedure, extension and attack in
//! `tests/suite`. This library has what they share.
#![forbid(unsafe_code)]

mod channel;
pub mod reader;

pub use channel::{Channel, Opened};
