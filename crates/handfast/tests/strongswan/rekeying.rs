//! New keys, from either side, under traffic.

use super::{Pair, Setup, cannot_run};
use interop::wait_until;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

impl Pair {
    fn sas(&self) -> (usize, usize) {
        let sas = self.charon.sas();
        let count = |word: &str| sas.lines().filter(|line| line.contains(word)).count();
        (count("ESTABLISHED"), count("INSTALLED"))
    }

    /// What both sides have, when nothing is under way any more: one of each.
    #[track_caller]
    pub(super) fn one_of_each(&self, what: &str) {
        assert!(
            wait_until(PATIENCE, || self.sas() == (1, 1)),
            "{}",
            self.explain(what, "strongSwan has others")
        );
        let ours = || {
            let status: serde_json::Value =
                serde_json::from_str(&self.handfast.command(&["status", "--json"])?)
                    .map_err(|e| e.to_string())?;
            let list = status["ike_sas"].as_array().cloned().unwrap_or_default();
            let children: Vec<usize> =
                list.iter().map(|sa| sa["child_sas"].as_array().map_or(0, Vec::len)).collect();
            Ok::<_, String>(children)
        };
        assert!(
            wait_until(PATIENCE, || ours() == Ok(vec![1])),
            "{}: {:?}",
            self.explain(what, "we have others"),
            ours()
        );
    }

    /// A tunnel whose child and whose IKE SA get new keys, twice from either side, with pings after each.
    pub(super) fn rekey_from_either_side(&self) {
        self.establish();
        self.ping();
        for round in 1..=2 {
            self.handfast.command(&["rekey", "net/net"]).unwrap();
            assert!(
                self.says("a newer one replaced it", 2 * round - 1),
                "{}",
                self.explain("our child rekey", "nothing")
            );
            self.ping();
            self.one_of_each("our child rekey");
            self.charon.swanctl(&["--rekey", "--child", "net"]).unwrap();
            assert!(
                self.says("a newer one replaced it", 2 * round),
                "{}",
                self.explain("its child rekey", "nothing")
            );
            self.ping();
            self.one_of_each("its child rekey");
            self.handfast.command(&["rekey", "net"]).unwrap();
            assert!(self.says("asked for by us", round), "{}", self.explain("our IKE SA rekey", "nothing"));
            self.ping();
            self.one_of_each("our IKE SA rekey");
            self.charon.swanctl(&["--rekey", "--ike", "net"]).unwrap();
            assert!(
                self.says("asked for by the peer", round),
                "{}",
                self.explain("its IKE SA rekey", "nothing")
            );
            self.ping();
            self.one_of_each("its IKE SA rekey");
        }
    }

    pub(super) fn says(&self, text: &str, times: usize) -> bool {
        wait_until(PATIENCE, || self.handfast.log().matches(text).count() >= times)
    }
}

#[test]
fn s071_new_keys_from_either_side() {
    if cannot_run("s071_new_keys_from_either_side") {
        return;
    }
    for ours in ["left", "right"] {
        Setup { ours, ..Setup::default() }.start().rekey_from_either_side();
    }
}
