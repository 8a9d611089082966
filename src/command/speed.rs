//! `tideline speed`: a worker of the speed layer.

use std::sync::{Arc, OnceLock};

use clap::Args;
use tideline_common::generation::Generation;
use tideline_common::plan::Plan;
use tideline_serving::api::{self, ApiParts, Scope};
use tideline_speed::SpeedHandle;
use tideline_speed::close::CloseHandle;
use tokio_util::sync::CancellationToken;

use crate::command::role::{NoTopics, Role};
use crate::command::up::{guarded_config, spawn_replay_watch};
use crate::config::Config;
use crate::controls::Status;
use crate::platform::maintain;
use crate::process::Process;
use crate::stores::Stores;

/// Runs one worker of the speed layer. Workers of one group share the partitions; start and stop as many as you like.
#[derive(Debug, Args)]
pub struct Speed {
    #[command(flatten)]
    role: Role,
    /// Address of health, status and metrics; port 0 is any that is free.
    #[arg(long, default_value = "127.0.0.1:8081", env = "TIDELINE_LISTEN")]
    listen: String,
}

impl Speed {
    /// Runs until SIGTERM or SIGINT, then hands its partitions over in order.
    ///
    /// # Errors
    /// Definitions, configuration or address that cannot be used; a plan that cannot be run.
    pub async fn run(self) -> anyhow::Result<()> {
        let (config, plan) = (self.role.config()?, self.role.plan()?);
        let stores = Stores::shared("speed", &config).await?;
        let process = Process::begin(&self.listen, &config.serve).await?;
        let address = process.address()?;
        let guarded = guarded_config(&config, Scope::Operations, process.shutdown())?;
        tracing::info!(%address, pipelines = %plan.name, "a speed worker is up");

        // The layer begins when the log is there; until then the process is alive, and not ready.
        let (slot, closing) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
        let router = api::router(ApiParts {
            reader: Arc::new(stores.reader(&plan, &config.serve)),
            topics: Arc::new(NoTopics),
            batch: None,
            agreement: None,
            live: None,
            status: Arc::new(Status::new(&plan, &stores).starting_speed(Arc::clone(&slot), Arc::clone(&closing))),
            metrics: process.metrics(),
            config: guarded,
        });
        let shutdown = process.shutdown().clone();
        let serving = tokio::spawn(process.serve(router));
        let cancel = CancellationToken::new();
        let worked = tokio::select! {
            started = start(&stores, &plan, &config, &cancel) => match started {
                Ok((generation, speed, close)) => {
                    let watch = spawn_replay_watch(&stores, generation, shutdown.clone());
                    // Set once, here.
                    let _ = slot.set(Arc::clone(&speed));
                    let _ = closing.set(Arc::clone(&close));
                    let upkeep = maintain(Arc::clone(&plan), stores.clone(), Arc::clone(&speed), cancel.clone());
                    let upkeep = tokio::spawn(upkeep);
                    shutdown.cancelled().await;
                    cancel.cancel();
                    speed.join().await;
                    close.join().await;
                    stores.stop_tracking().await;
                    upkeep.await?;
                    watch.await?
                }
                Err(error) => Err(error),
            },
            () = shutdown.cancelled() => Ok(()),
        };
        shutdown.cancel();
        serving.await??;
        tracing::info!("the speed worker has stopped");
        worked
    }
}

async fn start(
    stores: &Stores,
    plan: &Arc<Plan>,
    config: &Config,
    cancel: &CancellationToken,
) -> anyhow::Result<(Generation, Arc<SpeedHandle>, Arc<CloseHandle>)> {
    let generation = stores.generation(cancel).await?;
    // First who listens, then who tells.
    let close = stores.close(plan, config, generation, cancel.child_token()).await?;
    let speed = stores.speed(plan, config, generation, cancel.child_token()).await?;
    Ok((generation, speed, close))
}
