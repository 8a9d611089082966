//! A platform that dies and begins again: stores that stay when a process ends, with faults around each.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use serde_json::Value as Json;
use tempfile::TempDir;
use tideline::config::Config;
use tideline::golden::case::Case;
use tideline::golden::compare::{self, Answer};
use tideline::platform::{Platform, Stores};
use tideline_common::plan::Plan;
use tideline_common::ports::{Analytics, Log, ManualClock, Objects, SpeedViews};
use tideline_common::time::{Span, Timestamp};
use tideline_serving::boundary::Layer;
use tideline_serving::merge::{MAX_LIMIT, Reader, RowsRequest};
use tideline_stores::analytics::parquet::{ParquetAnalytics, ParquetAnalyticsConfig};
use tideline_stores::faulty::{Faults, FaultyAnalytics, FaultyLog, FaultyObjects, FaultyViews};
use tideline_stores::log::embedded::{EmbeddedLog, EmbeddedLogConfig};
use tideline_stores::objects::ObjectStoreObjects;
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};

use super::{PATIENCE, root};

/// The case of the golden folder, with topics of `partitions`.
pub fn case(partitions: u32) -> Case {
    let mut case = Case::read(&root("tests/golden/stock-sentiment")).unwrap();
    for source in &mut case.plan.sources {
        source.partitions = partitions;
    }
    case
}

/// What the stores hold stays when a process dies; the stores themselves are opened once.
pub struct World {
    pub log: Arc<dyn Log>,
    pub objects: Arc<dyn Objects>,
    pub views: Arc<dyn SpeedViews>,
    pub clock: Arc<ManualClock>,
    pub faults: Faults,
    pub folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        Self {
            log: Arc::new(EmbeddedLog::open(at("log"), EmbeddedLogConfig::default()).unwrap()),
            objects: Arc::new(ObjectStoreObjects::local(at("lake"), 0).unwrap()),
            views: Arc::new(EmbeddedViews::open(at("views"), EmbeddedViewsConfig::default()).unwrap()),
            clock: Arc::new(ManualClock::new(Timestamp::parse("2024-05-06T14:00:00Z").unwrap())),
            faults: Faults::new(3),
            folder,
        }
    }

    /// The stores of one more process.
    pub fn stores(&self) -> Stores {
        let analytics: Arc<dyn Analytics> =
            Arc::new(ParquetAnalytics::new(self.objects.clone(), ParquetAnalyticsConfig::default()));
        self.clock.advance(Span::SECOND);
        Stores::of(
            Arc::new(FaultyLog::new(self.log.clone(), self.faults.clone())),
            Arc::new(FaultyObjects::new(self.objects.clone(), self.faults.clone())),
            Arc::new(FaultyViews::new(self.views.clone(), self.faults.clone())),
            Arc::new(FaultyAnalytics::new(analytics, self.faults.clone())),
            self.clock.clone(),
        )
        .unwrap()
    }

    pub async fn start(&self, case: &Case, config: &Config) -> Platform {
        Platform::start(Arc::new(case.plan.clone()), self.stores(), config).await.unwrap()
    }
}

/// A process: its end drops whatever it is at, wherever it stands.
pub fn process<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let answer = runtime.block_on(work);
    runtime.shutdown_timeout(PATIENCE);
    answer
}

/// What differs between a layer's rows and those of the golden folder, by view.
pub async fn differences(
    reader: &Reader,
    plan: &Plan,
    expected: &BTreeMap<String, Vec<Json>>,
    layer: Layer,
) -> Vec<String> {
    let mut all = Vec::new();
    for view in &plan.views {
        let request = RowsRequest { view: view.name.clone(), layer, limit: Some(MAX_LIMIT), ..RowsRequest::default() };
        let answer = reader.rows(&request).await.unwrap();
        assert!(answer.cursor.is_none() && answer.provenance.missing.is_empty(), "{:?}", answer.provenance);
        let row = |row| Answer::of_row(&answer.key, &answer.columns, row);
        let found: Vec<Answer> = answer.rows.iter().map(row).collect();
        all.extend(compare::view(view, &expected[&view.name], &found));
    }
    all
}
