//! Each event as one line in plain words: the log, `watch` and the progress of `up` say the same.

use policy::{ChildSuite, Identity, IkeSuite};
use sa::{ChildFacts, Drop, Event, Fate, IkeFacts, IkeSaId, MessageTrace, Proven, RefusalKind, Side};
use std::time::Duration;
use tracing::Level;
use wire::num::Integ;

/// One event, said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    /// How loud it is.
    pub(crate) level: Level,
    /// A stable name of its kind, as in `watch`.
    pub(crate) event: &'static str,
    /// The number of its IKE SA.
    pub(crate) ike_sa: Option<IkeSaId>,
    /// The sentence.
    pub(crate) text: String,
}

/// Says `event`.
pub(crate) fn sentence(event: &Event) -> Line {
    let line = |level, event, ike_sa, text| Line { level, event, ike_sa, text };
    match event {
        Event::Message(m) => line(message_level(m), "message", Some(m.ike), message(m)),
        Event::IkeUp(facts) => line(Level::INFO, "ike_up", Some(facts.ike), ike_up(facts)),
        Event::IkeDown(facts, fate) => {
            line(fate_level(fate), "ike_down", Some(facts.ike), ike_down(facts, fate))
        }
        Event::IkeRekeyed { before, facts } => {
            line(Level::INFO, "ike_rekeyed", Some(facts.ike), ike_rekeyed(*before, facts))
        }
        Event::ChildUp(ike, facts) => line(Level::INFO, "child_up", Some(*ike), child_up(facts)),
        Event::ChildDown(ike, facts, fate) => {
            let text =
                format!("Child SA \"{}\" (SPI {}) is down: {}", facts.name, facts.spi_in, say_fate(fate));
            line(fate_level(fate), "child_down", Some(*ike), text)
        }
        Event::Refused { ike, path, refusal } => {
            let who = if refusal.by_peer { "Refused by the peer" } else { "Refused" };
            let with = match &refusal.connection {
                // Some reasons begin with the connection themselves.
                Some(name) if !refusal.reason.contains(&format!("`{name}`")) => {
                    format!("{who} ({}, connection \"{name}\")", path.remote)
                }
                _ => format!("{who} ({})", path.remote),
            };
            line(Level::WARN, "refused", *ike, format!("{with}: {}", say_reason(&refusal.reason)))
        }
        Event::NotStarted { connection, children, refusal, again } => {
            line(Level::WARN, "not_started", None, not_started(connection, children, &refusal.reason, *again))
        }
        Event::Dropped { path, why } => line(
            Level::DEBUG,
            "dropped",
            None,
            format!("Dropped a datagram from {}: {}.", path.remote, say_drop(*why)),
        ),
        Event::Note { ike, text } => line(Level::INFO, "note", *ike, text.clone()),
    }
}

/// Messages are for whoever looks closely, but that a peer is silent is news: said once a request.
fn message_level(m: &MessageTrace) -> Level {
    if m.sent && !m.response && m.resent == 1 { Level::INFO } else { Level::DEBUG }
}

fn message(m: &MessageTrace) -> String {
    let kind = if m.response { "response" } else { "request" };
    let again = match m.resent {
        0 => String::new(),
        n if m.sent && !m.response => format!(", retransmission {n}: no usable answer yet"),
        n => format!(", retransmission {n}"),
    };
    let pieces = match m.datagrams {
        0 | 1 => String::new(),
        n => format!(" in {n} datagrams"),
    };
    let (verb, peer) = if m.sent {
        ("Sent", format!("to {}", m.path.remote))
    } else {
        ("Received", format!("from {}", m.path.remote))
    };
    let payloads = match m.payloads.as_str() {
        "" => "no payloads",
        names => names,
    };
    // What is sent again was told with its payloads already.
    let payloads = if m.resent == 0 { format!(": {payloads}") } else { String::new() };
    format!(
        "{verb} {} {kind} {} {peer} ({} octets{pieces}{again}){payloads}",
        m.exchange, m.message_id, m.octets
    )
}

fn not_started(connection: &str, children: &[String], reason: &str, again: Option<Duration>) -> String {
    let what = match children {
        [] => format!("Connection \"{connection}\" did not start"),
        [child] => format!("Child \"{child}\" of connection \"{connection}\" did not start"),
        [first, rest @ ..] => {
            let names = rest.iter().fold(format!("\"{first}\""), |all, name| format!("{all}, \"{name}\""));
            format!("Children {names} of connection \"{connection}\" did not start")
        }
    };
    let next = match again {
        Some(wait) => format!("Trying again in {} s.", wait.as_secs()),
        None => "It is not tried again by itself: keyingtries is reached, or the peer has said that it would be in vain.".to_string(),
    };
    format!("{what}: {} {next}", say_reason(reason))
}

/// The algorithms of an IKE SA, and whether it withstands a quantum computer.
fn with_suite(facts: &IkeFacts) -> String {
    let suite =
        facts.suite.as_ref().map_or_else(String::new, |suite| format!(" with {}", say_ike_suite(suite)));
    let safety =
        facts.post_quantum.as_ref().map_or_else(String::new, |known| format!("; post-quantum: {known}"));
    suite + &safety
}

fn ike_up(facts: &IkeFacts) -> String {
    let suite = with_suite(facts);
    let role = match facts.side {
        Side::Initiator => "initiated by us",
        Side::Responder => "initiated by the peer",
    };
    let twice =
        [("we have proved ourselves", &facts.local_auth), ("the peer has proved itself", &facts.remote_auth)];
    let twice: String = twice.iter().filter_map(|(who, rounds)| proved_twice(who, rounds)).collect();
    format!(
        "Connection \"{}\" is up with {} at {}: we are {}, IKE SA {} ({role}){suite}{twice}",
        facts.connection,
        say_id(facts.remote_id.as_ref()),
        facts.path.remote,
        say_id(facts.local_id.as_ref()),
        facts.ike.0,
    )
}

/// `; the peer has proved itself twice: as "b.example" by ECDSA P-256, then as "b.example" by ML-DSA-65`
fn proved_twice(who: &str, rounds: &[Proven]) -> Option<String> {
    let say = |Proven { id, by }: &Proven| format!("as \"{id}\" by {by}");
    let rounds: Vec<String> = rounds.iter().map(say).collect();
    (rounds.len() > 1).then(|| format!("; {who} twice: {}", rounds.join(", then ")))
}

fn ike_rekeyed(before: IkeSaId, facts: &IkeFacts) -> String {
    let suite = with_suite(facts);
    let who = match facts.side {
        Side::Initiator => "asked for by us",
        Side::Responder => "asked for by the peer",
    };
    format!(
        "Connection \"{}\" with {} has new keys: IKE SA {} takes the place of {} ({who}){suite}",
        facts.connection,
        say_id(facts.remote_id.as_ref()),
        facts.ike.0,
        before.0,
    )
}

fn ike_down(facts: &IkeFacts, fate: &Fate) -> String {
    let (at, why) = (facts.path.remote, say_fate(fate));
    let what = match facts.connection.as_str() {
        "" => "An IKE SA".to_string(),
        name => format!("Connection \"{name}\""),
    };
    match (&facts.remote_id, fate) {
        (None, _) => format!("{what} with {at} was not established: {why}"),
        (Some(id), Fate::Refused(_)) => format!("{what} with \"{id}\" at {at} has ended: {why}"),
        (Some(id), _) => {
            format!("{what} with \"{id}\" at {at} is down after {}: {why}", say_duration(facts.age))
        }
    }
}

fn child_up(facts: &ChildFacts) -> String {
    let selectors =
        |ts: &[dataplane::Selector]| ts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "Child SA \"{}\" is up: {} === {}{} with {}{}, {}, SPI {} in and {} out",
        facts.name,
        selectors(&facts.local_ts),
        selectors(&facts.remote_ts),
        facts.interface.as_ref().map_or(String::new(), |interface| format!(" through {interface}")),
        say_child_suite(&facts.suite),
        facts.ppk.as_ref().map_or(String::new(), |id| format!(" and the fresh PPK `{id}`")),
        if facts.udp_encap { "ESP in UDP" } else { "ESP" },
        facts.spi_in,
        facts.spi_out,
    )
}

fn fate_level(fate: &Fate) -> Level {
    match fate {
        // The refusal itself has its own line.
        Fate::Ordered | Fate::DeletedByPeer | Fate::Replaced | Fate::Unused | Fate::Refused(_) => Level::INFO,
        _ => Level::WARN,
    }
}

/// Why an SA ended, as the end of a sentence.
pub(crate) fn say_fate(fate: &Fate) -> String {
    match fate {
        Fate::Ordered => "we were told to close it.".into(),
        Fate::DeletedByPeer => "the peer deleted it.".into(),
        Fate::Silent { sent, after } => {
            format!("the peer did not answer; the request was sent {sent} times in {}.", say_duration(*after))
        }
        Fate::HalfOpenTimeout => "the peer never finished it.".into(),
        Fate::Refused(refusal) if refusal.by_peer => "the peer refused it, as said before.".into(),
        Fate::Refused(_) => "we refused it, as said before.".into(),
        Fate::Replaced => "a newer one replaced it.".into(),
        Fate::Crashed => "the peer has begun anew and forgotten it, as its token shows.".into(),
        Fate::Unused => "nothing used it for its `inactivity`.".into(),
        Fate::Expired => "its lifetime was over, and it got no new keys.".into(),
        Fate::Fault(what) => format!("the peer broke the protocol: {what}"),
        Fate::Dataplane(what) => format!("the data plane could not do it: {what}"),
    }
}

/// The reason of a refusal as a sentence of its own.
pub(crate) fn say_reason(reason: &str) -> String {
    let mut letters = reason.chars();
    let mut text: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

fn say_id(id: Option<&Identity>) -> String {
    id.map_or_else(|| "(unknown)".to_string(), |id| format!("\"{id}\""))
}

/// A duration as people say it.
pub(crate) fn say_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0 s".into(),
        0 => format!("{} ms", duration.as_millis().max(1)),
        1..=119 => format!("{:.1} s", duration.as_secs_f64()),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// An encryption with its key length, e.g. `AES_GCM_16-256`.
pub(crate) fn say_encr(encr: wire::num::Encr, key_bits: u16) -> String {
    if key_bits == 0 { encr.to_string() } else { format!("{encr}-{key_bits}") }
}

/// The algorithms of an IKE SA on one line.
pub(crate) fn say_ike_suite(suite: &IkeSuite) -> String {
    let mut parts = vec![say_encr(suite.encr, suite.key_bits)];
    if suite.integ != Integ::NONE {
        parts.push(suite.integ.to_string());
    }
    parts.push(suite.prf.to_string());
    parts.extend(suite.key_exchanges().map(|ke| ke.to_string()));
    parts.join(" / ")
}

/// The algorithms of a child SA on one line.
pub(crate) fn say_child_suite(suite: &ChildSuite) -> String {
    let mut parts = vec![say_encr(suite.encr, suite.key_bits)];
    if suite.integ != Integ::NONE {
        parts.push(suite.integ.to_string());
    }
    parts.extend(suite.key_exchanges().map(|ke| ke.to_string()));
    if suite.esn {
        parts.push("ESN".to_string());
    }
    parts.join(" / ")
}

/// The stable name of a kind of noise, for JSON and metrics.
pub(crate) fn drop_name(why: Drop) -> &'static str {
    match why {
        Drop::Malformed => "malformed",
        Drop::Version => "version",
        Drop::UnknownSpi => "unknown_spi",
        Drop::Unexpected => "unexpected",
        Drop::OutOfWindow => "out_of_window",
        Drop::Replay => "replay",
        Drop::BadIcv => "bad_icv",
        Drop::BadCookie => "bad_cookie",
        Drop::HalfOpenLimit => "half_open_limit",
        Drop::BadFragment => "bad_fragment",
        Drop::NotAllowed => "not_allowed",
        Drop::Unprotected => "unprotected",
        Drop::TooLarge => "too_large",
    }
}

fn say_drop(why: Drop) -> &'static str {
    match why {
        Drop::Malformed => "it is not an IKE message, is cut off, or its lengths do not add up",
        Drop::Version => "it has a major version of IKE that we do not speak",
        Drop::UnknownSpi => "no IKE SA here has its SPIs",
        Drop::Unexpected => "it answers a request that we do not have open",
        Drop::OutOfWindow => "its message id lies outside the window",
        Drop::Replay => "its request was answered already",
        Drop::BadIcv => {
            "its integrity check fails: it does not come from the peer, or was changed on the way"
        }
        Drop::BadCookie => "it carries a cookie that we did not give",
        Drop::HalfOpenLimit => "too many IKE SAs are half open",
        Drop::BadFragment => "its fragment does not fit the others",
        Drop::NotAllowed => {
            "it carries a payload that may not stand there before its sender is authenticated"
        }
        Drop::Unprotected => "it is an unprotected error notify, at most a hint",
        Drop::TooLarge => "it is larger than an IKE message may be here",
    }
}

/// The stable name of a kind of refusal, for JSON and metrics.
pub(crate) const fn refusal_name(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::NoConnection => "no_connection",
        RefusalKind::NoProposalChosen => "no_proposal_chosen",
        RefusalKind::InvalidKe => "invalid_ke",
        RefusalKind::AuthenticationFailed => "authentication_failed",
        RefusalKind::TsUnacceptable => "ts_unacceptable",
        RefusalKind::NoAdditionalSas => "no_additional_sas",
        RefusalKind::Dataplane => "dataplane",
        RefusalKind::Busy => "busy",
        RefusalKind::Silent => "silent",
        RefusalKind::PeerError => "peer_error",
        RefusalKind::NotFound => "not_found",
        RefusalKind::NoAddress => "no_address",
        RefusalKind::NoAddressFamily => "no_address_family",
        RefusalKind::Protocol => "protocol",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sa::{Path, Refusal};

    fn path() -> Path {
        Path {
            local: "192.0.2.1:500".parse().unwrap(),
            remote: "198.51.100.2:500".parse().unwrap(),
            marked: false,
        }
    }

    #[test]
    fn a_refusal_names_the_peer_and_the_connection() {
        let refusal = Refusal {
            kind: RefusalKind::NoProposalChosen,
            by_peer: true,
            connection: Some("office".into()),
            reason: "No proposal in common.".into(),
        };
        let line = sentence(&Event::Refused { ike: Some(IkeSaId(3)), path: path(), refusal });
        assert_eq!(
            line.text,
            "Refused by the peer (198.51.100.2:500, connection \"office\"): No proposal in common."
        );
        assert_eq!((line.level, line.event, line.ike_sa), (Level::WARN, "refused", Some(IkeSaId(3))));
    }

    #[test]
    fn a_retransmission_says_so() {
        let trace = MessageTrace {
            ike: IkeSaId(1),
            sent: true,
            resent: 2,
            path: path(),
            exchange: "IKE_SA_INIT".into(),
            response: false,
            message_id: base::MessageId(0),
            octets: 240,
            datagrams: 1,
            payloads: "SA KE No".into(),
        };
        assert_eq!(
            sentence(&Event::Message(trace)).text,
            "Sent IKE_SA_INIT request 0 to 198.51.100.2:500 (240 octets, retransmission 2: no usable answer yet)"
        );
    }

    #[test]
    fn a_refused_ike_sa_ends_without_repeating_the_reason() {
        let refusal = Refusal {
            kind: RefusalKind::AuthenticationFailed,
            by_peer: false,
            connection: None,
            reason: "the secrets differ".into(),
        };
        let facts = IkeFacts {
            ike: IkeSaId(3),
            connection: String::new(),
            side: Side::Responder,
            spi_i: base::IkeSpi(1),
            spi_r: base::IkeSpi(2),
            path: path(),
            local_id: None,
            remote_id: None,
            local_auth: Vec::new(),
            remote_auth: Vec::new(),
            suite: None,
            post_quantum: None,
            age: Duration::ZERO,
        };
        let refused = Event::Refused { ike: Some(IkeSaId(3)), path: path(), refusal: refusal.clone() };
        assert_eq!(sentence(&refused).text, "Refused (198.51.100.2:500): The secrets differ.");
        assert_eq!(
            sentence(&Event::IkeDown(facts, Fate::Refused(refusal))).text,
            "An IKE SA with 198.51.100.2:500 was not established: we refused it, as said before."
        );
    }

    #[test]
    fn durations_read_well() {
        let say = |ms| say_duration(Duration::from_millis(ms));
        assert_eq!(say(0), "0 s");
        assert_eq!(say(12), "12 ms");
        assert_eq!(say(1_500), "1.5 s");
        assert_eq!(say(165_000), "2 min 45 s");
        assert_eq!(say(7_260_000), "2 h 1 min");
    }
}
