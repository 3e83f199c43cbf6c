//! The data plane cannot install a child.

use sa::{RefusalKind, Reply};
use sim::DataplaneNature;
use suite::{alice, answered, bob, world};

fn refusing() -> DataplaneNature {
    DataplaneNature { refuse: 1000, ..DataplaneNature::default() }
}

/// The responder cannot: the initiator hears a refusal, the IKE SA stands at both ends.
#[test]
fn a_responder_without_room_refuses_the_child() {
    let mut site = bob();
    site.dataplane = refusing();
    let mut world = world(1).peers(alice(), site);
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Up { children, refused, .. }) => {
            assert!(children.is_empty());
            assert_eq!(refused[0].0, "lan");
            assert!(refused[0].1.by_peer);
        }
        other => panic!("{other:?}"),
    }
    world.run(std::time::Duration::from_secs(5));
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (1, 1));
    assert_eq!(world.host("alice").dataplane.sad().count(), 0);
    let told = world.host("bob").refusals();
    assert!(
        told.iter().any(|r| r.kind == RefusalKind::Dataplane && r.reason.contains("no room")),
        "{told:?}"
    );
}

/// The initiator cannot: it deletes what the responder has installed.
#[test]
fn an_initiator_without_room_takes_the_child_back() {
    let mut site = alice();
    site.dataplane = refusing();
    let mut world = world(2).peers(site, bob());
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Up { children, refused, .. }) => {
            assert!(children.is_empty());
            assert_eq!((refused[0].1.kind, refused[0].1.by_peer), (RefusalKind::Dataplane, false));
        }
        other => panic!("{other:?}"),
    }
    world.run(std::time::Duration::from_secs(5));
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (1, 1));
    assert_eq!(world.host("bob").dataplane.sad().count(), 0);
}
