//! A store of analytics that is told of each version.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use support::{Lake, SHOP, config, order, plan};
use tideline_batch::{BatchConfig, BatchLayer, Stage};
use tideline_common::manifest::Manifest;
use tideline_common::ports::{Loaded, PortError, PortResult, Publication};
use tideline_common::time::Span;

/// A store that remembers what it was told, and fails while it is down.
#[derive(Debug, Default)]
struct Database(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    down: bool,
    loads: Vec<u64>,
    loaded: u64,
    kept: Vec<u64>,
}

impl Database {
    fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    fn loads(&self) -> Vec<u64> {
        self.0.lock().unwrap().loads.clone()
    }
}

#[async_trait]
impl Publication for Database {
    async fn load(&self, manifest: &Manifest) -> PortResult<Loaded> {
        let mut state = self.0.lock().unwrap();
        state.loads.push(manifest.version);
        if state.down {
            return Err(PortError::unavailable("the database", "it is down"));
        }
        let new = manifest.version > state.loaded;
        state.loaded = state.loaded.max(manifest.version);
        Ok(Loaded { files: u64::from(new), rows: 1, bytes: 1 })
    }

    async fn collect(&self, kept: &[Arc<Manifest>]) -> PortResult<u64> {
        let mut state = self.0.lock().unwrap();
        if state.down {
            return Err(PortError::unavailable("the database", "it is down"));
        }
        state.kept = kept.iter().map(|manifest| manifest.version).collect();
        Ok(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_load_is_a_warning_and_made_good_by_the_next_run() {
    let lake = Lake::new();
    let database = Arc::new(Database::default());
    let mut ports = lake.ports();
    ports.publication = Some(database.clone());
    let config = BatchConfig { keep_versions: 2, ..config() };
    let layer = BatchLayer::new(plan(SHOP), ports, config).unwrap();
    let add =
        async |first: u64| lake.bronze("orders", 0, first, &[order(first, &format!("o{first}"), 1, "tea", 1.0)]).await;

    database.set_down(true);
    add(0).await;
    let run = layer.run().await.unwrap();
    assert_eq!((run.published, run.loaded), (Some(1), None));
    assert!(run.warnings[0].contains("version 1 is published, and not loaded"), "{:?}", run.warnings);
    assert!(!run.is_clean() && run.stages_ms.contains_key(&Stage::Load));
    assert_eq!(*layer.published().borrow(), 1, "the version is published all the same");

    // Nothing new: the version is loaded now, and again changes nothing.
    database.set_down(false);
    let run = layer.run().await.unwrap();
    assert_eq!((run.published, run.loaded), (None, Some(Loaded { files: 1, rows: 1, bytes: 1 })));
    assert!(run.is_clean());
    assert_eq!(layer.run().await.unwrap().loaded.unwrap().files, 0);

    // A rollback is told too, and versions that go are dropped there as well.
    for first in 1..4 {
        lake.clock.advance(Span(2 * Span::HOUR.0));
        add(first).await;
        assert!(layer.run().await.unwrap().is_clean());
    }
    assert_eq!(layer.rollback(3).await.unwrap().version, 5);
    assert_eq!(database.loads(), [1, 1, 1, 2, 3, 4, 5]);
    assert_eq!(database.0.lock().unwrap().kept, [4, 3], "the newest first");
}
