//! Arguments of measures, from the SQL of Polars to that of `ClickHouse`.
//!
//! Only what means the same in both is translated, with its type, and what differs is spelled out: for Polars NaN
//! equals NaN and is greater than every number; `/` is a division of floats; a literal takes the type of what it meets.

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectNamePart, UnaryOperator, Value, ValueWithSpan,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use std::fmt::Write as _;
use tideline_common::plan::{TablePlan, quote_columns};
use tideline_common::value::Type;

use super::{Unsupported, literal, quoted, state};

/// Expressions nested deeper than this are left to Polars.
const DEPTH_MAX: usize = 64;

/// An argument in the SQL of `ClickHouse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argument {
    /// The expression.
    pub(super) sql: String,
    /// Its type; its values may be null.
    pub(super) ty: Type,
    /// The columns that it uses.
    pub(super) columns: Vec<String>,
}

impl Argument {
    /// Translates `sql`, an expression over rows of `table`.
    pub(super) fn translate(sql: &str, table: &TablePlan) -> Result<Self, Unsupported> {
        let fail = |reason: String| Unsupported { what: format!("`{sql}`"), reason };
        let quoted = quote_columns(sql, |name| table.type_of(name).is_some());
        let mut parser =
            Parser::new(&GenericDialect {}).try_with_sql(&quoted.sql).map_err(|error| fail(error.to_string()))?;
        let parsed = parser.parse_expr().map_err(|error| fail(error.to_string()))?;
        let mut translator = Translator { table, columns: Vec::new() };
        let term = translator.term(&parsed, 0).map_err(fail)?;
        match term.ty {
            Some(Type::Strings | Type::Map) => Err(fail("a list has no SQL".to_owned())),
            Some(ty) => Ok(Self { sql: term.sql, ty, columns: translator.columns }),
            None => Err(fail("it has no type".to_owned())),
        }
    }

    /// Its type in `ClickHouse`.
    pub(super) const fn database_type(&self) -> &'static str {
        state::database_type(self.ty)
    }
}

/// A part of an expression; `NULL` alone has no type.
struct Term {
    sql: String,
    ty: Option<Type>,
}

impl Term {
    fn new(sql: impl Into<String>, ty: Type) -> Self {
        Self { sql: sql.into(), ty: Some(ty) }
    }

    /// As a float: integers become one.
    fn float(&self) -> String {
        if self.ty == Some(Type::Float) { self.sql.clone() } else { format!("toFloat64({})", self.sql) }
    }

    fn is_number(&self) -> bool {
        matches!(self.ty, Some(Type::Int | Type::Float))
    }
}

struct Translator<'a> {
    table: &'a TablePlan,
    columns: Vec<String>,
}

type Translated = Result<Term, String>;

impl Translator<'_> {
    fn term(&mut self, expr: &Expr, depth: usize) -> Translated {
        if depth > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let depth = depth + 1;
        match expr {
            Expr::Identifier(ident) => self.column(ident),
            Expr::Nested(inner) => {
                let inner = self.term(inner, depth)?;
                Ok(Term { sql: format!("({})", inner.sql), ty: inner.ty })
            }
            Expr::Value(ValueWithSpan { value, .. }) => constant(value),
            Expr::UnaryOp { op, expr } => {
                let term = self.term(expr, depth)?;
                match (op, term.ty) {
                    (UnaryOperator::Plus, Some(Type::Int | Type::Float)) => Ok(term),
                    (UnaryOperator::Minus, Some(ty @ (Type::Int | Type::Float))) => {
                        Ok(Term::new(format!("(-({}))", term.sql), ty))
                    }
                    (UnaryOperator::Not, Some(Type::Bool)) => {
                        Ok(Term::new(format!("(NOT ({}))", term.sql), Type::Bool))
                    }
                    _ => Err(format!("`{op}` of this has no SQL")),
                }
            }
            Expr::BinaryOp { left, op, right } => {
                let (left, right) = (self.term(left, depth)?, self.term(right, depth)?);
                binary(&left, op, &right)
            }
            Expr::IsNull(inner) => self.is_null(inner, depth, "isNull"),
            Expr::IsNotNull(inner) => self.is_null(inner, depth, "isNotNull"),
            Expr::Between { expr, negated, low, high } => {
                let (value, low, high) = (self.term(expr, depth)?, self.term(low, depth)?, self.term(high, depth)?);
                let from = compare(&value, &BinaryOperator::GtEq, &low)?;
                let to = compare(&value, &BinaryOperator::LtEq, &high)?;
                let not = if *negated { "NOT " } else { "" };
                Ok(Term::new(format!("({not}({} AND {}))", from.sql, to.sql), Type::Bool))
            }
            Expr::InList { expr, list, negated } => {
                let value = self.term(expr, depth)?;
                let mut any = Vec::with_capacity(list.len());
                for item in list {
                    if !matches!(item, Expr::Value(_)) {
                        return Err("a list of more than literals has no SQL".to_owned());
                    }
                    let item = self.term(item, depth)?;
                    any.push(compare(&value, &BinaryOperator::Eq, &item)?.sql);
                }
                if any.is_empty() {
                    return Err("an empty list has no SQL".to_owned());
                }
                let not = if *negated { "NOT " } else { "" };
                Ok(Term::new(format!("({not}({}))", any.join(" OR ")), Type::Bool))
            }
            Expr::Case { operand: None, conditions, else_result, .. } => {
                let mut branches = Vec::new();
                for when in conditions {
                    let condition = self.term(&when.condition, depth)?;
                    if condition.ty != Some(Type::Bool) {
                        return Err("a condition must be a truth value".to_owned());
                    }
                    branches.push((condition.sql, self.term(&when.result, depth)?));
                }
                let other = match else_result {
                    Some(expr) => self.term(expr, depth)?,
                    None => Term { sql: "NULL".to_owned(), ty: None },
                };
                case(&branches, &other)
            }
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr, data_type, format: None, .. } => {
                let term = self.term(expr, depth)?;
                let float = matches!(data_type, DataType::Double(_) | DataType::DoublePrecision | DataType::Float8);
                if float && term.is_number() {
                    return Ok(Term::new(term.float(), Type::Float));
                }
                Err(format!("a cast to {data_type} has no SQL"))
            }
            Expr::Function(function) => self.call(function, depth),
            other => Err(format!("`{other}` has no SQL")),
        }
    }

    fn column(&mut self, ident: &Ident) -> Translated {
        let name = &ident.value;
        let ty = self.table.type_of(name).ok_or_else(|| format!("`{name}` is no column"))?;
        if matches!(ty, Type::Strings | Type::Map) {
            return Err(format!("a column of type {ty} has no SQL"));
        }
        if !self.columns.contains(name) {
            self.columns.push(name.clone());
        }
        Ok(Term::new(quoted(name), ty))
    }

    fn is_null(&mut self, inner: &Expr, depth: usize, function: &str) -> Translated {
        let term = self.term(inner, depth)?;
        Ok(Term::new(format!("{function}({})", term.sql), Type::Bool))
    }

    fn call(&mut self, function: &Function, depth: usize) -> Translated {
        let name = match function.name.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => name.value.to_ascii_lowercase(),
            _ => return Err(format!("`{}` has no SQL", function.name)),
        };
        let plain = function.filter.is_none()
            && function.over.is_none()
            && function.within_group.is_empty()
            && function.null_treatment.is_none();
        let FunctionArguments::List(list) = &function.args else { return Err(format!("`{name}` has no SQL")) };
        if !plain || list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return Err(format!("`{name}` has no SQL"));
        }
        let mut terms = Vec::with_capacity(list.args.len());
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => terms.push(self.term(expr, depth)?),
                _ => return Err(format!("`{name}` has no SQL")),
            }
        }
        match (name.as_str(), terms.as_slice()) {
            ("abs", [x]) if x.ty == Some(Type::Int) => Ok(Term::new(format!("toInt64(abs({}))", x.sql), Type::Int)),
            ("abs" | "sqrt", [x]) if x.ty == Some(Type::Float) => {
                Ok(Term::new(format!("{name}({})", x.sql), Type::Float))
            }
            ("length" | "char_length" | "character_length", [x]) if x.ty == Some(Type::String) => {
                Ok(Term::new(format!("toInt64(lengthUTF8({}))", x.sql), Type::Int))
            }
            ("octet_length", [x]) if x.ty == Some(Type::String) => {
                Ok(Term::new(format!("toInt64(length({}))", x.sql), Type::Int))
            }
            ("coalesce", [first, rest @ ..]) if !rest.is_empty() && rest.iter().all(|term| term.ty == first.ty) => {
                let all: Vec<&str> = terms.iter().map(|term| term.sql.as_str()).collect();
                Ok(Term { sql: format!("coalesce({})", all.join(", ")), ty: first.ty })
            }
            _ => Err(format!("`{name}` of these arguments has no SQL")),
        }
    }
}

fn constant(value: &Value) -> Translated {
    Ok(match value {
        Value::Number(text, _) => match text.parse::<i64>() {
            Ok(number) => Term::new(format!("toInt64({number})"), Type::Int),
            Err(_) => {
                let number: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
                if !number.is_finite() || !text.contains(['.', 'e', 'E']) {
                    return Err(format!("the number {text} is out of range"));
                }
                // The bits: no second reader of decimals to agree with.
                Term::new(format!("reinterpretAsFloat64(toUInt64({}))", number.to_bits()), Type::Float)
            }
        },
        Value::SingleQuotedString(text) => Term::new(literal(text), Type::String),
        Value::Boolean(truth) => Term::new(truth.to_string(), Type::Bool),
        Value::Null => Term { sql: "NULL".to_owned(), ty: None },
        other => return Err(format!("`{other}` has no SQL")),
    })
}

fn binary(left: &Term, op: &BinaryOperator, right: &Term) -> Translated {
    use BinaryOperator as Op;
    match op {
        Op::Plus | Op::Minus | Op::Multiply if left.is_number() && right.is_number() => {
            let ty = if left.ty == Some(Type::Int) && right.ty == Some(Type::Int) { Type::Int } else { Type::Float };
            let sql = match ty {
                Type::Int => format!("({} {op} {})", left.sql, right.sql),
                _ => format!("({} {op} {})", left.float(), right.float()),
            };
            Ok(Term::new(sql, ty))
        }
        Op::Divide if left.is_number() && right.is_number() => {
            Ok(Term::new(format!("({} / {})", left.float(), right.float()), Type::Float))
        }
        Op::And | Op::Or if left.ty == Some(Type::Bool) && right.ty == Some(Type::Bool) => {
            Ok(Term::new(format!("(({}) {op} ({}))", left.sql, right.sql), Type::Bool))
        }
        Op::StringConcat if left.ty == Some(Type::String) && right.ty == Some(Type::String) => {
            Ok(Term::new(format!("concat({}, {})", left.sql, right.sql), Type::String))
        }
        Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq => compare(left, op, right),
        _ => Err(format!("`{op}` of these has no SQL")),
    }
}

/// A comparison, null when a side is.
fn compare(left: &Term, op: &BinaryOperator, right: &Term) -> Translated {
    use BinaryOperator as Op;
    let (Some(left_type), Some(right_type)) = (left.ty, right.ty) else {
        return Err(format!("`{op}` with NULL has no SQL"));
    };
    if left.is_number() && right.is_number() && (left_type, right_type) != (Type::Int, Type::Int) {
        let (a, b) = (left.float(), right.float());
        let sql = match op {
            Op::Eq => format!("({a} = {b} OR (isNaN({a}) AND isNaN({b})))"),
            Op::NotEq => format!("(NOT ({a} = {b} OR (isNaN({a}) AND isNaN({b}))))"),
            Op::Lt => format!("({a} < {b} OR (isNaN({b}) AND NOT isNaN({a})))"),
            Op::LtEq => format!("({a} <= {b} OR isNaN({b}))"),
            Op::Gt => format!("({a} > {b} OR (isNaN({a}) AND NOT isNaN({b})))"),
            _ => format!("({a} >= {b} OR isNaN({a}))"),
        };
        return Ok(Term::new(format!("if(isNull({a}) OR isNull({b}), NULL, {sql})"), Type::Bool));
    }
    let comparable = left_type == right_type
        && match left_type {
            Type::Int | Type::String | Type::Timestamp => true,
            Type::Bool => matches!(op, Op::Eq | Op::NotEq),
            _ => false,
        };
    if !comparable {
        return Err(format!("{left_type} {op} {right_type} has no SQL"));
    }
    Ok(Term::new(format!("({} {op} {})", left.sql, right.sql), Type::Bool))
}

/// Branches of one type; integers beside floats become floats.
fn case(branches: &[(String, Term)], other: &Term) -> Translated {
    let mut types: Vec<Type> =
        branches.iter().map(|(_, term)| term).chain([other]).filter_map(|term| term.ty).collect();
    types.sort_unstable();
    types.dedup();
    let ty = match types.as_slice() {
        [ty] => *ty,
        [Type::Int, Type::Float] => Type::Float,
        _ => return Err("the branches of CASE have several types, or none".to_owned()),
    };
    let value = |term: &Term| match (ty, term.ty) {
        (Type::Float, Some(_)) => term.float(),
        _ => term.sql.clone(),
    };
    let mut sql = "multiIf(".to_owned();
    for (condition, result) in branches {
        // Null is not true. Writing to a string cannot fail.
        let _ = write!(sql, "ifNull({condition}, false), {}, ", value(result));
    }
    sql.push_str(&value(other));
    sql.push(')');
    Ok(Term::new(sql, ty))
}
