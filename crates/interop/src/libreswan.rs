//! A Libreswan (pluto) at one end of a lab. It needs a kernel with ESP.

use crate::peer::{PeerConfig, Root, words_after};
use crate::{Lab, Peer, Process, Sas, Suite, wait_until};
use std::path::PathBuf;
use std::time::Duration;

const PLUTO: &str = "/usr/libexec/ipsec/pluto";
const WHACK: &str = "/usr/libexec/ipsec/whack";

/// A running pluto with the connection loaded.
pub struct Libreswan {
    process: Process,
    root: Root,
    log: PathBuf,
}

impl Libreswan {
    /// Starts it and loads the connection; `connection` has more lines for it.
    pub fn start(lab: &Lab, config: &PeerConfig<'_>, connection: &str) -> Result<Libreswan, String> {
        let root = Root::find("libreswan")?;
        let folder = lab.folder().join(format!("libreswan-{}", config.side));
        std::fs::create_dir_all(folder.join("nss")).map_err(|error| error.to_string())?;
        let write = |name: &str, text: String| {
            std::fs::write(folder.join(name), text).map_err(|error| format!("{name}: {error}"))
        };
        write("ipsec.conf", ipsec_conf(lab, config, connection))?;
        write("ipsec.secrets", format!(": PSK \"{}\"\n", config.psk))?;
        let mut import = String::new();
        if let Some(credentials) = config.credentials {
            credentials.pkcs12(config.side, &folder.join("own.p12"))?;
            std::fs::copy(credentials.file("ca.pem"), folder.join("ca.pem"))
                .map_err(|error| error.to_string())?;
            import = "certutil -A -n ca -t CT,, -d sql:/cfg/nss -i /cfg/ca.pem && \
                      pk12util -i /cfg/own.p12 -d sql:/cfg/nss -W x -K \"\" && "
                .to_string();
        }
        let command = format!(
            "mkdir -p /run/pluto && ipsec initnss --nssdir /cfg/nss >/dev/null 2>&1 && {import}exec {PLUTO} --nofork \
             --config /cfg/ipsec.conf --secretsfile /cfg/ipsec.secrets --nssdir /cfg/nss --logfile /cfg/log"
        );
        let process = root.spawn(lab, config.side, &folder, &command)?;
        let mut pluto = Libreswan { process, root, log: folder.join("log") };
        let up = wait_until(Duration::from_secs(20), || {
            !pluto.process.is_running() || pluto.whack(&["--status"]).is_ok()
        });
        if !up || !pluto.process.is_running() {
            return Err(format!("pluto did not start: {}\n{}", pluto.process.output(), pluto.log()));
        }
        pluto.whack(&["--listen"])?;
        let said =
            pluto.root.run(&pluto.process, &["ipsec", "addconn", "--config", "/cfg/ipsec.conf", "net"])?;
        if !pluto.whack(&["--status"])?.contains("\"net\":") {
            return Err(format!("pluto did not take the connection: {said}\n{}", pluto.log()));
        }
        Ok(pluto)
    }

    /// A command of its control program.
    pub fn whack(&self, words: &[&str]) -> Result<String, String> {
        let mut command = vec![WHACK];
        command.extend(words);
        self.root.run(&self.process, &command)
    }
}

impl Peer for Libreswan {
    fn name(&self) -> &'static str {
        "Libreswan"
    }

    fn tell(&self, word: &str) -> Result<(), String> {
        self.whack(&[&format!("--ddos-{word}")]).map(drop)
    }

    fn initiate(&self) -> Result<(), String> {
        let said = self.whack(&["--name", "net", "--initiate"])?;
        // Its status is 0 whatever became of the child.
        if self.sas().children.is_empty() { Err(format!("{said}{}", self.log())) } else { Ok(()) }
    }

    fn rekey_child(&self) -> Result<(), String> {
        self.whack(&["--rekey-ipsec", "--name", "net"]).map(drop)
    }

    fn rekey_ike(&self) -> Result<(), String> {
        self.whack(&["--rekey-ike", "--name", "net"]).map(drop)
    }

    fn reauthenticate(&self) -> Result<(), String> {
        Err("pluto reauthenticates by itself only, with `reauth`".to_string())
    }

    fn delete_child(&self) -> Result<(), String> {
        let states = self.whack(&["--showstates"])?;
        let child = states.lines().find(|line| line.contains("STATE_V2_ESTABLISHED_CHILD_SA"));
        let number = child.and_then(|line| words_after(line, "#").next()).ok_or("it has no child SA")?;
        self.whack(&["--deletestate", number]).map(drop)
    }

    fn delete_ike(&self) -> Result<(), String> {
        self.whack(&["--name", "net", "--terminate"]).map(drop)
    }

    fn sas(&self) -> Sas {
        let states = self.whack(&["--showstates"]).unwrap_or_default();
        let mut sas = Sas::default();
        for line in states.lines() {
            if line.contains("STATE_V2_ESTABLISHED_IKE_SA") {
                // It does not tell their SPIs.
                sas.ike.extend(words_after(line, "#").next().map(str::to_string));
            }
            // `#2: "net" esp.OUT@peer esp.IN@us …`: the second is the one that it receives with.
            if let Some(spi) = words_after(line, " esp.").nth(1) {
                sas.children.push(spi.to_string());
            }
        }
        sas.sorted()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn ipsec_conf(lab: &Lab, config: &PeerConfig<'_>, connection: &str) -> String {
    let other = config.other();
    let [ours, theirs] = config.selectors(lab);
    let (ike, esp) = match config.suite {
        Suite::Gcm => ("aes_gcm256-sha2_384;dh19", "aes_gcm256"),
        Suite::Cbc => ("aes256-sha2_256;dh19", "aes256-sha2_512"),
    };
    let dpd = match config.dpd.as_secs() {
        0 => String::new(),
        seconds => format!(" dpddelay={seconds}\n dpdtimeout={}\n dpdaction=clear\n", seconds * 4),
    };
    let auth = match config.credentials {
        None => "authby=secret",
        Some(_) => "authby=rsasig\n leftcert=own\n leftsendcert=always\n rightca=%same",
    };
    format!(
        "config setup
 logfile=/cfg/log
 nssdir=/cfg/nss
 dnssec-enable=no
conn net
 ikev2=insist
 {auth}
 left={local}
 leftid=@{side}.example
 right={remote}
 rightid=@{other}.example
 leftsubnet={ours}
 rightsubnet={theirs}
 ike={ike}
 phase2alg={esp}
 rekeymargin=10
 rekeyfuzz=0%
 ikelifetime={ikelifetime}
 salifetime={salifetime}
 reauth={reauth}
{dpd}{connection}
 auto=add
",
        local = lab.outer(config.side),
        remote = lab.outer(other),
        side = config.side,
        // New keys come `rekeymargin` before the end; a day is the most that it takes.
        ikelifetime = (PeerConfig::or_never(config.ike_rekey) + 10).min(86_400),
        salifetime = (PeerConfig::or_never(config.child_rekey) + 10).min(86_400),
        reauth = if config.reauth { "yes" } else { "no" },
    )
}
