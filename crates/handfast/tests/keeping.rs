//! What brings a tunnel up and keeps it up, between daemons in network namespaces: packets at a trap, names that change, NATs.

mod common;

use common::{End, lab, lab_with, status};
use interop::{Handfast, Lab, Pinging, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// The configuration of one end, with more lines for its connection and its child.
fn toml(lab: &Lab, end: End<'_>, connection: &str, child: &str) -> String {
    let text =
        end.toml(lab).replace("[connections.net.local]", &format!("{connection}\n[connections.net.local]"));
    text.replace("[connections.net.children.lan]", &format!("[connections.net.children.lan]\n{child}"))
}

fn start(lab: &Lab, side: &str, text: &str) -> Handfast {
    Handfast::start(lab, side, common::binary(), text).unwrap_or_else(|error| panic!("{error}"))
}

fn says(daemon: &Handfast, text: &str) -> bool {
    wait_until(PATIENCE, || daemon.log().contains(text))
}

/// One echo, which waits for its answer a few seconds.
fn one_ping(lab: &Lab, side: &str, from: &str, to: &str) {
    lab.run_in(side, &["ping", "-c", "1", "-W", "5", "-I", from, to])
        .unwrap_or_else(|error| panic!("{error}"));
}

/// How many child SAs a daemon has, and how many IKE SAs.
fn counts(daemon: &Handfast) -> (usize, usize) {
    daemon.sas().count()
}

/// The first packet brings the tunnel up, and is answered; after the tunnel is gone, so does the next one.
#[test]
fn s164_the_first_packet_starts_the_tunnel_and_is_answered() {
    let Some(lab) = lab("s164_the_first_packet_starts_the_tunnel_and_is_answered") else { return };
    let right = End::new("right").start(&lab);
    let left = start(&lab, "left", &toml(&lab, End::new("left"), "", "start_action = \"trap\""));
    assert!(says(&left, "Packets start child"), "{}", left.log());
    for round in 1..=2 {
        assert_eq!((counts(&left), counts(&right)), ((0, 0), (0, 0)), "nothing is negotiated before");
        one_ping(&lab, "left", "192.168.1.1", "192.168.2.1");
        assert_eq!((counts(&left), counts(&right)), ((1, 1), (1, 1)), "{}", left.log());
        let ups = || left.log().matches("Connection \"net\" is up").count();
        assert!(wait_until(PATIENCE, || ups() == round), "{}", left.log());
        let child = &status(&right)["ike_sas"][0]["child_sas"][0];
        assert_eq!(child["counters"]["packets_in"], 1, "{child}");
        // What somebody takes down comes back with a packet: the trap stays.
        right.command(&["down", "net"]).unwrap_or_else(|error| panic!("{error}"));
        assert!(wait_until(PATIENCE, || counts(&left) == (0, 0)), "{}", left.log());
        // A packet that comes within a second after the child was made finds it just lost.
        std::thread::sleep(endpoint::limits::GRACE);
    }
}

/// The peer's name means another address than before: the next attempt looks it up anew, and the tunnel comes up there.
#[test]
fn a_name_that_moves_is_followed() {
    let Some(lab) = lab("a_name_that_moves_is_followed") else { return };
    let named = |text: String| {
        let text = text
            .replace(&format!("remote_addrs = \"{}\"", lab.outer("right")), "remote_addrs = \"gw.example\"");
        text.replace(&format!("local_addrs = \"{}\"", lab.outer("left")), "local_addrs = \"%any\"")
    };
    let anywhere = |text: String| {
        text.replace(&format!("local_addrs = \"{}\"", lab.outer("right")), "local_addrs = \"%any\"")
    };
    let right = start(&lab, "right", &anywhere(End::new("right").toml(&lab)));
    // Nobody is there.
    lab.resolves("left", "gw.example", "10.0.2.9".parse().unwrap()).unwrap();
    let connection = "retry_initiate_interval = \"1s\"\ndpd_delay = \"1s\"\nmobike = false";
    let child = "start_action = \"start\"\ndpd_action = \"restart\"";
    let left = start(&lab, "left", &named(toml(&lab, End::new("left"), connection, child)));
    assert!(says(&left, "10.0.2.9:500 was not established"), "{}", left.log());
    lab.resolves("left", "gw.example", lab.outer("right")).unwrap();
    assert!(wait_until(PATIENCE, || counts(&left) == (1, 1)), "{}", left.log());
    one_ping(&lab, "left", "192.168.1.1", "192.168.2.1");
    // The gateway moves, and its name with it.
    lab.ip_in("right", "address add 10.0.2.77/24 dev outer").unwrap();
    lab.ip_in("right", "address del 10.0.2.2/24 dev outer").unwrap();
    let _ = lab.ip_in("right", "address add 10.0.2.77/24 dev outer");
    lab.ip_in("right", "route replace default via 10.0.2.1").unwrap();
    lab.resolves("left", "gw.example", "10.0.2.77".parse().unwrap()).unwrap();
    let there = || {
        status(&left)["ike_sas"][0]["remote"].as_str().is_some_and(|remote| remote.starts_with("10.0.2.77:"))
    };
    let moved = wait_until(Duration::from_secs(20), || there() && counts(&left) == (1, 1));
    assert!(moved, "{}\nright:\n{}", left.log(), right.log());
    one_ping(&lab, "left", "192.168.1.1", "192.168.2.1");
}

/// Two clients behind one NAT, whose inner addresses are of one network and whose identities are of one domain: each has its
/// own IKE SA, its own address and its own mapping, and both carry traffic, also after new keys.
#[test]
fn s125_two_clients_behind_one_nat() {
    let Some(lab) = lab_with("s125_two_clients_behind_one_nat", &["ip", "sysctl", "nft", "ping"]) else {
        return;
    };
    lab.add("left2").unwrap();
    lab.masquerade(None).unwrap();
    let gateway = toml(&lab, End { remote_ts: "dynamic", ..End::new("right") }, "pools = \"road\"", "");
    let gateway = gateway
        .replace("id = \"left.example\"\n[connections", "id = \"*.example\"\n[connections")
        .replace("[secrets.ike.peer]\nid = \"left.example\"", "[secrets.ike.peer]")
        .replace("remote_addrs = \"10.0.1.2\"", "remote_addrs = \"%any\"");
    let gateway = start(&lab, "right", &format!("{gateway}[pools.road]\naddrs = \"192.168.1.0/24\"\n"));
    let clients = ["left", "left2"].map(|side| {
        let end = End { local_ts: "dynamic", remote_ts: "192.168.2.1/32", ..End::new("left") };
        let text = toml(&lab, end, "vips = \"0.0.0.0\"", "");
        let text = text.replace("id = \"left.example\"", &format!("id = \"{side}.example\""));
        (side, start(&lab, side, &text.replace("10.0.1.2", &lab.outer(side).to_string())))
    });
    // The pool's addresses are those of an inner network; the lab's own one is in the way.
    lab.ip_in("left", "address del 192.168.1.1/32 dev lo").unwrap();
    let logs =
        || format!("gateway:\n{}{}", gateway.log(), clients.iter().map(|(_, c)| c.log()).collect::<String>());
    for (_, client) in &clients {
        client.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}\n{}", logs()));
    }
    for round in 0..2 {
        for (side, _) in &clients {
            lab.run_in(side, &["ping", "-c", "5", "-i", "0.05", "-W", "2", "192.168.2.1"])
                .unwrap_or_else(|error| panic!("{side}: {error}\n{}", logs()));
        }
        let shown = status(&gateway);
        let sas = shown["ike_sas"].as_array().expect("a list");
        let each = |key: &str| -> std::collections::BTreeSet<String> {
            sas.iter().map(|sa| sa[key].to_string()).collect()
        };
        assert_eq!((sas.len(), each("remote").len(), each("leased").len()), (2, 2, 2), "{shown}");
        assert!(each("remote").iter().all(|remote| remote.contains("10.0.2.1:")), "one NAT: {shown}");
        for sa in sas {
            assert!(sa["child_sas"][0]["counters"]["packets_in"].as_u64() >= Some(5), "{shown}");
        }
        if round == 0 {
            for (_, client) in &clients {
                client.command(&["rekey", "net"]).unwrap_or_else(|error| panic!("{error}"));
                client.command(&["rekey", "net/lan"]).unwrap_or_else(|error| panic!("{error}"));
            }
            let rekeyed =
                |log: String| log.contains("a newer one replaced it") && log.contains("asked for by us");
            assert!(wait_until(PATIENCE, || clients.iter().all(|(_, c)| rekeyed(c.log()))), "{}", logs());
        }
    }
}

/// The NAT forgets its mappings and makes others, again and again, under a ping: the gateway follows each, and only what was
/// on the way meanwhile is lost.
#[test]
fn s125_a_nat_that_forgets_its_mappings_is_followed() {
    const ROUNDS: u16 = 3;
    let programs = ["ip", "sysctl", "nft", "ping", "stdbuf"];
    let Some(lab) = lab_with("s125_a_nat_that_forgets_its_mappings_is_followed", &programs) else { return };
    for mobike in [false, true] {
        lab.masquerade(Some("20000-20999")).unwrap();
        let more = format!("mobike = {mobike}\ndpd_delay = \"2s\"");
        let right = toml(&lab, End::new("right"), &more, "")
            .replace("remote_addrs = \"10.0.1.2\"", "remote_addrs = \"%any\"");
        let right = start(&lab, "right", &right);
        let left = start(&lab, "left", &toml(&lab, End { daemon: "", ..End::new("left") }, &more, ""));
        left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
        let remote = || status(&right)["ike_sas"][0]["remote"].as_str().unwrap_or_default().to_string();
        let logs = || format!("left:\n{}right:\n{}", left.log(), right.log());
        let mut pinging = Pinging::start(&lab, "left", "0.02").unwrap();
        for round in 1..=ROUNDS {
            let before = remote();
            lab.masquerade(Some(&format!("2{round}000-2{round}999"))).unwrap();
            let followed =
                wait_until(PATIENCE, || remote() != before && remote().contains(&format!(":2{round}")));
            assert!(followed, "{before}\n{}", logs());
            // Answers come again.
            let answered = pinging.so_far().unwrap().1;
            let goes_on = wait_until(PATIENCE, || pinging.so_far().is_ok_and(|(_, now)| now > answered + 20));
            assert!(goes_on, "{}", logs());
        }
        let (sent, answered) = pinging.finish().unwrap();
        println!("mobike {mobike}: {ROUNDS} new mappings, {answered} of {sent} pings answered");
        // The device is down for some ten milliseconds each time, and the last ping may be on its way.
        let lost = sent - answered;
        assert!(lost <= u64::from(ROUNDS) * 40, "{answered} of {sent}\n{}{}", pinging.unanswered(), logs());
        assert_eq!((counts(&left), counts(&right)), ((1, 1), (1, 1)), "{}", logs());
        assert_eq!(left.log().matches("Connection \"net\" is up").count(), 1, "{}", logs());
    }
}
