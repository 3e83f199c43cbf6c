//! What was sent before and comes again, and ids outside of the window.

use sa::{Drop, Order};
use sim::{Datagram, established};
use std::time::Duration;
use suite::{Puppet, alice, answered, bob, dropped, holdings, world};
use wire::Payload;
use wire::num::ExchangeType;

/// A request that comes again gets the same octets again.
//= rfc7296 §2.1
#[test]
fn s116_a_repeated_request_gets_the_same_response() {
    let mut world = world(1).site(bob());
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    let first = alice.hear(&mut world).expect("a response");
    alice.accept_init(&first);
    alice.send(&mut world, &request);
    assert_eq!(alice.hear(&mut world), Some(first));
    let payloads = alice.auth_payloads();
    let request = alice.request(ExchangeType::IKE_AUTH, &payloads);
    alice.send(&mut world, &request);
    let first = alice.hear(&mut world).expect("a response");
    for _ in 0..3 {
        alice.send(&mut world, &request);
        assert_eq!(alice.hear(&mut world), Some(first.clone()));
    }
    assert_eq!(world.status("bob").len(), 1);
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
}

/// An attacker who sends the whole history again, from elsewhere too, changes nothing.
#[test]
fn the_whole_history_again_changes_nothing() {
    let mut world = world(2).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let ike = world.status("alice")[0].id;
    world.order("alice", Order::Probe(ike));
    world.until(answered);
    let before = (holdings(&mut world, "alice"), holdings(&mut world, "bob"));
    let history: Vec<Datagram> = world.wire.iter().map(|(_, datagram)| datagram.clone()).collect();
    for (n, datagram) in history.iter().enumerate() {
        let mut elsewhere = datagram.clone();
        elsewhere.from = "203.0.113.66:4500".parse().unwrap();
        if elsewhere.to.port() == 500 {
            elsewhere.from.set_port(500);
        }
        let at = Duration::from_millis(n as u64 * 50);
        world.inject(at, datagram.clone());
        world.inject(at, elsewhere);
    }
    world.run(Duration::from_secs(10));
    assert_eq!(before, (holdings(&mut world, "alice"), holdings(&mut world, "bob")));
    let ike = world.status("alice")[0].id;
    let probe = world.order("alice", Order::Probe(ike));
    world.until(answered);
    assert!(matches!(world.reply(probe), Some(sa::Reply::Alive { .. })));
}

//= rfc7296 §2.3
#[test]
fn ids_outside_of_the_window_are_dropped() {
    let mut world = world(3).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let before = holdings(&mut world, "bob");
    for id in [0, 3, 4, 100, u32::MAX] {
        let header = alice.header(ExchangeType::INFORMATIONAL, false, id);
        let message = alice.seal(&header, &[]);
        alice.deaf(&world);
        alice.send(&mut world, &message);
        assert_eq!(alice.hear(&mut world), None, "{id}");
    }
    assert_eq!(dropped(&world, "bob", Drop::OutOfWindow), 5);
    assert_eq!(holdings(&mut world, "bob"), before);
    assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()));
}

/// Another request with the id of an answered one gets that answer, and is not looked at: a deletion
/// of the IKE SA stands in it.
//= rfc7296 §2.3
#[test]
fn another_request_under_an_answered_id_is_not_carried_out() {
    let mut world = world(4).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()));
    alice.next_id -= 1;
    let delete = [Payload::Delete(wire::Delete::ike_sa())];
    alice.ask(&mut world, ExchangeType::INFORMATIONAL, &delete);
    assert_eq!(world.status("bob").len(), 1);
}

/// A response that nobody asked for, with right keys.
#[test]
fn a_response_that_nobody_waits_for_is_dropped() {
    let mut world = world(5).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    for id in [0, 1, 7] {
        let header = alice.header(ExchangeType::INFORMATIONAL, true, id);
        let message = alice.seal(&header, &[]);
        alice.send(&mut world, &message);
    }
    world.run(Duration::from_secs(1));
    assert_eq!(dropped(&world, "bob", Drop::Unexpected), 3);
    assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]), Some(Vec::new()));
}

/// Its own words, sent back to it.
#[test]
fn a_reflected_message_is_dropped() {
    let mut world = world(6).peers(alice(), bob()).attacked(|scene| {
        let mirror = Datagram { from: scene.datagram.to, to: scene.datagram.from, ..scene.datagram.clone() };
        scene.send(Duration::from_millis(1), mirror);
    });
    world.up("alice");
    world.until(established);
    let ike = world.status("alice")[0].id;
    let probe = world.order("alice", Order::Probe(ike));
    world.until(answered);
    assert!(matches!(world.reply(probe), Some(sa::Reply::Alive { .. })));
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (1, 1));
}
