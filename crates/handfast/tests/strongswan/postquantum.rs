//! Post-quantum key exchange with a strongSwan that has it, in both roles.

use super::{Pair, Setup, cannot_run};
use interop::Root;

/// Says why a test cannot run here, if it cannot.
fn cannot_run_newer(name: &str) -> bool {
    if cannot_run(name) {
        return true;
    }
    let root = Root::find("strongswan6");
    if let Err(why) = &root {
        println!("NOT RUN: {name}: {why}");
    }
    root.is_err()
}

/// Tunnels in both roles, with all new keys from either side; what was agreed on is what was asked for.
fn tunnels(name: &str, ike: &str, esp: &str, said: &str) {
    if cannot_run_newer(name) {
        return;
    }
    for ours in ["left", "right"] {
        let mut pair = Setup { ours, suite: (ike, esp), newer: true, ..Setup::default() }.start();
        pair.rekey_from_either_side();
        assert!(pair.says(said, 3), "{}", pair.explain("the suite", said));
        let theirs = pair.charon.sas();
        assert!(theirs.contains("KE1_ML_KEM"), "{}", pair.explain("strongSwan's suite", &theirs));
        pair.wire_is_clean();
    }
}

//= rfc9242 §3.2
//= rfc9370 §2.2.2
//= rfc9370 §2.2.4
#[test]
fn s135_x25519_with_ml_kem_768() {
    tunnels(
        "s135_x25519_with_ml_kem_768",
        "aes256gcm16-prfsha384-x25519-ke1_mlkem768",
        "aes256gcm16-x25519-ke1_mlkem768",
        "CURVE25519 / ML_KEM_768",
    );
}

#[test]
fn ecp384_with_ml_kem_1024() {
    tunnels(
        "ecp384_with_ml_kem_1024",
        "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024",
        "aes256gcm16",
        "ECP_384 / ML_KEM_1024",
    );
}

#[test]
fn three_additional_key_exchanges() {
    tunnels(
        "three_additional_key_exchanges",
        "aes256gcm16-prfsha384-x25519-ke1_mlkem512-ke2_mlkem1024-ke3_ecp384",
        "aes256gcm16-x25519-ke1_mlkem768-ke2_ecp256",
        "ML_KEM_512 / ML_KEM_1024 / ECP_384",
    );
}

impl Pair {
    /// The exchanges of the IKE SA's making that our log shows are not asserted here: strongSwan's log has them.
    fn strongswan_says(&self, text: &str) {
        let log = self.charon.log();
        assert!(log.contains(text), "{}", self.explain("strongSwan's log", text));
    }
}

/// IKE_INTERMEDIATE in fragments, both ways.
#[test]
fn fragments_of_ike_intermediate() {
    const NAME: &str = "fragments_of_ike_intermediate";
    if cannot_run_newer(NAME) {
        return;
    }
    for ours in ["left", "right"] {
        let suite = ("aes256gcm16-prfsha384-x25519-ke1_mlkem1024", "aes256gcm16");
        let connection = "fragment_size = 576";
        let charon = "fragment_size = 576";
        let mut pair = Setup { ours, suite, connection, charon, newer: true, ..Setup::default() }.start();
        pair.establish();
        pair.ping();
        pair.strongswan_says("IKE_INTERMEDIATE request 1 [ EF(3/");
        pair.strongswan_says("IKE_INTERMEDIATE response 1 [ EF(3/");
        pair.wire_is_clean();
    }
}

/// A strongSwan without post-quantum algorithms meets a list that begins with them, and the other way round.
#[test]
fn a_classical_strongswan_is_met_without_a_round_trip_more() {
    const NAME: &str = "a_classical_strongswan_is_met_without_a_round_trip_more";
    if cannot_run(NAME) {
        return;
    }
    for ours in ["left", "right"] {
        let suite = ("default", "aes256gcm16");
        let charon_suite = Some(("aes256gcm16-prfsha384-x25519", "aes256gcm16"));
        let mut pair = Setup { ours, suite, charon_suite, ..Setup::default() }.start();
        pair.establish();
        pair.ping();
        let log = pair.charon.log();
        assert!(
            log.contains("IKE_AUTH request 1 ["),
            "{}",
            pair.explain("IKE_AUTH", "is not the second exchange")
        );
        assert!(!log.contains("INVALID_KE"), "{}", pair.explain("INVALID_KE", "was said"));
        pair.wire_is_clean();
    }
}

/// The same PPK on both sides; strongSwan reads `0x` as we do.
const BLUE: &str = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// One that only we have.
const GREEN: &str = "0x202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

/// Handfast's `[secrets.ppk]`, which stands behind the lines of the child.
fn our_ppk(id: &str, secret: &str) -> String {
    format!("[secrets.ppk.one]\nid = \"{id}\"\nsecret = \"{secret}\"\n")
}

/// strongSwan's.
fn its_ppk(id: &str, secret: &str) -> String {
    format!("secrets {{\n  ppk-1 {{\n    id-1 = {id}\n    secret = {secret}\n  }}\n}}\n")
}

/// RFC 8784 with both strongSwans, both roles, optional and required: tunnels, with all new keys from either side. A PPK that
/// only we have is proposed with each new keys of ours (RFC 9867 §3.2), of which strongSwan knows nothing.
//= rfc8784 §3
//= rfc9867 §3.2
#[test]
fn s139_a_ppk_with_strongswan() {
    for newer in [false, true] {
        let name =
            if newer { "s139_a_ppk_with_strongswan (6)" } else { "s139_a_ppk_with_strongswan (5.9.8)" };
        if newer && cannot_run_newer(name) || cannot_run(name) {
            continue;
        }
        for (ours, required) in [("left", false), ("left", true), ("right", false), ("right", true)] {
            let more = if required { ", \"green.example\"" } else { "" };
            let connection = format!("ppk_id = [\"blue.example\"{more}]\nppk_required = {required}");
            let charon =
                format!("ppk_id = blue.example\nppk_required = {}", if required { "yes" } else { "no" });
            let (mut child, sections) = (our_ppk("blue.example", BLUE), its_ppk("blue.example", BLUE));
            if required {
                child += &our_ppk("green.example", GREEN).replace("ppk.one", "ppk.other");
            }
            let (connection, child, charon_connection) = (&*connection, &*child, &*charon);
            let setup = Setup { ours, connection, child, charon_connection, newer, ..Setup::default() };
            let mut pair = Setup { charon_sections: &sections, ..setup }.start();
            pair.rekey_from_either_side();
            let status = pair.status();
            assert!(
                status.contains("the PPK `blue.example` is part of the keys"),
                "{}",
                pair.explain("status", name)
            );
            let without = "takes none of our PPKs (`green.example`) for the new keys: they hold the PPK `blue.example` as before";
            assert!(!required || pair.says(without, 4), "{}", pair.explain(without, name));
            pair.strongswan_says("USE_PPK");
            pair.strongswan_says("N(PPK_ID)");
            pair.wire_is_clean();
        }
    }
}

/// One side has not got it, or has another key: with it, without it, or a refusal that says so.
//= rfc8784 §3
#[test]
fn s139_a_ppk_that_strongswan_does_not_share() {
    const NAME: &str = "s139_a_ppk_that_strongswan_does_not_share";
    if cannot_run(NAME) {
        return;
    }
    let other = "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    // Whose side begins; required by us; strongSwan's `ppk_id`, and the PPK that it has; the sentence of a refusal, or of what it
    // goes on without. strongSwan takes no PPK but that of its `ppk_id`, not even as optional.
    let (blue, red) = ("blue.example", "red.example");
    let cases = [
        (
            "left",
            false,
            Some((blue, red, BLUE)),
            Ok("has not got the PPK `blue.example`: going on without one"),
        ),
        ("left", false, None, Ok("is not post-quantum")),
        ("left", true, None, Err("answers without a word of PPKs")),
        (
            "left",
            true,
            Some((red, red, BLUE)),
            Err("the PPK `blue.example` is not known there, or is another key"),
        ),
        (
            "left",
            false,
            Some((blue, blue, other)),
            Err("the PPK `blue.example` is not known there, or is another key"),
        ),
        ("right", false, Some((red, red, BLUE)), Ok("The PPK `red.example` is not here")),
        ("right", true, Some((red, red, BLUE)), Err("and `ppk_required = true`")),
        ("right", true, None, Err("offers no PPK, and `ppk_required = true`")),
        (
            "right",
            false,
            Some((blue, blue, other)),
            Err("or the PPK `blue.example` is another key at the peer"),
        ),
    ];
    for (ours, required, its, wanted) in cases {
        let connection = format!("ppk_id = \"blue.example\"\nppk_required = {required}");
        let charon = its.map_or(String::new(), |(id, ..)| format!("ppk_id = {id}"));
        let sections = its.map_or(String::new(), |(_, id, secret)| its_ppk(id, secret));
        let child = our_ppk("blue.example", BLUE);
        let (connection, child, charon_connection) = (&*connection, &*child, &*charon);
        let setup = Setup { ours, connection, child, charon_connection, ..Setup::default() };
        let pair = Setup { charon_sections: &sections, ..setup }.start();
        let outcome = pair.initiate();
        match wanted {
            Ok(says) => {
                assert!(outcome.is_ok(), "{}", pair.explain(says, &format!("{outcome:?}")));
                pair.ping();
                let said = || format!("{}{}", pair.handfast.log(), pair.status());
                let heard = interop::wait_until(std::time::Duration::from_secs(5), || said().contains(says));
                assert!(heard, "{}", pair.explain("not said", says));
            }
            Err(says) => {
                assert!(outcome.is_err(), "{}", pair.explain(says, &format!("{outcome:?}")));
                pair.refusal(&outcome, &[says]);
            }
        }
    }
}
