//! Fresh post-quantum pre-shared keys in CREATE_CHILD_SA (RFC 9867 §3.2).

use crate::ppk::{BLUE, BOTH, FIXED, GREEN, HYBRID, JUST_BLUE, List, MISMATCHED, OTHER, id, notify};
use crate::ppk::{shown, told};
use base::{EspSpi, IkeSpi, Secret};
use crypto::{KePrivate, Nonces, SharedSecrets, Spis, Suite};
use policy::{parse_esp, parse_ike};
use sa::{Event, Fate, Order, Reply, Target};
use sim::{KeeperNature, Site, answered, established};
use std::time::Duration;
use suite::puppet::ike_proposal;
use suite::reader::{ke, nonce, proposal};
use suite::{Channel, Puppet, World, alice, bob, notifies, world};
use wire::num::{ExchangeType, KeMethod, NotifyType, PayloadType, TransformType};
use wire::{KeyExchange, Payload, Transform};

const NONE: List = &[];
/// Those that others came before.
const LATER: List = &[("red", b"the red key has more octets than 32, too"), JUST_BLUE[0]];

const PLAIN: &str = "aes256gcm16-prfsha256-x25519";
const SERIES: &str = "aes256gcm16-prfsha256-x25519-ke1_mlkem512-ke2_ecp256";
const ESP: [&str; 3] = ["aes256gcm16", "aes256gcm16-x25519", "aes256gcm16-x25519-ke1_mlkem512-ke2_ecp256"];

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    NewChild,
    RekeyChild,
    RekeyIke,
    Clone,
}

const ALL: [What; 4] = [What::NewChild, What::RekeyChild, What::RekeyIke, What::Clone];

impl What {
    fn ask(self, world: &mut World, name: &str) {
        let (connection, child) = ("net".to_string(), "lan".to_string());
        let order = match self {
            Self::NewChild => world.up_child(name, 0, Some("dmz")),
            Self::RekeyChild => world.order(name, Order::Rekey(Target::Child(connection, child))),
            Self::RekeyIke => world.order(name, Order::Rekey(Target::Connection(connection))),
            Self::Clone => world.order(name, Order::Clone { connection, child: Some("dmz".to_string()) }),
        };
        world.run(Duration::from_secs(20));
        assert!(world.reply(order).is_some(), "{self:?}");
    }
}

/// A site with two children, these PPKs and these algorithms.
fn site(site: Site, ppks: (List, bool), ike: &str, esp: &str) -> Site {
    let turn = site.name == "bob";
    let (a, b) = if turn { ("10.9.2.0/24", "10.9.1.0/24") } else { ("10.9.1.0/24", "10.9.2.0/24") };
    let (ike, esp) = (parse_ike(ike).unwrap(), parse_esp(esp).unwrap());
    let site = if ppks.0.is_empty() { site } else { site.with_ppks(ppks.0, ppks.1) };
    site.child(|child| child.esp_proposals = esp).also("dmz", a, b).with(|connection| {
        connection.proposals = ike;
        connection.dpd_delay = Duration::ZERO;
        connection.extensions.cloning = true;
    })
}

/// Two sites with a child between them.
fn standing(seed: u64, ppks: [(List, bool); 2], ike: &str, esp: &str) -> World {
    let [a, b] = ppks;
    let mut world = world(seed).peers(site(alice(), a, ike, esp), site(bob(), b, ike, esp));
    world.up_child("alice", 0, Some("lan"));
    world.until(established);
    world.run(Duration::from_secs(5));
    world
}

/// How many PPKs the requests of a site have proposed since the beginning.
fn proposed(world: &World, name: &str) -> usize {
    let requests = world.host(name).events.iter().filter_map(|(_, event)| match event {
        Event::Message(trace) if trace.sent && !trace.response && trace.exchange == "CREATE_CHILD_SA" => {
            Some(trace.payloads.matches("N(PPK_IDENTITY_KEY)").count())
        }
        _ => None,
    });
    requests.sum()
}

/// The PPKs of the children of that name, as `status` shows them.
fn of_child(world: &mut World, name: &str, child: &str) -> Vec<Option<String>> {
    let all = world.status(name);
    let children = all.iter().flat_map(|sa| &sa.children).filter(|any| any.name == child);
    children.map(|child| child.ppk.as_ref().map(ToString::to_string)).collect()
}

/// PPKs are replaced on both sides, under another name and under the same: each kind of SA gets the new one with its next keys, from
/// either side, with and without key exchanges of its own. It is used once.
//= rfc9867 §3.2
//= rfc9867 §3.2.1
#[test]
fn s139_fresh_ppks_come_without_a_new_ike_sa() {
    let kinds = [(PLAIN, ESP[0]), (PLAIN, ESP[1]), (SERIES, ESP[2])];
    for (seed, (ike, esp)) in kinds.into_iter().enumerate() {
        for (fresh, id) in [(GREEN, "green"), (MISMATCHED, "blue")] {
            for (what, name) in ALL.into_iter().flat_map(|what| [(what, "alice"), (what, "bob")]) {
                let story = format!("{what:?} by {name}, {ike}, {esp}, {id}");
                let mut world = standing(100 + seed as u64, [(JUST_BLUE, true); 2], ike, esp);
                // What is in the keys already is not proposed.
                What::RekeyChild.ask(&mut world, name);
                assert_eq!(proposed(&world, name), 0, "{story}");
                world.replace_ppks("alice", fresh, true);
                world.replace_ppks("bob", fresh, true);
                what.ask(&mut world, name);
                assert_eq!(proposed(&world, name), 1, "{story}: {}", told(&world, name));
                assert!(world.is_mirrored(), "{story}");
                for name in ["alice", "bob"] {
                    let told = told(&world, name);
                    match what {
                        What::NewChild => {
                            assert_eq!(of_child(&mut world, name, "dmz"), [Some(id.to_string())], "{story}");
                        }
                        What::RekeyChild => {
                            assert_eq!(of_child(&mut world, name, "lan"), [Some(id.to_string())], "{story}");
                        }
                        What::RekeyIke | What::Clone => {
                            assert!(
                                told.contains(&format!("The PPK `{id}` is part of its keys from now on")),
                                "{told}"
                            );
                            let ppk = format!("the PPK `{id}`");
                            let all = world.status(name);
                            let safe = |sa: &&sa::IkeStatus| {
                                sa.post_quantum.as_ref().is_some_and(|known| known.why.contains(&ppk))
                            };
                            let count = all.iter().filter(safe).count();
                            assert_eq!(count, if id == "blue" { all.len() } else { 1 }, "{story}");
                        }
                    }
                }
                if what == What::RekeyIke {
                    What::RekeyChild.ask(&mut world, "alice");
                    What::RekeyIke.ask(&mut world, "bob");
                    assert_eq!(
                        proposed(&world, "alice") + proposed(&world, "bob"),
                        1,
                        "{story}: it is in the keys now"
                    );
                    assert!(
                        world.is_mirrored() && shown(&mut world, "bob").contains(&format!("the PPK `{id}`"))
                    );
                }
            }
        }
    }
}

/// The PPKs of both, before and after they are replaced: with which the child comes that alice asks for.
//= rfc9867 §3.2
#[test]
fn s139_the_table_of_what_both_sides_have_for_new_keys() {
    type Row = ([List; 2], [List; 2], Option<&'static str>, [&'static str; 2]);
    let rows: [Row; 10] = [
        // The IKE SA stands without.
        ([NONE, NONE], [JUST_BLUE, JUST_BLUE], Some("blue"), ["", ""]),
        ([NONE, NONE], [BOTH, JUST_BLUE], Some("blue"), ["", ""]),
        (
            [NONE, NONE],
            [JUST_BLUE, GREEN],
            None,
            ["(`blue`) for the new keys: going on without", "proposes no PPK (`blue`)"],
        ),
        ([JUST_BLUE, NONE], [JUST_BLUE, NONE], None, ["(`blue`) for the new keys: going on without", ""]),
        // The IKE SA has one.
        ([JUST_BLUE, JUST_BLUE], [BOTH, BOTH], Some("green"), ["", ""]),
        (
            [JUST_BLUE, JUST_BLUE],
            [BOTH, JUST_BLUE],
            None,
            ["(`green`) for the new keys: they hold the PPK `blue` as before", "proposes no PPK (`green`)"],
        ),
        ([JUST_BLUE, JUST_BLUE], [JUST_BLUE, BOTH], None, ["", ""]),
        (
            [JUST_BLUE, JUST_BLUE],
            [MISMATCHED, JUST_BLUE],
            None,
            ["they hold the PPK `blue` as before", "The PPK `blue` is another key at the peer"],
        ),
        ([BOTH, BOTH], [LATER, LATER], Some("red"), ["", ""]),
        ([JUST_BLUE, JUST_BLUE], [NONE, NONE], None, ["", ""]),
    ];
    for (before, after, wanted, says) in rows {
        let mut world = standing(200, before.map(|list| (list, false)), PLAIN, ESP[0]);
        for (name, list) in ["alice", "bob"].into_iter().zip(after) {
            world.replace_ppks(name, list, false);
            world.host_mut(name).events.clear();
        }
        What::RekeyChild.ask(&mut world, "alice");
        for (name, says) in ["alice", "bob"].into_iter().zip(says) {
            let told = told(&world, name);
            assert!(
                told.contains(says) && (told.is_empty() || !says.is_empty()),
                "{before:?} {after:?}: {told}"
            );
            assert_eq!(
                of_child(&mut world, name, "lan"),
                [wanted.map(str::to_string)],
                "{before:?} {after:?}"
            );
        }
        assert!(world.is_mirrored());
    }
}

/// `ppk_required` and an IKE SA with a PPK: a peer that proposes none gets its new keys.
//= rfc9867 §3.2
#[test]
fn s139_who_stands_on_a_ppk_and_proposes_none_goes_on() {
    for what in ALL {
        let mut world = standing(300, [(JUST_BLUE, true); 2], PLAIN, ESP[1]);
        world.replace_ppks("bob", BOTH, true);
        what.ask(&mut world, "alice");
        assert_eq!((proposed(&world, "alice"), world.host("bob").refusals().len()), (0, 0), "{what:?}");
        assert!(world.is_mirrored() && shown(&mut world, "bob").contains("the PPK `blue`"), "{what:?}");
    }
}

/// A responder that has begun to require a PPK, and an IKE SA without.
//= rfc9867 §3.2
//# If using PPKs in CREATE_CHILD_SA is mandatory for the responder, […] then the responder MUST return the NO_PROPOSAL_CHOSEN
//# notification.
#[test]
fn s139_new_keys_without_the_ppk_that_is_required_are_refused() {
    for (seed, alices) in [NONE, GREEN, MISMATCHED].into_iter().enumerate() {
        for (what, (ike, esp)) in
            ALL.into_iter().flat_map(|what| [(what, (PLAIN, ESP[0])), (what, (SERIES, ESP[2]))])
        {
            let mut world = standing(400 + seed as u64, [(NONE, false); 2], ike, esp);
            world.replace_ppks("alice", alices, false);
            world.replace_ppks("bob", JUST_BLUE, true);
            let before: Vec<_> = world.status("bob").iter().map(|sa| (sa.id, sa.children.len())).collect();
            what.ask(&mut world, "alice");
            let refusals = world.host("bob").refusals();
            assert!(
                !refusals.is_empty()
                    && refusals.iter().all(|refusal| refusal.reason.contains("wants new keys without a PPK")),
                "{what:?} {refusals:?}"
            );
            let after: Vec<_> = world.status("bob").iter().map(|sa| (sa.id, sa.children.len())).collect();
            assert_eq!(before, after, "{what:?}: what stands stays");
            let refused = world.host("alice").events.iter().any(|(_, event)| matches!(event, Event::Message(trace) if trace.payloads.contains("N(NO_PROPOSAL_CHOSEN)")));
            assert!(refused && world.is_mirrored(), "{what:?}");
            // With the right one it works.
            world.replace_ppks("alice", JUST_BLUE, false);
            what.ask(&mut world, "alice");
            assert!(proposed(&world, "alice") > 0, "{what:?}");
            assert!(!told(&world, "alice").contains("takes none of our PPKs (`blue`)"), "{what:?}");
            assert!(world.is_mirrored(), "{what:?}");
        }
    }
}

/// An initiator that has begun to require a PPK, and a peer that has none.
//= rfc9867 §3.2
//# If this is inappropriate for the initiator, it can immediately delete this SA.
#[test]
fn s139_new_keys_without_the_ppk_that_we_require_are_deleted() {
    for (what, (ike, esp)) in
        ALL.into_iter().flat_map(|what| [(what, (PLAIN, ESP[1])), (what, (SERIES, ESP[2]))])
    {
        let mut world = standing(500, [(NONE, false); 2], ike, esp);
        world.replace_ppks("alice", JUST_BLUE, true);
        let followed = |world: &World| {
            world
                .host("alice")
                .count(|event| matches!(event, Event::Message(trace) if trace.exchange == "IKE_FOLLOWUP_KE"))
        };
        let before = followed(&world);
        what.ask(&mut world, "alice");
        let story = format!("{what:?} {ike}");
        let told = told(&world, "alice");
        let said = world.host("alice").replies.values().any(|(_, reply)| matches!(reply, Reply::Refused(refusal) if refusal.reason.contains("takes none of our PPKs (`blue`)")));
        assert!(said || told.contains("The peer takes none of our PPKs (`blue`) for the new keys, there is none in those of the IKE SA"), "{story}: {told}");
        assert_eq!(followed(&world), before, "{story}: nothing is gone on with");
        world.run(Duration::from_secs(60));
        let (a, b) = (world.status("alice"), world.status("bob"));
        assert_eq!(a.len(), b.len(), "{story}");
        assert!(world.is_mirrored(), "{story}");
        // A new IKE SA without a PPK takes the old one with it; nothing of a series stands.
        let stands = if what == What::RekeyIke && ike == PLAIN { 0 } else { 1 };
        assert_eq!(a.iter().filter(|sa| sa.state == "established").count(), stands, "{story}");
        let names = |list: &[sa::IkeStatus]| -> Vec<String> {
            list.iter().flat_map(|sa| sa.children.iter().map(|child| child.name.clone())).collect()
        };
        assert_eq!(names(&a), vec!["lan".to_string(); stands], "{story}");
    }
}

/// One that requires a PPK and can propose none does not ask for what it would have to throw away: the peer, which can, may.
//= rfc9867 §3.2
#[test]
fn who_has_no_ppk_to_propose_asks_for_nothing() {
    let patterns = |world: &mut World| {
        let mut policy = world.host("alice").policy.as_ref().clone();
        let mut connection = (*policy.connections[0]).clone();
        connection.extensions.ppk.ids = vec![policy::PpkPattern::EndsIn("".into())];
        policy.connections[0] = std::sync::Arc::new(connection);
        let policy = std::sync::Arc::new(policy);
        world.host_mut("alice").policy = policy.clone();
        world.order("alice", Order::Reload(policy));
    };
    for what in ALL {
        let mut world = standing(550, [(NONE, false); 2], PLAIN, ESP[1]);
        world.replace_ppks("alice", JUST_BLUE, true);
        patterns(&mut world);
        let before: Vec<_> = world.status("alice").iter().map(|sa| (sa.id, sa.children.len())).collect();
        let asked = |world: &World| {
            world.host("alice").count(|event| matches!(event, Event::Message(trace) if trace.sent && !trace.response && trace.exchange == "CREATE_CHILD_SA"))
        };
        let earlier = asked(&world);
        what.ask(&mut world, "alice");
        assert_eq!(asked(&world), earlier, "{what:?}");
        let after: Vec<_> = world.status("alice").iter().map(|sa| (sa.id, sa.children.len())).collect();
        assert_eq!(before, after, "{what:?}: what stands stays");
        let said = world.host("alice").replies.values().any(|(_, reply)| matches!(reply, Reply::Refused(refusal) if refusal.reason.contains("No PPK can be proposed")));
        let told = told(&world, "alice");
        assert!(said || told.contains("No PPK can be proposed for the new keys"), "{what:?}: {told}");
        world.replace_ppks("bob", JUST_BLUE, false);
        What::RekeyIke.ask(&mut world, "bob");
        assert!(shown(&mut world, "alice").contains("the PPK `blue`"), "{what:?}");
    }
}

/// Whoever keeps the PPKs does not answer: keys come without, on time.
#[test]
fn ppks_on_which_nobody_answers_are_none() {
    for (silent, other) in [("alice", "bob"), ("bob", "alice")] {
        for what in [What::RekeyChild, What::RekeyIke] {
            let mut world = standing(600, [(JUST_BLUE, true); 2], PLAIN, ESP[1]);
            for name in ["alice", "bob"] {
                world.replace_ppks(name, GREEN, true);
            }
            let before = world.status("alice")[0].clone();
            world.host_mut(silent).forget_jobs();
            what.ask(&mut world, "alice");
            world.run(Duration::from_secs(10));
            let told_silent = told(&world, silent);
            assert!(
                told_silent.contains("No PPK can be mixed in: whoever keeps them does not answer"),
                "{told_silent}"
            );
            let after = world.status("alice")[0].clone();
            match what {
                What::RekeyIke => assert_ne!(before.spi_i, after.spi_i),
                _ => assert_ne!(before.children[0].spi_in, after.children[0].spi_in),
            }
            assert!(world.is_mirrored() && shown(&mut world, other).contains("the PPK `blue`"));
        }
    }
}

/// Datagrams are lost, doubled and late, and so are answers about PPKs: in the end both have the same keys.
#[test]
fn s139_fresh_ppks_in_foul_weather() {
    for seed in 700..720 {
        let foul = sim::Weather { loss: 200, duplicate: 300, ..sim::Weather::foul() };
        let slow = |ppks| {
            move |mut any: Site| {
                any.keeper = KeeperNature { delay: Duration::ZERO..=Duration::from_secs(3), forget: 0 };
                site(any, ppks, HYBRID, ESP[2])
            }
        };
        let (a, b) = (slow((JUST_BLUE, true))(alice()), slow((JUST_BLUE, true))(bob()));
        let mut world = world(seed).peers(a, b);
        world.up_child("alice", 0, Some("lan"));
        world.until(established);
        let mut world = world.under(foul);
        world.replace_ppks("alice", BOTH, true);
        for (index, name) in ["bob", "alice", "bob", "alice"].into_iter().enumerate() {
            if index == 2 {
                world.replace_ppks("bob", BOTH, true);
            }
            What::RekeyIke.ask(&mut world, name);
            What::RekeyChild.ask(&mut world, name);
        }
        world.weather = sim::Weather::fair();
        world.calm();
        world.run(Duration::from_secs(300));
        for name in ["alice", "bob"] {
            What::RekeyIke.ask(&mut world, name);
        }
        world.run(Duration::from_secs(60));
        assert!(world.is_mirrored());
        for name in ["alice", "bob"] {
            assert!(
                shown(&mut world, name).contains("the PPK `green`"),
                "seed {seed}: {}",
                told(&world, name)
            );
        }
    }
}

/// The puppet as initiator with bob, who has these PPKs by now.
fn asking(seed: u64, ppks: List) -> (World, Puppet) {
    let mut world = world(seed).site(bob());
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    alice.esp_spi = EspSpi(0xdddd_0000);
    if !ppks.is_empty() {
        world.replace_ppks("bob", ppks, false);
    }
    (world, alice)
}

const NI: [u8; 32] = [5; 32];

/// A request for a further child, with these PPKs by their PPK_IDs and keys.
fn request(alice: &Puppet, ppks: &[(Vec<u8>, &[u8])]) -> Vec<Payload<'static>> {
    let mut payloads = vec![Payload::Sa(vec![alice.esp_proposal()]), Payload::Nonce(NI.to_vec().into())];
    payloads.extend(alice.selectors());
    payloads.extend(ppks.iter().map(|(id, ppk)| {
        notify(NotifyType::PPK_IDENTITY_KEY, &[&id[..], &alice.fresh_ppk_confirmation(ppk, &NI)].concat())
    }));
    payloads
}

/// What PPK_IDENTITY notifications of a message name.
pub(crate) fn taken(payloads: &[Payload<'_>]) -> Vec<Vec<u8>> {
    let of = |payload: &Payload<'_>| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::PPK_IDENTITY => Some(notify.data.to_vec()),
        _ => None,
    };
    payloads.iter().filter_map(of).collect()
}

/// The keys of a child SA that an exchange with these nonces makes of that SK_d.
pub(crate) fn child_keys(channel: &Channel, sk_d: &Secret, ni: &[u8], nr: &[u8]) -> [Vec<u8>; 2] {
    let provider = provider::Provider::new();
    let (prf, algorithms) = (provider.prf(channel.algorithms.prf).unwrap(), channel.algorithms);
    let shape = provider.cipher_spec(algorithms.encr, 256, algorithms.integ).unwrap();
    let keys = crypto::child_keys(prf, sk_d, None, Nonces { initiator: ni, responder: nr }, shape).unwrap();
    [keys.initiator.encr, keys.responder.encr].map(|key| key.expose().clone())
}

/// The keys of the newest child SA of a site: of what it receives, and of what it sends.
pub(crate) fn installed(world: &World, name: &str) -> [Vec<u8>; 2] {
    let spec = world.host(name).dataplane.sad().max_by_key(|spec| spec.id).expect("a child SA");
    [&spec.inbound.encr_key, &spec.outbound.encr_key].map(|key| key.expose().clone())
}

/// A request for an IKE SA with that SPI in this one's place, without PPKs.
fn request_ike(spi: IkeSpi) -> (Box<dyn KePrivate>, Vec<Payload<'static>>) {
    let mut offer = ike_proposal();
    offer.spi = spi.0.to_be_bytes().to_vec().into();
    let (provider, method) = (provider::Provider::new(), KeMethod::CURVE25519);
    let group = provider.key_exchange(method).unwrap();
    let (private, public) = group.generate(&mut sim::SimRng::new(1, "ke")).unwrap();
    let ke = Payload::Ke(KeyExchange { method, data: public.into() });
    (private, vec![Payload::Sa(vec![offer]), Payload::Nonce(NI.to_vec().into()), ke])
}

/// A right answer to such a request of the peer's.
pub(crate) fn answer_ike(request: &[Payload<'_>]) -> Vec<Payload<'static>> {
    let (provider, method) = (provider::Provider::new(), KeMethod::CURVE25519);
    let group = provider.key_exchange(method).unwrap();
    let (public, _) = group.respond(&mut sim::SimRng::new(2, "ke"), &ke(request).expect("KE").data).unwrap();
    let mut chosen = ike_proposal();
    chosen.spi = vec![7; 8].into();
    let ke = Payload::Ke(KeyExchange { method, data: public.into() });
    vec![Payload::Sa(vec![chosen]), Payload::Nonce(vec![8; 32].into()), ke]
}

/// By a second reading of the RFC: the confirmation, and the keys of a child SA and of an IKE SA.
//= rfc9867 §3.2
//= rfc9867 §3.2.1
#[test]
fn s139_what_is_computed_of_a_fresh_ppk_as_responder() {
    let (mut world, mut alice) = asking(800, JUST_BLUE);
    let payloads = request(&alice, &[(id("blue"), BLUE)]);
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    assert_eq!(taken(&answer), [id("blue")], "{}", wire::summary(&answer));
    let channel = alice.channel.as_ref().unwrap();
    let keys = child_keys(channel, &channel.primed(BLUE), &NI, &nonce(&answer));
    assert_eq!(installed(&world, "bob"), keys);
    assert_ne!(keys, child_keys(channel, &channel.keys.d, &NI, &nonce(&answer)));
    // An IKE SA in its place.
    let spi = IkeSpi(0x5eed);
    let (private, mut payloads) = request_ike(spi);
    payloads.push(request(&alice, &[(id("blue"), BLUE)]).pop().unwrap());
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    assert_eq!(taken(&answer), [id("blue")], "{}", wire::summary(&answer));
    let shared: SharedSecrets = private.finish(&ke(&answer).expect("KE").data).unwrap().into();
    let spi_r = IkeSpi(u64::from_be_bytes(proposal(&answer).spi[..].try_into().unwrap()));
    let spis = Spis { initiator: spi, responder: spi_r };
    let old = alice.channel.as_mut().unwrap();
    old.keys.d = old.primed(BLUE);
    let nonces = Nonces { initiator: &NI, responder: &nonce(&answer) };
    let new = old.rekeyed(old.algorithms, nonces, spis, &shared);
    (alice.channel, alice.spis, alice.next_id) = (Some(new), spis, 0);
    let answer =
        alice.ask(&mut world, ExchangeType::INFORMATIONAL, &[]).expect("an answer under the new keys");
    assert_eq!(notifies(&answer), []);
    assert!(shown(&mut world, "bob").contains("the PPK `blue`"));
}

/// Which of several is taken: the first that both have, and rather one that is fresh; so many are looked at.
#[test]
fn the_first_fresh_ppk_that_both_have_is_taken_among_so_many() {
    let most = ikev2::limits::MAX_PPKS;
    let unknown = |n: usize| -> Vec<(Vec<u8>, &[u8])> { vec![(id("unknown"), BLUE); n] };
    let green = GREEN[0].1;
    let other_type = (b"\x01blue".to_vec(), BLUE);
    type Row<'a> = (Vec<(Vec<u8>, &'a [u8])>, Option<Vec<u8>>);
    let rows: [Row<'_>; 9] = [
        (vec![], None),
        (unknown(1), None),
        (vec![(id("blue"), BLUE)], Some(id("blue"))),
        (vec![(id("blue"), OTHER)], None),
        (vec![(id("green"), BLUE), (id("blue"), BLUE)], Some(id("blue"))),
        (vec![(id("blue"), BLUE), (id("green"), green)], Some(id("blue"))),
        (vec![(id("blue"), BLUE), (id("blue"), OTHER), (id("blue"), BLUE)], Some(id("blue"))),
        (
            [vec![other_type, (vec![FIXED], BLUE)], unknown(most - 3), vec![(id("blue"), BLUE)]].concat(),
            Some(id("blue")),
        ),
        ([unknown(most), vec![(id("blue"), BLUE)]].concat(), None),
    ];
    for (ppks, wanted) in rows {
        let (mut world, mut alice) = asking(810, BOTH);
        let payloads = request(&alice, &ppks);
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        assert_eq!(taken(&answer), Vec::from_iter(wanted), "{ppks:?}");
        assert_eq!(world.host("bob").dataplane.sad().count(), 2, "the child comes in any case");
    }
    // The IKE SA stands on one of them already.
    let mut world = world(811).site(bob().with_ppks(BOTH, true));
    let mut alice = Puppet::alice();
    let mut first = alice.init_payloads();
    first.push(notify(NotifyType::USE_PPK, &[]));
    let first = alice.init_request(first);
    alice.send(&mut world, &first);
    let response = alice.hear(&mut world).expect("an answer");
    alice.accept_init(&response);
    alice.channel.as_mut().unwrap().stir(BLUE);
    let mut payloads = alice.auth_payloads();
    payloads.push(notify(NotifyType::PPK_IDENTITY, &id("blue")));
    alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    alice.esp_spi = EspSpi(0xdddd_0000);
    for (ppks, wanted) in
        [(vec![(id("blue"), BLUE), (id("green"), green)], "green"), (vec![(id("blue"), BLUE)], "blue")]
    {
        let payloads = request(&alice, &ppks);
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        assert_eq!(taken(&answer), [id(wanted)]);
        alice.esp_spi.0 += 1;
    }
}

/// PPK_IDENTITY_KEY as it should not be; whoever has no PPKs does not look at it.
//= rfc9867 §3.1
#[test]
fn a_fresh_ppk_identity_key_without_room_for_its_parts_ends_the_ike_sa() {
    for (len, ppks) in (0..=8).flat_map(|len| [(len, JUST_BLUE), (len, NONE)]) {
        let (mut world, mut alice) = asking(820, ppks);
        let mut payloads = request(&alice, &[]);
        payloads.push(notify(NotifyType::PPK_IDENTITY_KEY, &vec![FIXED; len]));
        let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
        if ppks.is_empty() {
            assert!(notifies(&answer).is_empty(), "{}", wire::summary(&answer));
        } else {
            assert_eq!(notifies(&answer), [NotifyType::INVALID_SYNTAX], "{len}");
            let told = told(&world, "bob");
            assert!(told.contains(&format!("PPK_IDENTITY_KEY has {len} octets")), "{told}");
        }
    }
}

/// A request that comes again while its PPKs are asked for, and one that comes when the IKE SA ends.
#[test]
fn a_request_that_waits_for_its_ppks_is_answered_once() {
    for ends in [false, true] {
        let mut site = bob();
        site.keeper.delay = Duration::from_secs(2)..=Duration::from_secs(2);
        let mut world = world(830).site(site);
        let mut alice = Puppet::alice();
        alice.init(&mut world);
        let payloads = alice.auth_payloads();
        let auth = alice.request(ExchangeType::IKE_AUTH, &payloads);
        alice.send(&mut world, &auth);
        world.run(Duration::from_secs(6));
        alice.esp_spi = EspSpi(0xdddd_0000);
        world.replace_ppks("bob", JUST_BLUE, false);
        let payloads = request(&alice, &[(id("blue"), BLUE)]);
        let asked = alice.request(ExchangeType::CREATE_CHILD_SA, &payloads);
        alice.deaf(&world);
        for _ in 0..3 {
            alice.send(&mut world, &asked);
            assert!(alice.hear(&mut world).is_none(), "it waits");
        }
        if ends {
            world.down("bob");
            world.run(Duration::from_secs(30));
            assert!(suite::is_clean(&mut world));
            continue;
        }
        world.run(Duration::from_secs(3));
        let answer = alice.hear(&mut world).expect("an answer");
        assert_eq!(taken(&alice.open(&answer).1), [id("blue")]);
        assert!(alice.hear(&mut world).is_none(), "one");
        assert_eq!(world.host("bob").dataplane.sad().count(), 2);
    }
}

/// A request that waits for its PPKs when the IKE SA gets a successor by our own: it is as if it came after that.
//= rfc7296 §2.25.2
#[test]
fn a_request_whose_ppks_are_known_too_late_is_turned_away() {
    let mut site = bob();
    site.keeper.delay = Duration::from_secs(2)..=Duration::from_secs(2);
    let mut world = world(835).site(site);
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let payloads = alice.auth_payloads();
    let auth = alice.request(ExchangeType::IKE_AUTH, &payloads);
    alice.send(&mut world, &auth);
    world.run(Duration::from_secs(6));
    world.replace_ppks("bob", JUST_BLUE, false);
    world.order("bob", Order::Rekey(Target::Connection("net".to_string())));
    alice.deaf(&world);
    world.run(Duration::from_secs(3));
    let (header, theirs) = alice.asked(&mut world).expect("CREATE_CHILD_SA");
    let (_, mut ours) = request_ike(IkeSpi(0x5eed));
    ours.push(request(&alice, &[(id("blue"), BLUE)]).pop().unwrap());
    let asked = alice.request(ExchangeType::CREATE_CHILD_SA, &ours);
    alice.send(&mut world, &asked);
    world.run(Duration::from_millis(100));
    let answer = answer_ike(&theirs);
    alice.reply(&mut world, &header, &answer);
    let response = std::iter::from_fn(|| alice.hear(&mut world).map(|datagram| alice.open(&datagram)))
        .find(|(header, _)| header.flags.response);
    let (header, payloads) = response.expect("a response");
    assert_eq!(
        (header.exchange, notifies(&payloads)),
        (ExchangeType::CREATE_CHILD_SA, vec![NotifyType::TEMPORARY_FAILURE])
    );
    assert!(world.host("bob").count(|event| matches!(event, Event::IkeRekeyed { .. })) == 1);
}

/// Alice with a puppet of bob, who has these PPKs by now.
fn answering(seed: u64, ppks: List, required: bool) -> (World, Puppet) {
    let mut world = world(seed).site(alice());
    world.up("alice");
    let mut bob = Puppet::bob();
    bob.establish(&mut world);
    world.until(established);
    bob.esp_spi = EspSpi(0xdddd_0000);
    if !ppks.is_empty() {
        world.replace_ppks("alice", ppks, required);
    }
    (world, bob)
}

/// A right answer for a child in another's place.
fn answer_child(bob: &Puppet) -> Vec<Payload<'static>> {
    let mut payloads = vec![Payload::Sa(vec![bob.esp_proposal()]), Payload::Nonce(vec![8; 32].into())];
    payloads.extend(bob.selectors());
    payloads
}

fn asked_rekey(world: &mut World, bob: &mut Puppet) -> (wire::Header, Vec<Payload<'static>>) {
    world.order("alice", Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
    let (header, payloads) = bob.asked(world).expect("CREATE_CHILD_SA");
    assert_eq!(header.exchange, ExchangeType::CREATE_CHILD_SA);
    (header, payloads)
}

//= rfc9867 §3.2
//= rfc9867 §3.2.1
#[test]
fn s139_what_is_computed_of_a_fresh_ppk_as_initiator() {
    for (chosen, ppk) in [("green", GREEN[0].1), ("blue", BLUE)] {
        let (mut world, mut bob) = answering(840, BOTH, false);
        let (header, payloads) = asked_rekey(&mut world, &mut bob);
        let ni = nonce(&payloads);
        let offered: Vec<_> = payloads
            .iter()
            .filter_map(|payload| match payload {
                Payload::Notify(notify) if notify.kind == NotifyType::PPK_IDENTITY_KEY => {
                    Some(notify.data.to_vec())
                }
                _ => None,
            })
            .collect();
        let wanted = |name: &str, ppk: &[u8]| [id(name), bob.fresh_ppk_confirmation(ppk, &ni)].concat();
        assert_eq!(offered, [wanted("green", GREEN[0].1), wanted("blue", BLUE)]);
        let mut answer = answer_child(&bob);
        answer.push(notify(NotifyType::PPK_IDENTITY, &id(chosen)));
        bob.reply(&mut world, &header, &answer);
        world.run(Duration::from_secs(1));
        let channel = bob.channel.as_ref().unwrap();
        let mut keys = child_keys(channel, &channel.primed(ppk), &ni, &[8; 32]);
        keys.reverse();
        assert_eq!(installed(&world, "alice"), keys);
        assert_eq!(of_child(&mut world, "alice", "lan"), [Some(chosen.to_string())]);
    }
}

/// What an answer may not say of PPKs.
//= rfc9867 §3.2
#[test]
fn s139_an_initiator_takes_only_the_fresh_ppk_that_it_has_proposed() {
    type Row = (List, Vec<Vec<u8>>, Option<&'static str>);
    let rows: [Row; 7] = [
        (JUST_BLUE, vec![], None),
        (JUST_BLUE, vec![id("red")], Some("takes a PPK that was not proposed")),
        (JUST_BLUE, vec![vec![]], Some("takes a PPK that was not proposed")),
        (JUST_BLUE, vec![b"\x01blue".to_vec()], Some("takes a PPK that was not proposed")),
        (JUST_BLUE, vec![id("blue"), id("blue")], Some("takes more than one PPK")),
        (NONE, vec![id("blue")], Some("takes a PPK that was not proposed")),
        (NONE, vec![vec![]], Some("takes a PPK that was not proposed")),
    ];
    for (ppks, named, wrong) in rows {
        let (mut world, mut bob) = answering(850, ppks, false);
        let before = world.status("alice")[0].children[0].spi_in;
        let (header, _) = asked_rekey(&mut world, &mut bob);
        let mut answer = answer_child(&bob);
        answer.extend(named.iter().map(|id| notify(NotifyType::PPK_IDENTITY, id)));
        bob.reply(&mut world, &header, &answer);
        world.run(Duration::from_secs(1));
        let after = world.status("alice")[0].children[0].spi_in;
        let told = told(&world, "alice");
        assert_eq!(before == after, wrong.is_some(), "{named:?}: {told}");
        // Of two child SAs one goes: the old one, or the wrong one.
        let (_, payloads) = bob.asked(&mut world).expect("INFORMATIONAL");
        assert!(payloads.iter().any(|payload| payload.kind() == PayloadType::DELETE), "{named:?}");
        assert!(told.contains(wrong.unwrap_or("takes none of our PPKs (`blue`)")), "{named:?}: {told}");
    }
}

/// The same of an IKE SA: nothing but a new beginning brings both together.
#[test]
fn an_ike_sa_with_a_ppk_that_was_not_proposed_is_given_up() {
    let (mut world, mut bob) = answering(860, JUST_BLUE, false);
    world.order("alice", Order::Rekey(Target::Connection("net".to_string())));
    let (header, payloads) = bob.asked(&mut world).expect("CREATE_CHILD_SA");
    let mut answer = answer_ike(&payloads);
    answer.push(notify(NotifyType::PPK_IDENTITY, &id("red")));
    bob.reply(&mut world, &header, &answer);
    world.run(Duration::from_secs(1));
    let (_, payloads) = bob.asked(&mut world).expect("INFORMATIONAL");
    assert!(payloads.iter().any(|payload| payload.kind() == PayloadType::DELETE));
    bob.reply(&mut world, &header, &[]);
    world.run(Duration::from_secs(60));
    let fault = world.host("alice").count(|event| match event {
        Event::IkeDown(_, Fate::Fault(what)) => {
            what.contains("takes a PPK that was not proposed (RFC 9867 §3.2)")
        }
        _ => false,
    });
    assert_eq!(fault, 1, "{}", told(&world, "alice"));
}

/// The peer wants another key exchange method: the PPK comes with the second request, too, and its confirmation is of that.
#[test]
fn a_request_with_the_wrong_group_takes_its_ppk_along() {
    for what in [What::RekeyChild, What::RekeyIke] {
        let of = |any: Site| {
            let a = any.name == "alice";
            let (ike, esp) = match a {
                true => ("aes256gcm16-prfsha256-x25519-ecp256", "aes256gcm16-ecp256-x25519"),
                false => ("aes256gcm16-prfsha256-ecp256-x25519", "aes256gcm16-x25519"),
            };
            site(any, (JUST_BLUE, true), ike, esp)
        };
        let mut world = world(870).peers(of(alice()), of(bob()));
        world.up_child("alice", 0, Some("lan"));
        world.until(established);
        // After IKE_SA_INIT the method in use comes first: bob likes another one.
        for name in ["alice", "bob"] {
            world.replace_ppks(name, GREEN, true);
        }
        if what == What::RekeyIke {
            let only = parse_ike("aes256gcm16-prfsha256-x25519").unwrap();
            let changed = of(bob()).with(|connection| connection.proposals = only).with_ppks(GREEN, true);
            world.reload("bob", changed);
        }
        what.ask(&mut world, "alice");
        assert!(proposed(&world, "alice") >= 1);
        let ppk = match what {
            What::RekeyIke => shown(&mut world, "bob"),
            _ => of_child(&mut world, "bob", "lan")[0].clone().unwrap_or_default(),
        };
        assert!(ppk.contains("green"), "{what:?}: {ppk} {}", told(&world, "alice"));
        assert!(world.is_mirrored());
    }
}

/// An order waits for the child whose PPK is asked for, and hears of it.
#[test]
fn an_order_hears_of_a_child_with_a_fresh_ppk() {
    let mut world = standing(880, [(JUST_BLUE, true); 2], PLAIN, ESP[0]);
    for name in ["alice", "bob"] {
        world.replace_ppks(name, GREEN, true);
    }
    let order = world.up_child("alice", 0, Some("dmz"));
    world.until(answered);
    assert!(
        matches!(world.reply(order), Some(Reply::Up { children, .. }) if children == &["dmz".to_string()])
    );
    assert_eq!(of_child(&mut world, "bob", "dmz"), [Some("green".to_string())]);
}

/// A series whose CREATE_CHILD_SA names the PPK: the follow-up exchanges say nothing of it.
#[test]
fn a_series_of_a_puppet_with_a_ppk() {
    let mut world = world(890).site(
        bob().child(|child| child.esp_proposals = parse_esp("aes256gcm16-x25519-ke1_mlkem512").unwrap()),
    );
    let mut alice = Puppet::alice();
    alice.establish(&mut world);
    world.replace_ppks("bob", JUST_BLUE, false);
    alice.esp_spi = EspSpi(0xdddd_0000);
    let provider = provider::Provider::new();
    let mut rng = sim::SimRng::new(4, "series");
    let mut value = |method| provider.key_exchange(method).unwrap().generate(&mut rng).unwrap();
    let ((first, public), (second, kem)) = (value(KeMethod::CURVE25519), value(KeMethod::ML_KEM_512));
    let mut payloads = request(&alice, &[(id("blue"), BLUE)]);
    let mut offer = alice.esp_proposal();
    offer.transforms.push(Transform::new(TransformType::KE, KeMethod::CURVE25519.0, None));
    offer.transforms.push(Transform::new(TransformType::ADDKE1, KeMethod::ML_KEM_512.0, None));
    payloads[0] = Payload::Sa(vec![offer]);
    payloads.insert(2, Payload::Ke(KeyExchange { method: KeMethod::CURVE25519, data: public.into() }));
    let answer = alice.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    assert_eq!(taken(&answer), [id("blue")]);
    let (nr, shared) = (nonce(&answer), first.finish(&ke(&answer).unwrap().data).unwrap());
    let link = answer.iter().find(|payload| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::ADDITIONAL_KEY_EXCHANGE));
    let payloads =
        [Payload::Ke(KeyExchange { method: KeMethod::ML_KEM_512, data: kem.into() }), link.unwrap().clone()];
    let answer = alice.ask(&mut world, ExchangeType::IKE_FOLLOWUP_KE, &payloads).expect("an answer");
    assert!(taken(&answer).is_empty() && notifies(&answer).is_empty(), "{}", wire::summary(&answer));
    let mut all: SharedSecrets = shared.into();
    all.push(&second.finish(&ke(&answer).unwrap().data).unwrap());
    let channel = alice.channel.as_ref().unwrap();
    let prf = provider.prf(channel.algorithms.prf).unwrap();
    let shape = provider.cipher_spec(channel.algorithms.encr, 256, channel.algorithms.integ).unwrap();
    let nonces = Nonces { initiator: &NI, responder: &nr };
    let keys = crypto::child_keys(prf, &channel.primed(BLUE), Some(&all), nonces, shape).unwrap();
    let keys = [keys.initiator.encr, keys.responder.encr].map(|key| key.expose().clone());
    assert_eq!(installed(&world, "bob"), keys);
}
