//! New keys under traffic, volume limits and traps, between two engines in two network namespaces.

mod rig;

use rig::{Engine, OUTER_V4, Rig, run, try_run};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn args(side: usize, more: &str) -> Vec<String> {
    let (own, far) = (side, 1 - side);
    let mut all = vec![
        format!("side={}", ["a", "b"][own]),
        format!("local={}", OUTER_V4[own]),
        format!("remote={}", OUTER_V4[far]),
        format!("local_ts=10.{}.0.0/24", own + 1),
        format!("remote_ts=10.{}.0.0/24", far + 1),
    ];
    all.extend(more.split_whitespace().map(str::to_string));
    all
}

/// Pings b from a while something else goes on.
fn pinging(rig: &Rig, how: &str) -> thread::JoinHandle<String> {
    let command = format!("ip netns exec {} ping -n -q {how} 10.2.0.1", rig.a);
    thread::spawn(move || String::from_utf8_lossy(&try_run(&command).stdout).into_owned())
}

/// The order of steps as IKE has it: the responder installs and holds, the initiator installs, the responder uses the new one
/// when it is used, or when the old one is removed; the old one goes a round later, when nothing can be under way to it.
//= rfc7296 §2.8
#[test]
fn a_hundred_new_keys_cost_not_one_packet() {
    let Some(rig) = Rig::new("a_hundred_new_keys_cost_not_one_packet") else { return };
    let mut engines = [Engine::start(&rig.a, &args(0, "")), Engine::start(&rig.b, &args(1, ""))];
    let ends = Arc::new(AtomicBool::new(false));
    let (ended, command) =
        (ends.clone(), format!("ip netns exec {} ping -n -q -i 0.002 -c 300 -W 10 10.2.0.1", rig.a));
    let pings = thread::spawn(move || {
        let mut rounds = Vec::new();
        while !ended.load(Ordering::Acquire) {
            rounds.push(String::from_utf8_lossy(&try_run(&command).stdout).into_owned());
        }
        rounds
    });
    for n in 2..=101 {
        let (old, older) = (n - 1, n - 2);
        let (initiator, responder) = (n % 2, (n + 1) % 2);
        engines[responder].does(&format!("install {n} {old} hold"));
        engines[initiator].does(&format!("install {n} {old} use"));
        if n % 3 > 0 {
            engines[responder].does(&format!("use {n}"));
        }
        if n % 4 == 0 {
            engines[responder].does(&format!("use {n}"));
        }
        if older > 0 {
            engines.iter_mut().for_each(|engine| engine.does(&format!("remove {older}")));
        }
        if n % 3 == 0 {
            // The other way to know that the initiator has it: it uses it.
            let told = engines[responder].ask(&format!("wait FirstPacket(ChildId({n}))"));
            assert_ne!(told, "none", "child {n}");
            engines[responder].does(&format!("use {n}"));
        }
    }
    ends.store(true, Ordering::Release);
    let rounds = pings.join().expect("the pings");
    let lost = rounds.iter().find(|said| !said.contains("300 packets transmitted, 300 received"));
    assert_eq!(lost, None, "of {} rounds", rounds.len());
    assert!(!rounds.is_empty());
    for engine in engines {
        drop(engine);
    }
}

#[test]
fn a_held_child_takes_over_when_the_one_before_goes() {
    let Some(rig) = Rig::new("a_held_child_takes_over_when_the_one_before_goes") else { return };
    let mut engines = [Engine::start(&rig.a, &args(0, "")), Engine::start(&rig.b, &args(1, ""))];
    let routes = || run(&format!("ip -n {} route show table 4500", rig.a));
    let before = routes();
    engines[1].does("install 2 1 hold");
    engines[0].does("install 2 1 hold");
    assert!(pinging(&rig, "-c 3 -i 0.01 -W 5").join().unwrap().contains("3 received"));
    engines[0].does("use 2");
    assert!(pinging(&rig, "-c 3 -i 0.01 -W 5").join().unwrap().contains("3 received"));
    let first = "FirstPacket(ChildId(2))";
    assert_eq!(engines[1].ask("wait FirstPacket"), first);
    assert!(engines[1].ask("remove 1").contains("packets_out: 6"), "b still held the new one");
    assert!(pinging(&rig, "-c 3 -i 0.01 -W 5").join().unwrap().contains("3 received"));
    assert_eq!(engines[0].ask("wait FirstPacket"), first);
    assert!(engines[0].ask("remove 1").contains("packets_out: 3"), "the rest left by the new one");
    assert_eq!(routes(), before, "the routes stay");
    assert!(pinging(&rig, "-c 3 -i 0.01 -W 5").join().unwrap().contains("3 received"));
    engines[0].does("remove 2");
    assert_eq!(routes(), "", "the last child takes its routes along");
}

/// b has answered and uses the new keys before a has them.
//= rfc7296 §2.8
#[test]
fn what_comes_before_its_child_stands_is_kept_for_it() {
    let Some(rig) = Rig::new("what_comes_before_its_child_stands_is_kept_for_it") else { return };
    let mut engines = [Engine::start(&rig.a, &args(0, "")), Engine::start(&rig.b, &args(1, ""))];
    engines[1].does("install 2 1 use");
    engines[1].does("use 2");
    // The answer leaves b by the new child, which a has not.
    let pings = pinging(&rig, "-c 1 -W 10");
    assert_ne!(engines[0].ask("wait UnknownSpi"), "none");
    engines[0].does("install 2 1 use");
    let said = pings.join().unwrap();
    assert!(said.contains("1 received"), "{said}");
    let counters = engines[0].ask("query 2");
    assert!(counters.contains("packets_in: 1"), "{counters}");
}

#[test]
fn a_child_tells_what_it_has_carried_and_then_carries_nothing() {
    let Some(rig) = Rig::new("a_child_tells_what_it_has_carried_and_then_carries_nothing") else { return };
    let mut a = Engine::start(&rig.a, &args(0, "soft_packets=5 hard_packets=8"));
    let _b = Engine::start(&rig.b, &args(1, ""));
    let said = pinging(&rig, "-c 12 -i 0.02 -W 1").join().unwrap();
    assert!(said.contains("12 packets transmitted, 8 received"), "{said}");
    assert_eq!(a.ask("wait Expired"), "Expired { id: ChildId(1), hard: false }");
    assert_eq!(a.ask("wait Expired"), "Expired { id: ChildId(1), hard: true }");
    let counters = a.counters();
    assert_eq!((counters["packets_out"], counters["packets_in"], counters["not_sent"]), (8, 8, 4));
}

#[test]
fn a_trap_keeps_the_first_packet_and_asks_for_a_child() {
    let Some(rig) = Rig::new("a_trap_keeps_the_first_packet_and_asks_for_a_child") else { return };
    let mut a = Engine::start(&rig.a, &args(0, "child=no"));
    let b = Engine::start(&rig.b, &args(1, ""));
    a.does("trap 1");
    assert!(a.ask("trap 1").starts_with("Failed"), "it is there already");
    let pings = pinging(&rig, "-c 1 -W 10");
    let asked = a.ask("wait Acquire");
    assert!(asked.contains("id: TrapId(1)") && asked.contains("start: 10.2.0.1, end: 10.2.0.1"), "{asked}");
    assert!(asked.contains("start_port: 2048, end_port: 2048"), "an echo request: {asked}");
    a.does("install 1 0 use");
    let said = pings.join().unwrap();
    assert!(said.contains("1 received"), "the first packet was kept: {said}");
    // A child goes before the trap; when it is gone the trap is there again.
    assert!(pinging(&rig, "-c 1 -W 5").join().unwrap().contains("1 received"));
    a.does("remove 1");
    let pings = pinging(&rig, "-c 20 -i 0.1 -W 1");
    assert!(a.ask("wait Acquire").contains("TrapId(1)"));
    assert!(pings.join().unwrap().contains(" 0 received"), "nothing leaves in the clear");
    a.does("untrap 1");
    assert!(a.ask("untrap 1").starts_with("Failed"));
    assert!(!run(&format!("ip -n {} rule", rig.a)).contains("4500"), "the rules are gone");
    drop(b);
}

#[test]
fn only_so_many_traps_are_laid() {
    let Some(rig) = Rig::new("only_so_many_traps_are_laid") else { return };
    let mut a = Engine::start(&rig.a, &args(0, "child=no"));
    for n in 1..=tun::limits::MAX_TRAPS {
        a.does(&format!("trap {n}"));
    }
    let one_more = format!("trap {}", tun::limits::MAX_TRAPS + 1);
    assert!(a.ask(&one_more).contains("512 already"));
    a.does("untrap 7");
    a.does(&one_more);
}

/// What passes leaves in the clear though the child means it; what is dropped does not leave, unless by the child.
//= rfc4301 §4.4.1
#[test]
fn s165_shunts_pass_before_the_child_and_drop_after_it() {
    let Some(rig) = Rig::new("s165_shunts_pass_before_the_child_and_drop_after_it") else { return };
    let side = |own: usize| {
        let hosts = OUTER_V4.map(|address| format!("{address}/32"));
        let mut all = args(own, "child=no mode=transport");
        all.retain(|arg| !arg.contains("_ts="));
        all.extend([format!("local_ts={}", hosts[own]), format!("remote_ts={}", hosts[1 - own])]);
        all
    };
    let mut engines = [Engine::start(&rig.a, &side(0)), Engine::start(&rig.b, &side(1))];
    let answered = |wait: u32| {
        let command = format!("ip netns exec {} ping -n -c 1 -W {wait} {}", rig.a, OUTER_V4[1]);
        try_run(&command).status.success()
    };
    assert!(answered(5), "nothing is there");
    engines[0].does("drop 1");
    assert!(engines[0].ask("pass 1").starts_with("Failed"), "it is there already");
    assert!(!answered(1), "it is dropped");
    engines.iter_mut().for_each(|engine| engine.does("install 1 0 use"));
    assert!(answered(5), "the child goes first");
    let by_child = engines[0].counters()["packets_out"];
    assert!(by_child > 0);
    // The answer comes by the child: it is b's, which knows nothing of shunts.
    engines[0].does("pass 2");
    assert!(answered(5), "it passes");
    assert_eq!(engines[0].counters()["packets_out"], by_child);
    engines[0].does("untrap 2");
    assert!(answered(5));
    assert!(engines[0].counters()["packets_out"] > by_child, "the child carries it again");
    engines.iter_mut().for_each(|engine| engine.does("remove 1"));
    assert!(!answered(1), "it is dropped again");
    engines[0].does("untrap 1");
    assert!(answered(5));
    assert!(!run(&format!("ip -n {} rule", rig.a)).contains("4500"), "the rules are gone");
}
