//! A Handfast at one end of a lab.

use crate::peer::words_after;
use crate::{Credentials, Lab, PeerConfig, Process, Sas, wait_until};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A running `handfast run`.
pub struct Handfast {
    /// The daemon.
    pub process: Process,
    binary: PathBuf,
    socket: PathBuf,
}

impl Handfast {
    /// Starts the daemon with this configuration and waits until its control socket answers.
    pub fn start(lab: &Lab, side: &str, binary: &Path, config: &str) -> Result<Handfast, String> {
        let file = lab.folder().join(format!("handfast-{side}.toml"));
        let socket = lab.folder().join(format!("handfast-{side}.sock"));
        let text = format!("[daemon]\ncontrol = \"{}\"\n{config}", socket.display());
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        // It warns of secrets that everybody can read.
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600))
            .map_err(|error| error.to_string())?;
        let program = binary.display().to_string();
        let process =
            lab.spawn(side, &mut [&program, "run", "--config", &file.display().to_string()], &[])?;
        let mut daemon = Handfast { process, binary: binary.to_path_buf(), socket };
        let up = wait_until(Duration::from_secs(10), || {
            !daemon.process.is_running() || daemon.command(&["status", "--json"]).is_ok()
        });
        if !up || !daemon.process.is_running() {
            return Err(format!("handfast did not start:\n{}\nwith\n{config}", daemon.process.output()));
        }
        Ok(daemon)
    }

    /// Runs a command of the CLI against this daemon; its standard output, or all it said.
    pub fn command(&self, args: &[&str]) -> Result<String, String> {
        let output = self.output(args)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!(
            "handfast {}: {}\n{text}{}",
            args.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// The same with its status and both outputs.
    pub fn output(&self, args: &[&str]) -> Result<Output, String> {
        Command::new(&self.binary)
            .arg("--socket")
            .arg(&self.socket)
            .args(args)
            .output()
            .map_err(|error| format!("{}: {error}", self.binary.display()))
    }

    /// What stands of the IKE SAs that are established.
    pub fn sas(&self) -> Sas {
        let status = self.command(&["status", "--json"]).unwrap_or_default();
        let status: String = status.chars().filter(|c| !c.is_whitespace()).collect();
        let mut sas = Sas::default();
        for ike in status.split("\"state\":\"").skip(1).filter(|ike| ike.starts_with("established")) {
            sas.ike.extend(words_after(ike, "\"spi_i\":\"").map(str::to_string));
            sas.children.extend(words_after(ike, "\"spi_in\":\"").map(str::to_string));
        }
        sas.sorted()
    }

    /// The memory that it holds, in KiB.
    pub fn rss(&self) -> u64 {
        self.process.rss()
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

/// The configuration of one end: a connection `net` with a child `net`, the mirror of
/// [`crate::CharonConfig::new`].
pub struct HandfastConfig<'a> {
    /// `left` or `right`.
    pub side: &'a str,
    /// `proposals`
    pub proposals: &'a str,
    /// `esp_proposals`
    pub esp_proposals: &'a str,
    /// A PSK, or certificates.
    pub credentials: Result<&'a str, &'a Credentials>,
    /// More lines for the connection.
    pub connection: &'a str,
    /// More lines for the child.
    pub child: &'a str,
    /// The child's selectors as TOML, ours and theirs.
    pub selectors: Option<(&'a str, &'a str)>,
}

impl HandfastConfig<'_> {
    /// The mirror of what [`PeerConfig`] says, as TOML; `more` has lines for the connection and for the child.
    pub fn of(lab: &Lab, config: &PeerConfig<'_>, more: [&str; 2]) -> String {
        let (proposals, esp_proposals) = config.suite.proposals();
        let [ours, theirs] = config.selectors(lab).map(|selector| format!("\"{selector}\""));
        let config = HandfastConfig {
            side: config.side,
            proposals,
            esp_proposals,
            credentials: config.credentials.map_or(Ok(config.psk), Err),
            connection: &format!("dpd_delay = \"{}s\"\n{}", config.dpd.as_secs(), more[0]),
            child: more[1],
            selectors: Some((&ours, &theirs)),
        };
        config.toml(lab)
    }

    /// As TOML.
    pub fn toml(&self, lab: &Lab) -> String {
        let other = if self.side == "left" { "right" } else { "left" };
        let remote = if self.side == "right" { "%any".to_string() } else { lab.outer(other).to_string() };
        let (auth, local_certs, remote_certs, secrets) = match self.credentials {
            Ok(psk) => {
                ("psk", String::new(), String::new(), format!("[secrets.ike.net]\nsecret = \"{psk}\"\n"))
            }
            Err(credentials) => (
                "pubkey",
                match credentials.raw {
                    true => format!(
                        "pubkeys = [\"{}\"]",
                        credentials.file(&format!("{}.pub", self.side)).display()
                    ),
                    false => {
                        format!("certs = [\"{}\"]", credentials.file(&format!("{}.pem", self.side)).display())
                    }
                },
                match credentials.raw {
                    true => {
                        format!("pubkeys = [\"{}\"]", credentials.file(&format!("{other}.pub")).display())
                    }
                    false => format!("cacerts = [\"{}\"]", credentials.file("ca.pem").display()),
                },
                format!(
                    "[secrets.private.own]\nfile = \"{}\"\n",
                    credentials.file(&format!("{}.key", self.side)).display()
                ),
            ),
        };
        let both = |which: &str| format!("[\"{}/32\", \"{}/128\"]", lab.inner(which), lab.inner6(which));
        let (local_ts, remote_ts) = match self.selectors {
            Some((ours, theirs)) => (ours.to_string(), theirs.to_string()),
            None => (both(self.side), both(other)),
        };
        format!(
            "[connections.net]
local_addrs = \"{local}\"
remote_addrs = \"{remote}\"
proposals = \"{proposals}\"
{connection}
[connections.net.local]
auth = \"{auth}\"
id = \"{side}.example\"
{local_certs}
[connections.net.remote]
auth = \"{auth}\"
id = \"{other}.example\"
{remote_certs}
[connections.net.children.net]
local_ts = {local_ts}
remote_ts = {remote_ts}
esp_proposals = \"{esp}\"
{child}
{secrets}",
            local = lab.outer(self.side),
            proposals = self.proposals,
            connection = self.connection,
            side = self.side,
            esp = self.esp_proposals,
            child = self.child,
        )
    }
}
