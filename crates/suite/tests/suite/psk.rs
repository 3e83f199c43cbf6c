//! Pre-shared keys that differ, or are missing.

use sa::{RefusalKind, Reply};
use suite::{Puppet, alice, answered, bob, is_clean, notifies, world};
use wire::num::{AuthMethod, ExchangeType, NotifyType};
use wire::{Authentication, Payload};

//= rfc7296 §2.21.2
#[test]
fn s029_a_wrong_psk_is_told_in_one_sentence_at_both_ends() {
    let mut world = world(1).peers(alice(), bob().with_psk(b"what the other one does not know"));
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, RefusalKind::AuthenticationFailed);
            assert!(refusal.by_peer);
            assert!(refusal.reason.contains("alice.example"), "{}", refusal.reason);
        }
        other => panic!("{other:?}"),
    }
    let refusals = world.host("bob").refusals();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!((refusals[0].kind, refusals[0].by_peer), (RefusalKind::AuthenticationFailed, false));
    assert!(refusals[0].reason.contains("alice.example"), "{}", refusals[0].reason);
    assert_eq!(refusals[0].connection.as_deref(), Some("net"));
    assert!(is_clean(&mut world));
}

/// The initiator is the one that does not believe: it tells the responder, which has an IKE SA already.
//= rfc7296 §2.21.2
#[test]
fn s029_an_initiator_that_does_not_believe_its_responder_says_so() {
    let mut world = world(2).site(alice());
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    bob.psk = b"not the one".to_vec();
    bob.answer_init(&mut world);
    let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
    let payloads = bob.auth_payloads();
    bob.reply(&mut world, &header, &payloads);
    let (header, payloads) = bob.asked(&mut world).expect("an INFORMATIONAL request");
    assert_eq!(header.exchange, ExchangeType::INFORMATIONAL);
    assert_eq!(notifies(&payloads), [NotifyType::AUTHENTICATION_FAILED]);
    bob.reply(&mut world, &header, &[]);
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.kind, RefusalKind::AuthenticationFailed),
        other => panic!("{other:?}"),
    }
    assert!(is_clean(&mut world));
}

/// Neither side has a key for the other: the one that misses it says so at home, the other hears that
/// authentication failed, and a request that comes again changes nothing.
#[test]
fn s030_a_psk_that_is_missing_on_either_side() {
    for missing in ["alice", "bob"] {
        let without = |site: sim::Site, name: &str| {
            let mut site = site;
            if name == missing {
                site.make_keeper = Box::new(|suite, policy| {
                    Box::new(trust::Trust::new(policy, suite, trust::Secrets::new()))
                });
            }
            site
        };
        let mut world = world(9).peers(without(alice(), "alice"), without(bob(), "bob"));
        let order = world.up("alice");
        world.until(answered);
        match world.reply(order) {
            Some(Reply::Refused(refusal)) => assert_eq!(refusal.by_peer, missing == "bob", "{refusal:?}"),
            other => panic!("{other:?}"),
        }
        let told = world.host(missing).refusals();
        assert!(told.iter().any(|refusal| refusal.reason.contains("pre-shared key")), "{missing}: {told:?}");
        world.run(std::time::Duration::from_secs(60));
        assert!(is_clean(&mut world), "{missing}");
    }
}

/// What could be tried against a dictionary of keys, the responder's AUTH value, is for him alone who has proven that he
/// knows the key: to anybody else goes a bare refusal.
#[test]
fn attack_psk_nothing_to_guess_with_before_the_peer_has_proven_itself() {
    let mut world = world(10).site(bob());
    for wrong in [&b"guess"[..], b"", b"a secret that both sites hav"] {
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        alice.psk = wrong.to_vec();
        let payloads = alice.auth_payloads();
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED]);
        assert_eq!(answer.len(), 1, "neither IDr nor AUTH: {}", wire::summary(&answer));
    }
}

/// The wire says no more than that authentication failed.
#[test]
fn the_wire_carries_one_bare_notification() {
    let mut world = world(3).site(bob());
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    alice.psk = b"not the one".to_vec();
    let payloads = alice.auth_payloads();
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    match &answer[..] {
        [Payload::Notify(notify)] => {
            assert_eq!(notify.kind, NotifyType::AUTHENTICATION_FAILED);
            assert!(notify.data.is_empty() && notify.spi.is_empty());
        }
        other => panic!("{}", wire::summary(other)),
    }
    assert!(is_clean(&mut world));
}

#[test]
fn an_empty_or_shortened_or_lengthened_auth_value_is_none() {
    for (seed, change) in [(4, 0), (5, 1), (6, 2), (7, 3)] {
        let mut world = world(seed).site(bob());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut payloads = alice.auth_payloads();
        let mut data = alice.auth_value();
        match change {
            0 => data.clear(),
            1 => data.truncate(31),
            2 => data.push(0),
            _ => data.fill(0),
        }
        payloads[1] = Payload::Auth(Authentication { method: AuthMethod::SHARED_KEY, data: data.into() });
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED], "{change}");
        assert!(is_clean(&mut world), "{change}");
    }
}

/// A certificate's method with a PSK's value, and methods that nobody has.
#[test]
fn another_method_than_the_configured_one_is_refused() {
    for method in [AuthMethod(1), AuthMethod::DIGITAL_SIGNATURE, AuthMethod(0), AuthMethod(200)] {
        let mut world = world(8).site(bob());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut payloads = alice.auth_payloads();
        payloads[1] = Payload::Auth(Authentication { method, data: alice.auth_value().into() });
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED], "{method}");
        assert!(is_clean(&mut world));
    }
}
