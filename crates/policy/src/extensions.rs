//! What a connection does of the extensions of IKEv2.

use crate::{IdPattern, Ppks};
use dataplane::AddressRange;
use std::fmt;
use std::net::IpAddr;

/// The extensions of one connection.
#[derive(Clone, Debug)]
pub struct Extensions {
    /// `childless`: IKE SAs without a first child SA (RFC 6023).
    pub childless: Childless,
    /// `full_transcript_auth`: whether each side proves both messages of IKE_SA_INIT where the peer does so too
    /// (draft-ietf-ipsecme-ikev2-downgrade-prevention).
    pub full_transcript: bool,
    /// `clone_ike_sa`: whether either side may make further IKE SAs without another proof of who it is (RFC 7791).
    pub cloning: bool,
    /// `follow_redirects`: whether a gateway may send us on to another one (RFC 5685).
    pub follow_redirects: bool,
    /// `resumption`: tickets by which a lost IKE SA is taken up again (RFC 5723): asked for, used and given.
    pub resumption: bool,
    /// `require_pq`: whether an IKE SA must withstand a quantum computer. The connection's proposals have no others then,
    /// unless a PPK is required.
    pub require_pq: bool,
    /// `ppk_id`, `ppk_required`: the post-quantum pre-shared keys that are mixed in (RFC 8784, RFC 9867).
    pub ppk: Ppks,
    /// `redirect_to` and what goes with it: where we send clients on to.
    pub redirect: Option<Redirect>,
}

impl Default for Extensions {
    fn default() -> Self {
        // A resumed IKE SA has no key exchange of its own, and who gets the secret behind the tickets reads what it carries.
        let resumption = false;
        let childless = Childless::Allow;
        let (full_transcript, cloning, follow_redirects, require_pq) = (true, false, true, false);
        let (ppk, redirect) = (Ppks::default(), None);
        Self { childless, full_transcript, cloning, follow_redirects, resumption, require_pq, ppk, redirect }
    }
}

/// `childless`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Childless {
    /// As responder yes; as initiator only where there is no child to make.
    Allow,
    /// As initiator wherever the peer can: all children are made by CREATE_CHILD_SA, each with a key exchange of its own.
    Prefer,
    /// In both roles nothing else.
    Force,
    /// In neither role.
    Never,
}

/// Which clients are sent on, and where to (RFC 5685).
#[derive(Clone, Debug)]
pub struct Redirect {
    /// The gateway that serves them.
    pub to: Gateway,
    /// Clients at these addresses; empty: at any.
    pub clients: Vec<AddressRange>,
    /// Clients that have proved to be one of these; empty: whoever they are, before they prove anything.
    pub ids: Vec<IdPattern>,
    /// Only when so many IKE SAs stand already; zero: always.
    pub above: usize,
}

impl Redirect {
    /// Whether a client at that address is sent on, when `load` IKE SAs stand. `identity`: who it has proved to be.
    pub fn applies(&self, client: IpAddr, identity: Option<&crate::Identity>, load: usize) -> bool {
        let here = self.clients.is_empty() || self.clients.iter().any(|range| range.contains(client));
        let fits = |identity| self.ids.iter().any(|id| crate::match_identity(id, identity).is_ok());
        let meant = match identity {
            None => self.ids.is_empty(),
            Some(identity) => fits(identity),
        };
        here && meant && load >= self.above
    }
}

/// How a message names a gateway.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Gateway {
    /// By its address.
    Address(IpAddr),
    /// By its DNS name.
    Name(String),
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    #[test]
    fn a_rule_means_addresses_identities_and_load() {
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let to = Gateway::Address([198, 51, 100, 3].into());
        let all = Redirect { to, clients: Vec::new(), ids: Vec::new(), above: 0 };
        assert!(all.applies(one, None, 0));
        let some = Redirect { clients: vec![AddressRange::host(one)], ..all.clone() };
        assert!(some.applies(one, None, 0) && !some.applies(other, None, 0));
        let full = Redirect { above: 2, ..all.clone() };
        assert!(!full.applies(one, None, 1) && full.applies(one, None, 2));
        let alice = Identity::Fqdn("alice.example".to_string());
        let named = Redirect { ids: vec![IdPattern::Is(alice.clone())], ..all };
        assert!(!named.applies(one, None, 9), "not before it has proved anything");
        assert!(named.applies(one, Some(&alice), 0));
        assert!(!named.applies(one, Some(&Identity::Fqdn("bob.example".to_string())), 0));
    }
}
