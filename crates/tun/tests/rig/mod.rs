//! Two network namespaces with a wire between them, and an engine in each.
#![allow(dead_code)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// An example binary of this crate, built with the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let target = test.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps");
    let path =
        if target.ends_with("examples") { target.join(name) } else { target.join("examples").join(name) };
    assert!(path.exists(), "{} is not built: cargo build -p handfast-tun --examples", path.display());
    path
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &str) -> String {
    let output = try_run(command);
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{command}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn try_run(command: &str) -> Output {
    let mut words = command.split_whitespace();
    let program = words.next().expect("a program");
    Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"))
}

static RIGS: AtomicU32 = AtomicU32::new(0);

/// Two namespaces; dropping it deletes them.
pub(crate) struct Rig {
    pub(crate) a: String,
    pub(crate) b: String,
    /// The wire's end in a.
    pub(crate) wire: String,
}

/// The outer addresses of a and b.
pub(crate) const OUTER_V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
pub(crate) const OUTER_V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

impl Rig {
    /// `None`, after saying so, where this machine does not let us make namespaces or TUN devices.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let id = format!("{}x{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed));
        let rig = Self { a: format!("hfta{id}"), b: format!("hftb{id}"), wire: format!("w{id}") };
        if !std::path::Path::new("/dev/net/tun").exists() {
            testkit::not_run(test, "there is no /dev/net/tun");
            return None;
        }
        if !try_run(&format!("ip netns add {}", rig.a)).status.success() {
            testkit::not_run(test, "network namespaces cannot be made (root is needed)");
            return None;
        }
        run(&format!("ip netns add {}", rig.b));
        let far = format!("v{id}");
        run(&format!("ip link add {} netns {} type veth peer name {far} netns {}", rig.wire, rig.a, rig.b));
        for (at, (name, device)) in [(&rig.a, &rig.wire), (&rig.b, &far)].into_iter().enumerate() {
            run(&format!("ip -n {name} link set lo up"));
            run(&format!("ip -n {name} link set {device} up"));
            run(&format!("ip -n {name} addr add {}/24 dev {device}", OUTER_V4[at]));
            run(&format!("ip -n {name} addr add {}/64 dev {device} nodad", OUTER_V6[at]));
            run(&format!("ip -n {name} addr add 10.{}.0.1/24 dev lo", at + 1));
            run(&format!("ip -n {name} addr add fd0{}::1/64 dev lo nodad", at + 1));
        }
        Some(rig)
    }

    /// A command within the namespace.
    pub(crate) fn command(namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for name in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

/// A program that runs until it is dropped.
pub(crate) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        Self { child, input, output: BufReader::new(output) }
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim_end().to_string()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("it listens");
    }

    /// Closes its input and waits for it; true when it ended well.
    pub(crate) fn finish(mut self) -> bool {
        self.input = None;
        self.child.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An engine with one child in a namespace.
pub(crate) struct Engine(pub(crate) Running);

impl Engine {
    pub(crate) fn start(namespace: &str, args: &[String]) -> Self {
        let mut command = Rig::command(namespace, &example("esp_pair").to_string_lossy());
        command.args(args);
        let mut running = Running::start(command);
        let line = running.line();
        assert!(line.starts_with("ready "), "esp_pair {args:?}: {line}");
        Self(running)
    }

    /// Has it do something and answers what it says.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.0.tell(line);
        self.0.line()
    }

    #[track_caller]
    pub(crate) fn does(&mut self, line: &str) {
        let answer = self.ask(line);
        assert!(answer == "Done" || answer.starts_with("Counters"), "{line}: {answer}");
    }

    /// The counters, by name; `cpu_nanos` among them.
    pub(crate) fn counters(&mut self) -> HashMap<String, u64> {
        let line = self.ask("query");
        let pairs = line.split(' ').filter_map(|word| word.split_once('='));
        pairs.map(|(name, value)| (name.to_string(), value.parse().expect("a number"))).collect()
    }
}

/// Sends `octets` over one TCP connection from one namespace to `address` in the other; answers the
/// octets received and the seconds it took.
pub(crate) fn stream(from: &str, to: &str, address: &str, limit: (u64, f64)) -> (u64, f64) {
    let program = example("stream");
    let program = program.to_string_lossy();
    let mut sink = Rig::command(to, &program);
    sink.args(["sink", address]);
    let mut sink = Running::start(sink);
    assert_eq!(sink.line(), "listening");
    let mut source = Rig::command(from, &program);
    source.args(["source", address, &limit.0.to_string(), &limit.1.to_string()]);
    let source = Running::start(source);
    let line = sink.line();
    let mut words = line.split(' ').skip(1);
    let octets = words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("sink: {line}"));
    let seconds = words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("sink: {line}"));
    assert!(source.finish() && sink.finish());
    (octets, seconds)
}
