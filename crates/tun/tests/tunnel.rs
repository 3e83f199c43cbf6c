//! Two engines in two network namespaces: pings and TCP streams through them, and a look at the wire between.

mod rig;

use rig::{Engine, OUTER_V4, OUTER_V6, Rig, Running, run, stream, try_run};
use std::path::PathBuf;

/// One way to run a tunnel.
struct Case {
    outer: [&'static str; 2],
    args: &'static str,
}

/// The arguments of `esp_pair` on one side.
fn args(case: &Case, side: usize) -> Vec<String> {
    let transport = case.args.contains("mode=transport");
    let ts = |side: usize| match (transport, case.outer[side].contains(':')) {
        (true, true) => format!("{}/128", case.outer[side]),
        (true, false) => format!("{}/32", case.outer[side]),
        (false, _) => format!("10.{0}.0.0/24,fd0{0}::/64", side + 1),
    };
    let (own, far) = (side, 1 - side);
    let mut args = vec![
        format!("side={}", ["a", "b"][own]),
        format!("local={}", case.outer[own]),
        format!("remote={}", case.outer[far]),
        format!("local_ts={}", ts(own)),
        format!("remote_ts={}", ts(far)),
    ];
    args.extend(case.args.split_whitespace().map(str::to_string));
    args
}

/// A capture of the wire, where the machine has `tcpdump`.
struct Capture {
    running: Running,
    file: PathBuf,
}

impl Capture {
    fn start(test: &str, rig: &Rig) -> Option<Self> {
        if std::process::Command::new("tcpdump").arg("--version").output().is_err() {
            testkit::not_run(test, "the look at the wire: tcpdump is not installed");
            return None;
        }
        let file = std::env::temp_dir().join(format!("{}.pcap", rig.wire));
        let mut command = Rig::command(&rig.a, "sh");
        // What it says on its error output tells when it listens.
        let script = format!("exec tcpdump -U -n -i {} -s 0 -w {} 2>&1", rig.wire, file.display());
        command.args(["-c", &script]);
        let mut running = Running::start(command);
        while !running.line().contains("listening on") {}
        Some(Self { running, file })
    }

    /// Everything captured must be ESP (or address resolution), and nothing of the stream may be seen.
    fn check(self) {
        let Self { running, file } = self;
        drop(running);
        let foreign = run(&format!(
            "tcpdump -n -r {} not esp and not udp port 4500 and not arp and not icmp6 and not dst net ff00::/8 and not ip6 proto 44 \
             and not ip[6:2]&0x1fff!=0",
            file.display()
        ));
        let octets = std::fs::read(&file).expect("the capture");
        let _ = std::fs::remove_file(&file);
        assert_eq!(foreign, "", "only ESP is on the wire");
        assert!(octets.len() > 100_000, "{} octets captured", octets.len());
        let line = b"must not be seen on the wire";
        assert!(!octets.windows(line.len()).any(|window| window == line), "plaintext on the wire");
    }
}

fn works(test: &str, case: &Case) {
    let Some(rig) = Rig::new(test) else { return };
    let capture = Capture::start(test, &rig);
    let mut a = Engine::start(&rig.a, &args(case, 0));
    let mut b = Engine::start(&rig.b, &args(case, 1));
    let transport = case.args.contains("mode=transport");
    let far: Vec<&str> = if transport { vec![case.outer[1]] } else { vec!["10.2.0.1", "fd02::1"] };
    let before = a.counters()["packets_out"];
    for address in &far {
        let pings = run(&format!("ip netns exec {} ping -n -c 2 -i 0.1 -W 5 {address}", rig.a));
        assert!(pings.contains(" 0% packet loss"), "{pings}");
        // Longer than the path: fragments inside the tunnel, or around the packet in transport mode.
        let pings = run(&format!("ip netns exec {} ping -n -c 1 -W 5 -s 5000 {address}", rig.a));
        assert!(pings.contains(" 0% packet loss"), "{pings}");
    }
    assert!(a.counters()["packets_out"] >= before + 3 * far.len() as u64);
    const OCTETS: u64 = 3_000_000;
    for address in &far {
        let socket =
            if address.contains(':') { format!("[{address}]:7000") } else { format!("{address}:7000") };
        assert_eq!(stream(&rig.a, &rig.b, &socket, (OCTETS, 60.0)).0, OCTETS);
    }
    let (sent, received) = (a.counters(), b.counters());
    assert!(sent["bytes_out"] >= OCTETS && received["bytes_in"] >= OCTETS, "{sent:?} {received:?}");
    for counters in [&sent, &received] {
        for fault in ["bad_icv", "malformed", "outside_selectors", "replayed", "not_sent"] {
            assert_eq!(counters[fault], 0, "{fault}");
        }
    }
    assert!(a.0.finish() && b.0.finish());
    for name in [&rig.a, &rig.b] {
        assert!(!run(&format!("ip -n {name} rule")).contains("4500"), "the rules are gone");
        assert!(!run(&format!("ip -n {name} -6 rule")).contains("4500"), "the rules are gone");
        assert!(!run(&format!("ip -n {name} link")).contains("hf0"), "the device is gone");
    }
    if let Some(capture) = capture {
        capture.check();
    }
}

#[test]
fn aes_gcm_in_udp_over_ipv4() {
    works("aes_gcm_in_udp_over_ipv4", &Case { outer: OUTER_V4, args: "encr=AES_GCM_16 bits=256" });
}

#[test]
fn s132_aes_gcm_in_udp_over_ipv6() {
    works("s132_aes_gcm_in_udp_over_ipv6", &Case { outer: OUTER_V6, args: "encr=AES_GCM_16" });
}

#[test]
fn aes_cbc_in_raw_esp_over_ipv4() {
    let args = "encap=no encr=AES_CBC bits=256 integ=HMAC_SHA2_256_128";
    works("aes_cbc_in_raw_esp_over_ipv4", &Case { outer: OUTER_V4, args });
}

#[test]
fn chacha20_in_raw_esp_over_ipv6() {
    let args = "encap=no encr=CHACHA20_POLY1305 bits=0 esn=no";
    works("chacha20_in_raw_esp_over_ipv6", &Case { outer: OUTER_V6, args });
}

#[test]
fn transport_mode_in_udp_over_ipv4() {
    works("transport_mode_in_udp_over_ipv4", &Case { outer: OUTER_V4, args: "mode=transport" });
}

#[test]
fn transport_mode_in_raw_esp_over_ipv6() {
    works("transport_mode_in_raw_esp_over_ipv6", &Case { outer: OUTER_V6, args: "mode=transport encap=no" });
}

#[test]
fn without_offload_packets_travel_one_by_one() {
    works("without_offload_packets_travel_one_by_one", &Case { outer: OUTER_V4, args: "offload=no" });
}

#[test]
fn a_packet_that_does_not_fit_is_told_to_its_sender() {
    let name = "a_packet_that_does_not_fit_is_told_to_its_sender";
    let Some(rig) = Rig::new(name) else { return };
    let case = Case { outer: OUTER_V4, args: "mtu=1300" };
    let _a = Engine::start(&rig.a, &args(&case, 0));
    let _b = Engine::start(&rig.b, &args(&case, 1));
    let fits = run(&format!("ip netns exec {} ping -n -c 1 -W 5 -M do -s 1272 10.2.0.1", rig.a));
    assert!(fits.contains(" 0% packet loss"), "{fits}");
    let output = try_run(&format!("ip netns exec {} ping -n -c 1 -W 5 -M do -s 1273 10.2.0.1", rig.a));
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("mtu=1300") || said.contains("mtu = 1300"), "{said}");
}

/// Whether a single ping gets through.
fn pings(rig: &Rig, address: &str, wait: u32) -> bool {
    let command = format!("ip netns exec {} ping -n -c 1 -W {wait} {address}", rig.a);
    try_run(&command).status.success()
}

#[test]
fn what_no_selector_means_passes_by_or_is_dropped() {
    let Some(rig) = Rig::new("what_no_selector_means_passes_by_or_is_dropped") else { return };
    let [_, b] = OUTER_V4;
    for (how, passes) in [("pass=yes", true), ("pass=no", false)] {
        let with_pass = format!("mode=transport protocol=6 {how}");
        let side = |side: usize| {
            let mut all = args(&Case { outer: OUTER_V4, args: "mode=transport" }, side);
            all.extend(with_pass.split_whitespace().map(str::to_string));
            all
        };
        let mut engines = [Engine::start(&rig.a, &side(0)), Engine::start(&rig.b, &side(1))];
        assert_eq!(pings(&rig, b, if passes { 5 } else { 1 }), passes, "{how}");
        assert_eq!(engines[0].counters()["packets_out"], 0, "ICMP is not protected here");
        assert_eq!(stream(&rig.a, &rig.b, &format!("{b}:7000"), (100_000, 60.0)).0, 100_000);
        assert!(engines[0].counters()["bytes_out"] > 100_000, "TCP is");
        for engine in engines {
            assert!(engine.0.finish());
        }
    }
}

#[test]
fn an_engine_that_was_killed_leaves_nothing_in_the_way() {
    let Some(rig) = Rig::new("an_engine_that_was_killed_leaves_nothing_in_the_way") else { return };
    let case = Case { outer: OUTER_V4, args: "" };
    for side in 0..2 {
        // Dropping it kills it: no chance to clean up.
        drop(Engine::start(&rig.a, &args(&case, side)));
    }
    assert!(run(&format!("ip -n {} rule", rig.a)).contains("4500"), "the rules outlive the process");
    let a = Engine::start(&rig.a, &args(&case, 0));
    let b = Engine::start(&rig.b, &args(&case, 1));
    assert!(pings(&rig, "10.2.0.1", 5));
    assert!(a.0.finish() && b.0.finish());
    assert!(!run(&format!("ip -n {} rule", rig.a)).contains("4500"), "all rules are gone");
}

#[test]
fn a_tunnel_for_everything_does_not_swallow_itself() {
    let Some(rig) = Rig::new("a_tunnel_for_everything_does_not_swallow_itself") else { return };
    let [a, b] = OUTER_V4;
    let side = |name: &str, (own, far): (&str, &str), (ours, theirs): (&str, &str)| {
        [
            format!("side={name}"),
            format!("local={own}"),
            format!("remote={far}"),
            format!("local_ts={ours}"),
            format!("remote_ts={theirs}"),
        ]
    };
    let first = Engine::start(&rig.a, &side("a", (a, b), ("10.1.0.0/24", "0.0.0.0/0")));
    let second = Engine::start(&rig.b, &side("b", (b, a), ("0.0.0.0/0", "10.1.0.0/24")));
    assert!(pings(&rig, "10.2.0.1", 5));
    // The peer's own outer address as well, when the source is inside.
    let command = format!("ip netns exec {} ping -n -c 1 -W 5 -I 10.1.0.1 {b}", rig.a);
    assert!(try_run(&command).status.success());
    // From the outer address the ordinary route is taken: no selector means it.
    let command = format!("ip netns exec {} ping -n -c 1 -W 5 -I {a} {b}", rig.a);
    assert!(try_run(&command).status.success());
    assert!(first.0.finish() && second.0.finish());
}

#[test]
fn a_child_moves_to_other_addresses() {
    let Some(rig) = Rig::new("a_child_moves_to_other_addresses") else { return };
    let case = Case { outer: OUTER_V4, args: "" };
    let mut a = Engine::start(&rig.a, &args(&case, 0));
    let mut b = Engine::start(&rig.b, &args(&case, 1));
    assert!(pings(&rig, "10.2.0.1", 5));
    let [old_a, old_b] = OUTER_V4;
    let far = run(&format!("ip -n {} -o -4 addr show to {old_b}", rig.b));
    let device = far.split_whitespace().nth(1).expect("the wire's end in b").to_string();
    run(&format!("ip -n {} addr del {old_b}/24 dev {device}", rig.b));
    run(&format!("ip -n {} addr add 192.0.2.12/24 dev {device}", rig.b));
    assert!(!pings(&rig, "10.2.0.1", 1), "the old address is gone");
    for (engine, local, remote) in [(&mut a, old_a, "192.0.2.12"), (&mut b, "192.0.2.12", old_a)] {
        engine.0.tell(&format!("move {local}:4500 {remote}:4500"));
        assert_eq!(engine.0.line(), "Done");
    }
    assert!(pings(&rig, "10.2.0.1", 5));
    assert!(a.0.finish() && b.0.finish());
}

#[test]
fn what_cannot_be_installed_changes_nothing() {
    let Some(rig) = Rig::new("what_cannot_be_installed_changes_nothing") else { return };
    let case = Case { outer: OUTER_V4, args: "" };
    let mut a = Engine::start(&rig.a, &args(&case, 0));
    let b = Engine::start(&rig.b, &args(&case, 1));
    let before = run(&format!("ip -n {} route show table 4500", rig.a));
    a.0.tell("again");
    let why = "second cannot be installed: another child receives with SPI c0de0002.";
    assert_eq!(a.0.line(), format!("Failed({why:?})"));
    assert_eq!(run(&format!("ip -n {} route show table 4500", rig.a)), before);
    assert!(pings(&rig, "10.2.0.1", 5), "the first child still works");
    assert!(a.0.finish() && b.0.finish());
}
