//! What is done to the records of one source: its transforms and views, compiled once, shared by its shards.

use std::sync::Arc;

use tideline_common::changes;
use tideline_common::plan::{Plan, RowOutputPlan, SourcePlan};
use tideline_common::ports::{LookupSchema, ViewSchema};
use tideline_common::window::Window;
use tideline_transform::{RowJson, SourceTransform, TransformError, ViewTransform};

use crate::dedupe::Horizon;

/// A table of the source, with what its rows go to.
#[derive(Debug)]
pub(crate) struct TableProgram {
    pub(crate) name: String,
    /// Indexes in [`Program::views`].
    pub(crate) views: Vec<usize>,
    /// Indexes in [`Program::lookups`].
    pub(crate) lookups: Vec<usize>,
    /// Indexes in [`Program::outputs`].
    pub(crate) outputs: Vec<usize>,
}

/// An output that rows of the source go to.
#[derive(Debug)]
pub(crate) struct OutputProgram {
    pub(crate) plan: RowOutputPlan,
    pub(crate) json: Arc<RowJson>,
}

/// A view that rows of the source go to.
#[derive(Debug)]
pub(crate) struct ViewProgram {
    pub(crate) schema: ViewSchema,
    pub(crate) window: Window,
    pub(crate) transform: ViewTransform,
    /// The topic of its changes, if anyone wants them.
    pub(crate) changes: Option<String>,
    /// Whether somebody waits for its windows to close, and must hear of every shard.
    pub(crate) closes: bool,
}

/// What is done to the records of one source.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) source: SourcePlan,
    pub(crate) transform: SourceTransform,
    pub(crate) tables: Vec<TableProgram>,
    pub(crate) views: Vec<ViewProgram>,
    pub(crate) lookups: Vec<LookupSchema>,
    pub(crate) outputs: Vec<OutputProgram>,
    pub(crate) horizon: Horizon,
    /// [`Plan::version_of`] the source: states of another fingerprint are of another meaning.
    pub(crate) fingerprint: String,
}

impl Program {
    /// Compiles what `plan` does to the records of `source`.
    pub(crate) fn new(plan: &Plan, source: &SourcePlan) -> Result<Self, TransformError> {
        let (mut tables, mut views) = (Vec::new(), Vec::<ViewProgram>::new());
        let (mut lookups, mut outputs) = (Vec::new(), Vec::new());
        for table in plan.tables_of(&source.name) {
            let mut program =
                TableProgram { name: table.name.clone(), views: Vec::new(), lookups: Vec::new(), outputs: Vec::new() };
            for view in plan.views_of(&table.name) {
                let at = if let Some(at) = views.iter().position(|v| v.schema.name == view.name) {
                    at
                } else {
                    views.push(ViewProgram {
                        schema: ViewSchema::from(view),
                        window: view.window,
                        transform: ViewTransform::new(plan, &view.name)?,
                        changes: changes::wanted(plan, view).then(|| changes::topic(&view.name)),
                        closes: plan.closes(&view.name),
                    });
                    views.len() - 1
                };
                program.views.push(at);
            }
            for lookup in plan.lookups_of(&table.name) {
                program.lookups.push(lookups.len());
                lookups.push(LookupSchema::from(lookup));
            }
            for output in plan.row_outputs_of(&table.name) {
                program.outputs.push(outputs.len());
                outputs.push(OutputProgram { plan: output.clone(), json: Arc::new(RowJson::new(output)) });
            }
            tables.push(program);
        }
        let mut program = Self {
            source: source.clone(),
            transform: SourceTransform::new(plan, &source.name)?,
            horizon: Horizon::new(source, views.iter().map(|view| view.window)),
            tables,
            views,
            lookups,
            outputs,
            fingerprint: plan.version_of(&source.name),
        };
        program.drop_idle_tables();
        Ok(program)
    }

    /// Drops the tables whose rows go nowhere in this layer: they are batch's alone, and need not be made.
    fn drop_idle_tables(&mut self) {
        let goes =
            |table: &TableProgram| !table.views.is_empty() || !table.lookups.is_empty() || !table.outputs.is_empty();
        self.tables.retain(goes);
    }

    /// The same without what is told to others: topics of changes, and rows as they come.
    pub(crate) fn untold(mut self) -> Self {
        for view in &mut self.views {
            view.changes = None;
        }
        for table in &mut self.tables {
            table.outputs.clear();
        }
        self.outputs.clear();
        self.drop_idle_tables();
        self
    }
}
