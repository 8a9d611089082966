//! `tideline migrate`: creates in the servers what the definitions need.

use clap::Args;
use tideline_common::generation::{Generation, Replays};
use tideline_common::ports::{LookupSchema, ViewSchema};
use tideline_stores::views::generation;

use crate::command::role::Role;
use crate::config::{AnalyticsKind, Config, LogKind, ViewsKind};
use crate::stores::Stores;

/// Creates topics, keyspace and tables where they are missing, and changes what can be changed in place. It may run
/// again, and while everything works; data is never dropped.
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    role: Role,
}

impl Migrate {
    /// Prints what there is now.
    ///
    /// # Errors
    /// A server that is not there or refuses; a table that cannot be changed in place.
    pub async fn run(self) -> anyhow::Result<()> {
        let (config, plan) = (self.role.config()?, self.role.plan()?);
        if config.log.kind == LogKind::Kafka {
            let log = crate::stores::kafka(&config)?;
            Stores::ensure_topics_of(&log, &plan).await?;
            println!("kafka: {} topics", plan.sources.len() + plan.output_topics().len());
        }
        if config.views.kind == ViewsKind::Scylla {
            let in_use = in_use(&config).await;
            let views = plan.views.iter().map(|view| generation::view_of(in_use, &view.into()));
            let views: Vec<ViewSchema> = views.collect();
            let lookups = plan.lookups.iter().map(|lookup| generation::lookup_of(in_use, &lookup.into()));
            let lookups: Vec<LookupSchema> = lookups.collect();
            crate::stores::scylla(&config)?.migrate(&views, &lookups).await?;
            println!("scylla: keyspace {}, {} views, {} lookups", config.views.keyspace, views.len(), lookups.len());
        }
        if config.analytics.kind == AnalyticsKind::Clickhouse {
            crate::stores::clickhouse(&config, crate::stores::lake(&config)?)?.migrate(&plan).await?;
            println!(
                "clickhouse: database {}, {} views, {} reports",
                config.analytics.database,
                plan.views.len(),
                plan.reports.len()
            );
        }
        if config.log.kind == LogKind::Embedded
            && config.views.kind == ViewsKind::Embedded
            && config.analytics.kind == AnalyticsKind::Embedded
        {
            println!("nothing to do: all stores are embedded");
        }
        Ok(())
    }
}

/// The generation of speed views in use; the first when the lake does not tell. Workers make what is missing themselves.
async fn in_use(config: &Config) -> Generation {
    // An embedded lake is not open to this command.
    let Ok(lake) = crate::stores::lake(config) else { return Generation::default() };
    match Replays::read(lake.as_ref()).await {
        Ok(replays) => replays.current(),
        Err(error) => {
            tracing::warn!(%error, "the lake does not tell whether there was a replay: tables as if there was none");
            Generation::default()
        }
    }
}
