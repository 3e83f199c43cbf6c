//! What the provider refuses, each with its reason.

/// Draws of a private scalar before the random source is called broken. A draw falls outside the
/// group's order with a chance of at most 1 in 3 (Brainpool), so 128 draws fail in a row with 2^-200.
pub const SCALAR_DRAWS: usize = 128;

/// Bits of the shortest RSA modulus that signs or verifies; shorter ones can be factored (RFC 8247 §4.1.1
/// asks for 2048, which is the policy of whoever trusts the key).
pub const RSA_MIN_BITS: u32 = 1024;

/// Bits of the longest RSA modulus: the key comes from the peer, and the work grows with its square.
pub const RSA_MAX_BITS: u32 = 8192;
