//! What is done to the records of one source: its transforms and views, compiled once, shared by its shards.

use tideline_common::changes;
use tideline_common::plan::{Plan, SourcePlan};
use tideline_common::ports::{LookupSchema, ViewSchema};
use tideline_common::window::Window;
use tideline_transform::{SourceTransform, TransformError, ViewTransform};

use crate::dedupe::Horizon;

/// A table of the source, with what its rows go to.
#[derive(Debug)]
pub(crate) struct TableProgram {
    pub(crate) name: String,
    /// Indexes in [`Program::views`].
    pub(crate) views: Vec<usize>,
    /// Indexes in [`Program::lookups`].
    pub(crate) lookups: Vec<usize>,
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
    pub(crate) horizon: Horizon,
    /// [`Plan::version_of`] the source: states of another fingerprint are of another meaning.
    pub(crate) fingerprint: String,
}

impl Program {
    /// Compiles what `plan` does to the records of `source`.
    pub(crate) fn new(plan: &Plan, source: &SourcePlan) -> Result<Self, TransformError> {
        let (mut tables, mut views, mut lookups) = (Vec::new(), Vec::<ViewProgram>::new(), Vec::new());
        for table in plan.tables_of(&source.name) {
            let mut program = TableProgram { name: table.name.clone(), views: Vec::new(), lookups: Vec::new() };
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
            // Rows that go nowhere in this layer are batch's alone: they need not be made.
            if !program.views.is_empty() || !program.lookups.is_empty() {
                tables.push(program);
            }
        }
        Ok(Self {
            source: source.clone(),
            transform: SourceTransform::new(plan, &source.name)?,
            horizon: Horizon::new(source, views.iter().map(|view| view.window)),
            tables,
            views,
            lookups,
            fingerprint: plan.version_of(&source.name),
        })
    }
}
