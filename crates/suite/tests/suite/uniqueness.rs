//! How many IKE SAs there are between two peers: `unique`, in both roles, and when both begin at once.

use policy::Unique;
use sa::Reply;
use sim::{Site, Weather, established};
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, notifies, world};
use wire::num::{ExchangeType, NotifyType, PayloadType};

fn peers(seed: u64, unique: Unique) -> World {
    let with = |site: Site| site.with(|c| c.unique = unique);
    world(seed).peers(with(alice()), with(bob()))
}

/// The established IKE SAs of a site, by their SPIs.
fn spis(world: &mut World, name: &str) -> Vec<(u64, u64)> {
    let list = world.status(name);
    let mut spis: Vec<_> =
        list.iter().filter(|sa| sa.state == "established").map(|sa| (sa.spi_i.0, sa.spi_r.0)).collect();
    spis.sort_unstable();
    spis
}

/// Both sides begin within a second of each other, at every distance: one IKE SA with one child is left, the
/// same at both ends, and both orders are answered with it.
#[test]
fn both_begin_at_once_and_one_ike_sa_is_left() {
    for unique in [Unique::Replace, Unique::Keep] {
        for offset in 0..120 {
            let mut world = peers(offset, unique);
            let one = world.up("alice");
            world.run(Duration::from_millis(offset));
            let other = world.up("bob");
            world.until(answered);
            for order in [one, other] {
                let reply = world.reply(order);
                assert!(
                    matches!(reply, Some(Reply::Up { refused, .. }) if refused.is_empty()),
                    "{unique:?} {offset}: {reply:?}"
                );
            }
            // Before anybody probes.
            world.run(Duration::from_secs(20));
            let (ours, theirs) = (spis(&mut world, "alice"), spis(&mut world, "bob"));
            assert_eq!((ours.len(), &ours), (1, &theirs), "{unique:?} {offset}");
            assert!(established(&world), "{unique:?} {offset}");
            assert_eq!(world.host("alice").dataplane.sad().count(), 1, "{unique:?} {offset}");
        }
    }
}

/// The same where messages are lost, late and doubled. Never none, and never two.
#[test]
fn both_begin_at_once_in_foul_weather() {
    for unique in [Unique::Replace, Unique::Keep] {
        for seed in 0..150 {
            let mut world = peers(1000 + seed, unique).under(Weather::foul());
            world.up("alice");
            world.run(Duration::from_millis(seed * 17 % 400));
            world.up("bob");
            world.until(answered);
            world.weather = Weather::fair();
            world.run(Duration::from_secs(600));
            let (ours, theirs) = (spis(&mut world, "alice"), spis(&mut world, "bob"));
            assert_eq!(ours, theirs, "{unique:?} {seed}");
            assert!(ours.len() <= 1, "{unique:?} {seed}: {ours:?}");
        }
    }
}

/// Without a wish for one, both stay.
#[test]
fn both_begin_at_once_and_both_stay_where_any_number_may() {
    for unique in [Unique::No, Unique::Never] {
        let mut world = peers(7, unique);
        world.up("alice");
        world.up("bob");
        world.until(answered);
        world.run(Duration::from_secs(60));
        let (ours, theirs) = (spis(&mut world, "alice"), spis(&mut world, "bob"));
        assert_eq!((ours.len(), &ours), (2, &theirs), "{unique:?}");
        assert!(world.is_mirrored());
    }
}

/// INITIAL_CONTACT was said before its sender knew of the IKE SA that came up meanwhile: that one stays.
#[test]
fn a_first_contact_does_not_end_what_came_up_meanwhile() {
    for offset in 0..60 {
        let mut world = peers(500 + offset, Unique::No).under(Weather::foul());
        world.up("alice");
        world.run(Duration::from_millis(offset));
        world.up("bob");
        world.until(answered);
        world.weather = Weather::fair();
        world.run(Duration::from_secs(600));
        assert_eq!(spis(&mut world, "alice"), spis(&mut world, "bob"), "{offset}");
    }
}

/// Tries to come in as alice, beside an IKE SA that she has; whether it may.
fn comes_in(world: &mut World, from: &str, spi: u64) -> bool {
    let mut second = Puppet::alice();
    second.address = from.parse().unwrap();
    second.spis.initiator.0 += spi;
    second.esp_spi.0 += spi as u32;
    second.init(world);
    let payloads = second.auth_payloads();
    let answer = second.ask(world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    let refused = notifies(&answer).contains(&NotifyType::AUTHENTICATION_FAILED);
    assert!(refused || answer.iter().any(|p| p.kind() == PayloadType::SA), "{}", wire::summary(&answer));
    !refused
}

/// `keep` keeps the older IKE SA from whoever has the same identity elsewhere, and lets the peer itself replace it.
#[test]
fn keep_refuses_the_same_identity_from_elsewhere() {
    let keeps =
        || bob().with(|c| (c.unique, c.remote_addrs) = (Unique::Keep, vec![policy::AddressPattern::Any]));
    for (from, allowed) in [("192.0.2.1:500", true), ("192.0.2.1:1024", false), ("192.0.2.9:500", false)] {
        let mut world = world(8).site(keeps());
        Puppet::alice().establish(&mut world);
        let first = spis(&mut world, "bob");
        assert_eq!(comes_in(&mut world, from, 1), allowed, "{from}");
        world.run(Duration::from_secs(15));
        let left = spis(&mut world, "bob");
        assert_eq!((left.len(), left != first), (1, allowed), "{from}");
        if !allowed {
            let refusals = world.host("bob").refusals();
            assert!(refusals[0].reason.contains("unique = \"keep\""), "{}", refusals[0].reason);
        }
    }
    // One that we have begun ourselves is not the peer's to replace.
    let mut world = world(9).site(keeps().with(|c| {
        c.remote_addrs =
            vec![policy::AddressPattern::Range(dataplane::AddressRange::host(sim::site::ip("192.0.2.1")))];
    }));
    world.up("bob");
    let mut alice = Puppet::alice();
    alice.initiator = false;
    alice.establish(&mut world);
    assert_eq!(spis(&mut world, "bob").len(), 1);
    assert!(!comes_in(&mut world, "192.0.2.1:500", 1));
}
