//! A road warrior and its gateway, in network namespaces: an address is given, set, used and taken back.

mod common;

use common::{End, binary, lab};
use interop::{Handfast, Lab, run, wait_until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
const BEFORE: &str = "# somebody's own\nnameserver 127.0.0.53\n";

/// Runs a command in the left namespace.
fn inside(lab: &Lab, command: &[&str]) -> String {
    run("ip", &[&["netns", "exec", &lab.ns("left")], command].concat())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn status(daemon: &Handfast) -> Value {
    let text = daemon.command(&["status", "--json"]).unwrap_or_else(|error| panic!("{error}"));
    serde_json::from_str(&text).expect("status --json is JSON")
}

/// The gateway on the right, and what the road warrior on the left is made of.
struct Road {
    lab: Lab,
    resolv: PathBuf,
    said: PathBuf,
    gateway: Handfast,
    client: String,
}

impl Road {
    fn new(lab: Lab) -> Self {
        let (resolv, said) = (lab.folder().join("resolv.conf"), lab.folder().join("said"));
        let command = lab.folder().join("tell");
        fs::write(&resolv, BEFORE).unwrap();
        let script = format!(
            "#!/bin/sh\necho \"$HANDFAST_EVENT $HANDFAST_ADDRESSES $HANDFAST_DNS $HANDFAST_DOMAINS\" >>{}\n",
            said.display()
        );
        fs::write(&command, script).unwrap();
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
        let both = "[\"192.168.2.1/32\", \"fd01:2::1/128\"]";
        let connection = |text: String, line: &str| {
            text.replace("[connections.net.local]", &format!("{line}\n[connections.net.local]"))
        };
        let left = End { local_ts: "dynamic", ..End::new("left") };
        let client = connection(left.toml(&lab), "vips = [\"0.0.0.0\", \"::\"]");
        let client = client.replace("remote_ts = \"192.168.2.1/32\"", &format!("remote_ts = {both}"));
        let resolver = format!(
            "[daemon.resolver]\nfile = \"{}\"\ncommand = \"{}\"\n",
            resolv.display(),
            command.display()
        );
        let right = End { remote_ts: "dynamic", ..End::new("right") };
        let gateway = connection(right.toml(&lab), "pools = \"road\"");
        let gateway = gateway.replace("local_ts = \"192.168.2.1/32\"", &format!("local_ts = {both}"));
        let pool = "[pools.road]\naddrs = [\"10.3.0.0/24\", \"fd01:3::/64\"]\ndns = \"192.168.2.1\"\n\
                    dns_domains = \"corp.example\"\n";
        let gateway = Handfast::start(&lab, "right", binary(), &format!("{gateway}{pool}"));
        let gateway = gateway.unwrap_or_else(|error| panic!("{error}"));
        Self { lab, resolv, said, gateway, client: format!("{client}{resolver}") }
    }

    fn client(&self) -> Handfast {
        Handfast::start(&self.lab, "left", binary(), &self.client).unwrap_or_else(|error| panic!("{error}"))
    }

    fn resolv(&self) -> String {
        fs::read_to_string(&self.resolv).unwrap()
    }

    /// The address is set and used, and the resolver is told.
    fn is_up(&self, client: &Handfast) {
        client.command(&["up", "net"]).unwrap_or_else(|error| panic!("{error}"));
        let addresses = inside(&self.lab, &["ip", "-o", "address"]);
        assert!(addresses.contains("10.3.0.1/32") && addresses.contains("fd01:3::1/128"), "{addresses}");
        for target in ["192.168.2.1", "fd01:2::1"] {
            inside(&self.lab, &["ping", "-c", "3", "-i", "0.1", "-W", "2", target]);
        }
        let ike = &status(client)["ike_sas"][0];
        assert_eq!(ike["virtual_addresses"], serde_json::json!(["10.3.0.1", "fd01:3::1"]), "{ike}");
        assert!(ike["child_sas"][0]["counters"]["packets_in"].as_u64() >= Some(6), "{ike}");
        let gateway = status(&self.gateway);
        assert_eq!(gateway["ike_sas"][0]["leased"], ike["virtual_addresses"], "{gateway}");
        assert_eq!(
            (&gateway["pools"][0]["name"], &gateway["pools"][0]["online"]),
            (&"road".into(), &2.into())
        );
        let written = wait_until(PATIENCE, || self.resolv().contains("nameserver 192.168.2.1"));
        assert!(written && self.resolv().ends_with(BEFORE), "{}", self.resolv());
    }

    /// All is as before.
    fn is_over(&self) {
        let gone = || {
            let addresses = inside(&self.lab, &["ip", "-o", "address"]);
            !addresses.contains("10.3.0.1") && !addresses.contains("fd01:3::1") && self.resolv() == BEFORE
        };
        assert!(wait_until(PATIENCE, gone), "{}", self.resolv());
    }
}

#[test]
fn s067_an_address_is_given_used_and_taken_back() {
    let Some(lab) = lab("s067_an_address_is_given_used_and_taken_back") else { return };
    let road = Road::new(lab);
    let mut client = road.client();
    road.is_up(&client);
    // The gateway ends it.
    road.gateway.command(&["down", "net"]).unwrap_or_else(|error| panic!("{error}"));
    road.is_over();
    let gateway = status(&road.gateway);
    assert_eq!((&gateway["pools"][0]["online"], &gateway["pools"][0]["offline"]), (&0.into(), &2.into()));
    // The same address again; then the client's daemon ends.
    road.is_up(&client);
    let shown = client.command(&["status"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        shown.contains("our address there 10.3.0.1, fd01:3::1, DNS 192.168.2.1 for corp.example"),
        "{shown}"
    );
    assert!(client.process.stop(PATIENCE), "{}", client.log());
    road.is_over();
    let told =
        "up 10.3.0.1 fd01:3::1 192.168.2.1 corp.example\ndown 10.3.0.1 fd01:3::1 192.168.2.1 corp.example\n";
    assert_eq!(fs::read_to_string(&road.said).unwrap(), told.repeat(2));
    // A daemon that has no time to clean up: the next one does.
    let client = road.client();
    road.is_up(&client);
    client.process.signal(libc::SIGKILL);
    assert!(wait_until(PATIENCE, || !inside(&road.lab, &["ip", "-o", "link"]).contains(": hf")));
    assert!(road.resolv().contains("192.168.2.1"));
    drop(client);
    let _client = road.client();
    assert_eq!(road.resolv(), BEFORE);
}
