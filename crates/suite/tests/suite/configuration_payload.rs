//! Configuration payloads (RFC 7296 §2.19, §3.15; RFC 5739, RFC 8598, RFC 8983): addresses, name servers, and all the
//! ways in which there are none.

use crate::ppk::{BLUE, JUST_BLUE, id, notify};
use crate::ppk_fresh::{child_keys, installed, taken};
use base::EspSpi;
use dataplane::{AddressRange, Selector};
use policy::{
    AddressPattern, Childless, DnsName, Domain, IdPattern, Identity, Pool, Reservation, SplitDns,
    StartAction, TrustAnchor, Unique,
};
use sa::{Event, RefusalKind, Reply};
use sim::site::{ip, net};
use sim::{DataplaneNature, KeeperNature, Site};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use suite::puppet::network;
use suite::{Puppet, World, alice, answered, bob, notifies, world};
use wire::num::{CfgAttributeType, CfgType, ExchangeType, NotifyType, PayloadType};
use wire::{CfgAttribute, CfgValue, Configuration, IpSelector, Notify, Payload, TrafficSelector};

const ANY: [&str; 1] = ["0.0.0.0"];

/// A client that asks for these addresses.
pub(crate) fn client(site: Site, vips: &[&str]) -> Site {
    let vips: Vec<IpAddr> = vips.iter().map(|vip| ip(vip)).collect();
    site.with(|c| c.configuration.vips = vips).child(|child| child.local_ts.clear())
}

fn carol() -> Site {
    Site::psk("carol", "192.0.2.3", "bob", "198.51.100.2")
}

fn dave() -> Site {
    Site::psk("dave", "192.0.2.4", "bob", "198.51.100.2")
}

fn range(text: &str) -> AddressRange {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    match start.contains('/') {
        true => net(start).addresses,
        false => AddressRange::new(ip(start), ip(end)).unwrap(),
    }
}

pub(crate) fn pool(addrs: &[&str]) -> Pool {
    let addrs = addrs.iter().map(|text| range(text)).collect();
    Pool { name: "road".into(), addrs, ..Pool::default() }
}

/// A gateway for whoever has the PSK.
pub(crate) fn gateway(pool: Pool) -> Site {
    bob()
        .with(|c| {
            c.remote_addrs = vec![AddressPattern::Any];
            c.remote.id = IdPattern::Any;
            c.configuration.pools = vec![Arc::new(pool)];
        })
        .child(|child| child.remote_ts.clear())
}

fn name(text: &str) -> DnsName {
    DnsName::new(text).unwrap()
}

fn up(world: &mut World, name: &str) -> Reply {
    let order = world.up(name);
    world.until(answered);
    world.reply(order).expect("an answer").clone()
}

/// Our addresses, as the gateway gave them.
pub(crate) fn addresses(world: &mut World, name: &str) -> Vec<String> {
    let list = world.status(name);
    let received = list.iter().filter_map(|ike| ike.received.clone());
    received
        .flat_map(|received| received.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>())
        .collect()
}

fn refused(reply: &Reply) -> RefusalKind {
    match reply {
        Reply::Up { children, refused, .. } if children.is_empty() => refused[0].1.kind,
        other => panic!("{other:?}"),
    }
}

/// Nothing of any address is left anywhere.
pub(crate) fn all_given_back(world: &World) {
    for host in &world.hosts {
        assert_eq!(host.leases.holders(), 0, "{}", host.name);
        assert!(host.dataplane.address_count() == 0 && host.resolver.is_empty(), "{}", host.name);
    }
}

//= rfc7296 §2.19
#[test]
fn a_client_gets_an_address_and_gives_it_back() {
    let mut pool = pool(&["10.3.0.0/24"]);
    pool.dns = vec![ip("10.2.0.53")];
    let mut world = world(1).peers(client(alice(), &ANY), gateway(pool));
    assert!(matches!(up(&mut world, "alice"), Reply::Up { children, .. } if children == ["lan"]));
    assert_eq!(addresses(&mut world, "alice"), ["10.3.0.1"]);
    let host = Selector::addresses(AddressRange::host(ip("10.3.0.1")));
    assert_eq!(world.status("alice")[0].children[0].local_ts, [host]);
    assert_eq!(world.status("bob")[0].children[0].remote_ts, [host]);
    assert_eq!(world.status("bob")[0].leased[0].address, ip("10.3.0.1"));
    assert!(world.host("alice").dataplane.has_address(ip("10.3.0.1")));
    let resolver: Vec<_> = world.host("alice").resolver.values().cloned().collect();
    assert_eq!(resolver[0].dns, [ip("10.2.0.53")]);
    assert_eq!(world.host("bob").leases.holders(), 1);
    world.down("alice");
    world.until(answered);
    world.run(Duration::from_secs(1));
    all_given_back(&world);
}

#[test]
fn both_families_at_once() {
    let widen = |site: Site| site.child(|child| child.local_ts.push(net("2001:db8:2::/48")));
    let mut world = world(2).peers(
        client(alice(), &["0.0.0.0", "::"]).child(|child| child.remote_ts.push(net("2001:db8:2::/48"))),
        widen(gateway(pool(&["10.3.0.0/24", "2001:db8:3::/64"]))),
    );
    up(&mut world, "alice");
    assert_eq!(addresses(&mut world, "alice"), ["10.3.0.1", "2001:db8:3::1"]);
    assert_eq!(world.status("alice")[0].children[0].local_ts, [net("10.3.0.1/32"), net("2001:db8:3::1/128")]);
}

#[test]
fn a_wish_is_granted_and_who_comes_again_gets_the_same() {
    let mut world = world(3)
        .site(client(alice(), &["10.3.0.77"]))
        .site(client(carol(), &ANY))
        .site(gateway(pool(&["10.3.0.0/24"])));
    up(&mut world, "carol");
    up(&mut world, "alice");
    assert_eq!(addresses(&mut world, "alice"), ["10.3.0.77"]);
    let before = addresses(&mut world, "carol");
    for _ in 0..2 {
        world.down("carol");
        world.until(answered);
        up(&mut world, "carol");
        assert_eq!(addresses(&mut world, "carol"), before);
    }
}

#[test]
fn a_reserved_address_is_its_owners() {
    let mut road = pool(&["10.3.0.0/24"]);
    road.hosts =
        vec![Reservation { id: Identity::Fqdn("carol.example".into()), addrs: vec![ip("10.3.0.1")] }];
    let mut world =
        world(4).site(client(alice(), &["10.3.0.1"])).site(client(carol(), &ANY)).site(gateway(road));
    up(&mut world, "alice");
    up(&mut world, "carol");
    assert_eq!(addresses(&mut world, "alice"), ["10.3.0.2"]);
    assert_eq!(addresses(&mut world, "carol"), ["10.3.0.1"]);
}

/// The IKE SA stands without a child, and a later attempt finds what became free.
//= rfc7296 §3.15.4
#[test]
fn an_exhausted_pool_refuses_the_child_and_not_the_ike_sa() {
    let mut world = world(5)
        .site(client(alice(), &ANY))
        .site(client(carol(), &ANY))
        .site(client(dave(), &ANY))
        .site(gateway(pool(&["10.3.0.1-10.3.0.2"])));
    up(&mut world, "alice");
    up(&mut world, "carol");
    let reply = up(&mut world, "dave");
    assert_eq!(refused(&reply), RefusalKind::NoAddress);
    let refusals = world.host("bob").refusals();
    assert!(refusals[0].reason.contains("road"), "{}", refusals[0].reason);
    assert_eq!((world.status("dave")[0].state, world.status("bob").len()), ("established", 3));
    assert_eq!(world.host("bob").leases.holders(), 2);
    world.down("alice");
    world.until(answered);
    world.down("dave");
    world.until(answered);
    up(&mut world, "dave");
    assert_eq!(addresses(&mut world, "dave"), ["10.3.0.1"]);
}

/// The IKE SA without an address is of no use for further attempts: each asks anew, as long as there is nothing.
//= rfc7296 §2.19
#[test]
fn who_got_no_address_asks_for_it_with_another_ike_sa() {
    for unique in [Unique::No, Unique::Replace] {
        let also = |site: Site| site.with(|c| c.unique = unique);
        let mut world = world(51)
            .site(also(client(alice(), &ANY)))
            .site(also(client(carol(), &ANY)))
            .site(also(gateway(pool(&["10.3.0.1"]))));
        up(&mut world, "alice");
        for _ in 0..2 {
            assert_eq!(refused(&up(&mut world, "carol")), RefusalKind::NoAddress);
            world.run(Duration::from_secs(30));
            assert_eq!((world.status("carol").len(), world.status("bob").len()), (1, 2), "{unique:?}");
        }
        world.down("alice");
        world.until(answered);
        assert!(matches!(up(&mut world, "carol"), Reply::Up { children, .. } if children == ["lan"]));
        assert_eq!(addresses(&mut world, "carol"), ["10.3.0.1"]);
        world.run(Duration::from_secs(30));
        assert_eq!((world.status("carol").len(), world.status("bob").len()), (1, 1), "{unique:?}");
    }
}

/// The child comes later, and needs the address.
//= rfc7296 §1.2
#[test]
fn an_address_comes_also_when_the_first_child_cannot_be_installed() {
    let mut gateway = gateway(pool(&["10.3.0.0/24"]));
    gateway.dataplane.refuse = 1000;
    let mut world = world(52).peers(client(alice(), &ANY), gateway);
    assert_eq!(refused(&up(&mut world, "alice")), RefusalKind::NoProposalChosen);
    assert_eq!(addresses(&mut world, "alice"), ["10.3.0.1"]);
    world.host_mut("bob").dataplane.becomes(DataplaneNature::default());
    assert!(matches!(up(&mut world, "alice"), Reply::Up { children, .. } if children == ["lan"]));
    assert_eq!(world.status("alice").len(), 1);
    assert!(world.is_mirrored());
}

//= rfc7296 §2.19
//= rfc8983 §5
#[test]
fn a_gateway_with_pools_wants_to_be_asked() {
    let mut world = world(6).peers(alice(), gateway(pool(&["10.3.0.0/24"])));
    let reply = up(&mut world, "alice");
    assert_eq!(refused(&reply), RefusalKind::NoAddress);
    assert!(format!("{reply:?}").contains("FAILED_CP_REQUIRED"), "{reply:?}");
    assert_eq!(
        (world.status("alice")[0].state, world.status("bob")[0].state),
        ("established", "established")
    );
    assert_eq!(world.host("bob").leases.holders(), 0);
}

/// The child that the peer made is deleted there.
//= rfc7296 §3.15.4
#[test]
fn a_client_that_gets_no_address_has_no_child() {
    let gateway = bob().child(|child| child.remote_ts.clear());
    let mut world = world(7).peers(client(alice(), &ANY), gateway);
    let reply = up(&mut world, "alice");
    assert_eq!(refused(&reply), RefusalKind::NoAddress);
    world.run(Duration::from_secs(1));
    for name in ["alice", "bob"] {
        assert_eq!(world.host(name).dataplane.sad().count(), 0, "{name}");
        assert_eq!(world.status(name)[0].state, "established");
    }
}

/// A peer that lost its memory gets its address back.
#[test]
fn addresses_pass_over_to_the_ike_sa_that_replaces_another() {
    let replace = |site: Site| site.with(|c| c.unique = Unique::Replace);
    let mut world = world(8).site(replace(gateway(pool(&["10.3.0.0/24"]))));
    let mut first = Puppet::alice();
    assert_eq!(ask_for_address(&mut first, &mut world, &[]), Some("10.3.0.1".into()));
    let mut second = Puppet::alice();
    second.spis.initiator.0 += 1;
    second.esp_spi = EspSpi(0xc0ff_ee11);
    assert_eq!(ask_for_address(&mut second, &mut world, &[]), Some("10.3.0.1".into()));
    // From the same address it may be the same peer that changes over: the older one stays a little while, and both hold
    // the address.
    assert_eq!(world.host("bob").leases.holders(), 2);
    world.run(Duration::from_secs(15));
    assert_eq!(world.host("bob").leases.holders(), 1);
}

pub(crate) fn cp(kind: CfgType, attributes: Vec<CfgAttribute<'static>>) -> Payload<'static> {
    Payload::Cp(Configuration { kind, attributes })
}

pub(crate) fn empty(kind: CfgAttributeType) -> CfgAttribute<'static> {
    CfgAttribute::new(kind, &CfgValue::Empty)
}

fn raw(kind: u16, octets: &[u8]) -> CfgAttribute<'static> {
    CfgAttribute { kind: CfgAttributeType(kind), value: octets.to_vec().into() }
}

pub(crate) fn all(v4: bool) -> TrafficSelector<'static> {
    let range = match v4 {
        true => wire::AddressRange::V4([0, 0, 0, 0].into(), [255; 4].into()),
        false => wire::AddressRange::V6([0_u8; 16].into(), [255_u8; 16].into()),
    };
    TrafficSelector::Ip(IpSelector::any(range))
}

/// The answer to IKE_AUTH with this CP payload before SA, and TSi of everything.
fn auth_with(
    puppet: &mut Puppet,
    world: &mut World,
    cp: Option<Payload<'static>>,
    v4: bool,
) -> Vec<Payload<'static>> {
    puppet.init(world);
    let mut payloads = puppet.auth_payloads();
    payloads.truncate(2);
    payloads.extend(cp);
    payloads.push(Payload::Sa(vec![puppet.esp_proposal()]));
    payloads.push(Payload::TsI(vec![all(v4)]));
    payloads.push(Payload::TsR(vec![if v4 { network(2) } else { all(false) }]));
    puppet.ask(world, ExchangeType::IKE_AUTH, &payloads).expect("an answer")
}

pub(crate) fn ask_for_address(
    puppet: &mut Puppet,
    world: &mut World,
    more: &[CfgAttribute<'static>],
) -> Option<String> {
    let mut attributes = more.to_vec();
    attributes.push(empty(CfgAttributeType::INTERNAL_IP4_ADDRESS));
    let answer = auth_with(puppet, world, Some(cp(CfgType::REQUEST, attributes)), true);
    reply(&answer)?.into_iter().find_map(|(kind, value)| match value {
        CfgValue::Ip4(ip) if kind == CfgAttributeType::INTERNAL_IP4_ADDRESS => Some(ip.to_string()),
        _ => None,
    })
}

/// What a CFG_REPLY says.
pub(crate) fn reply(payloads: &[Payload<'_>]) -> Option<Vec<(CfgAttributeType, CfgValue)>> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Cp(cp) if cp.kind == CfgType::REPLY => {
            Some(cp.attributes.iter().map(|a| (a.kind, a.decode().expect("a value"))).collect())
        }
        _ => None,
    })
}

//= rfc7296 §3.15.1
#[test]
fn unknown_and_malformed_attributes_are_passed_over() {
    let mut world = world(9).site(gateway(pool(&["10.3.0.0/24"])));
    let odd = [
        raw(20_000, b"private"),
        raw(CfgAttributeType::INTERNAL_IP4_DNS.0, &[1]),
        raw(CfgAttributeType::INTERNAL_IP6_ADDRESS.0, &[1; 30]),
        raw(CfgAttributeType::INTERNAL_DNSSEC_TA.0, b"x"),
        raw(CfgAttributeType::APPLICATION_VERSION.0, b"odd \xff\xfe"),
        raw(0x7fff, &[0; 2000]),
    ];
    assert_eq!(ask_for_address(&mut Puppet::alice(), &mut world, &odd), Some("10.3.0.1".into()));
}

/// What is no request is none.
//= rfc7296 §2.19
#[test]
fn other_configuration_payloads_in_ike_auth_are_not_answered() {
    for kind in [CfgType::REPLY, CfgType::SET, CfgType::ACK, CfgType(99)] {
        let mut world = world(10).site(gateway(pool(&["10.3.0.0/24"])));
        let odd = cp(kind, vec![empty(CfgAttributeType::INTERNAL_IP4_ADDRESS)]);
        let answer = auth_with(&mut Puppet::alice(), &mut world, Some(odd), true);
        assert!(notifies(&answer).contains(&NotifyType::FAILED_CP_REQUIRED), "{kind}");
        assert_eq!(reply(&answer), None, "{kind}");
        // Without pools it is ignored.
        let mut world = suite::world(10).site(bob());
        let odd = cp(kind, vec![empty(CfgAttributeType::INTERNAL_IP4_ADDRESS)]);
        let answer = auth_with(&mut Puppet::alice(), &mut world, Some(odd), true);
        assert!(answer.iter().any(|p| p.kind() == PayloadType::SA), "{}", wire::summary(&answer));
        assert_eq!(reply(&answer), None, "{kind}");
    }
}

/// Table 1 of RFC 8983.
//= rfc8983 §5
//# The responder MUST include the IP6_ALLOWED and/or IP4_ALLOWED notification status type in a response to an address
//# assignment request as indicated in Table 1.
#[test]
fn a_gateway_says_which_families_it_has() {
    let (v4, v6) = ("10.3.0.0/24", "2001:db8:3::/64");
    let cases: [(&[&str], bool, bool, usize); 6] = [
        (&[v4], true, false, 1),
        (&[v6], true, false, 0),
        (&[v4, v6], true, false, 1),
        (&[v4], false, true, 0),
        (&[v4, v6], true, true, 2),
        (&[v6], true, true, 1),
    ];
    for (has, wants4, wants6, assigned) in cases {
        let mut world = world(11).site(gateway(pool(has)));
        let mut wanted = Vec::new();
        wanted.extend(wants4.then(|| empty(CfgAttributeType::INTERNAL_IP4_ADDRESS)));
        wanted.extend(wants6.then(|| empty(CfgAttributeType::INTERNAL_IP6_ADDRESS)));
        let answer = auth_with(&mut Puppet::alice(), &mut world, Some(cp(CfgType::REQUEST, wanted)), true);
        let said = notifies(&answer);
        assert_eq!(said.contains(&NotifyType::IP4_ALLOWED), has.contains(&v4), "{has:?}");
        assert_eq!(said.contains(&NotifyType::IP6_ALLOWED), has.contains(&v6), "{has:?}");
        assert_eq!(said.contains(&NotifyType::INTERNAL_ADDRESS_FAILURE), assigned == 0, "{has:?}");
        assert_eq!(world.host("bob").leases.holders(), usize::from(assigned > 0));
    }
}

fn link(interface: [u8; 8], id: &[u8]) -> CfgAttribute<'static> {
    CfgAttribute::new(CfgAttributeType::INTERNAL_IP6_LINK, &CfgValue::Link(interface, id.to_vec()))
}

//= rfc5739 §4.1
//= rfc5739 §4.2
#[test]
fn a_link_has_a_prefix_of_its_own() {
    let mut road = pool(&["10.3.0.0/24"]);
    (road.prefixes, road.prefix_len) = (vec![range("2001:db8:100::/56")], 64);
    let site = || gateway(road.clone()).child(|child| child.local_ts = vec![net("::/0")]);
    let mut world = world(12).site(site());
    let mut id = Vec::new();
    for (n, interface) in [[0, 0, 0, 0, 0, 0, 0, 1], [2; 8]].into_iter().enumerate() {
        let mut alice = Puppet::alice();
        alice.spis.initiator.0 += n as u64;
        alice.esp_spi.0 += n as u32;
        let request = vec![
            empty(CfgAttributeType::INTERNAL_IP6_ADDRESS),
            link(interface, &id),
            empty(CfgAttributeType::INTERNAL_IP6_DHCP),
        ];
        let answer = auth_with(&mut alice, &mut world, Some(cp(CfgType::REQUEST, request)), false);
        let said = reply(&answer).expect("CFG_REPLY");
        let (CfgAttributeType::INTERNAL_IP6_LINK, CfgValue::Link(ours, link_id)) = &said[0] else {
            panic!("{said:?}")
        };
        assert_ne!(*ours, interface);
        let prefix = CfgValue::Net6("2001:db8:100::".parse().unwrap(), 64);
        assert_eq!(said[1..], [(CfgAttributeType::INTERNAL_IP6_PREFIX, prefix)], "the same link again");
        id = link_id.clone();
        let spec = world.host("bob").dataplane.sad().last().unwrap();
        let local = AddressRange::host(policy::link_local(interface));
        assert_eq!(spec.remote_ts, [net("2001:db8:100::/64"), Selector::addresses(local)]);
    }
    // An interface identifier that can be none.
    let mut world = suite::world(13).site(site());
    let request = cp(CfgType::REQUEST, vec![link([0; 8], &[])]);
    let answer = auth_with(&mut Puppet::alice(), &mut world, Some(request), false);
    assert!(notifies(&answer).contains(&NotifyType::INTERNAL_ADDRESS_FAILURE));
}

fn anchor(tag: u16) -> TrustAnchor {
    TrustAnchor { key_tag: tag, algorithm: 8, digest_type: 2, digest: vec![tag as u8; 32] }
}

/// Both ends of split DNS: what is offered, and what is taken.
//= rfc8598 §3.2
//= rfc8598 §6
#[test]
fn split_dns_is_told_and_taken_as_policy_allows() {
    let mut road = pool(&["10.3.0.0/24"]);
    road.dns = vec![ip("10.2.0.53"), ip("2001:db8::53")];
    road.subnets = vec![range("10.2.0.0/16")];
    road.domains = vec![
        Domain { name: name("corp.example"), anchors: vec![anchor(1), anchor(2)] },
        Domain { name: name("lab.test"), anchors: vec![anchor(3)] },
    ];
    let taken = |split: SplitDns, anchors: &[&str]| {
        let site = client(alice(), &ANY).with(|c| {
            c.configuration.split_dns = split;
            c.configuration.dnssec_anchors = anchors.iter().map(|text| name(text)).collect();
        });
        let mut world = world(14).peers(site, gateway(road.clone()));
        up(&mut world, "alice");
        let received = world.status("alice")[0].received.clone().expect("what it received");
        assert_eq!(received.dns, [ip("10.2.0.53")], "asked for IPv4 only");
        assert_eq!(received.subnets, [range("10.2.0.0/16")]);
        received.domains.iter().map(|d| (d.name.to_string(), d.anchors.len())).collect::<Vec<_>>()
    };
    let some = |list: &[(&str, usize)]| -> Vec<(String, usize)> {
        list.iter().map(|(name, n)| ((*name).to_string(), *n)).collect()
    };
    assert_eq!(taken(SplitDns::Any, &[]), some(&[("corp.example", 0), ("lab.test", 0)]));
    assert_eq!(taken(SplitDns::Any, &["example"]), some(&[("corp.example", 2), ("lab.test", 0)]));
    assert_eq!(taken(SplitDns::Below(vec![name("lab.test")]), &["lab.test"]), some(&[("lab.test", 1)]));
    assert_eq!(taken(SplitDns::None, &["lab.test"]), some(&[]));
}

/// A VPN for everything must not say who answers for whose names.
//= rfc8598 §2
#[test]
fn a_tunnel_for_everything_brings_no_domains() {
    let mut road = pool(&["10.3.0.0/24"]);
    road.dns = vec![ip("10.2.0.53")];
    road.domains = vec![Domain { name: name("corp.example"), anchors: Vec::new() }];
    let everything = |site: Site| site.child(|child| child.remote_ts = vec![net("0.0.0.0/0")]);
    let gateway = gateway(road).child(|child| child.local_ts = vec![net("0.0.0.0/0")]);
    let mut world = world(15).peers(everything(client(alice(), &ANY)), gateway);
    up(&mut world, "alice");
    let received = world.status("alice")[0].received.clone().expect("what it received");
    assert_eq!((received.dns.len(), received.domains.len()), (1, 0));
}

/// Also where halves make up the whole, and where the child comes after the addresses.
//= rfc8598 §2
#[test]
fn a_tunnel_for_everything_brings_no_domains_in_whatever_way_it_comes() {
    let halves = || vec![net("0.0.0.0/1"), net("128.0.0.0/1")];
    for childless in [Childless::Allow, Childless::Force] {
        let mut road = pool(&["10.3.0.0/24"]);
        road.dns = vec![ip("10.2.0.53")];
        road.domains = vec![Domain { name: name("corp.example"), anchors: Vec::new() }];
        let site = client(alice(), &ANY).child(|child| child.remote_ts = halves());
        let site = site.with(|c| c.extensions.childless = childless);
        let mut world = world(29).peers(site, gateway(road).child(|child| child.local_ts = halves()));
        up(&mut world, "alice");
        assert_eq!(world.status("alice")[0].children.len(), 1, "{childless:?}");
        let received = world.status("alice")[0].received.clone().expect("what it received");
        assert_eq!((received.dns.len(), received.domains.len()), (1, 0), "{childless:?}");
    }
}

/// A gateway that says odd things.
#[test]
fn a_client_takes_from_a_reply_what_it_asked_for() {
    let wanted = client(alice(), &ANY).with(|c| c.configuration.dnssec_anchors = vec![name("corp.example")]);
    let mut world = world(16).site(wanted);
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    bob.answer_init(&mut world);
    let (header, request) = bob.asked(&mut world).expect("IKE_AUTH");
    let asked: Vec<PayloadType> = request.iter().map(Payload::kind).collect();
    let place = |kind| asked.iter().position(|found| *found == kind);
    assert!(place(PayloadType::CP) < place(PayloadType::SA), "{asked:?}");
    let text = |text: &str| raw(CfgAttributeType::INTERNAL_DNS_DOMAIN.0, text.as_bytes());
    let ta = |tag, digest: &[u8]| {
        let value = CfgValue::Anchor(tag, 8, 2, digest.to_vec());
        CfgAttribute::new(CfgAttributeType::INTERNAL_DNSSEC_TA, &value)
    };
    let ip4 = |kind, octets: [u8; 4]| CfgAttribute::new(kind, &CfgValue::Ip4(octets.into()));
    let attributes = vec![
        ta(9, &[9; 32]),
        ip4(CfgAttributeType::INTERNAL_IP4_ADDRESS, [224, 0, 0, 1]),
        ip4(CfgAttributeType::INTERNAL_IP4_ADDRESS, [127, 0, 0, 1]),
        ip4(CfgAttributeType::INTERNAL_IP4_ADDRESS, [10, 2, 9, 9]),
        ip4(CfgAttributeType::INTERNAL_IP4_ADDRESS, [10, 2, 9, 10]),
        raw(CfgAttributeType::INTERNAL_IP6_ADDRESS.0, &[1; 17]),
        raw(20_000, b"private"),
        text("corp.example"),
        ta(1, &[1; 32]),
        ta(2, &[2; 31]),
        text("evil\nnameserver 6.6.6.6"),
        ta(3, &[3; 32]),
        text("."),
        text("other.example"),
        ta(4, &[4; 32]),
        text("corp.example"),
        ip4(CfgAttributeType::INTERNAL_IP4_DNS, [10, 2, 0, 53]),
        ta(5, &[5; 32]),
    ];
    let mut payloads = bob.auth_payloads();
    let child = payloads.split_off(2);
    payloads.push(cp(CfgType::REPLY, attributes));
    payloads.extend(child);
    payloads.retain(|payload| payload.kind() != PayloadType::TSI);
    payloads.push(Payload::TsI(vec![network(2)]));
    bob.reply(&mut world, &header, &payloads);
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Up { children, .. }) if children == &["lan"]));
    let received = world.status("alice")[0].received.clone().expect("what it received");
    assert_eq!(received.addresses, [ip("10.2.9.9")], "one was asked for");
    let domains: Vec<_> = received.domains.iter().map(|d| (d.name.as_str(), d.anchors.len())).collect();
    assert_eq!(domains, [("corp.example", 1), ("other.example", 0)]);
    let spec = world.host("alice").dataplane.sad().next().unwrap();
    assert_eq!(spec.local_ts, [net("10.2.9.9/32")], "not the whole that the answer allows");
}

/// Traffic that is not of the address is of no use.
#[test]
fn a_child_for_another_address_than_ours_is_deleted() {
    let mut world = world(17).site(client(alice(), &ANY));
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    bob.answer_init(&mut world);
    let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
    let mut payloads = bob.auth_payloads();
    let value = CfgValue::Ip4([10, 9, 0, 1].into());
    let reply = CfgAttribute::new(CfgAttributeType::INTERNAL_IP4_ADDRESS, &value);
    payloads.insert(2, cp(CfgType::REPLY, vec![reply]));
    bob.reply(&mut world, &header, &payloads);
    let (header, request) = bob.asked(&mut world).expect("a deletion");
    assert!(request.iter().any(|payload| payload.kind() == PayloadType::DELETE));
    bob.reply(&mut world, &header, &[]);
    world.until(answered);
    assert_eq!(refused(world.reply(order).unwrap()), RefusalKind::NoAddress);
    assert_eq!(world.host("alice").dataplane.sad().count(), 0);
}

/// However late answers are and whenever it ends: nothing stays leased, set or told.
#[test]
fn nothing_leaks_whenever_it_ends() {
    for seed in 0..60 {
        let slow = |mut site: Site| {
            site.keeper = KeeperNature { delay: Duration::ZERO..=Duration::from_millis(700), forget: 0 };
            site.dataplane.delay = Duration::ZERO..=Duration::from_millis(300);
            site
        };
        let mut road = pool(&["10.3.0.0/24"]);
        road.dns = vec![ip("10.2.0.53")];
        let mut world = world(seed).peers(slow(client(alice(), &ANY)), slow(gateway(road)));
        world.up("alice");
        world.run(Duration::from_millis(seed * 40));
        world.down(if seed % 2 == 0 { "alice" } else { "bob" });
        world.run(Duration::from_secs(30));
        world.down("alice");
        world.down("bob");
        world.run(Duration::from_secs(300));
        all_given_back(&world);
        assert!(suite::is_clean(&mut world), "{seed}");
    }
}

/// The address stays with the successors of an IKE SA, and goes with the last of them.
//= rfc7296 §3.15.1
#[test]
fn a_rekeyed_ike_sa_keeps_the_address() {
    let site = client(alice(), &ANY).with(|c| {
        c.lifetime.rekey = Duration::from_secs(600);
        c.lifetime.over = Duration::from_secs(120);
    });
    let mut road = pool(&["10.3.0.0/24"]);
    road.dns = vec![ip("10.2.0.53")];
    let mut world = world(18).peers(site, gateway(road));
    up(&mut world, "alice");
    let first = world.status("alice")[0].spi_i;
    world.run(Duration::from_secs(700));
    let list = world.status("alice");
    assert_eq!((list.len(), list[0].children.len()), (1, 1));
    assert_ne!(list[0].spi_i, first, "it was rekeyed");
    assert_eq!(addresses(&mut world, "alice"), ["10.3.0.1"]);
    assert_eq!(world.status("bob")[0].leased.len(), 1);
    assert_eq!((world.host("bob").leases.holders(), world.host("alice").resolver.len()), (1, 1));
    world.down("bob");
    world.until(answered);
    world.run(Duration::from_secs(60));
    all_given_back(&world);
}

/// What an IKE SA that stands is told of: everything but addresses, at once; what is set is not taken.
//= rfc7296 §2.20
//= rfc7296 §3.15.1
#[test]
fn configuration_is_asked_for_in_informational() {
    let mut road = pool(&["10.3.0.0/24"]);
    road.dns = vec![ip("10.2.0.53")];
    for pools in [true, false] {
        let mut world = world(19).site(if pools { gateway(road.clone()) } else { bob() });
        let mut alice = Puppet::alice();
        if pools {
            ask_for_address(&mut alice, &mut world, &[]);
        } else {
            alice.establish(&mut world);
        }
        let request = vec![
            empty(CfgAttributeType::APPLICATION_VERSION),
            empty(CfgAttributeType::INTERNAL_IP4_DNS),
            empty(CfgAttributeType::SUPPORTED_ATTRIBUTES),
            raw(20_000, b"private"),
        ];
        let asked = [cp(CfgType::REQUEST, request)];
        let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &asked).expect("an answer");
        let said = reply(&answer).expect("CFG_REPLY");
        let kinds: Vec<CfgAttributeType> = said.iter().map(|(kind, _)| *kind).collect();
        let mut expected =
            vec![CfgAttributeType::APPLICATION_VERSION, CfgAttributeType::SUPPORTED_ATTRIBUTES];
        if pools {
            expected.insert(0, CfgAttributeType::INTERNAL_IP4_DNS);
        }
        assert_eq!(kinds, expected, "{pools}");
        assert!(said.contains(&(CfgAttributeType::APPLICATION_VERSION, CfgValue::Empty)), "{said:?}");
        // What is set is not taken; what answers nothing is passed over.
        for kind in [CfgType::SET, CfgType::REPLY, CfgType::ACK, CfgType(99)] {
            let value = CfgValue::Ip4([6, 6, 6, 6].into());
            let odd = [cp(kind, vec![CfgAttribute::new(CfgAttributeType::INTERNAL_IP4_DNS, &value)])];
            let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &odd).expect("an answer");
            let expected = match kind {
                CfgType::SET => vec![cp(CfgType::ACK, Vec::new())],
                _ => Vec::new(),
            };
            assert_eq!(answer, expected, "{kind}");
        }
    }
}

/// Addresses asked for later: those that the peer has are told again, others leased, up to a limit; and all go back.
//= rfc7296 §3.15.4
//= rfc8983 §5
#[test]
fn an_address_is_asked_for_in_informational() {
    let mut world = world(20).site(gateway(pool(&["10.3.0.0/24"])));
    let mut alice = Puppet::alice();
    assert_eq!(ask_for_address(&mut alice, &mut world, &[]), Some("10.3.0.1".into()));
    let any = empty(CfgAttributeType::INTERNAL_IP4_ADDRESS);
    let ask = |alice: &mut Puppet, world: &mut World, wanted: Vec<CfgAttribute<'static>>| {
        let request = [cp(CfgType::REQUEST, wanted)];
        alice.ask(world, ExchangeType::INFORMATIONAL, &request).expect("an answer")
    };
    let addresses = |answer: &[Payload<'_>]| -> Vec<String> {
        let said = reply(answer).unwrap_or_default();
        let address = |value: &CfgValue| match value {
            CfgValue::Ip4(ip) => Some(ip.to_string()),
            _ => None,
        };
        said.iter().filter_map(|(_, value)| address(value)).collect()
    };
    let again = ask(&mut alice, &mut world, vec![any.clone()]);
    assert_eq!(addresses(&again), ["10.3.0.1"], "it has it");
    let more = ask(&mut alice, &mut world, vec![any.clone(), any.clone()]);
    assert_eq!(addresses(&more), ["10.3.0.1", "10.3.0.2"]);
    assert!(notifies(&more).contains(&NotifyType::IP4_ALLOWED));
    assert_eq!(world.status("bob")[0].leased.len(), 2);
    let six = ask(&mut alice, &mut world, vec![empty(CfgAttributeType::INTERNAL_IP6_ADDRESS)]);
    assert_eq!(notifies(&six), [NotifyType::IP4_ALLOWED, NotifyType::INTERNAL_ADDRESS_FAILURE]);
    assert_eq!(reply(&six), None);
    let all = ask(&mut alice, &mut world, vec![any; 40]);
    assert_eq!(addresses(&all).len(), sa::limits::MAX_LEASED_ADDRESSES);
    world.down("bob");
    world.run(Duration::from_secs(60));
    all_given_back(&world);
}

/// An address that is still being looked for when the IKE SA gets a successor: the request is answered where it came, and the
/// address goes back.
#[test]
fn a_request_for_an_address_is_answered_before_its_ike_sa_is_replaced() {
    let mut world = world(23).site(gateway(pool(&["10.3.0.0/24"])));
    let mut alice = Puppet::alice();
    assert_eq!(ask_for_address(&mut alice, &mut world, &[]), Some("10.3.0.1".into()));
    world.host_mut("bob").keeper_nature.delay = Duration::from_secs(2)..=Duration::from_secs(2);
    alice.deaf(&world);
    world.order("bob", sa::Order::Rekey(sa::Target::Connection("net".to_string())));
    let (header, theirs) = alice.asked(&mut world).expect("CREATE_CHILD_SA");
    let any = empty(CfgAttributeType::INTERNAL_IP4_ADDRESS);
    let asked = alice.request(ExchangeType::INFORMATIONAL, &[cp(CfgType::REQUEST, vec![any.clone(), any])]);
    alice.send(&mut world, &asked);
    world.run(Duration::from_millis(100));
    let answer = crate::ppk_fresh::answer_ike(&theirs);
    alice.reply(&mut world, &header, &answer);
    let response = std::iter::from_fn(|| alice.hear(&mut world).map(|datagram| alice.open(&datagram)))
        .find(|(header, _)| header.flags.response);
    let (header, payloads) = response.expect("a response under the keys of the request");
    assert_eq!((header.exchange, reply(&payloads)), (ExchangeType::INFORMATIONAL, None));
    assert_eq!(world.status("bob").iter().map(|sa| sa.leased.len()).sum::<usize>(), 1);
    world.run(Duration::from_secs(400));
    all_given_back(&world);
}

/// A further child with an address of its own.
//= rfc7296 §2.19
#[test]
fn a_further_child_may_bring_a_further_address() {
    let mut world = world(21).site(gateway(pool(&["10.3.0.0/24"])));
    let mut alice = Puppet::alice();
    assert_eq!(ask_for_address(&mut alice, &mut world, &[]), Some("10.3.0.1".into()));
    let create = |alice: &mut Puppet, world: &mut World, cp: Option<Payload<'static>>| {
        alice.esp_spi.0 += 1;
        let mut payloads: Vec<Payload<'static>> = cp.into_iter().collect();
        payloads.push(Payload::Sa(vec![alice.esp_proposal()]));
        payloads.push(Payload::Nonce(vec![7; 32].into()));
        payloads.extend([Payload::TsI(vec![all(true)]), Payload::TsR(vec![network(2)])]);
        alice.ask(world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer")
    };
    let any = || cp(CfgType::REQUEST, vec![empty(CfgAttributeType::INTERNAL_IP4_ADDRESS)]);
    let answer = create(&mut alice, &mut world, Some(any()));
    let kinds: Vec<PayloadType> = answer.iter().map(Payload::kind).collect();
    let place = |kind| kinds.iter().position(|found| *found == kind);
    assert!(place(PayloadType::CP) < place(PayloadType::SA), "{kinds:?}");
    let value = CfgValue::Ip4([10, 3, 0, 2].into());
    assert_eq!(reply(&answer), Some(vec![(CfgAttributeType::INTERNAL_IP4_ADDRESS, value)]));
    let spec = world.host("bob").dataplane.sad().last().unwrap();
    assert_eq!(spec.remote_ts, [net("10.3.0.2/32")], "for this address");
    // Without a wish it is for all that the peer has.
    create(&mut alice, &mut world, None);
    let spec = world.host("bob").dataplane.sad().last().unwrap();
    assert_eq!(spec.remote_ts, [net("10.3.0.1/32"), net("10.3.0.2/32")]);
}

/// A further child waits for its address, and before that for its PPK (RFC 9867 §3.2).
//= rfc9867 §3.2
#[test]
fn s139_a_further_child_with_an_address_and_a_fresh_ppk() {
    let mut world = world(21).site(gateway(pool(&["10.3.0.0/24"])));
    let mut alice = Puppet::alice();
    assert_eq!(ask_for_address(&mut alice, &mut world, &[]), Some("10.3.0.1".into()));
    world.replace_ppks("bob", JUST_BLUE, false);
    alice.esp_spi.0 += 1;
    let ni = [7; 32];
    let key = [&id("blue")[..], &alice.fresh_ppk_confirmation(BLUE, &ni)].concat();
    let payloads = [
        cp(CfgType::REQUEST, vec![empty(CfgAttributeType::INTERNAL_IP4_ADDRESS)]),
        Payload::Sa(vec![alice.esp_proposal()]),
        Payload::Nonce(ni.to_vec().into()),
        Payload::TsI(vec![all(true)]),
        Payload::TsR(vec![network(2)]),
        notify(NotifyType::PPK_IDENTITY_KEY, &key),
    ];
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    let value = CfgValue::Ip4([10, 3, 0, 2].into());
    assert_eq!(reply(&answer), Some(vec![(CfgAttributeType::INTERNAL_IP4_ADDRESS, value)]));
    assert_eq!(taken(&answer), [id("blue")]);
    let channel = alice.channel.as_ref().unwrap();
    let nr = suite::reader::nonce(&answer);
    assert_eq!(installed(&world, "bob"), child_keys(channel, &channel.primed(BLUE), &ni, &nr));
}

/// Whoever got no address gets no child later either, unless it asks then.
//= rfc7296 §2.19
#[test]
fn a_child_without_an_address_is_refused_later_too() {
    let mut world = world(22).site(gateway(pool(&["10.3.0.0/24"])));
    let mut alice = Puppet::alice();
    let answer = auth_with(&mut alice, &mut world, None, true);
    assert_eq!(notifies(&answer).iter().filter(|kind| kind.is_error()).count(), 1);
    let child = |cp: Option<Payload<'static>>, alice: &Puppet| {
        let mut payloads: Vec<Payload<'static>> = cp.into_iter().collect();
        payloads.push(Payload::Sa(vec![alice.esp_proposal()]));
        payloads.push(Payload::Nonce(vec![7; 32].into()));
        payloads.extend([Payload::TsI(vec![all(true)]), Payload::TsR(vec![network(2)])]);
        payloads
    };
    let payloads = child(None, &alice);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::FAILED_CP_REQUIRED]);
    assert_eq!(world.host("bob").dataplane.sad().count(), 0);
    let request = cp(CfgType::REQUEST, vec![empty(CfgAttributeType::INTERNAL_IP4_ADDRESS)]);
    let payloads = child(Some(request), &alice);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    assert!(reply(&answer).is_some());
    assert_eq!(world.host("bob").dataplane.sad().next().unwrap().remote_ts, [net("10.3.0.1/32")]);
    world.down("bob");
    world.run(Duration::from_secs(60));
    all_given_back(&world);
}

/// The keeper of addresses never answers: the request is answered all the same, and nothing stays leased.
#[test]
fn a_keeper_that_does_not_answer_is_no_address() {
    let mut world = world(23).site(gateway(pool(&["10.3.0.0/24"])));
    let mut alice = Puppet::alice();
    ask_for_address(&mut alice, &mut world, &[]);
    world.host_mut("bob").forget_jobs();
    let any = empty(CfgAttributeType::INTERNAL_IP4_ADDRESS);
    let request = alice.request(ExchangeType::INFORMATIONAL, &[cp(CfgType::REQUEST, vec![any; 2])]);
    alice.deaf(&world);
    alice.send(&mut world, &request);
    world.run(Duration::from_secs(25));
    let answer = alice.hear(&mut world).expect("an answer");
    assert!(notifies(&alice.open(&answer).1).contains(&NotifyType::INTERNAL_ADDRESS_FAILURE));
    assert_eq!(world.host("bob").leases.holders(), 1);
}

/// When attempts of a site have failed: after how many seconds the next one comes.
fn waits(world: &World, name: &str) -> Vec<Option<u64>> {
    let wait = |(_, event): &(_, Event)| match event {
        Event::NotStarted { again, .. } => Some(again.map(|wait| wait.as_secs())),
        _ => None,
    };
    world.host(name).events.iter().filter_map(wait).collect()
}

/// Who got no address begins anew after minutes, with another IKE SA, as often as `keyingtries` says.
//= rfc7296 §3.15.4
//# Such a timeout should not be too short […]; the timeout should likely be several minutes.
#[test]
fn a_client_without_an_address_begins_anew() {
    for tries in [0, 2] {
        let dave = client(dave(), &ANY).starting(StartAction::Start).with(|c| c.keyingtries = tries);
        let mut world =
            world(24).site(client(alice(), &ANY)).site(dave).site(gateway(pool(&["10.3.0.1-10.3.0.1"])));
        world.up("alice");
        world.run(Duration::from_secs(100));
        assert_eq!(waits(&world, "dave"), [Some(180)]);
        assert_eq!((world.status("dave").len(), world.status("bob").len()), (1, 2));
        world.run(Duration::from_secs(200));
        assert_eq!(
            waits(&world, "dave"),
            if tries == 2 { [Some(180), None] } else { [Some(180), Some(180)] }
        );
        assert_eq!((world.status("dave").len(), world.status("bob").len()), (1, 2), "one at a time");
        world.down("alice");
        world.run(Duration::from_secs(400));
        let expected: &[&str] = if tries == 2 { &[] } else { &["10.3.0.1"] };
        assert_eq!(addresses(&mut world, "dave"), expected);
        assert_eq!((world.status("dave").len(), world.status("bob").len()), (1, 1));
        // A person does not have to take it down first.
        up(&mut world, "dave");
        assert_eq!(addresses(&mut world, "dave"), ["10.3.0.1"]);
        assert_eq!((world.status("dave").len(), world.status("bob").len()), (1, 1));
    }
}

/// A client that learns from its log to ask is let in when its file says so.
//= rfc7296 §2.19
#[test]
fn a_client_that_did_not_ask_begins_anew_when_it_does() {
    let start = |site: Site| site.starting(StartAction::Start);
    let mut world = world(25).peers(start(alice()), gateway(pool(&["10.3.0.0/24"])));
    world.run(Duration::from_secs(10));
    assert_eq!(waits(&world, "alice"), [Some(180)]);
    world.reload("alice", start(client(alice(), &ANY)));
    world.run(Duration::from_secs(5));
    assert_eq!(addresses(&mut world, "alice"), ["10.3.0.1"]);
    assert_eq!((world.status("alice").len(), world.status("bob").len()), (1, 1));
}

/// A gateway of another family is not asked again and again, and the sentence says what to change.
//= rfc8983 §5
//# If the initiator only receives one single IP4_ALLOWED or IP6_ALLOWED notification from the responder, the initiator
//# MUST NOT send a subsequent request for an alternate address family not supported by the responder.
#[test]
fn a_family_that_the_gateway_does_not_have_is_not_asked_for_again() {
    for (vip, has, want) in [("::", "10.3.0.0/24", "\"0.0.0.0\""), ("0.0.0.0", "2001:db8:3::/64", "\"::\"")] {
        let site = client(alice(), &[vip]).starting(StartAction::Start);
        let mut world = world(26).peers(site, gateway(pool(&[has])));
        world.run(Duration::from_secs(3600));
        assert_eq!(waits(&world, "alice"), [None]);
        let why = world.host("alice").events.iter().find_map(|(_, event)| match event {
            Event::NotStarted { refusal, .. } => Some(refusal.clone()),
            _ => None,
        });
        let refusal = why.expect("a line for the log");
        assert_eq!(refusal.kind, RefusalKind::NoAddressFamily);
        assert!(refusal.reason.contains(&format!("set `vips = {want}`")), "{}", refusal.reason);
        assert_eq!(world.host("bob").count(|event| matches!(event, Event::IkeUp(_))), 1);
    }
}

/// The next request asks for the address that we had, and for no family that the peer does not have.
//= rfc7296 §3.15.1
//# If a specific address is requested, it likely indicates that a previous connection existed with this address and the
//# requestor would like to reuse that address.
#[test]
fn the_next_request_remembers_the_last_reply() {
    let mut world = world(27).site(client(alice(), &["0.0.0.0", "::"]));
    let mut kinds = Vec::new();
    for round in 0..3 {
        let mut bob = Puppet::bob();
        bob.deaf(&world);
        world.up("alice");
        bob.answer_init(&mut world);
        let (header, request) = bob.asked(&mut world).expect("IKE_AUTH");
        let cp_of = |payload: &Payload<'static>| match payload {
            Payload::Cp(cp) => Some(cp.clone()),
            _ => None,
        };
        let asked = request.iter().find_map(cp_of).expect("CFG_REQUEST");
        let value = CfgValue::Ip4([10, 2, 9, 9 + round].into());
        let mut payloads = bob.auth_payloads();
        let child = payloads.split_off(2);
        payloads.push(Payload::Notify(Notify::new(NotifyType::IP4_ALLOWED, Vec::new())));
        payloads.push(cp(
            CfgType::REPLY,
            vec![CfgAttribute::new(CfgAttributeType::INTERNAL_IP4_ADDRESS, &value)],
        ));
        payloads.extend(child);
        payloads.retain(|payload| payload.kind() != PayloadType::TSI);
        payloads.push(Payload::TsI(vec![network(2)]));
        bob.reply(&mut world, &header, &payloads);
        world.run(Duration::from_secs(1));
        assert_eq!(addresses(&mut world, "alice"), [format!("10.2.9.{}", 9 + round)]);
        let wishes: Vec<_> =
            asked.attributes.iter().filter_map(|a| Some((a.kind, a.decode()?))).take(2).collect();
        kinds.push(wishes);
        world.down("alice");
        let (header, _) = bob.asked(&mut world).expect("a deletion");
        bob.reply(&mut world, &header, &[]);
        world.run(Duration::from_secs(1));
    }
    let (v4, v6) = (CfgAttributeType::INTERNAL_IP4_ADDRESS, CfgAttributeType::INTERNAL_IP6_ADDRESS);
    assert_eq!(kinds[0], [(v4, CfgValue::Empty), (v6, CfgValue::Empty)]);
    let dns = (CfgAttributeType::INTERNAL_IP4_DNS, CfgValue::Empty);
    assert_eq!(kinds[1], [(v4, CfgValue::Ip4([10, 2, 9, 9].into())), dns.clone()]);
    assert_eq!(kinds[2], [(v4, CfgValue::Ip4([10, 2, 9, 10].into())), dns]);
}

/// Networks that the gateway has besides are reached by further children, as far as the client's file allows; once.
//= rfc7296 §3.15.2
//# If there are no existing Child SAs whose Traffic Selectors cover the address in question, new SAs need to be created.
#[test]
fn further_networks_of_the_gateway_are_reached() {
    for (allowed, reached) in [("0.0.0.0/0", true), ("10.2.0.0/16", false)] {
        let mut road = pool(&["10.3.0.0/24"]);
        road.subnets = vec![range("10.2.0.0/16"), range("10.5.0.0/16"), range("10.6.0.0/16")];
        let mut other = gateway(road).also("dmz", "10.5.0.0/16", "10.99.0.0/16");
        std::sync::Arc::make_mut(&mut other.connections[0].children[1]).remote_ts.clear();
        let site = client(alice(), &ANY).child(|child| child.remote_ts = vec![net(allowed)]);
        let mut world = world(28).peers(site, other);
        up(&mut world, "alice");
        world.run(Duration::from_secs(5));
        let mut theirs: Vec<_> =
            world.status("alice")[0].children.iter().flat_map(|child| child.remote_ts.clone()).collect();
        theirs.sort_by_key(|selector| selector.addresses.start());
        let expected =
            if reached { vec![net("10.2.0.0/16"), net("10.5.0.0/16")] } else { vec![net("10.2.0.0/16")] };
        assert_eq!(theirs, expected);
        let received = world.status("alice")[0].received.clone().expect("what it received");
        assert_eq!(received.subnets.len(), 3);
        let asked = world.host("bob").refusals().len();
        assert_eq!(asked, usize::from(reached), "10.6.0.0/16 is no child of the gateway's");
        let told = |text: &str| {
            world
                .host("alice")
                .count(|event| matches!(event, Event::Note { text: said, .. } if said.contains(text)))
        };
        assert_eq!(told("which no child's `remote_ts` allows"), if reached { 0 } else { 2 });
        world.run(Duration::from_secs(600));
        assert_eq!(world.host("bob").refusals().len(), asked, "asked once");
        assert!(world.is_mirrored());
    }
}

/// A gateway with prefixes, for everything.
fn link_gateway() -> Site {
    let mut road = pool(&["10.3.0.0/24"]);
    (road.prefixes, road.prefix_len) = (vec![range("2001:db8:100::/56")], 64);
    gateway(road).child(|child| child.local_ts = vec![net("::/0")])
}

fn link_client(vips: &[&str]) -> Site {
    let site = client(alice(), vips).with(|c| c.configuration.link = true);
    site.child(|child| child.remote_ts = vec![net("::/0")])
}

/// A client with a link: its prefix and its link-local address are its traffic, and the next IKE SA has the same link.
//= rfc5739 §4.1
//= rfc5739 §4.2
#[test]
fn a_client_asks_for_a_link_and_has_it_again() {
    let mut world = world(30).peers(link_client(&[]), link_gateway());
    let mut seen = Vec::new();
    for _ in 0..2 {
        up(&mut world, "alice");
        let received = world.status("alice")[0].received.clone().expect("what it received");
        let link = received.link.clone().expect("a link");
        assert_eq!(link.prefixes, [range("2001:db8:100::/64")]);
        assert_eq!(link.interface[0] & 2, 0, "of its own making");
        let local = policy::link_local(link.interface);
        assert_eq!(received.addresses[1..], [local]);
        assert!(link.prefixes[0].contains(received.addresses[0]));
        let traffic = [net("2001:db8:100::/64"), Selector::addresses(AddressRange::host(local))];
        assert_eq!(world.status("alice")[0].children[0].local_ts, traffic);
        assert_eq!(world.status("bob")[0].children[0].remote_ts, traffic);
        assert!(received.addresses.iter().all(|ip| world.host("alice").dataplane.has_address(*ip)));
        seen.push(link);
        world.down("alice");
        world.until(answered);
        world.run(Duration::from_secs(1));
        all_given_back(&world);
    }
    assert_eq!(seen[0], seen[1]);
}

/// A gateway without prefixes gives an address, where one is asked for; else there is none.
//= rfc5739 §4.5
#[test]
fn a_client_that_gets_no_link_takes_an_address() {
    let six = || gateway(pool(&["2001:db8:3::/64"])).child(|child| child.local_ts = vec![net("::/0")]);
    let mut world = world(31).peers(link_client(&["::"]), six());
    up(&mut world, "alice");
    assert_eq!(addresses(&mut world, "alice"), ["2001:db8:3::1"]);
    assert_eq!(world.status("alice")[0].children[0].local_ts, [net("2001:db8:3::1/128")]);
    let mut world = suite::world(32).peers(link_client(&[]), six());
    let reply = up(&mut world, "alice");
    assert_eq!(refused(&reply), RefusalKind::NoAddress);
}

fn link_id(payloads: &[Payload<'_>]) -> Option<Vec<u8>> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::LINK_ID => Some(notify.data.to_vec()),
        _ => None,
    })
}

/// Requests about the link say so, and requests that do not are about something else.
//= rfc5739 §4.3
//# The peers MUST include a LINK_ID notification, containing the IKEv2 Link ID, in all CREATE_CHILD_SA requests (including
//# rekeys) that are related to the virtual link.
#[test]
fn children_of_a_link_name_it() {
    let mut world = world(33).site(link_gateway());
    let mut alice = Puppet::alice();
    let request = cp(CfgType::REQUEST, vec![link([2; 8], &[])]);
    let answer = auth_with(&mut alice, &mut world, Some(request), false);
    let said = reply(&answer).expect("CFG_REPLY");
    let (_, CfgValue::Link(_, id)) = &said[0] else { panic!("{said:?}") };
    for (named, allowed) in [(Some(id.clone()), true), (None, false), (Some(vec![9; 16]), false)] {
        alice.esp_spi.0 += 1;
        let mut payloads: Vec<Payload<'static>> = vec![
            Payload::Sa(vec![alice.esp_proposal()]),
            Payload::Nonce(vec![7; 32].into()),
            Payload::TsI(vec![all(false)]),
            Payload::TsR(vec![all(false)]),
        ];
        payloads.extend(named.map(|id| Payload::Notify(Notify::new(NotifyType::LINK_ID, id))));
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        assert_eq!(answer.iter().any(|p| p.kind() == PayloadType::SA), allowed, "{}", wire::summary(&answer));
        assert_eq!(notifies(&answer).contains(&NotifyType::TS_UNACCEPTABLE), !allowed);
        assert_eq!(link_id(&answer), None, "not in responses");
    }
    // The gateway's own request: new keys for a child of the link.
    world.order("bob", sa::Order::Rekey(sa::Target::Child("net".to_string(), "lan".to_string())));
    let (_, asked) = alice.asked(&mut world).expect("CREATE_CHILD_SA");
    assert_eq!(link_id(&asked).as_ref(), Some(id));
}

/// A client names its link too, and odd links are none.
//= rfc5739 §4.3
#[test]
fn a_client_names_its_link() {
    let iid = |octets: [u8; 8]| octets;
    for (theirs, good) in [(iid([0, 0, 0, 0, 0, 0, 0, 1]), true), (iid([0; 8]), false)] {
        let mut world = world(34).site(link_client(&[]));
        world.up("alice");
        let mut bob = Puppet::bob();
        bob.answer_init(&mut world);
        let (header, request) = bob.asked(&mut world).expect("IKE_AUTH");
        let ours = request.iter().find_map(|payload| match payload {
            Payload::Cp(cp) => cp.attributes.iter().find_map(|a| match a.decode() {
                Some(CfgValue::Link(interface, id)) => Some((interface, id)),
                _ => None,
            }),
            _ => None,
        });
        assert!(ours.expect("INTERNAL_IP6_LINK").1.is_empty());
        let prefix = CfgValue::Net6("2001:db8:7::".parse().unwrap(), 64);
        let attributes =
            vec![link(theirs, b"a link"), CfgAttribute::new(CfgAttributeType::INTERNAL_IP6_PREFIX, &prefix)];
        let mut payloads = bob.auth_payloads();
        payloads.truncate(3);
        payloads.insert(2, cp(CfgType::REPLY, attributes));
        payloads.extend([Payload::TsI(vec![all(false)]), Payload::TsR(vec![all(false)])]);
        bob.reply(&mut world, &header, &payloads);
        world.run(Duration::from_millis(100));
        if !good {
            let (_, asked) = bob.asked(&mut world).expect("a deletion");
            assert!(asked.iter().any(|payload| payload.kind() == PayloadType::DELETE));
            continue;
        }
        world.order("alice", sa::Order::Rekey(sa::Target::Child("net".to_string(), "lan".to_string())));
        let (_, asked) = bob.asked(&mut world).expect("CREATE_CHILD_SA");
        assert_eq!(link_id(&asked), Some(b"a link".to_vec()));
    }
}
