//! An IKE SA and its first child, from the order to the tunnel.

use sa::{Event, Reply, Side};
use sim::established;
use suite::{alice, answered, bob, is_clean, world};

//= rfc7296 §1.2
#[test]
fn s001_four_messages_make_an_ike_sa_and_a_child() {
    let mut world = world(1).peers(alice(), bob());
    let order = world.up("alice");
    world.until(established).until(answered);
    assert_eq!(world.wire.len(), 4);
    match world.reply(order) {
        Some(Reply::Up { children, refused, .. }) => {
            assert_eq!((children.as_slice(), refused.len()), (&["lan".to_string()][..], 0));
        }
        other => panic!("{other:?}"),
    }
    let (ours, theirs) = (world.status("alice"), world.status("bob"));
    assert_eq!((ours.len(), theirs.len()), (1, 1));
    let (ours, theirs) = (&ours[0], &theirs[0]);
    assert_eq!((ours.side, theirs.side), (Side::Initiator, Side::Responder));
    assert_eq!((ours.spi_i, ours.spi_r), (theirs.spi_i, theirs.spi_r));
    assert_eq!(
        (ours.local_id.clone(), ours.remote_id.clone()),
        (theirs.remote_id.clone(), theirs.local_id.clone())
    );
    assert_eq!((ours.state, theirs.state), ("established", "established"));
    assert_eq!(ours.suite, theirs.suite);
    assert_eq!(ours.children[0].spi_in, theirs.children[0].spi_out);
    assert_eq!(ours.children[0].spi_out, theirs.children[0].spi_in);
}

#[test]
fn both_sides_tell_of_each_message() {
    let mut world = world(2).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    for name in ["alice", "bob"] {
        let host = world.host(name);
        let sent = host.count(|e| matches!(e, Event::Message(trace) if trace.sent));
        let received = host.count(|e| matches!(e, Event::Message(trace) if !trace.sent));
        assert_eq!((sent, received), (2, 2), "{name}");
        assert_eq!(host.count(|e| matches!(e, Event::IkeUp(_))), 1, "{name}");
        assert_eq!(host.count(|e| matches!(e, Event::ChildUp(..))), 1, "{name}");
    }
}

#[test]
fn a_second_order_finds_the_tunnel_standing() {
    let mut world = world(3).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let again = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(again), Some(Reply::Up { .. })), "{:?}", world.reply(again));
    assert_eq!(world.status("alice").len(), 1);
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
}

/// The order comes back at once or in the end, but with a reason when nobody is there.
#[test]
fn a_peer_that_is_not_there_is_given_up_with_a_reason() {
    let mut world = world(4).site(alice());
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, sa::RefusalKind::Silent);
            assert!(refusal.reason.contains("198.51.100.2"), "{}", refusal.reason);
        }
        other => panic!("{other:?}"),
    }
    assert!(is_clean(&mut world));
}

//= rfc7296 §2.3
#[test]
fn message_ids_begin_at_zero_and_go_up_by_one() {
    let mut world = world(5).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    let ids: Vec<(bool, u32)> = world
        .wire
        .iter()
        .filter_map(|(_, d)| d.peek())
        .map(|peek| (peek.response, peek.message_id))
        .collect();
    assert_eq!(ids, [(false, 0), (true, 0), (false, 1), (true, 1)]);
}
