//! Libreswan 4.10.

use super::{Setup, Who, cookie_by_us, fragments, liveness, rekeying, rekeying_by_time, route_based, tunnel};
use interop::{Boot, Pinging, Suite, kernel_tests, wait_until};
use std::time::Duration;

const INITIATOR: &str = "left";
const RESPONDER: &str = "right";

kernel_tests! {
    initiator: Boot::TRAVEL, || tunnel("libreswan::initiator", &Setup::new(Who::Libreswan, INITIATOR));
    responder: Boot::TRAVEL, || tunnel("libreswan::responder", &Setup::new(Who::Libreswan, RESPONDER));
    cbc: Boot::TRAVEL, || {
        tunnel("libreswan::cbc", &Setup { suite: Suite::Cbc, ..Setup::new(Who::Libreswan, INITIATOR) });
    };
    rekeying_as_initiator: Boot::TRAVEL, || {
        rekeying("libreswan::rekeying_as_initiator", &Setup::new(Who::Libreswan, INITIATOR));
    };
    rekeying_as_responder: Boot::TRAVEL, || {
        rekeying("libreswan::rekeying_as_responder", &Setup::new(Who::Libreswan, RESPONDER));
    };
    rekeying_by_time_as_responder: Boot::TRAVEL, || {
        rekeying_by_time("libreswan::rekeying_by_time_as_responder", &Setup::new(Who::Libreswan, RESPONDER));
    };
    reauthentication_by_the_peer: Boot::TRAVEL, reauthentication;
    s168_ipsec_interface: Boot::TRAVEL, ipsec_interface;
    cookie: Boot::TRAVEL, || cookie_by_us("libreswan::cookie", Who::Libreswan, "cookie", 1);
    cookie_by_the_peer: Boot::TRAVEL, cookie_of_theirs;
    fragments_as_initiator: Boot::TRAVEL, || {
        fragments("libreswan::fragments_as_initiator", Who::Libreswan, INITIATOR, ["", "", ""]);
    };
    fragments_as_responder: Boot::TRAVEL, || {
        fragments("libreswan::fragments_as_responder", Who::Libreswan, RESPONDER, ["", "", ""]);
    };
    dead_peer: Boot::TRAVEL, || liveness("libreswan::dead_peer", &Setup::new(Who::Libreswan, INITIATOR));
}

/// Every ten minutes pluto authenticates anew: first the new IKE SA, then the end of the old one.
fn reauthentication() {
    let test = "libreswan::reauthentication_by_the_peer";
    let often = Duration::from_secs(600);
    let setup =
        Setup { reauth: true, ike_rekey: (Duration::ZERO, often), ..Setup::new(Who::Libreswan, RESPONDER) };
    let Some(pair) = setup.start(test) else { return };
    pair.establish();
    let pinging = Pinging::start(&pair.lab, "left", "0.5").unwrap();
    let first = pair.handfast.sas();
    std::thread::sleep(Duration::from_secs(2 * 3600));
    pair.stands((1, 1));
    let log = pair.handfast.log();
    let made = log.matches("Connection \"net\" is up with").count();
    assert!(
        made >= 10 && first.is_apart_from(&pair.handfast.sas()),
        "{}",
        pair.explain(test, "too few IKE SAs")
    );
    let sent = pair.nothing_lost(pinging);
    println!("SUMMARY: {test}: {made} IKE SAs in 2 h; {sent} pings, none lost");
}

/// pluto, told that it is busy, demands a cookie of us.
fn cookie_of_theirs() {
    let test = "libreswan::cookie_by_the_peer";
    let Some(pair) = Setup::new(Who::Libreswan, INITIATOR).start(test) else { return };
    pair.peer.tell("busy").unwrap_or_else(|error| panic!("{}", pair.explain(test, &error)));
    pair.establish();
    assert!(pair.handfast.log().contains("wants a cookie"), "{}", pair.explain(test, "none was demanded"));
}

/// pluto makes an XFRM interface itself, `ipsec1`. Its own packets have no mark: they are spared by where they go.
fn ipsec_interface() {
    let theirs = [" ipsec-interface=1\n leftupdown=\"\"\n", "", ""];
    let setup = Setup { theirs, ..Setup::new(Who::Libreswan, INITIATOR) };
    route_based("libreswan::s168_ipsec_interface", &setup, ("ipsec1", "to all"), |pair, peer| {
        let there = wait_until(Duration::from_secs(20), || pair.lab.ip_in(peer, "link show ipsec1").is_ok());
        assert!(there, "{}", pair.explain("ipsec1", "was not made"));
        pair.ip(peer, "link set ipsec1 up");
        pair.ip(peer, "rule add to 10.0.1.0/24 lookup main pref 10");
    });
}
