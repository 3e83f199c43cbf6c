//! What tests of several crates need: the corpus of test data, captures, hexadecimal, chance that repeats.
//!
//! Only ever a dev-dependency.
#![forbid(unsafe_code)]

mod chance;
pub mod pcap;
mod tree;

pub use chance::Chance;
pub use tree::Tree;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The path of `name` in the corpus of test data, or `None` after printing that `test` did not run.
/// The corpus is where the environment variable `HANDFAST_CORPUS` says, else in `../shared/corpus` beside the
/// repository.
pub fn corpus(test: &str, name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("HANDFAST_CORPUS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus")),
        PathBuf::from,
    );
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    not_run(test, &format!("no corpus at {}", path.display()));
    None
}

/// Says that `test` did not run and why: a test that cannot run must not look as if it had passed.
pub fn not_run(test: &str, reason: &str) {
    // Past the test harness, which would swallow the output of a test that passes.
    use std::io::Write;
    // In one piece, for tests run in parallel.
    let line = format!("NOT RUN: {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The files of a directory and below, sorted by path.
///
/// # Panics
/// When the directory cannot be read.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(directory) = left.pop() {
        let entries = std::fs::read_dir(&directory);
        for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The content of a file; what ends in `.gz` is decompressed by the system's `gzip`.
///
/// # Panics
/// When it cannot be read.
pub fn read(path: &Path) -> Vec<u8> {
    if path.extension().is_none_or(|extension| extension != "gz") {
        return std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let output = Command::new("gzip").arg("-dc").arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("gzip: {error}"));
    assert!(output.status.success(), "gzip -dc {}: {}", path.display(), output.status);
    output.stdout
}

/// What the system's `xz` unpacks from a file, or `None` where there is no `xz`.
///
/// # Panics
/// When it cannot be unpacked.
pub fn unpack_xz(path: &Path) -> Option<Vec<u8>> {
    let output = Command::new("xz").arg("-dc").arg(path).output().ok()?;
    assert!(output.status.success(), "xz -dc {}: {}", path.display(), output.status);
    Some(output.stdout)
}

/// Writes a file, for tests that keep their expectations in files.
///
/// # Panics
/// When it cannot be written.
pub fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The contents of the plain files of a tar archive (POSIX.1-1988: 512-octet headers, octal sizes).
pub fn tar(archive: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = archive;
    std::iter::from_fn(move || {
        loop {
            let (header, behind) = rest.split_at_checked(512)?;
            let size = std::str::from_utf8(&header[124..135]).ok()?;
            let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).ok()?;
            let content = behind.get(..size)?;
            rest = behind.get(size.next_multiple_of(512)..)?;
            if matches!(header[156], b'0' | 0) {
                return Some(content);
            }
        }
    })
}

/// The octets of a hexadecimal text; blanks, line ends and colons between them are ignored.
///
/// # Panics
/// On any other character and on half an octet.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{c:?} is no hexadecimal digit")) as u8)
        .collect();
    assert!(digits.len().is_multiple_of(2), "half an octet at the end of {text:?}");
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Octets as hexadecimal text.
pub fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_what_it_writes() {
        assert_eq!(hex("00:ff 1\n0"), [0, 255, 16]);
        assert_eq!(to_hex(&[0, 255, 16]), "00ff10");
    }
}
