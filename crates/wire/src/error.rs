//! Why a message cannot be read.

use std::fmt;

/// Why octets are not an IKEv2 message: what is wrong, at which octet, and which section says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// What is wrong.
    pub problem: Problem,
    /// The octet where it was found, counted from the start of the datagram (or of the decrypted chain).
    pub at: usize,
    /// The rule, such as `RFC 7296 §3.1`.
    pub section: &'static str,
}

/// What is wrong with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A field reaches over the end.
    Truncated {
        /// The field or structure.
        what: &'static str,
        /// Octets that it needs.
        need: usize,
        /// Octets that are left.
        have: usize,
    },
    /// A length or count field disagrees with what is there.
    Mismatch {
        /// The field.
        what: &'static str,
        /// Its value.
        said: usize,
        /// What it would have to be.
        real: usize,
    },
    /// Another major version than 2; above 2 it is answered with INVALID_MAJOR_VERSION (RFC 7296 §2.5).
    MajorVersion(u8),
    /// More entries than [`limits`](crate::limits) allow.
    TooMany {
        /// The entries.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A value that the field cannot have.
    Value {
        /// The field.
        what: &'static str,
        /// What stands there.
        value: usize,
    },
    /// Octets after the place where the structure ends.
    Trailing {
        /// The structure.
        what: &'static str,
        /// How many octets are too many.
        octets: usize,
    },
}

impl ParseError {
    pub(crate) const fn new(problem: Problem, at: usize, section: &'static str) -> Self {
        Self { problem, at, section }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { what, need, have } => {
                write!(f, "{what} needs {need} octets, but only {have} are left")
            }
            Self::Mismatch { what, said, real } => write!(f, "{what} says {said} where {real} is right"),
            Self::MajorVersion(major) => write!(f, "the major version is {major}, not 2"),
            Self::TooMany { what, limit } => write!(f, "more than {limit} {what}"),
            Self::Value { what, value } => write!(f, "{what} cannot be {value}"),
            Self::Trailing { what, octets } => write!(f, "{octets} octets stand after the end of {what}"),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at octet {}, {})", self.problem, self.at, self.section)
    }
}

impl std::error::Error for ParseError {}
