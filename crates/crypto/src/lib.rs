//! What IKE and ESP ask of cryptography: traits, a table of algorithms, and the key schedules as
//! pure functions. No algorithm is implemented here; `provider` fills the table.
#![forbid(unsafe_code)]

mod suite;

pub use suite::{
    Cipher, CipherSpec, CryptoError, IvKind, KePrivate, KeyExchange, PrfFunction, SignatureScheme,
    SigningKey, Suite, VerifyError,
};
