//! Distinguished names (RFC 5280 §4.1.2.4): DER as the wire and certificates carry it, and text as
//! people write it: `C=CH, O=Example, CN=gateway`, in the order of the certificate.

use std::fmt::Write;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;
const BMP_STRING: u8 = 0x1e;

/// Attribute types with a short name: content octets of the OID, name, string type that is
/// prescribed (0: PrintableString where the value allows it, else UTF8String). The first name of a type is the one
/// that is printed. Names are strongSwan's, since people bring them along.
const ATTRIBUTES: &[(&[u8], &str, u8)] = &[
    (&[0x55, 4, 3], "CN", 0),
    (&[0x55, 4, 4], "S", 0),
    (&[0x55, 4, 4], "surname", 0),
    (&[0x55, 4, 5], "serialNumber", PRINTABLE_STRING),
    (&[0x55, 4, 5], "SN", PRINTABLE_STRING),
    (&[0x55, 4, 6], "C", PRINTABLE_STRING),
    (&[0x55, 4, 7], "L", 0),
    (&[0x55, 4, 8], "ST", 0),
    (&[0x55, 4, 9], "STREET", 0),
    (&[0x55, 4, 10], "O", 0),
    (&[0x55, 4, 11], "OU", 0),
    (&[0x55, 4, 12], "T", 0),
    (&[0x55, 4, 12], "title", 0),
    (&[0x55, 4, 13], "D", 0),
    (&[0x55, 4, 17], "postalCode", 0),
    (&[0x55, 4, 41], "N", 0),
    (&[0x55, 4, 42], "G", 0),
    (&[0x55, 4, 42], "GN", 0),
    (&[0x55, 4, 42], "givenName", 0),
    (&[0x55, 4, 43], "I", 0),
    (&[0x55, 4, 46], "dnQualifier", PRINTABLE_STRING),
    (&[0x55, 4, 65], "pseudonym", 0),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "E", IA5_STRING),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress", IA5_STRING),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2], "unstructuredName", 0),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 8], "unstructuredAddress", 0),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 100, 1, 1], "UID", 0),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 100, 1, 25], "DC", IA5_STRING),
];

/// One attribute of a name, as it lies in the DER.
struct Attribute<'a> {
    /// Content octets of the type's OID.
    oid: &'a [u8],
    /// The tag of the value.
    tag: u8,
    /// Content octets of the value.
    value: &'a [u8],
}

/// The DER of the name that `text` writes: attributes separated by `,` (or each led by `/`), in
/// the order given; `+` joins the attributes of one RDN. A value may stand in double quotes, `\` takes the next
/// character literally or, before two hex digits, an octet. A type is a short name or a dotted OID.
///
/// # Errors
/// A sentence that says what is wrong where.
pub fn dn_from_text(text: &str) -> Result<Vec<u8>, String> {
    let slashes = text.trim_start().starts_with('/');
    let body = if slashes { text.trim_start().get(1..).unwrap_or("") } else { text };
    let mut rdns = Vec::new();
    for rdn in split(body, if slashes { '/' } else { ',' }) {
        let mut attributes =
            split(rdn, '+').into_iter().map(attribute_from_text).collect::<Result<Vec<_>, _>>()?;
        attributes.sort();
        rdns.extend(element(SET, &attributes.concat()));
    }
    Ok(element(SEQUENCE, &rdns))
}

/// The name `der` as people write it, with everything escaped that could disturb a terminal or
/// [`dn_from_text`]; `None` when it is not the DER of a Name.
pub fn dn_to_text(der: &[u8]) -> Option<String> {
    let mut text = String::new();
    for (index, rdn) in parse(der)?.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        for (index, attribute) in rdn.iter().enumerate() {
            if index > 0 {
                text.push_str(" + ");
            }
            match ATTRIBUTES.iter().find(|(oid, ..)| *oid == attribute.oid) {
                Some((_, name, _)) => text.push_str(name),
                None => text.push_str(&dotted(attribute.oid)),
            }
            text.push('=');
            match decode(attribute.tag, attribute.value) {
                Some(value) => escape(&value, &mut text),
                None => {
                    let _ = write!(text, "#{:02x}", attribute.tag);
                    for octet in attribute.value {
                        let _ = write!(text, "{octet:02x}");
                    }
                }
            }
        }
    }
    Some(text)
}

/// Whether two names are the same by RFC 5280 §7.1: string types do not matter, nor case, nor how
/// much white space. Names that are not DER are the same only octet by octet.
pub fn dn_equal(a: &[u8], b: &[u8]) -> bool {
    if a == b {
        return true;
    }
    let (Some(a), Some(b)) = (parse(a), parse(b)) else { return false };
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| rdn_equal(a, b))
}

fn rdn_equal(a: &[Attribute<'_>], b: &[Attribute<'_>]) -> bool {
    let canonical = |rdn: &[Attribute<'_>]| {
        let mut all: Vec<_> = rdn.iter().map(|x| (x.oid.to_vec(), folded(x.tag, x.value))).collect();
        all.sort();
        all
    };
    canonical(a) == canonical(b)
}

/// A value for comparison: text in lower case with single blanks, anything else with its tag.
fn folded(tag: u8, value: &[u8]) -> (u8, Vec<u8>) {
    match decode(tag, value) {
        Some(text) => {
            let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
            (UTF8_STRING, words.join(" ").into_bytes())
        }
        None => (tag, value.to_vec()),
    }
}

fn parse(der: &[u8]) -> Option<Vec<Vec<Attribute<'_>>>> {
    let mut name = whole(der, SEQUENCE)?;
    let mut rdns = Vec::new();
    while !name.is_empty() {
        let (tag, mut set, rest) = next(name)?;
        name = rest;
        let mut rdn = Vec::new();
        while !set.is_empty() {
            let (tag, attribute, rest) = next(set)?;
            set = rest;
            let (oid_tag, oid, value) = next(attribute)?;
            let (value_tag, value, end) = next(value)?;
            if tag != SEQUENCE || oid_tag != OID || !end.is_empty() {
                return None;
            }
            rdn.push(Attribute { oid, tag: value_tag, value });
        }
        if tag != SET || rdn.is_empty() {
            return None;
        }
        rdns.push(rdn);
    }
    Some(rdns)
}

/// The content of the one element that `der` is.
fn whole(der: &[u8], tag: u8) -> Option<&[u8]> {
    match next(der)? {
        (found, content, []) if found == tag => Some(content),
        _ => None,
    }
}

/// Tag, content and what follows; definite lengths below 2^24 in their shortest form.
fn next(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut len = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        let octets = rest.get(..count).filter(|_| (1..=3).contains(&count))?;
        len = octets.iter().fold(0, |len, &octet| len << 8 | usize::from(octet));
        let shortest = if count == 1 { 0x80 } else { 1 << (8 * (count - 1)) };
        if len < shortest {
            return None;
        }
        rest = rest.get(count..)?;
    }
    Some((tag, rest.get(..len)?, rest.get(len..)?))
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let octets = (len as u64).to_be_bytes();
    let mut out = vec![tag];
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let used = &octets[octets.iter().position(|&octet| octet != 0).unwrap_or(7)..];
        out.push(0x80 | used.len() as u8);
        out.extend(used);
    }
    out.extend(content);
    out
}

/// Splits at `separator` where it is neither quoted nor escaped.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if c == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn attribute_from_text(text: &str) -> Result<Vec<u8>, String> {
    let Some((kind, value)) = text.split_once('=') else {
        return Err(format!(
            "`{}` in a distinguished name is not of the form TYPE=value",
            text.trim().escape_debug()
        ));
    };
    let kind = kind.trim();
    let known = ATTRIBUTES.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(kind));
    let (oid, prescribed) = match known {
        Some((oid, _, prescribed)) => (oid.to_vec(), *prescribed),
        None => match oid_from_dotted(kind) {
            Some(oid) => (oid, 0),
            None => {
                return Err(format!(
                    "`{}` is not an attribute type of a distinguished name; known are C, ST, L, O, OU, CN, DC, E, \
                     serialNumber and others, or a dotted OID",
                    kind.escape_debug()
                ));
            }
        },
    };
    let value = unescape(value.trim()).ok_or_else(|| {
        format!("the value of {kind} in a distinguished name is not valid: `{}`", value.escape_debug())
    })?;
    if value.is_empty() {
        return Err(format!("the value of {kind} in a distinguished name is empty"));
    }
    let tag = match prescribed {
        IA5_STRING if value.is_ascii() => IA5_STRING,
        _ if value.chars().all(is_printable) => PRINTABLE_STRING,
        _ => UTF8_STRING,
    };
    Ok(element(SEQUENCE, &[element(OID, &oid), element(tag, value.as_bytes())].concat()))
}

/// The characters of a PrintableString (X.680 §41.4).
fn is_printable(c: char) -> bool {
    c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c)
}

fn unescape(text: &str) -> Option<String> {
    let text = match text.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"')?,
        None => text,
    };
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let mut c = c;
        if c == '\\' {
            if let Some(octet) = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                out.push(octet);
                rest = &rest[2..];
                continue;
            }
            c = rest.chars().next()?;
            rest = &rest[c.len_utf8()..];
        }
        out.extend(c.encode_utf8(&mut [0; 4]).bytes());
    }
    String::from_utf8(out).ok()
}

fn escape(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        if ",+\"\\/=".contains(c) {
            out.push('\\');
            out.push(c);
        } else if (c == ' ' && (index == 0 || index == last)) || (c != '\'' && c.escape_debug().len() > 1) {
            for octet in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "\\{octet:02x}");
            }
        } else {
            out.push(c);
        }
    }
}

/// A string value as text; TeletexString is read as Latin-1, as everybody does.
fn decode(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        UTF8_STRING => String::from_utf8(value.to_vec()).ok(),
        PRINTABLE_STRING | IA5_STRING if value.is_ascii() => String::from_utf8(value.to_vec()).ok(),
        TELETEX_STRING => Some(value.iter().map(|&octet| char::from(octet)).collect()),
        BMP_STRING if value.len().is_multiple_of(2) => {
            let units: Vec<_> =
                value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut value: u128 = 0;
    for &octet in oid {
        value = value << 7 | u128::from(octet & 0x7f);
        if value >> 120 != 0 {
            return "oid-too-long".into();
        }
        if octet & 0x80 == 0 {
            if text.is_empty() {
                let root = (value / 40).min(2);
                let _ = write!(text, "{root}.{}", value - root * 40);
            } else {
                let _ = write!(text, ".{value}");
            }
            value = 0;
        }
    }
    text
}

fn oid_from_dotted(text: &str) -> Option<Vec<u8>> {
    let arcs = text.split('.').map(|arc| arc.parse::<u32>().ok()).collect::<Option<Vec<_>>>()?;
    let [first @ 0..=2, second, rest @ ..] = arcs.as_slice() else { return None };
    if *first < 2 && *second > 39 {
        return None;
    }
    let mut out = Vec::new();
    for arc in
        std::iter::once(u64::from(*first) * 40 + u64::from(*second)).chain(rest.iter().map(|&a| a.into()))
    {
        let used = (64 - arc.leading_zeros()).div_ceil(7).max(1);
        for group in (0..used).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            out.push((arc >> (7 * group) & 0x7f) as u8 | more);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_der_and_comes_back() {
        for text in [
            "C=CH, O=Example, CN=gateway",
            "DC=org, DC=example, UID=carol",
            "C=DE, O=Häuser \\+ Söhne\\, GmbH, CN=a\\=b",
            "CN=a + OU=b",
            "1.2.840.10045.99=x, CN=\\20leading",
            "E=carol@example.org",
        ] {
            assert_eq!(dn_to_text(&dn_from_text(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn known_der_of_a_name() {
        // Made with `openssl req -subj /C=CH/CN=m` (PrintableString, UTF8String).
        let der = b"\x30\x19\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02CH\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01m";
        assert_eq!(dn_to_text(der).unwrap(), "C=CH, CN=m");
        assert!(dn_equal(der, &dn_from_text("c=ch,  cn=M").unwrap()), "neither string type nor case counts");
        assert!(!dn_equal(der, &dn_from_text("CN=m, C=CH").unwrap()), "the order counts");
        assert!(!dn_equal(der, &dn_from_text("C=CH, CN=m, CN=m").unwrap()));
    }

    #[test]
    fn quotes_slashes_and_blanks() {
        let plain = dn_from_text("C=CH, O=Example\\, Inc., CN=gw").unwrap();
        assert_eq!(dn_from_text("C=CH,O=\"Example, Inc.\",CN=gw").unwrap(), plain);
        assert_eq!(dn_from_text("/C=CH/O=Example, Inc./CN=gw").unwrap(), plain);
        assert!(dn_equal(&dn_from_text("O=a  b").unwrap(), &dn_from_text("O=A b").unwrap()));
    }

    #[test]
    fn errors_say_what() {
        assert!(dn_from_text("gateway").unwrap_err().contains("TYPE=value"));
        assert!(dn_from_text("XX=y").unwrap_err().contains("`XX` is not an attribute type"));
        assert!(dn_from_text("CN=").unwrap_err().contains("empty"));
        assert!(dn_from_text("CN=\\ff").unwrap_err().contains("not valid"));
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let der = element(
            SEQUENCE,
            &element(
                SET,
                &element(
                    SEQUENCE,
                    &[element(OID, &[0x55, 4, 3]), element(UTF8_STRING, b"a\x1b[2J\n")].concat(),
                ),
            ),
        );
        let text = dn_to_text(&der).unwrap();
        assert_eq!(text, "CN=a\\1b[2J\\0a");
        assert!(dn_equal(&dn_from_text(&text).unwrap(), &der));
    }

    #[test]
    fn what_is_not_a_name_is_no_name() {
        let good = dn_from_text("C=CH, CN=m").unwrap();
        for cut in 0..good.len() {
            assert!(dn_to_text(&good[..cut]).is_none(), "{cut}");
        }
        assert!(dn_to_text(&[&good[..], &[0]].concat()).is_none());
        assert!(dn_to_text(&[0x30, 0x81, 0x02, 0x31, 0x00]).is_none(), "a length that is not the shortest");
        assert!(dn_to_text(&[0x30, 0x02, 0x31, 0x00]).is_none(), "an empty RDN");
        assert_eq!(dn_to_text(&[0x30, 0x00]).as_deref(), Some(""), "the empty name is a name");
        assert!(dn_from_text(&"CN=x".repeat(3)).is_ok());
    }
}
