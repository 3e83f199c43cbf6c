//! An OpenIKED at one end of a lab. It needs a kernel with ESP and PF_KEY, and gets new keys by its lifetimes only.

use crate::peer::{PeerConfig, Root, words_after};
use crate::{Credentials, Lab, Peer, Process, Sas, Suite, wait_until};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// A running iked.
pub struct OpenIked {
    process: Process,
    root: Root,
}

impl OpenIked {
    /// Starts it; `global` has more lines before the policy. A policy of the left is one that initiates.
    pub fn start(lab: &Lab, config: &PeerConfig<'_>, global: &str) -> Result<OpenIked, String> {
        let root = Root::find("openiked")?;
        let folder = lab.folder().join(format!("openiked-{}", config.side));
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        if let Some(credentials) = config.credentials {
            write_certificates(config.side, credentials, &folder.join("iked"))?;
        }
        let file = folder.join("iked.conf");
        std::fs::write(&file, iked_conf(lab, config, global)?).map_err(|error| error.to_string())?;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600))
            .map_err(|error| error.to_string())?;
        // -S: it begins nothing before it is told to.
        let process =
            root.spawn(lab, config.side, &folder, "exec /usr/sbin/iked -d -S -v -f /cfg/iked.conf")?;
        let mut iked = OpenIked { process, root };
        let up = wait_until(Duration::from_secs(20), || {
            !iked.process.is_running() || iked.ctl(&["show", "sa"]).is_ok()
        });
        if !up || !iked.process.is_running() {
            return Err(format!("iked did not start: {}", iked.log()));
        }
        if config.side == "right" {
            iked.ctl(&["active"])?;
        }
        Ok(iked)
    }

    /// A command of its control program.
    pub fn ctl(&self, words: &[&str]) -> Result<String, String> {
        let mut command = vec!["/usr/sbin/ikectl"];
        command.extend(words);
        self.root.run(&self.process, &command)
    }

    /// What it says to a request that its control program does not have.
    fn by_lifetime_only<T>() -> Result<T, String> {
        Err("iked does this by its lifetimes only".to_string())
    }
}

impl Peer for OpenIked {
    fn name(&self) -> &'static str {
        "OpenIKED"
    }

    fn initiate(&self) -> Result<(), String> {
        self.ctl(&["active"])?;
        let up = wait_until(Duration::from_secs(20), || !self.sas().children.is_empty());
        if up { Ok(()) } else { Err(self.log()) }
    }

    fn rekey_child(&self) -> Result<(), String> {
        Self::by_lifetime_only()
    }

    fn rekey_ike(&self) -> Result<(), String> {
        Self::by_lifetime_only()
    }

    fn reauthenticate(&self) -> Result<(), String> {
        Self::by_lifetime_only()
    }

    fn delete_child(&self) -> Result<(), String> {
        Err("iked deletes no single child SA".to_string())
    }

    fn delete_ike(&self) -> Result<(), String> {
        self.ctl(&["passive"])?;
        self.ctl(&["reset", "sa"]).map(drop)
    }

    fn sas(&self) -> Sas {
        let shown = self.ctl(&["show", "sa"]).unwrap_or_default();
        let mut sas = Sas::default();
        for line in shown.lines() {
            if line.starts_with("iked_sas:") && line.contains(" ESTABLISHED ") {
                sas.ike.extend(words_after(line, " ispi 0x").next().map(|spi| format!("{spi:0>16}")));
            }
            // `sa_childsas: 0x… ESP 0x01234567 in …`; those in the kernel are listed once more as active.
            let received = line.trim_start().starts_with("sa_childsas:") && line.contains(" in ");
            if received && line.contains(" (L") {
                sas.children.extend(words_after(line, " ESP 0x").next().map(|spi| format!("{spi:0>8}")));
            }
        }
        sas.sorted()
    }

    fn log(&self) -> String {
        self.process.output()
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// What it looks for in /etc/iked.
fn write_certificates(side: &str, credentials: &Credentials, to: &Path) -> Result<(), String> {
    // The process that reads certificates is not root's.
    for (from, folder, name, mode) in [
        ("ca.pem".to_string(), "ca", "ca.crt", 0o644),
        (format!("{side}.pem"), "certs", "own.crt", 0o644),
        (format!("{side}.key"), "private", "local.key", 0o600),
    ] {
        let copy = || {
            std::fs::create_dir_all(to.join(folder))?;
            std::fs::copy(credentials.file(&from), to.join(folder).join(name))?;
            std::fs::set_permissions(to.join(folder).join(name), PermissionsExt::from_mode(mode))
        };
        copy().map_err(|error| format!("{from}: {error}"))?;
    }
    ["crls", "pubkeys"].iter().try_for_each(|name| {
        std::fs::create_dir_all(to.join(name)).map_err(|error| format!("{name}: {error}"))
    })
}

fn iked_conf(lab: &Lab, config: &PeerConfig<'_>, global: &str) -> Result<String, String> {
    let algorithms = match config.suite {
        Suite::Cbc => {
            "ikesa enc aes-256 prf hmac-sha2-256 auth hmac-sha2-256 group ecp256 \
             childsa enc aes-256 auth hmac-sha2-512"
        }
        Suite::Gcm => return Err("iked has no AES-GCM on Linux".to_string()),
    };
    let (side, other) = (config.side, config.other());
    Ok(format!(
        "{global}
set dpd_check_interval {dpd}
ikev2 \"net\" {mode} esp from {inner}/32 to {behind}/32 local {local} peer {remote} {algorithms} \
srcid {side}.example dstid {other}.example ikelifetime {ikelifetime} lifetime {lifetime} {auth}
",
        dpd = config.dpd.as_secs(),
        mode = if side == "left" { "active" } else { "passive" },
        inner = lab.inner(side),
        behind = lab.inner(other),
        local = lab.outer(side),
        remote = lab.outer(other),
        ikelifetime = config.ike_rekey.as_secs(),
        lifetime = PeerConfig::or_never(config.child_rekey),
        auth =
            if config.credentials.is_some() { "rsa".to_string() } else { format!("psk \"{}\"", config.psk) },
    ))
}
