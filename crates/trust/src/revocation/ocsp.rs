//! OCSP (RFC 6960): the request for one certificate, and the basic response.

use super::{Pair, Revoked, Status, Told, check_current, seconds, wall};
use crate::certificate::parse;
use crate::der::{Field, Fields, explicit, implicit, sequence, value};
use crate::limits::{CLOCK_SKEW, MAX_OCSP, MAX_OCSP_ANSWERS, MAX_OCSP_CERTIFICATES, OCSP_FRESH};
use crate::path::{check_usable, check_validity};
use crate::signature::Signed;
use crate::text::date;
use base::WallClock;
use crypto::Suite;
use pkcs8::der::Tag;
use std::fmt;
use std::sync::Arc;

/// Why a response says nothing of a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Problem {
    /// It is about other certificates.
    AboutAnother,
    /// Anything else, to follow `… is of no use:`.
    Other(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::AboutAnother => f.write_str("it answers about other certificates"),
            Problem::Other(why) => f.write_str(why),
        }
    }
}

impl From<String> for Problem {
    fn from(why: String) -> Self {
        Problem::Other(why)
    }
}

impl From<&str> for Problem {
    fn from(why: &str) -> Self {
        Problem::Other(why.to_owned())
    }
}

/// AlgorithmIdentifier of SHA-1, which every server knows as the hash of a CertID (RFC 5019 §2.1.1); nothing rests on its strength,
/// since the issuer signs the serial numbers that it gave.
const SHA1: &[u8] = b"\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00";
/// Its object identifier.
const SHA1_OID: &[u8] = b"\x2b\x0e\x03\x02\x1a";
/// id-pkix-ocsp-basic.
const BASIC: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01";

/// The OCSPRequest for a certificate: without a nonce, so that a response can serve until the next is due (RFC 5019 §4).
pub(super) fn request(suite: &dyn Suite, pair: &Pair<'_>) -> Option<Arc<[u8]>> {
    let id = CertId::of(suite, pair);
    let octets = |content: &[u8]| value(Tag::OctetString, content);
    let parts = [SHA1.to_vec(), octets(&id.name)?, octets(&id.key)?, value(Tag::Integer, id.serial)?];
    let request = sequence(&sequence(&parts.concat())?)?;
    Some(sequence(&sequence(&sequence(&request)?)?)?.into())
}

/// What an OCSPResponse says of a certificate.
///
/// # Errors
/// Why it says nothing.
pub(super) fn ask(suite: &dyn Suite, pair: &Pair<'_>, der: &[u8], now: WallClock) -> Result<Told, Problem> {
    let response = Basic::read(der)?;
    let single = response.about(&CertId::of(suite, pair))?.ok_or(Problem::AboutAnother)?;
    response.check_signer(suite, pair, now)?;
    if response.has_critical || single.has_critical {
        return Err("it has a critical extension that is not known here".into());
    }
    let status = single.status.ok_or("the server does not know the certificate (unknown)")?;
    let Some(next) = single.next_update else {
        return check_recent(single.this_update, now).map(|()| Told { status, until: None });
    };
    check_current(single.this_update, next, now)?;
    Ok(Told { status, until: wall(next) })
}

/// A response that does not say how long it holds is about the present.
//= rfc6960 §4.2.2.1
//# If nextUpdate is not set, the responder is indicating that newer revocation information is available all the time.
fn check_recent(this: i64, now: WallClock) -> Result<(), Problem> {
    let age = seconds(now).saturating_sub(this);
    if (-CLOCK_SKEW..=OCSP_FRESH).contains(&age) {
        return Ok(());
    }
    Err(format!(
        "it is of {}, does not say how long it holds, and it is {} here",
        date(this),
        date(seconds(now))
    )
    .into())
}

/// Which certificate is meant (RFC 6960 §4.1.1).
struct CertId<'a> {
    name: [u8; 20],
    key: [u8; 20],
    serial: &'a [u8],
}

impl<'a> CertId<'a> {
    fn of(suite: &dyn Suite, pair: &'a Pair<'_>) -> Self {
        Self {
            name: suite.sha1(&[pair.certificate.issuer().as_raw()]),
            key: suite.sha1(&[&pair.issuer.public_key().subject_public_key.data]),
            serial: pair.certificate.raw_serial(),
        }
    }

    fn is(&self, id: &Field<'_>) -> Option<bool> {
        let mut fields = id.fields();
        let hash = fields.next(Tag::Sequence)?.fields().next(Tag::ObjectIdentifier)?.content;
        let (name, key) = (fields.next(Tag::OctetString)?.content, fields.next(Tag::OctetString)?.content);
        let serial = fields.next(Tag::Integer)?.content;
        Some(hash == SHA1_OID && name == self.name && key == self.key && serial == self.serial)
    }
}

/// A BasicOCSPResponse.
struct Basic<'a> {
    signed: Signed<'a>,
    responder: Field<'a>,
    answers: Fields<'a>,
    has_critical: bool,
    certificates: Vec<&'a [u8]>,
}

/// A SingleResponse.
struct Single {
    /// Unset: unknown.
    status: Option<Status>,
    this_update: i64,
    next_update: Option<i64>,
    has_critical: bool,
}

impl<'a> Basic<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Problem> {
        if der.len() > MAX_OCSP {
            return Err(format!("it has {} octets, more than {MAX_OCSP}", der.len()).into());
        }
        let unreadable = "it is not the DER of an OCSP response";
        let mut outer = Fields::of(der).ok_or(unreadable)?;
        let status = outer.next(Tag::Enumerated).ok_or(unreadable)?.content;
        if status != [0] {
            return Err(refusal(status).into());
        }
        let bytes = outer.next(explicit(0)).and_then(|bytes| Fields::of(bytes.content));
        let mut bytes = bytes.ok_or(unreadable)?;
        if bytes.next(Tag::ObjectIdentifier).ok_or(unreadable)?.content != BASIC {
            return Err("it is of a type that is not known here".into());
        }
        let basic = bytes.next(Tag::OctetString).ok_or(unreadable)?.content;
        Self::read_basic(basic).ok_or_else(|| unreadable.into())
    }

    fn read_basic(der: &'a [u8]) -> Option<Self> {
        let mut outer = Fields::of(der)?;
        let signed = Signed::read(&mut outer)?;
        let mut certificates = Vec::new();
        if let Some(certs) = outer.maybe(explicit(0)) {
            let mut certs = Fields::of(certs.content)?;
            while !certs.is_end() && certificates.len() < MAX_OCSP_CERTIFICATES {
                certificates.push(certs.any()?.whole);
            }
        }
        let mut data = Fields::of(signed.message)?;
        data.maybe(explicit(0));
        let responder = data.any()?;
        data.next(Tag::GeneralizedTime)?;
        let answers = data.next(Tag::Sequence)?.fields();
        let has_critical = critical(&mut data)?;
        Some(Self { signed, responder, answers, has_critical, certificates })
    }

    /// The answer about one certificate.
    fn about(&self, wanted: &CertId<'_>) -> Result<Option<Single>, Problem> {
        let mut answers = self.answers;
        for _ in 0..MAX_OCSP_ANSWERS {
            if answers.is_end() {
                break;
            }
            let single = answers.next(Tag::Sequence).and_then(|single| {
                let mut fields = single.fields();
                let is_wanted = wanted.is(&fields.next(Tag::Sequence)?)?;
                Some((is_wanted, Single::read(fields)?))
            });
            match single {
                Some((true, single)) => return Ok(Some(single)),
                Some((false, _)) => {}
                None => return Err("an answer in it cannot be read".into()),
            }
        }
        Ok(None)
    }

    /// Whether who signed may speak of the issuer's certificates.
    //= rfc6960 §4.2.2.2
    //# OCSP signing delegation SHALL be designated by the inclusion of id-kp-OCSPSigning in an extended key usage certificate
    //# extension included in the OCSP response signer's certificate.  This certificate MUST be issued directly by the CA
    //# that is identified in the request.
    fn check_signer(&self, suite: &dyn Suite, pair: &Pair<'_>, now: WallClock) -> Result<(), Problem> {
        let issuer = &pair.issuer;
        let is_issuer =
            self.names(suite, issuer.subject().as_raw(), &issuer.public_key().subject_public_key.data);
        let by_issuer = self.signed.check(suite, pair.issuer_spki());
        if is_issuer && by_issuer.is_ok() {
            return Ok(());
        }
        let mut problem = match (is_issuer, by_issuer) {
            (true, Err(why)) => format!("its signature {why}"),
            _ => "who signed it is neither the issuer of the certificate nor somebody that the issuer named for it \
                  (id-kp-OCSPSigning)"
                .to_owned(),
        };
        for der in &self.certificates {
            let Some(signer) = parse(der) else { continue };
            if !self.names(suite, signer.subject().as_raw(), &signer.public_key().subject_public_key.data) {
                continue;
            }
            match self.check_delegate(suite, pair, der, now) {
                Ok(()) => return Ok(()),
                Err(why) => problem = why,
            }
        }
        Err(problem.into())
    }

    /// Whether the ResponderID is that of a subject with this name and key.
    fn names(&self, suite: &dyn Suite, name: &[u8], key: &[u8]) -> bool {
        match self.responder.tag {
            tag if tag == explicit(1) => self.responder.content == name,
            tag if tag == explicit(2) => {
                let mut fields = self.responder.fields();
                fields.next(Tag::OctetString).is_some_and(|hash| hash.content == suite.sha1(&[key]))
            }
            _ => false,
        }
    }

    fn check_delegate(
        &self,
        suite: &dyn Suite,
        pair: &Pair<'_>,
        der: &[u8],
        now: WallClock,
    ) -> Result<(), String> {
        let unreadable = "its signer's certificate cannot be read";
        let signer = parse(der).ok_or(unreadable)?;
        if signer.issuer().as_raw() != pair.issuer.subject().as_raw() {
            return Err(
                "its signer's certificate is not from the issuer of the certificate in question".into()
            );
        }
        let signed = Fields::of(der).and_then(|mut fields| Signed::read(&mut fields)).ok_or(unreadable)?;
        signed
            .check(suite, pair.issuer_spki())
            .map_err(|why| format!("the signature of its signer's certificate {why}"))?;
        let purposes = signer.extended_key_usage().map_err(|_| unreadable)?;
        if !purposes.is_some_and(|purposes| purposes.value.ocsp_signing) {
            return Err("its signer's certificate is not for OCSP (id-kp-OCSPSigning)".into());
        }
        match signer.key_usage() {
            Ok(None) => {}
            Ok(Some(usage)) if usage.value.digital_signature() || usage.value.non_repudiation() => {}
            _ => return Err("the key usage of its signer's certificate does not allow signatures".into()),
        }
        check_usable(&signer)
            .and_then(|()| check_validity(&signer, now))
            .map_err(|why| format!("its signer's certificate: {why}"))?;
        let spki = signer.tbs_certificate.subject_pki.raw;
        self.signed.check(suite, spki).map_err(|why| format!("its signature {why}"))
    }
}

impl Single {
    /// What follows the CertID.
    fn read(mut fields: Fields<'_>) -> Option<Self> {
        let status = fields.any()?;
        let status = match status.tag {
            tag if tag == implicit(0) => Some(Status::Good),
            tag if tag == explicit(1) => Some(Status::Revoked(revoked(status.fields())?)),
            tag if tag == implicit(2) => None,
            _ => return None,
        };
        let this_update = fields.next(Tag::GeneralizedTime)?.time()?;
        let next_update = match fields.maybe(explicit(0)) {
            Some(next) => Some(next.fields().next(Tag::GeneralizedTime)?.time()?),
            None => None,
        };
        Some(Self { status, this_update, next_update, has_critical: critical(&mut fields)? })
    }
}

fn revoked(mut fields: Fields<'_>) -> Option<Revoked> {
    let when = fields.next(Tag::GeneralizedTime)?.time()?;
    let reason = match fields.maybe(explicit(0)) {
        Some(reason) => Some(*reason.fields().next(Tag::Enumerated)?.content.first()?),
        None => None,
    };
    Some(Revoked { when, reason })
}

/// Whether the extensions that may follow have a critical one: none of those that are (RFC 6960 §4.4) has to be.
fn critical(fields: &mut Fields<'_>) -> Option<bool> {
    let Some(extensions) = fields.maybe(explicit(1)) else { return Some(false) };
    let mut extensions = Fields::of(extensions.content)?;
    let mut any = false;
    while !extensions.is_end() {
        let mut extension = extensions.next(Tag::Sequence)?.fields();
        extension.next(Tag::ObjectIdentifier)?;
        any |= extension.maybe(Tag::Boolean).is_some_and(|critical| critical.content != [0]);
    }
    Some(any)
}

/// OCSPResponseStatus (RFC 6960 §4.2.1) other than successful.
fn refusal(status: &[u8]) -> &'static str {
    match status {
        [1] => "the server found the request malformed (malformedRequest)",
        [2] => "the server has an internal error (internalError)",
        [3] => "the server asks to try later (tryLater)",
        [5] => "the server wants signed requests (sigRequired)",
        [6] => "the server does not answer us (unauthorized)",
        _ => "the server refuses, with a status that is not known here",
    }
}
