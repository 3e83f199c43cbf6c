//! Every bound of the version-neutral machinery, with its reason.

use base::MessageId;
use std::time::Duration;

/// Half-open IKE SAs from which on cookies are demanded: far above what honest peers have open at
/// once, far below what a flood opens in a second.
pub const COOKIE_THRESHOLD: usize = 100;

/// Half-open IKE SAs of one source from which on it has to show a cookie: far below what one source may have, so
/// that forged first messages in its name cannot fill its places.
pub const COOKIE_THRESHOLD_IP: usize = 20;

/// Half-open IKE SAs from which on a puzzle has to be solved: only who owns its addresses has come so far, ten times
/// beyond where cookies begin.
pub const PUZZLE_THRESHOLD: usize = 1_000;

/// Half-open IKE SAs of one source from which on it has to solve a puzzle: half of what it may have.
pub const PUZZLE_THRESHOLD_IP: usize = 50;

/// Zero bits of a puzzle at the threshold: about a quarter of a million trials, a fraction of a second on one core.
pub const PUZZLE_DIFFICULTY: u8 = 16;

/// So many more under the highest load: 20 bits are "a good compromise" (RFC 8019 §9), some seconds of one core.
pub const PUZZLE_RISE: u8 = 4;

/// Zero bits up to which we solve a peer's puzzle: what RFC 8019 §9 expects of initiators.
pub const PUZZLE_LIMIT: u8 = 20;

/// Zero bits beyond which nobody here asks for a puzzle or solves one: minutes of a core, and as many trials as keys
/// of four octets can have.
pub const MAX_PUZZLE_BITS: u8 = 26;

/// A solver gives up after 2 to this many times the trials that a solution takes on average: it fails once in more than
/// 10^9 puzzles.
pub const PUZZLE_LUCK: u32 = 3;

/// Zero bits of the puzzle in IKE_AUTH: some ten thousand trials, far more than a key exchange costs us, and no delay
/// that a person would see.
pub const AUTH_PUZZLE_DIFFICULTY: u8 = 12;

/// A puzzle may be solved for this long: a phone takes that time, a botnet cannot collect many.
pub const PUZZLE_LIFE: Duration = Duration::from_secs(60);

/// Solved puzzles of one [`PUZZLE_LIFE`] that are remembered, so that a solution serves once; when there are more a new
/// puzzle is given. Each takes some octets.
pub const MAX_SPENT_PUZZLES: usize = 65_536;

/// Of the places above the puzzle threshold one in so many is for peers that do not solve puzzles: most of those in
/// use do not know them.
pub const UNSOLVED_SHARE: usize = 4;

/// Of 256 peers that do not solve puzzles at least so many get in under the highest load, while their share has room.
pub const LEAST_CHANCE: usize = 16;

/// Half-open IKE SAs that got a message in place of IKE_AUTH that was not made with their keys, within two of
/// [`SPOILED_WINDOW`], from which on puzzles are wanted: "more than once per second" (RFC 8019 §6).
pub const SPOILED_THRESHOLD: u32 = 20;

/// See [`SPOILED_THRESHOLD`].
pub const SPOILED_WINDOW: Duration = Duration::from_secs(10);

/// Under load a half-open IKE SA waits this long at most for the peer's first protected message: two transmissions of
/// an honest peer may be lost.
pub const PRESSED_HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Half-open IKE SAs in all: with cookies each costs its sender a round trip, and us about 2 KiB.
pub const MAX_HALF_OPEN: usize = 10_000;

/// Half-open IKE SAs of one source address: room for a site of many peers behind one NAT that all
/// come back at once.
pub const BLOCK_THRESHOLD: usize = 100;

/// A responder waits this long for the peer's authentication: longer than a slow peer's
/// retransmissions and a person's typing of a PIN, shorter than a flood's memory.
pub const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// RFC 3948 §4 suggests 20 s for the NAT keepalive: NATs forget UDP mappings after 30 s at the earliest.
pub const KEEPALIVE: Duration = Duration::from_secs(20);

/// The first retransmission: longer than a satellite's round trip and a slow responder's work.
pub const FIRST_WAIT: Duration = Duration::from_secs(2);

/// No retransmission waits longer, so that a peer that comes back is heard soon.
pub const LONGEST_WAIT: Duration = Duration::from_secs(42);

/// Transmissions of one request: "at least a dozen times over a period of at least several minutes"
/// is RFC 7296 §2.4's suggestion; these give about two and a half minutes, as other implementations do.
pub const TRANSMISSIONS: u32 = 7;

/// A secret for cookies serves this long, and then as long again as the previous one: longer than any
/// honest peer's round trip, short for somebody who collects cookies from many addresses.
pub const COOKIE_SECRET_LIFE: Duration = Duration::from_secs(60);

/// Answers a second to messages outside any IKE SA (RFC 7296 §2.21.4): enough to tell a site of peers that we
/// have forgotten them, too few to be used as a reflector.
pub const UNPROTECTED_ANSWERS_PER_SECOND: u32 = 100;

/// The same of one source.
pub const UNPROTECTED_ANSWERS_PER_SOURCE: u32 = 5;

/// Buckets of the limits by source: sources share one when there are more of them. 24 octets each.
pub const SOURCE_RATES: usize = 1_024;

/// Refusals of IKE_SA_INIT a second (NO_PROPOSAL_CHOSEN, INVALID_KE_PAYLOAD) to senders who have not shown where they
/// are; the next ones show a cookie first.
pub const UNPROVEN_REFUSALS_PER_SECOND: u32 = 50;

/// Sixteen message ids are left when an IKE SA is closed for want of more: enough for what is under way and for the
/// deletion itself.
pub const LAST_MESSAGE_ID: MessageId = MessageId(u32::MAX - 16);

/// Addresses for one request: a peer with several networks behind it has a few, and each costs traffic selectors.
pub const MAX_LEASED_ADDRESSES: usize = 8;

/// Requests whose addresses are held at a time: as many as IKE SAs that a large gateway has.
pub const MAX_LEASES: usize = 100_000;

/// Leases of one pool and family that are remembered for whoever had them: about 10 MiB when identities are long.
pub const MAX_REMEMBERED_LEASES: usize = 65_536;
