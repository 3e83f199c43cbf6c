//! Three namespaces in a row: left — middle — right. The middle one routes, and may masquerade what comes from
//! one side. Further ones can be added: `left2`, `right2`.

use crate::run;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The address family outside the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Family {
    V4,
    V6,
}

/// What kind of network lies between the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Net {
    /// The middle only routes.
    Routed,
    /// The middle masquerades the left side (nftables).
    LeftBehindNat,
}

/// The network of one test. Dropping it ends its processes and removes namespaces and files.
pub struct Lab {
    tag: String,
    family: Family,
    folder: PathBuf,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// Builds it; names are unique to this process and call.
    pub fn new(family: Family, net: Net) -> Result<Lab, String> {
        let tag = format!("hf{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("handfast-{tag}"));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let lab = Lab { tag, family, folder };
        lab.build(net)?;
        Ok(lab)
    }

    /// The namespace `left`, `middle` or `right`.
    pub fn ns(&self, which: &str) -> String {
        format!("{}-{which}", self.tag)
    }

    /// A folder of its own, removed with the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The outer address of `left` or `right`, or of another.
    pub fn outer(&self, which: &str) -> IpAddr {
        let text = match (self.family, which) {
            (_, "left2") => "10.0.3.2",
            (_, "right2") => "10.0.4.2",
            (Family::V4, "left") => "10.0.1.2",
            (Family::V4, _) => "10.0.2.2",
            (Family::V6, "left") => "fd00:1::2",
            (Family::V6, _) => "fd00:2::2",
        };
        text.parse().expect("an address")
    }

    /// An address behind `left` or `right`, IPv4.
    pub fn inner(&self, which: &str) -> IpAddr {
        if which == "left" { [192, 168, 1, 1].into() } else { [192, 168, 2, 1].into() }
    }

    /// An address behind `left` or `right`, IPv6.
    pub fn inner6(&self, which: &str) -> IpAddr {
        let text = if which == "left" { "fd01:1::1" } else { "fd01:2::1" };
        text.parse().expect("an address")
    }

    /// The middle's interface towards `left` or `right`, where a capture sees the wire.
    pub fn middle_interface(&self, which: &str) -> &'static str {
        if which == "left" { "mleft" } else { "mright" }
    }

    fn build(&self, net: Net) -> Result<(), String> {
        let (left, middle, right) = (self.ns("left"), self.ns("middle"), self.ns("right"));
        for ns in [&left, &middle, &right] {
            self.space(ns)?;
        }
        for (ns, which, v4, v6) in
            [(&left, "left", "10.0.1", "fd00:1:"), (&right, "right", "10.0.2", "fd00:2:")]
        {
            let towards = self.middle_interface(which);
            run(
                "ip",
                &[
                    "-n", ns, "link", "add", "outer", "type", "veth", "peer", "name", towards, "netns",
                    &middle,
                ],
            )?;
            for (at, device, host) in [(ns, "outer", 2), (&middle, towards, 1)] {
                self.ip(at, &format!("address add {v4}.{host}/24 dev {device}"))?;
                self.ip(at, &format!("address add {v6}:{host}/64 dev {device} nodad"))?;
                self.ip(at, &format!("link set {device} up"))?;
            }
            self.ip(ns, &format!("route add default via {v4}.1"))?;
            self.ip(ns, &format!("-6 route add default via {v6}:1"))?;
            self.ip(ns, &format!("address add {}/32 dev lo", self.inner(which)))?;
            self.ip(ns, &format!("address add {}/128 dev lo", self.inner6(which)))?;
        }
        self.sysctl(&middle, "ipv4.ip_forward", "1")?;
        self.sysctl(&middle, "ipv6.conf.all.forwarding", "1")?;
        if net == Net::LeftBehindNat {
            let rules = "table inet nat { chain post { type nat hook postrouting priority 100; oifname \"mright\" masquerade\n } \n }";
            run("ip", &["netns", "exec", &middle, "nft", rules])?;
        }
        Ok(())
    }

    fn space(&self, ns: &str) -> Result<(), String> {
        run("ip", &["netns", "add", ns])?;
        self.ip(ns, "link set lo up")?;
        for key in ["ipv4.conf.all.rp_filter", "ipv4.conf.default.rp_filter", "ipv6.conf.default.accept_dad"]
        {
            self.sysctl(ns, key, "0")?;
        }
        Ok(())
    }

    /// Adds a namespace `left2` or `right2` beside the middle, with IPv4.
    pub fn add(&self, which: &str) -> Result<(), String> {
        self.space(&self.ns(which))?;
        let IpAddr::V4(outer) = self.outer(which) else { return Err(format!("{which} has IPv4 only")) };
        let [a, b, c, _] = outer.octets();
        let gateway = format!("{a}.{b}.{c}.1");
        self.join(which, "outer", &format!("m{which}"), [&outer.to_string(), &gateway])?;
        self.ip(&self.ns(which), &format!("route add default via {gateway}"))
    }

    /// A link between a namespace and the middle, with an address at each end.
    fn join(&self, which: &str, device: &str, towards: &str, at: [&str; 2]) -> Result<(), String> {
        let (ns, middle) = (self.ns(which), self.ns("middle"));
        let ends = ["link", "add", device, "type", "veth", "peer", "name", towards, "netns", &middle];
        run("ip", &[&["-n", &ns], &ends[..]].concat())?;
        for ((ns, device), address) in [(&ns, device), (&middle, towards)].into_iter().zip(at) {
            self.ip(ns, &format!("address add {address}/24 dev {device}"))?;
            self.ip(ns, &format!("link set {device} up"))?;
        }
        Ok(())
    }

    /// A second link from the left to the middle, `outer2` with the address 10.0.5.2, which is used when the first is not.
    pub fn second_link(&self) -> Result<(), String> {
        self.join("left", "outer2", "msecond", ["10.0.5.2", "10.0.5.1"])?;
        self.ip(&self.ns("left"), "route add default via 10.0.5.1 metric 100")
    }

    /// Runs `ip` with these words in a namespace.
    pub fn ip_in(&self, which: &str, words: &str) -> Result<(), String> {
        self.ip(&self.ns(which), words)
    }

    /// Runs a command in a namespace.
    pub fn run_in(&self, which: &str, command: &[&str]) -> Result<String, String> {
        run("ip", &[&["netns", "exec", &self.ns(which)], command].concat())
    }

    /// From now on the middle masquerades what comes from the left, by these ports where given (`20000-20999`). What it has
    /// masqueraded before is forgotten.
    pub fn masquerade(&self, ports: Option<&str>) -> Result<(), String> {
        let middle = self.ns("middle");
        let to = ports.map(|ports| format!(" to :{ports}")).unwrap_or_default();
        let udp = if ports.is_some() { "meta l4proto udp " } else { "" };
        let rules = format!(
            "table inet nat
delete table inet nat
table inet nat {{ chain post {{ type nat hook postrouting priority 100
oifname \"mright\" {udp}masquerade{to}
}}
}}
"
        );
        let file = self.folder.join("nat.nft");
        std::fs::write(&file, rules).map_err(|error| error.to_string())?;
        // The kernel forgets the mappings of a device that goes down, and of an address that goes.
        self.ip(&middle, "link set mright down")?;
        self.run_in("middle", &["nft", "-f", &file.display().to_string()])?;
        self.ip(&middle, "link set mright up")
    }

    /// What `name` means at one end from now on. Programs started before the first call do not see it.
    pub fn resolves(&self, which: &str, name: &str, to: IpAddr) -> Result<(), String> {
        let folder = self.etc(which);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        // The file is written in place: programs have it bound over /etc/hosts.
        let hosts = folder.join("hosts");
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{to} {name}\n"))
            .map_err(|error| format!("{}: {error}", hosts.display()))
    }

    /// What `ip netns exec` binds over /etc.
    fn etc(&self, which: &str) -> PathBuf {
        Path::new("/etc/netns").join(self.ns(which))
    }

    fn ip(&self, ns: &str, words: &str) -> Result<(), String> {
        let mut args = vec!["-n", ns];
        args.extend(words.split(' '));
        run("ip", &args).map(drop)
    }

    fn sysctl(&self, ns: &str, key: &str, value: &str) -> Result<(), String> {
        run("ip", &["netns", "exec", ns, "sysctl", "-qw", &format!("net.{key}={value}")]).map(drop)
    }

    /// From now on the middle loses so many of a thousand packets, IKE and ESP, both ways, and counts them.
    pub fn lose(&self, of_a_thousand: u32) -> Result<(), String> {
        // Several datagrams that one system call sent would pass as one packet, and be counted and lost as one.
        for which in ["left", "right"] {
            self.ip(&self.ns(which), "link set outer gso_max_segs 1")?;
        }
        // The named counters stay when the chains are written anew. What is shorter than an ESP header, such as a NAT
        // keepalive, is IKE to them.
        // nft takes no `< 0`.
        let lost = match of_a_thousand {
            0 => [String::new(), String::new()],
            some => [("carry", "", "esp_lost"), ("forward", "udp dport { 500, 4500 } ", "ike_lost")].map(
                |(chain, what, counter)| {
                    format!("add rule inet link {chain} {what}numgen random mod 1000 < {some} counter name {counter} drop")
                },
            ),
        };
        let rules = format!(
            "add table inet link
add counter inet link carried
add counter inet link from_left
add counter inet link esp_lost
add counter inet link ike_lost
add counter inet link fragments_left
add counter inet link fragments_right
add chain inet link carry
add chain inet link forward {{ type filter hook forward priority 0; }}
flush chain inet link carry
flush chain inet link forward
add rule inet link carry counter name carried
add rule inet link carry iifname mleft counter name from_left
{}
add rule inet link carry accept
add rule inet link forward iifname mleft udp dport 500 @th,192,8 53 counter name fragments_left
add rule inet link forward iifname mleft udp dport 4500 @th,64,32 0 @th,224,8 53 counter name fragments_left
add rule inet link forward iifname mright udp dport 500 @th,192,8 53 counter name fragments_right
add rule inet link forward iifname mright udp dport 4500 @th,64,32 0 @th,224,8 53 counter name fragments_right
add rule inet link forward meta l4proto 50 jump carry
add rule inet link forward udp dport 4500 udp length > 12 @th,64,32 != 0 jump carry
{}
",
            lost[0], lost[1]
        );
        let file = self.folder.join("link.nft");
        std::fs::write(&file, rules).map_err(|error| error.to_string())?;
        run("ip", &["netns", "exec", &self.ns("middle"), "nft", "-f", &file.display().to_string()]).map(drop)
    }

    /// What the middle has carried and lost since the first [`Lab::lose`].
    pub fn link(&self) -> Link {
        let shown = run(
            "ip",
            &["netns", "exec", &self.ns("middle"), "nft", "list", "counters", "table", "inet", "link"],
        );
        let shown = shown.unwrap_or_default();
        let packets = |counter: &str| {
            let after = shown.split(&format!("counter {counter} {{")).nth(1);
            after.and_then(|text| text.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
        };
        Link {
            esp: packets("carried"),
            esp_from_left: packets("from_left"),
            esp_lost: packets("esp_lost"),
            ike_lost: packets("ike_lost"),
            fragments: [packets("fragments_left"), packets("fragments_right")],
        }
    }

    /// The middle delays what it forwards, by half of `millis` each way, give or take a fifth. The kernel needs `netem`.
    pub fn delay(&self, millis: u32) -> Result<(), String> {
        self.netem(millis / 2, millis / 10)
    }

    /// The middle takes anything up to so long with each packet, so that they overtake each other. The kernel needs `netem`.
    pub fn scatter(&self, millis: u32) -> Result<(), String> {
        self.netem(millis / 2, millis / 2)
    }

    fn netem(&self, delay: u32, jitter: u32) -> Result<(), String> {
        for which in ["left", "right"] {
            let (delay, jitter) = (format!("{delay}ms"), format!("{jitter}ms"));
            let device = self.middle_interface(which);
            let words = [
                "qdisc", "replace", "dev", device, "root", "netem", "limit", "10000", "delay", &delay,
                &jitter,
            ];
            let mut command = vec!["netns", "exec", "", "tc"];
            let ns = self.ns("middle");
            command[2] = &ns;
            command.extend(words);
            run("ip", &command)?;
        }
        Ok(())
    }

    /// Starts a program in a namespace; it ends with the value returned.
    pub fn spawn(
        &self,
        which: &str,
        command: &mut [&str],
        environment: &[(&str, &str)],
    ) -> Result<Process, String> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.ns(which)])
            .args(&*command)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.join(" ")))?;
        let output = Arc::new(Mutex::new(String::new()));
        let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.stdout.take().map(|p| Box::new(p) as _), child.stderr.take().map(|p| Box::new(p) as _)];
        for pipe in pipes.into_iter().flatten() {
            let output = output.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let mut output = output.lock().expect("never poisoned");
                    output.push_str(&line);
                    output.push('\n');
                }
            });
        }
        Ok(Process { child, output })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for which in ["left", "middle", "right", "left2", "right2"] {
            if self.etc(which).exists() {
                let _ = std::fs::remove_dir_all(self.etc(which));
                let _ = std::fs::remove_dir("/etc/netns");
            }
            if Path::new("/run/netns").join(self.ns(which)).exists() {
                let _ = run("ip", &["netns", "del", &self.ns(which)]);
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What a link carried: packets of ESP in all, and how many of ESP and of IKE it lost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Link {
    /// ESP that came to it.
    pub esp: u64,
    /// Of that, what the left sent.
    pub esp_from_left: u64,
    /// ESP that it lost.
    pub esp_lost: u64,
    /// IKE and keepalives that it lost.
    pub ike_lost: u64,
    /// Fragments of IKE messages (SKF, RFC 7383) from the left and from the right.
    pub fragments: [u64; 2],
}

/// A program that runs until it is dropped; what it prints is kept.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Process {
    /// What it has printed so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("never poisoned").clone()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it holds, in KiB.
    pub fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill only takes numbers; the child is not reaped before `drop`, so its pid is its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Asks it to end (SIGTERM) and waits at most `limit`; whether it ended by itself.
    pub fn stop(&mut self, limit: Duration) -> bool {
        self.signal(libc::SIGTERM);
        let ended = wait_until(limit, || !self.is_running());
        if !ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(3));
    }
}

/// Looks until `done` holds, at most `limit`; whether it came to hold.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(20);
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(pause);
        // Where waiting takes no time, looking takes it all.
        if crate::inside() {
            pause = (pause * 2).min(limit / 50).max(pause);
        }
    }
}
