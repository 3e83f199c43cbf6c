//! Floods of first messages, and what anybody can make us send.

use policy::AddressPattern;
use sa::{Drop, Event};
use sim::{Datagram, Site};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use suite::{Puppet, World, alice, bob, dropped, notifies, world};
use wire::num::{ExchangeType, KeMethod, NotifyType, PayloadType};
use wire::{Flags, Header, Message, Notify, Payload};

/// Bob, for everybody.
fn gateway() -> Site {
    bob().with(|connection| connection.remote_addrs = vec![AddressPattern::Any])
}

/// 10.64.0.0/10: where forged messages come from.
fn forged(n: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4((0x0a40_0000 + n % 0x40_0000).into()), 500)
}

fn is_forged(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(a) if a.octets()[0] == 10)
}

/// `count` first messages, evenly over `time`, each from another address.
fn flood(world: &mut World, count: u32, time: Duration) {
    let mut flooder = Puppet::alice();
    let payloads = flooder.init_payloads();
    let request = flooder.init_request(payloads);
    for n in 0..count {
        let mut first = request.clone();
        first[..8].copy_from_slice(&(u64::from(n) << 8 | 1).to_be_bytes());
        world.inject(time * n / count, Datagram::ike(forged(n), flooder.peer, &first));
    }
}

/// 50,000 forged first messages within a second, and an honest client in the middle of them.
#[test]
fn an_honest_client_gets_in_while_fifty_thousand_a_second_are_forged() {
    let mut world = world(1).peers(alice(), gateway());
    flood(&mut world, 50_000, Duration::from_secs(1));
    world.run(Duration::from_millis(500));
    let settings = sa::Settings::default();
    assert_eq!(world.status("bob").len(), settings.cookie_threshold, "the rest keeps nothing");
    let began = world.now();
    world.up("alice");
    world.until(|world| world.host("alice").dataplane.sad().count() == 1);
    assert!(world.now().since(began) < Duration::from_secs(1), "{:?}", world.now().since(began));
    world.run(Duration::from_secs(1));
    assert!(world.status("bob").len() <= settings.cookie_threshold + 1);
    assert!(world.stats.get("cookie demanded") > 49_000);
    // Nobody was sent more than he seems to have sent, but for the few that were answered at once.
    let larger = world
        .wire
        .iter()
        .filter(|(_, datagram)| is_forged(datagram.to.ip()))
        .filter(|(_, datagram)| read(datagram).payloads[0].kind() != PayloadType::NOTIFY)
        .count();
    assert!(larger <= settings.cookie_threshold, "{larger}");
    // A person hears of it in a few lines.
    let notes = world.host("bob").count(|event| matches!(event, Event::Note { ike: None, .. }));
    assert!((1..=4).contains(&notes), "{notes}");
    world.run(Duration::from_secs(120));
    assert_eq!(world.status("bob").len(), 1, "nothing of the flood is left");
}

fn read(datagram: &Datagram) -> Message<'static> {
    Message::parse(datagram.message()).expect("a message").into_owned()
}

/// Thousands who own their addresses and return every cookie, but solve no puzzle; and a client that does.
//= rfc8019 §4.4
#[test]
fn an_honest_client_gets_in_while_a_botnet_returns_cookies() {
    let mut site = gateway();
    let settings = &mut site.settings;
    (settings.cookie_threshold, settings.puzzle_threshold, settings.max_half_open) = (50, 200, 1000);
    settings.puzzle_difficulty = 9;
    let mut world = world(2).peers(alice(), site);
    let mut bot = Puppet::alice();
    let payloads = bot.init_payloads();
    world.attack(move |scene| {
        let to = scene.datagram.to;
        let is_bot = is_forged(to.ip());
        let Ok(message) = Message::parse(scene.datagram.message()) else { return };
        let cookie = message.payloads.iter().find_map(|payload| match payload {
            Payload::Notify(notify) if notify.kind == NotifyType::COOKIE => Some(notify.data.to_vec()),
            _ => None,
        });
        if let Some(cookie) = cookie.filter(|_| is_bot) {
            let mut all = vec![Payload::Notify(Notify::new(NotifyType::COOKIE, cookie))];
            all.extend_from_slice(&payloads);
            let flags = Flags { initiator: true, version: false, response: false };
            let header = Header { flags, ..message.header };
            let again = Message { header, payloads: all }.emit();
            let back = Datagram::ike(to, scene.datagram.from, &again);
            scene.send(Duration::from_millis(20), back);
        }
    });
    flood(&mut world, 3_000, Duration::from_secs(1));
    world.run(Duration::from_secs(1));
    let open = world.status("bob").len();
    let share = (1000 - 200) / sa::limits::UNSOLVED_SHARE;
    assert!((200..=200 + share).contains(&open), "{open} half-open IKE SAs");
    world.up("alice");
    let began = world.now();
    world.until(|world| world.host("alice").dataplane.sad().count() == 1);
    assert!(world.now().since(began) < Duration::from_secs(2), "{:?}", world.now().since(began));
    // Under load they go after seconds, not after half a minute.
    world.calm();
    world.run(sa::limits::PRESSED_HALF_OPEN_TIMEOUT + Duration::from_secs(2));
    assert!(world.status("bob").len() <= 50 + 1, "{}", world.status("bob").len());
}

/// Proposals that nobody wants cost a choice each: after some of them senders show where they are first.
#[test]
fn refusals_of_strangers_are_limited_and_then_cost_a_cookie() {
    let mut world = world(3).peers(alice(), gateway());
    let mut stranger = Puppet::alice();
    let mut payloads = stranger.init_payloads();
    if let Payload::Sa(proposals) = &mut payloads[0] {
        proposals[0].transforms.retain(|t| t.kind != wire::num::TransformType::PRF);
        proposals[0].transforms.push(wire::Transform::new(wire::num::TransformType::PRF, 99, None));
    }
    let request = stranger.init_request(payloads);
    for n in 0..2_000u32 {
        let mut first = request.clone();
        first[4..8].copy_from_slice(&(n + 1).to_be_bytes());
        world.inject(
            Duration::from_micros(u64::from(n) * 100),
            Datagram::ike(forged(n), stranger.peer, &first),
        );
    }
    world.run(Duration::from_millis(150));
    world.up("alice");
    world.run(Duration::from_millis(450));
    let mut answers: BTreeMap<NotifyType, u32> = BTreeMap::new();
    for (_, datagram) in world.wire.iter().filter(|(_, datagram)| is_forged(datagram.to.ip())) {
        for kind in notifies(&read_any(datagram)) {
            *answers.entry(kind).or_default() += 1;
        }
    }
    let refused = answers[&NotifyType::NO_PROPOSAL_CHOSEN];
    assert_eq!(refused, sa::limits::UNPROVEN_REFUSALS_PER_SECOND, "{answers:?}");
    assert!(answers[&NotifyType::COOKIE] >= 2_000 - refused, "{answers:?}");
    assert_eq!(
        world.host("alice").dataplane.sad().count(),
        1,
        "who is honest pays a round trip, and the wait before the cookie"
    );
}

fn read_any(datagram: &Datagram) -> Vec<Payload<'static>> {
    let message = Message::parse(datagram.message()).map(Message::into_owned);
    message.map_or(Vec::new(), |message| message.payloads)
}

/// Messages for IKE SAs that nobody has: so many answers for one source, so many for all.
//= rfc7296 §2.21.4
#[test]
fn unprotected_answers_are_limited_by_source_and_in_all() {
    for (sources, most) in
        [(1, sa::limits::UNPROTECTED_ANSWERS_PER_SOURCE), (5_000, sa::limits::UNPROTECTED_ANSWERS_PER_SECOND)]
    {
        let mut world = world(4).site(gateway());
        let to = Puppet::alice().peer;
        for n in 0..5_000u32 {
            let mut message = stray(ExchangeType::INFORMATIONAL, 60);
            message[..8].copy_from_slice(&(u64::from(n) + 1).to_be_bytes());
            let at = Duration::from_micros(u64::from(n) * 100);
            world.inject(at, Datagram::ike(forged(n % sources), to, &message));
        }
        world.run(Duration::from_millis(900));
        assert_eq!(world.wire.len(), most as usize, "{sources} sources");
        assert_eq!(dropped(&world, "bob", Drop::UnknownSpi), 5_000);
        // One source does not take the answers of the others.
        let before = world.wire.len();
        if sources == 1 {
            world.inject(
                Duration::ZERO,
                Datagram::ike(forged(9), to, &stray(ExchangeType::INFORMATIONAL, 60)),
            );
            world.run(Duration::from_millis(1));
            assert_eq!(world.wire.len(), before + 1);
        }
    }
}

/// A request for an IKE SA that there is not, of that many octets.
fn stray(exchange: ExchangeType, octets: usize) -> Vec<u8> {
    let flags = Flags { initiator: true, version: false, response: false };
    let header = Header::new(base::IkeSpi(1), base::IkeSpi(2), exchange, flags, base::MessageId(1));
    let sealed = octets.saturating_sub(32);
    let body = vec![0x55; sealed];
    let payloads = match octets {
        0..32 => Vec::new(),
        _ => vec![Payload::Encrypted(wire::Encrypted { first: PayloadType::IDI, body: body.into() })],
    };
    Message { header, payloads }.emit()
}

/// How a first message is changed.
type Change = fn(&mut Puppet, &mut Vec<Payload<'static>>);

/// Everything that a stranger can send, with its name.
fn first_messages() -> Vec<(String, Vec<u8>)> {
    let init = |name: &str, change: Change| {
        let mut puppet = Puppet::alice();
        let mut payloads = puppet.init_payloads();
        change(&mut puppet, &mut payloads);
        (name.to_string(), puppet.init_request(payloads))
    };
    let unknown = |critical| Payload::Unknown { kind: PayloadType(200), critical, body: Vec::new().into() };
    let mut all = vec![
        init("a right one", |_, _| {}),
        init("the shortest right one", |_, payloads| payloads[2] = Payload::Nonce(vec![1; 16].into())),
        init("a cookie that is none", |_, payloads| {
            payloads.insert(0, Payload::Notify(Notify::new(NotifyType::COOKIE, vec![1; 64])));
        }),
        init("a solution that nobody asked for", |_, payloads| {
            payloads.insert(0, Payload::PuzzleSolution(vec![1; 16].into()));
        }),
        init("an unknown PRF", |_, payloads| {
            if let Payload::Sa(proposals) = &mut payloads[0] {
                proposals[0].transforms[1].id = 99;
            }
        }),
        init("no proposal", |_, payloads| payloads[0] = Payload::Sa(Vec::new())),
        init("a proposal without transforms", |_, payloads| {
            if let Payload::Sa(proposals) = &mut payloads[0] {
                proposals[0].transforms.clear();
            }
        }),
        init("the wrong key exchange", |_, payloads| {
            payloads[1] = Payload::Ke(wire::KeyExchange { method: KeMethod(2), data: vec![1].into() });
        }),
        init("no key exchange", |_, payloads| drop(payloads.remove(1))),
        init("no nonce", |_, payloads| drop(payloads.remove(2))),
        init("no payload", |_, payloads| payloads.clear()),
        init("an error", |_, payloads| {
            *payloads = vec![Payload::Notify(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()))];
        }),
        init("an unknown payload", |_, payloads| payloads.push(unknown_payload(false))),
        init("a critical payload", |_, payloads| payloads.push(unknown_payload(true))),
    ];
    let mut puppet = Puppet::alice();
    all.push(("a critical payload alone".to_string(), puppet.init_request(vec![unknown(true)])));
    for octets in [28, 32, 36, 40, 64, 1000] {
        for exchange in (33..=45).chain([0, 2, 4, 99, 255]) {
            all.push((
                format!("exchange {exchange}, {octets} octets"),
                stray(ExchangeType(exchange), octets),
            ));
        }
    }
    let (_, right) = all[0].clone();
    for major in [0x10, 0x30, 0xf0] {
        for octets in [28, 36, right.len()] {
            let mut other = right[..octets].to_vec();
            other[17] = major;
            other[24..28].copy_from_slice(&(octets as u32).to_be_bytes());
            all.push((format!("version {major:#x}, {octets} octets"), other));
        }
    }
    all.extend((0..right.len()).map(|len| (format!("cut after {len}"), right[..len].to_vec())));
    all.push(("a keepalive".to_string(), vec![0xff]));
    all
}

fn unknown_payload(critical: bool) -> Payload<'static> {
    Payload::Unknown { kind: PayloadType(200), critical, body: Vec::new().into() }
}

/// Whatever a stranger sends, it draws one answer at most, and none that is larger than what it has sent: except a
/// right first message that is served at once, whose answer is what the RFC wants it to be.
//= rfc7296 §2.1
//# to allow […] the responder MUST never retransmit a response unless it receives a retransmission of the request.
#[test]
fn no_answer_is_larger_than_what_asked_for_it() {
    let calm = gateway;
    let cookies = || {
        let mut site = gateway();
        site.settings.cookie_threshold = 0;
        site
    };
    let puzzles = || {
        let mut site = cookies();
        site.settings.puzzle_threshold = 0;
        site
    };
    let sites: [(&str, &dyn Fn() -> Site); 3] =
        [("calm", &calm), ("cookies", &cookies), ("puzzles", &puzzles)];
    let mut kinds = BTreeMap::new();
    for (mood, site) in sites {
        for (name, message) in first_messages() {
            let mut world = world(5).site(site());
            let from = Puppet::alice();
            world.inject(Duration::ZERO, Datagram::ike(from.address, from.peer, &message));
            world.run(Duration::from_secs(120));
            let answers = std::mem::take(&mut world.wire);
            assert!(answers.len() <= 1, "{mood}, {name}: {} answers", answers.len());
            let Some((_, answer)) = answers.first() else { continue };
            assert_eq!(answer.to, from.address, "{mood}, {name}");
            let payloads = read_any(answer);
            let (asked, sent) = (message.len(), answer.message().len());
            match notifies(&payloads).first() {
                Some(kind) if payloads[0].kind() == PayloadType::NOTIFY => {
                    assert!(sent <= asked, "{mood}, {name}: {asked} octets asked, {sent} sent: {kind}");
                    *kinds.entry(kind.to_string()).or_insert(0) += 1;
                }
                _ => {
                    assert_eq!(mood, "calm", "{name}");
                    // A nonce of ours, and notifications of what we support, IKE_SA_INIT_FULL_TRANSCRIPT_AUTH unasked.
                    assert!(sent <= asked + 32 + 72, "{mood}, {name}: {asked} octets asked, {sent} sent");
                    *kinds.entry("IKE_SA_INIT".to_string()).or_insert(0) += 1;
                }
            }
        }
    }
    let kinds: Vec<&str> = kinds.keys().map(String::as_str).collect();
    let all = [
        "COOKIE",
        "IKE_SA_INIT",
        "INVALID_IKE_SPI",
        "INVALID_KE_PAYLOAD",
        "INVALID_MAJOR_VERSION",
        "NO_PROPOSAL_CHOSEN",
        "UNSUPPORTED_CRITICAL_PAYLOAD",
    ];
    assert_eq!(kinds, all, "each kind of answer was seen");
}
