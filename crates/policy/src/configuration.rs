//! What a connection asks for, and gives, by configuration payloads (RFC 7296 §2.19, §3.15).

/// What a connection asks for, and gives, by configuration payloads. The default asks for nothing and gives nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Configuration {}
