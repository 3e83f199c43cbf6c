//! Certificates made by strongSwan's own `pki`, so that both sides read what neither of our crates wrote.

use crate::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kind of key in a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum KeyKind {
    Rsa,
    Ecdsa,
    Ed25519,
}

/// A CA and two end entities, `left.example` and `right.example`.
#[derive(Debug)]
pub struct Credentials {
    folder: PathBuf,
    /// Both know each other by their public keys, without certificates (RFC 7670).
    pub raw: bool,
}

impl Credentials {
    /// Makes them in `folder`.
    pub fn new(folder: &Path, kind: KeyKind) -> Result<Credentials, String> {
        let (kind, size) = match kind {
            KeyKind::Rsa => ("rsa", "2048"),
            KeyKind::Ecdsa => ("ecdsa", "256"),
            KeyKind::Ed25519 => ("ed25519", "0"),
        };
        let at = |name: &str| folder.join(name).display().to_string();
        let generate = |file: &str| {
            let mut args = vec!["--gen", "--type", kind, "--outform", "pem"];
            if size != "0" {
                args.extend(["--size", size]);
            }
            pki(&args, &at(file))
        };
        generate("ca.key")?;
        let dn = |name: &str| format!("C=CH, O=Handfast Interop, CN={name}");
        pki(
            &[
                "--self",
                "--ca",
                "--type",
                "priv",
                "--in",
                &at("ca.key"),
                "--dn",
                &dn("CA"),
                "--outform",
                "pem",
            ],
            &at("ca.pem"),
        )?;
        for name in ["left", "right"] {
            let (key, public, cert) =
                (at(&format!("{name}.key")), at(&format!("{name}.pub")), at(&format!("{name}.pem")));
            generate(&format!("{name}.key"))?;
            pki(&["--pub", "--type", "priv", "--in", &key, "--outform", "pem"], &public)?;
            let host = format!("{name}.example");
            let (cacert, cakey, dn) = (at("ca.pem"), at("ca.key"), dn(&host));
            let mut args = vec!["--issue", "--cacert", &cacert, "--cakey", &cakey];
            args.extend(["--type", "pub", "--in", &public, "--dn", &dn, "--san", &host, "--outform", "pem"]);
            pki(&args, &cert)?;
        }
        Ok(Credentials::of(folder))
    }

    /// Files that stand in `folder` already, by the names that [`Credentials::file`] tells.
    pub fn of(folder: &Path) -> Credentials {
        Credentials { folder: folder.to_path_buf(), raw: false }
    }

    /// Writes certificate and key of `side` to `to`, as PKCS#12 under the password `x`, the certificate by the name `own`.
    pub fn pkcs12(&self, side: &str, to: &Path) -> Result<(), String> {
        let file = |name: &str| self.file(name).display().to_string();
        let (cert, key) = (file(&format!("{side}.pem")), file(&format!("{side}.key")));
        let (out, ca) = (to.display().to_string(), file("ca.pem"));
        let args = ["pkcs12", "-export", "-in", &cert, "-inkey", &key, "-certfile", &ca, "-name", "own"];
        run("openssl", &[&args[..], &["-passout", "pass:x", "-out", &out]].concat()).map(drop)
    }

    /// The file `ca.pem`, or `left` or `right` with `.pem` (the certificate), `.key` or `.pub`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn pki(args: &[&str], to: &str) -> Result<(), String> {
    let output = Command::new("pki").args(args).output().map_err(|error| format!("pki: {error}"))?;
    if !output.status.success() {
        return Err(format!("pki {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    std::fs::write(to, output.stdout).map_err(|error| format!("{to}: {error}"))
}
