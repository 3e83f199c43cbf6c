//! A message's payloads, each at its place. What an exchange needs of them it takes; the rest it ignores
//! (RFC 7296 §2.5).

use crate::fault::Fault;
use crate::limits;
use base::{EspSpi, IkeSpi};
use dataplane::{AddressRange, Selector};
use policy::{Identity, Offer};
use sa::PeerProof;
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::allowed::{Direction, Misfit, classify};
use wire::num::{CertEncoding, ExchangeType, IdType, KeMethod, NotifyType, ProtocolId};
use wire::{
    Authentication, CertRequest, Delete, Identification, KeyExchange, Notify, Octets, Payload,
    TrafficSelector,
};

/// The payloads of one message by kind.
#[derive(Default)]
pub(crate) struct Contents<'a> {
    pub(crate) sa: Option<Vec<wire::Proposal<'a>>>,
    pub(crate) ke: Option<KeyExchange<'a>>,
    pub(crate) nonce: Option<Octets<'a>>,
    pub(crate) id_i: Option<Identification<'a>>,
    pub(crate) id_r: Option<Identification<'a>>,
    pub(crate) auth: Option<Authentication<'a>>,
    pub(crate) ts_i: Option<Vec<TrafficSelector<'a>>>,
    pub(crate) ts_r: Option<Vec<TrafficSelector<'a>>>,
    pub(crate) certs: Vec<wire::Certificate<'a>>,
    pub(crate) cert_requests: Vec<CertRequest<'a>>,
    pub(crate) notifies: Vec<Notify<'a>>,
    pub(crate) deletes: Vec<Delete<'a>>,
    pub(crate) vendor_ids: Vec<Octets<'a>>,
    pub(crate) cp: Vec<wire::Configuration<'a>>,
    pub(crate) has_eap: bool,
    /// The PS payload (RFC 8019 §8.2).
    pub(crate) solution: Option<Octets<'a>>,
}

impl<'a> Contents<'a> {
    /// Sorts the payloads of a message. What may not stand in it, comes too often or is missing is a fault.
    pub(crate) fn sort(
        chain: Vec<Payload<'a>>,
        exchange: ExchangeType,
        direction: Direction,
    ) -> Result<Self, Fault> {
        //= rfc7296 §2.5
        //# the critical flag […] MUST be ignored for payload types that are understood; a message with an
        //# unrecognized critical payload MUST be rejected
        if let Some(unknown) = chain.iter().find(|payload| payload.is_unsupported_critical()) {
            return Err(Fault::critical(unknown.kind()));
        }
        check_place(&chain, exchange, direction)?;
        let mut contents = Self::default();
        for payload in chain {
            match payload {
                Payload::Sa(sa) => once(&mut contents.sa, sa, "SA")?,
                Payload::Ke(ke) => once(&mut contents.ke, ke, "KE")?,
                Payload::Nonce(nonce) => once(&mut contents.nonce, nonce, "Nonce")?,
                Payload::IdI(id) => once(&mut contents.id_i, id, "IDi")?,
                Payload::IdR(id) => once(&mut contents.id_r, id, "IDr")?,
                Payload::Auth(auth) => once(&mut contents.auth, auth, "AUTH")?,
                Payload::TsI(ts) => once(&mut contents.ts_i, ts, "TSi")?,
                Payload::TsR(ts) => once(&mut contents.ts_r, ts, "TSr")?,
                Payload::Cert(cert) => contents.certs.push(cert),
                Payload::CertReq(request) => contents.cert_requests.push(request),
                Payload::Notify(notify) => contents.notifies.push(notify),
                Payload::Delete(delete) => contents.deletes.push(delete),
                Payload::VendorId(id) => contents.vendor_ids.push(id),
                Payload::Eap(_) => contents.has_eap = true,
                Payload::PuzzleSolution(keys) => once(&mut contents.solution, keys, "PS")?,
                Payload::Cp(cp) => contents.cp.push(cp),
                Payload::Encrypted(_) | Payload::EncryptedFragment(_) | Payload::Unknown { .. } => {}
            }
        }
        Ok(contents)
    }

    /// What a child SA is made of, owned: for whoever has to wait before it is decided on.
    pub(crate) fn child_owned(self) -> Contents<'static> {
        let selectors = |list: Option<Vec<TrafficSelector<'a>>>| {
            list.map(|list| list.into_iter().map(TrafficSelector::into_owned).collect())
        };
        Contents {
            sa: self.sa.map(|list| list.into_iter().map(wire::Proposal::into_owned).collect()),
            ke: self.ke.map(KeyExchange::into_owned),
            nonce: self.nonce.map(|nonce| nonce.into_owned().into()),
            ts_i: selectors(self.ts_i),
            ts_r: selectors(self.ts_r),
            notifies: self.notifies.into_iter().map(Notify::into_owned).collect(),
            cp: self.cp.into_iter().map(wire::Configuration::into_owned).collect(),
            ..Contents::default()
        }
    }

    /// The same as a copy.
    pub(crate) fn child_copy(&self) -> Contents<'static> {
        let copy = Contents {
            sa: self.sa.clone(),
            ke: self.ke.clone(),
            nonce: self.nonce.clone(),
            ts_i: self.ts_i.clone(),
            ts_r: self.ts_r.clone(),
            notifies: self.notifies.clone(),
            cp: self.cp.clone(),
            ..Contents::default()
        };
        copy.child_owned()
    }

    /// The first notification of that type.
    pub(crate) fn notify(&self, kind: NotifyType) -> Option<&Notify<'a>> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    pub(crate) fn has(&self, kind: NotifyType) -> bool {
        self.notify(kind).is_some()
    }

    /// The first error notification.
    pub(crate) fn error(&self) -> Option<&Notify<'a>> {
        self.notifies.iter().find(|notify| notify.kind.is_error())
    }

    /// Certificates that are X.509, in DER.
    pub(crate) fn x509(&self) -> Vec<Vec<u8>> {
        let x509 = self.certs.iter().filter(|cert| cert.encoding == CertEncoding::X509_SIGNATURE);
        x509.take(limits::MAX_CERTS).map(|cert| cert.data.to_vec()).collect()
    }

    /// What the peer proves itself with: its AUTH value, and its certificates with what it says of their revocation, or its
    /// public key.
    //= rfc7670 §3
    //# the SubjectPublicKeyInfo structure of the PKIX certificate is used
    pub(crate) fn proof(&self, auth: &Authentication<'_>) -> PeerProof {
        let mut raw = self.certs.iter().filter(|cert| cert.encoding == CertEncoding::RAW_PUBLIC_KEY);
        let raw_key = raw.next().map(|cert| cert.data.to_vec());
        //= rfc4806 §4.1
        //# the CERTREQ sender SHALL incorporate the OCSP response into path validation logic
        let ocsp = self.certs.iter().filter(|cert| cert.encoding == CertEncoding::OCSP_CONTENT);
        let ocsp = ocsp.take(limits::MAX_CERTS).map(|cert| cert.data.to_vec()).collect();
        PeerProof { method: auth.method.0, data: auth.data.to_vec(), certs: self.x509(), raw_key, ocsp }
    }

    /// The selectors of TSi and TSr.
    pub(crate) fn selectors(&self) -> Result<(Vec<Selector>, Vec<Selector>), Fault> {
        let ts_i = self.ts_i.as_deref().ok_or_else(|| Fault::missing("TSi"))?;
        let ts_r = self.ts_r.as_deref().ok_or_else(|| Fault::missing("TSr"))?;
        Ok((selectors(ts_i), selectors(ts_r)))
    }
}

/// Whether the payloads are those that a message of this kind may have (RFC 7296 §1.2, §1.3, §1.4, Appendix C).
/// What a response lacks is judged by whoever asked, since nothing may stand beside an error; unknown exchanges
/// are judged by the stage that they come to.
//= rfc7296 §2.5
//# implementations MUST NOT reject as invalid a message with those payloads in any other order
fn check_place(chain: &[Payload<'_>], exchange: ExchangeType, direction: Direction) -> Result<(), Fault> {
    match classify(exchange, direction, &[], chain) {
        Ok(_) | Err(Misfit::Exchange(_)) => Ok(()),
        Err(Misfit::Missing(_)) if direction == Direction::Response => Ok(()),
        Err(misfit) => Err(Fault::syntax("RFC 7296 Appendix C", misfit.to_string())),
    }
}

fn once<T>(slot: &mut Option<T>, value: T, what: &str) -> Result<(), Fault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Fault::syntax("RFC 7296 §1", format!("the {what} payload comes twice"))),
    }
}

/// The selectors that we can make sense of; another type is as if it were not there (RFC 7296 §2.9
/// lets a responder narrow it away).
fn selectors(list: &[TrafficSelector<'_>]) -> Vec<Selector> {
    let ip = list.iter().filter_map(|ts| match ts {
        TrafficSelector::Ip(ip) => Some(ip),
        TrafficSelector::Other { .. } => None,
    });
    ip.filter_map(|ip| {
        let addresses = AddressRange::new(ip.addresses.start(), ip.addresses.end())?;
        let ports = (ip.start_port, ip.end_port);
        let opaque = ports == (u16::MAX, 0);
        (ports.0 <= ports.1 || opaque).then_some(Selector {
            addresses,
            protocol: ip.protocol,
            start_port: ports.0,
            end_port: ports.1,
        })
    })
    .collect()
}

/// Selectors for a TS payload.
pub(crate) fn traffic_selectors(list: &[Selector]) -> Vec<TrafficSelector<'static>> {
    let one = |selector: &Selector| {
        let addresses = wire::AddressRange::new(selector.addresses.start(), selector.addresses.end())?;
        Some(TrafficSelector::Ip(wire::IpSelector {
            protocol: selector.protocol,
            start_port: selector.start_port,
            end_port: selector.end_port,
            addresses,
        }))
    };
    list.iter().filter_map(one).collect()
}

/// What an ID payload says.
pub(crate) fn identity(id: &Identification<'_>) -> Identity {
    let octets = || id.data.to_vec();
    let text = || String::from_utf8(id.data.to_vec()).ok();
    let known = match id.kind {
        IdType::IPV4_ADDR => {
            <[u8; 4]>::try_from(&id.data[..]).ok().map(|a| Identity::Ipv4(Ipv4Addr::from(a)))
        }
        IdType::IPV6_ADDR => {
            <[u8; 16]>::try_from(&id.data[..]).ok().map(|a| Identity::Ipv6(Ipv6Addr::from(a)))
        }
        IdType::FQDN => text().map(Identity::Fqdn),
        IdType::RFC822_ADDR => text().map(Identity::Email),
        IdType::DER_ASN1_DN => Some(Identity::Dn(octets())),
        IdType::DER_ASN1_GN => Some(Identity::Gn(octets())),
        IdType::KEY_ID => Some(Identity::KeyId(octets())),
        IdType::NULL => Some(Identity::Null),
        _ => None,
    };
    known.unwrap_or_else(|| Identity::Other(id.kind.0, octets()))
}

/// An identity as an ID payload.
pub(crate) fn identification(identity: &Identity) -> Identification<'static> {
    let (kind, data) = match identity {
        Identity::Ipv4(a) => (IdType::IPV4_ADDR, a.octets().to_vec()),
        Identity::Ipv6(a) => (IdType::IPV6_ADDR, a.octets().to_vec()),
        Identity::Fqdn(name) => (IdType::FQDN, name.clone().into_bytes()),
        Identity::Email(name) => (IdType::RFC822_ADDR, name.clone().into_bytes()),
        Identity::Dn(der) => (IdType::DER_ASN1_DN, der.clone()),
        Identity::Gn(der) => (IdType::DER_ASN1_GN, der.clone()),
        Identity::KeyId(octets) => (IdType::KEY_ID, octets.clone()),
        Identity::Null => (IdType::NULL, Vec::new()),
        Identity::Other(kind, octets) => (IdType(*kind), octets.clone()),
    };
    Identification::new(kind, data)
}

/// A peer's proposals of one protocol as the deciders read them, each with its SPI.
pub(crate) fn offers(
    proposals: &[wire::Proposal<'_>],
    protocol: ProtocolId,
    spi_len: usize,
) -> Vec<(Offer, Vec<u8>)> {
    let fitting =
        proposals.iter().filter(|proposal| proposal.protocol == protocol && proposal.spi.len() == spi_len);
    let fitting = fitting.filter(|proposal| !is_reserved(&proposal.spi));
    fitting.map(|proposal| (offer(proposal), proposal.spi.to_vec())).collect()
}

/// Whether an SPI of ESP is one that no SA can have.
//= rfc4303 §2.1
//# The set of SPI values in the range 1 through 255 is reserved […] and a value of zero must not be sent
fn is_reserved(spi: &[u8]) -> bool {
    matches!(spi, [0, 0, 0, _])
}

fn offer(proposal: &wire::Proposal<'_>) -> Offer {
    let transforms = proposal.transforms.iter().map(|transform| policy::Transform {
        kind: transform.kind,
        id: transform.id,
        key_bits: transform.key_bits(),
        has_unknown: transform.has_unknown_attribute(),
    });
    Offer { number: proposal.number, transforms: transforms.collect(), has_unknown: false }
}

/// Our proposals as an SA payload.
pub(crate) fn proposals(offers: &[Offer], protocol: ProtocolId, spi: &[u8]) -> Vec<wire::Proposal<'static>> {
    let one = |offer: &Offer| wire::Proposal {
        number: offer.number,
        protocol,
        spi: spi.to_vec().into(),
        transforms: offer.transforms.iter().map(|t| wire::Transform::new(t.kind, t.id, t.key_bits)).collect(),
    };
    offers.iter().map(one).collect()
}

/// The key exchange method that an INVALID_KE_PAYLOAD notification asks for (RFC 7296 §1.3, §3.10.1).
pub(crate) fn wished_ke(notify: &Notify<'_>) -> Option<KeMethod> {
    let method =
        <[u8; 2]>::try_from(&notify.data[..]).ok().map(|octets| KeMethod(u16::from_be_bytes(octets)));
    method.filter(|_| notify.kind == NotifyType::INVALID_KE_PAYLOAD)
}

/// The one proposal of an answer, with the peer's ESP SPI.
pub(crate) fn esp_answer(proposals: &[wire::Proposal<'_>]) -> Result<(Offer, EspSpi), String> {
    let [proposal] = proposals else {
        return Err(format!("the answer holds {} proposals instead of one", proposals.len()));
    };
    match <[u8; 4]>::try_from(&proposal.spi[..]) {
        Ok(spi) if proposal.protocol == ProtocolId::ESP && !is_reserved(&spi) => {
            Ok((offer(proposal), EspSpi(u32::from_be_bytes(spi))))
        }
        _ => Err("the answer is not for ESP with an SPI of four octets above 255".to_string()),
    }
}

/// The one proposal of an answer for an IKE SA in another's place, with the peer's SPI.
pub(crate) fn ike_rekey_answer(proposals: &[wire::Proposal<'_>]) -> Result<(Offer, IkeSpi), String> {
    let offer = ike_answer(proposals)?;
    let spi = proposals.first().and_then(|proposal| <[u8; 8]>::try_from(&proposal.spi[..]).ok());
    match spi.map(u64::from_be_bytes) {
        Some(spi) if spi != 0 => Ok((offer, IkeSpi(spi))),
        _ => Err("the answer has no SPI of eight octets".to_string()),
    }
}

/// The one proposal of an answer for an IKE SA.
pub(crate) fn ike_answer(proposals: &[wire::Proposal<'_>]) -> Result<Offer, String> {
    match proposals {
        [proposal] if proposal.protocol == ProtocolId::IKE => Ok(offer(proposal)),
        [_] => Err("the answer is not for an IKE SA".to_string()),
        _ => Err(format!("the answer holds {} proposals instead of one", proposals.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_certificates_than_the_limit_are_not_read() {
        let der = |n: usize| wire::Certificate {
            encoding: CertEncoding::X509_SIGNATURE,
            data: vec![n as u8; 3].into(),
        };
        let over = limits::MAX_CERTS + 1;
        let contents = Contents { certs: (0..over).map(der).collect(), ..Contents::default() };
        let read = contents.x509();
        assert_eq!(read.len(), limits::MAX_CERTS);
        assert_eq!(read.last(), Some(&vec![(limits::MAX_CERTS - 1) as u8; 3]), "the first ones count");
    }

    //= rfc4806 §4.1
    #[test]
    fn s044_ocsp_responses_stand_beside_the_certificates() {
        let cert = |encoding, data: &'static [u8]| wire::Certificate { encoding, data: data.into() };
        let mut certs = vec![
            cert(CertEncoding::X509_SIGNATURE, b"one"),
            cert(CertEncoding::OCSP_CONTENT, b"good"),
            cert(CertEncoding::X509_SIGNATURE, b"two"),
        ];
        certs.extend((0..limits::MAX_CERTS).map(|_| cert(CertEncoding::OCSP_CONTENT, b"again")));
        let contents = Contents { certs, ..Contents::default() };
        let auth = Authentication {
            method: wire::num::AuthMethod::DIGITAL_SIGNATURE,
            data: b"auth".as_slice().into(),
        };
        let proof = contents.proof(&auth);
        assert_eq!(proof.certs, [b"one", b"two"]);
        assert_eq!((proof.ocsp[0].as_slice(), proof.ocsp.len()), (&b"good"[..], limits::MAX_CERTS));
    }
}
