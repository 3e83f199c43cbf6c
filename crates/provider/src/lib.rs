//! The algorithms of `crypto::Suite`, from well-kept libraries: AWS-LC for nearly all, the RustCrypto
//! crates for Curve448 and Ed448. The one construction written here is AES-XCBC, which no library at hand
//! has; it stands over AWS-LC's AES.
#![deny(unsafe_code)]

mod cipher;
mod ffi;
mod kex;
pub mod limits;
mod prf;
mod sign;
mod suite;
mod xcbc;

pub use sign::{LoadKeyError, load_private_key};
pub use suite::{Algorithm, Provider};
