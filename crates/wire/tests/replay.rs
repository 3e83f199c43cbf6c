//! What fuzzers found worth keeping, and a cheap fuzzer of our own: nothing panics, and what parses is emitted as
//! something that parses alike.

use std::path::Path;
use testkit::{Chance, corpus, files, hex, not_run, pcap, read};
use wire::num::PayloadType;
use wire::*;

/// Parses a datagram in every way there is; true when it is a message.
fn exercise(octets: &[u8]) -> bool {
    let _ = Sealed::locate(octets);
    let Ok(message) = Message::parse(octets) else { return false };
    let emitted = message.emit();
    let again = Message::parse(&emitted).expect("what was emitted");
    assert_eq!(again.payloads, message.payloads);
    assert_eq!(again.emit(), emitted);
    for direction in [allowed::Direction::Request, allowed::Direction::Response] {
        let _ = allowed::classify(message.header.exchange, direction, &[], &message.payloads);
    }
    true
}

/// As `exercise`, with a header length that agrees, so that the payloads are reached.
fn exercise_chain(octets: &mut [u8]) -> bool {
    let length = octets.len() as u32;
    if let Some(field) = octets.get_mut(24..28) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    exercise(octets)
}

/// Messages with every kind of payload, from the corpus of the fuzz targets in this repository.
fn seeds() -> Vec<Vec<u8>> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/wire_parse"));
    files(directory).iter().map(|path| read(path)).collect()
}

#[test]
fn our_own_seeds_are_replayed() {
    let seeds = seeds();
    let good = seeds.iter().filter(|seed| exercise(seed)).count();
    assert!(good >= 6, "{good} of {} seeds are messages", seeds.len());
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/wire_payload"));
    for path in files(directory) {
        if let [kind, body @ ..] = &read(&path)[..] {
            let _ = parse_chain(PayloadType(*kind), body, 0);
        }
    }
}

#[test]
fn mutated_messages_are_read_or_refused() {
    let seeds = seeds();
    let mut chance = Chance::new(7296);
    let mut good = 0;
    const ROUNDS: usize = 200_000;
    for round in 0..ROUNDS {
        let mut octets = seeds[round % seeds.len()].clone();
        chance.mutate(&mut octets);
        good += usize::from(exercise_chain(&mut octets));
    }
    // A mutation of data survives, one of a length does not: both must be common, else the test reaches little.
    assert!(good > ROUNDS / 10 && good < ROUNDS * 9 / 10, "{good} of {ROUNDS} were messages");
}

#[test]
fn mutated_captures_are_read_or_refused() {
    let Some(root) = corpus("mutated_captures_are_read_or_refused", "golden") else { return };
    let mut chance = Chance::new(7383);
    for capture in files(&root).into_iter().filter(|path| path.ends_with("cap.pcap")) {
        for datagram in pcap::ike(&read(&capture)).expect("a capture") {
            for _ in 0..50 {
                let mut octets = datagram.payload.clone();
                chance.mutate(&mut octets);
                exercise_chain(&mut octets);
            }
        }
    }
}

/// OpenIKED's inputs: 15,762 messages that its fuzzer found to take different ways through its parser.
#[test]
fn s172_openikeds_fuzz_inputs_are_read_or_refused() {
    const NAME: &str = "s172_openikeds_fuzz_inputs_are_read_or_refused";
    let Some(archive) = corpus(NAME, "fuzz/openiked-corpus.tar.xz") else { return };
    let Some(archive) = testkit::unpack_xz(&archive) else {
        return not_run(NAME, "no xz on this machine");
    };
    let (mut inputs, mut good) = (0, 0);
    for file in testkit::tar(&archive) {
        inputs += 1;
        exercise(file);
        exercise_chain(&mut file.to_vec());
        exercise_chain(&mut [&[0xca; 16], file].concat());
        for kind in 0..=u8::MAX {
            good += usize::from(parse_chain(PayloadType(kind), file, 0).is_ok());
        }
    }
    println!("SUMMARY: wire: {inputs} of OpenIKED's fuzz inputs replayed, read as a chain {good} times");
    assert_eq!(inputs, 15_762, "inputs");
}

/// OpenIKED's payload templates, each the body of a chain of its type.
#[test]
fn openikeds_payload_templates_are_read() {
    let name = "fuzz/openiked-regress/payload_templates.json";
    let Some(path) = corpus("openikeds_payload_templates_are_read", name) else { return };
    let templates = testkit::Tree::parse(&read(&path));
    let payloads = templates.get("payloads").expect("payloads");
    let chain = |name: &str| hex(payloads.text(name).unwrap_or_else(|| panic!("no {name}")));
    for (name, kind, words) in [
        ("saxform_pld", PayloadType::SA, "SA"),
        ("ke_pld", PayloadType::KE, "KE"),
        ("nonce_pld", PayloadType::NONCE, "No"),
        ("id_pld", PayloadType::IDI, "IDi"),
        ("certreq_pld", PayloadType::CERTREQ, "CERTREQ"),
        ("auth_pld", PayloadType::AUTH, "AUTH"),
        ("delete_pld", PayloadType::DELETE, "D D"),
        ("vendor_pld", PayloadType::VENDOR_ID, "V"),
        ("ts_pld", PayloadType::TSI, "TSi"),
        ("sk_pld", PayloadType::SK, "SK"),
        ("skf_1of1_pld", PayloadType::SKF, "SKF(1/1)"),
    ] {
        let octets = chain(name);
        let read = parse_chain(kind, &octets, 0).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(summary(&read).to_string(), words, "{name}");
        let mut emitted = Vec::new();
        emit_chain(&read, &mut emitted);
        assert_eq!(emitted, octets, "{name}");
    }
}
