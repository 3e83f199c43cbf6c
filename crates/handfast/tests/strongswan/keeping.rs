//! What keeps a tunnel with strongSwan up: the packet that wants it, a peer that dies, and both that begin at once.

use super::{Pair, Setup, cannot_run};
use interop::{Peer, wait_until};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

impl Pair {
    /// Both ends have one IKE SA and one child SA, the same ones.
    #[track_caller]
    fn is_one(&self, what: &str) {
        let one = || {
            let (ours, theirs) = (self.handfast.sas(), Peer::sas(&self.charon));
            ours.count() == (1, 1) && theirs.count() == (1, 1) && ours.ike == theirs.ike
        };
        assert!(
            wait_until(PATIENCE, one),
            "{}",
            self.explain(what, "not one and the same IKE SA at both ends")
        );
    }

    fn one_echo(&self) -> Result<String, String> {
        let (from, to) = (self.lab.inner("left").to_string(), self.lab.inner("right").to_string());
        self.lab.run_in("left", &["ping", "-c", "1", "-W", "5", "-I", &from, &to])
    }
}

/// The first ping brings the tunnel up, and is answered.
#[test]
fn s164_the_first_packet_starts_the_tunnel_and_is_answered() {
    if cannot_run("s164_the_first_packet_starts_the_tunnel_and_is_answered") {
        return;
    }
    let mut pair = Setup { child: "start_action = \"trap\"", ..Setup::default() }.start();
    let laid = wait_until(PATIENCE, || pair.handfast.log().contains("Packets start child"));
    assert!(
        laid && pair.handfast.sas().count() == (0, 0),
        "{}",
        pair.explain("trap", "not laid, or a tunnel already")
    );
    pair.one_echo().unwrap_or_else(|error| panic!("{}", pair.explain("the first ping", &error)));
    pair.is_one("after the first ping");
    assert_eq!(
        pair.handfast.log().matches("Child SA \"net\" is up").count(),
        1,
        "{}",
        pair.explain("children", "others")
    );
    pair.wire_is_clean();
}

/// strongSwan is killed and comes back, at once or after we have noticed: `dpd_action = "restart"` brings the tunnel back.
#[test]
fn s112_a_killed_peer_that_comes_back_gets_the_tunnel_back() {
    if cannot_run("s112_a_killed_peer_that_comes_back_gets_the_tunnel_back") {
        return;
    }
    for noticed in [false, true] {
        let setup = Setup {
            connection: "dpd_delay = \"1s\"\ndpd_timeout = \"3s\"\nretry_initiate_interval = \"1s\"",
            child: "dpd_action = \"restart\"",
            daemon: "retransmit_timeout = \"0.5\"",
            ..Setup::default()
        };
        let mut pair = setup.start();
        pair.establish();
        pair.is_one("at first");
        let first = pair.handfast.sas();
        pair.charon.process().signal(libc::SIGKILL);
        let killed = Instant::now();
        // Else its sockets may stand in the way of the next one.
        let gone = wait_until(PATIENCE, || !pair.charon.process().is_running());
        assert!(gone, "{}", pair.explain("SIGKILL", "it runs on"));
        let dead = || wait_until(PATIENCE, || pair.handfast.sas().ike.is_empty());
        assert!(!noticed || dead(), "{}", pair.explain("the dead peer", "not noticed"));
        let missed = killed.elapsed();
        let charon = setup.charon(&pair.lab, None);
        let back = Instant::now();
        pair.charon = charon;
        let renewed = wait_until(PATIENCE, || {
            let now = pair.handfast.sas();
            now.count() == (1, 1) && now.is_apart_from(&first)
        });
        let took = back.elapsed();
        assert!(renewed, "{}", pair.explain("the tunnel", "did not come back"));
        pair.is_one("in the end");
        pair.ping();
        println!(
            "SUMMARY: strongSwan killed{}: the tunnel stood again {:.1} s after it was back",
            if noticed {
                format!(", noticed after {:.1} s", missed.as_secs_f64())
            } else {
                ", and back at once".to_string()
            },
            took.as_secs_f64()
        );
    }
}

/// Both begin at once, at several distances: where one IKE SA is to be, one is left, the same at both ends, and it carries
/// traffic.
#[test]
fn both_begin_at_once_and_one_ike_sa_is_left() {
    if cannot_run("both_begin_at_once_and_one_ike_sa_is_left") {
        return;
    }
    let setup = Setup {
        connection: "unique = \"replace\"",
        charon_connection: "unique = replace\n remote_addrs = 10.0.1.2",
        ..Setup::default()
    };
    let pair = setup.start();
    for millis in [0, 3, 10, 30] {
        std::thread::scope(|scope| {
            scope.spawn(|| pair.charon.initiate());
            std::thread::sleep(Duration::from_millis(millis));
            let ours = pair.handfast.command(&["up", "net"]);
            ours.unwrap_or_else(|error| panic!("{}", pair.explain("up", &error)));
        });
        pair.is_one(&format!("both begin, {millis} ms apart"));
        pair.ping();
        // Nothing that was under way ends it afterwards.
        pair.is_one("after a while");
        pair.handfast
            .command(&["down", "net"])
            .unwrap_or_else(|error| panic!("{}", pair.explain("down", &error)));
        let gone = || pair.handfast.sas().count() == (0, 0) && Peer::sas(&pair.charon).count() == (0, 0);
        assert!(wait_until(PATIENCE, gone), "{}", pair.explain("down", "an SA is left"));
    }
}
