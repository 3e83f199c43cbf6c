//! `local2` and `remote2`: a second round of authentication (RFC 4739).

mod common;

use common::{Dir, all};
use policy::{AuthMethod, Connection, IdPattern, Identity, Round};
use std::sync::Arc;

/// A connection `a` with these lines, and everything that they may name.
fn file(lines: &str) -> String {
    format!(
        "[connections.a]\nremote_addrs = \"192.0.2.2\"\n{lines}\n[connections.a.children.net]\n\
         [secrets.private.moon]\nfile = \"moon.key\"\n[secrets.private.pq]\nfile = \"moon-pq.key\"\n\
         [secrets.ike.sun]\nid = [\"moon.example.org\", \"sun.example.org\"]\nsecret = \"a secret of sixteen octets\"\n\
         [authorities.root]\ncacert = \"ca.pem\"\n"
    )
}

const LOCAL: &str = "local = { id = \"moon.example.org\", certs = \"moon.pem\" }\n";

fn connection(lines: &str) -> Arc<Connection> {
    let config = Dir::with_certificates().good(&file(lines));
    config.policy.connections[0].clone()
}

fn fqdn(name: &str) -> Identity {
    Identity::Fqdn(name.to_string())
}

#[test]
fn both_rounds_are_read() {
    let of = connection(&format!(
        "{LOCAL}local2 = {{ certs = \"moon-pq.pem\" }}\nremote = {{ id = \"sun.example.org\" }}\n\
         remote2 = {{ auth = \"psk\", id = \"*@example.org\" }}\n"
    ));
    let [first, second] = Round::ALL.map(|round| of.local_auth(round).unwrap());
    assert_eq!((first.method, second.method), (AuthMethod::Pubkey, AuthMethod::Pubkey));
    assert_ne!(first.certs[0].der, second.certs[0].der);
    assert_eq!((&first.id, &second.id), (&Some(fqdn("moon.example.org")), &Some(fqdn("moon.example.org"))));
    let [first, second] = Round::ALL.map(|round| of.remote_auth(round).unwrap());
    assert_eq!((first.method, second.method), (AuthMethod::Pubkey, AuthMethod::Psk));
    assert_eq!(second.id, IdPattern::EmailAt("example.org".to_string()));
    assert_eq!(second.authorities.len(), 0);
}

#[test]
fn without_them_there_is_one_round() {
    let of = connection(LOCAL);
    assert!(!of.has_second_round());
    assert_eq!((of.locals().count(), of.remotes().count()), (1, 1));
}

/// The second round shows who the first one has shown, unless something else is said.
#[test]
fn the_second_identities_are_the_first_by_default() {
    let remote2 = |lines: &str| connection(&format!("{LOCAL}{lines}")).remote2.clone().unwrap();
    let named = remote2("remote = { id = \"sun.example.org\" }\nremote2 = { cacerts = \"pq-ca.pem\" }\n");
    assert_eq!(named.id, IdPattern::Is(fqdn("sun.example.org")));
    assert_eq!(named.method, AuthMethod::Pubkey, "without `local2` by certificate");
    let wild = remote2("remote = { id = \"*.example.org\" }\nremote2 = { cacerts = \"pq-ca.pem\" }\n");
    assert_eq!(wild.id, IdPattern::OfFirstRound);
    assert_eq!(remote2("remote2 = { id = \"%any\" }\n").id, IdPattern::Any);
    let psk = connection(&format!(
        "{LOCAL}local2 = {{ auth = \"psk\" }}\nremote = {{ id = \"sun.example.org\" }}\nremote2 = {{}}\n"
    ));
    assert_eq!(psk.local2.as_ref().unwrap().id, Some(fqdn("moon.example.org")));
    assert_eq!(psk.remote2.as_ref().unwrap().method, AuthMethod::Psk, "as in `local2`");
    // A certificate that does not carry the first identity has one of its own.
    let text = file(&format!("{LOCAL}local2 = {{ certs = \"sun.pem\" }}\n"));
    let config = Dir::with_certificates().good(&format!("{text}[secrets.private.sun]\nfile = \"sun.key\"\n"));
    let other = &config.policy.connections[0];
    assert_eq!(
        other.local2.as_ref().unwrap().id.as_ref().unwrap().to_string(),
        "C=CH, O=Handfast Test, CN=sun"
    );
}

#[test]
fn what_cannot_work_is_told_of_both_rounds() {
    let dir = Dir::with_certificates();
    let errors = |lines: &str| dir.errors(&file(&format!("{LOCAL}{lines}"))).join("\n");
    let told = errors("local2 = {}\n");
    assert!(told.contains("[connections.a.local2] authenticates by certificate"), "{told}");
    let told = errors("local2 = { certs = \"sun.pem\" }\n");
    assert!(told.contains("private key") && told.contains("CN=sun"), "{told}");
    let told = errors("remote2 = { auth = \"psk\", certs = \"sun.pem\" }\n");
    assert!(told.contains("[connections.a.remote2] has `certs`"), "{told}");
    let told = errors("remote2 = { pubkeys = \"sun.pub\" }\n");
    assert!(told.contains("[connections.a.remote2]: a public key carries no name"), "{told}");
    let told =
        errors("local2 = { auth = \"psk\", id = \"eve.example.org\" }\nremote = { id = \"eve.example\" }\n");
    assert!(told.contains("authenticates by pre-shared key: there is no pre-shared key for"), "{told}");
    let told = errors("local-2 = { auth = \"psk\" }\n");
    assert!(told.contains("Did you mean `local2`?"), "{told}");
    let told = errors("local3 = { auth = \"psk\" }\n");
    assert!(told.contains("Unknown key `local3`"), "{told}");
}

#[test]
fn the_same_proof_twice_is_a_warning() {
    let dir = Dir::with_certificates();
    let text = file(&format!("{LOCAL}local2 = {{ certs = \"moon.pem\" }}\n"));
    let warnings = dir.warnings(&text).join("\n");
    assert!(warnings.contains("[connections.a.local2] is the same proof as `local`"), "{warnings}");
    let outcome = dir.check(&file(&format!("{LOCAL}local2 = {{ certs = \"moon-pq.pem\" }}\n")));
    assert!(outcome.problems.is_empty(), "{}", all(&outcome.problems));
}
