//! What peers write does not write our log (CVE-2023-28771: strings of a peer that were carried out).

use sa::Event;
use suite::{Puppet, bob, world};
use wire::num::{ExchangeType, IdType};
use wire::{Identification, Notify, Payload};

/// Escape sequences, line ends, quotes and bidirectional marks in every text that a peer can send.
#[test]
fn s182_control_characters_of_a_peer_do_not_reach_the_log() {
    let nasty = "\x1b[31mroot\x07\r\n2026-01-01 handfast: all is well\t$(reboot)`id`\u{202e}".as_bytes();
    for kind in [IdType::FQDN, IdType::RFC822_ADDR, IdType::KEY_ID, IdType(99)] {
        let mut world = world(1).site(bob());
        let mut alice = Puppet::alice();
        let mut payloads = alice.init_payloads();
        payloads.push(Payload::VendorId(nasty.to_vec().into()));
        payloads.push(Payload::Notify(Notify::new(wire::num::NotifyType(40_000), nasty.to_vec())));
        let request = alice.init_request(payloads);
        alice.send(&mut world, &request);
        let response = alice.hear(&mut world).expect("a response");
        alice.accept_init(&response);
        let mut payloads = alice.auth_payloads();
        payloads[0] = Payload::IdI(Identification::new(kind, nasty.to_vec()));
        payloads.push(Payload::Notify(Notify::new(wire::num::NotifyType::REDIRECT, nasty.to_vec())));
        alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
        let mut lines = 0;
        for (_, event) in &world.host("bob").events {
            let text = match event {
                Event::Refused { refusal, .. } => refusal.reason.clone(),
                Event::Note { text, .. } => text.clone(),
                Event::Message(trace) => trace.payloads.clone(),
                Event::IkeDown(facts, fate) => {
                    let id = facts.remote_id.as_ref().map(ToString::to_string).unwrap_or_default();
                    format!("{id} {fate:?}")
                }
                _ => continue,
            };
            assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{kind}: {text:?}");
            lines += 1;
        }
        assert!(lines >= 4);
    }
}

/// CVE-2018-0131 and others aside: a secret that a peer guesses right in an identity does not show what is right.
#[test]
fn the_log_of_a_wrong_psk_has_no_secret() {
    let mut world = world(2).site(bob());
    let mut alice = Puppet::alice();
    alice.init(&mut world);
    alice.psk = b"guess".to_vec();
    let payloads = alice.auth_payloads();
    alice.ask(&mut world, ExchangeType::IKE_AUTH, &payloads).expect("an answer");
    let told = format!("{:?}", world.host("bob").events);
    assert!(!told.contains(std::str::from_utf8(sim::site::PSK).unwrap()));
    assert!(!told.contains("guess"));
}
