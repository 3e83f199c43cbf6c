//! A walk through DER, for the structures that no library of ours reads: field by field, nothing copied.

use pkcs8::der::asn1::{AnyRef, BitStringRef, GeneralizedTime, UtcTime};
use pkcs8::der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber};

/// One value.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) tag: Tag,
    pub(crate) content: &'a [u8],
    /// With tag and length.
    pub(crate) whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// The fields inside.
    pub(crate) fn fields(&self) -> Fields<'a> {
        Fields { rest: self.content }
    }

    /// The seconds since 1970 that it stands for (RFC 5280 §4.1.2.5).
    pub(crate) fn time(&self) -> Option<i64> {
        let since = match self.tag {
            Tag::UtcTime => UtcTime::from_der(self.whole).ok()?.to_unix_duration(),
            Tag::GeneralizedTime => GeneralizedTime::from_der(self.whole).ok()?.to_unix_duration(),
            _ => return None,
        };
        i64::try_from(since.as_secs()).ok()
    }
}

/// Values that stand one after the other.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of the SEQUENCE that `der` is to its last octet.
    pub(crate) fn of(der: &'a [u8]) -> Option<Self> {
        let mut outer = Self { rest: der };
        let sequence = outer.next(Tag::Sequence)?;
        outer.is_end().then(|| sequence.fields())
    }

    /// Whether nothing follows.
    pub(crate) fn is_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Whatever comes next.
    pub(crate) fn any(&mut self) -> Option<Field<'a>> {
        let mut reader = SliceReader::new(self.rest).ok()?;
        let whole = reader.tlv_bytes().ok()?;
        let value = AnyRef::from_der(whole).ok()?;
        self.rest = self.rest.get(whole.len()..)?;
        Some(Field { tag: pkcs8::der::Tagged::tag(&value), content: value.value(), whole })
    }

    /// The next value, which has to have this tag.
    pub(crate) fn next(&mut self, tag: Tag) -> Option<Field<'a>> {
        self.any().filter(|field| field.tag == tag)
    }

    /// The next value where it has this tag; nothing is passed over where it has not.
    pub(crate) fn maybe(&mut self, tag: Tag) -> Option<Field<'a>> {
        let mut ahead = *self;
        let field = ahead.next(tag)?;
        *self = ahead;
        Some(field)
    }

    /// The octets of a BIT STRING that has no odd bits.
    pub(crate) fn bits(&mut self) -> Option<&'a [u8]> {
        BitStringRef::from_der(self.next(Tag::BitString)?.whole).ok()?.as_bytes()
    }

    /// A time of either kind.
    pub(crate) fn time(&mut self) -> Option<i64> {
        self.any()?.time()
    }
}

/// The tag `[number]` of a constructed value, as all explicit tags are.
pub(crate) const fn explicit(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// The tag `[number]` of a plain value.
pub(crate) const fn implicit(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: false, number: TagNumber(number) }
}

/// The DER of a value; nothing when it is longer than DER of ours can be.
pub(crate) fn value(tag: Tag, content: &[u8]) -> Option<Vec<u8>> {
    AnyRef::new(tag, content).and_then(|value| value.to_der()).ok()
}

/// The DER of a SEQUENCE.
pub(crate) fn sequence(content: &[u8]) -> Option<Vec<u8>> {
    value(Tag::Sequence, content)
}
