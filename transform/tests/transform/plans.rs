//! Plans for tests, as a definition would compile to them.

use bytes::Bytes;
use tideline_common::aggregate::{Aggregate, Function};
use tideline_common::plan::{
    Check, EventTime, Field, Measure, Plan, SourcePlan, Start, TableColumn, TablePlan, TimeFormat, ViewPlan,
};
use tideline_common::record::Record;
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Type;
use tideline_common::window::Window;

pub(crate) fn field(name: &str, ty: Type) -> Field {
    Field { name: name.to_owned(), ty }
}

pub(crate) fn record(offset: u64, payload: impl Into<Bytes>) -> Record {
    let payload = payload.into();
    Record { offset, appended: Timestamp(1_000_000_000), key: None, headers: Vec::new(), payload }
}

/// Source `s`: event time `at` in seconds, and a column of every type.
pub(crate) fn source() -> SourcePlan {
    SourcePlan {
        name: "s".to_owned(),
        topic: "s".to_owned(),
        partitions: 1,
        retention: None,
        retain_bronze: None,
        start: Start::Earliest,
        columns: vec![
            field("at", Type::Int),
            field("text", Type::String),
            field("n", Type::Int),
            field("x", Type::Float),
            field("ok", Type::Bool),
            field("seen", Type::Timestamp),
            field("tags", Type::Strings),
        ],
        required: vec![],
        event_time: EventTime { column: "at".to_owned(), format: TimeFormat::EpochSeconds },
        key: Some("text".to_owned()),
        lateness: Span(2 * Span::SECOND.0),
        max_ahead: Some(Span::MINUTE),
        idle_after: Span::MINUTE,
        dedupe: None,
        checks: vec![Check { name: "short".to_owned(), sql: "text IS NULL OR length(text) < 50".to_owned() }],
        version: "v".to_owned(),
    }
}

fn column(name: &str, sql: &str, ty: Type, unnest: bool) -> TableColumn {
    TableColumn { name: name.to_owned(), sql: sql.to_owned(), ty, unnest }
}

/// Source `s`, table `rows` (its columns), table `tags` (one row per tag), view `v` over `rows` by `text` with every
/// aggregate, in panes of 2 seconds.
pub(crate) fn plan() -> Plan {
    let source = source();
    let columns = ["text", "n", "x", "ok"].map(|name| {
        let ty = source.columns.iter().find(|field| field.name == name).unwrap().ty;
        column(name, name, ty, false)
    });
    let rows = TablePlan {
        name: "rows".to_owned(),
        source: "s".to_owned(),
        columns: columns.to_vec(),
        filter: None,
        partition_by: vec![],
        retain_silver: None,
        version: "v".to_owned(),
    };
    let tags = TablePlan {
        name: "tags".to_owned(),
        columns: vec![
            column("score", "vader(text)", Type::Float, false),
            column("mood", "label(vader(text))", Type::String, false),
            column("tag", "tags", Type::String, true),
        ],
        filter: Some("tag <> 'no'".to_owned()),
        ..rows.clone()
    };
    let tags = TablePlan { name: "tags".to_owned(), ..tags };
    let calls = [
        (Function::Count, None),
        (Function::Count, Some(("x", Type::Float))),
        (Function::Sum, Some(("n", Type::Int))),
        (Function::Sum, Some(("x", Type::Float))),
        (Function::Avg, Some(("n", Type::Int))),
        (Function::Min, Some(("x", Type::Float))),
        (Function::Max, Some(("n", Type::Int))),
        (Function::Min, Some(("text", Type::String))),
        (Function::First, Some(("x", Type::Float))),
        (Function::Last, Some(("n", Type::Int))),
        (Function::Last, Some(("text", Type::String))),
        (Function::Stddev, Some(("x", Type::Float))),
        (Function::CountIf, Some(("x > 0", Type::Bool))),
        (Function::Distinct, Some(("n", Type::Int))),
        (Function::Distinct, Some(("text", Type::String))),
        (Function::Quantile(0.5), Some(("x", Type::Float))),
        (Function::Histogram, Some(("text", Type::String))),
        (Function::Histogram, Some(("ok", Type::Bool))),
    ];
    let mut fields = Vec::new();
    let mut measures = Vec::new();
    for (index, (function, argument)) in calls.into_iter().enumerate() {
        let argument = argument.map(|(sql, ty)| (sql.to_owned(), ty));
        let aggregate = Aggregate::new(function, argument.clone()).unwrap();
        let name = format!("m{index}");
        let mut states = Vec::new();
        for spec in aggregate.states() {
            states.push(fields.len());
            let sql = argument.as_ref().map(|(sql, _)| sql.clone());
            fields.push(spec.field(format!("{name}_{}", spec.suffix), "rows", sql));
        }
        let (ty, table) = (aggregate.result_type(), "rows".to_owned());
        measures.push(Measure { name, table, aggregate, states, ty, sql: String::new() });
    }
    let window = Window { size: Span(4 * Span::SECOND.0), slide: Span(2 * Span::SECOND.0) };
    let view = ViewPlan {
        name: "v".to_owned(),
        key: vec![field("text", Type::String), field("ok", Type::Bool)],
        window,
        pane: window.pane(),
        answer: measures.iter().map(|m| field(&m.name, m.ty)).collect(),
        measures,
        columns: vec![],
        fields,
        tables: vec!["rows".to_owned()],
        sources: vec!["s".to_owned()],
        retain_speed: None,
        retain_batch: None,
        top: vec![],
        version: "v".to_owned(),
    };
    Plan {
        name: "p".to_owned(),
        sources: vec![source],
        tables: vec![rows, tags],
        views: vec![view],
        lookups: vec![],
        reports: vec![],
        alerts: vec![],
        outputs: vec![],
        predictions: vec![],
        row_outputs: vec![],
        endpoints: vec![],
    }
}
