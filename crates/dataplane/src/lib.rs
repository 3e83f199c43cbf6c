//! The contract between IKE and whatever does ESP: the kernel, our own engine over TUN, or a
//! simulated one. IKE reaches ESP through these types only; keys cross once, by value.
#![forbid(unsafe_code)]

mod interface;
mod selector;

pub use interface::{Interface, MAX_NAME, MAX_NAMESPACE};
pub use selector::{AddressRange, Selector};

use base::{EspSpi, Secret};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::num::{Encr, Integ};

/// Tunnel or transport mode (RFC 4301 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// The whole inner packet is protected.
    Tunnel,
    /// What the two hosts themselves exchange; the IP header stays.
    Transport,
}

/// Names one child SA (a pair of ESP SAs) within one data plane, from installation to removal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ChildId(pub u64);

/// The keys and the SPI of one direction.
#[derive(Debug)]
pub struct DirectionSpec {
    /// The SPI that stands in the packets of this direction.
    pub spi: EspSpi,
    /// The encryption key, salt included where the algorithm has one.
    pub encr_key: Secret,
    /// The integrity key; empty for a combined mode.
    pub integ_key: Secret,
}

/// A child SA to be installed: both directions, their algorithms, and the traffic they carry.
#[derive(Debug)]
pub struct ChildSpec {
    /// Its name in later operations and events.
    pub id: ChildId,
    /// The connection's child that it was made for, for people.
    pub name: String,
    /// Tunnel or transport.
    pub mode: Mode,
    /// Our outer address; with UDP encapsulation the port is ours (4500), else 0.
    pub local: SocketAddr,
    /// The peer's outer address; with UDP encapsulation the port is the peer's as seen through NAT, else 0.
    pub remote: SocketAddr,
    /// Whether packets travel in UDP (RFC 3948).
    pub udp_encap: bool,
    /// Encryption.
    pub encr: Encr,
    /// Its key length in bits; 0 where the algorithm has one only.
    pub key_bits: u16,
    /// Integrity; `Integ::NONE` for a combined mode.
    pub integ: Integ,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Anti-replay window in packets: 0 (off) or 32 to 4096.
    pub replay_window: u32,
    /// What we receive with.
    pub inbound: DirectionSpec,
    /// What we send with.
    pub outbound: DirectionSpec,
    /// Traffic on our side: source of what we send (RFC 7296 §2.9).
    pub local_ts: Vec<Selector>,
    /// Traffic on the peer's side: destination of what we send.
    pub remote_ts: Vec<Selector>,
    /// The addresses that transport mode behind NAT needs to restore (RFC 7296 §2.23.1): the peers'
    /// own view of local and remote address, when it differs from the outer ones.
    pub original_addresses: Option<(IpAddr, IpAddr)>,
    /// The child that this one replaces (RFC 7296 §2.8): its policies pass over to this one without a gap. Both carry
    /// what comes in until the old one is removed.
    pub replaces: Option<ChildId>,
    /// What we send does not leave by it yet, but by the child that it replaces: the peer may not have its half.
    /// [`Op::Use`] ends that, and so does the removal of the child that it replaces.
    pub hold_outbound: bool,
    /// What it may carry.
    pub volume: VolumeLimits,
    /// The interface that its packets enter and leave by, and no other: whoever routes them there decides which they are. The
    /// data plane sets no routes for it. `None`: its selectors decide, by the data plane's own means.
    pub interface: Option<Interface>,
}

/// What a child SA may carry in each direction before [`DataplaneEvent::Expired`] is told. `None`: any amount.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VolumeLimits {
    /// Octets of inner packets at which new keys are wanted.
    pub soft_bytes: Option<u64>,
    /// Octets of inner packets beyond which it carries nothing.
    pub hard_bytes: Option<u64>,
    /// Packets at which new keys are wanted.
    pub soft_packets: Option<u64>,
    /// Packets beyond which it carries nothing.
    pub hard_packets: Option<u64>,
}

/// What becomes of the packets that a policy without an SA means (RFC 4301 §4.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Without {
    /// PROTECT: where no child SA carries them they are kept, and ask for one ([`DataplaneEvent::Acquire`]).
    Acquire,
    /// BYPASS: they leave outside of all tunnels, also where a child SA means them.
    Bypass,
    /// DISCARD: where neither a child SA nor a trap means them they are dropped.
    Discard,
}

/// Names a trap policy or a shunt within one data plane, from its installation to its removal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TrapId(pub u64);

/// A policy without an SA: a trap, or a shunt that passes or drops. A packet finds first the shunts that pass, then the child
/// SAs, then the traps, then the shunts that drop; what is narrower counts only among policies of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrapSpec {
    /// Its name in later operations and events.
    pub id: TrapId,
    /// `connection/child`, or the shunt's own, for people.
    pub name: String,
    /// What becomes of the packets.
    pub then: Without,
    /// Tunnel or transport; no difference to a shunt.
    pub mode: Mode,
    /// Traffic on our side.
    pub local_ts: Vec<Selector>,
    /// Traffic on the peer's side.
    pub remote_ts: Vec<Selector>,
    /// As with a child: the interface whose packets it means, those of no other. A shunt has none.
    pub interface: Option<Interface>,
}

/// What IKE asks of a data plane. Each is answered once, by [`Outcome`], and is done whole or not at all.
#[derive(Debug)]
pub enum Op {
    /// Installs both directions and the policies of a child SA.
    Install(Box<ChildSpec>),
    /// Removes a child SA; what it counted comes back. What we send leaves as before, unless it left by this one: then it
    /// leaves by those that replace it or, where there are none, by the one that it has replaced.
    Remove(ChildId),
    /// Reads the counters.
    Query(ChildId),
    /// What we send leaves by this child from now on, not by the one that it replaces ([`ChildSpec::hold_outbound`]), nor by
    /// others that replace that one, nor by those that replace it. Asked again, it changes nothing.
    Use(ChildId),
    /// Installs a trap policy or a shunt.
    Trap(TrapSpec),
    /// Removes a trap policy, or a shunt; the packets that it keeps are dropped.
    Untrap(TrapId),
    /// This host has an address of the peer's network (RFC 7296 §2.19): packets that it sends through the tunnel may
    /// have it as source. An address that is assigned twice stays until it is unassigned twice.
    Assign(Assigned),
    /// It has it no more.
    Unassign(Assigned),
    /// The peer's (or our) outer address changed (NAT rebinding, MOBIKE).
    Move {
        /// Which child.
        id: ChildId,
        /// Our outer address and port from now on.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
        /// Whether packets travel in UDP from now on.
        udp_encap: bool,
    },
}

/// An address of this host in a peer's network, and the interface that it stands on; `None`: the data plane's own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// The interface of the children that it is for ([`ChildSpec::interface`]).
    pub interface: Option<Interface>,
}

/// The answer to an [`Op`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done.
    Done,
    /// Done; the counters of a removed or queried child.
    Counters(Counters),
    /// Not done, nothing changed; the reason for people.
    Failed(String),
}

/// What a child SA carried and refused.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs)]
pub struct Counters {
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    /// Dropped: already seen or left of the window.
    pub replayed: u64,
    /// Dropped: wrong integrity check value.
    pub bad_icv: u64,
    /// Dropped: inner packet outside the SA's selectors (RFC 4301 §5.2).
    pub outside_selectors: u64,
    /// Dropped: malformed inside (padding, next header, inner header).
    pub malformed: u64,
    /// Dropped on the way out: too big (an ICMP error was returned), or no sequence number left.
    pub not_sent: u64,
    /// Time since the last packet came in and was accepted, if any did.
    pub idle_in: Option<Duration>,
}

/// What a data plane tells by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataplaneEvent {
    /// The outbound sequence numbers of a child come to their end: it must be replaced.
    SequenceNearEnd(ChildId),
    /// An authenticated packet came from another address than the peer's known one.
    Mapping {
        /// Which child.
        id: ChildId,
        /// Where the packet came from.
        remote: SocketAddr,
    },
    /// The first authentic packet came in by a child installed with [`ChildSpec::hold_outbound`]: the peer uses it.
    FirstPacket(ChildId),
    /// A child has carried as much as [`VolumeLimits`] says; told once for each of both limits.
    Expired {
        /// Which child.
        id: ChildId,
        /// Whether it was the hard limit: it carries nothing any more.
        hard: bool,
    },
    /// A packet came with an SPI that no child has; told once a second at most, however many come.
    UnknownSpi {
        /// Its SPI.
        spi: EspSpi,
        /// Where it says to come from.
        remote: SocketAddr,
    },
    /// A packet wants a child SA that a trap policy stands for. It is kept until the child stands, the trap goes or it is
    /// too old.
    Acquire {
        /// Which trap.
        id: TrapId,
        /// The packet's own selectors: ours and the peer's.
        packet: (Selector, Selector),
    },
}
