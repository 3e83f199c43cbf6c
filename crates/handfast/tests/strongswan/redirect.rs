//! Redirect (RFC 5685) with strongSwan: it sends us on while the IKE SA stands (`swanctl --redirect`; what decides in
//! IKE_SA_INIT and IKE_AUTH is a plugin that nobody packages), and follows us in IKE_SA_INIT, in IKE_AUTH and later.

use super::{PATTERN, Setup, binary, cannot_run};
use interop::{Handfast, Lab, Peer, Root, wait_until};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
/// The other gateway: strongSwan's second address, or a Handfast of its own.
const THERE: &str = "10.0.2.77";
const SECOND: &str = "10.0.4.2";

#[test]
fn strongswan_sends_us_on() {
    if cannot_run("strongswan_sends_us_on") {
        return;
    }
    let setup =
        Setup { connection: "mobike = false", charon_connection: "local_addrs = %any", ..Setup::default() };
    let lab = Lab::new(setup.family, setup.net).unwrap();
    lab.ip_in("right", &format!("address add {THERE}/24 dev outer")).unwrap();
    let mut pair = setup.start_in(lab, |_| None);
    pair.establish();
    pair.ping();
    let first = pair.handfast.sas();
    pair.charon
        .swanctl(&["--redirect", "--ike", "net", "--gateway", THERE])
        .unwrap_or_else(|error| panic!("{}", pair.explain("redirect", &error)));
    let moved = wait_until(PATIENCE, || {
        let now = pair.handfast.sas();
        now.count() == (1, 1) && now.is_apart_from(&first) && Peer::sas(&pair.charon).count() == (1, 1)
    });
    assert!(moved && pair.status().contains(THERE), "{}", pair.explain("redirect", "not followed"));
    let log = pair.charon.log();
    assert!(log.contains("N(REDIR_FROM)"), "{}", pair.explain("REDIRECTED_FROM", "not told"));
    pair.ping();
    pair.wire_is_clean();
}

/// strongSwan comes to us and is sent on to a second gateway of ours: by `more` at once, or by order when it stands.
fn sends_strongswan_on(setup: Setup<'_>, by_order: bool) {
    let setup = Setup { ours: "right", charon_connection: "mobike = no", ..setup };
    let lab = Lab::new(setup.family, setup.net).unwrap();
    lab.add("right2").unwrap();
    for address in [lab.inner("right"), lab.inner6("right")] {
        lab.ip_in("right2", &format!("address add {address} dev lo")).unwrap();
    }
    let text = Setup { connection: "", ..setup }.toml(&lab, None).replace("10.0.2.2", SECOND);
    let second = Handfast::start(&lab, "right2", binary(), &text).unwrap();
    let mut pair = setup.start_in(lab, |_| None);
    pair.establish();
    if by_order {
        pair.ping();
        pair.handfast
            .command(&["redirect", "net", SECOND])
            .unwrap_or_else(|error| panic!("{}", pair.explain("redirect", &error)));
    }
    let there = wait_until(PATIENCE, || {
        second.sas().count() == (1, 1)
            && pair.handfast.sas().count() == (0, 0)
            && Peer::sas(&pair.charon).count() == (1, 1)
    });
    assert!(there, "{}\nsecond:\n{}", pair.explain("redirect", "strongSwan is not there"), second.log());
    let (from, to) = (pair.lab.inner("left"), pair.lab.inner("right"));
    interop::ping(&pair.lab, "left", from, to, PATTERN)
        .unwrap_or_else(|error| panic!("{}", pair.explain("ping", &error)));
    assert!(pair.charon.log().contains("N(REDIR)"), "{}", pair.explain("REDIRECT", "not seen"));
    pair.wire_is_clean();
}

#[test]
fn we_send_strongswan_on_in_ike_sa_init() {
    if !cannot_run("we_send_strongswan_on_in_ike_sa_init") {
        let connection = format!("redirect_to = \"{SECOND}\"");
        sends_strongswan_on(Setup { connection: &connection, ..Setup::default() }, false);
    }
}

/// strongSwan 5.9.8 dies of it (a segmentation fault while it begins with the other gateway).
#[test]
fn we_send_a_newer_strongswan_on_in_ike_auth() {
    const NAME: &str = "we_send_a_newer_strongswan_on_in_ike_auth";
    if let Err(why) = Root::find("strongswan6") {
        return interop::not_run(NAME, &why);
    }
    if !cannot_run(NAME) {
        let connection = format!("redirect_to = \"{SECOND}\"\nredirect_ids = \"left.example\"");
        sends_strongswan_on(Setup { connection: &connection, newer: true, ..Setup::default() }, false);
    }
}

#[test]
fn we_send_strongswan_on_while_it_stands() {
    if !cannot_run("we_send_strongswan_on_while_it_stands") {
        sends_strongswan_on(Setup::default(), true);
    }
}
