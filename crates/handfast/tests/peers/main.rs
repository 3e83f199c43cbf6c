//! Handfast with each of its peers, under a kernel of our own (User-Mode Linux) that has the IPsec which peers ask for,
//! links that lose and delay, and a clock that jumps: a day passes in the time that its packets take.
//!
//! `day` is a day of rekeying, the others what each peer does.

mod day;
mod libreswan;
mod openiked;
mod soak;
mod strongswan;

use interop::{
    CHARON, Charon, Credentials, Family, Handfast, HandfastConfig, KeyKind, Lab, Libreswan, Net, OpenIked,
    Peer, PeerConfig, Pinging, Root, Sas, Suite, missing, wait_until,
};
use std::path::PathBuf;
use std::time::Duration;

/// The peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    /// Debian 12's.
    StrongSwan,
    /// A newer one.
    StrongSwan6,
    Libreswan,
    OpenIked,
}

impl Who {
    /// Why it does not run here, if it does not.
    fn missing(self) -> Option<String> {
        if let Some(why) = missing(&["ip", "sysctl", "nft", "tc", "ping", "nsenter", "unshare"]) {
            return Some(why);
        }
        match self {
            Who::StrongSwan => missing(&["swanctl", CHARON]),
            Who::StrongSwan6 => Root::find("strongswan6").err(),
            Who::Libreswan => Root::find("libreswan").err(),
            Who::OpenIked => Root::find("openiked").err(),
        }
    }
}

/// The binary under test; another one than this build's where `HANDFAST_BINARY` names it.
fn binary() -> PathBuf {
    std::env::var_os("HANDFAST_BINARY").map_or(env!("CARGO_BIN_EXE_handfast").into(), PathBuf::from)
}

/// How a pair is set up.
#[derive(Clone, Copy)]
struct Setup<'a> {
    who: Who,
    /// Handfast's side: `left` initiates.
    ours: &'a str,
    suite: Suite,
    child_rekey: (Duration, Duration),
    ike_rekey: (Duration, Duration),
    /// Whether the peer authenticates anew where it would rekey the IKE SA.
    reauth: bool,
    /// How long silence may last for us, and for the peer.
    dpd: (Duration, Duration),
    /// More lines of Handfast's `[daemon]`, connection and child.
    daemon: &'a str,
    connection: &'a str,
    child: &'a str,
    /// Whether both have selectors for everything, of which the test's routes choose.
    everything: bool,
    /// Whether both prove themselves by certificates.
    certificates: bool,
    /// More lines for the peer: its connection, its child, its daemon.
    theirs: [&'a str; 3],
}

const NEVER: Duration = Duration::ZERO;

impl<'a> Setup<'a> {
    fn new(who: Who, ours: &'a str) -> Self {
        Setup {
            who,
            ours,
            suite: if who == Who::OpenIked { Suite::Cbc } else { Suite::Gcm },
            child_rekey: (NEVER, NEVER),
            ike_rekey: (NEVER, NEVER),
            reauth: false,
            dpd: (NEVER, NEVER),
            daemon: "",
            connection: "",
            child: "",
            everything: false,
            certificates: false,
            theirs: ["", "", ""],
        }
    }

    /// Starts both, or says that `test` did not run.
    fn start(&self, test: &str) -> Option<Pair> {
        if let Some(why) = self.who.missing() {
            interop::not_run(test, &why);
            return None;
        }
        let lab = Lab::new(Family::V4, Net::Routed).unwrap();
        lab.lose(0).unwrap();
        let credentials = self.certificates.then(|| Credentials::new(lab.folder(), KeyKind::Rsa).unwrap());
        let credentials = credentials.as_ref();
        let everything = self.everything;
        let ours =
            PeerConfig { dpd: self.dpd.0, credentials, everything, ..PeerConfig::new(self.ours, self.suite) };
        let theirs = PeerConfig {
            child_rekey: self.child_rekey.1,
            ike_rekey: self.ike_rekey.1,
            reauth: self.reauth,
            dpd: self.dpd.1,
            credentials,
            everything,
            ..PeerConfig::new(ours.other(), self.suite)
        };
        let peer = self.start_peer(&lab, &theirs).unwrap();
        let time = |key: &str, time: Duration| format!("{key} = \"{}s\"\n", time.as_secs());
        let connection =
            format!("{}{}", self.lifetimes(time, self.ike_rekey.0, self.connection), self.connection);
        let child = format!("{}{}", self.lifetimes(time, self.child_rekey.0, self.child), self.child);
        let text = format!("{}\n{}", self.daemon, HandfastConfig::of(&lab, &ours, [&connection, &child]));
        let handfast = Handfast::start(&lab, self.ours, &binary(), &text).unwrap();
        Some(Pair { handfast, peer, left_is_ours: self.ours == "left", lab })
    }

    fn start_peer(&self, lab: &Lab, config: &PeerConfig<'_>) -> Result<Box<dyn Peer>, String> {
        Ok(match self.who {
            Who::StrongSwan => Box::new(Charon::start_peer(lab, config, None, true, self.theirs)?),
            Who::StrongSwan6 => {
                let root = Root::find("strongswan6")?;
                Box::new(Charon::start_peer(lab, config, Some(root), true, self.theirs)?)
            }
            Who::Libreswan => Box::new(Libreswan::start(lab, config, self.theirs[0])?),
            Who::OpenIked => Box::new(OpenIked::start(lab, config, self.theirs[2])?),
        })
    }

    /// Our lifetimes; the file's defaults where there is none. To the second, unless `more` says otherwise.
    fn lifetimes(&self, line: impl Fn(&str, Duration) -> String, rekey: Duration, more: &str) -> String {
        match (rekey.is_zero(), more.contains("rand_time")) {
            (true, _) => String::new(),
            (false, true) => line("rekey_time", rekey),
            (false, false) => line("rekey_time", rekey) + &line("rand_time", NEVER),
        }
    }
}

/// What is new after an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Renewed {
    Child,
    Ike,
    Both,
}

/// Both daemons in a lab.
struct Pair {
    handfast: Handfast,
    peer: Box<dyn Peer>,
    left_is_ours: bool,
    lab: Lab,
}

impl Pair {
    /// The left initiates, which must succeed, and traffic must flow.
    fn establish(&self) {
        self.initiate();
        self.ping();
    }

    fn initiate(&self) {
        let done = match self.left_is_ours {
            true => self.handfast.command(&["up", "net"]).map(drop),
            false => self.peer.initiate(),
        };
        done.unwrap_or_else(|error| panic!("{}", self.explain("initiate", &error)));
        self.stands((1, 1));
    }

    /// Three pings each way, each of which is ESP on the link in both directions.
    fn ping(&self) {
        let before = self.lab.link().esp;
        for (side, other) in [("left", "right"), ("right", "left")] {
            interop::ping(&self.lab, side, self.lab.inner(side), self.lab.inner(other), "5ca1ab1e")
                .unwrap_or_else(|error| panic!("{}", self.explain("ping", &error)));
        }
        let carried = self.lab.link().esp - before;
        assert!(carried >= 12, "{}", self.explain("ping", &format!("only {carried} packets of ESP for it")));
    }

    /// Both ends come to have so many IKE SAs and child SAs, and no other.
    fn stands(&self, count: (usize, usize)) {
        let agreed = wait_until(Duration::from_secs(120), || {
            self.handfast.sas().count() == count && self.peer.sas().count() == count
        });
        assert!(agreed, "{}", self.explain("SAs", &format!("not {count:?} at both ends")));
    }

    /// Does `what`, after which both ends come to have one IKE SA and one child SA, other ones where it says so, and
    /// nothing of them is new to one end only.
    fn renews(&self, what: &str, renewed: Renewed, act: impl FnOnce(&Self) -> Result<(), String>) {
        let before = (self.handfast.sas(), self.peer.sas());
        act(self).unwrap_or_else(|error| panic!("{}", self.explain(what, &error)));
        let done = wait_until(Duration::from_secs(300), || {
            let after = (self.handfast.sas(), self.peer.sas());
            let both = |one: &dyn Fn(&Sas) -> &Vec<String>| {
                one(&before.0) != one(&after.0) && one(&before.1) != one(&after.1)
            };
            let new = match renewed {
                Renewed::Child => both(&|sas| &sas.children),
                Renewed::Ike => both(&|sas| &sas.ike),
                Renewed::Both => both(&|sas| &sas.children) && both(&|sas| &sas.ike),
            };
            new && after.0.count() == (1, 1) && after.1.count() == (1, 1)
        });
        assert!(
            done,
            "{}",
            self.explain(what, &format!("{renewed:?} not renewed, or not one of each; before: {before:?}"))
        );
    }

    /// `handfast rekey` of the child or of the IKE SA.
    fn rekey(&self, what: Renewed) -> Result<(), String> {
        self.handfast.command(&["rekey", if what == Renewed::Child { "net/net" } else { "net" }]).map(drop)
    }

    /// Ends a ping that went on all the while: nothing was lost but what the link lost. How many were sent.
    fn nothing_lost(&self, mut pinging: Pinging) -> u64 {
        let (sent, answered) = pinging.finish().unwrap();
        let link = self.lab.link();
        let figures =
            format!("{answered} of {sent} answered, and the link: {link:?}\n{}", pinging.unanswered());
        assert!(sent > 0 && sent - answered <= link.esp_lost, "{}", self.explain("pings", &figures));
        sent
    }

    /// Runs `ip` at one end.
    fn ip(&self, side: &str, words: &str) {
        self.lab.ip_in(side, words).unwrap_or_else(|error| panic!("{}", self.explain(words, &error)));
    }

    /// What the peer's kernel dropped, by its counters (`xfrm_stat`). `XfrmAcquireError` is what came for an SA that the peer has
    /// not made yet: sent too early; `XfrmInNoStates` what came for one that it has no more: too late.
    fn dropped_by_peer(&self) -> Vec<(String, u64)> {
        let side = if self.left_is_ours { "right" } else { "left" };
        // Of this thread: the process is in another namespace.
        let counts = interop::in_namespace(&self.lab.ns(side), || {
            std::fs::read_to_string("/proc/thread-self/net/xfrm_stat")
        });
        let counts = counts.unwrap_or_else(|error| panic!("xfrm_stat: {error}"));
        let counts = counts.lines().filter_map(|line| {
            let (name, count) = line.split_once(char::is_whitespace)?;
            Some((name.to_string(), count.trim().parse().ok().filter(|count| *count > 0)?))
        });
        counts.collect()
    }

    /// Everything that helps to see what went wrong.
    fn explain(&self, what: &str, error: &str) -> String {
        let name = self.peer.name();
        format!(
            "{what}: {error}\n--- handfast: {:?} ---\n{}\n{}\n--- {name}: {:?} ---\n{:?}\n{}",
            self.handfast.sas(),
            self.handfast.command(&["status", "--json"]).unwrap_or_else(|error| error),
            self.handfast.log(),
            self.peer.sas(),
            self.dropped_by_peer(),
            self.peer.log()
        )
    }
}

/// A tunnel, traffic both ways, and a clean end by each side.
fn tunnel(test: &str, setup: &Setup<'_>) {
    for ends in ["handfast", "peer"] {
        let Some(pair) = setup.start(test) else { return };
        pair.establish();
        let before = (pair.handfast.sas(), pair.peer.sas());
        match ends {
            "handfast" => pair.handfast.command(&["down", "net"]).map(drop),
            _ => pair.peer.delete_ike(),
        }
        .unwrap_or_else(|error| panic!("{}", pair.explain("delete", &error)));
        // What pluto was told to bring up it brings up again.
        let again = setup.who == Who::Libreswan && setup.ours == "right" && ends == "handfast";
        pair.stands(if again { (1, 1) } else { (0, 0) });
        let after = (pair.handfast.sas(), pair.peer.sas());
        assert!(
            before.0.is_apart_from(&after.0) && before.1.is_apart_from(&after.1),
            "{}",
            pair.explain("delete", "left an SA")
        );
    }
}

/// Each end finds out that the other is gone without a word, and that one which only is silent is not.
fn liveness(test: &str, setup: &Setup<'_>) {
    let dpd = Duration::from_secs(20);
    let setup = Setup { dpd: (dpd, dpd), ..*setup };
    for dies in ["handfast", "peer"] {
        let Some(mut pair) = setup.start(test) else { return };
        pair.establish();
        // Both have nothing to say for ten minutes, but probes.
        std::thread::sleep(Duration::from_secs(600));
        pair.stands((1, 1));
        pair.ping();
        match dies {
            "handfast" => pair.handfast.process.signal(9),
            _ => pair.peer.process().signal(9),
        }
        let gone = wait_until(Duration::from_secs(900), || match dies {
            "handfast" => pair.peer.sas().ike.is_empty(),
            _ => pair.handfast.sas().ike.is_empty(),
        });
        assert!(gone, "{}", pair.explain("dead peer", "was not noticed"));
    }
}

/// New keys of the child and of the IKE SA, by either side in turn and by both at once, under traffic.
fn rekeying(test: &str, setup: &Setup<'_>) {
    let Some(pair) = setup.start(test) else { return };
    pair.establish();
    let pinging = Pinging::start(&pair.lab, "left", "0.05").unwrap();
    for round in 0..3 {
        let said = |what: &str| format!("{what}, round {round}");
        pair.renews(&said("our rekey of the child"), Renewed::Child, |pair| pair.rekey(Renewed::Child));
        pair.renews(&said("the peer's rekey of the child"), Renewed::Child, |pair| pair.peer.rekey_child());
        pair.renews(&said("our rekey of the IKE SA"), Renewed::Ike, |pair| pair.rekey(Renewed::Ike));
        pair.renews(&said("the peer's rekey of the IKE SA"), Renewed::Ike, |pair| pair.peer.rekey_ike());
        std::thread::sleep(Duration::from_secs(30));
        pair.renews(&said("both rekey the child"), Renewed::Child, |pair| {
            pair.peer.rekey_child().and(pair.rekey(Renewed::Child))
        });
        pair.renews(&said("both rekey the IKE SA"), Renewed::Ike, |pair| {
            pair.peer.rekey_ike().and(pair.rekey(Renewed::Ike))
        });
        std::thread::sleep(Duration::from_secs(30));
    }
    pair.stands((1, 1));
    let sent = pair.nothing_lost(pinging);
    pair.ping();
    println!(
        "SUMMARY: {test}: 18 times new keys by either side and by both at once, {sent} pings, none lost"
    );
}

/// New keys by the peer's own clock and by ours, both of them all the while: for a peer that cannot be told.
fn rekeying_by_time(test: &str, setup: &Setup<'_>) {
    let times = |seconds: u64| Duration::from_secs(seconds);
    let setup =
        Setup { child_rekey: (times(700), times(600)), ike_rekey: (times(4000), times(3000)), ..*setup };
    let Some(pair) = setup.start(test) else { return };
    pair.establish();
    let pinging = Pinging::start(&pair.lab, "left", "1").unwrap();
    std::thread::sleep(Duration::from_secs(4 * 3600));
    pair.stands((1, 1));
    let log = pair.handfast.log();
    let children = log.matches("is down: a newer one replaced it").count();
    let (ours, theirs) =
        (log.matches("(asked for by us)").count(), log.matches("(asked for by the peer)").count());
    assert!(children >= 18 && ours + theirs >= 3, "{}", pair.explain(test, "too few new SAs"));
    let sent = pair.nothing_lost(pinging);
    pair.ping();
    println!(
        "SUMMARY: {test}: 4 h, {children} new children, IKE SAs by us {ours}, by the peer {theirs}; {sent} pings, none lost"
    );
}

/// Certificates do not fit into one datagram: IKE_AUTH goes in fragments both ways (RFC 7383), ours of 576 octets.
fn fragments(test: &str, who: Who, ours: &str, theirs: [&str; 3]) {
    if let Some(why) = missing(&["pki", "openssl"]) {
        return interop::not_run(test, &why);
    }
    let connection = "fragment_size = 576\n";
    let setup = Setup { certificates: true, connection, theirs, ..Setup::new(who, ours) };
    let Some(pair) = setup.start(test) else { return };
    pair.establish();
    let [left, right] = pair.lab.link().fragments;
    let (own, other) = if pair.left_is_ours { (left, right) } else { (right, left) };
    let figures = format!("{own} fragments of ours, {other} of the peer's");
    assert!(own >= 3 && other >= 2, "{}", pair.explain("fragments", &figures));
    println!("SUMMARY: {test}: {figures}");
}

/// Cookies (RFC 7296 §2.6): we demand one of a peer that initiates, which shows by so many of `sign` in its log.
fn cookie_by_us(test: &str, who: Who, sign: &str, count: usize) {
    let setup = Setup { daemon: "cookie_threshold = 0", ..Setup::new(who, "right") };
    let Some(pair) = setup.start(test) else { return };
    pair.establish();
    let seen = pair.peer.log().to_lowercase().matches(sign).count();
    assert!(seen >= count, "{}", pair.explain("cookie", "none was demanded"));
}

/// Everything goes through an interface at both ends: ours, and `device`, which the peer has or `lay` makes. Routes lead all
/// packets there but those that `spared` says: ours have a mark.
fn route_based(test: &str, setup: &Setup<'_>, (device, spared): (&str, &str), lay: impl Fn(&Pair, &str)) {
    let setup = Setup { everything: true, child: "interface = \"hf-peer\"", ..*setup };
    let Some(pair) = setup.start(test) else { return };
    let peer = if setup.ours == "left" { "right" } else { "left" };
    pair.initiate();
    lay(&pair, peer);
    for (side, device, spared) in
        [(setup.ours, "hf-peer", "not fwmark 0x1000/0x1000"), (peer, device, spared)]
    {
        pair.ip(side, &format!("route add default dev {device} table 51"));
        pair.ip(side, &format!("rule add pref 100 {spared} lookup 51"));
    }
    pair.ping();
    let pinging = Pinging::start(&pair.lab, "left", "0.05").unwrap();
    let rest = || std::thread::sleep(Duration::from_secs(20));
    for round in 0..3 {
        pair.renews(&format!("our rekey, round {round}"), Renewed::Child, |pair| pair.rekey(Renewed::Child));
        rest();
        pair.renews(&format!("the peer's, round {round}"), Renewed::Child, |pair| pair.peer.rekey_child());
        rest();
    }
    let sent = pair.nothing_lost(pinging);
    // What the selectors mean and nobody has named: only routes lead it there.
    pair.ip("right", "address add 172.20.0.1/32 dev lo");
    interop::ping(&pair.lab, "left", pair.lab.inner("left"), [172, 20, 0, 1].into(), "5ca1ab1e")
        .unwrap_or_else(|error| panic!("{}", pair.explain("ping", &error)));
    pair.stands((1, 1));
    println!("SUMMARY: {test}: 6 times new keys, {sent} pings, none lost");
}
