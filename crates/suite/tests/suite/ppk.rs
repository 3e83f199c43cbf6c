//! Post-quantum pre-shared keys: in IKE_AUTH (RFC 8784) and in IKE_INTERMEDIATE (RFC 9867); in CREATE_CHILD_SA: `ppk_fresh`.

use policy::{EndAction, parse_ike};
use sa::{Event, Fate, Reply};
use sim::{Site, answered, established};
use std::time::Duration;
use suite::{Puppet, World, alice, bob, notifies, world};
use wire::num::{ExchangeType, NotifyType};
use wire::{Notify, Payload};

pub(crate) use sim::site::PpkList as List;

pub(crate) const BLUE: &[u8] = b"the blue key has at least 32 octets";
pub(crate) const OTHER: &[u8] = b"another key under the name of blue!";
pub(crate) const JUST_BLUE: List = &[("blue", BLUE)];
pub(crate) const MISMATCHED: List = &[("blue", OTHER)];
pub(crate) const GREEN: List = &[("green", b"the green key has more octets than 32")];
pub(crate) const BOTH: List = &[("green", b"the green key has more octets than 32"), ("blue", BLUE)];
pub(crate) const HYBRID: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
const SEVEN: &str = "aes256-sha256-x25519-ke1_mlkem512-ke2_mlkem768-ke3_mlkem1024-ke4_ecp256-ke5_ecp384-ke6_modp2048-ke7_x448";

fn proposals(site: Site, text: &str) -> Site {
    let ike = parse_ike(text).unwrap();
    site.with(|connection| connection.proposals = ike)
}

/// What the status of a site says of the PPK in its IKE SA's keys.
pub(crate) fn shown(world: &mut World, name: &str) -> String {
    let all = world.status(name);
    let stands = all.iter().find(|sa| sa.state == "established");
    stands.and_then(|sa| sa.post_quantum.as_ref()).map_or(String::new(), ToString::to_string)
}

fn exchanges(world: &World, name: &str) -> Vec<String> {
    let traces = world.host(name).events.iter().filter_map(|(_, event)| match event {
        Event::Message(trace) if trace.sent && !trace.response && trace.resent == 0 => Some(trace),
        _ => None,
    });
    traces.map(|trace| trace.exchange.clone()).collect()
}

/// All that a site tells people: why it refuses, and what it goes on without.
pub(crate) fn told(world: &World, name: &str) -> String {
    let refusals = world.host(name).refusals().into_iter().map(|refusal| refusal.reason.clone());
    let notes = world.host(name).events.iter().filter_map(|(_, event)| match event {
        Event::Note { text, .. } => Some(text.clone()),
        Event::IkeDown(_, Fate::Fault(what)) => Some(what.clone()),
        _ => None,
    });
    refusals.chain(notes).collect::<Vec<_>>().join("\n")
}

//= rfc9867 §3.1
//= rfc9867 §3.1.1
#[test]
fn s139_a_ppk_is_mixed_in_before_ike_auth() {
    // With an exchange of its own, in the only one, and in the last of seven.
    let cases = [("aes256gcm16-prfsha384-x25519", 1), (HYBRID, 1), (SEVEN, 7)];
    for (text, rounds) in cases {
        let a = proposals(alice().with_ppks(JUST_BLUE, true), text);
        let b = proposals(bob().with_ppks(JUST_BLUE, true), text);
        let mut world = world(1).peers(a, b);
        world.up("alice");
        world.until(established);
        let mut wanted = vec!["IKE_SA_INIT"];
        wanted.extend(["IKE_INTERMEDIATE"; 7].iter().take(rounds));
        wanted.push("IKE_AUTH");
        assert_eq!(exchanges(&world, "alice")[..rounds + 2], wanted, "{text}");
        for name in ["alice", "bob"] {
            let shown = shown(&mut world, name);
            assert!(shown.starts_with("yes (") && shown.contains("the PPK `blue`"), "{shown}");
        }
        assert!(world.is_mirrored());
        // It stays in the keys of the IKE SA's successors.
        world.order("alice", sa::Order::Rekey(sa::Target::All));
        world.run(Duration::from_secs(5));
        assert!(shown(&mut world, "bob").contains("the PPK `blue`"));
    }
}

/// Who has which PPK, and whether it is required there: whether an IKE SA comes of it, and with what.
//= rfc8784 §3
//= rfc9867 §3.1
#[test]
fn s139_the_table_of_what_both_sides_have() {
    const NONE: List = &[];
    // Initiator, responder (PPKs, required); the PPK, or what each side says.
    type Row = ((List, bool), (List, bool), Result<Option<&'static str>, ()>, [&'static str; 2]);
    let rows: [Row; 13] = [
        ((NONE, false), (JUST_BLUE, false), Ok(None), ["", ""]),
        ((JUST_BLUE, false), (NONE, false), Ok(None), ["", ""]),
        ((JUST_BLUE, false), (JUST_BLUE, false), Ok(Some("blue")), ["", ""]),
        ((JUST_BLUE, true), (JUST_BLUE, false), Ok(Some("blue")), ["", ""]),
        ((JUST_BLUE, false), (BOTH, true), Ok(Some("blue")), ["", ""]),
        ((BOTH, false), (GREEN, true), Ok(Some("green")), ["", ""]),
        ((BOTH, true), (JUST_BLUE, true), Ok(Some("blue")), ["", ""]),
        (
            (JUST_BLUE, false),
            (GREEN, false),
            Ok(None),
            [
                "has none of our PPKs (`blue`), or has other keys under their identities: going on",
                "proposes no PPK (`blue`)",
            ],
        ),
        (
            (JUST_BLUE, false),
            (MISMATCHED, false),
            Ok(None),
            ["has none of our PPKs (`blue`), or has other keys", "The PPK `blue` is another key at the peer"],
        ),
        (
            (JUST_BLUE, true),
            (MISMATCHED, false),
            Err(()),
            ["`ppk_required = true`: compare their secrets", "The PPK `blue` is another key at the peer"],
        ),
        (
            (JUST_BLUE, false),
            (MISMATCHED, true),
            Err(()),
            ["takes none of our PPKs (`blue`) and requires one", "The PPK `blue` is another key at the peer"],
        ),
        ((JUST_BLUE, true), (NONE, false), Err(()), ["answers without a word of PPKs", ""]),
        (
            (NONE, false),
            (JUST_BLUE, true),
            Err(()),
            ["NO_PROPOSAL_CHOSEN", "offers no PPK, and `ppk_required = true`"],
        ),
    ];
    let with = |site: Site, (list, required): (List, bool)| {
        if list.is_empty() { site } else { site.with_ppks(list, required) }
    };
    for (a, b, wanted, says) in rows {
        let mut world = world(2).peers(with(alice(), a), with(bob(), b));
        let order = world.up("alice");
        world.until(answered);
        let (from_alice, from_bob) = (told(&world, "alice"), told(&world, "bob"));
        assert!(from_alice.contains(says[0]), "{a:?} {b:?}: alice says {from_alice}");
        assert!(from_bob.contains(says[1]), "{a:?} {b:?}: bob says {from_bob}");
        match wanted {
            Ok(ppk) => {
                assert!(
                    matches!(world.reply(order), Some(Reply::Up { .. })),
                    "{a:?} {b:?}: {:?}",
                    world.reply(order)
                );
                let ppk =
                    ppk.map_or("x25519 is not post-quantum".to_string(), |id| format!("the PPK `{id}`"));
                for name in ["alice", "bob"] {
                    let shown = shown(&mut world, name);
                    assert!(shown.contains(&ppk), "{a:?} {b:?}: {name} shows {shown}");
                }
                assert!(world.is_mirrored());
            }
            Err(()) => {
                assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{a:?} {b:?}");
                for name in ["alice", "bob"] {
                    assert_eq!(
                        world.host(name).count(|event| matches!(event, Event::IkeUp(_))),
                        0,
                        "{a:?} {b:?}"
                    );
                }
            }
        }
    }
}

/// Datagrams are lost, doubled and late: in the end both have the same keys.
#[test]
fn s139_foul_weather() {
    for seed in 20..30 {
        let foul = sim::Weather { loss: 200, duplicate: 300, ..sim::Weather::foul() };
        let a = proposals(alice().with_ppks(BOTH, true), HYBRID);
        let b = proposals(bob().with_ppks(JUST_BLUE, true), HYBRID);
        let mut world = world(seed).peers(a, b).under(foul);
        let order = world.up("alice");
        world.until(answered);
        assert!(world.reply(order).is_some());
        world.calm();
        world.run(Duration::from_secs(300));
        for name in ["alice", "bob"] {
            let shown = shown(&mut world, name);
            assert!(shown.is_empty() || shown.contains("the PPK `blue`"), "{shown}");
        }
    }
}

/// A responder with a pattern takes each that matches, and an initiator with nothing else has none to offer.
#[test]
fn a_pattern_is_for_responders() {
    const CAROL: List = &[("carol@road.example", BLUE)];
    let mut world = world(3)
        .peers(alice().with_ppks(CAROL, false), bob().naming(&["*@road.example"], true).keeping(CAROL));
    world.up("alice");
    world.until(established);
    assert!(shown(&mut world, "bob").contains("the PPK `carol@road.example`"));
    let mut world = suite::world(3).peers(alice().naming(&["%any"], true).keeping(CAROL), bob());
    let order = world.up("alice");
    world.until(answered);
    let Some(Reply::Refused(refusal)) = world.reply(order) else { panic!("{:?}", world.reply(order)) };
    assert!(refusal.reason.contains("names no PPK to offer"), "{}", refusal.reason);
}

/// The same identity, and no secret of it: what `reload` can leave of an initiator's PPK.
#[test]
fn a_ppk_that_is_gone_is_told() {
    let mut world = world(4).peers(alice().naming(&["blue"], false), bob().with_ppks(JUST_BLUE, false));
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Refused(_))));
    let told = told(&world, "alice");
    assert!(told.contains("None of the PPKs of `ppk_id` (`blue`) is here any more"), "{told}");
}

pub(crate) fn notify(kind: NotifyType, data: &[u8]) -> Payload<'static> {
    Payload::Notify(Notify::new(kind, data.to_vec()))
}

/// A puppet that has announced that in its IKE_SA_INIT request, and what the answer announces.
fn begin(world: &mut World, announced: &[NotifyType]) -> (Puppet, Vec<NotifyType>) {
    let mut alice = Puppet::alice();
    let mut payloads = alice.init_payloads();
    // What stands in them does not matter.
    payloads.extend(announced.iter().map(|kind| notify(*kind, &[1, 2])));
    let request = alice.init_request(payloads);
    alice.send(world, &request);
    let response = alice.hear(world).expect("an answer to IKE_SA_INIT");
    let answer = alice.accept_init(&response);
    (alice, notifies(&answer))
}

pub(crate) const FIXED: u8 = 2;

pub(crate) fn id(name: &str) -> Vec<u8> {
    [&[FIXED], name.as_bytes()].concat()
}

/// RFC 8784, the table of the responder, row by row, and what else a peer may do.
//= rfc8784 §3
//= rfc8784 §5.1
#[test]
fn s139_rfc_8784_the_responders_table() {
    #[derive(Clone, Copy)]
    struct Row {
        required: bool,
        named: Option<&'static [u8]>,
        key: &'static [u8],
        without: bool,
        comes: Option<bool>,
        says: &'static str,
    }
    const BASE: Row = Row { required: false, named: None, key: BLUE, without: false, comes: None, says: "" };
    let named = |name: &'static [u8]| Row { named: Some(name), ..BASE };
    let rows = [
        // It is here, and used, whether the initiator could do without or not.
        Row { comes: Some(true), ..named(b"\x02blue") },
        Row { comes: Some(true), without: true, ..named(b"\x02blue") },
        Row { comes: Some(true), required: true, ..named(b"\x02blue") },
        // It is not here.
        Row { says: "The PPK `red` is not here, or not for this peer", ..named(b"\x02red") },
        Row { comes: Some(false), without: true, says: "The PPK `red` is not here", ..named(b"\x02red") },
        Row { required: true, without: true, says: "and `ppk_required = true`", ..named(b"\x02red") },
        // It is nothing that could be here: empty, of another type, no text.
        Row { says: "The PPK that the peer names is not here", ..named(b"") },
        Row { says: "The PPK that the peer names is not here", ..named(b"\x02") },
        Row {
            comes: Some(false),
            without: true,
            says: "The PPK that the peer names is not here",
            ..named(b"\x01blue")
        },
        Row {
            comes: Some(false),
            without: true,
            says: "The PPK that the peer names is not here",
            ..named(b"\x02\xff")
        },
        // It is announced and not named.
        Row { without: true, says: "names none in IKE_AUTH", ..BASE },
        // It is another key: AUTH shows it, and the proof without it does not count.
        Row {
            key: OTHER,
            without: true,
            says: "or the PPK `blue` is another key at the peer",
            ..named(b"\x02blue")
        },
    ];
    for row in rows {
        let mut world = world(5).site(bob().with_ppks(JUST_BLUE, row.required));
        let (mut alice, answer) = begin(&mut world, &[NotifyType::USE_PPK]);
        assert!(
            answer.contains(&NotifyType::USE_PPK) && !answer.contains(&NotifyType::USE_PPK_INT),
            "{answer:?}"
        );
        let plain = alice.auth_value();
        let unmixed = alice.channel.as_ref().unwrap().keys.d.clone();
        alice.channel.as_mut().unwrap().stir(row.key);
        let mixed = alice.channel.as_ref().unwrap().keys.d.clone();
        assert_ne!(mixed, unmixed);
        let mut payloads = alice.auth_payloads();
        payloads.extend(row.named.map(|name| notify(NotifyType::PPK_IDENTITY, name)));
        payloads.extend(row.without.then(|| notify(NotifyType::NO_PPK_AUTH, &plain)));
        let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        let (told, name) =
            (told(&world, "bob"), String::from_utf8_lossy(row.named.unwrap_or_default()).into_owned());
        assert!(told.contains(row.says), "{name}: {told}");
        let Some(with) = row.comes else {
            assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED], "{name}");
            continue;
        };
        let confirmed = answer.iter().any(|payload| {
            matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::PPK_IDENTITY && notify.data.is_empty())
        });
        assert_eq!(confirmed, with, "{name}");
        assert_eq!(shown(&mut world, "bob").contains("the PPK `blue`"), with, "{name}");
    }
}

/// An initiator without a word of PPKs.
//= rfc8784 §3
//= rfc9867 §3.1
#[test]
fn s139_a_responder_that_requires_a_ppk_turns_away_who_offers_none() {
    for required in [false, true] {
        let mut world = world(6).site(bob().with_ppks(JUST_BLUE, required));
        let mut alice = Puppet::alice();
        let payloads = alice.init_payloads();
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        let response = alice.hear(&mut world).expect("an answer");
        let said = notifies(&wire::Message::parse(&response).unwrap().payloads);
        assert_eq!(said.contains(&NotifyType::NO_PROPOSAL_CHOSEN), required, "{said:?}");
        assert!(!said.contains(&NotifyType::USE_PPK) && !said.contains(&NotifyType::USE_PPK_INT));
    }
}

/// What is announced decides how; RFC 9867 comes first, but not without IKE_INTERMEDIATE.
//= rfc9867 §3.1
#[test]
fn the_responder_answers_one_of_both_ways() {
    use NotifyType as N;
    let cases: [(&[N], Option<N>); 5] = [
        (&[N::USE_PPK_INT, N::USE_PPK, N::INTERMEDIATE_EXCHANGE_SUPPORTED], Some(N::USE_PPK_INT)),
        (&[N::USE_PPK_INT, N::INTERMEDIATE_EXCHANGE_SUPPORTED], Some(N::USE_PPK_INT)),
        (&[N::USE_PPK_INT, N::USE_PPK], Some(N::USE_PPK)),
        (&[N::USE_PPK_INT], None),
        (&[], None),
    ];
    for (announced, wanted) in cases {
        let mut world = world(7).site(bob().with_ppks(JUST_BLUE, false));
        let (_, answer) = begin(&mut world, announced);
        let ways: Vec<_> =
            answer.into_iter().filter(|kind| [N::USE_PPK_INT, N::USE_PPK].contains(kind)).collect();
        assert_eq!(ways, Vec::from_iter(wanted), "{announced:?}");
    }
}

const BOTH_WAYS: &[NotifyType] =
    &[NotifyType::USE_PPK_INT, NotifyType::USE_PPK, NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED];

/// PPK_IDENTITY_KEY as it should not be.
//= rfc9867 §3.1
#[test]
fn a_ppk_identity_key_without_room_for_its_parts_ends_the_ike_sa() {
    for len in 0..=8 {
        let mut world = world(8).site(bob().with_ppks(JUST_BLUE, false));
        let (mut alice, _) = begin(&mut world, BOTH_WAYS);
        let short = notify(NotifyType::PPK_IDENTITY_KEY, &vec![FIXED; len]);
        let answer = alice.ask(&mut world, ExchangeType::IKE_INTERMEDIATE, &[short]).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX], "{len}");
        assert!(
            told(&world, "bob").contains(&format!("PPK_IDENTITY_KEY has {len} octets")),
            "{}",
            told(&world, "bob")
        );
    }
}

/// The PPK that the response to these proposals names.
fn chosen(world: &mut World, alice: &mut Puppet, proposed: &[(Vec<u8>, &[u8])]) -> Vec<Vec<u8>> {
    let payloads: Vec<_> = proposed
        .iter()
        .map(|(id, ppk)| {
            notify(NotifyType::PPK_IDENTITY_KEY, &[&id[..], &alice.ppk_confirmation(ppk)].concat())
        })
        .collect();
    let answer = alice.ask(world, ExchangeType::IKE_INTERMEDIATE, &payloads).expect("an answer");
    let named = |payload: &Payload<'_>| match payload {
        Payload::Notify(notify) => Some((notify.kind, notify.data.to_vec())),
        _ => None,
    };
    let all: Vec<_> = answer.iter().filter_map(named).collect();
    assert!(all.iter().all(|(kind, _)| *kind == NotifyType::PPK_IDENTITY), "{all:?}");
    all.into_iter().map(|(_, data)| data).collect()
}

/// The first that is here, and the same key; so many are looked at.
#[test]
fn the_first_ppk_that_both_have_is_taken_among_so_many() {
    let most = ikev2::limits::MAX_PPKS;
    let unknown = |n: usize| -> Vec<(Vec<u8>, &[u8])> { vec![(id("unknown"), BLUE); n] };
    for (before, found) in [(0, true), (most - 1, true), (most, false)] {
        let mut world = world(9).site(bob().with_ppks(JUST_BLUE, false));
        let (mut alice, _) = begin(&mut world, BOTH_WAYS);
        let proposed = [unknown(before), vec![(id("blue"), BLUE)]].concat();
        let wanted: Vec<_> = found.then(|| id("blue")).into_iter().collect();
        assert_eq!(chosen(&mut world, &mut alice, &proposed), wanted, "{before}");
    }
    let mut world = world(9).site(bob().with_ppks(BOTH, false));
    let (mut alice, _) = begin(&mut world, BOTH_WAYS);
    // Of other types, empty, another key of that name; the second of two that are here.
    let proposed =
        [(b"\x01blue".to_vec(), BLUE), (vec![FIXED], BLUE), (id("green"), BLUE), (id("blue"), BLUE)];
    assert_eq!(chosen(&mut world, &mut alice, &proposed), [id("blue")]);
}

/// What was announced is owed.
//= rfc9867 §3.1
#[test]
fn ike_auth_without_the_ppks_that_were_announced_is_refused() {
    let mut world = world(10).site(bob().with_ppks(JUST_BLUE, false));
    let (mut alice, _) = begin(&mut world, BOTH_WAYS);
    let payloads = alice.auth_payloads();
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX]);
    assert!(
        told(&world, "bob").contains("IKE_AUTH came where PPKs were to be proposed"),
        "{}",
        told(&world, "bob")
    );
}

/// They come once, with the last round.
//= rfc9867 §3.1
#[test]
fn ppks_are_proposed_once_and_in_the_last_round() {
    let mut world = world(10).site(bob().with_ppks(JUST_BLUE, false));
    let (mut alice, _) = begin(&mut world, BOTH_WAYS);
    assert_eq!(chosen(&mut world, &mut alice, &[(id("red"), BLUE)]), [[0u8; 0]; 0]);
    let again =
        notify(NotifyType::PPK_IDENTITY_KEY, &[&id("blue")[..], &alice.ppk_confirmation(BLUE)].concat());
    let answer = alice.ask(&mut world, ExchangeType::IKE_INTERMEDIATE, &[again]).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX]);
    assert!(told(&world, "bob").contains("or a second time"), "{}", told(&world, "bob"));
}

/// The responder takes a PPK before it knows the peer, whose connection then has another one, or none; and one that requires a
/// PPK gets none.
//= rfc9867 §3.1
#[test]
fn s139_a_ppk_of_somebody_else_does_not_let_in() {
    let peer = |site: Site, ids: &[&str], required| {
        let mut site = site.naming(ids, required);
        let mut other = site.connections[0].clone();
        other.name = "others".to_string();
        other.remote.id = policy::IdPattern::Is(policy::Identity::Fqdn("carol.example".to_string()));
        other.extensions.ppk =
            policy::Ppks { ids: vec![policy::PpkPattern::parse("blue").unwrap()], required: false };
        site.connections.push(other);
        site.keeping(BOTH)
    };
    let cases: [(&[&str], bool, &str); 3] = [
        (&["green"], false, "The PPK `blue` is in the keys, but it is not for this peer"),
        (&[], false, "The PPK `blue` is in the keys, but it is not for this peer"),
        (&["blue"], true, ""),
    ];
    for (ids, required, says) in cases {
        let mut world = world(11).peers(alice().with_ppks(JUST_BLUE, false), peer(bob(), ids, required));
        let order = world.up("alice");
        world.until(answered);
        let comes = matches!(world.reply(order), Some(Reply::Up { .. }));
        assert_eq!(comes, says.is_empty(), "{ids:?}: {:?}", world.reply(order));
        assert!(told(&world, "bob").contains(says), "{}", told(&world, "bob"));
    }
    let mut world = world(11).peers(alice().with_ppks(MISMATCHED, false), peer(bob(), &["blue"], true));
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Refused(_))));
    assert!(
        told(&world, "bob").contains("No PPK is in the keys, and `ppk_required = true`"),
        "{}",
        told(&world, "bob")
    );
}

/// A responder that speaks RFC 8784 only.
fn answering(world: &mut World, besides: &[NotifyType]) -> (Puppet, sa::OrderId) {
    let mut bob = Puppet::bob();
    bob.besides = besides.iter().map(|kind| notify(*kind, &[])).collect();
    let order = world.up("alice");
    bob.answer_init(world);
    (bob, order)
}

//= rfc8784 §3
#[test]
fn s139_rfc_8784_the_initiators_side() {
    for required in [false, true] {
        for taken in [false, true] {
            let mut world = world(12).site(alice().with_ppks(JUST_BLUE, required));
            let (mut bob, order) = answering(&mut world, &[NotifyType::USE_PPK]);
            let (request, payloads) = bob.asked(&mut world).expect("IKE_AUTH");
            assert_eq!(request.exchange, ExchangeType::IKE_AUTH);
            let said = notifies(&payloads);
            assert!(said.contains(&NotifyType::PPK_IDENTITY));
            assert_eq!(said.contains(&NotifyType::NO_PPK_AUTH), !required, "where it goes without");
            if taken {
                bob.channel.as_mut().unwrap().stir(BLUE);
            }
            let mut answer = bob.auth_payloads();
            // What stands in it is ignored.
            answer.extend(taken.then(|| notify(NotifyType::PPK_IDENTITY, b"whatever")));
            bob.reply(&mut world, &request, &answer);
            world.run(Duration::from_secs(1));
            let comes = taken || !required;
            assert_eq!(matches!(world.reply(order), Some(Reply::Up { .. })), comes, "{required} {taken}");
            assert_eq!(shown(&mut world, "alice").contains("the PPK `blue`"), taken);
            let told = told(&world, "alice");
            if !taken {
                assert!(told.contains("The peer has not got the PPK `blue`"), "{told}");
            }
            if !comes {
                let (request, payloads) = bob.asked(&mut world).expect("INFORMATIONAL");
                assert_eq!(request.exchange, ExchangeType::INFORMATIONAL);
                assert!(notifies(&payloads).contains(&NotifyType::AUTHENTICATION_FAILED));
            }
        }
    }
}

/// The responder says that it has used the PPK, and has another key.
#[test]
fn a_responder_with_another_ppk_is_not_believed() {
    let mut world = world(13).site(alice().with_ppks(JUST_BLUE, false));
    let (mut bob, order) = answering(&mut world, &[NotifyType::USE_PPK]);
    let (request, _) = bob.asked(&mut world).expect("IKE_AUTH");
    bob.channel.as_mut().unwrap().stir(OTHER);
    let mut answer = bob.auth_payloads();
    answer.push(notify(NotifyType::PPK_IDENTITY, &[]));
    bob.reply(&mut world, &request, &answer);
    world.run(Duration::from_secs(1));
    let Some(Reply::Refused(refusal)) = world.reply(order) else { panic!("{:?}", world.reply(order)) };
    assert!(refusal.reason.contains("or the PPK `blue` is another key at the peer"), "{}", refusal.reason);
}

/// A PPK that nobody has proposed, and one that is not chosen.
//= rfc9867 §3.1
#[test]
fn s139_an_initiator_takes_only_what_it_has_proposed() {
    let ways = [NotifyType::USE_PPK_INT, NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED];
    for (name, says) in
        [(id("red"), "has chosen a PPK that was not proposed"), (Vec::new(), "has chosen a PPK")]
    {
        let mut world = world(14).site(alice().with_ppks(JUST_BLUE, false));
        let (mut bob, order) = answering(&mut world, &ways);
        let (request, payloads) = bob.asked(&mut world).expect("IKE_INTERMEDIATE");
        assert_eq!(request.exchange, ExchangeType::IKE_INTERMEDIATE);
        let key = [&id("blue")[..], &bob.ppk_confirmation(BLUE)].concat();
        let proposed = |payload: &Payload<'_>| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::PPK_IDENTITY_KEY && *notify.data == key);
        assert!(payloads.iter().any(proposed), "{}", wire::summary(&payloads));
        bob.reply(&mut world, &request, &[notify(NotifyType::PPK_IDENTITY, &name)]);
        world.run(Duration::from_secs(1));
        assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{:?}", world.reply(order));
        assert!(told(&world, "alice").contains(says), "{}", told(&world, "alice"));
    }
}

/// Somebody answers first, without a word of PPKs: the real answer still counts.
//= rfc8784 §6
#[test]
fn s139_a_forged_answer_without_ppks_does_not_end_it() {
    let mut world = world(15).peers(alice().with_ppks(JUST_BLUE, true), bob().with_ppks(JUST_BLUE, true));
    let mut left = 1;
    world.attack(move |scene| {
        let first = scene.datagram.peek().is_some_and(|peek| peek.exchange == 34 && peek.response);
        if first && left > 0 {
            left -= 1;
            let mut forged = scene.datagram.clone();
            forged.payload = stripped(forged.message(), &[NotifyType::USE_PPK_INT, NotifyType::USE_PPK]);
            scene.take();
            scene.send(Duration::ZERO, forged);
        }
    });
    world.up("alice");
    world.until(established);
    assert!(shown(&mut world, "bob").contains("the PPK `blue`"));
}

pub(crate) fn stripped(message: &[u8], kinds: &[NotifyType]) -> Vec<u8> {
    let message = wire::Message::parse(message).unwrap().into_owned();
    let payloads = message.payloads.into_iter();
    let left = payloads
        .filter(|payload| !matches!(payload, Payload::Notify(notify) if kinds.contains(&notify.kind)));
    wire::Message { header: message.header, payloads: left.collect() }.emit()
}

/// Somebody takes the notifications out of either first message: nobody comes together on less than both have.
//= rfc8784 §6
#[test]
fn s139_what_is_stripped_from_the_first_messages_is_noticed() {
    let all: [&[NotifyType]; 2] =
        [&[NotifyType::USE_PPK_INT], &[NotifyType::USE_PPK_INT, NotifyType::USE_PPK]];
    for response in [false, true] {
        for kinds in all {
            let mut world =
                world(16).peers(alice().with_ppks(JUST_BLUE, false), bob().with_ppks(JUST_BLUE, false));
            world.attack(move |scene| {
                if scene.datagram.peek().is_some_and(|peek| peek.exchange == 34 && peek.response == response)
                {
                    let left = stripped(scene.datagram.message(), kinds);
                    scene.alter(&left);
                }
            });
            let order = world.up("alice");
            world.until(answered);
            assert!(matches!(world.reply(order), Some(Reply::Refused(_))), "{:?}", world.reply(order));
            for name in ["alice", "bob"] {
                assert_eq!(world.host(name).count(|event| matches!(event, Event::IkeUp(_))), 0);
            }
        }
    }
}

/// The PPK is in the keys of a ticket's IKE SA already, and is not mixed in a second time.
//= rfc8784 §3
#[test]
fn a_resumed_ike_sa_shows_the_ppk_of_the_one_before() {
    let resumes = |mut site: Site| {
        site.settings.ticket_secret = Some(base::Secret::new([7; 32]));
        site.settings.crash_secret = Some(base::Secret::new([8; 32]));
        site.with(|connection| connection.extensions.resumption = true)
            .child(|child| child.dpd_action = EndAction::Restart)
    };
    let a = resumes(alice().with_ppks(JUST_BLUE, true));
    let b = resumes(bob().with_ppks(JUST_BLUE, true));
    let mut world = world(17).peers(a, b);
    world.up("alice");
    world.until(established);
    world.run(Duration::from_secs(2));
    assert!(world.status("alice")[0].ticket, "{:?}", world.status("alice"));
    let ike = world.status("alice")[0].id;
    world.crash("bob");
    world.order("alice", sa::Order::Probe(ike));
    world.run(Duration::from_secs(60));
    let resumed = world.status("alice").iter().any(|sa| sa.resumed);
    assert!(resumed && exchanges(&world, "alice").contains(&"IKE_SESSION_RESUME".to_string()));
    for name in ["alice", "bob"] {
        assert!(shown(&mut world, name).contains("the PPK `blue`"), "{name}: {}", shown(&mut world, name));
    }
}
