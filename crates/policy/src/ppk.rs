//! Which post-quantum pre-shared keys (PPKs) a connection uses: by their identities. The keys themselves are `trust`'s.

use crate::limits;
use std::fmt;
use std::sync::Arc;

/// The PPKs of a connection (RFC 8784 §2, RFC 9867 §3.1). The default has none.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ppks {
    /// `ppk_id`: as initiator those that are one identity are offered, in this order; as responder those are taken that match
    /// one of them.
    pub ids: Vec<PpkPattern>,
    /// `ppk_required`: without a PPK there is no IKE SA.
    pub required: bool,
}

impl Ppks {
    /// Whether there is any.
    pub fn any(&self) -> bool {
        !self.ids.is_empty()
    }

    /// What is offered as initiator, the best first.
    pub fn offered(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ids.iter().filter_map(|id| match id {
            PpkPattern::Is(id) => Some(id),
            PpkPattern::EndsIn(_) => None,
        })
    }

    /// Whether the PPK of this identity may be used.
    pub fn allows(&self, id: &str) -> bool {
        self.ids.iter().any(|pattern| match pattern {
            PpkPattern::Is(own) => **own == *id,
            PpkPattern::EndsIn(end) => id.ends_with(&**end),
        })
    }
}

/// The identities, as the file writes them.
impl fmt::Display for Ppks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.ids.iter().take(limits::LISTED_SELECTORS).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match pattern {
                PpkPattern::Is(id) => write!(f, "{comma}`{id}`")?,
                PpkPattern::EndsIn(end) => write!(f, "{comma}`*{end}`")?,
            }
        }
        Ok(())
    }
}

/// One entry of `ppk_id`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PpkPattern {
    /// That identity.
    Is(Arc<str>),
    /// `*` and an end: every identity that ends so; `%any` is the empty end. Only a responder can use it.
    EndsIn(Arc<str>),
}

impl PpkPattern {
    /// Reads an entry; `None` when it is empty, or longer than an identity on the wire is taken to be.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > limits::PPK_ID {
            return None;
        }
        Some(match text.strip_prefix('*') {
            Some(end) => Self::EndsIn(end.into()),
            None if text == "%any" => Self::EndsIn("".into()),
            None => Self::Is(text.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initiator_offers_identities_and_a_responder_takes_patterns() {
        let ppks = |texts: &[&str]| Ppks {
            ids: texts.iter().map(|text| PpkPattern::parse(text).unwrap()).collect(),
            required: false,
        };
        assert!(!ppks(&[]).any() && !ppks(&[]).allows("blue"));
        let several = ppks(&["blue", "*@road.example", "green"]);
        assert_eq!(several.offered().map(|id| &**id).collect::<Vec<_>>(), ["blue", "green"]);
        for (id, allowed) in
            [("blue", true), ("green", true), ("carol@road.example", true), ("red", false), ("Blue", false)]
        {
            assert_eq!(several.allows(id), allowed, "{id}");
        }
        assert_eq!(several.to_string(), "`blue`, `*@road.example`, `green`");
        for any in ["%any", "*"] {
            assert!(ppks(&[any]).allows("whatever") && ppks(&[any]).offered().next().is_none());
        }
    }

    #[test]
    fn an_identity_has_a_length() {
        assert_eq!(PpkPattern::parse(""), None);
        assert!(PpkPattern::parse(&"a".repeat(limits::PPK_ID)).is_some());
        assert_eq!(PpkPattern::parse(&"a".repeat(limits::PPK_ID + 1)), None);
    }
}
