//! MOBIKE (RFC 4555): addresses that change while the tunnel stands.

use policy::AddressPattern;
use sa::{Event, Order, Reply};
use sim::{Datagram, Site};
use std::net::IpAddr;
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, established, is_clean, notifies, world};
use wire::num::{ExchangeType, NotifyType};
use wire::{Notify, Payload};

/// Both speak it, and take each other wherever they are.
fn pair(seed: u64) -> World {
    up(world(seed).peers(alice().mobile(), bob().mobile()))
}

fn up(mut world: World) -> World {
    world.up("alice");
    world.until(established);
    world
}

/// Until both ends have the same view, and nothing is under way.
fn settle(world: &mut World) {
    world.run(Duration::from_millis(200));
    world.until(|world| world.is_quiet() && world.is_mirrored());
}

/// Where a site sends ESP from and to, and whether in UDP.
fn esp(world: &World, name: &str) -> (IpAddr, IpAddr, bool) {
    let spec = world.host(name).dataplane.sad().next().expect("a child");
    (spec.local.ip(), spec.remote.ip(), spec.udp_encap)
}

fn ip(text: &str) -> IpAddr {
    sim::site::ip(text)
}

fn path(world: &mut World, name: &str) -> (IpAddr, IpAddr) {
    let path = world.status(name)[0].path;
    (path.local.ip(), path.remote.ip())
}

/// How many messages a site sent and accepted that hold this.
fn told(world: &World, name: &str, what: &str) -> usize {
    world.host(name).count(|event| matches!(event, Event::Message(trace) if trace.payloads.contains(what)))
}

fn is_alive(world: &mut World, name: &str) -> bool {
    let ike = world.status(name)[0].id;
    let probe = world.order(name, Order::Probe(ike));
    world.until(answered);
    matches!(world.reply(probe), Some(Reply::Alive { .. }))
}

//= rfc4555 §3.3
#[test]
fn s128_everything_is_on_port_4500_from_ike_auth_on_and_esp_needs_no_udp() {
    let mut world = pair(1);
    let ports: Vec<u16> = world.wire.iter().map(|(_, d)| d.to.port()).collect();
    assert_eq!(ports, [500, 500, 4500, 4500]);
    assert_eq!(esp(&world, "alice"), (ip("192.0.2.1"), ip("198.51.100.2"), false));
    assert_eq!((told(&world, "alice", "MOBIKE_SUPPORTED"), told(&world, "bob", "MOBIKE_SUPPORTED")), (2, 2));
    world.down("alice");
    world.until(answered);
    assert!(is_clean(&mut world));
}

//= rfc4555 §3.2
#[test]
fn s128_one_side_without_it_is_enough_to_do_without() {
    for (seed, ours, theirs) in [(2, true, false), (3, false, true)] {
        let site = |site: Site, mobile: bool| site.mobile().with(|c| c.mobike = mobile);
        let mut world = up(world(seed).peers(site(alice(), ours), site(bob(), theirs)));
        world.readdress("alice", &["192.0.2.7"]);
        world.run(Duration::from_secs(5));
        assert_eq!(told(&world, "alice", "UPDATE_SA_ADDRESSES"), 0);
        assert_eq!(path(&mut world, "bob").1, ip("192.0.2.1"));
    }
}

//= rfc4555 §3.5
#[test]
fn s128_the_initiators_address_changes() {
    let mut world = pair(4);
    world.readdress("alice", &["203.0.113.77"]);
    world.run(Duration::from_millis(1));
    assert_eq!(esp(&world, "alice").0, ip("203.0.113.77"), "what we send moves at once");
    settle(&mut world);
    assert_eq!(path(&mut world, "alice"), (ip("203.0.113.77"), ip("198.51.100.2")));
    assert_eq!(path(&mut world, "bob"), (ip("198.51.100.2"), ip("203.0.113.77")));
    assert_eq!(esp(&world, "bob"), (ip("198.51.100.2"), ip("203.0.113.77"), false));
    assert!(is_alive(&mut world, "alice") && is_alive(&mut world, "bob"));
    assert_eq!(world.status("alice")[0].children.len(), 1);
}

/// The responder sends nothing to the new address before the initiator has shown to be there.
//= rfc4555 §3.7
#[test]
fn s128_return_routability_comes_before_traffic() {
    let mut world = pair(5);
    world.readdress("alice", &["203.0.113.77"]);
    world.until(|world| told(world, "bob", "UPDATE_SA_ADDRESSES") == 1);
    assert_eq!(path(&mut world, "bob").1, ip("203.0.113.77"), "the IKE SA has moved");
    assert_eq!(esp(&world, "bob").1, ip("192.0.2.1"), "and its children not yet");
    settle(&mut world);
    assert_eq!(esp(&world, "bob").1, ip("203.0.113.77"));
    let cookies = told(&world, "bob", "COOKIE2");
    assert_eq!(cookies, 4, "two requests and two responses");
}

//= rfc4555 §3.5
#[test]
fn s128_changes_in_a_row_end_at_the_last() {
    for seed in 6..26 {
        let mut world = pair(seed);
        for n in 0..5u8 {
            world.readdress("alice", &[&format!("203.0.113.{}", 70 + n)]);
            world.run(Duration::from_millis(7 * u64::from(n) + seed));
        }
        settle(&mut world);
        assert_eq!(path(&mut world, "bob").1, ip("203.0.113.74"), "seed {seed}");
        assert_eq!(esp(&world, "bob").1, ip("203.0.113.74"), "seed {seed}");
        assert!(is_alive(&mut world, "bob"));
    }
}

/// Between the old address and the new one there is none: nothing is given up.
#[test]
fn s128_a_host_without_an_address_waits_for_one() {
    let mut world = pair(27);
    world.readdress("alice", &[]);
    world.run(Duration::from_secs(45));
    assert_eq!(world.status("alice")[0].state, "established");
    world.readdress("alice", &["203.0.113.77"]);
    settle(&mut world);
    assert_eq!(esp(&world, "bob").1, ip("203.0.113.77"));
    assert!(is_alive(&mut world, "bob"));
}

/// A ping goes on while a side moves: what had left for the old address before anybody could know of the new one is lost
/// to the network, and nothing else is.
#[test]
fn s128_a_ping_goes_on_while_an_address_changes() {
    // One way takes 10 ms, one packet leaves each side each 5 ms. Where the initiator moves, it takes three ways until the
    // responder has the proof that it is there, and what it sends until then still goes to where nobody is.
    let lost_until_proven = 3 * 2 + 3;
    for (seed, who) in [(200, "alice"), (201, "bob")] {
        let mut world = pair(seed);
        world.traffic("alice", "bob", Duration::from_millis(5));
        let mut lost = Vec::new();
        for n in 0..10u8 {
            world.run(Duration::from_secs(2));
            let before = world.traffic.lost_by_weather;
            let address = if who == "alice" {
                format!("203.0.113.{}", 70 + n)
            } else {
                format!("198.51.100.{}", 70 + n)
            };
            world.readdress(who, &[&address]);
            world.run(Duration::from_secs(2));
            lost.push(world.traffic.lost_by_weather - before);
            assert_eq!(
                (esp(&world, "alice").1, esp(&world, "bob").1),
                (esp(&world, "bob").0, esp(&world, "alice").0)
            );
        }
        world.traffic_stops();
        world.traffic_lands();
        let traffic = &world.traffic;
        assert!(lost.iter().all(|lost| (1..=lost_until_proven).contains(lost)), "{who}: {lost:?}");
        assert_eq!((traffic.lost_by_us(), traffic.unprotected, traffic.dropped), (0, 0, 0), "{traffic:?}");
        assert_eq!(traffic.arrived + lost.iter().sum::<u64>(), traffic.sent, "{traffic:?}");
    }
}

/// Both addresses stay while the host changes over from one to the other: nothing at all is lost.
#[test]
fn s128_a_move_between_two_addresses_costs_no_packet() {
    let mut world = up(world(202).peers(alice().mobile().also_at(&["203.0.113.77"]), bob().mobile()));
    world.traffic("alice", "bob", Duration::from_millis(5));
    for turn in 0..10 {
        world.run(Duration::from_secs(2));
        let mut addresses = ["192.0.2.1", "203.0.113.77"];
        addresses.rotate_left((turn + 1) % 2);
        world.readdress("alice", &addresses);
        world.run(Duration::from_secs(2));
        assert_eq!(esp(&world, "bob").1, ip(addresses[0]));
    }
    world.traffic_stops();
    world.traffic_lands();
    assert_eq!(world.traffic.arrived, world.traffic.sent, "{:?}", world.traffic);
}

//= rfc4555 §3.6
#[test]
fn s128_further_addresses_are_told_at_first_and_when_they_change() {
    let alice = alice().mobile().also_at(&["192.0.2.50", "fd00::1"]);
    let mut world = up(world(28).peers(alice, bob().mobile().also_at(&["198.51.100.60"])));
    assert_eq!(told(&world, "bob", "ADDITIONAL_IP4_ADDRESS) N(ADDITIONAL_IP6_ADDRESS"), 1);
    assert_eq!(told(&world, "alice", "ADDITIONAL_IP4_ADDRESS"), 2);
    world.readdress("bob", &["198.51.100.2"]);
    settle(&mut world);
    assert_eq!(told(&world, "alice", "NO_ADDITIONAL_ADDRESSES"), 1);
    world.readdress("bob", &["198.51.100.2"]);
    settle(&mut world);
    assert_eq!(told(&world, "alice", "NO_ADDITIONAL_ADDRESSES"), 1, "they are told once");
    world.readdress("alice", &["192.0.2.1", "192.0.2.51"]);
    settle(&mut world);
    assert_eq!(told(&world, "bob", "UPDATE_SA_ADDRESSES"), 0, "the path is the same");
}

/// The responder's address goes: it tells another from there, and the initiator moves.
//= rfc4555 §3.5
#[test]
fn s128_the_responders_address_changes() {
    let bob = bob().mobile().also_at(&["198.51.100.60"]);
    let mut world = up(world(29).peers(alice().mobile(), bob));
    world.readdress("bob", &["198.51.100.60"]);
    settle(&mut world);
    assert_eq!(path(&mut world, "alice"), (ip("192.0.2.1"), ip("198.51.100.60")));
    assert_eq!(esp(&world, "alice"), (ip("192.0.2.1"), ip("198.51.100.60"), false));
    assert_eq!(esp(&world, "bob"), (ip("198.51.100.60"), ip("192.0.2.1"), false));
    assert!(is_alive(&mut world, "alice") && is_alive(&mut world, "bob"));
}

/// The initiator sends no traffic to another address of the responder before that has answered with the cookie.
//= rfc4555 §3.7
#[test]
fn s128_another_address_of_the_responder_is_proven_first() {
    let bob = bob().mobile().also_at(&["198.51.100.60"]);
    let mut world = up(world(30).peers(alice().mobile(), bob));
    world.readdress("bob", &["198.51.100.60"]);
    world.until(|world| told(world, "alice", "UPDATE_SA_ADDRESSES") == 1);
    assert_eq!(esp(&world, "alice").1, ip("198.51.100.2"));
    settle(&mut world);
    assert_eq!(esp(&world, "alice").1, ip("198.51.100.60"));
}

/// The path is dead although no address has changed: the request under way finds another one.
//= rfc4555 §3.10
#[test]
fn s128_a_dead_path_is_left_for_one_that_works() {
    for (seed, same_source) in [(31, true), (32, false)] {
        let bob = bob().mobile().also_at(&["198.51.100.60", "fd00::2"]);
        let alice = alice().mobile().also_at(&["fd00::1"]);
        let mut world = up(world(seed).peers(alice, bob));
        let dead = if same_source { "198.51.100.2" } else { "198.51.100." };
        let dead = dead.to_string();
        world.attack(move |scene| {
            let ends = [scene.datagram.from, scene.datagram.to];
            if ends.iter().any(|end| {
                let end = end.ip().to_string();
                end == dead || dead.ends_with('.') && end.starts_with(&dead)
            }) {
                scene.take();
            }
        });
        world.run(Duration::from_secs(60));
        let there = if same_source { "198.51.100.60" } else { "fd00::2" };
        assert_eq!(path(&mut world, "alice").1, ip(there), "seed {seed}");
        assert_eq!(esp(&world, "alice").1, ip(there));
        assert_eq!(esp(&world, "bob").0, ip(there));
        assert!(is_alive(&mut world, "alice"));
    }
}

/// A path that only loses a few packets is not left.
#[test]
fn s128_a_path_that_answers_in_the_end_is_kept() {
    let mut world = up(world(33).peers(alice().mobile(), bob().mobile().also_at(&["198.51.100.60"])));
    let heal = world.now() + Duration::from_secs(42);
    world.attack(move |scene| {
        if scene.now < heal {
            scene.take();
        }
    });
    world.run(Duration::from_secs(120));
    assert_eq!(told(&world, "bob", "UPDATE_SA_ADDRESSES"), 0);
    assert_eq!(path(&mut world, "alice").1, ip("198.51.100.2"));
}

//= rfc4555 §3.5
#[test]
fn s128_addresses_that_the_policy_forbids_are_unacceptable() {
    let bob = bob().mobile().with(|c| c.remote_addrs.truncate(1));
    let mut world = up(world(34).peers(alice().mobile().also_at(&["192.0.2.9"]), bob));
    world.readdress("alice", &["192.0.2.9", "192.0.2.1"]);
    settle(&mut world);
    assert_eq!(told(&world, "alice", "UNACCEPTABLE_ADDRESSES"), 1, "it is not asked again and again");
    assert_eq!(path(&mut world, "bob").1, ip("192.0.2.1"));
    assert_eq!(
        path(&mut world, "alice").0,
        ip("192.0.2.1"),
        "the old address still is ours: we go back to it"
    );
    assert_eq!(esp(&world, "alice").0, ip("192.0.2.1"));
    assert!(is_alive(&mut world, "alice"));
    world.readdress("alice", &["192.0.2.1"]);
    settle(&mut world);
    assert_eq!(told(&world, "alice", "UNACCEPTABLE_ADDRESSES"), 1);
}

/// What is kept by `local_addrs` of the responder: an address that the initiator may not use there.
//= rfc4555 §3.5
#[test]
fn s128_an_address_of_ours_that_the_connection_does_not_name_is_unacceptable() {
    let bob = bob().mobile().with(|c| {
        c.local_addrs = vec![AddressPattern::Range(dataplane::AddressRange::host(ip("198.51.100.2")))];
    });
    let mut world = world(35).site(bob.also_at(&["198.51.100.60"]));
    let mut alice = mobile_puppet(&mut world);
    alice.peer.set_ip(ip("198.51.100.60"));
    let answer =
        alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[update(), cookie(16)]).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::COOKIE2, NotifyType::UNACCEPTABLE_ADDRESSES]);
    assert_eq!(path(&mut world, "bob").0, ip("198.51.100.2"));
}

/// A move into a NAT, within it, and out of it again: ESP goes into UDP and out of it on both sides.
//= rfc4555 §3.5
#[test]
fn s128_behind_a_nat_and_out_again() {
    let mut world = pair(36);
    world.resettle("alice", Some("203.0.113.9"));
    world.readdress("alice", &["10.0.0.5"]);
    world.run(Duration::from_millis(1));
    assert!(esp(&world, "alice").2, "a private address suggests a NAT");
    settle(&mut world);
    assert_eq!(esp(&world, "alice"), (ip("10.0.0.5"), ip("198.51.100.2"), true));
    assert_eq!(esp(&world, "bob"), (ip("198.51.100.2"), ip("203.0.113.9"), true));
    let (ours, theirs) = (world.status("alice"), world.status("bob"));
    assert!(ours[0].nat_local && theirs[0].nat_remote && ours[0].children[0].udp_encap);
    world.resettle("alice", None);
    world.readdress("alice", &["192.0.2.88"]);
    settle(&mut world);
    assert_eq!(esp(&world, "alice"), (ip("192.0.2.88"), ip("198.51.100.2"), false));
    assert_eq!(esp(&world, "bob"), (ip("198.51.100.2"), ip("192.0.2.88"), false));
    assert!(is_alive(&mut world, "bob"));
}

/// The NAT box starts anew while nothing is sent: the answer to a probe shows it, and the new mapping is told.
//= rfc4555 §3.8
#[test]
fn s128_a_new_mapping_shows_in_the_answer_to_a_probe() {
    let alice = alice().mobile().behind("203.0.113.9", Duration::from_secs(6000));
    let mut world = up(world(37).peers(alice, bob().mobile()));
    assert!(is_alive(&mut world, "alice"));
    settle(&mut world);
    let before = world.status("bob")[0].path.remote;
    let updates = told(&world, "bob", "UPDATE_SA_ADDRESSES");
    assert!(is_alive(&mut world, "alice"));
    settle(&mut world);
    assert_eq!(told(&world, "bob", "UPDATE_SA_ADDRESSES"), updates, "the mapping is the same");
    world.restart_nat("alice");
    let ike = world.status("alice")[0].id;
    world.order("alice", Order::Probe(ike));
    world.run(Duration::from_millis(15));
    assert_eq!(world.status("bob")[0].path.remote, before, "the probe alone changes nothing");
    settle(&mut world);
    let after = world.status("bob")[0].path.remote;
    assert_ne!(before, after);
    assert_eq!(world.host("bob").dataplane.sad().next().expect("a child").remote, after);
}

/// Two clients behind one NAT box, with the same network inside: told apart by their ports, followed each for itself.
//= rfc7296 §2.23
#[test]
fn s125_two_clients_behind_one_nat_box() {
    for mobile in [false, true] {
        let client = |name: &str, address: &str| {
            let site = Site::psk(name, address, "bob", "198.51.100.2")
                .behind("203.0.113.9", Duration::from_secs(600));
            let lan = sim::site::net(&format!("10.9.0.{}/32", if name == "one" { 1 } else { 2 }));
            site.child(|child| child.local_ts = vec![lan]).with(|c| c.mobike = mobile)
        };
        let hub = bob().mobile().with(|c| c.remote.id = policy::IdPattern::Any).with(|c| c.mobike = mobile);
        let hub = hub.child(|child| child.remote_ts = vec![sim::site::net("10.0.0.0/8")]);
        let sites = [client("one", "192.168.1.2"), client("two", "192.168.1.3")];
        let mut world = world(38).site(hub);
        for site in sites {
            world = world.site(site);
        }
        world.up("one");
        world.up("two");
        world.until(|world| world.host("bob").dataplane.sad().count() == 2 && world.is_quiet());
        assert!(world.is_mirrored());
        let ports = |world: &World| -> std::collections::BTreeSet<u16> {
            world.host("bob").dataplane.sad().map(|spec| spec.remote.port()).collect()
        };
        let before = ports(&world);
        assert_eq!(before.len(), 2);
        world.restart_nat("one");
        // The other one first: it gets a port that nobody had.
        for name in ["two", "one"] {
            assert!(is_alive(&mut world, name));
            settle(&mut world);
        }
        let after = ports(&world);
        assert_eq!((after.len(), after.intersection(&before).count()), (2, 0), "mobile: {mobile}");
        assert!(world.is_mirrored());
    }
}

/// An address changes while keys do: the exchange under way goes on from the new address.
#[test]
fn s128_addresses_change_during_a_rekeying() {
    for seed in 40..70 {
        let mut world = pair(seed);
        let order = if seed % 2 == 0 {
            Order::Rekey(sa::Target::Connection("net".to_string()))
        } else {
            Order::Rekey(sa::Target::Child("net".to_string(), "lan".to_string()))
        };
        world.order(if seed % 3 == 0 { "alice" } else { "bob" }, order);
        world.run(Duration::from_millis(seed - 40));
        world.readdress("alice", &["203.0.113.77"]);
        // A Delete that went to the old address is given up before.
        world.run(Duration::from_secs(300));
        settle(&mut world);
        let all = (world.status("alice"), world.status("bob"));
        assert_eq!((all.0.len(), all.1.len()), (1, 1), "seed {seed}");
        assert_eq!(all.1[0].path.remote.ip(), ip("203.0.113.77"), "seed {seed}");
        for name in ["alice", "bob"] {
            assert_eq!(world.host(name).dataplane.sad().count(), 1, "seed {seed}");
        }
        assert_eq!(esp(&world, "bob").1, ip("203.0.113.77"), "seed {seed}");
        assert!(is_alive(&mut world, "alice") && is_alive(&mut world, "bob"));
    }
}

/// What has been agreed on survives the IKE SA that agreed on it.
#[test]
fn s128_the_successor_of_an_ike_sa_is_as_mobile() {
    for beginner in ["alice", "bob"] {
        let mut world = pair(71);
        world.order(beginner, Order::Rekey(sa::Target::Connection("net".to_string())));
        world.run(Duration::from_secs(20));
        world.readdress("alice", &["203.0.113.77"]);
        settle(&mut world);
        assert_eq!(esp(&world, "bob").1, ip("203.0.113.77"), "{beginner}: who began the first one decides");
        assert_eq!(told(&world, "bob", "UPDATE_SA_ADDRESSES"), 1);
    }
}

/// In foul weather too, with several requests at once.
#[test]
fn s128_addresses_change_in_foul_weather() {
    for seed in 80..110 {
        let site = |site: Site| site.mobile().with(|c| c.window = 1 + (seed % 4) as u8);
        let mut world = up(world(seed).peers(site(alice()), site(bob())));
        world.weather = sim::Weather::foul();
        for n in 0..4u8 {
            world.readdress("alice", &[&format!("203.0.113.{}", 70 + n)]);
            world.run(Duration::from_millis(u64::from(n) * 900 + seed * 3));
        }
        world.weather = sim::Weather::fair();
        world.run(Duration::from_secs(90));
        settle(&mut world);
        assert_eq!(esp(&world, "bob").1, ip("203.0.113.73"), "seed {seed}");
        assert_eq!(esp(&world, "alice").0, ip("203.0.113.73"), "seed {seed}");
        assert!(is_alive(&mut world, "alice") && is_alive(&mut world, "bob"));
    }
}

/// What somebody without keys sends from elsewhere moves nobody.
#[test]
fn s128_a_replayed_or_altered_update_moves_nobody() {
    let mut world = pair(111);
    world.readdress("alice", &["203.0.113.77"]);
    settle(&mut world);
    world.readdress("alice", &["203.0.113.78"]);
    settle(&mut world);
    let before = suite::holdings(&mut world, "bob");
    let all: Vec<Datagram> = world.wire.iter().map(|(_, datagram)| datagram.clone()).collect();
    for (n, mut datagram) in all.into_iter().enumerate().filter(|(_, d)| d.to.port() == 4500) {
        datagram.from = "192.0.2.66:4500".parse().unwrap();
        world.inject(Duration::from_millis(n as u64), datagram.clone());
        let mut message = datagram.message().to_vec();
        let last = message.len() - 1;
        message[last] ^= 1;
        world.inject(Duration::from_millis(n as u64), datagram.with(&message));
    }
    world.run(Duration::from_secs(2));
    assert_eq!(suite::holdings(&mut world, "bob"), before);
    assert_eq!(path(&mut world, "bob").1, ip("203.0.113.78"));
    assert!(is_alive(&mut world, "bob"));
}

/// Somebody on the path puts his own address on the update: traffic does not go there, since he cannot answer for the
/// cookie; and the initiator hears in the end how it was seen.
//= rfc4555 §3.7
#[test]
fn s128_an_update_with_a_forged_source_draws_no_traffic() {
    let mut world = pair(112);
    let end = world.now() + Duration::from_secs(20);
    world.attack(move |scene| {
        let from = ip("203.0.113.77");
        if scene.now < end && scene.datagram.from.ip() == from {
            let mut forged = scene.datagram.clone();
            forged.from.set_ip(ip("192.0.2.66"));
            scene.take();
            scene.send(Duration::from_millis(10), forged);
        }
    });
    world.readdress("alice", &["203.0.113.77"]);
    world.run(Duration::from_secs(19));
    assert_eq!(path(&mut world, "bob").1, ip("192.0.2.66"));
    assert_ne!(esp(&world, "bob").1, ip("192.0.2.66"), "the cookie does not come back");
    world.run(Duration::from_secs(180));
    settle(&mut world);
    assert_eq!(esp(&world, "bob").1, ip("203.0.113.77"));
    assert!(is_alive(&mut world, "bob"));
}

/// A puppet that speaks MOBIKE, established with bob, on port 4500.
fn mobile_puppet(world: &mut World) -> Puppet {
    let mut alice = Puppet::alice();
    alice.init(world);
    alice.address.set_port(4500);
    alice.peer.set_port(4500);
    let mut payloads = alice.auth_payloads();
    payloads.push(notify(NotifyType::MOBIKE_SUPPORTED, Vec::new()));
    let answer = alice.ask(world, ExchangeType::IKE_AUTH, &payloads).expect("an answer to IKE_AUTH");
    assert!(notifies(&answer).contains(&NotifyType::MOBIKE_SUPPORTED));
    alice
}

fn notify(kind: NotifyType, data: Vec<u8>) -> Payload<'static> {
    Payload::Notify(Notify::new(kind, data))
}

fn update() -> Payload<'static> {
    notify(NotifyType::UPDATE_SA_ADDRESSES, Vec::new())
}

fn cookie(len: usize) -> Payload<'static> {
    notify(NotifyType::COOKIE2, vec![0x5a; len])
}

//= rfc4555 §4.2.5
#[test]
fn s128_a_cookie_comes_back_as_it_is_when_it_has_the_right_length() {
    let mut world = world(113).site(bob().mobile());
    let mut alice = mobile_puppet(&mut world);
    for (len, comes_back) in [(7, false), (8, true), (64, true), (65, false)] {
        let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[cookie(len)]).expect("an answer");
        let expected = if comes_back { vec![cookie(len)] } else { Vec::new() };
        assert_eq!(answer, expected, "{len}");
    }
}

/// A wrong cookie, or none, ends the IKE SA: somebody answers for another.
//= rfc4555 §3.7
#[test]
fn s128_a_wrong_cookie_ends_the_ike_sa() {
    for wrong in [Some(16), None] {
        let mut world = world(114).site(bob().mobile());
        let mut alice = mobile_puppet(&mut world);
        alice.address.set_ip(ip("203.0.113.77"));
        alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[update()]).expect("an answer");
        let (header, payloads) = alice.asked(&mut world).expect("the check of where we are");
        assert_eq!(notifies(&payloads), [NotifyType::COOKIE2]);
        let answer: Vec<_> = wrong.map(cookie).into_iter().collect();
        alice.reply(&mut world, &header, &answer);
        let (_, payloads) = alice.asked(&mut world).expect("the end");
        assert!(matches!(payloads[..], [Payload::Delete(_)]), "{}", wire::summary(&payloads));
        assert!(world.status("bob").iter().all(|sa| sa.state != "established"));
    }
}

/// The right cookie from the new address moves the children there.
#[test]
fn s128_the_right_cookie_moves_the_children() {
    let mut world = world(115).site(bob().mobile());
    let mut alice = mobile_puppet(&mut world);
    alice.address.set_ip(ip("203.0.113.77"));
    alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[update()]).expect("an answer");
    let (header, payloads) = alice.asked(&mut world).expect("the check of where we are");
    assert_eq!(esp(&world, "bob").1, ip("192.0.2.1"));
    alice.reply(&mut world, &header, &payloads);
    world.run(Duration::from_millis(50));
    assert_eq!(esp(&world, "bob").1, ip("203.0.113.77"));
}

/// With a window above one, an older update that comes late is answered and changes nothing.
//= rfc4555 §3.5
#[test]
fn s128_an_older_update_that_comes_late_changes_nothing() {
    let mut world = world(116).site(bob().mobile().with(|c| c.window = 4));
    let mut alice = mobile_puppet(&mut world);
    let old = alice.request(ExchangeType::INFORMATIONAL, &[update(), cookie(8)]);
    alice.address.set_ip(ip("203.0.113.78"));
    alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[update(), cookie(16)]).expect("an answer");
    assert_eq!(path(&mut world, "bob").1, ip("203.0.113.78"));
    alice.address.set_ip(ip("203.0.113.77"));
    alice.deaf(&world);
    alice.send(&mut world, &old);
    let answer = alice.hear(&mut world).expect("an answer");
    assert_eq!(notifies(&alice.open(&answer).1), [NotifyType::COOKIE2]);
    assert_eq!(path(&mut world, "bob").1, ip("203.0.113.78"));
}

/// Only who began the first IKE SA decides on the path.
//= rfc4555 §3.5
#[test]
fn s128_the_responder_does_not_decide() {
    let mut world = world(117).site(alice().mobile());
    let mut bob = Puppet::bob();
    world.up("alice");
    bob.answer_init(&mut world);
    let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
    let mut payloads = bob.auth_payloads();
    payloads.push(notify(NotifyType::MOBIKE_SUPPORTED, Vec::new()));
    bob.reply(&mut world, &header, &payloads);
    world.run(Duration::from_millis(50));
    bob.initiator = false;
    let before = path(&mut world, "alice");
    bob.next_id = 0;
    bob.address.set_ip(ip("198.51.100.77"));
    let answer = bob.ask(&mut world, ExchangeType::INFORMATIONAL, &[update(), cookie(8)]);
    assert_eq!(answer, Some(vec![cookie(8)]));
    assert_eq!(path(&mut world, "alice"), before);
}

/// NO_NATS_ALLOWED for a message from one of these to the other.
fn no_nats(from: std::net::SocketAddr, to: std::net::SocketAddr) -> Payload<'static> {
    let octets = |address: std::net::SocketAddr| match address.ip() {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => panic!("an IPv4 address"),
    };
    let ports = [from.port(), to.port()].map(u16::to_be_bytes).concat();
    notify(NotifyType::NO_NATS_ALLOWED, [&octets(from)[..], &octets(to), &ports].concat())
}

//= rfc4555 §3.9
#[test]
fn s128_no_nats_allowed_and_there_is_one() {
    let mut world = world(118).site(bob().mobile());
    let mut alice = mobile_puppet(&mut world);
    let claimed = alice.address;
    alice.address.set_ip(ip("203.0.113.9"));
    let payloads = [update(), no_nats(claimed, alice.peer), cookie(8)];
    let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &payloads).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::COOKIE2, NotifyType::UNEXPECTED_NAT_DETECTED]);
    assert_eq!(path(&mut world, "bob").1, claimed.ip());
    let payloads = [update(), no_nats(alice.address, alice.peer), cookie(8)];
    let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &payloads).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::COOKIE2]);
    assert_eq!(path(&mut world, "bob").1, ip("203.0.113.9"));
}

//= rfc4555 §3.9
#[test]
fn s128_no_nats_allowed_in_ike_auth_and_there_is_one() {
    for lies in [true, false] {
        let mut world = world(119).site(bob().mobile());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut payloads = alice.auth_payloads();
        payloads.push(notify(NotifyType::MOBIKE_SUPPORTED, Vec::new()));
        let from = if lies { "10.0.0.1:500".parse().unwrap() } else { alice.address };
        payloads.push(no_nats(from, alice.peer));
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        if lies {
            assert_eq!(notifies(&answer), [NotifyType::UNEXPECTED_NAT_DETECTED]);
            assert!(world.status("bob").is_empty());
        } else {
            assert_eq!(world.status("bob")[0].state, "established");
        }
    }
}

/// Against a peer without NAT traversal we forbid NATs ourselves, and take its refusal for chance a few times only.
//= rfc4555 §3.9
#[test]
fn s128_without_nat_traversal_we_forbid_nats() {
    let mut world = world(120).site(alice().mobile());
    let mut bob = Puppet::bob();
    world.up("alice");
    bob.answer_init(&mut world);
    let (header, payloads) = bob.asked(&mut world).expect("IKE_AUTH");
    assert!(notifies(&payloads).contains(&NotifyType::NO_NATS_ALLOWED));
    let mut payloads = bob.auth_payloads();
    payloads.push(notify(NotifyType::MOBIKE_SUPPORTED, Vec::new()));
    bob.reply(&mut world, &header, &payloads);
    world.run(Duration::from_millis(50));
    bob.address.set_port(500);
    world.readdress("alice", &["192.0.2.9", "192.0.2.1"]);
    bob.peer.set_ip(ip("192.0.2.9"));
    let mut asked = 0;
    while let Some((header, payloads)) = bob.asked(&mut world) {
        let kinds = notifies(&payloads);
        if !kinds.contains(&NotifyType::UPDATE_SA_ADDRESSES) {
            bob.reply(&mut world, &header, &[]);
            continue;
        }
        assert!(kinds.contains(&NotifyType::NO_NATS_ALLOWED), "{kinds:?}");
        assert!(!kinds.contains(&NotifyType::NAT_DETECTION_SOURCE_IP), "{kinds:?}");
        asked += 1;
        assert!(asked < 10, "it never ends");
        bob.reply(&mut world, &header, &[notify(NotifyType::UNEXPECTED_NAT_DETECTED, Vec::new())]);
    }
    assert_eq!(asked, 4, "it may be somebody's forgery three times");
    assert_eq!(path(&mut world, "alice").0, ip("192.0.2.1"), "back on the path that was agreed on");
}

/// The same for addresses that are only told, and for IKE_AUTH, which begins anew with IKE_SA_INIT.
//= rfc4555 §3.9
#[test]
fn s128_a_nat_that_the_peer_sees_is_not_believed_at_once() {
    let unexpected = || notify(NotifyType::UNEXPECTED_NAT_DETECTED, Vec::new());
    for relents in [true, false] {
        let mut world = world(130).site(alice().mobile());
        let order = world.up("alice");
        let (mut bob, mut refused) = (Puppet::bob(), 0);
        while world.reply(order).is_none() {
            // It listens to whoever begins.
            bob.channel = None;
            bob.answer_init(&mut world);
            let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
            if relents && refused == 2 {
                let mut payloads = bob.auth_payloads();
                payloads.push(notify(NotifyType::MOBIKE_SUPPORTED, Vec::new()));
                bob.reply(&mut world, &header, &payloads);
            } else {
                refused += 1;
                assert!(refused < 10, "it never ends");
                bob.reply(&mut world, &header, &[unexpected()]);
            }
            world.run(Duration::from_millis(5));
        }
        match world.reply(order) {
            Some(Reply::Up { children, .. }) => assert!(relents && children.len() == 1),
            Some(Reply::Refused(refusal)) => {
                assert!(!relents && refusal.reason.contains("sees a NAT"), "{refusal:?}");
                assert_eq!(refused, 4, "it may be somebody's forgery three times");
                continue;
            }
            other => panic!("{relents}: {other:?}"),
        }
        world.readdress("alice", &["192.0.2.1", "192.0.2.9"]);
        let mut told = 0;
        while let Some((header, payloads)) = bob.asked(&mut world) {
            told += usize::from(notifies(&payloads).contains(&NotifyType::ADDITIONAL_IP4_ADDRESS));
            assert!(told < 10, "it never ends");
            bob.reply(&mut world, &header, &[unexpected()]);
        }
        assert_eq!(told, 4);
    }
}

/// More addresses than there is room for are left out, and the peer stays where it is.
#[test]
fn s128_a_peer_that_tells_too_many_addresses_is_reached_where_it_is() {
    let mut world = world(121).site(bob().mobile());
    let mut alice = mobile_puppet(&mut world);
    for round in 0..50u8 {
        let many: Vec<_> =
            (1..=60u8).map(|n| notify(NotifyType::ADDITIONAL_IP4_ADDRESS, vec![100, round, 0, n])).collect();
        assert_eq!(alice.ask(&mut world, ExchangeType::INFORMATIONAL, &many), Some(Vec::new()));
    }
    world.readdress("bob", &["198.51.100.60"]);
    world.run(Duration::from_millis(1));
    assert_eq!(path(&mut world, "bob"), (ip("198.51.100.60"), ip("192.0.2.1")));
}

/// NAT detection in any request is answered with ours, whatever else the request says.
//= rfc4555 §3.8
#[test]
fn s128_nat_detection_is_answered_in_any_informational_exchange() {
    let mut world = world(122).peers(alice().mobile(), bob().mobile().also_at(&["198.51.100.60"]));
    world.up("alice");
    world.until(established);
    world.resettle("alice", Some("203.0.113.9"));
    world.readdress("alice", &["10.0.0.5"]);
    settle(&mut world);
    let before = told(&world, "alice", "NAT_DETECTION_DESTINATION_IP");
    assert!(is_alive(&mut world, "alice"));
    assert_eq!(told(&world, "alice", "NAT_DETECTION_DESTINATION_IP"), before + 2);
}

/// Transport mode carries what two addresses exchange: it ends when one of them changes, and the IKE SA stays.
#[test]
fn s128_transport_mode_does_not_go_along() {
    let hosts = |site: Site| {
        site.mobile().child(|child| {
            child.mode = dataplane::Mode::Transport;
            child.local_ts.clear();
            child.remote_ts.clear();
        })
    };
    let mut world = up(world(123).peers(hosts(alice()), hosts(bob())));
    world.readdress("alice", &["203.0.113.77"]);
    world.run(Duration::from_secs(15));
    for name in ["alice", "bob"] {
        assert_eq!(world.host(name).dataplane.sad().count(), 0, "{name}");
        assert_eq!(world.status(name)[0].state, "established");
    }
    assert!(is_alive(&mut world, "bob"));
}
