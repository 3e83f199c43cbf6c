//! Retransmission, replays and windows (RFC 7296 §2.1 to §2.3).

use crate::common::{A, B, Pair, connection};
use base::MessageId;
use sa::{Drop, Event, Fate, Order, Reply, Settings, Target};
use std::time::Duration;

//= rfc7296 §2.1
#[test]
fn every_datagram_lost_once_only_costs_time() {
    for lost in 0..8 {
        let mut pair = Pair::new(connection(A, B), connection(B, A));
        pair.up();
        for _ in 0..lost {
            pair.step();
        }
        pair.flights.pop_front();
        pair.pass(Duration::from_secs(10));
        pair.assert_mirrored();
        assert_eq!((pair.a.sad.len(), pair.b.established()), (1, 1), "datagram {lost} lost");
    }
}

//= rfc7296 §2.1
#[test]
fn a_retransmission_is_the_same_octet_for_octet_and_so_is_its_answer() {
    let mut pair = Pair::established();
    let requests: Vec<_> = pair.seen.iter().filter(|f| f.bytes[19] & 0x20 == 0).cloned().collect();
    let answers: Vec<_> = pair.seen.iter().filter(|f| f.bytes[19] & 0x20 != 0).cloned().collect();
    let sent = pair.seen.len();
    // IKE_AUTH once more.
    pair.inject(requests[1].clone());
    pair.settle();
    assert_eq!(pair.seen.len(), sent + 1);
    assert_eq!(pair.seen[sent].bytes, answers[1].bytes);
    assert_eq!(pair.a.drops(), [Drop::Unexpected], "nobody waits for the second answer");
    assert_eq!(pair.b.established(), 1);
}

#[test]
fn s027_the_first_message_once_more_gets_the_first_answer_once_more() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.up();
    let first = pair.flights[0].clone();
    pair.inject(first);
    pair.step();
    pair.step();
    assert_eq!(pair.b.endpoint.len(), 1);
    assert_eq!(pair.flights[0].bytes, pair.flights[1].bytes);
    pair.settle();
    assert_eq!((pair.a.established(), pair.b.established()), (1, 1));
}

//= rfc7296 §2.2
#[test]
fn what_is_outside_of_the_window_changes_nothing() {
    let mut pair = Pair::established();
    let auth = pair.seen.iter().find(|f| f.bytes[18] == 35).unwrap().clone();
    pair.order_a(Order::Down(Target::Child("net".into(), "lan".into())));
    pair.settle();
    pair.inject(auth);
    pair.settle();
    assert_eq!(pair.b.drops(), [Drop::OutOfWindow]);
}

#[test]
fn a_lost_answer_to_a_deletion_is_given_again() {
    let mut pair = Pair::established();
    pair.order_a(Order::Down(Target::All));
    pair.step();
    pair.flights.clear();
    assert_eq!(pair.b.count(|e| matches!(e, Event::IkeDown(..))), 1);
    pair.pass(Duration::from_secs(3));
    assert_eq!(pair.a.count(|e| matches!(e, Event::IkeDown(_, sa::Fate::Ordered))), 1);
    pair.pass(Duration::from_secs(30));
    assert!(pair.a.endpoint.is_empty() && pair.b.endpoint.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let run = || {
        let mut pair = Pair::established();
        pair.order_b(Order::Down(Target::All));
        pair.settle();
        pair.seen.iter().map(|flight| flight.bytes.clone()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

//= rfc7296 §2.2
#[test]
fn an_ike_sa_is_closed_before_its_message_ids_wrap() {
    let settings = Settings { last_message_id: MessageId(6), ..Settings::default() };
    let mut pair = Pair::with(connection(A, B), connection(B, A), settings);
    pair.up();
    pair.settle();
    let Some((_, Reply::Up { ike, .. })) = pair.a.replies.first().cloned() else {
        panic!("{:?}", pair.a.replies)
    };
    for _ in 0..10 {
        pair.order_a(Order::Probe(ike));
        pair.settle();
        pair.pass(Duration::from_secs(1));
    }
    assert_eq!((pair.a.sad.len(), pair.b.sad.len()), (0, 0), "the child SAs go with it");
    let down = |e: &Event| matches!(e, Event::IkeDown(..));
    assert_eq!((pair.a.count(down), pair.b.count(down)), (1, 1));
    let fault = |e: &Event| matches!(e, Event::IkeDown(_, Fate::Fault(why)) if why.contains("message ids"));
    assert_eq!(pair.a.count(fault), 1);
}
