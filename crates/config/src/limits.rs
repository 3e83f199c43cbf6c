//! Limits of configuration files.

/// Octets of a configuration file: ten thousand connections take about 5 MiB.
pub const FILE: u64 = 64 << 20;

/// Octets of a certificate, key or secret file; a bundle of all public authorities has 250 KiB.
pub const INCLUDED_FILE: u64 = 4 << 20;

/// Octets of a file with CRLs: the largest that is read (`trust::limits::MAX_CRL`) as PEM, or several smaller ones.
pub const CRL_FILE: u64 = 32 << 20;

/// Problems that are told; more of them have one cause.
pub const PROBLEMS: usize = 100;

/// Characters of a source line that are shown around a problem.
pub const SHOWN_LINE: usize = 120;

/// Entries of one list of addresses, proposals, selectors or files: a TS payload holds 255 selectors
/// (RFC 7296 §3.13), and proposal numbers end at 255 (§3.3.1).
pub const LIST: usize = 255;

/// Interfaces that children may name: as many as the data plane makes.
pub const INTERFACES: usize = 256;

/// Longest name of a connection or child: it stands in each line of the log.
pub const NAME: usize = 64;

/// Fewest octets of a pre-shared key that are not warned about: 16 random letters are about 75 bits.
pub const SHORT_SECRET: usize = 16;

/// Days before the end of our own certificate from which on it is warned about.
pub const EXPIRES_SOON: u64 = 14;
