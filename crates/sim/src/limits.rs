//! Every bound of a simulated world, with its reason. Who reaches one has found a defect.

use std::time::Duration;

/// Causes that one endpoint may take in at one virtual instant: more than a flood of the tests puts
/// there, less than a timer that asks again and again for the same moment reaches.
pub const HANDLES_PER_INSTANT: u32 = 20_000;

/// Wakes in a row that an endpoint may ask for without the clock moving.
pub const WAKES_PER_INSTANT: u32 = 256;

/// Acts that may come out of one cause: an order to delete a thousand IKE SAs is the largest one.
pub const ACTS_PER_CAUSE: usize = 8192;

/// The largest UDP payload there is.
pub const MAX_DATAGRAM: usize = 65_507;

/// Steps that [`crate::World::until`] takes before it says that the moment never comes.
pub const STEPS: u64 = 2_000_000;

/// Virtual time that [`crate::World::until`] waits.
pub const PATIENCE: Duration = Duration::from_secs(3600);

/// Secrets that are looked for in lines of text: the latest ones, since a month of keys would make each line as slow as all
/// of them together. No story of a seed has as many.
pub const PRINTED_SECRETS: usize = 1024;

/// A secret shorter than this is not looked for: it would be found by chance.
pub const SHORTEST_SECRET: usize = 12;

/// Octets of an inner packet of the simulation: those of a ping.
pub const PACKET_OCTETS: u64 = 84;

/// Packets that one trap keeps: the first of a few connections that begin at once.
pub const KEPT_PACKETS: usize = 16;

/// A packet that was kept for longer than this is dropped: who sent it has given up or sent another.
pub const KEPT_FOR: Duration = Duration::from_secs(30);

/// A trap asks for its child once in this time, however many packets come.
pub const ACQUIRE_INTERVAL: Duration = Duration::from_secs(1);

/// Losses of which a world keeps more than the count: enough to see what they have in common.
pub const LOSSES_KEPT: usize = 16;
