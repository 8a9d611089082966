//! The plan as text, for `tideline plan`.

use std::fmt::{self, Write};

use super::{
    JoinTime, OutputPlan, Plan, PredictionPlan, ReportPlan, RowOutputPlan, SourcePlan, Step, TablePlan, TimeFormat,
    ViewPlan,
};
use crate::state::{Input, Rule, StateField};
use crate::time::Span;
use crate::value::Type;
use crate::window::Window;

impl Plan {
    /// The whole plan as text: sources, tables, views with panes, states and their merge rules, lookups, alerts,
    /// outputs, predictions, reports, and the tables that stores hold of it. Webhooks are not shown.
    pub fn explain(&self) -> String {
        let mut out = String::new();
        // Writing into a string does not fail.
        let _ = write_plan(self, &mut out);
        out
    }
}

fn write_plan(plan: &Plan, out: &mut String) -> fmt::Result {
    writeln!(out, "pipeline {}", plan.name)?;
    for source in &plan.sources {
        write_source(source, out)?;
    }
    for table in &plan.tables {
        write_table(table, out)?;
    }
    for view in &plan.views {
        write_view(view, out)?;
    }
    for lookup in &plan.lookups {
        let key: Vec<&str> = lookup.key.iter().map(|k| k.name.as_str()).collect();
        writeln!(out, "\nlookup {} (version {})", lookup.name, lookup.version)?;
        writeln!(out, "  newest {} rows of {} per ({})", lookup.limit, lookup.table, key.join(", "))?;
        writeln!(out, "  retain speed: {}", forever(lookup.retain_speed))?;
    }
    for alert in &plan.alerts {
        let when = one_line(&alert.when.sql);
        writeln!(out, "\nalert {}\n  over {} windows of {} when {when}", alert.name, alert.on.name(), alert.view)?;
        let set = |value: &Option<String>| if value.is_some() { "set" } else { "none" };
        writeln!(out, "  webhook: {}, secret: {}", set(&alert.webhook), set(&alert.secret))?;
    }
    for output in &plan.outputs {
        write_output(plan, output, out)?;
    }
    for prediction in &plan.predictions {
        write_prediction(prediction, out)?;
    }
    for output in &plan.row_outputs {
        write_row_output(output, out)?;
    }
    for endpoint in &plan.endpoints {
        let by = endpoint.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
        writeln!(out, "\nendpoint {}\n  GET {}", endpoint.name, endpoint.path)?;
        writeln!(out, "  newest window of {}, up to {} rows{by}", endpoint.view, endpoint.limit)?;
    }
    for report in &plan.reports {
        write_report(report, out)?;
    }
    Ok(())
}

fn write_output(plan: &Plan, output: &OutputPlan, out: &mut String) -> fmt::Result {
    let view = plan.view(&output.view);
    let key: Vec<&str> = view.map_or_else(Vec::new, |view| {
        output.key.iter().filter_map(|at| view.key.get(*at)).map(|field| field.name.as_str()).collect()
    });
    writeln!(out, "\noutput {} to topic {}", output.name, output.topic)?;
    writeln!(out, "  {} partitions, kept {}", output.partitions, forever(output.retention))?;
    let Window { size, slide } = output.window;
    writeln!(out, "  closed windows of {} every {slide} of {}, record key ({})", size, output.view, key.join(", "))?;
    let Some(view) = view else { return Ok(()) };
    let columns = output.columns.iter().filter_map(|at| view.answer.get(*at));
    let mut fields: Vec<String> = view.key.iter().map(|field| format!("{} {}", field.name, field.ty)).collect();
    fields.extend(["window_start timestamp".to_owned(), "window_end timestamp".to_owned()]);
    fields.extend(columns.map(|field| format!("{} {}", field.name, field.ty)));
    writeln!(out, "  record {}", fields.join(", "))
}

fn write_prediction(prediction: &PredictionPlan, out: &mut String) -> fmt::Result {
    writeln!(out, "\nprediction {} to topic {}", prediction.name, prediction.topic)?;
    writeln!(out, "  {} partitions, kept {}", prediction.partitions, forever(prediction.retention))?;
    writeln!(out, "  {} of the next window of {}", prediction.target, prediction.view)?;
    let gap = prediction.gap_max.map_or_else(|| "however late".to_owned(), |gap| format!("at most {gap} later"));
    writeln!(
        out,
        "  compared with the next window, {gap}; {} windows kept of each of {} keys",
        prediction.buffer, prediction.keys_max
    )?;
    for model in &prediction.models {
        let learning = model.learning;
        writeln!(
            out,
            "  model {}: learning rate {}, l2 {}, intercept rate {}, gradient clipped at {}",
            model.version, learning.learning_rate, learning.l2, learning.intercept_rate, learning.clip_gradient
        )?;
        for feature in &model.features {
            writeln!(out, "    {} = {}", feature.name, feature.source)?;
        }
    }
    Ok(())
}

fn write_row_output(output: &RowOutputPlan, out: &mut String) -> fmt::Result {
    writeln!(out, "\noutput {} to topic {}", output.name, output.topic)?;
    writeln!(out, "  {} partitions, kept {}", output.partitions, forever(output.retention))?;
    let key: Vec<&str> = output.key.iter().map(|field| field.name.as_str()).collect();
    writeln!(out, "  rows of {} as they come, record key ({})", output.table, key.join(", "))?;
    let fields: Vec<String> = output.columns.iter().map(|field| format!("{} {}", field.name, field.ty)).collect();
    writeln!(out, "  record {}", fields.join(", "))
}

fn forever(span: Option<Span>) -> String {
    span.map_or_else(|| "for ever".to_owned(), |span| span.to_string())
}

fn write_source(source: &SourcePlan, out: &mut String) -> fmt::Result {
    writeln!(out, "\nsource {} (version {})", source.name, source.version)?;
    let start = if source.start == super::Start::Latest { "latest" } else { "earliest" };
    writeln!(
        out,
        "  topic {}, {} partitions, kept {}, read from {start}",
        source.topic,
        source.partitions,
        forever(source.retention)
    )?;
    for column in &source.columns {
        let required = if source.required.contains(&column.name) { " required" } else { "" };
        writeln!(out, "  column {} {}{required}", column.name, column.ty)?;
    }
    let format = match &source.event_time.format {
        TimeFormat::Rfc3339 => "rfc3339",
        TimeFormat::Pattern(pattern) => pattern,
        TimeFormat::EpochSeconds => "epoch_s",
        TimeFormat::EpochMillis => "epoch_ms",
        TimeFormat::EpochMicros => "epoch_us",
    };
    writeln!(out, "  event time {} as {format}", source.event_time.column)?;
    writeln!(
        out,
        "  lateness {}, max ahead {}, idle after {}",
        source.lateness,
        source.max_ahead.map_or_else(|| "anything".to_owned(), |s| s.to_string()),
        source.idle_after
    )?;
    if let Some(kept) = source.retain_bronze {
        writeln!(out, "  Bronze kept {kept}")?;
    }
    for (what, sql) in [("key", &source.key), ("dedupe", &source.dedupe)] {
        if let Some(sql) = sql {
            writeln!(out, "  {what} {}", one_line(sql))?;
        }
    }
    for check in &source.checks {
        writeln!(out, "  check {}: {}", check.name, one_line(&check.sql))?;
    }
    Ok(())
}

fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn write_table(table: &TablePlan, out: &mut String) -> fmt::Result {
    writeln!(out, "\ntable {} from {} (version {})", table.name, table.source, table.version)?;
    writeln!(out, "  SELECT event_time")?;
    for column in &table.columns {
        let sql = one_line(&column.sql);
        let sql = if column.unnest { format!("UNNEST({sql})") } else { sql };
        writeln!(out, "       , {sql} AS {}  -- {}", column.name, column.ty)?;
    }
    writeln!(out, "  FROM {}", table.source)?;
    if let Some(filter) = &table.filter {
        writeln!(out, "  WHERE {}", one_line(filter))?;
    }
    let hive: String = table.partition_by.iter().flat_map(|column| [column.as_str(), "=…/"]).collect();
    let kept = table.retain_silver.map_or_else(String::new, |kept| format!(", kept {kept}"));
    writeln!(out, "  Silver: silver/{}/{hive}<run>-<n>.parquet{kept}", table.name)
}

fn write_view(view: &ViewPlan, out: &mut String) -> fmt::Result {
    writeln!(out, "\nview {} (version {})", view.name, view.version)?;
    let key: Vec<String> = view.key.iter().map(|k| format!("{} {}", k.name, k.ty)).collect();
    writeln!(out, "  key ({})", key.join(", "))?;
    let (size, slide) = (view.window.size, view.window.slide);
    let panes = size.0 / view.pane.0.max(1);
    let plural = if panes == 1 { "" } else { "s" };
    writeln!(out, "  window {size} every {slide}, of {panes} pane{plural} of {}", view.pane)?;
    writeln!(out, "  retain speed: {}, batch: {}", forever(view.retain_speed), forever(view.retain_batch))?;
    if !view.top.is_empty() {
        writeln!(out, "  top by {}", view.top.join(", "))?;
    }
    writeln!(out, "  states")?;
    for field in &view.fields {
        writeln!(out, "    {} {} = {} of {}", field.name, state_type(field), field.rule.name(), contribution(field))?;
    }
    writeln!(out, "  measures")?;
    for measure in &view.measures {
        let states: Vec<&str> =
            measure.states.iter().filter_map(|at| view.fields.get(*at)).map(|f| f.name.as_str()).collect();
        writeln!(
            out,
            "    {} {} = {} over {} from {}",
            measure.name,
            measure.ty,
            measure.sql,
            measure.table,
            states.join(", ")
        )?;
    }
    if !view.columns.is_empty() {
        writeln!(out, "  formulas")?;
        for column in &view.columns {
            writeln!(out, "    {} {} = {}", column.name, column.ty, one_line(&column.formula.sql))?;
        }
    }
    let answer: Vec<String> = view.answer.iter().map(|f| format!("{} {}", f.name, f.ty)).collect();
    writeln!(out, "  answer: {}", answer.join(", "))?;
    writeln!(out, "  speed rows")?;
    write_store(view, true, out)?;
    writeln!(out, "  gold rows")?;
    write_store(view, false, out)
}

/// The columns that a store holds, with neutral types.
fn write_store(view: &ViewPlan, speed: bool, out: &mut String) -> fmt::Result {
    let mut columns: Vec<(String, String)> = view.key.iter().map(|k| (k.name.clone(), k.ty.to_string())).collect();
    columns.push(("pane".into(), "timestamp".into()));
    let mut key: Vec<&str> = view.key.iter().map(|k| k.name.as_str()).collect();
    key.push("pane");
    if speed {
        columns.extend([("source".into(), "string".into()), ("partition".into(), "int".into())]);
        key.extend(["source", "partition"]);
    }
    for field in &view.fields {
        columns.push((field.name.clone(), state_type(field)));
        if matches!(field.rule, Rule::First | Rule::Last) {
            columns.push((format!("{}__time", field.name), "timestamp".into()));
            columns.push((format!("{}__sequence", field.name), "int".into()));
        }
    }
    for (name, ty) in columns {
        writeln!(out, "    {name} {ty}")?;
    }
    writeln!(out, "    PRIMARY KEY ({})", key.join(", "))
}

fn state_type(field: &StateField) -> String {
    match field.rule {
        Rule::MapSum | Rule::MapMax => format!("map({}, int)", field.ty),
        _ => field.ty.to_string(),
    }
}

fn contribution(field: &StateField) -> String {
    let argument = one_line(field.argument.as_deref().unwrap_or("row"));
    let what = match field.input {
        Input::One => "1 per row".to_owned(),
        Input::NotNull => format!("1 per {argument} that is not null"),
        Input::IsTrue => format!("1 per row where {argument}"),
        Input::Value if field.ty == Type::Float && field.rule == Rule::Sum => format!("{argument} as float"),
        Input::Value => argument,
        Input::Square => format!("{argument} squared"),
        Input::Bucket => format!("bucket({argument}) → 1"),
        Input::Register => format!("register({argument}) → rank"),
        Input::Category => format!("{argument} → 1"),
    };
    format!("{what} in {}", field.table)
}

fn write_report(report: &ReportPlan, out: &mut String) -> fmt::Result {
    writeln!(out, "\nreport {} from {} (version {})", report.name, report.from, report.version)?;
    writeln!(out, "  reads {}", report.inputs.join(", "))?;
    for (number, step) in report.steps.iter().enumerate() {
        write!(out, "  {}. ", number + 1)?;
        match step {
            Step::Sql { sql } => writeln!(out, "sql {}", one_line(sql))?,
            Step::Rolling { column, agg, rows, over, order_by, output } => writeln!(
                out,
                "rolling {output} = {agg}({column}) over the last {rows} rows of ({}) by {order_by}",
                over.join(", ")
            )?,
            Step::Pivot { on, index, values, agg, columns, prefix } => writeln!(
                out,
                "pivot {agg}({values}) per ({}) of {on} in {} as {prefix}…",
                index.join(", "),
                columns.join(", ")
            )?,
            Step::Join { with, on, time, how, suffix: _, left_time, right_time } => {
                let on: Vec<String> = on.iter().map(|(l, r)| format!("{l} = {with}.{r}")).collect();
                let time = match time {
                    JoinTime::Any => String::new(),
                    JoinTime::Interval { before, after } => {
                        format!(" and {with}.{right_time} in [{left_time} − {before}, {left_time} + {after}]")
                    }
                    JoinTime::AsOf { within } => {
                        let within = within.map_or_else(String::new, |w| format!(", at most {w} before"));
                        format!(" as of {with}.{right_time} ≤ {left_time}{within}")
                    }
                };
                writeln!(out, "{how} join {with} on {}{time}", on.join(" and "))?;
            }
        }
    }
    if !report.order_by.is_empty() {
        writeln!(out, "  ClickHouse ORDER BY ({})", report.order_by.join(", "))?;
    }
    Ok(())
}
