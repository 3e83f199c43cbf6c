//! The TS payloads: traffic selectors (RFC 7296 §3.13).

use super::{Octets, owned};
use crate::num::TsType;
use crate::reader::Reader;
use crate::{ParseError, Problem, writer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SELECTOR_HEADER: usize = 4;

/// One traffic selector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrafficSelector<'a> {
    /// Addresses, a protocol and ports.
    Ip(IpSelector),
    /// Another type, such as TS_SECLABEL (RFC 9478).
    Other {
        /// Its type.
        kind: TsType,
        /// What stands after type, protocol or reserved octet, and length.
        body: Octets<'a>,
        /// The octet after the type, which IP selectors use for the protocol.
        second: u8,
    },
}

/// A range of addresses and ports (RFC 7296 §3.13.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IpSelector {
    /// The IP protocol; 0 for any.
    pub protocol: u8,
    /// The first port; for ICMP and MH the type and code. 0 with an end of 65,535 means any; 65,535 with an end
    /// of 0 means OPAQUE.
    pub start_port: u16,
    /// The last port.
    pub end_port: u16,
    /// The addresses.
    pub addresses: AddressRange,
}

/// The first and the last address of a range, in one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddressRange {
    /// IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl AddressRange {
    /// The range from `start` to `end`; `None` when the families differ.
    pub const fn new(start: IpAddr, end: IpAddr) -> Option<Self> {
        match (start, end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => Some(Self::V4(start, end)),
            (IpAddr::V6(start), IpAddr::V6(end)) => Some(Self::V6(start, end)),
            _ => None,
        }
    }

    /// The first address.
    pub const fn start(self) -> IpAddr {
        match self {
            Self::V4(start, _) => IpAddr::V4(start),
            Self::V6(start, _) => IpAddr::V6(start),
        }
    }

    /// The last address.
    pub const fn end(self) -> IpAddr {
        match self {
            Self::V4(_, end) => IpAddr::V4(end),
            Self::V6(_, end) => IpAddr::V6(end),
        }
    }
}

impl IpSelector {
    /// Any protocol and port of those addresses.
    pub const fn any(addresses: AddressRange) -> Self {
        Self { protocol: 0, start_port: 0, end_port: u16::MAX, addresses }
    }
}

impl<'a> TrafficSelector<'a> {
    /// Its type.
    pub const fn kind(&self) -> TsType {
        match self {
            Self::Ip(IpSelector { addresses: AddressRange::V4(..), .. }) => TsType::IPV4_ADDR_RANGE,
            Self::Ip(IpSelector { addresses: AddressRange::V6(..), .. }) => TsType::IPV6_ADDR_RANGE,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> TrafficSelector<'static> {
        match self {
            Self::Ip(selector) => TrafficSelector::Ip(selector),
            Self::Other { kind, second, body } => TrafficSelector::Other { kind, second, body: owned(body) },
        }
    }

    fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let kind = TsType(reader.u8("a selector's type")?);
        let second = reader.u8("a selector's protocol")?;
        let length = usize::from(reader.u16("a selector's length")?);
        let Some(length) = length.checked_sub(SELECTOR_HEADER) else {
            let what = "a selector";
            let problem = Problem::Truncated { what, need: SELECTOR_HEADER, have: length };
            return Err(reader.error_before(2, problem));
        };
        let mut inside = reader.part(length, "a selector")?;
        let selector = match kind {
            TsType::IPV4_ADDR_RANGE => Self::ip(second, &mut inside, |from: [u8; 4], to: [u8; 4]| {
                AddressRange::V4(from.into(), to.into())
            })?,
            TsType::IPV6_ADDR_RANGE => Self::ip(second, &mut inside, |from: [u8; 16], to: [u8; 16]| {
                AddressRange::V6(from.into(), to.into())
            })?,
            _ => Self::Other { kind, second, body: inside.rest().into() },
        };
        inside.end("a selector")?;
        Ok(selector)
    }

    fn ip<const N: usize>(
        protocol: u8,
        inside: &mut Reader<'a>,
        range: fn([u8; N], [u8; N]) -> AddressRange,
    ) -> Result<Self, ParseError> {
        let start_port = inside.u16("a selector's start port")?;
        let end_port = inside.u16("a selector's end port")?;
        let start = inside.array("a selector's start address")?;
        let end = inside.array("a selector's end address")?;
        Ok(Self::Ip(IpSelector { protocol, start_port, end_port, addresses: range(start, end) }))
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let second = match self {
            Self::Ip(selector) => selector.protocol,
            Self::Other { second, .. } => *second,
        };
        let hole = writer::open(out, &[self.kind().0, second]);
        match self {
            Self::Ip(selector) => {
                out.extend_from_slice(&selector.start_port.to_be_bytes());
                out.extend_from_slice(&selector.end_port.to_be_bytes());
                match selector.addresses {
                    AddressRange::V4(start, end) => {
                        out.extend([start, end].iter().flat_map(Ipv4Addr::octets))
                    }
                    AddressRange::V6(start, end) => {
                        out.extend([start, end].iter().flat_map(Ipv6Addr::octets))
                    }
                }
            }
            Self::Other { body, .. } => out.extend_from_slice(body),
        }
        writer::close(out, &hole);
    }
}

/// Reads the selectors that fill a TS payload.
pub(super) fn parse<'a>(reader: &mut Reader<'a>) -> Result<Vec<TrafficSelector<'a>>, ParseError> {
    let said = usize::from(reader.u8("the number of selectors")?);
    reader.array::<3>("the reserved octets")?;
    let mut selectors = Vec::with_capacity(said.min(reader.len() / SELECTOR_HEADER));
    for _ in 0..said {
        selectors.push(TrafficSelector::parse(reader)?);
    }
    Ok(selectors)
}

/// Appends a TS payload's body.
pub(super) fn emit(selectors: &[TrafficSelector<'_>], out: &mut Vec<u8>) {
    out.extend_from_slice(&[writer::count(selectors.len()), 0, 0, 0]);
    for selector in selectors {
        selector.emit(out);
    }
}
