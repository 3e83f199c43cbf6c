//! Every limit of this crate, with its reason.

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
/// one by ICMP, we learn it from the kernel.
pub const PATH_MTU_INTERVAL_MS: u64 = 1000;
