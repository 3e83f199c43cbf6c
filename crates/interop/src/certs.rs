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
    /// The files of intermediates that both present, unless they stand in the end entities' files.
    pub chain: Vec<String>,
}

/// Intermediates of [`Credentials::long`].
const INTERMEDIATES: usize = 3;

impl Credentials {
    /// Makes them in `folder`.
    pub fn new(folder: &Path, kind: KeyKind) -> Result<Credentials, String> {
        let (kind, size) = match kind {
            KeyKind::Rsa => ("rsa", "2048"),
            KeyKind::Ecdsa => ("ecdsa", "256"),
            KeyKind::Ed25519 => ("ed25519", "0"),
        };
        let made = Credentials::of(folder);
        made.root(kind, size)?;
        for name in ["left", "right"] {
            made.issue("ca", name, kind, size, &["--san", &format!("{name}.example")])?;
        }
        Ok(made)
    }

    /// RSA-4096 below three intermediates; each end entity has so many more octets of names, to make messages long.
    pub fn long(folder: &Path, padding: usize) -> Result<Credentials, String> {
        let (kind, size) = ("rsa", "4096");
        let mut made = Credentials::of(folder);
        made.root(kind, size)?;
        let mut issuer = "ca".to_string();
        for n in 1..=INTERMEDIATES {
            let name = format!("intermediate{n}");
            made.issue(&issuer, &name, kind, size, &["--ca"])?;
            made.chain.push(format!("{name}.pem"));
            issuer = name;
        }
        // With the tag and the length of each name, 64 octets.
        let names: Vec<String> =
            (0..padding / 64).map(|n| format!("{n:05}.{}.example", "padding-".repeat(6))).collect();
        for name in ["left", "right"] {
            let host = format!("{name}.example");
            let mut sans = vec!["--san", &host];
            names.iter().for_each(|name| sans.extend(["--san", name]));
            made.issue(&issuer, name, kind, size, &sans)?;
        }
        Ok(made)
    }

    /// Files that stand in `folder` already, by the names that [`Credentials::file`] tells; no intermediates but those in
    /// the end entities' own files.
    pub fn of(folder: &Path) -> Credentials {
        Credentials { folder: folder.to_path_buf(), raw: false, chain: Vec::new() }
    }

    fn at(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn generate(&self, name: &str, kind: &str, size: &str) -> Result<String, String> {
        let mut args = vec!["--gen", "--type", kind, "--outform", "pem"];
        if size != "0" {
            args.extend(["--size", size]);
        }
        let key = self.at(&format!("{name}.key"));
        pki(&args, &key)?;
        Ok(key)
    }

    fn root(&self, kind: &str, size: &str) -> Result<(), String> {
        let (key, dn) = (self.generate("ca", kind, size)?, dn("CA"));
        let args = ["--self", "--ca", "--type", "priv", "--in", &key, "--dn", &dn, "--outform", "pem"];
        pki(&args, &self.at("ca.pem"))
    }

    fn issue(&self, issuer: &str, name: &str, kind: &str, size: &str, more: &[&str]) -> Result<(), String> {
        let key = self.generate(name, kind, size)?;
        let public = self.at(&format!("{name}.pub"));
        pki(&["--pub", "--type", "priv", "--in", &key, "--outform", "pem"], &public)?;
        let (cacert, cakey) = (self.at(&format!("{issuer}.pem")), self.at(&format!("{issuer}.key")));
        let host = if more.contains(&"--ca") { name.to_string() } else { format!("{name}.example") };
        let dn = dn(&host);
        let mut args = vec!["--issue", "--cacert", &cacert, "--cakey", &cakey];
        args.extend(["--type", "pub", "--in", &public, "--dn", &dn, "--outform", "pem"]);
        args.extend(more);
        pki(&args, &self.at(&format!("{name}.pem")))
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

fn dn(name: &str) -> String {
    format!("C=CH, O=Handfast Interop, CN={name}")
}

fn pki(args: &[&str], to: &str) -> Result<(), String> {
    let output = Command::new("pki").args(args).output().map_err(|error| format!("pki: {error}"))?;
    if !output.status.success() {
        return Err(format!("pki {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    std::fs::write(to, output.stdout).map_err(|error| format!("{to}: {error}"))
}
