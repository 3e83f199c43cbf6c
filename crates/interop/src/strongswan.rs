//! A strongSwan at one end of a lab: charon with `kernel-libipsec` (ESP in userspace), or with the ESP of its kernel.

use crate::peer::{PeerConfig, Root, words_after};
use crate::{Credentials, Lab, Peer, Process, Sas, run, wait_until};
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
    /// Certificates besides, which `connection` may name as `second.pem`; their authority is `second-ca.pem`.
    pub second: Option<&'a Credentials>,
    /// More lines for the connection, e.g. `mobike = no`.
    pub connection: &'a str,
    /// More lines for the child, e.g. `mode = transport`.
    pub child: &'a str,
    /// The child's selectors, ours and theirs, as swanctl writes them; both families of the lab when `None`.
    pub selectors: Option<(&'a str, &'a str)>,
    /// More sections of swanctl.conf, e.g. `pools`.
    pub sections: &'a str,
    /// More lines for strongswan.conf's `charon` section.
    pub charon: &'a str,
    /// A library to preload instead of `kernel-libipsec`: what answers for a kernel that has no ESP.
    pub preload: Option<&'a Path>,
    /// Whether it logs what tests look for; figures are taken without.
    pub log: bool,
    /// Another strongSwan than this machine's.
    pub root: Option<Root>,
    /// Whether its ESP is the kernel's, which must have it.
    pub kernel: bool,
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
            second: None,
            connection: "",
            child: "",
            selectors: None,
            sections: "",
            charon: "",
            preload: None,
            log: true,
            root: None,
            kernel: false,
        }
    }
}

/// A running charon with its configuration loaded.
pub struct Charon {
    process: Process,
    root: Option<Root>,
    uri: String,
    folder: PathBuf,
}

impl Charon {
    /// Starts it and loads the configuration; bounded by ten seconds.
    pub fn start(lab: &Lab, config: &CharonConfig<'_>) -> Result<Charon, String> {
        let folder = lab.folder().join(format!("charon-{}", config.side));
        // Where charon sees it.
        let seen = config.root.as_ref().map_or(folder.clone(), |_| PathBuf::from("/cfg"));
        let uri = format!("unix://{}", seen.join("vici").display());
        write_files(lab, config, &folder, &seen, &uri)?;
        // Of one that was killed.
        let _ = std::fs::remove_file(folder.join("vici"));
        let preload = match (config.preload, &config.root) {
            (Some(library), Some(_)) => {
                let name = library.file_name().unwrap_or_default();
                std::fs::copy(library, folder.join(name))
                    .map_err(|error| format!("{}: {error}", library.display()))?;
                format!("LD_PRELOAD={} ", seen.join(name).display())
            }
            (Some(library), None) => format!("LD_PRELOAD={} ", library.display()),
            (None, _) => String::new(),
        };
        let conf = format!("STRONGSWAN_CONF={}", seen.join("strongswan.conf").display());
        let process = match &config.root {
            Some(root) => root.spawn(lab, config.side, &folder, &format!("{conf} {preload}exec {CHARON}"))?,
            None => {
                let start = format!("mount -t tmpfs run /run && {conf} {preload}exec {CHARON}");
                lab.spawn(config.side, &mut ["unshare", "-m", "sh", "-c", &start], &[])?
            }
        };
        let mut charon = Charon { process, root: config.root.clone(), uri, folder };
        let up = wait_until(Duration::from_secs(10), || {
            charon.folder.join("vici").exists() || !charon.process.is_running()
        });
        if !up || !charon.process.is_running() {
            return Err(format!("charon did not start: {}\n{}", charon.process.output(), charon.log()));
        }
        let directory = format!("SWANCTL_DIR={}", seen.display());
        let file = seen.join("swanctl.conf").display().to_string();
        let load =
            ["env", &directory, "swanctl", "--load-all", "--noprompt", "--uri", &charon.uri, "--file", &file];
        let said = charon.run(&load)?;
        if !said.contains("successfully loaded 1 connections") {
            return Err(format!("swanctl --load-all: {said}"));
        }
        Ok(charon)
    }

    /// Starts what `config` says: this machine's strongSwan, or that of `root`; ESP is the kernel's where `kernel`.
    /// `more` has lines for the connection, the child and strongswan.conf.
    pub fn start_peer(
        lab: &Lab,
        config: &PeerConfig<'_>,
        root: Option<Root>,
        kernel: bool,
        more: [&str; 3],
    ) -> Result<Charon, String> {
        let (proposals, esp_proposals) = config.suite.proposals();
        let [connection, child, charon] = more;
        // Without `rand_time` it asks at the very second, so that tests know when.
        let when = if config.reauth { "reauth_time" } else { "rekey_time" };
        let other = if config.reauth { "rekey_time" } else { "reauth_time" };
        let ike = PeerConfig::or_never(config.ike_rekey);
        let connection = format!(
            "mobike = no\n {when} = {ike}s\n {other} = 0s\n over_time = 600s\n rand_time = 0s\n dpd_delay = {}s\n {connection}",
            config.dpd.as_secs(),
        );
        let rekey = PeerConfig::or_never(config.child_rekey);
        let child =
            format!("rekey_time = {rekey}s\n rand_time = 0s\n life_time = {}s\n {child}", rekey + 600);
        let [ours, theirs] = config.selectors(lab);
        let config = CharonConfig {
            connection: &connection,
            child: &child,
            charon,
            selectors: Some((&ours, &theirs)),
            root,
            kernel,
            ..CharonConfig::new(config.side, proposals, esp_proposals, config.psk)
        };
        Charon::start(lab, &config)
    }

    /// Runs a command where it lives.
    fn run(&self, command: &[&str]) -> Result<String, String> {
        match (&self.root, command) {
            (Some(root), _) => root.run(&self.process, command),
            (None, [program, args @ ..]) => run(program, args),
            (None, []) => Ok(String::new()),
        }
    }

    /// Runs a swanctl command, e.g. `["--list-sas"]`.
    pub fn swanctl(&self, args: &[&str]) -> Result<String, String> {
        let mut all = vec!["swanctl"];
        all.extend(args);
        all.extend(["--uri", &self.uri]);
        self.run(&all)
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
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Peer for Charon {
    fn name(&self) -> &'static str {
        "strongSwan"
    }

    fn initiate(&self) -> Result<(), String> {
        Charon::initiate(self).map(drop)
    }

    fn begin_child(&self, child: &str) -> Result<(), String> {
        self.swanctl(&["--initiate", "--child", child, "--timeout", "60"]).map(drop)
    }

    fn rekey_child(&self) -> Result<(), String> {
        self.swanctl(&["--rekey", "--child", "net"]).map(drop)
    }

    fn rekey_ike(&self) -> Result<(), String> {
        self.swanctl(&["--rekey", "--ike", "net"]).map(drop)
    }

    fn reauthenticate(&self) -> Result<(), String> {
        self.swanctl(&["--rekey", "--ike", "net", "--reauth"]).map(drop)
    }

    fn delete_child(&self) -> Result<(), String> {
        self.swanctl(&["--terminate", "--child", "net"]).map(drop)
    }

    fn delete_ike(&self) -> Result<(), String> {
        self.swanctl(&["--terminate", "--ike", "net"]).map(drop)
    }

    fn sas(&self) -> Sas {
        let mut sas = Sas::default();
        // A child that was rekeyed is listed for some seconds more, until its last packets have come.
        let mut stands = false;
        for line in Charon::sas(self).lines() {
            if let Some(spi) = words_after(line, ", ESTABLISHED, IKEv2, ").next() {
                sas.ike.push(spi.to_string());
            }
            if line.contains(", reqid ") {
                stands = line.contains(", INSTALLED, ");
            }
            let received = line.strip_prefix("    in  ").filter(|_| stands);
            sas.children.extend(received.and_then(|rest| rest.split([',', ' ']).next()).map(str::to_string));
        }
        sas.sorted()
    }

    fn log(&self) -> String {
        Charon::log(self)
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Configuration and credentials of `folder`, which charon sees as `seen`.
fn write_files(
    lab: &Lab,
    config: &CharonConfig<'_>,
    folder: &Path,
    seen: &Path,
    uri: &str,
) -> Result<(), String> {
    for name in ["x509", "x509ca", "pubkey", "private"] {
        std::fs::create_dir_all(folder.join(name)).map_err(|error| error.to_string())?;
    }
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).map_err(|error| format!("{name}: {error}"))
    };
    write("strongswan.conf", strongswan_conf(uri, &seen.join("log").display().to_string(), config))?;
    write("swanctl.conf", swanctl_conf(lab, config))?;
    let (side, other) = (config.side, other(config));
    let copy = |credentials: &Credentials, from: &str, to: &str| {
        let copied = std::fs::copy(credentials.file(from), folder.join(to));
        copied.map(drop).map_err(|error| format!("{from}: {error}"))
    };
    let (cert, key, public) = (format!("{side}.pem"), format!("{side}.key"), format!("{side}.pub"));
    match config.credentials {
        Err(credentials) if credentials.raw => {
            copy(credentials, &public, "pubkey/own.pub")?;
            copy(credentials, &format!("{other}.pub"), "pubkey/peer.pub")?;
            copy(credentials, &key, "private/own.key")?;
        }
        Err(credentials) => {
            copy(credentials, "ca.pem", "x509ca/ca.pem")?;
            copy(credentials, &cert, "x509/own.pem")?;
            copy(credentials, &key, "private/own.key")?;
        }
        Ok(_) => {}
    }
    if let Some(second) = config.second {
        copy(second, "ca.pem", "x509ca/second-ca.pem")?;
        copy(second, &cert, "x509/second.pem")?;
        copy(second, &key, "private/second.key")?;
    }
    Ok(())
}

fn other(config: &CharonConfig<'_>) -> &'static str {
    if config.side == "left" { "right" } else { "left" }
}

fn strongswan_conf(uri: &str, log: &str, config: &CharonConfig<'_>) -> String {
    let more = config.charon;
    // With no data plane at all there are no routes into it either, of which charon would read all for each new SA.
    let plane = if config.preload.is_some() { "no" } else { "yes" };
    let libipsec = if config.preload.is_some() || config.kernel { "no" } else { "yes" };
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
    kernel-libipsec {{ load = {libipsec} }}
  }}
  filelog {{ l {{ path = {log}
{levels} flush_line = yes }} }}
}}
"
    )
}

fn swanctl_conf(lab: &Lab, config: &CharonConfig<'_>) -> String {
    let other = other(config);
    let (auth, secrets) = match config.credentials {
        Ok(psk) => ("auth = psk", format!("secrets {{ ike-1 {{ secret = \"{psk}\" }} }}")),
        Err(_) => ("auth = pubkey", String::new()),
    };
    let (certs, cacerts) = match config.credentials {
        Ok(_) => ("", ""),
        Err(credentials) if credentials.raw => ("pubkeys = own.pub", "pubkeys = peer.pub"),
        Err(_) => ("certs = own.pem", "cacerts = ca.pem"),
    };
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
{sections}
",
        local = lab.outer(config.side),
        remote = if config.side == "right" { "%any".to_string() } else { lab.outer(other).to_string() },
        proposals = config.proposals,
        connection = config.connection,
        side = config.side,
        esp = config.esp_proposals,
        child = config.child,
        sections = config.sections,
    )
}
