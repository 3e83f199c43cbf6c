//! `make bench`: Handfast beside its peers, in one run, as ratios.

mod cpu;
mod handshake;
mod load;
mod stream;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wants = |what: &str| args.iter().all(|a| a.starts_with("--")) || args.iter().any(|a| a == what);
    let as_json = args.iter().any(|a| a == "--json");
    let Some(handfast) = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("handfast")))
    else {
        eprintln!("the folder of this program cannot be found");
        return ExitCode::FAILURE;
    };
    let mut facts = serde_json::Map::new();
    if wants("handshake") {
        facts.insert("handshake".to_string(), handshakes(&handfast, as_json));
    }
    if wants("stream") {
        facts.insert("stream".to_string(), streams(&handfast, as_json));
    }
    if as_json {
        println!("{}", serde_json::Value::Object(facts));
    }
    ExitCode::SUCCESS
}

/// Where the run is: on standard error, so that it disturbs neither table nor JSON.
fn progress(what: &str) {
    eprintln!("measuring {what}");
}

/// An error without the log that may follow it.
fn first_line(error: &str) -> &str {
    error.lines().next().unwrap_or_default()
}

/// Established IKE SAs per responder: enough that the memory per SA is not the noise of the allocator.
const IKE_SAS: usize = 10_000;

fn handshakes(handfast: &Path, quiet: bool) -> serde_json::Value {
    let rows = handshake::all(handfast, IKE_SAS);
    if !quiet {
        println!("As responder, data plane left out; the ratio is strongSwan's figure by ours");
        println!("{:<44} {:>9} {:>11} {:>7}", "", "Handfast", "strongSwan", "ratio");
        rows.iter().for_each(|row| println!("{}", row.lines()));
        println!();
    }
    rows.iter().map(handshake::Row::json).collect()
}

fn streams(handfast: &Path, quiet: bool) -> serde_json::Value {
    let rows = stream::all(handfast);
    let good: Vec<&stream::Row> = rows.iter().flatten().collect();
    if !quiet {
        println!(
            "One TCP stream, AES-128-GCM where there is a choice; CPU seconds per GB of each gateway's daemon"
        );
        println!("{:<34} {:>8} {:>9} {:>11} {:>9}", "", "Gbit/s", "sender", "receiver", "ratio");
        for row in &rows {
            match row {
                Ok(row) => println!("{}", row.line(good[good.len() - 1])),
                Err(error) => println!("not measured: {error}"),
            }
        }
    }
    good.iter().map(|row| row.json()).collect()
}
