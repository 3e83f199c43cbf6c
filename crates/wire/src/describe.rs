//! Messages as text: a line as ladders show it, and a tree with every field.

use crate::num::{CfgAttributeType, GroupAuth, HashAlgorithm, IdType, KeyWrap, NotifyType};
use crate::num::{Encr, EsnMode, Integ, KeMethod, Prf, TransformAttributeType, TransformType};
use crate::{
    AttributeValue, CfgAttribute, IpSelector, Message, Notify, Payload, Proposal, TrafficSelector, Transform,
};
use std::fmt::{self, Display, Formatter};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A chain in one line, such as `SA KE No N(COOKIE) CERTREQ`.
pub fn summary<'p>(payloads: &'p [Payload<'p>]) -> impl Display + 'p {
    fmt::from_fn(move |f| {
        for (index, payload) in payloads.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            write!(f, "{blank}{}", payload.summary())?;
        }
        Ok(())
    })
}

/// A chain with every field, one payload a paragraph, each line indented by `indent` blanks and ended by a line feed.
pub fn describe<'p>(payloads: &'p [Payload<'p>], indent: usize) -> impl Display + 'p {
    fmt::from_fn(move |f| payloads.iter().try_for_each(|payload| describe_payload(payload, f, indent)))
}

impl Payload<'_> {
    /// The payload in a word or two.
    pub fn summary(&self) -> impl Display + '_ {
        fmt::from_fn(move |f| match self {
            Self::Notify(notify) => match notify.kind.name() {
                Some(name) => write!(f, "N({name})"),
                None => write!(f, "N({})", notify.kind.0),
            },
            Self::Cp(configuration) => write!(f, "CP({})", configuration.kind),
            Self::Eap(eap) => match (eap.code(), eap.method()) {
                (Some(code), Some(method)) => write!(f, "EAP({code}/{method})"),
                (Some(code), None) => write!(f, "EAP({code})"),
                (None, _) => f.write_str("EAP"),
            },
            Self::EncryptedFragment(fragment) => write!(f, "SKF({}/{})", fragment.number, fragment.total),
            Self::Unknown { kind, critical: true, .. } => write!(f, "{kind}!"),
            payload => write!(f, "{}", payload.kind()),
        })
    }
}

impl Display for Message<'_> {
    /// The header in one line, then every field of every payload.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let header = &self.header;
        let direction = if header.flags.response { "response" } else { "request" };
        let sender = if header.flags.initiator { "initiator" } else { "responder" };
        writeln!(
            f,
            "{} {direction} {} from the {sender}, SPIs {}_i {}_r, version {}.{}, {} octets",
            header.exchange,
            header.message_id,
            header.spi_i,
            header.spi_r,
            header.major,
            header.minor,
            header.length
        )?;
        write!(f, "{}", describe(&self.payloads, 2))
    }
}

fn describe_payload(payload: &Payload<'_>, f: &mut Formatter<'_>, indent: usize) -> fmt::Result {
    write!(f, "{:indent$}{}", "", payload.kind())?;
    match payload {
        Payload::Sa(proposals) => {
            writeln!(f)?;
            proposals.iter().try_for_each(|proposal| describe_proposal(proposal, f, indent + 2))
        }
        Payload::Ke(ke) => writeln!(f, " {}, {}", ke.method, Octets(&ke.data)),
        Payload::IdI(id) | Payload::IdR(id) => writeln!(f, " {} {}", id.kind, Identity(id.kind, &id.data)),
        Payload::Cert(cert) => writeln!(f, " {}, {}", cert.encoding, Octets(&cert.data)),
        Payload::CertReq(request) => {
            writeln!(f, " {}, {} authorities", request.encoding, request.hashes().count())?;
            let mut hashes = request.hashes();
            hashes.try_for_each(|hash| writeln!(f, "{:1$}{2}", "", indent + 2, Hex(hash)))
        }
        Payload::Auth(auth) => match auth.digital_signature() {
            Some(inside) => writeln!(
                f,
                " {}, algorithm {}, {}",
                auth.method,
                Hex(inside.algorithm),
                Octets(inside.signature)
            ),
            None => writeln!(f, " {}, {}", auth.method, Octets(&auth.data)),
        },
        Payload::Nonce(nonce) => writeln!(f, " {}", Octets(nonce)),
        Payload::Notify(notify) => describe_notify(notify, f),
        Payload::Delete(delete) => {
            write!(f, " {}, {} SPIs", delete.protocol, delete.count())?;
            delete
                .spis
                .chunks(usize::from(delete.spi_size).max(1))
                .try_for_each(|s| write!(f, " {}", Hex(s)))?;
            writeln!(f)
        }
        Payload::VendorId(id) => writeln!(f, " {}", Text(id)),
        Payload::TsI(selectors) | Payload::TsR(selectors) => {
            writeln!(f)?;
            selectors.iter().try_for_each(|selector| writeln!(f, "{:1$}{selector}", "", indent + 2))
        }
        Payload::Encrypted(sealed) => {
            writeln!(f, " first {}, {} octets sealed", sealed.first, sealed.body.len())
        }
        Payload::EncryptedFragment(part) => writeln!(
            f,
            " fragment {} of {}, first {}, {} octets sealed",
            part.number,
            part.total,
            part.first,
            part.body.len()
        ),
        Payload::Cp(configuration) => {
            writeln!(f, " {}", configuration.kind)?;
            let mut attributes = configuration.attributes.iter();
            attributes.try_for_each(|a| writeln!(f, "{:1$}{2} {3}", "", indent + 2, a.kind, Value(a)))
        }
        Payload::Eap(eap) => {
            let identifier = eap.identifier().unwrap_or_default();
            writeln!(f, " {} identifier {identifier}, {}", payload.summary(), Octets(&eap.packet))
        }
        Payload::PuzzleSolution(keys) => match keys.chunks_exact((keys.len() / 4).max(1)) {
            four if keys.len() % 4 == 0 && !keys.is_empty() => {
                write!(f, " keys")?;
                four.into_iter().try_for_each(|key| write!(f, " {}", Hex(key)))?;
                writeln!(f)
            }
            _ => writeln!(f, " not four keys, {}", Octets(keys)),
        },
        Payload::Unknown { critical, body, .. } => {
            writeln!(f, " {}, {}", if *critical { "critical" } else { "not critical" }, Octets(body))
        }
    }
}

fn describe_proposal(proposal: &Proposal<'_>, f: &mut Formatter<'_>, indent: usize) -> fmt::Result {
    write!(f, "{:indent$}proposal {} {}", "", proposal.number, proposal.protocol)?;
    if !proposal.spi.is_empty() {
        write!(f, " SPI {}", Hex(&proposal.spi))?;
    }
    writeln!(f)?;
    let mut transforms = proposal.transforms.iter();
    transforms.try_for_each(|transform| writeln!(f, "{:1$}{transform}", "", indent + 2))
}

fn describe_notify(notify: &Notify<'_>, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, " {}", notify.kind)?;
    if !notify.spi.is_empty() {
        write!(f, " {} SPI {}", notify.protocol, Hex(&notify.spi))?;
    }
    match (notify.kind, &notify.data[..]) {
        (_, []) => writeln!(f),
        (NotifyType::SIGNATURE_HASH_ALGORITHMS, data) => {
            let (hashes, _) = data.as_chunks::<2>();
            hashes.iter().try_for_each(|hash| write!(f, " {}", HashAlgorithm(u16::from_be_bytes(*hash))))?;
            writeln!(f)
        }
        (NotifyType::INVALID_KE_PAYLOAD, [high, low]) => {
            writeln!(f, ", wanted {}", KeMethod(u16::from_be_bytes([*high, *low])))
        }
        (NotifyType::PUZZLE, [high, low, 0]) => {
            writeln!(f, ", {}, any number of zero bits", Prf(u16::from_be_bytes([*high, *low])))
        }
        (NotifyType::PUZZLE, [high, low, bits]) => {
            writeln!(f, ", {}, {bits} zero bits", Prf(u16::from_be_bytes([*high, *low])))
        }
        (NotifyType::TICKET_LT_OPAQUE, data) => match data.split_first_chunk::<4>() {
            Some((seconds, ticket)) => {
                writeln!(f, ", for {} s, {}", u32::from_be_bytes(*seconds), Octets(ticket))
            }
            None => writeln!(f, ", {}", Octets(data)),
        },
        (_, data) => writeln!(f, ", {}", Octets(data)),
    }
}

impl Display for Transform<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        match self.kind {
            TransformType::ENCR => Display::fmt(&Encr(self.id), f),
            TransformType::PRF => Display::fmt(&Prf(self.id), f),
            TransformType::INTEG => Display::fmt(&Integ(self.id), f),
            TransformType::ESN => Display::fmt(&EsnMode(self.id), f),
            TransformType::KWA => Display::fmt(&KeyWrap(self.id), f),
            TransformType::GCAUTH => Display::fmt(&GroupAuth(self.id), f),
            TransformType(4 | 6..=12) => Display::fmt(&KeMethod(self.id), f),
            _ => Display::fmt(&self.id, f),
        }?;
        self.attributes.iter().try_for_each(|attribute| match (&attribute.value, attribute.kind) {
            (AttributeValue::Short(bits), TransformAttributeType::KEY_LENGTH) => write!(f, " {bits} bits"),
            (AttributeValue::Short(value), kind) => write!(f, " {kind}={value}"),
            (AttributeValue::Long(value), kind) => write!(f, " {kind}={}", Hex(value)),
        })
    }
}

impl Display for TrafficSelector<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(selector) => selector.fmt(f),
            Self::Other { kind, second, body } => write!(f, "{kind} {second} {}", Text(body)),
        }
    }
}

impl Display for IpSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.addresses.start(), self.addresses.end());
        if start == end { write!(f, "{start}") } else { write!(f, "{start}-{end}") }?;
        match (self.protocol, self.start_port, self.end_port) {
            (0, 0, u16::MAX) => Ok(()),
            (protocol, 0, u16::MAX) => write!(f, "[{protocol}]"),
            (protocol, u16::MAX, 0) => write!(f, "[{protocol}/opaque]"),
            (protocol, start, end) if start == end => write!(f, "[{protocol}/{start}]"),
            (protocol, start, end) => write!(f, "[{protocol}/{start}-{end}]"),
        }
    }
}

/// Octets in hexadecimal.
struct Hex<'a>(&'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// How many octets, and which.
struct Octets<'a>(&'a [u8]);

impl Display for Octets<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets {}", self.0.len(), Hex(self.0))
    }
}

/// Printable ASCII in quotes, anything else in hexadecimal: nothing that a peer sends reaches a terminal as it is.
struct Text<'a>(&'a [u8]);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(self.0) {
            Ok(text) if !text.is_empty() && text.bytes().all(|c| c == b' ' || c.is_ascii_graphic()) => {
                write!(f, "\"{text}\"")
            }
            _ => Hex(self.0).fmt(f),
        }
    }
}

/// A configuration attribute's value: addresses where the type has them (RFC 7296 §3.15.1).
struct Value<'a>(&'a CfgAttribute<'a>);

impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const V4: [CfgAttributeType; 6] = [
            CfgAttributeType::INTERNAL_IP4_ADDRESS,
            CfgAttributeType::INTERNAL_IP4_NETMASK,
            CfgAttributeType::INTERNAL_IP4_DNS,
            CfgAttributeType::INTERNAL_IP4_NBNS,
            CfgAttributeType::INTERNAL_IP4_DHCP,
            CfgAttributeType::INTERNAL_IP4_SUBNET,
        ];
        const V6: [CfgAttributeType; 4] = [
            CfgAttributeType::INTERNAL_IP6_ADDRESS,
            CfgAttributeType::INTERNAL_IP6_DNS,
            CfgAttributeType::INTERNAL_IP6_DHCP,
            CfgAttributeType::INTERNAL_IP6_SUBNET,
        ];
        let Self(CfgAttribute { kind, value }) = self;
        let v4 = |at: usize| value.get(at..at + 4)?.try_into().ok().map(|a: [u8; 4]| Ipv4Addr::from(a));
        let v6 = || value.get(..16)?.try_into().ok().map(|a: [u8; 16]| Ipv6Addr::from(a));
        match (value.len(), v4(0), v4(4), v6()) {
            (4, Some(address), ..) if V4.contains(kind) => address.fmt(f),
            (8, Some(network), Some(mask), _) if V4.contains(kind) => write!(f, "{network}/{mask}"),
            (16, _, _, Some(address)) if V6.contains(kind) => address.fmt(f),
            (17, _, _, Some(address)) if V6.contains(kind) => {
                write!(f, "{address}/{}", value.last().copied().unwrap_or_default())
            }
            _ => Text(value).fmt(f),
        }
    }
}

/// An identity, read as its type says.
struct Identity<'a>(IdType, &'a [u8]);

impl Display for Identity<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.0, <[u8; 4]>::try_from(self.1), <[u8; 16]>::try_from(self.1)) {
            (IdType::IPV4_ADDR, Ok(octets), _) => Ipv4Addr::from(octets).fmt(f),
            (IdType::IPV6_ADDR, _, Ok(octets)) => Ipv6Addr::from(octets).fmt(f),
            (IdType::FQDN | IdType::RFC822_ADDR | IdType::KEY_ID, ..) => Text(self.1).fmt(f),
            _ => Hex(self.1).fmt(f),
        }
    }
}
