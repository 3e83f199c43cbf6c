//! ESP in userspace (RFC 4303): per packet and per batch, knowing no IKE SA, no socket and no clock.
//!
//! [`Outbound`] chooses the child SA of a packet and makes ESP packets in the caller's buffers;
//! [`Inbound`] finds the child of an ESP packet and opens it in place. Nothing is allocated per packet.
#![forbid(unsafe_code)]

pub mod checksum;
mod child;
pub mod ecn;
pub mod icmp;
mod inbound;
pub mod ip;
pub mod limits;
mod outbound;
mod policy;
mod replay;
mod sa;
pub mod tcp;
mod volume;

pub use child::build;
pub use inbound::{Accepted, Arrival, Delivered, Inbound, InboundChild, Refused};
pub use outbound::{NotSent, Outbound, OutboundChild, Parts, max_inner};
pub use replay::ReplayWindow;
pub use sa::{
    ESP_HEADER_LEN, InboundSa, IvPool, OpenError, Opened, OutboundSa, SealError, max_payload, sealed_len,
};
pub use volume::Volume;
