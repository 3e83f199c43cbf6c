//! Requests are sent again, responses are not (RFC 7296 §2.1, §2.4).

use sa::{Event, Fate, RefusalKind, Reply, Settings};
use std::time::Duration;
use suite::{Puppet, alice, answered, bob, world};

//= rfc7296 §2.1
//= rfc7296 §2.4
#[test]
fn s115_a_request_is_sent_again_with_growing_waits_and_then_given_up() {
    let mut world = world(1).site(alice());
    let order = world.up("alice");
    world.until(answered);
    let backoff = Settings::default().backoff;
    assert_eq!(world.wire.len(), backoff.transmissions as usize);
    let first = world.wire[0].1.clone();
    assert!(world.wire.iter().all(|(_, datagram)| *datagram == first), "octet for octet the same");
    for n in 1..world.wire.len() {
        let wait = world.wire[n].0.since(world.wire[n - 1].0);
        let wanted = backoff.wait(n as u32);
        let (least, most) = (wanted.mul_f64(0.74), wanted.mul_f64(1.26));
        assert!((least..=most).contains(&wait), "after transmission {n}: {wait:?}, not about {wanted:?}");
    }
    match world.reply(order) {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.kind, RefusalKind::Silent),
        other => panic!("{other:?}"),
    }
    let silent = |e: &Event| matches!(e, Event::IkeDown(_, Fate::Silent { sent, .. }) if *sent == backoff.transmissions);
    assert_eq!(world.host("alice").count(silent), 1);
}

/// CVE-2016-5361: a responder sends one answer for one request, however long it waits for the next one.
//= rfc7296 §2.1
#[test]
fn cve_2016_5361_a_responder_does_not_send_again_by_itself() {
    let mut world = world(2).site(bob());
    let mut alice = Puppet::alice();
    let payloads = alice.init_payloads();
    let request = alice.init_request(payloads);
    alice.send(&mut world, &request);
    world.run(Duration::from_secs(600));
    assert_eq!(world.wire.len(), 1);
    let (sent, received) = (world.wire[0].1.payload.len(), request.len());
    assert!(sent < 4 * received, "{sent} octets for {received}");
    assert!(world.status("bob").is_empty(), "the half-open SA is given up");
}

/// One lost datagram at a time, whichever it is, costs a wait and nothing else.
#[test]
fn any_single_loss_is_repaired() {
    for lost in 0..4 {
        let mut seen = 0;
        let mut world = world(3).peers(alice(), bob()).attacked(move |scene| {
            if seen == lost {
                scene.take();
            }
            seen += 1;
        });
        world.up("alice");
        world.until(suite::established);
        assert_eq!((world.status("alice").len(), world.status("bob").len()), (1, 1), "{lost}");
    }
}
