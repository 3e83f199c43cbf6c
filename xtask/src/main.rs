//! Checks of the repository itself: `cargo xtask deps` (the layer law) and `cargo xtask size`.

mod deps;
mod size;

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        Some("deps") => deps::check(),
        Some("size") => size::report(),
        _ => Err("usage: cargo xtask deps | size\n  deps  every dependency is in deps.toml with its reason, and points down\n  size  lines per crate, and what is longer than it should be".to_string()),
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
