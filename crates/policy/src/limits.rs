//! Limits of the deciders.

/// Algorithms of one transform type that a refusal lists: a peer can offer hundreds, and the sentence goes to a log.
pub const LISTED_ALGORITHMS: usize = 12;

/// Selectors in one narrowed list. A TS payload can hold 255; an SA's check of each packet walks
/// the list, and the pairs of both lists become kernel policies.
pub const SELECTORS: usize = 64;

/// Pieces that a selector is cut into by those that may cover it together. Each of 255 selectors of a payload can cut
/// every piece into seven; one that is still not covered then counts as not covered.
pub const COVER_BLOCKS: usize = 1024;

/// Characters of a misspelt name that is still compared with the known ones, which costs a time quadratic in it.
pub const COMPARED_NAME: usize = 64;

/// Selectors that a refusal lists: a TS payload can hold 255, and the sentence goes to a log.
pub const LISTED_SELECTORS: usize = 8;

/// Characters of an identity in a sentence: a peer decides its length.
pub const SHOWN_IDENTITY: usize = 160;

/// Methods that are tried for additional key exchanges until no one stands twice. What people configure needs a dozen; seven
/// places with the same long list and an offer that never fits would need millions.
pub const KE_COMBINATIONS: u32 = 512;

/// Octets of the identity of a PPK (RFC 8784 §5.1): names that people write; a peer's longer one is taken for unknown.
pub const PPK_ID: usize = 255;

/// Rounds of authentication that a side may go through (RFC 4739): a host and its user, or a signature of today and one that
/// withstands a quantum computer. The RFC has no limit; until the last round an IKE SA is half open, and costs a key operation a
/// round.
pub const AUTH_ROUNDS: usize = 2;
