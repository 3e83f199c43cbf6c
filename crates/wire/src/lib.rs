//! The words of IKE on the wire: IANA's registries as newtypes, and the messages of IKEv2.
//!
//! Parsing never panics and never allocates more than the datagram's own length implies; emitting cannot fail.
//!
//! From the outside in: [`Header`], the chain of [`Payloads`], one [`Payload`]; [`Message`] is all of them at once.
//! An encrypted message is found with [`Sealed::locate`], opened by whoever has the keys, and its inside read with
//! [`parse_chain`]; the other way round [`emit_chain`] and [`Frame::new`] leave room for what the cipher writes.
#![forbid(unsafe_code)]

pub mod allowed;
mod chain;
mod describe;
mod error;
mod header;
pub mod limits;
mod message;
pub mod num;
mod payload;
mod reader;
mod sealed;
mod writer;

pub use chain::{Payloads, RawPayload};
pub use describe::{describe, summary};
pub use error::{ParseError, Problem};
pub use header::{Flags, Header};
pub use message::Message;
pub use payload::{
    AddressRange, Attribute, AttributeValue, Authentication, CertRequest, Certificate, CfgAttribute,
    CfgValue, Configuration, Delete, DigitalSignature, Eap, Encrypted, EncryptedFragment, Identification,
    IpSelector, KeyExchange, Notify, Octets, Payload, Proposal, TrafficSelector, Transform, emit_chain,
    parse_chain,
};
pub use sealed::{Fragment, Frame, Room, Sealed, intermediate_octets, strip_padding};
