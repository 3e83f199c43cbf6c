//! IKE_AUTH with certificates: CERT, CERTREQ, signatures (RFC 7296 §2.15, §3.6, §3.7, RFC 7427).

use crate::common::{A, B, Pair, connection};
use policy::{AuthMethod, Certificate, Connection, IdPattern, Identity, Policy, SendCert};
use provider::Provider;
use sa::{Event, RefusalKind, Reply};
use std::sync::Arc;
use testcerts::{Authority, EndEntity, Key};
use trust::{Secrets, Trust};

fn read(der: &[u8]) -> Certificate {
    trust::certificate(&Provider::new(), der).unwrap()
}

/// `of`, with a certificate for us and an authority for the peer.
fn certified(mut of: Connection, ours: &EndEntity, between: &[&Authority], root: &Authority) -> Connection {
    of.local.method = AuthMethod::Pubkey;
    of.local.certs = std::iter::once(read(ours.der())).chain(between.iter().map(|a| read(a.der()))).collect();
    of.remote.method = AuthMethod::Pubkey;
    of.remote.authorities = vec![read(root.der())];
    of
}

fn keeper(of: &Connection, key: &EndEntity) -> Trust {
    let policy = Policy::of([of.clone()]);
    let mut secrets = Secrets::new();
    let key = trust::private_key(key.key_pem().as_bytes(), None).unwrap();
    secrets.add_key(Arc::from(provider::load_private_key(key.der.expose()).unwrap()));
    Trust::new(Arc::new(policy), Arc::new(Provider::new()), secrets)
}

/// Both ends with certificates of one root, through an intermediate for B.
fn certified_pair(key: Key, change: impl FnOnce(&mut Connection, &mut Connection)) -> Pair {
    let root = Authority::root(key, "root");
    let below = root.intermediate(key, "below");
    let (for_a, for_b) =
        (root.issue(key, "host1", &["host1.example"]), below.issue(key, "host2", &["host2.example"]));
    let mut a = certified(connection(A, B), &for_a, &[], &root);
    let mut b = certified(connection(B, A), &for_b, &[&below], &root);
    change(&mut a, &mut b);
    let keepers = (keeper(&a, &for_a), keeper(&b, &for_b));
    let mut pair = Pair::new(a, b);
    (pair.a.keeper, pair.b.keeper) = (Some(keepers.0), Some(keepers.1));
    pair.up();
    pair.settle();
    pair
}

fn sent(pair: &Pair, exchange: &str, response: bool) -> String {
    let of = |e: &Event| match e {
        Event::Message(m) if m.sent && m.exchange == exchange && m.response == response => {
            Some(m.payloads.clone())
        }
        _ => None,
    };
    pair.a.events.iter().chain(&pair.b.events).find_map(of).unwrap_or_default()
}

//= rfc7296 §3.6
//= rfc7296 §3.7
#[test]
fn every_kind_of_key_authenticates_both_ends() {
    for key in [Key::EcdsaP256, Key::EcdsaP384, Key::Ed25519, Key::Rsa2048] {
        let pair = certified_pair(key, |_, _| ());
        pair.assert_mirrored();
        assert_eq!(pair.a.sad.len(), 1, "{key:?} {:?} {:?}", pair.a.refusals(), pair.b.refusals());
        assert!(sent(&pair, "IKE_SA_INIT", true).ends_with("CERTREQ"));
        assert!(sent(&pair, "IKE_AUTH", false).starts_with("IDi CERT "));
        assert!(sent(&pair, "IKE_AUTH", false).contains("CERTREQ IDr AUTH"));
        assert!(sent(&pair, "IKE_AUTH", true).starts_with("IDr CERT CERT AUTH"));
    }
}

#[test]
fn certificates_are_sent_as_configured() {
    let pair = certified_pair(Key::EcdsaP256, |a, b| {
        (a.send_cert, b.send_certreq) = (SendCert::IfAsked, false);
    });
    assert!(!sent(&pair, "IKE_AUTH", false).contains("CERT "), "nobody asked");
    let pair = certified_pair(Key::EcdsaP256, |a, _| a.send_cert = SendCert::IfAsked);
    assert!(sent(&pair, "IKE_AUTH", false).contains("CERT "), "somebody asked");
    assert_eq!(pair.a.sad.len(), 1);
}

#[test]
fn an_identity_that_the_certificate_does_not_have_is_refused() {
    let pair = certified_pair(Key::EcdsaP256, |a, b| {
        let liar = Identity::Fqdn("somebody.example".to_string());
        a.local.id = Some(liar.clone());
        b.remote.id = IdPattern::Is(liar);
    });
    assert!(pair.b.refusals()[0].contains("somebody.example"), "{:?}", pair.b.refusals());
    assert!(
        matches!(&pair.a.replies[..], [(_, Reply::Refused(r))] if r.kind == RefusalKind::AuthenticationFailed)
    );
}

#[test]
fn a_psk_where_a_certificate_is_wanted_finds_no_connection() {
    let root = Authority::root(Key::EcdsaP256, "root");
    let for_b = root.issue(Key::EcdsaP256, "host2", &["host2.example"]);
    let b = certified(connection(B, A), &for_b, &[], &root);
    let mut pair = Pair::new(connection(A, B), b);
    pair.up();
    pair.settle();
    assert!(!pair.b.refusals()[0].is_empty());
    assert!(pair.a.sad.is_empty() && pair.b.sad.is_empty());
}
