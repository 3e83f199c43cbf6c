//! Whatever is in a file, reading it ends with a configuration or with problems.

mod common;

use common::{Dir, all};

const WHOLE: &str = include_str!("../../../docs/examples/everything.toml");

/// Deterministic pseudorandom numbers (an LCG with the constants of MMIX).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// Reads it, prints all, and checks that there is one or the other.
fn read(dir: &Dir, text: &str) {
    let outcome = dir.check(text);
    let shown = all(&outcome.problems);
    assert!(outcome.config.is_some() || !shown.is_empty(), "{text}");
}

#[test]
fn a_file_cut_anywhere_is_read_or_refused() {
    let dir = Dir::with_certificates();
    for end in (0..WHOLE.len()).filter(|end| WHOLE.is_char_boundary(*end)).step_by(7) {
        read(&dir, &WHOLE[..end]);
        let shown = all(&dir.check(&WHOLE[..end]).problems);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_file_with_words_exchanged_is_read_or_refused() {
    let dir = Dir::with_certificates();
    let mut chance = Chance(7);
    let words: Vec<&str> = WHOLE.split_inclusive([' ', '\n', '"', '.', '-']).collect();
    for _ in 0..400 {
        let mut changed = words.clone();
        for _ in 0..=chance.below(4) {
            let (from, to) = (chance.below(words.len()), chance.below(words.len()));
            changed[to] = words[from];
        }
        read(&dir, &changed.concat());
    }
}

#[test]
fn a_file_with_strange_characters_is_read_or_refused() {
    let dir = Dir::with_certificates();
    let mut chance = Chance(42);
    let strange =
        ['\0', '\u{feff}', 'é', '\u{202e}', '"', '\\', '[', ']', '{', '=', '\n', '\r', '\t', '%', '9', '𝒳'];
    for _ in 0..400 {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for _ in 0..=chance.below(6) {
            let place = chance.below(text.len());
            let character = strange[chance.below(strange.len())];
            if chance.below(2) == 0 { text[place] = character } else { text.insert(place, character) }
        }
        read(&dir, &text.into_iter().collect::<String>());
    }
}

#[test]
fn deep_and_long_files_are_read_or_refused() {
    let dir = Dir::new();
    for text in [
        "a = ".to_string() + &"[".repeat(100_000),
        "a = ".to_string() + &"{ a = ".repeat(20_000),
        "a.".repeat(50_000) + "b = 1",
        format!("[connections.a]\nproposals = \"{}\"", "-".repeat(100_000)),
        format!("[connections.a]\nlocal_addrs = \"{}\"", ",".repeat(100_000)),
        format!("[connections.a.local]\nid = \"{}\"", "CN=".repeat(30_000)),
        format!("[connections.a.children.c]\nlocal_ts = \"{}\"", "[".repeat(100_000)),
        format!("[{}]", "x".repeat(100_000)),
    ] {
        let outcome = dir.check(&text);
        assert!(outcome.config.is_none());
        let (shown, start) = (all(&outcome.problems), text.chars().take(40).collect::<String>());
        assert!(shown.len() < 100 * 1000, "{start}: {} octets", shown.len());
        assert!(outcome.problems.iter().all(|problem| problem.message.len() < 1000), "{start}");
    }
}
