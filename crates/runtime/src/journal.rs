//! The log: each event once, strangers' noise held back.
//!
//! What an unauthenticated sender can cause (dropped datagrams, refusals, IKE SAs never finished) is
//! logged a limited number of times an interval and kind, then only counted; the count is said when the
//! interval is over.

use crate::limits;
use crate::sentence::{Line, drop_name, refusal_name};
use base::Instant;
use sa::{Event, Fate, Side};
use std::collections::BTreeMap;
use tracing::Level;

/// Writes events to `tracing` and counts noise.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    noise: BTreeMap<&'static str, Window>,
    dropped: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Window {
    begin: Instant,
    said: u32,
    unsaid: u64,
}

/// What the journal decides about a line of noise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Say it.
    Say,
    /// Say it, and first how many were left unsaid in the interval before.
    SayAfter(u64),
    /// Count it only.
    Count,
}

impl Journal {
    /// Whether this is one more of a flood: it is counted, and nobody needs to put it into words.
    pub(crate) fn passes_over(&mut self, now: Instant, event: &Event) -> bool {
        let Event::Dropped { why, .. } = event else { return false };
        let kind = drop_name(*why);
        let Some(window) = self.noise.get_mut(kind) else { return false };
        if window.said < limits::NOISE_LINES || now.since(window.begin) >= limits::NOISE_INTERVAL {
            return false;
        }
        window.unsaid += 1;
        *self.dropped.entry(kind).or_default() += 1;
        true
    }

    /// Logs one event that was said as `line`.
    pub(crate) fn log(&mut self, now: Instant, event: &Event, line: &Line) {
        match event {
            Event::Dropped { why, .. } => {
                let kind = drop_name(*why);
                *self.dropped.entry(kind).or_default() += 1;
                self.noise(now, (kind, limits::NOISE_LINES), Level::INFO, line);
            }
            Event::Refused { refusal, .. } => {
                let kind = refusal_name(refusal.kind);
                *self.refused.entry(kind).or_default() += 1;
                if refusal.by_peer {
                    write(line.level, line);
                } else {
                    self.noise(now, (kind, limits::REFUSAL_LINES), line.level, line);
                }
            }
            Event::IkeDown(facts, Fate::HalfOpenTimeout | Fate::Refused(_))
                if facts.side == Side::Responder =>
            {
                self.noise(now, ("unfinished", limits::REFUSAL_LINES), line.level, line);
            }
            // Before its connection is chosen an IKE SA is anybody's.
            Event::IkeDown(facts, _) if facts.side == Side::Responder && facts.connection.is_empty() => {
                self.noise(now, ("unfinished", limits::REFUSAL_LINES), line.level, line);
            }
            _ => write(line.level, line),
        }
    }

    /// A message could not be sent. Its destination may be a stranger's choice.
    pub(crate) fn unsent(&mut self, now: Instant, line: &Line) {
        self.noise(now, ("unsent", limits::UNSENT_LINES), Level::WARN, line);
    }

    /// IKE messages were lost before the core saw them.
    pub(crate) fn overflowed(&mut self, now: Instant, lost: u64) {
        *self.dropped.entry("overload").or_default() += lost;
        let text =
            format!("{lost} IKE messages were dropped unread: more come in than this machine can answer");
        self.noise(
            now,
            ("overload", limits::NOISE_LINES),
            Level::WARN,
            &Line { level: Level::WARN, event: "dropped", ike_sa: None, text },
        );
    }

    /// Datagrams dropped, by reason.
    pub(crate) fn dropped(&self) -> &BTreeMap<&'static str, u64> {
        &self.dropped
    }

    /// Refusals, by kind.
    pub(crate) fn refused(&self) -> &BTreeMap<&'static str, u64> {
        &self.refused
    }

    /// Says a line of a kind of which so many may be said in an interval.
    fn noise(&mut self, now: Instant, (kind, most): (&'static str, u32), level: Level, line: &Line) {
        match self.verdict(now, kind, most) {
            Verdict::Count => {}
            Verdict::Say => write(level, line),
            Verdict::SayAfter(unsaid) => {
                tracing::info!(
                    event = line.event,
                    kind,
                    unsaid,
                    "{unsaid} more like the next line were not logged"
                );
                write(level, line);
            }
        }
    }

    fn verdict(&mut self, now: Instant, kind: &'static str, most: u32) -> Verdict {
        let window = self.noise.entry(kind).or_insert(Window { begin: now, said: 0, unsaid: 0 });
        let mut unsaid = 0;
        if now.since(window.begin) >= limits::NOISE_INTERVAL {
            unsaid = window.unsaid;
            *window = Window { begin: now, said: 0, unsaid: 0 };
        }
        if window.said >= most {
            window.unsaid += 1;
            return Verdict::Count;
        }
        window.said += 1;
        if unsaid > 0 { Verdict::SayAfter(unsaid) } else { Verdict::Say }
    }
}

fn write(level: Level, line: &Line) {
    let (event, text) = (line.event, &line.text);
    let ike_sa = line.ike_sa.map(|id| id.0);
    match level {
        Level::ERROR => tracing::error!(event, ike_sa, "{text}"),
        Level::WARN => tracing::warn!(event, ike_sa, "{text}"),
        Level::INFO => tracing::info!(event, ike_sa, "{text}"),
        Level::DEBUG => tracing::debug!(event, ike_sa, "{text}"),
        Level::TRACE => tracing::trace!(event, ike_sa, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_of_drops_is_counted_without_words() {
        let mut journal = Journal::default();
        let now = Instant::from_nanos(1);
        let address = "192.0.2.1:500".parse().unwrap();
        let path = sa::Path { local: address, remote: address, marked: false };
        let event = Event::Dropped { path, why: sa::Drop::Malformed };
        let line = crate::sentence::sentence(&event);
        let mut said = 0;
        for _ in 0..50_000 {
            if !journal.passes_over(now, &event) {
                journal.log(now, &event, &line);
                said += 1;
            }
        }
        assert_eq!(said, limits::NOISE_LINES);
        assert_eq!(journal.dropped().values().sum::<u64>(), 50_000);
        let other = Event::Dropped { path, why: sa::Drop::BadIcv };
        assert!(!journal.passes_over(now, &other), "another kind has its own measure");
        let later = now + limits::NOISE_INTERVAL;
        assert!(!journal.passes_over(later, &event));
        assert_eq!(
            journal.verdict(later, "malformed", limits::NOISE_LINES),
            Verdict::SayAfter(50_000 - u64::from(limits::NOISE_LINES))
        );
    }

    /// What nobody knows yet can break the protocol as often as it likes.
    #[test]
    fn faults_of_strangers_are_said_a_limited_number_of_times() {
        let mut journal = Journal::default();
        let address = "192.0.2.1:500".parse().unwrap();
        let facts = sa::IkeFacts {
            ike: sa::IkeSaId(1),
            connection: String::new(),
            side: Side::Responder,
            spi_i: base::IkeSpi(1),
            spi_r: base::IkeSpi(2),
            path: sa::Path { local: address, remote: address, marked: false },
            local_id: None,
            remote_id: None,
            local_auth: Vec::new(),
            remote_auth: Vec::new(),
            suite: None,
            post_quantum: None,
            age: Duration::ZERO,
        };
        let event = Event::IkeDown(facts, Fate::Fault("junk".to_string()));
        let line = crate::sentence::sentence(&event);
        for _ in 0..1000 {
            journal.log(Instant::from_nanos(1), &event, &line);
        }
        let window = &journal.noise["unfinished"];
        assert_eq!(
            (window.said, window.unsaid),
            (limits::REFUSAL_LINES, 1000 - u64::from(limits::REFUSAL_LINES))
        );
    }

    #[test]
    fn a_flood_is_said_five_times_then_counted_and_summed_up() {
        let mut journal = Journal::default();
        let start = Instant::from_nanos(1);
        let verdicts: Vec<Verdict> =
            (0..1000).map(|_| journal.verdict(start, "malformed", limits::NOISE_LINES)).collect();
        let said = verdicts.iter().filter(|v| **v == Verdict::Say).count();
        assert_eq!(said, limits::NOISE_LINES as usize);
        assert_eq!(
            journal.verdict(start, "bad_icv", limits::NOISE_LINES),
            Verdict::Say,
            "another kind has its own measure"
        );
        let later = start + limits::NOISE_INTERVAL;
        assert_eq!(
            journal.verdict(later, "malformed", limits::NOISE_LINES),
            Verdict::SayAfter(1000 - u64::from(limits::NOISE_LINES))
        );
        assert_eq!(
            journal.verdict(later + Duration::from_secs(1), "malformed", limits::NOISE_LINES),
            Verdict::Say
        );
    }
}
