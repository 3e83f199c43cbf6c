//! What was seen in a world, counted by name: which paths a run has reached.

use crate::peek::{self, Peek};
use sa::{Branches, Event, Fate};
use std::collections::BTreeMap;

/// Counters by name.
#[derive(Clone, Default, Debug)]
pub struct Stats(pub BTreeMap<String, u64>);

impl Stats {
    /// Counts one.
    pub fn count(&mut self, name: &str) {
        match self.0.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(name.to_string(), 1);
            }
        }
    }

    /// How often.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Stats) {
        for (name, count) in &other.0 {
            *self.0.entry(name.clone()).or_default() += count;
        }
    }

    /// Adds the branches that an endpoint has taken.
    pub(crate) fn taken(&mut self, branches: &Branches) {
        for (branch, count) in branches.iter().filter(|(_, count)| *count > 0) {
            *self.0.entry(branch.name().to_string()).or_default() += count;
        }
    }

    pub(crate) fn sent(&mut self, peek: &Peek, marked: bool) {
        self.count("datagrams sent");
        match (peek.exchange, peek.response) {
            (peek::IKE_SA_INIT, true) if peek.notifies.contains(&peek::COOKIE) => {
                self.count("cookie demanded")
            }
            (peek::IKE_SA_INIT, false) if peek.notifies.contains(&peek::COOKIE) => {
                self.count("cookie returned")
            }
            (peek::IKE_SA_INIT, true) if peek.notifies.contains(&peek::INVALID_KE_PAYLOAD) => {
                self.count("another group demanded");
            }
            (peek::IKE_SESSION_RESUME, true) if peek.notifies.contains(&peek::TICKET_NACK) => {
                self.count("ticket refused");
            }
            (peek::IKE_SESSION_RESUME, true) if peek.payloads.contains(&peek::NONCE) => {
                self.count("ticket taken");
            }
            (peek::CREATE_CHILD_SA, true) => self.count("CREATE_CHILD_SA answered"),
            (peek::INFORMATIONAL, true) if peek.is_protected() => self.count("INFORMATIONAL answered"),
            _ => {}
        }
        if peek.fragment.is_some() {
            self.count("fragments sent");
        }
        if marked {
            self.count("datagrams on port 4500");
        }
    }

    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::IkeUp(_) => self.count("IKE SA up"),
            Event::IkeDown(_, fate) => self.count(&format!("IKE SA down: {}", fate_name(fate))),
            Event::IkeRekeyed { facts, .. } => self.count(&format!("IKE SA rekeyed as {:?}", facts.side)),
            Event::ChildUp(..) => self.count("child up"),
            Event::ChildDown(_, _, fate) => self.count(&format!("child down: {}", fate_name(fate))),
            Event::Refused { refusal, .. } => {
                let by = if refusal.by_peer { "by the peer" } else { "by us" };
                self.count(&format!("refused {by}: {:?}", refusal.kind));
            }
            Event::NotStarted { again, .. } => {
                self.count(if again.is_some() {
                    "not started, again later"
                } else {
                    "not started, given up"
                });
            }
            Event::Dropped { why, .. } => self.count(&format!("dropped: {why:?}")),
            Event::Message(trace) if !trace.sent && trace.datagrams > 1 => self.count("message reassembled"),
            Event::Note { text, .. } if text.contains("at once") || text.contains("busy") => {
                // Sentences without names: one for each branch of a collision.
                let branch = text.split('`').step_by(2).collect::<Vec<_>>().join("…");
                self.count(&format!("note: {branch}"));
            }
            Event::Message(_) | Event::Note { .. } => {}
        }
    }
}

fn fate_name(fate: &Fate) -> String {
    match fate {
        Fate::Ordered => "Ordered".to_string(),
        Fate::DeletedByPeer => "DeletedByPeer".to_string(),
        Fate::Silent { .. } => "Silent".to_string(),
        Fate::HalfOpenTimeout => "HalfOpenTimeout".to_string(),
        Fate::Refused(refusal) => format!("Refused {:?}", refusal.kind),
        Fate::Replaced => "Replaced".to_string(),
        Fate::Crashed => "Crashed".to_string(),
        Fate::Expired => "Expired".to_string(),
        Fate::Unused => "Unused".to_string(),
        Fate::Fault(_) => "Fault".to_string(),
        Fate::Dataplane(_) => "Dataplane".to_string(),
    }
}
