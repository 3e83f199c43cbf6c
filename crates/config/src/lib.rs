//! The configuration file: TOML, with the names and meanings of swanctl.conf, read into
//! [`policy::Policy`].
//!
//! Parse, don't validate: what comes out has no string that means something else, no default and no
//! `Option` that means "default". All errors of a file are told at once, each with its place, what is wrong
//! and what to write instead; no error repeats a secret.
#![forbid(unsafe_code)]

mod addresses;
mod auth;
mod connection;
mod files;
mod interfaces;
mod lifetimes;
pub mod limits;
mod load;
mod ppk;
mod problem;
mod reader;
mod revocation;
pub mod schema;
mod secrets;
mod settings;
mod shunts;
mod source;
mod value;

pub use load::{LoadKey, Outcome, Tools, check, check_text, load};
pub use problem::{Excerpt, Problem, Severity, Warning};
pub use settings::{DaemonSettings, DataplaneChoice, LogFormat, LogLevel, LogSettings, ResolverSettings};

use policy::Policy;
use std::sync::Arc;

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// The connections.
    pub policy: Arc<Policy>,
    /// Pre-shared keys and private keys.
    pub secrets: trust::Secrets,
    /// How the daemon runs.
    pub daemon: DaemonSettings,
}
