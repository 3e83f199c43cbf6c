//! Cores that break one rule each: every invariant must notice.

use crate::host::Core;
use crate::site::net;
use crate::{Datagram, Site, Weather, World, limits};
use base::{EspSpi, IkeSpi, Instant, Now, Secret};
use crypto::{
    Cipher, CipherSpec, CryptoError, KeyExchange, PrfFunction, SignatureScheme, Suite, VerifyError,
};
use dataplane::{ChildId, ChildSpec, DirectionSpec, Mode, Op};
use policy::Policy;
use sa::{Act, Cause, Event, JobId, Order, OrderId, Path, Reason, Reply, Target};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wire::num::{Encr, Integ, KeMethod, Prf};

/// No algorithm at all: these cores do not encrypt.
struct NoSuite;

impl Suite for NoSuite {
    fn key_exchange(&self, _: KeMethod) -> Option<&dyn KeyExchange> {
        None
    }
    fn prf(&self, _: Prf) -> Option<&dyn PrfFunction> {
        None
    }
    fn cipher_spec(&self, _: Encr, _: u16, _: Integ) -> Option<CipherSpec> {
        None
    }
    fn cipher(&self, _: Encr, _: u16, _: Integ, _: &[u8], _: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        Err(CryptoError::Library)
    }
    fn sha1(&self, _: &[&[u8]]) -> [u8; 20] {
        [0; 20]
    }
    fn verifies(&self, _: SignatureScheme) -> bool {
        false
    }
    fn verify(&self, _: &[u8], _: SignatureScheme, _: &[u8], _: &[u8]) -> Result<(), VerifyError> {
        Err(VerifyError::Unsupported)
    }
}

type Script = Box<dyn FnMut(&Cause<'_>) -> Vec<Act> + Send>;

/// Does what its script says.
struct Toy {
    script: Script,
    acts: VecDeque<Act>,
    wake: Option<Instant>,
    half_open: usize,
}

impl Core for Toy {
    fn handle(&mut self, _: Now, cause: Cause<'_>) {
        self.acts.extend((self.script)(&cause));
    }
    fn poll(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }
    fn wake(&self) -> Option<(Instant, Reason)> {
        Some((self.wake?, Reason::Retransmit))
    }
    fn half_open(&self) -> usize {
        self.half_open
    }
    fn is_empty(&self) -> bool {
        true
    }
}

/// Two sites; the first has the toy, the second does nothing.
fn toys(wake: Option<Instant>, script: impl FnMut(&Cause<'_>) -> Vec<Act> + Send + 'static) -> World {
    let add = |world: World, name: &str, address: &str, other: (&str, &str), toy: Toy| {
        let site = Site::psk(name, address, other.0, other.1);
        let policy = Arc::new(Policy::of(site.connections.iter().cloned()));
        world.site_with(site, policy, Box::new(toy))
    };
    let toy = |script: Script, wake| Toy { script, acts: VecDeque::new(), wake, half_open: 0 };
    let world = World::new(1, Arc::new(NoSuite));
    let world = add(world, "a", "192.0.2.1", ("b", "192.0.2.2"), toy(Box::new(script), wake));
    add(world, "b", "192.0.2.2", ("a", "192.0.2.1"), toy(Box::new(|_| Vec::new()), None))
}

fn path() -> Path {
    Path { local: "192.0.2.1:500".parse().unwrap(), remote: "192.0.2.2:500".parse().unwrap(), marked: false }
}

/// A protected INFORMATIONAL message with a body of one octet value.
fn message(response: bool, body: u8) -> Act {
    let mut bytes = vec![7; 16];
    bytes.extend([46, 0x20, 37, if response { 0x20 } else { 8 }, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 32]);
    bytes.extend([body; 28]);
    Act::Transmit { path: path(), bytes }
}

fn child(name: &str, key: u8, local: &str) -> Op {
    let direction = |spi, key| DirectionSpec {
        spi: EspSpi(spi),
        encr_key: Secret::new(vec![key; 36]),
        integ_key: Secret::new(Vec::new()),
    };
    Op::Install(Box::new(ChildSpec {
        id: ChildId(u64::from(key)),
        name: name.to_string(),
        mode: Mode::Tunnel,
        local: "192.0.2.1:0".parse().unwrap(),
        remote: "192.0.2.2:0".parse().unwrap(),
        udp_encap: false,
        encr: Encr::AES_GCM_16,
        key_bits: 256,
        integ: Integ::NONE,
        esn: true,
        replay_window: 64,
        inbound: direction(1000 + u32::from(key), key),
        outbound: direction(2000 + u32::from(key), key + 100),
        local_ts: vec![net(local)],
        remote_ts: vec![net("10.2.0.0/16")],
        original_addresses: None,
        replaces: None,
        hold_outbound: false,
        volume: dataplane::VolumeLimits::default(),
        interface: None,
    }))
}

/// What the first site does, at once, when it is told to; then the world runs on.
fn does(acts: impl Fn() -> Vec<Act> + Send + 'static) {
    let mut world = toys(None, move |cause| match cause {
        Cause::Order(id, _) => {
            let mut all = acts();
            all.push(Act::Reply(*id, Box::new(Reply::Done)));
            all
        }
        _ => Vec::new(),
    });
    world.order("a", Order::Down(Target::All));
    while world.step() {}
}

#[test]
fn who_keeps_the_rules_passes() {
    does(|| vec![message(false, 1), message(false, 1), message(true, 2), message(true, 2)]);
}

#[test]
#[should_panic(expected = "again with other octets")]
fn a_message_id_is_used_once() {
    does(|| vec![message(false, 1), message(false, 2)]);
}

#[test]
#[should_panic(expected = "is answered")]
fn a_request_waits_for_the_one_before() {
    does(|| {
        let Act::Transmit { path, mut bytes } = message(false, 1) else { return Vec::new() };
        bytes[23] = 3;
        vec![Act::Transmit { path, bytes }]
    });
}

#[test]
#[should_panic(expected = "retransmits a response by itself")]
fn a_response_is_not_repeated_unasked() {
    let mut world = toys(Some(Instant::from_nanos(0)), |_| vec![message(true, 1)]);
    world.step();
    world.step();
}

#[test]
#[should_panic(expected = "for ever at one instant")]
fn time_advances() {
    let mut world = toys(Some(Instant::from_nanos(0)), |_| Vec::new());
    (0..=limits::WAKES_PER_INSTANT).for_each(|_| assert!(world.step()));
}

#[test]
#[should_panic(expected = "half-open IKE SAs, and")]
fn half_open_sas_are_bounded() {
    let mut world = toys(None, |_| Vec::new());
    world.hosts[0].max_half_open = 2;
    world.hosts[0].core =
        Box::new(Toy { script: Box::new(|_| Vec::new()), acts: VecDeque::new(), wake: None, half_open: 3 });
    world.order("a", Order::Down(Target::All));
}

#[test]
#[should_panic(expected = "kept busy at one instant")]
fn an_instant_holds_only_so_many_causes() {
    let mut world = toys(None, |_| Vec::new());
    for _ in 0..=limits::HANDLES_PER_INSTANT {
        world.dataplane_event("a", dataplane::DataplaneEvent::SequenceNearEnd(ChildId(1)));
    }
}

#[test]
#[should_panic(expected = "more acts than there can be")]
fn a_cause_has_only_so_many_acts() {
    does(|| (0..=limits::ACTS_PER_CAUSE).map(|_| message(false, 1)).collect());
}

#[test]
#[should_panic(expected = "its policy does not have")]
fn nothing_is_installed_outside_of_policy() {
    does(|| vec![Act::Dataplane(JobId(1), child("lan", 1, "10.3.0.0/16"))]);
}

#[test]
#[should_panic(expected = "its peer has not, and nothing is pending")]
fn a_child_has_two_ends() {
    does(|| vec![Act::Dataplane(JobId(1), child("lan", 1, "10.1.0.0/16"))]);
}

#[test]
#[should_panic(expected = "one key of ESP serves two SAs")]
fn a_key_of_esp_serves_one_child() {
    does(|| {
        let Op::Install(mut second) = child("lan", 2, "10.1.0.0/16") else { return Vec::new() };
        second.inbound.encr_key = Secret::new(vec![1; 36]);
        vec![
            Act::Dataplane(JobId(1), child("lan", 1, "10.1.0.0/16")),
            Act::Dataplane(JobId(2), Op::Install(second)),
        ]
    });
}

#[test]
#[should_panic(expected = "is used twice")]
fn a_job_has_its_own_name() {
    does(|| {
        vec![Act::Dataplane(JobId(1), Op::Query(ChildId(1))), Act::Dataplane(JobId(1), Op::Query(ChildId(1)))]
    });
}

#[test]
#[should_panic(expected = "prints a secret")]
fn an_event_shows_no_secret() {
    does(|| {
        let text = format!("the key is {}", String::from_utf8_lossy(crate::site::PSK));
        vec![Act::Event(Box::new(Event::Note { ike: None, text }))]
    });
}

#[test]
#[should_panic(expected = "unencrypted")]
fn an_identity_does_not_go_in_the_clear() {
    does(|| {
        let Act::Transmit { path, mut bytes } = message(false, 1) else { return Vec::new() };
        bytes[40..49].copy_from_slice(b"a.example");
        vec![Act::Transmit { path, bytes }]
    });
}

#[test]
#[should_panic(expected = "with marked = false")]
fn the_marker_goes_with_port_4500() {
    does(|| {
        let Act::Transmit { mut path, bytes } = message(false, 1) else { return Vec::new() };
        path.local.set_port(4500);
        vec![Act::Transmit { path, bytes }]
    });
}

#[test]
#[should_panic(expected = "answered twice")]
fn an_order_is_answered_once() {
    does(|| vec![Act::Reply(OrderId(1), Box::new(Reply::Done))]);
}

#[test]
fn the_network_delivers_loses_and_is_listened_to() {
    let seen = Arc::new(Mutex::new(0));
    let count = seen.clone();
    let mut world = toys(None, |cause| match cause {
        Cause::Order(..) => (0..100).map(|_| message(false, 1)).collect(),
        _ => Vec::new(),
    })
    .under(Weather { loss: 500, ..Weather::fair() })
    .attacked(move |_| *count.lock().unwrap() += 1);
    world.order("a", Order::Down(Target::All));
    let mut arrived = 0;
    while world.step() {
        arrived += 1;
    }
    assert_eq!(*seen.lock().unwrap(), 100);
    assert!((30..70).contains(&arrived), "{arrived}");
    let path = path();
    world.inject(Duration::from_secs(1), Datagram::ike(path.remote, path.local, &[0; 28]));
    assert!(world.step() && !world.step());
    assert_eq!(world.wire.len(), 100);
    assert_eq!(IkeSpi(world.wire[0].1.peek().unwrap().spi_i).to_string(), "0707070707070707");
}
