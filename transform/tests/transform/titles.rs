//! `titles` in SQL.

use polars::prelude::{DataFrame, IntoLazy, df};
use proptest::prelude::*;
use tideline_common::plan::ExpressionTypes;
use tideline_common::value::Type;
use tideline_enrich::TitleMatcher;
use tideline_transform::{SourceTransform, SqlTypes, sql};

use crate::plans::{field, plan, record};

fn lists(rows: DataFrame, expression: &str) -> Result<Vec<Option<Vec<String>>>, String> {
    let mut context = sql::context(vec![("rows".to_owned(), rows.lazy())]);
    let frame = context.execute(&format!("SELECT {expression} AS found FROM rows"));
    let frame = frame.and_then(polars::prelude::LazyFrame::collect).map_err(|error| error.to_string())?;
    let found = frame.column("found").unwrap().list().unwrap().clone();
    let texts = |row| Some(found.get_as_series(row)?.str().unwrap().iter().flatten().map(str::to_owned).collect());
    Ok((0..found.len()).map(texts).collect())
}

#[test]
fn the_titles_that_a_text_mentions() {
    let rows = df!("text" => [Some("dune: part TWO, and Alien 3; DUNE and alien 3"), None, Some("aliens"), Some("")]);
    let found = lists(rows.unwrap(), "titles(text, 'Dune', 'Alien 3', 'Dune: Part Two', 'dune')").unwrap();
    let list = |titles: &[&str]| Some(titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>());
    assert_eq!(found, [list(&["Dune: Part Two", "Alien 3", "Dune"]), None, list(&[]), list(&[])]);
    let none = df!("text" => Vec::<String>::new()).unwrap();
    assert_eq!(lists(none, "titles(text, 'Dune')"), Ok(vec![]));
}

#[test]
fn mistakes_are_told() {
    let columns = [field("text", Type::String), field("other", Type::String), field("n", Type::Int)];
    let long = format!("titles(text, '{}')", "x".repeat(513));
    let many: Vec<String> = (0..1025).map(|n| format!("'t{n}'")).collect();
    let many = format!("titles(text, {})", many.join(", "));
    let cases = [
        ("titles(text)", "at least one title"),
        ("titles(n, 'Dune')", "`titles` takes a string, not int"),
        ("titles(text, other)", "texts in single quotes"),
        ("titles(text, 'Dune', 7)", "texts in single quotes"),
        ("titles(text, 'Dune', NULL)", "texts in single quotes"),
        ("titles(text, 'Dune', ' ')", "blank"),
        (&long, "at most 512 bytes"),
        (&many, "at most 1024 titles"),
    ];
    for (sql, part) in cases {
        let error = SqlTypes.type_of(sql, &columns).unwrap_err();
        assert!(error.message.contains(part), "{sql}: {}", error.message);
        let step = format!("SELECT {sql} AS found FROM rows");
        let error = SqlTypes.columns_of(&step, &[("rows", &columns)]).unwrap_err();
        assert!(error.message.contains(part), "{step}: {}", error.message);
    }
    assert_eq!(SqlTypes.type_of("titles(text, 'Dune')", &columns), Ok(Type::Strings));
    let rows = df!("text" => ["Dune", "Alien"], "other" => ["Dune", "Alien"]).unwrap();
    assert!(lists(rows, "titles(text, other)").unwrap_err().contains("texts in single quotes"));
}

#[test]
fn a_table_has_a_row_per_title() {
    let mut plan = plan();
    let column = &mut plan.tables[1].columns[2];
    column.sql = "titles(text, 'Dune', 'It''s Alive')".to_owned();
    let source = SourceTransform::new(&plan, "s").unwrap();
    let records = [
        record(0, r#"{"at": 1, "text": "it's alive! DUNE, dune"}"#),
        record(1, r#"{"at": 2, "text": "nothing"}"#),
        record(2, r#"{"at": 3, "text": "dune"}"#),
    ];
    for _ in 0..2 {
        let rows = source.decode(0, &records).unwrap().rows;
        let rows = source.table_rows("tags", &rows).unwrap();
        let found: Vec<_> = rows.column("tag").unwrap().str().unwrap().iter().flatten().collect();
        assert_eq!(found, ["It's Alive", "Dune", "Dune"]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equals_the_matcher(
        titles in proptest::collection::vec("[aAbé' ]{0,3}[abc]", 1..6),
        texts in proptest::collection::vec(proptest::option::of("[aAbBcéÉ' ,]{0,20}"), 0..20),
    ) {
        let matcher: TitleMatcher = titles.iter().collect();
        let mentions = |text: &String| matcher.mentions(text).into_iter().map(str::to_owned).collect();
        let expected: Vec<Option<Vec<String>>> = texts.iter().map(|text| text.as_ref().map(mentions)).collect();
        let literals: Vec<String> = titles.iter().map(|title| format!("'{}'", title.replace('\'', "''"))).collect();
        let rows = df!("text" => texts).unwrap();
        prop_assert_eq!(lists(rows, &format!("titles(text, {})", literals.join(", "))).unwrap(), expected);
    }
}
