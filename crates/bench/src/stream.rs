//! One TCP stream through a tunnel between two gateways, for each kind of tunnel in the same lab: Gbit/s, and the CPU
//! seconds that each gateway's daemon spends per gigabyte.

use crate::cpu;
use interop::{
    Charon, CharonConfig, Credentials, Family, Handfast, HandfastConfig, Lab, Net, Process, run, wait_until,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long each stream runs.
const STREAM: Duration = Duration::from_secs(4);
const PSK: &str = "bench bench bench bench";
const SUITE: (&str, &str) = ("aes128gcm16-prfsha256-x25519", "aes128gcm16");

/// What one kind of tunnel did.
pub(crate) struct Row {
    name: String,
    gbit_per_second: f64,
    /// CPU seconds per 10^9 octets of the sender's gateway and of the receiver's; none for the bare veth.
    cpu_per_gb: Option<(f64, f64)>,
}

impl Row {
    /// For `--json`.
    pub(crate) fn json(&self) -> Value {
        let (sender, receiver) = self.cpu_per_gb.unzip();
        json!({ "tunnel": self.name, "gbit_per_second": self.gbit_per_second,
                "sender_cpu_seconds_per_gb": sender, "receiver_cpu_seconds_per_gb": receiver })
    }

    /// A line of the table; the ratio is against `base`'s throughput.
    pub(crate) fn line(&self, base: &Row) -> String {
        let cpu = match self.cpu_per_gb {
            Some((sender, receiver)) => format!("{sender:>9.2} {receiver:>11.2}"),
            None => format!("{:>9} {:>11}", "-", "-"),
        };
        let ratio = self.gbit_per_second / base.gbit_per_second;
        format!("{:<34} {:>8.2} {cpu} {ratio:>9.2}", self.name, self.gbit_per_second)
    }
}

/// Runs them one after the other; a peer that is not installed is left out and named.
pub(crate) fn all(handfast: &Path) -> Vec<Result<Row, String>> {
    let mut rows = vec![
        measure("Handfast, userspace ESP over TUN", |lab| handfast_pair(lab, handfast)),
        measure("strongSwan, kernel-libipsec", strongswan_pair),
        measure(&format!("WireGuard, wireguard-go {}", version("wireguard-go")), |lab| {
            wireguard_pair(lab, &["wireguard-go", "-f"])
        }),
    ];
    if let Some(boringtun) = boringtun() {
        let start = [boringtun.as_str(), "--disable-drop-privileges", "-f"];
        let name = format!("WireGuard, boringtun {}", version(&boringtun));
        rows.push(measure(&name, |lab| wireguard_pair(lab, &start)));
    }
    rows.push(measure("bare veth", |_| Ok(Pair { gateways: None, _keep: Vec::new() })));
    rows
}

/// The last word of the first line of `PROGRAM --version`.
fn version(program: &str) -> String {
    let said = run(program, &["--version"]).unwrap_or_default();
    let word = said.lines().next().and_then(|line| line.split_whitespace().last());
    word.unwrap_or("of unknown version").trim_start_matches('v').to_string()
}

/// WireGuard in userspace, in Rust: only where `cargo install boringtun-cli --root target/tools` was done.
fn boringtun() -> Option<String> {
    let exe = std::env::current_exe().ok()?;
    let path = exe.parent()?.parent()?.join("tools/bin/boringtun-cli");
    path.exists().then(|| path.display().to_string())
}

/// Two gateways with a tunnel that stands.
struct Pair {
    /// Their process ids, left and right.
    gateways: Option<(u32, u32)>,
    _keep: Vec<Box<dyn std::any::Any>>,
}

fn measure(name: &str, start: impl FnOnce(&Lab) -> Result<Pair, String>) -> Result<Row, String> {
    crate::progress(&format!("one TCP stream of {} s: {name}", STREAM.as_secs()));
    let attempt = || -> Result<Row, String> {
        let lab = Lab::new(Family::V4, Net::Routed)?;
        let pair = start(&lab)?;
        let bare = pair.gateways.is_none();
        let (from, to) = if bare {
            (lab.outer("left"), lab.outer("right"))
        } else {
            interop::ping(&lab, "left", lab.inner("left"), lab.inner("right"), "00")?;
            (lab.inner("left"), lab.inner("right"))
        };
        if let Some((left, right)) = pair.gateways {
            cpu::pin(left, 0)?;
            cpu::pin(right, 1)?;
        }
        let used = || pair.gateways.map(|(left, right)| (cpu::seconds(left), cpu::seconds(right)));
        let (before, begin) = (used(), Instant::now());
        let octets = interop::tcp_flood(&lab, "left", (from, to), STREAM)?;
        let (after, elapsed) = (used(), begin.elapsed().as_secs_f64());
        let gigabytes = octets as f64 / 1e9;
        let cpu_per_gb = before.zip(after).map(|(b, a)| ((a.0 - b.0) / gigabytes, (a.1 - b.1) / gigabytes));
        Ok(Row { name: name.to_string(), gbit_per_second: gigabytes * 8.0 / elapsed, cpu_per_gb })
    };
    attempt().map_err(|error| format!("{name}: {}", crate::first_line(&error)))
}

fn handfast_pair(lab: &Lab, binary: &Path) -> Result<Pair, String> {
    let start = |side| {
        let config = HandfastConfig {
            side,
            proposals: SUITE.0,
            esp_proposals: SUITE.1,
            credentials: Ok::<&str, &Credentials>(PSK),
            connection: "",
            child: "",
            selectors: None,
        };
        Handfast::start(lab, side, binary, &config.toml(lab))
    };
    let (right, left) = (start("right")?, start("left")?);
    left.command(&["up", "net"])?;
    let gateways = Some((left.process.pid(), right.process.pid()));
    Ok(Pair { gateways, _keep: vec![Box::new(left), Box::new(right)] })
}

fn strongswan_pair(lab: &Lab) -> Result<Pair, String> {
    let start = |side| {
        let mut config = CharonConfig::new(side, SUITE.0, SUITE.1, PSK);
        config.log = false;
        Charon::start(lab, &config)
    };
    let (right, left) = (start("right")?, start("left")?);
    left.initiate()?;
    let gateways = Some((left.pid(), right.pid()));
    Ok(Pair { gateways, _keep: vec![Box::new(left), Box::new(right)] })
}

/// `start` is the daemon with its options, before the name of the device.
fn wireguard_pair(lab: &Lab, start: &[&str]) -> Result<Pair, String> {
    if let Some(why) = interop::missing(&[start[0], "wg"]) {
        return Err(why);
    }
    let mut keys = Vec::new();
    for side in ["left", "right"] {
        let private = lab.folder().join(format!("{side}.wg"));
        let secret = run("wg", &["genkey"])?;
        std::fs::write(&private, &secret).map_err(|error| error.to_string())?;
        let public = run("sh", &["-c", &format!("wg pubkey < {}", private.display())])?.trim().to_string();
        keys.push((private.display().to_string(), public));
    }
    let mut daemons: Vec<Process> = Vec::new();
    for (at, side) in ["left", "right"].into_iter().enumerate() {
        let other = if side == "left" { "right" } else { "left" };
        let ns = lab.ns(side);
        // Both daemons keep their control sockets in /var/run/wireguard, one name for all namespaces.
        let device = format!("wg{}{at}", std::process::id() % 100_000);
        let mut command = start.to_vec();
        command.push(&device);
        daemons.push(lab.spawn(side, &mut command, &[])?);
        let set = format!(
            "wg set {device} private-key {} listen-port 51820 peer {} endpoint {}:51820 allowed-ips {}/32",
            keys[at].0,
            keys[1 - at].1,
            lab.outer(other),
            lab.inner(other)
        );
        let ready = || run("ip", &["netns", "exec", &ns, "sh", "-c", &set]).is_ok();
        if !wait_until(Duration::from_secs(5), ready) {
            return Err(format!("{} did not start: {}", start[0], daemons[at].output()));
        }
        run("ip", &["-n", &ns, "link", "set", &device, "up"])?;
        let route = [lab.inner(other).to_string(), lab.inner(side).to_string()];
        run("ip", &["-n", &ns, "route", "add", &route[0], "dev", &device, "src", &route[1]])?;
    }
    let gateways = Some((daemons[0].pid(), daemons[1].pid()));
    Ok(Pair { gateways, _keep: daemons.into_iter().map(|d| Box::new(d) as _).collect() })
}
