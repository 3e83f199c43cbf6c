//! Interfaces: tunnels that the routing table tells apart, between two engines in two network namespaces.

mod rig;

use rig::{Engine, OUTER_V4, Rig, run, try_run};
use std::time::{Duration, Instant};

fn args(side: usize) -> Vec<String> {
    let (own, far) = (side, 1 - side);
    vec![
        format!("side={}", ["a", "b"][own]),
        format!("local={}", OUTER_V4[own]),
        format!("remote={}", OUTER_V4[far]),
        "local_ts=0.0.0.0/0,::/0".to_string(),
        "remote_ts=0.0.0.0/0,::/0".to_string(),
        "child=no".to_string(),
    ]
}

impl Engine {
    /// Packets that a child has carried: in, out.
    fn packets(&mut self, child: u32) -> (u64, u64) {
        let answer = self.ask(&format!("query {child}"));
        let number = |name: &str| {
            let rest = answer.split_once(&format!("{name}: ")).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
        };
        (number("packets_in"), number("packets_out"))
    }
}

/// Two engines with children 1 and 2 through hf-one and hf-two, all of them for all traffic. Beyond hf-one is 10.7.0.0/24,
/// beyond hf-two 10.8.0.0/24; a has the first address of both, b the second.
fn two_tunnels(rig: &Rig) -> [Engine; 2] {
    let mut engines = [Engine::start(&rig.a, &args(0)), Engine::start(&rig.b, &args(1))];
    for (at, (engine, name)) in engines.iter_mut().zip([&rig.a, &rig.b]).enumerate() {
        engine.does("keep hf-one hf-two");
        engine.does("child 1 hf-one");
        engine.does("child 2 hf-two");
        for (net, device) in [(7, "hf-one"), (8, "hf-two")] {
            run(&format!("ip -n {name} addr add 10.{net}.0.{}/24 dev {device}", at + 1));
            run(&format!("ip -n {name} addr add fd77:{net}::{}/64 dev {device} nodad", at + 1));
        }
    }
    engines
}

fn ping(namespace: &str, how: &str) -> String {
    let output = try_run(&format!("ip netns exec {namespace} ping -n -q {how}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits for what must come.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn has_link(namespace: &str, device: &str) -> bool {
    try_run(&format!("ip -n {namespace} link show {device}")).status.success()
}

/// Echo requests that have come to a namespace.
fn echos(namespace: &str) -> u64 {
    let text = run(&format!("ip netns exec {namespace} cat /proc/net/snmp"));
    let mut lines = text.lines().filter(|line| line.starts_with("Icmp:")).map(|line| line.split_whitespace());
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let found = names.zip(values).find(|(name, _)| *name == "InEchos");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn s168_two_tunnels_for_everything_are_told_apart_by_their_interfaces() {
    let name = "s168_two_tunnels_for_everything_are_told_apart_by_their_interfaces";
    let Some(rig) = Rig::new(name) else { return };
    let mut engines = two_tunnels(&rig);
    assert!(ping(&rig.a, "-c 5 -i 0.01 -W 5 10.7.0.2").contains("5 received"));
    let both: Vec<_> = engines.iter_mut().map(|engine| (engine.packets(1), engine.packets(2))).collect();
    assert_eq!(both, [((5, 5), (0, 0)), ((5, 5), (0, 0))]);
    assert!(ping(&rig.b, "-c 3 -i 0.01 -W 5 10.8.0.1").contains("3 received"));
    let both: Vec<_> = engines.iter_mut().map(|engine| (engine.packets(1), engine.packets(2))).collect();
    assert_eq!(both, [((5, 5), (3, 3)), ((5, 5), (3, 3))]);
    assert!(ping(&rig.b, "-c 2 -i 0.01 -W 5 fd77:8::1").contains("2 received"));
    assert_eq!((engines[0].packets(1), engines[0].packets(2)), ((5, 5), (5, 5)));
    // Neither routes nor rules are set, and the interfaces are fit for what ESP carries.
    for namespace in [&rig.a, &rig.b] {
        assert!(try_run(&format!("ip -n {namespace} route show table 4500")).stdout.is_empty());
        assert!(!run(&format!("ip -n {namespace} rule")).contains("4500"));
        assert!(run(&format!("ip -n {namespace} link show hf-one")).contains("mtu 1400"));
    }
    let (octets, _) = rig::stream(&rig.a, &rig.b, "10.7.0.2:9999", (50 << 20, 30.0));
    assert_eq!(octets, 50 << 20);
}

#[test]
fn what_no_child_of_an_interface_means_is_dropped_and_counted() {
    let Some(rig) = Rig::new("what_no_child_of_an_interface_means_is_dropped_and_counted") else { return };
    let mut a = Engine::start(&rig.a, &args(0));
    a.does("keep hf-one hf-two");
    a.does("child 1 hf-one");
    run(&format!("ip -n {} route add 192.0.2.2/32 dev hf-two table 7", rig.a));
    run(&format!("ip -n {} rule add from 10.1.0.1 lookup 7", rig.a));
    assert!(ping(&rig.a, "-c 3 -i 0.01 -W 1 -I 10.1.0.1 192.0.2.2").contains("0 received"));
    assert_eq!(a.ask("unprotected"), "3");
    assert_eq!(a.packets(1), (0, 0), "it is another interface's");
    assert_eq!(echos(&rig.b), 0);
    // The count stays when the interface goes.
    a.does("keep hf-one");
    until("the end of hf-two", || !has_link(&rig.a, "hf-two"));
    assert_eq!(a.ask("unprotected"), "3");
    // The same packets without the interface: the count can see them.
    ping(&rig.a, "-c 3 -i 0.01 -W 1 -I 10.1.0.1 192.0.2.2");
    assert_eq!(echos(&rig.b), 3);
}

/// The inner side in a namespace of its own: WireGuard's well-known setup.
#[test]
fn s168_an_interface_in_another_namespace_goes_on() {
    let Some(rig) = Rig::new("s168_an_interface_in_another_namespace_goes_on") else { return };
    let mut engines = two_tunnels(&rig);
    let inner = Namespace::new(&rig);
    run(&format!("ip -n {} link set hf-one netns {}", rig.a, inner.0));
    run(&format!("ip -n {} addr add 10.7.0.1/24 dev hf-one", inner.0));
    run(&format!("ip -n {} link set hf-one up", inner.0));
    assert!(ping(&inner.0, "-c 5 -i 0.01 -W 5 10.7.0.2").contains("5 received"));
    // What the namespace itself asks for on a new link (routers) comes besides.
    assert_eq!(engines[1].packets(1).1, 5);
    // The engine finds it there, by whatever name.
    run(&format!("ip -n {} link set hf-one name site1", inner.0));
    engines[0].does("assign 10.7.0.9 hf-one");
    assert!(run(&format!("ip -n {} addr show site1", inner.0)).contains("10.7.0.9/32"));
    run(&format!("ip -n {} link set site1 up", inner.0));
    assert!(ping(&inner.0, "-c 3 -i 0.01 -W 5 -I 10.7.0.9 10.7.0.2").contains("3 received"));
    engines[0].does("keep hf-two");
    assert!(has_link(&inner.0, "site1"), "its child uses it");
    // The namespace goes and takes it along: it is made anew where the engine is, with the address.
    drop(inner);
    let told = engines[0].ask("wait hf-one");
    assert!(told.contains("The interface hf-one was gone and is there again"), "{told}");
    assert!(run(&format!("ip -n {} addr show hf-one", rig.a)).contains("10.7.0.9/32"));
    run(&format!("ip -n {} route add 10.7.0.2/32 dev hf-one", rig.a));
    assert!(ping(&rig.a, "-c 3 -i 0.01 -W 5 -I 10.7.0.9 10.7.0.2").contains("3 received"));
    engines[0].does("unassign 10.7.0.9 hf-one");
    assert!(!run(&format!("ip -n {} addr show hf-one", rig.a)).contains("10.7.0.9"));
    engines[0].does("remove 1");
    assert!(!has_link(&rig.a, "hf-one"), "nobody wants it, and nobody uses it");
}

#[test]
fn s168_an_interface_is_made_in_a_namespace_that_comes_and_goes() {
    let Some(rig) = Rig::new("s168_an_interface_is_made_in_a_namespace_that_comes_and_goes") else { return };
    let mut engines = two_tunnels(&rig);
    // It moves when it is told to, also while a child stands.
    let keep = format!("keep hf-one@{}i hf-two", rig.a);
    engines[0].does(&keep);
    let told = engines[0].ask("wait hf-one");
    assert!(told.contains(&format!("There is no network namespace {}i", rig.a)), "{told}");
    assert!(!has_link(&rig.a, "hf-one"), "it is made nowhere else");
    assert!(ping(&rig.a, "-c 3 -i 0.01 -W 5 10.8.0.2").contains("3 received"), "the other one goes on");
    for round in 1..=2 {
        let inner = Namespace::new(&rig);
        let told = engines[0].ask("wait hf-one");
        assert!(told.contains("there"), "{told}");
        if round == 1 {
            engines[0].does("assign 10.7.0.9 hf-one");
        }
        run(&format!("ip -n {} route add 10.7.0.2/32 dev hf-one", inner.0));
        let said = ping(&inner.0, "-c 3 -i 0.01 -W 5 -I 10.7.0.9 10.7.0.2");
        assert!(said.contains("3 received"), "{said}");
        assert_eq!(engines[1].packets(1).1, 3 * round);
        drop(inner);
        let told = engines[0].ask("wait hf-one");
        assert!(told.contains("There is no network namespace"), "{told}");
    }
    engines[0].does("keep hf-one hf-two");
    assert!(has_link(&rig.a, "hf-one"));
    run(&format!("ip -n {} route add 10.7.0.2/32 dev hf-one", rig.a));
    assert!(ping(&rig.a, "-c 3 -i 0.01 -W 5 -I 10.7.0.9 10.7.0.2").contains("3 received"));
}

struct Namespace(String);

impl Namespace {
    fn new(rig: &Rig) -> Self {
        let name = format!("{}i", rig.a);
        run(&format!("ip netns add {name}"));
        Self(name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = try_run(&format!("ip netns del {}", self.0));
    }
}

#[test]
fn an_interface_that_somebody_removes_is_made_anew() {
    let Some(rig) = Rig::new("an_interface_that_somebody_removes_is_made_anew") else { return };
    let mut engines = two_tunnels(&rig);
    run(&format!("ip -n {} link del hf-one", rig.a));
    // What is not there takes nothing down, and the others go on.
    assert!(ping(&rig.a, "-c 3 -i 0.01 -W 5 10.8.0.2").contains("3 received"));
    let told = engines[0].ask("wait hf-one");
    assert!(told.contains("was gone and is there again"), "{told}");
    run(&format!("ip -n {} addr add 10.7.0.1/24 dev hf-one", rig.a));
    assert!(ping(&rig.a, "-c 3 -i 0.01 -W 5 10.7.0.2").contains("3 received"));
}

#[test]
fn an_interface_that_cannot_be_made_is_told_and_tried_again() {
    let Some(rig) = Rig::new("an_interface_that_cannot_be_made_is_told_and_tried_again") else { return };
    run(&format!("ip -n {} link add hf-one type veth peer name hf-far", rig.a));
    let mut a = Engine::start(&rig.a, &args(0));
    a.does("keep hf-one hf-two");
    let told = a.ask("wait hf-one");
    assert!(
        told.contains("The interface hf-one cannot be made: There is another device hf-one already."),
        "{told}"
    );
    let refused = a.ask("child 1 hf-one");
    assert!(refused.contains("test cannot be installed: the interface hf-one cannot be made"), "{refused}");
    a.does("child 2 hf-two");
    run(&format!("ip -n {} link del hf-one", rig.a));
    assert_eq!(a.ask("wait hf-one"), "The interface hf-one is there now.");
    a.does("child 1 hf-one");
    let own = run(&format!("ip -n {} -o link show type tun", rig.a));
    assert!(own.contains("hf0"), "{own}");
    let refused = a.ask("child 3 hf0");
    assert!(refused.contains("the name of the device of all children without an interface"), "{refused}");
}

#[test]
fn s168_a_trap_on_an_interface_keeps_the_first_packets() {
    let Some(rig) = Rig::new("s168_a_trap_on_an_interface_keeps_the_first_packets") else { return };
    let side = |side: usize| [args(side), vec!["interface=hf-one".to_string()]].concat();
    let mut engines = [Engine::start(&rig.a, &side(0)), Engine::start(&rig.b, &side(1))];
    for (at, (engine, name)) in engines.iter_mut().zip([&rig.a, &rig.b]).enumerate() {
        engine.does("keep hf-one hf-two");
        run(&format!("ip -n {name} addr add 10.7.0.{}/24 dev hf-one", at + 1));
    }
    engines[0].does("trap 5");
    let shunt = engines[0].ask("pass 6");
    assert!(shunt.contains("a shunt has no interface"), "{shunt}");
    let first = {
        let command = format!("ip netns exec {} ping -n -q -c 1 -W 10 10.7.0.2", rig.a);
        std::thread::spawn(move || String::from_utf8_lossy(&try_run(&command).stdout).into_owned())
    };
    let asked = engines[0].ask("wait Acquire");
    assert!(asked.contains("TrapId(5)"), "{asked}");
    engines[1].does("child 1 hf-one");
    engines[0].does("child 1 hf-one");
    let said = first.join().unwrap();
    assert!(said.contains("1 received"), "{said}");
    // A packet of another interface is not what it means.
    engines[0].does("remove 1");
    run(&format!("ip -n {} route add 10.8.0.0/24 dev hf-two", rig.a));
    ping(&rig.a, "-c 1 -W 1 10.8.0.2");
    assert_eq!(engines[0].ask("unprotected"), "1");
}

/// The default route leads into the tunnel, and only the mark keeps ESP out of it.
#[test]
fn s168_the_mark_keeps_our_own_packets_out_of_the_interface() {
    let Some(rig) = Rig::new("s168_the_mark_keeps_our_own_packets_out_of_the_interface") else { return };
    let mut engines = two_tunnels(&rig);
    let (from, rule) = (&rig.a, "not fwmark 0x1000000/0x1000000 lookup 7");
    run(&format!("ip -n {from} route add default dev hf-one table 7"));
    run(&format!("ip -n {from} rule add pref 100 {rule}"));
    run(&format!("ip -n {} route add 10.1.0.0/24 dev hf-one", rig.b));
    assert!(ping(from, "-c 3 -i 0.01 -W 5 -I 10.1.0.1 10.2.0.1").contains("3 received"));
    assert_eq!(engines[0].packets(1), (3, 3));
    // Without the exception the packets come back: they are dropped, once round, and that is told.
    run(&format!("ip -n {from} rule add pref 99 lookup 7"));
    ping(from, "-c 2 -i 0.01 -W 1 -I 10.1.0.1 10.2.0.1");
    let told = engines[0].ask("wait own");
    let words = "Our own packets to the peer at 192.0.2.2 are routed into hf-one";
    assert!(told.contains(words) && told.contains("not fwmark 0x1000000/0x1000000"), "{told}");
    assert_eq!(engines[0].packets(1), (3, 5), "each packet went in once");
}

/// What the path does not carry is told to its sender, by the interface that the packet came from.
//= rfc4301 §8.2.1
#[test]
fn a_path_that_carries_less_is_told_through_the_interface() {
    let Some(rig) = Rig::new("a_path_that_carries_less_is_told_through_the_interface") else { return };
    let mut engines = two_tunnels(&rig);
    let ping = |len: u32| ping(&rig.a, &format!("-c 3 -i 0.01 -W 2 -M do -s {len} 10.7.0.2"));
    assert!(ping(1372).contains("3 received"), "the interface's 1400 octets");
    run(&format!("ip -n {} link set {} mtu 1350", rig.a, rig.wire));
    let mut said = String::new();
    until("the smaller MTU", || {
        said = ping(1372);
        said.contains("+")
    });
    assert!(said.contains("errors"), "{said}");
    assert!(ping(1200).contains("3 received"));
    assert!(engines[0].ask("query 1").contains("not_sent"));
}

/// More interfaces than are told ready at a time, all of them busy at once.
#[test]
fn thirty_interfaces_are_served_side_by_side() {
    const COUNT: u32 = 30;
    let Some(rig) = Rig::new("thirty_interfaces_are_served_side_by_side") else { return };
    let mut engines = [Engine::start(&rig.a, &args(0)), Engine::start(&rig.b, &args(1))];
    let names: Vec<String> = (1..=COUNT).map(|n| format!("hf-{n}")).collect();
    for (at, (engine, namespace)) in engines.iter_mut().zip([&rig.a, &rig.b]).enumerate() {
        engine.does(&format!("keep {}", names.join(" ")));
        for n in 1..=COUNT {
            engine.does(&format!("child {n} hf-{n}"));
            run(&format!("ip -n {namespace} addr add 10.9.{n}.{}/24 dev hf-{n}", at + 1));
        }
    }
    let pings: Vec<_> = (1..=COUNT)
        .map(|n| {
            let namespace = rig.a.clone();
            std::thread::spawn(move || ping(&namespace, &format!("-c 20 -i 0.02 -W 10 10.9.{n}.2")))
        })
        .collect();
    for ping in pings {
        let said = ping.join().expect("a ping");
        assert!(said.contains("20 received"), "{said}");
    }
    for n in 1..=COUNT {
        assert_eq!(engines.each_mut().map(|engine| engine.packets(n)), [(20, 20), (20, 20)], "{n}");
    }
}
