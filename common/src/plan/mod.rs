//! The plan: what a definition compiles to. All that the layers know of a pipeline is here.

mod answer;
mod compile;
mod endpoints;
mod explain;
mod expression;
mod functions;
mod hash;
mod merge;
mod outputs;
mod predictions;
mod quoting;
mod reports;
mod views;

pub use answer::Answers;
pub use compile::{compile, load};
pub use merge::Clash;
pub use predictions::{FeaturePlan, FeatureSource, Learning, ModelPlan, PredictionPlan};
pub use quoting::{Quoted, is_bare_function, quote_columns};

use serde::Serialize;

use crate::aggregate::Aggregate;
use crate::formula::Formula;
use crate::state::StateField;
use crate::time::Span;
use crate::value::Type;
use crate::window::Window;

/// A compiled definition.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Name of the pipeline.
    pub name: String,
    /// Sources, by name in order.
    pub sources: Vec<SourcePlan>,
    /// Tables.
    pub tables: Vec<TablePlan>,
    /// Views.
    pub views: Vec<ViewPlan>,
    /// Lookups.
    pub lookups: Vec<LookupPlan>,
    /// Reports.
    pub reports: Vec<ReportPlan>,
    /// Alerts.
    pub alerts: Vec<AlertPlan>,
    /// Topics that closed windows go to.
    pub outputs: Vec<OutputPlan>,
    /// Columns whose next value is predicted.
    pub predictions: Vec<PredictionPlan>,
    /// Topics that rows go to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub row_outputs: Vec<RowOutputPlan>,
    /// Paths of the API.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointPlan>,
}

impl Plan {
    /// Whether anything waits for the windows of a view to close, or looks at them while they are open.
    pub fn closes(&self, view: &str) -> bool {
        self.outputs.iter().any(|output| output.view == view)
            || self.alerts.iter().any(|alert| alert.view == view)
            || self.predictions.iter().any(|prediction| prediction.view == view)
    }

    /// Version of all that the speed layer makes of a source: of the source, and of the views and lookups that its rows
    /// go to. 16 hex digits; states and progress of another version are of another meaning.
    pub fn version_of(&self, source: &str) -> String {
        let mut versions: Vec<(&str, &str)> = Vec::new();
        for table in self.tables_of(source) {
            versions.extend(self.views_of(&table.name).map(|view| (view.name.as_str(), view.version.as_str())));
            versions.extend(self.lookups_of(&table.name).map(|lookup| (lookup.name.as_str(), lookup.version.as_str())));
        }
        versions.sort_unstable();
        versions.dedup();
        let own = self.source(source).map_or("", |source| source.version.as_str());
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for text in [own].into_iter().chain(versions.into_iter().flat_map(|(name, version)| [name, version])) {
            hash.update(text.as_bytes());
            hash.update(&[0]);
        }
        format!("{:016x}", hash.digest())
    }

    /// The source of this name.
    pub fn source(&self, name: &str) -> Option<&SourcePlan> {
        self.sources.iter().find(|s| s.name == name)
    }

    /// The table of this name.
    pub fn table(&self, name: &str) -> Option<&TablePlan> {
        self.tables.iter().find(|t| t.name == name)
    }

    /// The view of this name.
    pub fn view(&self, name: &str) -> Option<&ViewPlan> {
        self.views.iter().find(|v| v.name == name)
    }

    /// The tables over a source.
    pub fn tables_of<'a>(&'a self, source: &'a str) -> impl Iterator<Item = &'a TablePlan> {
        self.tables.iter().filter(move |t| t.source == source)
    }

    /// The views with at least one measure over `table`.
    pub fn views_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a ViewPlan> {
        self.views.iter().filter(move |v| v.tables.iter().any(|t| t == table))
    }

    /// The lookups over `table`.
    pub fn lookups_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a LookupPlan> {
        self.lookups.iter().filter(move |l| l.table == table)
    }
}

/// A name with a type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
pub struct Field {
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub ty: Type,
}

/// Where a source starts in a topic that it has never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the first record that the log still has.
    #[default]
    Earliest,
    /// After the last record that the log has now.
    Latest,
}

/// How the event time of a record is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct EventTime {
    /// Column of the source that holds it.
    pub column: String,
    /// How it is written.
    pub format: TimeFormat,
}

/// How a time is written. UTC unless the value has an offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// RFC 3339 or ISO 8601 text.
    Rfc3339,
    /// `strftime` pattern, such as `%Y-%m-%d %H:%M:%S`.
    Pattern(String),
    /// Seconds since the epoch (integer or float).
    EpochSeconds,
    /// Milliseconds since the epoch.
    EpochMillis,
    /// Microseconds since the epoch.
    EpochMicros,
}

/// A check that every record of a source must pass.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Check {
    /// Its name, part of the dead letter's reason.
    pub name: String,
    /// A boolean SQL expression over the source's columns; a record for which it is not true (false or null) fails.
    pub sql: String,
}

/// A source: one topic with typed columns.
#[derive(Clone, Debug, Serialize)]
pub struct SourcePlan {
    /// Name, unique in the process.
    pub name: String,
    /// Topic of the log.
    pub topic: String,
    /// Partitions of the topic when Tideline creates it.
    pub partitions: u32,
    /// How long the log keeps records; `None`: for ever.
    pub retention: Option<Span>,
    /// Where to start in a topic never read.
    pub start: Start,
    /// Columns, in the order of the file.
    pub columns: Vec<Field>,
    /// Columns that a record may lack (null then). All columns but the event time's may be null unless `required`.
    pub required: Vec<String>,
    /// Event time.
    pub event_time: EventTime,
    /// SQL expression of the partition key of what Tideline itself appends, over the source's columns.
    pub key: Option<String>,
    /// Watermark = highest event time − lateness.
    pub lateness: Span,
    /// Event time later than the append time by more than this is quarantined; `None`: anything goes.
    pub max_ahead: Option<Span>,
    /// A partition without a record for this long does not hold others back.
    pub idle_after: Span,
    /// SQL expression (text) whose equal values are duplicates.
    pub dedupe: Option<String>,
    /// Checks, in the order of the file.
    pub checks: Vec<Check>,
    /// How long Bronze keeps records, and their dead letters, after the log took them; `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_bronze: Option<Span>,
    /// Hash of all that decides which rows come out of a record: 16 hex digits.
    pub version: String,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TableColumn {
    /// Name.
    pub name: String,
    /// SQL expression over the source's columns and `event_time`; of `unnest(list)`, the list.
    pub sql: String,
    /// Its type (after `unnest`).
    pub ty: Type,
    /// Whether the list becomes one row per element (at most one column of a table).
    pub unnest: bool,
}

/// A row-level table over one source. `event_time` is always a column, and not listed.
#[derive(Clone, Debug, Serialize)]
pub struct TablePlan {
    /// Name, unique in the process.
    pub name: String,
    /// The source.
    pub source: String,
    /// Columns, in the order of the file.
    pub columns: Vec<TableColumn>,
    /// SQL condition over the table's columns (after `unnest`) and `event_time`.
    pub filter: Option<String>,
    /// Columns that Silver is Hive-partitioned by.
    pub partition_by: Vec<String>,
    /// How long Silver keeps rows, back from the newest event time; `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_silver: Option<Span>,
    /// Hash of all that decides its rows (its source included): 16 hex digits.
    pub version: String,
}

impl TablePlan {
    /// The type of a column, `event_time` included.
    pub fn type_of(&self, column: &str) -> Option<Type> {
        if column == EVENT_TIME {
            return Some(Type::Timestamp);
        }
        self.columns.iter().find(|c| c.name == column).map(|c| c.ty)
    }
}

/// The column that every table has.
pub const EVENT_TIME: &str = "event_time";

/// A measure of a view.
#[derive(Clone, Debug, Serialize)]
pub struct Measure {
    /// Name, a column of the answer.
    pub name: String,
    /// The table whose rows it measures.
    pub table: String,
    /// The aggregate.
    pub aggregate: Aggregate,
    /// Indexes of its states in [`ViewPlan::fields`], in the aggregate's order. Measures may share states.
    pub states: Vec<usize>,
    /// Type of its answer.
    pub ty: Type,
    /// As written: `quantile(sentiment, 0.95)`.
    pub sql: String,
}

/// A column computed after the merge.
#[derive(Clone, Debug, Serialize)]
pub struct Computed {
    /// Name, a column of the answer.
    pub name: String,
    /// Compiled over the view's measures, in their order, and the computed columns before it.
    pub formula: Formula,
    /// Its type.
    pub ty: Type,
}

/// A windowed view: measures over tables that share the key.
#[derive(Clone, Debug, Serialize)]
pub struct ViewPlan {
    /// Name, unique in the process.
    pub name: String,
    /// Key columns; none: one group, everything.
    pub key: Vec<Field>,
    /// The declared window.
    pub window: Window,
    /// Length of its panes.
    pub pane: Span,
    /// Measures, in the order of the file.
    pub measures: Vec<Measure>,
    /// Computed columns, dependencies first.
    pub columns: Vec<Computed>,
    /// All answer columns (measures and computed) in the order in which an answer lists them.
    pub answer: Vec<Field>,
    /// State columns.
    pub fields: Vec<StateField>,
    /// Tables with a measure, in order of first use.
    pub tables: Vec<String>,
    /// Sources behind them, sorted.
    pub sources: Vec<String>,
    /// Time to live of speed rows after their last write; `None`: for ever.
    pub retain_speed: Option<Span>,
    /// How long batch keeps panes; `None`: for ever.
    pub retain_batch: Option<Span>,
    /// Answer columns by which rankings are kept.
    pub top: Vec<String>,
    /// Hash of the plan of this view, its tables and sources: 16 hex digits. States of two versions never meet.
    pub version: String,
}

/// Newest rows of a table per key.
#[derive(Clone, Debug, Serialize)]
pub struct LookupPlan {
    /// Name, unique among lookups.
    pub name: String,
    /// The table.
    pub table: String,
    /// Its source.
    pub source: String,
    /// Key columns.
    pub key: Vec<Field>,
    /// The columns of its rows: those of the table, in order (`event_time` comes with every row).
    pub columns: Vec<Field>,
    /// Rows kept per key.
    pub limit: usize,
    /// Time to live of speed rows; `None`: for ever.
    pub retain_speed: Option<Span>,
    /// Hash of the table's version and this plan.
    pub version: String,
}

/// When an alert looks at a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertOn {
    /// When it has closed.
    #[default]
    Closed,
    /// Whenever something in it changes until then, and then.
    Running,
}

impl AlertOn {
    /// Its name in definitions and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Running => "running",
        }
    }
}

/// A condition over a view's windows, with where to send it.
#[derive(Clone, Debug, Serialize)]
pub struct AlertPlan {
    /// Name.
    pub name: String,
    /// The view.
    pub view: String,
    /// When it looks.
    pub on: AlertOn,
    /// Boolean formula over the view's answer, and that of the window before (see [`Formula::compile_with_previous`]).
    pub when: Formula,
    /// Where to post; secrets stay out of printed plans.
    #[serde(skip)]
    pub webhook: Option<String>,
    /// What posts are signed with; `None`: they are not.
    #[serde(skip)]
    pub secret: Option<String>,
}

/// A topic that the closed windows of a view go to.
#[derive(Clone, Debug, Serialize)]
pub struct OutputPlan {
    /// Name, unique among outputs.
    pub name: String,
    /// The view.
    pub view: String,
    /// The topic.
    pub topic: String,
    /// Columns of the view's key that make the record's key, by their index.
    pub key: Vec<usize>,
    /// The window: that of the view, or another one of its panes.
    pub window: Window,
    /// Columns of the view's answer that go into a record, by their index.
    pub columns: Vec<usize>,
    /// Partitions of the topic when Tideline creates it.
    pub partitions: u32,
    /// How long the log keeps its records; `None`: for ever.
    pub retention: Option<Span>,
}

/// A topic that the rows of a table go to, as they come.
#[derive(Clone, Debug, Serialize)]
pub struct RowOutputPlan {
    /// Name, unique among outputs.
    pub name: String,
    /// The table.
    pub table: String,
    /// Its source.
    pub source: String,
    /// The topic.
    pub topic: String,
    /// Columns of the table that make the record's key; none: a record has no key.
    pub key: Vec<Field>,
    /// What a record has, in order: columns of the table, `event_time` among them.
    pub columns: Vec<Field>,
    /// Partitions of the topic when Tideline creates it.
    pub partitions: u32,
    /// How long the log keeps its records; `None`: for ever.
    pub retention: Option<Span>,
}

/// A path of the API that answers with a window of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointPlan {
    /// Name, unique among endpoints.
    pub name: String,
    /// The path, unique in the process: `/api/` and more.
    pub path: String,
    /// The view.
    pub view: String,
    /// Column of the view's answer that orders the rows; `None`: the view's own.
    pub by: Option<String>,
    /// Rows when a request asks for no other limit.
    pub limit: usize,
}

/// A batch-only result, made by steps.
#[derive(Clone, Debug, Serialize)]
pub struct ReportPlan {
    /// Name, unique among reports.
    pub name: String,
    /// The table or view it starts from.
    pub from: String,
    /// Steps, in order. Each works on the result of the one before, named after `from` in the first `sql`
    /// step and `input` in every one.
    pub steps: Vec<Step>,
    /// Tables and views that the steps read, `from` included.
    pub inputs: Vec<String>,
    /// `ORDER BY` of the `ClickHouse` table.
    pub order_by: Vec<String>,
    /// Hash of this plan and the versions of its inputs.
    pub version: String,
}

/// A step of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// One SELECT over `input` (the result so far), `from` by its name, and any other table or view of the pipeline.
    Sql {
        /// The statement.
        sql: String,
    },
    /// A moving aggregate over the last `rows` rows of each group.
    Rolling {
        /// Column that is aggregated.
        column: String,
        /// `mean`, `sum`, `min`, `max`, `std`.
        agg: String,
        /// Rows in the frame, the current one included; at the start of a group the frame is shorter.
        rows: usize,
        /// Columns that group; none: everything is one group.
        over: Vec<String>,
        /// Column that orders a group.
        order_by: String,
        /// Name of the new column.
        output: String,
    },
    /// Values of a column become columns.
    Pivot {
        /// Column whose values become columns.
        on: String,
        /// Columns that identify a row of the result.
        index: Vec<String>,
        /// Column that fills the cells.
        values: String,
        /// `sum`, `mean`, `min`, `max`, `first`, `last`, `count`.
        agg: String,
        /// The values that become columns, in order: a result's columns never depend on the data.
        columns: Vec<String>,
        /// Put before each value to name its column.
        prefix: String,
    },
    /// Joins another table or view.
    Join {
        /// The other table or view.
        with: String,
        /// Columns that must be equal: (left, right).
        on: Vec<(String, String)>,
        /// What times must satisfy.
        time: JoinTime,
        /// `inner` or `left`.
        how: String,
        /// Put after a column of the right side whose name is taken.
        suffix: String,
        /// Left time column.
        left_time: String,
        /// Right time column.
        right_time: String,
    },
}

/// Says what an SQL expression evaluates to: implemented by the engine that will run it, so that a definition is
/// checked by what executes it.
pub trait ExpressionTypes {
    /// The type of `sql` over rows of `columns`.
    ///
    /// # Errors
    /// Why it cannot be evaluated: syntax, unknown column or function, wrong types.
    fn type_of(&self, sql: &str, columns: &[Field]) -> Result<Type, ExpressionError>;

    /// The columns that one SELECT over `tables` gives (a report's step); `None` when this engine cannot say.
    ///
    /// # Errors
    /// Why it cannot be run: syntax, unknown table, column or function, wrong types.
    fn columns_of(&self, sql: &str, tables: &[(&str, &[Field])]) -> Result<Option<Vec<Field>>, ExpressionError> {
        let _ = (sql, tables);
        Ok(None)
    }
}

/// Why an expression cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, for the author of the definition.
    pub message: String,
    /// Byte offset in the expression where that is known.
    pub at: Option<usize>,
}

/// How times are matched in a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinTime {
    /// Not at all.
    Any,
    /// The right time is within [left − before, left + after], both ends included: every such pair.
    Interval {
        /// How far before.
        before: Span,
        /// How far after.
        after: Span,
    },
    /// The newest right row at or before the left time, at most `within` before it.
    AsOf {
        /// How old it may be; `None`: any age.
        within: Option<Span>,
    },
}
