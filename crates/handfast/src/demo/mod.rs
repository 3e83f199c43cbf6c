//! `handfast demo`: two gateways, a host behind each, and a wire between that is listened to.
//!
//! ```text
//!   left host ── left gateway ──── wire (router, capture) ──── right gateway ── right host
//!    10.1.0.2    10.1.0.1  192.0.2.2                198.51.100.2  10.2.0.1      10.2.0.2
//! ```
//! Five network namespaces without names, held by this process alone.

mod capture;
mod gateway;
mod netlink;
mod report;
mod space;
mod sys;
mod traffic;
mod workshop;

use crate::exit::Exit;
use crate::talk::{print_json, say};
use capture::Capture;
use gateway::{Gateway, Orders};
use report::Report;
use runtime::protocol::Status;
use space::{Plug, Space, cable};
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use workshop::Workshop;

/// What a person may ask of the demo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) json: bool,
    /// Leave everything standing until Ctrl-C.
    pub(crate) keep: bool,
    /// Print the gateways' logs too.
    pub(crate) verbose: bool,
}

const LEFT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const LEFT_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const LEFT_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const WIRE_LEFT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const WIRE_RIGHT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const RIGHT_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const RIGHT_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const RIGHT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const PINGS: u32 = 5;

/// Runs the demo.
pub(crate) fn demo(options: Options) -> Exit {
    sys::hold_signals();
    if let Err(reason) = get_rights() {
        return fail(&reason, options.json, Exit::Unable);
    }
    let outcome = Workshop::open()
        .map_err(|error| format!("cannot make a folder in {}: {error}", std::env::temp_dir().display()))
        .and_then(|shop| {
            let played = play(&shop, options);
            shop.stop_if_interrupted();
            played
        });
    match outcome {
        Ok(report) => {
            if options.json {
                print_json(&report);
            } else {
                say(report.text().trim_end());
            }
            if report.problems.is_empty() { Exit::Done } else { Exit::Failed }
        }
        Err(reason) => fail(&reason, options.json, Exit::Failed),
    }
}

/// Ends this process as SIGTERM does.
pub(crate) fn terminate_self() {
    sys::terminate(std::process::id());
}

fn fail(reason: &str, json: bool, exit: Exit) -> Exit {
    if json {
        print_json(&serde_json::json!({ "established": false, "problems": [reason] }));
    } else {
        eprintln!("The demo failed: {reason}");
    }
    exit
}

/// Root may make network namespaces; others may where user namespaces are allowed to them.
fn get_rights() -> Result<(), String> {
    let probe = std::thread::spawn(sys::unshare_net).join();
    if matches!(probe, Ok(Ok(()))) {
        return Ok(());
    }
    sys::become_root_of_own_namespace().map_err(|error| {
        format!(
            "it needs network namespaces, which this account may not make, and an unprivileged user namespace was \
             refused too ({error}). Run it as root (sudo), or allow user namespaces: sysctl \
             user.max_user_namespaces above 0, on Debian kernel.unprivileged_userns_clone=1, on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0; in a container, start that with --privileged."
        )
    })
}

/// The namespaces, cabled.
struct Land {
    left_host: Space,
    left: Space,
    wire: Space,
    right: Space,
    right_host: Space,
}

impl Land {
    fn build() -> Result<Self, String> {
        let land = Self {
            left_host: Space::new("left host")?,
            left: Space::new("left gateway")?,
            wire: Space::new("wire")?,
            right: Space::new("right gateway")?,
            right_host: Space::new("right host")?,
        };
        fn plug<'a>(space: &'a Space, interface: &'static str, address: Ipv4Addr) -> Plug<'a> {
            Plug { space, interface, address: (address, 24) }
        }
        cable(&plug(&land.left_host, "lan", LEFT_HOST), &plug(&land.left, "lan", LEFT_INSIDE))?;
        cable(&plug(&land.left, "wan", LEFT_OUTSIDE), &plug(&land.wire, "left", WIRE_LEFT))?;
        cable(&plug(&land.right, "wan", RIGHT_OUTSIDE), &plug(&land.wire, "right", WIRE_RIGHT))?;
        cable(&plug(&land.right_host, "lan", RIGHT_HOST), &plug(&land.right, "lan", RIGHT_INSIDE))?;
        for router in [&land.left, &land.wire, &land.right] {
            router.forward()?;
        }
        // The gateways know the way to each other, not to each other's hosts: only the tunnel leads there.
        let any = (Ipv4Addr::UNSPECIFIED, 0);
        land.left_host.route(any, LEFT_INSIDE)?;
        land.right_host.route(any, RIGHT_INSIDE)?;
        land.left.route((Ipv4Addr::new(198, 51, 100, 0), 24), WIRE_LEFT)?;
        land.right.route((Ipv4Addr::new(192, 0, 2, 0), 24), WIRE_RIGHT)?;
        Ok(land)
    }
}

fn play(shop: &Arc<Workshop>, options: Options) -> Result<Report, String> {
    let begun = Instant::now();
    let tell = |text: &str| {
        if !options.json {
            say(text);
        }
    };
    let marker = random::<{ traffic::MARKER }>()?;
    let land = Land::build()?;
    tell("Two gateways and a host behind each, in five network namespaces; the wire between is captured.");
    let on_wire = Capture::start(&land.wire, "left", &marker)?;
    let inside = Capture::start(&land.left, "lan", &marker)?;
    let (left, right) = start_gateways(shop, &land)?;
    let events = left.watch()?;

    let up = left.up()?;
    let ping = traffic::ping(&land.left_host, RIGHT_HOST, PINGS, &marker)?;
    let tcp = traffic::stream(&land.left_host, (&land.right_host, RIGHT_HOST), &marker)?;
    let (seen_left, seen_right) = (left.status()?, right.status()?);
    if options.keep {
        invite(&land, &left, &right);
    }
    let closed = left.down()?;

    let (packets, packets_inside) = (on_wire.stop()?, inside.stop()?);
    for gateway in [&left, &right] {
        gateway.stop();
    }
    shop.end_processes();
    let events = events.join().map_err(|_| "the watcher broke off".to_string())?;
    if options.verbose {
        for gateway in [&left, &right] {
            eprintln!("── log of the {} gateway\n{}", gateway.name, gateway.log());
        }
    }
    let (ike_sa, child_sa) = sas(&seen_left);
    let (peer_ike_sa, peer_child_sa) = sas(&seen_right);
    let mut report = Report {
        established: [&ike_sa, &peer_ike_sa]
            .iter()
            .all(|ike| ike.as_ref().is_some_and(|ike| ike.state == "established"))
            && child_sa.is_some()
            && peer_child_sa.is_some(),
        milliseconds: up.milliseconds,
        total_milliseconds: (begun.elapsed().as_micros() as f64) / 1000.0,
        ike_sa,
        child_sa,
        peer_child_sa,
        packets,
        packets_inside,
        plaintext_on_wire: packets.with_plaintext > 0,
        plaintext_inside: packets_inside.with_plaintext > 0,
        ping,
        tcp,
        closed,
        ladder: report::ladder(&events),
        marker: hex(&marker),
        problems: Vec::new(),
    };
    report.judge();
    Ok(report)
}

fn start_gateways(shop: &Arc<Workshop>, land: &Land) -> Result<(Gateway, Gateway), String> {
    let psk = hex(&random::<32>()?);
    let (left, right) = (LEFT_OUTSIDE.to_string(), RIGHT_OUTSIDE.to_string());
    let orders = Orders {
        name: "left",
        peer: "right",
        local: &left,
        remote: &right,
        local_ts: "10.1.0.0/24",
        remote_ts: "10.2.0.0/24",
        psk: &psk,
    };
    let mirrored = Orders {
        name: "right",
        peer: "left",
        local: &right,
        remote: &left,
        local_ts: "10.2.0.0/24",
        remote_ts: "10.1.0.0/24",
        psk: &psk,
    };
    Ok((Gateway::start(shop, &land.left, &orders)?, Gateway::start(shop, &land.right, &mirrored)?))
}

fn sas(
    status: &Status,
) -> (Option<runtime::protocol::IkeSaStatus>, Option<runtime::protocol::ChildSaStatus>) {
    let ike = status.ike_sas.first().cloned();
    let child = ike.as_ref().and_then(|ike| ike.child_sas.first().cloned());
    (ike, child)
}

/// Leaves everything standing until a signal comes, which ends the process.
fn invite(land: &Land, left: &Gateway, right: &Gateway) {
    say("\nThe tunnel stands. Talk to the gateways from another terminal:");
    for gateway in [left, right] {
        say(&gateway.invitation());
    }
    say("or enter a namespace:");
    for space in [&land.left_host, &land.left, &land.wire, &land.right, &land.right_host] {
        say(&format!("  nsenter --net={} bash      # {}", space.path(), space.name()));
    }
    say("Ctrl-C ends it.");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut octets = [0; N];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut octets))
        .map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    Ok(octets)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
