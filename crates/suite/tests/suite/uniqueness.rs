//! How many IKE SAs there are between two peers: `unique`, in both roles, and when both begin at once.

use policy::Unique;
use sa::Reply;
use sim::{Site, Weather, established};
use std::time::Duration;
use suite::{World, alice, answered, bob, world};

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
