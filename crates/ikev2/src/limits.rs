//! Every bound of the IKEv2 exchanges, with its reason.

use std::time::Duration;

/// Times that an IKE_SA_INIT request is made anew because the responder wants a cookie or another key
/// exchange method: one of each is normal, a second of each after a rotated secret, some puzzles one after the other
/// (RFC 8019 §7.1.5); more is a loop.
pub const INIT_RETRIES: u32 = 8;

/// After an unprotected error the initiator listens on for this long: a forged one must not end a
/// negotiation (RFC 7296 §2.21.1), a true one must not keep a person waiting.
pub const ERROR_PATIENCE: Duration = Duration::from_secs(3);

/// A cookie that the responder wants is shown after this long: a round trip, in which the real answer comes if the wish was
/// forged, and which nobody notices at a gateway under load.
pub const COOKIE_PATIENCE: Duration = Duration::from_millis(200);

/// Zero bits that we solve for where the responder leaves it to us (RFC 8019 §7.1.1.1): a fraction of a second.
pub const FREE_PUZZLE_BITS: u8 = 16;

/// Waiting for the solution of a puzzle, others before it in the queue; as long as a cookie of ours would be good.
pub const PUZZLE_PATIENCE: Duration = Duration::from_secs(60);

/// After a puzzle that we do not solve the initiator listens on for this long: the responder may let it in by chance
/// (RFC 8019 §7.1.5), and the puzzle may be forged.
pub const UNSOLVED_PATIENCE: Duration = Duration::from_secs(10);

/// How often a person is told that what strangers meet has got easier; that it has got harder is told at once.
pub const PRESSURE_INTERVAL: Duration = Duration::from_secs(10);

/// Waiting for a private key, a certificate check or the data plane: hardware tokens and revocation
/// servers are slow, a lost answer must not keep an IKE SA for ever.
pub const JOB_PATIENCE: Duration = Duration::from_secs(20);

/// The last response is kept this long after the IKE SA ended, for a request that comes again
/// because the response was lost (RFC 7296 §2.1); covers three transmissions of the usual back-off.
pub const LINGER: Duration = Duration::from_secs(10);

/// A kept response is forgotten after this long ("responders are allowed to forget the response
/// after a timeout of several minutes", RFC 7296 §2.1): longer than any peer's retransmissions.
pub const RESPONSE_LIFE: Duration = Duration::from_secs(240);

/// Transmissions of a request that deletes the IKE SA: whoever wants it gone need not wait minutes for a silent peer.
pub const DELETE_TRANSMISSIONS: u32 = 3;

/// Fragments of one message (RFC 7383): 64 KiB in fragments of 1 KiB.
pub const MAX_FRAGMENTS: u16 = 64;

/// Octets of one reassembled message; no honest one comes near it (chains of ML-DSA certificates reach 30 KiB).
pub const MAX_MESSAGE: usize = 65_536;

/// A message of whose fragments none comes for so long is forgotten: longer than the longest wait between two transmissions
/// (42 s of ours), each of which may bring what is missing.
pub const FRAGMENT_PATIENCE: Duration = Duration::from_secs(60);

/// After a fragment of a response what is missing of it is asked for in this time, if nothing more of it comes: fragments of one
/// message come close together. Each further time that takes twice as long.
pub const REST_WAIT: Duration = Duration::from_millis(250);

/// So often the missing part of one response is asked for: by then the waits are as long as between transmissions.
pub const REST_REQUESTS: u32 = 6;

/// Octets of an IKE_SA_INIT message. Both are kept until the peer is authenticated; the longest honest ones, with every
/// proposal and a large key exchange, have some 3 KiB.
pub const MAX_INIT: usize = 8_192;

/// Octets of an IKE_SA_INIT response that pass any network in one piece: an IPv6 packet of 1,280 octets less its headers. What can
/// be told later is told later beyond that.
pub const INIT_ROOM: usize = 1_280 - 40 - 8;

/// Authorities that a CERTREQ of ours names before the peer is authenticated: the answer to a forged first
/// message must not be many times as large as the message.
pub const MAX_AUTHORITIES: usize = 20;

/// PPKs that a request proposes (RFC 9867 §3.1, §3.2), that are looked at in one, and of which an IKE SA remembers that they are in
/// its keys: old and new ones while they are replaced, for a few groups of peers.
pub const MAX_PPKS: usize = 8;

/// Octets of a nonce that we make: at least 16, and half the key size of the PRF at least, which
/// 32 is for all of them (RFC 7296 §2.10).
//= rfc7296 §2.10
//# Nonces used in IKEv2 MUST be randomly chosen, MUST be at least 128 bits in size, and MUST be at least half the
//# key size of the negotiated pseudorandom function (PRF).
pub const NONCE_LEN: usize = 32;

/// Octets of a COOKIE notification (RFC 7296 §2.6).
pub const COOKIE_RANGE: std::ops::RangeInclusive<usize> = 1..=64;

/// Child SAs of one IKE SA: far more than a gateway's subnets, few enough that a peer cannot fill our memory.
pub const MAX_CHILDREN: usize = 256;

/// Exchanges that wait for the one before (window size 1): one for each child, and some. One deletion has a place
/// besides, so that the peer hears of every child that is gone.
pub const MAX_TODO: usize = 512;

/// Servers, networks and domains of one kind that a CFG_REPLY may name: far more than a network has for its clients.
pub const MAX_RECEIVED: usize = 32;

/// Octets of an IKEv2 Link ID (RFC 5739) that we keep and send again.
pub const MAX_LINK_ID: usize = 256;

/// Certificates that a peer may send: a chain with cross-signed intermediates has fewer.
pub const MAX_CERTS: usize = 10;

/// Octets that an IP header and a UDP header take from a fragment's datagram (IPv4, IPv6), with the
/// non-ESP marker.
pub const IPV4_OVERHEAD: usize = 20 + 8 + 4;
/// See [`IPV4_OVERHEAD`].
pub const IPV6_OVERHEAD: usize = 40 + 8 + 4;

/// A fragment's datagram is never made smaller than IPv4's guaranteed 576 octets, whatever is configured.
pub const MIN_FRAGMENT_DATAGRAM: usize = 576;

/// Answers to one IKE_SA_INIT request that an initiator follows up, of which all but one must be forged
/// (RFC 7296 §2.4): each costs a key exchange, and a wait when it leads nowhere.
pub const MAX_INIT_ANSWERS: usize = 4;

/// A liveness check provoked from outside (an unprotected INVALID_IKE_SPI) is made at most this often (RFC 7296 §2.21.4), and
/// a child SA stands for this long before the peer's INVALID_SPI makes us replace it.
pub const PROVOKED_PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// The UDP port of IKE (RFC 7296 §2).
pub const IKE_PORT: u16 = 500;

/// The UDP port of IKE and ESP behind a NAT (RFC 3948).
pub const NAT_PORT: u16 = 4500;

/// Requests that may be under way at once in one direction (RFC 7296 §2.3), whatever the peer or the file says: each may
/// keep a response, and fragments, in memory.
pub const MAX_WINDOW: u32 = 32;

/// After TEMPORARY_FAILURE, or a refusal that may pass, the next attempt comes after this long (RFC 7296 §2.25): longer than
/// what the peer has under way takes, retransmissions left aside.
pub const RETRY_WAIT: Duration = Duration::from_secs(5);

/// A random part of this is added, so that two peers do not meet again and again.
pub const RETRY_SPREAD: Duration = Duration::from_secs(10);

/// A child that is refused new keys is asked for after waits that double, up to this one: the peer's file rarely changes
/// sooner, and the log stays readable.
pub const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

/// A peer that answers TEMPORARY_FAILURE and nothing else for this long is out of step: the IKE SA is closed ("after several
/// minutes", RFC 7296 §2.25).
pub const BUSY_PATIENCE: Duration = Duration::from_secs(300);

/// The inbound half of a child SA that has a successor stays this long after its deletion, for packets that the network
/// holds back.
pub const RETIREMENT: Duration = Duration::from_secs(5);

/// A new IKE SA to which the old one leaves nothing is closed after this long: longer than the exchange that decides takes.
pub const HEIR_PATIENCE: Duration = Duration::from_secs(240);

/// An IKE SA with a successor that the peer has begun stays this long, so that the peer can change over without a gap.
pub const SUCCESSION: Duration = Duration::from_secs(10);

/// So many IKE SAs stand between the same two identities at most when one of them asks for another one by CLONE_IKE_SA
/// (RFC 7791 §8: it needs no proof, and must not use up what others need).
pub const MAX_CLONES: usize = 8;

/// A peer is told of its ESP packets that no child takes no more often.
pub const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// A child's use is looked at no more often (`inactivity`).
pub const LEAST_LOOK: Duration = Duration::from_secs(1);

/// An authentication serves at least this long, whatever AUTH_LIFETIME says (RFC 4478 §5): a peer that asks for more would
/// make us do nothing else.
pub const LEAST_AUTHENTICATION: Duration = Duration::from_secs(10);

/// Gateways may send us on so often within [`REDIRECT_LOOP_DETECT_PERIOD`] (RFC 5685 §7).
pub const MAX_REDIRECTS: usize = 5;

/// See [`MAX_REDIRECTS`].
pub const REDIRECT_LOOP_DETECT_PERIOD: Duration = Duration::from_secs(300);

/// A client that we have sent on keeps its IKE SA for so long, if it does not delete it (RFC 5685 §5): longer than it takes
/// to make another one with retransmissions.
pub const REDIRECT_GRACE: Duration = Duration::from_secs(60);

/// Octets of a token of quick crash detection (RFC 6290 §5).
pub const TOKEN_RANGE: std::ops::RangeInclusive<usize> = 16..=128;

/// Tokens of one message that are looked at (RFC 6290 §4.5 wants four at least).
pub const MAX_TOKENS: usize = 4;

/// Addresses of one peer, and of our own, that MOBIKE keeps, tells and tries: more than a host has that moves about.
pub const MAX_ADDRESSES: usize = 16;

/// A request that was sent so often without an answer makes us look for another path (RFC 4555 §3.5): one that is lost
/// twice is still chance.
pub const SUSPECT_AFTER: u32 = 3;

/// UNEXPECTED_NAT_DETECTED is taken for somebody's forgery this often in a row (RFC 4555 §3.9: "several times").
pub const NAT_RETRIES: u32 = 3;

/// Octets of a COOKIE2 that we make: nobody guesses them.
pub const COOKIE2_LEN: usize = 16;

/// Octets of a COOKIE2 notification (RFC 4555 §4.2.5).
pub const COOKIE2_RANGE: std::ops::RangeInclusive<usize> = 8..=64;

/// Transmissions of a request beyond all others to a peer that is heard but does not answer it: the path was dead for as
/// long as those took, and is not any more. A few, since a peer that lives and never answers must be given up.
pub const LAST_CHANCES: u32 = 3;

/// Octets of a ticket that we give (RFC 5723): two identities of 300 octets, a name and the longest keys have room. It must fit
/// into a first message, which is not fragmented.
pub const MAX_TICKET: usize = 1_024;

/// Octets of a ticket that we keep for a gateway. The request that shows it should pass any network in one piece, or nearly.
pub const FOREIGN_TICKET: std::ops::RangeInclusive<usize> = 1..=2_048;

/// A ticket serves for a day at most (RFC 5723 §6.2), however long its IKE SA may stand.
pub const TICKET_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// The key of tickets changes after so long, and is accepted for as long again: far longer than an IKE SA stands.
pub const TICKET_KEY_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A gateway that has no ticket for us now, or one for a short time only, is asked again after this long.
pub const TICKET_RETRY: Duration = Duration::from_secs(60);

/// Tickets that a client keeps, one for each lost peer of a connection: more than a host has peers that it calls.
pub const MAX_HELD_TICKETS: usize = 256;

/// IKE SAs whose tickets a gateway remembers to be worth nothing: as many as end in a day at one a second, some 5 MiB.
pub const MAX_SPENT_TICKETS: usize = 86_400;

/// Octets that link the exchanges of a series (RFC 9370 §2.2.4): nobody guesses them.
pub const LINK_LEN: usize = 16;

/// The peer goes on with a series within this time (RFC 9370 §2.2.4: 5 to 20 seconds); its request may have to be sent again.
pub const FOLLOWUP_PATIENCE: Duration = Duration::from_secs(20);

/// Series of the peer's that may be under way at once: as many as requests of CREATE_CHILD_SA at the widest window.
pub const MAX_SERIES: usize = MAX_WINDOW as usize;

/// So many series in a row that the peer has forgotten before they were over, and its state and ours differ
/// (RFC 9370 §2.2.4: "after several retries").
pub const STATES_LOST: u32 = 5;

/// Transmissions of a request to resume: a gateway that is there answers one of them, and for one that does not know the
/// exchange, or does not want us back, a full exchange must not come too late.
pub const RESUME_TRANSMISSIONS: u32 = 3;

/// Announcements of SUPPORTED_AUTH_METHODS (RFC 9593) that are kept: every method and signature algorithm that is known makes
/// some twenty, and an initiator's list comes before it is authenticated.
pub const MAX_ANNOUNCED_METHODS: usize = 64;
