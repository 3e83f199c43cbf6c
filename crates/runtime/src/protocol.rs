//! The control protocol: one JSON object a line, over a Unix socket. `docs/control-protocol.md` is
//! its description; the golden lines in the tests hold it still.
//!
//! The daemon greets with [`Answer::Hello`]. A client then sends [`Ask`]s, one at a time; each is
//! answered by any number of `progress` (or `event`) lines and one last line of another type.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The protocol's version. It grows when a field changes its meaning or goes; new fields and new
/// types of lines do not count.
pub const VERSION: u32 = 1;

/// The name of the shape of [`Status`], carried in it.
pub const STATUS_SCHEMA: &str = "handfast-status/1";

/// What a client asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Bring a connection (or one child of it) up.
    Up {
        /// The connection's name.
        connection: String,
        /// One child of it; absent: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<String>,
    },
    /// Take a connection (or one child of it) down.
    Down {
        /// The connection's name.
        connection: String,
        /// One child of it; absent: the IKE SAs with all their children.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<String>,
    },
    /// Give a connection's IKE SAs (or one child of it) new keys.
    Rekey {
        /// The connection's name.
        connection: String,
        /// One child of it; absent: its IKE SAs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<String>,
    },
    /// Make another IKE SA beside a connection's, with one child of it or none (RFC 7791).
    Clone {
        /// The connection's name.
        connection: String,
        /// The child that the new one gets; absent: none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        child: Option<String>,
    },
    /// Send the clients of a connection on to another gateway (RFC 5685).
    Redirect {
        /// The connection's name.
        connection: String,
        /// The other gateway: an address or a DNS name.
        to: String,
    },
    /// Tell everything that stands.
    Status {},
    /// Read the configuration file again.
    Reload {},
    /// Send events until the client goes away, after one `progress` line that says that it has begun.
    Watch {},
}

/// One line from the daemon.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// The greeting, once, before anything is asked.
    Hello {
        /// [`VERSION`].
        protocol: u32,
        /// The daemon's version.
        version: String,
    },
    /// What is happening on the way to an answer.
    Progress {
        /// Since the request came in.
        milliseconds: f64,
        /// One sentence.
        text: String,
    },
    /// `up` is done.
    Up(UpReport),
    /// `down` is done.
    Down {
        /// IKE SAs that went.
        ike_sas: usize,
        /// Child SAs that went.
        child_sas: usize,
    },
    /// `rekey` has begun; events tell what comes of it.
    Rekeying {
        /// IKE SAs that get new keys.
        ike_sas: usize,
        /// Child SAs that get new keys.
        child_sas: usize,
    },
    /// So many clients were sent on; events tell what comes of it.
    Redirecting {
        /// IKE SAs whose clients were told.
        ike_sas: usize,
    },
    /// What stands.
    Status(Box<Status>),
    /// The configuration was read again.
    Reloaded {
        /// Connections that are new.
        added: Vec<String>,
        /// Connections that went; their SAs stay until they are taken down.
        removed: Vec<String>,
        /// Connections that read differently now; SAs that stand keep what they were made with.
        changed: Vec<String>,
    },
    /// Something happened (to a `watch`).
    Event(Box<EventReport>),
    /// It was refused, by us or by the peer.
    Refused(RefusalReport),
    /// The request itself is at fault, or the daemon cannot serve it now.
    Error {
        /// One sentence: what is wrong and what to do.
        text: String,
    },
}

/// The outcome of `up`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct UpReport {
    /// The number of the IKE SA.
    pub ike_sa: u64,
    /// Children that stand.
    pub children: Vec<String>,
    /// Children that were refused while the IKE SA stands.
    pub refused: Vec<ChildRefusal>,
    /// Since the request came in.
    pub milliseconds: f64,
}

/// A child that was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChildRefusal {
    /// Its name.
    pub child: String,
    /// Why.
    pub refusal: RefusalReport,
}

/// A refusal, for people and programs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusalReport {
    /// A stable name, e.g. `no_proposal_chosen`.
    pub kind: String,
    /// Whether the peer refused.
    pub by_peer: bool,
    /// The nearest connection.
    pub connection: Option<String>,
    /// One sentence or two.
    pub reason: String,
}

/// One event of `watch`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct EventReport {
    /// Since the daemon started.
    pub milliseconds: f64,
    /// `message`, `ike_up`, `ike_down`, `child_up`, `child_down`, `refused`, `dropped`, `note`.
    pub event: String,
    /// The same sentence as in the log.
    pub text: String,
    /// The number of the IKE SA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ike_sa: Option<u64>,
    /// Of a `message`: what was sent or accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageReport>,
    /// Events lost before this one because the client did not read fast enough.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost_before: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// One IKE message of `watch`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageReport {
    /// Whether we sent it.
    pub sent: bool,
    /// How often it had been sent before.
    pub resent: u32,
    /// Our address and port.
    pub local: String,
    /// The peer's.
    pub remote: String,
    /// e.g. `IKE_SA_INIT`.
    pub exchange: String,
    /// Whether it is a response.
    pub response: bool,
    /// Its message id.
    pub message_id: u32,
    /// UDP payload octets of all its datagrams.
    pub octets: usize,
    /// How many datagrams.
    pub datagrams: usize,
    /// Payload names in order.
    pub payloads: String,
}

/// Everything that stands. `docs/status-json.md` describes each field.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// [`STATUS_SCHEMA`].
    pub schema: String,
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since it started.
    pub uptime_seconds: f64,
    /// The data plane: `tun`, or `none` (negotiates, carries no traffic).
    pub dataplane: String,
    /// The addresses that it listens on for IKE.
    pub listen: Vec<String>,
    /// IKE SAs that are being made.
    pub half_open: usize,
    /// The configured connections, in the order of the file.
    pub connections: Vec<ConnectionStatus>,
    /// The pools that connections give addresses from.
    #[serde(default)]
    pub pools: Vec<PoolStatus>,
    /// IKE SAs, the oldest first.
    pub ike_sas: Vec<IkeSaStatus>,
    /// Datagrams that were dropped without touching an SA, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Refusals, by kind.
    pub refused: BTreeMap<String, u64>,
}

/// A configured connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Its name.
    pub name: String,
    /// `local_addrs`.
    pub local_addrs: Vec<String>,
    /// `remote_addrs`.
    pub remote_addrs: Vec<String>,
    /// The names of its children.
    pub children: Vec<String>,
    /// Weak algorithms that it names.
    pub weak: Vec<String>,
}

/// Whether an IKE SA withstands a quantum computer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PostQuantum {
    /// Whether it does.
    pub safe: bool,
    /// What makes it so, or what is missing.
    pub why: String,
}

/// A pool of addresses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// How many addresses (and prefixes) it has.
    pub size: u64,
    /// How many of them IKE SAs have.
    pub online: usize,
    /// How many are free, and remembered for whoever had them.
    pub offline: usize,
}

/// An IKE SA.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IkeSaStatus {
    /// Its number, never used twice by one daemon.
    pub id: u64,
    /// The connection it was made for.
    pub connection: String,
    /// `initiator` or `responder`: our role when it was made.
    pub role: String,
    /// `connecting`, `established`, `deleting`.
    pub state: String,
    /// The initiator's SPI, 16 hex digits.
    pub spi_i: String,
    /// The responder's SPI, 16 hex digits.
    pub spi_r: String,
    /// Our address and port.
    pub local: String,
    /// The peer's address and port.
    pub remote: String,
    /// Who we say we are.
    pub local_id: Option<String>,
    /// Who the peer says it is.
    pub remote_id: Option<String>,
    /// What we have proved, round by round (RFC 4739).
    #[serde(default)]
    pub local_auth: Vec<ProofStatus>,
    /// What the peer has proved.
    #[serde(default)]
    pub remote_auth: Vec<ProofStatus>,
    /// The algorithms, once they are chosen.
    pub algorithms: Option<Algorithms>,
    /// Which of them are weak.
    pub weak: Vec<String>,
    /// Whether the IKE SA and what it protects withstand a quantum computer, once the algorithms are chosen.
    pub post_quantum: Option<PostQuantum>,
    /// Whether both ends have proved the whole of IKE_SA_INIT: nobody can have talked them out of better algorithms.
    #[serde(default)]
    pub full_transcript_auth: bool,
    /// Whether a NAT stands before us.
    pub nat_local: bool,
    /// Whether a NAT stands before the peer.
    pub nat_remote: bool,
    /// Whether IKE fragmentation (RFC 7383) was negotiated.
    pub fragmentation: bool,
    /// Whether it was taken up again by a ticket (RFC 5723).
    pub resumed: bool,
    /// Whether we hold a ticket to take it up again.
    pub ticket: bool,
    /// Since it was begun.
    pub age_seconds: f64,
    /// Since the peer was last heard.
    pub idle_seconds: f64,
    /// Our addresses in the peer's network, which it gave us.
    #[serde(default)]
    pub virtual_addresses: Vec<String>,
    /// The name servers that it gave us.
    #[serde(default)]
    pub dns: Vec<String>,
    /// What they answer for; empty: everything.
    #[serde(default)]
    pub dns_domains: Vec<String>,
    /// The networks that it says are to be reached through it.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// What we gave the peer: addresses, and prefixes with their length.
    #[serde(default)]
    pub leased: Vec<String>,
    /// Its child SAs.
    pub child_sas: Vec<ChildSaStatus>,
}

/// An identity that was proven in a round of authentication.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProofStatus {
    /// Whose.
    pub id: String,
    /// By what: `pre-shared key`, or a kind of key such as `ECDSA P-256` and `ML-DSA-65`.
    pub by: String,
}

/// The algorithms of an SA, by their registered names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Algorithms {
    /// Encryption.
    pub encryption: String,
    /// Key length in bits; absent where there is one length only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_bits: Option<u16>,
    /// Integrity; absent with a combined mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<String>,
    /// Pseudorandom function; of an IKE SA only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prf: Option<String>,
    /// Key exchange; absent for a child without its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_exchange: Option<String>,
    /// Additional key exchanges (RFC 9370), in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_key_exchanges: Vec<String>,
    /// Extended sequence numbers; of a child SA only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub esn: Option<bool>,
}

/// A child SA.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChildSaStatus {
    /// Its number.
    pub id: u64,
    /// Its name in the connection.
    pub name: String,
    /// `tunnel` or `transport`.
    pub mode: String,
    /// The SPI we receive with, 8 hex digits.
    pub spi_in: String,
    /// The SPI we send with, 8 hex digits.
    pub spi_out: String,
    /// Whether ESP travels in UDP.
    pub udp_encap: bool,
    /// The algorithms.
    pub algorithms: Algorithms,
    /// Which of them are weak.
    pub weak: Vec<String>,
    /// Traffic selectors of our side.
    pub local_ts: Vec<String>,
    /// Traffic selectors of the peer's side.
    pub remote_ts: Vec<String>,
    /// The interface that it has to itself and its like; absent where its selectors decide.
    pub interface: Option<String>,
    /// The fresh PPK that has come with its own keys; absent where there is none.
    pub ppk: Option<String>,
    /// Since it was installed.
    pub age_seconds: f64,
    /// What it carried; absent when the data plane did not answer in time.
    pub counters: Option<CounterStatus>,
}

/// What a child SA carried and refused, in inner packets and their octets.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct CounterStatus {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    pub replayed: u64,
    pub bad_icv: u64,
    pub outside_selectors: u64,
    pub malformed: u64,
    pub not_sent: u64,
    /// Since the last accepted packet; absent when there was none.
    pub idle_in_seconds: Option<f64>,
}
