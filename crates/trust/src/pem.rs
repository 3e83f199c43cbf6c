//! PEM (RFC 7468): the sections of a file, secrets in memory that is zeroed.

use crate::text::{Malformed, quote};
use base::Secret;
use pkcs8::der::pem::{Decoder, Error};

/// One section of a PEM file.
#[derive(Debug)]
pub(crate) struct Section {
    /// `CERTIFICATE`, `PRIVATE KEY`, …
    pub(crate) label: String,
    /// What it holds, decoded.
    pub(crate) der: Secret,
}

/// Whether `bytes` look like PEM rather than DER.
pub(crate) fn is_pem(bytes: &[u8]) -> bool {
    find(bytes, BEGIN).is_some()
}

/// The sections of `bytes`, in order; what stands between them does not matter.
///
/// # Errors
/// The first section that cannot be decoded, by its number.
pub(crate) fn sections(bytes: &[u8]) -> impl Iterator<Item = Result<Section, Malformed>> + '_ {
    let mut rest = bytes;
    let mut number = 0;
    std::iter::from_fn(move || {
        let start = find(rest, BEGIN)?;
        number += 1;
        let from_begin = &rest[start..];
        // The end line closes the section; its own line end does not belong to it.
        let Some(end) = find(from_begin, END) else {
            rest = &[];
            return Some(Err(Malformed(format!("section {number} of the PEM file has no end line"))));
        };
        let after_end = &from_begin[end + END.len()..];
        let line = after_end.iter().position(|&octet| octet == b'\n').unwrap_or(after_end.len());
        let (section, after) = from_begin.split_at(end + END.len() + line);
        rest = after;
        Some(decode(section, number))
    })
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

fn decode(section: &[u8], number: usize) -> Result<Section, Malformed> {
    let text = section.trim_ascii_end();
    if find(text, b"\nProc-Type:").is_some() {
        return Err(Malformed(format!(
            "section {number} of the PEM file is encrypted in OpenSSL's traditional way (Proc-Type), which is not supported: \
             convert it by `openssl pkcs8 -topk8 -in OLD -out NEW`"
        )));
    }
    let mut decoder = Decoder::new_detect_wrap(text).map_err(|error| malformed(number, error))?;
    let label = decoder.type_label().to_owned();
    let mut der = Secret::zeroed(decoder.remaining_len());
    let len = decoder.decode(der.expose_mut()).map_err(|error| malformed(number, error))?.len();
    der.expose_mut().truncate(len);
    if !decoder.is_finished() {
        return Err(malformed(number, Error::Length));
    }
    Ok(Section { label, der })
}

fn malformed(number: usize, error: Error) -> Malformed {
    Malformed(format!("section {number} of the PEM file cannot be decoded: {}", quote(&error.to_string())))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
