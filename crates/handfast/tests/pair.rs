//! Two daemons and what they say to each other and to people, in network namespaces.

mod common;

use common::{End, IMPATIENT, binary, lab, texts};
use interop::{Handfast, Lab, run, wait_until};
use serde_json::Value;
use std::time::Duration;
use testcerts::{Authority, Key};

fn pair(lab: &Lab, left: End<'_>, right: End<'_>) -> (Handfast, Handfast) {
    (left.start(lab), right.start(lab))
}

fn status(daemon: &Handfast) -> Value {
    let text = daemon.command(&["status", "--json"]).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&text).expect("status --json is JSON")
}

fn child_count(daemon: &Handfast) -> usize {
    let status = status(daemon);
    let sas = status["ike_sas"].as_array().expect("a list");
    sas.iter().map(|ike| ike["child_sas"].as_array().expect("a list").len()).sum()
}

/// Runs a command in the left namespace.
fn inside(lab: &Lab, command: &[&str]) -> Result<String, String> {
    run("ip", &[&["netns", "exec", &lab.ns("left")], command].concat())
}

/// `up` fails with this kind of refusal; both sides say why; both daemons live on.
fn must_refuse(left: &mut Handfast, right: &mut Handfast, kind: &str, words: &[&str]) {
    let output = left.output(&["up", "net", "--json"]).expect("it answers");
    let (out, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}");
    let last: Value = serde_json::from_str(out.lines().last().expect("an answer")).expect("JSON");
    let refusal = match last["type"].as_str() {
        Some("refused") => last.clone(),
        _ => last["refused"][0]["refusal"].clone(),
    };
    assert_eq!(refusal["kind"], kind, "{last}\n{out}\nleft:\n{}right:\n{}", left.log(), right.log());
    let reason = refusal["reason"].as_str().expect("a reason");
    let heard = wait_until(Duration::from_secs(2), || right.log().contains("Refused"));
    assert!(heard, "the right side says nothing:\n{}", right.log());
    for (side, text) in [("left", refusal.to_string()), ("right", right.log())] {
        for word in words {
            assert!(text.contains(word), "the {side} side does not say {word:?}:\n{text}");
        }
    }
    // What a daemon logs comes through a pipe and a thread of this test.
    let logged = wait_until(Duration::from_secs(2), || left.log().contains(reason));
    assert!(logged, "the left log lacks {reason:?}:\n{}", left.log());
    for daemon in [left, right] {
        assert!(daemon.process.is_running());
        assert!(!daemon.log().contains("battery staple"), "a secret stands in the log:\n{}", daemon.log());
        assert_eq!(child_count(daemon), 0);
    }
}

#[test]
fn a_tunnel_carries_traffic_and_is_taken_down_from_either_side() {
    let Some(lab) = lab("a_tunnel_carries_traffic_and_is_taken_down_from_either_side") else { return };
    let (left, right) = pair(&lab, End::new("left"), End::new("right"));
    for (closing, other) in [(&left, &right), (&right, &left)] {
        let up = left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
        assert!(up.contains("Sent IKE_SA_INIT request 0 to 10.0.2.2:500"), "{up}");
        assert!(up.contains("net is up after"), "{up}");
        let target = lab.inner("right").to_string();
        let source = lab.inner("left").to_string();
        inside(&lab, &["ping", "-c", "3", "-i", "0.1", "-W", "2", "-I", &source, &target])
            .unwrap_or_else(|error| panic!("{error}"));
        let child = &status(&right)["ike_sas"][0]["child_sas"][0];
        assert!(child["counters"]["packets_in"].as_u64() >= Some(3), "{child}");
        let down = closing.command(&["down", "net"]).unwrap_or_else(|error| panic!("{error}"));
        assert!(down.contains("1 IKE SA and"), "{down}");
        assert!(wait_until(Duration::from_secs(2), || child_count(other) == 0));
    }
    let logged = wait_until(Duration::from_secs(2), || left.log().contains("the peer deleted it"));
    assert!(logged, "{}", left.log());
}

#[test]
fn a_second_up_says_that_it_stands_and_a_child_goes_alone() {
    let Some(lab) = lab("a_second_up_says_that_it_stands_and_a_child_goes_alone") else { return };
    let (left, right) = pair(&lab, End::new("left"), End::new("right"));
    for _ in 0..2 {
        left.command(&["up", "net/lan"]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(child_count(&left), 1);
    }
    left.command(&["down", "net/lan"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((child_count(&left), child_count(&right)), (0, 0));
    assert_eq!(status(&left)["ike_sas"].as_array().map(Vec::len), Some(1), "the IKE SA stays");
    left.command(&["up", "net/lan"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((child_count(&left), child_count(&right)), (1, 1));
}

/// RFC 7791, with the child moving over: it goes down in the first IKE SA and up in the second.
#[test]
fn another_ike_sa_beside_the_first_is_made_by_order() {
    let Some(lab) = lab("another_ike_sa_beside_the_first_is_made_by_order") else { return };
    let (left, right) = pair(&lab, End::new("left"), End::new("right"));
    let ike_sas = |daemon: &Handfast| status(daemon)["ike_sas"].as_array().map(Vec::len);
    let none = left.command(&["clone", "net"]).err().unwrap_or_default();
    assert!(none.contains("no established IKE SA of that name"), "{none}");
    left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
    let said = left.command(&["clone", "net"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.contains("Another IKE SA of net is up"), "{said}");
    assert_eq!((ike_sas(&left), ike_sas(&right)), (Some(2), Some(2)));
    assert_eq!((child_count(&left), child_count(&right)), (1, 1));
    left.command(&["down", "net"]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((ike_sas(&left), ike_sas(&right)), (Some(0), Some(0)));
    let wrong = left.command(&["clone", "net/wan"]).err().unwrap_or_default();
    assert!(wrong.contains("wan"), "{wrong}");
}

#[test]
fn stopping_a_daemon_deletes_its_sas_at_the_peer() {
    let Some(lab) = lab("stopping_a_daemon_deletes_its_sas_at_the_peer") else { return };
    let (mut left, right) = pair(&lab, End::new("left"), End::new("right"));
    left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(left.process.stop(Duration::from_secs(3)), "SIGTERM does not end it:\n{}", left.log());
    assert!(wait_until(Duration::from_secs(2), || child_count(&right) == 0));
    let links = inside(&lab, &["ip", "-o", "link"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(!links.contains(": hf"), "its device is still there:\n{links}");
    let rules = inside(&lab, &["ip", "rule"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(!rules.contains("4500"), "its routing rules are still there:\n{rules}");
}

#[test]
fn a_daemon_stops_in_bounded_time_though_its_peer_is_gone() {
    let Some(lab) = lab("a_daemon_stops_in_bounded_time_though_its_peer_is_gone") else { return };
    let (mut left, right) = pair(&lab, End { daemon: "", ..End::new("left") }, End::new("right"));
    left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
    right.process.signal(libc::SIGKILL);
    let limit = runtime::limits::FAREWELL + Duration::from_secs(5);
    assert!(left.process.stop(limit), "SIGTERM does not end it:\n{}", left.log());
    let logged =
        wait_until(Duration::from_secs(2), || left.log().contains("Some peers did not answer our Deletes"));
    assert!(logged, "{}", left.log());
}

/// The gateway is killed and started again: its client comes back by a ticket, without a key exchange.
//= rfc5723 §4.3.2
#[test]
fn a_killed_gateway_takes_its_client_back_by_a_ticket() {
    let Some(lab) = lab("a_killed_gateway_takes_its_client_back_by_a_ticket") else { return };
    let secret = lab.folder().join("ticket.secret");
    let daemon = format!("{IMPATIENT}ticket_secret = \"{}\"\n", secret.display());
    let resumes = |toml: String| {
        let lines = "resumption = true\ndpd_delay = \"1s\"\nretry_initiate_interval = \"1s\"\n";
        toml.replace("[connections.net]\n", &format!("[connections.net]\n{lines}"))
    };
    let restart = "[connections.net.children.lan]\ndpd_action = \"restart\"\n";
    let ours = resumes(End::new("left").toml(&lab)).replace("[connections.net.children.lan]\n", restart);
    let theirs = resumes(End { daemon: &daemon, ..End::new("right") }.toml(&lab));
    let start = |side: &str, toml: &str| {
        Handfast::start(&lab, side, binary(), toml).unwrap_or_else(|error| panic!("{error}"))
    };
    let (left, mut right) = (start("left", &ours), start("right", &theirs));
    left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
    let before = status(&left)["ike_sas"][0].clone();
    assert_eq!((before["resumed"].as_bool(), before["ticket"].as_bool()), (Some(false), Some(true)));
    right.process.signal(libc::SIGKILL);
    assert!(wait_until(Duration::from_secs(2), || !right.process.is_running()));
    // Neither the ticket nor a full exchange finds anybody: the ticket is left for the next attempt.
    let noticed = wait_until(Duration::from_secs(20), || {
        let log = left.log();
        log.contains("is not resumed, since") && log.contains("rying again in")
    });
    assert!(noticed, "the client has not missed its gateway:\n{}", left.log());
    let right = start("right", &theirs);
    let back = wait_until(Duration::from_secs(30), || child_count(&right) == 1 && child_count(&left) == 1);
    assert!(back, "left:\n{}right:\n{}", left.log(), right.log());
    for daemon in [&left, &right] {
        let ike = status(daemon)["ike_sas"][0].clone();
        assert_eq!(ike["resumed"].as_bool(), Some(true), "{ike}\n{}", daemon.log());
        assert_eq!(ike["algorithms"], before["algorithms"]);
    }
    let (source, target) = (lab.inner("left").to_string(), lab.inner("right").to_string());
    inside(&lab, &["ping", "-c", "3", "-i", "0.1", "-W", "2", "-I", &source, &target])
        .unwrap_or_else(|error| panic!("{error}"));
    let shown = left.command(&["status"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(shown.contains("resumed, with a ticket to resume it again"), "{shown}");
}

#[test]
fn a_wrong_psk_is_said_on_both_sides() {
    let Some(lab) = lab("a_wrong_psk_is_said_on_both_sides") else { return };
    let right = End { psk: "incorrect horse battery staple", ..End::new("right") };
    let (mut left, mut right) = pair(&lab, End::new("left"), right);
    must_refuse(&mut left, &mut right, "authentication_failed", &["net"]);
    assert!(right.log().contains("PSK") || right.log().contains("pre-shared key"), "{}", right.log());
}

#[test]
fn no_common_proposal_is_said_on_both_sides() {
    let Some(lab) = lab("no_common_proposal_is_said_on_both_sides") else { return };
    let right = End { proposals: "aes128-sha256-modp2048", ..End::new("right") };
    let (mut left, mut right) = pair(&lab, End::new("left"), right);
    must_refuse(&mut left, &mut right, "no_proposal_chosen", &["aes256gcm16"]);
}

#[test]
fn disjoint_selectors_are_said_on_both_sides_and_the_ike_sa_outlives_them() {
    let Some(lab) = lab("disjoint_selectors_are_said_on_both_sides_and_the_ike_sa_outlives_them") else {
        return;
    };
    let right = End { local_ts: "192.168.77.0/24", ..End::new("right") };
    let (mut left, mut right) = pair(&lab, End::new("left"), right);
    must_refuse(&mut left, &mut right, "ts_unacceptable", &["192.168.2.1/32"]);
    assert!(right.log().contains("192.168.77.0/24"), "{}", right.log());
}

#[test]
fn a_peer_that_never_answers_is_given_up_and_the_daemon_lives_on() {
    let Some(lab) = lab("a_peer_that_never_answers_is_given_up_and_the_daemon_lives_on") else { return };
    let mut left = End::new("left").start(&lab);
    let output = left.output(&["up", "net"]).expect("it answers");
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("retransmission 2"), "{out}");
    assert!(err.contains("10.0.2.2"), "the refusal does not name the peer: {err}");
    assert!(left.process.is_running());
    assert_eq!(status(&left)["half_open"], 0);
}

/// The configuration of one end that proves itself by `[local]` and knows its peer by `[remote]` of `auth`.
fn with_auth(lab: &Lab, side: &str, [local, remote, further]: [&str; 3]) -> String {
    let toml = End::new(side).toml(lab);
    let at = |head: &str| toml.find(head).unwrap_or_else(|| panic!("{head} in {toml}"));
    let (before, child) = (&toml[..at("[connections.net.local]")], at("[connections.net.children.lan]"));
    let (child, _) = toml[child..].split_once("[secrets.").unwrap_or((&toml[child..], ""));
    let (us, peer) = if side == "left" { ("left", "right") } else { ("right", "left") };
    format!(
        "{before}[connections.net.local]\nid = \"{us}.example\"\n{local}[connections.net.remote]\nid = \"{peer}.example\"\n\
         {remote}{child}{further}"
    )
}

/// Chains of ML-DSA (a root of set 87, an intermediate of set 65), and public keys without certificates.
#[test]
fn ml_dsa_carries_a_tunnel() {
    let Some(lab) = lab("ml_dsa_carries_a_tunnel") else { return };
    let root = Authority::root(Key::MlDsa87, "Root");
    let middle = root.intermediate(Key::MlDsa65, "Middle");
    root.write(lab.folder(), "root").expect("a file");
    for (key, name) in [(Key::MlDsa44, "ML-DSA-44"), (Key::MlDsa65, "ML-DSA-65"), (Key::MlDsa87, "ML-DSA-87")]
    {
        for side in ["left", "right"] {
            let entity = middle.issue(key, side, &[&format!("{side}.example")]);
            entity.write(lab.folder(), side).expect("files");
            let public = format!("{side}.pub");
            std::fs::write(lab.folder().join(public), entity.public_key_pem()).expect("a file");
        }
        for raw in [false, true] {
            let [mut left, mut right] = ["left", "right"].map(|side| {
                let peer = if side == "left" { "right" } else { "left" };
                let file = |name: String| lab.folder().join(name).display().to_string();
                let private = format!("[secrets.private.own]\nfile = \"{}\"\n", file(format!("{side}.key")));
                let toml = match raw {
                    true => {
                        let keys = |side: &str| format!("pubkeys = \"{}\"\n", file(format!("{side}.pub")));
                        with_auth(&lab, side, [&keys(side), &keys(peer), &private])
                    }
                    false => {
                        let certs = format!("certs = \"{}\"\n", file(format!("{side}.pem")));
                        let anchor =
                            format!("[authorities.root]\ncacert = \"{}\"\n", file("root.pem".into()));
                        with_auth(&lab, side, [&certs, "auth = \"pubkey\"\n", &format!("{private}{anchor}")])
                    }
                };
                checked(&lab, side, &toml, &format!("{name}, post-quantum"));
                Handfast::start(&lab, side, binary(), &toml).unwrap_or_else(|error| panic!("{error}"))
            });
            left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{name}: {error}\n{}", right.log()));
            let (source, target) = (lab.inner("left").to_string(), lab.inner("right").to_string());
            inside(&lab, &["ping", "-c", "3", "-i", "0.1", "-W", "2", "-I", &source, &target])
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(status(&right)["ike_sas"][0]["remote_id"], "left.example");
            for daemon in [&mut left, &mut right] {
                assert!(
                    daemon.process.stop(Duration::from_secs(5)),
                    "SIGTERM does not end it:\n{}",
                    daemon.log()
                );
            }
        }
    }
}

/// ECDSA and ML-DSA-65 in a row at both ends (RFC 4739), in fragments; a daemon that lacks the second one is told.
//= rfc4739 §2.1
#[test]
fn ecdsa_and_ml_dsa_authenticate_a_tunnel() {
    let Some(lab) = lab("ecdsa_and_ml_dsa_authenticate_a_tunnel") else { return };
    let classical = Authority::root(Key::EcdsaP256, "Root");
    let pq = Authority::root(Key::MlDsa65, "Post-quantum Root");
    for (root, key, name) in [(&classical, Key::EcdsaP256, "ec"), (&pq, Key::MlDsa65, "pq")] {
        root.write(lab.folder(), &format!("{name}-root")).expect("a file");
        for side in ["left", "right"] {
            let entity = root.issue(key, side, &[&format!("{side}.example")]);
            entity.write(lab.folder(), &format!("{side}-{name}")).expect("files");
        }
    }
    let toml = |side: &str, twice: bool| {
        let file = |name: &str| lab.folder().join(name).display().to_string();
        let certs = |name: &str| format!("certs = \"{}\"\n", file(&format!("{side}-{name}.pem")));
        let anchor = |name: &str| format!("cacerts = \"{}\"\n", file(&format!("{name}-root.pem")));
        let key = |name: &str| {
            format!("[secrets.private.{name}]\nfile = \"{}\"\n", file(&format!("{side}-{name}.key")))
        };
        let remote = format!("auth = \"pubkey\"\n{}", anchor("ec"));
        let second = match twice {
            true => format!(
                "[connections.net.local2]\n{}[connections.net.remote2]\n{}{}",
                certs("pq"),
                anchor("pq"),
                key("pq")
            ),
            false => String::new(),
        };
        with_auth(&lab, side, [&certs("ec"), &remote, &format!("{}{second}", key("ec"))])
    };
    let start = |side: &str, twice: bool| {
        Handfast::start(&lab, side, binary(), &toml(side, twice)).unwrap_or_else(|error| panic!("{error}"))
    };
    checked(&lab, "left", &toml("left", true), "then by certificate");
    checked(&lab, "left", &toml("left", true), "ML-DSA-65");
    let (left, right) = (start("left", true), start("right", true));
    left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}\n{}", right.log()));
    let (source, target) = (lab.inner("left").to_string(), lab.inner("right").to_string());
    inside(&lab, &["ping", "-c", "3", "-i", "0.1", "-W", "2", "-I", &source, &target])
        .unwrap_or_else(|error| panic!("{error}"));
    for (daemon, peer) in [(&left, "right"), (&right, "left")] {
        let proofs = &status(daemon)["ike_sas"][0]["remote_auth"];
        let of = |n: usize| (proofs[n]["id"].as_str(), proofs[n]["by"].as_str());
        let name = format!("{peer}.example");
        assert_eq!([of(0), of(1)], [(Some(&*name), Some("ECDSA P-256")), (Some(&*name), Some("ML-DSA-65"))]);
        let shown = daemon.command(&["status"]).unwrap_or_else(|error| panic!("{error}"));
        let line = "authenticated: we by ECDSA P-256 and ML-DSA-65; the peer by ECDSA P-256 and ML-DSA-65";
        assert!(shown.contains(line), "{shown}");
        let log =
            format!("the peer has proved itself twice: as \"{name}\" by ECDSA P-256, then as \"{name}\"");
        assert!(wait_until(Duration::from_secs(2), || daemon.log().contains(&log)), "{}", daemon.log());
    }
    drop((left, right));
    let (mut left, mut right) = (start("left", false), start("right", true));
    must_refuse(&mut left, &mut right, "authentication_failed", &["efused"]);
    assert!(right.log().contains("the peer authenticates once and `remote2` wants a second proof"));
}

/// `check` says what kind of key this end proves itself with.
fn checked(lab: &Lab, side: &str, toml: &str, key: &str) {
    let path = lab.folder().join(format!("{side}-check.toml"));
    std::fs::write(&path, format!("[daemon]\n{toml}")).expect("a file");
    let output = common::handfast(&["check", &path.display().to_string()]);
    let (out, error) = texts(&output);
    assert!(output.status.success(), "{out}{error}");
    assert!(out.contains(key), "{out}");
}

/// A configuration with PPKs: `lines` of the connection, and the PPKs' identities and secrets.
fn with_ppks(lab: &Lab, side: &str, lines: &str, ppks: &[(&str, &str)]) -> String {
    let toml =
        End::new(side).toml(lab).replace("[connections.net]\n", &format!("[connections.net]\n{lines}\n"));
    let secret = |(id, secret): &(&str, &str)| format!("[secrets.ppk.{id}]\nid = \"{id}\"\n{secret}\n");
    toml + &ppks.iter().map(secret).collect::<String>()
}

/// Writes a secret into a file that only we can read.
fn keep_secret(file: &std::path::Path, secret: &str) {
    std::fs::write(file, format!("{secret}\n")).expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(file, private).expect("a mode");
}

/// RFC 9867 between two daemons: in the keys before IKE_AUTH; replaced by `reload`, the secret read from a file.
//= rfc9867 §3.1
#[test]
fn s139_a_ppk_carries_a_tunnel_and_is_replaced() {
    let Some(lab) = lab("s139_a_ppk_carries_a_tunnel_and_is_replaced") else { return };
    let file = |side: &str| lab.folder().join(format!("{side}.ppk"));
    let write = |side: &str, secret: &str| keep_secret(&file(side), secret);
    let old = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let [left, right] = ["left", "right"].map(|side| {
        write(side, old);
        let secret = format!("file = \"{}\"", file(side).display());
        let toml = with_ppks(&lab, side, "ppk_id = \"blue\"\nppk_required = true", &[("blue", &secret)]);
        Handfast::start(&lab, side, binary(), &toml).unwrap_or_else(|error| panic!("{error}"))
    });
    let up = left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}\n{}", right.log()));
    assert!(up.contains("IKE_INTERMEDIATE request 1") && up.contains("IKE_AUTH request 2"), "{up}");
    for daemon in [&left, &right] {
        let shown = daemon.command(&["status"]).unwrap_or_else(|error| panic!("{error}"));
        assert!(shown.contains("the PPK `blue` is part of the keys"), "{shown}");
    }
    let (source, target) = (lab.inner("left").to_string(), lab.inner("right").to_string());
    let ping = || inside(&lab, &["ping", "-c", "3", "-i", "0.1", "-W", "2", "-I", &source, &target]);
    ping().unwrap_or_else(|error| panic!("{error}"));
    // A new key on one side only: what stands stays, the next IKE SA is refused and both say why.
    let new = "0sQSBjaGFpbiBpcyBhcyBzdHJvbmcgYXMgaXRzIHNlY3JldCBpcy4=";
    write("right", new);
    right.command(&["reload"]).unwrap_or_else(|error| panic!("{error}"));
    ping().unwrap_or_else(|error| panic!("{error}"));
    left.command(&["down", "net"]).unwrap_or_else(|error| panic!("{error}"));
    let refused = left.command(&["up", "net"]).err().unwrap_or_default();
    assert!(refused.contains("takes none of our PPKs (`blue`) and requires one"), "{refused}");
    let told = wait_until(Duration::from_secs(2), || {
        right.log().contains("The PPK `blue` is another key at the peer")
    });
    assert!(told, "{}", right.log());
    write("left", new);
    left.command(&["reload"]).unwrap_or_else(|error| panic!("{error}"));
    left.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}\n{}", right.log()));
    ping().unwrap_or_else(|error| panic!("{error}"));
    for secret in ["000102030405", "QSBjaGFpbi", "A chain is"] {
        assert!(!left.log().contains(secret) && !right.log().contains(secret));
    }
}

/// RFC 9867 between two daemons whose IKE SA stands: the file of a PPK has another secret, then there is another PPK; each time the
/// next new keys have it, and packets go through all the time.
//= rfc9867 §3.2
#[test]
fn s139_fresh_ppks_come_with_the_next_new_keys() {
    let Some(lab) = lab("s139_fresh_ppks_come_with_the_next_new_keys") else { return };
    let file = |side: &str| lab.folder().join(format!("{side}.ppk"));
    let [left, right] = ["left", "right"].map(|side| {
        keep_secret(&file(side), "0sQSBjaGFpbiBpcyBhcyBzdHJvbmcgYXMgaXRzIHNlY3JldCBpcy4=");
        let secret = format!("file = \"{}\"", file(side).display());
        let toml = with_ppks(&lab, side, "ppk_id = [\"blue\"]\nppk_required = true", &[("blue", &secret)]);
        Handfast::start(&lab, side, binary(), &toml).unwrap_or_else(|error| panic!("{error}"))
    });
    let run =
        |daemon: &Handfast, words: &[&str]| daemon.command(words).unwrap_or_else(|error| panic!("{error}"));
    run(&left, &["up", "net"]);
    let (source, target) = (lab.inner("left").to_string(), lab.inner("right").to_string());
    let ping = || inside(&lab, &["ping", "-c", "3", "-i", "0.1", "-W", "2", "-I", &source, &target]);
    ping().unwrap_or_else(|error| panic!("{error}"));
    let shows = |text: &str| {
        let shown = || [&left, &right].map(|daemon| run(daemon, &["status"]));
        let both = wait_until(Duration::from_secs(5), || shown().iter().all(|shown| shown.contains(text)));
        assert!(both, "{text}: {:?}\n{}\n{}", shown(), left.log(), right.log());
    };
    shows("yes (the PPK `blue` is part of the keys)");
    // The same name, and another secret.
    for (side, daemon) in [("left", &left), ("right", &right)] {
        keep_secret(&file(side), "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        run(daemon, &["reload"]);
    }
    ping().unwrap_or_else(|error| panic!("{error}"));
    run(&right, &["rekey", "net/lan"]);
    shows("yes (the PPK `blue` is part of its own keys)");
    ping().unwrap_or_else(|error| panic!("{error}"));
    // Another name.
    for (side, daemon) in [("left", &left), ("right", &right)] {
        let path = lab.folder().join(format!("handfast-{side}.toml"));
        let toml = std::fs::read_to_string(&path).expect("its configuration");
        let toml = toml.replace("ppk_id = [\"blue\"]", "ppk_id = [\"green\", \"blue\"]");
        let green = "[secrets.ppk.green]\nid = \"green\"\nsecret = \"0x202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\"\n";
        std::fs::write(&path, toml + green).expect("its configuration");
        run(daemon, &["reload"]);
    }
    run(&left, &["rekey", "net"]);
    shows("yes (the PPK `green` is part of the keys)");
    ping().unwrap_or_else(|error| panic!("{error}"));
    for daemon in [&left, &right] {
        assert!(daemon.log().contains("and the fresh PPK `blue`"), "{}", daemon.log());
        assert!(daemon.log().contains("The PPK `green` is part of its keys from now on"), "{}", daemon.log());
        assert_eq!(daemon.log().matches("\"net\" is up with").count(), 1, "{}", daemon.log());
    }
}
