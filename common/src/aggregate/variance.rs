//! `variance(x)` and `stddev(x)` of the sample: Σ(x − mean)² / (n − 1), null for fewer than two values.
//!
//! The states are n, Σx and Σx², because those merge by addition, which every store can do. The price is
//! cancellation: Σx² − (Σx)²/n loses about `2·log10(|mean| / stddev)` digits of the sixteen that Σx² has. The
//! difference is taken with the rounding error of (Σx)² added back, so nothing is lost beyond what the sums
//! lost. With |mean| up to 1,000 standard deviations the result is good to about 1e-9 relative; at 10⁸ nothing
//! of it is left. Then subtract a constant near the mean in the argument: `variance(x - 1000000)`. A difference
//! below zero is rounding, and answers 0.

use super::{StateSpec, count_at};
use crate::state::{Input, Rule, StateColumn};
use crate::value::{Type, Value};

pub(super) fn states() -> Vec<StateSpec> {
    vec![
        StateSpec { suffix: "count", rule: Rule::Sum, ty: Type::Int, input: Input::NotNull },
        StateSpec { suffix: "sum", rule: Rule::Sum, ty: Type::Float, input: Input::Value },
        StateSpec { suffix: "squares", rule: Rule::Sum, ty: Type::Float, input: Input::Square },
    ]
}

fn variance(states: &[&StateColumn], row: usize) -> Option<f64> {
    let n = count_at(states.first(), row);
    let (Some(StateColumn::SumFloat(sums)), Some(StateColumn::SumFloat(squares))) = (states.get(1), states.get(2))
    else {
        return None;
    };
    if n < 2 {
        return None;
    }
    let (n, sum, squares) = (n as f64, sums[row], squares[row]);
    let mean = sum / n;
    // sum · mean = product + error, exactly; `mean` itself is off by at most `slip / n`, where slip = sum − n·mean,
    // so the true (Σx)²/n is sum · mean + sum · slip / n.
    let product = sum * mean;
    let error = sum.mul_add(mean, -product);
    let slip = n.mul_add(-mean, sum);
    let spread = (squares - product) - error - mean * slip;
    // `max` would turn NaN into 0.
    Some(if spread < 0.0 { 0.0 } else { spread / (n - 1.0) })
}

pub(super) fn finish(states: &[&StateColumn], row: usize) -> Value {
    variance(states, row).map_or(Value::Null, Value::Float)
}

pub(super) fn finish_root(states: &[&StateColumn], row: usize) -> Value {
    variance(states, row).map_or(Value::Null, |v| Value::Float(v.sqrt()))
}
