//! A sequence of datagrams and times into an endpoint with a PSK connection. The input plays the initiator, and knows
//! the keys: what it sends may be noise, any octets inside a good envelope, or a step of an honest exchange. The world
//! around checks after each step what must always hold.
#![no_main]

use base::Secret;
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use suite::{Puppet, World, alice, bob, world};
use wire::Fragment;
use wire::num::{ExchangeType, PayloadType};

/// Steps of one input: more teach nothing new, and each costs time.
const STEPS: usize = 24;

/// What the identities have in common, which the world looks for in clear.
const NAME: &[u8] = b".example";

fuzz_target!(|octets: &[u8]| {
    let Some((start, mut rest)) = octets.split_first() else { return };
    let [mut alice, mut bob] = [alice(), bob()].map(|site| site.with(|c| c.extensions.resumption = true));
    for site in [&mut alice, &mut bob] {
        site.settings.ticket_secret = Some(Secret::new([7; 32]));
    }
    let mut world = match start & 4 {
        0 => world(u64::from(*start)).site(bob),
        _ => world(u64::from(*start))
            .site(alice.with(|c| c.remote_addrs = bob.connections[0].local_addrs.clone())),
    };
    let mut puppet = if start & 4 == 0 { Puppet::alice() } else { Puppet::bob() };
    begin(&mut world, &mut puppet, start & 3);
    for _ in 0..STEPS {
        let Some((op, kind, body)) = next(&mut rest) else { break };
        step(&mut world, &mut puppet, (op, kind), body);
    }
    // What is open ends by itself.
    world.run(Duration::from_secs(600));
});

/// The next step: what it is, a parameter, and its octets.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u8, u8, &'a [u8])> {
    let [op, kind, len, body @ ..] = *rest else { return None };
    let (body, after) = body.split_at(usize::from(*len).min(body.len()));
    *rest = after;
    Some((*op, *kind, body))
}

/// Nothing, IKE_SA_INIT, or all up to an established IKE SA.
fn begin(world: &mut World, puppet: &mut Puppet, how: u8) {
    if !puppet.initiator {
        world.up("alice");
        if how == 1 {
            puppet.answer_init(world);
        } else if how > 1 {
            puppet.establish(world);
        }
        return;
    }
    if how == 1 {
        puppet.init(world);
    } else if how > 1 {
        puppet.establish(world);
    }
}

fn step(world: &mut World, puppet: &mut Puppet, (op, kind): (u8, u8), body: &[u8]) {
    let exchange = ExchangeType(34 + kind % 6);
    match op % 8 {
        // A refusal returns the SPIs of a message: a name that stands there is no leak.
        0 if !body.windows(NAME.len()).any(|octets| octets == NAME) => puppet.send(world, body),
        1 => world_passes(world, u64::from(kind)),
        2 => last_again(world, puppet, body),
        3 if puppet.channel.is_some() => {
            // An honest request with payloads of its own.
            let payloads = if kind & 1 == 0 { puppet.auth_payloads() } else { puppet.selectors().to_vec() };
            let request = puppet.request(exchange, &payloads);
            puppet.send(world, &request);
        }
        4 if puppet.channel.is_some() => {
            let [number, total, body @ ..] = body else { return };
            let fragment = Fragment { number: u16::from(*number), total: u16::from(*total) };
            sealed(world, puppet, kind, Some(fragment), body);
        }
        5..8 if puppet.channel.is_some() => sealed(world, puppet, kind, None, body),
        _ => {}
    }
    world_passes(world, 0);
}

/// Any octets in a good envelope: a request, or the response to what was asked last.
fn sealed(world: &mut World, puppet: &mut Puppet, kind: u8, fragment: Option<Fragment>, body: &[u8]) {
    let Some((first, inner)) = body.split_first() else { return };
    let exchange = ExchangeType(34 + (kind & 7));
    let response = kind & 8 != 0;
    let id = if response { u32::from(kind >> 4) } else { puppet.next_id };
    let header = puppet.header(exchange, response, id);
    let first = PayloadType(if *first < 128 { 33 + first % 22 } else { *first });
    let Some(channel) = puppet.channel.as_mut() else { return };
    let message = channel.seal_octets(&header, fragment, first, inner);
    if !response && fragment.is_none_or(|fragment| fragment.number == fragment.total) {
        puppet.next_id += 1;
    }
    puppet.send(world, &message);
}

/// Something that was sent before, perhaps with a few octets changed.
fn last_again(world: &mut World, puppet: &Puppet, body: &[u8]) {
    let [which, changes @ ..] = body else { return };
    let sent: Vec<Vec<u8>> = world.wire.iter().map(|(_, datagram)| datagram.message().to_vec()).collect();
    let Some(mut bytes) = sent.get(usize::from(*which) % sent.len().max(1)).cloned() else { return };
    for change in changes.chunks_exact(2) {
        let at = usize::from(change[0]) % bytes.len().max(1);
        if let Some(octet) = bytes.get_mut(at) {
            *octet ^= change[1];
        }
    }
    puppet.send(world, &bytes);
}

fn world_passes(world: &mut World, seconds: u64) {
    world.run(Duration::from_millis(5) + Duration::from_secs(seconds));
}
