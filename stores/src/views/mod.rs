//! Speed views.

pub mod embedded;
