//! `classify` and `classify_score` in SQL, with models that answer by a rule.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use polars::prelude::{DataFrame, IntoLazy, LazyFrame, df};
use tideline_common::plan::{ExpressionTypes, Field};
use tideline_common::value::Type;
use tideline_transform::models::{Model, Models, TEXTS_MAX, install};
use tideline_transform::{SourceTransform, SqlTypes, sql};

use crate::plans::{field, plan, record};

/// Labels by length; counts how often it was made ready.
#[derive(Debug, Default)]
struct Counting {
    prepared: AtomicUsize,
}

impl Model for Counting {
    fn labels(&self) -> Result<Vec<String>, String> {
        Ok(["short", "long", "empty"].map(str::to_owned).to_vec())
    }

    fn prepare(&self) -> Result<(), String> {
        self.prepared.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Shorter texts are likelier `short`; four letters are as likely `long`. What is beyond the fourth digit is rounded.
    fn probabilities(&self, texts: &[&str]) -> Result<Vec<Vec<f64>>, String> {
        assert!(texts.len() <= TEXTS_MAX);
        let answer = |text: &&str| match text.len() {
            0 => vec![0.1, 0.2, 0.7],
            4 => vec![0.500_001, 0.500_002, 0.0],
            length if length > 4 => vec![0.250_049, 0.749_951, 0.0],
            _ => vec![0.9, 0.1, 0.0],
        };
        Ok(texts.iter().map(answer).collect())
    }
}

/// Says what is wrong with it, early or late.
#[derive(Debug)]
struct Broken(Option<Vec<String>>);

impl Model for Broken {
    fn labels(&self) -> Result<Vec<String>, String> {
        self.0.clone().ok_or_else(|| "/models/gone: there is no such folder".to_owned())
    }

    fn prepare(&self) -> Result<(), String> {
        Err("/models/broken: there is no model.safetensors".to_owned())
    }

    fn probabilities(&self, _: &[&str]) -> Result<Vec<Vec<f64>>, String> {
        Ok(vec![])
    }
}

static LENGTH: LazyLock<Arc<Counting>> = LazyLock::new(|| {
    let length = Arc::new(Counting::default());
    let models: [(&str, Arc<dyn Model>); 3] = [
        ("length", length.clone()),
        ("gone", Arc::new(Broken(None))),
        ("broken", Arc::new(Broken(Some(vec!["a".to_owned()])))),
    ];
    install(models.map(|(name, model)| (name.to_owned(), model)).into_iter().collect::<Models>());
    length
});

fn columns() -> Vec<Field> {
    vec![field("text", Type::String), field("other", Type::String), field("n", Type::Int)]
}

fn run(rows: DataFrame, expressions: &str) -> Result<DataFrame, String> {
    let mut context = sql::context(vec![("rows".to_owned(), rows.lazy())]);
    let frame = context.execute(&format!("SELECT {expressions} FROM rows"));
    frame.and_then(LazyFrame::collect).map_err(|error| error.to_string())
}

#[test]
fn a_label_and_a_probability_for_each_text() {
    LazyLock::force(&LENGTH);
    let rows = df!("text" => [Some("ab"), None, Some("a long text"), Some(""), Some("four"), Some("ab")]).unwrap();
    let found = run(rows, "classify('length', text) AS label, classify_score('length', text, 'long') AS long").unwrap();
    let expected = df!(
        // Equal after rounding: the first of the labels.
        "label" => [Some("short"), None, Some("long"), Some("empty"), Some("short"), Some("short")],
        "long" => [Some(0.1), None, Some(0.75), Some(0.2), Some(0.5), Some(0.1)],
    );
    assert!(found.equals_missing(&expected.unwrap()), "{found}");
    let none = df!("text" => Vec::<String>::new()).unwrap();
    assert_eq!(run(none, "classify('length', text) AS label").unwrap().height(), 0);
    let types = [("classify('length', text)", Type::String), ("classify_score('length', text, 'long')", Type::Float)];
    for (sql, ty) in types {
        assert_eq!(SqlTypes.type_of(sql, &columns()), Ok(ty), "{sql}");
    }
}

#[test]
fn mistakes_are_told() {
    LazyLock::force(&LENGTH);
    let cases = [
        (
            "classify('lenght', text)",
            "there is no model 'lenght', which [models.lenght] in the configuration would name",
        ),
        ("classify('lenght', text)", "there are broken, gone, length"),
        ("classify(other, text)", "names a model, in single quotes"),
        ("classify(NULL, text)", "names a model, in single quotes"),
        ("classify('length')", "`classify` takes 2 arguments, not 1"),
        ("classify('length', n)", "`classify` takes a string, not int"),
        ("classify_score('length', text)", "`classify_score` takes 3 arguments, not 2"),
        ("classify_score('length', text, other)", "the third a label, in single quotes"),
        ("classify_score('length', text, 'wide')", "model 'length' has no label 'wide', but short, long, empty"),
        ("classify_score('gone', text, 'a')", "model 'gone': /models/gone: there is no such folder"),
    ];
    for (sql, part) in cases {
        let error = SqlTypes.type_of(sql, &columns()).unwrap_err();
        assert!(error.message.contains(part), "{sql}: {}", error.message);
        let step = format!("SELECT {sql} AS found FROM rows");
        let error = SqlTypes.columns_of(&step, &[("rows", &columns())]).unwrap_err();
        assert!(error.message.contains(part), "{step}: {}", error.message);
    }
    let rows = df!("text" => ["a"]).unwrap();
    let error = run(rows, "classify('broken', text) AS label").unwrap_err();
    assert!(error.contains("model 'broken' did not answer each of 1 texts with 1 probabilities"), "{error}");
}

#[test]
fn a_model_is_ready_before_the_first_record() {
    let length = LazyLock::force(&LENGTH);
    let mut plan = plan();
    plan.tables[1].columns[1].sql = "classify('length', text)".to_owned();
    let before = length.prepared.load(Ordering::Relaxed);
    let source = SourceTransform::new(&plan, "s").unwrap();
    assert!(length.prepared.load(Ordering::Relaxed) > before);
    // More than a model is asked for at a time, and each text twice.
    let records: Vec<_> = (0..500)
        .map(|n| {
            record(
                n,
                format!(
                    r#"{{"at": 1, "text": "{}", "tags": ["t"]}}"#,
                    "x".repeat(n as usize % 40) + &(n / 80).to_string()
                ),
            )
        })
        .collect();
    let rows = source.decode(0, &records).unwrap().rows;
    let rows = source.table_rows("tags", &rows).unwrap();
    let found = rows.column("mood").unwrap().str().unwrap().clone();
    assert_eq!(found.len(), 500);
    assert!(
        found.iter().flatten().any(|label| label == "long") && found.iter().flatten().any(|label| label == "short")
    );

    plan.tables[1].columns[1].sql = "classify('broken', text)".to_owned();
    let error = SourceTransform::new(&plan, "s").unwrap_err().to_string();
    assert!(error.contains("model 'broken': /models/broken: there is no model.safetensors"), "{error}");
}
