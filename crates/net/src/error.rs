//! What can go wrong with sockets, in sentences that say what to do.

use std::fmt;
use std::io;

/// Why a socket could not be opened or used.
#[derive(Debug)]
pub enum Error {
    /// Another program has the port.
    PortInUse {
        /// The UDP port.
        port: u16,
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The process lacks a privilege.
    NoPermission {
        /// What was tried.
        what: String,
        /// The Linux capability that allows it.
        capability: &'static str,
    },
    /// There is no socket for this address family or kind.
    NoSocket {
        /// What was to be sent.
        what: String,
    },
    /// A message is longer than a datagram can be.
    TooLong {
        /// Its octets.
        octets: usize,
    },
    /// Anything else that the kernel refused.
    Io {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::PortInUse { port, family } => write!(
                f,
                "UDP port {port} ({family}) is in use by another program, perhaps another IKE daemon. \
                 `ss -ulnp sport = :{port}` shows which; stop it, or configure another port."
            ),
            Error::NoPermission { what, capability } => {
                write!(f, "No permission to {what}. Run as root or give the program {capability}.")
            }
            Error::NoSocket { what } => write!(f, "There is no socket to send {what}."),
            Error::TooLong { octets } => {
                write!(f, "A message of {octets} octets is longer than a datagram can be.")
            }
            Error::Io { what, source } => write!(f, "Could not {what}: {source}."),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Sorts the kernel's answer to `what` into the kinds above.
pub(crate) fn refused(what: &str, capability: &'static str) -> impl FnOnce(io::Error) -> Error {
    let what = what.to_string();
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NoPermission { what, capability },
        _ => Error::Io { what, source },
    }
}
