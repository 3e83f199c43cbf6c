//! Real peers in network namespaces, for tests: a little network that cleans up after itself, a strongSwan, a
//! Handfast, a capture of the wire between them, and traffic through the tunnel.

mod capture;
mod certs;
mod flood;
mod handfast;
mod kernel;
mod lab;
mod libreswan;
mod openiked;
mod peer;
mod strongswan;
mod traffic;

pub use capture::{Capture, Wire};
pub use certs::{Credentials, KeyKind};
pub use flood::{Flooded, flood};
pub use handfast::{Handfast, HandfastConfig};
pub use kernel::{Boot, Ended, Kernel, in_kernel, inside};
pub use lab::{Family, Lab, Link, Net, Process, wait_until};
pub use libreswan::Libreswan;
pub use openiked::OpenIked;
pub use peer::{Peer, PeerConfig, Root, Sas, Suite};
pub use strongswan::{CHARON, Charon, CharonConfig};
pub use traffic::{Pinging, in_namespace, ping, tcp_flood, tcp_stream};

use std::process::Command;

/// Runs a command to its end; its standard output, or both outputs as an error.
pub fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}\n{text}{errors}", args.join(" "), output.status))
}

/// Says that `test` did not run and why: a test that cannot run must not look as if it had passed.
pub fn not_run(test: &str, why: &str) {
    say(&format!("NOT RUN: {test}: {why}"));
}

/// A line past the test harness, which would swallow the output of a test that passes; in one piece, for tests run in
/// parallel.
fn say(line: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Why this machine cannot run a lab, if it cannot: not root, or a program missing.
pub fn missing(programs: &[&str]) -> Option<String> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root for network namespaces".to_string());
    }
    let found = |program: &str| {
        program.starts_with('/') && std::path::Path::new(program).exists()
            || ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
                .iter()
                .any(|folder| std::path::Path::new(folder).join(program).exists())
    };
    let absent: Vec<&str> = programs.iter().copied().filter(|program| !found(program)).collect();
    (!absent.is_empty()).then(|| format!("missing programs: {}", absent.join(", ")))
}
