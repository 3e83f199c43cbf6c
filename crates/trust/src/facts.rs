//! What a configuration check wants to know of a certificate and of a public key.

use crate::algorithm::KeyKind;
use crate::certificate::parse;
use base::WallClock;
use policy::Certificate;

/// Some facts of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The first second of its validity.
    pub not_before: WallClock,
    /// The last.
    pub not_after: WallClock,
    /// Whether it may issue others: basicConstraints with CA, or X.509 v1, which has no extensions.
    pub is_authority: bool,
    /// Whether subject and issuer are the same.
    pub self_issued: bool,
    /// Its SubjectPublicKeyInfo in DER.
    pub spki: Vec<u8>,
}

/// The facts of `certificate`; `None` when it is not the DER of one.
pub fn facts(certificate: &Certificate) -> Option<Facts> {
    let parsed = parse(&certificate.der)?;
    let second = |timestamp: i64| WallClock(u64::try_from(timestamp).unwrap_or(0));
    let validity = parsed.validity();
    let constraints = parsed.basic_constraints().ok().flatten();
    Some(Facts {
        not_before: second(validity.not_before.timestamp()),
        not_after: second(validity.not_after.timestamp()),
        is_authority: constraints.map_or(parsed.version.0 == 0, |constraints| constraints.value.ca),
        self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
        spki: parsed.public_key().raw.to_vec(),
    })
}

/// What kind of key the SubjectPublicKeyInfo `spki` holds, as people call it, and whether it withstands a quantum computer:
/// `RSA 2048`, `ML-DSA-65, post-quantum`. `None` when it is of no kind that is known here.
pub fn key_kind(spki: &[u8]) -> Option<String> {
    let kind = KeyKind::of(spki).ok()?;
    Some(match kind {
        KeyKind::MlDsa(_) => format!("{}, post-quantum", kind.name()),
        _ => kind.name(),
    })
}
