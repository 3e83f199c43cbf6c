//! Client puzzles (RFC 8019), as responder and as initiator.

use crypto::Suite;
use policy::AddressPattern;
use provider::Provider;
use sa::{Drop, Event, Puzzle, RefusalKind, Reply};
use sim::{Site, established};
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, dropped, notifies, world};
use wire::num::{ExchangeType, KeMethod, NotifyType, PayloadType, Prf};
use wire::{Flags, Header, Message, Notify, Payload};

/// The easiest puzzle that there may be.
const EASY: u8 = 9;

/// Bob, who wants puzzles solved by everybody at once.
fn strict() -> Site {
    let mut site = bob().with(|connection| connection.remote_addrs = vec![AddressPattern::Any]);
    site.settings.cookie_threshold = 0;
    site.settings.puzzle_threshold = 0;
    site.settings.puzzle_difficulty = EASY;
    site
}

/// Who does not know puzzles.
fn legacy(n: u8) -> Puppet {
    let mut puppet = Puppet::new("legacy", &format!("203.0.113.{n}"), "bob", "198.51.100.2");
    puppet.spis.initiator.0 ^= u64::from(n) << 32;
    puppet
}

fn read(datagram: &[u8]) -> Message<'static> {
    Message::parse(datagram).expect("a message").into_owned()
}

fn data(message: &Message<'_>, kind: NotifyType) -> Option<Vec<u8>> {
    message.payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == kind => Some(notify.data.to_vec()),
        _ => None,
    })
}

/// Asks with a cookie and a solution, whatever they are.
fn ask(
    puppet: &mut Puppet,
    world: &mut World,
    payloads: &[Payload<'static>],
    cookie: Vec<u8>,
    solution: Option<Vec<u8>>,
) -> Option<Message<'static>> {
    let mut all = vec![Payload::Notify(Notify::new(NotifyType::COOKIE, cookie))];
    all.extend(solution.map(|keys| Payload::PuzzleSolution(keys.into())));
    all.extend_from_slice(payloads);
    let request = puppet.init_request(all);
    puppet.deaf(world);
    puppet.send(world, &request);
    let answer = puppet.hear(world)?;
    Some(read(&answer))
}

/// Asks without anything; what comes back are a cookie and a puzzle.
fn puzzle(puppet: &mut Puppet, world: &mut World, payloads: &[Payload<'static>]) -> (Vec<u8>, Puzzle) {
    let request = puppet.init_request(payloads.to_vec());
    puppet.deaf(world);
    puppet.send(world, &request);
    let answer = read(&puppet.hear(world).expect("a puzzle"));
    //= rfc8019 §7.1.1
    assert_eq!(notifies(&answer.payloads), [NotifyType::COOKIE, NotifyType::PUZZLE]);
    assert_eq!(answer.header.spi_r, base::IkeSpi::ZERO);
    let cookie = data(&answer, NotifyType::COOKIE).unwrap();
    assert!((1..=64).contains(&cookie.len()), "{}", cookie.len());
    (cookie, Puzzle::parse(&data(&answer, NotifyType::PUZZLE).unwrap()).unwrap())
}

fn solve(puzzle: Puzzle, string: &[u8]) -> Vec<u8> {
    let suite = Provider::new();
    sa::puzzle::solve(suite.prf(puzzle.prf).unwrap(), string, puzzle.difficulty).expect("a solution")
}

fn is_open(answer: &Message<'_>) -> bool {
    answer.payloads.iter().any(|payload| payload.kind() == PayloadType::SA)
}

/// A world in which the share of those without a solution is taken: it has one place.
fn besieged(seed: u64) -> World {
    let mut site = strict();
    site.settings.max_half_open = 4;
    let mut world = world(seed).site(site);
    take_share(&mut world);
    world
}

fn take_share(world: &mut World) {
    let mut first = legacy(1);
    let payloads = first.init_payloads();
    for _ in 0..16 {
        let (cookie, _) = puzzle(&mut first, world, &payloads);
        if ask(&mut first, world, &payloads, cookie, None).is_some_and(|answer| is_open(&answer)) {
            return;
        }
    }
    panic!("no ticket wins");
}

/// The digits of RFC 8019 §4.4, table 1; and keys that another implementation (Python's `hmac`) has found for its cookie.
/// The keys of that table are none of PRF(Ki, cookie), which §7.1.3 asks for.
#[test]
fn zero_bits_are_counted_as_the_rfc_counts_them() {
    let octets = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let table = [
        ("e4f957b859d7fb1343b7b94a816c0000", 18),
        ("0d4233d6278c96e3369227a075800000", 23),
        ("952a35d39d5ba06709da43af40700000", 20),
        ("5a0452b21571e401a3d00803679c0000", 18),
    ];
    for (digits, bits) in table {
        assert_eq!(sa::puzzle::trailing_zero_bits(&octets(digits)), bits, "{digits}");
    }
    let cookie = octets("739ae7492d8a810cf5e8dc0f9626c9dda773c5a3");
    let suite = Provider::new();
    let prf = suite.prf(Prf::HMAC_SHA2_256).unwrap();
    let keys = [("0000c515", 16), ("00011a79", 14), ("00013df5", 15), ("00017db7", 14)];
    for (key, bits) in keys {
        let value = prf.compute(&octets(key), &[&cookie]);
        assert_eq!(sa::puzzle::trailing_zero_bits(value.expose()), bits, "{key}");
    }
    let all = octets(&keys.map(|(key, _)| key).concat());
    assert_eq!(sa::puzzle::zero_bits(prf, &cookie, &all), keys.iter().map(|(_, bits)| *bits).min());
    assert_eq!(sa::puzzle::solve(prf, &cookie, 14), Some(all), "the first ones from zero on");
}

#[test]
fn every_prf_has_solutions_and_their_keys_have_its_size() {
    let suite = Provider::new();
    for id in [Prf::HMAC_SHA1, Prf::HMAC_SHA2_256, Prf::HMAC_SHA2_512, Prf::AES128_XCBC, Prf::AES128_CMAC] {
        let prf = suite.prf(id).unwrap();
        let solution = sa::puzzle::solve(prf, b"a cookie", 6).unwrap();
        assert!(sa::puzzle::zero_bits(prf, b"a cookie", &solution) >= Some(6), "{id}");
        let size = solution.len() / 4;
        assert_eq!(size, prf.fixed_key_len().unwrap_or(4), "{id}");
        //= rfc8019 §8.2
        let longer: Vec<u8> = (1..=4).flat_map(|n| vec![n; prf.len() + 1]).collect();
        for wrong in [&[][..], &longer, &solution[1..], &solution[..3]] {
            assert_eq!(sa::puzzle::zero_bits(prf, b"a cookie", wrong), None, "{id} {}", wrong.len());
        }
        let twice = [&solution[..size], &solution[..size], &solution[2 * size..]].concat();
        assert_eq!(sa::puzzle::zero_bits(prf, b"a cookie", &twice), None, "{id}");
    }
}

//= rfc8019 §7.1.2
#[test]
fn a_puzzle_is_solved_and_the_tunnel_comes_up() {
    let mut world = world(1).peers(alice(), strict());
    world.up("alice");
    world.until(established);
    assert_eq!(world.wire.len(), 6);
    let seen: Vec<String> =
        world.wire[..3].iter().map(|(_, d)| wire::summary(&read(d.message()).payloads).to_string()).collect();
    assert_eq!(seen[1], "N(COOKIE) N(PUZZLE)");
    assert!(seen[2].starts_with("N(COOKIE) PS SA KE No"), "{}", seen[2]);
    let (first, again) = (read(world.wire[0].1.message()), read(world.wire[2].1.message()));
    assert_eq!(first.payloads[..], again.payloads[2..], "all other payloads are unchanged");
    let told = |name: &str, text: &str| {
        world.host(name).count(|event| matches!(event, Event::Note { text: t, .. } if t.contains(text)))
    };
    assert_eq!(told("alice", "solving a puzzle of 9 zero bits"), 1);
    assert_eq!(told("bob", "when they solve a puzzle"), 1);
}

#[test]
fn who_gives_a_puzzle_keeps_no_state() {
    let mut world = besieged(2);
    let before = world.status("bob").len();
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let (one, given) = puzzle(&mut alice, &mut world, &payloads);
    let (other, _) = puzzle(&mut alice, &mut world, &payloads);
    assert_eq!(given.prf, Prf::HMAC_SHA2_256);
    assert_eq!(given.difficulty, EASY + 1, "a quarter of the places is taken");
    //= rfc8019 §10
    assert_ne!(one, other, "no cookie comes twice, so no solution serves twice");
    assert_eq!(world.status("bob").len(), before);
    let solution = solve(given, &one);
    let answer = ask(&mut alice, &mut world, &payloads, one, Some(solution)).expect("an answer");
    assert!(is_open(&answer), "{}", wire::summary(&answer.payloads));
}

/// What is no solution is answered with another puzzle, and opens nothing.
//= rfc8019 §7.1.4
#[test]
fn what_is_no_solution_opens_nothing() {
    for case in 0..10 {
        let mut world = besieged(3);
        let before = world.status("bob").len();
        let mut alice = Puppet::alice();
        let payloads = alice.init_payloads();
        let (mut cookie, given) = puzzle(&mut alice, &mut world, &payloads);
        let good = solve(given, &cookie);
        let solution = match case {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(good[..12].to_vec()),
            3 => Some([&good[..4], &good[..4], &good[..4], &good[..4]].concat()),
            4 => Some(good.iter().rev().copied().collect()),
            5 => Some(good.iter().chain(&[0; 4]).copied().collect()),
            6 => Some(vec![7; 4000]),
            // Too little work.
            7 => Some(solve(Puzzle { difficulty: 1, ..given }, &cookie)),
            // For a cookie that claims to have come with an easier puzzle.
            8 => {
                cookie[1] = 1;
                Some(solve(Puzzle { difficulty: 1, ..given }, &cookie))
            }
            // For somebody else's cookie.
            _ => {
                let (other, given) = puzzle(&mut legacy(9), &mut world, &payloads);
                let solution = solve(given, &other);
                cookie = other;
                Some(solution)
            }
        };
        let answer = ask(&mut alice, &mut world, &payloads, cookie, solution);
        let answer = answer.unwrap_or_else(|| panic!("no answer to case {case}"));
        assert_eq!(notifies(&answer.payloads), [NotifyType::COOKIE, NotifyType::PUZZLE], "case {case}");
        assert_eq!(world.status("bob").len(), before, "case {case}");
    }
}

/// Where no puzzle was given a PS payload means nothing, whatever is in it.
//= rfc8019 §7.1.4
#[test]
fn a_solution_that_nobody_asked_for_is_ignored() {
    for keys in [Vec::new(), vec![1; 16], vec![2; 7]] {
        let mut site = bob();
        site.settings.cookie_threshold = 0;
        let mut world = world(4).site(site);
        let mut alice = Puppet::alice();
        let payloads = alice.init_payloads();
        let request = alice.init_request(payloads.clone());
        alice.send(&mut world, &request);
        let cookie = data(&read(&alice.hear(&mut world).unwrap()), NotifyType::COOKIE).unwrap();
        let answer = ask(&mut alice, &mut world, &payloads, cookie, Some(keys)).expect("an answer");
        assert!(is_open(&answer));
    }
}

//= rfc8019 §7.1.1.3
#[test]
fn a_solution_serves_once() {
    let mut world = besieged(5);
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let (cookie, given) = puzzle(&mut alice, &mut world, &payloads);
    let solution = solve(given, &cookie);
    assert!(is_open(
        &ask(&mut alice, &mut world, &payloads, cookie.clone(), Some(solution.clone())).unwrap()
    ));
    // It is given up, and the cookie is still good.
    world.run(Duration::from_secs(31));
    assert!(world.status("bob").is_empty());
    take_share(&mut world);
    let answer = ask(&mut alice, &mut world, &payloads, cookie, Some(solution)).expect("an answer");
    assert_eq!(notifies(&answer.payloads), [NotifyType::COOKIE, NotifyType::PUZZLE]);
}

#[test]
fn a_puzzle_is_not_good_for_ever() {
    let mut world = besieged(6);
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let (cookie, given) = puzzle(&mut alice, &mut world, &payloads);
    let solution = solve(given, &cookie);
    world.run(sa::limits::PUZZLE_LIFE + Duration::from_secs(1));
    take_share(&mut world);
    let answer = ask(&mut alice, &mut world, &payloads, cookie, Some(solution)).expect("an answer");
    assert_eq!(notifies(&answer.payloads), [NotifyType::COOKIE, NotifyType::PUZZLE]);
}

/// Who does not know puzzles gets in by chance, and all of them together take up a quarter of the places.
//= rfc8019 §7.1
#[test]
fn who_cannot_solve_is_let_in_by_chance_and_only_so_many() {
    let mut site = strict();
    site.settings.max_half_open = 40;
    let mut world = world(7).site(site);
    let mut tickets = 0;
    let mut inside = 0;
    for n in 1..=30 {
        let mut puppet = legacy(n);
        let payloads = puppet.init_payloads();
        for _ in 0..5 {
            let (cookie, _) = puzzle(&mut puppet, &mut world, &payloads);
            tickets += 1;
            if is_open(&ask(&mut puppet, &mut world, &payloads, cookie, None).expect("an answer")) {
                inside += 1;
                break;
            }
        }
    }
    assert_eq!(inside, 40 / sa::limits::UNSOLVED_SHARE);
    assert!(tickets > inside, "some lost");
    let mut solver = legacy(99);
    let payloads = solver.init_payloads();
    let (cookie, given) = puzzle(&mut solver, &mut world, &payloads);
    let solution = solve(given, &cookie);
    assert!(is_open(&ask(&mut solver, &mut world, &payloads, cookie, Some(solution)).unwrap()));
}

/// The puzzle is solved for INVALID_KE_PAYLOAD too: the request comes again with the same cookie and solution.
//= rfc7296 §2.6.1
#[test]
fn a_solved_puzzle_outlives_another_key_exchange() {
    let ke = |methods: &[KeMethod]| {
        let methods = methods.to_vec();
        move |connection: &mut policy::Connection| connection.proposals[0].ke = methods
    };
    let ours = alice().with(ke(&[KeMethod::CURVE25519, KeMethod::ECP_256]));
    let mut world = world(8).peers(ours, strict().with(ke(&[KeMethod::ECP_256])));
    world.up("alice");
    world.until(established);
    let seen: Vec<String> =
        world.wire[..6].iter().map(|(_, d)| wire::summary(&read(d.message()).payloads).to_string()).collect();
    assert_eq!(seen[3], "N(INVALID_KE_PAYLOAD)");
    assert!(seen[4].starts_with("N(COOKIE) PS SA KE No"), "{}", seen[4]);
    let (second, third) = (read(world.wire[2].1.message()), read(world.wire[4].1.message()));
    assert_eq!(second.payloads[..2], third.payloads[..2]);
    assert_ne!(second.payloads[3], third.payloads[3], "only the key exchange is another");
}

/// The initiator chooses how hard it works, and works once more when that was not enough.
//= rfc8019 §7.1.1.1
#[test]
fn difficulty_zero_is_worked_for_until_it_is_enough() {
    let mut site = strict();
    site.settings.puzzle_difficulty = 0;
    site.settings.max_half_open = 4;
    let mut world = world(9).peers(alice(), site);
    take_share(&mut world);
    let from = world.wire.len();
    world.up("alice");
    world.until(|world| world.host("alice").dataplane.sad().count() == 1 && world.is_quiet());
    let asked: Vec<Vec<u8>> = world.wire[from..]
        .iter()
        .filter_map(|(_, datagram)| Message::parse(datagram.message()).ok())
        .filter_map(|message| data(&message, NotifyType::PUZZLE))
        .collect();
    // 17 bits are wanted; 16 and one puzzle before are as good.
    assert!((1..=2).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|puzzle| puzzle[2] == 0), "{asked:?}");
}

/// An answer of bob to the request of the site alice.
fn reply(request: &[u8], notifies: Vec<Notify<'static>>) -> Vec<u8> {
    let header = read(request).header;
    let flags = Flags { initiator: false, version: false, response: true };
    Message {
        header: Header { flags, ..header },
        payloads: notifies.into_iter().map(Payload::Notify).collect(),
    }
    .emit()
}

fn cookie(octets: &[u8]) -> Notify<'static> {
    Notify::new(NotifyType::COOKIE, octets.to_vec())
}

fn wanted(bits: u8) -> Notify<'static> {
    let puzzle = Puzzle { prf: Prf::HMAC_SHA2_256, difficulty: bits };
    Notify::new(NotifyType::PUZZLE, puzzle.emit())
}

//= rfc8019 §9
#[test]
fn a_puzzle_that_is_too_hard_is_not_solved_and_the_person_hears_why() {
    let mut world = world(10).site(alice());
    let order = world.up("alice");
    let mut bob = Puppet::bob();
    let request = bob.hear(&mut world).expect("IKE_SA_INIT");
    let answer = reply(&request, vec![cookie(b"one"), wanted(21)]);
    bob.send(&mut world, &answer);
    let again = read(&bob.hear(&mut world).expect("the cookie alone"));
    assert_eq!(data(&again, NotifyType::COOKIE).as_deref(), Some(&b"one"[..]));
    assert!(again.payloads.iter().all(|payload| payload.kind() != PayloadType::PS));
    world.until(answered);
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, RefusalKind::Busy);
            assert!(refusal.reason.contains("21 zero bits, and `puzzle_limit` is 20"), "{}", refusal.reason);
        }
        other => panic!("{other:?}"),
    }
}

/// A real answer is taken while a forged puzzle is being solved.
#[test]
fn a_forged_puzzle_does_not_end_a_negotiation() {
    for bits in [EASY, 15] {
        let mut site = alice();
        site.keeper.delay = Duration::from_millis(400)..=Duration::from_millis(400);
        let mut world = world(11).peers(site, bob());
        world.attack(move |scene| {
            let message = scene.datagram.message();
            let first = scene.datagram.from.ip() == sim::site::ip("192.0.2.1") && message[18] == 34;
            if first && read(message).payloads[0].kind() == PayloadType::SA {
                let forged = reply(message, vec![cookie(b"forged"), wanted(bits)]);
                let forged = sim::Datagram::ike(scene.datagram.to, scene.datagram.from, &forged);
                scene.send(Duration::from_micros(1), forged);
            }
        });
        world.up("alice");
        world.until(established);
    }
}

//= rfc8019 §7.1.2
#[test]
fn a_puzzle_without_a_cookie_is_ignored() {
    let mut world = world(12).site(alice());
    world.up("alice");
    let mut bob = Puppet::bob();
    let request = bob.hear(&mut world).expect("IKE_SA_INIT");
    let answer = reply(&request, vec![wanted(EASY)]);
    bob.send(&mut world, &answer);
    assert_eq!(bob.hear(&mut world), None);
    assert_eq!(dropped(&world, "alice", Drop::Malformed), 1);
    world.run(Duration::from_secs(2));
    assert_eq!(bob.hear(&mut world), Some(request), "it waits on, and sends the same again");
}

/// PUZZLE data of any size, with any PRF.
#[test]
fn a_broken_puzzle_is_a_cookie_and_nothing_more() {
    for data in [vec![], vec![0], vec![0, 5], vec![0, 5, 9, 9], vec![0xff, 0xff, 9], vec![0, 0, 9]] {
        let mut world = world(13).site(alice());
        world.up("alice");
        let mut bob = Puppet::bob();
        let request = bob.hear(&mut world).expect("IKE_SA_INIT");
        let broken = Notify::new(NotifyType::PUZZLE, data.clone());
        let answer = reply(&request, vec![cookie(b"one"), broken]);
        bob.send(&mut world, &answer);
        let again = read(&bob.hear(&mut world).expect("the cookie"));
        assert_eq!(again.payloads[0], Payload::Notify(cookie(b"one")), "{data:?}");
        assert_eq!(again.payloads[1].kind(), PayloadType::SA, "{data:?}");
    }
}

/// Twenty strangers open an IKE SA each and send junk in place of IKE_AUTH.
fn junk(world: &mut World) {
    for n in 1..=sa::limits::SPOILED_THRESHOLD as u8 {
        let mut stranger = legacy(n);
        stranger.deaf(world);
        stranger.init(world);
        let payloads = stranger.auth_payloads();
        let mut request = stranger.request(ExchangeType::IKE_AUTH, &payloads);
        let at = request.len() - 1;
        request[at] ^= 1;
        stranger.send(world, &request);
        // More of it on the same IKE SA counts no more.
        stranger.send(world, &request);
    }
    world.run(Duration::from_millis(100));
}

fn suspicious(fragment_size: u16) -> Site {
    let mut site = strict().with(|connection| connection.fragment_size = fragment_size);
    (site.settings.cookie_threshold, site.settings.puzzle_threshold) = (1000, 1000);
    site
}

//= rfc8019 §7.2
//= rfc8019 §7.2.2
#[test]
fn junk_in_place_of_ike_auth_brings_a_puzzle_before_ike_auth() {
    for fragment_size in [1280, 576] {
        let small = alice().with(|connection| connection.fragment_size = fragment_size);
        let mut world = world(14).peers(small, suspicious(fragment_size));
        junk(&mut world);
        let from = world.wire.len();
        world.up("alice");
        world.until(|world| world.host("alice").dataplane.sad().count() == 1 && world.is_quiet());
        let seen: Vec<_> = world.wire[from..].iter().map(|(_, datagram)| read(datagram.message())).collect();
        let answer = seen.iter().find(|message| message.header.flags.response && is_open(message)).unwrap();
        let puzzle = Puzzle::parse(&data(answer, NotifyType::PUZZLE).expect("a puzzle")).unwrap();
        //= rfc8019 §7.2.1.1
        assert_eq!(puzzle.difficulty, sa::limits::AUTH_PUZZLE_DIFFICULTY);
        let auth: Vec<_> = seen
            .iter()
            .filter(|m| m.header.exchange == ExchangeType::IKE_AUTH && !m.header.flags.response)
            .map(|message| wire::summary(&message.payloads).to_string())
            .collect();
        assert!(auth[0].starts_with("PS SK"), "{auth:?}");
        assert!(auth[1..].iter().all(|fragment| fragment.starts_with("SKF")), "{auth:?}");
    }
}

/// Where IKE_INTERMEDIATE is the first protected exchange the solution goes with that, before its first fragment, and AUTH covers
/// it.
//= rfc8019 §7.2.2
//= rfc9242 §3.3.2
#[test]
fn junk_in_place_of_ike_auth_brings_a_puzzle_before_ike_intermediate() {
    for (method, fragment_size, cut) in
        [("mlkem512", 1280, false), ("mlkem768", 576, true), ("mlkem1024", 1280, true)]
    {
        let proposals = policy::parse_ike(&format!("aes256gcm16-prfsha256-x25519-ke1_{method}")).unwrap();
        let ours = proposals.clone();
        let small = alice().with(|connection| {
            (connection.fragment_size, connection.proposals) = (fragment_size, ours);
        });
        let theirs = suspicious(fragment_size).with(|connection| connection.proposals.extend(proposals));
        let mut world = world(16).peers(small, theirs);
        junk(&mut world);
        let from = world.wire.len();
        world.up("alice");
        world.until(|world| world.host("alice").dataplane.sad().count() == 1 && world.is_quiet());
        let of = |exchange| -> Vec<String> {
            let all = world.wire[from..].iter().map(|(_, datagram)| read(datagram.message()));
            all.filter(|message| message.header.exchange == exchange && !message.header.flags.response)
                .map(|message| wire::summary(&message.payloads).to_string())
                .collect()
        };
        let asked = of(ExchangeType::IKE_INTERMEDIATE);
        assert_eq!(asked.len() > 1, cut, "{asked:?}");
        assert!(asked[0].starts_with(if cut { "PS SKF" } else { "PS SK" }), "{asked:?}");
        assert!(asked[1..].iter().all(|fragment| fragment.starts_with("SKF")), "{asked:?}");
        assert!(of(ExchangeType::IKE_AUTH).iter().all(|message| message.starts_with("SK")), "solved once");
        assert!(world.is_mirrored());
    }
}

//= rfc8019 §7.2.4
#[test]
fn without_a_solution_no_keys_are_computed_for_ike_auth() {
    let mut world = world(15).site(suspicious(1280));
    junk(&mut world);
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let (cookie, given) = puzzle(&mut alice, &mut world, &payloads);
    let solution = solve(given, &cookie);
    let answer = ask(&mut alice, &mut world, &payloads, cookie, Some(solution)).expect("an answer");
    let wanted = Puzzle::parse(&data(&answer, NotifyType::PUZZLE).expect("a puzzle")).unwrap();
    let spi = answer.header.spi_r.0.to_be_bytes();
    let nonce = suite::reader::nonce(&answer.payloads);
    alice.accept_init(&answer.emit());
    let payloads = alice.auth_payloads();
    let bare = alice.request(ExchangeType::IKE_AUTH, &payloads);
    let keys = world.keys();
    let dropped_before = dropped(&world, "bob", Drop::Unexpected);
    let with = |solution: Vec<u8>| {
        let mut message = bare.clone();
        let mut clear = Vec::new();
        wire::emit_chain(&[Payload::PuzzleSolution(solution.into())], &mut clear);
        clear[0] = message[16];
        message[16] = PayloadType::PS.0;
        message.splice(28..28, clear);
        let length = message.len() as u32;
        message[24..28].copy_from_slice(&length.to_be_bytes());
        message
    };
    let string = [&nonce[..], &spi].concat();
    let bad = solve(wanted, b"another string");
    for message in [bare.clone(), with(bad), with(Vec::new())] {
        alice.deaf(&world);
        alice.send(&mut world, &message);
        assert_eq!(alice.hear(&mut world), None, "silently discarded");
    }
    assert_eq!(dropped(&world, "bob", Drop::Unexpected) - dropped_before, 3);
    assert_eq!(world.keys(), keys, "no key was derived");
    // The solution is right, the message is not: its integrity check covers PS. The keys are there now.
    alice.deaf(&world);
    let good = with(solve(wanted, &string));
    alice.send(&mut world, &good);
    assert_eq!(alice.hear(&mut world), None);
    assert!(dropped(&world, "bob", Drop::BadIcv) > 0);
    alice.send(&mut world, &bare);
    let answer = alice.hear(&mut world).expect("the puzzle is solved already");
    assert!(alice.open(&answer).1.iter().any(|payload| payload.kind() == PayloadType::AUTH));
}
