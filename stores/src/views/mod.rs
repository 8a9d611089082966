//! Speed views.

pub mod embedded;
pub mod scylla;
