//! Revocation between two daemons, one of which has lists and servers to ask.

mod common;

use common::{binary, handfast, lab, texts};
use interop::{Handfast, Lab, in_namespace, wait_until};
use serde_json::Value;
use std::fmt::Write;
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use testcerts::rcgen::{CertificateParams, CrlDistributionPoint, CustomExtension, RevocationReason};
use testcerts::{Authority, EndEntity, Key, List, Response, Status, Web, der, ok};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An authority whose lists and answers are served in the right namespace, and two daemons whose connections are added
/// one by one: those of the left prove by certificates that the right checks.
struct Scene {
    lab: Lab,
    root: Authority,
    web: Web,
    left: String,
    right: String,
    /// What the right proves by.
    gateway: EndEntity,
}

impl Scene {
    fn new(test: &str) -> Option<Self> {
        let lab = lab(test)?;
        let root = Authority::root(Key::EcdsaP256, "Root");
        root.write(lab.folder(), "ca").expect("a file");
        let address = lab.outer("right");
        let listener =
            in_namespace(&lab.ns("right"), move || TcpListener::bind((address, 0))).expect("a free port");
        let web = Web::on(listener);
        let gateway = root.issue(Key::EcdsaP256, "right", &["right.example"]);
        gateway.write(lab.folder(), "right").expect("files");
        let left = "retransmit_timeout = \"0.5\"\nretransmit_base = 1.0\nretransmit_tries = 40\n".to_string();
        let right_too = format!("{left}[secrets.private.right]\nfile = \"right.key\"\n");
        Some(Self { lab, root, web, left, right: right_too, gateway })
    }

    /// A connection of this name, whose peer has a certificate that names `list` and `server`, paths of our web. `more` is
    /// what the right wants of it.
    fn connection(&mut self, name: &str, list: Option<&str>, server: Option<&str>, more: &str) -> EndEntity {
        let places = |params: &mut CertificateParams| self.name_places(params, list, server);
        let host = format!("{name}.example");
        let peer = self.root.issue_with(Key::EcdsaP256, name, &[&host], places);
        peer.write(self.lab.folder(), name).expect("files");
        for (text, side, own, other) in
            [(&mut self.left, "left", name, "right"), (&mut self.right, "right", "right", name)]
        {
            let remote = if side == "left" { "right" } else { "left" };
            write!(
                text,
                "[connections.{name}]
local_addrs = \"{}\"
remote_addrs = \"{}\"
[connections.{name}.local]
id = \"{own}.example\"
certs = \"{own}.pem\"
[connections.{name}.remote]
id = \"{other}.example\"
cacerts = \"ca.pem\"
{}
[connections.{name}.children.lan]
",
                self.lab.outer(side),
                self.lab.outer(remote),
                if side == "right" { more } else { "" },
            )
            .expect("a string takes all");
        }
        write!(self.left, "[secrets.private.{name}]\nfile = \"{name}.key\"\n").expect("a string takes all");
        peer
    }

    fn name_places(&self, params: &mut CertificateParams, list: Option<&str>, server: Option<&str>) {
        let lists = list.map(|path| CrlDistributionPoint { uris: vec![self.web.uri(path)] });
        params.crl_distribution_points = lists.into_iter().collect();
        if let Some(path) = server {
            let place =
                [der(0x06, b"\x2b\x06\x01\x05\x05\x07\x30\x01"), der(0x86, self.web.uri(path).as_bytes())];
            let places = der(0x30, &der(0x30, &place.concat()));
            params
                .custom_extensions
                .push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], places));
        }
    }

    /// Starts both daemons.
    fn play(&self) -> Play<'_> {
        let start = |side, text: &str| {
            let text = format!("{text}\n[daemon.log]\nlevel = \"info\"\n");
            Handfast::start(&self.lab, side, binary(), &text).unwrap_or_else(|error| panic!("{error}"))
        };
        Play { left: start("left", &self.left), right: start("right", &self.right), web: &self.web }
    }
}

/// Both daemons.
struct Play<'a> {
    left: Handfast,
    right: Handfast,
    web: &'a Web,
}

impl Play<'_> {
    #[track_caller]
    fn comes_up(&self, name: &str) {
        let up = self.left.command(&["up", name]);
        let up = up.unwrap_or_else(|error| panic!("{error}\nright:\n{}", self.right.log()));
        assert!(up.contains(&format!("{name} is up")), "{up}");
    }

    /// The right refuses and says why, in one line that has all these words; the left is told AUTHENTICATION_FAILED.
    #[track_caller]
    fn is_refused(&self, name: &str, words: &[&str]) {
        let output = self.left.output(&["up", name, "--json"]).expect("it answers");
        let (out, _) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{out}\nright:\n{}", self.right.log());
        let last: Value = serde_json::from_str(out.lines().last().expect("an answer")).expect("JSON");
        assert_eq!(last["kind"], "authentication_failed", "{last}");
        self.says(name, words);
    }

    /// The right logs a line about the certificate of `name` that has all these words.
    #[track_caller]
    fn says(&self, name: &str, words: &[&str]) {
        let subject = format!("CN={name}\"");
        let has = |line: &str| line.contains(&subject) && words.iter().all(|word| line.contains(word));
        let logged = wait_until(Duration::from_secs(2), || self.right.log().lines().any(has));
        assert!(logged, "{words:?} are not in\n{}", self.right.log());
    }

    fn asked(&self, path: &str) -> usize {
        self.web.asked().iter().filter(|asked| *asked == path).count()
    }
}

#[test]
fn s044_crls_are_fetched_and_heeded() {
    let Some(mut scene) = Scene::new("s044_crls_are_fetched_and_heeded") else { return };
    scene.connection("good", Some("/list"), None, "revocation = \"strict\"");
    let bad = scene.connection("bad", Some("/list"), None, "");
    scene.connection("stale", Some("/stale"), None, "revocation = \"ifuri\"");
    scene.connection("forged", Some("/forged"), None, "revocation = \"strict\"");
    scene.connection("gone", Some("/gone"), None, "revocation = \"strict\"");
    scene.connection("lax", Some("/gone"), None, "");
    scene.connection("nameless", None, None, "revocation = \"strict\"");
    scene.connection("plain", None, None, "revocation = \"ifuri\"");
    let list =
        List::from(now() - 100).revoke(bad.der(), now() - 200_000, Some(RevocationReason::KeyCompromise));
    scene.web.put("/list", scene.root.crl(&list));
    scene.web.put("/stale", scene.root.crl(&List::from(now() - 40 * 86_400)));
    scene.web.put("/forged", Authority::root(Key::EcdsaP384, "Root").crl(&List::from(now() - 100)));
    let play = scene.play();
    for _ in 0..2 {
        play.comes_up("good");
        play.left.command(&["down", "good"]).unwrap_or_else(|error| panic!("{error}"));
        play.is_refused(
            "bad",
            &["it was revoked on", "(its key was compromised)", "as the CRL at http://", "/list says"],
        );
    }
    assert_eq!(play.asked("/list"), 1, "it is kept");
    play.is_refused("stale", &["`revocation = \"ifuri\"`", "/stale is of no use: it is out of date since"]);
    play.is_refused("forged", &["/forged is of no use: its signature"]);
    play.is_refused(
        "gone",
        &["/gone could not be asked: it answers with the HTTP status 404", "give a CRL by `crls`"],
    );
    play.comes_up("lax");
    play.says("lax", &["WARN", "`revocation = \"relaxed\"` lets pass", "HTTP status 404"]);
    assert_eq!(play.asked("/gone"), 1, "who has none is left alone for a while");
    play.is_refused("nameless", &["names neither an OCSP server nor a CRL"]);
    play.comes_up("plain");
}

#[test]
fn s044_ocsp_servers_are_asked_and_heeded() {
    let Some(mut scene) = Scene::new("s044_ocsp_servers_are_asked_and_heeded") else { return };
    scene.connection("good", None, Some("/good"), "revocation = \"strict\"");
    scene.connection("bad", None, Some("/bad"), "");
    scene.connection("unknown", None, Some("/unknown"), "revocation = \"strict\"");
    scene.connection("untrusted", None, Some("/untrusted"), "revocation = \"ifuri\"");
    scene.connection("delegated", None, Some("/delegated"), "revocation = \"strict\"");
    scene.connection("other", Some("/list"), Some("/none"), "revocation = \"strict\"");
    let answer = |path: &str, status: Status, by: fn(Response, &Authority) -> Vec<u8>| {
        let answer = move |request: &[u8]| {
            let root = Authority::root(Key::EcdsaP256, "Root");
            Some(ok(&by(Response::to(request, status, now() - 10), &root)))
        };
        scene.web.answer(path, answer);
    };
    let root: fn(Response, &Authority) -> Vec<u8> = |response, root| response.by(root);
    answer("/good", Status::Good, root);
    answer("/bad", Status::Revoked(now() - 200_000, Some(4)), root);
    answer("/unknown", Status::Unknown, root);
    answer("/untrusted", Status::Good, |response, _| response.by(&Authority::root(Key::EcdsaP384, "Other")));
    answer("/delegated", Status::Good, |response, root| {
        let delegate = root.issue_with(Key::EcdsaP256, "responder", &[], |params| {
            params.extended_key_usages = vec![testcerts::rcgen::ExtendedKeyUsagePurpose::OcspSigning];
        });
        response.by_delegate(&delegate)
    });
    scene.web.put("/list", scene.root.crl(&List::from(now() - 100)));
    let play = scene.play();
    for _ in 0..2 {
        play.comes_up("good");
        play.left.command(&["down", "good"]).unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(play.asked("/good"), 1, "the answer is kept");
    play.is_refused(
        "bad",
        &["it was revoked on", "(it was superseded)", "as the OCSP server http://", "/bad says"],
    );
    play.is_refused("unknown", &["does not know the certificate (unknown)"]);
    play.is_refused("untrusted", &["`revocation = \"ifuri\"`", "neither the issuer of the certificate nor"]);
    play.comes_up("delegated");
    play.comes_up("other");
    assert_eq!(
        (play.asked("/none"), play.asked("/list")),
        (1, 1),
        "where the server cannot tell the list is asked"
    );
}

/// A server that says nothing holds up whoever waits for it, and nobody else.
#[test]
fn s044_a_silent_server_holds_up_nobody_else() {
    let Some(mut scene) = Scene::new("s044_a_silent_server_holds_up_nobody_else") else { return };
    scene.connection("slow", Some("/silent"), None, "revocation = \"ifuri\"");
    scene.connection("slower", Some("/silent"), None, "");
    scene.connection("quick", None, None, "");
    scene.web.answer("/silent", |_| None);
    let play = scene.play();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| play.is_refused("slow", &["did not answer within 5 s"]));
        let slower = scope.spawn(|| play.comes_up("slower"));
        assert!(wait_until(Duration::from_secs(4), || play.asked("/silent") == 1), "{}", play.right.log());
        play.comes_up("quick");
        assert!(!slow.is_finished() && !slower.is_finished());
    });
    play.says("slower", &["lets pass", "did not answer within 5 s"]);
    assert_eq!(play.asked("/silent"), 1, "both share one request");
}

/// The initiator checks too: its refusal is its own, and the responder is told.
#[test]
fn s044_an_initiator_refuses_a_revoked_responder() {
    let Some(mut scene) = Scene::new("s044_an_initiator_refuses_a_revoked_responder") else { return };
    scene.connection("net", None, None, "");
    let list = scene.root.crl(&List::from(now() - 100).revoke(scene.gateway.der(), now() - 50, None));
    std::fs::write(scene.lab.folder().join("root.crl"), list).expect("a file");
    scene.left =
        scene.left.replacen("cacerts = \"ca.pem\"\n", "cacerts = \"ca.pem\"\ncrls = \"root.crl\"\n", 1);
    let play = scene.play();
    let output = play.left.output(&["up", "net", "--json"]).expect("it answers");
    let (out, _) = texts(&output);
    let last: Value = serde_json::from_str(out.lines().last().expect("an answer")).expect("JSON");
    let reason = last["reason"].as_str().unwrap_or_default();
    assert_eq!(last["kind"], "authentication_failed", "{last}");
    for word in ["CN=right", "it was revoked on", "the configured CRL of", "have a new one issued"] {
        assert!(reason.contains(word), "{word}: {reason}");
    }
    let sentence = "The peer did not accept that we are `right.example`";
    let told = wait_until(Duration::from_secs(2), || play.right.log().contains(sentence));
    assert!(told, "{}", play.right.log());
    // The authority's next list does not have it, and a reload reads the file again.
    std::fs::write(scene.lab.folder().join("root.crl"), scene.root.crl(&List::from(now() - 10)))
        .expect("a file");
    play.left.command(&["reload"]).unwrap_or_else(|error| panic!("{error}"));
    play.comes_up("net");
}

/// `check` says what is wanted, and which list is out of date and where it stands.
#[test]
fn s044_check_tells_what_is_wanted_and_what_is_out_of_date() {
    struct Folder(std::path::PathBuf);
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
    let folder = Folder(std::env::temp_dir().join(format!("handfast-check-{}", std::process::id())));
    std::fs::create_dir(&folder.0).expect("a new folder");
    let root = Authority::root(Key::EcdsaP256, "Root");
    root.write(&folder.0, "ca").expect("a file");
    root.issue(Key::EcdsaP256, "us", &["us.example"]).write(&folder.0, "us").expect("files");
    let text = "[connections.net]
local = { certs = \"us.pem\", id = \"us.example\" }
remote = { id = \"peer.example\", cacerts = \"ca.pem\", crls = \"root.crl\", revocation = \"ifuri\" }
children = { lan = {} }
[secrets.private.us]
file = \"us.key\"
";
    let file = folder.0.join("handfast.toml");
    std::fs::write(&file, text).expect("a file");
    let file = file.display().to_string();
    let check = |args: &[&str], list: List| {
        std::fs::write(folder.0.join("root.crl"), root.crl(&list)).expect("a file");
        let output = handfast(&[&["check", &file], args].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let (out, err) = texts(&output);
        out + &err
    };
    let said = check(&[], List::from(now() - 10));
    assert!(said.contains("The peer's certificate: revocation = \"ifuri\", 1 CRL from files."), "{said}");
    assert!(!said.contains("out of date"), "{said}");
    let said: Value = serde_json::from_str(&check(&["--json"], List::from(now() - 10))).expect("JSON");
    let remote = &said["connections"][0]["remote_auth"];
    assert_eq!((&remote["revocation"], &remote["crls"]), (&"ifuri".into(), &1.into()), "{said}");
    let said = check(&[], List::from(now() - 40 * 86_400));
    let place = format!("{file}:3:");
    assert!(said.contains("is out of date for 10 days") && said.contains(&place), "{said}");
}
