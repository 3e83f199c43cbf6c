//! IKE_INTERMEDIATE (RFC 9242) with additional key exchanges (RFC 9370 §2.2.1 to §2.2.3).

use crypto::Suite;
use policy::parse_ike;
use sa::{Event, Fate};
use sim::{Site, answered, established};
use std::time::Duration;
use suite::{Puppet, World, alice, bob, dropped, notifies, world};
use wire::num::{ExchangeType, KeMethod, NotifyType, PayloadType, TransformType};
use wire::{KeyExchange, Notify, Payload, Transform};

const HYBRID: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
const CLASSICAL: &str = "aes256gcm16-prfsha384-x25519";
/// As many as there are places for.
const SEVEN: &str = "aes256-sha256-x25519-ke1_mlkem512-ke2_mlkem768-ke3_mlkem1024-ke4_ecp256-ke5_ecp384-ke6_modp2048-ke7_x448";

fn proposals(site: Site, texts: &[&str]) -> Site {
    let ike = texts.iter().flat_map(|text| parse_ike(text).unwrap()).collect::<Vec<_>>();
    site.with(|connection| connection.proposals = ike)
}

fn suite_of(world: &mut World, name: &str) -> String {
    world.status(name)[0].suite.map_or(String::new(), |suite| suite.to_string())
}

/// The protected requests that a site has made: their exchanges and message ids.
fn requests(world: &World, name: &str) -> Vec<(String, u32)> {
    let traces = world.host(name).events.iter().filter_map(|(_, event)| match event {
        Event::Message(trace) if trace.sent && !trace.response && trace.resent == 0 => Some(trace),
        _ => None,
    });
    traces.map(|trace| (trace.exchange.clone(), trace.message_id.0)).collect()
}

//= rfc9242 §3.1
//= rfc9242 §3.2
//= rfc9370 §2.2.1
//= rfc9370 §2.2.2
#[test]
fn s135_an_additional_key_exchange_comes_between_the_first_one_and_ike_auth() {
    let mut world = world(1).peers(proposals(alice(), &[HYBRID]), proposals(bob(), &[HYBRID]));
    world.up("alice");
    world.until(established);
    assert_eq!((suite_of(&mut world, "alice"), suite_of(&mut world, "bob")), (HYBRID.into(), HYBRID.into()));
    let named = [("IKE_SA_INIT", 0), ("IKE_INTERMEDIATE", 1), ("IKE_AUTH", 2)];
    let named: Vec<_> = named.map(|(exchange, id)| (exchange.to_string(), id)).into();
    assert_eq!(requests(&world, "alice")[..3], named);
    assert!(world.is_mirrored());
}

/// As many rounds as there can be, lost, doubled and reordered.
//= rfc9242 §3.3.2
#[test]
fn all_seven_places_in_foul_weather() {
    for seed in 10..20 {
        let foul = sim::Weather { loss: 200, duplicate: 300, ..sim::Weather::foul() };
        let mut world =
            world(seed).peers(proposals(alice(), &[SEVEN]), proposals(bob(), &[SEVEN])).under(foul);
        let order = world.up("alice");
        world.until(answered);
        assert!(world.reply(order).is_some());
        world.calm();
        world.run(Duration::from_secs(300));
        if world.status("alice").iter().any(|sa| sa.state == "established") {
            assert_eq!(suite_of(&mut world, "alice"), SEVEN.replace("-x25519", "-prfsha256-x25519"));
        }
    }
}

/// A peer that knows only classical groups answers the same first message: no round trip more, no failure.
#[test]
fn a_classical_peer_costs_no_round_trip() {
    for classical_begins in [false, true] {
        let (a, b) = match classical_begins {
            true => (proposals(alice(), &[CLASSICAL]), proposals(bob(), &[HYBRID, CLASSICAL])),
            false => (proposals(alice(), &[HYBRID, CLASSICAL]), proposals(bob(), &[CLASSICAL])),
        };
        let mut world = world(30).peers(a, b);
        world.up("alice");
        world.until(established);
        assert_eq!(suite_of(&mut world, "bob"), CLASSICAL);
        let exchanges: Vec<String> = requests(&world, "alice").into_iter().map(|(name, _)| name).collect();
        assert_eq!(exchanges[..2], ["IKE_SA_INIT", "IKE_AUTH"]);
    }
}

/// The default proposals leave room for everything else in one datagram of the least MTU of IPv6.
#[test]
fn the_default_first_message_is_short() {
    let default = |site: Site| site.with(|connection| connection.proposals = policy::default_ike());
    let mut world = world(33).peers(default(alice()), default(bob()));
    world.up("alice");
    world.until(established);
    assert_eq!(suite_of(&mut world, "bob"), HYBRID);
    let first = world.wire[0].1.payload.len();
    assert!(first < 1280 - 48, "{first} octets");
}

/// `require_pq`, as the configuration makes it: nothing classical is offered or taken.
#[test]
fn a_connection_that_requires_it_refuses_classical_peers() {
    let only = |site: Site| {
        site.with(|connection| {
            connection.extensions.require_pq = true;
            connection.proposals = policy::post_quantum_only(&policy::default_ike());
        })
    };
    for (a, b) in
        [(only(alice()), proposals(bob(), &[CLASSICAL])), (proposals(alice(), &[CLASSICAL]), only(bob()))]
    {
        let mut world = world(34).peers(a, b);
        let order = world.up("alice");
        world.until(answered);
        let Some(sa::Reply::Refused(refusal)) = world.reply(order) else { panic!("it stands") };
        assert!(refusal.reason.contains("NO_PROPOSAL_CHOSEN"), "{}", refusal.reason);
    }
    let mut world = world(35).peers(only(alice()), only(bob()));
    world.up("alice");
    world.until(established);
    assert!(world.status("alice")[0].post_quantum.as_ref().is_some_and(|known| known.safe));
}

/// ML-KEM alone, where the path takes a first message of that size.
#[test]
fn ml_kem_can_come_first_or_alone() {
    for text in ["aes256gcm16-prfsha384-mlkem768", "aes256gcm16-prfsha384-mlkem512-ke1_x25519"] {
        let mut world = world(31).peers(proposals(alice(), &[text]), proposals(bob(), &[text]));
        world.up("alice");
        world.until(established);
        assert_eq!(suite_of(&mut world, "bob"), text);
    }
}

/// The request or the response is lost, once each: the response is found again although the keys have changed meanwhile.
#[test]
fn a_lost_round_is_made_up_for() {
    for response in [false, true] {
        let mut world = world(32).peers(proposals(alice(), &[HYBRID]), proposals(bob(), &[HYBRID]));
        let mut left = 2;
        world.attack(move |scene| {
            let peek = scene.datagram.peek();
            if left > 0 && peek.is_some_and(|peek| peek.exchange == 43 && peek.response == response) {
                left -= 1;
                scene.take();
            }
        });
        world.up("alice");
        world.until(established);
        assert!(world.stats.get("response sent again") > 0 || !response);
    }
}

fn encapsulation_key() -> Vec<u8> {
    let provider = provider::Provider::new();
    let mut rng = sim::SimRng::new(3, "value");
    provider.key_exchange(KeMethod::ML_KEM_768).unwrap().generate(&mut rng).unwrap().1
}

/// What a puppet proposes with ML-KEM-768 as ADDKE1, and IKE_INTERMEDIATE.
fn hybrid_payloads(alice: &mut Puppet) -> (Vec<Payload<'static>>, Vec<Payload<'static>>) {
    let mut payloads = alice.init_payloads();
    if let Payload::Sa(list) = &mut payloads[0] {
        list[0].transforms.push(Transform::new(TransformType::ADDKE1, KeMethod::ML_KEM_768.0, None));
    }
    // What stands in it does not matter.
    let named = Notify::new(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, vec![1, 2, 3]);
    (payloads, vec![Payload::Notify(named)])
}

/// A puppet with ADDKE1 as ML-KEM-768 in what it proposes; `named`: with IKE_INTERMEDIATE.
fn puppet(world: &mut World, named: bool) -> (Puppet, Vec<Payload<'static>>) {
    let mut alice = Puppet::alice();
    let (mut payloads, extra) = hybrid_payloads(&mut alice);
    if named {
        payloads.extend(extra);
    }
    let request = alice.init_request(payloads);
    alice.send(world, &request);
    let response = alice.hear(world).expect("a response");
    let answer =
        match wire::Message::parse(&response).unwrap().payloads.iter().any(|p| p.kind() == PayloadType::SA) {
            true => alice.accept_init(&response),
            false => wire::Message::parse(&response).unwrap().into_owned().payloads,
        };
    (alice, answer)
}

fn hybrid_bob() -> Site {
    proposals(bob(), &["aes256gcm16-prfsha256-x25519-ke1_mlkem768"])
}

//= rfc9370 §2.2.1
#[test]
fn without_ike_intermediate_its_proposals_are_skipped() {
    let mut world = world(40).site(hybrid_bob());
    let (_, answer) = puppet(&mut world, false);
    assert_eq!(notifies(&answer), [NotifyType::NO_PROPOSAL_CHOSEN]);
    let refusals = world.host("bob").refusals();
    assert!(refusals[0].reason.contains("does not announce IKE_INTERMEDIATE"), "{}", refusals[0].reason);
}

/// Rounds that do not come as agreed end the IKE SA with INVALID_SYNTAX and a sentence.
//= rfc9370 §2.2.2
//= rfc9242 §5
#[test]
fn rounds_out_of_place_end_the_ike_sa() {
    let ke = |method: KeMethod, len: usize| Payload::Ke(KeyExchange { method, data: vec![0xff; len].into() });
    let ml_kem = KeMethod::ML_KEM_768;
    let cases: [(ExchangeType, Vec<Payload<'static>>, &str); 7] = [
        (ExchangeType::IKE_AUTH, Vec::new(), "IKE_AUTH came where key exchange ML_KEM_768 has its turn"),
        (ExchangeType::IKE_INTERMEDIATE, Vec::new(), "the KE payload for ML_KEM_768 is missing"),
        (
            ExchangeType::IKE_INTERMEDIATE,
            vec![ke(KeMethod::CURVE25519, 32)],
            "CURVE25519 came where ML_KEM_768 has its turn",
        ),
        (
            ExchangeType::IKE_INTERMEDIATE,
            vec![ke(ml_kem, 1183)],
            "the value for key exchange ML_KEM_768 is not valid",
        ),
        (
            ExchangeType::IKE_INTERMEDIATE,
            vec![ke(ml_kem, 1185)],
            "the value for key exchange ML_KEM_768 is not valid",
        ),
        // Coefficients beyond the modulus (FIPS 203 §7.2).
        (
            ExchangeType::IKE_INTERMEDIATE,
            vec![ke(ml_kem, 1184)],
            "the value for key exchange ML_KEM_768 is not valid",
        ),
        (
            ExchangeType::IKE_INTERMEDIATE,
            vec![ke(ml_kem, 0)],
            "the value for key exchange ML_KEM_768 is not valid",
        ),
    ];
    for (exchange, payloads, why) in cases {
        let mut world = world(41).site(hybrid_bob());
        let (mut alice, answer) = puppet(&mut world, true);
        assert!(notifies(&answer).contains(&NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED));
        let payloads = if exchange == ExchangeType::IKE_AUTH { alice.auth_payloads() } else { payloads };
        let answer = alice.ask(&mut world, exchange, &payloads).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX], "{why}");
        let told = world.host("bob").count(|event| match event {
            Event::IkeDown(_, Fate::Fault(what)) => what.contains(why),
            _ => false,
        });
        assert_eq!(told, 1, "{why}");
        world.run(Duration::from_secs(60));
        assert!(world.status("bob").is_empty());
    }
}

/// Under load a half-open IKE SA goes soon after each message that is not followed by another.
#[test]
fn a_round_does_not_keep_a_half_open_ike_sa_for_longer() {
    let both = ["aes256gcm16-prfsha256-x25519-ke1_mlkem768", "aes256gcm16-prfsha256-x25519"];
    let mut site = proposals(bob(), &both);
    // Every first message comes to a responder under load, which has seen this cookie.
    site.settings.cookie_threshold = 1;
    let mut world = world(43).site(site);
    let mut other = Puppet::alice();
    other.spis.initiator.0 += 1;
    other.init(&mut world);
    let mut alice = Puppet::alice();
    let (payloads, extra) = hybrid_payloads(&mut alice);
    let request = alice.init_request([payloads.clone(), extra.clone()].concat());
    alice.send(&mut world, &request);
    let demand = alice.hear(&mut world).expect("a demand");
    let cookie = wire::Message::parse(&demand).unwrap().into_owned().payloads.remove(0);
    let request = alice.init_request([vec![cookie], payloads, extra].concat());
    alice.deaf(&world);
    alice.send(&mut world, &request);
    let response = alice.hear(&mut world).expect("a response");
    alice.accept_init(&response);
    let half = sa::limits::PRESSED_HALF_OPEN_TIMEOUT / 2;
    world.run(half);
    let round = [Payload::Ke(KeyExchange { method: KeMethod::ML_KEM_768, data: encapsulation_key().into() })];
    alice.ask(&mut world, ExchangeType::IKE_INTERMEDIATE, &round).expect("an answer");
    world.run(half);
    let is_there = |world: &mut World| world.status("bob").iter().any(|sa| sa.spi_i == alice.spis.initiator);
    assert!(is_there(&mut world), "the round has its own time");
    world.run(half + Duration::from_secs(2));
    assert!(!is_there(&mut world));
}

/// IKE_INTERMEDIATE that nobody has agreed on, and one more than was agreed on.
//= rfc9242 §5
#[test]
fn there_are_no_more_rounds_than_agreed() {
    let mut world = world(42).site(bob());
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let answer = alice.ask(&mut world, ExchangeType::IKE_INTERMEDIATE, &[]).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX]);
    // And none at all when it stands.
    let mut alice = Puppet::alice();
    alice.spis.initiator.0 += 1;
    alice.establish(&mut world);
    let answer = alice.ask(&mut world, ExchangeType::IKE_INTERMEDIATE, &[]).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX]);
}

/// Somebody takes the additional key exchange out of the proposals, or the notification out of either first message. The
/// peers do not come together on less than they would have: AUTH covers the first messages.
#[test]
fn what_is_stripped_from_the_first_messages_is_noticed() {
    for response in [false, true] {
        let mut world =
            world(50).peers(proposals(alice(), &[HYBRID, CLASSICAL]), proposals(bob(), &[HYBRID, CLASSICAL]));
        world.attack(move |scene| {
            let is_first = scene.datagram.peek().is_some_and(|peek| peek.exchange == 34 && peek.response == response);
            if is_first {
                let message = wire::Message::parse(scene.datagram.message()).unwrap().into_owned();
                let stripped = message.payloads.into_iter().filter(|payload| {
                    !matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED)
                });
                let stripped = wire::Message { header: message.header, payloads: stripped.collect() }.emit();
                scene.alter(&stripped);
            }
        });
        let order = world.up("alice");
        world.until(answered);
        assert!(matches!(world.reply(order), Some(sa::Reply::Refused(_))), "{:?}", world.reply(order));
        assert_eq!(world.host("alice").count(|event| matches!(event, Event::IkeUp(_))), 0);
        assert_eq!(world.host("bob").count(|event| matches!(event, Event::IkeUp(_))), 0);
    }
}

/// Forged rounds are noise: they come with keys that nobody has.
#[test]
fn a_forged_round_changes_nothing() {
    let mut world = world(51).peers(proposals(alice(), &[HYBRID]), proposals(bob(), &[HYBRID]));
    world.attack(|scene| {
        if scene.datagram.peek().is_some_and(|peek| peek.exchange == 43) {
            let mut forged = scene.datagram.clone();
            if let Some(last) = forged.payload.last_mut() {
                *last ^= 1;
            }
            scene.send(Duration::ZERO, forged);
        }
    });
    world.up("alice");
    world.until(established);
    assert!(dropped(&world, "alice", sa::Drop::BadIcv) + dropped(&world, "bob", sa::Drop::BadIcv) >= 2);
}

/// `IntAuth_A | IntAuth_P`, put together as figure 1 of RFC 9242 §3.3.2 shows it: `header` up to the message id, what stands in the
/// clear, and the payloads inside, of which the first is KE.
fn covered(header: &[u8], clear: &[u8], inner: &[u8]) -> Vec<u8> {
    let (payload, reserved) = ((4 + inner.len()) as u16, 0);
    let length = (28 + clear.len() + 4 + inner.len()) as u32;
    let generic = [&[PayloadType::KE.0, reserved][..], &payload.to_be_bytes()].concat();
    [&header[..24], &length.to_be_bytes(), clear, &generic, inner].concat()
}

/// A payload that stands before the encrypted one, in the clear, is covered by AUTH whether the message is cut or not; what
/// only stands before a later fragment is no part of it.
//= rfc9242 §3.3.2
#[test]
fn what_stands_in_the_clear_is_covered_whole_and_in_fragments() {
    let unknown = Payload::Unknown { kind: PayloadType(200), critical: false, body: vec![7; 13].into() };
    let clear = [&[PayloadType::SK.0, 0, 0, 17][..], &[7; 13]].concat();
    let provider = provider::Provider::new();
    for (n, (pieces, everywhere, right)) in
        [(1, false, true), (3, false, true), (3, true, true), (1, false, false), (3, false, false)]
            .into_iter()
            .enumerate()
    {
        let mut world = world(60 + n as u64).site(hybrid_bob());
        let (mut alice, _) = fragmenting(&mut world);
        let method = provider.key_exchange(KeMethod::ML_KEM_768).unwrap();
        let (private, public) = method.generate(&mut sim::SimRng::new(3, "value")).unwrap();
        let ke = Payload::Ke(KeyExchange { method: KeMethod::ML_KEM_768, data: public.into() });
        let mut inner = Vec::new();
        let first = wire::emit_chain(&[ke], &mut inner);
        let header = alice.header(ExchangeType::IKE_INTERMEDIATE, false, 1);
        alice.next_id = 2;
        alice.deaf(&world);
        let size = inner.len().div_ceil(pieces);
        let mut covers = Vec::new();
        for (index, piece) in inner.chunks(size).enumerate() {
            let fragment = wire::Fragment { number: index as u16 + 1, total: pieces as u16 };
            let channel = alice.channel.as_mut().unwrap();
            channel.before = (index == 0 || everywhere).then(|| unknown.clone());
            let first = if index == 0 { first } else { PayloadType::NONE };
            let datagram = channel.seal_octets(&header, (pieces > 1).then_some(fragment), first, piece);
            if index == 0 {
                let clear = if right { &clear[..] } else { &[] };
                let mut octets = covered(&datagram, clear, &inner);
                octets[16] = if right { 200 } else { PayloadType::SK.0 };
                covers = octets;
            }
            channel.before = None;
            alice.send(&mut world, &datagram);
        }
        let answer = alice.hear(&mut world).expect("an answer");
        let channel = alice.channel.as_ref().unwrap();
        let opened = channel.open(&answer).expect("its keys");
        let prf = provider.prf(channel.algorithms.prf).unwrap();
        let request = prf.compute(channel.keys.pi.expose(), &[&covers]);
        let response = prf.compute(channel.keys.pr.expose(), &[&covered(&answer, &[], &opened.inner)]);
        let payloads = opened.payloads();
        let theirs = payloads.iter().find_map(|payload| match payload {
            Payload::Ke(ke) => Some(ke.data.to_vec()),
            _ => None,
        });
        alice.mix(private.finish(&theirs.expect("KE")).unwrap().expose());
        alice.intermediate = [request.expose(), response.expose(), &2_u32.to_be_bytes()[..]].concat();
        let payloads = alice.auth_payloads();
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        let stands = answer.iter().any(|payload| payload.kind() == PayloadType::AUTH);
        assert_eq!(stands, right, "{pieces} pieces: {}", wire::summary(&answer));
        if !right {
            assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED]);
        }
    }
}

/// A puppet as [`puppet`] has it, which also cuts messages.
fn fragmenting(world: &mut World) -> (Puppet, Vec<Payload<'static>>) {
    let mut alice = Puppet::alice();
    let (mut payloads, extra) = hybrid_payloads(&mut alice);
    payloads.extend(extra);
    payloads.push(Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new())));
    let request = alice.init_request(payloads);
    alice.send(world, &request);
    let response = alice.hear(world).expect("a response");
    let answer = alice.accept_init(&response);
    (alice, answer)
}

/// One that is marked critical is refused before its key exchange is done.
//= rfc7296 §2.5
#[test]
fn an_unknown_critical_payload_in_the_clear_is_refused() {
    let mut world = world(70).site(hybrid_bob());
    let (mut alice, _) = puppet(&mut world, true);
    let unknown = Payload::Unknown { kind: PayloadType(200), critical: true, body: vec![7; 13].into() };
    alice.channel.as_mut().unwrap().before = Some(unknown);
    let round = [Payload::Ke(KeyExchange { method: KeMethod::ML_KEM_768, data: encapsulation_key().into() })];
    let request = alice.request(ExchangeType::IKE_INTERMEDIATE, &round);
    alice.channel.as_mut().unwrap().before = None;
    alice.deaf(&world);
    alice.send(&mut world, &request);
    let answer = alice.hear(&mut world).expect("an answer");
    assert_eq!(notifies(&alice.open(&answer).1), [NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD]);
}
