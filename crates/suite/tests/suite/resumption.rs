//! Session resumption (RFC 5723): tickets given, kept, shown, refused and stolen.

use crate::certificates::certified;
use base::Secret;
use policy::{AddressPattern, EndAction, Gateway, IkeLifetime, Redirect, Unique};
use sa::{Drop, Event, Fate, IkeStatus, Order, Reply, Target};
use sim::{Datagram, Site, answered, established};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use suite::{Puppet, World, alice, bob, dropped, notifies, world};
use testcerts::{Authority, Key};
use wire::num::{AuthMethod, CertEncoding, ExchangeType, IdType, NotifyType, PayloadType};
use wire::{Authentication, Certificate, Identification, Message, Notify, Payload};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Asks for tickets and gives them; as one whose secrets outlive a crash.
fn resumes(mut site: Site) -> Site {
    site.settings.ticket_secret = Some(Secret::new([7; 32]));
    site.settings.crash_secret = Some(Secret::new([8; 32]));
    site.with(|c| c.extensions.resumption = true).child(|child| child.dpd_action = EndAction::Restart)
}

pub(crate) fn pair(seed: u64) -> World {
    world(seed).peers(resumes(alice()), resumes(bob()).child(|child| child.dpd_action = EndAction::Clear))
}

/// Alice's tunnel stands, and she has a ticket.
pub(crate) fn up(mut world: World) -> World {
    world.up("alice");
    world.until(established);
    world.run(SECOND);
    assert!(only(&mut world, "alice").ticket, "no ticket was given");
    world
}

/// Bob loses his memory, and alice hears of it.
pub(crate) fn lose(world: &mut World) {
    let ike = only(world, "alice").id;
    world.crash("bob");
    world.order("alice", Order::Probe(ike));
}

fn only(world: &mut World, name: &str) -> IkeStatus {
    let mut all = world.status(name);
    assert_eq!(all.len(), 1, "{name}: {all:?}");
    all.remove(0)
}

/// Both ends have one IKE SA, the same, with its child; whether it was resumed.
pub(crate) fn stands(world: &mut World) -> bool {
    let (one, other) = (only(world, "alice"), only(world, "bob"));
    assert_eq!((one.state, one.spi_i, one.spi_r), ("established", other.spi_i, other.spi_r));
    assert_eq!(one.resumed, other.resumed);
    assert!(world.is_mirrored());
    assert_eq!((one.children.len(), world.host("bob").dataplane.sad().count()), (1, 1));
    one.resumed
}

/// The exchanges that began since the `from`-th datagram: type, and whether it is the response.
fn exchanges(world: &World, from: usize) -> Vec<(ExchangeType, bool)> {
    let headers = world.wire[from..].iter().filter_map(|(_, d)| wire::Header::parse(d.message()).ok());
    headers.map(|header| (header.exchange, header.flags.response)).collect()
}

fn count(world: &World, from: usize, exchange: ExchangeType) -> usize {
    exchanges(world, from).iter().filter(|(found, response)| *found == exchange && !response).count()
}

fn data_of(payloads: &[Payload<'_>], kind: NotifyType) -> Option<Vec<u8>> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == kind => Some(notify.data.to_vec()),
        _ => None,
    })
}

fn notify(kind: NotifyType, data: Vec<u8>) -> Payload<'static> {
    Payload::Notify(Notify::new(kind, data))
}

fn request() -> Payload<'static> {
    notify(NotifyType::TICKET_REQUEST, Vec::new())
}

const INIT: ExchangeType = ExchangeType::IKE_SA_INIT;
const RESUME: ExchangeType = ExchangeType::IKE_SESSION_RESUME;

/// The gateway comes back without memory: four messages, no key exchange, and the tunnel stands.
//= rfc5723 §4.3.2
//= rfc5723 §4.3.3
#[test]
fn a_gateway_without_memory_takes_its_client_back() {
    let mut world = up(pair(1));
    let before = only(&mut world, "alice");
    assert!(!before.resumed);
    let from = world.wire.len();
    let began = world.now();
    lose(&mut world);
    world.until(|world| world.host("bob").dataplane.sad().count() == 1);
    assert!(world.now().since(began) < SECOND);
    world.run(SECOND);
    assert!(stands(&mut world));
    let after = only(&mut world, "alice");
    assert!(after.ticket, "it came with another ticket");
    //= rfc5723 §5
    //# These values MUST NOT be used for the resumed SA.
    assert!(after.spi_i != before.spi_i && after.spi_r != before.spi_r);
    assert_eq!(after.suite, before.suite);
    let auth = ExchangeType::IKE_AUTH;
    assert_eq!(exchanges(&world, from)[2..], [(RESUME, false), (RESUME, true), (auth, false), (auth, true)]);
    // And again, when it has stood for a while.
    world.run(600 * SECOND);
    lose(&mut world);
    world.run(SECOND);
    assert!(stands(&mut world));
    assert_eq!(count(&world, from, INIT), 0);
}

/// Nobody asks for tickets, gives them or shows them without being told to.
#[test]
fn it_is_off_unless_it_is_switched_on() {
    let mut world = world(2).peers(alice(), resumes(bob()));
    world.up("alice");
    world.until(established);
    assert!(!only(&mut world, "alice").ticket);
    let mut world =
        suite::world(3).peers(resumes(alice()), resumes(bob()).with(|c| c.extensions.resumption = false));
    world.up("alice");
    world.until(established);
    assert!(!only(&mut world, "alice").ticket, "the gateway is not to give any");
    let mut without = resumes(bob());
    without.settings.ticket_secret = None;
    let mut world = suite::world(4).peers(resumes(alice()), without);
    world.up("alice");
    world.until(established);
    assert!(!only(&mut world, "alice").ticket, "the gateway has nothing to seal them with");
}

/// The network was cut, and the gateway does not know: the old IKE SA goes without a word, and nobody is refused.
//= rfc5723 §4.3.4
#[test]
fn what_the_gateway_still_has_is_deleted_silently() {
    for unique in [Unique::No, Unique::Never, Unique::Keep, Unique::Replace] {
        let quiet = |site: Site| site.with(|c| (c.unique, c.dpd_delay) = (unique, Duration::ZERO));
        let bob = quiet(resumes(bob())).child(|child| child.dpd_action = EndAction::Clear);
        let mut world = up(world(5).peers(quiet(resumes(alice())), bob));
        world.attack(|scene| scene.take());
        let ike = only(&mut world, "alice").id;
        world.order("alice", Order::Probe(ike));
        world.until(|world| {
            world.host("alice").count(|event| matches!(event, Event::IkeDown(_, Fate::Silent { .. }))) == 1
        });
        world.calm();
        assert_eq!(world.status("bob").len(), 1, "bob has heard nothing");
        let from = world.wire.len();
        world.run(20 * SECOND);
        assert!(stands(&mut world), "{unique:?}");
        assert_eq!(count(&world, from, ExchangeType::INFORMATIONAL), 0, "{unique:?}: nobody deletes aloud");
        let replaced = |event: &Event| matches!(event, Event::IkeDown(_, Fate::Replaced));
        assert_eq!(world.host("bob").count(replaced), 1);
    }
}

/// Each of the four messages is lost once: it takes a retransmission, and still no key exchange.
#[test]
fn any_message_may_be_lost() {
    for lost in 0..4 {
        let mut world = up(pair(6));
        let from = world.wire.len();
        let mut seen = 0;
        world.attack(move |scene| {
            let exchange = wire::Header::parse(scene.datagram.message()).map(|header| header.exchange);
            if matches!(exchange, Ok(RESUME | ExchangeType::IKE_AUTH)) {
                if seen == lost {
                    scene.take();
                }
                seen += 1;
            }
        });
        lose(&mut world);
        world.run(10 * SECOND);
        assert!(stands(&mut world), "message {lost}");
        assert_eq!(count(&world, from, INIT), 0, "message {lost}");
    }
}

/// Under load the client shows a cookie, as it would with IKE_SA_INIT; a puzzle is not asked of it.
//= rfc5723 §4.3.2
//= rfc8019 §4.5
#[test]
fn a_cookie_may_be_demanded_and_a_puzzle_is_not() {
    for puzzle in [false, true] {
        let mut site = resumes(bob()).child(|child| child.dpd_action = EndAction::Clear);
        let mut world = up(world(7).peers(resumes(alice()), {
            site.settings.cookie_threshold = 0;
            if puzzle {
                (site.settings.puzzle_threshold, site.settings.puzzle_difficulty) = (0, 9);
            }
            site
        }));
        let from = world.wire.len();
        lose(&mut world);
        world.run(2 * SECOND);
        assert!(stands(&mut world));
        assert_eq!((count(&world, from, RESUME), count(&world, from, INIT)), (2, 0));
        let requests: Vec<Message<'static>> = world.wire[from..]
            .iter()
            .filter_map(|(_, d)| Message::parse(d.message()).ok())
            .filter(|message| message.header.exchange == RESUME && !message.header.flags.response)
            .map(Message::into_owned)
            .collect();
        let (first, second) = (&requests[0], &requests[1]);
        assert_eq!(first.header.spi_i, second.header.spi_i);
        assert_eq!(notifies(&second.payloads)[0], NotifyType::COOKIE);
        assert_eq!(first.payloads[..], second.payloads[1..]);
    }
}

/// A cookie of somebody else opens nothing.
#[test]
fn a_cookie_serves_its_owner() {
    let mut site = resumes(bob());
    let mut world = world(8).site({
        site.settings.cookie_threshold = 0;
        site
    });
    let mut puppet = Puppet::alice();
    let ask = |puppet: &mut Puppet, world: &mut World, cookie: Option<&[u8]>| {
        let mut payloads: Vec<_> =
            cookie.map(|c| notify(NotifyType::COOKIE, c.to_vec())).into_iter().collect();
        payloads.push(Payload::Nonce(vec![5; 32].into()));
        payloads.push(notify(NotifyType::TICKET_OPAQUE, vec![9; 100]));
        let header = puppet.header(RESUME, false, 0);
        puppet.deaf(world);
        puppet.send(world, &Message { header, payloads }.emit());
        let answer = puppet.hear(world).expect("an answer");
        Message::parse(&answer).expect("IKE_SESSION_RESUME").into_owned().payloads
    };
    let cookie = data_of(&ask(&mut puppet, &mut world, None), NotifyType::COOKIE).expect("a cookie");
    assert_eq!(notifies(&ask(&mut puppet, &mut world, Some(&cookie))), [NotifyType::TICKET_NACK]);
    puppet.spis.initiator.0 ^= 1;
    assert_eq!(notifies(&ask(&mut puppet, &mut world, Some(&cookie))), [NotifyType::COOKIE]);
    assert!(world.status("bob").is_empty());
}

/// Whatever speaks against a ticket, the client is back at once by a full exchange, and both sides say why.
//= rfc5723 §4.3.2
#[test]
fn a_ticket_that_is_refused_costs_one_round_trip() {
    type Change = fn(&mut World);
    let reload = |world: &mut World, site: Site| {
        world.reload("bob", site);
    };
    let cases: [(&str, Change); 5] = [
        ("out of date", |world| world.jump(86_400 + 10)),
        ("no longer used", |world| world.jump(14 * 86_400)),
        ("no longer used", |world| world.jump(-14 * 86_400)),
        ("was not made here", |world| {
            world.order("bob", Order::TicketSecret(Secret::new([9; 32])));
        }),
        ("without `resumption`", |_| ()),
    ];
    for (why, change) in cases {
        let mut world = up(pair(9));
        lose_until_resumed_with(&mut world, |world| {
            change(world);
            if why.contains("resumption") {
                reload(world, resumes(bob()).with(|c| c.extensions.resumption = false));
            }
        });
        assert!(!stands(&mut world), "{why}");
        let told = world.host("bob").refusals().iter().any(|refusal| refusal.reason.contains(why));
        assert!(told, "{why}: {:?}", world.host("bob").refusals());
        let noted = |event: &Event| matches!(event, Event::Note { text, .. } if text.contains("does not take the ticket"));
        assert_eq!(world.host("alice").count(noted), 1);
    }
}

/// Bob loses his memory, `change` happens, and alice comes back within a second.
fn lose_until_resumed_with(world: &mut World, change: impl FnOnce(&mut World)) {
    let ike = only(world, "alice").id;
    world.crash("bob");
    change(world);
    let from = world.wire.len();
    world.order("alice", Order::Probe(ike));
    world.run(SECOND);
    assert_eq!((count(world, from, RESUME), count(world, from, INIT)), (1, 1));
}

/// The connection authenticates otherwise than when the ticket was given, or is not there any more.
#[test]
fn a_ticket_does_not_outlive_what_lets_its_owner_in() {
    type Change = fn(&mut policy::Connection);
    let changes: [(&str, Change); 4] = [
        ("gone, changed", |c| c.name = "other".to_string()),
        ("gone, changed", |c| {
            c.remote.id = policy::IdPattern::Is(policy::Identity::Fqdn("eve.example".into()))
        }),
        ("authenticates otherwise", |c| c.remote.id = policy::IdPattern::Any),
        ("gone, changed", |c| {
            let other =
                &sim::site::ike(wire::num::Encr::AES_CBC, 256, wire::num::Integ::HMAC_SHA2_256_128, &[]);
            c.proposals =
                vec![policy::Proposal { ke: vec![wire::num::KeMethod::CURVE25519], ..other.clone() }];
        }),
    ];
    for (why, change) in changes {
        let mut world = up(pair(10));
        let ike = only(&mut world, "alice").id;
        world.crash("bob");
        world.reload("bob", resumes(bob()).with(change));
        world.order("alice", Order::Probe(ike));
        world.run(5 * SECOND);
        assert!(world.status("alice").iter().all(|sa| !sa.resumed));
        let told = world.host("bob").refusals().iter().any(|refusal| refusal.reason.contains(why));
        assert!(told, "{why}: {:?}", world.host("bob").refusals());
    }
}

/// A key that is one period old still opens what it has sealed.
#[test]
fn the_key_before_serves_on() {
    let mut world = pair(11);
    let period = 7 * 86_400;
    // An hour before the keys change.
    world.jump(period - (1_800_000_000 % period) - 3600);
    let mut world = up(world);
    world.jump(7200);
    lose(&mut world);
    world.run(SECOND);
    assert!(stands(&mut world));
}

/// A client shows no ticket that it knows to be out of date.
//= rfc5723 §4.3.1
#[test]
fn an_old_ticket_is_not_shown() {
    let mut world =
        up(world(12).peers(resumes(alice()).child(|c| c.dpd_action = EndAction::Clear), resumes(bob())));
    lose(&mut world);
    world.run(SECOND);
    assert!(world.status("alice").is_empty(), "lost, and nothing brings it back");
    world.run(24 * HOUR);
    let from = world.wire.len();
    world.up("alice");
    world.until(answered);
    assert!(!stands(&mut world));
    assert_eq!(count(&world, from, RESUME), 0);
}

/// What is lost comes back by an order too, as long as the ticket serves.
#[test]
fn a_lost_ike_sa_comes_back_by_order() {
    let mut world =
        up(world(13).peers(resumes(alice()).child(|c| c.dpd_action = EndAction::Clear), resumes(bob())));
    lose(&mut world);
    world.run(23 * HOUR);
    world.jump(23 * 3600);
    assert!(world.status("alice").is_empty());
    let order = world.up("alice");
    world.until(answered);
    assert!(matches!(world.reply(order), Some(Reply::Up { .. })));
    world.run(SECOND);
    assert!(stands(&mut world));
}

/// Whoever deletes an IKE SA means it: the ticket goes with it, at both ends.
//= rfc5723 §6.2
#[test]
fn a_deletion_deletes_the_ticket() {
    for who in ["alice", "bob"] {
        let mut world = up(pair(14));
        world.down(who);
        world.until(answered);
        world.run(20 * SECOND);
        let from = world.wire.len();
        world.up("alice");
        world.until(answered);
        assert_eq!(count(&world, from, RESUME), 0, "by {who}");
    }
    // A ticket that waits for its gateway goes with an order too.
    let mut world =
        up(world(15).peers(resumes(alice()).child(|c| c.dpd_action = EndAction::Clear), resumes(bob())));
    lose(&mut world);
    world.run(SECOND);
    world.order("alice", Order::Down(Target::Connection("net".to_string())));
    let from = world.wire.len();
    world.up("alice");
    world.until(answered);
    assert_eq!(count(&world, from, RESUME), 0);
}

/// New keys, from either side: the old ticket is worth nothing, and the client asks for another one.
//= rfc5723 §6.2
#[test]
fn new_keys_bring_a_new_ticket() {
    for who in ["alice", "bob"] {
        let mut world = up(pair(16));
        let from = world.wire.len();
        world.order(who, Order::Rekey(Target::All));
        world.run(2 * SECOND);
        assert!(only(&mut world, "alice").ticket, "by {who}");
        lose(&mut world);
        world.run(SECOND);
        assert!(stands(&mut world), "by {who}");
        assert_eq!(count(&world, from, INIT), 0);
    }
}

/// Nobody is there: the client tries its ticket, then a full exchange, and has the ticket still when the gateway is back.
#[test]
fn a_silent_gateway_does_not_use_the_ticket_up() {
    let mut world = up(pair(17));
    world.attack(|scene| scene.take());
    let ike = only(&mut world, "alice").id;
    world.order("alice", Order::Probe(ike));
    world.until(|world| count(world, 0, INIT) == 3);
    assert_eq!(count(&world, 0, RESUME), 3, "so many transmissions, and no more");
    world.until(|world| count(world, 0, RESUME) == 4);
    world.calm();
    let before = count(&world, 0, INIT);
    world.run(60 * SECOND);
    assert!(stands(&mut world));
    assert_eq!(count(&world, 0, INIT), before);
}

/// Prove anew who you are: resuming does not put it off.
//= rfc5723 §6.2
#[test]
fn reauthentication_counts_from_the_first_proof() {
    let every = |site: Site, seconds: u64| {
        site.with(|c| {
            let reauth = Duration::from_secs(seconds);
            c.lifetime = IkeLifetime { reauth, over: Duration::from_secs(60), ..IkeLifetime::UNLIMITED };
        })
    };
    let bob = every(resumes(bob()), 1000).child(|child| child.dpd_action = EndAction::Clear);
    let mut world = up(world(18).peers(resumes(alice()), bob));
    for _ in 0..3 {
        // The wall clock and the other one agree.
        world.run(250 * SECOND);
        world.jump(250);
        lose(&mut world);
        world.run(SECOND);
        assert!(stands(&mut world));
    }
    let from = world.wire.len();
    world.run(260 * SECOND);
    world.jump(260);
    assert_eq!(
        (count(&world, from, INIT), count(&world, from, RESUME)),
        (1, 0),
        "within 1000 s of the first"
    );
    assert!(!stands(&mut world));
}

/// AUTH_LIFETIME tells what is left, and no ticket serves longer.
//= rfc4478 §3
#[test]
fn the_ticket_is_bound_to_what_is_left() {
    let mut world = world(19).site(resumes(bob()).with(|c| {
        let reauth = Duration::from_secs(1000);
        c.lifetime = IkeLifetime { reauth, over: 100 * SECOND, ..IkeLifetime::UNLIMITED };
    }));
    let (mut puppet, ticket, lifetime) = client(&mut world);
    assert_eq!(lifetime, 1100);
    world.run(400 * SECOND);
    world.jump(400);
    puppet.resume(&mut world, &ticket).expect("an answer");
    let answer = auth(&mut puppet, &mut world, Auth::default()).expect("an answer");
    let left = data_of(&answer, NotifyType::AUTH_LIFETIME).expect("AUTH_LIFETIME");
    assert!((595..=600).contains(&u32::from_be_bytes(left[..].try_into().unwrap())), "{left:?}");
    let ticket = data_of(&answer, NotifyType::TICKET_LT_OPAQUE).expect("a ticket");
    assert!((695..=700).contains(&u32::from_be_bytes(ticket[..4].try_into().unwrap())), "{ticket:?}");
}

/// A puppet client with an IKE SA and a ticket of it; how long it serves.
fn client(world: &mut World) -> (Puppet, Vec<u8>, u32) {
    let mut puppet = Puppet::alice();
    puppet.init(world);
    let mut payloads = puppet.auth_payloads();
    payloads.push(request());
    let answer = puppet.ask(world, ExchangeType::IKE_AUTH, &payloads).expect("an answer to IKE_AUTH");
    let data = data_of(&answer, NotifyType::TICKET_LT_OPAQUE).expect("a ticket");
    let (seconds, ticket) = data.split_first_chunk::<4>().expect("a lifetime");
    puppet.esp_spi.0 += 1;
    (puppet, ticket.to_vec(), u32::from_be_bytes(*seconds))
}

/// How an IKE_AUTH request that resumes differs from a right one.
#[derive(Default)]
struct Auth {
    id_i: Option<&'static str>,
    id_r: Option<&'static str>,
    method: Option<AuthMethod>,
    data: Option<Vec<u8>>,
    cert: bool,
}

fn auth(puppet: &mut Puppet, world: &mut World, how: Auth) -> Option<Vec<Payload<'static>>> {
    let id = |name: &str| Identification::new(IdType::FQDN, name.as_bytes().to_vec());
    if let Some(name) = how.id_i {
        puppet.id = name.to_string();
    }
    let data = how.data.unwrap_or_else(|| puppet.resumption_auth());
    let method = how.method.unwrap_or(AuthMethod::SHARED_KEY);
    let mut payloads = vec![Payload::IdI(puppet.identification())];
    payloads.extend(how.id_r.map(|name| Payload::IdR(id(name))));
    if how.cert {
        let encoding = CertEncoding::X509_SIGNATURE;
        payloads.push(Payload::Cert(Certificate { encoding, data: vec![0x30, 0].into() }));
    }
    payloads.push(Payload::Auth(Authentication { method, data: data.into() }));
    payloads.push(Payload::Sa(vec![puppet.esp_proposal()]));
    payloads.extend(puppet.selectors());
    payloads.push(request());
    puppet.ask(world, ExchangeType::IKE_AUTH, &payloads)
}

/// A client written from the RFC, by itself: keys, AUTH, child, and the next ticket.
//= rfc5723 §5.1
//= rfc5723 §4.3.3
#[test]
fn a_client_of_another_make_resumes() {
    let mut world = world(20).site(resumes(bob()));
    let (mut puppet, ticket, lifetime) = client(&mut world);
    assert_eq!(lifetime, 86_400, "without lifetimes a day");
    puppet.resume(&mut world, &ticket).expect("an answer");
    assert_eq!(world.status("bob").len(), 2, "the old one stands until the new one does");
    let answer = auth(&mut puppet, &mut world, Auth { id_r: Some("bob.example"), ..Auth::default() });
    let answer = answer.expect("an answer");
    assert!(answer.iter().any(|payload| payload.kind() == PayloadType::SA), "{}", wire::summary(&answer));
    assert!(answer.iter().all(|payload| payload.kind() != PayloadType::CERT));
    let shown = answer.iter().find_map(|payload| match payload {
        Payload::Auth(auth) => Some(auth.clone()),
        _ => None,
    });
    let shown = shown.expect("AUTH");
    let bob = Identification::new(IdType::FQDN, &b"bob.example"[..]);
    assert_eq!(
        (shown.method, &shown.data[..]),
        (AuthMethod::SHARED_KEY, &puppet.peer_resumption_auth(&bob)[..])
    );
    let sa = only(&mut world, "bob");
    assert!(sa.resumed && !sa.ticket);
    assert!(data_of(&answer, NotifyType::TICKET_LT_OPAQUE).is_some_and(|next| next[4..] != ticket));
}

/// Somebody who has the ticket and not the keys, or the keys and another name, gets nothing.
//= rfc5723 §4.3.3
//= rfc5723 §9.1
#[test]
fn only_the_owner_gets_in_by_a_ticket() {
    type How = fn(&Puppet) -> Auth;
    let wrong: [(&str, How); 8] = [
        ("another IDi", |_| Auth { id_i: Some("carol.example"), ..Auth::default() }),
        ("another IDr", |_| Auth { id_r: Some("carol.example"), ..Auth::default() }),
        ("a certificate", |_| Auth { cert: true, ..Auth::default() }),
        ("another method", |_| Auth { method: Some(AuthMethod::DIGITAL_SIGNATURE), ..Auth::default() }),
        ("no AUTH value", |_| Auth { data: Some(Vec::new()), ..Auth::default() }),
        ("a guess", |_| Auth { data: Some(vec![0; 32]), ..Auth::default() }),
        ("a longer one", |p| Auth { data: Some([p.resumption_auth(), vec![0]].concat()), ..Auth::default() }),
        ("the pre-shared key", |p| Auth { data: Some(p.auth_value()), ..Auth::default() }),
    ];
    for (what, how) in wrong {
        let mut world = world(21).site(resumes(bob()));
        let (mut puppet, ticket, _) = client(&mut world);
        puppet.resume(&mut world, &ticket).expect("an answer");
        let how = how(&puppet);
        let answer = auth(&mut puppet, &mut world, how).expect("an answer");
        assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED], "{what}");
        world.run(SECOND);
        let standing = world.status("bob").into_iter().filter(|sa| sa.state == "established").count();
        assert_eq!(standing, 1, "{what}: the first one stands");
        assert_eq!(world.host("bob").dataplane.sad().count(), 1, "{what}");
        let up = |event: &Event| matches!(event, Event::IkeUp(_));
        assert_eq!(world.host("bob").count(up), 1, "{what}");
    }
}

/// A ticket serves once, whoever shows it, and however often at the same time.
//= rfc5723 §4.3.1
#[test]
fn a_ticket_serves_once() {
    let mut world = world(22).site(resumes(bob()));
    let (mut one, ticket, _) = client(&mut world);
    // Two at once, both with the keys.
    let mut copy = Puppet::alice();
    copy.channel = one.channel.as_ref().map(|channel| {
        suite::Channel::of_keys(Arc::new(provider::Provider::new()), channel.algorithms, channel.keys.clone())
    });
    copy.esp_spi.0 += 9;
    one.resume(&mut world, &ticket).expect("an answer");
    copy.resume(&mut world, &ticket).expect("not used yet");
    let answer = auth(&mut one, &mut world, Auth::default()).expect("an answer");
    assert!(answer.iter().any(|payload| payload.kind() == PayloadType::SA));
    let answer = auth(&mut copy, &mut world, Auth::default()).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::AUTHENTICATION_FAILED]);
    // And afterwards.
    let refused = one.resume(&mut world, &ticket).expect_err("a refusal");
    assert_eq!(notifies(&refused), [NotifyType::TICKET_NACK]);
    world.run(40 * SECOND);
    assert!(only(&mut world, "bob").resumed);
}

/// The tickets of an IKE SA that was deleted, or has got new keys, are worth nothing.
//= rfc5723 §9.8
#[test]
fn tickets_of_what_is_gone_are_refused() {
    // Deleted by the client.
    let mut world = world(23).site(resumes(bob()));
    let (mut puppet, ticket, _) = client(&mut world);
    let delete = Payload::Delete(wire::Delete::ike_sa());
    puppet.ask(&mut world, ExchangeType::INFORMATIONAL, &[delete]).expect("an answer");
    let refused = puppet.resume(&mut world, &ticket).expect_err("a refusal");
    assert_eq!(notifies(&refused), [NotifyType::TICKET_NACK]);
    // Deleted by the gateway.
    let mut world = suite::world(24).site(resumes(bob()));
    let (mut puppet, ticket, _) = client(&mut world);
    world.down("bob");
    world.run(60 * SECOND);
    let refused = puppet.resume(&mut world, &ticket).expect_err("a refusal");
    assert_eq!(notifies(&refused), [NotifyType::TICKET_NACK]);
    // The client was silent: it may come back.
    let mut world = suite::world(25).site(resumes(bob()).child(|child| child.dpd_action = EndAction::Clear));
    let (mut puppet, ticket, _) = client(&mut world);
    world.run(400 * SECOND);
    assert!(world.status("bob").is_empty(), "given up");
    assert!(puppet.resume(&mut world, &ticket).is_ok());
    assert!(auth(&mut puppet, &mut world, Auth::default()).is_some());
    assert!(only(&mut world, "bob").resumed);
}

/// Every octet of a ticket, and its length, counts: a forged one opens nothing, not even half.
//= rfc5723 §9.2
#[test]
fn a_forged_ticket_is_refused() {
    let mut world = world(26).site(resumes(bob()));
    let (mut puppet, ticket, _) = client(&mut world);
    assert!(ticket.len() <= 1024);
    let flipped = (0..ticket.len()).map(|at| {
        let mut forged = ticket.clone();
        forged[at] ^= 1 << (at % 8);
        forged
    });
    let cut = (0..ticket.len()).step_by(7).map(|length| ticket[..length].to_vec());
    let longer = [[&ticket[..], &[0]].concat(), [&[0], &ticket[..]].concat(), vec![0; 3000], vec![1; 4096]];
    for (n, forged) in flipped.chain(cut).chain(longer).enumerate() {
        // Not so many at once that cookies are wanted.
        if n % 20 == 0 {
            world.run(SECOND);
        }
        let refused = puppet.resume(&mut world, &forged).expect_err("a refusal");
        assert_eq!(notifies(&refused), [NotifyType::TICKET_NACK], "{n}");
        assert_eq!(world.status("bob").len(), 1, "{n}");
    }
    puppet.resume(&mut world, &ticket).expect("the right one serves still");
}

/// Refusals to senders who may be anybody are limited: then a cookie is wanted first.
#[test]
fn refusals_are_limited() {
    let mut world = world(27).site(resumes(bob()));
    let mut puppet = Puppet::alice();
    let begun = world.wire.len();
    for n in 0..500u64 {
        let payloads =
            vec![Payload::Nonce(vec![5; 32].into()), notify(NotifyType::TICKET_OPAQUE, vec![9; 100])];
        puppet.spis.initiator.0 = n + 1;
        let header = puppet.header(RESUME, false, 0);
        puppet.send(&mut world, &Message { header, payloads }.emit());
    }
    world.run(Duration::from_millis(20));
    let answers = world.wire[begun..].iter().filter_map(|(_, d)| Message::parse(d.message()).ok());
    let kinds: Vec<NotifyType> =
        answers.filter(|m| m.header.flags.response).flat_map(|m| notifies(&m.payloads)).collect();
    let refused = kinds.iter().filter(|kind| **kind == NotifyType::TICKET_NACK).count();
    let limit = sa::limits::UNPROVEN_REFUSALS_PER_SECOND as usize;
    assert!((1..=2 * limit).contains(&refused), "{refused}");
    assert!(kinds.contains(&NotifyType::COOKIE));
    assert!(world.status("bob").is_empty());
}

/// A stolen ticket opens half-open IKE SAs, so many as any first message, and keeps its owner out of nothing.
#[test]
fn a_stolen_ticket_opens_no_more_than_any_first_message() {
    let mut site = resumes(bob()).with(|c| c.remote_addrs = vec![AddressPattern::Any]);
    site.settings.cookie_threshold = usize::MAX;
    site.settings.block_threshold = 5;
    let mut world = world(28).site(site);
    let (mut puppet, ticket, _) = client(&mut world);
    let mut thief = Puppet::new("eve", "203.0.113.66", "bob", "198.51.100.2");
    for n in 1..=50u64 {
        thief.spis.initiator.0 = n;
        let payloads =
            vec![Payload::Nonce(vec![n as u8; 32].into()), notify(NotifyType::TICKET_OPAQUE, ticket.clone())];
        let header = thief.header(RESUME, false, 0);
        thief.send(&mut world, &Message { header, payloads }.emit());
    }
    world.run(SECOND);
    assert_eq!(world.status("bob").len(), 1 + 5);
    assert_eq!(dropped(&world, "bob", Drop::HalfOpenLimit), 45);
    puppet.resume(&mut world, &ticket).expect("an answer");
    assert!(auth(&mut puppet, &mut world, Auth::default()).is_some());
    world.run(60 * SECOND);
    assert!(only(&mut world, "bob").resumed);
}

/// What somebody on the path has recorded is worth nothing, with or without changes.
#[test]
fn a_recorded_resumption_cannot_be_played_again() {
    let mut world = up(pair(29));
    let kept: Arc<Mutex<Vec<Datagram>>> = Arc::default();
    let tape = kept.clone();
    world.attack(move |scene| tape.lock().unwrap().push(scene.datagram.clone()));
    lose(&mut world);
    world.run(SECOND);
    world.calm();
    assert!(stands(&mut world));
    let before = (suite::holdings(&mut world, "alice"), suite::holdings(&mut world, "bob"));
    for datagram in kept.lock().unwrap().iter() {
        for spi in [0u8, 1] {
            let mut message = datagram.message().to_vec();
            message[7] ^= spi;
            world.inject(Duration::ZERO, datagram.with(&message));
            world.run(100 * Duration::from_millis(1));
        }
    }
    world.run(60 * SECOND);
    assert_eq!((suite::holdings(&mut world, "alice"), suite::holdings(&mut world, "bob")), before);
}

/// Somebody answers before the gateway does, with a nonce of its own: the real answer is followed in the end.
//= rfc7296 §2.4
#[test]
fn a_forged_answer_costs_a_wait() {
    let mut world = up(pair(30));
    let from = world.wire.len();
    world.attack(|scene| {
        let Ok(message) = Message::parse(scene.datagram.message()) else { return };
        if message.header.exchange != RESUME || message.header.flags.response {
            return;
        }
        let flags = wire::Flags { initiator: false, version: false, response: true };
        let header = wire::Header { flags, spi_r: base::IkeSpi(66), ..message.header };
        let forged = Message { header, payloads: vec![Payload::Nonce(vec![6; 32].into())] }.emit();
        let datagram = Datagram::ike(scene.datagram.to, scene.datagram.from, &forged);
        scene.send(Duration::from_micros(100), datagram);
    });
    lose(&mut world);
    world.run(20 * SECOND);
    assert!(stands(&mut world));
    assert_eq!(count(&world, from, INIT), 0);
}

/// A refusal that somebody forges leads to a full exchange, not to no tunnel.
#[test]
fn a_forged_refusal_costs_a_key_exchange() {
    for kind in [NotifyType::TICKET_NACK, NotifyType::INVALID_SYNTAX, NotifyType::NO_PROPOSAL_CHOSEN] {
        let mut world = up(pair(31));
        world.attack(move |scene| {
            let Ok(message) = Message::parse(scene.datagram.message()) else { return };
            if message.header.exchange != RESUME || message.header.flags.response {
                return;
            }
            let flags = wire::Flags { initiator: false, version: false, response: true };
            let header = wire::Header { flags, ..message.header };
            let forged = Message { header, payloads: vec![notify(kind, Vec::new())] }.emit();
            let datagram = Datagram::ike(scene.datagram.to, scene.datagram.from, &forged);
            scene.send(Duration::from_micros(100), datagram);
        });
        lose(&mut world);
        world.run(40 * SECOND);
        assert!(!stands(&mut world), "{kind}");
    }
}

/// A gateway of the client's nightmares: AUTH that is wrong, another name, a certificate.
//= rfc5723 §4.3.3
#[test]
fn a_gateway_that_has_not_the_keys_is_left() {
    for flaw in 0..4 {
        let mut world = world(32).site(resumes(alice()));
        let mut bob = Puppet::bob();
        world.up("alice");
        bob.answer_init(&mut world);
        let (header, asked) = bob.asked(&mut world).expect("IKE_AUTH");
        assert!(notifies(&asked).contains(&NotifyType::TICKET_REQUEST));
        let mut payloads = bob.auth_payloads();
        let ticket = [&3600u32.to_be_bytes()[..], b"a ticket"].concat();
        payloads.push(notify(NotifyType::TICKET_LT_OPAQUE, ticket));
        bob.reply(&mut world, &header, &payloads);
        world.run(SECOND);
        assert!(only(&mut world, "alice").ticket);
        let old = bob.channel.take().expect("keys");
        // Silence, until she comes back with the ticket.
        world.until(|world| count(world, 0, RESUME) == 1);
        let request = world.wire.iter().rev().find(|(_, d)| d.peek().is_some_and(|p| p.exchange == 38));
        let request = request.expect("IKE_SESSION_RESUME").1.message().to_vec();
        let message = Message::parse(&request).expect("IKE_SESSION_RESUME").into_owned();
        assert_eq!(data_of(&message.payloads, NotifyType::TICKET_OPAQUE), Some(b"a ticket".to_vec()));
        bob.answer_resume(&mut world, &old, &request);
        let (header, asked) = bob.asked(&mut world).expect("IKE_AUTH");
        assert!(asked.iter().all(|p| !matches!(p.kind(), PayloadType::CERT | PayloadType::CERTREQ)));
        let id = if flaw == 1 { "carol.example" } else { "bob.example" };
        bob.id = id.to_string();
        let mut data = bob.resumption_auth();
        data[0] ^= u8::from(flaw == 0);
        let mut payloads = vec![
            Payload::IdR(bob.identification()),
            Payload::Auth(Authentication { method: AuthMethod::SHARED_KEY, data: data.into() }),
            Payload::Sa(vec![bob.esp_proposal()]),
        ];
        payloads.extend(bob.selectors());
        if flaw == 2 {
            let encoding = CertEncoding::X509_SIGNATURE;
            payloads.push(Payload::Cert(Certificate { encoding, data: vec![0x30, 0].into() }));
        }
        bob.deaf(&world);
        let from = world.wire.len();
        bob.reply(&mut world, &header, &payloads);
        world.run(SECOND);
        let up = world.host("alice").count(|event| matches!(event, Event::IkeUp(_)));
        if flaw == 3 {
            assert_eq!((up, count(&world, from, INIT)), (2, 0), "nothing is wrong");
            assert!(only(&mut world, "alice").resumed);
            continue;
        }
        assert_eq!((up, count(&world, from, INIT)), (1, 1), "{flaw}: in full, at once");
        let (_, told) = bob.asked(&mut world).expect("it is told");
        assert_eq!(notifies(&told), [NotifyType::AUTHENTICATION_FAILED]);
    }
}

/// A gateway that has no ticket now is asked again later; one that refuses is not.
//= rfc5723 §4.1
#[test]
fn a_ticket_is_asked_for_again_when_the_gateway_says_later() {
    for (answer, asks) in
        [(Some(NotifyType::TICKET_ACK), true), (Some(NotifyType::TICKET_NACK), false), (None, false)]
    {
        let mut world = world(33).site(resumes(alice()).with(|c| c.dpd_delay = Duration::ZERO));
        let mut bob = Puppet::bob();
        world.up("alice");
        bob.answer_init(&mut world);
        let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
        let mut payloads = bob.auth_payloads();
        payloads.extend(answer.map(|kind| notify(kind, Vec::new())));
        bob.reply(&mut world, &header, &payloads);
        world.run(59 * SECOND);
        bob.deaf(&world);
        world.run(12 * SECOND);
        let asked = bob.asked(&mut world);
        assert_eq!(asked.is_some(), asks, "{answer:?}");
        let Some((header, payloads)) = asked else { continue };
        assert_eq!(notifies(&payloads), [NotifyType::TICKET_REQUEST]);
        let ticket = [&1000u32.to_be_bytes()[..], b"a ticket"].concat();
        bob.reply(&mut world, &header, &[notify(NotifyType::TICKET_LT_OPAQUE, ticket)]);
        world.run(SECOND);
        assert!(only(&mut world, "alice").ticket);
        // Before it is out of date she asks for another one.
        world.run(897 * SECOND);
        bob.deaf(&world);
        world.run(3 * SECOND);
        let (_, payloads) = bob.asked(&mut world).expect("another request");
        assert_eq!(notifies(&payloads), [NotifyType::TICKET_REQUEST]);
    }
}

/// A request in INFORMATIONAL is answered there, one beside new keys is put off, and a gateway gets none from its client.
//= rfc5723 §4.1
#[test]
fn every_request_has_its_answer() {
    let mut world = world(34).site(resumes(bob()));
    let (mut puppet, ticket, _) = client(&mut world);
    let answer = puppet.ask(&mut world, ExchangeType::INFORMATIONAL, &[request()]).expect("an answer");
    let other = data_of(&answer, NotifyType::TICKET_LT_OPAQUE).expect("a ticket");
    assert_ne!(other[4..], ticket);
    let mut payloads = vec![
        Payload::Sa(vec![wire::Proposal { spi: vec![9; 8].into(), ..suite::puppet::ike_proposal() }]),
        Payload::Nonce(vec![1; 32].into()),
        request(),
    ];
    let ke = puppet.init_payloads().into_iter().filter(|payload| payload.kind() == PayloadType::KE);
    payloads.extend(ke);
    let answer = puppet.ask(&mut world, ExchangeType::CREATE_CHILD_SA, &payloads).expect("an answer");
    assert!(answer.iter().any(|payload| payload.kind() == PayloadType::SA));
    assert_eq!(notifies(&answer), [NotifyType::TICKET_ACK]);
    // Both tickets are of the IKE SA that has got new keys.
    for ticket in [&ticket[..], &other[4..]] {
        let refused = puppet.resume(&mut world, ticket).expect_err("a refusal");
        assert_eq!(notifies(&refused), [NotifyType::TICKET_NACK]);
    }
    // The gateway asks its client.
    let mut world = suite::world(35).site(resumes(alice()));
    let mut bob = Puppet::bob();
    world.up("alice");
    bob.establish(&mut world);
    bob.next_id = 0;
    let answer = bob.ask(&mut world, ExchangeType::INFORMATIONAL, &[request()]).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::TICKET_NACK]);
}

/// Other keys or passwords: tickets from before serve nobody, at either end.
//= rfc5723 §9.7
#[test]
fn other_secrets_bar_tickets() {
    let mut world = up(pair(36));
    world.order("alice", Order::TicketSecret(Secret::new([1; 32])));
    assert!(!only(&mut world, "alice").ticket);
    let from = world.wire.len();
    lose(&mut world);
    world.run(SECOND);
    assert_eq!((count(&world, from, RESUME), count(&world, from, INIT)), (0, 1));
    // An IKE SA from before gets no tickets any more.
    let mut world = suite::world(37).site(resumes(bob()));
    let (mut puppet, ..) = client(&mut world);
    world.order("bob", Order::TicketSecret(Secret::new([1; 32])));
    let answer = puppet.ask(&mut world, ExchangeType::INFORMATIONAL, &[request()]).expect("an answer");
    assert_eq!(notifies(&answer), [NotifyType::TICKET_NACK]);
    // The same secret again changes nothing.
    let mut world = up(pair(38));
    world.order("alice", Order::TicketSecret(Secret::new([7; 32])));
    assert!(only(&mut world, "alice").ticket);
}

/// A gateway that sends its clients on does not take them back by a ticket.
#[test]
fn a_client_that_is_sent_on_goes_by_a_full_exchange() {
    let mut twin = resumes(bob()).with(|c| c.local_addrs = vec![AddressPattern::Any]);
    (twin.name, twin.address) = ("twin".to_string(), sim::site::ip("203.0.113.3"));
    let mut world = pair(39).site(twin);
    world.up("alice");
    world.until(answered);
    let ike = only(&mut world, "alice").id;
    world.crash("bob");
    let to = Gateway::Address(sim::site::ip("203.0.113.3"));
    let rule = Redirect { to, clients: Vec::new(), ids: Vec::new(), above: 0 };
    world.reload("bob", resumes(bob()).with(|c| c.extensions.redirect = Some(rule)));
    world.order("alice", Order::Probe(ike));
    world.run(5 * SECOND);
    let sa = only(&mut world, "alice");
    assert_eq!((sa.path.remote.ip(), sa.resumed), (sim::site::ip("203.0.113.3"), false));
}

/// From elsewhere, behind a NAT box: where the client is is found out anew.
//= rfc5723 §4.3.2
#[test]
fn the_client_comes_back_from_elsewhere() {
    let bob = resumes(bob()).with(|c| c.remote_addrs = vec![AddressPattern::Any]);
    let mut world =
        up(world(40).peers(resumes(alice()), bob.child(|child| child.dpd_action = EndAction::Clear)));
    assert!(!only(&mut world, "alice").nat_local);
    world.resettle("alice", Some("203.0.113.9"));
    let from = world.wire.len();
    lose(&mut world);
    world.run(5 * SECOND);
    let sa = only(&mut world, "alice");
    assert!(sa.resumed && sa.nat_local && sa.path.marked);
    assert!(only(&mut world, "bob").nat_remote);
    assert_eq!(count(&world, from, INIT), 0);
}

/// With certificates too: none of them is sent again.
#[test]
fn a_certified_client_resumes() {
    let root = Authority::root(Key::EcdsaP256, "Root");
    let ours = root.issue(Key::EcdsaP256, "alice", &["alice.example"]);
    let theirs = root.issue(Key::EcdsaP256, "bob", &["bob.example"]);
    let bob = certified(resumes(bob()), &theirs, &root).child(|child| child.dpd_action = EndAction::Clear);
    let mut world = up(world(41).peers(certified(resumes(alice()), &ours, &root), bob));
    let from = world.wire.len();
    lose(&mut world);
    world.run(SECOND);
    assert!(stands(&mut world));
    let octets: usize = world.wire[from..].iter().map(|(_, d)| d.payload.len()).sum();
    assert!(octets < 2500, "{octets} octets in all");
}
