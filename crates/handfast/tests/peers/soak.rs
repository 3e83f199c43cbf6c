//! Half an hour under real time: new keys every few seconds, by either side and by both at once, under traffic, and in the
//! middle third a link that loses. `scripts/soak.sh` runs it for long.

use super::{NEVER, Pair, Renewed, Setup, Who};
use interop::{Boot, Link, Pinging, kernel_tests};
use std::time::{Duration, Instant};

/// How long it takes where nobody says: a short one that belongs to the tests.
const SHORT: u64 = 45;
/// Of a thousand packets, in the middle third.
const LOST: u32 = 50;
/// Counts what the peer's kernel has not sent because the peer had just deleted the SA that it had chosen for it: the only
/// packets that the peer may drop. They never were on the wire.
const PEERS_OWN: &str = "XfrmOutStateInvalid";
/// From one rekey to the next.
const BETWEEN: Duration = Duration::from_secs(2);

fn seconds() -> u64 {
    std::env::var("HANDFAST_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SHORT)
}

kernel_tests! {
    rekeys_under_traffic_and_loss: Boot::PLAIN.within(Duration::from_secs(seconds() + 180)), soak;
}

/// What is written down each minute.
struct Row {
    second: u64,
    sent: u64,
    answered: u64,
    link: Link,
    ours: (usize, usize),
    theirs: (usize, usize),
    /// What the peer's kernel dropped.
    dropped: u64,
    rss: u64,
}

fn soak() {
    let seconds = seconds();
    // A peer that is slow to ask again would keep its SAs of the lossy third for long.
    let setup = Setup {
        daemon: "retransmit_timeout = \"0.5\"\nretransmit_tries = 12\nretransmit_base = 1.3\n",
        theirs: ["", "", "retransmit_timeout = 0.5\n retransmit_base = 1.3\n retransmit_tries = 12"],
        dpd: (Duration::from_secs(10), NEVER),
        ..Setup::new(Who::StrongSwan, "left")
    };
    let Some(pair) = setup.start("soak::rekeys_under_traffic_and_loss") else { return };
    pair.establish();
    let mut pings = ["left", "right"].map(|side| Pinging::start(&pair.lab, side, "0.02").unwrap());
    let (begin, mut rows, mut rekeys, mut minute) = (Instant::now(), Vec::new(), 0u64, 0);
    let (mut seen, mut renewed) = (pair.handfast.sas(), (0u64, 0u64));
    let mut lossy = false;
    loop {
        let second = begin.elapsed().as_secs();
        if second >= seconds {
            break;
        }
        let wanted = (seconds / 3..2 * seconds / 3).contains(&second);
        if wanted != lossy {
            pair.lab.lose(if wanted { LOST } else { 0 }).unwrap();
            lossy = wanted;
        }
        if second / 60 >= minute {
            minute = second / 60 + 1;
            rows.push(row(&pair, &mut pings, second));
        }
        begin_rekey(&pair, rekeys);
        rekeys += 1;
        std::thread::sleep(BETWEEN);
        let now = pair.handfast.sas();
        renewed.0 += u64::from(now.ike != seen.ike);
        renewed.1 += u64::from(now.children != seen.children);
        seen = now;
    }
    std::thread::sleep(Duration::from_secs(10));
    pair.stands((1, 1));
    rows.push(row(&pair, &mut pings, begin.elapsed().as_secs()));
    print(&rows, rekeys, renewed);
    let (mut sent, mut answered) = (0, 0);
    for pinging in &mut pings {
        let counts = pinging.finish().unwrap();
        sent += counts.0;
        answered += counts.1;
    }
    let link = pair.lab.link();
    let figures = format!(
        "{answered} of {sent} pings answered, and the link: {link:?}; unanswered:\n{}",
        pings.each_ref().map(Pinging::unanswered).join("\n")
    );
    // What comes for an SA that the peer has not yet, or no more, is our loss, as is what is lost nowhere else.
    let (own, others): (Vec<_>, Vec<_>) =
        pair.dropped_by_peer().into_iter().partition(|(counter, _)| counter == PEERS_OWN);
    assert!(others.is_empty(), "{}", pair.explain("drops", &format!("{others:?}\n{figures}")));
    // A ping may be under way at the very end.
    let lost: u64 = pings.iter().map(Pinging::lost).sum();
    let unsent: u64 = own.iter().map(|(_, count)| count).sum();
    let accounted = link.esp_lost > 0 && lost <= link.esp_lost + unsent;
    assert!(accounted, "{}", pair.explain("pings", &figures));
    // The first minute fills what an allocator keeps.
    let (first, last) = (rows.get(1).unwrap_or(&rows[0]).rss, rows[rows.len() - 1].rss);
    assert!(last < first + first / 10 + 1024, "memory grew from {first} to {last} KiB");
    println!(
        "SUMMARY: soak of {seconds} s: {rekeys} rekeys asked for, IKE SA renewed in {} and child in {} of the looks; {sent} pings, {lost} lost, \
         {} packets of ESP lost by the link and {unsent} not sent by the peer's kernel; {first} KiB at first, {last} KiB at last",
        renewed.0, renewed.1, link.esp_lost
    );
}

/// Child and IKE SA by turns, by us, by the peer, by both at once. A refusal is no failure: while the other end rekeys,
/// or before the last rekey is done, there may be nothing to ask for.
fn begin_rekey(pair: &Pair, number: u64) {
    let what = if number % 4 == 3 { Renewed::Ike } else { Renewed::Child };
    let theirs = || match what {
        Renewed::Ike => pair.peer.rekey_ike(),
        _ => pair.peer.rekey_child(),
    };
    let _ = match number % 5 {
        0 | 3 => pair.rekey(what),
        1 | 4 => theirs(),
        _ => theirs().and(pair.rekey(what)),
    };
}

fn row(pair: &Pair, pings: &mut [Pinging; 2], second: u64) -> Row {
    let (mut sent, mut answered) = (0, 0);
    for pinging in pings {
        let counts = pinging.so_far().unwrap();
        sent += counts.0;
        answered += counts.1;
    }
    let (ours, theirs) = (pair.handfast.sas().count(), pair.peer.sas().count());
    let dropped = pair.dropped_by_peer().iter().map(|(_, count)| count).sum();
    Row { second, sent, answered, link: pair.lab.link(), ours, theirs, dropped, rss: pair.handfast.rss() }
}

/// As a table of Markdown.
fn print(rows: &[Row], rekeys: u64, renewed: (u64, u64)) {
    println!(
        "| second | pings | lost | ESP lost by the link | dropped by the peer's kernel | IKE lost by the link | our IKE SAs, children | peer's | memory of ours |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {} | {} | {} | {} | {} | {}, {} | {}, {} | {} KiB |",
            row.second,
            row.sent,
            row.sent - row.answered,
            row.link.esp_lost,
            row.dropped,
            row.link.ike_lost,
            row.ours.0,
            row.ours.1,
            row.theirs.0,
            row.theirs.1,
            row.rss
        );
    }
    println!(
        "{rekeys} rekeys asked for; at looks after each, the IKE SA was another {} times, the child {} times.",
        renewed.0, renewed.1
    );
}
