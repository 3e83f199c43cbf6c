//! Post-quantum pre-shared keys in a file.

mod common;

use common::{Dir, all};

const PPK: &str = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn file(connection: &str, secrets: &str) -> String {
    format!(
        "[connections.a]\n{connection}\nremote_addrs = \"192.0.2.1\"\nlocal.auth = \"psk\"\n[connections.a.children.c]\n\
         [secrets.ike.a]\nsecret = \"a secret of more than sixteen octets\"\n{secrets}"
    )
}

#[test]
fn identities_patterns_and_secrets_in_all_notations() {
    let dir = Dir::new();
    dir.write_private("green", format!("{PPK}\n"));
    let secrets = format!(
        "[secrets.ppk.blue]\nid = [\"blue\", \"carol@road.example\"]\nsecret = \"{PPK}\"\n[secrets.ppk.green]\nid = \"green\"\nfile = \"green\"\n"
    );
    let lines = "ppk_id = [\"green\", \"blue\", \"*@road.example\"]\nppk_required = true";
    let config = dir.good(&file(lines, &secrets));
    let ppk = &config.policy.connections[0].extensions.ppk;
    assert!(ppk.required);
    assert_eq!(ppk.offered().map(|id| &**id).collect::<Vec<_>>(), ["green", "blue"]);
    assert!(ppk.allows("carol@road.example") && !ppk.allows("red"));
    let whole: Vec<u8> = (0..32).collect();
    for id in ["blue", "carol@road.example", "green"] {
        assert_eq!(config.secrets.ppk(id).unwrap().expose(), &whole, "{id}");
    }
    assert!(config.secrets.ppk("red").is_none());
    let without = &dir.good(&file("", "")).policy.connections[0].extensions.ppk.clone();
    assert!(!without.any() && !without.required);
}

#[test]
fn what_is_wrong_is_told_with_what_to_write() {
    let blue = format!("[secrets.ppk.b]\nid = \"blue\"\nsecret = \"{PPK}\"\n");
    let cases = [
        ("ppk_id = \"green\"", blue.clone(), "There is no PPK `green`"),
        ("ppk_required = true", blue.clone(), "`connections.a.ppk_required` needs `ppk_id`"),
        ("ppk_id = [\"\"]", blue.clone(), "`connections.a.ppk_id` is empty or has an empty entry"),
        ("", format!("[secrets.ppk.b]\nsecret = \"{PPK}\"\n"), "[secrets.ppk.b] has no identity"),
        ("", "[secrets.ppk.b]\nid = \"b\"\n".to_string(), "[secrets.ppk.b] has no secret"),
        ("", format!("[secrets.ppk.b]\nid = \"*b\"\nsecret = \"{PPK}\"\n"), "`*b` is a pattern, no identity"),
        ("", "[secrets.ppk.b]\nid = \"b\"\nsecret = \"short\"\n".to_string(), "fewer than 32 octets"),
        (
            "",
            format!("{blue}[secrets.ppk.c]\nid = \"blue\"\nsecret = \"{PPK}\"\n"),
            "is for the PPK `blue`, as one before it",
        ),
        ("ppk_ids = \"blue\"", blue, "Did you mean `ppk_id`"),
    ];
    for (connection, secrets, wanted) in cases {
        let told = all(&Dir::new().check(&file(connection, &secrets)).problems);
        assert!(told.contains(wanted), "{connection} {secrets}: {told}");
        assert!(!told.contains("0001020304") && !told.contains("short\""), "{told}");
    }
}

/// A PPK that is required makes the keys safe whatever the key exchange is.
#[test]
fn require_pq_needs_no_other_proposals_with_a_ppk() {
    let blue = format!("[secrets.ppk.b]\nid = \"blue\"\nsecret = \"{PPK}\"\n");
    let classical = "proposals = \"aes256gcm16-prfsha384-x25519\"\nrequire_pq = true\nppk_id = \"blue\"";
    let told = all(&Dir::new().check(&file(classical, &blue)).problems);
    assert!(told.contains("leaves none of its proposals"), "{told}");
    let config = Dir::new().good(&file(&format!("{classical}\nppk_required = true"), &blue));
    assert_eq!(config.policy.connections[0].proposals.len(), 1);
}
