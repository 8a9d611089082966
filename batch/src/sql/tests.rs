#![allow(clippy::unwrap_used)]

use tideline_common::plan::load;
use tideline_transform::SqlTypes;

use super::*;

const DEFINITION: &str = r#"
version = 1
name = "shop"

[sources.orders]
topic = "orders"
columns = { id = "string", at = "int", shop = "string", amount = "float", units = "int", gift = "bool", note = "string" }
event_time = { column = "at", format = "epoch_ms" }

[tables.sales]
from = "orders"
columns = { shop = "shop", amount = "amount", units = "units", gift = "gift", note = "note" }

[views.revenue]
key = ["shop"]
window = "1m"
measures.MEASURE
"#;

fn view_of(measure: &str) -> (Plan, ViewPlan) {
    let text = DEFINITION.replace("MEASURE", &format!("m = {{ table = \"sales\", agg = \"{measure}\" }}"));
    let plan = load("test.toml", &text, &|_| None, &SqlTypes).unwrap();
    let view = plan.views[0].clone();
    (plan, view)
}

fn sql(measure: &str) -> Result<String, Unsupported> {
    let (plan, view) = view_of(measure);
    silver_to_gold(&plan, &view)
}

fn argument(expression: &str) -> Result<String, String> {
    let (plan, _) = view_of("count()");
    Argument::translate(expression, &plan.tables[0]).map(|argument| argument.sql).map_err(|error| error.reason)
}

#[test]
fn a_plain_state_is_one_statement() {
    let expected = "\
SELECT _key_0 AS `shop`,
       fromUnixTimestamp64Micro(_pane, 'UTC') AS `pane`,
       _field_0 AS `units_sum`,
       _field_1 AS `units_count`
FROM (
    SELECT _key_0, _when - positiveModulo(_when, toInt64(60000000)) AS _pane,
           ifNull(sum(_argument_0), toInt64(0)) AS _field_0,
           toInt64(count(_argument_0)) AS _field_1
    FROM (
      SELECT `shop` AS _key_0,
             toUnixTimestamp64Micro(`event_time`) AS _when,
             CAST(`units` AS Nullable(Int64)) AS _argument_0
      FROM s3('s3://lake/silver/sales/**.parquet', 'Parquet', '`event_time` DateTime64(6, \\'UTC\\'), `shop` \
Nullable(String), `units` Nullable(Int64)')
      WHERE `event_time` >= {from:DateTime64(6)} AND `event_time` < {to:DateTime64(6)}
    )
    GROUP BY _key_0, _pane
)
SETTINGS session_timezone = 'UTC', use_hive_partitioning = 0, output_format_parquet_compression_method = 'snappy', \
output_format_parquet_string_as_string = 1;";
    let (plan, view) = view_of("sum(units)");
    let names: Vec<&str> = view.fields.iter().map(|field| field.name.as_str()).collect();
    let expected = expected.replace("units_sum", names[0]).replace("units_count", names[1]);
    assert_eq!(silver_to_gold(&plan, &view).unwrap(), expected);
}

#[test]
fn each_map_is_a_statement_of_its_own() {
    let (plan, mut view) = view_of("quantile(amount, 0.9)");
    let (_, other) = view_of("distinct(note)");
    let (_, plain) = view_of("count()");
    view.fields.extend(other.fields);
    view.fields.extend(plain.fields);
    let statements = compile(&plan, &view).unwrap().statements;
    let fields: Vec<&[usize]> = statements.iter().map(|statement| statement.fields.as_slice()).collect();
    assert_eq!(fields, [&[2_usize][..], &[0], &[1]]);
    let distinct = statements[2].sql("t", "true");
    assert!(distinct.contains("xxh3(assumeNotNull(_argument_0))"), "{distinct}");
    // No condition but that on the time may reach the statistics of the files.
    assert_eq!(distinct.matches("WHERE").count(), 1, "{distinct}");
}

#[test]
fn what_has_no_sql_says_why() {
    let reason = sql("sum(vader(note))").unwrap_err();
    assert_eq!(reason.to_string(), "`vader(note)`: `vader` of these arguments has no SQL");
    assert!(argument("lower(note)").unwrap_err().contains("`lower`"));
    assert!(argument("round(amount, 2)").unwrap_err().contains("`round`"));
    assert!(argument("units % 3").unwrap_err().contains('%'));
    assert!(argument("gift < true").is_err());
    assert!(argument("note = NULL").unwrap_err().contains("NULL"));
    let deep = format!("{}units{}", "(".repeat(70), ")".repeat(70));
    assert!(argument(&deep).is_err(), "bounded");
}

#[test]
fn literals_take_the_type_of_what_they_meet() {
    assert_eq!(argument("units + 1").unwrap(), "(`units` + toInt64(1))");
    assert_eq!(argument("amount * 2").unwrap(), "(`amount` * toFloat64(toInt64(2)))");
    assert_eq!(argument("units / 2").unwrap(), "(toFloat64(`units`) / toFloat64(toInt64(2)))");
    assert_eq!(argument("0.5 * amount").unwrap(), "(reinterpretAsFloat64(toUInt64(4602678819172646912)) * `amount`)");
    assert_eq!(argument("note = 'it''s \\'").unwrap(), r"(`note` = 'it\'s \\')");
}

#[test]
fn null_and_nan_are_those_of_polars() {
    assert_eq!(
        argument("amount > 1").unwrap(),
        "if(isNull(`amount`) OR isNull(toFloat64(toInt64(1))), NULL, (`amount` > toFloat64(toInt64(1)) OR \
         (isNaN(`amount`) AND NOT isNaN(toFloat64(toInt64(1))))))"
    );
    assert_eq!(argument("CASE WHEN gift THEN amount END").unwrap(), "multiIf(ifNull(`gift`, false), `amount`, NULL)");
}

#[test]
fn names_and_texts_cannot_break_out() {
    assert_eq!(quoted("a`b\\c"), "`a\\`b\\\\c`");
    assert_eq!(literal("a'b\\c"), "'a\\'b\\\\c'");
}
