//! What happened in a world: always as a hash, as text when somebody looks.

use crate::ledger::{FNV, fnv};
use std::fmt::Write;

/// The trace of one world.
#[derive(Default)]
pub struct Trace {
    hash: u64,
    lines: u64,
    line: String,
    loud: bool,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { hash: FNV, ..Self::default() }
    }

    /// From now on each line is also printed.
    pub(crate) fn speak(&mut self) {
        self.loud = true;
    }

    /// Adds a line.
    pub(crate) fn add(&mut self, line: std::fmt::Arguments<'_>) -> &str {
        self.line.clear();
        let _ = self.line.write_fmt(line);
        self.hash = fnv(self.hash, self.line.as_bytes());
        self.lines += 1;
        if self.loud {
            println!("{}", self.line);
        }
        &self.line
    }

    /// Names the whole history so far: the same seed gives the same.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.lines
    }
}
