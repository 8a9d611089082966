//! `tideline drift PREDICTION`: whether the data of a prediction is still as it was a day before.

use clap::Args;
use serde_json::{Value as Json, json};

use crate::client::escape;
use crate::command::print;
use crate::command::query::Server;
use crate::output::{Format, Rows};

/// Prints the drift report of an hour: each feature, and the errors of each version.
#[derive(Debug, Args)]
pub struct Drift {
    /// Prediction.
    prediction: String,
    /// A time of the hour; the newest with a report when absent.
    #[arg(long)]
    at: Option<String>,
    /// Partition of the view's changes; the first with a report when absent.
    #[arg(long)]
    partition: Option<u32>,
    /// Prints the whole report as JSON.
    #[arg(long)]
    json: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    server: Server,
}

impl Drift {
    /// Prints the report.
    ///
    /// # Errors
    /// No server, or its problem.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.server.client()?;
        let mut query = Vec::new();
        query.extend(self.at.map(|at| ("at", at)));
        query.extend(self.partition.map(|partition| ("partition", partition.to_string())));
        let path = format!("/v1/predictions/{}/drift", escape(&self.prediction));
        let report = client.get(&path, &query).await?;
        if self.json {
            return print(|out| writeln!(out, "{report}"));
        }
        let rows = rows(&report);
        print(|out| {
            if self.format == Format::Table {
                writeln!(out, "{}\n", summary(&report))?;
            }
            Rows::of_objects(&rows).write(self.format, out)
        })
    }
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or("?")
}

fn summary(report: &Json) -> String {
    let dataset = &report["dataset"];
    let verdict = if dataset["drift"] == true { "the data has drifted" } else { "the data has not drifted" };
    let extent = |of: &Json| format!("{} to {} ({} rows)", text(&of["from"]), text(&of["to"]), of["rows"]);
    format!(
        "{}: {verdict}: {} of {} features\nreference {}\ncurrent   {}",
        text(&report["prediction"]),
        dataset["drifted"],
        dataset["tested"],
        extent(&report["reference"]),
        extent(&report["current"]),
    )
}

/// One row per feature, then one per version.
fn rows(report: &Json) -> Vec<Json> {
    let row = |column: String, verdict: &Json| {
        json!({
            "column": column,
            "test": verdict["method"].as_str().or(verdict["reason"].as_str()),
            "score": verdict["score"],
            "threshold": verdict["threshold"],
            "drifted": verdict["drifted"],
        })
    };
    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    let features =
        list("features").into_iter().map(|feature| row(text(&feature["column"]).to_owned(), &feature["verdict"]));
    let errors = list("errors").into_iter();
    let errors = errors.map(|error| row(format!("error of {}", text(&error["version"])), &error["drift"]["verdict"]));
    features.chain(errors).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_row_per_feature_and_version() {
        let tested = json!({ "outcome": "tested", "method": "kolmogorov_smirnov", "score": 0.2, "threshold": 0.05, "drifted": false });
        let untested = json!({ "outcome": "untested", "reason": "no value" });
        let report = json!({
            "prediction": "trend",
            "reference": { "from": "a", "to": "b", "rows": 60 },
            "current": { "from": "c", "to": "d", "rows": 59 },
            "dataset": { "tested": 1, "drifted": 0, "drift": false },
            "features": [{ "column": "hour", "verdict": tested }],
            "errors": [{ "version": "v1", "drift": { "verdict": untested } }],
        });
        let rows = rows(&report);
        assert_eq!((&rows[0]["column"], &rows[0]["score"]), (&json!("hour"), &json!(0.2)));
        assert_eq!(
            (&rows[1]["column"], &rows[1]["test"], &rows[1]["score"]),
            (&json!("error of v1"), &json!("no value"), &Json::Null)
        );
        assert!(
            summary(&report)
                .starts_with("trend: the data has not drifted: 0 of 1 features\nreference a to b (60 rows)")
        );
    }
}
