//! What IKE and ESP ask of cryptography: traits, a table of algorithms, and the key schedules as
//! pure functions. No algorithm is implemented here; `provider` fills the table.
#![forbid(unsafe_code)]

pub mod limits;
mod schedule;
mod signature;
mod suite;

pub use schedule::{
    ChildKeys, DirectionKeys, IkeKeys, Nonces, SharedSecrets, Spis, child_keys, ike_keys, nat_detection,
    prf_plus, psk_auth, psk_pad, skeyseed, skeyseed_mixed, skeyseed_rekeyed, skeyseed_resumed,
};
pub use signature::{SIGNATURES, signature_identifier};
pub use suite::{
    Cipher, CipherSpec, CryptoError, IvKind, KePrivate, KeyExchange, PrfFunction, SignatureScheme,
    SigningKey, Suite, VerifyError,
};
