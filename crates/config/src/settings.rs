//! `[daemon]`: how the daemon runs, whatever its connections.

use crate::reader::{Fault, Reader, Section};
use crate::schema;
use crate::value::{choice, duration, number, truth};
use std::path::PathBuf;
use std::time::Duration;

/// How the daemon runs.
#[derive(Clone, Debug)]
pub struct DaemonSettings {
    /// UDP port of IKE; 500. 0 lets the kernel choose.
    pub port: u16,
    /// UDP port of IKE and ESP behind NAT; 4500. 0 lets the kernel choose.
    pub port_nat_t: u16,
    /// What carries ESP.
    pub dataplane: DataplaneChoice,
    /// The TUN device's name; `%d` becomes a free number.
    pub interface: String,
    /// The TUN device's MTU in octets, 1280 to 9000.
    pub mtu: u32,
    /// Whether ESP goes without UDP where there is no NAT (IP protocol 50).
    pub raw_esp: bool,
    /// The mark of our own packets, by which routing rules tell them from those for the tunnels: one bit, or
    /// 0 for none, which `dataplane = "none"` alone can do with.
    pub mark: u32,
    /// The routing table of the tunnels' routes.
    pub routing_table: u32,
    /// The priority of the rules that lead to that table.
    pub routing_priority: u32,
    /// The control socket.
    pub control: PathBuf,
    /// The file with the secret behind the tokens of quick crash detection (RFC 6290); `None`: there are none.
    pub crash_secret: Option<PathBuf>,
    /// The file with the secret behind tickets of session resumption (RFC 5723); `None`: it is another one after each start.
    pub ticket_secret: Option<PathBuf>,
    /// What becomes of name servers that a peer gives us.
    pub resolver: ResolverSettings,
    /// The log.
    pub log: LogSettings,
    /// Half-open limits, retransmission and the like; its `shard` is that of a single endpoint.
    pub endpoint: sa::Settings,
}

/// `dataplane`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataplaneChoice {
    /// ESP in userspace over a TUN device.
    Tun,
    /// Nothing: child SAs are negotiated and carry no traffic.
    None,
}

/// What becomes of name servers that a peer gives us. The default does nothing with them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ResolverSettings {
    /// A file such as /etc/resolv.conf, at whose beginning they stand as long as the IKE SA does.
    pub file: Option<PathBuf>,
    /// A program that is told of them.
    pub command: Option<PathBuf>,
}

/// The log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSettings {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// How much is logged; each level has all of those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// In which form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// One line for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            port: 500,
            port_nat_t: 4500,
            dataplane: DataplaneChoice::Tun,
            interface: "hf%d".to_string(),
            mtu: 1400,
            raw_esp: true,
            // A bit that the marks of wg-quick, Tailscale, Calico and Kubernetes leave free.
            mark: 0x1000,
            routing_table: 4500,
            routing_priority: 4500,
            control: PathBuf::from("/run/handfast/control.sock"),
            crash_secret: None,
            ticket_secret: None,
            resolver: ResolverSettings::default(),
            log: LogSettings { level: LogLevel::Info, format: LogFormat::Human },
            endpoint: sa::Settings::default(),
        }
    }
}

/// Reads `[daemon]`.
pub(crate) fn read(reader: &mut Reader, root: &Section<'_>) -> DaemonSettings {
    let mut settings = DaemonSettings::default();
    let Some(daemon) = reader.table(root, "daemon") else { return settings };
    reader.check_keys(&daemon, &schema::DAEMON);
    read_ports(reader, &daemon, &mut settings);
    read_dataplane(reader, &daemon, &mut settings);
    read_endpoint(reader, &daemon, &mut settings.endpoint);
    let path = |text: &str| match text.is_empty() || text.contains('\0') || text.len() > 107 {
        // The length is that of sockaddr_un.sun_path, less its closing zero.
        true => Err(Fault::new("The path of a socket has 1 to 107 octets.")),
        false => Ok(PathBuf::from(text)),
    };
    set(&mut settings.control, reader.text(&daemon, "control", path));
    settings.crash_secret = reader.text(&daemon, "crash_secret", path);
    settings.ticket_secret = reader.text(&daemon, "ticket_secret", path);
    if let Some(resolver) = reader.table(&daemon, "resolver") {
        reader.check_keys(&resolver, &schema::RESOLVER);
        settings.resolver.file = reader.text(&resolver, "file", absolute);
        settings.resolver.command = reader.text(&resolver, "command", absolute);
    }
    if let Some(log) = reader.table(&daemon, "log") {
        reader.check_keys(&log, &schema::LOG);
        set(&mut settings.log.level, reader.text(&log, "level", |text| choice(LEVELS, text)));
        set(&mut settings.log.format, reader.text(&log, "format", |text| choice(FORMATS, text)));
    }
    settings
}

/// The daemon may work elsewhere than where the file stands.
fn absolute(text: &str) -> Result<PathBuf, Fault> {
    match text.starts_with('/') && !text.contains('\0') {
        true => Ok(PathBuf::from(text)),
        false => Err(Fault::new("A path here is absolute.").hint("Write it like /etc/resolv.conf.")),
    }
}

const LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
const FORMATS: &[(&str, LogFormat)] = &[("human", LogFormat::Human), ("json", LogFormat::Json)];
const DATAPLANES: &[(&str, DataplaneChoice)] =
    &[("tun", DataplaneChoice::Tun), ("none", DataplaneChoice::None)];

/// Replaces the default by what the file says.
pub(crate) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn read_ports(reader: &mut Reader, daemon: &Section<'_>, settings: &mut DaemonSettings) {
    let port = |text: &str| number(text, 0, u64::from(u16::MAX)).map(|port| port as u16);
    set(&mut settings.port, reader.scalar(daemon, "port", port));
    set(&mut settings.port_nat_t, reader.scalar(daemon, "port_nat_t", port));
    if settings.port == settings.port_nat_t && settings.port != 0 {
        let at = daemon.value_place(if daemon.has("port_nat_t") { "port_nat_t" } else { "port" });
        let hint = "On port 4500 a marker tells IKE from ESP, on port 500 there is none: they cannot be one.";
        reader.error(
            &at,
            format!("`port` and `port_nat_t` are both {}.", settings.port),
            Some(hint.to_string()),
        );
    }
}

fn read_dataplane(reader: &mut Reader, daemon: &Section<'_>, settings: &mut DaemonSettings) {
    set(&mut settings.dataplane, reader.text(daemon, "dataplane", |text| choice(DATAPLANES, text)));
    let name = |text: &str| {
        // IFNAMSIZ less the closing zero; `%d` is replaced by the kernel.
        let ok = (1..=15).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.%".contains(c));
        match ok && !matches!(text, "." | "..") && text.matches('%').count() == text.matches("%d").count() {
            true => Ok(text.to_string()),
            false => {
                Err(Fault::new("The name of an interface has 1 to 15 letters, digits, `-`, `_` or `.`."))
            }
        }
    };
    set(&mut settings.interface, reader.text(daemon, "interface", name));
    set(
        &mut settings.mtu,
        reader.scalar(daemon, "mtu", |text| number(text, 1280, 9000).map(|mtu| mtu as u32)),
    );
    set(&mut settings.raw_esp, reader.scalar(daemon, "raw_esp", truth));
    let u32_from = |least| move |text: &str| number(text, least, u64::from(u32::MAX)).map(|n| n as u32);
    let mark = |text: &str| match number(text, 0, u64::from(u32::MAX))? {
        mark if mark == 0 || mark.is_power_of_two() => Ok(mark as u32),
        mark => Err(Fault::new(format!("A mark is one bit (1, 2, 4, 8 …) or 0, not {mark}."))),
    };
    set(&mut settings.mark, reader.scalar(daemon, "mark", mark));
    if settings.mark == 0 && settings.dataplane == DataplaneChoice::Tun {
        let message = "Without a mark the routing rules would lead ESP into its own tunnel.";
        reader.error(
            &daemon.value_place("mark"),
            message,
            Some("Leave `mark` out, or set one bit.".to_string()),
        );
    }
    set(&mut settings.routing_table, reader.scalar(daemon, "routing_table", u32_from(1)));
    // 32766 is the rule of the main table: a later one would not be asked.
    let priority = |text: &str| number(text, 1, 32765).map(|n| n as u32);
    set(&mut settings.routing_priority, reader.scalar(daemon, "routing_priority", priority));
}

fn read_endpoint(reader: &mut Reader, daemon: &Section<'_>, endpoint: &mut sa::Settings) {
    let count = |text: &str| number(text, 0, 10_000_000).map(|n| n as usize);
    set(&mut endpoint.cookie_threshold, reader.scalar(daemon, "cookie_threshold", count));
    set(&mut endpoint.cookie_threshold_ip, reader.scalar(daemon, "cookie_threshold_ip", count));
    set(&mut endpoint.puzzle_threshold, reader.scalar(daemon, "puzzle_threshold", count));
    set(&mut endpoint.puzzle_threshold_ip, reader.scalar(daemon, "puzzle_threshold_ip", count));
    // RFC 8019 §4.4: fewer zero bits than these are too easy.
    let most = u64::from(sa::limits::MAX_PUZZLE_BITS);
    let bits = |text: &str| match text {
        "0" => Ok(0),
        text => number(text, 9, most).map(|bits| bits as u8).map_err(|_| {
            Fault::new(format!("The zero bits of a puzzle are 0 or a number from 9 to {most}."))
        }),
    };
    set(&mut endpoint.puzzle_difficulty, reader.scalar(daemon, "puzzle_difficulty", bits));
    set(&mut endpoint.puzzle_limit, reader.scalar(daemon, "puzzle_limit", bits));
    let some = |text: &str| number(text, 1, 10_000_000).map(|n| n as usize);
    set(&mut endpoint.max_half_open, reader.scalar(daemon, "init_limit_half_open", some));
    set(&mut endpoint.block_threshold, reader.scalar(daemon, "block_threshold", some));
    set(&mut endpoint.half_open_timeout, reader.scalar(daemon, "half_open_timeout", |t| between(t, 1, 3600)));
    set(&mut endpoint.keepalive, reader.scalar(daemon, "keep_alive", |t| between(t, 1, 3600)));
    set(&mut endpoint.backoff.first, reader.scalar(daemon, "retransmit_timeout", seconds));
    set(&mut endpoint.backoff.growth, reader.scalar(daemon, "retransmit_base", percent));
    set(&mut endpoint.backoff.longest, reader.scalar(daemon, "retransmit_limit", |t| between(t, 1, 3600)));
    let tries = |text: &str| number(text, 0, 100).map(|n| n as u32 + 1);
    set(&mut endpoint.backoff.transmissions, reader.scalar(daemon, "retransmit_tries", tries));
    if endpoint.backoff.longest < endpoint.backoff.first {
        let at = daemon.value_place("retransmit_limit");
        reader.error(&at, "`retransmit_limit` is shorter than `retransmit_timeout`.", None);
    }
}

/// A duration between two bounds in seconds.
fn between(text: &str, least: u64, most: u64) -> Result<Duration, Fault> {
    let duration = duration(text)?;
    match (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&duration) {
        true => Ok(duration),
        false => Err(Fault::new(format!("This duration is not between {least}s and {most}s."))),
    }
}

/// A duration, or seconds with a fraction as in strongswan.conf: `4.0`.
fn seconds(text: &str) -> Result<Duration, Fault> {
    let read = match text.parse::<f64>() {
        Ok(seconds) if (0.0..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Ok(_) => Err(Fault::new("This duration is not between 100ms and 60s.")),
        Err(_) => duration(text),
    }?;
    match (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&read) {
        true => Ok(read),
        false => Err(Fault::new("This duration is not between 100ms and 60s.")),
    }
}

/// A factor of at least 1 such as `1.8`, in percent.
fn percent(text: &str) -> Result<u32, Fault> {
    match text.parse::<f64>() {
        Ok(factor) if (1.0..=10.0).contains(&factor) => Ok((factor * 100.0).round() as u32),
        _ => Err(Fault::new("The base of the back-off is a factor from 1.0 to 10.0.")),
    }
}
