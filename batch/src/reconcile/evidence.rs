//! What may explain a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use ahash::AHashSet;
use polars::prelude::{DataType, TimeUnit, col, lit};
use tideline_common::key::encode_row;
use tideline_common::manifest::Manifest;
use tideline_common::plan::{EVENT_TIME, ViewPlan};
use tideline_common::ports::{KeySelector, PaneQuery, PortError, SpeedViews, ViewSchema};
use tideline_common::position::{Offset, Partition, Positions, Shard};
use tideline_common::time::{Span, Timestamp};
use tideline_transform::{SEQUENCE, bronze, frame};

use super::agreement::Difference;
use crate::chain;
use crate::context::Context;
use crate::error::BatchError;
use crate::lake;
use crate::silver::seen;

/// A (key, pane).
pub(super) type Group = (Vec<u8>, Timestamp);

/// Low bits of a sequence that hold the offset, as [`tideline_common::position::sequence`] lays them out.
fn partition_of(sequence: i64) -> (Partition, Offset) {
    // The bit width is found from the function itself, so that the layout is known in one place.
    let bits = tideline_common::position::sequence(1, 0).trailing_zeros();
    ((sequence >> bits) as Partition, (sequence & ((1_i64 << bits) - 1)) as Offset)
}

/// How the positions of the two layers compare, for the sources of a view.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// A shard of the speed layer is behind the manifest: it may lack records of any pane.
    speed_behind: bool,
    /// Shards that have gone on beyond the manifest: highest event time + lateness arithmetic of each.
    ahead: Vec<Ahead>,
}

#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// Highest event time in the manifest.
    highest: Option<Timestamp>,
    lateness: Span,
}

impl Standing {
    /// `at_least` and `at_most` bound the positions of the rows that were compared.
    pub(super) fn of(
        context: &Context,
        view: &ViewPlan,
        manifest: &Manifest,
        at_least: &BTreeMap<Shard, Offset>,
        at_most: &BTreeMap<Shard, Offset>,
    ) -> Self {
        let mut standing = Self::default();
        for source in view.sources.iter().filter_map(|name| context.plan().source(name)) {
            let batch = manifest.sources.get(&source.name);
            let mut partitions: BTreeSet<Partition> =
                batch.into_iter().flat_map(|batch| batch.positions.keys().copied()).collect();
            partitions.extend(at_most.keys().filter(|shard| shard.source == source.name).map(|shard| shard.partition));
            for partition in partitions {
                let in_batch = batch.and_then(|batch| batch.positions.get(&partition)).copied().unwrap_or(0);
                let shard = Shard::new(&source.name, partition);
                if at_least.get(&shard).copied().unwrap_or(0) < in_batch {
                    standing.speed_behind = true;
                }
                if at_most.get(&shard).copied().unwrap_or(0) > in_batch {
                    let mark = batch.and_then(|batch| batch.watermarks.get(&partition));
                    let highest = mark.and_then(|mark| mark.highest);
                    standing.ahead.push(Ahead { highest, lateness: source.lateness });
                }
            }
        }
        standing
    }

    /// Whether records between the two positions may be in this pane. Those that speed has and batch lacks came
    /// after the partition's highest event time, and were on time only while a window that holds the pane was open.
    pub(super) fn may_touch(&self, view: &ViewPlan, pane: Timestamp) -> bool {
        let last = pane.plus(view.pane).minus(Span(1));
        self.speed_behind
            || self.ahead.iter().any(|ahead| {
                ahead.highest.is_none_or(|highest| {
                    !tideline_common::watermark::is_late(view.window, last, highest, ahead.lateness)
                })
            })
    }
}

/// For every partition of a view's sources, the first offset that was appended at or after `edge`: records from
/// there on cannot have expired. Partitions whose newest file is older than that have all expired.
pub(super) async fn live_from(
    context: &Context,
    view: &ViewPlan,
    edge: Timestamp,
) -> Result<BTreeMap<String, Positions>, BatchError> {
    let mut cutoffs = BTreeMap::new();
    for source in &view.sources {
        let mut listings = 0;
        let positions = loop {
            match cutoffs_of(context, source, edge).await {
                // Files that were joined to others since they were listed.
                Err(BatchError::Vanished { path }) if listings < LISTINGS => {
                    tracing::info!(path, "listing Bronze again");
                    listings += 1;
                }
                result => break result?,
            }
        };
        cutoffs.insert(source.clone(), positions);
    }
    Ok(cutoffs)
}

/// How often the chains of a source are listed again because files have vanished.
const LISTINGS: usize = 3;

async fn cutoffs_of(context: &Context, source: &str, edge: Timestamp) -> Result<Positions, BatchError> {
    let mut positions = Positions::new();
    for (partition, files) in chain::list(context.lake.objects.as_ref(), source).await? {
        let files = bronze::chain::without_covered(files);
        // Append times are monotonic in a partition: the file in question is found by halving.
        let (mut low, mut high) = (0, files.len());
        let mut cutoff = Offset::MAX;
        while low < high {
            let middle = low + (high - low) / 2;
            let path = files[middle].path.clone();
            let bytes = match context.lake.objects.get(&path).await {
                Err(PortError::NotFound { .. }) => return Err(BatchError::Vanished { path }),
                bytes => bytes?,
            };
            let content =
                lake::blocking(move || bronze::decode(bytes).map_err(|source| BatchError::Bronze { path, source }))
                    .await?;
            match content.records.iter().find(|record| record.appended >= edge) {
                Some(record) => {
                    cutoff = record.offset;
                    high = middle;
                }
                None => low = middle + 1,
            }
        }
        positions.insert(partition, cutoff);
    }
    Ok(positions)
}

/// Evidence for the panes of one time range.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    late: AHashSet<Group>,
    expired: AHashSet<Group>,
    duplicates: BTreeSet<Timestamp>,
}

impl Evidence {
    /// Gathers what is known of `range`.
    pub(super) async fn gather(
        context: &Context,
        views: &dyn SpeedViews,
        view: &ViewPlan,
        manifest: &Manifest,
        range: &Range<Timestamp>,
        live_from: Option<&BTreeMap<String, Positions>>,
    ) -> Result<Self, BatchError> {
        let mut evidence = Self::default();
        evidence.add_late(context, views, view, range).await?;
        for source in &view.sources {
            let Some(progress) = manifest.sources.get(source) else { continue };
            let dropped = seen::dropped_between(&context.lake, &progress.seen, range.start, range.end).await?;
            evidence.duplicates.extend(dropped.into_iter().map(|time| time.floor(view.pane)));
        }
        if let Some(live_from) = live_from {
            evidence.add_expired(context, view, manifest, range, live_from).await?;
        }
        Ok(evidence)
    }

    async fn add_late(
        &mut self,
        context: &Context,
        views: &dyn SpeedViews,
        view: &ViewPlan,
        range: &Range<Timestamp>,
    ) -> Result<(), BatchError> {
        let schema = ViewSchema::from(view);
        let mut after = None;
        loop {
            let query = PaneQuery {
                keys: KeySelector::All { after },
                from: range.start,
                to: range.end,
                max_rows: context.config.verify_page.max(1),
            };
            let page = views.late(&schema, &query, context.now).await?;
            for (row, pane) in page.panes.panes.iter().enumerate() {
                self.late.insert((page.panes.keys.get(row).to_vec(), *pane));
            }
            after = page.more_after;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Groups of which some partition has had no record since `live_from`.
    async fn add_expired(
        &mut self,
        context: &Context,
        view: &ViewPlan,
        manifest: &Manifest,
        range: &Range<Timestamp>,
        live_from: &BTreeMap<String, Positions>,
    ) -> Result<(), BatchError> {
        let none = Positions::new();
        for name in &view.tables {
            let (Some(plan), Some(files)) = (context.plan().table(name), manifest.tables.get(name)) else { continue };
            let overlapping =
                files.files.iter().filter(|file| file.min_time < range.end && file.max_time >= range.start);
            let scan =
                context.lake.scan(overlapping.map(|file| file.path.as_str()), &lake::silver_fields(plan)).await?;
            let time = |time: Timestamp| lit(time.0).cast(DataType::Datetime(TimeUnit::Microseconds, None));
            let pane = "_pane";
            let (from, to, length) = (range.start, range.end, view.pane.0);
            let bits = tideline_common::position::sequence(1, 0);
            let mut by: Vec<_> = view.key.iter().map(|field| col(field.name.as_str())).collect();
            by.push(col(pane));
            by.push(col("_partition"));
            let (fields, what) = (view.key.clone(), format!("records of {name} in the compared panes"));
            let groups = lake::blocking(move || {
                let micros = col(EVENT_TIME).cast(DataType::Int64);
                let grouped = scan
                    .filter(col(EVENT_TIME).gt_eq(time(from)).and(col(EVENT_TIME).lt(time(to))))
                    .with_columns([
                        micros.floor_div(lit(length)).alias(pane),
                        col(SEQUENCE).floor_div(lit(bits)).alias("_partition"),
                    ])
                    .group_by(by)
                    .agg([col(SEQUENCE).max()])
                    .collect()
                    .map_err(BatchError::frame(what))?;
                let keys = frame::frame_to_columns(&fields, &grouped)?;
                let panes = lake::integers(&grouped, pane)?;
                let sequences = lake::integers(&grouped, SEQUENCE)?;
                let mut groups = Vec::with_capacity(panes.len());
                for row in 0..panes.len() {
                    let mut key = Vec::new();
                    encode_row(&keys, row, &mut key);
                    groups.push(((key, Timestamp(panes[row].saturating_mul(length))), sequences[row]));
                }
                Ok(groups)
            })
            .await?;
            let live = live_from.get(&plan.source).unwrap_or(&none);
            for (group, newest) in groups {
                let (partition, offset) = partition_of(newest);
                if live.get(&partition).is_none_or(|from| offset < *from) {
                    self.expired.insert(group);
                }
            }
        }
        Ok(())
    }

    /// Why the layers differ on a group, of which speed counts `more` than batch or not.
    pub(super) fn explain(&self, view: &ViewPlan, standing: &Standing, group: &Group, more: bool) -> Difference {
        if self.late.contains(group) {
            Difference::Late
        } else if !more && self.expired.contains(group) {
            Difference::Expired
        } else if self.duplicates.contains(&group.1) {
            Difference::Duplicate
        } else if standing.may_touch(view, group.1) {
            Difference::NotYet
        } else {
            Difference::Unexplained
        }
    }
}

#[cfg(test)]
mod tests {
    use tideline_common::position::sequence;

    use super::*;

    #[test]
    fn sequences_come_apart() {
        for (partition, offset) in [(0, 0), (7, 12_345_678_901), (1_000, 1)] {
            assert_eq!(partition_of(sequence(partition, offset)), (partition, offset));
        }
    }
}
