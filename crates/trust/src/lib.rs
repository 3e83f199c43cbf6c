//! Private keys, PSKs and certificate paths: asked by [`sa::Job`], answers by [`sa::Answer`].
//!
//! [`Trust`] holds the [`Secrets`] of one daemon and answers jobs as a pure function of them, of the
//! [`policy::Policy`] and of the job; it may run in a thread or in a process of its own. Bytes come in, never
//! files: whoever reads files turns them into [`policy::Certificate`]s by [`certificates`] and into
//! [`crypto::SigningKey`]s by [`private_key`] and the provider's loader.
#![forbid(unsafe_code)]

mod algorithm;
mod certificate;
mod check;
mod der;
mod facts;
mod key;
pub mod limits;
mod path;
mod pem;
mod ppk;
mod prove;
mod psk;
mod raw;
mod revocation;
mod secrets;
mod signature;
mod text;
mod trust;

pub use certificate::{certificate, certificates, identities, identity_in_certificate};
pub use facts::{Facts, facts, key_kind};
pub use key::{KeyFormat, PrivateKey, private_key};
pub use policy::{dn_equal, dn_from_text, dn_to_text};
pub use raw::public_keys;
pub use revocation::{Answered, CrlFacts, Evidence, Fetched, Request, Step, crl_facts, crls, is_http};
pub use secrets::Secrets;
pub use text::Malformed;
pub use trust::Trust;
