//! The little languages inside strings: durations, addresses, identities, traffic selectors.

use crate::reader::Fault;
use dataplane::{AddressRange, Selector};
use policy::{AddressPattern, IdPattern, Identity, dn_from_text, nearest};
use std::net::IpAddr;
use std::time::Duration;

/// `30s`, `5m`, `1h`, `2d`, `500ms`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, Fault> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || {
        Fault::new(format!("`{}` is no duration.", shown(text)))
            .hint("Write a number with a unit: 30s, 5m, 1h, 2d, 500ms.")
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit.trim() {
        "" | "s" => 1000,
        "ms" => 1,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    // Ten years: no timer needs more, and sums of such stay far from any overflow.
    let most = 10 * 365 * 86_400_000;
    match number.checked_mul(milliseconds) {
        Some(all) if all <= most => Ok(Duration::from_millis(all)),
        _ => Err(Fault::new(format!("`{}` is longer than ten years.", shown(text)))),
    }
}

/// A number of octets, with `k`, `m` or `g` for powers of 1024 as in swanctl.conf.
pub(crate) fn octets(text: &str) -> Result<u64, Fault> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" => Some(0),
        "k" | "K" => Some(10),
        "m" | "M" => Some(20),
        "g" | "G" => Some(30),
        _ => None,
    };
    let all =
        number.parse::<u64>().ok().zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    // Half of what a counter holds: a tenth can be added.
    all.filter(|all| *all <= u64::MAX / 2).ok_or_else(|| {
        Fault::new(format!("`{}` is no number of octets.", shown(text)))
            .hint("Write a number, with a unit if you like: 500m, 64g.")
    })
}

/// TOML's `true` and `false`, and swanctl's `yes` and `no`.
pub(crate) fn truth(text: &str) -> Result<bool, Fault> {
    match text {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => {
            Err(Fault::new(format!("`{}` is neither true nor false.", shown(text)))
                .hint("Write true or false."))
        }
    }
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(words: &[(&str, T)], text: &str) -> Result<T, Fault> {
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*meaning);
    }
    let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let hint = match nearest(text, words.iter().map(|(word, _)| *word)) {
        Some(near) => format!("Did you mean `{near}`? Possible: {}.", known.join(", ")),
        None => format!("Possible: {}.", known.join(", ")),
    };
    Err(Fault::new(format!("`{}` is not possible here.", shown(text))).hint(hint))
}

/// A whole number between two bounds.
pub(crate) fn number(text: &str, least: u64, most: u64) -> Result<u64, Fault> {
    match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(Fault::new(format!("`{}` is no number from {least} to {most}.", shown(text)))),
    }
}

/// An entry of `local_addrs` or `remote_addrs`.
pub(crate) fn address_pattern(text: &str) -> Result<AddressPattern, Fault> {
    let any = |range: Result<AddressRange, Fault>| range.map(AddressPattern::Range);
    match text {
        "%any" => return Ok(AddressPattern::Any),
        "%any4" => return any(range("0.0.0.0/0")),
        "%any6" => return any(range("::/0")),
        _ => {}
    }
    if text.starts_with('%') {
        return Err(Fault::new(format!("`{}` is not known.", shown(text))).hint("Did you mean `%any`?"));
    }
    if is_host_name(text)
        && !text.chars().all(|c| c.is_ascii_digit() || c == '.')
        && !is_range_of_addresses(text)
    {
        return Ok(AddressPattern::Name(text.to_string()));
    }
    any(range(text))
}

/// `10.0.0.1-10.0.0.9` is made of a host name's letters too.
fn is_range_of_addresses(text: &str) -> bool {
    text.split_once('-').is_some_and(|(start, _)| start.parse::<IpAddr>().is_ok())
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// An address, a prefix, or a range.
pub(crate) fn range(text: &str) -> Result<AddressRange, Fault> {
    let wrong = || {
        Fault::new(format!("`{}` is no address, prefix or range.", shown(text)))
            .hint("Write it like 10.1.0.1, 10.1.0.0/16, 10.0.0.1-10.0.0.9 or 2001:db8::/32.")
    };
    if let Some((address, len)) = text.split_once('/') {
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let len: u8 = len.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let too_long = || Fault::new(format!("`{}`: a prefix length here is at most {most}.", shown(text)));
        return AddressRange::from_prefix(address, len).ok_or_else(too_long);
    }
    if let Some((start, end)) = text.split_once('-') {
        let start: IpAddr = start.trim().parse().map_err(|_| wrong())?;
        let end: IpAddr = end.trim().parse().map_err(|_| wrong())?;
        let backwards = || Fault::new(format!("`{}` runs backwards or mixes IPv4 with IPv6.", shown(text)));
        return AddressRange::new(start, end).ok_or_else(backwards);
    }
    text.trim().parse().map(AddressRange::host).map_err(|_| wrong())
}

/// Whose identity: swanctl's way to tell the types apart.
pub(crate) fn id_pattern(text: &str) -> Result<IdPattern, Fault> {
    let text = text.trim();
    let wildcard = |rest: &str| !rest.is_empty() && !rest.contains('*');
    let plain = text.strip_prefix("fqdn:").or_else(|| text.strip_prefix("email:")).unwrap_or(text);
    match plain {
        "%any" | "*" => return Ok(IdPattern::Any),
        _ => {}
    }
    if let Some(domain) = plain.strip_prefix("*@")
        && wildcard(domain)
        && is_host_name(domain)
    {
        return Ok(IdPattern::EmailAt(domain.to_string()));
    }
    if let Some(domain) = plain.strip_prefix("*.")
        && wildcard(domain)
        && is_host_name(domain)
    {
        return Ok(IdPattern::FqdnBelow(domain.strip_suffix('.').unwrap_or(domain).to_string()));
    }
    identity(text).map(IdPattern::Is)
}

/// One identity.
pub(crate) fn identity(text: &str) -> Result<Identity, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::new("An identity is empty."));
    }
    if let Some((kind, rest)) = text.split_once(':')
        && let Some(identity) = prefixed(kind, rest)
    {
        return identity;
    }
    if let Some(hex) = text.strip_prefix("@#") {
        return decode_hex(hex).map(Identity::KeyId);
    }
    if let Some(email) = text.strip_prefix("@@") {
        return email_address(email);
    }
    if let Some(name) = text.strip_prefix('@') {
        return fqdn(name);
    }
    if text.contains('=') {
        return distinguished_name(text);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(ip(address));
    }
    if text.contains('@') { email_address(text) } else { fqdn(text) }
}

/// The identity of an address.
pub(crate) fn ip(address: IpAddr) -> Identity {
    match address {
        IpAddr::V4(address) => Identity::Ipv4(address),
        IpAddr::V6(address) => Identity::Ipv6(address),
    }
}

/// `None` when the part before the colon is no type: IPv6 addresses have colons too.
fn prefixed(kind: &str, rest: &str) -> Option<Result<Identity, Fault>> {
    let no_address = |_| Fault::new(format!("`{}` is no address.", shown(rest)));
    let octets = || match rest.strip_prefix('#') {
        Some(hex) => decode_hex(hex),
        None => Ok(rest.as_bytes().to_vec()),
    };
    Some(match kind {
        "fqdn" | "dns" => fqdn(rest),
        "email" | "rfc822" | "userfqdn" => email_address(rest),
        "ipv4" => rest.parse().map(Identity::Ipv4).map_err(no_address),
        "ipv6" => rest.parse().map(Identity::Ipv6).map_err(no_address),
        "keyid" => octets().map(Identity::KeyId),
        "asn1dn" | "dn" => match rest.strip_prefix('#') {
            Some(hex) => decode_hex(hex).map(Identity::Dn),
            None => distinguished_name(rest),
        },
        "asn1gn" => octets().map(Identity::Gn),
        _ => return None,
    })
}

fn distinguished_name(text: &str) -> Result<Identity, Fault> {
    let der = dn_from_text(text).map_err(|why| {
        Fault::new(format!("`{}` is no distinguished name: {why}.", shown(text)))
            .hint("Write it like \"C=CH, O=Example, CN=gw.example.org\"; another identity with `=` in it like \"keyid:…\".")
    })?;
    if text.contains("=*") {
        let hint = "Name the peer's whole subject, or use `%any` and `cacerts`.";
        return Err(Fault::new("Wildcards in a distinguished name are not supported.").hint(hint));
    }
    Ok(Identity::Dn(der))
}

fn fqdn(text: &str) -> Result<Identity, Fault> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.contains('*') {
        let hint = "A wildcard stands for whole labels at the beginning: `*.example.org`.";
        return Err(Fault::new(format!("`{}` has a wildcard where none can be.", shown(text))).hint(hint));
    }
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let hint = "Write a name like gw.example.org, or `keyid:…` for any text.";
        return Err(Fault::new(format!("`{}` is no name.", shown(text))).hint(hint));
    }
    Ok(Identity::Fqdn(name.to_string()))
}

fn email_address(text: &str) -> Result<Identity, Fault> {
    let ok = text.rsplit_once('@').is_some_and(|(mailbox, domain)| !mailbox.is_empty() && !domain.is_empty());
    if !ok || text.contains('*') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let hint = "Write it like fred@example.org; `*@example.org` is any mailbox of a domain.";
        return Err(Fault::new(format!("`{}` is no e-mail address.", shown(text))).hint(hint));
    }
    Ok(Identity::Email(text.to_string()))
}

/// Hexadecimal digits; colons between them do not matter.
pub(crate) fn decode_hex(text: &str) -> Result<Vec<u8>, Fault> {
    // Nothing of the digits goes into the error: they may be a secret.
    let wrong =
        || Fault::new("The hexadecimal digits are not right: there must be an even number of 0-9 and a-f.");
    let digits: Option<Vec<u8>> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.ok_or_else(wrong)?;
    if digits.is_empty() || digits.len() % 2 == 1 {
        return Err(wrong());
    }
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit)).collect())
}

/// A traffic selector; `None` is `dynamic`.
pub(crate) fn selector(text: &str) -> Result<Option<Selector>, Fault> {
    let (addresses, ports) = match text.split_once('[') {
        None => (text, None),
        Some((addresses, rest)) => match rest.strip_suffix(']') {
            Some(ports) => (addresses.trim(), Some(ports)),
            None => return Err(Fault::new(format!("`{}` has `[` without `]` at its end.", shown(text)))),
        },
    };
    if addresses == "dynamic" || addresses.is_empty() {
        if ports.is_some() {
            let hint = "Write the address instead of `dynamic`, or leave the ports out.";
            return Err(Fault::new("`dynamic` with a protocol or ports is not supported.").hint(hint));
        }
        return match addresses {
            "dynamic" => Ok(None),
            _ => Err(Fault::new("A traffic selector is empty.")),
        };
    }
    let mut selector = Selector::addresses(range(addresses)?);
    if let Some(ports) = ports {
        let (protocol, port) = ports.split_once('/').map_or((ports, ""), |(protocol, port)| (protocol, port));
        selector.protocol = ip_protocol(protocol.trim())?;
        (selector.start_port, selector.end_port) = port_range(port.trim())?;
        if selector.protocol == 0 && !selector.any_port() {
            let hint = "Name the protocol, as in [tcp/80].";
            return Err(Fault::new(format!("`{}` has ports without a protocol.", shown(text))).hint(hint));
        }
    }
    Ok(Some(selector))
}

const PROTOCOLS: &[(&str, u8)] = &[
    ("any", 0),
    ("tcp", 6),
    ("udp", 17),
    ("icmp", 1),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("sctp", 132),
    ("gre", 47),
    ("ipip", 4),
    ("ipencap", 4),
    ("ipv6", 41),
    ("l2tp", 115),
    ("ospf", 89),
    ("udplite", 136),
];

fn ip_protocol(text: &str) -> Result<u8, Fault> {
    match text {
        "" | "%any" => Ok(0),
        _ => match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => choice(PROTOCOLS, text),
        },
    }
}

const SERVICES: &[(&str, u16)] = &[
    ("ssh", 22),
    ("domain", 53),
    ("http", 80),
    ("ntp", 123),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("isakmp", 500),
    ("l2tp", 1701),
    ("l2f", 1701),
];

fn port_range(text: &str) -> Result<(u16, u16), Fault> {
    match text {
        "" | "any" | "%any" => return Ok((0, u16::MAX)),
        "opaque" => return Ok((u16::MAX, 0)),
        _ => {}
    }
    let port = |text: &str| match text.trim().parse::<u16>() {
        Ok(port) => Ok(port),
        Err(_) => choice(SERVICES, text.trim()).map_err(|_| {
            Fault::new(format!("`{}` is no port.", shown(text)))
                .hint("Write a number from 0 to 65535, or a range such as 1000-2000.")
        }),
    };
    let (start, end) = match text.split_once('-') {
        Some((start, end)) => (port(start)?, port(end)?),
        None => (port(text)?, port(text)?),
    };
    if start > end {
        return Err(Fault::new(format!("The ports `{}` run backwards.", shown(text))));
    }
    Ok((start, end))
}

/// Text of the file in a sentence: of one line, and not endless.
pub(crate) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{more}", cut.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<T>(result: Result<T, Fault>) -> String {
        result.err().map(|fault| fault.message).unwrap_or_default()
    }

    #[test]
    fn durations() {
        let good = [
            ("30", 30_000),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1 h", 3_600_000),
            ("2d", 172_800_000),
            ("500ms", 500),
            ("0s", 0),
        ];
        for (text, milliseconds) in good {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "s", "5 minutes", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn identities_are_told_apart_as_swanctl_does() {
        let fqdn = |name: &str| Identity::Fqdn(name.into());
        let email = |name: &str| Identity::Email(name.into());
        let cases = [
            ("fred@example.org", email("fred@example.org")),
            ("gw.example.org", fqdn("gw.example.org")),
            ("gw.example.org.", fqdn("gw.example.org")),
            ("moon", fqdn("moon")),
            ("@moon", fqdn("moon")),
            ("fqdn:10.0.0.1", fqdn("10.0.0.1")),
            ("dns:moon", fqdn("moon")),
            ("@@fred@host", email("fred@host")),
            ("email:fred@host", email("fred@host")),
            ("10.0.0.1", Identity::Ipv4([10, 0, 0, 1].into())),
            ("2001:db8::1", Identity::Ipv6("2001:db8::1".parse().unwrap())),
            ("ipv6:::1", Identity::Ipv6("::1".parse().unwrap())),
            ("@#666f6f", Identity::KeyId(b"foo".to_vec())),
            ("keyid:foo bar", Identity::KeyId(b"foo bar".to_vec())),
            ("keyid:#66:6f:6F", Identity::KeyId(b"foo".to_vec())),
            ("C=CH, O=A, CN=gw", Identity::Dn(dn_from_text("C=CH, O=A, CN=gw").unwrap())),
            ("asn1dn:CN=gw", Identity::Dn(dn_from_text("CN=gw").unwrap())),
        ];
        for (text, wanted) in cases {
            assert_eq!(identity(text).ok(), Some(wanted), "{text}");
        }
        for bad in
            ["", "   ", "a b", "@#", "@#6", "@#xy", "ipv4:1.2.3", "email:fred", "a*b.org", "CN=*", "Q=x"]
        {
            assert!(identity(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn identity_patterns() {
        assert_eq!(id_pattern("%any").ok(), Some(IdPattern::Any));
        assert_eq!(id_pattern("*.example.org").ok(), Some(IdPattern::FqdnBelow("example.org".into())));
        assert_eq!(id_pattern("*@example.org").ok(), Some(IdPattern::EmailAt("example.org".into())));
        assert_eq!(id_pattern("moon").ok(), Some(IdPattern::Is(Identity::Fqdn("moon".into()))));
        for bad in ["*.*.org", "gw.*.org", "*@", "*.", "fred@*"] {
            assert!(id_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_ranges_and_names() {
        for text in
            ["%any", "10.0.0.1", "10.0.0.0/8", "10.0.0.1-10.0.0.9", "2001:db8::1", "gw-1.example.org", "moon"]
        {
            assert_eq!(address_pattern(text).map(|a| a.to_string()).ok().as_deref(), Some(text));
        }
        assert!(why(address_pattern("10.0.0.300")).contains("no address"));
        assert!(why(address_pattern("10.0.0.0/33")).contains("at most 32"));
        assert!(why(address_pattern("10.0.0.9-10.0.0.1")).contains("backwards"));
        assert!(why(address_pattern("10.0.0.9-::1")).contains("mixes"));
        assert!(why(address_pattern("%annie")).contains("not known"));
        assert!(why(address_pattern("a b")).contains("no address"));
    }

    #[test]
    fn selectors() {
        for text in [
            "10.1.0.0/16",
            "10.0.0.1-10.0.0.9",
            "10.1.0.0/16[tcp/80]",
            "::/0[udp/1000-2000]",
            "10.1.0.0/16[icmp]",
        ] {
            assert_eq!(selector(text).ok().flatten().map(|s| s.to_string()).as_deref(), Some(text));
        }
        let shown = |text| selector(text).ok().flatten().map(|s| s.to_string()).unwrap_or_default();
        assert_eq!(shown("10.1.0.1[17/isakmp]"), "10.1.0.1/32[udp/500]");
        assert_eq!(shown("10.1.0.1[tcp/opaque]"), "10.1.0.1/32[tcp/opaque]");
        assert!(matches!(selector("dynamic"), Ok(None)));
        for bad in [
            "",
            "[tcp/80]",
            "10.1.0.0/16[tcp",
            "10.1.0.0/16[/80]",
            "10.1.0.0/16[tpc]",
            "10.1.0.0/16[tcp/x]",
            "10.1.0.0/16[tcp/9-1]",
            "dynamic[tcp]",
        ] {
            assert!(selector(bad).is_err(), "{bad}");
        }
    }
}
