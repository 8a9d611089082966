//! Formulas: SQL expressions over finished measures, evaluated after the merge.

use serde::Serialize;

/// A compiled expression.
#[derive(Clone, Debug, Serialize)]
pub struct Formula {
    /// As written.
    pub sql: String,
}
