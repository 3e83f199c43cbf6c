//! Certificates as proof of identity: chains, kinds of keys, and every way in which they fail.

use policy::{IdPattern, Identity, SendCert};
use provider::Provider;
use sa::{RefusalKind, Reply};
use sim::site::Credentials;
use sim::{Site, established};
use std::sync::Arc;
use suite::{World, alice, answered, bob, is_clean, world};
use testcerts::{Authority, EndEntity, Key, rcgen};

pub(crate) fn credentials(entity: &EndEntity, authority: &Authority) -> Credentials {
    Credentials {
        chain: entity.chain.clone(),
        key: Arc::from(provider::load_private_key(&entity.key).expect("a key")),
        authority: authority.der().to_vec(),
    }
}

pub(crate) fn certified(site: Site, entity: &EndEntity, authority: &Authority) -> Site {
    site.certified(&Provider::new(), &credentials(entity, authority))
}

pub(crate) fn both(seed: u64, ours: &EndEntity, theirs: &EndEntity, root: &Authority) -> World {
    world(seed).peers(certified(alice(), ours, root), certified(bob(), theirs, root))
}

//= rfc7427 §3
#[test]
fn s034_every_kind_of_key_proves_an_identity() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    for (n, key) in Key::ALL.into_iter().enumerate() {
        let ours = root.issue(key, "alice", &["alice.example"]);
        let theirs = root.issue(Key::ALL[(n + 1) % Key::ALL.len()], "bob", &["bob.example"]);
        let mut world = both(n as u64, &ours, &theirs, &root);
        world.up("alice");
        world.until(established);
        let id = world.status("bob")[0].remote_id.clone();
        assert_eq!(id, Some(Identity::Fqdn("alice.example".to_string())), "{key:?}");
    }
}

#[test]
fn intermediates_are_sent_and_used() {
    let root = Authority::root(Key::Rsa2048, "Root");
    let middle = root.intermediate(Key::EcdsaP384, "Middle");
    let below = middle.intermediate(Key::EcdsaP256, "Below");
    let ours = below.issue(Key::Ed25519, "alice", &["alice.example"]);
    let theirs = middle.issue(Key::EcdsaP521, "bob", &["bob.example"]);
    let mut world = both(10, &ours, &theirs, &root);
    world.up("alice");
    world.until(established);
    assert!(world.stats.get("fragments sent") > 0, "three certificates do not fit into one datagram");
}

/// A site that proves itself by `entity`'s key, and knows its peer by the pre-shared key.
pub(crate) fn proven(site: fn() -> Site, entity: &EndEntity, authority: &Authority) -> Site {
    let credentials = credentials(entity, authority);
    let mut made = site().certified(&Provider::new(), &credentials);
    made.connections[0].remote = site().connections[0].remote.clone();
    made.make_keeper = Box::new(move |suite, policy| {
        let mut secrets = trust::Secrets::new();
        secrets.add_psk(Vec::new(), sim::site::PSK.into());
        secrets.add_key(credentials.key);
        Box::new(trust::Trust::new(policy, suite, secrets))
    });
    made
}

/// The initiator offers a certificate that the responder does not accept: both say why, and nothing stays.
pub(crate) fn refused(mut world: World, words: &[&str]) {
    let order = world.up("alice");
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, RefusalKind::AuthenticationFailed);
            assert!(!refusal.reason.is_empty());
        }
        other => panic!("{other:?}"),
    }
    let told: Vec<String> = ["alice", "bob"]
        .iter()
        .flat_map(|name| world.host(name).refusals())
        .filter(|refusal| !refusal.by_peer)
        .map(|refusal| refusal.reason.clone())
        .collect();
    assert!(!told.is_empty());
    for word in words {
        assert!(told.iter().any(|reason| reason.contains(word)), "“{word}” is not in {told:?}");
    }
    world.run(std::time::Duration::from_secs(60));
    assert!(is_clean(&mut world));
}

#[test]
fn s042_an_unknown_authority_is_refused() {
    let (root, other) = (Authority::root(Key::EcdsaP256, "Root"), Authority::root(Key::EcdsaP256, "Other"));
    let ours = other.issue(Key::EcdsaP256, "alice", &["alice.example"]);
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    refused(both(20, &ours, &theirs, &root), &["CN=alice"]);
}

#[test]
fn a_certificate_that_its_own_key_signed_is_refused() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let ours = EndEntity::self_signed(Key::EcdsaP256, "alice", &["alice.example"], |_| ());
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    refused(both(21, &ours, &theirs, &root), &["CN=alice"]);
}

/// The world's clock stands at 2027-01-15.
#[test]
fn s042_an_expired_certificate_is_refused_with_its_date() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let ours = root.issue_with(Key::EcdsaP256, "alice", &["alice.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 12, 31);
    });
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    refused(both(22, &ours, &theirs, &root), &["CN=alice", "2026-12-31"]);
}

#[test]
fn s042_a_certificate_from_the_future_is_refused() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let ours = root.issue_with(Key::EcdsaP256, "alice", &["alice.example"], |params| {
        params.not_before = rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    });
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    refused(both(23, &ours, &theirs, &root), &["2030-01-01"]);
}

/// The identity has to stand in the certificate (RFC 7296 §2.15, RFC 4945 §3.1).
#[test]
fn s041_an_identity_that_is_not_in_the_certificate_is_refused() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let ours = root.issue(Key::EcdsaP256, "mallory", &["mallory.example"]);
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    refused(both(24, &ours, &theirs, &root), &["alice.example", "mallory"]);
}

/// CVE-2004-0155: the right certificate, the signature of another key.
#[test]
fn cve_2004_0155_somebody_elses_certificate_is_of_no_use_without_its_key() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let ours = root.issue(Key::EcdsaP256, "alice", &["alice.example"]);
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    let thief = root.issue(Key::EcdsaP256, "mallory", &["mallory.example"]);
    let mut stolen = credentials(&thief, &root);
    let site = alice().certified(&Provider::new(), &stolen);
    // The thief's keeper signs with its own key, for the certificate of alice.
    stolen.chain = ours.chain.clone();
    let victim = policy_of(&stolen);
    let mut site = site;
    site.connections[0].local.certs = victim;
    let mut world = world(25).peers(site, certified(bob(), &theirs, &root));
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{:?}", world.reply(order));
    assert!(world.host("bob").dataplane.sad().next().is_none());
}

fn policy_of(credentials: &Credentials) -> Vec<policy::Certificate> {
    credentials.chain.iter().map(|der| trust::certificate(&Provider::new(), der).unwrap()).collect()
}

/// One side has a PSK, the other wants a certificate and says so (RFC 9593); an initiator that does not listen is refused.
#[test]
fn a_psk_where_a_certificate_is_wanted_is_refused() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    let mut world = world(26).peers(alice(), certified(bob(), &theirs, &root));
    let order = world.up("alice");
    world.until(answered);
    assert!(
        matches!(world.reply(order), Some(Reply::Refused(r)) if r.kind == RefusalKind::AuthenticationFailed)
    );
    world.run(std::time::Duration::from_secs(60));
    assert!(is_clean(&mut world));

    let mut world = suite::world(27).site(certified(bob(), &theirs, &root));
    let mut deaf = suite::Puppet::alice();
    deaf.init(&mut world);
    let payloads = deaf.auth_payloads();
    let answer = deaf.ask(&mut world, wire::num::ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert_eq!(suite::reader::errors(&answer), [wire::num::NotifyType::AUTHENTICATION_FAILED]);
    let refusals = world.host("bob").refusals();
    let reason = &refusals.last().expect("a refusal").reason;
    assert!(reason.contains("authenticates by pre-shared key and certificate is wanted"), "{reason}");
    assert!(is_clean(&mut world));
}

/// A peer that has the certificate already is not sent one.
#[test]
fn a_pinned_certificate_need_not_be_sent() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let ours = root.issue(Key::EcdsaP256, "alice", &["alice.example"]);
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    let pinned = policy_of(&credentials(&ours, &root));
    let one = certified(alice(), &ours, &root).with(|c| c.send_cert = SendCert::Never);
    let other = certified(bob(), &theirs, &root).with(|c| {
        c.remote.certs = pinned;
        c.remote.id = IdPattern::Any;
    });
    let mut world = world(27).peers(one, other);
    world.up("alice");
    world.until(established);
}

/// Lost, doubled and reordered fragments of certificates, over and over.
#[test]
fn certificates_pass_foul_weather() {
    let root = Authority::root(Key::Rsa2048, "Root");
    let ours = root.issue(Key::Rsa2048, "alice", &["alice.example"]);
    let theirs = root.issue(Key::Rsa2048, "bob", &["bob.example"]);
    for seed in 30..40 {
        let small = |site: Site| site.with(|c| c.fragment_size = 576);
        let (one, other) = (certified(alice(), &ours, &root), certified(bob(), &theirs, &root));
        let mut world = world(seed).peers(small(one), small(other)).under(sim::Weather::foul());
        let order = world.up("alice");
        world.until(answered);
        assert!(world.reply(order).is_some());
    }
}

/// A PSK in one direction, a certificate in the other.
//= rfc7296 §2.15
#[test]
fn s037_the_two_sides_may_prove_themselves_differently() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    for flip in [false, true] {
        let (psk, cert) = (policy::AuthMethod::Psk, policy::AuthMethod::Pubkey);
        let keeper = |credentials: Credentials| -> sim::site::MakeKeeper {
            Box::new(move |suite, policy| {
                let mut secrets = trust::Secrets::new();
                secrets.add_psk(Vec::new(), sim::site::PSK.into());
                secrets.add_key(credentials.key);
                Box::new(trust::Trust::new(policy, suite, secrets))
            })
        };
        let entity =
            if flip { root.issue(Key::EcdsaP256, "alice", &["alice.example"]) } else { theirs.clone() };
        let (mut one, mut other) = (certified(alice(), &entity, &root), certified(bob(), &entity, &root));
        (one.make_keeper, other.make_keeper) =
            (keeper(credentials(&entity, &root)), keeper(credentials(&entity, &root)));
        let (certifying, sharing) = if flip { (&mut one, &mut other) } else { (&mut other, &mut one) };
        certifying.connections[0].remote.method = psk;
        sharing.connections[0].local.method = psk;
        sharing.connections[0].local.certs.clear();
        assert_eq!(certifying.connections[0].local.method, cert);
        let mut world = world(50).peers(one, other);
        world.up("alice");
        world.until(established);
    }
}

/// A site that knows its peer by its public key, and is known by its own.
pub(crate) fn keyed(site: Site, ours: &EndEntity, theirs: &[&EndEntity]) -> Site {
    let key = |entity: &EndEntity| {
        let certificate = trust::certificate(&Provider::new(), entity.der()).expect("a certificate");
        let spki = trust::facts(&certificate).expect("facts").spki;
        trust::public_keys(&Provider::new(), &spki).expect("a key").remove(0)
    };
    certified(site, ours, &Authority::root(Key::EcdsaP256, "Unused")).with(|connection| {
        connection.local.certs.clear();
        connection.local.pubkey = Some(key(ours));
        connection.remote.authorities.clear();
        connection.remote.pubkeys = theirs.iter().map(|entity| key(entity)).collect();
    })
}

//= rfc7670 §3
#[test]
fn s036_every_kind_of_key_is_known_without_a_certificate() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let entity = |key, name: &str| root.issue(key, name, &[&format!("{name}.example")]);
    for (n, key) in Key::ALL.into_iter().enumerate() {
        let (ours, theirs) = (entity(key, "alice"), entity(Key::ALL[(n + 1) % Key::ALL.len()], "bob"));
        let other = entity(Key::Ed25519, "other");
        for send in [SendCert::Always, SendCert::IfAsked, SendCert::Never] {
            let with = |site: Site| site.with(|connection| connection.send_cert = send);
            let one = with(keyed(alice(), &ours, &[&other, &theirs]));
            let mut world = world(40 + n as u64).peers(one, with(keyed(bob(), &theirs, &[&ours])));
            world.up("alice");
            world.until(established);
            let id = world.status("bob")[0].remote_id.clone();
            assert_eq!(id, Some(Identity::Fqdn("alice.example".to_string())), "{key:?} {send:?}");
        }
    }
}

/// A key that is not known, and a known key under another identity, are refused; so is a certificate with another key. One
/// with the known key is as good as the key.
//= rfc7670 §4
#[test]
fn s036_other_keys_and_other_names_are_refused() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let entity = |name: &str| root.issue(Key::Ed25519, name, &[&format!("{name}.example")]);
    let (ours, theirs, other) = (entity("alice"), entity("bob"), entity("other"));
    let knows = |entity: &EndEntity| keyed(bob(), &theirs, &[entity]);
    let one = || keyed(alice(), &ours, &[&theirs]);
    refused(world(50).peers(one(), knows(&other)), &["is not among those that connection", "`pubkeys`"]);
    let silent = one().with(|connection| connection.send_cert = SendCert::Never);
    refused(world(51).peers(silent, knows(&other)), &["does not verify"]);
    let mallory = one().with(|c| c.local.id = Some(Identity::Fqdn("mallory.example".to_string())));
    refused(world(52).peers(mallory, knows(&ours)), &["mallory.example"]);
    let with_certificate = |entity: &EndEntity| {
        let certificate = trust::certificate(&Provider::new(), entity.der()).expect("a certificate");
        keyed(alice(), entity, &[&theirs]).with(|connection| {
            (connection.local.certs, connection.local.pubkey) = (vec![certificate], None);
        })
    };
    refused(world(53).peers(with_certificate(&other), knows(&ours)), &["is not among those"]);
    let mut world = world(54).peers(with_certificate(&ours), knows(&ours));
    world.up("alice");
    world.until(established);
}
