//! Notify and Delete (RFC 7296 §3.10, §3.11).

use super::{Octets, owned};
use crate::limits::MAX_DELETE_SPIS;
use crate::num::{NotifyType, ProtocolId};
use crate::reader::Reader;
use crate::{ParseError, Problem, writer};
use base::EspSpi;

/// N: an error or a status (RFC 7296 §3.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notify<'a> {
    /// The protocol of the SA that `spi` names, else [`ProtocolId::NONE`].
    pub protocol: ProtocolId,
    /// The SA that it concerns; empty where it concerns none, or the IKE SA that carries it.
    pub spi: Octets<'a>,
    /// What it says.
    pub kind: NotifyType,
    /// What else `kind` wants to be told.
    pub data: Octets<'a>,
}

impl<'a> Notify<'a> {
    /// A notification that names no SA.
    pub fn new(kind: NotifyType, data: impl Into<Octets<'a>>) -> Self {
        Self { protocol: ProtocolId::NONE, spi: Octets::Borrowed(&[]), kind, data: data.into() }
    }

    /// A notification about a child SA, such as REKEY_SA.
    pub fn about(kind: NotifyType, protocol: ProtocolId, spi: EspSpi) -> Self {
        let spi = Octets::Owned(spi.0.to_be_bytes().to_vec());
        Self { protocol, spi, kind, data: Octets::Borrowed(&[]) }
    }

    /// The child SA's SPI, where it names one.
    pub fn esp_spi(&self) -> Option<EspSpi> {
        Some(EspSpi(u32::from_be_bytes(self.spi[..].try_into().ok()?)))
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let protocol = ProtocolId(reader.u8("the notification's protocol")?);
        let spi_size = usize::from(reader.u8("the notification's SPI size")?);
        let kind = NotifyType(reader.u16("the notification's type")?);
        let spi = reader.take(spi_size, "the notification's SPI")?.into();
        Ok(Self { protocol, spi, kind, data: reader.rest().into() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.protocol.0, writer::count(self.spi.len())]);
        out.extend_from_slice(&self.kind.0.to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Notify<'static> {
        Notify { protocol: self.protocol, spi: owned(self.spi), kind: self.kind, data: owned(self.data) }
    }
}

/// D: SAs that the sender has deleted (RFC 7296 §3.11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete<'a> {
    /// The protocol of the SAs.
    pub protocol: ProtocolId,
    /// Octets of each SPI: 0 for the IKE SA, 4 for ESP and AH.
    pub spi_size: u8,
    /// The SPIs one after the other; a multiple of `spi_size` octets.
    pub spis: Octets<'a>,
}

impl<'a> Delete<'a> {
    /// Deletes the IKE SA that carries the message.
    pub const fn ike_sa() -> Self {
        Self { protocol: ProtocolId::IKE, spi_size: 0, spis: Octets::Borrowed(&[]) }
    }

    /// Deletes child SAs by the SPIs under which the sender receives.
    pub fn children(protocol: ProtocolId, spis: &[EspSpi]) -> Self {
        let spis = spis.iter().flat_map(|spi| spi.0.to_be_bytes()).collect::<Vec<u8>>();
        Self { protocol, spi_size: 4, spis: spis.into() }
    }

    /// The child SAs' SPIs; none where `spi_size` is not 4.
    pub fn esp_spis(&self) -> impl Iterator<Item = EspSpi> {
        let spis: &[u8] = if self.spi_size == 4 { &self.spis } else { &[] };
        spis.as_chunks::<4>().0.iter().map(|spi| EspSpi(u32::from_be_bytes(*spi)))
    }

    /// How many SPIs it names.
    pub fn count(&self) -> usize {
        self.spis.len().checked_div(usize::from(self.spi_size)).unwrap_or(0)
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let protocol = ProtocolId(reader.u8("the deleted SAs' protocol")?);
        let spi_size = reader.u8("the SPI size")?;
        let said = usize::from(reader.u16("the number of SPIs")?);
        if said > MAX_DELETE_SPIS {
            return Err(reader.error_before(2, Problem::TooMany { what: "SPIs", limit: MAX_DELETE_SPIS }));
        }
        let spis = reader.take(said * usize::from(spi_size), "the deleted SAs' SPIs")?;
        Ok(Self { protocol, spi_size, spis: spis.into() })
    }

    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.protocol.0, self.spi_size]);
        out.extend_from_slice(&writer::count16(self.count()).to_be_bytes());
        out.extend_from_slice(&self.spis);
    }

    /// The same with everything owned.
    pub fn into_owned(self) -> Delete<'static> {
        Delete { protocol: self.protocol, spi_size: self.spi_size, spis: owned(self.spis) }
    }
}
