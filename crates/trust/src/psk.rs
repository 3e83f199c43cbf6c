//! Which pre-shared key belongs to a pair of identities.

use crate::text::quote;
use base::Secret;
use policy::{Closeness, IdPattern, Identity, closeness};

/// A pre-shared key and whom it is for.
#[derive(Debug)]
pub(crate) struct Psk {
    pub(crate) ids: Vec<IdPattern>,
    pub(crate) secret: Secret,
}

/// How well a key fits; a larger one is more specific.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fit {
    /// A key for nobody in particular.
    Anybody,
    /// Only our own identity is named.
    Local(Closeness),
    /// The peer's identity is named.
    Remote(Closeness),
    /// Both are named.
    Both(Closeness, Closeness),
}

/// The key that fits `local` and `remote` best: one that names both wins over one that names the
/// peer, that over one that names only us, that over one for anybody; among equals the first wins.
///
/// A key that names somebody else than us never serves a peer that it does not name.
pub(crate) fn select<'a>(psks: &'a [Psk], local: &Identity, remote: Option<&Identity>) -> Option<&'a Psk> {
    let mut best: Option<(Fit, &Psk)> = None;
    for psk in psks {
        if let Some(fit) = fit(&psk.ids, local, remote)
            && best.as_ref().is_none_or(|(found, _)| fit > *found)
        {
            best = Some((fit, psk));
        }
    }
    best.map(|(_, psk)| psk)
}

/// Why no key was found, and what to add.
pub(crate) fn none_fits(psks: &[Psk], local: &Identity, remote: Option<&Identity>) -> String {
    let peer = remote.map_or("an unknown peer".into(), |id| quote(&id.to_string()));
    let us = quote(&local.to_string());
    let nearest =
        psks.iter().flat_map(|psk| &psk.ids).take(4).map(|id| quote(&id.to_string())).collect::<Vec<_>>();
    let have = match (psks.len(), nearest.is_empty()) {
        (0, _) => "no secret is configured at all".to_owned(),
        (count, true) => format!("{count} secrets are configured"),
        (count, false) => {
            format!("{count} secrets are configured, for identities such as {}", nearest.join(", "))
        }
    };
    format!(
        "there is no pre-shared key for {us} with {peer}: {have}; add a secret that names the peer's identity"
    )
}

fn fit(ids: &[IdPattern], local: &Identity, remote: Option<&Identity>) -> Option<Fit> {
    if ids.is_empty() {
        return Some(Fit::Anybody);
    }
    let local_fit = ids.iter().filter_map(|id| closeness(id, local)).max();
    let remote_fit = remote.and_then(|remote| ids.iter().filter_map(|id| closeness(id, remote)).max());
    let names_only_us = ids.iter().all(|id| closeness(id, local).is_some());
    match (local_fit, remote_fit) {
        (Some(Closeness::Any), Some(Closeness::Any)) => Some(Fit::Anybody),
        (Some(local), Some(remote)) => Some(Fit::Both(remote.min(local), remote.max(local))),
        (None, Some(remote)) => Some(Fit::Remote(remote)),
        (Some(local), None) if names_only_us || remote.is_none() => Some(Fit::Local(local)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fqdn(name: &str) -> Identity {
        Identity::Fqdn(name.into())
    }

    fn psk(ids: &[&str], secret: &str) -> Psk {
        let ids = ids.iter().map(|id| match id.strip_prefix("*.") {
            Some(domain) => IdPattern::FqdnBelow(domain.into()),
            None if *id == "%any" => IdPattern::Any,
            None => IdPattern::Is(fqdn(id)),
        });
        Psk { ids: ids.collect(), secret: Secret::from(secret.as_bytes()) }
    }

    fn chosen(psks: &[Psk], local: &str, remote: Option<&str>) -> String {
        let remote = remote.map(fqdn);
        match select(psks, &fqdn(local), remote.as_ref()) {
            Some(psk) => String::from_utf8(psk.secret.expose().clone()).unwrap(),
            None => none_fits(psks, &fqdn(local), remote.as_ref()),
        }
    }

    #[test]
    fn the_most_specific_key_wins() {
        let all = [
            psk(&[], "anybody"),
            psk(&["%any", "gw"], "us and any"),
            psk(&["gw"], "us"),
            psk(&["*.road"], "road"),
            psk(&["carol.road"], "carol"),
            psk(&["gw", "carol.road"], "both"),
            psk(&["gw", "carol.road"], "both again"),
        ];
        assert_eq!(chosen(&all, "gw", Some("carol.road")), "both");
        assert_eq!(chosen(&all[..5], "gw", Some("carol.road")), "us and any");
        assert_eq!(chosen(&all[2..5], "gw", Some("carol.road")), "carol");
        assert_eq!(chosen(&all[2..5], "gw", Some("dave.road")), "road");
        assert_eq!(chosen(&all[2..5], "gw", Some("elsewhere")), "us");
        assert_eq!(chosen(&all[..1], "gw", Some("elsewhere")), "anybody");
        assert_eq!(chosen(&all[2..], "gw", None), "us", "an unknown peer: the first that names us exactly");
    }

    #[test]
    fn a_key_for_two_does_not_serve_a_third() {
        let all = [psk(&["gw", "carol"], "both")];
        assert_eq!(chosen(&all, "gw", Some("carol")), "both");
        let why = chosen(&all, "gw", Some("mallory"));
        assert!(why.contains("no pre-shared key for \"gw\" with \"mallory\""), "{why}");
        assert!(why.contains("1 secrets") && why.contains("\"carol\""), "{why}");
        assert!(!why.contains("both"), "the secret itself is not shown");
    }

    #[test]
    fn a_list_of_peers_serves_each() {
        let all = [psk(&["carol", "dave"], "shared")];
        assert_eq!(chosen(&all, "gw", Some("dave")), "shared");
        assert!(chosen(&all, "gw", Some("eve")).contains("no pre-shared key"));
    }
}
