//! Quick crash detection (RFC 6290): tokens of a peer that has lost its memory.

use base::{IkeSpi, Secret};
use policy::EndAction;
use sa::{Event, Fate};
use sim::{Site, established};
use std::time::Duration;
use suite::{Puppet, World, alice, bob, notifies, world};
use wire::num::{ExchangeType, NotifyType, ProtocolId};
use wire::{Flags, Message, Notify, Payload};

const SECOND: Duration = Duration::from_secs(1);

/// Gives tokens, the same after a restart.
fn persistent(mut site: Site, secret: u8) -> Site {
    site.settings.crash_secret = Some(Secret::new([secret; 32]));
    site
}

fn restarts(site: Site) -> Site {
    site.child(|child| child.dpd_action = EndAction::Restart)
}

fn crashed(world: &World, name: &str) -> usize {
    world.host(name).count(|event| matches!(event, Event::IkeDown(_, Fate::Crashed)))
}

fn token(data: &[u8]) -> Payload<'static> {
    let notify = Notify::new(NotifyType::QUICK_CRASH_DETECTION, data.to_vec());
    Payload::Notify(Notify { protocol: ProtocolId::IKE, ..notify })
}

fn forgotten() -> Payload<'static> {
    Payload::Notify(Notify::new(NotifyType::INVALID_IKE_SPI, Vec::new()))
}

fn token_of(payloads: &[Payload<'_>]) -> Option<Vec<u8>> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::QUICK_CRASH_DETECTION => {
            assert_eq!(notify.protocol, ProtocolId::IKE);
            Some(notify.data.to_vec())
        }
        _ => None,
    })
}

/// The gateway crashes; the client's next request brings the tunnel back in less than a second.
//= rfc6290 §4
#[test]
fn a_gateway_without_memory_is_noticed_at_once() {
    let mut world = world(1).peers(restarts(alice()), persistent(bob(), 1));
    world.up("alice");
    world.until(established);
    world.run(SECOND);
    let before = world.status("alice")[0].spi_i;
    world.crash("bob");
    let ike = world.status("alice")[0].id;
    let began = world.now();
    world.order("alice", sa::Order::Probe(ike));
    world.until(|world| world.host("bob").dataplane.sad().count() == 1);
    assert!(world.now().since(began) < SECOND, "{:?}", world.now().since(began));
    world.run(SECOND);
    let after = world.status("alice");
    assert_eq!((after.len(), after[0].state), (1, "established"));
    assert_ne!(after[0].spi_i, before);
    assert_eq!((crashed(&world, "alice"), world.host("alice").dataplane.sad().count()), (1, 1));
}

/// Also after new keys, from whichever side they came.
//= rfc6290 §4.3
#[test]
fn the_token_is_renewed_with_the_keys() {
    for who in ["alice", "bob"] {
        let mut world = world(2).peers(restarts(persistent(alice(), 2)), persistent(bob(), 1));
        world.up("alice");
        world.until(established);
        world.order(who, sa::Order::Rekey(sa::Target::All));
        world.run(SECOND);
        world.crash("bob");
        let ike = world.status("alice")[0].id;
        world.order("alice", sa::Order::Probe(ike));
        world.run(SECOND);
        assert_eq!(crashed(&world, "alice"), 1, "rekeyed by {who}");
        assert_eq!(world.host("bob").dataplane.sad().count(), 1);
    }
}

/// With another secret the tokens do not fit: a probe decides, as without tokens.
#[test]
fn a_new_secret_makes_no_old_tokens() {
    let mut world = world(3).site(alice());
    let mut bob = Puppet::bob();
    world.up("alice");
    bob.answer_init(&mut world);
    let (header, payloads) = bob.asked(&mut world).expect("IKE_AUTH");
    assert!(token_of(&payloads).is_none(), "we have no secret, and give no token");
    let mut payloads = bob.auth_payloads();
    payloads.push(token(&[5; 32]));
    bob.reply(&mut world, &header, &payloads);
    world.run(SECOND);
    let show = |bob: &Puppet, spis: crypto::Spis, tokens: Vec<Payload<'static>>| {
        let flags = Flags { initiator: false, version: false, response: true };
        let (i, r) = (spis.initiator, spis.responder);
        let header = wire::Header::new(i, r, ExchangeType::INFORMATIONAL, flags, base::MessageId(0));
        let payloads = [forgotten()].into_iter().chain(tokens).collect();
        (bob.address, Message { header, payloads }.emit())
    };
    let odd: Vec<Vec<Payload<'static>>> = vec![
        vec![],
        vec![token(&[])],
        vec![token(&[5; 31])],
        vec![token(&[5; 33])],
        vec![token(&[4; 32])],
        (0..5).map(|n| if n == 4 { token(&[5; 32]) } else { token(&[n; 32]) }).collect(),
    ];
    for tokens in odd {
        let (_, message) = show(&bob, bob.spis, tokens);
        bob.send(&mut world, &message);
        world.run(Duration::from_millis(50));
        assert_eq!((world.status("alice").len(), crashed(&world, "alice")), (1, 0));
    }
    // The right token with another's SPI.
    let other = crypto::Spis { responder: IkeSpi(9), ..bob.spis };
    let (_, message) = show(&bob, other, vec![token(&[5; 32])]);
    bob.send(&mut world, &message);
    world.run(Duration::from_millis(50));
    assert_eq!(crashed(&world, "alice"), 0, "the token is of one pair of SPIs");
    // The right one, the fourth of four, from anywhere.
    let tokens = (2..6).map(|n| token(&[n; 32])).collect();
    let (_, message) = show(&bob, bob.spis, tokens);
    bob.address = "203.0.113.66:500".parse().unwrap();
    bob.send(&mut world, &message);
    world.run(Duration::from_millis(50));
    assert_eq!((world.status("alice").len(), crashed(&world, "alice")), (0, 1));
    assert_eq!(world.host("alice").dataplane.sad().count(), 0);
}

/// Nobody gets the token of an IKE SA that stands, nor any token without a protected request.
#[test]
fn tokens_of_what_stands_are_not_given_away() {
    let mut world = world(4).site(persistent(bob(), 1));
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let payloads = alice.auth_payloads();
    let answer = alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    let real = token_of(&answer).expect("a token");
    assert_eq!(real.len(), 16);
    let begun = world.wire.len();
    let crypto::Spis { initiator: i, responder: r } = alice.spis;
    for (spi_i, spi_r) in [(i, r), (r, i), (IkeSpi(5), r), (i, IkeSpi(5)), (r, IkeSpi(5)), (IkeSpi(5), i)] {
        for initiator in [true, false] {
            let flags = Flags { initiator, version: false, response: false };
            let header =
                wire::Header::new(spi_i, spi_r, ExchangeType::INFORMATIONAL, flags, base::MessageId(7));
            let message = alice.seal(&header, &[]);
            alice.send(&mut world, &message);
            world.run(Duration::from_millis(20));
        }
    }
    let told = world.wire[begun..].iter().filter(|(_, d)| d.message().windows(16).any(|w| w == real)).count();
    assert_eq!(told, 0);
    assert_eq!(world.status("bob").len(), 1);
    // Unprotected requests, and responses, get no token.
    for response in [true, false] {
        let flags = Flags { initiator: true, version: false, response };
        let header =
            wire::Header::new(IkeSpi(3), IkeSpi(4), ExchangeType::INFORMATIONAL, flags, base::MessageId(0));
        let payloads = vec![forgotten()];
        alice.send(&mut world, &Message { header, payloads }.emit());
        world.run(Duration::from_millis(20));
    }
    let kinds: Vec<NotifyType> = world.wire[begun..]
        .iter()
        .filter(|(_, d)| d.from.ip() == world.host("bob").address)
        .filter_map(|(_, d)| Message::parse(d.message()).ok())
        .filter(|message| message.header.spi_i == IkeSpi(3))
        .flat_map(|message| notifies(&message.payloads))
        .collect();
    assert_eq!(kinds, [NotifyType::INVALID_IKE_SPI]);
}

/// So many tokens a second and no more, whoever asks.
#[test]
fn tokens_are_rate_limited() {
    let mut world = world(5).site(persistent(bob(), 1));
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    let begun = world.wire.len();
    for n in 0..1000 {
        let flags = Flags { initiator: true, version: false, response: false };
        let header = wire::Header::new(
            IkeSpi(1),
            IkeSpi(1000 + n),
            ExchangeType::INFORMATIONAL,
            flags,
            base::MessageId(1),
        );
        let message = alice.seal(&header, &[]);
        alice.send(&mut world, &message);
    }
    world.run(Duration::from_millis(10));
    let answers =
        world.wire[begun..].iter().filter(|(_, d)| d.from.ip() == world.host("bob").address).count();
    assert!(answers > 0 && answers <= sa::limits::UNPROTECTED_ANSWERS_PER_SECOND as usize + 1, "{answers}");
}

/// A peer that has no address in the configuration is met where it has just been, for all its children at once.
//= rfc6290 §4
#[test]
fn whoever_cannot_be_called_is_met_where_it_has_just_been() {
    for callable in [true, false] {
        let more =
            |site: Site, own: &str, other: &str| site.also("dmz", own, other).ending(EndAction::Restart);
        let one = more(persistent(alice(), 2), "10.9.1.0/24", "10.9.2.0/24");
        let other = more(bob(), "10.9.2.0/24", "10.9.1.0/24");
        let any = |site: Site| site.with(|c| c.remote_addrs = vec![policy::AddressPattern::Any]);
        let mut world = world(6).peers(one, if callable { other } else { any(other) });
        world.up("alice");
        world.until(established);
        world.run(SECOND);
        world.crash("alice");
        let wire = world.wire.len();
        let ike = world.status("bob")[0].id;
        world.order("bob", sa::Order::Probe(ike));
        world.run(2 * SECOND);
        assert_eq!(crashed(&world, "bob"), 1, "{callable}");
        let after = world.status("alice");
        assert_eq!((after.len(), after[0].children.len()), (1, 2), "{callable}");
        let begun = world.wire[wire..].iter().filter(|(_, d)| d.message()[18] == 34).count();
        assert_eq!(begun, 2, "one request and its answer, {callable}");
        assert_eq!(world.host("bob").lookups.len(), usize::from(callable));
        world.run(30 * SECOND);
        assert_eq!(world.status("bob")[0].children.len(), 2, "{callable}");
    }
}
