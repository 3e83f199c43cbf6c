//! When an authenticated peer breaks the protocol: what it is told, and what becomes of the IKE SA.

use std::fmt;
use std::panic::Location;
use wire::num::{NotifyType, PayloadType};
use wire::{Notify, ParseError};

/// What is wrong with a message, and where in this code that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// The rule, such as `RFC 7296 §2.5`.
    pub(crate) section: &'static str,
    seen: &'static Location<'static>,
}

#[derive(Clone, Debug)]
pub(crate) enum FaultKind {
    /// A critical payload that we do not know.
    Critical(PayloadType),
    /// The message as a whole is malformed, or lacks what it must have.
    Syntax(String),
}

impl Fault {
    #[track_caller]
    pub(crate) fn critical(payload: PayloadType) -> Self {
        Self { kind: FaultKind::Critical(payload), section: "RFC 7296 §2.5", seen: Location::caller() }
    }

    #[track_caller]
    pub(crate) fn syntax(section: &'static str, what: impl Into<String>) -> Self {
        Self { kind: FaultKind::Syntax(what.into()), section, seen: Location::caller() }
    }

    #[track_caller]
    pub(crate) fn missing(what: &str) -> Self {
        Self::syntax("RFC 7296 §1", format!("the {what} payload is missing"))
    }

    /// What the peer is told, and whether the IKE SA ends with it.
    //= rfc7296 §2.5
    //# If the critical flag is set and the payload type is unrecognized, the message MUST be rejected and
    //# the response to the IKE request containing that payload MUST include a Notify payload
    //# UNSUPPORTED_CRITICAL_PAYLOAD […] the Notification Data contains the one-octet payload type.
    //= rfc7296 §2.21.3
    //# it returns an INVALID_SYNTAX notification, then this error notification is considered fatal in
    //# both peers, meaning that the IKE SA is deleted without needing an explicit Delete payload.
    pub(crate) fn verdict(&self) -> (Notify<'static>, bool) {
        match &self.kind {
            FaultKind::Critical(kind) => {
                (Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0]), false)
            }
            FaultKind::Syntax(_) => (Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()), true),
        }
    }
}

impl From<ParseError> for Fault {
    #[track_caller]
    fn from(error: ParseError) -> Self {
        Self::syntax(error.section, error.problem.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FaultKind::Critical(kind) => write!(f, "a critical payload of the unknown type {} came", kind.0)?,
            FaultKind::Syntax(what) => f.write_str(what)?,
        }
        write!(f, " ({}; seen at {}:{})", self.section, self.seen.file(), self.seen.line())
    }
}
