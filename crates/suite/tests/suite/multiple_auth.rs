//! Two authentications in a row (RFC 4739), of either side or of both: what travels when, what stands when, and every order
//! of messages that is wrong.

use crate::ppk::stripped;
use policy::{
    AuthMethod, Childless, Gateway, IdPattern, Identity, IkeLifetime, LocalAuth, PublicKey, Redirect,
    RemoteAuth, Round, Unique,
};
use provider::Provider;
use sa::{Event, IkeStatus, Order, Reply, Target};
use sim::{Site, Weather, answered, established};
use std::sync::Arc;
use std::time::Duration;
use suite::reader::errors;
use suite::{Puppet, World, alice, bob, is_clean, notifies, world};
use testcerts::{Authority, EndEntity, Key};
use wire::num::{ExchangeType, NotifyType, PayloadType};
use wire::{Authentication, Delete, Notify, Payload};

const AUTH: ExchangeType = ExchangeType::IKE_AUTH;
const SUPPORTED: NotifyType = NotifyType::MULTIPLE_AUTH_SUPPORTED;
const FOLLOWS: NotifyType = NotifyType::ANOTHER_AUTH_FOLLOWS;
const SECOND: Duration = Duration::from_secs(1);

fn fqdn(name: &str) -> Identity {
    Identity::Fqdn(format!("{name}.example"))
}

fn psk_local(id: &str) -> LocalAuth {
    LocalAuth { method: AuthMethod::Psk, id: Some(fqdn(id)), certs: Vec::new(), pubkey: None }
}

fn psk_remote(id: IdPattern) -> RemoteAuth {
    RemoteAuth {
        method: AuthMethod::Psk,
        id,
        certs: Vec::new(),
        authorities: Vec::new(),
        pubkeys: Vec::new(),
        revocation: policy::Revocation::default(),
    }
}

/// Proves by the PSK a second time, as `id`.
fn proves(site: Site, id: &str) -> Site {
    site.with(|c| c.local2 = Some(psk_local(id)))
}

/// Wants a second proof by the PSK, of `id`.
fn wants(site: Site, id: &str) -> Site {
    site.with(|c| c.remote2 = Some(psk_remote(IdPattern::Is(fqdn(id)))))
}

/// Alice proves herself so often, and bob, with names of their own in the second round.
fn sites((ours, theirs): (usize, usize)) -> [Site; 2] {
    let (mut one, mut other) = (alice(), bob());
    if ours == 2 {
        (one, other) = (proves(one, "alice2"), wants(other, "alice2"));
    }
    if theirs == 2 {
        (one, other) = (wants(one, "bob2"), proves(other, "bob2"));
    }
    [one, other]
}

fn pair(seed: u64, counts: (usize, usize)) -> World {
    let [one, other] = sites(counts);
    world(seed).peers(one, other)
}

const COUNTS: [(usize, usize); 3] = [(2, 1), (1, 2), (2, 2)];

/// The payloads of the IKE_AUTH messages that a site sent, requests and responses, each once.
fn sent(world: &World, name: &str) -> Vec<String> {
    let traces = world.host(name).events.iter().filter_map(|(_, event)| match event {
        Event::Message(trace) if trace.sent && trace.resent == 0 && trace.exchange == "IKE_AUTH" => {
            Some(trace.payloads.clone())
        }
        _ => None,
    });
    traces.collect()
}

fn only(world: &mut World, name: &str) -> IkeStatus {
    let mut all = world.status(name);
    assert_eq!(all.len(), 1, "{name}: {all:?}");
    all.remove(0)
}

/// What a site shows of proofs: ours and the peer's, `alice by pre-shared key` and so on.
fn proofs(world: &mut World, name: &str) -> [Vec<String>; 2] {
    let IkeStatus { local_auth, remote_auth, .. } = only(world, name);
    let say = |rounds: Vec<sa::Proven>| {
        let one = |proven: sa::Proven| format!("{} by {}", proven.id, proven.by).replace(".example", "");
        rounds.into_iter().map(one).collect()
    };
    [say(local_auth), say(remote_auth)]
}

/// All reasons that a site tells.
fn told(world: &World, name: &str) -> String {
    let events = world.host(name).events.iter().filter_map(|(_, event)| match event {
        Event::Refused { refusal, .. } => Some(refusal.reason.clone()),
        Event::IkeDown(_, sa::Fate::Fault(what)) => Some(what.clone()),
        _ => None,
    });
    events.collect::<Vec<_>>().join("\n")
}

fn is_up(event: &Event) -> bool {
    matches!(event, Event::IkeUp(_) | Event::ChildUp(..))
}

//= rfc4739 §2.1
//= rfc4739 §2.4
//= rfc4739 §2.5
#[test]
fn either_side_or_both_authenticate_twice() {
    for counts in COUNTS {
        let mut world = pair(1, counts);
        world.up("alice");
        world.until(established);
        assert!(world.is_mirrored());
        let has = |text: &str, all: &[&str], none: &[&str]| {
            let words: Vec<&str> = text.split(' ').collect();
            all.iter().all(|word| words.contains(word)) && !none.iter().any(|word| words.contains(word))
        };
        let (twice, follows) = ((counts.0 == 2, counts.1 == 2), "N(ANOTHER_AUTH_FOLLOWS)");
        let [first, second] = &sent(&world, "alice")[..] else { panic!("{counts:?}") };
        let always = ["IDi", "AUTH", "SA", "TSi", "TSr", "N(MULTIPLE_AUTH_SUPPORTED)"];
        assert!(has(first, &always, &[]) && has(first, &[follows], &[]) == twice.0, "{counts:?}: {first}");
        let (all, none): (&[_], &[_]) = match twice.0 {
            true => (&["IDi", "AUTH"], &["SA", "TSi", "CP", "N(MULTIPLE_AUTH_SUPPORTED)", follows]),
            false => (&[], &["IDi", "AUTH", "SA"]),
        };
        assert!(has(second, all, none), "{counts:?}: {second}");
        let [first, second] = &sent(&world, "bob")[..] else { panic!("{counts:?}") };
        assert!(has(first, &["IDr", "AUTH"], &["SA", "TSi", "TSr", "CP"]), "{counts:?}: {first}");
        assert_eq!(has(first, &[follows], &[]), twice.1, "{counts:?}: {first}");
        assert!(has(second, &["SA", "TSi", "TSr"], &[follows]), "{counts:?}: {second}");
        assert_eq!(has(second, &["IDr", "AUTH"], &[]), twice.1, "{counts:?}: {second}");
        let of = |who: &str, n: usize| -> Vec<String> {
            let names = [who.to_string(), format!("{who}2")].into_iter().take(n);
            names.map(|name| format!("{name} by pre-shared key")).collect()
        };
        assert_eq!(proofs(&mut world, "alice"), [of("alice", counts.0), of("bob", counts.1)]);
        assert_eq!(proofs(&mut world, "bob"), [of("bob", counts.1), of("alice", counts.0)]);
        // The first round's identities are those of the IKE SA.
        let status = only(&mut world, "bob");
        assert_eq!((status.local_id, status.remote_id), (Some(fqdn("bob")), Some(fqdn("alice"))));
    }
}

/// Nobody says a word of it who has one round only.
#[test]
fn with_one_round_nothing_is_announced() {
    let mut world = world(2).peers(alice(), bob());
    let mut all = Vec::new();
    world.up("alice");
    world.until(established);
    for name in ["alice", "bob"] {
        all.extend(world.host(name).events.iter().filter_map(|(_, event)| match event {
            Event::Message(trace) => Some(trace.payloads.clone()),
            _ => None,
        }));
    }
    assert!(all.len() >= 4 && !all.iter().any(|text| text.contains("MULTIPLE") || text.contains("ANOTHER")));
    assert_eq!(proofs(&mut world, "bob").map(|rounds| rounds.len()), [1, 1]);
}

/// What somebody proves itself with.
#[derive(Clone, Copy)]
enum Proof<'a> {
    Psk,
    Certificate(&'a EndEntity, &'a Authority),
    Raw(&'a EndEntity),
}

impl Proof<'_> {
    fn raw(entity: &EndEntity) -> PublicKey {
        let certificate = trust::certificate(&Provider::new(), entity.der()).expect("a certificate");
        let spki = trust::facts(&certificate).expect("its facts").spki;
        trust::public_keys(&Provider::new(), &spki).expect("a public key").remove(0)
    }

    fn local(self, id: &str) -> LocalAuth {
        let read = |der: &Vec<u8>| trust::certificate(&Provider::new(), der).expect("a certificate");
        let mut local = LocalAuth { method: AuthMethod::Pubkey, ..psk_local(id) };
        match self {
            Self::Psk => local.method = AuthMethod::Psk,
            Self::Certificate(entity, _) => local.certs = entity.chain.iter().map(read).collect(),
            Self::Raw(entity) => local.pubkey = Some(Self::raw(entity)),
        }
        local
    }

    fn remote(self, id: IdPattern) -> RemoteAuth {
        let mut remote = RemoteAuth { method: AuthMethod::Pubkey, ..psk_remote(id) };
        let read = |der: &[u8]| trust::certificate(&Provider::new(), der).expect("a certificate");
        match self {
            Self::Psk => remote.method = AuthMethod::Psk,
            Self::Certificate(_, authority) => remote.authorities = vec![read(authority.der())],
            Self::Raw(entity) => remote.pubkeys = vec![Self::raw(entity)],
        }
        remote
    }

    fn key(self) -> Option<Arc<dyn crypto::SigningKey>> {
        match self {
            Self::Psk => None,
            Self::Certificate(entity, _) | Self::Raw(entity) => {
                Some(Arc::from(provider::load_private_key(&entity.key).expect("a key")))
            }
        }
    }
}

/// `site` proves itself by `ours`, one after the other, and wants `theirs` of its peer.
fn proving(site: Site, name: &str, peer: &str, ours: &[Proof<'_>], theirs: &[Proof<'_>]) -> Site {
    let keys: Vec<_> = ours.iter().filter_map(|proof| proof.key()).collect();
    let mut site = site.with(|c| {
        (c.local, c.local2) = (ours[0].local(name), ours.get(1).map(|proof| proof.local(name)));
        c.remote = theirs[0].remote(IdPattern::Is(fqdn(peer)));
        c.remote2 = theirs.get(1).map(|proof| proof.remote(IdPattern::OfFirstRound));
    });
    site.make_keeper = Box::new(move |suite, policy| {
        let mut secrets = trust::Secrets::new();
        secrets.add_psk(Vec::new(), sim::site::PSK.into());
        keys.into_iter().for_each(|key| secrets.add_key(key));
        Box::new(trust::Trust::new(policy, suite, secrets))
    });
    site
}

/// Both prove themselves so, each with its own of these.
fn proven_pair(seed: u64, ours: &[Proof<'_>], theirs: &[Proof<'_>]) -> World {
    let one = proving(alice(), "alice", "bob", ours, theirs);
    world(seed).peers(one, proving(bob(), "bob", "alice", theirs, ours))
}

#[test]
fn whatever_proves_an_identity_does_so_in_either_round() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let rsa = Authority::root(Key::Rsa2048, "RSA Root");
    let issue = |root: &Authority, key, name: &str| root.issue(key, name, &[&format!("{name}.example")]);
    let both = |root, key| ["alice", "bob"].map(|name| issue(root, key, name));
    let (ec, rs, ed) = (both(&root, Key::EcdsaP256), both(&rsa, Key::Rsa2048), both(&root, Key::Ed25519));
    let of = |n: usize| {
        [
            (Proof::Psk, "pre-shared key"),
            (Proof::Certificate(&ec[n], &root), "ECDSA P-256"),
            (Proof::Certificate(&rs[n], &rsa), "RSA 2048"),
            (Proof::Raw(&ed[n]), "Ed25519"),
        ]
    };
    for (n, (first, second)) in
        [(0, 1), (1, 0), (2, 1), (1, 2), (3, 0), (0, 3), (1, 3)].into_iter().enumerate()
    {
        let list = |who: usize| [of(who)[first].0, of(who)[second].0];
        let mut world = proven_pair(10 + n as u64, &list(0), &list(1));
        world.up("alice");
        world.until(established);
        let wanted = [of(0)[first].1, of(0)[second].1].map(|by| format!("alice by {by}"));
        assert_eq!(proofs(&mut world, "bob")[1], wanted);
        let wanted = [of(1)[first].1, of(1)[second].1].map(|by| format!("bob by {by}"));
        assert_eq!(proofs(&mut world, "alice")[1], wanted);
    }
}

/// ECDSA beside ML-DSA at both ends, in fragments, over a path that loses one datagram in ten and doubles some.
#[test]
fn a_classical_signature_and_one_that_withstands_a_quantum_computer() {
    let (ec, pq) = (Authority::root(Key::EcdsaP256, "Root"), Authority::root(Key::MlDsa65, "PQ Root"));
    let issue = |root: &Authority, key, name: &str| root.issue(key, name, &[&format!("{name}.example")]);
    let ends =
        ["alice", "bob"].map(|name| (issue(&ec, Key::EcdsaP256, name), issue(&pq, Key::MlDsa65, name)));
    for seed in 0..12 {
        let list = |n: usize| [Proof::Certificate(&ends[n].0, &ec), Proof::Certificate(&ends[n].1, &pq)];
        let weather = Weather {
            loss: 100,
            duplicate: 50,
            delay: Duration::from_millis(5)..=Duration::from_millis(50),
            mtu: Some(1_252),
        };
        let mut world = proven_pair(30 + seed, &list(0), &list(1)).under(weather);
        let order = world.up("alice");
        world.until(answered);
        assert!(matches!(world.reply(order), Some(Reply::Up { .. })), "{seed}: {:?}", world.reply(order));
        world.run(SECOND);
        assert!(world.stats.get("fragments sent") > 8);
        assert_eq!(proofs(&mut world, "alice")[1], ["bob by ECDSA P-256", "bob by ML-DSA-65"]);
        assert_eq!(proofs(&mut world, "bob")[1], ["alice by ECDSA P-256", "alice by ML-DSA-65"]);
        assert!(world.is_mirrored());
    }
}

/// Whoever has broken the first signature cannot borrow a second one that is good, but somebody else's.
#[test]
fn the_second_round_shows_who_the_first_one_has_shown() {
    let (ec, pq) = (Authority::root(Key::EcdsaP256, "Root"), Authority::root(Key::MlDsa65, "PQ Root"));
    let issue = |root: &Authority, key, name: &str| root.issue(key, name, &[&format!("{name}.example")]);
    let (first, lent) = (issue(&ec, Key::EcdsaP256, "alice"), issue(&pq, Key::MlDsa65, "mallory"));
    let ours = [Proof::Certificate(&first, &ec), Proof::Certificate(&lent, &pq)];
    for (n, (pattern, good)) in [
        (IdPattern::OfFirstRound, false),
        (IdPattern::Is(fqdn("alice")), false),
        (IdPattern::Is(fqdn("mallory")), true),
        (IdPattern::Any, true),
    ]
    .into_iter()
    .enumerate()
    {
        let one = proving(alice(), "alice", "bob", &ours, &[Proof::Psk]);
        let one = one.with(|c| c.local2.as_mut().unwrap().id = Some(fqdn("mallory")));
        let other = proving(bob(), "bob", "alice", &[Proof::Psk], &ours);
        // Whom the connection is for does not name the one peer.
        let other =
            other.with(|c| c.remote.id = IdPattern::Any).with(|c| c.remote2.as_mut().unwrap().id = pattern);
        let mut world = world(50 + n as u64).peers(one, other);
        world.up("alice");
        world.until(answered);
        assert_eq!(world.host("bob").count(is_up) > 0, good);
        if !good {
            let why = "the identity is `mallory.example` (ID_FQDN), wanted is `alice.example`";
            assert!(told(&world, "bob").contains(why), "{}", told(&world, "bob"));
            world.run(60 * SECOND);
            assert!(is_clean(&mut world));
        }
    }
}

/// One authority above both certificates: whoever has the first key cannot show it twice.
#[test]
fn two_rounds_want_two_keys() {
    let root = Authority::root(Key::MlDsa65, "Root");
    let issue = |key, name: &str| root.issue(key, name, &[&format!("{name}.example")]);
    // Certificates of tests have the same key for the same name.
    let (old, new, again) =
        (issue(Key::EcdsaP256, "alice"), issue(Key::MlDsa65, "alice"), issue(Key::EcdsaP256, "alice"));
    assert_ne!(old.der(), again.der());
    let raw = Proof::Raw(&old);
    let [old, new, again] = [&old, &new, &again].map(|entity| Proof::Certificate(entity, &root));
    for (n, (ours, good)) in
        [([old, new], true), ([old, old], false), ([old, again], false), ([raw, old], false)]
            .into_iter()
            .enumerate()
    {
        // The same of the initiator and of the responder.
        for side in ["alice", "bob"] {
            let alice_is = |site, peer| proving(site, "alice", peer, &ours, &[Proof::Psk]);
            let wanting = |site, own| proving(site, own, "alice", &[Proof::Psk], &ours);
            let (one, other) = match side {
                "alice" => (alice_is(alice(), "bob"), wanting(bob(), "bob")),
                _ => (wanting(alice(), "bob"), alice_is(bob(), "bob")),
            };
            let mut world = world(90 + n as u64).peers(one, other);
            world.up("alice");
            world.until(answered);
            let judge = if side == "alice" { "bob" } else { "alice" };
            assert_eq!(world.host(judge).count(is_up) > 0, good, "{n} {side}: {}", told(&world, judge));
            let why = "signs with the same key (ECDSA P-256) in both rounds";
            assert_eq!(told(&world, judge).contains(why), !good, "{n} {side}: {}", told(&world, judge));
        }
    }
}

/// What is configured at both ends does not go together: who says what, and whether that is before IKE_AUTH.
#[test]
fn two_ends_that_do_not_agree_are_told() {
    type Make = fn(Site, &str) -> Site;
    const NEITHER: Make = |site, _| site;
    const BOTH: Make = |site, who| {
        if who == "alice" {
            wants(proves(site, "alice2"), "bob2")
        } else {
            proves(wants(site, "alice2"), "bob2")
        }
    };
    const LOCAL: Make = |site, who| proves(site, if who == "alice" { "alice2" } else { "bob2" });
    const REMOTE: Make = |site, who| wants(site, if who == "alice" { "bob2" } else { "alice2" });
    let missing = "does not announce that it supports a second authentication (MULTIPLE_AUTH_SUPPORTED, RFC 4739), which";
    let rows: [(Make, Make, &str, &str, bool); 8] = [
        (LOCAL, NEITHER, "alice", "which `local2` of connection", false),
        (REMOTE, NEITHER, "alice", "which `remote2` of connection", false),
        (BOTH, NEITHER, "alice", missing, false),
        (NEITHER, LOCAL, "bob", "the peer does not announce that it takes one", true),
        (NEITHER, REMOTE, "bob", "the peer authenticates once and `remote2` wants a second proof", true),
        (LOCAL, LOCAL, "bob", "announces a second authentication, and `remote2` does not say who", true),
        (REMOTE, REMOTE, "bob", "the peer authenticates once and `remote2` wants a second proof", true),
        (LOCAL, BOTH, "alice", "announces a second authentication, and `remote2` does not say who", true),
    ];
    for (n, (one, other, who, why, asked)) in rows.into_iter().enumerate() {
        let mut world = world(60 + n as u64).peers(one(alice(), "alice"), other(bob(), "bob"));
        let order = world.up("alice");
        world.until(answered);
        assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{n}: {:?}", world.reply(order));
        assert!(told(&world, who).contains(why), "{n}: {}", told(&world, who));
        assert_eq!(!sent(&world, "alice").is_empty(), asked, "{n}: our identity");
        for name in ["alice", "bob"] {
            assert_eq!(world.host(name).count(is_up), 0, "{n}: {name}");
        }
        world.run(60 * SECOND);
        assert!(is_clean(&mut world), "{n}");
    }
}

/// Somebody answers first, without a word of second rounds: the real answer still counts, and our identity is not shown to the
/// other.
#[test]
fn a_forged_answer_without_the_announcement_does_not_end_it() {
    let mut world = pair(85, (2, 2));
    let mut left = 1;
    world.attack(move |scene| {
        let first = scene.datagram.peek().is_some_and(|peek| peek.exchange == 34 && peek.response);
        if first && left > 0 {
            left -= 1;
            let mut forged = scene.datagram.clone();
            forged.payload = stripped(forged.message(), &[SUPPORTED]);
            scene.take();
            scene.send(Duration::ZERO, forged);
        }
    });
    world.up("alice");
    world.until(established);
    assert_eq!(sent(&world, "alice").len(), 2);
    // Whoever strips all of them gets nothing from us.
    let mut world = pair(86, (2, 2));
    world.attack(|scene| {
        if scene.datagram.peek().is_some_and(|peek| peek.exchange == 34 && peek.response) {
            let mut forged = scene.datagram.clone();
            forged.payload = stripped(forged.message(), &[SUPPORTED]);
            scene.take();
            scene.send(Duration::ZERO, forged);
        }
    });
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{:?}", world.reply(order));
    assert_eq!(sent(&world, "alice").len(), 0);
}

/// Connections for the same identities: the one whose rounds are those of the peer.
#[test]
fn a_responder_chooses_by_what_is_announced() {
    for (n, twice) in [false, true].into_iter().enumerate() {
        let mut other = bob();
        let mut strict = wants(bob(), "alice2").connections.remove(0);
        strict.name = "strict".to_string();
        other.connections.insert(usize::from(n == 0), strict);
        let one = if twice { proves(alice(), "alice2") } else { alice() };
        let mut world = world(80 + n as u64).peers(one, other);
        world.up("alice");
        world.until(established);
        assert_eq!(only(&mut world, "bob").connection, if twice { "strict" } else { "net" });
    }
}

/// Whoever has broken one of alice's two proofs does not end what rests on both, by whatever another connection lets her do with one.
#[test]
fn one_proof_does_not_end_what_rests_on_two() {
    for (n, unique) in [Unique::No, Unique::Replace, Unique::Keep].into_iter().enumerate() {
        let mut other = bob().with(|c| c.unique = unique);
        let mut strict = wants(bob(), "alice2").connections.remove(0);
        strict.name = "strict".to_string();
        other.connections.push(strict);
        let mut world = world(90 + n as u64).peers(proves(alice(), "alice2"), other);
        world.up("alice");
        world.until(established);
        let before = only(&mut world, "bob");
        assert_eq!(before.connection, "strict");
        let mut thief = Puppet::alice();
        thief.init(&mut world);
        let mut payloads = thief.auth_payloads();
        payloads.push(notify(NotifyType::INITIAL_CONTACT));
        let answer = thief.ask(&mut world, AUTH, &payloads).expect("an answer");
        let refused = unique == Unique::Keep;
        assert_eq!(errors(&answer).contains(&NotifyType::AUTHENTICATION_FAILED), refused, "{unique:?}");
        let all = world.status("bob");
        let stands = all.iter().find(|sa| sa.id == before.id).map(|sa| (sa.state, sa.children.len()));
        assert_eq!(stands, Some(("established", 1)), "{unique:?}: {all:?}");
    }
}

fn notify(kind: NotifyType) -> Payload<'static> {
    Payload::Notify(Notify::new(kind, Vec::new()))
}

/// ID and AUTH of a puppet as `name`.
fn identified(puppet: &mut Puppet, name: &str) -> Vec<Payload<'static>> {
    puppet.id = format!("{name}.example");
    puppet.auth_payloads().into_iter().take(2).collect()
}

/// A puppet alice whose first round bob has answered, as `with` says.
fn halfway(world: &mut World, with: &[NotifyType]) -> Puppet {
    let mut alice = Puppet::alice();
    let init = alice.init(world);
    assert!(notifies(&init).contains(&SUPPORTED), "{:?}", notifies(&init));
    let mut payloads = alice.auth_payloads();
    payloads.extend(with.iter().map(|kind| notify(*kind)));
    let answer = alice.ask(world, AUTH, &payloads).expect("an answer to the first round");
    let kinds: Vec<_> = answer.iter().map(Payload::kind).collect();
    assert!(kinds.contains(&PayloadType::AUTH) && !kinds.contains(&PayloadType::SA), "{kinds:?}");
    alice
}

/// Bob, who wants alice to prove herself twice, refuses her second request, and keeps nothing.
fn refused_second(
    seed: u64,
    make: impl FnOnce(&mut Puppet) -> Vec<Payload<'static>>,
) -> (NotifyType, String) {
    let mut world = world(seed).site(wants(bob(), "alice2"));
    let mut alice = halfway(&mut world, &[SUPPORTED, FOLLOWS]);
    let payloads = make(&mut alice);
    let answer = alice.ask(&mut world, AUTH, &payloads).expect("an answer to the second round");
    let [error] = errors(&answer)[..] else { panic!("{}", wire::summary(&answer)) };
    assert_eq!(answer.len(), 1, "{}", wire::summary(&answer));
    assert_eq!(world.host("bob").count(is_up), 0);
    let why = told(&world, "bob");
    world.run(60 * SECOND);
    assert!(is_clean(&mut world));
    (error, why)
}

//= rfc4739 §2.1
//= rfc4739 §3.1
//= rfc4739 §3.2
#[test]
fn a_second_round_that_is_wrong_is_refused() {
    const SYNTAX: NotifyType = NotifyType::INVALID_SYNTAX;
    const FAILED: NotifyType = NotifyType::AUTHENTICATION_FAILED;
    type Make = fn(&mut Puppet) -> Vec<Payload<'static>>;
    let wrong: [(Make, NotifyType, &str); 9] = [
        (|_| Vec::new(), SYNTAX, "the IDi payload is missing"),
        (
            |alice| identified(alice, "alice2").into_iter().skip(1).collect(),
            SYNTAX,
            "the IDi payload is missing",
        ),
        (
            |alice| identified(alice, "alice2").into_iter().take(1).collect(),
            FAILED,
            "wants to authenticate by EAP",
        ),
        (|alice| identified(alice, "alice"), FAILED, "the identity is `alice.example`"),
        (
            |alice| {
                let mut payloads = identified(alice, "alice2");
                payloads.push(notify(FOLLOWS));
                payloads
            },
            FAILED,
            "announces a third authentication",
        ),
        (
            |alice| {
                identified(alice, "alice2");
                alice.auth_payloads()
            },
            SYNTAX,
            "the payloads of a child SA",
        ),
        (
            |alice| {
                // The first round's AUTH value with the second round's identity.
                let auth = identified(alice, "alice").remove(1);
                vec![identified(alice, "alice2").remove(0), auth]
            },
            FAILED,
            "the peer's pre-shared key is not the one that is configured here",
        ),
        (
            |alice| {
                let mut payloads = identified(alice, "alice2");
                payloads.push(payloads[1].clone());
                payloads
            },
            SYNTAX,
            "",
        ),
        (
            |alice| {
                let id = identified(alice, "alice2").remove(0);
                let data = vec![7; 64].into();
                vec![
                    id,
                    Payload::Auth(Authentication { method: wire::num::AuthMethod::DIGITAL_SIGNATURE, data }),
                ]
            },
            FAILED,
            "authenticates by a digital signature",
        ),
    ];
    for (n, (make, error, word)) in wrong.into_iter().enumerate() {
        let (found, why) = refused_second(100 + n as u64, make);
        assert_eq!(found, error, "{n}: {why}");
        assert!(why.contains(word), "{n}: {why}");
    }
}

//= rfc4739 §2.1
//= rfc4739 §3.2
#[test]
fn a_first_request_that_is_wrong_is_refused() {
    // (what the request has besides, without AUTH), and what comes of it.
    for (n, (with, auth, error)) in [
        (&[FOLLOWS][..], true, NotifyType::INVALID_SYNTAX),
        (&[SUPPORTED, FOLLOWS], false, NotifyType::INVALID_SYNTAX),
        (&[SUPPORTED], true, NotifyType::AUTHENTICATION_FAILED),
        (&[], true, NotifyType::AUTHENTICATION_FAILED),
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = world(120 + n as u64).site(wants(bob(), "alice2"));
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let mut payloads = alice.auth_payloads();
        payloads.retain(|payload| auth || payload.kind() != PayloadType::AUTH);
        payloads.extend(with.iter().map(|kind| notify(*kind)));
        let answer = alice.ask(&mut world, AUTH, &payloads).expect("an answer");
        assert_eq!(errors(&answer), [error], "{n}");
        world.run(60 * SECOND);
        assert!(is_clean(&mut world));
    }
}

/// One who announces no second proof gets ours by an empty request, and by nothing else.
#[test]
fn our_second_proof_is_asked_for_by_nothing() {
    let right = |alice: &mut Puppet, world: &mut World| {
        let answer = alice.ask(world, AUTH, &[]).expect("an answer");
        let kinds: Vec<_> = answer.iter().map(Payload::kind).collect();
        for kind in [PayloadType::IDR, PayloadType::AUTH, PayloadType::SA, PayloadType::TSI] {
            assert!(kinds.contains(&kind), "{}", wire::summary(&answer));
        }
    };
    let mut world = world(130).site(proves(bob(), "bob2"));
    let mut alice = halfway(&mut world, &[SUPPORTED]);
    right(&mut alice, &mut world);
    assert_eq!(world.host("bob").count(|event| matches!(event, Event::IkeUp(_))), 1);
    let mut world = suite::world(131).site(proves(bob(), "bob2"));
    let mut alice = halfway(&mut world, &[SUPPORTED]);
    let payloads = identified(&mut alice, "alice");
    let answer = alice.ask(&mut world, AUTH, &payloads).expect("an answer");
    assert_eq!(errors(&answer), [NotifyType::INVALID_SYNTAX]);
    assert!(told(&world, "bob").contains("which it has not announced"));
}

/// Nothing comes of the first round alone: no IKE SA, no child, no address, and the older IKE SA stays. Who stops there is
/// forgotten in time, and takes a place among the half-open ones till then.
//= rfc4739 §2.1
#[test]
fn between_the_rounds_nothing_stands() {
    let site = wants(bob(), "alice2").with(|c| c.unique = Unique::Replace);
    let mut world = world(140).site(site);
    let mut first = halfway(&mut world, &[SUPPORTED, FOLLOWS]);
    let payloads = identified(&mut first, "alice2");
    first.ask(&mut world, AUTH, &payloads).expect("an answer");
    world.run(SECOND);
    assert_eq!((world.status("bob").len(), world.host("bob").dataplane.sad().count()), (1, 1));
    let mut second = Puppet::new("alice", "192.0.2.1", "bob", "198.51.100.2");
    second.spis.initiator = base::IkeSpi(77);
    second.init(&mut world);
    let mut payloads = second.auth_payloads();
    payloads.extend([notify(SUPPORTED), notify(FOLLOWS), notify(NotifyType::INITIAL_CONTACT)]);
    second.ask(&mut world, AUTH, &payloads).expect("an answer");
    world.run(SECOND);
    let states: Vec<_> = world.status("bob").iter().map(|ike| ike.state).collect();
    assert_eq!(states, ["established", "connecting"]);
    assert_eq!(world.host("bob").dataplane.sad().count(), 1);
    assert_eq!(world.host("bob").half_open(), 1);
    world.run(40 * SECOND);
    let states: Vec<_> = world.status("bob").iter().map(|ike| ike.state).collect();
    assert_eq!((states, world.host("bob").half_open()), (vec!["established"], 0));
}

/// A message that comes again is answered again, octet for octet, in each round; and nothing else comes of it.
#[test]
fn each_round_may_be_repeated() {
    let mut world = world(150).site(wants(bob(), "alice2"));
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let mut payloads = alice.auth_payloads();
    payloads.extend([notify(SUPPORTED), notify(FOLLOWS)]);
    let first = alice.request(AUTH, &payloads);
    let payloads = identified(&mut alice, "alice2");
    let second = alice.request(AUTH, &payloads);
    let mut answers = Vec::new();
    // The second round's request comes too early, then each twice.
    for (request, heard) in
        [(&second, false), (&first, true), (&first, true), (&second, true), (&second, true)]
    {
        alice.deaf(&world);
        alice.send(&mut world, request);
        let answer = alice.hear(&mut world);
        assert_eq!(answer.is_some(), heard);
        answers.extend(answer);
    }
    assert_eq!((&answers[0], &answers[2]), (&answers[1], &answers[3]));
    assert_eq!(world.host("bob").count(|event| matches!(event, Event::IkeUp(_))), 1);
    // The first one is answered by nobody any more, now that the window is past it.
    alice.deaf(&world);
    alice.send(&mut world, &first);
    assert_eq!(alice.hear(&mut world), None);
}

/// The initiator goes away between the rounds, or does not believe us.
#[test]
fn an_initiator_may_end_it_between_the_rounds() {
    let gone = [vec![Payload::Delete(Delete::ike_sa())], vec![notify(NotifyType::AUTHENTICATION_FAILED)]];
    for (n, payloads) in gone.into_iter().enumerate() {
        let mut world = world(160 + n as u64).site(wants(bob(), "alice2"));
        let mut alice = halfway(&mut world, &[SUPPORTED, FOLLOWS]);
        let answer = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &payloads).expect("an answer");
        assert!(answer.is_empty());
        assert_eq!(told(&world, "bob").contains("did not accept that we are `bob.example`"), n == 1);
        world.run(60 * SECOND);
        assert!(is_clean(&mut world));
    }
    for (n, exchange) in [ExchangeType::INFORMATIONAL, ExchangeType::CREATE_CHILD_SA].into_iter().enumerate()
    {
        let mut world = world(165 + n as u64).site(wants(bob(), "alice2"));
        let mut alice = halfway(&mut world, &[SUPPORTED, FOLLOWS]);
        let answer = alice.ask(&mut world, exchange, &[]).expect("an answer");
        assert_eq!(errors(&answer), [NotifyType::INVALID_SYNTAX]);
        world.run(60 * SECOND);
        assert!(is_clean(&mut world));
    }
}

/// What a puppet answers, request by request.
type Answers<'a> = &'a [&'a dyn Fn(&mut Puppet) -> Vec<Payload<'static>>];

/// How alice, made so, takes bob's answers to her IKE_AUTH requests; what she says in the end, and whether an IKE SA stood.
fn initiator(seed: u64, site: Site, answers: Answers<'_>) -> (String, bool) {
    let mut world = world(seed).site(site);
    world.up("alice");
    let mut bob = Puppet::bob();
    bob.besides = vec![notify(SUPPORTED)];
    bob.answer_init(&mut world);
    for answer in answers {
        let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
        assert_eq!(header.exchange, AUTH);
        let payloads = answer(&mut bob);
        bob.reply(&mut world, &header, &payloads);
    }
    world.run(SECOND);
    let stood = world.host("alice").count(is_up) > 0;
    if !stood {
        // What she tells bob, if she does; and then nothing is left.
        while let Some((header, payloads)) = bob.asked(&mut world) {
            assert_eq!(header.exchange, ExchangeType::INFORMATIONAL, "{}", wire::summary(&payloads));
            bob.reply(&mut world, &header, &[]);
        }
        world.run(400 * SECOND);
        assert!(world.status("alice").iter().all(|ike| ike.state == "connecting"));
    }
    (told(&world, "alice"), stood)
}

fn first(bob: &mut Puppet) -> Vec<Payload<'static>> {
    identified(bob, "bob")
}

fn first_of_two(bob: &mut Puppet) -> Vec<Payload<'static>> {
    let mut payloads = identified(bob, "bob");
    payloads.push(notify(FOLLOWS));
    payloads
}

fn child(bob: &mut Puppet) -> Vec<Payload<'static>> {
    bob.auth_payloads().into_iter().skip(2).collect()
}

fn last_of_two(bob: &mut Puppet) -> Vec<Payload<'static>> {
    [identified(bob, "bob2"), child(bob)].concat()
}

//= rfc4739 §2.1
#[test]
fn a_responder_that_is_wrong_is_refused() {
    let both = |bob: &mut Puppet| [identified(bob, "bob"), child(bob), vec![notify(FOLLOWS)]].concat();
    let no_auth = |bob: &mut Puppet| child(bob);
    let third = |bob: &mut Puppet| [last_of_two(bob), vec![notify(FOLLOWS)]].concat();
    let stranger = |bob: &mut Puppet| [identified(bob, "bob3"), child(bob)].concat();
    let forged = |bob: &mut Puppet| {
        let auth = identified(bob, "bob").remove(1);
        [vec![identified(bob, "bob2").remove(0), auth], child(bob)].concat()
    };
    let failed = |_: &mut Puppet| vec![notify(NotifyType::AUTHENTICATION_FAILED)];
    let (ours, theirs) = (|| proves(alice(), "alice2"), || wants(alice(), "bob2"));
    let rows: [(Site, Answers<'_>, &str, bool); 12] = [
        (theirs(), &[&first_of_two, &last_of_two], "", true),
        (ours(), &[&first, &child], "", true),
        (theirs(), &[&both], "its first response has a child SA", false),
        (
            theirs(),
            &[&|bob| [first(bob), child(bob)].concat()],
            "authenticates once and `remote2` wants",
            false,
        ),
        (ours(), &[&first_of_two], "announces a second authentication, and `remote2` does not say", false),
        (theirs(), &[&first_of_two, &no_auth], "the response lacks IDr or AUTH", false),
        (ours(), &[&first, &last_of_two], "authenticates once more, which it has not announced", false),
        (theirs(), &[&first_of_two, &third], "announces a third authentication", false),
        (theirs(), &[&first_of_two, &stranger], "the identity is `bob3.example`", false),
        (theirs(), &[&first_of_two, &forged], "the peer's pre-shared key is not the one", false),
        (theirs(), &[&first_of_two, &failed], "did not accept that we are `alice.example`", false),
        (
            ours(),
            &[&first, &failed],
            "did not accept that we are `alice2.example` in the second round",
            false,
        ),
    ];
    for (n, (site, answers, why, stands)) in rows.into_iter().enumerate() {
        let (said, stood) = initiator(200 + n as u64, site, answers);
        assert_eq!(stood, stands, "{n}: {said}");
        assert!(said.contains(why), "{n}: {said}");
    }
}

/// Where the responder has nothing more to prove, an error in its last response is of the child: the IKE SA stands.
#[test]
fn a_child_may_fail_after_both_rounds() {
    let no_child = |_: &mut Puppet| vec![notify(NotifyType::TS_UNACCEPTABLE)];
    let (said, stood) = initiator(220, proves(alice(), "alice2"), &[&first, &no_child]);
    assert!(stood && said.contains("TS_UNACCEPTABLE"), "{said}");
}

const BLUE: &[u8] = b"the blue key has at least 32 octets";

/// `PPK_IDENTITY`, and what stands in it.
fn ppk_identity(data: &[u8]) -> Payload<'static> {
    Payload::Notify(Notify::new(NotifyType::PPK_IDENTITY, data.to_vec()))
}

/// A PPK of RFC 8784 goes with the first round; the second one is under the keys that came of it.
//= rfc8784 §3
#[test]
fn a_ppk_goes_with_the_first_round() {
    let mut world = world(230).site(wants(bob(), "alice2").with_ppks(&[("blue", BLUE)], true));
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    payloads.push(notify(NotifyType::USE_PPK));
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    let response = alice.hear(&mut world).expect("an answer to IKE_SA_INIT");
    alice.accept_init(&response);
    alice.channel.as_mut().unwrap().stir(BLUE);
    let mut payloads = alice.auth_payloads();
    payloads.extend([notify(SUPPORTED), notify(FOLLOWS), ppk_identity(b"\x02blue")]);
    let answer = alice.ask(&mut world, AUTH, &payloads).expect("an answer");
    assert!(notifies(&answer).contains(&NotifyType::PPK_IDENTITY));
    let payloads = identified(&mut alice, "alice2");
    let answer = alice.ask(&mut world, AUTH, &payloads).expect("an answer");
    assert!(answer.iter().any(|payload| payload.kind() == PayloadType::SA), "{}", wire::summary(&answer));
    assert!(!notifies(&answer).contains(&NotifyType::PPK_IDENTITY));
    let shown = only(&mut world, "bob").post_quantum.expect("known").to_string();
    assert!(shown.contains("the PPK `blue`"), "{shown}");
}

/// The responder tells with the first round whether it has used the PPK: our second proof is made accordingly.
//= rfc8784 §3
#[test]
fn the_second_proof_goes_by_what_became_of_the_ppk() {
    for taken in [false, true] {
        let site = proves(alice(), "alice2").with_ppks(&[("blue", BLUE)], false);
        let mut world = world(235).site(site);
        world.up("alice");
        let mut bob = Puppet::bob();
        bob.besides = vec![notify(SUPPORTED), notify(NotifyType::USE_PPK)];
        bob.answer_init(&mut world);
        let (header, payloads) = bob.asked(&mut world).expect("IKE_AUTH");
        let said = notifies(&payloads);
        assert!(said.contains(&NotifyType::PPK_IDENTITY) && said.contains(&NotifyType::NO_PPK_AUTH));
        if taken {
            bob.channel.as_mut().unwrap().stir(BLUE);
        }
        let mut answer = identified(&mut bob, "bob");
        answer.extend(taken.then(|| ppk_identity(&[])));
        bob.reply(&mut world, &header, &answer);
        let (header, payloads) = bob.asked(&mut world).expect("the second round");
        let [Payload::IdI(id), Payload::Auth(auth)] = &payloads[..] else {
            panic!("{}", wire::summary(&payloads));
        };
        assert_eq!(auth.data.to_vec(), bob.peer_auth_value(id), "{taken}");
        let answer = child(&mut bob);
        bob.reply(&mut world, &header, &answer);
        world.run(SECOND);
        let shown = only(&mut world, "alice").post_quantum.expect("known").to_string();
        assert_eq!(shown.contains("the PPK `blue`"), taken, "{shown}");
    }
}

/// IntAuth goes into all proofs, with the message id of the first IKE_AUTH request (RFC 9242 §3.3.2), and so do PPKs that
/// IKE_INTERMEDIATE has brought.
//= rfc9242 §3.3.2
#[test]
fn both_rounds_cover_what_came_before_ike_auth() {
    let hybrid = policy::parse_ike("aes256gcm16-prfsha384-x25519-ke1_mlkem768").unwrap();
    for (n, counts) in COUNTS.into_iter().enumerate() {
        let make =
            |site: Site| site.with(|c| c.proposals.clone_from(&hybrid)).with_ppks(&[("blue", BLUE)], true);
        let [one, other] = sites(counts).map(make);
        let mut world = world(240 + n as u64).peers(one, other);
        world.up("alice");
        world.until(established);
        assert_eq!(sent(&world, "alice").len(), 2);
        assert!(world.is_mirrored());
    }
}

/// SUPPORTED_AUTH_METHODS has a list for each round, and each proof goes by its own.
//= rfc9593 §4
#[test]
fn each_round_has_its_own_announcement() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let issue = |key, name: &str| root.issue(key, name, &[&format!("{name}.example")]);
    let of = |name| [issue(Key::EcdsaP256, name), issue(Key::EcdsaP384, name)];
    let (ours, theirs) = (of("alice"), of("bob"));
    let count = |text: &String| text.matches("SUPPORTED_AUTH_METHODS").count();
    for (n, (psk, lists)) in
        [([true, false], 2), ([false, true], 2), ([false, false], 1)].into_iter().enumerate()
    {
        let proof = |side: &'static str, n: usize| match (psk[n], side) {
            (true, _) => Proof::Psk,
            (false, "ours") => Proof::Certificate(&ours[n], &root),
            (false, _) => Proof::Certificate(&theirs[n], &root),
        };
        let proofs = |side| [proof(side, 0), proof(side, 1)];
        let mut world = proven_pair(250 + n as u64, &proofs("ours"), &proofs("theirs"));
        world.up("alice");
        world.until(established);
        assert_eq!(count(&sent(&world, "alice")[0]), lists, "{n}");
        let init = world.host("bob").events.iter().find_map(|(_, event)| match event {
            Event::Message(trace) if trace.sent && trace.exchange == "IKE_SA_INIT" => Some(&trace.payloads),
            _ => None,
        });
        assert_eq!(count(init.expect("a response")), lists, "{n}");
    }
    // The peer takes no pre-shared key in the second round: that is told before it is tried.
    let mut world = world(255).site(proves(alice(), "alice2"));
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    let list = |data: &[u8]| Payload::Notify(Notify::new(NotifyType::SUPPORTED_AUTH_METHODS, data.to_vec()));
    bob.besides = vec![notify(SUPPORTED), list(&[2, 2]), list(&[3, 9, 0])];
    bob.answer_init(&mut world);
    let (header, _) = bob.asked(&mut world).expect("the first round, by a pre-shared key");
    let answer = first(&mut bob);
    bob.reply(&mut world, &header, &answer);
    world.run(SECOND);
    let Some(Reply::Refused(refusal)) = world.reply(order) else { panic!("{:?}", world.reply(order)) };
    assert!(
        refusal.reason.contains("does not let us prove ourselves by a pre-shared key"),
        "{}",
        refusal.reason
    );
}

/// New keys change nothing of what was proved.
#[test]
fn rekeying_leaves_the_proofs() {
    let mut world = pair(260, (2, 2));
    world.up("alice");
    world.until(established);
    let before = proofs(&mut world, "alice");
    for name in ["alice", "bob"] {
        world.order(name, Order::Rekey(Target::All));
        world.run(5 * SECOND);
        assert!(world.is_mirrored());
        assert_eq!(proofs(&mut world, "alice"), before);
    }
}

//= rfc4478 §2
#[test]
fn a_client_proves_itself_twice_anew_before_it_leaves_the_old_one() {
    let reauth = 600 * SECOND;
    let lifetime = IkeLifetime { reauth, over: reauth / 10, ..IkeLifetime::UNLIMITED };
    for unique in [Unique::No, Unique::Replace, Unique::Keep] {
        let [one, other] = sites((2, 2)).map(|site| site.with(|c| c.unique = unique));
        let mut world = world(265).peers(one.with(|c| c.lifetime = lifetime), other);
        world.up("alice");
        world.until(established);
        world.run(SECOND);
        let end = world.now() + 3 * reauth;
        while world.now() < end {
            world.run(SECOND / 10);
            assert!(world.host("bob").dataplane.sad().count() >= 1, "{unique:?}: a gap");
        }
        let rounds =
            sent(&world, "alice").iter().filter(|text| text.contains("ANOTHER_AUTH_FOLLOWS")).count();
        assert!(rounds >= 3, "{rounds}");
        assert_eq!(only(&mut world, "bob").remote_auth.len(), 2);
    }
}

/// The gateway sends on with its last response; the other gateway wants both proofs, too.
//= rfc5685 §6
#[test]
fn a_redirect_comes_with_the_last_round() {
    let there = sim::site::ip("203.0.113.3");
    let ids = vec![IdPattern::Is(fqdn("alice"))];
    let [one, other] = sites((2, 2));
    let rule = Redirect { to: Gateway::Address(there), clients: Vec::new(), ids, above: 0 };
    let other = other.with(|c| c.extensions.redirect = Some(rule));
    let [_, mut twin] = sites((2, 2));
    (twin.name, twin.address) = ("twin".to_string(), there);
    let twin = twin.with(|c| c.local_addrs = vec![policy::AddressPattern::Any]);
    let mut world = world(270).peers(one, other).site(twin);
    world.up("alice");
    world.until(answered);
    world.run(5 * SECOND);
    let texts = sent(&world, "bob");
    assert!(!texts[0].contains("REDIRECT") && texts[1].contains("N(REDIRECT)"), "{texts:?}");
    assert_eq!(only(&mut world, "twin").remote_auth.len(), 2);
    assert_eq!(
        (world.status("bob").len(), world.host("bob").count(|e| matches!(e, Event::ChildUp(..)))),
        (0, 0)
    );
}

/// A gateway may send the client on with its first response already.
//= rfc5685 §6
#[test]
fn a_redirect_with_the_first_response_is_followed() {
    let mut world = world(271).site(wants(alice(), "bob2"));
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    bob.besides = vec![notify(SUPPORTED)];
    bob.answer_init(&mut world);
    let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
    let mut answer = first_of_two(&mut bob);
    answer.push(Payload::Notify(Notify::new(NotifyType::REDIRECT, vec![1, 4, 203, 0, 113, 3])));
    bob.reply(&mut world, &header, &answer);
    let (header, payloads) = bob.asked(&mut world).expect("the deletion");
    assert_eq!((header.exchange, payloads[0].kind()), (ExchangeType::INFORMATIONAL, PayloadType::DELETE));
    bob.reply(&mut world, &header, &[]);
    world.run(SECOND);
    assert!(world.wire.iter().any(|(_, d)| d.to.ip() == sim::site::ip("203.0.113.3")), "IKE_SA_INIT there");
    assert!(world.reply(order).is_none(), "it is waited for");
}

/// An address is asked for with the first request, and given with the last response, once.
//= rfc7296 §2.19
#[test]
fn an_address_is_given_after_the_last_round() {
    let [one, other] = sites((2, 2));
    let one = one.with(|c| c.configuration.vips = vec![sim::site::ip("0.0.0.0")]);
    let one = one.child(|child| child.local_ts.clear());
    let addrs = vec![sim::site::net("10.9.0.0/24").addresses];
    let pool = policy::Pool { name: "road".into(), addrs, ..policy::Pool::default() };
    let other = other.with(|c| c.configuration.pools = vec![Arc::new(pool)]);
    let mut world = world(275).peers(one, other.child(|child| child.remote_ts.clear()));
    world.up("alice");
    world.until(established);
    world.run(SECOND);
    let (ours, theirs) = (sent(&world, "alice"), sent(&world, "bob"));
    assert!(ours[0].contains("CP") && !ours[1].contains("CP"), "{ours:?}");
    assert!(!theirs[0].contains("CP") && theirs[1].contains("CP"), "{theirs:?}");
    assert_eq!(only(&mut world, "bob").leased.len(), 1);
    assert_eq!(only(&mut world, "alice").children.len(), 1);
}

//= rfc6023 §3
#[test]
fn no_child_comes_of_it_where_none_is_wanted() {
    for counts in COUNTS {
        let [one, other] = sites(counts);
        let mut world = world(280).peers(one.with(|c| c.extensions.childless = Childless::Force), other);
        world.up("alice");
        world.until(|world| world.host("alice").count(is_up) >= 2);
        assert!(!sent(&world, "alice").concat().contains(" SA "), "{:?}", sent(&world, "alice"));
        assert_eq!(only(&mut world, "bob").children.len(), 1, "by CREATE_CHILD_SA");
    }
}

/// MOBIKE_SUPPORTED stands beside the SA payloads: in the first request and in the last response.
//= rfc4555 §3.2
//# Implementations that wish to use MOBIKE for a particular IKE_SA MUST include a MOBIKE_SUPPORTED notification in the IKE_AUTH
//# exchange (in case of multiple IKE_AUTH exchanges, in the message containing the SA payload).
#[test]
fn mobike_is_agreed_on_beside_the_child() {
    let [one, other] = sites((2, 2)).map(Site::mobile);
    let mut world = world(285).peers(one, other);
    world.up("alice");
    world.until(established);
    let has =
        |texts: Vec<String>| texts.iter().map(|text| text.contains("MOBIKE_SUPPORTED")).collect::<Vec<_>>();
    assert_eq!(has(sent(&world, "alice")), [true, false]);
    assert_eq!(has(sent(&world, "bob")), [false, true]);
    world.readdress("alice", &["192.0.2.9"]);
    world.run(30 * SECOND);
    assert_eq!(only(&mut world, "bob").path.remote.ip(), sim::site::ip("192.0.2.9"));
    assert!(world.is_mirrored());
}

/// A ticket comes after all rounds, and stands for all of them: what comes of it shows both, and has one round.
//= rfc5723 §4.2
#[test]
fn a_ticket_stands_for_both_rounds() {
    let [one, other] = sites((2, 2)).map(|mut site| {
        site.settings.ticket_secret = Some(base::Secret::new([7; 32]));
        site.settings.crash_secret = Some(base::Secret::new([8; 32]));
        site.with(|c| c.extensions.resumption = true)
    });
    let one = one.child(|child| child.dpd_action = policy::EndAction::Restart);
    let mut world = world(290).peers(one, other);
    world.up("alice");
    world.until(established);
    world.run(SECOND);
    let texts = sent(&world, "bob");
    assert!(!texts[0].contains("TICKET") && texts[1].contains("N(TICKET_LT_OPAQUE)"), "{texts:?}");
    let before = ["alice", "bob"].map(|name| proofs(&mut world, name));
    let ike = only(&mut world, "alice").id;
    world.crash("bob");
    world.order("alice", Order::Probe(ike));
    world.until(|world| world.host("bob").dataplane.sad().count() == 1);
    world.run(SECOND);
    for (name, before) in ["alice", "bob"].into_iter().zip(before) {
        assert!(only(&mut world, name).resumed);
        assert_eq!(proofs(&mut world, name), before);
    }
    let after: Vec<_> = sent(&world, "alice").split_off(2);
    assert_eq!(after.len(), 1, "{after:?}");
    assert!(!after[0].contains("MULTIPLE") && !after[0].contains("ANOTHER"), "{after:?}");
}

/// Whatever is lost, doubled or late: the two come together, or nothing stays.
#[test]
fn losses_in_either_round_do_no_harm() {
    for seed in 0..60 {
        let weather = Weather {
            loss: 250,
            duplicate: 100,
            delay: Duration::from_millis(5)..=Duration::from_millis(800),
            mtu: None,
        };
        let mut world = pair(300 + seed, COUNTS[seed as usize % 3]).under(weather);
        let order = world.up("alice");
        world.until(answered);
        match world.reply(order) {
            Some(Reply::Up { .. }) => {
                world.run(120 * SECOND);
                let ups = |name| world.host(name).count(|event| matches!(event, Event::IkeUp(_)));
                assert_eq!((ups("alice"), ups("bob")), (1, 1), "{seed}");
            }
            Some(Reply::Refused(_)) => {
                world.run(400 * SECOND);
                assert_eq!(world.host("alice").dataplane.sad().count(), 0, "{seed}");
            }
            other => panic!("{seed}: {other:?}"),
        }
    }
}

/// Nobody has more than two rounds: the type has no place for a third, and a peer that announces one is refused (above).
/// Limits: AUTH_ROUNDS.
#[test]
fn two_rounds_are_the_most() {
    assert_eq!(policy::Round::ALL.len(), policy::limits::AUTH_ROUNDS);
    let both = [Round::First, Round::Second];
    let connection = &sites((2, 2))[0].connections[0];
    assert!(
        both.iter()
            .all(|round| connection.local_auth(*round).is_some() && connection.remote_auth(*round).is_some())
    );
    assert_eq!(connection.locals().count() + connection.remotes().count(), 2 * policy::limits::AUTH_ROUNDS);
}
