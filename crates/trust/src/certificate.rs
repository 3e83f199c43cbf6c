//! Certificates (RFC 5280): reading them, and the identities they stand for.

use crate::limits::{MAX_ALTERNATIVE_NAMES, MAX_CERTIFICATE, MAX_PEM_CERTIFICATES};
use crate::pem::{self, is_pem};
use crate::text::{Malformed, clip, quote};
use crypto::Suite;
use policy::{Certificate, Identity, dn_to_text, same_identity};
use std::net::{Ipv4Addr, Ipv6Addr};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificates in `bytes`, in order: DER of one, or PEM of any number (a chain, or a bundle of
/// authorities); other sections of the PEM, such as a private key, are passed over.
///
/// # Errors
/// A sentence that says which certificate cannot be read and why, or that there is none.
pub fn certificates(suite: &dyn Suite, bytes: &[u8]) -> Result<Vec<Certificate>, Malformed> {
    if !is_pem(bytes) {
        return Ok(vec![certificate(suite, bytes)?]);
    }
    let mut found = Vec::new();
    for section in pem::sections(bytes) {
        let section = section?;
        if !matches!(section.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE") {
            continue;
        }
        if found.len() == MAX_PEM_CERTIFICATES {
            return Err(Malformed(format!("the file has more than {MAX_PEM_CERTIFICATES} certificates")));
        }
        let number = found.len() + 1;
        let one = certificate(suite, section.der.expose());
        found.push(one.map_err(|error| Malformed(format!("certificate {number} of the file: {error}")))?);
    }
    if found.is_empty() {
        return Err(Malformed("the file has no certificate".into()));
    }
    Ok(found)
}

/// The certificate whose DER `der` is.
///
/// # Errors
/// A sentence that says why it cannot be read.
pub fn certificate(suite: &dyn Suite, der: &[u8]) -> Result<Certificate, Malformed> {
    if der.len() > MAX_CERTIFICATE {
        return Err(Malformed(format!(
            "a certificate of {} octets is longer than {MAX_CERTIFICATE}",
            der.len()
        )));
    }
    let parsed = parse(der).ok_or_else(|| Malformed("it is not the DER of an X.509 certificate".into()))?;
    Ok(Certificate {
        der: der.into(),
        subject: name(parsed.subject().as_raw()).into(),
        spki_sha1: suite.sha1(&[parsed.public_key().raw]),
    })
}

/// The identities that `certificate` stands for: its subject (unless empty) and those of its
/// subjectAltNames that an ID payload can carry, in their order.
pub fn identities(certificate: &Certificate) -> Vec<Identity> {
    parse(&certificate.der).map(|parsed| identities_of(&parsed)).unwrap_or_default()
}

/// Whether `id` is one of the identities of `certificate`, exactly and by type (RFC 7296 §3.5, RFC 4945 §3.1):
/// an FQDN must be a dNSName, an e-mail address an rfc822Name, an address an iPAddress of the
/// subjectAltName extension, a DN the subject. The CN of the subject is no FQDN, and a wildcard in a dNSName is
/// no name of a gateway: both would let a certificate speak for names that its authority may not have checked.
///
/// # Errors
/// A sentence that says which identities the certificate has.
pub fn identity_in_certificate(id: &Identity, certificate: &Certificate) -> Result<(), String> {
    let known = identities(certificate);
    if known.iter().any(|found| same(found, id)) {
        return Ok(());
    }
    let listed: Vec<_> = known.iter().take(6).map(|id| quote(&id.to_string())).collect();
    let kind = match id {
        Identity::Ipv4(_) | Identity::Ipv6(_) => "an iPAddress in the subjectAltName",
        Identity::Fqdn(_) => "a dNSName in the subjectAltName",
        Identity::Email(_) => "an rfc822Name in the subjectAltName",
        Identity::Dn(_) => "the subject",
        _ => {
            return Err(format!(
                "an identity of the type of {} cannot be in a certificate; use one of {}",
                quote(&id.to_string()),
                listed.join(", ")
            ));
        }
    };
    Err(format!(
        "the certificate {} is not for the identity {}, which would have to be {kind}; it is for {}",
        quote(&certificate.subject),
        quote(&id.to_string()),
        if listed.is_empty() { "nobody".into() } else { listed.join(", ") },
    ))
}

/// The SubjectPublicKeyInfo of a certificate.
pub(crate) fn public_key(der: &[u8]) -> Option<&[u8]> {
    parse(der).map(|parsed| parsed.tbs_certificate.subject_pki.raw)
}

/// A certificate that is DER to its last octet.
pub(crate) fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) if der.len() <= MAX_CERTIFICATE => Some(parsed),
        _ => None,
    }
}

/// A Name as people write it.
pub(crate) fn name(der: &[u8]) -> String {
    match dn_to_text(der) {
        Some(text) if text.is_empty() => "(no subject)".into(),
        Some(text) => clip(&text, 2 * crate::limits::MAX_TEXT),
        None => "(unreadable name)".into(),
    }
}

fn identities_of(parsed: &X509Certificate<'_>) -> Vec<Identity> {
    let subject = parsed.subject().as_raw();
    let mut all = Vec::new();
    if parsed.subject().iter().next().is_some() {
        all.push(Identity::Dn(subject.to_vec()));
    }
    if let Ok(Some(names)) = parsed.subject_alternative_name() {
        all.extend(names.value.general_names.iter().take(MAX_ALTERNATIVE_NAMES).filter_map(identity));
    }
    all
}

fn identity(name: &GeneralName<'_>) -> Option<Identity> {
    Some(match name {
        GeneralName::DNSName(name) => Identity::Fqdn((*name).to_owned()),
        GeneralName::RFC822Name(name) => Identity::Email((*name).to_owned()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => Identity::Ipv4(Ipv4Addr::from(<[u8; 4]>::try_from(*octets).ok()?)),
            16 => Identity::Ipv6(Ipv6Addr::from(<[u8; 16]>::try_from(*octets).ok()?)),
            _ => return None,
        },
        GeneralName::DirectoryName(name) => Identity::Dn(name.as_raw().to_vec()),
        _ => return None,
    })
}

/// A dNSName with a wildcard names no gateway, whatever the peer says.
fn same(found: &Identity, id: &Identity) -> bool {
    let wildcard = matches!(found, Identity::Fqdn(name) if name.contains('*'));
    !wildcard && same_identity(found, id)
}
