//! Parts of the protocol that need a peer which is not ours.

use super::{PATTERN, PSK, Setup, cannot_run};
use interop::{Credentials, KeyKind, in_namespace, wait_until};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

#[test]
fn s023_strongswan_demands_a_cookie() {
    if cannot_run("s023_strongswan_demands_a_cookie") {
        return;
    }
    let mut pair =
        Setup { charon: "cookie_threshold = 1\n cookie_threshold_ip = 1", ..Setup::default() }.start();
    // Somebody else's request leaves a half-open IKE SA: from now on strongSwan demands cookies.
    let peer = SocketAddr::new(pair.lab.outer("right"), 500);
    let socket = in_namespace(&pair.lab.ns("left"), || UdpSocket::bind("0.0.0.0:0")).unwrap();
    socket.send_to(&ike_sa_init(), peer).unwrap();
    let half_open =
        wait_until(Duration::from_secs(5), || pair.charon.log().contains("generating IKE_SA_INIT response"));
    assert!(half_open, "{}", pair.explain("the other request", "not answered"));
    pair.establish();
    pair.ping();
    assert!(pair.charon.log().contains("N(COOKIE)"), "{}", pair.explain("cookie", "none was demanded"));
    pair.wire_is_clean();
}

/// An IKE_SA_INIT request of AES_GCM_16-256, PRF_HMAC_SHA2_384 and Curve25519, written by hand (RFC 7296 §3).
fn ike_sa_init() -> Vec<u8> {
    let mut message = vec![0x77; 8];
    message.extend([0; 8]);
    message.extend([33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 144]);
    message.extend([34, 0, 0, 40, 0, 0, 0, 36, 1, 1, 0, 3]);
    message
        .extend([3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, 3, 0, 0, 8, 2, 0, 0, 6, 0, 0, 0, 8, 4, 0, 0, 31]);
    message.extend([40, 0, 0, 40, 0, 31, 0, 0, 9]);
    message.extend([0; 31]);
    message.extend([0, 0, 0, 36]);
    message.extend([0x42; 32]);
    message
}

#[test]
fn s023_we_demand_a_cookie_of_strongswan() {
    if cannot_run("s023_we_demand_a_cookie_of_strongswan") {
        return;
    }
    let mut pair = Setup { ours: "right", daemon: "cookie_threshold = 0", ..Setup::default() }.start();
    pair.establish();
    pair.ping();
    assert!(pair.charon.log().contains("COOKIE"), "{}", pair.explain("cookie", "none was demanded"));
    pair.wire_is_clean();
}

#[test]
fn s005_strongswan_wants_another_group() {
    if cannot_run("s005_strongswan_wants_another_group") {
        return;
    }
    let both = ("aes256gcm16-prfsha384-x25519-ecp384", "aes256gcm16");
    let other = ("aes256gcm16-prfsha384-ecp384", "aes256gcm16");
    let mut pair = Setup { suite: both, charon_suite: Some(other), ..Setup::default() }.start();
    pair.establish();
    pair.ping();
    assert!(pair.charon.log().contains("INVAL_KE"), "{}", pair.explain("INVALID_KE_PAYLOAD", "not sent"));
    pair.wire_is_clean();
}

#[test]
fn s005_we_want_another_group_of_strongswan() {
    if cannot_run("s005_we_want_another_group_of_strongswan") {
        return;
    }
    let both = ("aes256gcm16-prfsha384-x25519-ecp384", "aes256gcm16");
    let other = ("aes256gcm16-prfsha384-ecp384", "aes256gcm16");
    let mut pair =
        Setup { ours: "right", suite: other, charon_suite: Some(both), ..Setup::default() }.start();
    pair.establish();
    pair.ping();
    assert!(pair.charon.log().contains("INVAL_KE"), "{}", pair.explain("INVALID_KE_PAYLOAD", "not received"));
    pair.wire_is_clean();
}

#[test]
fn s122_fragments_both_ways() {
    for ours in ["left", "right"] {
        if cannot_run("s122_fragments_both_ways") {
            return;
        }
        let setup = Setup {
            ours,
            connection: "fragment_size = 576",
            charon: "fragment_size = 576",
            charon_connection: "fragmentation = yes",
            ..Setup::default()
        };
        let mut pair = setup.start_with(|lab| Some(Credentials::new(lab.folder(), KeyKind::Rsa).unwrap()));
        pair.establish();
        pair.ping();
        let log = pair.charon.log();
        assert!(
            log.contains("received fragment #2") && log.contains("splitting IKE message"),
            "{}",
            pair.explain("fragments", "not used both ways")
        );
        pair.wire_is_clean();
    }
}

/// RFC 7670: each side knows the other by its public key alone.
#[test]
fn s036_raw_public_keys() {
    for (ours, kind) in [("left", KeyKind::Ed25519), ("right", KeyKind::Ecdsa), ("left", KeyKind::Rsa)] {
        if cannot_run("s036_raw_public_keys") {
            return;
        }
        let raw = |lab: &interop::Lab| {
            let mut credentials = Credentials::new(lab.folder(), kind).unwrap();
            credentials.raw = true;
            Some(credentials)
        };
        let mut pair = Setup { ours, ..Setup::default() }.start_with(raw);
        pair.establish();
        pair.ping();
        pair.wire_is_clean();
    }
}

#[test]
fn further_children_with_and_without_key_exchange() {
    for (ours, esp) in
        [("left", "aes256gcm16-x25519"), ("left", "aes128gcm16"), ("right", "aes256gcm16-ecp256")]
    {
        if cannot_run("further_children_with_and_without_key_exchange") {
            return;
        }
        // The second child takes the IPv6 addresses, so that its own SA must carry what is sent there.
        let child = format!(
            "[connections.net.children.two]\nlocal_ts = {}\nremote_ts = {}\nesp_proposals = \"{esp}\"",
            if ours == "left" { "\"fd01:1::1\"" } else { "\"fd01:2::1\"" },
            if ours == "left" { "\"fd01:2::1\"" } else { "\"fd01:1::1\"" },
        );
        let charon_child = format!(
            "}}\n two {{ local_ts = {}\n remote_ts = {}\n esp_proposals = {esp}",
            if ours == "left" { "fd01:2::1" } else { "fd01:1::1" },
            if ours == "left" { "fd01:1::1" } else { "fd01:2::1" },
        );
        let (one, two) =
            (Some(("\"192.168.1.1\"", "\"192.168.2.1\"")), Some(("\"192.168.2.1\"", "\"192.168.1.1\"")));
        let (three, four) = (Some(("192.168.1.1", "192.168.2.1")), Some(("192.168.2.1", "192.168.1.1")));
        let setup = Setup {
            ours,
            suite: ("aes256gcm16-prfsha384-x25519", esp),
            selectors: if ours == "left" { one } else { two },
            charon_selectors: if ours == "left" { four } else { three },
            child: &child,
            charon_child: &charon_child,
            ..Setup::default()
        };
        let mut pair = setup.start();
        let initiate = |child: &str| match ours {
            "left" => pair.handfast.command(&["up", &format!("net/{child}")]),
            _ => pair.charon.swanctl(&["--initiate", "--child", child, "--timeout", "20"]),
        };
        for child in ["net", "two"] {
            initiate(child).unwrap_or_else(|error| panic!("{}", pair.explain(child, &error)));
        }
        let both = wait_until(Duration::from_secs(5), || pair.charon.sas().matches("INSTALLED").count() == 2);
        let one_ike = pair.charon.sas().matches("ESTABLISHED").count() == 1;
        assert!(both && one_ike, "{}", pair.explain("children", "not two in one IKE SA"));
        pair.ping();
        let lab = &pair.lab;
        interop::ping(lab, "left", lab.inner6("left"), lab.inner6("right"), PATTERN)
            .unwrap_or_else(|error| panic!("{}", pair.explain("ping through the second child", &error)));
        pair.wire_is_clean();
    }
}

#[test]
fn s029_a_wrong_psk_is_told_by_both_sides() {
    for ours in ["left", "right"] {
        if cannot_run("s029_a_wrong_psk_is_told_by_both_sides") {
            return;
        }
        let mut pair = Setup { ours, charon_psk: "another rope of another sand", ..Setup::default() }.start();
        let error = pair.initiate().expect_err("the keys differ");
        let said = format!("{error}{}", pair.handfast.log()).to_lowercase();
        assert!(
            said.contains("pre-shared key") || said.contains("psk"),
            "{}",
            pair.explain("the reason", &said)
        );
        assert!(!said.contains(PSK), "the key is in the log");
        assert!(
            pair.charon.log().contains("AUTH_FAILED"),
            "{}",
            pair.explain("AUTHENTICATION_FAILED", "not seen")
        );
        assert!(!pair.status().contains("\"established\""), "{}", pair.status());
        pair.wire_is_clean();
    }
}

#[test]
fn s008_no_common_proposal_names_what_was_offered_and_wanted() {
    for ours in ["left", "right"] {
        if cannot_run("s008_no_common_proposal_names_what_was_offered_and_wanted") {
            return;
        }
        let other = Some(("aes128-sha256-modp2048", "aes256gcm16"));
        let mut pair = Setup { ours, charon_suite: other, ..Setup::default() }.start();
        let error = pair.initiate().expect_err("nothing in common");
        let said = format!("{error}{}", pair.handfast.log());
        assert!(
            said.contains("AES_GCM_16") || said.contains("aes256gcm16"),
            "{}",
            pair.explain("the reason", &said)
        );
        assert!(pair.charon.log().contains("NO_PROP"), "{}", pair.explain("NO_PROPOSAL_CHOSEN", "not seen"));
        pair.wire_is_clean();
    }
}

#[test]
fn s021_disjoint_selectors_leave_the_ike_sa() {
    for ours in ["left", "right"] {
        if cannot_run("s021_disjoint_selectors_leave_the_ike_sa") {
            return;
        }
        let setup = Setup {
            ours,
            selectors: Some(("\"172.16.1.0/24\"", "\"172.16.2.0/24\"")),
            charon_selectors: Some(("172.17.1.0/24", "172.17.2.0/24")),
            ..Setup::default()
        };
        let mut pair = setup.start();
        let outcome = pair.initiate();
        pair.refusal(&outcome, &["172.16.1.0/24"]);
        assert!(pair.charon.sas().contains("ESTABLISHED"), "{}", pair.explain("the IKE SA", "is gone"));
        assert!(pair.charon.log().contains("TS_UNACCEPT"), "{}", pair.explain("TS_UNACCEPTABLE", "not seen"));
        pair.wire_is_clean();
    }
}

#[test]
fn s060_selectors_are_narrowed_to_what_both_have() {
    for ours in ["left", "right"] {
        if cannot_run("s060_selectors_are_narrowed_to_what_both_have") {
            return;
        }
        // Ours is wide, strongSwan's is what the lab has: the child must be strongSwan's.
        let wide = Some(("[\"192.168.0.0/16\"]", "[\"192.168.0.0/16\"]"));
        let mut pair = Setup { ours, selectors: wide, ..Setup::default() }.start();
        pair.establish();
        pair.ping();
        let status = pair.status();
        assert!(status.contains("192.168.1.1/32") && status.contains("192.168.2.1/32"), "{status}");
        pair.wire_is_clean();
    }
}

#[test]
fn s108_a_silent_peer_is_probed() {
    for (ours, theirs, sign) in [
        ("dpd_delay = \"1s\"", "", "parsed INFORMATIONAL request"),
        ("", "dpd_delay = 1s", "sending DPD request"),
    ] {
        if cannot_run("s108_a_silent_peer_is_probed") {
            return;
        }
        let mut pair = Setup { connection: ours, charon_connection: theirs, ..Setup::default() }.start();
        pair.establish();
        let probed = wait_until(Duration::from_secs(8), || pair.charon.log().matches(sign).count() >= 2);
        assert!(probed, "{}", pair.explain("liveness", "not probed twice"));
        assert!(pair.status().contains("\"established\""));
        pair.ping();
        pair.wire_is_clean();
    }
}

/// A key as long as the block of the PRF's hash is used as it is, one octet more and it is hashed first (RFC 2104 §2):
/// both ends have to see it alike.
#[test]
fn s031_keys_around_the_block_of_the_hash() {
    for (ours, octets) in [("left", 64), ("right", 65)] {
        if cannot_run("s031_keys_around_the_block_of_the_hash") {
            return;
        }
        let psk: String = (0..octets).map(|n| char::from(b'a' + n % 26)).collect();
        let suite = ("aes128-sha256-modp2048", "aes256gcm16");
        let setup = Setup { ours, suite, psk: &psk, charon_psk: &psk, ..Setup::default() };
        let mut pair = setup.start();
        pair.establish();
        pair.ping();
        pair.wire_is_clean();
    }
}

/// Every algorithm for ESP that both have, between our engine and strongSwan's `libipsec`, with pings both ways.
#[test]
fn s167_every_suite_of_esp_with_libipsec() {
    // Without extended sequence numbers, which libipsec does not have.
    let suites = [
        "aes128-sha1",
        "aes128-sha256",
        "aes192-sha384",
        "aes256-sha512",
        "aes128gcm16",
        "aes192gcm16",
        "aes256gcm16",
        "aes256gcm12",
        "aes256gcm8",
        "aes128ccm16",
        "aes256ccm8",
        "aes256ctr-sha256",
        "chacha20poly1305",
    ];
    for (n, esp) in suites.into_iter().enumerate() {
        if cannot_run("s167_every_suite_of_esp_with_libipsec") {
            return;
        }
        let ours = if n % 2 == 0 { "left" } else { "right" };
        let suite = ("aes256gcm16-prfsha384-x25519", esp);
        let mut pair = Setup { ours, suite, ..Setup::default() }.start();
        pair.establish();
        pair.ping();
        pair.wire_is_clean();
    }
}
