//! Key exchange, identities, certificates and authentication (RFC 7296 §3.4 to §3.8, §3.16).

use super::{Octets, owned};
use crate::num::{AuthMethod, CertEncoding, EapCode, EapType, IdType, KeMethod};
use crate::reader::Reader;
use crate::{ParseError, Problem};

/// Octets of an EAP packet's header: code, identifier, length (RFC 3748 §4).
const EAP_HEADER: usize = 4;

/// KE: a public value of one key exchange method (RFC 7296 §3.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyExchange<'a> {
    /// The method.
    pub method: KeMethod,
    /// The public value, encapsulation key or ciphertext.
    pub data: Octets<'a>,
}

impl<'a> KeyExchange<'a> {
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let method = KeMethod(reader.u16("the key exchange method")?);
        reader.u16("the reserved octets")?;
        Ok(Self { method, data: reader.rest().into() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.method.0.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.data);
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> KeyExchange<'static> {
        KeyExchange { method: self.method, data: owned(self.data) }
    }
}

/// IDi and IDr: an identity (RFC 7296 §3.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identification<'a> {
    /// How to read it.
    pub kind: IdType,
    /// Without meaning, zero in what we send; kept, since AUTH covers them as they came (RFC 7296 §2.15).
    pub reserved: [u8; 3],
    /// The identity.
    pub data: Octets<'a>,
}

impl<'a> Identification<'a> {
    /// An identity, its reserved octets zero.
    pub fn new(kind: IdType, data: impl Into<Octets<'a>>) -> Self {
        Self { kind, reserved: [0; 3], data: data.into() }
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let kind = IdType(reader.u8("the ID type")?);
        let reserved = reader.array::<3>("the reserved octets")?;
        Ok(Self { kind, reserved, data: reader.rest().into() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets_to_sign());
    }

    /// The payload's body as it stands on the wire: the octets that AUTH covers as IDi' and IDr'
    /// (RFC 7296 §2.15).
    //= rfc7296 §2.15
    //# RestOfInitIDPayload = IDType | RESERVED | InitIDData
    pub fn octets_to_sign(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4 + self.data.len());
        out.push(self.kind.0);
        out.extend_from_slice(&self.reserved);
        out.extend_from_slice(&self.data);
        out
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Identification<'static> {
        Identification { kind: self.kind, reserved: self.reserved, data: owned(self.data) }
    }
}

/// CERT: a certificate or something like it (RFC 7296 §3.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate<'a> {
    /// What it is.
    pub encoding: CertEncoding,
    /// The certificate.
    pub data: Octets<'a>,
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let encoding = CertEncoding(reader.u8("the certificate encoding")?);
        Ok(Self { encoding, data: reader.rest().into() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.0);
        out.extend_from_slice(&self.data);
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Certificate<'static> {
        Certificate { encoding: self.encoding, data: owned(self.data) }
    }
}

/// CERTREQ: certificates that the sender would accept (RFC 7296 §3.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertRequest<'a> {
    /// Of which kind.
    pub encoding: CertEncoding,
    /// For X.509: the SHA-1 hashes of the trust anchors' SubjectPublicKeyInfo, 20 octets each.
    pub authorities: Octets<'a>,
}

impl<'a> CertRequest<'a> {
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let encoding = CertEncoding(reader.u8("the certificate encoding")?);
        Ok(Self { encoding, authorities: reader.rest().into() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.0);
        out.extend_from_slice(&self.authorities);
    }

    /// The hashes one by one; an incomplete one at the end is left out.
    pub fn hashes(&self) -> impl Iterator<Item = &[u8; 20]> {
        self.authorities.as_chunks::<20>().0.iter()
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> CertRequest<'static> {
        CertRequest { encoding: self.encoding, authorities: owned(self.authorities) }
    }
}

/// AUTH: the proof of an identity (RFC 7296 §3.8).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authentication<'a> {
    /// How it was made.
    pub method: AuthMethod,
    /// The proof.
    pub data: Octets<'a>,
}

/// The inside of an AUTH payload of method 14 (RFC 7427 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigitalSignature<'a> {
    /// The DER of the AlgorithmIdentifier; at most 255 octets.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Authentication<'a> {
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let method = AuthMethod(reader.u8("the authentication method")?);
        reader.array::<3>("the reserved octets")?;
        Ok(Self { method, data: reader.rest().into() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.method.0, 0, 0, 0]);
        out.extend_from_slice(&self.data);
    }

    /// The algorithm and the signature of method 14; `None` for another method or a malformed value.
    pub fn digital_signature(&self) -> Option<DigitalSignature<'_>> {
        if self.method != AuthMethod::DIGITAL_SIGNATURE {
            return None;
        }
        //= rfc7427 §3
        let (length, rest) = self.data.split_first()?;
        let (algorithm, signature) = rest.split_at_checked(usize::from(*length))?;
        Some(DigitalSignature { algorithm, signature })
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Authentication<'static> {
        Authentication { method: self.method, data: owned(self.data) }
    }
}

impl DigitalSignature<'_> {
    /// The AUTH payload that carries it.
    pub fn authentication(&self) -> Authentication<'static> {
        let mut data = Vec::with_capacity(1 + self.algorithm.len() + self.signature.len());
        data.push(crate::writer::count(self.algorithm.len()));
        data.extend_from_slice(self.algorithm);
        data.extend_from_slice(self.signature);
        Authentication { method: AuthMethod::DIGITAL_SIGNATURE, data: data.into() }
    }
}

/// EAP: one EAP packet, from its code to its end (RFC 7296 §3.16).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Eap<'a> {
    /// The packet; four octets at least when it was parsed.
    pub packet: Octets<'a>,
}

impl<'a> Eap<'a> {
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let mut ahead = reader.clone();
        ahead.u16("the EAP code and identifier")?;
        let length = usize::from(ahead.u16("the EAP length")?);
        if length < EAP_HEADER {
            return Err(ahead.error_before(2, Problem::Value { what: "the EAP length", value: length }));
        }
        let packet = reader.take(length, "the EAP packet")?;
        //= rfc3748 §4
        // Octets behind the EAP packet's own length are padding and ignored.
        reader.rest();
        Ok(Self { packet: packet.into() })
    }

    /// Request, response, success or failure.
    pub fn code(&self) -> Option<EapCode> {
        self.packet.first().copied().map(EapCode)
    }

    /// What pairs a response with its request.
    pub fn identifier(&self) -> Option<u8> {
        self.packet.get(1).copied()
    }

    /// The method, in requests and responses.
    pub fn method(&self) -> Option<EapType> {
        match self.code()? {
            EapCode::REQUEST | EapCode::RESPONSE => self.packet.get(4).copied().map(EapType),
            _ => None,
        }
    }
}
