//! IKE fragmentation (RFC 7383).

use crate::common::{A, B, Flight, Pair, connection};
use policy::{Certificate, Connection};
use sa::{Drop, Event};
use std::sync::Arc;
use std::time::Duration;

/// Both authenticate with a PSK all the same, but send something large along: three certificates.
fn large(mut of: Connection) -> Connection {
    of.local.method = policy::AuthMethod::Pubkey;
    let cert = |fill: u8| Certificate {
        der: Arc::from(vec![fill; 900]),
        subject: Arc::from("x"),
        spki_sha1: [fill; 20],
    };
    of.local.certs = vec![cert(1), cert(2), cert(3)];
    of
}

fn pair() -> Pair {
    Pair::new(large(connection(A, B)), large(connection(B, A)))
}

//= rfc7383 §2.5
#[test]
fn large_messages_are_cut_and_put_together_on_both_ways() {
    let mut pair = pair();
    pair.up();
    pair.settle();
    pair.assert_mirrored();
    assert_eq!(pair.a.sad.len(), 1);
    assert!(
        pair.seen.iter().all(|flight| flight.bytes.len() + 28 <= 1280),
        "no datagram is larger than configured"
    );
    let cut = |e: &Event| matches!(e, Event::Message(m) if m.exchange == "IKE_AUTH" && m.datagrams > 1);
    assert_eq!((pair.a.count(cut), pair.b.count(cut)), (2, 2));
}

#[test]
fn fragments_in_any_order_and_twice_are_one_message() {
    let mut pair = pair();
    pair.up();
    pair.step();
    pair.step();
    let again: Vec<Flight> = pair.flights.iter().cloned().collect();
    assert!(again.len() > 2);
    pair.flights.make_contiguous().reverse();
    again.into_iter().for_each(|flight| pair.inject(flight));
    pair.settle();
    pair.assert_mirrored();
    assert_eq!((pair.a.sad.len(), pair.b.established()), (1, 1));
}

//= rfc7383 §2.6.1
#[test]
fn a_lost_fragment_brings_the_whole_message_again_and_its_answer_once() {
    let mut pair = pair();
    pair.up();
    pair.step();
    pair.step();
    pair.flights.pop_front();
    pair.settle();
    assert_eq!(pair.b.established(), 0);
    pair.pass(Duration::from_secs(3));
    pair.assert_mirrored();
    assert_eq!(pair.a.sad.len(), 1);
    // All fragments of the request once more: only the first one brings the answer again.
    let request: Vec<Flight> =
        pair.seen.iter().filter(|f| f.bytes[18] == 35 && f.bytes[19] & 0x20 == 0).cloned().collect();
    let total = usize::from(u16::from_be_bytes([request[0].bytes[34], request[0].bytes[35]]));
    let sent = pair.seen.len();
    request[..total].iter().for_each(|flight| pair.inject(flight.clone()));
    pair.settle();
    let answer: usize = pair.seen.len() - sent;
    assert!(answer >= 2 && answer <= total + 1, "one answer of several fragments, not {answer}");
}

#[test]
fn a_forged_fragment_is_dropped_before_it_is_kept() {
    let mut pair = pair();
    pair.up();
    pair.step();
    pair.step();
    let mut forged = pair.flights[0].clone();
    let last = forged.bytes.len() - 1;
    forged.bytes[last] ^= 1;
    pair.flights.push_front(forged);
    pair.settle();
    pair.assert_mirrored();
    assert_eq!(pair.b.drops(), [Drop::BadIcv]);
}

//= rfc7383 §2.3
#[test]
fn without_the_peers_word_nothing_is_cut() {
    let mut b = large(connection(B, A));
    b.fragmentation = false;
    let mut pair = Pair::new(large(connection(A, B)), b);
    pair.up();
    pair.settle();
    pair.assert_mirrored();
    assert!(pair.seen.iter().any(|flight| flight.bytes.len() > 2700));
}
