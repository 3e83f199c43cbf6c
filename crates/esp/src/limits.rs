//! Every limit of this crate, with its reason.

/// The smallest anti-replay window that can be switched on, in packets (RFC 4303 §3.4.3).
pub const MIN_REPLAY_WINDOW: u32 = 32;

/// The largest: a train of segments may overtake some hundred others on parallel queues; more than
/// this is no reordering any more. It costs one bit a packet.
pub const MAX_REPLAY_WINDOW: u32 = 4096;

/// How many sequence numbers are left when the child must be replaced: a quarter of an hour at 270,000 packets/s.
pub const SEQUENCE_RESERVE: u64 = 1 << 28;

/// IPv6 extension headers that are walked in search of the upper protocol; a packet with more is malformed.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// What ESP adds to a payload at most: header 8, IV 16, padding 15, trailer 2, integrity check value 32.
pub const MAX_OVERHEAD: usize = 8 + 16 + 15 + 2 + 32;

/// Random octets drawn at once for CBC's IVs: fewer calls to the random source.
pub const IV_POOL: usize = 4096;

/// Entries of the outbound flow cache: a power of two, a few pages of memory.
pub const FLOW_CACHE: usize = 256;

/// No path carries less than this for an inner packet: IPv6 needs 1280, and IPv4 gets an MTU that
/// it can still work with when a router tells nonsense.
pub const MIN_INNER_MTU: usize = 552;

/// Octets of an offending packet that an ICMP error quotes, headers of the error included
/// (RFC 1812 §4.3.2.3: up to 576; RFC 4443 §2.4: up to 1280).
pub const MAX_ICMP_ERROR_V4: usize = 576;
/// See [`MAX_ICMP_ERROR_V4`].
pub const MAX_ICMP_ERROR_V6: usize = 1280;
