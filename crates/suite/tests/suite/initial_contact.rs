//! INITIAL_CONTACT (RFC 7296 §2.4): a peer that has lost everything.

use policy::Unique;
use sim::established;
use std::time::Duration;
use suite::{Puppet, alice, bob, is_clean, notifies, world};
use wire::num::{ExchangeType, NotifyType};
use wire::{Notify, Payload};

fn again(world: &mut suite::World, contact: bool) -> Puppet {
    let mut alice = Puppet::alice();
    alice.spis.initiator = base::IkeSpi(world.now().as_nanos());
    alice.deaf(world);
    alice.init(world);
    let mut payloads = alice.auth_payloads();
    if contact {
        payloads.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, Vec::new())));
    }
    alice.ask(world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    world.run(Duration::from_secs(1));
    alice
}

//= rfc7296 §2.4
#[test]
fn s049_the_older_sas_of_a_peer_that_starts_anew_go() {
    let mut world = world(1).site(bob());
    again(&mut world, false);
    again(&mut world, false);
    assert_eq!(world.status("bob").len(), 2, "without the notification both stay");
    let last = again(&mut world, true);
    let left = world.status("bob");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].spi_i, last.spis.initiator);
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
}

#[test]
fn s049_whoever_wants_any_number_of_sas_does_not_heed_it() {
    let mut world = world(2).site(bob().with(|c| c.unique = Unique::Never));
    again(&mut world, false);
    again(&mut world, true);
    assert_eq!(world.status("bob").len(), 2);
}

#[test]
fn s049_a_new_sa_replaces_the_older_ones_where_that_is_wanted() {
    let mut world = world(3).site(bob().with(|c| c.unique = Unique::Replace));
    again(&mut world, false);
    again(&mut world, false);
    // The peer has time to change over; the deletion after that is not answered, and ends all the same.
    world.run(Duration::from_secs(30));
    assert_eq!(world.status("bob").len(), 1);
}

#[test]
fn s049_an_older_sa_stays_where_that_is_wanted() {
    let mut world = world(4).site(bob().with(|c| c.unique = Unique::Keep));
    let first = again(&mut world, false);
    // Somebody else with its key: from where the first one is, it could be the peer itself (`uniqueness.rs`).
    let mut second = Puppet::alice();
    second.address.set_port(1024);
    second.spis.initiator = base::IkeSpi(77);
    second.deaf(&world);
    second.init(&mut world);
    let payloads = second.auth_payloads();
    let answer = second.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED]);
    let left = world.status("bob");
    assert_eq!((left.len(), left[0].spi_i), (1, first.spis.initiator));
}

/// It is sent with the first SA between two identities, and not with the second.
#[test]
fn it_is_sent_once() {
    let mut world = world(5).peers(suite::alice(), bob());
    world.up("alice");
    world.until(established);
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (1, 1));
}

/// Both begin at once: what the peer has begun may stand before it reads our IKE_AUTH, which must not tell it to end that.
//= rfc7296 §2.4
#[test]
fn it_is_not_said_while_the_peer_begins_one_itself() {
    for begins in [false, true] {
        let mut world = world(40).site(alice());
        world.up("alice");
        if begins {
            Puppet::new("bob", "198.51.100.2", "alice", "192.0.2.1").init(&mut world);
        }
        let mut bob = Puppet::bob();
        bob.answer_init(&mut world);
        let (_, asked) = bob.asked(&mut world).expect("IKE_AUTH");
        assert_eq!(notifies(&asked).contains(&NotifyType::INITIAL_CONTACT), !begins);
        world.run(Duration::from_secs(300));
        assert!(is_clean(&mut world), "nobody is awaited any more");
    }
}
