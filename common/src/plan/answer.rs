//! Answers: from merged states to the columns that a query gets.

use super::ViewPlan;
use crate::state::{StateBatch, StateColumn};
use crate::value::Value;

/// Where a column of an answer comes from.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Index among the measures, then the computed columns: the row that formulas are compiled over.
    At(usize),
    /// A name that the plan does not explain.
    Nowhere,
}

/// A view made ready to answer many rows.
#[derive(Debug)]
pub struct Answers<'a> {
    plan: &'a ViewPlan,
    order: Vec<Slot>,
    /// Whether `order` is measures and computed columns just as they are made.
    in_order: bool,
}

impl<'a> Answers<'a> {
    /// The answers of `plan`.
    pub fn new(plan: &'a ViewPlan) -> Self {
        let place = |name: &str| {
            let measure = plan.measures.iter().position(|m| m.name == name);
            let computed = || plan.columns.iter().position(|c| c.name == name).map(|at| at + plan.measures.len());
            measure.or_else(computed).map_or(Slot::Nowhere, Slot::At)
        };
        let order: Vec<Slot> = plan.answer.iter().map(|field| place(&field.name)).collect();
        let in_order = order.len() == plan.measures.len() + plan.columns.len()
            && order.iter().enumerate().all(|(at, slot)| matches!(slot, Slot::At(from) if *from == at));
        Self { plan, order, in_order }
    }

    /// The answer of row `row` of `states`, whose columns are [`ViewPlan::fields`]: one value per column of
    /// [`ViewPlan::answer`]. Panics when `row` is past the end.
    pub fn row(&self, states: &StateBatch, row: usize) -> Vec<Value> {
        let mut values = Vec::with_capacity(self.plan.measures.len() + self.plan.columns.len());
        let mut columns: Vec<&StateColumn> = Vec::with_capacity(4);
        for measure in &self.plan.measures {
            columns.clear();
            columns.extend(measure.states.iter().filter_map(|at| states.states.get(*at)));
            values.push(measure.aggregate.finish(&columns, row));
        }
        // Sorted by dependency: a formula sees the measures and the formulas before it.
        for computed in &self.plan.columns {
            let value = computed.formula.evaluate(&values);
            values.push(value);
        }
        if self.in_order {
            return values;
        }
        let pick = |slot: &Slot| match slot {
            Slot::At(at) => values[*at].clone(),
            Slot::Nowhere => Value::Null,
        };
        self.order.iter().map(pick).collect()
    }
}

impl ViewPlan {
    /// The answer of one row; for many, make [`Answers`] once.
    pub fn answer(&self, states: &StateBatch, row: usize) -> Vec<Value> {
        Answers::new(self).row(states, row)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::aggregate::fold::{Event, fold};
    use crate::aggregate::{Aggregate, Function};
    use crate::formula::Formula;
    use crate::plan::{Computed, Field, Measure};
    use crate::time::{Span, Timestamp};
    use crate::value::Type;
    use crate::window::Window;

    /// `mentions`, `open`, `close` and two formulas of which the second needs the first; the answer lists them in
    /// another order.
    fn plan() -> ViewPlan {
        let mut fields = Vec::new();
        let mut measure = |name: &str, function, argument: Option<(String, Type)>| {
            let aggregate = Aggregate::new(function, argument).unwrap();
            let first = fields.len();
            fields.extend(
                aggregate
                    .states()
                    .iter()
                    .map(|spec| spec.field(format!("{name}_{}", spec.suffix), "ticks", aggregate.argument.clone())),
            );
            Measure {
                name: name.into(),
                table: "ticks".into(),
                states: (first..fields.len()).collect(),
                ty: aggregate.result_type(),
                aggregate,
                sql: String::new(),
            }
        };
        let price = || Some(("price".to_owned(), Type::Float));
        let measures = vec![
            measure("mentions", Function::Count, None),
            measure("open", Function::First, price()),
            measure("close", Function::Last, price()),
        ];
        let mut known: Vec<Field> = measures.iter().map(|m| Field { name: m.name.clone(), ty: m.ty }).collect();
        let mut columns = Vec::new();
        for (name, sql) in [("change", "close / open - 1"), ("percent", "ROUND(100 * change)")] {
            let (formula, ty) = Formula::compile(sql, &known).unwrap();
            known.push(Field { name: name.into(), ty });
            columns.push(Computed { name: name.into(), formula, ty });
        }
        let answer = ["percent", "open", "close", "mentions", "change"]
            .map(|name| known.iter().find(|field| field.name == name).unwrap().clone());
        ViewPlan {
            name: "prices".into(),
            key: Vec::new(),
            window: Window { size: Span::MINUTE, slide: Span::MINUTE },
            pane: Span::MINUTE,
            measures,
            columns,
            answer: answer.to_vec(),
            fields,
            tables: vec!["ticks".into()],
            sources: vec!["ticks".into()],
            retain_speed: None,
            retain_batch: None,
            top: Vec::new(),
            version: String::new(),
        }
    }

    #[test]
    fn answers_come_in_the_order_of_the_plan() {
        let plan = plan();
        let mut states = StateBatch::new(&plan.fields);
        states.push_identity(b"a", Timestamp(0));
        for (time, price) in [(2, 5.0), (1, 4.0)] {
            for (field, column) in plan.fields.iter().zip(&mut states.states) {
                let argument = &Value::Float(price);
                fold(field, column, 0, Event { argument, time: Timestamp(time), sequence: time });
            }
        }
        states.push_identity(b"b", Timestamp(0));
        let number = Value::Float;
        let expected = vec![number(25.0), number(4.0), number(5.0), Value::Int(2), number(0.25)];
        assert_eq!(plan.answer(&states, 0), expected);
        // A group that this table never touched.
        let nothing = vec![Value::Null, Value::Null, Value::Null, Value::Int(0), Value::Null];
        assert_eq!(Answers::new(&plan).row(&states, 1), nothing);
    }

    #[test]
    fn answers_that_come_as_they_are_made_are_not_copied() {
        let mut plan = plan();
        assert!(!Answers::new(&plan).in_order);
        let measures = plan.measures.iter().map(|m| Field { name: m.name.clone(), ty: m.ty });
        plan.answer = measures.chain(plan.columns.iter().map(|c| Field { name: c.name.clone(), ty: c.ty })).collect();
        assert!(Answers::new(&plan).in_order);
        let mut states = StateBatch::new(&plan.fields);
        states.push_identity(b"a", Timestamp(0));
        assert_eq!(plan.answer(&states, 0)[0], Value::Int(0));
    }
}
