//! The names of the interfaces that route-based tunnels have.

use std::fmt;
use std::sync::Arc;

/// Octets of the longest name: the kernel's IFNAMSIZ, less the closing zero.
pub const MAX_NAME: usize = 15;

/// The name of an interface that child SAs have to themselves: 1 to [`MAX_NAME`] letters, digits, `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interface(Arc<str>);

impl Interface {
    /// `None` for what is no name, or is one that the kernel keeps for all interfaces (`all`, `default`).
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=MAX_NAME).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        let is_own = !matches!(name, "." | ".." | "all" | "default");
        (fits && is_own).then(|| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interface({})", self.0)
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
}
