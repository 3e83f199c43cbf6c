//! Private keys, PSKs and certificate paths: asked by job, answers later.
#![forbid(unsafe_code)]
