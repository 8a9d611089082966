//! `tideline verify`: do both layers agree?

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value as Json, json};
use tideline_batch::reconcile::Agreement;

use crate::command::place::Place;
use crate::command::print;
use crate::output::{Format, Rows};
use crate::platform::Stores;

/// Compares what the speed layer served with what the batch layer computed; exits with 1 when a difference is left
/// that nothing explains.
#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    place: Place,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Verify {
    /// Prints the agreement per view.
    ///
    /// # Errors
    /// A folder that another process has, stores that cannot be read.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.place.config()?;
        let plan = self.place.plan()?;
        let stores = Stores::open(&self.place.data, &config).await?;
        let batch = stores.batch(&plan, &config)?;
        let agreement = batch.reconcile(Arc::clone(&stores.views).as_ref()).await?;
        if agreement.version == 0 {
            println!("nothing to compare: the batch layer has not published anything yet");
            return Ok(ExitCode::SUCCESS);
        }
        print(|out| rows(&agreement).write(self.format, out))?;
        for (view, found) in &agreement.views {
            if let Some(reason) = &found.skipped {
                eprintln!("{view}: skipped, {reason}");
            }
            for example in &found.examples {
                eprintln!("{view}: {}", serde_json::to_string(example)?);
            }
        }
        Ok(if agreement.unexplained() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn rows(agreement: &Agreement) -> Rows {
    let rows: Vec<Json> = agreement
        .views
        .iter()
        .map(|(view, found)| {
            json!({
                "view": view,
                "through": found.through.map(|at| at.to_string()),
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
