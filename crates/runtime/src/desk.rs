//! Where requests are looked at before they reach the IKE thread: names, DNS, files.

use crate::TicketSecret;
use crate::driver::{Authority, Input, Voice, own_refusal};
use crate::mailbox::Inbox;
use crate::protocol::{Answer, Ask};
use crate::resolve;
use net::Sockets;
use policy::{Connection, Gateway, Policy};
use sa::RefusalKind;
use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A configuration that was read.
pub struct Loaded {
    /// What to do.
    pub policy: Arc<Policy>,
    /// Who answers jobs for it.
    pub authority: Arc<dyn Authority>,
    /// What tickets are made with as long as its keys and passwords are in force (RFC 5723).
    pub ticket_secret: Option<TicketSecret>,
}

/// Reads the configuration again; the error is what `handfast check` would print.
pub type Loader = Box<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// Serves requests; each caller has its own thread, where waiting is allowed.
pub(crate) struct Desk {
    version: String,
    inbox: Inbox,
    policy: RwLock<Arc<Policy>>,
    loader: Mutex<Loader>,
    sockets: Arc<Sockets>,
}

impl Desk {
    pub(crate) fn new(
        version: String,
        inbox: Inbox,
        policy: Arc<Policy>,
        loader: Loader,
        sockets: Arc<Sockets>,
    ) -> Self {
        Self { version, inbox, policy: RwLock::new(policy), loader: Mutex::new(loader), sockets }
    }

    /// The queue into the IKE thread.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves one request; its answers go to `to`, the last of them maybe much later.
    pub(crate) fn ask(self: &Arc<Self>, ask: Ask, to: SyncSender<(u64, Answer)>) {
        let voice = Voice { to, tag: 0, progress: true };
        match ask {
            Ask::Up { connection, child } => self.up(&connection, child, voice),
            Ask::Down { connection, child } => {
                self.inbox.send(Input::Down { connection, child, voice });
            }
            Ask::Rekey { connection, child } => {
                self.inbox.send(Input::Rekey { connection, child, voice });
            }
            Ask::Clone { connection, child } => self.clone_ike(connection, child, voice),
            Ask::Redirect { connection, to } => {
                let to = to.parse().map_or_else(|_| Gateway::Name(to), Gateway::Address);
                self.inbox.send(Input::Redirect { connection, to, voice });
            }
            Ask::Status {} => {
                self.inbox.send(Input::Status(voice));
            }
            Ask::Watch {} => {
                self.inbox.send(Input::Watch(voice));
            }
            Ask::Reload {} => {
                let answer = self.reload();
                voice.say(answer);
            }
        }
    }

    fn clone_ike(&self, name: String, child: Option<String>, voice: Voice) {
        let policy = self.policy();
        let found = policy.by_name(&name).map(|(_, connection)| connection);
        let unknown = match (found, &child) {
            (None, _) => Some(unknown_connection(&policy, &name)),
            (Some(found), Some(child)) if found.children.iter().all(|c| c.name != *child) => {
                Some(unknown_child(found, child))
            }
            _ => None,
        };
        match unknown {
            Some(reason) => {
                voice.say(Answer::Refused(own_refusal(RefusalKind::NotFound, &name, reason)));
            }
            None => {
                self.inbox.send(Input::Clone { connection: name, child, voice });
            }
        }
    }

    /// Looks the connection and its path up and hands the order over.
    pub(crate) fn up(&self, name: &str, child: Option<String>, voice: Voice) {
        let policy = self.policy();
        let refuse = |kind, reason| {
            voice.say(Answer::Refused(own_refusal(kind, name, reason)));
        };
        let Some((_, connection)) = policy.by_name(name) else {
            return refuse(RefusalKind::NotFound, unknown_connection(&policy, name));
        };
        if let Some(child) =
            child.as_deref().filter(|child| connection.children.iter().all(|c| c.name != *child))
        {
            return refuse(RefusalKind::NotFound, unknown_child(connection, child));
        }
        match resolve::path(connection, &self.sockets) {
            Ok(path) => {
                self.inbox.send(Input::Up { connection: name.to_string(), child, path, voice });
            }
            Err(reason) => refuse(RefusalKind::NoConnection, reason),
        }
    }

    /// Reads the file again; what is broken changes nothing.
    fn reload(self: &Arc<Self>) -> Answer {
        let loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match loader() {
            Ok(loaded) => loaded,
            Err(error) => {
                for line in error.lines() {
                    tracing::error!("The configuration is not taken, and nothing was changed: {line}");
                }
                return Answer::Error { text: format!("Nothing was changed.\n{error}") };
            }
        };
        let before = std::mem::replace(
            &mut *self.policy.write().unwrap_or_else(PoisonError::into_inner),
            loaded.policy.clone(),
        );
        let policy = loaded.policy.clone();
        self.inbox.send(Input::Reload(loaded));
        let diff = Diff::between(&before, &policy);
        tracing::info!("The configuration was read again: {}", diff.sentence());
        Answer::Reloaded { added: diff.added, removed: diff.removed, changed: diff.changed }
    }

    /// The same on a thread of its own, for a signal.
    pub(crate) fn reload_in_background(self: &Arc<Self>) {
        let desk = self.clone();
        let spawned = std::thread::Builder::new().name("reload".into()).spawn(move || {
            desk.reload();
        });
        if let Err(error) = spawned {
            tracing::error!("The configuration was not read again: {error}");
        }
    }
}

/// What a reload changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Diff {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl Diff {
    fn between(before: &Policy, after: &Policy) -> Self {
        // Connections hold no secrets, so that their debug form is a faithful and harmless fingerprint.
        let prints = |policy: &Policy| -> BTreeMap<String, String> {
            policy.connections.iter().map(|c| (c.name.clone(), format!("{c:?}"))).collect()
        };
        let (before, after) = (prints(before), prints(after));
        let missing = |from: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
            from.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
        };
        let changed = after.iter().filter(|(name, print)| before.get(*name).is_some_and(|old| old != *print));
        Self {
            added: missing(&after, &before),
            removed: missing(&before, &after),
            changed: changed.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn sentence(&self) -> String {
        let part = |verb: &str, names: &[String]| match names {
            [] => None,
            names => Some(format!("{verb} {}", names.join(", "))),
        };
        let parts: Vec<String> =
            [part("added", &self.added), part("removed", &self.removed), part("changed", &self.changed)]
                .into_iter()
                .flatten()
                .collect();
        if parts.is_empty() { "no connection differs".to_string() } else { parts.join("; ") }
    }
}

/// The sentence for a name that no connection has.
pub(crate) fn unknown_connection(policy: &Policy, name: &str) -> String {
    let names: Vec<&str> = policy.connections.iter().map(|c| c.name.as_str()).collect();
    format!("There is no connection \"{name}\" in the configuration. {}", suggest(name, &names))
}

fn unknown_child(connection: &Connection, name: &str) -> String {
    let names: Vec<&str> = connection.children.iter().map(|c| c.name.as_str()).collect();
    format!("Connection \"{}\" has no child \"{name}\". {}", connection.name, suggest(name, &names))
}

/// How many names are listed when none is near.
const LISTED: usize = 8;

fn suggest(name: &str, names: &[&str]) -> String {
    match policy::nearest(name, names.iter().copied()) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None if names.is_empty() => "It has none.".to_string(),
        None if names.len() <= LISTED => format!("There are: {}.", names.join(", ")),
        None => format!("There are {}, among them: {}.", names.len(), names[..LISTED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_answered_with_the_name_that_was_meant() {
        assert_eq!(suggest("offcie", &["home", "office"]), "Did you mean \"office\"?");
        assert_eq!(suggest("zzz", &["home", "office"]), "There are: home, office.");
        assert_eq!(suggest("x", &[]), "It has none.");
    }
}
