//! Length fields that are known only when their content is written.

/// Where a 16-bit length field waits for its value.
pub(crate) struct Hole {
    /// The first octet that the length counts.
    start: usize,
    /// The field itself.
    field: usize,
}

/// Opens a structure that starts here and whose 16-bit length field follows after `before`.
pub(crate) fn open(out: &mut Vec<u8>, before: &[u8]) -> Hole {
    let start = out.len();
    out.extend_from_slice(before);
    let field = out.len();
    out.extend_from_slice(&[0, 0]);
    Hole { start, field }
}

/// Fills the length field in. A structure longer than 65,535 octets has no encoding: the field then holds 65,535,
/// which `parse` refuses.
pub(crate) fn close(out: &mut [u8], hole: &Hole) {
    let length = u16::try_from(out.len() - hole.start).unwrap_or(u16::MAX);
    if let Some(field) = out.get_mut(hole.field..hole.field + 2) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// A count for a one-octet field; what does not fit becomes 255, which `parse` refuses.
pub(crate) fn count(entries: usize) -> u8 {
    u8::try_from(entries).unwrap_or(u8::MAX)
}

/// A length or count for a two-octet field; what does not fit becomes 65,535, which `parse` refuses.
pub(crate) fn count16(entries: usize) -> u16 {
    u16::try_from(entries).unwrap_or(u16::MAX)
}
