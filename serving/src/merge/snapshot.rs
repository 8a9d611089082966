//! What one answer is made from: a manifest, the progress of speed, and how they split the panes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tideline_common::manifest::Manifest;
use tideline_common::plan::{Plan, ViewPlan};
use tideline_common::ports::Progress;
use tideline_common::position::Shard;
use tideline_common::time::{Span, Timestamp};
use tideline_common::watermark::{Watermark, combine};

use super::answer::{LayerPositions, ManifestRef, Provenance};
use crate::boundary::{Interval, Layer, Missing, Reason, Split};

/// The state of both layers when an answer began.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The manifest, for all reads of the answer.
    pub(crate) manifest: Option<Arc<Manifest>>,
    /// Why the manifest could not be read, when no earlier one is known either.
    pub(crate) unknown: Option<Reason>,
    /// Progress of every shard; empty when it is not needed or cannot be read.
    pub(crate) progress: Vec<(Shard, Progress)>,
    /// When.
    pub(crate) now: Timestamp,
}

/// The parts of one answer.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) through: Option<Timestamp>,
    pub(crate) split: Split,
    pub(crate) missing: Vec<Missing>,
}

impl Snapshot {
    /// The view's `through`, if the manifest has this version of the view.
    fn through(&self, view: &ViewPlan) -> Option<Timestamp> {
        let files = self.manifest.as_ref()?.views.get(&view.name)?;
        if files.plan == view.version { files.through } else { None }
    }

    /// The parts of an answer that needs no panes.
    pub(crate) fn nothing(&self, view: &ViewPlan, moved: Option<Timestamp>) -> Parts {
        let split = Split { batch: None, speed: None };
        Parts { through: moved.or_else(|| self.through(view)), split, missing: Vec::new() }
    }

    /// Splits `panes` of a view between the layers. `moved` puts the boundary elsewhere.
    pub(crate) fn split(
        &self,
        plan: &Plan,
        view: &ViewPlan,
        layer: Layer,
        panes: Interval,
        moved: Option<Timestamp>,
    ) -> Parts {
        let through = moved.or_else(|| self.through(view));
        let mut split = Split::of(layer, panes, through, view.pane);
        let mut missing = Vec::new();
        if layer == Layer::Merged && self.unknown.is_some() && moved.is_none() {
            missing.push(Missing { layer: Layer::Batch, panes, reason: Reason::BoundaryUnknown });
        }
        if layer == Layer::Merged
            && moved.is_none()
            && let Some(expired) = self.expired(plan, view, split)
        {
            if self.batch_has_all(view) {
                split = Split::batch_only(panes);
            } else {
                missing.push(Missing { layer: Layer::Speed, panes: expired, reason: Reason::Expired });
            }
        }
        Parts { through, split, missing }
    }

    /// Panes of speed that may have passed their time to live before the manifest was made, so that neither layer has
    /// them. Event times run ahead of append times by `max_ahead` at most; without one the whole interval is meant.
    fn expired(&self, plan: &Plan, view: &ViewPlan, split: Split) -> Option<Interval> {
        let (speed, manifest, live) = (split.speed?, self.manifest.as_ref()?, view.retain_speed?);
        let horizon = self.now.minus(live);
        if manifest.published_at >= horizon || manifest.views.get(&view.name)?.plan != view.version {
            return None;
        }
        let ahead = view.sources.iter().try_fold(Span::ZERO, |most, source| {
            plan.source(source).and_then(|s| s.max_ahead).map(|ahead| most.max(ahead))
        });
        let to = ahead.map_or(speed.to, |ahead| speed.to.min(horizon.plus(ahead)));
        Interval::new(speed.from, to)
    }

    /// Whether the manifest has taken in every record of the view's sources that speed has.
    fn batch_has_all(&self, view: &ViewPlan) -> bool {
        let Some(manifest) = &self.manifest else { return false };
        let mut shards = self.progress.iter().filter(|(shard, _)| view.sources.contains(&shard.source)).peekable();
        shards.peek().is_some()
            && shards.all(|(shard, progress)| {
                let taken = manifest.sources.get(&shard.source).and_then(|s| s.positions.get(&shard.partition));
                taken.copied().unwrap_or(0) >= progress.position
            })
    }

    /// The provenance of an answer over `sources` made of these parts.
    pub(crate) fn provenance(&self, plan: &Plan, sources: &[String], layer: Layer, parts: Parts) -> Provenance {
        let Parts { through, split, missing } = parts;
        for part in &missing {
            let labels = [("layer", part.layer.name()), ("reason", part.reason.name())];
            metrics::counter!("tideline_serving_partial_answers_total", &labels).increment(1);
        }
        let mut positions = LayerPositions::default();
        let mut watermarks = BTreeMap::new();
        let mut newest: Option<Timestamp> = None;
        for source in sources {
            let shards = || self.progress.iter().filter(|(shard, _)| shard.source == *source);
            if split.speed.is_some() {
                let taken = shards().map(|(shard, progress)| (shard.partition, progress.position)).collect();
                positions.speed.insert(source.clone(), taken);
                newest = newest.max(shards().filter_map(|(_, progress)| progress.last_appended).max());
            }
            let mut marks: Vec<Watermark> =
                shards().map(|(_, p)| Watermark { highest: p.highest, last_appended: p.last_appended }).collect();
            if let Some(progress) = self.manifest.as_ref().and_then(|m| m.sources.get(source)) {
                if split.batch.is_some() {
                    positions.batch.insert(source.clone(), progress.positions.clone());
                    newest = newest.max(progress.watermarks.values().filter_map(|mark| mark.last_appended).max());
                }
                if marks.is_empty() {
                    marks.extend(progress.watermarks.values());
                }
            }
            if let Some(source) = plan.source(source) {
                let at = combine(marks, source.lateness, source.idle_after, self.now);
                watermarks.insert(source.name.clone(), at);
            }
        }
        Provenance {
            layer,
            through,
            manifest: self.manifest.as_deref().map(manifest_ref),
            batch: split.batch,
            speed: split.speed,
            positions,
            watermarks,
            freshness_ms: newest.map(|at| freshness_ms(at, self.now)),
            appended: newest,
            kept: false,
            missing,
        }
    }
}

/// How fresh an answer is at `now` whose newest record was appended at `appended`, in milliseconds.
pub(crate) const fn freshness_ms(appended: Timestamp, now: Timestamp) -> i64 {
    let age = now.since(appended).0;
    if age > 0 { age / 1_000 } else { 0 }
}

/// What an answer says of a manifest.
pub(crate) fn manifest_ref(manifest: &Manifest) -> ManifestRef {
    ManifestRef { version: manifest.version, run: manifest.run.clone(), published_at: manifest.published_at }
}
