//! CRLs and OCSP responses, good and bad.

use crate::{Authority, EndEntity, der};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlIssuingDistributionPoint, KeyIdMethod, KeyPair,
    RevocationReason, RevokedCertParams, SerialNumber, SigningKey, date_time_ymd,
};
use std::time::Duration;

/// What a CRL says.
pub struct List {
    /// Seconds since 1970.
    pub this_update: u64,
    /// Seconds since 1970.
    pub next_update: u64,
    /// Serial numbers, each with when and why.
    pub revoked: Vec<(Vec<u8>, u64, Option<RevocationReason>)>,
    /// Issuing distribution point.
    pub scope: Option<CrlIssuingDistributionPoint>,
}

impl List {
    /// Nobody is revoked, from `this_update` for 30 days.
    pub fn from(this_update: u64) -> Self {
        Self { this_update, next_update: this_update + 30 * 86_400, revoked: Vec::new(), scope: None }
    }

    /// Also `certificate` (DER) is revoked.
    pub fn revoke(mut self, certificate: &[u8], when: u64, reason: Option<RevocationReason>) -> Self {
        self.revoked.push((serial(certificate), when, reason));
        self
    }
}

impl Authority {
    /// A CRL of this authority, in DER.
    pub fn crl(&self, list: &List) -> Vec<u8> {
        let time = |seconds: u64| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
        let revoked = list.revoked.iter().map(|(serial, when, reason)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: time(*when),
            reason_code: *reason,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: time(list.this_update),
            next_update: time(list.next_update),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: list.scope.clone(),
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a CRL").der().to_vec()
    }

    /// What is signed, its algorithm and the signature: the shape of certificates, CRLs and, without its certificates, of
    /// OCSP responses.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        signed(message, self.issuer.key(), &[])
    }
}

/// PEM of a CRL.
pub fn crl_pem(list: &[u8]) -> String {
    let text = base64(list);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", lines.join("\n"))
}

fn base64(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in octets.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, octet| word << 8 | u32::from(*octet)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize] as char;
            text.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

/// What an OCSP response says of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// good
    Good,
    /// revoked: when, and the CRLReason.
    Revoked(u64, Option<u8>),
    /// unknown
    Unknown,
}

/// An OCSP response about one certificate.
#[derive(Clone)]
pub struct Response {
    /// The CertID, in DER: [`cert_id`].
    pub id: Vec<u8>,
    /// What is said of it.
    pub status: Status,
    /// Seconds since 1970.
    pub this_update: u64,
    /// Seconds since 1970, or left out.
    pub next_update: Option<u64>,
    /// Certificates that go with it.
    pub certificates: Vec<Vec<u8>>,
    /// SingleExtensions, in DER.
    pub extensions: Vec<u8>,
}

impl Response {
    /// `status` of the certificate that `request` asks for, from `this_update` for an hour.
    pub fn to(request: &[u8], status: Status, this_update: u64) -> Self {
        let (next_update, certificates, extensions) = (Some(this_update + 3600), Vec::new(), Vec::new());
        Self { id: cert_id(request), status, this_update, next_update, certificates, extensions }
    }

    /// Signed by the authority itself.
    pub fn by(&self, authority: &Authority) -> Vec<u8> {
        self.signed(authority.der(), authority.issuer.key())
    }

    /// Signed by somebody else, whose certificate goes with it.
    pub fn by_delegate(mut self, delegate: &EndEntity) -> Vec<u8> {
        self.certificates.push(delegate.der().to_vec());
        let key = KeyPair::try_from(delegate.key.as_slice()).expect("a key that was made here");
        self.signed(delegate.der(), &key)
    }

    fn signed(&self, signer: &[u8], key: &impl SigningKey) -> Vec<u8> {
        let status = match self.status {
            Status::Good => der(0x80, &[]),
            Status::Unknown => der(0x82, &[]),
            Status::Revoked(when, reason) => {
                let reason = reason.map_or(Vec::new(), |reason| der(0xa0, &der(0x0a, &[reason])));
                der(0xa1, &[time(when), reason].concat())
            }
        };
        let next = self.next_update.map_or(Vec::new(), |next| der(0xa0, &time(next)));
        let extensions = match self.extensions.is_empty() {
            true => Vec::new(),
            false => der(0xa1, &der(0x30, &self.extensions)),
        };
        let single = der(0x30, &[self.id.clone(), status, time(self.this_update), next, extensions].concat());
        let responder = der(0xa1, subject(signer));
        let data = der(0x30, &[responder, time(self.this_update), der(0x30, &single)].concat());
        let basic = signed(&data, key, &self.certificates);
        let bytes = [der(0x06, b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01"), der(0x04, &basic)].concat();
        der(0x30, &[der(0x0a, &[0]), der(0xa0, &der(0x30, &bytes))].concat())
    }
}

/// An OCSPResponse that has nothing but its status.
pub fn ocsp_refusal(status: u8) -> Vec<u8> {
    der(0x30, &der(0x0a, &[status]))
}

/// The CertID of the only certificate that an OCSPRequest asks for, in DER.
pub fn cert_id(request: &[u8]) -> Vec<u8> {
    let mut inner = request;
    // OCSPRequest, TBSRequest, requestList, Request.
    for _ in 0..4 {
        inner = inside(inner);
    }
    inner.to_vec()
}

/// The serial number of a certificate in DER.
pub fn serial(certificate: &[u8]) -> Vec<u8> {
    inside(values(inside(values(inside(certificate))[0]))[1]).to_vec()
}

/// The Name of a certificate's subject.
fn subject(certificate: &[u8]) -> &[u8] {
    values(inside(values(inside(certificate))[0]))[5]
}

fn signed(message: &[u8], key: &impl SigningKey, certificates: &[Vec<u8>]) -> Vec<u8> {
    // The AlgorithmIdentifier is taken from another thing that the key signs.
    let other = CertificateParams::default().self_signed(key).expect("a certificate");
    let algorithm = values(inside(other.der()))[1];
    let signature = [&[0], key.sign(message).expect("a signature").as_slice()].concat();
    let certificates = match certificates {
        [] => Vec::new(),
        some => der(0xa0, &der(0x30, &some.concat())),
    };
    der(0x30, &[message, algorithm, &der(0x03, &signature), &certificates].concat())
}

/// GeneralizedTime.
fn time(seconds: u64) -> Vec<u8> {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let text = format!("{year:04}{:02}{:02}{hour:02}{minute:02}{second:02}Z", month + 1, days + 1);
    der(0x18, text.as_bytes())
}

/// The values that stand in `content`.
fn values(mut content: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while !content.is_empty() {
        let (head, length) = head(content);
        let (value, rest) = content.split_at(head + length);
        all.push(value);
        content = rest;
    }
    all
}

/// The content of a value.
fn inside(value: &[u8]) -> &[u8] {
    let (head, length) = head(value);
    &value[head..head + length]
}

/// Octets of tag and length, and of the content.
fn head(value: &[u8]) -> (usize, usize) {
    match value[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        long => {
            let octets = usize::from(long & 0x7f);
            (
                2 + octets,
                value[2..2 + octets].iter().fold(0, |length, octet| length << 8 | usize::from(*octet)),
            )
        }
    }
}
