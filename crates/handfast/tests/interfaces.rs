//! Route-based tunnels: daemons whose children have interfaces to themselves, and routes that the test sets.

mod common;

use common::{IMPATIENT, binary, lab, status};
use interop::{Handfast, Lab, run, wait_until};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A connection for everything through an interface, with more lines of it and of its child.
fn connection(name: &str, (own, peer): (IpAddr, IpAddr), interface: &str, more: [&str; 2]) -> String {
    let [connection, child] = more;
    format!(
        "[connections.{name}]
local_addrs = \"{own}\"
remote_addrs = \"{peer}\"
proposals = \"aes256gcm16-prfsha384-x25519\"
{connection}
[connections.{name}.local]
auth = \"psk\"
id = \"{own}\"
[connections.{name}.remote]
auth = \"psk\"
id = \"{peer}\"
[connections.{name}.children.all]
local_ts = \"0.0.0.0/0\"
remote_ts = \"0.0.0.0/0\"
esp_proposals = \"aes256gcm16-esn\"
interface = \"{interface}\"
{child}
[secrets.ike.{name}]
id = \"{peer}\"
secret = \"correct horse battery staple\"
"
    )
}

fn start(lab: &Lab, side: &str, connections: &[String]) -> Handfast {
    let text = format!("{IMPATIENT}{}", connections.concat());
    Handfast::start(lab, side, binary(), &text).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn ip(lab: &Lab, which: &str, words: &str) {
    lab.ip_in(which, words).unwrap_or_else(|error| panic!("{error}"));
}

#[track_caller]
fn up(daemon: &Handfast, name: &str) {
    daemon.command(&["up", name]).unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
}

/// All of ten pings come back.
#[track_caller]
fn pings(lab: &Lab, which: &str, how: &[&str]) {
    let command = [&["ping", "-n", "-q", "-c", "10", "-i", "0.01", "-W", "5"], how].concat();
    let said = lab.run_in(which, &command).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.contains("10 received"), "{said}");
}

/// Packets that the child of a connection carried: in, out.
fn packets(daemon: &Handfast, connection: &str) -> (u64, u64) {
    let status = status(daemon);
    let sas = status["ike_sas"].as_array().expect("a list");
    let ike = sas.iter().find(|ike| ike["connection"] == connection).unwrap_or_else(|| panic!("{status}"));
    let counters = &ike["child_sas"][0]["counters"];
    let number = |name: &str| counters[name].as_u64().unwrap_or_else(|| panic!("{status}"));
    (number("packets_in"), number("packets_out"))
}

fn has_link(lab: &Lab, which: &str, device: &str) -> bool {
    lab.ip_in(which, &format!("link show {device}")).is_ok()
}

/// The middle counts the pings that it forwards in the clear.
fn watch(lab: &Lab) {
    let rules = "add table inet leak
add chain inet leak forward { type filter hook forward priority 0; }
add rule inet leak forward meta l4proto icmp counter
";
    let file = lab.folder().join("leak.nft");
    std::fs::write(&file, rules).expect("a file");
    lab.run_in("middle", &["nft", "-f", &file.display().to_string()])
        .unwrap_or_else(|error| panic!("{error}"));
}

fn leaked(lab: &Lab) -> u64 {
    let shown = lab.run_in("middle", &["nft", "list", "table", "inet", "leak"]).unwrap_or_default();
    let count = shown.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("{shown}"))
}

/// A hub on the left with two sites, `right` and `right2`, all of them for everything. Between them are the transfer networks
/// 10.255.1.0/30 and 10.255.2.0/30.
struct Hub {
    hub: Handfast,
    sites: [Handfast; 2],
    lab: Lab,
}

const SITES: [&str; 2] = ["right", "right2"];

impl Hub {
    fn new(test: &str, more: [&str; 2]) -> Option<Self> {
        let lab = lab(test)?;
        lab.add("right2").unwrap_or_else(|error| panic!("{error}"));
        let outer = |which: &str| lab.outer(which);
        let of_hub = |n: usize| {
            let ends = (outer("left"), outer(SITES[n]));
            connection(&format!("site{}", n + 1), ends, &format!("hf-site{}", n + 1), more)
        };
        let hub = start(&lab, "left", &[of_hub(0), of_hub(1)]);
        let sites = [0, 1].map(|n| {
            let ends = (outer(SITES[n]), outer("left"));
            start(&lab, SITES[n], &[connection("hub", ends, "hf-hub", ["", ""])])
        });
        for (n, site) in (1..).zip(SITES) {
            // The interfaces are there before the tunnels are.
            ip(&lab, "left", &format!("address add 10.255.{n}.1/30 dev hf-site{n}"));
            ip(&lab, site, &format!("address add 10.255.{n}.2/30 dev hf-hub"));
        }
        Some(Self { hub, sites, lab })
    }

    fn logs(&self) -> String {
        format!("hub:\n{}site1:\n{}site2:\n{}", self.hub.log(), self.sites[0].log(), self.sites[1].log())
    }
}

#[test]
fn s168_routes_decide_between_tunnels_for_everything() {
    let Some(Hub { hub, sites, lab }) =
        Hub::new("s168_routes_decide_between_tunnels_for_everything", ["", ""])
    else {
        return;
    };
    watch(&lab);
    up(&hub, "site1");
    up(&sites[1], "hub");
    pings(&lab, "left", &["10.255.1.2"]);
    assert_eq!((packets(&hub, "site1"), packets(&hub, "site2")), ((10, 10), (0, 0)));
    pings(&lab, "right2", &["10.255.2.1"]);
    assert_eq!((packets(&hub, "site1"), packets(&hub, "site2")), ((10, 10), (10, 10)));
    // One network behind both sites: the route decides which of them has it.
    for site in SITES {
        ip(&lab, site, "address add 172.20.0.1/32 dev lo");
    }
    for (device, counts) in [("hf-site1", [(20, 20), (10, 10)]), ("hf-site2", [(20, 20), (20, 20)])] {
        ip(&lab, "left", &format!("route replace 172.20.0.0/16 dev {device}"));
        pings(&lab, "left", &["172.20.0.1"]);
        assert_eq!([packets(&hub, "site1"), packets(&hub, "site2")], counts, "{device}");
    }
    // Without its tunnel nothing of it leaves, not even by the other one, nor does what nothing is meant for.
    hub.command(&["down", "site2"]).unwrap_or_else(|error| panic!("{error}"));
    let lost = lab.run_in("left", &["ping", "-n", "-q", "-c", "3", "-i", "0.01", "-W", "1", "172.20.0.1"]);
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!((packets(&hub, "site1"), leaked(&lab)), ((20, 20), 0));
    // The daemon has set no routes, and tells nobody of addresses that are not its paths'.
    let rules = lab.run_in("left", &["ip", "rule"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(!rules.contains("4500"), "{rules}");
    assert!(!hub.log().contains("10.255."), "{}", hub.log());
    // The counter can see what is in the clear.
    ip(&lab, "left", "route replace 172.20.0.0/16 via 10.0.1.1");
    ip(&lab, "middle", "route add 172.20.0.0/16 via 10.0.2.2");
    pings(&lab, "left", &["172.20.0.1"]);
    assert_eq!(leaked(&lab), 20);
}

#[test]
fn s168_status_and_check_and_the_log_name_the_interface() {
    let test = "s168_status_and_check_and_the_log_name_the_interface";
    let Some(Hub { hub, sites: _sites, lab }) = Hub::new(test, ["", ""]) else { return };
    up(&hub, "site1");
    assert_eq!(status(&hub)["ike_sas"][0]["child_sas"][0]["interface"], "hf-site1");
    let shown = hub.command(&["status"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(shown.contains("through the interface hf-site1"), "{shown}");
    let log = "0.0.0.0/0 === 0.0.0.0/0 through hf-site1 with";
    assert!(wait_until(Duration::from_secs(2), || hub.log().contains(log)), "{}", hub.log());
    let file = lab.folder().join("handfast-left.toml").display().to_string();
    let check = |more: &[&str]| {
        let command = [&["check", &file], more].concat();
        hub.command(&command).unwrap_or_else(|error| panic!("{error}"))
    };
    let said = check(&[]);
    assert!(said.contains("all: 0.0.0.0/0 === 0.0.0.0/0, through hf-site2"), "{said}");
    let said: serde_json::Value = serde_json::from_str(&check(&["--json"])).expect("JSON");
    assert_eq!(said["connections"][1]["children"][0]["interface"], "hf-site2");
}

/// New keys while pings go on, in a network namespace that the interface was moved to.
#[test]
fn s168_an_interface_in_another_namespace_outlives_new_keys() {
    let test = "s168_an_interface_in_another_namespace_outlives_new_keys";
    let Some(Hub { hub, sites, lab }) = Hub::new(test, ["", ""]) else { return };
    watch(&lab);
    up(&hub, "site1");
    // A namespace without any other way out.
    run("ip", &["netns", "add", &lab.ns("left2")]).unwrap_or_else(|error| panic!("{error}"));
    ip(&lab, "left", &format!("link set hf-site1 netns {}", lab.ns("left2")));
    ip(&lab, "left2", "address add 10.255.1.1/30 dev hf-site1");
    ip(&lab, "left2", "link set hf-site1 up");
    ip(&lab, "left2", "route add default dev hf-site1");
    ip(&lab, "right", "address add 172.20.0.1/32 dev lo");
    pings(&lab, "left2", &["172.20.0.1"]);
    let (ns, before) = (lab.ns("left2"), packets(&hub, "site1"));
    assert_eq!(before, (10, 10));
    let ping = ["netns", "exec", &ns, "ping", "-n", "-q", "-i", "0.01", "-c", "400", "-W", "5", "172.20.0.1"];
    let ping: Vec<String> = ping.iter().map(ToString::to_string).collect();
    let pinging = std::thread::spawn(move || run("ip", &ping.iter().map(String::as_str).collect::<Vec<_>>()));
    let spis = |daemon: &Handfast| status(daemon)["ike_sas"][0]["child_sas"][0]["spi_in"].to_string();
    for round in 0..6 {
        let (daemon, other, what) = match round % 2 {
            0 => (&hub, &sites[0], "site1/all"),
            _ => (&sites[0], &hub, "hub/all"),
        };
        let old = spis(other);
        daemon.command(&["rekey", what]).unwrap_or_else(|error| panic!("{error}"));
        assert!(wait_until(Duration::from_secs(5), || spis(other) != old), "round {round}");
    }
    let said = pinging.join().expect("the pings").unwrap_or_else(|error| panic!("{error}"));
    assert!(said.contains("400 packets transmitted, 400 received"), "{said}");
    assert_eq!(leaked(&lab), 0);
    let outside = lab.run_in("left", &["ip", "-o", "link"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(!outside.contains("hf-site1"), "{outside}");
    assert_eq!(status(&hub)["ike_sas"][0]["child_sas"][0]["interface"], "hf-site1");
    // With its namespace the device goes; the daemon makes it anew, and the tunnel goes on.
    run("ip", &["netns", "del", &lab.ns("left2")]).unwrap_or_else(|error| panic!("{error}"));
    let told = || hub.log().contains("The interface hf-site1 was gone and is there again");
    assert!(wait_until(Duration::from_secs(20), told), "{}", hub.log());
    ip(&lab, "left", "address add 10.255.1.1/30 dev hf-site1");
    pings(&lab, "left", &["10.255.1.2"]);
}

#[test]
fn s168_a_packet_routed_to_an_interface_starts_its_tunnel() {
    let test = "s168_a_packet_routed_to_an_interface_starts_its_tunnel";
    let Some(all) = Hub::new(test, ["", "start_action = \"trap\""]) else { return };
    let trapped = || all.hub.log().matches("Packets start child \"all\"").count() == 2;
    assert!(wait_until(Duration::from_secs(10), trapped), "{}", all.logs());
    // The first one is kept until the tunnel stands.
    for n in [2, 1] {
        pings(&all.lab, "left", &[&format!("10.255.{n}.2")]);
        assert_eq!(packets(&all.hub, &format!("site{n}")), (10, 10), "{}", all.logs());
    }
    // Gone with the tunnel, and there again with the next packet. A trap asks once in a second, so they take longer.
    all.hub.command(&["down", "site1/all"]).unwrap_or_else(|error| panic!("{error}"));
    pings(&all.lab, "left", &["-i", "0.2", "10.255.1.2"]);
}

/// The default route leads into a tunnel, and ESP leaves by the underlay.
#[test]
fn s168_a_default_route_through_an_interface_spares_what_is_marked() {
    let test = "s168_a_default_route_through_an_interface_spares_what_is_marked";
    let Some(Hub { hub, sites: _sites, lab }) = Hub::new(test, ["", ""]) else { return };
    watch(&lab);
    ip(&lab, "left", "route add default dev hf-site1 table 51");
    ip(&lab, "left", "rule add not fwmark 0x1000/0x1000 lookup 51");
    ip(&lab, "right", "address add 172.20.0.1/32 dev lo");
    up(&hub, "site1");
    pings(&lab, "left", &["-I", "10.255.1.1", "172.20.0.1"]);
    assert_eq!(packets(&hub, "site1"), (10, 10));
    // New keys, and another tunnel, are made past it.
    hub.command(&["rekey", "site1"]).unwrap_or_else(|error| panic!("{error}"));
    up(&hub, "site2");
    ip(&lab, "left", "rule add to 10.255.2.0/30 lookup main pref 10");
    pings(&lab, "left", &["10.255.2.2"]);
    pings(&lab, "left", &["-I", "10.255.1.1", "172.20.0.1"]);
    assert_eq!(leaked(&lab), 0);
    assert!(!hub.log().contains("Our own packets"), "{}", hub.log());
    // Without the mark's exception they would go round.
    ip(&lab, "left", "rule add lookup 51 pref 5");
    let _ = lab.run_in(
        "left",
        &["ping", "-n", "-q", "-c", "2", "-i", "0.01", "-W", "1", "-I", "10.255.1.1", "172.20.0.1"],
    );
    let told = || hub.log().contains("Our own packets to the peer at 10.0.2.2 are routed into hf-site1");
    assert!(wait_until(Duration::from_secs(5), told), "{}", hub.log());
    ip(&lab, "left", "rule del pref 5");
    pings(&lab, "left", &["-I", "10.255.1.1", "172.20.0.1"]);
}

#[test]
fn a_reload_makes_and_removes_interfaces_and_leaves_the_others() {
    let test = "a_reload_makes_and_removes_interfaces_and_leaves_the_others";
    let Some(Hub { hub, sites: _sites, lab }) = Hub::new(test, ["", ""]) else { return };
    up(&hub, "site1");
    up(&hub, "site2");
    let file: PathBuf = lab.folder().join("handfast-left.toml");
    let before = std::fs::read_to_string(&file).expect("the file");
    let reload = |text: &str| {
        std::fs::write(&file, text).expect("the file");
        hub.command(&["reload"]).unwrap_or_else(|error| panic!("{error}"));
    };
    reload(&before.replace("hf-site2", "hf-other"));
    assert!(wait_until(Duration::from_secs(5), || has_link(&lab, "left", "hf-other")));
    // What stands goes on where it was, and goes with its last child.
    pings(&lab, "left", &["10.255.2.2"]);
    hub.command(&["rekey", "site2/all"]).unwrap_or_else(|error| panic!("{error}"));
    pings(&lab, "left", &["10.255.2.2"]);
    hub.command(&["down", "site2"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(wait_until(Duration::from_secs(5), || !has_link(&lab, "left", "hf-site2")));
    up(&hub, "site2");
    ip(&lab, "left", "address add 10.255.2.1/30 dev hf-other");
    pings(&lab, "left", &["10.255.2.2"]);
    // The first was not touched all the time, its address still on it.
    pings(&lab, "left", &["10.255.1.2"]);
    reload("");
    for device in ["hf-site1", "hf-other"] {
        assert!(has_link(&lab, "left", device), "its child stands");
    }
    hub.command(&["down", "site1"]).unwrap_or_else(|error| panic!("{error}"));
    hub.command(&["down", "site2"]).unwrap_or_else(|error| panic!("{error}"));
    for device in ["hf-site1", "hf-other"] {
        assert!(wait_until(Duration::from_secs(5), || !has_link(&lab, "left", device)), "{device}");
    }
}

#[test]
fn a_daemon_that_stops_takes_its_interfaces_along() {
    let Some(Hub { mut hub, sites: _sites, lab }) =
        Hub::new("a_daemon_that_stops_takes_its_interfaces_along", ["", ""])
    else {
        return;
    };
    up(&hub, "site1");
    assert!(hub.process.stop(Duration::from_secs(5)), "{}", hub.log());
    for device in ["hf-site1", "hf-site2"] {
        assert!(!has_link(&lab, "left", device), "{device}");
    }
}

/// An address that the gateway gives is the interface's, and routes to it use it.
#[test]
fn s168_an_address_from_the_peer_stands_on_the_interface() {
    let Some(lab) = lab("s168_an_address_from_the_peer_stands_on_the_interface") else { return };
    let (left, right) = (lab.outer("left"), lab.outer("right"));
    let client =
        start(&lab, "left", &[connection("home", (left, right), "hf-home", ["vips = \"0.0.0.0\"", ""])]);
    let pool = "[pools.road]\naddrs = \"10.3.0.7/32\"\n".to_string();
    let gateway =
        start(&lab, "right", &[connection("road", (right, left), "hf-road", ["pools = \"road\"", ""]), pool]);
    ip(&lab, "right", "address add 172.20.0.1/32 dev lo");
    ip(&lab, "right", "route add 10.3.0.7/32 dev hf-road");
    up(&client, "home");
    let shown = || lab.run_in("left", &["ip", "address", "show", "dev", "hf-home"]).unwrap_or_default();
    assert!(shown().contains("10.3.0.7/32"), "{}\n{}", shown(), client.log());
    ip(&lab, "left", "route add 172.20.0.0/16 dev hf-home");
    pings(&lab, "left", &["172.20.0.1"]);
    assert_eq!(packets(&gateway, "road"), (10, 10));
    client.command(&["down", "home"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(wait_until(Duration::from_secs(5), || !shown().contains("10.3.0.7")), "{}", shown());
}

/// `netns`: the interface is made in a namespace that comes after the daemon.
#[test]
fn s168_an_interface_is_made_in_its_namespace() {
    let Some(lab) = lab("s168_an_interface_is_made_in_its_namespace") else { return };
    let (left, right, inner) = (lab.outer("left"), lab.outer("right"), lab.ns("left2"));
    let netns = format!("netns = \"{inner}\"\nstart_action = \"trap\"");
    let client = start(&lab, "left", &[connection("site", (left, right), "hf-site", ["", &netns])]);
    let site = start(&lab, "right", &[connection("hub", (right, left), "hf-hub", ["", ""])]);
    ip(&lab, "right", "address add 10.255.1.2/30 dev hf-hub");
    let told = || client.log().contains(&format!("There is no network namespace {inner}"));
    assert!(wait_until(Duration::from_secs(5), told), "{}", client.log());
    run("ip", &["netns", "add", &inner]).unwrap_or_else(|error| panic!("{error}"));
    assert!(wait_until(Duration::from_secs(10), || has_link(&lab, "left2", "hf-site")), "{}", client.log());
    assert!(!has_link(&lab, "left", "hf-site"));
    ip(&lab, "left2", "address add 10.255.1.1/30 dev hf-site");
    // The trap was laid before.
    pings(&lab, "left2", &["10.255.1.2"]);
    assert_eq!(packets(&site, "hub"), (10, 10));
    let file = lab.folder().join("handfast-left.toml").display().to_string();
    let said = client.command(&["check", &file]).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.contains(&format!(", through hf-site in {inner}")), "{said}");
}
