//! Any text as a configuration file: a configuration or problems, never a panic, never neither.
#![no_main]

use base::WallClock;
use config::Tools;
use libfuzzer_sys::fuzz_target;
use provider::{Provider, load_private_key};
use std::path::Path;

fuzz_target!(|octets: &[u8]| {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    // What the machine has elsewhere is no part of the input.
    if text.contains("/") || text.contains("\\u") || text.contains("\\U") || text.contains("\\x") {
        return;
    }
    let suite = Provider::new();
    let load_key = |der: &[u8]| load_private_key(der).map_err(|error| error.to_string());
    let tools = Tools { suite: &suite, load_key: &load_key, wall: WallClock(1_790_000_000) };
    let outcome = config::check_text(Path::new("/nonexistent/handfast.toml"), text, false, &tools);
    assert!(outcome.config.is_some() || !outcome.problems.is_empty());
    for problem in &outcome.problems {
        assert!(!problem.to_string().is_empty());
    }
});
