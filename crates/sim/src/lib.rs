//! Deterministic worlds: virtual clock, lossy network, attacker, simulated data plane.
#![forbid(unsafe_code)]
