//! A data plane: `esp` over a TUN device.
//!
//! [`Engine::start`] makes the device and the threads that carry packets: what the kernel routes into the
//! device leaves as ESP, what arrives as ESP comes out of the device. IKE messages that arrive on the
//! shared sockets are handed on. Linux only.
//!
//! # How packets find the device
//! Each child's remote selectors become routes through the device in a table of the engine's own. Rules lead to that
//! table for packets whose source lies in the child's local selectors (or is not chosen yet), unless they
//! carry the mark of the engine's own sockets. So 0.0.0.0/0 works as a remote selector: ESP and IKE carry the mark
//! and take the ordinary routes. A route proposes as source an address of this machine inside the local
//! selectors, where there is one. Transport mode is no exception: the route to the peer's own address leads into the
//! device, the engine takes the IP header off and sends the payload as ESP to that same address with the mark; on
//! the way in the IP header is made anew.
//!
//! Strict reverse path filtering (`net.ipv4.conf.*.rp_filter = 1`) drops the peer's ESP packets where the
//! tunnel covers the peer's own address; use 2 (loose) or 0 on the outer interface then.
//!
//! The kernel makes the outer headers: their TTL is the machine's own, DSCP and ECN are copied from inside. The
//! kernel also forwards, and so counts down the TTL of what a gateway carries, before the tunnel and after it.
//!
//! # What holds always
//! Nothing comes out of a device that was not decrypted by a child SA of that device whose selectors mean it. Nothing
//! inside a child's selectors leaves in the clear while the engine has the child: its policy stands before its
//! routes do, and its routes go before the policy does.
//!
//! # While keys change
//! A child that replaces another shares its routes and rules, which stay until the last of them goes. Both take packets in;
//! out goes the one in use ([`dataplane::Op::Use`]). What comes for a child that is not there yet is kept for a moment.
//!
//! # Traps
//! A trap policy has routes and rules as a child has, and what they lead into the device is kept, as far as it is little and
//! for a short time, until a child stands that carries it. A child over the same traffic goes before a trap.
//!
//! # Interfaces
//! Children and traps may name an interface: a TUN device of their own, beside the engine's. Whoever routes packets there
//! decides what goes into the tunnel; the engine sets no routes and no rules for it, and selectors choose among the children of
//! one interface only. Nothing that comes from an interface ever leaves in the clear, and shunts do not apply to it. The device
//! may be moved into another network namespace, where its inner packets are then; ESP stays where the engine is. One that
//! somebody removes is made anew. Its MTU is the engine's `mtu`, since no route has one.
//!
//! # Threads
//! `esp-out` owns all that sends, `esp-in` all that receives: no lock on the way of a packet, and no
//! allocation. Each device is a lane of theirs. `esp-mtu` follows the path MTUs and mends interfaces. Operations are closures
//! sent to the owners.

mod control;
mod device;
mod early;
mod engine;
mod error;
mod interfaces;
mod inward;
mod kept;
mod lane;
mod lanes;
pub mod limits;
mod mailbox;
mod merge;
mod netlink;
mod outward;
mod routes;
mod segment;
mod sys;
mod train;
mod virtio;
mod watch;

pub use control::Stats;
pub use engine::{Engine, EngineConfig, Input, Sink};
pub use error::Error;
pub use watch::{OwnDevices, Watch};
