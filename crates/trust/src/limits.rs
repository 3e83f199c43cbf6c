//! Every limit of this crate, with its reason.

/// Octets of one certificate. The largest real ones, with post-quantum keys and signatures, stay below 32 KiB; webpki reads no
/// more than 64 KiB either.
pub const MAX_CERTIFICATE: usize = 1 << 16;

/// CERT payloads of one peer that are looked at: a chain, a cross certificate or two, and nothing
/// that makes path building expensive.
pub const MAX_PEER_CERTIFICATES: usize = 16;

/// Certificates in one PEM file: a bundle of all public authorities has about 150.
pub const MAX_PEM_CERTIFICATES: usize = 1024;

/// Subject alternative names of a certificate that are compared with an identity.
pub const MAX_ALTERNATIVE_NAMES: usize = 256;

/// Characters of a text from a certificate or an ID payload in a log line.
pub const MAX_TEXT: usize = 200;

/// Characters of a whole refusal.
pub const MAX_REFUSAL: usize = 1500;

/// Bits of an RSA modulus that are needed at least (RFC 8247 §4.1 asks for 2048).
pub const MIN_RSA_BITS: usize = 2048;

/// Bits of an RSA modulus at most: the time of a verification grows with its square.
pub const MAX_RSA_BITS: usize = 8192;

/// Public keys that one file may hold (RFC 7670): each may have to be tried when a peer does not say which one it uses.
pub const MAX_PUBLIC_KEYS: usize = 8;
