//! Interop with strongSwan over a real network: `matrix` is the breadth, `addresses` are configuration payloads, `postquantum` is what
//! keeps traffic safe from a quantum computer, `features` what single parts of the protocol
//! need from a peer that is not ours.

mod addresses;
mod features;
mod keeping;
mod matrix;
mod mobike;
mod multiple_auth;
mod postquantum;
mod redirect;
mod rekeying;
mod revocation;

use interop::{
    CHARON, Capture, Charon, CharonConfig, Credentials, Family, Handfast, HandfastConfig, Lab, Net, Root,
    missing, wait_until,
};
use std::path::Path;
use std::time::Duration;

const PSK: &str = "a rope of sand holds nobody";
/// What pings carry, and what must not be seen on the wire.
const PATTERN: &str = "5ca1ab1e";
const PATTERN_OCTETS: [u8; 8] = [0x5c, 0xa1, 0xab, 0x1e, 0x5c, 0xa1, 0xab, 0x1e];

/// Says why a test cannot run here, if it cannot.
fn cannot_run(name: &str) -> bool {
    let why = missing(&["ip", "nft", "tcpdump", "tshark", "swanctl", "pki", "ping", CHARON]);
    if let Some(why) = &why {
        println!("NOT RUN: {name}: {why}");
    }
    why.is_some()
}

/// Both daemons in a lab, with a capture next to Handfast.
struct Pair {
    handfast: Handfast,
    charon: Charon,
    capture: Option<Capture>,
    /// Handfast's side: `left` initiates.
    ours: &'static str,
    lab: Lab,
}

/// How a pair differs from the plainest one.
#[derive(Clone, Copy)]
struct Setup<'a> {
    ours: &'static str,
    net: Net,
    family: Family,
    /// Handfast's proposals: IKE and ESP.
    suite: (&'a str, &'a str),
    /// strongSwan's, where they differ.
    charon_suite: Option<(&'a str, &'a str)>,
    /// Lines of Handfast's `[daemon]`.
    daemon: &'a str,
    connection: &'a str,
    /// More lines about who the peer is to be.
    remote: &'a str,
    child: &'a str,
    selectors: Option<(&'a str, &'a str)>,
    charon_connection: &'a str,
    charon_child: &'a str,
    charon_selectors: Option<(&'a str, &'a str)>,
    /// More sections of strongSwan's swanctl.conf.
    charon_sections: &'a str,
    charon: &'a str,
    charon_psk: &'a str,
    psk: &'a str,
    /// strongSwan's certificates besides.
    charon_second: Option<&'a Credentials>,
    /// Whether strongSwan is the newer one.
    newer: bool,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Setup {
            ours: "left",
            net: Net::Routed,
            family: Family::V4,
            suite: ("aes256gcm16-prfsha384-x25519", "aes256gcm16"),
            charon_suite: None,
            daemon: "",
            connection: "",
            remote: "",
            child: "",
            selectors: None,
            charon_connection: "",
            charon_child: "",
            charon_selectors: None,
            charon_sections: "",
            charon: "",
            charon_psk: PSK,
            psk: PSK,
            charon_second: None,
            newer: false,
        }
    }
}

impl Setup<'_> {
    fn start(&self) -> Pair {
        self.start_with(|_| None)
    }

    /// `credentials` makes certificates in the lab's folder, or none for the PSK.
    fn start_with(&self, credentials: impl FnOnce(&Lab) -> Option<Credentials>) -> Pair {
        self.start_in(Lab::new(self.family, self.net).unwrap(), credentials)
    }

    /// In a lab that is there already.
    fn start_in(&self, lab: Lab, credentials: impl FnOnce(&Lab) -> Option<Credentials>) -> Pair {
        let credentials = credentials(&lab);
        let charon = self.charon(&lab, credentials.as_ref());
        let text = self.toml(&lab, credentials.as_ref());
        let handfast = Handfast::start(&lab, self.ours, binary(), &text).unwrap();
        let capture = Some(Capture::start(&lab, self.ours).unwrap());
        Pair { handfast, charon, capture, ours: self.ours, lab }
    }

    /// strongSwan alone.
    fn charon(&self, lab: &Lab, credentials: Option<&Credentials>) -> Charon {
        let theirs = if self.ours == "left" { "right" } else { "left" };
        let charon_suite = self.charon_suite.unwrap_or(self.suite);
        let mut charon = CharonConfig::new(theirs, charon_suite.0, charon_suite.1, self.charon_psk);
        charon.credentials = credentials.map_or(Ok(self.charon_psk), Err);
        charon.second = self.charon_second;
        charon.connection = self.charon_connection;
        charon.child = self.charon_child;
        charon.selectors = self.charon_selectors;
        charon.sections = self.charon_sections;
        charon.charon = self.charon;
        charon.root = self.newer.then(|| Root::find("strongswan6").unwrap());
        Charon::start(lab, &charon).unwrap()
    }

    /// Handfast's configuration.
    fn toml(&self, lab: &Lab, credentials: Option<&Credentials>) -> String {
        let config = HandfastConfig {
            side: self.ours,
            proposals: self.suite.0,
            esp_proposals: self.suite.1,
            credentials: credentials.map_or(Ok(self.psk), Err),
            connection: self.connection,
            child: self.child,
            selectors: self.selectors,
        };
        let remote = "[connections.net.remote]\n";
        let toml = config.toml(lab).replacen(remote, &format!("{remote}{}\n", self.remote), 1);
        let mut text = format!("{}\n{toml}", self.daemon);
        if self.connection.contains("local_addrs") {
            text = text.replacen(&format!("local_addrs = \"{}\"\n", lab.outer(self.ours)), "", 1);
        }
        text
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_handfast"))
}

impl Pair {
    /// The side of `left` initiates; its outcome.
    fn initiate(&self) -> Result<String, String> {
        if self.ours == "left" { self.handfast.command(&["up", "net"]) } else { self.charon.initiate() }
    }

    /// Initiates, which must succeed.
    fn establish(&self) {
        self.initiate().unwrap_or_else(|error| panic!("{}", self.explain("initiate", &error)));
    }

    /// Three pings from the left to the right through the tunnel.
    fn ping(&self) {
        self.ping_from("left");
        self.ping_from("right");
    }

    fn ping_from(&self, side: &str) {
        let other = if side == "left" { "right" } else { "left" };
        interop::ping(&self.lab, side, self.lab.inner(side), self.lab.inner(other), PATTERN)
            .unwrap_or_else(|error| panic!("{}", self.explain("ping", &error)));
    }

    /// What the initiating side and Handfast's log say about a refusal, once one of `words` is in it.
    fn refusal(&self, outcome: &Result<String, String>, words: &[&str]) -> String {
        let said = || format!("{outcome:?}{}", self.handfast.log());
        let heard = wait_until(Duration::from_secs(5), || words.iter().any(|word| said().contains(word)));
        assert!(heard, "{}", self.explain(&format!("none of {words:?} was said"), &said()));
        said()
    }

    /// `status --json` of Handfast.
    fn status(&self) -> String {
        self.handfast.command(&["status", "--json"]).unwrap_or_else(|error| error)
    }

    /// Everything that helps to see what went wrong.
    fn explain(&self, what: &str, error: &str) -> String {
        format!(
            "{what}: {error}\n--- handfast ---\n{}\n{}\n--- charon ---\n{}\n{}",
            self.handfast.log(),
            self.status(),
            self.charon.sas(),
            self.charon.log()
        )
    }

    /// Ends the capture: what we sent is IKEv2 to tshark, and no plaintext was seen.
    fn wire_is_clean(&mut self) -> interop::Wire {
        let capture = self.capture.take().expect("ended once");
        let wire = capture.finish(&self.lab.outer(self.ours).to_string(), &PATTERN_OCTETS).unwrap();
        assert!(
            wire.complaints.is_empty() && !wire.plaintext,
            "{}",
            self.explain("the wire", &format!("{wire:?}"))
        );
        wire
    }
}
