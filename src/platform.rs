//! Every layer in one process.

use std::sync::Arc;
use std::time::Duration;

use tideline_batch::BatchLayer;
use tideline_common::generation::Generation;
use tideline_common::plan::Plan;
use tideline_common::ports::{LookupSchema, ViewSchema};
use tideline_ingest::appender::Appender;
use tideline_serving::live::Live;
use tideline_serving::merge::Reader;
use tideline_speed::SpeedHandle;
use tideline_speed::close::CloseHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::agreement::Agreements;
use crate::config::Config;
pub use crate::stores::Stores;

/// How often expired records and rows are dropped.
const MAINTENANCE_INTERVAL: Duration = Duration::from_mins(1);

/// Everything in one process.
#[derive(Debug)]
pub struct Platform {
    /// What runs.
    pub plan: Arc<Plan>,
    /// The stores.
    pub stores: Stores,
    /// The generation of speed views that it writes.
    pub generation: Generation,
    /// The speed layer.
    pub speed: Arc<SpeedHandle>,
    /// Closes windows: outputs and alerts.
    pub close: Arc<CloseHandle>,
    /// The batch layer.
    pub batch: Arc<BatchLayer>,
    /// The query engine.
    pub reader: Arc<Reader>,
    /// Shows what changes.
    pub live: Arc<Live>,
    /// Takes records in.
    pub appender: Arc<Appender>,
    /// Compares the layers.
    pub agreements: Arc<Agreements>,
    cancel: CancellationToken,
    maintenance: AbortOnDropHandle<()>,
    following: Option<AbortOnDropHandle<()>>,
    streams: AbortOnDropHandle<()>,
}

impl Platform {
    /// Starts every layer over `stores`. A batch run begins by sealing the speed layer, so that it sees
    /// everything that was appended before it.
    ///
    /// # Errors
    /// A plan that cannot be run, stores that fail.
    pub async fn start(plan: Arc<Plan>, stores: Stores, config: &Config) -> anyhow::Result<Self> {
        let cancel = CancellationToken::new();
        stores.ensure_topics(&plan).await?;
        let appender = stores.appender(&plan)?;
        let generation = stores.generation(&cancel).await?;
        let close = stores.close(&plan, config, generation, cancel.child_token()).await?;
        let speed = stores.speed(&plan, config, generation, cancel.child_token()).await?;
        let batch = stores.batch(&plan, config)?;
        let sealed = Arc::downgrade(&speed);
        batch.before_run(move || {
            let speed = sealed.upgrade();
            async move {
                match speed {
                    Some(speed) => speed.seal().await.map_err(|error| error.to_string()),
                    None => Err("the speed layer has stopped".to_owned()),
                }
            }
        });
        let reader = Arc::new(stores.ranking_reader(&plan, &config.serve, &cancel));
        let live = Live::start(Arc::clone(&reader), Arc::clone(&stores.log), &cancel);
        let agreements =
            Arc::new(Agreements::new(Arc::clone(&batch), Arc::clone(&stores.views), Arc::clone(&stores.clock)));
        let upkeep = maintain(Arc::clone(&plan), stores.clone(), Arc::clone(&speed), cancel.clone());
        let maintenance = AbortOnDropHandle::new(tokio::spawn(upkeep));
        let streams = stores.spawn_streams(&plan, &cancel);
        let following = None;
        Ok(Self {
            plan,
            stores,
            generation,
            speed,
            close,
            batch,
            reader,
            live,
            appender,
            agreements,
            cancel,
            maintenance,
            following,
            streams: AbortOnDropHandle::new(streams),
        })
    }

    /// From now on the layers are compared after every version that is published, in the background.
    pub fn follow_agreement(&mut self) {
        if self.following.is_none() {
            let follow = Arc::clone(&self.agreements).follow(self.cancel.child_token());
            self.following = Some(AbortOnDropHandle::new(tokio::spawn(follow)));
        }
    }

    /// Stops in order: batch ends at its next step, and with it a comparison; the speed layer flushes, writes Bronze
    /// and a checkpoint.
    pub async fn stop(self) {
        self.batch.shutdown().await;
        self.cancel.cancel();
        if let Some(following) = self.following
            && let Err(error) = following.await
        {
            tracing::error!(%error, "the comparison of the layers ended by itself");
        }
        self.speed.join().await;
        self.close.join().await;
        self.stores.stop_tracking().await;
        if let Err(error) = self.maintenance.await {
            tracing::error!(%error, "maintenance ended by itself");
        }
        if let Err(error) = self.streams.await {
            tracing::error!(%error, "what takes changes into ClickHouse ended by itself");
        }
    }
}

/// Drops what retention and times to live no longer keep, now and then.
pub async fn maintain(plan: Arc<Plan>, stores: Stores, speed: Arc<SpeedHandle>, cancel: CancellationToken) {
    let views: Vec<ViewSchema> = plan.views.iter().map(ViewSchema::from).collect();
    let lookups: Vec<LookupSchema> = plan.lookups.iter().map(LookupSchema::from).collect();
    while cancel.run_until_cancelled(tokio::time::sleep(MAINTENANCE_INTERVAL)).await.is_some() {
        let now = stores.clock.now();
        match stores.log.expire(now, &speed.keep_from()).await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "expired records of the log dropped"),
            Err(error) => tracing::warn!(%error, "the log could not drop expired records"),
        }
        match stores.views.expire(&views, &lookups, now).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "expired rows of the views dropped"),
            Err(error) => tracing::warn!(%error, "the views could not drop expired rows"),
        }
    }
}
