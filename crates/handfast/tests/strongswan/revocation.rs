//! Certificates of strongSwan's, and lists that its tools made.

use super::{Setup, cannot_run};
use interop::{Credentials, KeyKind, Lab, in_namespace, wait_until};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;
use testcerts::Web;

/// Certificates in the lab's folder, and there the CRL `ca.crl` of strongSwan's pki, with the certificate of `revoked`.
fn credentials(lab: &Lab, kind: KeyKind, revoked: Option<&str>) -> Credentials {
    let credentials = Credentials::new(lab.folder(), kind).unwrap();
    let at = |name: &str| credentials.file(name).display().to_string();
    let (ca, key) = (at("ca.pem"), at("ca.key"));
    let mut pki = Command::new("pki");
    pki.args(["--signcrl", "--cacert", &ca, "--cakey", &key, "--lifetime", "1"]);
    if let Some(side) = revoked {
        pki.args(["--reason", "key-compromise", "--cert", &at(&format!("{side}.pem"))]);
    }
    let output = pki.output().expect("pki is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(credentials.file("ca.crl"), output.stdout).expect("a file");
    credentials
}

#[test]
fn s044_strongswan_with_a_revoked_certificate_is_refused() {
    for (ours, kind) in [("right", KeyKind::Ecdsa), ("left", KeyKind::Rsa), ("right", KeyKind::Ed25519)] {
        if cannot_run("s044_strongswan_with_a_revoked_certificate_is_refused") {
            return;
        }
        let theirs = if ours == "left" { "right" } else { "left" };
        let setup = Setup { ours, remote: "crls = \"ca.crl\"", ..Setup::default() };
        let mut pair = setup.start_with(|lab| Some(credentials(lab, kind, Some(theirs))));
        let outcome = pair.initiate();
        assert!(outcome.is_err(), "{}", pair.explain("initiate", "it succeeds"));
        let said = pair.refusal(&outcome, &["it was revoked on"]);
        for word in ["(its key was compromised)", "as the configured CRL of", "O=Handfast Interop, CN=CA"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        let told = wait_until(Duration::from_secs(5), || pair.charon.log().contains("AUTH_FAILED"));
        assert!(told, "{}", pair.explain("AUTHENTICATION_FAILED", "strongSwan was not told"));
        pair.wire_is_clean();
    }
}

#[test]
fn s044_strongswan_with_a_good_certificate_is_let_in_where_that_must_be_known() {
    if cannot_run("s044_strongswan_with_a_good_certificate_is_let_in_where_that_must_be_known") {
        return;
    }
    let remote = "revocation = \"strict\"\ncrls = \"ca.crl\"";
    let setup = Setup { ours: "right", remote, ..Setup::default() };
    let mut pair = setup.start_with(|lab| Some(credentials(lab, KeyKind::Ecdsa, None)));
    pair.establish();
    pair.ping();
    pair.wire_is_clean();
}

/// The certificate names the list, as strongSwan's pki writes it, and the list is fetched.
#[test]
fn s044_a_list_that_strongswan_names_is_fetched() {
    for revoked in [None, Some("left")] {
        if cannot_run("s044_a_list_that_strongswan_names_is_fetched") {
            return;
        }
        let web = std::cell::OnceCell::new();
        let setup = Setup { ours: "right", remote: "revocation = \"strict\"", ..Setup::default() };
        let mut pair = setup.start_with(|lab| {
            let address = lab.outer("right");
            let listener = in_namespace(&lab.ns("right"), move || TcpListener::bind((address, 0))).unwrap();
            let web = web.get_or_init(|| Web::on(listener));
            let made = credentials(lab, KeyKind::Ecdsa, None);
            let at = |name: &str| made.file(name).display().to_string();
            let (ca, key, public) = (at("ca.pem"), at("ca.key"), at("left.pub"));
            let uri = web.uri("/ca.crl");
            let output = Command::new("pki")
                .args(["--issue", "--cacert", &ca, "--cakey", &key, "--type", "pub", "--in", &public])
                .args(["--dn", "C=CH, O=Handfast Interop, CN=left.example", "--san", "left.example"])
                .args(["--crl", &uri, "--outform", "pem"])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(made.file("left.pem"), output.stdout).unwrap();
            let mut sign = vec!["--signcrl", "--cacert", &ca, "--cakey", &key, "--lifetime", "1"];
            let certificate = at("left.pem");
            sign.extend(revoked.iter().flat_map(|_| ["--cert", &certificate]));
            let list = Command::new("pki").args(sign).output().unwrap();
            assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
            web.put("/ca.crl", list.stdout);
            Some(made)
        });
        match revoked {
            None => {
                pair.establish();
                pair.ping();
            }
            Some(_) => {
                let outcome = pair.initiate();
                assert!(outcome.is_err(), "{}", pair.explain("initiate", "it succeeds"));
                let said = pair.refusal(&outcome, &["it was revoked on"]);
                assert!(said.contains("as the CRL at http://"), "{said}");
            }
        }
        assert_eq!(web.get().map(Web::asked), Some(vec!["/ca.crl".to_string()]));
        pair.wire_is_clean();
    }
}
