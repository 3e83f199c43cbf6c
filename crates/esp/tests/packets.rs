//! ESP packets by themselves: known answers, every algorithm, sequence numbers, padding, tampering.

mod common;

use base::{EspSpi, Rng};
use common::{algorithms, pool};
use crypto::{Cipher, CipherSpec, CryptoError, IvKind, Suite};
use esp::{InboundSa, IvPool, OpenError, OutboundSa, SealError};
use provider::Provider;
use testkit::hex;
use wire::num::{Encr, Integ};

fn cipher((encr, bits, integ): (Encr, u16, Integ)) -> Box<dyn Cipher> {
    let suite = Provider::new();
    let spec = suite.cipher_spec(encr, bits, integ).unwrap_or_else(|| panic!("{encr} {bits} {integ}"));
    let key = |len: usize, seed: u8| (0..len).map(|i| (i as u8).wrapping_mul(7) ^ seed).collect::<Vec<u8>>();
    suite.cipher(encr, bits, integ, &key(spec.encr_key_len, 1), &key(spec.integ_key_len, 2)).unwrap()
}

const SPI: EspSpi = EspSpi(0x0102_0304);

/// Seals `payload` with `sa`.
fn seal(sa: &mut OutboundSa, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; payload.len() + esp::limits::MAX_OVERHEAD];
    frame[sa.head_len()..][..payload.len()].copy_from_slice(payload);
    let len = sa.seal(&mut frame, payload.len(), 4, &mut pool()).unwrap();
    frame.truncate(len);
    frame
}

/// A cipher whose IV comes from the pool, so that a test can choose it.
struct ChosenIv(Box<dyn Cipher>);

impl Cipher for ChosenIv {
    fn spec(&self) -> CipherSpec {
        CipherSpec { iv_kind: IvKind::Random, ..self.0.spec() }
    }
    fn seal(&self, iv: &[u8], aad: &[u8], data: &mut [u8], tail: &[u8], icv: &mut [u8]) {
        self.0.seal(iv, aad, data, tail, icv);
    }
    fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        data: &mut [u8],
        tail: &[u8],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        self.0.open(iv, aad, data, tail, icv)
    }
}

struct Counting(u8);

impl Rng for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            *octet = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

/// RFC 7634, Appendix A: the whole packet behind its IP header.
#[test]
fn the_chacha20_poly1305_packet_of_rfc_7634() {
    let key: Vec<u8> = (0x80..=0xa3).collect();
    let cipher = || Provider::new().cipher(Encr::CHACHA20_POLY1305, 0, Integ::NONE, &key, &[]).unwrap();
    let source = hex("45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
         0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
         2425262728292a2b2c2d2e2f3031323334353637");
    let packet = hex("01020304000000051011121314151617
         24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
         14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
         cbec163fac469b502773f6fb94e664da9165b82829f641e0
         76aaa8266b7fb0f7b11b369907e1ad43");
    let mut sa = OutboundSa::resume(SPI, Box::new(ChosenIv(cipher())), false, 4);
    let mut frame = vec![0; packet.len()];
    frame[sa.head_len()..][..source.len()].copy_from_slice(&source);
    let len = sa.seal(&mut frame, source.len(), 4, &mut IvPool::new(Box::new(Counting(0x10)))).unwrap();
    assert_eq!((len, &frame), (packet.len(), &packet));

    let mut sa = InboundSa::new(SPI, cipher(), false, 64);
    let opened = sa.open(&mut frame).unwrap();
    assert_eq!((opened.sequence, opened.next_header), (5, 4));
    assert_eq!(frame[opened.payload], source);
}

//= rfc4303 §2.4, §3.3.2, §3.4.4
#[test]
fn every_algorithm_opens_what_it_sealed_at_every_alignment() {
    for algorithms in algorithms() {
        for esn in [false, true] {
            let mut out = OutboundSa::new(SPI, cipher(algorithms), esn);
            let mut into = InboundSa::new(SPI, cipher(algorithms), esn, 64);
            for len in (0..40).chain([1000, 1437]) {
                let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mut frame = seal(&mut out, &payload);
                let spec = out.spec();
                let body = frame.len() - 8 - spec.iv_len - spec.icv_len;
                assert_eq!(body % spec.block.max(4), 0, "{algorithms:?}");
                let opened = into.open(&mut frame).unwrap_or_else(|e| panic!("{algorithms:?} {len}: {e:?}"));
                assert_eq!(opened.next_header, 4);
                assert_eq!(frame[opened.payload], payload, "{algorithms:?}");
            }
        }
    }
}

#[test]
fn no_octet_of_a_packet_can_be_changed() {
    for algorithms in [(Encr::AES_GCM_16, 128, Integ::NONE), (Encr::AES_CBC, 128, Integ::HMAC_SHA2_256_128)] {
        let frame = seal(&mut OutboundSa::new(SPI, cipher(algorithms), true), b"0123456789abcdef");
        // The SPI has chosen the SA; it is covered as well, but from the SA's own value.
        for at in 4..frame.len() {
            let mut into = InboundSa::new(SPI, cipher(algorithms), true, 64);
            let mut changed = frame.clone();
            changed[at] ^= 0x40;
            let error = into.open(&mut changed).unwrap_err();
            assert!(matches!(error, OpenError::BadIcv), "octet {at}: {error:?}");
            // The refused packet has not moved the window.
            into.open(&mut frame.clone()).unwrap();
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for algorithms in algorithms() {
        let frame = seal(&mut OutboundSa::new(SPI, cipher(algorithms), false), b"payload");
        for len in 0..frame.len() {
            let mut into = InboundSa::new(SPI, cipher(algorithms), false, 32);
            let error = into.open(&mut frame[..len].to_vec()).unwrap_err();
            assert!(
                matches!(error, OpenError::Malformed | OpenError::BadIcv),
                "{algorithms:?}, {len}: {error:?}"
            );
        }
    }
}

//= rfc4303 §3.4.3
#[test]
fn a_packet_is_accepted_once() {
    let gcm = (Encr::AES_GCM_16, 256, Integ::NONE);
    let mut out = OutboundSa::new(SPI, cipher(gcm), false);
    let frames: Vec<Vec<u8>> = (0..100u8).map(|i| seal(&mut out, &[i])).collect();
    let mut into = InboundSa::new(SPI, cipher(gcm), false, 64);
    for at in [0, 1, 5, 3, 99, 98, 36] {
        assert!(into.open(&mut frames[at].clone()).is_ok(), "packet {at}");
        assert_eq!(into.open(&mut frames[at].clone()).unwrap_err(), OpenError::Replayed, "packet {at} again");
    }
    assert_eq!(into.open(&mut frames[35].clone()).unwrap_err(), OpenError::Replayed, "left of the window");
}

//= rfc4303 §2.2.1, §A2.1
#[test]
fn extended_sequence_numbers_cross_the_low_half() {
    for algorithms in [(Encr::AES_GCM_16, 128, Integ::NONE), (Encr::AES_CBC, 256, Integ::HMAC_SHA1_96)] {
        let mut out = OutboundSa::resume(SPI, cipher(algorithms), true, (1 << 32) - 4);
        let mut into = InboundSa::new(SPI, cipher(algorithms), true, 64);
        // Bring the window near the end of the subspace.
        let mut before = OutboundSa::resume(SPI, cipher(algorithms), true, (1 << 32) - 100);
        into.open(&mut seal(&mut before, b"x")).unwrap();
        let mut frames: Vec<Vec<u8>> = (0..8u8).map(|i| seal(&mut out, &[i])).collect();
        frames.swap(2, 5);
        for (at, frame) in frames.iter_mut().enumerate() {
            let opened = into.open(frame).unwrap_or_else(|e| panic!("{algorithms:?} {at}: {e:?}"));
            assert!(opened.sequence > (1 << 32) - 4);
        }
    }
}

//= rfc4303 §3.3.3
#[test]
fn the_last_sequence_number_is_the_end() {
    let gcm = (Encr::AES_GCM_16, 128, Integ::NONE);
    let mut out = OutboundSa::resume(SPI, cipher(gcm), false, u64::from(u32::MAX) - 1);
    assert!(out.is_near_end());
    seal(&mut out, b"the last");
    let mut frame = vec![0; 100];
    assert_eq!(out.seal(&mut frame, 4, 4, &mut pool()), Err(SealError::Exhausted));
    let reserve = esp::limits::SEQUENCE_RESERVE;
    assert!(!OutboundSa::resume(SPI, cipher(gcm), false, u64::from(u32::MAX) - reserve - 1).is_near_end());
    assert!(OutboundSa::resume(SPI, cipher(gcm), false, u64::from(u32::MAX) - reserve).is_near_end());
    assert!(!OutboundSa::resume(SPI, cipher(gcm), true, u64::from(u32::MAX)).is_near_end());
}

#[test]
fn ivs_do_not_repeat() {
    let mut pool = pool();
    for algorithms in [(Encr::AES_CBC, 128, Integ::HMAC_SHA1_96), (Encr::AES_GCM_16, 128, Integ::NONE)] {
        let mut out = OutboundSa::new(SPI, cipher(algorithms), false);
        let iv_len = out.spec().iv_len;
        let mut seen = std::collections::BTreeSet::new();
        // More than one filling of the pool.
        for _ in 0..esp::limits::IV_POOL / 16 * 3 {
            let mut frame = [0; 80];
            out.seal(&mut frame, 4, 4, &mut pool).unwrap();
            assert!(seen.insert(frame[8..8 + iv_len].to_vec()), "{algorithms:?}");
        }
    }
}

#[test]
fn a_buffer_without_room_is_refused() {
    let mut out = OutboundSa::new(SPI, cipher((Encr::AES_GCM_16, 128, Integ::NONE)), false);
    let len = out.sealed_len(100);
    assert_eq!(out.seal(&mut vec![0; len - 1], 100, 4, &mut pool()), Err(SealError::NoRoom));
    assert_eq!(out.seal(&mut vec![0; len], 100, 4, &mut pool()), Ok(len));
}

#[test]
fn nothing_secret_is_printed() {
    let gcm = (Encr::AES_GCM_16, 128, Integ::NONE);
    let out = format!("{:?}", OutboundSa::new(SPI, cipher(gcm), false));
    let into = format!("{:?}", InboundSa::new(SPI, cipher(gcm), false, 32));
    assert_eq!((out.as_str(), into.as_str()), ("OutboundSa(01020304, 0 sent)", "InboundSa(01020304)"));
    assert_eq!(format!("{:?}", pool()), "IvPool");
}

/// NULL encryption lets the test write any padding, and make a right integrity check value for it.
fn with_padding(tail: &[u8]) -> Result<(), OpenError> {
    let null = (Encr::NULL, 0, Integ::HMAC_SHA2_256_128);
    let mut frame = vec![1, 2, 3, 4, 0, 0, 0, 1];
    frame.extend_from_slice(tail);
    frame.extend_from_slice(&[0; 16]);
    let (header, rest) = frame.split_at_mut(8);
    let (data, icv) = rest.split_at_mut(tail.len());
    cipher(null).seal(&[], header, data, &[], icv);
    InboundSa::new(SPI, cipher(null), false, 32).open(&mut frame).map(drop)
}

//= rfc4303 §2.4
#[test]
fn padding_must_count_up() {
    assert_eq!(with_padding(&[9, 9, 0, 4]), Ok(()));
    assert_eq!(with_padding(&[9, 9, 9, 1, 2, 3, 3, 4]), Ok(()));
    assert_eq!(with_padding(&[9, 9, 9, 0, 0, 0, 3, 4]), Err(OpenError::BadPadding));
    assert_eq!(with_padding(&[9, 9, 9, 1, 2, 4, 3, 4]), Err(OpenError::BadPadding));
    assert_eq!(with_padding(&[1, 2, 3, 4]), Err(OpenError::BadPadding), "longer than the packet");
    assert_eq!(with_padding(&[1, 2, 2, 4]), Ok(()), "padding only");
}
