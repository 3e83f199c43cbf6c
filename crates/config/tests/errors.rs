//! What is told of files that are wrong.

mod common;

use base::WallClock;
use common::{Dir, all, now};
use config::Severity;
use testcerts::{Authority, Key};

const SECRETS: &str = "[secrets.ike.a]\nsecret = \"a secret of more than sixteen octets\"\n";

/// A connection by secret that is right, with one more line in it.
fn with(line: &str) -> String {
    format!("[connections.a]\n{line}\nlocal.auth = \"psk\"\n[connections.a.children.c]\n{SECRETS}")
}

fn with_child(line: &str) -> String {
    format!("[connections.a]\nlocal.auth = \"psk\"\n[connections.a.children.c]\n{line}\n{SECRETS}")
}

#[test]
fn an_unknown_key_shows_place_caret_and_nearest() {
    let dir = Dir::new();
    let [error] = &dir.errors(&with("remote_adrs = \"192.0.2.1\""))[..] else { panic!() };
    let file = dir.path().join("handfast.toml");
    let wanted = format!(
        "error: Unknown key `remote_adrs` in [connections.a].\n --> {}:2:1\n  |\n2 | remote_adrs = \"192.0.2.1\"\n  | ^^^^^^^^^^^\n  = \
         Did you mean `remote_addrs`?",
        file.display()
    );
    assert_eq!(error, &wanted);
}

#[test]
fn a_wrong_word_inside_a_string_is_pointed_at() {
    let dir = Dir::new();
    let [error] = &dir.errors(&with("proposals = [\"default\", \"aes256gcm16-prfsha348-x25519\"]"))[..]
    else {
        panic!()
    };
    assert!(error.contains(":2:38\n"), "{error}");
    assert!(error.contains("\n  |                                      ^^^^^^^^^\n"), "{error}");
    assert!(error.ends_with("Did you mean `prfsha384`?"), "{error}");
    let [error] = &dir.errors(&with_child("remote_ts = \"10.1.0.0/16, 10.2.0.0/33\""))[..] else { panic!() };
    assert!(error.contains(":4:27\n") && error.contains("at most 32"), "{error}");
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_the_file() {
    let text = "\
[daemon]
prot = 500
mtu = 100
[connections.a]
version = 1
remote_addrs = \"10.0.0.300\"
proposals = \"aes256gcm16-prfsha384-x25519-ke1_mlkem786\"
dscp = \"0\"
dpd_delay = \"soon\"
unique = \"sometimes\"
send_cert = true
fragment_size = 100
[connections.a.local]
auth = \"eap-mschapv2\"
[connections.a.children.c]
local_ts = []
mode = \"tunel\"
start_action = \"traps\"
dpd_action = \"hold\"
replay_window = 5
[connection]
";
    let errors = Dir::new().errors(text);
    let wanted = [
        (2, "Unknown key `prot` in [daemon]"),
        (3, "no number from 1280 to 9000"),
        (5, "asks for IKEv1"),
        (6, "`10.0.0.300` is no address"),
        (7, "`mlkem786` is no key exchange method that is known here"),
        (8, "`dscp` in [connections.a] is swanctl's, but this version does not have it"),
        (9, "`soon` is no duration"),
        (10, "`sometimes` is not possible here"),
        (11, "`connections.a.send_cert` is a string, not true or false"),
        (12, "no number from 576 to 9000"),
        (14, "does not have EAP"),
        (16, "is empty or has an empty entry"),
        (17, "Did you mean `tunnel`?"),
        (18, "Did you mean `trap`?"),
        (19, "`hold` is not possible here"),
        (20, "no replay window"),
        (21, "Did you mean `connections`?"),
    ];
    for (line, message) in wanted {
        let found =
            errors.iter().any(|error| error.contains(&format!("toml:{line}:")) && error.contains(message));
        assert!(found, "line {line}: {message}\n{}", errors.join("\n"));
    }
    let lines: Vec<usize> = errors
        .iter()
        .map(|error| error.split("toml:").nth(1).unwrap().split(':').next().unwrap().parse().unwrap())
        .collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn every_syntax_error_has_its_place() {
    let errors = Dir::new().errors("[daemon\nport = = 3\n[connections.a]\nversion = 2\nversion = 2\n");
    assert!(errors.len() >= 2, "{errors:?}");
    assert!(errors.iter().all(|error| error.starts_with("error: This is not TOML: ")), "{errors:?}");
    let twice = Dir::new().errors("[connections.a]\n[connections.b]\n[connections.a]\n");
    assert!(twice[0].contains(":3:") && twice[0].contains("duplicate"), "{twice:?}");
}

#[test]
fn what_a_secret_is_never_shows() {
    let texts = [
        "[secrets.ike.a]\nsecret = \"0xhunter2\"\n",
        "[secrets.ike.a]\nsecret = \"0shunter2!\"\n",
        "[secrets.ike.a]\nsecret = hunter2\n",
        "[secrets.ike.a]\nsecret = \"hunter2\n",
        "[secrets.ike.a]\nsecret = \"\"\"\nhunter2\n",
        "[secrets.ike.a]\nsecert = \"hunter2\"\n",
        "[secrets.ike.a]\nsecret = [\"hunter2\"]\n",
        "[secrets.ike.a]\nsecret = \"hunter2\"\nfile = \"hunter2\"\n",
        "[secrets.ike.a]\nid = { secret = \"hunter2\" }\nsecret = \"hunter2\"",
        "[secrets]\nike.a.secret = \"hunter2\"\nike.a.secret = \"hunter2\"\n",
        "secrets = { ike = { a = { secret = \"hunter2\", sekret = \"hunter2\" } } }\n",
        "[secrets.private.a]\nfile = \"missing\"\nsecret = \"hunter2\"\n",
    ];
    for text in texts {
        let outcome = Dir::new().check(text);
        assert!(!outcome.problems.is_empty(), "{text}");
        let shown = format!("{}{:?}", all(&outcome.problems), outcome.problems);
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
    }
}

#[test]
fn files_that_cannot_be_used_are_told_by_name_and_reason() {
    let dir = Dir::with_certificates();
    dir.write("empty.pem", "");
    dir.write_private("broken.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    let text = "\
[connections.a.local]
certs = \"moon.pem\"
[connections.a.remote]
cacerts = [\"missing.pem\", \"empty.pem\", \".\"]
[connections.a.children.c]
[authorities.one]
cacert = \"sun.pem\"
[authorities.two]
[secrets.private.broken]
file = \"broken.key\"
[secrets.private.ca]
file = \"ca.pem\"
[secrets.private.none]
[secrets.ike.none]
[secrets.ike.file]
file = \"nowhere\"
";
    let errors = dir.errors(text).join("\n\n");
    for wanted in [
        "missing.pem` does not exist",
        "empty.pem` has no usable certificate",
        "is not a file",
        "CN=sun` is no authority's",
        "[authorities.two] names no certificate",
        "`broken.key` has no usable private key",
        "`ca.pem` has no usable private key",
        "[secrets.private.none] names no file",
        "[secrets.ike.none] has no secret",
        "nowhere` does not exist",
        "There is no private key for the certificate `C=CH, O=Handfast Test, CN=moon`",
    ] {
        assert!(errors.contains(wanted), "{wanted}\n{errors}");
    }
}

const CERTIFIED: &str = "\
[connections.a.local]
certs = \"moon.pem\"
id = \"moon.example.org\"
[connections.a.children.c]
[authorities.root]
cacert = \"ca.pem\"
[secrets.private.moon]
file = \"moon.key\"
";

#[test]
fn a_key_that_is_another_certificates_is_refused() {
    let dir = Dir::with_certificates();
    assert!(dir.check(CERTIFIED).problems.is_empty());
    let outcome = dir.check(&CERTIFIED.replace("moon.key", "sun.key"));
    let shown = all(&outcome.problems);
    assert!(
        shown.contains(
            "None of the 1 private keys belongs to the certificate `C=CH, O=Handfast Test, CN=moon`"
        ),
        "{shown}"
    );
    assert!(
        shown.contains(
            "warning: No connection has a certificate or public key that this private key belongs to"
        ),
        "{shown}"
    );
}

#[test]
fn s036_public_keys_need_their_private_key_and_a_name() {
    let dir = Dir::with_certificates();
    let text = "\
[connections.a]
local = { auth = \"pubkey\", pubkeys = \"moon.pub\", id = \"moon\" }
remote = { id = \"sun\", pubkeys = \"sun.pub\" }
children = { net = {} }
[secrets.private.moon]
file = \"moon.key\"
";
    assert!(dir.check(text).problems.is_empty(), "{}", all(&dir.check(text).problems));
    for (from, to, wanted) in [
        ("\"moon.key\"", "\"sun.key\"", "There is no private key for our public key `"),
        ("id = \"sun\", ", "", "a public key carries no name"),
        ("id = \"sun\"", "id = \"*.sun\"", "a public key carries no name"),
        ("\"moon.pub\"", "\"moon.pem\"", "has no public key; `openssl pkey"),
        ("\"sun.pub\"", "\"handfast.toml\"", "does not exist"),
        ("\"moon.pub\",", "\"moon.pub\", certs = \"moon.pem\",", "has both `certs` and `pubkeys`"),
        ("\"moon.pub\",", "[\"moon.pub\", \"sun.pub\"],", "names 2 public keys of ours"),
        ("auth = \"pubkey\"", "auth = \"psk\"", "but authenticates by pre-shared key"),
    ] {
        let shown = all(&dir.check(&text.replacen(from, to, 1)).problems);
        assert!(shown.contains(wanted), "{wanted}: {shown}");
    }
}

#[test]
fn an_identity_that_the_certificate_does_not_have_is_refused() {
    let dir = Dir::with_certificates();
    for id in ["sun.example.org", "moon@example.org", "10.0.0.1", "CN=moon", "keyid:moon"] {
        let errors = dir.errors(&CERTIFIED.replace("\"moon.example.org\"", &format!("\"{id}\"")));
        assert!(errors.len() == 1 && errors[0].contains(":3:6\n"), "{id}: {errors:?}");
        assert!(errors[0].contains("moon.example.org"), "the right one is told: {errors:?}");
    }
    let pinned =
        format!("{CERTIFIED}[connections.a.remote]\ncerts = \"sun.pem\"\nid = \"mars.example.org\"\n");
    assert!(dir.errors(&pinned)[0].contains("sun.example.org"));
}

#[test]
fn validity_is_checked_by_the_given_clock() {
    let dir = Dir::with_certificates();
    let ca = Authority::root(Key::EcdsaP256, "Clock");
    let day = 86_400;
    let short = ca.issue_with(Key::EcdsaP256, "moon", &["moon.example.org"], |params| {
        params.not_before = testcerts::rcgen::date_time_ymd(2030, 1, 1);
        params.not_after = testcerts::rcgen::date_time_ymd(2030, 3, 1);
    });
    dir.write("moon.pem", short.pem());
    dir.write_private("moon.key", short.key_pem());
    let start = 1_893_456_000; // 2030-01-01
    let end = start + 59 * day;
    let told = |wall| {
        let outcome = dir.check_at(CERTIFIED, WallClock(wall));
        let own: Vec<_> =
            outcome.problems.into_iter().filter(|p| p.message.contains("Our certificate")).collect();
        own.first().map(|problem| (problem.severity, problem.message.clone()))
    };
    assert_eq!(told(start + day), None);
    let (severity, message) = told(start - 3 * day).unwrap();
    assert!(severity == Severity::Warning && message.contains("becomes valid in 3 days"), "{message}");
    let (severity, message) = told(end - 5 * day).unwrap();
    assert!(severity == Severity::Warning && message.contains("expires in 5 days"), "{message}");
    let (severity, message) = told(end + 5 * day).unwrap();
    assert!(severity == Severity::Warning && message.contains("expired 5 days ago"), "{message}");
}

#[test]
fn a_connection_without_its_secret_or_trust_is_refused() {
    let dir = Dir::with_certificates();
    let psk = "[connections.a]\nremote_addrs = \"192.0.2.2\"\nlocal = { auth = \"psk\", id = \"moon\" }\n[connections.a.children.c]\n";
    let [error] = &dir.errors(psk)[..] else { panic!() };
    assert!(
        error.contains("no secret is configured at all") && error.contains("Add [secrets.ike.a]"),
        "{error}"
    );
    let other =
        format!("{psk}[secrets.ike.x]\nid = \"mars\"\nsecret = \"a secret of more than sixteen octets\"\n");
    let [error] = &dir.errors(&other)[..] else { panic!() };
    assert!(error.contains("mars") && error.contains("192.0.2.2"), "{error}");
    // For a peer of unknown identity some secret for a peer is enough.
    assert!(dir.errors(&other.replace("remote_addrs = \"192.0.2.2\"\n", "")).is_empty());

    let trust = "[connections.a.local]\nauth = \"psk\"\n[connections.a.remote]\nauth = \"pubkey\"\n[connections.a.children.c]\n";
    let errors = dir.errors(&format!("{trust}{SECRETS}"));
    assert!(errors[0].contains("nothing says which ones to trust"), "{errors:?}");
    let errors = dir.errors("[connections.a]\n[connections.b.local]\n[connections.b.children.c]\n");
    assert!(errors[0].contains("[connections.a] does not say how we authenticate"), "{errors:?}");
    assert!(
        errors[1].contains("authenticates by certificate (auth = \"pubkey\"), but names none"),
        "{errors:?}"
    );
}

#[test]
fn what_no_packet_can_match_is_refused() {
    let dir = Dir::new();
    for (text, wanted) in [
        (with("local_addrs = \"192.0.2.1\"\nremote_addrs = \"2001:db8::1\""), "of different IP versions"),
        (with_child("local_ts = \"10.0.0.0/8\"\nremote_ts = \"2001:db8::/32\""), "of different IP versions"),
        (
            with_child("local_ts = \"10.0.0.0/8[tcp]\"\nremote_ts = \"10.0.0.0/8[udp]\""),
            "no IP protocol in common",
        ),
        (with_child("local_ts = \"dynamic, 10.0.0.0/8\""), "`dynamic` stands beside other selectors"),
        (with_child("local_ts = \"10.0.0.0/8[tcp/99999]\""), "`99999` is no port"),
        (with("local_addrs = \"192.0.2.1, , 192.0.2.2\""), "empty entry"),
        (with("local_addrs = [1]"), "a list of strings, not of numbers"),
        (with("children = 3").replace("[connections.a.children.c]\n", ""), "is a table, not an integer"),
    ] {
        let errors = dir.errors(&text);
        assert!(errors.len() == 1 && errors[0].contains(wanted), "{wanted}: {errors:?}");
    }
    let many: Vec<String> = (0..=config::limits::LIST).map(|n| format!("\"10.0.{n}.0/24\"")).collect();
    assert!(
        dir.errors(&with_child(&format!("local_ts = [{}]", many.join(","))))[0]
            .contains("more than 255 entries")
    );
    let long = "x".repeat(config::limits::NAME + 1);
    assert!(
        dir.errors(&with("").replace("connections.a", &format!("connections.{long}")))[0]
            .contains("is no name")
    );
    assert!(dir.errors(&with("").replace("connections.a", "connections.\"a/b\""))[0].contains("is no name"));
}

#[test]
fn what_is_dangerous_or_idle_is_warned_about() {
    let dir = Dir::new();
    let short = "secret = \"short\"\n";
    for (text, wanted) in [
        (with("proposals = \"aes128-sha1-modp1024\""), "allows what is weak: modp1024 (1024-bit group)"),
        (with_child("esp_proposals = \"null-sha256\""), "null (no encryption)"),
        (with_child("mode = \"transport\"\nlocal_ts = \"10.0.0.0/8\""), "`local_ts` is wider than one host"),
        (with_child("local_ts = \"10.1.2.3/16\""), "`10.1.2.3/16` is read as 10.1.0.0/16"),
        (with_child("start_action = \"start\""), "has no address or name to call"),
        (with_child("start_action = \"trap\""), "has no address or name to call"),
        (with_child("dpd_action = \"restart\""), "has no address or name to call"),
        (with_child("replay_window = 0"), "Without a replay window"),
        (with_child("start_action = \"start\"\ninactivity = \"10m\""), "nothing brings it back"),
        (with("").replace("[connections.a.children.c]\n", ""), "has no children"),
        (
            with("").replace("secret = \"a secret of more than sixteen octets\"\n", short),
            "fewer than 16 octets",
        ),
        (format!("{}[secrets.ike.b]\n{short}", with("")), "is for everybody, as one before it"),
    ] {
        let outcome = dir.check(&text);
        assert!(outcome.config.is_some(), "{}", all(&outcome.problems));
        assert!(all(&outcome.problems).contains(wanted), "{wanted}: {}", all(&outcome.problems));
    }
    let dir = Dir::with_certificates();
    dir.write("moon.key", std::fs::read(dir.path().join("sun.key")).unwrap());
    use std::os::unix::fs::PermissionsExt;
    let key = dir.path().join("moon.key");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(dir.warnings(CERTIFIED)[0].contains("moon.key`, which holds a secret."));
}

/// Pre-shared keys that can be guessed off line by whoever answers in the peer's place: as long as a key should be, or
/// warned about.
#[test]
fn cve_2018_5389_a_short_secret_is_warned_about() {
    let dir = Dir::new();
    for (secret, warned) in [("x", true), ("fifteen octets.", true), ("of sixteen octet", false)] {
        let text = with("").replace("a secret of more than sixteen octets", secret);
        let problems = all(&dir.check(&text).problems);
        assert_eq!(problems.contains("fewer than 16 octets"), warned, "{secret}: {problems}");
        assert!(!problems.contains(secret) || secret.len() == 1, "it is not repeated");
    }
}

/// Extended sequence numbers are followed by way of the replay window.
//= rfc4303 §3.3.3
#[test]
fn s114_a_time_that_is_no_time_is_refused() {
    let dir = Dir::new();
    let [error] = &dir.errors(&with_child("inactivity = \"500ms\""))[..] else { panic!() };
    assert!(error.contains("too short for `inactivity`") && error.contains("at least 1s"), "{error}");
}

#[test]
fn s166_extended_sequence_numbers_want_a_replay_window() {
    let dir = Dir::new();
    let only = with_child("esp_proposals = \"aes256gcm16-esn\"\nreplay_window = 0");
    let [error] = &dir.errors(&only)[..] else { panic!() };
    assert!(error.contains("need a replay window") && error.contains("noesn"), "{error}");
    for good in ["aes256gcm16-esn-noesn", "aes256gcm16", "default"] {
        let text = with_child(&format!("esp_proposals = \"{good}\"\nreplay_window = 0"));
        let config = dir.check(&text).config.expect("a configuration");
        let child = &config.policy.connections[0].children[0];
        let none = wire::num::EsnMode::NONE;
        assert!(child.esp_proposals.iter().all(|proposal| proposal.esn == [none]), "{good}");
    }
}

#[test]
fn the_file_itself_may_be_the_problem() {
    let dir = Dir::new();
    let load = |name: &str| {
        let suite = provider::Provider::new();
        let tools = config::Tools { suite: &suite, load_key: &common::load_key, wall: now() };
        config::load(&dir.path().join(name), &tools).map(|_| ()).unwrap_err()[0].to_string()
    };
    assert!(load("missing.toml").contains("does not exist"));
    assert!(load(".").contains("is not a file"));
    dir.write("latin1.toml", b"[daemon]\n# \xe9\n");
    assert!(load("latin1.toml").contains("line 2 has an octet that does not belong"));
    dir.write("wrong.toml", "[demon]\n");
    assert!(load("wrong.toml").contains("Did you mean `daemon`?"));
    let big = std::fs::File::create(dir.path().join("big.toml")).unwrap();
    big.set_len(config::limits::FILE + 1).unwrap();
    assert!(load("big.toml").contains("is longer than"));
    let big = std::fs::File::create(dir.path().join("big.pem")).unwrap();
    big.set_len(config::limits::INCLUDED_FILE + 1).unwrap();
    assert!(dir.errors("[authorities.a]\ncacert = \"big.pem\"\n")[0].contains("is longer than"));
}

#[test]
fn a_file_without_a_connection_is_warned_about() {
    let dir = Dir::new();
    assert!(dir.warnings("")[0].contains("The file has no connection."));
}

#[test]
fn a_file_with_a_secret_that_everybody_can_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let path = dir.write("secret.toml", with(""));
    let told = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let suite = provider::Provider::new();
        let tools = config::Tools { suite: &suite, load_key: &common::load_key, wall: now() };
        let (_, warnings) = config::load(&path, &tools).unwrap();
        all(&warnings)
    };
    let warning = told(0o644);
    assert!(warning.contains("secret.toml`, which holds a secret."), "{warning}");
    assert!(warning.contains(&format!("chmod o-rwx {}", path.display())), "{warning}");
    assert_eq!(told(0o640), "");
}

#[test]
fn an_algorithm_that_the_build_lacks_is_refused_where_it_is_named() {
    let dir = Dir::new();
    let suite = provider::Provider::new().without(wire::num::KeMethod::CURVE448);
    let tools = config::Tools { suite: &suite, load_key: &common::load_key, wall: now() };
    let text = with("proposals = \"aes256gcm16-prfsha384-x448\"");
    let outcome = config::check_text(&dir.path().join("a.toml"), &text, false, &tools);
    assert!(all(&outcome.problems).contains("`x448` is known, but this build of Handfast cannot do it."));
}

#[test]
fn problems_do_not_flood() {
    let text: String = (0..5000).map(|n| format!("unknown{n} = 1\n")).collect();
    assert_eq!(Dir::new().errors(&text).len(), config::limits::PROBLEMS);
}

#[test]
fn lifetimes_that_contradict_each_other_are_refused() {
    let dir = Dir::new();
    let cases = [
        (
            with_child("rekey_time = \"2h\"\nlife_time = \"1h\""),
            "`life_time` ends a child before `rekey_time`",
        ),
        (with_child("rekey_bytes = \"1g\"\nlife_bytes = \"5m\""), "`life_bytes` ends a child before"),
        (with_child("rekey_packets = 9\nrand_packets = 10"), "`rand_packets` is more than `rekey_packets`"),
        (with("rekey_time = \"1h\"\nrand_time = \"2h\""), "`rand_time` is more than `rekey_time`"),
        (with("reauth_time = \"1h\"\nrand_time = \"2h\""), "`rand_time` is more than `reauth_time`"),
        (with_child("rekey_bytes = \"5 tons\""), "is no number of octets"),
        (with_child("life_bytes = \"17179869184g\""), "is no number of octets"),
        (with_child("rekey_packets = \"5k\""), "is no number from 0"),
    ];
    for (text, wanted) in cases {
        let errors = dir.errors(&text);
        assert!(matches!(&errors[..], [one] if one.contains(wanted)), "{wanted}: {errors:?}");
    }
}

#[test]
fn shunts_that_mean_nothing_are_refused() {
    let dir = Dir::new();
    let with_shunt = |lines: &str| format!("{}[shunts.wall]\n{lines}\n", with(""));
    let good = "action = \"drop\"\nremote_ts = \"10.2.0.0/16\"\n";
    assert!(dir.check(&with_shunt(good)).config.is_some());
    for (lines, wanted) in [
        ("remote_ts = \"10.2.0.0/16\"", "[shunts.wall] has no `action`."),
        ("action = \"pass\"", "[shunts.wall] has no `remote_ts`."),
        ("action = \"reject\"\nremote_ts = \"10.2.0.0/16\"", "reject"),
        ("action = \"drop\"\nremote_ts = \"dynamic\"", "`shunts.wall.remote_ts` names no addresses"),
        (&format!("{good}local_ts = \"dynamic\""), "leave it out: then it means every address"),
        (&format!("{good}local_ts = \"2001:db8::/64\""), "different IP versions"),
        (
            "action = \"drop\"\nlocal_ts = \"10.1.0.0/16[udp]\"\nremote_ts = \"10.2.0.0/16[tcp]\"",
            "no IP protocol in common",
        ),
        (&format!("{good}mode = \"tunnel\""), "Unknown key `mode` in [shunts.wall]"),
    ] {
        let errors = dir.errors(&with_shunt(lines));
        assert!(errors.len() == 1 && errors[0].contains(wanted), "{lines}: {errors:?}");
    }
}

#[test]
fn swanctls_modes_without_an_sa_are_shunts_here() {
    for mode in ["pass", "drop"] {
        let [error] = &Dir::new().errors(&with_child(&format!("mode = \"{mode}\"")))[..] else { panic!() };
        assert!(
            error.contains(&format!("Write a [shunts.NAME] with `action = \"{mode}\"` instead.")),
            "{error}"
        );
    }
}

#[test]
fn an_interface_has_a_name_of_its_own() {
    let dir = Dir::new();
    for (text, place, words) in [
        (with_child("interface = \"hf site\""), ":4:13\n", "is no name of an interface"),
        (with_child("interface = \"hf%d\""), ":4:13\n", "is no name of an interface"),
        (with_child("interface = \"hf-with-sixteen-\""), ":4:13\n", "1 to 15 letters"),
        (with_child("interface = \"hf7\""), ":4:13\n", "`daemon.interface` is `hf%d`"),
        (with_child("interface = 7"), ":4:13\n", "is a string"),
        (
            format!("[daemon]\ninterface = \"site\"\n{}", with_child("interface = \"site\"")),
            ":6:13\n",
            "`site`",
        ),
        (with_child("interface = \"a\"\nnetns = \"a/b\""), ":5:9\n", "is no name of a network namespace"),
        (with_child("netns = \"red\""), ":4:9\n", "needs `interface`"),
        (with_child("if_id_in = 7"), ":4:1\n", "interface = \"hf-site1\""),
    ] {
        let [error] = &dir.errors(&text)[..] else { panic!("{text}") };
        assert!(error.contains(place) && error.contains(words), "{error}");
    }
}

#[test]
fn an_interface_is_in_one_namespace() {
    let dir = Dir::new();
    let text = |c: &str, d: &str| {
        let child =
            |name: &str, more: &str| format!("[connections.a.children.{name}]\ninterface = \"x\"\n{more}");
        with("") + &child("d", c) + &child("e", d)
    };
    let red = "netns = \"red\"\n";
    assert_eq!(dir.errors(&text(red, red)), [""; 0]);
    let [error] = &dir.errors(&text("", red))[..] else { panic!() };
    let words =
        "`x` is in the network namespace `red` here, and in the daemon's network namespace for another child";
    assert!(error.contains(words) && error.contains(":11:9\n"), "{error}");
    let [error] = &dir.errors(&text(red, ""))[..] else { panic!() };
    assert!(
        error.contains("in the daemon's network namespace here") && error.contains(":11:13\n"),
        "{error}"
    );
}

#[test]
fn addresses_of_the_peer_want_one_interface() {
    let dir = Dir::new();
    let text = |more: &str| with(&format!("vips = \"0.0.0.0\"\nchildren.b.interface = \"hf-b\"\n{more}"));
    let [error] = &dir.errors(&text(""))[..] else { panic!() };
    assert!(error.contains(":2:8\n") && error.contains("the same `interface`, or none"), "{error}");
    let [error] = &dir.errors(&text("children.d.interface = \"hf-d\""))[..] else { panic!() };
    assert!(error.contains("do not all have the same"), "{error}");
    let same = text("children.d.interface = \"hf-b\"").replace("[connections.a.children.c]\n", "");
    assert_eq!(dir.errors(&same), [""; 0]);
}

#[test]
fn there_are_only_so_many_interfaces() {
    let dir = Dir::new();
    let child = |n: usize| format!("[connections.a.children.c{n}]\ninterface = \"i-{n}\"\n");
    let text = |most: usize| with("") + &(0..most).map(child).collect::<String>();
    assert_eq!(dir.errors(&text(256)), [""; 0]);
    let [error] = &dir.errors(&text(257))[..] else { panic!() };
    assert!(error.contains("more than 256 interfaces") && error.contains(":520:13\n"), "{error}");
}
