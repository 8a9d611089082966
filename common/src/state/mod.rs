//! States: what an aggregate keeps, as columns that each have one merge rule.
//!
//! | rule | state of one group | merge | identity |
//! |---|---|---|---|
//! | `sum` | number | a + b | 0 |
//! | `min`, `max` | value | the lesser, the greater | null |
//! | `first`, `last` | value, event time, sequence | the earlier, the later (time, then sequence, then value) | null |
//! | `map_sum` | key → number | per key a + b | empty |
//! | `map_max` | key → number | per key the greater | empty |
//!
//! Integers wrap at 64 bits: addition that saturates would depend on its order. NaN is no `min` and no `max`; it
//! propagates through `sum`.
//!
//! Every rule is associative and commutative and has an identity, so shards, panes and layers combine in any
//! order (floating-point sums up to rounding). The same rules are what Polars, CQL and `ClickHouse`
//! (`SimpleAggregateFunction`, `argMin`, `argMax`, `sumMap`, `maxMap`) can do.

mod batch;
mod codec;
mod column;
mod map;
mod table;

use serde::{Deserialize, Serialize};

pub use batch::{KeyColumn, StateBatch};
pub use codec::{CodecError, Reader, write_bytes, write_signed, write_value, write_varint};
pub use column::{Ordered, StateColumn};
pub use map::MapColumn;
pub use table::StateTable;

use crate::value::Type;

/// How two states of one column become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Addition.
    Sum,
    /// The lesser value.
    Min,
    /// The greater value.
    Max,
    /// The value of the earliest event.
    First,
    /// The value of the latest event.
    Last,
    /// Addition per key.
    MapSum,
    /// The greater number per key.
    MapMax,
}

impl Rule {
    /// Its name in plans and schemas.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::First => "first",
            Self::Last => "last",
            Self::MapSum => "map_sum",
            Self::MapMax => "map_max",
        }
    }
}

/// What one row of a table contributes to a state. With `rule` this is all that a layer must lower: an
/// aggregate that is made of these needs no code in any layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// 1 for every row.
    One,
    /// 1 where the argument is not null, else 0.
    NotNull,
    /// 1 where the argument is true, else 0.
    IsTrue,
    /// The argument; null contributes nothing.
    Value,
    /// The square of the argument, as a float; null contributes nothing.
    Square,
    /// The bucket of the argument in a [`crate::aggregate::sketch`], → 1; null and NaN contribute nothing.
    Bucket,
    /// The register of the argument's hash in a [`crate::aggregate::registers`], → rank; null contributes nothing.
    Register,
    /// The argument as text, → 1; null contributes nothing.
    Category,
}

/// One state column of a view.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateField {
    /// Its name in stores, unique in the view.
    pub name: String,
    /// How it merges.
    pub rule: Rule,
    /// Type of the value (`sum`: `Int` or `Float`); for maps, type of the keys (`Int` or `String`; the
    /// numbers are integers).
    pub ty: Type,
    /// What a row contributes.
    pub input: Input,
    /// The table whose rows contribute; those of other tables leave the identity.
    pub table: String,
    /// The SQL expression that is the argument, over the table's columns; `None` for [`Input::One`].
    pub argument: Option<String>,
}
