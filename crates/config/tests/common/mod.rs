//! A directory with certificates and keys, and configurations read in it.
#![allow(dead_code, unreachable_pub)]

use base::WallClock;
use config::{Config, Outcome, Problem, Severity, Tools};
use crypto::SigningKey;
use provider::Provider;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use testcerts::{Authority, Key, List};

/// A directory that goes when this goes.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("handfast-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// One with `ca.pem`, its CRL `root.crl`, and certificates and keys of `moon` and `sun`, each for `NAME.example.org`; and
    /// `moon-pq.pem` below `pq-ca.pem`, post-quantum and for `moon.example.org` too.
    pub fn with_certificates() -> Self {
        let dir = Self::new();
        let ca = Authority::root(Key::EcdsaP256, "Root");
        dir.write("ca.pem", ca.pem());
        dir.write("root.crl", ca.crl(&List::from(now().0 - 3600)));
        for (name, host) in
            [("moon", "moon.example.org"), ("sun", "sun.example.org"), ("gw-a", "gw-a.example")]
        {
            let end = ca.issue(Key::EcdsaP256, name, &[host]);
            dir.write(&format!("{name}.pem"), end.pem());
            dir.write_private(&format!("{name}.key"), end.key_pem());
            dir.write(&format!("{name}.der"), end.der());
            let certificate = trust::certificate(&Provider::new(), end.der()).unwrap();
            dir.write(&format!("{name}.pub"), trust::facts(&certificate).unwrap().spki);
        }
        let ca = Authority::root(Key::MlDsa65, "Post-quantum Root");
        dir.write("pq-ca.pem", ca.pem());
        let end = ca.issue(Key::MlDsa65, "moon-pq", &["moon.example.org"]);
        dir.write("moon-pq.pem", end.pem());
        dir.write_private("moon-pq.key", end.key_pem());
        dir
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub fn write_private(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub fn check(&self, text: &str) -> Outcome {
        self.check_at(text, now())
    }

    pub fn check_at(&self, text: &str, wall: WallClock) -> Outcome {
        let suite = Provider::new();
        let tools = Tools { suite: &suite, load_key: &load_key, wall };
        config::check_text(&self.0.join("handfast.toml"), text, false, &tools)
    }

    /// The configuration, which must have no errors.
    pub fn good(&self, text: &str) -> Config {
        let outcome = self.check(text);
        outcome.config.unwrap_or_else(|| panic!("{}", all(&outcome.problems)))
    }

    /// The errors, as they are shown.
    pub fn errors(&self, text: &str) -> Vec<String> {
        shown(&self.check(text), Severity::Error)
    }

    /// The warnings, as they are shown.
    pub fn warnings(&self, text: &str) -> Vec<String> {
        shown(&self.check(text), Severity::Warning)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn load_key(der: &[u8]) -> Result<Box<dyn SigningKey>, String> {
    provider::load_private_key(der).map_err(|error| error.to_string())
}

pub fn now() -> WallClock {
    WallClock(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs())
}

pub fn shown(outcome: &Outcome, severity: Severity) -> Vec<String> {
    outcome.problems.iter().filter(|problem| problem.severity == severity).map(Problem::to_string).collect()
}

pub fn all(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n\n")
}
