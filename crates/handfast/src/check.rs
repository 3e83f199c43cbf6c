//! `handfast check`: everything that `run` would refuse, and a summary of what it would do.

use crate::exit::Exit;
use crate::talk::{print_json, say};
use crate::{load, table};
use config::{Config, DataplaneChoice, Outcome, Problem, Severity};
use policy::{
    AuthMethod, Child, Connection, LocalAuth, Proposal, RemoteAuth, Revocation, Shunt, ShuntAction,
    StartAction,
};
use serde_json::{Value, json};
use std::fmt::Display;
use std::path::Path;

/// Checks `file`.
pub(crate) fn check(file: &Path, json: bool) -> Exit {
    let Outcome { config, problems } = load::read(file, load::suite().as_ref());
    if json {
        print_json(&json!({
            "file": file,
            "usable": config.is_some(),
            "problems": problems.iter().map(problem).collect::<Vec<_>>(),
            "shunts": config.as_ref().map(|c| c.policy.shunts.iter().map(shunt).collect::<Vec<_>>()),
            "connections": config.as_ref().map(|c| c.policy.connections.iter().map(|c| connection(c)).collect::<Vec<_>>()),
        }));
    } else {
        problems.iter().for_each(|problem| say(&format!("{problem}\n")));
        match &config {
            Some(config) => say(summary(file, config, &problems).trim_end()),
            None => {
                say(&format!("{}: {}; `handfast run` would refuse it.", file.display(), tally(&problems)))
            }
        }
    }
    if config.is_some() { Exit::Done } else { Exit::Usage }
}

fn problem(problem: &Problem) -> Value {
    json!({
        "severity": match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "hint": problem.hint,
    })
}

fn connection(connection: &Connection) -> Value {
    json!({
        "name": connection.name,
        "local_addrs": texts(&connection.local_addrs),
        "remote_addrs": texts(&connection.remote_addrs),
        "local_auth": local_auth(&connection.local),
        "remote_auth": remote_auth(&connection.remote),
        "local2_auth": connection.local2.as_ref().map(local_auth),
        "remote2_auth": connection.remote2.as_ref().map(remote_auth),
        "proposals": texts(&connection.proposals),
        "weak": connection.weak,
        "children": connection.children.iter().map(|child| json!({
            "name": child.name,
            "local_ts": texts(&child.local_ts),
            "remote_ts": texts(&child.remote_ts),
            "esp_proposals": texts(&child.esp_proposals),
            "starts": child.start_action.starts(),
            "traps": child.start_action.traps(),
            "interface": child.interface.as_ref().map(ToString::to_string),
            "netns": child.interface.as_ref().and_then(|interface| interface.namespace()),
        })).collect::<Vec<_>>(),
    })
}

fn local_auth(local: &LocalAuth) -> Value {
    json!({ "method": method(local.method), "key": own_key(local) })
}

fn remote_auth(remote: &RemoteAuth) -> Value {
    let known = revocation(remote);
    json!({
        "revocation": known.map(|known| known.demand.to_string()),
        "crls": known.map_or(0, |known| known.crls.len()),
    })
}

fn method(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::Psk => "psk",
        AuthMethod::Pubkey => "pubkey",
    }
}

fn shunt(shunt: &Shunt) -> Value {
    json!({
        "name": shunt.name,
        "action": match shunt.action {
            ShuntAction::Pass => "pass",
            ShuntAction::Drop => "drop",
        },
        "local_ts": texts(&shunt.local_ts),
        "remote_ts": texts(&shunt.remote_ts),
    })
}

fn texts<T: Display>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn tally(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let warnings = problems.len() - errors;
    let many = table::count;
    match (errors, warnings) {
        (0, 0) => "no problems".to_string(),
        (0, w) => many(w, "warning"),
        (e, 0) => many(e, "error"),
        (e, w) => format!("{} and {}", many(e, "error"), many(w, "warning")),
    }
}

/// Connections that the summary spells out; of larger files a person wants the count.
const SPELLED_OUT: usize = 20;

fn summary(file: &Path, config: &Config, problems: &[Problem]) -> String {
    let connections = &config.policy.connections;
    let plane = match config.daemon.dataplane {
        DataplaneChoice::Tun => "ESP over a TUN device",
        DataplaneChoice::None => "no data plane (child SAs carry no traffic)",
    };
    let mut lines = Vec::new();
    for connection in connections.iter().take(SPELLED_OUT) {
        lines.push(format!(
            "{}: {} === {}",
            connection.name,
            list(&connection.local_addrs),
            list(&connection.remote_addrs)
        ));
        let proofs: Vec<String> = connection.locals().map(own_proof).collect();
        lines.push(format!("  We prove ourselves by {}.", proofs.join(", then by ")));
        if connection.remote2.is_some() {
            lines.push("  The peer has to prove itself twice.".to_string());
        }
        for known in connection.remotes().filter_map(revocation) {
            let lists = table::count(known.crls.len(), "CRL");
            lines.push(format!(
                "  The peer's certificate: revocation = \"{}\", {lists} from files.",
                known.demand
            ));
        }
        lines.push(proposals("  IKE  ", &connection.proposals));
        lines.extend(connection.children.iter().map(|child| say_child(child)));
    }
    if connections.len() > SPELLED_OUT {
        lines.push(format!("… and {} more connections", connections.len() - SPELLED_OUT));
    }
    for shunt in config.policy.shunts.iter().take(SPELLED_OUT) {
        let what = match shunt.action {
            ShuntAction::Pass => "passes by the tunnels",
            ShuntAction::Drop => "is dropped where no tunnel carries it",
        };
        let (local, remote) = (list(&shunt.local_ts), list(&shunt.remote_ts));
        lines.push(format!("shunt {}: {local} to {remote} {what}", shunt.name));
    }
    if config.policy.shunts.len() > SPELLED_OUT {
        lines.push(format!("… and {} more shunts", config.policy.shunts.len() - SPELLED_OUT));
    }
    if !lines.is_empty() {
        lines.push(String::new());
    }
    lines.push(format!(
        "{}: {}. `handfast run` would serve {} on UDP {} and {}, with {plane}.",
        file.display(),
        tally(problems),
        table::count(connections.len(), "connection"),
        config.daemon.port,
        config.daemon.port_nat_t
    ));
    lines.join("\n")
}

/// What kind of key this end signs with; `None` with a pre-shared key.
fn own_key(local: &LocalAuth) -> Option<String> {
    match (local.certs.first(), &local.pubkey) {
        (Some(certificate), _) => trust::key_kind(&trust::facts(certificate)?.spki),
        (None, Some(pubkey)) => trust::key_kind(&pubkey.spki),
        (None, None) => None,
    }
}

/// What this end shows for itself.
fn own_proof(local: &LocalAuth) -> String {
    let key = own_key(local).unwrap_or_else(|| "of an unknown kind".into());
    match (local.method, local.certs.first()) {
        (AuthMethod::Psk, _) => "a pre-shared key".into(),
        (AuthMethod::Pubkey, Some(certificate)) => format!("certificate {} ({key})", certificate.subject),
        (AuthMethod::Pubkey, None) => format!("a public key without a certificate ({key})"),
    }
}

/// What has to be known of the peer's certificate; `None` where it needs none, or is accepted as it is.
fn revocation(remote: &RemoteAuth) -> Option<&Revocation> {
    let leads_to_authority = remote.certs.is_empty() && !remote.authorities.is_empty();
    (remote.method == AuthMethod::Pubkey && leads_to_authority).then_some(&remote.revocation)
}

fn say_child(child: &Child) -> String {
    let starts = match child.start_action {
        StartAction::None => "",
        StartAction::Trap => ", started by its first packet",
        StartAction::Start => ", starts by itself",
        StartAction::TrapStart => ", starts by itself and by its first packet",
    };
    let side = |selectors: &[dataplane::Selector], own: &str| match selectors {
        [] => own.to_string(),
        some => list(some),
    };
    let through = child.interface.as_ref().map_or(String::new(), |interface| match interface.namespace() {
        Some(namespace) => format!(", through {interface} in {namespace}"),
        None => format!(", through {interface}"),
    });
    format!(
        "  {}: {} === {}{through}{starts}\n{}",
        child.name,
        side(&child.local_ts, "our address"),
        side(&child.remote_ts, "the peer's address"),
        proposals("    ESP  ", &child.esp_proposals)
    )
}

/// A proposal a line behind `head`; one that is too long goes on below, broken between two words.
fn proposals(head: &str, all: &[Proposal]) -> String {
    let indent = head.len();
    let mut lines = Vec::new();
    for proposal in texts(all) {
        let words: Vec<&str> = proposal.split_inclusive('-').collect();
        lines.extend(table::wrap(&words, table::WIDTH - indent));
    }
    format!("{head}{}", lines.join(&format!("\n{:indent$}", "")))
}

fn list<T: Display>(all: &[T]) -> String {
    texts(all).join(", ")
}
