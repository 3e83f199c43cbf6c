//! Any datagram: parsed or refused, never a panic; what parses is emitted as something that parses alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::{Message, Sealed, allowed, limits};

fuzz_target!(|octets: &[u8]| {
    let _ = Sealed::locate(octets);
    exercise(octets);
    // With a header length that agrees, so that the payloads are reached.
    let mut framed = octets.to_vec();
    if framed.len() >= limits::HEADER_LEN {
        let length = framed.len() as u32;
        framed[24..28].copy_from_slice(&length.to_be_bytes());
        exercise(&framed);
    }
});

fn exercise(octets: &[u8]) {
    let Ok(message) = Message::parse(octets) else { return };
    let emitted = message.emit();
    let again = Message::parse(&emitted).expect("what was emitted");
    assert_eq!(again.payloads, message.payloads);
    assert_eq!(again.emit(), emitted);
    assert!(message.to_string().chars().all(|c| c == '\n' || !c.is_control()));
    for direction in [allowed::Direction::Request, allowed::Direction::Response] {
        let _ = allowed::classify(message.header.exchange, direction, &[], &message.payloads);
    }
}
