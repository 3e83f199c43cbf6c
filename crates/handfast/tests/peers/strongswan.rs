//! strongSwan, Debian 12's and a newer one, with the kernel's ESP.

use super::{Renewed, Setup, Who, liveness, rekeying, route_based, tunnel};
use interop::{Boot, Pinging, kernel_tests, wait_until};
use std::fmt::Write as _;
use std::time::Duration;

const INITIATOR: &str = "left";
const RESPONDER: &str = "right";

kernel_tests! {
    initiator: Boot::TRAVEL, || tunnel("strongswan::initiator", &Setup::new(Who::StrongSwan, INITIATOR));
    responder: Boot::TRAVEL, || tunnel("strongswan::responder", &Setup::new(Who::StrongSwan, RESPONDER));
    dead_peer: Boot::TRAVEL, || liveness("strongswan::dead_peer", &Setup::new(Who::StrongSwan, INITIATOR));
    rekeying_as_initiator: Boot::TRAVEL, || {
        rekeying("strongswan::rekeying_as_initiator", &Setup::new(Who::StrongSwan, INITIATOR));
    };
    newer_rekeying_as_responder: Boot::TRAVEL, || {
        rekeying("strongswan::newer_rekeying_as_responder", &Setup::new(Who::StrongSwan6, RESPONDER));
    };
    rekeying_while_answers_are_lost: Boot::TRAVEL, rekeying_through_loss;
    reauthentication_as_initiator: Boot::TRAVEL, || {
        reauthentication("strongswan::reauthentication_as_initiator", Who::StrongSwan, INITIATOR);
    };
    newer_reauthentication_as_responder: Boot::TRAVEL, || {
        reauthentication("strongswan::newer_reauthentication_as_responder", Who::StrongSwan6, RESPONDER);
    };
    many_children: Boot::TRAVEL, || twenty_children("strongswan::many_children", Who::StrongSwan, INITIATOR);
    newer_many_children: Boot::TRAVEL, || twenty_children("strongswan::newer_many_children", Who::StrongSwan6, RESPONDER);
    newer_initiator: Boot::TRAVEL, || {
        tunnel("strongswan::newer_initiator", &Setup::new(Who::StrongSwan6, INITIATOR));
    };
    newer_responder: Boot::TRAVEL, || {
        tunnel("strongswan::newer_responder", &Setup::new(Who::StrongSwan6, RESPONDER));
    };
    s168_xfrm_interface_as_initiator: Boot::TRAVEL, || {
        xfrm_interface("strongswan::s168_xfrm_interface_as_initiator", Who::StrongSwan, INITIATOR);
    };
    s168_newer_xfrm_interface_as_responder: Boot::TRAVEL, || {
        xfrm_interface("strongswan::s168_newer_xfrm_interface_as_responder", Who::StrongSwan6, RESPONDER);
    };
    newer_dead_peer: Boot::TRAVEL, || {
        liveness("strongswan::newer_dead_peer", &Setup::new(Who::StrongSwan6, INITIATOR));
    };
}

/// An answer of ours to a rekey that is lost leaves a peer that does not know our new SA: what we send must go by the old one
/// until the peer uses the new one, or deletes the old one (RFC 7296 §2.8). Only the peer asks for new keys: strongSwan 5.9.8
/// never uses a new SA of ours when its own request crosses ours and is lost, and comes again when ours is done.
fn rekeying_through_loss() {
    let test = "strongswan::rekeying_while_answers_are_lost";
    let often = Duration::from_secs(60);
    let setup = Setup {
        child_rekey: (super::NEVER, often),
        theirs: ["", "rand_time = 10s", ""],
        ..Setup::new(Who::StrongSwan, INITIATOR)
    };
    let Some(pair) = setup.start(test) else { return };
    pair.establish();
    let pinging = Pinging::start(&pair.lab, "left", "0.05").unwrap();
    pair.lab.lose(150).unwrap();
    std::thread::sleep(Duration::from_secs(1200));
    pair.lab.lose(0).unwrap();
    std::thread::sleep(Duration::from_secs(60));
    pair.stands((1, 1));
    let children = pair.handfast.log().matches("is down: a newer one replaced it").count();
    assert!(children >= 12, "{}", pair.explain(test, "too few new SAs"));
    let sent = pair.nothing_lost(pinging);
    println!("SUMMARY: {test}: {children} new children, {sent} pings, {:?}", pair.lab.link());
}

/// The peer replaces the IKE SA by one that authenticates anew, which is made before the old one goes.
fn reauthentication(test: &str, who: Who, ours: &str) {
    let setup = Setup { theirs: ["", "", "make_before_break = yes"], ..Setup::new(who, ours) };
    let Some(pair) = setup.start(test) else { return };
    pair.establish();
    let pinging = Pinging::start(&pair.lab, "left", "0.05").unwrap();
    for round in 0..3 {
        let what = format!("the peer's reauthentication, round {round}");
        pair.renews(&what, Renewed::Both, |pair| pair.peer.reauthenticate());
        std::thread::sleep(Duration::from_secs(30));
    }
    pair.stands((1, 1));
    pair.nothing_lost(pinging);
}

/// Twenty children in one IKE SA, made by us or by the peer, live through new keys of it.
fn twenty_children(test: &str, who: Who, ours: &str) {
    const CHILDREN: u16 = 20;
    let (one, two) = ("192.168.1.1", "192.168.2.1");
    let (here, there) = if ours == INITIATOR { (one, two) } else { (two, one) };
    let (mut mine, mut theirs) = (String::new(), String::new());
    for n in 0..CHILDREN {
        let port = 2000 + n;
        let _ = write!(
            mine,
            "\n[connections.net.children.c{n}]\nlocal_ts = \"{here}/32[udp/{port}]\"\n\
             remote_ts = \"{there}/32[udp/{port}]\"\nesp_proposals = \"aes256gcm16-ecp256\""
        );
        let _ = write!(
            theirs,
            "}}\n c{n} {{ local_ts = {there}/32[17/{port}]\n remote_ts = {here}/32[17/{port}]\n \
             esp_proposals = aes256gcm16-ecp256\n"
        );
    }
    let setup = Setup { child: &mine, theirs: ["", &theirs, ""], ..Setup::new(who, ours) };
    let Some(pair) = setup.start(test) else { return };
    let all = usize::from(CHILDREN) + 1;
    // We bring up all of a connection, the peer one after the other.
    if ours == INITIATOR {
        pair.handfast
            .command(&["up", "net"])
            .unwrap_or_else(|error| panic!("{}", pair.explain("up", &error)));
    } else {
        pair.peer.initiate().unwrap_or_else(|error| panic!("{}", pair.explain("initiate", &error)));
        for n in 0..CHILDREN {
            let begun = pair.peer.begin_child(&format!("c{n}"));
            begun.unwrap_or_else(|error| panic!("{}", pair.explain(&format!("child {n}"), &error)));
        }
    }
    pair.stands((1, all));
    let before = pair.handfast.sas();
    for round in 0..4 {
        match round % 2 {
            0 => pair.rekey(Renewed::Ike),
            _ => pair.peer.rekey_ike(),
        }
        .unwrap_or_else(|error| panic!("{}", pair.explain("rekey of the IKE SA", &error)));
        std::thread::sleep(Duration::from_secs(30));
    }
    let inherited = wait_until(Duration::from_secs(60), || pair.peer.sas().count() == (1, all));
    let after = pair.handfast.sas();
    assert!(
        inherited && after.children == before.children && after.ike.len() == 1 && after.ike != before.ike,
        "{}",
        pair.explain("new keys with many children", &format!("before: {before:?}"))
    );
    pair.ping();
}

/// The peer has an XFRM interface by its `if_id`. What it sends itself, ESP and IKE, has a mark of its own.
fn xfrm_interface(test: &str, who: Who, ours: &str) {
    let charon =
        "install_routes = no\n plugins { socket-default { fwmark = 42 }\n kernel-netlink { fwmark = !42 } }";
    let theirs = ["", "if_id_in = 7\n if_id_out = 7\n set_mark_out = 42", charon];
    let setup = Setup { theirs, ..Setup::new(who, ours) };
    route_based(test, &setup, ("ipsec7", "not fwmark 42"), |pair, peer| {
        pair.ip(peer, "link add ipsec7 type xfrm dev outer if_id 7");
        pair.ip(peer, "link set ipsec7 up");
    });
}
