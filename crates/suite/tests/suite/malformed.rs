//! Octets that are no IKE message, at every moment of an SA's life.

use base::Rng;
use sim::{Datagram, SimRng, established};
use std::time::Duration;
use suite::{Puppet, World, alice, bob, holdings, is_clean, notifies, world};
use wire::num::{ExchangeType, NotifyType};

/// CVE-2013-4564 and others: datagrams of every length up to a header, of every first octet.
#[test]
fn cve_2013_4564_datagrams_that_are_shorter_than_a_header_are_dropped() {
    let mut world = world(1).site(bob());
    let alice = Puppet::alice();
    for len in 0..=28 {
        for fill in [0u8, 0x20, 0xff] {
            alice.send(&mut world, &vec![fill; len]);
        }
    }
    world.run(Duration::from_secs(1));
    assert!(world.wire.is_empty());
    assert!(is_clean(&mut world));
}

/// strongSwan #3091: a length in the header that is not the datagram's.
#[test]
fn strongswan_3091_a_length_that_lies_is_dropped() {
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    let right = request.len() as u32;
    for length in [0, 1, 27, 28, 29, right - 1, right + 1, right * 2, 65_535, 1 << 24, u32::MAX] {
        let mut world = world(2).site(bob());
        let mut forged = request.clone();
        forged[24..28].copy_from_slice(&length.to_be_bytes());
        alice.send(&mut world, &forged);
        world.run(Duration::from_secs(1));
        assert!(is_clean(&mut world), "{length}");
        assert_eq!(world.stats.get("dropped: Malformed"), 1, "{length}");
    }
}

/// Every prefix of a first message, with and without a length that fits.
#[test]
fn cve_2005_0398_truncated_first_messages_make_no_sa() {
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    for len in 0..request.len() {
        let mut world = world(3).site(bob());
        let mut short = request[..len].to_vec();
        alice.send(&mut world, &short);
        if len >= 28 {
            short[24..28].copy_from_slice(&(len as u32).to_be_bytes());
            alice.send(&mut world, &short);
        }
        world.run(Duration::from_secs(1));
        assert!(is_clean(&mut world), "{len}");
    }
}

fn standing(seed: u64) -> World {
    let mut world = world(seed).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    world
}

/// A standing SA and everything that can be made of its own messages by cutting, flipping and
/// lengthening: nothing changes, and the SA works.
#[test]
fn nothing_made_of_an_sas_own_messages_touches_it() {
    let mut world = standing(4);
    let before = (holdings(&mut world, "alice"), holdings(&mut world, "bob"));
    let history: Vec<Datagram> = world.wire.iter().map(|(_, datagram)| datagram.clone()).collect();
    let mut rng = SimRng::new(4, "malformed");
    for datagram in history.iter().filter(|d| d.peek().is_some_and(|peek| peek.is_protected())) {
        for _ in 0..400 {
            let mut message = datagram.message().to_vec();
            match rng.below(4) {
                0 => message.truncate(rng.below(message.len() as u64) as usize),
                1 => {
                    let at = rng.below(message.len() as u64) as usize;
                    message[at] ^= 1 << rng.below(8);
                }
                2 => message.extend(vec![rng.below(256) as u8; rng.below(64) as usize]),
                _ => {
                    // A fitting length, and the next message id.
                    message[23] = 2;
                    message.truncate(28 + rng.below(40) as usize);
                    let len = message.len() as u32;
                    message[24..28].copy_from_slice(&len.to_be_bytes());
                }
            }
            world.inject(Duration::from_millis(rng.below(1000)), datagram.with(&message));
        }
    }
    world.run(Duration::from_secs(5));
    assert_eq!(before, (holdings(&mut world, "alice"), holdings(&mut world, "bob")));
    let ike = world.status("bob")[0].id;
    let probe = world.order("bob", sa::Order::Probe(ike));
    world.until(suite::answered);
    assert!(matches!(world.reply(probe), Some(sa::Reply::Alive { .. })));
}

/// The largest datagrams that UDP has: random, zero, and a header with a fitting length before them.
#[test]
fn cve_2004_0403_the_largest_datagrams_are_dropped() {
    let mut world = standing(5);
    let before = holdings(&mut world, "bob");
    let alice = Puppet::alice();
    let header = world.wire[2].1.message()[..28].to_vec();
    let mut rng = SimRng::new(5, "large");
    for fill in 0..3 {
        let mut large = vec![0; sim::limits::MAX_DATAGRAM];
        match fill {
            0 => {}
            1 => rng.fill(&mut large),
            _ => large[..28].copy_from_slice(&header),
        }
        let len = large.len() as u32;
        large[24..28].copy_from_slice(&len.to_be_bytes());
        alice.send(&mut world, &large);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(holdings(&mut world, "bob"), before);
}

/// Malformed payloads under right keys are the peer's fault: it is told, and only it.
#[test]
fn s174_malformed_payloads_under_right_keys_are_answered_with_invalid_syntax() {
    use wire::num::{ExchangeType, NotifyType, PayloadType};
    for inner in
        [&[0, 0, 0, 3][..], &[0, 0, 0xff, 0xff], &[41, 0, 0, 8, 0, 0, 0x40, 1], &[0, 0, 0, 6, 3, 200]]
    {
        let mut world = world(6).site(bob());
        let mut alice = Puppet::alice();
        alice.establish(&mut world);
        let header = alice.header(ExchangeType::INFORMATIONAL, false, 2);
        let channel = alice.channel.as_mut().unwrap();
        let message = channel.seal_octets(&header, None, PayloadType::DELETE, inner);
        alice.deaf(&world);
        alice.send(&mut world, &message);
        let answer = alice.hear(&mut world).expect("an answer");
        let (_, payloads) = alice.open(&answer);
        assert_eq!(suite::notifies(&payloads), [NotifyType::INVALID_SYNTAX], "{inner:?}");
    }
}

/// Padding that is longer than the message, empty bodies, bodies shorter than IV and checksum.
#[test]
fn s174_sealed_bodies_that_are_too_short_are_dropped() {
    let mut world = standing(7);
    let before = holdings(&mut world, "bob");
    let alice = Puppet::alice();
    for len in 0..40u32 {
        let mut message = world.wire[2].1.message()[..28].to_vec();
        message[16] = 46;
        message[23] = 2;
        message.extend([0, 0]);
        message.extend(((4 + len) as u16).to_be_bytes());
        message.resize(message.len() + len as usize, 0xaa);
        let total = message.len() as u32;
        message[24..28].copy_from_slice(&total.to_be_bytes());
        alice.send(&mut world, &message);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(holdings(&mut world, "bob"), before);
}

/// A message that the keys vouch for, but that claims more padding than it has: the peer is told, and both give the
/// IKE SA up. Without the keys the same octets are noise.
//= rfc7296 §2.21.3
//= rfc7296 §3.14
#[test]
fn wrong_padding_inside_of_an_authentic_message_is_the_peers_fault() {
    for established in [false, true] {
        let mut world = world(20).site(bob());
        let mut alice = Puppet::alice();
        let exchange = match established {
            true => {
                alice.establish(&mut world);
                ExchangeType::INFORMATIONAL
            }
            false => {
                alice.init(&mut world);
                ExchangeType::IKE_AUTH
            }
        };
        let payloads = if established { Vec::new() } else { alice.auth_payloads() };
        alice.channel.as_mut().unwrap().wrong_padding = true;
        let answer = alice.ask(&mut world, exchange, &payloads).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX], "{established}");
        world.run(Duration::from_secs(60));
        assert!(is_clean(&mut world), "{established}");
    }
}
