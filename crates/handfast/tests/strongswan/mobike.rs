//! MOBIKE with strongSwan: the left side changes its address, and the tunnel goes on (RFC 4555).

use super::{Setup, cannot_run};
use interop::{Lab, run, wait_until};
use std::time::Duration;

/// The left side gets another address in the place of its own.
fn move_left(lab: &Lab) {
    let ns = lab.ns("left");
    let ip = |words: &str| {
        let mut all = vec!["-n", ns.as_str()];
        all.extend(words.split(' '));
        run("ip", &all)
    };
    ip("address add 10.0.1.77/24 dev outer").unwrap();
    ip(&format!("address del {}/24 dev outer", lab.outer("left"))).unwrap();
    // The second address of a network may go with the first.
    let _ = ip("address add 10.0.1.77/24 dev outer");
    ip("route replace default via 10.0.1.1").unwrap();
}

/// With Handfast on either side: it moves, or strongSwan does.
fn goes_on(ours: &'static str) {
    let setup = Setup {
        ours,
        connection: "mobike = true\nlocal_addrs = \"%any\"",
        charon_connection: if ours == "left" { "mobike = yes" } else { "mobike = yes\n local_addrs = %any" },
        ..Setup::default()
    };
    let mut pair = setup.start();
    pair.establish();
    pair.ping();
    move_left(&pair.lab);
    let moved = wait_until(Duration::from_secs(20), || match ours {
        "left" => pair.charon.sas().contains("10.0.1.77"),
        _ => pair.status().contains("10.0.1.77"),
    });
    assert!(moved, "{}", pair.explain("MOBIKE", "the other side does not know the new address"));
    pair.ping_from("left");
    let log = pair.charon.log();
    assert!(log.contains("N(UPD_SA_ADDR)"), "{}", pair.explain("UPDATE_SA_ADDRESSES", "it was not sent"));
    assert!(!pair.handfast.log().contains("No path leads"), "{}", pair.explain("MOBIKE", "no path"));
    pair.capture = None;
}

#[test]
fn s128_we_move_and_strongswan_follows() {
    if !cannot_run("s128_we_move_and_strongswan_follows") {
        goes_on("left");
    }
}

#[test]
fn s128_strongswan_moves_and_we_follow() {
    if !cannot_run("s128_strongswan_moves_and_we_follow") {
        goes_on("right");
    }
}
