//! The rules of RFC 7296 and RFC 7383 that have their place in parsing, and every limit.

use base::{IkeSpi, MessageId};
use testkit::hex;
use wire::num::*;
use wire::*;

fn header() -> Header {
    let flags = Flags { initiator: true, ..Flags::default() };
    Header::new(IkeSpi(0x0102), IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, MessageId(0))
}

fn message(payloads: Vec<Payload<'static>>) -> Vec<u8> {
    Message { header: header(), payloads }.emit()
}

/// A datagram with that chain after the header.
fn datagram(first: PayloadType, chain: &[u8]) -> Vec<u8> {
    let length = (limits::HEADER_LEN + chain.len()) as u32;
    [&Header { next_payload: first, length, ..header() }.emit()[..], chain].concat()
}

fn refused(first: PayloadType, chain: &[u8]) -> ParseError {
    Message::parse(&datagram(first, chain)).expect_err("a refusal")
}

fn payload(kind: PayloadType, body: &[u8]) -> Result<Payload<'_>, ParseError> {
    Payload::parse(RawPayload { kind, critical: false, next: PayloadType::NONE, body, at: 32 })
}

//= rfc7296 §3.1
#[test]
fn the_length_is_the_datagrams() {
    let mut octets = message(vec![]);
    octets.push(0);
    let error = Message::parse(&octets).unwrap_err();
    assert_eq!(error.problem, Problem::Mismatch { what: "the header's length", said: 28, real: 29 });
    assert_eq!((error.at, error.section), (24, "RFC 7296 §3.1"));
    assert_eq!(
        error.to_string(),
        "the header's length says 28 where 29 is right (at octet 24, RFC 7296 §3.1)"
    );
    assert!(matches!(Header::parse(&octets[..27]).unwrap_err().problem, Problem::Truncated { need: 28, .. }));
}

//= rfc7296 §2.5
#[test]
fn the_minor_version_and_reserved_bits_do_not_matter() {
    let mut octets = message(vec![]);
    octets[17] = 0x2f;
    octets[19] |= 0xc7;
    let header = Header::parse(&octets).unwrap();
    assert_eq!(header.minor, 15);
    assert_eq!(header.flags, Flags { initiator: true, ..Flags::default() });
    assert_eq!(header.emit()[19], 0x08, "reserved bits are sent as zero");
}

//= rfc7296 §2.5
#[test]
fn another_major_version_is_told_apart() {
    let mut octets = message(vec![]);
    for (version, major) in [(0x10, 1), (0x30, 3), (0xf0, 15)] {
        octets[17] = version;
        assert_eq!(Header::parse(&octets).unwrap_err().problem, Problem::MajorVersion(major));
        assert_eq!(Header::peek(&octets).unwrap().major, major);
    }
}

//= rfc7296 §2.5
#[test]
fn the_critical_bit_counts_where_the_payload_is_unknown() {
    let chain = hex("28 80 0004"); // an unknown payload, then a nonce
    let nonce = [&hex("00 80 0014")[..], &[7; 16]].concat();
    let octets = datagram(PayloadType(200), &[chain, nonce].concat());
    let message = Message::parse(&octets).unwrap();
    let critical: Vec<bool> = message.payloads.iter().map(Payload::is_unsupported_critical).collect();
    assert_eq!(critical, [true, false]);
    assert_eq!(summary(&message.payloads).to_string(), "PayloadType(200)! No");
    let emitted = message.emit();
    assert_eq!(emitted[29], 0x80);
    assert_eq!(emitted[33], 0, "a payload that everybody knows is sent without the critical bit");
}

//= rfc7296 §3.14
#[test]
fn nothing_follows_the_encrypted_payload() {
    let error = refused(PayloadType::SK, &hex("21 00 0006 abcd 00 00 0004"));
    assert!(matches!(error.problem, Problem::Trailing { octets: 4, .. }), "{error}");
    let located = Sealed::locate(&datagram(PayloadType::SK, &hex("21 00 0006 abcd 00 00 0004")));
    assert_eq!(located, Err(error));
    let octets = datagram(PayloadType::NOTIFY, &hex("2e 00 0008 00 00 4000 21 00 0006 abcd"));
    let sealed = Sealed::locate(&octets).unwrap().unwrap();
    assert_eq!((sealed.aad, sealed.body, sealed.first), (0..40, 40..42, PayloadType::SA));
    assert_eq!(Sealed::locate(&message(vec![])), Ok(None));
}

//= rfc7383 §2.6
#[test]
fn a_fragment_is_one_of_its_total() {
    for (number, good) in
        [("0001 0001", true), ("0002 0002", true), ("0000 0001", false), ("0003 0002", false)]
    {
        let octets = datagram(PayloadType::SKF, &hex(&format!("00 00 0009 {number} ab")));
        assert_eq!(Message::parse(&octets).is_ok(), good, "{number}");
        assert_eq!(Sealed::locate(&octets).is_ok(), good, "{number}");
    }
}

#[test]
fn s174_a_payload_length_below_its_header_is_refused() {
    for length in 0..4 {
        let error = refused(PayloadType::NOTIFY, &[0, 0, 0, length]);
        assert_eq!(error.problem, Problem::Value { what: "a payload's length", value: length.into() });
        assert_eq!(error.at, 30);
    }
}

#[test]
fn s174_octets_behind_the_last_payload_are_refused() {
    let error = refused(PayloadType::VENDOR_ID, &hex("00 00 0005 aa bb"));
    assert!(matches!(error.problem, Problem::Trailing { octets: 1, .. }), "{error}");
    assert_eq!(error.at, 33);
}

//= rfc7296 §3.9
#[test]
fn a_nonce_has_16_to_256_octets() {
    for (length, good) in [(15, false), (16, true), (256, true), (257, false)] {
        assert_eq!(payload(PayloadType::NONCE, &vec![0; length]).is_ok(), good, "{length}");
    }
}

//= rfc7296 §3.3
#[test]
fn lengths_and_counts_of_proposals_agree() {
    let good = "00 00 0014 01 03 04 01 aabbccdd 00 00 0008 01 00 000c";
    let proposals = payload(PayloadType::SA, &hex(good)).is_ok();
    assert!(proposals);
    for (bad, why) in [
        ("02 00 0014 01 03 04 01 aabbccdd 00 00 0008 01 00 000c", "another proposal is promised"),
        ("00 00 0014 01 03 04 02 aabbccdd 00 00 0008 01 00 000c", "two transforms are counted"),
        ("00 00 0014 01 03 04 00 aabbccdd 00 00 0008 01 00 000c", "none is counted"),
        ("00 00 0014 01 03 04 01 aabbccdd 03 00 0008 01 00 000c", "another transform is promised"),
        ("00 00 0014 01 03 04 01 aabbccdd 00 00 0007 01 00 000c", "shorter than a transform"),
        ("00 00 0014 01 03 04 01 aabbccdd 00 00 0009 01 00 000c", "longer than the proposal"),
        ("00 00 0015 01 03 04 01 aabbccdd 00 00 0008 01 00 000c", "longer than the payload"),
        ("00 00 0007 01 03 04 01 aabbccdd 00 00 0008 01 00 000c", "shorter than a proposal"),
        ("00 00 0014 01 03 ff 01 aabbccdd 00 00 0008 01 00 000c", "the SPI is too long"),
    ] {
        assert!(payload(PayloadType::SA, &hex(bad)).is_err(), "{why}");
    }
}

#[test]
fn a_key_length_is_an_attribute_of_two_octets() {
    let body = hex("00 00 0014 01 01 00 01 00 00 000c 01 00 000c 800e 0100");
    let Ok(Payload::Sa(proposals)) = payload(PayloadType::SA, &body) else { panic!("an SA payload") };
    let transform = &proposals[0].transforms[0];
    assert_eq!(*transform, Transform::new(TransformType::ENCR, Encr::AES_CBC.0, Some(256)));
    assert_eq!((transform.key_bits(), transform.has_unknown_attribute()), (Some(256), false));
    assert_eq!(transform.to_string(), "ENCR AES_CBC 256 bits");
}

//= rfc7296 §3.3.6
#[test]
fn an_unknown_attribute_is_noticed() {
    let body = hex("00 00 0014 01 01 00 01 00 00 000c 01 00 000c 800f 0100");
    let Ok(Payload::Sa(proposals)) = payload(PayloadType::SA, &body) else { panic!("an SA payload") };
    assert!(proposals[0].transforms[0].has_unknown_attribute());
}

//= rfc3748 §4
#[test]
fn an_eap_packet_has_its_own_length() {
    let eap = hex("01 2a 0006 04 ff");
    let Ok(Payload::Eap(packet)) = payload(PayloadType::EAP, &eap) else { panic!("an EAP payload") };
    assert_eq!((packet.code(), packet.identifier()), (Some(EapCode::REQUEST), Some(0x2a)));
    assert_eq!(packet.method(), Some(EapType::MD5_CHALLENGE));
    assert!(payload(PayloadType::EAP, &hex("01 2a 0007 04 ff")).is_err());
    assert!(payload(PayloadType::EAP, &hex("01 2a 0003")).is_err());
    assert!(payload(PayloadType::EAP, &hex("01 2a 00")).is_err());
    let padded = hex("03 2a 0004 ffff");
    let success = Payload::Eap(Eap { packet: Octets::Borrowed(&padded[..4]) });
    assert_eq!(payload(PayloadType::EAP, &padded), Ok(success));
}

//= rfc7427 §3
#[test]
fn a_digital_signature_names_its_algorithm() {
    let made = DigitalSignature { algorithm: &[0x30, 0], signature: &[1, 2, 3] }.authentication();
    assert_eq!(&made.data[..], [2, 0x30, 0, 1, 2, 3]);
    let inside = made.digital_signature().unwrap();
    assert_eq!((inside.algorithm, inside.signature), (&[0x30, 0][..], &[1, 2, 3][..]));
    let short = Authentication { method: AuthMethod::DIGITAL_SIGNATURE, data: vec![9, 1].into() };
    assert_eq!(short.digital_signature(), None);
}

//= rfc7296 §3.14
#[test]
fn padding_that_is_longer_than_the_body_is_refused() {
    assert!(strip_padding(&[]).is_err());
    assert!(strip_padding(&[0, 2]).is_err());
    assert_eq!(strip_padding(&[9, 9, 2]), Ok(&[][..]));
    assert_eq!(strip_padding(&[9, 9, 0]), Ok(&[9, 9][..]));
}

fn too_many(result: Result<Payload<'_>, ParseError>) -> bool {
    matches!(result, Err(ParseError { problem: Problem::TooMany { .. }, .. }))
}

#[test]
fn payloads_are_limited() {
    let vendor_ids = |count| vec![Payload::VendorId(Octets::Borrowed(&[])); count];
    assert!(Message::parse(&message(vendor_ids(limits::MAX_PAYLOADS))).is_ok());
    let error = Message::parse(&message(vendor_ids(limits::MAX_PAYLOADS + 1))).unwrap_err();
    assert_eq!(error.problem, Problem::TooMany { what: "payloads", limit: limits::MAX_PAYLOADS });
}

fn sa(proposals: usize, transforms: usize) -> Vec<u8> {
    let transforms = vec![Transform::new(TransformType::PRF, 5, None); transforms];
    let proposal = Proposal { number: 1, protocol: ProtocolId::IKE, spi: Octets::Borrowed(&[]), transforms };
    let mut body = Vec::new();
    Payload::Sa(vec![proposal; proposals]).emit_body(&mut body);
    body
}

#[test]
fn proposals_and_transforms_are_limited() {
    assert!(payload(PayloadType::SA, &sa(limits::MAX_PROPOSALS, 1)).is_ok());
    assert!(too_many(payload(PayloadType::SA, &sa(limits::MAX_PROPOSALS + 1, 1))));
    assert!(payload(PayloadType::SA, &sa(8, limits::MAX_TRANSFORMS)).is_ok());
    assert!(payload(PayloadType::SA, &sa(limits::MAX_TRANSFORMS_PER_SA / 128, 128)).is_ok());
    assert!(too_many(payload(PayloadType::SA, &sa(limits::MAX_TRANSFORMS_PER_SA / 128 + 1, 128))));
    // More than the count field can say: the field says 255, and the rest is refused.
    assert!(payload(PayloadType::SA, &sa(1, limits::MAX_TRANSFORMS + 1)).is_err());
}

#[test]
fn attributes_of_a_transform_are_limited() {
    let body = |count| {
        let attributes = vec![Attribute::key_length(128); count];
        let transforms = vec![Transform { kind: TransformType::ENCR, id: 12, attributes }];
        let proposal =
            Proposal { number: 1, protocol: ProtocolId::IKE, spi: Octets::Borrowed(&[]), transforms };
        let mut body = Vec::new();
        Payload::Sa(vec![proposal]).emit_body(&mut body);
        body
    };
    assert!(payload(PayloadType::SA, &body(limits::MAX_ATTRIBUTES)).is_ok());
    assert!(too_many(payload(PayloadType::SA, &body(limits::MAX_ATTRIBUTES + 1))));
}

#[test]
fn selectors_are_limited_by_their_count() {
    let selector = TrafficSelector::Other { kind: TsType::SECLABEL, second: 0, body: Octets::Borrowed(b"x") };
    let body = |count| {
        let mut body = Vec::new();
        Payload::TsI(vec![selector.clone(); count]).emit_body(&mut body);
        body
    };
    assert!(payload(PayloadType::TSI, &body(limits::MAX_SELECTORS)).is_ok());
    assert!(payload(PayloadType::TSI, &body(limits::MAX_SELECTORS + 1)).is_err());
}

#[test]
fn configuration_attributes_are_limited() {
    let body = |count: usize| [&hex("01 000000")[..], &hex("0001 0000").repeat(count)].concat();
    assert!(payload(PayloadType::CP, &body(limits::MAX_CFG_ATTRIBUTES)).is_ok());
    assert!(too_many(payload(PayloadType::CP, &body(limits::MAX_CFG_ATTRIBUTES + 1))));
}

#[test]
fn deleted_spis_are_limited() {
    let body = |count: usize| [&[3, 4][..], &(count as u16).to_be_bytes(), &vec![1; 4 * count]].concat();
    assert!(payload(PayloadType::DELETE, &body(limits::MAX_DELETE_SPIS)).is_ok());
    assert!(too_many(payload(PayloadType::DELETE, &body(limits::MAX_DELETE_SPIS + 1))));
}

/// A payload above 65,535 octets has no encoding: what is emitted is refused, nothing panics.
#[test]
fn what_has_no_encoding_is_refused_on_the_other_side() {
    let long = Payload::VendorId(vec![0; 70_000].into());
    assert!(Message::parse(&message(vec![long])).is_err());
}

#[test]
fn ladders_are_readable() {
    let payloads = [
        Payload::IdI(Identification::new(IdType::FQDN, Octets::Borrowed(b"a.example"))),
        Payload::Auth(Authentication { method: AuthMethod::SHARED_KEY, data: Octets::Borrowed(&[1]) }),
        Payload::Sa(vec![]),
        Payload::TsI(vec![]),
        Payload::TsR(vec![]),
        Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, &[][..])),
    ];
    assert_eq!(summary(&payloads).to_string(), "IDi AUTH SA TSi TSr N(INITIAL_CONTACT)");
    let text = describe(&payloads, 0).to_string();
    assert!(text.starts_with("IDi ID_FQDN \"a.example\"\nAUTH Shared Key"), "{text}");
}

/// A peer's octets never reach a terminal as they are.
#[test]
fn control_characters_are_not_printed() {
    let escape = [Payload::VendorId(Octets::Borrowed(b"\x1b[2J"))];
    assert_eq!(describe(&escape, 0).to_string(), "V 1b5b324a\n");
}

#[test]
fn configured_addresses_are_readable() {
    let attribute = |kind, value: &'static [u8]| CfgAttribute { kind, value: Octets::Borrowed(value) };
    let attributes = vec![
        attribute(CfgAttributeType::INTERNAL_IP4_ADDRESS, &[10, 9, 0, 1]),
        attribute(CfgAttributeType::INTERNAL_IP4_SUBNET, &[10, 0, 0, 0, 255, 0, 0, 0]),
        attribute(
            CfgAttributeType::INTERNAL_IP6_ADDRESS,
            &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 64],
        ),
        attribute(CfgAttributeType::APPLICATION_VERSION, b"x 1"),
    ];
    let text = describe(&[Payload::Cp(Configuration { kind: CfgType::REPLY, attributes })], 0).to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let expected = [
        "CP CFG_REPLY",
        "INTERNAL_IP4_ADDRESS 10.9.0.1",
        "INTERNAL_IP4_SUBNET 10.0.0.0/255.0.0.0",
        "INTERNAL_IP6_ADDRESS 2001:db8::1/64",
        "APPLICATION_VERSION \"x 1\"",
    ];
    assert_eq!(lines, expected);
}

/// Octets on the heap that a parsed message holds; what it borrows is not counted, for it is the datagram's own.
fn held(payloads: &Vec<Payload<'_>>) -> usize {
    fn list<T>(list: &Vec<T>) -> usize {
        list.capacity() * size_of::<T>()
    }
    let inside = |payload: &Payload<'_>| match payload {
        Payload::Sa(proposals) => {
            let transforms = || proposals.iter().flat_map(|proposal| &proposal.transforms);
            list(proposals)
                + proposals.iter().map(|proposal| list(&proposal.transforms)).sum::<usize>()
                + transforms().map(|transform| list(&transform.attributes)).sum::<usize>()
        }
        Payload::TsI(selectors) | Payload::TsR(selectors) => list(selectors),
        Payload::Cp(configuration) => list(&configuration.attributes),
        _ => 0,
    };
    list(payloads) + payloads.iter().map(inside).sum::<usize>()
}

/// The messages that cost most for their size: what they make us allocate is a small multiple of what they sent, also
/// where a count field promises more than there is.
#[test]
fn allocation_is_bounded_by_the_datagram() {
    let none = || Octets::Borrowed(&[][..]);
    let attribute = Attribute::key_length(128);
    let transform = |attributes| Transform { kind: TransformType::ENCR, id: 1, attributes };
    let proposal = |transforms| Proposal { number: 1, protocol: ProtocolId::IKE, spi: none(), transforms };
    let selector = TrafficSelector::Other { kind: TsType(99), second: 0, body: none() };
    let option = CfgAttribute { kind: CfgAttributeType(1), value: none() };
    let expensive = [
        Payload::Sa(vec![proposal(vec![]); limits::MAX_PROPOSALS]),
        Payload::Sa(vec![proposal(vec![transform(vec![]); 200]); 10]),
        Payload::Sa(vec![proposal(vec![transform(vec![attribute.clone()]); 200]); 10]),
        Payload::Sa(vec![proposal(vec![transform(vec![attribute; limits::MAX_ATTRIBUTES]); 20]); 10]),
        Payload::TsI(vec![selector; limits::MAX_SELECTORS]),
        Payload::Cp(Configuration {
            kind: CfgType::SET,
            attributes: vec![option; limits::MAX_CFG_ATTRIBUTES],
        }),
        Payload::VendorId(none()),
    ];
    const MOST: usize = 16;
    for payload in expensive {
        let octets = message(vec![payload.clone(); 8]);
        let message = Message::parse(&octets).unwrap();
        let factor = held(&message.payloads) / octets.len();
        assert!(factor <= MOST, "{} octets cost {factor} times as many", octets.len());
    }
}
