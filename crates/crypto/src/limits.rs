//! What the key schedules refuse, each with its reason.

/// Iterations of prf+: its counter is one octet that starts at 1 (RFC 7296 §2.13).
pub const PRF_PLUS_ITERATIONS: usize = 255;

/// Octets of each nonce that key a PRF of fixed key length (RFC 7296 §2.14).
pub const FIXED_KEY_NONCE_PART: usize = 8;
