//! What is wrong with a file, where, and what to write instead.

use std::fmt;
use std::path::PathBuf;

/// Whether a problem keeps the file from being used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It can, but somebody should know.
    Warning,
}

/// A warning is a problem of severity [`Severity::Warning`].
pub type Warning = Problem;

/// One thing that is wrong, with its place. Its text never repeats a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 when it is about the file as a whole.
    pub column: usize,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The place, to be shown.
    pub excerpt: Option<Excerpt>,
}

/// A part of a line with what to point at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Excerpt {
    /// The text of the line, or a part of it.
    pub text: String,
    /// Characters before what is pointed at.
    pub indent: usize,
    /// Characters that are pointed at, at least 1.
    pub width: usize,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        let margin = self.line.to_string().len();
        let file = self.file.display();
        match self.line {
            0 => write!(f, "\n{:margin$}--> {file}", "")?,
            line => write!(f, "\n{:margin$}--> {file}:{line}:{}", "", self.column)?,
        }
        if let Some(Excerpt { text, indent, width }) = &self.excerpt {
            write!(
                f,
                "\n{:margin$} |\n{} | {text}\n{:margin$} | {:indent$}{:^<width$}",
                "", self.line, "", "", ""
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{:margin$} = {hint}", "")?;
        }
        Ok(())
    }
}
