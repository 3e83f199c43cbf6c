//! A cursor over received octets that knows where it stands in the datagram.

use crate::{ParseError, Problem};

/// Reads front to back; every step that finds too little says what it wanted and where.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
    section: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`, whose first octet is octet `at` of the datagram, under the rules of `section`.
    pub(crate) const fn new(bytes: &'a [u8], at: usize, section: &'static str) -> Self {
        Self { rest: bytes, at, section }
    }

    /// The offset of the next octet.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` octets.
    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], ParseError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                self.at += count;
                Ok(taken)
            }
            None => Err(self.error(Problem::Truncated { what, need: count, have: self.rest.len() })),
        }
    }

    /// A reader of the next `count` octets alone.
    pub(crate) fn part(&mut self, count: usize, what: &'static str) -> Result<Reader<'a>, ParseError> {
        let at = self.at;
        Ok(Reader { rest: self.take(count, what)?, at, section: self.section })
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.at += self.rest.len();
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ParseError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                self.at += N;
                Ok(*taken)
            }
            None => Err(self.error(Problem::Truncated { what, need: N, have: self.rest.len() })),
        }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, ParseError> {
        self.array::<1>(what).map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, ParseError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, ParseError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, ParseError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// That nothing is left.
    pub(crate) fn end(&self, what: &'static str) -> Result<(), ParseError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error(Problem::Trailing { what, octets: self.rest.len() }))
        }
    }

    /// An error at the next octet.
    pub(crate) const fn error(&self, problem: Problem) -> ParseError {
        ParseError::new(problem, self.at, self.section)
    }

    /// An error `back` octets before the next one: at the field that was just read.
    pub(crate) const fn error_before(&self, back: usize, problem: Problem) -> ParseError {
        ParseError::new(problem, self.at.saturating_sub(back), self.section)
    }
}
