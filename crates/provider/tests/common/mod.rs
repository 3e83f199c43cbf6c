//! Reading the corpus of known answers.
#![allow(dead_code)] // each test file uses its own part

use serde_json::Value;

/// A JSON file of the corpus, or `None` after saying that `test` did not run.
pub(crate) fn json(test: &str, name: &str) -> Option<Value> {
    let path = testkit::corpus(test, name)?;
    Some(serde_json::from_slice(&testkit::read(&path)).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// The octets in the hexadecimal text under `key`; none where the key is absent.
pub(crate) fn octets(of: &Value, key: &str) -> Vec<u8> {
    testkit::hex(of[key].as_str().unwrap_or_default())
}

/// The text under `key`.
pub(crate) fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("no {key} in {of}"))
}

/// The members of a NIST archive whose name `wanted` accepts, as text.
pub(crate) fn archive(test: &str, name: &str, member: &str) -> Option<String> {
    let path = testkit::corpus(test, name)?;
    let output = std::process::Command::new("unzip").arg("-p").arg(&path).arg(member).output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).expect("text")),
        _ => {
            testkit::not_run(test, "the program unzip is missing or cannot read the archive");
            None
        }
    }
}

/// The records of a NIST response file: `KEY = value` lines between empty lines, with the latest `[section]`.
pub(crate) fn records(text: &str) -> Vec<Record> {
    let (mut records, mut record, mut section) = (Vec::new(), Record::default(), String::new());
    for line in text.lines().map(str::trim).chain([""]) {
        if let Some((key, value)) = line.split_once(" =") {
            record.fields.push((key.to_owned(), value.trim().to_owned()));
        } else if line.starts_with('[') {
            line.clone_into(&mut section);
        } else if line.is_empty() && !record.fields.is_empty() {
            record.section.clone_from(&section);
            records.push(std::mem::take(&mut record));
        }
    }
    records
}

/// One record of a NIST response file.
#[derive(Default, Debug)]
pub(crate) struct Record {
    pub(crate) section: String,
    fields: Vec<(String, String)>,
}

impl Record {
    /// The text of a field.
    pub(crate) fn text(&self, key: &str) -> &str {
        let field = self.fields.iter().find(|(name, _)| name == key);
        &field.unwrap_or_else(|| panic!("no {key} in {self:?}")).1
    }

    /// Whether there is such a field.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.iter().any(|(name, _)| name == key)
    }

    /// The octets of a field.
    pub(crate) fn octets(&self, key: &str) -> Vec<u8> {
        testkit::hex(self.text(key))
    }
}
