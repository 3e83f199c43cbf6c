//! Two daemons, one of which changes its address under traffic (MOBIKE, RFC 4555), in network namespaces.

mod common;

use common::{End, lab};
use interop::{Handfast, Lab, run, wait_until};
use serde_json::Value;
use std::time::Duration;

/// Runs `ip` in the left namespace.
fn ip(lab: &Lab, words: &str) {
    let ns = lab.ns("left");
    let mut all = vec!["-n", &ns];
    all.extend(words.split(' '));
    run("ip", &all).unwrap_or_else(|error| panic!("{error}"));
}

/// A daemon that may be anywhere, with a peer that may be anywhere.
fn start(lab: &Lab, side: &str, connection: &str) -> Handfast {
    let end = End { daemon: "", ..End::new(side) };
    let other = if side == "left" { "right" } else { "left" };
    let own = format!("local_addrs = \"{}\"", lab.outer(side));
    let any = format!("local_addrs = \"%any\"\n{connection}");
    let peer = format!("remote_addrs = \"{}\"", lab.outer(other));
    let wide = format!("remote_addrs = [\"{}\", \"%any\"]", lab.outer(other));
    let text = end.toml(lab).replace(&own, &any).replace(&peer, &wide);
    Handfast::start(lab, side, common::binary(), &text).unwrap_or_else(|error| panic!("{error}"))
}

/// Where a daemon's peer is, by its status.
fn path(daemon: &Handfast) -> String {
    let text = daemon.command(&["status", "--json"]).unwrap_or_else(|error| panic!("{error}"));
    let status: Value = serde_json::from_str(&text).expect("status --json is JSON");
    let ike = &status["ike_sas"][0];
    format!("{} {}", ike["local"], ike["remote"])
}

fn pings(lab: &Lab) -> Result<String, String> {
    let (source, target) = (lab.inner("left").to_string(), lab.inner("right").to_string());
    let ping = ["ping", "-c", "3", "-i", "0.1", "-W", "2", "-I", &source, &target];
    run("ip", &[&["netns", "exec", &lab.ns("left")], &ping[..]].concat())
}

#[test]
fn s128_the_tunnel_outlives_a_change_of_address() {
    let Some(lab) = lab("s128_the_tunnel_outlives_a_change_of_address") else { return };
    for encap in ["encap = true", "encap = false\n"] {
        let (left, right) = (start(&lab, "left", encap), start(&lab, "right", encap));
        left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
        pings(&lab).unwrap_or_else(|error| panic!("{error}"));
        let first = lab.outer("left").to_string();
        assert!(path(&right).contains(&first), "{}", path(&right));
        ip(&lab, "address add 10.0.1.77/24 dev outer");
        ip(&lab, &format!("address del {first}/24 dev outer"));
        // The second address of a network goes with the first, and the route with both, where the kernel says so.
        let _ = run("ip", &["-n", &lab.ns("left"), "address", "add", "10.0.1.77/24", "dev", "outer"]);
        ip(&lab, "route replace default via 10.0.1.1");
        let both = || format!("left:\n{}right:\n{}", left.log(), right.log());
        let moved = wait_until(Duration::from_secs(10), || path(&right).contains("10.0.1.77"));
        assert!(moved, "{}", both());
        assert!(path(&left).contains("10.0.1.77"), "{}", both());
        pings(&lab).unwrap_or_else(|error| panic!("{error}\n{}", both()));
        assert!(left.log().contains("The addresses of this host are now"), "{}", both());
        left.command(&["down", "net"]).unwrap_or_else(|error| panic!("{error}"));
        // As it was, for the other way of carrying ESP.
        ip(&lab, &format!("address add {first}/24 dev outer"));
        ip(&lab, "address del 10.0.1.77/24 dev outer");
        let _ = run("ip", &["-n", &lab.ns("left"), "address", "add", &format!("{first}/24"), "dev", "outer"]);
        ip(&lab, "route replace default via 10.0.1.1");
    }
}

/// Without it nothing is told, and the peer stays where it was.
#[test]
fn s128_without_mobike_nobody_moves() {
    let Some(lab) = lab("s128_without_mobike_nobody_moves") else { return };
    let (left, right) = (start(&lab, "left", "mobike = false"), start(&lab, "right", ""));
    left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
    ip(&lab, "address add 10.0.1.77/24 dev outer");
    ip(&lab, "route replace default via 10.0.1.1 src 10.0.1.77");
    let heard = wait_until(Duration::from_secs(5), || left.log().contains("10.0.1.77"));
    assert!(heard, "{}", left.log());
    assert!(!path(&right).contains("10.0.1.77"), "{}", path(&right));
    assert!(!left.log().contains("Our path to the peer is now"), "{}", left.log());
}
