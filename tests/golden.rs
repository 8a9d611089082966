//! Every golden folder, in every mode (see `tideline::golden`).

use std::path::Path;

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let checks = tideline::golden::run(&folder).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    assert!(checks.len() > 10, "{name}: only {} checks were made", checks.len());
    let wrong: Vec<_> = checks.iter().filter(|check| !check.differences.is_empty()).collect();
    assert!(wrong.is_empty(), "{name}: {wrong:#?}");
}

#[test]
fn stock_sentiment() {
    check("stock-sentiment");
}

#[test]
fn movie_viewing() {
    check("movie-viewing");
}

#[test]
fn trendscope() {
    check("trendscope");
}

#[test]
fn customer_sentiment() {
    check("customer-sentiment");
}
