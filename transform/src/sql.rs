//! Free SQL over frames, and the types of expressions.

use polars::prelude::{DataFrame, IntoLazy, LazyFrame, PlSmallStr, Schema};
use polars_sql::SQLContext;
use tideline_common::plan::{ExpressionError, ExpressionTypes, Field};
use tideline_common::value::Type;

use crate::functions::Functions;
use crate::types::{data_type, domain_type};
use crate::{expression, functions, message};

/// A context in which `tables` and every function of a definition are known: for reports and `tideline sql`.
pub fn context(tables: Vec<(String, LazyFrame)>) -> SQLContext {
    let context = SQLContext::new().with_function_registry(Functions::shared());
    for (name, frame) in tables {
        context.register(&name, frame);
    }
    context
}

/// Tideline's own functions: name, and how it is called.
pub const fn functions() -> &'static [(&'static str, &'static str)] {
    crate::functions::SIGNATURES
}

/// Answers what an SQL expression evaluates to by asking the engine that will run it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SqlTypes;

impl ExpressionTypes for SqlTypes {
    fn type_of(&self, sql: &str, columns: &[Field]) -> Result<Type, ExpressionError> {
        expression::type_of(sql, columns)
    }

    fn columns_of(&self, sql: &str, tables: &[(&str, &[Field])]) -> Result<Option<Vec<Field>>, ExpressionError> {
        let mut all = Schema::default();
        let mut frames = Vec::with_capacity(tables.len());
        for (name, fields) in tables {
            let schema: Schema =
                fields.iter().map(|field| (PlSmallStr::from_str(&field.name), data_type(field.ty))).collect();
            for (name, dtype) in schema.iter() {
                all.with_column(name.clone(), dtype.clone());
            }
            frames.push(((*name).to_owned(), DataFrame::empty_with_schema(&schema).lazy()));
        }
        let friendly = |error| message::friendly(&error, sql, &all);
        let run = |sql: &str| {
            let mut frame = context(frames).execute(sql)?;
            let schema = frame.collect_schema()?;
            functions::check(&frame.without_optimizations().to_alp()?)?;
            Ok(schema)
        };
        let schema = run(sql).map_err(friendly)?;
        let field = |(name, dtype): (&PlSmallStr, &polars::prelude::DataType)| -> Result<Field, ExpressionError> {
            let ty = domain_type(dtype).ok_or_else(|| ExpressionError {
                message: format!("the type of column `{name}`, {dtype}, is none of {}", message::TYPES),
                at: None,
            })?;
            Ok(Field { name: name.to_string(), ty })
        };
        schema.iter().map(field).collect::<Result<Vec<_>, _>>().map(Some)
    }
}
