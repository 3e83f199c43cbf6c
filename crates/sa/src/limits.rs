//! Every bound of the version-neutral machinery, with its reason.

use base::MessageId;
use std::time::Duration;

/// Half-open IKE SAs from which on cookies are demanded: far above what honest peers have open at
/// once, far below what a flood opens in a second.
pub const COOKIE_THRESHOLD: usize = 100;

/// Half-open IKE SAs of one source from which on it has to show a cookie: far below what one source may have, so
/// that forged first messages in its name cannot fill its places.
pub const COOKIE_THRESHOLD_PER_SOURCE: usize = 20;

/// Half-open IKE SAs in all: with cookies each costs its sender a round trip, and us about 2 KiB.
pub const MAX_HALF_OPEN: usize = 10_000;

/// Half-open IKE SAs of one source address: room for a site of many peers behind one NAT that all
/// come back at once.
pub const MAX_HALF_OPEN_PER_SOURCE: usize = 100;

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

/// Answers a second to messages outside any IKE SA (RFC 7296 §2.21.4): enough to tell a peer that we
/// have forgotten it, too few to be used as a reflector.
pub const UNPROTECTED_ANSWERS_PER_SECOND: u32 = 10;

/// Sixteen message ids are left when an IKE SA is closed for want of more: enough for what is under way and for the
/// deletion itself.
pub const LAST_MESSAGE_ID: MessageId = MessageId(u32::MAX - 16);
