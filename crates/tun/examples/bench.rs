//! One TCP stream through two engines in two network namespaces: `bench [SECONDS] [ESP_PAIR_ARGUMENT...]`.
//!
//! Prints Gbit/s, and the CPU time that the engine of each side took per gigabyte. Needs root. Build it and its helpers
//! with `cargo build --release -p handfast-tun --examples`.

#[path = "../tests/rig/mod.rs"]
mod rig;

use rig::{Engine, OUTER_V4, OUTER_V6, Rig, stream};

fn arguments(outer: [&str; 2], side: usize, more: &[String]) -> Vec<String> {
    let (own, far) = (side, 1 - side);
    let mut all = vec![
        format!("side={}", ["a", "b"][own]),
        format!("local={}", outer[own]),
        format!("remote={}", outer[far]),
        format!("local_ts=10.{0}.0.0/24,fd0{0}::/64", own + 1),
        format!("remote_ts=10.{0}.0.0/24,fd0{0}::/64", far + 1),
    ];
    all.extend_from_slice(more);
    all
}

fn measure(what: &str, outer: [&str; 2], seconds: f64, more: &[String]) {
    let Some(rig) = Rig::new("bench") else { return };
    let mut a = Engine::start(&rig.a, &arguments(outer, 0, more));
    let mut b = Engine::start(&rig.b, &arguments(outer, 1, more));
    let before = [a.counters()["cpu_nanos"], b.counters()["cpu_nanos"]];
    let (octets, took) = stream(&rig.a, &rig.b, "10.2.0.1:7000", (u64::MAX / 2, seconds));
    let after = [a.counters(), b.counters()];
    let per_gigabyte = |side: usize| (after[side]["cpu_nanos"] - before[side]) as f64 / octets as f64;
    println!(
        "{what:<34} {:5.2} Gbit/s  sender {:.2} s/GB  receiver {:.2} s/GB",
        octets as f64 * 8e-9 / took,
        per_gigabyte(0),
        per_gigabyte(1)
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().and_then(|text| text.parse().ok()).unwrap_or(5.0);
    let more: Vec<String> = args.collect();
    if !more.is_empty() {
        return measure(&more.join(" "), OUTER_V4, seconds, &more);
    }
    let cases: [(&str, [&str; 2], &str); 6] = [
        ("AES-GCM-128, UDP, IPv4", OUTER_V4, ""),
        ("AES-GCM-256, UDP, IPv6", OUTER_V6, "bits=256"),
        ("ChaCha20-Poly1305, UDP, IPv4", OUTER_V4, "encr=CHACHA20_POLY1305 bits=0"),
        ("AES-CBC-128 HMAC-SHA2-256, UDP", OUTER_V4, "encr=AES_CBC integ=HMAC_SHA2_256_128"),
        ("AES-GCM-128, raw ESP, IPv4", OUTER_V4, "encap=no"),
        ("AES-GCM-128, UDP, without offload", OUTER_V4, "offload=no"),
    ];
    for (what, outer, more) in cases {
        let more: Vec<String> = more.split_whitespace().map(str::to_string).collect();
        measure(what, outer, seconds, &more);
    }
}
