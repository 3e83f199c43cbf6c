//! Real peers in network namespaces, for tests: a little network that cleans up after itself, a strongSwan, a
//! Handfast, a capture of the wire between them, and traffic through the tunnel.

mod capture;
mod certs;
mod handfast;
mod lab;
mod strongswan;
mod traffic;

pub use capture::{Capture, Wire};
pub use certs::{Credentials, KeyKind};
pub use handfast::{Handfast, HandfastConfig};
pub use lab::{Family, Lab, Net, Process, wait_until};
pub use strongswan::{CHARON, Charon, CharonConfig};
pub use traffic::{in_namespace, ping, tcp_flood, tcp_stream};

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
