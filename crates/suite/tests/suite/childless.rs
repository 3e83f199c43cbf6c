//! Childless initiation (RFC 6023).

use sa::Reply;
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
