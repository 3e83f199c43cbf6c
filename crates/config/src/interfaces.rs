//! `interface`: children that have an interface to themselves.

use crate::limits::INTERFACES;
use crate::load::Loader;
use crate::reader::{Fault, Section};
use crate::settings::DaemonSettings;
use crate::value::shown;
use dataplane::{Interface, MAX_NAME};
use policy::Connection;
use std::collections::BTreeMap;

/// What is known of interfaces while children are read.
#[derive(Default)]
pub(crate) struct Interfaces {
    /// The device of all children without one: a name, or with `%d` a pattern of names.
    own: String,
    /// Each as the first child has it.
    named: BTreeMap<String, Interface>,
}

impl Interfaces {
    pub(crate) fn beside(daemon: &DaemonSettings) -> Self {
        Self { own: daemon.interface.clone(), named: BTreeMap::new() }
    }

    /// Whether the kernel may give the daemon's own device this name.
    fn is_own(&self, name: &str) -> bool {
        let Some((head, tail)) = self.own.split_once("%d") else { return name == self.own };
        let number = name.strip_prefix(head).and_then(|rest| rest.strip_suffix(tail));
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit()))
    }
}

impl Loader<'_> {
    pub(crate) fn read_interface(&mut self, section: &Section<'_>) -> Option<Interface> {
        let interfaces = &self.interfaces;
        let interface = self.reader.text(section, "interface", |text| {
            let name = Interface::new(text).ok_or_else(|| {
                Fault::new(format!("`{}` is no name of an interface.", shown(text))).hint(format!(
                    "It has 1 to {MAX_NAME} letters, digits, `-`, `_` or `.`: `hf-site1`, for example."
                ))
            })?;
            match interfaces.is_own(text) {
                false => Ok(name),
                true => Err(Fault::new(format!(
                    "`{}` is the device of all children without an interface (`daemon.interface` is `{}`).",
                    shown(text),
                    interfaces.own
                ))
                .hint("Choose another name: `hf-site1`, for example.")),
            }
        });
        let namespace = self.reader.text(section, "netns", |text| {
            // Whether it can be within one is asked of any name.
            match Interface::new("any").and_then(|any| any.within(text)) {
                Some(_) => Ok(text.to_string()),
                None => Err(Fault::new(format!("`{}` is no name of a network namespace.", shown(text)))
                    .hint("Write the name that `ip netns` has for it: `red`, for example.")),
            }
        });
        if section.has("netns") && !section.has("interface") {
            let message = format!("`{}.netns` needs `interface`.", section.path);
            self.reader.error(&section.value_place("netns"), message, None);
        }
        let interface = interface?;
        let interface = match namespace {
            Some(namespace) => interface.within(&namespace)?,
            None => interface,
        };
        self.note_interface(section, &interface);
        Some(interface)
    }

    /// An interface is in one place, and there are only so many.
    fn note_interface(&mut self, section: &Section<'_>, interface: &Interface) {
        let name = interface.as_str();
        if let Some(first) = self.interfaces.named.get(name) {
            if first != interface {
                let place = |it: &Interface| match it.namespace() {
                    Some(namespace) => format!("in the network namespace `{namespace}`"),
                    None => "in the daemon's network namespace".to_string(),
                };
                let message = format!(
                    "The interface `{name}` is {} here, and {} for another child.",
                    place(interface),
                    place(first)
                );
                let key = if section.has("netns") { "netns" } else { "interface" };
                let hint = "Write the same `netns` for all children of an interface, or for none.";
                self.reader.error(&section.value_place(key), message, Some(hint.to_string()));
            }
            return;
        }
        self.interfaces.named.insert(name.to_string(), interface.clone());
        if self.interfaces.named.len() == INTERFACES + 1 {
            let message = format!("The children name more than {INTERFACES} interfaces.");
            let hint =
                "Children of several connections may share one; their selectors choose among them then.";
            self.reader.error(&section.value_place("interface"), message, Some(hint.to_string()));
        }
    }

    /// An address that the peer gives us is set on one interface.
    pub(crate) fn check_interfaces(&mut self, section: &Section<'_>, connection: &Connection) {
        let one = connection.interface();
        let same = connection.children.iter().all(|child| child.interface.as_ref() == one);
        if !connection.configuration.asks() || same {
            return;
        }
        let key = if section.has("vips") { "vips" } else { "ipv6_link" };
        let message = format!(
            "[{}] asks the peer for addresses, which are set on one interface, and its children do not all have the same.",
            section.path
        );
        let hint = "Give all of them the same `interface`, or none.".to_string();
        self.reader.error(&section.value_place(key), message, Some(hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_its_numbers_only() {
        let own = |own: &str| Interfaces { own: own.to_string(), ..Interfaces::default() };
        assert!(own("hf%d").is_own("hf0") && own("hf%d").is_own("hf12") && own("a%db").is_own("a7b"));
        assert!(!own("hf%d").is_own("hf") && !own("hf%d").is_own("hf-site1") && !own("hf%d").is_own("hf1a"));
        assert!(own("tunnel").is_own("tunnel") && !own("tunnel").is_own("tunnel1"));
    }
}
