//! Traffic selectors: disjoint, narrowed, widened.

use dataplane::Selector;
use sa::{Event, Order, RefusalKind, Reply, Target};
use sim::established;
use sim::site::{ip, net};
use suite::puppet::network;
use suite::{Puppet, World, alice, answered, bob, holdings, notifies, world};
use wire::num::{ExchangeType, NotifyType, PayloadType, ProtocolId, TsType};
use wire::{AddressRange, IpSelector, Notify, Payload, TrafficSelector};

/// The IKE SA outlives its first child.
//= rfc7296 §2.9
//= rfc7296 §1.3.1
#[test]
fn s021_disjoint_selectors_refuse_the_child_and_leave_the_ike_sa() {
    let mut world = world(1).peers(alice(), bob().child(|child| child.local_ts = vec![net("172.16.0.0/12")]));
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Up { children, refused, .. }) => {
            assert!(children.is_empty());
            assert_eq!((refused[0].0.as_str(), refused[0].1.kind), ("lan", RefusalKind::TsUnacceptable));
            assert!(refused[0].1.reason.contains("10.2.0.0/16"), "{}", refused[0].1.reason);
        }
        other => panic!("{other:?}"),
    }
    let refusals = world.host("bob").refusals();
    assert!(refusals[0].reason.contains("172.16.0.0/12"), "{}", refusals[0].reason);
    for name in ["alice", "bob"] {
        let list = world.status(name);
        assert_eq!((list.len(), list[0].state, list[0].children.len()), (1, "established", 0), "{name}");
    }
}

//= rfc7296 §2.9
#[test]
fn s060_a_responder_narrows_to_what_both_want() {
    let mut world = world(2).peers(alice(), bob().child(|child| child.local_ts = vec![net("10.2.64.0/18")]));
    world.up("alice");
    world.until(established);
    assert_eq!(world.status("alice")[0].children[0].remote_ts, [net("10.2.64.0/18")]);
    assert_eq!(world.status("bob")[0].children[0].local_ts, [net("10.2.64.0/18")]);
}

#[test]
fn s060_several_selectors_of_both_families_protocols_and_ports_pass_narrowing() {
    let many = vec![
        net("10.1.0.0/16"),
        net("2001:db8:1::/48"),
        dataplane::Selector { protocol: 6, start_port: 80, end_port: 443, ..net("172.20.0.0/16") },
    ];
    let fewer = vec![
        net("2001:db8:1:4::/64"),
        dataplane::Selector { protocol: 6, start_port: 443, end_port: 443, ..net("172.20.0.0/16") },
    ];
    let (ours, theirs) = (many.clone(), fewer.clone());
    let mut world = world(3).peers(
        alice().child(move |child| {
            child.local_ts = ours;
            child.remote_ts.push(net("2001:db8:2::/48"));
        }),
        bob().child(move |child| {
            child.remote_ts = theirs;
            child.local_ts.push(net("2001:db8:2::/48"));
        }),
    );
    world.up("alice");
    world.until(established);
    let mut local = world.status("alice")[0].children[0].local_ts.clone();
    local.sort_by_key(ToString::to_string);
    let mut wanted = fewer;
    wanted.sort_by_key(ToString::to_string);
    assert_eq!(local, wanted);
}

/// A responder may narrow, never widen: what it was not asked for is not installed.
//= rfc7296 §2.9
#[test]
fn a_responder_that_widens_gets_no_child() {
    let all = TrafficSelector::Ip(IpSelector::any(AddressRange::V4([0, 0, 0, 0].into(), [255; 4].into())));
    for widened in [all, network(9)] {
        let mut world = world(4).site(alice());
        let order = world.up("alice");
        let mut bob = Puppet::bob();
        bob.answer_init(&mut world);
        let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
        let mut payloads = bob.auth_payloads();
        payloads.pop();
        payloads.push(Payload::TsR(vec![network(2), widened]));
        bob.reply(&mut world, &header, &payloads);
        while let Some((header, _)) = bob.asked(&mut world) {
            bob.reply(&mut world, &header, &[]);
        }
        world.until(answered);
        assert_eq!(world.host("alice").dataplane.sad().count(), 0);
        match world.reply(order) {
            Some(Reply::Refused(refusal)) => assert!(!refusal.reason.is_empty()),
            Some(Reply::Up { children, refused, .. }) => assert!(children.is_empty() && refused.len() == 1),
            other => panic!("{other:?}"),
        }
    }
}

/// A child without TSi and TSr, or with empty ones, is no child (CVE-2009-1957).
#[test]
fn missing_selectors_are_refused() {
    for without in ["TSi", "TSr"] {
        let mut world = world(5).site(bob());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut payloads = alice.auth_payloads();
        payloads.retain(|payload| payload.kind().name() != Some(without));
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        let said = notifies(&answer);
        let right = [NotifyType::INVALID_SYNTAX, NotifyType::TS_UNACCEPTABLE];
        assert!(said.iter().any(|kind| right.contains(kind)), "{without}: {said:?}");
        assert_eq!(world.host("bob").dataplane.sad().count(), 0);
    }
}

/// `10.1.0.0/16` with protocol and ports.
fn with_ports(prefix: &str, protocol: u8, start_port: u16, end_port: u16) -> Selector {
    Selector { protocol, start_port, end_port, ..net(prefix) }
}

/// A selector as it goes into a payload.
fn ts(selector: Selector) -> TrafficSelector<'static> {
    let addresses = AddressRange::new(selector.addresses.start(), selector.addresses.end()).unwrap();
    let Selector { protocol, start_port, end_port, .. } = selector;
    TrafficSelector::Ip(IpSelector { protocol, start_port, end_port, addresses })
}

fn list(selectors: &[Selector]) -> Vec<TrafficSelector<'static>> {
    selectors.iter().copied().map(ts).collect()
}

/// The selectors of an answer, TSi and TSr.
fn answered_ts(
    payloads: &[Payload<'static>],
) -> (Vec<TrafficSelector<'static>>, Vec<TrafficSelector<'static>>) {
    let mut both = (Vec::new(), Vec::new());
    for payload in payloads {
        match payload {
            Payload::TsI(list) => both.0.clone_from(list),
            Payload::TsR(list) => both.1.clone_from(list),
            _ => {}
        }
    }
    both
}

/// What bob answers in IKE_AUTH to these selectors, with the world in which he did.
fn asked_of(site: sim::Site, ts_i: &[Selector], ts_r: &[Selector]) -> (World, Puppet, Vec<Payload<'static>>) {
    let mut world = world(20).site(site);
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let mut payloads = alice.auth_payloads();
    payloads.truncate(3);
    payloads.extend([Payload::TsI(list(ts_i)), Payload::TsR(list(ts_r))]);
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    (world, alice, answer)
}

/// The packet that wants the child comes first, and is in the result, whichever child that leads to.
//= rfc7296 §2.9
#[test]
fn s061_the_packets_own_selectors_decide() {
    let packet = (with_ports("10.1.0.7/32", 6, 40_000, 40_000), with_ports("10.2.9.9/32", 6, 443, 443));
    let site = || {
        bob().child(|child| child.local_ts = vec![net("10.2.1.0/24")]).also(
            "dmz",
            "10.2.9.0/24",
            "10.1.0.0/16",
        )
    };
    let (world, _, answer) =
        asked_of(site(), &[packet.0, net("10.1.0.0/16")], &[packet.1, net("10.2.0.0/16")]);
    assert_eq!(answered_ts(&answer), (list(&[net("10.1.0.0/16")]), list(&[net("10.2.9.0/24")])));
    // The first child would take some of the rest, in an SA of its own.
    assert!(notifies(&answer).contains(&NotifyType::ADDITIONAL_TS_POSSIBLE), "{}", wire::summary(&answer));
    assert_eq!(
        world.host("bob").dataplane.sad().next().map(|spec| spec.name.clone()),
        Some("dmz".to_string())
    );
    // Without it the order of the file decides.
    let (_, _, answer) = asked_of(site(), &[net("10.1.0.0/16")], &[net("10.2.0.0/16")]);
    assert_eq!(answered_ts(&answer).1, list(&[net("10.2.1.0/24")]));
    // What is taken whole leaves nothing to another SA.
    let (_, _, answer) = asked_of(site(), &[net("10.1.0.0/16")], &[net("10.2.9.0/24")]);
    assert!(!notifies(&answer).contains(&NotifyType::ADDITIONAL_TS_POSSIBLE));
    // A packet's selectors that nobody wants do not keep the rest out.
    let stray = with_ports("172.16.0.1/32", 17, 53, 53);
    let (_, _, answer) = asked_of(site(), &[net("10.1.0.0/16")], &[stray, net("10.2.0.0/16")]);
    assert_eq!(answered_ts(&answer).1, list(&[net("10.2.1.0/24")]));
}

/// The initiator hears that more is possible, and goes on with what it has.
//= rfc7296 §2.9
#[test]
fn additional_selectors_that_are_possible_are_told() {
    let mut world = world(21).peers(
        alice(),
        bob().child(|child| child.local_ts = vec![net("10.2.1.0/24")]).also(
            "dmz",
            "10.2.9.0/24",
            "10.1.0.0/16",
        ),
    );
    world.up("alice");
    world.until(established);
    assert_eq!(world.status("alice")[0].children[0].remote_ts, [net("10.2.1.0/24")]);
    let told =
        |event: &Event| matches!(event, Event::Note { text, .. } if text.contains("further child SAs"));
    assert_eq!(world.host("alice").count(told), 1);
}

/// A policy of single pairs: ranges without a pair before them are refused, a pair is taken, and the rest said to be
/// possible.
//= rfc7296 §2.9
#[test]
fn single_pairs_are_demanded_and_given() {
    let site = || bob().child(|child| child.single_pair = true);
    let (mut world, mut alice, answer) = asked_of(site(), &[net("10.1.0.0/16")], &[net("10.2.0.0/16")]);
    assert!(notifies(&answer).contains(&NotifyType::SINGLE_PAIR_REQUIRED), "{}", wire::summary(&answer));
    assert_eq!(world.status("bob")[0].children.len(), 0, "the IKE SA stands without a child");
    let refusals = world.host("bob").refusals();
    assert!(refusals[0].reason.contains("single pairs"), "{}", refusals[0].reason);
    // The same in CREATE_CHILD_SA.
    let proposal = || {
        Payload::Sa(vec![wire::Proposal { spi: vec![9, 9, 9, 9].into(), ..Puppet::alice().esp_proposal() }])
    };
    let create = |ts_i: &[Selector], ts_r: &[Selector]| {
        let nonce = Payload::Nonce(vec![5; 32].into());
        [proposal(), nonce, Payload::TsI(list(ts_i)), Payload::TsR(list(ts_r))]
    };
    let ranges = create(&[net("10.1.0.0/16")], &[net("10.2.0.0/16")]);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &ranges).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::SINGLE_PAIR_REQUIRED]);
    // One address on one side only is no pair.
    let half = create(&[net("10.1.0.7/32")], &[net("10.2.0.0/16")]);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &half).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::SINGLE_PAIR_REQUIRED]);
    let pair = create(
        &[with_ports("10.1.0.7/32", 6, 7, 7), net("10.1.0.0/16")],
        &[net("10.2.0.9/32"), net("10.2.0.0/16")],
    );
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &pair).expect("an answer");
    assert_eq!(answered_ts(&answer), (list(&[net("10.1.0.7/32")]), list(&[net("10.2.0.9/32")])));
    assert!(notifies(&answer).contains(&NotifyType::ADDITIONAL_TS_POSSIBLE));
    // Outside of the policy it is no question of pairs.
    let strange = create(&[net("172.16.0.0/12")], &[net("10.2.0.0/16")]);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &strange).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::TS_UNACCEPTABLE]);
}

/// Without a packet there is nothing to ask for instead: the person is told what to do.
#[test]
fn a_demand_for_single_pairs_is_explained() {
    let mut world = world(22).peers(alice(), bob().child(|child| child.single_pair = true));
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Up { refused, .. }) => {
            assert_eq!(refused[0].1.kind, RefusalKind::TsUnacceptable);
            assert!(refused[0].1.reason.contains("single_pair = true"), "{}", refused[0].1.reason);
        }
        other => panic!("{other:?}"),
    }
}

/// A site whose packets start its child, and what such a packet wants.
fn trapping() -> (sim::Site, (Selector, Selector)) {
    let site = alice().starting(policy::StartAction::Trap);
    (site, (with_ports("10.1.0.7/32", 17, 7, 7), with_ports("10.2.0.9/32", 17, 7, 7)))
}

/// The selectors of a request, first those of its sender.
fn proposed_ts(request: &[Payload<'static>]) -> [Vec<TrafficSelector<'static>>; 2] {
    let find = |wanted| {
        request.iter().find_map(|payload| match payload {
            Payload::TsI(ts) | Payload::TsR(ts) if payload.kind() == wanted => Some(ts.clone()),
            _ => None,
        })
    };
    [PayloadType::TSI, PayloadType::TSR].map(|kind| find(kind).expect("selectors"))
}

/// A peer that takes single pairs only, in IKE_AUTH or in CREATE_CHILD_SA, is asked for the pair of the packet, once; one
/// that refuses that too is not asked in a loop.
//= rfc7296 §2.9
//# The requestor is expected to respond by requesting an SA for only the specific traffic it is trying to forward.
#[test]
fn a_demand_for_a_single_pair_is_met_with_that_of_the_packet() {
    let single = || Payload::Notify(Notify::new(NotifyType::SINGLE_PAIR_REQUIRED, Vec::new()));
    for (in_auth, agrees) in [(true, true), (true, false), (false, true)] {
        let (site, packet) = trapping();
        let mut world = world(28).site(site);
        world.run(std::time::Duration::from_secs(1));
        let trap = world.host("alice").dataplane.traps().next().expect("a trap").id;
        world.dataplane_event("alice", dataplane::DataplaneEvent::Acquire { id: trap, packet });
        let mut bob = Puppet::bob();
        bob.answer_init(&mut world);
        let (header, request) = bob.asked(&mut world).expect("IKE_AUTH");
        assert_eq!(proposed_ts(&request).map(|ts| ts.len()), [2, 2], "the packet's, and the network's");
        let mut answer = bob.auth_payloads();
        answer.truncate(2);
        answer.push(match in_auth {
            true => single(),
            // Something that passes: it is asked for again in CREATE_CHILD_SA.
            false => Payload::Notify(Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new())),
        });
        bob.reply(&mut world, &header, &answer);
        if !in_auth {
            world.run(std::time::Duration::from_secs(10));
            let (header, request) = bob.asked(&mut world).expect("CREATE_CHILD_SA");
            assert_eq!(proposed_ts(&request).map(|ts| ts.len()), [2, 2]);
            bob.reply(&mut world, &header, &[single()]);
        }
        let (header, request) = bob.asked(&mut world).expect("the pair");
        assert_eq!(header.exchange, ExchangeType::CREATE_CHILD_SA);
        // The packet's own selectors, then all that its two addresses exchange.
        let hosts = (net("10.1.0.7/32"), net("10.2.0.9/32"));
        assert_eq!(proposed_ts(&request), [list(&[packet.0, hosts.0]), list(&[packet.1, hosts.1])]);
        let proposal = Payload::Sa(vec![bob.esp_proposal()]);
        let [ts_i, ts_r] = [hosts.0, hosts.1].map(|host| list(&[host]));
        let answer = match agrees {
            true => {
                vec![proposal, Payload::Nonce(vec![5; 32].into()), Payload::TsI(ts_i), Payload::TsR(ts_r)]
            }
            false => vec![single()],
        };
        bob.reply(&mut world, &header, &answer);
        world.run(std::time::Duration::from_secs(1));
        let spec = world.host("alice").dataplane.sad().next();
        let carried = spec.map(|spec| (spec.local_ts.clone(), spec.remote_ts.clone()));
        assert_eq!(carried, agrees.then(|| (vec![hosts.0], vec![hosts.1])));
        assert!(bob.asked(&mut world).is_none(), "no more is asked for now");
    }
}

/// Each pair of addresses gets a child SA of its own, as its packets come, and none of them is lost.
//= rfc7296 §2.9
#[test]
fn each_pair_of_addresses_gets_a_child_of_its_own() {
    let single = |site: sim::Site| site.child(|child| child.single_pair = true);
    let mut world = world(29).peers(single(trapping().0), single(bob()));
    world.run(std::time::Duration::from_secs(1));
    for host in 1..=4 {
        let flow = sim::Flow::udp(ip(&format!("10.1.0.{host}")), ip("10.2.0.9"));
        world.ping("alice", flow, std::time::Duration::from_millis(300));
        world.run(std::time::Duration::from_secs(5));
    }
    world.traffic_stops();
    world.traffic_lands();
    let traffic = &world.traffic;
    assert!(traffic.sent > 100 && traffic.arrived == traffic.sent, "{traffic:?}");
    let pairs: Vec<_> = world.host("alice").dataplane.sad().map(|spec| spec.local_ts.clone()).collect();
    assert_eq!(pairs.len(), 4, "{pairs:?}");
    assert!(
        pairs.iter().all(|ts| ts.len() == 1 && ts[0].addresses.start() == ts[0].addresses.end()),
        "{pairs:?}"
    );
    assert_eq!(world.status("alice").len(), 1);
    assert!(world.is_mirrored());
}

/// Types of ICMP with their codes, ports that cannot be seen, ranges, and any: they are on the wire as RFC 7296 §3.13.1
/// draws them, and come back as they were.
//= rfc7296 §3.13.1
#[test]
fn s064_protocols_and_ports_octet_for_octet() {
    let (here, there) = ("10.1.0.0/16", "10.2.0.0/16");
    let cases: [(u8, u16, u16, [u8; 4]); 8] = [
        (0, 0, 65_535, [0, 0, 0xff, 0xff]),
        (6, 443, 443, [0x01, 0xbb, 0x01, 0xbb]),
        (17, 1024, 2047, [0x04, 0x00, 0x07, 0xff]),
        // Echo request, its one code; destination unreachable, every code; types 8 to 13.
        (1, 0x0800, 0x0800, [8, 0, 8, 0]),
        (1, 0x0300, 0x03ff, [3, 0, 3, 255]),
        (1, 0x0800, 0x0dff, [8, 0, 13, 255]),
        // Mobility headers by their type.
        (135, 0x0500, 0x0500, [5, 0, 5, 0]),
        // OPAQUE.
        (6, 65_535, 0, [0xff, 0xff, 0, 0]),
    ];
    for (protocol, start_port, end_port, octets) in cases {
        let side = |prefix: &str| with_ports(prefix, protocol, start_port, end_port);
        let site = bob().child(|child| {
            child.local_ts = vec![side(there)];
            child.remote_ts = vec![side(here)];
        });
        // Asked for everything, bob narrows to just that.
        for ask in [[net(here), net(there)], [side(here), side(there)]] {
            let (world, alice, _) = asked_of(
                bob()
                    .child(|child| (child.local_ts, child.remote_ts) = (vec![side(there)], vec![side(here)])),
                &ask[..1],
                &ask[1..],
            );
            let channel = alice.channel.as_ref().unwrap();
            let opened = channel.open(world.wire.last().unwrap().1.message()).unwrap();
            for third in [1, 2] {
                let range = [10, third, 0, 0, 10, third, 255, 255];
                let wanted = [&[7, protocol, 0, 16][..], &octets, &range].concat();
                let there = opened.inner.windows(16).filter(|window| **window == wanted[..]).count();
                assert_eq!(there, 1, "{protocol} {start_port}-{end_port}");
            }
            let spec = world.host("bob").dataplane.sad().next().expect("a child");
            assert_eq!((&spec.local_ts, &spec.remote_ts), (&vec![side(there)], &vec![side(here)]));
        }
        // And as an initiator.
        let mut world = world(23).peers(
            alice().child(|child| {
                child.local_ts = vec![side(here)];
                child.remote_ts = vec![side(there)];
            }),
            site,
        );
        world.up("alice");
        world.until(established);
        assert_eq!(world.status("alice")[0].children[0].local_ts, [side(here)]);
    }
}

/// OPAQUE is not ANY and no range of ports, and the other way round; a type without code is none of another type.
#[test]
fn s064_ports_that_have_nothing_in_common_are_refused() {
    for (offered, wanted) in [
        ((6, 65_535, 0), (6, 0, 1023)),
        ((6, 80, 80), (6, 65_535, 0)),
        ((1, 0x0800, 0x08ff), (1, 0x0000, 0x00ff)),
        ((1, 0x0800, 0x0800), (58, 0x0800, 0x0800)),
        ((6, 80, 80), (17, 80, 80)),
    ] {
        let side = |prefix, (protocol, start, end)| with_ports(prefix, protocol, start, end);
        let site = bob().child(|child| child.local_ts = vec![side("10.2.0.0/16", wanted)]);
        let (_, _, answer) = asked_of(site, &[net("10.1.0.0/16")], &[side("10.2.0.0/16", offered)]);
        assert!(notifies(&answer).contains(&NotifyType::TS_UNACCEPTABLE), "{offered:?} {wanted:?}");
    }
}

/// Several networks in one child, and each in a child of its own.
#[test]
fn s065_several_networks_in_one_child_and_in_one_each() {
    let networks = [
        ("10.1.0.0/24", "10.2.0.0/24"),
        ("10.1.8.0/24", "10.2.8.0/24"),
        ("2001:db8:1::/48", "2001:db8:2::/48"),
    ];
    let together = |site: sim::Site, turn: bool| {
        site.child(|child| {
            let side = |which: bool| networks.map(|(a, b)| net(if which { b } else { a })).to_vec();
            (child.local_ts, child.remote_ts) = (side(turn), side(!turn));
        })
    };
    let mut world = suite::world(24).peers(together(alice(), false), together(bob(), true));
    world.up("alice");
    world.until(established);
    let one = world.status("alice")[0].children.clone();
    assert_eq!((one.len(), one[0].local_ts.len(), one[0].remote_ts.len()), (1, 3, 3));

    let apart = |site: sim::Site, turn: bool| {
        let side = |(a, b), which: bool| if which { b } else { a };
        let first = site.child(|child| {
            child.local_ts = vec![net(side(networks[0], turn))];
            child.remote_ts = vec![net(side(networks[0], !turn))];
        });
        networks[1..].iter().enumerate().fold(first, |site, (n, pair)| {
            site.also(&format!("net{n}"), side(*pair, turn), side(*pair, !turn))
        })
    };
    let mut world = suite::world(25).peers(apart(alice(), false), apart(bob(), true));
    let order = world.up("alice");
    world.until(answered);
    assert!(
        matches!(world.reply(order), Some(Reply::Up { children, refused, .. }) if children.len() == 3 && refused.is_empty())
    );
    let each = world.status("bob")[0].children.clone();
    assert!(each.iter().all(|child| child.local_ts.len() == 1 && child.remote_ts.len() == 1));
    assert!(world.is_mirrored());
}

/// Children over overlapping traffic stand side by side; each has its own.
#[test]
fn overlapping_children_are_told_apart_by_what_is_asked_for() {
    let site = bob().also("host", "10.2.0.9/32", "10.1.0.0/16");
    let mut world = world(26).site(site);
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    let mut proposal = alice.esp_proposal();
    proposal.spi = vec![9, 9, 9, 9].into();
    let ask = [
        Payload::Sa(vec![proposal]),
        Payload::Nonce(vec![5; 32].into()),
        Payload::TsI(list(&[net("10.1.0.0/16")])),
        Payload::TsR(list(&[net("10.2.0.9/32")])),
    ];
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &ask).expect("an answer");
    assert_eq!(answered_ts(&answer).1, list(&[net("10.2.0.9/32")]));
    let mut names: Vec<String> = world.host("bob").dataplane.sad().map(|spec| spec.name.clone()).collect();
    names.sort();
    // Both children of the file take it whole; the first of them does.
    assert_eq!(names, ["lan", "lan"]);
}

/// A type of selector that nobody knows is not in the answer, and alone it is nothing.
//= rfc7296 §2.9
//# If the type of Traffic Selector proposed is unknown, the responder ignores that Traffic Selector, so that the unknown
//# type is not returned in the narrowed set.
#[test]
fn selectors_of_an_unknown_type_are_ignored() {
    for alone in [false, true] {
        let mut world = world(27).site(bob());
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut payloads = alice.auth_payloads();
        payloads.truncate(3);
        let strange = TrafficSelector::Other { kind: TsType(77), second: 0, body: vec![1, 2, 3].into() };
        let mut ts_r = vec![strange];
        ts_r.extend((!alone).then(|| network(2)));
        payloads.extend([Payload::TsI(vec![network(1)]), Payload::TsR(ts_r)]);
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        match alone {
            true => assert!(notifies(&answer).contains(&NotifyType::TS_UNACCEPTABLE)),
            false => assert_eq!(answered_ts(&answer).1, [network(2)]),
        }
    }
}

/// A request for new keys: N(REKEY_SA), and these selectors.
fn rekey(alice: &Puppet, ts_i: &[Selector], ts_r: &[Selector]) -> Vec<Payload<'static>> {
    let mut proposal = alice.esp_proposal();
    proposal.spi = vec![7, 7, 7, 7].into();
    let mut notify = Notify::new(NotifyType::REKEY_SA, Vec::new());
    notify.protocol = ProtocolId::ESP;
    notify.spi = alice.esp_spi.0.to_be_bytes().to_vec().into();
    let nonce = Payload::Nonce(vec![5; 32].into());
    vec![
        Payload::Notify(notify),
        Payload::Sa(vec![proposal]),
        nonce,
        Payload::TsI(list(ts_i)),
        Payload::TsR(list(ts_r)),
    ]
}

/// Windows gives new keys with everything in its selectors: the answer has what is configured. Less than what is in use is
/// refused, and the child stays as it is.
//= rfc7296 §2.9.2
//# The responder MUST NOT narrow down the Traffic Selectors narrower than the scope currently in use.
#[test]
fn s077_new_keys_are_never_for_less_traffic() {
    let (here, there) = (net("10.1.0.0/16"), net("10.2.0.0/16"));
    let (all, half) = (net("0.0.0.0/0"), net("10.2.0.0/17"));
    for (ts_i, ts_r, good) in [
        (vec![all, net("::/0")], vec![all, net("::/0")], true),
        (vec![here], vec![there], true),
        (vec![here], vec![net("10.2.128.0/17"), half], true),
        (vec![here], vec![half], false),
        (vec![with_ports("10.1.0.0/16", 6, 0, 65_535)], vec![there], false),
        (vec![net("172.16.0.0/12")], vec![there], false),
    ] {
        let mut world = world(28).site(bob());
        let mut alice = Puppet::alice();
        alice.establish(&mut world);
        let before = holdings(&mut world, "bob");
        let payloads = rekey(&alice, &ts_i, &ts_r);
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        if good {
            let (i, r) = answered_ts(&answer);
            assert_eq!(i, list(&[here]));
            assert!(r == list(&[there]) || r == list(&ts_r), "{r:?}");
            assert_eq!(world.host("bob").dataplane.sad().count(), 2);
        } else {
            assert_eq!(notifies(&answer), [NotifyType::TS_UNACCEPTABLE], "{ts_i:?} {ts_r:?}");
            assert_eq!(holdings(&mut world, "bob"), before);
            let refusals = world.host("bob").refusals();
            assert!(refusals[0].reason.contains("less traffic than it carries"), "{}", refusals[0].reason);
        }
    }
}

/// As initiator: what is in use is asked for again, also where it was narrowed, and an answer that takes from it is not
/// used.
//= rfc7296 §2.9.2
//# the new SA MUST NOT have narrower selectors than the original
#[test]
fn s077_new_keys_are_asked_for_what_is_in_use() {
    for less in [false, true] {
        let mut world = world(29).site(alice());
        world.up("alice");
        let mut bob = Puppet::bob();
        bob.answer_init(&mut world);
        let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
        let mut payloads = bob.auth_payloads();
        payloads.pop();
        let (narrow, narrower) = (net("10.2.64.0/18"), net("10.2.64.0/19"));
        payloads.push(Payload::TsR(list(&[narrow])));
        bob.reply(&mut world, &header, &payloads);
        world.run(std::time::Duration::from_millis(50));
        let before = world.host("alice").dataplane.sad().next().map(|spec| spec.id);
        world.order("alice", Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
        let (header, asked) = bob.asked(&mut world).expect("CREATE_CHILD_SA");
        assert_eq!(answered_ts(&asked), (vec![network(1)], list(&[narrow])));
        bob.esp_spi = base::EspSpi(0xdddd_0000);
        let mut answer = vec![Payload::Sa(vec![bob.esp_proposal()]), Payload::Nonce(vec![5; 32].into())];
        answer.extend([
            Payload::TsI(vec![network(1)]),
            Payload::TsR(list(&[if less { narrower } else { narrow }])),
        ]);
        bob.reply(&mut world, &header, &answer);
        let (header, asked) = bob.asked(&mut world).expect("a deletion");
        let Some(Payload::Delete(delete)) =
            asked.iter().find(|payload| payload.kind() == PayloadType::DELETE)
        else {
            panic!("{}", wire::summary(&asked))
        };
        assert_eq!(delete.spis.len(), 4);
        bob.reply(&mut world, &header, &[]);
        world.run(std::time::Duration::from_secs(20));
        let after: Vec<_> = world.host("alice").dataplane.sad().map(|spec| spec.id).collect();
        assert_eq!(after.contains(&before.unwrap()), less, "{after:?}");
        let refused = world.host("alice").refusals();
        assert_eq!(refused.iter().any(|r| r.reason.contains("less traffic than the child carries")), less);
    }
}

/// An address alone is a selector as well.
#[test]
fn single_addresses_of_both_families_are_taken() {
    let pair = (Selector::addresses(dataplane::AddressRange::host(ip("10.1.0.7"))), net("10.2.0.0/16"));
    let (world, _, answer) = asked_of(bob(), &[pair.0, net("2001:db8::1/128")], &[pair.1]);
    assert_eq!(answered_ts(&answer).0, list(&[pair.0]));
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
}
