//! Properties of narrowing (RFC 7296 §2.9), against a world so small that every packet of it can be tried.

use dataplane::{AddressRange, Mode, Selector};
use policy::{
    Child, ChildLifetime, EndAction, Ends, Sides, StartAction, accept_narrowed, accept_rekeyed, narrow,
    narrow_for_rekey,
};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of either family, and ports.
const HOSTS: u8 = 6;
const PORTS: u16 = 4;
/// The last port and the last protocol are those that only "any" means: they stand for all that are not tried.
const OTHER_PORT: u16 = 60_000;
const PROTOCOLS: [u8; 4] = [1, 6, 17, 99];

fn host(number: u8, v6: bool) -> IpAddr {
    match v6 {
        false => Ipv4Addr::from(u32::from(number)).into(),
        true => Ipv6Addr::from(u128::from(number)).into(),
    }
}

/// One end of a packet: address, protocol, port (`None`: not to be seen).
type Point = (IpAddr, u8, Option<u16>);

fn points() -> Vec<Point> {
    let hosts = (0..HOSTS).flat_map(|n| [host(n, false), host(n, true)]);
    let ports = || (0..PORTS).map(Some).chain([Some(OTHER_PORT), None]);
    hosts.flat_map(|h| PROTOCOLS.iter().flat_map(move |p| ports().map(move |port| (h, *p, port)))).collect()
}

fn means(list: &[Selector], point: &Point) -> bool {
    list.iter().any(|selector| selector.contains(point.0, point.1, point.2))
}

fn within(some: &[Selector], all: &[Selector]) -> bool {
    points().iter().all(|point| !means(some, point) || means(all, point))
}

prop_compose! {
    fn selector()(
        v6 in prop::bool::weighted(0.2),
        (from, to) in (0..HOSTS, 0..HOSTS),
        protocol in prop::sample::select(vec![0, 0, 1, 6, 17]),
        ports in prop_oneof![
            3 => Just((0, u16::MAX)),
            1 => Just((u16::MAX, 0)),
            3 => (0..PORTS, 0..PORTS).prop_map(|(a, b)| (a.min(b), a.max(b))),
        ],
    ) -> Selector {
        let addresses = AddressRange::new(host(from.min(to), v6), host(from.max(to), v6)).unwrap();
        let (start_port, end_port) = if protocol == 0 { (0, u16::MAX) } else { ports };
        Selector { addresses, protocol, start_port, end_port }
    }
}

fn selectors() -> impl Strategy<Value = Vec<Selector>> {
    prop::collection::vec(selector(), 1..5)
}

fn child(local_ts: Vec<Selector>, remote_ts: Vec<Selector>) -> Child {
    Child {
        name: "net".into(),
        mode: Mode::Tunnel,
        local_ts,
        remote_ts,
        single_pair: false,
        esp_proposals: policy::default_esp(),
        start_action: StartAction::None,
        dpd_action: EndAction::Clear,
        close_action: EndAction::Clear,
        inactivity: std::time::Duration::ZERO,
        lifetime: ChildLifetime::default(),
        replay_window: 32,
        interface: None,
    }
}

fn ends() -> Ends {
    Ends { local: host(1, false), remote: host(2, false) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// What both want is what results: nothing else, and all of it that a packet can use.
    //= rfc7296 §2.9
    #[test]
    fn narrowing_is_the_intersection(
        (local, remote) in (selectors(), selectors()),
        (own_local, own_remote) in (selectors(), selectors()),
    ) {
        let offered = Sides { local: &local, remote: &remote };
        let result = narrow(&child(own_local.clone(), own_remote.clone()), offered, ends());
        let wanted: Vec<(Point, Point)> = points()
            .into_iter()
            .filter(|point| means(&local, point) && means(&own_local, point))
            .flat_map(|here| {
                let there = points().into_iter().filter(move |there| {
                    here.0.is_ipv4() == there.0.is_ipv4() && here.1 == there.1
                });
                there.map(move |there| (here, there))
            })
            .filter(|(_, there)| means(&remote, there) && means(&own_remote, there))
            .collect();
        match result {
            Ok(result) => {
                for (here, there) in &wanted {
                    prop_assert!(means(&result.local, here) && means(&result.remote, there));
                }
                prop_assert!(within(&result.local, &local) && within(&result.local, &own_local));
                prop_assert!(within(&result.remote, &remote) && within(&result.remote, &own_remote));
                let whole = within(&local, &result.local) && within(&remote, &result.remote);
                prop_assert_eq!(result.narrowed, !whole);
                let answer = Sides { local: &result.local, remote: &result.remote };
                prop_assert_eq!(accept_narrowed(offered, answer), Ok(()));
            }
            Err(_) => prop_assert!(wanted.is_empty()),
        }
    }

    /// An answer is accepted exactly when no packet is in it that was not proposed.
    //= rfc7296 §2.9
    #[test]
    fn an_answer_is_accepted_when_every_packet_of_it_was_proposed(sent in selectors(), answer in selectors()) {
        let (sent_sides, answer_sides) =
            (Sides { local: &sent, remote: &sent }, Sides { local: &answer, remote: &answer });
        prop_assert_eq!(accept_narrowed(sent_sides, answer_sides).is_ok(), within(&answer, &sent));
    }

    /// The first selectors of both sides, where the policy takes them, are in the result.
    //= rfc7296 §2.9
    //# If the responder's policy allows it to accept the first selector of TSi and TSr, then the responder MUST narrow
    //# the Traffic Selectors to a subset that includes the initiator's first choices.
    #[test]
    fn the_first_choices_are_included(
        (local, remote) in (selectors(), selectors()),
        (own_local, own_remote) in (selectors(), selectors()),
    ) {
        let result = narrow(
            &child(own_local.clone(), own_remote.clone()),
            Sides { local: &local, remote: &remote },
            ends(),
        );
        let (first, second) = (local[0], remote[0]);
        let same_family = first.addresses.start().is_ipv4() == second.addresses.start().is_ipv4();
        let same_protocol =
            first.protocol == 0 || second.protocol == 0 || first.protocol == second.protocol;
        if same_family && same_protocol && within(&[first], &own_local) && within(&[second], &own_remote) {
            let result = result.unwrap();
            prop_assert!(within(&[first], &result.local) && within(&[second], &result.remote));
        }
    }

    /// New keys for a child never take traffic from it; what would is refused, and nothing else is.
    //= rfc7296 §2.9.2
    #[test]
    fn rekeying_keeps_what_is_in_use(
        (first_local, first_remote) in (selectors(), selectors()),
        (sent_local, sent_remote) in (selectors(), selectors()),
        (own_local, own_remote) in (selectors(), selectors()),
        wider in any::<bool>(),
        changed in any::<bool>(),
        (new_local, new_remote) in (selectors(), selectors()),
    ) {
        let before = child(own_local, own_remote);
        let Ok(in_use) = narrow(&before, Sides { local: &first_local, remote: &first_remote }, ends()) else {
            return Ok(());
        };
        let in_use_sides = Sides { local: &in_use.local, remote: &in_use.remote };
        let (mut local, mut remote) = (sent_local, sent_remote);
        if wider {
            local.extend(in_use.local.clone());
            remote.extend(in_use.remote.clone());
        }
        let sent = Sides { local: &local, remote: &remote };
        let now = if changed { child(new_local, new_remote) } else { before };
        let keeps = within(&in_use.local, &local) && within(&in_use.remote, &remote);
        match narrow_for_rekey(&now, sent, in_use_sides, ends()) {
            Ok(result) => {
                let answer = Sides { local: &result.local, remote: &result.remote };
                prop_assert_eq!(accept_rekeyed(sent, answer, in_use_sides), Ok(()));
                prop_assert!(within(&in_use.local, &result.local) && within(&in_use.remote, &result.remote));
                let allowed = |result: &[Selector], own: &[Selector], used: &[Selector]| {
                    within(result, own) || within(result, used)
                };
                prop_assert!(allowed(&result.local, &now.local_ts, &in_use.local));
                prop_assert!(allowed(&result.remote, &now.remote_ts, &in_use.remote));
            }
            Err(refusal) => {
                prop_assert!(!keeps, "{}", refusal);
                prop_assert!(refusal.reason.contains("less traffic than it carries"));
            }
        }
    }
}
