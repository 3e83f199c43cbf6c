//! Downgrade prevention (draft-ietf-ipsecme-ikev2-downgrade-prevention): AUTH over both messages of IKE_SA_INIT, and an
//! attacker who takes better algorithms out of them.

use crate::certificates::{certified, proven};
use crate::resumption;
use base::{Rng, Secret};
use crypto::{
    Cipher, CipherSpec, CryptoError, KePrivate, KeyExchange, Nonces, PrfFunction, SignatureScheme, Spis,
    Suite, VerifyError,
};
use policy::parse_ike;
use provider::Provider;
use sim::site::PSK;
use sim::{Scene, Site, answered, established};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use suite::reader::{ike_suite, ke, nonce, proposal};
use suite::{Channel, Puppet, World, alice, bob, is_clean, notifies, world};
use testcerts::{Authority, EndEntity, Key};
use wire::num::{AuthMethod, Encr, ExchangeType, Integ, KeMethod, NotifyType, Prf, TransformType};
use wire::{Authentication, Message, Notify, Payload};

const FULL: NotifyType = NotifyType::IKE_SA_INIT_FULL_TRANSCRIPT_AUTH;

fn without(site: Site) -> Site {
    site.with(|connection| connection.extensions.full_transcript = false)
}

fn offering(site: Site, text: &str) -> Site {
    let proposals = text.split(',').flat_map(|text| parse_ike(text).unwrap()).collect();
    site.with(|connection| connection.proposals = proposals)
}

/// Which of the two messages of IKE_SA_INIT have the notification.
fn announced(world: &World) -> [bool; 2] {
    [0, 1].map(|n| {
        let message = Message::parse(world.wire[n].1.message()).unwrap();
        notifies(&message.payloads).contains(&FULL)
    })
}

fn is_whole(world: &mut World) -> [bool; 2] {
    ["alice", "bob"].map(|name| {
        let all = world.status(name);
        all.iter().any(|sa| sa.state == "established" && sa.full_transcript)
    })
}

/// It counts when both say so; the responder does unasked, and whoever does not know it is served as before.
#[test]
fn it_counts_when_both_sides_say_so() {
    for (seed, (a, b)) in [(true, true), (true, false), (false, true), (false, false)].into_iter().enumerate()
    {
        let site = |site: Site, speaks: bool| if speaks { site } else { without(site) };
        let mut world = world(seed as u64).peers(site(alice(), a), site(bob(), b));
        world.up("alice");
        world.until(established);
        assert_eq!(announced(&world), [a, b]);
        assert_eq!(is_whole(&mut world), [a && b; 2]);
        assert!(world.is_mirrored());
    }
}

/// After a cookie, another key exchange method, additional ones, and under new keys.
#[test]
fn it_covers_the_messages_that_led_to_the_ike_sa() {
    let hybrid = "aes256-sha256-x25519-ecp256-ke1_mlkem768-ke2_mlkem512";
    let mut busy = offering(bob(), "aes256-sha256-ecp256-ke1_mlkem768-ke2_mlkem512");
    busy.settings.cookie_threshold = 0;
    let mut world = world(10).peers(offering(alice(), hybrid), busy);
    world.up("alice");
    world.until(established);
    let first = |n: usize| notifies(&Message::parse(world.wire[n].1.message()).unwrap().payloads);
    assert_eq!((first(1), first(3)), (vec![NotifyType::COOKIE], vec![NotifyType::INVALID_KE_PAYLOAD]));
    assert_eq!(is_whole(&mut world), [true; 2]);
    world.order("alice", sa::Order::Rekey(sa::Target::All));
    world.run(Duration::from_secs(5));
    assert_eq!(is_whole(&mut world), [true; 2]);
}

/// A second reading of the octets: those of the initiator are 0, the response, the request, Nr and MACedIDForI; those of the
/// responder 0, the request, the response, Ni and MACedIDForR.
#[test]
fn the_octets_of_either_side() {
    let says = || Payload::Notify(Notify::new(FULL, Vec::new()));
    for (offers, covers) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = world(20).site(bob());
        let mut puppet = Puppet::alice();
        let mut payloads = puppet.init_payloads();
        payloads.extend(offers.then(says));
        let request = puppet.init_request(payloads);
        puppet.send(&mut world, &request);
        let response = puppet.hear(&mut world).expect("an answer to IKE_SA_INIT");
        let answer = puppet.accept_init(&response);
        assert!(notifies(&answer).contains(&FULL), "the responder says so unasked");
        puppet.full_transcript = covers;
        let payloads = puppet.auth_payloads();
        let answer =
            puppet.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer to IKE_AUTH");
        if offers != covers {
            assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED]);
            continue;
        }
        let id = answer.iter().find_map(|p| if let Payload::IdR(id) = p { Some(id.clone()) } else { None });
        let auth = answer
            .iter()
            .find_map(|p| if let Payload::Auth(auth) = p { Some(auth.data.to_vec()) } else { None });
        assert_eq!(auth, Some(puppet.peer_auth_value(&id.expect("IDr"))));
    }
    for (offers, covers) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut world = world(21).site(alice());
        let mut puppet = Puppet::bob();
        puppet.besides.extend(offers.then(says));
        let order = world.up("alice");
        puppet.answer_init(&mut world);
        puppet.full_transcript = covers;
        let (header, asked) = puppet.asked(&mut world).expect("IKE_AUTH");
        let id = asked.iter().find_map(|p| if let Payload::IdI(id) = p { Some(id.clone()) } else { None });
        let auth = asked
            .iter()
            .find_map(|p| if let Payload::Auth(auth) = p { Some(auth.data.to_vec()) } else { None });
        assert_eq!(auth == Some(puppet.peer_auth_value(&id.expect("IDi"))), offers == covers);
        let payloads = puppet.auth_payloads();
        puppet.reply(&mut world, &header, &payloads);
        world.until(answered);
        assert_eq!(matches!(world.reply(order), Some(sa::Reply::Up { .. })), offers == covers);
    }
}

/// IKE_SESSION_RESUME is another exchange: nothing is said there, and its AUTH is what RFC 5723 says.
#[test]
fn an_ike_sa_that_is_resumed_has_no_ike_sa_init() {
    let mut world = resumption::up(resumption::pair(30));
    world.wire.clear();
    resumption::lose(&mut world);
    world.run(Duration::from_secs(60));
    assert!(resumption::stands(&mut world), "it was resumed");
    assert_eq!(is_whole(&mut world), [false; 2]);
    let says = |message: &[u8]| {
        let message = Message::parse(message).ok()?;
        let resumes = message.header.exchange == ExchangeType::IKE_SESSION_RESUME;
        resumes.then(|| notifies(&message.payloads).contains(&FULL))
    };
    let said: Vec<bool> = world.wire.iter().filter_map(|(_, datagram)| says(datagram.message())).collect();
    assert_eq!(said, [false, false]);
}

// ---- The attacker ----

/// What the attacker does to IKE_SA_INIT.
#[derive(Clone, Copy, Debug)]
struct Strip {
    /// Takes the notification out of the request.
    from_request: bool,
    /// And out of the response.
    from_response: bool,
    /// Makes the initiator's AUTH value as if it counted.
    covers: bool,
}

const HYBRID_OR_NOT: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768,aes256gcm16-prfsha384-x25519";

/// Alice proves herself by a PSK that the attacker has, bob by a key that it has not. It can also break x25519.
fn attacked(seed: u64, strip: Strip, speaks: [bool; 2]) -> World {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    let site = |site: Site, speaks: bool| if speaks { site } else { without(site) };
    let (a, b) = (knowing(&theirs, &root), offering(proven(bob, &theirs, &root), HYBRID_OR_NOT));
    let broken = Broken::new();
    let mut attacker = Attacker {
        strip,
        shared: broken.x25519.shared.clone(),
        request: Vec::new(),
        response: Vec::new(),
        channel: None,
    };
    World::new(seed, Arc::new(broken))
        .peers(site(a, speaks[0]), site(b, speaks[1]))
        .attacked(move |scene| attacker.see(scene))
}

/// Alice, who knows bob by his certificate, and proves herself by the PSK.
fn knowing(theirs: &EndEntity, root: &Authority) -> Site {
    let mut site = certified(alice(), theirs, root);
    site.connections[0].local = alice().connections[0].local.clone();
    site.make_keeper = alice().make_keeper;
    offering(site, HYBRID_OR_NOT)
}

/// With it on both sides he never gets a weaker IKE SA, whatever he takes out of which message; without it he does, and
/// both logs say what was possible.
#[test]
fn whoever_breaks_one_key_exchange_and_one_proof_gets_no_weaker_ike_sa() {
    let both = [false, true];
    let strips = both.iter().flat_map(|from_request| {
        both.iter().flat_map(move |from_response| {
            both.map(|covers| Strip { from_request: *from_request, from_response: *from_response, covers })
        })
    });
    let mut got = [0; 4];
    for (n, strip) in strips.enumerate() {
        for (m, speaks) in
            [[true, true], [true, false], [false, true], [false, false]].into_iter().enumerate()
        {
            let mut world = attacked((n * 4 + m) as u64, strip, speaks);
            world.up("alice");
            world.until(answered);
            let stands = ["alice", "bob"]
                .map(|name| world.status(name).into_iter().find(|sa| sa.state == "established"));
            let [Some(alice), Some(bob)] = stands else {
                assert_eq!(
                    stands.iter().flatten().count(),
                    0,
                    "{strip:?} {speaks:?}: one side thinks that it stands"
                );
                world.run(Duration::from_secs(120));
                assert!(is_clean(&mut world), "{strip:?} {speaks:?}");
                continue;
            };
            got[m] += 1;
            for sa in [alice, bob] {
                let known = sa.post_quantum.expect("a suite");
                assert!(!known.safe && !sa.full_transcript);
                assert!(known.why.contains("IKE_SA_INIT_FULL_TRANSCRIPT_AUTH"), "{}", known.why);
            }
        }
    }
    // Where one side does not speak it, a plain AUTH value is what he needs; only what the responder signs he may not touch.
    assert_eq!(got, [0, 4, 2, 4]);
}

/// The attacker, and that he can do what the test says: without him, and without what he breaks, the IKE SA is hybrid.
#[test]
fn without_the_attacker_it_is_hybrid() {
    let strip = Strip { from_request: false, from_response: false, covers: false };
    let mut world = attacked(40, strip, [true, true]);
    world.calm();
    world.up("alice");
    world.until(established);
    assert!(world.status("bob")[0].post_quantum.as_ref().is_some_and(|known| known.safe));
    assert_eq!(is_whole(&mut world), [true; 2]);
}

/// Rounds that come late, twice, again, and in one another's place: the IKE SA stands with all of its key exchanges, or not at all.
#[test]
fn whoever_reorders_and_replays_rounds_gets_no_weaker_ike_sa() {
    let three = "aes256-sha256-prfsha256-x25519-ke1_mlkem768-ke2_ecp256-ke3_mlkem512";
    let mut stood = 0;
    for seed in 50..80 {
        let mut seen: Vec<sim::Datagram> = Vec::new();
        let mut world =
            world(seed).peers(offering(alice(), three), offering(bob(), three)).attacked(move |scene| {
                let is_round = |datagram: &sim::Datagram| {
                    Message::parse(datagram.message())
                        .is_ok_and(|message| message.header.exchange != ExchangeType::IKE_SA_INIT)
                };
                if !is_round(scene.datagram) {
                    return;
                }
                seen.push(scene.datagram.clone());
                let early = Duration::ZERO..=Duration::from_millis(9);
                for _ in 0..2 {
                    let again = seen[scene.rng.next_u64() as usize % seen.len()].clone();
                    // As it was, or as if it were the round that is expected.
                    let again = match scene.rng.chance(500) {
                        true => again.clone(),
                        false => {
                            let mut message = again.message().to_vec();
                            message[20..24].copy_from_slice(&scene.datagram.message()[20..24]);
                            again.with(&message)
                        }
                    };
                    let delay = scene.rng.duration(&early);
                    scene.send(delay, again);
                }
                if scene.rng.chance(300) {
                    let late = scene.rng.duration(&(Duration::from_millis(100)..=Duration::from_secs(4)));
                    let datagram = scene.datagram.clone();
                    scene.take();
                    scene.send(late, datagram);
                }
            });
        world.up("alice");
        world.until(answered);
        world.calm();
        world.run(Duration::from_secs(60));
        for name in ["alice", "bob"] {
            for sa in world.status(name).into_iter().filter(|sa| sa.state == "established") {
                stood += 1;
                assert_eq!(sa.suite.map(|suite| suite.to_string()).as_deref(), Some(three));
                assert!(sa.full_transcript);
            }
        }
        assert!(world.is_mirrored());
    }
    assert!(stood > 30, "{stood}: the attacker has stopped nearly all");
}

/// Shared secrets by the public value of the responder.
type Shares = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

struct Attacker {
    strip: Strip,
    shared: Shares,
    /// IKE_SA_INIT as the responder got it, and as it answered.
    request: Vec<u8>,
    response: Vec<u8>,
    channel: Option<Channel>,
}

impl Attacker {
    fn see(&mut self, scene: &mut Scene<'_>) {
        let message = scene.datagram.message().to_vec();
        let Ok(read) = Message::parse(&message) else { return };
        match (read.header.exchange, read.header.flags.response) {
            (ExchangeType::IKE_SA_INIT, false) => {
                self.request = self.weaken(&message);
                scene.alter(&self.request.clone());
            }
            (ExchangeType::IKE_SA_INIT, true)
                if read.payloads.iter().any(|p| matches!(p, Payload::Sa(_))) =>
            {
                self.response = message.clone();
                self.derive();
                if self.strip.from_response {
                    scene.alter(&strip(&message, FULL));
                }
            }
            (ExchangeType::IKE_AUTH, false) => {
                if let Some(forged) = self.forge(&message) {
                    scene.alter(&forged);
                }
            }
            _ => {}
        }
    }

    /// Makes a method of ML-KEM that nobody knows, so that the responder passes it over, and takes out what goes with it.
    fn weaken(&self, request: &[u8]) -> Vec<u8> {
        let mut message = Message::parse(request).unwrap();
        let proposals =
            message.payloads.iter_mut().find_map(|p| if let Payload::Sa(all) = p { Some(all) } else { None });
        let transforms = proposals.into_iter().flatten().flat_map(|proposal| &mut proposal.transforms);
        for transform in transforms.filter(|transform| transform.kind == TransformType::ADDKE1) {
            transform.id = 60_000;
        }
        let weak = strip(&message.emit(), NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED);
        if self.strip.from_request { strip(&weak, FULL) } else { weak }
    }

    /// The keys: he has broken x25519.
    fn derive(&mut self) {
        let (request, response) =
            (Message::parse(&self.request).unwrap(), Message::parse(&self.response).unwrap());
        let public = ke(&response.payloads).unwrap().data.to_vec();
        let shared =
            self.shared.lock().unwrap().iter().find(|(known, _)| *known == public).unwrap().1.clone();
        let spis = Spis { initiator: response.header.spi_i, responder: response.header.spi_r };
        let (ni, nr) = (nonce(&request.payloads), nonce(&response.payloads));
        let nonces = Nonces { initiator: &ni, responder: &nr };
        let suite = ike_suite(proposal(&response.payloads));
        self.channel = Some(Channel::first(Arc::new(Provider::new()), suite, nonces, spis, &shared));
    }

    /// The initiator's IKE_AUTH request with an AUTH value over what the responder got: he has the PSK.
    fn forge(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let channel = self.channel.as_mut()?;
        let opened = channel.open(message).ok()?;
        let mut payloads = opened.payloads();
        let id = payloads
            .iter()
            .find_map(|p| if let Payload::IdI(id) = p { Some(id.octets_to_sign()) } else { None })?;
        let suite = Provider::new();
        let prf = suite.prf(channel.algorithms.prf)?;
        let maced = prf.compute(channel.keys.pi.expose(), &[&id]);
        let nr = nonce(&Message::parse(&self.response).ok()?.payloads);
        let mut octets: Vec<&[u8]> =
            if self.strip.covers { vec![&[0; 8], &self.response] } else { Vec::new() };
        octets.extend([self.request.as_slice(), &nr, maced.expose()]);
        let data = crypto::psk_auth(prf, PSK, &octets).expose().clone();
        for payload in &mut payloads {
            if matches!(payload, Payload::Auth(_)) {
                *payload = Payload::Auth(Authentication {
                    method: AuthMethod::SHARED_KEY,
                    data: data.clone().into(),
                });
            }
        }
        Some(channel.seal(&opened.header, &payloads))
    }
}

/// A message without a notification.
fn strip(message: &[u8], kind: NotifyType) -> Vec<u8> {
    let mut message = Message::parse(message).unwrap();
    message.payloads.retain(|payload| !matches!(payload, Payload::Notify(notify) if notify.kind == kind));
    message.emit()
}

/// Algorithms whose x25519 is broken: what a responder shares with its peer is known to whoever looks.
struct Broken {
    inner: Provider,
    x25519: BrokenX25519,
}

impl Broken {
    fn new() -> Self {
        Self {
            inner: Provider::new(),
            x25519: BrokenX25519 { inner: Provider::new(), shared: Shares::default() },
        }
    }
}

impl Suite for Broken {
    fn key_exchange(&self, id: KeMethod) -> Option<&dyn KeyExchange> {
        if id == KeMethod::CURVE25519 { Some(&self.x25519) } else { self.inner.key_exchange(id) }
    }

    fn prf(&self, id: Prf) -> Option<&dyn PrfFunction> {
        self.inner.prf(id)
    }

    fn cipher_spec(&self, encr: Encr, key_bits: u16, integ: Integ) -> Option<CipherSpec> {
        self.inner.cipher_spec(encr, key_bits, integ)
    }

    fn cipher(
        &self,
        encr: Encr,
        key_bits: u16,
        integ: Integ,
        encr_key: &[u8],
        integ_key: &[u8],
    ) -> Result<Box<dyn Cipher>, CryptoError> {
        self.inner.cipher(encr, key_bits, integ, encr_key, integ_key)
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        self.inner.sha1(parts)
    }

    fn verifies(&self, scheme: SignatureScheme) -> bool {
        self.inner.verifies(scheme)
    }

    fn verify(
        &self,
        spki: &[u8],
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        self.inner.verify(spki, scheme, message, signature)
    }
}

struct BrokenX25519 {
    inner: Provider,
    shared: Shares,
}

impl BrokenX25519 {
    fn inner(&self) -> &dyn KeyExchange {
        self.inner.key_exchange(KeMethod::CURVE25519).expect("x25519")
    }
}

impl KeyExchange for BrokenX25519 {
    fn id(&self) -> KeMethod {
        KeMethod::CURVE25519
    }

    fn generate(&self, rng: &mut dyn Rng) -> Result<(Box<dyn KePrivate>, Vec<u8>), CryptoError> {
        self.inner().generate(rng)
    }

    fn respond(&self, rng: &mut dyn Rng, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        let (public, shared) = self.inner().respond(rng, peer)?;
        self.shared.lock().unwrap().push((public.clone(), shared.expose().clone()));
        Ok((public, shared))
    }

    fn public_len(&self) -> usize {
        self.inner().public_len()
    }
}
