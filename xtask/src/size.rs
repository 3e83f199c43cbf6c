//! Sizes: lines per crate, and the files and functions that are longer than rule 7 likes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lines of a file without its tests.
const FILE: usize = 600;
/// Lines of a function.
const FUNCTION: usize = 70;

/// Counts; a long file or function is named but does not fail: the length is a smell to look at.
pub(crate) fn report() -> Result<String, String> {
    let mut files = Vec::new();
    collect(Path::new("crates"), &mut files)?;
    let (mut crates, mut long) = (BTreeMap::<String, (usize, usize)>::new(), Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let krate = path
            .components()
            .nth(1)
            .map(|c| c.as_os_str().to_string_lossy().into_owned())
            .unwrap_or_default();
        let whole = text.lines().count();
        let own = if path.components().any(|c| c.as_os_str() == "tests") {
            0
        } else {
            text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
        };
        let entry = crates.entry(krate).or_default();
        *entry = (entry.0 + own, entry.1 + whole - own);
        if own > FILE {
            long.push(format!("{:5} lines  {}", own, path.display()));
        }
        long.extend(
            functions(&text, own)
                .map(|(line, lines)| format!("{lines:5} lines  fn at {}:{line}", path.display())),
        );
    }
    let mut text = String::from("  code  tests  crate\n");
    for (krate, (own, tests)) in &crates {
        text += &format!("{own:6} {tests:6}  {krate}\n");
    }
    let (own, tests) = crates.values().fold((0, 0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
    text += &format!("{own:6} {tests:6}  in all");
    if !long.is_empty() {
        text += &format!("\nlonger than {FILE} lines a file or {FUNCTION} a function:\n{}", long.join("\n"));
    }
    Ok(text)
}

/// (first line, length) of each long function outside tests, by indentation as rustfmt leaves it.
fn functions(text: &str, own: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let lines: Vec<&str> = text.lines().take(own).collect();
    let is_fn = |line: &str| {
        let line = line.trim_start();
        ["fn ", "pub fn ", "pub(crate) fn ", "unsafe fn ", "pub const fn ", "pub unsafe fn "]
            .iter()
            .any(|p| line.starts_with(p))
    };
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_fn(line)) {
        let indent = line.len() - line.trim_start().len();
        let opens = lines[start..].iter().find(|l| l.ends_with('{') || l.ends_with(';'));
        if opens.is_none_or(|l| l.ends_with(';')) {
            continue;
        }
        let close = format!("{}}}", &line[..indent]);
        if let Some(length) = lines[start..].iter().position(|l| *l == close)
            && length + 1 > FUNCTION
        {
            found.push((start + 1, length + 1));
        }
    }
    found.into_iter()
}

pub(crate) fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}
