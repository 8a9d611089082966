//! Speed views of one generation: what a replay makes anew, beside what is in use.
//!
//! A decorator: versions of views and lookups, and the shards that own rows, carry the generation in their names (see
//! [`tideline_common::generation`]), so rows of two generations lie in different tables and never meet. Nobody who reads or
//! writes through it sees that. Generation 0 has bare names, so a store that has never seen a replay is as it was.
//!
//! A reader takes the generation in use, looked up in the lake now and then; a writer has one for good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tideline_common::generation::{Generation, Replays, Step};
use tideline_common::key::Key;
use tideline_common::ports::{
    Created, Flush, LookupRows, LookupSchema, Objects, PanePage, PaneQuery, PortResult, Progress, ShardPanes,
    SpeedViews, ViewSchema,
};
use tideline_common::position::Shard;
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;

/// How old what is known of replays may be.
const REFRESH: Duration = Duration::from_secs(2);

/// Notes that a replay has come to `step`. Noted again it changes nothing.
///
/// # Errors
/// What the object store answers.
pub async fn note(objects: &dyn Objects, generation: Generation, step: Step, now: Timestamp) -> PortResult<Created> {
    objects.put_if_absent(&step.path(generation), Bytes::from(now.to_string())).await
}

/// See the module.
#[derive(Clone, Debug)]
pub struct GenerationViews {
    inner: Arc<dyn SpeedViews>,
    objects: Arc<dyn Objects>,
    which: Which,
}

#[derive(Clone, Debug)]
enum Which {
    One(Generation),
    InUse(Arc<Mutex<Known>>),
}

/// What was looked up last.
#[derive(Debug, Default)]
struct Known {
    generation: Option<Generation>,
    looked: Option<Instant>,
}

impl GenerationViews {
    /// The generation in use, as `objects` tell: for readers.
    pub fn in_use(inner: Arc<dyn SpeedViews>, objects: Arc<dyn Objects>) -> Self {
        Self { inner, objects, which: Which::InUse(Arc::default()) }
    }

    /// One generation for good: for writers.
    #[must_use]
    pub fn of(&self, generation: Generation) -> Self {
        Self { which: Which::One(generation), ..self.clone() }
    }
}

impl Known {
    /// What is known, and whether the caller is to look it up anew.
    fn look(&mut self) -> (Option<Generation>, bool) {
        let is_old = self.generation.is_some() && self.looked.is_none_or(|looked| looked.elapsed() >= REFRESH);
        if is_old {
            // Others do not look meanwhile.
            self.looked = Some(Instant::now());
        }
        (self.generation, is_old)
    }

    /// Generations only go up: a listing that took its time is no way back.
    fn learn(&mut self, generation: Generation) {
        self.generation = self.generation.max(Some(generation));
        self.looked = Some(Instant::now());
    }
}

/// The view in `generation`.
pub fn view_of(generation: Generation, view: &ViewSchema) -> ViewSchema {
    ViewSchema { version: generation.name(&view.version), ..view.clone() }
}

/// The lookup in `generation`.
pub fn lookup_of(generation: Generation, lookup: &LookupSchema) -> LookupSchema {
    LookupSchema { version: generation.name(&lookup.version), ..lookup.clone() }
}

#[async_trait]
impl SpeedViews for GenerationViews {
    async fn write(&self, flush: &Flush, now: Timestamp) -> PortResult<()> {
        let generation = self.generation().await?;
        if generation.0 == 0 {
            return self.inner.write(flush, now).await;
        }
        let mut flush = flush.clone();
        flush.shard = generation.shard(&flush.shard);
        for panes in &mut flush.panes {
            panes.view = view_of(generation, &panes.view);
        }
        for (lookup, _) in &mut flush.rows {
            *lookup = lookup_of(generation, lookup);
        }
        self.inner.write(&flush, now).await
    }

    async fn panes(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage> {
        let view = view_of(self.generation().await?, view);
        self.inner.panes(&view, query, now).await
    }

    async fn late(&self, view: &ViewSchema, query: &PaneQuery, now: Timestamp) -> PortResult<PanePage> {
        let view = view_of(self.generation().await?, view);
        self.inner.late(&view, query, now).await
    }

    async fn newest_pane(&self, view: &ViewSchema, now: Timestamp) -> PortResult<Option<Timestamp>> {
        let view = view_of(self.generation().await?, view);
        self.inner.newest_pane(&view, now).await
    }

    async fn panes_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<StateBatch> {
        let view = view_of(self.generation().await?, view);
        self.inner.panes_between(&view, from, to, now).await
    }

    async fn shards_between(
        &self,
        view: &ViewSchema,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
    ) -> PortResult<Vec<ShardPanes>> {
        let generation = self.generation().await?;
        let found = self.inner.shards_between(&view_of(generation, view), from, to, now).await?;
        let own = |panes: ShardPanes| generation.own(&panes.shard).map(|shard| ShardPanes { shard, ..panes });
        Ok(found.into_iter().filter_map(own).collect())
    }

    async fn rows(&self, lookup: &LookupSchema, key: &Key, limit: usize, now: Timestamp) -> PortResult<LookupRows> {
        let lookup = lookup_of(self.generation().await?, lookup);
        self.inner.rows(&lookup, key, limit, now).await
    }

    /// The generation that is read and written. Once one is known nobody waits for the lake: what is in use is looked up
    /// beside, and while that fails the one that was in use still is.
    async fn generation(&self) -> PortResult<Generation> {
        let known = match &self.which {
            Which::One(generation) => return Ok(*generation),
            Which::InUse(known) => known,
        };
        if let (Some(generation), is_old) = known.lock().look() {
            if is_old {
                let (known, objects) = (Arc::clone(known), Arc::clone(&self.objects));
                tokio::spawn(async move {
                    match Replays::read(objects.as_ref()).await {
                        Ok(replays) => known.lock().learn(replays.current()),
                        Err(error) => tracing::debug!(%error, "replays could not be looked up"),
                    }
                });
            }
            return Ok(generation);
        }
        let current = Replays::read(self.objects.as_ref()).await?.current();
        known.lock().learn(current);
        Ok(current)
    }

    async fn progress(&self) -> PortResult<Vec<(Shard, Progress)>> {
        let generation = self.generation().await?;
        let found = self.inner.progress().await?;
        Ok(found.into_iter().filter_map(|(shard, progress)| Some((generation.own(&shard)?, progress))).collect())
    }

    async fn sync(&self) -> PortResult<()> {
        self.inner.sync().await
    }

    /// Keeps what a replay makes beside this generation.
    async fn expire(&self, views: &[ViewSchema], lookups: &[LookupSchema], now: Timestamp) -> PortResult<u64> {
        let replays = Replays::read(self.objects.as_ref()).await?;
        let mut kept = vec![self.generation().await?, replays.current()];
        kept.extend(replays.building());
        kept.sort();
        kept.dedup();
        let views: Vec<_> = kept.iter().flat_map(|g| views.iter().map(|view| view_of(*g, view))).collect();
        let lookups: Vec<_> = kept.iter().flat_map(|g| lookups.iter().map(|lookup| lookup_of(*g, lookup))).collect();
        self.inner.expire(&views, &lookups, now).await
    }
}
