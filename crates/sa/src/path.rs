//! How datagrams travel between us and a peer.

use std::fmt;
use std::net::SocketAddr;

/// A UDP path. `marked` says that IKE messages on it carry the non-ESP marker (port 4500, RFC 3948
/// §2.2); whoever owns the sockets adds and strips it, the core never sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Whether IKE messages carry the non-ESP marker here.
    pub marked: bool,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.local, self.remote)
    }
}
