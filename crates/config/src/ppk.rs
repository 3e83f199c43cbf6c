//! Post-quantum pre-shared keys: `[secrets.ppk.NAME]`, and `ppk_id` and `ppk_required` of a connection.

use crate::load::Loader;
use crate::reader::{Fault, Section, Text};
use crate::schema;
use crate::value::{shown, truth};
use base::Secret;
use policy::{PpkPattern, Ppks};
use std::sync::Arc;

/// Fewest octets of a PPK that are not warned about.
//= rfc8784 §6
//# The strongest practice is to ensure that any post-quantum preshared key contains at least 256 bits of entropy
const WHOLE_PPK: usize = 32;

impl Loader<'_> {
    pub(crate) fn read_ppk_secret(&mut self, entry: &Section<'_>) {
        self.reader.check_keys(entry, &schema::PPK_SECRET);
        let mut ids: Vec<Arc<str>> = Vec::new();
        for text in self.reader.list(entry, "id").unwrap_or_default() {
            let Some(id) = self.reader.parse(&text, ppk_id) else { continue };
            if self.store.secrets.ppk(&id).is_some() {
                let message = format!(
                    "[{}] is for the PPK `{}`, as one before it, which is taken.",
                    entry.path,
                    shown(&id)
                );
                self.reader.warn(&text.at, message, None);
            }
            ids.push(id);
        }
        if !entry.has("id") {
            let hint = "Add `id = \"…\"`: the name under which both sides have it.".to_string();
            self.reader.error(&entry.at, format!("[{}] has no identity.", entry.path), Some(hint));
        }
        let secret = self.shared_secret(entry);
        if let Some(secret) = &secret
            && secret.expose().len() < WHOLE_PPK
        {
            let at = entry.place(if entry.has("file") { "file" } else { "secret" });
            let hint = "Against a quantum computer half of its length counts (RFC 8784 §6). Make one by: openssl rand -base64 32";
            let message = format!("The secret of [{}] has fewer than {WHOLE_PPK} octets.", entry.path);
            self.reader.warn(&at, message, Some(hint.to_string()));
        }
        // A secret that could not be read is told already; that it is missing need not be told as well.
        self.store.secrets.add_ppk(ids, secret.unwrap_or_else(|| Secret::new(Vec::new())));
    }

    /// `ppk_id` and `ppk_required`.
    pub(crate) fn read_ppks(&mut self, section: &Section<'_>) -> Ppks {
        let texts = self.reader.list(section, "ppk_id").unwrap_or_default();
        let ids: Vec<PpkPattern> = texts.iter().filter_map(|text| self.ppk(text)).collect();
        let required = self.reader.scalar(section, "ppk_required", truth).unwrap_or(false);
        if required && !section.has("ppk_id") {
            let message = format!("`{}.ppk_required` needs `ppk_id`.", section.path);
            let hint = "Add `ppk_id = \"…\"` with the `id` of a [secrets.ppk.NAME], or `ppk_id = \"%any\"` to take each of them.";
            self.reader.error(&section.value_place("ppk_required"), message, Some(hint.to_string()));
        }
        Ppks { ids, required }
    }

    fn ppk(&mut self, text: &Text) -> Option<PpkPattern> {
        let pattern = self.reader.parse(text, |text| PpkPattern::parse(text).ok_or_else(|| no_id(text)))?;
        if let PpkPattern::Is(id) = &pattern
            && self.store.secrets.ppk(id).is_none()
        {
            let hint = format!("Add [secrets.ppk.NAME] with `id = \"{}\"` and `secret`.", shown(id));
            self.reader.error(&text.at, format!("There is no PPK `{}`.", shown(id)), Some(hint));
        }
        Some(pattern)
    }
}

/// The identity of a PPK, which is no pattern.
fn ppk_id(text: &str) -> Result<Arc<str>, Fault> {
    match PpkPattern::parse(text) {
        Some(PpkPattern::Is(id)) => Ok(id),
        Some(PpkPattern::EndsIn(_)) => {
            Err(Fault::new(format!("`{}` is a pattern, no identity.", shown(text)))
                .hint("Patterns stand in the `ppk_id` of a connection."))
        }
        None => Err(no_id(text)),
    }
}

fn no_id(text: &str) -> Fault {
    let most = policy::limits::PPK_ID;
    Fault::new(format!("`{}` is no identity of a PPK: it has 1 to {most} octets.", shown(text)))
}
