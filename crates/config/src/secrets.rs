//! `[secrets]` and `[authorities]`: keys, and whom to trust.

use crate::limits::SHORT_SECRET;
use crate::load::Loader;
use crate::reader::{Fault, Section};
use crate::schema;
use crate::value::{decode_hex, id_pattern, shown};
use base::Secret;
use policy::{Certificate, IdPattern, Identity, Places};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// What was read of the secrets, with what the later checks need to know.
#[derive(Default)]
pub(crate) struct SecretStore {
    pub(crate) secrets: trust::Secrets,
    /// For whom there are pre-shared keys; a set, since a thousand of them are looked up a thousand times.
    pub(crate) psk_ids: HashSet<Vec<IdPattern>>,
    /// The identities that pre-shared keys name.
    pub(crate) psk_names: HashSet<Identity>,
    /// The private keys, and where they stand.
    pub(crate) keys: Vec<KeyNote>,
}

/// A private key of the file.
pub(crate) struct KeyNote {
    pub(crate) spki: Vec<u8>,
    pub(crate) at: Range<usize>,
    pub(crate) used: bool,
}

impl Loader<'_> {
    /// Reads `[authorities]`: the trust anchors that every connection has which names no `cacerts`.
    pub(crate) fn read_authorities(&mut self, root: &Section<'_>) -> Vec<Certificate> {
        let mut all: Vec<Certificate> = Vec::new();
        for (_, authority) in self.reader.named(root, "authorities") {
            self.reader.check_keys(&authority, &schema::AUTHORITY);
            if !authority.has("cacert") {
                let message = format!("[{}] names no certificate.", authority.path);
                self.reader.error(&authority.at, message, Some("Add `cacert = \"FILE\"`.".to_string()));
            }
            let (ocsp, crls) = (self.uris(&authority, "ocsp_uris"), self.uris(&authority, "crl_uris"));
            for certificate in self.certificates(&authority, "cacert") {
                if !ocsp.is_empty() || !crls.is_empty() {
                    let (ocsp, crls) = (ocsp.clone(), crls.clone());
                    self.places.push(Places { authority: certificate.clone(), ocsp, crls });
                }
                self.check_authority(&authority.value_place("cacert"), &certificate);
                if !all.contains(&certificate) {
                    all.push(certificate);
                }
            }
            let lists = self.crls(&authority);
            self.crls.extend(lists);
        }
        all
    }

    /// Reads `[secrets]`.
    pub(crate) fn read_secrets(&mut self, root: &Section<'_>) {
        let Some(section) = self.reader.table(root, "secrets") else { return };
        self.reader.check_keys(&section, &schema::SECRETS);
        for (_, entry) in self.reader.named(&section, "ike") {
            self.reader.check_keys(&entry, &schema::IKE_SECRET);
            self.read_psk(&entry);
        }
        for (_, entry) in self.reader.named(&section, "ppk") {
            self.read_ppk_secret(&entry);
        }
        for (_, entry) in self.reader.named(&section, "private") {
            self.reader.check_keys(&entry, &schema::PRIVATE);
            self.read_private(&entry);
        }
    }

    fn read_psk(&mut self, entry: &Section<'_>) {
        let mut ids = Vec::new();
        for text in self.reader.list_of(entry, "id", false).unwrap_or_default() {
            ids.extend(self.reader.parse(&text, id_pattern));
        }
        let in_file = entry.has("file");
        let secret = self.shared_secret(entry);
        if let Some(secret) = &secret
            && secret.expose().len() < SHORT_SECRET
        {
            let at = entry.place(if in_file { "file" } else { "secret" });
            let hint = "Whoever answers a peer once can try words at leisure (RFC 7296 §5). Make one by: openssl rand -base64 24";
            let message = format!("The secret of [{}] has fewer than {SHORT_SECRET} octets.", entry.path);
            self.reader.warn(&at, message, Some(hint.to_string()));
        }
        if !self.store.psk_ids.insert(ids.clone()) {
            let whom = if ids.is_empty() { "everybody" } else { "the same identities" };
            let message = format!("[{}] is for {whom}, as one before it, which is taken.", entry.path);
            self.reader.warn(&entry.at, message, None);
        }
        let names =
            ids.iter().filter_map(|id| if let IdPattern::Is(name) = id { Some(name.clone()) } else { None });
        self.store.psk_names.extend(names);
        // A secret that could not be read is told already; that it is missing need not be told as well.
        self.store.secrets.add_psk(ids, secret.unwrap_or_else(|| Secret::new(Vec::new())));
    }

    /// What stands in `secret` or in `file`.
    pub(crate) fn shared_secret(&mut self, entry: &Section<'_>) -> Option<Secret> {
        match (entry.has("file"), entry.has("secret")) {
            (true, false) => self.psk_from_file(entry),
            (false, true) => {
                self.inline_secret.get_or_insert(entry.place("secret"));
                self.reader.text(entry, "secret", |text| psk(text.as_bytes()))
            }
            (true, true) => {
                let hint = "Keep one of them.".to_string();
                self.reader.error(
                    &entry.place("file"),
                    format!("[{}] has both `secret` and `file`.", entry.path),
                    Some(hint),
                );
                None
            }
            (false, false) => {
                let hint = "Add `secret = \"…\"` or `file = \"FILE\"`.".to_string();
                self.reader.error(&entry.at, format!("[{}] has no secret.", entry.path), Some(hint));
                None
            }
        }
    }

    /// The first line of the file, written as `secret` would be.
    fn psk_from_file(&mut self, entry: &Section<'_>) -> Option<Secret> {
        let at = entry.value_place("file");
        let content = self.reader.text(entry, "file", |name| self.files.content(name).map_err(Fault::new))?;
        if content.public {
            self.warn_public(&at, &content.name);
        }
        let line = content.bytes.expose().split(|octet| *octet == b'\n').next().unwrap_or_default();
        match psk(line.strip_suffix(b"\r").unwrap_or(line)) {
            Ok(secret) => Some(secret),
            Err(fault) => {
                self.reader.error(&at, fault.message, fault.hint);
                None
            }
        }
    }

    fn read_private(&mut self, entry: &Section<'_>) {
        if !entry.has("file") {
            let message = format!("[{}] names no file.", entry.path);
            self.reader.error(&entry.at, message, Some("Add `file = \"FILE\"`.".to_string()));
            return;
        }
        let passphrase = self.reader.text(entry, "secret", |text| Ok(Secret::from(text.as_bytes())));
        if passphrase.is_some() {
            self.inline_secret.get_or_insert(entry.place("secret"));
        }
        let at = entry.value_place("file");
        let mut public = None;
        let load_key = self.tools.load_key;
        let key = self.reader.text(entry, "file", |name| {
            let content = self.files.content(name)?;
            public = content.public.then(|| content.name.clone());
            let unusable =
                |why: String| Fault::new(format!("`{}` has no usable private key: {why}.", shown(name)));
            let key = trust::private_key(content.bytes.expose(), passphrase.as_ref())
                .map_err(|why| unusable(why.0))?;
            load_key(key.der.expose()).map_err(unusable)
        });
        if let Some(name) = public {
            self.warn_public(&at, &name);
        }
        if let Some(key) = key {
            let key: Arc<dyn crypto::SigningKey> = key.into();
            self.store.keys.push(KeyNote { spki: key.public_key().to_vec(), at, used: false });
            self.store.secrets.add_key(key);
        }
    }

    /// Everybody on this machine can read the file `name`, for the sake of which there is something at `at`.
    pub(crate) fn warn_public(&mut self, at: &Range<usize>, name: &str) {
        let message = format!("Everybody on this machine can read `{name}`, which holds a secret.");
        self.reader.warn(at, message, Some(format!("Take that right away: chmod o-rwx {name}")));
    }
}

/// `0x…` is hexadecimal, `0s…` base64, anything else the text itself.
fn psk(text: &[u8]) -> Result<Secret, Fault> {
    let decoded = match text {
        [b'0', b'x', rest @ ..] => {
            let digits =
                std::str::from_utf8(rest).map_err(|_| Fault::new("The secret is not hexadecimal."))?;
            Secret::new(decode_hex(digits).map_err(|_| {
                Fault::new("The secret begins with 0x, but what follows is not hexadecimal.").hint(LITERALLY)
            })?)
        }
        [b'0', b's', rest @ ..] => decode_base64(rest).ok_or_else(|| {
            Fault::new("The secret begins with 0s, but what follows is not base64.").hint(LITERALLY)
        })?,
        text => Secret::from(text),
    };
    match decoded.expose().is_empty() {
        true => Err(Fault::new("The secret is empty.")),
        false => Ok(decoded),
    }
}

const LITERALLY: &str = "To have it taken letter by letter, write it in hexadecimal.";

/// Base64 (RFC 4648 §4), with or without padding.
fn decode_base64(text: &[u8]) -> Option<Secret> {
    let text = text.trim_ascii();
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Secret::new(Vec::with_capacity(digits.len()));
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let octets = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        let aligned = bits << (6 * (4 - group.len()));
        out.expose_mut().extend(aligned.to_be_bytes().into_iter().skip(1).take(octets));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_three_notations() {
        let read = |text: &str| psk(text.as_bytes()).map(|secret| secret.expose().clone()).ok();
        assert_eq!(read("hunter2").as_deref(), Some(&b"hunter2"[..]));
        assert_eq!(read("0x666f6F").as_deref(), Some(&b"foo"[..]));
        // RFC 4648 §10.
        for (text, wanted) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(read(&format!("0s{text}")).as_deref(), Some(wanted.as_bytes()), "{text}");
        }
        for bad in ["", "0x", "0xabc", "0xzz", "0s", "0sZ", "0s????"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
