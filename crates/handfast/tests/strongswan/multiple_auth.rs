//! Two authentications in a row (RFC 4739) with both strongSwans: of either side, of both, and where they do not agree.

use super::{PSK, Pair, Setup, cannot_run};
use interop::{Credentials, Family, KeyKind, Lab, Net, Root};

/// Certificates beside those that the lab's folder may have.
fn second(lab: &Lab, kind: KeyKind) -> Credentials {
    let folder = lab.folder().join("second");
    std::fs::create_dir_all(&folder).unwrap();
    Credentials::new(&folder, kind).unwrap()
}

/// Handfast's second round, by certificates or by the PSK: a proof of ours, and one that is wanted.
fn our_rounds(ours: &str, second: Option<&Credentials>, (local, remote): (bool, bool)) -> String {
    let file = |second: &Credentials, name: &str| second.file(name).display().to_string();
    let other = if ours == "left" { "right" } else { "left" };
    let (own, theirs) = match second {
        Some(second) => (
            format!("certs = \"{}\"", file(second, &format!("{ours}.pem"))),
            format!("cacerts = \"{}\"", file(second, "ca.pem")),
        ),
        None => ("auth = \"psk\"".to_string(), "auth = \"psk\"".to_string()),
    };
    let mut text = String::new();
    if local {
        text += &format!("local2 = {{ {own}, id = \"{ours}.example\" }}\n");
    }
    if remote {
        text += &format!("remote2 = {{ {theirs}, id = \"{other}.example\" }}\n");
    }
    text
}

/// The key that goes with it, which stands behind the lines of the child.
fn our_key(ours: &str, second: Option<&Credentials>, local: bool) -> String {
    match second {
        Some(second) if local => {
            let key = second.file(&format!("{ours}.key")).display().to_string();
            format!("[secrets.private.second]\nfile = \"{key}\"\n")
        }
        Some(_) => String::new(),
        None => format!("[secrets.ike.net]\nsecret = \"{PSK}\"\n"),
    }
}

/// strongSwan's, by the names of [`interop::CharonConfig::second`].
fn its_rounds(ours: &str, by_psk: bool, (local, remote): (bool, bool)) -> String {
    let theirs = if ours == "left" { "right" } else { "left" };
    let (own, other) = match by_psk {
        true => ("auth = psk", "auth = psk"),
        false => ("auth = pubkey\n certs = second.pem", "auth = pubkey\n cacerts = second-ca.pem"),
    };
    let mut text = String::new();
    if local {
        text += &format!("local-2 {{ {own}\n id = {theirs}.example\n round = 2 }}\n");
    }
    if remote {
        text += &format!("remote-2 {{ {other}\n id = {ours}.example\n round = 2 }}\n");
    }
    text
}

/// Both strongSwans, or the one that there is.
fn strongswans(name: &str) -> Vec<bool> {
    if cannot_run(name) {
        return Vec::new();
    }
    match Root::find("strongswan6") {
        Ok(_) => vec![false, true],
        Err(why) => {
            println!("NOT RUN: {name} (6): {why}");
            vec![false]
        }
    }
}

impl Pair {
    /// What status shows of proofs: ours and its, by what.
    fn proved(&self, name: &str, wanted: [&[&str]; 2]) {
        let status: serde_json::Value = serde_json::from_str(&self.status()).expect("JSON");
        for (key, wanted) in ["local_auth", "remote_auth"].into_iter().zip(wanted) {
            let rounds = status["ike_sas"][0][key].as_array().cloned().unwrap_or_default();
            let by: Vec<_> = rounds.iter().filter_map(|round| round["by"].as_str()).collect();
            assert_eq!(by, wanted, "{}", self.explain(key, name));
        }
    }
}

/// A proof by that kind of certificate (or the PSK), then by that one, of our side, of its side, and of both.
fn rounds(name: &str, first: (Option<KeyKind>, &str), then: (Option<KeyKind>, &str)) {
    let all = [(true, true), (true, false), (false, true)];
    let versions = strongswans(name).into_iter();
    let cases = versions.flat_map(|newer| ["left", "right"].map(|ours| (newer, ours)));
    for (newer, ours, (we, they)) in cases.flat_map(|(newer, ours)| all.map(|all| (newer, ours, all))) {
        // As initiator, strongSwan wants all proofs of the responder as soon as its own is a pre-shared key.
        if ours == "right" && we && first.0.is_none() {
            continue;
        }
        let lab = Lab::new(Family::V4, Net::Routed).unwrap();
        let second = then.0.map(|kind| second(&lab, kind));
        let setup = Setup {
            ours,
            connection: &our_rounds(ours, second.as_ref(), (we, they)),
            child: &our_key(ours, second.as_ref(), we),
            charon_connection: &its_rounds(ours, then.0.is_none(), (they, we)),
            charon_second: second.as_ref(),
            charon_sections: &format!("secrets {{ ike-2 {{ secret = \"{PSK}\" }} }}"),
            newer,
            ..Setup::default()
        };
        let credentials = |lab: &Lab| first.0.map(|kind| Credentials::new(lab.folder(), kind).unwrap());
        let mut pair = setup.start_in(lab, credentials);
        if we && they {
            pair.rekey_from_either_side();
        } else {
            pair.establish();
            pair.ping();
        }
        let proofs = [first.1, then.1];
        pair.proved(name, [&proofs[..=usize::from(we)], &proofs[..=usize::from(they)]]);
        let log = pair.charon.log();
        for word in ["N(MULT_AUTH)", "N(AUTH_FOLLOWS)"] {
            assert!(log.contains(word), "{}", pair.explain(word, name));
        }
        pair.wire_is_clean();
    }
}

const RSA: (Option<KeyKind>, &str) = (Some(KeyKind::Rsa), "RSA 2048");
const ECDSA: (Option<KeyKind>, &str) = (Some(KeyKind::Ecdsa), "ECDSA P-256");
const SHARED: (Option<KeyKind>, &str) = (None, "pre-shared key");

//= rfc4739 §2.4
//= rfc4739 §2.5
#[test]
fn a_pre_shared_key_and_a_certificate_with_strongswan() {
    rounds("a_pre_shared_key_and_a_certificate_with_strongswan", SHARED, ECDSA);
}

#[test]
fn a_certificate_and_a_pre_shared_key_with_strongswan() {
    rounds("a_certificate_and_a_pre_shared_key_with_strongswan", ECDSA, SHARED);
}

#[test]
fn an_rsa_and_an_ecdsa_certificate_with_strongswan() {
    rounds("an_rsa_and_an_ecdsa_certificate_with_strongswan", RSA, ECDSA);
}

/// One side has two rounds, the other does not know of it.
#[test]
fn a_strongswan_that_does_not_agree_is_refused() {
    const NAME: &str = "a_strongswan_that_does_not_agree_is_refused";
    const OFF: &str = "multiple_authentication = no";
    const SILENT: &str = "does not announce that it supports a second authentication";
    const ONCE: &str = "the peer authenticates once and `remote2` wants a second proof";
    // Whose side begins; our proofs and those that we want; strongSwan's likewise; lines of its strongswan.conf; what is said.
    let cases = [
        ("left", (true, false), (false, false), OFF, SILENT),
        ("left", (true, true), (true, true), OFF, SILENT),
        ("left", (true, false), (false, false), "", "did not accept that we are"),
        ("left", (false, true), (false, false), "", ONCE),
        ("right", (false, true), (false, false), "", ONCE),
        ("right", (true, false), (false, false), OFF, "the peer does not announce that it takes one"),
    ];
    for newer in strongswans(NAME) {
        for (ours, we, they, charon, why) in cases {
            let lab = Lab::new(Family::V4, Net::Routed).unwrap();
            let second = second(&lab, KeyKind::Ecdsa);
            let setup = Setup {
                ours,
                connection: &our_rounds(ours, Some(&second), we),
                child: &our_key(ours, Some(&second), we.0),
                charon_connection: &its_rounds(ours, false, they),
                charon_second: Some(&second),
                charon,
                newer,
                ..Setup::default()
            };
            let mut pair = setup.start_in(lab, |_| None);
            let outcome = pair.initiate();
            assert!(outcome.is_err(), "{}", pair.explain("initiate", "it succeeds"));
            pair.refusal(&outcome, &[why]);
            pair.wire_is_clean();
        }
    }
}
