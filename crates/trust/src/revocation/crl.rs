//! CRLs (RFC 5280 §5).
//!
//! webpki reads them, and refuses delta and indirect CRLs, critical extensions that it does not know, and lists for some
//! reasons only. Signature, scope and dates are checked here, so that each refusal can be told.

use super::{Named, Pair, Revoked, Status, Told, check_current, wall};
use crate::certificate::name;
use crate::der::{Fields, explicit, implicit};
use crate::limits::{MAX_CRL, MAX_PEM_CRLS};
use crate::pem::{self, is_pem};
use crate::signature::Signed;
use crate::text::{Malformed, quote};
use base::WallClock;
use crypto::Suite;
use pkcs8::der::Tag;
use policy::Crl;
use webpki::{BorrowedCertRevocationList, CertRevocationList, Error};

/// The CRLs in `bytes`, in order: DER of one, or PEM of any number (`X509 CRL`); other sections of the PEM are passed over.
///
/// # Errors
/// A sentence that says which CRL cannot be used and why, or that there is none.
pub fn crls(bytes: &[u8]) -> Result<Vec<Crl>, Malformed> {
    if !is_pem(bytes) {
        return Ok(vec![one(bytes).map_err(Malformed)?]);
    }
    let mut found = Vec::new();
    for section in pem::sections(bytes) {
        let section = section?;
        if section.label != "X509 CRL" {
            continue;
        }
        if found.len() == MAX_PEM_CRLS {
            return Err(Malformed(format!("the file has more than {MAX_PEM_CRLS} CRLs")));
        }
        let number = found.len() + 1;
        let crl =
            one(section.der.expose()).map_err(|why| Malformed(format!("CRL {number} of the file: {why}")))?;
        found.push(crl);
    }
    if found.is_empty() {
        return Err(Malformed("the file has no CRL".into()));
    }
    Ok(found)
}

fn one(der: &[u8]) -> Result<Crl, String> {
    let list = List::read(der)?;
    Ok(Crl { der: der.into(), issuer: name(list.issuer).into() })
}

/// What a configuration check wants to know of a CRL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrlFacts {
    /// When the next one comes: from then on this one tells nothing.
    pub next_update: WallClock,
}

/// The facts of `crl`; `None` when it cannot be read.
pub fn crl_facts(crl: &Crl) -> Option<CrlFacts> {
    let next_update = wall(List::read(&crl.der).ok()?.next_update)?;
    Some(CrlFacts { next_update })
}

/// What the CRL `der` says of a certificate.
///
/// # Errors
/// Why it says nothing, to follow `… is of no use:`.
pub(super) fn ask(suite: &dyn Suite, pair: &Pair<'_>, der: &[u8], now: WallClock) -> Result<Told, String> {
    let list = List::read(der)?;
    if list.issuer != pair.certificate.issuer().as_raw() {
        return Err(format!(
            "it is of {}, not of {}",
            quote(&name(list.issuer)),
            quote(&name(pair.certificate.issuer().as_raw()))
        ));
    }
    //= rfc5280 §6.3.3
    //# If a key usage extension is present in the CRL issuer's certificate, verify that the cRLSign bit is set.
    match pair.issuer.key_usage() {
        Ok(None) => {}
        Ok(Some(usage)) if usage.value.crl_sign() => {}
        _ => return Err("its issuer's key usage does not allow cRLSign".into()),
    }
    list.signed.check(suite, pair.issuer_spki()).map_err(|why| format!("its signature {why}"))?;
    list.check_scope(pair)?;
    let serial = pair.certificate.raw_serial();
    let found = list.parsed.find_serial(serial).map_err(|error| unusable(&error))?;
    let current = check_current(list.this_update, list.next_update, now);
    let status = match found {
        None => Status::Good,
        Some(entry) => Status::Revoked(Revoked {
            when: i64::try_from(entry.revocation_date.as_secs()).unwrap_or(i64::MAX),
            reason: entry.reason_code.map(|reason| reason as u8),
        }),
    };
    match status {
        // Only a hold ends: whatever else was revoked once stays so.
        Status::Revoked(revoked) if revoked.reason != Some(Revoked::HOLD) => {}
        _ => current?,
    }
    Ok(Told { status, until: wall(list.next_update) })
}

/// A CRL that was read.
struct List<'a> {
    parsed: CertRevocationList<'a>,
    signed: Signed<'a>,
    /// A Name.
    issuer: &'a [u8],
    this_update: i64,
    next_update: i64,
}

impl<'a> List<'a> {
    fn read(der: &'a [u8]) -> Result<Self, String> {
        if der.len() > MAX_CRL {
            return Err(format!("it has {} octets, more than {MAX_CRL}", der.len()));
        }
        let unreadable = || "it is not the DER of a CRL".to_owned();
        let mut outer = Fields::of(der).ok_or_else(unreadable)?;
        let signed = Signed::read(&mut outer).ok_or_else(unreadable)?;
        let mut fields = Fields::of(signed.message).ok_or_else(unreadable)?;
        if fields.maybe(Tag::Integer).is_none() {
            return Err(unusable(&Error::UnsupportedCrlVersion));
        }
        fields.next(Tag::Sequence).ok_or_else(unreadable)?;
        let issuer = fields.next(Tag::Sequence).ok_or_else(unreadable)?.whole;
        let this_update = fields.time().ok_or_else(unreadable)?;
        //= rfc5280 §5.1.2.5
        //# Conforming CRL issuers MUST include the nextUpdate field in all CRLs.
        let next_update = fields.time().ok_or("it does not say when the next one comes (nextUpdate)")?;
        let parsed = BorrowedCertRevocationList::from_der(der).map_err(|error| unusable(&error))?;
        Ok(Self { parsed: parsed.into(), signed, issuer, this_update, next_update })
    }

    /// Whether the certificate is of those that the list is for (RFC 5280 §6.3.3 (b) (2)).
    fn check_scope(&self, pair: &Pair<'_>) -> Result<(), String> {
        let Some(mut rest) = self.parsed.issuing_distribution_point().and_then(Fields::of) else {
            return Ok(());
        };
        let named = Named::crls(&pair.certificate);
        let mut listed = !named.any;
        while let Some(field) = rest.any() {
            let set = field.content.first().is_some_and(|octet| *octet != 0);
            match field.tag {
                tag if tag == explicit(0) => {
                    let mut names = field.fields().next(explicit(0)).map(|names| names.fields());
                    while let Some(one) = names.as_mut().and_then(Fields::any) {
                        listed |= one.tag == implicit(6) && named.has(one.content);
                    }
                }
                tag if tag == implicit(1) && set && pair.is_authority() => {
                    return Err("it is for certificates of users, not of authorities".into());
                }
                tag if tag == implicit(2) && set && !pair.is_authority() => {
                    return Err("it is for certificates of authorities, not of users".into());
                }
                _ => {}
            }
        }
        match listed {
            true => Ok(()),
            false => Err("it is for another distribution point than those of the certificate".into()),
        }
    }
}

fn unusable(error: &Error) -> String {
    match error {
        Error::UnsupportedDeltaCrl => "it is a delta CRL, which cannot be used here: give the complete one".into(),
        Error::UnsupportedIndirectCrl => "it is an indirect CRL, which cannot be used here".into(),
        Error::UnsupportedCrlVersion => {
            "it is not of version 2, as RFC 5280 §5.1.2.1 demands; have the authority write CRLs with extensions".into()
        }
        Error::UnsupportedRevocationReasonsPartitioning => "it is for some reasons of revocation only".into(),
        Error::UnsupportedCrlIssuingDistributionPoint => {
            "its issuing distribution point is of a kind that is not known here".into()
        }
        Error::UnsupportedCriticalExtension => {
            "it has a critical extension that is not known here, and RFC 5280 §5.2 forbids to use it then".into()
        }
        other => format!("it is malformed ({})", quote(&format!("{other:?}"))),
    }
}
