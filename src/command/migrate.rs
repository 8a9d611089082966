//! `tideline migrate`: creates in the servers what the definitions need.

use clap::Args;
use tideline_common::ports::{LookupSchema, ViewSchema};

use crate::command::role::Role;
use crate::config::{AnalyticsKind, LogKind, ViewsKind};
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
            println!("kafka: {} topics", plan.sources.len());
        }
        if config.views.kind == ViewsKind::Scylla {
            let views: Vec<ViewSchema> = plan.views.iter().map(ViewSchema::from).collect();
            let lookups: Vec<LookupSchema> = plan.lookups.iter().map(LookupSchema::from).collect();
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
