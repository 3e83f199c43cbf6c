//! A thousand connections (the daemon starts within 100 ms with them).

mod common;

use common::{Dir, all};
use std::fmt::Write;
use std::time::Duration;

/// Half by secret, half by certificate, two children each.
fn thousand() -> String {
    let mut text = String::from(
        "[authorities.root]\ncacert = \"ca.pem\"\n[secrets.private.moon]\nfile = \"moon.key\"\n",
    );
    for n in 0..1000 {
        let (a, b) = (n / 250, n % 250);
        let auth = match n % 2 {
            0 => "auth = \"psk\"\nid = \"moon.example.org\"".to_string(),
            _ => "certs = \"moon.pem\"\nid = \"moon.example.org\"".to_string(),
        };
        write!(
            text,
            "[connections.peer{n}]\nlocal_addrs = \"192.0.2.1\"\nremote_addrs = \"198.51.{a}.{b}\"\n\
             proposals = [\"aes256gcm16-prfsha384-x25519\", \"aes128-sha256-modp2048\"]\ndpd_delay = \"30s\"\n\
             [connections.peer{n}.local]\n{auth}\n[connections.peer{n}.remote]\nid = \"peer{n}.example.org\"\n\
             [connections.peer{n}.children.net]\nlocal_ts = \"10.0.0.0/16\"\nremote_ts = \"10.{a}.{b}.0/24\"\n\
             esp_proposals = \"aes256gcm16-x25519\"\n\
             [connections.peer{n}.children.host]\nremote_ts = \"10.{a}.{b}.7[tcp/443]\"\n\
             [secrets.ike.peer{n}]\nid = \"peer{n}.example.org\"\nsecret = \"the secret of peer number {n}\"\n"
        )
        .unwrap();
    }
    text
}

#[test]
fn a_thousand_connections_are_read_at_once() {
    let dir = Dir::with_certificates();
    let text = thousand();
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = processor_time();
        let outcome = dir.check(&text);
        best = best.min(processor_time() - start);
        let config = outcome.config.unwrap_or_else(|| panic!("{}", all(&outcome.problems)));
        assert_eq!((config.policy.connections.len(), outcome.problems.len()), (1000, 0));
    }
    println!("1,000 connections, {} octets: {best:?} of processor time", text.len());
    // Several times what it takes without optimisation; work that grows with the square of the connections takes seconds.
    assert!(best < Duration::from_millis(600), "{best:?}");
}

/// What this thread has used of the processor: unlike the clock, it does not count others' work.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}
