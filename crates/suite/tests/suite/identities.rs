//! Who is who: identities that do not fit, and the choice among several connections.

use policy::{IdPattern, Identity};
use sa::{RefusalKind, Reply};
use sim::established;
use suite::{Puppet, alice, answered, bob, is_clean, notifies, world};
use wire::num::{ExchangeType, IdType, NotifyType};
use wire::{Identification, Payload};

fn fqdn(name: &str) -> Identity {
    Identity::Fqdn(name.to_string())
}

#[test]
fn an_identity_that_no_connection_expects_is_refused_with_the_nearest_one() {
    let mut world =
        world(1).peers(alice(), bob().with(|c| c.remote.id = IdPattern::Is(fqdn("carol.example"))));
    let order = world.up("alice");
    world.until(answered);
    assert!(
        matches!(world.reply(order), Some(Reply::Refused(r)) if r.kind == RefusalKind::AuthenticationFailed)
    );
    let refusals = world.host("bob").refusals();
    let told = refusals.iter().find(|r| !r.by_peer).expect("a refusal of bob's");
    for word in ["alice.example", "carol.example"] {
        assert!(told.reason.contains(word), "“{word}” is not in: {}", told.reason);
    }
    assert!(is_clean(&mut world));
}

#[test]
fn a_responder_that_is_somebody_else_is_refused() {
    let mut world =
        world(2).peers(alice().with(|c| c.remote.id = IdPattern::Is(fqdn("carol.example"))), bob());
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.kind, RefusalKind::AuthenticationFailed),
        other => panic!("{other:?}"),
    }
    world.run(std::time::Duration::from_secs(200));
    assert!(is_clean(&mut world));
}

/// IDr in the request picks the connection (RFC 7296 §3.5, §1.2).
//= rfc7296 §1.2
#[test]
fn s048_idr_chooses_among_several_connections() {
    let two = |name: &str, id: &str| {
        let mut connection = bob().connections.remove(0);
        connection.name = name.to_string();
        connection.local.id = Some(fqdn(id));
        connection
    };
    let mut site = bob();
    site.connections = vec![two("first", "gate.example"), two("second", "bob.example")];
    let mut world = world(3).peers(alice(), site);
    world.up("alice");
    world.until(established);
    assert_eq!(world.status("bob")[0].connection, "second");
}

#[test]
fn s048_idi_chooses_among_several_connections() {
    let two = |name: &str, id: &str| {
        let mut connection = bob().connections.remove(0);
        connection.name = name.to_string();
        connection.remote.id = IdPattern::Is(fqdn(id));
        connection
    };
    let mut site = bob();
    site.connections = vec![two("first", "carol.example"), two("second", "alice.example")];
    let mut world = world(4).peers(alice(), site);
    world.up("alice");
    world.until(established);
    assert_eq!(world.status("bob")[0].connection, "second");
}

#[test]
fn a_wildcard_accepts_what_is_below_it() {
    let site = bob().with(|c| c.remote.id = IdPattern::FqdnBelow("example".to_string()));
    let mut world = world(5).peers(alice(), site);
    world.up("alice");
    world.until(established);
    assert_eq!(world.status("bob")[0].remote_id, Some(fqdn("alice.example")));
}

/// Each ID type with nothing in it and with nonsense is refused, and harms nobody.
#[test]
fn cve_2014_2891_odd_identities_are_refused() {
    let kinds =
        [IdType::IPV4_ADDR, IdType::FQDN, IdType::RFC822_ADDR, IdType::IPV6_ADDR, IdType::DER_ASN1_DN];
    let kinds = kinds.into_iter().chain([IdType::DER_ASN1_GN, IdType::KEY_ID, IdType(0), IdType(255)]);
    for kind in kinds {
        for data in [&[][..], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0xff; 300]] {
            refuses(kind, data);
        }
    }
}

/// CVE-2013-5018: names of one octet, and names that begin as an ASN.1 sequence does and are none.
#[test]
fn cve_2013_5018_names_that_look_like_asn1() {
    for kind in [IdType::FQDN, IdType::RFC822_ADDR, IdType::KEY_ID, IdType::DER_ASN1_DN] {
        for first in 0..=u8::MAX {
            refuses(kind, &[first]);
        }
        for data in
            [&[0x30, 0][..], &[0x30, 1], &[0x30, 0x80], &[0x30, 0xff], &[0x31, 0x82, 0xff, 0xff], b"0admin"]
        {
            refuses(kind, data);
        }
    }
}

fn refuses(kind: IdType, data: &[u8]) {
    let mut world = world(6).site(bob());
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let mut payloads = alice.auth_payloads();
    payloads[0] = Payload::IdI(Identification::new(kind, data.to_vec()));
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    let said = notifies(&answer);
    let right = [NotifyType::AUTHENTICATION_FAILED, NotifyType::INVALID_SYNTAX];
    assert!(said.len() == 1 && right.contains(&said[0]), "{kind} {data:?}: {said:?}");
    assert!(is_clean(&mut world));
}

/// AUTH covers the ID payload's body as it came, reserved octets and all: a peer that sets them is who it says,
/// and who changes them on the way is found out.
//= rfc7296 §2.15
//# RestOfInitIDPayload = IDType | RESERVED | InitIDData
#[test]
fn auth_covers_the_reserved_octets_of_the_identity() {
    let mut world = world(7).site(bob());
    let mut alice = Puppet::alice();
    alice.id_reserved = [1, 2, 3];
    alice.establish(&mut world);
    assert_eq!(world.status("bob").len(), 1);

    let mut world = suite::world(8).site(bob());
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let mut payloads = alice.auth_payloads();
    payloads[0] = Payload::IdI(Identification { reserved: [0, 0, 1], ..alice.identification() });
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED]);
}

/// The same of the responder's.
//= rfc7296 §2.15
//# RestOfRespIDPayload = IDType | RESERVED | RespIDData
#[test]
fn auth_covers_the_reserved_octets_of_the_responders_identity() {
    for (seed, honest) in [(9, true), (10, false)] {
        let mut world = world(seed).site(alice());
        let mut bob = Puppet::bob();
        bob.id_reserved = [0xff; 3];
        let order = world.up("alice");
        bob.answer_init(&mut world);
        let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
        let mut payloads = bob.auth_payloads();
        if !honest {
            payloads[0] = Payload::IdR(Identification { reserved: [0; 3], ..bob.identification() });
        }
        bob.reply(&mut world, &header, &payloads);
        world.until(answered);
        assert_eq!(matches!(world.reply(order), Some(Reply::Up { .. })), honest, "{:?}", world.reply(order));
    }
}
