//! From the contract's words to the two halves of a child SA.

use crate::inbound::InboundChild;
use crate::limits::{MAX_REPLAY_WINDOW, MIN_REPLAY_WINDOW};
use crate::outbound::OutboundChild;
use crate::sa::{InboundSa, OutboundSa};
use crate::volume::Volume;
use crypto::{Cipher, Suite};
use dataplane::{ChildSpec, DirectionSpec, Mode};

/// Makes both halves of the child that `spec` describes; the error is for people. The keys are only
/// read here: dropping `spec` zeroes them.
pub fn build(spec: &ChildSpec, suite: &dyn Suite) -> Result<(InboundChild, OutboundChild), String> {
    check(spec).map_err(|why| format!("{} cannot be installed: {why}", spec.name))?;
    let keyed = |direction: &DirectionSpec, which: &str| {
        cipher(spec, direction, suite)
            .map_err(|why| format!("{} cannot be installed: {which}: {why}", spec.name))
    };
    let (receive, send) = (keyed(&spec.inbound, "inbound")?, keyed(&spec.outbound, "outbound")?);
    let route = (spec.local, spec.remote);
    let sa = OutboundSa::new(spec.outbound.spi, send, spec.esn);
    let mut outbound = OutboundChild::new(spec.id, spec.mode, sa, route, spec.udp_encap);
    let volume = Volume::new(spec.volume);
    (outbound.replaces, outbound.hold) = (spec.replaces, spec.hold_outbound);
    outbound.volume = volume.clone();
    let sa = InboundSa::new(spec.inbound.spi, receive, spec.esn, spec.replay_window);
    let mut inbound = InboundChild::new(spec.id, spec.mode, sa, route, spec.udp_encap);
    inbound.local_ts.clone_from(&spec.local_ts);
    inbound.remote_ts.clone_from(&spec.remote_ts);
    inbound.original_addresses = spec.original_addresses;
    inbound.max_inner = outbound.max_inner;
    inbound.volume = volume;
    inbound.tell_first = spec.hold_outbound;
    Ok((inbound, outbound))
}

fn check(spec: &ChildSpec) -> Result<(), String> {
    let window = spec.replay_window;
    if window != 0 && !(MIN_REPLAY_WINDOW..=MAX_REPLAY_WINDOW).contains(&window) {
        return Err(format!(
            "a replay window of {window} packets is neither 0 nor {MIN_REPLAY_WINDOW} to {MAX_REPLAY_WINDOW}."
        ));
    }
    if spec.local.is_ipv4() != spec.remote.is_ipv4() {
        return Err(format!(
            "the outer addresses {} and {} are of two families.",
            spec.local.ip(),
            spec.remote.ip()
        ));
    }
    if spec.local_ts.is_empty() || spec.remote_ts.is_empty() {
        return Err("it has no traffic selectors.".to_string());
    }
    let (inbound, outbound) = (spec.inbound.spi.0, spec.outbound.spi.0);
    //= rfc4303 §2.1
    if inbound < 256 || outbound < 256 {
        return Err(format!("the SPIs {inbound:08x} and {outbound:08x} are not both above 000000ff."));
    }
    let is_peer = |ts: &dataplane::Selector| ts.addresses.contains(spec.remote.ip());
    if spec.mode == Mode::Transport && !spec.remote_ts.iter().any(is_peer) {
        return Err(format!("transport mode needs selectors with the peer's address {}.", spec.remote.ip()));
    }
    Ok(())
}

fn cipher(spec: &ChildSpec, direction: &DirectionSpec, suite: &dyn Suite) -> Result<Box<dyn Cipher>, String> {
    let algorithms = || match spec.integ.0 {
        0 => format!("{} with {} bits", spec.encr, spec.key_bits),
        _ => format!("{} with {} bits and {}", spec.encr, spec.key_bits, spec.integ),
    };
    let shape = suite
        .cipher_spec(spec.encr, spec.key_bits, spec.integ)
        .ok_or_else(|| format!("there is no {}.", algorithms()))?;
    let (encr_key, integ_key) = (direction.encr_key.expose(), direction.integ_key.expose());
    if encr_key.len() != shape.encr_key_len || integ_key.len() != shape.integ_key_len {
        let (got, want) = ((encr_key.len(), integ_key.len()), (shape.encr_key_len, shape.integ_key_len));
        return Err(format!("{} takes keys of {want:?} octets, not {got:?}.", algorithms()));
    }
    suite
        .cipher(spec.encr, spec.key_bits, spec.integ, encr_key, integ_key)
        .map_err(|error| format!("{} refuses its key: {error:?}.", algorithms()))
}
