//! Messages of somebody without keys, who sees everything and is always first.

use base::IkeSpi;
use sim::{Datagram, Scene, established};
use std::time::Duration;
use suite::{World, alice, bob, holdings, world};
use wire::num::{ExchangeType, KeMethod, NotifyType, PayloadType};
use wire::{Delete, Flags, Header, KeyExchange, Message, Notify, Payload};

/// For each request seen, a forged response that arrives before the real one.
fn forge(scene: &mut Scene<'_>, exchange: ExchangeType, payloads: &[Payload<'static>]) {
    let Ok(header) = Header::parse(scene.datagram.message()) else { return };
    if header.flags.response || header.exchange != exchange {
        return;
    }
    let flags = Flags { initiator: false, version: false, response: true };
    for spi_r in [header.spi_r, IkeSpi(0x6666_6666_6666_6666)] {
        let header = Header { flags, spi_r, ..header };
        let forged = Message { header, payloads: payloads.to_vec() }.emit();
        let datagram = Datagram::ike(scene.datagram.to, scene.datagram.from, &forged);
        scene.send(Duration::from_micros(100), datagram);
    }
}

fn notify(kind: NotifyType) -> Payload<'static> {
    Payload::Notify(Notify::new(kind, Vec::new()))
}

fn succeeds_against(attacker: impl FnMut(&mut Scene<'_>) + Send + 'static) -> World {
    let mut world = world(1).peers(alice(), bob()).attacked(attacker);
    world.up("alice");
    world.until(established);
    world
}

/// Any refusal of IKE_SA_INIT that is forged before the real answer (RFC 7296 §2.21.1).
//= rfc7296 §2.21.1
#[test]
fn a_forged_refusal_of_the_first_message_does_not_end_the_handshake() {
    for kind in [
        NotifyType::NO_PROPOSAL_CHOSEN,
        NotifyType::INVALID_SYNTAX,
        NotifyType::AUTHENTICATION_FAILED,
        NotifyType::INVALID_IKE_SPI,
        NotifyType::INVALID_MAJOR_VERSION,
        NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD,
        NotifyType(40),
        NotifyType(8191),
    ] {
        succeeds_against(move |scene| forge(scene, ExchangeType::IKE_SA_INIT, &[notify(kind)]));
    }
}

/// A forged wish for a cookie, or for another key exchange method, before the real answer: the answer to the first request
/// still counts.
//= rfc7296 §2.6
//# the initiator should […] limit the number of cookie exchanges it tries before giving up
#[test]
fn a_forged_wish_for_another_request_does_not_spoil_the_real_answer() {
    let cookie = |octet: u8| Payload::Notify(Notify::new(NotifyType::COOKIE, vec![octet; 20]));
    let method = Notify::new(NotifyType::INVALID_KE_PAYLOAD, KeMethod::ECP_256.0.to_be_bytes().to_vec());
    let wishes = [vec![cookie(1)], vec![Payload::Notify(method)]];
    let methods =
        |site: sim::Site| site.with(|c| c.proposals[0].ke = vec![KeMethod::CURVE25519, KeMethod::ECP_256]);
    for wish in wishes {
        let mut world = world(7).peers(methods(alice()), methods(bob())).attacked(move |scene| {
            let Ok(header) = Header::parse(scene.datagram.message()) else { return };
            if !header.flags.response && header.exchange == ExchangeType::IKE_SA_INIT {
                let flags = Flags { initiator: false, version: false, response: true };
                let forged = Message { header: Header { flags, ..header }, payloads: wish.clone() }.emit();
                let datagram = Datagram::ike(scene.datagram.to, scene.datagram.from, &forged);
                scene.send(Duration::from_micros(100), datagram);
            }
        });
        let order = world.up("alice");
        world.until(suite::answered);
        let reply = world.reply(order);
        assert!(matches!(reply, Some(sa::Reply::Up { .. })), "{reply:?}");
        assert!(established(&world));
        assert_eq!(world.host("alice").count(|event| matches!(event, sa::Event::IkeUp(_))), 1);
    }
}

/// An unprotected AUTHENTICATION_FAILED before the real answer to IKE_AUTH.
//= rfc7296 §2.21.2
#[test]
fn an_unprotected_authentication_failure_does_not_kill() {
    for kind in
        [NotifyType::AUTHENTICATION_FAILED, NotifyType::NO_PROPOSAL_CHOSEN, NotifyType::INVALID_IKE_SPI]
    {
        let mut world = succeeds_against(move |scene| forge(scene, ExchangeType::IKE_AUTH, &[notify(kind)]));
        assert_eq!(world.status("alice").len(), 1);
    }
}

/// Deletes, and notifications that the peer has forgotten us, in the clear, with the right SPIs
/// (CVE-2004-0164, CVE-2007-1841).
//= rfc7296 §2.21.4
#[test]
fn cve_2004_0164_unprotected_informational_messages_do_not_touch_an_sa() {
    let mut world = world(2).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let before = (holdings(&mut world, "alice"), holdings(&mut world, "bob"));
    let real = Header::parse(world.wire[2].1.message()).unwrap();
    let (a, b) = ("192.0.2.1:500".parse().unwrap(), "198.51.100.2:500".parse().unwrap());
    let contents: [Vec<Payload<'_>>; 6] = [
        vec![],
        vec![Payload::Delete(Delete::ike_sa())],
        vec![notify(NotifyType::INVALID_IKE_SPI)],
        vec![notify(NotifyType::INVALID_SPI)],
        vec![notify(NotifyType::AUTHENTICATION_FAILED)],
        vec![notify(NotifyType::INITIAL_CONTACT)],
    ];
    for payloads in contents {
        for id in 0..4 {
            for response in [false, true] {
                for (from, to, initiator) in [(a, b, true), (b, a, false)] {
                    let flags = Flags { initiator, version: false, response };
                    let exchange = ExchangeType::INFORMATIONAL;
                    let header = Header { flags, exchange, message_id: base::MessageId(id), ..real };
                    let message = Message { header, payloads: payloads.clone() }.emit();
                    world.inject(Duration::from_millis(1), Datagram::ike(from, to, &message));
                }
            }
        }
    }
    let sent = world.wire.len();
    world.run(Duration::from_secs(3));
    assert_eq!(before, (holdings(&mut world, "alice"), holdings(&mut world, "bob")));
    // A hint that the peer has forgotten us makes us ask it, once, under protection.
    let more: Vec<_> = world.wire[sent..].iter().filter_map(|(_, datagram)| datagram.peek()).collect();
    assert!(more.len() <= 4 && more.iter().all(sim::Peek::is_protected), "{more:?}");
}

/// A response with another public value, before the real one: the initiator tries the real one too.
#[test]
fn a_forged_public_value_is_survived() {
    let mut world = world(3).peers(alice(), bob()).attacked(|scene| {
        let Ok(message) = Message::parse(scene.datagram.message()) else { return };
        if message.header.exchange != ExchangeType::IKE_SA_INIT || !message.header.flags.response {
            return;
        }
        let mut forged = message.clone().into_owned();
        for payload in &mut forged.payloads {
            if let Payload::Ke(KeyExchange { data, .. }) = payload {
                data.to_mut()[5] ^= 1;
            }
        }
        let datagram = scene.datagram.with(&forged.emit());
        scene.send(Duration::from_millis(1), datagram);
    });
    world.up("alice");
    world.until(established);
}

/// An answer that differs from the real one in something that no key depends on: whichever is followed, nothing is
/// sealed twice under the keys that both have. The world's ledger sees each IV.
#[test]
fn an_answer_with_the_same_keys_costs_no_second_use_of_them() {
    for at in 0..40 {
        let mut withheld = 0;
        let mut world = world(6).peers(alice(), bob()).attacked(move |scene| {
            let Some(peek) = scene.datagram.peek() else { return };
            if !peek.response {
                return;
            }
            if peek.exchange != sim::peek::IKE_SA_INIT {
                // Without an answer to what she follows, alice turns to the other one.
                withheld += 1;
                if withheld <= 2 {
                    scene.take();
                }
                return;
            }
            let mut message = scene.datagram.message().to_vec();
            let last = message.len() - 1;
            message[last - at] ^= 1;
            let forged = scene.datagram.with(&message);
            scene.send(Duration::from_millis(1), forged);
        });
        let order = world.up("alice");
        world.until(suite::answered);
        match world.reply(order) {
            Some(sa::Reply::Up { .. }) => assert!(world.is_mirrored()),
            Some(sa::Reply::Refused(refusal)) => assert!(!refusal.reason.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}

/// Sealed messages with garbage under the right SPIs, with every message id near.
#[test]
fn sealed_garbage_does_not_touch_an_sa() {
    let mut world = world(4).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let before = holdings(&mut world, "bob");
    let datagram = world.wire[2].1.clone();
    for id in 0..10u8 {
        for kind in [PayloadType::SK, PayloadType::SKF] {
            let mut message = datagram.message().to_vec();
            message[16] = kind.0;
            message[18] = ExchangeType::INFORMATIONAL.0;
            message[23] = id;
            if kind == PayloadType::SKF {
                message[32..36].copy_from_slice(&[0, 1, 0, 1]);
            }
            world.inject(Duration::from_millis(1), datagram.with(&message));
        }
    }
    world.run(Duration::from_secs(2));
    assert_eq!(holdings(&mut world, "bob"), before);
    assert!(world.stats.get("dropped: BadIcv") >= 1);
}

/// A message for an SPI that nobody has is answered in the clear at most, seldom, and not with more than came.
//= rfc7296 §2.21.4
#[test]
fn messages_for_an_unknown_sa_get_a_hint_at_most() {
    let mut world = world(5).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let datagram = world.wire[2].1.clone();
    let sent = world.wire.len();
    for n in 0..200u64 {
        let mut message = datagram.message().to_vec();
        message[8..16].copy_from_slice(&(n + 1).to_be_bytes());
        world.inject(Duration::from_micros(n), datagram.with(&message));
    }
    world.run(Duration::from_millis(900));
    assert_eq!(suite::dropped(&world, "bob", sa::Drop::UnknownSpi), 200);
    // Alice, who hears the hints, asks bob under protection.
    let is_hint = |datagram: &&Datagram| datagram.peek().is_some_and(|peek| !peek.is_protected());
    let hints: Vec<&Datagram> =
        world.wire[sent..].iter().map(|(_, datagram)| datagram).filter(is_hint).collect();
    assert!(hints.len() <= sa::limits::UNPROTECTED_ANSWERS_PER_SECOND as usize, "{}", hints.len());
    for hint in hints {
        assert!(hint.payload.len() < datagram.payload.len());
        let message = Message::parse(hint.message()).expect("an unprotected message");
        assert_eq!(suite::notifies(&message.payloads), [NotifyType::INVALID_IKE_SPI]);
    }
}
