//! The limits of `ikev2`, each one hit.

use crate::common::{A, B, Pair, child, connection};
use ikev2::limits::{MAX_CHILDREN, MAX_TODO, RESPONSE_LIFE};
use policy::{Connection, ConnectionId};
use sa::{Event, IkeSaId, Order, Path, RefusalKind, Reply, Target};

/// Established with as many children as there may be; one more, the last, was refused.
fn full() -> Pair {
    let with = |mut of: Connection, ours: u8, theirs: u8| {
        let lan = |site: u8, n: usize| format!("10.{}.{}.0/24", usize::from(site) + n / 256, n % 256);
        let one = |n: usize| child(&format!("c{n}"), &lan(ours, n), &lan(theirs, n));
        of.children = (0..=MAX_CHILDREN).map(one).collect();
        of
    };
    let mut pair = Pair::new(with(connection(A, B), 100, 200), with(connection(B, A), 200, 100));
    pair.up();
    pair.settle();
    pair
}

fn ike_of_a(pair: &Pair) -> IkeSaId {
    let ike = pair.a.replies.iter().find_map(|(_, reply)| match reply {
        Reply::Up { ike, .. } => Some(*ike),
        _ => None,
    });
    ike.expect("it is up")
}

#[test]
fn an_ike_sa_has_only_so_many_children() {
    let pair = full();
    pair.assert_mirrored();
    assert_eq!((pair.a.sad.len(), pair.b.sad.len()), (MAX_CHILDREN, MAX_CHILDREN));
    let Some((_, Reply::Up { refused, .. })) = pair.a.replies.last() else { panic!("{:?}", pair.a.replies) };
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].1.kind, RefusalKind::NoAdditionalSas, "{:?}", refused[0]);
    assert_eq!((pair.a.established(), pair.b.established()), (1, 1), "the IKE SA stands");
}

#[test]
fn only_so_many_exchanges_wait_and_nobody_waits_in_vain() {
    let mut pair = Pair::established();
    let ike = ike_of_a(&pair);
    let before = pair.a.replies.len();
    // One is under way, and MAX_TODO wait.
    for _ in 0..MAX_TODO + 3 {
        pair.order_a(Order::Probe(ike));
    }
    let busy = |(_, reply): &(_, Reply)| matches!(reply, Reply::Refused(r) if r.kind == RefusalKind::Busy);
    assert_eq!(pair.a.replies[before..].iter().filter(|reply| busy(reply)).count(), 2);
    pair.settle();
    let alive = pair.a.replies.iter().filter(|(_, reply)| matches!(reply, Reply::Alive { .. })).count();
    assert_eq!(alive, MAX_TODO + 1);
}

//= rfc7296 §1.4.1
#[test]
fn the_peer_hears_of_deleted_children_however_much_waits() {
    let (mut a, mut b) = (connection(A, B), connection(B, A));
    a.children = vec![child("x", "10.1.0.0/24", "10.2.0.0/24"), child("y", "10.1.1.0/24", "10.2.1.0/24")];
    b.children = vec![child("x", "10.2.0.0/24", "10.1.0.0/24"), child("y", "10.2.1.0/24", "10.1.1.0/24")];
    let mut pair = Pair::new(a, b);
    pair.up();
    pair.settle();
    assert_eq!((pair.a.sad.len(), pair.b.sad.len()), (2, 2));
    let ike = ike_of_a(&pair);
    for _ in 0..MAX_TODO + 1 {
        pair.order_a(Order::Probe(ike));
    }
    for name in ["x", "y"] {
        pair.order_a(Order::Down(Target::Child("net".into(), name.into())));
    }
    assert_eq!((pair.a.sad.len(), pair.b.sad.len()), (0, 2));
    pair.settle();
    assert_eq!(pair.b.sad.len(), 0, "the peer keeps nothing");
    let deletions = |e: &Event| matches!(e, Event::Message(m) if m.sent && !m.response && m.payloads == "D");
    assert_eq!(pair.a.count(deletions), 1, "what waits is told in one request");
    let alive = pair.a.replies.iter().filter(|(_, reply)| matches!(reply, Reply::Alive { .. })).count();
    assert_eq!(alive, MAX_TODO + 1);
}

#[test]
fn children_that_the_peer_does_not_know_to_be_gone_take_up_places() {
    for (told, standing) in [(false, MAX_CHILDREN - 1), (true, MAX_CHILDREN)] {
        let mut pair = full();
        let ike = ike_of_a(&pair);
        // The deletion waits behind the probe, and the peer's request comes before the probe's answer.
        pair.order_a(Order::Probe(ike));
        pair.order_a(Order::Down(Target::Child("net".into(), "c0".into())));
        if told {
            pair.settle();
        }
        let last = Some(format!("c{MAX_CHILDREN}"));
        let (local, remote) = (Pair::path().remote, Pair::path().local);
        let path = Path { local, remote, marked: false };
        pair.order_b(Order::Up { connection: ConnectionId(0), child: last, path });
        pair.settle();
        pair.assert_mirrored();
        assert_eq!(pair.a.sad.len(), standing, "told: {told}");
        assert_eq!((pair.a.established(), pair.b.established()), (1, 1), "the IKE SA stands");
    }
}

//= rfc7296 §2.1
//# responders are allowed to forget the response after a timeout of several minutes
#[test]
fn a_response_is_forgotten_after_its_life() {
    for (late, answered) in [(false, 1), (true, 0)] {
        let mut pair = Pair::established();
        let auth = pair.seen.iter().find(|f| f.bytes[18] == 35 && f.bytes[19] & 0x20 == 0).unwrap().clone();
        pair.pass(if late { RESPONSE_LIFE } else { RESPONSE_LIFE / 2 });
        let before = pair.seen.len();
        pair.inject(auth);
        pair.settle();
        assert_eq!(pair.seen.len() - before, answered, "late: {late}");
        assert_eq!(pair.b.established(), 1);
    }
}
