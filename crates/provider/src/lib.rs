//! The algorithms of `crypto::Suite`, from well-kept libraries.
