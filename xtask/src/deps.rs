//! The layer law: what `cargo metadata` says against what `deps.toml` allows.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// `[layers]` of `deps.toml`: crate → its layer, 0 lowest.
type Layers = BTreeMap<String, usize>;
/// (crate, dependency) of the normal and build dependencies.
type Edges = BTreeSet<(String, String)>;

/// Compares the two; the text says how many edges hold, or what is wrong.
pub(crate) fn check() -> Result<String, String> {
    let law: toml::Table = read("deps.toml")?.parse().map_err(|error| format!("deps.toml: {error}"))?;
    let (all, external) = actual()?;
    let layers = layers(&law)?;
    let development = names(law.get("development"));
    let mut wrong = Vec::new();
    for (from, to) in all.iter().filter(|(from, to)| !development.contains(from) && development.contains(to))
    {
        wrong.push(format!("{from} → {to}: {to} is for tests and measurements only"));
    }
    let internal: Edges = all.into_iter().filter(|(from, _)| !development.contains(from)).collect();
    compare(&internal, &listed(&law, "crates"), "crates", &mut wrong);
    let libraries: Edges = external.iter().map(|(_, library)| (String::new(), library.clone())).collect();
    let reasons: Edges = table(&law, "libraries").keys().map(|k| (String::new(), k.clone())).collect();
    compare(&libraries, &reasons, "libraries", &mut wrong);
    for (from, to) in &internal {
        match (layers.get(from), layers.get(to)) {
            (Some(upper), Some(lower)) if upper >= lower => {}
            (Some(_), Some(_)) => wrong.push(format!("{from} → {to}: an arrow that points up")),
            _ => wrong.push(format!("{from} → {to}: one of them has no layer in deps.toml")),
        }
    }
    cycles_and_versions(&internal, &mut wrong);
    if wrong.is_empty() {
        Ok(format!(
            "{} edges between crates and {} libraries, each with its reason",
            internal.len(),
            libraries.len()
        ))
    } else {
        Err(wrong.join("\n"))
    }
}

fn compare(actual: &Edges, listed: &Edges, table: &str, wrong: &mut Vec<String>) {
    let show =
        |(from, to): &(String, String)| if from.is_empty() { to.clone() } else { format!("{from} → {to}") };
    for edge in actual.difference(listed) {
        wrong.push(format!(
            "{}: not in deps.toml [{table}]: add it with its reason, or do without it",
            show(edge)
        ));
    }
    for edge in listed.difference(actual) {
        wrong.push(format!("{}: listed in deps.toml [{table}] but not used", show(edge)));
    }
}

/// Neither version of IKE may see the other.
fn cycles_and_versions(internal: &Edges, wrong: &mut Vec<String>) {
    for (a, b) in [("ikev1", "ikev2"), ("ikev2", "ikev1")] {
        if internal.contains(&(a.to_string(), b.to_string())) {
            wrong.push(format!("{a} → {b}: neither version may see the other"));
        }
    }
}

fn layers(law: &toml::Table) -> Result<Layers, String> {
    let order = law.get("layers").and_then(|v| v.as_array()).ok_or("deps.toml: no array `layers`")?;
    let mut layers = Layers::new();
    for (depth, layer) in order.iter().enumerate() {
        layers.extend(names(Some(layer)).into_iter().map(|name| (name, depth)));
    }
    Ok(layers)
}

fn names(value: Option<&toml::Value>) -> BTreeSet<String> {
    let array = value.and_then(|v| v.as_array()).into_iter().flatten();
    array.filter_map(|v| v.as_str()).map(str::to_string).collect()
}

fn table(law: &toml::Table, name: &str) -> toml::Table {
    law.get(name).and_then(|v| v.as_table()).cloned().unwrap_or_default()
}

fn listed(law: &toml::Table, name: &str) -> Edges {
    let mut edges = Edges::new();
    for (from, to) in table(law, name) {
        for dependency in to.as_table().into_iter().flatten().map(|(k, _)| k) {
            edges.insert((from.clone(), dependency.clone()));
        }
    }
    edges
}

/// The edges between our crates and to libraries; development dependencies are free.
fn actual() -> Result<(Edges, Edges), String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output()
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let (mut internal, mut external) = (Edges::new(), Edges::new());
    let short = |name: &str| name.strip_prefix("handfast-").unwrap_or(name).to_string();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = short(package["name"].as_str().unwrap_or_default());
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let target = short(dependency["name"].as_str().unwrap_or_default());
            let ours = dependency["path"].is_string();
            if ours { &mut internal } else { &mut external }.insert((name.clone(), target));
        }
    }
    Ok((internal, external))
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("{path}: {error} (run it from the repository's root)"))
}
