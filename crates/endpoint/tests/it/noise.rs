//! Noise cannot hurt: versions, SPIs, critical payloads, truncated and changed datagrams (RFC 7296 §2.5, §2.21.4).

use crate::common::{A, B, Flight, Pair, connection};
use sa::{Drop, Event, Order, Reply};
use std::time::Duration;

/// An unprotected message to B with this header and one unknown payload of no meaning.
fn stray(pair: &Pair, change: impl FnOnce(&mut [u8])) -> Flight {
    let mut bytes = vec![0; 36];
    bytes[..8].fill(7);
    bytes[8..16].fill(9);
    (bytes[17], bytes[18], bytes[19], bytes[27]) = (0x20, 37, 0x08, 36);
    (bytes[16], bytes[31]) = (200, 8);
    change(&mut bytes);
    Flight { bytes, ..pair.seen[0].clone() }
}

//= rfc7296 §2.21.4
#[test]
fn unknown_spis_are_answered_when_they_ask_and_never_when_they_answer() {
    let mut pair = Pair::established();
    pair.flights.clear();
    pair.deliver(stray(&pair, |bytes| bytes[19] = 0x28));
    assert!(pair.flights.is_empty());
    pair.deliver(stray(&pair, |bytes| bytes[23] = 5));
    let answer = pair.flights.pop_front().unwrap().bytes;
    assert_eq!((&answer[..16], &answer[20..24]), (&stray(&pair, |_| ()).bytes[..16], &[0, 0, 0, 5][..]));
    assert_eq!((answer[19] & 0x20, answer[35]), (0x20, 4), "a response with N(INVALID_IKE_SPI)");
    for _ in 0..50 {
        pair.deliver(stray(&pair, |_| ()));
    }
    assert!(pair.flights.len() < 10, "the rate is limited");
}

//= rfc7296 §2.5
#[test]
fn a_higher_major_version_is_told_ours_and_a_higher_minor_one_is_fine() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.up();
    let request = pair.flights.pop_front().unwrap();
    let mut newer = request.clone();
    newer.bytes[17] = 0x30;
    pair.deliver(newer);
    let answer = pair.flights.pop_front().unwrap().bytes;
    assert_eq!((answer[17] >> 4, &answer[34..]), (2, &[0, 5][..]));
    assert_eq!(pair.b.drops(), [Drop::Version]);
    let mut minor = request;
    minor.bytes[17] = 0x2f;
    pair.deliver(minor);
    assert_eq!(pair.b.endpoint.len(), 1);
}

#[test]
fn every_truncation_and_every_changed_octet_is_dropped() {
    let mut pair = Pair::established();
    let samples: Vec<Flight> = pair.seen.clone();
    let before = (pair.a.endpoint.len(), pair.b.established(), pair.b.sad.len());
    for sample in &samples {
        for cut in (0..sample.bytes.len()).step_by(7) {
            pair.inject(Flight { bytes: sample.bytes[..cut].to_vec(), ..sample.clone() });
            pair.settle();
        }
        for at in (0..sample.bytes.len()).step_by(3) {
            let mut changed = sample.clone();
            changed.bytes[at] ^= 0x41;
            pair.inject(changed);
            pair.settle();
        }
    }
    assert_eq!(before, (pair.a.endpoint.len(), pair.b.established(), pair.b.sad.len()));
    pair.assert_mirrored();
    pair.pass(Duration::from_secs(40));
    assert_eq!(
        (pair.a.endpoint.len(), pair.b.endpoint.len()),
        (1, 1),
        "half-open ones are gone, the real one stands"
    );
}

//= rfc7296 §2.21.4
#[test]
fn an_unprotected_hint_makes_us_ask_and_nothing_more() {
    let mut pair = Pair::established();
    let ours = pair.seen.iter().rfind(|f| f.bytes[19] & 0x20 != 0).unwrap().clone();
    let mut bytes = ours.bytes[..28].to_vec();
    (bytes[16], bytes[18], bytes[27]) = (41, 37, 36);
    bytes.extend([0, 0, 0, 8, 0, 0, 0, 4]);
    for _ in 0..3 {
        pair.inject(Flight { bytes: bytes.clone(), ..ours.clone() });
    }
    let sent = pair.seen.len();
    pair.settle();
    assert_eq!(pair.seen.len() - sent, 2, "one probe and its answer");
    assert_eq!((pair.a.sad.len(), pair.a.endpoint.len()), (1, 1));
}

#[test]
fn an_answer_to_nobody_changes_nothing() {
    let mut pair = Pair::established();
    pair.answer_a(sa::JobId(12_345), sa::Answer::Verified(sa::Verified::default()));
    pair.order_a(Order::Status);
    let status = |e: &Reply| matches!(e, Reply::Status(all) if all.len() == 1 && all[0].children.len() == 1);
    assert!(status(&pair.a.replies[1].1));
    assert_eq!(pair.a.count(|e| matches!(e, Event::IkeDown(..))), 0);
}
