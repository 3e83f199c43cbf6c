//! Standard error, as the log uses it.
//!
//! Each write wakes whoever reads the log, which costs more than to say the line. So what the IKE thread says in one round
//! (between two waits for something to happen) goes out in one write, before it waits again.

use crate::limits::LOG_ROUND;
use std::cell::RefCell;
use std::io::{self, Write};

thread_local! {
    /// What this thread has said in the present round; `None`: it has no rounds.
    static SAID: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Where the log's lines go.
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        SAID.with_borrow_mut(|said| match said {
            Some(said) => {
                if said.len() + lines.len() > LOG_ROUND {
                    let before = std::mem::take(said);
                    io::stderr().write_all(&before)?;
                }
                said.extend_from_slice(lines);
                Ok(lines.len())
            }
            None => io::stderr().write_all(lines).map(|()| lines.len()),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// This thread has rounds as long as this stands.
pub(crate) struct Rounds(());

impl Rounds {
    pub(crate) fn begin() -> Self {
        SAID.set(Some(Vec::new()));
        Self(())
    }

    /// A round is over.
    pub(crate) fn over(&self) {
        SAID.with_borrow_mut(|said| {
            if let Some(said) = said.as_mut().filter(|said| !said.is_empty()) {
                // A log that nobody reads any more is no reason to end a tunnel.
                let _ = io::stderr().write_all(said);
                said.clear();
            }
        });
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.over();
        SAID.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Option<usize> {
        SAID.with_borrow(|said| said.as_ref().map(Vec::len))
    }

    #[test]
    fn lines_are_kept_until_the_round_is_over_and_no_more_than_fit() {
        assert_eq!(kept(), None);
        let rounds = Rounds::begin();
        LogWriter.write_all(b"test: one line\n").unwrap();
        assert_eq!(kept(), Some(15));
        rounds.over();
        assert_eq!(kept(), Some(0));
        let line = [b"test: ".as_slice(), &[b'.'; LOG_ROUND - 7], b"\n"].concat();
        LogWriter.write_all(b"test: before\n").unwrap();
        LogWriter.write_all(&line).unwrap();
        assert_eq!(kept(), Some(LOG_ROUND), "what was said before is out");
        LogWriter.write_all(b"test: after\n").unwrap();
        assert_eq!(kept(), Some(12));
        drop(rounds);
        assert_eq!(kept(), None);
    }
}
