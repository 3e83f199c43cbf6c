//! Strangers: cookies, limits of half-open IKE SAs, retries (RFC 7296 §2.6, §2.7, §1.2).

use crate::common::{A, B, Flight, Pair, connection, ike_proposal};
use sa::{Drop, Event, Reply, Settings};
use std::time::Duration;
use wire::num::KeMethod;

fn demanding() -> Settings {
    Settings { cookie_threshold: 0, ..Settings::default() }
}

//= rfc7296 §2.6
#[test]
fn a_cookie_costs_a_round_trip_and_nothing_else() {
    let mut pair = Pair::with(connection(A, B), connection(B, A), demanding());
    pair.up();
    pair.step();
    assert_eq!(pair.b.endpoint.len(), 0, "no state before the cookie");
    pair.settle();
    pair.heed_cookie();
    pair.settle();
    pair.assert_mirrored();
    assert_eq!((pair.a.sad.len(), pair.seen.len()), (1, 6));
    let again = pair
        .a
        .count(|e| matches!(e, Event::Message(m) if m.sent && m.payloads.starts_with("N(COOKIE) SA KE")));
    assert_eq!(again, 1, "the cookie stands first");
}

/// The request with the cookie, caught on its way.
fn with_cookie() -> (Pair, Flight) {
    let mut pair = Pair::with(connection(A, B), connection(B, A), demanding());
    pair.up();
    pair.step();
    pair.step();
    pair.heed_cookie();
    let request = pair.flights.pop_front().unwrap();
    (pair, request)
}

#[test]
fn a_cookie_serves_its_own_address_only() {
    let (mut pair, mut request) = with_cookie();
    request.from = "203.0.113.9:500".parse().unwrap();
    pair.deliver(request);
    assert_eq!(pair.b.endpoint.len(), 0);
}

//= rfc7296 §2.6
#[test]
fn a_cookie_outlives_one_change_of_the_secret_but_not_two() {
    for (seconds, accepted) in [(90, 1), (150, 0)] {
        let (mut pair, request) = with_cookie();
        pair.now.mono = pair.now.mono + Duration::from_secs(seconds);
        pair.deliver(request);
        assert_eq!(pair.b.endpoint.len(), accepted, "{seconds}");
    }
}

#[test]
fn half_open_ike_sas_are_limited_and_end_by_themselves() {
    let settings = Settings { block_threshold: 3, ..Settings::default() };
    let mut pair = Pair::with(connection(A, B), connection(B, A), settings);
    pair.up();
    let first = pair.flights.pop_front().unwrap();
    for spi in 1..=5u8 {
        let mut request = first.clone();
        request.bytes[0] = spi;
        pair.deliver(request);
    }
    assert_eq!((pair.b.endpoint.len(), pair.b.endpoint.half_open()), (3, 3));
    assert_eq!(pair.b.drops(), [Drop::HalfOpenLimit; 2]);
    pair.flights.clear();
    pair.lose = |_| true;
    pair.pass(Duration::from_secs(31));
    assert!(pair.b.endpoint.is_empty());
}

//= rfc7296 §1.2
#[test]
fn another_key_exchange_is_tried_when_the_responder_wants_it() {
    let (mut a, mut b) = (connection(A, B), connection(B, A));
    a.proposals = vec![ike_proposal(&[KeMethod::CURVE25519, KeMethod::ECP_256])];
    b.proposals = vec![ike_proposal(&[KeMethod::ECP_256])];
    let mut pair = Pair::with(a, b, demanding());
    pair.up();
    pair.settle();
    pair.heed_cookie();
    pair.settle();
    pair.assert_mirrored();
    assert_eq!(pair.a.sad.len(), 1, "{:?} {:?}", pair.a.refusals(), pair.b.refusals());
    let spis: std::collections::BTreeSet<&[u8]> =
        pair.seen.iter().filter(|f| f.bytes[18] == 34).map(|f| &f.bytes[..8]).collect();
    assert_eq!(spis.len(), 1, "all requests of one attempt have the same SPI");
}

#[test]
fn a_method_that_was_not_offered_is_not_taken() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.up();
    let request = pair.flights.pop_front().unwrap();
    // N(INVALID_KE_PAYLOAD) that wishes for MODP_768.
    let mut bytes = request.bytes[..28].to_vec();
    (bytes[16], bytes[19]) = (41, 0x20);
    bytes.extend([0, 0, 0, 10, 0, 0, 0, 17, 0, 1]);
    bytes[24..28].copy_from_slice(&38u32.to_be_bytes());
    pair.deliver(Flight { from: request.to, to: request.from, marked: false, bytes });
    assert!(pair.flights.is_empty());
    assert_eq!(pair.a.drops(), [Drop::Unprotected]);
    pair.inject(request);
    pair.settle();
    assert_eq!(pair.a.sad.len(), 1, "the real answer still counts");
}

/// An unprotected message to A that seems to answer its first request, with one notification.
fn forged(request: &Flight, kind: u16, data: &[u8]) -> Flight {
    let mut bytes = request.bytes[..28].to_vec();
    (bytes[16], bytes[19]) = (41, 0x20);
    bytes.extend([0, 0]);
    bytes.extend((8 + data.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(kind.to_be_bytes());
    bytes.extend(data);
    let length = bytes.len() as u32;
    bytes[24..28].copy_from_slice(&length.to_be_bytes());
    Flight { from: request.to, to: request.from, marked: false, bytes }
}

//= rfc7296 §2.21.1
#[test]
fn a_forged_refusal_does_not_end_a_negotiation() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.up();
    let request = pair.flights.pop_front().unwrap();
    pair.deliver(forged(&request, 14, &[]));
    pair.inject(request);
    pair.settle();
    assert_eq!(pair.a.sad.len(), 1);
}

#[test]
fn a_true_refusal_is_told_after_seconds() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.up();
    let request = pair.flights.pop_front().unwrap();
    pair.lose = |_| true;
    pair.inject(forged(&request, 14, &[]));
    pair.pass(Duration::from_secs(4));
    assert!(
        matches!(&pair.a.replies[..], [(_, Reply::Refused(r))] if r.by_peer && r.reason.contains("NO_PROPOSAL"))
    );
    assert!(pair.a.endpoint.is_empty());
}

#[test]
fn endless_cookies_come_to_an_end() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.up();
    let request = pair.flights.pop_front().unwrap();
    for cookie in 0..12u8 {
        pair.deliver(forged(&request, 16390, &[cookie]));
        pair.heed_cookie();
    }
    assert_eq!(pair.seen.len(), 1 + ikev2::limits::INIT_RETRIES as usize);
    let empty = forged(&request, 16390, &[]);
    pair.deliver(empty);
    assert_eq!(pair.a.drops().last(), Some(&Drop::Unprotected));
}

/// The answer to A's first request with other keys in it, under the same SPIs or under others.
fn other_keys(answer: &Flight, spi: u8) -> Flight {
    let mut forged = answer.clone();
    forged.bytes[15] ^= spi;
    // The last octets of the KE payload's public value: SA has 44 octets here, KE 40.
    forged.bytes[28 + 40 + 36] ^= 1;
    forged
}

//= rfc7296 §2.4
#[test]
fn forged_answers_before_and_after_the_real_one_cost_time_only() {
    for spi in [0, 1] {
        for real_at in 0..3 {
            let mut pair = Pair::new(connection(A, B), connection(B, A));
            pair.up();
            pair.step();
            let real = pair.flights.pop_front().unwrap();
            let mut answers: Vec<Flight> = (1..=2).map(|n| other_keys(&real, spi * n)).collect();
            answers[1].bytes[28 + 40 + 35] ^= 1;
            answers.insert(real_at, real);
            for answer in answers {
                pair.deliver(answer);
            }
            pair.pass(Duration::from_secs(20));
            pair.assert_mirrored();
            let told = (pair.a.refusals(), pair.b.refusals());
            assert_eq!((pair.a.sad.len(), pair.b.sad.len()), (1, 1), "{spi} {real_at} {told:?}");
            assert!(matches!(&pair.a.replies[..], [(_, Reply::Up { .. })]));
            let changed = |e: &Event| matches!(e, Event::Note { text, .. } if text.contains("following it"));
            assert_eq!(pair.a.count(changed), real_at, "each forged one before the real one was tried");
        }
    }
}

#[test]
fn forged_answers_without_a_real_one_come_to_an_end() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.up();
    pair.step();
    let real = pair.flights.pop_front().unwrap();
    for n in 1..=10 {
        let mut answer = other_keys(&real, n);
        answer.bytes[28 + 40 + 20] ^= n;
        pair.deliver(answer);
    }
    pair.lose = |_| true;
    pair.pass(Duration::from_secs(1200));
    assert!(matches!(&pair.a.replies[..], [(_, Reply::Refused(_))]));
    assert!(pair.a.endpoint.is_empty(), "no SPI of an attempt is left behind");
    assert!(pair.seen.len() <= 3 + ikev2::limits::MAX_INIT_ANSWERS * 7);
}
