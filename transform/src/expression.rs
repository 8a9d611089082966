//! SQL expressions, compiled once.
//!
//! An expression is parsed by Polars SQL, resolved against the columns that it may use, checked to be row-wise
//! (else a batch could not be cut anywhere), and kept as Polars' physical expression: a micro-batch pays for the
//! evaluation and not for parsing, resolving or optimizing. Calls of our own functions that occur more than once in
//! a set of expressions, such as `vader(text)` and `label(vader(text))`, are evaluated once.

use std::fmt;
use std::sync::Arc;

use polars::prelude::{Column, DataFrame, DataType, Expr, IntoLazy, PlSmallStr, Schema, SchemaRef, col};
use polars_expr::planner::{ExpressionConversionState, create_physical_expr};
use polars_expr::prelude::{ExecutionState, PhysicalExpr};
use polars_plan::dsl::DslPlan;
use polars_plan::plans::{IR, is_elementwise_rec};
use polars_sql::SQLContext;
use tideline_common::plan::{ExpressionError, Field, quote_columns};
use tideline_common::value::Type;

use crate::functions::Functions;
use crate::types::{cast, data_type, domain_type};
use crate::{TransformError, message};

const TABLE: &str = "rows";

/// Expressions over one set of columns.
pub(crate) struct Program {
    schema: SchemaRef,
    shared: Vec<Compiled>,
    outputs: Vec<(Compiled, Type)>,
}

struct Compiled {
    name: PlSmallStr,
    expression: Arc<dyn PhysicalExpr>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.outputs.iter().map(|(compiled, _)| compiled.name.as_str()).collect();
        f.debug_struct("Program").field("outputs", &names).finish_non_exhaustive()
    }
}

/// An expression of a plan: the name of its result, its SQL and its type.
#[derive(Clone, Debug)]
pub(crate) struct Output<'a> {
    pub(crate) name: &'a str,
    pub(crate) sql: &'a str,
    pub(crate) ty: Type,
}

impl Program {
    /// Compiles `outputs` over `columns`; `what` names their owner in errors.
    pub(crate) fn new(what: &str, outputs: &[Output<'_>], columns: &[Field]) -> Result<Self, TransformError> {
        let error = |output: &Output<'_>, message: String| TransformError::Expression {
            what: format!("{what}, `{}`", output.name),
            message,
        };
        let mut schema = schema_of(columns);
        let mut parsed = Vec::with_capacity(outputs.len());
        for output in outputs {
            let (expression, dtype) = parse(output.sql, &schema).map_err(|e| error(output, e.message))?;
            let fits = match output.ty {
                Type::Float => dtype.is_numeric(),
                ty => domain_type(&dtype) == Some(ty),
            };
            if !fits && dtype != DataType::Null {
                return Err(error(output, format!("is of type {dtype} where {} is needed", output.ty)));
            }
            parsed.push(expression);
        }
        let mut shared = Vec::new();
        for (index, call) in repeated_calls(&parsed).into_iter().enumerate() {
            let name = PlSmallStr::from_string(format!("_shared_{index}"));
            let (compiled, dtype) = compile(call.clone(), name.clone(), &schema)?;
            for expression in &mut parsed {
                let replaced = expression.clone().map_expr(|e| if e == call { col(name.clone()) } else { e });
                *expression = replaced;
            }
            schema.with_column(name, dtype);
            shared.push(compiled);
        }
        let mut compiled = Vec::with_capacity(outputs.len());
        for (expression, output) in parsed.into_iter().zip(outputs) {
            compiled.push((compile(expression, output.name.into(), &schema)?.0, output.ty));
        }
        Ok(Self { schema: Arc::new(schema), shared, outputs: compiled })
    }

    /// The outputs over `rows`, a frame with the columns that the program was compiled for: in their types, as long
    /// as the frame.
    pub(crate) fn evaluate(&self, rows: &DataFrame) -> Result<Vec<Column>, TransformError> {
        let state = ExecutionState::new();
        let height = rows.height();
        let mut with_shared;
        let mut rows = rows;
        if !self.shared.is_empty() {
            with_shared = rows.clone();
            for compiled in &self.shared {
                let column = compiled.evaluate(&with_shared, &state, height)?;
                with_shared.with_column(column)?;
            }
            rows = &with_shared;
        }
        debug_assert!(self.schema.len() <= rows.width());
        let outputs = self.outputs.iter();
        outputs.map(|(compiled, ty)| cast(&compiled.evaluate(rows, &state, height)?, *ty)).collect()
    }
}

impl Compiled {
    fn evaluate(&self, rows: &DataFrame, state: &ExecutionState, height: usize) -> Result<Column, TransformError> {
        let mut column = self.expression.evaluate(rows, state)?;
        if column.len() == 1 && height != 1 {
            column = column.new_from_index(0, height);
        }
        if column.len() != height {
            return Err(TransformError::frame(self.name.as_str(), format!("{} of {height} rows", column.len())));
        }
        column.rename(self.name.clone());
        Ok(column)
    }
}

fn schema_of(columns: &[Field]) -> Schema {
    columns.iter().map(|field| (PlSmallStr::from_str(&field.name), data_type(field.ty))).collect()
}

/// The type of `sql` over rows of `columns`.
pub(crate) fn type_of(sql: &str, columns: &[Field]) -> Result<Type, ExpressionError> {
    let (_, dtype) = parse(sql, &schema_of(columns))?;
    domain_type(&dtype).ok_or_else(|| ExpressionError {
        message: format!("its type, {dtype}, is none of {}", message::TYPES),
        at: None,
    })
}

/// The columns that `sql` uses, of `columns`.
pub(crate) fn columns_used(sql: &str, columns: &[Field]) -> Vec<String> {
    let Ok((expression, _)) = parse(sql, &schema_of(columns)) else { return Vec::new() };
    expression
        .into_iter()
        .filter_map(|part| match part {
            Expr::Column(name) => Some(name.to_string()),
            _ => None,
        })
        .collect()
}

fn parse(sql: &str, schema: &Schema) -> Result<(Expr, DataType), ExpressionError> {
    let mut context = SQLContext::new().with_function_registry(Functions::shared());
    context.register(TABLE, DataFrame::empty_with_schema(schema).lazy());
    // A line of its own, so that a comment at the end does not swallow the rest.
    let quoted = quote_columns(sql, |name| schema.contains(name));
    let statement = format!("SELECT {PREFIX}\n{}\n) AS result FROM {TABLE}", quoted.sql);
    let friendly = |error: polars::error::PolarsError| {
        let error = message::friendly(&error, &quoted.sql, schema);
        ExpressionError { at: error.at.map(|at| quoted.original(at)), ..error }
    };
    let frame = context.execute(&statement).map_err(friendly)?;
    let not_row_wise = || ExpressionError { message: message::NOT_ROW_WISE.to_owned(), at: None };
    let expression = match unresolved(&frame.logical_plan) {
        DslPlan::Select { expr, input, .. } => match (&expr[..], unresolved(input)) {
            ([expression], DslPlan::DataFrameScan { .. }) => expression.clone(),
            // What has no column, such as a constant, becomes one first.
            ([_], DslPlan::HStack { exprs, input, .. })
                if exprs.len() == 1 && matches!(unresolved(input), DslPlan::DataFrameScan { .. }) =>
            {
                exprs[0].clone()
            }
            ([_], _) => return Err(not_row_wise()),
            _ => return Err(ExpressionError { message: "must be one expression".to_owned(), at: None }),
        },
        _ => return Err(not_row_wise()),
    };
    // The alias is the statement's.
    let expression = match expression {
        Expr::Alias(inner, _) => Arc::unwrap_or_clone(inner),
        other => other,
    };
    let (resolved, row_wise) = resolve(expression.clone(), schema).map_err(friendly)?;
    if !row_wise {
        return Err(not_row_wise());
    }
    Ok((expression, resolved))
}

const PREFIX: &str = "(";

/// The plan as it was before its schema was asked for.
fn unresolved(plan: &DslPlan) -> &DslPlan {
    match plan {
        DslPlan::IR { dsl, .. } => unresolved(dsl),
        plan => plan,
    }
}

/// The type of `expression`, and whether it is row-wise.
fn resolve(expression: Expr, schema: &Schema) -> Result<(DataType, bool), polars::error::PolarsError> {
    let frame = DataFrame::empty_with_schema(schema).lazy().select([expression.alias("result")]);
    let plan = frame.without_optimizations().to_alp()?;
    let IR::Select { expr, schema, .. } = plan.lp_arena.get(plan.lp_top) else {
        return Ok((DataType::Null, false));
    };
    crate::functions::check(&plan)?;
    let row_wise = expr.iter().all(|expr| is_elementwise_rec(expr.node(), &plan.expr_arena));
    let dtype = schema.get("result").cloned().unwrap_or(DataType::Null);
    Ok((dtype.materialize_unknown(true)?, row_wise))
}

fn compile(expression: Expr, name: PlSmallStr, schema: &Schema) -> Result<(Compiled, DataType), TransformError> {
    let frame = DataFrame::empty_with_schema(schema).lazy().select([expression.alias(name.clone())]);
    let mut plan = frame.without_optimizations().to_alp()?;
    let IR::Select { expr, schema: output, .. } = plan.lp_arena.get(plan.lp_top) else {
        return Err(TransformError::frame(name.as_str(), message::NOT_ROW_WISE));
    };
    let dtype = output.get(name.as_str()).cloned().unwrap_or(DataType::Null);
    let [expr] = expr.as_slice() else {
        return Err(TransformError::frame(name.as_str(), "must be one expression"));
    };
    let mut state = ExpressionConversionState::new(false);
    let expression = create_physical_expr(expr, &mut plan.expr_arena, &Arc::new(schema.clone()), &mut state)?;
    Ok((Compiled { name, expression }, dtype))
}

/// Calls of our functions that occur more than once, inner ones first.
fn repeated_calls(expressions: &[Expr]) -> Vec<Expr> {
    let mut calls: Vec<(&Expr, usize)> = Vec::new();
    for part in expressions.iter().flatten() {
        if !matches!(part, Expr::AnonymousFunction { .. }) {
            continue;
        }
        match calls.iter_mut().find(|(call, _)| *call == part) {
            Some((_, count)) => *count += 1,
            None => calls.push((part, 1)),
        }
    }
    let mut repeated: Vec<Expr> =
        calls.into_iter().filter(|(_, count)| *count > 1).map(|(call, _)| call.clone()).collect();
    repeated.sort_by_key(|call| call.into_iter().count());
    repeated
}
