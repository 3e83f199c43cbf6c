//! What happens when the peer is gone, or has deleted what we want: `dpd_action`, `close_action`, `dpd_timeout`.

use policy::{EndAction, StartAction};
use sa::{Event, Fate, Order, Target};
use sim::{Datagram, Site, established};
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, notifies, world};

fn silent(event: &Event) -> bool {
    matches!(event, Event::IkeDown(_, Fate::Silent { .. }))
}

/// One IKE SA at both ends, with as many children.
fn stands(world: &mut World, children: usize) {
    for name in ["alice", "bob"] {
        let list = world.status(name);
        assert_eq!(list.len(), 1, "{name}: {list:?}");
        assert_eq!((list[0].state, list[0].children.len()), ("established", children), "{name}");
    }
    assert!(world.is_mirrored());
}

#[test]
fn s112_restart_comes_back_when_the_peer_does() {
    let mut world = world(1).peers(alice().ending(EndAction::Restart), bob());
    world.up("alice");
    world.until(established);
    world.attack(|scene| scene.take());
    world.run(Duration::from_secs(1200));
    let downs = |event: &Event| matches!(event, Event::ChildDown(_, _, Fate::Silent { .. }));
    assert_eq!((world.host("alice").count(downs), world.status("alice").len() <= 1), (1, true));
    world.calm();
    // The attempt under way may have sent its last message; then comes the longest wait.
    world.run(Duration::from_secs(400));
    stands(&mut world, 1);
}

/// The peer has lost its memory: it says that it does not know the IKE SA, which is probed then and given up.
#[test]
fn restart_after_the_peer_has_lost_everything() {
    let mut world = world(2).peers(alice().ending(EndAction::Restart), bob());
    world.up("alice");
    world.until(established);
    world.crash("bob");
    world.run(Duration::from_secs(600));
    stands(&mut world, 1);
}

/// The peer comes back by itself: there is one IKE SA, and one child of each name.
#[test]
fn restart_does_not_double_what_the_peer_has_brought_back() {
    let more = |site: Site, own: &str, other: &str| site.also("dmz", own, other);
    let one = more(alice(), "10.9.1.0/24", "10.9.2.0/24").ending(EndAction::Restart);
    let other = more(bob(), "10.9.2.0/24", "10.9.1.0/24").starting(StartAction::Start);
    let mut world = world(3).peers(one, other);
    world.run(Duration::from_secs(5));
    stands(&mut world, 2);
    world.crash("bob");
    world.run(Duration::from_secs(600));
    stands(&mut world, 2);
}

#[test]
fn s112_clear_leaves_it_down() {
    let mut world = world(4).peers(alice().ending(EndAction::Clear), bob());
    world.up("alice");
    world.until(established);
    world.attack(|scene| scene.take());
    world.run(Duration::from_secs(600));
    world.calm();
    let before = world.wire.len();
    world.run(Duration::from_secs(3600));
    assert_eq!((world.status("alice").len(), world.wire.len()), (0, before));
}

#[test]
fn s112_trap_waits_for_the_next_packet() {
    let mut world = world(5).peers(alice().ending(EndAction::Trap), bob());
    world.up("alice");
    world.until(established);
    assert_eq!(world.host("alice").dataplane.traps().count(), 0);
    world.attack(|scene| scene.take());
    world.run(Duration::from_secs(600));
    let trap = world.host("alice").dataplane.traps().next().map(|trap| trap.id).expect("a trap");
    world.calm();
    world.run(Duration::from_secs(600));
    assert_eq!(world.status("alice").len(), 0);
    let selector = sim::site::net;
    let packet = (selector("10.1.0.1/32"), selector("10.2.0.1/32"));
    world.dataplane_event("alice", dataplane::DataplaneEvent::Acquire { id: trap, packet });
    world.run(Duration::from_secs(5));
    stands(&mut world, 1);
}

/// The peer deletes the child, then the IKE SA: `close_action` is what counts.
#[test]
fn what_the_peer_deletes_is_asked_for_again_where_that_is_wanted() {
    let targets =
        || [Target::Child("net".to_string(), "lan".to_string()), Target::Connection("net".to_string())];
    for (seed, target) in (6..).zip(targets()) {
        let closing = |site: Site, action| site.child(|child| child.close_action = action);
        let mut world = world(seed).peers(closing(alice(), EndAction::Restart), bob());
        world.up("alice");
        world.until(established);
        world.order("bob", Order::Down(target.clone()));
        world.until(answered);
        world.run(Duration::from_secs(5));
        stands(&mut world, 1);

        let mut world = suite::world(seed + 10).peers(closing(alice(), EndAction::Clear), bob());
        world.up("alice");
        world.until(established);
        world.order("bob", Order::Down(target));
        world.run(Duration::from_secs(60));
        assert_eq!(world.host("alice").dataplane.sad().count(), 0);
    }
}

/// A peer that deletes it again and again is asked less and less often.
#[test]
fn a_peer_that_does_not_want_it_is_not_asked_in_a_loop() {
    let mut world = world(8).peers(alice().ending(EndAction::Restart), bob());
    world.up("alice");
    world.until(established);
    for _ in 0..3000 {
        if !world.host("bob").dataplane.sad().any(|_| true) {
            world.run(Duration::from_secs(1));
            continue;
        }
        world.order("bob", Order::Down(Target::Child("net".to_string(), "lan".to_string())));
        world.run(Duration::from_secs(1));
    }
    let ups = world.host("bob").count(|event| matches!(event, Event::ChildUp(..)));
    assert!((8..20).contains(&ups), "{ups} in 50 minutes");
}

/// What a person takes down is not begun again, at either end.
#[test]
fn what_we_take_down_ourselves_stays_down() {
    let mut world = world(9).peers(alice().ending(EndAction::Restart), bob());
    world.up("alice");
    world.until(established);
    world.down("alice");
    world.run(Duration::from_secs(600));
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (0, 0));
}

/// A peer that does not answer is gone after `dpd_timeout`, long before the last retransmission.
#[test]
fn the_timeout_ends_it_before_the_retransmissions_do() {
    let quick = |site: Site| {
        site.with(|c| (c.dpd_delay, c.dpd_timeout) = (Duration::from_secs(5), Duration::from_secs(12)))
    };
    let mut world = world(10).peers(quick(alice()), quick(bob()));
    world.up("alice");
    world.until(established);
    world.run(Duration::from_secs(60));
    assert_eq!(world.status("alice").len(), 1, "whoever answers stays");
    world.attack(|scene| scene.take());
    let start = world.now();
    world.run(Duration::from_secs(60));
    for name in ["alice", "bob"] {
        let end = world.host(name).events.iter().find(|(_, event)| silent(event)).map(|(at, _)| *at);
        let after = end.expect("the end").since(start);
        assert!((Duration::from_secs(11)..=Duration::from_secs(18)).contains(&after), "{name}: {after:?}");
    }
}

/// An unprotected INVALID_SPI makes us ask the peer, once in a while, and no more than that.
//= rfc7296 §1.5
#[test]
fn an_invalid_spi_is_a_hint() {
    use wire::num::{ExchangeType, NotifyType};
    let quiet = |site: Site| site.with(|c| c.dpd_delay = Duration::ZERO);
    let mut world = world(11).peers(quiet(alice()), quiet(bob()));
    world.up("alice");
    world.until(established);
    let spi = world.host("alice").dataplane.sad().next().map(|spec| spec.outbound.spi.0).expect("a child");
    let notify = |spi: u32| {
        let flags = wire::Flags { initiator: true, version: false, response: false };
        let (own, none) = (base::IkeSpi(77), base::IkeSpi(0));
        let header = wire::Header::new(own, none, ExchangeType::INFORMATIONAL, flags, base::MessageId(0));
        let payload =
            wire::Payload::Notify(wire::Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec()));
        wire::Message { header, payloads: vec![payload] }.emit()
    };
    let before = world.wire.len();
    let ike = |address: &str| format!("{address}:500").parse().expect("an address");
    for _ in 0..100 {
        let forged = Datagram::ike(ike("198.51.100.2"), ike("192.0.2.1"), &notify(spi));
        world.inject(Duration::ZERO, forged);
        let other = Datagram::ike(ike("203.0.113.1"), ike("192.0.2.1"), &notify(spi));
        world.inject(Duration::ZERO, other);
        let unknown = Datagram::ike(ike("198.51.100.2"), ike("192.0.2.1"), &notify(spi ^ 1));
        world.inject(Duration::ZERO, unknown);
        world.run(Duration::from_millis(30));
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.wire.len() - before, 2, "one probe and its answer, and nothing to the forger");
    stands(&mut world, 1);
}

/// Within the IKE SA it is true: the child SA that the peer does not have gets a successor, or is made anew where the peer
/// knows nothing of it. A young one, one that is gone and one that never was are left alone.
//= rfc7296 §1.5
#[test]
fn an_invalid_spi_within_the_ike_sa_is_believed() {
    use wire::num::{ExchangeType, NotifyType};
    use wire::{Notify, Payload};
    let quiet = alice().with(|c| c.dpd_delay = Duration::ZERO);
    let mut world = world(12).site(quiet);
    world.up("alice");
    let mut bob = Puppet::bob();
    bob.establish(&mut world);
    (bob.initiator, bob.next_id) = (false, 0);
    let lost = |spi: u32| Payload::Notify(Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec()));
    let own = bob.esp_spi.0;
    let tell = |world: &mut World, bob: &mut Puppet, spis: &[u32]| {
        let payloads: Vec<_> = spis.iter().map(|spi| lost(*spi)).collect();
        let answer = bob.ask(world, ExchangeType::INFORMATIONAL, &payloads);
        assert_eq!(answer, Some(Vec::new()));
        bob.asked(world)
    };
    assert!(tell(&mut world, &mut bob, &[own]).is_none(), "it is younger than a packet may be late");
    world.run(ikev2::limits::PROVOKED_PROBE_INTERVAL);
    assert!(tell(&mut world, &mut bob, &[own ^ 1, 0]).is_none(), "no child of ours has that SPI");
    let short = Payload::Notify(Notify::new(NotifyType::INVALID_SPI, vec![1, 2]));
    assert_eq!(bob.ask(&mut world, ExchangeType::INFORMATIONAL, &[short]), Some(Vec::new()));
    let (header, payloads) = tell(&mut world, &mut bob, &[own, own]).expect("new keys are asked for");
    assert_eq!(
        (header.exchange, notifies(&payloads)),
        (ExchangeType::CREATE_CHILD_SA, vec![NotifyType::REKEY_SA])
    );
    // While that is under way it changes nothing to hear it again.
    assert!(tell(&mut world, &mut bob, &[own]).is_none());
    let unknown = Payload::Notify(Notify::new(NotifyType::CHILD_SA_NOT_FOUND, Vec::new()));
    bob.reply(&mut world, &header, &[unknown]);
    let (header, payloads) = bob.asked(&mut world).expect("a new child is asked for");
    assert_eq!((header.exchange, notifies(&payloads)), (ExchangeType::CREATE_CHILD_SA, vec![]));
    bob.esp_spi.0 = own ^ 2;
    let [ts_i, ts_r] = bob.selectors();
    let nonce = Payload::Nonce(vec![5; 32].into());
    bob.reply(&mut world, &header, &[Payload::Sa(vec![bob.esp_proposal()]), nonce, ts_i, ts_r]);
    world.run(Duration::from_secs(1));
    let spis: Vec<u32> = world.host("alice").dataplane.sad().map(|spec| spec.outbound.spi.0).collect();
    assert_eq!(spis, [own ^ 2]);
    world.run(ikev2::limits::PROVOKED_PROBE_INTERVAL);
    assert!(tell(&mut world, &mut bob, &[own]).is_none(), "the one before is gone");
}
