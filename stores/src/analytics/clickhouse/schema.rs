//! The tables: types, names, and the SQL that makes them.
//!
//! ```text
//! tideline_versions              version | run | published_at | loaded_at | files: table → [file] | through: view → time
//! tideline_reports               report | order_by                            what `migrate` knows of each report
//! <view>_panes_<plan version>    key columns | pane | states | gold_file      a partition per Gold file
//! <view>_panes                   the same of the current version, as an SQL view
//! <view>                         key columns | window_start | window_end | answers: an SQL view (see `finish`)
//! <view>_stream_<plan version>  changes of speed (see `stream`); tideline_streams: how far they were taken in
//! <report>                       its columns | _tideline_row | _tideline_files (both hidden from `SELECT *`)
//! tideline_staging_…             what is being loaded
//! ```
//!
//! | rule | columns |
//! |---|---|
//! | `sum` | `SimpleAggregateFunction(sum, Int64 or Float64)` |
//! | `min`, `max` | `SimpleAggregateFunction(min or max, Nullable(…))` |
//! | `first`, `last` | the value, `name__time`, `name__sequence`: all null together; merged by `argMin`, `argMax` |
//! | `map_sum`, `map_max` | `SimpleAggregateFunction(sumMap or maxMap, Map(Int32 or String, Int64))` |

use tideline_common::manifest::ViewFiles;
use tideline_common::plan::{Field, Plan, ViewPlan};
use tideline_common::ports::ViewSchema;
use tideline_common::state::{Rule, StateField};
use tideline_common::value::Type;

use super::finish;
use super::names::{list, literal, name};
use super::stream;

/// Loaded versions.
pub(super) const VERSIONS: &str = "tideline_versions";
/// What is known of reports.
pub(super) const REPORTS: &str = "tideline_reports";
/// How far changes were taken in.
pub(super) const STREAMS: &str = "tideline_streams";
/// Begins the names of staging tables.
pub(super) const STAGING: &str = "tideline_staging_";
/// Place of a row in its report; hidden from `SELECT *`.
pub(super) const REPORT_ROW: &str = "_tideline_row";
/// Which files a report's rows are of; hidden from `SELECT *`.
pub(super) const REPORT_FILES: &str = "_tideline_files";
/// Begins the comments of tables of views: the rest is view and version.
pub(super) const VIEW_COMMENT: &str = "tideline view ";
/// Begins the comments of tables of reports: the rest is the fingerprint of the files, then the sort key.
pub(super) const REPORT_COMMENT: &str = "tideline report ";
/// The start of a pane.
pub(super) const PANE: &str = "pane";
/// Times, as everywhere: microseconds UTC.
pub(super) const TIME: &str = "DateTime64(6, 'UTC')";

/// A column: its name and type.
pub(super) type Columns = Vec<(String, String)>;

/// The type of values of type `ty`. Lists cannot be null in `ClickHouse`; maps are JSON text, as in the lake.
pub(super) fn value_type(ty: Type) -> String {
    match ty {
        Type::Bool => "Nullable(Bool)".to_owned(),
        Type::Int => "Nullable(Int64)".to_owned(),
        Type::Float => "Nullable(Float64)".to_owned(),
        Type::String | Type::Map => "Nullable(String)".to_owned(),
        Type::Timestamp => format!("Nullable({TIME})"),
        Type::Strings => "Array(String)".to_owned(),
    }
}

/// The names of the columns of a `first` or `last`: value, time, sequence.
pub(super) fn ordered_names(name: &str) -> [String; 3] {
    [name.to_owned(), format!("{name}__time"), format!("{name}__sequence")]
}

fn state_columns(field: &StateField) -> Columns {
    let map_key = if field.ty == Type::Int { "Int32" } else { "String" };
    let simple =
        |function: &str, ty: &str| vec![(field.name.clone(), format!("SimpleAggregateFunction({function}, {ty})"))];
    match field.rule {
        Rule::Sum if field.ty == Type::Float => simple("sum", "Float64"),
        Rule::Sum => simple("sum", "Int64"),
        Rule::Min => simple("min", &value_type(field.ty)),
        Rule::Max => simple("max", &value_type(field.ty)),
        Rule::First | Rule::Last => {
            let types = [value_type(field.ty), format!("Nullable({TIME})"), "Nullable(Int64)".to_owned()];
            ordered_names(&field.name).into_iter().zip(types).collect()
        }
        Rule::MapSum => simple("sumMap", &format!("Map({map_key}, Int64)")),
        Rule::MapMax => simple("maxMap", &format!("Map({map_key}, Int64)")),
    }
}

/// The table of one version of a view.
#[derive(Debug, Clone)]
pub(super) struct GoldTable<'a> {
    pub(super) view: &'a str,
    pub(super) version: &'a str,
    pub(super) key: &'a [Field],
    pub(super) fields: &'a [StateField],
}

impl<'a> GoldTable<'a> {
    pub(super) fn of_schema(view: &'a ViewSchema) -> Self {
        Self { view: &view.name, version: &view.version, key: &view.key, fields: &view.fields }
    }

    pub(super) fn of_files(view: &'a str, files: &'a ViewFiles) -> Self {
        Self { view, version: &files.plan, key: &files.key, fields: &files.fields }
    }

    pub(super) fn of_plan(view: &'a ViewPlan) -> Self {
        Self { view: &view.name, version: &view.version, key: &view.key, fields: &view.fields }
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        format!("{}_panes_{}", self.view, self.version)
    }

    /// The name of the SQL view of the current version's panes.
    pub(super) fn current_name(&self) -> String {
        format!("{}_panes", self.view)
    }

    /// The column of the file; a name that the view does not use.
    pub(super) fn file_column(&self) -> String {
        let mut name = "gold_file".to_owned();
        while self.content().iter().any(|(column, _)| *column == name) {
            name.push('_');
        }
        name
    }

    /// Columns but for the file: what is inserted and read.
    pub(super) fn content(&self) -> Columns {
        let mut columns: Columns = self.key.iter().map(|f| (f.name.clone(), value_type(f.ty))).collect();
        columns.push((PANE.to_owned(), TIME.to_owned()));
        columns.extend(self.fields.iter().flat_map(state_columns));
        columns
    }

    /// The names of [`content`](Self::content), quoted.
    pub(super) fn content_names(&self) -> String {
        let content = self.content();
        list(content.iter().map(|(column, _)| column.as_str()))
    }

    /// What its comment says.
    pub(super) fn comment(&self) -> String {
        format!("{VIEW_COMMENT}{} {}", self.view, self.version)
    }

    /// Makes the table.
    pub(super) fn create(&self) -> String {
        let head = format!("CREATE TABLE IF NOT EXISTS {}", name(&self.name()));
        format!("{head}\n{}\nCOMMENT {}", self.body(None), literal(&self.comment()))
    }

    /// Makes a staging table for the rows of `file`.
    pub(super) fn create_staging(&self, staging: &str, file: &str) -> String {
        format!("CREATE TABLE {}\n{}", name(staging), self.body(Some(file)))
    }

    /// Columns and engine: both tables of a move of partitions must have the same.
    fn body(&self, file: Option<&str>) -> String {
        let mut lines: Vec<String> =
            self.content().iter().map(|(column, ty)| format!("    {} {ty}", name(column))).collect();
        let default = file.map(|file| format!(" DEFAULT {}", literal(file))).unwrap_or_default();
        let file = name(&self.file_column());
        lines.push(format!("    {file} LowCardinality(String){default}"));
        let sort = list(self.key.iter().map(|f| f.name.as_str()).chain([PANE]));
        format!(
            "(\n{}\n)\nENGINE = MergeTree\nPARTITION BY {file}\nORDER BY ({sort})\nSETTINGS allow_nullable_key = 1",
            lines.join(",\n")
        )
    }

    /// Selects the files of the current version.
    pub(super) fn current_files(&self) -> String {
        format!(
            "SELECT arrayJoin(files[{}]) FROM {VERSIONS} WHERE version = (SELECT max(version) FROM {VERSIONS})",
            literal(&self.name())
        )
    }

    /// Makes the SQL view of the current version's panes, without those of speed.
    pub(super) fn create_current(&self) -> String {
        format!(
            "CREATE OR REPLACE VIEW {} AS\nSELECT {}\nFROM {}\nWHERE {} IN (\n    {}\n)",
            name(&self.current_name()),
            self.content_names(),
            name(&self.name()),
            name(&self.file_column()),
            self.current_files(),
        )
    }
}

/// The table of a report.
#[derive(Debug, Clone)]
pub(super) struct ReportTable<'a> {
    pub(super) columns: &'a [Field],
    /// Columns that it is sorted by; others than its own are left out.
    pub(super) order_by: &'a [String],
    /// See [`REPORT_FILES`].
    pub(super) files: &'a str,
}

impl ReportTable<'_> {
    /// Those of `order_by` that there are.
    fn sort(&self) -> impl Iterator<Item = &str> {
        let can_sort = |column: &&String| {
            self.columns.iter().any(|f| f.name == **column && !matches!(f.ty, Type::Strings | Type::Map))
        };
        self.order_by.iter().filter(can_sort).map(String::as_str)
    }

    /// What its comment says: equal comments, equal tables.
    pub(super) fn comment(&self) -> String {
        let sort: Vec<&str> = self.sort().collect();
        format!("{REPORT_COMMENT}{} by {}", self.files, sort.join(","))
    }

    /// The names of what is inserted, quoted.
    pub(super) fn inserted(&self) -> String {
        list(self.columns.iter().map(|f| f.name.as_str()).chain([REPORT_ROW]))
    }

    /// Makes the table as `table`.
    pub(super) fn create(&self, table: &str) -> String {
        let columns = self.columns.iter().map(|f| format!("    {} {},\n", name(&f.name), value_type(f.ty)));
        let columns: String = columns.collect();
        format!(
            "CREATE TABLE {} (\n{columns}    {REPORT_ROW} UInt64 MATERIALIZED 0,\n    \
             {REPORT_FILES} LowCardinality(String) MATERIALIZED {}\n)\nENGINE = MergeTree\nORDER BY ({})\n\
             SETTINGS allow_nullable_key = 1\nCOMMENT {}",
            name(table),
            literal(self.files),
            list(self.sort()),
            literal(&self.comment()),
        )
    }
}

/// The tables that every database has.
pub(super) fn create_common() -> [String; 3] {
    [
        format!(
            "CREATE TABLE IF NOT EXISTS {VERSIONS} (\n    version UInt64,\n    run String,\n    published_at {TIME},\n    \
             loaded_at {TIME} DEFAULT now64(6, 'UTC'),\n    files Map(String, Array(String)),\n    \
             through Map(String, {TIME})\n)\nENGINE = ReplacingMergeTree\nPARTITION BY version\nORDER BY version\n\
             COMMENT 'versions of the batch layer that are loaded; the highest is the current one'"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {REPORTS} (\n    report String,\n    order_by Array(String),\n    \
             noted_at {TIME} DEFAULT now64(6, 'UTC')\n)\nENGINE = ReplacingMergeTree(noted_at)\nORDER BY report\n\
             COMMENT 'how tables of reports are sorted'"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS {STREAMS} (\n    stream String,\n    topic_partition UInt32,\n    next UInt64,\n    \
             noted_at {TIME} DEFAULT now64(6, 'UTC')\n)\nENGINE = ReplacingMergeTree(next)\n\
             ORDER BY (stream, topic_partition)\nCOMMENT 'how far the changes of views were taken in'"
        ),
    ]
}

/// Notes how the tables of reports are sorted.
fn note_reports(plan: &Plan) -> Option<String> {
    let row = |report: &tideline_common::plan::ReportPlan| {
        let order_by: Vec<String> = report.order_by.iter().map(|column| literal(column)).collect();
        format!("    ({}, [{}])", literal(&report.name), order_by.join(", "))
    };
    let rows: Vec<String> = plan.reports.iter().map(row).collect();
    (!rows.is_empty()).then(|| format!("INSERT INTO {REPORTS} (report, order_by) VALUES\n{}", rows.join(",\n")))
}

/// The statements that make what `plan` needs, in order. Running them again changes nothing. Tables of reports are made
/// by the first load, which knows their columns.
pub fn ddl(plan: &Plan) -> Vec<String> {
    let mut statements: Vec<String> = create_common().into();
    for view in &plan.views {
        let table = GoldTable::of_plan(view);
        statements.push(table.create());
        if tideline_common::changes::ranked(view) {
            statements.push(stream::create(view));
            statements.push(stream::create_current(view));
        } else {
            statements.push(table.create_current());
        }
        if !plan.reports.iter().any(|report| report.name == view.name) {
            statements.push(finish::create(view));
        }
    }
    statements.extend(note_reports(plan));
    statements
}
