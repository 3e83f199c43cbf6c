//! Every limit of the parser, with its reason. A message above a limit is refused as a whole, so that no
//! sender decides how much we allocate or how long we loop.

/// Octets of the IKE header (RFC 7296 §3.1).
pub const HEADER_LEN: usize = 28;

/// Octets of the generic payload header (RFC 7296 §3.2).
pub const PAYLOAD_HEADER_LEN: usize = 4;

/// Octets that SKF adds to the generic payload header: fragment number and total (RFC 7383 §2.5).
pub const FRAGMENT_HEADER_LEN: usize = 4;

/// Payloads in one chain. The longest honest messages carry a certificate path, one CERTREQ and a notification
/// for each address of a many-homed host: some dozens.
pub const MAX_PAYLOADS: usize = 128;

/// Proposals in one SA payload: their numbers count from 1 in one octet (RFC 7296 §3.3.1).
pub const MAX_PROPOSALS: usize = 255;

/// Transforms in one proposal: their count is one octet (RFC 7296 §3.3.1).
pub const MAX_TRANSFORMS: usize = 255;

/// Transforms in one SA payload. A list of 255 proposals with 255 transforms each would be 65,025 entries to
/// compare with ours; the longest lists seen in the field have some hundreds.
pub const MAX_TRANSFORMS_PER_SA: usize = 2048;

/// Attributes of one transform. Two types are registered (RFC 7296 §3.3.5, RFC 9838), and none may be repeated.
pub const MAX_ATTRIBUTES: usize = 16;

/// Traffic selectors in one TS payload: their count is one octet (RFC 7296 §3.13).
pub const MAX_SELECTORS: usize = 255;

/// Attributes in one configuration payload. Split tunnels list their subnets and domains here: hundreds, but
/// each is at least four octets of an authenticated message.
pub const MAX_CFG_ATTRIBUTES: usize = 1024;

/// SPIs in one delete payload: as many as child SAs can sensibly live under one IKE SA.
pub const MAX_DELETE_SPIS: usize = 4096;

/// Shortest nonce in octets (RFC 7296 §3.9).
pub const MIN_NONCE: usize = 16;

/// Longest nonce in octets (RFC 7296 §3.9).
pub const MAX_NONCE: usize = 256;
