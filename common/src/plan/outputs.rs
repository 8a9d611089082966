//! Outputs: topics that closed windows go to.

use super::compile::{Compiler, Rows};
use super::{OutputPlan, Plan, ViewPlan};
use crate::definition;
use crate::window::{Window, WindowError};

/// Compiles an output; views and sources are in `plan`. `None` when it has mistakes that leave nothing to say.
pub(super) fn output(compiler: &mut Compiler<'_>, output: &definition::Output, plan: &Plan) -> Option<OutputPlan> {
    let topic = output.topic.as_ref();
    if let Some(topic) = topic
        && let Some(other) = plan.outputs.iter().find(|other| other.topic == topic.value)
    {
        let message = format!("output `{}` writes to the topic `{}` already", other.name, topic.value);
        compiler.error(topic, message);
    }
    let view = compiler.find(output.view.as_ref()?, "view", &plan.views, |view| &view.name)?;
    if let Some(topic) = topic {
        let reads = |name: &&String| plan.source(name).is_some_and(|source| source.topic == topic.value);
        if let Some(source) = view.sources.iter().find(reads) {
            let message = format!("view `{}` is made from `{}`, which source `{source}` reads", view.name, topic.value);
            compiler.findings.add(&topic.place, message, Some("what it writes would come back to it for ever".into()));
        }
    }
    let window = window(compiler, output, view);
    let of = format!("view `{}`", view.name);
    let rows = |fields: &[super::Field]| Rows {
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
        topic: topic?.value.clone(),
        key,
        window,
        columns,
        partitions: output.partitions,
        retention: output.retention,
    })
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
