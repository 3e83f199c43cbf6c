//! The files that a configuration names: found relative to it, read once however often they are named.

use crate::limits::{CRL_FILE, INCLUDED_FILE};
use crate::value::shown;
use base::Secret;
use crypto::Suite;
use policy::{Certificate, Crl, PublicKey};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Certificates and CRLs that were read, by their files.
pub(crate) struct Files {
    dir: PathBuf,
    certificates: BTreeMap<PathBuf, Result<Vec<Certificate>, String>>,
    crls: BTreeMap<PathBuf, Result<Vec<Crl>, String>>,
}

/// A file that was read.
pub(crate) struct Content {
    pub(crate) bytes: Secret,
    /// Its path, as messages show it.
    pub(crate) name: String,
    /// Whether everybody on the machine can read it.
    pub(crate) public: bool,
}

impl Files {
    /// Names are relative to the directory of the configuration `file`.
    pub(crate) fn beside(file: &Path) -> Self {
        let dir = file.parent().map(Path::to_path_buf).unwrap_or_default();
        Self { dir, certificates: BTreeMap::new(), crls: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The certificates of a file, in its order; never empty.
    pub(crate) fn certificates(&mut self, suite: &dyn Suite, name: &str) -> Result<Vec<Certificate>, String> {
        let path = self.path(name);
        if let Some(known) = self.certificates.get(&path) {
            return known.clone();
        }
        let read = read(&path, INCLUDED_FILE).and_then(|content| {
            trust::certificates(suite, content.bytes.expose()).map_err(|why| {
                format!("`{}` has no usable certificate: {why}.", shown(&path.to_string_lossy()))
            })
        });
        self.certificates.insert(path, read.clone());
        read
    }

    /// The CRLs of a file; never empty.
    pub(crate) fn crls(&mut self, name: &str) -> Result<Vec<Crl>, String> {
        let path = self.path(name);
        if let Some(known) = self.crls.get(&path) {
            return known.clone();
        }
        let read = read(&path, CRL_FILE).and_then(|content| {
            trust::crls(content.bytes.expose())
                .map_err(|why| format!("`{}` has no usable CRL: {why}.", shown(&path.to_string_lossy())))
        });
        self.crls.insert(path, read.clone());
        read
    }

    /// The public keys of a file.
    pub(crate) fn public_keys(&self, suite: &dyn Suite, name: &str) -> Result<Vec<PublicKey>, String> {
        let path = self.path(name);
        let content = read(&path, INCLUDED_FILE)?;
        trust::public_keys(suite, content.bytes.expose())
            .map_err(|why| format!("`{}` has no usable public key: {why}.", shown(&path.to_string_lossy())))
    }

    /// What a file holds.
    pub(crate) fn content(&self, name: &str) -> Result<Content, String> {
        read(&self.path(name), INCLUDED_FILE)
    }
}

/// Reads a file of at most `limit` octets. The error is a sentence.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Content, String> {
    let name = shown(&path.to_string_lossy());
    let why = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("The file `{name}` does not exist."),
        io::ErrorKind::PermissionDenied => format!("The file `{name}` may not be read by this user."),
        _ => format!("The file `{name}` cannot be read: {error}."),
    };
    let metadata = std::fs::metadata(path).map_err(why)?;
    if !metadata.is_file() {
        // To open a FIFO can wait for ever, and a device may not end.
        return Err(format!("`{name}` is not a file."));
    }
    let file = File::open(path).map_err(why)?;
    let mut bytes = Secret::new(Vec::with_capacity(metadata.len().min(limit) as usize + 1));
    file.take(limit + 1).read_to_end(bytes.expose_mut()).map_err(why)?;
    if bytes.expose().len() as u64 > limit {
        return Err(format!("The file `{name}` is longer than {limit} octets."));
    }
    Ok(Content { bytes, name, public: is_public(&metadata) })
}

#[cfg(unix)]
fn is_public(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o004 != 0
}

#[cfg(not(unix))]
fn is_public(_: &std::fs::Metadata) -> bool {
    false
}
