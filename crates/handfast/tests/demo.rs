//! `handfast demo`: its facts, and that it leaves nothing behind.

mod common;

use common::{binary, handfast, texts};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Exit code of a machine that cannot do it.
const UNABLE: i32 = 4;

fn folder_of(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("handfast-demo-{pid}"))
}

/// Processes that run with a file of the demo of `pid`.
fn daemons_of(pid: u32) -> Vec<String> {
    let mark = format!("handfast-demo-{pid}/");
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&mark))
        .collect()
}

fn must_show_all_facts(output: &std::process::Output) {
    let (out, err) = texts(output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!(report["established"], true);
    assert_eq!(report["plaintext_on_wire"], false);
    assert_eq!(report["plaintext_inside"], true);
    assert_eq!(report["problems"], serde_json::json!([]));
    assert_eq!(report["ike_sa"]["algorithms"]["encryption"], "AES_GCM_16");
    assert_eq!(report["ike_sa"]["algorithms"]["key_exchange"], "CURVE25519");
    assert_eq!(report["child_sa"]["mode"], "tunnel");
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number(&report["child_sa"]["counters"]["packets_out"]) >= 5.0);
    assert!(number(&report["packets"]["ike"]) >= 4.0);
    assert!(number(&report["packets"]["esp"]) >= 10.0);
    assert!(number(&report["tcp"]["octets"]) > 1e6);
    assert!(number(&report["milliseconds"]) > 0.0);
    let ladder = report["ladder"].as_array().expect("a ladder");
    let exchanges: Vec<&str> = ladder.iter().filter_map(|rung| rung["exchange"].as_str()).collect();
    let wanted =
        ["IKE_SA_INIT", "IKE_SA_INIT", "IKE_INTERMEDIATE", "IKE_INTERMEDIATE", "IKE_AUTH", "IKE_AUTH"];
    assert_eq!(exchanges[..6], wanted);
}

#[test]
fn the_demo_shows_its_facts() {
    let output = handfast(&["demo", "--json"]);
    if output.status.code() == Some(UNABLE) {
        return testkit::not_run("the_demo_shows_its_facts", "needs root or user namespaces");
    }
    must_show_all_facts(&output);
}

#[test]
fn the_demo_does_the_same_without_root() {
    const TEST: &str = "the_demo_does_the_same_without_root";
    const NOBODY: u32 = 65534;
    if interop::missing(&[]).is_some() {
        return testkit::not_run(
            TEST,
            "only root can become somebody else (the test before this one did it)",
        );
    }
    // The build folder may be closed to others: a copy is not.
    let copy = std::env::temp_dir().join(format!("handfast-nobody-{}", std::process::id()));
    std::fs::copy(binary(), &copy).expect("a copy");
    let output = Command::new(&copy).args(["demo", "--json"]).uid(NOBODY).gid(NOBODY).output();
    let _ = std::fs::remove_file(&copy);
    let output = output.expect("it runs");
    if output.status.code() == Some(UNABLE) {
        let (out, _) = texts(&output);
        assert!(out.contains("sysctl"), "it does not say what to do: {out}");
        return testkit::not_run(TEST, "user namespaces are refused here");
    }
    must_show_all_facts(&output);
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    const TEST: &str = "an_interrupted_demo_leaves_nothing_behind";
    // SIGINT as by Ctrl-C, which it answers; SIGKILL, which nobody can answer.
    for (signal, answers) in [("INT", true), ("KILL", false)] {
        let mut demo = Command::new(binary())
            .args(["demo", "--keep"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary was built with this test");
        let pid = demo.id();
        let end = Instant::now() + Duration::from_secs(10);
        while daemons_of(pid).len() < 2 {
            if let Ok(Some(status)) = demo.try_wait() {
                assert_eq!(status.code(), Some(UNABLE), "the demo ended early");
                return testkit::not_run(TEST, "needs root or user namespaces");
            }
            assert!(Instant::now() < end, "the gateways do not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid_text = pid.to_string();
        let told = Command::new("kill")
            .args([&format!("-{signal}"), &pid_text])
            .status()
            .expect("kill is everywhere");
        assert!(told.success());
        let status = demo.wait().expect("our child");
        if answers {
            assert_eq!(status.code(), Some(130));
            assert!(!folder_of(pid).exists(), "its folder is left behind");
        }
        let end = Instant::now() + Duration::from_secs(10);
        while !daemons_of(pid).is_empty() {
            assert!(Instant::now() < end, "left behind: {:?}", daemons_of(pid));
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = std::fs::remove_dir_all(folder_of(pid));
    }
}
