//! INFORMATIONAL: deletion, signs of life, uniqueness (RFC 7296 §1.4, §2.4).

use crate::common::{A, B, Pair, connection};
use policy::Unique;
use sa::{Event, Fate, Order, Reply, Target};
use std::time::Duration;

//= rfc7296 §1.4.1
#[test]
fn a_deleted_child_goes_on_both_sides_and_the_ike_sa_stays() {
    let mut pair = Pair::established();
    pair.order_b(Order::Down(Target::Child("net".into(), "lan".into())));
    pair.settle();
    assert!(pair.a.sad.is_empty() && pair.b.sad.is_empty());
    assert!(matches!(&pair.b.replies[..], [(_, Reply::Down { ike: 0, children: 1 })]));
    assert_eq!((pair.a.endpoint.len(), pair.b.endpoint.len()), (1, 1));
    let answered =
        pair.a.count(|e| matches!(e, Event::Message(m) if m.sent && m.response && m.payloads == "D"));
    assert_eq!(answered, 1, "the response names the other half");
}

//= rfc7296 §1.4.1
#[test]
fn crossing_deletions_name_nothing_twice() {
    let mut pair = Pair::established();
    pair.order_a(Order::Down(Target::Child("net".into(), "lan".into())));
    pair.order_b(Order::Down(Target::Child("net".into(), "lan".into())));
    pair.settle();
    assert!(pair.a.sad.is_empty() && pair.b.sad.is_empty());
    let named = |e: &Event| matches!(e, Event::Message(m) if m.sent && m.response && m.payloads == "D");
    assert_eq!((pair.a.count(named), pair.b.count(named)), (0, 0));
    assert_eq!((pair.a.replies.len(), pair.b.replies.len()), (2, 1));
}

#[test]
fn crossing_deletions_of_the_ike_sa_end_it_once() {
    let mut pair = Pair::established();
    pair.order_a(Order::Down(Target::All));
    pair.order_b(Order::Down(Target::All));
    pair.settle();
    let downs = |e: &Event| matches!(e, Event::IkeDown(..));
    assert_eq!((pair.a.count(downs), pair.b.count(downs)), (1, 1));
    pair.pass(Duration::from_secs(60));
    assert!(pair.a.endpoint.is_empty() && pair.b.endpoint.is_empty());
}

#[test]
fn a_probe_tells_the_round_trip() {
    let mut pair = Pair::established();
    let id = match &pair.a.replies[0].1 {
        Reply::Up { ike, .. } => *ike,
        other => panic!("{other:?}"),
    };
    pair.order_a(Order::Probe(id));
    pair.settle();
    assert!(matches!(pair.a.replies[1].1, Reply::Alive { round_trip } if round_trip.is_zero()));
    pair.order_a(Order::Probe(sa::IkeSaId(99)));
    assert!(matches!(pair.a.replies[2].1, Reply::Refused(_)));
}

//= rfc7296 §2.4
#[test]
fn an_idle_peer_is_probed_and_a_silent_one_given_up() {
    let (mut a, b) = (connection(A, B), connection(B, A));
    a.dpd_delay = Duration::from_secs(10);
    let mut pair = Pair::new(a, b);
    pair.up();
    pair.settle();
    let sent = pair.seen.len();
    pair.pass(Duration::from_secs(25));
    assert_eq!(pair.seen.len() - sent, 4, "two probes, two answers");
    pair.lose = |_| true;
    pair.pass(Duration::from_secs(300));
    let silent = |e: &Event| matches!(e, Event::IkeDown(_, Fate::Silent { sent: 7, .. }));
    assert_eq!(pair.a.count(silent), 1);
    assert!(pair.a.endpoint.is_empty() && pair.a.sad.is_empty());
}

#[test]
fn deleting_with_a_silent_peer_takes_seconds_not_minutes() {
    let mut pair = Pair::established();
    pair.lose = |_| true;
    pair.order_a(Order::Down(Target::All));
    pair.pass(Duration::from_secs(20));
    assert!(matches!(pair.a.replies[1].1, Reply::Down { ike: 1, children: 1 }));
    assert!(pair.a.endpoint.is_empty());
}

//= rfc7296 §2.4
#[test]
fn initial_contact_removes_what_the_peer_has_forgotten() {
    let mut pair = Pair::established();
    let fresh = crate::common::End::new(vec![connection(A, B)], Default::default(), 77);
    pair.a = fresh;
    pair.up();
    pair.settle();
    pair.assert_mirrored();
    assert_eq!(pair.b.sad.len(), 1);
    assert_eq!(pair.b.count(|e| matches!(e, Event::IkeDown(_, Fate::Replaced))), 1);
}

#[test]
fn a_second_ike_sa_is_replaced_or_refused_as_configured() {
    for (unique, standing) in [(Unique::Replace, 1), (Unique::Keep, 1), (Unique::Never, 2)] {
        let (mut a, mut b) = (connection(A, B), connection(B, A));
        (a.unique, b.unique) = (Unique::Never, unique);
        let mut pair = Pair::new(a.clone(), b);
        pair.up();
        pair.settle();
        // Another process behind the same identity, which does not say INITIAL_CONTACT.
        pair.a = crate::common::End::new(vec![a], Default::default(), 77);
        if unique == Unique::Keep {
            // The same address and port would be the peer itself, which proves itself anew.
            pair.nat = Some(format!("{A}:1024").parse().unwrap());
        }
        pair.up();
        // From the same address it may be the same peer that changes over: the older one stays a little while.
        pair.pass(Duration::from_secs(15));
        assert_eq!(pair.b.sad.len(), standing, "{unique:?}");
        assert_eq!(pair.a.sad.len(), usize::from(unique != Unique::Keep), "{unique:?}");
    }
}
