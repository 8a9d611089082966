//! Formulas: SQL expressions over finished measures, evaluated after the merge.
//!
//! # The language
//! - `+ - * / %`, unary minus; comparisons; `AND OR NOT`, `IS [NOT] NULL | TRUE | FALSE`, `IS [NOT] DISTINCT FROM`,
//!   `[NOT] BETWEEN`, `[NOT] IN (list)`, `CASE`, `CAST` to int, float, string, bool; number, text, truth literals
//! - `ABS CEIL COALESCE EXP FLOOR GREATEST LABEL LEAST LN NULLIF POWER ROUND SIGN SQRT`
//!
//! # What it means
//! - Null in, null out, but for `AND`/`OR` (three-valued logic), `IS`, `CASE`, `COALESCE`, and `GREATEST`/`LEAST`,
//!   which leave nulls out.
//! - A formula never yields NaN or an infinity: whatever is not a finite number is null. So is a quotient by zero, and
//!   an integer result that does not fit into 64 bits.
//! - `/` is a float whatever its sides; `%` has the sign of the dividend; `ROUND` rounds halves away from zero.
//! - `CAST(x AS int)` cuts fractions off; a text that is no number is null; a timestamp becomes microseconds.
//! - `label(x)`: `positive` from 0.05, `negative` from −0.05 down, else `neutral`.
//! - Column names are compared exactly. A `map` (the answer of `histogram`) can only be tested for null.

mod check;
mod node;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub use node::{Arithmetic, Comparison, LABEL_FROM, Node, Scalar};
pub use suggest::suggest;

use crate::plan::Field;
use crate::value::{Type, Value};

/// A compiled expression.
#[derive(Clone, Debug, Serialize)]
pub struct Formula {
    /// As written.
    pub sql: String,
    #[serde(skip)]
    node: node::Node,
    #[serde(skip)]
    references: Vec<String>,
    #[serde(skip)]
    previous: bool,
}

/// A mistake in an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormulaError {
    /// What is wrong, for the author of the definition.
    pub message: String,
    /// Byte offset in the expression, where that is known.
    pub at: Option<usize>,
    /// What sort of mistake it is.
    pub kind: MistakeKind,
}

/// Sorts of mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MistakeKind {
    /// It is not an SQL expression.
    Syntax,
    /// A column that is not there.
    UnknownColumn,
    /// A function that is not there.
    UnknownFunction,
    /// A function with too many or too few arguments.
    Arguments,
    /// Types that do not go together.
    Type,
    /// SQL that formulas do not have.
    Unsupported,
    /// Too long or too deeply nested.
    TooLarge,
}

/// A column that an expression names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The column.
    pub name: String,
    /// Byte offset in the expression.
    pub at: usize,
}

impl Formula {
    /// Compiles `sql` over `columns`. [`evaluate`](Self::evaluate) takes rows that begin with these columns, in
    /// this order.
    ///
    /// # Errors
    /// Every mistake in it, in the order of the text (of mistakes in syntax only the first: nothing is known of
    /// what follows).
    pub fn compile(sql: &str, columns: &[Field]) -> Result<(Self, Type), Vec<FormulaError>> {
        let expression = syntax::parse(sql).map_err(|error| vec![error])?;
        let (node, ty) = check::check(sql, &expression, columns)?;
        Ok((Self::of(sql, node, columns), ty))
    }

    /// As [`compile`](Self::compile), where `prev(column)` is the value of a column in the row before.
    /// [`evaluate`](Self::evaluate) takes the columns of both rows then, those of the row before behind the others;
    /// without a row before they are missing, and null.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_with_previous(sql: &str, columns: &[Field]) -> Result<(Self, Type), Vec<FormulaError>> {
        let expression = syntax::parse(sql).map_err(|error| vec![error])?;
        let (node, ty) = check::check_with_previous(sql, &expression, columns)?;
        Ok((Self::of(sql, node, columns), ty))
    }

    fn of(sql: &str, node: node::Node, columns: &[Field]) -> Self {
        let (mut references, mut previous) = (Vec::<String>::new(), false);
        node.visit_columns(&mut |at| {
            previous |= at >= columns.len();
            // Beyond the columns are those of the row before.
            if let Some(field) = columns.get(at % columns.len().max(1))
                && !references.contains(&field.name)
            {
                references.push(field.name.clone());
            }
        });
        Self { sql: sql.to_owned(), node, references, previous }
    }

    /// Whether it looks at the row before.
    pub const fn has_previous(&self) -> bool {
        self.previous
    }

    /// The columns that `sql` names, each once, by first use, whether they exist or not: to sort formulas by
    /// dependency before any of them can be compiled.
    ///
    /// # Errors
    /// When it is not an SQL expression.
    pub fn references_of(sql: &str) -> Result<Vec<Reference>, FormulaError> {
        let expression = syntax::parse(sql)?;
        Ok(check::names(sql, &expression))
    }

    /// The columns that it names, each once, by first use.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.references.iter().map(String::as_str)
    }

    /// What it is made of. Columns are those that it was compiled over, by their place.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Its value for a row that begins with the columns it was compiled over; a missing one is null.
    pub fn evaluate(&self, row: &[Value]) -> Value {
        self.node.evaluate(row).into_value()
    }
}
