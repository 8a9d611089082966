//! The format: every section and key, its kind, default and meaning. One catalogue that the reader refuses unknown
//! keys by, that the JSON Schema is generated from, and that the reference (`docs/definition.md`) is checked against.

/// A table of the file with its keys.
#[derive(Debug)]
pub struct Section {
    /// What diagnostics call it: `source`, `step`.
    pub name: &'static str,
    /// What it is, for editors.
    pub about: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// Its name with its article: `a source`, `an alert`.
    pub fn with_article(&self) -> String {
        let article = if self.name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        format!("{article} {}", self.name)
    }
}

/// A key of a section.
#[derive(Debug)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// What it means, default included, for editors.
    pub about: &'static str,
}

/// What a key takes.
#[derive(Debug)]
pub enum Kind {
    /// A string.
    String,
    /// A string with an SQL expression.
    Sql,
    /// A string such as `5m`.
    Duration,
    /// An integer in this range.
    Integer(i64, i64),
    /// A number from .0 to .1, both included.
    Number(f64, f64),
    /// A number greater than 0, up to this one.
    Positive(f64),
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A list of strings.
    Strings,
    /// A string, or a list of strings.
    StringOrStrings,
    /// Name → type.
    Types,
    /// Name → SQL expression.
    Expressions,
    /// A table of that form.
    Table(&'static Section),
    /// A string, or a table of that form.
    StringOr(&'static Section),
    /// A duration, or a table of that form.
    DurationOr(&'static Section),
    /// Name → table of that form.
    Named(&'static Section),
    /// A list of tables of that form.
    Tables(&'static Section),
}

const fn required(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, required: true, about }
}

const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, required: false, about }
}

/// The newest version of the format.
pub const VERSION: i64 = 1;
/// The most partitions of a topic.
pub const MAX_PARTITIONS: i64 = 1_024;
/// The most rows that a lookup keeps per key.
pub const MAX_LOOKUP_ROWS: i64 = 100_000;
/// The most rows that an endpoint answers with.
pub const MAX_ENDPOINT_ROWS: i64 = 10_000;
/// The most rows in the frame of a rolling step.
pub const MAX_ROLLING_ROWS: i64 = 1_000_000;
/// The most windows that a prediction keeps per key.
pub const MAX_BUFFER: i64 = 10_000;
/// The most keys that a prediction remembers.
pub const MAX_KEYS: i64 = 10_000_000;
/// The most versions of a model side by side.
pub const MAX_MODELS: usize = 16;
/// The most features of a model.
pub const MAX_FEATURES: usize = 256;
/// Types of columns, as they are best written.
pub const TYPES: &[&str] = &["bool", "int", "float", "string", "timestamp", "strings"];
/// How a rolling step aggregates.
pub const ROLLING: &[&str] = &["mean", "sum", "min", "max", "std"];
/// How a pivot fills a cell.
pub const PIVOT: &[&str] = &["sum", "mean", "min", "max", "first", "last", "count"];

/// The whole file.
pub static ROOT: Section = Section {
    name: "definition",
    about: "A Tideline pipeline: sources, tables, views and what is made of them",
    keys: &[
        required("version", Kind::Integer(1, VERSION), "Version of this format: 1"),
        required("name", Kind::String, "Name of the pipeline"),
        optional("sources", Kind::Named(&SOURCE), "Topics with typed columns"),
        optional("tables", Kind::Named(&TABLE), "Row-level tables over sources; they become Silver"),
        optional("views", Kind::Named(&VIEW), "Windowed measures over tables that share a key; they become Gold"),
        optional("lookups", Kind::Named(&LOOKUP), "Newest rows of a table per key"),
        optional("alerts", Kind::Named(&ALERT), "Conditions over a view's windows"),
        optional("outputs", Kind::Named(&OUTPUT), "Topics that the closed windows of a view go to"),
        optional(
            "predictions",
            Kind::Named(&PREDICTION),
            "Columns of a view whose next value is predicted, and learnt from",
        ),
        optional(
            "outputs",
            Kind::Named(&OUTPUT),
            "Topics that the closed windows of a view go to, or the rows of a table",
        ),
        optional("endpoints", Kind::Named(&ENDPOINT), "Paths of the API that answer with a view's newest window"),
        optional("reports", Kind::Named(&REPORT), "Batch-only results, made by steps"),
    ],
};

static SOURCE: Section = Section {
    name: "source",
    about: "One topic with typed columns; records that do not fit go to the dead letters with a reason",
    keys: &[
        required("topic", Kind::String, "Topic of the log"),
        required("columns", Kind::Types, "Columns with their types; a column may be null unless it is in `required`"),
        required("event_time", Kind::StringOr(&EVENT_TIME), "The column that says when it happened"),
        optional("key", Kind::Sql, "Partition key of what Tideline itself appends; without it, records are spread"),
        optional(
            "partitions",
            Kind::Integer(1, MAX_PARTITIONS),
            "Partitions of the topic when Tideline creates it; default 2",
        ),
        optional("retention", Kind::Duration, "How long the log keeps records; default: for ever"),
        optional(
            "start",
            Kind::Choice(&["earliest", "latest"]),
            "Where to start in a topic never read; default earliest",
        ),
        optional("required", Kind::Strings, "Columns that must not be null"),
        optional("lateness", Kind::Duration, "Watermark = highest event time − lateness, per partition; default 0s"),
        optional(
            "max_ahead",
            Kind::Duration,
            "Event time later than the append time by more than this is quarantined; default: anything goes",
        ),
        optional(
            "idle_after",
            Kind::Duration,
            "A partition without a record for this long holds no other back; default 30s",
        ),
        optional("dedupe", Kind::Sql, "Text whose equal values are duplicates; null is never one"),
        optional("checks", Kind::Expressions, "Conditions that a record must pass: name → boolean expression"),
        optional("retain", Kind::Table(&SOURCE_RETAIN), "How long the lake keeps records"),
    ],
};

static SOURCE_RETAIN: Section = Section {
    name: "retention",
    about: "How long the lake keeps records; default: for ever",
    keys: &[optional(
        "bronze",
        Kind::Duration,
        "How long records, and their dead letters, stay after the log took them; nothing can be rebuilt from them then",
    )],
};

static EVENT_TIME: Section = Section {
    name: "event time",
    about: "When it happened; UTC unless the value has an offset",
    keys: &[
        required("column", Kind::String, "A column of the source"),
        optional(
            "format",
            Kind::String,
            "rfc3339 (default), epoch_s, epoch_ms, epoch_us, or a strftime pattern such as %Y-%m-%d %H:%M:%S",
        ),
    ],
};

static TABLE: Section = Section {
    name: "table",
    about: "One SQL expression per column over one source; `event_time` is always there",
    keys: &[
        required("from", Kind::String, "The source"),
        required(
            "columns",
            Kind::Expressions,
            "Columns: name → expression over the source's columns and event_time; one may be unnest(list)",
        ),
        optional("where", Kind::Sql, "Condition over the table's columns (after unnest) and event_time"),
        optional("partition_by", Kind::Strings, "Columns that Silver is Hive-partitioned by"),
        optional("retain", Kind::Table(&TABLE_RETAIN), "How long rows are kept"),
    ],
};

static TABLE_RETAIN: Section = Section {
    name: "retention",
    about: "How long rows are kept; default: for ever",
    keys: &[optional(
        "silver",
        Kind::Duration,
        "How long rows stay, counted back from the newest event time; Gold of older ones is kept, and no longer corrected",
    )],
};

static VIEW: Section = Section {
    name: "view",
    about: "Measures of tables per key and window",
    keys: &[
        optional(
            "key",
            Kind::Strings,
            "Columns that every table of the view has, with one type; default: one group, everything",
        ),
        required("window", Kind::DurationOr(&WINDOW), "The window: a duration (tumbling) or { size, slide }"),
        required("measures", Kind::Named(&MEASURE), "Measures: name → { table, agg }"),
        optional("columns", Kind::Expressions, "Formulas over measures and each other: name → expression"),
        optional("retain", Kind::Table(&RETAIN), "How long states are kept"),
        optional("top", Kind::Strings, "Numeric columns by which rankings are kept ready"),
    ],
};

static WINDOW: Section = Section {
    name: "window",
    about: "A window of `size` begins every `slide`",
    keys: &[
        required("size", Kind::Duration, "How long a window lasts"),
        optional("slide", Kind::Duration, "Distance between the starts of windows; default: as size"),
    ],
};

static MEASURE: Section = Section {
    name: "measure",
    about: "An aggregate over the rows of a table",
    keys: &[
        required("table", Kind::String, "The table"),
        required(
            "agg",
            Kind::Sql,
            "The aggregate: count() count(x) sum avg min max first last stddev variance count_if(c) distinct(x) quantile(x, q) histogram(c)",
        ),
    ],
};

static RETAIN: Section = Section {
    name: "retention",
    about: "How long states are kept; default: for ever",
    keys: &[
        optional("speed", Kind::Duration, "Time to live of speed rows after their last write"),
        optional("batch", Kind::Duration, "How long batch keeps panes"),
    ],
};

static LOOKUP: Section = Section {
    name: "lookup",
    about: "Newest rows of a table per key",
    keys: &[
        required("table", Kind::String, "The table"),
        required("key", Kind::Strings, "Columns of the table"),
        optional("limit", Kind::Integer(1, MAX_LOOKUP_ROWS), "Rows kept per key; default 100"),
        optional("retain", Kind::Table(&LOOKUP_RETAIN), "How long rows are kept"),
    ],
};

static LOOKUP_RETAIN: Section = Section {
    name: "retention",
    about: "How long rows are kept; default: for ever",
    keys: &[optional("speed", Kind::Duration, "Time to live of a row after it was written")],
};

static ALERT: Section = Section {
    name: "alert",
    about: "A condition over a view's windows, fired once per key and window",
    keys: &[
        required("view", Kind::String, "The view"),
        required(
            "when",
            Kind::Sql,
            "Boolean expression over the view's columns; prev(column) is the column of the window before, null without one",
        ),
        optional(
            "on",
            Kind::Choice(&["closed", "running"]),
            "When it looks at a window: closed (default), when it has closed; running, with every change until then",
        ),
        optional("webhook", Kind::String, "URL that alerts are posted to; empty: none"),
        optional("secret", Kind::String, "What posts are signed with (HMAC-SHA256); empty: they are not"),
    ],
};

static OUTPUT: Section = Section {
    name: "output",
    about: "A topic that the closed windows of a view go to, one JSON record per key and window; or the rows of a table, one record each",
    keys: &[
        optional("view", Kind::String, "The view whose closed windows it takes; this or `table`"),
        optional("table", Kind::String, "The table whose rows it takes, as they come; this or `view`"),
        required("topic", Kind::String, "Topic of the log; none that the view or the table is made from"),
        optional(
            "key",
            Kind::StringOrStrings,
            "Columns that make the record's key: of the view's key (default: all of them), or of the table (default: the column that is the source's key)",
        ),
        optional(
            "window",
            Kind::DurationOr(&WINDOW),
            "Another window of the view's panes: a duration (tumbling) or { size, slide }; default: that of the view",
        ),
        optional(
            "columns",
            Kind::Strings,
            "Columns that go into a record, beside key, window_start and window_end of a view, event_time of a table; default: all of them",
        ),
        optional(
            "partitions",
            Kind::Integer(1, MAX_PARTITIONS),
            "Partitions of the topic when Tideline creates it; default 2",
        ),
        optional("retention", Kind::Duration, "How long the log keeps records; default: for ever"),
    ],
};

static PREDICTION: Section = Section {
    name: "prediction",
    about: "Predicts a column of the next window of each key from the closed ones, and learns when it closes",
    keys: &[
        required("view", Kind::String, "The view"),
        required("target", Kind::String, "The numeric column of the view that is predicted"),
        required("models", Kind::Named(&MODEL), "Versions of the model, side by side: version → { features, … }"),
        optional(
            "topic",
            Kind::String,
            "Topic that predictions go to; no source of the view reads it; default PIPELINE.predictions.NAME",
        ),
        optional(
            "partitions",
            Kind::Integer(1, MAX_PARTITIONS),
            "Partitions of the topic when Tideline creates it; default 2",
        ),
        optional("retention", Kind::Duration, "How long the log keeps records; default: for ever"),
        optional("buffer", Kind::Integer(1, MAX_BUFFER), "Windows kept per key; default 100"),
        optional(
            "keys_max",
            Kind::Integer(1, MAX_KEYS),
            "Keys remembered; beyond, the one silent longest is forgotten; default 10000",
        ),
        optional(
            "gap_max",
            Kind::Duration,
            "A prediction is compared with the next window of its key if that begins at most so much later; default: however late",
        ),
    ],
};

static MODEL: Section = Section {
    name: "model",
    about: "A version of the model: a linear regression over scaled features, by stochastic gradient descent",
    keys: &[
        required(
            "features",
            Kind::Strings,
            "What it sees: a column, hour, day_of_week, delta(column), ma(column, windows); `name = …` names one",
        ),
        optional("learning_rate", Kind::Positive(1.0), "Step length of the weights; default 0.01"),
        optional("l2", Kind::Number(0.0, 1.0), "Weight of the squared weights in the loss; default 0.001"),
        optional("intercept_rate", Kind::Number(0.0, 1.0), "Step length of the intercept; default 0.01"),
        optional("clip_gradient", Kind::Positive(1e12), "The greatest magnitude of the gradient; default 1e12"),
    ],
};

static ENDPOINT: Section = Section {
    name: "endpoint",
    about: "A path of the API that answers with a window of a view: the newest, unless another is asked for",
    keys: &[
        required("path", Kind::String, "The path: /api/ and parts of a-z, 0-9, -, _ and . with / between them"),
        required("view", Kind::String, "The view"),
        optional(
            "by",
            Kind::String,
            "Column that orders the rows, greatest first; default: the first of the view's `top`",
        ),
        optional(
            "limit",
            Kind::Integer(1, MAX_ENDPOINT_ROWS),
            "Rows when the request asks for no other limit; default 1000",
        ),
    ],
};

static REPORT: Section = Section {
    name: "report",
    about: "A batch-only result: steps over Silver tables and Gold views",
    keys: &[
        required("from", Kind::String, "Table or view that it starts from"),
        optional("steps", Kind::Tables(&STEP), "Steps, in order, each over the result of the one before"),
        optional("clickhouse", Kind::Table(&CLICKHOUSE), "How its ClickHouse table is laid out"),
    ],
};

static CLICKHOUSE: Section = Section {
    name: "ClickHouse table",
    about: "How a report's ClickHouse table is laid out",
    keys: &[optional("order_by", Kind::Strings, "ORDER BY of the table, columns of the result")],
};

static STEP: Section = Section {
    name: "step",
    about: "A step of a report: exactly one of its keys",
    keys: &[
        optional(
            "sql",
            Kind::Sql,
            "One SELECT over `input` (the result so far; in the first step also by the report's `from`) and any table or view",
        ),
        optional("rolling", Kind::Table(&ROLLING_STEP), "A moving aggregate over the last rows of each group"),
        optional("pivot", Kind::Table(&PIVOT_STEP), "Values of a column become columns"),
        optional("join", Kind::Table(&JOIN_STEP), "Joins another table or view"),
    ],
};

static ROLLING_STEP: Section = Section {
    name: "rolling step",
    about: "A moving aggregate over the last rows of each group, the current one included",
    keys: &[
        required("column", Kind::String, "Column that is aggregated"),
        required("agg", Kind::Choice(ROLLING), "How"),
        required("rows", Kind::Integer(1, MAX_ROLLING_ROWS), "Rows in the frame; shorter at the start of a group"),
        optional("over", Kind::Strings, "Columns that group; default: one group, everything"),
        required("order_by", Kind::String, "Column that orders a group"),
        required("as", Kind::String, "Name of the new column"),
    ],
};

static PIVOT_STEP: Section = Section {
    name: "pivot step",
    about: "Values of a column become columns",
    keys: &[
        required("on", Kind::String, "Column whose values become columns"),
        required("index", Kind::Strings, "Columns that identify a row of the result"),
        required("values", Kind::String, "Column that fills the cells"),
        required("agg", Kind::Choice(PIVOT), "How several values become one cell"),
        required(
            "columns",
            Kind::Strings,
            "The values that become columns, in order, so that a result's columns never depend on the data",
        ),
        optional("prefix", Kind::String, "Put before each value to name its column"),
    ],
};

static JOIN_STEP: Section = Section {
    name: "join step",
    about: "Joins another table or view; with `interval` or `as_of`, also by time",
    keys: &[
        required("with", Kind::String, "The other table or view"),
        required("on", Kind::Strings, "Columns that must be equal: `name`, or `left = right`"),
        optional(
            "interval",
            Kind::Table(&INTERVAL),
            "Every pair whose right time is within [left − before, left + after]",
        ),
        optional("as_of", Kind::Table(&AS_OF), "The newest right row at or before the left time"),
        optional("how", Kind::Choice(&["inner", "left"]), "Default inner"),
        optional("suffix", Kind::String, "Put after a column of the right side whose name is taken; default _right"),
        optional("left_time", Kind::String, "Default event_time, of a view window_start"),
        optional("right_time", Kind::String, "Default event_time, of a view window_start"),
    ],
};

static INTERVAL: Section = Section {
    name: "interval",
    about: "Both ends included",
    keys: &[
        optional("before", Kind::Duration, "How far before the left time; default 0s"),
        optional("after", Kind::Duration, "How far after the left time; default 0s"),
    ],
};

static AS_OF: Section = Section {
    name: "as-of join",
    about: "The newest right row at or before the left time",
    keys: &[optional("within", Kind::Duration, "How old it may be; default: any age")],
};
