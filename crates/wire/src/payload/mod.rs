//! The payloads of IKEv2. What they carry is borrowed from the datagram where it was parsed from one, and owned
//! where it was made here.

mod auth;
mod configuration;
mod encrypted;
mod notify;
mod proposal;
mod selector;

pub use auth::{
    Authentication, CertRequest, Certificate, DigitalSignature, Eap, Identification, KeyExchange,
};
pub use configuration::{CfgAttribute, CfgValue, Configuration};
pub use encrypted::{Encrypted, EncryptedFragment};
pub use notify::{Delete, Notify};
pub use proposal::{Attribute, AttributeValue, Proposal, Transform};
pub use selector::{AddressRange, IpSelector, TrafficSelector};

use crate::limits::{MAX_NONCE, MIN_NONCE};
use crate::num::PayloadType;
use crate::reader::Reader;
use crate::{ParseError, Problem, RawPayload, writer};
use std::borrow::Cow;

/// Octets that are borrowed from a datagram or owned.
pub type Octets<'a> = Cow<'a, [u8]>;

/// One payload (RFC 7296 §3.3 to §3.16, RFC 7383 §2.5, RFC 8019 §8.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload<'a> {
    /// SA: proposals, best first.
    Sa(Vec<Proposal<'a>>),
    /// KE: a public value.
    Ke(KeyExchange<'a>),
    /// IDi: who the initiator is.
    IdI(Identification<'a>),
    /// IDr: who the responder is, or is wanted to be.
    IdR(Identification<'a>),
    /// CERT: one certificate of a path, or a revocation list.
    Cert(Certificate<'a>),
    /// CERTREQ: which certificates would be accepted.
    CertReq(CertRequest<'a>),
    /// AUTH: proof of the identity.
    Auth(Authentication<'a>),
    /// Ni, Nr: 16 to 256 random octets.
    Nonce(Octets<'a>),
    /// N: an error or a status.
    Notify(Notify<'a>),
    /// D: SAs that the sender has deleted.
    Delete(Delete<'a>),
    /// V: who made the implementation, or which private extension it speaks.
    VendorId(Octets<'a>),
    /// TSi: traffic at the initiator's end.
    TsI(Vec<TrafficSelector<'a>>),
    /// TSr: traffic at the responder's end.
    TsR(Vec<TrafficSelector<'a>>),
    /// SK: the other payloads, encrypted; always the last.
    Encrypted(Encrypted<'a>),
    /// SKF: a fragment of the other payloads, encrypted (RFC 7383); always the last.
    EncryptedFragment(EncryptedFragment<'a>),
    /// CP: configuration asked for or given.
    Cp(Configuration<'a>),
    /// EAP: one EAP packet.
    Eap(Eap<'a>),
    /// PS: four keys that solve a puzzle, one behind the other. Whether they are of one size, who has set the puzzle
    /// judges: everybody else has to ignore the payload (RFC 8019 §7.1.4).
    PuzzleSolution(Octets<'a>),
    /// A payload whose inside this crate does not know.
    Unknown {
        /// Its type.
        kind: PayloadType,
        /// Whether the message must be refused with UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 §2.5).
        critical: bool,
        /// What it holds.
        body: Octets<'a>,
    },
}

impl<'a> Payload<'a> {
    /// Reads what is inside one payload of a chain.
    pub fn parse(raw: RawPayload<'a>) -> Result<Self, ParseError> {
        let section = section(raw.kind);
        let mut reader = Reader::new(raw.body, raw.at, section);
        let payload = match raw.kind {
            PayloadType::SA => Self::Sa(proposal::parse(&mut reader)?),
            PayloadType::KE => Self::Ke(KeyExchange::parse(&mut reader)?),
            PayloadType::IDI => Self::IdI(Identification::parse(&mut reader)?),
            PayloadType::IDR => Self::IdR(Identification::parse(&mut reader)?),
            PayloadType::CERT => Self::Cert(Certificate::parse(&mut reader)?),
            PayloadType::CERTREQ => Self::CertReq(CertRequest::parse(&mut reader)?),
            PayloadType::AUTH => Self::Auth(Authentication::parse(&mut reader)?),
            PayloadType::NONCE => Self::Nonce(parse_nonce(&mut reader)?),
            PayloadType::NOTIFY => Self::Notify(Notify::parse(&mut reader)?),
            PayloadType::DELETE => Self::Delete(Delete::parse(&mut reader)?),
            PayloadType::VENDOR_ID => Self::VendorId(reader.rest().into()),
            PayloadType::TSI => Self::TsI(selector::parse(&mut reader)?),
            PayloadType::TSR => Self::TsR(selector::parse(&mut reader)?),
            PayloadType::SK => Self::Encrypted(Encrypted::parse(raw.next, &mut reader)),
            PayloadType::SKF => Self::EncryptedFragment(EncryptedFragment::parse(raw.next, &mut reader)?),
            PayloadType::CP => Self::Cp(Configuration::parse(&mut reader)?),
            PayloadType::EAP => Self::Eap(Eap::parse(&mut reader)?),
            PayloadType::PS => Self::PuzzleSolution(reader.rest().into()),
            kind => Self::Unknown { kind, critical: raw.critical, body: reader.rest().into() },
        };
        reader.end("the payload")?;
        Ok(payload)
    }

    /// Its type.
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::IDI,
            Self::IdR(_) => PayloadType::IDR,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertReq(_) => PayloadType::CERTREQ,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::TsI(_) => PayloadType::TSI,
            Self::TsR(_) => PayloadType::TSR,
            Self::Encrypted(_) => PayloadType::SK,
            Self::EncryptedFragment(_) => PayloadType::SKF,
            Self::Cp(_) => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::PuzzleSolution(_) => PayloadType::PS,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Whether it is one that we must refuse because it is critical and unknown (RFC 7296 §2.5).
    pub const fn is_unsupported_critical(&self) -> bool {
        matches!(self, Self::Unknown { critical: true, .. })
    }

    /// Appends what stands after the generic header.
    pub fn emit_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Sa(proposals) => proposal::emit(proposals, out),
            Self::Ke(ke) => ke.emit(out),
            Self::IdI(id) | Self::IdR(id) => id.emit(out),
            Self::Cert(cert) => cert.emit(out),
            Self::CertReq(request) => request.emit(out),
            Self::Auth(auth) => auth.emit(out),
            Self::Notify(notify) => notify.emit(out),
            Self::Delete(delete) => delete.emit(out),
            Self::TsI(selectors) | Self::TsR(selectors) => selector::emit(selectors, out),
            Self::Encrypted(sealed) => out.extend_from_slice(&sealed.body),
            Self::EncryptedFragment(fragment) => fragment.emit(out),
            Self::Cp(configuration) => configuration.emit(out),
            Self::Eap(Eap { packet: octets })
            | Self::Nonce(octets)
            | Self::VendorId(octets)
            | Self::PuzzleSolution(octets)
            | Self::Unknown { body: octets, .. } => out.extend_from_slice(octets),
        }
    }

    /// The same payload with everything owned.
    pub fn into_owned(self) -> Payload<'static> {
        match self {
            Self::Sa(proposals) => Payload::Sa(proposals.into_iter().map(Proposal::into_owned).collect()),
            Self::Ke(ke) => Payload::Ke(ke.into_owned()),
            Self::IdI(id) => Payload::IdI(id.into_owned()),
            Self::IdR(id) => Payload::IdR(id.into_owned()),
            Self::Cert(cert) => Payload::Cert(cert.into_owned()),
            Self::CertReq(request) => Payload::CertReq(request.into_owned()),
            Self::Auth(auth) => Payload::Auth(auth.into_owned()),
            Self::Nonce(nonce) => Payload::Nonce(owned(nonce)),
            Self::Notify(notify) => Payload::Notify(notify.into_owned()),
            Self::Delete(delete) => Payload::Delete(delete.into_owned()),
            Self::VendorId(id) => Payload::VendorId(owned(id)),
            Self::TsI(list) => Payload::TsI(list.into_iter().map(TrafficSelector::into_owned).collect()),
            Self::TsR(list) => Payload::TsR(list.into_iter().map(TrafficSelector::into_owned).collect()),
            Self::Encrypted(sealed) => Payload::Encrypted(sealed.into_owned()),
            Self::EncryptedFragment(fragment) => Payload::EncryptedFragment(fragment.into_owned()),
            Self::Cp(configuration) => Payload::Cp(configuration.into_owned()),
            Self::Eap(eap) => Payload::Eap(Eap { packet: owned(eap.packet) }),
            Self::PuzzleSolution(keys) => Payload::PuzzleSolution(owned(keys)),
            Self::Unknown { kind, critical, body } => Payload::Unknown { kind, critical, body: owned(body) },
        }
    }

    /// The "next payload" value of its generic header, when `following` is the payload behind it.
    fn next_field(&self, following: PayloadType) -> PayloadType {
        match self {
            Self::Encrypted(sealed) => sealed.first,
            Self::EncryptedFragment(fragment) => fragment.first,
            _ => following,
        }
    }
}

/// Reads a whole chain (see [`Payloads::new`](crate::Payloads::new) for the arguments).
pub fn parse_chain(first: PayloadType, bytes: &[u8], at: usize) -> Result<Vec<Payload<'_>>, ParseError> {
    crate::Payloads::new(first, bytes, at).map(|raw| Payload::parse(raw?)).collect()
}

/// Appends a whole chain and returns its first payload's type, which belongs into the header before it.
/// SK and SKF have to be the last payload. Known payloads get a critical bit of zero (RFC 7296 §3.2).
pub fn emit_chain(payloads: &[Payload<'_>], out: &mut Vec<u8>) -> PayloadType {
    for (index, payload) in payloads.iter().enumerate() {
        let following = payloads.get(index + 1).map_or(PayloadType::NONE, Payload::kind);
        //= rfc7296 §2.5
        let critical = if payload.is_unsupported_critical() { 0x80 } else { 0 };
        let hole = writer::open(out, &[payload.next_field(following).0, critical]);
        payload.emit_body(out);
        writer::close(out, &hole);
    }
    payloads.first().map_or(PayloadType::NONE, Payload::kind)
}

fn parse_nonce<'a>(reader: &mut Reader<'a>) -> Result<Octets<'a>, ParseError> {
    //= rfc7296 §3.9
    if !(MIN_NONCE..=MAX_NONCE).contains(&reader.len()) {
        return Err(reader.error(Problem::Value { what: "a nonce's size", value: reader.len() }));
    }
    Ok(reader.rest().into())
}

fn owned(octets: Octets<'_>) -> Octets<'static> {
    Cow::Owned(octets.into_owned())
}

const fn section(kind: PayloadType) -> &'static str {
    match kind {
        PayloadType::SA => "RFC 7296 §3.3",
        PayloadType::KE => "RFC 7296 §3.4",
        PayloadType::IDI | PayloadType::IDR => "RFC 7296 §3.5",
        PayloadType::CERT => "RFC 7296 §3.6",
        PayloadType::CERTREQ => "RFC 7296 §3.7",
        PayloadType::AUTH => "RFC 7296 §3.8",
        PayloadType::NONCE => "RFC 7296 §3.9",
        PayloadType::NOTIFY => "RFC 7296 §3.10",
        PayloadType::DELETE => "RFC 7296 §3.11",
        PayloadType::VENDOR_ID => "RFC 7296 §3.12",
        PayloadType::TSI | PayloadType::TSR => "RFC 7296 §3.13",
        PayloadType::SK => "RFC 7296 §3.14",
        PayloadType::CP => "RFC 7296 §3.15",
        PayloadType::EAP => "RFC 7296 §3.16",
        PayloadType::SKF => "RFC 7383 §2.5",
        PayloadType::PS => "RFC 8019 §8.2",
        _ => "RFC 7296 §3.2",
    }
}
