//! Limits of `ikev2` and `endpoint` by name, each just missed and just hit.

use dataplane::DataplaneEvent;
use endpoint::limits::{GRACE, HINTS_PER_SECOND, MISSED_REST, MISSES, RESOLVE_PATIENCE, STEADY};
use ikev2::limits::{
    BUSY_PATIENCE, COOKIE_RANGE, DELETE_TRANSMISSIONS, LEAST_AUTHENTICATION, LINGER, MAX_RECEIVED,
    RETRY_SPREAD, RETRY_WAIT, TOKEN_RANGE,
};
use policy::{EndAction, StartAction};
use sa::{Event, Fate, Order, Target};
use sim::{Datagram, Flow, Site, established};
use std::time::Duration;
use suite::{Puppet, World, alice, answered, bob, world};
use wire::num::{CfgAttributeType, CfgType, ExchangeType, NotifyType, PayloadType};
use wire::{CfgAttribute, CfgValue, Configuration, Flags, Message, Notify, Payload};

const SECOND: Duration = Duration::from_secs(1);

fn notify(kind: NotifyType, data: Vec<u8>) -> Payload<'static> {
    Payload::Notify(Notify::new(kind, data))
}

/// A path that nobody looks up is waited for so long, and no longer.
#[test]
fn resolve_patience() {
    let mut one = alice().starting(StartAction::Start);
    one.keeper.forget = 1000;
    let mut world = world(1).peers(one, bob());
    let failed = |world: &World| world.host("alice").count(|event| matches!(event, Event::NotStarted { .. }));
    world.run(RESOLVE_PATIENCE - SECOND);
    assert_eq!(failed(&world), 0);
    world.run(SECOND);
    assert_eq!(failed(&world), 1);
}

/// What the peer deletes is asked for again after a moment, where it stood long enough; else it counts as an attempt that
/// failed.
#[test]
fn grace_and_steady() {
    let retry = alice().connections[0].retry_interval;
    for (stood, wait) in [(STEADY - SECOND, retry), (STEADY, GRACE)] {
        let restarts = alice().ending(EndAction::Restart).starting(StartAction::Start);
        let mut world = world(2).peers(restarts, bob());
        world.until(established);
        world.run(stood);
        world.order("bob", Order::Down(Target::Child("net".to_string(), "lan".to_string())));
        world.until(answered);
        let down = |event: &Event| matches!(event, Event::ChildDown(_, _, Fate::DeletedByPeer));
        let gone = world.host("alice").events.iter().find(|(_, event)| down(event)).map(|(at, _)| *at);
        let gone = gone.expect("the child is gone");
        world.run(retry + SECOND);
        let again = world.wire.iter().find_map(|(at, datagram)| {
            let peek = datagram.peek().filter(|peek| peek.exchange == ExchangeType::CREATE_CHILD_SA.0)?;
            (*at > gone && !peek.response).then_some(*at)
        });
        assert_eq!(again.map(|at| at.since(gone)), Some(wait), "after {stood:?}");
    }
}

/// Tokens of quick crash detection (RFC 6290 §5): what is shorter or longer is none.
#[test]
fn token_range() {
    for (octets, counts) in [
        (*TOKEN_RANGE.start() - 1, false),
        (*TOKEN_RANGE.start(), true),
        (*TOKEN_RANGE.end(), true),
        (*TOKEN_RANGE.end() + 1, false),
    ] {
        let token = || notify(NotifyType::QUICK_CRASH_DETECTION, vec![5; octets]);
        let mut world = world(3).site(alice());
        let mut bob = Puppet::bob();
        world.up("alice");
        bob.answer_init(&mut world);
        let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
        let mut payloads = bob.auth_payloads();
        payloads.push(token());
        bob.reply(&mut world, &header, &payloads);
        world.run(SECOND);
        let flags = Flags { initiator: false, version: false, response: true };
        let (i, r) = (bob.spis.initiator, bob.spis.responder);
        let header = wire::Header::new(i, r, ExchangeType::INFORMATIONAL, flags, base::MessageId(0));
        let payloads = vec![notify(NotifyType::INVALID_IKE_SPI, Vec::new()), token()];
        bob.send(&mut world, &Message { header, payloads }.emit());
        world.run(Duration::from_millis(50));
        assert_eq!(world.status("alice").is_empty(), counts, "{octets} octets");
    }
}

/// A gateway that names a hundred name servers, and a hundred domains.
#[test]
fn max_received() {
    let client = alice().child(|child| child.local_ts.clear()).with(|connection| {
        connection.configuration.vips = vec![sim::site::ip("0.0.0.0")];
    });
    let mut world = world(4).site(client);
    world.up("alice");
    let mut bob = Puppet::bob();
    bob.answer_init(&mut world);
    let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
    let ip4 = |kind, last: u8| CfgAttribute::new(kind, &CfgValue::Ip4([10, 2, 0, last].into()));
    let domain = |n: u8| CfgAttribute {
        kind: CfgAttributeType::INTERNAL_DNS_DOMAIN,
        value: format!("d{n}.example").into_bytes().into(),
    };
    let attributes = [ip4(CfgAttributeType::INTERNAL_IP4_ADDRESS, 9)]
        .into_iter()
        .chain((1..=100).map(|last| ip4(CfgAttributeType::INTERNAL_IP4_DNS, last)))
        .chain((1..=100).map(domain));
    let reply = Configuration { kind: CfgType::REPLY, attributes: attributes.collect() };
    let mut payloads = bob.auth_payloads();
    let child = payloads.split_off(2);
    payloads.push(Payload::Cp(reply));
    payloads.extend(child);
    payloads.retain(|payload| payload.kind() != PayloadType::TSI);
    payloads.push(Payload::TsI(vec![suite::puppet::network(2)]));
    bob.reply(&mut world, &header, &payloads);
    world.run(SECOND);
    let received = world.status("alice")[0].received.clone().expect("what it received");
    assert_eq!((received.dns.len(), received.domains.len()), (MAX_RECEIVED, MAX_RECEIVED));
}

/// A gateway that wants us to prove ourselves anew at once, again and again, waits.
#[test]
fn least_authentication() {
    let mut world = world(5).site(alice());
    world.up("alice");
    let mut bob = Puppet::bob();
    bob.answer_init(&mut world);
    let (header, _) = bob.asked(&mut world).expect("IKE_AUTH");
    let mut payloads = bob.auth_payloads();
    payloads.push(notify(NotifyType::AUTH_LIFETIME, vec![0, 0, 0, 1]));
    bob.reply(&mut world, &header, &payloads);
    let before = world.wire.len();
    world.run(LEAST_AUTHENTICATION - SECOND);
    assert_eq!(world.wire.len(), before, "nothing is sent yet");
    world.run(2 * SECOND);
    let again = world.wire[before..].iter().filter_map(|(_, datagram)| datagram.peek());
    assert!(again.filter(|peek| peek.exchange == ExchangeType::IKE_SA_INIT.0).count() >= 1);
}

fn quiet(site: Site) -> Site {
    site.with(|connection| connection.dpd_delay = Duration::ZERO)
}

/// A peer that is always busy is asked again after a while each time, and not for ever.
//= rfc7296 §2.25
//# a peer that receives a TEMPORARY_FAILURE notification MUST NOT immediately retry the operation; it MUST wait
#[test]
fn retry_wait_and_busy_patience() {
    let mut world = world(6).site(quiet(alice()));
    world.up("alice");
    let mut bob = Puppet::bob();
    bob.establish(&mut world);
    world.order("alice", Order::Rekey(Target::Child("net".to_string(), "lan".to_string())));
    let first = world.now();
    let mut asked = Vec::new();
    while world.now() < first + 2 * BUSY_PATIENCE {
        let Some((header, _)) = bob.asked(&mut world) else { continue };
        if header.exchange == ExchangeType::CREATE_CHILD_SA {
            asked.push(world.now());
            bob.reply(&mut world, &header, &[notify(NotifyType::TEMPORARY_FAILURE, Vec::new())]);
        }
    }
    // A puppet looks each ten milliseconds.
    let slack = Duration::from_millis(50);
    for pair in asked.windows(2) {
        let wait = pair[1].since(pair[0]);
        assert!((RETRY_WAIT - slack..=RETRY_WAIT + RETRY_SPREAD + slack).contains(&wait), "{wait:?}");
    }
    let last = asked.last().expect("it was asked").since(first);
    assert!((BUSY_PATIENCE..=BUSY_PATIENCE + RETRY_WAIT + RETRY_SPREAD).contains(&last), "{last:?}");
    assert!(world.status("alice").is_empty(), "both sides are out of step");
}

/// The answer to the request that ended an IKE SA is given once more for a while.
#[test]
fn linger() {
    for (later, answered) in [(LINGER - SECOND, true), (LINGER + SECOND, false)] {
        let mut world = world(7).site(bob());
        let mut alice = Puppet::alice();
        alice.establish(&mut world);
        let delete = alice.request(ExchangeType::INFORMATIONAL, &[Payload::Delete(wire::Delete::ike_sa())]);
        alice.send(&mut world, &delete);
        let answer = alice.hear(&mut world).expect("an answer");
        assert!(world.status("bob").iter().all(|sa| sa.state != "established"));
        world.run(later);
        alice.deaf(&world);
        alice.send(&mut world, &delete);
        assert_eq!(alice.hear(&mut world) == Some(answer), answered, "after {later:?}");
    }
}

/// Whoever wants an IKE SA gone does not wait for a silent peer as long as otherwise.
#[test]
fn delete_transmissions() {
    let mut world = world(8).peers(quiet(alice()), bob());
    world.up("alice");
    world.until(established);
    world.attack(|scene| scene.take());
    let before = world.wire.len();
    world.down("alice");
    world.run(Duration::from_secs(600));
    let own = world.host("alice").public_address();
    let sent = world.wire[before..].iter().filter(|(_, datagram)| datagram.from.ip() == own).count();
    assert_eq!(sent, DELETE_TRANSMISSIONS as usize);
    assert!(world.status("alice").is_empty());
}

/// Unprotected INVALID_SPI are looked into so often in a second; a true one among more is not seen.
#[test]
fn hints_per_second() {
    for (others, counts) in [(HINTS_PER_SECOND - 1, true), (HINTS_PER_SECOND, false)] {
        let mut world = world(9).peers(quiet(alice()), quiet(bob()));
        world.up("alice");
        world.until(established);
        let spi =
            world.host("alice").dataplane.sad().next().map(|spec| spec.outbound.spi.0).expect("a child");
        let place = |address: &str| format!("{address}:500").parse().expect("an address");
        let hint = |spi: u32| {
            let flags = Flags { initiator: true, version: false, response: false };
            let (own, none) = (base::IkeSpi(77), base::IkeSpi(0));
            let header = wire::Header::new(own, none, ExchangeType::INFORMATIONAL, flags, base::MessageId(0));
            let payloads = vec![notify(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec())];
            let message = Message { header, payloads }.emit();
            Datagram::ike(place("198.51.100.2"), place("192.0.2.1"), &message)
        };
        world.run(2 * SECOND);
        let before = world.wire.len();
        for n in 0..others {
            world.inject(Duration::from_millis(u64::from(n)), hint(spi ^ 1));
        }
        world.inject(Duration::from_millis(500), hint(spi));
        world.run(SECOND);
        assert_eq!(world.wire.len() > before, counts, "after {others} others");
    }
}

/// A peer that narrows each child to less than the packet wants gets no more of them for a long while.
#[test]
fn misses_and_missed_rest() {
    let narrow = bob().child(|child| child.local_ts = vec![sim::site::net("10.2.64.0/18")]);
    let mut world = world(10).peers(quiet(alice()).starting(StartAction::Trap), quiet(narrow));
    world.run(SECOND);
    let id = world.host("alice").dataplane.traps().next().expect("a trap").id;
    let packet = Flow::udp(sim::site::ip("10.1.0.1"), sim::site::ip("10.2.0.1")).selectors();
    let acquire = |world: &mut World| world.dataplane_event("alice", DataplaneEvent::Acquire { id, packet });
    let children = |world: &mut World| world.status("alice")[0].children.len() as u32;
    for _ in 0..100 {
        acquire(&mut world);
        world.run(10 * SECOND);
    }
    assert_eq!(children(&mut world), MISSES);
    world.run(MISSED_REST);
    acquire(&mut world);
    world.run(10 * SECOND);
    assert_eq!(children(&mut world), MISSES + 1);
}

/// A cookie that is longer than one may be is none.
#[test]
fn cookie_range() {
    for (octets, counts) in
        [(0, false), (1, true), (*COOKIE_RANGE.end(), true), (*COOKIE_RANGE.end() + 1, false)]
    {
        let mut world = world(11).site(alice());
        world.up("alice");
        let mut bob = Puppet::bob();
        let request = bob.hear(&mut world).expect("IKE_SA_INIT");
        let asked = Message::parse(&request).expect("IKE_SA_INIT").into_owned();
        bob.spis.initiator = asked.header.spi_i;
        let header = bob.header(ExchangeType::IKE_SA_INIT, true, 0);
        let payloads = vec![notify(NotifyType::COOKIE, vec![7; octets])];
        bob.send(&mut world, &Message { header, payloads }.emit());
        let again = bob.hear(&mut world).map(|again| Message::parse(&again).expect("a message").into_owned());
        let cookies = again.map(|again| suite::notifies(&again.payloads).contains(&NotifyType::COOKIE));
        assert_eq!(cookies == Some(true), counts, "{octets} octets");
    }
}
