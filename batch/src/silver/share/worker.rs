//! The work on units.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use tideline_common::manifest::SourceProgress;
use tideline_common::ports::Created;
use tokio_util::sync::CancellationToken;

use super::claim::{self, Claim};
use super::offer::{Folder, Offer, RUNS};
use super::part::{Keys, Part, listed};
use crate::chain::{self, UnitSize};
use crate::context::Context;
use crate::error::BatchError;
use crate::silver::seen::Seen;
use crate::silver::write::Writer;
use crate::silver::{SilverCounts, SourceRun};

/// One who works on units: a process, or the coordinator in it.
#[derive(Debug)]
pub(crate) struct Worker {
    context: Arc<Context>,
    name: String,
}

impl Worker {
    /// A worker with what `context` has, and a name of its own.
    pub(crate) fn of(context: &Context) -> Self {
        let now = context.clock.now();
        // The random half of a run's id.
        let name = crate::publish::run_id(now).split_off(10);
        Self { context: Arc::new(context.named(context.run.clone())), name }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Works on what others offer, until `cancel`. What fails is tried again: by the next attempt at the unit.
    pub(crate) async fn help(&self, cancel: &CancellationToken) {
        // What is not for us (another definition) is not looked at twice.
        let mut refused: BTreeSet<Folder> = BTreeSet::new();
        while !cancel.is_cancelled() {
            let worked = tokio::select! {
                worked = self.help_once(&mut refused) => worked,
                () = cancel.cancelled() => break,
            };
            match worked {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "a unit could not be worked on"),
            }
            tokio::select! {
                () = tokio::time::sleep(self.context.config.share_poll.to_std()) => {}
                () = cancel.cancelled() => {}
            }
        }
    }

    /// Does one unit, if there is one: whether there was.
    async fn help_once(&self, refused: &mut BTreeSet<Folder>) -> Result<bool, BatchError> {
        let lake = &self.context.lake;
        let folders: Vec<Folder> =
            lake.objects.list(RUNS).await?.iter().filter_map(|object| Folder::of_offer(&object.path)).collect();
        refused.retain(|folder| folders.contains(folder));
        for folder in folders.iter().rev() {
            if refused.contains(folder) {
                continue;
            }
            let Some(offer) = folder.offer(lake).await? else { continue };
            if !self.knows(&offer) {
                tracing::warn!(run = offer.run, source = offer.source, "a shared run has another definition");
                refused.insert(folder.clone());
                continue;
            }
            // Not where the others begin.
            let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
            hasher.write(self.name.as_bytes());
            let start = hasher.finish() as usize % offer.len().max(1);
            if let Claim::Ours(index) = claim::next(lake, folder, offer.len(), start, self, &self.context).await? {
                self.work(folder, &offer, index).await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether our definition makes the same rows.
    fn knows(&self, offer: &Offer) -> bool {
        let plan = self.context.plan();
        plan.source(&offer.source).is_some_and(|source| source.version == offer.source_version)
            && offer
                .tables
                .iter()
                .all(|(name, version)| plan.table(name).is_some_and(|table| table.version == *version))
    }

    /// Does a unit that is ours, and puts down what came of it.
    ///
    /// # Errors
    /// When the store fails: another attempt may do it. What nobody could do is put down as failed.
    pub(super) async fn work(&self, folder: &Folder, offer: &Offer, index: usize) -> Result<(), BatchError> {
        let part = match self.make(folder, offer, index).await {
            Ok(part) => part,
            Err(error @ (BatchError::Port(_) | BatchError::Cancelled)) => {
                metrics::counter!("tideline_batch_units_total", "outcome" => "abandoned").increment(1);
                return Err(error);
            }
            Err(error) => Part::failed(error.to_string()),
        };
        let failed = part.failed.is_some();
        let outcome = match folder.put_part(&self.context.lake, index, &part).await? {
            Created::Exists => "late",
            Created::Yes if failed => "failed",
            Created::Yes => "done",
        };
        metrics::counter!("tideline_batch_units_total", "outcome" => outcome).increment(1);
        Ok(())
    }

    async fn make(&self, folder: &Folder, offer: &Offer, index: usize) -> Result<Part, BatchError> {
        let Some(unit) = offer.unit(index) else { return Ok(Part::failed("there is no such unit".to_owned())) };
        // Every attempt has file names of its own.
        let mut context = self.context.named(format!("{}-{index:06}-{}", offer.run, self.name));
        if context.config.bucket != offer.bucket {
            let mut config = crate::config::BatchConfig::clone(&context.config);
            config.bucket = offer.bucket;
            context.config = Arc::new(config);
        }
        let Some(source) = context.plan().source(&offer.source) else {
            return Ok(Part::failed("there is no such source".to_owned()));
        };
        let size =
            UnitSize { bytes: context.config.unit_bytes.max(1), records: context.config.unit_records.max(1) as u64 };
        let mut run = SourceRun {
            context: &context,
            source,
            transform: context.engines.source(&offer.source)?,
            progress: SourceProgress::default(),
            tables: BTreeMap::new(),
            stale: Vec::new(),
            resume: None,
            seen: Seen::new(&offer.source, Vec::new()),
            keys: Some(Keys::default()),
        };
        let (mut writer, mut counts) = (Writer::default(), SilverCounts::default());
        let tables = offer.tables.iter().map(|(name, _)| name.clone()).collect();
        let partition = unit.partition;
        run.take_units(chain::cut(unit, size), tables, &mut writer, &mut counts).await?;
        writer.flush(&context).await?;
        let keys = run.keys.take().unwrap_or_default();
        let path = context.file(&folder.keys_folder());
        let keys = match crate::lake::blocking(move || keys.encode(path)).await? {
            Some((file, bytes)) => {
                context.lake.put(&file.path, bytes).await?;
                Some(file)
            }
            None => None,
        };
        Ok(Part {
            next: run.progress.positions.get(&partition).copied().unwrap_or(0),
            watermark: run.progress.watermarks.get(&partition).copied().unwrap_or_default(),
            records: counts.records,
            rejected: counts.rejected,
            rows: writer.rows,
            keys,
            tables: writer.files.into_iter().collect(),
            touched: listed(writer.touched.into_sets()),
            failed: None,
            ..Part::failed(String::new())
        })
    }
}
