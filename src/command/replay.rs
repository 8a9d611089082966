//! `tideline replay`: speed views and Gold from Bronze alone.

use std::process::ExitCode;

use clap::Args;

use crate::command::place::Place;
use crate::process::shutdown_signal;
use crate::replay::replay;
use crate::stores::Stores;

/// Makes speed views and Gold anew from Bronze alone, beside what is in use, and takes over when they are whole. Killed
/// or stopped, it goes on where it stood when it is begun again. Embedded stores must not be in use; over shared stores
/// workers may run: they end by themselves when the new views take over, and are to be started again.
#[derive(Debug, Args)]
pub struct Replay {
    /// Also when retention has dropped the beginning of Bronze, so that what is made anew lacks it.
    #[arg(long)]
    lossy: bool,
    #[command(flatten)]
    place: Place,
}

impl Replay {
    /// Replays, and prints what was done.
    ///
    /// # Errors
    /// A folder that another process has, Bronze that cannot be read, stores that fail.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.place.config()?;
        let plan = self.place.plan()?;
        let stores = Stores::open(&self.place.data, &config).await?;
        let report = replay(&plan, &stores, &config, self.lossy, &shutdown_signal()?).await?;
        println!("{}", serde_json::to_string_pretty(&report)?);
        Ok(if report.gold.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
