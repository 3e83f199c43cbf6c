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
    /// Whether more of what the peer proposed would do, but in another SA.
    pub more: bool,
}

/// Two sides of selectors: ours and the peer's.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// Our side.
    pub local: &'a [Selector],
    /// The peer's side.
    pub remote: &'a [Selector],
}

impl Narrowed {
    fn sides(&self) -> Sides<'_> {
        Sides { local: &self.local, remote: &self.remote }
    }

    /// Whether the first selectors of both sides are in it as a whole.
    fn has_first_of(&self, offered: Sides<'_>) -> bool {
        let first = offered.local.first().zip(offered.remote.first());
        first.is_some_and(|(here, there)| within(here, &self.local) && within(there, &self.remote))
    }
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
    /// Whether it would do for a single pair of addresses (SINGLE_PAIR_REQUIRED).
    pub single_pair: bool,
}

impl TsRefusal {
    fn new(child: Option<&str>, reason: String) -> Self {
        Self { child: child.map(str::to_string), reason, single_pair: false }
    }
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
        if child.single_pair {
            return propose_pair(child, ends, (source, destination));
        }
        //= rfc7296 §2.9
        // The first selector of each side is the packet's own.
        local.insert(0, source);
        remote.insert(0, destination);
    }
    (local, remote)
}

/// What we propose for `child` when it is to be about the addresses of that packet alone: the packet's own selectors, and
/// what is configured for those addresses.
//= rfc7296 §2.9
//# The requestor is expected to respond by requesting an SA for only the specific traffic it is trying to forward.
pub fn propose_pair(
    child: &Child,
    ends: Ends,
    packet: (Selector, Selector),
) -> (Vec<Selector>, Vec<Selector>) {
    let (local, remote) = configured(child, ends);
    let side = |packet: Selector, own: &[Selector]| {
        let host = Selector::addresses(packet.addresses);
        let mut list = vec![packet];
        list.extend(own.iter().filter_map(|own| own.intersect(&host)).filter(|own| *own != packet));
        list
    };
    (side(packet.0, &local), side(packet.1, &remote))
}

/// The packet that a proposal begins with, if it does and goes on to more addresses than those: what to ask for when the
/// peer makes SAs for single pairs of addresses only.
pub fn packet_of(sent: Sides<'_>) -> Option<(Selector, Selector)> {
    let (source, destination) = (sent.local.first()?, sent.remote.first()?);
    let is_host = |selector: &Selector| selector.addresses.start() == selector.addresses.end();
    let more = |list: &[Selector], first: &Selector| list.iter().any(|any| any.addresses != first.addresses);
    let goes_on = more(sent.local, source) || more(sent.remote, destination);
    (is_host(source) && is_host(destination) && goes_on).then_some((*source, *destination))
}

/// Narrows what the peer proposes to what `child` allows. What lies in the peer's first selectors
/// comes first in the result.
pub fn narrow(child: &Child, offered: Sides<'_>, ends: Ends) -> Result<Narrowed, TsRefusal> {
    let (mut own_local, mut own_remote) = configured(child, ends);
    let pair = if child.single_pair { first_pair(offered, &own_local, &own_remote) } else { None };
    if let Some((here, there)) = pair {
        own_local = common(&[here], &own_local);
        own_remote = common(&[there], &own_remote);
    }
    let mut local = common(offered.local, &own_local);
    let mut remote = common(offered.remote, &own_remote);
    let refuse = |reason: String| TsRefusal::new(Some(&child.name), reason);
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
    if child.single_pair && !(is_one_address(&local) && is_one_address(&remote)) {
        let reason = format!(
            "Child `{}` is for single pairs of addresses, and the peer asks for {} and {} without naming one first.",
            child.name,
            list(&local),
            list(&remote)
        );
        return Err(TsRefusal { single_pair: true, ..refuse(reason) });
    }
    let too_many = local.len() > SELECTORS || remote.len() > SELECTORS;
    local.truncate(SELECTORS);
    remote.truncate(SELECTORS);
    let narrowed = !offered.is_within(Sides { local: &local, remote: &remote });
    let more = too_many || pair.is_some() && narrowed;
    Ok(Narrowed { local, remote, narrowed, more })
}

/// The first addresses that the peer names on both sides, where each is one address that the policy knows.
fn first_pair(
    offered: Sides<'_>,
    own_local: &[Selector],
    own_remote: &[Selector],
) -> Option<(Selector, Selector)> {
    let host = |list: &[Selector], own: &[Selector]| {
        let first = Selector::addresses(list.first()?.addresses);
        let known = own.iter().any(|own| own.intersect(&first).is_some());
        (known && is_one_address(&[first])).then_some(first)
    };
    host(offered.local, own_local).zip(host(offered.remote, own_remote))
}

/// Whether all selectors name the same single address.
fn is_one_address(selectors: &[Selector]) -> bool {
    let host = selectors.first().map(|first| AddressRange::host(first.addresses.start()));
    selectors.iter().all(|selector| Some(selector.addresses) == host)
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
        return Err(TsRefusal::new(Some(&child.name), reason));
    }
    let narrowed = !sent.is_within(result);
    Ok(Narrowed { local, remote, narrowed, more: false })
}

/// The child of `connection` for what the peer proposes, by its place, with the mode that results. One of the mode that is
/// asked for wins, then one that takes it all, then one that takes the peer's first choice, else the first in the file.
/// `transport` says whether the peer asked for transport mode; a child for tunnel mode answers
/// that with tunnel mode (RFC 7296 §1.3.1), a child for transport mode takes nothing else.
//= rfc7296 §2.9
//# If the responder's policy allows it to accept the first selector of TSi and TSr, then the responder MUST narrow the
//# Traffic Selectors to a subset that includes the initiator's first choices.
pub fn select_child(
    connection: &Connection,
    offered: Sides<'_>,
    ends: Ends,
    transport: bool,
) -> Result<(usize, Mode, Narrowed), TsRefusal> {
    let (mut fitting, mut refusals) = (Vec::new(), Vec::new());
    for (index, child) in connection.children.iter().enumerate() {
        if child.mode == Mode::Transport && !transport {
            let reason = format!(
                "Child `{}` wants transport mode, but the peer asked for tunnel mode: set `mode` to the same on both sides.",
                child.name
            );
            refusals.push(TsRefusal::new(Some(&child.name), reason));
            continue;
        }
        match narrow(child, offered, ends) {
            Ok(narrowed) => fitting.push((index, child.mode, narrowed)),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let rank = |(_, mode, narrowed): &(usize, Mode, Narrowed)| {
        let same_mode = (*mode == Mode::Transport) == transport;
        (same_mode, !narrowed.narrowed, narrowed.has_first_of(offered))
    };
    let best = fitting.iter().rev().max_by_key(|one| rank(one)).cloned();
    if let Some((index, mode, mut narrowed)) = best {
        //= rfc7296 §2.9
        //# The ADDITIONAL_TS_POSSIBLE notification asserts that the responder narrowed the proposed Traffic Selectors but
        //# that other Traffic Selectors would also have been acceptable, though only in a separate SA.
        narrowed.more |= fitting.iter().any(|(other, other_mode, also)| {
            *other != index && *other_mode == mode && !also.sides().is_within(narrowed.sides())
        });
        narrowed.more |= narrowed.narrowed && refusals.iter().any(|refusal| refusal.single_pair);
        return Ok((index, mode, narrowed));
    }
    // What would do for a single pair is nearest.
    let nearest = refusals.iter().position(|refusal| refusal.single_pair).unwrap_or(0);
    Err(match refusals.into_iter().nth(nearest) {
        Some(refusal) => refusal,
        None => TsRefusal::new(None, format!("Connection `{}` has no children.", connection.name)),
    })
}

/// Checks, as initiator, that the responder only narrowed what we proposed.
pub fn accept_narrowed(sent: Sides<'_>, answer: Sides<'_>) -> Result<(), TsRefusal> {
    for (side, sent, answer) in [("our", sent.local, answer.local), ("its own", sent.remote, answer.remote)] {
        if answer.is_empty() {
            let reason = format!("The peer's answer names no traffic on {side} side.");
            return Err(TsRefusal::new(None, reason));
        }
        if let Some(wide) = answer.iter().find(|selector| !within(selector, sent)) {
            let sent = list(sent);
            let reason = format!(
                "The peer's answer widens the traffic on {side} side: it names {wide}, proposed was {sent}."
            );
            return Err(TsRefusal::new(None, reason));
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
    Err(TsRefusal::new(None, reason))
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
