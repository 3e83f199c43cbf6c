//! Every bound of the endpoint's own work, with its reason.

use std::time::Duration;

/// No wait between two attempts is longer, unless `retry_initiate_interval` is: a peer that comes back is met again
/// within this time.
pub const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// A peer that has no address for us is asked again after this long at least: addresses become free when others go
/// (RFC 7296 §3.15.4: "several minutes").
pub const ADDRESS_WAIT: Duration = Duration::from_secs(180);

/// A child that is lost while its IKE SA stands, or another one with the same connection, is asked for after this long: a
/// peer that begins anew usually asks for it itself, and then there would be two.
pub const GRACE: Duration = Duration::from_secs(1);

/// A child that is lost within this time counts as one that did not come up: a peer that deletes it again and again
/// is asked less and less often.
pub const STEADY: Duration = Duration::from_secs(60);

/// Paths are looked up within this time, or the attempt has failed: resolvers wait for about half of it.
pub const RESOLVE_PATIENCE: Duration = Duration::from_secs(60);

/// Gateways whose names are looked up at once because others have sent us there (RFC 5685): each holds orders that wait.
pub const MAX_SOUGHT: usize = 64;

/// Child SAs that may come in a row without carrying the packet that asked for them: a peer that narrows them to something
/// else would otherwise get one after the other.
pub const MISSES: u32 = 3;

/// After so many, packets are not heeded for this long.
pub const MISSED_REST: Duration = Duration::from_secs(24 * 3600);

/// Unprotected INVALID_SPI notifications that are looked into in a second: each costs a search, and anybody can send them.
pub const HINTS_PER_SECOND: u32 = 10;
