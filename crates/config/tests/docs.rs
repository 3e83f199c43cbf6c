//! The documentation and the schema say the same, and every example in it is right.

mod common;

use common::{Dir, all};
use config::schema::TABLES;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn configuration() -> String {
    fs::read_to_string(root().join("docs/configuration.md")).unwrap()
}

#[test]
fn every_key_is_documented_in_its_tables_section() {
    let text = configuration();
    for table in TABLES.iter().filter(|table| !table.keys.is_empty()) {
        let header = format!("# `[{}]`", table.path);
        let section = text.split_once(&header).unwrap_or_else(|| panic!("{header}")).1;
        let section = section.split("\n#").next().unwrap();
        for key in table.keys {
            assert!(section.contains(&format!("\n| `{key}` | ")), "{key} in {header}");
        }
        let rows = section.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, table.keys.len(), "{header} documents a key that does not exist");
    }
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let text = configuration();
    let documented = |key: &str| {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{key}` | "))).unwrap();
        row.split('|').nth(2).unwrap().trim().trim_matches('`').to_string()
    };
    // Each documented default, written out, gives the same configuration as leaving it out.
    let keys = |names: &[&str]| -> String {
        names.iter().map(|key| format!("{key} = {}\n", documented(key))).collect()
    };
    let connection = keys(&[
        "version",
        "local_addrs",
        "remote_addrs",
        "encap",
        "fragmentation",
        "fragment_size",
        "mobike",
        "send_cert",
        "send_certreq",
        "dpd_delay",
        "dpd_timeout",
        "keyingtries",
        "retry_initiate_interval",
        "clone_ike_sa",
        "unique",
    ]);
    let child = keys(&[
        "local_ts",
        "remote_ts",
        "mode",
        "single_pair",
        "start_action",
        "dpd_action",
        "close_action",
        "inactivity",
        "replay_window",
    ]);
    let daemon = TABLES.iter().find(|table| table.path == "daemon").unwrap();
    // What has none is left out by default.
    let has_default = |key: &&&str| documented(key) != "–";
    let daemon: Vec<&str> = daemon.keys.iter().filter(has_default).copied().collect();
    let daemon = keys(&daemon);
    let log = keys(&["level", "format"]);
    let file = |connection: &str, child: &str, daemon: &str, log: &str| {
        let text = format!(
            "[connections.a]\n{connection}local.auth = \"psk\"\n[connections.a.children.c]\n{child}\
             [secrets.ike.a]\nsecret = \"a secret of sixteen octets\"\n[daemon]\n{daemon}[daemon.log]\n{log}"
        );
        format!("{:?}", Dir::new().good(&text))
    };
    assert_eq!(file(&connection, &child, &daemon, &log), file("", "", "", ""));
    for (default, kind) in [(policy::default_ike(), "IKE"), (policy::default_esp(), "ESP")] {
        let first = default[0].to_string();
        assert!(text.replace("\n  ", " ").contains(&format!("- {kind}: `{first}`")), "{first}");
    }
}

#[test]
fn every_example_is_right() {
    let mut texts = vec![root().join("README.md")];
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    texts.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    let mut examples = 0;
    for path in texts {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for block in text.split("\n```toml\n").skip(1) {
            let example = block.split("\n```").next().unwrap();
            let outcome = Dir::with_certificates().check(example);
            let shown = all(&outcome.problems);
            assert!(outcome.config.is_some(), "{}:\n{example}\n{shown}", path.display());
            examples += 1;
        }
    }
    assert!(examples >= 2, "{examples}");
}

#[test]
fn the_example_with_every_key_has_every_key() {
    let text = fs::read_to_string(root().join("docs/examples/everything.toml")).unwrap();
    let dir = Dir::with_certificates();
    dir.write_private("fred.psk", "a secret of more than sixteen octets");
    dir.write_private("sun-2027.ppk", "a secret of thirty-two octets, and of more");
    let outcome = dir.check(&text);
    assert!(outcome.problems.is_empty(), "{}", all(&outcome.problems));
    for key in TABLES.iter().flat_map(|table| table.keys) {
        assert!(text.contains(&format!("{key} = ")), "{key}");
    }
}
