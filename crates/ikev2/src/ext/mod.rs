//! Extensions: one file each. A procedure calls the hooks of all of them through [`ALL`]; nobody
//! else names one, and none knows another.

mod childless;
pub(crate) mod configuration;
mod fragmentation;
mod initial_contact;
mod nat;
mod signature_hashes;
mod window;

pub(crate) use window::{announcement as window_announcement, size as window_size};

use crate::contents::Contents;
use base::Rng;
use crypto::{Spis, Suite};
use policy::Connection;
use sa::{Path, Received};
use std::sync::Arc;
use wire::Payload;

/// Every extension that this implementation speaks.
const ALL: &[&dyn Extension] = &[
    &nat::NatTraversal,
    &fragmentation::Fragmentation,
    &signature_hashes::SignatureHashes,
    &childless::Childless,
    &initial_contact::InitialContact,
    &window::WindowSize,
    &configuration::ConfigurationPayload,
];

/// What an extension may do.
pub(crate) trait Extension: Sync {
    /// Adds what it has to say to a message of ours.
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>);
    /// Reads what the peer's extension says.
    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed);
}

/// Which message is being made or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    InitRequest,
    InitResponse,
    AuthRequest,
    AuthResponse,
}

/// What extensions may know of the message and its IKE SA.
pub(crate) struct Facts<'a> {
    pub(crate) suite: &'a dyn Suite,
    pub(crate) rng: &'a mut dyn Rng,
    /// As they stand in the message's header.
    pub(crate) spis: Spis,
    /// The path that the message takes or took.
    pub(crate) path: Path,
    /// The connection, or as responder before IKE_AUTH the first that may be meant.
    pub(crate) connection: &'a Connection,
    /// What the peer has said so far.
    pub(crate) agreed: &'a Agreed,
    /// Whether this is our only IKE SA with the peer.
    pub(crate) first_contact: bool,
}

/// What the extensions have found out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreed {
    pub(crate) nat: Nat,
    /// The peer reassembles fragments.
    pub(crate) fragmentation: bool,
    /// The hashes that the peer takes in signatures; empty: it does not speak RFC 7427.
    pub(crate) hashes: Vec<u16>,
    /// The peer takes an IKE_AUTH without a child SA.
    pub(crate) childless: bool,
    /// The peer has no other IKE SA with us.
    pub(crate) initial_contact: bool,
    /// Requests that the peer takes at once.
    pub(crate) window: u32,
    /// What the peer asks for by a configuration payload.
    pub(crate) asked: Option<Arc<configuration::Asked>>,
    /// What the peer gave us by a configuration payload.
    pub(crate) received: Option<Box<Received>>,
}

/// Who is behind a NAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Nat {
    /// The peer speaks NAT traversal.
    pub(crate) supported: bool,
    /// We are.
    pub(crate) local: bool,
    /// The peer is.
    pub(crate) remote: bool,
    /// We claim so.
    pub(crate) forced: bool,
}

impl Nat {
    /// Whether ESP travels in UDP.
    pub(crate) fn encapsulates(self) -> bool {
        self.supported && (self.local || self.remote || self.forced)
    }
}

/// What all extensions add to a message.
pub(crate) fn offer(moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>) {
    for extension in ALL {
        extension.offer(moment, facts, out);
    }
}

/// What all extensions read from a message.
pub(crate) fn inspect(moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed) {
    for extension in ALL {
        extension.inspect(moment, facts, contents, agreed);
    }
}
