//! Reading a parsed file: tables whose unknown keys are told, and values whose errors are collected
//! instead of ending the reading.

use crate::limits::{LIST, PROBLEMS};
use crate::problem::{Problem, Severity};
use crate::schema::{ABSENT, Table};
use crate::source::Source;
use crate::value::shown;
use policy::nearest;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Why a value is not taken.
pub(crate) struct Fault {
    /// The part of the string that it is about; `None`: all of it.
    pub(crate) at: Option<Range<usize>>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// A table of the file.
#[derive(Clone)]
pub(crate) struct Section<'a> {
    /// Its whole name.
    pub(crate) path: String,
    /// Where its name stands.
    pub(crate) at: Range<usize>,
    table: &'a DeTable<'a>,
}

/// A string of the file, with its place.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) at: Range<usize>,
    pub(crate) text: String,
}

/// The file's text, and what is wrong with it so far.
pub(crate) struct Reader {
    pub(crate) source: Source,
    pub(crate) problems: Vec<Problem>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(table: &'a DeTable<'a>) -> Self {
        Self { path: String::new(), at: 0..0, table }
    }

    /// A table that the file does not have: `nothing` stands for it, in the place of this one.
    pub(crate) fn absent<'b>(&self, key: &str, nothing: &'b DeTable<'b>) -> Section<'b> {
        Section { path: self.name_of(key), at: self.at.clone(), table: nothing }
    }

    fn name_of(&self, key: &str) -> String {
        let key = shown(key);
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    /// Where the key stands, or else the table's own name.
    pub(crate) fn place(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or(self.at.clone(), |(key, _)| key.span())
    }

    /// Where the value of a key stands, or else the table's own name.
    pub(crate) fn value_place(&self, key: &str) -> Range<usize> {
        self.value(key).map_or(self.at.clone(), Spanned::span)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Keys and values by their places: the parser's map has them by name.
    fn in_order(&self) -> Vec<(&'a str, Range<usize>, &'a Spanned<DeValue<'a>>)> {
        let mut all: Vec<_> =
            self.table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
        all.sort_by_key(|(_, at, _)| at.start);
        all
    }
}

impl Reader {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, problems: Vec::new() }
    }

    pub(crate) fn error(&mut self, at: &Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.tell(Severity::Error, at, message.into(), hint);
    }

    pub(crate) fn warn(&mut self, at: &Range<usize>, message: impl Into<String>, hint: Option<String>) {
        self.tell(Severity::Warning, at, message.into(), hint);
    }

    fn tell(&mut self, severity: Severity, at: &Range<usize>, message: String, hint: Option<String>) {
        let told = self.problems.iter().filter(|problem| problem.severity == severity).count();
        if told < PROBLEMS {
            let problem = self.source.problem(severity, at, message, hint);
            self.problems.push(problem);
        }
    }

    /// Tells every key of `section` that `table` does not have.
    pub(crate) fn check_keys(&mut self, section: &Section<'_>, table: &Table) {
        for (key, at, _) in section.in_order() {
            if table.keys.contains(&key) || table.tables.contains(&key) {
                continue;
            }
            let known = table.keys.iter().chain(table.tables).copied();
            let place = match section.path.is_empty() {
                true => "at the top of the file".to_string(),
                false => format!("in [{}]", section.path),
            };
            let shown = shown(key);
            if ABSENT.contains(&key) {
                let hint = instead(key).to_string();
                self.error(
                    &at,
                    format!("`{shown}` {place} is swanctl's, but this version does not have it."),
                    Some(hint),
                );
            } else if let Some(near) = nearest(key, known.clone()) {
                self.error(
                    &at,
                    format!("Unknown key `{shown}` {place}."),
                    Some(format!("Did you mean `{near}`?")),
                );
            } else {
                let known: Vec<&str> = known.collect();
                let hint = format!("Known here: {}.", known.join(", "));
                self.error(&at, format!("Unknown key `{shown}` {place}."), Some(hint));
            }
        }
    }

    /// A table within `section`, if it is there.
    pub(crate) fn table<'a>(&mut self, section: &Section<'a>, key: &str) -> Option<Section<'a>> {
        let value = section.value(key)?;
        let at = section.place(key);
        self.as_table(section.name_of(key), at, value)
    }

    /// The named tables within the table `key` of `section`, in the order of the file.
    pub(crate) fn named<'a>(&mut self, section: &Section<'a>, key: &str) -> Vec<(String, Section<'a>)> {
        let Some(group) = self.table(section, key) else { return Vec::new() };
        let mut all = Vec::new();
        for (name, at, value) in group.in_order() {
            if let Some(table) = self.as_table(group.name_of(name), at, value) {
                all.push((name.to_string(), table));
            }
        }
        all
    }

    fn as_table<'a>(
        &mut self,
        path: String,
        at: Range<usize>,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Option<Section<'a>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Section { path, at, table }),
            other => {
                let hint = Some(format!("Write it as a table: [{path}]."));
                self.error(&value.span(), format!("`{path}` is a table, not {}.", described(other)), hint);
                None
            }
        }
    }

    /// A string, read by `parse`.
    pub(crate) fn text<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = section.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => {
                let text = Text { at: value.span(), text: text.to_string() };
                self.parse(&text, parse)
            }
            other => {
                self.wrong_type(section, key, "a string", other);
                None
            }
        }
    }

    /// A string or a number or a truth value, as a string: `30` and `"30s"` are both durations.
    pub(crate) fn scalar<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        let value = section.value(key)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().replace('_', ""),
            DeValue::Float(number) => number.as_str().replace('_', ""),
            DeValue::Boolean(yes) => yes.to_string(),
            other => {
                self.wrong_type(section, key, "a string or a number", other);
                return None;
            }
        };
        self.parse(&Text { at: value.span(), text }, parse)
    }

    /// A string or a list of strings; in a string, commas separate entries as in swanctl.conf.
    /// `None` when the key is not there, or holds nothing that can be used.
    pub(crate) fn list(&mut self, section: &Section<'_>, key: &str) -> Option<Vec<Text>> {
        self.list_of(section, key, true)
    }

    /// As [`Reader::list`], with commas belonging to the entries, as in distinguished names.
    pub(crate) fn list_of(&mut self, section: &Section<'_>, key: &str, commas: bool) -> Option<Vec<Text>> {
        let value = section.value(key)?;
        let mut all = Vec::new();
        match value.get_ref() {
            DeValue::String(text) if commas => all.extend(self.split(value.span(), text)),
            DeValue::String(text) => all.push(Text { at: value.span(), text: text.to_string() }),
            DeValue::Array(items) => {
                for item in items {
                    match item.get_ref() {
                        DeValue::String(text) if commas => all.extend(self.split(item.span(), text)),
                        DeValue::String(text) => all.push(Text { at: item.span(), text: text.to_string() }),
                        other => {
                            let message = format!(
                                "`{}` is a list of strings, not of {}.",
                                section.name_of(key),
                                plural(other)
                            );
                            self.error(&item.span(), message, None);
                            return None;
                        }
                    }
                }
            }
            other => {
                self.wrong_type(section, key, "a string or a list of strings", other);
                return None;
            }
        }
        if all.is_empty() || all.iter().any(|entry| entry.text.is_empty()) {
            let name = section.name_of(key);
            let hint = format!("Write what you mean, or leave `{key}` out for its default.");
            self.error(&value.span(), format!("`{name}` is empty or has an empty entry."), Some(hint));
            return None;
        }
        if all.len() > LIST {
            self.error(
                &value.span(),
                format!("`{}` has more than {LIST} entries.", section.name_of(key)),
                None,
            );
            return None;
        }
        Some(all)
    }

    /// Entries separated by commas, each with its place where the string has no escapes.
    fn split(&self, at: Range<usize>, text: &str) -> Vec<Text> {
        let inner = at.start + 1..at.end.saturating_sub(1).max(at.start + 1);
        let verbatim = self.source.slice(&inner) == text;
        let mut offset = inner.start;
        let mut all = Vec::new();
        for part in text.split(',') {
            let start = offset + (part.len() - part.trim_start().len());
            let entry = part.trim();
            let place = if verbatim { start..start + entry.len() } else { at.clone() };
            all.push(Text { at: place, text: entry.to_string() });
            offset += part.len() + 1;
        }
        all
    }

    /// Reads a string; what is wrong with it is told at its place, or at the part that it is about.
    pub(crate) fn parse<T>(
        &mut self,
        text: &Text,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<T> {
        match parse(&text.text) {
            Ok(value) => Some(value),
            Err(Fault { at, message, hint }) => {
                let place = at.and_then(|part| self.part(text, part)).unwrap_or(text.at.clone());
                self.error(&place, message, hint);
                None
            }
        }
    }

    /// Where a part of a string stands in the file, if it stands there letter by letter.
    fn part(&self, text: &Text, part: Range<usize>) -> Option<Range<usize>> {
        let quote = usize::from(self.source.slice(&text.at) != text.text);
        let start = text.at.start + quote;
        let whole = start..start + text.text.len();
        (self.source.slice(&whole) == text.text).then(|| start + part.start..start + part.end)
    }

    fn wrong_type(&mut self, section: &Section<'_>, key: &str, wanted: &str, found: &DeValue<'_>) {
        let name = section.name_of(key);
        let at = section.value_place(key);
        self.error(&at, format!("`{name}` is {wanted}, not {}.", described(found)), None);
    }
}

/// What to do about a key that is not here.
fn instead(key: &str) -> &'static str {
    match key {
        "if_id_in" | "if_id_out" | "mark_in" | "mark_out" | "mark_in_sa" => {
            "For a route-based tunnel write `interface = \"hf-site1\"`: the child has that interface to itself."
        }
        _ => "Remove it: without it the file does what this version can.",
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn plural(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "strings",
        DeValue::Integer(_) | DeValue::Float(_) => "numbers",
        DeValue::Boolean(_) => "truth values",
        DeValue::Datetime(_) => "dates",
        DeValue::Array(_) => "lists",
        DeValue::Table(_) => "tables",
    }
}
