//! IKE SAs beside one that stands, without another proof (RFC 7791).

use sa::{Event, Fate, Order, RefusalKind, Reply, Target};
use sim::{Site, established};
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, notifies, world};
use wire::num::{ExchangeType, NotifyType, PayloadType};
use wire::{Notify, Payload};

const SECOND: Duration = Duration::from_secs(1);

fn cloning(site: Site) -> Site {
    site.with(|connection| connection.extensions.cloning = true)
}

fn up(seed: u64, one: Site, other: Site) -> World {
    let mut world = world(seed).peers(one, other);
    world.up("alice");
    world.until(established);
    world
}

fn order(world: &mut World, name: &str, child: Option<&str>) -> Reply {
    let order = Order::Clone { connection: "net".to_string(), child: child.map(str::to_string) };
    let order = world.order(name, order);
    world.until(answered);
    world.reply(order).expect("a reply").clone()
}

fn children(world: &mut World, name: &str) -> Vec<Vec<String>> {
    let all = world.status(name);
    all.iter().map(|sa| sa.children.iter().map(|child| child.name.clone()).collect()).collect()
}

/// From either side; the child stays where it was made, and the new one gets what is wished for. Both live on for
/// themselves: new keys, signs of life, and the end of either.
//= rfc7791 §5.2
#[test]
fn another_ike_sa_stands_beside_the_first() {
    for name in ["alice", "bob"] {
        let also = |site: Site, own: &str, other: &str| cloning(site).also("dmz", own, other);
        let one = also(alice(), "10.11.0.0/16", "10.12.0.0/16");
        let mut world = world(1).peers(one, also(bob(), "10.12.0.0/16", "10.11.0.0/16"));
        world.up_child("alice", 0, Some("lan"));
        world.until(established);
        world.run(SECOND);
        let first = world.status("alice")[0].spi_i;
        world.traffic("alice", "bob", SECOND / 10);
        assert!(matches!(order(&mut world, name, Some("dmz")), Reply::Up { .. }));
        world.run(SECOND);
        for at in ["alice", "bob"] {
            assert_eq!(children(&mut world, at), [vec!["lan".to_string()], vec!["dmz".to_string()]], "{at}");
        }
        assert!(world.is_mirrored());
        let second = world.status("alice").into_iter().find(|sa| sa.spi_i != first).expect("another");
        assert_eq!(second.local_id, world.status("alice")[0].local_id);
        world.order("alice", Order::Rekey(Target::Connection("net".to_string())));
        world.run(10 * SECOND);
        assert_eq!((children(&mut world, "alice").len(), children(&mut world, "bob").len()), (2, 2));
        let probed = world.status("alice")[1].id;
        let probe = world.order("alice", Order::Probe(probed));
        world.until(answered);
        assert!(matches!(world.reply(probe), Some(Reply::Alive { .. })));
        let oldest = world.status("alice").iter().map(|sa| sa.id).min().expect("one");
        world.order("alice", Order::Down(Target::Ike(oldest)));
        world.run(SECOND);
        assert_eq!((world.status("alice").len(), world.status("bob").len()), (1, 1), "the other one stays");
        world.traffic_stops();
        world.traffic_lands();
    }
}

/// Both at once make one each.
#[test]
fn both_may_ask_at_once() {
    let mut world = up(2, cloning(alice()), cloning(bob()));
    for name in ["alice", "bob"] {
        world.order(name, Order::Clone { connection: "net".to_string(), child: None });
    }
    world.run(SECOND);
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (3, 3));
    assert!(world.is_mirrored());
}

/// Without the other side's word nothing is asked for.
//= rfc7791 §5.1
#[test]
fn both_sides_must_have_agreed() {
    for (seed, one, other) in
        [(3, cloning(alice()), bob()), (4, alice(), cloning(bob())), (5, alice(), bob())]
    {
        let mut world = up(seed, one, other);
        let wire = world.wire.len();
        let Reply::Refused(refusal) = order(&mut world, "alice", None) else { panic!("cloned") };
        assert!(refusal.reason.contains("`clone_ike_sa`"), "{}", refusal.reason);
        assert_eq!(world.wire.len(), wire);
    }
}

/// A peer that asks though nothing was agreed is refused, and the IKE SA is not given new keys for it.
//= rfc7791 §5.1
#[test]
fn who_asks_without_an_agreement_is_refused() {
    let mut world = world(6).site(cloning(bob()));
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let clone = Payload::Notify(Notify::new(NotifyType::CLONE_IKE_SA, Vec::new()));
    let mut payloads = vec![clone.clone()];
    payloads.extend(
        alice.init_payloads().into_iter().filter(|payload| {
            matches!(payload.kind(), PayloadType::SA | PayloadType::NONCE | PayloadType::KE)
        }),
    );
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::NO_ADDITIONAL_SAS]);
    assert_eq!(world.status("bob").len(), 1);
    //= rfc7791 §5.2
    //# If the CLONE_IKE_SA notification appears in any other message, it MUST be ignored.
    let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[clone]).expect("an answer");
    assert!(answer.is_empty());
}

/// No more than the limit; what goes makes room.
//= rfc7791 §5.3
#[test]
fn there_is_a_limit() {
    let mut world = up(7, cloning(alice()), cloning(bob()));
    for _ in 1..8 {
        assert!(matches!(order(&mut world, "alice", None), Reply::Up { .. }));
    }
    let Reply::Refused(refusal) = order(&mut world, "alice", None) else { panic!("one too many") };
    assert_eq!((refusal.kind, refusal.by_peer), (RefusalKind::NoAdditionalSas, true));
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (8, 8));
    let last = world.status("alice")[7].id;
    world.order("alice", Order::Down(Target::Ike(last)));
    world.run(SECOND);
    assert!(matches!(order(&mut world, "alice", None), Reply::Up { .. }));
    // The connection's end is the end of all.
    world.order("alice", Order::Down(Target::Connection("net".to_string())));
    world.run(SECOND);
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (0, 0));
    let ordered = |event: &Event| matches!(event, Event::IkeDown(_, Fate::Ordered));
    assert_eq!(world.host("alice").count(ordered), 9);
}

/// While the IKE SA gets new keys it is not cloned, nor given new keys while it is being cloned: who asked asks again.
//= rfc7791 §5.3
#[test]
fn new_keys_and_a_clone_at_once_both_come() {
    let mut world = up(8, cloning(alice()), cloning(bob()));
    world.order("bob", Order::Rekey(Target::Connection("net".to_string())));
    let clone = world.order("alice", Order::Clone { connection: "net".to_string(), child: None });
    world.run(60 * SECOND);
    assert!(matches!(world.reply(clone), Some(Reply::Up { .. })), "{:?}", world.reply(clone));
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (2, 2));
    assert_eq!(world.status("alice").iter().map(|sa| sa.children.len()).sum::<usize>(), 1);
    assert!(world.is_mirrored());
}

/// An order to go while the answer is on its way leaves nothing at either end.
#[test]
fn an_order_to_go_meanwhile_leaves_nothing() {
    let mut world = up(9, cloning(alice()), cloning(bob()));
    let clone = world.order("alice", Order::Clone { connection: "net".to_string(), child: None });
    world.order("alice", Order::Down(Target::Connection("net".to_string())));
    world.run(60 * SECOND);
    assert!(matches!(world.reply(clone), Some(Reply::Refused(_))), "{:?}", world.reply(clone));
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (0, 0));
}

/// The new one uses the address that the first one has of the gateway: its children are for it, and none is asked for.
//= rfc7791 §5.2
#[test]
fn a_clone_uses_the_address_of_the_first() {
    let dynamic = |mut site: Site, own: bool| {
        for child in &mut site.connections[0].children {
            let child = std::sync::Arc::make_mut(child);
            if own { child.local_ts.clear() } else { child.remote_ts.clear() }
        }
        site
    };
    let one = cloning(alice()).also("dmz", "10.11.0.0/16", "10.12.0.0/16");
    let one = dynamic(one.with(|c| c.configuration.vips = vec![sim::site::ip("0.0.0.0")]), true);
    let road = policy::Pool {
        name: "road".into(),
        addrs: vec![sim::site::net("10.3.0.0/24").addresses],
        ..policy::Pool::default()
    };
    let other = cloning(bob()).also("dmz", "10.12.0.0/16", "10.11.0.0/16");
    let other = dynamic(other.with(|c| c.configuration.pools = vec![std::sync::Arc::new(road)]), false);
    let mut world = world(9).peers(one, other);
    world.up_child("alice", 0, Some("lan"));
    world.until(answered);
    world.run(SECOND);
    let reply = order(&mut world, "alice", Some("dmz"));
    assert!(matches!(&reply, Reply::Up { children, .. } if children == &["dmz"]), "{reply:?}");
    assert_eq!(children(&mut world, "bob"), [vec!["lan".to_string()], vec!["dmz".to_string()]]);
    for sa in world.status("alice") {
        assert_eq!(sa.children[0].local_ts, [sim::site::net("10.3.0.1/32")]);
    }
    let newest = world.status("alice")[1].id;
    world.order("alice", Order::Down(Target::Ike(newest)));
    world.until(answered);
    world.run(SECOND);
    assert_eq!((world.status("bob")[0].leased.len(), world.host("alice").dataplane.address_count()), (1, 1));
}

/// Where too much waits already, the order is refused and not forgotten.
#[test]
fn what_finds_no_place_in_the_queue_is_refused() {
    let mut world = up(10, cloning(alice()), cloning(bob()));
    world.attack(|scene| scene.take());
    let id = world.status("alice")[0].id;
    for _ in 0..600 {
        world.order("alice", Order::Probe(id));
    }
    let clone = world.order("alice", Order::Clone { connection: "net".to_string(), child: None });
    let Some(Reply::Refused(refusal)) = world.reply(clone) else { panic!("{:?}", world.reply(clone)) };
    assert_eq!(refusal.kind, RefusalKind::Busy);
    assert!(refusal.reason.contains("which is the limit"), "{}", refusal.reason);
}
