//! Any chain as it comes out of an SK payload: the first octet is the first payload's type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::num::PayloadType;
use wire::{describe, emit_chain, parse_chain, strip_padding, summary};

fuzz_target!(|octets: &[u8]| {
    let [first, chain @ ..] = octets else { return };
    let _ = strip_padding(chain);
    let Ok(payloads) = parse_chain(PayloadType(*first), chain, 0) else { return };
    let mut emitted = Vec::new();
    let kind = emit_chain(&payloads, &mut emitted);
    assert_eq!(parse_chain(kind, &emitted, 0).expect("what was emitted"), payloads);
    assert!(summary(&payloads).to_string().is_ascii());
    assert!(describe(&payloads, 0).to_string().chars().all(|c| c == '\n' || !c.is_control()));
    let owned: Vec<_> = payloads.iter().cloned().map(wire::Payload::into_owned).collect();
    assert_eq!(owned, payloads);
});
