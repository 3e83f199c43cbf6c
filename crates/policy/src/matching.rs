//! Whether an identity is one that a connection accepts.

use crate::limits::SHOWN_IDENTITY;
use crate::{IdPattern, Identity, dn_equal};

/// How well an identity fits a pattern; more is closer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Closeness {
    /// The pattern is `%any`.
    Any,
    /// The pattern has a wildcard.
    Wildcard,
    /// The pattern is this very identity.
    Exact,
}

/// How closely `identity` fits `pattern`, if it does. FQDNs and the domains of e-mail addresses
/// compare without regard to case, DNs as RFC 5280 §7.1 says.
pub fn closeness(pattern: &IdPattern, identity: &Identity) -> Option<Closeness> {
    match (pattern, identity) {
        (IdPattern::Any, _) => Some(Closeness::Any),
        (IdPattern::Is(wanted), given) => same_identity(wanted, given).then_some(Closeness::Exact),
        (IdPattern::FqdnBelow(domain), Identity::Fqdn(name)) => {
            is_below(name, domain).then_some(Closeness::Wildcard)
        }
        (IdPattern::EmailAt(domain), Identity::Email(address)) => {
            let (mailbox, at) = address.rsplit_once('@')?;
            (!mailbox.is_empty() && same_domain(at, domain)).then_some(Closeness::Wildcard)
        }
        _ => None,
    }
}

/// As [`closeness`]; the error says what was wanted and what came.
///
/// # Errors
/// A part of a sentence: `the identity is …, wanted is …`.
pub fn match_identity(pattern: &IdPattern, identity: &Identity) -> Result<Closeness, String> {
    if let Some(closeness) = closeness(pattern, identity) {
        return Ok(closeness);
    }
    let (wanted, given) = (shorten(&pattern.to_string()), shorten(&identity.to_string()));
    let mut why = format!("the identity is {given} ({}), wanted is {wanted}", kind(identity));
    if let IdPattern::Is(wanted) = pattern
        && kind(wanted) != kind(identity)
    {
        // `gw.example.org` as key id and as FQDN look the same and are not.
        why.push_str(&format!(" ({})", kind(wanted)));
    }
    Err(why)
}

/// Whether both are the same identity.
pub fn same_identity(a: &Identity, b: &Identity) -> bool {
    match (a, b) {
        (Identity::Fqdn(a), Identity::Fqdn(b)) => same_domain(a, b),
        (Identity::Email(a), Identity::Email(b)) => match (a.rsplit_once('@'), b.rsplit_once('@')) {
            //= rfc5280 §7.5
            // The mailbox counts by case, its domain does not.
            (Some((mailbox_a, at_a)), Some((mailbox_b, at_b))) => {
                mailbox_a == mailbox_b && same_domain(at_a, at_b)
            }
            _ => a == b,
        },
        (Identity::Dn(a), Identity::Dn(b)) => dn_equal(a, b),
        _ => a == b,
    }
}

/// Of what kind an identity is, as RFC 7296 §3.5 names it.
pub fn kind(identity: &Identity) -> &'static str {
    match identity {
        Identity::Ipv4(_) => "ID_IPV4_ADDR",
        Identity::Ipv6(_) => "ID_IPV6_ADDR",
        Identity::Fqdn(_) => "ID_FQDN",
        Identity::Email(_) => "ID_RFC822_ADDR",
        Identity::Dn(_) => "ID_DER_ASN1_DN",
        Identity::Gn(_) => "ID_DER_ASN1_GN",
        Identity::KeyId(_) => "ID_KEY_ID",
        Identity::Null => "ID_NULL",
        Identity::Other(..) => "an unknown type",
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let Some(split) = name.len().checked_sub(domain.len()) else { return false };
    let (Some(label), Some(rest)) = (name.get(..split), name.get(split..)) else { return false };
    label.strip_suffix('.').is_some_and(|label| !label.is_empty()) && rest.eq_ignore_ascii_case(domain)
}

fn same_domain(a: &str, b: &str) -> bool {
    a.strip_suffix('.').unwrap_or(a).eq_ignore_ascii_case(b.strip_suffix('.').unwrap_or(b))
}

/// Text for a sentence: a peer chose it, and it may be of any length.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_IDENTITY) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or("")),
        None => format!("`{text}`"),
    }
}
