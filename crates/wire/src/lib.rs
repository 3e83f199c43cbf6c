//! The words of IKE on the wire: IANA's registries as newtypes, and the messages of IKEv2.
//!
//! Parsing never panics and never allocates more than the datagram's own length implies; emitting cannot fail.
#![forbid(unsafe_code)]

pub mod num;
