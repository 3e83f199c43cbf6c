//! ESP in userspace (RFC 4303): per packet and per batch, knowing no IKE SA.
#![forbid(unsafe_code)]
