//! Versions of the protocol that we do not speak (RFC 7296 §2.5).

use sa::Drop;
use suite::{Puppet, bob, dropped, holdings, is_clean, notifies, world};
use wire::num::{ExchangeType, NotifyType};
use wire::{Header, Message, Payload};

//= rfc7296 §2.5
#[test]
fn s016_a_higher_minor_version_is_accepted() {
    let mut world = world(1).site(bob());
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let header = Header { minor: 9, ..alice.header(ExchangeType::IKE_SA_INIT, false, 0) };
    let request = Message { header, payloads }.emit();
    alice.send(&mut world, &request);
    let response = alice.hear(&mut world).expect("a response");
    let message = Message::parse(&response).unwrap();
    assert_eq!((message.header.major, message.header.minor), (2, 0));
    assert!(message.payloads.len() >= 3, "{}", wire::summary(&message.payloads));
}

#[test]
fn s016_a_higher_minor_version_is_accepted_under_protection_too() {
    let mut world = world(2).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let header = Header { minor: 3, ..alice.header(ExchangeType::INFORMATIONAL, false, 2) };
    let message = alice.seal(&header, &[]);
    alice.deaf(&world);
    alice.send(&mut world, &message);
    let answer = alice.hear(&mut world).expect("an answer");
    assert_eq!(alice.open(&answer).1, []);
}

/// The answer says which version we speak, and who sent it keeps nothing.
//= rfc7296 §2.5
#[test]
fn s016_a_foreign_major_version_is_answered_with_ours() {
    for major in [3u8, 4, 15] {
        let mut world = world(3).site(bob());
        let mut alice = Puppet::alice();
        let payloads = alice.init_payloads();
        let mut request = alice.init_request(payloads);
        request[17] = major << 4;
        alice.send(&mut world, &request);
        let response = alice.hear(&mut world).expect("a response");
        let message = Message::parse(&response).unwrap();
        assert_eq!(message.header.major, 2);
        assert!(message.header.flags.response);
        assert_eq!(notifies(&message.payloads), [NotifyType::INVALID_MAJOR_VERSION], "{major}");
        assert_eq!(dropped(&world, "bob", Drop::Version), 1);
        assert!(is_clean(&mut world));
    }
}

/// Versions 0 and 1 belong to others; a notification of IKEv2 is nothing to them.
#[test]
fn a_lower_major_version_is_dropped() {
    for major in [0u8, 1] {
        let mut world = world(4).site(bob());
        let mut alice = Puppet::alice();
        let payloads = alice.init_payloads();
        let mut request = alice.init_request(payloads);
        request[17] = major << 4;
        alice.send(&mut world, &request);
        assert_eq!(alice.hear(&mut world), None, "{major}");
        assert!(is_clean(&mut world));
    }
}

/// An answer with a foreign version is not answered: two such peers would talk for ever.
#[test]
fn a_response_of_a_foreign_version_is_dropped() {
    let mut world = world(5).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let before = holdings(&mut world, "bob");
    let header = alice.header(ExchangeType::INFORMATIONAL, true, 0);
    let mut message = Message { header, payloads: vec![Payload::VendorId(vec![1].into())] }.emit();
    message[17] = 0x30;
    alice.deaf(&world);
    alice.send(&mut world, &message);
    assert_eq!(alice.hear(&mut world), None);
    assert_eq!(holdings(&mut world, "bob"), before);
}

//= rfc7296 §3.1
#[test]
fn reserved_flags_and_the_version_flag_are_ignored() {
    for flags in [0x10u8, 0x01, 0x02, 0x04, 0x40, 0x80, 0xd7] {
        let mut world = world(6).site(bob());
        let mut alice = Puppet::alice();
        let payloads = alice.init_payloads();
        let mut request = alice.init_request(payloads);
        request[19] |= flags;
        alice.send(&mut world, &request);
        let response = alice.hear(&mut world).expect("a response");
        assert_eq!(response[19] & !0x28, 0, "we send them as zero");
        assert!(Message::parse(&response).unwrap().payloads.len() >= 3, "{flags:02x}");
    }
}
