//! `[connections.NAME.local]` and `[connections.NAME.remote]`, those of a second round, and whether what they say can work.

use crate::limits::EXPIRES_SOON;
use crate::load::Loader;
use crate::reader::{Fault, Section};
use crate::schema;
use crate::value::{choice, id_pattern, identity, ip, shown};
use policy::{
    AddressPattern, AuthMethod, Certificate, Connection, EndAction, IdPattern, Identity, LocalAuth,
    PublicKey, RemoteAuth, Round, StartAction, closeness,
};
use std::ops::Range;
use toml::de::DeTable;

/// How both sides authenticate, once and perhaps again.
pub(crate) struct Rounds {
    pub(crate) local: LocalAuth,
    pub(crate) remote: RemoteAuth,
    pub(crate) local2: Option<LocalAuth>,
    pub(crate) remote2: Option<RemoteAuth>,
}

impl Loader<'_> {
    /// Both sides in both rounds; `None` where what is wrong has been told.
    pub(crate) fn read_auth(
        &mut self,
        connection: &Section<'_>,
        local_addrs: &[AddressPattern],
        remote_addrs: &[AddressPattern],
    ) -> Option<Rounds> {
        let (local, remote) = self.read_first_round(connection, local_addrs, remote_addrs);
        let again = |key: &str, loader: &mut Self| loader.reader.table(connection, key);
        let local2 =
            again("local2", self).map(|section| self.read_local(&section, local_addrs, local.as_ref()));
        let method = local2.as_ref().map_or(Some(AuthMethod::Pubkey), |local2| Some(local2.as_ref()?.method));
        let first = remote.as_ref();
        let remote2 =
            again("remote2", self).map(|section| self.read_remote(&section, method, remote_addrs, first));
        let whole = |side: &Option<Option<_>>| side.as_ref().is_none_or(Option::is_some);
        let told = !whole(&local2) || remote2.as_ref().is_some_and(Option::is_none);
        let rounds =
            Rounds { local: local?, remote: remote?, local2: local2.flatten(), remote2: remote2.flatten() };
        (!told).then_some(rounds)
    }

    fn read_first_round(
        &mut self,
        connection: &Section<'_>,
        local_addrs: &[AddressPattern],
        remote_addrs: &[AddressPattern],
    ) -> (Option<LocalAuth>, Option<RemoteAuth>) {
        let local_section = self.reader.table(connection, "local");
        let Some(local_section) = local_section else {
            let hint = format!("Add [{}.local] with `auth` and `id`.", connection.path);
            self.reader.error(
                &connection.at,
                format!("[{}] does not say how we authenticate.", connection.path),
                Some(hint),
            );
            return (None, None);
        };
        let local = self.read_local(&local_section, local_addrs, None);
        let method = local.as_ref().map(|local| local.method);
        let nothing = DeTable::new();
        let remote = match self.reader.table(connection, "remote") {
            Some(remote) => self.read_remote(&remote, method, remote_addrs, None),
            None => self.read_remote(&connection.absent("remote", &nothing), method, remote_addrs, None),
        };
        (local, remote)
    }

    fn read_local(
        &mut self,
        section: &Section<'_>,
        addrs: &[AddressPattern],
        first: Option<&LocalAuth>,
    ) -> Option<LocalAuth> {
        self.reader.check_keys(section, &schema::LOCAL);
        let chosen = match section.has("auth") {
            true => self.reader.text(section, "auth", auth)?,
            false => AuthMethod::Pubkey,
        };
        let id = match section.has("id") {
            true => Some(self.reader.text(section, "id", own_identity)?),
            false => None,
        };
        let mut certs = self.certificates(section, "certs");
        let proofs = || ["certs", "pubkeys"].into_iter().filter(|key| section.has(key));
        match (chosen, proofs().count()) {
            (AuthMethod::Psk, 1..) => {
                for key in proofs() {
                    let hint = format!("Remove `{key}`, or set `auth = \"pubkey\"`.");
                    self.reader.error(
                        &section.place(key),
                        format!("[{}] has `{key}`, but authenticates by pre-shared key.", section.path),
                        Some(hint),
                    );
                }
            }
            (AuthMethod::Pubkey, 0) => {
                let at = if section.has("auth") { section.value_place("auth") } else { section.at.clone() };
                let hint =
                    "Add `certs = \"FILE\"` or `pubkeys = \"FILE\"`, or set `auth = \"psk\"`.".to_string();
                self.reader.error(
                    &at,
                    format!(
                        "[{}] authenticates by certificate (auth = \"pubkey\"), but names none.",
                        section.path
                    ),
                    Some(hint),
                );
            }
            _ => {}
        }
        let pubkey = self.own_public_key(section);
        drop_roots(&mut certs);
        // Who proves to be somebody twice is the same both times, as far as the certificate allows.
        let before = first.and_then(|first| first.id.as_ref());
        let id = id.or_else(|| match (certs.first(), before) {
            (Some(own), Some(before)) if trust::identity_in_certificate(before, own).is_ok() => {
                Some(before.clone())
            }
            (Some(own), _) => trust::identities(own).into_iter().next(),
            (None, Some(before)) => Some(before.clone()),
            (None, None) => only_address(addrs),
        });
        Some(LocalAuth { method: chosen, id, certs, pubkey })
    }

    fn read_remote(
        &mut self,
        section: &Section<'_>,
        ours: Option<AuthMethod>,
        addrs: &[AddressPattern],
        first: Option<&RemoteAuth>,
    ) -> Option<RemoteAuth> {
        self.reader.check_keys(section, &schema::REMOTE);
        let chosen = self.reader.text(section, "auth", auth);
        let given_id = self.reader.text(section, "id", id_pattern);
        let certs = self.certificates(section, "certs");
        let named = self.certificates(section, "cacerts");
        let at = section.value_place("cacerts");
        named.iter().for_each(|certificate| self.check_authority(&at, certificate));
        // What could not be read is told; no default takes its place.
        let method = if section.has("auth") { chosen? } else { ours? };
        let id = match (section.has("id"), first) {
            (true, _) => given_id?,
            (false, Some(first)) => same_as(&first.id),
            (false, None) => default_remote_id(method, addrs),
        };
        let pubkeys = self.public_keys(section);
        let id = match (&id, addrs) {
            (IdPattern::Any, addrs) if section.has("pubkeys") && !section.has("id") => {
                only_address(addrs).map_or(IdPattern::Any, IdPattern::Is)
            }
            _ => id,
        };
        if section.has("pubkeys") && method == AuthMethod::Pubkey && !matches!(id, IdPattern::Is(_)) {
            let message =
                format!("[{}]: a public key carries no name, so `id` must say who has it.", section.path);
            let hint = "Write the one identity that the peer shows.".to_string();
            let place = if section.has("id") { section.value_place("id") } else { section.place("pubkeys") };
            self.reader.error(&place, message, Some(hint));
        }
        // Whoever is known by a key needs no authority, unless one is named.
        let authorities = match (method, section.has("cacerts")) {
            (AuthMethod::Pubkey, false) if section.has("pubkeys") => Vec::new(),
            (AuthMethod::Pubkey, false) => self.authorities.clone(),
            _ => named,
        };
        if method == AuthMethod::Psk {
            for key in ["certs", "cacerts", "pubkeys", "revocation", "crls"]
                .into_iter()
                .filter(|key| section.has(key))
            {
                let hint = format!("Remove `{key}`, or set `auth = \"pubkey\"`.");
                self.reader.error(
                    &section.place(key),
                    format!("[{}] has `{key}`, but the peer authenticates by pre-shared key.", section.path),
                    Some(hint),
                );
            }
        } else if certs.is_empty()
            && authorities.is_empty()
            && !["certs", "cacerts", "pubkeys"].iter().any(|key| section.has(key))
        {
            let message = format!(
                "[{}]: the peer authenticates by certificate, but nothing says which ones to trust.",
                section.path
            );
            let hint = "Add `cacerts = \"FILE\"`, `certs = \"FILE\"` or `pubkeys = \"FILE\"` here, or an [authorities.NAME] with `cacert`.".to_string();
            self.reader.error(&section.at, message, Some(hint));
        }
        let revocation = self.read_revocation(section, certs.is_empty() && !authorities.is_empty());
        Some(RemoteAuth { method, id, certs, authorities, pubkeys, revocation })
    }

    /// Our public key, where it takes the place of a certificate (RFC 7670).
    fn own_public_key(&mut self, section: &Section<'_>) -> Option<PublicKey> {
        let mut keys = self.public_keys(section);
        if section.has("pubkeys") {
            let at = section.place("pubkeys");
            if section.has("certs") {
                let message = format!("[{}] has both `certs` and `pubkeys`.", section.path);
                self.reader.error(&at, message, Some("Keep the one that the peer knows us by.".to_string()));
            } else if keys.len() > 1 {
                let message = format!("[{}] names {} public keys of ours.", section.path, keys.len());
                self.reader.error(&at, message, Some("Name the one that we sign with.".to_string()));
            }
        }
        (!keys.is_empty()).then(|| keys.swap_remove(0))
    }

    /// The public keys of the files that `pubkeys` names.
    fn public_keys(&mut self, section: &Section<'_>) -> Vec<PublicKey> {
        let Some(names) = self.reader.list(section, "pubkeys") else { return Vec::new() };
        let mut all = Vec::new();
        for name in names {
            let (suite, files) = (self.tools.suite, &self.files);
            let keys = self.reader.parse(&name, |name| files.public_keys(suite, name).map_err(Fault::new));
            all.extend(keys.unwrap_or_default());
        }
        all
    }

    /// The certificates of the files that `key` names, in their order.
    pub(crate) fn certificates(&mut self, section: &Section<'_>, key: &str) -> Vec<Certificate> {
        let Some(names) = self.reader.list(section, key) else { return Vec::new() };
        let mut all = Vec::new();
        for name in names {
            let suite = self.tools.suite;
            let files = &mut self.files;
            all.extend(
                self.reader
                    .parse(&name, |name| files.certificates(suite, name).map_err(Fault::new))
                    .unwrap_or_default(),
            );
        }
        all
    }

    /// A trust anchor must be able to be one.
    pub(crate) fn check_authority(&mut self, at: &Range<usize>, certificate: &Certificate) {
        let Some(facts) = trust::facts(certificate) else { return };
        if !facts.is_authority {
            let hint = "To trust this one certificate as it is, name it in `certs` of the peer's [remote]."
                .to_string();
            let message = format!(
                "The certificate `{}` is no authority's (basicConstraints without CA).",
                shown(&certificate.subject)
            );
            self.reader.error(at, message, Some(hint));
        } else if facts.not_after < self.tools.wall {
            let message = format!(
                "The authority `{}` has expired: its certificates are refused.",
                shown(&certificate.subject)
            );
            self.reader.warn(at, message, None);
        }
    }

    /// What only both sides together, with the secrets, can tell.
    pub(crate) fn check_connection(&mut self, section: &Section<'_>, connection: &Connection) {
        for round in Round::ALL {
            let (local_key, remote_key) = match round {
                Round::First => ("local", "remote"),
                Round::Second => ("local2", "remote2"),
            };
            let (local, remote) = (connection.local_auth(round), connection.remote_auth(round));
            if local.is_some_and(|local| local.method == AuthMethod::Psk)
                || remote.is_some_and(|remote| remote.method == AuthMethod::Psk)
            {
                let place =
                    self.place_in(section, if local.is_some() { local_key } else { remote_key }, "auth");
                // A side that is through after one round keeps its identity.
                let local = local.unwrap_or(&connection.local);
                self.check_psk(&place, connection, (local, &remote.unwrap_or(&connection.remote).id));
            }
            if let Some(local) = local.filter(|local| local.method == AuthMethod::Pubkey) {
                self.check_own_proof(section, local_key, local);
            }
            if let Some(remote) = remote {
                let place = self.place_in(section, remote_key, "certs");
                self.check_pinned(&place, (section, remote_key), remote);
            }
        }
        self.warn_same_proof(section, connection);
        self.warn_nobody_to_call(section, connection);
    }

    /// Where a value of a side stands.
    fn place_in(&mut self, section: &Section<'_>, side: &str, key: &str) -> Range<usize> {
        match self.reader.table(section, side) {
            Some(side) => side.value_place(key),
            None => section.at.clone(),
        }
    }

    /// What we sign with, and whether it shows who we say we are.
    fn check_own_proof(&mut self, section: &Section<'_>, side: &str, local: &LocalAuth) {
        if let Some(own) = local.certs.first() {
            let place = self.place_in(section, side, "certs");
            self.check_own_certificate(&place, own);
            if let Some(id) = &local.id
                && let Err(why) = trust::identity_in_certificate(id, own)
            {
                let place = self.place_in(section, side, "id");
                let hint =
                    "Use an identity that is in it, or leave `id` out to take the certificate's subject.";
                self.reader.error(&place, capitalized(&why), Some(hint.to_string()));
            }
        }
        if let Some(key) = &local.pubkey {
            let place = self.place_in(section, side, "pubkeys");
            match self.store.keys.iter_mut().find(|known| *known.spki == *key.spki) {
                Some(known) => known.used = true,
                None => {
                    let message = format!("There is no private key for our public key `{}`.", key.name);
                    let hint = "Name its file in [secrets.private.NAME].".to_string();
                    self.reader.error(&place, message, Some(hint));
                }
            }
        }
    }

    /// Two rounds with the same proof are worth no more than one.
    fn warn_same_proof(&mut self, section: &Section<'_>, connection: &Connection) {
        let Connection { local, local2, remote, remote2, .. } = connection;
        let what = |local: &LocalAuth| {
            let spki = local.certs.first().map(|own| own.spki_sha1);
            (local.method, local.id.clone(), spki, local.pubkey.clone())
        };
        let ours = local2.as_ref().is_some_and(|second| what(second) == what(local));
        // By certificate they are two: a key that has signed in the first round is refused in the second.
        let theirs = remote2.as_ref().is_some_and(|second| {
            let same_id = second.id == remote.id || second.id == IdPattern::OfFirstRound;
            same_id && second.method == AuthMethod::Psk && remote.method == AuthMethod::Psk
        });
        for (key, first, same) in [("local2", "local", ours), ("remote2", "remote", theirs)] {
            if same {
                let place = self.reader.table(section, key).map_or(section.at.clone(), |side| side.at);
                let message = format!("[{}.{key}] is the same proof as `{first}`, once more.", section.path);
                let hint = "Name another certificate, or leave the second round out.".to_string();
                self.reader.warn(&place, message, Some(hint));
            }
        }
    }

    fn check_psk(
        &mut self,
        at: &Range<usize>,
        connection: &Connection,
        (local, remote_id): (&LocalAuth, &IdPattern),
    ) {
        // Who that will be is not known yet.
        let remote_id = if *remote_id == IdPattern::OfFirstRound { &connection.remote.id } else { remote_id };
        let fits = |ids: &Vec<IdPattern>| ids.is_empty() || ids.iter().any(|id| overlap(id, remote_id));
        let store = &self.store;
        let found = match (&local.id, remote_id) {
            // Whoever is named has a secret; the search below is for the rest.
            (_, IdPattern::Is(remote)) if store.psk_names.contains(remote) => Ok(()),
            (Some(local), IdPattern::Is(remote)) => store.secrets.psk(local, Some(remote)).map(|_| ()),
            (Some(_), _) if store.psk_ids.iter().any(fits) => Ok(()),
            (Some(local), _) => store.secrets.psk(local, None).map(|_| ()),
            // Our address is not known yet, and which secret names it neither.
            (None, _) if !store.psk_ids.is_empty() => Ok(()),
            (None, _) => Err("no secret is configured at all".to_string()),
        };
        if let Err(why) = found {
            let message =
                format!("[connections.{}] authenticates by pre-shared key: {why}.", connection.name);
            let hint = format!("Add [secrets.ike.{}] with `id` (the peer's) and `secret`.", connection.name);
            self.reader.error(at, message, Some(hint));
        }
    }

    fn check_own_certificate(&mut self, at: &Range<usize>, own: &Certificate) {
        let Some(facts) = trust::facts(own) else { return };
        let subject = shown(&own.subject);
        let now = self.tools.wall;
        let owner = self.store.keys.iter_mut().find(|key| key.spki == facts.spki);
        match owner {
            Some(key) => key.used = true,
            None => {
                let (message, hint) = match self.store.keys.len() {
                    0 => (
                        format!("There is no private key for the certificate `{subject}`."),
                        "Add [secrets.private.NAME] with `file`.",
                    ),
                    n => (
                        format!("None of the {n} private keys belongs to the certificate `{subject}`."),
                        "The first certificate of the first file must be our own; name its key's file in [secrets.private.NAME].",
                    ),
                };
                self.reader.error(at, message, Some(hint.to_string()));
            }
        }
        let day = 86_400;
        if facts.not_after < now {
            let days = (now.0 - facts.not_after.0) / day;
            // A warning, as below: a clock that is set late or one old certificate must not keep the daemon,
            // and with it all other connections, from starting.
            self.reader.warn(
                at,
                format!("Our certificate `{subject}` expired {days} days ago."),
                Some("Peers refuse it: renew it.".to_string()),
            );
        } else if facts.not_before > now {
            let days = (facts.not_before.0 - now.0).div_ceil(day);
            let hint = "Is this machine's clock right?".to_string();
            self.reader.warn(
                at,
                format!("Our certificate `{subject}` becomes valid in {days} days only."),
                Some(hint),
            );
        } else if facts.not_after.0 - now.0 < EXPIRES_SOON * day {
            let days = (facts.not_after.0 - now.0) / day;
            self.reader.warn(at, format!("Our certificate `{subject}` expires in {days} days."), None);
        }
    }

    /// Of the peer's certificates that are accepted as they are, one should be usable.
    fn check_pinned(
        &mut self,
        at: &Range<usize>,
        (section, side): (&Section<'_>, &str),
        remote: &RemoteAuth,
    ) {
        for certificate in &remote.certs {
            let Some(facts) = trust::facts(certificate) else { continue };
            let subject = shown(&certificate.subject);
            if facts.not_after < self.tools.wall {
                self.reader.warn(
                    at,
                    format!("The peer's certificate `{subject}` has expired: it will be refused."),
                    None,
                );
            }
            if let IdPattern::Is(id) = &remote.id
                && let Err(why) = trust::identity_in_certificate(id, certificate)
            {
                let hint = format!("Set the `id` of [{}.{side}] to one that is in it.", section.path);
                self.reader.error(at, capitalized(&why), Some(hint));
            }
        }
    }

    /// What starts by itself needs somebody to call.
    fn warn_nobody_to_call(&mut self, section: &Section<'_>, connection: &Connection) {
        let by_itself = |child: &&std::sync::Arc<policy::Child>| {
            child.start_action != StartAction::None
                || child.dpd_action != EndAction::Clear
                || child.close_action != EndAction::Clear
        };
        let starts = connection.children.iter().find(by_itself);
        let concrete = |pattern: &AddressPattern| match pattern {
            AddressPattern::Any => false,
            AddressPattern::Range(range) => range.start() == range.end(),
            AddressPattern::Name(_) => true,
        };
        if let Some(child) = starts
            && !connection.remote_addrs.iter().any(concrete)
        {
            let message = format!(
                "Child `{}` of [{}] is to start by itself, but `remote_addrs` has no address or name to call.",
                child.name, section.path
            );
            self.reader.warn(&section.value_place("remote_addrs"), message, None);
        }
    }

    /// Tells each private key that serves no certificate of ours.
    pub(crate) fn warn_idle_keys(&mut self) {
        let idle: Vec<Range<usize>> =
            self.store.keys.iter().filter(|key| !key.used).map(|key| key.at.clone()).collect();
        for at in idle {
            self.reader.warn(
                &at,
                "No connection has a certificate or public key that this private key belongs to.",
                None,
            );
        }
    }
}

fn auth(text: &str) -> Result<AuthMethod, Fault> {
    let hint = "Possible: `psk`, `pubkey`.";
    let plain = text.strip_prefix("ike:").unwrap_or(text);
    if plain.starts_with("eap") || plain.starts_with("xauth") {
        return Err(Fault::new(format!(
            "`{}` is swanctl's, but this version does not have EAP.",
            shown(text)
        ))
        .hint(hint));
    }
    if ["rsa", "ecdsa", "ed25519", "ed448", "pubkey-", "rsa-", "ecdsa-"]
        .iter()
        .any(|known| plain.starts_with(known))
    {
        let message =
            format!("`{}`: which algorithms may sign cannot be chosen in this version.", shown(text));
        return Err(Fault::new(message).hint("Write `pubkey`: it takes what key and peer can do."));
    }
    choice(&[("psk", AuthMethod::Psk), ("pubkey", AuthMethod::Pubkey)], plain)
}

fn own_identity(text: &str) -> Result<Identity, Fault> {
    match id_pattern(text) {
        Ok(IdPattern::Is(identity)) => Ok(identity),
        Ok(_) => Err(Fault::new(format!(
            "`{}` is no identity of one peer: ours cannot have a wildcard.",
            shown(text)
        ))
        .hint("Leave `id` out to take the certificate's subject, or our address.")),
        Err(_) => identity(text),
    }
}

/// The identity that an address gives, when there is just one.
fn only_address(addrs: &[AddressPattern]) -> Option<Identity> {
    match addrs {
        [AddressPattern::Range(range)] if range.start() == range.end() => Some(ip(range.start())),
        _ => None,
    }
}

/// Who the second round must show where nothing is said: the same as the first. Whoever else has a key that is good for a second
/// round, of a kind that is not broken, must not be able to lend it to whoever has broken the first.
fn same_as(first: &IdPattern) -> IdPattern {
    match first {
        IdPattern::Is(id) => IdPattern::Is(id.clone()),
        _ => IdPattern::OfFirstRound,
    }
}

/// With a pre-shared key, a peer of a fixed address is known by it when nothing else is said: to accept
/// any identity would let every holder of any fitting secret in.
fn default_remote_id(method: AuthMethod, addrs: &[AddressPattern]) -> IdPattern {
    match method {
        AuthMethod::Psk => only_address(addrs).map_or(IdPattern::Any, IdPattern::Is),
        AuthMethod::Pubkey => IdPattern::Any,
    }
}

/// Roots of a chain file need not travel: the peer has its own anchors.
fn drop_roots(certs: &mut Vec<Certificate>) {
    let mut index = 0;
    certs.retain(|certificate| {
        index += 1;
        index == 1 || trust::facts(certificate).is_none_or(|facts| !facts.self_issued)
    });
}

/// Whether some identity fits both.
fn overlap(secret: &IdPattern, peer: &IdPattern) -> bool {
    match (secret, peer) {
        (IdPattern::Any, _) | (_, IdPattern::Any) => true,
        (IdPattern::Is(identity), pattern) | (pattern, IdPattern::Is(identity)) => {
            closeness(pattern, identity).is_some()
        }
        (IdPattern::FqdnBelow(a), IdPattern::FqdnBelow(b))
        | (IdPattern::EmailAt(a), IdPattern::EmailAt(b)) => {
            a.eq_ignore_ascii_case(b) || a.ends_with(&format!(".{b}")) || b.ends_with(&format!(".{a}"))
        }
        _ => false,
    }
}

/// A sentence of what is written as a part of one.
fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
