//! Text that comes from outside, made fit for a log line.

use crate::limits::MAX_TEXT;
use std::fmt;
use x509_parser::time::ASN1Time;

/// Why a file's content could not be used, in one sentence that does not repeat the content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// `text` in double quotes, without control characters, at most [`MAX_TEXT`] characters.
pub(crate) fn quote(text: &str) -> String {
    format!("\"{}\"", clip(text, MAX_TEXT))
}

/// The first `max` characters of `text`, control characters escaped.
pub(crate) fn clip(text: &str, max: usize) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|c| {
            let plain =
                !c.is_control() && (c == '"' || c == '\'' || c == '\\' || c.escape_debug().len() == 1);
            let escaped = (!plain).then(|| c.escape_debug());
            escaped.into_iter().flatten().chain(plain.then_some(c))
        })
        .take(max + 1)
        .collect();
    match escaped.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}

/// Seconds since 1970 as a date that everybody reads the same way.
pub(crate) fn date(seconds: i64) -> String {
    match ASN1Time::from_timestamp(seconds) {
        Ok(time) => {
            let time = time.to_datetime();
            let (hour, minute, second) = time.to_hms();
            format!(
                "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC",
                time.year(),
                u8::from(time.month()),
                time.day()
            )
        }
        Err(_) => format!("second {seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_disturbs_a_terminal_and_nothing_is_long() {
        assert_eq!(quote("a\x1b[2J\nb"), "\"a\\u{1b}[2J\\nb\"");
        assert_eq!(quote("C=CH, O=Häuser"), "\"C=CH, O=Häuser\"");
        assert_eq!(quote(&"x".repeat(MAX_TEXT + 1)).chars().count(), MAX_TEXT + 3);
        assert_eq!(quote(&"x".repeat(MAX_TEXT)).chars().count(), MAX_TEXT + 2);
    }
}
