//! JSON as tshark writes it: a key may stand in one object several times, and the order matters.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON value that keeps repeated keys and their order.
#[derive(Clone, PartialEq, Debug)]
pub enum Tree {
    /// A string, or another scalar as its text.
    Leaf(String),
    /// An array.
    List(Vec<Tree>),
    /// An object.
    Node(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads a JSON text.
    ///
    /// # Panics
    /// When it is none.
    pub fn parse(json: &[u8]) -> Self {
        serde_json::from_slice(json).expect("JSON")
    }

    /// What stands directly under each occurrence of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Tree> {
        self.entries().iter().filter(move |(name, _)| name == key).map(|(_, value)| value)
    }

    /// What stands directly under the first occurrence of `key`.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The text directly under the first occurrence of `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Self::Leaf(text) => Some(text),
            _ => None,
        }
    }

    /// The number directly under the first occurrence of `key`: decimal, or hexadecimal after `0x`.
    pub fn number(&self, key: &str) -> Option<u64> {
        let text = self.text(key)?;
        match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        }
    }

    /// The entries of an object; none of others.
    pub fn entries(&self) -> &[(String, Tree)] {
        if let Self::Node(entries) = self { entries } else { &[] }
    }

    /// The items of an array; none of others.
    pub fn items(&self) -> &[Tree] {
        if let Self::List(items) = self { items } else { &[] }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(String::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Tree::Node(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_survive_in_order() {
        let tree = Tree::parse(br#"{"a": "1", "b": {"c": "0x10"}, "a": ["x", 2]}"#);
        assert_eq!(tree.all("a").count(), 2);
        assert_eq!(tree.get("b").and_then(|b| b.number("c")), Some(16));
        assert_eq!(tree.all("a").last().map(|list| list.items().len()), Some(2));
    }
}
