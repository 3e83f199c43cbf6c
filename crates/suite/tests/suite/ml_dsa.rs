//! ML-DSA as proof of identity (draft-ietf-ipsecme-ikev2-pqc-auth): chains of 20 KB and more in IKE_AUTH, public keys without
//! certificates, and peers that cannot have it or lie about it.

use crate::certificates::{both, certified, credentials, keyed, proven, refused};
use policy::Identity;
use sa::{Answer, Job, RefusalKind, Reply};
use sim::{Keeper, Site, Weather, established};
use std::time::Duration;
use suite::puppet::Puppet;
use suite::reader::errors;
use suite::{World, alice, answered, bob, is_clean, world};
use testcerts::{Authority, EndEntity, Key};
use wire::num::{ExchangeType, HashAlgorithm, NotifyType};
use wire::{Notify, Payload};

/// A root and two intermediates of ML-DSA-87 or 65: with the end entity's, three certificates travel.
struct Chain {
    root: Authority,
    below: Authority,
}

impl Chain {
    fn new() -> Self {
        let root = Authority::root(Key::MlDsa87, "Root");
        let middle = root.intermediate(Key::MlDsa87, "Middle");
        let below = middle.intermediate(Key::MlDsa65, "Below");
        Chain { root, below }
    }

    fn pair(&self, seed: u64, key: Key) -> World {
        let [ours, theirs] = ["alice", "bob"].map(|name| self.issue(key, name));
        both(seed, &ours, &theirs, &self.root)
    }

    fn issue(&self, key: Key, name: &str) -> EndEntity {
        self.below.issue(key, name, &[&format!("{name}.example")])
    }
}

fn knows_alice(world: &mut World) {
    let id = world.status("bob")[0].remote_id.clone();
    assert_eq!(id, Some(Identity::Fqdn("alice.example".to_string())));
}

/// Both IKE_AUTH messages carry over 20,000 octets; at the default fragment size of 1,280 none of their datagrams is larger.
#[test]
fn chains_of_ml_dsa_are_sent_in_fragments() {
    let chain = Chain::new();
    for (n, (key, octets)) in Key::POST_QUANTUM.into_iter().zip([21_000, 22_000, 24_000]).enumerate() {
        let narrow = Weather { mtu: Some(1_252), ..Weather::fair() };
        let mut world = chain.pair(n as u64, key).under(narrow);
        world.up("alice");
        world.until(established);
        knows_alice(&mut world);
        let fragments = world.stats.get("fragments sent");
        assert!(fragments > 2 * octets / 1_252, "{key:?}: {fragments} fragments");
    }
}

/// One datagram in ten is lost, on a path of 1,280 octets: all twenty attempts come to an end that stands.
#[test]
fn chains_of_ml_dsa_pass_a_lossy_narrow_path() {
    let chain = Chain::new();
    for seed in 100..120 {
        let weather = Weather {
            loss: 100,
            duplicate: 50,
            delay: Duration::from_millis(5)..=Duration::from_millis(50),
            mtu: Some(1_252),
        };
        let mut world = chain.pair(seed, Key::MlDsa87).under(weather);
        let order = world.up("alice");
        world.until(answered);
        assert!(matches!(world.reply(order), Some(Reply::Up { .. })), "{seed}: {:?}", world.reply(order));
        knows_alice(&mut world);
    }
}

/// The two ends may be of different sets, and one of them classical.
#[test]
fn every_set_meets_every_other() {
    let root = Authority::root(Key::MlDsa65, "Root");
    let classical = Authority::root(Key::EcdsaP256, "Root");
    for (n, ours) in Key::POST_QUANTUM.into_iter().enumerate() {
        for theirs in [Key::MlDsa44, Key::MlDsa65, Key::MlDsa87, Key::EcdsaP384] {
            for (root, other) in [(&root, Key::MlDsa65), (&classical, Key::EcdsaP256)] {
                let ours = root.issue(ours, "alice", &["alice.example"]);
                let theirs = root.issue(theirs, "bob", &["bob.example"]);
                let mut world = both(200 + n as u64, &ours, &theirs, root);
                world.up("alice");
                world.until(established);
                assert!(!world.status("bob").is_empty(), "below a root of {other:?}");
            }
        }
    }
}

//= rfc7670 §3
#[test]
fn raw_public_keys_of_every_set_are_known() {
    let chain = Chain::new();
    for (n, key) in Key::POST_QUANTUM.into_iter().enumerate() {
        let [ours, theirs, other] = ["alice", "bob", "other"].map(|name| chain.issue(key, name));
        let one = keyed(alice(), &ours, &[&other, &theirs]);
        let mut world = world(300 + n as u64).peers(one, keyed(bob(), &theirs, &[&ours]));
        world.up("alice");
        world.until(established);
        knows_alice(&mut world);
    }
}

#[test]
fn a_raw_public_key_that_is_not_known_is_refused() {
    let chain = Chain::new();
    for (n, key) in Key::POST_QUANTUM.into_iter().enumerate() {
        let [ours, theirs, other] = ["alice", "bob", "other"].map(|name| chain.issue(key, name));
        let one = keyed(alice(), &ours, &[&theirs]);
        let two = keyed(bob(), &theirs, &[&other]);
        refused(world(310 + n as u64).peers(one, two), &["is not among those that connection", "ML-DSA-"]);
    }
}

/// A keeper that changes every proof before it leaves.
struct Liar {
    inner: Box<dyn Keeper>,
    change: fn(&mut Vec<u8>),
}

impl Keeper for Liar {
    fn answer(&mut self, job: &Job) -> Answer {
        let mut answer = self.inner.answer(job);
        if let Answer::Proved(proof, _) = &mut answer {
            (self.change)(&mut proof.data);
        }
        answer
    }
}

/// `site`, whose proofs go through `change`.
fn lying(mut site: Site, change: fn(&mut Vec<u8>)) -> Site {
    let make = site.make_keeper;
    site.make_keeper = Box::new(move |suite, policy| Box::new(Liar { inner: make(suite, policy), change }));
    site
}

/// What comes before the signature: one octet of length and 13 of the AlgorithmIdentifier.
const BEFORE: usize = 14;

#[test]
fn a_proof_that_was_changed_is_refused() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(Change, &str); 5] = [
        (|data| data.truncate(data.len() - 1), "does not verify"),
        (|data| data.truncate(BEFORE), "ends before the signature"),
        (|data| data[BEFORE + 1_000] ^= 1, "does not verify"),
        (
            // NULL parameters (RFC 9881 §2: none).
            |data| {
                (data[0], data[2]) = (15, 13);
                data.splice(BEFORE..BEFORE, [5, 0]);
            },
            "has parameters, and may have none",
        ),
        (
            // The name of the next set.
            |data| data[BEFORE - 1] = 0x11 + (data[BEFORE - 1] - 0x10) % 3,
            "does not go with",
        ),
    ];
    let chain = Chain::new();
    for (n, key) in Key::POST_QUANTUM.into_iter().enumerate() {
        let [ours, theirs] = ["alice", "bob"].map(|name| chain.issue(key, name));
        for (m, (change, word)) in changes.into_iter().enumerate() {
            let seed = 400 + 10 * n as u64 + m as u64;
            let one = lying(certified(alice(), &ours, &chain.root), change);
            refused(world(seed).peers(one, certified(bob(), &theirs, &chain.root)), &[word, "CN=alice"]);
            // The same from the responder.
            let two = lying(certified(bob(), &theirs, &chain.root), change);
            refused(world(seed + 50).peers(certified(alice(), &ours, &chain.root), two), &[word, "CN=bob"]);
        }
    }
}

/// The right certificate, the signature of another key of the same set.
#[test]
fn a_certificate_without_its_key_is_refused() {
    let chain = Chain::new();
    for (n, key) in Key::POST_QUANTUM.into_iter().enumerate() {
        let [ours, theirs, thief] = ["alice", "bob", "mallory"].map(|name| chain.issue(key, name));
        let mut stolen = credentials(&ours, &chain.root);
        stolen.key = credentials(&thief, &chain.root).key;
        // The key is kept under the stolen certificate's public key, as a keeper that lies about itself would have it.
        stolen.key =
            std::sync::Arc::new(Posing { key: stolen.key, as_who: credentials(&ours, &chain.root).key });
        let one = alice().certified(&provider::Provider::new(), &stolen);
        let two = certified(bob(), &theirs, &chain.root);
        refused(world(500 + n as u64).peers(one, two), &["does not verify", "CN=alice"]);
    }
}

/// A key that shows another's public half.
struct Posing {
    key: std::sync::Arc<dyn crypto::SigningKey>,
    as_who: std::sync::Arc<dyn crypto::SigningKey>,
}

impl crypto::SigningKey for Posing {
    fn schemes(&self) -> Vec<crypto::SignatureScheme> {
        self.key.schemes()
    }

    fn public_key(&self) -> &[u8] {
        self.as_who.public_key()
    }

    fn sign(&self, scheme: crypto::SignatureScheme, message: &[u8]) -> Result<Vec<u8>, crypto::CryptoError> {
        self.key.sign(scheme, message)
    }
}

/// A peer whose SIGNATURE_HASH_ALGORITHMS lacks Identity, or is not there, cannot check ML-DSA: it is refused, and the log
/// says what would help (draft-ietf-ipsecme-ikev2-pqc-auth §3.2.1).
#[test]
fn a_peer_without_the_identity_hash_is_told_no() {
    let chain = Chain::new();
    let theirs = chain.issue(Key::MlDsa65, "bob");
    let hashes = [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384, HashAlgorithm::SHA2_512];
    for (n, (hashes, words)) in
        [(&hashes[..], ["ML-DSA-65", "the hash Identity"]), (&[], ["ML-DSA-65", "RFC 7427"])]
            .into_iter()
            .enumerate()
    {
        let mut world = world(600 + n as u64).site(proven(bob, &theirs, &chain.root));
        let mut alice = Puppet::alice();
        let mut payloads = alice.init_payloads();
        if !hashes.is_empty() {
            let data: Vec<u8> = hashes.iter().flat_map(|hash| hash.0.to_be_bytes()).collect();
            payloads.push(Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, data)));
        }
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        let response = alice.hear(&mut world).expect("an answer to IKE_SA_INIT");
        alice.accept_init(&response);
        let payloads = alice.auth_payloads();
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer to IKE_AUTH");
        assert_eq!(errors(&answer), [NotifyType::AUTHENTICATION_FAILED]);
        let refusals = world.host("bob").refusals();
        let refusal = refusals.last().expect("a refusal");
        assert_eq!(refusal.kind, RefusalKind::AuthenticationFailed);
        for word in words {
            assert!(refusal.reason.contains(word), "“{word}” is not in {}", refusal.reason);
        }
        world.run(Duration::from_secs(60));
        assert!(is_clean(&mut world));
    }
}

/// What losses cost: of fifty handshakes with chains of ML-DSA-87 each, how many come to stand, in what time, and with how
/// many datagrams. `docs/large-messages.md` has the figures; with `--nocapture` they are printed.
#[test]
fn losses_cost_time_and_not_the_handshake() {
    let chain = Chain::new();
    let mut fewest = 0;
    for (loss, stand, median, datagrams) in [
        (0, 50, 100, 100),
        (50, 50, 3_000, 220),
        (100, 50, 4_000, 260),
        (200, 48, 10_000, 350),
        (300, 40, 20_000, 420),
    ] {
        let mut times = Vec::new();
        let mut sent = 0;
        for seed in 0..50 {
            let delay = Duration::from_millis(10)..=Duration::from_millis(12);
            let weather = Weather { loss, duplicate: 0, delay, mtu: Some(1_252) };
            let mut world = chain.pair(1_000 + seed, Key::MlDsa87).under(weather);
            let begun = world.now();
            let order = world.up("alice");
            world.until(answered);
            if matches!(world.reply(order), Some(Reply::Up { .. })) {
                times.push(world.now().since(begun));
                sent += world.stats.get("datagrams sent");
            }
        }
        times.sort();
        let (count, sent) = (times.len(), sent / times.len().max(1) as u64);
        let at = |hundredths: usize| times[(count - 1) * hundredths / 100].as_millis();
        println!("loss {loss} ‰: {count} of 50, median {} ms, 90 % {} ms, {sent} datagrams", at(50), at(90));
        if loss == 0 {
            fewest = sent;
        }
        assert!(count >= stand, "{loss} ‰: {count}");
        assert!(at(50) <= median, "{loss} ‰: {} ms", at(50));
        assert!(sent * 100 <= fewest * datagrams, "{loss} ‰: {sent} of {fewest} datagrams");
    }
}
