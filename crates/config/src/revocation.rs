//! `revocation` and `crls`: what has to be known of the revocation of certificates.

use crate::load::Loader;
use crate::reader::{Fault, Section};
use crate::value::{choice, shown};
use policy::{Crl, Demand, Revocation};
use std::sync::Arc;

impl Loader<'_> {
    /// What `[connections.NAME.remote]` wants; `paths` says whether the peer's certificates have paths to authorities.
    pub(crate) fn read_revocation(&mut self, section: &Section<'_>, paths: bool) -> Revocation {
        let demand = match section.has("revocation") {
            true => self.reader.text(section, "revocation", demand).unwrap_or_default(),
            false => Demand::default(),
        };
        let own = self.crls(section);
        for key in ["revocation", "crls"].into_iter().filter(|key| section.has(key) && !paths) {
            let message = format!(
                "[{}]: `{key}` has no effect, since certificates and keys that are named themselves are accepted as they are.",
                section.path
            );
            let hint = "To have revocation checked, name the authority by `cacerts` in place of `certs` or `pubkeys`.";
            self.reader.warn(&section.place(key), message, Some(hint.to_string()));
        }
        if !paths {
            return Revocation { demand, crls: own, places: Vec::new() };
        }
        let crls = self.crls.iter().cloned().chain(own).collect();
        Revocation { demand, crls, places: self.places.clone() }
    }

    /// Where `crl_uris` or `ocsp_uris` say that CRLs and OCSP servers are.
    pub(crate) fn uris(&mut self, section: &Section<'_>, key: &str) -> Vec<Arc<str>> {
        let Some(names) = self.reader.list(section, key) else { return Vec::new() };
        names.iter().filter_map(|name| self.reader.parse(name, uri)).collect()
    }

    /// The CRLs of the files that `crls` names.
    pub(crate) fn crls(&mut self, section: &Section<'_>) -> Vec<Crl> {
        let Some(names) = self.reader.list(section, "crls") else { return Vec::new() };
        let mut all = Vec::new();
        for name in names {
            let files = &mut self.files;
            let read = self.reader.parse(&name, |name| files.crls(name).map_err(Fault::new));
            for crl in read.unwrap_or_default() {
                self.check_current(section, &crl);
                all.push(crl);
            }
        }
        all
    }

    /// A CRL that is out of date is a warning: to refuse it would keep the daemon from starting, because an authority is late.
    fn check_current(&mut self, section: &Section<'_>, crl: &Crl) {
        let Some(facts) = trust::crl_facts(crl) else { return };
        let now = self.tools.wall;
        if facts.next_update > now {
            return;
        }
        let issuer = shown(&crl.issuer);
        let since = match (now.0 - facts.next_update.0) / 86_400 {
            0 => "for less than a day".to_string(),
            1 => "since yesterday".to_string(),
            days => format!("for {days} days"),
        };
        let message =
            format!("The CRL of `{issuer}` is out of date {since}: what it does not revoke is not known.");
        let hint = "Get the new one from the authority, and reload.".to_string();
        self.reader.warn(&section.value_place("crls"), message, Some(hint));
    }
}

fn uri(text: &str) -> Result<Arc<str>, Fault> {
    if trust::is_http(text) {
        return Ok(text.into());
    }
    let hint = "What is fetched is signed, so that `http://` is enough, and nothing else is fetched.";
    Err(Fault::new(format!("`{}` is not an address that begins with `http://`.", shown(text))).hint(hint))
}

fn demand(text: &str) -> Result<Demand, Fault> {
    choice(&[("strict", Demand::Strict), ("ifuri", Demand::IfUri), ("relaxed", Demand::Relaxed)], text)
}
