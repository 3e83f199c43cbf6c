//! Every limit of this crate, with its reason.

use std::time::Duration;

/// Packets (or trains of segments) read from the device before what is queued is sent: more would only
/// add delay, fewer would send shorter trains.
pub const MAX_READS: usize = 64;

/// Octets of ESP packets queued for one peer before they are sent: one train of segments from the
/// device, with what ESP adds to each.
pub const MAX_TRAIN: usize = 128 * 1024;

/// Octets read from the device at once: the longest IP packet and its virtio header.
pub const MAX_READ: usize = 65_536 + 16;

/// Octets of IP and TCP headers in front of a train of segments: IPv6, some extension headers, TCP with options.
pub const MAX_HEADERS: usize = 256;

/// Datagrams taken from a socket before the others have their turn.
pub const MAX_RECEIVES: usize = 16;

/// Flows whose segments are merged at the same time within one batch of arrivals.
pub const MAX_RUNS: usize = 4;

/// Segments merged into one packet: their sum stays below 64 KiB at the usual 1400 octets.
pub const MAX_MERGED: usize = 64;

/// Octets of the longest IP packet.
pub const MAX_PACKET: usize = 65_535;

/// How often the path MTU of active children is looked up, in milliseconds: the kernel learns of a smaller
/// one by ICMP, we learn it from the kernel. As often an interface that is gone is made anew.
pub const PATH_MTU_INTERVAL_MS: u64 = 1000;

/// The device's own MTU: no limit. Each child's route has the MTU of its path.
pub const DEVICE_MTU: u32 = 65_535;

/// The longest packet of a child in transport mode: with all that ESP and UDP add it still fits an IP packet.
/// Transport mode carries whole packets only (RFC 4303 §3.3.4), so what is longer than the path leaves as
/// fragments of the ESP packet.
pub const MAX_TRANSPORT: u32 = 65_400;

/// Children whose path MTU is looked up at a time: a lookup costs a few system calls.
pub const MAX_MTU_LOOKUPS: usize = 64;

/// Octets of the longest segment that passes by the tunnels: a jumbo frame.
pub const MAX_PASSED: usize = 9216;

/// Routes, and rules, of one child: a peer that narrows selectors to odd ranges must not fill the kernel's tables, whose
/// rules are walked for each packet of the machine. Thirty selectors of odd ranges fit.
pub const MAX_PREFIXES: usize = 1024;

/// ICMP errors that may be sent at once, and in each second (RFC 4443 §2.4 (f), RFC 1812 §4.3.2.8): a sender needs one
/// for each of its connections.
pub const MAX_ICMP_ERRORS: u32 = 100;

/// ESP packets of unknown SPIs that are kept in case their child is about to stand: what a peer sends in the moment in which its
/// answer is worked through.
pub const MAX_EARLY_PACKETS: usize = 64;

/// Octets of them.
pub const MAX_EARLY_OCTETS: usize = 128 * 1024;

/// How long: longer than it takes a busy machine to work through an answer and to install what it says.
pub const EARLY_FOR: Duration = Duration::from_secs(2);

/// Packets (or trains of segments) that one trap policy keeps: the first of a few connections that begin at once.
pub const MAX_KEPT_PACKETS: usize = 16;

/// Octets that one trap policy keeps: two of the longest trains.
pub const MAX_KEPT_OCTETS: usize = 128 * 1024;

/// How long a packet is kept, in milliseconds: after that its sender has sent another or given up.
pub const KEPT_FOR_MS: u64 = 30_000;

/// A trap policy asks for its child once in so many milliseconds, however many packets come.
pub const ACQUIRE_INTERVAL_MS: u64 = 1000;

/// Trap policies and shunts of one engine: with all that they keep they stay below 64 MiB, unless the machine is flooded from within.
pub const MAX_TRAPS: usize = 512;

/// Interfaces of one engine beside its own device: a tunnel to each of some hundred sites. Each has a descriptor of the process,
/// of which 1024 are usual, and some 20 kB of tables.
pub const MAX_INTERFACES: usize = 256;

/// Changes of addresses and routes come in bursts: it is quiet for this long before they are acted on.
pub const SETTLING: std::time::Duration = std::time::Duration::from_millis(100);

/// A host whose routes never rest is looked at after so many bursts all the same.
pub const MAX_SETTLINGS: usize = 10;

/// Packets with an SPI that no child has are told no more often.
pub const UNKNOWN_SPI_INTERVAL: Duration = Duration::from_secs(1);
