//! Rows of tables to partial states of a view.

use std::sync::mpsc::sync_channel;

use polars::prelude::{DataFrame, Engine, LazyFrame, PlanCallback, col};
use tideline_common::column::Column;
use tideline_common::plan::{EVENT_TIME, Field, Plan, TablePlan, ViewPlan};
use tideline_common::state::{Input, Rule, StateBatch, StateField};
use tideline_common::time::{Span, Timestamp};
use tideline_common::value::Type;
use tideline_common::watermark::is_late;
use tideline_common::window::Window;

use crate::expression::{self, Output, Program};
use crate::fold::{Groups, Rows, Taker};
use crate::types::column_from_series;
use crate::{HIGHEST, SEQUENCE, TransformError};

/// Batches that a scan may be ahead of the fold.
const BATCHES_AHEAD: usize = 2;

/// Partial states of a micro-batch in the speed layer.
#[derive(Clone, Debug)]
pub struct SpeedStates {
    /// States of the rows that are on time.
    pub on_time: StateBatch,
    /// Rows per (key, pane) that are late: one integer `sum`.
    pub late: StateBatch,
}

/// The lowering of one view: its states, compiled once.
#[derive(Debug)]
pub struct ViewTransform {
    key: Vec<Field>,
    window: Window,
    pane: Span,
    fields: Vec<StateField>,
    tables: Vec<TableLowering>,
}

/// What a view takes from one table.
#[derive(Debug)]
struct TableLowering {
    table: String,
    lateness: Span,
    program: Program,
    arguments: Vec<Type>,
    takers: Vec<Taker>,
    /// The columns of the table that all this needs.
    used: Vec<String>,
}

impl ViewTransform {
    /// Compiles the view `view` of `plan`.
    ///
    /// # Errors
    /// When the plan has no such view, or an expression cannot be run.
    pub fn new(plan: &Plan, view: &str) -> Result<Self, TransformError> {
        let view = plan.view(view).ok_or_else(|| TransformError::unknown("view", view))?;
        let tables = view.tables.iter().map(|table| TableLowering::new(plan, view, table));
        Ok(Self {
            key: view.key.clone(),
            window: view.window,
            pane: view.pane,
            fields: view.fields.clone(),
            tables: tables.collect::<Result<Vec<_>, _>>()?,
        })
    }

    /// Partial states of rows of `table`: one row per (key, pane), all fields of the view, the identity in those
    /// of other tables.
    ///
    /// # Errors
    /// When the view has no measure over `table`, or the rows lack a column.
    pub fn states(&self, table: &str, rows: &DataFrame) -> Result<StateBatch, TransformError> {
        let lowering = self.lowering(table)?;
        let rows = lowering.rows(&self.key, rows)?;
        let mut groups = Groups::new(&self.fields, self.pane, rows.times.len());
        groups.fold(&rows, &lowering.takers);
        Ok(groups.into_batch())
    }

    /// As [`states`](Self::states), rows split by lateness: a row is late when no window that holds it was open
    /// before its record came. Rows need the column [`crate::HIGHEST`].
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn speed_states(&self, table: &str, rows: &DataFrame) -> Result<SpeedStates, TransformError> {
        let lowering = self.lowering(table)?;
        let fields = [late_field(table)];
        let mut late_groups = Groups::new(&fields, self.pane, 0);
        let late = self.late(lowering.lateness, rows)?;
        if !late.contains(&true) {
            return Ok(SpeedStates { on_time: self.states(table, rows)?, late: late_groups.into_batch() });
        }
        let mask = |wanted: bool| late.iter().map(|late| *late == wanted).collect();
        let on_time = self.states(table, &rows.filter(&mask(false))?)?;
        let late = rows.filter(&mask(true))?;
        let keys = keys(&self.key, &late)?;
        let rows = Rows { keys, times: times(&late)?, sequences: Vec::new(), arguments: Vec::new() };
        late_groups.fold(&rows, &[Taker { field: 0, input: Input::One, ty: Type::Int, argument: None }]);
        Ok(SpeedStates { on_time, late: late_groups.into_batch() })
    }

    /// As [`states`](Self::states), over a scan that need not fit into memory (the states must).
    ///
    /// # Errors
    /// As [`states`](Self::states), and when the scan fails.
    pub fn states_lazy(&self, table: &str, rows: LazyFrame) -> Result<StateBatch, TransformError> {
        let lowering = self.lowering(table)?;
        let used: Vec<_> = lowering.used.iter().map(|name| col(name.as_str())).collect();
        let mut groups = Groups::new(&self.fields, self.pane, 0);
        let (sender, batches) = sync_channel(BATCHES_AHEAD);
        // A receiver that is gone stops the scan.
        let send = PlanCallback::new(move |batch: DataFrame| Ok(sender.send(batch).is_err()));
        // In order, so that sums of floats are the same in every run.
        let scan = rows.select(used).sink_batches(send, true, None)?;
        std::thread::scope(|scope| {
            let scan = scope.spawn(move || scan.collect_with_engine(Engine::Streaming).map(|_| ()));
            let folded = batches.into_iter().try_for_each(|batch| {
                groups.fold(&lowering.rows(&self.key, &batch)?, &lowering.takers);
                Ok::<(), TransformError>(())
            });
            let scanned = scan.join().map_err(|_| TransformError::frame(table, "the scan panicked"))?;
            folded.and(scanned.map_err(TransformError::from))
        })?;
        Ok(groups.into_batch())
    }

    fn lowering(&self, table: &str) -> Result<&TableLowering, TransformError> {
        let found = self.tables.iter().find(|lowering| lowering.table == table);
        found.ok_or_else(|| TransformError::unknown("measure over table", table))
    }

    fn late(&self, lateness: Span, rows: &DataFrame) -> Result<Vec<bool>, TransformError> {
        let highest = integers(HIGHEST, rows)?;
        let late = |(time, highest): (i64, i64)| {
            let (time, highest) = (Timestamp(time), Timestamp(highest));
            // A window ends after every time that it holds: most rows need no more than this.
            time.plus(lateness) < highest && is_late(self.window, time, highest, lateness)
        };
        Ok(times(rows)?.into_iter().zip(highest).map(late).collect())
    }
}

/// The one field of late counts.
fn late_field(table: &str) -> StateField {
    StateField {
        name: "late".to_owned(),
        rule: Rule::Sum,
        ty: Type::Int,
        input: Input::One,
        table: table.to_owned(),
        argument: None,
    }
}

impl TableLowering {
    fn new(plan: &Plan, view: &ViewPlan, table: &str) -> Result<Self, TransformError> {
        let table = plan.table(table).ok_or_else(|| TransformError::unknown("table", table))?;
        let source = plan.source(&table.source).ok_or_else(|| TransformError::unknown("source", &table.source))?;
        let columns = table_fields(table);
        let mut sqls: Vec<&str> = Vec::new();
        let mut takers = Vec::new();
        for (field, state) in view.fields.iter().enumerate().filter(|(_, state)| state.table == table.name) {
            let argument = state.argument.as_deref().map(|sql| {
                sqls.iter().position(|known| *known == sql).unwrap_or_else(|| {
                    sqls.push(sql);
                    sqls.len() - 1
                })
            });
            takers.push(Taker { field, input: state.input, ty: state.ty, argument });
        }
        let what = format!("view `{}`", view.name);
        let type_of = |sql: &&str| {
            expression::type_of(sql, &columns).map_err(|error| TransformError::Expression {
                what: format!("{what}, `{sql}`"),
                message: error.message,
            })
        };
        let arguments = sqls.iter().map(type_of).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = (0..sqls.len()).map(|index| format!("_argument_{index}")).collect();
        let outputs: Vec<Output<'_>> =
            sqls.iter().zip(&arguments).zip(&names).map(|((sql, ty), name)| Output { name, sql, ty: *ty }).collect();
        let mut used: Vec<String> = [EVENT_TIME, SEQUENCE].map(str::to_owned).to_vec();
        used.extend(view.key.iter().map(|field| field.name.clone()));
        used.extend(sqls.iter().flat_map(|sql| expression::columns_used(sql, &columns)));
        used.sort();
        used.dedup();
        let program = Program::new(&what, &outputs, &columns)?;
        Ok(Self { table: table.name.clone(), lateness: source.lateness, program, arguments, takers, used })
    }

    fn rows(&self, key: &[Field], rows: &DataFrame) -> Result<Rows, TransformError> {
        let arguments = self.program.evaluate(rows)?;
        let arguments = arguments.iter().zip(&self.arguments).map(|(column, ty)| column_from_series(column, *ty));
        Ok(Rows {
            keys: keys(key, rows)?,
            times: times(rows)?,
            sequences: integers(SEQUENCE, rows)?,
            arguments: arguments.collect::<Result<Vec<_>, _>>()?,
        })
    }
}

/// The columns that expressions over a table may use.
fn table_fields(table: &TablePlan) -> Vec<Field> {
    let mut fields: Vec<Field> =
        table.columns.iter().map(|column| Field { name: column.name.clone(), ty: column.ty }).collect();
    fields.push(Field { name: EVENT_TIME.to_owned(), ty: Type::Timestamp });
    fields
}

fn keys(key: &[Field], rows: &DataFrame) -> Result<Vec<Column>, TransformError> {
    key.iter().map(|field| column_from_series(rows.column(&field.name)?, field.ty)).collect()
}

fn times(rows: &DataFrame) -> Result<Vec<i64>, TransformError> {
    let times = rows.column(EVENT_TIME)?.cast(&crate::types::TIME)?;
    let times = times.datetime()?.physical();
    if times.null_count() > 0 {
        return Err(TransformError::frame(EVENT_TIME, "a time is null"));
    }
    Ok(match times.cont_slice() {
        Ok(times) => times.to_vec(),
        Err(_) => times.iter().flatten().collect(),
    })
}

fn integers(name: &str, rows: &DataFrame) -> Result<Vec<i64>, TransformError> {
    let numbers = rows.column(name)?.i64()?;
    Ok(match numbers.cont_slice() {
        Ok(numbers) => numbers.to_vec(),
        Err(_) => numbers.iter().map(|number| number.unwrap_or(i64::MIN)).collect(),
    })
}
