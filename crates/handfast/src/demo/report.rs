//! What the demo found out: as JSON, and as text with a ladder.

use crate::demo::capture::Tally;
use crate::demo::traffic::{Pings, Stream};
use crate::table;
use runtime::protocol::{ChildSaStatus, EventReport, IkeSaStatus};
use serde::Serialize;
use std::fmt::Write;

/// Columns of the ladder right of its times, less the payloads' indent.
const LADDER: usize = 78;

/// Everything, in the shape of `handfast demo --json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether both gateways had the IKE SA and the child SA.
    pub(crate) established: bool,
    /// From the order until the child SA stood.
    pub(crate) milliseconds: f64,
    /// The whole demo.
    pub(crate) total_milliseconds: f64,
    /// As the left gateway sees it.
    pub(crate) ike_sa: Option<IkeSaStatus>,
    /// As the left gateway sees it, with its counters.
    pub(crate) child_sa: Option<ChildSaStatus>,
    /// The right gateway's view of the same child SA.
    pub(crate) peer_child_sa: Option<ChildSaStatus>,
    /// What crossed the wire between the gateways.
    pub(crate) packets: Tally,
    /// What crossed the cable between a host and its gateway: there the marker must be found.
    pub(crate) packets_inside: Tally,
    /// Whether the marker was seen on the wire between the gateways.
    pub(crate) plaintext_on_wire: bool,
    /// Whether the same search found it on the inside.
    pub(crate) plaintext_inside: bool,
    pub(crate) ping: Pings,
    pub(crate) tcp: Stream,
    /// IKE SAs and child SAs that a Delete closed in the end.
    pub(crate) closed: (usize, usize),
    /// The exchange as the left gateway told it.
    pub(crate) ladder: Vec<Rung>,
    /// What was searched for, in hexadecimal.
    pub(crate) marker: String,
    /// Facts that do not hold; empty when all is well.
    pub(crate) problems: Vec<String>,
}

/// One message of the ladder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Rung {
    /// Since the first message.
    pub(crate) milliseconds: f64,
    /// `left` or `right`.
    pub(crate) from: &'static str,
    pub(crate) exchange: String,
    pub(crate) response: bool,
    pub(crate) message_id: u32,
    pub(crate) octets: usize,
    pub(crate) datagrams: usize,
    pub(crate) payloads: String,
}

/// The messages among the left gateway's events.
pub(crate) fn ladder(events: &[EventReport]) -> Vec<Rung> {
    let messages: Vec<_> =
        events.iter().filter_map(|e| e.message.as_ref().map(|message| (e.milliseconds, message))).collect();
    let first = messages.first().map_or(0.0, |(at, _)| *at);
    messages
        .into_iter()
        .map(|(at, message)| Rung {
            milliseconds: ((at - first) * 1000.0).round() / 1000.0,
            from: if message.sent { "left" } else { "right" },
            exchange: message.exchange.clone(),
            response: message.response,
            message_id: message.message_id,
            octets: message.octets,
            datagrams: message.datagrams,
            payloads: message.payloads.clone(),
        })
        .collect()
}

impl Report {
    /// Looks at each fact; what does not hold goes into `problems`.
    pub(crate) fn judge(&mut self) {
        let mut problems = Vec::new();
        let mut must = |holds: bool, text: String| {
            if !holds {
                problems.push(text);
            }
        };
        let ping = &self.ping;
        must(self.established, "one of the gateways does not have both SAs".into());
        must(ping.answered == ping.sent, format!("{} of {} pings were answered", ping.answered, ping.sent));
        must(self.tcp.octets > 0 && self.tcp.arrived_whole, "the TCP stream did not arrive whole".into());
        must(self.packets.esp > 0, "no ESP was seen on the wire".into());
        must(
            self.packets.ike >= 4,
            format!("{} IKE messages were seen on the wire, not 4", self.packets.ike),
        );
        must(!self.plaintext_on_wire, "plaintext was seen on the wire between the gateways".into());
        must(self.plaintext_inside, "the search did not find the marker even on the inside".into());
        must(self.closed.0 > 0, "the Delete closed no IKE SA".into());
        let carried = |child: &Option<ChildSaStatus>| {
            child
                .as_ref()
                .and_then(|child| child.counters)
                .is_some_and(|c| c.packets_in > 0 && c.packets_out > 0)
        };
        must(carried(&self.child_sa), "the left gateway's child SA counted no packets both ways".into());
        must(
            carried(&self.peer_child_sa),
            "the right gateway's child SA counted no packets both ways".into(),
        );
        self.problems = problems;
    }

    /// As text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.draw_ladder(&mut out);
        if let Some(ike) = &self.ike_sa {
            let _ = writeln!(out, "\nThe SAs, as the left gateway has them:");
            table::ike_sa(&mut out, ike);
        }
        let best = self.ping.milliseconds.iter().copied().fold(f64::INFINITY, f64::min);
        let _ = writeln!(
            out,
            "\nThrough the tunnel: {} of {} pings answered (best {best:.2} ms), {} of TCP in {:.2} s: {:.2} Gbit/s",
            self.ping.answered,
            self.ping.sent,
            table::bytes(self.tcp.octets),
            self.tcp.seconds,
            self.tcp.gbit_per_second
        );
        self.prove(&mut out);
        if self.problems.is_empty() {
            let _ = writeln!(
                out,
                "\nThe tunnel stood after {:.1} ms; the demo took {:.1} s, and leaves nothing behind.",
                self.milliseconds,
                self.total_milliseconds / 1000.0
            );
        }
        for problem in &self.problems {
            let _ = writeln!(out, "\nFAILED: {problem}.");
        }
        out
    }

    fn prove(&self, out: &mut String) {
        let (wire, inside) = (&self.packets, &self.packets_inside);
        let lost = |tally: &Tally| match tally.lost {
            0 => String::new(),
            n => format!(" ({n} more passed unsearched)"),
        };
        let _ = writeln!(
            out,
            "\nEvery ping and every segment carried the marker {}. Searched for it in the captures:",
            self.marker
        );
        let _ = writeln!(
            out,
            "  between the gateways: {} frames, {}: {} IKE, {} ESP, {} other; with the marker: {}{}",
            wire.ike + wire.esp + wire.other,
            table::bytes(wire.octets),
            wire.ike,
            wire.esp,
            wire.other,
            wire.with_plaintext,
            lost(wire)
        );
        let _ = writeln!(
            out,
            "  between left host and gateway: {} frames, {}; with the marker: {}{}",
            inside.ike + inside.esp + inside.other,
            table::bytes(inside.octets),
            inside.with_plaintext,
            lost(inside)
        );
    }

    fn draw_ladder(&self, out: &mut String) {
        let _ = writeln!(out, "\n  {:>9}   left gateway {:^44} right gateway", "ms", "");
        for rung in &self.ladder {
            let kind = if rung.response { "response" } else { "request" };
            let pieces = if rung.datagrams > 1 { format!(" in {}", rung.datagrams) } else { String::new() };
            let label =
                format!(" {} {kind} {}, {} octets{pieces} ", rung.exchange, rung.message_id, rung.octets);
            let arrow =
                if rung.from == "left" { format!("{label:─^57}►") } else { format!("◄{label:─^57}") };
            let _ = writeln!(out, "  {:>9.3}   {arrow}", rung.milliseconds);
            let payloads = if rung.payloads.is_empty() { "no payloads" } else { &rung.payloads };
            let words: Vec<&str> = payloads.split_inclusive(' ').collect();
            for line in table::wrap(&words, LADDER) {
                let _ = writeln!(out, "  {:>9}      {line}", "");
            }
        }
    }
}
