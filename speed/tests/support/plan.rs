//! A plan by hand: one source, one table, two views of different windows, one lookup.

use tideline_common::plan::{
    EventTime, Field, LookupPlan, Plan, SourcePlan, Start, TableColumn, TablePlan, TimeFormat, ViewPlan,
};
use tideline_common::state::{Input, Rule, StateField};
use tideline_common::time::Span;
use tideline_common::value::Type;
use tideline_common::window::Window;

use super::{SOURCE, TOPIC};

/// The view that has a ranking, and therefore a topic of changes.
pub const CHANGING: &str = "sliding";

fn field(name: &str, ty: Type) -> Field {
    Field { name: name.to_owned(), ty }
}

fn state(name: &str, rule: Rule, ty: Type, input: Input, argument: Option<&str>) -> StateField {
    StateField {
        name: name.to_owned(),
        rule,
        ty,
        input,
        table: "rows".to_owned(),
        argument: argument.map(str::to_owned),
    }
}

fn view(name: &str, size: i64, slide: i64) -> ViewPlan {
    let window = Window::new(Span::from_secs(size), Span::from_secs(slide)).unwrap();
    ViewPlan {
        name: name.to_owned(),
        key: vec![field("who", Type::String)],
        window,
        pane: window.pane(),
        measures: Vec::new(),
        columns: Vec::new(),
        answer: Vec::new(),
        fields: vec![
            state("count", Rule::Sum, Type::Int, Input::One, None),
            state("amount_sum", Rule::Sum, Type::Float, Input::Value, Some("amount")),
            state("amount_last", Rule::Last, Type::Float, Input::Value, Some("amount")),
        ],
        tables: vec!["rows".to_owned()],
        sources: vec![SOURCE.to_owned()],
        retain_speed: None,
        retain_batch: None,
        // Its changes are wanted.
        top: if name == CHANGING { vec!["amount".to_owned()] } else { Vec::new() },
        version: "0123456789abcdef".to_owned(),
    }
}

/// See the module.
pub fn plan(partitions: u32) -> Plan {
    let columns = [("at", Type::Int), ("id", Type::String), ("who", Type::String), ("amount", Type::Float)];
    let table_columns = [("who", Type::String), ("amount", Type::Float)];
    let table_column =
        |(name, ty): (&str, Type)| TableColumn { name: name.to_owned(), sql: name.to_owned(), ty, unnest: false };
    Plan {
        name: "test".to_owned(),
        sources: vec![SourcePlan {
            name: SOURCE.to_owned(),
            topic: TOPIC.to_owned(),
            partitions,
            retention: None,
            retain_bronze: None,
            start: Start::Earliest,
            columns: columns.iter().map(|(name, ty)| field(name, *ty)).collect(),
            required: Vec::new(),
            event_time: EventTime { column: "at".to_owned(), format: TimeFormat::EpochMillis },
            key: None,
            lateness: Span::from_secs(5),
            max_ahead: None,
            idle_after: Span::from_secs(30),
            dedupe: Some("id".to_owned()),
            checks: Vec::new(),
            version: "5000000000000005".to_owned(),
        }],
        tables: vec![TablePlan {
            name: "rows".to_owned(),
            source: SOURCE.to_owned(),
            columns: table_columns.map(table_column).to_vec(),
            filter: None,
            partition_by: Vec::new(),
            retain_silver: None,
            version: "7000000000000007".to_owned(),
        }],
        views: vec![view("sliding", 30, 10), view("tumbling", 60, 60)],
        lookups: vec![LookupPlan {
            name: "latest".to_owned(),
            table: "rows".to_owned(),
            source: SOURCE.to_owned(),
            key: vec![field("who", Type::String)],
            columns: table_columns.iter().map(|(name, ty)| field(name, *ty)).collect(),
            limit: 10,
            retain_speed: None,
            version: "9000000000000009".to_owned(),
        }],
        reports: Vec::new(),
        alerts: Vec::new(),
        outputs: Vec::new(),
        predictions: Vec::new(),
        row_outputs: Vec::new(),
        endpoints: Vec::new(),
    }
}
