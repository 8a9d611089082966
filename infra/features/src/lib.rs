//! No code: one set of features for every third-party crate, whichever member is built. See `Cargo.toml`.
