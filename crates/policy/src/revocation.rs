//! What is wanted of a peer's certificate with regard to its revocation.

use crate::Certificate;
use std::fmt;
use std::sync::Arc;

/// What must be known, and what is known without asking anybody.
#[derive(Clone, Default, Debug)]
pub struct Revocation {
    /// What must be known of each certificate of the path.
    pub demand: Demand,
    /// CRLs of files. Whose they are, and whether they are still good, is for whoever uses them to judge.
    pub crls: Vec<Crl>,
    /// Who can be asked besides those that certificates name.
    pub places: Vec<Places>,
}

/// Who can be asked about the certificates of one authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// The authority.
    pub authority: Certificate,
    /// Where OCSP servers are: `http://…`
    pub ocsp: Vec<Arc<str>>,
    /// Where CRLs are: `http://…`
    pub crls: Vec<Arc<str>>,
}

/// How much must be known about the revocation of a certificate. Whatever is revoked is refused in any case.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Demand {
    /// Nothing: what cannot be told is no obstacle.
    #[default]
    Relaxed,
    /// Where the certificate names who could tell, it must be known not to be revoked.
    IfUri,
    /// It must be known not to be revoked.
    Strict,
}

impl fmt::Display for Demand {
    /// As the configuration writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Demand::Relaxed => "relaxed",
            Demand::IfUri => "ifuri",
            Demand::Strict => "strict",
        })
    }
}

/// A CRL (RFC 5280 §5), in DER.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    /// The whole of it.
    pub der: Arc<[u8]>,
    /// Its issuer as people write it.
    pub issuer: Arc<str>,
}

impl fmt::Debug for Crl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crl({})", self.issuer)
    }
}
