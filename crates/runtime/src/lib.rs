//! The daemon: one IKE thread that owns the sans-IO endpoint, a pool for slow jobs, the data plane
//! and the control socket around it.
//!
//! ```text
//!   sockets ─┐                       ┌─ sockets
//!   timers  ─┤   ┌───────────────┐   ├─ job pool        (private keys, certificate paths)
//!   answers ─┼──►│ Driver ⇄ Core │──►┼─ data plane      (ESP over TUN)
//!   orders  ─┤   └───────────────┘   ├─ journal         (one line a decision)
//!   signals ─┘      IKE thread       └─ control clients (status, progress, events)
//! ```

mod control;
mod daemon;
mod desk;
mod driver;
mod fetch;
mod jobs;
mod journal;
mod lasting_secret;
mod library;
pub mod limits;
mod log_writer;
mod mailbox;
mod os;
mod plane;
pub mod protocol;
mod resolve;
mod resolver;
mod sentence;
mod status;
mod watch;

pub use control::{Client, ClientError};
pub use daemon::{Daemon, Dataplane, Setup, StartError};
pub use desk::{Loaded, Loader};
pub use driver::Authority;
pub use jobs::Keys;
pub use lasting_secret::{TicketSecret, lasting_secret, passing_secret};
pub use log_writer::LogWriter;
pub use os::SystemRng;
pub use resolver::ResolverConfig;
