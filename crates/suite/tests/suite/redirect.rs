//! Redirection (RFC 5685): in IKE_SA_INIT, in IKE_AUTH and live; loops; forgeries.

use policy::{Gateway, IdPattern, Identity, Redirect};
use sa::{Event, Fate, Order, Reply, Target};
use sim::{Site, answered, established};
use std::net::IpAddr;
use std::time::Duration;
use suite::{Puppet, World, alice, bob, notifies, world};
use wire::num::{ExchangeType, NotifyType};
use wire::{Message, Notify, Payload};

const SECOND: Duration = Duration::from_secs(1);
const THIRD: &str = "203.0.113.3";

/// A second gateway with bob's identity and networks.
fn twin() -> Site {
    let mut site = bob();
    site.name = "twin".to_string();
    site.address = sim::site::ip(THIRD);
    site.with(|c| c.local_addrs = vec![policy::AddressPattern::Any])
}

fn to(address: &str) -> Gateway {
    Gateway::Address(sim::site::ip(address))
}

fn everybody(address: &str) -> Option<Redirect> {
    Some(Redirect { to: to(address), clients: Vec::new(), ids: Vec::new(), above: 0 })
}

fn alice_is_known() -> Vec<IdPattern> {
    vec![IdPattern::Is(Identity::Fqdn("alice.example".to_string()))]
}

fn peer(world: &mut World) -> Vec<IpAddr> {
    let standing = world.status("alice").into_iter().filter(|sa| sa.state == "established");
    standing.map(|sa| sa.path.remote.ip()).collect()
}

/// GW ident type IPv4, an address, and a nonce.
fn redirect(address: [u8; 4], nonce: &[u8]) -> Payload<'static> {
    let data = [&[1, 4], &address[..], nonce].concat();
    Payload::Notify(Notify::new(NotifyType::REDIRECT, data))
}

//= rfc5685 §3
#[test]
fn s133_in_ike_sa_init() {
    let sends = bob().with(|c| c.extensions.redirect = everybody(THIRD));
    let mut world = world(1).peers(alice(), sends).site(twin());
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Up { children, .. }) if children == &["lan"]));
    assert_eq!(peer(&mut world), [sim::site::ip(THIRD)]);
    assert_eq!((world.status("bob").len(), world.status("twin").len()), (0, 1));
    let first = world.wire.iter().find(|(_, d)| d.to.ip() == sim::site::ip(THIRD)).expect("IKE_SA_INIT");
    let message = Message::parse(first.1.message()).expect("IKE_SA_INIT");
    let from = message.payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::REDIRECTED_FROM => Some(notify.data.to_vec()),
        _ => None,
    });
    assert_eq!(from, Some(vec![1, 4, 198, 51, 100, 2]));
}

//= rfc5685 §6
#[test]
fn s133_in_ike_auth_by_identity() {
    let rule = Redirect { ids: alice_is_known(), ..everybody(THIRD).unwrap() };
    let mut world = world(2).peers(alice(), bob().with(|c| c.extensions.redirect = Some(rule))).site(twin());
    let order = world.up("alice");
    world.until(answered);
    world.run(5 * SECOND);
    assert!(matches!(world.reply(order), Some(Reply::Up { children, .. }) if children == &["lan"]));
    assert_eq!(peer(&mut world), [sim::site::ip(THIRD)]);
    assert_eq!(world.status("bob").len(), 0, "the client deletes what it does not use");
    assert_eq!(world.host("bob").dataplane.sad().count(), 0);
    assert_eq!(world.host("bob").count(|event| matches!(event, Event::ChildUp(..))), 0);
}

/// By load: the second client finds the gateway full.
#[test]
fn s133_by_load() {
    let rule = Redirect { above: 1, ..everybody(THIRD).unwrap() };
    let mut world = world(3).peers(alice(), bob().with(|c| c.extensions.redirect = Some(rule))).site(twin());
    world.up("alice");
    world.until(answered);
    assert_eq!(peer(&mut world), [sim::site::ip("198.51.100.2")]);
    let mut second = Puppet::alice();
    second.spis.initiator = base::IkeSpi(77);
    second.deaf(&world);
    let mut payloads = second.init_payloads();
    let plain = second.init_request(payloads.clone());
    second.send(&mut world, &plain);
    let answer = second.hear(&mut world).expect("an answer");
    let answer = Message::parse(&answer).expect("IKE_SA_INIT");
    assert!(answer.payloads.iter().any(|p| matches!(p, Payload::Sa(_))), "who does not follow is taken in");
    second.spis.initiator = base::IkeSpi(78);
    payloads.push(Payload::Notify(Notify::new(NotifyType::REDIRECT_SUPPORTED, Vec::new())));
    let nonce = suite::reader::nonce(&payloads);
    let request = second.init_request(payloads);
    second.send(&mut world, &request);
    let answer = second.hear(&mut world).expect("an answer");
    let answer = Message::parse(&answer).expect("IKE_SA_INIT");
    assert_eq!(answer.header.spi_r, base::IkeSpi::ZERO);
    let Some(Payload::Notify(notify)) = answer.payloads.first() else { panic!("no notification") };
    assert_eq!(
        (notify.kind, &notify.data[..]),
        (NotifyType::REDIRECT, &[&[1, 4, 203, 0, 113, 3][..], &nonce].concat()[..])
    );
}

//= rfc5685 §5
#[test]
fn s133_live_without_a_gap() {
    let mut world = world(4).peers(alice(), bob()).site(twin());
    world.up("alice");
    world.until(answered);
    world.run(SECOND);
    let order = world.order("bob", Order::Redirect(Target::Connection("net".to_string()), to(THIRD)));
    assert!(matches!(world.reply(order), Some(Reply::Redirecting { ike: 1 })));
    for _ in 0..50 {
        world.run(Duration::from_millis(100));
        assert!(world.host("alice").dataplane.sad().count() >= 1);
    }
    assert_eq!(peer(&mut world), [sim::site::ip(THIRD)]);
    assert_eq!((world.status("bob").len(), world.host("bob").dataplane.sad().count()), (0, 0));
}

/// The other gateway does not answer: the client keeps what it has until the gateway ends it.
#[test]
fn s133_live_to_nowhere() {
    let mut world = world(5).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    world.order("bob", Order::Redirect(Target::All, to(THIRD)));
    world.run(50 * SECOND);
    assert_eq!(peer(&mut world), [sim::site::ip("198.51.100.2")]);
    world.run(20 * SECOND);
    assert!(peer(&mut world).is_empty(), "the gateway has waited long enough");
}

/// Two gateways that send clients to each other: the client gives up.
//= rfc5685 §7
#[test]
fn s133_a_loop_is_left() {
    // Each sends on whoever comes, wherever from: a third one closes the circle, so that nobody sends back.
    let sends = |site: Site, address| site.with(|c| c.extensions.redirect = everybody(address));
    let mut third = twin();
    (third.name, third.address) = ("third".to_string(), sim::site::ip("203.0.113.4"));
    let mut world = world(6).peers(alice(), sends(bob(), THIRD));
    world = world.site(sends(twin(), "203.0.113.4")).site(sends(third, "198.51.100.2"));
    let order = world.up("alice");
    world.until(answered);
    let Some(Reply::Refused(refusal)) = world.reply(order) else { panic!("{:?}", world.reply(order)) };
    assert!(refusal.reason.contains("5 times"), "{}", refusal.reason);
    let begun = world.wire.iter().filter(|(_, d)| d.from.ip() == world.host("alice").address).count();
    assert_eq!(begun, 6, "the first, and five more");
    assert!(world.status("alice").is_empty());
}

/// A gateway does not send anybody back where it was sent from.
#[test]
fn s133_not_back() {
    let sends = |site: Site, address| site.with(|c| c.extensions.redirect = everybody(address));
    let mut world = world(7).peers(alice(), sends(bob(), THIRD)).site(sends(twin(), "198.51.100.2"));
    world.up("alice");
    world.until(answered);
    assert_eq!(peer(&mut world), [sim::site::ip(THIRD)]);
}

/// Without the nonce of the request nobody is believed.
//= rfc5685 §3
#[test]
fn s133_a_forged_redirect_is_noise() {
    for nonce in [vec![], vec![0; 32], vec![9; 16]] {
        let mut world = world(8).site(alice()).site(twin());
        let mut bob = Puppet::bob();
        let order = world.up("alice");
        let request = bob.hear(&mut world).expect("IKE_SA_INIT");
        bob.spis.initiator = Message::parse(&request).expect("IKE_SA_INIT").header.spi_i;
        let header = bob.header(ExchangeType::IKE_SA_INIT, true, 0);
        let payloads = vec![redirect([203, 0, 113, 3], &nonce)];
        bob.send(&mut world, &Message { header, payloads }.emit());
        world.run(SECOND);
        assert!(!world.wire.iter().any(|(_, d)| d.to.ip() == sim::site::ip(THIRD)));
        assert!(world.reply(order).is_none(), "it waits on");
    }
}

/// Whoever does not want to follow says nothing of it, and follows nobody.
#[test]
fn s133_who_does_not_follow() {
    let stays = alice().with(|c| c.extensions.follow_redirects = false);
    let mut world =
        world(9).peers(stays, bob().with(|c| c.extensions.redirect = everybody(THIRD))).site(twin());
    world.up("alice");
    world.until(answered);
    assert_eq!(peer(&mut world), [sim::site::ip("198.51.100.2")]);
    let order = world.order("bob", Order::Redirect(Target::All, to(THIRD)));
    assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "it would not follow");
}

/// Odd REDIRECTs of an authentic gateway: nonsense, a name, another IP version, ourselves as the gateway.
#[test]
fn s133_odd_redirects_do_no_harm() {
    let odd = [
        vec![],
        vec![1, 4],
        vec![1, 4, 0, 0, 0, 0],
        vec![9, 1, 1],
        [&[3, 11][..], b"gw3.example"].concat(),
        [&[2, 16][..], &[0x20; 16]].concat(),
    ];
    for data in odd {
        let mut world = world(10).site(alice());
        let mut bob = Puppet::bob();
        world.up("alice");
        bob.establish(&mut world);
        bob.next_id = 0;
        let notify = Payload::Notify(Notify::new(NotifyType::REDIRECT, data));
        let answer = bob.ask(&mut world, ExchangeType::INFORMATIONAL, &[notify]).expect("an answer");
        assert!(notifies(&answer).is_empty());
        world.run(5 * SECOND);
        assert_eq!(world.status("alice").len(), 1);
        assert_eq!(world.host("alice").count(|e| matches!(e, Event::IkeDown(..))), 0);
    }
    // A client may not send its gateway on.
    let mut world = world(11).site(bob()).site(twin());
    let mut client = Puppet::alice();
    client.establish(&mut world);
    client
        .ask(&mut world, ExchangeType::INFORMATIONAL, &[redirect([203, 0, 113, 3], &[])])
        .expect("an answer");
    world.run(5 * SECOND);
    assert!(!world.wire.iter().any(|(_, d)| d.to.ip() == sim::site::ip(THIRD)));
}

/// A gateway that sends on again and again wears out the client's patience, not its IKE SA.
#[test]
fn s133_live_redirects_are_limited() {
    let mut world = world(12).site(alice());
    let mut bob = Puppet::bob();
    world.up("alice");
    bob.establish(&mut world);
    bob.next_id = 0;
    for n in 0..12 {
        bob.ask(&mut world, ExchangeType::INFORMATIONAL, &[redirect([203, 0, 113, n], &[])])
            .expect("an answer");
    }
    let gateways: std::collections::BTreeSet<IpAddr> = world
        .wire
        .iter()
        .map(|(_, d)| d.to.ip())
        .filter(|to| *to != sim::site::ip("198.51.100.2") && *to != sim::site::ip("192.0.2.1"))
        .collect();
    assert!(gateways.len() <= 5, "{gateways:?}");
    assert_eq!(peer(&mut world), [sim::site::ip("198.51.100.2")]);
    let refused = |event: &Event| matches!(event, Event::IkeDown(_, Fate::Refused(_)));
    assert_eq!(world.host("alice").count(refused), 0);
}

/// A gateway that sends whoever comes on to `gw3.example`.
fn by_name() -> Site {
    let everybody = Redirect { to: Gateway::Name("gw3.example".to_string()), ..everybody(THIRD).unwrap() };
    bob().with(|c| c.extensions.redirect = Some(everybody))
}

fn knows(world: &mut World, address: &str) {
    world.host_mut("alice").names.insert("gw3.example".to_string(), sim::site::ip(address));
}

/// A gateway that is told by its name is looked up, before the IKE SA stands and after.
//= rfc5685 §9.2
#[test]
fn s133_to_a_name() {
    let mut world = world(13).peers(alice(), by_name()).site(twin());
    knows(&mut world, THIRD);
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Up { children, .. }) if children == &["lan"]));
    assert_eq!(peer(&mut world), [sim::site::ip(THIRD)]);
    let mut world = suite::world(14).peers(alice(), bob()).site(twin());
    knows(&mut world, THIRD);
    world.up("alice");
    world.until(answered);
    world.run(SECOND);
    world.order("bob", Order::Redirect(Target::All, Gateway::Name("gw3.example".to_string())));
    for _ in 0..50 {
        world.run(Duration::from_millis(100));
        assert!(world.host("alice").dataplane.sad().count() >= 1);
    }
    assert_eq!(peer(&mut world), [sim::site::ip(THIRD)]);
}

/// A name that leads nowhere is told in a sentence; what stands stays, and what starts by itself is tried again.
#[test]
fn s133_to_a_name_that_leads_nowhere() {
    let mut world = world(15).peers(alice(), by_name()).site(twin());
    let order = world.up("alice");
    world.until(answered);
    let Some(Reply::Refused(refusal)) = world.reply(order) else { panic!("{:?}", world.reply(order)) };
    assert!(refusal.reason.contains("`gw3.example`"), "{}", refusal.reason);
    let site = alice().starting(policy::StartAction::Start);
    let mut world = suite::world(16).peers(site, by_name()).site(twin());
    world.run(15 * SECOND);
    assert!(peer(&mut world).is_empty());
    knows(&mut world, THIRD);
    world.run(60 * SECOND);
    assert_eq!(peer(&mut world), [sim::site::ip(THIRD)]);
    let mut world = suite::world(17).peers(alice(), bob());
    world.up("alice");
    world.until(established);
    world.order("bob", Order::Redirect(Target::All, Gateway::Name("gw3.example".to_string())));
    world.run(10 * SECOND);
    assert_eq!(peer(&mut world), [sim::site::ip("198.51.100.2")]);
    assert!(world.host("alice").refusals()[0].reason.contains("`gw3.example`"));
}

/// A look-up without an answer ends by itself, or with an order.
#[test]
fn s133_a_look_up_is_not_waited_for_for_ever() {
    for ordered in [true, false] {
        let mut site = alice();
        site.keeper.forget = 1000;
        let mut world = world(18).peers(site, by_name());
        let order = world.up("alice");
        world.run(10 * SECOND);
        assert!(world.reply(order).is_none());
        if ordered {
            world.down("alice");
        }
        world.run(55 * SECOND);
        let Some(Reply::Refused(refusal)) = world.reply(order) else { panic!("{:?}", world.reply(order)) };
        assert_eq!(refusal.reason.contains("ordered down"), ordered, "{}", refusal.reason);
    }
}

/// A name that leads round in a circle counts like an address.
//= rfc5685 §7
#[test]
fn s133_a_loop_by_name_is_left() {
    let mut world = world(19).peers(alice(), by_name());
    knows(&mut world, "198.51.100.2");
    let order = world.up("alice");
    world.until(answered);
    let Some(Reply::Refused(refusal)) = world.reply(order) else { panic!("{:?}", world.reply(order)) };
    assert!(refusal.reason.contains("5 times"), "{}", refusal.reason);
    assert_eq!(world.host("alice").lookups.len(), 5);
}

/// Look-ups of gateways that an endpoint has under way at once.
const MAX_SOUGHT: usize = 64;

#[test]
fn s133_look_ups_are_bounded() {
    let mut site = alice();
    site.keeper.forget = 1000;
    let first = site.connections[0].clone();
    let named = |n: usize| policy::Connection { name: format!("net{n}"), ..first.clone() };
    site.connections = (0..=MAX_SOUGHT).map(named).collect();
    let mut world = world(20).peers(site, by_name());
    let mut orders = Vec::new();
    for n in 0..=MAX_SOUGHT {
        orders.push(world.up_child("alice", n as u32, None));
        world.run(SECOND / 2);
    }
    let refused: Vec<_> = orders.iter().filter_map(|order| world.reply(*order)).collect();
    assert_eq!(refused.len(), 1);
    assert!(format!("{:?}", refused[0]).contains("being looked up already"), "{refused:?}");
}
