//! Limits of `ikev2` and `endpoint` by name, each just missed and just hit.

use endpoint::limits::{GRACE, RESOLVE_PATIENCE, STEADY};
use ikev2::limits::{LEAST_AUTHENTICATION, MAX_RECEIVED, TOKEN_RANGE};
use policy::{EndAction, StartAction};
use sa::{Event, Fate, Order, Target};
use sim::established;
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
