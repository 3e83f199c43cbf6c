//! Values that must not be printed and must not stay in memory.

use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret: zeroed when dropped, never printed, compared in constant time.
#[derive(Clone)]
pub struct Secret<T: Zeroize = Vec<u8>>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes `value` into custody.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; the one way to it, so that every use can be found.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, to be filled in place.
    pub const fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl Secret<Vec<u8>> {
    /// A secret of `len` zero octets, to be filled through [`Secret::expose_mut`].
    pub fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }
}

impl From<&[u8]> for Secret<Vec<u8>> {
    fn from(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!format!("{secret:?}").contains("104"));
    }

    #[test]
    fn equality_is_by_value() {
        assert_eq!(Secret::from(&b"a"[..]), Secret::from(&b"a"[..]));
        assert_ne!(Secret::from(&b"a"[..]), Secret::from(&b"ab"[..]));
    }
}
