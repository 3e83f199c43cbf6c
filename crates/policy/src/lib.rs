//! Validated configuration, and the pure deciders over it. After `config` no string that means
//! something else, no default and no `Option` that means "default" is left.
#![forbid(unsafe_code)]

mod choose;
mod configuration;
mod connection;
mod cover;
mod dn;
mod explain;
mod extensions;
mod identity;
pub mod keyword;
mod lifetime;
pub mod limits;
mod matching;
mod narrow;
mod offer;
mod post_quantum;
mod ppk;
mod proposal;
mod revocation;
mod select;
mod shunt;
mod text;

pub use choose::{ChildKe, Choice, IkeKe, choose_child, choose_ike, is_aead};
pub use configuration::{
    Configuration, DnsName, Domain, Leased, Pool, Reservation, SplitDns, TrustAnchor, address_in, link_local,
};
pub use connection::{
    AddressPattern, AuthMethod, Certificate, Child, Connection, ConnectionId, EncapChoice, EndAction,
    LocalAuth, Policy, PublicKey, RemoteAuth, Round, SendCert, StartAction, Unique,
};
pub use cover::within;
pub use dn::{dn_equal, dn_from_text, dn_to_text};
pub use explain::{Mismatch, NearestProposal, NoProposal};
pub use extensions::{Childless, Extensions, Gateway, Redirect};
pub use identity::{IdPattern, Identity};
pub use lifetime::{ChildLifetime, IkeLifetime, Volume};
pub use matching::{Closeness, closeness, kind, match_identity, same_identity};
pub use narrow::{
    Ends, Narrowed, Sides, TsRefusal, accept_narrowed, accept_rekeyed, narrow, narrow_for_rekey, packet_of,
    propose, propose_pair, select_child,
};
pub use offer::{BadAnswer, accept_child, accept_ike, child_offers, first_ke, ike_offers};
pub use post_quantum::{Besides, PostQuantum, is_post_quantum, post_quantum_only};
pub use ppk::{PpkPattern, Ppks};
pub use proposal::{
    ADDITIONAL, Additional, ChildSuite, IkeSuite, Offer, Proposal, Transform, without_additional,
};
pub use revocation::{Crl, Demand, Places, Revocation};
pub use select::{Announced, Claims, NoConnection, by_claims, candidates};
pub use shunt::{Shunt, ShuntAction};
pub use text::{ProposalError, default_esp, default_ike, nearest, parse_esp, parse_ike};
