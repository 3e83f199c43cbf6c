//! Exit codes, the same for every command.

use std::process::ExitCode;

/// How a command ended. `--help` lists these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Refused or failed; the reason was printed.
    Failed = 1,
    /// The command line or the configuration is at fault.
    Usage = 2,
    /// No daemon answers on the control socket.
    NoDaemon = 3,
    /// This machine lacks something that the command needs (permission, namespaces).
    Unable = 4,
}

impl Exit {
    pub(crate) fn code(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
