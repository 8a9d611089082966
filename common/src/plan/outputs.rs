//! Outputs: topics that closed windows, or rows, go to.

use std::collections::{BTreeSet, VecDeque};

use super::compile::{Compiler, Rows};
use super::{EVENT_TIME, Field, OutputPlan, Plan, RowOutputPlan, TablePlan, ViewPlan};
use crate::definition::{self, Text};
use crate::ports::TopicSpec;
use crate::window::{Window, WindowError};

/// Compiles an output into the plan, which has the views, tables and sources already, and the outputs before it. One with
/// mistakes that leave nothing to say is left out.
pub(super) fn output(compiler: &mut Compiler<'_>, output: &definition::Output, plan: &mut Plan) {
    if let Some(topic) = &output.topic {
        let of_views = plan.outputs.iter().map(|other| (&other.name, &other.topic));
        let mut others = of_views.chain(plan.row_outputs.iter().map(|other| (&other.name, &other.topic)));
        if let Some((other, _)) = others.find(|(_, written)| **written == topic.value) {
            compiler.error(topic, format!("output `{other}` writes to the topic `{}` already", topic.value));
        }
    }
    if output.view.is_some() {
        let compiled = of_view(compiler, output, plan);
        plan.outputs.extend(compiled);
    } else {
        let compiled = of_table(compiler, output, plan);
        plan.row_outputs.extend(compiled);
    }
}

fn of_view(compiler: &mut Compiler<'_>, output: &definition::Output, plan: &Plan) -> Option<OutputPlan> {
    let view = compiler.find(output.view.as_ref()?, "view", &plan.views, |view| &view.name)?;
    let of = format!("view `{}`", view.name);
    if let Some(topic) = &output.topic {
        check_way_back(compiler, topic, &of, &view.sources, plan);
    }
    let window = window(compiler, output, view);
    let rows = |fields: &[Field]| Rows {
        name: view.name.clone(),
        columns: fields.iter().map(|field| (field.name.clone(), Some(field.ty))).collect(),
        complete: true,
    };
    let mut key: Vec<usize> = (0..view.key.len()).collect();
    if let Some(names) = &output.key {
        let known = rows(&view.key);
        key.clear();
        for name in names {
            compiler.column(name, &known, &format!("the key of {of}"));
            key.extend(view.key.iter().position(|field| field.name == name.value));
        }
    }
    let mut columns: Vec<usize> = (0..view.answer.len()).collect();
    if let Some(names) = &output.columns {
        let known = rows(&view.answer);
        columns.clear();
        for name in names {
            compiler.column(name, &known, &of);
            columns.extend(view.answer.iter().position(|field| field.name == name.value));
        }
    }
    Some(OutputPlan {
        name: output.name.value.clone(),
        view: view.name.clone(),
        topic: output.topic.as_ref()?.value.clone(),
        key,
        window,
        columns,
        partitions: output.partitions,
        retention: output.retention,
    })
}

fn of_table(compiler: &mut Compiler<'_>, output: &definition::Output, plan: &Plan) -> Option<RowOutputPlan> {
    let table = compiler.find(output.table.as_ref()?, "table", &plan.tables, |table| &table.name)?;
    let of = format!("table `{}`", table.name);
    if let Some(topic) = &output.topic {
        check_way_back(compiler, topic, &of, std::slice::from_ref(&table.source), plan);
    }
    let known = compiler.tables.iter().find(|rows| rows.name == table.name).cloned()?;
    let mut named = |names: &[Text]| -> Vec<Field> {
        let mut fields = Vec::with_capacity(names.len());
        for name in names {
            compiler.column(name, &known, &of);
            // The type of a column with a mistake is a guess, as everywhere: there is no plan then.
            fields.extend(table.type_of(&name.value).map(|ty| Field { name: name.value.clone(), ty }));
        }
        fields
    };
    let key = output.key.as_ref().map(|names| named(names));
    let columns = output.columns.as_ref().map(|names| named(names));
    let event_time = Field { name: EVENT_TIME.to_owned(), ty: crate::value::Type::Timestamp };
    let mut columns = columns.unwrap_or_else(|| {
        table.columns.iter().map(|column| Field { name: column.name.clone(), ty: column.ty }).collect()
    });
    // Where it is named, or first.
    if !columns.iter().any(|field| field.name == EVENT_TIME) {
        columns.insert(0, event_time);
    }
    Some(RowOutputPlan {
        name: output.name.value.clone(),
        table: table.name.clone(),
        source: table.source.clone(),
        topic: output.topic.as_ref()?.value.clone(),
        key: key.unwrap_or_else(|| source_key(plan, table).into_iter().collect()),
        columns,
        partitions: output.partitions,
        retention: output.retention,
    })
}

/// The column of a table that is the key of its source, as it is.
fn source_key(plan: &Plan, table: &TablePlan) -> Option<Field> {
    let plain = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let key = plain(plan.source(&table.source)?.key.as_deref()?);
    let column = table.columns.iter().find(|column| !column.unnest && plain(&column.sql) == key)?;
    Some(Field { name: column.name.clone(), ty: column.ty })
}

/// Reports when what is written to `topic` comes back to one of the sources that it is made from.
fn check_way_back(compiler: &mut Compiler<'_>, topic: &Text, of: &str, sources: &[String], plan: &Plan) {
    let Some(way) = way_back(plan, &topic.value, sources) else { return };
    let made = format!("{of} is made from `{}`, which source `{}` reads", way.topic, way.source);
    let message = if way.through.is_empty() {
        made
    } else {
        let through: Vec<String> = way.through.iter().map(|output| format!("`{output}`")).collect();
        format!("{made}, and `{}` comes there by way of {}", topic.value, through.join(", "))
    };
    compiler.findings.add(&topic.place, message, Some("what it writes would come back to it for ever".into()));
}

/// How what is written to a topic comes back to where it is from.
pub(super) struct WayBack {
    /// The source that reads it then.
    pub(super) source: String,
    /// The topic that this source reads.
    topic: String,
    /// The outputs on the way, in order.
    pub(super) through: Vec<String>,
}

/// The shortest way from `topic` to one of `sources`, over the outputs of the plan.
pub(super) fn way_back(plan: &Plan, topic: &str, sources: &[String]) -> Option<WayBack> {
    let mut waiting = VecDeque::from([(topic, Vec::new())]);
    let mut seen = BTreeSet::from([topic]);
    while let Some((topic, through)) = waiting.pop_front() {
        for source in plan.sources.iter().filter(|source| source.topic == topic) {
            if sources.contains(&source.name) {
                return Some(WayBack { source: source.name.clone(), topic: topic.to_owned(), through });
            }
            for (output, to, from) in written(plan) {
                if from.contains(&source.name) && seen.insert(to) {
                    let mut through = through.clone();
                    through.push(output.to_owned());
                    waiting.push_back((to, through));
                }
            }
        }
    }
    None
}

/// Every output: its name, its topic, and the sources that it is made from.
pub(super) fn written(plan: &Plan) -> impl Iterator<Item = (&str, &str, &[String])> {
    let sources = |view: &str| plan.view(view).map_or(&[][..], |view| view.sources.as_slice());
    let of_views =
        plan.outputs.iter().map(move |output| (output.name.as_str(), output.topic.as_str(), sources(&output.view)));
    let of_predictions =
        plan.predictions.iter().map(move |to| (to.name.as_str(), to.topic.as_str(), sources(&to.view)));
    let of_tables = plan.row_outputs.iter();
    of_views.chain(of_predictions).chain(
        of_tables.map(|output| (output.name.as_str(), output.topic.as_str(), std::slice::from_ref(&output.source))),
    )
}

impl Plan {
    /// The topics of all outputs and predictions, as they are made where they are missing. One that a source reads is not among them: it is
    /// made as the source says.
    pub fn output_topics(&self) -> Vec<TopicSpec> {
        let of_views = self.outputs.iter().map(|output| (&output.topic, output.partitions, output.retention));
        let of_tables = self.row_outputs.iter().map(|output| (&output.topic, output.partitions, output.retention));
        let predictions = self.predictions.iter().map(|to| (&to.topic, to.partitions, to.retention));
        let ours = of_views
            .chain(predictions)
            .chain(of_tables)
            .filter(|(topic, ..)| !self.sources.iter().any(|s| s.topic == **topic));
        ours.map(|(topic, partitions, retention)| TopicSpec {
            name: topic.clone(),
            partitions,
            retention,
            max_bytes: None,
        })
        .collect()
    }

    /// The outputs that take the rows of `table`.
    pub fn row_outputs_of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a RowOutputPlan> {
        self.row_outputs.iter().filter(move |output| output.table == table)
    }
}

/// The window: one of the view's panes.
fn window(compiler: &mut Compiler<'_>, output: &definition::Output, view: &ViewPlan) -> Window {
    let Some(size) = &output.size else { return view.window };
    let slide = output.slide.as_ref().unwrap_or(size);
    let made = Window::new(size.value, slide.value).and_then(|window| window.check_panes(view.pane).map(|()| window));
    let error = match made {
        Ok(window) => {
            if let Some(kept) = view.retain_speed.filter(|kept| *kept < window.size) {
                let message = format!("view `{}` keeps states for {kept}, shorter than this window", view.name);
                compiler.findings.error(&size.place, message);
            }
            return window;
        }
        Err(error) => error,
    };
    let of_size = match error {
        WindowError::NotPositive => size.value.0 <= 0,
        WindowError::NotOfPanes { span, .. } => span == size.value,
        WindowError::TooManyPanes { .. } => true,
        WindowError::Gap { .. } => false,
    };
    let place = if of_size { &size.place } else { &slide.place };
    let help = format!("view `{}` has panes of {}", view.name, view.pane);
    compiler.findings.add(place, error.to_string(), Some(help));
    view.window
}
