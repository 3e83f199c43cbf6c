//! Child SAs: narrowing, modes, CREATE_CHILD_SA (RFC 7296 §1.3.1, §2.9).

use crate::common::{A, B, Pair, child, connection, esp_proposal, net};
use dataplane::Mode;
use policy::Connection;
use sa::{Event, Order, Reply};
use std::sync::Arc;
use wire::num::{EsnMode, KeMethod};

fn with_child(mut of: Connection, change: impl FnOnce(&mut policy::Child)) -> Connection {
    change(Arc::make_mut(&mut of.children[0]));
    of
}

//= rfc7296 §2.9
#[test]
fn the_responder_narrows_what_the_initiator_proposes() {
    let a = with_child(connection(A, B), |child| {
        child.local_ts = vec![net("10.0.0.0/8")];
        child.remote_ts = vec![net("10.2.0.0/15"), net("172.16.0.0/12")];
    });
    let b = with_child(connection(B, A), |child| {
        child.local_ts = vec![net("10.2.0.0/16"), net("172.16.2.0/24")];
        child.remote_ts = vec![net("10.1.0.0/16")];
    });
    let mut pair = Pair::new(a, b);
    pair.up();
    pair.settle();
    pair.assert_mirrored();
    let spec = pair.a.sad.values().next().unwrap();
    assert_eq!(spec.local_ts, [net("10.1.0.0/16")]);
    assert_eq!(spec.remote_ts, [net("10.2.0.0/16"), net("172.16.2.0/24")]);
}

//= rfc7296 §1.3.1
#[test]
fn s003_transport_mode_needs_both_sides() {
    let transport = |of: Connection| {
        with_child(of, |child| {
            child.mode = Mode::Transport;
            (child.local_ts, child.remote_ts) = (Vec::new(), Vec::new());
        })
    };
    let mut pair = Pair::new(transport(connection(A, B)), transport(connection(B, A)));
    pair.up();
    pair.settle();
    pair.assert_mirrored();
    assert_eq!(pair.a.sad.values().next().map(|spec| spec.mode), Some(Mode::Transport));

    let tunnel =
        with_child(connection(B, A), |child| (child.local_ts, child.remote_ts) = (Vec::new(), Vec::new()));
    let mut pair = Pair::new(transport(connection(A, B)), tunnel);
    pair.up();
    pair.settle();
    // The responder declined transport mode; the initiator deletes what it cannot use, and the IKE SA stays.
    assert!(pair.a.sad.is_empty() && pair.b.sad.is_empty());
    assert_eq!((pair.a.endpoint.len(), pair.b.endpoint.len()), (1, 1));
    assert!(pair.a.refusals()[0].contains("transport"), "{:?}", pair.a.refusals());
}

#[test]
fn s166_extended_sequence_numbers_are_agreed_on() {
    let esn = |of| with_child(of, |child| child.esp_proposals[0].esn = vec![EsnMode::ESN]);
    let mut pair = Pair::new(esn(connection(A, B)), esn(connection(B, A)));
    pair.up();
    pair.settle();
    pair.assert_mirrored();
    assert!(pair.a.sad.values().all(|spec| spec.esn));
}

fn two_children(ke: &[KeMethod]) -> (Connection, Connection) {
    let (mut a, mut b) = (connection(A, B), connection(B, A));
    let make = |name, local, remote| {
        let mut child = child(name, local, remote);
        Arc::make_mut(&mut child).esp_proposals = vec![esp_proposal(ke)];
        child
    };
    a.children.push(make("dmz", "172.16.1.0/24", "172.16.2.0/24"));
    b.children.push(make("dmz", "172.16.2.0/24", "172.16.1.0/24"));
    (a, b)
}

//= rfc7296 §1.3.1
#[test]
fn the_second_child_comes_with_create_child_sa() {
    for ke in [&[][..], &[KeMethod::CURVE25519], &[KeMethod::ECP_256, KeMethod::CURVE25519]] {
        let (a, b) = two_children(ke);
        let mut pair = Pair::new(a, b);
        pair.up();
        pair.settle();
        pair.assert_mirrored();
        assert_eq!(pair.a.sad.len(), 2, "{:?} {:?}", pair.a.refusals(), pair.b.refusals());
        assert!(matches!(&pair.a.replies[..], [(_, Reply::Up { children, .. })] if children.len() == 2));
        let ke_payload =
            pair.a.count(|event| matches!(event, Event::Message(m) if m.payloads.contains("No KE")));
        assert_eq!(ke_payload, if ke.is_empty() { 0 } else { 2 });
        let up =
            Order::Up { connection: policy::ConnectionId(0), child: Some("dmz".into()), path: Pair::path() };
        pair.order_a(up);
        pair.settle();
        assert_eq!(pair.a.sad.len(), 2, "a child that stands is not made again");
        assert_eq!(pair.a.replies.len(), 2);
    }
}

//= rfc7296 §1.3
#[test]
fn create_child_sa_is_tried_again_with_the_method_that_the_peer_wants() {
    let (a, _) = two_children(&[KeMethod::CURVE25519, KeMethod::ECP_256]);
    let (_, b) = two_children(&[KeMethod::ECP_256]);
    let mut pair = Pair::new(a, b);
    pair.up();
    pair.settle();
    pair.assert_mirrored();
    assert_eq!(pair.a.sad.len(), 2, "{:?} {:?}", pair.a.refusals(), pair.b.refusals());
    let told = pair.a.count(|e| matches!(e, Event::Message(m) if m.payloads.contains("INVALID_KE_PAYLOAD")));
    assert_eq!(told, 1);
}

//= rfc6023 §3
#[test]
fn an_ike_sa_can_stand_without_a_child() {
    let (mut a, mut b) = (connection(A, B), connection(B, A));
    (a.children, b.children) = (Vec::new(), Vec::new());
    let mut pair = Pair::new(a, b);
    pair.up();
    pair.settle();
    assert_eq!(
        (pair.a.established(), pair.b.established()),
        (1, 1),
        "{:?} {:?}",
        pair.a.refusals(),
        pair.b.refusals()
    );
    assert!(matches!(&pair.a.replies[..], [(_, Reply::Up { children, .. })] if children.is_empty()));
}

#[test]
fn the_responder_answers_only_when_its_data_plane_is_ready() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.b.refuse_install = Some("no memory".to_string());
    pair.up();
    pair.settle();
    // RFC 7296 §1.2: the IKE SA outlives its failed child.
    assert_eq!((pair.a.established(), pair.b.established()), (1, 1));
    assert!(pair.a.sad.is_empty() && pair.b.sad.is_empty());
    assert!(pair.b.refusals()[0].contains("no memory"), "{:?}", pair.b.refusals());
    assert!(matches!(&pair.a.replies[..], [(_, Reply::Up { refused, .. })] if refused.len() == 1));
}

#[test]
fn a_child_that_the_initiator_cannot_install_is_deleted_at_the_peer() {
    let mut pair = Pair::new(connection(A, B), connection(B, A));
    pair.a.refuse_install = Some("no memory".to_string());
    pair.up();
    pair.settle();
    assert!(pair.a.sad.is_empty() && pair.b.sad.is_empty());
    assert_eq!((pair.a.endpoint.len(), pair.b.endpoint.len()), (1, 1));
}
