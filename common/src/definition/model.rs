//! What a definition says, section by section, with the place of everything.

use std::ops::Range;
use std::sync::Arc;

use super::diagnostic::SourceFile;
use super::prediction::Prediction;
use super::text::Text;
use crate::plan::{AlertOn, Start};
use crate::time::Span;
use crate::value::Type;

/// A byte range of the file.
pub type Place = Range<usize>;

/// Something with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// What is written.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// A definition as written: well-formed, but its names and types not yet checked.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Name of the pipeline.
    pub name: String,
    /// `[sources.*]`, in the order of the file, as all that follow.
    pub sources: Vec<Source>,
    /// `[tables.*]`.
    pub tables: Vec<Table>,
    /// `[views.*]`.
    pub views: Vec<View>,
    /// `[lookups.*]`.
    pub lookups: Vec<Lookup>,
    /// `[alerts.*]`.
    pub alerts: Vec<Alert>,
    /// `[outputs.*]`.
    pub outputs: Vec<Output>,
    /// `[predictions.*]`.
    pub predictions: Vec<Prediction>,
    /// `[endpoints.*]`.
    pub endpoints: Vec<Endpoint>,
    /// `[reports.*]`.
    pub reports: Vec<Report>,
}

/// A name and an SQL expression: `name = "sql"`.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSql {
    /// The name.
    pub name: Text,
    /// The expression; `None` where it could not be read (and that was reported).
    pub sql: Option<Text>,
}

/// A column of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceColumn {
    /// Its name.
    pub name: Text,
    /// Its type; `None` where it could not be read (and that was reported).
    pub ty: Option<Type>,
}

/// `[sources.NAME]`.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: Text,
    /// The topic.
    pub topic: Option<Text>,
    /// Partitions of the topic when Tideline creates it.
    pub partitions: u32,
    /// How long the log keeps records.
    pub retention: Option<Span>,
    /// Where to start.
    pub start: Start,
    /// Columns.
    pub columns: Vec<SourceColumn>,
    /// Whether the columns could not be read at all.
    pub columns_unknown: bool,
    /// Columns that must not be null.
    pub required: Vec<Text>,
    /// Column of the event time.
    pub event_time: Option<Text>,
    /// How it is written.
    pub event_time_format: Option<Text>,
    /// Partition key.
    pub key: Option<Text>,
    /// Lateness.
    pub lateness: Span,
    /// Bound of event times in the future.
    pub max_ahead: Option<Span>,
    /// Idleness.
    pub idle_after: Span,
    /// Duplicates.
    pub dedupe: Option<Text>,
    /// Checks.
    pub checks: Vec<NamedSql>,
    /// How long Bronze is kept.
    pub retain_bronze: Option<Span>,
}

/// `[tables.NAME]`.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: Text,
    /// The source.
    pub from: Option<Text>,
    /// Columns.
    pub columns: Vec<NamedSql>,
    /// `where`.
    pub filter: Option<Text>,
    /// Hive partitions.
    pub partition_by: Vec<Text>,
    /// How long Silver is kept.
    pub retain_silver: Option<Span>,
}

/// A measure of a view.
#[derive(Clone, Debug)]
pub struct Measure {
    /// Its name.
    pub name: Text,
    /// The table.
    pub table: Option<Text>,
    /// The aggregate.
    pub agg: Option<Text>,
}

/// `[views.NAME]`.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name.
    pub name: Text,
    /// Key columns.
    pub key: Vec<Text>,
    /// Size of the window.
    pub size: Option<Placed<Span>>,
    /// Slide of the window; `None`: as its size.
    pub slide: Option<Placed<Span>>,
    /// Measures.
    pub measures: Vec<Measure>,
    /// Formulas.
    pub columns: Vec<NamedSql>,
    /// Time to live of speed rows.
    pub retain_speed: Option<Placed<Span>>,
    /// How long batch keeps panes.
    pub retain_batch: Option<Placed<Span>>,
    /// Rankings.
    pub top: Vec<Text>,
}

/// `[lookups.NAME]`.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Its name.
    pub name: Text,
    /// The table.
    pub table: Option<Text>,
    /// Key columns.
    pub key: Vec<Text>,
    /// Rows per key.
    pub limit: usize,
    /// Time to live of speed rows.
    pub retain_speed: Option<Span>,
}

/// `[alerts.NAME]`.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its name.
    pub name: Text,
    /// The view.
    pub view: Option<Text>,
    /// The condition.
    pub when: Option<Text>,
    /// When it looks at a window.
    pub on: AlertOn,
    /// Where to post.
    pub webhook: Option<Text>,
    /// What to sign with.
    pub secret: Option<Text>,
}

/// `[outputs.NAME]`.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name.
    pub name: Text,
    /// The view, if it takes closed windows.
    pub view: Option<Text>,
    /// The table, if it takes rows.
    pub table: Option<Text>,
    /// The topic.
    pub topic: Option<Text>,
    /// Columns of the record's key; `None`: all of the view's, of a table the column that is the source's key.
    pub key: Option<Vec<Text>>,
    /// Size of the window; `None`: the window is the view's.
    pub size: Option<Placed<Span>>,
    /// Slide of the window; `None`: as its size.
    pub slide: Option<Placed<Span>>,
    /// Columns of a record; `None`: all of the view's or table's.
    pub columns: Option<Vec<Text>>,
    /// Partitions of the topic when Tideline creates it.
    pub partitions: u32,
    /// How long the log keeps records.
    pub retention: Option<Span>,
}

/// `[endpoints.NAME]`.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name.
    pub name: Text,
    /// The path.
    pub path: Option<Text>,
    /// The view.
    pub view: Option<Text>,
    /// Column that orders the rows; `None`: the view's own.
    pub by: Option<Text>,
    /// Rows.
    pub limit: usize,
}

/// `[reports.NAME]`.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub name: Text,
    /// Table or view it starts from.
    pub from: Option<Text>,
    /// Steps; one that could not be read is [`Step::Unknown`].
    pub steps: Vec<Step>,
    /// `clickhouse.order_by`.
    pub order_by: Vec<Text>,
}

/// A step of a report.
#[derive(Clone, Debug)]
pub enum Step {
    /// Could not be read, which was reported.
    Unknown,
    /// `sql`.
    Sql(Text),
    /// `rolling`.
    Rolling {
        /// Column that is aggregated.
        column: Text,
        /// How.
        agg: String,
        /// Frame.
        rows: usize,
        /// Groups.
        over: Vec<Text>,
        /// Order.
        order_by: Text,
        /// New column (`as`).
        output: Text,
    },
    /// `pivot`.
    Pivot {
        /// Column whose values become columns.
        on: Text,
        /// Columns that identify a row.
        index: Vec<Text>,
        /// Cells.
        values: Text,
        /// How several values become one cell.
        agg: String,
        /// The values that become columns.
        columns: Vec<Text>,
        /// Prefix of their names.
        prefix: String,
    },
    /// `join`.
    Join {
        /// The other table or view.
        with: Text,
        /// Equal columns (left, right).
        on: Vec<(Text, Text)>,
        /// What times must satisfy.
        time: crate::plan::JoinTime,
        /// `inner` or `left`.
        how: String,
        /// Suffix of the right side's columns.
        suffix: String,
        /// Left time column; `None`: `event_time`.
        left_time: Option<Text>,
        /// Right time column; `None`: `event_time`, of a view `window_start`.
        right_time: Option<Text>,
        /// The whole step.
        place: Place,
    },
}
