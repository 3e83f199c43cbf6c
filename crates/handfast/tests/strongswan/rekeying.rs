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
    fn one_of_each(&self, what: &str) {
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

    fn says(&self, text: &str, times: usize) -> bool {
        wait_until(PATIENCE, || self.handfast.log().matches(text).count() >= times)
    }
}

#[test]
fn s071_new_keys_from_either_side() {
    if cannot_run("s071_new_keys_from_either_side") {
        return;
    }
    for ours in ["left", "right"] {
        let pair = Setup { ours, ..Setup::default() }.start();
        pair.establish();
        pair.ping();
        for round in 1..=2 {
            pair.handfast.command(&["rekey", "net/net"]).unwrap();
            assert!(
                pair.says("a newer one replaced it", 2 * round - 1),
                "{}",
                pair.explain("our child rekey", "nothing")
            );
            pair.ping();
            pair.one_of_each("our child rekey");
            pair.charon.swanctl(&["--rekey", "--child", "net"]).unwrap();
            assert!(
                pair.says("a newer one replaced it", 2 * round),
                "{}",
                pair.explain("its child rekey", "nothing")
            );
            pair.ping();
            pair.one_of_each("its child rekey");
            pair.handfast.command(&["rekey", "net"]).unwrap();
            assert!(pair.says("asked for by us", round), "{}", pair.explain("our IKE SA rekey", "nothing"));
            pair.ping();
            pair.one_of_each("our IKE SA rekey");
            pair.charon.swanctl(&["--rekey", "--ike", "net"]).unwrap();
            assert!(
                pair.says("asked for by the peer", round),
                "{}",
                pair.explain("its IKE SA rekey", "nothing")
            );
            pair.ping();
            pair.one_of_each("its IKE SA rekey");
        }
    }
}
