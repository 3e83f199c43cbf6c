//! Policies without a connection.

use dataplane::Selector;

/// Traffic that no IKE SA is asked for (RFC 4301 §4.4.1): swanctl's child modes `pass` and `drop`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shunt {
    /// Its name in the file and in the log.
    pub name: String,
    /// What becomes of the packets.
    pub action: ShuntAction,
    /// Traffic on our side: the source of what we send; never empty.
    pub local_ts: Vec<Selector>,
    /// Where it goes; never empty.
    pub remote_ts: Vec<Selector>,
}

/// What becomes of the packets that a [`Shunt`] means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ShuntAction {
    /// BYPASS: they leave outside of all tunnels, also where a child SA means them.
    Pass,
    /// DISCARD: they are dropped where neither a child SA nor a trap means them.
    Drop,
}
