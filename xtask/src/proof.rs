//! Which tests prove what: each row of the corpus' tables of scenarios, vulnerabilities and attacks has a test that bears
//! its name, or stands in `proof.toml` with the reason why it has none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The reasons, beside `deps.toml`.
const REASONS: &str = "proof.toml";

/// What became of a test in a log of `cargo test`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

/// What is known of the tests.
struct Tests {
    /// Names of all test functions in the sources.
    names: BTreeSet<String>,
    /// What a log says of them, if there is one.
    results: Option<BTreeMap<String, Outcome>>,
}

/// One row of a table.
struct Row {
    /// As it stands in the table.
    id: String,
    title: String,
    /// Beginnings of the names of its tests.
    prefixes: Vec<String>,
}

/// A table of the corpus.
struct Table {
    /// Its section in `proof.toml`, and what it is called.
    name: &'static str,
    file: &'static str,
    /// The columns of id and title.
    columns: (usize, usize),
    prefixes: fn(&str) -> Vec<String>,
}

const SCENARIOS: Table =
    Table { name: "scenarios", file: "scenarios.tsv", columns: (0, 3), prefixes: of_scenario };
const VULNS: Table =
    Table { name: "vulns", file: "vulns/vulns.tsv", columns: (0, 2), prefixes: of_vulnerability };
const ATTACKS: Table =
    Table { name: "attacks", file: "vulns/attacks.tsv", columns: (0, 1), prefixes: of_attack };

/// `cargo xtask scenarios` and `cargo xtask vulns`.
pub(crate) fn scenarios(options: &[String]) -> Result<String, String> {
    print(&[SCENARIOS], options)
}

/// The tables of vulnerabilities and of attacks.
pub(crate) fn vulns(options: &[String]) -> Result<String, String> {
    print(&[VULNS, ATTACKS], options)
}

fn print(tables: &[Table], options: &[String]) -> Result<String, String> {
    let mut log = None;
    let mut brief = false;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.as_str() {
            "--log" => {
                log = Some(options.next().ok_or("--log wants the file with what `cargo test` printed")?)
            }
            "--brief" => brief = true,
            other => return Err(format!("{other}: only --log FILE and --brief are known")),
        }
    }
    let corpus =
        std::env::var_os("HANDFAST_CORPUS").map_or_else(|| PathBuf::from("../shared/corpus"), PathBuf::from);
    let text = std::fs::read_to_string(REASONS).map_err(|error| format!("{REASONS}: {error}"))?;
    let reasons: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(&text).map_err(|error| format!("{REASONS}: {error}"))?;
    let tests = Tests::read(log.map(Path::new))?;
    let (mut texts, mut wrong) = (Vec::new(), false);
    for table in tables {
        let path = corpus.join(table.file);
        let Ok(content) = std::fs::read_to_string(&path) else {
            texts.push(format!("NOT RUN: {}: no corpus at {}", table.name, path.display()));
            continue;
        };
        let report = report(table, &content, &reasons, &tests);
        wrong |= report.wrong;
        texts.push(if brief { report.brief() } else { report.whole() });
    }
    let text = texts.join("\n");
    if wrong { Err(text) } else { Ok(text) }
}

struct Report {
    lines: Vec<String>,
    bad: Vec<String>,
    summary: String,
    wrong: bool,
}

impl Report {
    fn whole(&self) -> String {
        let besides = self.bad.iter().filter(|line| !self.lines.contains(line));
        let lines: Vec<&str> =
            self.lines.iter().chain(besides).chain([&self.summary]).map(String::as_str).collect();
        lines.join("\n")
    }

    fn brief(&self) -> String {
        let mut lines = self.bad.clone();
        lines.push(self.summary.clone());
        lines.join("\n")
    }
}

fn report(
    table: &Table,
    content: &str,
    reasons: &BTreeMap<String, BTreeMap<String, String>>,
    tests: &Tests,
) -> Report {
    let none = BTreeMap::new();
    let reasons = reasons.get(table.name).unwrap_or(&none);
    let rows = table.rows(content);
    let mut counts = BTreeMap::<&str, usize>::new();
    let (mut lines, mut bad, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        let found = tests.of(&row.prefixes);
        let reason = reasons.get(&row.id);
        let state = match (found.is_empty(), reason) {
            (true, Some(_)) => "out of scope",
            (true, None) => "MISSING",
            (false, _) => tests.state(&found),
        };
        *counts.entry(state).or_default() += 1;
        let told = if found.is_empty() { reason.cloned().unwrap_or_default() } else { found.join(" ") };
        let line = format!("{state:12}  {}  {}  [{told}]", row.id, row.title);
        if matches!(state, "MISSING" | "FAIL" | "no result") {
            bad.push(line.clone());
        }
        if !found.is_empty() && reason.is_some() {
            notes.push(format!("note: {REASONS} says why {} has no test, but it has: {told}", row.id));
        }
        lines.push(line);
    }
    for id in reasons.keys().filter(|id| rows.iter().all(|row| row.id != **id)) {
        bad.push(format!("{REASONS} names {id} in [{}], which is not a row of {}", table.name, table.file));
    }
    let wrong = !bad.is_empty();
    bad.append(&mut notes);
    let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let summary = format!("{}: {} rows: {}", table.name, rows.len(), counts.join(", "));
    Report { lines, bad, summary, wrong }
}

impl Table {
    fn rows(&self, content: &str) -> Vec<Row> {
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |which: usize| cells.get(which).map_or("", |cell| cell.trim());
            let id = cell(self.columns.0).to_string();
            Row { prefixes: (self.prefixes)(&id), id, title: cell(self.columns.1).to_string() }
        };
        content.lines().skip(1).filter(|line| !line.trim().is_empty()).map(row).collect()
    }
}

/// `S071` → `s071_`
fn of_scenario(id: &str) -> Vec<String> {
    vec![format!("{}_", id.to_lowercase())]
}

/// `CVE-2009-1957/1958` → `cve_2009_1957_`, `cve_2009_1958_`; `2005-0398` → `cve_2005_0398_`; `openiked #149` →
/// `openiked_149_`. Any one of them will do.
fn of_vulnerability(id: &str) -> Vec<String> {
    if let Some((product, number)) = id.split_once(" #") {
        let number: String = number.chars().take_while(char::is_ascii_digit).collect();
        return vec![format!("{}_{number}_", product.to_lowercase())];
    }
    let mut year = String::new();
    let mut found = Vec::new();
    for word in id.split(|c: char| !c.is_ascii_digit() && c != '-').flat_map(|word| word.split('-')) {
        match word.len() {
            4 if word.starts_with("20") && (year.is_empty() || is_year(id, word)) => year = word.to_string(),
            4.. => found.push(format!("cve_{year}_{word}_")),
            _ => {}
        }
    }
    found
}

/// Whether a word of four digits is the year of an id: another number follows it by a hyphen.
fn is_year(id: &str, word: &str) -> bool {
    id.contains(&format!("{word}-"))
}

/// The attack's first word that is no article: `Logjam (…)` → `attack_logjam_`.
fn of_attack(id: &str) -> Vec<String> {
    let words = id.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_lowercase);
    let mut words = words.filter(|word| !matches!(word.as_str(), "" | "the" | "of" | "a"));
    vec![format!("attack_{}_", words.next().unwrap_or_default())]
}

impl Tests {
    fn read(log: Option<&Path>) -> Result<Self, String> {
        let mut files = Vec::new();
        crate::size::collect(Path::new("crates"), &mut files)?;
        let mut names = BTreeSet::new();
        for path in files {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            names.extend(functions(&text));
        }
        let results = match log {
            Some(path) => {
                let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Some(results(&String::from_utf8_lossy(&text)))
            }
            None => None,
        };
        Ok(Self { names, results })
    }

    /// The tests whose names begin so.
    fn of(&self, prefixes: &[String]) -> Vec<String> {
        let fits = |name: &&String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.names.iter().filter(fits).cloned().collect()
    }

    fn state(&self, names: &[String]) -> &'static str {
        let Some(results) = &self.results else { return "has a test" };
        let results: Vec<_> = names.iter().map(|name| results.get(name)).collect();
        let any = |wanted| results.contains(&wanted);
        match () {
            () if any(Some(&Outcome::Failed)) => "FAIL",
            () if any(None) => "no result",
            () if any(Some(&Outcome::Passed)) => "pass",
            () => "not run here",
        }
    }
}

/// The names of the test functions of a source file: `#[test]` with `fn name` behind it, and the rows of macros that make
/// tests, which begin with `name:`.
fn functions(text: &str) -> Vec<String> {
    let is_part_of_a_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let name = line.strip_prefix("fn ").unwrap_or(line);
        let (name, behind) = name.split_at(name.find(|c| !is_part_of_a_name(c)).unwrap_or(name.len()));
        let is_row = behind.starts_with(": ") && name.contains('_') && name.ends_with(is_part_of_a_name);
        if (is_test && line.starts_with("fn ")) || (is_row && names_a_row(name)) {
            found.push(name.to_string());
        }
        is_test = line == "#[test]" || (is_test && (line.starts_with("#[") || line.starts_with("//")));
    }
    found
}

/// `s071_…` and `cve_…`.
fn names_a_row(name: &str) -> bool {
    let digits = |text: &str, count: usize| text.bytes().take_while(u8::is_ascii_digit).count() == count;
    name.starts_with("cve_") || name.strip_prefix('s').is_some_and(|rest| digits(rest, 3))
}

/// What `cargo test` has said of each test: `test module::name ... ok`, and `NOT RUN: name: why` of our own.
fn results(log: &str) -> BTreeMap<String, Outcome> {
    let mut found = BTreeMap::new();
    for line in log.lines() {
        if let Some((path, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            let name = path.rsplit("::").next().unwrap_or(path).trim_end_matches(" - should panic");
            let result = match result.split_whitespace().last() {
                Some("ok") => Outcome::Passed,
                Some("FAILED") => Outcome::Failed,
                _ => continue,
            };
            found.entry(name.to_string()).or_insert(result);
        }
    }
    for (_, said) in log.lines().filter_map(|line| line.split_once("NOT RUN: ")) {
        if let Some((name, _)) = said.split_once(':') {
            found.insert(name.trim().to_string(), Outcome::NotRun);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_tests() {
        assert_eq!(of_scenario("S071"), ["s071_"]);
        assert_eq!(of_vulnerability("CVE-2009-1957/1958"), ["cve_2009_1957_", "cve_2009_1958_"]);
        assert_eq!(
            of_vulnerability("CVE-2013-6466/6467, 2014-2037"),
            ["cve_2013_6466_", "cve_2013_6467_", "cve_2014_2037_"]
        );
        assert_eq!(of_vulnerability("CVE-2018-0131, 2017-17305"), ["cve_2018_0131_", "cve_2017_17305_"]);
        assert_eq!(of_vulnerability("CVE-2015-7575 (SLOTH)"), ["cve_2015_7575_"]);
        assert_eq!(of_vulnerability("openiked #149 (2026)"), ["openiked_149_"]);
        assert_eq!(of_attack("The Dangers of Key Reuse (2018)"), ["attack_dangers_"]);
    }

    #[test]
    fn tests_are_found_in_sources() {
        let text = "#[test]\n#[cfg(unix)]\nfn s001_a() {}\nfn s002_helper() {}\n    #[test]\n    fn s003_b() {}\n    s004_c: V4, V6;\n    s005: u8,\n";
        assert_eq!(functions(text), ["s001_a", "s003_b", "s004_c"]);
    }

    #[test]
    fn a_log_tells_what_became_of_them() {
        let log = "test a::s001_a ... ok\ntest s002_b ... FAILED\ntest x::s003_c ... ok\nNOT RUN: s003_c: no tool\n";
        let results = results(log);
        assert!(results["s001_a"] == Outcome::Passed && results["s002_b"] == Outcome::Failed);
        assert!(results["s003_c"] == Outcome::NotRun && results.len() == 3);
    }

    #[test]
    fn a_row_without_a_test_or_a_reason_is_told() {
        let content = "id\tcategory\tike\ttitle\nS001\tA\t2\tone\nS002\tA\t2\ttwo\nS003\tA\t2\tthree\nS004\tA\t2\tfour\n";
        let reasons = toml::from_str("[scenarios]\nS002 = \"why\"\nS009 = \"gone\"\n").unwrap();
        let names = ["s001_x", "s004_y"].map(str::to_string).into();
        let results = results("test s001_x ... ok\ntest s004_y ... FAILED\n");
        let report = report(&SCENARIOS, content, &reasons, &Tests { names, results: Some(results) });
        assert!(report.wrong);
        assert_eq!(report.summary, "scenarios: 4 rows: 1 FAIL, 1 MISSING, 1 out of scope, 1 pass");
        assert_eq!(report.bad.len(), 3, "{:?}", report.bad);
    }
}
