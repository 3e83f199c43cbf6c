//! Each value of each column at least twice in each role, each time with pings both ways and in both families, a TCP
//! stream, a clean delete from either side, and tshark's word that what we sent is IKEv2.

use super::{Pair, Setup, cannot_run};
use interop::{Credentials, Family, KeyKind, Net, tcp_stream, wait_until};
use std::time::Duration;

#[derive(Clone, Copy)]
enum Auth {
    Psk,
    Cert(KeyKind),
}
#[derive(Clone, Copy)]
enum DeleteBy {
    Handfast,
    StrongSwan,
}

const INITIATOR: &str = "left";
const RESPONDER: &str = "right";
const PSK: Auth = Auth::Psk;
const RSA: Auth = Auth::Cert(KeyKind::Rsa);
const ECDSA: Auth = Auth::Cert(KeyKind::Ecdsa);
const ED25519: Auth = Auth::Cert(KeyKind::Ed25519);
const GCM: (&str, &str) = ("aes256gcm16-prfsha384-x25519", "aes256gcm16");
const CBC: (&str, &str) = ("aes128-sha256-modp2048", "aes256-sha256");
const CHACHA: (&str, &str) = ("chacha20poly1305-prfsha256-ecp256", "chacha20poly1305");

macro_rules! matrix {
    ($($name:ident: $ours:ident, $auth:ident, $suite:ident, $net:ident, $family:ident, $delete:ident;)*) => {$(
        #[test]
        fn $name() {
            if !cannot_run(stringify!($name)) {
                let (net, family) = (Net::$net, Family::$family);
                let setup = Setup { ours: $ours, suite: $suite, net, family, ..Setup::default() };
                tunnel(stringify!($name), &setup, $auth, DeleteBy::$delete);
            }
        }
    )*};
}

matrix! {
    s001_initiator_psk_gcm: INITIATOR, PSK, GCM, Routed, V4, Handfast;
    initiator_psk_cbc_nat: INITIATOR, PSK, CBC, LeftBehindNat, V4, StrongSwan;
    s132_initiator_rsa_chacha_v6: INITIATOR, RSA, CHACHA, Routed, V6, Handfast;
    s002_initiator_rsa_gcm_nat: INITIATOR, RSA, GCM, LeftBehindNat, V4, StrongSwan;
    s034_initiator_ecdsa_cbc_v6: INITIATOR, ECDSA, CBC, Routed, V6, StrongSwan;
    initiator_ecdsa_chacha_nat_v6: INITIATOR, ECDSA, CHACHA, LeftBehindNat, V6, Handfast;
    initiator_ed25519_gcm: INITIATOR, ED25519, GCM, Routed, V4, StrongSwan;
    s125_initiator_ed25519_cbc_nat: INITIATOR, ED25519, CBC, LeftBehindNat, V4, Handfast;
    s001_responder_psk_gcm: RESPONDER, PSK, GCM, Routed, V4, StrongSwan;
    s125_responder_psk_chacha_nat: RESPONDER, PSK, CHACHA, LeftBehindNat, V4, Handfast;
    s002_responder_rsa_cbc_v6: RESPONDER, RSA, CBC, Routed, V6, StrongSwan;
    responder_rsa_gcm_nat: RESPONDER, RSA, GCM, LeftBehindNat, V4, Handfast;
    responder_ecdsa_gcm_v6: RESPONDER, ECDSA, GCM, Routed, V6, Handfast;
    responder_ecdsa_cbc_nat_v6: RESPONDER, ECDSA, CBC, LeftBehindNat, V6, StrongSwan;
    s034_responder_ed25519_chacha: RESPONDER, ED25519, CHACHA, Routed, V4, Handfast;
    responder_ed25519_cbc_nat: RESPONDER, ED25519, CBC, LeftBehindNat, V4, StrongSwan;
}

fn tunnel(name: &str, setup: &Setup<'_>, auth: Auth, delete: DeleteBy) {
    let mut pair = setup.start_with(|lab| match auth {
        Auth::Psk => None,
        Auth::Cert(kind) => Some(Credentials::new(lab.folder(), kind).unwrap()),
    });
    pair.establish();
    pair.ping();
    traffic(&pair);
    let sas = pair.charon.sas();
    assert!(
        sas.contains("ESTABLISHED") && sas.contains("INSTALLED"),
        "{}",
        pair.explain("charon's SAs", &sas)
    );
    assert!(pair.status().contains("\"established\""), "{}", pair.status());
    remove(&pair, delete);
    let wire = pair.wire_is_clean();
    assert!(wire.ike_sent >= 3 && wire.esp >= 24, "{}", pair.explain("the capture", &format!("{wire:?}")));
    println!(
        "SUMMARY: interop {name}: {} IKE datagrams of ours and {} ESP packets, none malformed, no plaintext",
        wire.ike_sent, wire.esp
    );
}

/// IPv6 inside, and a TCP stream with content that is checked.
fn traffic(pair: &Pair) {
    let lab = &pair.lab;
    interop::ping(lab, "left", lab.inner6("left"), lab.inner6("right"), super::PATTERN)
        .unwrap_or_else(|error| panic!("{}", pair.explain("ping, IPv6 inside", &error)));
    tcp_stream(lab, "left", 3_000_000).unwrap_or_else(|error| panic!("{}", pair.explain("TCP", &error)));
}

/// A clean delete: afterwards neither side has an SA left.
fn remove(pair: &Pair, by: DeleteBy) {
    match by {
        DeleteBy::Handfast => pair.handfast.command(&["down", "net"]),
        DeleteBy::StrongSwan => pair.charon.swanctl(&["--terminate", "--ike", "net"]),
    }
    .unwrap_or_else(|error| panic!("{}", pair.explain("delete", &error)));
    let gone = wait_until(Duration::from_secs(5), || {
        pair.charon.sas().trim().is_empty() && !pair.status().contains("\"established\"")
    });
    assert!(gone, "{}", pair.explain("delete", "an SA is left"));
}
