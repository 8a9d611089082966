//! Making a copy: what the stores hold, and then what has been appended since.

use std::collections::BTreeMap;
use std::sync::Arc;

use tideline_common::changes;
use tideline_common::manifest::Manifest;
use tideline_common::ports::{PortError, Progress};
use tideline_common::position::{Offset, Partition, Shard};
use tideline_common::time::Timestamp;

use super::Because;
use super::follow::{CHUNK, Follow};
use super::frontier::Frontier;
use super::kept::{BatchPart, Finished, Kept, kept_panes, newest};
use super::tail::{Read, Tail};

/// Sheets that a key may have to be merged from: more take too long per change.
const SHEETS_MAX: i64 = 4_096;

impl Follow {
    /// Makes the copy and catches up; the tail goes on where it stands.
    pub(super) async fn load(&mut self) -> Result<Tail, Because> {
        let manifest = self.first_manifest().await?;
        // The order of these reads is what makes the copy right: see the module.
        let topic = changes::topic(&self.slot.view.name);
        let ends = self.ends(&topic).await?;
        let mut tail = Tail::of(&self.ports.log, &topic, &ends);
        let before = self.progress().await?;
        let shards = i64::try_from(before.len().max(1)).unwrap_or(i64::MAX);
        let view = self.slot.view.clone();
        let kept = view.window.size.0.saturating_add(view.window.slide.0).saturating_add(view.pane.0);
        if (kept / view.pane.0).saturating_mul(shards) > SHEETS_MAX {
            return Err(Because::TooLarge);
        }
        let mut part = self.batch_head(manifest).await?;
        let now = self.ports.clock.now();
        let newest_pane = self.read("speed", self.ports.views.newest_pane(&self.schema, now)).await?;
        let speed_end = newest_pane.map(|pane| pane.plus(view.pane));
        let mut window = newest(speed_end, part.end, view.window.size);
        let mut snapshot = Vec::new();
        if let Some(window) = &mut window {
            // Panes that have begun since are part of it.
            let from = kept_panes(&view, *window).from;
            let read = self.ports.views.shards_between(&self.schema, from, Timestamp::MAX, now);
            snapshot = self.read("speed", read).await?;
            let last = snapshot.iter().flat_map(|of| &of.panes.panes).max().map(|pane| pane.plus(view.pane));
            *window = newest(last.max(speed_end), part.end, view.window.size).unwrap_or(*window);
        }
        let goal = self.progress().await?;
        // Merged in the order of the shards.
        snapshot.sort_by(|a, b| a.shard.cmp(&b.shard));

        let positions: BTreeMap<Shard, Offset> =
            before.iter().map(|(shard, progress)| (shard.clone(), progress.position)).collect();
        let empty = BatchPart::new(None, part.boundary, None);
        self.slot.put(Some(Kept::new(view, Frontier::of(&before), empty, window)));
        for of in &snapshot {
            let position = positions.get(&of.shard).copied().unwrap_or(0);
            for from in (0..of.panes.len()).step_by(CHUNK) {
                let rows = from..of.panes.len().min(from + CHUNK);
                self.slot.write(|kept| kept.load(of, position, rows));
                if from % (64 * CHUNK) == 0 {
                    self.check_size()?;
                }
                tokio::task::yield_now().await;
            }
        }
        drop(snapshot);
        if let Some(window) = window {
            let panes = self.batch_panes(&part, window).await?;
            self.fill_batch(&mut part, &panes).await;
        }
        self.slot.write(|kept| kept.adopt(part, Finished::default()));
        self.check_size()?;
        // If what should have come was lost, nothing may ever come that is past the goal: then the copy is made anew.
        let bound = self.config.catch_up_timeout;
        tokio::time::timeout(bound, self.catch_up(&mut tail, &goal)).await.map_err(|_| Because::Behind)??;
        self.finish_all().await;
        self.check_size()?;
        Ok(tail)
    }

    async fn catch_up(&mut self, tail: &mut Tail, goal: &[(Shard, Progress)]) -> Result<(), Because> {
        while self.slot.read(|kept| !kept.frontier.has_reached(goal)).unwrap_or_default() {
            match tail.next().await {
                Read::Records(_, records) => self.take(&records, false).await?,
                Read::Ended(because) => return Err(because),
            }
        }
        Ok(())
    }

    async fn finish_all(&mut self) {
        let ids: Vec<_> = self.slot.read(Kept::ids).unwrap_or_default().collect();
        for ids in ids.chunks(CHUNK) {
            self.slot.write(|kept| {
                if let Some(window) = kept.window() {
                    let finished = kept.finish(ids, window, None);
                    kept.install(finished);
                }
            });
            tokio::task::yield_now().await;
        }
    }

    /// The newest manifest, once it could be read.
    async fn first_manifest(&mut self) -> Result<Option<Arc<Manifest>>, Because> {
        let known = self.watched.manifest.wait_for(Option::is_some);
        let known = tokio::time::timeout(self.config.read_timeout, known).await.map_err(|_| Because::StoreDown)?;
        known.map_err(|_| Because::StoreDown)?.clone().ok_or(Because::StoreDown)
    }

    /// The ends of a topic's partitions.
    async fn ends(&self, topic: &str) -> Result<BTreeMap<Partition, Offset>, Because> {
        let read = tokio::time::timeout(self.config.read_timeout, self.ports.log.topic(topic)).await;
        match read {
            Ok(Ok(info)) => Ok(info.partitions.iter().map(|(partition, (_, next))| (*partition, *next)).collect()),
            Ok(Err(PortError::NotFound { .. })) => Err(Because::NoTopic),
            Ok(Err(error)) => {
                tracing::debug!(%error, topic, "rankings cannot be kept: the log cannot be read");
                Err(Because::LogDown)
            }
            Err(_) => Err(Because::LogDown),
        }
    }

    /// Progress of the shards that feed the view.
    async fn progress(&self) -> Result<Vec<(Shard, Progress)>, Because> {
        let mut all = self.read("speed", self.ports.views.progress()).await?;
        all.retain(|(shard, progress)| {
            self.slot.view.sources.contains(&shard.source) && self.versions.has(shard, progress)
        });
        Ok(all)
    }
}
