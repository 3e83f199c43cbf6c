//! Payloads that we do not know (RFC 7296 §2.5).

use sim::established;
use suite::{Puppet, alice, bob, holdings, is_clean, notifies, world};
use wire::num::{ExchangeType, NotifyType, PayloadType};
use wire::{Message, Payload};

fn unknown(kind: u8, critical: bool) -> Payload<'static> {
    Payload::Unknown { kind: PayloadType(kind), critical, body: vec![1, 2, 3].into() }
}

/// The notification carries the type, one octet, and nothing else happens.
//= rfc7296 §2.5
#[test]
fn s018_an_unknown_critical_payload_is_named_in_the_refusal() {
    let mut world = world(1).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let before = holdings(&mut world, "bob");
    for kind in [60, 127, 128, 200, 255] {
        let delete = Payload::Delete(wire::Delete::ike_sa());
        let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[unknown(kind, true), delete]);
        match &answer.expect("an answer")[..] {
            [Payload::Notify(notify)] => {
                assert_eq!(notify.kind, NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD);
                assert_eq!(notify.data[..], [kind]);
            }
            other => panic!("{kind}: {}", wire::summary(other)),
        }
    }
    assert_eq!(holdings(&mut world, "bob"), before);
}

//= rfc7296 §2.5
#[test]
fn s018_an_unknown_payload_that_is_not_critical_is_skipped() {
    let mut world = world(2).site(bob());
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    payloads.insert(1, unknown(200, false));
    payloads.push(unknown(60, false));
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    let response = alice.hear(&mut world).expect("a response");
    alice.accept_init(&response);
    let mut payloads = alice.auth_payloads();
    payloads.insert(0, unknown(201, false));
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert!(answer.iter().any(|payload| payload.kind() == PayloadType::AUTH), "{}", wire::summary(&answer));
    let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[unknown(99, false)]);
    assert_eq!(answer, Some(Vec::new()));
}

/// In IKE_SA_INIT the refusal goes out in the clear, and no state is kept.
#[test]
fn s018_an_unknown_critical_payload_in_a_first_message_is_refused_without_state() {
    let mut world = world(3).site(bob());
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    payloads.push(unknown(77, true));
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    let response = alice.hear(&mut world).expect("a response");
    let message = Message::parse(&response).unwrap();
    match &message.payloads[..] {
        [Payload::Notify(notify)] => {
            assert_eq!(
                (notify.kind, &notify.data[..]),
                (NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[77][..])
            );
        }
        other => panic!("{}", wire::summary(other)),
    }
    assert!(is_clean(&mut world));
}

#[test]
fn s018_an_unknown_critical_payload_in_ike_auth_is_refused() {
    let mut world = world(4).site(bob());
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let mut payloads = alice.auth_payloads();
    payloads.push(unknown(77, true));
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert!(notifies(&answer).contains(&NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD));
    assert_eq!(world.host("bob").dataplane.sad().count(), 0);
}

/// The critical bit is the highest of its octet; any other of them says nothing (RFC 7296 §3.2 reserves them).
#[test]
fn openiked_149_no_other_bit_makes_a_payload_critical() {
    for bit in 0..8u8 {
        let mut world = world(6).site(bob());
        let mut alice = Puppet::alice();
        alice.establish(&mut world);
        let header = alice.header(ExchangeType::INFORMATIONAL, false, alice.next_id);
        let channel = alice.channel.as_mut().unwrap();
        let inner = [0, 1 << bit, 0, 7, 1, 2, 3];
        let message = channel.seal_octets(&header, None, PayloadType(200), &inner);
        alice.deaf(&world);
        alice.send(&mut world, &message);
        let answer = alice.hear(&mut world).expect("an answer");
        let said = notifies(&alice.open(&answer).1);
        let wanted = if bit == 7 { vec![NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD] } else { Vec::new() };
        assert_eq!(said, wanted, "bit {bit}");
    }
}

/// An unknown payload before the encrypted one, in a message that is otherwise right: not critical, it is skipped;
/// critical, the message is rejected.
//= rfc7296 §2.5
#[test]
fn s018_an_unknown_payload_before_the_encrypted_one() {
    for critical in [false, true] {
        let mut world = world(7).site(bob());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let payloads = alice.auth_payloads();
        alice.channel.as_mut().unwrap().before = Some(unknown(99, critical));
        let message = alice.request(ExchangeType::IKE_AUTH, &payloads);
        alice.deaf(&world);
        alice.send(&mut world, &message);
        let answer = alice.hear(&mut world);
        let up = world.host("bob").count(|e| matches!(e, sa::Event::IkeUp(_)));
        assert_eq!(up, usize::from(!critical), "{critical}");
        assert!(critical || answer.is_some());
    }
}

/// The critical bit is 0x80, as RFC 7296 §3.2 draws it; and on a payload that everybody knows it means nothing.
//= rfc7296 §2.5
#[test]
fn openiked_149_the_critical_bit_of_a_known_payload_is_ignored() {
    let mut world = world(5).peers(alice(), bob()).attacked(|scene| {
        let Some(peek) = scene.datagram.peek() else { return };
        if peek.exchange == sim::peek::IKE_SA_INIT && !peek.response && peek.payloads[0] == 33 {
            // Reserved bits of the first payload's header; setting them changes what AUTH covers, so
            // only the responder's reading of it is looked at.
            let mut message = scene.datagram.message().to_vec();
            message[29] |= 0x80;
            scene.alter(&message);
        }
    });
    world.up("alice");
    world.run(std::time::Duration::from_millis(100));
    let response = world.wire[1].1.peek().expect("a response");
    assert!(response.response && response.payloads.contains(&33), "{response:?}");
    assert!(!established(&world));
}
