//! Identities of peers (RFC 7296 §3.5).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Who a peer says it is: the ID payload, parsed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN, without a trailing dot.
    Fqdn(String),
    /// ID_RFC822_ADDR.
    Email(String),
    /// ID_DER_ASN1_DN: the DER of a Name.
    Dn(Vec<u8>),
    /// ID_DER_ASN1_GN: the DER of a GeneralName.
    Gn(Vec<u8>),
    /// ID_KEY_ID: opaque octets.
    KeyId(Vec<u8>),
    /// ID_NULL (RFC 7619).
    Null,
    /// A type that we do not know, with its octets.
    Other(u8, Vec<u8>),
}

/// Which identities a connection accepts from its peer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum IdPattern {
    /// Any identity (that authenticates).
    Any,
    /// Just this one.
    Is(Identity),
    /// `*.example.org`: one or more labels below a domain.
    FqdnBelow(String),
    /// `*@example.org`: any mailbox of a domain.
    EmailAt(String),
    /// In a second round of authentication: whoever the first one has shown. Fits nobody before that is known.
    OfFirstRound,
}

impl IdPattern {
    /// What is wanted of a peer whose first round has shown `first`.
    pub fn after(&self, first: &Identity) -> Self {
        match self {
            IdPattern::OfFirstRound => IdPattern::Is(first.clone()),
            other => other.clone(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |f: &mut fmt::Formatter<'_>, tag: &str, octets: &[u8]| {
            write!(f, "{tag}:")?;
            octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
        };
        match self {
            Identity::Ipv4(a) => a.fmt(f),
            Identity::Ipv6(a) => a.fmt(f),
            Identity::Fqdn(name) | Identity::Email(name) => write!(f, "{}", name.escape_debug()),
            Identity::Dn(der) => match crate::dn_to_text(der) {
                Some(text) => f.write_str(&text),
                None => hex(f, "dn", der),
            },
            Identity::Gn(der) => hex(f, "gn", der),
            Identity::KeyId(octets) => match std::str::from_utf8(octets) {
                Ok(text) if !text.is_empty() => write!(f, "keyid:{}", text.escape_debug()),
                _ => hex(f, "keyid", octets),
            },
            Identity::Null => f.write_str("anonymous"),
            Identity::Other(kind, octets) => hex(f, &format!("id{kind}"), octets),
        }
    }
}

impl fmt::Display for IdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdPattern::Any => f.write_str("%any"),
            IdPattern::Is(identity) => identity.fmt(f),
            IdPattern::FqdnBelow(domain) => write!(f, "*.{domain}"),
            IdPattern::EmailAt(domain) => write!(f, "*@{domain}"),
            IdPattern::OfFirstRound => f.write_str("the identity of the first round"),
        }
    }
}
