//! Why the data plane could not start, in sentences that say what to do.

use std::fmt;
use std::io;

/// Why the engine could not be started.
#[derive(Debug)]
pub enum Error {
    /// The machine (or container) has no TUN driver.
    NoTunDevice,
    /// The process lacks a privilege.
    NoPermission {
        /// What was tried.
        what: String,
    },
    /// A setting cannot be used.
    Setting(String),
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
            Error::NoTunDevice => f.write_str(
                "There is no /dev/net/tun. Load the kernel's tun module (`modprobe tun`); in a container, pass the \
                 device in (`--device /dev/net/tun --cap-add NET_ADMIN`).",
            ),
            Error::NoPermission { what } => {
                write!(f, "No permission to {what}. Run as root or give the program CAP_NET_ADMIN.")
            }
            Error::Setting(what) => f.write_str(what),
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
pub(crate) fn refused(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| match source.kind() {
        io::ErrorKind::PermissionDenied => Error::NoPermission { what },
        _ => Error::Io { what, source },
    }
}
