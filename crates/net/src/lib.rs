//! Sockets: UDP 500 and 4500, the non-ESP marker, raw ESP.
//!
//! [`Sockets`] opens them all; [`Sockets::receive`] splits what arrives into IKE messages, ESP
//! packets and noise before anything is parsed; [`Sockets::send_ike`] and [`Sockets::send_esp`] send
//! with a chosen source address. Linux only.

mod error;
pub mod limits;
mod open;
mod receive;
mod send;
mod sys;

pub use error::Error;
pub use open::{DEFAULT_MARK, Family, Kind, SocketConfig, Sockets};
pub use receive::{Batch, EspPacket, Noise, Packet, UdpDatagram};
pub use send::EspRoute;
pub use sys::wait_readable;
