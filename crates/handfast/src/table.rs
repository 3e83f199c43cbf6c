//! `handfast status` for people.

use runtime::protocol::{Algorithms, ChildSaStatus, IkeSaStatus, ProofStatus, Status};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Connections without an IKE SA that are listed by name.
const LISTED: usize = 20;

/// Columns that a line of ours may have.
pub(crate) const WIDTH: usize = 100;

/// Lines of at most `width` columns, if no word is longer, made of `words`, which bring their separators.
pub(crate) fn wrap(words: &[&str], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in words {
        match lines.last_mut() {
            Some(line) if line.is_empty() || line.len() + word.trim_end().len() <= width => {
                line.push_str(word)
            }
            _ => lines.push((*word).to_string()),
        }
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

/// The whole status as text.
pub(crate) fn status(status: &Status) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Handfast {}, process {}, up {}, data plane {}, listening on {}",
        status.version,
        status.pid,
        seconds(status.uptime_seconds),
        match status.dataplane.as_str() {
            "none" => "none (child SAs carry no traffic)",
            other => other,
        },
        status.listen.join(" and "),
    );
    let _ = writeln!(
        out,
        "{}, {}, {} half open",
        count(status.connections.len(), "connection"),
        count(status.ike_sas.len(), "IKE SA"),
        status.half_open
    );
    for ike in &status.ike_sas {
        ike_sa(&mut out, ike);
    }
    pools(&mut out, status);
    idle(&mut out, status);
    counts(&mut out, "Dropped datagrams", &status.dropped);
    counts(&mut out, "Refusals", &status.refused);
    out
}

/// One IKE SA with its children.
pub(crate) fn ike_sa(out: &mut String, ike: &IkeSaStatus) {
    let nat = match (ike.nat_local, ike.nat_remote) {
        (false, false) => "",
        (true, false) => ", NAT before us",
        // A peer that forces UDP encapsulation looks the same.
        (false, true) => ", peer behind NAT or forcing UDP",
        (true, true) => ", NAT before us, peer behind NAT or forcing UDP",
    };
    let _ = writeln!(
        out,
        "\n{} #{}: {} for {}, we are the {}{nat}",
        ike.connection,
        ike.id,
        ike.state,
        seconds(ike.age_seconds),
        ike.role
    );
    let id = |id: &Option<String>| id.as_ref().map_or_else(String::new, |id| format!(" \"{id}\""));
    let _ = writeln!(out, "  {}{} === {}{}", ike.local, id(&ike.local_id), ike.remote, id(&ike.remote_id));
    if let (Some(ours), Some(theirs)) = (proofs(&ike.local_auth), proofs(&ike.remote_auth)) {
        let _ = writeln!(out, "  authenticated: we by {ours}; the peer by {theirs}");
    }
    if let Some(chosen) = &ike.algorithms {
        let _ = writeln!(out, "  IKE  {}{}", algorithms(chosen), weak(&ike.weak));
        if let Some(known) = &ike.post_quantum {
            let _ =
                writeln!(out, "    post-quantum: {} ({})", if known.safe { "yes" } else { "no" }, known.why);
        }
    }
    let resumption = match (ike.resumed, ike.ticket) {
        (false, false) => "",
        (true, false) => ", resumed",
        (false, true) => ", with a ticket to resume it",
        (true, true) => ", resumed, with a ticket to resume it again",
    };
    let _ = writeln!(out, "  SPIs {} {}{resumption}", ike.spi_i, ike.spi_r);
    if !ike.virtual_addresses.is_empty() {
        let servers =
            if ike.dns.is_empty() { String::new() } else { format!(", DNS {}", ike.dns.join(", ")) };
        let domains = match ike.dns_domains.as_slice() {
            [] => String::new(),
            domains => format!(" for {}", domains.join(", ")),
        };
        let _ = writeln!(out, "  our address there {}{servers}{domains}", ike.virtual_addresses.join(", "));
    }
    if !ike.subnets.is_empty() {
        let _ = writeln!(out, "  networks there {}", ike.subnets.join(", "));
    }
    if !ike.leased.is_empty() {
        let _ = writeln!(out, "  its address here {}", ike.leased.join(", "));
    }
    for child in &ike.child_sas {
        child_sa(out, child);
    }
}

/// `ECDSA P-256 and ML-DSA-65`, and whose proof the second one is where that is somebody else.
fn proofs(rounds: &[ProofStatus]) -> Option<String> {
    let (first, rest) = rounds.split_first()?;
    let mut all = first.by.clone();
    for ProofStatus { id, by } in rest {
        let _ = match *id == first.id {
            true => write!(all, " and {by}"),
            false => write!(all, ", as \"{id}\" by {by}"),
        };
    }
    Some(all)
}

fn child_sa(out: &mut String, child: &ChildSaStatus) {
    let _ = writeln!(
        out,
        "  {} #{}: {} for {}, {}",
        child.name,
        child.id,
        child.mode,
        seconds(child.age_seconds),
        if child.udp_encap { "ESP in UDP" } else { "ESP" }
    );
    let _ = writeln!(out, "    {} === {}", child.local_ts.join(", "), child.remote_ts.join(", "));
    if let Some(interface) = &child.interface {
        let _ = writeln!(out, "    through the interface {interface}");
    }
    let _ = writeln!(out, "    ESP  {}{}", algorithms(&child.algorithms), weak(&child.weak));
    if let Some(ppk) = &child.ppk {
        let _ = writeln!(out, "    post-quantum: yes (the PPK `{ppk}` is part of its own keys)");
    }
    let _ = writeln!(out, "    SPIs in {} out {}", child.spi_in, child.spi_out);
    let Some(counters) = &child.counters else {
        let _ = writeln!(out, "    counters not available");
        return;
    };
    let _ = writeln!(
        out,
        "    in   {} packets, {}   out  {} packets, {}",
        counters.packets_in,
        bytes(counters.bytes_in),
        counters.packets_out,
        bytes(counters.bytes_out)
    );
    let refused = [
        ("replayed", counters.replayed),
        ("wrong ICV", counters.bad_icv),
        ("outside the selectors", counters.outside_selectors),
        ("malformed", counters.malformed),
        ("not sent", counters.not_sent),
    ];
    let refused: Vec<String> =
        refused.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")).collect();
    if !refused.is_empty() {
        let _ = writeln!(out, "    dropped: {}", refused.join(", "));
    }
}

fn pools(out: &mut String, status: &Status) {
    for pool in &status.pools {
        let _ = writeln!(
            out,
            "\nPool {}: {} of {} in use, {} remembered",
            pool.name, pool.online, pool.size, pool.offline
        );
    }
}

fn idle(out: &mut String, status: &Status) {
    let idle: Vec<&str> = status
        .connections
        .iter()
        .filter(|connection| status.ike_sas.iter().all(|ike| ike.connection != connection.name))
        .map(|connection| connection.name.as_str())
        .collect();
    match idle.len() {
        0 => {}
        n if n <= LISTED => {
            let _ = writeln!(out, "\nNot up: {}", idle.join(", "));
        }
        n => {
            let _ = writeln!(out, "\nNot up: {} and {} more", idle[..LISTED].join(", "), n - LISTED);
        }
    }
    for connection in status.connections.iter().filter(|connection| !connection.weak.is_empty()) {
        let _ = writeln!(out, "{} allows weak algorithms: {}", connection.name, connection.weak.join(", "));
    }
}

fn counts(out: &mut String, title: &str, counts: &BTreeMap<String, u64>) {
    if !counts.is_empty() {
        let parts: Vec<String> = counts.iter().map(|(name, n)| format!("{name} {n}")).collect();
        let _ = writeln!(out, "{title}: {}", parts.join(", "));
    }
}

/// The algorithms of an SA on one line.
pub(crate) fn algorithms(chosen: &Algorithms) -> String {
    let mut parts = vec![match chosen.key_bits {
        Some(bits) => format!("{}-{bits}", chosen.encryption),
        None => chosen.encryption.clone(),
    }];
    parts.extend(chosen.integrity.clone());
    parts.extend(chosen.prf.clone());
    parts.extend(chosen.key_exchange.iter().chain(&chosen.additional_key_exchanges).cloned());
    if chosen.esn == Some(true) {
        parts.push("ESN".to_string());
    }
    parts.join(" / ")
}

fn weak(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("   WEAK: {}", names.join(", ")) }
}

/// So many of something.
pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Seconds as people say them.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..=119 => format!("{seconds:.1} s"),
        120..=7199 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Octets as people say them.
pub(crate) fn bytes(octets: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = octets as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{octets} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_a_long_word_stands_alone() {
        let words: Vec<&str> = "SA KE No N(NAT_DETECTION_SOURCE_IP) TSi".split_inclusive(' ').collect();
        assert_eq!(wrap(&words, 8), ["SA KE No", "N(NAT_DETECTION_SOURCE_IP)", "TSi"]);
        assert_eq!(wrap(&["aes256-", "sha256"], 100), ["aes256-sha256"]);
        assert_eq!(wrap(&[], 8), [""]);
    }
}
