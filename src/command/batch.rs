//! `tideline batch --once`: the batch layer now.

use std::process::ExitCode;

use anyhow::bail;
use bytes::Bytes;
use clap::Args;

use crate::client::Client;
use crate::command::place::Place;
use crate::platform::{Platform, Stores};

/// Runs the batch layer once and exits: in this process, or, while `tideline up` has the folder, in that one.
#[derive(Debug, Args)]
pub struct Batch {
    /// Run now and exit. A standing batch role needs the servers of a later version.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    place: Place,
    /// Server to ask when it has the folder; by default that of the configuration.
    #[arg(long, env = "TIDELINE_URL")]
    url: Option<String>,
}

impl Batch {
    /// Prints the report of the run.
    ///
    /// # Errors
    /// Definitions or a folder that cannot be used, a run that fails.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        if !self.once {
            bail!("with embedded stores the schedule runs in `tideline up`; use --once to run the batch layer now");
        }
        let config = self.place.config()?;
        let stores = match Stores::open(&self.place.data, &config).await {
            Ok(stores) => stores,
            Err(failure) => return ask(&Client::of_holder(failure, self.url.as_deref(), &config).await?).await,
        };
        let platform = Platform::start(self.place.plan()?, stores, &config).await?;
        let outcome = platform.batch.run().await;
        platform.stop().await;
        let report = outcome?;
        println!("{}", serde_json::to_string_pretty(&report)?);
        Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Starts a run in a server and waits for it.
async fn ask(client: &Client) -> anyhow::Result<ExitCode> {
    let started = client.post("/v1/batch/runs", Bytes::new()).await?;
    let Some(id) = started["id"].as_str() else { bail!("the server answered without an id: {started}") };
    loop {
        let run = client.get(&format!("/v1/batch/runs/{id}"), &[]).await?;
        match run["state"].as_str() {
            Some("succeeded") => {
                println!("{}", serde_json::to_string_pretty(&run)?);
                return Ok(ExitCode::SUCCESS);
            }
            Some("failed") => bail!("run {id} failed: {}", run["error"].as_str().unwrap_or("no reason given")),
            _ => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
        }
    }
}
