//! The two daemons: real `handfast run` processes in namespaces of their own.

use crate::demo::space::Space;
use crate::demo::{sys, workshop::Workshop};
use runtime::Client;
use runtime::protocol::{Answer, Ask, EventReport, Status, UpReport};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers.
const START: Duration = Duration::from_secs(5);

/// One gateway.
pub(crate) struct Gateway {
    pub(crate) name: &'static str,
    socket: PathBuf,
    log: PathBuf,
    pid: u32,
}

/// What one gateway is told.
pub(crate) struct Orders<'a> {
    /// `left` or `right`.
    pub(crate) name: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) local: &'a str,
    pub(crate) remote: &'a str,
    pub(crate) local_ts: &'a str,
    pub(crate) remote_ts: &'a str,
    pub(crate) psk: &'a str,
}

impl Orders<'_> {
    /// The configuration file, as a person would write it.
    fn toml(&self, control: &Path) -> String {
        let Orders { name, peer, local, remote, local_ts, remote_ts, psk } = self;
        format!(
            "[daemon]
control = \"{}\"

[connections.demo]
local_addrs = \"{local}\"
remote_addrs = \"{remote}\"

[connections.demo.local]
auth = \"psk\"
id = \"{name}.demo.example\"

[connections.demo.remote]
auth = \"psk\"
id = \"{peer}.demo.example\"

[connections.demo.children.lan]
local_ts = \"{local_ts}\"
remote_ts = \"{remote_ts}\"
esp_proposals = \"aes256gcm16-esn\"

[secrets.ike.demo]
id = \"{peer}.demo.example\"
secret = \"{psk}\"
",
            control.display()
        )
    }
}

impl Gateway {
    /// Starts the daemon inside `space` and waits until it answers.
    pub(crate) fn start(shop: &Arc<Workshop>, space: &Space, orders: &Orders<'_>) -> Result<Self, String> {
        let place = |suffix: &str| shop.folder().join(format!("{}.{suffix}", orders.name));
        let (config, socket, log) = (place("toml"), place("sock"), place("log"));
        write_private(&config, &orders.toml(&socket))
            .map_err(|error| format!("cannot write {}: {error}", config.display()))?;
        let child = space.run(|| {
            let err = File::create(&log)?;
            Command::new(std::env::current_exe()?)
                .arg("run")
                .arg("--until-stdin-closes")
                .arg("--config")
                .arg(&config)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(err)
                .spawn()
        })?;
        let gateway = Self { name: orders.name, socket, log, pid: child.id() };
        shop.keep(child);
        gateway.wait_until_ready(shop)?;
        Ok(gateway)
    }

    fn wait_until_ready(&self, shop: &Workshop) -> Result<(), String> {
        let end = Instant::now() + START;
        while Client::connect(&self.socket).is_err() {
            if Instant::now() > end || shop.has_ended(self.pid) {
                return Err(format!(
                    "the {} gateway did not start; its log says:\n{}",
                    self.name,
                    self.log()
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Everything that it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `handfast up demo`
    pub(crate) fn up(&self) -> Result<UpReport, String> {
        match self.call(&Ask::Up { connection: "demo".into(), child: None })? {
            Answer::Up(report) => match report.refused.first() {
                None => Ok(report),
                Some(child) => {
                    Err(format!("child \"{}\" was refused: {}", child.child, child.refusal.reason))
                }
            },
            Answer::Refused(refusal) => Err(format!("the tunnel was refused: {}", refusal.reason)),
            other => Err(format!("the {} gateway answers {other:?}", self.name)),
        }
    }

    /// `handfast down demo`
    pub(crate) fn down(&self) -> Result<(usize, usize), String> {
        match self.call(&Ask::Down { connection: "demo".into(), child: None })? {
            Answer::Down { ike_sas, child_sas } => Ok((ike_sas, child_sas)),
            other => Err(format!("the {} gateway answers {other:?}", self.name)),
        }
    }

    /// `handfast status`
    pub(crate) fn status(&self) -> Result<Status, String> {
        match self.call(&Ask::Status {})? {
            Answer::Status(status) => Ok(*status),
            other => Err(format!("the {} gateway answers {other:?}", self.name)),
        }
    }

    /// `handfast watch`, until the daemon ends.
    pub(crate) fn watch(&self) -> Result<JoinHandle<Vec<EventReport>>, String> {
        let mut client = self.client()?;
        let begun = client.ask(&Ask::Watch {}).and_then(|()| client.next());
        begun.map_err(|error| self.failed(&error.to_string()))?;
        Ok(std::thread::spawn(move || {
            let mut events = Vec::new();
            while let Ok(Answer::Event(event)) = client.next() {
                events.push(*event);
            }
            events
        }))
    }

    /// Tells it to end; what it does about it, the workshop waits for.
    pub(crate) fn stop(&self) {
        sys::terminate(self.pid);
    }

    /// How a person can talk to it while the demo stands.
    pub(crate) fn invitation(&self) -> String {
        let exe = std::env::current_exe().unwrap_or_else(|_| "handfast".into());
        let mut text = String::new();
        let _ = writeln!(text, "  {} --socket {} status", exe.display(), self.socket.display());
        let _ = write!(text, "  less {}", self.log.display());
        text
    }

    fn client(&self) -> Result<Client, String> {
        Client::connect(&self.socket).map_err(|error| self.failed(&error.to_string()))
    }

    fn call(&self, ask: &Ask) -> Result<Answer, String> {
        let answer = self.client()?.call(ask, |_| {});
        answer.map_err(|error| self.failed(&error.to_string()))
    }

    fn failed(&self, error: &str) -> String {
        format!("the {} gateway: {error}\nIts log says:\n{}", self.name, self.log())
    }
}

/// Writes a file that only we can read: it holds the PSK.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
