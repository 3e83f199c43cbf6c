//! A strongSwan (charon with `kernel-libipsec`, ESP in userspace) at one end of a lab.

use crate::{Credentials, Lab, Process, run, wait_until};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Charon in Debian's package.
pub const CHARON: &str = "/usr/lib/ipsec/charon";

/// What differs between tests; the rest of swanctl.conf is written around it.
pub struct CharonConfig<'a> {
    /// `left` or `right`.
    pub side: &'a str,
    /// `proposals` of the connection.
    pub proposals: &'a str,
    /// `esp_proposals` of the child.
    pub esp_proposals: &'a str,
    /// A PSK, or certificates.
    pub credentials: Result<&'a str, &'a Credentials>,
    /// More lines for the connection, e.g. `mobike = no`.
    pub connection: &'a str,
    /// More lines for the child, e.g. `mode = transport`.
    pub child: &'a str,
    /// The child's selectors, ours and theirs, as swanctl writes them; both families of the lab when `None`.
    pub selectors: Option<(&'a str, &'a str)>,
    /// More lines for strongswan.conf's `charon` section.
    pub charon: &'a str,
    /// A library to preload instead of `kernel-libipsec`: what answers for a kernel that has no ESP.
    pub preload: Option<&'a Path>,
    /// Whether it logs what tests look for; figures are taken without.
    pub log: bool,
}

impl<'a> CharonConfig<'a> {
    /// A connection `net` with a child `net` of plain defaults.
    pub fn new(side: &'a str, proposals: &'a str, esp_proposals: &'a str, psk: &'a str) -> Self {
        let credentials = Ok(psk);
        Self {
            side,
            proposals,
            esp_proposals,
            credentials,
            connection: "",
            child: "",
            selectors: None,
            charon: "",
            preload: None,
            log: true,
        }
    }
}

/// A running charon with its configuration loaded.
pub struct Charon {
    process: Process,
    uri: String,
    log: PathBuf,
}

impl Charon {
    /// Starts it and loads the configuration; bounded by ten seconds.
    pub fn start(lab: &Lab, config: &CharonConfig<'_>) -> Result<Charon, String> {
        let folder = lab.folder().join(format!("charon-{}", config.side));
        for name in ["x509", "x509ca", "private"] {
            std::fs::create_dir_all(folder.join(name)).map_err(|error| error.to_string())?;
        }
        let at = |name: &str| folder.join(name).display().to_string();
        let uri = format!("unix://{}", at("vici"));
        std::fs::write(at("strongswan.conf"), strongswan_conf(&uri, &at("log"), config))
            .map_err(|e| e.to_string())?;
        std::fs::write(at("swanctl.conf"), swanctl_conf(lab, config)).map_err(|e| e.to_string())?;
        if let Err(credentials) = config.credentials {
            for (from, to) in [
                ("ca.pem".to_string(), "x509ca/ca.pem".to_string()),
                (format!("{}.pem", config.side), "x509/own.pem".to_string()),
                (format!("{}.key", config.side), "private/own.key".to_string()),
            ] {
                std::fs::copy(credentials.file(&from), folder.join(to))
                    .map_err(|e| format!("{from}: {e}"))?;
            }
        }
        let preload =
            config.preload.map(|library| format!("LD_PRELOAD={} ", library.display())).unwrap_or_default();
        let start = format!("mount -t tmpfs run /run && {preload}exec {CHARON}");
        let conf = at("strongswan.conf");
        let process = lab.spawn(
            config.side,
            &mut ["unshare", "-m", "sh", "-c", &start],
            &[("STRONGSWAN_CONF", &conf)],
        )?;
        let mut charon = Charon { process, uri, log: at("log").into() };
        if !wait_until(Duration::from_secs(10), || folder.join("vici").exists()) {
            return Err(format!("charon did not start: {}\n{}", charon.process.output(), charon.log()));
        }
        if !charon.process.is_running() {
            return Err(format!("charon ended: {}", charon.process.output()));
        }
        let loaded = std::process::Command::new("swanctl")
            .args(["--load-all", "--noprompt", "--uri", &charon.uri, "--file", &at("swanctl.conf")])
            .env("SWANCTL_DIR", &folder)
            .output()
            .map_err(|error| format!("swanctl: {error}"))?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&loaded.stdout), String::from_utf8_lossy(&loaded.stderr));
        if !loaded.status.success() || !said.contains("successfully loaded 1 connections") {
            return Err(format!("swanctl --load-all: {said}"));
        }
        Ok(charon)
    }

    /// Runs a swanctl command, e.g. `["--list-sas"]`.
    pub fn swanctl(&self, args: &[&str]) -> Result<String, String> {
        let mut all = args.to_vec();
        all.extend(["--uri", &self.uri]);
        run("swanctl", &all)
    }

    /// `--initiate --child net`
    pub fn initiate(&self) -> Result<String, String> {
        self.swanctl(&["--initiate", "--child", "net", "--timeout", "20"])
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `--list-sas`
    pub fn sas(&self) -> String {
        self.swanctl(&["--list-sas"]).unwrap_or_else(|error| error)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn strongswan_conf(uri: &str, log: &str, config: &CharonConfig<'_>) -> String {
    let more = config.charon;
    // With no data plane at all there are no routes into it either, of which charon would read all for each new SA.
    let plane = if config.preload.is_some() { "no" } else { "yes" };
    let levels = match config.log {
        true => " default = 2\n job = 0\n enc = 1\n net = 1\n knl = 1\n lib = 1\n",
        false => " default = -1\n",
    };
    format!(
        "charon {{
  load_modular = yes
  install_routes = {plane}
  {more}
  plugins {{
    include /etc/strongswan.d/charon/*.conf
    tpm {{ load = no }}
    vici {{ socket = {uri} }}
    kernel-libipsec {{ load = {plane} }}
  }}
  filelog {{ l {{ path = {log}
{levels} flush_line = yes }} }}
}}
"
    )
}

fn swanctl_conf(lab: &Lab, config: &CharonConfig<'_>) -> String {
    let other = if config.side == "left" { "right" } else { "left" };
    let (auth, secrets) = match config.credentials {
        Ok(psk) => ("auth = psk", format!("secrets {{ ike-1 {{ secret = \"{psk}\" }} }}")),
        Err(_) => ("auth = pubkey", String::new()),
    };
    let certs = if config.credentials.is_err() { "certs = own.pem" } else { "" };
    let cacerts = if config.credentials.is_err() { "cacerts = ca.pem" } else { "" };
    let both = |which: &str| format!("{}/32,{}/128", lab.inner(which), lab.inner6(which));
    let (local_ts, remote_ts) = match config.selectors {
        Some((ours, theirs)) => (ours.to_string(), theirs.to_string()),
        None => (both(config.side), both(other)),
    };
    format!(
        "connections {{ net {{ version = 2
 local_addrs = {local}
 remote_addrs = {remote}
 proposals = {proposals}
 {connection}
 local {{ {auth}
 {certs}
 id = {side}.example }}
 remote {{ {auth}
 {cacerts}
 id = {other}.example }}
 children {{ net {{ local_ts = {local_ts}
 remote_ts = {remote_ts}
 esp_proposals = {esp}
 {child} }} }} }} }}
{secrets}
",
        local = lab.outer(config.side),
        remote = if config.side == "right" { "%any".to_string() } else { lab.outer(other).to_string() },
        proposals = config.proposals,
        connection = config.connection,
        side = config.side,
        esp = config.esp_proposals,
        child = config.child,
    )
}
