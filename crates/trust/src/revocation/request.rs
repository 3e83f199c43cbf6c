//! Who can be asked: the places that certificates name (RFC 5280 §4.2.1.13, §4.2.2.1), and what came from there.

use crate::limits::{MAX_CRL, MAX_OCSP, MAX_SOURCES, MAX_URI};
use crate::text::{clip, quote};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::oid_registry::asn1_rs::{Oid, oid};
use x509_parser::prelude::X509Certificate;

/// Something to be fetched by HTTP.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Request {
    uri: Arc<str>,
    body: Option<Arc<[u8]>>,
}

impl Request {
    /// A CRL, by GET.
    pub fn crl(uri: &str) -> Self {
        Self { uri: uri.into(), body: None }
    }

    /// An OCSP response, by POST of a request (RFC 6960 Appendix A.1).
    pub fn ocsp(uri: &str, body: Arc<[u8]>) -> Self {
        Self { uri: uri.into(), body: Some(body) }
    }

    /// Where: `http://…`, printable ASCII.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The OCSP request to be posted (`application/ocsp-request`); none: the CRL is to be got.
    pub fn body(&self) -> Option<&[u8]> {
        self.body.as_deref()
    }

    /// Octets that are worth reading.
    pub fn most(&self) -> usize {
        if self.body.is_some() { MAX_OCSP } else { MAX_CRL }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.body.is_some() { "the OCSP server" } else { "the CRL at" };
        write!(f, "{what} {}", clip(&self.uri, crate::limits::MAX_TEXT))
    }
}

/// What came of a request; the sentence says why nothing did, to follow `… could not be asked:`.
pub type Fetched = Result<Arc<[u8]>, String>;

/// What has been fetched for a check so far.
#[derive(Clone, Default, Debug)]
pub struct Evidence {
    found: BTreeMap<Request, Fetched>,
    closed: Option<&'static str>,
}

impl Evidence {
    /// Nothing, and nothing will come, for this reason.
    pub fn none(why: &'static str) -> Self {
        Self { closed: Some(why), ..Self::default() }
    }

    /// Adds what came of a request.
    pub fn add(&mut self, request: Request, fetched: Fetched) {
        self.found.insert(request, fetched);
    }

    /// Whether it is known what came of a request.
    pub fn has(&self, request: &Request) -> bool {
        self.found.contains_key(request)
    }

    pub(crate) fn of(&self, request: &Request) -> Option<Fetched> {
        self.found.get(request).cloned().or_else(|| self.closed.map(|why| Err(why.to_owned())))
    }
}

/// id-ad-ocsp.
const OCSP: Oid<'static> = oid!(1.3.6.1.5.5.7.48.1);

/// The places of one kind that a certificate names.
pub(crate) struct Named<'a> {
    uris: Vec<&'a str>,
    /// Whether there are any, be they usable or not.
    pub(crate) any: bool,
}

impl<'a> Named<'a> {
    /// OCSP servers: those of the authority information access.
    pub(crate) fn ocsp(certificate: &X509Certificate<'a>) -> Self {
        let mut uris = Vec::new();
        for extension in certificate.extensions() {
            let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else { continue };
            let ocsp = access.accessdescs.iter().filter(|access| access.access_method == OCSP);
            uris.extend(ocsp.filter_map(|access| uri(&access.access_location)));
        }
        Self { any: !uris.is_empty(), uris }
    }

    /// CRL distribution points. One that another authority serves, or that has some reasons only, is named but of no use.
    pub(crate) fn crls(certificate: &X509Certificate<'a>) -> Self {
        let (mut uris, mut any) = (Vec::new(), false);
        for extension in certificate.extensions() {
            let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else {
                continue;
            };
            for point in &points.points {
                any = true;
                if let (Some(DistributionPointName::FullName(names)), None, None) =
                    (&point.distribution_point, &point.reasons, &point.crl_issuer)
                {
                    uris.extend(names.iter().filter_map(uri));
                }
            }
        }
        Self { uris, any }
    }

    /// Adds places that are asked before all others.
    pub(crate) fn put_first(&mut self, uris: &'a [Arc<str>]) {
        self.uris.splice(..0, uris.iter().map(|uri| &**uri));
        self.any |= !uris.is_empty();
    }

    /// Whether `uri` is among them.
    pub(crate) fn has(&self, uri: &[u8]) -> bool {
        self.uris.iter().any(|known| known.as_bytes() == uri)
    }

    /// Those that can be fetched, few of them; why the others cannot is added to `why`.
    pub(crate) fn usable(self, why: &mut Vec<String>) -> Vec<&'a str> {
        let (good, bad): (Vec<_>, Vec<_>) = self.uris.into_iter().partition(|uri| is_http(uri));
        let refused = bad.iter().take(MAX_SOURCES);
        why.extend(refused.map(|uri| format!("{} is not asked, only `http://` is", quote(uri))));
        good.into_iter().take(MAX_SOURCES).collect()
    }
}

fn uri<'a>(name: &GeneralName<'a>) -> Option<&'a str> {
    match name {
        GeneralName::URI(uri) => Some(uri),
        _ => None,
    }
}

/// Whether `uri` is one that is asked: `http` only, since an authority's certificate may have to be checked before it can be asked over
/// TLS, so that `https` would go in circles (RFC 5280 §8).
pub fn is_http(uri: &str) -> bool {
    let scheme = uri.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    scheme && uri.len() <= MAX_URI && uri.bytes().all(|octet| octet.is_ascii_graphic())
}
