//! Every limit of this crate, with its reason.

/// The longest datagram that one receive can return: a whole UDP payload, or a merged train of them.
pub const MAX_DATAGRAM: usize = 65_536;

/// Datagrams taken by one system call. More would not lower the cost of a call noticeably; fewer
/// would, where the network card does not merge datagrams.
pub const MAX_RECEIVE_BATCH: usize = 64;

/// Segments that the kernel accepts in one segmented UDP send (`UDP_MAX_SEGMENTS` was 64 before
/// Linux 6.9).
pub const MAX_SEGMENTS: usize = 64;

/// Octets in one segmented UDP send: what fits an IPv4 packet's total length after its headers.
pub const MAX_SEGMENTED: usize = 65_535 - 20 - 8;

/// The longest IKE message that can be sent: a UDP payload over IPv4 less the non-ESP marker.
pub const MAX_IKE_MESSAGE: usize = MAX_SEGMENTED - 4;

/// Asked of the kernel for each socket's buffers, in octets: 20 ms of 3 Gbit/s, so that a busy
/// moment of the receiving thread does not drop packets.
pub const SOCKET_BUFFER: usize = 8 * 1024 * 1024;
