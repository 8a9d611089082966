//! Formulas as SQL, for people who ask `ClickHouse`.
//!
//! Each part does what [`tideline_common::formula`] does: a float that is not finite is null, and so is an integer that
//! does not fit into 64 bits; `/` is a float; halves are rounded away from zero; integers become floats before they are
//! compared with them. `LN`, `EXP` and `POWER` are those of the server, equal to rounding.
//!
//! Not every formula can be said: texts that become numbers or conditions, floats and instants that become texts, the
//! remainder of floats, and a number of decimals that is no literal have no equal in `ClickHouse`, and what is nested
//! deeply no place in a statement.

use tideline_common::formula::{Arithmetic, Comparison, Formula, LABEL_FROM, Node, Scalar};
use tideline_common::plan::{Field, ViewPlan};
use tideline_common::value::{Type, Value};

use super::names::{literal, name};
use super::schema::value_type;

/// Parts within parts, at most: the server's parser has a bound (`max_parser_depth`), and so has a lambda in a lambda.
const DEPTH_MAX: usize = 40;
/// Bytes of the SQL of all formulas of a view, at most: they are in one statement (`max_query_size` is 256 KiB).
const BYTES_MAX: usize = 64 << 10;

/// The computed columns of a view that can be said in SQL, dependencies first: name and expression over the view's
/// measures and the computed columns before it. What depends on one that cannot be said cannot be said either.
pub(super) fn columns(view: &ViewPlan) -> Vec<(&str, String)> {
    let mut fields: Vec<Field> =
        view.measures.iter().map(|measure| Field { name: measure.name.clone(), ty: measure.ty }).collect();
    let mut said: Vec<bool> = vec![true; fields.len()];
    let (mut columns, mut bytes) = (Vec::new(), 0);
    for computed in &view.columns {
        let sql = expression(&computed.formula, computed.ty, &fields, &said);
        let sql = sql.filter(|sql| bytes + sql.len() <= BYTES_MAX);
        bytes += sql.as_ref().map_or(0, String::len);
        said.push(sql.is_some());
        fields.push(Field { name: computed.name.clone(), ty: computed.ty });
        columns.extend(sql.map(|sql| (computed.name.as_str(), sql)));
    }
    columns
}

fn expression(formula: &Formula, ty: Type, fields: &[Field], said: &[bool]) -> Option<String> {
    let mut writer = Writer { fields, said, variables: 0 };
    let part = writer.part(formula.node(), 0)?;
    Some(match ty {
        // Conditions are numbers there.
        Type::Bool => format!("CAST({} AS Nullable(Bool))", part.text),
        // A part that is always null has no type there.
        _ if part.is_null() => format!("CAST(NULL AS {})", value_type(ty)),
        _ => part.text,
    })
}

/// A part of an expression: SQL that can stand anywhere, and its type; no type where it is always null.
#[derive(Clone, Debug)]
struct Part {
    text: String,
    ty: Option<Type>,
    /// Whether it may as well be written twice.
    simple: bool,
}

impl Part {
    fn of(ty: Type, text: String) -> Self {
        Self { text, ty: Some(ty), simple: false }
    }

    fn simple(self) -> Self {
        Self { simple: true, ..self }
    }

    fn null() -> Self {
        Self { text: "NULL".to_owned(), ty: None, simple: true }
    }

    fn is_null(&self) -> bool {
        self.ty.is_none()
    }

    /// As a float. `toFloat64` of a float changes nothing, and is left out.
    fn float(&self) -> String {
        if self.ty == Some(Type::Float) { self.text.clone() } else { format!("toFloat64({})", self.text) }
    }

    /// As an integer of 128 bits, in which sums, differences and products of two of 64 bits fit.
    fn wide(&self) -> String {
        format!("toInt128({})", self.text)
    }
}

/// A float, null unless it is finite.
fn finite(text: &str) -> Part {
    Part::of(Type::Float, format!("ifNotFinite({text}, NULL)"))
}

/// An integer of 128 bits, null unless it fits into 64.
fn whole(text: &str) -> Part {
    Part::of(Type::Int, format!("accurateCastOrNull({text}, 'Int64')"))
}

/// `x` rounded, halves away from zero; the server's `round` would choose the even one. What is cut off is exact, and
/// nothing from 2^52.
fn half_away(x: &str) -> String {
    format!("(trunc({x}) + if(abs({x} - trunc({x})) >= 0.5, sign({x}), 0))")
}

/// A float as it is read back to the bit.
fn float_literal(x: f64) -> String {
    format!("toFloat64({x:?})")
}

/// A name for a part that is written several times and computed once.
struct Bound {
    name: String,
    /// What it is a name for, unless the part itself is short enough.
    value: Option<String>,
}

impl Bound {
    /// An expression that uses the name, with what it stands for.
    fn around(self, body: String) -> String {
        match self.value {
            Some(value) => format!("arrayElement(arrayMap({} -> {body}, [{value}]), 1)", self.name),
            None => body,
        }
    }
}

struct Writer<'a> {
    fields: &'a [Field],
    /// Which of the fields the SQL view has.
    said: &'a [bool],
    /// Variables that have been used.
    variables: usize,
}

impl Writer<'_> {
    fn bind(&mut self, part: &Part) -> Bound {
        if part.simple {
            return Bound { name: part.text.clone(), value: None };
        }
        loop {
            self.variables += 1;
            let name = format!("_v{}", self.variables);
            if self.fields.iter().all(|field| field.name != name) {
                return Bound { name, value: Some(part.text.clone()) };
            }
        }
    }

    /// `None` for what cannot be said.
    fn part(&mut self, node: &Node, depth: usize) -> Option<Part> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut of = |node: &Node| self.part(node, depth + 1);
        Some(match node {
            Node::Column(at) => return self.column(*at),
            Node::Constant(value) => return constant(value),
            Node::Negate(a) => {
                let a = of(a)?;
                match a.ty {
                    None => a,
                    Some(Type::Int) => whole(&format!("negate({})", a.wide())),
                    Some(_) => Part::of(Type::Float, format!("negate({})", a.text)),
                }
            }
            Node::Arithmetic(op, a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                return self.arithmetic(*op, &a, &b);
            }
            Node::Compare(op, a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                truth(format!("({} {} {})", a.text, comparison(*op), b.text))
            }
            Node::And(a, b) => truth(format!("({} AND {})", of(a)?.truth(), of(b)?.truth())),
            Node::Or(a, b) => truth(format!("({} OR {})", of(a)?.truth(), of(b)?.truth())),
            Node::Not(a) => truth(format!("not({})", of(a)?.truth())),
            Node::IsNull(a) => {
                let a = of(a)?;
                // A map cannot be null there.
                let function = if a.ty == Some(Type::Map) { "empty" } else { "isNull" };
                truth(format!("{function}({})", a.text))
            }
            Node::IsBool(a, wanted) => {
                let a = of(a)?.truth();
                truth(format!("ifNull({}, 0)", if *wanted { a } else { format!("not({a})") }))
            }
            Node::IsDistinct(a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                let (a, b) = (self.bind(&a), self.bind(&b));
                let body = format!("ifNull({0} != {1}, isNull({0}) != isNull({1}))", a.name, b.name);
                truth(a.around(b.around(body)))
            }
            Node::Between { value, low, high } => {
                let (value, low, high) = (of(value)?, of(low)?, of(high)?);
                let value = self.bind(&value);
                let body = format!("(({0} >= {1}) AND ({0} <= {2}))", value.name, low.text, high.text);
                truth(value.around(body))
            }
            Node::In { value, list } => {
                let value = of(value)?;
                let list: Vec<Part> = list.iter().map(of).collect::<Option<_>>()?;
                let value = self.bind(&value);
                let equals: Vec<String> = list.iter().map(|part| format!("({} = {})", value.name, part.text)).collect();
                truth(value.around(format!("({})", equals.join(" OR "))))
            }
            Node::Case { operand, arms, otherwise } => {
                let operand = match operand {
                    Some(operand) => Some(of(operand)?),
                    None => None,
                };
                let arms: Vec<(Part, Part)> = arms
                    .iter()
                    .map(|(condition, result)| Some((of(condition)?, of(result)?)))
                    .collect::<Option<_>>()?;
                let otherwise = otherwise.as_ref().map_or(Some(Part::null()), |otherwise| of(otherwise))?;
                let ty = arms.iter().map(|(_, result)| result).chain([&otherwise]).find_map(|result| result.ty);
                let operand = operand.map(|operand| self.bind(&operand));
                let mut parts: Vec<String> = Vec::with_capacity(2 * arms.len() + 1);
                for (condition, result) in &arms {
                    parts.push(match &operand {
                        Some(operand) => format!("ifNull({} = {}, 0)", operand.name, condition.text),
                        None => format!("ifNull({}, 0)", condition.truth()),
                    });
                    parts.push(result.text.clone());
                }
                parts.push(otherwise.text);
                let body = format!("multiIf({})", parts.join(", "));
                let text = match operand {
                    Some(operand) => operand.around(body),
                    None => body,
                };
                Part { text, ty, simple: false }
            }
            Node::Cast(ty, a) => {
                let a = of(a)?;
                return self.cast(*ty, a);
            }
            Node::Call(scalar, parts) => {
                let first = of(parts.first()?)?;
                return self.call(*scalar, &first, parts.get(1), depth);
            }
            Node::Coalesce(parts) => {
                let parts: Vec<Part> = parts.iter().map(of).collect::<Option<_>>()?;
                let ty = parts.iter().find_map(|part| part.ty);
                Part { text: format!("coalesce({})", texts(&parts)), ty, simple: false }
            }
            Node::NullIf(a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                let (ty, a) = (a.ty, self.bind(&a));
                let body = format!("if(ifNull({0} = {1}, 0), NULL, {0})", a.name, b.text);
                Part { text: a.around(body), ty, simple: false }
            }
            Node::Extreme { parts, greatest } => {
                let parts: Vec<Part> = parts.iter().map(of).collect::<Option<_>>()?;
                let Some(ty) = parts.iter().find_map(|part| part.ty) else { return Some(Part::null()) };
                // `greatest` and `least` leave nulls out, or not, by version and setting; these do.
                let function = if *greatest { "max" } else { "min" };
                let list = format!("CAST([{}] AS Array({}))", texts(&parts), value_type(ty));
                Part::of(ty, format!("arrayReduce('{function}', {list})"))
            }
            Node::Concatenate(a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                if a.is_null() || b.is_null() {
                    Part::null()
                } else {
                    Part::of(Type::String, format!("concat({}, {})", a.text, b.text))
                }
            }
        })
    }

    fn column(&self, at: usize) -> Option<Part> {
        let field = self.fields.get(at).filter(|_| self.said.get(at) == Some(&true))?;
        let column = name(&field.name);
        Some(
            match field.ty {
                Type::Float => finite(&column),
                ty => Part::of(ty, column),
            }
            .simple(),
        )
    }

    fn arithmetic(&mut self, op: Arithmetic, a: &Part, b: &Part) -> Option<Part> {
        if a.is_null() || b.is_null() {
            return Some(Part::null());
        }
        let sign = match op {
            Arithmetic::Add => '+',
            Arithmetic::Subtract => '-',
            Arithmetic::Multiply => '*',
            Arithmetic::Divide => '/',
            Arithmetic::Remainder => '%',
        };
        Some(match (op, a.ty, b.ty) {
            // A remainder by 0 is an error there, in rows that are null as well.
            (Arithmetic::Remainder, Some(Type::Int), Some(Type::Int)) => {
                let b = self.bind(b);
                let body = format!(
                    "if(ifNull({0} = 0, 1), NULL, toInt64(moduloOrZero({1}, toInt128({0}))))",
                    b.name,
                    a.wide()
                );
                Part::of(Type::Int, b.around(body))
            }
            // There it is `a - trunc(a / b) * b`: 1 % 0.1 is 0.
            (Arithmetic::Remainder, ..) => return None,
            (Arithmetic::Add | Arithmetic::Subtract | Arithmetic::Multiply, Some(Type::Int), Some(Type::Int)) => {
                whole(&format!("({} {sign} {})", a.wide(), b.wide()))
            }
            _ => finite(&format!("({} {sign} {})", a.float(), b.float())),
        })
    }

    fn cast(&mut self, ty: Type, a: Part) -> Option<Part> {
        let Some(from) = a.ty else { return Some(Part::null()) };
        Some(match (ty, from) {
            (ty, from) if ty == from => a,
            (Type::Int, Type::Bool) => Part::of(ty, format!("toInt64({})", a.text)),
            (Type::Int, Type::Float) => whole(&format!("trunc({})", a.text)),
            (Type::Int, Type::Timestamp) => Part::of(ty, format!("toUnixTimestamp64Micro({})", a.text)),
            (Type::Float, Type::Bool | Type::Int) => Part::of(ty, a.float()),
            (Type::Bool, Type::Int | Type::Float) => truth(format!("({} != 0)", a.text)),
            (Type::String, Type::Int) => Part::of(ty, format!("toString({})", a.text)),
            (Type::String, Type::Bool) => {
                let a = self.bind(&a);
                let body = format!("multiIf(isNull({0}), NULL, ifNull({0}, 0), 'true', 'false')", a.name);
                Part::of(ty, a.around(body))
            }
            _ => return None,
        })
    }

    fn call(&mut self, scalar: Scalar, first: &Part, second: Option<&Node>, depth: usize) -> Option<Part> {
        let Some(from) = first.ty else { return Some(Part::null()) };
        if from == Type::Int {
            match scalar {
                Scalar::Abs => return Some(whole(&format!("abs({})", first.wide()))),
                Scalar::Sign => return Some(Part::of(Type::Int, format!("toInt64(sign({}))", first.text))),
                Scalar::Floor | Scalar::Ceil => return Some(first.clone()),
                Scalar::Round if second.is_none() => return Some(first.clone()),
                _ => {}
            }
        }
        let x = first.float();
        Some(match scalar {
            Scalar::Abs => Part::of(Type::Float, format!("abs({x})")),
            Scalar::Sign => Part::of(Type::Int, format!("toInt64(sign({x}))")),
            Scalar::Floor => Part::of(Type::Float, format!("floor({x})")),
            Scalar::Ceil => Part::of(Type::Float, format!("ceil({x})")),
            Scalar::Sqrt => finite(&format!("sqrt({x})")),
            Scalar::Ln => finite(&format!("log({x})")),
            Scalar::Exp => finite(&format!("exp({x})")),
            Scalar::Power => {
                let y = self.part(second?, depth + 1)?;
                if y.is_null() { y } else { finite(&format!("pow({x}, {})", y.float())) }
            }
            Scalar::Round => {
                let digits = second.map(digits);
                let x = self.bind(&Part::of(Type::Float, x));
                let body = match digits {
                    None => half_away(&x.name),
                    Some(digits) => rounded(&x.name, digits?),
                };
                Part::of(Type::Float, x.around(body))
            }
            Scalar::Label => {
                let x = self.bind(&Part::of(Type::Float, x));
                let (name, from) = (&x.name, float_literal(LABEL_FROM));
                let body = format!(
                    "multiIf(isNull({name}), NULL, {name} >= {from}, 'positive', {name} <= -{from}, 'negative', 'neutral')"
                );
                Part::of(Type::String, x.around(body))
            }
        })
    }
}

impl Part {
    /// As a condition: what is always null has a type there, too.
    fn truth(&self) -> String {
        if self.is_null() { "CAST(NULL AS Nullable(UInt8))".to_owned() } else { self.text.clone() }
    }
}

fn truth(text: String) -> Part {
    Part::of(Type::Bool, text)
}

fn texts(parts: &[Part]) -> String {
    let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
    texts.join(", ")
}

const fn comparison(op: Comparison) -> &'static str {
    match op {
        Comparison::Equal => "=",
        Comparison::NotEqual => "!=",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn constant(value: &Value) -> Option<Part> {
    let (ty, text) = match value {
        Value::Null => return Some(Part::null()),
        Value::Bool(b) => (Type::Bool, b.to_string()),
        Value::Int(i) => (Type::Int, format!("toInt64({i})")),
        Value::Float(x) => (Type::Float, float_literal(*x)),
        Value::String(s) => (Type::String, literal(s)),
        Value::Timestamp(time) => {
            (Type::Timestamp, format!("fromUnixTimestamp64Micro(toInt64({}), 'UTC')", time.micros()))
        }
        Value::Strings(_) | Value::Map(_) => return None,
    };
    Some(Part::of(ty, text).simple())
}

/// A number of decimals, where it is a literal.
fn digits(node: &Node) -> Option<i64> {
    match node {
        Node::Constant(Value::Int(digits)) => Some(*digits),
        Node::Negate(inner) => digits(inner)?.checked_neg(),
        _ => None,
    }
}

/// `x` rounded to `digits` decimals, step by step as [`tideline_common::formula`] does.
fn rounded(x: &str, digits: i64) -> String {
    let scale = 10_f64.powi(i32::try_from(digits.unsigned_abs()).unwrap_or(i32::MAX));
    if digits < -308 {
        return format!("if(isNull({x}), NULL, toFloat64(0))");
    }
    // Such a scale is past the floats' precision.
    if !scale.is_finite() {
        return x.to_owned();
    }
    let scale = float_literal(scale);
    if digits < 0 {
        return format!("({} * {scale})", half_away(&format!("({x} / {scale})")));
    }
    let scaled = format!("({x} * {scale})");
    // From 2^53 there are no fractions left to round.
    format!("if(isFinite({scaled}) AND abs({scaled}) < 9007199254740992., {} / {scale}, {x})", half_away(&scaled))
}
