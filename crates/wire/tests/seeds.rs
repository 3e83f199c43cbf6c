//! The seeds of the fuzz targets: messages with every kind of payload, written here and kept in `fuzz/corpus`.
//! `HANDFAST_WRITE_SEEDS=1 cargo test -p handfast-wire --test seeds` writes them anew.

use base::{EspSpi, IkeSpi, MessageId};
use std::path::{Path, PathBuf};
use wire::num::*;
use wire::*;

fn transforms(list: &[(TransformType, u16, Option<u16>)]) -> Vec<Transform<'static>> {
    list.iter().map(|&(kind, id, bits)| Transform::new(kind, id, bits)).collect()
}

fn ike_proposals() -> Payload<'static> {
    let aead = transforms(&[
        (TransformType::ENCR, Encr::AES_GCM_16.0, Some(256)),
        (TransformType::PRF, Prf::HMAC_SHA2_384.0, None),
        (TransformType::KE, KeMethod::CURVE25519.0, None),
        (TransformType::ADDKE1, KeMethod::ML_KEM_768.0, None),
    ]);
    let cbc = transforms(&[
        (TransformType::ENCR, Encr::AES_CBC.0, Some(128)),
        (TransformType::INTEG, Integ::HMAC_SHA2_256_128.0, None),
        (TransformType::PRF, Prf::HMAC_SHA2_256.0, None),
        (TransformType::KE, KeMethod::ECP_256.0, None),
    ]);
    let proposal = |number, transforms| Proposal {
        number,
        protocol: ProtocolId::IKE,
        spi: Octets::Borrowed(&[]),
        transforms,
    };
    Payload::Sa(vec![proposal(1, aead), proposal(2, cbc)])
}

fn child_proposals() -> Payload<'static> {
    let transforms = transforms(&[
        (TransformType::ENCR, Encr::CHACHA20_POLY1305.0, None),
        (TransformType::ESN, EsnMode::NONE.0, None),
    ]);
    let spi = Octets::Borrowed(&[0xc0, 1, 2, 3]);
    Payload::Sa(vec![Proposal { number: 1, protocol: ProtocolId::ESP, spi, transforms }])
}

fn selectors() -> [Payload<'static>; 2] {
    let any = |from: &str, to: &str| {
        let addresses = AddressRange::new(from.parse().unwrap(), to.parse().unwrap()).unwrap();
        TrafficSelector::Ip(IpSelector::any(addresses))
    };
    let label = TrafficSelector::Other {
        kind: TsType::SECLABEL,
        second: 0,
        body: Octets::Borrowed(b"system_u:object_r"),
    };
    [
        Payload::TsI(vec![any("10.1.0.0", "10.1.255.255"), label]),
        Payload::TsR(vec![any("2001:db8::", "2001:db8::ffff"), any("10.2.0.1", "10.2.0.1")]),
    ]
}

fn notify(kind: NotifyType, data: &'static [u8]) -> Payload<'static> {
    Payload::Notify(Notify::new(kind, data))
}

fn sa_init() -> Vec<Payload<'static>> {
    vec![
        notify(NotifyType::COOKIE, &[0xc0; 20]),
        ike_proposals(),
        Payload::Ke(KeyExchange { method: KeMethod::CURVE25519, data: Octets::Borrowed(&[9; 32]) }),
        Payload::Nonce(Octets::Borrowed(&[5; 32])),
        notify(NotifyType::NAT_DETECTION_SOURCE_IP, &[1; 20]),
        notify(NotifyType::NAT_DETECTION_DESTINATION_IP, &[2; 20]),
        notify(NotifyType::SIGNATURE_HASH_ALGORITHMS, &[0, 2, 0, 3, 0, 5]),
        Payload::VendorId(Octets::Borrowed(b"Handfast")),
    ]
}

/// What stands inside of SK in IKE_AUTH.
fn auth() -> Vec<Payload<'static>> {
    let mut payloads = vec![
        Payload::IdI(Identification::new(IdType::FQDN, Octets::Borrowed(b"a.example"))),
        Payload::IdR(Identification::new(IdType::IPV4_ADDR, Octets::Borrowed(&[192, 0, 2, 1]))),
        Payload::Cert(Certificate {
            encoding: CertEncoding::X509_SIGNATURE,
            data: Octets::Borrowed(&[0x30, 0]),
        }),
        Payload::CertReq(CertRequest {
            encoding: CertEncoding::X509_SIGNATURE,
            authorities: Octets::Borrowed(&[7; 40]),
        }),
        Payload::Auth(DigitalSignature { algorithm: &[0x30, 0], signature: &[8; 64] }.authentication()),
        child_proposals(),
    ];
    payloads.extend(selectors());
    payloads.push(notify(NotifyType::INITIAL_CONTACT, &[]));
    payloads
}

fn configuration() -> Vec<Payload<'static>> {
    let attributes = vec![
        CfgAttribute {
            kind: CfgAttributeType::INTERNAL_IP4_ADDRESS,
            value: Octets::Borrowed(&[10, 9, 0, 1]),
        },
        CfgAttribute { kind: CfgAttributeType::INTERNAL_DNS_DOMAIN, value: Octets::Borrowed(b"example.com") },
    ];
    vec![
        Payload::Cp(Configuration { kind: CfgType::REPLY, attributes }),
        Payload::Eap(Eap { packet: Octets::Borrowed(&[1, 7, 0, 9, 1, b'n', b'a', b'm', b'e']) }),
    ]
}

fn informational() -> Vec<Payload<'static>> {
    vec![
        Payload::Delete(Delete::children(ProtocolId::ESP, &[EspSpi(0xc000_0001), EspSpi(0xc000_0002)])),
        Payload::Delete(Delete::ike_sa()),
        Payload::Notify(Notify::about(NotifyType::REKEY_SA, ProtocolId::ESP, EspSpi(0xc000_0003))),
        Payload::Unknown { kind: PayloadType(200), critical: true, body: Octets::Borrowed(b"?") },
    ]
}

fn message(exchange: ExchangeType, payloads: Vec<Payload<'static>>) -> Vec<u8> {
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = Header::new(IkeSpi(0x1122_3344_5566_7788), IkeSpi(0x99), exchange, flags, MessageId(1));
    Message { header, payloads }.emit()
}

fn chain(payloads: &[Payload<'_>]) -> Vec<u8> {
    let mut octets = vec![0];
    octets[0] = emit_chain(payloads, &mut octets).0;
    octets
}

/// Path below `fuzz/corpus`, content.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sealed =
        vec![Payload::Encrypted(Encrypted { first: PayloadType::IDI, body: Octets::Borrowed(&[6; 96]) })];
    let fragment = vec![Payload::EncryptedFragment(EncryptedFragment {
        first: PayloadType::IDI,
        number: 1,
        total: 3,
        body: Octets::Borrowed(&[6; 96]),
    })];
    let (init, plain) = (ExchangeType::IKE_SA_INIT, ExchangeType::IKE_AUTH);
    vec![
        ("wire_parse/sa_init", message(init, sa_init())),
        ("wire_parse/auth", message(plain, auth())),
        ("wire_parse/configuration", message(plain, configuration())),
        ("wire_parse/informational", message(ExchangeType::INFORMATIONAL, informational())),
        ("wire_parse/sealed", message(plain, sealed)),
        ("wire_parse/fragment", message(plain, fragment)),
        ("wire_payload/sa_init", chain(&sa_init())),
        ("wire_payload/auth", chain(&auth())),
        ("wire_payload/configuration", chain(&configuration())),
        ("wire_payload/informational", chain(&informational())),
    ]
}

#[test]
fn the_kept_seeds_are_what_is_written_here() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus"));
    for (name, content) in seeds() {
        let path: PathBuf = root.join(name);
        if std::env::var_os("HANDFAST_WRITE_SEEDS").is_some() {
            testkit::write(&path, &content);
        }
        assert_eq!(testkit::read(&path), content, "{name}: write the seeds anew (see the head of this file)");
    }
}
