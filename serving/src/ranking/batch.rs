//! The part of batch: read once per manifest.

use std::sync::Arc;
use std::time::Instant;

use tideline_common::manifest::Manifest;
use tideline_common::state::StateBatch;
use tideline_common::time::Timestamp;

use super::Because;
use super::follow::{CHUNK, Follow};
use super::kept::{BatchPart, Finished, Kept, kept_panes};
use crate::boundary::{Interval, boundary};

/// Whether the manifests say the same of a view.
fn is_same(view: &str, a: Option<&Manifest>, b: Option<&Manifest>) -> bool {
    a.and_then(|manifest| manifest.views.get(view)) == b.and_then(|manifest| manifest.views.get(view))
}

impl Follow {
    /// What `manifest` says of the view, without its panes.
    pub(super) async fn batch_head(&self, manifest: Option<Arc<Manifest>>) -> Result<BatchPart, Because> {
        let view = &self.slot.view;
        let files = manifest.as_ref().and_then(|manifest| manifest.views.get(&view.name));
        let through = files.filter(|files| files.plan == view.version).and_then(|files| files.through);
        let boundary = boundary(through, view.pane);
        let mut end = None;
        if let Some(manifest) = manifest.as_ref().filter(|_| boundary > Timestamp::MIN) {
            let newest = self.read("batch", self.ports.analytics.newest_pane(manifest, &self.schema)).await?;
            // Gold also holds panes after the boundary; those are not batch's here.
            let last = if boundary == Timestamp::MAX { boundary } else { boundary.minus(view.pane) };
            end = newest.map(|pane| pane.min(last).plus(view.pane));
        }
        Ok(BatchPart::new(manifest, boundary, end))
    }

    /// The panes of a part that are kept for a window.
    pub(super) async fn batch_panes(&self, part: &BatchPart, window: Interval) -> Result<StateBatch, Because> {
        let window = kept_panes(&self.slot.view, window);
        match (&part.manifest, Interval::new(window.from, part.boundary.min(window.to))) {
            (Some(manifest), Some(panes)) => {
                let read = self.ports.analytics.panes_between(manifest, &self.schema, panes.from, panes.to);
                self.read("batch", read).await
            }
            _ => Ok(StateBatch::new(&self.schema.fields)),
        }
    }

    /// Fills a part that is not in use yet.
    pub(super) async fn fill_batch(&self, part: &mut BatchPart, panes: &StateBatch) {
        for from in (0..panes.len()).step_by(CHUNK) {
            let rows = from..panes.len().min(from + CHUNK);
            self.slot.write(|kept| kept.load_batch(part, panes, rows));
            tokio::task::yield_now().await;
        }
    }

    /// Takes over the newest manifest. Until its panes are read the copy answers by the one before, whole.
    pub(super) async fn adopt_manifest(&mut self) -> Result<(), Because> {
        let Some(manifest) = self.watched.manifest.borrow_and_update().clone() else { return Ok(()) };
        let view = self.slot.view.name.clone();
        let same = self.slot.write(|kept| {
            let same = is_same(&view, kept.batch.manifest.as_deref(), manifest.as_deref());
            if same {
                kept.batch.manifest.clone_from(&manifest);
            }
            same
        });
        if same != Some(false) {
            return Ok(());
        }
        let began = Instant::now();
        let mut part = self.batch_head(manifest).await?;
        let newest = self.slot.read(|kept| (kept.speed_end().max(part.end), kept.window())).unwrap_or_default();
        match newest {
            // The window moves back, to panes that have been dropped.
            (end, Some(window)) if end < Some(window.to) => return Err(Because::Loading),
            (Some(end), window) if window.is_none_or(|window| end > window.to) => self.slide(end, true).await,
            _ => {}
        }
        if let Some(window) = self.slot.read(Kept::window).flatten() {
            let panes = self.batch_panes(&part, window).await?;
            self.fill_batch(&mut part, &panes).await;
            let mut finished = Finished::default();
            let ids: Vec<_> = self.slot.read(Kept::ids).unwrap_or_default().collect();
            for ids in ids.chunks(CHUNK) {
                if let Some(some) = self.slot.read(|kept| kept.finish(ids, window, Some(&part))) {
                    finished.append(some);
                }
                tokio::task::yield_now().await;
            }
            self.slot.write(|kept| kept.adopt(part, finished));
        } else {
            self.slot.write(|kept| kept.adopt(part, Finished::default()));
        }
        self.slot.tell();
        tracing::debug!(view, took = ?began.elapsed(), "rankings have taken over a manifest");
        self.check_size()
    }
}
