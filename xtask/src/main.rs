//! Checks of the repository itself: `cargo xtask deps` (the layer law), `size`, and `scenarios` and `vulns` (what has a
//! test).

mod deps;
mod proof;
mod size;

use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask deps | size | scenarios [--log FILE] [--brief] | vulns [--log FILE] [--brief]
  deps       every dependency is in deps.toml with its reason, and points down
  size       lines per crate, and what is longer than it should be
  scenarios  each row of the corpus' scenarios with its tests, or why it has none (proof.toml)
  vulns      the same for the vulnerabilities and attacks
             --log FILE  what `cargo test` has printed: whether they passed
             --brief     only what is wrong, and the sum";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, options) = arguments.split_first().map_or(("", &[][..]), |(c, o)| (c.as_str(), o));
    let outcome = match command {
        "deps" => deps::check(),
        "size" => size::report(),
        "scenarios" => proof::scenarios(options),
        "vulns" => proof::vulns(options),
        _ => Err(USAGE.to_string()),
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
