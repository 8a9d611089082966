//! `tideline verify`: do both layers agree?

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Value as Json, json};
use tideline_serving::api::agreement::Agreement;

use crate::agreement::as_answer;
use crate::client::{Client, Token};
use crate::command::place::Place;
use crate::command::print;
use crate::output::{Format, Rows};
use crate::platform::Stores;

/// Compares what the speed layer served with what the batch layer computed: in this process, or, while `tideline up`
/// has the folder, in that one. Exits with 1 when a difference is left that nothing explains.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    place: Place,
    /// Server to ask when it has the folder; by default that of the configuration.
    #[arg(long, env = "TIDELINE_URL")]
    url: Option<String>,
    #[command(flatten)]
    token: Token,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Verify {
    /// Prints the agreement per view.
    ///
    /// # Errors
    /// A folder that another process has which is no server, stores that cannot be read.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let agreement = self.compare().await?;
        print(|out| write(&agreement, self.format, out))?;
        Ok(verdict(&agreement))
    }

    async fn compare(&self) -> anyhow::Result<Agreement> {
        let config = self.place.config()?;
        match Stores::open(&self.place.data, &config).await {
            Ok(stores) => {
                let batch = stores.batch(&self.place.plan()?, &config)?;
                Ok(as_answer(&batch.reconcile(stores.views.as_ref()).await?))
            }
            Err(failure) => {
                let client = Client::of_holder(failure, self.url.as_deref(), &self.token, &config).await?;
                ask(&client).await.context("the server that has the folder could not compare the layers")
            }
        }
    }
}

/// Lets a server compare its layers.
///
/// # Errors
/// A server that does not answer, or has not both layers.
pub async fn ask(client: &Client) -> anyhow::Result<Agreement> {
    let answer = client.get("/v1/agreement", &[]).await?;
    serde_json::from_value(answer).context("the server speaks of agreement in another way than this program")
}

/// Whether everything that differs is explained.
pub fn verdict(agreement: &Agreement) -> ExitCode {
    if agreement.unexplained == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes a table of views; for people also what was skipped, examples of differences, and the verdict.
///
/// # Errors
/// When `out` fails.
pub fn write(agreement: &Agreement, format: Format, out: &mut dyn Write) -> io::Result<()> {
    let people = format == Format::Table;
    if people && agreement.version == 0 {
        return writeln!(out, "nothing to compare: the batch layer has not published anything yet");
    }
    rows(agreement).write(format, out)?;
    if !people {
        return Ok(());
    }
    for (view, found) in &agreement.views {
        if let Some(reason) = &found.skipped {
            writeln!(out, "{view}: skipped, {reason}")?;
        }
        for example in &found.examples {
            let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
            writeln!(
                out,
                "{view}: {} ({}) at {}{}: speed has {}, batch has {}",
                example.because,
                example.key.join(","),
                example.pane,
                example.field.as_ref().map(|field| format!(", {field}")).unwrap_or_default(),
                side(&example.speed),
                side(&example.batch),
            )?;
        }
    }
    match agreement.unexplained {
        0 => writeln!(out, "the layers agree on version {}", agreement.version),
        n => {
            writeln!(out, "the layers DISAGREE on version {}: {n} differences that nothing explains", agreement.version)
        }
    }
}

fn rows(agreement: &Agreement) -> Rows {
    let rows: Vec<Json> = agreement
        .views
        .iter()
        .map(|(view, found)| {
            json!({
                "view": view,
                "through": found.through,
                "compared": found.compared,
                "equal": found.equal,
                "late": found.late,
                "expired": found.expired,
                "duplicate": found.duplicate,
                "not_yet": found.not_yet,
                "unexplained": found.unexplained,
            })
        })
        .collect();
    Rows::of_objects(&rows)
}
