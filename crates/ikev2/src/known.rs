//! What is known of an IKE SA, for `status` and the log.

use crate::child::ChildSa;
use crate::established::Identities;
use crate::ext::configuration::Leases;
use policy::{Besides, Connection, Identity, IkeSuite, PostQuantum};
use sa::Proven;
use wire::num::KeMethod;

/// What a stage knows of its IKE SA, for people.
#[derive(Default)]
pub(crate) struct Known<'a> {
    pub(crate) connection: Option<&'a Connection>,
    /// Who we say we are, while it is not known who the peer is.
    pub(crate) local_id: Option<&'a Identity>,
    pub(crate) identities: Option<&'a Identities>,
    pub(crate) suite: Option<IkeSuite>,
    /// The identity of the PPK that is in the keys.
    pub(crate) ppk: Option<&'a str>,
    /// What withstands a quantum computer in the keys that its own come of.
    pub(crate) before: Option<KeMethod>,
    /// AUTH covered both messages of IKE_SA_INIT.
    pub(crate) full_transcript: bool,
    pub(crate) nat_local: bool,
    pub(crate) nat_remote: bool,
    pub(crate) fragmentation: bool,
    pub(crate) resumed: bool,
    /// We hold a ticket.
    pub(crate) ticket: bool,
    pub(crate) children: &'a [ChildSa],
    pub(crate) leases: Option<&'a Leases>,
}

impl Known<'_> {
    pub(crate) fn local_id(&self) -> Option<Identity> {
        self.identities.map(|both| &both.local).or(self.local_id).cloned()
    }

    pub(crate) fn remote_id(&self) -> Option<Identity> {
        self.identities.map(|both| both.remote.clone())
    }

    /// What we and the peer have proved.
    pub(crate) fn proven(&self) -> (Vec<Proven>, Vec<Proven>) {
        self.identities.map(|both| (both.ours.clone(), both.theirs.clone())).unwrap_or_default()
    }

    /// Whether the IKE SA withstands a quantum computer; `None` while its suite or its connection is not known.
    pub(crate) fn post_quantum(&self) -> Option<PostQuantum> {
        let proposals = &self.connection?.proposals;
        let besides = Besides { ppk: self.ppk, before: self.before, whole: self.full_transcript };
        Some(PostQuantum::of(self.suite.as_ref()?, proposals, besides))
    }
}
