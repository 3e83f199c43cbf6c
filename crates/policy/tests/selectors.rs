//! Narrowing of traffic selectors (RFC 7296 §2.9).

use dataplane::{AddressRange, Mode, Selector};
use policy::limits::{COVER_BLOCKS, SELECTORS};
use policy::{
    Child, ChildLifetime, EndAction, Ends, Narrowed, Sides, StartAction, TsRefusal, accept_narrowed,
    accept_rekeyed, narrow, narrow_for_rekey, propose,
};

fn ts(text: &str) -> Selector {
    let (addresses, rest) = text.split_once('[').map_or((text, ""), |(a, r)| (a, r.trim_end_matches(']')));
    let range = match (addresses.split_once('/'), addresses.split_once('-')) {
        (Some((a, len)), _) => AddressRange::from_prefix(a.parse().unwrap(), len.parse().unwrap()),
        (_, Some((a, b))) => AddressRange::new(a.parse().unwrap(), b.parse().unwrap()),
        _ => Some(AddressRange::host(addresses.parse().unwrap())),
    };
    let mut selector = Selector::addresses(range.unwrap());
    if let Some((protocol, port)) = rest.split_once('/') {
        selector.protocol = match protocol {
            "tcp" => 6,
            _ => 17,
        };
        selector.start_port = port.parse().unwrap();
        selector.end_port = selector.start_port;
    }
    selector
}

fn list(texts: &[&str]) -> Vec<Selector> {
    texts.iter().map(|text| ts(text)).collect()
}

fn child(local: &[&str], remote: &[&str]) -> Child {
    Child {
        name: "net".into(),
        mode: Mode::Tunnel,
        local_ts: list(local),
        remote_ts: list(remote),
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
    Ends { local: "192.0.2.1".parse().unwrap(), remote: "192.0.2.2".parse().unwrap() }
}

fn narrowed(child: &Child, local: &[&str], remote: &[&str]) -> Result<Narrowed, TsRefusal> {
    narrow(child, Sides { local: &list(local), remote: &list(remote) }, ends())
}

fn shown(selectors: &[Selector]) -> Vec<String> {
    selectors.iter().map(Selector::to_string).collect()
}

//= rfc7296 §2.9
#[test]
fn the_same_on_both_sides_is_taken_whole() {
    let both = child(&["10.1.0.0/16", "2001:db8:1::/48"], &["10.2.0.0/16", "2001:db8:2::/48"]);
    let result =
        narrowed(&both, &["10.1.0.0/16", "2001:db8:1::/48"], &["10.2.0.0/16", "2001:db8:2::/48"]).unwrap();
    assert!(!result.narrowed);
    assert_eq!((result.local, result.remote), (both.local_ts, both.remote_ts));
}

#[test]
fn the_widest_proposal_is_narrowed_to_what_is_configured() {
    let road = child(&["10.1.0.0/16"], &[]);
    let result = narrowed(&road, &["0.0.0.0/0", "::/0"], &["192.0.2.2"]).unwrap();
    assert!(result.narrowed);
    assert_eq!(shown(&result.local), ["10.1.0.0/16"]);
    assert_eq!(shown(&result.remote), ["192.0.2.2/32"]);
}

#[test]
fn the_packets_own_selector_is_kept_even_when_only_it_fits() {
    let web = child(&["10.1.0.0/16[tcp/80]"], &["10.2.0.0/16"]);
    let result =
        narrowed(&web, &["10.1.0.7/32[tcp/80]", "10.1.0.0/24"], &["10.2.0.9/32[tcp/5000]", "10.2.0.0/16"])
            .unwrap();
    assert_eq!(shown(&result.local), ["10.1.0.0/24[tcp/80]"]);
    assert_eq!(shown(&result.remote), ["10.2.0.0/16"]);
    // The order of the proposal stays, so that its first choice comes first.
    let two = child(&["10.1.0.0/16", "10.9.0.0/16"], &[]);
    let result =
        narrowed(&two, &["10.9.0.1/32[tcp/22]", "10.1.0.0/16", "10.9.0.0/16"], &["192.0.2.2"]).unwrap();
    assert_eq!(shown(&result.local), ["10.9.0.0/16", "10.1.0.0/16"]);
}

#[test]
fn disjoint_traffic_is_refused_with_both_sides_wishes() {
    let why =
        narrowed(&child(&["10.1.0.0/16"], &["10.2.0.0/16"]), &["10.1.0.0/16"], &["10.3.0.0/16"]).unwrap_err();
    assert_eq!(
        why.to_string(),
        "On the peer's side, child `net` and the peer have no traffic in common: offered 10.3.0.0/16, wanted 10.2.0.0/16."
    );
    let why = narrowed(
        &child(&["10.1.0.0/16", "2001:db8::/32"], &["2001:db8::/32"]),
        &["10.1.0.0/16"],
        &["2001:db8::/32"],
    );
    assert!(why.unwrap_err().reason.contains("No packet can match both sides"));
    let why = narrowed(
        &child(&["10.1.0.0/16"], &["10.2.0.0/16"]),
        &["10.1.0.0/16[tcp/80]"],
        &["10.2.0.0/16[udp/53]"],
    );
    assert!(why.is_err());
}

#[test]
fn selectors_of_a_family_without_counterpart_fall_away() {
    let both = child(&["10.1.0.0/16", "2001:db8:1::/48"], &["10.2.0.0/16"]);
    let result = narrowed(&both, &["2001:db8:1::/48", "10.1.0.0/16"], &["10.2.0.0/16"]).unwrap();
    assert_eq!(shown(&result.local), ["10.1.0.0/16"]);
    assert!(result.narrowed);
}

#[test]
fn the_result_is_minimal_and_bounded() {
    let all = child(&["0.0.0.0/0"], &["0.0.0.0/0"]);
    let nested =
        narrowed(&all, &["10.0.0.1/32", "10.0.0.0/24", "10.0.0.0/8", "10.0.0.0/16"], &["0.0.0.0/0"]).unwrap();
    assert_eq!((shown(&nested.local), nested.narrowed), (vec!["10.0.0.0/8".to_string()], false));
    let many: Vec<Selector> = (0..255).map(|i| ts(&format!("10.{i}.0.0/24"))).collect();
    let result = narrow(&all, Sides { local: &many, remote: &many }, ends()).unwrap();
    assert_eq!((result.local.len(), result.remote.len(), result.narrowed), (SELECTORS, SELECTORS, true));
    assert_eq!(result.local[0], many[0]);
}

#[test]
fn transport_mode_is_about_the_hosts_alone() {
    let transport = Child { mode: Mode::Transport, ..child(&["192.0.2.0/24[tcp/179]"], &[]) };
    let result = narrowed(&transport, &["0.0.0.0/0"], &["0.0.0.0/0"]).unwrap();
    assert_eq!(shown(&result.local), ["192.0.2.1/32[tcp/179]"]);
    assert_eq!(shown(&result.remote), ["192.0.2.2/32"]);
}

#[test]
fn an_initiator_proposes_the_packet_first() {
    let net = child(&["10.1.0.0/16"], &[]);
    let packet = (ts("10.1.0.7/32[tcp/4000]"), ts("192.0.2.2/32[tcp/80]"));
    let (local, remote) = propose(&net, ends(), Some(packet));
    assert_eq!(local, [packet.0, ts("10.1.0.0/16")]);
    assert_eq!(remote, [packet.1, ts("192.0.2.2/32")]);
    assert_eq!(propose(&net, ends(), None).0, [ts("10.1.0.0/16")]);
}

#[test]
fn an_answer_may_narrow_but_not_widen() {
    let sent = list(&["10.1.0.0/25", "10.1.0.128/25", "10.9.0.0/24[tcp/80]"]);
    let remote = list(&["2001:db8::/32"]);
    let accept = |answer: &[&str]| {
        let (local, answer_remote) = (list(answer), list(&["2001:db8::1/128"]));
        accept_narrowed(
            Sides { local: &sent, remote: &remote },
            Sides { local: &local, remote: &answer_remote },
        )
    };
    for good in [
        &["10.1.0.0/25"][..],
        &["10.1.0.0/24"],
        &["10.1.0.3/32[udp/53]"],
        &["10.9.0.1/32[tcp/80]", "10.1.0.9/32"],
    ] {
        assert_eq!(accept(good), Ok(()), "{good:?}");
    }
    for bad in [
        &["10.1.0.0/23"][..],
        &["10.9.0.0/24"],
        &["10.9.0.0/24[tcp/81]"],
        &["::/0"],
        &["10.1.0.0/25", "10.2.0.0/16"],
    ] {
        let why = accept(bad).unwrap_err().to_string();
        assert!(why.contains("widens the traffic on our side"), "{why}");
    }
    assert!(accept(&[]).unwrap_err().reason.contains("names no traffic"));
    let top = list(&["255.255.255.0/25", "255.255.255.128/25"]);
    let whole = list(&["255.255.255.0/24"]);
    assert_eq!(
        accept_narrowed(Sides { local: &top, remote: &top }, Sides { local: &whole, remote: &whole }),
        Ok(())
    );
}

fn rekeyed(child: &Child, sent: &[&str], in_use: &[&str]) -> Result<Narrowed, TsRefusal> {
    let (sent, in_use, remote) = (list(sent), list(in_use), list(&["10.2.0.0/16"]));
    let ends = ends();
    narrow_for_rekey(
        child,
        Sides { local: &sent, remote: &remote },
        Sides { local: &in_use, remote: &remote },
        ends,
    )
}

/// A peer that proposes everything again, as Windows does, is narrowed to the configuration; one that proposes less
/// than is in use is refused.
//= rfc7296 §2.9.2
#[test]
fn a_rekeyed_child_keeps_its_traffic() {
    let net = child(&["10.1.0.0/16"], &["10.2.0.0/16"]);
    let all = rekeyed(&net, &["0.0.0.0/0"], &["10.1.0.0/16"]).unwrap();
    assert_eq!((shown(&all.local), all.narrowed), (vec!["10.1.0.0/16".to_string()], true));
    let same = rekeyed(&net, &["10.1.0.0/24"], &["10.1.0.0/24"]).unwrap();
    assert_eq!((shown(&same.local), same.narrowed), (vec!["10.1.0.0/24".to_string()], false));
    let halves = rekeyed(&net, &["10.1.0.0/17", "10.1.128.0/17"], &["10.1.0.0/16"]).unwrap();
    assert_eq!((halves.local.len(), halves.narrowed), (2, false));
    let less = rekeyed(&net, &["10.1.0.0/17"], &["10.1.0.0/16"]).unwrap_err();
    assert!(less.reason.contains("less traffic than it carries"), "{less}");
    assert_eq!(less.child.as_deref(), Some("net"));
    rekeyed(&net, &["10.9.0.0/16"], &["10.1.0.0/16"]).unwrap_err();
}

/// After a change of the configuration that forbids some of it the child goes on with just what it has.
//= rfc7296 §2.9.2
#[test]
fn a_rekeyed_child_does_not_grow_out_of_its_policy() {
    let changed = child(&["10.1.7.0/24"], &["10.2.0.0/16"]);
    let result = rekeyed(&changed, &["0.0.0.0/0"], &["10.1.0.0/16"]).unwrap();
    assert_eq!(shown(&result.local), ["10.1.0.0/16"]);
}

#[test]
fn a_rekey_of_very_many_pieces_comes_back_as_what_is_in_use() {
    let net = child(&["10.1.0.0/16"], &["10.2.0.0/16"]);
    let sent: Vec<String> = (0..=255).map(|third| format!("10.1.{third}.0/25[udp/53]")).collect();
    let mut sent: Vec<&str> = sent.iter().map(String::as_str).take(254).collect();
    sent.push("10.1.255.0/24");
    let result = rekeyed(&net, &sent, &["10.1.255.0/25"]).unwrap();
    assert_eq!((shown(&result.local), result.narrowed), (vec!["10.1.255.0/25".to_string()], true));
}

#[test]
fn an_answer_that_takes_traffic_from_a_rekeyed_child_is_not_accepted() {
    let (sent, remote) = (list(&["10.1.0.0/16"]), list(&["10.2.0.0/16"]));
    let sent = Sides { local: &sent, remote: &remote };
    for (answer, good) in [("10.1.0.0/16", true), ("10.1.0.0/17", false)] {
        let answer = list(&[answer]);
        let accepted = accept_rekeyed(sent, Sides { local: &answer, remote: &remote }, sent);
        assert_eq!(accepted.is_ok(), good, "{accepted:?}");
    }
}

/// Selectors that cut the one under question into more pieces than the limit do not count as covering it.
#[test]
fn the_work_of_a_cover_is_bounded() {
    // Each of the sent ones takes a single port of a single address out of the middle of the answer.
    let hole = |n: u32| Selector {
        protocol: 6,
        start_port: 2 * n as u16 + 1,
        end_port: 2 * n as u16 + 1,
        ..Selector::addresses(AddressRange::host(std::net::Ipv4Addr::from(0x0a00_0000 + 2 * n + 1).into()))
    };
    let mut sent: Vec<Selector> = (0..COVER_BLOCKS as u32).map(hole).collect();
    sent.push(ts("10.0.0.0/16"));
    let answer = list(&["10.0.0.0/16"]);
    let covered = |sent: &[Selector]| {
        accept_narrowed(Sides { local: sent, remote: sent }, Sides { local: &answer, remote: &answer })
    };
    assert!(covered(&sent).is_err(), "given up");
    sent.drain(..COVER_BLOCKS - 100);
    assert_eq!(covered(&sent), Ok(()));
}
