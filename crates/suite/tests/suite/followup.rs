//! IKE_FOLLOWUP_KE (RFC 9370 §2.2.4): series of exchanges that make an SA, and what becomes of those that break off.

use crate::configuration_payload::{
    addresses, all, all_given_back, ask_for_address, client, cp, empty, gateway, pool, reply,
};
use crypto::Suite;
use policy::{parse_esp, parse_ike};
use sa::{Event, Fate, Order, Target};
use sim::{Site, established};
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, notifies, world};
use wire::num::{CfgAttributeType, CfgType, ExchangeType, KeMethod, NotifyType, PayloadType, TransformType};
use wire::{CfgValue, KeyExchange, Notify, Payload, Transform};

const IKE: &str = "aes256gcm16-prfsha256-x25519";
const ESP: &str = "aes256gcm16-x25519-ke1_mlkem768-ke2_ecp256";

/// A site whose children have three key exchanges of their own.
fn three(site: Site) -> Site {
    site.with(|connection| connection.proposals = parse_ike(IKE).unwrap())
        .child(|child| child.esp_proposals = parse_esp(ESP).unwrap())
}

fn standing(seed: u64) -> World {
    let mut world = world(seed).peers(three(alice()), three(bob()));
    world.up("alice");
    world.until(established);
    world
}

fn rekey_child(world: &mut World, name: &str) {
    world.order(name, Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
}

#[track_caller]
fn one_child(world: &mut World) {
    for name in ["alice", "bob"] {
        let list = world.status(name);
        assert_eq!(list.iter().map(|sa| sa.children.len()).collect::<Vec<_>>(), [1], "{name}");
        assert_eq!(world.host(name).dataplane.sad().count(), 1, "{name}");
    }
    assert!(world.is_mirrored());
}

//= rfc9370 §2.2.4
#[test]
fn a_child_gets_new_keys_by_three_key_exchanges() {
    for name in ["alice", "bob"] {
        let mut world = standing(1);
        let before = world.status("alice")[0].children[0].spi_in;
        rekey_child(&mut world, name);
        world.run(Duration::from_secs(30));
        one_child(&mut world);
        let child = &world.status("alice")[0].children[0];
        assert_ne!(child.spi_in, before);
        assert_eq!(child.suite.to_string(), ESP);
        let followed = world.host(name).count(|event| {
            matches!(event, Event::Message(trace) if trace.exchange == "IKE_FOLLOWUP_KE" && trace.sent && !trace.response)
        });
        assert_eq!(followed, 2);
    }
}

/// The initiator's next request never comes: the responder forgets what it has begun, and says so. Later it works again.
//= rfc9370 §2.2.4
#[test]
fn a_series_that_is_not_gone_on_with_is_forgotten() {
    let mut world = standing(2);
    world.attack(|scene| {
        if scene.datagram.peek().is_some_and(|peek| peek.exchange == 44 && !peek.response) {
            scene.take();
        }
    });
    rekey_child(&mut world, "alice");
    world.run(Duration::from_secs(25));
    let notes = |world: &World, text: &str| {
        world
            .host("bob")
            .count(|event| matches!(event, Event::Note { text: note, .. } if note.contains(text)))
    };
    assert_eq!(notes(&world, "does not go on with them"), 1);
    // The request is heard at last, too late: the child is asked for anew.
    world.calm();
    world.run(Duration::from_secs(600));
    one_child(&mut world);
    assert_eq!(
        world
            .host("bob")
            .refusals()
            .iter()
            .filter(|r| r.reason.contains("of which nothing is known here"))
            .count(),
        1
    );
    let replaced = world.host("alice").count(|event| matches!(event, Event::ChildDown(_, _, Fate::Replaced)));
    assert!(replaced >= 1, "it has new keys in the end");
}

/// CREATE_CHILD_SA for another child, with ML-KEM-768 as ADDKE1 and P-256 as ADDKE2; its answer.
fn begin(world: &mut World, alice: &mut Puppet) -> Vec<Payload<'static>> {
    let payloads = asked(alice);
    alice.ask(world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer")
}

fn asked(alice: &mut Puppet) -> Vec<Payload<'static>> {
    let mut proposal = alice.esp_proposal();
    for (kind, method) in [
        (TransformType::KE, KeMethod::CURVE25519),
        (TransformType::ADDKE1, KeMethod::ML_KEM_768),
        (TransformType::ADDKE2, KeMethod::ECP_256),
    ] {
        proposal.transforms.push(Transform::new(kind, method.0, None));
    }
    let ke = alice.init_payloads().remove(1);
    let mut payloads = vec![Payload::Sa(vec![proposal]), Payload::Nonce(vec![9; 32].into()), ke];
    payloads.extend(alice.selectors());
    payloads
}

fn link(payloads: &[Payload<'_>]) -> Vec<u8> {
    let link = payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::ADDITIONAL_KEY_EXCHANGE => {
            Some(notify.data.to_vec())
        }
        _ => None,
    });
    link.expect("ADDITIONAL_KEY_EXCHANGE")
}

/// Goes on with the series of that link; the answer.
#[track_caller]
fn follow(
    world: &mut World,
    alice: &mut Puppet,
    (method, data): (KeMethod, Vec<u8>),
    link: &[u8],
) -> Vec<Payload<'static>> {
    let payloads = [
        Payload::Ke(KeyExchange { method, data: data.into() }),
        Payload::Notify(Notify::new(NotifyType::ADDITIONAL_KEY_EXCHANGE, link.to_vec())),
    ];
    alice.ask(world, ExchangeType::IKE_FOLLOWUP_KE, &payloads).expect("an answer")
}

/// A right value of an initiator.
fn value(method: KeMethod) -> Vec<u8> {
    let provider = provider::Provider::new();
    let mut rng = sim::SimRng::new(3, "value");
    provider.key_exchange(method).unwrap().generate(&mut rng).unwrap().1
}

fn puppet(world: &mut World) -> Puppet {
    let mut alice = Puppet::alice();
    alice.establish(world);
    alice
}

/// Nobody knows the link: a stale one, one of nobody, none at all.
//= rfc9370 §2.2.4
#[test]
fn a_link_that_nobody_knows_finds_no_state() {
    let mut world = world(10).site(three(bob()));
    let mut alice = puppet(&mut world);
    let first = link(&begin(&mut world, &mut alice));
    let unknown =
        follow(&mut world, &mut alice, (KeMethod::ML_KEM_768, value(KeMethod::ML_KEM_768)), &[7; 16]);
    assert_eq!(notifies(&unknown), [NotifyType::STATE_NOT_FOUND]);
    let second = follow(&mut world, &mut alice, (KeMethod::ML_KEM_768, value(KeMethod::ML_KEM_768)), &first);
    assert_ne!(link(&second), first, "each exchange has its own");
    let stale = follow(&mut world, &mut alice, (KeMethod::ECP_256, vec![4; 64]), &first);
    assert_eq!(notifies(&stale), [NotifyType::STATE_NOT_FOUND], "a stale one");
    assert_eq!(world.status("bob")[0].state, "established", "it is not fatal");
    // The series goes on all the same.
    let public = value(KeMethod::ECP_256);
    let last = follow(&mut world, &mut alice, (KeMethod::ECP_256, public), &link(&second));
    assert!(last.iter().any(|payload| payload.kind() == PayloadType::KE) && notifies(&last).is_empty());
    assert_eq!(world.status("bob")[0].children.len(), 2);
}

/// A series that holds a wrong value, or the right one in the wrong place, ends the IKE SA, and no child comes of it.
//= rfc9370 §2.2.4
#[test]
fn a_wrong_value_in_a_series_ends_the_ike_sa() {
    let cases = [
        (KeMethod::ML_KEM_768, vec![0xff; 1184], "is not valid"),
        (KeMethod::ML_KEM_768, vec![0; 1183], "is not valid"),
        (KeMethod::ECP_256, vec![4; 64], "ECP_256 came where ML_KEM_768 has its turn"),
    ];
    for (method, data, why) in cases {
        let mut world = world(11).site(three(bob()));
        let mut alice = puppet(&mut world);
        let link = link(&begin(&mut world, &mut alice));
        let answer = follow(&mut world, &mut alice, (method, data), &link);
        assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX]);
        let told = world.host("bob").count(|event| match event {
            Event::IkeDown(_, Fate::Fault(what)) => what.contains(why),
            _ => false,
        });
        assert_eq!(told, 1, "{why}");
        world.run(Duration::from_secs(60));
        assert!(suite::is_clean(&mut world));
    }
}

/// So many series at once, and no more; each is forgotten after its time.
#[test]
fn series_of_one_peer_are_limited() {
    let mut world = world(12).site(three(bob()));
    let mut alice = puppet(&mut world);
    for _ in 0..ikev2::limits::MAX_SERIES {
        link(&begin(&mut world, &mut alice));
        alice.esp_spi.0 += 1;
    }
    assert_eq!(notifies(&begin(&mut world, &mut alice)), [NotifyType::TEMPORARY_FAILURE]);
    world.run(ikev2::limits::FOLLOWUP_PATIENCE + Duration::from_secs(1));
    link(&begin(&mut world, &mut alice));
    assert_eq!(world.status("bob")[0].children.len(), 1);
}

/// A peer that forgets every series: after several attempts the IKE SA is given up.
//= rfc9370 §2.2.4
#[test]
fn a_peer_that_forgets_every_series_loses_the_ike_sa() {
    let mut world = world(13).site(three(alice()));
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    bob.establish(&mut world);
    assert!(world.reply(order).is_some());
    let mut asked = 0;
    for _ in 0..100 {
        rekey_child(&mut world, "alice");
        let Some((header, payloads)) = bob.asked(&mut world) else {
            world.run(Duration::from_secs(30));
            continue;
        };
        match header.exchange {
            ExchangeType::CREATE_CHILD_SA => {
                let mut proposal = suite::reader::proposal(&payloads).clone().into_owned();
                proposal.spi = vec![0xc0, 0xff, 0xee, asked as u8].into();
                let esn = proposal.transforms.iter().filter(|t| t.kind == TransformType::ESN).count();
                proposal.transforms.truncate(proposal.transforms.len() + 1 - esn);
                let ke = bob.init_payloads().remove(1);
                let mut answer = vec![Payload::Sa(vec![proposal]), Payload::Nonce(vec![8; 32].into()), ke];
                answer.extend(bob.selectors());
                answer.push(Payload::Notify(Notify::new(
                    NotifyType::ADDITIONAL_KEY_EXCHANGE,
                    vec![asked as u8; 4],
                )));
                bob.reply(&mut world, &header, &answer);
            }
            ExchangeType::IKE_FOLLOWUP_KE => {
                assert_eq!(link(&payloads), vec![asked as u8; 4], "the link comes back as it was");
                asked += 1;
                bob.reply(
                    &mut world,
                    &header,
                    &[Payload::Notify(Notify::new(NotifyType::STATE_NOT_FOUND, Vec::new()))],
                );
            }
            _ if payloads.iter().any(|payload| payload.kind() == PayloadType::DELETE)
                && asked as u32 == ikev2::limits::STATES_LOST =>
            {
                bob.reply(&mut world, &header, &[]);
                break;
            }
            _ => bob.reply(&mut world, &header, &[]),
        }
        world.run(Duration::from_secs(1));
    }
    world.run(Duration::from_secs(30));
    assert_eq!(asked as u32, ikev2::limits::STATES_LOST);
    let fate = world.host("alice").count(|event| match event {
        Event::IkeDown(_, Fate::Fault(what)) => what.contains("STATE_NOT_FOUND"),
        _ => false,
    });
    assert_eq!(fate, 1);
}

/// Both want new keys at the same moment, by their lifetimes: one series runs, and no second one follows it.
//= rfc9370 §2.2.4
//# because there is nothing to delete yet, the initiator of this exchange just stops the rekeying process, and it MUST NOT
//# initiate the IKE_FOLLOWUP_KE exchange.
#[test]
fn new_keys_that_both_want_at_once_are_made_once() {
    let minute = Duration::from_secs(60);
    let lifetime = policy::IkeLifetime {
        rekey: 10 * minute,
        reauth: Duration::ZERO,
        over: minute,
        rand: Duration::ZERO,
    };
    let site = |site: Site| {
        let ike = parse_ike("aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_ecp256").unwrap();
        site.with(|connection| {
            connection.proposals = ike;
            connection.lifetime = lifetime;
            connection.dpd_delay = Duration::ZERO;
        })
    };
    for seed in 20..40 {
        let mut world = world(seed).peers(site(alice()), site(bob()));
        world.up("alice");
        world.until(established);
        world.run(15 * minute);
        for name in ["alice", "bob"] {
            let rekeyed = world.host(name).count(|event| matches!(event, Event::IkeRekeyed { .. }));
            assert_eq!(rekeyed, 1, "{name}, seed {seed}");
        }
        let followed = ["alice", "bob"].map(|name| {
            world.host(name).count(|event| {
                matches!(event, Event::Message(trace)
                    if trace.exchange == "IKE_FOLLOWUP_KE" && trace.sent && !trace.response && trace.resent == 0)
            })
        });
        assert!(followed == [2, 0] || followed == [0, 2], "one of both goes on: {followed:?}");
    }
}

/// The peer's CREATE_CHILD_SA for the child that our own series is giving new keys comes late.
//= rfc9370 §2.2.4
//# In this case, a TEMPORARY_FAILURE notification MUST be sent in response to such a request.
#[test]
fn a_late_wish_for_new_keys_finds_our_series_under_way() {
    for ike in [false, true] {
        let hybrid = |site: Site| {
            let ike = parse_ike("aes256gcm16-prfsha256-x25519-ke1_mlkem768").unwrap();
            three(site).with(|connection| connection.proposals = ike)
        };
        let mut world = world(50).peers(hybrid(alice()), hybrid(bob()));
        world.up("alice");
        world.until(established);
        // Bob's request waits on the way until alice's own exchange is answered; her next request waits as well.
        let mut late: Option<sim::Datagram> = None;
        world.attack(move |scene| {
            let Some(peek) = scene.datagram.peek() else { return };
            let from_bob = scene.datagram.from.ip().to_string() == "198.51.100.2";
            match (peek.exchange, peek.response, from_bob) {
                (36, false, true) => {
                    late = Some(scene.datagram.clone());
                    scene.take();
                }
                (44, false, false) => {
                    if let Some(late) = late.take() {
                        scene.send(Duration::ZERO, late);
                        let delayed = scene.datagram.clone();
                        scene.take();
                        scene.send(Duration::from_millis(500), delayed);
                    }
                }
                _ => {}
            }
        });
        let target = match ike {
            true => Target::Connection("net".to_string()),
            false => Target::Child("net".to_string(), "lan".to_string()),
        };
        world.order("alice", Order::Rekey(target.clone()));
        world.order("bob", Order::Rekey(target));
        world.run(Duration::from_secs(1));
        world.calm();
        world.run(Duration::from_secs(200));
        let refusals = world.host("alice").refusals();
        let busy = refusals.iter().filter(|refusal| {
            refusal.kind == sa::RefusalKind::Busy && refusal.reason.contains("may ask again")
        });
        assert_eq!(busy.count(), 1, "ike: {ike}");
        one_child(&mut world);
    }
}

/// A peer that has given its series up asks anew: that is the one that counts.
#[test]
fn a_series_that_is_begun_anew_takes_the_place_of_the_one_before() {
    let mut world = world(60).site(three(bob()));
    let mut alice = puppet(&mut world);
    let child_spi = alice.esp_spi.0.to_be_bytes().to_vec();
    let mut links = Vec::new();
    for round in 1..=3u32 {
        let mut rekey = Notify::new(NotifyType::REKEY_SA, Vec::new());
        (rekey.protocol, rekey.spi) = (wire::num::ProtocolId::ESP, child_spi.clone().into());
        alice.esp_spi.0 = 0xc0ff_ee00 + round;
        let mut payloads = vec![Payload::Notify(rekey)];
        payloads.extend(asked(&mut alice));
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        links.push(link(&answer));
    }
    let stale =
        follow(&mut world, &mut alice, (KeMethod::ML_KEM_768, value(KeMethod::ML_KEM_768)), &links[0]);
    assert_eq!(notifies(&stale), [NotifyType::STATE_NOT_FOUND]);
    let second =
        follow(&mut world, &mut alice, (KeMethod::ML_KEM_768, value(KeMethod::ML_KEM_768)), &links[2]);
    follow(&mut world, &mut alice, (KeMethod::ECP_256, value(KeMethod::ECP_256)), &link(&second));
    assert_eq!(world.status("bob")[0].children.len(), 2, "the old one, and its successor");
}

/// A gateway with addresses to give, and a puppet that has one.
fn roads(seed: u64, window: u8) -> (World, Puppet) {
    let hybrid = parse_ike("aes256gcm16-prfsha256-x25519-ke1_mlkem768").unwrap();
    let site = three(gateway(pool(&["10.3.0.0/24"]))).with(|connection| {
        connection.proposals.extend(hybrid);
        connection.window = window;
    });
    let mut world = world(seed).site(site);
    let mut alice = Puppet::alice();
    assert_eq!(ask_for_address(&mut alice, &mut world, &[]), Some("10.3.0.1".into()));
    (world, alice)
}

fn for_address() -> Payload<'static> {
    cp(CfgType::REQUEST, vec![empty(CfgAttributeType::INTERNAL_IP4_ADDRESS)])
}

/// CREATE_CHILD_SA with a CFG_REQUEST for another child with three key exchanges, for whatever address comes.
fn asked_with_address(alice: &mut Puppet) -> Vec<Payload<'static>> {
    alice.esp_spi.0 += 1;
    let mut payloads = vec![for_address()];
    payloads.extend(asked(alice));
    for payload in &mut payloads {
        if let Payload::TsI(selectors) = payload {
            *selectors = vec![all(true)];
        }
    }
    payloads
}

fn remote_ts(world: &World) -> Vec<String> {
    let last = world.host("bob").dataplane.sad().last().expect("a child");
    last.remote_ts.iter().map(ToString::to_string).collect()
}

/// The address is told with the first answer of the series, and the child for it comes with the last.
//= rfc7296 §2.19
//= rfc9370 §2.2.4
#[test]
fn an_address_is_asked_for_with_a_series() {
    let (mut world, mut alice) = roads(70, 1);
    let payloads = asked_with_address(&mut alice);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    let value = CfgValue::Ip4([10, 3, 0, 2].into());
    assert_eq!(reply(&answer), Some(vec![(CfgAttributeType::INTERNAL_IP4_ADDRESS, value)]));
    let kinds: Vec<PayloadType> = answer.iter().map(Payload::kind).collect();
    let place = |kind| kinds.iter().position(|found| *found == kind);
    assert!(place(PayloadType::CP) < place(PayloadType::SA), "{kinds:?}");
    assert_eq!(world.host("bob").dataplane.sad().count(), 1, "nothing stands before the last exchange");
    let public = value_of(KeMethod::ML_KEM_768);
    let second = follow(&mut world, &mut alice, public, &link(&answer));
    assert_eq!(reply(&second), None, "it was told");
    let last = follow(&mut world, &mut alice, value_of(KeMethod::ECP_256), &link(&second));
    assert!(notifies(&last).is_empty() && reply(&last).is_none());
    assert_eq!(remote_ts(&world), ["10.3.0.2/32"], "for this address");
    world.down("bob");
    world.run(Duration::from_secs(60));
    all_given_back(&world);
}

fn value_of(method: KeMethod) -> (KeMethod, Vec<u8>) {
    (method, value(method))
}

/// Series that bring addresses and are not gone on with: the addresses are the peer's, so many and no more, until its IKE SA
/// ends.
#[test]
fn addresses_of_series_that_break_off_are_bounded() {
    let (mut world, mut alice) = roads(71, 1);
    for _ in 0..2 * sa::limits::MAX_LEASED_ADDRESSES {
        let payloads = asked_with_address(&mut alice);
        alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        world.run(ikev2::limits::FOLLOWUP_PATIENCE + Duration::from_secs(1));
        assert!(world.status("bob")[0].leased.len() <= sa::limits::MAX_LEASED_ADDRESSES);
        assert_eq!(world.host("bob").dataplane.sad().count(), 1);
    }
    assert_eq!(world.status("bob")[0].leased.len(), sa::limits::MAX_LEASED_ADDRESSES);
    world.down("bob");
    world.run(Duration::from_secs(60));
    all_given_back(&world);
}

/// CREATE_CHILD_SA for an IKE SA in this one's place, with ML-KEM-768 as ADDKE1.
fn asked_for_ike(alice: &mut Puppet) -> Vec<Payload<'static>> {
    let mut payloads = alice.init_payloads();
    if let Payload::Sa(list) = &mut payloads[0] {
        list[0].spi = vec![0xaa; 8].into();
        list[0].transforms.push(Transform::new(TransformType::ADDKE1, KeMethod::ML_KEM_768.0, None));
    }
    payloads
}

/// While a series gives the IKE SA new keys no child is made, and no address is given for one; INFORMATIONAL still gives one.
//= rfc7296 §2.25.2
//= rfc7296 §2.19
#[test]
fn an_address_is_asked_for_while_the_ike_sa_gets_new_keys() {
    let (mut world, mut alice) = roads(72, 1);
    let payloads = asked_for_ike(&mut alice);
    let begun = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    let payloads = asked_with_address(&mut alice);
    let busy = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    assert_eq!(notifies(&busy), [NotifyType::TEMPORARY_FAILURE]);
    assert_eq!(world.status("bob")[0].leased.len(), 1);
    let two = cp(CfgType::REQUEST, vec![empty(CfgAttributeType::INTERNAL_IP4_ADDRESS); 2]);
    let told = alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[two]).expect("an answer");
    assert_eq!(reply(&told).map(|told| told.len()), Some(2));
    let last = follow(&mut world, &mut alice, value_of(KeMethod::ML_KEM_768), &link(&begun));
    assert!(last.iter().any(|payload| payload.kind() == PayloadType::KE), "{}", wire::summary(&last));
    let successor = world.status("bob").into_iter().find(|sa| sa.spi_i.0 == u64::from_be_bytes([0xaa; 8]));
    let successor = successor.expect("the new IKE SA");
    assert_eq!((successor.leased.len(), successor.children.len()), (2, 1), "it inherits both");
}

/// The keeper of addresses is still asked for a child when the last exchange of a series for the IKE SA comes: the answer would
/// be owed under keys that are gone.
//= rfc7296 §2.25
#[test]
fn a_series_for_the_ike_sa_does_not_overtake_a_wish_for_an_address() {
    let (mut world, mut alice) = roads(73, 4);
    let payloads = asked_for_ike(&mut alice);
    let begun = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    world.host_mut("bob").forget_jobs();
    let two = cp(CfgType::REQUEST, vec![empty(CfgAttributeType::INTERNAL_IP4_ADDRESS); 2]);
    let waits = alice.request(ExchangeType::INFORMATIONAL, &[two]);
    alice.send(&mut world, &waits);
    let refused = follow(&mut world, &mut alice, value_of(KeMethod::ML_KEM_768), &link(&begun));
    assert_eq!(notifies(&refused), [NotifyType::TEMPORARY_FAILURE]);
    world.run(Duration::from_secs(25));
    assert_eq!(world.status("bob").len(), 1);
    assert_eq!(world.status("bob")[0].leased.len(), 1, "the keeper said nothing");
}

/// Both ends have everything: a client with an address of its gateway's, and new keys of all kinds by several exchanges.
//= rfc7296 §3.15.1
#[test]
fn a_client_keeps_its_address_over_series_for_the_ike_sa() {
    let hybrid = |site: Site| {
        three(site).with(|connection| {
            connection.proposals = parse_ike("aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_ecp256").unwrap();
        })
    };
    let mut world =
        world(74).peers(hybrid(client(alice(), &["0.0.0.0"])), hybrid(gateway(pool(&["10.3.0.0/24"]))));
    world.up("alice");
    world.until(answered);
    for name in ["alice", "bob", "alice"] {
        world.order(name, Order::Rekey(Target::Connection("net".to_string())));
        world.run(Duration::from_secs(30));
        world.order(name, Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
        world.run(Duration::from_secs(30));
        one_child(&mut world);
        assert_eq!(addresses(&mut world, "alice"), ["10.3.0.1"]);
        assert_eq!((world.status("bob")[0].leased.len(), world.host("bob").leases.holders()), (1, 1));
    }
    let rekeyed = world.host("alice").count(|event| matches!(event, Event::IkeRekeyed { .. }));
    assert_eq!(rekeyed, 3);
    world.down("alice");
    world.until(answered);
    world.run(Duration::from_secs(1));
    all_given_back(&world);
}
