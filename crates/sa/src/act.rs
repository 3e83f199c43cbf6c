//! What goes into the core and what comes out of it.

use crate::{Answer, Event, Job, JobId, Order, OrderId, Path, Reply};
use dataplane::{DataplaneEvent, Op};
use std::net::IpAddr;

/// One thing that happened. The core is told of exactly one at a time.
#[derive(Debug)]
pub enum Cause<'a> {
    /// A UDP datagram with an IKE message (marker stripped, ESP already split off). It may be
    /// decrypted in place.
    Datagram {
        /// Where it came from and where to; `path.local` is the address it was sent to.
        path: Path,
        /// The IKE message.
        bytes: &'a mut [u8],
    },
    /// A moment that `wake` asked for has come.
    Time,
    /// A job or an operation of the data plane is done.
    Done(JobId, Answer),
    /// The data plane tells something by itself.
    Dataplane(DataplaneEvent),
    /// Addresses, links or routes of the host have changed: these are its addresses now. Nobody tells the core the
    /// first ones but this.
    Addresses(Vec<IpAddr>),
    /// A person or the daemon wants something.
    Order(OrderId, Order),
}

/// One thing to be done, in the order they come out.
#[derive(Debug)]
pub enum Act {
    /// Send an IKE message. `path.marked`: put the non-ESP marker before it.
    Transmit {
        /// From where and where to.
        path: Path,
        /// The IKE message.
        bytes: Vec<u8>,
    },
    /// Send a NAT keepalive: one octet 0xFF, without a marker before it (RFC 3948 §2.3).
    Keepalive {
        /// From where and where to.
        path: Path,
    },
    /// Do slow or privileged work and answer with [`Cause::Done`].
    Job(JobId, Job),
    /// Do this in the data plane and answer with [`Cause::Done`] and [`Answer::Dataplane`].
    Dataplane(JobId, Op),
    /// Something worth telling.
    Event(Box<Event>),
    /// The answer to an order; some orders get theirs later.
    Reply(OrderId, Box<Reply>),
}

/// Why the core wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A request may have to be sent again.
    Retransmit,
    /// A half-open or silent IKE SA may have to be given up.
    Expire,
    /// The peer may have to be probed.
    Liveness,
    /// A NAT keepalive may have to be sent (RFC 3948 §2.3).
    Keepalive,
    /// A secret for cookies must rotate.
    CookieSecret,
    /// Keys may have to be replaced.
    Rekey,
    /// What should stand and does not may have to be begun.
    Start,
}
