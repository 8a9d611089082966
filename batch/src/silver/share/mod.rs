//! Bronze to Silver shared by several processes, with nothing between them but the object store.
//!
//! The process that runs (the coordinator) offers what it has to take in as *units*: Bronze files of one partition that
//! follow each other. Every process, the coordinator too, claims units and does them: decodes the records, makes the
//! rows of the tables, writes Silver, and puts down the *part*: which files there are now, and the deduplication keys
//! of the unit. The coordinator takes the parts in the order of the units, as if it had made them, and goes on.
//!
//! ```text
//! silver/_runs/<run>-<n>/offer.json                       the units, and what they must be made with
//! silver/_runs/<run>-<n>/claims/<unit>-<attempt>.json     who does it, and until when it is his
//! silver/_runs/<run>-<n>/parts/<unit>.json                what came of it
//! silver/_runs/<run>-<n>/keys/<run>-<unit>-<…>.parquet    its deduplication keys
//! ```
//!
//! # Why it is safe
//! - All three are put only if absent. A claim is no lock: it keeps others from doing the same work for nothing. When
//!   its time is over the next attempt may be claimed; should both come to an end, the first part counts, and no
//!   manifest ever names the files of the other.
//! - Whoever is killed costs his unit, and the time that his claim still had. Clocks that differ cost double work, no
//!   more. A unit that ends its process again and again is left to the coordinator, which then says why.
//! - Duplicates: a unit leaves out those within itself. Across units and earlier runs the coordinator decides, on the
//!   keys in the order of the units, as if it had read the records; the few rows that are not the first of their kind
//!   are taken out of their files again.
//! - What does not fit (a file that vanished, files that overlap, a part that failed): the coordinator takes the rest in
//!   by itself, the way it does without sharing.

mod claim;
mod offer;
mod part;
mod worker;

pub(super) use part::KeyRow;
pub(crate) use part::Keys;
pub(crate) use worker::Worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polars::prelude::{IntoLazy, NamedFrom, Series, col};
use tideline_common::manifest::TimedFile;
use tideline_common::position::{Offset, Positions, sequence};
use tideline_transform::SEQUENCE;

use self::claim::Claim;
use self::offer::{Folder, Offer};
use self::part::Part;
use super::write::Writer;
use super::{SilverCounts, SourceRun};
use crate::chain::{self, Unit, UnitSize};
use crate::context::Context;
use crate::error::BatchError;
use crate::lake;

impl SourceRun<'_> {
    /// Offers what Bronze has in [from, until) to all processes, and takes it in as it gets done: as far as everything
    /// fits. The rest is for the caller.
    pub(super) async fn take_in_shared(
        &mut self,
        from: &Positions,
        until: Option<&Positions>,
        tables: &[String],
        writer: &mut Writer,
        counts: &mut SilverCounts,
    ) -> Result<(), BatchError> {
        let context = self.context;
        let config = &context.config;
        let chains = chain::list(context.lake.objects.as_ref(), &self.source.name).await?;
        let size = UnitSize { bytes: config.share_bytes.max(1), records: config.share_records.max(1) };
        let units = chain::units(&chains, from, until, size, false);
        if units.len() < 2 {
            return Ok(());
        }
        // What waits comes before what is made now.
        writer.flush(context).await?;
        let offer = Offer::new(context, self.source, tables, &units);
        let folder = Folder::new(&context.share_name());
        folder.put_offer(&context.lake, &offer).await?;
        tracing::info!(source = self.source.name, units = units.len(), "Bronze is shared");
        let result = self.adopt_all(&folder, &Arc::new(offer), &units, writer, counts).await;
        // Whatever came of it, nobody needs to work on it any more.
        if let Err(error) = folder.remove(&context.lake).await {
            tracing::warn!(%error, "a shared run could not be cleaned up: it is when it is old");
        }
        result
    }

    async fn adopt_all(
        &mut self,
        folder: &Folder,
        offer: &Arc<Offer>,
        units: &[Unit],
        writer: &mut Writer,
        counts: &mut SilverCounts,
    ) -> Result<(), BatchError> {
        let context = self.context;
        let worker = Worker::of(context);
        loop {
            context.check()?;
            match claim::next(&context.lake, folder, units.len(), 0, &worker, context).await? {
                Claim::Ours(index) => worker.work(folder, offer, index).await?,
                Claim::Wait => tokio::time::sleep(context.config.share_poll.to_std()).await,
                Claim::Nothing => break,
            }
        }
        for (index, unit) in units.iter().enumerate() {
            context.check()?;
            let part = folder.part(&context.lake, index).await?;
            if let Some(reason) = self.misfit(unit, part.as_ref()) {
                tracing::warn!(source = self.source.name, unit = index, reason, "the rest of Bronze is taken in here");
                return Ok(());
            }
            if let Some(part) = part {
                self.adopt(unit, part, writer, counts).await?;
            }
        }
        Ok(())
    }

    /// Why a part cannot be taken as it is.
    fn misfit(&self, unit: &Unit, part: Option<&Part>) -> Option<String> {
        let Some(part) = part else { return Some("it was given up".to_owned()) };
        if let Some(failed) = &part.failed {
            return Some(failed.clone());
        }
        let reached = self.progress.positions.get(&unit.partition).copied();
        let first = unit.files.first().map_or(unit.from, |file| file.first);
        match reached {
            // A part holds what is from its unit's `from` on: right for the first of a partition.
            Some(reached) if first != reached && !(unit.from == reached && first < reached) => {
                Some(format!("it begins at {first}, and Bronze is taken in up to {reached}"))
            }
            _ => None,
        }
    }

    async fn adopt(
        &mut self,
        unit: &Unit,
        part: Part,
        writer: &mut Writer,
        counts: &mut SilverCounts,
    ) -> Result<(), BatchError> {
        let context = self.context;
        let mut dropped: Vec<(i64, Offset)> = Vec::new();
        if let Some(keys) = &part.keys {
            let rows = part::read_keys(&context.lake, keys).await?;
            let (duplicates, again) = self.seen.check_keys(&context.lake, unit.partition, &rows).await?;
            self.progress.duplicates += duplicates;
            counts.duplicates += duplicates;
            dropped = again;
        }
        let mut rows = part.rows;
        for (table, files) in part.tables {
            let (files, gone) = without(context, files, unit, &dropped).await?;
            rows -= gone;
            writer.files.entry(table).or_default().extend(files);
        }
        writer.rows += rows;
        writer.touched.join(super::Touched::from(part.touched));
        let reached = self.progress.positions.get(&unit.partition).copied().unwrap_or(0);
        self.progress.positions.insert(unit.partition, part.next.max(reached));
        let mark = self.progress.watermarks.entry(unit.partition).or_default();
        mark.highest = mark.highest.max(part.watermark.highest);
        mark.last_appended = mark.last_appended.max(part.watermark.last_appended);
        self.progress.records += part.records;
        self.progress.rejected += part.rejected;
        counts.records += part.records;
        counts.rejected += part.rejected;
        if self.seen.len() > context.config.seen_keys {
            self.seen.flush(context, context.config.seen_keys).await?;
        }
        Ok(())
    }
}

/// `files` without the rows of the records `dropped` (event time and offset): files that hold some are written again.
/// Also the number of rows taken out.
async fn without(
    context: &Context,
    files: Vec<TimedFile>,
    unit: &Unit,
    dropped: &[(i64, Offset)],
) -> Result<(Vec<TimedFile>, u64), BatchError> {
    if dropped.is_empty() {
        return Ok((files, 0));
    }
    let mut kept = Vec::with_capacity(files.len());
    let mut gone = 0;
    for file in files {
        let times = file.min_time.0..=file.max_time.0;
        let here: BTreeSet<i64> = dropped
            .iter()
            .filter(|(time, _)| times.contains(time))
            .map(|(_, offset)| sequence(unit.partition, *offset))
            .collect();
        if here.is_empty() {
            kept.push(file);
            continue;
        }
        let frame = context.lake.read(&file.path).await?;
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let path = context.file(&folder);
        let made = lake::blocking(move || {
            let before = frame.height();
            let drop = Series::new("".into(), here.into_iter().collect::<Vec<_>>());
            let mut left = frame
                .lazy()
                .filter(col(SEQUENCE).is_in(polars::prelude::lit(drop).implode(true), false).not())
                .collect()
                .map_err(BatchError::frame("rows without duplicates"))?;
            let gone = (before - left.height()) as u64;
            if gone == 0 || left.height() == 0 {
                return Ok((None, gone));
            }
            let file = lake::timed(path, &left, tideline_common::plan::EVENT_TIME)?;
            Ok((Some((file, lake::encode(&mut left, None)?)), gone))
        })
        .await?;
        match made {
            (_, 0) => kept.push(file),
            (None, rows) => gone += rows,
            (Some((file, bytes)), rows) => {
                context.lake.put(&file.path, bytes).await?;
                kept.push(file);
                gone += rows;
            }
        }
    }
    Ok((kept, gone))
}

/// Sets by name as they are stored.
pub(super) type Stored<T> = BTreeMap<String, Vec<T>>;
