//! Certificate paths (RFC 5280 §6, with RFC 4945 §5.1 for what IKE asks of a certificate).
//!
//! webpki builds and checks the path; every signature is checked by the [`Suite`]. The rules beyond it:
//! - A trust anchor is a name and a key that the configuration vouches for, with its validity period: an authority that has
//!   expired trusts nobody anew, as with every other IKE daemon (RFC 5280 §6.1.1 leaves it to us). Its usages and its own
//!   signature do not count. A configured intermediate is a trust anchor like any other.
//! - Key usage, where present, must allow digitalSignature or nonRepudiation in the end entity (RFC 4945 §5.1.3.2) and
//!   keyCertSign in an authority.
//! - Extended key usage, where present, must name anyExtendedKeyUsage, ipsecIKE (RFC 4945 §5.1.3.12), iKEIntermediate
//!   (which Windows and Apple know), serverAuth or clientAuth, since so many authorities issue only these two.
//! - RSA keys below [`crate::limits::MIN_RSA_BITS`] and SHA-1 signatures are refused anywhere in the path.
//! - An authority's certificate is no end entity, unless it is pinned; webpki takes version 3 only, so a version 1
//!   certificate must be pinned too.
//! - Name constraints on DNS names and addresses are enforced; a path with constraints on other kinds of names
//!   that its certificates carry is refused, since they cannot be judged.
//! - Revocation is judged of the path that is found, by [`crate::revocation`]: webpki knows no OCSP, and does not say which
//!   certificate of a path was revoked, when and why.

use crate::algorithm::KeyKind;
use crate::certificate::{name, parse};
use crate::der::sequence;
use crate::signature::{algorithms, is_sha1};
use crate::text::{date, quote};
use base::WallClock;
use crypto::Suite;
use policy::Certificate;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use std::cell::RefCell;
use std::time::Duration;
use webpki::{
    EndEntityCert, Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath, anchor_from_trusted_cert,
};
use x509_parser::prelude::X509Certificate;

/// What a path is sought for and from.
pub(crate) struct Path<'a> {
    pub(crate) suite: &'a dyn Suite,
    pub(crate) end_entity: &'a [u8],
    pub(crate) intermediates: Vec<&'a [u8]>,
    pub(crate) authorities: &'a [Certificate],
    pub(crate) wall: WallClock,
}

impl Path<'_> {
    /// The path by which the end entity may authenticate a peer now, each certificate followed by that of its issuer, the
    /// trusted authority last; else a sentence that says why there is none and what to do.
    pub(crate) fn validate(&self) -> Result<Vec<Vec<u8>>, String> {
        let parsed =
            parse(self.end_entity).ok_or_else(|| "the peer's certificate cannot be read".to_owned())?;
        let refused =
            |why: String| format!("the peer's certificate {} is refused: {why}", described(&parsed));
        check_usable(&parsed).map_err(refused)?;
        check_key_usage(&parsed).map_err(refused)?;
        self.build().map_err(|problem| match problem {
            Problem::Ours(why) => refused(why),
            Problem::Webpki(error) => refused(self.explain(&error, &parsed)),
        })
    }

    fn build(&self) -> Result<Vec<Vec<u8>>, Problem> {
        let der = CertificateDer::from(self.end_entity);
        let end_entity = EndEntityCert::try_from(&der)?;
        let anchors: Vec<_> =
            self.authorities.iter().map(|anchor| CertificateDer::from(&anchor.der[..])).collect();
        let anchors: Vec<TrustAnchor<'_>> =
            anchors.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
        let intermediates: Vec<_> = self.intermediates.iter().map(|der| CertificateDer::from(*der)).collect();
        let algorithms = algorithms(self.suite);
        let algorithms: Vec<_> =
            algorithms.iter().map(|algorithm| algorithm as &dyn SignatureVerificationAlgorithm).collect();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(self.wall.0));
        let found = RefCell::new(None);
        let acceptable = |path: &VerifiedPath<'_>| {
            self.check_authorities(path).map_err(|why| {
                found.replace(Some(why));
                Error::EndEntityUsedAsCa
            })
        };
        let path = end_entity.verify_for_usage(
            &algorithms,
            &anchors,
            &intermediates,
            time,
            Usage,
            None,
            Some(&acceptable),
        );
        match (path, found.into_inner()) {
            (Ok(path), _) => {
                let between = path.intermediate_certificates().map(|one| one.der().to_vec());
                let anchor = self.anchor(&path).map_err(Problem::Ours)?;
                Ok(std::iter::once(self.end_entity.to_vec())
                    .chain(between)
                    .chain([anchor.der.to_vec()])
                    .collect())
            }
            (Err(_), Some(why)) => Err(Problem::Ours(why)),
            (Err(error), None) => Err(Problem::Webpki(error)),
        }
    }

    /// What webpki leaves unchecked of the authorities of a path: key usage, key sizes, and the validity of the anchor.
    fn check_authorities(&self, path: &VerifiedPath<'_>) -> Result<(), String> {
        for authority in path.intermediate_certificates() {
            let der = authority.der();
            let parsed =
                parse(&der).ok_or_else(|| "an intermediate certificate cannot be read".to_owned())?;
            let about =
                |why: String| format!("its issuer {}: {why}", quote(&name(parsed.subject().as_raw())));
            check_usable(&parsed).map_err(about)?;
            match parsed.key_usage() {
                Ok(None) => {}
                Ok(Some(usage)) if usage.value.key_cert_sign() => {}
                _ => return Err(about("its key usage does not allow keyCertSign".into())),
            }
        }
        self.anchor(path).map(|_| ())
    }

    /// The authority that a path ends at, which must be valid itself.
    fn anchor(&self, path: &VerifiedPath<'_>) -> Result<&Certificate, String> {
        let unreadable = "its trusted authority cannot be read";
        let key = sequence(&path.anchor().subject_public_key_info).ok_or_else(|| unreadable.to_owned())?;
        let mut outcome = Err(unreadable.to_owned());
        for authority in self.authorities {
            let parsed = parse(&authority.der).filter(|parsed| parsed.tbs_certificate.subject_pki.raw == key);
            let Some(parsed) = parsed else { continue };
            outcome = check_usable(&parsed)
                .and_then(|()| check_validity(&parsed, self.wall))
                .map_err(|why| format!("the trusted authority {}: {why}", quote(&authority.subject)))
                .map(|()| authority);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn explain(&self, error: &Error, end_entity: &X509Certificate<'_>) -> String {
        match error {
            Error::CertExpired { .. } | Error::CertNotValidYet { .. } => self.out_of_date(end_entity),
            Error::UnknownIssuer => self.unknown_issuer(end_entity),
            Error::InvalidSignatureForPublicKey => format!(
                "its path ends at an authority whose name fits but whose key did not make the signature; compare the \
                 authority here with the one that issued {}",
                quote(&name(end_entity.issuer().as_raw()))
            ),
            Error::CaUsedAsEndEntity => {
                "it is the certificate of an authority (CA:TRUE); issue one that is not for the peer, or pin \
                 this one under the remote's `certs`"
                    .into()
            }
            Error::EndEntityUsedAsCa => {
                "a certificate in its path is not that of an authority (CA:FALSE) but issued another".into()
            }
            Error::PathLenConstraintViolated => {
                "its path is longer than an authority in it allows (path length)".into()
            }
            Error::NameConstraintViolation => {
                "a name in it is not one that an authority in its path may issue for (name \
                 constraints)"
                    .into()
            }
            Error::UnsupportedCriticalExtension => {
                "it, or a certificate in its path, has a critical extension that is not known here, and \
                 RFC 5280 §4.2 forbids to ignore it"
                    .into()
            }
            Error::UnsupportedCertVersion => {
                "it is not of version 3; pin it under the remote's `certs`, or issue a new one".into()
            }
            Error::UnsupportedSignatureAlgorithmContext(context) => {
                self.weak_or_unknown(&context.signature_algorithm_id)
            }
            Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                "a signature in its path does not go with the issuer's key, or that key is of a kind that is not known here".into()
            }
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
                "its extended key usage, or that of an authority in its \
                 path, does not allow IKE: none of ipsecIKE, iKEIntermediate, serverAuth, clientAuth, any"
                    .into()
            }
            Error::MaximumPathDepthExceeded
            | Error::MaximumSignatureChecksExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumNameConstraintComparisonsExceeded => "its path is too long or too tangled".into(),
            other => quote(&format!("{other:?}")),
        }
    }

    /// webpki does not say which certificate of the path is out of date: the first one that is.
    fn out_of_date(&self, end_entity: &X509Certificate<'_>) -> String {
        if let Err(why) = check_validity(end_entity, self.wall) {
            return why;
        }
        let others = self.intermediates.iter().filter_map(|der| parse(der));
        others
            .filter_map(|other| {
                let why = check_validity(&other, self.wall).err()?;
                Some(format!("the intermediate {}: {why}", quote(&name(other.subject().as_raw()))))
            })
            .next()
            .unwrap_or_else(|| "a certificate in its path is not valid now".into())
    }

    /// Where the path ends.
    fn unknown_issuer(&self, end_entity: &X509Certificate<'_>) -> String {
        let others: Vec<_> = self.intermediates.iter().filter_map(|der| parse(der)).collect();
        let mut missing = end_entity.issuer().as_raw();
        for _ in 0..others.len() {
            let next = others.iter().find(|other| other.subject().as_raw() == missing);
            match next {
                Some(next) if next.issuer().as_raw() != missing => missing = next.issuer().as_raw(),
                _ => break,
            }
        }
        let trusted: Vec<_> = self.authorities.iter().take(4).map(|anchor| quote(&anchor.subject)).collect();
        format!(
            "its path leads to {}, which is not among the trusted authorities {}; add that one, or have the peer send the \
             intermediate certificates between them",
            quote(&name(missing)),
            trusted.join(", ")
        )
    }

    fn weak_or_unknown(&self, algorithm: &[u8]) -> String {
        if is_sha1(algorithm) {
            "a signature in its path is made with SHA-1, which is refused: issue the certificate anew with SHA2-256".into()
        } else {
            "a signature in its path is of an algorithm that is not known here".into()
        }
    }
}

/// Whether the pinned certificate `certificate` may be used now: it is trusted as it is, so only its own validity
/// period and the strength of its key count.
pub(crate) fn check_pinned(certificate: &Certificate, wall: WallClock) -> Result<(), String> {
    let refused = |why| format!("the peer's certificate {} is refused: {why}", quote(&certificate.subject));
    let parsed = parse(&certificate.der).ok_or_else(|| refused("it cannot be read".to_owned()))?;
    check_usable(&parsed).map_err(refused)?;
    check_validity(&parsed, wall).map_err(refused)
}

pub(crate) fn check_usable(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let kind = KeyKind::of(certificate.tbs_certificate.subject_pki.raw)?;
    if matches!(kind, KeyKind::MlDsa(_)) {
        check_signs_only(certificate)?;
    }
    kind.check_size()
}

pub(crate) fn check_validity(certificate: &X509Certificate<'_>, wall: WallClock) -> Result<(), String> {
    let validity = certificate.validity();
    let now = i64::try_from(wall.0).unwrap_or(i64::MAX);
    if now > validity.not_after.timestamp() {
        return Err(format!(
            "it expired on {}, and it is {} here; renew it, or correct the clock",
            date(validity.not_after.timestamp()),
            date(now)
        ));
    }
    if now < validity.not_before.timestamp() {
        return Err(format!(
            "it is not valid before {}, and it is {} here; correct the clock of this machine or of the authority",
            date(validity.not_before.timestamp()),
            date(now)
        ));
    }
    Ok(())
}

//= rfc4945 §5.1.3.2
fn check_key_usage(certificate: &X509Certificate<'_>) -> Result<(), String> {
    match certificate.key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.digital_signature() || usage.value.non_repudiation() => Ok(()),
        Ok(Some(_)) => Err("its key usage allows neither digitalSignature nor nonRepudiation".into()),
        Err(_) => Err("its key usage cannot be read".into()),
    }
}

/// An ML-DSA key signs and does nothing else.
//= rfc9881 §5
//# ML-DSA subject public keys cannot be used to establish keys or encrypt data, so the keyUsage extension MUST NOT have any
//# of the following bits set: keyEncipherment, dataEncipherment, keyAgreement, encipherOnly, decipherOnly.
fn check_signs_only(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let Ok(Some(usage)) = certificate.key_usage() else { return Ok(()) };
    let usage = usage.value;
    let establishes = usage.key_encipherment()
        || usage.data_encipherment()
        || usage.key_agreement()
        || usage.encipher_only()
        || usage.decipher_only();
    match establishes {
        true => {
            Err("its key usage lets an ML-DSA key establish keys or encrypt, which RFC 9881 §5 forbids"
                .into())
        }
        false => Ok(()),
    }
}

/// `subject (issued by issuer)`
pub(crate) fn described(certificate: &X509Certificate<'_>) -> String {
    let (subject, issuer) = (certificate.subject().as_raw(), certificate.issuer().as_raw());
    if subject == issuer {
        return format!("{} (self-signed)", quote(&name(subject)));
    }
    format!("{} (issued by {})", quote(&name(subject)), quote(&name(issuer)))
}

enum Problem {
    Ours(String),
    Webpki(Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem::Webpki(error)
    }
}

struct Usage;

impl ExtendedKeyUsageValidator for Usage {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        const ACCEPTED: &[&[usize]] = &[
            &[2, 5, 29, 37, 0],            // anyExtendedKeyUsage
            &[1, 3, 6, 1, 5, 5, 7, 3, 17], // ipsecIKE
            &[1, 3, 6, 1, 5, 5, 8, 2, 2],  // iKEIntermediate
            &[1, 3, 6, 1, 5, 5, 7, 3, 1],  // serverAuth
            &[1, 3, 6, 1, 5, 5, 7, 3, 2],  // clientAuth
        ];
        let mut present = false;
        for purpose in purposes {
            present = true;
            if ACCEPTED.contains(&&purpose?.to_decoded_oid()[..]) {
                return Ok(());
            }
        }
        if present { Err(Error::EmptyEkuExtension) } else { Ok(()) }
    }
}
