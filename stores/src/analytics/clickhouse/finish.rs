//! Finished answers as SQL: the declared window of a view over its current panes, for people.
//!
//! Every expression does what [`tideline_common::aggregate`] does, operation by operation, so that the numbers are the
//! same to the last bit (float sums depend on the order in which they are added, here as everywhere). Computed columns
//! are there as far as their formulas can be said in SQL (see [`formula`]).

use tideline_common::aggregate::{Function, registers, sketch};
use tideline_common::plan::{Measure, ViewPlan};
use tideline_common::state::{Rule, StateField};
use tideline_common::value::Type;

use super::formula;
use super::names::{list, name};
use super::schema::{GoldTable, PANE, TIME, ordered_names};

/// Makes the SQL view of a view's answers.
pub(super) fn create(view: &ViewPlan) -> String {
    let keys = list(view.key.iter().map(|f| f.name.as_str()));
    let separator = if view.key.is_empty() { "" } else { ", " };
    let answers: Vec<String> = view
        .measures
        .iter()
        .map(|measure| format!(",\n    {} AS {}", finish(view, measure), name(&measure.name)))
        .collect();
    let states: Vec<String> = view
        .fields
        .iter()
        .enumerate()
        .map(|(at, field)| format!(",\n        {} AS {}", merge(field), state(at)))
        .collect();
    let measures = format!(
        "SELECT {keys}{separator}\n    \
         CAST(fromUnixTimestamp64Micro(_window, 'UTC') AS {TIME}) AS window_start,\n    \
         CAST(fromUnixTimestamp64Micro(_window + {}, 'UTC') AS {TIME}) AS window_end{}\n\
         FROM (\n    SELECT {keys}{separator}_window{}\n    FROM (\n        SELECT *, {} AS _window\n        FROM {}\n    )\n    \
         GROUP BY {keys}{separator}_window\n)",
        view.window.size.0,
        answers.concat(),
        states.concat(),
        windows(view),
        name(&GoldTable::of_plan(view).current_name()),
    );
    let computed = formula::columns(view);
    let select = if computed.is_empty() { measures } else { with_computed(view, &computed, &measures) };
    format!("CREATE OR REPLACE VIEW {} AS\n{select}", name(&view.name))
}

/// Adds computed columns to a query of the measures, in the order of the answer.
fn with_computed(view: &ViewPlan, computed: &[(&str, String)], measures: &str) -> String {
    let mut columns: Vec<String> = view.key.iter().map(|field| name(&field.name)).collect();
    columns.extend(["window_start", "window_end"].map(str::to_owned));
    for field in &view.answer {
        if let Some((_, sql)) = computed.iter().find(|(column, _)| *column == field.name) {
            columns.push(format!("{sql} AS {}", name(&field.name)));
        } else if view.measures.iter().any(|measure| measure.name == field.name) {
            columns.push(name(&field.name));
        }
    }
    format!("SELECT\n    {}\nFROM (\n{measures}\n)", columns.join(",\n    "))
}

/// The name of a merged state.
fn state(at: usize) -> String {
    format!("_state{at}")
}

/// The starts of the windows that hold a pane, a row each.
fn windows(view: &ViewPlan) -> String {
    let (size, slide) = (view.window.size.0, view.window.slide.0);
    let pane = format!("toUnixTimestamp64Micro({PANE})");
    if size == slide {
        return format!("{pane} - positiveModulo({pane}, {size})");
    }
    // The last one is at the pane or before it, the others before that.
    let count = size / slide + 1;
    format!(
        "arrayJoin(arrayFilter(s -> s + {size} > {pane}, \
         arrayMap(i -> {pane} - positiveModulo({pane}, {slide}) - toInt64(i) * {slide}, range({count}))))"
    )
}

/// The merge of a state over the rows of a group.
pub(super) fn merge(field: &StateField) -> String {
    let column = name(&field.name);
    match field.rule {
        Rule::Sum => format!("sum({column})"),
        Rule::Min => format!("min({column})"),
        Rule::Max => format!("max({column})"),
        Rule::First | Rule::Last => {
            let function = if field.rule == Rule::First { "argMin" } else { "argMax" };
            let [value, time, sequence] =
                ordered_names(&field.name).map(|column| format!("assumeNotNull({})", name(&column)));
            format!("{function}OrNullIf({value}, ({time}, {sequence}, {value}), {column} IS NOT NULL)")
        }
        Rule::MapSum => format!("sumMap({column})"),
        Rule::MapMax => format!("maxMap({column})"),
    }
}

/// The answer of a measure, of the merged states.
fn finish(view: &ViewPlan, measure: &Measure) -> String {
    let states: Vec<String> = measure.states.iter().map(|at| state(*at)).collect();
    let ty = measure.states.first().and_then(|at| view.fields.get(*at)).map(|field| field.ty);
    // Minus zero is zero.
    let plain = |x: &str| if ty == Some(Type::Float) { format!("{x} + 0.") } else { x.to_owned() };
    match (measure.aggregate.function, states.as_slice()) {
        (Function::Sum, [sum, count]) => format!("if({count} = 0, NULL, {})", plain(sum)),
        (Function::Avg, [sum, count]) => format!("if({count} > 0, {sum} / toFloat64({count}) + 0., NULL)"),
        (Function::Min | Function::Max, [value]) => plain(value),
        (Function::Variance, [count, sum, squares]) => variance(count, sum, squares),
        (Function::Stddev, [count, sum, squares]) => format!("sqrt({})", variance(count, sum, squares)),
        (Function::Distinct, [registers]) => distinct(registers),
        (Function::Quantile(q), [buckets]) => quantile(buckets, q),
        // Counts are answers as they are; so are the newest and the oldest value, and a map, which cannot be null.
        (_, states) => states.first().cloned().unwrap_or_else(|| "NULL".to_owned()),
    }
}

/// `body` with `value` for `variable`, computed once.
fn with(variable: &str, value: &str, body: &str) -> String {
    format!("arrayElement(arrayMap({variable} -> {body}, [{value}]), 1)")
}

/// The rounding error of the product `p` of `a` and `b`, exactly (Dekker): what a fused multiply-add has.
fn error_of(a: &str, b: &str, p: &str) -> String {
    let high = |x: &str| format!("(134217729. * {x} - (134217729. * {x} - {x}))");
    let (ah, bh) = (high(a), high(b));
    let (al, bl) = (format!("({a} - {ah})"), format!("({b} - {bh})"));
    format!("((({ah} * {bh} - {p}) + {ah} * {bl} + {al} * {bh}) + {al} * {bl})")
}

/// Σ(x − mean)² / (n − 1) of the sample.
fn variance(count: &str, sum: &str, squares: &str) -> String {
    let slip = with("q", "n * -m", &format!("(({sum} + q) + {})", error_of("n", "(-m)", "q")));
    let spread = format!("(({squares} - p) - {} - m * {slip})", error_of(sum, "m", "p"));
    let value = with("d", &spread, "if(d < 0, 0., d / (n - 1.))");
    let value = with("p", &format!("{sum} * m"), &value);
    let value = with("m", &format!("{sum} / n"), &value);
    format!("if({count} < 2, NULL, {})", with("n", &format!("toFloat64({count})"), &value))
}

/// The value of the bucket at the rank of the quantile (see [`sketch`]).
fn quantile(buckets: &str, q: f64) -> String {
    let per_octave = sketch::PER_OCTAVE;
    let bound = |step: &str| format!("(3. - sqrt(4. - 3. * toFloat64({step}) / {per_octave}.))");
    let scale = format!("reinterpretAsFloat64(bitShiftLeft(toUInt64(e), {}))", sketch::MANTISSA_BITS);
    let absolute = with("h", &bound("(s + 1)"), &format!("{scale} * (2. * l * h / (l + h))"));
    let absolute = with("l", &bound("s"), &absolute);
    let absolute = with("s", &format!("abs(b) % {per_octave}"), &absolute);
    let absolute = format!("multiIf(e = 0, 0., e >= 2047, inf, {absolute})");
    let value = with("e", &format!("intDiv(abs(b), {per_octave})"), &format!("if(b < 0, -1., 1.) * {absolute}"));
    let rank = format!("toInt64({q:?} * toFloat64(arraySum(c.2) - 1))");
    let index = format!("arrayFirstIndex(x -> x > {rank}, arrayCumSum(c.2))");
    let bucket = format!("c[if({index} = 0, -1, {index})].1");
    let counted = format!("arraySort(arrayFilter(x -> x.2 > 0, CAST({buckets} AS Array(Tuple(Int32, Int64)))))");
    let value = with("c", &counted, &with("b", &bucket, &value));
    format!("if(arrayExists(x -> x > 0, mapValues({buckets})), {value} + 0., NULL)")
}

/// Ertl's estimate (see [`registers`]): its loops end when nothing changes any more, here after so many rounds that
/// nothing does.
fn distinct(ranks: &str) -> String {
    let (m, ranked) = (registers::REGISTERS, 64 - registers::PRECISION);
    let ones = format!("arrayMap(x -> map(x, toInt64(1)), mapValues({ranks}))");
    let sigma = "arrayFold((a, i) -> (a.1 * a.1, a.2 + a.2, a.3 + a.1 * a.1 * a.2), range(60), (x, 1., x)).3";
    let tau = "arrayFold((a, i) -> (sqrt(a.1), a.2 * 0.5, \
               a.3 - (1. - sqrt(a.1)) * (1. - sqrt(a.1)) * (a.2 * 0.5)), range(60), (x, 1., 1. - x)).3 / 3.";
    let tau =
        with("x", &format!("1. - toFloat64(r[{}]) / {m}.", ranked + 1), &format!("if(x <= 0. OR x >= 1., 0., {tau})"));
    let sigma = with("x", &format!("greatest({m}. - toFloat64(length({ranks})), 0.) / {m}."), sigma);
    let halved = format!(
        "arrayFold((z, i) -> 0.5 * (z + toFloat64(r[toInt64(i)])), arrayReverse(range(1, {})), {m}. * {tau})",
        ranked + 1
    );
    let estimate = format!(
        "toInt64(floor({m}. * {m}. / (2. * {:?} * ({halved} + {m}. * {sigma})) + 0.5))",
        std::f64::consts::LN_2
    );
    let value = with("r", &format!("arrayReduce('sumMap', {ones})"), &estimate);
    format!("if(empty({ranks}), 0, {value})")
}
