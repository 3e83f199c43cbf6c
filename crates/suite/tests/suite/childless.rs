//! Childless initiation (RFC 6023).

use policy::Childless;
use sa::Reply;
use sim::established;
use suite::{Puppet, alice, answered, bob, notifies, world};
use wire::num::{ExchangeType, NotifyType, PayloadType};

//= rfc6023 §3
#[test]
fn s020_an_ike_sa_without_a_child_stands() {
    let childless = |site: sim::Site| site.with(|c| c.children.clear());
    let mut world = world(1).peers(childless(alice()), childless(bob()));
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Up { children, .. }) if children.is_empty()));
    for name in ["alice", "bob"] {
        assert_eq!((world.status(name).len(), world.host(name).dataplane.sad().count()), (1, 0));
    }
}

/// We say that we can, and answer whoever does it.
#[test]
fn s020_a_peer_that_asks_for_no_child_gets_none() {
    let mut world = world(2).site(bob());
    let mut alice = Puppet::alice();
    let response = alice.init(&mut world);
    assert!(notifies(&response).contains(&NotifyType::CHILDLESS_IKEV2_SUPPORTED));
    let mut payloads = alice.auth_payloads();
    payloads.truncate(2);
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    let kinds: Vec<PayloadType> = answer.iter().map(wire::Payload::kind).collect();
    assert!(kinds.contains(&PayloadType::AUTH) && !kinds.contains(&PayloadType::SA), "{kinds:?}");
    assert_eq!((world.status("bob").len(), world.host("bob").dataplane.sad().count()), (1, 0));
}

/// Where both can, an initiator that prefers it makes its children afterwards, each with a key exchange of its own.
#[test]
fn s020_whoever_prefers_it_makes_the_children_afterwards() {
    for (childless, theirs) in [(Childless::Prefer, Childless::Allow), (Childless::Force, Childless::Force)] {
        let one = alice().with(|c| c.extensions.childless = childless);
        let mut world = world(3).peers(one, bob().with(|c| c.extensions.childless = theirs));
        let order = world.up("alice");
        world.until(answered);
        assert!(matches!(world.reply(order), Some(Reply::Up { children, .. }) if children == &["lan"]));
        let begun = |datagram: &sim::Datagram| datagram.message()[18] == ExchangeType::CREATE_CHILD_SA.0;
        assert!(world.wire.iter().any(|(_, datagram)| begun(datagram)), "{childless:?}");
        assert_eq!(world.host("bob").dataplane.sad().count(), 1);
    }
}

/// A peer that cannot gets its child with IKE_AUTH where it is only preferred, and nothing where it is forced.
#[test]
fn s020_a_peer_that_cannot() {
    let prefers = alice().with(|c| c.extensions.childless = Childless::Prefer);
    let mut world = world(4).peers(prefers, bob().with(|c| c.extensions.childless = Childless::Never));
    world.up("alice");
    world.until(established);
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);

    let forces = alice().with(|c| c.extensions.childless = Childless::Force);
    let mut world = suite::world(5).peers(forces, bob().with(|c| c.extensions.childless = Childless::Never));
    let order = world.up("alice");
    world.until(answered);
    let refused = |reply: Option<&Reply>| match reply {
        Some(Reply::Refused(refusal)) => refusal.reason.contains("`childless = \"force\"`"),
        _ => false,
    };
    assert!(refused(world.reply(order)), "{:?}", world.reply(order));
}

/// Neither is said nor taken where it is not wanted.
#[test]
fn s020_never_is_never() {
    let mut world = world(6).site(bob().with(|c| c.extensions.childless = Childless::Never));
    let mut alice = Puppet::alice();
    let response = alice.init(&mut world);
    assert!(!notifies(&response).contains(&NotifyType::CHILDLESS_IKEV2_SUPPORTED));
    let mut payloads = alice.auth_payloads();
    payloads.truncate(2);
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX]);
    assert!(world.status("bob").is_empty());
}
