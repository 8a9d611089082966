//! Which engine makes a view's states: Polars in this process, or a database near the lake.
//!
//! The database computes states only; what it answers (as many rows as a range has groups, in bounded pieces of
//! files) is merged, sorted and written here, exactly as the states that Polars makes. So both write the same Gold,
//! and every write goes through the object store's conditional puts; the rows of Silver never come here.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;
use std::sync::Arc;

use polars::prelude::{DataFrame, ParquetReader, SerReader};
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::{SqlEngine, ViewSchema};
use tideline_common::state::{StateBatch, StateColumn, StateTable};
use tideline_common::time::Timestamp;
use tideline_transform::frame;

use crate::context::Context;
use crate::error::BatchError;
use crate::lake;
use crate::sql::{self, Statement, Unsupported, ViewSql};

/// Which engine made a view's Gold in a run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "engine")]
pub enum GoldEngine {
    /// Polars.
    Polars {
        /// Why not the database that is configured; `None` when there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A database.
    Sql {
        /// Its name.
        name: String,
    },
}

/// A database with the statements of each view.
#[derive(Debug)]
pub(crate) struct SqlViews {
    engine: Arc<dyn SqlEngine>,
    views: BTreeMap<String, Result<ViewSql, Unsupported>>,
}

impl SqlViews {
    pub(crate) fn new(plan: &Plan, engine: Arc<dyn SqlEngine>) -> Self {
        let mut views = BTreeMap::new();
        for view in &plan.views {
            let compiled = sql::compile(plan, view);
            if let Err(unsupported) = &compiled {
                tracing::warn!(view = view.name, engine = engine.name(), %unsupported, "the view stays with Polars");
            }
            views.insert(view.name.clone(), compiled);
        }
        Self { engine, views }
    }

    /// Which engine makes `view`.
    pub(crate) fn choice(&self, view: &str) -> GoldEngine {
        match self.views.get(view) {
            Some(Ok(_)) => GoldEngine::Sql { name: self.engine.name().to_owned() },
            Some(Err(unsupported)) => GoldEngine::Polars { reason: Some(unsupported.to_string()) },
            None => GoldEngine::Polars { reason: Some("the plan has no such view".to_owned()) },
        }
    }

    /// The statements of `view`, if it has some and the database holds all times of `range`.
    pub(crate) fn statements(&self, view: &str, range: &Range<Timestamp>) -> Option<&[Statement]> {
        let holds = range.start >= sql::TIMES.start && range.end <= sql::TIMES.end;
        match self.views.get(view) {
            Some(Ok(compiled)) if holds => Some(&compiled.statements),
            _ => None,
        }
    }

    /// Merges the states that `statement` makes of `files` into `table`.
    pub(crate) async fn states(
        &self,
        context: &Context,
        view: &ViewPlan,
        statement: &Statement,
        files: &[&str],
        range: &Range<Timestamp>,
        table: &mut StateTable,
    ) -> Result<(), BatchError> {
        let filter = sql::within(range.start, range.end);
        for files in files.chunks(self.engine.max_files().max(1)) {
            context.check()?;
            let source = self.engine.table(files, &statement.structure)?;
            let answer = self.engine.query(&statement.sql(&source, &filter)).await?;
            let (view, fields) = (view.clone(), statement.fields.clone());
            let states = lake::blocking(move || {
                let frame = ParquetReader::new(Cursor::new(answer)).finish();
                widen(&view, &fields, &frame.map_err(BatchError::frame(format!("states of {}", view.name)))?)
            })
            .await?;
            table.merge(&states);
        }
        Ok(())
    }
}

/// The states of `fields` in `frame` as states of the whole view: the identity in all others.
fn widen(view: &ViewPlan, fields: &[usize], frame: &DataFrame) -> Result<StateBatch, BatchError> {
    let mut part = ViewSchema::from(view);
    part.fields = fields.iter().filter_map(|index| view.fields.get(*index)).cloned().collect();
    let read = frame::frame_to_states(&part, frame)?;
    let groups = read.len();
    let mut found: BTreeMap<usize, StateColumn> = fields.iter().copied().zip(read.states).collect();
    let mut states = Vec::with_capacity(view.fields.len());
    for (index, field) in view.fields.iter().enumerate() {
        states.push(found.remove(&index).unwrap_or_else(|| {
            let mut column = StateColumn::new(field);
            for _ in 0..groups {
                column.push_identity();
            }
            column
        }));
    }
    Ok(StateBatch { keys: read.keys, panes: read.panes, states })
}
