//! Extensions: one file each. A procedure calls the hooks of all of them through [`ALL`]; nobody
//! else names one, and none knows another.

mod auth_lifetime;
mod auth_methods;
mod childless;
mod clone;
pub(crate) mod configuration;
mod crash;
mod fragmentation;
mod full_transcript;
mod initial_contact;
mod intermediate;
pub(crate) mod mobike;
mod multiple_auth;
mod nat;
mod ppk;
mod redirect;
mod resumption;
mod signature_hashes;
mod window;

pub(crate) use auth_methods::{
    announcements as auth_announcements, methods_in, put_off as put_off_announcements,
};
pub(crate) use crash::{shows as shows_token, token as crash_token};
pub(crate) use intermediate::is_named as names_intermediate;
pub(crate) use multiple_auth::{announced as announced_rounds, follows as another_auth_follows};
pub(crate) use nat::{destination as nat_destination, payloads as nat_payloads, read as read_nat};
pub(crate) use ppk::{
    Ppk, PpkWay, Proposed as PpkProposal, UsedPpk, announces as announces_ppk, chosen as ppk_chosen,
    claims as ppk_claims, named as named_ppk, none_in_common as no_ppk_in_common, proposal as ppk_proposal,
};
pub(crate) use redirect::{Redirect, notify as redirect_notify};
pub(crate) use resumption::{TicketAnswer, asks as asks_for_ticket, request as ticket_request};
pub(crate) use window::{announcement as window_announcement, size as window_size};

use crate::contents::Contents;
use base::{Rng, Secret};
use crypto::{Spis, Suite};
use policy::{Connection, Identity};
use sa::{AnnouncedAuth, Memory, Path, Received, Settings};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::num::KeMethod;
use wire::{Notify, Payload};

/// Every extension that this implementation speaks.
const ALL: &[&dyn Extension] = &[
    &nat::NatTraversal,
    &fragmentation::Fragmentation,
    &full_transcript::FullTranscript,
    &intermediate::IntermediateExchange,
    &ppk::PostQuantumPresharedKeys,
    &signature_hashes::SignatureHashes,
    &auth_methods::SupportedAuthMethods,
    &multiple_auth::MultipleAuthentication,
    &childless::Childless,
    &clone::Cloning,
    &initial_contact::InitialContact,
    &window::WindowSize,
    &auth_lifetime::AuthLifetime,
    &redirect::Redirection,
    &crash::QuickCrashDetection,
    &configuration::ConfigurationPayload,
    &mobike::Mobike,
    &resumption::SessionResumption,
];

/// What an extension may do.
pub(crate) trait Extension: Sync {
    /// Adds what it has to say to a message of ours.
    fn offer(&self, moment: Moment, facts: &mut Facts<'_>, out: &mut Vec<Payload<'static>>);
    /// Reads what the peer's extension says.
    fn inspect(&self, moment: Moment, facts: &Facts<'_>, contents: &Contents<'_>, agreed: &mut Agreed);
    /// What a responder says to whoever it does not take in, though it could.
    fn turn(&self, _: &Guest<'_>) -> Option<Notify<'static>> {
        None
    }
    /// What is left of it for an IKE SA with new keys.
    fn renew(&self, _: &mut Agreed) {}
}

/// Whoever wants an IKE SA: before it proves who it is, or after.
pub(crate) struct Guest<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) client: IpAddr,
    /// Who it has proved to be.
    pub(crate) identity: Option<&'a Identity>,
    /// Its IKE_SA_INIT request, while that is being answered.
    pub(crate) first: Option<&'a Contents<'a>>,
    /// What it has said so far.
    pub(crate) agreed: &'a Agreed,
    /// How many IKE SAs stand.
    pub(crate) load: usize,
}

/// Which message is being made or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    InitRequest,
    InitResponse,
    /// The response to an IKE_INTERMEDIATE request of ours.
    Intermediate,
    AuthRequest,
    /// The response to the first IKE_AUTH request where another round of authentication follows (RFC 4739).
    FirstAuthResponse,
    /// The last response of IKE_AUTH.
    AuthResponse,
    /// An INFORMATIONAL request of an IKE SA that stands.
    Told,
    /// The response to an INFORMATIONAL request of ours.
    Heard,
    /// New keys: the response to our request for them, or what is told first under them.
    Renewed,
}

/// What extensions may know of the message and its IKE SA.
pub(crate) struct Facts<'a> {
    pub(crate) suite: &'a dyn Suite,
    pub(crate) settings: &'a Settings,
    pub(crate) rng: &'a mut dyn Rng,
    /// As they stand in the message's header.
    pub(crate) spis: Spis,
    /// The path that the message takes or took.
    pub(crate) path: Path,
    /// The connection, or as responder before IKE_AUTH the first that may be meant.
    pub(crate) connection: &'a Connection,
    /// What the peer has said so far.
    pub(crate) agreed: &'a Agreed,
    /// The host's own addresses.
    pub(crate) addresses: &'a [IpAddr],
    /// Whether this is our only IKE SA with the peer.
    pub(crate) first_contact: bool,
    /// The first exchange is IKE_SESSION_RESUME, not IKE_SA_INIT.
    pub(crate) resumes: bool,
}

/// What the extensions have found out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreed {
    pub(crate) nat: Nat,
    /// The peer reassembles fragments.
    pub(crate) fragmentation: bool,
    /// AUTH covers both messages of IKE_SA_INIT.
    pub(crate) full_transcript: bool,
    /// In an IKE SA that CREATE_CHILD_SA has made: what withstands a quantum computer in the keys that its own come of.
    pub(crate) post_quantum: Option<KeMethod>,
    /// The peer speaks IKE_INTERMEDIATE.
    pub(crate) intermediate: bool,
    /// Post-quantum pre-shared keys.
    pub(crate) ppk: Ppk,
    /// The hashes that the peer takes in signatures; empty: it does not speak RFC 7427.
    pub(crate) hashes: Vec<u16>,
    /// How the peer lets us prove who we are, the way that it likes best first, a list for each of its notifications; empty: it
    /// does not say. They go with our last proof.
    pub(crate) auth_methods: Vec<Vec<AnnouncedAuth>>,
    /// How we let the peer prove who it is, where that had no room in our IKE_SA_INIT response and was not told since.
    pub(crate) announcement: Vec<Notify<'static>>,
    /// Both support several authentications in a row, as far as they have said; before IKE_SA_INIT is answered: we do with a
    /// connection that may be meant.
    pub(crate) multiple_auth: bool,
    /// The peer takes an IKE_AUTH without a child SA.
    pub(crate) childless: bool,
    /// Another IKE SA may stand beside this one without another proof.
    pub(crate) cloning: bool,
    /// The peer has no other IKE SA with us.
    pub(crate) initial_contact: bool,
    /// Requests that the peer takes at once.
    pub(crate) window: u32,
    /// The time within which the peer wants us to prove anew who we are.
    pub(crate) auth_lifetime: Option<Duration>,
    /// The peer follows a REDIRECT.
    pub(crate) redirectable: bool,
    /// The gateway that has sent the client here.
    pub(crate) redirected_from: Option<IpAddr>,
    /// Where the peer sends us.
    pub(crate) redirect: Option<Redirect>,
    /// By this the peer shows that it has forgotten the IKE SA.
    pub(crate) token: Option<Secret>,
    /// And by this, when the new keys are in use.
    pub(crate) next_token: Option<Secret>,
    /// What the peer asks for by a configuration payload.
    pub(crate) asked: Option<Arc<configuration::Asked>>,
    /// What the peer has told of addresses before.
    pub(crate) memory: Memory,
    /// Whether the peer has IPv4 and IPv6 addresses, where it says so.
    pub(crate) families: Option<(bool, bool)>,
    /// What the peer gave us by a configuration payload.
    pub(crate) received: Option<Box<Received>>,
    /// Both may change their addresses; the peer's.
    pub(crate) mobike: Option<Vec<IpAddr>>,
    /// The peer forbids NATs, and there is one.
    pub(crate) unexpected_nat: bool,
    /// How long ago both proved who they are, where the IKE SA is one that was resumed.
    pub(crate) proven_for: Duration,
    /// The peer asks for a ticket.
    pub(crate) ticket_wanted: bool,
    /// What the peer says to our request for a ticket.
    pub(crate) ticket: Option<TicketAnswer>,
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

/// What a responder says to whoever it does not take in.
pub(crate) fn turn(guest: &Guest<'_>) -> Option<Notify<'static>> {
    ALL.iter().find_map(|extension| extension.turn(guest))
}

/// Takes what was agreed over to an IKE SA with new keys.
pub(crate) fn renew(agreed: &mut Agreed) {
    for extension in ALL {
        extension.renew(agreed);
    }
}
