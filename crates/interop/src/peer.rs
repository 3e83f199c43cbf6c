//! What a test asks of a peer, whoever made it, and what each is configured with.

use crate::{Credentials, Lab, Process, run};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What one end has: the IKE SAs that stand by their initiator's SPI, the child SAs by the SPI that it receives with.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Sas {
    /// 16 hexadecimal digits each, sorted.
    pub ike: Vec<String>,
    /// 8 hexadecimal digits each, sorted.
    pub children: Vec<String>,
}

impl Sas {
    /// How many there are of each.
    pub fn count(&self) -> (usize, usize) {
        (self.ike.len(), self.children.len())
    }

    /// Whether nothing is in both.
    pub fn is_apart_from(&self, other: &Sas) -> bool {
        !self.ike.iter().any(|spi| other.ike.contains(spi))
            && !self.children.iter().any(|spi| other.children.contains(spi))
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.ike.sort();
        self.children.sort();
        self
    }
}

/// A daemon at one end of a lab.
pub trait Peer {
    /// Who made it.
    fn name(&self) -> &'static str;
    /// Tells it `word`, of which it knows its own: pluto `busy`.
    fn tell(&self, word: &str) -> Result<(), String> {
        Err(format!("{} does not know {word}", self.name()))
    }
    /// Begins the tunnel and waits for it.
    fn initiate(&self) -> Result<(), String>;
    /// Begins another child of the connection and waits for it.
    fn begin_child(&self, child: &str) -> Result<(), String> {
        Err(format!("{} has no child {child} of its own accord", self.name()))
    }
    /// Asks for new keys of the child SA.
    fn rekey_child(&self) -> Result<(), String>;
    /// Asks for new keys of the IKE SA.
    fn rekey_ike(&self) -> Result<(), String>;
    /// Replaces the IKE SA by one that authenticates anew.
    fn reauthenticate(&self) -> Result<(), String>;
    /// Deletes the child SA and leaves the IKE SA.
    fn delete_child(&self) -> Result<(), String>;
    /// Deletes the IKE SA.
    fn delete_ike(&self) -> Result<(), String>;
    /// What stands.
    fn sas(&self) -> Sas;
    /// What it has logged.
    fn log(&self) -> String;
    /// Its process.
    fn process(&mut self) -> &mut Process;
}

/// Algorithms that all peers have, in the words of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    /// AES-GCM for IKE and ESP.
    Gcm,
    /// AES-CBC with HMAC-SHA2-256 for IKE and with HMAC-SHA2-512 for ESP: what OpenIKED can on Linux.
    Cbc,
}

impl Suite {
    /// `proposals` and `esp_proposals` of ours and of strongSwan.
    pub fn proposals(self) -> (&'static str, &'static str) {
        match self {
            // With a key exchange of the child's own, which Libreswan asks for unless told otherwise.
            Suite::Gcm => ("aes256gcm16-prfsha384-ecp256", "aes256gcm16-ecp256"),
            Suite::Cbc => ("aes256-sha256-ecp256", "aes256-sha512"),
        }
    }
}

/// A connection `net` with a child `net` between the lab's inner IPv4 addresses, by a PSK or certificates.
#[derive(Clone, Copy, Debug)]
pub struct PeerConfig<'a> {
    /// `left` or `right`.
    pub side: &'a str,
    /// The pre-shared key.
    pub psk: &'a str,
    /// Certificates instead of it.
    pub credentials: Option<&'a Credentials>,
    /// Algorithms.
    pub suite: Suite,
    /// When it asks for new keys of the child SA; zero: never, for as long as tests last.
    pub child_rekey: Duration,
    /// The same of the IKE SA.
    pub ike_rekey: Duration,
    /// Whether the IKE SA is authenticated anew in place of getting new keys.
    pub reauth: bool,
    /// How long a peer may be silent before it is probed; zero: for ever.
    pub dpd: Duration,
    /// Whether its selectors are all traffic, of which routes choose some, in place of the inner addresses; not with OpenIKED.
    pub everything: bool,
}

impl<'a> PeerConfig<'a> {
    /// No rekeying, no probes.
    pub fn new(side: &'a str, suite: Suite) -> Self {
        let never = Duration::ZERO;
        let psk = "correct horse battery staple";
        let credentials = None;
        Self {
            side,
            psk,
            credentials,
            suite,
            child_rekey: never,
            ike_rekey: never,
            reauth: false,
            dpd: never,
            everything: false,
        }
    }

    /// The child's selectors, ours and theirs.
    pub(crate) fn selectors(&self, lab: &Lab) -> [String; 2] {
        match self.everything {
            true => ["0.0.0.0/0".to_string(), "0.0.0.0/0".to_string()],
            false => [self.side, self.other()].map(|side| format!("{}/32", lab.inner(side))),
        }
    }

    /// The other side.
    pub fn other(&self) -> &'static str {
        if self.side == "left" { "right" } else { "left" }
    }

    /// The time, or one that no test reaches where it is zero.
    pub(crate) fn or_never(time: Duration) -> u64 {
        if time.is_zero() { 30 * 86_400 } else { time.as_secs() }
    }
}

/// A folder of another system into which a peer is chrooted; `scripts/peers.sh` unpacks it.
#[derive(Clone, Debug)]
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// The folder of `strongswan6`, `libreswan` or `openiked`, or why there is none.
    pub fn find(peer: &str) -> Result<Root, String> {
        crate::kernel::script("peers.sh", &["find", peer]).map(|folder| Root { folder: folder.into() })
    }

    /// Starts a command in it, at one end of the lab, with its own `/run`, and with `files` as `/cfg`.
    pub(crate) fn spawn(
        &self,
        lab: &Lab,
        side: &str,
        files: &Path,
        command: &str,
    ) -> Result<Process, String> {
        let (root, files) = (self.folder.display(), files.display());
        let script = format!(
            "set -e
mount --bind {root} {root}
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
mount --rbind /sys {root}/sys
mount -t tmpfs -o mode=755 run {root}/run
mount --bind {files} {root}/cfg
[ ! -d {files}/iked ] || mount --bind {files}/iked {root}/etc/iked
exec chroot {root} /bin/sh -c '{command}'"
        );
        lab.spawn(side, &mut ["unshare", "-m", "sh", "-c", &script], &[])
    }

    /// Runs a command where `process`, which [`Root::spawn`] started, lives.
    pub(crate) fn run(&self, process: &Process, command: &[&str]) -> Result<String, String> {
        let (pid, root) = (process.pid().to_string(), self.folder.display().to_string());
        let mut words = vec!["-t", &pid, "-m", "-n", "timeout", "60", "chroot", &root];
        words.extend(command);
        run("nsenter", &words)
    }
}

/// All that follows `mark` in `text` up to what ends a word, each time that it occurs.
pub(crate) fn words_after<'t>(text: &'t str, mark: &'t str) -> impl Iterator<Item = &'t str> {
    let ends = |c: char| !c.is_ascii_alphanumeric();
    text.match_indices(mark).filter_map(move |(at, _)| text.get(at + mark.len()..)?.split(ends).next())
}
