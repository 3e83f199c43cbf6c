//! The file's text, and places in it.

use crate::limits::SHOWN_LINE;
use crate::problem::{Excerpt, Problem, Severity};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) struct Source {
    pub(crate) file: PathBuf,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
    /// For each line, whether its values may be secrets.
    secret: Vec<bool>,
}

impl Source {
    pub(crate) fn new(file: PathBuf, text: String) -> Self {
        let lines: Vec<usize> = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
            .collect();
        let secret = secret_lines(&text);
        Self { file, text, lines, secret }
    }

    /// The octets at `at`; empty when it is not of this text.
    /// The file that the text is from.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn slice(&self, at: &Range<usize>) -> &str {
        self.text.get(at.clone()).unwrap_or("")
    }

    /// A problem about the octets at `at`.
    pub(crate) fn problem(
        &self,
        severity: Severity,
        at: &Range<usize>,
        message: String,
        hint: Option<String>,
    ) -> Problem {
        let start = self.boundary(at.start);
        let index = self.lines.partition_point(|line| *line <= start).saturating_sub(1);
        let line_start = self.lines.get(index).copied().unwrap_or(0);
        let rest = self.text.get(line_start..).unwrap_or("");
        let line = rest.split('\n').next().unwrap_or("").trim_end_matches('\r');
        let before = self.slice(&(line_start..start)).chars().count();
        let marked = self.slice(&(start..self.boundary(at.end.max(start)))).split('\n').next().unwrap_or("");
        let excerpt = self.excerpt(index, line, before, marked.trim_end_matches('\r').chars().count());
        Problem {
            severity,
            file: self.file.clone(),
            line: index + 1,
            column: before + 1,
            message,
            hint,
            excerpt: Some(excerpt),
        }
    }

    /// A problem about the file as a whole.
    pub(crate) fn whole(&self, severity: Severity, message: String, hint: Option<String>) -> Problem {
        Problem { severity, file: self.file.clone(), line: 0, column: 0, message, hint, excerpt: None }
    }

    fn boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// The line with what is marked, cut to what fits, its secrets left out.
    fn excerpt(&self, index: usize, line: &str, before: usize, marked: usize) -> Excerpt {
        let shown: String = match self.secret.get(index) {
            Some(true) => redact(line),
            _ => line.to_string(),
        };
        let plain = shown.chars().map(|c| if c.is_control() { ' ' } else { c });
        // Far to the right: some of what stands before, for orientation.
        let skip = if before > SHOWN_LINE / 2 { before - SHOWN_LINE / 4 } else { 0 };
        let text: String = plain.skip(skip).take(SHOWN_LINE).collect();
        let length = text.chars().count();
        let indent = (before - skip).min(length);
        Excerpt { text, indent, width: marked.clamp(1, (length - indent).max(1)) }
    }
}

/// The line without what follows its first `=`.
fn redact(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) => format!("{key}= …"),
        // A header names only tables; anything else is the inside of a value.
        None if line.trim_start().starts_with('[') => line.to_string(),
        None => "…".to_string(),
    }
}

/// Which lines may hold secrets. This goes by the text alone, since it must hold for a file that does
/// not parse too: everything in tables under `secrets`, and every line that speaks of a secret before its
/// `=`, with the lines of a string that it opens.
fn secret_lines(text: &str) -> Vec<bool> {
    let mut in_table = false;
    let mut until: Option<&str> = None;
    let judge = |line: &str| {
        if let Some(quotes) = until {
            if line.contains(quotes) {
                until = None;
            }
            return true;
        }
        let trimmed = line.trim_start().to_ascii_lowercase();
        let is_header = trimmed.starts_with('[') && !trimmed.contains('=');
        if is_header {
            in_table = trimmed
                .trim_start_matches('[')
                .trim_start_matches([' ', '\t', '"', '\''])
                .starts_with("secret");
        }
        let names =
            trimmed.split('=').next().is_some_and(|key| key.contains("secret") || key.contains("psk"));
        let secret = in_table || (names && !is_header);
        if secret {
            let opened = |quotes: &&str| line.matches(*quotes).count() % 2 == 1;
            until = ["\"\"\"", "'''"].into_iter().find(opened);
        }
        secret
    };
    text.split('\n').map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, part: &str) -> Problem {
        let start = text.find(part).unwrap();
        let source = Source::new("a.toml".into(), text.to_string());
        source.problem(Severity::Error, &(start..start + part.len()), "Wrong.".into(), Some("Right.".into()))
    }

    #[test]
    fn a_problem_shows_its_place() {
        let shown = at("a = 1\r\n\tü = [\"x\", \"yy\"]\n", "\"yy\"").to_string();
        let wanted =
            "error: Wrong.\n --> a.toml:2:12\n  |\n2 |  ü = [\"x\", \"yy\"]\n  |            ^^^^\n  = Right.";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("a = \"{}HERE{}\"", "x".repeat(5000), "y".repeat(5000));
        let problem = at(&text, "HERE");
        assert_eq!(problem.column, 5006);
        let excerpt = problem.excerpt.unwrap();
        assert_eq!(excerpt.text.chars().count(), SHOWN_LINE);
        assert_eq!(excerpt.text.get(excerpt.indent..excerpt.indent + 4), Some("HERE"));
    }

    #[test]
    fn places_outside_the_text_do_no_harm() {
        let source = Source::new("a.toml".into(), "é".into());
        for range in [0..0, 1..1, 1..2, 5..9, usize::MAX..usize::MAX] {
            source.problem(Severity::Error, &range, String::new(), None).to_string();
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = "[connections.a]\nversion = 3\n[secrets.ike.a]\nsecert = \"hunter2\"\nsecret = \"\"\"\nhunter2\n\"\"\"\n\
                    [daemon]\nport = 1\n\"secret\" = hunter2\nsecrets.ike.b.x = { \"y\" = hunter2 }\n";
        let source = Source::new("a.toml".into(), text.into());
        for (start, _) in text.char_indices() {
            let shown = source.problem(Severity::Error, &(start..start + 1), String::new(), None).to_string();
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert!(at(text, "version").to_string().contains("version = 3"));
        assert!(at(text, "port").to_string().contains("port = 1"));
    }
}
