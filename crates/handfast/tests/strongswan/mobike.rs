//! MOBIKE with strongSwan: the left side changes its address, and the tunnel goes on (RFC 4555).

use super::{Setup, cannot_run};
use interop::{Lab, Pinging, run, wait_until};
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
    // strongSwan's own ESP keeps the old address: it sends from the new one only by the child that it then makes.
    let replaced = || pair.handfast.log().contains("a newer one replaced it");
    let moved = wait_until(Duration::from_secs(20), || match ours {
        "left" => pair.charon.sas().contains("10.0.1.77"),
        _ => pair.status().contains("10.0.1.77") && replaced(),
    });
    assert!(moved, "{}", pair.explain("MOBIKE", "the other side has not gone over to the new address"));
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

/// The left has two links. The one in use goes down, comes back, and loses its address, all under a ping: the tunnel goes
/// over to the other one, back, and over again, and little is lost. With Handfast on either side.
fn changes_links(ours: &'static str) {
    let mobile = Setup {
        ours,
        connection: "mobike = true\nlocal_addrs = \"%any\"",
        charon_connection: if ours == "left" { "mobike = yes" } else { "mobike = yes\n local_addrs = %any" },
        // Without this strongSwan stays where it is as long as that works.
        charon: "prefer_best_path = yes",
        ..Setup::default()
    };
    let lab = Lab::new(mobile.family, mobile.net).unwrap();
    lab.second_link().unwrap();
    let mut pair = mobile.start_in(lab, |_| None);
    pair.establish();
    let mut pinging = Pinging::start(&pair.lab, "left", "0.05").unwrap();
    let ip = |words: &str| pair.lab.ip_in("left", words).unwrap_or_else(|error| panic!("{error}"));
    let mut figures = Vec::new();
    for (words, there) in [
        (&["link set outer down"][..], "10.0.5.2"),
        (&["link set outer up", "route add default via 10.0.1.1"], "10.0.1.2"),
        (&["address del 10.0.1.2/24 dev outer"], "10.0.5.2"),
    ] {
        let (sent, answered) = pinging.so_far().unwrap();
        words.iter().for_each(|words| ip(words));
        let moved = wait_until(Duration::from_secs(20), || match ours {
            "left" => pair.charon.sas().contains(there),
            _ => pair.status().contains(there),
        });
        assert!(moved, "{}", pair.explain(words[0], "the other side does not know the new address"));
        let mut now = (0, 0);
        let goes_on = wait_until(Duration::from_secs(10), || {
            now = pinging.so_far().unwrap_or_default();
            now.1 > answered + 20
        });
        assert!(goes_on, "{}", pair.explain(words[0], "no ping is answered any more"));
        figures.push((words[0], (now.0 - sent).saturating_sub(now.1 - answered)));
    }
    let (sent, answered) = pinging.finish().unwrap();
    println!(
        "SUMMARY: MOBIKE with strongSwan, {ours} is ours: {answered} of {sent} pings answered, lost {figures:?}"
    );
    // Two seconds of each change at most.
    assert!(
        sent - answered <= 3 * 40,
        "{}",
        pair.explain("pings", &format!("{figures:?}\n{}", pinging.unanswered()))
    );
    assert_eq!(pair.handfast.sas().count(), (1, 1), "{}", pair.explain("SAs", "others"));
    assert_eq!(pair.handfast.log().matches("Connection \"net\" is up").count(), 1);
    pair.capture = None;
}

#[test]
fn s128_our_links_change() {
    if !cannot_run("s128_our_links_change") {
        changes_links("left");
    }
}

#[test]
fn s128_the_links_of_strongswan_change() {
    if !cannot_run("s128_the_links_of_strongswan_change") {
        changes_links("right");
    }
}
