//! Every bound of the daemon, with its reason.

use std::time::Duration;

/// Control clients at once: a person, a few scripts and a monitor; each costs a thread.
pub const MAX_CLIENTS: usize = 32;

/// Octets of log lines that the IKE thread keeps until its round is over: a round rarely says more.
pub const LOG_ROUND: usize = 32 * 1024;

/// Octets of one request line: the longest names that `config` takes fit in many times over.
pub const MAX_REQUEST: usize = 16 * 1024;

/// Lines that wait for one control client: a `watch` that does not read loses lines (and is told how
/// many) rather than holding up the IKE thread.
pub const CLIENT_QUEUE: usize = 1024;

/// Inputs that wait for the IKE thread beside datagrams: orders, answers of jobs and of the data
/// plane. Whoever finds it full waits.
pub const INPUT_QUEUE: usize = 4096;

/// IKE messages that wait for the IKE thread when the data plane receives for it, those of peers and those of
/// strangers each: what a burst of peers
/// sends while one round is worked on. Beyond it messages are lost, as in a full socket buffer.
pub const DATAGRAM_QUEUE: usize = 1024;

/// Octets of the messages in each of those queues: as many of the usual length as fit in it. A stranger's longest
/// datagrams must not make it 64 MiB.
pub const DATAGRAM_OCTETS: usize = 4 << 20;

/// Jobs that wait for the pool; beyond it the IKE thread answers them as refused, since a handshake
/// that waits longer than its peer's patience is work for nothing.
pub const JOB_QUEUE: usize = 1024;

/// Threads of the job pool: private-key operations are the only long ones, and the IKE thread must
/// keep a core of its own on a small machine.
pub const JOB_THREADS: usize = 2;

/// Threads that solve puzzles of peers under load (RFC 8019): each takes a core for seconds.
pub const PUZZLE_THREADS: usize = 1;

/// Puzzles that wait: more would not be solved before their peers have forgotten them.
pub const PUZZLE_QUEUE: usize = 32;
/// Threads that look paths up: a name server that does not answer holds one of them for half a minute, and must not
/// hold back the connections whose names are answered at once.
pub const RESOLVER_THREADS: usize = 4;

/// Threads that fetch what is known of the revocation of certificates: one server that does not answer holds one of them.
pub const FETCH_THREADS: usize = 8;

/// What waits to be fetched: by then each of those before it has had [`FETCH_TIMEOUT`], and a peer still waits.
pub const FETCH_QUEUE: usize = 32;

/// A server gets so long in all, its name and its answer's last octet included: four that do not answer one after the other
/// (`trust::limits::MAX_SOURCES` of each kind) still leave time within `half_open_timeout`.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Redirects that are followed: authorities move their lists now and then.
pub const FETCH_REDIRECTS: u32 = 3;

/// What could not be fetched, or was of no use, is not asked for again before: a server in need is not helped by a
/// thousand peers' checks.
pub const FETCH_AGAIN: Duration = Duration::from_secs(30);

/// What proved good is kept no longer, whatever it says: who keeps a list for a month learns of nothing.
pub const KEEP_MOST: Duration = Duration::from_secs(86_400);

/// Answers that are kept: an OCSP response for each of so many peers.
pub const KEPT_ANSWERS: usize = 4096;

/// Octets of them: a few of the largest lists.
pub const KEPT_OCTETS: usize = 64 << 20;

/// Checks that wait for what is being fetched; beyond it they go on without.
pub const WAITING_CHECKS: usize = JOB_QUEUE;

/// A warning about the revocation of a certificate is not repeated before.
pub const WARN_AGAIN: Duration = Duration::from_secs(3600);

/// Warnings that are remembered for that.
pub const WARNINGS: usize = 256;

/// Datagrams taken from the sockets before timers and answers get their turn.
pub const DATAGRAMS_A_ROUND: usize = 64;

/// First messages of strangers taken from their queue in the same round: a flood of them does not make peers wait.
pub const STRANGERS_A_ROUND: usize = 32;

/// How long peers get to answer our Deletes when the daemon stops.
pub const FAREWELL: Duration = Duration::from_secs(3);

/// Lines about dropped datagrams of one kind in each [`NOISE_INTERVAL`]: enough to see what happens, too
/// little to fill a disk.
pub const NOISE_LINES: u32 = 5;

/// Lines about refusals of one kind, and about IKE SAs that peers begin and never finish, in each
/// [`NOISE_INTERVAL`]: a stranger can cause them, but whoever sets up a tunnel needs to see each of theirs.
pub const REFUSAL_LINES: u32 = 60;

/// Lines about messages that could not be sent in each [`NOISE_INTERVAL`]: a stranger can ask from an address
/// that nothing can be sent to.
pub const UNSENT_LINES: u32 = 20;

/// The interval of [`NOISE_LINES`] and [`REFUSAL_LINES`].
pub const NOISE_INTERVAL: Duration = Duration::from_secs(60);

/// A program that is told of name servers is ended after this long: it writes a file and nudges a resolver.
pub const RESOLVER_PATIENCE: Duration = Duration::from_secs(10);

/// A control client that does not take its answer for this long is dropped.
pub const CLIENT_PATIENCE: Duration = Duration::from_secs(10);
