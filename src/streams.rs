//! What speed knows, into `ClickHouse`: the changes of every view that has some are tailed into `<view>_stream_…`, so that
//! people who query `<view>` there see batch up to the tideline, and speed after it.

use std::sync::Arc;
use std::time::Duration;

use tideline_common::changes;
use tideline_common::plan::Plan;
use tideline_common::ports::Log;
use tideline_stores::analytics::clickhouse::{self, ClickHouseAnalytics};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// First pause before something that failed is tried again; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Makes the tables, and tails the changes of all views of `plan` that have some, until `cancel`. Several processes may
/// do so at once: what one has written already changes nothing.
pub async fn follow(log: Arc<dyn Log>, store: Arc<ClickHouseAnalytics>, plan: Arc<Plan>, cancel: CancellationToken) {
    let views: Vec<_> = plan.views.iter().filter(|view| changes::ranked(view)).cloned().collect();
    let mut pause = PAUSE;
    while !views.is_empty() && !cancel.is_cancelled() {
        match cancel.run_until_cancelled(attempt(&log, &store, &plan, &views, &cancel)).await {
            None | Some(Ok(())) => return,
            Some(Err(error)) => {
                tracing::warn!(%error, ?pause, "changes of speed are not taken into ClickHouse; trying again");
            }
        }
        cancel.run_until_cancelled(tokio::time::sleep(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Until one of the views cannot be followed; what is at work on the others ends with it, and begins again.
async fn attempt(
    log: &Arc<dyn Log>,
    store: &Arc<ClickHouseAnalytics>,
    plan: &Plan,
    views: &[tideline_common::plan::ViewPlan],
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    store.migrate(plan).await?;
    let mut work = JoinSet::new();
    for view in views {
        work.spawn(clickhouse::follow(Arc::clone(log), Arc::clone(store), view.clone(), cancel.child_token()));
    }
    tracing::info!(views = views.len(), "changes of speed are taken into ClickHouse");
    while let Some(ended) = work.join_next().await {
        ended??;
    }
    Ok(())
}
