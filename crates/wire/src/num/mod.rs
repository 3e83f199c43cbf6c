//! IANA's registries. A value that we do not know survives and prints as its number.

mod auth;
mod config;
mod message;
mod notify;
mod transform;

pub use auth::{AuthMethod, CertEncoding, EapCode, EapType, HashAlgorithm, IdType};
pub use config::{CfgAttributeType, CfgType, TsType};
pub use message::{ExchangeType, PayloadType, ProtocolId};
pub use notify::{GatewayIdType, IpcompId, NotifyType, PpkIdType, RohcAttributeType, SecurePasswordMethod};
pub use transform::{
    Encr, EsnMode, GroupAuth, Integ, KeMethod, KeyWrap, Prf, TransformAttributeType, TransformType,
};

/// Declares a registry: a newtype over a number, its named values, and a `Display` that gives the
/// registered name or the number.
macro_rules! registry {
    ($(#[$doc:meta])* $name:ident($repr:ty) { $($(#[$vdoc:meta])* $konst:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            $(
                #[doc = concat!("`", $text, "`")]
                $(#[$vdoc])*
                pub const $konst: $name = $name($value);
            )*

            /// Every registered value.
            pub const ALL: &[$name] = &[$($name($value)),*];

            /// The registered name, if the value has one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($name), "({})"), self.0),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self}")
            }
        }

        impl From<$repr> for $name {
            fn from(value: $repr) -> Self {
                Self(value)
            }
        }
    };
}
pub(crate) use registry;
