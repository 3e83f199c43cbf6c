//! A month of four sites, each with a tunnel to each: lifetimes, storms, partitions, crashes, NAT boxes and clocks that jump.

use base::{Instant, Rng};
use policy::{ChildLifetime, IkeLifetime};
use sa::{Order, Target};
use sim::site::{connection, ip, net};
use sim::{SimRng, Site, Weather};
use std::sync::Arc;
use std::time::Duration;
use suite::{World, world};

const HOUR: Duration = Duration::from_secs(3600);
const SITES: [(&str, &str); 4] =
    [("ada", "192.0.2.1"), ("ben", "192.0.2.2"), ("cleo", "192.0.2.3"), ("dan", "192.0.2.4")];

/// A site with a connection to each other one, in the order of [`SITES`].
fn site(own: usize) -> Site {
    let (name, address) = SITES[own];
    let others: Vec<usize> = (0..SITES.len()).filter(|other| *other != own).collect();
    let mut site = Site::psk(name, address, SITES[others[0]].0, SITES[others[0]].1);
    site.connections = others.iter().map(|&other| to(own, other)).collect();
    site
}

fn to(own: usize, other: usize) -> policy::Connection {
    let ((name, address), (peer, peer_address)) = (SITES[own], SITES[other]);
    let mut connection = connection(name, ip(address), peer, ip(peer_address));
    connection.name = peer.to_string();
    connection.window = 4;
    connection.dpd_delay = HOUR / 3;
    connection.lifetime =
        IkeLifetime { rekey: 12 * HOUR, reauth: Duration::ZERO, over: 2 * HOUR, rand: 3 * HOUR };
    let child = Arc::make_mut(&mut connection.children[0]);
    child.name = "lan".to_string();
    child.local_ts = vec![net(&format!("10.{}.0.0/16", own + 1))];
    child.remote_ts = vec![net(&format!("10.{}.0.0/16", other + 1))];
    child.lifetime =
        ChildLifetime { rekey: 4 * HOUR, life: 6 * HOUR, rand: HOUR, ..ChildLifetime::UNLIMITED };
    connection
}

/// The index of the connection of `own` to `other`.
fn index(own: usize, other: usize) -> u32 {
    (if other < own { other } else { other - 1 }) as u32
}

/// Each pair has its tunnel again: the first of both begins where it is gone.
fn restore(world: &mut World) {
    let stands = |world: &mut World, at: usize, peer: usize| {
        let list = world.status(SITES[at].0);
        list.iter()
            .any(|sa| sa.connection == SITES[peer].0 && sa.state == "established" && !sa.children.is_empty())
    };
    for (own, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        if !stands(world, own, other) || !stands(world, other, own) {
            world.up_child(SITES[own].0, index(own, other), None);
        }
    }
}

/// Something happens.
fn event(world: &mut World, dice: &mut SimRng) {
    let site = dice.below(4) as usize;
    let name = SITES[site].0;
    match dice.below(10) {
        0 => world.crash(name),
        1 => world.jump(dice.below(100_000_000) as i64 - 50_000_000),
        2 => {
            world.weather.loss = 1000;
            world.run(Duration::from_secs(30 + dice.below(1800)));
        }
        3 => {
            world.weather = Weather::foul();
            world.run(HOUR);
        }
        4 => {
            let peer = SITES[(site + 1) % 4].0.to_string();
            world.order(name, Order::Down(Target::Connection(peer)));
        }
        _ => {
            let peer = SITES[(site + 1 + dice.below(3) as usize) % 4].0.to_string();
            let target = match dice.chance(500) {
                true => Target::Connection(peer),
                false => Target::Child(peer, "lan".to_string()),
            };
            world.order(name, Order::Rekey(target));
        }
    }
    world.weather = Weather::fair();
}

fn month(seed: u64) {
    let mut world = (0..SITES.len()).fold(world(seed), |world, own| world.site(site(own)));
    let mut dice = SimRng::new(seed, "month");
    let end: Instant = world.now() + 30 * 24 * HOUR;
    while world.now() < end {
        restore(&mut world);
        world.run(Duration::from_secs(600 + dice.below(40_000)));
        event(&mut world, &mut dice);
    }
    // Whoever has lost a peer has found out by now.
    world.run(HOUR);
    restore(&mut world);
    world.run(HOUR);
    for (own, (name, _)) in SITES.iter().enumerate() {
        let mut peers: Vec<(String, usize)> =
            world.status(name).iter().map(|sa| (sa.connection.clone(), sa.children.len())).collect();
        peers.sort();
        let want: Vec<(String, usize)> =
            (0..4).filter(|other| *other != own).map(|other| (SITES[other].0.to_string(), 1)).collect();
        assert_eq!(peers, want, "{name}, seed {seed}");
        assert_eq!(world.host(name).dataplane.sad().count(), 3, "{name}, seed {seed}");
    }
    assert!(world.is_mirrored());
    let rekeyed = world.stats.get("child down: Replaced");
    assert!(rekeyed > 2_000, "{rekeyed} children were replaced");
}

#[test]
fn thirty_days_of_four_sites_end_with_one_tunnel_for_each_pair() {
    month(1);
}
