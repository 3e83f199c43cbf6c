//! CPU per handshake as responder and memory per established IKE SA, Handfast's and strongSwan's, against the same
//! initiator; both leave the data plane out.

use crate::{cpu, load::Load};
use base::WallClock;
use config::Tools;
use crypto::Suite;
use interop::{Charon, CharonConfig, Credentials, Family, Handfast, HandfastConfig, KeyKind, Lab, Net, Root};
use provider::Provider;
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testcerts::{Authority, Key};

pub(crate) const PSK: &str = "bench bench bench bench";
/// The side of the responder.
const SERVER_TS: &str = "\"192.168.2.0/24\"";
const CLASSICAL: &str = "aes256gcm16-prfsha384-x25519";
/// With ML-KEM-768 in IKE_INTERMEDIATE (RFC 9370).
pub(crate) const HYBRID: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
pub(crate) const ESP: &str = "aes256gcm16";
/// Many IKE SAs of the same two identities; on port 500 alone, where the load has its one socket: with MOBIKE it would go on
/// at port 4500 (RFC 4555 §3.3).
pub(crate) const CONNECTION: &str = "unique = \"never\"\nencap = false\nmobike = false";
/// Handshakes before the measured ones: code and caches warm.
const WARM: usize = 200;
/// Handshakes whose CPU is measured; further ones only fill the memory, since strongSwan's cost grows with its SAs.
const MEASURED: usize = 2_000;

/// What one responder cost.
pub(crate) struct Cost {
    micros: f64,
    kib_per_sa: f64,
}

/// One kind of handshake against both responders.
pub(crate) struct Row {
    name: &'static str,
    count: usize,
    handfast: Result<Cost, String>,
    strongswan: Result<Cost, String>,
}

impl Row {
    /// For `--json`.
    pub(crate) fn json(&self) -> Value {
        let side = |cost: &Result<Cost, String>| match cost {
            Ok(cost) => json!({ "cpu_microseconds": cost.micros, "resident_kib_per_sa": cost.kib_per_sa }),
            Err(error) => json!({ "error": error }),
        };
        json!({ "handshake": self.name, "count": self.count,
                "handfast": side(&self.handfast), "strongswan": side(&self.strongswan) })
    }

    /// Two lines of the table: CPU and memory.
    pub(crate) fn lines(&self) -> String {
        let (ours, theirs) = match (&self.handfast, &self.strongswan) {
            (Ok(ours), Ok(theirs)) => (ours, theirs),
            (ours, theirs) => {
                let line = |who: &str, cost: &Result<Cost, String>| match cost {
                    Ok(cost) => format!("{who} {:.1} µs, {:.1} KiB", cost.micros, cost.kib_per_sa),
                    Err(error) => format!("{who} not measured: {}", crate::first_line(error)),
                };
                return format!("{}: {}; {}", self.name, line("Handfast", ours), line("strongSwan", theirs));
            }
        };
        let line = |what: String, a: f64, b: f64| format!("{what:<44} {a:>9.1} {b:>11.1} {:>7.2}", b / a);
        format!(
            "{}\n{}",
            line(format!("{}, CPU µs per handshake", self.name), ours.micros, theirs.micros),
            line(format!("{}, KiB per SA at {}", self.name, self.count), ours.kib_per_sa, theirs.kib_per_sa),
        )
    }
}

/// By what both prove themselves.
#[derive(Clone, Copy)]
enum Proof {
    Psk,
    Certificates(KeyKind),
    /// ML-DSA-65 below a root of the same.
    MlDsa,
}

/// Which strongSwan.
#[derive(Clone, Copy)]
enum Peer {
    /// Debian's, as far as it goes.
    Packaged,
    /// Of `scripts/peers.sh`: the first with post-quantum key exchanges.
    Six,
    /// What it does not have.
    None,
}

/// What is measured: a name, the IKE proposal, proofs, and against whom.
struct Kind(&'static str, &'static str, Proof, Peer);

const KINDS: [Kind; 5] = [
    Kind("PSK + x25519", CLASSICAL, Proof::Psk, Peer::Packaged),
    Kind("ECDSA P-256 certificates", CLASSICAL, Proof::Certificates(KeyKind::Ecdsa), Peer::Packaged),
    Kind("PSK + x25519 + ML-KEM-768", HYBRID, Proof::Psk, Peer::Six),
    Kind("ECDSA P-256 + ML-KEM-768", HYBRID, Proof::Certificates(KeyKind::Ecdsa), Peer::Six),
    Kind("ML-DSA-65 + ML-KEM-768", HYBRID, Proof::MlDsa, Peer::None),
];

/// `count` handshakes of each kind.
pub(crate) fn all(binary: &Path, count: usize) -> Vec<Row> {
    let row = |kind: &Kind| {
        let name = kind.0;
        crate::progress(&format!("{count} handshakes with Handfast: {name}"));
        let handfast = with_lab(kind, |lab, credentials| handfast(lab, binary, kind, credentials, count));
        crate::progress(&format!("{count} handshakes with strongSwan: {name}"));
        let strongswan = with_lab(kind, |lab, credentials| strongswan(lab, kind, credentials, count));
        Row { name, count, handfast, strongswan }
    };
    KINDS.iter().map(row).collect()
}

type Auth<'a> = Result<&'a str, &'a Credentials>;

fn with_lab(
    kind: &Kind,
    measure: impl FnOnce(&Lab, Auth<'_>) -> Result<Cost, String>,
) -> Result<Cost, String> {
    let lab = Lab::new(Family::V4, Net::Routed)?;
    let credentials = match kind.2 {
        Proof::Psk => None,
        Proof::Certificates(kind) => Some(Credentials::new(lab.folder(), kind)?),
        Proof::MlDsa => Some(ml_dsa(lab.folder(), 0)?),
    };
    measure(&lab, credentials.as_ref().map_or(Ok(PSK), Err))
}

/// A root, so many intermediates and two end entities, all with keys of ML-DSA-65.
pub(crate) fn ml_dsa(folder: &Path, intermediates: usize) -> Result<Credentials, String> {
    let mut issuer = Authority::root(Key::MlDsa65, "Root");
    let written = |error: std::io::Error| format!("{}: {error}", folder.display());
    issuer.write(folder, "ca").map_err(written)?;
    for n in 0..intermediates {
        issuer = issuer.intermediate(Key::MlDsa65, &format!("Intermediate {n}"));
    }
    for side in ["left", "right"] {
        let entity = issuer.issue(Key::MlDsa65, side, &[&format!("{side}.example")]);
        entity.write(folder, side).map_err(written)?;
    }
    Ok(Credentials::of(folder))
}

/// The library that answers for strongSwan's kernel, which `scripts/bench.sh` compiles.
pub(crate) fn answers() -> Result<PathBuf, String> {
    let file =
        std::env::current_exe().ok().and_then(|path| Some(path.parent()?.parent()?.join("xfrm-answers.so")));
    file.filter(|path| path.exists())
        .ok_or("target/xfrm-answers.so is missing: run scripts/bench.sh".to_string())
}

fn handfast(
    lab: &Lab,
    binary: &Path,
    kind: &Kind,
    credentials: Auth<'_>,
    count: usize,
) -> Result<Cost, String> {
    let config = HandfastConfig {
        side: "right",
        proposals: kind.1,
        esp_proposals: ESP,
        credentials,
        connection: CONNECTION,
        child: "",
        selectors: Some((SERVER_TS, "\"10.64.0.0/10\"")),
    };
    let text = format!("dataplane = \"none\"\n{}", config.toml(lab));
    let daemon = Handfast::start(lab, "right", binary, &text)?;
    measure(lab, daemon.process.pid(), kind.1, credentials, count)
}

fn strongswan(lab: &Lab, kind: &Kind, credentials: Auth<'_>, count: usize) -> Result<Cost, String> {
    let answers = answers()?;
    let mut config = CharonConfig::new("right", kind.1, ESP, PSK);
    config.root = match kind.3 {
        Peer::Packaged => None,
        Peer::Six => Some(Root::find("strongswan6")?),
        Peer::None => return Err("it has no ML-DSA".to_string()),
    };
    config.credentials = credentials;
    config.selectors = Some(("192.168.2.0/24", "10.64.0.0/10"));
    config.connection = "unique = never\n mobike = no";
    // Setting its thresholds to nought one by one would make it drop what comes while one IKE SA is half open.
    config.charon = "dos_protection = no\n ikesa_table_size = 16384\n ikesa_table_segments = 16";
    config.preload = Some(&answers);
    config.log = false;
    // SPIs that it has reserved stay so: otherwise the kernel takes them back, and charon deletes their child SAs.
    let keep = "echo 3600 > /proc/sys/net/core/xfrm_acq_expires";
    interop::run("ip", &["netns", "exec", &lab.ns("right"), "sh", "-c", keep])?;
    let charon = Charon::start(lab, &config)?;
    measure(lab, charon.pid(), kind.1, credentials, count)
}

/// Drives one responder; it runs on core 1, the initiator on core 0.
fn measure(lab: &Lab, pid: u32, proposal: &str, credentials: Auth<'_>, count: usize) -> Result<Cost, String> {
    let file = lab.folder().join("load.toml");
    std::fs::write(&file, initiator(lab, proposal, credentials, WARM + count))
        .map_err(|error| error.to_string())?;
    let suite: Arc<dyn Suite> = Arc::new(Provider::new());
    let wall = WallClock(std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()));
    let tools = Tools {
        suite: &*suite,
        load_key: &|der| provider::load_private_key(der).map_err(|error| error.to_string()),
        wall,
    };
    let (config, _) = config::load(&file, &tools).map_err(|problems| format!("{problems:?}"))?;
    let local = SocketAddr::new(lab.outer("left"), 500);
    let socket = interop::in_namespace(&lab.ns("left"), move || std::net::UdpSocket::bind(local))?;
    let mut load =
        Load::new(suite, config.policy, config.secrets, socket, SocketAddr::new(lab.outer("right"), 500))?;
    cpu::pin(pid, 1)?;
    cpu::pin(std::process::id(), 0)?;
    let outcome = load.establish(WARM).and_then(|()| {
        let (cpu, memory) = (cpu::seconds(pid), cpu::resident(pid)?);
        let measured = MEASURED.min(count);
        load.establish(measured)?;
        let micros = (cpu::seconds(pid) - cpu) * 1e6 / measured as f64;
        load.establish(count - measured)?;
        let kib = (cpu::resident(pid)?.saturating_sub(memory)) as f64 / 1024.0;
        Ok(Cost { micros, kib_per_sa: kib / count as f64 })
    });
    cpu::unpin(std::process::id())?;
    outcome
}

/// One connection per IKE SA to be made.
pub(crate) fn initiator(lab: &Lab, proposal: &str, credentials: Auth<'_>, count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        // An address of its own for each: a peer's list of equal policies would grow otherwise.
        let own = format!("\"10.{}.{}.{}\"", 64 + (n >> 16), (n >> 8) & 255, n & 255);
        let config = HandfastConfig {
            side: "left",
            proposals: proposal,
            esp_proposals: ESP,
            credentials,
            connection: CONNECTION,
            child: "",
            selectors: Some((&own, SERVER_TS)),
        };
        let (connection, secrets) = config
            .toml(lab)
            .split_once("[secrets")
            .map(|(c, s)| (c.to_string(), s.to_string()))
            .unwrap_or_default();
        let _ = write!(text, "{}", connection.replace("connections.net", &format!("connections.c{n}")));
        if n + 1 == count {
            let _ = write!(text, "[secrets{secrets}");
        }
    }
    text
}
