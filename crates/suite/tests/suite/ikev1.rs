//! IKEv1 comes to the same port: whatever it is, it is dropped and counted; nothing is kept and nothing is sent.

use base::Rng;
use sa::Drop;
use sim::{SimRng, established};
use std::time::Duration;
use suite::{Puppet, World, alice, bob, dropped, holdings, world};

/// A standing IKE SA of IKEv2, and what must not change.
fn standing(seed: u64) -> (World, String, usize) {
    let mut world = world(seed).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let (before, sent) = (holdings(&mut world, "bob"), world.wire.len());
    (world, before, sent)
}

fn untouched(world: &mut World, before: &str, sent: usize, datagrams: usize) {
    world.run(Duration::from_secs(5));
    assert_eq!(holdings(world, "bob"), before);
    assert_eq!(world.wire.len(), sent, "nothing is answered");
    let counted = dropped(world, "bob", Drop::Version) + dropped(world, "bob", Drop::Malformed);
    assert_eq!(counted, datagrams);
}

/// An IKEv1 message (RFC 2408 §3.1): cookies, first payload, exchange, flags, message id, body.
fn message(cookies: [u8; 16], first: u8, exchange: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = cookies.to_vec();
    octets.extend([first, 0x10, exchange, flags, 0x12, 0x34, 0x56, 0x78]);
    octets.extend((28 + body.len() as u32).to_be_bytes());
    octets.extend(body);
    octets
}

/// First messages of main, aggressive, base and quick mode, whole, cut and padded.
#[test]
fn s151_first_messages_of_ikev1_are_dropped() {
    first_messages(1);
}

/// CVE-2022-23094: a first message that is malformed, of which nobody knows a state that could be logged.
#[test]
fn cve_2022_23094_malformed_first_messages_of_ikev1() {
    first_messages(2);
}

fn first_messages(seed: u64) {
    let (mut world, before, sent) = standing(seed);
    let alice = Puppet::alice();
    let mut rng = SimRng::new(seed, "ikev1");
    let mut count = 0;
    for exchange in [1, 2, 4, 5, 32, 33] {
        for first in [0, 1, 4, 5, 8, 11, 12, 13, 20, 130] {
            let mut cookies = [0; 16];
            rng.fill(&mut cookies[..8]);
            let mut body = vec![0; rng.below(200) as usize];
            rng.fill(&mut body);
            if seed == 1 {
                // One payload of the right length.
                body.splice(0..0, [0, 0, 0, 0]);
                let length = body.len() as u16;
                body[2..4].copy_from_slice(&length.to_be_bytes());
            }
            alice.send(&mut world, &message(cookies, first, exchange, 0, &body));
            count += 1;
        }
    }
    untouched(&mut world, &before, sent, count);
}

/// CVE-2020-1763: informational exchanges, encrypted and not, of nobody, and with the SPIs of an IKE SA of IKEv2.
#[test]
fn cve_2020_1763_informational_exchanges_of_ikev1_without_a_state() {
    let (mut world, before, sent) = standing(3);
    let alice = Puppet::alice();
    let known: [u8; 16] = world.wire[1].1.message()[..16].try_into().unwrap();
    // Delete of ISAKMP and of ESP, notifications, and sixteen octets that may be anything.
    let bodies: [&[u8]; 4] = [
        &[0, 0, 0, 28, 0, 0, 0, 1, 1, 16, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2],
        &[0, 0, 0, 16, 0, 0, 0, 1, 3, 4, 0, 1, 9, 9, 9, 9],
        &[0, 0, 0, 12, 0, 0, 0, 1, 1, 0, 0, 14],
        &[0x5a; 16],
    ];
    let mut count = 0;
    for cookies in [[7; 16], known] {
        for flags in [0, 1, 4, 5] {
            for (first, body) in [12, 12, 11, 8].into_iter().zip(bodies) {
                alice.send(&mut world, &message(cookies, first, 5, flags, body));
                count += 1;
            }
        }
    }
    untouched(&mut world, &before, sent, count);
}

/// CVE-2015-3204: every exchange and every flag of IKEv1.
#[test]
fn cve_2015_3204_every_exchange_and_flag_of_ikev1() {
    let (mut world, before, sent) = standing(4);
    let alice = Puppet::alice();
    for exchange in 0..=u8::MAX {
        alice.send(&mut world, &message([exchange; 16], 1, exchange, exchange.rotate_left(3), &[0, 0, 0, 4]));
    }
    for flags in 0..=u8::MAX {
        alice.send(&mut world, &message([3; 16], 8, 2, flags, &[0; 16]));
    }
    untouched(&mut world, &before, sent, 512);
}

/// AuthIP (MS-AIPS) is IKEv1's header with exchanges from 243 on: not even a notification goes back.
#[test]
fn s162_authip_is_dropped() {
    let (mut world, before, sent) = standing(5);
    let alice = Puppet::alice();
    for exchange in 240..=247 {
        for flags in [0, 1, 2, 4] {
            let cookies = [[0x77; 8], [0; 8]].concat().try_into().unwrap();
            alice.send(
                &mut world,
                &message(cookies, 133, exchange, flags, &[0, 0, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8]),
            );
        }
    }
    untouched(&mut world, &before, sent, 32);
}
