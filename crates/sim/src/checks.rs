//! The invariants of the design, checked after every step of a world.

use crate::host::Host;
use crate::ledger::{FNV, fnv};
use crate::net::NAT_T;
use crate::peek::{self, Peek};
use crate::{Stats, limits};
use base::Instant;
use dataplane::{AddressRange, ChildSpec, DirectionSpec, Mode, Selector};
use policy::Child;
use sa::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What has to be remembered between steps.
#[derive(Default)]
pub(crate) struct Checks {
    /// What was sent protected: (SPIs, sender began, response, message id, fragment, fragments) → its hash.
    messages: BTreeMap<MessageName, u64>,
    /// The requests to which a response has come: (SPIs, whether the request's sender began, message id).
    answered: BTreeSet<(u64, u64, bool, u32)>,
    /// The answers to first requests that came, by SPIs: each that differs is other keys under the same SPIs.
    inits: BTreeMap<(u64, u64), BTreeSet<u64>>,
    /// The widest window that any site is configured with.
    pub(crate) widest: u32,
    /// Whether an operation has changed a data plane since the last look.
    pub(crate) sads_changed: bool,
    /// Whether the ends differed at the last look, with something pending.
    pub(crate) mirror_broken: bool,
}

type MessageName = (u64, u64, bool, bool, u32, u16, u16);

impl Checks {
    /// Time advances: an endpoint does not ask to be woken again and again for the same moment.
    pub(crate) fn pace(host: &mut Host, now: Instant, is_time: bool) -> Result<(), String> {
        let count = |seen: &mut (Instant, u32)| {
            *seen = if seen.0 == now { (now, seen.1 + 1) } else { (now, 1) };
            seen.1
        };
        if count(&mut host.handled) > limits::HANDLES_PER_INSTANT {
            return Err(format!("{} is kept busy at one instant", host.name));
        }
        if is_time && count(&mut host.woken) > limits::WAKES_PER_INSTANT {
            return Err(format!(
                "{} wants to be woken for ever at one instant: {:?}",
                host.name,
                host.core.wake()
            ));
        }
        Ok(())
    }

    /// Whether an endpoint may still do something by itself that repairs a difference. Only its next
    /// wake is known, behind which a probe may stand.
    pub(crate) fn may_act(host: &Host) -> bool {
        host.core.wake().is_some()
    }

    /// A datagram has come to a host.
    pub(crate) fn arrival(&mut self, message: &[u8]) {
        if let Some(peek) = Peek::of(message)
            && peek.response
        {
            self.answered.insert((peek.spi_i, peek.spi_r, !peek.initiator, peek.message_id));
            if matches!(peek.exchange, peek::IKE_SA_INIT | peek::IKE_SESSION_RESUME) {
                self.inits.entry((peek.spi_i, peek.spi_r)).or_default().insert(fnv(FNV, message));
            }
        }
    }

    /// One datagram leaves a host: its path, and what RFC 7296 §2.1 and §2.2 say of its message id.
    pub(crate) fn transmission(
        &mut self,
        host: &Host,
        path: &Path,
        bytes: &[u8],
        is_time: bool,
        stats: &mut Stats,
    ) -> Result<(), String> {
        if !host.had.contains(&path.local.ip()) {
            return Err(format!("{} sends from {}, which is not its address", host.name, path.local));
        }
        if path.marked != (path.local.port() == NAT_T) {
            return Err(format!(
                "{} sends from port {} with marked = {}",
                host.name,
                path.local.port(),
                path.marked
            ));
        }
        if bytes.len() > limits::MAX_DATAGRAM {
            return Err(format!("{} sends {} octets", host.name, bytes.len()));
        }
        let Some(peek) = Peek::of(bytes) else {
            return Err(format!("{} sends what is no IKEv2 message", host.name));
        };
        stats.sent(&peek, path.marked);
        if !peek.is_protected() {
            return match peek.exchange {
                peek::IKE_SA_INIT | peek::IKE_SESSION_RESUME | peek::INFORMATIONAL => Ok(()),
                _ if peek.response => Ok(()),
                exchange => Err(format!("{} sends exchange {exchange} unprotected", host.name)),
            };
        }
        let (number, total) = peek.fragment.unwrap_or((0, 0));
        let name = (peek.spi_i, peek.spi_r, peek.initiator, peek.response, peek.message_id, number, total);
        let hash = fnv(FNV, bytes);
        // Who follows several answers to one IKE_SA_INIT (RFC 7296 §2.4) has as many keys.
        let answers = self.inits.get(&(peek.spi_i, peek.spi_r)).map_or(0, BTreeSet::len);
        let many_keys = answers > 1 && peek.initiator && !peek.response;
        match self.messages.insert(name, hash) {
            None => self.window(host, &peek),
            Some(before) if before != hash && !many_keys => {
                Err(format!("{} sends message id {} again with other octets", host.name, peek.message_id))
            }
            Some(_) if peek.response && is_time => {
                Err(format!("{} retransmits a response by itself (RFC 7296 §2.1)", host.name))
            }
            Some(_) => {
                stats.count(if peek.response { "response sent again" } else { "request retransmitted" });
                Ok(())
            }
        }
    }

    /// No request before the response to the one that is a whole window before it (RFC 7296 §2.3).
    fn window(&self, host: &Host, peek: &Peek) -> Result<(), String> {
        let window = self.widest.max(1);
        if peek.response || peek.message_id < window {
            return Ok(());
        }
        let before = (peek.spi_i, peek.spi_r, peek.initiator, peek.message_id - window);
        match self.answered.contains(&before) {
            true => Ok(()),
            false => Err(format!(
                "{} sends request {} before request {} is answered",
                host.name,
                peek.message_id,
                peek.message_id - window
            )),
        }
    }

    /// No plaintext leaves outside policy: what is installed lies within what a child of that name is
    /// configured to carry, with algorithms that it names.
    pub(crate) fn allowed(host: &Host, spec: &ChildSpec) -> Result<(), String> {
        let children = host.policy.connections.iter().flat_map(|c| &c.children);
        let fits = |child: &&Arc<Child>| {
            let within = |wanted: &[Selector], have: &[Selector]| {
                !have.is_empty()
                    && have
                        .iter()
                        .all(|ts| wanted.is_empty() || wanted.iter().any(|wanted| wanted.covers(ts)))
            };
            let proposed = child.esp_proposals.iter().any(|p| {
                p.encr.contains(&(spec.encr, spec.key_bits))
                    && (p.integ.contains(&spec.integ) || p.integ.is_empty())
            });
            child.name == spec.name
                && within(&child.local_ts, &spec.local_ts)
                && within(&child.remote_ts, &spec.remote_ts)
                && proposed
        };
        match children.into_iter().any(|child| fits(&child)) {
            true => Ok(()),
            false => Err(format!("{} installs what its policy does not have: {spec:?}", host.name)),
        }
    }

    /// Both ends' SADs mirror each other, or something is pending.
    pub(crate) fn mirrors(&mut self, hosts: &[Host], pending: bool) -> Result<(), String> {
        self.sads_changed = false;
        self.mirror_broken = false;
        for host in hosts {
            for spec in host.dataplane.sad() {
                let others = || hosts.iter().filter(|o| o.name != host.name && o.is_at(spec.remote.ip()));
                let half = |p: &Host| p.dataplane.sad().any(|s| s.inbound.spi == spec.outbound.spi);
                // Several sites may stand behind one NAT box.
                let peer = others().find(|peer| half(peer)).or_else(|| others().next());
                let twin = peer.and_then(|p| p.dataplane.sad().find(|s| s.inbound.spi == spec.outbound.spi));
                match (peer, twin) {
                    // One end may know of another path before the other does.
                    (_, Some(twin)) if spec.udp_encap != twin.udp_encap && pending => {
                        self.mirror_broken = true;
                    }
                    (Some(peer), Some(twin)) => mirror(host, spec, peer, twin)?,
                    // A peer that is no site of this world, but a test's own.
                    (None, _) => {}
                    _ if pending => self.mirror_broken = true,
                    _ => {
                        return Err(format!(
                            "{} has child {} (SPI {} out) and its peer has not, and nothing is pending",
                            host.name, spec.name, spec.outbound.spi
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// A host's own selectors as the other end has them: in transport mode a NAT box's address stands for the host's
/// (RFC 7296 §2.23.1).
fn seen_outside(host: &Host, spec: &ChildSpec) -> Vec<Selector> {
    let inside = AddressRange::host(spec.local.ip());
    let outside = AddressRange::host(host.public_address());
    let translated = |selector: &Selector| match spec.mode {
        Mode::Transport if selector.addresses == inside => Selector { addresses: outside, ..*selector },
        _ => *selector,
    };
    spec.local_ts.iter().map(translated).collect()
}

/// One child SA as both ends have it.
fn mirror(host: &Host, one: &ChildSpec, peer: &Host, other: &ChildSpec) -> Result<(), String> {
    let keys = |a: &DirectionSpec, b: &DirectionSpec| {
        a.spi == b.spi && a.encr_key == b.encr_key && a.integ_key == b.integ_key
    };
    let same_set =
        |a: &[Selector], b: &[Selector]| a.len() == b.len() && a.iter().all(|selector| b.contains(selector));
    let (from, to) = (seen_outside(host, one), seen_outside(peer, other));
    let algorithms = |s: &ChildSpec| (s.encr, s.key_bits, s.integ, s.esn, s.mode, s.udp_encap);
    let what = if !keys(&one.outbound, &other.inbound) || !keys(&one.inbound, &other.outbound) {
        "keys or SPIs"
    } else if algorithms(one) != algorithms(other) {
        "algorithms, mode or encapsulation"
    } else if !same_set(&from, &other.remote_ts) || !same_set(&one.remote_ts, &to) {
        "traffic selectors"
    } else {
        return Ok(());
    };
    Err(format!(
        "child {} differs between {} and {} in its {what}: {one:?} and {other:?}",
        one.name, host.name, peer.name
    ))
}
