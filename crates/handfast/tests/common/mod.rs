//! Two Handfasts at the ends of a lab.
#![allow(dead_code)]

use interop::{Family, Handfast, Lab, Net};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_handfast"))
}

/// Runs the binary to its end.
pub(crate) fn handfast(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().expect("the binary was built with this test")
}

/// Standard output and standard error as text.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What one end has that the other end may not have.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    /// `left` or `right`.
    pub(crate) side: &'a str,
    pub(crate) psk: &'a str,
    pub(crate) proposals: &'a str,
    pub(crate) esp_proposals: &'a str,
    /// Its own traffic; the last number is the network's.
    pub(crate) local_ts: &'a str,
    pub(crate) remote_ts: &'a str,
    /// More lines for `[daemon]`.
    pub(crate) daemon: &'a str,
}

/// A short patience, so that a test does not wait: three transmissions, 100 ms apart.
pub(crate) const IMPATIENT: &str =
    "retransmit_timeout = \"0.1\"\nretransmit_base = 1.0\nretransmit_tries = 2\n";

impl End<'_> {
    /// Ends that agree with each other.
    pub(crate) fn new(side: &str) -> End<'_> {
        let (local_ts, remote_ts) = match side {
            "left" => ("192.168.1.1/32", "192.168.2.1/32"),
            _ => ("192.168.2.1/32", "192.168.1.1/32"),
        };
        End {
            side,
            psk: "correct horse battery staple",
            proposals: "aes256gcm16-prfsha384-x25519",
            esp_proposals: "aes256gcm16-esn",
            local_ts,
            remote_ts,
            daemon: IMPATIENT,
        }
    }

    /// Its configuration, the beginning of `[daemon]` left to the caller.
    pub(crate) fn toml(&self, lab: &Lab) -> String {
        let other = if self.side == "left" { "right" } else { "left" };
        format!(
            "{daemon}
[connections.net]
local_addrs = \"{local}\"
remote_addrs = \"{remote}\"
proposals = \"{proposals}\"
clone_ike_sa = true
[connections.net.local]
auth = \"psk\"
id = \"{side}.example\"
[connections.net.remote]
auth = \"psk\"
id = \"{other}.example\"
[connections.net.children.lan]
local_ts = \"{local_ts}\"
remote_ts = \"{remote_ts}\"
esp_proposals = \"{esp}\"
[secrets.ike.peer]
id = \"{other}.example\"
secret = \"{psk}\"
",
            daemon = self.daemon,
            local = lab.outer(self.side),
            remote = lab.outer(other),
            proposals = self.proposals,
            side = self.side,
            local_ts = self.local_ts,
            remote_ts = self.remote_ts,
            esp = self.esp_proposals,
            psk = self.psk,
        )
    }

    /// Starts it.
    pub(crate) fn start(&self, lab: &Lab) -> Handfast {
        Handfast::start(lab, self.side, binary(), &self.toml(lab)).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A lab, or `None` after saying that `test` did not run.
pub(crate) fn lab(test: &str) -> Option<Lab> {
    lab_with(test, &["ip", "sysctl"])
}

/// The same, where these programs are needed.
pub(crate) fn lab_with(test: &str, programs: &[&str]) -> Option<Lab> {
    if let Some(why) = interop::missing(programs) {
        testkit::not_run(test, &why);
        return None;
    }
    Some(Lab::new(Family::V4, Net::Routed).unwrap_or_else(|error| panic!("{error}")))
}

/// `status --json` of a daemon.
pub(crate) fn status(daemon: &Handfast) -> Value {
    let text = daemon.command(&["status", "--json"]).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&text).expect("status --json is JSON")
}
