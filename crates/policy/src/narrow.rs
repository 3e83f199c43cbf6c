//! Traffic selectors of a child SA: what we propose, what we narrow a proposal to, and whether an
//! answer to ours was only narrowed (RFC 7296 §2.9).

use crate::cover::{all_within, within};
use crate::limits::{LISTED_SELECTORS, SELECTORS};
use crate::{Child, Connection};
use dataplane::{AddressRange, Mode, Selector};
use std::fmt;
use std::net::IpAddr;

/// The outer addresses, as the side that decides sees them: `dynamic` selectors stand for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ends {
    /// Ours.
    pub local: IpAddr,
    /// The peer's.
    pub remote: IpAddr,
}

/// The traffic of a child SA, decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Narrowed {
    /// Our side, for our TS payload; no selector covers another.
    pub local: Vec<Selector>,
    /// The peer's side.
    pub remote: Vec<Selector>,
    /// Whether it is less than what the peer proposed.
    pub narrowed: bool,
}

/// Two sides of selectors: ours and the peer's.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// Our side.
    pub local: &'a [Selector],
    /// The peer's side.
    pub remote: &'a [Selector],
}

impl Sides<'_> {
    /// Whether `other` allows all of it on both sides.
    fn is_within(self, other: Sides<'_>) -> bool {
        all_within(self.local, other.local) && all_within(self.remote, other.remote)
    }
}

/// Why there is no traffic in common (TS_UNACCEPTABLE), or why an answer is not accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TsRefusal {
    /// The child whose configuration came nearest.
    pub child: Option<String>,
    /// What was offered and what is wanted, in a sentence or two.
    pub reason: String,
}

impl fmt::Display for TsRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for TsRefusal {}

/// What we propose for `child`: ours and the peer's selectors, with those of the packet that wants
/// the SA first.
pub fn propose(
    child: &Child,
    ends: Ends,
    packet: Option<(Selector, Selector)>,
) -> (Vec<Selector>, Vec<Selector>) {
    let (mut local, mut remote) = configured(child, ends);
    if let Some((source, destination)) = packet {
        //= rfc7296 §2.9
        // The first selector of each side is the packet's own.
        local.insert(0, source);
        remote.insert(0, destination);
    }
    (local, remote)
}

/// Narrows what the peer proposes to what `child` allows. What lies in the peer's first selectors
/// comes first in the result.
pub fn narrow(child: &Child, offered: Sides<'_>, ends: Ends) -> Result<Narrowed, TsRefusal> {
    let (own_local, own_remote) = configured(child, ends);
    let mut local = common(offered.local, &own_local);
    let mut remote = common(offered.remote, &own_remote);
    let refuse = |reason: String| TsRefusal { child: Some(child.name.clone()), reason };
    for (side, found, offered, own) in
        [("our", &local, offered.local, &own_local), ("the peer's", &remote, offered.remote, &own_remote)]
    {
        if found.is_empty() {
            let (offered, own) = (list(offered), list(own));
            return Err(refuse(format!(
                "On {side} side, child `{}` and the peer have no traffic in common: offered {offered}, wanted {own}.",
                child.name
            )));
        }
    }
    keep_what_meets(&mut local, &mut remote);
    if local.is_empty() {
        let (offered_local, offered_remote) = (list(offered.local), list(offered.remote));
        return Err(refuse(format!(
            "No packet can match both sides of what is left for child `{}`: offered {offered_local} on our side and \
             {offered_remote} on the peer's, wanted {} and {}.",
            child.name,
            list(&own_local),
            list(&own_remote)
        )));
    }
    local.truncate(SELECTORS);
    remote.truncate(SELECTORS);
    let narrowed = !offered.is_within(Sides { local: &local, remote: &remote });
    Ok(Narrowed { local, remote, narrowed })
}

/// Narrows, as responder, what the peer proposes for the successor of a child SA that carries `in_use`: never to less
/// than that, nor to more than `child` allows. After a change of configuration or of addresses, which can leave the old
/// traffic outside of `child`, the successor carries just the old traffic.
//= rfc7296 §2.9.2
//# The responder MUST NOT narrow down the Traffic Selectors narrower than the scope currently in use.
pub fn narrow_for_rekey(
    child: &Child,
    sent: Sides<'_>,
    in_use: Sides<'_>,
    ends: Ends,
) -> Result<Narrowed, TsRefusal> {
    let (local, remote) = configured(child, ends);
    let configured = Sides { local: &local, remote: &remote };
    let own = if in_use.is_within(configured) { configured } else { in_use };
    let (mut local, mut remote) = (common(sent.local, own.local), common(sent.remote, own.remote));
    keep_what_meets(&mut local, &mut remote);
    if local.len() > SELECTORS || remote.len() > SELECTORS {
        (local, remote) = (in_use.local.to_vec(), in_use.remote.to_vec());
    }
    let result = Sides { local: &local, remote: &remote };
    if !in_use.is_within(result) || !result.is_within(sent) {
        let reason = format!(
            "The peer wants new keys for child `{}`, but for less traffic than it carries: it carries {} on our side and {} on \
             the peer's, asked for are {} and {}.",
            child.name,
            list(in_use.local),
            list(in_use.remote),
            list(sent.local),
            list(sent.remote)
        );
        return Err(TsRefusal { child: Some(child.name.clone()), reason });
    }
    let narrowed = !sent.is_within(result);
    Ok(Narrowed { local, remote, narrowed })
}

/// The child of `connection` for what the peer proposes, by its place, with the mode that results.
/// A child that takes it all wins over one that takes a part, else the first in the file.
/// `transport` says whether the peer asked for transport mode; a child for tunnel mode answers
/// that with tunnel mode (RFC 7296 §1.3.1), a child for transport mode takes nothing else.
pub fn select_child(
    connection: &Connection,
    offered: Sides<'_>,
    ends: Ends,
    transport: bool,
) -> Result<(usize, Mode, Narrowed), TsRefusal> {
    let mut best: Option<(bool, bool, usize, Narrowed)> = None;
    let mut refusal = None;
    for (index, child) in connection.children.iter().enumerate() {
        if child.mode == Mode::Transport && !transport {
            refusal.get_or_insert_with(|| TsRefusal {
                child: Some(child.name.clone()),
                reason: format!(
                    "Child `{}` wants transport mode, but the peer asked for tunnel mode: set `mode` to the same on both sides.",
                    child.name
                ),
            });
            continue;
        }
        match narrow(child, offered, ends) {
            Ok(narrowed) => {
                let same_mode = (child.mode == Mode::Transport) == transport;
                let better = best
                    .as_ref()
                    .is_none_or(|(mode, whole, ..)| (same_mode, !narrowed.narrowed) > (*mode, *whole));
                if better {
                    best = Some((same_mode, !narrowed.narrowed, index, narrowed));
                }
            }
            Err(error) => {
                refusal.get_or_insert(error);
            }
        }
    }
    match (best, refusal) {
        (Some((.., index, narrowed)), _) => {
            let mode = connection.children.get(index).map_or(Mode::Tunnel, |child| child.mode);
            Ok((index, mode, narrowed))
        }
        (None, Some(refusal)) => Err(refusal),
        (None, None) => Err(TsRefusal {
            child: None,
            reason: format!("Connection `{}` has no children.", connection.name),
        }),
    }
}

/// Checks, as initiator, that the responder only narrowed what we proposed.
pub fn accept_narrowed(sent: Sides<'_>, answer: Sides<'_>) -> Result<(), TsRefusal> {
    for (side, sent, answer) in [("our", sent.local, answer.local), ("its own", sent.remote, answer.remote)] {
        if answer.is_empty() {
            let reason = format!("The peer's answer names no traffic on {side} side.");
            return Err(TsRefusal { child: None, reason });
        }
        if let Some(wide) = answer.iter().find(|selector| !within(selector, sent)) {
            let sent = list(sent);
            let reason = format!(
                "The peer's answer widens the traffic on {side} side: it names {wide}, proposed was {sent}."
            );
            return Err(TsRefusal { child: None, reason });
        }
    }
    Ok(())
}

/// Checks, as initiator of new keys for a child SA that carries `in_use`, that the answer takes nothing from it.
//= rfc7296 §2.9.2
//# the new SA MUST NOT have narrower selectors than the original
pub fn accept_rekeyed(sent: Sides<'_>, answer: Sides<'_>, in_use: Sides<'_>) -> Result<(), TsRefusal> {
    accept_narrowed(sent, answer)?;
    if in_use.is_within(answer) {
        return Ok(());
    }
    let reason = format!(
        "The peer's answer gives new keys to less traffic than the child carries: it carries {} on our side and {} on the \
         peer's, the answer names {} and {}.",
        list(in_use.local),
        list(in_use.remote),
        list(answer.local),
        list(answer.remote)
    );
    Err(TsRefusal { child: None, reason })
}

/// The child's selectors, with `dynamic` filled in; transport mode is about the two hosts only.
fn configured(child: &Child, ends: Ends) -> (Vec<Selector>, Vec<Selector>) {
    let side = |selectors: &[Selector], end: IpAddr| {
        let own = Selector::addresses(AddressRange::host(end));
        if selectors.is_empty() {
            return vec![own];
        }
        match child.mode {
            Mode::Tunnel => selectors.to_vec(),
            Mode::Transport => selectors.iter().filter_map(|selector| selector.intersect(&own)).collect(),
        }
    };
    (side(&child.local_ts, ends.local), side(&child.remote_ts, ends.remote))
}

/// What both lists have in common, by the order of `offered`; no selector covers another.
fn common(offered: &[Selector], own: &[Selector]) -> Vec<Selector> {
    let mut found: Vec<Selector> = Vec::new();
    for offered in offered {
        for own in own {
            // A bound on the work: each addition looks at all found so far.
            if found.len() > 2 * SELECTORS {
                return found;
            }
            if let Some(both) = offered.intersect(own) {
                add(&mut found, both);
            }
        }
    }
    found
}

/// Adds `selector` where the first of those stood that it covers, else at the end.
fn add(found: &mut Vec<Selector>, selector: Selector) {
    if found.iter().any(|other| other.covers(&selector)) {
        return;
    }
    let place = found.iter().position(|other| selector.covers(other)).unwrap_or(found.len());
    found.retain(|other| !selector.covers(other));
    found.insert(place, selector);
}

/// Drops from either side what no packet can have together with anything of the other.
fn keep_what_meets(local: &mut Vec<Selector>, remote: &mut Vec<Selector>) {
    local.retain(|a| remote.iter().any(|b| meet(a, b)));
    remote.retain(|b| local.iter().any(|a| meet(a, b)));
}

/// Whether one packet can have `a` at one end and `b` at the other.
fn meet(a: &Selector, b: &Selector) -> bool {
    let same_family = a.addresses.start().is_ipv4() == b.addresses.start().is_ipv4();
    same_family && (a.protocol == 0 || b.protocol == 0 || a.protocol == b.protocol)
}

fn list(selectors: &[Selector]) -> String {
    let mut words: Vec<String> = selectors.iter().take(LISTED_SELECTORS).map(Selector::to_string).collect();
    if selectors.len() > LISTED_SELECTORS {
        words.push(format!("{} more", selectors.len() - LISTED_SELECTORS));
    }
    if words.is_empty() { "nothing".to_string() } else { words.join(", ") }
}
