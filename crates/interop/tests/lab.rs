//! The lab itself: two strongSwans through a NAT, with everything that the tests of Handfast ask of it.

use interop::{CHARON, Capture, Charon, CharonConfig, Family, Lab, Net, missing, ping, tcp_stream};

#[test]
fn two_strongswans_carry_traffic_and_the_capture_sees_esp_only() {
    let name = "two_strongswans_carry_traffic_and_the_capture_sees_esp_only";
    if let Some(why) = missing(&["ip", "nft", "tcpdump", "tshark", "swanctl", "ping", CHARON]) {
        println!("NOT RUN: {name}: {why}");
        return;
    }
    let lab = Lab::new(Family::V4, Net::LeftBehindNat).unwrap();
    let config = |side| CharonConfig::new(side, "aes256gcm16-prfsha384-x25519", "aes256gcm16", "two friends");
    let _right = Charon::start(&lab, &config("right")).unwrap();
    let left = Charon::start(&lab, &config("left")).unwrap();
    let capture = Capture::start(&lab, "left").unwrap();
    left.initiate().unwrap();
    assert!(left.sas().contains("INSTALLED, TUNNEL"), "{}", left.sas());
    ping(&lab, "left", lab.inner("left"), lab.inner("right"), "f00dfeed").unwrap();
    tcp_stream(&lab, "left", 500_000).unwrap();
    let wire = capture.finish(&lab.outer("left").to_string(), &[0xf0, 0x0d, 0xfe, 0xed, 0xf0, 0x0d]).unwrap();
    assert!(wire.ike_sent >= 2 && wire.esp >= 6, "{wire:?}");
    assert!(!wire.plaintext && wire.complaints.is_empty(), "{wire:?}");
}
