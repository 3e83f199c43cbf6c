//! Every limit of this crate, with its reason.

/// Octets of one certificate. The largest real ones, with post-quantum keys and signatures, stay below 32 KiB; webpki reads no
/// more than 64 KiB either.
pub const MAX_CERTIFICATE: usize = 1 << 16;

/// CERT payloads of one peer that are looked at, and OCSP responses likewise: a chain, a cross certificate or two, and nothing
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

/// Octets of a CRL: one with 300,000 entries has about 10 MiB.
pub const MAX_CRL: usize = 16 << 20;

/// CRLs in one PEM file.
pub const MAX_PEM_CRLS: usize = 256;

/// Octets of an OCSP response: one with two post-quantum certificates stays below.
pub const MAX_OCSP: usize = 1 << 16;

/// OCSP servers and CRLs that are asked for of one certificate, of each kind: each that does not answer costs the peer seconds.
pub const MAX_SOURCES: usize = 2;

/// Answers in one OCSP response that are looked at: we ask about one certificate.
pub const MAX_OCSP_ANSWERS: usize = 16;

/// Certificates in one OCSP response that are looked at: the signer's, and its path.
pub const MAX_OCSP_CERTIFICATES: usize = 4;

/// Octets of a URI that is asked.
pub const MAX_URI: usize = 1024;

/// Seconds by which an authority's clock may be ahead of ours.
pub const CLOCK_SKEW: i64 = 300;

/// Seconds for which an OCSP response serves that does not say how long it holds.
pub const OCSP_FRESH: i64 = 300;
