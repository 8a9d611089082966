//! SQL expressions, compiled once.
//!
//! An expression is parsed by Polars SQL, resolved against the columns that it may use, checked to be row-wise
//! (else a batch could not be cut anywhere), and kept as Polars' physical expression: a micro-batch pays for the
//! evaluation and not for parsing, resolving or optimizing. Calls of our own functions that occur more than once, such as
//! `vader(text)` and `label(vader(text))`, are evaluated once: within a program, and within programs that were compiled
//! together and are evaluated over the same rows.

use std::collections::BTreeMap;
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
    shared: Arc<[Compiled]>,
    /// Which of the shared calls it needs, ascending: each after those that it is made of.
    needs: Vec<usize>,
    outputs: Vec<(Compiled, Type)>,
}

/// Shared calls that have been evaluated over some rows, for the next program over the same ones.
#[derive(Debug, Default)]
pub(crate) struct Evaluated(BTreeMap<usize, Column>);

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
        let mut programs = Self::several(&[(what.to_owned(), outputs.to_vec())], columns)?;
        programs.pop().ok_or_else(|| TransformError::frame(what, "nothing was compiled"))
    }

    /// Compiles several programs over the same `columns`, each of what names its owner and its outputs.
    pub(crate) fn several(
        programs: &[(String, Vec<Output<'_>>)],
        columns: &[Field],
    ) -> Result<Vec<Self>, TransformError> {
        let mut schema = schema_of(columns);
        let mut parsed = Vec::new();
        for (what, outputs) in programs {
            for output in outputs {
                parsed.push(parse_output(what, output, &schema)?);
            }
        }
        let mut calls = repeated_calls(&parsed);
        let mut shared: Vec<Compiled> = Vec::with_capacity(calls.len());
        // The shared calls that each of them is made of.
        let mut made_of: Vec<Vec<usize>> = Vec::with_capacity(calls.len());
        for index in 0..calls.len() {
            let call = calls[index].clone();
            let name = shared_name(index);
            // What it is made of has been replaced in it.
            made_of.push(needs(&call, &made_of));
            let (compiled, dtype) = compile(call.clone(), name.clone(), &schema)?;
            for expression in parsed.iter_mut().chain(&mut calls[index + 1..]) {
                let replaced = expression.clone().map_expr(|e| if e == call { col(name.clone()) } else { e });
                *expression = replaced;
            }
            schema.with_column(name, dtype);
            shared.push(compiled);
        }
        let (schema, shared): (SchemaRef, Arc<[Compiled]>) = (Arc::new(schema), shared.into());
        let mut parsed = parsed.into_iter();
        let mut compiled = Vec::with_capacity(programs.len());
        for (_, outputs) in programs {
            let own: Vec<Expr> = parsed.by_ref().take(outputs.len()).collect();
            let mut all: Vec<usize> = own.iter().flat_map(|expression| needs(expression, &made_of)).collect();
            all.sort_unstable();
            all.dedup();
            let outputs = own
                .into_iter()
                .zip(outputs)
                .map(|(expression, output)| Ok((compile(expression, output.name.into(), &schema)?.0, output.ty)))
                .collect::<Result<Vec<_>, TransformError>>()?;
            compiled.push(Self { schema: Arc::clone(&schema), shared: Arc::clone(&shared), needs: all, outputs });
        }
        Ok(compiled)
    }

    /// The outputs over `rows`, a frame with the columns that the program was compiled for: in their types, as long
    /// as the frame.
    pub(crate) fn evaluate(&self, rows: &DataFrame) -> Result<Vec<Column>, TransformError> {
        self.evaluate_after(rows, &mut Evaluated::default())
    }

    /// As [`evaluate`](Self::evaluate), with what programs that were compiled with this one have `evaluated` over the same
    /// rows.
    pub(crate) fn evaluate_after(
        &self,
        rows: &DataFrame,
        evaluated: &mut Evaluated,
    ) -> Result<Vec<Column>, TransformError> {
        let state = ExecutionState::new();
        let height = rows.height();
        let mut with_shared;
        let mut rows = rows;
        if !self.needs.is_empty() {
            with_shared = rows.clone();
            for index in &self.needs {
                let column = match evaluated.0.get(index) {
                    Some(column) => column.clone(),
                    None => self.shared[*index].evaluate(&with_shared, &state, height)?,
                };
                evaluated.0.insert(*index, column.clone());
                with_shared.with_column(column)?;
            }
            rows = &with_shared;
        }
        debug_assert!(self.schema.len() <= rows.width() + self.shared.len() - self.needs.len());
        let outputs = self.outputs.iter();
        outputs.map(|(compiled, ty)| cast(&compiled.evaluate(rows, &state, height)?, *ty)).collect()
    }
}

/// What the result of a shared call is called.
fn shared_name(index: usize) -> PlSmallStr {
    PlSmallStr::from_string(format!("_shared_{index}"))
}

/// The shared calls that an expression is made of, and those that these are made of, ascending.
fn needs(expression: &Expr, made_of: &[Vec<usize>]) -> Vec<usize> {
    let mut all = Vec::new();
    for part in expression {
        if let Expr::Column(name) = part
            && let Some(index) = (0..made_of.len()).find(|index| *name == shared_name(*index))
        {
            all.extend_from_slice(&made_of[index]);
            all.push(index);
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

fn parse_output(what: &str, output: &Output<'_>, schema: &Schema) -> Result<Expr, TransformError> {
    let error = |message: String| TransformError::Expression { what: format!("{what}, `{}`", output.name), message };
    let (expression, dtype) = parse(output.sql, schema).map_err(|e| error(e.message))?;
    let fits = match output.ty {
        Type::Float => dtype.is_numeric(),
        ty => domain_type(&dtype) == Some(ty),
    };
    if !fits && dtype != DataType::Null {
        return Err(error(format!("is of type {dtype} where {} is needed", output.ty)));
    }
    Ok(expression)
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
    crate::models::prepare(&plan)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn outputs(all: &[(&'static str, &'static str, Type)]) -> Vec<Output<'static>> {
        all.iter().map(|(name, sql, ty)| Output { name, sql, ty: *ty }).collect()
    }

    #[test]
    fn programs_that_are_compiled_together_share_calls() {
        let columns = [Field { name: "text".to_owned(), ty: Type::String }];
        let one = outputs(&[
            ("feeling", "vader(text)", Type::Float),
            ("label", "label(vader(text))", Type::String),
            ("risk", "churn_risk(text)", Type::Float),
            ("length", "length(text)", Type::Int),
        ]);
        let other = outputs(&[
            ("rude", "toxicity(text)", Type::Float),
            ("again", "upper(label(vader(text)))", Type::String),
            ("twice", "churn_risk(text) * 2", Type::Float),
        ]);
        let alone = outputs(&[("rude", "toxicity(text) + 1", Type::Float)]);
        let programs =
            [("one".to_owned(), one.clone()), ("other".to_owned(), other.clone()), ("alone".to_owned(), alone)];
        let compiled = Program::several(&programs, &columns).unwrap();
        let [first, second, third] = &compiled[..] else { panic!("{compiled:?}") };
        // vader(text), churn_risk(text), toxicity(text) and label(vader(text)); each program computes what it needs.
        assert_eq!(first.shared.len(), 4);
        assert_eq!((first.needs.len(), second.needs.len(), third.needs.len()), (3, 4, 1));
        let texts = |texts: &[&str]| polars::df!("text" => texts).unwrap();
        let rows = texts(&["I love it", "Cancel my subscription", "You idiot"]);
        for (what, outputs, program) in [("one", &one, first), ("other", &other, second)] {
            let apart = Program::new(what, outputs, &columns).unwrap();
            assert_eq!(program.evaluate(&rows).unwrap(), apart.evaluate(&rows).unwrap());
        }
        // What the first has evaluated is not evaluated again: not even where the rows are others, which nobody does.
        let mut evaluated = Evaluated::default();
        let known = first.evaluate_after(&rows, &mut evaluated).unwrap();
        let others = texts(&["", "", ""]);
        let reused = second.evaluate_after(&others, &mut evaluated).unwrap();
        let twice: Vec<_> = known[2].f64().unwrap().iter().map(|risk| risk.map(|risk| risk * 2.0)).collect();
        assert_eq!(reused[2].f64().unwrap().iter().collect::<Vec<_>>(), twice);
        assert_ne!(
            twice,
            Program::new("other", &other, &columns).unwrap().evaluate(&others).unwrap()[2]
                .f64()
                .unwrap()
                .iter()
                .collect::<Vec<_>>()
        );
        let rude = second.evaluate(&others).unwrap();
        assert_eq!(reused[0], rude[0], "what no other had evaluated is its own");
    }
}
