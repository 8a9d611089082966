//! `titles(text, 'Dune', …)` in SQL: mentions of known titles.
//!
//! The titles are constants. Their matcher is made when the expression is checked and found again by every batch.

use std::sync::{Arc, Mutex, PoisonError};

use polars::error::{PolarsResult, polars_bail, polars_err};
use polars::prelude::{Column, IntoColumn};
use polars_arrow::array::{Array, MutableBinaryViewArray};
use polars_plan::plans::AExpr;
use polars_plan::plans::IRPlan;
use polars_utils::arena::Node;
use tideline_enrich::TitleMatcher;
use tideline_enrich::titles::{Inserted, TITLE_BYTES_MAX};

use crate::functions::{self, texts};
use crate::types::string_lists;

/// Titles of one call.
const TITLES_MAX: usize = 1024;
/// Matchers that are kept, the least recently used goes first.
const MATCHERS_MAX: usize = 64;

static MATCHERS: Mutex<Vec<(Vec<String>, Arc<TitleMatcher>)>> = Mutex::new(Vec::new());

const NOT_CONSTANT: &str = "the titles of `titles` are texts in single quotes, such as 'Dune'";

/// The lists of titles that each text of the first column mentions; the other columns are the titles.
pub(crate) fn titles(columns: &mut [Column]) -> PolarsResult<Column> {
    let [text, titles @ ..] = &*columns else {
        polars_bail!(InvalidOperation: "`titles` lacks a text");
    };
    let mut names = Vec::with_capacity(titles.len());
    if !titles.iter().any(Column::is_empty) {
        for title in titles {
            names.push(constant(title)?);
        }
    }
    let texts = texts(text)?;
    let mut found = MutableBinaryViewArray::<str>::with_capacity(texts.len());
    let mut ends = Vec::with_capacity(texts.len() + 1);
    ends.push(0_i64);
    // Without a title there was a row of none of them, and so no row at all.
    let matcher = if names.is_empty() { Arc::default() } else { matcher(names)? };
    for text in &texts {
        for title in text.into_iter().flat_map(|text| matcher.mentions(text)) {
            found.push_value(title);
        }
        ends.push(found.len() as i64);
    }
    Ok(string_lists(text.name().clone(), found.into(), ends, texts.validity().cloned()).into_column())
}

/// The one value of a column.
fn constant(column: &Column) -> PolarsResult<String> {
    let first = column.head(Some(1));
    let first = texts(&first)?;
    let same = match column {
        Column::Scalar(_) => true,
        Column::Series(_) if column.len() == 1 => true,
        Column::Series(_) => column.n_unique()? == 1,
    };
    match (first.get(0), same) {
        (Some(title), true) => Ok(title.to_owned()),
        _ => polars_bail!(InvalidOperation: "{NOT_CONSTANT}"),
    }
}

/// The matcher of these titles.
fn matcher(titles: Vec<String>) -> PolarsResult<Arc<TitleMatcher>> {
    let mut matchers = MATCHERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = matchers.iter().position(|(known, _)| *known == titles) {
        // The last is the one used last; nothing moves where there is one.
        matchers[at..].rotate_left(1);
        let found = matchers.last().map(|(_, matcher)| matcher.clone());
        return found.ok_or_else(|| polars_err!(InvalidOperation: "`titles` has no matcher"));
    }
    let mut made = TitleMatcher::with_limit(TITLES_MAX);
    for title in &titles {
        match made.insert(title) {
            Inserted::New | Inserted::Known => {}
            Inserted::Blank => polars_bail!(InvalidOperation: "a title of `titles` is blank"),
            Inserted::TooLong => {
                let start: String = title.chars().take(20).collect();
                polars_bail!(InvalidOperation:
                    "a title of `titles` has at most {TITLE_BYTES_MAX} bytes, and '{start}…' has {}", title.len());
            }
            Inserted::Full => polars_bail!(InvalidOperation: "`titles` takes at most {TITLES_MAX} titles"),
        }
    }
    let made = Arc::new(made);
    if matchers.len() >= MATCHERS_MAX {
        matchers.remove(0);
    }
    matchers.push((titles, made.clone()));
    Ok(made)
}

/// Checks the titles of every call of `titles` in a plan, and makes their matchers.
pub(crate) fn check(plan: &IRPlan) -> PolarsResult<()> {
    for node in 0..plan.expr_arena.len() {
        let AExpr::AnonymousFunction { input, function, .. } = plan.expr_arena.get(Node(node)) else { continue };
        if !functions::is("titles", function) {
            continue;
        }
        let mut names = Vec::with_capacity(input.len());
        for title in input.iter().skip(1) {
            match plan.expr_arena.get(title.node()) {
                AExpr::Literal(value) => names.push(value.extract_str().map(str::to_owned)),
                _ => names.push(None),
            }
        }
        let names: Option<Vec<String>> = names.into_iter().collect();
        matcher(names.ok_or_else(|| polars_err!(InvalidOperation: "{NOT_CONSTANT}"))?)?;
    }
    Ok(())
}
