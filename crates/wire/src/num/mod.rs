//! IANA's registries. A value that we do not know survives and prints as its number.

mod auth;
mod config;
mod group;
mod message;
mod notify;
mod transform;

pub use auth::{AuthMethod, CertEncoding, EapCode, EapType, HashAlgorithm, IdType};
pub use config::{CfgAttributeType, CfgShape, CfgType, TsType};
pub use group::{GroupKeyAttributeType, GroupPolicyAttributeType, GsaAttributeType, MemberKeyAttributeType};
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
                    Some(name) => f.pad(name),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// No number and no name stands twice in a registry: a slip of the pen there would misname what a peer says.
    macro_rules! distinct {
        ($($registry:ident)*) => {
            $(
                let numbers: BTreeSet<_> = $registry::ALL.iter().map(|value| value.0).collect();
                let names: BTreeSet<_> = $registry::ALL.iter().filter_map(|value| value.name()).collect();
                assert_eq!(numbers.len(), $registry::ALL.len(), stringify!($registry));
                assert_eq!(names.len(), $registry::ALL.len(), stringify!($registry));
            )*
        };
    }

    #[test]
    fn numbers_and_names_are_distinct() {
        distinct!(ExchangeType PayloadType ProtocolId TransformType TransformAttributeType);
        distinct!(Encr Prf Integ KeMethod EsnMode KeyWrap GroupAuth);
        distinct!(NotifyType IpcompId GatewayIdType RohcAttributeType SecurePasswordMethod PpkIdType);
        distinct!(IdType CertEncoding AuthMethod HashAlgorithm EapCode EapType);
        distinct!(TsType CfgType CfgAttributeType);
        distinct!(GsaAttributeType GroupPolicyAttributeType GroupKeyAttributeType MemberKeyAttributeType);
    }

    #[test]
    fn an_unknown_value_survives_and_prints_as_its_number() {
        assert_eq!(NotifyType::from(40_000).to_string(), "NotifyType(40000)");
        assert_eq!(NotifyType(40_000).name(), None);
        assert_eq!(format!("{:>6}|{:<6}|", PayloadType::TSI, PayloadType::SA), "   TSi|SA    |");
    }

    /// The last entries of the registries that have grown most lately, as their RFCs assign them.
    #[test]
    fn the_registries_reach_to_2026() {
        assert_eq!(NotifyType::PPK_IDENTITY_KEY.0, 16446, "RFC 9867 §5");
        assert_eq!(NotifyType::SA_RESOURCE_INFO.0, 16444, "RFC 9611 §8");
        assert_eq!(NotifyType::SUPPORTED_AUTH_METHODS.0, 16443, "RFC 9593 §5");
        assert_eq!(NotifyType::REGISTRATION_FAILED.0, 49, "RFC 9838 §9.2");
        assert_eq!(KeMethod::ML_KEM_1024.0, 37, "IANA, ML-KEM in IKEv2");
        assert_eq!(CfgAttributeType::ENCDNS_DIGEST_INFO.0, 29, "RFC 9464 §8.1");
    }
}
