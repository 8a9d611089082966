//! Syntax tree to compiled expression: names are found, types are checked, and all mistakes are kept.

use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, Ident, Spanned, UnaryOperator, Value as Literal, visit_expressions,
};

use super::node::{Arithmetic, Comparison, Node, Scalar};
use super::syntax::offset;
use super::{FormulaError, MistakeKind, Reference, suggest};
use crate::plan::Field;
use crate::time::Timestamp;
use crate::value::{Type, Value};

/// Functions of formulas.
const FUNCTIONS: &[&str] = &[
    "abs", "ceil", "coalesce", "exp", "floor", "greatest", "label", "least", "ln", "nullif", "power", "round", "sign",
    "sqrt",
];

/// What is known of the type of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Its type.
    Is(Type),
    /// It is always null, which goes with any type.
    Null,
    /// There was a mistake in it, which has been noted: no more of it.
    Mistake,
}

/// The compiled form and the type of `expression`, the tree of `sql`.
pub(super) fn check(sql: &str, expression: &Expr, columns: &[Field]) -> Result<(Node, Type), Vec<FormulaError>> {
    run(Checker { sql, columns, previous: false, mistakes: Vec::new() }, expression)
}

/// As [`check`], where `prev(column)` is the column of that name of the row before: its index is that of the column and
/// the number of columns.
pub(super) fn check_with_previous(
    sql: &str,
    expression: &Expr,
    columns: &[Field],
) -> Result<(Node, Type), Vec<FormulaError>> {
    run(Checker { sql, columns, previous: true, mistakes: Vec::new() }, expression)
}

fn run(mut checker: Checker<'_>, expression: &Expr) -> Result<(Node, Type), Vec<FormulaError>> {
    let (node, known) = checker.part(expression);
    match known {
        Known::Is(ty @ (Type::Map | Type::Strings)) => {
            checker.wrong_type(expression, format!("a formula cannot be a {ty}"));
        }
        Known::Null => checker.wrong_type(expression, "this is always null, which has no type".to_owned()),
        Known::Is(ty) if checker.mistakes.is_empty() => return Ok((node, ty)),
        Known::Is(_) | Known::Mistake => {}
    }
    let mut mistakes = checker.mistakes;
    mistakes.sort_by_key(|mistake| mistake.at);
    Err(mistakes)
}

/// The columns that the tree of `sql` names.
pub(super) fn names(sql: &str, expression: &Expr) -> Vec<Reference> {
    let mut names: Vec<Reference> = Vec::new();
    let _ = visit_expressions(expression, |part| {
        if let Expr::Identifier(ident) = part {
            let at = offset(sql, ident.span.start).unwrap_or(0);
            if names.iter().all(|name| name.name != ident.value) {
                names.push(Reference { name: ident.value.clone(), at });
            }
        }
        ControlFlow::<()>::Continue(())
    });
    names.sort_by_key(|name| name.at);
    names
}

struct Checker<'a> {
    sql: &'a str,
    columns: &'a [Field],
    /// Whether there is a row before.
    previous: bool,
    mistakes: Vec<FormulaError>,
}

impl Checker<'_> {
    fn note(&mut self, kind: MistakeKind, at: Option<usize>, message: String) {
        self.mistakes.push(FormulaError { message, at, kind });
    }

    fn place(&self, part: &Expr) -> Option<usize> {
        offset(self.sql, part.span().start)
    }

    fn wrong_type(&mut self, part: &Expr, message: String) {
        let at = self.place(part);
        self.note(MistakeKind::Type, at, message);
    }

    fn unsupported(&mut self, part: &Expr, what: &str) -> (Node, Known) {
        let at = self.place(part);
        self.note(MistakeKind::Unsupported, at, format!("formulas have no {what}"));
        BROKEN
    }

    fn part(&mut self, part: &Expr) -> (Node, Known) {
        match part {
            Expr::Identifier(ident) => self.column(ident),
            Expr::CompoundIdentifier(idents) => {
                let name = idents.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join(".");
                let at = self.place(part);
                let message = format!("unknown column `{name}`: the columns of a formula have no table before them");
                self.note(MistakeKind::UnknownColumn, at, message);
                BROKEN
            }
            Expr::Value(value) => self.literal(part, &value.value),
            Expr::Nested(inner) => self.part(inner),
            Expr::UnaryOp { op, expr } => self.unary(part, *op, expr),
            Expr::BinaryOp { left, op, right } => self.binary(part, left, op, right),
            Expr::IsNull(a) => (Node::IsNull(Box::new(self.any(a))), BOOL),
            Expr::IsNotNull(a) => not(Node::IsNull(Box::new(self.any(a)))),
            Expr::IsTrue(a) => (Node::IsBool(Box::new(self.truth(a)), true), BOOL),
            Expr::IsNotTrue(a) => not(Node::IsBool(Box::new(self.truth(a)), true)),
            Expr::IsFalse(a) => (Node::IsBool(Box::new(self.truth(a)), false), BOOL),
            Expr::IsNotFalse(a) => not(Node::IsBool(Box::new(self.truth(a)), false)),
            Expr::IsUnknown(a) => (Node::IsNull(Box::new(self.truth(a))), BOOL),
            Expr::IsNotUnknown(a) => not(Node::IsNull(Box::new(self.truth(a)))),
            Expr::IsDistinctFrom(a, b) => {
                let (a, b) = self.comparable(a, b);
                (Node::IsDistinct(a, b), BOOL)
            }
            Expr::IsNotDistinctFrom(a, b) => {
                let (a, b) = self.comparable(a, b);
                not(Node::IsDistinct(a, b))
            }
            Expr::Between { expr, negated, low, high } => {
                let parts = self.alike(&[expr, low, high], "compare");
                let mut parts = parts.0.into_iter().map(Box::new);
                let (Some(value), Some(low), Some(high)) = (parts.next(), parts.next(), parts.next()) else {
                    return BROKEN;
                };
                negate_if(*negated, Node::Between { value, low, high })
            }
            Expr::InList { expr, list, negated } => {
                let all: Vec<&Expr> = std::iter::once(&**expr).chain(list).collect();
                let mut parts = self.alike(&all, "compare").0.into_iter();
                let Some(value) = parts.next() else { return BROKEN };
                negate_if(*negated, Node::In { value: Box::new(value), list: parts.collect() })
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr,
                data_type,
                array: false,
                format: None,
            } => self.cast(part, expr, data_type),
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.call(part, "ceil", &[expr])
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.call(part, "floor", &[expr])
            }
            Expr::Function(function) => self.function(part, function),
            Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::RLike { .. } => {
                self.unsupported(part, "text patterns (LIKE)")
            }
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => self.unsupported(part, "subqueries"),
            _ => self.unsupported(part, &format!("`{part}`")),
        }
    }

    fn column(&mut self, ident: &Ident) -> (Node, Known) {
        if let Some(at) = self.columns.iter().position(|column| column.name == ident.value) {
            return (Node::Column(at), Known::Is(self.columns[at].ty));
        }
        let like = suggest(&ident.value, self.columns.iter().map(|column| column.name.as_str()));
        let hint = match like {
            Some(like) => format!("; did you mean `{like}`?"),
            None if ident.quote_style == Some('"') => "; a text is written in single quotes".to_owned(),
            None if self.columns.is_empty() => String::new(),
            None => {
                let names: Vec<&str> = self.columns.iter().take(12).map(|column| column.name.as_str()).collect();
                format!("; there are {}", names.join(", "))
            }
        };
        let at = offset(self.sql, ident.span.start);
        self.note(MistakeKind::UnknownColumn, at, format!("unknown column `{}`{hint}", ident.value));
        BROKEN
    }

    fn literal(&mut self, part: &Expr, literal: &Literal) -> (Node, Known) {
        let constant = |value, ty| (Node::Constant(value), Known::Is(ty));
        match literal {
            Literal::Number(digits, _) => match (digits.parse::<i64>(), digits.parse::<f64>()) {
                (Ok(i), _) => constant(Value::Int(i), Type::Int),
                (_, Ok(x)) if x.is_finite() => constant(Value::Float(x), Type::Float),
                _ => {
                    self.wrong_type(part, format!("`{digits}` is not a number of 64 bits"));
                    BROKEN
                }
            },
            Literal::SingleQuotedString(text) => constant(Value::String(text.clone()), Type::String),
            Literal::Boolean(b) => constant(Value::Bool(*b), Type::Bool),
            Literal::Null => (Node::Constant(Value::Null), Known::Null),
            other => self.unsupported(part, &format!("`{other}`")),
        }
    }

    fn unary(&mut self, part: &Expr, op: UnaryOperator, inner: &Expr) -> (Node, Known) {
        match op {
            UnaryOperator::Not => not(self.truth(inner)),
            UnaryOperator::Plus => self.number(inner),
            UnaryOperator::Minus => {
                let (node, known) = self.number(inner);
                (Node::Negate(Box::new(node)), known)
            }
            other => self.unsupported(part, &format!("operator `{other}`")),
        }
    }

    fn binary(&mut self, part: &Expr, left: &Expr, op: &BinaryOperator, right: &Expr) -> (Node, Known) {
        use Arithmetic::{Add, Divide, Multiply, Remainder, Subtract};
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        match op {
            BinaryOperator::Plus => self.arithmetic(Add, left, right),
            BinaryOperator::Minus => self.arithmetic(Subtract, left, right),
            BinaryOperator::Multiply => self.arithmetic(Multiply, left, right),
            BinaryOperator::Divide => self.arithmetic(Divide, left, right),
            BinaryOperator::Modulo => self.arithmetic(Remainder, left, right),
            BinaryOperator::Eq => self.comparison(Equal, left, right),
            BinaryOperator::NotEq => self.comparison(NotEqual, left, right),
            BinaryOperator::Lt => self.comparison(Less, left, right),
            BinaryOperator::LtEq => self.comparison(LessOrEqual, left, right),
            BinaryOperator::Gt => self.comparison(Greater, left, right),
            BinaryOperator::GtEq => self.comparison(GreaterOrEqual, left, right),
            BinaryOperator::And => (Node::And(Box::new(self.truth(left)), Box::new(self.truth(right))), BOOL),
            BinaryOperator::Or => (Node::Or(Box::new(self.truth(left)), Box::new(self.truth(right))), BOOL),
            BinaryOperator::StringConcat => {
                let sides = [left, right].map(|side| self.expect(side, &[Type::String], "a text").0);
                let [a, b] = sides.map(Box::new);
                (Node::Concatenate(a, b), Known::Is(Type::String))
            }
            other => self.unsupported(part, &format!("operator `{other}`")),
        }
    }

    fn arithmetic(&mut self, op: Arithmetic, left: &Expr, right: &Expr) -> (Node, Known) {
        let ((a, left), (b, right)) = (self.number(left), self.number(right));
        let known = match (left, right) {
            (Known::Mistake, _) | (_, Known::Mistake) => Known::Mistake,
            _ if op == Arithmetic::Divide => Known::Is(Type::Float),
            (Known::Is(Type::Float), _) | (_, Known::Is(Type::Float)) => Known::Is(Type::Float),
            (Known::Null, Known::Null) => Known::Null,
            _ => Known::Is(Type::Int),
        };
        (Node::Arithmetic(op, Box::new(a), Box::new(b)), known)
    }

    fn comparison(&mut self, op: Comparison, left: &Expr, right: &Expr) -> (Node, Known) {
        let (a, b) = self.comparable(left, right);
        (Node::Compare(op, a, b), BOOL)
    }

    fn comparable(&mut self, left: &Expr, right: &Expr) -> (Box<Node>, Box<Node>) {
        let mut parts = self.alike(&[left, right], "compare").0.into_iter().map(Box::new);
        let mut next = || parts.next().unwrap_or(Box::new(BROKEN.0));
        (next(), next())
    }

    /// Parts that must be of one type; integers become floats beside floats, and text literals become instants
    /// beside instants.
    fn alike(&mut self, parts: &[&Expr], verb: &str) -> (Vec<Node>, Known) {
        let mut checked: Vec<(Node, Known)> = parts.iter().map(|part| self.part(part)).collect();
        if checked.iter().any(|(_, known)| *known == Known::Is(Type::Timestamp)) {
            for (node, known) in &mut checked {
                if let Node::Constant(Value::String(text)) = node
                    && let Ok(time) = Timestamp::parse(text)
                {
                    (*node, *known) = (Node::Constant(Value::Timestamp(time)), Known::Is(Type::Timestamp));
                }
            }
        }
        let mut common = Known::Null;
        for ((_, known), part) in checked.iter().zip(parts) {
            common = match (common, *known) {
                (Known::Mistake, _) | (_, Known::Mistake) => Known::Mistake,
                (known, Known::Null) | (Known::Null, known) if !is_opaque(known) => known,
                (Known::Is(a), Known::Is(b)) if a == b && !is_opaque(Known::Is(a)) => Known::Is(a),
                (Known::Is(a), Known::Is(b)) if a.is_numeric() && b.is_numeric() => Known::Is(Type::Float),
                (Known::Is(a), Known::Is(b)) if !is_opaque(Known::Is(a)) && !is_opaque(Known::Is(b)) => {
                    self.wrong_type(part, format!("cannot {verb} {} with {}", article(a), article(b)));
                    Known::Mistake
                }
                (Known::Is(a), Known::Null) | (_, Known::Is(a)) => {
                    self.wrong_type(part, format!("cannot {verb} {}: it can only be tested for null", article(a)));
                    Known::Mistake
                }
                (Known::Null, Known::Null) => Known::Null,
            };
        }
        let nodes = checked.into_iter().map(|(node, known)| widen(node, known, common)).collect();
        (nodes, common)
    }

    fn case(&mut self, operand: Option<&Expr>, whens: &[CaseWhen], otherwise: Option<&Expr>) -> (Node, Known) {
        let mut conditions;
        let operand = if let Some(operand) = operand {
            let all: Vec<&Expr> = std::iter::once(operand).chain(whens.iter().map(|when| &when.condition)).collect();
            conditions = self.alike(&all, "compare").0.into_iter();
            conditions.next().map(Box::new)
        } else {
            let all: Vec<Node> = whens.iter().map(|when| self.truth(&when.condition)).collect();
            conditions = all.into_iter();
            None
        };
        let results: Vec<&Expr> = whens.iter().map(|when| &when.result).chain(otherwise).collect();
        let (mut results, known) = self.alike(&results, "answer");
        let otherwise = if otherwise.is_some() { results.pop().map(Box::new) } else { None };
        (Node::Case { operand, arms: conditions.zip(results).collect(), otherwise }, known)
    }

    fn cast(&mut self, part: &Expr, inner: &Expr, to: &DataType) -> (Node, Known) {
        let ty = match to {
            DataType::Int(_) | DataType::Integer(_) | DataType::BigInt(_) | DataType::Int8(_) | DataType::Int64 => {
                Type::Int
            }
            DataType::Float(_)
            | DataType::Float8
            | DataType::Float64
            | DataType::Real
            | DataType::Double(_)
            | DataType::DoublePrecision => Type::Float,
            DataType::Varchar(None) | DataType::Text | DataType::String(None) | DataType::Char(None) => Type::String,
            DataType::Boolean | DataType::Bool => Type::Bool,
            other => {
                self.part(inner);
                return self.unsupported(part, &format!("type `{other}`; there are int, float, string, bool"));
            }
        };
        let (node, known) = self.part(inner);
        let refused = match known {
            Known::Is(Type::Timestamp) => !matches!(ty, Type::Int | Type::String),
            known => is_opaque(known),
        };
        if let (true, Known::Is(from)) = (refused, known) {
            self.wrong_type(inner, format!("cannot make {} of {}", article(ty), article(from)));
            return BROKEN;
        }
        let known = if known == Known::Mistake { known } else { Known::Is(ty) };
        (Node::Cast(ty, Box::new(node)), known)
    }

    fn function(&mut self, part: &Expr, function: &Function) -> (Node, Known) {
        let name = function.name.to_string().to_ascii_lowercase();
        let plain = function.filter.is_none()
            && function.over.is_none()
            && function.null_treatment.is_none()
            && function.within_group.is_empty()
            && matches!(function.parameters, FunctionArguments::None);
        let arguments = match &function.args {
            FunctionArguments::List(list) if plain && list.duplicate_treatment.is_none() && list.clauses.is_empty() => {
                let of = |argument: &FunctionArg| match argument {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument.clone()),
                    _ => None,
                };
                list.args.iter().map(of).collect::<Option<Vec<Expr>>>()
            }
            _ => None,
        };
        let Some(arguments) = arguments else {
            return self.unsupported(part, &format!("`{part}`"));
        };
        self.call(part, &name, &arguments.iter().collect::<Vec<_>>())
    }

    /// `prev(column)`.
    fn previous(&mut self, part: &Expr, arguments: &[&Expr]) -> (Node, Known) {
        let [Expr::Identifier(ident)] = arguments else {
            let at = self.place(part);
            let message = "`prev` takes the name of one column: prev(score)".to_owned();
            self.note(MistakeKind::Arguments, at, message);
            return BROKEN;
        };
        match self.column(ident) {
            (Node::Column(at), known) => (Node::Column(at + self.columns.len()), known),
            broken => broken,
        }
    }

    fn call(&mut self, part: &Expr, name: &str, arguments: &[&Expr]) -> (Node, Known) {
        if self.previous && name == "prev" {
            return self.previous(part, arguments);
        }
        let (least, most) = match name {
            "abs" | "sign" | "floor" | "ceil" | "ceiling" | "sqrt" | "ln" | "exp" | "label" => (1, 1),
            "round" => (1, 2),
            "power" | "pow" | "nullif" => (2, 2),
            "coalesce" | "greatest" | "least" => (1, usize::MAX),
            _ => {
                let at = self.place(part);
                let hint = suggest(name, FUNCTIONS.iter().copied()).map_or_else(
                    || format!("; there are {}", FUNCTIONS.join(", ")),
                    |s| format!("; did you mean `{s}`?"),
                );
                self.note(MistakeKind::UnknownFunction, at, format!("unknown function `{name}`{hint}"));
                // What is wrong inside is worth knowing, too.
                for argument in arguments {
                    self.part(argument);
                }
                return BROKEN;
            }
        };
        if arguments.len() < least || arguments.len() > most {
            let at = self.place(part);
            let expected = match (least, most) {
                (1, 1) => "one argument",
                (1, 2) => "one or two arguments",
                (2, 2) => "two arguments",
                _ => "at least one argument",
            };
            let message = format!("`{name}` takes {expected}, not {}", arguments.len());
            self.note(MistakeKind::Arguments, at, message);
            for argument in arguments {
                self.part(argument);
            }
            return BROKEN;
        }
        match name {
            "coalesce" => {
                let (parts, known) = self.alike(arguments, "choose between");
                (Node::Coalesce(parts), known)
            }
            "greatest" | "least" => {
                let (parts, known) = self.alike(arguments, "compare");
                (Node::Extreme { parts, greatest: name == "greatest" }, known)
            }
            "nullif" => {
                let (parts, known) = self.alike(arguments, "compare");
                let mut parts = parts.into_iter().map(Box::new);
                match (parts.next(), parts.next()) {
                    (Some(a), Some(b)) => (Node::NullIf(a, b), known),
                    _ => BROKEN,
                }
            }
            _ => self.scalar(name, arguments),
        }
    }

    fn scalar(&mut self, name: &str, arguments: &[&Expr]) -> (Node, Known) {
        let (node, known) = self.number(arguments[0]);
        let mut parts = vec![node];
        for argument in &arguments[1..] {
            let part = if name == "round" {
                self.expect(argument, &[Type::Int], "a whole number of digits")
            } else {
                self.number(argument)
            };
            parts.push(part.0);
        }
        let (scalar, ty) = match name {
            "abs" => (Scalar::Abs, None),
            "floor" => (Scalar::Floor, None),
            "ceil" | "ceiling" => (Scalar::Ceil, None),
            "round" => (Scalar::Round, if parts.len() == 1 { None } else { Some(Type::Float) }),
            "sign" => (Scalar::Sign, Some(Type::Int)),
            "sqrt" => (Scalar::Sqrt, Some(Type::Float)),
            "ln" => (Scalar::Ln, Some(Type::Float)),
            "exp" => (Scalar::Exp, Some(Type::Float)),
            "label" => (Scalar::Label, Some(Type::String)),
            _ => (Scalar::Power, Some(Type::Float)),
        };
        let known = match (known, ty) {
            (Known::Mistake, _) => Known::Mistake,
            (_, Some(ty)) => Known::Is(ty),
            (known, None) => known,
        };
        (Node::Call(scalar, parts), known)
    }

    /// A part of any type.
    fn any(&mut self, part: &Expr) -> Node {
        self.part(part).0
    }

    fn truth(&mut self, part: &Expr) -> Node {
        self.expect(part, &[Type::Bool], "a condition").0
    }

    fn number(&mut self, part: &Expr) -> (Node, Known) {
        self.expect(part, &[Type::Int, Type::Float], "a number")
    }

    fn expect(&mut self, part: &Expr, types: &[Type], what: &str) -> (Node, Known) {
        let (node, known) = self.part(part);
        match known {
            Known::Is(ty) if !types.contains(&ty) => {
                self.wrong_type(part, format!("{what} is expected here, and this is {}", article(ty)));
                BROKEN
            }
            known => (node, known),
        }
    }
}

const BOOL: Known = Known::Is(Type::Bool);
const BROKEN: (Node, Known) = (Node::Constant(Value::Null), Known::Mistake);

fn not(node: Node) -> (Node, Known) {
    (Node::Not(Box::new(node)), BOOL)
}

fn negate_if(negated: bool, node: Node) -> (Node, Known) {
    if negated { not(node) } else { (node, BOOL) }
}

const fn is_opaque(known: Known) -> bool {
    matches!(known, Known::Is(Type::Map | Type::Strings))
}

fn widen(node: Node, known: Known, common: Known) -> Node {
    if known == Known::Is(Type::Int) && common == Known::Is(Type::Float) {
        Node::Cast(Type::Float, Box::new(node))
    } else {
        node
    }
}

const fn article(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "a bool",
        Type::Int => "an int",
        Type::Float => "a float",
        Type::String => "a string",
        Type::Timestamp => "a timestamp",
        Type::Strings => "a list of strings",
        Type::Map => "a map",
    }
}
