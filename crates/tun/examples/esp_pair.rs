//! One end of an ESP tunnel with fixed test keys, for tests and measurements: never for real traffic.
//!
//! Start it in each of two network namespaces with mirrored arguments:
//!
//! ```text
//! esp_pair side=a local=192.0.2.1 remote=192.0.2.2 local_ts=10.1.0.0/24 remote_ts=10.2.0.0/24
//! ```
//!
//! More: `mode=tunnel|transport`, `encap=yes|no`, `encr=AES_GCM_16`, `bits=128`, `integ=NONE`, `esn=yes|no`,
//! `window=128`, `mtu=1400`, `offload=yes|no`, `protocol=6`, `pass=yes|no`, `child=yes|no`, `soft_packets=5`, `hard_packets=9`. It prints `ready DEVICE`, then answers each line `query` on its
//! input with the counters and its CPU time, `move LOCAL REMOTE` (with ports) and `again` (a second child with
//! the same SPIs), `install N OLD hold|use` (child N with keys of its own, in the place of OLD), `use N`, `remove N`, `trap N` and
//! `untrap N` with the outcome. `child N INTERFACE` installs a child through an interface (`interface=NAME` is that of all
//! others), `keep NAME …` (or `NAME@NETNS`) names the interfaces to be there, `assign ADDRESS INTERFACE` and `unassign` set an address;
//! `unprotected` tells how many packets nothing was meant for, and `wait WORD` with the next event that has it in its name; the input's end (or `quit`) ends it.

use base::{EspSpi, Rng, Secret};
use crypto::Suite;
use dataplane::{
    AddressRange, Assigned, ChildId, ChildSpec, Counters, DirectionSpec, Interface, Mode, Op, Outcome,
    Selector, TrapId, TrapSpec, VolumeLimits, Without,
};
use net::{SocketConfig, Sockets};
use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::Chance;
use tun::{Engine, EngineConfig, Input};
use wire::num::{Encr, Integ};

struct Args(HashMap<String, String>);

impl Args {
    fn read() -> Result<Self, String> {
        let pair = |arg: String| match arg.split_once('=') {
            Some((key, value)) => Ok((key.to_string(), value.to_string())),
            None => Err(format!("{arg}: expected key=value")),
        };
        std::env::args().skip(1).map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn get<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }

    fn yes(&self, key: &str, default: &str) -> bool {
        self.get(key, default) == "yes"
    }

    fn parse<T: std::str::FromStr>(&self, key: &str, default: &str) -> Result<T, String> {
        let text = self.get(key, default);
        text.parse().map_err(|_| format!("{key}={text} cannot be read"))
    }

    fn selectors(&self, key: &str) -> Result<Vec<Selector>, String> {
        let one = |text: &str| {
            let (address, len) =
                text.split_once('/').ok_or_else(|| format!("{key}={text}: no prefix length"))?;
            let address = address.parse().map_err(|_| format!("{key}={text}: no address"))?;
            let len = len.parse().map_err(|_| format!("{key}={text}: no prefix length"))?;
            let range =
                AddressRange::from_prefix(address, len).ok_or_else(|| format!("{key}={text}: too long"))?;
            Ok(match self.0.get("protocol").map(|number| number.parse()) {
                Some(Ok(protocol)) => Selector { protocol, ..Selector::addresses(range) },
                Some(Err(_)) => return Err("protocol: no number".to_string()),
                None => Selector::addresses(range),
            })
        };
        self.get(key, "").split(',').filter(|text| !text.is_empty()).map(one).collect()
    }
}

/// Repeatable chance: good for test IVs only.
struct TestRng(Chance);

impl Rng for TestRng {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

fn number_of_encr(name: &str) -> Result<Encr, String> {
    (0..40).map(Encr).find(|encr| encr.to_string() == name).ok_or_else(|| format!("encr={name} is not known"))
}

fn number_of_integ(name: &str) -> Result<Integ, String> {
    (0..40)
        .map(Integ)
        .find(|integ| integ.to_string() == name)
        .ok_or_else(|| format!("integ={name} is not known"))
}

/// Child `n`, counted from 1.
fn spec(args: &Args, suite: &dyn Suite, n: u32) -> Result<ChildSpec, Box<dyn Error>> {
    let (encr, integ) =
        (number_of_encr(args.get("encr", "AES_GCM_16"))?, number_of_integ(args.get("integ", "NONE"))?);
    let key_bits = args.parse("bits", "128")?;
    let shape = suite.cipher_spec(encr, key_bits, integ).ok_or("no such algorithms")?;
    let udp_encap = args.yes("encap", "yes");
    let port = if udp_encap { 4500 } else { 0 };
    let outer = |key| args.parse::<IpAddr>(key, "").map(|ip| SocketAddr::new(ip, port));
    let keys = |a_to_b: bool| {
        let seed = if a_to_b { 1 } else { 2 };
        let of_child = |i: usize| n.to_le_bytes().get(i).copied().unwrap_or(0);
        let octet = |i: usize| (i as u8).wrapping_mul(37) ^ seed ^ of_child(i);
        let octets = |len: usize| Secret::new((0..len).map(octet).collect());
        DirectionSpec {
            spi: EspSpi(0xc0de_0000 + 2 * (n - 1) + u32::from(seed)),
            encr_key: octets(shape.encr_key_len),
            integ_key: octets(shape.integ_key_len),
        }
    };
    let a = args.get("side", "a") == "a";
    Ok(ChildSpec {
        id: ChildId(n.into()),
        name: "test".to_string(),
        mode: if args.get("mode", "tunnel") == "tunnel" { Mode::Tunnel } else { Mode::Transport },
        local: outer("local")?,
        remote: outer("remote")?,
        udp_encap,
        encr,
        key_bits,
        integ,
        esn: args.yes("esn", "yes"),
        replay_window: args.parse("window", "128")?,
        inbound: keys(!a),
        outbound: keys(a),
        local_ts: args.selectors("local_ts")?,
        remote_ts: args.selectors("remote_ts")?,
        original_addresses: None,
        replaces: None,
        hold_outbound: false,
        interface: interface(args)?,
        volume: VolumeLimits {
            soft_packets: args.get("soft_packets", "").parse().ok(),
            hard_packets: args.get("hard_packets", "").parse().ok(),
            ..VolumeLimits::default()
        },
    })
}

fn interface(args: &Args) -> Result<Option<Interface>, String> {
    let named = |name: &String| Interface::new(name).ok_or_else(|| format!("interface={name}: no name"));
    args.0.get("interface").map(named).transpose()
}

fn assigned(address: &str, interface: &str) -> Result<Assigned, Box<dyn Error>> {
    Ok(Assigned { address: address.parse()?, interface: Interface::new(interface) })
}

/// Another child with the SPIs of the first.
fn second(args: &Args, suite: &dyn Suite) -> Result<ChildSpec, Box<dyn Error>> {
    Ok(ChildSpec { id: ChildId(2), name: "second".to_string(), ..spec(args, suite, 1)? })
}

/// Child `n` in the place of child `old`.
fn successor(args: &Args, suite: &dyn Suite, n: &str, old: &str, hold: bool) -> Result<Op, Box<dyn Error>> {
    let replaces = Some(ChildId(old.parse()?));
    Ok(Op::Install(Box::new(ChildSpec { replaces, hold_outbound: hold, ..spec(args, suite, n.parse()?)? })))
}

fn trap(args: &Args, n: &str, then: Without) -> Result<Op, Box<dyn Error>> {
    let spec = spec(args, &provider::Provider::new(), 1)?;
    let ChildSpec { name, mode, local_ts, remote_ts, interface, .. } = spec;
    Ok(Op::Trap(TrapSpec { id: TrapId(n.parse()?), name, then, mode, local_ts, remote_ts, interface }))
}

/// The next event that has `word` in its name, of those within ten seconds.
fn next_event(events: &Receiver<String>, word: &str) -> String {
    let end = Instant::now() + Duration::from_secs(10);
    while let Ok(event) = events.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if event.contains(word) {
            return event;
        }
    }
    "none".to_string()
}

/// Nanoseconds on a CPU, all threads together.
fn cpu_nanos() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanos.sum()
}

fn print(counters: &Counters) {
    let c = counters;
    println!(
        "counters packets_in={} bytes_in={} packets_out={} bytes_out={} replayed={} bad_icv={} outside_selectors={} \
         malformed={} not_sent={} cpu_nanos={}",
        c.packets_in,
        c.bytes_in,
        c.packets_out,
        c.bytes_out,
        c.replayed,
        c.bad_icv,
        c.outside_selectors,
        c.malformed,
        c.not_sent,
        cpu_nanos()
    );
}

/// Does what a line says; `false` ends it.
fn obey(line: &str, engine: &Engine, args: &Args, events: &Receiver<String>) -> Result<bool, Box<dyn Error>> {
    let suite = provider::Provider::new();
    match line.split(' ').collect::<Vec<_>>()[..] {
        ["query"] => match engine.submit(Op::Query(ChildId(1))) {
            Outcome::Counters(counters) => print(&counters),
            other => println!("{other:?}"),
        },
        ["move", local, remote] => {
            let (local, remote) = (local.parse()?, remote.parse()?);
            println!("{:?}", engine.submit(Op::Move { id: ChildId(1), local, remote, udp_encap: true }));
        }
        ["again"] => println!("{:?}", engine.submit(Op::Install(Box::new(second(args, &suite)?)))),
        ["install", n, old, hold] => {
            let op = successor(args, &suite, n, old, hold == "hold")?;
            println!("{:?}", engine.submit(op));
        }
        ["child", n, interface] => {
            let interface = Interface::new(interface);
            let spec = ChildSpec { interface, ..spec(args, &suite, n.parse()?)? };
            println!("{:?}", engine.submit(Op::Install(Box::new(spec))));
        }
        ["keep", ref names @ ..] => {
            let interface = |name: &&str| match name.split_once('@') {
                Some((name, namespace)) => Interface::new(name)?.within(namespace),
                None => Interface::new(name),
            };
            engine.set_interfaces(&names.iter().filter_map(interface).collect());
            println!("Done");
        }
        ["assign", address, name] => {
            println!("{:?}", engine.submit(Op::Assign(assigned(address, name)?)))
        }
        ["unassign", address, name] => {
            println!("{:?}", engine.submit(Op::Unassign(assigned(address, name)?)));
        }
        ["unprotected"] => println!("{}", engine.stats().unprotected),
        ["query", n] => println!("{:?}", engine.submit(Op::Query(ChildId(n.parse()?)))),
        ["use", n] => println!("{:?}", engine.submit(Op::Use(ChildId(n.parse()?)))),
        ["remove", n] => println!("{:?}", engine.submit(Op::Remove(ChildId(n.parse()?)))),
        ["trap", n] => println!("{:?}", engine.submit(trap(args, n, Without::Acquire)?)),
        ["pass", n] => println!("{:?}", engine.submit(trap(args, n, Without::Bypass)?)),
        ["drop", n] => println!("{:?}", engine.submit(trap(args, n, Without::Discard)?)),
        ["untrap", n] => println!("{:?}", engine.submit(Op::Untrap(TrapId(n.parse()?)))),
        ["wait", word] => println!("{}", next_event(events, word)),
        _ => return Ok(false),
    }
    Ok(true)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::read()?;
    let suite: Arc<dyn Suite> = Arc::new(provider::Provider::new());
    let sockets = Arc::new(Sockets::open(SocketConfig::default())?);
    let config = EngineConfig {
        mtu: args.parse("mtu", "1400")?,
        offload: args.yes("offload", "yes"),
        pass_unprotected: args.yes("pass", "yes"),
        ..EngineConfig::default()
    };
    let (told, events) = mpsc::channel();
    let told = Mutex::new(told);
    let sink = Arc::new(move |input: Input<'_>| {
        eprintln!("{input:?}");
        let text = match &input {
            Input::Event(event) => format!("{event:?}"),
            Input::Note(text) => text.clone(),
            Input::Ike(_) | Input::Fault(_) => return,
        };
        if let Ok(told) = told.lock() {
            let _ = told.send(text);
        }
    });
    let engine = Engine::start(config, sockets, suite.clone(), || Box::new(TestRng(Chance::new(7))), sink)?;
    if args.yes("child", "yes")
        && let Outcome::Failed(why) = engine.submit(Op::Install(Box::new(spec(&args, &*suite, 1)?)))
    {
        return Err(why.into());
    }
    println!("ready {}", engine.device());
    for line in std::io::stdin().lock().lines() {
        if !obey(&line?, &engine, &args, &events)? {
            break;
        }
    }
    if let Outcome::Counters(counters) = engine.submit(Op::Remove(ChildId(1))) {
        print(&counters);
    }
    Ok(())
}
