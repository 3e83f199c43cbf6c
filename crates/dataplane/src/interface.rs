//! The names of the interfaces that route-based tunnels have.

use std::fmt;
use std::sync::Arc;

/// Octets of the longest name: the kernel's IFNAMSIZ, less the closing zero.
pub const MAX_NAME: usize = 15;

/// Octets of the longest name of a network namespace: it is a file's.
pub const MAX_NAMESPACE: usize = 255;

/// An interface that child SAs have to themselves: its name of 1 to [`MAX_NAME`] letters, digits, `-`, `_` and `.`, and the
/// network namespace that it is made in, where that is another one than the data plane's.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interface {
    name: Arc<str>,
    namespace: Option<Arc<str>>,
}

impl Interface {
    /// `None` for what is no name, or is one that the kernel keeps for all interfaces (`all`, `default`).
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=MAX_NAME).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let is_own = !matches!(name, "." | ".." | "all" | "default");
        (fits && is_own).then(|| Self { name: name.into(), namespace: None })
    }

    /// The same interface in the network namespace of that name, as `ip netns` knows it; `None` for what is no name.
    pub fn within(self, namespace: &str) -> Option<Self> {
        let fits = (1..=MAX_NAMESPACE).contains(&namespace.len());
        let is_file = !namespace.contains(['/', '\0']) && !matches!(namespace, "." | "..");
        (fits && is_file).then(|| Self { namespace: Some(namespace.into()), ..self })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The network namespace that it is made in; `None`: the data plane's own.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            None => write!(f, "Interface({})", self.name),
            Some(namespace) => write!(f, "Interface({} in {namespace})", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_the_kernel_takes() {
        for name in ["hf-site1", "a", "tun0.5", "IPSEC_1", "123456789012345"] {
            assert_eq!(Interface::new(name).map(|interface| interface.to_string()).as_deref(), Some(name));
        }
        for name in ["", "1234567890123456", "hf%d", "a b", "a/b", "a:b", ".", "..", "ä", "all", "default"] {
            assert_eq!(Interface::new(name), None, "{name}");
        }
    }

    #[test]
    fn a_namespace_is_one_that_a_file_can_stand_for() {
        let within = |namespace: &str| Interface::new("hf-site1")?.within(namespace);
        let red = within("red").expect("a name");
        assert_eq!((red.as_str(), red.namespace()), ("hf-site1", Some("red")));
        assert_ne!(Some(red), Interface::new("hf-site1"));
        assert!(within(&"x".repeat(MAX_NAMESPACE)).is_some());
        for name in ["", ".", "..", "a/b", "a\0b", &"x".repeat(MAX_NAMESPACE + 1)] {
            assert_eq!(within(name), None, "{name}");
        }
    }
}
