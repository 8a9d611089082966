//! Views and checkpoints made anew from Bronze alone: what a replay does.
//!
//! The same tasks run over the same records as ever, and end where Bronze does. They have a generation of their own
//! ([`SpeedConfig::generation`]): no checkpoint of those at work meanwhile is taken for theirs, and whoever goes on with
//! this generation later finds a checkpoint at the end of Bronze and reads on from there. Cut off, a rebuild goes on from
//! its own last checkpoint. Nothing is appended to topics of changes, nor to those of outputs: what was told there before
//! holds still.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use tideline_common::plan::Plan;
use tideline_common::position::{Offset, Partition, Shard};
use tideline_transform::bronze::chain;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, Reads, compute, persist};
use crate::layer::{SpeedLayer, SpeedPorts};
use crate::program::Program;
use crate::shard::{Controls, Durable, run};
use crate::status::StatusCell;
use crate::{SpeedConfig, SpeedError};

/// What was made anew of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// Whose.
    pub shard: Shard,
    /// Everything of Bronze before this offset is in the views, and in the checkpoint that stands there.
    pub position: Offset,
    /// Records taken in since the shard's first.
    pub records: u64,
    /// Of these, dead letters.
    pub rejected: u64,
    /// Of these, duplicates.
    pub duplicates: u64,
    /// Rows left to batch, once per view that they were late for.
    pub late: u64,
}

impl SpeedLayer {
    /// Makes the views of `plan` anew from Bronze, to the end that it has when each shard gets there, and puts a
    /// checkpoint there. Of the ports neither the log nor the membership is asked. What fails for a while is tried again
    /// until `cancel`; beginning again goes on from the last checkpoint.
    ///
    /// # Errors
    /// A configuration out of its bounds, an expression that cannot be run, Bronze that is damaged or has a hole, a state
    /// beyond `speed.max_state_bytes`; [`SpeedError::Stopped`] when cancelled.
    pub async fn rebuild(
        plan: Arc<Plan>,
        ports: SpeedPorts,
        config: SpeedConfig,
        cancel: CancellationToken,
    ) -> Result<Vec<Rebuilt>, SpeedError> {
        config.check()?;
        let config = Arc::new(config);
        let mut shards = Vec::new();
        for source in plan.sources.clone() {
            let compiled = Arc::clone(&plan);
            let program = compute(move || Program::new(&compiled, &source)).await??;
            let program = Arc::new(program.untold());
            for partition in partitions(&ports, &config, &program.source.name).await? {
                shards.push((Arc::clone(&program), Shard::new(&program.source.name, partition)));
            }
        }
        let at_once = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)));
        let mut work = JoinSet::new();
        for (program, shard) in shards {
            let status = Arc::new(StatusCell::new(shard.clone()));
            let (ports, config) = (ports.clone(), Arc::clone(&config));
            let context = Context { shard, reads: Reads::Bronze, program, ports, config, status, _lease: None };
            let (at_once, stop) = (Arc::clone(&at_once), cancel.child_token());
            work.spawn(async move {
                // Never closed.
                let _turn = at_once.acquire_owned().await;
                rebuild_shard(Arc::new(context), stop).await
            });
        }
        let mut rebuilt = Vec::new();
        // The first that fails ends the others where they stand.
        while let Some(outcome) = work.join_next().await {
            rebuilt.push(outcome.map_err(|error| SpeedError::Panicked(error.to_string()))??);
        }
        rebuilt.sort_by(|a, b| a.shard.cmp(&b.shard));
        Ok(rebuilt)
    }
}

/// Partitions of a source that Bronze has.
async fn partitions(ports: &SpeedPorts, config: &SpeedConfig, source: &str) -> Result<BTreeSet<Partition>, SpeedError> {
    let folder = chain::source_folder(source);
    let pause = |attempt| config.pause(attempt, ports.clock.now().0 as u64);
    let objects = persist("list Bronze", || ports.objects.list(&folder), pause, |_| {}).await?;
    let files = objects.iter().filter_map(|object| chain::parse(source, &object.path, object.size));
    Ok(files.map(|(partition, _)| partition).collect())
}

async fn rebuild_shard(context: Arc<Context>, stop: CancellationToken) -> Result<Rebuilt, SpeedError> {
    let shard = context.shard.clone();
    // Nobody seals, and nobody waits to be told.
    let (_seal, wanted) = watch::channel(0);
    let (done, _durable) = watch::channel(Durable::default());
    let mut controls = Controls { stop: stop.clone(), layer: stop.clone(), seal: wanted, durable: done };
    let stopped = || {
        let reason = "the rebuild was stopped; begun again, it goes on from its last checkpoint".to_owned();
        SpeedError::Stopped { shard: shard.clone(), reason }
    };
    let mut attempt = 0;
    loop {
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(context.config.shutdown_timeout.to_std()).await;
        };
        let outcome = tokio::select! {
            outcome = run(&context, &mut controls) => outcome,
            () = overdue => return Err(stopped()),
        };
        if stop.is_cancelled() {
            return Err(stopped());
        }
        match outcome {
            Ok(()) => break,
            Err(error) if error.is_retryable() => {
                let pause = context.pause(attempt);
                attempt = attempt.saturating_add(1);
                tracing::warn!(%shard, %error, ?pause, "the rebuild of a shard starts again");
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(error) => return Err(error),
        }
    }
    let status = context.status.get();
    tracing::info!(%shard, position = status.position, records = status.records, "made anew from Bronze");
    Ok(Rebuilt {
        shard,
        position: status.position,
        records: status.records,
        rejected: status.rejected,
        duplicates: status.duplicates,
        late: status.late,
    })
}
