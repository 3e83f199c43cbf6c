//! Traffic selectors: disjoint, narrowed, widened.

use sa::{RefusalKind, Reply};
use sim::established;
use sim::site::net;
use suite::puppet::network;
use suite::{Puppet, alice, answered, bob, notifies, world};
use wire::num::{ExchangeType, NotifyType};
use wire::{AddressRange, IpSelector, Payload, TrafficSelector};

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
