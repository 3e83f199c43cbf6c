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
