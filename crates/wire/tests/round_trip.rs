//! Emission and parsing are inverse: every message that can be said is read back as it was said.

use base::{IkeSpi, MessageId};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::num::*;
use wire::*;

fn octets(most: usize) -> impl Strategy<Value = Octets<'static>> {
    vec(any::<u8>(), 0..=most).prop_map(Octets::Owned)
}

fn transform() -> impl Strategy<Value = Transform<'static>> {
    let attribute =
        (0..0x8000_u16, any::<u16>(), octets(6), any::<bool>()).prop_map(|(kind, short, long, is_short)| {
            let value = if is_short { AttributeValue::Short(short) } else { AttributeValue::Long(long) };
            Attribute { kind: TransformAttributeType(kind), value }
        });
    (any::<u8>(), any::<u16>(), vec(attribute, 0..3)).prop_map(|(kind, id, attributes)| Transform {
        kind: TransformType(kind),
        id,
        attributes,
    })
}

fn proposal() -> impl Strategy<Value = Proposal<'static>> {
    (any::<u8>(), any::<u8>(), octets(8), vec(transform(), 0..6)).prop_map(
        |(number, protocol, spi, transforms)| Proposal {
            number,
            protocol: ProtocolId(protocol),
            spi,
            transforms,
        },
    )
}

fn selector() -> impl Strategy<Value = TrafficSelector<'static>> {
    let ip = |addresses| {
        (any::<u8>(), any::<u16>(), any::<u16>(), addresses).prop_map(
            |(protocol, start_port, end_port, addresses)| {
                TrafficSelector::Ip(IpSelector { protocol, start_port, end_port, addresses })
            },
        )
    };
    let v4 = any::<([u8; 4], [u8; 4])>().prop_map(|(from, to)| AddressRange::V4(from.into(), to.into()));
    let v6 = any::<([u8; 16], [u8; 16])>().prop_map(|(from, to)| AddressRange::V6(from.into(), to.into()));
    let other = (9..=u8::MAX, any::<u8>(), octets(20))
        .prop_map(|(kind, second, body)| TrafficSelector::Other { kind: TsType(kind), second, body });
    prop_oneof![ip(v4.boxed()), ip(v6.boxed()), other]
}

fn delete() -> impl Strategy<Value = Delete<'static>> {
    prop_oneof![
        Just(Delete::ike_sa()),
        vec(any::<u32>().prop_map(base::EspSpi), 0..9)
            .prop_map(|spis| Delete::children(ProtocolId::ESP, &spis)),
    ]
}

fn eap() -> impl Strategy<Value = Eap<'static>> {
    (any::<[u8; 2]>(), vec(any::<u8>(), 0..40)).prop_map(|(start, data)| {
        let length = (data.len() as u16 + 4).to_be_bytes();
        Eap { packet: [&start[..], &length, &data].concat().into() }
    })
}

/// Payloads that may stand anywhere.
fn payload() -> impl Strategy<Value = Payload<'static>> {
    let unknown = (prop_oneof![1..33_u8, 49..53_u8, 55..=u8::MAX], any::<bool>(), octets(30))
        .prop_map(|(kind, critical, body)| Payload::Unknown { kind: PayloadType(kind), critical, body });
    let id = || {
        (any::<(u8, [u8; 3])>(), octets(30)).prop_map(|((kind, reserved), data)| Identification {
            kind: IdType(kind),
            reserved,
            data,
        })
    };
    let attribute = (0..0x8000_u16, octets(20))
        .prop_map(|(kind, value)| CfgAttribute { kind: CfgAttributeType(kind), value });
    let notify =
        (any::<u8>(), octets(8), any::<u16>(), octets(40)).prop_map(|(protocol, spi, kind, data)| {
            Payload::Notify(Notify { protocol: ProtocolId(protocol), spi, kind: NotifyType(kind), data })
        });
    prop_oneof![
        vec(proposal(), 0..4).prop_map(Payload::Sa),
        (any::<u16>(), octets(60))
            .prop_map(|(method, data)| Payload::Ke(KeyExchange { method: KeMethod(method), data })),
        id().prop_map(Payload::IdI),
        id().prop_map(Payload::IdR),
        (any::<u8>(), octets(60))
            .prop_map(|(kind, data)| Payload::Cert(Certificate { encoding: CertEncoding(kind), data })),
        (any::<u8>(), octets(60)).prop_map(|(kind, authorities)| {
            Payload::CertReq(CertRequest { encoding: CertEncoding(kind), authorities })
        }),
        (any::<u8>(), octets(60))
            .prop_map(|(method, data)| Payload::Auth(Authentication { method: AuthMethod(method), data })),
        vec(any::<u8>(), limits::MIN_NONCE..=limits::MAX_NONCE)
            .prop_map(|nonce| Payload::Nonce(nonce.into())),
        notify,
        delete().prop_map(Payload::Delete),
        octets(40).prop_map(Payload::VendorId),
        vec(selector(), 0..5).prop_map(Payload::TsI),
        vec(selector(), 0..5).prop_map(Payload::TsR),
        (any::<u8>(), vec(attribute, 0..4)).prop_map(|(kind, attributes)| {
            Payload::Cp(Configuration { kind: CfgType(kind), attributes })
        }),
        eap().prop_map(Payload::Eap),
        octets(64).prop_map(Payload::PuzzleSolution),
        unknown,
    ]
}

/// Payloads that may stand only at the end.
fn sealed() -> impl Strategy<Value = Payload<'static>> {
    let first = || any::<u8>().prop_map(PayloadType);
    prop_oneof![
        (first(), octets(80)).prop_map(|(first, body)| Payload::Encrypted(Encrypted { first, body })),
        (first(), 1..=u16::MAX, octets(80)).prop_flat_map(|(first, total, body)| {
            (1..=total).prop_map(move |number| {
                Payload::EncryptedFragment(EncryptedFragment { first, number, total, body: body.clone() })
            })
        }),
    ]
}

fn message() -> impl Strategy<Value = Message<'static>> {
    let header = (any::<u64>(), any::<u64>(), 0..16_u8, any::<u8>(), any::<u8>(), any::<u32>()).prop_map(
        |(spi_i, spi_r, minor, exchange, flags, id)| Header {
            minor,
            ..Header::new(
                IkeSpi(spi_i),
                IkeSpi(spi_r),
                ExchangeType(exchange),
                Flags::from_octet(flags),
                MessageId(id),
            )
        },
    );
    (header, vec(payload(), 0..8), proptest::option::of(sealed())).prop_map(
        |(header, mut payloads, sealed)| {
            payloads.extend(sealed);
            Message { header, payloads }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_is_read_back(mut message in message()) {
        let datagram = message.emit();
        let read = Message::parse(&datagram).map_err(|error| TestCaseError::fail(error.to_string()))?;
        message.header.length = datagram.len() as u32;
        message.header.next_payload = message.payloads.first().map_or(PayloadType::NONE, Payload::kind);
        prop_assert_eq!(&read, &message);
        prop_assert_eq!(&read.emit(), &datagram);
        prop_assert_eq!(read.into_owned(), message);
    }

    #[test]
    fn a_cut_message_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
        let datagram = message.emit();
        let short = &datagram[..cut.index(datagram.len())];
        prop_assert!(Message::parse(short).is_err());
    }

    /// Also with a header length that agrees: no payload reaches over the end.
    #[test]
    fn a_cut_chain_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
        let mut datagram = message.emit();
        prop_assume!(datagram.len() > limits::HEADER_LEN);
        datagram.truncate(limits::HEADER_LEN + cut.index(datagram.len() - limits::HEADER_LEN));
        let length = datagram.len() as u32;
        datagram[24..28].copy_from_slice(&length.to_be_bytes());
        prop_assert!(Message::parse(&datagram).is_err());
    }

    #[test]
    fn octets_from_anywhere_are_parsed_or_refused(octets in vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::parse(&octets) {
            let emitted = message.emit();
            let again = Message::parse(&emitted).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(again.emit(), emitted);
        }
    }

    #[test]
    fn every_message_can_be_printed(message in message()) {
        let text = message.to_string();
        prop_assert!(text.lines().count() > message.payloads.len());
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{}", text);
        let words = summary(&message.payloads).to_string();
        prop_assert!(words.is_ascii());
    }

    /// RFC 7296 §3.14: the padding makes whole blocks, and comes off again.
    #[test]
    fn a_frame_is_found_where_it_was_built(
        inner in vec(any::<u8>(), 0..300),
        iv in 0..=16_usize,
        block in 1..=64_usize,
        icv in 0..=32_usize,
        fragment in proptest::option::of((1..20_u16, 0..20_u16)),
    ) {
        let fragment = fragment.map(|(number, more)| Fragment { number, total: number + more });
        let header = Header::new(
            IkeSpi(1), IkeSpi(2), ExchangeType::IKE_AUTH, Flags::default(), MessageId(1),
        );
        let room = Room { iv, block, icv };
        let frame = Frame::new(&header, fragment, PayloadType::IDI, &inner, room);
        prop_assert_eq!(frame.plaintext.len() % block, 0);
        prop_assert_eq!(strip_padding(&frame.bytes[frame.plaintext.clone()]), Ok(&inner[..]));
        let found = Sealed::locate(&frame.bytes).unwrap().unwrap();
        prop_assert_eq!(found.first, PayloadType::IDI);
        prop_assert_eq!(found.fragment, fragment);
        prop_assert_eq!(found.aad, frame.aad.clone());
        prop_assert_eq!(found.body, frame.iv.start..frame.icv.end);
        prop_assert_eq!(frame.icv.end, frame.bytes.len());
        let capacity = room.capacity(frame.bytes.len(), fragment.is_some());
        prop_assert!((inner.len()..inner.len() + block).contains(&capacity));
    }

    /// RFC 8019 §7.2.2: PS stands before SK or SKF, and under its integrity check.
    #[test]
    fn a_frame_with_a_payload_before_it_is_found_too(
        inner in vec(any::<u8>(), 0..300),
        keys in vec(any::<u8>(), 0..64),
        total in proptest::option::of(1..20_u16),
    ) {
        let fragment = total.map(|total| Fragment { number: 1, total });
        let header = Header::new(
            IkeSpi(1), IkeSpi(2), ExchangeType::IKE_AUTH, Flags::default(), MessageId(1),
        );
        let room = Room { iv: 8, block: 1, icv: 16 };
        let solution = Payload::PuzzleSolution(keys.into());
        let frame = Frame::new(&header, fragment, PayloadType::IDI, &inner, room).preceded_by(&solution);
        prop_assert_eq!(strip_padding(&frame.bytes[frame.plaintext.clone()]), Ok(&inner[..]));
        let found = Sealed::locate(&frame.bytes).unwrap().unwrap();
        prop_assert_eq!((found.first, found.fragment), (PayloadType::IDI, fragment));
        prop_assert_eq!(found.aad, frame.aad.clone());
        prop_assert_eq!(found.body, frame.iv.start..frame.icv.end);
        prop_assert_eq!(frame.icv.end, frame.bytes.len());
        let message = Message::parse(&frame.bytes).unwrap();
        prop_assert_eq!(message.payloads.len(), 2);
        prop_assert_eq!(&message.payloads[0], &solution);
    }
}
