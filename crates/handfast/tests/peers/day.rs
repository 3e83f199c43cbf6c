//! A day of a tunnel in seconds: real daemons, and a clock that jumps to whatever is waited for.

use super::{Setup, Who, binary};
use interop::{
    Boot, Family, Handfast, HandfastConfig, Lab, Link, Net, PeerConfig, Pinging, Suite, kernel_tests,
};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);
const LONG: Boot = Boot::TRAVEL.within(Duration::from_secs(1800));

kernel_tests! {
    packets_that_overtake_each_other: Boot::TRAVEL, reordering;
    an_hour_of_two_handfasts: Boot::TRAVEL, || two_handfasts(1);
    three_hours_with_strongswan: Boot::TRAVEL, || with_strongswan("three_hours_with_strongswan", Who::StrongSwan, 3);
    #[ignore = "minutes: `make interop-long`"]
    a_day_of_two_handfasts: LONG, || two_handfasts(24);
    #[ignore = "minutes: `make interop-long`"]
    a_day_with_strongswan: LONG, || with_strongswan("a_day_with_strongswan", Who::StrongSwan, 24);
    #[ignore = "minutes: `make interop-long`"]
    a_day_with_a_newer_strongswan: LONG, || {
        with_strongswan("a_day_with_a_newer_strongswan", Who::StrongSwan6, 24);
    };
}

/// What is seen at the end of an hour.
#[derive(Debug)]
struct Hour {
    sent: u64,
    answered: u64,
    link: Link,
    /// IKE SAs and children at our end, and our memory in KiB.
    ours: Vec<((usize, usize), u64)>,
}

/// What the link does in an hour of the day: so many of a thousand packets lost, so many milliseconds of round trip.
fn weather(hour: u64) -> (u32, u32) {
    match hour {
        1 | 7 => (50, 0),
        8 => (100, 40),
        12 | 13 => (0, 200),
        17 => (20, 600),
        _ => (0, 0),
    }
}

fn two_handfasts(hours: u64) {
    let lab = Lab::new(Family::V4, Net::Routed).unwrap();
    let start = |side: &str| {
        let text = HandfastConfig::of(&lab, &PeerConfig::new(side, Suite::Gcm), ["", ""]);
        Handfast::start(&lab, side, &binary(), &text).unwrap()
    };
    let (left, right) = (start("left"), start("right"));
    left.command(&["up", "net"]).unwrap();
    let seen = watch(&lab, hours, &[&left, &right]);
    let logs = || format!("{seen:#?}\n{}\n{}", left.log(), right.log());
    let last = seen.last().unwrap();
    assert_eq!(last.sent - last.answered, last.link.esp_lost, "{}", logs());
    assert_eq!(left.sas().ike, right.sas().ike, "{}", logs());
    assert_eq!((left.sas().count(), right.sas().count()), ((1, 1), (1, 1)), "{}", logs());
    flat(&seen);
    println!("SUMMARY: {hours} h of two Handfasts: {last:?}");
}

/// The child gets new keys each ten minutes and the IKE SA each hour, by whichever end comes first.
fn with_strongswan(test: &str, who: Who, hours: u64) {
    let probes = Duration::from_secs(30);
    let times = (Duration::from_secs(600), Duration::from_secs(600));
    let setup = Setup {
        child_rekey: times,
        ike_rekey: (HOUR, HOUR),
        dpd: (probes, probes),
        connection: "rand_time = \"6m\"\nover_time = \"10m\"\n",
        child: "rand_time = \"1m\"\nlife_time = \"20m\"\n",
        theirs: ["rand_time = 6m", "rand_time = 1m", ""],
        ..Setup::new(who, "left")
    };
    let Some(pair) = setup.start(test) else { return };
    pair.establish();
    // The pings of `establish`, which are three each way.
    let begun = pair.lab.link().esp;
    let seen = watch(&pair.lab, hours, &[&pair.handfast]);
    let last = seen.last().unwrap();
    let log = pair.handfast.log();
    let by = |whom: &str| log.matches(&format!("(asked for by {whom})")).count();
    let (ike_ours, ike_theirs) = (by("us"), by("the peer"));
    let children = log.matches("is down: a newer one replaced it").count();
    let wrong = |what: &str| {
        format!("{what}\n{seen:#?}\nESP at the beginning: {begun}\n{}", pair.explain(test, what))
    };
    let lost = last.sent - last.answered;
    assert!(lost <= last.link.esp_lost, "{}", wrong("pings were lost that the link did not lose"));
    assert!(ike_ours + ike_theirs >= hours as usize - 1, "{}", wrong("too few new IKE SAs"));
    assert!(children >= hours as usize * 6 - 2, "{}", wrong("too few new child SAs"));
    pair.stands((1, 1));
    pair.ping();
    flat(&seen);
    let memory: Vec<u64> = seen.iter().map(|hour| hour.ours[0].1).collect();
    println!(
        "SUMMARY: {hours} h with {} ({test}): {} pings, {lost} lost, and the link lost {} packets of ESP and {} of IKE; \
         {ike_ours} IKE SAs made by us and {ike_theirs} by the peer, {children} new children; memory from {} to {} KiB",
        pair.peer.name(),
        last.sent,
        last.link.esp_lost,
        last.link.ike_lost,
        memory[0],
        memory[memory.len() - 1]
    );
}

/// A path on which packets overtake each other by up to a tenth of a second, under traffic and new keys: none is lost, and
/// none is taken for a replay.
fn reordering() {
    let lab = Lab::new(Family::V4, Net::Routed).unwrap();
    lab.lose(0).unwrap();
    let start = |side: &str| {
        let text = HandfastConfig::of(&lab, &PeerConfig::new(side, Suite::Gcm), ["", ""]);
        Handfast::start(&lab, side, &binary(), &text).unwrap()
    };
    let (left, right) = (start("left"), start("right"));
    left.command(&["up", "net"]).unwrap();
    lab.scatter(100).unwrap();
    let mut pinging = Pinging::start(&lab, "left", "0.01").unwrap();
    for round in 0..10 {
        std::thread::sleep(Duration::from_secs(6));
        let (who, what) = if round % 2 == 0 { (&left, "net/net") } else { (&right, "net") };
        who.command(&["rekey", what]).unwrap();
    }
    std::thread::sleep(Duration::from_secs(10));
    lab.delay(0).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let (sent, answered) = pinging.finish().unwrap();
    let overtaken = pinging.overtaken();
    let logs = || format!("{}\n{}\n{}", pinging.unanswered(), left.log(), right.log());
    assert!(sent > 3000 && overtaken > 300, "{overtaken} of {sent} were overtaken: nothing to prove");
    assert_eq!(sent - answered, lab.link().esp_lost, "{}", logs());
    assert_eq!((left.sas().count(), right.sas().count()), ((1, 1), (1, 1)), "{}", logs());
    println!(
        "SUMMARY: {overtaken} of {sent} answers were overtaken, {answered} came, under ten times new keys"
    );
}

/// Lets hours pass, one ping a second; what was seen at the end of each.
fn watch(lab: &Lab, hours: u64, ours: &[&Handfast]) -> Vec<Hour> {
    // In the coarse clock of that kernel this comes to one a second.
    let mut pinging = Pinging::start(lab, "left", "0.94").unwrap();
    let (begin, mut seen) = (Instant::now(), Vec::new());
    let hour = |(sent, answered): (u64, u64)| Hour {
        sent,
        answered,
        link: lab.link(),
        ours: ours.iter().map(|end| (end.sas().count(), end.rss())).collect(),
    };
    for at in 0..hours {
        let (lost, delay) = weather(at);
        lab.lose(lost).unwrap();
        lab.delay(delay).unwrap();
        std::thread::sleep((begin + HOUR * (at as u32 + 1)).saturating_duration_since(Instant::now()));
        seen.push(hour(pinging.so_far().unwrap()));
        println!("after hour {}: {:?}", at + 1, seen.last());
    }
    // The last answers come before it ends.
    lab.lose(0).unwrap();
    lab.delay(0).unwrap();
    std::thread::sleep(Duration::from_secs(60));
    seen.push(hour(pinging.finish().unwrap()));
    seen
}

/// Memory does not grow from the end of the first hour on, but for what an allocator keeps at hand.
fn flat(seen: &[Hour]) {
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return };
    for ((_, before), (_, after)) in first.ours.iter().zip(&last.ours) {
        assert!(*after < before + before / 10 + 1024, "memory grew from {before} to {after} KiB: {seen:#?}");
    }
}
