//! Speed views.

pub mod embedded;
pub mod generation;
pub mod scylla;
