//! The suites, run against what this crate brings along, plain and behind decorators without faults.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;
use tideline_common::ports::{Analytics, Log, Objects, SpeedViews};
use tideline_stores::analytics::parquet::{ParquetAnalytics, ParquetAnalyticsConfig};
use tideline_stores::conformance::analytics::{AnalyticsFixture, Publication, publish_to_lake};
use tideline_stores::conformance::log::Time;
use tideline_stores::conformance::{self, Fixture};
use tideline_stores::faulty::{Faults, FaultyAnalytics, FaultyLog, FaultyObjects, FaultyViews};
use tideline_stores::log::embedded::{EmbeddedLog, EmbeddedLogConfig};
use tideline_stores::objects::ObjectStoreObjects;
use tideline_stores::views::embedded::{EmbeddedViews, EmbeddedViewsConfig};

/// A folder that is opened again and again; `faulty` puts decorators around what is opened.
struct Folder {
    folder: TempDir,
    faulty: bool,
}

impl Folder {
    fn new(faulty: bool) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), faulty }
    }
}

#[async_trait]
impl Fixture<dyn Log> for Folder {
    async fn open(&mut self) -> Arc<dyn Log> {
        let config = EmbeddedLogConfig { reserve_bytes: 0, ..EmbeddedLogConfig::default() };
        let log: Arc<dyn Log> = Arc::new(EmbeddedLog::open(self.folder.path(), config).unwrap());
        if self.faulty { Arc::new(FaultyLog::new(log, Faults::new(1))) } else { log }
    }
}

#[async_trait]
impl Fixture<dyn Objects> for Folder {
    async fn open(&mut self) -> Arc<dyn Objects> {
        let objects: Arc<dyn Objects> = Arc::new(ObjectStoreObjects::local(self.folder.path(), 0).unwrap());
        if self.faulty { Arc::new(FaultyObjects::new(objects, Faults::new(1))) } else { objects }
    }
}

#[async_trait]
impl Fixture<dyn SpeedViews> for Folder {
    async fn open(&mut self) -> Arc<dyn SpeedViews> {
        let config = EmbeddedViewsConfig { reserve_bytes: 0, ..EmbeddedViewsConfig::default() };
        let views: Arc<dyn SpeedViews> = Arc::new(EmbeddedViews::open(self.folder.path(), config).unwrap());
        if self.faulty { Arc::new(FaultyViews::new(views, Faults::new(1))) } else { views }
    }
}

/// A store in memory: opened again, it is the same one.
struct Memory(ObjectStoreObjects);

#[async_trait]
impl Fixture<dyn Objects> for Memory {
    async fn open(&mut self) -> Arc<dyn Objects> {
        Arc::new(self.0.clone())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_log() {
    conformance::log::suite(|| Folder::new(false), Time::Told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_log_behind_no_faults() {
    conformance::log::suite(|| Folder::new(true), Time::Told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_a_folder() {
    conformance::objects::suite(|| Folder::new(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_a_folder_behind_no_faults() {
    conformance::objects::suite(|| Folder::new(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_memory() {
    conformance::objects::suite(|| Memory(ObjectStoreObjects::memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_views() {
    conformance::views::suite(|| Folder::new(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_views_behind_no_faults() {
    conformance::views::suite(|| Folder::new(true)).await;
}

/// Analytics over a lake; `faulty` puts decorators around them.
struct Lake {
    objects: Arc<dyn Objects>,
    faulty: bool,
    _folder: Option<TempDir>,
}

impl Lake {
    fn folder(faulty: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = Arc::new(ObjectStoreObjects::local(folder.path(), 0).unwrap());
        Self { objects, faulty, _folder: Some(folder) }
    }

    fn memory() -> Self {
        Self { objects: Arc::new(ObjectStoreObjects::memory()), faulty: false, _folder: None }
    }
}

#[async_trait]
impl AnalyticsFixture for Lake {
    async fn open(&mut self) -> Arc<dyn Analytics> {
        let config = ParquetAnalyticsConfig::default();
        let analytics: Arc<dyn Analytics> = Arc::new(ParquetAnalytics::new(self.objects.clone(), config));
        if self.faulty { Arc::new(FaultyAnalytics::new(analytics, Faults::new(1))) } else { analytics }
    }

    async fn publish(&mut self, publication: &Publication) {
        // Small row groups, so that reads go over more than one.
        publish_to_lake(&*self.objects, publication, 4).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_in_a_folder() {
    conformance::analytics::suite(|| Lake::folder(false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_in_a_folder_behind_no_faults() {
    conformance::analytics::suite(|| Lake::folder(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_in_an_object_store() {
    conformance::analytics::suite(Lake::memory).await;
}
