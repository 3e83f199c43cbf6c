//! One daemon alone: what it says about bad input, and how fast it starts. No privileges needed.

mod common;

use common::{binary, handfast, texts};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A folder of one test, removed with it.
struct Folder(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Folder {
    fn new() -> Self {
        let name = format!("handfast-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a new folder");
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a new file");
        path.display().to_string()
    }

    fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A daemon that carries no traffic and takes any free ports.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(folder: &Folder, connections: &str) -> Self {
        let socket = folder.socket();
        let config = folder.file("handfast.toml", &format!("{}{connections}", head(&socket, 0)));
        let child = Command::new(binary())
            .args(["run", "--config", &config])
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("the binary was built with this test");
        let mut daemon = Self { child, socket };
        let end = Instant::now() + Duration::from_secs(10);
        while UnixStream::connect(&daemon.socket).is_err() {
            assert!(Instant::now() < end && daemon.is_running(), "the daemon does not start");
            std::thread::sleep(Duration::from_millis(1));
        }
        daemon
    }

    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn ask(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let socket = self.socket.display().to_string();
        let output = handfast(&[&["--socket", &socket], args].concat());
        let (out, err) = texts(&output);
        (output.status.code(), out, err)
    }

    /// Ends it by SIGTERM and returns its log.
    fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill is everywhere");
        assert!(told.success());
        let mut log = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut log).expect("a log is text");
        assert!(self.child.wait().expect("our child").success(), "{log}");
        log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn head(socket: &Path, port: u16) -> String {
    format!(
        "[daemon]\ncontrol = \"{}\"\ndataplane = \"none\"\nport = {port}\nport_nat_t = 0\n\
         retransmit_timeout = \"0.1\"\nretransmit_tries = 1\n",
        socket.display()
    )
}

fn connection(name: &str, number: usize) -> String {
    let (third, fourth) = (number / 250, number % 250 + 1);
    format!(
        "[connections.{name}]
local_addrs = \"127.0.0.1\"
remote_addrs = \"127.1.{third}.{fourth}\"
proposals = \"aes256gcm16-prfsha384-x25519\"
[connections.{name}.local]
auth = \"psk\"
id = \"us.example\"
[connections.{name}.remote]
auth = \"psk\"
id = \"{name}.example\"
[connections.{name}.children.lan]
local_ts = \"10.1.0.0/16\"
remote_ts = \"10.{}.{}.0/24\"
esp_proposals = \"aes256gcm16\"
[secrets.ike.{name}]
id = \"{name}.example\"
secret = \"the secret of {name}, long enough\"
",
        2 + third,
        fourth
    )
}

#[test]
fn a_typo_is_pointed_at_by_check_and_by_run() {
    let folder = Folder::new();
    let text = format!("{}{}", head(&folder.socket(), 0), connection("office", 0));
    let file = folder.file("typo.toml", &text.replace("local_addrs", "local_adrs"));
    let line = 1 + text.lines().position(|line| line.starts_with("local_addrs")).expect("the line");
    for args in [vec!["check", &file], vec!["run", "--config", &file]] {
        let output = handfast(&args);
        let (out, err) = texts(&output);
        let said = out + &err;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("typo.toml:{line}:1")), "{said}");
        assert!(said.contains("`local_addrs`"), "the nearest key is not named: {said}");
    }
    let output = handfast(&["check", "--json", &file]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["usable"], false);
    assert_eq!(report["problems"][0]["line"], line);
}

#[test]
fn check_says_what_passes_by_the_tunnels_and_what_is_dropped() {
    let folder = Folder::new();
    let shunts = "[shunts.dns]\naction = \"pass\"\nlocal_ts = \"0.0.0.0/0\"\nremote_ts = \"192.0.2.53/32\"\n";
    let text = format!("{}{}{shunts}", head(&folder.socket(), 0), connection("office", 0));
    let file = folder.file("shunts.toml", &text);
    let (out, err) = texts(&handfast(&["check", &file]));
    assert!(out.contains("shunt dns: 0.0.0.0/0 to 192.0.2.53/32 passes by the tunnels"), "{out}{err}");
    let output = handfast(&["check", "--json", &file]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let wanted = serde_json::json!([{
        "name": "dns", "action": "pass", "local_ts": ["0.0.0.0/0"], "remote_ts": ["192.0.2.53/32"]
    }]);
    assert_eq!(report["shunts"], wanted);
}

#[test]
fn a_missing_file_is_named() {
    for args in [["check", "/nonexistent/handfast.toml"], ["run", "--config=/nonexistent/handfast.toml"]] {
        let output = handfast(&args);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(2));
        assert!((out + &err).contains("/nonexistent/handfast.toml"));
    }
}

#[test]
fn a_busy_port_is_named_and_nothing_is_left() {
    let folder = Folder::new();
    let taken = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let file =
        folder.file("busy.toml", &format!("{}{}", head(&folder.socket(), port), connection("office", 0)));
    let output = handfast(&["run", "--config", &file]);
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains(&port.to_string()), "the port is not named: {err}");
    assert!(!folder.socket().exists(), "the control socket is left behind");
}

#[test]
fn a_second_daemon_on_the_same_socket_is_told_so_and_the_first_lives_on() {
    let folder = Folder::new();
    let mut first = Daemon::start(&folder, &connection("office", 0));
    let output = handfast(&["run", "--config", &folder.0.join("handfast.toml").display().to_string()]);
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains("Another handfast daemon"), "{err}");
    assert!(first.is_running());
    assert_eq!(first.ask(&["status"]).0, Some(0));
}

#[test]
fn the_control_socket_is_for_its_owner_and_goes_with_the_daemon() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &connection("office", 0));
    let mode = std::fs::metadata(&daemon.socket).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.stop();
    assert!(!folder.socket().exists());
    let socket = folder.socket().display().to_string();
    let output = handfast(&["--socket", &socket, "status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(texts(&output).1.contains("handfast run --config"), "{}", texts(&output).1);
}

#[test]
fn a_daemon_with_a_thousand_connections_is_ready_in_a_tenth_of_a_second() {
    let folder = Folder::new();
    let connections: String = (0..1000).map(|n| connection(&format!("peer{n}"), n)).collect();
    let daemon = Daemon::start(&folder, &connections);
    let (_, out, _) = daemon.ask(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(status["connections"].as_array().map(Vec::len), Some(1000));
    let log = daemon.stop();
    let ready = log.lines().find(|line| line.contains("is ready after")).expect("it says when it is ready");
    let millis: f64 = ready
        .split("after ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .expect("a figure")
        .parse()
        .expect("a number");
    // The figure counts from the start of the process. Unoptimised builds and busy machines are
    // slower: the bound here is generous, the is checked by the benchmark on a release build.
    assert!(millis < 3000.0, "{ready}");
}

#[test]
fn a_flood_of_garbage_touches_nothing_and_is_counted() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(&folder, &connection("office", 0));
    let (_, out, _) = daemon.ask(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let port: u16 = status["listen"][0]
        .as_str()
        .and_then(|text| text.split(' ').nth(1))
        .expect("UDP n")
        .parse()
        .expect("a port");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for n in 0..200u8 {
        let garbage: Vec<u8> = (0..n).map(|i| i.wrapping_mul(31).wrapping_add(n)).collect();
        socket.send_to(&garbage, ("127.0.0.1", port)).expect("sent");
    }
    let end = Instant::now() + Duration::from_secs(5);
    let mut dropped = 0;
    while dropped < 150 {
        assert!(Instant::now() < end, "only {dropped} were counted");
        let (_, out, _) = daemon.ask(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        dropped = status["dropped"]
            .as_object()
            .expect("counts")
            .values()
            .filter_map(serde_json::Value::as_u64)
            .sum();
        assert_eq!(status["ike_sas"].as_array().map(Vec::len), Some(0));
    }
    assert!(daemon.is_running());
    let log = daemon.stop();
    let lines = log.lines().filter(|line| line.contains("Dropped a datagram")).count();
    assert!((1..=40).contains(&lines), "{lines} lines for 200 datagrams:\n{log}");
}

/// Whoever reads the log may go away (`handfast run 2>&1 | head -1`).
#[test]
fn a_log_that_nobody_reads_does_not_end_the_daemon() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(&folder, &connection("office", 0));
    drop(daemon.child.stderr.take());
    let (code, _, err) = daemon.ask(&["reload"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = daemon.ask(&["status"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(daemon.is_running());
}

/// A file that another daemon has put in the place of ours is not ours to remove.
#[test]
fn only_the_own_socket_is_removed() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &connection("office", 0));
    std::fs::remove_file(folder.socket()).expect("removed");
    let _other = std::os::unix::net::UnixListener::bind(folder.socket()).expect("bound");
    daemon.stop();
    assert!(folder.socket().exists());
}

#[test]
fn a_peer_that_never_answers_ends_in_a_sentence() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(&folder, &connection("office", 0));
    let (code, out, err) = daemon.ask(&["up", "office"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("Sent IKE_SA_INIT request 0 to 127.1.0.1:500"), "{out}");
    assert!(err.contains("127.1.0.1"), "{err}");
    assert!(daemon.is_running());
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &connection("office", 0));
    for args in [["up", "offcie"], ["down", "offcie"]] {
        let (code, _, err) = daemon.ask(&args);
        assert_eq!(code, Some(1));
        assert!(err.contains("Did you mean \"office\"?"), "{err}");
    }
    let (code, _, err) = daemon.ask(&["up", "office/lann"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("Did you mean \"lan\"?"), "{err}");
}

#[test]
fn a_reload_tells_what_changed_and_a_broken_file_changes_nothing() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &connection("office", 0));
    let file = folder.0.join("handfast.toml");
    let both = format!("{}{}{}", head(&folder.socket(), 0), connection("office", 1), connection("home", 2));
    std::fs::write(&file, &both).expect("the file");
    let (code, out, err) = daemon.ask(&["reload"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("added: home") && out.contains("changed: office"), "{out}");
    std::fs::write(&file, both.replace("proposals", "propsals")).expect("the file");
    let (code, _, err) = daemon.ask(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("Nothing was changed") && err.contains("propsals"), "{err}");
    let (_, out, _) = daemon.ask(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(status["connections"].as_array().map(Vec::len), Some(2));
}

#[test]
fn sighup_reads_the_file_again() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &connection("office", 0));
    let text = format!("{}{}{}", head(&folder.socket(), 0), connection("office", 0), connection("home", 2));
    std::fs::write(folder.0.join("handfast.toml"), text).expect("the file");
    let pid = daemon.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill is everywhere").success());
    let end = Instant::now() + Duration::from_secs(5);
    while !daemon.ask(&["status"]).1.contains("home") {
        assert!(Instant::now() < end, "it does not read the file again");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(daemon.stop().contains("The configuration was read again: added home"));
}

#[test]
fn an_interrupted_up_leaves_the_daemon_to_finish_or_give_up() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(&folder, &connection("office", 0));
    let socket = daemon.socket.display().to_string();
    let mut up = Command::new(binary())
        .args(["--socket", &socket, "up", "office"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built with this test");
    let mut first = String::new();
    BufReader::new(up.stdout.take().expect("piped")).read_line(&mut first).expect("progress");
    assert!(first.contains("Sent IKE_SA_INIT"), "{first}");
    assert!(
        Command::new("kill")
            .args(["-INT", &up.id().to_string()])
            .status()
            .expect("kill is everywhere")
            .success()
    );
    up.wait().expect("our child");
    assert!(daemon.is_running());
    let end = Instant::now() + Duration::from_secs(5);
    while !daemon.ask(&["status", "--json"]).1.contains("\"half_open\":0") {
        assert!(Instant::now() < end, "it never gives up");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(daemon.stop().contains("did not answer"));
}

#[test]
fn cve_2018_5388_the_socket_answers_what_is_no_request_and_bounds_what_it_reads() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(&folder, &connection("office", 0));
    let talk = |request: &[u8]| {
        let mut stream = UnixStream::connect(folder.socket()).expect("the socket");
        // The daemon may hang up before it has read all of an oversized line.
        let _ = stream.write_all(request);
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert!(lines.next().expect("a greeting").contains("\"type\":\"hello\""));
        lines.next().expect("an answer")
    };
    assert!(talk(b"{\"ask\":\"fly\"}\n").contains("\"type\":\"error\""));
    assert!(talk(b"\xff\xfe\n").contains("\"type\":\"error\""));
    let long = vec![b'a'; runtime::limits::MAX_REQUEST + 1];
    assert!(talk(&long).contains("at most"));
    assert!(daemon.is_running());
}

#[test]
fn more_clients_than_seats_are_turned_away_with_a_sentence() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder, &connection("office", 0));
    let mut seated = Vec::new();
    let mut turned_away = None;
    // One more than there are seats: a probe that has just hung up may still be getting up from one.
    for _ in 0..runtime::limits::MAX_CLIENTS + 1 {
        let stream = UnixStream::connect(&daemon.socket).expect("the socket");
        let mut line = String::new();
        let mut lines = BufReader::new(stream);
        lines.read_line(&mut line).expect("a line");
        if line.contains("\"type\":\"error\"") {
            turned_away = Some(line);
            break;
        }
        seated.push(lines);
    }
    assert!(turned_away.is_some_and(|line| line.contains("clients are connected already")));
}

#[test]
fn logs_in_json_are_json() {
    let folder = Folder::new();
    let config = folder.file("x.toml", &format!("{}{}", head(&folder.socket(), 0), connection("office", 0)));
    let mut child = Command::new(binary())
        .args(["run", "--until-stdin-closes", "--log-format", "json", "--config", &config])
        .stderr(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary was built with this test");
    drop(child.stdin.take());
    let mut log = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
    assert!(child.wait().expect("our child").success());
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(value["level"].is_string() && value["message"].is_string(), "{line}");
    }
    assert!(!log.contains("the secret of"), "a secret stands in the log:\n{log}");
}

#[test]
fn a_message_is_decoded_and_what_is_none_is_said_to_be_none() {
    // An IKE_SA_INIT response with N(COOKIE): header, then one notify with one octet of cookie.
    let hex = "0102030405060708 0000000000000000 29 20 22 20 00000000 00000025 00 00 0009 00 00 4006 aa";
    let output = handfast(&["decode", hex]);
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("IKE_SA_INIT response 0") && out.contains("COOKIE"), "{out}");
    let marked = format!("00000000{hex}");
    let report: serde_json::Value =
        serde_json::from_slice(&handfast(&["decode", "--json", &marked]).stdout).expect("JSON");
    assert_eq!(report["payloads"], serde_json::json!(["N(COOKIE)"]));
    assert_eq!(handfast(&["decode", "0102"]).status.code(), Some(1));
    assert_eq!(handfast(&["decode", "xyz"]).status.code(), Some(2));
}
