//! The configuration payload (RFC 7296 §3.15).

use super::{Octets, owned};
use crate::limits::MAX_CFG_ATTRIBUTES;
use crate::num::{CfgAttributeType, CfgShape, CfgType};
use crate::reader::Reader;
use crate::{ParseError, Problem, writer};
use std::net::{Ipv4Addr, Ipv6Addr};

/// CP: configuration asked for or given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Configuration<'a> {
    /// Whether it asks, gives, sets or acknowledges.
    pub kind: CfgType,
    /// What it is about.
    pub attributes: Vec<CfgAttribute<'a>>,
}

/// One configuration attribute (RFC 7296 §3.15.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CfgAttribute<'a> {
    /// What it is; 15 bits.
    pub kind: CfgAttributeType,
    /// Its value; empty where it asks.
    pub value: Octets<'a>,
}

/// The value of an attribute, by the shape that its type has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CfgValue {
    /// Nothing: it is asked for, without a wish.
    Empty,
    /// An IPv4 address or netmask.
    Ip4(Ipv4Addr),
    /// An IPv6 address.
    Ip6(Ipv6Addr),
    /// An IPv4 network: address and prefix length.
    Net4(Ipv4Addr, u8),
    /// An IPv6 address or network with its prefix length.
    Net6(Ipv6Addr, u8),
    /// Text.
    Text(String),
    /// Attribute types.
    Types(Vec<CfgAttributeType>),
    /// A link: interface identifier and Link ID (RFC 5739 §5.1).
    Link([u8; 8], Vec<u8>),
    /// A trust anchor: key tag, algorithm, digest type, digest (RFC 8598 §4.2).
    Anchor(u16, u8, u8, Vec<u8>),
}

impl<'a> Configuration<'a> {
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let kind = CfgType(reader.u8("the configuration type")?);
        reader.array::<3>("the reserved octets")?;
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            if attributes.len() == MAX_CFG_ATTRIBUTES {
                let what = "configuration attributes";
                return Err(reader.error(Problem::TooMany { what, limit: MAX_CFG_ATTRIBUTES }));
            }
            let kind = CfgAttributeType(reader.u16("an attribute's type")? & 0x7fff);
            let length = usize::from(reader.u16("an attribute's length")?);
            let value = reader.take(length, "an attribute's value")?.into();
            attributes.push(CfgAttribute { kind, value });
        }
        Ok(Self { kind, attributes })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind.0, 0, 0, 0]);
        for attribute in &self.attributes {
            out.extend_from_slice(&(attribute.kind.0 & 0x7fff).to_be_bytes());
            out.extend_from_slice(&writer::count16(attribute.value.len()).to_be_bytes());
            out.extend_from_slice(&attribute.value);
        }
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Configuration<'static> {
        let attributes = self.attributes.into_iter();
        let attributes = attributes.map(|a| CfgAttribute { kind: a.kind, value: owned(a.value) }).collect();
        Configuration { kind: self.kind, attributes }
    }
}

impl CfgAttribute<'_> {
    /// An attribute with that value.
    pub fn new(kind: CfgAttributeType, value: &CfgValue) -> CfgAttribute<'static> {
        let octets = match value {
            CfgValue::Empty => Vec::new(),
            CfgValue::Ip4(address) => address.octets().to_vec(),
            CfgValue::Ip6(address) => address.octets().to_vec(),
            CfgValue::Net4(address, len) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*len).min(32)).unwrap_or(0);
                [address.octets(), mask.to_be_bytes()].concat()
            }
            CfgValue::Net6(address, len) => [&address.octets()[..], &[*len]].concat(),
            CfgValue::Text(text) => text.clone().into_bytes(),
            CfgValue::Types(types) => types.iter().flat_map(|kind| kind.0.to_be_bytes()).collect(),
            CfgValue::Link(interface, id) => [&interface[..], id].concat(),
            CfgValue::Anchor(tag, algorithm, digest_type, digest) => {
                let mut octets = tag.to_be_bytes().to_vec();
                octets.extend([*algorithm, *digest_type]);
                //= rfc8598 §4.2
                //# Digest Data […] in presentation format
                octets.extend(digest.iter().flat_map(|octet| format!("{octet:02X}").into_bytes()));
                octets
            }
        };
        CfgAttribute { kind, value: octets.into() }
    }

    /// Its value; `None` when the type is not known or the value has not the shape of its type, which is to be
    /// passed over alike.
    //= rfc7296 §3.15.1
    //# Unrecognized or unsupported attributes MUST be ignored in both requests and responses.
    pub fn decode(&self) -> Option<CfgValue> {
        let shape = self.kind.shape()?;
        let value: &[u8] = &self.value;
        if value.is_empty() {
            return Some(CfgValue::Empty);
        }
        match shape {
            CfgShape::Ip4 => <[u8; 4]>::try_from(value).ok().map(|octets| CfgValue::Ip4(octets.into())),
            CfgShape::Ip6 => <[u8; 16]>::try_from(value).ok().map(|octets| CfgValue::Ip6(octets.into())),
            CfgShape::Net4 => {
                let (address, mask) = value.split_first_chunk::<4>()?;
                let mask = u32::from_be_bytes(mask.try_into().ok()?);
                let is_prefix = mask.leading_ones() + mask.trailing_zeros() >= 32;
                is_prefix.then(|| CfgValue::Net4((*address).into(), mask.leading_ones() as u8))
            }
            CfgShape::Net6 => {
                let (address, len) = value.split_first_chunk::<16>()?;
                let [len] = <[u8; 1]>::try_from(len).ok()?;
                (len <= 128).then(|| CfgValue::Net6((*address).into(), len))
            }
            CfgShape::Text => std::str::from_utf8(value).ok().map(|text| CfgValue::Text(text.to_string())),
            CfgShape::Types => {
                let (pairs, rest) = value.as_chunks::<2>();
                let kinds = pairs.iter().map(|pair| CfgAttributeType(u16::from_be_bytes(*pair) & 0x7fff));
                rest.is_empty().then(|| CfgValue::Types(kinds.collect()))
            }
            CfgShape::Link => {
                let (interface, id) = value.split_first_chunk::<8>()?;
                Some(CfgValue::Link(*interface, id.to_vec()))
            }
            CfgShape::Anchor => {
                let (head, digest) = value.split_first_chunk::<4>()?;
                let [high, low, algorithm, digest_type] = *head;
                let digest = from_hex(digest).filter(|digest| !digest.is_empty())?;
                Some(CfgValue::Anchor(u16::from_be_bytes([high, low]), algorithm, digest_type, digest))
            }
        }
    }
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_chunks::<2>();
    let digit = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
    let octets = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { octets.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written is read again; what has another length is nothing.
    #[test]
    fn values_have_the_shape_of_their_type() {
        let ip6: Ipv6Addr = "2001:db8::5".parse().unwrap();
        let all = [
            (CfgAttributeType::INTERNAL_IP4_ADDRESS, CfgValue::Ip4([10, 3, 0, 1].into())),
            (CfgAttributeType::INTERNAL_IP4_NETMASK, CfgValue::Ip4([255, 255, 255, 0].into())),
            (CfgAttributeType::INTERNAL_IP6_DNS, CfgValue::Ip6(ip6)),
            (CfgAttributeType::INTERNAL_IP4_SUBNET, CfgValue::Net4([10, 3, 0, 0].into(), 16)),
            (CfgAttributeType::INTERNAL_IP4_SUBNET, CfgValue::Net4([0, 0, 0, 0].into(), 0)),
            (CfgAttributeType::INTERNAL_IP6_ADDRESS, CfgValue::Net6(ip6, 64)),
            (CfgAttributeType::INTERNAL_IP6_PREFIX, CfgValue::Net6(ip6, 128)),
            (CfgAttributeType::INTERNAL_DNS_DOMAIN, CfgValue::Text("corp.example".into())),
            (
                CfgAttributeType::SUPPORTED_ATTRIBUTES,
                CfgValue::Types(vec![CfgAttributeType::INTERNAL_IP4_ADDRESS]),
            ),
            (CfgAttributeType::INTERNAL_IP6_LINK, CfgValue::Link([1; 8], vec![2; 3])),
            (CfgAttributeType::INTERNAL_DNSSEC_TA, CfgValue::Anchor(43547, 8, 1, vec![0xb6; 20])),
        ];
        for (kind, value) in all {
            let attribute = CfgAttribute::new(kind, &value);
            assert_eq!(attribute.decode(), Some(value), "{kind}");
            assert_eq!(CfgAttribute::new(kind, &CfgValue::Empty).decode(), Some(CfgValue::Empty));
        }
        let odd = |kind, octets: &[u8]| CfgAttribute { kind, value: octets.into() }.decode();
        assert_eq!(odd(CfgAttributeType::INTERNAL_IP4_ADDRESS, &[1; 5]), None);
        assert_eq!(odd(CfgAttributeType::INTERNAL_IP6_ADDRESS, &[1; 16]), None);
        assert_eq!(odd(CfgAttributeType::INTERNAL_IP4_SUBNET, &[10, 0, 0, 0, 255, 0, 255, 0]), None);
        assert_eq!(odd(CfgAttributeType::INTERNAL_IP6_SUBNET, &[200; 17]), None);
        assert_eq!(odd(CfgAttributeType::INTERNAL_DNS_DOMAIN, &[0xff]), None);
        assert_eq!(odd(CfgAttributeType::INTERNAL_IP6_LINK, &[1; 7]), None);
        assert_eq!(odd(CfgAttributeType::INTERNAL_DNSSEC_TA, &[1; 4]), None);
        assert_eq!(odd(CfgAttributeType::INTERNAL_DNSSEC_TA, b"\0\x01\x08\x01ABC"), None);
        assert_eq!(odd(CfgAttributeType(20_000), &[1; 4]), None);
    }
}
