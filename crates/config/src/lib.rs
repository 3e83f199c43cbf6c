//! TOML to `policy`.
#![forbid(unsafe_code)]
